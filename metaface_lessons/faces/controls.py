"""Controls: pictures of what should *not* reveal who it is. What a method finds in them is not recognition of faces.

Run a control with the method that it controls: a network is trained on the control's pictures, and asked about them.

Each function takes images uint8 `[M, C, H, W]` to images of the same shape, so any method can be run on them. The masks
of procedural faces are exact (`procedural_controls`). For aligned real faces an ellipse stands for the inner face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import MetaFaceError
from .faceset import FaceSet
from .procedural import Identity, nuisance_seed, render_with_mask, sample_identities, sample_nuisance
from .procedural.parameters import SHAPE

Ellipse = tuple[float, float, float, float]  # row and column of the centre, half height, half width, as shares
INNER_FACE: Ellipse = (0.56, 0.5, 0.32, 0.25)  # forehead to chin, of a face aligned as in CUFS
MIDDLE: Ellipse = (0.52, 0.5, 0.20, 0.15)  # of a procedural picture: within the silhouette in 99 pictures of 100


def ellipse(height: int, width: int, at: Ellipse = INNER_FACE) -> Tensor:
    """Which pixels are inside an ellipse: bool `[height, width]`.

    height: of the picture, in pixels.
    width: of the picture, in pixels.
    at: centre and half axes, see `Ellipse`.

    Raises `MetaFaceError` if no pixel is inside, or every pixel.
    """
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
    """Hair, outline and background: the inner pixels become the mean of the outer ones.

    images: uint8 `[M, C, H, W]`.
    inside: bool `[H, W]`, the inner pixels; `INNER_FACE` if not given.
    """
    inside = ellipse(*images.shape[2:]) if inside is None else inside
    inside = inside.to(images.device)
    values = images.float()
    mean = values[:, :, ~inside].mean(dim=2)[:, :, None, None]
    return torch.where(inside, mean, values).round().byte()


def inside_only(images: Tensor, inside: Tensor | None = None) -> Tensor:
    """The inner face alone: the complement of `outside_only`.

    images: uint8 `[M, C, H, W]`.
    inside: bool `[H, W]`, the inner pixels; `INNER_FACE` if not given.
    """
    inside = ellipse(*images.shape[2:]) if inside is None else inside
    return outside_only(images, ~inside)


def brightness_only(images: Tensor) -> Tensor:
    """How bright the picture is as a whole, and nothing else: a uniform grey picture.

    Standardising removes even that, so use features that do not standardise, such as `baselines.brightness`.

    images: uint8 `[M, C, H, W]`.
    """
    mean = images.float().mean(dim=(1, 2, 3), keepdim=True)
    return mean.round().byte().expand_as(images).clone()


def brightness_bar(images: Tensor) -> Tensor:
    """How bright the picture is as a whole, for methods that standardise pictures: a white bar on black, from below.

    The bar is as high as the picture is bright: a white picture is all bar.

    images: uint8 `[M, C, H, W]`.
    """
    height = images.shape[2]
    mean = images.float().mean(dim=(1, 2, 3), keepdim=True) / 255
    row = torch.arange(height - 1, -1, -1, device=images.device)[:, None]  # the last row is filled first
    return (255 * (height * mean - row).clamp(0, 1)).round().byte().expand_as(images).clone()


AlignedControl = Callable[[Tensor], Tensor]
ALIGNED: dict[str, AlignedControl] = {"hair and outline only": outside_only, "brightness only": brightness_only}


def controlled(faces: FaceSet, control: AlignedControl) -> FaceSet:
    """The same people and conditions, with pictures that show what the control leaves.

    control: one of `ALIGNED`, or a function like these.
    """
    return replace(faces, images=control(faces.images))


def procedural_controls(
    identities: int = 300, images: int = 20, size: int = 64, seed: int = 0, domain: str = "photo"
) -> dict[str, FaceSet]:
    """The pictures of `procedural_faces` without the face, by name.

    "outline only" are the silhouettes, uint8 `[M, 1, size, size]`. "background only" are the scenes without anybody,
    uint8 `[M, 3, size, size]`. The parameters are those of `procedural_faces`.
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


_INNER = ("brow", "eye", "nasion", "nose", "bridge", "mouth", "upper", "lower")  # first words of shapes inside the face


def lookalikes(people: Identity) -> Identity:
    """As many people who differ in nothing but the inner face: a control that hides it shows them alike.

    Each has the eyes, brows, nose, mouth and lips of one of `people`, and all else of the first of them: skull, skin,
    hair, beard, marks and age.

    people: two or more, with rows as `sample_identities` draws them.
    """
    first = people[torch.zeros(len(people), dtype=torch.long)]
    inner = [i for i, name in enumerate(SHAPE) if name.split()[0] in _INNER]
    shape = first.shape.clone()
    shape[:, inner] = people.shape[:, inner]
    lips = people.lips / people.skin * first.skin  # as red for this skin as for their own
    return replace(first, shape=shape, lips=lips, brow=people.brow, iris=people.iris, lashes=people.lashes)
