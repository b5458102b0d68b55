"""Numbers that look random, but follow from a seed and a position alone: the same on every device, in every batch."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 2**31 - 1


def _bits(seed: Tensor, count: int, stride: int) -> Tensor:
    """31 well-mixed bits for each seed and position: int64 `[M]` → int64 `[M, count]`."""
    state = (seed[:, None] + torch.arange(count, device=seed.device) * stride) & _MASK
    for shift in (15, 13, 16):
        state = ((state ^ (state >> shift)) * 1274126177) & _MASK
    return state


def uniform(seed: Tensor, count: int) -> Tensor:
    """Numbers from 0 to 1.

    seed: int64 `[M]`.
    count: how many for each seed.

    Returns float `[M, count]`.
    """
    stride = 2246822519
    return (_bits(seed + stride, count, stride) >> 8).float() / 2**23


def nearly_normal(seed: Tensor, count: int) -> Tensor:
    """Numbers with nearly a normal distribution: a sum of three uniform ones, the last of which is twice as wide.

    Mean 0, standard deviation 0.71, at most 2 in size.

    seed: int64 `[M]`.
    count: how many for each seed.

    Returns float `[M, count]`.
    """
    bits = _bits(seed, count, 2654435761)
    return ((bits & 1023) + (bits >> 10 & 1023) + (bits >> 20) - 2046).float() * (2 / 2048)
