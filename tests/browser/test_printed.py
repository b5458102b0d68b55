"""What cells print, in a real browser: a line that is too long breaks between words."""

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
