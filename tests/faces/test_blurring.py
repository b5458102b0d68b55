from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from metaface_lessons.faces.blurring import blurred, gaussian

CPU = torch.device("cpu")


def test_a_point_becomes_the_two_dimensional_gaussian() -> None:
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    spread = 1.5
    away = torch.arange(21) - 10.0
    expected = torch.exp(-(away[:, None] ** 2 + away**2) / (2 * spread**2))
    expected = expected * ((away.abs() <= 6)[:, None] & (away.abs() <= 6))
    found = blurred(point, gaussian(spread, 6, CPU))[0, 0]
    torch.testing.assert_close(found, expected / expected.sum())


def test_a_plain_picture_stays_up_to_its_border_and_a_ramp_away_from_it() -> None:
    weights = gaussian(2.0, 5, CPU)
    plain = torch.full((2, 3, 8, 12), 0.7)
    torch.testing.assert_close(blurred(plain, weights), plain)
    ramp = torch.arange(20.0).expand(1, 1, 20, 20)
    torch.testing.assert_close(blurred(ramp, weights)[..., 5:15], ramp[..., 5:15])


def test_the_rows_and_the_columns_are_blurred_alike() -> None:
    x = torch.rand(2, 3, 10, 14, generator=torch.Generator().manual_seed(0))
    weights = gaussian(1.2, 3, CPU)
    torch.testing.assert_close(blurred(x.mT, weights).mT, blurred(x, weights))


def test_each_picture_has_its_own_blur_and_no_other() -> None:
    """In one batch as one by one, and as `conv2d` of a single picture."""
    x = torch.rand(3, 2, 12, 9, generator=torch.Generator().manual_seed(1))
    spreads = torch.tensor([0.3, 1.0, 2.5])
    together = blurred(x, gaussian(spreads, 4, CPU))
    for picture, spread, found in zip(x, spreads.tolist(), together, strict=True):
        weights = gaussian(spread, 4, CPU)
        torch.testing.assert_close(blurred(picture[None], weights)[0], found)
        square = (weights[:, None] * weights / weights.sum() ** 2)[None, None]
        direct = F.conv2d(F.pad(picture[:, None], (4,) * 4, mode="replicate"), square)[:, 0]
        torch.testing.assert_close(found, direct)


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_the_weights_have_the_spread_that_was_asked_for(spread: float) -> None:
    weights = gaussian(spread, math.ceil(5 * spread), CPU)
    away = torch.arange(len(weights)) - len(weights) // 2
    assert float((weights * away**2).sum() / weights.sum()) ** 0.5 == pytest.approx(spread, rel=0.05)
