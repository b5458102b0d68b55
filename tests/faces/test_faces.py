"""Face sets by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces


@pytest.mark.parametrize("seed", ["", "3", "seed=", "seed=-1", "seed=x", "seed=1000000"])
def test_a_seed_is_a_number(seed):
    with pytest.raises(MetaFaceError, match="should end in a seed from 0 to 999999, such as procedural:seed=3"):
        load_faces(f"procedural:{seed}")


def test_an_unknown_set_is_answered_with_the_nearest() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'olivetti'"):
        load_faces("oliveti")


@pytest.mark.parametrize("name", [3, None, b"lfw", Path("photos"), ["lfw"]])
def test_a_set_is_loaded_by_a_text(name: object) -> None:
    with pytest.raises(MetaFaceError, match=f"but this is of the type {type(name).__name__}\\. Examples: load_faces"):
        load_faces(name)  # type: ignore[arg-type]
