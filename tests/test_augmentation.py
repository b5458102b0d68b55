"""Augmentation: each change by itself, its random stream, and the views of an image at evaluation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metaface_lessons.augmentation import Augment, Augmented, Views
from metaface_lessons.episodes import EpisodeSampler
from tests.helpers import random_faces

STILL = {"flip": False, "shift": 0, "rotate": 0, "scale": 0, "gamma": 0, "tint": 0, "shade": 0, "erase": 0}


def augmented(images: torch.Tensor, **change: float) -> torch.Tensor:
    return Augment(**(STILL | change))(images)


def test_augmentation_without_range_changes_nothing() -> None:
    images = random_faces().images
    assert torch.allclose(augmented(images), images.float(), atol=1e-2)


def test_the_strength_multiplies_every_range() -> None:
    images = random_faces(people=20).images
    ranges = {"shift": 0.1, "rotate": 20.0, "scale": 0.2, "gamma": 0.4, "tint": 0.2, "shade": 0.3, "erase": 0.5}
    half = {name: limit / 2 for name, limit in ranges.items()}
    assert torch.equal(augmented(images, **ranges, strength=0.5), augmented(images, **half))
    assert torch.equal(augmented(images, **ranges, strength=0), augmented(images))


def test_augmentation_flips_half_and_shifts_by_a_share_of_the_image() -> None:
    images = random_faces(people=50, each=8).images
    flipped = augmented(images, flip=True)
    mirrored = (flipped - images.float().flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-1
    assert 0.4 < mirrored.float().mean() < 0.6
    assert ((flipped - images.float()).abs().amax(dim=(1, 2, 3)) < 1e-1)[~mirrored].all()
    ramp = torch.arange(16.0).expand(400, 1, 16, 16) + 1
    moved = augmented(ramp, shift=3 / 16)[:, 0, 8, 8] - ramp[:, 0, 8, 8]
    assert 2.8 < moved.abs().max() <= 3.01


def test_augmentation_changes_light_colour_and_a_rectangle() -> None:
    grey = torch.full((400, 3, 16, 16), 100, dtype=torch.uint8)
    tinted = augmented(grey, tint=0.1)
    assert (tinted.std(dim=(2, 3)) < 1e-3).all()
    assert 1.15 < (tinted.amax(1) / tinted.amin(1)).max() <= math.exp(0.2) + 1e-3
    shaded = augmented(grey, shade=0.2)
    assert (shaded[:, 0] == shaded[:, 1]).all()
    assert 1.2 < (shaded[:, 0, 0, 8] / shaded[:, 0, 15, 8]).max() < math.exp(0.4) + 1e-3
    curved = augmented(grey, gamma=0.3)
    assert (curved.amin(dim=(1, 2, 3)) == curved.amax(dim=(1, 2, 3))).all()
    assert curved.min() < 80 < 120 < curved.max()
    images = random_faces(people=50, each=8, size=32).images
    changed = (augmented(images, erase=0.3) - images.float()).abs().amax(dim=1) > 1
    assert 0.22 < changed.flatten(1).any(dim=1).float().mean() < 0.38
    assert changed.float().mean(dim=(1, 2)).max() < 0.5 * 0.5


def test_augmentation_resumes_in_mid_stream() -> None:
    images = random_faces().images
    augment, other = Augment(seed=1), Augment(seed=2)
    augment(images)
    other.load_state_dict(augment.state_dict())
    assert torch.equal(augment(images), other(images))


def test_views_are_the_mean_over_shifts_and_mirror_images() -> None:
    images = torch.arange(2 * 9, dtype=torch.uint8).view(2, 1, 3, 3)
    seen: list[Tensor] = []

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.float().flatten(1)

    got = Views(Flat())(images)
    assert torch.allclose(got, torch.stack([x.float().flatten(1) for x in seen]).mean(0))
    assert torch.allclose(got.view(2, 3, 3), got.view(2, 3, 3).flip(-1))  # mirror images look alike
    assert seen[0].equal(images)
    assert len({x.numpy().tobytes() for x in seen}) == 10
    assert [x[0, 0, 0].tolist() for x in seen[2:4:2]] == [[3, 4, 5]]  # moved by one, repeated at the border
    assert seen[2][0, 0, 2].tolist() == [6, 7, 8]


def test_augmented_episodes_are_the_same_tasks_with_every_image_changed() -> None:
    sampler, augmented = (EpisodeSampler(random_faces(people=18), 5, 2, 3, seed=2) for _ in range(2))
    plain, changed = sampler.sample(2), Augmented(augmented, Augment(seed=3)).sample(2)
    assert torch.equal(plain.identities, changed.identities)
    for before, after in ((plain.support, changed.support), (plain.query, changed.query)):
        assert torch.equal(before.y, after.y)
        assert after.x.shape == before.x.shape
        difference = (before.x - after.x).abs().mean(dim=(2, 3, 4))
        assert (difference > 1).all()
        assert (difference < 100).all()
