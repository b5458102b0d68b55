"""Milliseconds from a key press on a slider to the changed picture, in a browser: the median over all sliders.

python -m benchmarks.widgets [--presses 24] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat

from metaface_lessons.doctor import find_browser
from metaface_lessons.faces import load_faces
from metaface_lessons.workspace import FIRST
from tests.browser.jupyter import SLIDER, chromium, explorers, jupyter_lab, move, open_notebook, run_all

TARGET = 300  # milliseconds
SETUP = """
from metaface_lessons.experiments import adaptation, leak
from metaface_lessons.experiments.snapshots import load_snapshots, snapshot_split
from metaface_lessons.widgets import embedding_explorer, episode_explorer, face_explorer, leak_explorer
from metaface_lessons.widgets import adaptation_explorer, cost_explorer, domain_explorer, light_explorer
from metaface_lessons.widgets import gradient_explorer, path_explorer, quadratic_explorer, sinusoid_explorer
from metaface_lessons.widgets import threshold_explorer
from metaface_lessons.faces.pairs import draw_pairs

split = snapshot_split()
"""
EXPLORERS = {
    "face": "face_explorer.explore()",
    "episode": "episode_explorer.explore(split.novel)",
    "leak": "leak_explorer.explore(leak.leak_experiment(split.base))",
    "embedding": "embedding_explorer.explore(load_snapshots(), split.novel)",
    "quadratic": "quadratic_explorer.explore()",
    "path": "path_explorer.explore()",
    "cost": "cost_explorer.explore()",
    "adaptation": "adaptation_explorer.explore(adaptation_explorer.Adapted("
    "adaptation.load_learners(), adaptation.small_split().novel))",
    "threshold": "threshold_explorer.explore(load_snapshots(), draw_pairs(split.novel, each=1000))",
    "light": "light_explorer.explore(load_snapshots()[1500], split.novel.identities.tolist(), "
    "light_explorer.State(occluder='block'))",  # without it the size of the block changes nothing
    "domain": "domain_explorer.explore()",
    "gradient": "gradient_explorer.explore()",
    "sinusoid": "sinusoid_explorer.explore(sinusoid_explorer.Measured(sinusoid_explorer.load_methods()))",
}


def measure(browser: str, presses: int) -> dict[str, list[float]]:
    """For each explorer, the milliseconds of `presses` moves of its sliders in turn."""
    load_faces("procedural")  # rendered before the clock starts
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *EXPLORERS.values())]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        nbformat.write(notebook, home / FIRST)
        with jupyter_lab(home, Path(folder)) as address, chromium(browser) as page:
            open_notebook(page, address, FIRST)
            run_all(page, seconds=300)
            times = {}
            for i, name in enumerate(EXPLORERS):
                explorer = explorers(page).nth(i)
                explorer.scroll_into_view_if_needed()
                sliders = explorer.locator(SLIDER).count()
                times[name] = [move(page, explorer, press % sliders) for press in range(presses)]
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=24, help="presses for each explorer")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    browser = find_browser()
    if browser is None:
        print("There is no Chromium here; METAFACE_BROWSER may name one.", file=sys.stderr)
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
