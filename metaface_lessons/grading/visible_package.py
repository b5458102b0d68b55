"""The part of the package that a submission can import: what its answers need, and nothing that is the answer.

Only this module says what a submission may import.
"""

from __future__ import annotations

import ast
import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

# In every lesson: errors, the problems that checks hand out, and the sandbox's own side of the channel.
_ALWAYS = (
    "__init__.py",
    "errors.py",
    "exercises/problems.py",
    *(f"grading/{name}.py" for name in ("__init__", "messages", "lock", "seccomp", "worker")),
)

# Lesson → module that its answers may import → what is removed from that module. All other modules of the package are
# removed, and so are the checks in `exercises` with their right answers. Of libraries only `LIBRARIES` remain.
LEFT: dict[str, dict[str, tuple[str, ...]]] = {
    "00": {"faces/faceset.py": ("FaceSet.split",)},  # `where` and `select` are what the lesson practises
    "01": {"faces/faceset.py": ("FaceSet.split",)},  # asked for as faces.split_by_identity
}
LIBRARIES = {"torch", "numpy", "scipy"}
_NOT_FOR_ANSWERS = {"antigravity", "idlelib", "test", "this", "tkinter", "turtle", "turtledemo"}
# A module is imported before the process is locked. Of PyTorch's, some start processes by their import, which would
# then run unlocked; so these are named one by one. Nothing private is imported, and nothing that is a program.
_OF_TORCH = {"autograd", "distributions", "fft", "func", "linalg", "nn", "optim", "random", "special", "types"}
# SciPy imports these when they are first used, which is after the lock.
_OF_SCIPY = (
    *("cluster", "constants", "fft", "integrate", "interpolate", "linalg", "ndimage", "optimize", "signal", "sparse"),
    *("spatial", "special", "stats"),
)
_MODULES = 50  # that a submission may import


@contextlib.contextmanager
def prepared(lesson: str) -> Iterator[Path]:
    """A folder with the package that submissions of a lesson ("02") can import. It exists while the context lasts."""
    with tempfile.TemporaryDirectory(prefix="metaface-package-") as folder:
        target = Path(folder) / "metaface_lessons"
        for name in _ALWAYS:
            _write(target / name, (_PACKAGE / name).read_text(encoding="utf-8"))
        for name, removed in LEFT.get(lesson, {}).items():
            _write(target / name, _without((_PACKAGE / name).read_text(encoding="utf-8"), removed))
        if "faces/faceset.py" in LEFT.get(lesson, {}):
            _write(target / "faces" / "__init__.py", "from .faceset import FaceSet\n")
        (target / "exercises" / "__init__.py").touch()  # without the checks
        yield Path(folder)


def may_import(module: str) -> bool:
    """Whether a submission may import a module of this name, such as "torch.func"."""
    top, *inner = module.split(".")
    if any(part.startswith("_") or part in ("test", "tests", "testing") for part in inner):
        return False
    if top == "torch":
        return not inner or inner[0] in _OF_TORCH
    return top in LIBRARIES | {"metaface_lessons"} or (top in sys.stdlib_module_names and top not in _NOT_FOR_ANSWERS)


def imported(source: str) -> set[str]:
    """The modules that a submission imports, as far as it may.

    A regular expression finds them, because nothing of a submission is parsed outside the sandbox. A module that it
    misses is only missing inside the sandbox.
    """
    found = re.findall(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import|import[ \t]+([\w. \t,]+))", source, re.MULTILINE)
    names = {part.split()[0] for one, many in found for part in [one, *many.split(",")] if part.strip()}
    if "scipy" in names:
        names |= {f"scipy.{part}" for part in _OF_SCIPY if re.search(rf"\b{part}\b", source)}
    return set(sorted(name for name in names if re.fullmatch(r"[\w.]+", name) and may_import(name))[:_MODULES])


def _without(source: str, removed: tuple[str, ...]) -> str:
    tree = ast.parse(source)
    for name in removed:
        owner, _, method = name.rpartition(".")
        body = (
            next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == owner).body if owner else tree.body
        )
        body.remove(next(n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == method))
    return ast.unparse(tree)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
