"""The benchmark behind lesson 09: trained once, measured once, and what it writes is what the lesson reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaface_lessons.experiments import adaptation
from metaface_lessons.faces.faceset import FaceSet, Split
from metaface_lessons.paths import DATA
from metaface_lessons.widgets import adaptation_explorer
from tests.helpers import random_faces


def small_split(seed: int = 0) -> Split:
    return random_faces(people=80, each=10, size=adaptation_explorer.SIZE, channels=3).split((0.6, 0.1, 0.3), seed=seed)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(adaptation, "FILE", tmp_path / "adaptation.pt")
    monkeypatch.setattr(adaptation, "RESULT", tmp_path / "adaptation.json")
    monkeypatch.setattr(adaptation, "small_split", small_split)
    for constant, value in {"TASKS": 3, "GLANCE": 2, "FACTORS": (1.0,), "IMAGES": (5,), "CONDITIONS": ["any"]}.items():
        monkeypatch.setattr(adaptation, constant, value)
    for learner in adaptation_explorer.STEPS:
        monkeypatch.setitem(adaptation_explorer.STEPS, learner, 1)


def shape_of(value: object) -> object:
    """The keys of nested dicts, without what other data make differ."""
    return {k: shape_of(v) for k, v in value.items()} if isinstance(value, dict) else type(value).__name__


def test_it_trains_once_and_writes_what_the_lesson_reads(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["adaptation", "--seeds", "0", "1"])
    assert adaptation.main() == 0
    found = json.loads((tmp_path / "adaptation.json").read_text())
    again = monkeypatch.setattr(adaptation, "measure", None)
    assert adaptation.main() == 0, again
    assert json.loads((tmp_path / "adaptation.json").read_text())["seeds"] == found["seeds"]
    assert list(adaptation_explorer.load_learners(tmp_path / "adaptation.pt")) == list(adaptation_explorer.LEARNERS)

    stored = json.loads((DATA / "results" / "adaptation.json").read_text())
    assert {*stored} <= {*found}
    for seed in ("0", "1"):
        ours, theirs = (shape_of(s["seeds"][seed]["inner loop"]["MAML"]["1-shot"]) for s in (found, stored))
        assert ours == theirs
        for name in ("none", "statistics of 5", "Tent, 5 steps at 0.1"):
            rows = [s["seeds"][seed]["cameras"]["cheap webcam"][name] for s in (found, stored)]
            assert shape_of(rows[0]) == shape_of(rows[1])


def test_no_picture_is_in_the_gallery_and_among_the_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[FaceSet] = []
    monkeypatch.setattr(adaptation, "EpisodeSampler", lambda faces, *a, **k: seen.append(faces))
    monkeypatch.setattr(adaptation, "evaluate", lambda *a: {})
    split = small_split()
    net = adaptation_explorer.make("protonet")
    adaptation.gallery(net, split.novel, split.novel, split.base)
    camera = seen[0].conditions["camera"]
    old, new = ({x.numpy().tobytes() for x in seen[0].images[camera == i]} for i in (0, 1))
    assert len(old) == len(new) == len(split.novel) // 2
    assert old.isdisjoint(new)
