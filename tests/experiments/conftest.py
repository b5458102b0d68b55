"""What tests of experiments share: a folder of made-up people, and the shape of a result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ..helpers import random_faces


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a face set of 40 people with six images each, 16×16 pixels of noise around a pattern of their own."""
    folder = tmp_path_factory.mktemp("photos")
    faces = random_faces(people=40, each=6, size=16, channels=3)
    for m, (image, person) in enumerate(zip(faces.images, faces.identity, strict=True)):
        file = folder / f"person{int(person):02d}" / f"{m}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(file)
    return f"folder:{folder}"


def shape(value: Any) -> Any:
    """The keys and kinds of a result, without its numbers: two results of one schema have the same."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value)
