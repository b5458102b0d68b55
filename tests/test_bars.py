"""Bars: one in a terminal, one in a notebook, and what they leave behind."""

from __future__ import annotations

import re
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from metaface_lessons import bars
from metaface_lessons.bars import Bar


class Place:
    """Where a notebook shows a bar."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, data: dict[str, str], raw: bool) -> None:
        self.shown.append(data.get("text/html", ""))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place()

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Place:
        assert (data, raw, display_id) == ({}, True, True)
        return place

    monkeypatch.setattr(bars, "_in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    return place


def test_a_bar_in_a_terminal_leaves_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Bar("abc", "letters", "letter")) == ["a", "b", "c"]
    told = capsys.readouterr().err
    assert "letters:   0%" in told
    assert re.search(r"letters: 100%.* 3/3 .*\n$", told.split("\r")[-1])


def test_a_bar_that_is_not_shown_only_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(label="train", total=3, shown=False) as bar:
        bar.update()
        bar.end("the time is up")
    assert list(Bar("abc", shown=False)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_an_end_by_time_closes_a_full_bar_and_says_why_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(label="train", total=400, seconds=25) as bar:
        bar.update(56)
        bar.end("the time is up")
    last = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in last
    assert "56/56" in last
    assert "the time is up" in last


def test_an_end_by_time_closes_a_full_bar_and_says_why_in_a_notebook(place: Place) -> None:
    with Bar(label="train", total=400, seconds=25) as bar:
        bar.update(56)
        bar.end("the time is up")
    assert 'value="56" max="56"' in place.shown[-1]
    assert "train: the time is up: 56 steps, 00:00" in place.shown[-1]


def test_an_interrupted_bar_is_not_full(place: Place) -> None:
    with Bar(label="train", total=400) as bar:
        bar.update(56)
        bar.end("interrupted", complete=False)
    assert 'value="56" max="400"' in place.shown[-1]


def test_a_bar_in_a_notebook_has_a_name_and_clears_itself(place: Place) -> None:
    with Bar(label="<train>", unit="image", total=10) as bar:
        bar.update(4)
        bar.set_postfix({"loss": "0.5"}, refresh=True)
        assert '<progress aria-label="&lt;train&gt;" value="4" max="10"' in place.shown[-1]
        assert "4 of 10 images" in place.shown[-1]
        assert "loss=0.5" in place.shown[-1]
    assert place.shown[-1] == ""
    with Bar(label="endless") as bar:
        bar.update()
        bar.refresh()
        assert re.search(r'<progress aria-label="endless" style="[^"]*"></progress>', place.shown[-1])


def test_a_bar_with_seconds_fills_up_by_time(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    def numbers(elapsed: float, n: int, total: int | None, done: int = 0) -> Any:
        with Bar(label="train", total=total, done=done, seconds=20) as bar:
            bar.update(n)
            now = bar._time()
            monkeypatch.setattr(bar, "start_t", now - elapsed)
            monkeypatch.setattr(bar, "_time", lambda: now)
            shown = bar.format_dict
            return shown["n"], shown["total"]

    assert numbers(elapsed=5, n=10, total=400) == (10, 40)
    assert numbers(elapsed=5, n=10, total=None) == (10, 40)
    assert numbers(elapsed=5, n=10, total=30) == (10, 30)
    assert numbers(elapsed=5, n=10, total=400, done=100) == (110, 140)
    assert numbers(elapsed=25, n=10, total=400) == (10, 10)


def test_a_kernel_shows_a_bar_that_leaves_an_empty_output() -> None:
    """Empty in the first message, which nbval compares, and in the last, which is stored."""
    code = "from metaface_lessons.bars import Bar\nfor _ in Bar(range(3), 'work'):\n    pass"
    ended = "with Bar(label='work', total=9) as bar:\n    bar.update()\n    bar.end('the time is up')"
    notebook = new_notebook(cells=[new_code_cell(code), new_code_cell(ended)])
    messages: list[dict[str, Any]] = []

    class Client(NotebookClient):
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            messages.append(msg)
            return super().process_message(msg, cell, cell_index)

    Client(notebook, kernel_name="python3").execute()
    cleared, left = (cell.outputs for cell in notebook.cells)
    assert [output.data for output in cleared] == [{}]
    assert len(left) == 1
    assert "the time is up: 1 steps" in left[0].data["text/html"]
    first = [message["content"]["data"] for message in messages if message["msg_type"] == "display_data"]
    assert first == [{}, {}]
    assert any("progress" in str(message["content"]) for message in messages if "update" in message["msg_type"])
