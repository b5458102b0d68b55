"""The solution of an exercise. It is read from the lesson's source, between the marks in the cell before the check.

There is no other copy.
"""

from __future__ import annotations

import re

from .. import paths
from ..errors import MetaFaceError
from .core import Exercise

_MARK = re.compile(r"\s*### (BEGIN|END) SOLUTION")


def solution_text(exercise: Exercise) -> str:
    """The solved cell of `exercise`, without its check. Raises `MetaFaceError` if the lesson's source is missing."""
    folder = paths.NOTEBOOKS / "source"
    for source in folder.glob(f"{exercise.lesson}_*.py"):
        before, found, _ = source.read_text(encoding="utf-8").partition(f'\ncheck("{exercise.name}"')
        solved, mark, _ = before.rpartition("### END SOLUTION")
        if found and mark:
            cell = solved.rpartition("\n# %%")[2].partition("\n")[2]  # without the line that begins the cell
            return "\n".join(line.rstrip() for line in cell.splitlines() if not _MARK.match(line)).rstrip()
    raise MetaFaceError(
        f"The solution of '{exercise.name}' is not in {folder}. The lessons in a clone of the repository have the"
        " solutions. Is the clone whole, and installed with `pip install -e .`?"
    )
