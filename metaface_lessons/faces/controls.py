"""Controls: pictures that hold what should *not* tell who it is. A method that sees only these ought to be at chance.

Each takes images uint8 `[M, C, H, W]` to images of the same shape, so that any method can be run on them. The masks of
procedural faces are exact (`procedural_controls`); for aligned real faces an ellipse stands for the inner face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import MetaFaceError
from .faceset import FaceSet
from .procedural import nuisance_seed, render_with_mask, sample_identities, sample_nuisance

Ellipse = tuple[float, float, float, float]  # row and column of the centre, half height, half width, as shares
INNER_FACE: Ellipse = (0.56, 0.5, 0.32, 0.25)  # forehead to chin, of a face aligned as in CUFS


def ellipse(height: int, width: int, at: Ellipse = INNER_FACE) -> Tensor:
    """Bool `[height, width]`: which pixels lie inside. Raises `MetaFaceError` if none or all do."""
    row, column, tall, wide = at
    v = ((torch.arange(height) + 0.5) / height - row) / tall
    u = ((torch.arange(width) + 0.5) / width - column) / wide
    inside = v[:, None] ** 2 + u[None, :] ** 2 <= 1
    if not inside.any() or inside.all():
        raise MetaFaceError(
            f"The ellipse {at} holds {'all' if inside.all() else 'none'} of the {height}×{width} pixels. Give row and"
            " column of its centre, half its height and half its width, as shares of the picture."
        )
    return inside


def outside_only(images: Tensor, inside: Tensor | None = None) -> Tensor:
    """Hair, outline and background: the pixels `inside`, bool `[H, W]`, become the mean of those outside.

    inside: by default `INNER_FACE`.
    """
    inside = ellipse(*images.shape[2:]) if inside is None else inside
    inside = inside.to(images.device)
    values = images.float()
    mean = values[:, :, ~inside].mean(dim=2)[:, :, None, None]
    return torch.where(inside, mean, values).round().byte()


def inside_only(images: Tensor, inside: Tensor | None = None) -> Tensor:
    """The inner face alone: the complement of `outside_only`."""
    inside = ellipse(*images.shape[2:]) if inside is None else inside
    return outside_only(images, ~inside)


def brightness_only(images: Tensor) -> Tensor:
    """How bright the picture is as a whole, and nothing else: a uniform grey picture.

    Standardising would take even that away: compare with features that do not, such as `baselines.brightness`.
    """
    mean = images.float().mean(dim=(1, 2, 3), keepdim=True)
    return mean.round().byte().expand_as(images).clone()


AlignedControl = Callable[[Tensor], Tensor]
ALIGNED: dict[str, AlignedControl] = {"hair and outline only": outside_only, "brightness only": brightness_only}


def controlled(faces: FaceSet, control: AlignedControl) -> FaceSet:
    """The same people and conditions, of whom one sees what `control` leaves."""
    return replace(faces, images=control(faces.images))


def procedural_controls(
    identities: int = 300, images: int = 20, size: int = 64, seed: int = 0, domain: str = "photo"
) -> dict[str, FaceSet]:
    """Of the pictures that `procedural_faces` makes with these options: what is left when the face is taken away.

    "outline only": the silhouettes, uint8 `[M, 1, size, size]`. "background only": the scenes without anybody, uint8
    `[M, 3, size, size]`.
    """
    who = torch.arange(identities).repeat_interleave(images)
    everyone, how = sample_identities(identities, seed), sample_nuisance(len(who), nuisance_seed(seed, domain))
    parts = [
        render_with_mask(everyone[who[rows]], how[rows], size, domain=domain)[1:]
        for rows in torch.arange(len(who)).split(128)
    ]
    outlines, backgrounds = (torch.cat(column) for column in zip(*parts, strict=True))
    return {
        name: FaceSet(pictures, who, name=f"procedural, {name}", synthetic=True)
        for name, pictures in (("outline only", outlines), ("background only", backgrounds))
    }
