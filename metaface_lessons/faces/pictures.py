"""Picture files: any that Pillow can read, as upright 8-bit RGB; any other with one clear reason why not."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from ..errors import MetaFaceError
from ..names import visible

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".pgm", ".ppm", ".pbm", ".pnm", ".gif", ".bmp", ".tif", ".tiff"),
    *(".webp", ".jp2", ".avif", ".heic", ".heif"),
)
RAW = (".dng", ".nef", ".nrw", ".arw", ".cr2", ".cr3", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw")
LARGEST = 90_000_000  # pixels that are decoded at once, as many as Pillow takes without a warning
LARGEST_JPEG = 1_000_000_000  # pixels of a JPEG, which can be decoded at an eighth of its size
_REDUCED = 2048  # pixels that the sides of a very large JPEG keep at least

# A file with no picture's suffix is read if its first bytes are one of these kinds'. Other kinds are recognised with
# less certainty, so their suffix must also say so. The excluded ones are programs, videos and tables.
_BY_CONTENT = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
_EXCLUDED = ("EPS", "WMF", "PDF", "MPEG", "HDF5", "GRIB", "BUFR")
_PACKED = (b"PK\x03\x04", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"%PDF", b"%!PS")
_SURE = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")  # how pictures begin, and no text

_BITS = (8, 10, 12, 14, 16, 24, 31, 32)  # of cameras and files
_TURNS = {  # how to undo what EXIF's orientation says
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadablePicture(MetaFaceError):
    """A file from which no picture can be read.

    reason: why, such as "cut off before its end".
    advice: what to do, a sentence.
    foreign: whether neither its name nor its content claims to be a picture.
    """

    def __init__(self, file: str | Path, reason: str, advice: str, foreign: bool = False) -> None:
        super().__init__(f"{visible(file)} cannot be read: {reason}. {advice}")
        self.reason, self.advice, self.foreign = reason, advice, foreign


def digest_of(picture: Image.Image) -> bytes:
    """A digest of a picture's pixels: two files with the same one show the same.

    picture: as `read_picture` returns it.
    """
    return hashlib.blake2b(picture.tobytes(), digest_size=16, key=repr(picture.size).encode()).digest()


def read_picture(file: str | Path) -> Image.Image:
    """A picture as 8-bit RGB, the right way up.

    The content of the file decides what it is, not its suffix. Of several pictures in one file, the first is read. A
    transparent picture is laid over white. EXIF data that are damaged are ignored. A JPEG above `LARGEST` pixels is
    read at a half, a quarter or an eighth of its size.

    Greys of more than 8 bits are scaled by their range, see `eight_bits`.

    file: the path.

    Raises `UnreadablePicture`, whatever is wrong with the file.
    """
    file = Path(file)
    start = _start(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about EXIF, palettes and size: all are dealt with here
            return _decode(file, start)
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(file) from error
    except MemoryError as error:
        raise UnreadablePicture(
            file, "too large for this computer's memory", "Scale it to at most 4000 pixels a side."
        ) from error
    except Exception as error:  # Pillow's readers raise nearly every kind for a damaged file
        raise _damaged(file, start, error) from error


def looks_like_picture(file: Path) -> bool:
    """Whether a file's name or first bytes say that it is a picture.

    file: the path.
    """
    if file.suffix.lower() in SUFFIXES + RAW:
        return True
    try:
        return _start(file).startswith(_SURE)
    except UnreadablePicture:
        return False


def _start(file: Path) -> bytes:
    """The first bytes of a file. Raises `UnreadablePicture` if there is none that can be opened."""
    start, kind = b"", 0
    try:
        kind = os.stat(file).st_mode
        if stat.S_ISREG(kind):  # opening a pipe would wait
            with file.open("rb") as opened:
                start = opened.read(64)
    except FileNotFoundError as error:
        why = "it is a link to nothing" if file.is_symlink() else "there is no such file"
        raise UnreadablePicture(file, why, "Check its name.") from error
    except PermissionError as error:
        raise UnreadablePicture(file, "you may not read it", "Give yourself permission: chmod u+r.") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UnreadablePicture(file, f"the system says: {why}", "Copy it to another place.") from error
    if stat.S_ISDIR(kind):
        raise UnreadablePicture(file, "it is a folder", "Name a picture in it.")
    if not stat.S_ISREG(kind):
        raise UnreadablePicture(file, "it is not an ordinary file", "Put a picture there.")
    if not start:
        raise UnreadablePicture(file, "it is empty", "Copy it again.")
    return start


def _decode(file: Path, start: bytes) -> Image.Image:
    with _open(file, start) as picture:
        if picture.width * picture.height > LARGEST:
            if picture.format not in ("JPEG", "MPO") or picture.width * picture.height > LARGEST_JPEG:
                raise _too_large(file)
            if picture.info.get("progressive"):  # of these the decoder keeps the whole size in memory
                raise _too_large(file)
            picture.draft(None, (_REDUCED, _REDUCED))
        if picture.format == "TIFF" and _of_a_camera(picture, file):
            raise _raw(file)
        sixteen = picture.mode in ("RGB", "RGBA") and any(";16" in str(tile.args) for tile in picture.tile)
        try:
            picture.load()
        except OSError:
            raise
        except Exception:
            if picture.tile:  # else the pixels are complete, and what is damaged is read after them
                raise
        upright = _turned(picture)
        if upright.mode.startswith(("I", "F")):
            full = (
                65535 if picture.format == "PPM" and upright.mode != "F" else None
            )  # it says its range, and is scaled
            try:
                upright = Image.fromarray(eight_bits(np.asarray(upright), full))
            except MetaFaceError as error:
                raise UnreadablePicture(file, "no value in it is a number", "Save it again as jpg or png.") from error
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    try:
        rgb = upright.convert("RGB")
    except ValueError as error:
        raise UnreadablePicture(
            file, f"its colours ({upright.mode}) cannot be turned into RGB", "Save it again as jpg or png."
        ) from error
    if sixteen and max(high for _, high in rgb.getextrema()) < 16:  # type: ignore[misc]  # Pillow keeps the upper 8 bits
        raise UnreadablePicture(
            file, "its colours use less than 13 of their 16 bits", "Save it again with 8 bits a colour."
        )
    return rgb


def _open(file: Path, start: bytes) -> ImageFile.ImageFile:
    """The file with its size and mode known, its pixels not yet decoded."""
    Image.init()
    named = Image.registered_extensions().get(file.suffix.lower())
    kinds = [kind for kind in _BY_CONTENT if kind in Image.OPEN]
    kinds += [named] if named and named not in (*kinds, *_EXCLUDED) else []
    try:
        return Image.open(file, formats=kinds)
    except Exception:
        if not start.startswith(b"\xff\xd8\xff"):
            raise
    try:
        return JpegImageFile(str(file))  # refused for its size, which can be reduced
    except Exception:
        return JpegImageFile(io.BytesIO(_without_metadata(file.read_bytes())))  # refused for its EXIF data


def _without_metadata(jpeg: bytes) -> bytes:
    """A JPEG file without EXIF and its like (segments APP1 to APP15), but with Adobe's note on colours (APP14)."""
    kept, at = [jpeg[:2]], 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] not in (b"\xda", b""):
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if not 0xE1 <= jpeg[at + 1] <= 0xEF or jpeg[at + 1] == 0xEE:
            kept.append(jpeg[at:end])
        at = end
    return b"".join((*kept, jpeg[at:]))


def _turned(picture: Image.Image) -> Image.Image:
    """The picture as it was held: phones store in EXIF how they were turned."""
    try:
        method = _TURNS.get(picture.getexif().get(0x0112, 1))
    except Exception:  # damaged, in one of many ways
        return picture
    return picture if method is None else picture.transpose(method)


def eight_bits(values: np.ndarray, full: float | None = None) -> np.ndarray:
    """Greys of any range as uint8 `[H, W]`. The largest and smallest value decide what the range was:

    floats from 0 to 1: 1 is white.
    floats from -1 to 1: -1 is black, 1 is white.
    other numbers, some below 0: the smallest is black, the largest is white.
    other numbers: white is the largest number of 8, 10, 12, 14, 16, 24, 31 or 32 bits, the first that is large enough.

    Floats may overshoot, as they do where a picture was resized: up to 0.1 below 0, up to 0.5 beyond -1 and 1.

    A value that is not a number (NaN) or not finite becomes black. So a picture of one value stays of one value.

    values: `[H, W]`, integers or floats.
    full: the value of white, where it is known.

    Raises `MetaFaceError` if no value is a finite number.
    """
    floats = np.issubdtype(values.dtype, np.floating)
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise MetaFaceError("No value is a finite number. Look at the file that the values come from.")
    low, high = float(values[finite].min()), float(values[finite].max())
    if floats and low >= -1.5 and high <= 1.5:
        low, high = 0.0 if low >= -0.1 else -1.0, 1.0
    elif low >= 0:
        low, high = 0.0, full or next((2.0**bits - 1 for bits in _BITS if high < 2**bits), high)
    scaled = (np.where(finite, values, low) - low) * (255 / (high - low) if high > low else 0.0)
    return scaled.clip(0, 255).round().astype(np.uint8)


def _of_a_camera(picture: ImageFile.ImageFile, file: Path) -> bool:
    """Whether a TIFF is a camera's raw picture, whose first page is only a small preview."""
    tags = picture.tag_v2  # type: ignore[attr-defined]
    return file.suffix.lower() in RAW or 50706 in tags or bool(int(tags.get(254, 0)) & 1)


def _raw(file: Path) -> UnreadablePicture:
    return UnreadablePicture(file, "it is a camera's raw picture", "Export it as jpg with the camera's program.")


def _too_large(file: Path) -> UnreadablePicture:
    return UnreadablePicture(
        file, f"it is too large, above {LARGEST // 1_000_000} million pixels", "Scale it to at most 4000 pixels a side."
    )


def _is_older_movie(start: bytes) -> bool:
    """Whether a file is QuickTime's without a brand: a length that no text begins with, and the kind of its part."""
    return start[:1] < b"\t" and start[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def _damaged(file: Path, start: bytes, error: Exception) -> UnreadablePicture:
    """What to say of a file that Pillow does not decode. Its first bytes and its suffix say what it is."""
    suffix, brand = file.suffix.lower(), start[8:12] if start[4:8] == b"ftyp" else b""
    if isinstance(error, Image.UnidentifiedImageError):
        if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1") or (
            not brand and suffix in (".heic", ".heif")
        ):
            return UnreadablePicture(
                file,
                "it is a HEIC picture, as phones take them",
                "Save it as jpg, or set the phone's camera to 'most compatible'.",
            )
        if brand in (b"avif", b"avis"):
            return UnreadablePicture(file, "it is an AVIF picture", "Save it as jpg or png.")
        if brand == b"crx " or start.startswith((b"FUJIFILM", b"IIRO", b"IIRS", b"IIU\0")) or suffix in RAW:
            return _raw(file)
        if (
            brand
            or _is_older_movie(start)
            or start.startswith((b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3"))
            or start[8:12] == b"AVI "
        ):
            return UnreadablePicture(file, "it is a video", "Save some of its frames as jpg.")
        if start.startswith(_PACKED) or suffix in (".svg", ".eps", ".pdf", ".wmf"):
            return UnreadablePicture(file, "it is an archive or a document", "Unpack it, or save its pictures as jpg.")
    elif isinstance(error, EOFError) or "truncated" in str(error):
        return UnreadablePicture(file, "it is cut off before its end", "Copy it again.")
    if (
        suffix not in SUFFIXES
        and suffix not in Image.registered_extensions()
        and not (start.startswith(_SURE) or start[8:12] == b"WEBP")
    ):
        return UnreadablePicture(file, "it is not a picture", "Name a picture.", foreign=True)
    return UnreadablePicture(
        file,
        "it is damaged, or not a picture of a kind that can be read",
        "Copy it again, or save it as jpg or png.",
    )
