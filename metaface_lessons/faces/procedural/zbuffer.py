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


def zbuffer(screen: Tensor, faces: Tensor, height: int, width: int, one_sided: Tensor | None = None) -> Visible:
    """Find the nearest triangle at the centre of every pixel.

    screen: float `[M, V, 3]`, vertices as (column, row, depth): pixel (i, j) has its centre at (j + ½, i + ½); depth
        is affine on the screen, 0 near and 1 far. What lies outside of [0, 1] is clipped.
    faces: int64 `[F, 3]`, vertices of each triangle, the same for all images.
    one_sided: bool `[F]`, triangles that are dropped where they turn their back (clockwise on the screen, as rows
        grow downwards: where their area is positive).

    Each triangle proposes the pixel centres inside its bounding box; the minimum of (depth, index of the triangle)
    wins, so the result does not depend on the order in which a device works.
    """
    images, faces_count = len(screen), len(faces)
    device = screen.device
    corner = [screen[:, faces[:, k]] for k in range(3)]
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = (c.unbind(-1) for c in corner)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left = torch.ceil(torch.minimum(torch.minimum(x0, x1), x2) - 0.5).clamp(min=0)
    right = torch.floor(torch.maximum(torch.maximum(x0, x1), x2) - 0.5).clamp(max=width - 1)
    top = torch.ceil(torch.minimum(torch.minimum(y0, y1), y2) - 0.5).clamp(min=0)
    bottom = torch.floor(torch.maximum(torch.maximum(y0, y1), y2) - 0.5).clamp(max=height - 1)
    wanted = (right >= left) & (bottom >= top) & (area.abs() > 1e-9)
    if one_sided is not None:
        wanted &= (area < 0) | ~one_sided
    kept = wanted.flatten().nonzero()[:, 0]

    def pick(values: Tensor) -> Tensor:
        return values.reshape(-1)[kept]

    x0, y0, z0, x1, y1, z1, x2, y2, z2 = map(pick, (x0, y0, z0, x1, y1, z1, x2, y2, z2))
    area, left, top, right, bottom = map(pick, (area, left, top, right, bottom))
    columns, rows = (right - left).long() + 1, (bottom - top).long() + 1

    # Barycentric coordinates and depth are affine in the offset from the first corner: two slopes each.
    slopes = torch.stack(
        [
            (y2 - y0) / area,
            (x0 - x2) / area,
            (y0 - y1) / area,
            (x1 - x0) / area,
            left + 0.5 - x0,
            top + 0.5 - y0,
            z0,
            z1 - z0,
            z2 - z0,
        ],
        dim=1,
    )
    count = columns * rows
    owner = torch.repeat_interleave(torch.arange(len(kept), device=device), count)
    nth = torch.arange(len(owner), device=device) - (count.cumsum(0) - count)[owner]
    wide = columns[owner]
    down = nth // wide
    across = nth - down * wide
    b1x, b1y, b2x, b2y, offset_x, offset_y, near, rise1, rise2 = slopes[owner].unbind(1)
    offset_x, offset_y = offset_x + across, offset_y + down
    b1 = b1x * offset_x + b1y * offset_y
    b2 = b2x * offset_x + b2y * offset_y
    depth = near + b1 * rise1 + b2 * rise2
    inside = ((b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1) & (depth >= 0) & (depth <= 1)).nonzero()[:, 0]

    owner = owner[inside]
    triangle = kept[owner]
    image = triangle // faces_count
    face = triangle - image * faces_count
    first = (image * height + top.long()[owner]) * width + left.long()[owner]
    pixel = first + down[inside] * width + across[inside]
    key = ((depth[inside].double() * _DEPTH_STEPS).long() << 32) | face
    nothing = (_DEPTH_STEPS << 32) | (2**32 - 1)
    best = torch.full((images * height * width,), nothing, dtype=torch.int64, device=device)
    best.scatter_reduce_(0, pixel, key, "amin")

    won = (best[pixel] == key).nonzero()[:, 0]  # exactly one fragment per seen pixel
    pixels, order = pixel[won].sort()
    won = won[order]
    fragment = inside[won]
    weights = torch.stack([1 - b1[fragment] - b2[fragment], b1[fragment], b2[fragment]], dim=1)
    seen = torch.full((images * height * width,), -1, dtype=torch.int64, device=device)
    seen[pixels] = face[won]
    far = torch.ones(images * height * width, dtype=screen.dtype, device=device)
    far[pixels] = depth[fragment]
    shape = (images, height, width)
    return Visible(seen.view(shape), pixels, faces[face[won]], weights, far.view(shape))
