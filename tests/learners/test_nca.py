"""NCA: the chance of a neighbour and the loss by their sums, its gradient by finite differences, and a training."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.learners.nca import NCA, nca_loss, neighbours
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from metaface_lessons.training import meta_train
from tests.helpers import random_faces

WHO = torch.tensor([7, 7, 3, 7, 3])


def points(seed: int = 0) -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_sums(z: Tensor, who: Tensor, temperature: float) -> tuple[Tensor, float]:
    """p_ik and the loss, as the docstring has them."""
    size = len(z)
    weight = [[math.exp(-float((z[i] - z[k]).square().sum()) / temperature) for k in range(size)] for i in range(size)]
    p, loss = torch.zeros(size, size, dtype=torch.float64), 0.0
    for i in range(size):
        others = [k for k in range(size) if k != i]
        for k in others:
            p[i, k] = weight[i][k] / sum(weight[i][m] for m in others)
        loss -= math.log(sum(float(p[i, k]) for k in others if who[k] == who[i])) / size
    return p, loss


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_chances_and_loss_are_those_of_their_sums(temperature: float) -> None:
    p, loss = by_sums(points(), WHO, temperature)
    log_p = neighbours(points(), temperature)
    torch.testing.assert_close(log_p.exp(), p)
    assert nca_loss(log_p, WHO).item() == pytest.approx(loss)


def test_two_images_of_two_people_have_a_closed_form() -> None:
    """On a line at 0, a, and b, b + a: each image has one of its own at the distance a, two others farther away."""
    a, b = 1.0, 2.5
    z = torch.tensor([[0.0], [a], [b], [b + a]], dtype=torch.float64)
    near, far, middle, wide = (math.exp(-(d**2)) for d in (a, b, b - a, b + a))
    ends, inner = near / (near + far + wide), near / (near + far + middle)
    found = nca_loss(neighbours(z), torch.tensor([0, 0, 1, 1])).item()
    assert found == pytest.approx(-(math.log(ends) + math.log(inner)) / 2)


def test_the_gradient_is_that_of_finite_differences() -> None:
    z, h = points(1), 1e-6
    z.requires_grad_()
    nca_loss(neighbours(z, 1.5), WHO).backward()
    assert z.grad is not None
    for i, d in itertools.product(range(5), range(3)):
        ends = []
        for step in (h, -h):
            moved = z.detach().clone()
            moved[i, d] += step
            ends.append(nca_loss(neighbours(moved, 1.5), WHO).item())
        assert z.grad[i, d].item() == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)


def test_a_person_with_one_image_has_nobody_to_find() -> None:
    with pytest.raises(MetaFaceError, match=r"Person 9 has one image.*two images of each person"):
        nca_loss(neighbours(points()), torch.tensor([7, 7, 3, 9, 3]))


def episodes(first: Tensor) -> Episodes:
    """Two 2-way tasks with person 5 in both; `first` chooses which two of each person's three images are support."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 3, 6, generator=draw, dtype=torch.float64)[:, :, first]  # tasks, people, images, numbers
    y = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
    support = Examples(x[:, :, :2].flatten(1, 2), y[:1].expand(2, -1))
    return Episodes(support, Examples(x[:, :, 2], y[1:, :2].expand(2, -1)), torch.tensor([[5, 13], [2, 5]]))


def test_support_and_query_do_not_matter_and_a_person_is_one_in_all_tasks() -> None:
    torch.manual_seed(0)
    net = NCA(nn.Linear(6, 3).double(), temperature=2.0)
    losses = [net.loss(episodes(torch.tensor(order)))[0].item() for order in ([0, 1, 2], [2, 0, 1])]
    assert losses[0] == pytest.approx(losses[1])
    task = episodes(torch.arange(3))
    x = torch.cat([task.support.x, task.query.x], dim=1).flatten(0, 1)
    who = torch.tensor([5, 5, 13, 13, 5, 13, 2, 2, 5, 5, 2, 5])
    assert losses[0] == pytest.approx(by_sums(net.embedding(x).detach(), who, 2.0)[1])
    scores = net.meta_gradient(task)
    assert scores["loss"] == pytest.approx(losses[0])
    nearest = torch.cdist(net.embedding(x), net.embedding(x)).fill_diagonal_(math.inf).argmin(dim=1)
    assert scores["accuracy"] == pytest.approx((who[nearest] == who).double().mean().item())
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_task_is_met_as_protonet_meets_it() -> None:
    embedding = Conv4(1, 16, 8).eval()
    task = EpisodeSampler(random_faces(people=8, each=6), 5, 2, 3, seed=0).sample()
    answers = [
        net.adapt(task.support).predict(task.query.x)
        for net in (NCA(embedding, 5.0), ProtoNet(embedding, "squared", 5.0))
    ]
    assert torch.equal(*answers)


def test_it_learns_to_tell_strangers_apart() -> None:
    faces = random_faces(people=12, each=10)
    net = NCA(Conv4(*faces.shape[:2], width=8, depth=2), temperature=10.0)
    base = EpisodeSampler(faces.of(torch.arange(8)), 5, 1, 4)
    trained = meta_train(net, base, steps=40, rate=1e-2, progress=False)
    assert trained.history.loss[-1] < trained.history.loss[0] / 2
    novel = EpisodeSampler(faces.of(torch.arange(8, 12)), 3, 1, 4)
    assert evaluate({"it": trained.learner}, novel, 50)["it"].accuracy > 0.5
