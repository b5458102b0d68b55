"""Prototypical Networks (Snell, Swersky & Zemel 2017): compare a face with the mean face of each person.

An embedding f with weights θ maps a face to a point. The support set S_k of each class k gives its prototype,

    c_k = 1/|S_k| · Σ f(x)  over x in S_k                                      (paper, equation 1)

A query is classified by its distance to the prototypes,

    p(y = k | x) = exp(−d(f(x), c_k)) / Σ_j exp(−d(f(x), c_j))                 (paper, equation 2)

and θ learns by gradient descent on −log p(y | x), averaged over the query sets of many episodes. The paper takes the
*squared* Euclidean distance for d. That is a Bregman divergence, so the mean is the best prototype (section 2.3), and
the classifier is linear in the embedding (section 2.4, equation 8):

    −‖f(x) − c_k‖² = 2c_k · f(x) − ‖c_k‖² + a term that is the same for all k
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Episodes, Examples, examples_per_class
from ..errors import MetaFaceError, unknown
from .base import MetaLearner


def prototypes(embeddings: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The mean embedding of each class (equation 1): `[T, N, D]`.

    embeddings: `[T, S, D]`. Classes may have different numbers of examples.
    labels: int64 `[T, S]`, in 0 to N − 1.
    ways: N.

    Raises `MetaFaceError` if a class has no example.
    """
    count = examples_per_class(labels, ways)  # |S_k|
    member = F.one_hot(labels, ways).to(embeddings.dtype)  # [T, S, N]
    return torch.einsum("tsn,tsd->tnd", member, embeddings) / count[:, :, None]


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² for all pairs: `[…, Q, D]`, `[…, N, D]` → `[…, Q, N]`."""
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(dim=-1)


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ for all pairs. This is not a Bregman divergence, so the mean is not its best prototype."""
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
    """Recognises the person whose prototype is nearest.

    net: embeds the images.
    prototypes: `[T, N, D]`, one for each of the N people of T tasks.
    """

    net: ProtoNet
    prototypes: Tensor

    def predict(self, x: Tensor) -> Tensor:
        """Logits `[T, Q, N]`: equation 2 before the softmax.

        x: images `[T, Q, C, H, W]`.
        """
        return self.net.logits(self.net.embed(x), self.prototypes)


class ProtoNet(MetaLearner):
    """The meta-learner: its slow weights are those of the embedding.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    distance: "squared" (the paper's), "euclidean", or "cosine". With "cosine", embeddings are scaled to length 1
        before the mean and the prototype is scaled again, so that it is the best one for that distance.
    temperature: distances are divided by it before the softmax. A cosine distance is between 0 and 2, so it needs a
        temperature well below 1; with a larger one no prediction can be confident.
    augment: changes the images of training episodes, support and query alike.
    in_turn: in training, let every image of an episode be support in turn, with the others as queries, and average the
        losses. Nearly all the work is in embedding the images, so K + Q images of each person give (K + Q)/K times the
        signal for the same work.

    Raises `MetaFaceError` for an unknown distance, or a temperature that is not above 0.
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
        """Points `[T, Q, D]`, prototypes `[T, N, D]` → logits `[T, Q, N]`."""
        return -DISTANCES[self.distance](points, prototypes) / self.temperature  # −d(f(x), c_k)

    def loss(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """The loss of training, −log p(y | x) averaged over all queries of all tasks; and the logits of the queries.

        The logits are `[T, N·Q, N]`; with `in_turn`, those of one turn after the other.
        """
        ways, shots = episodes.ways, episodes.support.x.shape[1] // episodes.ways
        # The images of each person are put side by side, the support images first: [T, N, K + Q, C, H, W].
        images = torch.cat([part.x.unflatten(1, (ways, -1)) for part in (episodes.support, episodes.query)], dim=2)
        images_each = images.shape[2]
        images = images.flatten(1, 2)
        if self.augment is not None:
            images = self.augment(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        # One pass embeds them all, so that a batch normalisation sees one batch.
        points = self.embed(images).unflatten(1, (ways, images_each))

        turns = []
        for first in range(0, images_each - shots + 1, shots) if self.in_turn else [0]:
            # In this turn the K images from `first` on are the support set, and the others are queries.
            support, query = points.roll(-first, dims=2).split([shots, images_each - shots], dim=2)
            centres = prototypes(support.flatten(1, 2), episodes.support.y, ways)
            turns.append(self.logits(query.flatten(1, 2), centres))
        logits, y = torch.cat(turns, dim=1), episodes.query.y.repeat(1, len(turns))
        return F.cross_entropy(logits.flatten(0, 1), y.flatten()), logits  # −log p(y | x)

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        loss, logits = self.loss(episodes)
        loss.backward()
        y = episodes.query.y.repeat(1, logits.shape[1] // episodes.query.y.shape[1])
        return {"loss": loss.item(), "accuracy": (logits.argmax(dim=-1) == y).float().mean().item()}

    def adapt(self, support: Examples) -> PrototypeLearner:
        ways = int(support.y.max()) + 1
        return PrototypeLearner(self, prototypes(self.embed(support.x), support.y, ways))
