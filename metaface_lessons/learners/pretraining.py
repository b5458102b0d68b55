"""Pre-train and fine-tune: conventional learning, and the first thing that meta-learning has to beat.

A network learns to distinguish the base people, like any classifier: by cross-entropy, with an embedding f and a linear
layer that has one output for each person. For a task that layer is replaced by a new one, fitted to the support set,

    W ← W − α/S · Σ (softmax(W z) − y) zᵀ  over the support set,   z = f(x)/‖f(x)‖,   starting at W = 0

while the embedding stays as it is. This is the "Baseline" of Chen, Liu, Kira, Wang & Huang (2019, section 3.2), but
with embeddings of length 1, so that one rate α suits all of them.

Here it is a `MetaLearner` like the others, so its batches are episodes: with the same settings it sees the same images
as ProtoNet. But a person has the same label in every episode, and support and query images are used alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError
from .base import MetaLearner


@dataclass
class LinearLearner:
    """Recognises people by a linear layer for each task.

    net: embeds the images.
    weight: `[T, N, D]`, that of the layers.
    """

    net: Pretraining
    weight: Tensor

    def predict(self, x: Tensor) -> Tensor:
        """The logits `[T, Q, N]`.

        x: images `[T, Q, C, H, W]`.
        """
        return self.net.embed(x) @ self.weight.mT


class BaseClassifier(MetaLearner):
    """A network that learns to distinguish the base people: the frame of `Pretraining` and of `margin.Margin`.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    head: points `[M, D]` → one output for each of the base people, `[M, I]`.
    people: the numbers of the base people, int64 `[I]`, sorted. Training episodes must have only these people.
    augment: changes the images of training; None to leave them as they are.
    """

    def __init__(self, embedding: nn.Module, head: nn.Linear, people: Tensor, augment: nn.Module | None) -> None:
        super().__init__()
        self.embedding, self.head, self.augment = embedding, head, augment
        self.people: Tensor
        self.register_buffer("people", people)

    def embed(self, x: Tensor) -> Tensor:
        """Images `[T, S, C, H, W]` → points of length 1, `[T, S, D]`."""
        return F.normalize(self.embedding(x.flatten(0, 1)).unflatten(0, x.shape[:2]), dim=-1)

    def loss(self, points: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of training, and the logits `[M, I]` that predict.

        points: `[M, D]`.
        label: int64 `[M]`, in 0 to I − 1.
        """
        raise NotImplementedError

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Add the gradient of the loss to `.grad`, on all images of the episodes: no inner loop, and no tasks.

        Raises `MetaFaceError` if somebody in the episodes is not one of the base people.
        """
        x = torch.cat([episodes.support.x, episodes.query.x], dim=1).flatten(0, 1)
        y = torch.cat([episodes.support.y, episodes.query.y], dim=1)
        who = episodes.identities.gather(1, y).flatten()
        label = torch.searchsorted(self.people, who).clamp(max=len(self.people) - 1)
        if (strangers := who[self.people[label] != who]).numel():
            raise MetaFaceError(
                f"Person {int(strangers[0])} is not one of the {len(self.people)} people that this network was made to"
                " distinguish. Train it only on episodes of those people."
            )
        loss, logits = self.loss(self.embedding(x if self.augment is None else self.augment(x)), label)
        loss.backward()
        return {"loss": loss.item(), "accuracy": (logits.argmax(dim=-1) == label).float().mean().item()}


class Pretraining(BaseClassifier):
    """Learns the base people in training, and a new last layer for each task.

    embedding, people, augment: see `BaseClassifier`.
    features: D, the coordinates of the embedding.
    steps: how many steps of gradient descent fit the new layer.
    inner_rate: α, the rate of these steps.

    Raises `MetaFaceError` if steps or inner_rate are out of range, or if an episode has an unknown person.
    """

    def __init__(
        self,
        embedding: nn.Module,
        features: int,
        people: Tensor,
        *,
        steps: int = 100,
        inner_rate: float = 10.0,
        augment: nn.Module | None = None,
    ) -> None:
        if steps < 1:
            raise MetaFaceError(f"steps must be at least 1, but is {steps}.")
        if not inner_rate > 0:
            raise MetaFaceError(f"inner_rate must be above 0, but is {inner_rate}.")
        super().__init__(embedding, nn.Linear(features, len(people)), people, augment)
        self.steps, self.inner_rate = steps, inner_rate
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def loss(self, points: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The cross-entropy, and the logits; see `BaseClassifier.loss`."""
        logits = self.head(points)
        return F.cross_entropy(logits, label), logits

    def adapt(self, support: Examples) -> LinearLearner:
        with torch.no_grad():
            points = self.embed(support.x)
            truth = F.one_hot(support.y).to(points.dtype)  # [T, S, N]
            weight = points.new_zeros(len(points), truth.shape[-1], points.shape[-1])
            for _ in range(self.steps):
                error = (points @ weight.mT).softmax(dim=-1) - truth
                # W ← W − α/S · Σ (softmax(W z) − y) zᵀ
                weight = weight - self.inner_rate * error.mT @ points / points.shape[1]
        return LinearLearner(self, weight)
