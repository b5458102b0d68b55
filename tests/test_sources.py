"""A source gives the same notebook each time; its quizzes are shuffled, evenly over the places."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nbformat
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.sources import RETURN, Question, lesson_budget, lesson_minutes, quiz, read_source

HEAD = "# %% [markdown]\n# # A lesson\n#\n"


def quiz_source(options: list[int], right: int = 1) -> str:
    """A lesson whose questions have so many options each, the right one always in the place `right`."""
    text = HEAD
    for number, count in enumerate(options):
        text += f"# **Question {number}?**\n#\n"
        for place in range(count):
            words = "Right." if place == right else "No."
            text += f"# <details><summary>Option {number}{place}</summary>{words}\n# Why.</details>\n"
        text += "#\n"
    return text


def read(folder: Path, text: str, name: str = "97_lesson.py") -> nbformat.NotebookNode:
    (folder / name).write_text(text)
    return read_source(folder / name)


def places(questions: list[Question]) -> Counter[int]:
    """How often the right option is in each place."""
    return Counter(place for question in questions for place, option in enumerate(question.options) if option.right)


def test_an_answer_cell_gets_the_metadata_of_nbgrader(tmp_path: Path) -> None:
    (_, cell) = read(tmp_path, HEAD + '\n# %% exercise="tiny-mean" tags=["real-faces"]\nanswer = 1\n').cells
    kind = {"grade": False, "grade_id": "tiny-mean", "locked": False, "schema_version": 3, "solution": True}
    assert cell.metadata == {"nbgrader": kind | {"task": False}, "tags": ["real-faces"]}


def test_the_same_source_gives_the_same_notebook(tmp_path: Path) -> None:
    text = quiz_source([3, 4, 3, 3]) + "\n# %%\n1\n\n# %%\n1\n"
    first = read(tmp_path, text)
    assert read(tmp_path, text) == first
    assert first.cells[1].id != first.cells[2].id
    assert quiz(read(tmp_path, text, "98_lesson.py")) != quiz(first)


@pytest.mark.parametrize("options", [[3, 3, 3], [3, 3, 3, 3], [4, 3, 4, 3], [3] * 6, [5, 4, 3, 3, 4, 5], [3] * 7])
def test_right_options_are_spread_over_the_places(tmp_path: Path, options: list[int]) -> None:
    seen = set()
    for lesson in range(30):
        questions = quiz(read(tmp_path, quiz_source(options), f"{lesson:02d}_lesson.py"))
        assert 2 * max(places(questions).values()) <= len(options)
        for number, question in enumerate(questions):  # all options, under their own question
            assert question.text == f"Question {number}?"
            assert {option.summary for option in question.options} == {
                f"Option {number}{i}" for i in range(options[number])
            }
            assert [o.summary for o in question.options if o.right] == [f"Option {number}1"]
        seen.add(tuple(option.summary for question in questions for option in question.options))
    assert len(seen) > 20  # and the order does not show which lesson it is


def test_an_answer_to_open_is_no_quiz(tmp_path: Path) -> None:
    text = (
        HEAD
        + "# <details><summary>What you may have seen</summary>Faces.</details>\n#\n"
        + quiz_source([3])[len(HEAD) :]
    )
    (cell,) = read(tmp_path, text).cells
    assert cell.source.startswith(
        "# A lesson\n\n<details><summary>What you may have seen</summary>Faces.</details>\n\n**"
    )
    assert [len(question.options) for question in quiz(read(tmp_path, text))] == [3]


def test_the_length_of_an_option_is_what_a_learner_sees(tmp_path: Path) -> None:
    (question,) = quiz(read(tmp_path, quiz_source([3]).replace("Option 01", "<code>x</code> and y")))
    (option,) = (option for option in question.options if option.right)
    assert option.length == len("x and y")


def test_minutes_are_what_the_lesson_says(tmp_path: Path) -> None:
    assert lesson_minutes(read(tmp_path, HEAD + "# **Time** 5\n# minutes.\n")) == 5
    with pytest.raises(MetaFaceError, match=r"no minutes: write .*60 minutes"):
        lesson_minutes(read(tmp_path, HEAD))


def test_a_budget_is_what_the_lesson_says(tmp_path: Path) -> None:
    assert lesson_budget(read(tmp_path, HEAD + "# **Computing** less than 90\n# seconds on two CPU cores.\n")) == 90
    with pytest.raises(MetaFaceError, match=r"write .*less than 120 seconds"):
        lesson_budget(read(tmp_path, HEAD))


LINKED = {  # what an author writes → what a learner reads
    "See lesson 96.": "See [lesson 96](96_other.ipynb).",
    "In lessons 96 and 97, lesson 97": "In lessons [96](96_other.ipynb) and [97](97_lesson.ipynb), lesson 97",
    "Lesson\n96, 12 % and lesson 98's": "[Lesson\n96](96_other.ipynb), 12 % and lesson 98 (planned)'s",
    "`lesson 96` and $lesson 96$": "`lesson 96` and $lesson 96$",
    "[of lesson 96](96_other.ipynb)": "[of lesson 96](96_other.ipynb)",
    "## Lesson 96": "## Lesson 96",
    "<details><summary>Lesson 96</summary>In lesson 96.</details>": (
        '<details><summary>Lesson 96</summary>In <a href="96_other.ipynb">lesson 96</a>.</details>'
    ),
}


@pytest.mark.parametrize("text", LINKED)
def test_the_number_of_a_lesson_is_a_link(tmp_path: Path, text: str) -> None:
    (tmp_path / "96_other.py").write_text(HEAD)
    (cell,) = read(tmp_path, HEAD + "".join(f"# {line}\n" for line in text.split("\n"))).cells
    assert cell.source == f"# A lesson\n\n{LINKED[text]}"


def test_the_head_says_how_to_return(tmp_path: Path) -> None:
    head, after = read(tmp_path, HEAD + "# **Time** 5 minutes.\n\n# %% [markdown]\n# **Time** 6 minutes.\n").cells
    assert head.source.endswith(f"5 minutes.\n\n{RETURN}")
    assert RETURN not in after.source


def test_a_line_is_free_between_the_questions(tmp_path: Path) -> None:
    (cell,) = read(tmp_path, quiz_source([3, 3])).cells
    assert cell.source.count("</details>\n<br>") == 2
