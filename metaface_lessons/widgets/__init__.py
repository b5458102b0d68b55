"""Explorers: each draws a figure from a state, and sliders set the state. One module each, called NAME_explorer.

An explorer's module has

- `State`, a frozen dataclass whose fields are the controls;
- `draw(state, …)` and `alt(state, …)`, pure functions: the figure, and the same in words;
- `explore(…)`, which opens it in a notebook;
- `example()`, which opens it on the course's own faces and stored results, if `explore` cannot do so without arguments.

Tests and benchmarks find every explorer through `explorers`, so that a new one has to be registered nowhere.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import unknown

if TYPE_CHECKING:
    from .explorer import Explorer


def explorers() -> dict[str, ModuleType]:
    """The module of every explorer by its name, such as "face" for `face_explorer`."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name.endswith("_explorer"))
    return {name.removesuffix("_explorer"): importlib.import_module(f"{__name__}.{name}") for name in modules}


def example(name: str) -> Explorer:
    """Open the explorer of this name on the course's own data. Raises `MetaFaceError` if it does not exist."""
    known = explorers()
    if name not in known:
        raise unknown("explorer", name, known)
    opened: Explorer = getattr(known[name], "example", known[name].explore)()
    return opened
