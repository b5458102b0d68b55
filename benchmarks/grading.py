"""Measures how fast a class is graded: a hundred submissions of lesson 02, two at a time.

python -m benchmarks.grading        # writes data/results/grading.json

It also says whether the marks equal those of grading one by one. The submissions take turns: solved, untouched, one
answer missing, not a notebook. Memory is the peak of the largest single process, checker or submission.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from datetime import date
from pathlib import Path

from metaface_lessons.grading import sandbox
from metaface_lessons.grading.marks import lesson, mark_all
from metaface_lessons.paths import DATA, NOTEBOOKS, write_atomically

FILE = DATA / "results" / "grading.json"
LESSON, SUBMISSIONS, JOBS = "02", 100, 2


def submissions(folder: Path) -> list[Path]:
    """Write the submissions below a folder, and return their files."""
    name = lesson(LESSON).notebook
    solved, blank = (NOTEBOOKS / "solutions" / name).read_text(), (NOTEBOOKS / name).read_text()
    partly = json.loads(solved)
    partly["cells"].remove(next(c for c in partly["cells"] if c["metadata"].get("nbgrader", {}).get("solution")))
    texts = [solved, blank, json.dumps(partly), "{broken"]
    files = [folder / str(number) / name for number in range(SUBMISSIONS)]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(texts[number % len(texts)])
    return files


def main() -> None:
    """Grade, and store the result."""
    kind = sandbox.find()
    with tempfile.TemporaryDirectory() as folder:
        files = submissions(Path(folder))
        start = time.perf_counter()
        marks = mark_all(files, LESSON, kind, "benchmark", JOBS)
        seconds = time.perf_counter() - start
        serial = mark_all(files, LESSON, kind, "benchmark", 1)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    stored = {
        "command": "python -m benchmarks.grading",
        "date": date.today().isoformat(),
        "sandbox": kind,
        "lesson": LESSON,
        "submissions": SUBMISSIONS,
        "jobs": JOBS,
        "seconds_per_submission": round(seconds / SUBMISSIONS, 2),
        "peak_megabytes": round(memory),
        "marks_as_in_serial": marks == serial,
        "points": sum(mark.points for found in marks if not isinstance(found, str) for mark in found),
    }
    print(json.dumps(stored, indent=1))
    write_atomically(FILE, (json.dumps(stored, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
