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
import copy
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbgrader.preprocessors import CheckCellMetadata, ClearSolutions

from metaface_lessons.errors import MetaFaceError, unknown
from metaface_lessons.exercises.core import exercises
from metaface_lessons.paths import NOTEBOOKS, write_atomically
from metaface_lessons.sources import METADATA, Question, lesson_budget, quiz, read_source, sources

CELL_SECONDS = 600
IGNORE_OUTPUT = "nbval-ignore-output"  # nbval's own tag: the outputs of this cell are not compared
REAL_FACES = "real-faces"  # this cell reads pictures of real people, so its outputs may not show any picture

_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"  # as nbgrader writes it
_CHECK = re.compile(r"""^check\(\s*["']([^"']+)["']""", re.MULTILINE)
_BAR = re.compile(r"\d%\|")
_NUMBERS = dict(enumerate(["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]))
_WIDGET = "application/vnd.jupyter.widget-view+json"


# ---------------------------------------------------------------------------------------------- from source to notebook


def solved(lesson: NotebookNode) -> NotebookNode:
    """The lesson with its solutions, without the marks around them."""
    notebook = copy.deepcopy(lesson)
    for cell in notebook.cells:
        lines = cell.source.split("\n")
        cell.source = "\n".join(line for line in lines if not re.match(r"\s*###\s*(BEGIN|END) SOLUTION", line))
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
    if "data" in output:
        output.data.pop(_WIDGET, None)
        output.metadata = NotebookNode()
    return output


# ------------------------------------------------------------------------------------------------- what is refused


def source_faults(lesson: NotebookNode, number: str) -> list[str]:
    """The faults of a lesson's source, in sentences."""
    faults = (_head_faults, _exercise_faults, _equation_faults, _picture_faults)
    return [*(fault for find in faults for fault in find(lesson, number)), *_quiz_faults(quiz(lesson))]


def _head_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    text = _markdown(lesson)
    registered = [e for e in exercises() if e.lesson == number]
    points = sum(exercise.points for exercise in registered)
    worth = f"with {_NUMBERS.get(len(registered), len(registered))} exercises, worth {points} points"
    wanted = {
        "objectives": (r"\*\*After this lesson you can\*\*", "**After this lesson you can**"),
        "prerequisites": (r"\*\*You need\*\*", "**You need** lesson 01"),
        "minutes": (r"\*\*Time\*\* \d+ minutes", "**Time** 60 minutes"),
        "true count of its exercises": (worth.replace(" ", r"\s+"), worth),
        "quiz": ("^## Quiz", "## Quiz"),
        "recap": ("^## Recap", "## Recap"),
        "references": ("^## References", "## References"),
    }
    for what, (pattern, example) in wanted.items():
        if not re.search(pattern, text, re.MULTILINE):
            yield f"The lesson has no {what}: write '{example}'."
    try:
        lesson_budget(lesson)
    except MetaFaceError as error:
        yield str(error)


def _exercise_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    registered = {e.name: e for e in exercises() if e.lesson == number}
    checked: list[str] = []
    waiting: NotebookNode | None = None  # an answer cell that no check has followed yet
    for cell in lesson.cells:
        if cell.cell_type != "code":
            continue
        names, answers = _CHECK.findall(cell.source), "### BEGIN SOLUTION" in cell.source
        if answers and not cell.metadata.get("nbgrader"):
            yield f'The cell {_quote(cell)} has a solution and names no exercise: begin it with # %% exercise="…".'
        if cell.metadata.get("nbgrader"):
            if not answers:
                yield f"The answer cell {_quote(cell)} has no '### BEGIN SOLUTION' and '### END SOLUTION'."
            if waiting:
                yield f"The answer cell {_quote(waiting)} is followed by no check."
            waiting = cell
        if names and waiting and waiting.metadata.nbgrader.grade_id != (name := re.sub(r"[._]", "-", names[0])):
            yield f'The answer cell {_quote(waiting)} belongs to "{names[0]}": begin it with # %% exercise="{name}".'
        if names:
            checked += names
            waiting = None
    if waiting:
        yield f"The answer cell {_quote(waiting)} is followed by no check."
    code = "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "code")
    for function in ("hint", "solution"):
        if checked and not re.search(rf"^from metaface_lessons\.exercises import .*\b{function}\b", code, re.MULTILINE):
            yield f"The lesson does not import `{function}`, but its checks tell learners to call it. Import it."
    for name in dict.fromkeys(checked):
        if name not in registered:
            yield f"The lesson checks '{name}', but exercises/lesson{number}.py has no such exercise."
    for name in registered:
        if checked.count(name) != 1:
            yield f"The exercise '{name}' is checked {checked.count(name)} times instead of once."


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


def _quiz_faults(questions: list[Question]) -> Iterator[str]:
    if len(questions) < 3:
        yield f"The quiz has {len(questions)} questions: write three or more (metaface_lessons/sources.py says how)."
    for question in questions:
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
    for name, extreme in (("longest", max), ("shortest", min)):
        ends = [extreme(option.length for option in question.options) for question in questions]
        lengths = [[option.length for option in question.options if option.right] for question in questions]
        count = sum(end in right for end, right in zip(ends, lengths, strict=True))
        if 2 * count > len(questions):
            yield (
                f"The right option is the {name} in {count} of {len(questions)} questions, which gives it away: write"
                " wrong options of another length until it is so in at most half."
            )


def _picture_faults(lesson: NotebookNode, number: str) -> Iterator[str]:
    for cell in lesson.cells:
        if cell.cell_type == "markdown" and (re.search(r"!\[\s*\]\(", cell.source) or _without_alt(cell.source)):
            yield f"A picture in {_quote(cell)} has no alt text."
        real = re.search(r"""["'](olivetti|lfw|folder:)""", cell.source)
        if cell.cell_type == "code" and real and REAL_FACES not in _tags(cell):
            yield f"The cell {_quote(cell)} names real faces: {_tag(REAL_FACES)}."


def output_faults(notebook: NotebookNode, number: str, passed: bool) -> list[str]:
    """The faults of an executed lesson's outputs, in sentences.

    notebook: the executed lesson.
    number: the lesson, such as "02".
    passed: whether its checks must pass, as in the solved notebook, or must say that nothing was attempted.
    """
    faults = []
    private = (str(NOTEBOOKS.parent), str(Path.home()), tempfile.gettempdir())
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
            if any(kind.startswith("image/") for kind in data) or _without_alt(html):
                faults.append(
                    f"{_quote(cell)} shows a picture without alt text: show it with figures.show(figure, alt)."
                )
            if REAL_FACES in _tags(cell) and (any(kind.startswith("image/") for kind in data) or "<img" in html):
                faults.append(f"{_quote(cell)} reads real faces, and shows a picture: store numbers only.")
            if output.get("name") == "stderr" and not ignored:
                faults.append(f"{_quote(cell)} writes to stderr:\n{text}\nFix it, or {_tag(IGNORE_OUTPUT)}.")
            if (_BAR.search(text) or re.search(r"\b0x[0-9a-f]{6,}", text)) and not ignored:
                faults.append(
                    f"{_quote(cell)} shows what differs from run to run: {_tag(IGNORE_OUTPUT)}.\n{text[:200]}"
                )
            if any(path in text + re.sub(r'src="data:[^"]*"', "", html) for path in private):
                faults.append(f"{_quote(cell)} shows a path of this machine:\n{text[:200]}")
        for name in _CHECK.findall(cell.source):
            said = next((text for text in shown if f" {name}:" in text), "nothing")
            if not said.startswith(f"✓ {name}: passed" if passed else f"○ {name}: Not attempted"):
                faults.append(f"The check of '{name}' does not say {'passed' if passed else 'not attempted'}:\n{said}")
    if not compared:
        faults.append("No cell has an output that nbval compares.")
    return faults


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
    built = {}
    for target, is_solved in targets(source).items():
        notebook = solved(lesson) if is_solved else learners(lesson)
        target.parent.mkdir(exist_ok=True)
        execute(notebook, target.parent)
        faults += [f"{'Solved' if is_solved else 'Learner’s'}: {f}" for f in output_faults(notebook, number, is_solved)]
        built[target] = notebook
    if faults:
        raise MetaFaceError("\n".join(faults))
    for target, notebook in built.items():
        nbformat.validate(notebook)
        write_atomically(target, (nbformat.writes(notebook).rstrip() + "\n").encode())


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
