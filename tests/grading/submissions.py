"""Submissions of lesson 00, and what they are marked with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from metaface_lessons import paths
from metaface_lessons.exercises import core
from metaface_lessons.grading.marks import lesson, mark

FILE = "00_start_here.ipynb"


WHOLE = sum(e.points for e in core.exercises("00"))  # the first exercise is worth 1 of them


CHANCE = lesson("00").cells["start.chance"][0]


def notebook() -> dict[str, Any]:
    """The lesson, solved."""
    return json.loads((paths.NOTEBOOKS / "solutions" / FILE).read_bytes())


def cell_of(book: dict[str, Any], cell_id: str = CHANCE) -> dict[str, Any]:
    return next(c for c in book["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == cell_id)


def points(book: dict[str, Any] | str, tmp_path: Path, kind: str, folder: Path) -> dict[str, int]:
    file = tmp_path / FILE
    file.write_text(book if isinstance(book, str) else json.dumps(book))
    return {m.exercise: m.points for m in mark(file, "00", kind, folder, "secret")}


def ends_the_checker(file: Path, *_: Any) -> str:
    """In place of the marking of one submission: one of them ends the process that marks."""
    if file.name == "bomb":
        os._exit(1)
    return file.name
