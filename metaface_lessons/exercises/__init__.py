"""The graded exercises: `check` an answer, ask for a `hint`, look at your `progress`.

    from metaface_lessons.exercises import check, hint, progress

    check("protonet.prototypes", prototypes)
    hint("protonet.prototypes")
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
from .progress import progress_rows, progress_text, record_hint, record_outcome

__all__ = ["check", "hint", "progress", "progress_rows", "progress_text"]

_SIGNS = {PASSED: "✓", WRONG: "✗", RAISED: "✗", NOT_ATTEMPTED: "○", BROKEN: "!"}
_COLOURS = {PASSED: "#009E73", WRONG: "#D55E00", RAISED: "#D55E00", NOT_ATTEMPTED: "#0072B2", BROKEN: "#CC79A7"}


def check(name: str, answer: Any) -> Outcome:
    """Check an answer to the exercise `name`, show what came of it, and record it.

    An exercise that has not been attempted is no error, nor is a wrong answer: read the message.
    Raises `MetaFaceError` if there is no such exercise.
    """
    exercise = core.find(name)
    outcome = core.judge(exercise, answer)
    unrecorded = record_outcome(exercise, outcome)
    _show("\n".join([verdict(exercise, outcome), *unrecorded]), outcome.kind)
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
        lines.append(f"Compare with equation {exercise.equation}.")
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
    if step < len(exercise.hints):
        lines.append(f'More? `hint("{name}", {step + 1})`')
    _show("\n".join([*lines, *record_hint(exercise, step)]), NOT_ATTEMPTED)


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
