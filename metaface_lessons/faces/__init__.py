"""Faces: what they are (`FaceSet`), and where to get them (`load_faces`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import MetaFaceError, unknown
from .faceset import FaceSet, Split
from .pairs import lfw_without
from .procedural import procedural_faces
from .real import folder, lfw, olivetti

__all__ = ["FACES", "FaceSet", "Split", "load_faces"]

FACES: dict[str, Callable[..., FaceSet]] = {"procedural": procedural_faces, "olivetti": olivetti, "lfw": lfw}


def load_faces(name: str, **options: Any) -> FaceSet:
    """The face set called `name`: "procedural", "olivetti", "lfw" or "folder:PATH", with its loader's `options`.

    "lfw-without:view1" and "lfw-without:fold3" leave out the people of one test of LFW's protocol (`lfw_without`).

    Raises `MetaFaceError` if there is no such set, or it cannot be loaded.
    """
    if name.startswith("folder:"):
        if not name.removeprefix("folder:"):
            raise MetaFaceError("'folder:' needs the path of a folder after it, such as folder:~/photos.")
        return folder(name.removeprefix("folder:"), **options)
    if name.startswith("lfw-without:"):
        return lfw_without(name.removeprefix("lfw-without:"))
    if name not in FACES:
        raise unknown("face set", name, [*FACES, "folder:PATH", "lfw-without:PART"])
    return FACES[name](**options)
