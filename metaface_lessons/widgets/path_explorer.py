"""Show Reptile's path between two tasks in the plane, and the point where it comes to rest.

    explore()

Both losses are quadratic, and so narrow that they look like valleys. The outer steps take turns: first task, second
task, first task again. Nothing is random, and every step of gradient descent on a quadratic loss is a linear map. So
the end has a closed form: `rest` for the batched outer step, `cycle` for taking turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..errors import MetaFaceError
from ..figures import COLOURS, axes_on_page, page_figure, page_text
from .explorer import Explorer, control

ROUNDS = 100  # of two outer steps each, one for each task
SHOWN = 2  # rounds whose inner steps are drawn
MARKS = ("+", "x")  # so that the tasks differ not only by colour


@dataclass(frozen=True)
class State:
    steps: int = control(5, "inner steps k", low=1, high=30)
    inner_rate: float = control(0.5, "inner rate α", low=0.05, high=1.0, step=0.05)
    outer_rate: float = control(0.3, "outer rate ε", low=0.05, high=1.0, step=0.05)


@dataclass(frozen=True)
class Tasks:
    """Two tasks with the losses ½(θ − c_t)ᵀ A_t (θ − c_t), and a start.

    minima: c, float64 `[2, 2]`.
    curvatures: A, float64 `[2, 2, 2]`, symmetric with eigenvalues above 0.
    start: θ at the start, float64 `[2]`.
    """

    minima: Tensor
    curvatures: Tensor
    start: Tensor

    def loss(self, theta: Tensor) -> Tensor:
        """The loss of each task at θ: `[…, 2]` → `[…, 2]`."""
        away = theta[..., None, :] - self.minima
        return torch.einsum("...td,tde,...te->...t", away, self.curvatures, away) / 2


def valley(angle: float, along: float = 0.06, across: float = 1.0) -> Tensor:
    """A curvature `[2, 2]` that is flat in one direction and steep across it.

    angle: of the flat direction, in degrees.
    along: the curvature in that direction. 0.06.
    across: the curvature across it. 1.
    """
    turn = math.radians(angle)
    u, v = (torch.tensor([math.cos(t), math.sin(t)], dtype=torch.float64) for t in (turn, turn + math.pi / 2))
    return along * torch.outer(u, u) + across * torch.outer(v, v)


TASKS = Tasks(
    minima=torch.tensor([[-1.6, 1.2], [1.9, 0.4]], dtype=torch.float64),
    curvatures=torch.stack([valley(-30), valley(50, across=0.5)]),
    start=torch.tensor([-2.4, -2.0], dtype=torch.float64),
)


def left_over(state: State, tasks: Tasks) -> Tensor:
    """R_t = (I − αA_t)^k, the part of the way to the minimum of task t that is left after k inner steps: `[2, 2, 2]`.

    Raises `MetaFaceError` if the inner loop diverges.
    """
    one = torch.eye(2, dtype=torch.float64) - state.inner_rate * tasks.curvatures
    if torch.linalg.matrix_norm(one, 2).max() >= 1:
        steepest = float(torch.linalg.eigvalsh(tasks.curvatures).max())
        raise MetaFaceError(
            f"At an inner rate of {state.inner_rate:g} the inner loop diverges. The steepest curvature is"
            f" {steepest:.3g}. Choose a rate below {2 / steepest:.3g}."
        )
    return torch.linalg.matrix_power(one, state.steps)


def rest(state: State, tasks: Tasks) -> Tensor:
    """The fixed point of the batched outer step at any outer rate, where Σ (I − R_t)(θ − c_t) = 0: `[2]`."""
    weight = torch.eye(2, dtype=torch.float64) - left_over(state, tasks)
    return torch.linalg.solve(weight.sum(0), torch.einsum("tde,te->d", weight, tasks.minima))


def cycle(state: State, tasks: Tasks) -> Tensor:
    """The fixed point of one round of two outer steps, in closed form: `[2]`.

    An outer step on task t is θ → c_t + M_t (θ − c_t) with M_t = I − ε(I − R_t). A round applies both, so it is linear.
    """
    identity = torch.eye(2, dtype=torch.float64)
    first, second = identity - state.outer_rate * (identity - left_over(state, tasks))
    one, two = tasks.minima
    return torch.linalg.solve(identity - second @ first, two + second @ (one - first @ one - two))


def simulate(state: State, tasks: Tasks, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """Simulate Reptile.

    state: the controls.
    tasks: the two tasks.
    rounds: of two outer steps each. `ROUNDS`.
    Returns θ before the first and after each outer step, `[2·rounds + 1, 2]`, and φ_0, …, φ_k of each inner loop,
    `[2·rounds, k + 1, 2]`. Raises `MetaFaceError` if the inner loop diverges.
    """
    left_over(state, tasks)  # raises if the inner loop diverges
    slow, inner = [tasks.start], []
    for step in range(2 * rounds):
        curvature, minimum = tasks.curvatures[step % 2], tasks.minima[step % 2]
        phi = [slow[-1]]
        for _ in range(state.steps):
            phi.append(phi[-1] - state.inner_rate * curvature @ (phi[-1] - minimum))
        slow.append(slow[-1] + state.outer_rate * (phi[-1] - slow[-1]))
        inner.append(torch.stack(phi))
    return torch.stack(slow), torch.stack(inner)


def draw(state: State, tasks: Tasks = TASKS) -> Figure:
    """Left: the path of θ over both valleys. Right: the losses before and after each inner loop."""
    slow, inner = simulate(state, tasks)
    end, predicted = slow[-1], cycle(state, tasks)
    figure = page_figure(np.full((740, 1340, 3), 255, np.uint8))
    title = f"After {2 * ROUNDS} outer steps θ is at {_point(end)}. The closed form of the end says {_point(predicted)}"
    if (end - predicted).norm() > 0.01:
        title += ": θ is still on its way"
    page_text(figure, title + ".", 34, 20, va="bottom", fontsize=12)

    axes = axes_on_page(figure, 84, 60, 690, 710)  # the same scale on both axes, so that right angles stay right
    ticks = [torch.linspace(low, high, 91, dtype=torch.float64) for low, high in ((-2.95, 3.0), (-2.6, 2.95))]
    loss = tasks.loss(torch.stack(torch.meshgrid(*ticks, indexing="xy"), dim=-1))
    for i in range(2):
        levels = [0.02, 0.08, 0.2, 0.5, 1.0]
        axes.contour(*ticks, loss[..., i], levels=levels, colors=COLOURS[i], linewidths=0.8, alpha=0.45)
        name = f"minimum of task {i + 1}"
        axes.plot(*tasks.minima[i], marker=MARKS[i], linestyle="", color=COLOURS[i], ms=13, mew=2.5, label=name)
    for step, phi in enumerate(inner[: 2 * SHOWN]):
        name = f"inner loops on task {step + 1}" if step < 2 else "_"  # a legend skips names that begin so
        axes.plot(*phi.T, color=COLOURS[step % 2], lw=1, marker=".", ms=5, label=name)
    axes.plot(*slow.T, color="black", lw=1.6, marker="o", ms=3, label="path of θ")
    axes.plot(*tasks.start, marker="o", linestyle="", color="white", markeredgecolor="black", ms=9, label="start")
    curve = torch.stack([rest(replace(state, steps=k), tasks) for k in (*range(1, 31), 50, 100, 200, 500, 5000)])
    axes.plot(*curve.T, color="#777777", lw=1.8, ls="--", label="fixed points, k = 1 to ∞")
    axes.plot(*curve[0], marker="s", linestyle="", color="#777777", ms=8, label="k = 1: joint training")
    axes.plot(
        *rest(state, tasks),
        marker="*",
        linestyle="",
        color=COLOURS[4],
        markeredgecolor="black",
        ms=19,
        label="fixed point for this k",
    )
    axes.set(xlim=ticks[0][[0, -1]].tolist(), ylim=ticks[1][[0, -1]].tolist())
    axes.set_title("The path of the weights", loc="left")

    own = torch.arange(2 * ROUNDS)
    right = axes_on_page(figure, 84, 870, 430, 1310)
    for name, phi, dashes in (("before", inner[:, 0], ":"), (f"after k = {state.steps} steps", inner[:, -1], "-")):
        value = tasks.loss(phi)[own, own % 2]
        for i in range(2):
            right.plot(own[i::2], value[i::2], color=COLOURS[i], ls=dashes)
        axes.plot([], [], color="#555555", ls=dashes, label=f"loss {name}")  # for the legend
    right.set(yscale="log", ylim=(1e-4, 10), xlabel="outer step")
    right.set_title("Loss of the task whose turn it is", loc="left")
    right.minorticks_off()
    figure.legend(
        loc="lower right", bbox_to_anchor=(0.985, 0.04), frameon=False, ncols=2, fontsize=10, columnspacing=1.2
    )
    return figure


def _point(point: Tensor) -> str:
    return f"({point[0]:.3f}, {point[1]:.3f})"


def alt(state: State, tasks: Tasks = TASKS) -> str:
    """The figure in words."""
    slow, inner = simulate(state, tasks)
    before, after = (float(tasks.loss(inner[-1, j])[1]) for j in (0, -1))
    return (
        f"Level lines of two narrow valleys, and the zigzag of θ between them with k = {state.steps}, α ="
        f" {state.inner_rate:g}, ε = {state.outer_rate:g}. After {2 * ROUNDS} outer steps θ is at {_point(slow[-1])};"
        f" the closed form of the end is {_point(cycle(state, tasks))}, the fixed point of the batched step"
        f" {_point(rest(state, tasks))}. The last inner loop takes the loss of task 2 from {before:.2g} to {after:.2g}."
    )


def explore(tasks: Tasks = TASKS, start: State = State()) -> Explorer:
    """Move k, α and ε, and see the path of the weights and its end."""
    return Explorer(start, lambda s: draw(s, tasks), lambda s: alt(s, tasks))
