"""Is a meta-gradient right? Its error against finite differences, for every h.

    explore()

A regression so small that it takes milliseconds: a network with one hidden layer learns a sine from a few points, by
inner steps; the meta-gradient is taken once with and once without the derivative of these steps. A right gradient
gives a V, whose arms are the error of the difference (h²) and rounding (1/h); a wrong one a plateau.
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
    """support, query: `[5, 2]`, x and y of each example. theta, direction: `[D]`, the direction of length 1."""

    support: Tensor
    query: Tensor
    theta: Tensor
    direction: Tensor


def regression(seed: int = 0) -> Regression:
    """Points of a sine, a random network and a direction to differentiate along, in float64."""
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


@functools.lru_cache(maxsize=32)  # a picture and its alt text want the same
def errors(state: State, task: Regression) -> dict[str, list[float]]:
    """The relative error of each of the two meta-gradients, along the direction, for each of `STEP_SIZES`.

    Raises `MetaFaceError` for an unknown precision, or steps or a rate below 0.
    """
    if state.precision not in PRECISIONS:
        raise unknown("precision", state.precision, PRECISIONS)
    if state.steps < 0 or state.rate < 0:
        raise MetaFaceError(f"steps and rate must be 0 or more, but are {state.steps} and {state.rate}.")
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
    """Both errors against h."""
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
    """What `draw` shows, in words."""
    best = {name: (min(values), STEP_SIZES[values.index(min(values))]) for name, values in errors(state, task).items()}
    told = "; ".join(f"{name} {error:.0e} at h = {h:.0e}" for name, (error, h) in best.items())
    return (
        f"Error of the meta-gradient against h, from 1e-1 to 1e-12, with {state.steps} inner"
        f" step{'s' * (state.steps != 1)} at a rate of {state.rate:g}, in {state.precision}. Least errors: {told}."
    )


def explore(task: Regression | None = None, start: State = State()) -> Explorer:
    """Move inner rate and steps; tell the right gradient from the nearly right."""
    given = regression() if task is None else task
    return Explorer(start, lambda s: draw(s, given), lambda s: alt(s, given))
