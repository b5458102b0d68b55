"""Light and occlusion: every person a stranger once, what is done is kept, means, pairs and people are right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import from_json
from metaface_lessons.experiments import light
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.faceset import FaceSet
from metaface_lessons.learners.baselines import pixels
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from tests.helpers import random_faces


def lamps(people: int) -> FaceSet:
    """People of noise and a pattern, twenty lights each, four in every subset."""
    faces = random_faces(people, 20, size=light.YALE_SIZE)
    number = torch.arange(len(faces)) % 20
    conditions = {"azimuth": number * 10.0, "elevation": torch.zeros(len(faces)), "subset": 1.0 + number // 4}
    return FaceSet(faces.images, faces.identity, conditions, name="lamps")


def posing(people: int) -> FaceSet:
    """People who look straight ahead and to the left, with open eyes and sunglasses: six pictures of each."""
    faces = random_faces(people, 24, size=light.CMU_SIZE)
    number = torch.arange(len(faces)) % 4
    levels = {"pose": ("straight", "left", "right", "up"), "eyes": ("open", "sunglasses")}
    return FaceSet(faces.images, faces.identity, {"pose": number // 2, "eyes": number % 2}, levels, name="posing")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the experiment with few steps, episodes and methods."""
    smaller = {"SEEDS": (0, 1), "BLENDS": 2, "STEPS": 2, "SHORT": 1, "EPISODES": 10, "CMU_STEPS": 1}
    smaller |= {"OCCLUSION_STEPS": 1, "OCCLUSION_EPISODES": 20, "AZIMUTHS": (-40, 40), "ELEVATIONS": (0,)}
    smaller |= {"VARIANTS": ("learner", "no blends"), "LOOKS": {"none": ("none", 0.5), "mask": ("mask", 0.5)}}
    for constant, value in smaller.items():
        monkeypatch.setattr(light, constant, value)
    monkeypatch.setattr(light, "yale_baselines", lambda base: {"pixels": pixels()})
    monkeypatch.setattr(light, "FILES", {part: tmp_path / f"{part}.json" for part in light.FILES})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two results agree in all but the seconds that they took."""
    without = [{key: value for key, value in found.items() if key != "seconds"} for found in (one, other)]
    return json.dumps(without[0]) == json.dumps(without[1])  # NaN equals NaN here


@pytest.mark.parametrize(("people", "held"), [(28, [7, 7, 7, 7]), (38, [10, 10, 9, 9])])
def test_each_person_is_held_out_once_and_never_trained_on(people: int, held: list[int]) -> None:
    split = light.groups(lamps(people))
    assert [len(novel.identities) for _, novel in split] == held
    for base, novel in split:
        assert not set(base.identities.tolist()) & set(novel.identities.tolist())
        assert len(base.identities) + len(novel.identities) == people
    assert sorted(person for _, novel in split for person in novel.identities.tolist()) == list(range(people))


def test_28_people_are_dealt_as_they_were_when_the_stored_result_was_measured() -> None:
    order = torch.randperm(28, generator=torch.Generator().manual_seed(0)).view(4, 7)
    for (_, novel), held in zip(light.groups(lamps(28)), order, strict=True):
        assert novel.identities.tolist() == sorted(held.tolist())


@pytest.mark.parametrize("people", [28, 38])
def test_what_was_measured_is_kept_and_summed_up(small: Path, monkeypatch: pytest.MonkeyPatch, people: int) -> None:
    faces = lamps(people)
    found = light.measure("yale", faces, faces)
    monkeypatch.setattr(light, "meta_train", None)  # nothing is trained again
    monkeypatch.setattr(light, "evaluate", None)
    assert same(light.measure("yale", faces, faces), found)

    def kept(kind: str, group: int, seed: int) -> dict[str, Any]:
        part = json.loads((small / f"runs/light/yale/{kind}-{group}-{seed}.json").read_text())["found"]
        return {subset: from_json(packed) for subset, packed in part.get("scored", part).items()}

    places = [(group, seed) for group in range(light.GROUPS) for seed in light.SEEDS]
    ours, theirs = ([kept(kind, *place) for place in places] for kind in ("learner", "baselines"))
    mean = {
        name: np.mean([run[subset][name].accuracy for run in runs for subset in "234"])
        for name, runs in (("learner", ours), ("pixels", theirs))
    }
    assert found["methods"]["learner"]["2-4"]["accuracy"] == pytest.approx(mean["learner"], abs=2e-4)
    ahead = mean["learner"] - mean["pixels"]
    assert found["differences"]["pixels"]["2-4"]["ahead"] == pytest.approx(ahead, abs=2e-4)
    assert found["paired"]["methods"]["pixels"]["2-4"]["mean"] == pytest.approx(ahead, abs=2e-4)
    assert set(found["paired"]["methods"]["pixels"]["2-4"]) >= {"over_people", "over_episodes", "over_seeds"}
    assert set(found["variants"]) == {"steps", *light.VARIANTS}
    assert found["variants"]["learner"]["2-5"]["loses"] == [0, 0]
    lost = np.mean(found["variants"]["no blends"]["2-5"]["loses"])
    assert found["paired"]["variants"]["no blends"]["2-5"]["mean"] == pytest.approx(lost, abs=2e-4)

    answers = found["by_person"]["methods"]["4"]
    asked, right = ([int(count) for count in text.split()] for text in (answers["asked"], answers["right"]["pixels"]))
    assert sorted(map(int, answers["people"].split("; "))) == list(range(people)), "everybody was a stranger"
    assert sum(asked) == len(places) * light.EPISODES * light.WAYS * light.QUERIES
    assert sum(right) / sum(asked) == pytest.approx(np.mean([run["4"]["pixels"].accuracy for run in theirs]), abs=1e-6)
    light.show_yale(found)


def test_an_interrupted_experiment_goes_on_and_gives_the_same(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, evaluate, calls = posing(20), light.evaluate, []
    whole = light.measure("cmu", faces)
    (small / "runs").rename(small / "before")

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == 6:  # two conditions a part: in the third part
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    monkeypatch.setattr(light, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        light.measure("cmu", faces)
    assert len(list((small / "runs/light/cmu").iterdir())) == 2
    assert same(light.measure("cmu", faces), whole)
    assert len(calls) == 6 + 2 * (4 * 2 - 2), "what was finished is not measured again"
    light.show_cmu(whole)
    pair = whole["paired"]["methods"]["LBP"]["pose"]["mean"]
    methods = whole["methods"]
    assert pair == pytest.approx(methods["ProtoNet"]["pose"]["accuracy"] - methods["LBP"]["pose"]["accuracy"], abs=2e-4)


def test_a_half_trained_network_is_not_measured(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta_train = light.meta_train
    monkeypatch.setattr(light, "meta_train", lambda *a, **o: replace(meta_train(*a, **o), stopped="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        light.measure("cmu", posing(20))
    assert not (small / "runs").exists()


def test_procedural_faces_light_and_trainings_against_occluders(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = random_faces(40, 30, size=16, channels=3)
    words = torch.arange(len(faces)) % len(light.OCCLUDERS)
    faces = replace(faces, conditions={"occluder": words}, levels={"occluder": light.OCCLUDERS})
    nets = {light.snapshots.STEPS[-1]: ProtoNet(Conv4(3, 64, width=4)).eval()}
    monkeypatch.setattr(light.snapshots, "load_snapshots", lambda: nets)
    found = light.measure("procedural", faces)
    pair, grid = found["paired"]["grid"]["lbp"]["mask"], found["grid"]["accuracy"]
    means = [np.mean(grid[name]["mask"]) for name in ("protonet", "lbp")]
    assert np.array(grid["lbp"]["mask"]).shape == (1, 2), "elevations and azimuths"
    assert pair["mean"] == pytest.approx(means[0] - means[1], abs=2e-4)
    assert pair["over_people"] > 0
    people = [float(text) for text in found["by_person"]["grid"]["lbp"]["mask"].split()]
    assert len(people) == found["people"] == 10
    assert np.mean(people) == pytest.approx(means[1], abs=2e-4)
    seeds = found["occlusion"]["seeds"]
    gain = [a["scarf"] - b["scarf"] for a, b in zip(seeds["occluders worn"], seeds["nothing hidden"], strict=True)]
    assert found["paired"]["occlusion"]["occluders worn"]["scarf"]["mean"] == pytest.approx(np.mean(gain), abs=2e-4)
    light.show_procedural(found)


def test_the_grid_leaves_a_person_out_as_if_they_did_not_exist(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jackknife's parts, against measuring the others alone, in the same pictures."""
    draw = light.sample_nuisance
    monkeypatch.setattr(light, "sample_nuisance", lambda count, *how: draw(8, *how)[torch.arange(count)])
    net, people = ProtoNet(Conv4(3, 64, width=4)).eval(), list(range(8))
    whole, rest = light.light_grid(people, net), light.light_grid(people[:-1], net)
    for name in ("pixels", "protonet"):
        found = np.mean(rest["grid"]["accuracy"][name]["none"])
        assert whole["of_people"][name]["none"]["without"][-1] == pytest.approx(found, abs=2e-4)


def test_learner_and_baselines_meet_the_same_episodes() -> None:
    """Normalising a face set leaves its episodes: the stored comparison rests on it."""
    faces = lamps(8)
    twin = light.normalised(faces, "CLAHE")
    one = light.by_subset({"": light.pixels(light.NORMALISATIONS["CLAHE"])}, faces, seed=3)
    other = light.by_subset({"": light.pixels()}, twin, seed=3)
    for subset in map(str, light.SUBSETS):
        assert one[subset][""].episodes.tolist() == other[subset][""].episodes.tolist()


def test_the_command_measures_what_is_there_and_says_what_is_missing(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(light, "load_faces", lambda source, size: posing(20) if source == "cmu:here" else lost(source))

    def lost(source: str) -> FaceSet:
        raise MetaFaceError(f"There is no folder {source}.")

    assert cli.main(["experiment", "light", "yale", "cmu", "--yale", "nowhere", "--cmu", "here"]) == 1
    said = capsys.readouterr()
    assert "Not measured: yale: There is no folder extended-yale-b:nowhere." in said.err
    assert "rectangles erased" in said.out
    found = light.load("cmu")
    assert found["command"] == "metaface experiment light cmu --cmu FOLDER"
    assert {"date", "commit", "versions", "processor", "device", "methods", "paired", "by_person"} <= set(found)

    assert cli.main(["experiment", "light", "yale"]) == 1
    assert "no folder is named. Name it: metaface experiment light yale --yale FOLDER" in capsys.readouterr().err
    assert cli.main(["experiment", "light", "yael"]) == 1
    assert "There is no part called 'yael'. Did you mean 'yale'?" in capsys.readouterr().err
    with pytest.raises(MetaFaceError, match=r"yale\.json is missing\. Measure it: metaface experiment light yale"):
        light.load("yale")


def test_the_stored_results_are_read_and_say_how_they_were_made() -> None:
    for part in light.FILES:
        assert {"command", "date", "commit", "device"} <= set(light.load(part))
    with pytest.raises(MetaFaceError, match="no part called 'lfw'"):
        light.load("lfw")


def test_the_real_protocol_has_people_enough(shared_faces: Path) -> None:
    faces = load_faces(f"extended-yale-b:{shared_faces}/extended_yale_b", size=16)
    for _, novel in light.groups(faces):
        for subset in light.SUBSETS:
            kept: dict[str, Any] = {"support_where": {"subset": 1}, "query_where": {"subset": subset}}
            assert light.EpisodeSampler(novel, light.WAYS, light.SHOTS, light.QUERIES, **kept).people == 7
