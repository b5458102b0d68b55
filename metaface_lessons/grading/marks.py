"""Turns a submitted notebook into marks: its answer cells run in the sandbox, and are judged outside on fresh data.

Nothing else in the notebook counts: not its outputs, not its other cells, not their order. A file that is not a
notebook gets no points, and neither does a missing answer cell. Neither stops the marking of others.
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
from .worker import import_what_torch_puts_off

BYTES = 20 << 20  # of a submitted notebook
_CHECK = re.compile(r"""^check\(\s*["']([^"']+)["']\s*,\s*(\w+)""", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Mark:
    """The mark for one answer.

    exercise: its exercise's name.
    cell: the nbgrader id of its cell.
    points, of: the points that it got, and the most that it could get.
    kind: of the outcome, such as `core.PASSED`.
    text: the outcome in words, for the learner.
    """

    exercise: str
    cell: str
    points: int
    of: int
    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What the grader needs to know about a lesson.

    number: such as "02".
    notebook: the name of its file.
    cells: exercise → (the nbgrader id of its answer cell, the name of the answer).
    setup: its import statements.
    """

    number: str
    notebook: str
    cells: Mapping[str, tuple[str, str]]
    setup: tuple[str, ...]


@functools.cache
def lesson(number: str) -> Lesson:
    """The lesson of a number such as "02". Raises `MetaFaceError` if it does not exist, or an exercise has no cell."""
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
        raise MetaFaceError(f"No answer cell of lesson {number} checks {', '.join(missing)}. Build the lesson again.")
    return Lesson(number, files[number].name, cells, tuple(setup))


def answer_cells(file: Path) -> dict[str, str]:
    """The sources of a submission's answer cells by their nbgrader ids. The last of two cells with the same id counts,
    as in nbgrader. Links are not followed. Raises `MetaFaceError` if the file is not a notebook."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise MetaFaceError("The submission is not a regular file. Submit the notebook again.")
            content = opened.read(BYTES + 1)
        if len(content) > BYTES:
            raise MetaFaceError(f"The notebook has more than {BYTES >> 20} MB. Clear its outputs and submit it again.")
        cells = json.loads(content)["cells"]
        return {
            str(cell["metadata"]["nbgrader"]["grade_id"]): "".join(cell["source"]) for cell in cells if _is_answer(cell)
        }
    except FileNotFoundError as error:
        raise MetaFaceError(f"There is no notebook {file.name} in the submission. Submit it again.") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, MetaFaceError):
            raise
        raise MetaFaceError("The submitted file is not a notebook, or is a link. Submit the notebook again.") from error


def mark(file: Path, number: str, kind: str, package_folder: Path, secret: str) -> list[Mark]:
    """The marks of one submission.

    file: the submitted notebook.
    number: the lesson, such as "02".
    kind: of the sandbox, see `sandbox.find`.
    package_folder: the folder with the visible package, see `visible_package.prepared`.
    secret: the seed of the fresh data.
    Raises `MetaFaceError` only if the sandbox does not start.
    """
    exercises, known = core.exercises(number), lesson(number)
    try:
        sources = answer_cells(file)
    except MetaFaceError as error:
        return [_mark(known, e, Outcome(e.name, RAISED, str(error))) for e in exercises]
    import_what_torch_puts_off(optimisers=False)  # by a check, it would take of the answer's time
    outcomes: list[Outcome] = []
    ran: list[Cell] = []
    start = functools.partial(_worker, kind, package_folder, known, sources)
    with core.fresh_data(secret), _Restarting(start) as workers:
        for exercise in exercises:
            cell_id, name = known.cells[exercise.name]
            if cell_id not in sources:
                text = (
                    f"The answer cell is gone: no cell has its nbgrader id '{cell_id}'. Put the answer into the cell of"
                    " the released notebook."
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
    """The marks of many submissions, in the order of `files`.

    jobs: how many are marked at a time.
    done: called with the number of marked submissions after each one.
    The other parameters are those of `mark`. Raises `MetaFaceError` if `jobs` is below 1.
    """
    if jobs < 1:
        raise MetaFaceError(f"--jobs is {jobs}. It is the number of submissions marked at a time. Give 1 or more.")
    found = []
    context = multiprocessing.get_context("spawn")
    with visible_package.prepared(number) as folder, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(_mark_alone, file, number, kind, folder, secret) for file in files]
        for count, future in enumerate(futures, 1):
            found.append(future.result())
            done(count)
    return found


def _mark_alone(file: Path, number: str, kind: str, package_folder: Path, secret: str) -> list[Mark]:
    """The same as `mark`, but an error of the checker itself spoils only this submission's marks."""
    import torch

    torch.set_num_threads(1)
    try:
        return mark(file, number, kind, package_folder, secret)
    except Exception as error:
        text = f"The checker itself failed; this says nothing about the answer. {type(error).__name__}: {error}"
        return [_mark(lesson(number), e, Outcome(e.name, BROKEN, text)) for e in core.exercises(number)]


class _Restarting:
    """The process of one submission. If it was stopped or has ended itself, a new one runs the same cells again."""

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
        """The process, after `cells` have run in it. A cell that ends the process is removed from the list."""
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


def _worker(kind: str, package_folder: Path, known: Lesson, sources: Mapping[str, str]) -> Worker:
    text = "\n".join(sources.values())
    return Worker(kind, package_folder, known.setup, sorted(visible_package.imported(text)), "optim" in text)


def _mark(known: Lesson, exercise: Exercise, outcome: Outcome) -> Mark:
    text = "Passed." if outcome.passed else "".join(c for c in outcome.message if c.isprintable() or c == "\n")
    if outcome.kind == RAISED and re.search(r"\b(Name|Syntax|ModuleNotFound)Error\b", text):
        text += "\n(The checker runs only the answer cells, as plain Python, with the lesson's own imports.)"
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
