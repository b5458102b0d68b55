"""The frame that every algorithm of the course fills in: a support set turns a meta-learner into a learner.

A `MetaLearner` holds what is learned slowly, over many episodes. Its `adapt(support)` makes a `Learner`, which knows
the people of one task and predicts who is on an image. Both work on T tasks at a time. Anything with an `adapt` can be
evaluated; a `MetaLearner` can also be trained.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from ..episodes import Episodes, Examples


class Learner(Protocol):
    """Recognises the N people of each of T tasks."""

    def predict(self, x: Tensor) -> Tensor:
        """Who is on each image, as logits `[T, Q, N]`.

        x: images `[T, Q, C, H, W]`.
        """
        ...


class Adapts(Protocol):
    """Anything that learns a task from its support set: a meta-learner or a classical baseline."""

    def adapt(self, support: Examples) -> Learner:
        """Learn the people of each task from their support images.

        support: x `[T, S, C, H, W]`; y int64 `[T, S]`, in which every label 0 to N − 1 occurs.
        """
        ...


class MetaLearner(nn.Module):
    """Slow weights θ, trained over episodes by `training.meta_train`.

    weight_decay: of the outer loop, apart from the gradient (AdamW, Loshchilov & Hutter 2019); 0 for Adam.
    outer_step: the steps that the outer loop has made. `training.meta_train` sets it before each one.
    divisible: whether several processes can share the tasks of a step (see `shares`).
    """

    weight_decay: float = 0.0
    outer_step: int = 0
    divisible: bool = True

    @property
    def formulation(self) -> str | None:
        """The name of the way in which the network runs for many tasks (see `InnerLoop`); None if there is only one."""
        return None

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Add the gradient of the meta-objective to the `.grad` of every parameter.

        Returns "loss" and "accuracy", which the training shows.
        """
        raise NotImplementedError

    def adapt(self, support: Examples) -> Learner:
        """Learn the people of each task, and leave θ as it is; see `Adapts.adapt`."""
        raise NotImplementedError

    def optimiser(self, rate: float) -> torch.optim.Optimizer:
        """The optimiser of the outer loop: Adam, unless an algorithm overrides this.

        rate: the learning rate of the outer loop.
        """
        if self.weight_decay:
            return torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=self.weight_decay)
        return torch.optim.Adam(self.parameters(), lr=rate)

    def outer_rate(self, rate: float, halve_every: float) -> float:
        """The learning rate of the outer loop at `outer_step`: it halves again and again, unless this is overridden.

        rate: that of the first step.
        halve_every: the number of steps in which it falls to half.
        """
        return float(rate * 0.5 ** (self.outer_step / halve_every))
