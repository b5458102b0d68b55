from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from metaface_lessons.augmentation import Augment, Views
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.networks import Classifier, Conv4, TaskNorm, standardise, statistics_of_first
from tests.helpers import random_faces


def test_standardised_images_do_not_know_brightness_and_contrast() -> None:
    images = random_faces().images
    x = standardise(images)
    assert x.mean(dim=(1, 2, 3)).abs().max() < 1e-5
    assert (x.std(dim=(1, 2, 3), unbiased=False) - 1).abs().max() < 1e-5
    assert torch.allclose(standardise(images.double() * 0.3 + 20), x.double(), atol=1e-5)
    assert torch.equal(standardise(torch.full((1, 1, 4, 4), 7, dtype=torch.uint8)), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("norm", ["batch", "task", "group", "none"])
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


def task_norm() -> TaskNorm:
    norm = TaskNorm(3).double()
    norm.weight.data, norm.bias.data = (torch.tensor(values).double() for values in ([1.0, 2.0, 3.0], [0.0, 1.0, -1.0]))
    return norm


def test_task_norm_is_batch_normalisation_without_running_averages() -> None:
    norm, batch = task_norm(), nn.BatchNorm2d(3).double()
    batch.load_state_dict(norm.state_dict(), strict=False)
    x = torch.randn((6, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(norm(x), batch(x), rtol=0, atol=1e-13)
    assert torch.equal(norm(x), norm.eval()(x))
    assert not list(norm.buffers())


def test_statistics_of_the_first_images_serve_all() -> None:
    norm, images = task_norm(), torch.randn((6, 3, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    with statistics_of_first(4):
        y = norm(images)
        assert torch.allclose(norm(images[:5])[4], y[4], rtol=0, atol=1e-13)  # whatever comes after them
    assert torch.allclose(y[:4], norm(images[:4]), rtol=0, atol=1e-13)
    assert not torch.allclose(y, norm(images), atol=1e-2)
    with pytest.raises(ZeroDivisionError), statistics_of_first(4):
        raise ZeroDivisionError
    assert torch.equal(norm(images), task_norm()(images))  # it ends with its block, come what may


def test_a_classifier_is_an_embedding_and_a_linear_head() -> None:
    images, embedding = random_faces().images, Conv4(1, 16, 8)
    net, same, other = (Classifier(embedding, embedding.features, ways=5, seed=seed) for seed in (0, 0, 1))
    assert net(images).shape == (len(images), 5)
    assert torch.equal(net(images), net.head(embedding(images)))
    assert torch.equal(net.head.weight, same.head.weight)
    assert not torch.equal(net.head.weight, other.head.weight)
    assert [name for name, _ in net.named_children()] == ["embedding", "head"]


def test_making_a_network_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    Classifier(Conv4(1, 16, 8), features=8, ways=2)
    assert torch.equal(torch.rand(2), wanted)


def test_unfit_networks_say_why() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'batch'"):
        Conv4(norm="batsh")
    with pytest.raises(MetaFaceError, match="at least 16 pixels"):
        Conv4(1, 8)
    with pytest.raises(MetaFaceError, match="1×16×16, but got 1×32×32"):
        Conv4(1, 16, 8)(random_faces(size=32).images)


STILL = {"flip": False, "shift": 0, "rotate": 0, "scale": 0, "gamma": 0, "tint": 0, "shade": 0, "erase": 0}


def augmented(images: torch.Tensor, **change: float) -> torch.Tensor:
    return Augment(**(STILL | change))(images)


def test_augmentation_without_range_changes_nothing() -> None:
    images = random_faces().images
    assert torch.allclose(augmented(images), images.float(), atol=1e-2)


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
