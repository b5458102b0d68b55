"""MAML and joint training on a sinusoid that neither has seen, inner step by inner step.

    explore(Measured(load_methods()))

Both networks were trained on the same tasks by the same code: joint training is MAML with no inner step. Their weights
are stored, see `experiments.sinusoids`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..experiments.sinusoids import TEST_STEPS, load_methods
from ..figures import COLOURS, STYLE
from ..learners.inner_loop import InnerLoop
from ..sinusoids import SinusoidSampler, X
from .explorer import Explorer, control

TASKS = 100  # over which errors are measured


@dataclass(frozen=True)
class State:
    steps: int = control(1, "inner steps", low=0, high=TEST_STEPS)
    shots: int = control(10, "points to learn from", options=(5, 10))
    task: int = control(0, "task", low=0, high=49)


@dataclass
class Measured:
    """The methods, and what was measured with them, each number of points once."""

    methods: Mapping[str, InnerLoop]
    errors: dict[int, dict[str, Tensor]] = field(init=False, default_factory=dict)

    def error(self, shots: int) -> dict[str, Tensor]:
        """Each method's mean squared error on `TASKS` tasks after 0, 1, … inner steps: `[TEST_STEPS + 1]`."""
        if shots not in self.errors:
            episodes = SinusoidSampler(shots, 50, seed=1000).sample(TASKS)
            self.errors[shots] = {
                name: method.trajectory(episodes, TEST_STEPS).query_loss.mean(0)
                for name, method in self.methods.items()
            }
        return self.errors[shots]


def episode(state: State) -> Episodes:
    """The task of the state; its queries are 201 places in a row, for a curve to be drawn."""
    sampler = SinusoidSampler(state.shots, 1, seed=state.task)
    curve = sampler.curves()
    drawn = sampler.episodes(curve)
    x = torch.linspace(*X, 201)[None, :, None]
    return Episodes(drawn.support, Examples(x, curve(x)), drawn.identities)


def predictions(method: InnerLoop, task: Episodes, steps: int) -> Tensor:
    """What a method says at the queries of one task after 0, …, `steps` inner steps: `[steps + 1, Q]`."""
    path = []
    with torch.enable_grad():
        for weights in method.inner_loop(method.start(task.support), task.support, steps):
            path.append(
                method.network_per_task(weights, method.network_per_task.prepare(task.query.x)).detach()[0, :, 0]
            )
    return torch.stack(path)


def draw(state: State, data: Measured) -> Figure:
    """The curve before and after the inner steps, for each method; and the mean error over many tasks."""
    task = episode(state)
    x, y = task.query.x[0, :, 0], task.query.y[0, :, 0]
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):  # a solver takes its time
        figure = Figure(figsize=(9.6, 3.6))
        figure.subplots_adjust(left=0.05, right=0.99, bottom=0.15, top=0.9, wspace=0.2)
        axes = figure.subplots(1, 3)
    for i, (name, method) in enumerate(data.methods.items()):
        path = predictions(method, task, state.steps)
        axes[i].plot(x, y, color="#999999", label="the curve")
        axes[i].plot(x, path[0], ":", color=COLOURS[i], label="before")
        axes[i].plot(x, path[-1], color=COLOURS[i], label=f"after {_counted(state.steps)}")
        axes[i].plot(task.support.x[0], task.support.y[0], "^", color="black", markersize=6, label="points")
        axes[i].set_title(f"{name}: error {F.mse_loss(path[-1], y):.2f}", loc="left", fontsize=11)
        axes[i].set(ylim=(-6, 8.5), xlabel="x")
        axes[i].legend(fontsize=8, frameon=False, loc="upper center", ncols=2)
        error = data.error(state.shots)[name]
        axes[2].plot(error, "os"[i] + "-", color=COLOURS[i], markersize=4, label=f"{name}: {error[state.steps]:.2f}")
    axes[2].axvline(state.steps, color="#777777", linewidth=1, linestyle=":", zorder=0)
    axes[2].set(ylim=(0, 4.5), xlabel="inner steps")
    axes[2].set_title(f"mean error of {TASKS} tasks", loc="left", fontsize=11)
    axes[2].legend(fontsize=9, frameon=False, loc="upper right")
    return figure


def alt(state: State, data: Measured) -> str:
    """What `draw` shows, in words."""
    task, y = episode(state), episode(state).query.y[0, :, 0]
    own = ", ".join(
        f"{name} {F.mse_loss(predictions(method, task, state.steps)[-1], y):.2f}"
        for name, method in data.methods.items()
    )
    mean = ", ".join(f"{name} {error[state.steps]:.2f}" for name, error in data.error(state.shots).items())
    return (
        f"Sinusoid {state.task} with {state.shots} points to learn from, and what each method makes of it before and"
        f" after {_counted(state.steps)}. Squared error on this curve: {own}; mean of {TASKS} tasks: {mean}."
    )


def _counted(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"


def explore(data: Measured, start: State = State()) -> Explorer:
    """Move the inner steps: MAML bends to the points at once, joint training hardly moves."""
    return Explorer(start, lambda s: draw(s, data), lambda s: alt(s, data))


def example() -> Explorer:
    """The explorer on the stored methods."""
    return explore(Measured(load_methods()))
