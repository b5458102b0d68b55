"""Build the notebooks from the sources that authors edit, and execute them.

    python notebooks/build.py            # all lessons
    python notebooks/build.py 02         # some
    python notebooks/build.py --check    # only compare the notebooks with their sources

`metaface_lessons/sources.py` reads `source/NN_name.py`. It becomes two notebooks: `solutions/NN_name.ipynb` is solved,
and learners open `NN_name.ipynb`. In the second, nbgrader's own `ClearSolutions` replaces everything between
`### BEGIN SOLUTION` and `### END SOLUTION` by a stub. If the answer is a value and not a function, its cell says
`answer = ...` first, and the stub is only a comment. So the notebook runs from top to bottom before anything is solved.

Both are executed in a temporary learner's folder with METAFACE_BUDGET=quick, and keep their outputs, except what
differs from run to run. A lesson with a fault is refused: see `source_faults` and `output_faults`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbgrader.preprocessors import CheckCellMetadata, ClearSolutions

from metaface_lessons.errors import MetaFaceError, unknown
from metaface_lessons.exercises.core import exercises
from metaface_lessons.paths import NOTEBOOKS, write_atomically
from metaface_lessons.sources import METADATA, Question, lesson_budget, lesson_minutes, quiz, read_source, sources

CELL_SECONDS = 600
WIDTH = 100  # characters of a line of code, and of a printed one: JupyterLab shows no more beside its file browser
IGNORE_OUTPUT = "nbval-ignore-output"  # nbval's own tag: the outputs of this cell are not compared
REAL_FACES = "real-faces"  # this cell reads pictures of real people, so its outputs may not show any picture

_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"  # as nbgrader writes it
_MARKS = ("### BEGIN SOLUTION", "### END SOLUTION")
_LIKE_A_MARK = re.compile(r"###.*(BEGIN|END|SOL)|#+.*(BEGIN|END)\W*SOLUTION", re.IGNORECASE)
_CHECK = re.compile(r"""^check\(\s*["']([^"']+)["']""", re.MULTILINE)
_PLACE = re.compile(r"\b(first|second|third|last)\s+option\b", re.IGNORECASE)
_BAR = re.compile(r"\d%\|")
_NUMBERS = dict(enumerate(["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]))
_WIDGET = "application/vnd.jupyter.widget-view+json"


# ---------------------------------------------------------------------------------------------- from source to notebook


def solved(lesson: NotebookNode) -> NotebookNode:
    """The lesson with its solutions, without the marks around them."""
    notebook = copy.deepcopy(lesson)
    for cell in notebook.cells:
        lines = cell.source.split("\n")
        cell.source = "\n".join(line for line in lines if line.strip() not in _MARKS)
    return notebook


def learners(lesson: NotebookNode) -> NotebookNode:
    """The lesson with stubs in place of its solutions. nbgrader raises an error if the metadata of a cell are wrong."""
    notebook, resources = copy.deepcopy(lesson), {}
    for preprocessor in (ClearSolutions(), CheckCellMetadata()):
        notebook, resources = preprocessor.preprocess(notebook, resources)
    for cell in notebook.cells:
        cell.source = re.sub(f"^{re.escape(_STUB)}", "# YOUR CODE HERE", cell.source, flags=re.MULTILINE)
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in a fresh kernel, as a learner who has not solved anything yet.

    notebook: keeps the outputs.
    folder: which the kernel works in.
    Raises `MetaFaceError` if a cell fails.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"METAFACE_HOME": home, "METAFACE_BUDGET": "quick", "JUPYTER_PREFER_ENV_PATH": "1"}
        environment["OMP_NUM_THREADS"] = "1"  # so that sums are equal on any number of cores, for nbval
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            store_widget_state=False,
        )
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError) as error:
            raise MetaFaceError(f"A cell failed.\n{error}") from error
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := _kept(output, _tags(cell)))]


def _kept(output: NotebookNode, tags: list[str]) -> NotebookNode | None:
    """The output without widgets, which a stored notebook cannot show; the widget's picture stays.

    None for progress bars, and for warnings in cells that nbval does not compare.
    """
    text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
    if IGNORE_OUTPUT in tags and (_BAR.search(text) or output.get("name") == "stderr"):
        return None
    if output.get("data") == {}:  # a bar that has taken itself away
        return None
    if "data" in output:
        output.data.pop(_WIDGET, None)
        output.metadata = NotebookNode()
    return output


# ------------------------------------------------------------------------------------------------- what is refused


def source_faults(lesson: NotebookNode, number: str) -> list[str]:
    """The faults of a lesson's source, in sentences."""
    faults = (
        _head_faults,
        _exercise_faults,
        _import_faults,
        _equation_faults,
        _quiz_faults,
        _cell_faults,
        _link_faults,
    )
    return [fault for find in faults for fault in find(lesson, number)]


def _head_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    text = _markdown(lesson)
    wanted = {
        "objectives": (r"\*\*After this lesson you can\*\*", "**After this lesson you can**"),
        "prerequisites": (r"\*\*You need\*\*", "**You need** lesson 01"),
        "prediction": (r"\*\*Predict", "**Predict:** will it pass? above a cell that shows the outcome"),
        "quiz": ("^## Quiz", "## Quiz"),
        "recap": ("^## Recap", "## Recap"),
        "references": ("^## References", "## References"),
    }
    registered = [e for e in exercises() if e.lesson == number]
    if {*_checked(lesson)} <= {e.name for e in registered}:  # or their count is not known yet
        if len(registered) < 3:
            count = f"{len(registered)} exercise{'s' * (len(registered) != 1)}"
            yield f"The lesson has {count}: write at least three in exercises/lesson{number}.py."
        else:
            points = sum(exercise.points for exercise in registered)
            worth = f"with {_NUMBERS.get(len(registered), len(registered))} exercises, worth {points} points"
            wanted["true count of its exercises"] = (worth.replace(" ", r"\s+"), worth)
    for what, (pattern, example) in wanted.items():
        if not re.search(pattern, text, re.MULTILINE):
            yield f"The lesson has no {what}: write '{example}'."
    for read in (lesson_minutes, lesson_budget):
        try:
            read(lesson)
        except MetaFaceError as error:
            yield str(error)


def _exercise_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    registered = [e.name for e in exercises() if e.lesson == number]
    waiting: NotebookNode | None = None  # an answer cell that no check has followed yet
    before: NotebookNode | None = None
    for cell in _code(lesson):
        yield from _mark_faults(cell)
        if _is_answer(cell):
            if waiting:
                yield _without_check(waiting, registered)
            waiting = cell
        if names := _CHECK.findall(cell.source):
            if waiting and waiting is not cell and waiting is not before and _identity(waiting) != _grade_id(names[0]):
                yield _without_check(waiting, registered)
                waiting = None
            yield from _answer_faults(waiting, names[0])
            waiting = None
        before = cell
    if waiting:
        yield _without_check(waiting, registered)
    checked = Counter(_checked(lesson))
    for name in checked:
        if name not in registered:
            yield f"The lesson checks '{name}', but exercises/lesson{number}.py has no exercise of that name."
    for name in registered:
        if checked[name] != 1:
            yield f"The exercise '{name}' is checked {checked[name]} times instead of once."


def _answer_faults(cell: NotebookNode | None, name: str) -> Iterator[str]:
    """Faults of the answer cell above the check of an exercise; None if there is no such cell."""
    begin = f'with # %% exercise="{_grade_id(name)}"'
    if cell is None:
        yield (
            f"The check of '{name}' has no answer cell above it: begin its answer cell {begin} and put the answer"
            f" between {' and '.join(_MARKS)}."
        )
    elif not _identity(cell):
        yield f"The cell {_quote(cell)} has a solution and names no exercise: begin it {begin}."
    elif _identity(cell) != _grade_id(name):
        yield f'The answer cell {_quote(cell)} belongs to "{name}": begin it {begin}.'


def _mark_faults(cell: NotebookNode) -> Iterator[str]:
    """Faults of the marks around the answer in a cell; nbgrader would not find it, or not its end."""
    lines = [line.strip() for line in cell.source.split("\n")]
    marks = [line for line in lines if line in _MARKS]
    misspelt = [line for line in lines if _LIKE_A_MARK.match(line) and line not in _MARKS]
    for line in misspelt:
        (meant,) = get_close_matches(line.upper(), _MARKS, n=1, cutoff=0)
        yield f"The cell {_quote(cell)} has the line '{line}': write {meant}."
    begin, end = _MARKS
    if misspelt:
        return
    if _identity(cell) and not marks:
        yield f"The answer cell {_quote(cell)} has no '{begin}' and '{end}': write them around the answer."
    for mark, after in pairwise([end, *marks, begin]):
        if mark == after == begin:
            yield f"The cell {_quote(cell)} has '{begin}' without its end: write {end} below the answer."
        if mark == after == end:
            yield f"The cell {_quote(cell)} has '{end}' without its beginning: write {begin} above the answer."


def _without_check(cell: NotebookNode, registered: list[str]) -> str:
    """The fault of an answer cell that no check follows, with the check to write."""
    identity = _identity(cell)
    if not identity:
        return (
            f'The cell {_quote(cell)} has a solution and names no exercise: begin it with # %% exercise="…", and write'
            ' check("…", …) below it.'
        )
    spelt = {_grade_id(name): name for name in registered}
    name = spelt.get(identity, identity.replace("-", ".", 1).replace("-", "_"))
    answers = [
        node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ast.unparse(node.targets[0])
        for node in _parsed(cell).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign)
    ]
    return (
        f'The answer cell {_quote(cell)} is followed by no check: write check("{name}", {(answers or ["…"])[-1]}) below'
        " it, at the beginning of a line, without assigning it."
    )


def _import_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    imported = set()
    for cell in _code(lesson):
        for node in ast.walk(_parsed(cell)):
            if isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    for function in ("hint", "solution"):
        if _checked(lesson) and f"metaface_lessons.exercises.{function}" not in imported:
            yield f"The lesson does not import `{function}`, but its checks tell learners to call it. Import it."
    if not any(re.match(r"metaface_lessons\.widgets\.\w+_explorer\b", name) for name in imported):
        yield "The lesson has no explorer: import one, as in 'from metaface_lessons.widgets import face_explorer'."


def _equation_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    tags: Counter[str] = Counter()
    for cell in lesson.cells:
        if cell.cell_type != "markdown":
            continue
        for equation in re.findall(r"\$\$(.+?)\$\$", cell.source, re.DOTALL):
            found = re.findall(r"\\tag\{([^}]*)\}", equation)
            tags.update(found)
            if not found:
                yield f"The equation $${equation.strip()[:60]}…$$ has no number: add \\tag{{{int(number)}.n}}."
    for tag, count in tags.items():
        if not re.fullmatch(rf"{int(number)}\.\d+[a-z]?", tag):
            yield f"Equation number {tag} is not of the form {int(number)}.n."
        if count > 1:
            yield f"Equation number {tag} occurs {count} times."
    cited = {
        (tag, _quote(cell))
        for cell in lesson.cells
        for tag in re.findall(rf"\(({int(number)}\.\d+[a-z]?)\)", _comments(cell))
    }
    cited |= {
        (tag, f"of exercise {exercise.name}")
        for exercise in exercises()
        if exercise.lesson == number
        for tag in re.findall(r"\(([^)]*)\)", exercise.equation)
    }
    for tag, where in sorted(cited):
        if tag not in tags:
            yield f"Equation ({tag}), cited in {where}, does not exist."


def _quiz_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    if parted := re.findall(
        r"</details>\n(?:<br>\n)?\s*\n<details>\s*<summary>(.*?)</summary>", _markdown(lesson), re.DOTALL
    ):
        for option in parted:
            yield f"An empty line is before '{option[:60]}': options must follow each other without an empty line."
        return  # which options belong to which question is not known
    questions = quiz(lesson)
    if len(questions) < 3:
        yield f"The quiz has {len(questions)} questions: write three or more (metaface_lessons/sources.py says how)."
    for place, question in enumerate(questions, start=1):
        if not question.text.startswith(f"{place}. "):
            yield f"The question '{question.text[:60]}…' is number {place} of the quiz: begin it with **{place}. "
        where, right = f"'{question.text[:60]}…'", sum(option.right for option in question.options)
        if len(question.options) < 3:
            yield f"The question {where} has {len(question.options)} options: write three or more."
        if right != 1:
            yield (
                f"The question {where} has {right} right options: begin the explanation of one, and of no other, with"
                " 'Right'."
            )
        for option in question.options:
            if not option.explanation:
                yield (
                    f"The option '{option.summary[:60]}' has no explanation: write"
                    " <details><summary>option</summary>why it is right, or is not</details>."
                )
            if place := _PLACE.search(option.explanation):
                yield (
                    f"The explanation of '{option.summary[:60]}' speaks of the {place[1]} option, but options are"
                    " shuffled: say what that option says."
                )
    yield from _length_faults(questions)


def _length_faults(questions: list[Question]) -> Iterator[str]:
    for name, extreme in (("longest", max), ("shortest", min)):
        giving = [
            f"'{question.text[:30]}…'"
            for question in questions
            if extreme(option.length for option in question.options)
            in [option.length for option in question.options if option.right]
        ]
        if 2 * len(giving) > len(questions):
            yield (
                f"The right option is the {name} in {len(giving)} of {len(questions)} questions, which gives it away:"
                f" {'; '.join(giving)}. A tie counts. Write wrong options of another length until it is so in at most"
                " half."
            )


def _cell_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    for cell in lesson.cells:
        for tag in _tags(cell):
            if tag not in (IGNORE_OUTPUT, REAL_FACES):
                yield f'The cell {_quote(cell)} has the tag "{tag}". Known: {IGNORE_OUTPUT}, {REAL_FACES}.'
        wide = [line for line in cell.source.split("\n") if cell.cell_type == "code" and len(line) > WIDTH]
        if wide:
            yield f"The line '{wide[0].strip()[:60]}…' of code has {len(wide[0])} characters: write at most {WIDTH}."
        if cell.cell_type == "markdown" and (re.search(r"!\[\s*\]\(", cell.source) or _without_alt(cell.source)):
            yield f"A picture in {_quote(cell)} has no alt text."
        real = re.search(r"""["'](olivetti|lfw|folder:)""", cell.source)
        if cell.cell_type == "code" and real and REAL_FACES not in _tags(cell):
            yield f"The cell {_quote(cell)} names real faces: {_tag(REAL_FACES)}."


def _link_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    """Faults of the links: a learner's folder has the lessons and the glossary, and nothing else of the course."""
    known = {f"{source.stem}.ipynb" for source in sources().values()} | {"GLOSSARY.md"}
    for link in re.findall(r"""\]\(([^)\s]+)\)|href=["']([^"']+)["']""", _markdown(lesson)):
        target = "".join(link).partition("#")[0]
        if target and not target.startswith("https://") and target not in known:
            yield f"The link to '{target}' leads nowhere in a learner's folder, which has: {', '.join(sorted(known))}."


def output_faults(notebook: NotebookNode, number: str, passed: bool) -> list[str]:
    """The faults of an executed lesson's outputs, in sentences.

    notebook: the executed lesson.
    number: the lesson, such as "02".
    passed: whether its checks must pass, as in the solved notebook, or must say that nothing was attempted.
    """
    faults = []
    paths = (str(NOTEBOOKS.parent), str(Path.home()), tempfile.gettempdir())
    own_name = re.compile(rf"(?<![\w.-]){re.escape(platform.node())}(?![\w-])") if platform.node() else None
    compared = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        ignored = IGNORE_OUTPUT in _tags(cell)
        compared += bool(cell.outputs) and not ignored
        shown = []
        for output in cell.outputs:
            data = output.get("data", {})
            text = output.get("text", "") or data.get("text/plain", "")
            html = data.get("text/html", "")
            shown.append(text)
            if (any(kind.startswith("image/") for kind in data) and "<img" not in html) or _without_alt(html):
                faults.append(
                    f"{_quote(cell)} shows a picture without alt text: show it with figures.show(figure, alt);"
                    " in an explorer's draw, use matplotlib.figure.Figure, not pyplot."
                )
            if REAL_FACES in _tags(cell) and (any(kind.startswith("image/") for kind in data) or "<img" in html):
                faults.append(f"{_quote(cell)} reads real faces, and shows a picture: store numbers only.")
            long = max(text.splitlines(), key=len, default="") if output.output_type == "stream" else ""
            if len(long) > WIDTH and output.get("name") == "stdout":
                faults.append(
                    f"{_quote(cell)} prints a line of {len(long)} characters, and JupyterLab breaks it: show a"
                    f" figures.table, or write at most {WIDTH}.\n{long}"
                )
            told = text + re.sub(r'src="data:[^"]*"', "", html)
            if output.get("name") == "stderr" and not ignored:
                faults.append(f"{_quote(cell)} writes to stderr:\n{text}\nFix it, or {_tag(IGNORE_OUTPUT)}.")
            elif (_BAR.search(text) or re.search(r"\b0x[0-9a-f]{6,}", text)) and not ignored:
                faults.append(_differs(cell, text))
            elif any(path in told for path in paths):
                faults.append(f"{_quote(cell)} shows a path of this machine: print path.name instead.\n{text[:200]}")
            elif own_name and own_name.search(told):
                faults.append(f"{_quote(cell)} shows the name of this machine: do not print it.\n{text[:200]}")
        for name in _CHECK.findall(cell.source):
            said = next((text for text in shown if f" {name}:" in text), "nothing")
            if not said.startswith(f"✓ {name}: passed" if passed else f"○ {name}: Not attempted"):
                faults.append(f"The check of '{name}' does not say {'passed' if passed else 'not attempted'}:\n{said}")
    if not compared:
        faults.append("No cell has an output that nbval compares.")
    return faults


def differing_faults(one: NotebookNode, other: NotebookNode) -> list[str]:
    """The cells that show something else in the other run of a lesson, though their source is the same.

    one, other: the executed notebooks. What nbval does not compare, and what depends on the answers, may differ.
    """
    return [
        _differs(cell, _shown(cell))
        for cell, again in zip(one.cells, other.cells, strict=True)
        if cell.cell_type == "code"
        and cell.source == again.source
        and IGNORE_OUTPUT not in _tags(cell)
        and not re.search(r"\b(check|progress|solution|hint)\(", cell.source)
        and _shown(cell) != _shown(again)
    ]


def _shown(cell: NotebookNode) -> str:
    """What a cell shows, without warnings and the pixels of pictures."""
    shown = ""
    for output in cell.outputs:
        if output.get("name") != "stderr":
            data = output.get("data", {})
            shown += output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
    return re.sub(r'src="data:[^"]*"', "", shown)


def _differs(cell: NotebookNode, text: str) -> str:
    return f"{_quote(cell)} shows what differs from run to run: {_tag(IGNORE_OUTPUT)}.\n{text[:200]}"


class _Images(HTMLParser):
    without_alt = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.without_alt += tag == "img" and not (dict(attributes).get("alt") or "").strip()


def _without_alt(html: str) -> bool:
    images = _Images()
    images.feed(html)
    return images.without_alt > 0


def _markdown(lesson: NotebookNode) -> str:
    return "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")


def _code(lesson: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in lesson.cells if cell.cell_type == "code"]


def _checked(lesson: NotebookNode) -> list[str]:
    """The names of the exercises that a lesson checks."""
    return [name for cell in _code(lesson) for name in _CHECK.findall(cell.source)]


def _parsed(cell: NotebookNode) -> ast.Module:
    """A cell as Python; empty if it is something else, such as a magic command of IPython."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module([], [])


def _is_answer(cell: NotebookNode) -> bool:
    return bool(_identity(cell)) or any(mark in cell.source for mark in _MARKS)


def _identity(cell: NotebookNode) -> str:
    """The exercise that an answer cell names, as nbgrader knows it; empty if it names none."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def _grade_id(name: str) -> str:
    """nbgrader's name of an exercise, such as "maml-inner-step"."""
    return re.sub(r"[._]", "-", name)


def _tag(name: str) -> str:
    return f'tag the cell: begin it with # %% tags=["{name}"]'


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _comments(cell: NotebookNode) -> str:
    return " ".join(re.findall(r"#.*", cell.source)) if cell.cell_type == "code" else ""


def _quote(cell: NotebookNode) -> str:
    first = next((line for line in cell.source.split("\n") if line.strip()), "")
    return f"'{first[:60]}…'"


# ----------------------------------------------------------------------------------------------------------- building


def targets(source: Path) -> dict[Path, bool]:
    """The two notebooks of a source, and whether they are solved."""
    folder = source.parent.parent
    return {
        folder / f"{source.stem}.ipynb": False,
        folder / "solutions" / f"{source.stem}.ipynb": True,
    }


def build(source: Path) -> None:
    """Build, execute and write both notebooks of a source.

    Raises `MetaFaceError` with all faults, and then writes neither.
    """
    lesson, number = read_source(source), source.name[:2]
    faults = source_faults(lesson, number)
    if faults:
        raise MetaFaceError("\n".join(faults))
    built, found = {}, {}
    for target, is_solved in targets(source).items():
        notebook = solved(lesson) if is_solved else learners(lesson)
        target.parent.mkdir(exist_ok=True)
        execute(notebook, target.parent)
        built[target] = notebook
        found["Solved: " if is_solved else "Learner’s: "] = output_faults(notebook, number, is_solved)
    found[""] = differing_faults(*built.values())
    if faults := _once(found):
        raise MetaFaceError("\n".join(faults))
    for target, notebook in built.items():
        nbformat.validate(notebook)
        write_atomically(target, (nbformat.writes(notebook).rstrip() + "\n").encode())


def _once(found: dict[str, list[str]]) -> list[str]:
    """Each fault once, after the name of the notebook that has it if only one has it.

    The first line of a fault is what is the same in both runs; outputs follow.
    """
    everything = [(name, fault, fault.partition("\n")[0]) for name, faults in found.items() for fault in faults]
    names: dict[str, set[str]] = {}
    for name, _, first in everything:
        names.setdefault(first, set()).add(name)
    once = {first: fault for _, fault, first in reversed(everything)}
    return [(next(iter(where)) if len(where) == 1 else "") + once[first] for first, where in names.items()]


def out_of_step(source: Path) -> list[str]:
    """The differences between a source and its notebooks, in cells and metadata, not in outputs."""
    lesson = read_source(source)
    faults = []
    for target, is_solved in targets(source).items():
        name = target.relative_to(source.parent.parent)
        if not target.exists():
            faults.append(f"{name} is missing.")
            continue
        stored, wanted = nbformat.read(target, as_version=4), solved(lesson) if is_solved else learners(lesson)
        if stored.metadata != wanted.metadata:
            faults.append(f"{name}: the metadata of the notebook differ.")
        if len(stored.cells) != len(wanted.cells):
            faults.append(f"{name} has {len(stored.cells)} cells, its source {len(wanted.cells)}.")
        for one, other in zip(stored.cells, wanted.cells, strict=False):
            if any(one[key] != other[key] for key in ("cell_type", "id", "source", "metadata")):
                faults.append(f"{name}: the cell {_quote(one)} is not the source's {_quote(other)}.")
                break  # what follows has most likely only moved
    return faults


def main(arguments: list[str] | None = None, folder: Path = NOTEBOOKS) -> int:
    """Build or compare the lessons that are named, or all. Returns 1 if one fails."""
    parser = argparse.ArgumentParser(description="Build and execute the notebooks.", epilog="example: build.py 02")
    parser.add_argument("lessons", nargs="*", help="numbers such as 02; without them, all lessons")
    parser.add_argument("--check", action="store_true", help="compare notebooks with sources, and write nothing")
    args = parser.parse_args(arguments)

    known = sources(folder)
    failed = False
    for number in args.lessons or known:
        start = time.monotonic()
        try:
            if number not in known:
                raise unknown("lesson", number, known)
            source = known[number]
            print(f"{source.stem} … ", end="", flush=True)
            if args.check:
                if faults := out_of_step(source):
                    raise MetaFaceError("\n".join([*faults, f"Run: python notebooks/build.py {number}"]))
                print("in step")
            else:
                build(source)
                print(f"built and executed twice in {time.monotonic() - start:.0f} s")
        except Exception as error:  # the other lessons are built all the same
            failed = True
            print(
                f"refused\n{error}" if isinstance(error, MetaFaceError) else f"failed\n{type(error).__name__}: {error}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
