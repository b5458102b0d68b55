"""Procedural faces: a 3-D head from identity parameters, rendered under nuisance. No real person, always offline.

`parameters` says who and how, `geometry` makes the posed mesh, `zbuffer` finds what camera and light see,
`appearance` paints, `rendering` lights and photographs, `domains` shows the same heads as a sketch, in near-infrared
and so on, `hashing` makes noise that follows from a seed, `cache` keeps the rendered default sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...bars import Bar
from ...errors import MetaFaceError, unknown
from ...paths import cache_dir
from .. import blurring
from ..faceset import FaceSet
from . import cache as disk
from .parameters import (
    DOMAINS,
    EXPRESSIONS,
    NUISANCES,
    OCCLUDERS,
    Identity,
    Nuisance,
    sample_identities,
    sample_nuisance,
)
from .rendering import render, render_with_mask

__all__ = [
    "DOMAINS",
    "EXPRESSIONS",
    "NUISANCES",
    "OCCLUDERS",
    "Identity",
    "Nuisance",
    "cache_file",
    "load_cached",
    "nuisance_seed",
    "procedural_domains",
    "procedural_faces",
    "render",
    "render_face",
    "render_with_mask",
    "sample_identities",
    "sample_nuisance",
    "version",
    "with_block",
]

_DEFAULT_PEOPLE = 300
_DEFAULT = {"identities": _DEFAULT_PEOPLE, "images": 20, "size": 64, "seed": 0, "nuisance": "full"}
_CHUNK = 128
_LEVELS = {"expression": EXPRESSIONS, "occluder": OCCLUDERS, "domain": DOMAINS}
_NUISANCE_SEED = 1_000_003  # separates the draws of who from those of how
_DOMAIN_SEED = 7_000_003  # and the draws of how in one domain from those in the next


def procedural_faces(
    identities: int = 300,
    images: int = 20,
    size: int = 64,
    seed: int = 0,
    nuisance: str = "full",
    cache: bool = True,
    progress: bool = True,
    device: torch.device | str = "cpu",
    domain: str = "photo",
) -> FaceSet:
    """Render faces of people who do not exist: uint8 RGB `[identities · images, 3, size, size]`.

    Conditions: yaw, pitch, light_azimuth, light_elevation (degrees), expression, occluder, domain.

    identities: the number of people.
    images: the number of pictures of each.
    size: height and width in pixels.
    seed: each seed has people of its own. Those of seeds other than 0 are named after it ("seed 3, person 17").
    nuisance: "full", "clean", or the one nuisance that varies: "pose", "light", "expression", "occluder".
    cache: keep the default set (300 people × 20 images, 64×64, full nuisance; 74 MB a seed) in the user's cache folder
        (`METAFACE_CACHE` moves it). It is checked when it is read, and rendered again if it is damaged.
    progress: show a bar.
    device: where to render. The images come back to the CPU.
    domain: one of `DOMAINS`. The same seed makes the same people in each, under other nuisance.

    Raises `MetaFaceError` for fewer than two people, no images, a size below 16, or an unknown nuisance or domain.
    """
    if identities < 2:
        raise MetaFaceError(f"A face set needs at least two identities, but {identities} were asked for.")
    if images < 1:
        raise MetaFaceError(f"images (per identity) must be at least 1, but is {images}.")
    if size < 16:
        raise MetaFaceError(f"size must be at least 16 pixels, for a face to be seen, but is {size}.")
    if nuisance not in NUISANCES:
        raise unknown("nuisance", nuisance, NUISANCES)
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    settings = {"identities": identities, "images": images, "size": size, "seed": seed, "nuisance": nuisance}
    cache = cache and settings | {"seed": 0} == _DEFAULT
    if cache and (kept := load_cached(domain, seed)) is not None:
        return kept

    who = torch.arange(identities).repeat_interleave(images)
    people = sample_identities(identities, seed)
    how = sample_nuisance(len(who), nuisance_seed(seed, domain), nuisance)
    pictures = []
    label = "Rendering faces" if domain == "photo" else f"Rendering faces ({domain})"
    with Bar(label=label, unit="image", total=len(who), shown=progress) as bar:
        for start in range(0, len(who), _CHUNK):
            rows = slice(start, start + _CHUNK)
            pictures.append(render(people[who[rows]], how[rows], size, device, domain).cpu())
            bar.update(len(pictures[-1]))
    arrays = {"images": torch.cat(pictures), "identity": who, **_conditions(how, domain)}
    if cache:
        disk.save(cache_file(domain, seed), arrays, _recipe(domain, seed))
    return _face_set(arrays, nuisance, domain, seed)


def procedural_domains(domains: Sequence[str] = DOMAINS[:3], **options: Any) -> FaceSet:
    """The same people in several domains, as one set; `faces.where(domain="sketch")` finds the sketches.

    domains: two or more of `DOMAINS`, or one; by default photos, sketches and near-infrared pictures.
    options: see `procedural_faces`.

    Raises `MetaFaceError` for an unknown or repeated domain, or none.
    """
    if not domains or len(set(domains)) < len(domains):
        raise MetaFaceError(f"domains must name at least one domain, and each once, but are {list(domains)}.")
    parts = [procedural_faces(domain=domain, **options) for domain in domains]
    return replace(
        parts[0],
        images=torch.cat([part.images for part in parts]),
        identity=torch.cat([part.identity for part in parts]),
        conditions={key: torch.cat([part.conditions[key] for part in parts]) for key in parts[0].conditions},
        name=f"procedural ({', '.join(domains)})",
    )


def with_block(how: Nuisance, size: float) -> Nuisance:
    """The same circumstances with the block before the middle of the face.

    how: the circumstances, whose occluder is the block.
    size: of the block, 0 to 1.

    Raises `MetaFaceError` for another size.
    """
    if not 0 <= size <= 1:
        raise MetaFaceError(f"The size of the occluder must lie in 0 to 1, but is {size}.")
    look = how.look.clone()
    look[:, :5] = torch.tensor([0.5, 0.5, 0.0, size, size])
    return replace(how, look=look)


def nuisance_seed(seed: int, domain: str = "photo") -> int:
    """The seed by which `procedural_faces` draws how the pictures are taken (`sample_nuisance`).

    seed: the one given to `procedural_faces`.
    domain: one of `DOMAINS`.
    """
    return seed + _NUISANCE_SEED + _DOMAIN_SEED * DOMAINS.index(domain)


def cache_file(domain: str = "photo", seed: int = 0) -> Path:
    """The file that keeps the rendered default set.

    domain: one of `DOMAINS`.
    seed: of the people.
    """
    return cache_dir() / f"procedural-{'faces' if domain == 'photo' else domain}{f'-seed-{seed}' if seed else ''}.bin"


def load_cached(domain: str = "photo", seed: int = 0) -> FaceSet | None:
    """The default set as `cache_file` keeps it; None if it is not there. A damaged file also gives a warning.

    domain: one of `DOMAINS`.
    seed: of the people.
    """
    kept = disk.load(cache_file(domain, seed), _recipe(domain, seed))
    return None if kept is None else _face_set(kept, "full", domain, seed)


def _recipe(domain: str, seed: int) -> dict[str, object]:
    return _DEFAULT | {"seed": seed, "domain": domain, "version": version()}


def version() -> str:
    """A fingerprint of the code that makes the pictures. Any change of the code makes older caches invalid."""
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(blurring.__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def _conditions(how: Nuisance, domain: str) -> dict[str, Tensor]:
    return {
        "yaw": how.yaw,
        "pitch": how.pitch,
        "light_azimuth": how.azimuth,
        "light_elevation": how.elevation,
        "expression": how.expression,
        "occluder": how.occluder,
        "domain": torch.full_like(how.occluder, DOMAINS.index(domain)),
    }


def _face_set(arrays: dict[str, Tensor], nuisance: str, domain: str, seed: int) -> FaceSet:
    conditions = {name: values for name, values in arrays.items() if name not in ("images", "identity")}
    usual = {"full", "photo", "seed 0"}
    special = [word for word in (nuisance, domain, f"seed {seed}") if word not in usual]
    name = f"procedural ({', '.join(special)})" if special else "procedural"
    people = range(int(arrays["identity"].max()) + 1) if seed else ()
    names = tuple(f"seed {seed}, person {person}" for person in people)
    return FaceSet(arrays["images"], arrays["identity"], conditions, _LEVELS, names, name, synthetic=True)


def render_face(
    person: int = 0,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    light_azimuth: float = 25.0,
    light_elevation: float = 35.0,
    expression: str = "neutral",
    strength: float = 1.0,
    occluder: str = "none",
    occluder_size: float | None = None,
    size: int = 128,
    seed: int = 0,
    domain: str = "photo",
) -> Tensor:
    """One picture with explicit conditions, as a slider needs it: uint8 `[3, size, size]`.

    person: 0 to 299, one of the people of `procedural_faces(seed=seed)`.
    yaw: of the head, in degrees; positive: the nose points to the right of the image.
    pitch: of the head, in degrees; positive: the nose points up.
    light_azimuth: direction of the light, in degrees; positive: from the right of the image.
    light_elevation: in degrees; positive: from above.
    expression: one of `EXPRESSIONS`.
    strength: of the expression, 0 to 1.
    occluder: one of `OCCLUDERS`.
    occluder_size: of the block, 0 to 1, which is then upright before the middle of the face; None: by chance.
    size: height and width in pixels.
    seed: of the people.
    domain: one of `DOMAINS`.

    Raises `MetaFaceError` for a person or an occluder size out of its range, an unknown word, or a size below 16.
    """
    people = sample_identities(_DEFAULT_PEOPLE, seed)
    if not 0 <= person < len(people):
        raise MetaFaceError(f"person must be 0 to {len(people) - 1}, but is {person}.")
    if expression not in EXPRESSIONS:
        raise unknown("expression", expression, EXPRESSIONS)
    if occluder not in OCCLUDERS:
        raise unknown("occluder", occluder, OCCLUDERS)
    how = sample_nuisance(1, seed + person, "clean")
    if occluder_size is not None:
        how = with_block(how, occluder_size)
    how = replace(
        how,
        yaw=torch.tensor([float(yaw)]),
        pitch=torch.tensor([float(pitch)]),
        azimuth=torch.tensor([float(light_azimuth)]),
        elevation=torch.tensor([float(light_elevation)]),
        expression=torch.tensor([EXPRESSIONS.index(expression)]),
        strength=torch.tensor([float(strength)]),
        occluder=torch.tensor([OCCLUDERS.index(occluder)]),
    )
    return render(people[person : person + 1], how, size, domain=domain)[0]
