"""Where files are, and how one is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaface_lessons import paths


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", "")
    assert paths.sklearn_data() == Path.home() / "scikit_learn_data"
