"""Faces: what they are (`FaceSet`), and where to get them (`load_faces`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import MetaFaceError, unknown
from .faceset import FaceSet, Split
from .procedural import DOMAINS, procedural_domains, procedural_faces
from .real import folder, lfw, olivetti

__all__ = ["FACES", "FaceSet", "Split", "load_faces"]

FACES: dict[str, Callable[..., FaceSet]] = {
    "procedural": procedural_faces,
    **{f"procedural-{domain}": partial(procedural_faces, domain=domain) for domain in DOMAINS[1:]},
    "procedural-domains": procedural_domains,
    "olivetti": olivetti,
    "lfw": lfw,
}


def load_faces(name: str, **options: Any) -> FaceSet:
    """The face set called `name`: "procedural", "procedural-sketch", "procedural-near-infrared", "procedural-domains" (all
    three), "olivetti", "lfw" or "folder:PATH", with its loader's `options`.

    Raises `MetaFaceError` if there is no such set, or it cannot be loaded.
    """
    if name.startswith("folder:"):
        if not name.removeprefix("folder:"):
            raise MetaFaceError("'folder:' needs the path of a folder after it, such as folder:~/photos.")
        return folder(name.removeprefix("folder:"), **options)
    if name not in FACES:
        raise unknown("face set", name, [*FACES, "folder:PATH"])
    return FACES[name](**options)
