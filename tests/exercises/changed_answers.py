"""Right answers, changed in ways that no exercise has in mind: in type, precision, sign, order, gradient or effect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Answer = Callable[..., Any]
Change = Callable[[Answer], Answer]


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """The value with each of its tensors and numbers changed."""
    match value:
        case list() | tuple():
            return type(value)(_each(change, v) for v in value)
        case dict():
            return {key: _each(change, v) for key, v in value.items()}
        case Tensor() | int() | float() if not isinstance(value, bool):
            return change(value)
    return value


def _results(of_tensor: Callable[[Tensor], Any], of_number: Callable[[float], Any] = lambda number: number) -> Change:
    """Change each tensor and each number that the answer returns."""

    def change(value: Any) -> Any:
        return of_tensor(value) if isinstance(value, Tensor) else of_number(value)

    return lambda answer: lambda *args: _each(change, answer(*args))


def _floats(change: Callable[[Tensor], Any], of_number: Callable[[float], Any] = lambda number: number) -> Change:
    """Change each tensor of floats, and each number."""
    return _results(lambda tensor: change(tensor) if tensor.is_floating_point() else tensor, of_number)


def _afterwards(effect: Callable[[Any], object]) -> Change:
    """Do something to the weights and networks that the answer was given, after a right result."""

    def changed(answer: Answer) -> Answer:
        def call(*args: Any) -> Any:
            result = _each(lambda value: value.clone() if isinstance(value, Tensor) else value, answer(*args))
            for value in args:
                if isinstance(value, torch.nn.Module) or (isinstance(value, Tensor) and value.requires_grad):
                    effect(value)
            return result

        return call

    return changed


def _move(value: Any) -> None:
    for weight in value.parameters() if isinstance(value, torch.nn.Module) else [value]:
        weight.data = 1.1 * weight.data


def _leave_gradient(value: Any) -> None:
    for weight in value.parameters() if isinstance(value, torch.nn.Module) else [value]:
        weight.grad = torch.ones_like(weight)


def _evaluate(value: Any) -> None:
    if isinstance(value, torch.nn.Module):
        value.eval()


def _drift(answer: Answer) -> Answer:
    calls = [0]

    def call(*args: Any) -> Any:
        calls[0] += 1
        return _floats(lambda t: t + 0.01 * calls[0], lambda n: n + 0.01 * calls[0])(answer)(*args)

    return call


def _one_step(answer: Answer) -> Answer:
    """Whatever number of steps, or ways, comes last: take 1."""
    return lambda *args: answer(*args[:-1], min(args[-1], 1) if isinstance(args[-1], int) else args[-1])


CHANGES: dict[str, Change] = {
    "detached": _floats(Tensor.detach),
    "half of the gradient": _floats(lambda t: (t + t.detach()) / 2),
    "a number for a tensor": _results(lambda t: t if t.ndim else t.item()),
    "a list for a tensor": _results(Tensor.tolist),
    "an array for a tensor": _results(lambda t: t.detach().numpy()),
    "low precision": _floats(lambda t: t.bfloat16().to(t.dtype)),
    "integers": _floats(Tensor.long),
    "floats": _results(Tensor.float),
    "a little larger": _floats(lambda t: 1.003 * t, lambda n: 1.003 * n),
    "negated": _results(lambda t: ~t if t.dtype == torch.bool else -t, lambda n: -n),
    "absolute": _floats(Tensor.abs, abs),
    "capped": _floats(lambda t: t.clamp(max=20), lambda n: min(n, 20)),
    "clamped at 0": _floats(lambda t: t.clamp(min=0), lambda n: max(n, 0)),
    "no infinity": _results(lambda t: t, lambda n: n if math.isfinite(n) else 0.0),
    "not a number": _floats(lambda t: t * math.nan, lambda n: math.nan),
    "transposed": _results(lambda t: t.mT if t.ndim > 1 else t),
    "one axis more": _results(lambda t: t[None]),
    "reversed": _results(lambda t: t.flip(0) if t.ndim else t),
    "sorted": _results(lambda t: t.sort().values if t.ndim == 1 else t),
    "drifting": _drift,
    "one step": _one_step,
    "moves the weights": _afterwards(_move),
    "leaves a gradient": _afterwards(_leave_gradient),
    "leaves evaluation mode": _afterwards(_evaluate),
}
