"""What a training costs: counts against closed forms and against torch's own counter, and what is said of them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from metaface_lessons import cli
from metaface_lessons.episodes import Episodes, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import cost as experiment
from metaface_lessons.learners.maml import MAML
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.runs import cost
from metaface_lessons.runs.cost import OF_DATA, PRODUCTS, Count, Layer, Machine, Prediction, count, layers, predict
from metaface_lessons.runs.recipes import RECIPES, settings_of
from tests.helpers import printed

SHAPE = (3, 32, 32)
WAYS, SHOTS, QUERIES, STEPS = 5, 2, 3, 2
SUPPORT, ASKED = WAYS * SHOTS, WAYS * (SHOTS + QUERIES)


def classifier(size: int = 32, width: int = 16, pool: str = "before") -> Classifier:
    embedding = Conv4(3, size, width, norm="task", pool=pool)
    return Classifier(embedding, embedding.features, WAYS)


def products(found: list[Layer], order: int) -> int:
    """Of one image."""
    return sum(layer.products * (OF_DATA if layer.sees_data else PRODUCTS)[order] for layer in found)


# --------------------------------------------------------------------------------------------------------------- layers


def test_the_layers_of_conv4_have_the_counts_that_one_writes_down() -> None:
    found = layers(classifier(64, 32), (3, 64, 64))
    assert [layer.kind for layer in found] == ["Conv2d", "MaxPool2d", "TaskNorm", "ReLU"] * 4 + ["Flatten", "Linear"]
    convolutions = [layer for layer in found if layer.kind == "Conv2d"]
    assert [layer.products for layer in convolutions] == [
        2 * 9 * 3 * 16 * 64 * 64,
        2 * 9 * 16 * 32 * 32 * 32,
        2 * 9 * 32 * 32 * 16 * 16,
        2 * 9 * 32 * 32 * 8 * 8,
    ]
    assert found[-1].products == 2 * (32 * 4 * 4) * 5
    assert [layer.weights for layer in convolutions] == [9 * 3 * 16, 9 * 16 * 32, 9 * 32 * 32, 9 * 32 * 32]
    assert sum(layer.weights for layer in found) == sum(w.numel() for w in classifier(64, 32).parameters())
    assert [layer.moved for layer in found[:5]] == [
        3 * 64 * 64 + 16 * 64 * 64,
        16 * 64 * 64 + 16 * 32 * 32,
        2 * 16 * 32 * 32,
        2 * 16 * 32 * 32,
        16 * 32 * 32 + 32 * 32 * 32,
    ]
    assert [layer.kept for layer in found[:4]] == [16 * 64 * 64, 3 * 16 * 32 * 32, 16 * 32 * 32, 16 * 32 * 32]
    assert [layer.sees_data for layer in found] == [True] + 17 * [False]


def test_half_the_image_has_a_quarter_of_the_products_and_of_the_maps() -> None:
    large, small = (layers(classifier(size), (3, size, size)) for size in (64, 32))
    for one, other in zip(large, small, strict=True):
        assert (one.products, one.moved) == (4 * other.products, 4 * other.moved) or one.kind == "Linear"


def test_strides_leave_a_quarter_of_the_products_and_pooling_late_leaves_more_to_normalise() -> None:
    before, after, stride = (layers(classifier(pool=pool), SHAPE) for pool in ("before", "after", "stride"))
    assert 4 * stride[0].products == before[0].products == after[0].products
    norm = {name: next(layer.moved for layer in found if layer.kind == "TaskNorm")
            for name, found in (("before", before), ("after", after))}  # fmt: skip
    assert norm["after"] == 4 * norm["before"]


@pytest.mark.parametrize("norm", ["batch", "task", "group", "none"])
def test_counting_leaves_a_network_as_it_was(norm: str) -> None:
    network = Conv4(1, 32, 8, norm=norm).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers(network, (1, 32, 32))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


# ----------------------------------------------------------------------------------------- against torch's own counter


def counted(work: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_a_pass_forward_and_a_gradient_are_what_torch_counts() -> None:
    network, images = classifier(), torch.rand(7, *SHAPE)
    found = layers(network, SHAPE)
    assert counted(lambda: network(images)) == 7 * products(found, 0)
    assert counted(lambda: network(images).square().sum().backward()) == 7 * products(found, 1)


def episodes() -> Episodes:
    support, query = (torch.arange(WAYS).repeat(1, each) for each in (SHOTS, QUERIES))
    return Episodes(
        Examples(torch.rand(1, SUPPORT, *SHAPE), support),
        Examples(torch.rand(1, ASKED - SUPPORT, *SHAPE), query),
        torch.arange(WAYS)[None],
    )


@pytest.mark.parametrize(("first_order", "order"), [(True, 1), (False, 2)])
def test_an_inner_loop_by_autograd_is_what_torch_counts(first_order: bool, order: int) -> None:
    network, drawn = classifier(), episodes()
    found = layers(network, SHAPE)
    net = MAML(network, steps=STEPS, first_order=first_order, fast=False)
    net.meta_gradient(drawn)  # which also tries whether the network is repeatable
    expected = STEPS * SUPPORT * products(found, order) + ASKED * products(found, 1)
    if order == 2:  # autograd makes one product of the first layer that nothing needs
        expected += STEPS * SUPPORT * found[0].products
    assert counted(lambda: net.meta_gradient(drawn)) == expected


def test_an_inner_loop_with_hessians_written_out_is_what_torch_counts() -> None:
    network, drawn = classifier(), episodes()
    net = MAML(network, steps=STEPS)
    assert net.formulation == "tasks as channel groups"
    net.meta_gradient(drawn)
    found = layers(network, SHAPE)
    numbers, patch = 9 * SHAPE[0], 32  # a patch is filled up to a multiple of 16
    found[0] = replace(found[0], products=found[0].products * patch // numbers)
    cut = 2 * numbers * patch * SHAPE[1] * SHAPE[2]  # cutting patches is a convolution, too
    expected = STEPS * SUPPORT * products(found, 2) + ASKED * products(found, 1) + (SUPPORT + ASKED) * cut
    expected -= STEPS * SUPPORT * 3 * found[-1].products  # torch leaves out products that are added in place
    assert counted(lambda: net.meta_gradient(drawn)) == expected


# ----------------------------------------------------------------------------------------------------------- a training


def small(learner: str, **given: Any) -> Count:
    usual = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES, "tasks": 2, "width": 16}
    usual |= {"inner_steps": 3} if "inner_steps" in RECIPES[learner] else {}
    return count(settings_of(learner, **usual | given), SHAPE)


def test_second_order_costs_three_times_first_order_in_the_inner_loop_and_nothing_after_it() -> None:
    second, first = small("maml"), small("fomaml")
    found = list(second.layers)
    inner = 2 * 3 * SUPPORT
    assert second.products - first.products == inner * (products(found, 2) - products(found, 1))
    assert products(found[1:], 2) == 3 * products(found[1:], 1)
    assert [(part.images, part.order) for part in second.parts] == [(inner, 2), (2 * ASKED, 1)]
    assert [(part.images, part.order) for part in first.parts] == [(inner, 1), (2 * ASKED, 1)]
    assert second.kept > first.kept


def test_more_inner_steps_keep_more_only_if_the_gradient_is_differentiated() -> None:
    assert small("maml", inner_steps=30).kept > 5 * small("maml").kept
    assert small("fomaml", inner_steps=30).kept == small("fomaml").kept
    assert small("fomaml", inner_steps=30).products > 4 * small("fomaml").products


@pytest.mark.parametrize(
    ("learner", "images"),
    [
        ("protonet", 2 * ASKED),
        ("nca", 2 * ASKED),
        ("pretrain", 2 * ASKED),
        ("arcface", 2 * ASKED),
        ("maml", 2 * (3 * SUPPORT + ASKED)),
        ("metasgd", 2 * (3 * SUPPORT + ASKED)),
        ("learn2learn", 2 * (3 * SUPPORT + ASKED)),
        ("fomaml", 2 * (3 * SUPPORT + ASKED)),
        ("anil", 2 * (SUPPORT + ASKED)),
        ("protomaml", 2 * (SUPPORT + 3 * SUPPORT + ASKED)),
        ("reptile", 2 * 3 * 10),
    ],
)
def test_each_learner_sends_its_images_through(learner: str, images: int) -> None:
    found = small(learner)
    assert sum(part.images for part in found.parts) == images
    assert min(found.products, found.moved, found.calls, found.pictures, found.kept, found.held) > 0


def test_what_layers_without_weights_move_and_what_pictures_have() -> None:
    found = small("protonet")
    each = sum(layer.moved for layer in found.layers if layer.kind in ("MaxPool2d", "BatchNorm2d", "ReLU"))
    assert found.moved == 3 * each * 2 * ASKED
    assert found.pictures == 2 * ASKED * (3 + 3) * 32 * 32
    assert found.calls == 3 * len(found.layers)


def test_counts_grow_with_what_they_are_of() -> None:
    for learner in RECIPES:
        one, more = small(learner), small(learner, tasks=4)
        assert more.products == 2 * one.products, learner
        assert small(learner, width=32).products > 2 * one.products, learner
    assert small("pretrain").held < count(settings_of("pretrain", width=16), SHAPE, people=9000).held


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="at least 16 pixels wide"):
        count(settings_of("maml"), (3, 8, 8))


# ----------------------------------------------------------------------------------------------------------- prediction

FITTED = {
    "seconds": {"products": 2.0, "moved": 3.0, "calls": 5.0, "pictures": 7.0, "kept": 11.0},
    "megabytes": {"kept": 1.5, "held": 2.0, "fixed": 10.0},
    "within": {"seconds": 1.25, "megabytes": 2.0},
}


def test_a_prediction_is_the_sum_of_what_each_kind_of_work_takes() -> None:
    of = Count((), (), products=1, moved=10, calls=100, pictures=1000, kept=2**20, held=2**21)
    machine = Machine("m", products=1.0, moved=0.1, calls=0.01)
    found = predict(of, machine, FITTED)
    assert found.seconds == pytest.approx(2 + 3 + 5 + 700 + 1.1 * 2**18)
    assert found.megabytes == pytest.approx(1.5 + 4 + 10)
    assert (found.seconds_within, found.megabytes_within) == (1.25, 2.0)


def test_a_prediction_is_said_with_its_uncertainty() -> None:
    prediction = Prediction(0.04, 100.0, 1.25, 2.0)
    assert prediction.text(100, None) == "about 4.0 (3.2 to 5.0) s for 100 steps, 100 (50 to 200) MB of memory"
    assert prediction.text(100, 60.0) == prediction.text(100, None)
    assert prediction.text(None, 60.0).startswith("about 1,500 (1,200 to 1,900) steps in 60 s,")
    assert prediction.text(10_000, 60.0) == prediction.text(None, 60.0), "the seconds end it first"


def test_a_calibration_is_of_the_fastest_rounds() -> None:
    ticks = itertools.count()
    found = cost.calibrate(clock=lambda: float(next(ticks)), rounds=2)  # each round takes one second
    assert found.calls == pytest.approx(1 / 300)
    assert found.products == pytest.approx(1 / (4 * 9 * 32 * 40 * 32 * 32 * 32))
    real = cost.calibrate(rounds=1)
    assert min(real.products, real.moved, real.calls) > 0
    assert real.products < real.moved < real.calls


def test_a_machine_is_measured_once_and_again_if_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFACE_CACHE", str(tmp_path))
    speeds = itertools.count(1)
    monkeypatch.setattr(cost, "calibrate", lambda: Machine(cost.device_name(), float(next(speeds)), 1.0, 1.0))
    assert [cost.this_machine().products for _ in range(2)] == [1, 1]
    assert cost.this_machine(again=True).products == 2
    monkeypatch.setattr(cost, "device_name", lambda: "another")
    assert [cost.this_machine().products for _ in range(2)] == [3, 3]
    (tmp_path / "machine.json").write_text("[]")
    assert cost.this_machine().products == 4
    (tmp_path / "machine.json").unlink()
    (tmp_path / "machine.json").mkdir()  # it cannot be written
    assert cost.this_machine().products == 5


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine and constants."""
    monkeypatch.setenv("METAFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cost, "calibrate", lambda: Machine(cost.device_name(), 1e-12, 1e-10, 1e-6))
    monkeypatch.setattr(experiment, "load", lambda: {"fitted": FITTED})


def test_the_command_predicts_and_a_training_says_the_same_before_it_starts(
    known: None, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["maml", "--faces", f"folder:{photos}", "--ways", "5", "--shots", "1", "--queries", "2", "--width", "8"]
    words += ["--steps", "2"]
    assert cli.main(["cost", *words, "--json"]) == 0
    found = printed(capsys)
    assert found["products"] == count(settings_of("maml", ways=5, shots=1, queries=2, width=8), (3, 64, 64)).products
    assert found["parts"][0]["order"] == 2
    assert cli.main(["cost", *words]) == 0
    text = capsys.readouterr().out
    assert "40 images, forward and gradient, differentiated: support, in the inner steps" in text
    prediction = next(line for line in text.splitlines() if line.startswith("Predicted: about "))
    assert "s for 2 steps" in prediction
    assert cli.main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    assert prediction in capsys.readouterr().err.splitlines()
    assert cli.main(["train", *words, "--out", str(tmp_path / "quiet"), "--quiet"]) == 0
    assert "Predicted" not in capsys.readouterr().err


def test_without_constants_a_training_starts_all_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "FILE", tmp_path / "cost.json")
    words = ["protonet", "--faces", f"folder:{photos}", "--ways", "5", "--queries", "2", "--width", "8"]
    assert cli.main(["train", *words, "--steps", "1", "--out", str(tmp_path / "run")]) == 0
    assert "Predicted" not in capsys.readouterr().err
    assert cli.main(["cost", *words]) == 1
    assert "cost.json is missing. Measure it: metaface experiment cost" in capsys.readouterr().err
    (tmp_path / "cost.json").write_text(json.dumps({"fitted": FITTED}))


def test_a_network_that_is_no_conv4_is_counted_too() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 7, bias=False), nn.ReLU())
    assert [(layer.products, layer.weights) for layer in layers(network, (3, 4, 4))] == [(0, 0), (672, 336), (0, 0)]
