"""The progress bar of everything that takes more than a few seconds, in a terminal and in a notebook.

    for epoch in Bar(range(5), "pre-train", "epoch"):
        ...

    with Bar(label="meta-train", unit="step", total=400, seconds=25) as bar:
        ...
        bar.update()
        bar.end("the time is up")

In a terminal the last line of a bar stays. In a notebook a bar is HTML, not a widget, and it takes itself away. So a
notebook that is opened again shows no broken bar, and nbval has nothing to compare: the output is empty when the bar
opens, and again after it.
"""

from __future__ import annotations

import html
import math
import sys
from collections.abc import Iterable
from typing import Any

from tqdm.std import tqdm


class Bar(tqdm):
    """Shows how far a piece of work is: by hand with `update()`, or as it goes through `items`.

    items: what to go through; None to count by hand.
    label: what is done, such as "evaluate".
    unit: what is counted, in the singular.
    total: how many there will be. The length of `items`; None if nobody knows.
    done: how many were done before, in an earlier run. 0.
    seconds: the work ends after so many seconds, if not by its total. Infinite.
    shown: whether to show the bar. True.
    """

    monitor_interval = 0  # no thread of its own: a bar moves when its work does

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        label: str = "",
        unit: str = "step",
        *,
        total: int | None = None,
        done: int = 0,
        seconds: float = math.inf,
        shown: bool = True,
    ) -> None:
        self.seconds, self.place = seconds, None
        notebook = shown and _in_notebook()
        super().__init__(
            items, label, total, initial=done, unit=unit, disable=not shown, miniters=1,
            mininterval=0.25 if notebook else 0.1, dynamic_ncols=not notebook, gui=notebook,
        )  # fmt: skip
        if notebook:
            from IPython.display import display

            self.place = display({}, raw=True, display_id=True)  # empty: all of it that nbval ever sees
            self.refresh()

    @property
    def format_dict(self) -> dict[str, Any]:
        """The numbers of the bar. Its total is what the seconds allow at the present speed, if that is less."""
        shown: dict[str, Any] = super().format_dict
        new = shown["n"] - (shown["initial"] or 0)
        if math.isfinite(self.seconds) and new and not self.disable:
            reached = math.ceil(shown["n"] + new * max(0.0, self.seconds / max(shown["elapsed"], 1e-9) - 1))
            shown["total"] = min(reached, self.total or reached)
        return shown

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar; tqdm calls this."""
        if self.place is None:
            return bool(super().display(msg, pos))
        self.place.update({"text/html": self._html()}, raw=True)
        return True

    def _html(self, words: str = "") -> str:
        shown = self.format_dict
        n, total, label = shown["n"], shown["total"], html.escape(shown["prefix"] or "")
        label = label.removesuffix(": ")
        told = f"{n}" if total in (None, n) else f"{n} of {total}"
        told = f"{told} {shown['unit']}s, {self.format_interval(shown['elapsed'])}"
        if words:
            told = f"{words}: {told}"
        elif total and n:
            new = n - (shown["initial"] or 0)
            left = (total - n) * shown["elapsed"] / new if new else 0
            told += f", about {self.format_interval(left)} left"
        if shown["postfix"]:
            told += f", {html.escape(shown['postfix'])}"
        filled = f' value="{n}" max="{max(total, 1)}"' if total is not None else ""
        return (
            '<div style="display: flex; flex-wrap: wrap; gap: 0 1em; align-items: center">'
            f'<progress aria-label="{label}"{filled} style="width: 16em; max-width: 100%"></progress>'
            f"<span>{label}: {told}</span></div>"
        )

    def end(self, words: str, complete: bool = True) -> None:
        """Close the bar, and leave a line, in a notebook as well, that says why the work has ended.

        words: why, such as "the time is up".
        complete: whether that is all that was wanted, so that the bar is full.
        """
        if self.disable:
            return
        self.seconds = math.inf
        if complete:
            self.total = self.n
        if self.place is None:
            self.set_postfix_str(", ".join(filter(None, [self.postfix, words])), refresh=False)
        last = self._html(words)
        super().close()
        if self.place is not None:
            self.place.update({"text/html": last}, raw=True)

    def close(self) -> None:
        """Close the bar; in a notebook, take it away. After `end`, its line stays."""
        if self.disable:
            return
        super().close()
        if self.place is not None:
            self.place.update({}, raw=True)


def _in_notebook() -> bool:
    """Whether a notebook's kernel shows what this process displays."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")
