"""The feedback of one submission as a page: text alone, with nothing in it that a browser follows, loads or runs.

What a learner wrote is in it, and reaches the instructor's browser as well. So all text is escaped and in blocks of
plain text, no Markdown is rendered, and a content security policy forbids the page everything but its own style.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import re
from collections.abc import Sequence

from .submitted import clean

_TEXT = 20_000  # characters of each part that are shown
_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.5rem 0; padding: 0.5rem 0.8rem; }
pre { border-left: 4px solid; }
pre.right { border-color: #009e73; } pre.open { border-color: #d55e00; }
pre.comment { border-color: #0072b2; } pre.answer { border-color: #bbb; background: #f6f6f6; }
p.old { border: 2px solid #d55e00; padding: 0.5rem 0.8rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 0.8rem 0 0; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"


@dataclasses.dataclass(frozen=True)
class Part:
    """The feedback on one exercise.

    title: its name and its title.
    score, of: the points that it got, and the most that it could get.
    text: what the checker said.
    comment: of the instructor; empty if there is none.
    answer: the submitted cell; empty if there is none.
    """

    title: str
    score: float
    of: float
    text: str
    comment: str
    answer: str


def page(title: str, parts: Sequence[Part], penalty: float = 0.0, old: str = "") -> str:
    """The page in HTML.

    title: of the lesson.
    parts: the exercises, in the lesson's order.
    penalty: points that a late submission costs. 0.
    old: why these marks are not of the last grading; empty, the default, if they are.
    """
    score, of = sum(part.score for part in parts), sum(part.of for part in parts)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="referrer" content="no-referrer">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_escaped(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_escaped(title)}</h1>",
        f"<p>Points: {max(score - penalty, 0):g} of {of:g}.</p>",
    ]
    if penalty:
        lines.append(f"<p>Taken off for a late submission: {penalty:g}.</p>")
    if old:
        lines.append(f'<p class="old" role="note">{_escaped(old)}</p>')
    for part in parts:
        lines.append(f"<h2>{_escaped(part.title)}: {part.score:g} of {part.of:g}</h2>")
        lines.append(_block("right" if part.score >= part.of else "open", part.text))
        if part.comment:
            lines += ["<h3>Your instructor says</h3>", _block("comment", part.comment)]
        lines += ["<h3>Your answer</h3>", _block("answer", part.answer or "There was no such cell.")]
    return "\n".join([*lines, "</body></html>\n"])


def fenced(text: str) -> str:
    """A text as a code block of Markdown: nbgrader's own feedback would render what is not in one."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def unfenced(text: str) -> str:
    """The text in a code block that `fenced` has made; any other text as it is."""
    found = re.fullmatch("(`{3,})\n(.*)\n\\1", text, re.DOTALL)
    return found[2] if found else text


def _block(kind: str, text: str) -> str:
    return f'<pre class="{kind}">{_escaped(text)}</pre>'


def _escaped(text: str) -> str:
    return html.escape(clean(text, _TEXT))
