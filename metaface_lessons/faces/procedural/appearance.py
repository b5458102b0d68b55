"""Colour: how a point of the head, of its clothes or of the background looks before light falls on it.

Everything is a function of canonical coordinates, so it is sharp at any size and moves with the geometry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .geometry import EYE, MATERIALS, MOUTH, beard_area, hairline, smooth
from .parameters import EXPRESSIONS, HAIR, Identity, Nuisance
from .zbuffer import take

_TILE = 64


class Paint(NamedTuple):
    """Linear RGB albedo `[P, 3]`, gloss `[P]` (strength of the highlight) and softness `[P]` (how far light bleeds)."""

    albedo: Tensor
    gloss: Tensor
    soft: Tensor


@lru_cache(maxsize=4)
def _tile(device: torch.device) -> Tensor:
    """A periodic tile of uniform noise, flat `[64·64]`, the same everywhere."""
    return torch.rand(_TILE * _TILE, generator=torch.Generator().manual_seed(20)).to(device)


def noise(u: Tensor, v: Tensor) -> Tensor:
    """Smooth noise in [0, 1] with features of size 1."""
    tile = _tile(u.device)
    iu, iv = u.floor(), v.floor()
    fu, fv = u - iu, v - iv
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    iu, iv = iu.int(), iv.int()
    a, b = (iu & _TILE - 1) * _TILE, ((iu + 1) & _TILE - 1) * _TILE
    c, d = iv & _TILE - 1, (iv + 1) & _TILE - 1
    low = torch.lerp(take(tile, a + c), take(tile, b + c), fu)
    high = torch.lerp(take(tile, a + d), take(tile, b + d), fu)
    return torch.lerp(low, high, fv)


def paint(
    canonical: Tensor, material: Tensor, image: Tensor, identity: Identity, nuisance: Nuisance, footprint: float
) -> Paint:
    """The look of P surface points.

    canonical: `[P, 3]`, their places on the template.
    material: int64 `[P]`, into `MATERIALS`.
    image: int64 `[P]`, the row of `identity` and `nuisance` of each point.
    identity: the people.
    nuisance: the circumstances.
    footprint: size of a pixel in canonical units; edges are not sharper than that.
    """
    count = len(material)
    albedo = canonical.new_zeros(count, 3)
    gloss, soft = canonical.new_zeros(count), canonical.new_zeros(count)
    painters = {
        "skin": _skin,
        "ear": _ear,
        "neck": _neck,
        "hair": _hair,
        "cloth": _cloth,
        "glasses": _glasses,
        "mask": _mask,
        "scarf": _scarf,
        "block": _block,
    }
    for number, name in enumerate(MATERIALS):
        here = (material == number).nonzero()[:, 0]
        if len(here):
            part = painters[name](take(canonical, here), take(image, here), identity, nuisance, footprint)
            albedo[here], gloss[here], soft[here] = part
    return Paint(albedo.clamp(0.002, 1.2), gloss, soft)


def _blend(base: Tensor, over: Tensor, amount: Tensor) -> Tensor:
    return base + (over - base) * amount[:, None]


def _skin(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, z = p.unbind(1)
    a = x.abs()
    skin, age = take(who.skin, image), take(who.age, image)
    face = smooth(0.0, 0.4, z)
    offset = take(who.texture, image) * _TILE
    u, v = x + 0.6 * z, y
    mottle = noise(u * 4 + offset[:, 0], v * 4 + offset[:, 1]) - 0.5
    fine = noise(u * 26 + offset[:, 1], v * 26 + offset[:, 0]) - 0.5
    colour = skin * (1 + 0.10 * mottle + (0.05 + 0.08 * age) * fine)[:, None]

    # Blood: cheeks, nose; melanin: around the eyes.
    blush = _spot(a, y, 0.52, -0.40, 0.20, 0.18)
    blush = blush + 0.7 * _spot(x, y, 0.0, -0.52, 0.14, 0.10)
    red = torch.tensor([0.03, -0.20, -0.16], device=p.device)
    colour = colour * (1 + (blush * face * (0.35 + take(who.blush, image)))[:, None] * red)
    socket = _spot(a, y, 0.40, 0.0, 0.22, 0.12) * face
    bag = torch.exp(-0.5 * (((a - 0.37) / 0.13) ** 2 + ((y + 0.145 + 0.25 * (a - 0.4) ** 2) / 0.030) ** 2)) * face
    colour = (
        colour
        * (1 - socket * 0.16 - bag * (0.05 + 0.22 * age))[:, None]
        * torch.tensor([1.0, 0.99, 1.0], device=p.device)
    )

    colour = colour * (1 - _wrinkles(x, y, offset[:, 0], age, how, image) * face)[:, None]

    colour = colour * _marks(x, y, offset, who, image, footprint, face)
    gloss = 0.5 + 0.5 * _spot(x, y, 0.0, 0.55, 0.25, 0.25) + 0.6 * _spot(x, y, 0.0, -0.40, 0.10, 0.2)
    soft = torch.ones_like(x)

    result = _hairy(Paint(colour, gloss, soft), p, image, who, how, footprint)
    front = z > 0.3
    _on(_nose, front & (y < -0.35) & (y > -1.25) & (a < 0.35), result, p, image, who, how, footprint)
    _on(_brows, front & (y > 0.05) & (y < 0.5) & (a < 0.85), result, p, image, who, how, footprint)
    _on(_eyes, front & (y.abs() < 0.24) & ((a - EYE[0]).abs() < 0.30), result, p, image, who, how, footprint)
    _on(_lips, front & (y < -0.78) & (y > -1.12) & (a < 0.42), result, p, image, who, how, footprint)
    return result


def _wrinkles(x: Tensor, y: Tensor, offset: Tensor, age: Tensor, how: Nuisance, image: Tensor) -> Tensor:
    """How much the lines that age and smiling draw darken the skin `[P]`."""
    a = x.abs()
    wave = 0.025 * torch.sin(5 * x + 20 * offset) + 0.05 * x**2
    forehead = (
        torch.exp(-0.5 * (((((y + wave) * 6.5) % 1) - 0.5) / 0.11) ** 2)
        * smooth(0.42, 0.5, y)
        * smooth(0.85, 0.75, y)
        * smooth(0.6, 0.35, a)
    )
    fold_x = 0.245 + 0.19 * smooth(-0.52, -1.0, y) * ((-0.52 - y).clamp(0, 1) * 2).clamp(0, 1)
    fold = torch.exp(-0.5 * ((a - fold_x) / 0.022) ** 2) * smooth(-0.54, -0.64, y) * smooth(-1.04, -0.90, y)
    crow = torch.exp(-0.5 * ((((y - 0.25 * (a - 0.6)) * 18 % 1) - 0.5) / 0.16) ** 2) * torch.exp(
        -0.5 * (((a - 0.70) / 0.05) ** 2 + ((y + 0.0) / 0.07) ** 2)
    )
    glabella = _spot(a, y, 0.06, 0.24, 0.014, 0.07)
    smiling = (take(how.expression, image) == EXPRESSIONS.index("smile")) * take(how.strength, image)
    old = (age - 0.25).clamp(min=0)
    lines = (
        0.42 * old * forehead
        + (0.06 + 0.38 * old + 0.2 * smiling) * fold
        + (0.45 * old + 0.12 * smiling) * crow
        + 0.4 * old * glabella
    )
    return lines.clamp(0, 0.7)


def _marks(
    x: Tensor, y: Tensor, offset: Tensor, who: Identity, image: Tensor, footprint: float, face: Tensor
) -> Tensor:
    """By which factor freckles and moles darken the colour, `[P, 3]`."""
    freckle = smooth(0.70, 0.82, noise(x * 22 + offset[:, 0] * 3, y * 22 + offset[:, 1] * 5))
    spread = _spot(x, y, 0.0, -0.28, 0.6, 0.25)
    tan = torch.tensor([0.35, 0.5, 0.6], device=x.device)
    left = 1 - (freckle * spread * take(who.freckles, image))[:, None] * tan
    moles = take(who.moles, image)
    spot = ((x[:, None] - moles[:, :, 0]) ** 2 + (y[:, None] - moles[:, :, 1]) ** 2).sqrt()
    spot = ((moles[:, :, 2] + footprint / 2 - spot) / footprint).clamp(0, 1) * (moles[:, :, 2] > 0)
    return left * (1 - 0.72 * spot.amax(1) * face)[:, None]


def _hairy(under: Paint, p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    """Skin with stubble, beard and moustache, and the scalp above the hairline."""
    x, y, z = p.unbind(1)
    a, u, v, face = x.abs(), x + 0.6 * z, y, smooth(0.0, 0.4, z)
    colour, gloss, soft = under
    skin, offset = take(who.skin, image), take(who.texture, image) * _TILE
    strand = noise(u * 30 + offset[:, 0], v * 13)
    area = beard_area(x, y, z)
    moustache = (
        smooth(0.40, 0.30, a)
        * smooth(-0.665, -0.71, y + 0.30 * a - 0.02)
        * smooth(-0.875, -0.845, y - 0.02 + 0.32 * a)
        * face
    )
    beard = take(who.beard, image)
    hair = take(who.hair_colour, image)
    grown = (beard[:, 0] * 1.6).clamp(max=1) * area
    grown = torch.maximum(grown, beard[:, 1] * moustache)
    stubble = 0.50 * beard[:, 2] * torch.maximum(area, moustache)
    colour = _blend(
        colour,
        torch.minimum(hair * 0.8, skin * 0.5) + skin * 0.08,
        (stubble * (0.55 + 0.9 * (strand - 0.3))).clamp(0, 1),
    )
    colour = _blend(colour, hair * (0.55 + 0.9 * strand)[:, None], (grown * (0.85 + 0.5 * strand)).clamp(0, 0.97))
    gloss = gloss * (1 - 0.8 * grown)

    # Scalp: hair shines through above the hairline.
    worn = take(who.hair_with(how), image)
    edge = hairline(torch.atan2(x, z + 0.1)[:, None], worn)[:, 0]
    ragged = 0.06 * (noise(u * 14, v * 5 + offset[:, 0]) - 0.5)
    scalp = smooth(-0.02, 0.07 + footprint, y - edge + ragged)
    colour = _blend(colour, hair * (0.5 + 0.7 * strand)[:, None], scalp * 0.93)
    gloss = gloss * (1 - 0.7 * scalp)
    return Paint(colour, gloss, soft)


def _on(
    painter: Callable[..., Paint],
    where: Tensor,
    look: Paint,
    p: Tensor,
    image: Tensor,
    who: Identity,
    how: Nuisance,
    footprint: float,
) -> None:
    """Let `painter` go over the points of `look` where a feature may be."""
    here = where.nonzero()[:, 0]
    part = painter(
        Paint(*(take(values, here) for values in look)), take(p, here), take(image, here), who, how, footprint
    )
    look.albedo[here], look.gloss[here], look.soft[here] = part


def _nose(under: Paint, p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    """Shade that the ambient light leaves out: wings of the nose, nostrils, under the nose and under the lip."""
    x, y, z = p.unbind(1)
    a = x.abs()
    wing = _spot(a, y, 0.235, -0.57, 0.022, 0.055)
    nostril = torch.exp(-0.5 * (((a - 0.085) / 0.040) ** 2 + ((y + 0.622) / 0.020) ** 2) ** 2)
    below = _spot(x, y, 0.0, -1.12, 0.16, 0.035)
    philtrum = _spot(x, y, 0.0, -0.74, 0.022, 0.05)
    shade = (1 - 0.28 * wing) * (1 - 0.80 * nostril) * (1 - 0.16 * below) * (1 - 0.10 * philtrum)
    return Paint(under.albedo * (1 + (shade - 1) * smooth(0.0, 0.4, z))[:, None], under.gloss, under.soft)


def _spot(x: Tensor, y: Tensor, cx: float, cy: float, sx: float, sy: float) -> Tensor:
    """A Gaussian spot at (cx, cy) with the standard deviations sx, sy."""
    return torch.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))


def _brows(under: Paint, p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, _ = p.unbind(1)
    a = x.abs()
    thick, arch, height, density, gap, tilt = take(who.brow, image).unbind(1)
    inner = 0.145 + 0.022 * gap
    t = (a - inner) / 0.56
    middle = (
        0.238
        + 0.018 * height
        + (0.055 + 0.022 * arch) * torch.sin(math.pi * t.clamp(0, 1) ** 0.9).clamp(min=1e-6) ** 1.2
        + (0.012 * tilt - 0.035 * t.clamp(0, 1)) * t
    )
    half = 0.040 * thick.clamp(0.4, 2) * (1 - 0.72 * t.clamp(0, 1) ** 1.5) + 0.15 * footprint
    inside = smooth(half + 0.5 * footprint + 0.012, half - 0.5 * footprint - 0.008, (y - middle).abs())
    inside = inside * smooth(-0.04, 0.07, t) * smooth(1.05, 0.85, t)
    strand = noise(a * 34 - y * 22 + take(who.texture, image)[:, 0] * _TILE, y * 12 + a * 6)
    amount = (inside * density * (0.80 + 0.35 * strand)).clamp(0, 0.96)
    colour = take(who.hair_colour, image)
    grey = colour.mean(1, keepdim=True)
    colour = torch.minimum(colour, colour * 0.16 / grey.clamp(min=0.16)) * 0.75
    return Paint(_blend(under.albedo, colour, amount), under.gloss * (1 - 0.7 * amount), under.soft)


def _eyes(under: Paint, p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, _ = p.unbind(1)
    side = torch.sign(x)
    a = x.abs()
    skin = under.albedo
    e = (a - EYE[0]) / 0.200
    round_ = (1 - e.abs().clamp(max=1) ** 2.2).clamp(min=1e-6)
    tilted = y - 0.016 * e
    upper = 0.082 * round_**0.60 + 0.006 * e * round_
    lower = -0.058 * round_**0.75
    width = 0.5 * footprint + 0.004
    opening = smooth(-width, width, torch.minimum(upper - tilted, tilted - lower)) * smooth(1.03, 0.97, e.abs())

    gaze = take(how.gaze, image)
    ix, iy = (a - EYE[0]) - side * gaze[:, 0], y - 0.012 - gaze[:, 1]
    r = (ix**2 + iy**2).sqrt()
    iris = take(who.iris, image)
    ray = 0.75 + 0.5 * noise(torch.atan2(iy, ix) * 5 + 20, r * 30)
    ring = iris * (ray * (1.25 - 0.9 * smooth(0.060, 0.092, r)) * (1.15 - 3.5 * iy))[:, None]
    pupil = smooth(0.036 + width, 0.036 - width, r)
    ring = ring * (1 - 0.97 * pupil)[:, None]
    white = torch.tensor([0.66, 0.62, 0.59], device=p.device) * (1 - 0.22 * smooth(0.55, 1.0, e.abs()))[:, None]
    ball = _blend(white, ring, smooth(0.092 + width, 0.092 - width, r))
    shaded = 0.38 + 0.62 * smooth(0.0, 0.055, upper - tilted)  # the upper lid shades the eyeball
    ball = ball * shaded[:, None]
    azimuth, elevation = (
        torch.deg2rad(take(how.azimuth, image) - take(how.yaw, image)),
        torch.deg2rad(take(how.elevation, image)),
    )
    gx, gy = x - side * EYE[0] - gaze[:, 0] - 0.045 * torch.sin(azimuth), iy - 0.032 * torch.sin(elevation) - 0.008
    glint = smooth(0.020 + footprint * 0.5, 0.008, (gx**2 + gy**2).sqrt())
    ball = _blend(ball, torch.ones_like(ball) * 1.1, 0.75 * glint)

    lash = take(who.lashes, image)
    edge = tilted - upper
    line = torch.exp(-0.5 * ((edge - 0.004) / (0.011 + 0.008 * lash + 0.25 * footprint)) ** 2) * smooth(
        1.15, 0.98, e.abs()
    )
    rim = torch.exp(-0.5 * ((tilted - lower + 0.004) / (0.009 + 0.2 * footprint)) ** 2) * smooth(1.1, 0.95, e.abs())
    crease = torch.exp(
        -0.5 * ((tilted - 0.058 - 0.096 * (1 - (e.abs() / 1.12).clamp(max=1) ** 2) ** 0.7) / 0.012) ** 2
    ) * smooth(1.15, 0.9, e.abs())
    colour = skin * (1 - 0.30 * crease)[:, None]
    colour = colour * (1 - rim * (0.22 + 0.25 * lash))[:, None]
    colour = _blend(colour, ball, opening)
    dark = torch.tensor([0.018, 0.013, 0.011], device=p.device)
    colour = _blend(colour, dark.expand_as(colour), (line * (0.62 + 0.36 * lash)).clamp(0, 0.95))
    corner = torch.exp(-0.5 * (((e + 0.97) / 0.09) ** 2 + (tilted / 0.022) ** 2))
    colour = _blend(colour, skin * torch.tensor([0.95, 0.55, 0.5], device=p.device), 0.7 * corner)
    return Paint(colour, under.gloss * (1 - 0.5 * opening), under.soft * (1 - opening))


def _lips(under: Paint, p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, _ = p.unbind(1)
    a = x.abs()
    m = (a / 0.335).clamp(max=1)
    top = MOUTH + (0.098 - 0.020 * torch.exp(-((x / 0.045) ** 2))) * (1 - m**1.5)
    low = MOUTH - 0.128 * (1 - m**2.2) ** 0.9
    width = 0.012 + 0.5 * footprint
    lips = smooth(-width, width, torch.minimum(top - y, y - low)) * smooth(1.0, 0.93, m)
    colour = take(who.lips, image)
    grain = 0.88 + 0.24 * noise(x * 45, y * 6 + 7)
    roll = 1 - 0.16 * smooth(MOUTH - 0.02, MOUTH + 0.05, y)  # the upper lip looks down, and is darker
    colour = _blend(under.albedo, colour * (grain * roll)[:, None], lips * 0.9)
    border = torch.exp(-0.5 * ((y - low + 0.012) / 0.014) ** 2) * smooth(0.7, 0.3, m)
    colour = colour * (1 - 0.14 * border)[:, None]

    # Between the lips: a line when closed, teeth and a dark mouth when open.
    strength, expression = take(how.strength, image), take(how.expression, image)
    wide = torch.zeros_like(x)
    teeth = torch.zeros_like(x)
    for name, gape, bared in (("smile", 0.8, 0.85), ("open mouth", 1.0, 0.26), ("surprise", 0.8, 0.22)):
        here = (expression == EXPRESSIONS.index(name)).to(x.dtype)
        wide, teeth = wide + here * gape * smooth(0.0, 0.35, strength), teeth + here * bared
    t = (y - MOUTH + 0.012) / 0.024
    strip = smooth(0.5 + 0.2, 0.5 - 0.05, (t - 0.5).abs()) * smooth(1.0, 0.9, m)
    cavity = torch.tensor([0.045, 0.012, 0.010], device=p.device).expand_as(colour)
    tooth = torch.tensor([0.66, 0.62, 0.54], device=p.device) * (1 - 0.75 * m**2)[:, None]
    tooth = tooth * (1 - 0.25 * smooth(0.40, 0.5, ((x / 0.062) % 1 - 0.5).abs()))[:, None]
    inside = _blend(cavity, tooth, smooth(1 - teeth - 0.06, 1 - teeth + 0.06, t) * (teeth > 0))
    closed = colour * 0.34
    inside = closed + (inside - closed) * wide[:, None]
    colour = _blend(colour, inside, strip * (0.75 + 0.25 * wide))
    seam = torch.exp(-0.5 * ((y - MOUTH) / (0.018 + 0.25 * footprint)) ** 2) * smooth(1.05, 0.9, m) * (1 - strip)
    colour = colour * (1 - 0.35 * seam)[:, None]
    return Paint(colour, under.gloss + 0.9 * lips * (1 - strip * wide), under.soft)


def _ear(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, z = p.unbind(1)
    colour = take(who.skin, image) * torch.tensor([1.0, 0.86, 0.84], device=p.device)
    inner = torch.exp(-0.5 * (((z + 0.10) / 0.075) ** 2 + ((y + 0.20) / 0.14) ** 2))
    groove = torch.exp(-0.5 * ((((z + 0.14) / 0.13) ** 2 + ((y + 0.15) / 0.25) ** 2).sqrt() - 0.85) ** 2 / 0.11**2)
    return Paint(colour * (1 - 0.45 * inner - 0.25 * groove)[:, None], torch.full_like(x, 0.4), torch.ones_like(x))


def _neck(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, z = p.unbind(1)
    shade = 0.62 + 0.38 * smooth(-1.35, -1.95, y)
    tendon = torch.exp(-0.5 * ((x.abs() - 0.36 + 0.28 * smooth(-1.2, -2.0, y)) / 0.05) ** 2) * smooth(0, 0.2, z)
    colour = take(who.skin, image) * (shade * (1 + 0.06 * tendon))[:, None]
    return Paint(colour, torch.full_like(x, 0.3), torch.ones_like(x))


def _hair(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, z = p.unbind(1)
    angle = torch.atan2(x, z + 0.1)
    curl, wave = (take(who.hair_with(how), image)[:, HAIR.index(n)] for n in ("curl", "wave"))
    bend = angle + 0.05 * wave * torch.sin(9 * y)
    strand = 0.6 * noise(bend * 26 + 30, y * 2.2 + take(who.texture, image)[:, 0] * _TILE) + 0.4 * noise(
        bend * 55 + 90, y * 5
    )
    lump = noise(x * 9 + 5, y * 9 + z * 9)
    pattern = strand + (lump - strand) * (0.75 * curl.clamp(0, 1))
    colour = take(who.hair_colour, image) * (0.42 + 1.15 * pattern)[:, None]
    return Paint(colour, 0.9 * pattern, torch.zeros_like(x))


def _cloth(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, z = p.unbind(1)
    look = take(how.cloth, image)
    colour = _muted(look[:, :3]) * (0.9 + 0.2 * noise(x * 12, y * 12))[:, None]
    neckline = -1.86 - 0.42 * look[:, 3] + 0.55 * x.abs()
    bare = smooth(-0.5 * footprint, 0.5 * footprint, y - neckline) * smooth(0.0, 0.1, z + 0.2)
    hem = torch.exp(-0.5 * ((y - neckline + 0.04) / 0.03) ** 2)
    colour = _blend(colour * (1 - 0.3 * hem)[:, None], take(who.skin, image) * 0.9, bare)
    return Paint(colour, 0.3 * bare, bare)


def _glasses(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, _ = p.unbind(1)
    look = take(how.look, image)
    a = (x.abs() - 0.43) / 0.33
    rim = smooth(0.80, 0.88, torch.maximum(a.abs(), ((y + 0.03) / 0.235).abs()) * 1.0)
    tint = torch.stack([0.012 + 0.03 * look[:, 5], 0.012 + 0.02 * look[:, 6], 0.012 + 0.03 * look[:, 7]], 1)
    lens = tint * (1 + 1.5 * smooth(-0.2, 0.2, -y))[:, None]
    frame = torch.stack([0.02 + 0.22 * look[:, 7] ** 2, 0.018 + 0.12 * look[:, 7] ** 2, 0.015 + 0.04 * look[:, 7]], 1)
    return Paint(_blend(lens, frame, rim), torch.full_like(x, 0.8), torch.zeros_like(x))


def _mask(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, _ = p.unbind(1)
    look = take(how.look, image)
    plain = torch.tensor([[0.30, 0.52, 0.66], [0.72, 0.72, 0.70], [0.03, 0.03, 0.035]], device=p.device)
    colour = plain[(look[:, 5] * 2.999).long()]
    own = _muted(0.05 + 0.6 * look[:, 5:8] ** 1.5)
    colour = _blend(colour, own, (look[:, 2] > 0.6).to(x.dtype))
    pleat = 0.5 + 0.5 * torch.cos(2 * math.pi * (y + 0.45) / 0.21)
    colour = colour * (0.82 + 0.18 * smooth(0.0, 0.5, pleat))[:, None]
    return Paint(colour, torch.zeros_like(x), torch.zeros_like(x))


def _scarf(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, z = p.unbind(1)
    look = take(how.look, image)
    angle = torch.atan2(x, z)
    colour, other = (_muted(0.03 + 0.6 * look[:, k : k + 3] ** 1.5) for k in (5, 2))
    band = smooth(-0.2, 0.2, torch.sin(angle * 9 + 6 * y)) * (look[:, 1] > 0.5)
    colour = _blend(colour, other, band)
    fold = noise(angle * 2.2 + 40, y * 9 + angle * 1.5)
    knit = noise(angle * 30 + 100, y * 30)
    return Paint(colour * (0.55 + 0.55 * fold + 0.2 * knit)[:, None], torch.zeros_like(x), torch.zeros_like(x))


def _block(p: Tensor, image: Tensor, who: Identity, how: Nuisance, footprint: float) -> Paint:
    x, y, _ = p.unbind(1)
    look = take(how.look, image)
    colour, other = (_muted(0.03 + 0.7 * look[:, k : k + 3] ** 1.5) for k in (5, 1))
    stripe = smooth(-0.15, 0.15, torch.sin(x * (3 + 9 * look[:, 4]) + 2 * y)) * (look[:, 0] > 0.4)
    return Paint(_blend(colour, other, stripe), torch.full_like(x, 0.2), torch.zeros_like(x))


def _muted(colour: Tensor) -> Tensor:
    """The colour of a wall, a street or a scarf, not of a paint box: half way to grey."""
    return torch.lerp(colour, colour.mean(1, keepdim=True), 0.5)


def background(how: Nuisance, height: int, width: int) -> Tensor:
    """Out-of-focus backgrounds, linear RGB `[M, 3, H, W]`: a gradient of two colours and four soft shapes."""
    b = how.background
    v, u = torch.meshgrid(
        (torch.arange(height, device=b.device) + 0.5) / height * 2 - 1,
        (torch.arange(width, device=b.device) + 0.5) / width * 2 - 1,
        indexing="ij",
    )

    def take(k: int) -> Tensor:
        return b[:, k, None, None]

    tilt = take(6) * 2 * math.pi
    t = smooth(-1.2, 1.2, u * tilt.cos() + v * tilt.sin())[:, None]
    first, second = (_muted(0.02 + 0.75 * b[:, k : k + 3] ** 1.8)[:, :, None, None] for k in (0, 3))
    canvas = first + (second - first) * t
    for k in range(4):
        cx, cy, size, tone = (take(7 + 4 * k + j) for j in range(4))
        cx, cy, size = cx * 2.4 - 1.2, cy * 2.4 - 1.2, 0.15 + 0.5 * size
        far = (
            torch.maximum((u - cx).abs(), (v - cy).abs() * (0.4 + take(23)))
            if k % 2
            else ((u - cx) ** 2 + (v - cy) ** 2).sqrt()
        )
        inside = smooth(size + 0.06, size - 0.06, far)[:, None]
        canvas = canvas * (1 + inside * (2.2 * tone[:, None] - 1.1)).clamp(min=0.05)
    return canvas
