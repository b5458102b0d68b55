"""Occlusion: the same strangers and pictures in every look; what is done is kept; means and pairs are right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import from_json
from metaface_lessons.experiments import occlusion
from metaface_lessons.faces.faceset import FaceSet
from metaface_lessons.learners.baselines import pixels
from tests.helpers import random_faces


def posing(people: int) -> FaceSet:
    """People who look straight ahead and to the left, with open eyes and sunglasses: six pictures of each."""
    faces = random_faces(people, 24, size=occlusion.CMU_SIZE)
    number = torch.arange(len(faces)) % 4
    levels = {"pose": ("straight", "left", "right", "up"), "eyes": ("open", "sunglasses")}
    return FaceSet(faces.images, faces.identity, {"pose": number // 2, "eyes": number % 2}, levels, name="posing")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the experiment with few people, steps and episodes."""
    smaller: dict[str, Any] = {"SEEDS": (0, 1), "EPISODES": 30, "LFW_STEPS": 1, "PROCEDURAL_STEPS": 1, "BANK": 3}
    smaller |= {"PEOPLE": (20, 10), "PICTURES": 6, "CMU_STEPS": 1, "CMU_EPISODES": 10, "CMU_SEEDS": (0, 1)}
    smaller |= {"FILES": {part: tmp_path / f"{part}.json" for part in occlusion.FILES}}
    for constant, value in smaller.items():
        monkeypatch.setattr(occlusion, constant, value)
    faces = {"lfw": random_faces(40, 8, size=48, channels=3), "cmu:here": posing(20)}

    def load_faces(name: str, **options: Any) -> FaceSet:
        if name not in faces:
            raise MetaFaceError(f"There is no folder {name}.")
        return faces[name]

    monkeypatch.setattr(occlusion, "load_faces", load_faces)
    for material in occlusion.MATERIAL.values():
        material.cache_clear()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("part", ["lfw", "procedural"])
def test_the_trainings_have_the_same_pictures_and_the_test_has_others(small: Path, part: str) -> None:
    material = occlusion.MATERIAL[part](1)
    base, dressed, test = material.base, material.dressed, material.test
    assert base.identity.equal(dressed.identity)
    changed = (base.images != dressed.images).flatten(1).any(1).double().mean()
    assert changed == pytest.approx(occlusion.SHARE, abs=0.15)
    assert not set(base.identities.tolist()) & set(test.identities.tolist()), "strangers"

    known, asked = (test.where(role=role) for role in ("known", "asked"))
    assert (test.conditions["occluder"][known] == 0).all()
    plain = test.select(test.where(role="asked", occluder="none"))
    for look in occlusion.WORN:
        wearing = test.select(test.where(role="asked", occluder=look))
        assert wearing.identity.equal(plain.identity), "the same pictures in each look"
        same = (wearing.images == plain.images).double().mean(dim=(1, 2, 3))
        assert ((same > 0.3) & (same < 1)).double().mean() > 0.9, "something is hidden, and not all"
    assert int(asked.sum()) == len(occlusion.LOOKS) * len(plain)
    shown = {image.numpy().tobytes() for image in test.images[known]}
    assert not shown & {image.numpy().tobytes() for image in plain.images}, "nobody is asked about in a known picture"


def test_half_of_each_persons_pictures_are_asked_about() -> None:
    faces = random_faces(6, 7)
    asked = occlusion.asked_about(faces, 3)
    assert [int(asked[faces.identity == person].sum()) for person in faces.identities] == [3] * 6
    assert not asked.equal(occlusion.asked_about(faces, 4))


def test_procedural_seeds_have_new_people_and_the_tests_occluders_are_others(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (occlusion.procedural_material(seed) for seed in (0, 1))
    assert not one.base.images.equal(other.base.images)
    assert one.base.name_of(0) != other.base.name_of(0)
    seeds = []
    render = occlusion.render_occluders
    monkeypatch.setattr(
        occlusion,
        "render_occluders",
        lambda *a, seed: seeds.append(seed) or render(*a, seed=seed),  # type: ignore
    )
    occlusion.lfw_material(0)
    occlusion.lfw_material(1)
    assert len(set(seeds)) == len(seeds) == 2 * 2 * len(occlusion.WORN)


def test_pairs_are_of_a_known_picture_and_one_asked_about(small: Path) -> None:
    test = occlusion.lfw_material(0).test
    known, asked = occlusion.drawn_pairs(test, 0)
    assert set(test.conditions["role"][known].tolist()) == {0}
    assert set(test.conditions["role"][asked].tolist()) == {1}
    same = test.identity[known] == test.identity[asked]
    assert int((~same).sum()) == occlusion.IMPOSTORS * int(same.sum())
    assert len({*zip(known.tolist(), asked.tolist(), strict=True)}) == len(known)
    masks = occlusion._scores(pixels(), test, known, asked, "mask")
    place = test.where(role="asked", occluder="mask").nonzero().flatten()
    plain = test.where(role="asked", occluder="none").nonzero().flatten()
    for pair in (0, -1):
        image = place[(plain == asked[pair]).nonzero().item()]
        one, other = pixels().embed(test.images[torch.stack([known[pair], image])][None])[0]
        assert masks[pair] == pytest.approx(-float((one - other).square().sum()), rel=1e-3)


@pytest.mark.parametrize("part", ["lfw", "procedural"])
def test_what_was_measured_is_kept_and_summed_up(small: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    found = occlusion.measure(part)
    monkeypatch.setattr(occlusion, "meta_train", None)  # nothing is trained again
    assert json.dumps(occlusion.measure(part)) == json.dumps(found)

    def kept(name: str, seed: int, look: str) -> Any:
        file = small / f"runs/occlusion/{part}/{name.replace(' ', '-')}-{seed}.json"
        return from_json(json.loads(file.read_text())["found"]["episodes"][look])[name].accuracy

    def mean(name: str, look: str) -> float:
        return float(np.mean([kept(name, seed, look) for seed in occlusion.SEEDS]))

    worn, plain = mean("occluders worn", "scarf"), mean("plain", "scarf")
    assert found["accuracy"]["plain"]["scarf"]["mean"] == pytest.approx(plain, abs=2e-4)
    assert found["gain"]["occluders worn"]["scarf"]["mean"] == pytest.approx(worn - plain, abs=2e-4)
    lost = worn - mean("occluders worn", "none")
    assert found["lost"]["occluders worn"]["scarf"]["mean"] == pytest.approx(lost, abs=2e-4)
    easier = plain - mean("plain", "sunglasses")
    assert found["easier"]["plain"]["scarf"]["mean"] == pytest.approx(easier, abs=2e-4)
    extra = lost - (plain - mean("plain", "none"))
    assert found["cost"]["occluders worn"]["scarf"]["mean"] == pytest.approx(extra, abs=2e-4)
    assert set(found["gain"]["rectangles erased"]["mask"]) == {
        "mean",
        "over_people",
        "over_episodes",
        "over_seeds",
        "verdict",
    }
    counts = found["by_person"]["scarf"]
    right, asked = (sum(map(int, text.split())) for text in (counts["right"]["plain"], counts["asked"]))
    assert right / asked == pytest.approx(plain, abs=1e-6)
    if part == "lfw":
        verified = found["verification"]
        assert verified["pairs"][1] == occlusion.IMPOSTORS * verified["pairs"][0]
        assert verified["door"]["plain"]["none"]["fmr"] <= occlusion.DOOR
        eers = verified["eer"]
        gain = eers["plain"]["mask"]["mean"] - eers["rectangles erased"]["mask"]["mean"]
        assert verified["gain"]["rectangles erased"]["mask"]["mean"] == pytest.approx(gain, abs=2e-4)
    occlusion.show_trainings(part, found)


def test_seeds_that_share_people_get_the_corrected_interval(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {}
    pairs = occlusion.paired
    monkeypatch.setattr(occlusion, "paired", lambda *a, **o: said.update({part: o}) or pairs(*a, **o))  # type: ignore
    for part in ("lfw", "procedural"):
        occlusion.measure(part)
    assert said["lfw"] == {"shared": True, "test_share": pytest.approx(10 / 28)}
    assert said["procedural"] == {"shared": False, "test_share": None}


def test_a_half_trained_network_is_not_measured(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta_train = occlusion.meta_train
    monkeypatch.setattr(occlusion, "meta_train", lambda *a, **o: replace(meta_train(*a, **o), stopped="interrupted"))
    for part in ("procedural", "cmu"):
        with pytest.raises(KeyboardInterrupt):
            occlusion.measure(part, "here")
    assert not (small / "runs").exists()


def test_an_interrupted_experiment_goes_on_and_gives_the_same(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, calls = occlusion.evaluate, []
    whole = occlusion.measure("cmu", "here")
    (small / "runs").rename(small / "before")

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == 6:  # two conditions a part: in the third part
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    monkeypatch.setattr(occlusion, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        occlusion.measure("cmu", "here")
    assert len(list((small / "runs/occlusion/cmu").iterdir())) == 2
    assert json.dumps(occlusion.measure("cmu", "here")) == json.dumps(whole)
    assert len(calls) == 6 + 2 * (4 * 2 - 2), "what was finished is not measured again"
    occlusion.show_cmu(whole)
    methods = whole["methods"]
    ahead = methods["ProtoNet"]["pose"]["accuracy"] - methods["LBP"]["pose"]["accuracy"]
    assert whole["paired"]["methods"]["LBP"]["pose"]["mean"] == pytest.approx(ahead, abs=2e-4)


def test_the_command_measures_what_is_there_and_says_what_is_missing(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["experiment", "occlusion", "cmu", "--cmu", "nowhere", "--jobs", "1"]) == 1
    assert "Not measured: cmu: There is no folder cmu:nowhere." in capsys.readouterr().err
    assert cli.main(["experiment", "occlusion", "cmu", "--cmu", "here", "--jobs", "1"]) == 0
    assert "rectangles erased" in capsys.readouterr().out
    found = occlusion.load("cmu")
    assert found["command"] == "metaface experiment occlusion cmu --cmu FOLDER"
    assert {"date", "commit", "versions", "processor", "device", "methods", "paired", "by_person"} <= set(found)
    assert cli.main(["experiment", "occlusion", "cmu", "--jobs", "1"]) == 1
    assert "no folder is named. Name it: metaface experiment occlusion cmu --cmu FOLDER" in capsys.readouterr().err
    assert cli.main(["experiment", "occlusion", "cmo"]) == 1
    assert "There is no part called 'cmo'. Did you mean 'cmu'?" in capsys.readouterr().err
    with pytest.raises(MetaFaceError, match=r"lfw\.json is missing\. Measure it: metaface experiment occlusion lfw"):
        occlusion.load("lfw")


def test_the_stored_results_are_read_and_say_how_they_were_made() -> None:
    for part in occlusion.FILES:
        assert {"command", "date", "commit", "device"} <= set(occlusion.load(part))
    with pytest.raises(MetaFaceError, match="no part called 'yale'"):
        occlusion.load("yale")
