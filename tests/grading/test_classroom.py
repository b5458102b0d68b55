"""A class from release to exported marks: one right, one half right, one hostile learner, one with a broken file."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import pytest

from metaface_lessons import paths
from metaface_lessons.cli import main
from tests.needs import SANDBOX

FILE = "00_start_here.ipynb"


def run(course: Path, *arguments: str) -> int:
    return main(["class", *arguments, "--course", str(course)])


@pytest.mark.needs(*SANDBOX)
@pytest.mark.filterwarnings("ignore")  # other people's, at the import of nbgrader
def test_from_release_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    course = tmp_path / "class"
    assert run(course, "release", "00") == 0
    assert stat.S_IMODE((course / ".metaface-seed").stat().st_mode) == 0o600
    released = (course / "release" / "00" / FILE).read_text()
    assert "return 1 / ways" not in released
    solved = json.loads((paths.NOTEBOOKS / "solutions" / FILE).read_bytes())
    half = json.loads(released)
    evil = json.loads(released)
    for one, other, third in zip(solved["cells"], half["cells"], evil["cells"], strict=True):
        cell_id = one["metadata"].get("nbgrader", {}).get("grade_id")
        if cell_id == "start-standardise":
            other["source"] = one["source"]
        if cell_id:
            third["source"] = "import os\nos._exit(0)"
    books = {"ann": solved, "bob": half, "eve": evil, "fay": None}
    for student, book in books.items():
        folder = course / "submitted" / student / "00"
        folder.mkdir(parents=True)
        (folder / FILE).write_text("{broken" if book is None else json.dumps(book))
    (course / "submitted" / "ann" / "00" / "timestamp.txt").write_text("no date")
    (course / "submitted" / "bob" / "00" / "timestamp.txt").mkdir()
    capsys.readouterr()
    assert run(course, "grade", "00", "--jobs", "2") == 0
    assert "0 of 4  The submitted file is not a notebook" in capsys.readouterr().out
    assert run(course, "feedback", "00") == 0
    assert main(["class", "export", str(tmp_path / "marks.csv"), "--course", str(course)]) == 0
    with (tmp_path / "marks.csv").open() as file:
        marks = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    assert marks == {"ann": (4, 4), "bob": (2, 4), "eve": (0, 4), "fay": (0, 4)}
    page = (course / "feedback" / "eve" / "00" / FILE.replace("ipynb", "html")).read_text()
    assert "Your code ended the process" in page
    assert len(list(course.glob("feedback/*/00/*.html"))) == 4


def test_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "grade", "00") == 1
    assert "metaface class release 00" in capsys.readouterr().err
    assert run(tmp_path, "collect", "00") == 1
    assert "no exchange" in capsys.readouterr().err
    assert run(tmp_path, "feedback", "00") == 1
    assert "Nobody has submitted lesson 00" in capsys.readouterr().err
    assert run(tmp_path, "export") == 1
    assert "no gradebook" in capsys.readouterr().err
    assert run(tmp_path, "feedback", "98") == 1
    assert "98" in capsys.readouterr().err


def test_a_folder_that_serves_for_something_else_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    assert run(tmp_path, "release", "00") == 1
    assert "thesis.tex" in capsys.readouterr().err
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.filterwarnings("ignore")  # other people's, at the import of nbgrader
def test_marks_rest_on_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    course = tmp_path / "class"
    assert run(course, "release", "00") == 0
    (course / "submitted" / "ann" / "00").mkdir(parents=True)
    seed = course / ".metaface-seed"
    seed.write_text("")
    assert run(course, "grade", "00") == 1
    assert "damaged" in capsys.readouterr().err
    seed.unlink()
    assert run(course, "grade", "00") == 1
    assert "is gone" in capsys.readouterr().err
