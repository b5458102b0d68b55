"""The graded exercises: `check` an answer, ask for a `hint` or the `solution`, look at your `progress`.

    from metaface_lessons.exercises import check, hint, progress, solution

    check("protonet.prototypes", prototypes)
    hint("protonet.prototypes")
    solution("protonet.prototypes")
    progress()

`core` says how an exercise is written. Each lesson has a module with its exercises.
"""

from __future__ import annotations

import html
import re
from typing import Any

from ..errors import MetaFaceError
from . import core
from .core import BROKEN, NOT_ATTEMPTED, PASSED, RAISED, WRONG, Exercise, Outcome
from .progress import progress_rows, progress_table, progress_text, record_hint, record_outcome, record_solution
from .solutions import solution_text

__all__ = ["check", "hint", "progress", "progress_rows", "progress_text", "solution", "yours"]

_SIGNS = {PASSED: "✓", WRONG: "✗", RAISED: "✗", NOT_ATTEMPTED: "○", BROKEN: "!"}
_COLOURS = {PASSED: "#009E73", WRONG: "#D55E00", RAISED: "#D55E00", NOT_ATTEMPTED: "#0072B2", BROKEN: "#CC79A7"}


_MISSING = object()


def check(name: str, answer: Any = _MISSING, record: bool = True) -> Outcome:
    """Check an answer to an exercise, show the outcome, and record it.

    A wrong answer raises no error, and neither does an exercise that has not been attempted: read the message.

    name: the exercise, such as "protonet.loss".
    answer: the function that you have written, or a value if the exercise asks for one.
    record: whether it counts as a try in your progress. A lesson that only shows what a check says gives False.
    Raises `MetaFaceError` if there is no such exercise, or no answer.
    """
    exercise = core.find(name)
    if answer is _MISSING:
        raise MetaFaceError(f'Which answer? Give it after the name: check("{exercise.name}", your_answer).')
    outcome = core.judge(exercise, answer)
    notes = record_outcome(exercise, outcome) if record else []
    _show("\n".join([verdict(exercise, outcome), *notes]), outcome.kind)
    return outcome


def verdict(exercise: Exercise, outcome: Outcome) -> str:
    """The outcome in words: sign, exercise, message, and where to read on."""
    head = f"{_SIGNS[outcome.kind]} {exercise.name}"
    if outcome.kind == PASSED:
        return f"{head}: passed ({_counted(exercise.points, 'point')})."
    if outcome.kind in (NOT_ATTEMPTED, BROKEN):
        return f"{head}: {outcome.message}"
    lines = [f"{head}: not yet.", outcome.message]
    if exercise.equation and outcome.kind == WRONG:
        several = " and " in exercise.equation
        lines.append(f"Compare with equation{'s' * several} {exercise.equation}.")
    if exercise.hints:
        lines.append(f'Stuck? `hint("{exercise.name}")`')
    return "\n".join(lines)


def yours(name: str, answer: Any) -> Any:
    """Your answer to an exercise once it passes, and the course's own until then. Shows and records nothing.

    Cells after an exercise compute with it. So they need not show the answer, and run before there is one.

    name: the exercise, such as "protonet.loss".
    answer: the function that you have written, or a value if the exercise asks for one.
    Raises `MetaFaceError` if there is no such exercise.
    """
    exercise = core.find(name)
    return answer if core.judge(exercise, answer).passed else exercise.right_answers[0]


def hint(name: str, step: int = 1) -> None:
    """Show a hint to an exercise, and record that you have seen it.

    name: the exercise, such as "protonet.loss".
    step: the number of the hint, from 1; later hints say more.
    Raises `MetaFaceError` if there is no such exercise or no such step.
    """
    exercise = core.find(name)
    if not 1 <= step <= len(exercise.hints):
        raise MetaFaceError(
            f"Exercise '{name}' has no hint number {step}: it has {_counted(len(exercise.hints), 'hint')}, from 1 on."
        )
    lines = [f"Hint {step} of {len(exercise.hints)} for {name}: {exercise.hints[step - 1]}"]
    last = step == len(exercise.hints)
    lines.append(f'The solution? `solution("{name}")`' if last else f'More? `hint("{name}", {step + 1})`')
    _show("\n".join([*lines, *record_hint(exercise, step)]), NOT_ATTEMPTED)


def solution(name: str, show: bool = False) -> None:
    """Say what the solution of an exercise costs, or show it and record that.

    Points that were earned before stay. An exercise that is passed afterwards earns none.

    name: the exercise, such as "protonet.loss".
    show: whether to show the solution; by default the function only says what that costs.
    Raises `MetaFaceError` if there is no such exercise, or if the course's sources are missing.
    """
    exercise = core.find(name)
    text = solution_text(exercise)
    (row,) = (row for row in progress_rows(exercise.lesson) if row["exercise"] == name)
    if show:
        _show("\n".join([f"The solution of {name}:", text, *record_solution(exercise)]), NOT_ATTEMPTED)
        return
    lines = [f"The solution of {name} is one step away."]
    if row["outcome"] == "passed":
        lines.append("You have passed the exercise. Its points stay yours.")
    elif row["outcome"] == "solution seen":
        lines.append("You have seen it before.")
    else:
        lines.append(
            f"If you look before you pass, your progress always says 'solution seen', and you cannot earn the"
            f" {_counted(exercise.points, 'point')} any more."
        )
        if row["hints"] < len(exercise.hints):
            lines.append(f'There is a hint that you have not seen: `hint("{name}", {row["hints"] + 1})`')
    _show("\n".join([*lines, f'To see it: `solution("{name}", show=True)`']), NOT_ATTEMPTED)


def progress(lesson: str | None = None) -> None:
    """Show a table of the exercises: which are passed, tried and open.

    lesson: one lesson, such as "02"; by default all.
    """
    rows = progress_rows(lesson)
    _show(progress_text(rows), NOT_ATTEMPTED, progress_table(rows)._repr_html_())


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _show(text: str, kind: str, inside: str | None = None) -> None:
    """Show plain text in a terminal, and in a notebook the same words with colour and `code`.

    inside: HTML to show in a notebook in place of the text.
    """
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text)
        return
    element, space = "div", "normal"
    if inside is None:
        element, space = "pre", "pre-wrap"
        inside = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    style = f"border-left: 4px solid {_COLOURS[kind]}; padding: 2px 10px; margin: 0; white-space: {space}"
    look = f'class="metaface metaface-{kind.replace(" ", "-")}" role="status" style="{style}"'
    box = f"<{element} {look}>{inside}</{element}>"
    display({"text/plain": text, "text/html": box}, raw=True)
