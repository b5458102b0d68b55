"""What a submission can import is what the answers of its lesson need."""

from __future__ import annotations

import pytest

from metaface_lessons import paths
from metaface_lessons.exercises import core
from metaface_lessons.grading import visible_package
from metaface_lessons.grading.marks import mark


@pytest.mark.parametrize("number", sorted({e.lesson for e in core.exercises()}))
def test_the_solved_lesson_gets_all_points(number: str, kind: str) -> None:
    """An answer that imports what the sandbox hides gets none: name it in `visible_package.LEFT`."""
    file = next((paths.NOTEBOOKS / "solutions").glob(f"{number}_*.ipynb"))
    with visible_package.prepared(number) as folder:
        marks = mark(file, number, kind, folder, "secret")
    assert [(m.exercise, m.points, m.text) for m in marks if m.points != m.of] == []
