from __future__ import annotations

import pytest
import torch
from torch import nn

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.networks import Classifier, Conv4, LinearEmbedding, TaskNorm, standardise, statistics_of_first
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


def test_a_linear_embedding_has_coordinates_below_0_that_follow_the_seed() -> None:
    images = random_faces().images
    conv = Conv4(1, 16, 8)
    net, same, other = (LinearEmbedding(Conv4(1, 16, 8), features=5, seed=seed) for seed in (0, 0, 1))
    points = net(images)
    assert net.features == points.shape[1] == 5
    assert (conv(images) >= 0).all()
    assert (points < 0).any(dim=0).all()
    assert torch.equal(points, same(images))
    assert not torch.allclose(points, other(images))
    inside = conv(images)
    inside = (inside - inside.mean(0)) / (inside.var(0, unbiased=False) + 1e-5).sqrt()
    inside = inside @ net[2].weight.T
    wanted = (inside - inside.mean(0)) / (inside.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(points, wanted, atol=1e-4)
