"""The command `metaface` as users type it, on small faces in a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from metaface_lessons import cli
from metaface_lessons.evaluation import from_json, paired
from metaface_lessons.runs import making
from metaface_lessons.runs.recipes import OPTIONS, RECIPES
from metaface_lessons.training import load_checkpoint
from tests.helpers import printed, train_run


def test_train_then_evaluate_on_strangers(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train_run(photos, run, "--seconds", "2", "--json") == 0
    trained = printed(capsys)
    assert trained["stopped"] == "seconds"

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
    assert f"({RECIPES['protonet']['temperature']:g} for protonet, protomaml)" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "protonett"], "Did you mean 'protonet'"),
        (["train", "protonet", "--faces", "procedual"], "Did you mean 'procedural'"),
        (["train", "reptil"], "Did you mean 'reptile'"),
        (["train", "protonet", "--inner-rate", "1"], "protonet has no setting 'inner_rate'. It has: ways, shots"),
        (["train", "maml", "--temperature", "1"], "maml has no setting 'temperature'"),
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


def test_a_contact_sheet_is_drawn(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "deeper" / "sheet.png"
    assert cli.main(["faces", f"folder:{photos}", "--people", "3", "--each", "4", "--out", str(sheet), "--json"]) == 0
    assert printed(capsys)["people"] == 40
    with Image.open(sheet) as picture:
        assert picture.width > 200


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_warning_is_one_line_that_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in ("Ann", "Bo"):
        (tmp_path / person).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / person / "a.png")
    (tmp_path / "Bo" / "broken.jpg").write_bytes(b"broken")
    assert cli.main(["faces", f"folder:{tmp_path}", "--out", str(tmp_path / "sheet.png")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("metaface: warning: ")
    assert "broken.jpg" in line


def test_the_lab_passes_on_what_it_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path))
    monkeypatch.setattr(cli.subprocess, "call", lambda command, **_: called.append(command) or 0)
    assert cli.main(["lab", "--no-browser", "--port", "8899"]) == 0
    assert called[0][-3:] == ["--no-browser", "--port", "8899"]
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "--no-browser"])
    assert stop.value.code == 2


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    commands = ("lab", "doctor", "faces", "train", "evaluate", "check", "reset")
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
        (["faces", "procedural", "--people", "0"], "--people is 0. Give 1 or more"),
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
