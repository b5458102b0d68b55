"""The machinery of exercises, and every wrong and right answer that the lessons ship."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons import exercises, paths
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import check, core, hint, progress, progress_rows, progress_text, solution, verdict
from metaface_lessons.exercises.core import Outcome, Wrong, expect, judge
from metaface_lessons.exercises.progress import progress_file, record_outcome
from metaface_lessons.exercises.solutions import solution_text
from tests import answers

LESSONS = core.exercises()


# ---------------------------------------------------------------------------------- the exercises of all lessons


@pytest.mark.parametrize("name", [e.name for e in LESSONS])
def test_exercise_is_complete(name: str) -> None:
    exercise = core.find(name)
    assert exercise.title
    assert exercise.hints, "an exercise needs hints"
    assert exercise.right_answers, "an exercise needs a right answer that proves that its check can pass"
    assert len(exercise.wrong_answers) >= 5, "an exercise needs five wrong answers that people typically give"


@pytest.mark.parametrize(
    ("name", "answer"),
    [pytest.param(e.name, a, id=f"{e.name}-{i}") for e in LESSONS for i, a in enumerate(e.right_answers)],
)
def test_right_answer_passes(name: str, answer: Any) -> None:
    outcome = judge(core.find(name), answer)
    assert outcome.passed, outcome.message


@pytest.mark.wrong_answer
@pytest.mark.parametrize(
    ("name", "wrong"),
    [pytest.param(e.name, w, id=f"{e.name}-{i}-{w.hint[:40]}") for e in LESSONS for i, w in enumerate(e.wrong_answers)],
)
def test_wrong_answer_is_caught_with_its_hint(name: str, wrong: core.WrongAnswer) -> None:
    outcome = judge(core.find(name), wrong.answer)
    assert outcome.kind in (core.WRONG, core.RAISED), outcome.message
    assert wrong.hint in outcome.message


@pytest.mark.parametrize("name", [e.name for e in LESSONS])
def test_a_traceback_can_name_every_function_of_an_exercise(name: str) -> None:
    exercise = core.find(name)
    answers = [*exercise.right_answers, *(wrong.answer for wrong in exercise.wrong_answers)]
    for function in (exercise.check, *exercise.fresh_arguments, *answers):
        assert "_" not in (function.__name__, function.__code__.co_name)


IN_DOUBLE = {"maml.finite_difference", "clinic.second_order"}  # their texts ask for θ's own precision, for nine digits


@pytest.mark.parametrize("secret", ["", "one", "another"])
@pytest.mark.parametrize("name", [e.name for e in LESSONS if e.name not in IN_DOUBLE])
def test_right_answers_in_single_precision_pass(name: str, secret: str) -> None:
    exercise = core.find(name)

    def single(value: Any) -> Any:
        match value:
            case torch.Tensor() if value.dtype == torch.float64:
                return value.float()
            case list() | tuple():
                return [single(v) for v in value]
            case dict():
                return {key: single(v) for key, v in value.items()}
        return value

    def in_single(answer: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            fixed = any(isinstance(arg, torch.nn.Module) for arg in args)  # a network brings its own precision
            return single(answer(*(args if fixed else map(single, args))))

        return call

    for answer in exercise.right_answers:
        with core.fresh_data(secret) if secret else contextlib.nullcontext():
            outcome = judge(exercise, in_single(answer))
        assert outcome.passed, outcome.message


@pytest.mark.parametrize("name", [e.name for e in LESSONS])
def test_no_two_slips_look_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip differs from what is wanted somewhere; and of two, the first case that shows either tells them apart."""
    exercise = core.find(name)
    calls: list[tuple[str, dict[str, Any], dict[str, bool], float]] = []

    def recorded(got: Any, wanted: Any, case: str = "", slips: Any = None, tolerance: float = 1e-4) -> None:
        shows = {text: bool(core._difference(value, wanted, tolerance)) for text, value in (slips or {}).items()}
        calls.append((case, slips or {}, shows, tolerance))
        expect(got, wanted, case, slips, tolerance)

    monkeypatch.setitem(exercise.check.__globals__, "expect", recorded)
    assert judge(exercise, exercise.right_answers[0]).passed
    texts = list(dict.fromkeys(text for _, slips, _, _ in calls for text in slips))
    for text in texts:
        assert any(shows.get(text) for _, _, shows, _ in calls), f"right, and yet a slip: {text}"
    for one, other in itertools.combinations(texts, 2):
        both = [call for call in calls if {one, other} <= call[1].keys() and (call[2][one] or call[2][other])]
        for case, slips, _, tolerance in both[:1]:
            alike = core._difference(slips[one], slips[other], tolerance) is None
            assert not alike, f"{case}: the same value for\n{one}\n{other}"


@pytest.mark.parametrize("name", [e.name for e in LESSONS])
def test_nonsense_is_the_learners_fault_not_the_checks(name: str) -> None:
    """Wrong type, shape and NaN are told; none of them breaks the check."""
    for value in ("text", 3, [], (), {}, object(), torch.zeros(1, 2, 3, 4), torch.tensor(float("nan"))):
        answer = value if core.find(name).value else lambda *args, value=value, **kwargs: value
        assert judge(core.find(name), answer).kind in (core.WRONG, core.RAISED), f"{name} given {value!r}"


@pytest.mark.parametrize("name", [e.name for e in LESSONS])
def test_the_solution_is_the_cell_of_the_solved_lesson(name: str) -> None:
    """The solved notebooks, in which every check passes, are built from the same source in another way."""
    (lesson,) = paths.NOTEBOOKS.glob(f"solutions/{core.find(name).lesson}_*.ipynb")
    cells = ["".join(cell["source"]) for cell in json.loads(lesson.read_text(encoding="utf-8"))["cells"]]
    (checked,) = (i for i, cell in enumerate(cells) if f'\ncheck("{name}"' in f"\n{cell}")
    text = solution_text(core.find(name))
    assert text.startswith("def my_") or len(text.splitlines()) >= 2
    assert text in (cells[checked].partition("\n\n\ncheck(")[0], cells[checked - 1])


def test_one_command_shows_what_is_caught_and_fails_where_something_is_missed(
    rows: core.Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    core.right_answer("rows.mean")(row_means)
    core.wrong_answer("rows.mean", hint="mean of each column")(lambda x: x.mean(dim=0))
    assert answers.main() == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["rows.mean", "1/1", "1/1"]

    core.wrong_answer("rows.mean", hint="mean of each column")(lambda x: x.sum(dim=1))  # caught, but by another hint
    assert answers.main() == 1
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "exercises", "1/1", "1/2"]
    core.find("rows.mean").wrong_answers.pop()
    core.right_answer("rows.mean")(lambda x: x)
    assert answers.main() == 1


# --------------------------------------------------------------------------------------------------- an exercise


def row_means(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> core.Exercise:
    """The only exercise there is: the mean of each row."""
    monkeypatch.setattr(core, "_registry", {})

    @core.exercise("rows.mean", lesson="97", title="Row means", points=2, equation="(97.1)", hints=("Axis?", "dim=1"))
    def _(answer: Callable[..., Any]) -> None:
        x = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
        wanted = torch.tensor([2.0, 5.0])
        slips = {"That is the mean of each column.": x.mean(dim=0)}
        expect(answer(x), wanted, case="For x = [[1, 3], [5, 5]]", slips=slips)
        expect(x, torch.tensor([[1.0, 3.0], [5.0, 5.0]]))

    return core.find("rows.mean")


def test_the_four_outcomes(rows: core.Exercise) -> None:
    def stub(x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError()

    def raises(x: torch.Tensor) -> torch.Tensor:
        return x.middle()

    for answer, kind in ((row_means, "passed"), (lambda x: x, "wrong"), (raises, "raised"), (stub, "not attempted")):
        assert judge(rows, answer).kind == kind
    assert judge(rows, ...).kind == judge(rows, None).kind == "not attempted"


def test_wrong_says_got_wanted_slip_and_equation(rows: core.Exercise) -> None:
    text = verdict(rows, judge(rows, lambda x: x.mean(dim=0)))
    assert text.splitlines() == [
        "✗ rows.mean: not yet.",
        "For x = [[1, 3], [5, 5]]:",
        "  got     [3, 4]",
        "  wanted  [2, 5]",
        "That is the mean of each column.",
        "Compare with equation (97.1).",
        'Stuck? `hint("rows.mean")`',
    ]


def test_two_equations_are_two() -> None:
    text = verdict(core.find("adaptation.rates"), Outcome("adaptation.rates", core.WRONG, "Wrong."))
    assert "Compare with equations (9.7) and (9.8)." in text


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


# ---------------------------------------------------------------------------------------------------------- expect


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


# -------------------------------------------------------------------------------------------------- what is shown


def test_in_a_notebook_it_is_text_and_html_and_the_cell_stays_silent(rows: core.Exercise) -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display
    from IPython.utils.capture import capture_output

    InteractiveShell.instance()
    try:
        with capture_output() as captured:
            outcome = check("rows.mean", lambda x: x > 0)
            display(outcome)
        (shown,) = captured.outputs
    finally:
        InteractiveShell.clear_instance()
    assert shown.data["text/plain"].startswith("✗ rows.mean: not yet.")
    assert '<code>hint("rows.mean")</code>' in shown.data["text/html"]
    assert captured.stdout == ""


def test_in_a_terminal_it_is_printed(rows: core.Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    check("rows.mean", row_means)
    hint("rows.mean", 2)
    progress()
    assert capsys.readouterr().out.splitlines() == [
        "✓ rows.mean: passed (2 points).",
        "Hint 2 of 2 for rows.mean: dim=1",
        'The solution? `solution("rows.mean")`',
        "Lesson 97",
        "  ✓ rows.mean  passed           2/2   < 1 h ago  Row means",
        "1 of 1 exercises passed, 2 of 2 points.",
    ]


def test_hints_come_in_steps(rows: core.Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    hint("rows.mean")
    assert capsys.readouterr().out == 'Hint 1 of 2 for rows.mean: Axis?\nMore? `hint("rows.mean", 2)`\n'
    with pytest.raises(MetaFaceError, match="no hint number 3: it has 2 hints"):
        hint("rows.mean", 3)
    assert progress_rows()[0]["hints"] == 1


@pytest.fixture
def source(rows: core.Exercise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lesson's source that holds the exercise."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    file = tmp_path / "source" / "97_rows.py"
    file.parent.mkdir()
    file.write_text(
        "# %% [markdown]\n# A word.\n\n\n# %% nbgrader={}\ndef row_means(x):\n    # Rows.\n    ### BEGIN SOLUTION\n"
        '    return x.mean(dim=1)\n    ### END SOLUTION\n\n\ncheck("rows.mean", row_means)\n'
    )
    return file


SOLUTION = "def row_means(x):\n    # Rows.\n    return x.mean(dim=1)"


def test_the_solution_is_shown_in_two_steps_and_recorded(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hint("rows.mean")
    capsys.readouterr()
    solution("rows.mean")
    out = capsys.readouterr().out
    assert "return" not in out
    assert "you cannot earn the 2 points any more" in out
    assert 'There is a hint that you have not seen: `hint("rows.mean", 2)`' in out
    assert out.endswith('To see it: `solution("rows.mean", show=True)`\n')
    assert progress_rows()[0]["outcome"] == "open"

    solution("rows.mean", show=True)
    assert capsys.readouterr().out == f"The solution of rows.mean:\n{SOLUTION}\n"
    (row,) = progress_rows()
    assert (row["outcome"], row["earned"], row["tried"]) == ("solution seen", 0, None)
    assert json.loads(progress_file().read_text())["exercises"]["rows.mean"]["solution"] == row["latest"]

    check("rows.mean", row_means)
    assert "You saw its solution before, so the points do not count." in capsys.readouterr().out
    (row,) = progress_rows()
    assert (row["outcome"], row["earned"], row["tries"]) == ("solution seen", 0, 1)
    entry = json.loads(progress_file().read_text())["exercises"]["rows.mean"]
    assert entry["best"] == "passed"
    assert progress_text([row]).endswith("0 of 1 exercises passed (1 more with the solution seen), 0 of 2 points.")
    solution("rows.mean")
    assert "You have seen it before." in capsys.readouterr().out


def test_points_earned_before_the_solution_was_seen_stay(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check("rows.mean", row_means)
    solution("rows.mean")
    assert "Its points stay yours" in capsys.readouterr().out
    solution("rows.mean", show=True)
    check("rows.mean", lambda x: x)
    check("rows.mean", row_means)
    (row,) = progress_rows()
    assert (row["outcome"], row["earned"]) == ("passed", 2)
    assert "do not count" not in capsys.readouterr().out


def test_without_the_sources_there_is_no_solution_and_nothing_is_recorded(source: Path) -> None:
    source.unlink()
    with pytest.raises(MetaFaceError, match="whole"):
        solution("rows.mean", show=True)
    assert not progress_file().exists()


# ------------------------------------------------------------------------------------------------------- progress


def test_progress_is_recorded(rows: core.Exercise) -> None:
    assert progress_rows()[0]["outcome"] == "open"
    check("rows.mean", ...)
    assert progress_rows()[0]["tries"] == 0  # an untouched stub does not count as a try
    check("rows.mean", lambda x: x)
    assert progress_rows()[0]["outcome"] == "tried"
    check("rows.mean", row_means)
    check("rows.mean", lambda x: x)  # what is passed stays passed
    (row,) = progress_rows("97")
    assert (row["outcome"], row["earned"], row["points"], row["tries"]) == ("passed", 2, 2, 3)
    entry = json.loads(progress_file().read_text())["exercises"]["rows.mean"]
    assert (entry["best"], entry["last"], entry["points"]) == ("passed", "wrong", 2)
    assert entry["first"] <= entry["latest"]
    assert "1 of 1 exercises passed" in progress_text([row])
    with pytest.raises(MetaFaceError, match="no lesson"):
        progress_rows("98")


def test_a_crash_in_the_middle_of_writing_keeps_the_old_file(
    rows: core.Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    check("rows.mean", row_means)
    before = progress_file().read_bytes()

    def crash(*args: Any) -> None:
        raise KeyboardInterrupt("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", crash)
        with pytest.raises(KeyboardInterrupt):
            check("rows.mean", row_means)
    assert progress_file().read_bytes() == before
    check("rows.mean", row_means)
    assert progress_rows()[0]["tries"] == 2


@pytest.mark.parametrize("damage", [b"", b'{"exercises": {"rows', b"\xff\xfe\x00", b"[1]", b'{"exercises": [1]}'])
def test_a_damaged_file_is_set_aside(rows: core.Exercise, home: Path, damage: bytes) -> None:
    home.mkdir()
    progress_file().write_bytes(damage)
    with pytest.warns(UserWarning, match="damaged"):
        check("rows.mean", row_means)
    assert progress_rows()[0]["outcome"] == "passed"
    assert [path.read_bytes() for path in home.glob("progress.damaged-*.json")] == [damage]


def test_fields_of_a_later_version_are_kept(rows: core.Exercise, home: Path) -> None:
    home.mkdir()
    later = {"format": 2, "theme": "dark", "exercises": {"rows.mean": {"stars": 5}, "gone.since": {"best": "passed"}}}
    progress_file().write_text(json.dumps(later))
    check("rows.mean", row_means)
    data = json.loads(progress_file().read_text())
    assert (data["format"], data["theme"], data["exercises"]["rows.mean"]["stars"]) == (2, "dark", 5)
    assert data["exercises"]["gone.since"] == {"best": "passed"}
    assert data["exercises"]["rows.mean"]["best"] == "passed"


@pytest.mark.parametrize(
    ("hours", "shown"), [(0.9, "< 1 h ago"), (1.5, "1 h ago"), (47.5, "47 h ago"), (50, "2 d ago"), (-5, "< 1 h ago")]
)
def test_progress_says_when_the_last_try_was(rows: core.Exercise, home: Path, hours: float, shown: str) -> None:
    home.mkdir()
    stamp = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
    now = datetime.now(UTC).isoformat(timespec="seconds")  # of a hint, which does not count as a try
    for times in ({"tried": stamp, "latest": now}, {"latest": stamp}):  # the second from before tries had a time
        entry = {"best": "wrong", "last": "wrong", "tries": 1, "hints": 1, "points": 0, "first": stamp}
        progress_file().write_text(json.dumps({"format": 1, "exercises": {"rows.mean": entry | times}}))
        (row,) = progress_rows()
        assert row["tried"] == stamp
        assert f" {shown}  Row means" in progress_text([row])


def test_an_update_of_the_course_keeps_what_was_earned(rows: core.Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exercise comes, one goes and comes back, one gets other points: the file keeps every entry."""
    check("rows.mean", row_means)
    monkeypatch.setattr(core, "_registry", {})

    @core.exercise("rows.sum", lesson="97", title="Row sums")
    def _(answer: Callable[..., Any]) -> None:
        expect(answer(torch.ones(1, 3)), torch.tensor([3.0]))

    check("rows.sum", lambda x: x.sum(dim=1))
    assert [row["exercise"] for row in progress_rows()] == ["rows.sum"]
    core.exercise("rows.mean", lesson="97", title="Row means", points=5)(rows.check)
    assert [(row["exercise"], row["outcome"], row["earned"]) for row in progress_rows()] == [
        ("rows.sum", "passed", 1),
        ("rows.mean", "passed", 5),
    ]


def test_two_notebooks_at_once_lose_nothing(rows: core.Exercise, home: Path) -> None:
    script = (
        "from metaface_lessons.exercises.core import Exercise, Outcome\n"
        "from metaface_lessons.exercises.progress import record_outcome\n"
        "e = Exercise('rows.mean', '97', '', 1, '', (), False, print)\n"
        "for _ in range(20): assert record_outcome(e, Outcome(e.name, 'wrong', '')) == []\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=Path(core.__file__).parents[2]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert progress_rows()[0]["tries"] == 40


def test_without_a_writable_home_the_check_works_and_says_so(
    rows: core.Exercise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "file" / "home"))  # not even root can make this folder
    assert check("rows.mean", row_means).passed
    hint("rows.mean")
    out = capsys.readouterr().out
    assert "✓ rows.mean: passed (2 points).\n(Not recorded:" in out
    assert "Hint 1 of 2" in out
    assert progress_rows()[0]["outcome"] == "open"


def test_a_lock_that_is_never_released_is_not_waited_for_forever(
    rows: core.Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["metaface_lessons.exercises.progress"]  # `exercises.progress` is the function
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.2)
    monkeypatch.setattr(module, "_try_lock", lambda file: False)
    assert "Not recorded" in record_outcome(rows, Outcome("rows.mean", "passed", ""))[0]


def test_reading_a_file_leaves_no_warning(rows: core.Exercise) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert exercises.progress_rows()[0]["outcome"] == "open"
