"""A face set on disk: only those pictures are in memory that are needed now.

    map_faces(faces, "many.faces")                # or map_folder("photos", "many.faces"): piece by piece
    faces = load_faces("mapped:many.faces")       # a FaceSet; an episode reads its own pictures

The file is one line that says what it is, and a header of JSON; the pictures, one after the other, from byte 4096 on;
and a table at the end with who is on each, its conditions and its checksum. It is mapped into memory: the system reads
a page of it when a picture on that page is asked for, and may forget it again. Several processes share these pages.

What is checked: header and table by SHA-256 when the file is opened, which reads about 20 bytes for each picture, and
each picture by its CRC-32 when it is read. So no changed byte is ever used. A check of all pictures reads the whole
file, and is made on request (`check`). Checksums find accidents, not somebody who changes both.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..bars import Bar
from ..errors import MetaFaceError, refused
from ..names import visible
from .faceset import FaceSet

MAGIC, FORMAT = b"METAFACE-MAPPED\n", 1
START = 4096  # the first byte of the first picture: the header has this much room, and pages begin here
PIECE = 2**24  # bytes of pictures that are in memory at once while a file is made, copied or checked
FORGET = 2**26  # bytes of the file that seem to be in memory before the system hears that they are not needed
AROUND = 2**16  # bytes that Linux maps for each one that is asked for, if it has them in its cache


class OnDisk(MetaFaceError, AttributeError):
    """Something was asked of all pictures of a mapped set at once."""


class MappedImages:
    """The images of a mapped face set, uint8 `[M, C, H, W]`: indexing them gives a tensor of those that are asked for.

    file: that holds them.
    rows: which of its pictures these images are, int64 `[M]`.
    device: where the images that are asked for go.
    """

    def __init__(self, file: MappedFile, rows: Tensor, device: torch.device | str = "cpu") -> None:
        self.file, self._rows, self.device = file, rows, torch.device(device)
        self.shape = torch.Size((len(rows), *file.pictures.shape[1:]))
        self.dtype, self.ndim = torch.uint8, 4

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: Any) -> Tensor:
        """Some of the images: numbers of images, of any shape, a mask `[M]`, a slice, or one number."""
        which = which.cpu() if isinstance(which, Tensor) else which
        rows = self._rows[which]
        return self.file.read(rows.reshape(-1)).view(*rows.shape, *self.shape[1:]).to(self.device)

    def of_rows(self, which: Tensor) -> MappedImages:
        """Some of the images, without reading them.

        which: bool mask `[M]`, or int64 numbers of images.
        """
        return MappedImages(self.file, self._rows[which.cpu()], self.device)

    def to(self, device: torch.device | str) -> MappedImages:
        """The same images, which go to another device when they are asked for."""
        return MappedImages(self.file, self._rows, device)

    def split(self, number: int) -> Iterator[Tensor]:
        """All images, some at a time.

        number: how many at a time.
        """
        for first in range(0, len(self), number):
            yield self[first : first + number]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.file.path, self._rows, self.device)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # Python's own questions, such as how to copy
            raise AttributeError(name)
        size = len(self) * self.shape[1:].numel() / 2**20
        raise OnDisk(
            f"The {len(self)} pictures are in the file {self.file.path}, and '{name}' needs all of them in memory."
            f" Index those that you need, or read all: faces.in_memory(), which takes {size:,.0f} MB."
        )


def _reopened(path: Path, rows: Tensor, device: torch.device) -> MappedImages:
    return MappedImages(MappedFile.open(path), rows, device)


class Table(NamedTuple):
    """What a file says of its pictures.

    identity: int64 `[L]`; −1 for a picture that does not count, as it was found out to be a double.
    checksum: CRC-32 of each picture, int64 `[L]`.
    conditions: see `FaceSet`.
    names: see `FaceSet`.
    """

    identity: Tensor
    checksum: Tensor
    conditions: dict[str, Tensor]
    names: tuple[str, ...]


class MappedFile:
    """An open file of pictures.

    path: the file.
    pictures: uint8 `[L, C, H, W]`, mapped.
    checksum: CRC-32 of each, int64 `[L]`.
    """

    def __init__(self, path: Path, memory: mmap.mmap, shape: tuple[int, int, int, int], checksum: Tensor) -> None:
        self.path, self._memory, self.checksum = path, memory, checksum
        count = int(np.prod(shape))
        self.pictures = torch.frombuffer(memory, dtype=torch.uint8, offset=START, count=count).view(shape)
        self._since = 0  # bytes read since the last time that pages were given back

    @staticmethod
    def open(path: Path) -> MappedFile:
        """The file, after its header and table were checked. Raises `MetaFaceError` as `mapped_faces` does."""
        return _open(path)[0]

    def read(self, rows: Tensor) -> Tensor:
        """Copy some pictures, `[B]` → uint8 `[B, C, H, W]`.

        Raises `MetaFaceError` if one of them is not what was written.
        """
        found = self.pictures[rows]
        self._compare(found, rows)
        self._since += len(rows) * max(AROUND, self.pictures[0].numel())
        if self._since > FORGET and hasattr(mmap, "MADV_DONTNEED"):  # else the process seems to hold all that it read
            self._memory.madvise(mmap.MADV_DONTNEED)
            self._since = 0
        return found

    def _compare(self, pictures: Tensor, rows: Tensor) -> None:
        right = self.checksum[rows].tolist()
        for row, picture, checksum in zip(rows.tolist(), pictures.numpy(), right, strict=True):
            if zlib.crc32(picture) != checksum:
                raise MetaFaceError(
                    f"Picture {row} in {self.path} is damaged: its checksum is not the one that was written. Put a copy"
                    " of the file back, or make it again: metaface faces SET --map FILE."
                )

    def check(self, progress: bool = True) -> None:
        """Read all pictures, and compare each with its checksum.

        progress: whether to show a bar. True.

        Raises `MetaFaceError` for the first one that is damaged.
        """
        rows = torch.arange(len(self.pictures)).split(max(1, PIECE // max(1, self.pictures[0].numel())))
        for part in Bar(rows, "check", "piece", shown=progress):
            self.read(part)


def mapped_faces(path: str | Path, check: bool = False) -> FaceSet:
    """A face set in a file that `map_faces` or `map_folder` made. Its pictures are read when they are asked for.

    path: the file.
    check: whether to read and check all pictures now. False: each is checked when it is read.

    Raises `MetaFaceError` if there is no such file, or if it is a folder, another kind of file, of another version, cut
    short or damaged.
    """
    file, header, table = _open(Path(path).expanduser())
    if check:
        file.check()
    rows = (table.identity >= 0).nonzero().flatten()
    images = MappedImages(file, rows)
    conditions = {name: values[rows] for name, values in table.conditions.items()}
    levels = {name: tuple(words) for name, words in header["levels"].items()}
    return FaceSet(
        cast(Tensor, images), table.identity[rows], conditions, levels, table.names, header["name"], header["synthetic"]
    )


def _open(path: Path) -> tuple[MappedFile, dict[str, Any], Table]:
    again = "Put a copy back, or make it again: metaface faces SET --map FILE."
    shown = visible(path)
    try:
        if path.is_dir():
            raise MetaFaceError(
                f"{shown} is a folder, not a mapped face set. Name a file that was made by metaface faces SET --map"
                f" FILE. A folder of pictures is folder:{shown}."
            )
        with path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            start = opened.read(START)
            if not start.startswith(MAGIC):
                raise MetaFaceError(
                    f"{shown} is not a mapped face set: it does not begin like one. Name a file that was made by"
                    " metaface faces SET --map FILE."
                )
            if size < START:
                raise MetaFaceError(f"{shown} is cut short: it ends in its header. {again}")
            header = _header(start[len(MAGIC) :], shown, again)
            if size != header["size"]:
                raise MetaFaceError(f"{shown} has {size:,} bytes, but should have {header['size']:,}. {again}")
            opened.seek(header["table"])
            content = opened.read()
            memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)  # what is written into it stays in memory
    except FileNotFoundError as error:
        raise MetaFaceError(
            f"There is no file {shown}. Make it: metaface faces SET --map {shown}, for example of folder:PATH."
        ) from error
    except OSError as error:
        raise refused(error, "The mapped face set cannot be read") from error
    if hashlib.sha256(content).hexdigest() != header["sha256"]:
        raise MetaFaceError(f"The table in {shown} is damaged: its checksum is not the one that was written. {again}")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        conditions = {name: torch.from_numpy(arrays[f"condition-{name}"]) for name in header["conditions"]}
        names = tuple(json.loads(arrays["names"].tobytes()))
        table = Table(
            torch.from_numpy(arrays["identity"]),
            torch.from_numpy(arrays["checksum"].astype(np.int64)),
            conditions,
            names,
        )
    if hasattr(mmap, "MADV_RANDOM"):
        memory.madvise(mmap.MADV_RANDOM)  # an episode's pictures are all over the file
    return MappedFile(path, memory, tuple(header["shape"]), table.checksum), header, table


def _header(text: bytes, shown: str, again: str) -> dict[str, Any]:
    """What the header says. Raises `MetaFaceError` if it is damaged or of another version."""
    line, _, digest = text.rstrip(b" \n").rpartition(b"\n")
    try:
        header = json.loads(line)
        form = header["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise MetaFaceError(f"The header of {shown} is damaged. {again}") from error
    if form != FORMAT:
        raise MetaFaceError(
            f"{shown} was written by another version of the course (format {form!r}; this one reads {FORMAT}). Update"
            " the course, or make the file again: metaface faces SET --map FILE."
        )
    if hashlib.sha256(line).hexdigest().encode() != digest:
        raise MetaFaceError(f"The header of {shown} is damaged: its checksum is not the one that was written. {again}")
    return cast(dict[str, Any], header)


# ------------------------------------------------------------------------------------------------------ making a file


class Piece(NamedTuple):
    """Some of the images of a face set, and what is known of them; see `FaceSet`."""

    images: Tensor
    identity: Tensor
    conditions: Mapping[str, Tensor] = {}


def pieces(faces: FaceSet) -> Iterator[Piece]:
    """A face set in pieces of a few megabytes.

    faces: which may be mapped itself.
    """
    number = max(1, PIECE // max(1, torch.Size(faces.shape).numel()))
    for first in range(0, len(faces), number):
        some = slice(first, first + number)
        conditions = {name: values[some].cpu() for name, values in faces.conditions.items()}
        yield Piece(faces.images[some].cpu(), faces.identity[some].cpu(), conditions)


def map_faces(faces: FaceSet, path: str | Path, progress: bool = True) -> Path:
    """Write a face set into a file for `mapped_faces`, whole or not at all. Returns the file.

    faces: any face set.
    path: the file.
    progress: whether to show a bar. True.

    Raises `MetaFaceError` if it cannot be written.
    """
    about: dict[str, Any] = {
        "levels": faces.levels,
        "names": faces.names,
        "name": faces.name,
        "synthetic": faces.synthetic,
    }
    return map_pieces(Bar(pieces(faces), "map", "piece", shown=progress), path, **about)


def map_pieces(
    parts: Iterable[Piece],
    path: str | Path,
    *,
    levels: Mapping[str, Any] | None = None,
    names: Iterable[str] = (),
    name: str = "faces",
    synthetic: bool = False,
) -> Path:
    """Write a face set that comes in pieces, such as from a generator, into a file, whole or not at all.

    Memory holds one piece, and about 20 bytes for each picture. All pieces have images of one size and the same
    conditions. A person may be in several pieces, by the same number.

    parts: the pieces.
    path: the file.
    levels, names, name, synthetic: see `FaceSet`.

    Returns the file.

    Raises `MetaFaceError` if there are no pieces, if they do not fit together, or if the file cannot be written.
    """
    with writing(Path(path)) as writer:
        identity, conditions = [], list[Mapping[str, Tensor]]()
        for part in parts:
            if conditions and part.conditions.keys() != conditions[0].keys():
                raise MetaFaceError(
                    f"The pieces of '{name}' have the conditions {list(conditions[0])} and {list(part.conditions)}."
                    " Give all of them the same ones."
                )
            if part.identity.shape != (len(part.images),):
                raise MetaFaceError(
                    f"A piece of '{name}' has {len(part.images)} images, but identity has the shape"
                    f" {list(part.identity.shape)}. Give one number per image."
                )
            writer.append(part.images)
            identity.append(part.identity)
            conditions.append(part.conditions)
        if not identity:
            raise MetaFaceError(f"There are no pieces of '{name}', so there is nothing to write. Give one or more.")
        joined = {key: torch.cat([part[key] for part in conditions]) for key in conditions[0]}
        writer.finish(torch.cat(identity), joined, dict(levels or {}), tuple(names), name, synthetic)
    return Path(path)


class Writer:
    """Writes pictures one after the other, and then what is known of them.

    opened: the file, empty.
    """

    def __init__(self, opened: io.BufferedWriter) -> None:
        self._opened, self._checksums = opened, array("I")
        self.shape: tuple[int, ...] = ()
        opened.write(b"\0" * START)  # no magic: a file that is left behind is not taken for whole

    @property
    def count(self) -> int:
        """How many pictures were written."""
        return len(self._checksums)

    def append(self, images: Tensor) -> Tensor:
        """Write some pictures, uint8 `[m, C, H, W]`, and return their rows, int64 `[m]`."""
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise MetaFaceError(
                f"Images must be uint8 [m, C, H, W], but are {images.dtype} {list(images.shape)}. Convert them first."
            )
        self.shape = self.shape or tuple(images.shape[1:])
        if tuple(images.shape[1:]) != self.shape:
            raise MetaFaceError(
                f"Images of one file have one size, but these have {list(images.shape[1:])}, and those before"
                f" {list(self.shape)}. Resize them first."
            )
        values = images.contiguous().numpy()
        first = self.count
        self._checksums.extend(map(zlib.crc32, values))
        self._opened.write(values.data)
        return torch.arange(first, self.count)

    def finish(
        self,
        identity: Tensor,
        conditions: Mapping[str, Tensor],
        levels: Mapping[str, Any],
        names: tuple[str, ...],
        name: str,
        synthetic: bool,
    ) -> None:
        """Write the table and the header; see `Table` and `FaceSet`."""
        used = identity >= 0
        # A face set of the same people and conditions says what does not fit. Its images are a single number, repeated.
        blank = torch.zeros(1, dtype=torch.uint8).expand(int(used.sum()), *self.shape)
        FaceSet(blank, identity[used], {key: values[used] for key, values in conditions.items()}, levels, names, name)
        table = io.BytesIO()
        arrays = {f"condition-{key}": values.numpy() for key, values in conditions.items()}
        arrays |= {"identity": identity.numpy(), "checksum": np.frombuffer(self._checksums, np.uint32)}
        np.savez(table, allow_pickle=False, names=np.frombuffer(json.dumps(names).encode(), np.uint8), **arrays)
        content, place = table.getvalue(), self._opened.tell()
        self._opened.write(content)
        header = {
            "format": FORMAT, "name": name, "synthetic": synthetic, "shape": [self.count, *self.shape],
            "levels": {key: list(words) for key, words in levels.items()}, "conditions": list(conditions),
            "table": place, "size": place + len(content), "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        line = json.dumps(header).encode()
        text = MAGIC + line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"
        if len(text) > START:
            raise MetaFaceError(
                f"The names of the conditions of '{name}' and of their words need {len(text):,} bytes, but the header"
                f" has room for {START:,}. Leave some out."
            )
        self._opened.flush()
        os.fsync(self._opened.fileno())  # all that the header vouches for is on the disk before it
        self._opened.seek(0)
        self._opened.write(text.ljust(START))


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A writer into a file that gets its name when all is written. A full disk, or a kill, leaves the old file or none.

    path: the file. Its folder is made if needed.

    Raises `MetaFaceError` if it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if path.is_dir():
            raise MetaFaceError(f"{path} is a folder. Name a file in it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            yield Writer(opened)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(part, path)
    except OSError as error:
        if error.filename in (None, str(part)):  # nobody knows that name
            error.filename = str(path)
        raise refused(error, "The face set cannot be written") from error
    finally:
        part.unlink(missing_ok=True)


def map_folder(path: str | Path, to: str | Path, size: int = 64) -> Path:
    """Write the pictures of a folder with one sub-folder per person into a file, whole or not at all.

    Memory holds one picture at a time, and for each its name and a digest (about 500 bytes). What is read, and what is
    not, is as in `real.folder`, and is said in the same way.

    path: the folder.
    to: the file.
    size: to which each picture is scaled, in pixels. 64.

    Returns the file.

    Raises `MetaFaceError` as `real.folder` does, or if the file cannot be written.
    """
    from .real import read_folder

    with writing(Path(to)) as writer:
        found = read_folder(path, size, lambda image: writer.append(image[None])[0])
        identity = torch.full((writer.count,), -1)
        identity[found.images] = found.identity  # a double has no place among them, and stays at −1
        writer.finish(identity, {}, {}, found.names, found.name, synthetic=False)
    return Path(to)
