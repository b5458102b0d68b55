"""A class: releases lessons, grades submissions and writes feedback, with nbgrader.

nbgrader keeps the workflow, the gradebook and the exchange. The marks come from `marks`, the pages from
`feedback_page`. A class is a folder of nbgrader's form: source/, release/, submitted/STUDENT/LESSON/, autograded/,
feedback/, gradebook.db, and `nbgrader_config.py` if there is one. The files `.metaface-seed` and `.metaface-rounds` are
ours, and only the instructor may read them. autograded/ holds the released notebook with the submitted answers in it.
Nothing else of a submission gets there.

Whatever one submission is, a step goes on with the others, and returns who failed and why.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import shutil
import stat
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import MetaFaceError, unknown
from ..exercises import core
from ..exercises.core import BROKEN
from . import sandbox
from .feedback_page import Part, fenced, page, unfenced
from .marks import Mark, lesson, mark_all
from .rounds import Rounds
from .submitted import COMMANDS, clean, side_file, submissions

SEED = ".metaface-seed"
Failed = dict[str, str]  # the folder's name in submitted/ → why this submission failed
_SECRET = 16  # characters, at least, of a secret that nobody guesses
_OF_A_CLASS = {"source", "release", "submitted", "autograded", "feedback", "gradebook.db", "nbgrader_config.py"}


class Classroom:
    """The class in a folder. Raises `MetaFaceError` if nbgrader is missing."""

    def __init__(self, folder: Path) -> None:
        try:
            from jupyter_core.paths import jupyter_config_path
            from nbgrader.apps import NbGraderAPI
            from traitlets.config import Config
            from traitlets.config.loader import PyFileConfigLoader
        except ImportError as error:
            raise MetaFaceError(
                "nbgrader is not installed. A class needs it. In the course's folder: pip install -e '.[authors]'"
            ) from error
        # nbgrader runs `alembic` by name. Without activation, the environment's programs are not on the path.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.folder = Path(os.path.realpath(folder))  # `Path.resolve` stops at a link to itself
        config = Config()
        for place in (*reversed(jupyter_config_path()), str(self.folder)):
            if (Path(place) / "nbgrader_config.py").is_file():
                config.merge(PyFileConfigLoader("nbgrader_config.py", path=place).load_config())
        config.CourseDirectory.root = str(self.folder)
        config.ExchangeFactory.collect = "metaface_lessons.grading.collect.CollectOwn"
        self.api = NbGraderAPI(config=config)
        self.config = config

    def release(self, number: str) -> tuple[Path, bool]:
        """Make the assignment of a lesson.

        number: the lesson, such as "02".
        Returns the assignment's file, and whether it was put into nbgrader's exchange. Raises `MetaFaceError` if the
        lesson does not exist, if the folder is in use for something else, or if nbgrader fails.
        """
        from ..sources import read_source, sources

        known = lesson(number)
        notebook = read_source(sources()[number])
        points = {cell: core.find(name).points for name, (cell, _) in known.cells.items()}
        for cell in notebook.cells:
            about = cell.metadata.get("nbgrader", {})
            if about.get("grade_id") in points:
                about |= {"grade": True, "points": points[about["grade_id"]]}
        self._open()
        target = self.folder / "source" / number / known.notebook
        paths.write_atomically(target, json.dumps(notebook, indent=1).encode())
        self._ask(self.api.generate_assignment(number), "nbgrader could not make the assignment")
        exchanged = bool(self.api.coursedir.course_id) and self.api.exchange_is_functional
        if exchanged:
            self._ask(self.api.release_assignment(number), "nbgrader could not release the assignment")
        return self.folder / "release" / number / known.notebook, exchanged

    def collect(self, number: str) -> tuple[list[str], Failed]:
        """Fetch the submissions of a lesson from nbgrader's exchange.

        Returns the students who have submitted, and whose submission could not be fetched. Raises `MetaFaceError` if
        the class has no exchange, or if nbgrader fails.
        """
        from .collect import CollectOwn

        if not (self.api.coursedir.course_id and self.api.exchange_is_functional):
            raise MetaFaceError(
                "There is no exchange to collect from. Set CourseDirectory.course_id and Exchange.root in"
                f" nbgrader_config.py. Or put each notebook into submitted/STUDENT/{number}/ yourself."
            )
        CollectOwn.failed.clear()
        self._ask(self.api.collect(number), "nbgrader could not collect the submissions")
        students, refused = submissions(self.folder, number)
        return students, refused | CollectOwn.failed

    def _submitted(self, number: str, only: Sequence[str] = ()) -> tuple[list[str], Failed]:
        """Who has submitted a lesson, and whose submission cannot be taken.

        Raises `MetaFaceError` if there are no students, or no such lesson.
        """
        lesson(number)
        students, refused = submissions(self.folder, number)
        for student in only:
            if student not in students:
                raise (
                    MetaFaceError(refused[student])
                    if student in refused
                    else unknown(f"submission of lesson {number}", student, students)
                )
        if not students and not refused:
            raise MetaFaceError(
                f"Nobody has submitted lesson {number} in {self.folder}. Put them into submitted/STUDENT/{number}/."
            )
        return (list(only), {}) if only else (students, refused)

    def grade(
        self,
        number: str,
        jobs: int = 1,
        unsafe: bool = False,
        done: Callable[[int], None] = lambda n: None,
        students: Sequence[str] = (),
        again: int | None = None,
    ) -> tuple[dict[str, list[Mark]], Failed, int]:
        """Mark the submissions of a lesson in a new round, and write the marks into the gradebook.

        number: the lesson, such as "02".
        jobs: how many submissions are marked at a time.
        unsafe: grade without a sandbox where none works.
        done: called with the number of marked submissions after each one.
        students: whom to grade. All by default.
        again: an earlier round whose data to use once more. A new round with new data by default.
        Returns the marks by student, who could not be graded, and the round. Marks that such a student had before stay
        in the gradebook, as old. Raises `MetaFaceError` if the lesson was not released, if nobody has submitted it, if
        there is no such round, or if no sandbox works.
        """
        released = self.folder / "release" / number / lesson(number).notebook
        if not released.exists():
            raise MetaFaceError(
                f"Lesson {number} has not been released here. Release it: metaface class release {number}"
            )
        chosen, failed = self._submitted(number, students)
        files = [self.folder / "submitted" / student / number / released.name for student in chosen]
        kind, seed = sandbox.find(unsafe), self._seed()
        rounds = Rounds(self.folder)
        known = rounds.of(number)
        if again is not None and not 1 <= again <= len(known.rounds):
            raise MetaFaceError(
                f"Lesson {number} has had {len(known.rounds)} rounds, and none with the number {again}."
            )
        now = again or known.begin()
        rounds.save()  # before anything is marked: no other round may use these data by mistake
        found = mark_all(files, number, kind, f"{seed}:{number}:{known.rounds[now - 1].begun}", jobs, done)
        marks: dict[str, list[Mark]] = {}
        for student, file, result in zip(chosen, files, found, strict=True):
            with _guarded(student, failed):
                if isinstance(result, str):
                    raise MetaFaceError(result)
                self._write_gradebook(file, student, number, result)
                self._write_autograded(released, file, student, number, result)
                marks[student] = result
            if student in failed:
                self._flag_as_old(student, number)
            known.record(now, student in marks, student)
        for student in failed.keys() & known.graded.keys():
            known.record(now, False, student)
        rounds.save()
        for student, result in marks.items():
            if broken := [mark.exercise for mark in result if mark.kind == BROKEN]:
                failed[student] = (
                    f"A check itself failed, with the right answer as well: {', '.join(broken)}. Report it."
                )
        return marks, failed, now

    def feedback(self, number: str) -> tuple[list[Path], Failed]:
        """Write the feedback for each student, and put it into the exchange if there is one.

        Returns the feedback's pages, and who got none. Raises `MetaFaceError` if nobody has submitted the lesson.
        """
        rounds = Rounds(self.folder)
        known = rounds.of(number)
        exchanged = self.api.coursedir.course_id and self.api.exchange_is_functional
        students, failed = self._submitted(number)
        pages: list[Path] = []
        for student in [*students, *(failed.keys() & known.graded.keys())]:  # of the latter, marks are left, as old
            with _guarded(student, failed):
                if student not in known.graded:
                    raise MetaFaceError(f"It has not been graded. Grade it: metaface class grade {number}")
                file = self._write_feedback(number, student, known.graded[student], known.old(student))
                pages.append(file)
                if exchanged:
                    self._ask(self.api.release_feedback(number, student), "nbgrader could not release the feedback")
                marks_of = known.rounds[known.graded[student] - 1]
                marks_of.feedback = marks_of.feedback or datetime.now().date().isoformat()
        rounds.save()
        return pages, failed

    def given_out(self, number: str, round_number: int) -> str:
        """The day on which feedback of a round was first written; an empty text if none was."""
        return Rounds(self.folder).of(number).rounds[round_number - 1].feedback

    def export(self, file: Path) -> Failed:
        """Write all marks to a CSV file, with nbgrader's columns, their round and whether they are old.

        Returns which students of the gradebook could not be written. Raises `MetaFaceError` if there are no marks yet,
        or if the file cannot be written.
        """
        if not (self.folder / "gradebook.db").exists():
            raise MetaFaceError(f"There is no gradebook in {self.folder}. Grade a lesson first, or say --course PATH.")
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise MetaFaceError(f"{file} cannot be written. Name a file in a folder that exists.")
        rounds, failed = Rounds(self.folder), Failed()
        text = io.StringIO()
        table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        table.writeheader()
        with self._gradebook() as gradebook:
            for assignment in gradebook.assignments:
                known = rounds.of(assignment.name)
                for student in gradebook.students:
                    with _guarded(student.id, failed):
                        about = {"round": known.graded.get(student.id), "old": "yes" if known.old(student.id) else ""}
                        row = _row(gradebook, assignment, student) | about
                        table.writerow({name: _cell(row[name]) for name in _COLUMNS})
        paths.write_atomically(file, text.getvalue().encode())
        return failed

    def _open(self) -> None:
        """Turn the folder into a class's if it is not one yet: write its seed, and let only the instructor read it.

        Raises `MetaFaceError` if the folder is in use for something else.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / SEED
        if not file.exists():
            others = {entry.name for entry in self.folder.iterdir() if not entry.name.startswith(".")} - _OF_A_CLASS
            if others and not (self.folder / "nbgrader_config.py").exists():
                raise MetaFaceError(
                    f"{self.folder} is not a class's folder: it holds {min(others)}, for instance. Releasing closes the"
                    " folder to everybody else. Make one for the class alone: metaface class release --course PATH"
                )
            self.folder.chmod(0o700)
            file.touch(0o600, exist_ok=False)
            file.write_text(secrets.token_hex(32))
        self._seed()

    def _seed(self) -> str:
        """The secret seed of the fresh data. Raises `MetaFaceError` if it is gone, damaged or readable by others."""
        file = self.folder / SEED
        if not file.exists():
            raise MetaFaceError(
                f"{file} is gone. It holds the seed of the data that answers are marked on. Restore it, or release the"
                " lesson again to mark on other data."
            )
        if len(file.read_text().strip()) < 32:
            raise MetaFaceError(
                f"{file} is damaged. It must hold 64 random digits. Restore it, or delete it and release."
            )
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise MetaFaceError(
                f"Others may read {file}. It must be secret. Delete it, and release again to make a new one."
            )
        return file.read_text()

    @contextlib.contextmanager
    def _gradebook(self) -> Iterator[Any]:
        """The open gradebook. Raises `MetaFaceError` if it cannot be read."""
        try:
            with self.api.gradebook as gradebook:
                yield gradebook
        except Exception as error:  # of nbgrader's own library, which is not ours to name
            raise MetaFaceError(
                f"The gradebook of {self.folder} cannot be read: {clean(str(error), 200)}. Restore it, or move it away"
                " and grade again."
            ) from error

    def _write_autograded(self, released: Path, file: Path, student: str, number: str, marks: list[Mark]) -> None:
        """Write the released notebook with the submitted answers, and the checker's message under each answer."""
        from .collect import TIME, time_of

        notebook = json.loads(released.read_bytes())
        by_cell = {mark.cell: mark for mark in marks}
        for cell in notebook["cells"]:
            cell_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if cell_id in by_cell:
                mark = by_cell[cell_id]
                text = f"{mark.exercise}: {mark.points} of {mark.of} points. {mark.text}\n"
                cell["source"] = mark.source or "# There was no such cell in the submission."
                cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
        when = time_of(file.parent)
        # The exchange returns feedback to those who know the secret. Submissions without one must not stop the others.
        secret = side_file(file.parent, "submission_secret.txt")
        if len(secret) < _SECRET or not secret.isprintable():
            secret = secrets.token_hex(64)
        folder = self.folder / "autograded" / student / number
        shutil.rmtree(folder, ignore_errors=True)
        paths.write_atomically(folder / released.name, json.dumps(notebook, indent=1).encode())
        (folder / TIME).write_text(f"{when} UTC" if when else "")
        (folder / "submission_secret.txt").write_text(secret)

    def _write_gradebook(self, file: Path, student: str, number: str, marks: list[Mark]) -> None:
        import nbformat
        from nbgrader.preprocessors import AssignLatePenalties

        from .collect import time_of

        notebook = file.stem
        when = time_of(file.parent)
        with self.api.gradebook as gradebook, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not in session")  # nbgrader causes it each time
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(number, student, **({"timestamp": when} if when else {}))
            for mark in marks:
                grade = gradebook.find_grade(mark.cell, notebook, number, student)
                grade.auto_score = mark.points
                grade.needs_manual_grade = grade.manual_score is not None or mark.kind == BROKEN
                comment = gradebook.find_comment(mark.cell, notebook, number, student)
                comment.auto_comment = fenced(mark.text)
            gradebook.db.commit()
        about = {"notebook": notebook, "assignment": number, "student": student, "db_url": self.api.coursedir.db_url}
        AssignLatePenalties(parent=self.api).preprocess(nbformat.v4.new_notebook(), {"nbgrader": about})

    def _flag_as_old(self, student: str, number: str) -> None:
        """Let the formgrader flag the marks of a student who could not be graded this time."""
        with contextlib.suppress(Exception), self.api.gradebook as gradebook:  # it may have none, or be the fault
            for notebook in gradebook.find_submission(number, student).notebooks:
                for grade in notebook.grades:
                    grade.needs_manual_grade = True
            gradebook.db.commit()

    def _write_feedback(self, number: str, student: str, graded: int, failed: int) -> Path:
        """Write the page of one student: of the marks in the gradebook, with what was corrected by hand."""
        known = lesson(number)
        source = self.folder / "autograded" / student / number
        cells = json.loads((source / known.notebook).read_bytes())["cells"]
        answers = {cell["metadata"].get("nbgrader", {}).get("grade_id"): "".join(cell["source"]) for cell in cells}
        name, parts = Path(known.notebook).stem, []
        with self.api.gradebook as gradebook:
            for exercise in core.exercises(number):
                cell = known.cells[exercise.name][0]
                grade = gradebook.find_grade(cell, name, number, student)
                comment = gradebook.find_comment(cell, name, number, student)
                title = f"{exercise.name} ({exercise.title})"
                said, own = unfenced(comment.auto_comment or ""), comment.manual_comment or ""
                parts.append(Part(title, grade.score, grade.max_score, said, own, answers.get(cell, "")))
            penalty = gradebook.find_submission_notebook(name, number, student).late_submission_penalty or 0.0
        old = f"These marks are old. They are of round {graded}. In round {failed} this submission could not be graded."
        text = page(f"{name}, round {graded}", parts, penalty, f"{old} Ask your instructor." if failed else "")
        folder = self.folder / "feedback" / student / number
        file = folder / f"{name}.html"
        shutil.rmtree(folder, ignore_errors=True)
        paths.write_atomically(file, text.encode())
        file.chmod(0o664 if self.api.coursedir.groupshared else 0o644)  # the exchange hands out a copy
        for side in ("timestamp.txt", "submission_secret.txt"):
            shutil.copyfile(source / side, folder / side)
        return file

    def _ask(self, answer: dict[str, Any], what: str) -> None:
        if not answer["success"]:
            raise MetaFaceError(
                clean(f"{what}:\n{(answer.get('log') or answer.get('error') or '')[-4000:]}".rstrip(), 5000)
            )


_COLUMNS = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score", "round", "old"),
)


@contextlib.contextmanager
def _guarded(student: str, failed: Failed) -> Iterator[None]:
    """Inside, an error spoils only what is done for this student: it is kept in `failed`."""
    try:
        yield
    except MetaFaceError as error:
        failed[student] = str(error)
    except Exception as error:  # nbgrader, its gradebook and the system raise errors of any type
        failed[student] = f"{type(error).__name__}: {error}"


def _row(gradebook: Any, assignment: Any, student: Any) -> dict[str, Any]:
    """What nbgrader's own export says about one student's assignment."""
    from nbgrader.api import MissingEntry

    row = {name: getattr(student, name) for name in ("last_name", "first_name", "email")}
    row |= {"assignment": assignment.name, "duedate": assignment.duedate, "student_id": student.id}
    row |= {"timestamp": "", "raw_score": 0.0, "late_submission_penalty": 0.0, "score": 0.0}
    row["max_score"] = assignment.max_score
    with contextlib.suppress(MissingEntry):  # not submitted: no points
        found = gradebook.find_submission(assignment.name, student.id)
        penalty = found.late_submission_penalty
        row |= {"timestamp": found.timestamp, "raw_score": found.score, "late_submission_penalty": penalty}
        row["score"] = max(0.0, found.score - penalty)
    return row


def _cell(value: Any) -> Any:
    """A value for a table that a spreadsheet opens: a text that it would take for a formula gets an apostrophe."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = clean(value, 1000).replace("\n", " ").replace("\t", " ").strip()
    return f"'{text}" if text.startswith(COMMANDS) else text
