"""Shared by all tests, including those of the notebooks: temporary folders, real faces if there are any, a browser."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import pytest

from metaface_lessons.doctor import find_browser
from tests.needs import FACES, REPOSITORY, SKLEARN_DATA, need

_own_folders = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Use temporary folders in place of the user's. METAFACE_CACHE may name a cache for the tests.

    Their names have a space and letters of another script, as a learner's may.
    """
    option = config.option
    option.nbval_sanitize_with = option.nbval_sanitize_with or str(REPOSITORY / "tests" / "nbval.cfg")
    os.environ.setdefault("METAFACE_BUDGET", "quick")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in notebooks/build.py, so that outputs are equal
    config.stash[_own_folders] = folders = tempfile.TemporaryDirectory(prefix="metaface tests 测试-")
    os.environ["METAFACE_HOME"] = os.path.join(folders.name, "home")
    os.environ["JUPYTER_DATA_DIR"] = os.path.join(folders.name, "jupyter")  # it keeps the signatures of notebooks
    os.environ.setdefault("METAFACE_CACHE", os.path.join(folders.name, "cache"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for what a test is marked to need, and give each notebook a learner's folder of its own.

    What was passed in another notebook must not show in its progress.
    """
    need(*(name for mark in item.iter_markers("needs") for name in mark.args))
    own = ""
    if item.path.suffix == ".ipynb":
        own = f"-{item.path.parent.name}-{item.path.stem}"
        _render()
    os.environ["METAFACE_HOME"] = os.path.join(item.config.stash[_own_folders].name, f"home{own}")


@cache
def _render() -> None:
    """Render the procedural faces into the cache, so that no notebook shows a progress bar for it."""
    from metaface_lessons.faces.procedural import procedural_faces  # not earlier: torch reads OMP_NUM_THREADS once

    procedural_faces(progress=False)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_own_folders].cleanup()


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_faces() -> Path:
    """Folder with real faces, read-only: METAFACE_TEST_FACES, or `shared/faces` beside the repository."""
    need("real faces")
    return FACES


@pytest.fixture(scope="session")
def sklearn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home for scikit-learn with Olivetti and LFW: links, since the fetchers write their own cache beside them.

    Use it with `monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))`.
    """
    need("Olivetti and LFW")
    home = tmp_path_factory.mktemp("scikit_learn_data")
    # Not lfw_home/joblib, where the fetchers write.
    for entry in (found for what in ("*.pkz", "lfw_home/lfw*", "lfw_home/*.txt") for found in SKLEARN_DATA.glob(what)):
        link = home / entry.relative_to(SKLEARN_DATA)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(entry)
    return home


@pytest.fixture(scope="session")
def browser_path() -> str:
    """The program of Chromium."""
    need("Chromium")
    return str(find_browser())
