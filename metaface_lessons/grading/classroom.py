"""A class: releases lessons, grades submissions and writes feedback, with nbgrader.

nbgrader keeps the workflow, the gradebook, the feedback and the exchange. The marks come from `marks`. A class is a
folder of nbgrader's form: source/, release/, submitted/STUDENT/LESSON/, autograded/, feedback/, gradebook.db, and
`nbgrader_config.py` if there is one. The file `.metaface-seed` is ours, and only the instructor may read it.
autograded/ holds the released notebook with the submitted answers in it. Nothing else of a submission gets there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import MetaFaceError
from ..exercises import core
from . import sandbox
from .marks import Mark, answer_cells, lesson, mark_all

SEED = ".metaface-seed"
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

    def collect(self, number: str) -> list[str]:
        """Fetch the submissions of a lesson from nbgrader's exchange. Returns the students who have submitted.

        Raises `MetaFaceError` if the class has no exchange, or if nbgrader fails.
        """
        if not (self.api.coursedir.course_id and self.api.exchange_is_functional):
            raise MetaFaceError(
                "There is no exchange to collect from. Set CourseDirectory.course_id and Exchange.root in"
                f" nbgrader_config.py. Or put each notebook into submitted/STUDENT/{number}/ yourself."
            )
        self._ask(self.api.collect(number), "nbgrader could not collect the submissions")
        return self.students(number)

    def students(self, number: str) -> list[str]:
        """The students who have submitted a lesson, in alphabetical order."""
        return sorted(folder.parent.name for folder in self.folder.glob(f"submitted/*/{number}") if folder.is_dir())

    def _submitted(self, number: str) -> list[str]:
        """The same as `students`. Raises `MetaFaceError` if there are no students, or no such lesson."""
        lesson(number)
        students = self.students(number)
        if not students:
            raise MetaFaceError(
                f"Nobody has submitted lesson {number} in {self.folder}. Put them into submitted/STUDENT/{number}/."
            )
        return students

    def grade(
        self, number: str, jobs: int = 1, unsafe: bool = False, done: Callable[[int], None] = lambda n: None
    ) -> dict[str, list[Mark]]:
        """Mark every submission of a lesson, and write the marks into the gradebook.

        number: the lesson, such as "02".
        jobs: how many submissions are marked at a time.
        unsafe: grade without a sandbox where none works.
        done: called with the number of marked submissions after each one.
        Returns the marks by student. Raises `MetaFaceError` if the lesson was not released, if nobody has submitted it,
        or if no sandbox works.
        """
        released = self.folder / "release" / number / lesson(number).notebook
        if not released.exists():
            raise MetaFaceError(
                f"Lesson {number} has not been released here. Release it: metaface class release {number}"
            )
        students = self._submitted(number)
        files = [self.folder / "submitted" / student / number / released.name for student in students]
        secret = f"{self._seed()}:{number}"
        found = mark_all(files, number, sandbox.find(unsafe), secret, jobs, done)
        marks = dict(zip(students, found, strict=True))
        for student, file in zip(students, files, strict=True):
            self._write_autograded(released, file, student, number, marks[student])
            self._write_gradebook(file, student, number, marks[student])
        return marks

    def feedback(self, number: str) -> list[Path]:
        """Write the feedback for each student, and put it into the exchange if there is one.

        Returns the feedback's pages. Raises `MetaFaceError` if nobody has submitted the lesson, or if nbgrader fails.
        """
        for student in self._submitted(number):
            self._ask(
                self.api.generate_feedback(number, student), f"nbgrader could not write the feedback for {student}"
            )
        if self.api.coursedir.course_id and self.api.exchange_is_functional:
            self._ask(self.api.release_feedback(number), "nbgrader could not release the feedback")
        return sorted(self.folder.glob(f"feedback/*/{number}/*.html"))

    def export(self, file: Path) -> None:
        """Write all marks to a CSV file, with nbgrader's columns.

        Raises `MetaFaceError` if there are no marks yet, or if the file cannot be written.
        """
        from nbgrader.plugins import CsvExportPlugin

        if not (self.folder / "gradebook.db").exists():
            raise MetaFaceError(f"There is no gradebook in {self.folder}. Grade a lesson first, or say --course PATH.")
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise MetaFaceError(f"{file} cannot be written. Name a file in a folder that exists.")
        with self.api.gradebook as gradebook:
            plugin = CsvExportPlugin(parent=self.api)
            plugin.to = str(file)
            plugin.export(gradebook)

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

    def _write_autograded(self, released: Path, file: Path, student: str, number: str, marks: list[Mark]) -> None:
        """Write the released notebook with the submitted answers, and the checker's message under each answer."""
        notebook = json.loads(released.read_bytes())
        sources: dict[str, str] = {}
        with contextlib.suppress(MetaFaceError):
            sources = answer_cells(file)
        by_cell = {mark.cell: mark for mark in marks}
        for cell in notebook["cells"]:
            cell_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if cell_id in by_cell:
                mark = by_cell[cell_id]
                text = f"{mark.exercise}: {mark.points} of {mark.of} points. {mark.text}\n"
                cell["source"] = sources.get(cell_id, "# There was no such cell in the submission.")
                cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
        folder = self.folder / "autograded" / student / number
        shutil.rmtree(folder, ignore_errors=True)
        paths.write_atomically(folder / released.name, json.dumps(notebook, indent=1).encode())
        # The exchange returns feedback to those who know the secret. Submissions without one must not stop the others.
        for name, otherwise in (("timestamp.txt", ""), ("submission_secret.txt", secrets.token_hex(64))):
            submitted = file.parent / name
            regular = submitted.is_file() and not submitted.is_symlink()
            content = submitted.read_bytes() if regular else otherwise.encode()
            (folder / name).write_bytes(content)

    def _write_gradebook(self, file: Path, student: str, number: str, marks: list[Mark]) -> None:
        import nbformat
        from nbgrader.preprocessors import AssignLatePenalties

        notebook = file.stem
        when: Any = None
        with contextlib.suppress(ValueError, AttributeError, OSError):  # the learner's text may not be a date
            when = self.api.coursedir.get_existing_timestamp(str(file.parent))
        with self.api.gradebook as gradebook, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not in session")  # nbgrader causes it each time
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(number, student, **({"timestamp": when} if when else {}))
            for mark in marks:
                grade = gradebook.find_grade(mark.cell, notebook, number, student)
                grade.auto_score = mark.points
                grade.needs_manual_grade = grade.manual_score is not None
                comment = gradebook.find_comment(mark.cell, notebook, number, student)
                comment.auto_comment = mark.text.replace("<", "‹")
            gradebook.db.commit()
        about = {"notebook": notebook, "assignment": number, "student": student, "db_url": self.api.coursedir.db_url}
        AssignLatePenalties(parent=self.api).preprocess(nbformat.v4.new_notebook(), {"nbgrader": about})

    def _ask(self, answer: dict[str, Any], what: str) -> None:
        if not answer["success"]:
            raise MetaFaceError(f"{what}:\n{answer.get('log') or answer.get('error') or ''}".rstrip()[-4000:])
