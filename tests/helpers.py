"""Small inputs that tests share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from metaface_lessons import cli
from metaface_lessons.augmentation import Augment
from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.faces.faceset import FaceSet
from metaface_lessons.faces.procedural import sample_identities, sample_nuisance
from metaface_lessons.faces.procedural.geometry import Mesh, Template, mesh, on_device
from metaface_lessons.faces.procedural.parameters import DOMAINS, Nuisance
from metaface_lessons.faces.procedural.rendering import buffers
from metaface_lessons.faces.procedural.zbuffer import Buffers
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from metaface_lessons.training import Trained, meta_train


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


def lit_faces(people: int = 20, size: int = 32) -> FaceSet:
    """Each person with a pattern of their own, four times: in even light, and in three that fall off to one side."""
    faces = random_faces(people, 4, size)
    number = torch.arange(len(faces)) % 4
    fall = torch.tensor([0.0, -2.0, 2.0, -1.5])[number]
    light = (fall[:, None] * torch.linspace(-1, 1, size)).exp()[:, None, None, :]
    light = light / light.amax(dim=3, keepdim=True)
    return replace(faces, images=(faces.images * light).round().byte(), conditions={"fall": fall}, levels={})


def domain_faces(people: int = 8, each: int = 5, size: int = 6) -> FaceSet:
    """The same people in every domain: pixel 0 shows the domain, pixel 1 the person; the rest is noise."""
    draw = torch.Generator().manual_seed(0)
    person = torch.arange(people).repeat_interleave(each).repeat(len(DOMAINS))
    domain = torch.arange(len(DOMAINS)).repeat_interleave(people * each)
    images = torch.randint(0, 256, (len(person), 1, size, size), generator=draw, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = domain.byte(), person.byte()
    return FaceSet(images, person, {"domain": domain}, {"domain": DOMAINS}, name="domains", synthetic=True)


def conditioned_faces(people: int = 10) -> FaceSet:
    """Five images of each person under every combination of two yaws, two lights and two occluders."""
    combination = torch.arange(40).repeat(people)
    return replace(
        random_faces(people=people, each=40),
        conditions={
            "yaw": (combination % 2) * 30.0,
            "light_azimuth": (combination // 2 % 2) * 60.0,
            "occluder": combination // 4 % 2,
        },
    )


def unlike_faces(people: int = 24, each: int = 8) -> FaceSet:
    """Images with nothing in common: a learner recognises only people that it has seen before."""
    images = torch.randint(256, (people * each, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    return FaceSet(images.byte(), torch.arange(people).repeat_interleave(each), name="noise")


def write_pictures(faces: FaceSet, folder: Path) -> None:
    """Write each picture `[3, H, W]` to a file in a folder of its person."""
    for m, (image, person) in enumerate(zip(faces.images, faces.identity, strict=True)):
        file = folder / f"person{int(person):02d}" / f"{m}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(file)


# ----------------------------------------------------------------------------------------------------- procedural faces


def pictures(count: int = 1, kind: str = "clean", seed: int = 0, **conditions: float) -> Nuisance:
    """Nuisance of `count` procedural pictures, with some conditions set to one value."""
    how = sample_nuisance(count, seed, kind)
    return replace(how, **{name: torch.full_like(getattr(how, name), value) for name, value in conditions.items()})


def look(how: Nuisance, size: int = 96) -> tuple[Buffers, Mesh, Template]:
    """The geometry buffers of procedural pictures, the meshes and the template."""
    model = on_device(1.0, torch.device("cpu"))
    heads = mesh(sample_identities(len(how), 0), how, model)
    return buffers(heads, model, how, size, size), heads, model


# ----------------------------------------------------------------------------------------------------------- a training


SPLIT = random_faces(people=30, each=6).split(seed=1)


def small_protonet(seed: int = 0) -> ProtoNet:
    """A prototypical network of 8 filters, for grey images of 16 pixels."""
    return ProtoNet(Conv4(1, 16, 8, seed=seed), augment=Augment(seed=seed))


def train_briefly(**options: Any) -> Trained:
    """Train on the base people of `SPLIT`, and validate; `net` is the network, a `small_protonet` if not given."""
    sampler = EpisodeSampler(SPLIT.base, ways=5, shots=1, queries=3, seed=2)
    validation = EpisodeSampler(SPLIT.validation, ways=3, shots=1, queries=3, seed=3)
    given = {"validation": validation, "validate_every": 5, "validation_episodes": 20, "progress": False}
    return meta_train(options.pop("net", None) or small_protonet(), sampler, **given | options)


# ------------------------------------------------------------------------------------------------------- by the command


def train_run(photos: Path, out: Path, *more: str) -> int:
    """Train a small prototypical network on a folder of photos; `more` are more words of the command."""
    small = ("--ways", "5", "--queries", "2", "--width", "8", "--quiet")
    return cli.main(["train", "protonet", "--faces", f"folder:{photos}", *small, "--out", str(out), *more])


def printed(capsys: pytest.CaptureFixture[str]) -> dict:
    """What the command has printed, as JSON."""
    return json.loads(capsys.readouterr().out)


# -------------------------------------------------------------------------------------------------------------- results


def shape(value: Any) -> Any:
    """The keys and kinds of a result, without its numbers: two results of one schema have the same."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value)


# ---------------------------------------------------------------------------------------------------------- an exercise


def row_means(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=1)
