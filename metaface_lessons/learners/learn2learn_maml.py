"""MAML as one writes it with learn2learn (Arnold et al. 2020), to compare with `maml`, which is written from scratch.

Both have the same networks, tasks and gradients. `learn2learn_library` explains how learn2learn is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..networks import statistics_of_first
from .base import MetaLearner
from .inner_loop import check_network, check_repeatable
from .learn2learn_library import import_learn2learn


class Learn2LearnMAML(MetaLearner):
    """MAML by learn2learn. A `TaskNorm` uses the statistics of the support set, as `maml.MAML` does by default.

    learn2learn has `clone`, which makes differentiable copies of the slow weights, and `adapt`, which changes such a
    copy by one inner step. Its user writes the loops over tasks and steps.

    network: see `maml.MAML`.
    steps: k, the inner steps of meta-training.
    test_steps: the inner steps of `adapt`.
    inner_rate: α.
    first_order: whether to leave out the Hessians (FOMAML).

    Raises ImportError, with the command that fixes it, if learn2learn is missing; `MetaFaceError` for a network that
    cannot be adapted.
    """

    def __init__(
        self, network: nn.Module, *, steps: int, test_steps: int, inner_rate: float, first_order: bool = False
    ) -> None:
        check_network(network)
        super().__init__()
        library = import_learn2learn().algorithms
        self.maml = library.MAML(network, lr=inner_rate, first_order=first_order, allow_unused=True)
        self.steps, self.test_steps, self._repeats = steps, test_steps, False

    def check(self, x: Tensor) -> None:
        """Raise `MetaFaceError` if the network turns out not to compute the same function twice.

        x: images `[S, C, H, W]`.
        """
        if not self._repeats:
            check_repeatable(self.maml.module, x)
            self._repeats = True

    def inner_loop(self, x: Tensor, y: Tensor, steps: int) -> Any:
        """A copy of the network after k inner steps on one task.

        x: images `[S, C, H, W]`.
        y: labels, int64 `[S]`.
        steps: k.
        """
        learner = self.maml.clone()
        for _ in range(steps):
            learner.adapt(F.cross_entropy(learner(x), y))
        return learner

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        self.check(episodes.support.x[0])
        tasks, loss, right = len(episodes.identities), 0.0, 0.0
        for x, y, query_x, query_y in zip(*episodes.support, *episodes.query, strict=True):
            logits = _query_logits(self.inner_loop(x, y, self.steps), x, query_x)
            task_loss = F.cross_entropy(logits, query_y) / tasks
            task_loss.backward()
            loss += task_loss.item()
            right += (logits.argmax(dim=-1) == query_y).float().mean().item() / tasks
        return {"loss": loss, "accuracy": right}

    def adapt(self, support: Examples) -> _Learners:
        self.check(support.x[0])
        with torch.enable_grad():  # evaluation may have switched it off
            return _Learners([self.inner_loop(x, y, self.test_steps) for x, y in zip(*support, strict=True)], support.x)


def _query_logits(learner: Any, support: Tensor, query: Tensor) -> Tensor:
    with statistics_of_first(len(support)):
        return learner(torch.cat([support, query]))[len(support) :]


@dataclass
class _Learners:
    """T learners, each an adapted copy of the network.

    learners: the copies.
    support: the images `[T, S, C, H, W]` that they have learned from.
    """

    learners: list[Any]
    support: Tensor

    def predict(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([_query_logits(*task) for task in zip(self.learners, self.support, x, strict=True)])
