"""Fixtures of tests in more than one folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaface_lessons.runs import protocols
from tests.helpers import random_faces, write_pictures
from tests.made_up_lfw import write_lfw, write_people


@pytest.fixture(scope="module")
def lfw_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's folder of LFW, with made-up people."""
    home = tmp_path_factory.mktemp("sklearn") / "lfw_home"
    write_lfw(home)
    return home


@pytest.fixture
def made_up(lfw_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where the package looks for it."""
    monkeypatch.setattr(protocols, "SAMPLES", 20)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(lfw_home.parent))
    return lfw_home


@pytest.fixture
def listed(made_up: Path) -> Iterator[Path]:
    """The same, with LFW's lists of people."""
    files = write_people(made_up)
    yield made_up
    for file in files:
        file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def lfw_photos(shared_faces: Path) -> dict[str, list[Path]]:
    """Photos in which a face is found, of the people of LFW with the most of them."""
    folders = sorted((shared_faces / "scikit_learn_data" / "lfw_home" / "lfw_funneled").glob("*/"))
    many = sorted(folders, key=lambda folder: -len(list(folder.iterdir())))[3:6]
    return {folder.name: sorted(folder.glob("*.jpg"))[:8] for folder in many}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 made-up people × 6 images, as files."""
    root = tmp_path_factory.mktemp("photos")
    write_pictures(random_faces(people=40, each=6, size=64, channels=3), root)
    return root
