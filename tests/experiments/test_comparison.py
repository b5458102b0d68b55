"""The comparison behind lesson 06: a training by shares, which is not repeated, and the means over seeds."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import from_json, mean_over_seeds
from metaface_lessons.experiments import comparison
from metaface_lessons.experiments.comparison import PROTOCOLS, Plan, measure, measure_part
from tests.helpers import random_faces, shape

LEARNERS = ("protonet",)
PLAN = Plan(budget=1, steps=dict.fromkeys(LEARNERS, 16), episodes=30, glance=2)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def found(photos: str, work: Path) -> dict[str, Any]:
    return measure(photos, PLAN, seeds=(0, 1), work=work, part=measure_part)


def test_what_is_measured_has_the_shape_of_what_is_stored(found: dict[str, Any]) -> None:
    old = comparison.load("lfw")
    for key in set(old) - {"command", "date", "commit", "device", "learners", "seeds"}:
        assert shape(found[key]) == shape(old[key])
    for name in (*LEARNERS, "pixels", "lbp", "lda"):
        assert shape(found["learners"][name]) == shape(old["learners"][name])
        assert shape(found["seeds"]["1"][name]) == shape(old["seeds"]["1"][name])
    assert len(found["learners"]["protonet"]["curve"]) == len(old["learners"]["protonet"]["curve"])


@pytest.mark.parametrize("faces_of", ["lfw", "procedural", ""])
def test_means_are_those_of_the_seeds(found: dict[str, Any], faces_of: str) -> None:
    result = comparison.load(faces_of) if faces_of else found
    means = mean_over_seeds(list(result["seeds"].values()))
    for name, row in means.items():
        for protocol in PROTOCOLS:
            assert result["learners"][name][protocol] == pytest.approx(row[protocol], abs=1.01e-4)


def test_differences_are_those_of_the_stored_evaluations(found: dict[str, Any]) -> None:
    for protocol in PROTOCOLS:
        seeds = [from_json(found["evaluations"][seed][protocol]) for seed in ("0", "1")]
        table = found["paired"][protocol]
        assert sum(len(row) for row in table.values()) == 4 * 3 // 2
        for better, row in table.items():
            for other, difference in row.items():
                wanted = np.mean([one[better].accuracy - one[other].accuracy for one in seeds])
                assert difference["mean"] == pytest.approx(wanted, abs=1e-4)
                assert difference["mean"] >= 0
                assert {"over_people", "over_episodes", "over_seeds"} < set(difference)
        best = found["best_baseline"][protocol]
        accuracy = {name: found["learners"][name][protocol]["accuracy"] for name in ("pixels", "lbp", "lda")}
        assert accuracy[best] == max(accuracy.values())


def test_a_curve_goes_from_share_to_share_of_one_training(found: dict[str, Any], photos: str, work: Path) -> None:
    part = measure_part(photos, "protonet", 0, PLAN, work)
    costs = part["costs"]["protonet"]
    assert [point["seconds"] for point in costs["curve"]] == sorted({point["seconds"] for point in costs["curve"]})
    assert costs["seconds"] == costs["curve"][-1]["seconds"]
    assert costs["steps"] == 16


def test_what_is_done_is_not_measured_again(found: dict[str, Any], photos: str, work: Path) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("it was done already")

    again = measure(photos, PLAN, seeds=(0, 1), work=work, part=refuse)
    assert again == found
    other = Plan(budget=1, steps=PLAN.steps, episodes=31, glance=2)
    with pytest.raises(AssertionError, match="already"):  # what was measured with another plan does not count
        measure(photos, other, seeds=(0, 1), work=work, part=refuse)


def test_an_interrupted_training_goes_on_and_gives_the_same(
    found: dict[str, Any], photos: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure_part(photos, "protonet", 0, PLAN, work)
    train, trained = comparison.train, list[int]()

    def interrupted(settings: Any, folder: Path, steps: int) -> Any:
        trained.append(steps)
        if trained == [1, 2, 4]:  # in the middle of the third share: a step is made, and stored
            train(settings, folder, steps=3)
            raise KeyboardInterrupt
        return train(settings, folder, steps=steps)

    monkeypatch.setattr(comparison, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_part(photos, "protonet", 0, PLAN, tmp_path)
    found = measure_part(photos, "protonet", 0, PLAN, tmp_path)
    assert trained == [1, 2, 4, 4, 8, 16]
    assert found["evaluations"] == whole["evaluations"]
    curves = [[point["accuracy"] for point in one["costs"]["protonet"]["curve"]] for one in (found, whole)]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("lost", ["seconds", "accuracy"])
def test_a_damaged_part_is_measured_again_from_the_start_of_its_training(
    lost: str, found: dict[str, Any], photos: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    whole = measure_part(photos, "protonet", 0, PLAN, tmp_path)
    parts = comparison._parts(photos, PLAN, tmp_path)
    parts.file("protonet-0").write_text("{")
    parts.file(f"protonet-0-4-{lost}").write_text("")
    train, trained = comparison.train, list[int]()

    def counted(settings: Any, folder: Path, steps: int) -> Any:
        trained.append(steps)
        return train(settings, folder, steps=steps)

    monkeypatch.setattr(comparison, "train", counted)
    again = measure_part(photos, "protonet", 0, PLAN, tmp_path)
    assert trained == [1, 2, 4, 8, 16]  # a training does not go back to its fourth step
    assert again["evaluations"] == whole["evaluations"]
    curves = [[point["accuracy"] for point in one["costs"]["protonet"]["curve"]] for one in (again, whole)]
    assert curves[0] == curves[1]


def test_the_seconds_of_an_interrupted_share_are_those_of_the_whole(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = comparison.settings_of("protonet", photos, 0)
    comparison.train(settings, tmp_path / "run", steps=6)
    clock = itertools.count(100, 30)
    monkeypatch.setattr(comparison.time, "process_time", lambda: next(clock))
    assert comparison._seconds(settings, tmp_path / "run", before=4, steps=8) == 60  # 30 for the last two of four steps


def test_the_command_measures_a_part_in_a_process_of_its_own(photos: str, tmp_path: Path) -> None:
    plan = Plan(budget=1, steps={}, episodes=30, glance=2)
    found = measure(photos, plan, seeds=(0,), work=tmp_path)
    assert set(found["learners"]) == {"pixels", "lbp", "lda"}
    with pytest.raises(MetaFaceError, match=r"nonsense on .* with seed 0 failed.*log says why"):
        measure(photos, Plan(1, {"nonsense": 4}), seeds=(0,), work=tmp_path)
    assert "nonsense" in next(tmp_path.rglob("nonsense-0.log")).read_text()


def test_faces_that_are_missing_are_named_and_the_others_still_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = list[str]()

    def measure_nothing(faces: str, *_: Any) -> dict[str, Any]:
        measured.append(faces)
        return {"learners": {}}

    def load_faces(name: str) -> None:
        if name == "lfw":
            raise MetaFaceError("LFW is not here.")

    monkeypatch.setattr(comparison.stored, "load_faces", load_faces)
    monkeypatch.setattr(comparison.stored, "RESULTS", tmp_path)
    monkeypatch.setattr(comparison, "import_learn2learn", lambda: None)
    monkeypatch.setattr(comparison, "measure", measure_nothing)
    arguments = comparison.argparse.Namespace(memory=None, one=None, faces=["lfw", "procedural"], seeds=[0], jobs=1)
    with pytest.raises(MetaFaceError, match=r"missing: lfw \(LFW is not here\.\)"):
        comparison.run(arguments)
    assert measured == ["procedural"]
    kept = json.loads((tmp_path / "comparison-procedural.json").read_text())
    assert kept["command"] == "metaface experiment comparison --faces procedural --seeds 0"


def test_a_result_that_is_not_stored_says_how_to_measure_it() -> None:
    with pytest.raises(MetaFaceError, match="Measure it: metaface experiment comparison --faces olivetti"):
        comparison.load("olivetti")


def test_fixed_features_are_computed_again_when_their_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    novel = random_faces(people=8, each=6)
    method = comparison.baselines(random_faces(people=8, each=6, seed=1))["pixels"]
    embedding: Any = method.embedding
    computed, features = list[int](), embedding._features

    def counted(images: Any) -> Any:
        computed.append(len(images))
        return features(images)

    monkeypatch.setattr(embedding, "_features", counted)
    comparison.adaptation(method, novel, repeats=4)
    # Four images of five people to learn from, and one of each to answer. The first are also tried alone and in another
    # order, once.
    assert computed == [20, 1, 8, 8, 8, 5] + [20, 5] * 3
