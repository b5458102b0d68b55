"""The pictures of the README: procedural faces, and an explorer as it looks in JupyterLab.

    python -m docs.pictures

It needs Chromium (see `metaface doctor`), and writes docs/pictures/. Nobody's face is on them: they are all made.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from metaface_lessons import cli
from metaface_lessons.doctor import find_browser
from tests.browser.jupyter import explorers, notebook_that_ran

FOLDER = Path(__file__).resolve().parent / "pictures"
EXPLORER = """
from metaface_lessons.experiments.snapshots import load_snapshots, snapshot_split
from metaface_lessons.widgets import light_explorer

people = snapshot_split().novel.identities.tolist()
light_explorer.explore(load_snapshots()[1500], people, light_explorer.State(azimuth=50))
"""


def main() -> int:
    browser = find_browser()
    if browser is None:
        print("There is no Chromium here. Install it, or name it by METAFACE_BROWSER.", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    sheet = ["--people", "3", "--each", "10", "--seed", "3", "--out", str(FOLDER / "faces.png")]
    cli.main(["faces", "procedural", *sheet])
    with notebook_that_ran(browser, [EXPLORER.strip()]) as page:
        explorers(page).first.screenshot(path=FOLDER / "explorer.png")
    for picture in FOLDER.glob("*.png"):  # a third of the size, and looks alike
        Image.open(picture).quantize(256).save(picture, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
