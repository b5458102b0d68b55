"""What `metaface train` and `metaface evaluate` give on real faces: trained once, tested with each number of shots."""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import mean_over_seeds
from metaface_lessons.experiments import few_shot, stored
from metaface_lessons.experiments.few_shot import TRAININGS, Training, measure
from tests.helpers import shape


@pytest.fixture(scope="module")
def training(photos: str) -> Training:
    return Training("protonet", photos, steps=(3, 4), tests={1: 4, 4: 1})


def test_what_is_measured_has_the_shape_of_what_is_stored(training: Training, tmp_path: Path) -> None:
    found = measure(training, shots=4, episodes=20, work=tmp_path)
    old = few_shot.load("protonet", "lfw", 4)
    for key in set(old) - {"command", "date", "machine", "runs"}:
        assert shape(found[key]) == shape(old[key])
    for mine, theirs in zip(found["runs"], old["runs"], strict=False):
        assert shape({key: mine[key] for key in theirs}) == shape(theirs)
    assert [run["steps"] for run in found["runs"]] == [3, 4]
    assert (found["ways"], found["shots"], found["queries"], found["episodes"]) == (5, 4, 1, 20)


@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: f"{training.learner}-{training.faces}")
def test_all_results_are_stored_and_their_means_are_those_of_the_seeds(training: Training) -> None:
    for shots, queries in training.tests.items():
        found = few_shot.load(training.learner, training.faces, shots)
        assert (found["shots"], found["queries"], found["episodes"]) == (shots, queries, few_shot.EPISODES)
        assert tuple(run["steps"] for run in found["runs"]) == training.steps
        for name, row in found["baselines"].items():
            assert row == pytest.approx(mean_over_seeds([run["baselines"][name] for run in found["runs"]]), abs=1e-4)


def test_an_interrupted_measurement_goes_on_and_gives_the_same(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, trained = stored.train, list[str]()

    def once_interrupted(settings: Any, folder: Path, **options: Any) -> Any:
        trained.append(folder.name[-1])
        if trained == ["0", "1"]:
            raise KeyboardInterrupt
        return train(settings, folder, **options)

    monkeypatch.setattr(stored, "train", once_interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(training, shots=1, episodes=20, work=tmp_path)
    found = measure(training, shots=1, episodes=20, work=tmp_path)
    assert measure(training, shots=1, episodes=20, work=tmp_path) == found
    assert trained == ["0", "1", "1"]  # what is trained is not touched
    for part in (tmp_path / "few_shot").glob("*-1shot.json"):
        part.write_text("damaged")
    assert measure(training, shots=1, episodes=20, work=tmp_path) == found


def test_a_training_that_went_further_starts_again(training: Training, tmp_path: Path) -> None:
    settings = few_shot.settings_of("protonet", training.faces, 0)
    longer, weights = (stored.trained(settings, tmp_path / "run", steps) for steps in (4, 2))
    assert (longer.record["training"]["steps"], weights.record["training"]["steps"]) == (4, 2)
    assert stored.trained(settings, tmp_path / "run", 2).record == weights.record
    other = few_shot.settings_of("protonet", training.faces, 0, temperature=7)
    assert stored.trained(other, tmp_path / "run", 2).settings == other


def test_the_command_measures_what_is_here_and_names_what_is_missing(
    training: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = Training("protonet", f"folder:{tmp_path / 'absent'}", steps=(1,), tests={1: 4})
    monkeypatch.setattr(few_shot, "TRAININGS", (absent, Training("protonet", training.faces, (2,), {1: 4})))
    monkeypatch.setattr(few_shot, "measure", functools.partial(measure, episodes=20))
    monkeypatch.setattr(few_shot, "file_of", lambda learner, faces, shots: tmp_path / f"{learner}-{shots}shot.json")
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    few_shot.add_arguments(parser)
    with pytest.raises(MetaFaceError, match=r"Not measured, because the faces are missing: folder:.*absent"):
        few_shot.run(parser.parse_args([]))
    kept = json.loads((tmp_path / "protonet-1shot.json").read_text())
    assert kept["command"].startswith("metaface experiment few_shot --learners protonet --faces folder:")
    assert kept["accuracy"] == kept["runs"][0]["accuracy"]
    assert few_shot.load("protonet", training.faces, 1) == kept
