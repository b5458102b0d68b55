"""What tests of exercises share: a learner's empty folder, and one exercise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metaface_lessons.exercises import core
from metaface_lessons.exercises.core import expect


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> core.Exercise:
    """The only exercise there is: the mean of each row."""
    core._load_lessons()  # now, or `find` would load them into the registry of this test
    monkeypatch.setattr(core, "_registry", {})

    @core.exercise("rows.mean", lesson="97", title="Row means", points=2, equation="(97.1)", hints=("Axis?", "dim=1"))
    def _(answer: Callable[..., Any]) -> None:
        x = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
        wanted = torch.tensor([2.0, 5.0])
        slips = {"That is the mean of each column.": x.mean(dim=0)}
        expect(answer(x), wanted, case="For x = [[1, 3], [5, 5]]", slips=slips)
        expect(x, torch.tensor([[1.0, 3.0], [5.0, 5.0]]))

    return core.find("rows.mean")
