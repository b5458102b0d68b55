"""A feedback page is text: nothing in it is rendered, followed, loaded or run."""

from __future__ import annotations

import html
import re
import time
from html.parser import HTMLParser

from metaface_lessons.grading.feedback_page import Part, fenced, page, unfenced

MARKUP = (
    "[click](javascript:alert(1)) ![x](https://example.org/x.png) <img src=https://example.org/x.png onerror=alert(1)>"
    " </pre><script>alert(1)</script> ![a](attachment:x.png) $x$ <!-- --> &lt; \" ' `code`"
)


def test_a_comment_is_a_block_of_code() -> None:
    for text in (MARKUP, f"```\n{MARKUP}", f"a\n\n`````\n{MARKUP}\n````", "", "```", "```\n```"):
        assert unfenced(fenced(text)) == text
        fence = fenced(text).split("\n")[0]
        assert fence not in text
    assert unfenced("mine") == "mine"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.found


def test_what_a_learner_writes_is_text() -> None:
    found = page(MARKUP, [Part(MARKUP, 0, 1, MARKUP, MARKUP, MARKUP)], old=MARKUP)
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "pre"}
    assert {tag for tag, _ in tags(found)} <= allowed
    assert {name for _, attributes in tags(found) for name in attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "role")
    }
    assert html.unescape(found).count(MARKUP) == 7, "all of it is shown as it is"


def test_the_policy_lets_nothing_in_but_the_style() -> None:
    import base64
    import hashlib

    found = page("00", [])
    (policy,) = (a["content"] for _, a in tags(found) if a.get("http-equiv") == "Content-Security-Policy")
    style = re.findall(r"<style>(.*?)</style>", found, re.DOTALL)[0]
    own = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
    assert "http" not in found.replace("http-equiv", "")


def test_long_and_unprintable_text_is_cut_at_once() -> None:
    """Highlighting 100,000 dots took minutes; a lone surrogate could not be written."""
    start = time.perf_counter()
    found = page("00", [Part("chance", 1, 1, "\udcff\x1b[2J", "", "." * 1_000_000)])
    assert time.perf_counter() - start < 1
    assert "980000 more characters are left out" in found
    assert found.encode()
    assert "\x1b" not in found


def test_points_penalty_and_old_marks_are_said() -> None:
    parts = [Part("a", 2, 3, "", "Well done", "x = 1"), Part("b", 1, 1, "Passed.", "", "")]
    found = page("00", parts, penalty=0.5, old="These marks are old.")
    for words in ("Points: 2.5 of 4", "late submission: 0.5", "Well done", "These marks are old.", "no such cell"):
        assert words in found
    assert "old" not in page("00", parts).replace("p.old", "")
