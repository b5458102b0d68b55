"""The learner's folder: their own copy of the lessons, whose work is never lost; and the JupyterLab that opens it.

A missing lesson is copied. A lesson that the learner has only run is replaced when the course has a newer version. One
that they have worked on becomes the newer version with their answers and their own cells in it, and the file as it was
is kept in `saved/` (`merging` says how). What cannot be read as a notebook stays; `reset` saves it and copies the
course's version again.

The glossary, which lessons link to, is replaced where it is as it was copied: `.lessons.json` holds the checksums of
the copied files. The copies have no outputs, because a lesson asks for a prediction before each figure.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import MetaFaceError, unknown
from . import merging

FIRST = "00_start_here.ipynb"
JUPYTER = paths.PACKAGE / "lab" / "jupyter"  # the kernel and the settings that `lab_environment` brings


# ---------------------------------------------------------------------------------------------------- the lessons


def prepare() -> tuple[Path, list[str]]:
    """Update the learner's folder.

    Returns the folder, and what the learner should know, such as that their answers are in a newer lesson now.
    Raises `MetaFaceError` if the folder cannot be written.
    """
    home, copied, news = paths.home_dir(), _copied(), list[str]()
    try:
        _follow_new_names(home, copied)
        for file in (*_course().values(), *paths.NOTEBOOKS.glob("*.md")):
            theirs = home / file.name
            if not theirs.exists() or _checksum(theirs.read_bytes()) == copied.get(file.name):
                _copy(file, copied)
            elif file.suffix == ".ipynb":
                news += _update(file, theirs, copied)
    except OSError as error:
        raise MetaFaceError(
            f"Your lessons cannot be copied to {home}: {error.strerror or error}."
            " Set METAFACE_HOME to a folder that you may write to."
        ) from error
    if paths.is_clone(paths.COURSE) and (paths.COURSE / ".lessons.json").exists():
        news.append(
            f"Earlier versions of the course kept your work in the course's own folder, {paths.COURSE}. Move your"
            f" notebooks, progress.json, gallery.json and saved/ from its top to {home}. Then delete the"
            " .lessons.json there."
        )
    return home, news


def reset(lesson: str) -> tuple[Path, Path | None]:
    """Save the learner's version of a lesson, and copy the course's version again.

    lesson: its number, such as "02".
    Returns the lesson's file, and the file with the saved version; the second is None if there was nothing to save.
    Raises `MetaFaceError` if the lesson does not exist.
    """
    source = _lesson(lesson)
    theirs = paths.home_dir() / source.name
    saved = _save(theirs) if theirs.exists() and theirs.read_bytes() != _content(source) else None
    return _copy(source, _copied()), saved


def saved_versions(lesson: str) -> list[Path]:
    """The saved versions of a lesson, the newest first.

    lesson: its number, such as "02".
    Raises `MetaFaceError` if the lesson does not exist.
    """
    number = _lesson(lesson).name.split("_")[0]
    files = (paths.home_dir() / "saved").glob(f"{number}_*.*.ipynb")
    # By the second, and by number within one: 02_….2026-11-27T184048-2.ipynb
    return sorted(files, key=lambda file: (file.name.split(".")[1][:17], len(file.name), file.name), reverse=True)


def restore(lesson: str, name: str = "") -> tuple[Path, Path | None]:
    """Save the learner's version of a lesson, and bring back one that was saved before.

    lesson: its number, such as "02".
    name: the file in `saved/`; the newest by default.
    Returns the lesson's file, and the file with the version saved now; the second is None if there was nothing to save.
    Raises `MetaFaceError` if there is no such lesson or no such file.
    """
    source, versions = _lesson(lesson), {file.name: file for file in reversed(saved_versions(lesson))}
    if not versions:
        raise MetaFaceError(f"Nothing of lesson {lesson} is saved in {paths.home_dir() / 'saved'}.")
    chosen = Path(name).name or list(versions)[-1]
    if chosen not in versions:
        raise unknown("saved version", chosen, versions)
    content = versions[chosen].read_bytes()
    theirs = paths.home_dir() / source.name
    nothing = not theirs.exists() or theirs.read_bytes() in (content, _content(source))
    saved = None if nothing else _save(theirs)
    paths.write_atomically(theirs, content)
    return theirs, saved


def worked_on_last() -> str:
    """The file of the lesson that the learner has worked on last; the first lesson if there is none."""
    home, copied = paths.home_dir(), _copied()
    theirs = [home / file.name for file in _course().values()]
    changed = [file for file in theirs if file.exists() and _checksum(file.read_bytes()) != copied.get(file.name)]
    return max(changed, key=lambda file: file.stat().st_mtime, default=home / FIRST).name


# ------------------------------------------------------------------------------------------------- JupyterLab


def lab_command(arguments: Sequence[str] = (), lesson: str = FIRST) -> list[str]:
    """The command that opens JupyterLab at a lesson. Run it in the learner's folder, with `lab_environment`.

    arguments: passed on to JupyterLab.
    lesson: the file to open.
    """
    from jupyter_core.paths import jupyter_config_dir  # not earlier: the doctor runs where it is missing

    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # as in many containers
    terminal = [f"--ServerApp.terminado_settings={ {'shell_command': shell} }"] if (shell := _shell()) else []
    quiet = [f"--{app}.log_level=ERROR" for app in ("ServerApp", "LabApp", "TerminalsExtensionApp")]
    # jupyter/custom/custom.css, or the learner's own; the folders can only be set this way.
    styles = {"static_custom_path": [str(Path(folder) / "custom") for folder in (jupyter_config_dir(), JUPYTER)]}
    looks = ["--LabApp.custom_css=True", f"--ServerApp.tornado_settings={styles}"]
    # The lesson is not given as a file to open: without a browser JupyterLab prints an address, which must name it too.
    opened = f"--LabApp.default_url=/lab/tree/{lesson}"
    return [sys.executable, "-m", "jupyterlab", *root, *terminal, *quiet, *looks, opened, *arguments]


def lab_environment() -> dict[str, str]:
    """The environment variables for `lab_command`.

    With them, JupyterLab finds the course's kernel and settings first (in the folder `jupyter` beside this file), and
    its terminals and cells find `python` and `metaface` of the course. The learner's own settings still win.
    """
    programs = (Path(sys.executable).parent, sysconfig.get_path("scripts"))
    ours = {
        "PATH": programs,
        "JUPYTER_PATH": (JUPYTER,),
        "JUPYTER_CONFIG_PATH": (JUPYTER,),
    }
    first = {
        name: os.pathsep.join([*map(str, dict.fromkeys(map(Path, folders))), *filter(None, [os.environ.get(name)])])
        for name, folders in ours.items()
    }
    again = {"METAFACE_PROGRAMS": os.pathsep.join(map(str, programs))}  # for jupyter/bashrc
    return os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"} | first | again


def _shell() -> list[str]:
    """The shell of JupyterLab's terminals, if it is not Jupyter's own choice.

    A shell that is named is not made a login shell, which would set the PATH of `lab_environment` back.
    """
    shell = os.environ.get("SHELL") or shutil.which("sh")
    if os.name == "nt" or not shell:
        return []
    return [shell, "--rcfile", str(JUPYTER / "bashrc")] if Path(shell).name == "bash" else [shell]


def running(folder: Path) -> str | None:
    """The address of a Jupyter server that answers and shows this folder, or None."""
    from jupyter_server.serverapp import list_running_servers

    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not lead to this machine
    for server in list_running_servers():
        with contextlib.suppress(OSError):  # it has ended without a word, and another process has its number now
            if folder.samefile(server["root_dir"]):
                browser.open(f"{server['url']}api", timeout=5).close()
                return f"{server['url']}lab" + (f"?token={server['token']}" if server["token"] else "")
    return None


def lab(folder: Path, arguments: Sequence[str], news: Sequence[str]) -> int:
    """Start JupyterLab, print the news when its own lines are out, and return its exit code when it ends.

    folder: the learner's.
    arguments: passed on to JupyterLab.
    news: lines for the learner.
    """
    command = lab_command(arguments, worked_on_last())
    # Ctrl-C is JupyterLab's: it asks whether to stop. We end when it does.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with subprocess.Popen(command, cwd=folder, env=lab_environment()) as server:
            patience = time.monotonic() + 60
            while server.poll() is None and time.monotonic() < patience and not running(folder):
                time.sleep(0.2)
            if server.returncode is None:
                print("\n".join(["", *news]), flush=True)
            return server.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def found_by() -> str:
    """What to type in a shell, so that it finds the command `metaface` of this course."""
    here = Path(sys.executable).parent
    if os.name == "nt":
        return f'"{here / "activate"}"'
    activate = here / "activate"
    return f". {shlex.quote(str(activate))}" if activate.exists() else f"PATH={shlex.quote(str(here))}:$PATH"


# ------------------------------------------------------------------------------------- the course's files, the copies


def _follow_new_names(home: Path, copied: dict[str, str]) -> None:
    """Give the learner's copy of a lesson the name that the course gives it now: its number says which it is."""
    names = {number: file.name for number, file in _course().items()}
    for earlier in [name for name in copied if name not in names.values() and (home / name).exists()]:
        name = names.get(earlier.split("_")[0])
        if name and not (home / name).exists():
            (home / earlier).rename(home / name)
            copied[name] = copied.pop(earlier)


def _update(file: Path, theirs: Path, copied: dict[str, str]) -> list[str]:
    """Bring a lesson that is not as it was copied to the course's version. Returns what the learner should know.

    file: the course's.
    theirs: the learner's.
    """
    number = file.name.split("_")[0]
    by_hand = f"`metaface reset {number}` keeps yours in saved/ and brings the course's."
    new = json.loads(_content(file))
    try:
        result = merging.merge(json.loads(theirs.read_bytes()), new)
    except ValueError:
        return [f"{theirs.name} cannot be read as a notebook. It stays as it is. {by_hand}"]
    if result is merging.SAME:
        return []
    if result is merging.UNKNOWN:
        return [f"Your lesson {number} is not the course's, and does not say what it was made from. {by_hand}"]
    if result is merging.ONLY_RUN:
        _copy(file, copied)
        return []
    saved, moment = _save(theirs), theirs.stat()
    _write(theirs, _as_bytes(new))
    os.utime(theirs, ns=(moment.st_atime_ns, moment.st_mtime_ns))  # it was not now that the learner worked on it
    _note(file.name, _content(file), copied)
    taken = " and ".join(f"{n} {thing}{'s' * (n > 1)}" for n, thing in result.taken if n)
    lines = [f"Lesson {number} is the course's newer version now" + (f", with {taken} of yours." if taken else ".")]
    if result.left:
        lines.append(f"  The course has changed or removed these, so yours are not in it: {'; '.join(result.left)}.")
    return [*lines, f"  Yours as it was: {saved}"]


def _lesson(name: str) -> Path:
    """The course's file of a lesson, by its number or the name of its file."""
    lessons = _course()
    number = name.split("_")[0]
    number = number.zfill(2) if number.isdigit() else number
    if number not in lessons:
        raise unknown("lesson", name, lessons)
    return lessons[number]


def _course() -> dict[str, Path]:
    """The built lessons by number."""
    lessons = {path.name.split("_")[0]: path for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if not lessons:
        advice = "Build them with `make lessons`." if paths.is_clone(paths.COURSE) else "Install the course again."
        raise MetaFaceError(f"There are no lessons in {paths.NOTEBOOKS}. {advice}")
    return lessons


def _manifest() -> Path:
    return paths.home_dir() / ".lessons.json"


def _copied() -> dict[str, str]:
    """Name → checksum of each copy."""
    try:
        copied = json.loads(_manifest().read_bytes())
    except (OSError, ValueError):
        return {}
    return copied if isinstance(copied, dict) else {}


def _copy(file: Path, copied: dict[str, str]) -> Path:
    """Write the learner's copy of a file of the course, unless it is there already."""
    theirs = paths.home_dir() / file.name
    content = _content(file)
    if not theirs.exists() or theirs.read_bytes() != content:
        _write(theirs, content)  # before the manifest: after a crash between them it counts as changed
    _note(file.name, content, copied)
    return theirs


def _note(name: str, content: bytes, copied: dict[str, str]) -> None:
    """Write into the manifest what a file was copied from."""
    if copied.get(name) != _checksum(content):
        copied[name] = _checksum(content)
        paths.write_atomically(_manifest(), json.dumps(copied, indent=1, sort_keys=True).encode())


def _write(theirs: Path, content: bytes) -> None:
    """Write a file of the learner. A notebook is signed, or Jupyter would warn that nobody trusts it."""
    paths.write_atomically(theirs, content)
    if theirs.suffix == ".ipynb":
        import nbformat
        from nbformat.sign import NotebookNotary

        with contextlib.suppress(OSError, sqlite3.Error):  # the signatures are in a folder of Jupyter
            NotebookNotary().sign(nbformat.reads(content.decode(), as_version=4))


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
    """A course file as learners receive it: notebooks have no outputs, and say what they were made from."""
    if file.suffix != ".ipynb":
        return file.read_bytes()
    notebook = json.loads(file.read_bytes())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    language = {  # as the kernel fills it in, or a lesson that was only opened would count as unsaved
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": platform.python_version(),
    }
    notebook["metadata"] |= {"language_info": language} | merging.origin(notebook)
    return _as_bytes(notebook)


def _as_bytes(notebook: dict[str, Any]) -> bytes:
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
