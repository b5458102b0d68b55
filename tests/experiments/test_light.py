"""Light: every person a stranger once, recipes chosen among the base people, what is done is kept, means are right."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import corrected_resampled_t, from_json
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
    names = tuple(f"yaleB{person:02d}" for person in range(people))
    return FaceSet(faces.images, faces.identity, conditions, names=names, name="lamps")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the experiment with few steps, episodes and recipes, on 28 people of `lamps`."""
    recipes = {name: light.RECIPES[name] for name in ("whole", "no blends", "four convolutions")}
    smaller: dict[str, Any] = {"SEEDS": (0, 1), "BLENDS": 2, "STEPS": 1, "EPISODES": 12, "RECIPES": recipes}
    smaller |= {"ABLATION": ("no blends",), "AZIMUTHS": (-40, 40), "ELEVATIONS": (0,)}
    smaller |= {"LDA_RECIPES": [(blends, chain, 20, None) for blends in (False, True) for chain in (False, True)]}
    smaller |= {"LOOKS": {"none": ("none", 0.5), "mask": ("mask", 0.5)}}
    smaller |= {"FILES": {part: tmp_path / f"{part}.json" for part in light.FILES}}
    for constant, value in smaller.items():
        monkeypatch.setattr(light, constant, value)
    monkeypatch.setattr(light, "load_faces", lambda source, size: known(source))

    def known(source: str) -> FaceSet:
        if source != "extended-yale-b:28":
            raise MetaFaceError(f"There is no folder {source}.")
        return lamps(28)

    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("people", "held"), [(28, [7, 7, 7, 7]), (38, [10, 10, 9, 9])])
def test_each_person_is_held_out_once_and_never_trained_on(people: int, held: list[int]) -> None:
    split = light.groups(lamps(people))
    assert [len(novel.identities) for _, novel in split] == held
    for base, novel in split:
        assert not set(base.identities.tolist()) & set(novel.identities.tolist())
        assert len(base.identities) + len(novel.identities) == people
        inner_base, inner_novel = light.inner(base)
        assert len(inner_novel.identities) == math.ceil(len(base.identities) / light.INNER) > light.WAYS
        for part in (inner_base, inner_novel):
            assert not set(part.identities.tolist()) & set(novel.identities.tolist())
        assert not set(inner_base.identities.tolist()) & set(inner_novel.identities.tolist())
    assert sorted(person for _, novel in split for person in novel.identities.tolist()) == list(range(people))
    assert light.test_share(split) == pytest.approx(1 / 3)


def test_a_recipe_is_chosen_without_the_people_who_are_reported(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[set[int]] = []

    def spy(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(base: FaceSet, *others: Any) -> Any:
            shown.append(set(base.identities.tolist()))
            return function(base, *others)

        return called

    monkeypatch.setattr(light, "yale_learner", spy(light.yale_learner))
    monkeypatch.setattr(light, "yale_lda", spy(light.yale_lda))
    held = set(light.groups(lamps(28))[2][1].identities.tolist())
    found = [light.learner_part("28", "no blends", 2, 0, True), light.lda_part("28", 2, False, True)]
    for part in found:
        assert not set(part["2"]["people"]) & {f"yaleB{person:02d}" for person in held}
    assert all(not people & held for people in shown)
    assert [len(people) for people in shown] == [14, 14]


def test_the_best_is_best_on_the_mean_of_all_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(**accuracy: list[int]) -> dict[str, Any]:
        """By subset, an episode in which each method answers so many of ten rightly."""
        found = {}
        for i, subset in enumerate(light.COLUMNS["2-5"]):
            who, asked = np.zeros((1, 2), dtype=np.int64), np.full((1, 2), 5)
            found[subset] = light.to_json(
                {
                    name: light.Evaluation(np.array([[right[i], 0]]), asked, who, ("a", "b"))
                    for name, right in accuracy.items()
                }
            )
        return found

    assert light._best([scored(one=[5, 5, 5, 0]), scored(two=[4, 4, 4, 4], three=[5, 0, 0, 0])]) == "two"
    assert light._best([scored(one=[4, 2, 1, 1]), scored(two=[4, 2, 1, 1])]) == "one", "of several, the first"


def test_what_was_measured_is_kept_and_summed_up(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = light.measure("yale", "28")
    monkeypatch.setattr(light, "meta_train", None)  # nothing is trained again
    monkeypatch.setattr(light, "evaluate", None)
    assert json.dumps(light.measure("yale", "28")) == json.dumps(found)

    def kept(kind: str, group: int, seed: int) -> dict[str, Any]:
        part = json.loads((small / f"runs/light/yale/{kind}-{group}-{seed}.json").read_text())["found"]
        return {subset: from_json(packed) for subset, packed in part.items()}

    places = [(group, seed) for group in range(light.GROUPS) for seed in light.SEEDS]

    def mean(names: list[str], kinds: list[str], subsets: str) -> float:
        """Over all trainings; of each group its own name and kind of part."""
        runs = [kept(kinds[group], group, seed) for group, seed in places]
        return float(
            np.mean(
                [run[s][names[group]].accuracy for run, (group, _) in zip(runs, places, strict=True) for s in subsets]
            )
        )

    named = sorted(person for group in found["people"] for person in group)
    assert named == [f"yaleB{person:02d}" for person in range(28)]
    chosen = found["chosen"]["learner"]
    kinds = ["learner-" + name.rpartition(", ")[0].replace(" ", "-") for name in chosen]
    ours, theirs = mean(chosen, kinds, "234"), mean(["pixels"] * 4, ["baselines"] * 4, "234")
    assert found["methods"]["learner"]["2-4"]["mean"] == pytest.approx(ours, abs=2e-4)
    assert found["ahead"]["pixels"]["2-4"]["mean"] == pytest.approx(ours - theirs, abs=2e-4)
    assert set(found["ahead"]["pixels"]["2"]) == {"mean", "over_people", "over_episodes", "over_seeds", "verdict"}
    without = mean(["no blends, ten views"] * 4, ["learner-no-blends"] * 4, "2345")
    whole = mean(["whole, ten views"] * 4, ["learner-whole"] * 4, "2345")
    assert found["ablation"]["no blends"]["2-5"]["mean"] == pytest.approx(whole - without, abs=2e-4)
    assert len(found["chosen"]["LDA"]) == light.GROUPS
    assert "LDA, chosen" in found["methods"]
    answers = found["by_person"]["4"]
    asked, right = ([int(count) for count in text.split()] for text in (answers["asked"], answers["right"]["pixels"]))
    assert len(asked) == 28
    assert sum(asked) == len(places) * light.EPISODES * light.WAYS * light.QUERIES
    assert sum(right) / sum(asked) == pytest.approx(mean(["pixels"] * 4, ["baselines"] * 4, "4"), abs=1e-6)
    dog = mean(["pixels, DoG"] * 4, ["baselines"] * 4, "2345") - mean(["LDA"] * 4, ["baselines"] * 4, "2345")
    assert found["chains"]["DoG"]["LDA"]["2-5"]["mean"] == pytest.approx(dog, abs=2e-4)
    of_groups = [
        np.mean([kept("baselines", group, seed)["3"]["LDA"].accuracy for seed in light.SEEDS])
        for group in range(light.GROUPS)
    ]
    half = corrected_resampled_t(of_groups, test_share=1 / 3)
    assert found["methods"]["LDA"]["3"]["over_seeds"] == pytest.approx(half, abs=2e-4)
    light.show_yale(found)


def test_lda_is_as_its_recipe_says() -> None:
    base = lamps(12)
    plain, shrunk, chain = (
        light.yale_lda(base, recipe).embedding(base.images[:3])
        for recipe in ((False, False, 20, None), (False, False, 20, 0.5), (False, True, 20, None))
    )
    own = light.lda(base, 20).embedding(base.images[:3])
    assert torch.allclose(plain, own)
    assert not torch.allclose(shrunk, own, atol=1e-2)
    assert not torch.allclose(chain, own, atol=1e-2)
    names = [light.lda_name(recipe, view) for recipe in light.LDA_RECIPES for view in light.VIEWS]
    assert len(set(names)) == 2 * len(light.LDA_RECIPES) == 72


def test_procedural_faces_under_the_lamp(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = {light.snapshots.STEPS[-1]: ProtoNet(Conv4(3, 64, width=4)).eval()}
    monkeypatch.setattr(light.snapshots, "load_snapshots", lambda: nets)
    found = light.measure_procedural(range(10))
    pair, accuracy = found["ahead"]["lbp"]["mask"], found["accuracy"]
    means = [np.mean(accuracy[name]["mask"]) for name in ("protonet", "lbp")]
    assert np.array(accuracy["lbp"]["mask"]).shape == (1, 2), "elevations and azimuths"
    assert pair["mean"] == pytest.approx(means[0] - means[1], abs=2e-4)
    assert pair["over_people"] > 0
    people = [float(text) for text in found["by_person"]["lbp"]["mask"].split()]
    assert len(people) == found["people"] == 10
    assert np.mean(people) == pytest.approx(means[1], abs=2e-4)
    light.show_procedural(found)


def test_a_look_leaves_a_person_out_as_if_they_did_not_exist(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jackknife's parts, against measuring the others alone, in the same pictures."""
    draw = light.sample_nuisance
    monkeypatch.setattr(light, "sample_nuisance", lambda count, *how: draw(8, *how)[torch.arange(count)])
    nets = {light.snapshots.STEPS[-1]: ProtoNet(Conv4(3, 64, width=4)).eval()}
    monkeypatch.setattr(light.snapshots, "load_snapshots", lambda: nets)
    whole, rest = (light.look_part(range(count), "none") for count in (8, 7))
    for name in ("pixels", "protonet"):
        assert whole[name]["without"][-1] == pytest.approx(np.mean(rest[name]["accuracy"]), abs=2e-4)


def test_a_block_of_size_0_hides_nothing_and_a_larger_one_hides_more() -> None:
    plain, *blocks = (
        light.photographs([3], [20.0], 20.0, *look)
        for look in (("none",), *(("block", s) for s in (0.0, 0.25, 0.5, 1.0)))
    )
    hidden = [((block != plain).any(1)).double().mean().item() for block in blocks]
    assert hidden[0] == 0
    assert hidden == sorted(hidden)
    assert hidden[1] > 0.02


def test_learner_and_baselines_meet_the_same_episodes(small: Path) -> None:
    """Normalising a face set leaves its episodes: the stored comparison rests on it."""
    faces = lamps(8)
    twin = light.normalised(faces, "CLAHE")
    one = light.by_subset({"": pixels(light.NORMALISATIONS["CLAHE"])}, faces, seed=3)
    other = light.by_subset({"": pixels()}, twin, seed=3)
    assert one == other


def test_a_half_trained_network_is_not_measured(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta_train = light.meta_train
    monkeypatch.setattr(light, "meta_train", lambda *a, **o: replace(meta_train(*a, **o), stopped="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        light.measure("yale", "28")
    assert not (small / "runs").exists()


def test_the_command_says_what_is_missing(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", "light", "yale", "--yale", "nowhere", "--jobs", "1"]) == 1
    assert "Not measured: yale: There is no folder extended-yale-b:nowhere." in capsys.readouterr().err
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
    for base, novel in light.groups(faces):
        for part in (novel, light.inner(base)[1]):
            for subset in light.SUBSETS:
                kept: dict[str, Any] = {"support_where": {"subset": 1}, "query_where": {"subset": subset}}
                assert light.EpisodeSampler(part, light.WAYS, light.SHOTS, light.QUERIES, **kept).people == 7
