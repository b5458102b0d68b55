"""Faces of real people: scikit-learn's sets, and any folder with one sub-folder per person.

The data cards in `data/` say where each set comes from and what it must not be used for.
"""

from __future__ import annotations

import errno
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import MetaFaceError
from ..paths import cache_dir, sklearn_data
from .faceset import FaceSet
from .pictures import read_picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm", ".gif", ".bmp", ".tif", ".tiff", ".webp")
UNREADABLE = (".heic", ".heif", ".avif", ".raw", ".dng")  # pictures, but Pillow alone cannot read them

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

    Each image is cut to its central square. Pictures that cannot be read, or that are outside the sub-folders, are
    skipped, and one warning names them.

    path: the folder. Its pictures end in one of `SUFFIXES`.
    size: to which the square is scaled: uint8 RGB `[M, 3, size, size]`.

    Raises `MetaFaceError` if the folder is missing or fewer than two people remain.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise MetaFaceError(f"There is no folder {root}. Expected a folder with one sub-folder per person.")
    images: list[Tensor] = []
    identity: list[int] = []
    names: list[str] = []
    skipped = [
        f"{file.name} (in no person's folder)" for file in sorted(root.iterdir()) if file.suffix.lower() in SUFFIXES
    ]
    for person in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        found = []
        for file in sorted(entry for entry in person.rglob("*") if entry.suffix.lower() in SUFFIXES + UNREADABLE):
            if file.suffix.lower() in UNREADABLE:
                skipped.append(f"{file.relative_to(root)} (save it as jpg)")
                continue
            try:
                found.append(read_square(file, size))
            except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
                skipped.append(f"{file.relative_to(root)} ({type(error).__name__})")
        if found:
            identity += [len(names)] * len(found)
            names.append(person.name)
            images += found
    warn_of_skipped(root, skipped)
    if len(names) < 2:
        raise MetaFaceError(
            f"{root} has readable images ({', '.join(SUFFIXES)}) of {'one person' if names else 'nobody'}, but a face"
            " set needs at least two people. Expected one sub-folder per person, with that person's images in it."
        )
    return FaceSet(torch.stack(images), torch.tensor(identity), names=tuple(names), name=f"folder:{root.name}")


def warn_of_skipped(root: Path, skipped: list[str]) -> None:
    """One warning that names the pictures below `root` that could not be used."""
    if skipped:
        listed = ", ".join(skipped[:10]) + (f" and {len(skipped) - 10} more" if len(skipped) > 10 else "")
        warnings.warn(f"{root}: pictures skipped, {len(skipped)}: {listed}.", stacklevel=3)


def read_square(file: Path, size: int, whole: bool = False) -> Tensor:
    """An image, the right way up, scaled: uint8 `[3, size, size]`.

    file: the path.
    size: in pixels.
    whole: scale all of it, not only its central square.
    """
    rgb = read_picture(file)
    width, height = rgb.size if whole else (min(rgb.size),) * 2
    left, top = (rgb.width - width) // 2, (rgb.height - height) // 2
    square = rgb.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)
