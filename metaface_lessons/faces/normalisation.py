"""Classical remedies for light, from scikit-image: each takes a picture to one that depends less on how it was lit.

All take uint8 `[M, C, H, W]` to uint8 of the same shape, every channel of every picture by itself. So they fit before a
baseline, before a network, or over a whole face set (`normalised`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import filters
from skimage.exposure import equalize_adapthist, equalize_hist
from torch import Tensor

from ..errors import unknown
from .faceset import FaceSet

Picture = NDArray[np.float64]  # [H, W], 0 to 1


def _each(images: Tensor, change: Callable[[Picture], Picture]) -> Tensor:
    flat = images.cpu().flatten(0, 1).numpy() / 255
    changed = np.stack([change(picture) for picture in flat])
    return torch.from_numpy((255 * changed.clip(0, 1)).round().astype(np.uint8)).view(images.shape).to(images.device)


def equalise(images: Tensor) -> Tensor:
    """Histogram equalisation: each grey becomes the share of pixels that are no brighter.

    This undoes *any* rising change of the greys that is the same at every pixel. A shadow is not.
    """
    return _each(images, equalize_hist)


def clahe(images: Tensor, tiles: int = 6, limit: float = 0.02) -> Tensor:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994): each part by itself, blended between parts.

    tiles: the picture is divided into `tiles`² parts.
    limit: how much a grey's count may stand out, 0 to 1, so that noise in dark parts is not amplified.
    """
    size = [max(1, side // tiles) for side in images.shape[2:]]
    return _each(images, lambda picture: equalize_adapthist(picture, kernel_size=size, clip_limit=limit))


def _signed(band: Picture, limit: float = 3.0) -> Picture:
    """Values around 0 → values from 0 to 1; ±`limit` standard deviations become 0 and 1."""
    return 0.5 + 0.5 * (band / (limit * max(band.std(), 1e-6))).clip(-1, 1)


def difference_of_gaussians(images: Tensor, fine: float = 1.0, coarse: float = 4.0) -> Tensor:
    """The logarithm of the picture with a fine blur, minus the same with a coarse blur.

    In the logarithm, light is added to what the face reflects. Away from shadows light changes slowly across the face,
    so it is in both blurs and cancels (the reflectance-illumination model of Land & McCann 1971).

    fine: standard deviation of the fine blur, in 64ths of the height.
    coarse: of the coarse one.
    """
    unit = images.shape[2] / 64
    return _each(
        images,
        lambda picture: _signed(filters.difference_of_gaussians(np.log(picture + 4 / 255), fine * unit, coarse * unit)),
    )


def tan_triggs(images: Tensor, gamma: float = 0.2, fine: float = 1.0, coarse: float = 2.0) -> Tensor:
    """The chain of Tan & Triggs (2010): gamma, difference of Gaussians, and contrast equalisation in three steps.

    gamma: the exponent.
    fine: standard deviation of the fine blur, in pixels.
    coarse: of the coarse one.

    The last steps have the paper's a = 0.1 and τ = 10.
    """

    def change(picture: Picture) -> Picture:
        band = filters.difference_of_gaussians(picture**gamma, fine, coarse)
        band = band / max((np.abs(band) ** 0.1).mean(), 1e-6) ** 10
        band = band / max((np.minimum(np.abs(band), 10) ** 0.1).mean(), 1e-6) ** 10
        return 0.5 + 0.5 * np.tanh(band / 10)

    return _each(images, change)


NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "equalised": equalise,
    "CLAHE": clahe,
    "DoG": difference_of_gaussians,
    "Tan-Triggs": tan_triggs,
}


def normalised(faces: FaceSet, how: str) -> FaceSet:
    """The same people with normalised pictures.

    how: one of `NORMALISATIONS`.

    Raises `MetaFaceError` for another word.
    """
    if how not in NORMALISATIONS:
        raise unknown("normalisation of light", how, NORMALISATIONS)
    return replace(faces, images=NORMALISATIONS[how](faces.images), name=f"{faces.name}, {how}")
