"""Who people are, and how they are shown: what is drawn, and that neither says anything about the other."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from metaface_lessons.faces.procedural import (
    EXPRESSIONS,
    OCCLUDERS,
    procedural_faces,
    sample_identities,
    sample_nuisance,
)


def test_nuisance_is_drawn_independently_of_identity():
    """Analysis of variance: the means of people differ no more than chance makes them."""
    people, images = 150, 20
    how = sample_nuisance(people * images, 3)
    for field in fields(how):
        values = getattr(how, field.name).double().reshape(people, images, -1)
        between = images * values.mean(1).var(0)
        within = values.var(1).mean(0)
        ratio = (between / within.clamp(min=1e-12))[within > 1e-9]
        assert ((ratio > 0.6) & (ratio < 1.5)).all(), field.name  # F(149, 2850): 0.1 % outside of 0.71 to 1.38
    a, b = (
        procedural_faces(2, 4, size=16, seed=0, progress=False),
        procedural_faces(4, 2, size=16, seed=0, progress=False),
    )
    assert torch.equal(a.conditions["yaw"], b.conditions["yaw"])


def test_full_nuisance_covers_its_ranges():
    how = sample_nuisance(4000, 0, "full")
    assert 0.27 < (how.occluder > 0).float().mean() < 0.33
    assert set(how.occluder.tolist()) == set(range(len(OCCLUDERS)))
    assert set(how.expression.tolist()) == set(range(len(EXPRESSIONS)))
    assert how.yaw.min() >= -45
    assert how.yaw.max() <= 45
    assert how.yaw.std() > 20
    assert how.azimuth.std() > 40


@pytest.mark.parametrize(
    ("kind", "varies"),
    [("clean", set()), ("pose", {"yaw", "pitch"}), ("light", {"light_azimuth", "light_elevation"}),
     ("expression", {"expression"}), ("occluder", {"occluder"})],
)  # fmt: skip
def test_a_kind_of_nuisance_varies_nothing_else(kind, varies):
    faces = procedural_faces(20, 2, size=16, nuisance=kind, progress=False)
    assert {name for name, values in faces.conditions.items() if len(values.unique()) > 1} == varies


def test_no_person_is_in_two_seeds():
    people = torch.cat([sample_identities(300, seed).shape for seed in range(5)])
    assert len(people.unique(dim=0)) == 5 * 300
