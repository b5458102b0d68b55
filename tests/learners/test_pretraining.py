"""Pre-training tells the base people apart; gradient descent on the support set gives the new last layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.learners.pretraining import Pretraining
from metaface_lessons.networks import Conv4
from metaface_lessons.training import meta_train
from tests.helpers import random_faces

PEOPLE = torch.tensor([2, 3, 5, 8, 13])


def episodes() -> Episodes:
    """Two 2-way tasks of numbers, with person 5 as label 0 in the one and as label 1 in the other."""
    draw = torch.Generator().manual_seed(0)
    x, query = (torch.randn(2, 4, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    y = torch.tensor([0, 0, 1, 1]).expand(2, -1)
    return Episodes(Examples(x, y), Examples(query, y), torch.tensor([[5, 13], [2, 5]]))


def learner(**options: float) -> Pretraining:
    torch.manual_seed(0)
    return Pretraining(nn.Linear(6, 3), 3, PEOPLE, **options).double()  # type: ignore[arg-type]


def test_a_person_has_one_label_in_all_episodes() -> None:
    net, tasks = learner(), episodes()
    scores = net.meta_gradient(tasks)
    x = torch.cat([tasks.support.x, tasks.query.x], dim=1).flatten(0, 1)
    label = torch.tensor([2, 2, 4, 4, 2, 2, 4, 4, 0, 0, 2, 2, 0, 0, 2, 2])  # places of 5, 13, 2 and 5 among the people
    loss = F.cross_entropy(net.head(net.embedding(x)), label)
    wanted = torch.autograd.grad(loss, [*net.parameters()])
    assert scores["loss"] == pytest.approx(loss.item(), abs=1e-12)
    for parameter, gradient in zip(net.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-12)


def test_the_new_layer_is_that_of_gradient_descent() -> None:
    net, tasks = learner(steps=3, inner_rate=2.0), episodes()
    fitted = net.adapt(tasks.support)
    for task, (x, y) in enumerate(zip(*tasks.support, strict=True)):
        points = F.normalize(net.embedding(x), dim=-1).detach()
        weight = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
        for _ in range(3):
            (gradient,) = torch.autograd.grad(F.cross_entropy(points @ weight.T, y), [weight])
            weight = (weight - 2 * gradient).detach().requires_grad_()
        torch.testing.assert_close(fitted.weight[task], weight, rtol=0, atol=1e-12)
    assert fitted.predict(tasks.query.x).shape == (2, 4, 2)
    assert not fitted.weight.requires_grad


def test_what_cannot_be_trained_is_refused() -> None:
    strangers = Episodes(episodes().support, episodes().query, torch.tensor([[5, 4], [2, 5]]))
    with pytest.raises(MetaFaceError, match="Person 4 is not one of the 5 people"):
        learner().meta_gradient(strangers)
    with pytest.raises(MetaFaceError, match="steps must be at least 1"):
        learner(steps=0)
    with pytest.raises(MetaFaceError, match="inner_rate must be above 0"):
        learner(inner_rate=-1.0)


def test_it_learns_to_tell_strangers_apart() -> None:
    faces = random_faces(people=12, each=10)
    base = faces.of(torch.arange(8))
    embedding = Conv4(*faces.shape[:2], width=8, depth=2)
    net = Pretraining(embedding, embedding.features, base.identities)
    trained = meta_train(net, EpisodeSampler(base, 5, 1, 4), steps=40, rate=1e-2, progress=False)
    before, after = trained.history.loss[0], trained.history.loss[-1]
    assert after < before / 2
    novel = EpisodeSampler(faces.of(torch.arange(8, 12)), 3, 1, 4)
    assert evaluate({"it": trained.learner}, novel, 50)["it"].accuracy > 0.5
