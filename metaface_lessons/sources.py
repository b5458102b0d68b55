"""The sources of the lessons, which authors edit, read as notebooks.

`notebooks/source/NN_name.py` is a notebook in text (jupytext, py:percent). Two things are shorter than in a notebook.

The first line of an answer cell names its exercise. nbgrader's metadata follow from that name:

    # %% exercise="maml-inner-step"

The options of a question are two or more `<details>` in a row. The explanation of the right one begins with "Right":

    # **1. How many ways has a 5-way 1-shot episode?**
    #
    # <details><summary>One</summary>That is the number of shots.</details>
    # <details><summary>Five</summary>Right.</details>
    # <details><summary>Six</summary>Nobody has six.</details>

No empty line is between options. Their order in the source is the author's; learners see them in the order that
`read_source` draws.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from .errors import MetaFaceError
from .paths import NOTEBOOKS

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ANSWER = {"grade": False, "locked": False, "schema_version": 3, "solution": True, "task": False}  # nbgrader's

_ELEMENT = r"<details>(?:(?!</details>).)*</details>"
_OPTIONS = re.compile(rf"{_ELEMENT}(?:\n{_ELEMENT})+", re.DOTALL)
_OPTION = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_MINUTES = re.compile(r"\*\*Time\*\*\s+(\d+)\s+minutes")
_BUDGET = re.compile(r"\*\*Computing\*\*\s+less\s+than\s+(\d+)\s+seconds")


@dataclass(frozen=True)
class Option:
    """One option of a question.

    summary: what the learner reads first.
    explanation: what opens on a click.
    """

    summary: str
    explanation: str

    @property
    def right(self) -> bool:
        return self.explanation.startswith("Right")

    @property
    def length(self) -> int:
        """How many characters a learner sees before the click."""
        return len(re.sub(r"<[^>]*>", "", self.summary))


@dataclass(frozen=True)
class Question:
    """A question of a quiz, with its options in the order in which learners see them."""

    text: str
    options: tuple[Option, ...]


def sources(folder: Path = NOTEBOOKS) -> dict[str, Path]:
    """The sources by the number of their lesson.

    folder: where the notebooks are; the sources are in its `source/`.
    """
    return {path.name[:2]: path for path in sorted((folder / "source").glob("[0-9][0-9]_*.py"))}


def read_source(path: Path) -> NotebookNode:
    """A lesson as a notebook, solved, with the marks around its solutions.

    The same source always gives the same notebook: the ids of cells are made from their text, and the order of a
    quiz's options follows from the lesson's number.

    path: the source, `NN_name.py`.
    """
    notebook = jupytext.read(path, fmt="py:percent")
    _arrange_options(notebook, path.name[:2])
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[name] += 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        if exercise := cell.metadata.pop("exercise", None):
            cell.metadata["nbgrader"] = nbformat.from_dict(ANSWER | {"grade_id": exercise})
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def lesson_minutes(notebook: NotebookNode) -> int:
    """The minutes that a learner needs for a lesson, as its head says.

    notebook: the lesson, read from its source or built.

    Raises `MetaFaceError` if the head does not say it.
    """
    return _in_head(notebook, _MINUTES, "minutes", "**Time** 60 minutes")


def lesson_budget(notebook: NotebookNode) -> int:
    """The seconds that a lesson may take on two CPU cores, as its head says.

    notebook: the lesson, read from its source or built.

    Raises `MetaFaceError` if the head does not say it.
    """
    return _in_head(notebook, _BUDGET, "budget", "**Computing** less than 120 seconds on two CPU cores")


def _in_head(notebook: NotebookNode, pattern: re.Pattern[str], what: str, example: str) -> int:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if found := pattern.search(text):
        return int(found[1])
    raise MetaFaceError(f"The lesson's head has no {what}: write '{example}'.")


# ------------------------------------------------------------------------------------------------------------- the quiz


def quiz(notebook: NotebookNode) -> list[Question]:
    """The questions of a lesson, with the options in the order that its notebook has."""
    questions = []
    for cell in notebook.cells:
        for options in _OPTIONS.finditer(cell.source) if cell.cell_type == "markdown" else ():
            text = cell.source[: options.start()].rstrip().rpartition("\n\n")[2].strip("*")
            questions.append(Question(text, tuple(map(_option, _elements(options[0])))))
    return questions


def _arrange_options(notebook: NotebookNode, seed: str) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    written = [_elements(options[0]) for cell in cells for options in _OPTIONS.finditer(cell.source)]
    arranged = iter(_arranged(written, seed))
    for cell in cells:
        cell.source = _OPTIONS.sub(lambda _: "\n".join(next(arranged)), cell.source)


def _arranged(questions: list[list[str]], seed: str) -> list[list[str]]:
    """The options of all questions, shuffled, with the right options spread evenly over the places.

    In a quiz of four or more questions with three or more options each, no place has the right option in over half of
    the questions.
    """
    draw = random.Random(seed).random  # its numbers are the same in every version of Python; those of `shuffle` are not
    arranged = [sorted(options, key=lambda _: draw()) for options in questions]
    taken: Counter[int] = Counter()
    for options in sorted(arranged, key=lambda _: draw()):
        right = next((option for option in options if _option(option).right), options[0])
        place = min(range(len(options)), key=lambda place: (taken[place], draw()))
        taken[place] += 1
        options.remove(right)
        options.insert(place, right)
    return arranged


def _elements(options: str) -> list[str]:
    return re.findall(_ELEMENT, options, re.DOTALL)


def _option(element: str) -> Option:
    found = _OPTION.fullmatch(element)
    summary, explanation = found.groups() if found else (element, "")
    return Option(" ".join(summary.split()), explanation.strip())
