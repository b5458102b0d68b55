"""The machinery of exercises: outcomes of an answer, and how numbers are compared."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import check, core, hint
from metaface_lessons.exercises.core import Outcome, Wrong, expect, judge
from metaface_lessons.exercises.progress import progress_file
from tests.helpers import row_means

LESSONS = core.exercises()  # before a test has exercises of its own

# ---------------------------------------------------------------------------------------------------------- an exercise


def test_the_four_outcomes(rows: core.Exercise) -> None:
    def stub(x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError()

    def raises(x: torch.Tensor) -> torch.Tensor:
        return x.middle()

    for answer, kind in ((row_means, "passed"), (lambda x: x, "wrong"), (raises, "raised"), (stub, "not attempted")):
        assert judge(rows, answer).kind == kind
    assert judge(rows, ...).kind == judge(rows, None).kind == "not attempted"


def test_the_likely_cause_of_an_error_is_said_with_it(rows: core.Exercise) -> None:
    @core.exercise("rows.tuple", lesson="97", title="Tuples", hints=("[0]",))
    def check_tuple(answer: Callable[..., Any]) -> None:
        with core.explained("multiply sequence", "Take the first of the tuple: `[0]`."):
            answer(torch.ones(2))

    exercise = core.find("rows.tuple")
    message = judge(exercise, lambda x: 0.5 * (x,)).message
    assert message.splitlines()[0].startswith("Your code raised TypeError")
    assert message.splitlines()[-1] == "Take the first of the tuple: `[0]`."
    other = judge(exercise, lambda x: x.middle()).message
    assert "Take the first" not in other


def test_raised_shows_the_learners_line_and_no_traceback(rows: core.Exercise) -> None:
    def raises(x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(x[0])  # raised inside torch, but this is the line to show

    message = judge(rows, raises).message
    assert "return torch.linalg.inv(x[0])" in message
    assert "a torch tensor of shape [2, 2]" in message
    assert "Traceback" not in message
    assert "core.py" not in message


def test_messages_of_torch_are_no_stub(rows: core.Exercise) -> None:
    def unsupported(x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError('"mean" not implemented for Half')

    assert judge(rows, unsupported).kind == "raised"


def test_an_answer_may_change_its_arguments(rows: core.Exercise) -> None:
    assert judge(rows, lambda x: x.mul_(0) + 7).kind == "wrong"

    def in_place(x: torch.Tensor) -> torch.Tensor:
        means = x.mean(dim=1)
        x.zero_()
        return means

    assert judge(rows, in_place).passed


def test_containers_are_copied_too() -> None:
    pair = torch.nn.utils.rnn.PackedSequence(torch.ones(2), torch.ones(2))  # a named tuple
    given = {"list": [torch.ones(2)], "array": np.ones(2), "pair": pair}

    def destroy(x: dict[str, Any]) -> None:
        x["list"][0].zero_()
        x["array"][:] = 0
        x["pair"].data.zero_()
        x.clear()

    core.guarded(destroy)(given)
    assert given["list"][0].sum() == given["array"].sum() == given["pair"].data.sum() == 2


def test_gradients_flow_through_the_guard() -> None:
    x = torch.ones(2, requires_grad=True)
    core.guarded(lambda x: 3 * x)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3, 3]


@pytest.mark.parametrize("end", [SystemExit, RecursionError, MemoryError, GeneratorExit])
def test_ends_of_all_kinds_are_outcomes(rows: core.Exercise, end: type[BaseException]) -> None:
    def ends(x: torch.Tensor) -> torch.Tensor:
        raise end()

    outcome = judge(rows, ends)
    assert outcome.kind == "raised"
    assert end.__name__ in outcome.message


def test_keyboard_interrupt_reaches_the_learner(rows: core.Exercise) -> None:
    def interrupted(x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(rows, interrupted)


def test_an_endless_loop_is_stopped(rows: core.Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    def stubborn(x: torch.Tensor) -> torch.Tensor:
        while True:
            try:
                while True:
                    print("on and on")
                    print("and on", file=sys.stderr)
            except:  # noqa: E722
                time.sleep(0.3)

    start = time.monotonic()
    outcome = judge(rows, stubborn, seconds=0.3)
    assert time.monotonic() - start < 5
    assert outcome.kind == "raised"
    assert "Stopped after 0.3 s" in outcome.message
    shown = capsys.readouterr()
    assert max(len(shown.out), len(shown.err)) < core.PRINTED + 100  # and its flood of text, too
    assert judge(rows, row_means).passed  # the clock is off again


def test_time_that_is_up_at_the_very_end_stops_nothing_else(
    rows: core.Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alarm before the timer is stopped would leave it running, and stop whatever comes afterwards."""
    real = signal.setitimer

    def late(which: int, seconds: float, *interval: float) -> tuple[float, float]:
        if seconds == 0:
            signal.raise_signal(signal.SIGALRM)
        return real(which, seconds, *interval)

    with monkeypatch.context() as patch:
        patch.setattr(signal, "setitimer", late)
        outcome = judge(rows, row_means)
    left, _ = real(signal.ITIMER_REAL, 0)
    assert (outcome.passed, left) == (True, 0)


def test_an_import_is_not_stopped_half_way(
    rows: core.Exercise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would leave a module behind that is broken for the rest of the session."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(1.5)\nready = True\n")
    monkeypatch.syspath_prepend(tmp_path)

    def imports(x: torch.Tensor) -> torch.Tensor:
        assert importlib.import_module("slow_module").ready
        return row_means(x)

    assert judge(rows, imports, seconds=1.0).passed
    (tmp_path / "endless_module.py").write_text("while True: pass\n")
    monkeypatch.setattr(core, "IMPORT_SECONDS", 0.4)

    def endless(x: torch.Tensor) -> torch.Tensor:
        importlib.import_module("endless_module")
        return x

    assert "Stopped after" in judge(rows, endless, seconds=0.2).message


def test_elsewhere_than_in_the_main_thread_there_is_no_limit_and_no_error(rows: core.Exercise) -> None:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(judge(rows, row_means)))
    thread.start()
    thread.join()
    assert outcomes[0].passed


def test_an_error_of_the_check_is_not_the_learners(rows: core.Exercise, home: Path) -> None:
    @core.exercise("broken.check", lesson="97", title="Broken")
    def _(answer: Callable[..., Any]) -> None:
        raise ZeroDivisionError("in the check")

    outcome = check("broken.check", row_means)
    assert outcome.kind == core.BROKEN
    assert "fault of the course" in outcome.message
    assert "ZeroDivisionError" in outcome.message
    assert not progress_file().exists()


def test_functions_and_values_are_told_apart(rows: core.Exercise) -> None:
    @core.exercise("the.answer", lesson="97", title="A number", value=True)
    def _(answer: Any) -> None:
        expect(answer, 42)

    value = core.find("the.answer")
    assert judge(value, 42).passed
    assert judge(value, torch.tensor(42.0)).passed
    assert judge(value, lambda: 42).kind == judge(value, 41).kind == "wrong"
    assert "without calling it" in judge(rows, torch.ones(2)).message


def test_a_function_that_an_answer_returns_is_guarded_too() -> None:
    @core.exercise("a.closure", lesson="97", title="Closure")
    def _(answer: Callable[..., Any]) -> None:
        expect(answer(2)(3), 6)

    try:
        assert judge(core.find("a.closure"), lambda a: lambda b: a * b).passed
        assert judge(core.find("a.closure"), lambda a: lambda b: a / 0).kind == "raised"
    finally:
        del core._registry["a.closure"]


def test_unknown_names_suggest_the_nearest(rows: core.Exercise) -> None:
    for ask in (lambda: check("row.means", row_means), lambda: hint("row.means")):
        with pytest.raises(MetaFaceError, match=r"Did you mean 'rows\.mean'"):
            ask()


def test_names_are_unique(rows: core.Exercise) -> None:
    with pytest.raises(MetaFaceError, match="two exercises"):
        core.exercise("rows.mean", lesson="97", title="Again")


# --------------------------------------------------------------------------------------------------------------- expect


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (torch.tensor([1.0, 2.00001]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.0], dtype=torch.float64), torch.tensor([1.0])),
        (torch.tensor([1.0], requires_grad=True), torch.tensor([1.0])),
        (torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0])),
        (torch.tensor([1], dtype=torch.int32), torch.tensor([1])),
        (np.array([True]), np.array([True])),
        (torch.tensor(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (5.0, 5),
        (torch.tensor([0.5, 1.0], requires_grad=True), (0.5, 1)),
        (np.array([0.5, 1.0]), [0.5, 1]),
        (True, True),
        (torch.tensor(True), True),
        (" Base ", "base"),
        ([1, (2.0, "a")], (1, [2.0, "A"])),
        ({"a": torch.ones(1)}, {"a": torch.ones(1)}),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")])),
        (float("inf"), float("inf")),
        (None, None),
    ],
)
def test_expect_accepts(got: Any, wanted: Any) -> None:
    expect(got, wanted)


@pytest.mark.parametrize(
    ("got", "wanted", "words"),
    [
        ([1.0], torch.ones(1), "a list of 1"),
        (np.ones(1), torch.ones(1), "a NumPy array"),
        (torch.ones(1), np.ones(1), "a torch tensor"),
        (None, torch.ones(1), "Is a `return` missing?"),
        (torch.ones(2, 1), torch.ones(2), r"shape \[2, 1\]"),
        (torch.ones(1, dtype=torch.int64), torch.ones(1), "integers"),
        (torch.ones(1), torch.ones(1, dtype=torch.bool), "booleans"),
        (torch.tensor([float("nan")]), torch.ones(1), "NaN"),
        (torch.tensor([1.001]), torch.ones(1), r"1\.001"),
        (torch.tensor([1.0003]), torch.ones(1), r"got     \[1\.0003"),
        (torch.zeros(5, 6), torch.eye(5, 6), r"5 of 30 entries differ; the first is \[0, 0\]"),
        (torch.tensor([2**24 + 1]), torch.tensor([2**24]), "16777217"),
        (float("nan"), 1.0, "divided by zero"),
        (True, 1, "True"),
        (1, True, "True or False"),
        ("1", 1, "a number"),
        (torch.ones(2), 1.0, r"shape \[2\]"),
        (1, "one", "a text"),
        ("two", "one", "'two'"),
        ((1, 2), (1, 2, 3), "a tuple of 3"),
        (torch.ones(2), (1, 2, 3), "a tuple of 3"),
        (torch.ones(2), ("a", "b"), "a tuple of 2"),
        (torch.tensor([1.0, 3.0]), (1, 2), "Number 2 of 2"),
        (None, 1, "Is a `return` missing\\?$"),
        ((1, 3), (1, 2), "Number 2 of 2"),
        ({"a": 1}, {"b": 1}, "keys"),
        ({"a": 1}, {"a": 2}, "Under 'a'"),
        (0, None, "None"),
    ],
)
def test_expect_refuses(got: Any, wanted: Any, words: str) -> None:
    with pytest.raises(Wrong, match=words):
        expect(got, wanted)


def test_a_slip_is_named_even_where_its_shape_differs_too() -> None:
    x = torch.arange(6.0).view(2, 3)
    with pytest.raises(Wrong, match="wrong axis"):
        expect(x.mean(0), x.mean(1), slips={"That is the wrong axis.": x.mean(0)})
    with pytest.raises(Wrong) as caught:
        expect(x.mean(0) + 1, x.mean(1), slips={"That is the wrong axis.": x.mean(0)})
    assert "axis" not in str(caught.value)


@pytest.mark.parametrize(
    ("got", "wanted"), [(float("inf"), 1.0), (None, torch.ones(1)), (torch.tensor([float("nan")]), torch.ones(1))]
)
def test_a_slip_that_is_named_replaces_the_general_guess(got: Any, wanted: Any) -> None:
    with pytest.raises(Wrong, match=r"\n(Somewhere|Is a `return`|NaN)"):
        expect(got, wanted)
    with pytest.raises(Wrong) as caught:
        expect(got, wanted, slips={"You exchange A and B.": got})
    assert [line[:8] for line in str(caught.value).splitlines()] == ["  got   ", "  wanted", "You exch"]


def test_a_gradient_that_is_lost_is_said_in_words() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert core.gradient(x**2, x, "").tolist() == [2, 4]
    for cut in (x.detach(), torch.ones(2, requires_grad=True), 3.0, None):
        with pytest.raises(Wrong, match="no gradient flows: nothing is learned"):
            core.gradient(cut, x, "nothing is learned")


def test_numbers_are_taken_in_any_container_where_a_check_asks_for_it() -> None:
    for value in ([True, False], np.array([True, False])):
        assert torch.equal(core.as_tensor(value), torch.tensor([True, False]))
    for other in (None, 3, "text", ["text"], [torch.ones(2), torch.ones(3)], {"a": 1}):
        assert core.as_tensor(other) is other


def test_rounding_errors_are_shown_as_zero() -> None:
    assert core.compact(torch.tensor([0.5, 1.85e-17, -2e-14]).double()) == "[0.5, 0, 0]"
    assert core.compact(torch.tensor([1e-17, float("inf")]).double()) == "[1e-17, inf]"
    assert core.compact(torch.tensor([1e-30, float("nan")]).double()) == "[1e-30, nan]"


def test_a_check_that_expects_what_cannot_be_compared_is_broken() -> None:
    with pytest.raises(TypeError):
        expect(1, object())


# -------------------------------------------------------------------------- what an earlier cell or an answer has set


@contextlib.contextmanager
def _set(value: Any, change: Callable[[Any], object], back: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(back)


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "gradients off": lambda: _set(False, torch.set_grad_enabled, True),
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "default device": lambda: _set("meta", torch.set_default_device, None),
    "device of a block": lambda: torch.device("meta"),
    "default dtype": lambda: _set(torch.float16, torch.set_default_dtype, torch.float32),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "anomaly mode": lambda: torch.autograd.set_detect_anomaly(True, check_nan=True),
    "deterministic mode": lambda: _set("error", torch.set_deterministic_debug_mode, 0),
    "precision": lambda: _set("medium", torch.set_float32_matmul_precision, "highest"),
    "threads": lambda: _set(torch.get_num_threads() + 1, torch.set_num_threads, torch.get_num_threads()),
    "NumPy errors": lambda: np.errstate(all="raise"),
    "NumPy printing": lambda: np.printoptions(precision=1, threshold=2),
    "printing": lambda: _set(1, lambda p: torch.set_printoptions(precision=p), 4),
    "warnings": lambda: warnings.catch_warnings(action="error"),
    "recursion": lambda: _set(sys.getrecursionlimit() + 500, sys.setrecursionlimit, sys.getrecursionlimit()),
}


def _settings() -> list[Any]:
    return [
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"),
        torch.is_anomaly_enabled(),
        torch.get_deterministic_debug_mode(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
        np.geterr(),
        np.get_printoptions(),
        str(torch._tensor_str.PRINT_OPTS),
        list(warnings.filters),
        sys.getrecursionlimit(),
    ]


@pytest.mark.parametrize("left", [left for left in SETTINGS if left != "threads"])
def test_a_check_does_not_depend_on_what_a_cell_has_left_behind(left: str) -> None:
    with SETTINGS[left]():
        before = _settings()
        for exercise in LESSONS:
            outcome = judge(exercise, exercise.right_answers[0])
            assert outcome.passed, f"{exercise.name}: {outcome.message}"
            assert _settings() == before


@pytest.mark.parametrize("left", [left for left in SETTINGS if left != "device of a block"])
def test_what_an_answer_sets_does_not_last(left: str) -> None:
    """Neither for the check, which asks again, nor for the learner's next cell."""
    before = _settings()
    for exercise in LESSONS:
        entered: list[Any] = []

        def answer(*args: Any, right: Any = exercise.right_answers[0], entered: list[Any] = entered) -> Any:
            result = right(*args)
            entered.append(SETTINGS[left]())
            entered[-1].__enter__()
            return result

        outcome = judge(exercise, answer)
        assert outcome.passed, f"{exercise.name}: {outcome.message}"
        assert _settings() == before
        entered.clear()


def test_chance_goes_on_where_it_was(rows: core.Exercise) -> None:
    def draws(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        return row_means(x)

    def numbers() -> tuple[float, ...]:
        return torch.rand(()).item(), random.random(), np.random.rand()  # noqa: NPY002

    numbers()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    expected = numbers()
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])  # noqa: NPY002
    assert judge(rows, draws).passed
    assert numbers() == expected


def test_an_answer_that_switches_gradients_off_is_told(rows: core.Exercise) -> None:
    def off(x: torch.Tensor) -> torch.Tensor:
        torch.set_grad_enabled(False)
        return x.mean(dim=0)

    message = judge(rows, off).message
    assert "mean of each column" in message
    assert message.count("switches gradients off") == 1
    assert torch.is_grad_enabled()
    assert "switches gradients off" not in judge(rows, lambda x: x.mean(dim=0)).message


def test_records_are_copied_too() -> None:
    @dataclasses.dataclass(frozen=True)
    class Record:
        numbers: torch.Tensor

    record = Record(torch.ones(2))
    core.guarded(lambda r: r.numbers.zero_())(record)
    assert record.numbers.tolist() == [1, 1]


def test_a_subclass_that_computes_in_its_own_way_becomes_a_plain_tensor(rows: core.Exercise) -> None:
    class Lucky(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            return torch.tensor([2.0, 5.0])

    assert judge(rows, lambda x: torch.zeros(2).as_subclass(Lucky)).kind == "wrong"
    assert judge(rows, lambda x: torch.nn.Parameter(row_means(x))).passed


# ------------------------------------------------------------------------------------------------- whose fault it is


def test_an_error_of_the_check_that_no_right_answer_meets_is_the_answers(rows: core.Exercise) -> None:
    @core.exercise("rows.first", lesson="97", title="The first")
    def _(answer: Callable[..., Any]) -> None:
        expect(answer(torch.ones(2)).first, 1)

    exercise = core.find("rows.first")
    assert judge(exercise, lambda x: x).kind == core.BROKEN  # nobody knows a right answer
    core.right_answer("rows.first")(lambda x: SimpleNamespace(first=1))
    outcome = judge(exercise, lambda x: x)
    assert outcome.kind == "wrong"
    assert "cannot work with what your code returns: a torch tensor of shape [2]" in outcome.message


def test_numbers_that_numpy_cannot_hold_are_compared(rows: core.Exercise) -> None:
    for number in (2**64, 10**400, -(10**400), Fraction(10**400, 3)):
        with pytest.raises(Wrong, match=r"wanted  0\.5"):
            expect(number, 0.5)
    expect(Fraction(1, 2), 0.5)


def test_what_an_answer_returned_is_cut_in_a_message() -> None:
    with pytest.raises(Wrong) as caught:
        expect("x" * 10**6, "a")
    assert len(str(caught.value)) < 2000


def test_a_name_that_a_fresh_kernel_lacks_is_explained(rows: core.Exercise) -> None:
    def lacks(x: torch.Tensor) -> torch.Tensor:
        return helper_of_an_earlier_cell(x)  # type: ignore[name-defined]  # noqa: F821

    def unbound(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 9:
            means = x
        return means

    def misspelt(numbers: torch.Tensor) -> torch.Tensor:
        return number.mean(dim=1)  # type: ignore[name-defined]  # noqa: F821

    assert judge(rows, lacks).message.splitlines()[-1].endswith("Run > Run All Above Selected Cell.")
    assert judge(rows, misspelt).message.splitlines()[-1] == "Did you mean 'numbers'?"
    assert "Run All Above" not in judge(rows, unbound).message


# ------------------------------------------------------------------------------------------------------- fresh data


def _fresh(rows: core.Exercise, answer: Callable[..., Any], **options: Any) -> str:
    """What is said about an answer to a cube, asked with fresh data alone."""

    @core.exercise("rows.cube", lesson="97", title="Cubes")
    def _(answer: Callable[..., Any]) -> None:
        expect(answer(torch.tensor([2.0])), torch.tensor([8.0]))

    core.right_answer("rows.cube")(lambda x: x**3)

    @core.fresh_arguments("rows.cube", **options)
    def draw(source: torch.Generator) -> tuple[torch.Tensor]:
        return (torch.rand(3, generator=source).requires_grad_(),)

    assert judge(core.find("rows.cube"), answer).passed
    with core.fresh_data("one"):
        message = judge(core.find("rows.cube"), answer).message
    del core._registry["rows.cube"]
    return message


def test_fresh_questions_compare_values_gradients_and_the_second_result(rows: core.Exercise) -> None:
    def spoils(x: torch.Tensor) -> torch.Tensor:
        result = x**3
        x.data *= 2
        return result

    assert _fresh(rows, lambda x: x**3) == ""
    assert "other numbers" in _fresh(rows, lambda x: x**3 if 2 in x else x)
    assert "no gradient flows" in _fresh(rows, lambda x: x.detach() ** 3)
    assert _fresh(rows, lambda x: x.detach() ** 3, gradients=False) == ""
    assert "gradient with respect to" in _fresh(rows, lambda x: x**2 * x.detach())
    assert "Asked twice about the same objects" in _fresh(rows, spoils, gradients=False)


def test_fresh_numbers_are_compared_relative_to_their_size() -> None:
    assert core._difference(2e-3, 1e-3, 1e-3) is None
    assert core._difference(2e-3, 1e-3, 1e-3, relative=True)
    assert core._difference(1.0002e-3, 1e-3, 1e-3, relative=True) is None
    assert core._difference(torch.tensor([5.0, 1e-5]), torch.tensor([5.0, 0.0]), 1e-3, relative=True) is None
