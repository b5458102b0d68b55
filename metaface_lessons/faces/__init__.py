"""Faces: what they are (`FaceSet`), and where to get them (`load_faces`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import MetaFaceError, unknown
from .faceset import FaceSet, Split
from .laboratory import cmu_faces, cufs, extended_yale_b
from .mapped import mapped_faces
from .pairs import lfw_without
from .procedural import DOMAINS, procedural_domains, procedural_faces
from .real import folder, lfw, olivetti

__all__ = ["FACES", "FOLDERS", "FaceSet", "Split", "load_faces"]

FACES: dict[str, Callable[..., FaceSet]] = {
    "procedural": procedural_faces,
    **{f"procedural-{domain}": partial(procedural_faces, domain=domain) for domain in DOMAINS[1:]},
    "procedural-domains": procedural_domains,
    "olivetti": olivetti,
    "lfw": lfw,
}
FOLDERS: dict[str, Callable[..., FaceSet]] = {  # sets at a place of the learner, which is named after a colon
    "folder": folder,
    "extended-yale-b": extended_yale_b,
    "cmu": cmu_faces,
    "cufs": cufs,
    "mapped": mapped_faces,  # a file, not a folder
}
CHOICES = [*FACES, "procedural:seed=N", "lfw-without:PART", *(f"{kind}:PATH" for kind in FOLDERS)]


def load_faces(name: str, **options: Any) -> FaceSet:
    """The face set of this name.

    name: one of `FACES`, such as "procedural"; one of `FOLDERS` with a path, such as "folder:PATH"; or one of:
        "procedural:seed=3", likewise for the other procedural sets: people drawn from that seed, where "procedural" has
        those of seed 0, so that an experiment can take new people for each of its seeds;
        "lfw-without:view1" or "lfw-without:fold3", which leave out the people of one test of LFW's protocol
        (see `lfw_without`).
    options: those of the loader, such as `size=48`.

    Raises `MetaFaceError` if there is no such set, or if it cannot be loaded.
    """
    if not isinstance(name, str):
        raise MetaFaceError(
            f"A face set is loaded by its name, a text, but this is of the type {type(name).__name__}. Examples:"
            ' load_faces("procedural"), load_faces("folder:photos").'
        )
    kind, colon, path = name.partition(":")
    if colon and kind in FOLDERS:
        if not path:
            what, example = ("file", "many.faces") if kind == "mapped" else ("folder", "photos")
            raise MetaFaceError(f"'{name}' needs the path of a {what} after it, such as {name}~/{example}.")
        return FOLDERS[kind](path, **options)
    if colon and kind.startswith("procedural") and kind in FACES:
        seed = path.removeprefix("seed=")
        if seed == path or not re.fullmatch("[0-9]{1,6}", seed):
            raise MetaFaceError(f"'{name}' should end in a seed from 0 to 999999, such as {kind}:seed=3.")
        return FACES[kind](seed=int(seed), **options)
    if colon and kind == "lfw-without":
        return lfw_without(path)
    if name not in FACES:
        raise unknown("face set", name, CHOICES)
    return FACES[name](**options)
