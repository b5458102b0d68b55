"""Where files are, how one is written, and how it is locked."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metaface_lessons import paths
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.paths import locked, write_atomically


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("METAFACE_CACHE", paths.cache_dir), ("METAFACE_HOME", paths.home_dir), ("SCIKIT_LEARN_DATA", paths.sklearn_data)],
)
def test_a_variable_moves_a_folder(variable: str, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Path.home() / "elsewhere"
    monkeypatch.setenv(variable, "~/elsewhere")
    assert folder() == usual
    monkeypatch.delenv(variable)
    assert folder() != usual
    assert folder().is_absolute()


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("METAFACE_CACHE", paths.cache_dir), ("METAFACE_HOME", paths.home_dir), ("SCIKIT_LEARN_DATA", paths.sklearn_data)],
)
def test_a_folder_that_leads_nowhere_is_named(
    variable: str, folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for named in ("~nobody-of-that-name/faces", str(loop)):
        monkeypatch.setenv(variable, named)
        with pytest.raises(MetaFaceError, match=f"{variable} is '{named}', which leads nowhere .* Set {variable}"):
            folder()
    monkeypatch.delenv(variable)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as in a container that runs as a number without a name
    with pytest.raises(MetaFaceError, match=f"You have no home directory .* Set {variable}"):
        folder()


def test_a_file_is_not_the_learners_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "file"))
    with pytest.raises(MetaFaceError, match=r"is a file\. Set METAFACE_HOME"):
        paths.home_dir()


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", "")
    assert paths.sklearn_data() == Path.home() / "scikit_learn_data"


# ------------------------------------------------------------------------------- the learner's folder and the clone


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of a user who has set nothing and has cloned the course into ~/metaface, as README says."""
    home = tmp_path / "user"
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.delenv("METAFACE_HOME", raising=False)
    clone(home / "metaface")
    monkeypatch.setattr(paths, "COURSE", home / "metaface")
    return home


def clone(folder: Path) -> None:
    (folder / "metaface_lessons").mkdir(parents=True)
    (folder / "pyproject.toml").touch()


def test_a_clone_in_the_home_directory_is_not_the_learners_folder(user: Path) -> None:
    assert paths.home_dir() == user / "metaface-lessons"
    (user / "metaface" / "progress.json").touch()  # somebody began before the folders were told apart
    assert paths.home_dir() == user / "metaface-lessons"


@pytest.mark.parametrize("file", [".lessons.json", "progress.json", "gallery.json"])
def test_who_began_in_the_earlier_folder_stays_there(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("METAFACE_HOME", raising=False)
    (tmp_path / "metaface").mkdir()
    assert paths.home_dir() == tmp_path / "metaface-lessons"
    (tmp_path / "metaface" / file).touch()
    assert paths.home_dir() == tmp_path / "metaface"
    (tmp_path / "metaface-lessons").mkdir()
    assert paths.home_dir() == tmp_path / "metaface-lessons"


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("metaface", "is a clone of the course"),
        ("metaface/mine/lessons", "is in a clone of the course"),
        (".", "has the clone of the course in it"),
        ("METAFACE", "is a clone of the course"),  # as a file system shows it that does not tell capitals apart
        ("link", "is a clone of the course"),
        ("link/mine", "is in a clone of the course"),
    ],
)
def test_a_folder_that_mixes_with_a_clone_is_refused(
    folder: str, words: str, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("METAFACE", "link"):
        (user / other).symlink_to(user / "metaface")
    monkeypatch.setenv("METAFACE_HOME", str(user / folder))
    with pytest.raises(MetaFaceError, match=words) as found:
        paths.home_dir()
    assert f'such as "{user / "metaface-lessons"}"' in str(found.value)


def test_a_clone_with_the_name_of_the_usual_folder_is_refused(user: Path) -> None:
    clone(user / "metaface-lessons")
    with pytest.raises(MetaFaceError, match="Move the clone, or set METAFACE_HOME"):
        paths.home_dir()


def test_a_folder_beside_an_installation_from_a_wheel_is_not_refused(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = user / "mine" / ".venv" / "metaface_lessons" / "course"
    course.mkdir(parents=True)
    monkeypatch.setattr(paths, "COURSE", course)
    monkeypatch.setenv("METAFACE_HOME", str(user / "mine"))
    assert paths.home_dir() == user / "mine"


# ------------------------------------------------------------------------------------------------------- writing a file


def test_a_file_is_written_with_its_folder_and_then_replaced(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "file"
    for data in (b"first, and longer", b"second"):
        write_atomically(file, data)
        assert file.read_bytes() == data
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("before", [b"old", None])
def test_a_crash_leaves_what_was_there(
    moment: str, before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    if before is not None:
        file.write_bytes(before)

    def crash(*_: Any) -> None:
        assert [path.read_bytes() for path in tmp_path.iterdir() if path != file] == [b"new"], "written beside it"
        raise KeyboardInterrupt("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, moment, crash)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(file, b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if before is None else [before])


def test_who_may_read_a_file_is_decided_before_anything_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, replace, seen = tmp_path / "file", os.replace, list[int]()

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    def look(part: Path, whole: Path) -> None:
        seen.append(mode(part))
        replace(part, whole)

    monkeypatch.setattr(os, "replace", look)
    write_atomically(file, b"secret", mode=0o600)
    assert (seen, mode(file)) == ([0o600], 0o600)
    usual = tmp_path / "usual"
    usual.touch()
    write_atomically(file, b"for all")
    assert mode(file) == mode(usual)


def test_a_trial_needs_what_writing_needs_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "file"
    write_atomically(file, b"a trial", trial=True)
    assert list(file.parent.iterdir()) == []
    file.write_bytes(b"old")
    write_atomically(file, b"a trial", trial=True)
    assert file.read_bytes() == b"old"
    folder = tmp_path / "folder"
    folder.mkdir()
    for trial in (True, False):
        with pytest.raises(IsADirectoryError):
            write_atomically(folder, b"data", trial=trial)
        with pytest.raises((NotADirectoryError, FileExistsError)):
            write_atomically(file / "below", b"data", trial=trial)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, b"a trial", trial=True)
    assert [path.read_bytes() for path in file.parent.iterdir()] == [b"old"]


# --------------------------------------------------------------------------------------------------------------- locks

HOLDER = """
import sys, time
from pathlib import Path
from metaface_lessons.paths import locked
with locked(Path(sys.argv[1]), "training\\x1b[31m", ""):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path / "file"`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "file")]
    with subprocess.Popen(command, cwd=paths.COURSE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_says_who_has_it_and_is_free_when_they_are_killed(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    before = time.monotonic()
    with pytest.raises(MetaFaceError) as refused, locked(file, "other", "Wait for it.", seconds=0.1):
        pytest.fail("two have the lock")
    assert time.monotonic() - before < 5
    said = rf"{re.escape(str(file))} is in use: training\\x1b\[31m \(process {holder.pid} on .*, since 20.*\)\. Wait"
    assert re.match(said, str(refused.value))
    with locked(tmp_path / "another", "other", ""):
        pass
    holder.kill()
    holder.wait()
    with locked(file, "other", "", seconds=0):
        assert json.loads((tmp_path / ".file.lock").read_text())["pid"] == os.getpid()
    with locked(file, "other", "", seconds=0):  # again in the same process
        pass


def test_a_lock_is_free_again_after_an_error_and_holds_between_threads(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file"
    with pytest.raises(KeyboardInterrupt), locked(file, "one", ""):
        raise KeyboardInterrupt
    with (
        locked(file, "one", ""),
        pytest.raises(MetaFaceError, match="in use: one"),
        locked(file, "two", "", seconds=0),
    ):
        pytest.fail("two have the lock")
    assert not file.exists()


def test_a_share_without_locks_is_worked_on_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with (
        pytest.warns(UserWarning, match="has no locks. Make sure that only one program"),
        locked(tmp_path / "file", "", ""),
    ):
        pass
