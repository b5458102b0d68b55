"""MAML written with learn2learn's API computes what `MAML` computes, and judges queries by the same statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metaface_lessons.episodes import Episodes, EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.learn2learn_maml import Learn2LearnMAML
from metaface_lessons.learners.maml import MAML
from metaface_lessons.networks import Classifier, Conv4
from tests.helpers import random_faces

pytestmark = pytest.mark.needs("learn2learn")


@pytest.fixture
def episodes() -> Episodes:
    faces = random_faces(people=6, each=6)
    return EpisodeSampler(faces, 3, 2, 3, seed=0).sample(tasks=2)


@pytest.mark.parametrize("first_order", [False, True])
def test_gradients_are_equal(episodes: Episodes, first_order: bool) -> None:
    images = episodes.support.x.shape[2:]
    embedding = Conv4(images[0], images[1], width=4, depth=2, norm="task")
    found = []
    for kind in (MAML, Learn2LearnMAML):
        net = kind(
            Classifier(embedding, embedding.features, ways=3).double(),
            steps=3,
            test_steps=3,
            inner_rate=0.2,
            first_order=first_order,
        )
        net.zero_grad()
        scores = net.meta_gradient(episodes)
        gradient = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        found.append((gradient, scores, net.adapt(episodes.support).predict(episodes.query.x)))
    (gradient, scores, logits), (theirs, their_scores, their_logits) = found
    assert (gradient - theirs).norm() < 1e-9 * gradient.norm()
    assert scores == pytest.approx(their_scores, abs=1e-9)
    torch.testing.assert_close(logits, their_logits, rtol=0, atol=1e-9)


class TwoHeads(nn.Sequential):
    """Has a second head, which no output depends on."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(nn.Flatten(), *layers, nn.Linear(256, 3))
        self.second = nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self)[:-1]:
            x = layer(x.float() / 255 if layer is self[0] else x)
        return x


def test_networks_are_held_to_what_maml_asks_of_them(episodes: Episodes) -> None:
    few = {"steps": 1, "test_steps": 1, "inner_rate": 0.1}
    net = Learn2LearnMAML(TwoHeads(), **few)
    assert net.meta_gradient(episodes)["loss"] > 0
    assert net.adapt(episodes.support).predict(episodes.query.x).isfinite().all()
    with pytest.raises(MetaFaceError, match="has dropout"):
        Learn2LearnMAML(TwoHeads(nn.Dropout()), **few)
    changing = Learn2LearnMAML(TwoHeads(nn.utils.parametrizations.spectral_norm(nn.Linear(256, 256))), **few)
    with pytest.raises(MetaFaceError, match="not compute the same function twice"):
        changing.adapt(episodes.support)
