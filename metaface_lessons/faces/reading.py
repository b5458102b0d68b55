"""Reading a folder of pictures, with a report of all that a reader of the folder would not expect.

Nothing is left out, joined or doubled without a word: `Reading` is that word.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import MetaFaceError
from ..names import same_to_a_reader, visible
from .pictures import SUFFIXES, UnreadablePicture, digest_of, read_picture

_SHOWN = 5  # names that one line of a report holds
_SYSTEM = {  # what systems and programs put beside pictures; also all that begins with a dot
    *("@eadir", "@tmp", "@recycle", "@__thumb", "#recycle", "#snapshot", "$recycle.bin", "recycler", "__macosx"),
    *("system volume information", "lost+found", "thumbnails", "thumbs", "_thumbs", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "picasa.ini"),
}


@dataclass
class Reading:
    """What became of the files of a face set. `str` is the report, of a few lines.

    folder: that was read.
    pictures: how many were read.
    people: of how many people.
    findings: what was found, each with the names of the files, folders or people.
    """

    folder: Path
    pictures: int = 0
    people: int = 0
    findings: dict[Finding, list[str]] = field(default_factory=dict)

    def note(self, what: str, name: str, advice: str = "", quiet: bool = False) -> None:
        """Add a name to a finding.

        what: the finding, such as "skipped, as it is empty".
        name: the file, folder or people.
        advice: what to do, a sentence.
        quiet: whether nobody needs to be warned of it.
        """
        self.findings.setdefault(Finding(what, advice, quiet), []).append(name)

    def skip(self, file: Path, error: UnreadablePicture) -> None:
        """Add a file that could not be read.

        file: the file.
        error: why.
        """
        if error.foreign:
            self.note("not pictures", self.shown(file), quiet=True)
        else:
            self.note(f"skipped, because {error.reason}", self.shown(file), error.advice)

    def shown(self, path: Path) -> str:
        """A path as the report names it, from the folder on.

        path: below the folder.
        """
        return visible(path.relative_to(self.folder).as_posix())

    def lines(self, quiet: bool = True) -> list[str]:
        """The findings, one a line.

        quiet: with those that nobody needs to be warned of.
        """
        lines = []
        for found, names in self.findings.items():
            if quiet or not found.quiet:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                text = f"{found.what} ({len(names)}): {', '.join(names[:_SHOWN])}{more}."
                lines.append(f"{text} {found.advice}".rstrip())
        return lines

    def __str__(self) -> str:
        return self.below(self._headline())

    def below(self, headline: str) -> str:
        """The findings below a line.

        headline: the line.
        """
        return "\n  - ".join((headline, *self.lines()))

    def _headline(self) -> str:
        return f"{visible(self.folder)}: {self.pictures} pictures of {self.people} people were read."

    def warn(self, stacklevel: int = 3) -> None:
        """One warning of all that needs one, if there is anything.

        stacklevel: of `warnings.warn`, as it is for the caller.
        """
        if lines := self.lines(quiet=False):
            warnings.warn("\n  - ".join((self._headline(), *lines)), stacklevel=stacklevel + 1)


class Finding(NamedTuple):
    """A kind of thing that a report names: see `Reading.note`."""

    what: str
    advice: str
    quiet: bool


@dataclass
class Item:
    """A picture that was read.

    file: its path.
    image: uint8 `[C, size, size]`; or what `read_items` was told to keep of it.
    digest: of all its pixels, before it was cut and scaled.
    """

    file: Path
    image: Tensor
    digest: bytes


def open_folder(path: str | Path, expected: str) -> Path:
    """The folder of a face set.

    path: of the folder.
    expected: what should be in it, for messages.

    Raises `MetaFaceError` if it is missing, is a file, or may not be opened.
    """
    name = visible(path)
    try:
        root = Path(path).expanduser()
        if stat.S_ISDIR(os.stat(root).st_mode):
            os.scandir(root).close()
            return root
    except PermissionError as error:
        raise MetaFaceError(
            f"The folder {name} may not be opened (no permission). Give yourself permission: chmod u+rx."
        ) from error
    except (FileNotFoundError, NotADirectoryError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
        raise MetaFaceError(f"There is no folder {name}. Expected {expected}.") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise MetaFaceError(f"The folder {name} cannot be opened ({why}). Expected {expected}.") from error
    raise MetaFaceError(f"{name} is a file, not a folder. Expected {expected}. Unpack it if it is an archive.")


def entries(folder: Path, report: Reading) -> tuple[list[Path], list[Path], list[Path]]:
    """The files, folders and links to folders in a folder, each sorted; what is hidden or the system's is left out.

    folder: the folder.
    report: names what is left out, and what cannot be opened.
    """
    files: list[Path] = []
    folders: list[Path] = []
    links: list[Path] = []
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        why = "you may not open it" if isinstance(error, PermissionError) else f"the system says: {error.strerror}"
        report.note(f"folders left out, because {why}", report.shown(folder), "Give yourself permission: chmod u+rx.")
        return files, folders, links
    for path in (folder / name for name in names):
        problem, is_folder = "", False
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            problem = str(error.strerror)
        if path.name.startswith(".") or path.name.lower() in _SYSTEM:
            _leave_out(path, is_folder, report)
        elif problem and path.is_symlink():
            report.note("links that lead nowhere", report.shown(path))
        elif problem:
            report.note(f"left out, because the system says: {problem}", report.shown(path))
        elif not is_folder:
            files.append(path)
        else:
            (links if path.is_symlink() else folders).append(path)
    return files, folders, links


def _leave_out(path: Path, folder: bool, report: Reading) -> None:
    name = path.name.lower()
    if name.endswith(".icloud"):
        report.note("pictures that are in iCloud, not on this computer", report.shown(path), "Download them first.")
    elif folder:
        report.note("hidden and system folders left out", report.shown(path))
    else:
        picture = Path(name).suffix in SUFFIXES and not name.startswith("._")  # macOS puts ._a.jpg beside a.jpg
        report.note("hidden and system files left out", report.shown(path), quiet=not picture)


def files_below(folder: Path, report: Reading) -> tuple[list[Path], list[Path]]:
    """All files below a folder, and all folders, sorted. Links to folders are not followed.

    folder: the folder.
    report: names what is left out.
    """
    files: list[Path] = []
    folders: list[Path] = []
    waiting = [folder]
    while waiting:
        here, inner, links = entries(waiting.pop(), report)
        files += here
        folders += inner
        waiting += inner
        for link in links:
            report.note("links to folders, not followed", report.shown(link), "Put the pictures there, or copies.")
    return sorted(files), sorted(folders)


def read_items(
    files: Iterable[Path],
    size: int,
    report: Reading,
    whole: bool = False,
    grey: bool = False,
    keep: Callable[[Tensor], Tensor] = lambda image: image,
) -> list[Item]:
    """The pictures among some files, scaled.

    files: the paths.
    size: of the pictures, in pixels.
    report: names the others.
    whole: scale all of a picture, not only its central square.
    grey: keep one channel.
    keep: what to keep of a picture in its `Item`, such as the place where it was written; the picture by default.
    """
    items = []
    for file in files:
        try:
            rgb = read_picture(file)
        except UnreadablePicture as error:
            report.skip(file, error)
            continue
        image = square(rgb, size, whole)
        items.append(Item(file, keep(image[:1] if grey else image), digest_of(rgb)))
    return items


def square(rgb: Image.Image, size: int, whole: bool = False) -> Tensor:
    """A picture scaled: uint8 `[3, size, size]`.

    rgb: the picture.
    size: in pixels.
    whole: scale all of it, not only its central square.
    """
    width, height = rgb.size if whole else (min(rgb.size),) * 2
    left, top = (rgb.width - width) // 2, (rgb.height - height) // 2
    scaled = rgb.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1)


# ------------------------------------------------------------------------------------------------- names and doubles


def person_name(name: str) -> str:
    """The name of a person's folder with composed accents and single blanks.

    name: of the folder.
    """
    return visible(" ".join(unicodedata.normalize("NFC", name).split())) or visible(name)


def joined(folders: Sequence[Path], report: Reading) -> dict[str, list[Path]]:
    """The folders of each person, by the person's name, sorted. Names that are one to a reader are one person.

    folders: of people.
    report: names those that were joined.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        groups[same_to_a_reader(folder.name)].append(folder)
    people: dict[str, list[Path]] = {}
    for group in groups.values():
        spelt = sorted({folder.name for folder in group}, key=lambda name: (name != person_name(name), name))
        people[person_name(spelt[0])] = group
        if len(spelt) > 1:
            report.note(
                "read as one person, because their names differ only in case, blanks or the form of letters",
                " = ".join(f"'{report.shown(folder)}'" for folder in group),
                "Rename one if they are two people.",
            )
    near: dict[str, list[str]] = defaultdict(list)
    for name in sorted(people):
        near[_nearly(name)].append(name)
    for names in near.values():
        if len(names) > 1:
            report.note(
                "read as several people, though their names are nearly the same",
                " and ".join(f"'{name}'" for name in names),
                "If they are one person, put all in one folder.",
            )
    return dict(sorted(people.items()))


def _nearly(name: str) -> str:
    """A name without accents and punctuation, and without what systems add to the name of a copy."""
    letters = (c for c in unicodedata.normalize("NFKD", same_to_a_reader(name)) if not "\u0300" <= c <= "\u036f")
    words = re.sub(r"[^\w\s()]", " ", "".join(letters))
    return " ".join(re.sub(r"(?<=\S)\s*(\(\d+\)|\b(copy|kopie|copie|copia)\s*\d*)$", "", words.strip()).split()) or name


def without_doubles(people: dict[str, list[Item]], report: Reading) -> dict[str, list[Item]]:
    """Each picture once: a picture that is in two places could be learnt from and asked for at once.

    Twice in one person, it is kept once. If all pictures of a person are those of another, that folder is a copy: the
    person is left out. A picture that still is of several people is left out of all of them, because it cannot be said
    whose it is.

    people: the pictures of each person.
    report: names what is left out.
    """
    once: dict[str, dict[bytes, Item]] = {}
    for name, items in people.items():
        once[name] = {}
        for item in items:
            first = once[name].setdefault(item.digest, item)
            if first is not item:
                report.note(
                    "the same picture twice in one person, read once",
                    f"'{report.shown(first.file)}' = '{report.shown(item.file)}'",
                )
    owners: dict[bytes, list[str]] = defaultdict(list)
    for name, own in once.items():
        for digest in own:
            owners[digest].append(name)
    for name in sorted(once, key=lambda name: len(once[name])):
        order = list(once)
        for other in sorted({other for digest in once[name] for other in owners[digest] if other in once} - {name}):
            larger = len(once[other]) > len(once[name]) or order.index(other) < order.index(name)
            if larger and once[name].keys() <= once[other].keys():
                report.note(
                    "people left out, because all their pictures are those of another person",
                    f"'{name}' (all in '{other}')",
                    "Delete the copy, or take the pictures out of the folder of the wrong person.",
                )
                del once[name]
                break
    for digest, names in owners.items():
        left = [name for name in names if name in once]
        if len(left) > 1:
            files = [once[name].pop(digest).file for name in left]
            report.note(
                "the same picture in several people, left out of all",
                " = ".join(f"'{report.shown(file)}'" for file in files),
                "If they are one person, put all in one folder; else delete it from the wrong one.",
            )
    return {name: list(own.values()) for name, own in once.items()}
