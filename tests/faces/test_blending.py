"""Blends of people: the same mix under every condition that both were seen in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.blending import with_blends
from metaface_lessons.faces.faceset import FaceSet


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
