"""The machinery of exercises: outcomes of an answer, and how numbers are compared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import check, core, hint
from metaface_lessons.exercises.core import Outcome, Wrong, expect, judge
from metaface_lessons.exercises.progress import progress_file
from tests.helpers import row_means

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
            except:  # noqa: E722
                time.sleep(0.3)

    start = time.monotonic()
    outcome = judge(rows, stubborn, seconds=0.3)
    assert time.monotonic() - start < 5
    assert outcome.kind == "raised"
    assert "Stopped after 0.3 s" in outcome.message
    assert len(capsys.readouterr().out) < core.PRINTED + 100  # and its flood of text, too
    assert judge(rows, row_means).passed  # the clock is off again


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
