"""A class on JupyterHub, as deploy/jupyterhub sets it up: an instructor and two students, each a system user.

Everything happens through each one's own server, as in their browsers: in its file browser (contents API), in
nbgrader's list of assignments, or in a kernel, which stands for a terminal.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import hub
from tests.hub import User, log_in_form, running_hub

COURSE, LESSON = "metaface", "00"
pytestmark = [pytest.mark.jupyterhub, pytest.mark.needs(*hub.needs())]


@pytest.fixture(scope="module")
def people() -> Iterator[dict[str, User]]:
    with running_hub(instructors=["teacher"], students=["ann", "bob"]) as found:
        for who in ("teacher", "ann", "bob"):
            found[who].log_in()
        yield found


def done(user: User, command: str) -> str:
    """Run a command that must succeed. Returns what it wrote."""
    code, output = user.run(command)
    assert code == 0, f"{command}\n{output}"
    return output


def submission(user: User, exchange: Path) -> Path:
    """Where the user's submission lies in the exchange: what only root and the instructor can find."""
    (found,) = (exchange / COURSE / "inbound").glob(f"{user.name}+*")
    return found


# ------------------------------------------------------------------------------------------------------------- entrance


def test_only_members_of_the_course_with_their_password_come_in(people: dict[str, User]) -> None:
    ann, stranger = people["ann"], people["stranger"]
    for name, password in ((ann.name, stranger.password), (ann.name, ""), (stranger.name, stranger.password)):
        with pytest.raises(requests.HTTPError, match="403"):
            log_in_form(ann.hub, name, password)
    assert requests.get(ann.url("api/contents"), allow_redirects=False).status_code == 403


def test_a_server_is_its_users(people: dict[str, User]) -> None:
    ann, bob = people["ann"], people["bob"]
    assert done(ann, "id -un").strip() == ann.name
    names = [entry["name"] for entry in ann.get("api/contents/metaface")["content"]]
    assert "00_start_here.ipynb" in names
    assert "metaface" in done(ann, "metaface --version")
    for path in ("api/contents", "api/kernels", "lab"):
        assert bob.api.get(ann.url(path), allow_redirects=False).status_code in (302, 403, 404), path


def test_only_instructors_have_the_formgrader(people: dict[str, User]) -> None:
    for who, status in (("teacher", 200), ("ann", 404)):
        assert people[who].api.get(people[who].url("formgrader")).status_code == status
        disabled = "@jupyter/nbgrader:formgrader" in people[who].api.get(people[who].url("lab")).text
        assert disabled == (who == "ann")


def test_kernels_are_out_of_others_reach(people: dict[str, User]) -> None:
    ann, bob = people["ann"], people["bob"]
    done(ann, "true")  # her kernel runs
    (connection,) = (ann.home / ".runtime").glob("kernel-*.json")
    assert json.loads(connection.read_text())["transport"] == "ipc"
    assert bob.run(f"cat {connection}")[0] != 0
    assert ann.home.stat().st_mode & 0o077 == 0  # though the administrator left it open


# -------------------------------------------------------------------------------------------------------- an assignment

CLASS = "metaface-class"  # the instructor's folder, in their home


def release(teacher: User) -> None:
    """The instructor releases the lesson to the exchange."""
    done(teacher, f"metaface class release {LESSON} --course {CLASS}")


def grade(teacher: User) -> dict[str, float]:
    """The instructor collects, grades and returns feedback. Returns the points of each system user."""
    for step in ("collect", "grade", "feedback"):
        done(teacher, f"metaface class {step} {LESSON} --course {CLASS}")
    done(teacher, f"metaface class export {CLASS}/marks.csv --course {CLASS}")
    rows = csv.DictReader(teacher.read(f"{CLASS}/marks.csv").splitlines())
    return {row["student_id"]: float(row["score"]) for row in rows}


def assignments(user: User, action: str = "", **data: str) -> list[dict[str, Any]]:
    """What nbgrader's list of assignments shows, after an action: fetch, submit or fetch_feedback."""
    if action:
        shown = user.post(f"assignments/{action}", course_id=COURSE, assignment_id=LESSON)
    else:
        shown = user.get("assignments", params={"course_id": COURSE})
    assert shown["success"], shown["value"]
    found: list[dict[str, Any]] = shown["value"]
    return found


def answer(user: User, line: str) -> None:
    """Write the line into the gap of the function `chance`, in the fetched notebook."""
    (name,) = (entry["name"] for entry in user.get(f"api/contents/{LESSON}")["content"] if entry["type"] == "notebook")
    notebook = json.loads(user.read(f"{LESSON}/{name}"))
    (cell,) = (cell for cell in notebook["cells"] if "def chance(" in "".join(cell["source"]))
    cell["source"] = "".join(cell["source"]).replace("raise NotImplementedError()", line)
    user.write(f"{LESSON}/{name}", json.dumps(notebook))


@pytest.fixture(scope="module")
def submitted(people: dict[str, User]) -> dict[str, User]:
    """The lesson is released; Ann has submitted a right answer. Bob's is right only if it can trace its parent process:
    a traced process of the instructor's would read the seed for him."""
    release(people["teacher"])
    seize = "ctypes.CDLL(None).ptrace(0x4206, os.getppid() or 1, 0, 0) == 0"  # works only once
    escape = f"import ctypes, os; 1 / globals().setdefault('traced', {seize}); return 1 / ways"
    for who, line in (("ann", "return 1 / ways"), ("bob", escape)):
        assert [found["status"] for found in assignments(people[who])] == ["released"]
        assignments(people[who], "fetch")
        answer(people[who], line)
        assert [found["status"] for found in assignments(people[who], "submit")] == ["fetched", "submitted"]
    return people


def test_a_student_reads_neither_anothers_work_nor_what_is_the_instructors(submitted: dict[str, User]) -> None:
    teacher, ann, bob = (submitted[who] for who in ("teacher", "ann", "bob"))
    exchange = teacher.home.parent.parent / "exchange"
    assert submission(ann, exchange).is_dir()
    hidden = {
        "the other's notebook": next((ann.home / LESSON).glob("*.ipynb")),
        "the other's progress and lessons": ann.home / "metaface",
        "what was submitted": exchange / COURSE / "inbound",
        "the instructor's folder": teacher.home / CLASS,
        "the seed": teacher.home / CLASS / ".metaface-seed",
        "the gradebook": teacher.home / CLASS / "gradebook.db",
    }
    for what, path in hidden.items():
        assert path.exists(), what
        code, output = bob.run(f"cat {path} || ls {path}")
        assert code != 0, what
        assert output.count("ermission denied") == 2, f"{what}: {output}"
    assert bob.run(f"echo 1 > {exchange / COURSE / 'outbound' / LESSON}/x")[0] != 0


@pytest.mark.needs("bubblewrap", "namespaces for everybody")  # the instructor is not root
def test_what_students_put_into_the_exchange_is_not_believed(submitted: dict[str, User]) -> None:
    """Bob forges a submission of Ann's, and in one of his own links to what only the instructor may read. He gets
    neither it nor her marks, and the others' grading goes on. Then all fetch their feedback, and see their own."""
    teacher, ann, bob = (submitted[who] for who in ("teacher", "ann", "bob"))
    exchange = teacher.home.parent.parent / "exchange"
    inbound = exchange / COURSE / "inbound"
    later = "2099-01-01 00:00:00.0 UTC"
    forged, own = inbound / f"{ann.name}+{LESSON}+{later}+x", inbound / f"{bob.name}+{LESSON}+{later}+x"
    for command in (
        f"cp -r {LESSON} '{forged}'",
        f"cp -r {LESSON} '{own}' && echo '{later}' > '{own}/timestamp.txt'",
        f"ln -s {teacher.home / CLASS / '.metaface-seed'} '{own}/seed.txt'",
        f"ln -s {teacher.home / CLASS} '{own}/class'",
        f"mkfifo '{own}/pipe' && mkdir '{own}/notes' && echo mine > '{own}/notes/mine.txt'",
        f"chmod -R a+rX '{own}' '{forged}'",
        f"ln -s {teacher.home / CLASS} '{inbound}/{bob.name}+{LESSON}+{later}+y'",
        f"touch '{inbound}/{bob.name}+{LESSON}+no time+z'",
    ):
        done(bob, command)

    assert done(teacher, "id -u").strip() != "0"
    marks = grade(teacher)
    assert marks[ann.name] > marks[bob.name] == 0
    collected = teacher.home / CLASS / "submitted"
    assert "return 1 / ways" in next((collected / ann.name / LESSON).glob("*.ipynb")).read_text()
    found = {str(path.relative_to(collected / bob.name / LESSON)) for path in (collected / bob.name).rglob("*.*")}
    assert {"notes/mine.txt", "timestamp.txt"} < found
    assert not found & {"seed.txt", "class", "pipe"}
    assert not (collected / bob.name / LESSON / "class").exists()
    assert submission(ann, exchange).is_dir()  # the forged one is out of the way

    assignments(ann, "fetch_feedback")
    (feedback,) = (ann.home / LESSON / "feedback").rglob("*.html")
    text = ann.read(str(feedback.relative_to(ann.home)))
    assert "return 1 / ways" in re.sub("<[^>]+>", "", text)
    code, output = bob.run(f"ls {exchange / COURSE / 'feedback'}")
    assert code != 0
    assert "ermission denied" in output
