"""The frame that every algorithm of the course fills in: a meta-learner, made into a learner by a support set.

A `MetaLearner` holds what is learned slowly, over many episodes. `adapt(support)` makes a `Learner`, which knows the
people of one task (of T tasks at a time) and predicts who is on an image. Any function that maps a support set to a
learner can be evaluated; only those with something to learn slowly are also trained.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from ..episodes import Episodes, Examples


class Learner(Protocol):
    """Recognises the N people of each of T tasks."""

    def predict(self, x: Tensor) -> Tensor:
        """Images `[T, Q, C, H, W]` → logits `[T, Q, N]`."""
        ...


class Adapts(Protocol):
    """Whatever learns a task from its support set: meta-learners and the classical baselines alike."""

    def adapt(self, support: Examples) -> Learner:
        """support: x `[T, S, C, H, W]`, y int64 `[T, S]` with every label 0 to N − 1."""
        ...


class MetaLearner(nn.Module):
    """Slow weights θ, trained over episodes by `training.meta_train`."""

    @property
    def formulation(self) -> str | None:
        """How the network runs for many tasks at once, if there is more than one way; see `InnerLoop`."""
        return None

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Add the gradient of the meta-objective to `.grad` of every parameter; return loss and accuracy to show."""
        raise NotImplementedError

    def adapt(self, support: Examples) -> Learner:
        """See `Adapts.adapt`. Leaves θ as it is."""
        raise NotImplementedError

    def optimiser(self, rate: float) -> torch.optim.Optimizer:
        """What the outer loop descends with: Adam, unless the algorithm says otherwise."""
        return torch.optim.Adam(self.parameters(), lr=rate)
