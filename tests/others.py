"""Runs programs as another user of the machine, who may read the course.

On a server everyone may read it. Where tests run, it is often in root's home, which is closed to others. Then the
program gets its own view of the files: the path to the course is open, and the rest of that folder is hidden.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.needs import REPOSITORY, root

_FIRST, _COUNT = 47_000, 10_000  # user numbers that no system hands out by itself


class OrdinaryUser:
    """Runs Python as a user without privileges, who has a home and a temporary folder of their own.

    folder: the user's own; `home` and `tmp` are made in it.
    Where the tests do not run as root, it is the present user, with these folders.
    """

    def __init__(self, folder: Path) -> None:
        self.number = _FIRST + os.getpid() % _COUNT if root() else os.geteuid()
        self.home, self.tmp = folder / "home", folder / "tmp"
        for path in (folder, self.home, self.tmp):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
            if root():
                os.chown(path, self.number, self.number)
        self._views = folder / "views"

    def __call__(
        self, code: str, *arguments: str, timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code as this user, in their home, with this checkout on its path.

        code: the code.
        arguments: what `sys.argv[1:]` is.
        timeout: in seconds; after it the process is killed, and `subprocess.TimeoutExpired` raised.
        environment: variables, besides PATH, HOME, TMPDIR and what keeps the package inside the home.
        """
        command = [sys.executable, "-B", "-c", code, *arguments]
        if root():
            user = [f"--reuid={self.number}", f"--regid={self.number}", "--clear-groups"]
            command = ["setpriv", *user, *command]
            self._views.mkdir(exist_ok=True)
            command = in_the_open(command, [self.home.parent], self._views)
        own = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "METAFACE_CACHE": str(self.home / "cache"),
        }
        return subprocess.run(
            command, cwd=self.home, env=own | environment, text=True, capture_output=True, timeout=timeout
        )


def ordinary_user() -> Iterator[OrdinaryUser]:
    """An ordinary user while a generator lives; then their folder is removed."""
    folder = Path(tempfile.mkdtemp(prefix="metaface-ordinary-"))  # not pytest's: that is closed to others
    try:
        yield OrdinaryUser(folder)
    finally:
        shutil.rmtree(folder)


def needs(further: Sequence[Path] = ()) -> list[str]:
    """What `in_the_open` needs, as `tests.needs.need` takes it: mounts, where a folder is closed to others.

    further: the folders that the program needs, besides Python and the course.
    """
    return ["mounts"] if root() and _closed(further) else []


def in_the_open(command: list[str], further: Sequence[Path], folder: Path) -> list[str]:
    """The command, in a view of the files where others may reach Python, the course and further folders.

    further: the other folders that it needs.
    folder: a folder of root's, for mount points.
    """
    closed = _closed(further)
    if not closed:
        return command
    inside = [path for path in _needed(further) if any(path.is_relative_to(one) for one in closed)]
    held = [folder / f"held{i}" for i in range(len(inside))]
    steps = []
    for path, hold in zip(inside, held, strict=True):
        hold.mkdir(exist_ok=True)
        steps.append(shlex.join(["mount", "--bind", str(path), str(hold)]))
    steps += [shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(one)]) for one in closed]
    for path, hold in zip(inside, held, strict=True):
        steps.append(shlex.join(["mkdir", "-p", str(path)]))
        steps.append(shlex.join(["mount", "--bind", str(hold), str(path)]))
    return ["unshare", "--mount", "sh", "-euc", "\n".join([*steps, f"exec {shlex.join(command)}"])]


def _needed(further: Sequence[Path]) -> list[Path]:
    return sorted({Path(path).resolve() for path in (sys.prefix, sys.base_prefix, REPOSITORY, *further)})


def _closed(further: Sequence[Path]) -> list[Path]:
    """The outermost folders that are closed to other users and contain what these need."""
    ways = [list(reversed(path.parents))[1:] for path in _needed(further)]
    found = (next((folder for folder in way if not folder.stat().st_mode & 0o001), None) for way in ways)
    return sorted({folder for folder in found if folder})
