"""Measures how many seconds each lesson takes in a fresh kernel, beside the budget that it states.

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
from metaface_lessons.sources import lesson_budget


def main() -> None:
    """Run each lesson, and print its seconds and its budget."""
    load_faces("procedural")  # rendered before the clock starts
    os.environ["METAFACE_BUDGET"] = "quick"
    print("lesson                          seconds   budget")
    for file in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        with tempfile.TemporaryDirectory() as home:
            os.environ["METAFACE_HOME"] = home
            start = time.perf_counter()
            NotebookClient(notebook, timeout=600).execute(cwd=home)
            seconds = time.perf_counter() - start
        print(f"{file.stem:30s} {seconds:8.1f} {lesson_budget(notebook):8d}", flush=True)


if __name__ == "__main__":
    main()
