"""Damaged and forged notebooks: only the answers in the exercises' own cells count."""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from metaface_lessons.exercises import core
from metaface_lessons.grading import marks, visible_package
from metaface_lessons.grading.marks import SOURCE, TEXT, answer_cells, lesson, mark, mark_all
from metaface_lessons.grading.remote import Cell, Worker
from tests.grading.submissions import CHANCE, FILE, WHOLE, cell_of, ends_the_checker, notebook, points

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


def test_what_an_answer_sets_does_not_count_against_the_next(tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    cell_of(book)["source"] = (
        "import torch\ntorch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float16)\n"
        "def chance(ways):\n    torch.set_default_device('meta')\n    return 1 / ways\n"
        "check('start.chance', chance, record=False)"
    )
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
        '{"cells": NaN}',
        '{"cells": {"0": 1}}',
        '{"cells": "cells"}',
        "\\ud800",
        "\0",
    ],
    ids=[
        *("broken", "empty", "list", "null", "number", "no cell", "null cell", "bottomless", "no cells", "NaN"),
        *("a dict of cells", "a text of cells", "a surrogate", "a null byte"),
    ],
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


def test_a_split_cell(tmp_path: Path, kind: str, folder: Path) -> None:
    """The function is in the first half, its check in the second: both run, and the feedback says so."""
    book = notebook()
    cell = cell_of(book)
    text = "".join(cell["source"])
    half = copy.deepcopy(cell)
    half["source"] = "check" + text.split("\ncheck", 1)[1]
    cell["source"] = text.split("\ncheck", 1)[0]
    book["cells"].insert(book["cells"].index(cell) + 1, half)
    file = tmp_path / FILE
    file.write_text(json.dumps(book))
    found = {m.exercise: m for m in mark(file, "00", kind, folder, "secret")}
    assert found["start.chance"].points == 1
    assert f"2 cells have the nbgrader id '{CHANCE}'" in found["start.chance"].text
    assert sum(m.points for m in found.values()) == WHOLE
    # The same with an error in the first copy, which the second corrects; and the other way round.
    cell["source"] = "def chance(ways:"
    half["source"] = text
    assert points(book, tmp_path, kind, folder)["start.chance"] == 1
    cell["source"], half["source"] = half["source"], cell["source"]
    assert points(book, tmp_path, kind, folder)["start.chance"] == 0


def test_cells_that_are_none_spoil_no_others(tmp_path: Path) -> None:
    file, book = tmp_path / FILE, notebook()
    whole = len(answer_cells(write(file, book)))
    none: list[Any] = [None, 3, "cell", [], {}, [3], [None], True]
    odd = [*none, {"cell_type": "code"}, {"cell_type": "code", "metadata": None, "source": ""}]
    odd += [{"cell_type": "code", "metadata": {"nbgrader": value}, "source": "x"} for value in none]
    marked = {"nbgrader": {"solution": True, "grade_id": "mine"}}
    odd += [{"cell_type": "code", "metadata": marked, "source": value} for value in (None, 3, [3], [None], True)]
    book["cells"] = [*odd, *book["cells"], *odd]
    assert len(answer_cells(write(file, book))) == whole


def write(file: Path, book: object) -> Path:
    file.write_text(json.dumps(book))
    return file


ODD = {
    "a number of 65 bits": "2 ** 64",
    "a number of 1300 bits": "10 ** 400",
    "a complex number": "1j",
    "an array of nothing": "__import__('numpy').zeros((0,))",
    "an array of 16 axes": "__import__('numpy').zeros((1,) * 16)",
    "an axis of 2**39": "torch.zeros(0, 2**39)",
    "numbers of eight bits": "torch.ones(3, dtype=torch.bfloat16)",
    "lists in lists": "[[[[[[[[1]]]]]]]]",
    "a long key": "{'k' * 500_000: 1}",
    "numbers for keys": "{1: 1, True: 2, 2**64: 3}",
    "a lone surrogate": "chr(0xd800) * 10_000",
    "one megabyte of text": "'x' * (1 << 21)",
    "a hundred megabytes": "torch.zeros(100 << 20)",
    "NaN in a list": "[float('nan')] * 3",
}


def test_what_an_answer_returns_is_never_a_fault_of_the_course(kind: str) -> None:
    with visible_package.prepared("02") as folder, Worker(kind, folder, ["import torch"], [], False) as worker:
        for exercise in [core.find("start.chance"), *core.exercises("02")]:
            for what, value in ODD.items():
                source = f"answer = {value}" if exercise.value else f"def answer(*a, **k): return {value}"
                outcome = marks._at_fault(exercise, worker.judge(exercise, Cell(exercise.name, source, "answer")))
                assert outcome.kind in (core.WRONG, core.RAISED), f"{exercise.name}, {what}: {outcome.message}"


def test_a_check_that_fails_with_the_right_answer_is_a_fault_of_the_course() -> None:
    def check(answer: object) -> None:
        raise ZeroDivisionError

    exercise = core.Exercise("mine", "00", "", 1, "", (), False, check, [lambda: 1])
    assert marks._at_fault(exercise, core.judge(exercise, lambda: 1)).kind == core.BROKEN


def test_texts_are_cut_and_printable(tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    dots = "." * 100_000
    cell_of(book)["source"] = f"raise ValueError('\\ud800\x1b[2J' + 'x' * 100_000)\n#{dots}"
    cell_of(book, lesson("00").cells["start.standardise"][0])["source"] = "#" + "x" * (2 << 20)
    file = write(tmp_path / FILE, book)
    for found in mark(file, "00", kind, folder, "secret"):
        assert len(found.text) < TEXT + 300
        assert len(found.source) < SOURCE + 100
        assert all(c.isprintable() or c in "\n\t" for c in found.text + found.source)
        assert found.kind != core.BROKEN
    assert "too long" in found.text or found.exercise != "start.standardise"


def test_a_module_that_ends_the_process(
    tmp_path: Path, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is imported before the process is locked. Without it, the answers are marked all the same."""
    (folder / "bomb.py").write_text("import os\nos._exit(1)")
    monkeypatch.setattr(visible_package, "imported", lambda text: {"bomb"})
    assert sum(points(notebook(), tmp_path, kind, folder).values()) == WHOLE


def test_a_submission_that_ends_the_checker_spoils_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "_mark_alone", ends_the_checker)
    names = ["ann", "bomb", "bob", "cid"]
    found = mark_all([tmp_path / name for name in names], "00", "none", "secret", 2)
    assert [found[0], *found[2:]] == ["ann", "bob", "cid"]
    assert "ended" in found[1]


@pytest.mark.parametrize("late", [False, True])
def test_cells_are_run_again_within_the_time_of_the_submission(late: bool) -> None:
    """Or slow cells before one that ends the process cost their time once more for each exercise."""
    ran = []

    class Process:
        usable = True

        def __enter__(self) -> Process:
            return self

        def run(self, cell: Cell) -> None:
            ran.append(cell)

    cells = [Cell("mine", "", "answer")] * 2
    start: Any = lambda imports: Process()  # noqa: E731
    assert marks._Restarting(start, time.monotonic() + (-1 if late else 100)).usable(cells).usable
    assert ran == ([] if late else cells)


def test_a_submission_has_so_much_time_in_all(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "SECONDS", -1.0)
    for found in mark(write(tmp_path / FILE, notebook()), "00", "none", folder, "secret"):
        assert (found.points, found.kind) == (0, core.RAISED)
        assert "minutes" in found.text
