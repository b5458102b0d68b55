"""What is seen, found by one z-buffer: by the camera (the visible surface) and by the light (the shadow map)."""

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


class Buffers(NamedTuple):
    """The P surface samples of M pictures, before any light: the input to every kind of shading.

    pixels: int64 `[P]`, the flat index of each sample into `[M, H, W]`.
    image: int64 `[P]`, its picture.
    canonical: `[P, 3]`, its place on the template.
    position: `[P, 3]`, its place in camera axes.
    normal: `[P, 3]`, the unit normal there, in camera axes.
    material: int64 `[P]`, see `geometry.MATERIALS`.
    corners: int64 `[P, 3]`, the vertices (of all heads in a row) between which it is.
    weights: `[P, 3]`, its barycentric coordinates between them.
    depth: `[M, H, W]`, distance from the camera in half heads; infinite for background.
    """

    pixels: Tensor
    image: Tensor
    canonical: Tensor
    position: Tensor
    normal: Tensor
    material: Tensor
    corners: Tensor
    weights: Tensor
    depth: Tensor


def take(values: Tensor, rows: Tensor) -> Tensor:
    """`values[rows]`, several times faster on a CPU."""
    return values.index_select(0, rows)


class _Fragments(NamedTuple):
    """Where triangles cover pixel centres: flat pixel `[G]`, triangle `[G]`, coordinates b1, b2 `[G]`, depth `[G]`."""

    pixel: Tensor
    face: Tensor
    b1: Tensor
    b2: Tensor
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

    Each triangle tests every pixel centre inside its bounding box. The minimum of (depth, index of the triangle) wins,
    so the result does not depend on the order in which a device works.

    screen: float `[M, V, 3]`, vertices as (column, row, depth). Pixel (i, j) has its centre at (j + ½, i + ½). Depth is
        affine on the screen, 0 near and 1 far; what is outside of [0, 1] is clipped.
    faces: int64 `[F, 3]`, vertices of each triangle, the same for all images.
    height: of the images, in pixels.
    width: of the images, in pixels.
    one_sided: bool `[F]`, triangles that are dropped where they turn their back (clockwise on the screen, as rows
        grow downwards: where their area is positive).
    hidden: bool `[M, V]`; a triangle whose first corner is hidden is left out.
    """
    pixel, face, b1, b2, depth = _fragments(screen, faces, height, width, one_sided, hidden)
    shape = (len(screen), height, width)
    size = len(screen) * height * width
    nothing = (_DEPTH_STEPS << 32) + (1 << 31)
    key = ((depth.double() * _DEPTH_STEPS).long() << 32) | face
    key = torch.where((depth >= 0) & (depth < 1), key, nothing)
    best = torch.full((size,), nothing, dtype=torch.int64, device=screen.device)
    best.scatter_reduce_(0, pixel, key, "amin")
    won = ((take(best, pixel) == key) & (key < nothing)).nonzero()[:, 0]  # exactly one fragment per seen pixel
    winner = torch.full_like(best, -1)
    winner[take(pixel, won)] = won
    pixels = (winner >= 0).nonzero()[:, 0]
    won = take(winner, pixels)
    b1, b2, face = take(b1, won), take(b2, won), take(face, won)
    seen = torch.full_like(best, -1)
    seen[pixels] = face
    far = torch.ones(size, dtype=screen.dtype, device=screen.device)
    far[pixels] = take(depth, won)
    return Visible(seen.view(shape), pixels, take(faces, face), torch.stack([1 - b1 - b2, b1, b2], 1), far.view(shape))


def depth_map(
    screen: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    one_sided: Tensor | None = None,
    hidden: Tensor | None = None,
) -> Tensor:
    """The depth that `zbuffer` finds, `[M, H, W]`, which is all that a light needs. The parameters are the same."""
    found = _fragments(screen, faces, height, width, one_sided, hidden)
    near = torch.ones(len(screen) * height * width, dtype=screen.dtype, device=screen.device)
    near.scatter_reduce_(0, found.pixel, torch.where(found.depth >= 0, found.depth, 1.0), "amin")
    return near.view(len(screen), height, width)


def _fragments(
    screen: Tensor, faces: Tensor, height: int, width: int, one_sided: Tensor | None, hidden: Tensor | None
) -> _Fragments:
    """Test every triangle against the pixel centres inside its bounding box; see `zbuffer`."""
    count = len(faces)
    x, y, z = (screen[:, :, axis].contiguous() for axis in range(3))
    corners = faces.unbind(1)
    x0, x1, x2, y0, y1, y2 = (axis.index_select(1, corner) for axis in (x, y) for corner in corners)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left = (torch.minimum(torch.minimum(x0, x1), x2) - 0.5).ceil_().clamp_(min=0)
    right = (torch.maximum(torch.maximum(x0, x1), x2) - 0.5).floor_().clamp_(max=width - 1)
    top = (torch.minimum(torch.minimum(y0, y1), y2) - 0.5).ceil_().clamp_(min=0)
    bottom = (torch.maximum(torch.maximum(y0, y1), y2) - 0.5).floor_().clamp_(max=height - 1)
    wanted = (right >= left) & (bottom >= top) & (area.abs() > 1e-9)
    if one_sided is not None:
        wanted &= (area < 0) | ~one_sided
    if hidden is not None:
        wanted &= ~hidden.index_select(1, corners[0])
    kept = wanted.view(-1).nonzero()[:, 0]
    # Boxes of about one size, up to the next powers of 2, are tested together: put them side by side.
    columns, rows = (take((high - low).view(-1), kept) + 1 for low, high in ((left, right), (top, bottom)))
    sizes = (columns.log2().ceil() * 32 + rows.log2().ceil()).long()
    sizes, order = sizes.sort(stable=True)
    kept = take(kept, order)
    x0, x1, x2, y0, y1, y2, area, left, top = (
        take(values.view(-1), kept) for values in (x0, x1, x2, y0, y1, y2, area, left, top)
    )
    image = kept // count
    face = kept - image * count

    # Barycentric coordinates are affine on the screen: their slopes along columns and rows.
    across1, down1 = (y2 - y0) / area, (x0 - x2) / area
    across2, down2 = (y0 - y1) / area, (x1 - x0) / area

    found: list[tuple[Tensor, ...]] = []
    start = 0
    for size, number in zip(*(column.tolist() for column in sizes.unique_consecutive(return_counts=True)), strict=True):
        these = slice(start, start + number)
        wide, high = min(2 ** (size // 32), width), min(2 ** (size % 32), height)
        steps = torch.arange(wide * high, device=screen.device)[
            :, None
        ]  # pixels along the first axis, boxes the second
        down, across = steps // wide, steps % wide
        corner_x = left[these].clamp(max=width - wide)  # a box that would leave the screen is moved back
        corner_y = top[these].clamp(max=height - high)
        dx, dy = corner_x + 0.5 - x0[these], corner_y + 0.5 - y0[these]
        b1 = dx * across1[these] + dy * down1[these] + across * across1[these]
        b1 += down * down1[these]
        b2 = dx * across2[these] + dy * down2[these] + across * across2[these]
        b2 += down * down2[these]
        inside = (torch.minimum(torch.minimum(b1, b2), 1 - b1 - b2) >= 0).view(-1).nonzero()[:, 0]
        step, nth = inside // number, inside % number
        first = (image[these] * height + corner_y.long()) * width + corner_x.long()
        pixel = take(first, nth) + take((down * width + across)[:, 0], step)
        found.append((nth + start, pixel, take(b1.view(-1), inside), take(b2.view(-1), inside)))
        start += number
    if not found:
        found.append((kept, kept, area, area))
    owner, pixel, b1, b2 = (torch.cat(column) for column in zip(*found, strict=True))
    face, image = take(face, owner), take(image, owner) * z.shape[1]
    z0, z1, z2 = (take(z.view(-1), image + take(corner, face)) for corner in corners)
    return _Fragments(pixel, face, b1, b2, z0 + b1 * (z1 - z0) + b2 * (z2 - z0))
