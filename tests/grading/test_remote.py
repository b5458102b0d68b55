"""Every right and wrong answer of every exercise, run in the sandbox and judged from outside; and the protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metaface_lessons.exercises import core
from metaface_lessons.grading import sandbox, visible_package
from metaface_lessons.grading.messages import Encoder
from metaface_lessons.grading.remote import Cell, Worker

LESSONS = sorted({e.lesson for e in core.exercises()})
KINDS = [kind for kind in (sandbox.BUBBLEWRAP, sandbox.USER) if sandbox.works(kind)] or [sandbox.NONE]

# The answers are in the modules of the lessons, as functions without a name: the module runs in the sandbox with its
# decorators replaced by some that number the answers.
COLLECT = """
answers = {}
def exercise(*args, **kwargs): return lambda f: f
def right_answer(name): return lambda a: answers.setdefault(name, []).append(a) or a
def wrong_answer(name, hint): return lambda a: answers.setdefault("not " + name, []).append(a) or a
fresh_arguments = exercise
class AnswerError(Exception): pass
class Wrong(Exception): pass
compact = describe = expect = generator = None
import torch
def generator(seed): return torch.Generator().manual_seed(seed)
"""


def collecting(lesson: str) -> str:
    lines = (Path(core.__file__).parent / f"lesson{lesson}.py").read_text(encoding="utf-8")
    lines = re.sub(r"^from __future__.*$", "", lines, flags=re.MULTILINE)
    lines = re.sub(r"^from \.core import (\([^)]*\)|.*)$", "", lines, flags=re.MULTILINE)
    return lines.replace("from ..", "from metaface_lessons.").replace("from .", "from metaface_lessons.exercises.")


@pytest.fixture(scope="module", params=[(kind, lesson) for kind in KINDS for lesson in LESSONS], ids="-".join)
def worker(request: pytest.FixtureRequest) -> Iterator[tuple[str, Worker]]:
    """A process in which all answers of a lesson wait."""
    kind, lesson = request.param
    source = collecting(lesson)
    setup = ["import copy", "import torch", "from torch.nn import functional as F"]
    with (
        visible_package.prepared(lesson) as folder,
        Worker(kind, folder, setup, sorted(visible_package.imported(source)), True) as worker,
    ):
        worker.run(Cell("collect", f"{COLLECT}\n{source}\ndef collected(): return 0", "collected"))
        yield lesson, worker


def outcomes(worker: Worker, exercise: core.Exercise, key: str, count: int) -> list[core.Outcome]:
    cells = (Cell(exercise.name, f"answer = answers[{key!r}][{i}]", "answer") for i in range(count))
    return [worker.judge(exercise, cell) for cell in cells]


@pytest.mark.parametrize("secret", [None, "one", "another"])
def test_right_answers_pass_from_afar(worker: tuple[str, Worker], secret: str | None) -> None:
    lesson, process = worker
    for exercise in core.exercises(lesson):
        with core.fresh_data(secret) if secret else pytest.MonkeyPatch.context():
            for outcome in outcomes(process, exercise, exercise.name, len(exercise.right_answers)):
                assert outcome.passed, f"{exercise.name}: {outcome.message}"


@pytest.mark.parametrize("secret", [None, "one"])
def test_wrong_answers_fail_from_afar(worker: tuple[str, Worker], secret: str | None) -> None:
    """On the learner's data with the hint written for it; on fresh data another example may be the first to fail."""
    lesson, process = worker
    for exercise in core.exercises(lesson):
        with core.fresh_data(secret) if secret else pytest.MonkeyPatch.context():
            found = outcomes(process, exercise, f"not {exercise.name}", len(exercise.wrong_answers))
        for outcome, wrong in zip(found, exercise.wrong_answers, strict=True):
            assert outcome.kind in (core.WRONG, core.RAISED), f"{exercise.name}, {wrong.hint}: {outcome}"
            assert secret or wrong.hint in outcome.message, f"{exercise.name}, {wrong.hint}: {outcome}"


@pytest.mark.parametrize("exercise", core.exercises(), ids=lambda exercise: exercise.name)
def test_every_exercise_is_marked_on_data_of_the_secret(exercise: core.Exercise) -> None:
    """Or a submission could hand over the numbers that a learner sees, without computing anything."""

    def asked(secret: str) -> set[str]:
        found = set()

        def recorded(*args: Any, **kwargs: Any) -> Any:
            encoder = Encoder(records=True)
            found.add(f"{encoder((args, kwargs))} {[bytes(part) for part in encoder.numbers]}")
            return exercise.right_answers[0](*args, **kwargs)

        with core.fresh_data(secret):
            assert core.judge(exercise, recorded).passed
        return found

    assert asked("one") - asked("another")
    assert asked("one") == asked("one")
