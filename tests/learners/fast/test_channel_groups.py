"""The fast formulation against the plain one, in float64; and the shortcut that silently gives wrong gradients."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.fast import ChannelGroups
from metaface_lessons.learners.inner_loop import OneByOne, TaskNetwork
from metaface_lessons.learners.maml import MAML
from metaface_lessons.networks import POOLS, Classifier, Conv4

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.needs("a GPU")),
]


def classifier(pool: str, channels: int = 1, size: int = 16, width: int = 8, ways: int = 3, **more: int) -> Classifier:
    """In float64, with scales of either sign: a negative one turns the order in which a maximum is taken."""
    embedding = Conv4(channels, size, width, norm="task", pool=pool, **more)
    network = Classifier(embedding, embedding.features, ways).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network


def tasks(number: int, channels: int = 1, size: int = 16, ways: int = 3, shots: int = 2, queries: int = 3) -> Episodes:
    generator = torch.Generator().manual_seed(number)

    def examples(each: int) -> Examples:
        x = torch.randint(0, 256, (number, ways * each, channels, size, size), generator=generator, dtype=torch.uint8)
        return Examples(x, torch.arange(ways).repeat_interleave(each).expand(number, -1))

    return Episodes(examples(shots), examples(queries), torch.zeros(number, ways, dtype=torch.long))


def gradients(net: MAML, run: TaskNetwork, episodes: Episodes) -> list[Tensor]:
    net.network_per_task = run
    net.zero_grad()
    net.meta_gradient(episodes)
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.requires_grad]  # type: ignore[union-attr]


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    """The largest difference, as a share of the length of the gradient of that parameter."""
    return max(((x - y).norm() / y.norm()).item() for x, y in zip(a, b, strict=True))


def both(network: Classifier, episodes: Episodes, device: str = "cpu", **how: Any) -> float:
    network = network.to(device)
    fast = ChannelGroups.of(network)
    assert fast is not None
    episodes = Episodes(
        *(Examples(e.x.to(device), e.y.to(device)) for e in (episodes.support, episodes.query)), episodes.identities
    )
    net = MAML(network, **how)
    return distance(gradients(net, fast, episodes), gradients(net, OneByOne(network), episodes))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("transductive", [True, False])
@pytest.mark.parametrize(("first_order", "steps"), [(False, 1), (False, 5), (True, 1), (True, 5)])
@pytest.mark.parametrize("pool", POOLS)
def test_equal_to_the_plain_formulation(
    pool: str, first_order: bool, steps: int, transductive: bool, device: str
) -> None:
    how = {"first_order": first_order, "steps": steps, "transductive": transductive}
    assert both(classifier(pool), tasks(2), device, **how) < 1e-9


@pytest.mark.parametrize(
    "shape",
    [
        {"channels": 3, "size": 19, "width": 6},  # pooling leaves out a row and a column
        {"channels": 1, "size": 28, "width": 12, "first": 12},
        {"channels": 3, "size": 48, "width": 4, "depth": 5},  # 48 → 24 → 12 → 6 → 3 → 1
        {"channels": 2, "size": 9, "width": 16, "depth": 3, "first": 3},
        {"channels": 1, "size": 8, "width": 8, "depth": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("pool", POOLS)
def test_equal_for_other_shapes(pool: str, shape: dict[str, int]) -> None:
    episodes = tasks(1, shape["channels"], shape["size"])
    assert both(classifier(pool, **shape), episodes, steps=2, transductive=True) < 1e-9
    for rates in ("layer", "parameter"):
        assert both(classifier(pool, **shape), episodes, steps=2, rates=rates) < 1e-9


@pytest.mark.parametrize("shots", [1, 7])
@pytest.mark.parametrize("number", [1, 4, 25])
def test_equal_for_any_number_of_tasks(number: int, shots: int) -> None:
    """25 run in two parts; the first has to split its larger set of images again."""
    network, episodes = classifier("after", first=16, size=32), tasks(number, size=32, shots=shots, queries=8 - shots)
    fast = ChannelGroups.of(network)
    assert fast is not None
    assert fast.at_once == 16
    larger = [part.support.x if shots == 7 else part.query.x for part in episodes.split(16)]
    assert [len(fast.prepare(x)) for x in larger] == {1: [1], 4: [1], 25: [2, 1]}[number]
    assert both(network, episodes, steps=1) < 1e-9


def test_first_order_would_not_pass() -> None:
    network, episodes = classifier("after"), tasks(2)
    fast = ChannelGroups.of(network)
    assert fast is not None
    first = gradients(MAML(network, steps=5, first_order=True), fast, episodes)
    assert distance(first, gradients(MAML(network, steps=5), fast, episodes)) > 1e-3


def test_learners_predict_alike() -> None:
    network, episodes = classifier("after", size=64, first=32), tasks(3, size=64)  # it runs two of them together
    for transductive in (True, False):
        one, other = (MAML(network, transductive=transductive, fast=fast) for fast in (True, False))
        assert (one.network_per_task.name, other.network_per_task.name) == ("tasks as channel groups", "one by one")
        assert one.network_per_task.at_once == 2
        a, b = (net.adapt(episodes.support).predict(episodes.query.x) for net in (one, other))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def inner_step(net: MAML, episodes: Episodes) -> list[Tensor]:
    """φ_1, with a graph."""
    return list([*net.inner_loop(net.start(episodes.support), episodes.support, 1, graph=True)][-1].values())


def test_no_third_derivatives() -> None:
    """They would be wrong, so they are refused."""
    net = MAML(classifier("after"), steps=1)
    total = torch.stack([w.square().sum() for w in inner_step(net, tasks(1))]).sum()
    first = torch.autograd.grad(total, list(net.network.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.stack([g.sum() for g in first]).sum().backward()


def test_weights_that_change_before_the_way_back_are_an_error() -> None:
    """Layers keep them, so it would be silently wrong."""
    network = classifier("before")
    total = torch.stack([w.square().sum() for w in inner_step(MAML(network, steps=1), tasks(1))]).sum()
    with torch.no_grad():
        network.head.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


@pytest.mark.parametrize("pool", POOLS)
def test_steps_without_a_way_back_are_forgotten(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an inner loop that diverged, or was interrupted."""
    runs = []
    make = ChannelGroups._passes
    monkeypatch.setattr(ChannelGroups, "_passes", lambda *given: runs.append(weakref.ref(run := make(*given))) or run)
    inner_step(MAML(classifier(pool), steps=1), tasks(2))
    gc.collect()
    assert len(runs) == 1
    assert runs[0]() is None


def test_any_loss() -> None:
    """Even one that is linear in the logits, so that its second derivative by them is 0."""

    def curved(logits: Tensor, y: Tensor) -> Tensor:
        return (logits.softmax(1) - torch.eye(3, dtype=logits.dtype)[y]).square().mean()

    def linear(logits: Tensor, y: Tensor) -> Tensor:
        return -logits.gather(1, y[:, None]).mean()

    for loss in (curved, linear):
        assert both(classifier("after"), tasks(2), steps=2, loss=loss) < 1e-9


def test_one_value_cannot_be_normalised() -> None:
    network = classifier("before", depth=4, ways=1)  # 16 → 1
    one = tasks(1, ways=1, shots=1, queries=1)
    with pytest.raises(MetaFaceError, match="more than one value of each channel"):
        MAML(network, steps=1).meta_gradient(one)


def test_what_it_does_not_know_is_left_to_the_plain_way() -> None:
    embedding = Conv4(1, 16, 8, norm="task")
    known = Classifier(embedding, embedding.features, 3)
    assert MAML(known).network_per_task.name == "tasks as channel groups"
    assert MAML(known, fast=False).network_per_task.name == "one by one"
    assert MAML(known, first_order=True).network_per_task.name == "tasks as channel groups"
    colour = Conv4(3, 16, 8, norm="task")
    assert MAML(Classifier(colour, colour.features, 3), first_order=True).network_per_task.name == "one by one"
    assert MAML(known, adapt="head").network_per_task.name == "head only"
    for norm in ("group", "none"):
        other = Conv4(1, 16, 8, norm=norm)
        assert MAML(Classifier(other, other.features, 3)).network_per_task.name == "one by one"

    class Scaled(Conv4):
        def forward(self, images: Tensor) -> Tensor:
            return 2 * super().forward(images)

    other = Scaled(1, 16, 8, norm="task")
    assert ChannelGroups.of(Classifier(other, other.features, 3)) is None
    known.head.bias.requires_grad_(False)
    assert ChannelGroups.of(known) is None


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="made for images 1×16×16, but got 1×20×20"):
        MAML(classifier("after")).meta_gradient(tasks(1, size=20))


def by_hand(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt() * gamma[:, None, None] + beta[:, None, None]


def by_torch(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, gamma, beta, training=True)


@pytest.mark.parametrize(("norm", "wrong"), [(by_torch, True), (by_hand, False)])
def test_vmap_of_whole_tasks_is_silently_wrong(norm: Callable[..., Tensor], wrong: bool) -> None:
    """What suggests itself instead of all this: vmap over tasks, inner gradients inside, the sum differentiated.

    Through `F.batch_norm` with a scale that the inner loop adapts its gradients are off, and nothing says so.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 1, 3, 3), (4,), (4,), (4, 4, 3, 3), (4,), (4,), (3, 4)]
    theta = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    x = torch.randn((2, 2, 6, 1, 8, 8), generator=generator, dtype=torch.float64)  # [T, support and query, S, …]
    y = torch.arange(3).repeat_interleave(2)

    def loss(w: list[Tensor], x: Tensor) -> Tensor:
        for filters, gamma, beta in (w[:3], w[3:6]):
            x = norm(F.conv2d(x, filters, padding=1), gamma, beta).relu()
        return F.cross_entropy(x.mean((2, 3)) @ w[6].T, y)

    def task(x: Tensor) -> Tensor:
        inner = grad(loss)(theta, x[0])
        return loss([w - 0.1 * g for w, g in zip(theta, inner, strict=True)], x[1])

    vectorised = torch.autograd.grad(vmap(task)(x).sum(), theta)
    one_by_one = torch.autograd.grad(torch.stack([task(t) for t in x]).sum(), theta)
    off = distance(list(vectorised), list(one_by_one))
    assert off > 1e-4 if wrong else off < 1e-9
