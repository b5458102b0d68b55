"""A learner's progress: recorded, kept through crashes and updates, and never lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from metaface_lessons import exercises, paths
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import check, core, hint, progress_rows, progress_text, yours
from metaface_lessons.exercises.core import Outcome, expect
from metaface_lessons.exercises.progress import progress_file, progress_table, record_outcome
from tests.helpers import row_means


def test_progress_is_recorded(rows: core.Exercise) -> None:
    assert progress_rows()[0]["outcome"] == "open"
    check("rows.mean", ...)
    assert progress_rows()[0]["tries"] == 0  # an untouched stub does not count as a try
    check("rows.mean", lambda x: x)
    assert progress_rows()[0]["outcome"] == "tried"
    check("rows.mean", row_means)
    check("rows.mean", lambda x: x)  # what is passed stays passed
    (row,) = progress_rows("97")
    assert (row["outcome"], row["earned"], row["points"], row["tries"]) == ("passed", 2, 2, 3)
    entry = json.loads(progress_file().read_text())["exercises"]["rows.mean"]
    assert (entry["best"], entry["last"], entry["points"]) == ("passed", "wrong", 2)
    assert entry["first"] <= entry["latest"]
    assert "1 of 1 exercises passed" in progress_text([row])
    with pytest.raises(MetaFaceError, match="no lesson"):
        progress_rows("98")


def test_a_demonstration_is_shown_and_not_recorded(rows: core.Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    for answer, sign in ((lambda x: x, "✗"), (row_means, "✓")):
        check("rows.mean", answer, record=False)
        assert capsys.readouterr().out.startswith(f"{sign} rows.mean")
    assert not progress_file().exists()


def test_a_crash_in_the_middle_of_writing_keeps_the_old_file(
    rows: core.Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    check("rows.mean", row_means)
    before = progress_file().read_bytes()

    def crash(*args: Any) -> None:
        raise KeyboardInterrupt("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", crash)
        with pytest.raises(KeyboardInterrupt):
            check("rows.mean", row_means)
    assert progress_file().read_bytes() == before
    check("rows.mean", row_means)
    assert progress_rows()[0]["tries"] == 2


ODD = [
    json.dumps({"exercises": {"rows.mean": entry}}).encode()
    for entry in ({"tries": "3"}, {"hints": None}, {"points": [1]}, {"best": 1}, {"tried": 5})
] + [b"[" * 100_000]


@pytest.mark.parametrize("damage", [b"", b'{"exercises": {"rows', b"\xff\xfe\x00", b"[1]", b'{"exercises": [1]}', *ODD])
def test_a_damaged_file_is_set_aside(rows: core.Exercise, home: Path, damage: bytes) -> None:
    home.mkdir()
    progress_file().write_bytes(damage)
    with pytest.warns(UserWarning, match="damaged"):
        check("rows.mean", row_means)
    assert progress_rows()[0]["outcome"] == "passed"
    assert [path.read_bytes() for path in home.glob("progress.damaged-*.json")] == [damage]


def test_fields_of_a_later_version_are_kept(rows: core.Exercise, home: Path) -> None:
    home.mkdir()
    later = {"format": 2, "theme": "dark", "exercises": {"rows.mean": {"stars": 5}, "gone.since": {"best": "passed"}}}
    progress_file().write_text(json.dumps(later))
    check("rows.mean", row_means)
    data = json.loads(progress_file().read_text())
    assert (data["format"], data["theme"], data["exercises"]["rows.mean"]["stars"]) == (2, "dark", 5)
    assert data["exercises"]["gone.since"] == {"best": "passed"}
    assert data["exercises"]["rows.mean"]["best"] == "passed"


@pytest.mark.parametrize(
    ("hours", "shown"), [(0.9, "< 1 h ago"), (1.5, "1 h ago"), (47.5, "47 h ago"), (50, "2 d ago"), (-5, "< 1 h ago")]
)
def test_progress_says_when_the_last_try_was(rows: core.Exercise, home: Path, hours: float, shown: str) -> None:
    home.mkdir()
    stamp = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
    now = datetime.now(UTC).isoformat(timespec="seconds")  # of a hint, which does not count as a try
    for times in ({"tried": stamp, "latest": now}, {"latest": stamp}):  # the second from before tries had a time
        entry = {"best": "wrong", "last": "wrong", "tries": 1, "hints": 1, "points": 0, "first": stamp}
        progress_file().write_text(json.dumps({"format": 1, "exercises": {"rows.mean": entry | times}}))
        (row,) = progress_rows()
        assert row["tried"] == stamp
        assert f" {shown}  Row means" in progress_text([row])


def test_an_update_of_the_course_keeps_what_was_earned(rows: core.Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exercise comes, one goes and comes back, one gets other points: the file keeps every entry."""
    check("rows.mean", row_means)
    monkeypatch.setattr(core, "_registry", {})

    @core.exercise("rows.sum", lesson="97", title="Row sums")
    def _(answer: Callable[..., Any]) -> None:
        expect(answer(torch.ones(1, 3)), torch.tensor([3.0]))

    check("rows.sum", lambda x: x.sum(dim=1))
    assert [row["exercise"] for row in progress_rows()] == ["rows.sum"]
    core.exercise("rows.mean", lesson="97", title="Row means", points=5)(rows.check)
    assert [(row["exercise"], row["outcome"], row["earned"]) for row in progress_rows()] == [
        ("rows.sum", "passed", 1),
        ("rows.mean", "passed", 5),
    ]


def test_two_notebooks_at_once_lose_nothing(rows: core.Exercise, home: Path) -> None:
    script = (
        "from metaface_lessons.exercises.core import Exercise, Outcome\n"
        "from metaface_lessons.exercises.progress import record_outcome\n"
        "e = Exercise('rows.mean', '97', '', 1, '', (), False, print)\n"
        "for _ in range(20): assert record_outcome(e, Outcome(e.name, 'wrong', '')) == []\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=Path(core.__file__).parents[2]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert progress_rows()[0]["tries"] == 40


def test_without_a_writable_home_the_check_works_and_says_so(
    rows: core.Exercise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "file" / "home"))  # not even root can make this folder
    assert check("rows.mean", row_means).passed
    hint("rows.mean")
    out = capsys.readouterr().out
    assert "✓ rows.mean: passed (2 points).\n(Not recorded:" in out
    assert "Hint 1 of 2" in out
    assert progress_rows()[0]["outcome"] == "open"


def test_a_lock_that_is_never_released_is_not_waited_for_forever(
    rows: core.Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["metaface_lessons.exercises.progress"]  # `exercises.progress` is the function
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.2)
    monkeypatch.setattr(paths, "_try_lock", lambda file: False)
    assert "Not recorded: " in record_outcome(rows, Outcome("rows.mean", "passed", ""))[0]


def test_reading_a_file_leaves_no_warning(rows: core.Exercise) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert exercises.progress_rows()[0]["outcome"] == "open"


def test_a_damaged_file_is_set_aside_under_the_lock_alone(
    rows: core.Exercise, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another notebook may have begun a new file since this one read the damaged one: that must stay."""
    home.mkdir()
    progress_file().write_bytes(b"damaged")
    module = sys.modules["metaface_lessons.exercises.progress"]
    parsed = module._parsed

    def read_and_then_another_begins(path: Path) -> Any:
        monkeypatch.setattr(module, "_parsed", parsed)
        try:
            return parsed(path)
        finally:
            path.unlink()
            check("rows.mean", row_means)

    monkeypatch.setattr(module, "_parsed", read_and_then_another_begins)
    assert progress_rows()[0]["outcome"] == "passed"
    assert list(home.glob("progress.damaged-*")) == []


def test_a_progress_file_behind_a_link_is_written_there(rows: core.Exercise, home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (tmp_path / "shared.json").write_text("{}")
    progress_file().symlink_to(tmp_path / "shared.json")
    check("rows.mean", row_means)
    assert progress_file().is_symlink()
    assert "rows.mean" in (tmp_path / "shared.json").read_text()
    progress_file().unlink()
    progress_file().mkdir()
    assert progress_rows()[0]["outcome"] == "open"


def test_a_notebook_shows_the_progress_as_a_table(rows: core.Exercise) -> None:
    check("rows.mean", row_means)
    table = progress_table(progress_rows())
    assert table.title == progress_text(progress_rows()).splitlines()[-1]
    (cells,) = table.rows
    assert cells == ("✓ rows.mean", "97", "passed", f"{rows.points}/{rows.points}", "< 1 h ago", rows.title)


def test_yours_is_your_answer_once_it_passes(rows: core.Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    core.right_answer("rows.mean")(lambda x: x.sum(dim=1) / x.shape[1])
    for answer in (None, lambda x: x.mean(dim=0)):
        other = yours("rows.mean", answer)
        assert other is not answer
        assert other is rows.right_answers[0]
    assert yours("rows.mean", row_means) is row_means
    assert capsys.readouterr().out == ""
    assert not progress_file().exists()


def test_a_file_that_may_not_be_read_is_said(rows: core.Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    check("rows.mean", row_means)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.warns(UserWarning, match="may not be read, so this shows no progress"):
        assert progress_rows()[0]["outcome"] == "open"
