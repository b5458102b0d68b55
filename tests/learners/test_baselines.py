"""Baselines: what they know, what they do not, and when they are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.normalisation import clahe, normalised
from metaface_lessons.learners.baselines import baselines, lbp, lda, pixels
from metaface_lessons.learners.protonet import ProtoNet
from tests.helpers import lit_faces, random_faces


def test_a_baseline_after_a_normalisation_is_the_baseline_on_normalised_faces() -> None:
    faces, twin = lit_faces(), normalised(lit_faces(), "CLAHE")
    pairs = [
        (pixels(clahe), pixels()),
        (lbp(clahe), lbp()),
        (lda(faces, 10, normalise=clahe), lda(twin, 10)),
    ]
    for inside, outside in pairs:
        one = evaluate({"": inside}, EpisodeSampler(faces, 5, 1, 2, seed=1), 20)[""]
        other = evaluate({"": outside}, EpisodeSampler(twin, 5, 1, 2, seed=1), 20)[""]
        assert one.episodes.tolist() == other.episodes.tolist()


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
