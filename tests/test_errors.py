from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from metaface_lessons.errors import unknown

FAIL = "from metaface_lessons.errors import MetaFaceError; raise MetaFaceError('ways is 1. Use 2 or more.')"


def test_in_a_notebook_the_message_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A page of our own code above it would hide what to do."""
    shell = InteractiveShell()
    shell.run_cell(FAIL)
    assert capsys.readouterr().out.strip() == "MetaFaceError: ways is 1. Use 2 or more."
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert "Did you mean 'squared'? Known: cosine, squared." in str(
        unknown("distance", "square", ["squared", "cosine"])
    )
    assert "Did you mean 'ADA'?" in str(unknown("person", "ada", ["ADA", "bad"]))
    assert "Did you mean" not in str(unknown("distance", "xyz", ["squared"]))


def test_a_long_list_is_left_out_where_a_suggestion_helps() -> None:
    names = [f"lesson.exercise{i}" for i in range(49)]
    assert str(unknown("exercise", "lesson.exercize7", names)).endswith("Did you mean 'lesson.exercise7'?")
    assert "lesson.exercise7, " in str(unknown("exercise", "xyz", names))
