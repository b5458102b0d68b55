"""How an exercise is written down, and how an answer is judged.

An exercise is a check function with a name, a title, points, the equation that it practises and hints in steps. With
it come wrong answers that people typically give, each with the words by which the check must recognise it, and right
answers in different styles. A test runs them all.

    @exercise("means.of_rows", lesson="02", title="The mean of each row", points=1, equation="(2.1)",
              hints=("Which axis is a row?", "`x.mean(dim=…)` removes the axis that it is given."))
    def check_of_rows(answer):
        x = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
        expect(answer(x), torch.tensor([2.0, 5.0]), case="For x = [[1, 3], [5, 5]]",
               slips={"That is the mean of each column.": x.mean(dim=0)})

    @right_answer("means.of_rows")
    def _(x):
        return x.sum(dim=1) / x.shape[1]

    @wrong_answer("means.of_rows", hint="mean of each column")
    def _(x):
        return x.mean(dim=0)

Right and wrong answers need no names of their own: a traceback shows the exercise and the hint instead.

The check gets a guarded answer. It works on copies of the arguments, and what it raises counts as the learner's error;
an error in the check itself does not, if a right answer meets it too. An answer is stopped after `SECONDS` seconds
where the system has interval timers (Linux, macOS) and the check runs in the main thread. Elsewhere "Interrupt kernel"
stops it. Settings of PyTorch and NumPy that an earlier cell or the answer has changed are the usual ones during a check
and the learner's again after it.

For marks a check runs inside `fresh_data`, where `generator` draws other numbers. An exercise also has
`fresh_arguments`: there the answer must give what the first right answer gives, in value and in gradient, and again
when it is asked about the same objects a second time. They alone must refuse every wrong answer, so that nobody passes
who only recognises the numbers in the lesson. `fresh_check` is for an exercise with many right results.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import importlib
import inspect
import linecache
import numbers
import pkgutil
import random
import signal
import sys
import sysconfig
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TextIO, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import MetaFaceError, unknown

PASSED, WRONG, RAISED, NOT_ATTEMPTED = "passed", "wrong", "raised", "not attempted"
BROKEN = "broken"  # the check itself failed, which says nothing about the answer

SECONDS = 10.0  # an answer is stopped after this time
IMPORT_SECONDS = 60.0  # more that it gets to finish an import: PyTorch puts some off until they are needed
FRESH = 8  # times that each question is asked with fresh data: a sign or a tie that a draw lacks, another has
ROUNDING = 1e-7  # of a number near 0 that was computed from numbers near 1, in single precision
SHOWN = 1000  # characters of what an answer returned
PRINTED = 4000  # characters that an answer may print while it is checked

Check = Callable[[Any], None]
FreshArguments = Callable[[torch.Generator], tuple[Any, ...]]
FreshCheck = Callable[[Any, torch.Generator], None]
Anything = TypeVar("Anything")


class Wrong(Exception):
    """Raised by a check: the answer is wrong, and the message says in the lesson's words what is wrong."""


class AnswerError(Exception):
    """The learner's code raised `error` when it was called with `arguments`; `slip` is the likely cause, if known."""

    def __init__(self, error: BaseException, arguments: str, slip: str = "") -> None:
        super().__init__(_named(error))
        self.error, self.arguments, self.slip = error, arguments, slip


class TimeUp(BaseException):
    """Not an `Exception`, so that an answer's `except Exception` does not swallow it."""


# ---------------------------------------------------------------------------------------------------- what checks draw

_secret: str | None = None


def generator(seed: int) -> torch.Generator:
    """What a check draws its data from: the same in every run, but fresh while `fresh_data` holds."""
    if _secret is not None:
        seed = int.from_bytes(hashlib.sha256(f"{_secret}:{seed}".encode()).digest()[:4])
    return torch.Generator().manual_seed(seed)


@contextlib.contextmanager
def fresh_data(secret: str) -> Iterator[None]:
    """Inside, checks draw other data than a learner sees; the same secret gives the same data. Marks rest on it."""
    global _secret
    before, _secret = _secret, secret
    try:
        yield
    finally:
        _secret = before


def pick(draw: torch.Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included: a size, or a number of steps."""
    return int(torch.randint(low, high + 1, (), generator=draw))


@dataclasses.dataclass(frozen=True)
class WrongAnswer:
    answer: Any
    hint: str  # must be in the message with which the check refuses the answer


@dataclasses.dataclass(frozen=True)
class Exercise:
    """One graded exercise.

    value: the answer is a value (number, tensor, text …), not a function.
    """

    name: str
    lesson: str
    title: str
    points: int
    equation: str
    hints: tuple[str, ...]
    value: bool
    check: Check
    right_answers: list[Any] = dataclasses.field(default_factory=list)
    wrong_answers: list[WrongAnswer] = dataclasses.field(default_factory=list)
    fresh_checks: list[FreshCheck] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a check: a kind, `PASSED`, `WRONG`, `RAISED`, `NOT_ATTEMPTED` or `BROKEN`, and a message."""

    exercise: str
    kind: str
    message: str

    @property
    def passed(self) -> bool:
        return self.kind == PASSED

    def _ipython_display_(self) -> None:
        """Silent as the last value of a cell: `check` has shown the message already."""


_registry: dict[str, Exercise] = {}


def exercise(
    name: str,
    *,
    lesson: str,
    title: str,
    points: int = 1,
    equation: str = "",
    hints: Sequence[str] = (),
    value: bool = False,
) -> Callable[[Check], Check]:
    """Register the decorated function as the check of a new exercise. It gets the answer and raises `Wrong`.

    name: what learners call it by, such as "protonet.loss".
    lesson: the lesson's number, such as "02".
    title: one line for the table of progress.
    points: at least 1, the default.
    equation: the one to compare with, such as "(2.3)"; none by default.
    hints: in steps; later ones say more.
    value: whether the answer is a value and not a function; by default it is a function.
    Raises `MetaFaceError` if the name is taken or there are no points.
    """
    if name in _registry:
        raise MetaFaceError(f"There are two exercises called '{name}'. Give each a name of its own.")
    if points < 1:
        raise MetaFaceError(f"Exercise '{name}' has {points} points; it needs at least 1.")

    def register(check: Check) -> Check:
        _registry[name] = Exercise(name, lesson, title, points, equation, tuple(hints), value, check)
        return check

    return register


def right_answer(name: str) -> Callable[[Anything], Anything]:
    """Register the decorated function as an answer that must pass. For a value: `right_answer(name)(value)`."""

    def register(answer: Anything) -> Anything:
        _registered(name).right_answers.append(_called(f"right answer to {name}", answer))
        return answer

    return register


def wrong_answer(name: str, *, hint: str) -> Callable[[Anything], Anything]:
    """Register the decorated function as an answer that must be refused with `hint` in the message.

    For a value: `wrong_answer(name, hint="…")(value)`.
    """

    def register(answer: Anything) -> Anything:
        _registered(name).wrong_answers.append(WrongAnswer(_called(f"wrong answer to {name}, {hint!r}", answer), hint))
        return answer

    return register


def fresh_arguments(
    name: str, tolerance: float = 1e-4, gradients: bool = True, any_container: bool = False
) -> Callable[[FreshArguments], FreshArguments]:
    """Register the decorated function, which draws arguments, as a question that is asked while `fresh_data` holds.

    The answer must give the result of the first right answer, twice if it is asked twice about the same objects. With
    respect to arguments that need a gradient, its result must have the gradient of the right answer's result.

    name: of the exercise.
    tolerance: relative to the result. 1e-4.
    gradients: whether they are compared. True; False where right answers may cut the graph.
    any_container: whether a list or array will do for a tensor. False; True where the check takes them, by `as_tensor`.
    """

    def register(draw: FreshArguments) -> FreshArguments:
        exercise = _registered(name)
        exercise.fresh_checks.append(
            functools.partial(_check_same, exercise, draw, tolerance, gradients, any_container)
        )
        return draw

    return register


def fresh_check(name: str) -> Callable[[FreshCheck], FreshCheck]:
    """Register the decorated function as a check that runs while `fresh_data` holds: for results that are drawn.

    It gets the answer and a generator for its data, and raises `Wrong`.
    """

    def register(check: FreshCheck) -> FreshCheck:
        _registered(name).fresh_checks.append(check)
        return check

    return register


def _called(name: str, function: Anything) -> Anything:
    """The function itself. If it is called `_`, tracebacks show it under `name` from now on."""
    if inspect.isfunction(function) and function.__name__ == "_":
        function.__name__ = function.__qualname__ = name
        function.__code__ = function.__code__.replace(co_name=name, co_qualname=name)
    return function


def _registered(name: str) -> Exercise:
    if name not in _registry:
        raise unknown("exercise", name, _registry)
    return _registry[name]


@functools.cache
def _load_lessons() -> None:
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("lesson"):
            importlib.import_module(f"{__package__}.{module.name}")


def find(name: str) -> Exercise:
    """The exercise of that name. Raises `MetaFaceError`, with the nearest name, if there is none."""
    _load_lessons()
    return _registered(name)


def exercises(lesson: str | None = None) -> list[Exercise]:
    """All exercises, or those of one lesson ("02"), in the order of the lessons."""
    _load_lessons()
    lesson = lesson if lesson is None else str(lesson).zfill(2)
    chosen = [e for e in _registry.values() if lesson in (None, e.lesson)]
    if not chosen and lesson is not None:
        raise unknown("lesson with exercises", lesson, {e.lesson for e in _registry.values()})
    return sorted(chosen, key=lambda e: e.lesson)


# ---------------------------------------------------------------------------------------------------------- judging


def judge(exercise: Exercise, answer: Any, seconds: float = SECONDS) -> Outcome:
    """Run the check of `exercise` on `answer`. Shows, records and raises nothing.

    seconds: the answer is stopped after this time.
    """

    def outcome(kind: str, message: str) -> Outcome:
        return Outcome(exercise.name, kind, message)

    notes: list[str] = []  # on what the answer has done, in addition to returning something wrong
    last: list[Any] = [answer]  # what it has returned

    def note(result: Any) -> None:
        last[0] = result
        if not torch.is_grad_enabled():
            notes.append(
                "Your code switches gradients off and leaves them off (`torch.set_grad_enabled(False)`). Use"
                " `with torch.no_grad():` around what needs no gradient."
            )

    if answer is None or answer is ...:
        return outcome(NOT_ATTEMPTED, "Not attempted yet.")
    try:
        if not exercise.value and not callable(answer):
            raise Wrong(
                f"The answer is a function, but the check was given {describe(answer)}."
                " Give it the function itself, without calling it."
            )
        if exercise.value and inspect.isroutine(answer):
            raise Wrong(
                "The answer is a value, but the check was given a function. Call it, and give the check the result."
            )
        with (
            _own_chance(),
            _usual_settings(),
            contextlib.redirect_stdout(_Limited(sys.stdout)),
            contextlib.redirect_stderr(_Limited(sys.stderr)),
            _time_limit(seconds),
        ):
            _run_checks(exercise, _copied(answer) if exercise.value else guarded(answer, note))
    except Wrong as wrong:
        return outcome(WRONG, "\n".join([str(wrong), *dict.fromkeys(notes)]))
    except TimeUp:
        return outcome(RAISED, f"Stopped after {seconds:g} s; a right answer needs far less. Does yours loop forever?")
    except AnswerError as raised:
        if isinstance(raised.error, NotImplementedError) and not raised.error.args:  # as nbgrader's stub raises it
            return outcome(
                NOT_ATTEMPTED,
                "Not attempted yet. (If you have: delete the line `raise NotImplementedError()`.)",
            )
        return outcome(RAISED, _explain(raised))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too, from an object that the answer made, and the check called
        own = exercise.check.__code__.co_filename
        if _learners_frame(error.__traceback__, own):
            return outcome(RAISED, _explain(AnswerError(error, "")))
        if _right_answer_passes(exercise):
            return outcome(
                WRONG,
                f"The check cannot work with what your code returns: {_described(last[0])}.\n{_named(error)}",
            )
        return outcome(BROKEN, _apology(error))
    return outcome(PASSED, "")


def _run_checks(exercise: Exercise, answer: Any) -> None:
    exercise.check(answer)
    if _secret is not None:
        for check in exercise.fresh_checks:
            for seed in range(FRESH):
                check(answer, generator(seed))


def _right_answer_passes(exercise: Exercise) -> bool:
    """Whether the check works, so that an error in it comes from what another answer has returned."""
    try:
        with _own_chance(), _usual_settings():
            _run_checks(exercise, guarded(exercise.right_answers[0]))
    except Exception:
        return False
    return True


def _described(value: Any) -> str:
    """The same as `describe`, also for an object that raises an error when it is looked at."""
    try:
        return describe(value)
    except BaseException:
        return "an object that cannot be looked at"


@contextlib.contextmanager
def _usual_settings() -> Iterator[None]:
    """Inside, what is set for a whole process is as in a new one; after it, all is as before."""
    device, dtype, threads = torch.get_default_device(), torch.get_default_dtype(), torch.get_num_threads()
    exact, precision = torch.get_deterministic_debug_mode(), torch.get_float32_matmul_precision()
    printed, filters = vars(torch._tensor_str.PRINT_OPTS).copy(), list(warnings.filters)
    recursion = sys.getrecursionlimit()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(True))
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
            stack.enter_context(torch.autocast("cpu", enabled=False))
            stack.enter_context(np.errstate(all="warn"))
            stack.enter_context(np.printoptions())
            if device.type != "cpu":
                stack.enter_context(torch.device("cpu"))
            torch.set_default_dtype(torch.float32)
            if exact:
                torch.set_deterministic_debug_mode(0)
            torch.set_float32_matmul_precision("highest")
            if any(entry[0] == "error" for entry in filters):
                warnings.filters[:] = [entry for entry in filters if entry[0] != "error"]  # type: ignore[index]
            yield
    finally:
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_default_dtype(dtype)
        if torch.get_deterministic_debug_mode() != exact:
            torch.set_deterministic_debug_mode(exact)
        torch.set_float32_matmul_precision(precision)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if vars(torch._tensor_str.PRINT_OPTS) != printed:
            torch.set_printoptions(**printed)
        if list(warnings.filters) != filters:
            warnings.filters[:] = filters  # type: ignore[index]
        sys.setrecursionlimit(recursion)


@contextlib.contextmanager
def _own_chance() -> Iterator[None]:
    """After it, the generators of chance go on where they were."""
    state, python = torch.get_rng_state(), random.getstate()
    numbers = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(state)
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(python)


def _check_same(
    exercise: Exercise,
    draw: FreshArguments,
    tolerance: float,
    gradients: bool,
    any_container: bool,
    answer: Callable[..., Any],
    source: torch.Generator,
) -> None:
    """Raise `Wrong` unless the answer gives what the first right answer gives, for arguments drawn from `source`."""
    arguments = draw(source)
    sources = [value for value in arguments if gradients and isinstance(value, Tensor) and value.requires_grad]
    result = exercise.right_answers[0](*_copied(arguments))
    weights = [torch.randn(part.shape, generator=source, dtype=part.dtype) for part in _floats(result)]
    wanted, slopes = _simplest(_detached(result)), _slopes(result, weights, sources)
    for case in ("With other numbers than in your notebook", "Asked twice about the same objects"):
        got = answer(*arguments)
        if problem := _difference(as_tensor(got) if any_container else got, wanted, tolerance, relative=True):
            raise Wrong(f"{case}:\n{problem}")
        if slopes is None:
            continue
        found = _slopes(got, weights, sources)
        if found is None:
            raise Wrong(f"{case}: the numbers are right, but no gradient flows.")
        if problem := _difference(found, slopes, tolerance, relative=True):
            raise Wrong(f"{case}, the gradient with respect to the arguments:\n{problem}")


def _floats(result: Any) -> list[Tensor]:
    """The tensors of floats in a result, in their order."""
    match result:
        case Tensor():
            return [result] if result.is_floating_point() else []
        case list() | tuple():
            return [part for value in result for part in _floats(value)]
        case dict():
            return [part for value in result.values() for part in _floats(value)]
    return []


def _slopes(result: Any, weights: list[Tensor], sources: list[Tensor]) -> tuple[Tensor, ...] | None:
    """The gradients of the weighted sum of a result; None if it is a constant."""
    pairs = zip(_floats(result), weights, strict=False)
    parts = [(part * weight).sum() for part, weight in pairs if part.requires_grad]
    if not parts or not sources:
        return None
    total = torch.stack([part.to(torch.float64) for part in parts]).sum()
    return torch.autograd.grad(total, sources, allow_unused=True, materialize_grads=True)


def _detached(value: Any) -> Any:
    match value:
        case Tensor():
            return value.detach().clone()
        case list() | tuple():
            return tuple(map(_detached, value))
        case dict():
            return {key: _detached(v) for key, v in value.items()}
    return value


def _simplest(value: Any) -> Any:
    """Numbers instead of tensors of one number: that is how a check asks for them."""
    if isinstance(value, list | tuple):
        return tuple(map(_simplest, value))
    return _plain(value)


def guarded(answer: Callable[..., Any], note: Callable[[Any], None] = lambda result: None) -> Callable[..., Any]:
    """`answer`, working on copies of its arguments; what it raises is wrapped into an `AnswerError`.

    note: called with each result, before what the answer has set (gradient mode, default type, …) is set back.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        arguments = ", ".join([*map(describe, args), *(f"{k}={describe(v)}" for k, v in kwargs.items())])
        with _usual_settings():
            try:
                result = answer(*_copied(args), **_copied(kwargs))
            except (TimeUp, KeyboardInterrupt, AnswerError, Wrong):  # a locked process's answer says so itself
                raise
            except BaseException as error:  # SystemExit too: an answer must not end the learner's session
                raise AnswerError(error, arguments) from error
            note(result)
        return guarded(result, note) if inspect.isroutine(result) else _plain_tensor(result)

    with contextlib.suppress(Exception):
        functools.update_wrapper(call, answer)
    return call


def _plain_tensor(value: Any) -> Any:
    """A subclass of tensor or array, which may compute in its own way, as a plain one; all else unchanged."""
    if isinstance(value, Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            return value if type(value) is Tensor else value.as_subclass(Tensor)
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if type(value) in (list, tuple):
        return type(value)(map(_plain_tensor, value))
    return {key: _plain_tensor(v) for key, v in value.items()} if type(value) is dict else value


def _copied(value: Any) -> Any:
    """A copy that an answer may change. Tensors in a graph stay what they are, so that gradients can flow."""
    match value:
        case Tensor():
            return value if value.requires_grad else value.clone()
        case np.ndarray():
            return value.copy()
        case dict():
            return {k: _copied(v) for k, v in value.items()}
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(_copied, value))
        case list() | tuple():
            return type(value)(map(_copied, value))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            twin = copy.copy(value)
            for field in dataclasses.fields(value):
                object.__setattr__(twin, field.name, _copied(getattr(value, field.name)))
            return twin
        case _:
            return value


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    latest = time.monotonic() + seconds + IMPORT_SECONDS

    def stop(number: int, frame: FrameType | None) -> None:
        if not _inside(frame, _run_checks):  # it has ended just now; raised here, the timer would never be stopped
            return
        if _importing(frame) and time.monotonic() < latest:
            signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)  # the import's time is not the answer's
        else:
            raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)  # again and again: a bare `except:` may swallow one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _inside(frame: FrameType | None, function: Callable[..., Any]) -> bool:
    """Whether the frame belongs to a call of the function, or to what it calls."""
    while frame is not None:
        if frame.f_code is function.__code__:
            return True
        frame = frame.f_back
    return False


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: stopped half way, it would stay broken for the rest of the session."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class _Limited:
    """A text stream that drops what exceeds `PRINTED` characters, so that an endless `print` does no harm."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.left = stream, PRINTED

    def write(self, text: str) -> int:
        if self.left > 0:
            self.stream.write(text[: self.left])
            self.left -= len(text)
            if self.left <= 0:
                self.stream.write("\n… (the rest of what your answer prints is not shown)\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def explained(words: str, slip: str) -> Iterator[None]:
    """Inside, an error of the answer that has `words` in its message also says `slip`, the likely cause."""
    try:
        yield
    except AnswerError as raised:
        if words in str(raised):
            raised.slip = slip
        raise


_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _learners_frame(traceback: TracebackType | None, *not_in: str) -> tuple[str, int] | None:
    """File and line of the innermost frame outside of the course, of libraries and of these files."""
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith((str(_PACKAGE), *_LIBRARIES, "<frozen", *not_in)):
            found = (file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def _explain(raised: AnswerError) -> str:
    if isinstance(raised.error, NameError) and not isinstance(raised.error, UnboundLocalError):
        raised.slip = raised.slip or _missing_name(raised.error)
    lines = [f"Your code raised {_named(raised.error)}"]
    frame = _learners_frame(raised.error.__traceback__)
    if frame and (line := linecache.getline(*frame).strip()):
        lines.append(f"in line {frame[1]}:  {line}")
    if raised.arguments:
        lines.append(f"It was called with {raised.arguments}.")
    if raised.slip:
        lines.append(raised.slip)
    return "\n".join(lines)


def _missing_name(error: NameError) -> str:
    """Why a name is not there: another one is meant, or the cell that defines it has not run."""
    frames = list(traceback.walk_tb(error.__traceback__))
    known = [*frames[-1][0].f_locals, *frames[-1][0].f_globals] if frames else []
    if near := get_close_matches(error.name or "", [name for name in known if not name.startswith("_")], n=1):
        return f"Did you mean '{near[0]}'?"
    return (
        "After a restart the kernel knows nothing of earlier cells. Run those above first: Run > Run All Above"
        " Selected Cell."
    )


def _apology(error: BaseException) -> str:
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return (
        "This check itself failed. That is a fault of the course and says nothing about your answer. Nothing was"
        f" recorded. Please report it: {_named(error)}{where}"
    )


def _named(error: BaseException) -> str:
    try:
        text = str(error).strip()[:SHOWN]
    except BaseException:  # an error of the answer's own, which cannot say what it is
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -------------------------------------------------------------------------------------------------------- comparing


def expect(
    got: Any,
    wanted: Any,
    case: str = "",
    slips: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Raise `Wrong` unless `got` is `wanted`: in type, then shape, kind of numbers, NaN, and value.

    A number may come as a tensor or array without axes, and a tuple or list as the other of the two. Several numbers
    may also come as a tensor or array `[n]`. Texts are compared without regard to case and to spaces around them.

    got: what the answer gave.
    wanted: tensor, array, number, bool, text, None, or tuples, lists and dicts of these.
    case: what was asked, in words ("For two people with one image each"); use the smallest example that can fail.
    slips: what the learner probably did → the value that this gives. The first one that fits is named.
    tolerance: numbers may differ by tolerance · (1 + |wanted|). Right answers in float32 must pass: 1e-5 or more,
        unless the lesson asks for float64.
    """
    problem = _difference(got, wanted, tolerance)
    if problem is None:
        return
    slip = next((text for text, value in (slips or {}).items() if _difference(got, value, tolerance) is None), None)
    if slip:  # a general guess is of no use where the slip is known
        for guess in (_NO_RETURN, _INFINITE, _NAN):
            problem = problem.replace(guess, "")
    raise Wrong("\n".join(part for part in (f"{case}:" if case else "", problem, slip) if part))


def gradient(result: Any, of: Tensor, lost: str) -> Tensor:
    """The gradient of the sum of `result` with respect to `of`.

    result: a tensor, once its numbers have been found right.
    of: what the gradient is taken with respect to.
    lost: what a graph that is cut costs: "the network could not learn from this". Raises `Wrong` with these words.
    """
    found = None
    if isinstance(result, Tensor) and result.requires_grad:
        (found,) = torch.autograd.grad(result.sum(), of, allow_unused=True, retain_graph=True)
    if found is None:
        raise Wrong(
            f"The numbers are right, but no gradient flows: {lost}.\nWhat cuts the graph: detach(), no_grad(), item(),"
            " numpy(), .data, and torch.tensor(…) of computed values."
        )
    return found


def as_tensor(value: Any) -> Any:
    """A list or NumPy array of numbers as a tensor; everything else unchanged. For checks to which the type is one."""
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        return torch.as_tensor(value) if isinstance(value, list | np.ndarray) else value
    return value


# A slip of an answer that should be a gradient, and is None.
NO_GRADIENT = "Is a `return` missing? Or is it a `.grad` that no `backward()` has reached?"

# Guesses that end a message. Each begins a line of its own.
_NO_RETURN = "\nIs a `return` missing?"
_INFINITE = "\nSomewhere something is divided by zero, or overflows."
_NAN = "\nNaN: 0 was divided by 0, or a root or log has no value."


def _difference(got: Any, wanted: Any, tolerance: float, relative: bool = False) -> str | None:
    """What is wrong with `got`, or None; `relative` as for `_near`."""
    match wanted:
        case bool() | np.bool_():
            if isinstance(plain := _plain(got), bool):
                return None if plain == bool(wanted) else _got_wanted(plain, bool(wanted))
            return _got_wanted(describe(got), "True or False")
        case Tensor() | np.ndarray():
            return _array_difference(got, wanted, tolerance, relative)
        case numbers.Real():
            plain = _plain(got)
            if not _is_number(plain):
                return _got_wanted(describe(got), "a number") + _forgotten_return(got)
            if not np.isfinite(_float_if_odd(plain)) and np.isfinite(float(wanted)):
                return _got_wanted(plain, wanted) + _INFINITE
            near = _near(np.asarray(_float_if_odd(plain)), np.asarray(wanted), tolerance, relative)
            return None if near.all() else _got_wanted(plain, wanted)
        case str():
            if not isinstance(got, str):
                return _got_wanted(describe(got), "a text") + _forgotten_return(got)
            same = got.strip().casefold() == wanted.strip().casefold()
            return None if same else _got_wanted(repr(got), repr(wanted))
        case dict():
            if not isinstance(got, Mapping):
                return _got_wanted(describe(got), f"a dict with {compact(list(wanted))}") + _forgotten_return(got)
            if set(got) != set(wanted):
                return _got_wanted(f"keys {compact(list(got))}", f"keys {compact(list(wanted))}")
            pairs = [(f"Under {key!r}", got[key], wanted[key]) for key in wanted]
        case list() | tuple():
            kind = f"a {type(wanted).__name__} of {len(wanted)}"
            numbers_alone = isinstance(got, Tensor | np.ndarray) and all(map(_is_number, wanted))
            if numbers_alone and got.shape == (len(wanted),):
                got = got.tolist()
            if not isinstance(got, list | tuple):
                return _got_wanted(describe(got), kind) + _forgotten_return(got)
            if len(got) != len(wanted):
                return _got_wanted(describe(got), kind)
            pairs = [
                (f"Number {i + 1} of {len(wanted)}", g, w) for i, (g, w) in enumerate(zip(got, wanted, strict=True))
            ]
        case None:
            return None if got is None else _got_wanted(describe(got), "None")
        case _:
            raise TypeError(f"expect() cannot compare with {describe(wanted)}")
    for place, one, other in pairs:
        if problem := _difference(one, other, tolerance, relative):
            return f"{place}:\n{problem}"
    return None


def _array_difference(got: Any, wanted: Tensor | np.ndarray, tolerance: float, relative: bool) -> str | None:
    if not isinstance(got, type(wanted)):
        kind = "a torch tensor" if isinstance(wanted, Tensor) else "a NumPy array"
        return _got_wanted(describe(got), f"{kind} of shape {list(wanted.shape)}") + _forgotten_return(got)
    if got.shape != wanted.shape:
        return _got_wanted(f"shape {list(got.shape)}", f"shape {list(wanted.shape)}")
    g, w = _array(got), _array(wanted)
    if _kind(g) != _kind(w):
        return _got_wanted(f"{_kind(g)} ({got.dtype})", f"{_kind(w)} ({wanted.dtype})")
    if np.isnan(g).any() and not np.isnan(w).any():
        return _got_wanted(g, w) + _NAN
    near = _near(g, w, tolerance, relative)
    if near.all():
        return None
    if g.size <= 24:
        return _got_wanted(g, w)
    first = tuple(int(i) for i in np.argwhere(~near)[0])
    place = f"In a result of shape {list(g.shape)}, {int((~near).sum())} of {g.size} entries differ; "
    return f"{place}the first is [{', '.join(map(str, first))}]:\n" + _got_wanted(g[first], w[first])


def _near(got: np.ndarray, wanted: np.ndarray, tolerance: float, relative: bool = False) -> np.ndarray:
    """Which numbers are near; `relative` to the largest that is wanted, if all of them are below 1."""
    if _kind(wanted) != "floats" and _kind(got) != "floats":
        return np.asarray(got == wanted)
    finite = np.abs(wanted[np.isfinite(wanted)])
    least = min(1.0, finite.max() + ROUNDING / tolerance) if relative and finite.size else 1.0
    return np.isclose(got, wanted, rtol=tolerance, atol=least * tolerance, equal_nan=True)


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return value.double().numpy() if value.is_floating_point() else value.numpy()  # NumPy knows no bfloat16
    return value


def _kind(array: np.ndarray) -> str:
    kinds = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}
    return kinds.get(array.dtype.kind, str(array.dtype))


def _plain(value: Any) -> Any:
    """A tensor or array with one entry and no axis, or a NumPy scalar, as the Python number; all else unchanged."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        return value.detach().item() if isinstance(value, Tensor) else value.item()
    return value.item() if isinstance(value, np.generic) else value


def _got_wanted(got: Any, wanted: Any) -> str:
    for digits in (4, 9):  # few, unless they hide the difference
        left, right = (value if isinstance(value, str) else compact(value, digits) for value in (got, wanted))
        if left != right:
            break
    left = left if len(left) <= SHOWN else f"{left[:SHOWN]} …"
    return f"  got     {left}\n  wanted  {right}"


def _forgotten_return(got: Any) -> str:
    return _NO_RETURN if got is None else ""


def _float_if_odd(value: Any) -> int | float:
    """An integer that NumPy cannot hold, or a fraction, as a float; other numbers as they are."""
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def compact(value: Any, digits: int = 4) -> str:
    """Tensors, arrays, numbers and lists on one line, with few digits: `[[1, 0.3333], [0, 2.5]]`.

    Rounding errors of a tensor or array, entries below 1e-12 times its largest, are shown as 0.
    """
    match value:
        case Tensor() | np.ndarray():
            array = _array(value)
            if _kind(array) == "floats" and np.isfinite(array).any():
                sizes = np.abs(array)
                array = np.where(sizes < 1e-12 * sizes[np.isfinite(array)].max(), 0.0, array)
            return compact(array.tolist(), digits)
        case list():
            return f"[{', '.join(compact(v, digits) for v in value)}]"
        case tuple():
            return f"({', '.join(compact(v, digits) for v in value)})"
        case float() | np.floating():
            return f"{float(value):.{digits}g}"
        case np.generic():
            return repr(value.item())
        case _:
            return repr(value)


def describe(value: Any) -> str:
    """What kind of thing `value` is, in a few words that are the same in every run."""
    match value:
        case Tensor():
            return f"a torch tensor of shape {list(value.shape)}"
        case np.ndarray():
            return f"a NumPy array of shape {list(value.shape)}"
        case None | bool() | int() | float() | np.generic():
            return compact(value)
        case str():
            return repr(value) if len(value) <= 40 else f"a text of {len(value)} characters"
        case list() | tuple() | dict():
            return f"a {type(value).__name__} of {len(value)}"
        case _ if inspect.isroutine(value):
            return f"the function {getattr(value, '__name__', '')}".strip()
        case type():
            return f"the class {value.__name__}"
        case _:
            return f"a value of type {type(value).__name__}"
