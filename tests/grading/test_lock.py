"""A locked process can do nothing of what it must not, and each of two layers says so by itself."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable

import pytest

from metaface_lessons.grading import sandbox
from tests.grading import attacks
from tests.grading.attacks import CALLS, LAYERS, STOPPED_TWICE, TRICKS
from tests.grading.conftest import Lock

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def tried(each_lock: Lock) -> Callable[[bool], dict[str, str]]:
    """The error of each call in a locked process, "done" if there is none: with the filter, and without it."""
    found: dict[bool, dict[str, str]] = {}

    def of(filtered: bool) -> dict[str, str]:
        if filtered not in found:
            found[filtered] = json.loads(each_lock(attacks.said, attacks.calls(filtered)))
        return found[filtered]

    return of


@pytest.mark.parametrize("name", CALLS)
def test_a_submission_may_not_call(name: str, tried: Callable[[bool], dict[str, str]]) -> None:
    """Without the filter the kernel goes on to look at the arguments, or does what is asked."""
    assert tried(True)[name] == "EPERM"
    if name not in attacks.PRIVILEGED and attacks.outside()[name] != "EPERM":  # a container may refuse it to all
        assert tried(False)[name] != "EPERM"


@pytest.fixture(scope="module")
def tricked(each_lock: Lock) -> dict[bool, dict[str, str]]:
    """How each trick went in a locked process: with the filter, and without it."""
    return {filtered: json.loads(each_lock(attacks.said, attacks.tricks(filtered))) for filtered in (True, False)}


NOT_TRIED = ("done", "NameError", "SyntaxError", "AttributeError", "ImportError", "TypeError")


@pytest.mark.parametrize("what", TRICKS)
def test_locked_code_that(what: str, tricked: dict[bool, dict[str, str]]) -> None:
    assert tricked[True][what] not in NOT_TRIED


@pytest.mark.parametrize("what", STOPPED_TWICE)
def test_without_the_filter_locked_code_that(what: str, tricked: dict[bool, dict[str, str]]) -> None:
    """The filter is not all that stops it."""
    assert tricked[False][what] not in NOT_TRIED


@pytest.mark.parametrize("what", LAYERS)
def test_without_the_filter_a_submission_still(what: str, each_lock: Lock) -> None:
    code = attacks.START.format(before=attacks.WITHOUT) + LAYERS[what]
    assert each_lock(attacks.said, code) == "True"


def test_before_the_lock_no_process_starts(each_lock: Lock) -> None:
    """A process that a module starts when it is imported would not be locked. Threads will be."""
    assert json.loads(each_lock(attacks.said, attacks.alone())) == ["thread", "lock", "check"]


def test_a_module_leaves_no_way_out(each_lock: Lock) -> None:
    assert each_lock(attacks.imported) == [False, errno.EBADF]


def test_bubblewrap_gives_a_submission_no_parent(each_lock: Lock) -> None:
    """Its own process 1 would be one, with the rights of whoever grades."""
    found = each_lock(attacks.said, "import os; os.write(0, repr([os.getpid(), os.getppid()]).encode())")
    assert (found == "[1, 0]") == (each_lock.kind == sandbox.BUBBLEWRAP)


def test_a_submission_inherits_no_file(each_lock: Lock) -> None:
    """An open folder would lead out of the empty one."""
    assert each_lock(attacks.inherited) == [0, 1, 2]


# What is taken away from the lock → code.
HOLES = {
    "nothing": "",
    "the filter": attacks.WITHOUT,
    "one call": "seccomp.ALLOWED['socket'] = seccomp.Call(41, 198)",
    "the limit of memory": "lock.MEMORY = 1 << 40",
    "the user": "lock.os.setresuid = lambda *ids: None",
}


@pytest.mark.parametrize("what", HOLES)
def test_a_lock_without(what: str, each_lock: Lock) -> None:
    """Whoever asks whether the process is locked hears of each hole."""
    unprivileged = each_lock.user is not None or os.geteuid() != 0  # their user stays the same anyway
    code = f"""
import os
from metaface_lessons.grading import lock, seccomp
allowed, memory = dict(seccomp.ALLOWED), lock.MEMORY
{HOLES[what]}
lock.lock(*{{lock}}, 30)
seccomp.ALLOWED, lock.MEMORY = allowed, memory
os.write(0, repr(lock.is_locked()).encode())
"""
    assert each_lock(attacks.said, code) == str(what == "nothing" or (what == "the user" and unprivileged))


def test_without_linux_an_unsafe_process_goes_on() -> None:
    """Trials of one's own answers are possible on macOS, which has no /proc."""
    code = "import builtins, os, sys; from metaface_lessons.grading.lock import *; sys.platform = 'darwin'; "
    code += "builtins.open = None; lock(*{lock}, 5); os.write(0, b'in')"
    assert attacks.said(sandbox.NONE, code) == "in"
