"""The check of plain English: each rule finds a bad line, and lets a good one that looks like it pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import voice

WORDS = {  # what is found → a sentence with it, and one without
    "mended": ("The gap is mended.", "Amend the text."),
    "anew": ("Draw it anew.", "It is a new one."),
    "besides": ("It is slow, besides.", "It stands beside the others."),
    "Whoever": ("Whoever is in the group may log in.", "Anyone who is in the group may log in."),
    "ever more": ("It needs ever more people.", "It never needs more people."),
    "dearer": ("Second order is dearer.", "Second order is more expensive."),
    "stand in": ("Shapes stand in the docstring.", "It stands in for a person."),
    "it, too": ("LDA gains by it, too.", "LDA gains by it too. It is too large, too small, or right."),
    "is no": ("A stub is no error.", "There is no file. It is no longer there, and no edge is no sharper than that."),
    "is none": ("Its name is none that nbgrader gives.", "There is none. Its default is None."),
    "of which": ("The layers of which it is made.", "Three layers, one of which is linear."),
    "of whom": ("People of whom images exist.", "Two people, the first of whom has two images."),
    "wants": ("The test wants all of LFW.", "A reader wants the second one."),
    "tells": ("The name tells the conditions.", "The head tells five people apart. It tells you why."),
    "Asked is": ("Asked is for their mean.", "What is asked is their mean."),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_found_where_it_is_bad(word: str) -> None:
    bad, good = WORDS[word]
    assert [found for _, found, _ in voice.words(bad, 1)] == [f"'{word}'"]
    assert list(voice.words(good, 1)) == []


def test_every_rule_has_an_example() -> None:
    assert {say for bad, _ in WORDS.values() for *_, say in voice.words(bad, 1)} == set(voice.RULES.values())


def test_the_line_is_that_of_the_word_also_where_lines_are_broken() -> None:
    assert [line for line, *_ in voice.words("One.\nTwo is\n    no error. Three\nwants four.", 10)] == [11, 13]
    assert list(voice.words("The first is\n\nno error", 1)) == []


def test_code_and_formulas_are_not_prose() -> None:
    assert list(voice.words("`mend anew`, ``besides``, $is no$ and https://example.org/anew", 1)) == []
    assert list(voice.markdown("Text:\n\n    mend anew\n\n```\nbesides\n```\n")) == []
    assert [line for line, *_ in voice.markdown("- A list,\n    whose next line is to mend.\n")] == [2]


def test_a_phrase_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(voice.ALLOWED, "a dear reader", "it is what the letter says")
    assert list(voice.words("To a dear reader.", 1)) == []
    assert [found for _, found, _ in voice.words("To a dear writer.", 1)] == ["'dear'"]


def test_lines_of_prose_have_a_length() -> None:
    long, table = "word " * 31, f"| {'word ' * 31} |"
    found = list(voice.markdown(f"{long[:150]}\n{long}\n{table}\n\n    {long}\n"))
    assert found == [(2, "155 characters", "at most 150")]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("# It is anew.\n", [1]),
        ("x = 1  # good\n# to\n# mend anew\n", [3, 3]),
        ('def f() -> None:\n    """First.\n\n    It is anew.\n    """\n', [4]),
        ('raise ValueError("This is" " no digit.")\n', [1]),
        ('raise ValueError(f"{x}: this is no digit.")\n', [1]),
        ("anew = besides = mend(anew)\n", []),
    ],
)
def test_comments_docstrings_and_messages_are_read(code: str, found: list[int]) -> None:
    assert [line for line, *_ in voice.python(code)] == found


def test_a_parameter_has_a_line_of_its_own() -> None:
    head = "def f(steps: int, rate: float) -> None:\n"
    bad, good = "steps: k. rate: α. Note: they go together.", "steps: k.\n    rate: α. Note: they go together."
    assert [(line, found) for line, found, _ in voice.python(f'{head}    """Do.\n\n    {bad}\n    """\n')] == [
        (4, "'rate:' within a line")
    ]
    assert list(voice.python(f'{head}    """Do.\n\n    {good}\n    """\n')) == []
    fields = 'class State:\n    """What it is. x: the place."""\n\n    x: int\n'
    assert [line for line, *_ in voice.python(fields)] == [2]


def test_a_lesson_is_read_in_its_prose_cells(tmp_path: Path) -> None:
    file = tmp_path / "source" / "11_new.py"
    file.parent.mkdir()
    file.write_text(
        f"# %% [markdown]\n# To mend.\n#\n# {'word ' * 31}\n\n# %%\n# to mend\nx = 1\n\n# %% [markdown]\n# Anew.\n"
    )
    assert [line for line, *_ in voice.findings(file)] == [2, 4, 11]


def test_the_command_prints_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.md"
    file.write_text("It is here.\nDraw it anew.\n")
    assert voice.main([str(file)]) == 1
    assert capsys.readouterr().out.endswith("page.md:2: found 'anew'; write: again\n")
    file.write_text("It is here.\n")
    assert voice.main([str(file)]) == 0


def test_new_lessons_are_checked_and_the_later_ones_are_listed(repository: Path) -> None:
    numbers = {file.name[:2] for file in (repository / "notebooks" / "source").glob("[0-9]*.py")}
    assert voice.LATER <= numbers
    assert "11" not in voice.LATER
