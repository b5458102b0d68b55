"""What training on domains is worth: every training and control, stored once; means, differences, hubs."""

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
from metaface_lessons.evaluation import from_json, student_t
from metaface_lessons.experiments import domains
from metaface_lessons.experiments.domains import Training
from metaface_lessons.faces import FaceSet
from metaface_lessons.faces.procedural import DOMAINS, nuisance_seed, render, sample_identities, sample_nuisance
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import standardise
from tests.helpers import random_faces

THREE = DOMAINS[:3]


@pytest.fixture(scope="module")
def real() -> dict[str, FaceSet]:
    """A stand-in for either set of real faces: noise, in CUFS one photo and one sketch of each."""
    pairs = random_faces(people=12, each=2, size=16)
    pairs = FaceSet(pairs.images, pairs.identity, {"domain": torch.arange(24) % 2}, {"domain": ("photo", "sketch")})
    return {"lfw": random_faces(people=40, each=6, size=16), "cufs": pairs}


@pytest.fixture(scope="module")
def cached_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small(tmp_path: Path, cached_faces: Path, real: dict[str, FaceSet], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the experiment with three domains, few people, steps and episodes."""
    monkeypatch.setattr(domains, "DOMAINS", THREE)
    smaller = {"PEOPLE": 40, "IMAGES": 5, "SIZE": 16, "WIDTH": 4, "STEPS": 2, "FEW_STEPS": 1, "ALONE_STEPS": 1}
    smaller |= {"EPISODES": 8, "FRACTIONS": (0.5, 0.2, 0.3), "CHOICE_DOMAINS": ("photo",), "LEFT_OUT": THREE[1:]}
    smaller |= {"CHOICES": dict(list(domains.CHOICES.items())[:2]), "TRAININGS": domains._trainings()}
    smaller |= {"PAIRS": [f"{a}, {b}" for a in THREE for b in THREE], "WITHIN": [f"{a}, {a}" for a in THREE]}
    for name, value in smaller.items():
        monkeypatch.setattr(domains, name, value)
    monkeypatch.setattr(domains, "real_faces", lambda cufs: (real, []))
    monkeypatch.setattr(domains, "FILE", tmp_path / "domains.json")
    monkeypatch.setenv("METAFACE_CACHE", str(cached_faces))
    monkeypatch.chdir(tmp_path)
    domains._faces.cache_clear()
    yield tmp_path
    domains._faces.cache_clear()


def kept(folder: Path, part: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"runs/domains/{part}.json").read_text())["found"])


def test_all_trainings_are_measured_averaged_and_compared(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = domains.measure([0, 1])
    monkeypatch.setattr(domains, "evaluate", None)  # all is kept
    assert domains.measure([0, 1]) == found

    assert set(found["trainings"]) == {training.name for training in domains.TRAININGS}
    assert set(found["baselines"]) == {"pixels", "lbp", "lda", "brightness"}
    pair, job = "photo, sketch", "not sketch: leave one out"
    each = [from_json(kept(small, f"not-sketch-leave-one-out-{seed}")["matrix"][pair])["it"] for seed in (0, 1)]
    assert found["trainings"][job]["matrix"][pair]["mean"] == pytest.approx(
        np.mean([e.accuracy for e in each]), abs=1e-4
    )
    assert not {*each[0].names} & {*each[1].names}, "every seed has new people"
    assert set(found["trainings"][job]["alignment"]) == {"seen", "unseen"}
    assert set(found["trainings"]["all: pooled"]["alignment"]) == {"seen"}

    home = "sketch, sketch"
    ours, theirs = (
        [from_json(kept(small, f"not-sketch-{kind}-{seed}")["matrix"][home])["it"] for seed in (0, 1)]
        for kind in ("leave-one-out", "pooled")
    )
    ahead = np.mean([a.accuracy - b.accuracy for a, b in zip(ours, theirs, strict=True)])
    left_out = found["left_out"]["leave one out"]["pooled"]
    assert left_out["sketch"]["mean"] == pytest.approx(ahead, abs=1e-4)
    assert left_out["all"]["mean"] == pytest.approx(
        np.mean([left_out[domain]["mean"] for domain in domains.LEFT_OUT]), abs=1e-4
    )
    assert {"over_people", "over_seeds", "verdict"} <= set(left_out["all"])
    assert {kind for kind, others in found["left_out"].items() if "photos alone" in others} == set(domains.KINDS)
    assert set(found["left_out"]["pooled"]["photos alone"]) == {"sketch", "near-infrared", "all"}
    cosine = {
        kind: np.mean(
            [found["trainings"][f"not {left}: {kind}"]["alignment"]["unseen"][0] for left in domains.LEFT_OUT]
        )
        for kind in ("leave one out", "pooled")
    }
    assert found["alignment"]["leave one out"]["pooled"]["unseen"][0] == pytest.approx(
        cosine["leave one out"] - cosine["pooled"], abs=3e-4
    )

    controls = found["paired"]["all: pooled"]
    assert set(controls) == {f"all: pooled, {shown}" for shown in domains.CONTROLS}
    assert {pair, "within", "across"} <= set(controls["all: pooled, outline"])
    across = [controls["all: pooled, outline"][p]["mean"] for p in domains.PAIRS if p not in domains.WITHIN]
    assert controls["all: pooled, outline"]["across"]["mean"] == pytest.approx(np.mean(across), abs=1e-4)
    assert set(found["few"]["fine-tuned"]) == {"sketch", "near-infrared"}
    assert found["choice"]["best"] in domains.CHOICES
    assert set(found["hubs"]) == {"pixels", "photo: plain", "all: pooled"}
    assert set(found["hubs"]["pixels"][pair]) == {"as they are", "centred", "scaled"}
    hub, back = found["hubs"]["pixels"][pair], found["hubs"]["pixels"]["sketch, photo"]
    assert hub["centred"]["gain"][0] == pytest.approx(
        hub["centred"]["accuracy"][0] - hub["as they are"]["accuracy"][0], abs=3e-4
    )
    assert hub["scaled"]["taken"][0] == pytest.approx(
        hub["as they are"]["behind"][0] - hub["scaled"]["behind"][0], abs=3e-4
    )
    assert hub["scaled"]["behind"][0] == pytest.approx(
        back["scaled"]["accuracy"][0] - hub["scaled"]["accuracy"][0], abs=3e-4
    )

    assert {"photo: plain", "all: leave one out", "pixels", "lfw"} <= set(found["lfw"])
    ranks = [kept(small, f"real-photo-plain-{seed}")["cufs"][pair]["whole"]["rank1"] for seed in (0, 1)]
    assert found["cufs"]["photo: plain"][pair]["whole"]["rank1"] == pytest.approx(np.mean(ranks), abs=1e-4)
    assert all("lfw" in found["real_paired"][job]["pixels"] for job in domains.REAL_TRAININGS)
    on_cufs = [
        {
            part: from_json(row)["it"].accuracy
            for part, row in kept(small, f"real-photo-plain-{seed}")["cufs"][pair].items()
        }
        for seed in (0, 1)
    ]
    whole = found["cufs"]["photo: plain"][pair]["whole"]
    assert whole["over_seeds"] > 0
    assert whole["over_seeds"] == pytest.approx(student_t([seed["whole"] for seed in on_cufs]), abs=1e-4), (
        "CUFS is not divided again"
    )
    assert found["cufs"]["photo: plain"][pair]["inner face only"]["minus whole"]["mean"] == pytest.approx(
        np.mean([seed["inner face only"] - seed["whole"] for seed in on_cufs]), abs=1e-4
    )
    domains.show(found)


def test_an_interrupted_experiment_goes_on_with_what_is_left(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "TRAININGS", domains.TRAININGS[:3])
    measure_job, done = domains.measure_job, list[str]()

    def interrupted(job: str, *arguments: Any, **options: Any) -> Any:
        done.append(job)
        if len(done) == 3:
            raise KeyboardInterrupt
        return measure_job(job, *arguments, **options)

    monkeypatch.setattr(domains, "measure_job", interrupted)
    jobs = domains.jobs()
    for _ in range(2):
        with pytest.raises((KeyboardInterrupt, KeyError)):  # first here, then where trainings are missing
            domains.measure([0])
    assert done == jobs[:3] + jobs[2:], "what was finished is not measured again"


def test_a_half_trained_network_is_not_measured(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta_train = domains.meta_train
    monkeypatch.setattr(domains, "meta_train", lambda *a, **o: replace(meta_train(*a, **o), stopped="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        domains.measure_job("photo: plain", 0)


def test_a_control_shows_what_it_says_in_the_same_episodes(small: Path) -> None:
    shown = {name: domains.people(3, name).novel for name in ("whole", *domains.CONTROLS, "equalised", "colour")}
    assert shown["colour"].shape[0] == 3
    assert set(shown["colour"].conditions["domain"].tolist()) == {0}
    for name in ("outline", "middle", "background", "brightness"):
        assert torch.equal(shown[name].identity, shown["whole"].identity)
        assert not torch.equal(shown[name].images, shown["whole"].images)
    middle = domains.ellipse(16, 16, domains.MIDDLE)
    assert torch.equal(shown["middle"].images[..., middle], shown["whole"].images[..., middle])
    assert (shown["middle"].images[..., ~middle].float().std(-1) == 0).all(), "no outline, hair or background is left"
    person = int(shown["whole"].identity[0])
    seen = shown["colour"].images[shown["colour"].identity == person]
    how = sample_nuisance(40 * 5, nuisance_seed(3, "photo"))
    everyone = sample_identities(40, 3)[torch.full((5,), person)]
    drawn = render(everyone, how[5 * person : 5 * person + 5], 16)
    assert (seen.float() - drawn.float()).abs().mean() < 0.5, "the photos are those of the generator"


def test_weights_that_are_kept_are_those_that_were_trained(small: Path) -> None:
    found = domains.measure_job("photo: plain", 0)
    net = domains.network(1, 5)
    net.embedding.load_state_dict({name: domains._unpacked(values) for name, values in found["weights"].items()})
    again = domains.matrix(domains.frozen(net.eval()), domains.people(0).novel, 0)
    assert again == found["matrix"]


def test_a_shift_between_domains_makes_hubs_and_centring_takes_them_away(small: Path) -> None:
    """(8.8): all queries are moved along a direction in which the supports of one domain are spread."""
    draw = torch.Generator().manual_seed(0)
    person = torch.arange(20).repeat_interleave(5).repeat(3)
    domain = torch.arange(3).repeat_interleave(100)
    place = torch.randn(20, 8, generator=draw)[person] + 0.1 * torch.randn(300, 8, generator=draw)
    place[domain == 1, 0] += 20  # the second domain is far away along the first axis,
    place[domain == 2, 0] = 20  # and so is the third, whose supports are not spread along it
    faces = FaceSet(
        (place[:, None, :, None] * 4 + 128).clamp(0, 255).byte(), person, {"domain": domain}, {"domain": THREE}
    )

    class Places(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1).double()

    found = domains.hubs(ProtoNet(Places()), faces)
    moved, back, flat = (found[pair] for pair in ("photo, sketch", "photo, photo", "near-infrared, photo"))
    assert moved["as they are"]["top"] > 0.9 > 0.2 > back["as they are"]["top"]
    assert moved["as they are"]["skew"] > 3
    assert moved["as they are"]["accuracy"] < 0.4
    assert moved["centred"]["accuracy"] > 0.9
    assert flat["as they are"]["accuracy"] > 0.8, "supports that are not spread along the shift do not feel it"
    assert moved["scaled"]["spread"] == pytest.approx(1)
    assert back["as they are"]["accuracy"] > 0.9


def test_brightness_reaches_a_network_that_standardises(small: Path) -> None:
    bars = domains.people(3, "brightness").novel.images
    assert standardise(bars).flatten(1).unique(dim=0).shape[0] > 5


def test_other_real_faces_and_rates_are_measured_again(small: Path) -> None:
    domains.parts(real={"lfw": 3})("real-pixels-0", lambda: 1)
    assert "real-pixels-0" in domains.parts(real={"lfw": 3})
    assert "real-pixels-0" not in domains.parts(real={"lfw": 4})


def test_the_command_stores_what_it_finds_and_says_what_is_missing(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def measured(seeds: list[int], cufs: str | None, jobs: int) -> dict[str, Any]:
        asked.append((seeds, cufs, jobs))
        return {"baselines": {}, "trainings": {}, "left_out": {}}

    monkeypatch.setattr(domains, "measure", measured)
    monkeypatch.setattr(domains, "real_faces", lambda cufs: ({}, [f"cufs: There is no folder {cufs}."]))
    assert cli.main(["experiment", "domains", "--seeds", "3", "4", "--cufs", "nowhere", "--jobs", "2"]) == 1
    assert "Not measured: cufs: There is no folder nowhere." in capsys.readouterr().err
    assert asked == [([3, 4], "nowhere", 2)]
    assert domains.load()["command"] == "metaface experiment domains --seeds 3 4"


def test_the_name_of_a_training_says_its_domains_and_what_is_shown() -> None:
    assert Training(domains.others("sketch"), "pooled").name == "not sketch: pooled"
    assert Training(("sketch",), "plain", "outline").name == "sketch: plain, outline"
    assert Training(DOMAINS, "across").name == "all: across"
    assert domains.others("sketch") == tuple(domain for domain in DOMAINS if domain != "sketch")
    names = [training.name for training in domains.TRAININGS]
    assert len(set(names)) == len(names)
    known = {*names, *domains.BASELINES}
    for one, other, _ in domains.comparisons():
        assert {one, other} <= known
    assert set(domains.REAL_TRAININGS) <= known


def test_domains_are_left_out_in_every_way_and_others_choose_the_rates() -> None:
    names = {training.name for training in domains.TRAININGS}
    assert {f"not {domain}: {kind}" for domain in domains.LEFT_OUT for kind in domains.KINDS} <= names
    assert not set(domains.LEFT_OUT) & set(domains.CHOICE_DOMAINS)


def test_the_stored_result_is_read_and_names_the_trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = domains.load()
    assert {*found["trainings"], *found["baselines"], "few"} == set(domains.jobs())
    monkeypatch.setattr(domains, "FILE", tmp_path / "none.json")
    with pytest.raises(MetaFaceError, match=r"none\.json is missing\. Measure it: metaface experiment domains"):
        domains.load()
