"""Other cameras: what each does to pictures, and what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.camera import CAMERAS, Camera
from tests.helpers import random_faces

FACES = random_faces(people=10, each=8, channels=3)


def test_a_camera_that_changes_nothing_changes_nothing() -> None:
    assert torch.equal(Camera()(FACES.images), FACES.images)
    assert CAMERAS["same"] == Camera()


@pytest.mark.parametrize("name", [name for name in CAMERAS if name != "same"])
def test_every_other_camera_changes_the_pictures_and_nothing_else(name: str) -> None:
    camera = CAMERAS[name]
    seen = camera.faces(FACES)
    assert seen.images.shape == FACES.images.shape
    assert seen.images.dtype == torch.uint8
    assert (seen.images.float() - FACES.images.float()).abs().mean() > 5
    assert torch.equal(seen.identity, FACES.identity)
    assert torch.equal(camera(FACES.images, seed=3), camera(FACES.images, seed=3))
    assert camera(FACES.images[:, :1]).shape == FACES.images[:, :1].shape, "grey pictures as well"


def test_blur_keeps_the_mean_and_spreads_a_point() -> None:
    point = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    point[0, 0, 16, 16] = 255
    spread = Camera(blur=2 / 33)(point.expand(1, 1, 33, 33)).float()[0, 0] / 255
    assert spread[16, 16].item() == pytest.approx(1 / (2 * math.pi * 4), abs=3e-3)  # a Gaussian's peak, σ = 2
    assert spread[16, 18].item() / spread[16, 16].item() == pytest.approx(math.exp(-0.5), abs=0.06)
    flat = torch.full((1, 3, 16, 16), 90, dtype=torch.uint8)
    assert torch.equal(Camera(blur=0.1)(flat), flat)


def test_noise_tone_balance_and_infrared_are_as_said() -> None:
    grey = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    noisy = Camera(noise=20)(grey, seed=1).float()
    assert noisy.std().item() == pytest.approx(20, rel=0.05)
    assert not torch.equal(Camera(noise=20)(grey, seed=1), Camera(noise=20)(grey, seed=2))
    assert Camera(gamma=2.0)(grey).unique().item() == round(255 * (128 / 255) ** 2)
    assert Camera(balance=(1, 0.5, 0.25))(grey)[0, :, 0, 0].tolist() == [128, 64, 32]
    assert (infrared := Camera(infrared=1.0)(FACES.images)).float().std(dim=1).max() < 1
    assert infrared.float().std() > 5


@pytest.mark.parametrize(
    "wrong", [{"blur": -1.0}, {"noise": -1.0}, {"infrared": 1.5}, {"gamma": 0.0}, {"balance": (1, 0, 1)}]
)
def test_cameras_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(MetaFaceError, match=r"must be"):
        Camera(**wrong)
