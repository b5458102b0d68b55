"""Check a meta-gradient: its error against finite differences, for every step size h.

    explore()

The regression is so small that it takes milliseconds: a network with one hidden layer learns a sine from a few points,
by inner steps. The meta-gradient is computed once with the derivative of these steps and once without it. The error of
a right gradient is a V over h: one arm is the error of the finite difference (h²), the other is rounding (1/h). The
error of a wrong gradient is a plateau.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.func import grad, vmap

from ..errors import MetaFaceError, unknown
from ..figures import COLOURS, STYLE
from .explorer import Explorer, control

PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
STEP_SIZES = [10 ** (-e / 2) for e in range(2, 25)]
HIDDEN = 12
NAMES = ("second order", "first order")


@dataclass(frozen=True)
class State:
    rate: float = control(0.1, "inner rate α", options=(0.001, 0.01, 0.03, 0.1, 0.3))
    steps: int = control(1, "inner steps k", low=1, high=5)
    precision: str = control("float64", "computed in", options=tuple(PRECISIONS))


@dataclass(frozen=True, eq=False)
class Regression:
    """One small task, and the weights and direction to differentiate at.

    support, query: float64 `[5, 2]`, x and y of each example.
    theta: `[D]`, the weights.
    direction: `[D]`, of length 1.
    """

    support: Tensor
    query: Tensor
    theta: Tensor
    direction: Tensor


def regression(seed: int = 0) -> Regression:
    """Points of a sine, random weights and a random direction, in float64."""
    draw = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(10, generator=draw, dtype=torch.float64) - 2
    examples = torch.stack([x, torch.sin(2 * x)], dim=1)
    theta, direction = torch.randn(2, 3 * HIDDEN, generator=draw, dtype=torch.float64)
    return Regression(examples[:5], examples[5:], theta / 2, direction / direction.norm())


def _loss(w: Tensor, examples: Tensor) -> Tensor:
    x, y = examples.T
    inward, shift, outward = w.view(3, HIDDEN)
    return ((torch.tanh(x[:, None] * inward + shift) @ outward) - y).square().mean()


def _after(w: Tensor, task: Regression, state: State, first_order: bool) -> Tensor:
    """The query loss after the inner steps."""
    for _ in range(state.steps):
        gradient = grad(_loss)(w, task.support)
        w = w - state.rate * (gradient.detach() if first_order else gradient)
    return _loss(w, task.query)


@functools.lru_cache(maxsize=32)  # the picture and its alt text use the same
def errors(state: State, task: Regression) -> dict[str, list[float]]:
    """The relative error of each of the two meta-gradients along the direction, for each of `STEP_SIZES`.

    Raises `MetaFaceError` for an unknown precision, or steps or a rate below 0.
    """
    if state.precision not in PRECISIONS:
        raise unknown("precision", state.precision, PRECISIONS)
    if state.steps < 0 or state.rate < 0:
        raise MetaFaceError(f"steps is {state.steps}, rate is {state.rate}. Choose 0 or more.")
    parts = (task.support, task.query, task.theta, task.direction)
    task = Regression(*(part.to(PRECISIONS[state.precision]) for part in parts))
    h = torch.tensor(STEP_SIZES, dtype=task.theta.dtype)
    forth, back = (task.theta + sign * h[:, None] * task.direction for sign in (1, -1))
    values = vmap(lambda w: _after(w, task, state, first_order=False))(torch.cat([forth, back])).view(2, -1)
    difference = (values[0] - values[1]) / (2 * h)
    found = {}
    for name in NAMES:
        slope = grad(_after)(task.theta, task, state, name == NAMES[1]) @ task.direction
        found[name] = ((slope - difference) / slope).abs().double().clamp(min=1e-16).tolist()
    return found


def draw(state: State, task: Regression) -> Figure:
    """Both errors over h."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.8))
        axes = figure.subplots()
        for i, (name, values) in enumerate(errors(state, task).items()):
            axes.loglog(STEP_SIZES, values, "o-s"[2 * i] + "-", ms=5, color=COLOURS[i], label=name)
            axes.axhline(min(values), color=COLOURS[i], lw=1, ls=":")
        axes.set(xlabel="h", ylabel="error of the meta-gradient", ylim=(1e-13, 1e3))
        axes.legend(loc="upper right", ncols=2)
        axes.set_title(f"k = {state.steps}, α = {state.rate:g}, {state.precision}")
    return figure


def alt(state: State, task: Regression) -> str:
    """The figure in words."""
    best = {name: (min(values), STEP_SIZES[values.index(min(values))]) for name, values in errors(state, task).items()}
    least = "; ".join(f"{name} {error:.0e} at h = {h:.0e}" for name, (error, h) in best.items())
    return (
        f"Error of the meta-gradient against h, from 1e-1 to 1e-12, with {state.steps} inner"
        f" step{'s' * (state.steps != 1)} at a rate of {state.rate:g}, in {state.precision}. Least errors: {least}."
    )


def explore(task: Regression | None = None, start: State = State()) -> Explorer:
    """Move the inner rate and the steps, and see the right gradient part from the nearly right one."""
    chosen = regression() if task is None else task
    return Explorer(start, lambda s: draw(s, chosen), lambda s: alt(s, chosen))
