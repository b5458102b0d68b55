"""The head as a linear model: a template of grids, displaced by identity and by expression.

Axes: x to the right of the image, y up, z towards the camera; unit: half the width of a head (about 7.5 cm). The
eyes are at y = 0, the mouth at y = −0.93, the chin at y = −1.5. A vertex keeps its *canonical* point, its place
on the template, whatever identity and expression do to it. Textures are painted in canonical coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .parameters import EXPRESSIONS, HAIR, OCCLUDERS, SHAPE, Identity, Nuisance

MATERIALS = ("skin", "ear", "neck", "hair", "cloth", "glasses", "mask", "scarf", "block")
EYE = (0.42, 0.0)  # centre of the eye of positive x
MOUTH = -0.93  # height of the line between the lips
_LIPS_APART = 0.012  # canonical half height of the strip between the lips that opens into the mouth
_PIVOT = (0.0, -0.85, -0.15)  # the head turns about the top of the neck

Displaced = np.ndarray | int  # along one axis, `[P]`, or 0 for nowhere
Field = tuple[Displaced, Displaced, Displaced]


class Template(NamedTuple):
    """V vertices in grids, F triangles.

    canonical: `[V, 3]`, places on the template.
    rest: `[V, 3]`, the average face.
    grids: (start, rows, columns) of each part, in the order of `PARTS`.
    faces: int64 `[F, 3]`, the vertices of each triangle.
    material: int64 `[F]`, into `MATERIALS`.
    one_sided: bool `[F]`, see `zbuffer.zbuffer`.
    follows: `[V]`, 1 where a vertex turns with the head, 0 where it stays with the trunk.
    shape: `[S, V, 3]`, the displacement when an identity parameter is 1.
    expression: `[E, V, 3]`, the displacement at full strength.
    """

    canonical: Tensor
    rest: Tensor
    grids: tuple[tuple[int, int, int], ...]
    faces: Tensor
    material: Tensor
    one_sided: Tensor
    follows: Tensor
    shape: Tensor
    expression: Tensor


class Mesh(NamedTuple):
    """The vertices of M heads, in camera axes (x right, y up, z towards the camera).

    points: `[M, V, 3]`.
    normals: `[M, V, 3]`, unit vectors.
    hidden: bool `[M, V]`, vertices of what is not there (occluders not worn) or is under something else.
    """

    points: Tensor
    normals: Tensor
    hidden: Tensor


# name: (material, one-sided)
PARTS = {
    "head": ("skin", True),
    "left ear": ("ear", False),
    "right ear": ("ear", False),
    "neck": ("neck", True),
    "cap": ("hair", True),
    "curtain": ("hair", False),
    "trunk": ("cloth", True),
    "left lens": ("glasses", False),
    "right lens": ("glasses", False),
    "bridge": ("glasses", False),
    "left temple": ("glasses", False),
    "right temple": ("glasses", False),
    "mask": ("mask", False),
    "scarf": ("scarf", False),
    "block": ("block", False),
}


def _step(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Smooth step: 0 up to `low`, 1 from `high` on (or the reverse, if low > high)."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: np.ndarray, y: np.ndarray, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    """Gaussian bump at (cx, cy) with the standard deviations sx, sy."""
    return np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))


# Height: half width, centre in z, extent to the front, extent to the back.
_SKULL = np.array(
    [
        [1.52, 0.00, -0.12, 0.00, 0.00],
        [1.48, 0.28, -0.12, 0.34, 0.40],
        [1.38, 0.52, -0.12, 0.66, 0.70],
        [1.20, 0.74, -0.12, 0.92, 0.96],
        [1.00, 0.87, -0.12, 1.08, 1.12],
        [0.75, 0.945, -0.12, 1.19, 1.22],
        [0.50, 0.975, -0.12, 1.255, 1.26],
        [0.25, 0.98, -0.10, 1.26, 1.25],
        [0.00, 0.955, -0.07, 1.19, 1.22],
        [-0.25, 0.925, -0.03, 1.13, 1.18],
        [-0.50, 0.875, 0.03, 1.05, 1.05],
        [-0.75, 0.80, 0.10, 0.96, 0.85],
        [-0.95, 0.725, 0.18, 0.87, 0.70],
        [-1.12, 0.635, 0.30, 0.73, 0.58],
        [-1.28, 0.52, 0.44, 0.57, 0.48],
        [-1.40, 0.40, 0.56, 0.44, 0.42],
        [-1.49, 0.27, 0.64, 0.32, 0.34],
        [-1.54, 0.13, 0.68, 0.18, 0.22],
        [-1.555, 0.00, 0.70, 0.00, 0.00],
    ]
)


@lru_cache(maxsize=1)
def _skull_curves() -> tuple[np.ndarray, np.ndarray]:
    """The columns of `_SKULL` over a fine arc-length parameter, smoothed, so that both poles close roundly."""
    steps = np.linalg.norm(np.diff(_SKULL[:, [0, 1, 3]], axis=0), axis=1)
    knots = np.concatenate([[0], np.cumsum(steps)])
    fine = np.linspace(0, knots[-1], 800)
    curves = np.stack([_cubic(knots, _SKULL[:, k], fine) for k in range(5)], axis=1)
    return fine, curves


def _cubic(knots: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Cubic Hermite interpolation with Catmull-Rom slopes."""
    slopes = np.gradient(values, knots)
    k = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    width = knots[k + 1] - knots[k]
    t = (at - knots[k]) / width
    return (
        (1 + 2 * t) * (1 - t) ** 2 * values[k]
        + t * (1 - t) ** 2 * width * slopes[k]
        + t**2 * (3 - 2 * t) * values[k + 1]
        + t**2 * (t - 1) * width * slopes[k + 1]
    )


def _skull(angle: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points `[…, 3]` of the bare skull at an angle (0 front, ±π back) and a height."""
    _, curves = _skull_curves()
    order = np.argsort(curves[:, 0])
    half, centre, front, back = (
        np.interp(y, curves[order, 0], np.maximum(curves[order, k], 0) if k != 2 else curves[order, k])
        for k in (1, 2, 3, 4)
    )
    sine, cosine = np.sin(angle), np.cos(angle)
    flat = 2 / (2.12 + 0.18 * _step(0.3, -0.6, y))  # superellipse: the face is a little flatter than an ellipse
    x = half * np.sign(sine) * np.abs(sine) ** flat
    z = centre + np.where(cosine > 0, front, back) * np.sign(cosine) * np.abs(cosine) ** flat
    return np.stack([x, y + 0 * x, z], axis=-1)


def _features(p: np.ndarray) -> np.ndarray:
    """Displacement `[…, 3]` that turns the skull into a face: sockets, brow, nose, lips, chin, cheeks."""
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    a = np.abs(x)
    front = _step(0.0, 0.55, z)
    dx, dy, dz = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    # Eyes are deep, their lids bulge.
    dz -= 0.155 * _bump(a, y, 0.40, -0.01, 0.19, 0.125)
    dz -= 0.05 * _bump(a, y, 0.19, 0.02, 0.07, 0.10)
    dz += 0.115 * _bump(a, y, 0.42, -0.005, 0.135, 0.085)
    dz += 0.055 * _bump(a, y, 0.40, 0.25, 0.26, 0.075) + 0.03 * _bump(x, y, 0, 0.24, 0.13, 0.1)
    # Nose: a ridge that rises to the tip, wings beside it, a sharp fall to the upper lip.
    rise = 0.055 + 0.255 * np.clip((0.20 - y) / 0.70, 0, 1) ** 1.1
    ridge = _step(0.22, -0.05, y) * _step(-0.70, -0.52, y)
    width = 0.072 + 0.050 * _step(-0.1, -0.5, y)
    dz += rise * ridge * np.exp(-0.5 * (x / width) ** 2)
    dz += 0.055 * _bump(x, y, 0, -0.505, 0.075, 0.065)
    dz += 0.155 * _bump(a, y, 0.160, -0.565, 0.060, 0.066)
    dx += np.sign(x) * 0.035 * _bump(a, y, 0.17, -0.555, 0.06, 0.06)
    dz += 0.055 * _bump(a, y, 0.12, -0.32, 0.10, 0.17)
    # Mouth: the jaws push the lips out; each lip is a roll; a groove under them.
    dz += 0.115 * _bump(x, y, 0, -0.90, 0.30, 0.20)
    lips = np.exp(-0.5 * (x / 0.20) ** 4)
    dz += lips * 0.062 * np.exp(-0.5 * ((y + 0.865 + 0.10 * a) / 0.036) ** 2)
    dz += lips * 0.070 * np.exp(-0.5 * ((y + 1.005 - 0.10 * a) / 0.044) ** 2)
    dz -= 0.035 * _bump(x, y, 0, MOUTH, 0.25, 0.016) + 0.03 * _bump(a, y, 0.35, MOUTH, 0.05, 0.05)
    dz -= 0.022 * _bump(x, y, 0, -0.75, 0.035, 0.06)
    dz -= 0.060 * _bump(x, y, 0, -1.125, 0.20, 0.050)
    dz += 0.105 * _bump(x, y, 0, -1.36, 0.20, 0.13)
    # Cheekbones out, temples and hollow of the cheek in, the fold between nose and mouth.
    cheek = _bump(a, y, 0.60, -0.27, 0.17, 0.16)
    dz += 0.075 * cheek
    dx += np.sign(x) * 0.035 * _bump(a, y, 0.85, -0.2, 0.2, 0.2)
    dz -= 0.035 * _bump(a, y, 0.60, -0.78, 0.14, 0.16)
    dx -= np.sign(x) * 0.05 * _bump(a, y, 0.92, 0.45, 0.2, 0.25)
    fold = np.clip((-0.55 - y) / 0.5, 0, 1)
    dz -= 0.03 * np.exp(-0.5 * ((a - 0.26 - 0.17 * fold) / 0.045) ** 2) * _step(-0.5, -0.6, y) * _step(-1.1, -0.9, y)
    return np.stack([dx, dy, dz], axis=-1) * front[..., None]


def _shape_fields(p: np.ndarray) -> dict[str, Field]:
    """For each identity parameter, the displacement of the canonical points `p` `[P, 3]` when the parameter is 1."""
    x, y, z = p.T
    right, front = np.sign(x), _step(0.0, 0.55, z)

    def mid(cy: float, sx: float, sy: float) -> np.ndarray:
        """A bump in the middle of the face."""
        return _bump(x, y, 0, cy, sx, sy) * front

    def both(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
        """The same bump on either side."""
        return _bump(np.abs(x), y, cx, cy, sx, sy) * front

    eye, from_eye = both(0.42, 0, 0.17, 0.13), x - right * EYE[0]
    tip = mid(-0.50, 0.15, 0.09) + 0.5 * both(0.17, -0.56, 0.08, 0.08)
    ridge = np.exp(-0.5 * (x / 0.12) ** 2) * _step(0.1, -0.45, y) * _step(-0.68, -0.58, y) * front
    jaw = _step(-0.45, -1.0, y) * _step(-1.7, -1.5, y)
    return {
        "face length": (0, 0.11 * np.minimum(y + 0.15, 0) * _step(-2.2, -1.6, y), 0),
        "head width": (0.065 * x, 0, 0),
        "skull height": (0, 0.08 * np.maximum(y - 0.3, 0), 0),
        "skull depth": (0, 0, 0.07 * np.minimum(z, 0)),
        "forehead slope": (0, 0, -0.12 * _step(0.25, 1.2, y) * front),
        "forehead width": (0.07 * x * _step(0.0, 0.6, y), 0, 0),
        "jaw width": (0.085 * x * jaw, 0, 0),
        "jaw angle": (right * 0.06 * both(0.62, -1.05, 0.22, 0.17), -0.03 * both(0.6, -1.15, 0.2, 0.15), 0),
        "chin width": (0.20 * x * np.exp(-0.5 * ((y + 1.42) / 0.13) ** 2), 0, 0),
        "chin length": (0, -0.065 * _step(-1.1, -1.45, y) * front, 0),
        "chin forward": (0, 0, 0.06 * _step(-1.0, -1.35, y) * front),
        "cheekbones": (right * 0.055 * both(0.75, -0.22, 0.2, 0.17), 0, 0.06 * both(0.6, -0.24, 0.16, 0.13)),
        "cheek fullness": (right * 0.055 * both(0.70, -0.75, 0.2, 0.25), 0, 0.075 * both(0.52, -0.68, 0.2, 0.22)),
        "brow ridge": (0, -0.015 * both(0.35, 0.2, 0.3, 0.1), 0.055 * both(0.33, 0.23, 0.28, 0.09)),
        "eye spacing": (right * 0.040 * both(0.42, 0.05, 0.22, 0.22), 0, 0),
        "eye size": (0.16 * from_eye * eye, 0.16 * y * eye, 0),
        "eye opening": (0, 0.26 * y * both(0.42, 0, 0.19, 0.10), 0),
        "eye tilt": (0, 0.14 * (np.abs(x) - 0.40) * both(0.42, 0.03, 0.18, 0.15), 0),
        "eye depth": (0, 0, -0.05 * both(0.42, 0.0, 0.19, 0.13)),
        "eye height": (0, 0.045 * both(0.42, 0.05, 0.3, 0.2), 0),
        "nose length": (0, -0.065 * mid(-0.56, 0.26, 0.16), 0),
        "nose width": (0.25 * x * mid(-0.55, 0.22, 0.12), 0, 0),
        "bridge width": (0.35 * x * mid(-0.15, 0.14, 0.25), 0, 0),
        "nose height": (0, 0, 0.085 * ridge),
        "nose hump": (0, 0, 0.055 * mid(-0.14, 0.07, 0.13)),
        "nose tip up": (0, 0.055 * tip, 0.02 * tip),
        "nose tip width": (0.4 * x * mid(-0.51, 0.10, 0.09), 0, 0.012 * both(0.07, -0.5, 0.05, 0.07)),
        "nasion": (0, 0, 0.055 * mid(0.06, 0.09, 0.12)),
        "nose bend": (0.035 * mid(-0.40, 0.2, 0.2), 0, 0),
        "mouth width": (0.17 * x * mid(MOUTH, 0.42, 0.13), 0, 0),
        "mouth height": (0, 0.05 * mid(MOUTH, 0.42, 0.17), 0),
        "upper lip": (0, 0.030 * mid(-0.85, 0.25, 0.05), 0.03 * mid(-0.865, 0.22, 0.045)),
        "lower lip": (0, -0.034 * mid(-1.03, 0.25, 0.06), 0.035 * mid(-1.005, 0.22, 0.055)),
        "jaws forward": (0, 0, 0.075 * mid(-0.90, 0.30, 0.22)),
        "mouth tilt": (0, 0.025 * x * mid(MOUTH, 0.4, 0.15), 0),
        "mouth corners": (0, 0.018 * both(0.33, MOUTH, 0.10, 0.10), 0),
        "neck width": (0.055 * x * _step(-1.3, -1.6, y) * _step(-2.3, -2.0, y), 0, 0),
    }


def _expression_fields(p: np.ndarray) -> dict[str, Field]:
    """For each expression but neutral, the displacement of the canonical points `p` `[P, 3]` at full strength."""
    x, y, z = p.T
    right, front = np.sign(x), _step(0.0, 0.55, z)
    arch = np.sqrt(np.clip(1 - (x / 0.335) ** 2, 0, 1))  # the open mouth closes at the corners

    def both(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
        return _bump(np.abs(x), y, cx, cy, sx, sy) * front

    def part_lips(drop: float, rise: float) -> np.ndarray:
        """The lower jaw drops, the upper lip rises: between the lips the displacement jumps."""
        chin = _step(-0.80, -1.20, y)
        lower = (y < MOUTH) * arch
        upper = (y > MOUTH) * arch * _step(-0.70, -0.86, y)
        return (rise * upper - drop * (lower * (1 - chin) + chin)) * front

    corners, cheeks = both(0.34, MOUTH, 0.13, 0.11), both(0.50, -0.42, 0.17, 0.15)
    inner_brow = both(0.24, 0.26, 0.17, 0.12)
    lids = y * both(0.42, 0, 0.19, 0.10)
    smile = 0.085 * corners + 0.05 * cheeks + 0.022 * both(0.42, -0.09, 0.17, 0.05) + part_lips(0.06, 0.035)
    frown = -0.075 * inner_brow - 0.05 * both(0.34, MOUTH, 0.12, 0.09) - 0.20 * lids
    surprise = 0.09 * both(0.42, 0.30, 0.28, 0.11) + 0.35 * lids + part_lips(0.09, 0)
    return {
        "smile": (right * (0.075 * corners + 0.01 * cheeks), smile, 0.055 * cheeks - 0.05 * corners),
        "open mouth": (-0.03 * right * both(0.34, MOUTH, 0.12, 0.15), part_lips(0.20, 0.02), 0),
        "frown": (-0.045 * right * inner_brow, frown, 0.02 * inner_brow),
        "surprise": (0, surprise, 0),
    }


def _head_rows(count: int) -> np.ndarray:
    """Heights of the rows of the head, dense at eyes, nose and mouth, with two rows at the edges of the lips."""
    fine, curves = _skull_curves()
    y = curves[:, 0]
    density = 0.55 + 0.9 * np.exp(-0.5 * ((y - 0.0) / 0.13) ** 2) + 0.5 * np.exp(-0.5 * ((y - 0.25) / 0.1) ** 2)
    density += 1.0 * np.exp(-0.5 * ((y + 0.58) / 0.10) ** 2) + 1.1 * np.exp(-0.5 * ((y + 0.93) / 0.11) ** 2)
    total = np.cumsum(density * np.gradient(fine))
    rows = np.interp(np.linspace(total[0], total[-1], count), total, fine)
    heights = np.interp(rows, fine, y)
    low = int(np.argmin(np.abs(heights - (MOUTH - _LIPS_APART))))
    heights[low - 1 : low + 1] = [MOUTH + _LIPS_APART, MOUTH - _LIPS_APART]
    return heights


def _grid(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r, c = np.meshgrid(rows, columns, indexing="ij")
    return r, c


def _parts(detail: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every part as a grid of canonical points `[R, C, 3]` and of how far it follows the head `[R, C]`.

    detail: 1 for as many rows and columns as a large picture needs, less for fewer.
    """

    def line(start: float, stop: float, count: int) -> np.ndarray:
        return np.linspace(
            start, stop, max(2, round(detail * (count - 1) / 2) * 2 + 1 if count % 2 else round(detail * count))
        )

    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    u = line(-1, 1, 79)
    angles = 1.75 * (0.55 * u + 0.45 * u**3)
    back = line(1.75, math.pi, 8)[1:]
    angles = np.concatenate([-back[::-1], angles, back])
    y, angle = _grid(_head_rows(round(82 * detail)), angles)
    head = _skull(angle, y)
    parts["head"] = (head, np.ones_like(y))

    around = line(0, 2 * math.pi, 19)[:, None]
    radius = np.array([0.0, 0.25, 0.5, 0.72, 0.88, 1.0, 0.97])[None] + 0 * around
    height = np.array([-0.035, -0.03, 0.0, 0.035, 0.085, 0.06, -0.07])[None] + 0 * around
    across = radius * (0.165 + 0.03 * np.sin(around)) * np.cos(around)
    along = radius * 0.34 * np.sin(around)
    height = height * (0.45 + 0.55 * _step(-0.19, -0.02, across))  # the front edge is grown to the cheek
    backwards, upwards = np.array([0.42, 0.0, -0.90]), np.array([0.02, 0.98, -0.16])
    outwards = np.array([0.88, 0.05, 0.42])
    ear = np.array([1.0, -0.17, -0.13]) + across[..., None] * backwards + along[..., None] * upwards
    ear = ear + height[..., None] * outwards
    parts["right ear"] = (ear, np.ones_like(across))
    parts["left ear"] = (ear * np.array([-1, 1, 1]), np.ones_like(across))

    y, angle = _grid(line(-0.8, -2.15, 10), line(-math.pi, math.pi, 29))
    slide = (-0.8 - y) / 1.35
    neck = np.stack(
        [(0.575 + 0.08 * slide**2) * np.sin(angle), y, -0.10 - 0.2 * slide + (0.50 + 0.06 * slide) * np.cos(angle)], -1
    )
    parts["neck"] = (neck, 1 - 0.85 * _step(0, 1, slide))

    down, angle = _grid(line(0, 1, 30), line(-math.pi, math.pi, 57))
    y = 1.515 - 2.5 * down**1.15
    cap = _skull(angle, y)
    parts["cap"] = (cap, np.ones_like(y))

    down, angle = _grid(
        line(0, 1, 16),
        np.concatenate(
            [line(0.85, 1.6, 12), line(1.7, 2 * math.pi - 1.7, 22), line(2 * math.pi - 1.6, 2 * math.pi - 0.85, 12)]
        ),
    )
    y = 0.95 - 3.0 * down
    curtain = _skull(angle, np.maximum(y, 0.0 + 0 * y))
    curtain[..., 1] = y
    parts["curtain"] = (curtain, 1 - 0.6 * _step(-0.9, -1.9, y))

    level = np.array([-1.62, -1.75, -1.86, -1.97, -2.12, -2.35, -2.8, -3.4])
    half = np.array([0.60, 0.70, 0.92, 1.28, 1.75, 2.10, 2.25, 2.30])
    deep = np.array([0.50, 0.56, 0.63, 0.70, 0.78, 0.85, 0.90, 0.95])
    row, angle = _grid(np.arange(8), line(-math.pi, math.pi, 41))
    trunk = np.stack(
        [
            half[row.astype(int)] * np.sin(angle),
            level[row.astype(int)] + 0 * angle,
            -0.32 + deep[row.astype(int)] * np.cos(angle),
        ],
        -1,
    )
    trunk[..., 1] -= 0.16 * np.cos(angle) * _step(1.5, 0.6, trunk[..., 0]) * (row < 5)
    parts["trunk"] = (trunk, np.zeros_like(angle))

    v, w = _grid(line(1, -1, 8), line(-1, 1, 9))
    bow = np.sqrt(np.clip(1 - 0.5 * v**2, 0, 1))
    lens = np.stack([0.43 + 0.33 * w * bow, -0.03 + 0.235 * v * np.sqrt(np.clip(1 - 0.5 * w**2, 0, 1)), 0 * v], -1)
    lens[..., 2] = 1.39 - 0.36 * np.maximum(lens[..., 0], 0) ** 2.2
    parts["right lens"] = (lens, np.ones_like(v))
    parts["left lens"] = (lens * np.array([-1, 1, 1]), np.ones_like(v))
    v, w = _grid(np.linspace(0.11, 0.04, 2), np.linspace(-0.13, 0.13, 5))
    parts["bridge"] = (np.stack([w, v, 1.40 - 0.5 * w**2], -1), np.ones_like(v))
    v, w = _grid(np.linspace(0.10, 0.02, 2), np.linspace(0, 1, 4))
    temple = np.stack([0.74 + 0.28 * w**0.6, v, 1.17 - 1.3 * w], -1)
    parts["right temple"] = (temple, np.ones_like(v))
    parts["left temple"] = (temple * np.array([-1, 1, 1]), np.ones_like(v))

    v, w = _grid(line(0, 1, 16), line(-1, 1, 21))
    top = -0.17 - 0.30 * np.abs(w) ** 1.5
    y = top + (-1.535 + 0.22 * np.abs(w) ** 2 - top) * v
    cover = _skull(1.42 * w, y)
    cover[..., 2] += (
        0.36 * np.exp(-0.5 * (cover[..., 0] / 0.28) ** 2) * _step(0.05, -0.42, y) * _step(-1.6, -0.75, y)
        + 0.10
        + 0.06 * np.exp(-0.5 * (cover[..., 0] / 0.4) ** 2) * _step(-0.6, -0.9, y)
    )
    cover[..., 0] *= 1.045
    parts["mask"] = (cover, np.ones_like(v))

    v, angle = _grid(line(0, 1, 12), line(-math.pi, math.pi, 45))
    swell = np.sin(math.pi * v) ** 0.5 + 0.14 * np.sin(3 * math.pi * v) * np.cos(angle / 2)
    y = -0.62 - 1.5 * v - 0.10 * np.cos(angle + 0.6) * (1 - v)
    scarf = np.stack([(0.86 + 0.20 * swell) * np.sin(angle), y, 0.13 + (0.98 + 0.22 * swell) * np.cos(angle)], -1)
    parts["scarf"] = (scarf, 1 - 0.8 * v)

    v, w = _grid(np.linspace(1, -1, 2), np.linspace(-1, 1, 2))
    parts["block"] = (np.stack([w, v, 0 * v], -1), np.zeros_like(v))
    return parts


@lru_cache(maxsize=2)
def template(detail: float) -> Template:
    """The template.

    detail: 1 is the finest; less has fewer vertices.
    """
    parts = _parts(detail)
    points, grids, faces, material, one_sided, follows = [], [], [], [], [], []
    start, names = 0, list(PARTS)
    for name in names:
        grid, follow = parts[name]
        rows, columns = grid.shape[:2]
        r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
        corner = (start + r * columns + c).reshape(-1)
        quads = [
            np.stack([corner, corner + columns, corner + 1], 1),
            np.stack([corner + 1, corner + columns, corner + columns + 1], 1),
        ]
        triangles = np.concatenate(quads)
        faces.append(triangles)
        material.append(np.full(len(triangles), MATERIALS.index(PARTS[name][0])))
        one_sided.append(np.full(len(triangles), PARTS[name][1]))
        follows.append(follow.reshape(-1))
        points.append(grid.reshape(-1, 3))
        grids.append((start, rows, columns))
        start += rows * columns
    canonical = np.concatenate(points)
    span = {name: slice(s, s + r * c) for name, (s, r, c) in zip(names, grids, strict=True)}

    def basis(fields: Callable[[np.ndarray], dict[str, Field]], over: list[str], kept: tuple[str, ...]) -> np.ndarray:
        out = np.zeros((len(kept), len(canonical), 3))
        for part in over:
            p = canonical[span[part]].copy()
            if part == "curtain":  # hair that hangs moves as the head beside the ears does
                p[:, 1] = np.maximum(p[:, 1], -0.05)
            for name, field in fields(p).items():
                for axis, value in enumerate(field):
                    out[kept.index(name), span[part], axis] = value
        return out

    heads = [name for name in names if name not in ("trunk", "scarf", "block")]
    shape = basis(_shape_fields, heads, SHAPE)
    for side, sense in (("left ear", -1), ("right ear", 1)):
        s = span[side]
        centre = canonical[s].mean(0)
        shape[SHAPE.index("ear size"), s] = 0.16 * (canonical[s] - centre)
        lever = np.abs(canonical[s, 0]) - 0.90
        shape[SHAPE.index("ear flare"), s] = np.stack([sense * 0.35 * lever, 0 * lever, 0.25 * lever], 1)
    expression = basis(_expression_fields, ["head", "mask"], EXPRESSIONS[1:])
    # Masks move with the jaw, but not apart at the lips.
    expression[:, span["mask"]] *= 0.35
    head = canonical[span["head"]]
    displaced = canonical.copy()
    displaced[span["head"]] = head + _features(head)

    def tensor(a: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32))

    return Template(
        canonical=tensor(canonical),
        rest=tensor(displaced),
        grids=tuple(grids),
        faces=torch.from_numpy(np.concatenate(faces)),
        material=torch.from_numpy(np.concatenate(material)),
        one_sided=torch.from_numpy(np.concatenate(one_sided)),
        follows=tensor(np.concatenate(follows)),
        shape=tensor(shape),
        expression=tensor(expression),
    )


def mesh(identity: Identity, nuisance: Nuisance, model: Template) -> Mesh:
    """The M heads, posed and dressed, in camera axes."""
    count = len(identity)
    flat = model.shape.flatten(1)
    points = model.rest + (identity.shape @ flat).view(count, -1, 3)
    which = nuisance.expression
    amount = torch.nn.functional.one_hot(which, len(EXPRESSIONS))[:, 1:] * nuisance.strength[:, None]
    points = points + (amount.to(flat.dtype) @ model.expression.flatten(1)).view(count, -1, 3)
    spans = {name: (s, r, c) for name, (s, r, c) in zip(PARTS, model.grids, strict=True)}

    def part(name: str) -> slice:
        start, rows, columns = spans[name]
        return slice(start, start + rows * columns)

    _beard(points, model, identity, part("head"))
    hidden = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
    _hair(points, hidden, model, identity.hair_with(nuisance), part("head"), part("cap"), part("curtain"))

    # Pose: yaw, pitch and roll about the neck, as far as the vertex follows the head.
    follows = model.follows
    pivot = torch.tensor(_PIVOT, device=points.device)
    moved = points - pivot
    angles = torch.deg2rad(torch.stack([nuisance.yaw, nuisance.pitch, nuisance.roll], 1))[:, :, None] * follows
    moved = rotate(moved, angles[:, 0], angles[:, 1], angles[:, 2])
    points = moved + pivot

    worn = {
        "sunglasses": ("left lens", "right lens", "bridge", "left temple", "right temple"),
        "mask": ("mask",),
        "scarf": ("scarf",),
        "block": ("block",),
    }
    block = points[:, part("block")]
    look = nuisance.look
    turn = look[:, 2, None] * 3.0
    x, y = block[..., 0] * (0.35 + 0.45 * look[:, 3, None]), block[..., 1] * (0.35 + 0.45 * look[:, 4, None])
    block = torch.stack(
        [
            x * turn.cos() - y * turn.sin() + (look[:, 0, None] - 0.5) * 1.3,
            x * turn.sin() + y * turn.cos() - 0.35 + (look[:, 1, None] - 0.5) * 1.5,
            torch.full_like(x, 2.05),
        ],
        -1,
    )
    points[:, part("block")] = block
    for name, pieces in worn.items():
        for piece in pieces:
            hidden[:, part(piece)] = (nuisance.occluder != OCCLUDERS.index(name))[:, None]
    return Mesh(points, _normals(points, model), hidden)


def rotate(points: Tensor, yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Turn points `[M, V, 3]` by angles in radians, `[M, V]`: roll, then pitch, then yaw.

    Positive yaw turns the nose to the right of the image, positive pitch raises it.
    """
    x, y, z = points.unbind(-1)
    x, y = x * roll.cos() - y * roll.sin(), x * roll.sin() + y * roll.cos()
    y, z = y * pitch.cos() + z * pitch.sin(), z * pitch.cos() - y * pitch.sin()
    x, z = x * yaw.cos() + z * yaw.sin(), z * yaw.cos() - x * yaw.sin()
    return torch.stack([x, y, z], -1)


@lru_cache(maxsize=4)
def on_device(detail: float, device: torch.device) -> Template:
    """The template with its tensors on a device."""
    fields = template(detail)._asdict()
    return Template(**{name: value.to(device) if name != "grids" else value for name, value in fields.items()})


def smooth(low: float | Tensor, high: float | Tensor, values: Tensor) -> Tensor:
    """Smooth step of tensors: 0 up to `low`, 1 from `high` on (or the reverse, if low > high)."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def hairline(angle: Tensor, hair: Tensor) -> Tensor:
    """Height of the edge of the hair `[M, V]` at an angle about the vertical axis (0 front, ±π back)."""
    a = angle.abs()
    fringe, recede = hair[:, HAIR.index("fringe"), None], hair[:, HAIR.index("recede"), None]
    front = 0.83 + 0.04 * torch.cos(3 * a) + recede * (0.14 + 0.34 * torch.exp(-0.5 * ((a - 0.55) / 0.22) ** 2))
    front = front + (0.44 + 0.03 * torch.sin(9 * angle) - front) * fringe
    temple = front + (-0.10 - front) * smooth(0.72, 1.20, a)
    ear = temple + (0.20 - temple) * smooth(1.28, 1.42, a)
    return ear + (-0.88 - ear) * smooth(1.85, 2.25, a)


def _beard(points: Tensor, model: Template, identity: Identity, part: slice) -> None:
    """Push the skin out where a beard grows."""
    x, y, z = model.canonical[part].unbind(-1)
    area = beard_area(x, y, z)
    outwards = torch.stack([0.5 * x, -0.5 * smooth(-1.2, -1.55, y), smooth(0.0, 0.6, z)], -1)
    points[:, part] += 0.07 * (identity.beard[:, 0, None] * area**2)[..., None] * outwards


def beard_area(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Where a beard grows, 0 to 1: jaw, chin and sideburns, not the lips."""
    a = x.abs()
    line = -0.98 + 0.78 * smooth(0.34, 0.88, a) ** 1.3
    low = smooth(line + 0.03, line - 0.10, y) * smooth(-0.12, 0.02, z + 0.35 * smooth(-0.6, -0.9, y))
    mouth = smooth(0.30, 0.43, (a**2 + ((y - MOUTH) / 0.55) ** 2).sqrt())
    soul = smooth(0.10, 0.03, a) * smooth(-1.06, -1.10, y)
    return low * torch.maximum(mouth, soul)


def _hair(
    points: Tensor, hidden: Tensor, model: Template, hair: Tensor, head: slice, cap: slice, curtain: slice
) -> None:
    """Lift the cap off the skull where hair grows, sink it elsewhere; let the curtain hang down to its length."""
    top, side, length, part, curl, wave = (
        hair[:, HAIR.index(n), None] for n in ("top", "side", "length", "part", "curl", "wave")
    )
    x, y, z = model.canonical[cap].unbind(-1)
    angle = torch.atan2(x, z + 0.1)
    edge = hairline(angle, hair)
    fringe = hair[:, HAIR.index("fringe"), None]
    above = smooth(0.0, 0.38 - 0.2 * fringe, y - edge)
    lift = side + (top - side) * smooth(0.35, 1.15, y)
    lift = lift * (1 + 0.35 * torch.tanh(4 * (x - 0.55 * part)) * part * smooth(0.6, 1.2, y))
    lumps = torch.sin(9 * x + 5 * y + 2) * torch.sin(8 * y + 6 * z) + 0.6 * torch.sin(17 * x - 11 * z) * torch.sin(
        15 * y + 4
    )
    lift = lift * (1 + 0.22 * curl * lumps) + 0.02 * wave * torch.sin(11 * angle + 4 * y)
    grows = smooth(-0.02, 0.03, y - edge)
    offset = grows * (0.006 + lift * above) - 0.10 * (1 - grows)
    outwards = torch.stack([x, 0.75 * y.clamp(min=0), z + 0.1], -1)
    outwards = outwards / outwards.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    points[:, cap] += offset[..., None] * outwards
    hidden[:, cap] = y - edge < -0.2
    x, y, z = model.canonical[head].unbind(-1)
    hidden[:, head] = y - hairline(torch.atan2(x, z + 0.1), hair) > 0.4

    x, y, z = model.canonical[curtain].unbind(-1)
    angle = torch.atan2(x, z + 0.1)
    end = 0.1 - 1.15 * length
    front = smooth(1.0, 1.35, angle.abs())
    lift = side * (0.55 + 0.45 * smooth(0.9, 0.2, y)) + 0.05
    ripple = wave * 0.055 * torch.sin(7.5 * y + 1.5 * torch.sin(3 * angle)) + 0.05 * curl * torch.sin(
        13 * y + 9 * angle
    )
    swing = (
        lift * (0.35 + 0.65 * front)
        + ripple * smooth(0.4, -0.3, y)
        - 0.10 * smooth(-0.6, -1.6, y) * smooth(2.0, 1.2, angle.abs())
    )
    swing = swing - 0.25 * smooth(0.55, 0.95, y)  # the upper edge disappears in the cap
    outwards = torch.stack([x, 0 * y, z + 0.1], -1)
    outwards = outwards / outwards.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    hanging = points[:, curtain] + swing[..., None] * outwards
    tapered = (0.12 * torch.sin(13 * angle + 3)) * 0.5
    height = torch.maximum(hanging[..., 1], end + tapered)
    hanging = torch.stack([hanging[..., 0], height, hanging[..., 2]], -1)
    points[:, curtain] = hanging
    hidden[:, curtain] = (length < 0.15) | (y < end - 0.3)


def _normals(points: Tensor, model: Template) -> Tensor:
    """Unit normals `[M, V, 3]` from differences along the rows and columns of each grid."""
    normals = torch.empty_like(points)
    for start, rows, columns in model.grids:
        grid = points[:, start : start + rows * columns].view(len(points), rows, columns, 3)
        down = torch.cat([grid[:, 1:2] - grid[:, :1], grid[:, 2:] - grid[:, :-2], grid[:, -1:] - grid[:, -2:-1]], 1)
        right = torch.cat(
            [grid[:, :, 1:2] - grid[:, :, :1], grid[:, :, 2:] - grid[:, :, :-2], grid[:, :, -1:] - grid[:, :, -2:-1]], 2
        )
        normal = torch.linalg.cross(down, right, dim=-1)
        length = normal.norm(dim=-1, keepdim=True)
        normals[:, start : start + rows * columns] = (normal / length.clamp(min=1e-9)).reshape(len(points), -1, 3)
    return normals
