"""Turns a submitted notebook into marks: its answer cells run in the sandbox, and are judged outside on fresh data.

Nothing else in the notebook counts: not its outputs, not its other cells. A file that is not a notebook gets no points,
and neither does a missing answer cell. Neither stops the marking of others.

What an answer returns is the answer's fault. A check that fails with it is a fault of the course only if it fails with
the right answer on the same data as well.
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
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import MetaFaceError, unknown
from ..exercises import core, problems
from ..exercises.core import BROKEN, NOT_ATTEMPTED, RAISED, WRONG, Exercise, Outcome
from . import visible_package
from .remote import WANTED, Cell, Worker
from .submitted import clean, read_regular
from .worker import import_what_torch_puts_off

BYTES = 20 << 20  # of a submitted notebook
SECONDS = 300.0  # after this time, no further answer of a submission is run
CHECKER_SECONDS, CHECKER_MEMORY = 120, 4 << 30  # that one submission may cost the checker itself
TEXT, SOURCE = 2000, 20_000  # characters that are kept of what is said about an answer, and of the answer's cell
LINE = 500  # of a line of the cell: the formgrader colours code in a time that grows with the square of a line
_CHECK = re.compile(r"""^check\(\s*["']([^"']+)["']\s*,\s*(\w+)""", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Mark:
    """The mark for one answer.

    exercise: its exercise's name.
    cell: the nbgrader id of its cell.
    points, of: the points that it got, and the most that it could get.
    kind: of the outcome, such as `core.PASSED`.
    text: the outcome in words, for the learner.
    source: the submitted cell, printable and cut; empty if there is none.
    """

    exercise: str
    cell: str
    points: int
    of: int
    kind: str
    text: str
    source: str = ""


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


def answer_cells(file: Path) -> dict[str, list[str]]:
    """The sources of a submission's answer cells, by their nbgrader ids.

    Two cells have the same id where a learner has split or copied one: their sources are in the notebook's order. What
    is not a cell of a notebook is passed over. Links are not followed. Raises `MetaFaceError` if the file is not a
    notebook, and `OSError` if it may not be read.
    """
    try:
        cells = json.loads(read_regular(file, BYTES))["cells"]
        if not isinstance(cells, list):
            raise TypeError(cells)
    except FileNotFoundError as error:
        raise MetaFaceError(f"There is no notebook {file.name} in the submission. Submit it again.") from error
    except MetaFaceError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MetaFaceError("The submitted file is not a notebook. Submit the notebook again.") from error
    found: dict[str, list[str]] = {}
    for cell in cells:
        with contextlib.suppress(AttributeError, TypeError, KeyError):  # it has not the form of a cell
            if _is_answer(cell):
                source = "".join(cell["source"])
                found.setdefault(str(cell["metadata"]["nbgrader"]["grade_id"]), []).append(source)
    return found


def mark(file: Path, number: str, kind: str, package_folder: Path, secret: str) -> list[Mark]:
    """The marks of one submission.

    file: the submitted notebook.
    number: the lesson, such as "02".
    kind: of the sandbox, see `sandbox.find`.
    package_folder: the folder with the visible package, see `visible_package.prepared`.
    secret: the seed of the fresh data.
    Raises `MetaFaceError` only if the sandbox does not start, and `OSError` if the file may not be read.
    """
    exercises, known = core.exercises(number), lesson(number)
    try:
        sources = answer_cells(file)
    except MetaFaceError as error:
        return [_mark(known, e, Outcome(e.name, RAISED, str(error)), []) for e in exercises]
    import_what_torch_puts_off(optimisers=False)  # by a check, it would take of the answer's time
    marks: list[Mark] = []
    ran: list[Cell] = []
    deadline = time.monotonic() + SECONDS
    text = "\n".join(part for parts in sources.values() for part in parts)
    start = functools.partial(_worker, kind, package_folder, known, text)
    with core.fresh_data(secret), _Restarting(start, deadline) as workers:
        for exercise in exercises:
            cell_id, name = known.cells[exercise.name]
            parts = sources.get(cell_id, [])
            if not parts:
                outcome = Outcome(exercise.name, NOT_ATTEMPTED, _GONE.format(cell_id))
            elif time.monotonic() > deadline:
                outcome = Outcome(exercise.name, RAISED, _TOO_LONG)
            else:
                cell = Cell(exercise.name, parts[-1], name, tuple(parts[:-1]))
                outcome = _at_fault(exercise, workers.usable(ran).judge(exercise, cell))
                if workers.usable_now:
                    ran.append(cell)
            marks.append(_mark(known, exercise, outcome, parts))
    return marks


_GONE = (
    "The answer cell is gone: no cell has its nbgrader id '{}'. Put the answer into the cell of the released notebook."
)
_TOO_LONG = f"It was not run: the answers before it took {SECONDS / 60:g} minutes. Does one of them loop forever?"


def _at_fault(exercise: Exercise, outcome: Outcome) -> Outcome:
    """The outcome. Where the check failed, and does not with the right answer on the same data, the answer is wrong."""
    if outcome.kind == BROKEN and core.judge(exercise, exercise.right_answers[0]).passed:
        text = f"The check cannot compare what your answer gives: its type or its size is not what was asked. {WANTED}"
        return Outcome(exercise.name, WRONG, text)
    return outcome


def mark_all(
    files: Sequence[Path], number: str, kind: str, secret: str, jobs: int, done: Callable[[int], None] = lambda n: None
) -> list[list[Mark] | str]:
    """The marks of many submissions, in the order of `files`; in place of marks a text if there are none, and why.

    jobs: how many are marked at a time.
    done: called with the number of marked submissions after each one.
    The other parameters are those of `mark`. Raises `MetaFaceError` if `jobs` is below 1.
    """
    if jobs < 1:
        raise MetaFaceError(f"--jobs is {jobs}. It is the number of submissions marked at a time. Give 1 or more.")
    found: list[list[Mark] | str] = []
    context = multiprocessing.get_context("spawn")
    with visible_package.prepared(number) as folder, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [_begun(pool, file, number, kind, folder, secret) for file in files]
        for count, (file, future) in enumerate(zip(files, futures, strict=True), 1):
            try:
                found.append(future.result())
            except BrokenExecutor:  # a submission has ended a checker, and with it the pool; which, nobody knows
                with ProcessPoolExecutor(1, mp_context=context) as own:
                    alone = _begun(own, file, number, kind, folder, secret)
                    lost = "The checker's own process ended: it ran out of memory or time."
                    found.append(lost if isinstance(alone.exception(), BrokenExecutor) else alone.result())
            done(count)
    return found


def _begun(pool: ProcessPoolExecutor, *arguments: Any) -> Future[list[Mark] | str]:
    """The marking of a submission in a pool. A pool that is broken already says so when the result is asked for."""
    try:
        return pool.submit(_mark_alone, *arguments)
    except BrokenExecutor as error:
        future: Future[list[Mark] | str] = Future()
        future.set_exception(error)
        return future


def _mark_alone(file: Path, number: str, kind: str, package_folder: Path, secret: str) -> list[Mark] | str:
    """The same as `mark`. An error of the checker itself spoils only this submission's marks: it becomes a text."""
    import torch

    torch.set_num_threads(1)
    _limit_the_checker()
    watchdog = threading.Timer(2 * SECONDS, os._exit, (1,))  # for what neither computes nor ends
    watchdog.daemon = True
    watchdog.start()
    try:
        return mark(file, number, kind, package_folder, secret)
    except MetaFaceError as error:
        return str(error)
    except OSError as error:
        return f"The submission cannot be read: {error.strerror}."
    except Exception as error:
        return f"The checker itself failed. Please report it. {type(error).__name__}: {error}"
    finally:
        watchdog.cancel()


def _limit_the_checker() -> None:
    """Limit what this process, the checker, may spend on one more submission, whose answers may be costly to judge."""
    try:
        import resource
    except ImportError:  # Windows, where nothing is locked either
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + CHECKER_SECONDS}
    with contextlib.suppress(OSError):  # not Linux
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = size + CHECKER_MEMORY
    for limit, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # the system allows less already
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


class _Restarting:
    """The process of one submission. If it was stopped or has ended itself, a new one runs the same cells again.

    start: makes the process; its argument is whether it imports what the submission imports.
    deadline: on the monotonic clock. After it, no cell is run again.
    """

    def __init__(self, start: Callable[[bool], Worker], deadline: float) -> None:
        self.start = start
        self.deadline = deadline
        self.worker: Worker | None = None
        self.imports = True

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
                self.worker = None
            self.worker = self._started()
            for cell in list(cells):
                if time.monotonic() > self.deadline:
                    break
                with contextlib.suppress(core.Wrong, core.TimeUp, core.AnswerError):
                    self.worker.run(cell)
                if not self.worker.usable:
                    cells.remove(cell)
                    break
        return self.worker

    def _started(self) -> Worker:
        try:
            return self.start(self.imports).__enter__()
        except MetaFaceError:
            if not self.imports:
                raise
            self.imports = False  # a module that the submission imports may have ended the process
            return self.start(False).__enter__()


def _worker(kind: str, package_folder: Path, known: Lesson, text: str, imports: bool) -> Worker:
    modules = sorted(visible_package.imported(text)) if imports else []
    return Worker(kind, package_folder, known.setup, modules, "optim" in text)


def _mark(known: Lesson, exercise: Exercise, outcome: Outcome, parts: Sequence[str]) -> Mark:
    text = "Passed." if outcome.passed else clean(outcome.message, TEXT)
    if outcome.kind == RAISED and re.search(r"\b(Name|Syntax|ModuleNotFound)Error\b", text):
        text += "\n(The checker runs only the answer cells, as plain Python, with the lesson's own imports.)"
    cell_id = known.cells[exercise.name][0]
    if len(parts) > 1:
        text += (
            f"\n({len(parts)} cells have the nbgrader id '{cell_id}', as after a split or a copy. All were run, in the"
            " order of the notebook. What the last one defines counts.)"
        )
    points = exercise.points if outcome.passed else 0
    lines = clean("\n".join(parts), SOURCE).split("\n")
    source = "\n".join(line if len(line) <= LINE else f"{line[:LINE]}…" for line in lines)
    return Mark(exercise.name, cell_id, points, exercise.points, outcome.kind, text, source)


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
