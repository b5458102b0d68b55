"""What tests of marks share: a sandbox, and the package that a submission sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metaface_lessons.grading import remote, sandbox, visible_package
from tests import others
from tests.needs import SANDBOX, need


@pytest.fixture(scope="module")
def kind() -> str:
    """For what no kind of sandbox sees."""
    need(*SANDBOX)
    return sandbox.find()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """What a submission to lesson 00 can import."""
    with visible_package.prepared("00") as folder:
        yield folder


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for longer than two seconds."""
    monkeypatch.setattr(remote, "SECONDS", 2.0)


@pytest.fixture(scope="module")
def ordinary_user() -> Iterator[others.OrdinaryUser]:
    """Runs Python code as a user without privileges, as an instructor on a server is: `ordinary_user(code)`.

    Where the tests run as root this is another user; elsewhere it is the present one.
    """
    need(*others.needs())
    yield from others.ordinary_user()


@dataclass(frozen=True)
class Lock:
    """A kind of sandbox, and who grades with it.

    kind: of the sandbox.
    user: who grades; None for the present user.
    """

    kind: str
    user: others.OrdinaryUser | None

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a helper module returns for the kind and further arguments, called by who grades.

        Arguments and result are what JSON can carry.
        """
        if self.user is None:
            return function(self.kind, *arguments)
        code = (
            f"import json, sys\nfrom {function.__module__} import {function.__name__} as function\n"
            "print(json.dumps(function(*json.loads(sys.argv[1]))))"
        )
        done = self.user(code, json.dumps([self.kind, *arguments]), timeout=900)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


LOCKS = [
    pytest.param((sandbox.BUBBLEWRAP, False), id="bubblewrap", marks=pytest.mark.needs("bubblewrap", "namespaces")),
    pytest.param((sandbox.USER, False), id="user", marks=pytest.mark.needs("root")),
    pytest.param(
        (sandbox.BUBBLEWRAP, True),
        id="bubblewrap-of-an-ordinary-user",
        marks=pytest.mark.needs("root", "bubblewrap", "namespaces for everybody"),
    ),
]


@pytest.fixture(scope="module", params=LOCKS)
def each_lock(request: pytest.FixtureRequest) -> Lock:
    """Each kind of sandbox, the first also as an instructor on a server uses it."""
    kind, ordinary = request.param
    return Lock(kind, request.getfixturevalue("ordinary_user") if ordinary else None)
