"""Notebooks are in step with their sources, every check in them says what it should, and the builder refuses faults.

That they run, and give the stored outputs again, is nbval's part: `make test` hands it the notebooks.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.exercises import core
from metaface_lessons.paths import COURSE, NOTEBOOKS
from tests import shown_answers


def _load_builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", NOTEBOOKS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _load_builder()
SOURCES = build.sources()
each_lesson = pytest.mark.parametrize("number", SOURCES)


def test_there_are_lessons() -> None:
    assert {"00", "01", "02"} <= set(SOURCES)


@each_lesson
def test_notebooks_are_in_step_with_their_source(number: str) -> None:
    assert build.out_of_step(SOURCES[number]) == []


@each_lesson
def test_the_source_has_no_fault(number: str) -> None:
    """Its head complete, exercises registered and checked once, equations numbered and existing, pictures with alt
    text, and no option of the quiz given away by its length."""
    assert build.source_faults(build.read_source(SOURCES[number]), number) == []


@each_lesson
def test_no_cell_shows_the_answer_of_an_open_exercise(number: str) -> None:
    lesson = build.read_source(SOURCES[number])
    assert shown_answers.shown(lesson, number) == []


SHOWN = {  # a cell of the tiny lesson → whether it shows the answer of its exercise "tiny.spread", `SPREAD`
    "(y - y.mean()) / y.std(unbiased=False)": True,
    "torch.sum(2 * (row - torch.mean(row)) / row.std(unbiased=False))": True,  # whatever is around it
    "print(f'{((z[0] - z[0].mean()) / z[0].std(unbiased=False)).sum():.1f}')": True,
    "(y - z.mean()) / y.std(unbiased=False)": False,  # a name stands for one thing
    "y.std(unbiased=True)": False,
    "spread(y)": False,
    "import inspect, tests.test_notebooks as own\nprint(inspect.getsource(own.printed))": True,
    "import inspect, tests.test_notebooks as own\nprint(inspect.getsource(own.misplaced))": False,
}
SPREAD = """
# %% exercise="tiny-spread"
def spread(x):
    ### BEGIN SOLUTION
    return (x - x.mean()) / x.std(unbiased=False)
    ### END SOLUTION
"""


def printed(picture: Any) -> Any:
    return (picture - picture.mean()) / picture.std(unbiased=False)


@pytest.mark.parametrize("cell", SHOWN)
def test_a_shown_answer_is_found(cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core.exercises()
    monkeypatch.setattr(core, "_registry", {})
    core.exercise("tiny.spread", lesson="97", title="")(lambda answer: None)
    source = tmp_path / "97_tiny.py"
    for head, found in (
        ("# %%\n", SHOWN[cell]),
        ('# %% jupyter={"source_hidden": true}\n', "getsource" in cell and SHOWN[cell]),
    ):
        source.write_text(f"{SPREAD}\n{head}{cell}\n")
        assert bool(shown_answers.shown(build.read_source(source), "97")) == found


def test_another_way_to_write_the_answer_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core.exercises()
    monkeypatch.setattr(core, "_registry", {})
    core.exercise("tiny.spread", lesson="97", title="")(lambda answer: None)
    core.right_answer("tiny.spread")(printed_otherwise)
    (tmp_path / "97_tiny.py").write_text(f"{SPREAD}\n# %%\ny.sub(y.mean()).div(y.var(correction=0).sqrt())\n")
    (found,) = shown_answers.shown(build.read_source(tmp_path / "97_tiny.py"), "97")
    assert found[0] == "tiny.spread"


def printed_otherwise(z: Any) -> Any:
    return z.sub(z.mean()).div(z.var(correction=0).sqrt())


@each_lesson
def test_what_is_allowed_to_look_like_an_answer_is_still_there(number: str) -> None:
    lesson = build.read_source(SOURCES[number])
    names = {exercise.name for exercise in core.exercises(number)}
    everything = {*shown_answers.shown(lesson, number, allowed={})}
    assert {pair for pair in shown_answers.ALLOWED if pair[0] in names} <= everything


@each_lesson
def test_a_folded_cell_stands_below_words_that_say_what_it_does(number: str) -> None:
    cells = build.read_source(SOURCES[number]).cells
    for before, cell in pairwise(cells):
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            assert before.cell_type == "markdown", cell.source


@each_lesson
def test_the_stored_outputs_have_no_fault(number: str) -> None:
    """In the solved notebook every check passes, in the learner's none is attempted; and nbval has what to compare."""
    for target, solved in build.targets(SOURCES[number]).items():
        assert build.output_faults(nbformat.read(target, as_version=4), number, solved) == [], target.name


@each_lesson
def test_no_place_gives_the_right_option_away(number: str) -> None:
    questions = build.quiz(build.read_source(SOURCES[number]))
    places = Counter(place for q in questions for place, option in enumerate(q.options) if option.right)
    assert 2 * max(places.values()) <= len(questions)


def test_no_notebook_without_source() -> None:
    built = {target for source in SOURCES.values() for target in build.targets(source)}
    assert {*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")} == built


def misplaced(words: list[str]) -> list[str]:
    """The entries of the glossary that are out of order, and where they belong."""
    kept: list[str] = []
    faults = []
    for word in words:
        if not kept or kept[-1].casefold() <= word.casefold():
            kept.append(word)
        elif len(kept) > 1 and kept[-2].casefold() <= word.casefold():
            faults.append(kept.pop())  # the one before it is too far up
            kept.append(word)
        else:
            faults.append(word)
    found = []
    for word in faults:
        after = next((other for other in reversed(kept) if other.casefold() <= word.casefold()), None)
        found.append(f"'{word}' is out of order: move it " + (f"below '{after}'" if after else f"above '{kept[0]}'"))
    return found


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        ("a B c d", []),
        ("a d b c", ["'d' is out of order: move it below 'c'"]),
        ("a c d b e", ["'b' is out of order: move it below 'a'"]),
        ("b c d a", ["'a' is out of order: move it above 'b'"]),
    ],
)
def test_a_misplaced_entry_is_named_with_its_place(words: str, faults: list[str]) -> None:
    assert misplaced(words.split()) == faults


def test_the_glossary_is_in_alphabetical_order_an_entry_a_paragraph() -> None:
    lines = (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8").splitlines()
    entries = {number: found[1] for number, line in enumerate(lines) if (found := re.match(r"\*\*(.+?)\*\*", line))}
    words = [word.rstrip(".") for word in entries.values()]
    assert len(words) > 50
    assert misplaced(words) == []
    assert [word for number, word in entries.items() if lines[number - 1]] == []  # no blank line before it


# ---------------------------------------------------------------------------------------- the builder, on a tiny lesson

TINY = """# %% [markdown]
# # Tiny lesson
#
# **After this lesson you can** take a mean. **You need** lesson 96. **Time** 5
# minutes, with three exercises, worth 4 points. **Computing** less than 20
# seconds on two CPU cores.
#
# The mean of a row $x$ is
# $$m = \\frac1n \\sum_i x_i \\tag{97.1}$$

# %%
import torch
from metaface_lessons.exercises import (
    check, hint,
    progress, solution,
)
from metaface_lessons.exercises.core import exercise, expect

@exercise("tiny.mean", lesson="97", title="Mean", points=2, equation="(97.1)", hints=("Sum.",))
def _(answer):
    expect(answer(torch.tensor([1.0, 3.0])), 2.0)

@exercise("tiny.number", lesson="97", title="A number", value=True)
def _(answer):
    expect(answer, 42)

@exercise("tiny.double", lesson="97", title="The double")
def _(answer):
    expect(answer(2), 4)

# %% exercise="tiny-mean"
def mean(x):
    \"\"\"The mean of x.\"\"\"
    ### BEGIN SOLUTION
    return x.sum() / len(x)  # (97.1)
    ### END SOLUTION

check("tiny.mean", mean)

# %% exercise="tiny-number"
number = ...
### BEGIN SOLUTION
number = 42
### END SOLUTION

# %%
check("tiny.number", number)

# %% [markdown]
# **Predict:** what will the explorer show?

# %%
import ipywidgets
from metaface_lessons.widgets import path_explorer
from metaface_lessons.widgets.explorer import Explorer
from matplotlib.figure import Figure
from dataclasses import dataclass
from metaface_lessons.widgets.explorer import control

@dataclass(frozen=True)
class State:
    shots: int = control(1, "shots", low=1, high=5)

Explorer(State(), lambda state: Figure(figsize=(1, 1)), lambda state: "An empty picture.")

# %% tags=["nbval-ignore-output"]
import sys, time
print("50%|#####     | 1/2", file=sys.stderr)
print(time.time() > 0)

# %% exercise="tiny-double"
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

check("tiny.double", double)

# %%
progress()

# %% [markdown]
# <details><summary>What you may have seen</summary>A mean.</details>
#
# ## Quiz
#
# **1. What is the mean of 1 and 3?**
#
# <details><summary>One</summary>No, that is the smaller one.</details>
# <details><summary>Two</summary>Right,
# by (97.1).</details>
# <details><summary>Four</summary>No, that is the sum.</details>
#
# **2. And that of 2 and 2?**
#
# <details><summary>Two</summary>Right: both are.</details>
# <details><summary>4</summary>No, that is the sum.</details>
# <details><summary>It has none</summary>Each row has a mean.</details>
#
# **3. And that of one number?**
#
# <details><summary>It is zero</summary>Only if the number is.</details>
# <details><summary>One</summary>Only if the number is.</details>
# <details><summary>The number</summary>Right.</details>
#
# ## Recap
#
# Add, then divide.
#
# ## References
#
# None.
"""


def register_tiny() -> None:
    """What the notebook's kernel registers in its cell, for the builder's process."""
    for name, points, equation in (("tiny.mean", 2, "(97.1)"), ("tiny.number", 1, ""), ("tiny.double", 1, "")):
        core.exercise(name, lesson="97", title="", points=points, equation=equation)(lambda answer: None)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of notebooks whose only lesson is the tiny one."""
    core.exercises()  # or the lessons' own would be registered in the place of the real registry, and forgotten
    monkeypatch.setattr(core, "_registry", {})
    monkeypatch.setenv("PYTHONPATH", str(COURSE))
    register_tiny()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "97_tiny.py").write_text(TINY)
    return tmp_path


def cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_building_and_validating_a_lesson(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["97"], course) == 0, capsys.readouterr().out
    learners, solved = cells(course / "97_tiny.ipynb"), cells(course / "solutions" / "97_tiny.ipynb")

    assert "    # YOUR CODE HERE\n    raise NotImplementedError()\n" in learners[1].source
    assert learners[2].source == "number = ...\n# YOUR CODE HERE"
    assert "SOLUTION" not in "".join(cell.source for cell in learners + solved)
    assert "return x.sum() / len(x)" in solved[1].source

    orders = [build.quiz(nbformat.read(file, as_version=4)) for file in course.rglob("*.ipynb")]
    assert len(orders[0]) == 3
    assert orders[0] == orders[1]

    assert [output.data["text/plain"] for output in solved[1].outputs] == ["✓ tiny.mean: passed (2 points)."]
    assert [output.data["text/plain"] for output in learners[3].outputs] == ["○ tiny.number: Not attempted yet."]
    assert "✓ tiny.number" in solved[-1].outputs[0].data["text/plain"]
    assert "○ tiny.number" in learners[-1].outputs[0].data["text/plain"]
    (widget,) = solved[4].outputs
    assert set(widget.data) == {"text/plain", "text/html", "image/png"}  # the picture, for readers without a kernel
    assert widget.data["text/plain"] == "An empty picture."
    assert [output.text for output in solved[5].outputs] == ["True\n"]  # the bar is gone

    assert build.main(["--check"], course) == 0
    built = {path: path.read_bytes() for path in course.rglob("*.ipynb")}
    assert build.main([], course) == 0
    assert built == {path: path.read_bytes() for path in course.rglob("*.ipynb")}  # same source, same bytes

    # nbval, as `make test` calls it, finds the stored outputs again; and notices one that has changed.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    command += ["--nbval-sanitize-with", str(COURSE / "tests" / "nbval.cfg"), "--rootdir", str(course)]
    environment = os.environ | {"METAFACE_HOME": str(course / "home")}

    def nbval() -> subprocess.CompletedProcess[str]:
        notebook = str(course / "solutions" / "97_tiny.ipynb")
        return subprocess.run([*command, notebook], env=environment, cwd=course, capture_output=True, text=True)

    run = nbval()
    assert run.returncode == 0, run.stdout
    notebook = course / "solutions" / "97_tiny.ipynb"
    notebook.write_text(notebook.read_text().replace("passed (2 points)", "passed (3 points)"))
    assert nbval().returncode == 1


def bare_double(source: str) -> str:
    """The tiny lesson with an answer cell that neither names its exercise nor has marks."""
    return re.sub(r' exercise="tiny-double"(.|\n)*?END SOLUTION', "\ndouble = abs", source)


FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "no check": (lambda s: s.replace('check("tiny.m', 'print("tiny.m'), r'write check\("tiny.mean", mean\) below it'),
    "no check of a value": (
        lambda s: s.replace('check("tiny.n', 'print("tiny.n'),
        r'write check\("tiny.number", number\) below',
    ),
    "no check, not registered": (
        lambda s: s + '\n# %% exercise="tiny-own-step"\n### BEGIN SOLUTION\nstep = 1\n### END SOLUTION\n',
        r'write check\("tiny.own_step", step\) below it',
    ),
    "check with outcome": (lambda s: s.replace('check("tiny.m', 'o = check("tiny.m'), "line, without assigning it"),
    "last cell without check": (lambda s: s.replace('check("tiny.double", double)', "1"), "followed by no check"),
    "no objectives": (lambda s: s.replace("**After this lesson", "After this lesson"), "no objectives: write"),
    "no minutes": (lambda s: s.replace("5\n# minutes", "a moment"), "no minutes: write"),
    "wrong points": (lambda s: s.replace("worth 4", "worth 5"), "write 'with three exercises, worth 4 points'"),
    "no budget": (lambda s: s.replace("less than 20", "twenty"), "no budget: write"),
    "no quiz": (lambda s: s.replace("## Quiz", "Quiz"), "no quiz: write"),
    "no exercise": (lambda s: s.replace(' exercise="tiny-mean"', ""), r'names no exercise: .*exercise="tiny-mean"\.'),
    "neither exercise nor check": (
        lambda s: s.replace(' exercise="tiny-mean"', "").replace('check("tiny.m', 'print("tiny.m'),
        'names no exercise: begin it with # %% exercise="…", and write check',
    ),
    "neither exercise nor marks": (
        bare_double,
        'above it: begin its answer cell with # %% exercise="tiny-double" and put the answer between ### BEGIN',
    ),
    "neither check, nor exercise and marks of the next": (
        lambda s: bare_double(s.replace('check("tiny.n', 'print("tiny.n')),
        r'check\("tiny.number", number\) below it(.|\n)*begin its answer cell with # %% exercise="tiny-double"',
    ),
    "another exercise": (lambda s: s.replace('="tiny-mean"', '="tiny"'), 'begin it with # %% exercise="tiny-mean"'),
    "no region": (
        lambda s: re.sub(r" *### (BEGIN|END) SOLUTION\n", "", s),
        "has no '### BEGIN SOLUTION' and '### END SOLUTION': write",
    ),
    "no beginning": (
        lambda s: s.replace("    ### BEGIN SOLUTION\n", "", 1),
        "without its beginning: write ### BEGIN SOLUTION above",
    ),
    "no end": (
        lambda s: s.replace("    ### END SOLUTION\n", "", 1),
        "'def mean.*without its end: write ### END SOLUTION below",
    ),
    "misspelt end": (lambda s: s.replace("### END SOLUTION", "### End soluton", 1), "soluton': write ### END SOLUTION"),
    "no hash of a mark": (lambda s: s.replace("### END S", "## END S", 1), "the line '## END SOLUTION': write ### END"),
    "misspelt beginning": (lambda s: s.replace("### BEGIN S", "# BEGIN-S"), "# BEGIN-SOLUTION': write ### BEGIN SOL"),
    "parted options": (
        lambda s: s.replace("# <details><summary>Four", "#\n# <details><summary>Four"),
        "before 'Four': options must follow each other without an empty line",
    ),
    "all options parted": (
        lambda s: s.replace("\n# <details>", "\n#\n# <details>"),
        "(?s)^(?!.*has 0 questions).*without an empty line",
    ),
    "option by its place": (
        lambda s: s.replace("Right.<", "Right. The last\n# option is.<"),
        "speaks of the last option",
    ),
    "no prediction": (lambda s: s.replace("**Predict", "Predict"), "no prediction: write"),
    "no explorer": (lambda s: s.replace("import path_explorer", "import explorer"), "no explorer: import one"),
    "unknown tag": (
        lambda s: s.replace('tags=["nbval-ignore', 'tags=["ignore'),
        "Known: nbval-ignore-output, real-faces",
    ),
    "no explanation": (lambda s: s.replace("Only if the number is.", "", 1), "'It is zero' has no explanation: write"),
    "no right option": (lambda s: s.replace(">Right: both", ">Both"), "'2. And that of 2 and 2.*has 0 right options"),
    "two right options": (lambda s: s.replace("No, that is the sum", "Right", 1), "has 2 right options"),
    "question without number": (
        lambda s: s.replace("**2. And", "**And"),
        r"'And that of 2 and 2.*is number 2 of the quiz: begin it with \*\*2\. ",
    ),
    "wide code": (
        lambda s: s + f"\n# %%\nx = '{'y' * 95}'\n",
        "of code has 101 characters: write at most 100",
    ),
    "link to nowhere": (
        lambda s: s.replace("Add, then", "Read [the card](../data/lfw.md), add, then"),
        r"link to '\.\./data/lfw\.md' leads nowhere in a learner's folder, which has: .*GLOSSARY\.md",
    ),
    "two options": (lambda s: re.sub(r"# <details><summary>4<.*\n", "", s), "has 2 options: write three"),
    "two questions": (lambda s: re.sub(r"# \*\*3(.|\n)*?# ## Recap", "# ## Recap", s), "has 2 questions: write three"),
    "right is longest": (
        lambda s: s.replace(">Two</summary>", ">It is two, or near</summary>"),
        "3 of 3.*: '1. What.*; '2. And.*A tie counts",
    ),
    "right is shortest": (lambda s: s.replace(">Two</summary>", ">2</summary>"), "shortest in 2 of 3 questions"),
    "no solution": (lambda s: s.replace("progress, solution", "progress"), "not import `solution`"),
    "not registered": (
        lambda s: s.replace('check("tiny.mean"', 'check("tiny.meen"'),
        "exercises/lesson97.py has no exercise of that name",
    ),
    "not checked": (lambda s: s.replace('check("tiny.mean", mean)', 'check("tiny.number", 1)'), "checked 0 times"),
    "no number": (lambda s: s.replace(r"\tag{97.1}", ""), "has no number"),
    "number of another lesson": (lambda s: s.replace(r"\tag{97.1}", r"\tag{2.1}"), "not of the form 97.n"),
    "number used twice": (lambda s: s + "\n# %% [markdown]\n# $$x \\tag{97.1}$$\n", "occurs 2 times"),
    "cited, but missing": (lambda s: s.replace("# (97.1)", "# (97.2)"), r"\(97\.2\), cited in"),
    "picture in text": (lambda s: s + "\n# %% [markdown]\n# ![](a.png)\n", "no alt text"),
    "real faces": (lambda s: s + "\n# %%\nload_faces('lfw')\n", r'begin it with # %% tags=\["real-faces"\]'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_a_source_are_refused(course: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    change, words = FAULTS[fault]
    source = course / "source" / "97_tiny.py"
    assert build.source_faults(build.read_source(source), "97") == []
    source.write_text(change(TINY))
    with pytest.raises(MetaFaceError, match=words):
        build.build(source)
    assert build.main(["97"], course) == 1
    assert "refused" in capsys.readouterr().out
    assert not list(course.rglob("*.ipynb"))


def test_a_lesson_needs_three_exercises_once_they_are_registered(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = course / "source" / "97_tiny.py"
    source.write_text(re.sub(r'# %% exercise="tiny-(number|double)"(.|\n)*?(check.*)\n', "", TINY))
    monkeypatch.setattr(core, "_registry", {"tiny.mean": core._registry["tiny.mean"]})
    faults = build.source_faults(build.read_source(source), "97")
    assert faults == ["The lesson has 1 exercise: write at least three in exercises/lesson97.py."]
    monkeypatch.setattr(core, "_registry", {})
    faults = build.source_faults(build.read_source(source), "97")
    assert faults == ["The lesson checks 'tiny.mean', but exercises/lesson97.py has no exercise of that name."]


def display(**data: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", {key.replace("_", "/"): value for key, value in data.items()})


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


PICTURE = '<img alt="{}" src="data:image/png;base64,AA/tmp/AA">'


@pytest.mark.parametrize(
    ("output", "tags", "words"),
    [
        (display(text_plain="<Figure>", image_png="AAAA"), [], "without alt text"),
        (display(text_plain="<Figure>", image_png="AAAA"), [], "use matplotlib.figure.Figure, not pyplot"),
        (display(text_html=PICTURE.format(" ")), [], "without alt text"),
        (display(text_html=PICTURE.format("Faces.")), ["real-faces"], "store numbers only"),
        (stream("UserWarning", "stderr"), [], 'begin it with # %% tags=["nbval-ignore-output"]'),
        (stream("50%|#####     | 1/2 [00:01]"), [], "from run to run: tag the cell: begin it with # %% tags="),
        (stream("<object at 0x7f62fdf3ba60>"), [], "from run to run"),
        (stream(f"{NOTEBOOKS}/x"), ["nbval-ignore-output"], "path of this machine: print path.name"),
        (stream(f"on {platform.node()}:"), [], "the name of this machine: do not print it"),
        (stream(f"x{platform.node()}"), [], None),
        (stream(f"{platform.node()}y"), [], None),
        (stream(""), ["nbval-ignore-output"], "nbval compares"),
        (stream("x" * 101), [], "prints a line of 101 characters, and JupyterLab breaks it: show a figures.table"),
        (stream("x" * 100 + "\n" + "y" * 100), [], None),
        (display(text_plain="x" * 101), [], None),
        (stream("fine"), [], None),
        (display(text_plain="Faces.", text_html=PICTURE.format("Faces.")), [], None),
        (stream("0.5"), ["real-faces"], None),
    ],
)
def test_faults_in_outputs_are_refused(output: nbformat.NotebookNode, tags: list[str], words: str | None) -> None:
    cell = nbformat.v4.new_code_cell("1", outputs=[output], metadata={"tags": tags})
    faults = build.output_faults(nbformat.v4.new_notebook(cells=[cell]), "97", True)
    if words is None:
        assert faults == []
    else:
        assert words in "\n".join(faults)


def test_a_warning_is_reported_once() -> None:
    warning = stream(f"{NOTEBOOKS}/a.py:1: UserWarning at 0x7f62fdf3ba60", "stderr")
    cell = nbformat.v4.new_code_cell("1", outputs=[warning, display(text_plain="fine")])
    faults = build.output_faults(nbformat.v4.new_notebook(cells=[cell]), "97", True)
    assert len(faults) == 1
    again = [faults[0].replace("a.py", "b.py")]  # the kernel of the other notebook has other paths
    assert build._once({"Solved: ": faults, "Learner’s: ": again}) == faults
    assert build._once({"Solved: ": faults, "Learner’s: ": []}) == [f"Solved: {faults[0]}"]


@pytest.mark.parametrize(
    ("source", "tags", "same", "count"),
    [
        ("print(1)", [], "print(1)", 1),
        ("print(1)", ["real-faces"], "print(1)", 1),
        ("print(1)", ["nbval-ignore-output"], "print(1)", 0),
        ("print(1)", [], "# YOUR CODE HERE", 0),
        ('check("a.b", b)', [], 'check("a.b", b)', 0),
        ("progress()", [], "progress()", 0),
    ],
)
def test_what_differs_between_the_notebooks_is_refused(source: str, tags: list[str], same: str, count: int) -> None:
    def run(code: str, *outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
        cell = nbformat.v4.new_code_cell(code, outputs=list(outputs), metadata={"tags": tags})
        return nbformat.v4.new_notebook(cells=[cell])

    one, other = run(source, stream("a\n"), stream("b\n")), run(same, stream("a\n"), stream("c\n"))
    faults = build.differing_faults(one, other)
    assert ["from run to run: tag the cell: begin it with" in fault for fault in faults] == [True] * count
    pieces = run(source, stream("a\nb\n"), stream("of one run", "stderr"))  # the kernel cuts streams by the clock
    assert build.differing_faults(one, pieces) == []


def test_the_builder_compares_the_notebooks(course: Path) -> None:
    source = course / "source" / "97_tiny.py"
    source.write_text(TINY + "\n# %%\nimport uuid\nuuid.uuid4()\n")
    with pytest.raises(MetaFaceError, match=r"^'import uuid…' shows what differs from run to run: tag the cell"):
        build.build(source)


@pytest.mark.parametrize(
    ("said", "in_solved", "in_learners"),
    [("✓ a.b: passed (1 point).", 0, 1), ("○ a.b: Not attempted yet.", 1, 0), ("✗ a.b: not yet.", 1, 1), ("", 1, 1)],
)
def test_checks_must_say_what_they_should(said: str, in_solved: int, in_learners: int) -> None:
    cell = nbformat.v4.new_code_cell('check("a.b", b)', outputs=[display(text_plain=said)])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert len(build.output_faults(notebook, "97", True)) == in_solved
    assert len(build.output_faults(notebook, "97", False)) == in_learners


def test_a_drift_is_noticed(course: Path) -> None:
    source = course / "source" / "97_tiny.py"
    assert len(build.out_of_step(source)) == 2  # both missing
    for target, solved in build.targets(source).items():
        target.parent.mkdir(exist_ok=True)
        lesson = build.read_source(source)
        nbformat.write(build.solved(lesson) if solved else build.learners(lesson), target)
    assert build.out_of_step(source) == []
    source.write_text(TINY.replace("The mean of x.", "The average of x."))
    assert len(build.out_of_step(source)) == 2
    source.write_text(TINY.replace("return x.sum() / len(x)", "return x.mean()"))
    assert len(build.out_of_step(source)) == 2  # in the solved one the text, in the learner's the id of the cell
    source.write_text(TINY + "\n# %%\n1\n")
    assert len(build.out_of_step(source)) == 2


def test_a_cell_that_fails_is_named(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (course / "source" / "97_tiny.py").write_text(TINY.replace("import torch\n", "1 / 0\n", 1))
    assert build.main(["97"], course) == 1
    out = capsys.readouterr().out
    assert "refused" in out
    assert "ZeroDivisionError" in out


def test_unknown_lessons_are_refused(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["98"], course) == 1
    assert "Did you mean '97'?" in capsys.readouterr().out
