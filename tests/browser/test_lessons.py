"""Lessons as a learner meets them: they run from top to bottom, sliders move, an exercise is solved and passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from metaface_lessons.faces import load_faces
from metaface_lessons.lab.workspace import prepare
from metaface_lessons.paths import NOTEBOOKS
from tests.browser.jupyter import PICTURE, chromium, explorers, jupyter_lab, move, open_notebook, run_all, type_and_run

LESSONS = sorted(path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb"))

pytestmark = [
    pytest.mark.browser,
    # Playwright's own loop, and sockets that a server being stopped leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def page(lesson: str, browser_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The lesson, open in the learner's copy, with its kernel ready."""
    load_faces("procedural", progress=False)  # rendered once for all tests, not while the browser waits
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    home, _ = prepare()
    with jupyter_lab(home, tmp_path) as address, chromium(browser_path) as page:
        open_notebook(page, address, lesson)
        yield page


def exercise(lesson: str) -> tuple[int, str]:
    """The first exercise of a lesson: its place in the learner's notebook, and the cell as the solved one has it."""
    solved = nbformat.read(NOTEBOOKS / "solutions" / lesson, as_version=4)
    solutions = {cell.metadata.nbgrader.grade_id: cell.source for cell in solved.cells if "nbgrader" in cell.metadata}
    for number, cell in enumerate(nbformat.read(NOTEBOOKS / lesson, as_version=4).cells):
        if cell.cell_type == "code" and "nbgrader" in cell.metadata and "check(" in cell.source:
            return number, solutions[cell.metadata.nbgrader.grade_id]
    raise AssertionError(f"{lesson} has no exercise")


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_its_sliders_move_and_an_exercise_is_solved(lesson: str, page: Any) -> None:
    number, solution = exercise(lesson)
    run_all(page, seconds=400)

    found = explorers(page)
    assert found.count() >= 1
    for i in range(found.count()):
        explorer = found.nth(i)
        explorer.scroll_into_view_if_needed()
        before = explorer.locator(PICTURE).get_attribute("alt")
        move(page, explorer)
        after = explorer.locator(PICTURE).get_attribute("alt")
        assert before, i
        assert after, i
        assert after != before, i

    assert "not attempted" in type_and_run(page, number).lower()
    assert ": passed (" in type_and_run(page, number, solution)
