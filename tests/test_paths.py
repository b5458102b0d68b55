"""Where files are, and how one is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from metaface_lessons import paths
from metaface_lessons.paths import write_atomically


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("METAFACE_CACHE", paths.cache_dir), ("METAFACE_HOME", paths.home_dir), ("SCIKIT_LEARN_DATA", paths.sklearn_data)],
)
def test_a_variable_moves_a_folder(variable: str, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Path.home() / "elsewhere"
    monkeypatch.setenv(variable, "~/elsewhere")
    assert folder() == usual
    monkeypatch.delenv(variable)
    assert folder() != usual
    assert folder().is_absolute()


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", "")
    assert paths.sklearn_data() == Path.home() / "scikit_learn_data"


# ------------------------------------------------------------------------------------------------------- writing a file


def test_a_file_is_written_with_its_folder_and_then_replaced(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "file"
    for data in (b"first, and longer", b"second"):
        write_atomically(file, data)
        assert file.read_bytes() == data
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("before", [b"old", None])
def test_a_crash_leaves_what_was_there(
    moment: str, before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    if before is not None:
        file.write_bytes(before)

    def crash(*_: Any) -> None:
        assert [path.read_bytes() for path in tmp_path.iterdir() if path != file] == [b"new"], "written beside it"
        raise KeyboardInterrupt("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, moment, crash)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(file, b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if before is None else [before])


def test_who_may_read_a_file_is_decided_before_anything_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, replace, seen = tmp_path / "file", os.replace, list[int]()

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    def look(part: Path, whole: Path) -> None:
        seen.append(mode(part))
        replace(part, whole)

    monkeypatch.setattr(os, "replace", look)
    write_atomically(file, b"secret", mode=0o600)
    assert (seen, mode(file)) == ([0o600], 0o600)
    usual = tmp_path / "usual"
    usual.touch()
    write_atomically(file, b"for all")
    assert mode(file) == mode(usual)
