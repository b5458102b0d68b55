"""Margin losses: how face recognition is trained in industry, and so the first thing to compare with.

As in pre-training, a network learns to distinguish the base people. But the embedding z and each person's weights w_j
have length 1, so that the logits are cosines, and the true person y must win by a margin m. With θ_j the angle between
z and w_j, and s a scale, the loss is the cross-entropy of the logits

    s · cos θ_j  for j ≠ y,   and for the true one   s · cos(θ_y + m)      ArcFace (Deng et al. 2019, equation 3)
                                                or   s · (cos θ_y − m)      CosFace (Wang et al. 2018, equation 4)

So images of one person are drawn together until they are nearer to that person than to anyone else *by m*. Strangers
are then compared by the cosine of their embeddings. For a task, the prototypes are the class means of the embeddings.

All directions must be possible, so the embedding should end linearly, as in the papers: see `networks.LinearEmbedding`.
Deng et al. take s = 64 and m = 0.5 (section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Examples
from ..errors import MetaFaceError, unknown
from .pretraining import BaseClassifier
from .protonet import ProtoNet, PrototypeLearner


def additive_angle(cosine: Tensor, m: float) -> Tensor:
    """cos(θ + m), the logit of ArcFace.

    Beyond θ = π − m that would rise again. So it is replaced there by cos θ − m·sin m, which goes on falling (as in the
    authors' code).

    cosine: cos θ, of any shape.
    m: the margin, in radians.
    """
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()  # the slope of acos at ±1 is infinite
    return torch.where(angle + m <= math.pi, (angle + m).cos(), cosine - m * math.sin(m))


def additive_cosine(cosine: Tensor, m: float) -> Tensor:
    """cos θ − m, the logit of CosFace.

    cosine: cos θ, of any shape.
    m: the margin.
    """
    return cosine - m


MARGINS: dict[str, Callable[[Tensor, float], Tensor]] = {"arcface": additive_angle, "cosface": additive_cosine}


class Margin(BaseClassifier):
    """A network trained by a margin loss on the base people; it compares strangers by the cosine.

    embedding: see `BaseClassifier`; one that ends in ReLU keeps all faces within 90° of each other.
    people, augment: see `BaseClassifier`.
    features: D, the coordinates of the embedding.
    kind: "arcface" or "cosface".
    scale: s.
    margin: m, in radians for ArcFace.
    seed: of the initial weights of the people.

    Raises `MetaFaceError` for an unknown kind, a scale or margin out of range, or an episode with an unknown person.
    """

    def __init__(
        self,
        embedding: nn.Module,
        features: int,
        people: Tensor,
        *,
        kind: str = "arcface",
        scale: float = 10.0,
        margin: float = 0.3,
        augment: nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        if kind not in MARGINS:
            raise unknown("margin loss", kind, MARGINS)
        if not scale > 0 or not 0 <= margin < math.pi / 2:
            raise MetaFaceError(f"scale must be above 0 and margin in 0 to π/2, but they are {scale} and {margin}.")
        super().__init__(embedding, nn.Linear(features, len(people), bias=False), people, augment)
        self.kind, self.scale, self.margin = kind, scale, margin
        with torch.no_grad():
            self.head.weight.normal_(generator=torch.Generator().manual_seed(seed))

    def loss(self, points: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The cross-entropy with the margin, and the logits without it; see `BaseClassifier.loss`."""
        cosine = F.normalize(points, dim=-1) @ F.normalize(self.head.weight, dim=-1).mT
        true = cosine.gather(1, label[:, None])
        logits = self.scale * cosine.scatter(1, label[:, None], MARGINS[self.kind](true, self.margin))
        return F.cross_entropy(logits, label), cosine

    def adapt(self, support: Examples) -> PrototypeLearner:
        """Learn the people of each task as a `ProtoNet` with the cosine does."""
        return ProtoNet(self.embedding, "cosine", temperature=1 / self.scale).adapt(support)
