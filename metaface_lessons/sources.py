"""The sources of the lessons, which authors edit, read as notebooks.

`notebooks/source/NN_name.py` is a notebook in text (jupytext, py:percent). Three things are shorter than in a notebook.

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

"lesson 02" and "lessons 02 and 03" in the text become links to these lessons, and "(planned)" stands behind the number
of a lesson that does not exist yet. Below the head of every lesson stands `RETURN`.
"""

from __future__ import annotations

import functools
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

RETURN = (
    "The words of the field are in the [glossary](GLOSSARY.md). After a break, or when the kernel was restarted, click"
    " into the cell where you stopped and choose *Run ▸ Run All Above Selected Cell*"
    " ([why](00_start_here.ipynb#When-you-come-back))."
)

_ELEMENT = r"<details>(?:(?!</details>).)*</details>"
_OPTIONS = re.compile(rf"{_ELEMENT}(?:\n{_ELEMENT})+", re.DOTALL)
_OPTION = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_LESSONS = re.compile(r"\b(lessons?)(\s+)(\d\d\b(?:(?:,|\s+and|\s+to)\s+\d\d\b(?!\s*%))*)", re.IGNORECASE)
_NOT_LINKED = re.compile(  # code, formulas, links, headings, what is clicked to open an answer, the title of a work
    r"(`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|^\#+\ [^\n]*|<summary>.*?</summary>)", re.DOTALL | re.MULTILINE
)
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
    quiz's options follows from the lesson's number. Links go to the lessons beside the source.

    path: the source, `NN_name.py`.
    """
    notebook = jupytext.read(path, fmt="py:percent")
    _arrange_options(notebook, path.name[:2])
    _say_how_to_return(notebook)
    _link_lessons(notebook, path)
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
    text = "\n".join(cell.source for cell in _text(notebook))
    if found := pattern.search(text):
        return int(found[1])
    raise MetaFaceError(f"The lesson's head has no {what}: write '{example}'.")


# ----------------------------------------------------------------------------------------------------------- the text


def _say_how_to_return(notebook: NotebookNode) -> None:
    head = next((cell for cell in _text(notebook) if _MINUTES.search(cell.source)), None)
    if head:
        head.source += f"\n\n{RETURN}"


def _link_lessons(notebook: NotebookNode, path: Path) -> None:
    """Make a link of each lesson's number in the text, but not of the lesson's own."""
    files = {other.name[:2]: f"{other.stem}.ipynb" for other in path.parent.glob("[0-9][0-9]_*.py")}
    own = path.name[:2]

    def link(number: str, words: str, in_html: bool) -> str:
        if number not in files:
            return f"{words} (planned)"
        return f'<a href="{files[number]}">{words}</a>' if in_html else f"[{words}]({files[number]})"

    def links(found: re.Match[str], in_html: bool) -> str:
        word, space, numbers = found.groups()
        if numbers == own:
            return found[0]
        if len(numbers) == 2:
            return link(numbers, f"{word}{space}{numbers}", in_html)
        return f"{word}{space}" + re.sub(r"\d\d", lambda number: link(number[0], number[0], in_html), numbers)

    for cell in _text(notebook):
        parts = re.split(f"({_ELEMENT})", cell.source, flags=re.DOTALL)
        for place, part in enumerate(parts):
            pieces = _NOT_LINKED.split(part)
            replace = functools.partial(links, in_html=place % 2 == 1)
            pieces[::2] = [_LESSONS.sub(replace, piece) for piece in pieces[::2]]
            parts[place] = "".join(pieces)
        cell.source = "".join(parts)


def _text(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


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
    cells = _text(notebook)
    written = [_elements(options[0]) for cell in cells for options in _OPTIONS.finditer(cell.source)]
    arranged = iter(_arranged(written, seed))
    for cell in cells:
        # an empty line is not enough: `details` have no margin below, and the next question would be one of them
        cell.source = _OPTIONS.sub(lambda _: "\n".join(next(arranged)) + "\n<br>", cell.source)


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
