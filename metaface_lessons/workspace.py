"""The learner's own folder: their copy of the lessons, kept apart from the course's, and never overwritten.

A lesson that is not there yet is copied. A lesson that the learner has not touched since is refreshed when the course
has a newer one. A lesson that they have touched stays as it is; `reset` saves it and brings the course's one back. The
glossary, to which lessons link, is treated alike. Outputs are left out of the copy: a lesson asks for a prediction
before its figure. The
file `.lessons.json` holds the checksum of each lesson as it was copied: what differs from it has been touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from . import paths
from .errors import MetaFaceError, unknown

FIRST = "00_start_here.ipynb"


def prepare() -> Path:
    """Bring the learner's folder up to date, and return it. Raises `MetaFaceError` if it cannot be written."""
    home, copied = paths.home_dir(), _copied()
    try:
        for file in (*_course().values(), *paths.NOTEBOOKS.glob("*.md")):
            theirs = home / file.name
            if not theirs.exists() or _checksum(theirs.read_bytes()) == copied.get(file.name):
                _copy(file, copied)
    except OSError as error:
        raise MetaFaceError(
            f"Your lessons cannot be copied to {home}: {error.strerror or error}."
            " Set METAFACE_HOME to a folder that you may write to."
        ) from error
    return home


def waiting() -> list[str]:
    """The lessons ("02") that the course has a newer version of, but the learner has touched: `reset` brings it."""
    home, copied = paths.home_dir(), _copied()
    return [
        number
        for number, lesson in _course().items()
        if (home / lesson.name).exists()
        and _checksum(_content(lesson)) not in (copied.get(lesson.name), _checksum((home / lesson.name).read_bytes()))
    ]


def reset(lesson: str) -> tuple[Path, Path | None]:
    """Bring one lesson ("02") back as the course has it. Returns it, and where the learner's own was saved.

    Nothing is saved, and the second is None, where there is no difference or no file. Raises `MetaFaceError` if there
    is no such lesson.
    """
    lessons = _course()
    number = lesson.split("_")[0]
    number = number.zfill(2) if number.isdigit() else number
    if number not in lessons:
        raise unknown("lesson", lesson, lessons)
    source = lessons[number]
    theirs = paths.home_dir() / source.name
    saved = _save(theirs) if theirs.exists() and theirs.read_bytes() != _content(source) else None
    return _copy(source, _copied()), saved


def lab_command(arguments: Sequence[str] = ()) -> list[str]:
    """The command that opens this Python's JupyterLab at the first lesson. Run it in the learner's folder, with
    `lab_environment`; `arguments` are handed on to JupyterLab."""
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # in a container one often is
    return [sys.executable, "-m", "jupyterlab", *root, *arguments, FIRST]


def lab_environment() -> dict[str, str]:
    """The environment variables for `lab_command`: ours, and one by which this Python is the kernel.

    Without it a kernel of the same name, which the learner once installed for their user from elsewhere, would win in
    an environment that they do not own.
    """
    return os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}


def _course() -> dict[str, Path]:
    """The built lessons by number."""
    lessons = {path.name.split("_")[0]: path for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if not lessons:
        raise MetaFaceError(f"There are no lessons in {paths.NOTEBOOKS}. Build them with `make lessons`.")
    return lessons


def _manifest() -> Path:
    return paths.home_dir() / ".lessons.json"


def _copied() -> dict[str, str]:
    """Name → checksum of what was copied. Without a readable manifest every lesson counts as touched."""
    try:
        copied = json.loads(_manifest().read_bytes())
    except (OSError, ValueError):
        return {}
    return copied if isinstance(copied, dict) else {}


def _copy(file: Path, copied: dict[str, str]) -> Path:
    theirs = paths.home_dir() / file.name
    content = _content(file)
    paths.write_atomically(theirs, content)  # before the manifest: a crash in between only makes it count as touched
    copied[file.name] = _checksum(content)
    paths.write_atomically(_manifest(), json.dumps(copied, indent=1, sort_keys=True).encode())
    return theirs


def _save(theirs: Path) -> Path:
    """Copy to `saved/`, under a name that is not taken."""
    folder = theirs.parent / "saved"
    folder.mkdir(exist_ok=True)
    stem = f"{theirs.stem}.{datetime.now():%Y-%m-%dT%H%M%S}"
    names = (f"{stem}{f'-{n}' if n > 1 else ''}{theirs.suffix}" for n in range(1, 1000))
    for name in names:
        try:
            with (folder / name).open("xb") as file:
                file.write(theirs.read_bytes())
            return folder / name
        except FileExistsError:
            continue
    raise MetaFaceError(f"{folder} holds too many copies of {theirs.name}. Remove some.")


def _content(file: Path) -> bytes:
    """A file of the course as learners get it: of a notebook, what is to be run, and not what came of it."""
    if file.suffix != ".ipynb":
        return file.read_bytes()
    notebook = json.loads(file.read_bytes())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
