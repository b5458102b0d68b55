"""What tests of experiments share: a folder of made-up people."""

from __future__ import annotations

import pytest

from tests.helpers import random_faces, write_pictures


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a face set of 40 people with six images each, 16×16 pixels of noise around a pattern of their own."""
    folder = tmp_path_factory.mktemp("photos")
    write_pictures(random_faces(people=40, each=6, size=16, channels=3), folder)
    return f"folder:{folder}"
