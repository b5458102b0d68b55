"""The procedural faces are a fair test: the ranges that the data card promises, with tolerance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import fair_faces
from metaface_lessons.experiments.fair_faces import Plan, measure, unfair
from metaface_lessons.faces.procedural import DOMAINS

FEW = Plan(people=24, images=6, steps=3, control_steps=2, episodes=20)


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
def test_the_procedural_faces_are_a_fair_test(domain: str, tmp_path: Path) -> None:
    rows = measure([domain], work=tmp_path)["domains"][domain]["rows"]
    assert len(rows) == 7
    assert unfair(rows, tolerance=0.02) == []  # for machines that round differently


def test_parts_are_measured_once_and_again_if_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, trained = fair_faces.train, list[int]()

    def once_interrupted(faces: Any, steps: int, *arguments: Any, **options: Any) -> Any:
        trained.append(steps)
        if trained == [3, 2]:
            raise KeyboardInterrupt
        return train(faces, steps, *arguments, **options)

    monkeypatch.setattr(fair_faces, "train", once_interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(["sketch"], FEW, work=tmp_path)
    found = measure(["sketch"], FEW, work=tmp_path)
    assert trained == [3, 2, 2, 2]
    (tmp_path / "fair_faces" / "sketch-full.json").write_text("damaged")
    assert measure(["sketch"], FEW, work=tmp_path) == found
    assert trained[4:] == [3]

    result = found["domains"]["sketch"]
    assert list(result["rows"]) == [
        "pixels, clean",
        "pixels, full nuisance",
        "LDA, full nuisance",
        "ProtoNet, full nuisance",
        *fair_faces.CONTROLS,
        "mean brightness only",
    ]
    assert sum(map(len, result["paired"].values())) == 3


def test_a_row_out_of_its_range_is_named() -> None:
    rows = {"pixels": {"accuracy": 0.46, "lowest": 0.2, "highest": 0.45}}
    assert unfair(rows) == ["pixels: 46.0 %, not in 20.0 to 45.0"]
    assert unfair(rows, tolerance=0.02) == []


def test_a_result_that_is_not_stored_says_how_to_measure_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fair_faces, "FILE", tmp_path / "fair-faces.json")
    with pytest.raises(MetaFaceError, match="Measure it: metaface experiment fair_faces"):
        fair_faces.load()
