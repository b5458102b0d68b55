"""Controls: what each leaves of a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.faces.controls import (
    brightness_bar,
    brightness_only,
    controlled,
    ellipse,
    inside_only,
    lookalikes,
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
from metaface_lessons.networks import standardise
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


def test_a_bar_is_as_high_as_the_picture_is_bright() -> None:
    """A network that standardises pictures sees nothing in uniform grey, and how bright the picture was in the bar."""
    levels = torch.tensor([0, 60, 61, 130, 255], dtype=torch.uint8)
    images = levels[:, None, None, None].expand(5, 1, 16, 8).clone()
    images[3, 0, ::2], images[3, 0, 1::2] = 100, 160  # what is in the picture does not matter
    bars = brightness_bar(images)
    assert bars.shape == images.shape
    assert (bars.float().mean((1, 2, 3)) - levels).abs().max() <= 0.6
    assert torch.equal(bars[3, 0, 8:], torch.full((8, 8), 255, dtype=torch.uint8))  # from below
    assert standardise(brightness_only(images)).abs().max() == 0
    assert not torch.equal(standardise(bars[1:2]), standardise(bars[2:3]))


def test_lookalikes_differ_in_the_inner_face_alone() -> None:
    people = sample_identities(5, 3)
    alike = lookalikes(people)
    assert torch.equal(alike[:1].shape, people[:1].shape)
    for name in ("skin", "hair_colour", "hair", "beard", "age", "moles", "freckles", "blush", "texture"):
        assert (getattr(alike, name) == getattr(people, name)[:1]).all()
    assert torch.equal(alike.brow, people.brow)
    how = sample_nuisance(5, 0, "clean")
    pictures = render_with_mask(alike, replace(how, seed=how.seed[:1].expand(5)), 32)[0].float()
    differ = (pictures[1:] - pictures[:1]).abs().amax((0, 1))
    assert differ[12:24, 10:22].mean() > 15
    assert differ[:, :6].mean() < 1, "hair and outline are the same"


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
