"""The command `metaface` as users type it, on small faces in a folder."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metaface_lessons import cli
from metaface_lessons.augmentation import Augmented
from metaface_lessons.episodes import Sampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import from_json, paired
from metaface_lessons.learners.base import MetaLearner
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.runs import making
from metaface_lessons.runs import run as runs
from metaface_lessons.runs.recipes import OPTIONS, RECIPES, settings_of
from metaface_lessons.runs.run import Run, load_run
from metaface_lessons.training import History, Trained, load_checkpoint
from tests.helpers import random_faces


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 made-up people × 6 images, as files."""
    root = tmp_path_factory.mktemp("photos")
    faces = random_faces(people=40, each=6, size=64, channels=3)
    for m, (image, person) in enumerate(zip(faces.images, faces.identity, strict=True)):
        file = root / f"person{int(person):02d}" / f"{m}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(file)
    return root


def train(photos: Path, out: Path, *more: str) -> int:
    small = ("--ways", "5", "--queries", "2", "--width", "8", "--quiet")
    return cli.main(["train", "protonet", "--faces", f"folder:{photos}", *small, "--out", str(out), *more])


def report(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_train_then_evaluate_on_strangers(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train(photos, run, "--seconds", "2", "--json") == 0
    trained = report(capsys)
    assert trained["stopped"] == "seconds"

    arguments = ["evaluate", str(run), "--ways", "4", "--queries", "2", "--episodes", "40", "--json"]
    assert cli.main([*arguments, "--out", str(tmp_path / "results" / "result.json")]) == 0
    found = report(capsys)
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
    assert train(photos, again, "--steps", str(trained["steps"]), "--json") == 0
    first, second = (load_checkpoint(path / "checkpoint.pt")["learner"] for path in (run, again))
    assert all(torch.equal(first[key], second[key]) for key in first)

    capsys.readouterr()
    assert (
        cli.main(["evaluate", str(run), str(again), "--ways", "4", "--queries", "2", "--episodes", "40", "--json"]) == 0
    )
    both = report(capsys)
    assert both["deviation"] == 0
    assert both["accuracy"] == found["accuracy"]
    assert both["differences"]["lda"]["mean"] == found["differences"]["lda"]["mean"]
    assert both["differences"]["lda"]["over_seeds"] == 0
    assert both["shared_people"]


def test_runs_are_compared_with_each_baseline_and_averaged_if_they_are_seeds_of_one(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, wider = (tmp_path / name for name in ("one", "other", "wider"))
    assert train(photos, one, "--steps", "1") == 0
    assert train(photos, other, "--steps", "1", "--seed", "1") == 0
    assert train(photos, wider, "--steps", "1", "--shots", "2") == 0
    capsys.readouterr()
    small = ["--ways", "4", "--queries", "2", "--episodes", "40"]
    assert cli.main(["evaluate", str(one), str(other), *small]) == 0
    shown = capsys.readouterr().out
    assert re.search(
        r"lda +[+-]\d+\.\d points \(± \d+\.\d over people, ± \d+\.\d over episodes, ± \d+\.\d over seeds\):", shown
    )
    assert "by its accuracy on these episodes, is pixels" in shown
    assert "divide the same people (Nadeau & Bengio 2003)" in shown

    for protocol in ("episodes", "pairs"):
        assert cli.main(["evaluate", str(one), str(wider), *small, "--protocol", protocol]) == 1
        assert f"{one} has shots 1, and {wider} has 2. Evaluate them one at a time" in capsys.readouterr().err
    assert cli.main(["evaluate", str(one), *small, "--no-baselines"]) == 0
    assert "points" not in capsys.readouterr().out


def seed(number: int, people: str, faces: str = "procedural", **settings: Any) -> Run:
    """A run as far as it matters for whether it may be averaged: its settings, and who is in its splits."""
    names = list(people)
    record = {"people": {"base": names[:4], "validation": names[4:5], "novel": names[5:]}}
    return Run(Path(f"run{number}"), settings_of("protonet", faces, number, **settings), None, None, record)


def test_seeds_of_one_experiment_may_divide_the_same_people_or_have_new_ones() -> None:
    again = [seed(0, "abcdefg"), seed(1, "gfedcba")]
    new = [seed(0, "abcdefg"), seed(1, "hijklmn", "procedural:seed=1"), seed(2, "opqrstu", "procedural:seed=2")]
    for several in (again, new):
        runs.check_seeds(several)
    assert runs._shared_people(again) == (True, 2 / 4)
    assert runs._shared_people(new) == (False, 2 / 4)
    for other in (
        seed(1, "abcdefg", "lfw"),
        seed(1, "abcdefg", "procedural-sketch:seed=1"),
        seed(1, "abcdefg", ways=4),
    ):
        with pytest.raises(MetaFaceError, match="Evaluate them one at a time"):
            runs.check_seeds([again[0], other])


def test_a_run_goes_on_and_refuses_what_does_not_belong_to_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(photos, run, "--steps", "3") == 0
    assert train(photos, run, "--steps", "5", "--json") == 0
    assert len(load_checkpoint(run / "checkpoint.pt")["history"]["loss"]) == 5

    capsys.readouterr()
    assert train(photos, run, "--steps", "5") == 0
    assert "Nothing to do: 5 steps" in capsys.readouterr().out
    assert train(photos, run, "--seconds", "-5") == 1
    assert "seconds must be above 0, but is -5" in capsys.readouterr().err

    assert train(photos, run, "--steps", "5", "--shots", "2") == 1
    assert "another training: it has {'shots': 1}, this one {'shots': 2}" in capsys.readouterr().err

    record = json.loads((run / "run.json").read_text())
    record["settings"]["width"] = 4
    (run / "run.json").write_text(json.dumps(record))
    assert cli.main(["evaluate", str(run)]) == 1
    assert "another network: 'embedding.0.weight'" in capsys.readouterr().err

    (run / "run.json").write_text('{"settings": ')
    assert cli.main(["evaluate", str(run)]) == 1
    assert "run.json is damaged" in capsys.readouterr().err
    assert cli.main(["evaluate", str(run), "--episodes", "1"]) == 1
    assert "episodes must be at least 2" in capsys.readouterr().err
    assert cli.main(["evaluate", str(tmp_path / "none")]) == 1
    assert "no finished run" in capsys.readouterr().err


@pytest.mark.parametrize("learner", ["maml", "fomaml", "anil", "metasgd", "reptile"])
def test_learners_with_an_inner_loop(
    learner: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    numbers = {"shots": 2, "queries": 3, "width": 8, "tasks": 1, "inner-steps": 2, "test-steps": 2}
    small = [f"--{name}={value}" for name, value in numbers.items()]
    command = ["train", learner, "--faces", f"folder:{photos}", *small, "--quiet", "--out", str(run)]
    assert cli.main([*command, "--steps", "1"]) == 0
    assert cli.main([*command, "--steps", "2", "--json"]) == 0
    assert '"steps": 2' in capsys.readouterr().out
    record = json.loads((run / "run.json").read_text())
    assert record["settings"]["inner_rate"] == RECIPES[learner]["inner_rate"]
    assert record["settings"]["inner_steps"] == 2
    assert record["settings"]["temperature"] is None
    net = load_run(run).learner
    fast = "tasks as channel groups"
    formulations = {"maml": fast, "metasgd": fast, "anil": "head only"}
    assert record["training"]["formulation"] == formulations.get(learner, "one by one")
    assert (net.network_per_task.name == "head only") == (learner == "anil")
    assert getattr(net, "first_order", False) == (learner == "fomaml")
    assert record["training"]["validation"] == []  # 2 people, fewer than the head has outputs

    few = ["--episodes", "4", "--no-baselines", "--json"]
    assert cli.main(["evaluate", str(run), "--ways", "5", "--shots", "4", "--queries", "1", *few]) == 0
    assert 0 <= report(capsys)["accuracy"] <= 1
    assert cli.main(["evaluate", str(run), "--ways", "4", *few]) == 1
    shown = capsys.readouterr().err
    assert "its head tells 5 people apart, not 4. Evaluate it with --ways 5" in shown
    assert f"metaface train {learner} --ways 4" in shown


def test_protomaml_is_evaluated_with_any_number_of_people(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = ["--shots=2", "--queries=3", "--width=8", "--tasks=1", "--temperature=20"]
    command = ["train", "protomaml", "--faces", f"folder:{photos}", *small, "--quiet", "--out", str(run)]
    assert cli.main([*command, "--steps", "2", "--json"]) == 0
    capsys.readouterr()
    record = json.loads((run / "run.json").read_text())
    assert record["settings"]["temperature"] == 20
    assert record["training"]["formulation"] == "tasks as channel groups"
    net = load_run(run).learner
    assert isinstance(net, ProtoMAML)
    assert net.rates.requires_grad
    for ways in ("2", "5"):
        few = ["--ways", ways, "--shots", "4", "--queries", "1", "--episodes", "4", "--no-baselines", "--json"]
        assert cli.main(["evaluate", str(run), *few]) == 0
        assert 0 <= report(capsys)["accuracy"] <= 1


def test_a_learner_with_a_head_is_validated_with_as_many_ways(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "anil", "--faces", f"folder:{photos}", "--width", "8", "--tasks", "1", "--quiet"]
    assert cli.main([*command, "--steps", "1", "--patience", "1", "--out", str(tmp_path / "patient")]) == 1
    assert "Early stopping (patience) needs people for validation. 5-way episodes need 5" in capsys.readouterr().err

    validations = []

    def untrained(net: MetaLearner, sampler: Sampler, **options: Any) -> Trained:
        validations.append(options["validation"])
        assert isinstance(sampler, Augmented)
        return Trained(net, History(), 0.0, "steps")

    monkeypatch.setattr(runs, "meta_train", untrained)
    for ways in ("2", "3"):  # 2 people are left for validation
        assert cli.main([*command, "--steps", "1", "--ways", ways, "--out", str(tmp_path / ways)]) == 0
    two, three = validations
    assert two.ways == 2
    assert three is None


def test_runs_from_before_there_were_inner_loops_still_load(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(photos, run, "--steps", "1") == 0
    record = json.loads((run / "run.json").read_text())
    state = load_checkpoint(run / "checkpoint.pt")
    for name in ("inner_rate", "inner_steps", "test_steps"):
        del record["settings"][name], state["about"][name]
    del record["training"]["formulation"]
    (run / "run.json").write_text(json.dumps(record))
    torch.save(state, run / "checkpoint.pt")
    few = ["--queries", "2", "--episodes", "4", "--no-baselines"]
    assert cli.main(["evaluate", str(run), *few]) == 0
    assert train(photos, run, "--steps", "2") == 0


def test_a_learner_of_a_library_that_is_missing_says_how_to_get_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    run = ["--faces", f"folder:{photos}", "--steps", "1", "--quiet", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "learn2learn", *run]) == 1
    assert "metaface doctor --fix" in capsys.readouterr().err


def test_the_help_of_train_lists_every_learner_and_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(RECIPES) == set(making.LEARNERS)
    assert {name for recipe in RECIPES.values() for name in recipe} == set(OPTIONS)
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ", ".join(making.LEARNERS) in shown
    assert f"({RECIPES['protonet']['temperature']:g} for protonet, protomaml)" in shown


def test_a_run_notices_that_its_faces_changed(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train(photos, run, "--steps", "1") == 0
    novel = load_run(run).record["people"]["novel"][0]
    (photos / novel).rename(photos / f"x{novel}")
    try:
        assert cli.main(["evaluate", str(run)]) == 1
        assert f"1 people are missing, such as {novel}" in capsys.readouterr().err
    finally:
        (photos / f"x{novel}").rename(photos / novel)


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
    assert report(capsys)["people"] == 40
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

    named = cli.FACE_SETS.replace(" or ", ", ").split(", ")
    assert set(CHOICES) == set(named)
