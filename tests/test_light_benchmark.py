"""The benchmark behind lesson 10: every person a stranger once, what is done is kept, means and pairs are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons.experiments import light
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.faceset import FaceSet
from tests.helpers import random_faces


def lamps(people: int) -> FaceSet:
    """People of noise and a pattern, twenty lights each, four in every subset."""
    faces = random_faces(people, 20, size=light.YALE_SIZE)
    number = torch.arange(len(faces)) % 20
    conditions = {
        "azimuth": number * 10.0,
        "elevation": torch.zeros(len(faces)),
        "subset": 1.0 + number // 4,
    }
    return FaceSet(faces.images, faces.identity, conditions, name="lamps")


def test_each_person_is_held_out_once_and_never_trained_on() -> None:
    faces = lamps(28)
    held = []
    for base, novel in light.groups(faces):
        assert not set(base.identities.tolist()) & set(novel.identities.tolist())
        assert len(base.identities) == 21
        held += novel.identities.tolist()
    assert sorted(held) == list(range(28))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    smaller = {"RUNS": tmp_path, "SEEDS": (0, 1), "BLENDS": 2, "STEPS": 2, "SHORT": 1, "EPISODES": 10}
    for constant, value in (smaller | {"VARIANTS": ("learner", "no blends")}).items():
        monkeypatch.setattr(light, constant, value)
    monkeypatch.setattr(light, "yale_baselines", lambda base: {"pixels": light.pixels()})
    return tmp_path


def test_what_was_measured_is_kept_and_summed_up(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = lamps(28)
    found = light.measure_yale(faces, faces)
    monkeypatch.setattr(light, "meta_train", None)  # nothing is trained again
    monkeypatch.setattr(light, "evaluate", None)
    assert light.measure_yale(faces, faces)["methods"] == found["methods"]

    def stored(kind: str, group: int, seed: int) -> dict[str, Any]:
        return dict(json.loads((small / "extended-yale-b" / f"{kind}-{group}-{seed}.json").read_text()))

    runs = [stored("learner", g, s) | stored("baselines", g, s) for g in range(light.GROUPS) for s in light.SEEDS]
    mean = {
        name: np.mean([np.mean(run[name][subset]["episodes"]) for run in runs for subset in "234"])
        for name in ("learner", "pixels")
    }
    assert found["methods"]["learner"]["2-4"]["accuracy"] == pytest.approx(mean["learner"], abs=2e-4)
    ahead = found["differences"]["pixels"]["2-4"]["ahead"]
    assert ahead == pytest.approx(mean["learner"] - mean["pixels"], abs=2e-4)
    assert set(found["variants"]) == {"steps", *light.VARIANTS}
    assert found["variants"]["learner"]["2-5"]["loses"] == [0, 0]
    light.show_yale(found)


def test_learner_and_baselines_meet_the_same_episodes() -> None:
    """Normalising a face set leaves its episodes: the stored comparison rests on it."""
    faces = lamps(8)
    twin = light.normalised(faces, "CLAHE")
    one = light.by_subset({"": light.pixels(light.NORMALISATIONS["CLAHE"])}, faces, seed=3)[""]
    other = light.by_subset({"": light.pixels()}, twin, seed=3)[""]
    for subset in light.SUBSETS:
        assert one[subset].episodes.tolist() == other[subset].episodes.tolist()


def test_stored_results_say_how_they_were_made() -> None:
    for name in ("extended-yale-b", "procedural"):
        stored = json.loads((light.DATA / "results" / f"light-{name}.json").read_text())
        assert {"command", "date", "commit", "device"} <= set(stored)


def test_the_real_protocol_has_people_enough(shared_faces: Path) -> None:
    faces = load_faces(f"extended-yale-b:{shared_faces}/extended_yale_b", size=16)
    for _, novel in light.groups(faces):
        for subset in light.SUBSETS:
            kept = {"support_where": {"subset": 1}, "query_where": {"subset": subset}}
            assert light.EpisodeSampler(novel, light.WAYS, light.SHOTS, light.QUERIES, **kept).people == 7
