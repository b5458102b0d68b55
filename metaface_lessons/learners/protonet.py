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

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError, unknown
from .base import MetaLearner


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
    in_turn: in training, let every image of an episode be support in turn, with the others as queries, and average the
        losses. Embedding the images is nearly all the work, so K + Q images give (K + Q) / K times the signal for it.
    """

    def __init__(
        self,
        embedding: nn.Module,
        distance: str = "squared",
        temperature: float = 1.0,
        augment: nn.Module | None = None,
        in_turn: bool = False,
    ) -> None:
        if distance not in DISTANCES:
            raise unknown("distance", distance, DISTANCES)
        if not temperature > 0:
            raise MetaFaceError(f"temperature must be above 0, but is {temperature}.")
        super().__init__()
        self.embedding, self.augment = embedding, augment
        self.distance, self.temperature, self.in_turn = distance, temperature, in_turn

    def embed(self, x: Tensor) -> Tensor:
        """Images `[T, S, C, H, W]` → points `[T, S, D]`."""
        points = self.embedding(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return F.normalize(points, dim=-1) if self.distance == "cosine" else points

    def logits(self, points: Tensor, prototypes: Tensor) -> Tensor:
        """Points `[T, Q, D]`, prototypes `[T, N, D]` → `[T, Q, N]`."""
        return -DISTANCES[self.distance](points, prototypes) / self.temperature

    def loss(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """The mean of −log p(y | x) over all queries of all tasks, and their logits `[T, N·Q, N]`, turn after turn."""
        ways = episodes.ways
        x = torch.cat([examples.x.unflatten(1, (ways, -1)) for examples in (episodes.support, episodes.query)], dim=2)
        images, (shots, each) = x.flatten(1, 2), (episodes.support.x.shape[1] // ways, x.shape[2])
        if self.augment is not None:
            images = self.augment(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        points = self.embed(images).unflatten(1, (ways, each))  # [T, N, K + Q, D], in one pass: one batch of statistics

        logits = []
        for first in range(0, each - shots + 1, shots) if self.in_turn else [0]:
            turned = points.roll(-first, dims=2)
            centres = prototypes(turned[:, :, :shots].flatten(1, 2), episodes.support.y, ways)
            logits.append(self.logits(turned[:, :, shots:].flatten(1, 2), centres))
        y = episodes.query.y.repeat(1, len(logits))
        return F.cross_entropy(torch.cat(logits, dim=1).flatten(0, 1), y.flatten()), torch.cat(logits, dim=1)

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        loss, logits = self.loss(episodes)
        loss.backward()
        y = episodes.query.y.repeat(1, logits.shape[1] // episodes.query.y.shape[1])
        return {"loss": loss.item(), "accuracy": (logits.argmax(dim=-1) == y).float().mean().item()}

    def adapt(self, support: Examples) -> PrototypeLearner:
        ways = int(support.y.max()) + 1
        return PrototypeLearner(self, prototypes(self.embed(support.x), support.y, ways))
