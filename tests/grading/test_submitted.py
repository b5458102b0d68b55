"""What counts as a submission, and how a stranger's files and texts are read and shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.grading.submitted import NAME, clean, fault_of_name, read_regular, shown, side_file, submissions

pytestmark = pytest.mark.hostile

UNFIT = {
    "a blank at its end": "bo ",
    "a blank at its beginning": " bo",
    "a formula": "=1+1",
    "a formula in wide characters": "\uff1d1+1",
    "a plus": "+1",
    "an option": "-rf",
    "an at sign": "@bo",
    "a dot": ".bo",
    "a comma": "bo,100",
    "a quotation mark": 'bo"',
    "a pattern": "b[o]",
    "markup": "<b>",
    "a new line": "bo\nann",
    "an escape": "\x1b[2J",
    "a lone surrogate": "bo\udcff",
    "text that runs backwards": "bo\u202e",
    "255 letters": "b" * 255,
}
FIT = ("ann", "ann.lee@uni.org", "Liam O'Neill_12345", "a+b", "Zoë", "学生", "b" * NAME)


@pytest.mark.parametrize("what", UNFIT)
def test_a_name_that_has(what: str) -> None:
    assert fault_of_name(UNFIT[what])


@pytest.mark.parametrize("name", FIT)
def test_a_fit_name(name: str) -> None:
    assert fault_of_name(name) == ""
    assert shown(name) == name if len(name) < 60 else len(shown(name)) < 70


def test_a_name_is_shown_on_one_printable_line() -> None:
    for name in UNFIT.values():
        assert shown(name).isprintable(), name
        assert len(shown(name)) < 300


def test_only_folders_with_fit_names_count(tmp_path: Path) -> None:
    """All others are named with the reason, and stop nobody. What holds nothing of the lesson is not mentioned."""
    place = tmp_path / "submitted"
    for name in ("zoe", "ann", "bo ", "=cmd"):
        (place / name / "00").mkdir(parents=True)
    (place / "later" / "01").mkdir(parents=True)
    (place / "a file").touch()
    (place / "eve").symlink_to(place / "ann")
    (place / "dan").mkdir()
    (place / "dan" / "00").symlink_to(place / "ann" / "00")
    (place / "lost").symlink_to(place / "nowhere")
    (place / "fay").mkdir()
    (place / "fay" / "00").write_text("not a folder")
    os.mkdir(os.fsencode(place) + b"/\xff")
    os.mkdir(os.fsencode(place) + b"/\xff/00")
    students, refused = submissions(tmp_path, "00")
    assert students == ["ann", "zoe"]
    assert refused.keys() == {"bo ", "=cmd", "eve", "dan", "fay", os.fsdecode(b"\xff")}
    assert "begins or ends with a blank" in refused["bo "]
    assert "link" in refused["eve"]
    assert "link" in refused["dan"]


@pytest.mark.needs("an ordinary user")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    for name in ("ann", "eve"):
        (tmp_path / "submitted" / name / "00").mkdir(parents=True)
    (tmp_path / "submitted" / "eve").chmod(0)
    students, refused = submissions(tmp_path, "00")
    (tmp_path / "submitted" / "eve").chmod(0o700)
    assert students == ["ann"]
    assert "cannot be read" in refused["eve"]


def test_a_class_without_submissions(tmp_path: Path) -> None:
    assert submissions(tmp_path, "00") == ([], {})


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("2026-01-01 10:00:00 UTC")
    (tmp_path / "link").symlink_to(tmp_path / "text")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "long").write_bytes(b"x" * (1 << 20))
    assert read_regular(tmp_path / "text", 100) == b"2026-01-01 10:00:00 UTC"
    for name in ("link", "pipe", "folder", "long"):
        with pytest.raises((MetaFaceError, IsADirectoryError)):
            read_regular(tmp_path / name, 100)
    for name in ("link", "pipe", "folder", "long", "binary", "absent"):
        assert side_file(tmp_path, name) == ""
    assert side_file(tmp_path, "text") == "2026-01-01 10:00:00 UTC"


def test_clean_text() -> None:
    assert clean("a\tb\nc", 10) == "a\tb\nc"
    assert clean("a\x1b[2J\udcff\u202e\x00\r", 20) == "a\ufffd[2J\ufffd\ufffd\ufffd\ufffd"
    assert clean("x" * 30, 10) == "x" * 10 + "\n… (20 more characters are left out)"
