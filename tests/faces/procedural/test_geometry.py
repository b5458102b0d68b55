"""The head: its expressions, what it wears, its normals."""

from __future__ import annotations

import pytest
import torch

from metaface_lessons.faces.procedural import EXPRESSIONS, OCCLUDERS
from metaface_lessons.faces.procedural.geometry import MATERIALS, MOUTH
from tests.helpers import look, pictures


def test_an_open_mouth_opens():
    def mouth(expression):
        found = look(pictures(4, expression=EXPRESSIONS.index(expression), strength=1.0), size=128)[0]
        x, y, z = found.canonical.unbind(1)
        return ((y - MOUTH).abs().lt(0.012) & (x.abs() < 0.3) & (z > 0.5)).sum().item()

    assert mouth("open mouth") > 3 * mouth("neutral")


@pytest.mark.parametrize(("occluder", "material"), [("sunglasses", "glasses"), ("mask", "mask"), ("scarf", "scarf")])
def test_what_is_worn_is_seen_and_what_is_not_is_not(occluder, material):
    number = MATERIALS.index(material)
    with_it = look(pictures(2, occluder=OCCLUDERS.index(occluder)))[0]
    without = look(pictures(2))[0]
    assert (with_it.material == number).float().mean() > 0.02
    assert not (without.material == number).any()


def test_normals_are_unit_and_face_the_camera():
    found = look(pictures(3, kind="full"))[0]
    torch.testing.assert_close(found.normal.norm(dim=1), torch.ones(len(found.normal)), atol=1e-4, rtol=0)
    assert (found.normal[:, 2] > -0.3).float().mean() > 0.97
