"""Occluders worn by other faces: where they are, how they mix, that they say nothing about who wears them."""

from __future__ import annotations

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import srgb
from metaface_lessons.faces.occlusion import EYES, WORN, Occluders, render_occluders, wear

SIZE = 48


def middle(cover: torch.Tensor) -> tuple[float, float]:
    """The middle of what is covered, across and down, as shares of the picture."""
    share = cover.mean(dim=(0, 1))
    place = (torch.arange(SIZE) + 0.5) / SIZE
    return float((share.sum(0) * place).sum() / share.sum()), float((share.sum(1) * place).sum() / share.sum())


@pytest.mark.parametrize("eyes", [EYES["lfw"], ((0.4, 0.5), (0.6, 0.5)), ((0.2, 0.3), (0.5, 0.3))])
def test_sunglasses_are_where_the_eyes_are_and_as_wide(eyes: tuple[tuple[float, float], tuple[float, float]]) -> None:
    worn = render_occluders("sunglasses", 40, SIZE, eyes, seed=2)
    (left, high), (right, _) = eyes
    across, down = middle(worn.cover)
    assert across == pytest.approx((left + right) / 2, abs=0.02)
    assert down == pytest.approx(high, abs=0.025)
    columns = (worn.cover.mean(dim=(0, 1)).amax(0) > 0.3).nonzero().flatten()
    assert (columns.max() - columns.min() + 1) / SIZE == pytest.approx(1.75 * (right - left), rel=0.25)


def test_masks_and_scarves_are_below_the_eyes() -> None:
    _, eye = EYES["lfw"][0]
    downs = [middle(render_occluders(kind, 20, SIZE, EYES["lfw"]).cover)[1] for kind in ("sunglasses", "mask", "scarf")]
    assert downs == sorted(downs)
    assert downs[1] > eye + 0.2


def test_looks_differ_and_follow_from_the_seed() -> None:
    one, same, other = (render_occluders("mask", 8, SIZE, EYES["lfw"], seed=seed) for seed in (0, 0, 1))
    assert one.light.equal(same.light)
    assert one.cover.equal(same.cover)
    assert not one.light.equal(other.light)
    assert len({tuple(look.flatten().tolist()) for look in one.light}) == len(one) == 8


def test_what_is_not_covered_stays_and_light_is_mixed_as_light() -> None:
    """Half of a pixel white and half of it black is half the light, and not the stored value 128."""
    images = torch.randint(0, 256, (3, 3, 2, 2), dtype=torch.uint8)
    cover = torch.tensor([[[[0.0, 1.0], [0.5, 1.0]]]])
    worn = wear(images, Occluders(light=cover.expand(1, 3, 2, 2) * 1.0, cover=cover))
    assert worn[:, :, 0, 0].equal(images[:, :, 0, 0])
    assert (worn[:, :, 0, 1] == 255).all()
    half = wear(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), Occluders(cover.expand(1, 3, 2, 2), cover))
    assert half[0, 0, 1, 0] == round(srgb.encode(torch.tensor(0.5)).item()) == 188


def test_the_same_seed_gives_the_same_picture_the_same_look_whoever_is_on_it() -> None:
    looks = render_occluders("block", 5, 16, ((0.3, 0.4), (0.7, 0.4)))
    black, white = (torch.full((20, 3, 16, 16), value, dtype=torch.uint8) for value in (0, 255))
    changed = (wear(black, looks, seed=4) != black).any(1), (wear(white, looks, seed=4) != white).any(1)
    whole = looks.cover.squeeze(1) > 0.999
    which = [
        next(i for i, part in enumerate(whole) if (part & ~a).sum() == 0 and (part & ~b).sum() == 0)
        for a, b in zip(*changed, strict=True)
    ]
    assert len(set(which)) > 1, "looks are drawn"


@pytest.mark.parametrize("kind", WORN)
def test_every_kind_covers_a_part_of_the_face(kind: str) -> None:
    share = render_occluders(kind, 10, SIZE, EYES["lfw"]).cover.mean().item()
    assert 0.03 < share < 0.4


def test_what_cannot_be_worn_is_refused() -> None:
    with pytest.raises(MetaFaceError, match=r"no occluder called 'masc'\. Did you mean 'mask'"):
        render_occluders("masc", 1, SIZE, EYES["lfw"])
    with pytest.raises(MetaFaceError, match="first the left one"):
        render_occluders("mask", 1, SIZE, ((0.6, 0.4), (0.3, 0.4)))
    with pytest.raises(MetaFaceError, match=r"\[1, 16, 16\], but the occluders were rendered as \[3, 48, 48\]"):
        wear(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), render_occluders("mask", 1, SIZE, EYES["lfw"]))
