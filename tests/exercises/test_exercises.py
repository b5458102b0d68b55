"""Every right and wrong answer that the lessons ship, and what a learner is shown."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import check, core, hint, progress, progress_rows, verdict
from metaface_lessons.exercises.core import Outcome, expect, judge
from tests import answers
from tests.helpers import row_means

LESSONS = core.exercises()


# ----------------------------------------------------------------------------------------- the exercises of all lessons


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


# -------------------------------------------------------------------------------------------------------- what is shown


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
