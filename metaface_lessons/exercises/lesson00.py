"""The exercises of lesson 00, Start here."""

# Answers are written as learners write them:
# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..faces.faceset import FaceSet
from .core import compact, exercise, expect, fresh_arguments, pick, right_answer, wrong_answer

# ------------------------------------------------------------------------------------------------------------- chance


@exercise(
    "start.chance",
    lesson="00",
    title="What guessing is worth",
    points=1,
    equation="(0.1)",
    hints=(
        "Guessing among 2 people is right half of the time. Among 5?",
        "Every one of the `ways` people is as likely as the next: one in `ways`.",
    ),
)
def check_chance(answer: Callable[[int], float]) -> None:
    for ways in (5, 2, 20):
        expect(
            answer(ways),
            1 / ways,
            case=f"For ways = {ways}",
            slips={
                "That is percent; give the share, between 0 and 1.": 100 / ways,
                "That is how often a guess is wrong.": 1 - 1 / ways,
                "That claims to be right every time. Most guesses among `ways` names are wrong.": 1.0,
                "`//` rounds down to a whole number, and a share below 1 becomes 0. Write `1 / ways`.": 1 // ways,
                "You divided the wrong way round: one in `ways`, not `ways` in one.": float(ways),
                "That is a coin's chance. More people make guessing harder.": 0.5,
                "You leave one of the people out, but the right one is among all `ways` of them.": 1 / (ways - 1),
            },
        )


@fresh_arguments("start.chance", tolerance=1e-5)
def draw_chance(draw):
    return (pick(draw, 3, 3000),)


@right_answer("start.chance")
def _(ways):
    return 1 / ways


@right_answer("start.chance")
def _(ways):
    return torch.full((ways,), 1.0).softmax(0)[0].item()


@wrong_answer("start.chance", hint="percent")
def _(ways):
    return 100 / ways


@wrong_answer("start.chance", hint="how often a guess is wrong")
def _(ways):
    return 1 - 1 / ways


@wrong_answer("start.chance", hint="right every time")
def _(ways):
    return 1.0


@wrong_answer("start.chance", hint="rounds down")
def _(ways):
    return 1 // ways


@wrong_answer("start.chance", hint="wrong way round")
def _(ways):
    return float(ways)


@wrong_answer("start.chance", hint="a coin's chance")
def _(ways):
    return 0.5


@wrong_answer("start.chance", hint="leave one of the people out")
def _(ways):
    return 1 / (ways - 1)


# -------------------------------------------------------------------------------------------------------- standardise


@exercise(
    "start.standardise",
    lesson="00",
    title="An image without its brightness and contrast",
    points=2,
    equation="(0.2)",
    hints=(
        "`image.mean()` and `image.std(unbiased=False)` are the two numbers of equation (0.2).",
        "uint8 numbers cannot be negative: convert first, `image.float()`.",
        "`x = image.float()`, then subtract the mean of x and divide by its standard deviation.",
    ),
)
def check_standardise(answer: Callable[[Tensor], Tensor]) -> None:
    image = torch.tensor([[[10, 30], [50, 30]]], dtype=torch.uint8)
    x = image.float()
    centred = x - x.mean()
    expect(
        answer(image),
        centred / x.std(unbiased=False),
        case=f"For the image {compact(image)}",
        tolerance=1e-4,
        slips={
            "The mean is gone, but the contrast is still there: divide by the standard deviation.": centred,
            "Divide after subtracting the mean.": x / x.std(unbiased=False),
            "You divide by the variance. Its square root is the standard deviation.": centred / x.var(unbiased=False),
            "That standard deviation divides by n − 1. Equation (0.2) divides by n: unbiased=False.": centred / x.std(),
            "That scales to 0 … 1, which keeps the brightness.": (x - x.min()) / (x.max() - x.min()),
            "That standardises each row by itself. The image has one mean and one standard deviation.": (
                x - x.mean(-1, keepdim=True)
            )
            / x.std(-1, keepdim=True, unbiased=False),
        },
    )
    colour = torch.arange(12, dtype=torch.uint8).view(3, 2, 2) * 20
    x = colour.float()
    expect(
        answer(colour),
        (x - x.mean()) / x.std(unbiased=False),
        case="For a colour image [3, 2, 2]",
        tolerance=1e-4,
        slips={
            "You standardise each colour by itself, which takes away the colour of the skin. Use one mean for all.": (
                x - x.mean(dim=(1, 2), keepdim=True)
            )
            / x.std(dim=(1, 2), keepdim=True, unbiased=False)
        },
    )


@fresh_arguments("start.standardise")
def draw_standardise(draw):
    size = (3, pick(draw, 3, 5), pick(draw, 3, 5))
    return (torch.randint(256, size, generator=draw, dtype=torch.uint8),)


@right_answer("start.standardise")
def _(image):
    x = image.float()
    return (x - x.mean()) / x.std(unbiased=False)


@right_answer("start.standardise")
def _(image):
    x = image.double() / 255
    x = x - x.mean()
    return (x / x.square().mean().sqrt()).float()


@wrong_answer("start.standardise", hint="contrast is still there")
def _(image):
    x = image.float()
    return x - x.mean()


@wrong_answer("start.standardise", hint="Divide after subtracting")
def _(image):
    x = image.float()
    return x / x.std(unbiased=False)


@wrong_answer("start.standardise", hint="divide by the variance")
def _(image):
    x = image.float()
    return (x - x.mean()) / x.var(unbiased=False)


@wrong_answer("start.standardise", hint="n − 1")
def _(image):
    x = image.float()
    return (x - x.mean()) / x.std()


@wrong_answer("start.standardise", hint="keeps the brightness")
def _(image):
    x = image.float()
    return (x - x.min()) / (x.max() - x.min())


@wrong_answer("start.standardise", hint="each colour by itself")
def _(image):
    x = image.float()
    return (x - x.mean(dim=(1, 2), keepdim=True)) / x.std(dim=(1, 2), keepdim=True, unbiased=False)


# ------------------------------------------------------------------------------------------------------------- select


YAW = [-10.0, -5.0, 8.0, 15.0, 0.0, 14.0, -30.0, 20.0, 40.0, 25.0, -40.0, 35.0]
MASKED = [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1]


def _faces() -> FaceSet:
    return FaceSet(
        torch.arange(len(YAW), dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 2, 2),
        torch.arange(len(YAW)) % 5,
        conditions={"yaw": torch.tensor(YAW), "occluder": torch.tensor(MASKED)},
        levels={"occluder": ("none", "mask")},
        name="twelve small images",
        synthetic=True,
    )


@exercise(
    "start.frontal",
    lesson="00",
    title="How many look at you",
    points=1,
    equation="",
    hints=(
        "`faces.where(…)` gives a mask with one True or False per image. The sum of a mask counts the True ones.",
        'A range is a pair: `faces.where(yaw=(-15, 15))`. A word is a word: `occluder="none"`. Give both.',
        '`int(faces.where(yaw=(-15, 15), occluder="none").sum())`',
    ),
)
def check_frontal(answer: Callable[[FaceSet], int]) -> None:
    faces = _faces()
    yaw, bare = faces.conditions["yaw"], faces.conditions["occluder"] == 0
    frontal = yaw.abs() <= 15
    expect(
        answer(faces),
        4,
        case=f"For yaw {[int(y) for y in YAW]} and masks {MASKED}",
        slips={
            "That is the mask, with one True or False per image. How many are True?": frontal & bare,
            "That counts the masked ones too: nothing may cover the face.": int(frontal.sum()),
            "That counts every bare face, also those that look to the side.": int(bare.sum()),
            "−15° and 15° still count: the range includes its ends.": int(((yaw.abs() < 15) & bare).sum()),
            "That counts all images. `where` chooses; it does not change `faces`.": len(faces),
            "That is the number of people, not of images.": len(faces.identities),
            "That counts the images that are frontal or bare. Both must hold.": int((frontal | bare).sum()),
            "That counts only faces turned to one side. A negative yaw is the other side: (-15, 15).": int(
                ((yaw >= 0) & frontal & bare).sum()
            ),
        },
    )


@fresh_arguments("start.frontal")
def draw_frontal(draw):
    count = pick(draw, 60, 90)
    yaw, occluder = torch.randint(-20, 21, (count,), generator=draw), torch.randint(2, (count,), generator=draw)
    yaw[:3] = torch.tensor([-15, 15, 15])  # the ends of the range
    occluder[:3] = 0
    images = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    conditions = {"yaw": yaw.float(), "occluder": occluder}
    return (FaceSet(images, torch.arange(count), conditions, {"occluder": ("none", "mask")}),)


@right_answer("start.frontal")
def _(faces):
    return int(faces.where(yaw=(-15, 15), occluder="none").sum())


@right_answer("start.frontal")
def _(faces):
    return len(faces.select(faces.where(yaw=(-15, 15), occluder={"none"})))


@right_answer("start.frontal")
def _(faces):
    yaw, occluder = faces.conditions["yaw"], faces.conditions["occluder"]
    return ((yaw.abs() <= 15) & (occluder == faces.levels["occluder"].index("none"))).sum()


@wrong_answer("start.frontal", hint="How many are True")
def _(faces):
    return faces.where(yaw=(-15, 15), occluder="none")


@wrong_answer("start.frontal", hint="counts the masked ones")
def _(faces):
    return int(faces.where(yaw=(-15, 15)).sum())


@wrong_answer("start.frontal", hint="counts every bare face")
def _(faces):
    return int(faces.where(occluder="none").sum())


@wrong_answer("start.frontal", hint="counts all images")
def _(faces):
    faces.select(faces.where(yaw=(-15, 15), occluder="none"))
    return len(faces)


@wrong_answer("start.frontal", hint="includes its ends")
def _(faces):
    return int(((faces.conditions["yaw"].abs() < 15) & faces.where(occluder="none")).sum())


@wrong_answer("start.frontal", hint="number of people")
def _(faces):
    return len(faces.select(faces.where(yaw=(-45, 45))).identities)


@wrong_answer("start.frontal", hint="frontal or bare")
def _(faces):
    return int((faces.where(yaw=(-15, 15)) | faces.where(occluder="none")).sum())


@wrong_answer("start.frontal", hint="one side")
def _(faces):
    return int(faces.where(yaw=(1, 15), occluder="none").sum())
