"""The graded exercises: `check` an answer, ask for a `hint` or the `solution`, look at your `progress`.

    from metaface_lessons.exercises import check, hint, progress, solution

    check("protonet.prototypes", prototypes)
    hint("protonet.prototypes")
    solution("protonet.prototypes")
    progress()

`core` says how an exercise is written; one module per lesson holds its exercises.
"""

from __future__ import annotations

import html
import re
from typing import Any

from ..errors import MetaFaceError
from . import core
from .core import BROKEN, NOT_ATTEMPTED, PASSED, RAISED, WRONG, Exercise, Outcome
from .progress import progress_rows, progress_text, record_hint, record_outcome, record_solution
from .solutions import solution_text

__all__ = ["check", "hint", "progress", "progress_rows", "progress_text", "solution"]

_SIGNS = {PASSED: "✓", WRONG: "✗", RAISED: "✗", NOT_ATTEMPTED: "○", BROKEN: "!"}
_COLOURS = {PASSED: "#009E73", WRONG: "#D55E00", RAISED: "#D55E00", NOT_ATTEMPTED: "#0072B2", BROKEN: "#CC79A7"}


def check(name: str, answer: Any) -> Outcome:
    """Check an answer to the exercise `name`, show what came of it, and record it.

    An exercise that has not been attempted is no error, nor is a wrong answer: read the message.
    Raises `MetaFaceError` if there is no such exercise.
    """
    exercise = core.find(name)
    outcome = core.judge(exercise, answer)
    besides = record_outcome(exercise, outcome)
    _show("\n".join([verdict(exercise, outcome), *besides]), outcome.kind)
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


def hint(name: str, step: int = 1) -> None:
    """Show hint number `step` of the exercise `name`; later steps tell more. Which you have seen is recorded.

    Raises `MetaFaceError` if there is no such exercise or no such step.
    """
    exercise = core.find(name)
    if not 1 <= step <= len(exercise.hints):
        raise MetaFaceError(
            f"Exercise '{name}' has {_counted(len(exercise.hints), 'hint')}, and none is number {step}."
        )
    lines = [f"Hint {step} of {len(exercise.hints)} for {name}: {exercise.hints[step - 1]}"]
    last = step == len(exercise.hints)
    lines.append(f'The solution? `solution("{name}")`' if last else f'More? `hint("{name}", {step + 1})`')
    _show("\n".join([*lines, *record_hint(exercise, step)]), NOT_ATTEMPTED)


def solution(name: str, show: bool = False) -> None:
    """Say what it means to look at the solution of the exercise `name`; with `show=True`, show it, and record that.

    Points earned before stay; an exercise that is passed afterwards earns none. Raises `MetaFaceError` if there is no
    such exercise, or the course's sources are not there.
    """
    exercise = core.find(name)
    text = solution_text(exercise)
    (row,) = (row for row in progress_rows(exercise.lesson) if row["exercise"] == name)
    if show:
        _show("\n".join([f"The solution of {name}:", text, *record_solution(exercise)]), NOT_ATTEMPTED)
        return
    lines = [f"The solution of {name} is one step away."]
    if row["outcome"] == "passed":
        lines.append("You have passed the exercise; its points stay yours.")
    elif row["outcome"] == "solution seen":
        lines.append("You have seen it before.")
    else:
        lines.append(
            f"If you look before you pass, your progress says 'solution seen' for good, and its"
            f" {_counted(exercise.points, 'point')} cannot be earned any more."
        )
        if row["hints"] < len(exercise.hints):
            lines.append(f'There is a hint that you have not seen: `hint("{name}", {row["hints"] + 1})`')
    _show("\n".join([*lines, f'To see it: `solution("{name}", show=True)`']), NOT_ATTEMPTED)


def progress(lesson: str | None = None) -> None:
    """Show a table of what is passed, tried and open, of all lessons or of one ("02")."""
    _show(progress_text(progress_rows(lesson)), NOT_ATTEMPTED)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _show(text: str, kind: str) -> None:
    """Plain text in a terminal; in a notebook the same words with colour and `code`."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text)
        return
    inside = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    style = f"border-left: 4px solid {_COLOURS[kind]}; padding: 2px 10px; margin: 0; white-space: pre-wrap"
    box = f'<pre class="metaface metaface-{kind.replace(" ", "-")}" role="status" style="{style}">{inside}</pre>'
    display({"text/plain": text, "text/html": box}, raw=True)
