"""What the course claims in numbers: one module for each measured experiment that a lesson quotes.

An experiment owns one kind of result. It has

- `COMMAND`, the command that makes it: "metaface experiment leak";
- `add_arguments(parser)`, the options of that command;
- `run(arguments)`, which measures part by part, stores the result and prints it;
- `measure(…)`, which does the measuring, and which tests call with small data;
- `load(…)`, by which lessons, explorers and README read the result.

`stored` is what they share. Only `names` and `experiment` are here, so that the command's help needs no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from ..errors import unknown

_SHARED = ("stored",)


def names() -> list[str]:
    """The experiments that there are, by the names of their modules."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)


def experiment(name: str) -> ModuleType:
    """The experiment of that name. Raises `MetaFaceError` if there is none."""
    if name not in names():
        raise unknown("experiment", name, names())
    return importlib.import_module(f"{__name__}.{name}")
