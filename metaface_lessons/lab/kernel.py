"""What every kernel of the course begins with: `check`, `hint`, `solution` and `progress` are defined.

After *Restart Kernel* a learner runs the exercise that they were at, and not the cell that imports these names.
`jupyter/kernels/python3/kernel.json` loads this extension into IPython.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NAMES = ("check", "hint", "progress", "solution")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Define the functions of the exercises in a notebook."""
    shell.push({name: _late(name) for name in NAMES})  # IPython hides them from %who


def _late(name: str) -> Callable[..., Any]:
    """A function of the exercises that is imported when it is called: torch, which they need, takes seconds."""

    def call(*args: Any, **keywords: Any) -> Any:
        from .. import exercises

        return getattr(exercises, name)(*args, **keywords)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The same as `metaface_lessons.exercises.{name}`, whose description says more."
    return call
