"""What all tests share, the notebooks' among them: folders of their own, real faces where there are any, a browser."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import pytest

from metaface_lessons.doctor import find_browser

REPOSITORY = Path(__file__).resolve().parent
_own_folders = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the learner's folder out of it; likewise their cache, unless METAFACE_CACHE names one for the tests."""
    option = config.option
    option.nbval_sanitize_with = option.nbval_sanitize_with or str(REPOSITORY / "tests" / "nbval.cfg")
    os.environ.setdefault("METAFACE_BUDGET", "quick")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as notebooks/build.py does, so that outputs come out alike
    config.stash[_own_folders] = folders = tempfile.TemporaryDirectory(prefix="metaface-tests-")
    os.environ["METAFACE_HOME"] = os.path.join(folders.name, "home")
    os.environ.setdefault("METAFACE_CACHE", os.path.join(folders.name, "cache"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each notebook a learner's folder of its own: what was passed in another must not show in its progress."""
    own = ""
    if item.path.suffix == ".ipynb":
        own = f"-{item.path.parent.name}-{item.path.stem}"
        _render()
    os.environ["METAFACE_HOME"] = os.path.join(item.config.stash[_own_folders].name, f"home{own}")


@cache
def _render() -> None:
    """Have the procedural faces in the cache: the bar shown while they are made would be an output too many."""
    from metaface_lessons.faces.procedural import procedural_faces  # not sooner: torch reads OMP_NUM_THREADS once

    procedural_faces(progress=False)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_own_folders].cleanup()


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_faces() -> Path:
    """Folder with real faces, read-only: METAFACE_TEST_FACES, or `shared/faces` beside the repository."""
    folder = Path(os.environ.get("METAFACE_TEST_FACES") or REPOSITORY.parent / "shared" / "faces")
    if not folder.is_dir():
        pytest.skip(f"no real faces at {folder}; METAFACE_TEST_FACES may name their folder")
    return folder


@pytest.fixture(scope="session")
def sklearn_data(shared_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home for scikit-learn with Olivetti and LFW: links, since the fetchers write their own cache beside them.

    Use it with `monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))`.
    """
    source = shared_faces / "scikit_learn_data"
    if not source.is_dir():
        pytest.skip(f"no scikit-learn data at {source}")
    home = tmp_path_factory.mktemp("scikit_learn_data")
    for entry in (*source.glob("*.pkz"), *source.glob("lfw_home/*")):
        link = home / entry.relative_to(source)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(entry)
    return home


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Chromium. On a CI machine its absence is a failure, elsewhere the tests that need it are skipped."""
    browser = find_browser()
    if browser is None:
        reason = "no Chromium found; METAFACE_BROWSER may name it (see metaface doctor)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return browser
