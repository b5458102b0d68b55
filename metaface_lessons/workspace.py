"""The learner's folder: their own copy of the lessons, whose changes are never overwritten.

A missing lesson is copied. A lesson that the learner has not changed is replaced when the course has a newer version. A
lesson that they have changed stays; `reset` saves it and copies the course's version again. The glossary, which lessons
link to, is treated in the same way. The copies have no outputs, because a lesson asks for a prediction before each
figure. The file `.lessons.json` holds the checksum of each copy: a lesson that differs from it has been changed.
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
    """Update the learner's folder, and return it. Raises `MetaFaceError` if it cannot be written."""
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
    """The lessons ("02") that the learner has changed, and that the course has a newer version of."""
    home, copied = paths.home_dir(), _copied()
    return [
        number
        for number, lesson in _course().items()
        if (home / lesson.name).exists()
        and _checksum(_content(lesson)) not in (copied.get(lesson.name), _checksum((home / lesson.name).read_bytes()))
    ]


def reset(lesson: str) -> tuple[Path, Path | None]:
    """Save the learner's version of a lesson, and copy the course's version again.

    lesson: its number, such as "02".
    Returns the lesson's file, and the file with the saved version; the second is None if there was nothing to save.
    Raises `MetaFaceError` if the lesson does not exist.
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
    """The command that opens JupyterLab at the first lesson. Run it in the learner's folder, with `lab_environment`.

    arguments: passed on to JupyterLab.
    """
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # as in many containers
    # The lesson is not given as a file to open: without a browser JupyterLab prints an address, which must name it too.
    return [sys.executable, "-m", "jupyterlab", *root, f"--LabApp.default_url=/lab/tree/{FIRST}", *arguments]


def lab_environment() -> dict[str, str]:
    """The environment variables for `lab_command`: ours, and one that makes this Python the kernel.

    Without it, Jupyter would prefer a kernel of the same name that the learner once installed for their user.
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
    """Name → checksum of each copy. Without a readable manifest every lesson counts as changed."""
    try:
        copied = json.loads(_manifest().read_bytes())
    except (OSError, ValueError):
        return {}
    return copied if isinstance(copied, dict) else {}


def _copy(file: Path, copied: dict[str, str]) -> Path:
    theirs = paths.home_dir() / file.name
    content = _content(file)
    paths.write_atomically(theirs, content)  # before the manifest: after a crash between them it counts as changed
    copied[file.name] = _checksum(content)
    paths.write_atomically(_manifest(), json.dumps(copied, indent=1, sort_keys=True).encode())
    return theirs


def _save(theirs: Path) -> Path:
    """Copy a file to `saved/`, under a new name."""
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
    raise MetaFaceError(f"{folder} has too many copies of {theirs.name}. Remove some.")


def _content(file: Path) -> bytes:
    """A course file as learners receive it: notebooks come without outputs."""
    if file.suffix != ".ipynb":
        return file.read_bytes()
    notebook = json.loads(file.read_bytes())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
