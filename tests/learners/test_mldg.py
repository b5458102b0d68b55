"""Leave-one-domain-out meta-training: its gradient against an independent computation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metaface_lessons.episodes import DomainSampler, Episodes, EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.procedural import DOMAINS
from metaface_lessons.learners.mldg import MLDG
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.training import meta_train
from tests.helpers import domain_faces

SIZE = 6


def net(seed: int = 0) -> ProtoNet:
    class Scaled(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.double() / 255 - 0.5)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        embedding = Scaled(nn.Flatten(), nn.Linear(SIZE * SIZE, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    return ProtoNet(embedding)


def tasks(seed: int = 0, number: int = 4) -> Episodes:
    return DomainSampler(domain_faces(), DOMAINS, 3, 1, 2, "leave one out", seed).sample(number)


def objective(model: ProtoNet, episodes: Episodes, rate: float, weight: float) -> Tensor:
    """L(θ; S) + β L(θ − α∇L(θ; S); V) at the weights of `model`, with weights copied instead of functional calls."""
    seen, out = episodes.split(len(episodes.identities) // 2)
    here, _ = model.loss(seen)
    gradients = torch.autograd.grad(here, list(model.parameters()))
    moved = net()
    with torch.no_grad():
        for new, old, gradient in zip(moved.parameters(), model.parameters(), gradients, strict=True):
            new.copy_(old - rate * gradient)
    return here.detach() + weight * moved.loss(out)[0].detach()


def slopes(model: ProtoNet, episodes: Episodes, rate: float, weight: float, step: float = 1e-5) -> Tensor:
    """Central differences of `objective` along every weight."""
    found = []
    for parameter in model.parameters():
        flat = parameter.data.view(-1)
        for k in range(len(flat)):
            values = []
            for sign in (1, -1):
                flat[k] += sign * step
                values.append(objective(model, episodes, rate, weight))
                flat[k] -= sign * step
            found.append((values[0] - values[1]) / (2 * step))
    return torch.stack(found)


def gradient(model: MLDG, episodes: Episodes) -> Tensor:
    model.zero_grad()
    model.meta_gradient(episodes)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_the_gradient_is_that_of_the_objective() -> None:
    episodes = tasks()
    got = gradient(MLDG(net(), inner_rate=0.5, weight=0.7), episodes)
    wanted = slopes(net(), episodes, rate=0.5, weight=0.7)
    assert (got - wanted).norm() / wanted.norm() < 1e-7
    plain = gradient(MLDG(net(), inner_rate=0.5, weight=0.7, first_order=True), episodes)
    assert (plain - wanted).norm() / wanted.norm() > 1e-3  # or the test could not tell first from second order


def test_first_order_takes_the_gradient_where_it_stands() -> None:
    episodes = tasks(1)
    seen, out = episodes.split(2)
    model, moved = net(), net()
    here = torch.autograd.grad(model.loss(seen)[0], list(model.parameters()))
    with torch.no_grad():
        for parameter, g in zip(moved.parameters(), here, strict=True):
            parameter -= 0.5 * g
    there = torch.autograd.grad(moved.loss(out)[0], list(moved.parameters()))
    wanted = torch.cat([(a + 2 * b).flatten() for a, b in zip(here, there, strict=True)])
    assert torch.allclose(gradient(MLDG(net(), 0.5, 2.0, first_order=True), episodes), wanted, atol=1e-12)


def test_without_an_inner_step_it_is_plain_training_on_both_halves() -> None:
    episodes = tasks(2)
    model = net()
    seen, out = episodes.split(2)
    total = model.loss(seen)[0] + model.loss(out)[0]
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(total, list(model.parameters()))])
    for first_order in (False, True):
        got = gradient(MLDG(net(), inner_rate=0.0, first_order=first_order), episodes)
        assert torch.allclose(got, wanted, atol=1e-12)


def test_it_trains_and_its_learner_is_protonet() -> None:
    model = MLDG(net(), inner_rate=0.1, first_order=True)
    sampler = DomainSampler(domain_faces(), DOMAINS, 3, 1, 2, "leave one out")
    trained = meta_train(model, sampler, steps=3, tasks=2, progress=False)
    support = sampler.sample(2).support
    assert torch.equal(
        trained.learner.adapt(support).predict(support.x), trained.learner.net.adapt(support).predict(support.x)
    )


def test_what_cannot_be_halved_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="halves the tasks"):
        MLDG(net()).meta_gradient(EpisodeSampler(domain_faces(), 3, 1, 1).sample(3))
    with pytest.raises(MetaFaceError, match="0 or more"):
        MLDG(net(), inner_rate=-1)


def test_weights_that_the_loss_does_not_use_are_left_alone() -> None:
    alone = net()
    model = MLDG(alone)
    plain = model.meta_gradient(tasks())
    alone.embedding.register_parameter("second", nn.Parameter(torch.zeros(2)))
    assert model.meta_gradient(tasks()) == plain
    assert alone.embedding.second.grad is None or not alone.embedding.second.grad.any()
