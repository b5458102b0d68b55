"""Show where four methods come to rest between two tasks whose losses are parabolas.

    explore()

The losses are ½a(θ − c)², the same for support and query. Each method is simulated with autograd, which knows no
formula. The figure compares the end with the closed form, the mean of the minima c weighted by

    joint training  a        MAML  a·r²        FOMAML  a·r        Reptile  1 − r,        r = (1 − αa)^k
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..figures import COLOURS, STYLE
from .explorer import Explorer, control

A, C = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 4.0], [0.0, 1.0]))  # curvature and minimum of each task
START, OUTER_STEPS = 1.3, 40
WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # method → the weights of the tasks, from a and r
    "joint training": lambda a, r: a,
    "MAML": lambda a, r: a * r**2,
    "FOMAML": lambda a, r: a * r,
    "Reptile": lambda a, r: 1 - r,
}


@dataclass(frozen=True)
class State:
    steps: int = control(1, "inner steps k", low=1, high=10)
    rate: float = control(0.1, "inner rate α", low=0.02, high=0.24, step=0.02)  # below 1/4 no step jumps over a minimum


def loss(theta: Tensor) -> Tensor:
    """The loss of both tasks at θ: `[…, 2]`, or a shape that broadcasts to it, → `[…, 2]`."""
    return A * (theta - C).square() / 2


def fixed_points(state: State) -> Tensor:
    """The closed form of the point where each method comes to rest: `[4]`, in the order of `WEIGHTS`."""
    r = (1 - state.rate * A) ** state.steps
    weights = torch.stack([weight(A, r) for weight in WEIGHTS.values()])
    return weights @ C / weights.sum(1)


def inner_path(theta: Tensor, state: State, graph: bool = False) -> list[Tensor]:
    """The inner steps φ_0, …, φ_k on both tasks from each of M starts.

    theta: the starts, `[M]`.
    state: the controls.
    graph: whether autograd can differentiate through the steps. False.
    Returns k + 1 tensors `[M, 2]`.
    """
    path = [theta[:, None].expand(-1, 2)]
    if not graph:
        path = [path[0].detach().requires_grad_()]
    for _ in range(state.steps):
        (gradient,) = torch.autograd.grad(loss(path[-1]).sum(), path[-1], create_graph=graph)
        path.append(path[-1] - state.rate * gradient)
    return path


def meta_gradients(theta: Tensor, state: State) -> Tensor:
    """The outer gradient of each method, each at its own θ: `[4]` → `[4]`."""
    theta = theta.detach().requires_grad_()
    path = inner_path(theta, state, graph=True)
    before, after = loss(path[0]).mean(1), loss(path[-1]).mean(1)
    (joint,) = torch.autograd.grad(before.sum(), theta)
    (maml,) = torch.autograd.grad(after.sum(), theta, retain_graph=True)
    (fomaml,) = torch.autograd.grad(after.sum(), path[-1])
    reptile = (path[0] - path[-1]).mean(1)
    return torch.stack([joint[0], maml[1], fomaml.sum(1)[2], reptile[3].detach()])


@cache
def simulate(state: State) -> Tensor:
    """θ of each method before the first and after each outer step: `[OUTER_STEPS + 1, 4]`.

    The outer rates let every method go 15% of the way to its goal in each step. A method's gradient is a straight line
    in θ, and the slope of that line gives the rate.
    """
    ones = torch.ones(len(WEIGHTS), dtype=torch.float64)
    slope = meta_gradients(ones, state) - meta_gradients(0 * ones, state)
    path = [START * ones]
    for _ in range(OUTER_STEPS):
        path.append(path[-1] - 0.15 * meta_gradients(path[-1], state) / slope)
    return torch.stack(path)


def after_adaptation(theta: Tensor, state: State) -> Tensor:
    """The mean loss of both tasks after k inner steps from each of M starts: `[M]` → `[M]`."""
    return loss(inner_path(theta, state)[-1]).mean(1).detach()


def draw(state: State) -> Figure:
    """Left: the inner steps from the goals of joint training and of MAML. Right: how all methods reach their goals."""
    goals, paths = fixed_points(state), simulate(state)
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):  # the layout solver is slow
        figure = Figure(figsize=(9, 4.1))
        figure.subplots_adjust(left=0.07, right=0.98, bottom=0.14, top=0.9, wspace=0.22)
        left, right = figure.subplots(1, 2)

    theta = torch.linspace(-0.25, 1.45, 100, dtype=torch.float64)
    for task, line in enumerate(("-", "--")):
        left.plot(
            theta, loss(theta[:, None])[:, task], line, color="#999999", label=f"task {task + 1}: a = {A[task]:g}"
        )
    rest = goals[:2]
    inner = torch.stack(inner_path(rest, state)).detach()  # [k + 1, 2 starts, 2 tasks]
    for i, (name, mark) in enumerate((("joint training", "o"), ("MAML", "s"))):
        for task in range(2):
            at, height = inner[:, i, task], loss(inner[:, i])[:, task]
            left.plot(at, height, mark, color=COLOURS[i], markersize=3.5)
            left.plot(at[0], height[0], mark, color=COLOURS[i], markersize=8)
            left.plot(at[-1], height[-1], mark, color="white", markeredgecolor=COLOURS[i], markersize=7)
        left.axvline(rest[i], ymax=0.65, color=COLOURS[i], linewidth=1, linestyle=":")
        score = float(after_adaptation(rest, state)[i])
        left.plot([], [], mark, color=COLOURS[i], label=f"from {name}: {score:.3f}")
    left.set(xlabel="θ, then φ", ylim=(-0.07, 2.1), xlim=(-0.25, 1.45))
    left.set_title(f"loss of two tasks, {state.steps} inner step{'s' * (state.steps > 1)}", loc="left", fontsize=11)
    left.legend(fontsize=9, frameon=False, loc="upper right", title="mean loss after the steps", title_fontsize=9)

    for i, name in enumerate(WEIGHTS):
        right.axhline(goals[i], color=COLOURS[i], linewidth=1.2, linestyle="--")
        width = 3.5 if i == 0 else 2  # so that lines on top do not hide it
        right.plot(paths[:, i], color=COLOURS[i], linewidth=width, label=f"{name}: {paths[-1, i]:.3f} → {goals[i]:.3f}")
    right.set(xlabel="outer step", ylim=(-0.08, 1.35))
    right.set_title("θ: simulated (solid) → closed form (dashed)", loc="left", fontsize=11)
    right.legend(fontsize=9, frameon=False, loc="upper right")
    return figure


def alt(state: State) -> str:
    """The figure in words."""
    goals, ends = fixed_points(state), simulate(state)[-1]
    rests = ", ".join(f"{name} {goal:.3f}" for name, goal in zip(WEIGHTS, goals, strict=True))
    gap = (ends - goals).abs().max()
    joint, maml = after_adaptation(goals[:2], state)
    return (
        f"Two parabolas with minima 0 and 1, and θ of four methods over {OUTER_STEPS} outer steps, k = {state.steps},"
        f" α = {state.rate:.2f}. They come to rest at: {rests}. The simulation ends within {gap:.3f} of the closed"
        f" forms. After the inner steps the mean loss is {joint:.3f} from joint training and {maml:.3f} from MAML."
    )


def explore(start: State = State()) -> Explorer:
    """Move the inner steps and the inner rate, and see four methods part."""
    return Explorer(start, draw, alt)
