"""The exchange: each student's own files are fetched, whatever the others put there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaface_lessons.cli import main
from metaface_lessons.grading.submitted import submissions
from tests.grading.submissions import FILE, notebook

pytestmark = [pytest.mark.hostile, pytest.mark.filterwarnings("ignore")]  # other people's, at the import of nbgrader
TIME = "2026-03-01 10:00:00.000000 UTC"


@pytest.fixture
def course(tmp_path: Path) -> Iterator[Path]:
    """A class with an exchange, whose students have no accounts here; Ann has submitted."""
    folder, exchange = tmp_path / "class", tmp_path / "exchange"
    (exchange / "faces" / "inbound").mkdir(parents=True)
    exchange.chmod(0o777)
    folder.mkdir()
    (folder / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.CourseDirectory.course_id = 'faces'\nc.Exchange.root = {str(exchange)!r}\n"
        "c.ExchangeCollect.check_owner = False\n"
    )
    submit(folder, "ann")
    yield folder
    for path in (exchange / "faces" / "inbound").iterdir():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)


def inbound(course: Path) -> Path:
    return course.parent / "exchange" / "faces" / "inbound"


def submit(course: Path, student: str, time: str = TIME) -> Path:
    target = inbound(course) / f"{student}+00+{time}+x"
    target.mkdir()
    (target / FILE).write_text(json.dumps(notebook()))
    (target / "timestamp.txt").write_text(time)
    return target


def collect(course: Path) -> int:
    return main(["class", "collect", "00", "--course", str(course)])


def test_what_is_not_a_submission_is_set_aside(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = inbound(course)
    for name in ("b" * 255, "bob+00+no date+x", "bob+00+99999-01-01 00:00:00 UTC+x", "bob", f"=cmd+00+{TIME}+x"):
        (place / name).mkdir()
    (place / f"bob+00+2026-03-01 10:00:00 +{10**40}+x").mkdir()
    (place / f"eve+00+{TIME}+x").symlink_to(place / f"ann+00+{TIME}+x")
    os.mkfifo(place / f"fay+00+{TIME}+x")
    os.mkdir(os.fsencode(place) + b"/\xff+00+" + TIME.encode() + b"+x")
    assert collect(course) == 0
    assert capsys.readouterr().out.strip() == "1 have submitted lesson 00: ann"
    assert [path.name for path in place.glob("[!.]*") if not path.name.startswith("bbb")] == [f"ann+00+{TIME}+x"]
    assert collect(course) == 0


def test_one_submission_does_not_stop_the_others(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too many files, folders within folders, and a date from before that is none."""
    crowd, deep = submit(course, "bob"), submit(course, "eve")
    for number in range(1100):
        (crowd / str(number)).touch()
    at = os.open(deep, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 100, dir_fd=at)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    for student in ("ann", "eve"):
        (course / "submitted" / student / "00").mkdir(parents=True)
    (course / "submitted" / "ann" / "00" / "timestamp.txt").write_text("no date")
    os.mkfifo(course / "submitted" / "eve" / "00" / "timestamp.txt")
    try:
        assert collect(course) == 3
    finally:
        subprocess.run(["rm", "-rf", str(deep)], check=True)  # deeper than Python's own functions reach
    output = capsys.readouterr()
    assert "submission that cannot be collected: bob" in output.err
    assert "more than 1000 files" in output.err
    assert submissions(course, "00") == (["ann", "eve"], {})
    assert (course / "submitted" / "ann" / "00" / FILE).is_file()
    assert (course / "submitted" / "eve" / "00" / FILE).is_file()


def test_a_failed_collection_leaves_the_earlier_submission(course: Path) -> None:
    assert collect(course) == 0
    later = submit(course, "ann", "2026-03-02 10:00:00.000000 UTC")
    for number in range(1100):
        (later / str(number)).touch()
    assert collect(course) == 3
    assert (course / "submitted" / "ann" / "00" / FILE).is_file()
    assert [path.name for path in (course / "submitted" / "ann").iterdir()] == ["00"]


def test_the_newest_submission_is_fetched_with_the_time_of_its_name(course: Path) -> None:
    """What a student writes into timestamp.txt decides nothing."""
    newer = submit(course, "ann", "2026-03-02 10:00:00.000000 UTC")
    (newer / "timestamp.txt").write_text("2020-01-01 00:00:00 UTC")
    (newer / "new.txt").touch()
    submit(course, "ann", "2026-02-01 10:00:00.000000 UTC")
    assert collect(course) == 0
    found = course / "submitted" / "ann" / "00"
    assert (found / "new.txt").exists()
    assert (found / "timestamp.txt").read_text() == "2026-03-02 10:00:00 UTC"
    (found / "mine.txt").touch()
    assert collect(course) == 0
    assert (found / "mine.txt").exists(), "it was collected already"


@pytest.mark.needs("an ordinary user")
def test_a_folder_that_may_not_be_read(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submit(course, "eve").chmod(0)
    assert collect(course) == 3
    assert "eve" in capsys.readouterr().err
    assert submissions(course, "00") == (["ann"], {})
