"""Measures how fast explorers follow their sliders: milliseconds from a key press to the new picture, in a browser.

python -m benchmarks.widgets [--presses 24] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

from metaface_lessons import widgets
from metaface_lessons.doctor import find_browser
from metaface_lessons.faces import load_faces
from tests.browser.jupyter import SLIDER, explorers, move, notebook_that_ran

TARGET = 300  # milliseconds


def measure(browser: str, presses: int) -> dict[str, list[float]]:
    """Move the sliders of every explorer, one after the other.

    browser: the Chromium to drive.
    presses: of a key, for each explorer.
    Returns the milliseconds of every press by the explorer's name.
    """
    load_faces("procedural")  # rendered before the clock starts
    names, times = list(widgets.explorers()), {}
    cells = ["from metaface_lessons import widgets", *(f"widgets.example({name!r})" for name in names)]
    with notebook_that_ran(browser, cells) as page:
        for i, name in enumerate(names):
            explorer = explorers(page).nth(i)
            explorer.scroll_into_view_if_needed()
            sliders = explorer.locator(SLIDER).count()
            times[name] = [move(page, explorer, press % sliders) for press in range(presses)]
    return times


def main() -> int:
    """Measure and print; return 1 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=24, help="presses for each explorer")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    browser = find_browser()
    if browser is None:
        print("No Chromium was found. The sliders need a browser. Name one with METAFACE_BROWSER.", file=sys.stderr)
        return 1
    times = measure(browser, arguments.presses)
    if arguments.json:
        print(json.dumps({name: {"median_ms": statistics.median(ms), "all_ms": ms} for name, ms in times.items()}))
        return 0
    print(f"explorer     median     90%     max   (ms, {arguments.presses} presses, target: median under {TARGET})")
    for name, ms in times.items():
        high = statistics.quantiles(ms, n=10)[-1]
        print(f"{name:10s} {statistics.median(ms):8.0f} {high:7.0f} {max(ms):7.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
