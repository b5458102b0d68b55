"""What tests need from outside of Python's packages. Where it is absent, a test says so, and how to get it.

A person's test is then skipped. Where CI is set it fails, unless no installation brings what is absent: another user,
another machine, real faces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from metaface_lessons import doctor

REPOSITORY = Path(__file__).resolve().parent.parent
FACES = Path(os.environ.get("METAFACE_TEST_FACES") or REPOSITORY.parent / "shared" / "faces")
SKLEARN_DATA = FACES / "scikit_learn_data"


@dataclass(frozen=True)
class Need:
    """there: whether it is there. get: how to get it. installable: whether an installation brings it."""

    there: Callable[[], object]
    get: str
    installable: bool = True


def learn2learn() -> bool:
    from metaface_lessons.learners.learn2learn_library import import_learn2learn

    try:
        import_learn2learn()  # not sooner: it imports torch, which reads OMP_NUM_THREADS once
    except ImportError:
        return False
    return True


def cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def namespaces() -> bool:
    """Without bubblewrap nobody knows."""
    from metaface_lessons.grading import sandbox

    return not shutil.which("bwrap") or sandbox.works(sandbox.BUBBLEWRAP)


def allowed(*command: str) -> Callable[[], bool]:
    """Whether the command succeeds; cached, since many tests may ask."""
    return cache(lambda: subprocess.run(command, capture_output=True).returncode == 0)


def root() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


OUTSIDE = {
    "Chromium": Need(doctor.find_browser, "apt-get install chromium, or name a browser in METAFACE_BROWSER"),
    "bubblewrap": Need(lambda: shutil.which("bwrap"), "apt-get install bubblewrap"),
    "node": Need(lambda: shutil.which("node"), "apt-get install npm"),
    "system users": Need(
        lambda: all(map(shutil.which, ("useradd", "userdel", "groupadd", "groupdel", "chpasswd"))),
        "apt-get install passwd",
    ),
    "configurable-http-proxy": Need(
        lambda: shutil.which("configurable-http-proxy"), "npm install --global configurable-http-proxy"
    ),
    "JupyterHub": Need(lambda: find_spec("jupyterhub"), "pip install -e '.[hub]'"),
    "learn2learn": Need(learn2learn, "metaface doctor --fix"),
    "namespaces": Need(namespaces, "a machine that lets bubblewrap make them", installable=False),
    "namespaces for everybody": Need(
        allowed("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user", "true"),
        "a machine that lets ordinary users make them, as a chroot does not",
        installable=False,
    ),
    "a network of its own": Need(
        allowed("unshare", "--net", "true"), "a machine that lets processes make one", installable=False
    ),
    "mounts": Need(allowed("unshare", "--mount", "true"), "a machine that allows them", installable=False),
    "Linux": Need(lambda: sys.platform == "linux", "run the tests there", installable=False),
    "root": Need(root, "run the tests as root, on Linux, for example in a container", installable=False),
    "an ordinary user": Need(
        lambda: os.name == "posix" and os.geteuid(), "run the tests as one: files are closed to all but root", False
    ),
    "a GPU": Need(cuda, "a machine with CUDA", installable=False),
    "a git clone": Need(allowed("git", "-C", str(REPOSITORY), "ls-files"), "clone the repository", installable=False),
    "real faces": Need(FACES.is_dir, f"lay them in {FACES}, or name their folder in METAFACE_TEST_FACES", False),
    "Olivetti and LFW": Need(SKLEARN_DATA.is_dir, f"lay scikit-learn's cache of them in {SKLEARN_DATA}", False),
}
SANDBOX = () if root() else ("bubblewrap", "namespaces")  # root has a kind of sandbox without them


def need(*names: str) -> None:
    """Go on only if all of these, keys of `OUTSIDE`, are there: else skip the running test, or fail it."""
    missing = {name: OUTSIDE[name] for name in names if not OUTSIDE[name].there()}
    if missing:
        text = "needs " + "; ".join(f"{name} ({found.get})" for name, found in missing.items())
        if os.environ.get("CI") and all(found.installable for found in missing.values()):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
