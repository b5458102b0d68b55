"""What students handed in, as files and text that nobody vouches for: which count, and how they are read and shown.

A folder in submitted/ may come from an archive, a mail or an exchange. So a link never counts, nothing that may block
is opened, nothing is read without a limit, and no text reaches a terminal, a page or a table before `clean` or `shown`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import MetaFaceError

SIDE_FILE = 1000  # bytes, of a time or a secret
NAME = 128  # characters: nbgrader's column holds no more
SHOWN = 60  # characters of a name that is shown
# A spreadsheet takes what begins so for a formula, some also in wide characters; and a shell for an option.
COMMANDS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_SPECIAL = ',;"*?[]<>|\\'  # for tables, for the patterns with which nbgrader finds files, for pages


def submissions(folder: Path, number: str) -> tuple[list[str], dict[str, str]]:
    """Who has submitted a lesson.

    folder: of the class.
    number: the lesson, such as "02".
    Returns the students in alphabetical order, and name → why this submission cannot be taken. Raises nothing for what
    a submission is.
    """
    students, refused = [], {}
    place = folder / "submitted"
    for name in sorted(os.listdir(place)) if place.is_dir() else ():
        try:
            if fault := _fault(place / name, number):
                refused[name] = fault
            elif stat.S_ISDIR(os.lstat(place / name / number).st_mode):
                students.append(name)
        except (FileNotFoundError, NotADirectoryError):  # nothing of this lesson
            continue
        except OSError as error:
            refused[name] = f"The folder cannot be read: {error.strerror}. Let yourself read it (chmod)."
    return students, refused


def _fault(entry: Path, number: str) -> str:
    """Why this folder of a student cannot be taken. Raises `OSError` if it does not exist or may not be read."""
    if not stat.S_ISDIR(os.stat(entry / number).st_mode) and not stat.S_ISLNK(os.lstat(entry / number).st_mode):
        return f"{shown(number)} in it is not a folder. Put the notebook into a folder of this name."
    if any(stat.S_ISLNK(os.lstat(path).st_mode) for path in (entry, entry / number)):
        return "It is a link, and a link never counts. Put the student's own files there."
    if fault := fault_of_name(entry.name):
        return f"The folder's name {fault}. Rename it to the student's id."
    os.listdir(entry / number)
    return ""


def fault_of_name(name: str) -> str:
    """What makes a name unfit for a student's id, in words that follow "the name"; an empty text if nothing does."""
    if not name.isprintable():
        return "has characters that cannot be printed"
    if name != name.strip():
        return "begins or ends with a blank"
    if name.startswith((*COMMANDS, ".")):
        return f"begins with {name[0]}"
    if len(name) > NAME:
        return f"has more than {NAME} characters"
    special = next((character for character in name if character in _SPECIAL), "")
    return f"contains {special}" if special else ""


def read_regular(file: Path, most: int) -> bytes:
    """The content of a submitted file.

    file: is never followed if it is a link, and never waited for if it is a pipe.
    most: its largest size in bytes.
    Raises `FileNotFoundError` if there is none, another `OSError` if it may not be read, and `MetaFaceError` if it is
    not a regular file or is too large.
    """
    if file.is_symlink():
        raise MetaFaceError(f"{shown(file.name)} is a link. Submit the file itself.")
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise MetaFaceError(f"{shown(file.name)} is not a regular file. Submit it again.")
        content = opened.read(most + 1)
    if len(content) > most:
        raise MetaFaceError(f"{shown(file.name)} has more than {most >> 20} MB. Clear its outputs and submit it again.")
    return content


def side_file(folder: Path, name: str) -> str:
    """The text of a small file that nbgrader wrote beside a notebook; empty if it is not there, or not such a text."""
    try:
        return read_regular(folder / name, SIDE_FILE).decode("ascii").strip()
    except (OSError, MetaFaceError, UnicodeDecodeError):
        return ""


def clean(text: str, most: int) -> str:
    """A text without what cannot be printed, such as control characters and lone surrogates, and cut.

    text: its lines and tabs stay.
    most: how many characters stay; a note says how many are left out.
    """
    left_out = f"\n… ({len(text) - most} more characters are left out)" if len(text) > most else ""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text[:most]) + left_out


def shown(name: str) -> str:
    """A name as one printable word for a terminal: in quotes where that matters, with escapes, and cut."""
    cut = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
    return (
        cut if cut.isprintable() and cut == cut.strip() and cut and not cut.startswith((*COMMANDS, ".")) else repr(cut)
    )
