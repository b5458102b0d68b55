"""What tests of marks share: a sandbox, and the package that a submission sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
