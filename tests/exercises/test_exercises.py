"""Every right and wrong answer that the lessons ship, and what a learner is shown."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import check, core, hint, progress, progress_rows, verdict
from metaface_lessons.exercises.core import Outcome, expect, judge
from tests import answers
from tests.exercises.changed_answers import CHANGES
from tests.exercises.odd_answers import FUNCTIONS, VALUES
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
    fresh = [check.args[1] if isinstance(check, functools.partial) else check for check in exercise.fresh_checks]
    for function in (exercise.check, *fresh, *answers):
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


# ---------------------------------------------------------------------------------------------- answers that recognise

# Effects that no result shows; a submission that runs elsewhere reports them itself (docs/instructors.md).
NOT_IN_RESULTS = {
    ("clinic.no_leak", "has deleted what was in `.grad`"),
    ("clinic.no_leak", "left in `.grad`"),
    ("clinic.second_order", "`theta.grad` is not what it was"),
}
every_exercise = pytest.mark.parametrize("name", [e.name for e in LESSONS])


def without_check(exercise: core.Exercise) -> core.Exercise:
    """Only its questions about fresh data."""
    return dataclasses.replace(exercise, check=lambda answer: None)


def key(value: Any) -> Any:
    """Everything that an answer can recognise an argument by."""
    match value:
        case torch.Tensor():
            return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
        case dict():
            return tuple((name, key(v)) for name, v in value.items())
        case list() | tuple():
            return tuple(map(key, value))
        case torch.nn.Module():
            return key(dict(value.state_dict())), value.training
        case torch.optim.Optimizer():
            return "an optimiser"
    if dataclasses.is_dataclass(value):
        return type(value).__name__, *(key(getattr(value, field.name)) for field in dataclasses.fields(value))
    return type(value).__name__, getattr(value, "__qualname__", repr(value))


def asked(exercise: core.Exercise) -> set[Any]:
    """The arguments of all calls of the check in a lesson."""
    found = set()

    def recorded(*args: Any) -> Any:
        found.add(key(args))
        return exercise.right_answers[0](*args)

    assert judge(exercise, recorded).passed
    return found


def hybrid(known: set[Any], right: Any, wrong: Any) -> Callable[..., Any]:
    """An answer that is right about what it recognises, and wrong elsewhere."""
    return lambda *args: (right if key(args) in known else wrong)(*args)


@pytest.mark.hostile
@every_exercise
def test_what_only_recognises_the_numbers_of_the_lesson_fails(name: str) -> None:
    exercise = core.find(name)
    known = asked(exercise)
    for wrong in exercise.wrong_answers:
        answer = hybrid(known, exercise.right_answers[0], wrong.answer)
        assert judge(exercise, answer).passed, "it is right in the lesson"
        with core.fresh_data("one"):
            outcome = judge(exercise, answer)
        assert outcome.kind in (core.WRONG, core.RAISED), f"{wrong.hint}: {outcome.kind} {outcome.message}"


@pytest.mark.hostile
@every_exercise
def test_questions_about_fresh_data_refuse_every_wrong_answer_alone(name: str) -> None:
    """So it does not help to recognise, by any sign, what the check in the lesson asks."""
    exercise = core.find(name)
    assert exercise.fresh_checks
    for wrong in exercise.wrong_answers:
        with core.fresh_data("one"):
            outcome = judge(without_check(exercise), wrong.answer)
        assert outcome.passed == ((name, wrong.hint) in NOT_IN_RESULTS), f"{wrong.hint}: {outcome}"


@pytest.mark.hostile
@every_exercise
def test_what_the_check_refuses_of_a_changed_answer_fresh_questions_refuse_alone(name: str) -> None:
    """Also for properties of which no wrong answer is known; but no result shows a gradient that is left behind."""
    exercise, refused = core.find(name), 0
    for what, change in CHANGES.items():
        answer = change(exercise.right_answers[0])
        if judge(exercise, answer).passed or what == "leaves a gradient":
            continue
        refused += 1
        with core.fresh_data("one"):
            outcome = judge(without_check(exercise), answer)
        assert outcome.kind in (core.WRONG, core.RAISED), f"{what}: {outcome}"
    assert refused or name in ("domains.splits", "comparison.decide")  # they return names


@pytest.mark.slow
@pytest.mark.hostile
@every_exercise
def test_all_pairs_of_right_and_wrong_answers_fail_under_several_seeds(name: str) -> None:
    exercise = core.find(name)
    known = asked(exercise)
    for wrong, right, secret in itertools.product(exercise.wrong_answers, exercise.right_answers, ("two", "3", "")):
        with core.fresh_data(secret):
            outcome = judge(exercise, hybrid(known, right, wrong.answer))
            alone = judge(without_check(exercise), wrong.answer)
        assert outcome.kind in (core.WRONG, core.RAISED), f"{wrong.hint}, {secret!r}: {outcome}"
        assert alone.passed == ((name, wrong.hint) in NOT_IN_RESULTS), f"{wrong.hint}, {secret!r}: {alone}"


@pytest.mark.slow
@every_exercise
def test_right_answers_pass_under_many_seeds(name: str) -> None:
    exercise = core.find(name)
    for secret, right in itertools.product(map(str, range(20)), exercise.right_answers):
        with core.fresh_data(secret):
            outcome = judge(exercise, right)
        assert outcome.passed, f"{secret}: {outcome.message}"


def numbers_in(value: Any) -> list[float]:
    """All numbers of an argument, in a row."""
    match value:
        case torch.Tensor():
            return value.detach().double().flatten().tolist()
        case bool() | int() | float():
            return [float(value)]
        case dict():
            return [number for v in value.values() for number in numbers_in(v)]
        case list() | tuple():
            return [number for v in value for number in numbers_in(v)]
    if dataclasses.is_dataclass(value):
        return [number for field in dataclasses.fields(value) for number in numbers_in(getattr(value, field.name))]
    return []


def guessed(exercise: core.Exercise, seeds: int) -> float:
    """How often a table passes: of what was right for other seeds, it gives the result for the nearest arguments."""
    table: dict[int, list[tuple[np.ndarray, Any]]] = {}

    def recorded(*args: Any) -> Any:
        result = exercise.right_answers[0](*args)
        numbers = np.array(numbers_in(args))
        table.setdefault(len(numbers), []).append((numbers, result))
        return result

    def nearest(*args: Any) -> Any:
        numbers = np.array(numbers_in(args))
        rows = table.get(len(numbers), [(numbers, 0.0)])
        return min(rows, key=lambda row: float(np.abs(row[0] - numbers).sum()))[1]

    alone, passed = without_check(exercise), []
    for seed in range(seeds):
        with core.fresh_data(f"before {seed}"):
            assert judge(alone, recorded).passed
    for seed in range(seeds):
        with core.fresh_data(f"now {seed}"):
            passed.append(judge(alone, nearest).passed)
    return sum(passed) / seeds


@pytest.mark.hostile
@every_exercise
def test_a_table_of_answers_that_were_right_before_fails(name: str) -> None:
    assert guessed(core.find(name), seeds=5) == 0


@pytest.mark.slow
@pytest.mark.hostile
@every_exercise
def test_a_large_table_fails_too(name: str) -> None:
    seeds = 20 if name == "domains.control" else 200  # its rounds render pictures of 160 new people
    assert guessed(core.find(name), seeds) <= 0.01


# --------------------------------------------------------------------------------------------------------- odd answers


@pytest.mark.filterwarnings("ignore")
@every_exercise
def test_an_odd_answer_is_never_a_fault_of_the_course(name: str) -> None:
    """Neither what it is nor what it returns breaks a check, ends the kernel, or keeps it busy."""
    exercise = core.find(name)
    for what, answer in [*FUNCTIONS.items(), *((what, value()) for what, value in VALUES.items())]:
        for given, seed in ((exercise, ""), (exercise, "one"), (without_check(exercise), "one")):
            with core.fresh_data(seed) if seed else contextlib.nullcontext():
                outcome = judge(given, answer, seconds=2)
            assert outcome.kind in (core.WRONG, core.RAISED, core.NOT_ATTEMPTED), f"{what}: {outcome}"
            assert len(outcome.message) < 5000, what


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@every_exercise
def test_pairs_of_odd_values_are_no_fault_of_the_course_either(name: str) -> None:
    for what, value in VALUES.items():
        for given in (core.find(name), without_check(core.find(name))):
            with core.fresh_data("one"):
                outcome = judge(given, lambda *args, value=value: (value(), value()), seconds=2)
            assert outcome.kind in (core.WRONG, core.RAISED), f"{what}: {outcome}"


def test_only_where_a_gradient_is_asked_a_missing_backward_is_suspected() -> None:
    said = {e.name for e in LESSONS if "`backward()`" in judge(e, lambda *args: None).message}
    assert said == {"maml.first_order", "clinic.second_order", "domains.mldg"}


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


def test_a_check_without_an_answer_says_how_to_give_one(rows: core.Exercise) -> None:
    with pytest.raises(MetaFaceError, match=r'Give it after the name: check\("rows.mean", your_answer\)'):
        check("rows.mean")


def test_a_lesson_may_be_named_by_its_number() -> None:
    assert {row["lesson"] for number in (1, "1", "01") for row in progress_rows(number)} == {"01"}
