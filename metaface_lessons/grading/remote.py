"""Calls an answer inside the sandbox like any function, from a check outside.

Arguments and results are sent by value. Gradients still flow: a result that depends on arguments that need a gradient
is the output of an autograd function, whose backward pass asks the sandbox for the vector-Jacobian product.

If an answer changes an argument (a tensor that needs a gradient, a network, an optimiser), the process reports it, the
original outside changes as well, and the submission does not pass. But the submission controls the process, and may
report nothing. So the process also keeps such an argument while a check lasts. A check that hands over the same object
again sends only what has changed outside, and the answer meets what it left behind the first time.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MetaFaceError
from ..exercises import core
from ..exercises.core import RAISED, SECONDS, WRONG, AnswerError, Exercise, Outcome, TimeUp, Wrong
from . import sandbox
from .messages import Decoder, Encoder, Known, Unsendable, Violation, receive, restore, same, send, snapshot

START_SECONDS = 120.0  # to import PyTorch on a busy machine
CPU_SECONDS = 120  # of a submission; the checker's own limit, `SECONDS` for each exercise, is tighter

GONE = "Your code ended the process that it ran in. Look for an exit, or for too much memory."
WANTED = "An answer is a number, text, tensor or array, or a list, tuple or dict of these."
FORGED = f"The checker received something that is not an answer: {{}}. {WANTED}"
CHANGED = "Your code changes its arguments, or leaves a gradient in them. Make new tensors, or work on a copy."


@dataclasses.dataclass(frozen=True)
class Cell:
    """An answer cell.

    exercise: the name of the exercise that it answers.
    source: its text.
    name: the answer's name in the lesson.
    before: the texts of earlier cells with the same id, which are run first; none by default.
    """

    exercise: str
    source: str
    name: str
    before: tuple[str, ...] = ()


class Worker:
    """One locked process that runs the cells of a submission. A context manager.

    kind: of the sandbox, see `sandbox.find`.
    package_folder: the folder with the visible package, see `visible_package.prepared`.
    setup: the import statements of the lesson.
    modules: further modules that the submission imports.
    optimisers: whether the submission may need an optimiser.
    Entering it raises `MetaFaceError` if the process does not start.
    """

    def __init__(
        self, kind: str, package_folder: Path, setup: Sequence[str], modules: Sequence[str], optimisers: bool
    ) -> None:
        code = "from metaface_lessons.grading.worker import main; main(*{lock})"
        self._running = sandbox.running(kind, package_folder, code)
        self._start = {"setup": list(setup), "modules": sorted(modules), "optimisers": optimisers}
        self._deadline = 0.0
        self._busy = False  # whether a reply is due; if it never comes, the process cannot be used again
        self._calls = 0
        self._changed = False
        self._known: Known = {}  # what the process keeps of this check: what its answers may change

    def __enter__(self) -> Worker:
        self._channel = self._running.__enter__()
        self._deadline = time.monotonic() + START_SECONDS
        try:
            send(self._channel, self._start | {"cpu_seconds": CPU_SECONDS}, [], self._deadline)
            receive(self._channel, self._deadline)
        except BaseException as error:
            self.__exit__()
            if isinstance(error, TimeoutError | EOFError | OSError):
                raise MetaFaceError("The sandbox does not start. It may lack memory. Try `--jobs 1`.") from error
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(None, None, None)

    @property
    def usable(self) -> bool:
        return not self._busy

    def run(self, cell: Cell) -> Any:
        """Run a cell, and return its answer: a function to call, or a value.

        Raises `Wrong`, `TimeUp` or `AnswerError` if the cell does not finish.
        """
        self._deadline, self._calls, self._changed = time.monotonic() + SECONDS, 0, False
        self._known.clear()
        try:
            reply, numbers = self._ask({"do": "run"} | dataclasses.asdict(cell))
        except Unsendable as error:
            raise Wrong(
                f"The cell is too long to be run: {len(cell.source):,} characters. Write a shorter one."
            ) from error
        if reply.get("callable") is True:
            return functools.partial(self._call, cell.exercise)
        return self._decoded(reply, numbers, "value")

    def judge(self, exercise: Exercise, cell: Cell) -> Outcome:
        """Run a cell, then the check of its exercise on the answer."""
        try:
            answer = self.run(cell)
        except Wrong as wrong:
            return Outcome(exercise.name, WRONG, str(wrong))
        except TimeUp:
            return Outcome(exercise.name, RAISED, f"The cell was stopped after {SECONDS:g} s. Does it loop forever?")
        except AnswerError as raised:
            return Outcome(exercise.name, RAISED, f"The cell raised {raised}")
        self._deadline = time.monotonic() + SECONDS
        outcome = core.judge(exercise, answer)
        if outcome.passed and (self._changed or self._busy):
            return Outcome(exercise.name, WRONG, CHANGED)
        return outcome

    def _call(self, exercise: str, *args: Any, **kwargs: Any) -> Any:
        encoder = Encoder(records=True, known=self._known)
        arguments = encoder((args, kwargs))
        call, self._calls = self._calls, self._calls + 1
        reply, numbers = self._ask({"do": "call", "exercise": exercise, "arguments": arguments}, encoder.numbers)
        decoded = self._decoded(reply, numbers, "result", "after")
        result, after = decoded["result"], decoded["after"]
        self._take_over(encoder.mutable, after)
        encoder.remember()
        sources = [value for value in encoder.mutable if isinstance(value, Tensor)]
        results = _needing_gradient(result)
        if not sources or not results:
            return _swapped(result, {id(r): r.detach() for r in results})
        through = _Through.apply(self, call, len(results), *results, *sources)
        return _swapped(result, {id(r): t for r, t in zip(results, through, strict=True)})

    def _take_over(self, mutable: list[Any], after: Any) -> None:
        """Change the arguments in the same way as the answer changed its copies."""
        if not isinstance(after, list) or len(after) != len(mutable):
            raise self._forged("the arguments are missing")
        for value, state in zip(mutable, after, strict=True):
            if same(snapshot(value), state):
                continue
            self._changed = True
            try:
                restore(value, state)
            except (Violation, RuntimeError, TypeError) as error:
                raise Wrong(CHANGED) from error  # into another form

    def pull(self, call: int, cotangents: list[Tensor | None], sources: list[Tensor]) -> list[Tensor | None]:
        """The vector-Jacobian product of a call.

        call: its number.
        cotangents: the gradients with respect to its results.
        sources: its arguments that need a gradient.
        Returns the gradients with respect to `sources`.
        """
        encoder = Encoder()
        tree = encoder(cotangents)
        reply, numbers = self._ask({"do": "pull", "call": call, "cotangents": tree}, encoder.numbers)
        gradients = self._decoded(reply, numbers, "gradients")
        if not isinstance(gradients, list) or len(gradients) != len(sources):
            raise self._forged("not as many gradients as arguments")
        for gradient, source in zip(gradients, sources, strict=True):
            if gradient is None:
                continue
            if not isinstance(gradient, Tensor) or (gradient.shape, gradient.dtype) != (source.shape, source.dtype):
                raise self._forged("a gradient of another form than its argument")
        return gradients

    def _ask(self, message: dict[str, Any], numbers: Sequence[bytes] = ()) -> tuple[dict[str, Any], memoryview]:
        """Send a message, and return the reply. Raises `Wrong`, `TimeUp` or `AnswerError` if it reports an error."""
        if self._busy:
            raise Wrong(GONE)
        self._busy = True
        try:
            send(self._channel, message, list(numbers), self._deadline)
            reply, data = receive(self._channel, self._deadline)
        except Unsendable:  # nothing of it was sent
            self._busy = False
            raise
        except TimeoutError as error:
            raise TimeUp from error
        except Violation as error:
            raise self._forged(str(error)) from error
        except (EOFError, OSError) as error:
            raise Wrong(GONE) from error
        self._busy = False
        if not isinstance(reply, dict):
            raise self._forged("a reply of another form")
        if "unsendable" in reply:
            raise Wrong(f"Your answer is {str(reply['unsendable'])[:100]}. {WANTED}")
        if "raised" in reply:
            raise AnswerError(self._error(reply["raised"]), "")
        return reply, data

    def _decoded(self, reply: dict[str, Any], numbers: memoryview, *keys: str) -> Any:
        """The value of one key, or a dict of the values of several."""
        try:
            found = Decoder(numbers).all({"dict": [[key, reply[key]] for key in keys]})
        except (Violation, KeyError) as error:
            raise self._forged(str(error)) from error
        return found if len(keys) > 1 else found[keys[0]]

    def _error(self, described: Any) -> Exception:
        """An exception with the type, text and line of the submission's."""
        if not isinstance(described, list) or len(described) != 3 or not all(isinstance(t, str) for t in described):
            raise self._forged("an error of another form")
        name, text, where = described
        if name == "NotImplementedError" and not text:
            return NotImplementedError()
        name = re.sub(r"\W", "", name[:60]) or "Error"
        return type(name, (Exception,), {})(f"{text[:2000]}{f' ({where[:60]})' if where else ''}")

    def _forged(self, how: str) -> Wrong:
        self._busy = True  # this process is not trusted any more
        return Wrong(FORGED.format(how))


class _Through(torch.autograd.Function):
    """The results of a call, as functions of its arguments."""

    @staticmethod
    def forward(ctx: Any, worker: Worker, call: int, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.worker, ctx.call, ctx.sources = worker, call, [source.detach() for source in tensors[count:]]
        ctx.results = count
        ctx.set_materialize_grads(False)
        return tuple(result.detach().clone() for result in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        gradients = ctx.worker.pull(ctx.call, list(cotangents), ctx.sources)
        return (None, None, None, *([None] * ctx.results), *gradients)


def _needing_gradient(value: Any) -> list[Tensor]:
    match value:
        case Tensor():
            return [value] if value.requires_grad else []
        case list() | tuple():
            return [found for v in value for found in _needing_gradient(v)]
        case dict():
            return [found for v in value.values() for found in _needing_gradient(v)]
    return []


def _swapped(value: Any, tensors: dict[int, Tensor]) -> Any:
    match value:
        case Tensor():
            return tensors.get(id(value), value)
        case list() | tuple():
            return type(value)(_swapped(v, tensors) for v in value)
        case dict():
            return {key: _swapped(v, tensors) for key, v in value.items()}
    return value
