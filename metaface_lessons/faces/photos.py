"""Faces in ordinary photos: found by OpenCV's cascades, turned upright, and cut out as the faces of LFW are.

OpenCV is an optional part of the course (`PACKAGE`). It is imported when the first photo is read. It must be older than
version 5, whose wheel no longer brings the cascades.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import MetaFaceError
from .pictures import digest_of, printable, read_picture
from .real import LFW_COLUMNS, LFW_ROWS

PACKAGE = "opencv-python-headless>=4.10,<5"
FACE, EYE = "haarcascade_frontalface_default.xml", "haarcascade_eye.xml"

# LFW's pictures are the box of such a detector, widened 2.2 times to 250×250 pixels (Huang et al. 2007, section 3). So
# the course's crop of LFW has this width, and its middle is this far below the middle of the box, in widths of the box.
_BOX = 250 / 2.2
WIDTH = (LFW_ROWS.stop - LFW_ROWS.start) / _BOX
BELOW = ((LFW_ROWS.start + LFW_ROWS.stop) / 2 - 125) / _BOX
assert (LFW_COLUMNS.start + LFW_COLUMNS.stop) / 2 == 125

_LARGEST = 800  # pixels of the longer side in which faces are looked for


def find_face(file: str | Path, size: int = 48) -> Tensor:
    """The one face of a photo: uint8 `[3, size, size]`.

    If two eyes are found in it, the photo is turned until they are level. Faces less than half as wide as the largest
    are ignored: they are in the background, or not faces at all.

    file: the photo.
    size: of the face that is cut out, in pixels.

    Raises `MetaFaceError` if the file is missing or not a picture, if it shows no face or several, or if OpenCV is
    missing.
    """
    return _cut(file, _read(file), size)


@dataclass(frozen=True)
class Photo:
    """What became of one photo of a person.

    file: its path.
    face: the face, uint8 `[3, size, size]`; None if it cannot be used.
    problem: why it cannot be used, with what to do; "" if it can.
    """

    file: Path
    face: Tensor | None = None
    problem: str = ""


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
                    f"{printable(file)} shows the same as {printable(other)}. Name it once, or name another photo."
                )
            photos.append(Photo(file, _cut(file, picture, size)))
        except MetaFaceError as error:
            photos.append(Photo(file, problem=str(error)))
    return photos


def _read(file: str | Path) -> Image.Image:
    """The picture in a file. Raises `MetaFaceError` if there is none."""
    try:
        path = Path(file).expanduser()
    except RuntimeError as error:  # the home of a user whom nobody knows
        raise MetaFaceError(f"There is no photo {printable(file)}.") from error
    if path.is_dir():
        raise MetaFaceError(f"{printable(file)} is a folder. Name a photo in it.")
    if not os.path.lexists(path):
        raise MetaFaceError(f"There is no photo {printable(file)}.")
    return read_picture(path)


def _cut(file: str | Path, picture: Image.Image, size: int) -> Tensor:
    """The one face of a picture. Raises `MetaFaceError`, which names the file, if there is none or are several."""
    cv2 = opencv()
    picture.thumbnail((_LARGEST, _LARGEST))
    pixels = np.array(picture)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    boxes = _detect(cv2, FACE, grey, min(grey.shape) // 8)
    boxes = [box for box in boxes if box[2] > max(other[2] for other in boxes) / 2]
    if not boxes:
        raise MetaFaceError(
            f"No face was found in {file}. Take one that looks into the camera, in even light, and fills a good part of"
            " the picture."
        )
    if len(boxes) > 1:
        raise MetaFaceError(
            f"{len(boxes)} faces were found in {file}, and it does not say which is meant. Cut out one person."
        )
    left, top, width, _ = boxes[0]
    middle = (left + width / 2, top + width / 2)
    turn = cv2.getRotationMatrix2D(middle, _tilt(cv2, grey, boxes[0]), size / (WIDTH * width))
    turn[:, 2] += size / 2 - np.array(middle)
    turn[1, 2] -= BELOW / WIDTH * size
    shrinks = WIDTH * width > size
    if shrinks:  # without a blur, pixels in between would not count
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.4 * WIDTH * width / size)
    face = cv2.warpAffine(pixels, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(face).permute(2, 0, 1).contiguous()


def _tilt(cv2: ModuleType, grey: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """How many degrees the line through the eyes falls to the right; 0 if not both are found."""
    left, top, width, _ = box
    eyes = _detect(cv2, EYE, grey[top : top + int(0.6 * width), left : left + width], width // 8)
    middles = sorted((x + w / 2, y + h / 2) for x, y, w, h in eyes)
    if len(middles) != 2:
        return 0.0
    (x1, y1), (x2, y2) = middles
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
    return angle if x2 - x1 > 0.25 * width and abs(angle) < 25 else 0.0


def _detect(cv2: ModuleType, cascade: str, grey: np.ndarray, least: int) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, width, height) of what the cascade finds, at least `least` pixels wide."""
    classifier = cv2.CascadeClassifier(cv2.data.haarcascades + cascade)
    found = classifier.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(max(least, 20),) * 2)
    return [tuple(int(value) for value in box) for box in found]  # type: ignore[misc]


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
