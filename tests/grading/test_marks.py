"""Damaged and forged notebooks: only the answers in the exercises' own cells count."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest

from metaface_lessons.grading.marks import lesson, mark
from tests.grading.submissions import FILE, WHOLE, cell_of, notebook, points

pytestmark = [pytest.mark.hostile, pytest.mark.usefixtures("impatient")]


def test_a_deleted_cell(tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    book["cells"].remove(cell_of(book))
    got = points(book, tmp_path, kind, folder)
    assert (got["start.chance"], sum(got.values())) == (0, WHOLE - 1)


def test_a_renamed_cell(tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    cell_of(book)["metadata"]["nbgrader"]["grade_id"] = "mine"
    assert points(book, tmp_path, kind, folder)["start.chance"] == 0


def test_a_cell_in_the_name_of_another(tmp_path: Path, kind: str, folder: Path) -> None:
    """The easy answer does not count for the hard exercise."""
    book = notebook()
    hard = cell_of(book, lesson("00").cells["start.standardise"][0])
    hard["source"] = cell_of(book)["source"]
    got = points(book, tmp_path, kind, folder)
    assert (got["start.standardise"], got["start.chance"]) == (0, 1)


def test_a_duplicated_cell(tmp_path: Path, kind: str, folder: Path) -> None:
    """The last one counts, once."""
    book = notebook()
    wrong = copy.deepcopy(cell_of(book))
    wrong["source"] = "def chance(ways):\n    return 0.5\ncheck('start.chance', chance)"
    book["cells"] += [wrong]
    assert points(book, tmp_path, kind, folder)["start.chance"] == 0
    book["cells"] += [copy.deepcopy(cell_of(notebook()))] * 3
    assert sum(points(book, tmp_path, kind, folder).values()) == WHOLE


def test_reordered_cells(tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    book["cells"].reverse()
    assert sum(points(book, tmp_path, kind, folder).values()) == WHOLE


def test_cells_edited_outside_the_answers(tmp_path: Path, kind: str, folder: Path) -> None:
    """They are not run: neither an attack in them nor an answer."""
    book = notebook()
    for cell in book["cells"]:
        if cell["cell_type"] == "code" and "nbgrader" not in cell["metadata"]:
            cell["source"] = "import os\nos._exit(0)\ndef chance(ways): return 1 / ways"
    cell_of(book)["source"] = "check('start.chance', chance)"
    got = points(book, tmp_path, kind, folder)
    assert (got["start.chance"], sum(got.values())) == (0, WHOLE - 1)


def test_forged_outputs(tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    cell_of(book)["source"] = "def chance(ways):\n    raise NotImplementedError()\ncheck('start.chance', chance)"
    text = "✓ start.chance: passed (1 point)."
    cell_of(book)["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
    assert points(book, tmp_path, kind, folder)["start.chance"] == 0


def test_forged_points(tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    cell_of(book)["metadata"]["nbgrader"] |= {"points": 1000, "grade": True}
    assert sum(points(book, tmp_path, kind, folder).values()) == WHOLE


@pytest.mark.parametrize(
    "text",
    [
        "{broken",
        "",
        "[]",
        "null",
        '{"cells": 3}',
        '{"cells": [{}]}',
        '{"cells": [null]}',
        "[" * 100_000,
        '{"cells": []}',
    ],
    ids=["broken", "empty", "list", "null", "number", "no cell", "null cell", "bottomless", "no cells"],
)
def test_a_file_that_is_no_notebook(text: str, tmp_path: Path, kind: str, folder: Path) -> None:
    assert sum(points(text, tmp_path, kind, folder).values()) == 0


def test_a_link_to_the_work_of_another(tmp_path: Path, kind: str, folder: Path) -> None:
    other = tmp_path / "other.ipynb"
    other.write_text(json.dumps(notebook()))
    (tmp_path / FILE).symlink_to(other)
    assert sum(m.points for m in mark(tmp_path / FILE, "00", kind, folder, "secret")) == 0


def test_a_pipe_instead_of_a_file(tmp_path: Path, kind: str, folder: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    assert sum(m.points for m in mark(tmp_path / FILE, "00", kind, folder, "secret")) == 0
