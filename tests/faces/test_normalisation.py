"""Remedies for light: each against what it promises; blends of people; conditions that no image has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from metaface_lessons.faces.blending import with_blends
from metaface_lessons.faces.faceset import FaceSet
from metaface_lessons.faces.normalisation import (
    NORMALISATIONS,
    clahe,
    difference_of_gaussians,
    equalise,
    normalised,
    tan_triggs,
)
from metaface_lessons.learners.baselines import lbp, lda, pixels
from tests.helpers import random_faces

each_normalisation = pytest.mark.parametrize("normalise", NORMALISATIONS.values(), ids=NORMALISATIONS)


def slope(images: Tensor) -> Tensor:
    """Light that falls to an eighth from the left to the right."""
    return (images * torch.linspace(0, -2.08, images.shape[-1]).exp()).round().byte()


def lit(people: int = 20, size: int = 32) -> FaceSet:
    """Each person with a pattern of their own, four times: in even light, and in three that fall off to one side."""
    faces = random_faces(people, 4, size)
    number = torch.arange(len(faces)) % 4
    fall = torch.tensor([0.0, -2.0, 2.0, -1.5])[number]
    light = (fall[:, None] * torch.linspace(-1, 1, size)).exp()[:, None, None, :]
    light = light / light.amax(dim=3, keepdim=True)
    return replace(faces, images=(faces.images * light).round().byte(), conditions={"fall": fall}, levels={})


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
    faces = lit()
    sampler = EpisodeSampler(faces, 5, 1, 2, support_where={"fall": 0.0}, query_where={"fall": [-2.0, 2.0]})
    found = evaluate({"raw": pixels(), "normalised": pixels(normalise)}, sampler, 60)
    if normalise is equalise:  # it knows of no place
        assert abs(found["normalised"].accuracy - found["raw"].accuracy) < 0.1
    else:
        assert found["normalised"].accuracy > found["raw"].accuracy + 0.1


def test_a_baseline_after_a_normalisation_is_the_baseline_on_normalised_faces() -> None:
    faces, twin = lit(), normalised(lit(), "CLAHE")
    pairs = [
        (pixels(clahe), pixels()),
        (lbp(clahe), lbp()),
        (lda(faces, 10, normalise=clahe), lda(twin, 10)),
    ]
    for inside, outside in pairs:
        one = evaluate({"": inside}, EpisodeSampler(faces, 5, 1, 2, seed=1), 20)[""]
        other = evaluate({"": outside}, EpisodeSampler(twin, 5, 1, 2, seed=1), 20)[""]
        assert one.episodes.tolist() == other.episodes.tolist()


def test_an_unknown_normalisation_is_named() -> None:
    with pytest.raises(MetaFaceError, match="normalisation of light"):
        normalised(random_faces(), "whitening")


def two_people() -> FaceSet:
    """Two people of one grey each under three lights; the second one lacks a light."""
    light = torch.tensor([1.0, 0.5, 0.25, 1.0, 0.5])
    person = torch.tensor([3, 3, 3, 7, 7])
    grey = torch.where(person == 3, 200, 100) * light
    azimuth = torch.tensor([0.0, 30.0, -30.0, 0.0, 30.0])
    return FaceSet(grey.byte()[:, None, None, None].expand(-1, 1, 16, 16), person, {"azimuth": azimuth}, name="two")


def test_a_blend_is_the_same_mix_under_every_light_that_both_were_seen_in() -> None:
    faces = two_people()
    more = with_blends(faces, 6, same=["azimuth"])
    assert more.identities.tolist() == [3, 7, *range(8, 14)]
    assert more.select(torch.arange(5)).images.equal(faces.images)
    shares = []
    for person in range(8, 14):
        of = more.identity == person
        assert of.sum() == 2  # the third light shows one of them alone
        assert set(more.conditions["azimuth"][of].abs().tolist()) == {0, 30}
        bright, dim = more.images[of].float().mean(dim=(1, 2, 3)).tolist()
        assert dim == pytest.approx(bright / 2, abs=1)
        shares.append((bright - 100) / 100)
    assert all(0.29 <= min(share, 1 - share) for share in shares)
    assert len({round(share, 2) for share in shares}) > 3
    assert more.images.equal(with_blends(faces, 6, same=["azimuth"]).images)


def test_mirrored_blends_have_their_light_from_the_other_side() -> None:
    across = torch.linspace(0, 255, 32).byte().expand(4, 1, 32, 32)
    faces = FaceSet(across.contiguous(), torch.tensor([0, 0, 1, 1]), {"azimuth": torch.tensor([60.0, 61.0] * 2)})
    more = with_blends(faces, 20, same=["azimuth"], warp=0.0)
    rising = more.images[:, 0, 0, -1].float() > more.images[:, 0, 0, 0].float()
    assert rising.equal(more.conditions["azimuth"] > 0)
    assert 0 < rising[4:].sum() < len(rising[4:])


def test_blends_need_common_conditions() -> None:
    with pytest.raises(MetaFaceError, match="no condition called 'azimut'"):
        with_blends(two_people(), 2, same=["azimut"])
    apart = replace(two_people(), conditions={"azimuth": torch.arange(5.0)})
    with pytest.raises(MetaFaceError, match="share no value of azimuth"):
        with_blends(apart, 2, same=["azimuth"])


def test_a_condition_that_no_image_has_is_named() -> None:
    faces = lit(people=6)
    with pytest.raises(MetaFaceError, match=r"query where \{'fall': \(50, 90\)\}, but only 0 of the 6 people"):
        EpisodeSampler(faces, 5, 1, 1, support_where={"fall": 0.0}, query_where={"fall": (50, 90)})
    with pytest.raises(MetaFaceError, match="no condition called 'subset'"):
        EpisodeSampler(faces, 5, 1, 1, query_where={"subset": 5})
    worn = random_faces()
    with pytest.raises(MetaFaceError, match="no occluder called 'scarf'"):
        EpisodeSampler(worn, 5, 1, 1, query_where={"occluder": "scarf"})


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
