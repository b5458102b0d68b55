"""Sinusoids: few-shot regression whose best answers are known (Finn, Abbeel & Levine 2017, section 5.1).

Each task is one curve y = A · sin(x − φ); the learner sees K points of it. Without those points the best prediction is
the mean of all curves, −1.6234 · cos x. Its squared error is 3.0057; that of the prediction 0 is 4.2517. Doing better
requires learning from the points.
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
    """T sinusoids.

    amplitude: A, `[T]`.
    phase: φ, `[T]`, in radians.
    """

    amplitude: Tensor
    phase: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The values A · sin(x − φ), `[T, S, 1]`.

        x: `[T, S, 1]`, or `[S, 1]` for the same points of every curve.
        """
        return self.amplitude[:, None, None] * torch.sin(x - self.phase[:, None, None])


class SinusoidSampler:
    """Draws sinusoids as tasks: A is uniform in 0.1 to 5, φ in 0 to π, and x in −5 to 5; all are float32.

    `state_dict` holds the state of the random stream, so that a training can be resumed.

    shots: K, the support points of each curve.
    queries: Q, the query points of each curve.
    seed: of the random stream. The tasks depend on it alone.

    Raises `MetaFaceError` if shots or queries are below 1.
    """

    def __init__(self, shots: int, queries: int, seed: int = 0) -> None:
        if min(shots, queries) < 1:
            raise MetaFaceError(f"shots and queries must be at least 1, but are {shots} and {queries}.")
        self.shots, self.queries = shots, queries
        self._generator = torch.Generator().manual_seed(seed)

    def curves(self, tasks: int = 1) -> Curves:
        """Draw T sinusoids.

        tasks: T, at least 1.
        """
        if tasks < 1:
            raise MetaFaceError(f"tasks must be at least 1, but is {tasks}.")
        return Curves(self._uniform(AMPLITUDE, tasks), self._uniform(PHASE, tasks))

    def episodes(self, curves: Curves) -> Episodes:
        """Draw points of each curve: x and y are `[T, K, 1]` and `[T, Q, 1]`, and identities, without people, `[T, 0]`.

        curves: the T curves.
        """
        tasks = len(curves.phase)
        support, query = (self._uniform(X, tasks, points, 1) for points in (self.shots, self.queries))
        nobody = torch.zeros((tasks, 0), dtype=torch.int64)
        return Episodes(Examples(support, curves(support)), Examples(query, curves(query)), nobody)

    def sample(self, tasks: int = 1) -> Episodes:
        """Draw T episodes.

        tasks: T, at least 1.
        """
        return self.episodes(self.curves(tasks))

    def _uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        low, high = limits
        return torch.rand(shape, generator=self._generator) * (high - low) + low

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the random stream; `load_state_dict` continues from it."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._generator.set_state(state["generator"])


def regressor(width: int = 40, depth: int = 2, seed: int = 0) -> nn.Sequential:
    """The paper's network, x `[S, 1]` → y `[S, 1]`.

    width: the ReLU units of a hidden layer.
    depth: the number of hidden layers.
    seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for layer in range(depth):
            layers += [nn.Linear(width if layer else 1, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 1))
