"""A class from release to exported marks: among honest learners some whose submissions are broken, or hostile."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metaface_lessons.cli import main
from metaface_lessons.exercises import core
from metaface_lessons.grading import classroom, sandbox
from metaface_lessons.grading.marks import Mark, lesson
from metaface_lessons.grading.submitted import shown
from tests.grading import hostile_class
from tests.grading.submissions import FILE, WHOLE, notebook
from tests.others import OrdinaryUser


def run(course: Path, *arguments: str) -> int:
    return main(["class", *arguments, "--course", str(course)])


def test_a_release_holds_no_answers_and_closes_the_folder(released: Path) -> None:
    assert stat.S_IMODE((released / ".metaface-seed").stat().st_mode) == 0o600
    assert stat.S_IMODE(released.stat().st_mode) == 0o700
    assert "return 1 / ways" in json.dumps(notebook())
    assert "return 1 / ways" not in (released / "release" / "00" / FILE).read_text()


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


# -------------------------------------------------------------------------------------------- thirty hostile learners

THROUGH = "from tests.grading.hostile_class import main; main()"


@pytest.fixture(
    params=[
        pytest.param(sandbox.BUBBLEWRAP, marks=pytest.mark.needs("root", "bubblewrap", "namespaces")),
        pytest.param(sandbox.USER, marks=pytest.mark.needs("root")),
    ]
)
def as_root(request: pytest.FixtureRequest, tmp_path: Path, repository: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", THROUGH, str(tmp_path), request.param]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    return came_of(subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True))


@pytest.fixture
def as_an_ordinary_user(ordinary_user: OrdinaryUser) -> dict[str, Any]:
    folder = ordinary_user.home / "trial"
    return came_of(ordinary_user(THROUGH, str(folder), sandbox.BUBBLEWRAP, timeout=900))


def came_of(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.hostile
def test_the_honest_get_their_marks_among_thirty_hostile(as_root: dict[str, Any]) -> None:
    nobody_else_gains(as_root)


@pytest.mark.hostile
@pytest.mark.needs("bubblewrap", "namespaces for everybody")
def test_so_they_do_where_the_instructor_is_an_ordinary_user(as_an_ordinary_user: dict[str, Any]) -> None:
    nobody_else_gains(as_an_ordinary_user)
    assert "unreadable: The folder cannot be read" in as_an_ordinary_user["output"]["grade"]


def nobody_else_gains(came: dict[str, Any]) -> None:
    hostile = [*hostile_class.NOTEBOOKS, *hostile_class.UNFIT, *hostile_class.LINKS]
    assert len(hostile) + 6 >= 30, "six more are named in `submit` and `lay`"
    assert came["status"] == {"release": 0, "collect": 3, "grade": 3, "feedback": 3, "export": 0}, came["output"]
    scores = {row["student_id"]: float(row["score"]) for row in came["rows"]}
    assert {student: scores.pop(student) for student in hostile_class.HONEST} == hostile_class.HONEST
    assert len(scores) >= 20
    assert set(scores.values()) == {0.0}, scores
    for student, points in hostile_class.HONEST.items():
        assert f"Points: {points} of {WHOLE}" in came["pages"][student]
    for student, page in came["pages"].items():
        assert not any(tag in page for tag in ("<script", "<img", "<a ")), student
        assert "Content-Security-Policy" in page
    assert came["returned"] == len(came["pages"]) >= len(scores)
    for step, output in came["output"].items():
        assert output.replace("\n", "").isprintable(), step
    for step in ("grade", "feedback"):
        for name in (*hostile_class.UNFIT, *hostile_class.LINKS):
            assert f": {shown(name)}: " in came["output"][step], name
    assert "crowd: The submission in the exchange cannot be fetched" in came["output"]["collect"]


# -------------------------------------------------------------------------------- rounds, old marks and exit statuses


class Marking:
    """In place of the marking: what it was asked, and which marks it gives. By default all answers are right."""

    def __init__(self) -> None:
        self.secrets: list[str] = []
        self.asked: list[str] = []
        self.kinds: dict[str, str] = {}
        self.text = ""

    def __call__(self, files: Sequence[Path], number: str, kind: str, secret: str, *_: Any) -> list[list[Mark] | str]:
        self.secrets.append(secret)
        self.asked = [file.parent.parent.name for file in files]
        return [self.marks(self.kinds.get(student, core.PASSED)) for student in self.asked]

    def marks(self, kind: str) -> list[Mark] | str:
        if kind == "failed":
            return "It ended the checker."
        return [
            Mark(
                e.name, lesson("00").cells[e.name][0], e.points * (kind == core.PASSED), e.points, kind, self.text, "x"
            )
            for e in core.exercises("00")
        ]


@pytest.fixture
def marking(monkeypatch: pytest.MonkeyPatch) -> Marking:
    found = Marking()
    monkeypatch.setattr(classroom, "mark_all", found)
    monkeypatch.setattr(sandbox, "find", lambda unsafe: "none")
    return found


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("class") / "class"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's, at the import of nbgrader
        assert run(folder, "release", "00") == 0
    return folder


@pytest.fixture
def course(released: Path, tmp_path: Path) -> Path:
    """A class in which Ann, Bob and Eve have submitted."""
    folder = shutil.copytree(released, tmp_path / "class")
    for student in ("ann", "bob", "eve"):
        place = folder / "submitted" / student / "00"
        place.mkdir(parents=True)
        (place / FILE).write_text(json.dumps(notebook()))
    return folder


def exported(course: Path) -> dict[str, tuple[float, str, str]]:
    assert main(["class", "export", str(course / "m.csv"), "--course", str(course)]) == 0
    with (course / "m.csv").open() as file:
        return {row["student_id"]: (float(row["score"]), row["round"], row["old"]) for row in csv.DictReader(file)}


def page(course: Path, student: str) -> str:
    return (course / "feedback" / student / "00" / FILE.replace("ipynb", "html")).read_text()


@pytest.mark.filterwarnings("ignore")  # other people's, at the import of nbgrader
def test_each_round_has_data_of_its_own(course: Path, marking: Marking, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of the values in earlier feedback is useless, unless the instructor asks for the old data."""
    for _ in range(2):
        assert run(course, "grade", "00") == 0
    assert run(course, "grade", "00", "--round", "1", "--student", "bob") == 0
    assert marking.asked == ["bob"]
    first, second, third = marking.secrets
    assert first == third != second
    assert "warning" not in capsys.readouterr().err
    assert {student: row[1] for student, row in exported(course).items()} == {"ann": "2", "bob": "1", "eve": "2"}
    assert run(course, "feedback", "00") == 0
    assert run(course, "grade", "00", "--round", "2", "--student", "eve") == 0
    assert "may hold the right values" in capsys.readouterr().err
    assert run(course, "grade", "00", "--round", "9") == 1
    assert run(course, "grade", "00", "--student", "evee") == 1
    assert "Did you mean 'eve'" in capsys.readouterr().err
    assert stat.S_IMODE((course / ".metaface-rounds").stat().st_mode) == 0o600


@pytest.mark.filterwarnings("ignore")
def test_a_failed_student_keeps_old_marks_that_are_called_old(
    course: Path, marking: Marking, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(course, "grade", "00") == 0
    marking.kinds = {"eve": "failed", "bob": core.WRONG}
    assert run(course, "grade", "00") == 3
    assert "eve: It ended the checker." in capsys.readouterr().err
    assert exported(course) == {"ann": (4, "2", ""), "bob": (0, "2", ""), "eve": (4, "1", "yes")}
    assert run(course, "feedback", "00") == 0
    assert "These marks are old. They are of round 1. In round 2" in page(course, "eve")
    assert "These marks are old" not in page(course, "bob")
    with classroom.Classroom(course).api.gradebook as gradebook:
        assert gradebook.find_submission("00", "eve").needs_manual_grade, "the formgrader flags it"
        assert not gradebook.find_submission("00", "ann").needs_manual_grade
    shutil.rmtree(course / "submitted" / "ann")
    (course / "submitted" / "ann").symlink_to(course / "submitted" / "bob")
    marking.kinds = {}
    assert run(course, "grade", "00") == 3
    assert exported(course) == {"ann": (4, "2", "yes"), "bob": (4, "3", ""), "eve": (4, "3", "")}
    assert run(course, "feedback", "00") == 3
    assert "These marks are old. They are of round 2. In round 3" in page(course, "ann")
    assert "These marks are old" not in page(course, "eve")


@pytest.mark.filterwarnings("ignore")
def test_only_a_failure_is_an_exit_status(course: Path, marking: Marking, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong answers are none: `grade && feedback` goes on."""
    marking.kinds = {"ann": core.WRONG, "bob": core.RAISED, "eve": core.NOT_ATTEMPTED}
    assert run(course, "grade", "00") == 0
    marking.kinds = {"eve": core.BROKEN}
    assert run(course, "grade", "00") == 3
    assert "eve: A check itself failed, with the right answer as well" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_whatever_fails_for_one_student_the_others_go_on(
    course: Path, marking: Marking, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = classroom.Classroom._write_gradebook

    def failing(self: Any, file: Path, student: str, *rest: Any) -> None:
        if student == "bob":
            raise OverflowError("date\x1b[2J out of range")
        written(self, file, student, *rest)

    monkeypatch.setattr(classroom.Classroom, "_write_gradebook", failing)
    assert run(course, "grade", "00") == 3
    error = capsys.readouterr().err
    assert "bob: OverflowError: date" in error
    assert "\x1b" not in error
    shutil.rmtree(course / "autograded" / "ann")
    assert run(course, "feedback", "00") == 3
    error = capsys.readouterr().err
    assert "ann: FileNotFoundError" in error
    assert "bob: It has not been graded" in error
    assert [path.parent.parent.name for path in course.glob("feedback/*/00/*.html")] == ["eve"]


@pytest.mark.filterwarnings("ignore")
def test_the_table_holds_no_formulas(course: Path, marking: Marking) -> None:
    """Nor in what an instructor's list of students brought into the gradebook."""
    assert run(course, "grade", "00") == 0
    with classroom.Classroom(course).api.gradebook as gradebook:
        gradebook.update_or_create_student("ann", first_name="=1+1", last_name='a,"b\n\x1b', email="@x")
    assert exported(course)["ann"] == (4, "1", "")
    with (course / "m.csv").open() as file:
        (row,) = (row for row in csv.DictReader(file) if row["student_id"] == "ann")
    assert (row["first_name"], row["last_name"], row["email"]) == ("'=1+1", 'a,"b \ufffd', "'@x")


@pytest.mark.filterwarnings("ignore")
def test_a_gradebook_that_cannot_be_read(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (course / "gradebook.db").write_text("not a database")
    assert main(["class", "export", str(course / "m.csv"), "--course", str(course)]) == 1
    assert "gradebook" in capsys.readouterr().err


@pytest.mark.hostile
@pytest.mark.filterwarnings("ignore")
def test_nbgraders_own_feedback_renders_nothing_of_a_message(course: Path, marking: Marking) -> None:
    """The formgrader has a button for it, and takes comments for Markdown."""
    marking.text = f"{hostile_class.LINK}\n```\n{hostile_class.LINK}\n</pre>"
    assert run(course, "grade", "00") == 0
    own = classroom.Classroom(course).api
    assert own.generate_feedback("00", "eve")["success"]
    found = page(course, "eve")
    assert "javascript:alert" in found, "it is shown"
    for tag in ('href="javascript', 'src="https://example.org', "<img src=x", "onerror=alert(1)>"):
        assert tag not in found
