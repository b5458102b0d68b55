"""Sinusoids: few-shot regression whose best answers are known (Finn, Abbeel & Levine 2017, section 5.1).

A task is a curve of its own, y = A · sin(x − φ), of which a learner sees K points. Who knows nothing of the task does
best by the mean of all curves, −1.6234 · cos x, with a squared error of 3.0057 (the error of the answer 0 is 4.2517):
to do better one must learn from the K points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .episodes import Episodes, Examples
from .errors import MetaFaceError

AMPLITUDE, PHASE, X = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)


class Curves(NamedTuple):
    """T sinusoids: amplitude A and phase φ, `[T]` each."""

    amplitude: Tensor
    phase: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x `[T, S, 1]` (or `[S, 1]`, the same for all) → A · sin(x − φ), `[T, S, 1]`."""
        return self.amplitude[:, None, None] * torch.sin(x - self.phase[:, None, None])


class SinusoidSampler:
    """Draws tasks: sinusoids with A in 0.1 to 5 and φ in 0 to π, of each `shots` points to learn and `queries` to ask.

    x in −5 to 5, all uniform; float32. The tasks depend on `seed` alone; `state_dict` resumes in mid-stream.

    Raises `MetaFaceError` if there are no points to learn from, or none to ask.
    """

    def __init__(self, shots: int, queries: int, seed: int = 0) -> None:
        if min(shots, queries) < 1:
            raise MetaFaceError(f"shots and queries must be at least 1, but are {shots} and {queries}.")
        self.shots, self.queries = shots, queries
        self._generator = torch.Generator().manual_seed(seed)

    def curves(self, tasks: int = 1) -> Curves:
        """Draw `tasks` sinusoids."""
        if tasks < 1:
            raise MetaFaceError(f"tasks must be at least 1, but is {tasks}.")
        return Curves(self._uniform(AMPLITUDE, tasks), self._uniform(PHASE, tasks))

    def episodes(self, curves: Curves) -> Episodes:
        """Draw points of each curve: x and y `[T, K, 1]` and `[T, Q, 1]`. There are no people: identities `[T, 0]`."""
        tasks = len(curves.phase)
        support, query = (self._uniform(X, tasks, points, 1) for points in (self.shots, self.queries))
        nobody = torch.zeros((tasks, 0), dtype=torch.int64)
        return Episodes(Examples(support, curves(support)), Examples(query, curves(query)), nobody)

    def sample(self, tasks: int = 1) -> Episodes:
        """Draw `tasks` episodes."""
        return self.episodes(self.curves(tasks))

    def _uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        low, high = limits
        return torch.rand(shape, generator=self._generator) * (high - low) + low

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the stream, to continue it with `load_state_dict`."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._generator.set_state(state["generator"])


def regressor(width: int = 40, depth: int = 2, seed: int = 0) -> nn.Sequential:
    """The paper's network: `depth` hidden layers of `width` ReLU units, x `[S, 1]` → y `[S, 1]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for layer in range(depth):
            layers += [nn.Linear(width if layer else 1, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 1))
