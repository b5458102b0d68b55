"""The package as a submission finds it: what the lesson's answers need, and nothing that computes what is asked for.

This is the one place that says what a submission may import, and what of the package is left.
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

# In every lesson: errors, what checks hand over, and the sandbox's own side of the channel.
_ALWAYS = (
    "__init__.py",
    "errors.py",
    "exercises/problems.py",
    *(f"grading/{name}.py" for name in ("__init__", "messages", "lock", "worker")),
)

# Module → what is removed from it. A lesson that is not named gets none: every other module of the package is removed
# as a whole, `exercises` with its checks and right answers in all lessons. learn2learn and every library but these is,
# too.
LEFT: dict[str, dict[str, tuple[str, ...]]] = {
    "00": {"faces/faceset.py": ("FaceSet.split",)},  # `where` and `select` are what the lesson practises
    "01": {"faces/faceset.py": ("FaceSet.split",)},  # asked for as faces.split_by_identity
}
LIBRARIES = {"torch", "numpy", "scipy"}
_NOT_FOR_ANSWERS = {"antigravity", "idlelib", "test", "this", "tkinter", "turtle", "turtledemo"}


@contextlib.contextmanager
def staged(lesson: str) -> Iterator[Path]:
    """A folder that holds the package as the submissions of a lesson ("02") find it, while the context lasts."""
    with tempfile.TemporaryDirectory(prefix="metaface-stage-") as folder:
        target = Path(folder) / "metaface_lessons"
        for name in _ALWAYS:
            _write(target / name, (_PACKAGE / name).read_text(encoding="utf-8"))
        for name, removed in LEFT.get(lesson, {}).items():
            _write(target / name, _without((_PACKAGE / name).read_text(encoding="utf-8"), removed))
        if "faces/faceset.py" in LEFT.get(lesson, {}):
            _write(target / "faces" / "__init__.py", "from .faceset import FaceSet\n")
        (target / "exercises" / "__init__.py").touch()  # the checks are not there
        yield Path(folder)


def may_import(module: str) -> bool:
    """Whether a submission may import a module of this name, such as "torch.func"."""
    top = module.partition(".")[0]
    return top in LIBRARIES | {"metaface_lessons"} or (top in sys.stdlib_module_names and top not in _NOT_FOR_ANSWERS)


def imported(source: str) -> set[str]:
    """The modules that a submission asks for, of those that it may import. By the look of its lines: what it says is
    not parsed outside the sandbox, and a module that is missed is only missing there."""
    found = re.findall(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import|import[ \t]+([\w. \t,]+))", source, re.MULTILINE)
    names = {part.split()[0] for one, many in found for part in [one, *many.split(",")] if part.strip()}
    return {name for name in names if re.fullmatch(r"[\w.]+", name) and may_import(name)}


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
