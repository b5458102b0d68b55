"""From a submitted notebook to marks: its answer cells run in the sandbox, and are judged from outside on fresh data.

Nothing else of a notebook is looked at: neither its outputs nor its other cells, nor the order of its cells. A file
that is no notebook, and an answer cell that is missing, are worth nothing and stop nobody.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import MetaFaceError, unknown
from ..exercises import core, problems
from ..exercises.core import BROKEN, NOT_ATTEMPTED, RAISED, Exercise, Outcome
from . import visible_package
from .remote import Cell, Worker

BYTES = 20 << 20  # of a submitted notebook
_CHECK = re.compile(r"""^check\(\s*["']([^"']+)["']\s*,\s*(\w+)""", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Mark:
    """What an answer is worth. cell: the nbgrader id of its cell; text: the outcome in words, for the learner."""

    exercise: str
    cell: str
    points: int
    of: int
    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What of a lesson is needed to mark its answers.

    cells: exercise → (the nbgrader id of its answer cell, the name of the answer); setup: its import statements.
    """

    number: str
    notebook: str
    cells: Mapping[str, tuple[str, str]]
    setup: tuple[str, ...]


@functools.cache
def lesson(number: str) -> Lesson:
    """The lesson ("02"). Raises `MetaFaceError` if there is none, or if an exercise has no cell."""
    files = {file.name[:2]: file for file in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    if number not in files:
        raise unknown("lesson", number, files)
    cells, setup = {}, []
    for cell in json.loads(files[number].read_bytes())["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        if not _is_answer(cell):
            with contextlib.suppress(SyntaxError):
                setup += [ast.unparse(node) for node in ast.parse(source).body if _may_be_imported(node)]
            continue
        for exercise, name in _CHECK.findall(source):
            cells[exercise] = (cell["metadata"]["nbgrader"]["grade_id"], name)
    missing = [e.name for e in core.exercises(number) if e.name not in cells]
    if missing:
        raise MetaFaceError(f"No answer cell of lesson {number} checks {', '.join(missing)}. Build the lesson anew.")
    return Lesson(number, files[number].name, cells, tuple(setup))


def answer_cells(file: Path) -> dict[str, str]:
    """The sources of a submission's answer cells by their nbgrader ids; of two with the same, the last, as nbgrader has
    it. Raises `MetaFaceError` if it is no notebook; follows no link."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise MetaFaceError("The submission is no file.")
            content = opened.read(BYTES + 1)
        if len(content) > BYTES:
            raise MetaFaceError(f"The notebook has more than {BYTES >> 20} MB. Clear its outputs and submit it again.")
        cells = json.loads(content)["cells"]
        return {
            str(cell["metadata"]["nbgrader"]["grade_id"]): "".join(cell["source"]) for cell in cells if _is_answer(cell)
        }
    except FileNotFoundError as error:
        raise MetaFaceError(f"There is no notebook {file.name} in the submission.") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, MetaFaceError):
            raise
        raise MetaFaceError("The submitted file is no notebook (or a link). Submit it again.") from error


def mark(file: Path, number: str, kind: str, folder: Path, secret: str) -> list[Mark]:
    """The marks of one submission.

    kind: of the sandbox; folder: a stage of the lesson; secret: what the fresh data are drawn from.
    Raises `MetaFaceError` only if the sandbox does not start.
    """
    exercises, known = core.exercises(number), lesson(number)
    try:
        sources = answer_cells(file)
    except MetaFaceError as error:
        return [_mark(known, e, Outcome(e.name, RAISED, str(error))) for e in exercises]
    outcomes: list[Outcome] = []
    ran: list[Cell] = []
    with core.fresh_data(secret), _Restarting(functools.partial(_worker, kind, folder, known, sources)) as workers:
        for exercise in exercises:
            cell_id, name = known.cells[exercise.name]
            if cell_id not in sources:
                text = (
                    f"The answer cell is gone: none has the nbgrader id '{cell_id}' that it had when it was released."
                )
                outcomes.append(Outcome(exercise.name, NOT_ATTEMPTED, text))
                continue
            cell = Cell(exercise.name, sources[cell_id], name)
            outcomes.append(workers.usable(ran).judge(exercise, cell))
            if workers.usable_now:
                ran.append(cell)
    return [_mark(known, e, outcome) for e, outcome in zip(exercises, outcomes, strict=True)]


def mark_all(
    files: Sequence[Path], number: str, kind: str, secret: str, jobs: int, done: Callable[[int], None] = lambda n: None
) -> list[list[Mark]]:
    """The marks of many submissions, `jobs` at a time. done: is told how many are marked."""
    if jobs < 1:
        raise MetaFaceError(f"--jobs says how many submissions are marked at a time: at least 1, not {jobs}.")
    found = []
    context = multiprocessing.get_context("spawn")
    with visible_package.staged(number) as folder, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(_mark_alone, file, number, kind, folder, secret) for file in files]
        for count, future in enumerate(futures, 1):
            found.append(future.result())
            done(count)
    return found


def _mark_alone(file: Path, number: str, kind: str, folder: Path, secret: str) -> list[Mark]:
    """As `mark`, but what goes wrong in the checker goes wrong for one submission."""
    import torch

    torch.set_num_threads(1)
    try:
        return mark(file, number, kind, folder, secret)
    except Exception as error:
        text = f"The checker failed, which says nothing about the answers: {type(error).__name__}: {error}"
        return [_mark(lesson(number), e, Outcome(e.name, BROKEN, text)) for e in core.exercises(number)]


class _Restarting:
    """The process of a submission; a new one, with the same cells run, after it was stopped or has ended itself."""

    def __init__(self, start: Callable[[], Worker]) -> None:
        self.start = start
        self.worker: Worker | None = None

    def __enter__(self) -> _Restarting:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.worker:
            self.worker.__exit__()

    @property
    def usable_now(self) -> bool:
        return self.worker is not None and self.worker.usable

    def usable(self, cells: list[Cell]) -> Worker:
        """The process, in which `cells` have run; those that end it this time are taken from the list."""
        while self.worker is None or not self.worker.usable:
            if self.worker:
                self.worker.__exit__()
            self.worker = self.start().__enter__()
            for cell in list(cells):
                with contextlib.suppress(core.Wrong, core.TimeUp, core.AnswerError):
                    self.worker.run(cell)
                if not self.worker.usable:
                    cells.remove(cell)
                    break
        return self.worker


def _worker(kind: str, folder: Path, known: Lesson, sources: Mapping[str, str]) -> Worker:
    text = "\n".join(sources.values())
    return Worker(kind, folder, known.setup, sorted(visible_package.imported(text)), "optim" in text)


def _mark(known: Lesson, exercise: Exercise, outcome: Outcome) -> Mark:
    text = "Passed." if outcome.passed else "".join(c for c in outcome.message if c.isprintable() or c == "\n")
    if outcome.kind == RAISED and re.search(r"\b(Name|Syntax|ModuleNotFound)Error\b", text):
        text += "\n(Only the answer cells are run, as plain Python, with the lesson's own imports.)"
    points = exercise.points if outcome.passed else 0
    return Mark(exercise.name, known.cells[exercise.name][0], points, exercise.points, outcome.kind, text)


def _is_answer(cell: Any) -> bool:
    return cell["cell_type"] == "code" and cell["metadata"].get("nbgrader", {}).get("solution") is True


def _may_be_imported(node: ast.stmt) -> bool:
    match node:
        case ast.Import(names=names):
            return all(visible_package.may_import(alias.name) for alias in names)
        case ast.ImportFrom(module=str(module)):
            checks = module.startswith("metaface_lessons.exercises") and module != problems.__name__
            return visible_package.may_import(module) and not checks
    return False
