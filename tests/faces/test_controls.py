"""Controls: what each leaves of a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.faces.controls import (
    brightness_only,
    controlled,
    ellipse,
    inside_only,
    outside_only,
    procedural_controls,
)
from metaface_lessons.faces.procedural import (
    DOMAINS,
    procedural_faces,
    render_with_mask,
    sample_identities,
    sample_nuisance,
)
from metaface_lessons.learners.baselines import brightness
from tests.helpers import random_faces


def test_controls_leave_what_they_say() -> None:
    images = random_faces(size=20, channels=3).images
    inside = ellipse(20, 20)
    assert 0.15 < inside.float().mean() < 0.5
    outer, inner = outside_only(images), inside_only(images)
    assert torch.equal(outer[:, :, ~inside], images[:, :, ~inside])
    assert torch.equal(inner[:, :, inside], images[:, :, inside])
    assert (outer[:, :, inside].amax(2) == outer[:, :, inside].amin(2)).all()
    scrambled = images.clone()
    scrambled[:, :, inside] = 255 - scrambled[:, :, inside]
    assert torch.equal(outside_only(scrambled), outer)  # nothing of the inner face has a say
    mean = brightness_only(images)
    assert mean.shape == images.shape
    assert mean.flatten(1).unique(dim=1).shape[1] == 1
    assert (mean[:, 0, 0, 0] - images.float().mean((1, 2, 3))).abs().max() <= 0.5
    for at in ((0.5, 0.5, 2.0, 2.0), (3.0, 3.0, 0.1, 0.1)):
        with pytest.raises(MetaFaceError, match="shares of the picture"):
            ellipse(20, 20, at)


def test_the_brightness_control_sees_brightness_and_nothing_else() -> None:
    faces = random_faces(people=6, each=8, size=16)
    lit = replace(faces, images=(0.2 * faces.images + 30 * faces.identity[:, None, None, None]).byte())
    for shown, low, high in ((faces, 0.0, 0.6), (lit, 0.95, 1.0)):
        one, control = (
            evaluate({"mean": brightness()}, EpisodeSampler(seen, 5, 1, 4), 40)["mean"].accuracy
            for seen in (shown, controlled(shown, brightness_only))
        )
        assert low <= one <= high
        assert control == pytest.approx(one, abs=0.1)  # but for rounding to whole grey levels


@pytest.mark.parametrize("domain", DOMAINS)
def test_procedural_controls_belong_to_the_pictures(domain: str) -> None:
    faces = procedural_faces(3, 2, size=32, progress=False, domain=domain)
    controls = procedural_controls(3, 2, size=32, domain=domain)
    outline, empty = controls["outline only"], controls["background only"]
    assert torch.equal(outline.identity, faces.identity)
    outside = (outline.images == 0).expand_as(faces.images)
    difference = (faces.images[outside].float() - empty.images[outside].float()).abs()
    assert difference.median() <= 4  # blur spreads the outline a little
    again = render_with_mask(sample_identities(6, 5), sample_nuisance(6, 0), 32, domain=domain)[2]
    assert torch.equal(again, render_with_mask(sample_identities(6, 6), sample_nuisance(6, 0), 32, domain=domain)[2])
