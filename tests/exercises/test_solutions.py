"""Solutions: where they come from, and what it costs to see one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaface_lessons import paths
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import check, core, hint, progress_rows, progress_text, solution
from metaface_lessons.exercises.progress import progress_file
from metaface_lessons.exercises.solutions import solution_text
from tests.helpers import row_means


@pytest.mark.parametrize("name", [e.name for e in core.exercises()])
def test_the_solution_is_the_cell_of_the_solved_lesson(name: str) -> None:
    """The solved notebooks, in which every check passes, are built from the same source in another way."""
    number = core.find(name).lesson
    lesson = next(paths.NOTEBOOKS.glob(f"solutions/{number}_*.ipynb"), None)
    assert lesson, f"Build the lesson first: python notebooks/build.py {number}"
    cells = ["".join(cell["source"]) for cell in json.loads(lesson.read_text(encoding="utf-8"))["cells"]]
    (checked,) = (i for i, cell in enumerate(cells) if f'\ncheck("{name}"' in f"\n{cell}")
    text = solution_text(core.find(name))
    assert text.startswith("def my_") or len(text.splitlines()) >= 2
    assert text in (cells[checked].partition("\n\n\ncheck(")[0], cells[checked - 1])


@pytest.fixture
def source(rows: core.Exercise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lesson's source that holds the exercise."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    file = tmp_path / "source" / "97_rows.py"
    file.parent.mkdir()
    file.write_text(
        "# %% [markdown]\n# A word.\n\n\n# %% nbgrader={}\ndef row_means(x):\n    # Rows.\n    ### BEGIN SOLUTION\n"
        '    return x.mean(dim=1)\n    ### END SOLUTION\n\n\ncheck("rows.mean", row_means)\n'
    )
    return file


SOLUTION = "def row_means(x):\n    # Rows.\n    return x.mean(dim=1)"


def test_the_solution_is_shown_in_two_steps_and_recorded(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hint("rows.mean")
    capsys.readouterr()
    solution("rows.mean")
    out = capsys.readouterr().out
    assert "return" not in out
    assert "you cannot earn the 2 points any more" in out
    assert 'There is a hint that you have not seen: `hint("rows.mean", 2)`' in out
    assert out.endswith('To see it: `solution("rows.mean", show=True)`\n')
    assert progress_rows()[0]["outcome"] == "open"

    solution("rows.mean", show=True)
    assert capsys.readouterr().out == f"The solution of rows.mean:\n{SOLUTION}\n"
    (row,) = progress_rows()
    assert (row["outcome"], row["earned"], row["tried"]) == ("solution seen", 0, None)
    assert json.loads(progress_file().read_text())["exercises"]["rows.mean"]["solution"] == row["latest"]

    check("rows.mean", row_means)
    assert "You saw its solution before, so the points do not count." in capsys.readouterr().out
    (row,) = progress_rows()
    assert (row["outcome"], row["earned"], row["tries"]) == ("solution seen", 0, 1)
    entry = json.loads(progress_file().read_text())["exercises"]["rows.mean"]
    assert entry["best"] == "passed"
    assert progress_text([row]).endswith("0 of 1 exercises passed (1 more with the solution seen), 0 of 2 points.")
    solution("rows.mean")
    assert "You have seen it before." in capsys.readouterr().out


def test_points_earned_before_the_solution_was_seen_stay(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check("rows.mean", row_means)
    solution("rows.mean")
    assert "Its points stay yours" in capsys.readouterr().out
    solution("rows.mean", show=True)
    check("rows.mean", lambda x: x)
    check("rows.mean", row_means)
    (row,) = progress_rows()
    assert (row["outcome"], row["earned"]) == ("passed", 2)
    assert "do not count" not in capsys.readouterr().out


def test_without_the_sources_there_is_no_solution_and_nothing_is_recorded(source: Path) -> None:
    source.unlink()
    with pytest.raises(MetaFaceError, match="whole"):
        solution("rows.mean", show=True)
    assert not progress_file().exists()
