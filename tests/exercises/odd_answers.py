"""Odd answers, for tests: values that no exercise asks for, and functions that return them or behave oddly."""

from __future__ import annotations

import collections
import decimal
import enum
import fractions
import functools
import itertools
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn


class Hostile:
    """Raises an error whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise ValueError("hands off")

    def __eq__(self, other: object) -> bool:
        raise SystemExit

    def __len__(self) -> int:
        raise KeyError("no length")

    def __iter__(self) -> Iterator[Any]:
        raise GeneratorExit

    __hash__ = None  # type: ignore[assignment]


class NoClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class Text(str):
    def strip(self, *args: Any) -> str:
        raise SystemExit


class Row(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 2**62

    def __iter__(self) -> Iterator[Any]:
        return itertools.count()


class Many(dict):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        raise BufferError("no keys")


class Own(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise ArithmeticError("my own rules")


class Silent(Exception):
    def __str__(self) -> str:
        raise self


class Colour(enum.IntEnum):
    RED = 1


def _endless() -> Iterator[int]:
    while True:
        yield 1


def _knot() -> list[Any]:
    knot: list[Any] = []
    knot.append(knot)
    return knot


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    return deep


VALUES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "an ellipsis": lambda: ...,
    "not implemented": lambda: NotImplemented,
    "a hostile object": Hostile,
    "a list with a hostile object": lambda: [Hostile(), Hostile()],
    "an object without a class": NoClass,
    "two to the 64": lambda: 2**64,
    "a googol to the fourth": lambda: -(10**400),
    "an integer too long to print": lambda: 10**5000,
    "infinity": lambda: float("inf"),
    "no number": lambda: float("nan"),
    "a complex number": lambda: 1j,
    "a decimal": lambda: decimal.Decimal("0.5"),
    "a fraction": lambda: fractions.Fraction(10**400, 3),
    "an enum": lambda: Colour.RED,
    "bytes": lambda: b"\xff",
    "a surrogate": lambda: "\ud800",
    "a long text": lambda: "x" * 10**6,
    "a text with rules": lambda: Text("a"),
    "a set": lambda: {1, 2},
    "a range": lambda: range(2),
    "a deque": lambda: collections.deque([1.0]),
    "an endless generator": _endless,
    "a map": lambda: map(abs, [1]),
    "a knot": _knot,
    "a deep list": _deep,
    "a list of texts": lambda: ["a", "b"],
    "a ragged list": lambda: [[1.0], [1.0, 2.0]],
    "a list with rules": lambda: Row([1, 2]),
    "a dict with rules": lambda: Many(a=1),
    "a dict of nothing": lambda: {None: None},
    "a module": lambda: sys,
    "a type": lambda: int,
    "a function": lambda: lambda *args: args,
    "a function that cannot be called": lambda: lambda: 1,
    "a partial function": lambda: functools.partial(max, 1),
    "a bound method": lambda: [].append,
    "a layer": lambda: nn.Linear(2, 2),
    "a parameter": lambda: nn.Parameter(torch.ones(2)),
    "a namespace": lambda: types.SimpleNamespace(shape=(2,), dtype="float"),
    "a tensor with rules": lambda: torch.ones(2).as_subclass(Own),
    "a complex tensor": lambda: torch.ones(2, dtype=torch.complex64),
    "a sparse tensor": lambda: torch.eye(2).to_sparse(),
    "a tensor without numbers": lambda: torch.ones(2, device="meta"),
    "a number without a number": lambda: torch.ones((), device="meta"),
    "a quantised tensor": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "an empty tensor": lambda: torch.zeros(0),
    "a leaf": lambda: torch.ones((), requires_grad=True),
    "a number of a graph": lambda: torch.ones((), requires_grad=True) * 2,
    "a huge tensor of one number": lambda: torch.ones(1).expand(2**40),
    "seventeen axes": lambda: torch.ones([1] * 17),
    "half precision": lambda: torch.ones(2, dtype=torch.float16),
    "an array of objects": lambda: np.array([None, "a"], dtype=object),
    "an array of one object": lambda: np.array(None, dtype=object),
    "an array of texts": lambda: np.array(["a"]),
    "an array of dates": lambda: np.array(["2000-01-01"], dtype="datetime64[D]"),
    "an array with fields": lambda: np.zeros(2, dtype=[("a", "f4")]),
    "a masked array": lambda: np.ma.masked_all(2),
    "a NumPy number": lambda: np.float16(np.nan),
    "a NumPy date": lambda: np.datetime64("NaT"),
}


def _always(value: Callable[[], Any]) -> Callable[..., Any]:
    """An answer that returns it, whatever is asked."""
    return lambda *args, **kwargs: value()


def _raising(error: BaseException) -> Callable[..., Any]:
    def answer(*args: Any, **kwargs: Any) -> Any:
        raise error

    return answer


async def _coroutine(*args: Any) -> int:
    return 1


def _generator(*args: Any) -> Iterator[int]:
    yield 1


class _Module(nn.Module):
    def forward(self, *args: Any) -> Any:
        return args[0]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"returns {name}": _always(value) for name, value in VALUES.items()},
    "returns its arguments": lambda *args: args,
    "returns its first argument": lambda *args: args[0],
    "returns its last argument": lambda *args: args[-1],
    "is a coroutine": _coroutine,
    "is a generator": _generator,
    "is a module": _Module(),
    "is a linear layer": nn.Linear(2, 2),
    "is a class": dict,
    "is a hostile class": Hostile,
    "is a partial function": functools.partial(lambda first, *args: first, 1.0),
    "is a bound method": "".join,
    "is built in": len,
    "takes nothing": lambda: 1,
    "leaves": _raising(SystemExit(0)),
    "asks to stop a generator": _raising(GeneratorExit()),
    "has no memory": _raising(MemoryError()),
    "cannot say what is wrong": _raising(Silent()),
    "says a lot": _raising(ValueError("x" * 10**6)),
    "warns": lambda *args: warnings.warn("odd", stacklevel=1),
}
