"""The same heads in other domains: a sketch, near-infrared, a camera far away, a drawing of edges, a thermal picture.

A domain changes the person and the circumstances before the picture is rendered, and the scene before the camera sees
it. It draws no random numbers of its own: what varies in it (the hand of the artist, the lamp beside the camera, the
cold of the day) follows from the same `Nuisance`, which knows nothing about the person.

Near-infrared (about 850 nm): melanin and blood hardly absorb there, so skin is bright and much alike in all people,
lips, freckles and dark irises fade, dark hair turns grey, and dyes of cloth grow pale; the light is a lamp beside the
camera, which leaves the background dark (Li, Chu, Liao & Zhang 2007, "Illumination invariant face recognition using
near-infrared images"). Sketch: lines where depth, surface or tone change (a difference of Gaussians, as in
Winnemöller, Kyprianidis & Olsen 2012, "XDoG"), hatching and smudge for tone, on paper. Low resolution: a camera high on
a wall, whose sensor has 16 rows for the whole frame, enlarged. Edges: what an edge detector finds in a photo (Sobel's),
dark on white. Thermal (about 10 µm): the face shines by its own warmth, whatever light there is. The nose is cold and
the inner corners of the eyes are warm; hair and cloth keep warmth in; glass hides what is behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..blurring import blurred, gaussian
from .appearance import noise
from .geometry import MATERIALS, smooth
from .hashing import nearly_normal, uniform
from .parameters import DOMAINS, Identity, Nuisance
from .zbuffer import Buffers, take

LUMINANCE = (0.2126, 0.7152, 0.0722)


class Domain(NamedTuple):
    """How a domain differs from a photo.

    subject: the people and the circumstances → those to render in their place.
    picture: the lit scene `[M, 3, H, W]`, linear, its buffers (None for a scene without anybody) and the circumstances
        → what falls on the sensor, `[M, 3, H, W]` or `[M, 1, H, W]`.
    """

    subject: Callable[[Identity, Nuisance], tuple[Identity, Nuisance]]
    picture: Callable[[Tensor, Buffers | None, Nuisance], Tensor]


def _grey(colour: Tensor) -> Tensor:
    """`[…, 3]` → `[…, 1]`: how bright a colour is."""
    return (colour * torch.tensor(LUMINANCE, device=colour.device)).sum(-1, keepdim=True)


# ------------------------------------------------------------------------------------------------------- near-infrared


def _lamp(how: Nuisance) -> Tensor:
    """Strength of the lamp, narrowness of its cone, and its direction (two numbers): `[M, 4]`, each 0 to 1.

    The numbers also make one soft shape of the background, which is hardly seen in this domain.
    """
    return how.background[:, 20:24]


def _infrared_subject(who: Identity, how: Nuisance) -> tuple[Identity, Nuisance]:
    def bright(colour: Tensor, floor: float, share: float) -> Tensor:
        return (floor + share * colour.mean(1, keepdim=True)).expand(-1, 3)

    skin = bright(who.skin, 0.46, 0.16)
    who = replace(
        who,
        skin=skin,
        lips=skin * (0.90 + 0.05 * (who.lips.mean(1, keepdim=True) / who.skin.mean(1, keepdim=True))),
        hair_colour=bright(who.hair_colour, 0.06, 0.80),
        iris=bright(who.iris, 0.22, 0.35),
        beard=torch.cat([who.beard[:, :2], 0.3 * who.beard[:, 2:]], 1),
        age=0.85 * who.age,
        blush=torch.zeros_like(who.blush),
        freckles=0.25 * who.freckles,
        moles=who.moles * torch.tensor([1.0, 1.0, 0.8], device=who.moles.device),
    )
    how = replace(
        how,
        azimuth=0.15 * how.azimuth,  # the lamp is beside the camera, whatever other light there is
        elevation=8 + 0.15 * (how.elevation - 35),
        ambient=0.15 + 0.4 * (how.ambient - 0.2).clamp(min=0),
        light=(0.6 + 0.3 * _lamp(how)[:, :1]).expand(-1, 3),
        cloth=torch.cat([0.16 + 0.7 * how.cloth[:, :3], how.cloth[:, 3:]], 1),
        exposure=how.exposure**0.5,
        white=torch.ones_like(how.white[:, :1]),  # one channel
        noise=1 + how.noise,
    )
    return who, how


def _infrared_picture(scene: Tensor, found: Buffers | None, how: Nuisance) -> Tensor:
    """Grey; the lamp's cone falls off towards the corners, and hardly reaches the background."""
    grey = scene.mean(1, keepdim=True)
    height, width = scene.shape[2:]
    v = torch.linspace(-1, 1, height, device=scene.device)[:, None]
    u = torch.linspace(-1, 1, width, device=scene.device)[None, :]
    narrow, right, up = (_lamp(how)[:, k, None, None, None] for k in (1, 2, 3))
    away = (u - 0.3 * (right - 0.5)) ** 2 + (v + 0.3 * (up - 0.5)) ** 2
    lit = torch.exp(-(0.1 + 0.35 * narrow) * away)
    nobody = torch.ones_like(grey) if found is None else torch.isinf(found.depth)[:, None].to(grey.dtype)
    return grey * lit * (1 - 0.72 * nobody)


# -------------------------------------------------------------------------------------------------------------- sketch

_WEIGHT, _SMUDGE, _HATCH, _ANGLE, _SPACING, _DARK, _PAPER, _SKEW, _LOOSE, _TONE = range(10)  # of an artist's hand


def _hand(how: Nuisance) -> Tensor:
    """How the artist works, `[M, 10]`, each 0 to 1. A sketch has no background, so these numbers take its place."""
    return how.background[:, : _TONE + 1]


def _sketch_subject(who: Identity, how: Nuisance) -> tuple[Identity, Nuisance]:
    """The sitter as the artist sees and slightly misses them, in the light of a studio."""
    hand = _hand(how)
    error = 2 * uniform(how.seed, who.shape.shape[1]) - 1
    loose = 2 * (hand[:, _LOOSE, None] - 0.5).abs()
    exaggerated = 1 + 0.35 * hand[:, _SKEW, None]
    skin = 0.25 * who.skin + 0.75 * 0.66  # paper stands for skin, of whatever tone
    who = replace(
        who,
        shape=who.shape * exaggerated + 0.4 * loose * error,
        skin=skin,
        lips=torch.lerp(who.lips, skin, 0.2),
        hair_colour=0.8 * who.hair_colour + 0.01,
        freckles=0.3 * who.freckles,
        blush=torch.zeros_like(who.blush),
    )
    how = replace(
        how,
        azimuth=0.6 * how.azimuth,
        elevation=25 + 0.4 * how.elevation,
        ambient=0.35 + 0.5 * (how.ambient - 0.2).clamp(min=0),
        light=torch.ones_like(how.light),
        exposure=how.exposure**0.2,  # of the scanner
        white=how.white**0.5,
        noise=0.5 * how.noise,
        blur=0.6 * how.blur,
    )
    return who, how


def _soft(x: Tensor, spread: float) -> Tensor:
    """Images `[M, C, H, W]` blurred by a Gaussian whose standard deviation is `spread` pixels."""
    return blurred(x, gaussian(spread, max(1, math.ceil(2.5 * spread)), x.device))


def _steps(x: Tensor) -> Tensor:
    """The largest difference to the right and lower neighbours over the channels: `[M, C, H, W]` → `[M, 1, H, W]`."""
    down = F.pad((x[:, :, 1:] - x[:, :, :-1]).abs(), (0, 0, 0, 1))
    right = F.pad((x[:, :, :, 1:] - x[:, :, :, :-1]).abs(), (0, 1))
    return torch.maximum(down, right).amax(1, keepdim=True)


def _on_canvas(found: Buffers, values: Tensor, empty: float, height: int, width: int) -> Tensor:
    """Values of the surface samples, `[P, C]`, as pictures `[M, C, H, W]`, with `empty` where nobody is."""
    images = len(found.depth)
    canvas = values.new_full((images * height * width, values.shape[1]), empty)
    canvas[found.pixels] = values
    return canvas.view(images, height, width, -1).permute(0, 3, 1, 2)


def _outlines(found: Buffers, height: int, width: int) -> Tensor:
    """1 where the surface breaks off, changes its material or folds, else 0: `[M, 1, H, W]`."""
    depth = torch.where(torch.isfinite(found.depth), found.depth, 14.0)[:, None]
    material = _on_canvas(found, found.material[:, None].float(), -1.0, height, width)
    normal = _on_canvas(found, found.normal, 0.0, height, width)
    broken = smooth(0.16, 0.40, _steps(depth))
    border = (_steps(material) > 0).to(depth.dtype)
    fold = 0.7 * smooth(0.5, 1.0, _steps(normal) * height / 96)
    return torch.maximum(torch.maximum(broken, 0.85 * border), fold)


def _sketch_picture(scene: Tensor, found: Buffers | None, how: Nuisance) -> Tensor:
    """Pencil on paper: `[M, 3, H, W]`, linear."""
    images, _, height, width = scene.shape
    hand = _hand(how)[:, :, None, None, None]
    v, u = torch.meshgrid(
        torch.arange(height, device=scene.device) / height,
        torch.arange(width, device=scene.device) / width,
        indexing="ij",
    )
    offset = 60 * uniform(how.seed, 4)[:, :2]
    flat_u, flat_v = (c.expand(images, -1, -1).reshape(images, -1) for c in (u, v))
    shift_u, shift_v = offset[:, :1], offset[:, 1:]

    def rough(across: float, along: float) -> Tensor:
        """Noise that differs from sheet to sheet, `[M, 1, H, W]`."""
        values = noise((flat_u * across + shift_u).flatten(), (flat_v * along + shift_v).flatten())
        return values.view(images, 1, height, width)

    grain = rough(70, 70) - 0.5
    paper = 0.80 + 0.14 * hand[:, _PAPER] + 0.05 * grain
    if found is None:
        return _linear(paper).expand(-1, 3, -1, -1)

    unit = height / 96  # a pixel of the smallest picture that is usual
    nobody = torch.isinf(found.depth)[:, None]
    tone = _grey(scene.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).clamp(0, 1) ** 0.45
    tone = torch.where(nobody, 1.0, tone)

    weight = 0.5 + hand[:, _WEIGHT]  # 0.5 to 1.5
    narrow, wide = _soft(tone, 0.7 * unit), _soft(tone, 1.7 * unit)
    dark_line = smooth(0.005, 0.05, (wide - narrow) * (0.6 + 0.6 * weight))
    outline = _soft(_outlines(found, height, width), 0.45 * unit)
    outline = (outline * (0.6 + 0.8 * weight)).clamp(max=0.9) * (0.65 + 0.7 * (rough(9, 9) - 0.3)).clamp(0, 1)
    lines = torch.maximum(0.85 * dark_line, outline)

    shade = (1 - tone / 0.93).clamp(0, 1)
    shade = torch.where(nobody, 0.0, shade) * (0.7 + 0.6 * hand[:, _TONE])
    angle = math.pi * (0.15 + 0.35 * hand[:, _ANGLE])
    spacing = 0.022 + 0.014 * hand[:, _SPACING]
    strokes = torch.zeros_like(shade)
    wobble = 0.012 * rough(6, 6)
    for turn, least in ((0.0, 0.10), (1.1, 0.42)):
        across = (u * (angle + turn).cos() + v * (angle + turn).sin() + wobble) / spacing
        profile = 0.5 + 0.5 * torch.cos(2 * math.pi * across)
        cover = ((shade - least) / (1 - least)).clamp(0, 1)
        stroke = smooth(1 - 1.15 * cover**0.7, 1.25 - 1.15 * cover**0.7, profile) * (cover > 0)
        strokes = torch.maximum(strokes, stroke * (0.45 + 0.5 * cover))
    strokes = strokes * (0.35 + 0.65 * hand[:, _HATCH]) * (0.8 + 0.5 * grain)
    smudge = _soft(shade, 2.2 * unit) * (0.30 + 0.55 * hand[:, _SMUDGE])
    pencil = 1 - (1 - lines) * (1 - strokes) * (1 - smudge.clamp(0, 0.9))
    pencil = pencil * (0.72 + 0.26 * hand[:, _DARK]) * (1 + 0.25 * grain)
    return _linear(paper * (1 - pencil.clamp(0, 0.96))).expand(-1, 3, -1, -1)


def _linear(display: Tensor) -> Tensor:
    """What a camera must see so that the screen shows this."""
    return display.clamp(0, 1) ** 2.2


# ------------------------------------------------------------------------------------------------------ low resolution

_ROWS = 16  # of the sensor


def _far_subject(who: Identity, how: Nuisance) -> tuple[Identity, Nuisance]:
    """Seen from above; what the lens blurs is less than a pixel of this sensor."""
    return who, replace(how, pitch=0.6 * how.pitch - 12, noise=0.4 * how.noise, blur=0.5 * how.blur)


def _far_picture(scene: Tensor, found: Buffers | None, how: Nuisance) -> Tensor:
    """A few large pixels, each with noise of its own, enlarged smoothly as a monitor does."""
    height, width = scene.shape[2:]
    sensor = F.adaptive_avg_pool2d(scene, (_ROWS, max(1, _ROWS * width // height)))
    grain = nearly_normal(how.seed + 1, sensor[0].numel()).view_as(sensor)
    sensor = (sensor + 0.012 * how.noise[:, None, None, None] * grain).clamp(min=0)
    return F.interpolate(sensor, (height, width), mode="bilinear", align_corners=False)


# --------------------------------------------------------------------------------------------------------------- edges


def _edges_subject(who: Identity, how: Nuisance) -> tuple[Identity, Nuisance]:
    """The drawing has no exposure and no white balance, and little noise."""
    one = torch.ones_like(how.exposure)
    return who, replace(how, exposure=one, white=one[:, None], noise=0.5 * how.noise, blur=0.5 * how.blur)


def _edges_picture(scene: Tensor, found: Buffers | None, how: Nuisance) -> Tensor:
    """How much the logarithm of the brightness changes from place to place, dark on white."""
    height = scene.shape[2]
    unit = height / 96  # a pixel of the smallest picture that is usual
    tone = _soft((_grey(scene.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).clamp(min=0) + 0.03).log(), 0.9 * unit)
    sobel = tone.new_tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    around = F.conv2d(F.pad(tone, (1, 1, 1, 1), mode="replicate"), torch.stack([sobel, sobel.T])[:, None])
    slope = around.square().sum(1, keepdim=True).sqrt() * unit
    ink = smooth(0.04, 0.26, slope)
    return _linear(0.94 * (1 - 0.92 * ink))


# ------------------------------------------------------------------------------------------------------------- thermal

# How warm a surface looks that the blood does not warm itself, 0 to 1; glass and things have the warmth of the room.
_WARMTH = {"glasses": 0.10, "mask": 0.30, "scarf": 0.24, "block": 0.12}


def _thermal_subject(who: Identity, how: Nuisance) -> tuple[Identity, Nuisance]:
    """Everybody has the same warm skin, and no light falls on it: what is left of the shading is how skin emits."""
    skin = torch.full_like(who.skin, 0.62)
    who = replace(
        who,
        skin=skin,
        lips=1.04 * skin,
        hair_colour=torch.full_like(who.hair_colour, 0.20),
        iris=0.92 * skin,
        age=0.4 * who.age,
        blush=torch.zeros_like(who.blush),
        freckles=torch.zeros_like(who.freckles),
        moles=who.moles * torch.tensor([1.0, 1.0, 0.0], device=who.moles.device),
        lashes=0.3 * who.lashes,
    )
    how = replace(
        how,
        light=torch.zeros_like(how.light),
        ambient=torch.ones_like(how.ambient),
        cloth=torch.cat([(0.22 + 0.16 * how.cloth[:, :1]).expand(-1, 3), how.cloth[:, 3:]], 1),
        exposure=how.exposure**0.2,  # the camera knows its temperatures
        white=torch.ones_like(how.white[:, :1]),  # one channel
        noise=1 + how.noise,
        blur=0.3 + how.blur,
    )
    return who, how


def _thermal_picture(scene: Tensor, found: Buffers | None, how: Nuisance) -> Tensor:
    """Warm is bright. How cold the nose and the room are differs from day to day."""
    cold, warm, room = (how.background[:, k] for k in (20, 21, 22))
    images, _, height, width = scene.shape
    air = (0.05 + 0.08 * room)[:, None, None, None].expand(images, 1, height, width)
    if found is None:
        return air
    x, y, z = found.canonical.unbind(1)

    def spot(across: Tensor, at: float, up: float, size: float) -> Tensor:
        return torch.exp(-0.5 * ((across - at) ** 2 + (y - up) ** 2) / size**2) * smooth(0.0, 0.4, z)

    warmth = 1 - (0.15 + 0.35 * take(cold, found.image)) * spot(x, 0.0, -0.48, 0.17)
    warmth = warmth - 0.10 * spot(x.abs(), 0.62, -0.45, 0.22)  # cheeks
    warmth = warmth + (0.10 + 0.15 * take(warm, found.image)) * spot(x.abs(), 0.24, -0.02, 0.08)  # corners of the eyes
    values = torch.where(found.material == MATERIALS.index("skin"), warmth, 1.0)[:, None]
    grey = scene.mean(1, keepdim=True) * _on_canvas(found, values, 1.0, height, width)
    material = _on_canvas(found, found.material[:, None], -1, height, width)
    for name, value in _WARMTH.items():
        grey = torch.where(material == MATERIALS.index(name), value, grey)
    return torch.where(torch.isinf(found.depth)[:, None], air, grey)


# ------------------------------------------------------------------------------------------------------- all domains


def _unchanged(who: Identity, how: Nuisance) -> tuple[Identity, Nuisance]:
    return who, how


def _photo(scene: Tensor, found: Buffers | None, how: Nuisance) -> Tensor:
    return scene


DOMAIN: dict[str, Domain] = dict(
    zip(
        DOMAINS,
        (
            Domain(_unchanged, _photo),
            Domain(_sketch_subject, _sketch_picture),
            Domain(_infrared_subject, _infrared_picture),
            Domain(_far_subject, _far_picture),
            Domain(_edges_subject, _edges_picture),
            Domain(_thermal_subject, _thermal_picture),
        ),
        strict=True,
    )
)
