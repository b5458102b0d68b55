"""Hostile submissions: some try to get points without an answer, some try to spoil the others' marks. All fail.

Each is an answer to the first exercise of lesson 00, between right answers to the others (`attacks`). What breaks in
does so before it returns the right value, so that it gains the point exactly if it could break in.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metaface_lessons import paths
from metaface_lessons.grading import remote, sandbox, visible_package
from metaface_lessons.grading.marks import lesson, mark
from tests.grading import attacks
from tests.grading.attacks import BREAK_INS, PATCHES
from tests.grading.conftest import Lock
from tests.grading.submissions import WHOLE, cell_of

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def gained(each_lock: Lock) -> Callable[[str], dict[str, int]]:
    """The points of each exercise, by the name of a break-in."""
    found: dict[str, dict[str, int]] = {}

    def of(what: str) -> dict[str, int]:
        if what not in found:  # an ordinary user does all at once, because each of their processes imports PyTorch
            found.update(each_lock(attacks.gained, list(BREAK_INS) if each_lock.user else [what]))
        return found[what]

    return of


@pytest.mark.parametrize("what", BREAK_INS)
def test_an_answer_that(what: str, gained: Callable[[str], dict[str, int]]) -> None:
    """What needs no checker is in test_lock.py."""
    got = dict(gained(what))
    assert got.pop("start.chance") == 0
    assert sum(got.values()) == WHOLE - 1, "the other answers are right"


@pytest.mark.parametrize("what", PATCHES)
def test_a_cell_that_patches(what: str, kind: str) -> None:
    """It may spoil its own other answers, but gains nothing for the wrong one."""
    assert attacks.gained(kind, [what])[what]["start.chance"] == 0


def test_an_answer_that_changes_its_arguments_to_fit(tmp_path: Path, kind: str) -> None:
    """Only tensors that need a gradient are shared: if they are all zero, so is every prototype."""
    book = json.loads((paths.NOTEBOOKS / "solutions" / "02_prototypical_networks.ipynb").read_bytes())
    cell_id = lesson("02").cells["protonet.cosine_prototype"][0]
    cell = cell_of(book, cell_id)
    cell["source"] = f"""
import torch
{"".join(cell["source"]).replace("my_cosine_prototype", "right").split("check(")[0]}
def my_cosine_prototype(points):
    if not points.requires_grad:
        return right(points)
    points.data = torch.eye(4)[:1].expand(5, 4).clone()
    return points.sum(0) / 5
check("protonet.cosine_prototype", my_cosine_prototype)
"""
    file = tmp_path / "02_prototypical_networks.ipynb"
    file.write_text(json.dumps(book))
    with visible_package.prepared("02") as folder:
        found = {m.exercise: m for m in mark(file, "02", kind, folder, "secret")}
    cheat = found.pop("protonet.cosine_prototype")
    assert (cheat.points, cheat.text) == (0, remote.CHANGED)
    assert all(m.points == m.of for m in found.values())


def test_the_answers_as_they_are(each_lock: Lock) -> None:
    """Without an attack all points are gained: what the others lose is not lost for another reason."""
    assert sum(each_lock(attacks.gained, ["nothing"])["nothing"].values()) == WHOLE


def test_a_submission_has_a_limit_of_processor_time(each_lock: Lock) -> None:
    """It ends process 1 of a namespace too, which is deaf to other signals of its own."""
    code = "import os, time; from metaface_lessons.grading.lock import *; lock(*{lock}, 1); os.write(0, b'in')\n"
    started = time.monotonic()
    assert each_lock(attacks.said, code + "while True: pass") == "in"
    assert time.monotonic() - started < 60


def test_two_submissions_at_once_are_two_users(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([7, 7, 8])
    monkeypatch.setattr(secrets, "randbelow", lambda count: next(drawn))
    monkeypatch.setattr(sandbox, "_exists", lambda user: False)
    with sandbox._user() as one, sandbox._user() as other:
        assert other == one + 1


@pytest.mark.needs("root")
def test_a_user_of_the_machine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_FIRST_USER", 0)  # root
    drawn = iter([0, 54_321])
    monkeypatch.setattr(secrets, "randbelow", lambda count: next(drawn))
    with sandbox._user() as user:
        assert user == 54_321
