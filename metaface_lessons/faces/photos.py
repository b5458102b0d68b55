"""Faces in ordinary photos: found by OpenCV's cascades, turned upright, and cut out as the faces of LFW are.

OpenCV is an optional part of the course (`PACKAGE`). It is imported when the first photo is read. It must be older than
version 5, whose wheel no longer brings the cascades.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import MetaFaceError
from ..names import visible
from .pictures import UnreadablePicture, digest_of, read_picture
from .real import LFW_COLUMNS, LFW_ROWS

PACKAGE = "opencv-python-headless>=4.10,<5"
FACE, SECOND = "haarcascade_frontalface_default.xml", "haarcascade_frontalface_alt2.xml"
EYE = "haarcascade_eye.xml"

# LFW's pictures are the box of such a detector, widened 2.2 times to 250×250 pixels (Huang et al. 2007, section 3). So
# the course's crop of LFW has this width, and its middle is this far below the middle of the box, in widths of the box.
_BOX = 250 / 2.2
WIDTH = (LFW_ROWS.stop - LFW_ROWS.start) / _BOX
BELOW = ((LFW_ROWS.start + LFW_ROWS.stop) / 2 - 125) / _BOX
assert (LFW_COLUMNS.start + LFW_COLUMNS.stop) / 2 == 125

_LARGEST = 800  # pixels of the longer side in which faces are looked for
_SMALL = 160  # pixels of the shorter side: an eighth of fewer is less than the cascades can find
_ANGLES = (0, 90, 270, 180, 25, -25)  # degrees by which a photo is turned; the last two if no face is certain before

# Chosen on half of LFW's people; docs/decisions.md has what they do on the other half.
_OVERLAP = 0.3  # of the smaller of two finds: above it they are one
_WEAK = 0.1  # of the hits of the strongest find: below it a find is passed over
_BEYOND_DOUBT = 25  # hits of a face as the photo is: below them it is also turned, to see if a face is clearer then
_BACKGROUND = 0.6  # of the width of the largest face: below it a face is in the background


def find_face(file: str | Path, size: int = 48) -> Tensor:
    """The one face of a photo: uint8 `[3, size, size]`.

    If two eyes are found in it, the photo is turned until they are level. Faces less than 0.6 times as wide as the
    largest are ignored, because they are in the background. If no face is found, the photo is turned on its sides and
    its head, and tilted a little.

    file: the photo.
    size: of the face that is cut out, in pixels.

    Raises `MetaFaceError` if the file is missing or not a picture, if it shows no face or several, or if OpenCV is
    missing.
    """
    return _cut(file, _read(file), size)[0]


class NotOneFace(MetaFaceError):
    """No face, or more than one, was found in a picture that could be read: a failure to acquire (ISO/IEC 19795-1)."""


@dataclass(frozen=True)
class Photo:
    """What became of one photo of a person.

    file: its path.
    face: the face, uint8 `[3, size, size]`; None if it cannot be used.
    problem: why it cannot be used, with what to do; "" if it can.
    not_acquired: whether it could be read, but no face, or more than one, was found in it.
    certain: whether a second cascade agrees that it is a face. Without that it may be a pattern in the background.
    """

    file: Path
    face: Tensor | None = None
    problem: str = ""
    not_acquired: bool = False
    certain: bool = True


def faces_of(files: Sequence[str | Path], size: int = 48) -> list[Photo]:
    """The face of each photo of one person, in the same order, or why the photo cannot be used.

    A photo that shows the same as an earlier one, pixel by pixel, is not used again.

    files: the photos.
    size: of the faces, in pixels.

    Raises `MetaFaceError` only if OpenCV is missing.
    """
    opencv()
    first: dict[bytes, Path] = {}
    photos = []
    for file in map(Path, files):
        try:
            picture = _read(file)
            if (other := first.setdefault(digest_of(picture), file)) is not file:
                raise MetaFaceError(
                    f"{visible(file)} shows the same as {visible(other)}. Name it once, or name another photo."
                )
            face, certain = _cut(file, picture, size)
            photos.append(Photo(file, face, certain=certain))
        except MetaFaceError as error:
            photos.append(Photo(file, problem=str(error), not_acquired=isinstance(error, NotOneFace)))
    return photos


def _read(file: str | Path) -> Image.Image:
    """The picture in a file. Raises `MetaFaceError` if there is none."""
    try:
        path = Path(file).expanduser()
    except RuntimeError as error:  # the home of a user whom nobody knows
        raise _absent(file) from error
    if os.path.isdir(path):
        raise MetaFaceError(f"{visible(file)} is a folder. Name a photo in it.")
    try:
        return read_picture(path)
    except UnreadablePicture as error:
        if isinstance(error.__cause__, FileNotFoundError) and not os.path.islink(path):
            raise _absent(file) from error
        raise


def _absent(file: str | Path) -> MetaFaceError:
    return MetaFaceError(
        f"There is no photo {visible(file)}. Check its name and its folder. A name with blanks needs quotes."
    )


def _cut(file: str | Path, picture: Image.Image, size: int) -> tuple[Tensor, bool]:
    """The one face of a picture, and whether it is certain that it is one.

    Raises `NotOneFace`, which names the file, if there is none or are several.
    """
    cv2 = opencv()
    wide, high = picture.size
    largest = min(max(_LARGEST, _SMALL * max(wide, high) // min(wide, high)), 4 * _LARGEST)  # more for a panorama
    picture.thumbnail((largest, largest))
    pixels, grey, faces, certain = _search(cv2, picture)
    if not faces and min(wide, high) < _SMALL:
        raise NotOneFace(
            f"No face was found in {visible(file)}, which has only {wide}×{high} pixels. Use the photo itself, not its"
            " thumbnail."
        )
    if not faces:
        raise NotOneFace(
            f"No face was found in {visible(file)}. Take a sharp photo, in even light, of a face that looks into the"
            " camera. The face must be at least an eighth as wide as the shorter side of the photo. If it is smaller,"
            " cut it out."
        )
    if len(faces) > 1:
        raise NotOneFace(
            f"{len(faces)} faces were found in {visible(file)}, and it does not say which is meant. Cut out one person."
        )
    left, top, width, _ = faces[0]
    middle = (left + width / 2, top + width / 2)
    turn = cv2.getRotationMatrix2D(middle, _tilt(cv2, grey, faces[0]), size / (WIDTH * width))
    turn[:, 2] += size / 2 - np.array(middle)
    turn[1, 2] -= BELOW / WIDTH * size
    shrinks = WIDTH * width > size
    if shrinks:  # without a blur, pixels in between would not count
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.4 * WIDTH * width / size)
    face = cv2.warpAffine(pixels, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(face).permute(2, 0, 1).contiguous(), certain


class _Find(NamedTuple):
    """A square in which a cascade finds something, in pixels.

    hits: how many overlapping squares it is the mean of.
    """

    left: int
    top: int
    width: int
    hits: int

    def overlap(self, other: _Find) -> float:
        """The area that two finds share, as a share of the smaller one."""
        across = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        down = min(self.top + self.width, other.top + other.width) - max(self.top, other.top)
        return max(across, 0) * max(down, 0) / min(self.width, other.width) ** 2


def _search(cv2: ModuleType, picture: Image.Image) -> tuple[np.ndarray, np.ndarray, list[_Find], bool]:
    """The picture, turned so that a face is upright, its greys, the faces that could be meant, and if they are certain.

    It is turned only if no face is beyond doubt as it is: photos can lie on their side, and heads can be tilted. It
    stays turned if a face is beyond doubt then, or if none was certain before. Of several such angles, the one with
    most hits is taken.
    """
    best: tuple[np.ndarray, np.ndarray, list[_Find]] | None = None
    most = 0
    for angle in _ANGLES:
        pixels = np.array(picture.rotate(angle, Image.Resampling.BICUBIC, expand=True) if angle else picture)
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        faces, certain = _faces(cv2, grey)
        hits = max(face.hits for face in faces) if certain else 0
        if best is None or (hits > most and (not most or hits >= _BEYOND_DOUBT)):
            best, most = (pixels, grey, faces), hits
        if (angle == 0 and most >= _BEYOND_DOUBT) or (angle == 180 and most):
            break
    assert best is not None
    return *best, most > 0


def _faces(cv2: ModuleType, grey: np.ndarray) -> tuple[list[_Find], bool]:
    """The faces that could be meant, and whether they are certain: a second cascade finds them as well.

    Of overlapping finds, the one with most hits is kept. Finds that are not certain beside one that is, weak ones and
    small ones are passed over: ties, hands, and people in the background.
    """
    finds: list[_Find] = []
    for find in sorted(_detect(cv2, FACE, grey, min(grey.shape) // 8), key=lambda find: -find.hits):
        if all(find.overlap(other) <= _OVERLAP for other in finds):
            finds.append(find)
    certain = [find for find in finds if _is_certain(cv2, grey, find)]
    known = certain or finds
    most, largest = max((f.hits for f in known), default=0), max((f.width for f in known), default=0)
    return [f for f in known if f.hits >= _WEAK * most and f.width > _BACKGROUND * largest], bool(certain)


def _is_certain(cv2: ModuleType, grey: np.ndarray, find: _Find) -> bool:
    """Whether the second cascade finds a face of about this size in about this square."""
    left, top = max(find.left - find.width // 4, 0), max(find.top - find.width // 4, 0)
    around = grey[top : find.top + find.width + find.width // 4, left : find.left + find.width + find.width // 4]
    again = _detect(cv2, SECOND, around, find.width // 2, neighbours=2)
    return any(find.overlap(_Find(x + left, y + top, width, hits)) > 0.5 for x, y, width, hits in again)


def _tilt(cv2: ModuleType, grey: np.ndarray, face: _Find) -> float:
    """How many degrees the line through the eyes falls to the right; 0 if not both are found."""
    left, top, width, _ = face
    eyes = _detect(cv2, EYE, grey[top : top + int(0.6 * width), left : left + width], width // 8)
    middles = sorted((x + w / 2, y + w / 2) for x, y, w, _ in eyes)
    if len(middles) != 2:
        return 0.0
    (x1, y1), (x2, y2) = middles
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
    return angle if x2 - x1 > 0.25 * width and abs(angle) < 25 else 0.0


def _detect(cv2: ModuleType, cascade: str, grey: np.ndarray, least: int, neighbours: int = 5) -> list[_Find]:
    """What the cascade finds, at least `least` pixels wide and with at least so many hits."""
    found, hits = _cascade(cv2, cascade).detectMultiScale2(
        grey, scaleFactor=1.1, minNeighbors=neighbours, minSize=(max(least, 20),) * 2
    )
    return [_Find(int(box[0]), int(box[1]), int(box[2]), int(count)) for box, count in zip(found, hits, strict=True)]


@cache
def _cascade(cv2: ModuleType, name: str) -> Any:
    return cv2.CascadeClassifier(cv2.data.haarcascades + name)


def opencv() -> Any:
    """The module of OpenCV. Raises `MetaFaceError` if it is missing, or its version has no cascades."""
    try:
        import cv2

        if not Path(cv2.data.haarcascades, FACE).exists():  # type: ignore[attr-defined]
            raise ImportError(f"version {cv2.__version__} has no cascades")
    except (ImportError, AttributeError) as error:
        raise MetaFaceError(
            f"Finding faces in photos needs OpenCV, which is not there ({error}). Install it: pip install '{PACKAGE}'"
        ) from error
    return cv2
