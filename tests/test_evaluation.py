from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from metaface_lessons.episodes import EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Evaluation, evaluate, expected_accuracy, frontier, interval
from metaface_lessons.faces import load_faces
from metaface_lessons.learners.baselines import baselines, lbp, lda, pixels
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from tests.helpers import random_faces


class Oracle:
    """Recognises the numbered images of `faces` with a given chance of being right for each person."""

    def __init__(self, faces, chance: list[float]) -> None:
        self.faces, self.chance = faces, torch.tensor(chance)
        self.seen: list[torch.Tensor] = []
        self.random = torch.Generator().manual_seed(0)

    def adapt(self, support: Examples) -> Oracle:
        self.seen.append(support.x)
        self.support = support
        return self

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        who = {image.numpy().tobytes(): int(p) for image, p in zip(self.faces.images, self.faces.identity, strict=True)}
        person = torch.tensor([[who[image.numpy().tobytes()] for image in task] for task in x])
        label = torch.tensor([[who[image.numpy().tobytes()] for image in task] for task in self.support.x])
        right = (person[:, :, None] == label[:, None, :]).float()
        fail = torch.rand(person.shape, generator=self.random) >= self.chance[person]
        return torch.where(fail[:, :, None], 1 - right, right)


def test_accuracy_and_both_intervals_are_those_of_their_definition() -> None:
    faces = random_faces(people=5, each=8)
    chance = [1.0, 0.9, 0.5, 0.3, 0.0]
    sampler = EpisodeSampler(faces, ways=3, shots=1, queries=4, seed=1)
    result = evaluate({"oracle": Oracle(faces, chance)}, sampler, episodes=500, at_once=64)["oracle"]
    assert result.episodes.shape == (500,)
    assert np.abs(result.people - chance).max() < 0.05
    assert abs(result.accuracy - np.mean(chance)) < 0.03
    assert result.ci95 == pytest.approx(1.96 * result.episodes.std(ddof=1) / np.sqrt(500))
    assert result.ci95_people == pytest.approx(1.96 * result.people.std(ddof=1) / np.sqrt(5))
    assert result.scores() == {
        "accuracy": round(result.accuracy, 4),
        "ci95": round(result.ci95, 4),
        "ci95_people": round(result.ci95_people, 4),
    }
    counts = np.array([[5, 5], [8, 6]]), np.full((2, 2), 10), np.array([[0, 1], [1, 0]])
    assert str(Evaluation(*counts, ("Ada", "Grace"))) == "60.0 ± 19.6 %"


def test_all_methods_see_the_same_episodes() -> None:
    faces = random_faces()
    a, b = Oracle(faces, [1.0] * 8), Oracle(faces, [1.0] * 8)
    evaluate({"a": a, "b": b}, EpisodeSampler(faces, 3, 1, 2), episodes=30, at_once=7)
    assert all(torch.equal(x, y) for x, y in zip(a.seen, b.seen, strict=True))
    assert sum(len(x) for x in a.seen) == 30


def test_networks_are_evaluated_inductively_and_left_as_they_were() -> None:
    faces = random_faces()
    net = ProtoNet(Conv4(1, 16, 8))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    evaluate({"net": net}, EpisodeSampler(faces, 3, 1, 2), episodes=3)
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_episodes_must_be_asked_for() -> None:
    with pytest.raises(MetaFaceError, match="at least 1"):
        evaluate({}, EpisodeSampler(random_faces(), 3, 1, 2), episodes=0)


def test_baselines_recognise_what_they_can() -> None:
    split = random_faces(people=24, each=6).split((0.5, 0.2, 0.3))
    results = evaluate(baselines(split.base), EpisodeSampler(split.novel, 5, 2, 3), episodes=50)
    assert list(results) == ["pixels", "lbp", "lda"]
    assert results["pixels"].accuracy > 0.9  # the pattern is in the pixels …
    assert results["lda"].accuracy > 0.4
    assert all(0.15 < result.accuracy <= 1 for result in results.values())


def test_pixels_are_the_nearest_mean_of_standardised_images() -> None:
    faces = random_faces()
    episodes = EpisodeSampler(faces, 4, 2, 3).sample(6)
    logits = pixels().adapt(episodes.support).predict(episodes.query.x)

    def standard(x: torch.Tensor) -> np.ndarray:
        flat = x.flatten(2).double().numpy()
        return (flat - flat.mean(-1, keepdims=True)) / flat.std(-1, keepdims=True)

    support, query = standard(episodes.support.x), standard(episodes.query.x)
    mean = support.reshape(6, 4, 2, -1).mean(axis=2)
    wanted = -((query[:, :, None] - mean[:, None]) ** 2).sum(-1)
    assert np.allclose(logits.numpy(), wanted, rtol=1e-4)


def test_lbp_does_not_know_brightness_and_knows_texture() -> None:
    images = random_faces().images // 2
    assert torch.allclose(lbp().embedding(images), lbp().embedding(images + 40))
    assert not torch.allclose(lbp().embedding(images), lbp().embedding(images.flip(-1)))
    assert torch.allclose(lbp().embedding(images).square().sum(1), torch.tensor(64.0))  # a distribution in each cell


def test_lda_needs_several_images_of_a_person() -> None:
    with pytest.raises(MetaFaceError, match="more than one image"):
        lda(random_faces(people=8, each=1))


def test_lda_is_compared_in_its_stronger_way(sklearn_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))
    split = load_faces("lfw").split(seed=0)
    own = lda(split.base)
    methods = {"own": own, "squared": ProtoNet(own.embedding, distance="squared")}
    found = evaluate(methods, EpisodeSampler(split.novel, 5, 1, 4), episodes=100)
    assert found["own"].accuracy > found["squared"].accuracy + 0.08


def test_the_interval_of_a_paired_difference_leaves_out_what_is_common() -> None:
    draw = np.random.default_rng(0)
    common, a, b = draw.normal(size=(3, 200))
    assert interval(common + a - (common + b)) == pytest.approx(1.96 * np.sqrt(np.var(a - b, ddof=1) / 200))
    assert np.isnan(interval(np.array([0.5])))


def test_the_frontier_is_of_those_that_nobody_beats() -> None:
    cost, accuracy = np.array([1.0, 2, 2, 3, 4, 4]), np.array([0.5, 0.7, 0.7, 0.7, 0.9, 0.8])
    assert frontier(cost, accuracy).tolist() == [True, True, True, False, True, False]  # equals do not beat each other


def test_expected_accuracy_is_the_mean_over_every_episode_there_is() -> None:
    distance = np.random.default_rng(0).random((7, 7))
    nearer = (distance < distance.diagonal()[:, None]).sum(1)
    for ways in (2, 3, 7):
        right = [
            distance[person, person] == distance[person, [person, *others]].min()
            for person in range(7)
            for others in itertools.combinations([k for k in range(7) if k != person], ways - 1)
        ]
        assert expected_accuracy(nearer, 6, ways) == pytest.approx(np.mean(right))
    with pytest.raises(MetaFaceError, match="2 to 7, the number of people, but is 8"):
        expected_accuracy(nearer, 6, 8)
