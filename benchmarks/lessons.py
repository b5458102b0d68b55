"""Measures how many seconds each lesson takes in a fresh kernel, beside the budget that it states.

python -m benchmarks lessons      # all
python -m benchmarks.lessons 07   # some
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import nbformat
from nbclient import NotebookClient

from metaface_lessons.errors import unknown
from metaface_lessons.faces import load_faces
from metaface_lessons.paths import NOTEBOOKS
from metaface_lessons.sources import lesson_budget


def main(arguments: list[str] | None = None) -> None:
    """Run the lessons that are named, or all, and print the seconds and the budget of each."""
    files = {file.name[:2]: file for file in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    parser = argparse.ArgumentParser(description="Time lessons.", epilog="example: python -m benchmarks.lessons 07")
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="numbers such as 07; without them, all lessons")
    numbers = parser.parse_args(arguments).lessons or [*files]
    for number in numbers:
        if number not in files:
            parser.error(str(unknown("lesson", number, files)))

    load_faces("procedural")  # rendered before the clock starts
    os.environ["METAFACE_BUDGET"] = "quick"
    print("lesson                          seconds   budget")
    for number in numbers:
        notebook = nbformat.read(files[number], as_version=4)
        with tempfile.TemporaryDirectory() as home:
            os.environ["METAFACE_HOME"] = home
            start = time.perf_counter()
            NotebookClient(notebook, timeout=600).execute(cwd=home)
            seconds = time.perf_counter() - start
        print(f"{files[number].stem:30s} {seconds:8.1f} {lesson_budget(notebook):8d}", flush=True)


if __name__ == "__main__":
    main()
