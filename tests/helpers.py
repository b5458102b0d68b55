"""Small inputs that tests share."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from metaface_lessons.faces.faceset import FaceSet


def random_faces(people: int = 8, each: int = 6, size: int = 16, channels: int = 1, seed: int = 0) -> FaceSet:
    """Faces of noise with two conditions. A person's images differ, but share a pattern that can be learned.

    people: how many. 8.
    each: images of each person. 6.
    size: of an image, in pixels. 16.
    channels: 1 (grey) or 3. 1.
    seed: of the noise. 0.
    """
    generator = torch.Generator().manual_seed(seed)
    person = torch.arange(people).repeat_interleave(each)
    pattern = interpolate(torch.rand((people, channels, 4, 4), generator=generator), size=(size, size))
    noise = torch.rand((people * each, channels, size, size), generator=generator)
    return FaceSet(
        images=(255 * (0.4 * pattern[person] + 0.6 * noise)).byte(),
        identity=person,
        conditions={
            "yaw": torch.rand(people * each, generator=generator) * 90 - 45,
            "occluder": torch.arange(people * each) % 2,
        },
        levels={"occluder": ("none", "mask")},
        name="noise",
        synthetic=True,
    )
