"""Prototypical Networks (Snell, Swersky & Zemel 2017).

An embedding f with weights θ maps a face to a point. Of each class k, the support set S_k gives the prototype

    c_k = 1/|S_k| · Σ f(x)  over x in S_k                                      (paper, equation 1)

a query is classified by how near it is to the prototypes,

    p(y = k | x) = exp(−d(f(x), c_k)) / Σ_j exp(−d(f(x), c_j))                 (paper, equation 2)

and θ learns by gradient descent on −log p(y | x), averaged over the query sets of many episodes. With d the *squared*
Euclidean distance, which is a Bregman divergence, the mean is the best prototype (section 2.3) and the classifier is
linear in the embedding (section 2.4, equation 8):

    −‖f(x) − c_k‖² = 2c_k · f(x) − ‖c_k‖² + a term that is the same for all k
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .episodes import Episodes, Examples
from .errors import MetaFaceError, unknown
from .learners import MetaLearner


def prototypes(embeddings: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The mean embedding of each class (equation 1): `[T, S, D]`, labels `[T, S]` → `[T, N, D]`.

    Classes may have different numbers of examples. Raises `MetaFaceError` if one has none.
    """
    member = F.one_hot(labels, ways).to(embeddings.dtype)  # [T, S, N]
    count = member.sum(dim=1)  # [T, N]
    if (count == 0).any():
        task, way = (count == 0).nonzero()[0].tolist()
        raise MetaFaceError(
            f"The support set of task {task} has no example of class {way}, so that class has no prototype."
            f" Every label 0 to {ways - 1} must occur."
        )
    return torch.einsum("tsn,tsd->tnd", member, embeddings) / count[:, :, None]


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² for all pairs: `[…, Q, D]`, `[…, N, D]` → `[…, Q, N]`."""
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(dim=-1)


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ for all pairs. Not a Bregman divergence: the mean is not its best prototype."""
    return squared_euclidean(a, b).clamp(min=1e-12).sqrt()  # the slope of √ at 0 is infinite


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """1 − cos(a, b) for all pairs: half the squared Euclidean distance of the unit vectors along a and b."""
    return squared_euclidean(F.normalize(a, dim=-1), F.normalize(b, dim=-1)) / 2


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": squared_euclidean,
    "euclidean": euclidean,
    "cosine": cosine,
}


@dataclass
class PrototypeLearner:
    """Knows a prototype `[T, N, D]` of each of the N people of T tasks."""

    net: ProtoNet
    prototypes: Tensor

    def predict(self, x: Tensor) -> Tensor:
        """Images `[T, Q, C, H, W]` → logits `[T, Q, N]` (equation 2 before the softmax)."""
        return self.net.logits(self.net.embed(x), self.prototypes)


class ProtoNet(MetaLearner):
    """The meta-learner: its slow weights are those of the embedding.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    distance: "squared" (the paper's), "euclidean", or "cosine". With "cosine" embeddings are normalised to length 1
        before the mean, and the prototype again: then it is the best prototype of that distance, too.
    temperature: distances are divided by it before the softmax. A cosine distance lies in 0 to 2, so it wants a
        temperature well below 1, or no prediction can be confident.
    augment: changes the images of training episodes, support and query alike.
    """

    def __init__(
        self,
        embedding: nn.Module,
        distance: str = "squared",
        temperature: float = 1.0,
        augment: nn.Module | None = None,
    ) -> None:
        if distance not in DISTANCES:
            raise unknown("distance", distance, DISTANCES)
        if not temperature > 0:
            raise MetaFaceError(f"temperature must be above 0, but is {temperature}.")
        super().__init__()
        self.embedding, self.distance, self.temperature, self.augment = embedding, distance, temperature, augment

    def embed(self, x: Tensor) -> Tensor:
        """Images `[T, S, C, H, W]` → points `[T, S, D]`."""
        points = self.embedding(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return F.normalize(points, dim=-1) if self.distance == "cosine" else points

    def logits(self, points: Tensor, prototypes: Tensor) -> Tensor:
        """Points `[T, Q, D]`, prototypes `[T, N, D]` → `[T, Q, N]`."""
        return -DISTANCES[self.distance](points, prototypes) / self.temperature

    def loss(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Mean −log p(y | x) over all queries of all tasks, and the logits `[T, Q, N]`."""
        x = torch.cat([episodes.support.x, episodes.query.x], dim=1)  # one pass, so one set of batch statistics
        if self.augment is not None:
            x = self.augment(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        shots = episodes.support.x.shape[1]
        points = self.embed(x)
        centres = prototypes(points[:, :shots], episodes.support.y, episodes.ways)
        logits = self.logits(points[:, shots:], centres)
        return F.cross_entropy(logits.flatten(0, 1), episodes.query.y.flatten()), logits

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        loss, logits = self.loss(episodes)
        loss.backward()
        correct = logits.argmax(dim=-1) == episodes.query.y
        return {"loss": loss.item(), "accuracy": correct.float().mean().item()}

    def adapt(self, support: Examples) -> PrototypeLearner:
        ways = int(support.y.max()) + 1
        return PrototypeLearner(self, prototypes(self.embed(support.x), support.y, ways))
