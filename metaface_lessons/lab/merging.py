"""A newer version of a lesson takes over what the learner wrote into theirs.

Each copy of a lesson says in its metadata what it was made from: the ids of the course's cells and the checksums of
their texts. So a learner's cell is as it came, changed, or their own.

| the learner's cell | in the newer lesson |
|---|---|
| an answer | is in the cell of the same exercise (nbgrader's `grade_id`), whatever the course has changed there |
| a changed cell of the course | replaces the course's, unless the course has changed it as well |
| a cell of their own | is behind the same cell as before, or behind the nearest before it that is still there |

What has no place is named. Nothing is lost: the caller keeps the learner's notebook as it was.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Notebook = dict[str, Any]
Cell = dict[str, Any]


@dataclass(frozen=True)
class Merged:
    """What became of the learner's cells.

    answers, cells: how many answers, and how many other cells, are in the newer lesson.
    left: names of those that have no place in it.
    """

    answers: int = 0
    cells: int = 0
    left: tuple[str, ...] = ()

    @property
    def taken(self) -> tuple[tuple[int, str], ...]:
        return (self.answers, "answer"), (self.cells, "other cell")


SAME = Merged()  # the learner's lesson is of the course's version already
ONLY_RUN = Merged()  # all cells are as they came: there is nothing to take over
UNKNOWN = Merged()  # the learner's lesson does not say what it was made from


def origin(notebook: Notebook) -> dict[str, Any]:
    """The metadata that say what a copy of a lesson is made from.

    notebook: the course's lesson.
    """
    # A list, because JupyterLab may change the order of a dict.
    return {"metaface": {"made_from": [f"{cell.get('id')} {_mark(cell)}" for cell in notebook["cells"]]}}


def merge(old: Any, new: Notebook) -> Merged:
    """Put what a learner wrote into a newer lesson.

    old: the learner's notebook.
    new: the course's lesson, with its `origin`. Its cells are changed, unless the result is one of those with a name.
    Returns what became of the learner's cells; compare it with `SAME`, `ONLY_RUN` and `UNKNOWN` by `is`.
    Raises ValueError if `old` is not a notebook.
    """
    try:
        cells, made_from = [*_cells(old)], old["metadata"].get("metaface", {}).get("made_from", [])
        came = dict(entry.split(" ") for entry in made_from)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"this is not a notebook: {error}") from error
    marks = [_mark(cell) for cell in cells]
    if made_from == new["metadata"]["metaface"]["made_from"] or marks == [_mark(cell) for cell in new["cells"]]:
        return SAME
    if not came:
        return UNKNOWN
    if marks == [*came.values()]:
        return ONLY_RUN
    return _carry_over(cells, new["cells"], came)


def _carry_over(old: list[Cell], new: list[Cell], came: dict[str, str]) -> Merged:
    """As `merge`; `came` has the id and the mark of each cell as it came."""
    by_id = {cell["id"]: cell for cell in new if cell["id"] in came}
    by_exercise = {name: cell for cell in new if (name := _exercise(cell))}
    answers = _answers(old, came)
    behind: dict[str | None, list[Cell]] = defaultdict(list)  # the learner's own cells, by the course's before them
    ids, place = {cell["id"] for cell in new}, None
    taken: list[bool] = []  # for each cell that is in the newer lesson, whether it is an answer
    left: list[str] = []
    for cell in old:
        name = _exercise(cell)
        answer = name is not None and answers.get(name, cell) is cell
        target = by_exercise.get(name or "") if answer else by_id.get(cell.get("id", ""))
        place = target["id"] if target else place
        if not _written(cell, came) or (target and _mark(target) == _mark(cell)):
            continue
        if target and _fits(cell, target) and (answer or came.get(target["id"]) == _mark(target)):
            target |= {key: cell[key] for key in ("source", "attachments") if key in cell}
            taken.append(answer)
        elif target or answer or cell.get("id") in came:
            left.append(f"the answer to {name}" if name else f"“{_text(cell).strip().splitlines()[0][:60]}”")
        else:
            own = _as_own(cell, ids)
            ids.add(own["id"])
            behind[place].append(own)
            taken.append(False)
    new[:] = [*behind[None], *(each for cell in new for each in (cell, *behind[cell["id"]]))]
    return Merged(sum(taken), len(taken) - sum(taken), tuple(left))


def _answers(cells: list[Cell], came: dict[str, str]) -> dict[str, Cell]:
    """The answer to each exercise that has one. If the learner has copied the cell, the course's own counts first."""
    found: dict[str, Cell] = {}
    for cell in sorted(cells, key=lambda cell: cell.get("id") not in came):
        if (name := _exercise(cell)) and _written(cell, came):
            found.setdefault(name, cell)
    return found


def _written(cell: Cell, came: dict[str, str]) -> bool:
    """Whether the learner wrote this: it is not empty, and no cell came with this text."""
    return bool(_text(cell).strip()) and _mark(cell) not in came.values()


def _fits(cell: Cell, target: Cell) -> bool:
    return bool(cell["cell_type"] == target["cell_type"])


def _as_own(cell: Cell, taken: set[str]) -> Cell:
    """A learner's own cell for the newer lesson: under an id that is free, without outputs, and not an exercise."""
    free = cell.get("id") and cell["id"] not in taken
    own: Cell = {key: cell[key] for key in ("cell_type", "source", "attachments") if key in cell}
    own["id"] = cell["id"] if free else uuid.uuid4().hex[:8]
    own["metadata"] = {key: value for key, value in cell.get("metadata", {}).items() if key != "nbgrader"}
    return own | ({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})


def _cells(notebook: Any) -> Iterator[Cell]:
    """The cells of a notebook that is read from a file. Raises TypeError or KeyError where they have another shape."""
    for cell in notebook["cells"]:
        if not isinstance(cell.get("metadata", {}), dict) or not isinstance(cell.get("id", ""), str):
            raise TypeError("a cell's metadata or id has another type")
        if cell["cell_type"] not in ("code", "markdown", "raw") or not isinstance(_text(cell), str):
            raise TypeError("a cell has another type")
        _exercise(cell)
        yield cell


def _exercise(cell: Cell) -> str | None:
    """nbgrader's name of the exercise that a cell answers, or None."""
    about = cell.get("metadata", {}).get("nbgrader", {})
    return str(about["grade_id"]) if about.get("solution") else None


def _text(cell: Cell) -> str:
    return "".join(cell["source"])  # a notebook may store a text as its lines


def _mark(cell: Cell) -> str:
    """The checksum of a cell's text: it says nothing about what came of running it."""
    return hashlib.sha256(f"{cell['cell_type']}\n{_text(cell)}".encode()).hexdigest()[:16]
