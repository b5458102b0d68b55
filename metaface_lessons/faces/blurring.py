"""One blur for all pictures: the camera of procedural faces, pencil lines, and cameras that a network has never met."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian(spread: Tensor | float, reach: int, device: torch.device) -> Tensor:
    """The weights of a Gaussian blur, not yet divided by their sum.

    spread: its standard deviation in pixels, a number or one for each picture, `[M]`.
    reach: how many pixels to each side count.
    device: where the pictures are.

    Returns float `[2 · reach + 1]`, or `[M, 2 · reach + 1]`.
    """
    taps = torch.arange(-reach, reach + 1, device=device)
    return torch.exp(-0.5 * (taps / (spread[:, None] if isinstance(spread, Tensor) else spread)) ** 2)


def blurred(images: Tensor, weights: Tensor) -> Tensor:
    """Weighted means of neighbouring pixels, first along the rows, then along the columns.

    Beyond its border a picture continues with the pixels of the border.

    images: float `[M, C, H, W]`.
    weights: of the neighbours, an odd number: `[K]`, or `[M, K]` for a blur of its own for each picture. They are
        divided by their sum.
    """
    count, channels, height, width = images.shape
    kernel = (weights / weights.sum(-1, keepdim=True)).expand(count, -1).repeat_interleave(channels, 0)
    reach = weights.shape[-1] // 2
    # As channels of a single picture, each with a filter of its own: on a CPU several times faster than as a batch.
    flat = F.pad(images.reshape(1, count * channels, height, width), (reach,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=count * channels)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    return flat.view_as(images)
