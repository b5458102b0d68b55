"""Adapting: learners are trained once, parts measured once, and what is stored has what the lesson reads."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import from_json
from metaface_lessons.experiments import adaptation, stored
from metaface_lessons.faces.faceset import FaceSet, Split
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protonet import ProtoNet
from tests.helpers import random_faces


def small_split(seed: int = 0) -> Split:
    return random_faces(people=80, each=10, size=adaptation.SIZE, channels=3).split((0.6, 0.1, 0.3), seed=seed)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the experiment with few steps, tasks, cameras and learners."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adaptation, "WEIGHTS", tmp_path / "adaptation.pt")
    monkeypatch.setattr(adaptation, "FILE", tmp_path / "adaptation.json")
    monkeypatch.setattr(adaptation, "small_split", small_split)
    smaller = {"TASKS": 4, "GLANCE": 2, "FACTORS": (1.0,), "IMAGES": (5,), "CONDITIONS": {"any": "any"}}
    smaller["CAMERAS"] = {name: adaptation.CAMERAS[name] for name in ("noisy", "cheap webcam")}
    smaller["LEARNERS"] = {"MAML": "maml", "ProtoNet": "protonet"}
    for constant, value in smaller.items():
        monkeypatch.setattr(adaptation, constant, value)
    for learner in adaptation.STEPS:
        monkeypatch.setitem(adaptation.STEPS, learner, 1)
    return tmp_path


def shape_of(value: object) -> object:
    """The keys of nested dicts, without what other data make differ."""
    return {k: shape_of(v) for k, v in value.items()} if isinstance(value, dict) else type(value).__name__


def without_times(found: Any) -> Any:
    """The result without what depends on the clock, as text (NaN equals NaN there)."""
    if isinstance(found, dict):
        return {key: without_times(value) for key, value in found.items() if key not in ("seconds", "ms")}
    return repr(found)


def test_all_is_measured_compared_and_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yale = random_faces(people=20, each=12, size=48)
    found = adaptation.measure([0, 1], yale)
    monkeypatch.setattr(adaptation, "meta_train", None)  # all is kept
    monkeypatch.setattr(adaptation, "evaluate", None)
    monkeypatch.setattr(adaptation, "after_steps", None)
    assert repr(adaptation.measure([0, 1], yale)) == repr(found)
    assert list(adaptation.load_learners(tiny / "adaptation.pt")) == list(adaptation.LEARNERS)

    known = json.loads((stored.RESULTS / "adaptation.json").read_text())
    first, theirs = (s["seeds"]["0"] for s in (found, known))
    assert list(first) == list(theirs)
    assert list(first["inner loop"]["MAML"]) == list(theirs["inner loop"]["MAML"])
    for seed in ("0", "1"):
        one, other = (s["seeds"][seed] for s in (found, known))
        assert shape_of(one["inner loop"]["MAML"]["1-shot"]) == shape_of(other["inner loop"]["MAML"]["1-shot"])
        for name in ("none", "statistics of 5", "Tent, 5 steps at 0.1"):
            rows = [s["cameras"]["cheap webcam"][name] for s in (one, other)]
            assert shape_of(rows[0]) == shape_of(rows[1])
    assert "noisy" not in found["seeds"]["1"]["cameras"], "other cameras are measured with the first seed alone"

    webcams = [found["seeds"][seed]["cameras"]["cheap webcam"] for seed in ("0", "1")]
    gain = np.mean([t["statistics of 5"]["1-shot"]["accuracy"] - t["none"]["1-shot"]["accuracy"] for t in webcams])
    difference = found["paired"]["cheap webcam, 1-shot"]["statistics of 5"]
    assert difference["mean"] == pytest.approx(gain, abs=2e-4)
    assert {"over_people", "over_episodes", "over_seeds"} <= set(difference)
    assert "over_seeds" not in found["paired"]["cheap webcam, 1-shot"]["MAML, 10 steps"], "of the first seed alone"
    paths = [found["seeds"][seed]["inner loop"]["MAML"]["1-shot"]["query"] for seed in ("0", "1")]
    steps = found["paired"]["MAML, 1-shot"]
    assert list(steps) == ["1 steps", "2 steps", "5 steps", "10 steps"]
    assert steps["10 steps"]["mean"] == pytest.approx(np.mean([path[-1] - path[0] for path in paths]), abs=2e-4)
    assert set(found["paired"]["gallery, cheap webcam"]) == {"new ones for queries", "new ones for both"}
    assert "statistics of 5" in found["paired"]["extended yale b, 4-shot"]

    rows = found["by_person"]["cheap webcam, 1-shot"]
    assert [sum(map(int, row["asked"].split())) for row in rows] == [200, 200, 200, 50, 50], "of 25 queries a task"
    answers = rows[0]
    right, asked = (sum(map(int, text.split())) for text in (answers["right"]["none"], answers["asked"]))
    assert right / asked == pytest.approx(np.mean([t["none"]["1-shot"]["accuracy"] for t in webcams]), abs=2e-4)
    adaptation.show(found)


def test_an_interrupted_experiment_goes_on_and_gives_the_same(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, evaluate, on_camera = adaptation.measure([3]), adaptation.evaluate, adaptation.on_camera
    (tiny / "runs").rename(tiny / "before")

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(adaptation, "on_camera", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adaptation.measure([3])
    monkeypatch.setattr(adaptation, "on_camera", on_camera)
    monkeypatch.setattr(adaptation, "meta_train", None)  # learners are not trained again, nor steps measured
    monkeypatch.setattr(adaptation, "after_steps", None)
    assert without_times(adaptation.measure([3])) == without_times(whole)
    assert evaluate is adaptation.evaluate

    (tiny / "runs/adaptation/3.pt").unlink()
    with pytest.raises(TypeError):  # without their weights, learners have to be trained
        adaptation.measure([3])


def test_half_trained_learners_are_not_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = adaptation.train
    monkeypatch.setattr(adaptation, "train", lambda *a: replace(train(*a), stopped="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        adaptation.measure([0])
    assert not (tiny / "runs").exists()


def test_the_command_measures_what_is_there_and_says_what_is_missing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measure(seeds: list[int], yale: FaceSet | None) -> dict[str, Any]:
        asked.append((seeds, yale))
        return {"tasks": 4, "seeds": {"2": {"inner loop": {}}}, "paired": {}}

    monkeypatch.setattr(adaptation, "measure", measure)
    assert cli.main(["experiment", "adaptation", "--seeds", "2", "--yale", str(tiny / "none")]) == 1
    said = capsys.readouterr().err
    assert "Not measured on Extended Yale B: There is no folder" in said
    assert asked == [([2], None)]
    found = adaptation.load()
    assert found["command"] == "metaface experiment adaptation --seeds 2"
    assert {"date", "commit", "versions", "processor", "device"} <= set(found)


def test_the_stored_result_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(adaptation.load()["seeds"]) == {"0", "1", "2"}
    monkeypatch.setattr(adaptation, "FILE", tmp_path / "none.json")
    with pytest.raises(MetaFaceError, match=r"none\.json is missing\. Measure it: metaface experiment adaptation"):
        adaptation.load()


def test_accuracy_after_inner_steps_is_that_of_the_adapted_learner() -> None:
    """The evaluation that `paths` makes by itself, against the one that every other method gets."""
    split = small_split()
    net = cast(MAML, adaptation.make("maml"))
    scores, packed = adaptation.paths(net, split.novel, 1, "any", 1.0, tasks=5)
    sampler = adaptation.sampler(split.novel, 1, "any", seed=1000)
    for step, name in ((0, "0 steps"), (5, "5 steps")):
        net.test_steps = step
        expected = adaptation.evaluate({"": net}, sampler, 5)[""]
        sampler = adaptation.sampler(split.novel, 1, "any", seed=1000)
        ours = from_json(packed)[name]
        assert ours.same_episodes(expected)
        assert np.array_equal(ours.right, expected.right)
        assert scores["query"][adaptation.GLIMPSES.index(step)] == pytest.approx(expected.accuracy, abs=1e-4)
    assert adaptation.paths(net, split.novel, 1, "any", math.nan, tasks=2) == ({"diverges": True}, None)


def test_no_picture_is_in_the_gallery_and_among_the_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[FaceSet] = []
    monkeypatch.setattr(adaptation, "EpisodeSampler", lambda faces, *a, **k: seen.append(faces))
    monkeypatch.setattr(adaptation, "evaluate", lambda *a: {})
    monkeypatch.setattr(adaptation, "to_json", lambda found: found)
    split = small_split()
    adaptation.gallery(cast(ProtoNet, adaptation.make("protonet")), split.novel, split.novel, split.base)
    camera = seen[0].conditions["camera"]
    old, new = ({x.numpy().tobytes() for x in seen[0].images[camera == i]} for i in (0, 1))
    assert len(old) == len(new) == len(split.novel) // 2
    assert old.isdisjoint(new)


def test_a_factor_multiplies_the_rates_for_the_time() -> None:
    net = cast(MAML, adaptation.make("maml"))
    before = net.rates.detach().clone()
    with adaptation.faster(net, 3.0):
        assert torch.allclose(net.rates, 3 * before)
    assert torch.equal(net.rates, before)


def test_learners_are_stored_and_read_back(tmp_path: Path) -> None:
    split = random_faces(people=60, each=10, size=adaptation.SIZE, channels=3).split(seed=1)
    names = {"ProtoMAML": "protomaml", "Meta-SGD": "metasgd", "ProtoNet": "protonet"}
    trained = {name: adaptation.train(m, split.base, steps=2).learner for name, m in names.items()}
    adaptation.store_learners(trained, tmp_path / "some.pt")
    read = adaptation.load_learners(tmp_path / "some.pt")
    task = EpisodeSampler(split.novel, 5, 1, 3).sample()
    for name, net in trained.items():
        with torch.no_grad():
            ours, theirs = (n.adapt(task.support).predict(task.query.x) for n in (net, read[name]))
        assert torch.equal(ours, theirs)
    with pytest.raises(
        MetaFaceError, match=r"missing\. It should hold weights\. Make it: metaface experiment adaptation"
    ):
        adaptation.load_learners(tmp_path / "none.pt")
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(MetaFaceError, match="is damaged"):
        adaptation.load_learners(tmp_path / "bad.pt")


def test_the_stored_learners_are_small_and_know_their_tasks() -> None:
    assert adaptation.WEIGHTS.stat().st_size < 500_000
    learners = adaptation.load_learners()
    assert list(learners) == list(adaptation.LEARNERS)
    task = adaptation.sampler(adaptation.small_split().novel, 1, "any", seed=0).sample(10)
    for name, net in learners.items():
        if isinstance(net, MAML):
            path = net.trajectory(task, 10).query_accuracy.mean(0)
            assert path[-1] > 0.4
            assert (path[0] > 0.4) == (name == "ProtoMAML"), "it begins as a prototypical network, others at chance"
