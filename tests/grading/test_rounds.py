"""Rounds: no two have the same data, and old marks are known as old."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.grading.rounds import FILE, Rounds


def test_no_two_rounds_have_the_same_data(tmp_path: Path) -> None:
    """Not even if the file was lost in between."""
    begun = set()
    for time in range(3):
        rounds = Rounds(tmp_path)
        assert rounds.of("00").begin() == time + 1
        rounds.save()
        begun |= {one.begun for one in Rounds(tmp_path).of("00").rounds}
    (tmp_path / FILE).unlink()
    rounds = Rounds(tmp_path)
    assert rounds.of("00").begin() == 1
    assert rounds.of("00").rounds[0].begun not in begun
    assert len(begun) == 3


def test_marks_are_old_from_a_failure_to_the_next_success(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path)
    known = rounds.of("00")
    for graded in (True, False, False, True):
        number = known.begin()
        known.record(number, graded, "ann")
        known.record(number, False, "eve")
        rounds.save()
        found = Rounds(tmp_path).of("00")
        assert found.old("ann") == (0 if graded else number)
        assert found.old("eve") == 0, "there are no marks that could be old"
    assert found.graded == {"ann": 4}


def test_only_the_instructor_reads_them(tmp_path: Path) -> None:
    Rounds(tmp_path).save()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}}", '{"00": 3}', '{"00": {"rounds": [3]}}', '{"00": {"rounds": 3}}']
)
def test_a_damaged_file(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(MetaFaceError, match="damaged"):
        Rounds(tmp_path)
