"""ProtoMAML, proven in float64: a prototypical network at the start, finite differences, any number of people."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.inner_loop import OneByOne
from metaface_lessons.learners.maml import RATES
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4, TaskNorm
from metaface_lessons.training import meta_train
from tests.helpers import random_faces

FACES = random_faces(people=12, each=8)


def protomaml(norm: str = "task", **options: object) -> ProtoMAML:
    embedding = Conv4(1, 16, 8, depth=2, norm=norm).double()
    return ProtoMAML(embedding, embedding.features, **{"temperature": 10.0, **options})


def images(ways: int = 4, tasks: int = 3, shots: int = 2) -> Episodes:
    return EpisodeSampler(FACES, ways, shots, queries=3, seed=1).sample(tasks)


def centred(logits: Tensor) -> Tensor:
    """What is the same for all people of a query has no say."""
    return logits - logits.mean(dim=-1, keepdim=True)


@pytest.mark.parametrize("adapt", ["all", "head"])
@pytest.mark.parametrize("norm", ["task", "group", "none"])
@pytest.mark.parametrize("ways", [2, 4, 7])
def test_without_inner_steps_it_is_the_prototypical_network(ways: int, norm: str, adapt: str) -> None:
    net, episodes = protomaml(norm, test_steps=0, transductive=True, adapt=adapt), images(ways)
    prototypical = ProtoNet(net.network.embedding, temperature=10.0)
    for t in range(3):  # task by task: batch statistics are those of one task
        task = Episodes(*(Examples(e.x[t : t + 1], e.y[t : t + 1]) for e in (episodes.support, episodes.query)), None)
        with torch.no_grad():
            wanted = prototypical.adapt(task.support).predict(task.query.x)
        ours = net.adapt(episodes.support).predict(episodes.query.x)[t : t + 1]
        assert ours.shape == wanted.shape
        assert (centred(ours) - centred(wanted)).abs().max() < 1e-11
    moved = protomaml(norm, test_steps=1, adapt=adapt).adapt(episodes.support).predict(episodes.query.x)[2:]
    assert (centred(ours) - centred(moved)).abs().max() > 1e-3, "an inner step changes something"


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("first_order", [False, True])
def test_without_inner_steps_the_meta_gradient_is_that_of_the_prototypical_network(
    steps: int, first_order: bool
) -> None:
    net, episodes = protomaml("group", steps=steps, first_order=first_order), images()
    net.meta_gradient(episodes)
    ours = [w.grad.clone() for w in net.network.embedding.parameters()]
    net.zero_grad()
    ProtoNet(net.network.embedding, temperature=10.0).meta_gradient(episodes)
    wanted = [w.grad for w in net.network.embedding.parameters()]
    error = max((a - b).abs().max() for a, b in zip(ours, wanted, strict=True))
    assert error < 1e-13 if steps == 0 else error > 1e-4


# --------------------------------------------------------------------------------------------------- finite differences


KINDS = {
    "all": {},
    "head": {"adapt": "head"},
    "layer": {"rates": "layer"},
    "parameter": {"rates": "parameter"},
    "transductive": {"transductive": True},
}


def smooth(kind: str, steps: int, first_order: bool = False) -> tuple[ProtoMAML, Episodes]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        embedding = nn.Sequential(
            nn.Conv2d(1, 2, 3, bias=False), TaskNorm(2), nn.Tanh(), nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten()
        ).double()
        for parameter in embedding.parameters():
            nn.init.normal_(parameter, std=0.7)
        x = torch.randn((2, 12, 1, 4, 4), dtype=torch.float64)
    y = torch.arange(3).repeat(2, 2)
    episodes = Episodes(Examples(x[:, :6], y), Examples(x[:, 6:], y), torch.zeros(2, 3).long())
    options = {"temperature": 2.0, "inner_rate": 0.4, **KINDS[kind]}
    return ProtoMAML(embedding, 3, steps=steps, first_order=first_order, **options), episodes


def gradients(net: ProtoMAML, episodes: Episodes) -> dict[str, Tensor]:
    net.zero_grad()
    net.meta_gradient(episodes)
    return {name: w.grad.clone() for name, w in net.named_parameters() if w.grad is not None}


@functools.cache
def central_differences(kind: str, steps: int, h: float = 1e-5) -> dict[str, Tensor]:
    net, episodes = smooth(kind, steps)
    slopes = {}
    for name, w in net.named_parameters():
        if w.requires_grad:
            flat, slope = w.data.view(-1), torch.zeros_like(w).view(-1)
            for i, start in enumerate(flat.tolist()):
                values = []
                for moved in (start + h, start - h):
                    flat[i] = moved
                    values.append(net.trajectory(episodes, steps).query_loss[:, -1].mean().item())
                flat[i], slope[i] = start, (values[0] - values[1]) / (2 * h)
            slopes[name] = slope.view_as(w)
    assert max(slope.abs().max() for slope in slopes.values()) > 1e-2, "a gradient of zeros proves nothing"
    return slopes


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_gradient_by_central_differences(kind: str, steps: int) -> None:
    slopes, found = central_differences(kind, steps), gradients(*smooth(kind, steps))
    assert set(slopes) - set(found) <= {"network.head.weight", "network.head.bias", "rates"}
    for name, slope in slopes.items():
        assert (found.get(name, torch.zeros_like(slope)) - slope).abs().max() < 1e-7


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_order_gradient_fails_that_test(kind: str, steps: int) -> None:
    slopes, first = central_differences(kind, steps), gradients(*smooth(kind, steps, first_order=True))
    assert max((first[name] - slopes[name]).abs().max() for name in first) > 1e-3


def test_the_gradient_through_the_prototypes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the finite differences notice: the start of the head is not constant."""
    net, episodes = smooth("all", 1)
    start = ProtoMAML.start

    def detached(self: ProtoMAML, support: Examples) -> dict[str, Tensor]:
        made = start(self, support)
        return {n: w.detach().requires_grad_() if n.startswith("head.") else w for n, w in made.items()}

    monkeypatch.setattr(ProtoMAML, "start", detached)
    slopes, found = central_differences("all", 1), gradients(net, episodes)
    assert max((found[name] - slopes[name]).abs().max() for name in found) > 1e-3


# -------------------------------------------------------------------------------------------- formulations and training


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_fast_formulation_is_equal_to_the_plain_one(steps: int, rates: str) -> None:
    net = protomaml(steps=steps, rates=rates)
    assert net.network_per_task.name == "tasks as channel groups"
    fast = gradients(net, images())
    net.network_per_task = OneByOne(net.network)
    for name, wanted in gradients(net, images()).items():
        assert (fast[name] - wanted).norm() < 1e-9 * wanted.norm()


def test_one_network_learns_tasks_of_any_number_of_people() -> None:
    split = random_faces(people=60, each=6).split(seed=1)
    embedding = Conv4(1, 16, 8, depth=2, norm="task")
    net = ProtoMAML(embedding, embedding.features, temperature=10.0, steps=2, inner_rate=0.05, rates="layer")
    tests = [EpisodeSampler(split.novel, ways, 1, 3).sample(tasks=20) for ways in (3, 7)]
    before = [net.trajectory(test).query_loss[:, -1].mean() for test in tests]
    meta_train(net, EpisodeSampler(split.base, 5, 1, 3), steps=25, tasks=4, rate=1e-2, progress=False)
    for test, was in zip(tests, before, strict=True):
        assert net.adapt(test.support).predict(test.query.x).shape[-1] == test.ways
        assert net.trajectory(test).query_loss[:, -1].mean() < 0.8 * was


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(MetaFaceError, match=r"temperature must be above 0, but is 0\.0"):
        protomaml(temperature=0.0)
    (x, y), net = images(tasks=2).support, protomaml()
    with pytest.raises(MetaFaceError, match="support set of task 1 has no example of class 2"):
        net.adapt(Examples(x, torch.stack([y[0], torch.where(y[1] == 2, 3, y[1])])))
