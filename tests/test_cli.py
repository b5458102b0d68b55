"""The command `metaface` as users type it, on small faces in a folder."""

from __future__ import annotations

import argparse
import errno
import functools
import io
import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from metaface_lessons import cli, distributed, enrolment
from metaface_lessons.errors import LostRank, ReportedElsewhere
from metaface_lessons.evaluation import from_json, paired
from metaface_lessons.faces.photos import Photo
from metaface_lessons.lab import workspace
from metaface_lessons.runs import making
from metaface_lessons.runs.recipes import OPTIONS, RECIPES
from metaface_lessons.training import load_checkpoint
from tests.helpers import printed, random_faces, train_run, write_pictures


def test_train_then_evaluate_on_strangers(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train_run(photos, run, "--seconds", "2", "--json") == 0
    trained = printed(capsys)
    assert trained["stopped"] == "seconds"
    assert trained["resumed_at"] == 0
    assert train_run(photos, run, "--steps", str(trained["steps"]), "--json") == 0
    assert printed(capsys)["resumed_at"] == trained["steps"], "nothing was left to do"

    arguments = ["evaluate", str(run), "--ways", "4", "--queries", "2", "--episodes", "40", "--json"]
    assert cli.main([*arguments, "--out", str(tmp_path / "results" / "result.json")]) == 0
    found = printed(capsys)
    assert {"accuracy", "ci95", "ci95_people", "episodes", "identities", "baselines"} <= set(found)
    assert found["identities"] == 10  # a quarter of 40
    assert set(found["baselines"]) == {"pixels", "lbp", "lda"}
    assert found["baselines"]["pixels"]["accuracy"] > 0.9
    best = max(found["baselines"], key=lambda name: found["baselines"][name]["accuracy"])
    assert found["best_baseline"] == best
    kept = from_json(found["runs"][0]["evaluations"])
    assert set(kept) == {"protonet", *found["baselines"]}
    assert kept["protonet"].scores()["accuracy"] == found["accuracy"]
    assert kept["protonet"].names == tuple(json.loads((run / "run.json").read_text())["people"]["novel"])
    for name, difference in found["differences"].items():
        assert difference == paired(kept["protonet"], kept[name]).scores() == found["runs"][0]["differences"][name]
    stored = json.loads((tmp_path / "results" / "result.json").read_text())
    assert stored["accuracy"] == found["accuracy"]
    assert stored["command"].startswith("metaface evaluate")

    people = json.loads((run / "run.json").read_text())["people"]
    assert [len(people[part]) for part in ("base", "validation", "novel")] == [28, 2, 10]
    assert len({name for names in people.values() for name in names}) == 40

    again = tmp_path / "again"
    assert train_run(photos, again, "--steps", str(trained["steps"]), "--json") == 0
    first, second = (load_checkpoint(path / "checkpoint.pt")["learner"] for path in (run, again))
    assert all(torch.equal(first[key], second[key]) for key in first)

    capsys.readouterr()
    assert (
        cli.main(["evaluate", str(run), str(again), "--ways", "4", "--queries", "2", "--episodes", "40", "--json"]) == 0
    )
    both = printed(capsys)
    assert both["deviation"] == 0
    assert both["accuracy"] == found["accuracy"]
    assert both["differences"]["lda"]["mean"] == found["differences"]["lda"]["mean"]
    assert both["differences"]["lda"]["over_seeds"] == 0
    assert both["shared_people"]


def test_the_help_of_train_lists_every_learner_and_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(RECIPES) == set(making.LEARNERS)
    assert {name for recipe in RECIPES.values() for name in recipe} == set(OPTIONS)
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ", ".join(making.LEARNERS) in shown
    assert f"({RECIPES['protonet']['temperature']:g} for protonet, nca, protomaml)" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "protonett"], "Did you mean 'protonet'"),
        (["train", "protonet", "--faces", "procedual"], "Did you mean 'procedural'"),
        (["train", "reptil"], "Did you mean 'reptile'"),
        (["train", "protonet", "--inner-rate", "1"], "protonet has no setting 'inner_rate'. It has: ways, shots"),
        (["train", "maml", "--temperature", "1"], "maml has no setting 'temperature'"),
        (["search", "mamml"], "Did you mean 'maml'"),
        (["search", "maml", "--width", "8", "--margin", "1"], "maml has no setting 'margin'"),
        (["faces", "lwf"], "folder:PATH, lfw"),
        (["reset", "77"], "Known: 00, 01, 02"),
        (["check", "77"], "Known: 0"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err


def test_processes_must_be_those_that_torchrun_has_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = SimpleNamespace(size=2, first=True, close=lambda: None)
    monkeypatch.setattr(distributed, "join", lambda timeout: group)
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["train", "maml", "--processes", "3"]) == 1
    assert "rank 1: torchrun has started 2 processes, but --processes is 3." in capsys.readouterr().err
    for error, code in ((LostRank("Rank 0 has not answered."), 75), (ReportedElsewhere("said there"), 1)):
        monkeypatch.setattr(distributed, "join", lambda timeout, error=error: (_ for _ in ()).throw(error))
        assert cli.main(["train", "maml"]) == code
        assert ("has not answered" in capsys.readouterr().err) == (code == 75)
    with pytest.raises(SystemExit):
        cli.main(["train", "maml", "--processes", "0"])
    assert "a whole number from 1 to 1024" in capsys.readouterr().err


def test_a_contact_sheet_is_drawn(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "deeper" / "sheet.png"
    assert cli.main(["faces", f"folder:{photos}", "--people", "3", "--each", "4", "--out", str(sheet), "--json"]) == 0
    assert printed(capsys)["people"] == 40
    with Image.open(sheet) as picture:
        assert picture.width > 200


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_warning_is_shown_without_the_place_in_our_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for grey, person in enumerate(("Ann", "Bo")):
        (tmp_path / person).mkdir()
        Image.new("L", (20, 20), grey).save(tmp_path / person / "a.png")
    (tmp_path / "Bo" / "broken.jpg").write_bytes(b"broken")
    assert cli.main(["faces", f"folder:{tmp_path}", "--out", str(tmp_path / "sheet.png")]) == 0
    first, broken, *_ = capsys.readouterr().err.splitlines()
    assert first == f"metaface: warning: {tmp_path}: 2 pictures of 2 people were read."
    assert broken.startswith("  - skipped")
    assert "broken.jpg" in broken


def test_the_lab_passes_on_what_it_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path))
    monkeypatch.setattr(workspace, "lab", lambda folder, arguments, news: called.append(arguments) or 0)
    assert cli.main(["lab", "--no-browser", "--port", "8899"]) == 0
    assert called == [["--no-browser", "--port", "8899"]]
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "--no-browser"])
    assert stop.value.code == 2


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    commands = ("lab", "doctor", "faces", "train", "search", "evaluate", "check", "reset")
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0
        assert f"example: metaface {command}" in capsys.readouterr().out
    for wrong in ([], ["learn"], ["train"], ["train", "protonet", "--ways", "many"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(wrong)
        assert stop.value.code == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["faces", "procedural", "--out", "FOLDER"], "is a folder. Name a file"),
        (["evaluate", "none", "--out", "FOLDER"], "is a folder. Name a file"),
        (["train", "protonet", "--out", "FILE"], "is a file. A run is a folder"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(
    command: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    places = {"FOLDER": str(tmp_path), "FILE": str(tmp_path / "file")}
    assert cli.main([places.get(word, word) for word in command]) == 1
    assert message in capsys.readouterr().err


def test_the_help_names_every_face_set() -> None:
    from metaface_lessons.faces import CHOICES

    named = re.split(r", | or | \(with other people: | and so on\), ", cli.FACE_SETS)
    assert set(CHOICES) == set(named)


# ------------------------------------------------------------------------------------------------- what the world does

PLACES = (
    "missing",
    "a folder",
    "an empty file",
    "a file of junk",
    "below a file",
    "over-long",
    "of 251 letters",
    "not text",
    "a link to itself",
    "a link to nothing",
    "where nothing can be made",
    "a pipe",
    "not readable",
)
WORDS = "WORDS"  # in a command: the place
EVERY_PATH = {
    "faces": ["faces", "folder:WORDS"],
    "faces of Yale": ["faces", "extended-yale-b:WORDS"],
    "faces of CMU": ["faces", "cmu:WORDS"],
    "faces of CUFS": ["faces", "cufs:WORDS"],
    "a sheet": ["faces", "folder:PHOTOS", "--people", "2", "--each", "2", "--out", "WORDS"],
    "a training": ["train", "protonet", "--faces", "folder:WORDS", "--steps", "1", "--out", "NEW"],
    "a run to make": [
        *("train", "protonet", "--faces", "folder:PHOTOS", "--ways", "5", "--queries", "2", "--width", "8"),
        *("--steps", "1", "--quiet", "--out", "WORDS"),
    ],
    "a run": ["evaluate", "WORDS"],
    "a run to verify": ["evaluate", "WORDS", "--protocol", "pairs"],
    "a result": [
        "evaluate",
        "RUN",
        "--ways",
        "4",
        "--queries",
        "2",
        "--episodes",
        "2",
        "--no-baselines",
        "--out",
        "WORDS",
    ],
    "a photo": ["enrol", "WORDS", "--name", "Ada", "--run", "RUN", "--consent", "--gallery", "NEW"],
    "a gallery's run": ["enrol", "PHOTO", "--name", "Ada", "--run", "WORDS", "--consent", "--gallery", "NEW"],
    "a gallery to make": ["enrol", "PHOTO", "--name", "Ada", "--run", "RUN", "--consent", "--gallery", "WORDS"],
    "a gallery to ask": ["identify", "PHOTO", "--gallery", "WORDS"],
    "a gallery": ["gallery", "--gallery", "WORDS"],
    "a gallery to change": ["forget", "Ada", "--gallery", "WORDS"],
    "a gallery to delete": ["forget", "--all", "--gallery", "WORDS"],
    "a class to release": ["class", "release", "02", "--course", "WORDS"],
    "a class to collect": ["class", "collect", "02", "--course", "WORDS"],
    "a class to grade": ["class", "grade", "02", "--course", "WORDS"],
    "a class to answer": ["class", "feedback", "02", "--course", "WORDS"],
    "a class to export": ["class", "export", "--course", "WORDS"],
    "marks": ["class", "export", "WORDS", "--course", "NEW"],
    "an embedding": ["evaluate", "RUN", "--embedding", "WORDS:embed"],
    "Yale of an experiment": ["experiment", "light", "yale", "--yale", "WORDS"],
}
FOLDERS = {"a home": "METAFACE_HOME", "a cache": "METAFACE_CACHE", "a data home": "SCIKIT_LEARN_DATA"}
EVERY_FOLDER = {
    "a home": [["check"], ["reset", "02"], ["gallery"], ["lab"], ["doctor"]],
    "a cache": [["doctor"]],  # a face set would be rendered again each time, since it cannot be kept
    "a data home": [["faces", "olivetti"], ["faces", "lfw"], ["doctor"]],
}


def place(kind: str, below: Path) -> str:
    """A path of that kind, below a folder."""
    path = below / "place"
    match kind:
        case "a folder":
            path.mkdir()
        case "an empty file":
            path.touch()
        case "a file of junk":
            path.write_bytes(bytes(range(256)) * 9)
        case "below a file":
            path.touch()
            return str(path / "deeper" / "file")
        case "over-long":
            return str(below / ("long" * 2000))
        case "of 251 letters":
            return str(below / ("n" * 251))
        case "not text":
            return f"{path}\udcff"
        case "a link to itself":
            path.symlink_to(path)
        case "a link to nothing":
            path.symlink_to(below / "nothing")
        case "where nothing can be made":
            return "/proc/1/nothing/place"
        case "a pipe":
            os.mkfifo(path)
        case "not readable":
            path.mkdir()
            (path / "inner").mkdir()
            path.chmod(0)
    return str(path)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of photos, a photo, and a run that was trained on them."""
    folder = tmp_path_factory.mktemp("things")
    photos = folder / "photos"
    photos.mkdir()
    write_pictures(random_faces(people=40, each=6, size=24, channels=3), photos)
    assert train_run(photos, folder / "run", "--steps", "2") == 0
    return {"PHOTOS": str(photos), "PHOTO": str(next(photos.rglob("*.png"))), "RUN": str(folder / "run")}


def filled(command: list[str], words: dict[str, str]) -> list[str]:
    """A command with the words that stand for something replaced."""
    return [functools.reduce(lambda text, word: text.replace(word, words[word]), words, text) for text in command]


def ends_well(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that may fail, but only with a message; a command that hangs is stopped. Returns the message."""

    def hangs(*_: object) -> None:
        pytest.fail("the command waits for ever")

    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(120)
    logging.disable()  # what nbgrader logs may hold a path that is not text, which pytest could not pass on
    try:
        code = cli.main(command)
    except SystemExit as stop:
        code = stop.code
    finally:
        signal.alarm(0)
        logging.disable(logging.NOTSET)
    assert code in (0, 1, 2)
    shown = "".join(capsys.readouterr())
    assert "Traceback" not in shown
    assert code == 0 or shown.strip(), "it failed without a word"
    return shown


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", EVERY_PATH)
@pytest.mark.parametrize("kind", PLACES)
def test_no_path_ends_in_a_traceback(
    kind: str,
    what: str,
    things: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = things | {WORDS: place(kind, tmp_path), "NEW": str(tmp_path / "new")}
    command = filled(EVERY_PATH[what], words)
    message = ends_well(command, capsys)
    assert "Delete" not in message or kind in ("an empty file", "a file of junk")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", FOLDERS)
@pytest.mark.parametrize("kind", PLACES)
def test_no_folder_of_ours_ends_in_a_traceback(
    kind: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "missing":
        return  # it is how every learner begins
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workspace, "lab", lambda *_: 0)
    monkeypatch.setenv(FOLDERS[what], place(kind, tmp_path))
    for command in EVERY_FOLDER[what]:
        ends_well(command, capsys)


def numbers() -> list[tuple[str, str]]:
    """Every option that takes a number, with its command."""
    commands = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    steps = next(a for a in commands["class"]._actions if isinstance(a, argparse._SubParsersAction)).choices
    parsers = {**commands, **{f"class {name}": step for name, step in steps.items()}}
    return [
        (name, option.option_strings[0])
        for name, sub in parsers.items()
        for option in sub._actions
        if option.option_strings and option.type is not None
    ]


def test_every_number_is_found() -> None:
    found = numbers()
    assert {("train", "--rate"), ("evaluate", "--episodes"), ("enrol", "--fpir"), ("class grade", "--jobs")} <= set(
        found
    )
    assert len(found) > 25


COMMANDS = {
    "faces": ["faces", "folder:PHOTOS", "--out", "NEW"],
    "train": ["train", "LEARNER", "--faces", "folder:PHOTOS", "--out", "NEW", "--quiet"],
    "cost": ["cost", "LEARNER", "--faces", "folder:PHOTOS"],
    "search": ["search", "LEARNER", "--faces", "folder:PHOTOS", "--study", "NEW", "--quiet"],
    "evaluate": ["evaluate", "RUN", "--protocol", "PROTOCOL"],
    "enrol": ["enrol", "PHOTO", "--name", "Ada", "--run", "RUN", "--consent", "--gallery", "NEW"],
    "class grade": ["class", "grade", "02", "--course", "NEW"],
    "class autograde": ["class", "autograde", "02", "--course", "NEW"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "option"), numbers())
def test_no_number_ends_in_a_traceback(
    name: str, option: str, things: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = next((who for who, recipe in RECIPES.items() if option[2:].replace("-", "_") in recipe), "protonet")
    words = things | {
        "NEW": str(tmp_path / "new"),
        "LEARNER": learner,
        "PROTOCOL": "pairs" if option == "--pairs" else "episodes",
    }
    for value in ("-1", "-0.003", "nan", "inf", "-inf", "1e300", "9" * 30, "", "many", "0x10"):
        command = filled(COMMANDS[name], words)
        more = [] if option in ("--steps", "--seconds") or name != "train" else ["--steps", "1"]
        message = ends_well([*command, *more, f"{option}={value}"], capsys)
        assert option in message, (value, message)


WRITES = {
    "a sheet": ["faces", "folder:PHOTOS", "--people", "2", "--each", "2", "--out", "NEW"],
    "a training": [*EVERY_PATH["a run to make"][:-1], "NEW"],
    "a result": [*EVERY_PATH["a result"][:-1], "NEW"],
    "a person": ["enrol", "PHOTO", "--name", "Ada", "--run", "RUN", "--consent", "--gallery", "NEW"],
    "a lesson": ["reset", "02"],
    "a folder of lessons": ["lab"],
    "an assignment": ["class", "release", "02", "--course", "NEW"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_ends_in_a_message(
    what: str,
    things: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def black(files: list[str], size: int) -> list[Photo]:
        return [Photo(Path(file), torch.zeros(3, size, size, dtype=torch.uint8)) for file in files]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(enrolment, "faces_of", black)
    monkeypatch.setattr(os, "fsync", full)
    command = filled(WRITES[what], things | {"NEW": str(tmp_path / "new")})
    assert "No space left on device" in ends_well(command, capsys)
    assert list(tmp_path.rglob("*.part")) == []


def test_a_disk_that_is_full_costs_no_measurement(
    things: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writes = iter((False, True))  # there is room when it is tried, and none when the result is there

    def full(file: int) -> None:
        if not next(writes):
            return
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    command = ["evaluate", things["RUN"], "--ways", "4", "--queries", "2", "--episodes", "2", "--no-baselines"]
    assert cli.main([*command, "--out", str(tmp_path / "result.json")]) == 1
    shown = capsys.readouterr()
    assert "over people" in shown.out
    stored = json.loads(shown.out[shown.out.index("{") :])
    assert stored["command"].startswith("metaface evaluate")
    why = f"{tmp_path / 'result.json'}: No space left on device. The disk is full."
    assert f"The result is printed, but it cannot be stored: {why}" in shown.err


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def check(args: argparse.Namespace) -> int:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli, "check", check)
    assert cli.main(["check"]) == 1
    assert "The package 'torch' is missing. `metaface doctor` says" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory."])
def test_too_little_memory_is_said(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(args: argparse.Namespace) -> int:
        raise RuntimeError(words)

    monkeypatch.setattr(cli, "check", check)
    assert cli.main(["check"]) == 1
    assert "There is not enough memory" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(args: argparse.Namespace) -> int:
        return 1 // 0

    monkeypatch.setattr(cli, "check", check)
    with pytest.raises(ZeroDivisionError):
        cli.main(["check"])


def test_a_photo_that_begins_with_a_dash_is_no_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[list[str]] = []

    def enrol(args: argparse.Namespace) -> int:
        seen.append([args.name, *args.photos])
        return 0

    def identify(args: argparse.Namespace) -> int:
        seen.append([args.photo])
        return 0

    monkeypatch.setattr(cli, "enrol", enrol)
    monkeypatch.setattr(cli, "identify", identify)
    monkeypatch.chdir(tmp_path)
    for name in ("-ada.jpg", "-hello.jpg", "--name.jpg"):  # a shell's *.jpg names them like this; -h would print help
        Path(name).touch()
    assert cli.main(["enrol", "--name.jpg", "-hello.jpg", "a.jpg", "--name", "Ada"]) == 0
    assert cli.main(["identify", "-ada.jpg"]) == 0
    assert seen == [["Ada", "./--name.jpg", "./-hello.jpg", "a.jpg"], ["./-ada.jpg"]]
    with pytest.raises(SystemExit):
        cli.main(["identify", "a.jpg", "-none.jpg"])
    assert "usage: metaface identify" in capsys.readouterr().err  # not that of all commands


def test_a_stream_that_is_closed_from_the_start_is_no_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdin", "stdout", "stderr"):  # as Python sets them for `metaface check <&- >&- 2>&-`
        monkeypatch.setattr(sys, name, None)
    assert cli.main(["check", "01"]) == 0
    assert not cli._asked("Has Ada agreed?"), "nobody can answer"


def test_the_help_is_shown_in_a_terminal_without_greek(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "--help"])
    terminal.flush()
    assert b"\\u03b5" in terminal.buffer.getvalue()  # type: ignore[attr-defined]  # Reptile's ε
