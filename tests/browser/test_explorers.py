"""Explorers and bars in a real browser: names for a screen reader, room in narrow windows, and kernels that stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from metaface_lessons import widgets
from metaface_lessons.faces import load_faces
from tests.browser.jupyter import PICTURE, explorers, notebook_that_ran

NAMES = list(widgets.explorers())
CONTROLS = "select, input, [role=slider], [contenteditable=true]"
STOPPED = "the last picture of a kernel that has stopped"
BAR = """
import time
from metaface_lessons.bars import Bar

for _ in Bar(range(3), "work"):
    time.sleep(0.3)
"""

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def page(browser_path: str) -> Iterator[Any]:
    """Every explorer in a cell of its own, and a bar that has closed."""
    load_faces("procedural", progress=False)
    cells = ["from metaface_lessons import widgets", BAR, *(f"widgets.example({name!r})" for name in NAMES)]
    with notebook_that_ran(browser_path, cells) as page:
        explorers(page).nth(len(NAMES) - 1).wait_for()
        page.wait_for_timeout(1000)  # the labels of the last one
        yield page


def test_every_control_has_a_name_that_a_screen_reader_reads(page: Any) -> None:
    for i, name in enumerate(NAMES):
        explorer = explorers(page).nth(i)
        found = sum(explorer.get_by_role(role).count() for role in ("slider", "combobox", "checkbox"))
        assert found == explorer.locator(".metaface-controls > *").count() > 0, name
        for control in explorer.locator(CONTROLS).all():
            described = control.evaluate(
                "e => e.getAttribute('aria-label') || [...(e.labels || [])].map(l => l.textContent).join('')"
            )
            assert described.strip(), (name, control.evaluate("e => e.outerHTML"))


@pytest.mark.parametrize(("width", "beside"), [(1400, True), (800, False)])
def test_picture_and_controls_stay_inside_the_cell(page: Any, width: int, beside: bool) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    page.wait_for_timeout(1000)
    for i, name in enumerate(NAMES):
        explorer = explorers(page).nth(i)
        cell = explorer.bounding_box()
        for part in (*explorer.locator(CONTROLS).all(), explorer.locator(PICTURE)):
            box = part.bounding_box()
            assert box["x"] + box["width"] <= cell["x"] + cell["width"] + 1, (name, part)
        if name in ("episode", "face"):
            first, picture = explorer.locator(CONTROLS).first.bounding_box(), explorer.locator(PICTURE).bounding_box()
            assert (picture["y"] < first["y"] + first["height"]) is beside, name
    page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_bar_that_has_closed_leaves_nothing(page: Any) -> None:
    cell = page.locator(".jp-CodeCell").nth(1)
    assert cell.locator("progress").count() == 0
    assert cell.locator(".jp-OutputArea").inner_text().strip() == ""


def test_an_explorer_of_a_stopped_kernel_keeps_its_picture_and_says_what_to_do(page: Any) -> None:
    """The last test: it stops the kernel."""
    explorer = explorers(page).nth(0)
    before = explorer.locator(PICTURE).get_attribute("alt")
    said = explorer.get_by_text(STOPPED)
    assert not said.is_visible()
    page.locator(".lm-MenuBar-itemLabel", has_text="Kernel").first.click()
    page.locator(".lm-Menu-itemLabel", has_text="Restart Kernel…").first.click()
    page.locator(".jp-Dialog button", has_text="Restart").last.click()
    said.wait_for()
    assert explorer.locator(PICTURE).get_attribute("alt") == before
