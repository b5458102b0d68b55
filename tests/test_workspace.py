"""The learner's folder: the course never overwrites their work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaface_lessons import paths, workspace
from metaface_lessons.errors import MetaFaceError

LESSONS = ("00_start_here", "01_learning_to_learn", "02_prototypical_networks")


def notebook(source: str) -> str:
    """A lesson of the course, executed: one cell and what came of it."""
    output = {"output_type": "stream", "name": "stdout", "text": "the answer"}
    cell = {"cell_type": "code", "source": source, "execution_count": 1, "outputs": [output]}
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "words"}, cell]})


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
    return workspace.prepare()


def test_the_lessons_are_copied_and_the_solutions_are_not(home: Path) -> None:
    assert sorted(path.stem for path in home.glob("*.ipynb")) == list(LESSONS)
    assert source(home / f"{LESSONS[2]}.ipynb") == f"{LESSONS[2]}, first edition"


def test_the_glossary_to_which_lessons_link_is_beside_them_and_kept_up_to_date(course: Path, home: Path) -> None:
    assert (home / "GLOSSARY.md").read_text() == "words"
    (course / "GLOSSARY.md").write_text("more words")
    workspace.prepare()
    assert (home / "GLOSSARY.md").read_text() == "more words"


def test_an_update_refreshes_what_is_untouched_and_leaves_what_is_not(course: Path, home: Path) -> None:
    (home / f"{LESSONS[1]}.ipynb").write_text("my work")
    for name in LESSONS:
        (course / f"{name}.ipynb").write_text(notebook(f"{name}, second edition"))
    for _ in range(2):  # and it stays so the next time
        workspace.prepare()
        assert source(home / f"{LESSONS[0]}.ipynb") == f"{LESSONS[0]}, second edition"
        assert (home / f"{LESSONS[1]}.ipynb").read_text() == "my work"
        assert workspace.waiting() == ["01"]


def test_nothing_waits_where_only_the_learner_has_changed_something(home: Path) -> None:
    (home / f"{LESSONS[1]}.ipynb").write_text("my work")
    assert workspace.waiting() == []


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


def test_the_lab_opens_the_first_lesson_with_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = workspace.lab_command(["--no-browser", "--port=8899"])
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert command[-3:] == ["--LabApp.default_url=/lab/tree/00_start_here.ipynb", "--no-browser", "--port=8899"]
    assert command[3:-3] == (["--allow-root"] if os.geteuid() == 0 else [])

    # A kernel of the same name, installed for this user by some other Python, does not take its place, even where
    # Jupyter would prefer it, as it does in an environment that the user does not own.
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    foreign = tmp_path / "data" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(
        json.dumps({"argv": ["/foreign/python"], "display_name": "x", "language": "p"})
    )
    script = (
        "from jupyter_client.manager import KernelManager; "
        "print(KernelManager(kernel_name='python3').format_kernel_cmd()[0])"
    )
    kernel = subprocess.run(
        [sys.executable, "-c", script],
        env=workspace.lab_environment() | {"JUPYTER_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert kernel.stdout.strip() == sys.executable
