"""Where files are: the course's own, the learner's folder, the cache; how a file is written, and who may change it."""

import errno
import json
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from .errors import MetaFaceError
from .names import visible

PACKAGE = Path(__file__).resolve().parent
# In a clone, notebooks and data are beside the package. In an installation from a wheel they are in it (setup.py).
COURSE = PACKAGE / "course" if (PACKAGE / "course").is_dir() else PACKAGE.parent
NOTEBOOKS = COURSE / "notebooks"
DATA = COURSE / "data"

_OF_A_LEARNER = (".lessons.json", "progress.json", "gallery.json")


def cache_dir() -> Path:
    """The folder of files that can be made again, such as rendered faces; `METAFACE_CACHE` moves it.

    It may not exist yet.
    """
    import platformdirs  # not earlier: the doctor runs where it is missing

    return _folder("METAFACE_CACHE", lambda: Path(platformdirs.user_cache_dir("metaface")))


def _folder(variable: str, usual: Callable[[], Path]) -> Path:
    """The folder that a variable names, or the usual one.

    Raises `MetaFaceError` if it is a link to itself, or in the home directory of a user who has none.
    """
    named = os.environ.get(variable)
    try:
        folder = Path(named or usual()).expanduser()
        folder.resolve()
    except RuntimeError as error:
        what = f"{variable} is '{visible(named)}', which leads nowhere" if named else "You have no home directory"
        raise MetaFaceError(f"{what} ({error}). Set {variable} to a folder that you may write to.") from error
    return folder


def home_dir() -> Path:
    """The learner's own folder: their copy of the lessons and their progress; `METAFACE_HOME` moves it.

    Without `METAFACE_HOME` it is `~/metaface-lessons`, or `~/metaface` for those who began there.

    Raises `MetaFaceError` if the folder is a file, is a clone of the course, is in one, or has this one in it.
    """
    named = os.environ.get("METAFACE_HOME")
    folder = _folder("METAFACE_HOME", lambda: Path.home() / "metaface-lessons")
    if os.path.isfile(folder):
        raise MetaFaceError(f"Your folder {folder} is a file. Set METAFACE_HOME to a folder that you may write to.")
    if not named:
        earlier = Path.home() / "metaface"
        if not folder.exists() and not is_clone(earlier) and any((earlier / name).exists() for name in _OF_A_LEARNER):
            folder = earlier
    if where := mixed_with_clone(folder):
        usual = Path.home() / "metaface-lessons"
        advice = "Set METAFACE_HOME to a folder outside" if named else "Move the clone, or set METAFACE_HOME"
        if named and not mixed_with_clone(usual):
            advice += f', such as "{usual}", or unset it'
        raise MetaFaceError(
            f"Your folder {folder} {where}. Your lessons would mix with the sources and the solutions. {advice}."
        )
    return folder


def is_clone(folder: Path) -> bool:
    """Whether a folder is the top of a clone of the course."""
    return (folder / "pyproject.toml").is_file() and (folder / "metaface_lessons").is_dir()


def mixed_with_clone(folder: Path) -> str:
    """Why files in a folder would mix with a clone of the course, such as "is in a clone of the course, …"; else "".

    It looks at what the folders hold and not at their names: some file systems do not tell capitals apart.
    """
    for place in (folder, *folder.parents, *Path(os.path.realpath(folder)).parents):
        if is_clone(place):
            return "is a clone of the course" if place == folder else f"is in a clone of the course, {place}"
    if is_clone(COURSE) and folder.exists() and any(folder.samefile(above) for above in COURSE.parents):
        return f"has the clone of the course in it, {COURSE}"
    return ""


def sklearn_data() -> Path:
    """scikit-learn's cache of face sets; `SCIKIT_LEARN_DATA` moves it."""
    # sklearn.datasets.get_data_home would say the same, but also make the folder.
    return _folder("SCIKIT_LEARN_DATA", lambda: Path.home() / "scikit_learn_data")


def write_atomically(path: Path, data: bytes, mode: int | None = None, trial: bool = False) -> None:
    """Write a file so that a crash at any moment leaves either the old file or the new one, complete.

    path: the file. Its folder is made if needed.
    data: what to write.
    mode: who may read and write the file, such as 0o600 for its owner alone; the system's default if None.
    trial: only try whether there is the right and the room to write this, and leave the old file as it is.

    Raises `OSError` if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if mode is not None:
            part.touch(mode)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not trial:
            os.replace(part, path)
    except OSError as error:
        if error.filename in (None, str(part)):  # nobody knows that name
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------------- locks

_RETRY = 0.02  # seconds between two tries to get a lock


@contextmanager
def locked(path: Path, doing: str, advice: str, seconds: float = 10.0) -> Iterator[None]:
    """Keep a file to oneself while it is read, changed and written, or for as long as a training writes to it.

    The lock is on a file beside it, `.NAME.lock`, which stays and says who had it last. The system frees the lock when
    the process ends, however it ends. On a network share the lock holds between computers if the share has locks, as
    NFS 4 has. Where it has none, a warning says so, and the work goes on without a lock.

    path: the file, which need not exist. Its folder is made if needed.
    doing: what this process does with it, such as "training", for others who ask for the lock meanwhile.
    advice: what to do if somebody else has the lock: a sentence.
    seconds: how long to wait for the lock; 0 to ask once. 10.

    Raises `MetaFaceError`, which says who has the lock, if it is not free in that time; `OSError` if the folder cannot
    be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    with file.open("ab", buffering=0) as opened:
        deadline = time.monotonic() + seconds
        while not (own := _try_lock(opened.fileno())):
            if own is None:
                warnings.warn(
                    f"The file system of {path.parent.absolute()} has no locks. Make sure that only one program at a"
                    f" time writes {path.name}.",
                    stacklevel=3,
                )
                break
            if time.monotonic() >= deadline:
                raise MetaFaceError(f"{path} is in use: {_holder(file)}. {advice}")
            time.sleep(_RETRY)
        with suppress(OSError):  # on a full disk it is better to lock without a note than not to forget a person
            opened.truncate(0)
            since = datetime.now().astimezone().isoformat(timespec="seconds")
            note = {"doing": doing, "pid": os.getpid(), "on": socket.gethostname(), "since": since}
            opened.write(json.dumps(note).encode())
        yield


def _holder(file: Path) -> str:
    """Who has a lock, as far as its file says so."""
    try:
        own = json.loads(file.read_bytes()[:1000])
        return visible(f"{own['doing']} (process {own['pid']} on {own['on']}, since {own['since']})")
    except (OSError, ValueError, TypeError, KeyError):  # it has just been taken, or somebody else wrote into it
        return "another program holds its lock"


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool | None:
        os.lseek(file, 1 << 30, os.SEEK_SET)  # far behind the text, which others must be able to read
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    _NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

    def _try_lock(file: int) -> bool | None:
        """Whether the lock is ours now; None if the file system has no locks."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise
        return True
