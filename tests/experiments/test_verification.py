"""The verification behind lesson 07: parts that are done once, means over seeds, differences on the same pairs."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons.calibration import Calibration
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import corrected_resampled_t, from_json, mean_over_seeds, people_interval
from metaface_lessons.experiments import stored, verification
from metaface_lessons.faces import FaceSet, load_faces
from metaface_lessons.faces.pairs import draw_pairs
from metaface_lessons.runs.protocols import SCORES
from metaface_lessons.runs.recipes import FRACTIONS, RECIPES
from tests.helpers import shape

FEW: dict[str, Any] = {
    "seeds": (0, 1),
    "steps": 20,
    "each": 60,
    "episodes": 30,
    "candidates": {"gentle": {"scale": 10, "margin": 0.1}, "harsh": {"scale": 64, "margin": 1.5}},
    "long": (4, 6),
}
METHODS = (
    "protonet",
    "arcface",
    "arcface, s 64, m 0.5",
    "pixels",
    "lbp",
    "lda",
    "whitened pca",
    "lda, squared",
)

pytestmark = pytest.mark.filterwarnings("ignore:A false match rate")


@pytest.fixture(scope="module", autouse=True)
def few_samples() -> Any:
    """Of the bootstrap, and of the steps whose time is taken: they take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "SAMPLES", 30)
        patch.setattr("metaface_lessons.runs.protocols.SAMPLES", 10)
        patch.setattr(verification, "_seconds", functools.partial(verification._seconds, steps=2))
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def found(photos: str, work: Path) -> dict[str, Any]:
    return verification.measure(photos, **FEW, work=work)


def _one_of(found: dict[str, Any]) -> Any:
    """The shape of the innermost result of the first name of each level."""
    first = next(iter(found.values()))
    return _one_of(first) if isinstance(first, dict) and isinstance(next(iter(first.values())), dict) else shape(first)


def test_what_is_measured_has_the_shape_of_what_is_stored(found: dict[str, Any]) -> None:
    old = verification.load()
    said = {"command", "date", "commit", "versions", "processor", "device"}
    by_name = {"methods", "seeds", "evaluations", "people_of", "paired", "chosen"}  # seeds, methods or settings
    assert set(found) == set(old) - said
    for key in set(found) - by_name:
        assert shape(found[key]) == shape(old[key])
    for key in ("evaluations", "people_of"):
        assert shape(found[key]["1"]) == shape(old[key]["1"])
    for key, better in found["paired"].items():
        assert _one_of(better) == _one_of(old["paired"][key])
    assert found["chosen"].keys() == old["chosen"].keys()
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


def test_a_score_has_its_intervals_over_people_and_over_seeds(found: dict[str, Any]) -> None:
    base, _, novel = FRACTIONS
    for name in METHODS:
        for score in ("accuracy", "eer", "tar", "1-shot"):
            own = [seed[name][score] for seed in found["seeds"].values()]
            own = [one["accuracy"] for one in own] if score == "1-shot" else own
            estimate = verification.estimate(found, name, score)
            assert estimate.mean == pytest.approx(np.mean(own), abs=1e-4)
            assert estimate.over_seeds == pytest.approx(corrected_resampled_t(np.array(own), novel / base), abs=1e-3)
            if score != "1-shot":
                low, high = found["methods"][name][f"{score}95"]
                assert estimate.over_people == (high - low) / 2
    tests = [from_json(test)["arcface"] for test in found["evaluations"].values()]
    over_people = people_interval([(test.episodes, test) for test in tests])
    assert verification.estimate(found, "arcface", "1-shot").over_people == pytest.approx(over_people, nan_ok=True)
    assert set(verification.estimate(found, "arcface", "base_eer").intervals) == {"seeds"}


def test_differences_are_those_of_the_same_pairs_and_episodes(found: dict[str, Any]) -> None:
    methods = found["methods"]
    for key, accuracy in (("accuracy", lambda row: row), ("1-shot", lambda row: row["accuracy"])):
        table = found["paired"][key]
        assert sum(len(row) for row in table.values()) == 8 * 7 // 2
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
        if len(measured) == 2:
            raise KeyboardInterrupt
        return draw(faces, each, folds, seed)

    monkeypatch.setattr(verification, "draw_pairs", draw_pairs)
    with pytest.raises(KeyboardInterrupt):
        verification.measure(photos, **FEW, work=work)
    assert verification.measure(photos, **FEW, work=work) == found
    assert measured == [0, 1, 1, 1]  # baselines of seed 0; protonet of seed 1 draws twice, and was begun before


def test_a_run_of_more_steps_is_not_taken_for_one_of_fewer(
    photos: str, work: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(work, tmp_path / "work")
    fewer = verification.measure(photos, **FEW | {"seeds": (0,), "steps": 5, "long": ()}, work=tmp_path / "work")
    assert fewer["methods"]["protonet"]["steps"] == 5
    assert fewer["seeds"]["0"]["protonet"] != found["seeds"]["0"]["protonet"] | {"steps": 5}
    assert "long" not in fewer


def test_nobody_who_is_tested_chooses(photos: str, found: dict[str, Any]) -> None:
    everyone = load_faces(photos)
    base, choosers = verification.choosing(everyone, FEW["seeds"])
    novel = torch.cat([everyone.split(FRACTIONS, seed=seed).novel.identities for seed in FEW["seeds"]])
    assert set(base.identities.tolist()) == set(novel.tolist())
    assert set(choosers.identities.tolist()) == set(everyone.identities.tolist()) - set(novel.tolist())
    assert found["chosen"]["people"] == len(choosers.identities)
    assert found["chosen"]["steps"] == 10
    tried = {name: row["score"] for name, row in found["chosen"]["tried"].items()}
    assert set(tried) == set(FEW["candidates"])
    assert tried[found["chosen"]["best"]] == max(tried.values())


def test_arcface_is_trained_with_what_was_chosen_and_with_what_the_paper_has(found: dict[str, Any], work: Path) -> None:
    best = FEW["candidates"][found["chosen"]["best"]]
    for folder, scale, margin in (
        ("arcface-0", best["scale"], best["margin"]),
        ("arcface,-s-64,-m-0.5-0", 64.0, 0.5),
    ):
        record = json.loads((work / "verification" / folder / "run.json").read_text())
        assert (record["settings"]["scale"], record["settings"]["margin"]) == (scale, margin)
        assert record["training"]["steps"] == 20


def test_the_recipe_has_what_was_chosen() -> None:
    chosen = verification.load()["chosen"]
    assert set(chosen["tried"]) == set(verification.CANDIDATES)
    plan = verification.CANDIDATES[chosen["best"]]
    assert {key: RECIPES["arcface"][key] for key in plan} == plan


def test_a_calibration_is_read_on_the_half_on_which_it_was_not_fitted() -> None:
    people = torch.arange(40).repeat_interleave(3)
    faces = FaceSet(torch.zeros(120, 1, 2, 2, dtype=torch.uint8), people, name="none")
    pairs = draw_pairs(faces, 50, folds=2)
    scores = np.random.default_rng(0).normal(size=100) + 2 * (pairs.people[:, 0] == pairs.people[:, 1]).numpy()
    llr = verification.cross_calibrated(scores, pairs)
    for k in (0, 1):
        other = (pairs.fold != k).numpy()
        same = (pairs.people[:, 0] == pairs.people[:, 1]).numpy()
        assert np.allclose(llr[~other], Calibration.fit(scores[other], same[other]).llr(scores[~other]))


def test_calibrated_ratios_are_worth_what_is_reported(found: dict[str, Any]) -> None:
    for name, row in found["methods"].items():
        assert row["calibration"]["cllr"] >= row["calibration"]["cllr_min"] >= 0
        assert sum(count for *_, count in row["calibration"]["table"]) == found["pairs"] * len(FEW["seeds"])
        own = [seed[name]["calibration"]["cllr"] for seed in found["seeds"].values()]
        assert row["calibration"]["cllr"] == pytest.approx(np.mean(own), abs=1e-4)
    for better, others in found["paired"]["cllr"].items():
        for other, difference in others.items():
            gain = found["methods"][other]["calibration"]["cllr"] - found["methods"][better]["calibration"]["cllr"]
            assert difference["mean"] == pytest.approx(gain, abs=3e-4)
            assert difference["mean"] >= 0


def test_long_trainings_are_compared_after_each_number_of_steps(found: dict[str, Any], work: Path) -> None:
    long = found["long"]
    assert long["steps"] == [4, 6]
    assert set(long["methods"]) == {"protonet", "arcface"}
    for i, difference in enumerate(long["paired"]):
        one, other = (rows[i]["accuracy"] for rows in long["methods"].values())
        assert difference["mean"] == pytest.approx(one - other, abs=1e-4)
    assert stored.steps_of(work / "verification" / "long" / "arcface-0") == 6
    assert (work / "verification" / "long-arcface-4.json").exists()  # so that an interrupted training can go on


def test_a_step_has_its_seconds_and_images(found: dict[str, Any]) -> None:
    for name in ("protonet", "arcface", "arcface, s 64, m 0.5"):
        row = found["methods"][name]
        assert row["images"] == 20 * 20 * (1 + 4)  # steps, ways, images of each person
        assert 0 < row["cpu_seconds_per_step"] < 10
    assert "images" not in found["methods"]["lda"]


def test_missing_faces_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_faces(name: str) -> None:
        raise MetaFaceError(f"{name} is not here.")

    monkeypatch.setattr(verification, "load_faces", load_faces)
    with pytest.raises(MetaFaceError, match="lfw is not here"):
        verification.run(verification.argparse.Namespace(seeds=[0], long=False, jobs=1))
