"""The verification behind lesson 07: parts that are done once, means over seeds, differences on the same pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import from_json, mean_over_seeds
from metaface_lessons.experiments import verification
from metaface_lessons.runs.protocols import SCORES
from tests.helpers import shape

FEW: dict[str, Any] = {"seeds": (0, 1), "steps": {"protonet": 20}, "each": 60, "episodes": 30}
METHODS = ("protonet", "pixels", "lbp", "lda", "whitened pca", "lda, squared")

pytestmark = pytest.mark.filterwarnings("ignore:A false match rate")


@pytest.fixture(scope="module", autouse=True)
def few_samples() -> Any:
    """Of the bootstrap, which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "SAMPLES", 30)
        patch.setattr("metaface_lessons.runs.protocols.SAMPLES", 10)
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def found(photos: str, work: Path) -> dict[str, Any]:
    return verification.measure(photos, **FEW, work=work)


def test_what_is_measured_has_the_shape_of_what_is_stored(found: dict[str, Any]) -> None:
    old = verification.load()
    for key in set(old) - {"command", "date", "commit", "device", "methods", "seeds"}:
        assert shape(found[key]) == shape(old[key])
    for name in METHODS:
        assert shape(found["methods"][name]) == shape(old["methods"][name])
        assert shape(found["seeds"]["1"][name]) == shape(old["seeds"]["1"][name])


@pytest.mark.parametrize("whose", ["stored", "measured"])
def test_means_are_those_of_the_seeds(found: dict[str, Any], whose: str) -> None:
    result = verification.load() if whose == "stored" else found
    for name, row in result["methods"].items():
        own = [seed[name] for seed in result["seeds"].values()]
        for key in SCORES:
            assert row[key] == pytest.approx(mean_over_seeds([one[key] for one in own]), abs=1e-4)
        assert row["accuracy_deviation"] == pytest.approx(np.std([one["accuracy"] for one in own], ddof=1), abs=1e-4)


def test_differences_are_those_of_the_same_pairs_and_episodes(found: dict[str, Any]) -> None:
    methods = found["methods"]
    for key, accuracy in (("accuracy", lambda row: row), ("1-shot", lambda row: row["accuracy"])):
        table = found["paired"][key]
        assert sum(len(row) for row in table.values()) == 6 * 5 // 2
        for better, row in table.items():
            for other, difference in row.items():
                wanted = accuracy(methods[better][key]) - accuracy(methods[other][key])
                assert difference["mean"] == pytest.approx(wanted, abs=2.1e-4)
                assert difference["mean"] >= 0
                assert {"over_people", "over_seeds"} < set(difference)


def test_the_people_have_the_accuracy_that_is_reported(found: dict[str, Any]) -> None:
    for seed, rows in found["people_of"].items():
        assert len(rows["people"]) == found["people"]
        pairs = {kind: np.array(rows["pairs"][kind].split(), dtype=int) for kind in ("genuine", "impostor")}
        assert pairs["genuine"].sum() == 60
        assert pairs["impostor"].sum() == 120  # each is of two people
        for name in METHODS:
            true, false = (
                np.array(rows["accepted"][name][kind].split(), dtype=int).sum() / pairs[kind].sum() for kind in pairs
            )
            assert (true + 1 - false) / 2 == pytest.approx(found["seeds"][seed][name]["accuracy"], abs=1e-4)
        assert set(from_json(found["evaluations"][seed])) == set(METHODS)


def test_an_interrupted_measurement_goes_on_and_gives_the_same(
    found: dict[str, Any], photos: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = work / "verification"
    (parts / "baselines-0.json").write_text("damaged")
    (parts / "protonet-1.json").unlink()
    measured, draw = list[int](), verification.draw_pairs

    def draw_pairs(faces: Any, each: int, folds: int = 1, seed: int = 0) -> Any:
        measured.append(seed)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return draw(faces, each, folds, seed)

    monkeypatch.setattr(verification, "draw_pairs", draw_pairs)
    with pytest.raises(KeyboardInterrupt):
        verification.measure(photos, **FEW, work=work)
    assert verification.measure(photos, **FEW, work=work) == found
    assert measured == [0, 0, 1, 1, 1]  # two draws each: baselines of seed 0, then protonet of seed 1, twice begun


def test_a_run_of_more_steps_is_not_taken_for_one_of_fewer(photos: str, work: Path, found: dict[str, Any]) -> None:
    fewer = verification.measure(photos, **FEW | {"seeds": (0,), "steps": {"protonet": 5}}, work=work)
    assert fewer["methods"]["protonet"]["steps"] == 5
    assert fewer["seeds"]["0"]["protonet"] != found["seeds"]["0"]["protonet"] | {"steps": 5}


def test_missing_faces_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_faces(name: str) -> None:
        raise MetaFaceError(f"{name} is not here.")

    monkeypatch.setattr(verification, "load_faces", load_faces)
    with pytest.raises(MetaFaceError, match="lfw is not here"):
        verification.run(verification.argparse.Namespace(seeds=[0]))
