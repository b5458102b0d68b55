"""What cells print, in a real browser: long lines break between words, and wide tables can be read."""

from __future__ import annotations

import pytest

from tests.browser.jupyter import notebook_that_ran

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

TORN = r"""outputs => outputs.flatMap(output => [...output.childNodes])
    .filter(node => node.nodeType === Node.TEXT_NODE)
    .flatMap(node => [...node.data.matchAll(/\S+/g)].map(word => {
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const parts = [...range.getClientRects()].filter(part => part.width > 0);
        return parts.length > 1 ? word[0] : null;
    }))
    .filter(word => word)"""


def test_no_word_of_a_long_line_is_torn(browser_path: str) -> None:
    long = [f"print({('between words, ' * 40)!r})", "hint('start.standardise', 3)"]
    with notebook_that_ran(browser_path, long) as page:
        lines = page.locator(".jp-OutputArea-output pre")
        assert lines.count() == len(long)
        assert lines.first.evaluate("pre => pre.getClientRects()[0].height") > 30, "it is on several lines"
        page.set_viewport_size({"width": 700, "height": 900})
        assert lines.evaluate_all(TORN) == []


def test_a_wide_table_keeps_the_names_of_its_rows_in_view(browser_path: str) -> None:
    rows = "{f'LDA, Tan-Triggs, blends, ten views, {i}': ['98.8 ± 0.2 ± 2.2'] * 9 for i in range(3)}"
    wide = f"from metaface_lessons.figures import table\ntable({rows}, list('abcdefghi'))"
    with notebook_that_ran(browser_path, [wide]) as page:
        page.set_viewport_size({"width": 800, "height": 1000})
        box = page.locator(".jp-OutputArea-output div:has(> table)")
        before, after = (
            box.evaluate(
                """(box, scrolled) => {
                    box.scrollLeft = scrolled;
                    const name = box.querySelector("th[scope=row]").getBoundingClientRect();
                    return [box.scrollLeft, name.left, name.width / box.clientWidth];
                }""",
                scrolled,
            )
            for scrolled in (0, 200)
        )
        assert after[0] == 200, "there is more than fits"
        assert after[1] == before[1]
        assert after[2] < 0.5, "numbers have more room than names"
