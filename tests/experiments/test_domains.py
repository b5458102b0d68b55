"""What training on domains is worth: every training and control, stored once; means, pairs and people."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import from_json
from metaface_lessons.experiments import domains
from metaface_lessons.experiments.domains import Training
from metaface_lessons.faces import FaceSet
from metaface_lessons.faces.procedural import DOMAINS, procedural_domains
from tests.helpers import random_faces

TRAININGS = (
    Training(("photo",), "colour"),
    Training(("photo",), "plain"),
    Training(("near-infrared",), "plain"),
    *(Training(("photo", "near-infrared"), kind) for kind in ("pooled", "within", "leave one out")),
)


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return procedural_domains(identities=60, images=5, size=16, progress=False)


@pytest.fixture(scope="module")
def real() -> dict[str, FaceSet]:
    """A stand-in for either set of real faces: noise, in CUFS one photo and one sketch of each."""
    pairs = random_faces(people=12, each=2, size=16)
    pairs = FaceSet(pairs.images, pairs.identity, {"domain": torch.arange(24) % 2}, {"domain": ("photo", "sketch")})
    return {"lfw": random_faces(people=40, each=6, size=16), "cufs": pairs}


@pytest.fixture
def small(tmp_path: Path, faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the experiment with few steps, episodes and trainings."""
    smaller = {"SIZE": 16, "WIDTH": 4, "STEPS": 2, "EPISODES": 4, "FRACTIONS": (0.5, 0.2, 0.3), "TRAININGS": TRAININGS}
    for name, value in smaller.items():
        monkeypatch.setattr(domains, name, value)
    photos = faces.select(faces.where(domain="photo"))
    shown = {"outline only": photos, "background only": photos}
    monkeypatch.setattr(domains, "procedural_controls", lambda **options: shown)
    monkeypatch.setattr(domains, "FILE", tmp_path / "domains.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def without_seconds(found: Any) -> Any:
    """The result without what depends on the clock, as text (NaN equals NaN there)."""
    if isinstance(found, dict):
        return {key: without_seconds(value) for key, value in found.items() if key != "seconds"}
    return repr(found)


def test_all_trainings_are_measured_averaged_and_compared(
    small: Path, faces: FaceSet, real: dict[str, FaceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = domains.measure([0, 1], faces, real)
    monkeypatch.setattr(domains, "evaluate", None)  # all is kept
    assert repr(domains.measure([0, 1], faces, real)) == repr(found)

    names = [training.name for training in TRAININGS]
    assert set(found["trainings"]) == {*names, "lfw"}
    assert set(found["baselines"]) == {"pixels", "lbp", "lda", "brightness"}
    assert len(found["controls"]) == 2 * len(DOMAINS)
    pair, job = "photo, sketch", "not sketch: leave one out"

    def kept(job: str, seed: int) -> dict[str, Any]:
        file = small / f"runs/domains/{job.replace(': ', '-').replace(' ', '-')}-{seed}.json"
        return dict(json.loads(file.read_text())["found"])

    each = [from_json(kept(job, seed)["matrix"][pair])["it"] for seed in (0, 1)]
    pooled = [from_json(kept("not sketch: pooled", seed)["matrix"][pair])["it"] for seed in (0, 1)]
    accuracies = [round(one.accuracy, 4) for one in each]
    assert found["trainings"][job]["matrix"][pair]["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-4)
    assert [found["seeds"][seed][job][pair] for seed in ("0", "1")] == accuracies
    assert set(found["trainings"][job]["alignment"]) == {
        "photo, sketch",
        "photo, near-infrared",
        "sketch, near-infrared",
    }
    ahead = np.mean([ours.accuracy - theirs.accuracy for ours, theirs in zip(each, pooled, strict=True)])
    difference = found["paired"][job]["not sketch: pooled"][pair]
    assert difference["mean"] == pytest.approx(ahead, abs=1e-4)
    assert difference["over_people"] > 0
    assert difference["over_seeds"] >= 0
    assert set(found["paired"][job]) == {"not sketch: pooled", "not sketch: within"}
    rank = [kept("photo: plain", seed)["cufs"][pair]["whole"]["rank1"] for seed in (0, 1)]
    assert found["trainings"]["photo: plain"]["cufs"][pair]["whole"]["rank1"] == pytest.approx(np.mean(rank), abs=1e-4)

    assert set(found["by_person"]) == {
        *(f"{one}, {other}" for one in DOMAINS for other in DOMAINS),
        "lfw",
        *(f"cufs, {way}, {part}" for way in ("photo, sketch", "sketch, photo") for part in domains.REAL),
    }
    answers = found["by_person"][pair]
    asked, right = (sum(map(int, text.split())) for text in (answers["asked"], answers["right"][job]))
    assert right / asked == pytest.approx(np.mean([one.accuracy for one in each]), abs=1e-6)
    assert "photo: colour" in answers["right"]
    assert "photo: colour" not in found["by_person"]["lfw"]["right"]
    domains.show(found)


def test_an_interrupted_experiment_goes_on_and_gives_the_same(
    small: Path, faces: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, measure_job, done = domains.measure([0], faces, {}), domains.measure_job, list[str]()
    (small / "runs").rename(small / "before")

    def interrupted(job: str, *arguments: Any) -> Any:
        done.append(job)
        if done == domains.jobs()[:6]:
            raise KeyboardInterrupt
        return measure_job(job, *arguments)

    monkeypatch.setattr(domains, "measure_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        domains.measure([0], faces, {})
    assert without_seconds(domains.measure([0], faces, {})) == without_seconds(whole)
    assert done == domains.jobs()[:6] + domains.jobs()[5:], "what was finished is not measured again"
    assert "lfw" not in whole["by_person"], "and without real faces the rest is there"


def test_a_half_trained_network_is_not_measured(small: Path, faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    meta_train = domains.meta_train
    monkeypatch.setattr(domains, "meta_train", lambda *a, **o: replace(meta_train(*a, **o), stopped="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        domains.measure_job("photo: plain", 0, faces, {})


def test_other_real_faces_are_measured_anew(small: Path, real: dict[str, FaceSet]) -> None:
    with_both, alone = domains.parts_of(real), domains.parts_of({})
    with_both("pixels-0", lambda: 1)
    assert "pixels-0" in domains.parts_of(real)
    assert "pixels-0" not in alone


def test_the_command_measures_seeds_apart_and_says_what_is_missing(
    small: Path,
    faces: FaceSet,
    real: dict[str, FaceSet],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def load(source: str) -> FaceSet:
        if source == "procedural-domains":
            return faces
        if source == "lfw":
            return real["lfw"]
        raise MetaFaceError(f"There is no folder {source}.")

    calls: list[list[str]] = []

    def run_here(command: list[str], **options: Any) -> None:
        """What the other process would do, in this one."""
        calls.append(command)
        assert command[:3] == [sys.executable, "-m", "metaface_lessons.cli"]
        assert cli.main(command[3:]) == 0

    monkeypatch.setattr(domains, "load_faces", load)
    monkeypatch.setattr(domains, "subprocess", SimpleNamespace(run=run_here))
    monkeypatch.setattr(domains, "TRAININGS", TRAININGS[:1])
    monkeypatch.setattr(domains, "compared_with", lambda training: ["pixels"])
    command = ["experiment", "domains", "--seeds", "3", "4", "--cufs", "nowhere", "--jobs", "1"]
    assert cli.main(command) == 1
    assert "Not measured: cufs: There is no folder cufs:nowhere." in capsys.readouterr().err
    assert [call[-3] for call in calls] == ["3", "4"]
    found = domains.load()
    assert found["command"] == "metaface experiment domains --seeds 3 4"
    assert list(found["seeds"]) == ["3", "4"]
    assert set(found["paired"]) == {"photo: colour"}
    assert cli.main(command) == 1
    assert len(calls) == 2, "what is finished starts no process"


def test_the_name_of_a_training_says_its_domains() -> None:
    assert Training(domains.others("sketch"), "pooled").name == "not sketch: pooled"
    assert Training(("sketch",), "plain").name == "sketch: plain"
    assert domains.others("sketch") == ("photo", "near-infrared")
    known = {training.name for training in domains.TRAININGS} | {*domains.BASELINES, "lfw"}
    for training in domains.TRAININGS:
        assert set(domains.compared_with(training)) <= known - {training.name}


def test_the_stored_result_is_read_and_names_the_trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = domains.load()
    assert {*found["trainings"], *found["baselines"]} == set(domains.jobs())
    monkeypatch.setattr(domains, "FILE", tmp_path / "none.json")
    with pytest.raises(MetaFaceError, match=r"none\.json is missing\. Measure it: metaface experiment domains"):
        domains.load()
