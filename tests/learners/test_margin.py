"""ArcFace and CosFace: their logits, that they learn, and how they adapt to a task."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.learners.margin import MARGINS, Margin
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from metaface_lessons.training import meta_train
from tests.helpers import random_faces

PEOPLE = torch.tensor([3, 4, 8])


def margin(kind: str, m: float = 0.3, s: float = 8.0) -> Margin:
    return Margin(torch.nn.Flatten(), 4, PEOPLE, kind=kind, margin=m, scale=s).double()


@pytest.mark.parametrize("kind", MARGINS)
def test_the_loss_is_that_of_the_paper(kind: str) -> None:
    net, points = margin(kind), torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 1, 2, 0, 1])
    loss, cosine = net.loss(points, label)
    wanted = 0.0
    for z, y in zip(points, label.tolist(), strict=True):
        angles = [math.acos(float(z @ w / z.norm() / w.norm())) for w in net.head.weight.detach()]
        true = math.cos(angles[y] + 0.3) if kind == "arcface" else math.cos(angles[y]) - 0.3
        logits = [8 * (true if j == y else math.cos(angle)) for j, angle in enumerate(angles)]
        wanted += (math.log(sum(map(math.exp, logits))) - logits[y]) / 5
        assert angles[y] + 0.3 < math.pi
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    assert torch.allclose(cosine, F.normalize(points, dim=1) @ F.normalize(net.head.weight, dim=1).T)


@pytest.mark.parametrize("kind", MARGINS)
def test_a_margin_falls_with_the_angle_everywhere_and_has_finite_slopes(kind: str) -> None:
    cosine = torch.linspace(-1, 1, 401, dtype=torch.float64, requires_grad=True)
    moved = MARGINS[kind](cosine, 0.4)
    assert (moved.diff() > 0).all()
    assert (moved <= cosine).all()
    moved.sum().backward()
    assert torch.isfinite(cosine.grad).all()
    assert (MARGINS[kind](cosine.detach(), 0.0) - cosine.detach()).abs().max() < 1e-5


def test_it_learns_the_base_people_and_compares_strangers_by_their_cosine() -> None:
    faces = random_faces(people=20, each=6, channels=3)
    base, novel = faces.of(torch.arange(12)), faces.of(torch.arange(12, 20))
    conv = Conv4(3, 16, width=8, depth=2)
    net = Margin(conv, conv.features, base.identities)
    test = EpisodeSampler(novel, ways=4, shots=1, queries=2, seed=1)
    before = net.embedding[0].weight.clone()
    trained = meta_train(net, EpisodeSampler(base, 6, 1, 3), steps=60, rate=3e-3, progress=False)
    assert not torch.equal(before, net.embedding[0].weight)
    assert sum(trained.history.accuracy[-10:]) / 10 > 0.8
    assert evaluate({"": trained.learner}, test, 60)[""].accuracy > 0.6
    episode = test.sample(3)
    with torch.no_grad():
        mine = trained.learner.adapt(episode.support).predict(episode.query.x)
        cosine = ProtoNet(trained.learner.embedding, "cosine").adapt(episode.support).predict(episode.query.x)
    assert torch.equal(mine.argmax(-1), cosine.argmax(-1))


def test_the_first_weights_follow_the_seed() -> None:
    one, same, other = (Margin(torch.nn.Flatten(), 4, PEOPLE, seed=seed).head.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "arcfase"}, "Did you mean 'arcface'"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"margin": 2.0}, "margin in 0 to π/2"),
    ],
)
def test_what_cannot_be_a_margin_loss_is_refused(options: dict, message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        Margin(torch.nn.Flatten(), 4, PEOPLE, **options)


def test_strangers_cannot_be_trained_on() -> None:
    faces = random_faces(people=6, each=4)
    net = Margin(torch.nn.Flatten(), 256, faces.identities[:3])
    with pytest.raises(MetaFaceError, match="is not one of the 3 people"):
        net.meta_gradient(EpisodeSampler(faces, 5, 1, 2).sample())
