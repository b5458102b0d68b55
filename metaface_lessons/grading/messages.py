"""The messages between the checker and a submission: a tree in JSON, and the raw numbers of its tensors.

Nothing is unpickled, and no code is sent. A message may hold None, a bool, a number, a text, a tensor or array of a
known type, or a list, tuple or dict of these, within the limits below. Everything else is refused. The checker also
sends face sets, networks with their optimiser, and the functions of `problems`, but never accepts them.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import socket
import struct
import time
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..exercises import problems

TEXT, NUMBERS = 1 << 20, 64 << 20  # the most bytes of JSON, and of tensors
NODES, DEPTH = 20_000, 12  # of a tree, at most
_HEADER = struct.Struct("!II")
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}
_ARRAYS = {"float64", "float32", "float16", "bool", "uint8", "int8", "int16", "int32", "int64"}
_LAYERS: dict[str, Callable[[Any], list[int]]] = {
    "Linear": lambda layer: [layer.in_features, layer.out_features],
    "BatchNorm1d": lambda layer: [layer.num_features],
    "Tanh": lambda layer: [],
    "Identity": lambda layer: [],
}


class Violation(Exception):
    """The other side sent something that is not a message of ours."""


class Unsendable(Exception):
    """A value has a type that cannot be sent; the text names it."""


# ------------------------------------------------------------------------------------------------------------- frames


def send(channel: socket.socket, tree: Any, numbers: list[bytes], deadline: float) -> None:
    """Send one message.

    tree: its JSON.
    numbers: the bytes of its tensors.
    deadline: on the monotonic clock.
    Raises `TimeoutError` at the deadline, `OSError` if the other side has gone, `Unsendable` if it is too large.
    """
    text, data = json.dumps(tree).encode(), b"".join(numbers)
    if len(text) > TEXT or len(data) > NUMBERS:
        raise Unsendable("a value that is too large")
    channel.settimeout(max(deadline - time.monotonic(), 1e-3))
    channel.sendall(_HEADER.pack(len(text), len(data)) + text + data)


def receive(channel: socket.socket, deadline: float) -> tuple[Any, memoryview]:
    """Wait for the next message: its tree, and the bytes of its tensors.

    Raises `TimeoutError` at the deadline, `Violation` if it is not a message, `EOFError` if the other side has gone.
    """
    text_size, data_size = _HEADER.unpack(_exactly(channel, _HEADER.size, deadline))
    if text_size > TEXT or data_size > NUMBERS:
        raise Violation("a message that is too large")
    text, data = _exactly(channel, text_size, deadline), _exactly(channel, data_size, deadline)
    try:
        return json.loads(bytes(text)), data
    except (ValueError, RecursionError) as error:
        raise Violation("a message that is not JSON") from error


def _exactly(channel: socket.socket, size: int, deadline: float) -> memoryview:
    data = memoryview(bytearray(size))
    have = 0
    while have < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        try:
            got = channel.recv_into(data[have:])
        except ConnectionError:
            got = 0
        if got == 0:
            raise EOFError
        have += got
    return data


# ------------------------------------------------------------------------------------------------------------ encoding


Known = dict[int, tuple[Any, int, Any]]  # id → the object, its number in the other process, its state there


class Encoder:
    """Turns values into trees, and collects their numbers.

    records: whether it also sends what only the checker may send. False.
    known: what the other side keeps of earlier messages; of these only changes are sent. `remember` adds this
        message's. Nothing by default.
    `mutable` collects the values that an answer may change for its caller to see: tensors that need a gradient,
    networks and optimisers. A call raises `Unsendable` for a value of another type.
    """

    def __init__(self, records: bool = False, known: Known | None = None) -> None:
        self.records = records
        self.known = {} if known is None else known
        self.numbers: list[bytes] = []
        self.mutable: list[Any] = []

    def remember(self) -> None:
        """Take the present state of what may change for the one that the other side has."""
        for value in self.mutable:
            _, number, _ = self.known[id(value)]
            self.known[id(value)] = (value, number, snapshot(value))

    def _add(self, value: Any) -> None:
        self.mutable.append(value)
        if self.records:
            self.known[id(value)] = (value, len(self.known), snapshot(value))

    def __call__(self, value: Any) -> Any:
        if self.records and id(value) in self.known:
            _, number, before = self.known[id(value)]
            state = snapshot(value)
            self.known[id(value)] = (value, number, state)
            if not any(value is other for other in self.mutable):
                self.mutable.append(value)
            return {"kept": [number, self(changes(before, state))]}
        match value:
            case None | bool():
                return value
            case np.generic() if not isinstance(value, np.longdouble):  # its item is a long double again
                return self(value.item())
            case int() | float() | str():
                return _scalar(value)
            case Real():  # a fraction: a check takes it for a number as well
                return float(value)
            case Tensor() if self.records and value.is_leaf and value.grad is not None:
                return {"leaf": [self._tensor(value), self._tensor(value.grad)]}
            case Tensor():
                return {"tensor": self._tensor(value)}
            case np.ndarray() if value.dtype.name in _ARRAYS:
                self.numbers.append(np.ascontiguousarray(value).tobytes())
                return {"array": [value.dtype.name, list(value.shape)]}
            case list():
                return {"list": [self(v) for v in value]}
            case tuple():
                return {"tuple": [self(v) for v in value]}
            case dict() if all(isinstance(key, int | str) for key in value):
                return {"dict": [[_scalar(key), self(v)] for key, v in value.items()]}
        return self._record(value)

    def _record(self, value: Any) -> Any:
        match value:
            case _ if not self.records:
                pass
            case nn.Sequential():
                layers = [[type(layer).__name__, _LAYERS[type(layer).__name__](layer)] for layer in value]
                state = self(snapshot(value))
                self._add(value)
                return {"network": [layers, state]}
            case torch.optim.SGD():
                network = next(i for i, m in enumerate(self.mutable) if _belongs(value, m))
                settings = self({key: value.defaults[key] for key in ("lr", "momentum")})
                state = self(snapshot(value))
                self._add(value)
                return {"sgd": [network, settings, state]}
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                fields = {field.name: self(getattr(value, field.name)) for field in dataclasses.fields(value)}
                module = type(value).__module__.removeprefix("metaface_lessons.")
                return {"record": [module, type(value).__name__, fields]}
            case _ if getattr(value, "__module__", None) == problems.__name__:
                return {"given": value.__name__}
        raise Unsendable(f"a value of type {type(value).__name__}")

    def _tensor(self, value: Tensor) -> Any:
        name = str(value.dtype).removeprefix("torch.")
        if name not in _DTYPES or value.layout != torch.strided:
            raise Unsendable(f"a tensor of type {name}, {value.layout}")
        if value.requires_grad:
            self._add(value)
        self.numbers.append(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return [name, list(value.shape), value.requires_grad]


def _scalar(value: Any) -> Any:
    """The plain value, without anything that a subclass adds."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise Unsendable(f"a value of type {type(value).__name__}")


class Decoder:
    """Turns trees back into values.

    numbers: the bytes of the tensors.
    records: whether it accepts what only the checker may send, as it does inside the sandbox. False.
    kept: the values of earlier messages that an answer may have changed; this message's are added. None by default.
    """

    def __init__(self, numbers: memoryview, records: bool = False, kept: list[Any] | None = None) -> None:
        self.numbers, self.records, self.at, self.nodes = numbers, records, 0, 0
        self.kept = [] if kept is None else kept
        self.mutable: list[Any] = []

    def _add(self, value: Any) -> None:
        self.mutable.append(value)
        self.kept.append(value)

    def all(self, tree: Any) -> Any:
        """The value of a whole tree. Raises `Violation` if numbers are left over, or if it is not a tree of ours."""
        try:
            value = self(tree)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError, RuntimeError, OverflowError) as error:
            raise Violation("a tree of another form") from error
        if self.at != len(self.numbers):
            raise Violation("numbers that belong to nothing")
        return value

    def __call__(self, tree: Any, depth: int = 0) -> Any:
        self.nodes += 1
        if self.nodes > NODES or depth > DEPTH:
            raise Violation("a tree that is too large")
        if not isinstance(tree, dict):
            if not isinstance(tree, None | bool | int | float | str):
                raise Violation("a bare list")
            return tree
        ((kind, content),) = tree.items()
        match kind:
            case "tensor":
                return self._tensor(*content)
            case "array":
                name, shape = content
                if name not in _ARRAYS:
                    raise Violation("an unknown type of numbers")
                return self._take(_DTYPES[name], shape).numpy()
            case "list" | "tuple":
                values = [self(v, depth + 1) for v in content]
                return values if kind == "list" else tuple(values)
            case "dict":
                found = {}
                for key, value in content:
                    if not isinstance(key, int | str):
                        raise Violation("a key that is neither a number nor a text")
                    found[key] = self(value, depth + 1)
                return found
            case "leaf" if self.records:
                leaf = self._tensor(*content[0])
                leaf.grad = self._tensor(*content[1])
                return leaf
            case "kept" if self.records:
                number, changed = content
                value = self.kept[number]
                state = self(changed, depth + 1)
                if not isinstance(state, str):
                    restore(value, changed_by(snapshot(value), state), strict=False)
                if not any(value is other for other in self.mutable):
                    self.mutable.append(value)
                return value
            case "given" | "record" | "network" | "sgd" if self.records:
                return self._record(kind, content, depth + 1)
        raise Violation("an unknown kind of value")

    def _tensor(self, name: Any, shape: Any, needs_gradient: Any) -> Tensor:
        value = self._take(_DTYPES[name], shape)
        if needs_gradient is True and value.is_floating_point():
            value.requires_grad_()
            self._add(value)
        return value

    def _take(self, dtype: torch.dtype, shape: Any) -> Tensor:
        if not isinstance(shape, list) or len(shape) > 16 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise Violation("a shape that is not a list of sizes")
        size = math.prod(shape) * dtype.itemsize
        if size > len(self.numbers) - self.at:
            raise Violation("fewer numbers than its shape says")
        raw = torch.frombuffer(bytearray(self.numbers[self.at : self.at + size] or b"\0"), dtype=torch.uint8)[:size]
        self.at += size
        return (raw != 0 if dtype == torch.bool else raw.view(dtype)).reshape(shape)

    def _record(self, kind: str, content: Any, depth: int) -> Any:
        match kind:
            case "given":
                return getattr(problems, content)
            case "record":
                module, name, fields = content
                record = getattr(importlib.import_module(f"metaface_lessons.{module}"), name)
                return record(**{key: self(value, depth) for key, value in fields.items()})
            case "network":
                layers, state = content
                value: Any = nn.Sequential(*(getattr(nn, name)(*sizes) for name, sizes in layers))
            case _:
                network, settings, state = content
                value = torch.optim.SGD(self.mutable[network].parameters(), **self(settings, depth))
        restore(value, self(state, depth), strict=False)
        self._add(value)
        return value


# ------------------------------------------------------------------------------------------ what an answer may change


def snapshot(value: Any) -> Any:
    """The state of something mutable, in values that can be sent."""
    match value:
        case Tensor():
            own = value.is_leaf or value.retains_grad  # PyTorch warns if others are asked for their gradient
            return {"data": value.detach().clone(), "grad": _kept(value.grad) if own else None}
        case nn.Module():
            return {
                "state": {name: tensor.detach().clone() for name, tensor in value.state_dict().items()},
                "training": value.training,
                "grads": [_kept(p.grad) for p in value.parameters()],
            }
        case torch.optim.Optimizer():
            parameters = [p for group in value.param_groups for p in group["params"]]
            return {"buffers": [_kept(value.state.get(p, {}).get("momentum_buffer")) for p in parameters]}
    raise TypeError(value)


def restore(value: Any, state: Any, strict: bool = True) -> None:
    """Bring something mutable into a state that `snapshot` took.

    value: a tensor, a network or an optimiser.
    strict: whether to raise `Violation` if a type or a shape differs from the value's own. True.
    """
    if strict:
        _same_form(snapshot(value), state)
    with torch.no_grad():
        match value:
            case Tensor():
                value.data = state["data"]
                value.grad = state["grad"]
            case nn.Module():
                value.to(next(iter(state["state"].values())).dtype)
                value.load_state_dict(state["state"])
                value.train(state["training"])
                for p, gradient in zip(value.parameters(), state["grads"], strict=True):
                    p.grad = gradient
            case torch.optim.Optimizer():
                parameters = [p for group in value.param_groups for p in group["params"]]
                for p, buffer in zip(parameters, state["buffers"], strict=True):
                    value.state.pop(p, None)
                    if buffer is not None:
                        value.state[p] = {"momentum_buffer": buffer}


def same(a: Any, b: Any) -> bool:
    """Whether two states are the same, bit by bit."""
    match a:
        case Tensor():
            return isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
        case dict():
            return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        case list():
            return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a is b


_AS_IT_IS = "as it is"


def changes(before: Any, after: Any) -> Any:
    """The state `after`, with a word in place of each part that is as in `before`."""
    match before, after:
        case _ if same(before, after):
            return _AS_IT_IS
        case dict(), dict():
            return {key: changes(before.get(key), value) for key, value in after.items()}
        case list(), list() if len(before) == len(after):
            return [changes(one, other) for one, other in zip(before, after, strict=True)]
    return after


def changed_by(state: Any, changed: Any) -> Any:
    """A state, with the parts that `changes` found."""
    match state, changed:
        case _, str():
            return state
        case dict(), dict():
            return {key: changed_by(state.get(key), value) for key, value in changed.items()}
        case list(), list() if len(state) == len(changed):
            return [changed_by(one, other) for one, other in zip(state, changed, strict=True)]
    return changed


def _same_form(a: Any, b: Any) -> None:
    match a, b:
        case Tensor(), Tensor() if a.shape == b.shape and a.dtype == b.dtype:
            return
        case dict(), dict() if a.keys() == b.keys():
            for key in a:
                _same_form(a[key], b[key])
            return
        case list(), list() if len(a) == len(b):
            for one, other in zip(a, b, strict=True):
                _same_form(one, other)
            return
        case (None, None | Tensor()) | (Tensor(), None):  # a gradient or a momentum may appear or disappear
            return
        case bool(), bool():
            return
    raise Violation("a state of another form")


def _kept(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _belongs(optimiser: torch.optim.Optimizer, network: Any) -> bool:
    first = optimiser.param_groups[0]["params"][0]
    return isinstance(network, nn.Module) and any(p is first for p in network.parameters())
