"""Sunglasses, masks, scarves and blocks of the procedural faces, worn by other faces, such as crops of real photos.

looks = render_occluders("mask", 200, size=48, eyes=EYES["lfw"], seed=0)
worn = wear(faces.images, looks, seed=1)

The generator renders heads whose eyes are where those of the crop are, each with another look under another light.
Only what they wear is kept, with the share of each pixel that it covers. It is mixed with the crop in light, as it
falls on a sensor, not in stored values (`srgb`). Light, look and place are drawn without regard to who is on the crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MetaFaceError, unknown
from . import srgb
from .procedural import OCCLUDERS, Identity, Nuisance, sample_identities, sample_nuisance
from .procedural.geometry import EYE, MATERIALS, mesh, on_device
from .procedural.rendering import _CENTRE, _DISTANCE, _FACE, _SAMPLES, _VIEW, buffers, shade

Eyes = tuple[tuple[float, float], tuple[float, float]]

WORN = OCCLUDERS[1:]  # "none" is not worn
# Where the eyes are, as shares of width and height from the top left, first the left one of the picture. In the
# course's crop of LFW that is the median of what OpenCV's eye cascade finds in 700 pictures drawn at random. Half of
# the eyes lie within 2% of the width from there.
EYES: dict[str, Eyes] = {"lfw": ((0.34, 0.37), (0.645, 0.37))}

_MATERIAL = {"sunglasses": "glasses"}  # the others are called as what is worn
_EYE_DEPTH = 0.95  # of the eyes before the middle of the head, in half heads
_BATCH = 64


@dataclass(frozen=True)
class Occluders:
    """K looks of what is worn, each as it covers a picture.

    light: float `[K, 3, S, S]`, the light that comes from it, times the share of the pixel that it covers.
    cover: float `[K, 1, S, S]`, that share, 0 to 1.
    """

    light: Tensor
    cover: Tensor

    def __len__(self) -> int:
        return len(self.cover)


def render_occluders(kind: str, looks: int, size: int, eyes: Eyes, seed: int = 0) -> Occluders:
    """What a head would wear whose eyes are there.

    kind: one of `WORN`.
    looks: how many, K: each of another head, in another light, colour and place.
    size: of the pictures, S, in pixels, at least 16.
    eyes: where the crop's eyes are, such as `EYES["lfw"]`.
    seed: another seed draws other heads, lights, colours and places.

    Raises `MetaFaceError` for another kind, fewer than one look, or eyes that are not side by side.
    """
    if kind not in WORN:
        raise unknown("occluder", kind, WORN)
    (left, high), (right, low) = eyes
    if not left < right:
        raise MetaFaceError(f"eyes must name first the left one of the picture, but are {eyes}. Exchange them.")
    who, how = sample_identities(max(looks, 1), seed), sample_nuisance(looks, seed, "full")
    draw = torch.Generator().manual_seed(seed)
    near = 1 + 0.05 * torch.randn(looks, generator=draw)
    moved = 0.04 * torch.randn(looks, 2, generator=draw)  # in half heads, about a hundredth of the picture
    # The eyes' distance on the picture says how near the head is; their middle, and their tilt, where and how it is.
    per_unit = (_DISTANCE - _FACE) / _VIEW / (_DISTANCE - _EYE_DEPTH)  # share of the picture, of half a head
    apart = math.hypot(right - left, low - high)
    scale = apart / (2 * EYE[0] * per_unit)
    shift = torch.tensor([(left + right) / 2 - 0.5, 0.5 - (high + low) / 2 - (EYE[1] - _CENTRE) * per_unit * scale])
    still = torch.zeros(looks)
    how = replace(
        how,
        yaw=still,
        pitch=still,
        roll=0.6 * how.roll,
        strength=still,
        occluder=torch.full((looks,), OCCLUDERS.index(kind)),
        scale=scale * near,
        shift=_VIEW * shift + moved,
    )
    parts = [_render(who[rows], how[rows], size, kind) for rows in _slices(looks)]
    light, cover = (torch.cat(column) for column in zip(*parts, strict=True))
    return Occluders(light, cover)


def _slices(count: int) -> list[slice]:
    return [slice(start, start + _BATCH) for start in range(0, count, _BATCH)]


@torch.no_grad()
def _render(who: Identity, how: Nuisance, size: int, kind: str) -> tuple[Tensor, Tensor]:
    """Light times cover `[M, 3, S, S]`, and cover `[M, 1, S, S]`."""
    fine = _SAMPLES * size // 2
    model = on_device(1.0 if size > 96 else 0.55, who.shape.device)
    heads = mesh(who, how, model)
    found = buffers(heads, model, how, fine, fine)
    light = shade(found, heads, model, who, how, fine) * (how.exposure[:, None] * how.white)[found.image]
    light = light / (1 + 0.12 * light)  # the generator's camera does so
    own = found.material == MATERIALS.index(_MATERIAL.get(kind, kind))
    canvas = light.new_zeros(len(who) * fine * fine, 4)
    canvas[found.pixels[own]] = F.pad(light[own].clamp(0, 1), (0, 1), value=1.0)
    pooled = F.adaptive_avg_pool2d(canvas.view(len(who), fine, fine, 4).permute(0, 3, 1, 2), size)
    return pooled[:, :3], pooled[:, 3:]


def wear(images: Tensor, looks: Occluders, seed: int = 0) -> Tensor:
    """Pictures of people who wear one of the looks: uint8 of the same shape.

    images: uint8 `[M, 3, S, S]`.
    looks: of the pictures' size.
    seed: draws which picture wears which look. So the same seed gives the same picture the same look.

    Raises `MetaFaceError` if the sizes differ.
    """
    if images.shape[1:] != looks.light.shape[1:]:
        raise MetaFaceError(
            f"The pictures are {list(images.shape[1:])}, but the occluders were rendered as"
            f" {list(looks.light.shape[1:])}. Render them in the size of the pictures, which must have three channels."
        )
    which = torch.randint(len(looks), (len(images),), generator=torch.Generator().manual_seed(seed))
    parts = []
    for picture, look in zip(images.split(1024), which.split(1024), strict=True):
        light = srgb.decode(picture) * (1 - looks.cover[look]) + looks.light[look]
        parts.append(srgb.encode(light).round().byte())
    return torch.cat(parts)
