"""More people for a set that has many lights but few people: mix two people under the same light.

A picture is linear in what reflects the light: under the same light, w · (albedo of a) + (1 − w) · (albedo of b) on a
common shape gives w · (picture of a) + (1 − w) · (picture of b). Shapes differ, so a mix of two aligned faces is not a
photograph of anybody. But it is the *same* nobody under every light, and an episode asks for no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MetaFaceError
from .faceset import FaceSet

MIRRORED = ("azimuth", "light_azimuth", "yaw")  # conditions that change their sign in a mirror


def with_blends(
    faces: FaceSet, people: int, same: Sequence[str] = ("azimuth", "elevation"), warp: float = 0.04, seed: int = 0
) -> FaceSet:
    """The same faces, and new people. Each new person is a mix of two, with shares of 0.3 to 0.7.

    faces: at most one picture of a person has each value of the conditions in `same`.
    people: how many to add.
    same: the conditions in which two pictures must agree to be mixed.
    warp: standard deviation of a smooth change of shape, in widths of the picture. It is the same for all pictures of a
        new person, and half of the new people are also mirrored.
    seed: chooses who is mixed, the shares and the changes of shape.

    Raises `MetaFaceError` if a condition is not recorded, or if two people share no values of the conditions.
    """
    for name in same:
        faces.where(**{name: []})  # names the condition that is unknown
    _, condition = torch.stack([faces.conditions[name].double() for name in same], 1).unique(dim=0, return_inverse=True)
    everyone, person = faces.identity.unique(return_inverse=True)
    picture = torch.full((len(everyone), int(condition.max()) + 1), -1)
    picture[person, condition] = torch.arange(len(faces))

    draw = torch.Generator().manual_seed(seed)
    first_number = int(everyone.max()) + 1
    size = list(faces.images.shape[2:])
    images, rows, signs, who = [faces.images], [torch.arange(len(faces))], [torch.ones(len(faces))], [faces.identity]
    for new in range(people):
        a, b = picture[torch.randperm(len(everyone), generator=draw)[:2]]
        both = (a >= 0) & (b >= 0)
        if not both.any():
            raise MetaFaceError(
                f"Two people of '{faces.name}' share no value of {', '.join(same)}. Mix people who were taken under the"
                " same conditions, or name fewer of them."
            )
        share, sign = 0.3 + 0.4 * torch.rand(1, generator=draw), 1 - 2 * torch.randint(2, (1,), generator=draw)
        mixed = share * faces.images[a[both]] + (1 - share) * faces.images[b[both]]
        images.append(_bent(mixed, 2 * warp * torch.randn(1, 2, 4, 4, generator=draw), sign, size))
        rows.append(a[both])
        signs.append(sign.expand(len(mixed)))
        who.append(torch.full((len(mixed),), first_number + new))
    row, sign = torch.cat(rows), torch.cat(signs)
    conditions = {name: values[row] * (sign if name in MIRRORED else 1) for name, values in faces.conditions.items()}
    name = f"{faces.name}, and {people} blends"
    return replace(faces, images=torch.cat(images), identity=torch.cat(who), conditions=conditions, names=(), name=name)


def _bent(images: Tensor, change: Tensor, sign: Tensor, size: list[int]) -> Tensor:
    """Float images `[M, C, H, W]` → uint8 of the same shape, their points moved smoothly by `change [1, 2, 4, 4]`."""
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, *size], align_corners=False)
    moved = grid + F.interpolate(change, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    moved = moved * torch.stack([sign, torch.ones_like(sign)], -1)
    return (
        F.grid_sample(images, moved.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False)
        .round()
        .byte()
    )
