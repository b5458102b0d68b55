"""Rounds of grading: each has data of its own, and the class's folder remembers which marks come from which round.

A feedback page says what was asked and what was right. So a table of these values would pass where the same data are
used again. The data of a round rest on the class's seed and on the moment at which the round began. The moment is
recorded before anything is marked, so that no two rounds share it, not even after a crash.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import MetaFaceError

FILE = ".metaface-rounds"


@dataclasses.dataclass
class Round:
    """One round.

    begun: the moment at which it began, in words; its data rest on it.
    feedback: the day on which its feedback was written; empty until then.
    """

    begun: str
    feedback: str = ""


@dataclasses.dataclass
class Lesson:
    """What is known of the rounds of one lesson. Rounds are counted from 1.

    rounds: in their order.
    graded: student → the round that the present marks come from.
    failed: student → the last round in which this student could not be graded, and has not been since.
    """

    rounds: list[Round] = dataclasses.field(default_factory=list)
    graded: dict[str, int] = dataclasses.field(default_factory=dict)
    failed: dict[str, int] = dataclasses.field(default_factory=dict)

    def begin(self) -> int:
        """Begin a round. Returns its number."""
        self.rounds.append(Round(datetime.now(UTC).isoformat()))
        return len(self.rounds)

    def record(self, number: int, graded: bool, student: str) -> None:
        """Record that a student was graded in a round, or could not be."""
        if graded:
            self.graded[student] = number
            self.failed.pop(student, None)
        else:
            self.failed[student] = number

    def old(self, student: str) -> int:
        """The round in which the student could not be graded, if older marks are left; 0 if the marks are of today."""
        return self.failed.get(student, 0) if student in self.graded else 0


class Rounds:
    """The rounds of a class, in a file that only the instructor can read. Raises `MetaFaceError` if it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self.lessons: dict[str, Lesson] = {}
        try:
            known: dict[str, Any] = json.loads(self.file.read_bytes()) if self.file.exists() else {}
            for number, found in known.items():
                rounds = [Round(**one) for one in found.pop("rounds")]
                self.lessons[number] = Lesson(rounds, **found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MetaFaceError(
                f"{self.file} is damaged. It says which marks come from which round. Restore it, or delete it: the next"
                " grading then begins at round 1, on data that nobody has seen."
            ) from error

    def of(self, number: str) -> Lesson:
        """The rounds of a lesson, such as "02"."""
        return self.lessons.setdefault(number, Lesson())

    def save(self) -> None:
        """Write the file."""
        known = {number: dataclasses.asdict(lesson) for number, lesson in self.lessons.items()}
        paths.write_atomically(self.file, json.dumps(known, indent=1).encode(), 0o600)
