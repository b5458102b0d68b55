"""Adaptation at deployment: statistics in closed form, entropy that falls, and labels that are used."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from metaface_lessons.deployment import Cameras, SupportStatistics, Tent, entropy, fine_tuned, renormalised
from metaface_lessons.episodes import EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.faces.camera import CAMERAS, Camera
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4, standardise
from metaface_lessons.training import meta_train
from tests.helpers import random_faces

FACES = random_faces(people=10, each=8, channels=3)


def protonet(norm: str = "batch", seed: int = 0) -> ProtoNet:
    return ProtoNet(Conv4(3, 16, width=8, depth=2, norm=norm, seed=seed), temperature=10.0).eval()


# ----------------------------------------------------------------------------------------------------------- statistics


def test_new_statistics_are_those_of_the_new_images_layer_by_layer() -> None:
    net, images = protonet(), FACES.images[:30]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made = renormalised(net, images)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "net stays as it was"
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), made.parameters(), strict=True)), "no weight changes"
    x = standardise(images)
    seen = 0
    for layer in made.embedding:
        if isinstance(layer, nn.BatchNorm2d):
            variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
            assert torch.allclose(layer.running_mean, mean, atol=1e-5)
            assert torch.allclose(layer.running_var, variance, atol=1e-5)
            seen += 1
        x = layer(x)
    assert seen == 2


def test_a_prior_counts_as_so_many_images() -> None:
    net, images = protonet(), FACES.images[:30]
    first = next(layer for layer in net.embedding if isinstance(layer, nn.BatchNorm2d))
    torch.nn.init.constant_(first.running_mean, 3.0)
    alone, blended = (
        next(layer for layer in renormalised(net, images, prior).embedding if isinstance(layer, nn.BatchNorm2d))
        for prior in (0.0, 10.0)
    )
    assert torch.allclose(blended.running_mean, (10 * 3.0 + 30 * alone.running_mean) / 40, atol=1e-5)
    assert torch.allclose(blended.running_var, (10 * first.running_var + 30 * alone.running_var) / 40, atol=1e-5)
    kept = renormalised(net, images, prior=1e9)
    assert torch.allclose(kept.embed(images[None]), net.embed(images[None]), atol=1e-4)


def test_what_a_camera_does_to_each_channel_is_undone() -> None:
    """A shift and scale of what the normalisation sees, the same for all images, is taken away by new statistics."""

    class Shifted(nn.Module):
        def __init__(self, norm: nn.BatchNorm2d, scale: float, shift: float) -> None:
            super().__init__()
            self.norm, self.scale, self.shift = norm, scale, shift

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.norm(images.float() * self.scale + self.shift).flatten(1)

    old = ProtoNet(Shifted(nn.BatchNorm2d(3, eps=1e-9), 1.0, 0.0)).eval()
    new = ProtoNet(Shifted(nn.BatchNorm2d(3, eps=1e-9), 0.3, -40.0)).eval()
    here, there = (renormalised(net, FACES.images) for net in (old, new))
    assert not torch.allclose(old.embed(FACES.images[None]), new.embed(FACES.images[None]), atol=1.0)
    assert torch.allclose(here.embed(FACES.images[None]), there.embed(FACES.images[None]), atol=1e-3)


def test_statistics_that_cannot_be_taken_are_refused() -> None:
    with pytest.raises(MetaFaceError, match=r'no batch normalisation.*norm="batch"'):
        renormalised(protonet("task"), FACES.images)
    with pytest.raises(MetaFaceError, match="There are no images"):
        renormalised(protonet(), FACES.images[:0])
    with pytest.raises(MetaFaceError, match=r"prior must be 0 or more.*but is -1"):
        renormalised(protonet(), FACES.images, prior=-1)


def test_a_gallery_of_the_old_camera_is_asked_by_the_new_one() -> None:
    old, new = protonet(), renormalised(protonet(), CAMERAS["noisy"](FACES.images))
    episodes = EpisodeSampler(FACES, 4, 2, 3).sample(tasks=2)
    with torch.no_grad():
        logits = Cameras(old, new).adapt(episodes.support).predict(episodes.query.x)
        centres = old.adapt(episodes.support).prototypes
        assert torch.equal(logits, new.logits(new.embed(episodes.query.x), centres))
        same = Cameras(old, old).adapt(episodes.support).predict(episodes.query.x)
        assert torch.equal(same, old.adapt(episodes.support).predict(episodes.query.x))


def test_the_support_set_of_each_task_gives_its_statistics() -> None:
    net = protonet()
    episodes = EpisodeSampler(FACES, 4, 2, 3).sample(tasks=3)
    with torch.no_grad():
        logits = SupportStatistics(net).adapt(episodes.support).predict(episodes.query.x)
        for task in range(3):
            x, y, q = episodes.support.x[task], episodes.support.y[task], episodes.query.x[task]
            own = renormalised(net, x)
            assert torch.equal(own.adapt(Examples(x[None], y[None])).predict(q[None])[0], logits[task])
        one = SupportStatistics(net).adapt(episodes.support).predict(episodes.query.x[:, :1])
    assert torch.allclose(one, logits[:, :1], atol=1e-5), "a prediction does not depend on the other queries"


# --------------------------------------------------------------------------------------------------- entropy and labels


def test_entropy_is_between_sure_and_no_idea() -> None:
    assert entropy(torch.zeros(5)).item() == pytest.approx(math.log(5))
    assert entropy(torch.tensor([100.0, 0, 0])).item() == pytest.approx(0, abs=1e-6)
    p = torch.tensor([0.5, 0.25, 0.25])
    assert entropy(p.log()).item() == pytest.approx(1.5 * math.log(2))


@pytest.mark.parametrize("statistics", [False, True])
def test_tent_makes_predictions_more_certain_and_leaves_the_network_alone(statistics: bool) -> None:
    net = protonet()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    episodes = EpisodeSampler(FACES, 4, 2, 3).sample(tasks=2)
    method = Tent(net, steps=4, rate=0.05, statistics=statistics)
    path = list(method.adapt(episodes.support).steps(episodes.support.x[0], episodes.support.y[0], episodes.query.x[0]))
    entropies = [entropy(logits).mean().item() for logits in path]
    assert len(path) == 5
    assert all(b < a for a, b in itertools.pairwise(entropies))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        predicted = method.adapt(episodes.support).predict(episodes.query.x)
    assert torch.allclose(predicted[0], path[-1].detach(), atol=1e-6), "tasks do not depend on each other"
    assert set(method.affine()) == {f"{i}.{kind}" for i in (2, 6) for kind in ("weight", "bias")}


def test_without_a_step_tent_has_the_old_statistics_or_those_of_the_task() -> None:
    net = protonet()
    episodes = EpisodeSampler(FACES, 4, 2, 3).sample(tasks=2)
    with torch.no_grad():
        entropy_only, whole = (
            Tent(net, steps=0, statistics=own).adapt(episodes.support).predict(episodes.query.x)
            for own in (False, True)
        )
        assert torch.allclose(entropy_only, net.adapt(episodes.support).predict(episodes.query.x), atol=1e-4)
        for task in range(2):
            x, y, q = episodes.support.x[task], episodes.support.y[task], episodes.query.x[task]
            own = renormalised(net, torch.cat([x, q]))
            expected = own.adapt(Examples(x[None], y[None])).predict(q[None])[0]
            assert torch.allclose(whole[task], expected, atol=1e-4)


def test_labels_of_the_new_camera_help() -> None:
    split = random_faces(people=60, each=6, channels=3).split(seed=1)
    net = ProtoNet(Conv4(3, 16, width=8, depth=2), temperature=10.0)
    net = meta_train(net, EpisodeSampler(split.base, 10, 1, 3), steps=30, rate=1e-2, progress=False).learner
    camera = Camera(noise=60.0, gamma=3.0, balance=(0.3, 0.5, 1.0))
    few, seen = camera.faces(split.base, seed=1), camera.faces(split.novel, seed=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tuned = fine_tuned(net, few, steps=30, rate=3e-3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    again = fine_tuned(net, few, steps=30, rate=3e-3)
    assert all(torch.equal(a, b) for a, b in zip(tuned.parameters(), again.parameters(), strict=True))
    found = evaluate({"none": net, "tuned": tuned}, EpisodeSampler(seen, 5, 1, 4), 100)
    assert found["tuned"].accuracy > found["none"].accuracy + 0.03
    with pytest.raises(MetaFaceError, match="images"):
        fine_tuned(net, few.select(torch.arange(0, len(few), 6)))
