"""A notebook on the next day: the server was stopped and started again, and no cell has been run since."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import nbformat
import pytest

from metaface_lessons.faces import load_faces
from metaface_lessons.lab.workspace import FIRST, prepare
from metaface_lessons.sources import METADATA
from tests.browser.jupyter import PICTURE, chromium, explorers, jupyter_lab, move, open_notebook, run_all, type_and_run

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

CELLS = (
    "from metaface_lessons.widgets import face_explorer\nface_explorer.explore()",
    "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='three steps'): pass",
    "def chance(ways):\n    return 1 / ways\n\n\ncheck('start.chance', chance)",
)
BAR = ".widget-html-content"
SCROLLS = "box => box.scrollWidth > box.clientWidth"
UNSAVED = ".jp-mod-current.jp-mod-dirty"


def save(page: Any) -> None:
    page.keyboard.press("Control+s")
    page.locator(UNSAVED).wait_for(state="detached")


def test_the_last_picture_and_the_bar_are_there_and_an_exercise_can_be_checked(
    browser_path: str, tmp_path: Path
) -> None:
    load_faces("procedural", progress=False)
    home = tmp_path / "home"
    home.mkdir()
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    nbformat.write(nbformat.v4.new_notebook(metadata=METADATA, cells=cells), home / "lesson.ipynb")

    def shows(page: Any, picture: str) -> bool:
        open_notebook(page, address, "lesson.ipynb")
        explorers(page).first.locator(PICTURE).wait_for()
        page.locator(BAR, has_text="three steps: 100%").wait_for()
        assert page.get_by_text("Error displaying widget").count() == 0
        explorers(page).first.get_by_text("the last picture of a kernel that has stopped").wait_for()
        assert explorers(page).first.get_by_role("slider", name="yaw").count() == 1
        assert not explorers(page).first.evaluate(SCROLLS)
        return bool(explorers(page).first.locator(PICTURE).get_attribute("src") == picture)

    with jupyter_lab(home, tmp_path) as address, chromium(browser_path) as page:
        open_notebook(page, address, "lesson.ipynb")
        run_all(page, seconds=300)
        move(page, explorers(page).first)
        seen = explorers(page).first.locator(PICTURE).get_attribute("src")
        save(page)
    with jupyter_lab(home, tmp_path) as address, chromium(browser_path) as page:
        assert shows(page, seen)
        assert "start.chance: passed" in type_and_run(page, 2)
        save(page)
    with jupyter_lab(home, tmp_path) as address, chromium(browser_path) as page:
        assert shows(page, seen), "though it was saved by a kernel that knows no explorer"
    assert (home / "lesson.ipynb").stat().st_size < 1_000_000


def test_a_lesson_that_was_only_opened_is_saved_and_nobody_is_asked_for_news(
    browser_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    home, _ = prepare()
    with jupyter_lab(home, tmp_path) as address, chromium(browser_path) as page:
        open_notebook(page, address, FIRST)
        page.wait_for_timeout(3000)  # in which the kernel's answers would change the notebook, and a question appear
        assert page.locator(UNSAVED).count() == 0
        assert page.get_by_text("Jupyter news").count() == 0


def test_a_terminal_that_the_page_still_shows_is_no_news(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with jupyter_lab(home, tmp_path) as address, pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(address.replace("/lab/tree/{}", "/terminals/websocket/1"))
    assert "terminals" not in (tmp_path / "jupyter.log").read_text()
