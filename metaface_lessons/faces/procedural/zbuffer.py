"""One z-buffer for everything that is seen: by the camera (visible surface) and by the light (shadow map)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_DEPTH_STEPS = 2**30  # depth in [0, 1] becomes an integer, so that the nearest fragment is one integer minimum


class Visible(NamedTuple):
    """What each pixel of M images sees.

    face: int64 `[M, H, W]`, the index of the nearest triangle, −1 where there is none.
    pixels: int64 `[P]`, the flat indices (into `M·H·W`) of the pixels that see a triangle.
    corners: int64 `[P, 3]`, the vertices of that triangle.
    weights: float `[P, 3]`, its barycentric coordinates at the centre of the pixel; they sum to 1.
    depth: float `[M, H, W]`, 1 where nothing is seen.
    """

    face: Tensor
    pixels: Tensor
    corners: Tensor
    weights: Tensor
    depth: Tensor


def zbuffer(
    screen: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    one_sided: Tensor | None = None,
    hidden: Tensor | None = None,
) -> Visible:
    """Find the nearest triangle at the centre of every pixel.

    screen: float `[M, V, 3]`, vertices as (column, row, depth): pixel (i, j) has its centre at (j + ½, i + ½); depth
        is affine on the screen, 0 near and 1 far. What lies outside of [0, 1] is clipped.
    faces: int64 `[F, 3]`, vertices of each triangle, the same for all images.
    one_sided: bool `[F]`, triangles that are dropped where they turn their back (clockwise on the screen, as rows
        grow downwards: where their area is positive).
    hidden: bool `[M, V]`; a triangle whose first corner is hidden is left out.

    Each triangle tests every pixel centre inside its bounding box; the minimum of (depth, index of the triangle)
    wins, so the result does not depend on the order in which a device works.
    """
    images, count = len(screen), len(faces)
    x, y, z = (screen[:, :, axis].contiguous() for axis in range(3))
    first, second, third = faces.unbind(1)
    x0, x1, x2, y0, y1, y2 = x[:, first], x[:, second], x[:, third], y[:, first], y[:, second], y[:, third]
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left = (torch.minimum(torch.minimum(x0, x1), x2) - 0.5).ceil_().clamp_(min=0)
    right = (torch.maximum(torch.maximum(x0, x1), x2) - 0.5).floor_().clamp_(max=width - 1)
    top = (torch.minimum(torch.minimum(y0, y1), y2) - 0.5).ceil_().clamp_(min=0)
    bottom = (torch.maximum(torch.maximum(y0, y1), y2) - 0.5).floor_().clamp_(max=height - 1)
    wanted = (right >= left) & (bottom >= top) & (area.abs() > 1e-9)
    if one_sided is not None:
        wanted &= (area < 0) | ~one_sided
    if hidden is not None:
        wanted &= ~hidden[:, first]
    kept = wanted.view(-1).nonzero()[:, 0]
    x0, x1, x2, y0, y1, y2, area, left, top, right, bottom = (
        values.view(-1)[kept] for values in (x0, x1, x2, y0, y1, y2, area, left, top, right, bottom)
    )
    image = kept // count
    face = kept - image * count
    corners = faces[face]
    z0, z1, z2 = z.view(-1)[image[:, None] * z.shape[1] + corners].unbind(1)

    # Barycentric coordinates are affine on the screen: their slopes along columns and rows.
    across1, down1 = (y2 - y0) / area, (x0 - x2) / area
    across2, down2 = (y0 - y1) / area, (x1 - x0) / area

    # Boxes of about one size are tested together: their pixels along the first axis, the triangles along the second.
    found: list[tuple[Tensor, ...]] = []
    largest = torch.maximum(right - left, bottom - top) + 1
    biggest = int(largest.max()) if len(kept) else 0
    smaller, side = 0, 2
    while smaller < biggest:
        these = ((largest > smaller) & (largest <= side)).nonzero()[:, 0]
        if len(these):
            wide, high = min(side, width), min(side, height)
            steps = torch.arange(wide * high, device=screen.device)
            down, across = steps // wide, steps % wide
            corner_x = left[these].clamp(max=width - wide)  # a box that would leave the screen is moved back
            corner_y = top[these].clamp(max=height - high)
            dx, dy = corner_x + 0.5 - x0[these], corner_y + 0.5 - y0[these]
            ax, ay, bx, by = (slope[these] for slope in (across1, down1, across2, down2))
            b1 = (dx * ax + dy * ay) + across[:, None] * ax + down[:, None] * ay
            b2 = (dx * bx + dy * by) + across[:, None] * bx + down[:, None] * by
            inside = (torch.minimum(torch.minimum(b1, b2), 1 - b1 - b2) >= 0).view(-1).nonzero()[:, 0]
            step, nth = inside // len(these), inside % len(these)
            first = (image[these] * height + corner_y.long()) * width + corner_x.long()
            pixel = first[nth] + (down * width + across)[step]
            found.append((these[nth], pixel, b1.view(-1)[inside], b2.view(-1)[inside]))
        smaller, side = side, 2 * side
    if not found:
        found.append((kept[:0], kept[:0], area[:0], area[:0]))
    owner, pixel, b1, b2 = (torch.cat(column) for column in zip(*found, strict=True))
    near = z0[owner]
    depth = near + b1 * (z1[owner] - near) + b2 * (z2[owner] - near)

    nothing = (_DEPTH_STEPS << 32) + (1 << 31)
    key = ((depth.double() * _DEPTH_STEPS).long() << 32) | face[owner]
    key = torch.where((depth >= 0) & (depth < 1), key, nothing)
    best = torch.full((images * height * width,), nothing, dtype=torch.int64, device=screen.device)
    best.scatter_reduce_(0, pixel, key, "amin")
    won = ((best[pixel] == key) & (key < nothing)).nonzero()[:, 0]  # exactly one fragment per seen pixel
    winner = torch.full_like(best, -1)
    winner[pixel[won]] = won
    pixels = (winner >= 0).nonzero()[:, 0]
    won = winner[pixels]
    b1, b2, owner = b1[won], b2[won], owner[won]
    seen = torch.full_like(best, -1)
    seen[pixels] = face[owner]
    far = torch.ones(images * height * width, dtype=screen.dtype, device=screen.device)
    far[pixels] = depth[won]
    shape = (images, height, width)
    return Visible(seen.view(shape), pixels, corners[owner], torch.stack([1 - b1 - b2, b1, b2], 1), far.view(shape))
