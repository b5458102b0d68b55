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
from metaface_lessons.deployment import Tent
from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Evaluation, from_json
from metaface_lessons.experiments import adaptation
from metaface_lessons.faces.faceset import FaceSet, Split
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.protonet import ProtoNet
from tests.helpers import random_faces


def small_split(seed: int = 0) -> Split:
    """People of their own for each seed, as `adaptation.small_split` has."""
    faces = random_faces(people=80, each=12, size=adaptation.SIZE, channels=3, seed=seed)
    return replace(faces, names=tuple(f"seed {seed}, person {i}" for i in range(80))).split((0.6, 0.1, 0.3), seed=seed)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the experiment with few steps, tasks, cameras and learners."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adaptation, "WEIGHTS", tmp_path / "adaptation.pt")
    monkeypatch.setattr(adaptation, "FILE", tmp_path / "adaptation.json")
    monkeypatch.setattr(adaptation, "small_split", small_split)
    yale = random_faces(people=20, each=12, size=adaptation.SIZE, channels=3)
    monkeypatch.setattr(adaptation, "yale_faces", lambda folder: yale)
    rates, tuning = {"0.1": 0.1, "1": 1.0}, {"2 steps at 0.001": (2, 1e-3)}
    smaller: dict[str, Any] = {
        "TASKS": 4,
        "FACTORS": (3.0,),
        "IMAGES": (5, 100),
        "LABELS": {"fine-tuned on few labels": (5, 4)},
    }
    smaller |= {"RATES": rates, "TUNING": tuning, "GLIMPSES": (0, 1, 3), "MOST": 3}
    smaller["CANDIDATES"] = {"entropy only": rates, "Tent": rates, "fine-tuned on few labels": tuning}
    smaller["CONDITIONS"] = {"any": "any", "queries occluded": "any"}
    smaller["CAMERAS"] = {name: adaptation.CAMERAS[name] for name in ("same", "cheap webcam")}
    smaller["LEARNERS"] = {name: adaptation.LEARNERS[name] for name in ("ANIL", "ProtoMAML from ProtoNet", "ProtoNet")}
    for constant, value in smaller.items():
        monkeypatch.setattr(adaptation, constant, value)
    for learner in adaptation.STEPS:
        monkeypatch.setitem(adaptation.STEPS, learner, 1)
    return tmp_path


def without_times(found: dict[str, Any]) -> str:
    """The result without what depends on the clock, as text (NaN equals NaN there)."""
    return repr({key: value for key, value in found.items() if key != "costs"})


def test_all_is_measured_compared_and_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = adaptation.measure([0, 1], "somewhere")
    monkeypatch.setattr(adaptation, "meta_train", None)  # all is kept
    monkeypatch.setattr(adaptation, "evaluate", None)
    assert repr(adaptation.measure([0, 1], "somewhere")) == repr(found)
    assert list(adaptation.load_learners(tiny / "adaptation.pt")) == list(adaptation.LEARNERS)

    assert set(found["settings"]) == {
        *(f"{camera}, {k}-shot" for camera in ("same", "cheap webcam", "extended yale b") for k in (1, 4)),
        "queries occluded, 1-shot",
        "gallery, cheap webcam",
    }
    webcam, same = (found["settings"][f"{camera}, 1-shot"] for camera in ("cheap webcam", "same"))
    assert {"ProtoNet", "support statistics", "task statistics", "Tent"} <= set(same["accuracy"])
    assert "entropy only" in webcam["accuracy"]
    assert {"ANIL, 1 step", "ANIL, 3 steps", "ProtoMAML from ProtoNet, 0 steps"} <= set(same["accuracy"])
    assert "ANIL, 3 steps × 3" in same["accuracy"]
    assert "fine-tuned on few labels" not in same["accuracy"], "all remedies are tried by the webcam alone"
    assert set(webcam["paired"]["fine-tuned on few labels"]) == {"ProtoNet", "support statistics", "statistics of 100"}
    assert set(webcam["paired"]["statistics of 5 + prior"]) >= {"statistics of 5", "ProtoNet"}
    assert set(webcam["hurt"]) == {
        "ANIL, 3 steps",
        "ProtoMAML from ProtoNet, 1 step",
        "ProtoMAML from ProtoNet, 3 steps",
    }
    assert set(found["settings"]["gallery, cheap webcam"]["paired"]["new ones for queries"]) == {
        "support statistics",
        "old statistics",
    }
    assert set(found["chosen"]) == set(adaptation.CANDIDATES)
    assert found["costs"]["fine-tuned on few labels"]["labels"] == 20
    assert found["costs"]["ProtoMAML from ProtoNet"]["seconds"] > found["costs"]["ProtoNet"]["seconds"]

    ours, theirs = "support statistics", "ProtoNet"
    parts = [
        from_json(json.loads((tiny / f"runs/adaptation/{seed}-cheap-webcam-1-shot-remedies.json").read_text())["found"])
        for seed in (0, 1)
    ]
    gain = np.mean([part[ours].accuracy - part[theirs].accuracy for part in parts])
    difference = adaptation.difference(found, "cheap webcam, 1-shot", ours, theirs)
    assert difference.mean == pytest.approx(gain, abs=1e-4)
    assert set(difference.intervals) == {"people", "episodes", "seeds"}
    assert not set(parts[0][ours].names) & set(parts[1][ours].names), "each seed has new people"
    adaptation.show(found)
    for setting, name, other, said in (
        ("webcam", ours, theirs, "no setting or method called 'webcam'"),
        ("cheap webcam, 1-shot", "MAML", theirs, "no setting or method called 'MAML'"),
        ("cheap webcam, 1-shot", ours, "Tent", "no comparison called 'Tent'"),
    ):
        with pytest.raises(MetaFaceError, match=said):
            adaptation.difference(found, setting, name, other)


def test_an_interrupted_experiment_goes_on_and_gives_the_same(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, gallery = adaptation.measure([3]), adaptation.gallery_part
    (tiny / "runs").rename(tiny / "before")

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(adaptation, "gallery_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adaptation.measure([3])
    monkeypatch.setattr(adaptation, "gallery_part", gallery)
    for done in ("train_part", "tune_part"):  # they come before the galleries
        monkeypatch.setattr(adaptation, done, interrupted)
    monkeypatch.setattr(adaptation, "costs_part", lambda *arguments: {})
    assert without_times(adaptation.measure([3])) == without_times(whole)

    (tiny / "runs/adaptation/3-anil.pt").unlink()
    with pytest.raises(KeyboardInterrupt):  # without its weights, a learner has to be trained
        adaptation.measure([3])


def test_a_half_trained_learner_is_not_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = adaptation.train
    monkeypatch.setattr(adaptation, "train", lambda *a, **k: replace(train(*a, **k), stopped="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        adaptation.measure([0])
    assert not (tiny / "runs").exists()


def test_the_settings_of_a_remedy_are_those_that_are_best_on_validation_people(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def evaluate(methods: dict[str, Any], sampler: EpisodeSampler, tasks: int) -> dict[str, Evaluation]:
        asked.extend(sampler.faces.identities.tolist())
        right = np.full((tasks, 2), 1)
        scores = {name: right + (isinstance(net, Tent) and net.rate == 1.0) for name, net in methods.items()}
        who = np.tile([0, 1], (tasks, 1))
        return {name: Evaluation(r, np.full((tasks, 2), 3), who, ("a", "b")) for name, r in scores.items()}

    monkeypatch.setattr(adaptation, "evaluate", evaluate)
    parts = adaptation.stored.Parts("adaptation", {})
    adaptation.train_all([1], parts, 1)
    choices = adaptation.choose_settings([1], parts, 1)
    assert {remedy: choice.best for remedy, choice in choices.items()} == {
        "entropy only": "1",
        "Tent": "1",
        "fine-tuned on few labels": "2 steps at 0.001",
    }
    assert set(asked) == set(small_split(1).validation.identities.tolist())


def test_the_command_measures_what_is_there_and_says_what_is_missing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measure(seeds: list[int], yale: str | None, jobs: int) -> dict[str, Any]:
        asked.append((seeds, yale, jobs))
        return {"tasks": 4, "settings": {}}

    def missing(folder: str) -> FaceSet:
        raise MetaFaceError("There is no folder.")

    monkeypatch.setattr(adaptation, "measure", measure)
    monkeypatch.setattr(adaptation, "yale_faces", missing)
    command = ["experiment", "adaptation", "--seeds", "2", "--yale", str(tiny / "none"), "--jobs", "3"]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert "Not measured on Extended Yale B: There is no folder" in said
    assert asked == [([2], None, 3)]
    found = adaptation.load()
    assert found["command"] == "metaface experiment adaptation --seeds 2"
    assert {"date", "commit", "versions", "processor", "device"} <= set(found)


def test_the_stored_result_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = adaptation.load()
    assert found["seeds"] == list(adaptation.SEEDS)
    assert found["tasks"] * len(found["seeds"]) == 600
    for camera in (*adaptation.CAMERAS, "extended yale b"):
        for shots in adaptation.SHOTS:
            measured = found["settings"][f"{camera}, {shots}-shot"]["accuracy"]
            assert {"support statistics", "Tent", "statistics of 100"} <= set(measured)
            assert {f"{name}, 10 steps" for name in adaptation.LEARNERS if name != "ProtoNet"} <= set(measured)
    monkeypatch.setattr(adaptation, "FILE", tmp_path / "none.json")
    with pytest.raises(MetaFaceError, match=r"none\.json is missing\. Measure it: metaface experiment adaptation"):
        adaptation.load()


def test_a_learner_after_some_steps_at_other_rates_is_the_adapted_learner() -> None:
    net = cast(MAML, adaptation.make("maml"))
    task = EpisodeSampler(small_split().novel, 5, 1, 3).sample(4)
    before = net.rates.detach().clone()
    for steps, factor in ((0, 1.0), (3, 1.0), (3, 2.0)):
        ours = adaptation.After(net, steps, factor).adapt(task.support).predict(task.query.x)
        net.test_steps, net.rates.data = steps, factor * before
        assert torch.equal(ours, net.adapt(task.support).predict(task.query.x))
        net.rates.data = before.clone()


def test_a_task_in_which_the_inner_loop_diverges_counts_as_guessed() -> None:
    net = cast(MAML, adaptation.make("maml"))
    task = EpisodeSampler(small_split().novel, 5, 1, 3).sample(2)
    logits = adaptation.After(net, 3, math.nan).adapt(task.support).predict(task.query.x)
    assert logits.shape == (2, 15, 5)
    assert not logits.any()
    with pytest.raises(MetaFaceError, match="ways"):  # another number of people is another error
        adaptation.After(net, 3).adapt(EpisodeSampler(small_split().novel, 4, 1, 3).sample().support)


def test_no_picture_is_in_the_gallery_and_among_the_queries() -> None:
    old = small_split().novel
    both = adaptation.both_cameras(old, replace(old, images=255 - old.images))
    camera = both.conditions["camera"]
    by_old, by_new = both.images[camera == 0], 255 - both.images[camera == 1]
    seen, new = ({x.numpy().tobytes() for x in images} for images in (by_old, by_new))
    assert len(seen) == len(new) == len(old) // 2
    assert seen.isdisjoint(new)
    assert both.names == old.names


def test_on_real_people_each_half_is_tested_once(tiny: Path) -> None:
    parts = adaptation.stored.Parts("adaptation", {})
    adaptation.train_all([1], parts, 1)
    chosen = {name: next(iter(tried.values())) for name, tried in adaptation.CANDIDATES.items()}
    found = [from_json(p) for p in adaptation.yale_part(1, 1, "remedies", chosen, "somewhere", parts.folder)]
    tested = [set(half["ProtoNet"].names) for half in found]
    assert not tested[0] & tested[1]
    assert tested[0] | tested[1] <= {str(person) for person in range(20)}


def test_a_factor_multiplies_the_rates_for_the_time() -> None:
    net = cast(MAML, adaptation.make("maml"))
    before = net.rates.detach().clone()
    with adaptation.faster(net, 3.0):
        assert torch.allclose(net.rates, 3 * before)
    assert torch.equal(net.rates, before)


def test_protomaml_can_start_from_a_trained_embedding() -> None:
    base, start = small_split().base, cast(ProtoNet, adaptation.make("protonet", seed=5))
    fresh, warm = (
        cast(ProtoMAML, adaptation.train("protomaml", base, steps=1, start=given).learner) for given in (None, start)
    )
    theirs = dict(start.embedding.named_parameters())
    far, near = (
        sum(
            float((w.detach() - theirs[name].detach()).abs().mean())
            for name, w in net.network.embedding.named_parameters()
        )
        for net in (fresh, warm)
    )
    assert near < 0.2 * far, "one step away from where it started"


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
    for net in learners.values():
        if isinstance(net, MAML):
            path = net.trajectory(task, 10).query_accuracy.mean(0)
            assert path[-1] > 0.4
            assert (path[0] > 0.4) == isinstance(net, ProtoMAML), (
                "it begins as a prototypical network, others at chance"
            )
