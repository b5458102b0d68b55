from __future__ import annotations

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.networks import Augment, Conv4, standardise

from .helpers import random_faces


def test_standardised_images_do_not_know_brightness_and_contrast() -> None:
    images = random_faces().images
    x = standardise(images)
    assert x.mean(dim=(1, 2, 3)).abs().max() < 1e-5
    assert (x.std(dim=(1, 2, 3), unbiased=False) - 1).abs().max() < 1e-5
    assert torch.allclose(standardise(images.double() * 0.3 + 20), x.double(), atol=1e-5)
    assert torch.equal(standardise(torch.full((1, 1, 4, 4), 7, dtype=torch.uint8)), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize(("channels", "size", "width", "depth"), [(1, 16, 8, 4), (3, 20, 12, 2)])
def test_embeds_images_to_points_by_seed(norm: str, channels: int, size: int, width: int, depth: int) -> None:
    images = random_faces(channels=channels, size=size).images
    net, same, other = (Conv4(channels, size, width, depth, norm, seed=s) for s in (0, 0, 1))
    points = net(images)
    assert points.shape == (len(images), width * (size // 2**depth) ** 2)
    assert torch.equal(points, same(images))
    assert not torch.allclose(points, other(images))


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_in_evaluation_an_embedding_does_not_depend_on_its_neighbours(norm: str) -> None:
    images = random_faces().images
    net = Conv4(1, 16, 8, norm=norm)
    net(images)
    net.eval()
    assert torch.allclose(net(images)[:3], net(images[:3]), atol=1e-5)


def test_making_a_network_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    Conv4(1, 16, 8)
    assert torch.equal(torch.rand(2), wanted)


def test_unfit_networks_say_why() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'batch'"):
        Conv4(norm="batsh")
    with pytest.raises(MetaFaceError, match="at least 16 pixels"):
        Conv4(1, 8)
    with pytest.raises(MetaFaceError, match="1×16×16, but got 1×32×32"):
        Conv4(1, 16, 8)(random_faces(size=32).images)


def test_augmentation_without_range_changes_nothing() -> None:
    images = random_faces().images
    still = Augment(flip=False, shift=0, rotate=0, scale=0, gain=0)
    assert torch.allclose(still(images), images.float(), atol=1e-3)


def test_augmentation_flips_half_and_shifts_by_pixels() -> None:
    images = random_faces(people=50, each=8).images
    flipped = Augment(shift=0, rotate=0, scale=0, gain=0)(images)
    mirrored = (flipped - images.float().flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-2
    assert 0.4 < mirrored.float().mean() < 0.6
    assert ((flipped - images.float()).abs().amax(dim=(1, 2, 3)) < 1e-2)[~mirrored].all()
    ramp = torch.arange(16.0).expand(400, 1, 16, 16)
    moved = Augment(flip=False, shift=3, rotate=0, scale=0, gain=0)(ramp)[:, 0, 8, 8] - ramp[:, 0, 8, 8]
    assert 2.8 < moved.abs().max() <= 3.01


def test_augmentation_resumes_in_mid_stream() -> None:
    images = random_faces().images
    augment, other = Augment(seed=1), Augment(seed=2)
    augment(images)
    other.load_state_dict(augment.state_dict())
    assert torch.equal(augment(images), other(images))
