"""What a picture depends on: who is on it (`Identity`) and how it was taken (`Nuisance`), drawn independently."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from ...errors import MetaFaceError, unknown

SHAPE = (
    "face length", "head width", "skull height", "skull depth", "forehead slope", "forehead width", "jaw width",
    "jaw angle", "chin width", "chin length", "chin forward", "cheekbones", "cheek fullness", "brow ridge",
    "eye spacing", "eye size", "eye opening", "eye tilt", "eye depth", "eye height", "nose length", "nose width",
    "bridge width", "nose height", "nose hump", "nose tip up", "nose tip width", "nasion", "nose bend", "mouth width",
    "mouth height", "upper lip", "lower lip", "jaws forward", "mouth tilt", "mouth corners", "ear size", "ear flare",
    "neck width",
)  # fmt: skip
# What moves the silhouette varies half as much as the rest: the face should say who it is, not the outline.
OUTLINE = (
    "face length", "head width", "skull height", "skull depth", "ear size", "ear flare", "neck width", "jaw width",
)  # fmt: skip
HAIR = ("top", "side", "length", "fringe", "part", "curl", "wave", "recede")
BROW = ("thickness", "arch", "height", "density", "gap", "tilt")
EXPRESSIONS = ("neutral", "smile", "open mouth", "frown", "surprise")
OCCLUDERS = ("none", "sunglasses", "mask", "scarf", "block")
DOMAINS = ("photo", "sketch", "near-infrared", "low-resolution", "edges", "thermal")
NUISANCES = ("full", "clean", "pose", "light", "expression", "occluder")


@dataclass(frozen=True)
class _Rows:
    """Tensors that share their first axis, one row per head."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """Some of the heads.

        rows: an index, a mask or a slice.
        """
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device | str) -> Self:
        """The same heads on another device.

        device: such as "cpu" or "cuda".
        """
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class Identity(_Rows):
    """M people. Colours are linear RGB albedos `[M, 3]`."""

    shape: Tensor  # [M, len(SHAPE)]: coordinates in the linear model of the head; 1 is a wide step from the average
    skin: Tensor
    lips: Tensor
    hair_colour: Tensor
    iris: Tensor
    hair: Tensor  # [M, len(HAIR)]: the style that the person mostly wears
    brow: Tensor  # [M, len(BROW)]
    beard: Tensor  # [M, 3]: length of the beard, of the moustache; stubble; 0 to 1
    age: Tensor  # [M]: 0 (about 18) to 1 (about 75)
    blush: Tensor  # [M]: redness of cheeks and nose
    freckles: Tensor  # [M]: 0 to 1
    moles: Tensor  # [M, 4, 3]: canonical x and y, radius
    lashes: Tensor  # [M]: how dark the edges of the lids are
    texture: Tensor  # [M, 2]: offset into the skin noise

    def hair_with(self, nuisance: Nuisance) -> Tensor:
        """The hair style in each picture, `[M, len(HAIR)]`: between the person's own and the picture's.

        nuisance: has a row for each person.
        """
        worn = self.hair + (nuisance.hair - self.hair) * nuisance.restyle[:, None]
        recede = HAIR.index("recede")  # nobody's hairline grows back for a picture
        return torch.cat([worn[:, :recede], self.hair[:, recede : recede + 1], worn[:, recede + 1 :]], 1)


@dataclass(frozen=True)
class Nuisance(_Rows):
    """How M pictures were taken. Angles in degrees; colours are linear RGB `[M, 3]`.

    Positive yaw: the nose points to the right of the image; positive pitch: it points up. The light comes from
    `azimuth` (positive: from the right of the image) and `elevation` (positive: from above).
    """

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    azimuth: Tensor
    elevation: Tensor
    ambient: Tensor  # [M]: share of the light that comes from all around, 0 to 1
    light: Tensor  # [M, 3]: colour of the directed light
    expression: Tensor  # int64 [M], into EXPRESSIONS
    strength: Tensor  # [M], of the expression, 0 to 1
    occluder: Tensor  # int64 [M], into OCCLUDERS
    look: Tensor  # [M, 8]: place, turn, size and colour of the occluder, each 0 to 1
    hair: Tensor  # [M, len(HAIR)]: today's hair style
    restyle: Tensor  # [M]: 0 for the person's own style, 1 for today's
    cloth: Tensor  # [M, 4]: colour; depth of the neckline
    background: Tensor  # [M, 24]: see `appearance.background`
    gaze: Tensor  # [M, 2]: canonical offset of the irises
    scale: Tensor  # [M]: 1 fills the frame as usual
    shift: Tensor  # [M, 2]: right and up, in half heads
    exposure: Tensor  # [M]: factor on the light
    white: Tensor  # [M, 3]: white balance
    noise: Tensor  # [M]: size of the camera noise, in grey levels of 255; its standard deviation is 0.71 of this
    blur: Tensor  # [M]: standard deviation of the blur, in 64ths of the image height
    seed: Tensor  # int64 [M], of the camera noise


# Archetypes of hair: top, side, length, fringe, part, curl, wave, recede.
_SHORT = [
    [0.10, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.26, 0.06, 0.0, 0.0, 0.6, 0.1, 0.4, 0.0],
    [0.20, 0.10, 0.0, 0.35, -0.6, 0.3, 0.5, 0.0],
    [0.24, 0.15, 0.0, 0.0, 0.0, 1.0, 0.2, 0.0],
    [0.03, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3],
]
_LONG = [
    [0.16, 0.14, 1.6, 0.0, 0.5, 0.0, 0.2, 0.0],
    [0.20, 0.22, 1.5, 0.0, -0.6, 0.2, 1.0, 0.0],
    [0.18, 0.18, 0.95, 0.9, 0.0, 0.0, 0.1, 0.0],
    [0.10, 0.06, 0.0, 0.0, 0.3, 0.0, 0.2, 0.0],
    [0.30, 0.30, 0.9, 0.1, 0.0, 1.0, 0.6, 0.0],
]
_IRISES = [
    [0.09, 0.045, 0.02],
    [0.14, 0.075, 0.03],
    [0.16, 0.15, 0.06],
    [0.12, 0.20, 0.13],
    [0.13, 0.24, 0.40],
    [0.25, 0.30, 0.33],
]
_HAIRS = [
    [0.012, 0.010, 0.009],
    [0.03, 0.018, 0.012],
    [0.075, 0.04, 0.02],
    [0.17, 0.09, 0.04],
    [0.42, 0.28, 0.13],
    [0.26, 0.075, 0.025],
]
# Linear albedos from light to dark.
_SKINS = [
    [0.80, 0.55, 0.44],
    [0.72, 0.46, 0.34],
    [0.60, 0.36, 0.24],
    [0.44, 0.25, 0.15],
    [0.27, 0.145, 0.085],
    [0.15, 0.078, 0.048],
]


def sample_identities(people: int, seed: int = 0) -> Identity:
    """Draw people from the population: men and women of all ages and skin tones.

    people: how many.
    seed: another seed draws others.

    Raises `MetaFaceError` for fewer than one.
    """
    if people < 1:
        raise MetaFaceError(f"people must be at least 1, but is {people}.")
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(people, *shape, generator=draw)

    def normal(*shape: int) -> Tensor:
        return torch.randn(people, *shape, generator=draw).clamp(-2, 2)

    def choose(table: list[list[float]], weights: Tensor) -> Tensor:
        return torch.tensor(table)[torch.multinomial(weights, 1, generator=draw)[:, 0]]

    man = (uniform() < 0.5).float()
    age = uniform() ** 1.3
    shape = 0.75 * normal(len(SHAPE))
    mean_of_men = {
        "jaw width": 0.6, "jaw angle": 0.7, "chin width": 0.6, "chin length": 0.4, "brow ridge": 0.9,
        "nose length": 0.3, "nose width": 0.3,
        "nose height": 0.3, "nasion": 0.4, "eye opening": -0.4, "eye size": -0.3, "eye depth": 0.5,
        "face length": 0.35, "upper lip": -0.4, "lower lip": -0.4, "neck width": 0.9, "forehead slope": 0.5,
        "cheek fullness": -0.2, "head width": 0.2, "cheekbones": -0.1,
    }  # fmt: skip
    for name, mean in mean_of_men.items():
        shape[:, SHAPE.index(name)] += mean * (2 * man - 1)
    for name, change in {
        "ear size": 0.8,
        "nose length": 0.4,
        "upper lip": -0.6,
        "lower lip": -0.4,
        "eye opening": -0.4,
    }.items():
        shape[:, SHAPE.index(name)] += change * (age - 0.4)
    shape[:, [SHAPE.index(name) for name in OUTLINE]] *= 0.5

    tone = uniform() * (len(_SKINS) - 1)
    table = torch.tensor(_SKINS)
    low = tone.long().clamp(max=len(_SKINS) - 2)
    skin = torch.lerp(table[low], table[low + 1], (tone - low)[:, None])
    skin = skin * torch.exp(0.05 * normal(3)) * torch.exp(0.06 * normal(1))
    dark = (tone / (len(_SKINS) - 1))[:, None]

    hair_weights = (
        torch.tensor([0.05, 0.2, 0.25, 0.2, 0.2, 0.10]) * (1 - dark) + torch.tensor([0.7, 0.28, 0.02, 0, 0, 0]) * dark
    )
    colour = choose(_HAIRS, hair_weights) * torch.exp(0.25 * normal(1))
    grey = ((age - 0.55 - 0.25 * (1 - man)) * 2.5 + 0.3 * normal()).clamp(0, 0.95)[:, None]
    colour = torch.lerp(colour, torch.tensor([0.42, 0.41, 0.39]).expand(people, 3), grey)
    iris_weights = (
        torch.tensor([0.15, 0.2, 0.15, 0.15, 0.22, 0.13]) * (1 - dark) ** 2
        + torch.tensor([0.8, 0.2, 0, 0, 0, 0]) * dark
    )
    iris = choose(_IRISES, iris_weights) * torch.exp(0.15 * normal(1))
    lips = skin * torch.tensor([0.86, 0.55, 0.58]) * torch.exp(0.10 * normal(3))
    painted = ((uniform() < 0.35).float() * (1 - man))[:, None]
    rouge = torch.lerp(torch.tensor([0.42, 0.05, 0.07]), torch.tensor([0.45, 0.16, 0.15]), uniform(1))
    lips = torch.lerp(lips, rouge, 0.7 * painted)

    styles = torch.where(
        man[:, None] > 0, choose(_SHORT, torch.ones(people, len(_SHORT))), choose(_LONG, torch.ones(people, len(_LONG)))
    )
    styles = styles * torch.exp(0.15 * normal(len(HAIR)))
    recede = man * ((age - 0.2) * 1.3 * uniform()).clamp(0, 1)
    styles[:, HAIR.index("recede")] = torch.maximum(styles[:, HAIR.index("recede")], recede)

    brow = torch.stack(
        [
            1 + 0.28 * normal() + 0.28 * (2 * man - 1),
            1 + 0.5 * normal() - 0.35 * (2 * man - 1),
            0.4 * normal() - 0.4 * man,
            (0.8 + 0.2 * normal() + 0.1 * man).clamp(0.35, 1),
            normal(),
            normal(),
        ],
        1,
    )
    bearded = man * (uniform() < 0.38)
    lip_hair = man * torch.maximum(bearded * (uniform() < 0.85), (uniform() < 0.10).float())
    beard = torch.stack([bearded * (0.25 + 0.75 * uniform()), lip_hair, man * uniform() ** 1.5], 1)
    moles = torch.stack([1.5 * (uniform(4) - 0.5), 0.45 - 1.65 * uniform(4), 0.010 + 0.020 * uniform(4)], 2)
    moles[:, :, 2] *= (uniform(4) < 0.35).float()
    return Identity(
        shape=shape,
        skin=skin,
        lips=lips,
        hair_colour=colour,
        iris=iris,
        hair=styles,
        brow=brow,
        beard=beard,
        age=age,
        blush=(0.5 + 0.3 * normal()).clamp(0, 1),
        freckles=((uniform() < 0.25).float() * uniform() * (1 - dark[:, 0])).clamp(0, 1),
        moles=moles,
        lashes=(0.45 - 0.25 * man + 0.2 * uniform() + 0.3 * painted[:, 0]).clamp(0, 1),
        texture=uniform(2),
    )


def sample_nuisance(pictures: int, seed: int = 0, kind: str = "full") -> Nuisance:
    """Draw how pictures are taken, independently of who is on them.

    pictures: how many.
    seed: another seed draws others.
    kind: "clean" (frontal, fixed light, neutral, nothing occluded, plain background); "pose", "light", "expression" or
        "occluder" (clean but for this one); or "full": all of them, and backgrounds, framing, camera and hair style.

    Raises `MetaFaceError` for fewer than one picture, or an unknown kind.
    """
    if pictures < 1:
        raise MetaFaceError(f"pictures must be at least 1, but is {pictures}.")
    if kind not in NUISANCES:
        raise unknown("nuisance", kind, NUISANCES)
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(pictures, *shape, generator=draw)

    def normal(*shape: int) -> Tensor:
        return torch.randn(pictures, *shape, generator=draw).clamp(-2.5, 2.5)

    def when(active: str, values: Tensor, otherwise: Tensor | float) -> Tensor:
        """`values` under full nuisance and under the kind `active`, else the clean value."""
        if kind in ("full", active):
            return values
        return torch.as_tensor(otherwise, dtype=values.dtype).expand_as(values).clone()

    worn = torch.where(uniform() < 0.3, 1 + torch.randint(len(OCCLUDERS) - 1, (pictures,), generator=draw), 0)
    warmth = normal(1)
    white = torch.exp(0.09 * warmth * torch.tensor([1.0, 0.0, -1.0]) + 0.03 * normal(3))
    table = torch.tensor(_SHORT + _LONG)
    styles = table[torch.randint(len(table), (pictures,), generator=draw)] * torch.exp(0.15 * normal(len(HAIR)))
    elevation = torch.rad2deg(torch.asin(uniform(low=-0.35, high=0.95)))
    plain_light = torch.tensor([1.0, 0.97, 0.93])
    return Nuisance(
        yaw=when("pose", uniform(low=-45, high=45), 0.0),
        pitch=when("pose", uniform(low=-15, high=15), 0.0),
        roll=when("pose", 5 * normal(), 0.0),
        azimuth=when("light", uniform(low=-85, high=85), 25.0),
        elevation=when("light", elevation, 35.0),
        ambient=when("light", uniform(low=0.20, high=0.50), 0.42),
        light=when("light", plain_light * torch.exp(0.06 * normal(3)), plain_light),
        expression=when("expression", torch.randint(len(EXPRESSIONS), (pictures,), generator=draw), 0),
        strength=when("expression", uniform(low=0.5, high=1.0), 0.0),
        occluder=when("occluder", worn, 0),
        look=uniform(8),
        hair=styles,
        restyle=when("full", (uniform() < 0.75).float(), 0.0),
        cloth=when(
            "full", torch.cat([uniform(3) ** 1.5 * 0.7 + 0.02, uniform(1)], 1), torch.tensor([0.07, 0.09, 0.13, 0.5])
        ),
        background=when("full", uniform(24), 0.5),
        gaze=when("full", normal(2) * torch.tensor([0.025, 0.008]), 0.0),
        scale=when("full", torch.exp(0.10 * normal()), 1.0),
        shift=when("full", normal(2) * torch.tensor([0.07, 0.06]), 0.0),
        exposure=when("full", torch.exp(0.32 * normal()), 1.0),
        white=when("full", white, 1.0),
        noise=when("full", uniform(low=1.0, high=5.0), 1.0),
        blur=when("full", uniform(low=0.0, high=0.55), 0.0),
        seed=torch.randint(2**40, (pictures,), generator=draw),
    )
