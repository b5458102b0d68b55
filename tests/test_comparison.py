"""The benchmark behind lesson 06: a training by shares, which is not repeated, and the means over seeds."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaface_lessons.experiments import comparison
from tests.helpers import random_faces

LEARNERS = ("protonet", "pretrain")


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of made-up people, and a comparison that takes seconds on it."""
    photos = random_faces(people=40, each=6, size=16, channels=3)
    for m, (image, person) in enumerate(zip(photos.images, photos.identity, strict=True)):
        file = tmp_path / "photos" / f"person{int(person):02d}" / f"{m}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(file)
    name = f"folder:{tmp_path / 'photos'}"
    monkeypatch.setitem(comparison.STEPS, name, dict.fromkeys(LEARNERS, 16))
    monkeypatch.setitem(comparison.BUDGET, name, 1)
    for constant, value in {"EPISODES": 6, "GLANCE": 2}.items():
        monkeypatch.setattr(comparison, constant, value)
    monkeypatch.setattr(comparison, "training_memory", lambda learner, shape: 1)
    return name


def test_shares_of_one_training_and_means_over_seeds(
    faces: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "RUNS", tmp_path / "runs")
    folder = tmp_path / "runs" / faces
    folder.mkdir(parents=True)
    for seed in (0, 1):
        for learner in (*LEARNERS, comparison.BASELINES):
            comparison.measure(faces, learner, seed, folder / f"{learner}-{seed}.json")
    trained = comparison.load_run(folder / "protonet-0")
    assert trained.record["training"]["steps"] == 16
    curve = json.loads((folder / "protonet-0.json").read_text())["protonet"]["curve"]
    assert len(curve) == len(comparison.SHARES)
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(curve))

    monkeypatch.setattr(comparison, "train", None)  # what is measured is not trained again
    comparison.measure(faces, "protonet", 0, folder / "protonet-0.json")

    found = comparison.collect(faces, [0, 1])
    assert set(found["learners"]) == {*LEARNERS, "pixels", "lbp", "lda"}
    each = [found["seeds"][seed]["protonet"]["4-shot"]["accuracy"] for seed in ("0", "1")]
    mean = found["learners"]["protonet"]["4-shot"]
    assert mean["accuracy"] == pytest.approx(np.mean(each), abs=1e-4)
    assert mean["deviation"] == pytest.approx(np.std(each, ddof=1), abs=1e-4)


def test_fixed_features_are_computed_anew_when_their_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    novel = random_faces(people=8, each=6)
    method = comparison.baselines(random_faces(people=8, each=6, seed=1))["pixels"]
    computed, features = [], method.embedding._features
    monkeypatch.setattr(method.embedding, "_features", lambda images: computed.append(len(images)) or features(images))
    comparison.adaptation(method, novel, repeats=4)
    assert computed == [20, 5] * 4  # four images of five people to learn from, and one of each to answer
