"""What a learner has tried and passed: one JSON file in their own folder. No account is needed.

    {"format": 1, "exercises": {"protonet.prototypes": {"best": "passed", "last": "wrong", "tries": 3, "hints": 1,
                                                        "points": 2, "first": "2026-11-23T…", "latest": "…",
                                                        "tried": "…", "solution": "…"}}}

`points` are what the learner has earned: an exercise that is first passed after its solution was seen has none.
`tried` is the time of the last try, `solution` the time when the solution was first seen, `latest` the time of the last
change. Every change reads the file, changes one entry and replaces the file in one step, under a lock: several
notebooks may write at once, and a crash leaves the file as it was before or after the change. Fields that this version
does not know are kept. A file that cannot be read is kept under another name, never overwritten.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MetaFaceError
from ..paths import home_dir, locked, write_atomically
from .core import BROKEN, NOT_ATTEMPTED, PASSED, Exercise, Outcome, exercises

if TYPE_CHECKING:
    from ..figures import Table

_LOCK_SECONDS = 5.0


def progress_file() -> Path:
    return home_dir() / "progress.json"


def record_outcome(exercise: Exercise, outcome: Outcome) -> list[str]:
    """Record a try. Returns sentences to show: that its points do not count, or that it could not be recorded.

    An untouched stub is not a try, and a broken check says nothing about the answer: neither is recorded.
    """
    if outcome.kind in (NOT_ATTEMPTED, BROKEN):
        return []
    notes: list[str] = []

    def change(entry: dict[str, Any]) -> None:
        entry["tries"] = entry.get("tries", 0) + 1
        entry["last"] = outcome.kind
        if outcome.passed or entry.get("best") != PASSED:
            entry["best"] = outcome.kind
        entry["tried"] = _now()
        if "solution" not in entry:
            entry["points"] = exercise.points if entry["best"] == PASSED else 0
        elif outcome.passed and not entry.get("points"):
            notes.append("You saw its solution before, so the points do not count.")

    return [*_record(exercise.name, change), *notes]


def record_hint(exercise: Exercise, step: int) -> list[str]:
    """Record that hint number `step` was seen. Returns the sentence to show if it could not be recorded."""

    def change(entry: dict[str, Any]) -> None:
        entry["hints"] = max(step, entry.get("hints", 0))

    return _record(exercise.name, change)


def record_solution(exercise: Exercise) -> list[str]:
    """Record that the solution was seen. Returns the sentence to show if it could not be recorded."""
    return _record(exercise.name, lambda entry: entry.setdefault("solution", _now()))


def _record(name: str, change: Callable[[dict[str, Any]], object]) -> list[str]:
    try:
        with _locked() as path:
            data = _read(path)
            entry = data["exercises"].setdefault(name, {})
            entry.setdefault("first", _now())
            change(entry)
            entry["latest"] = _now()
            write_atomically(path, json.dumps(data, indent=1, ensure_ascii=False).encode())
    except OSError as error:
        return [f"(Not recorded: {progress_file()} cannot be written: {error.strerror or error}.)"]
    except MetaFaceError as error:  # another notebook holds the lock, and says so
        return [f"(Not recorded: {error})"]
    return []


@contextmanager
def _locked() -> Iterator[Path]:
    """Hold the lock of the progress file; yields the file itself, which may be behind a link."""
    path = Path(os.path.realpath(progress_file()))
    with locked(path, "a check", "Check again when it has ended.", seconds=_LOCK_SECONDS):
        yield path


def _read(path: Path) -> dict[str, Any]:
    """The content of the file, or an empty one if there is no file. A damaged file is kept under another name.

    Call it while the lock is held, because another notebook may have begun a new file meanwhile.
    """
    try:
        return _parsed(path)
    except FileNotFoundError:
        pass
    except _DAMAGED:
        aside = path.with_name(f"progress.damaged-{time.time_ns()}.json")
        path.replace(aside)
        warnings.warn(f"Your progress file was damaged. It is kept as {aside}. A new one begins.", stacklevel=2)
    return {"format": 1, "exercises": {}}


_DAMAGED = (ValueError, AttributeError, RecursionError)  # not JSON, not text, or JSON of another shape


def _parsed(path: Path) -> dict[str, Any]:
    """The content of the file. Raises one of `_DAMAGED` if that is not of the form above."""
    data: dict[str, Any] = json.loads(path.read_bytes())
    entries = data.setdefault("exercises", {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError("exercises are not a dict of dicts")
    for entry in entries.values():
        kinds = {"tries": int, "hints": int, "points": int, "best": str, "last": str, "tried": str, "latest": str}
        if any(type(entry[key]) is not kind for key, kind in kinds.items() if key in entry):
            raise ValueError("an entry has values of other types")
    return data


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# ---------------------------------------------------------------------------------------------------------- showing


def progress_rows(lesson: str | None = None) -> list[dict[str, Any]]:
    """One row per exercise, in the order of the lessons.

    Keys: lesson, exercise, title, outcome ("passed", "tried", "open", or "solution seen" before it was passed), points,
    earned, tries, hints (how many seen), first, tried and latest (UTC, ISO 8601, or None; `tried` is the last try).
    """
    chosen = exercises(lesson)
    entries = _entries()
    rows = []
    for exercise in chosen:
        entry = entries.get(exercise.name, {})
        tries = entry.get("tries", 0)
        passed = entry.get("best") == PASSED
        seen = "solution" in entry and not (passed and entry.get("points"))
        rows.append(
            {
                "lesson": exercise.lesson,
                "exercise": exercise.name,
                "title": exercise.title,
                "outcome": "solution seen" if seen else "passed" if passed else "tried" if tries else "open",
                "points": exercise.points,
                "earned": exercise.points if passed and not seen else 0,
                "tries": tries,
                "hints": entry.get("hints", 0),
                "first": entry.get("first"),
                "tried": entry.get("tried", entry.get("latest") if tries else None),
                "latest": entry.get("latest"),
            }
        )
    return rows


def _entries() -> dict[str, Any]:
    """The entries by exercise; none if there is no file that may be read."""
    path = progress_file()
    if not path.is_file():
        return {}
    if not os.access(path, os.R_OK):
        warnings.warn(f"{path} may not be read, so this shows no progress. Give yourself permission.", stacklevel=3)
        return {}
    try:
        found = _parsed(path)
    except _DAMAGED:
        with _locked() as real:
            found = _read(real)
    return dict(found["exercises"])


_SIGNS = {"passed": "✓", "tried": "✗", "open": "○", "solution seen": "◐"}


def progress_text(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table with sign, exercise, outcome, points, time since the last try and title, and with sums."""
    width = max((len(row["exercise"]) for row in rows), default=0)
    lines, lesson = [], None
    for row in rows:
        if row["lesson"] != lesson:
            lesson = row["lesson"]
            lines.append(f"Lesson {lesson}")
        outcome = row["outcome"]
        points = f"{row['earned']}/{row['points']}"
        columns = f"{row['exercise']:{width}}  {outcome:13}  {points:>5}  {_ago(row['tried']):>10}"
        lines.append(f"  {_SIGNS[outcome]} {columns}  {row['title']}")
    return "\n".join([*lines, _sums(rows)])


def progress_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The same for a notebook, which shows it as HTML. The sums are its caption."""
    from ..figures import Table  # with it comes matplotlib, which a terminal does not need

    cells = [
        (
            f"{_SIGNS[row['outcome']]} {row['exercise']}",
            row["lesson"],
            row["outcome"],
            f"{row['earned']}/{row['points']}",
            _ago(row["tried"]),
            row["title"],
        )
        for row in rows
    ]
    return Table(tuple(cells), ("lesson", "outcome", "points", "last try", "title"), _sums(rows))


def _sums(rows: Sequence[dict[str, Any]]) -> str:
    earned, points = (sum(row[key] for row in rows) for key in ("earned", "points"))
    passed, seen = (sum(row["outcome"] == outcome for row in rows) for outcome in ("passed", "solution seen"))
    more = f" ({seen} more with the solution seen)" if seen else ""
    return f"{passed} of {len(rows)} exercises passed{more}, {earned} of {points} points."


def _ago(stamp: str | None) -> str:
    """How long ago that was, in whole hours, so that a lesson shows the same text whenever it is run."""
    try:
        hours = int((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds() // 3600) if stamp else None
    except (TypeError, ValueError):  # the file was edited by hand
        hours = None
    if hours is None:
        return ""
    if hours < 1:
        return "< 1 h ago"
    return f"{hours} h ago" if hours < 48 else f"{hours // 24} d ago"
