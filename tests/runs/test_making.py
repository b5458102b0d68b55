"""Learners made from their settings: each trains, is stored, and is evaluated."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.implicit_maml import ImplicitMAML
from metaface_lessons.learners.learn2learn_maml import Learn2LearnMAML
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.maml_plus_plus import MAMLPlusPlus
from metaface_lessons.learners.margin import Margin
from metaface_lessons.learners.nca import NCA
from metaface_lessons.learners.pretraining import Pretraining
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.learners.reptile import Reptile
from metaface_lessons.runs import making
from metaface_lessons.runs.recipes import RECIPES, Settings, settings_of
from metaface_lessons.runs.run import load_run
from tests.helpers import printed, random_faces
from tests.needs import need


@pytest.mark.filterwarnings("ignore:H \\+ λI is not positive definite")  # iMAML's, after one step of training
@pytest.mark.parametrize("learner", ["maml", "fomaml", "anil", "metasgd", "maml++", "imaml", "reptile"])
def test_learners_with_an_inner_loop(
    learner: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    numbers = {"shots": 2, "queries": 3, "width": 8, "tasks": 1, "inner-steps": 2, "test-steps": 2}
    small = [f"--{name}={value}" for name, value in numbers.items()]
    command = ["train", learner, "--faces", f"folder:{photos}", *small, "--quiet", "--out", str(run)]
    assert cli.main([*command, "--steps", "1"]) == 0
    assert cli.main([*command, "--steps", "2", "--json"]) == 0
    assert '"steps": 2' in capsys.readouterr().out
    record = json.loads((run / "run.json").read_text())
    assert record["settings"]["inner_rate"] == RECIPES[learner]["inner_rate"]
    assert record["settings"]["inner_steps"] == 2
    assert record["settings"]["temperature"] is None
    net = load_run(run).learner
    fast = "tasks as channel groups"
    formulations = {"maml": fast, "metasgd": fast, "imaml": fast, "anil": "head only"}
    assert record["training"]["formulation"] == formulations.get(learner, "one by one")
    assert (net.network_per_task.name == "head only") == (learner == "anil")
    assert getattr(net, "first_order", False) == (learner == "fomaml")
    assert record["training"]["validation"] == []  # 2 people, fewer than the head has outputs

    few = ["--episodes", "4", "--no-baselines", "--json"]
    assert cli.main(["evaluate", str(run), "--ways", "5", "--shots", "4", "--queries", "1", *few]) == 0
    assert 0 <= printed(capsys)["accuracy"] <= 1
    assert cli.main(["evaluate", str(run), "--ways", "4", *few]) == 1
    shown = capsys.readouterr().err
    assert "its head tells 5 people apart, not 4. Evaluate it with --ways 5" in shown
    assert f"metaface train {learner} --ways 4" in shown


def test_each_switch_of_maml_plus_plus_is_an_option(photos: Path, tmp_path: Path) -> None:
    run, off = tmp_path / "run", ["--step-rates=0", "--step-affine=0", "--step-statistics=0", "--cosine-steps=0"]
    small = ["--shots=2", "--queries=3", "--width=8", "--tasks=1", "--inner-steps=2", "--test-steps=3", "--quiet"]
    command = ["train", "maml++", "--faces", f"folder:{photos}", *small, "--steps=1"]
    given = ["--multi-step=7", "--first-order-steps=4", *off]
    assert cli.main([*command, *given, "--out", str(run)]) == 0
    net = load_run(run).learner
    assert isinstance(net, MAMLPlusPlus)
    assert (net.multi_step, net.first_order_steps, net.cosine_steps, net.gammas, net.means) == (7, 4, 0, None, None)
    assert net.rates.shape == (len(net.layers),)
    assert (net.steps, net.test_steps) == (2, 3)
    assert cli.main([*command, "--out", str(tmp_path / "all")]) == 0
    net = load_run(tmp_path / "all").learner
    assert (net.multi_step, net.first_order_steps, net.cosine_steps) == (100, 100, 1000)
    assert net.rates.shape == (2, len(net.layers))
    assert net.gammas.shape == net.means.shape
    assert net.means.abs().max() > 0, "the averages of the training are stored"


def test_protomaml_is_evaluated_with_any_number_of_people(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = ["--shots=2", "--queries=3", "--width=8", "--tasks=1", "--temperature=20"]
    command = ["train", "protomaml", "--faces", f"folder:{photos}", *small, "--quiet", "--out", str(run)]
    assert cli.main([*command, "--steps", "2", "--json"]) == 0
    capsys.readouterr()
    record = json.loads((run / "run.json").read_text())
    assert record["settings"]["temperature"] == 20
    assert record["training"]["formulation"] == "tasks as channel groups"
    net = load_run(run).learner
    assert isinstance(net, ProtoMAML)
    assert net.rates.requires_grad
    for ways in ("2", "5"):
        few = ["--ways", ways, "--shots", "4", "--queries", "1", "--episodes", "4", "--no-baselines", "--json"]
        assert cli.main(["evaluate", str(run), *few]) == 0
        assert 0 <= printed(capsys)["accuracy"] <= 1


def test_maml_trains_with_less_memory_if_it_is_asked_to(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {}
    for memory in (None, "steps"):
        run = tmp_path / f"{memory}"
        small = ["--width=8", "--tasks=1", "--inner-steps=3", "--steps=1", "--quiet", "--out", str(run)]
        asked = [f"--memory={memory}"] * (memory is not None)
        assert cli.main(["train", "maml", "--faces", f"folder:{photos}", *small, *asked]) == 0
        learner = load_run(run).learner
        assert learner.memory == (memory or "all")
        weights[memory] = torch.cat([w.detach().flatten() for w in learner.parameters()])
    assert torch.allclose(weights[None], weights["steps"], rtol=0, atol=1e-6)
    capsys.readouterr()
    assert cli.main(["train", "maml", "--faces", f"folder:{photos}", *small, "--memory", "all"]) == 1
    assert "is of another training: it has {'memory': 'steps'}, this one {'memory': 'all'}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["train", "maml", "--memory", "step"])
    assert "it is 'step'. Give one of: all, segments, steps" in capsys.readouterr().err
    assert cli.main(["train", "fomaml", "--faces", f"folder:{photos}", "--memory", "steps"]) == 1
    assert "fomaml has no setting 'memory'" in capsys.readouterr().err


def test_a_learner_of_a_library_that_is_missing_says_how_to_get_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    run = ["--faces", f"folder:{photos}", "--steps", "1", "--quiet", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "learn2learn", *run]) == 1
    assert "metaface doctor --fix" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------- from settings alone

KINDS = {
    "pretrain": Pretraining,
    "arcface": Margin,
    "cosface": Margin,
    "protonet": ProtoNet,
    "nca": NCA,
    "maml": MAML,
    "fomaml": MAML,
    "anil": MAML,
    "metasgd": MAML,
    "maml++": MAMLPlusPlus,
    "imaml": ImplicitMAML,
    "protomaml": ProtoMAML,
    "reptile": Reptile,
    "learn2learn": Learn2LearnMAML,
}
SHAPE = (1, 16, 16)
PEOPLE = torch.tensor([3, 4, 8])


def test_every_learner_of_the_recipes_can_be_made() -> None:
    assert set(KINDS) == set(making.LEARNERS) == set(RECIPES)


@pytest.mark.parametrize("name", KINDS)
def test_a_learner_follows_its_settings(name: str) -> None:
    if name == "learn2learn":
        need("learn2learn")

    def weights(**changed: int) -> list[torch.Tensor]:
        made = making.make_learner(settings_of(name, width=8, **changed), SHAPE, PEOPLE)
        assert type(made) is KINDS[name]
        return [parameter for parameter in made.parameters() if parameter.ndim == 4]

    one, same, other = weights(), weights(), weights(seed=1)
    assert max(map(len, one)) == 8  # the first layer has half as many filters
    assert one[0].shape[1] == SHAPE[0]
    assert all(map(torch.equal, one, same))
    assert not any(map(torch.equal, one, other))


@pytest.mark.parametrize("name", ["pretrain", "arcface", "cosface", "protonet", "nca"])
def test_augmentation_and_weight_decay_are_as_strong_as_their_settings(name: str) -> None:
    usual, changed = (
        making.make_learner(settings_of(name, width=8, **given), SHAPE, PEOPLE)
        for given in ({}, {"augmentation": 0.5, "weight_decay": 0.5})
    )
    assert changed.augment.rotate == usual.augment.rotate / 2 > 0
    assert type(usual.optimiser(0.1)) is torch.optim.Adam
    weights = next(changed.parameters())
    before, weights.grad = weights.detach().clone(), torch.zeros_like(weights)
    changed.optimiser(0.1).step()
    assert torch.allclose(weights, before * (1 - 0.1 * 0.5))  # apart from the gradient, which is 0


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_the_embedding_of_a_margin_loss_can_point_anywhere(name: str) -> None:
    made = making.make_learner(settings_of(name, width=8), SHAPE, PEOPLE)
    images = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0))
    points = torch.nn.functional.normalize(made.get_submodule("embedding")(images), dim=-1)
    assert (points @ points.T).min() < -0.2  # more than 90° apart, which coordinates above 0 cannot be


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if "memory" in recipe])
def test_what_a_meta_gradient_keeps_is_as_set(name: str) -> None:
    usual, less = (
        making.make_learner(settings_of(name, width=8, **given), SHAPE) for given in ({}, {"memory": "nested"})
    )
    assert (usual.memory, less.memory) == ("all", "nested")
    assert not less.first_order


@pytest.mark.parametrize("name", ["maml", "reptile"])
def test_a_head_prefers_no_label_at_the_start(name: str) -> None:
    made = making.make_learner(settings_of(name, width=8, ways=7), SHAPE)
    assert [tuple(p.shape) for p in made.parameters() if not p.any() and p.ndim == 2] == [(7, 8)]


def test_what_cannot_be_made_says_why() -> None:
    for name in ("pretrain", "arcface", "cosface"):
        with pytest.raises(MetaFaceError, match="Give their numbers, `people`"):
            making.make_learner(settings_of(name), SHAPE)
    with pytest.raises(MetaFaceError, match="Did you mean 'reptile'"):
        making.make_learner(Settings("reptil"), SHAPE)


@pytest.mark.parametrize("name", ["protonet", "nca", "maml", "reptile"])
def test_the_episodes_of_an_inner_loop_are_augmented_and_others_are_left_to_their_learner(name: str) -> None:
    settings = settings_of(name, ways=3, shots=2, queries=2, seed=4)
    faces = random_faces(people=6, each=5)
    drawn, plain = (
        sampler.sample()
        for sampler in (making.training_sampler(settings, faces), EpisodeSampler(faces, 3, 2, 2, seed=4))
    )
    assert torch.equal(drawn.identities, plain.identities)
    assert torch.equal(drawn.support.x.float(), plain.support.x.float()) == (name in ("protonet", "nca"))
