"""Seconds that each lesson takes from top to bottom in a fresh kernel, against its budget on two CPU cores.

python -m benchmarks lessons
"""

from __future__ import annotations

import os
import tempfile
import time

import nbformat
from nbclient import NotebookClient

from metaface_lessons.faces import load_faces
from metaface_lessons.paths import NOTEBOOKS

BUDGET = {
    "00": 20,
    "01": 60,
    "02": 120,
    "03": 180,
    "04": 90,
    "05": 90,
    "06": 180,
    "07": 120,
    "08": 120,
    "09": 120,
    "10": 60,
}


def main() -> None:
    load_faces("procedural")  # so that no lesson is charged for the first rendering
    os.environ["METAFACE_BUDGET"] = "quick"
    print("lesson                          seconds   budget")
    for file in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        with tempfile.TemporaryDirectory() as home:
            os.environ["METAFACE_HOME"] = home
            start = time.perf_counter()
            NotebookClient(nbformat.read(file, as_version=4), timeout=600).execute(cwd=home)
            seconds = time.perf_counter() - start
        print(f"{file.stem:30s} {seconds:8.1f} {BUDGET[file.stem[:2]]:8.0f}", flush=True)


if __name__ == "__main__":
    main()
