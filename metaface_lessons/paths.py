"""Where files are: the course's own, the learner's folder, the cache; and how a file is written."""

import os
from pathlib import Path

import platformdirs

from .errors import refused

COURSE = Path(__file__).resolve().parent.parent
NOTEBOOKS = COURSE / "notebooks"
DATA = COURSE / "data"


def cache_dir() -> Path:
    """The folder of files that can be made again, such as rendered faces; `METAFACE_CACHE` moves it.

    It may not exist yet.
    """
    return Path(os.environ.get("METAFACE_CACHE") or platformdirs.user_cache_dir("metaface")).expanduser()


def home_dir() -> Path:
    """The learner's own folder: their copy of the lessons and their progress; `METAFACE_HOME` moves it."""
    return Path(os.environ.get("METAFACE_HOME") or Path.home() / "metaface").expanduser()


def sklearn_data() -> Path:
    """scikit-learn's cache of face sets; `SCIKIT_LEARN_DATA` moves it."""
    # sklearn.datasets.get_data_home would say the same, but also make the folder.
    return Path(os.environ.get("SCIKIT_LEARN_DATA") or Path.home() / "scikit_learn_data").expanduser()


def write_atomically(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file so that a crash at any moment leaves either the old file or the new one, complete.

    path: the file. Its folder is made if needed.
    data: what to write.
    mode: who may read and write the file, such as 0o600 for its owner alone; the system's default if None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if mode is not None:
            part.touch(mode)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def try_writing(path: Path) -> None:
    """Do what `write_atomically` does first, so that a place where nothing can be written is known before the work.

    path: the file that is to be written. It stays as it is. Its folder is made if needed.

    Raises `MetaFaceError` if the system refuses.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise refused(error) from error
