"""Remedies for light: each against what it promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.normalisation import (
    NORMALISATIONS,
    difference_of_gaussians,
    equalise,
    normalised,
    tan_triggs,
)
from metaface_lessons.learners.baselines import pixels
from tests.helpers import lit_faces, random_faces

each_normalisation = pytest.mark.parametrize("normalise", NORMALISATIONS.values(), ids=NORMALISATIONS)


def slope(images: Tensor) -> Tensor:
    """Light that falls to an eighth from the left to the right."""
    return (images * torch.linspace(0, -2.08, images.shape[-1]).exp()).round().byte()


@each_normalisation
def test_a_picture_keeps_its_shape_and_others_do_not_matter(normalise: Callable[[Tensor], Tensor]) -> None:
    images = random_faces(people=3, each=2, size=20, channels=3).images
    got = normalise(images)
    assert (got.shape, got.dtype) == (images.shape, torch.uint8)
    assert got[1:2].equal(normalise(images[1:2]))
    assert got[:, 1:2].equal(normalise(images[:, 1:2]))
    flat = normalise(torch.full((2, 1, 20, 20), 70, dtype=torch.uint8))
    assert flat.amin() == flat.amax()  # one value in, one value out: no NaN becomes a number


def test_equalisation_undoes_what_rises_everywhere_alike_and_nothing_else() -> None:
    images = random_faces(people=2, each=1, size=32).images
    gamma = (255 * (images / 255) ** 0.5).round().byte()
    assert (equalise(images).float() - equalise(gamma).float()).abs().max() <= 3  # rounding joins some greys
    shaded = equalise(slope(images)).float() - equalise(images)
    assert shaded.abs().mean() > 30


def test_difference_of_gaussians_takes_slow_light_away() -> None:
    images = random_faces(people=4, each=1, size=64).images.clamp(min=60)
    inside = slice(12, -12)  # at the border a blur sees less

    def correlation(change: Callable[[Tensor], Tensor]) -> float:
        pair = torch.stack([change(images), change(slope(images))])[..., inside, inside].flatten(2).float()
        pair = pair - pair.mean(dim=2, keepdim=True)
        return torch.cosine_similarity(pair[0], pair[1]).mean().item()

    assert correlation(difference_of_gaussians) > 0.97
    assert correlation(lambda x: x) < 0.8


@each_normalisation
def test_normalisation_pays_under_light_from_the_side(normalise: Callable[[Tensor], Tensor]) -> None:
    faces = lit_faces()
    sampler = EpisodeSampler(faces, 5, 1, 2, support_where={"fall": 0.0}, query_where={"fall": [-2.0, 2.0]})
    found = evaluate({"raw": pixels(), "normalised": pixels(normalise)}, sampler, 60)
    if normalise is equalise:  # it knows of no place
        assert abs(found["normalised"].accuracy - found["raw"].accuracy) < 0.1
    else:
        assert found["normalised"].accuracy > found["raw"].accuracy + 0.1


def test_an_unknown_normalisation_is_named() -> None:
    with pytest.raises(MetaFaceError, match="normalisation of light"):
        normalised(random_faces(), "whitening")


def test_tan_triggs_on_real_light(shared_faces: Path) -> None:
    """On Extended Yale B normalised pixels beat pixels by far where the light comes from the side."""
    faces = load_faces(f"extended-yale-b:{shared_faces}/extended_yale_b", size=32)
    sampler = EpisodeSampler(faces, 5, 1, 2, support_where={"subset": 1}, query_where={"subset": 4})
    methods = {name: pixels(normalise) for name, normalise in NORMALISATIONS.items()}
    found = {name: 100 * e.accuracy for name, e in evaluate({"raw": pixels(), **methods}, sampler, 60).items()}
    assert found["raw"] < 45
    assert found["Tan-Triggs"] > found["raw"] + 25


def test_tan_and_triggs_chain_is_the_papers() -> None:
    """Written again from section III of the paper, with SciPy's blur."""
    picture = torch.randint(0, 256, (1, 1, 40, 40), generator=torch.Generator().manual_seed(0)).byte()
    raised = (picture[0, 0].numpy() / 255) ** 0.2
    band = gaussian_filter(raised, 1, mode="nearest") - gaussian_filter(raised, 2, mode="nearest")
    band = band / np.mean(np.abs(band) ** 0.1) ** (1 / 0.1)
    band = band / np.mean(np.minimum(10, np.abs(band)) ** 0.1) ** (1 / 0.1)
    wanted = 255 * (0.5 + 0.5 * np.tanh(band / 10))
    assert np.abs(tan_triggs(picture)[0, 0].numpy() - wanted).max() <= 1


def test_the_difference_of_gaussians_grows_with_the_picture() -> None:
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 8, 8, generator=draw)
    small, large = (
        (255 * F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)).byte()
        for side in (64, 128)
    )
    shrunk = F.avg_pool2d(difference_of_gaussians(large).float(), 2).flatten()
    alike = torch.corrcoef(torch.stack([shrunk, difference_of_gaussians(small).float().flatten()]))[0, 1]
    assert alike > 0.99
