"""Picture files of every kind that people have, well and damaged; all of them are generated here."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import pictures
from metaface_lessons.faces.pictures import UnreadablePicture, digest_of, eight_bits, read_picture

RAMP = np.tile(np.linspace(0, 1, 64), (48, 1))


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """A smooth coloured picture."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def coded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def reason(file: Path) -> UnreadablePicture:
    with pytest.raises(UnreadablePicture) as caught:
        read_picture(file)
    assert str(file.name) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_ordinary_pictures_are_what_pillow_reads(kind: str, mode: str, tmp_path: Path) -> None:
    """Sets that were read before have the same pixels."""
    (tmp_path / "a").write_bytes(coded(photo().convert(mode), kind))
    assert np.array_equal(read_picture(tmp_path / "a"), Image.open(tmp_path / "a").convert("RGB"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.JPG", "JPEG"), ("a", "JPEG"), ("a.png", "JPEG"), ("a.txt", "PNG")),
        *(("a.jp2", "JPEG2000"), ("a.ppm", "PPM"), ("a.tif", "TIFF"), ("a.webp", "WEBP"), ("a.jpg", "WEBP")),
        *(("a.tga", "TGA"), ("a.ico", "ICO"), ("a.heic", "JPEG"), ("a.mpo", "MPO"), ("a.gif", "GIF")),
    ],
)
def test_the_content_says_what_a_file_is(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(coded(photo(48, 48), kind))
    error = np.abs(np.asarray(read_picture(tmp_path / name), float) - np.asarray(photo(48, 48), float))
    assert error.mean() < 12


def bad_exif(kind: str) -> bytes:
    """EXIF data whose orientation is stored as a rational that no number is."""
    if kind == "garbled":
        return b"Exif\0\0nothing that is known"
    entry = struct.pack("<HHII", 0x0112, 5, 1, 26) if kind == "rational" else struct.pack("<HHII", 0x0112, 3, 1, 2**31)
    more = struct.pack("<HHII", 0x011A, 5, 0, 38) if kind == "empty" else struct.pack("<HHII", 0x011A, 5, 9, 2**31)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entry + more + b"\0" * 4


@pytest.mark.parametrize("exif", ["garbled", "rational", "short", "empty"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_leave_the_pixels(kind: str, exif: str, tmp_path: Path) -> None:
    whole = coded(photo(), kind)
    block = bad_exif(exif)
    if kind == "JPEG":
        whole = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]
    elif kind == "PNG":
        whole = whole[:33] + png_chunk(b"eXIf", block[6:]) + whole[33:]
    else:
        whole = coded(photo(), kind, exif=block)
    (tmp_path / "a").write_bytes(whole)
    error = np.abs(np.asarray(read_picture(tmp_path / "a"), float) - np.asarray(photo(), float))
    assert error.mean() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_is_turned_as_it_was_held(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = photo().transpose({3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}.get(orientation, 4))
    (tmp_path / "a").write_bytes(coded(stored, kind, exif=exif))
    error = np.abs(np.asarray(read_picture(tmp_path / "a"), float) - np.asarray(photo(), float))
    assert error.mean() < 8


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.float32),
        (2 * RAMP - 1).astype(np.float32),
        (1.04 * RAMP - 0.02).astype(np.float32),
        (255 * RAMP).astype(np.float32),
        (5 * RAMP - 2.5).astype(np.float32),
        *((RAMP * (2**bits - 1)).astype(np.uint16) for bits in (8, 10, 12, 14, 16)),
        (RAMP * 65535).astype(np.int32),
        (RAMP * (2**31 - 1)).astype(np.int32),
        (RAMP * 3000 - 1500).astype(np.int32),
    ],
    ids=lambda values: f"{values.dtype} {values.min():.4g} to {values.max():.4g}",
)
def test_greys_of_many_bits_are_scaled_by_their_range(values: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    row = np.asarray(read_picture(tmp_path / "a.tif"))[0, :, 0].astype(float)
    assert np.abs(row - 255 * RAMP[0]).max() < 7
    if values.dtype == np.uint16:
        Image.fromarray(values).save(tmp_path / "a.png")
        assert np.array_equal(read_picture(tmp_path / "a.png"), read_picture(tmp_path / "a.tif"))


def test_greys_without_a_range() -> None:
    half = np.full((2, 2), 0.5)
    assert eight_bits(half).tolist() == [[128, 128]] * 2
    assert eight_bits(half * 0).max() == 0
    assert eight_bits(half * 2).min() == 255
    assert eight_bits(np.full((1, 1), -7)).item() == 0
    assert eight_bits(np.array([[np.nan, 0, 0.5, 1, np.inf]])).tolist() == [[0, 0, 128, 255, 0]]
    with pytest.raises(MetaFaceError, match="finite"):
        eight_bits(np.full((2, 2), np.nan))


def test_a_picture_of_no_numbers_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tif")
    assert reason(tmp_path / "a.tif").reason == "no value in it is a number"


def test_sixteen_bit_colours_that_would_come_out_black_are_named(tmp_path: Path) -> None:
    def png(high: int) -> bytes:
        rows = np.zeros((8, 1 + 6 * 8), np.uint8)
        rows[:, 1::2] = high
        head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)

    (tmp_path / "dark.png").write_bytes(png(15))
    assert "less than 13 of their 16 bits" in reason(tmp_path / "dark.png").reason
    (tmp_path / "light.png").write_bytes(png(200))
    assert read_picture(tmp_path / "light.png").getpixel((0, 0)) == (200, 200, 200)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_over_white(mode: str, tmp_path: Path) -> None:
    layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    layer.paste((40, 40, 40, 255), (0, 0, 4, 8))
    layer = layer.quantize(4) if mode == "P" else layer.convert(mode)
    layer.save(tmp_path / "a.png")
    rgb = read_picture(tmp_path / "a.png")
    assert (rgb.getpixel((1, 1)), rgb.getpixel((6, 6))) == ((40, 40, 40), (255, 255, 255))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "YCbCr"])
def test_other_modes_are_the_same_picture(mode: str, tmp_path: Path) -> None:
    grey = photo().convert("L").convert("RGB")
    grey.convert(mode).save(tmp_path / "a.tif")
    error = np.abs(np.asarray(read_picture(tmp_path / "a.tif"), float) - np.asarray(grey, float))
    assert error.mean() < 20


def test_black_and_white_stay_so(tmp_path: Path) -> None:
    Image.fromarray(RAMP > 0.5).save(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "a.tif"))[..., 0], 255 * (RAMP > 0.5))


def test_of_several_pictures_the_first_is_read(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert read_picture(tmp_path / name).getpixel((4, 4))[0] > 250


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_a_picture_that_is_cut_off_is_named(kind: str, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = coded(noise, kind)
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "cut").write_bytes(whole[: int(share * len(whole))])
        assert reason(tmp_path / "cut").advice.startswith("Copy it again")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "BMP"])
def test_whatever_is_damaged_has_one_kind_of_error(kind: str, tmp_path: Path) -> None:
    """Bytes are changed at random: the picture is read, or one reason is given."""
    whole, generator = coded(photo(), kind), np.random.default_rng(1)
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[generator.integers(0, min(len(damaged), 200), 5)] = generator.integers(0, 256, 5)
        (tmp_path / "a.jpg").write_bytes(damaged.tobytes())
        with contextlib.suppress(UnreadablePicture):
            assert read_picture(tmp_path / "a.jpg").mode == "RGB"


@pytest.mark.parametrize("error", [struct.error, SyntaxError, IndexError, MemoryError, KeyError, RecursionError])
def test_whatever_the_library_raises(error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error("odd")

    (tmp_path / "a.png").write_bytes(coded(photo(), "PNG"))
    monkeypatch.setattr(pictures.Image, "open", fails)
    assert ("memory" in reason(tmp_path / "a.png").reason) == (error is MemoryError)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC"),
        ("a", b"\0\0\0\x18ftypmif1" + b"\0" * 40, "HEIC"),
        ("a.dng", b"no picture", "raw"),
        ("a.cr3", b"\0\0\0\x18ftypcrx " + b"\0" * 40, "raw"),
        ("a.mov", b"\0\0\0\x18ftypqt  " + b"\0" * 40, "video"),
        ("a.zip", b"PK\x03\x04" + b"\0" * 40, "archive"),
        ("a.pdf", b"%PDF-1.7\n", "document"),
        ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "document"),
        ("a.jpg", b"<html>not found</html>", "not a picture of a kind"),
        ("a.jpg", b"", "empty"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    error = reason(tmp_path / name)
    assert said in error.reason
    assert not error.foreign


def test_what_is_no_picture_at_all(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("BM, P6 and other words")
    assert reason(tmp_path / "notes.txt").foreign
    assert reason(tmp_path).reason == "it is a folder"
    assert "no such file" in reason(tmp_path / "none.jpg").reason
    (tmp_path / "link.jpg").symlink_to("nothing")
    assert "link to nothing" in reason(tmp_path / "link.jpg").reason
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert "system says" in reason(tmp_path / "loop.jpg").reason
    assert "system says" in reason(tmp_path / ("x" * 300)).reason
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg").reason == "it is not an ordinary file"


def test_the_preview_in_a_raw_picture_is_not_taken_for_it(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.nef", "TIFF")
    assert "raw" in reason(tmp_path / "a.nef").reason
    photo().save(tmp_path / "b.tif", tiffinfo={254: 1})
    assert "raw" in reason(tmp_path / "b.tif").reason


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.png").write_bytes(coded(photo(), "PNG"))
    monkeypatch.setattr(Path, "open", closed)  # root may read everything
    assert "may not read" in reason(tmp_path / "a.png").reason


@pytest.mark.parametrize("pillow", [500_000, 100_000_000], ids=["Pillow refuses it", "Pillow opens it"])
def test_a_very_large_jpeg_is_read_at_a_reduced_size(
    pillow: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow)  # Pillow refuses twice as many
    monkeypatch.setattr(pictures, "LARGEST", 1_000_000)
    monkeypatch.setattr(pictures, "_REDUCED", 512)
    exif = Image.Exif()
    exif[0x0112] = 3
    photo(1600, 1200).transpose(Image.Transpose.ROTATE_180).save(tmp_path / "phone.jpg", exif=exif)
    read = read_picture(tmp_path / "phone.jpg")
    assert read.size == (800, 600)
    error = np.abs(np.asarray(read.resize((48, 48)), float) - np.asarray(photo(1600, 1200).resize((48, 48)), float))
    assert error.mean() < 5
    for name, options in (("giant.png", {}), ("progressive.jpg", {"progressive": True})):
        photo(1600, 1200).save(tmp_path / name, **options)
        assert reason(tmp_path / name).reason == "it is too large, above 1 million pixels"
        assert "4000 pixels" in reason(tmp_path / name).advice


def test_the_same_pixels_have_the_same_digest(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    photo().save(tmp_path / "b.bmp")
    one, two = (digest_of(read_picture(tmp_path / name)) for name in ("a.png", "b.bmp"))
    assert one == two
    assert one != digest_of(photo(seed=1))
    assert digest_of(Image.new("RGB", (4, 2))) != digest_of(Image.new("RGB", (2, 4)))


@pytest.mark.parametrize("atom", [b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"])
def test_an_older_movie_of_a_phone_is_a_video(atom: bytes, tmp_path: Path) -> None:
    (tmp_path / "IMG_4.MOV").write_bytes(b"\0\0\0\x08" + atom + b"\0\0\x10\0mdat" + bytes(99))
    with pytest.raises(UnreadablePicture, match="it is a video"):
        read_picture(tmp_path / "IMG_4.MOV")
    (tmp_path / "notes.txt").write_bytes(b"are " + atom + b" of charge")
    with pytest.raises(UnreadablePicture, match="it is not a picture"):
        read_picture(tmp_path / "notes.txt")
