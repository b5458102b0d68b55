"""The learner's folder: the course never overwrites their work."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
import websocket
from jupyter_server.serverapp import list_running_servers
from nbformat.sign import NotebookNotary

from metaface_lessons import cli, paths
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.lab import workspace

LESSONS = ("00_start_here", "01_learning_to_learn", "02_prototypical_networks")


def notebook(source: str) -> str:
    """A lesson of the course, executed: words, a cell and what came of it, and an exercise."""
    output = {"output_type": "stream", "name": "stdout", "text": "the answer"}
    executed = {"cell_type": "code", "metadata": {}, "execution_count": 1}
    cells = [
        {"id": "words", "cell_type": "markdown", "source": "words", "metadata": {}},
        executed | {"id": "shown", "source": source, "outputs": [output]},
        executed | {"id": "asked", "source": "raise NotImplementedError", "outputs": [], "metadata": EXERCISE},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


EXERCISE = {"nbgrader": {"grade_id": "mean", "solution": True, "grade": False, "schema_version": 3}}


def answer(lesson: Path, text: str) -> bytes:
    """Solve the exercise of a lesson, as JupyterLab saves it. Returns what is in the file now."""
    content = json.loads(lesson.read_text())
    content["cells"][2]["source"] = text
    lesson.write_text(json.dumps(content))
    return lesson.read_bytes()


def run(lesson: Path) -> None:
    """Run the cells of a lesson and save it, as JupyterLab does."""
    content = json.loads(lesson.read_text())
    for cell in content["cells"][1:]:
        cell |= {"execution_count": 3, "outputs": [{"output_type": "stream", "name": "stdout", "text": "42"}]}
    lesson.write_text(json.dumps(content))


def answers(lesson: Path) -> str:
    return str(json.loads(lesson.read_text())["cells"][2]["source"])


def source(lesson: Path) -> str:
    """What the learner's lesson asks to run. It does not show what will come of it."""
    cell = json.loads(lesson.read_text())["cells"][1]
    assert (cell["execution_count"], cell["outputs"]) == (None, [])
    return str(cell["source"])


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "course"
    (folder / "solutions").mkdir(parents=True)
    for name in LESSONS:
        (folder / f"{name}.ipynb").write_text(notebook(f"{name}, first edition"))
        (folder / "solutions" / f"{name}.ipynb").write_text("solved")
    (folder / "GLOSSARY.md").write_text("words")
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    return folder


@pytest.fixture
def home(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    folder, news = workspace.prepare()
    assert news == []
    return folder


def edition(course: Path, name: str) -> None:
    """A newer version of all lessons."""
    for lesson in LESSONS:
        (course / f"{lesson}.ipynb").write_text(notebook(f"{lesson}, {name} edition"))


def test_the_lessons_are_copied_and_the_solutions_are_not(home: Path) -> None:
    assert sorted(path.stem for path in home.glob("*.ipynb")) == list(LESSONS)
    assert source(home / f"{LESSONS[2]}.ipynb") == f"{LESSONS[2]}, first edition"


def test_the_glossary_to_which_lessons_link_is_beside_them_and_kept_up_to_date(course: Path, home: Path) -> None:
    assert (home / "GLOSSARY.md").read_text() == "words"
    (course / "GLOSSARY.md").write_text("more words")
    workspace.prepare()
    assert (home / "GLOSSARY.md").read_text() == "more words"


def test_an_update_refreshes_what_is_untouched_and_leaves_what_is_no_notebook(course: Path, home: Path) -> None:
    (home / f"{LESSONS[1]}.ipynb").write_text("my work")
    edition(course, "second")
    for _ in range(2):  # and it stays so the next time
        _, (news,) = workspace.prepare()
        assert "cannot be read as a notebook. It stays as it is. `metaface reset 01`" in news
        assert source(home / f"{LESSONS[0]}.ipynb") == f"{LESSONS[0]}, second edition"
        assert (home / f"{LESSONS[1]}.ipynb").read_text() == "my work"
    assert not (home / "saved").exists()


def test_an_update_takes_answers_over_and_keeps_the_lesson_as_it_was(course: Path, home: Path) -> None:
    lesson = home / f"{LESSONS[2]}.ipynb"
    before = answer(lesson, "def mean(x): return x.mean()")
    os.utime(lesson, (10**9, 10**9))
    edition(course, "second")
    _, news = workspace.prepare()
    assert news[0] == "Lesson 02 is the course's newer version now, with 1 answer of yours."
    (kept,) = (home / "saved").iterdir()
    assert news[1:] == [f"  Yours as it was: {kept}"]
    assert kept.read_bytes() == before
    assert source(lesson) == f"{LESSONS[2]}, second edition"
    assert answers(lesson) == "def mean(x): return x.mean()"
    assert lesson.stat().st_mtime == 10**9
    assert workspace.prepare()[1] == [], "once is enough"
    edition(course, "third")
    workspace.prepare()
    assert source(lesson) == f"{LESSONS[2]}, third edition"
    assert answers(lesson) == "def mean(x): return x.mean()"
    assert len([*(home / "saved").iterdir()]) == 2


def test_a_lesson_with_a_new_name_takes_answers_over(course: Path, home: Path) -> None:
    answer(home / f"{LESSONS[2]}.ipynb", "def mean(x): return x.mean()")
    (home / "02_notes_of_mine.ipynb").write_text("mine")
    (course / f"{LESSONS[2]}.ipynb").unlink()
    (course / "02_protonets.ipynb").write_text(notebook("second edition"))
    _, news = workspace.prepare()
    assert "with 1 answer of yours" in news[0]
    assert answers(home / "02_protonets.ipynb") == "def mean(x): return x.mean()"
    assert not (home / f"{LESSONS[2]}.ipynb").exists()
    assert (home / "02_notes_of_mine.ipynb").read_text() == "mine"
    assert len(workspace.saved_versions("02")) == 1


def test_an_update_names_what_it_cannot_take_over(course: Path, home: Path) -> None:
    lesson = home / f"{LESSONS[2]}.ipynb"
    before = answer(lesson, "def mean(x): return x.mean()")
    (course / lesson.name).write_text(notebook("second edition").replace('"mean"', '"median"'))
    _, news = workspace.prepare()
    assert news[:2] == [
        "Lesson 02 is the course's newer version now.",
        "  The course has changed or removed these, so yours are not in it: the answer to mean.",
    ]
    assert [file.read_bytes() for file in (home / "saved").iterdir()] == [before]


def test_a_lesson_that_was_only_run_follows_the_course(course: Path, home: Path) -> None:
    lesson = home / f"{LESSONS[2]}.ipynb"
    run(lesson)
    edition(course, "second")
    assert workspace.prepare()[1] == []
    assert source(lesson) == f"{LESSONS[2]}, second edition"
    assert not (home / "saved").exists()


def test_an_update_that_cannot_keep_the_old_file_changes_nothing(course: Path, home: Path) -> None:
    lesson = home / f"{LESSONS[2]}.ipynb"
    before = answer(lesson, "def mean(x): return x.mean()")
    (home / "saved").write_text("a file")
    edition(course, "second")
    with pytest.raises(MetaFaceError, match="cannot be copied"):
        workspace.prepare()
    assert lesson.read_bytes() == before


def test_a_lesson_of_before_the_copies_said_where_they_come_from(course: Path, home: Path) -> None:
    lesson = home / f"{LESSONS[2]}.ipynb"
    content = json.loads(answer(lesson, "def mean(x): return x.mean()"))
    del content["metadata"]["metaface"]
    lesson.write_text(before := json.dumps(content))
    _, (news,) = workspace.prepare()
    assert "does not say what it was made from. `metaface reset 02`" in news
    assert lesson.read_text() == before


def test_nothing_is_written_where_nothing_is_new(course: Path, home: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in home.iterdir()}
    assert workspace.prepare() == (home, [])
    assert {file: file.stat().st_mtime_ns for file in home.iterdir()} == before


def test_work_in_the_clone_is_spoken_of(course: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = course.parent / "clone"
    (clone / "metaface_lessons").mkdir(parents=True)
    (clone / "pyproject.toml").touch()
    (clone / ".lessons.json").touch()
    monkeypatch.setattr(paths, "COURSE", clone)
    _, (news,) = workspace.prepare()
    assert f"Move your notebooks, progress.json, gallery.json and saved/ from its top to {home}" in news


def test_jupyter_trusts_the_copies(course: Path, home: Path) -> None:
    for answered in (False, True):
        if answered:
            answer(home / f"{LESSONS[0]}.ipynb", "1")
            edition(course, "second")
            workspace.prepare()
        for name in LESSONS:
            assert NotebookNotary().check_signature(nbformat.read(home / f"{name}.ipynb", as_version=4))


def test_a_lesson_without_signature_is_a_lesson(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "file" / "jupyter"))
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    folder, _ = workspace.prepare()
    assert len([*folder.glob("*.ipynb")]) == len(LESSONS)


def test_a_deleted_lesson_comes_back(home: Path) -> None:
    (home / f"{LESSONS[0]}.ipynb").unlink()
    workspace.prepare()
    assert (home / f"{LESSONS[0]}.ipynb").exists()


@pytest.mark.parametrize("damage", [None, "", "[]", '{"02'])
def test_without_a_manifest_everything_counts_as_touched(course: Path, home: Path, damage: str | None) -> None:
    manifest = home / ".lessons.json"
    manifest.unlink() if damage is None else manifest.write_text(damage)
    (home / f"{LESSONS[2]}.ipynb").write_text("my work")
    (course / f"{LESSONS[2]}.ipynb").write_text(notebook("second edition"))
    workspace.prepare()
    assert (home / f"{LESSONS[2]}.ipynb").read_text() == "my work"


def test_a_crash_between_lesson_and_manifest_loses_nothing(
    course: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (course / f"{LESSONS[0]}.ipynb").write_text(notebook("second edition"))
    write = paths.write_atomically

    def crash(path: Path, data: bytes) -> None:
        if path.name == ".lessons.json":
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(paths, "write_atomically", crash)
        with pytest.raises(KeyboardInterrupt):
            workspace.prepare()
    (home / f"{LESSONS[0]}.ipynb").write_text("my work on it")
    workspace.prepare()
    assert (home / f"{LESSONS[0]}.ipynb").read_text() == "my work on it"


@pytest.mark.parametrize("name", ["02", "2", "02_prototypical_networks"])
def test_reset_saves_then_restores(home: Path, name: str) -> None:
    theirs = home / f"{LESSONS[2]}.ipynb"
    kept = []
    for work in ("my work", "more work", "yet more"):  # within one second
        theirs.write_text(work)
        restored, saved = workspace.reset(name)
        assert restored == theirs
        assert saved is not None
        assert saved.parent == home / "saved"
        assert saved.name.startswith("02_prototypical_networks.2")
        kept.append(saved)
    assert source(theirs) == f"{LESSONS[2]}, first edition"
    assert [path.read_text() for path in kept] == ["my work", "more work", "yet more"]


def test_reset_saves_nothing_where_there_is_nothing_to_save(home: Path) -> None:
    assert workspace.reset("01") == (home / f"{LESSONS[1]}.ipynb", None)
    (home / f"{LESSONS[1]}.ipynb").unlink()
    assert workspace.reset("01")[1] is None
    assert (home / f"{LESSONS[1]}.ipynb").exists()
    assert not (home / "saved").exists()


def test_reset_works_before_anything_was_copied(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "new"))
    restored, saved = workspace.reset("00")
    assert restored.exists()
    assert saved is None


def test_after_a_reset_the_lesson_follows_the_course_again(course: Path, home: Path) -> None:
    (home / f"{LESSONS[2]}.ipynb").write_text("my work")
    workspace.reset("02")
    (course / f"{LESSONS[2]}.ipynb").write_text(notebook("second edition"))
    workspace.prepare()
    assert source(home / f"{LESSONS[2]}.ipynb") == "second edition"


def test_saved_versions_are_listed_and_come_back(home: Path) -> None:
    lesson = home / f"{LESSONS[2]}.ipynb"
    assert workspace.saved_versions("02") == []
    with pytest.raises(MetaFaceError, match="Nothing of lesson 02 is saved"):
        workspace.restore("02")
    kept = []
    for n in range(12):  # within few seconds
        lesson.write_text(f"work {n}")
        kept.append(workspace.reset("2")[1])
    (home / "saved" / f"{LESSONS[1]}.2026-01-01T000000.ipynb").touch()
    assert workspace.saved_versions("02") == kept[::-1]

    assert workspace.restore("02") == (lesson, None), "there was nothing of theirs to keep"
    assert lesson.read_text() == "work 11"
    _, saved = workspace.restore("02", kept[3].name)
    assert lesson.read_text() == "work 3"
    assert saved is not None
    assert saved.read_text() == "work 11"
    assert workspace.saved_versions("02")[0] == saved
    lesson.write_text("newest work")
    workspace.restore("02", str(kept[0]))  # as `metaface reset --list` prints it
    assert lesson.read_text() == "work 0"
    assert workspace.saved_versions("02")[0].read_text() == "newest work"
    with pytest.raises(MetaFaceError, match="no saved version called"):
        workspace.restore("02", "../../x")


def test_the_command_lists_and_restores(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        assert cli.main(["reset", *words]) == 0
        return capsys.readouterr().out.strip()

    lesson = home / f"{LESSONS[2]}.ipynb"
    assert said("02", "--list") == "Nothing of lesson 02 is saved."
    lesson.write_text("first")
    assert "is as new. Yours is kept as" in said("02")
    lesson.write_text("second")
    said("02")
    second, first = said("02", "--list").splitlines()
    assert json.loads(said("02", "--list", "--json")) == {"saved": [second, first]}
    assert said("02", "--restore") == (
        f"{lesson} is your saved version again. You had no changes to keep. Your points stay."
    )
    assert lesson.read_text() == "second"
    assert json.loads(said("02", "--restore", first, "--json"))["saved"]
    assert lesson.read_text() == "first"


def test_a_folder_that_is_a_clone_stays_as_it_is(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(repository.iterdir())
    monkeypatch.setenv("METAFACE_HOME", str(repository))
    monkeypatch.setattr(workspace, "prepare", lambda: pytest.fail("it would copy lessons into the clone"))
    for command in (["lab", "--no-browser"], ["reset", "02"], ["check"]):
        assert cli.main(command) == 1
        assert "is a clone of the course" in capsys.readouterr().err
    assert sorted(repository.iterdir()) == before


def test_the_lesson_worked_on_last_is_opened(course: Path, home: Path) -> None:
    assert workspace.worked_on_last() == "00_start_here.ipynb"
    for second, name in enumerate((LESSONS[2], LESSONS[1])):
        answer(home / f"{name}.ipynb", "1")
        os.utime(home / f"{name}.ipynb", (10**9 + second, 10**9 + second))
    assert workspace.worked_on_last() == f"{LESSONS[1]}.ipynb"
    edition(course, "second")
    workspace.prepare()
    assert workspace.worked_on_last() == f"{LESSONS[1]}.ipynb", "an update is not the learner's work"
    workspace.reset("01")
    assert workspace.worked_on_last() == f"{LESSONS[2]}.ipynb"


@pytest.mark.parametrize("name", ["03", "protos", ""])
def test_unknown_lessons_are_refused(home: Path, name: str) -> None:
    with pytest.raises(MetaFaceError, match="no lesson called"):
        workspace.reset(name)


def test_a_folder_that_cannot_be_written(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(MetaFaceError, match="Set METAFACE_HOME"):
        workspace.prepare()


def test_a_course_without_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    with pytest.raises(MetaFaceError, match="make lessons"):
        workspace.prepare()


def test_the_lab_opens_a_lesson_with_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/dash")
    command = workspace.lab_command(["--no-browser", "--port=8899"], lesson=f"{LESSONS[1]}.ipynb")
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert ("--allow-root" in command) == (os.geteuid() == 0)
    assert command[-3:] == [f"--LabApp.default_url=/lab/tree/{LESSONS[1]}.ipynb", "--no-browser", "--port=8899"]
    assert "--ServerApp.terminado_settings={'shell_command': ['/bin/dash']}" in command
    assert f"--LabApp.default_url=/lab/tree/{LESSONS[0]}.ipynb" in workspace.lab_command()


def test_what_the_user_has_set_for_jupyter_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH"):
        monkeypatch.setenv(name, "/theirs")
        assert workspace.lab_environment()[name].split(os.pathsep)[-1] == "/theirs"
        monkeypatch.delenv(name)
        assert "" not in workspace.lab_environment()[name].split(os.pathsep), "an empty entry is the current folder"


@pytest.mark.parametrize("folder", ["plain", "with blanks ' 和"])
def test_one_line_makes_a_shell_find_the_command(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "metaface").write_text("#!/bin/sh\necho found\n")
    (programs / "metaface").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))

    def found() -> str:
        script = f"{workspace.found_by()}\nmetaface"
        shell = subprocess.run(["sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
        return shell.stdout.strip()

    assert found() == "found", "where there is nothing to activate, as with conda"
    (programs / "activate").write_text(f"PATH={shlex.quote(str(programs))}:$PATH")
    assert workspace.found_by().startswith(". ")
    assert found() == "found"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def start(home: Path, scratch: Path) -> tuple[subprocess.Popen[str], str]:
    """Run `metaface lab`, and return it with its address when it answers."""
    command = [sys.executable, "-m", "metaface_lessons.cli", "lab", "--no-browser", "--port=0"]
    with (scratch / "out").open("w") as out:
        lab = subprocess.Popen(command, cwd=scratch, stdout=out, stderr=subprocess.STDOUT, text=True)
    until = time.monotonic() + 90
    while time.monotonic() < until and lab.poll() is None:
        if address := workspace.running(home):
            return lab, address
        time.sleep(0.2)
    raise AssertionError((scratch / "out").read_text())


def in_terminal(address: str, command: str) -> list[str]:
    """Type a command into a new Terminal of JupyterLab, and return the lines that it prints."""
    make = urllib.request.Request(address.replace("/lab?", "/api/terminals?"), method="POST")
    name = json.load(urllib.request.urlopen(make))["name"]
    place = f"/terminals/websocket/{name}?"
    socket = websocket.create_connection(address.replace("http", "ws", 1).replace("/lab?", place), timeout=30)
    socket.send(json.dumps(["stdin", f"{command}; echo th''e end\r"]))
    said = ""
    while "the end" not in said:
        kind, *text = json.loads(socket.recv())
        said += "".join(map(str, text)) if kind == "stdout" else ""
    socket.close()
    return [line for line in said.splitlines() if line.startswith("/")]


def test_the_terminal_shows_an_address_and_then_our_lines(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = scratch / "my lessons"
    monkeypatch.setenv("METAFACE_HOME", str(home))
    lab, address = start(home, scratch)
    try:
        assert "token=" in address
        second = subprocess.run(
            [sys.executable, "-m", "metaface_lessons.cli", "lab"], cwd=scratch, capture_output=True, text=True
        )
        assert second.stdout == f"JupyterLab is already running for your folder {home}: {address}\n"
        assert second.returncode == 0
        with urllib.request.urlopen(address.replace("/lab?", "/api/contents/00_start_here.ipynb?")) as answer:
            assert answer.status == 200
        here = Path(sys.executable).parent
        assert in_terminal(address, "command -v metaface; command -v python") == [
            f"{here / 'metaface'}",
            f"{here / 'python'}",
        ]
        until = time.monotonic() + 30
        while "type there first" not in (scratch / "out").read_text() and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        lab.send_signal(signal.SIGINT)  # a terminal sends it to both; JupyterLab alone decides
        (server,) = (each for each in list_running_servers() if home.samefile(each["root_dir"]))
        os.kill(server["pid"], signal.SIGTERM)
        assert lab.wait(60) == 0
    said = [line for line in (scratch / "out").read_text().splitlines() if line.strip()]
    said = [line for line in said if "NbGrader" not in line]  # which learners do not install
    assert re.match(r"\[C .* ServerApp\]", said[0])
    assert "To access the server" in said[1]
    ours = [n for n, line in enumerate(said) if line.startswith(f"Your lessons are in {home}.")]
    assert len(ours) == 1
    assert all(line.startswith("    ") for line in said[1 : ours[0]]), "an address, and nothing else"
    assert said[ours[0] + 1].startswith("To use the command `metaface` in another terminal, type there first: ")
    assert [line for line in said[ours[0] + 2 :] if not re.match(r"\[C .*(signal|Shut)", line)] == []
    assert workspace.running(home) is None
