"""A newer lesson with the learner's work in it: every cell that they wrote is in it, or named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from metaface_lessons.lab import merging
from metaface_lessons.lab.merging import ONLY_RUN, SAME, UNKNOWN, Merged, merge, origin

Cell = dict[str, Any]


def cell(identity: str, text: str, kind: str = "code", exercise: str = "") -> Cell:
    metadata = {"nbgrader": {"grade_id": exercise, "solution": True}} if exercise else {}
    outputs: Cell = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"id": identity, "cell_type": kind, "source": text, "metadata": metadata} | outputs


def lesson(*cells: Cell) -> Cell:
    notebook: Cell = {"cells": [*cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook["metadata"] |= origin(notebook)
    return copy.deepcopy(notebook)


STUB = "def mean(x):\n    raise NotImplementedError\n\n\ncheck('mean', mean)"
FIRST = (
    cell("title", "# Means", "markdown"),
    cell("demo", "print(1)"),
    cell("a", STUB, exercise="mean"),
    cell("more", "print(2)"),
    cell("b", "raise NotImplementedError", exercise="sum"),
    cell("end", "The end", "markdown"),
)
ANSWER = "def mean(x):\n    return sum(x) / len(x)\n\n\ncheck('mean', mean)"


def changed(notebook: Cell, **texts: str) -> Cell:
    for each in notebook["cells"]:
        each["source"] = texts.get(each["id"], each["source"])
    return notebook


def texts(notebook: Cell) -> list[str]:
    return ["".join(each["source"]) for each in notebook["cells"]]


def newer() -> Cell:
    """The second edition: a new title, demo and stub, a new exercise before the others, and no exercise `sum`."""
    return lesson(
        cell("title2", "# All means", "markdown"),
        cell("demo2", "print(10)"),
        cell("c", "raise NotImplementedError", exercise="median"),
        cell("a2", STUB.replace("(x)", "(values)", 1), exercise="mean"),
        cell("more", "print(2)"),
        cell("end", "The end", "markdown"),
    )


def test_an_answer_is_in_the_cell_of_its_exercise() -> None:
    new = newer()
    assert merge(changed(lesson(*FIRST), a=ANSWER), new) == Merged(answers=1)
    assert texts(new) == texts(changed(newer(), a2=ANSWER))
    assert new["cells"][3]["metadata"]["nbgrader"]["grade_id"] == "mean"
    assert new["cells"][3]["id"] == "a2"


def test_two_editions_later_too() -> None:
    third = newer()
    third["cells"].insert(1, cell("why", "Why?", "markdown"))
    third = lesson(*third["cells"])
    second = newer()
    merge(changed(lesson(*FIRST), a=ANSWER), second)
    assert merge(second, third) == Merged(answers=1)
    assert ANSWER in texts(third)
    assert "Why?" in texts(third)
    skipped = lesson(*third["cells"])
    assert merge(changed(lesson(*FIRST), a=ANSWER), skipped) is not SAME
    assert ANSWER in texts(skipped)


def test_what_has_only_been_run_is_not_changed() -> None:
    old = lesson(*FIRST)
    for each in old["cells"]:
        each["source"] = each["source"].splitlines(keepends=True)  # as a notebook may be stored
        each["metadata"]["execution"] = {"shell.execute_reply": "2026-11-27"}
        if each["cell_type"] == "code":
            each |= {"execution_count": 7, "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}]}
    new = newer()
    assert merge(old, new) is ONLY_RUN
    assert new == newer()


def test_nothing_happens_where_the_course_has_nothing_newer() -> None:
    new = lesson(*FIRST)
    assert merge(changed(lesson(*FIRST), a=ANSWER, demo="print(3)"), new) is SAME
    assert new == lesson(*FIRST)


def test_a_lesson_that_does_not_say_where_it_comes_from() -> None:
    old = changed(lesson(*FIRST), a=ANSWER)
    del old["metadata"]["metaface"]
    new = newer()
    assert merge(old, new) is UNKNOWN
    assert new == newer()
    same = lesson(*FIRST)
    del same["metadata"]["metaface"]
    assert merge(same, lesson(*FIRST)) is SAME


def test_own_cells_stay_behind_what_they_followed() -> None:
    old = lesson(*FIRST)
    old["cells"].insert(4, cell("mine", "print('after more')"))
    old["cells"].insert(2, cell("note", "After the demo, which the course has changed", "markdown"))
    old["cells"].insert(0, cell("top", "My name", "markdown"))
    picture = cell("photo", "![a](attachment:a.png)", "markdown") | {"attachments": {"a.png": {"image/png": "AA=="}}}
    old["cells"].append(picture)
    new = newer()
    assert merge(old, new) == Merged(cells=4)
    assert [each["id"] for each in new["cells"]] == (
        ["top", "note", "title2", "demo2", "c", "a2", "more", "mine", "end", "photo"]
    )
    assert new["cells"][-1]["attachments"] == picture["attachments"]


def test_an_own_cell_takes_no_other_cells_id_and_is_no_exercise() -> None:
    old = changed(lesson(*FIRST), a=ANSWER)
    old["cells"].insert(3, cell("c", "print('the same id')"))
    second = cell("copy", ANSWER + "  # another way", exercise="mean")  # JupyterLab copies the metadata, too
    old["cells"].insert(4, second)
    old["cells"].append({key: value for key, value in cell("x", "# no id").items() if key != "id"})
    new = newer()
    assert merge(old, new) == Merged(answers=1, cells=3)
    ids = [each["id"] for each in new["cells"]]
    assert len(ids) == len({*ids}) == 9
    assert [merging._exercise(each) for each in new["cells"]].count("mean") == 1
    assert {"print('the same id')", ANSWER, second["source"], "# no id"} <= {*texts(new)}


def test_an_answer_in_a_copy_of_the_cell_counts_if_the_course_s_cell_is_untouched() -> None:
    old = lesson(*FIRST)
    old["cells"].insert(3, cell("copy", ANSWER, exercise="mean"))
    new = newer()
    assert merge(old, new) == Merged(answers=1)
    assert new["cells"][3]["source"] == ANSWER


def test_a_change_of_a_cell_that_the_course_left_alone_is_taken_over() -> None:
    new = newer()
    assert merge(changed(lesson(*FIRST), more="print(2 + 2)"), new) == Merged(cells=1)
    assert texts(new) == texts(changed(newer(), more="print(2 + 2)"))


def test_a_cell_that_both_have_changed_is_the_course_s_and_named() -> None:
    new = lesson(*changed(lesson(*FIRST), more="print('two')")["cells"])  # under the id that it had
    assert merge(changed(lesson(*FIRST), more="print(2 + 2)"), new) == Merged(left=("“print(2 + 2)”",))
    assert "print('two')" in texts(new)


def test_a_picture_that_was_pasted_into_the_course_s_words_comes_along() -> None:
    old = changed(lesson(*FIRST), end="The end ![a](attachment:a.png)")
    old["cells"][-1]["attachments"] = {"a.png": {"image/png": "AA=="}}
    new = newer()
    assert merge(old, new) == Merged(cells=1)
    assert new["cells"][-1]["attachments"] == {"a.png": {"image/png": "AA=="}}


def test_what_has_no_place_is_named() -> None:
    new = newer()
    mine = changed(lesson(*FIRST), b="total = sum(x)", demo="print(1 + 1)\nprint(3)")
    mine["cells"][2] |= cell("a", "I answer in words.", "markdown", exercise="mean")
    assert merge(mine, new) == Merged(left=("“print(1 + 1)”", "the answer to mean", "the answer to sum"))
    assert new == newer()


def test_after_a_crash_before_anybody_noted_the_update_it_is_the_same() -> None:
    new = newer()
    merge(changed(lesson(*FIRST), a=ANSWER), new)
    again = newer()
    assert merge(new, again) is SAME


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {},
        {"cells": 3, "metadata": {}},
        {"cells": [], "metadata": []},
        {"cells": [3], "metadata": {}},
        {"cells": [{"cell_type": "code"}], "metadata": {}},
        {"cells": [cell("a", "x") | {"source": 3}], "metadata": {}},
        {"cells": [cell("a", "x") | {"source": [3]}], "metadata": {}},
        {"cells": [cell("a", "x") | {"metadata": []}], "metadata": {}},
        {"cells": [cell("a", "x") | {"metadata": {"nbgrader": 1}}], "metadata": {}},
        {"cells": [cell("a", "x") | {"metadata": {"nbgrader": {"solution": True}}}], "metadata": {}},
        {"cells": [cell("a", "x") | {"id": []}], "metadata": {}},
        {"cells": [cell("a", "x", kind="heading")], "metadata": {}},
        {"cells": [], "metadata": {"metaface": 3}},
        {"cells": [], "metadata": {"metaface": {"made_from": 3}}},
        {"cells": [], "metadata": {"metaface": {"made_from": ["a b c"]}}},
    ],
)
def test_what_is_not_a_notebook_is_refused_before_anything_changes(damage: Any) -> None:
    new = newer()
    with pytest.raises(ValueError, match=r"notebook|dictionary update"):
        merge(damage, new)
    assert new == newer()
