"""learn2learn, the library that lessons compare with: how it is installed and how it is imported.

Its release 0.2.0 needs two detours (https://github.com/learnables/learn2learn/issues/413):

- It ships C files that do not compile on Python 3.11 and newer. Building with `build_ext` generates them again with
  Cython. pip before 23.1 (Debian 12 has 23.0) drops that setting, unless `--use-pep517` makes it build a wheel.
- It declares packages that nothing here needs and that require numpy 1. So it is installed without its dependencies;
  those that it does import are among the course's own.

A requirements file cannot hold either option, so this is a second step: `metaface doctor --fix`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.library import Library

LEARN2LEARN = "learn2learn==0.2.0"


def import_learn2learn() -> ModuleType:
    """Import learn2learn, which takes a few seconds, and return it.

    Raises ImportError, with the command that fixes it, if it is missing or cannot be imported.
    """
    try:
        _import_torchvision()
        with contextlib.redirect_stderr(io.StringIO()):  # gym, which nothing here uses, asks to leave it
            import learn2learn
    except ImportError as error:
        raise ImportError(f"learn2learn cannot be imported ({error}). To install it: metaface doctor --fix") from error
    return learn2learn


def install_learn2learn() -> None:
    """Build learn2learn and install it into the environment of the running Python.

    It takes about a minute and needs a C compiler.

    Raises RuntimeError, with the first error that pip reported, if pip fails.
    """
    options = ["--no-deps", "--use-pep517", "--config-settings=--build-option=build_ext"]
    command = [sys.executable, "-m", "pip", "install", *options, LEARN2LEARN]
    pip = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if pip.returncode:
        words = (pip.stderr or pip.stdout).strip().splitlines() or ["pip said nothing"]
        # What follows the first error says that there was one; "subprocess-exited-with-error" says no more.
        errors = [line for line in words if "error: " in line.lower() and "exited-with-error" not in line]
        raise RuntimeError(f"pip could not install {LEARN2LEARN}: {(errors or words[-1:])[0].strip()}")


def _import_torchvision() -> None:
    """Import torchvision, which learn2learn needs, even if its compiled part does not load.

    On Linux that part is linked to CUDA and does not load beside a CPU build of torch. torchvision then fails because
    two of its operators are not declared. Nobody here calls them, so it is enough to declare them.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise ImportError(f"torchvision: {error}") from error
        _declare_operators()
        import torchvision  # noqa: F401


@functools.cache  # the declarations last as long as the library object
def _declare_operators() -> Library:
    from torch.library import Library

    library = Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
