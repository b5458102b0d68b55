"""The sinusoids behind lesson 03: trainings that are done once, errors on the same tasks, and the stored weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import sinusoids
from metaface_lessons.experiments.sinusoids import METHODS, load_methods, make_methods, measure
from tests.helpers import shape


def test_what_is_measured_has_the_shape_of_what_is_stored(tmp_path: Path) -> None:
    old, found = sinusoids.load(), measure(steps=3, test_tasks=20, work=tmp_path)
    for key in set(old) - {"command", "date", "device"}:
        assert shape(found[key]) == shape(old[key])
    assert {key: value for key, value in old.items() if key in found and not isinstance(value, dict)} == {
        "outer_steps": sinusoids.STEPS,
        "tasks": sinusoids.TASKS,
        "shots": sinusoids.SHOTS,
        "inner_rate": sinusoids.INNER_RATE,
        "test_tasks": sinusoids.TEST_TASKS,
    }


def test_differences_are_on_the_same_tasks(tmp_path: Path) -> None:
    found = measure(steps=3, test_tasks=20, work=tmp_path)
    for one, row in found["paired"].items():
        for other, difference in row.items():
            wanted = np.subtract(found[one]["mse"], found[other]["mse"])
            assert difference["mean"] == pytest.approx(wanted, abs=1.1e-4)
            assert max(difference["ci95"]) < 0.5 * min(found[one]["ci95"])  # what is hard for one is so for the other
    assert sum(map(len, found["paired"].values())) == 3


def test_an_interrupted_measurement_goes_on_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors, measured = sinusoids._errors, list[str]()

    def once_interrupted(name: str, *arguments: Any) -> Any:
        measured.append(name)
        if measured == ["MAML", "FOMAML"]:
            raise KeyboardInterrupt
        return errors(name, *arguments) | {"seconds": 1.0}

    monkeypatch.setattr(sinusoids, "_errors", once_interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(steps=3, test_tasks=20, work=tmp_path)
    found = measure(steps=3, test_tasks=20, work=tmp_path)
    assert measured == ["MAML", "FOMAML", "FOMAML", "joint training"]
    (tmp_path / "sinusoids" / "MAML.json").write_text("damaged")
    assert measure(steps=3, test_tasks=20, work=tmp_path) == found
    assert measured[4:] == ["MAML"]
    assert measure(steps=2, test_tasks=20, work=tmp_path) != found
    assert measured[5:] == list(METHODS)


def test_weights_are_trained_stored_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "sinusoids.pt"
    with pytest.raises(MetaFaceError, match="Make it: metaface experiment sinusoids --only weights"):
        load_methods(file)
    make_methods(file, steps=3, progress=False)
    methods = load_methods(file)
    assert {name: method.steps for name, method in methods.items()} == {"MAML": 1, "joint training": 0}
    first, second = (next(method.network.parameters()) for method in methods.values())
    assert not torch.equal(first, second)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(MetaFaceError, match="damaged"):
        load_methods(file)
    torch.save({"format": 99}, file)
    with pytest.raises(MetaFaceError, match="by a newer version of the course"):
        load_methods(file)


@pytest.mark.slow
def test_maml_learns_to_fit_a_sinusoid_and_joint_training_does_not(tmp_path: Path) -> None:
    """A fifth of the training that is stored."""
    found = measure(steps=4000, work=tmp_path)
    assert found["MAML"]["mse"][-1] < 0.35
    assert found["joint training"]["mse"][-1] > 1.5
    assert found["MAML"]["mse"][0] > 2.5  # before the first step it knows nothing of the task, either
