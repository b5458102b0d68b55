"""A class of three honest learners and more than thirty hostile ones, from the release to exported marks.

`main` goes through it, in a process of any user.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import os
import pwd
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.grading.submissions import FILE, WHOLE, cell_of, notebook

Book = dict[str, Any]
TIME = "2026-03-01 10:00:00.000000 UTC"
HONEST = {"ann": WHOLE, "Liam O'Neill": WHOLE, "zoe": 1}  # Zoe has solved the first exercise, which is worth 1 point
LINK = (
    "[click](javascript:alert(1)) ![x](https://example.org/x.png) <img src=x onerror=alert(1)> ![a](attachment:a.png)"
)


UNFIT = ("bo ", "=1+1", "b,100", "\x1b[2J", os.fsdecode(b"\xff"))
LINKS = ("link", "inner-link")


def answering(book: Book, source: str) -> Book:
    """The lesson with this text in the cell of its first exercise, and nothing in the others."""
    found = copy.deepcopy(book)
    for cell in found["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = ""
    cell_of(found)["source"] = source
    return found


def returning(value: str) -> Callable[[Book], Book]:
    return lambda book: answering(book, f"def chance(ways):\n    return {value}\ncheck('start.chance', chance)")


def without_metadata(book: Book) -> Book:
    return book | {"cells": [cell | {"metadata": None} for cell in book["cells"]]}


# What they submit through the exchange: a notebook, or a text in its place.
NOTEBOOKS: dict[str, str | Callable[[Book], Book]] = {
    "broken": "{broken",
    "list": "[]",
    "deep": "[" * 1_000_000,
    "nan": '{"cells": NaN}',
    "surrogate": '{"cells": "\\ud800"}',
    "large": " " * (21 << 20),
    "no-metadata": without_metadata,
    "no-cells": lambda book: book | {"cells": []},
    "odd-cells": lambda book: book | {"cells": [None, 3, [], {}, {"cell_type": "code"}] * 100},
    "exits": lambda book: answering(book, "import os\nos._exit(0)"),
    "megabytes": lambda book: answering(book, "#" + "x" * (2 << 20)),
    "dots": lambda book: answering(book, f"x = {'.' * 100_000}"),
    "markup": lambda book: answering(book, f"raise ValueError('\\ud800\\x1b[2J' + {LINK!r} * 100)"),
    "huge-number": returning("2 ** 64"),
    "long-key": returning("{'k' * 500_000: 1}"),
    "forged": lambda book: answering(
        book,
        "import metaface_lessons.grading.worker as w\n"
        "w._Worker.reply = lambda s, tree, numbers: w.send(s.channel, {'outcome': 'passed'}, [], 1e9)\n"
        "def chance(ways): return 0.123\ncheck('start.chance', chance)",
    ),
    "imports": lambda book: answering(
        book,
        "import unittest.__main__, numpy.f2py.__main__\nimport torch._inductor.async_compile\n"
        "def chance(ways): return 0.123\ncheck('start.chance', chance)",
    ),
    "date": "{broken",
    "binary": "{broken",
    "crowd": "{broken",
}


def submit(course: Path, solved: Book) -> None:
    """Everybody submits: into the exchange, or by files that an archive has laid into submitted/."""
    inbound = course.parent / "exchange" / "faces" / "inbound"

    def put(student: str, text: str, time: str = TIME) -> Path:
        folder = inbound / f"{student}+00+{time}+x"
        folder.mkdir()
        (folder / FILE).write_text(text)
        (folder / "timestamp.txt").write_text(time)
        (folder / "submission_secret.txt").write_text(student * 40)
        return folder

    for student, points in HONEST.items():
        first = "".join(cell_of(solved)["source"])
        put(student, json.dumps(solved if points == WHOLE else answering(solved, first)))
    for student, what in NOTEBOOKS.items():
        folder = put(student, what if isinstance(what, str) else json.dumps(what(solved)))
        if student == "date":
            (folder / "timestamp.txt").unlink()
            os.mkfifo(folder / "timestamp.txt")
        if student == "binary":
            (folder / "submission_secret.txt").write_bytes(bytes(range(256)))
        if student == "crowd":
            for number in range(1100):
                (folder / str(number)).touch()
    put("out-of-range", json.dumps(solved), "99999-01-01 00:00:00 UTC")
    (inbound / ("b" * 255)).mkdir()
    (inbound / f"borrows+00+{TIME}+x").symlink_to(inbound / f"ann+00+{TIME}+x")


def lay(course: Path, solved: Book) -> None:
    """What does not come through the exchange."""
    submitted = course / "submitted"
    ann = submitted / "ann"
    for name in UNFIT:
        (submitted / name / "00").mkdir(parents=True)
        (submitted / name / "00" / FILE).write_text(json.dumps(solved))
    (submitted / "link").symlink_to(ann)
    for name in ("inner-link", "file-link", "pipe", "unreadable"):
        (submitted / name).mkdir()
    (submitted / "inner-link" / "00").symlink_to(ann / "00")
    for name in ("file-link", "pipe", "unreadable"):
        (submitted / name / "00").mkdir()
    (submitted / "file-link" / "00" / FILE).symlink_to(ann / "00" / FILE)
    os.mkfifo(submitted / "pipe" / "00" / FILE)
    (submitted / "unreadable" / "00" / FILE).write_text("{broken")
    (submitted / "unreadable" / "00").chmod(0)


def through(course: Path, kind: str) -> dict[str, Any]:
    """All steps. Returns the exit status and the output of each, the rows of the exported table, and the pages."""
    from metaface_lessons.cli import main
    from metaface_lessons.grading import sandbox

    has_a_name()
    sandbox.find = lambda unsafe=False: kind  # type: ignore[assignment]
    exchange = course.parent / "exchange"
    (exchange / "faces" / "inbound").mkdir(parents=True)
    exchange.chmod(0o777)
    course.mkdir()
    (course / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.CourseDirectory.course_id = 'faces'\nc.Exchange.root = {str(exchange)!r}\n"
        "c.ExchangeCollect.check_owner = False\n"
    )
    solved = notebook()
    came: dict[str, Any] = {"status": {}, "output": {}, "seconds": {}}
    steps = [["release", "00"], ["collect", "00"], ["grade", "00", "--jobs", "2"], ["feedback", "00"]]
    for step in (*steps, ["export", str(course / "m.csv")]):
        output, start = io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's, at the import of nbgrader
            came["status"][step[0]] = main(["class", *step, "--course", str(course)])
        came["output"][step[0]] = output.getvalue()
        came["seconds"][step[0]] = round(time.perf_counter() - start, 1)
        if step[0] == "release":
            submit(course, solved)
        if step[0] == "collect":
            lay(course, solved)
    (course / "submitted" / "unreadable" / "00").chmod(0o700)
    with (course / "m.csv").open() as file:
        came["rows"] = list(csv.DictReader(file))
    came["pages"] = {path.parent.parent.name: path.read_text() for path in course.glob("feedback/*/00/*.html")}
    came["returned"] = len(list((exchange / "faces" / "feedback").glob("*.html")))
    return came


def has_a_name() -> None:
    """The instructor's account has a name, as on a server: nbgrader asks for it. An account of a test may have none."""
    number = os.geteuid()
    try:
        pwd.getpwuid(number)
    except KeyError:
        own = pwd.struct_passwd(("instructor", "x", number, number, "", os.environ["HOME"], "/bin/sh"))
        pwd.getpwuid = lambda uid: own


def main() -> None:
    """`sys.argv` holds an empty folder and the kind of lock. Prints what came of it, in JSON."""
    print(json.dumps(through(Path(sys.argv[1]) / "class", sys.argv[2])))
