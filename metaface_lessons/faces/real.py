"""Faces of real people: scikit-learn's sets, and any folder with one sub-folder per person.

The data cards in `data/` say where each set comes from and what it must not be used for.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import MetaFaceError
from ..names import visible
from ..paths import cache_dir, sklearn_data
from .faceset import FaceSet
from .pictures import looks_like_picture
from .reading import Item, Reading, entries, files_below, joined, open_folder, read_items, without_doubles

# The one crop of LFW that every method of the course sees: rows and columns of the 250×250 picture, then the size.
LFW_ROWS, LFW_COLUMNS, LFW_SIZE = slice(62, 198), slice(57, 193), 48
LFW_CROP = {  # for scikit-learn's fetchers
    "slice_": (LFW_ROWS, LFW_COLUMNS),
    "resize": LFW_SIZE / (LFW_ROWS.stop - LFW_ROWS.start),
    "color": True,
}


def olivetti() -> FaceSet:
    """The Olivetti (ORL) faces: 40 people × 10 images, grey, 64×64.

    They are read from scikit-learn's cache (`SCIKIT_LEARN_DATA` moves it), and downloaded into it the first time.

    Raises `MetaFaceError` if they are not there and cannot be downloaded.
    """
    from sklearn.datasets import fetch_olivetti_faces

    bunch = fetch("olivetti", lambda data_home: fetch_olivetti_faces(data_home=data_home))
    images = torch.from_numpy((bunch.images * 255).round().astype(np.uint8))[:, None]
    return FaceSet(images, torch.from_numpy(bunch.target.astype(np.int64)), name="olivetti")


def lfw(min_images: int = 5) -> FaceSet:
    """Labeled Faces in the Wild, in one fixed crop: uint8 RGB `[M, 3, 48, 48]`.

    They are read from scikit-learn's cache (`SCIKIT_LEARN_DATA` moves it), and downloaded into it the first time.

    min_images: people with fewer images are left out.

    Raises `MetaFaceError` if they are not there and cannot be downloaded.
    """
    from sklearn.datasets import fetch_lfw_people

    bunch = fetch(
        "lfw",
        lambda data_home: fetch_lfw_people(data_home=data_home, min_faces_per_person=min_images, **LFW_CROP),
    )
    images = to_uint8(bunch.images)
    identity = torch.from_numpy(bunch.target.astype(np.int64))
    return FaceSet(images, identity, names=tuple(map(str, bunch.target_names)), name="lfw")


def to_uint8(images: np.ndarray) -> Tensor:
    """Pictures as scikit-learn has them, `[M, H, W, 3]` up to 1 or up to 255 → uint8 `[M, 3, H, W]`."""
    scaled = images * 255 if images.max() <= 1 else images
    return torch.from_numpy(scaled.round().astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


def fetch(name: str, fetcher):  # type: ignore[no-untyped-def]  # scikit-learn's Bunch has no types
    """What one of scikit-learn's fetchers finds in its cache, or downloads into it.

    name: of the faces, for messages.
    fetcher: takes the folder of the cache.

    Raises `MetaFaceError`, whatever goes wrong.
    """
    home = sklearn_data()
    try:
        try:
            return fetcher(home)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            return fetcher(_linked_home(home))
    except Exception as error:  # network, disk, checksum, unpickling: all end in the same advice
        raise MetaFaceError(
            f"The faces '{name}' are not in scikit-learn's cache ({home}) and could not be fetched"
            f" ({type(error).__name__}: {error}). With a network, run: metaface faces {name}. Without one, copy the"
            " cache from a machine that has it and set SCIKIT_LEARN_DATA to its folder, or use --faces procedural."
        ) from error


def _linked_home(home: Path) -> Path:
    """A data home that can be written, with links to the files in `home`.

    scikit-learn writes beside what it reads, and the data of a class are often where only their owner may write.
    """
    linked = cache_dir() / "scikit_learn_data"
    for file in (*home.glob("*.pkz"), *home.glob("lfw_home/lfw*"), *home.glob("lfw_home/*.txt")):
        link = linked / file.relative_to(home)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)  # a link whose target is gone
            link.symlink_to(file)
    return linked


def folder(path: str | Path, size: int = 64) -> FaceSet:
    """Your own faces: a folder with one sub-folder per person.

    Each picture is cut to its central square. `reading` of the result says what was read, and what was not and why: one
    warning says it where anything is unexpected. `data/folder.md` has the rules.

    path: the folder.
    size: to which the square is scaled: uint8 RGB `[M, 3, size, size]`.

    Raises `MetaFaceError` if the folder is missing or fewer than two people remain.
    """
    found = read_folder(path, size, lambda image: image)
    return FaceSet(found.images, found.identity, names=found.names, name=found.name, reading=found.report)


class FolderFaces(NamedTuple):
    """What a folder of pictures holds.

    images: the pictures, `[M, …]`, or what was kept of each.
    identity: who is on each, int64 `[M]`.
    names: of the people.
    name: of the face set.
    report: what was read, and what was not.
    """

    images: Tensor
    identity: Tensor
    names: tuple[str, ...]
    name: str
    report: Reading


def read_folder(path: str | Path, size: int, keep: Callable[[Tensor], Tensor]) -> FolderFaces:
    """Read a folder with one sub-folder per person, and warn of what is unexpected in it; see `folder`.

    path: the folder.
    size: of the pictures, in pixels.
    keep: what to keep of each picture, uint8 `[3, size, size]`: the picture, or where it was written.

    Raises `MetaFaceError` if the folder is missing or fewer than two people remain.
    """
    root = open_folder(path, "a folder with one sub-folder per person")
    report = Reading(root)
    loose, folders, links = entries(root, report)
    for file in loose:
        known = looks_like_picture(file)
        report.note("in no person's folder" if known else "not pictures", report.shown(file), quiet=not known)
    tops = sorted((*folders, *(link for link in links if _leads_outside(link, root, report))))
    items = _items_of(tops, size, report, keep)
    people = {
        name: [item for folder in group for item in items[folder]]
        for name, group in joined(list(items), report).items()
    }
    for name in [name for name, own in people.items() if not own]:
        report.note("people without a picture that can be read", f"'{name}'")
        del people[name]
    kept = without_doubles(people, report)
    for name in [name for name, own in kept.items() if not own]:
        report.note("people without a picture of their own", f"'{name}'")
        del kept[name]
    for name, own in kept.items():
        if len(own) == 1:
            report.note("people with a single picture, too few for support and query", f"'{name}'", quiet=True)
    report.people, report.pictures = len(kept), sum(map(len, kept.values()))
    if len(kept) < 2:
        raise MetaFaceError(_too_few(report, items))
    report.warn(stacklevel=4)
    images = [item.image for own in kept.values() for item in own]
    identity = [number for number, own in enumerate(kept.values()) for _ in own]
    name = f"folder:{visible(os.path.basename(os.path.abspath(root)))}"
    return FolderFaces(torch.stack(images), torch.tensor(identity), tuple(kept), name, report)


_PART = re.compile(
    r"(train|training|val|valid|validation|dev|test|testing|eval|evaluation|base|novel|support|query|gallery|probes?"
    r"|fold|split|part)[-_ ]?(set|data|images|faces|people)?[-_ ]?\d*",
    re.IGNORECASE,
)


def _items_of(tops: list[Path], size: int, report: Reading, keep: Callable[[Tensor], Tensor]) -> dict[Path, list[Item]]:
    """The pictures in each person's folder: one of `tops`, or, in a part of a data set, one of the folders in it."""
    read: dict[Path, list[Item]] = {}
    inside: dict[Path, list[Path]] = {}
    for top in tops:
        files, below = files_below(top, report)
        read[top] = read_items(files, size, report, keep=keep)
        inside[top] = [entry for entry in below if entry.parent == top]
    parts = _parts(read)
    _note_nested([top for top in tops if top not in parts], read, report)
    for top in parts:
        report.note(
            "opened as parts of a data set, whose people were put together",
            report.shown(top),
            "Training divides the people again. To read one part alone, name its folder.",
        )
        own = read.pop(top)
        for item in own:
            if item.file.parent == top:
                report.note("in no person's folder", report.shown(item.file))
        for entry in inside[top]:
            read[entry] = [item for item in own if entry in item.file.parents]
    return read


def _parts(read: dict[Path, list[Item]]) -> list[Path]:
    """The folders that are parts of a data set, such as train and test, and hold one folder for each person.

    A single one beside others is not opened, because Val may be a person.
    """
    found = [top for top, items in read.items() if _PART.fullmatch(top.name) and _folders_in(top, items)]
    alone = found == [top for top, items in read.items() if items]
    return found if len(found) > 1 or alone else []


def _folders_in(top: Path, items: list[Item]) -> list[str]:
    """The names of the folders in a folder that hold pictures."""
    return sorted({inner[0] for item in items if len(inner := item.file.relative_to(top).parts) > 1})


def _note_nested(tops: list[Path], read: dict[Path, list[Item]], report: Reading) -> None:
    for top in tops:
        names = _folders_in(top, read[top])
        if len(names) > 1 and not any(item.file.parent == top for item in read[top]):
            report.note(
                "read as one person each, though they hold only folders",
                f"{report.shown(top)} ({', '.join(map(visible, names[:3]))}{', …' if len(names) > 3 else ''})",
                "If the people are one level deeper, name the folder that holds them, or put them all into one.",
            )
    called = [top for top in tops if _PART.fullmatch(top.name) and read[top]]
    if len(called) > 1:
        for top in called:
            report.note(
                "read as people, though they are called like parts of a data set",
                report.shown(top),
                "Expected one folder for each person.",
            )


def _leads_outside(link: Path, root: Path, report: Reading) -> bool:
    """Whether a link to a folder leads out of the face set; one that leads back into it, or around it, is noted."""
    target, here = Path(os.path.realpath(link)), Path(os.path.realpath(root))
    if here.is_relative_to(target) or target.is_relative_to(here):
        report.note("links back into the same folder, not followed", report.shown(link))
        return False
    return True


def _too_few(report: Reading, read: dict[Path, list[Item]]) -> str:
    """What to say where fewer than two people remain."""
    said = (
        f"{visible(report.folder)} has pictures that can be read of {'one person' if report.people else 'nobody'}. A"
        " face set needs at least two people. Expected one sub-folder per person, with that person's pictures in it."
    )
    full = [top for top, items in read.items() if items]
    if len(full) == 1 and len(_folders_in(full[0], read[full[0]])) > 1:
        said += f" If the folders in {report.shown(full[0])} are the people, name it: folder:{visible(full[0])}."
    return report.below(said)
