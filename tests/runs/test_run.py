"""Runs: trained, continued, evaluated and averaged, on small faces in a folder."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.augmentation import Augmented
from metaface_lessons.episodes import Sampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.base import MetaLearner
from metaface_lessons.runs import run as runs
from metaface_lessons.runs.recipes import settings_of
from metaface_lessons.runs.run import Run, load_run
from metaface_lessons.training import History, Trained, load_checkpoint
from tests.helpers import random_faces, train_run, write_pictures


def test_runs_are_compared_with_each_baseline_and_averaged_if_they_are_seeds_of_one(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, wider = (tmp_path / name for name in ("one", "other", "wider"))
    assert train_run(photos, one, "--steps", "1") == 0
    assert train_run(photos, other, "--steps", "1", "--seed", "1") == 0
    assert train_run(photos, wider, "--steps", "1", "--shots", "2") == 0
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
    assert train_run(photos, run, "--steps", "3") == 0
    assert train_run(photos, run, "--steps", "5", "--json") == 0
    assert len(load_checkpoint(run / "checkpoint.pt")["history"]["loss"]) == 5

    capsys.readouterr()
    assert train_run(photos, run, "--steps", "5") == 0
    assert "Nothing to do: 5 steps" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        train_run(photos, run, "--seconds", "-5")
    assert "--seconds: it is '-5'. Give a number above 0" in capsys.readouterr().err

    assert train_run(photos, run, "--steps", "5", "--shots", "2") == 1
    assert "another training: it has {'shots': 1}, this one {'shots': 2}" in capsys.readouterr().err

    record = json.loads((run / "run.json").read_text())
    record["settings"]["width"] = 4
    (run / "run.json").write_text(json.dumps(record))
    assert cli.main(["evaluate", str(run)]) == 1
    assert "run.json does not belong to" in (shown := capsys.readouterr().err)
    assert "which says: width 8, not 4. The checkpoint is right" in shown

    (run / "run.json").write_text('{"settings": ')
    assert cli.main(["evaluate", str(run)]) == 1
    assert "run.json is damaged: Expecting value" in (shown := capsys.readouterr().err)
    assert "Delete run.json. The same metaface train command writes it again" in shown
    (run / "run.json").unlink()
    assert cli.main(["evaluate", str(run)]) == 1
    assert "has not ended yet, or run.json is gone. The same metaface train command" in capsys.readouterr().err
    assert train_run(photos, run, "--steps", "5") == 0  # the advice of all of them
    assert "Nothing to do" in capsys.readouterr().out
    assert cli.main(["evaluate", str(run), "--ways", "4", "--queries", "2", "--episodes", "2", "--no-baselines"]) == 0
    (run / "run.json").write_text('{"settings": ')
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(run), "--episodes", "1"])
    assert "--episodes: it is '1'. Give a whole number from 2" in capsys.readouterr().err
    assert cli.main(["evaluate", str(tmp_path / "none")]) == 1
    assert "no finished run" in capsys.readouterr().err


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
    assert train_run(photos, run, "--steps", "1") == 0
    record = json.loads((run / "run.json").read_text())
    state = load_checkpoint(run / "checkpoint.pt")
    for name in ("inner_rate", "inner_steps", "test_steps"):
        del record["settings"][name], state["about"][name]
    del record["training"]["formulation"]
    (run / "run.json").write_text(json.dumps(record))
    torch.save(state, run / "checkpoint.pt")
    few = ["--queries", "2", "--episodes", "4", "--no-baselines"]
    assert cli.main(["evaluate", str(run), *few]) == 0
    assert train_run(photos, run, "--steps", "2") == 0


def test_a_run_notices_that_its_faces_changed(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train_run(photos, run, "--steps", "1") == 0
    novel = load_run(run).record["people"]["novel"][0]
    (photos / novel).rename(photos / f"x{novel}")
    try:
        assert cli.main(["evaluate", str(run)]) == 1
        assert f"1 people are missing, such as {novel}" in capsys.readouterr().err
    finally:
        (photos / f"x{novel}").rename(photos / novel)


# ---------------------------------------------------------------------------------------------- faces that have changed


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """16 people × 3 images, as files that a test may change."""
    folder = tmp_path / "few"
    folder.mkdir()
    write_pictures(random_faces(people=16, each=3, size=16, channels=3), folder)
    return folder


FEW = ("--ways", "4", "--queries", "2", "--episodes", "4", "--no-baselines")


def names(run: Path, part: str) -> list[str]:
    return list(json.loads((run / "run.json").read_text())["people"][part])


def test_a_training_does_not_go_on_with_other_people_or_pictures(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train_run(few, run, "--steps", "1") == 0
    before = {file: (run / file).read_bytes() for file in ("checkpoint.pt", "run.json")}
    trained, novel = names(run, "base")[0], names(run, "novel")[0]
    moved = next((few / trained).iterdir())

    def refused(*said: str) -> None:
        capsys.readouterr()
        assert train_run(few, run, "--steps", "2") == 1
        shown = capsys.readouterr().err
        for words in ("has changed since", "Put the faces back as they were, or train into another folder", *said):
            assert words in shown
        assert {file: (run / file).read_bytes() for file in before} == before

    write_pictures(random_faces(people=17, each=3, size=16, channels=3, seed=1).of(torch.tensor([16, 0])), tmp_path)
    (tmp_path / "person16").rename(few / "person16")
    refused("1 new: person16.")
    (few / "person16").rename(tmp_path / "gone")
    (few / trained).rename(few / "aaa")
    refused(f"1 renamed: {trained} to aaa.")
    (few / "aaa").rename(few / trained)
    (few / trained).rename(tmp_path / trained)
    refused(f"1 gone: {trained}.")
    (tmp_path / trained).rename(few / trained)
    moved.rename(few / novel / "moved.png")
    refused(f"{trained} (0 new, 1 gone)", f"{novel} (1 new, 0 gone)")
    (few / novel / "moved.png").rename(moved)
    moved.rename(moved.with_name("zzz.png"))  # the same pictures, in another order
    assert train_run(few, run, "--steps", "2") == 0


def test_a_run_is_evaluated_on_the_people_of_its_checkpoint_alone(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train_run(few, run, "--steps", "1") == 0
    before = load_run(run)
    write_pictures(random_faces(people=17, each=3, size=16, channels=3, seed=1).of(torch.tensor([16, 0])), tmp_path)
    (tmp_path / "person16").rename(few / "aaa")
    after = load_run(run)
    for part in ("base", "validation", "novel"):
        assert names(run, part) == after.record["people"][part]
        assert torch.equal(getattr(before.split, part).images, getattr(after.split, part).images)

    trained, novel = names(run, "base")[0], names(run, "novel")[0]
    for name, picture in ((trained, "x.png"), (novel, "y.png")):
        (next((few / name).iterdir())).rename(tmp_path / picture)
    with pytest.warns(UserWarning, match=rf"2 with other pictures: .*{novel} \(0 new, 1 gone\)"):
        load_run(run)
    (tmp_path / "x.png").rename(few / novel / "x.png")
    assert cli.main(["evaluate", str(run), *FEW]) == 1
    assert f"people whom it should not know: {novel} (as {trained})" in capsys.readouterr().err


def test_a_person_with_the_name_of_another_is_found_by_the_pictures(few: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train_run(few, run, "--steps", "1") == 0
    trained, novel = names(run, "base")[0], names(run, "novel")[0]
    (few / trained).rename(tmp_path / "between")
    (few / novel).rename(few / trained)
    (tmp_path / "between").rename(few / novel)
    with pytest.raises(MetaFaceError, match=rf"{novel} \(as {trained}\)"):
        load_run(run)


def test_people_with_few_images_can_be_trained_on(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--shots", "1", "--queries", "3", "--steps", "1"]  # 4 images; everybody has 3
    assert train_run(few, tmp_path / "refused", *command) == 1
    assert "images" in capsys.readouterr().err
    assert train_run(few, tmp_path / "run", *command, "--fewest", "2") == 0


def test_runs_from_before_people_were_stored_are_held_to_their_names(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train_run(few, run, "--steps", "1") == 0
    state = load_checkpoint(run / "checkpoint.pt")
    record = json.loads((run / "run.json").read_text())
    del state["facts"], record["folder"], record["folder_from_run"]
    for settings in (state["about"], record["settings"]):
        for newer in ("fewest", "augmentation", "weight_decay"):
            assert settings.pop(newer) is None
    torch.save(state, run / "checkpoint.pt")
    (run / "run.json").write_text(json.dumps(record))
    assert cli.main(["evaluate", str(run), *FEW]) == 0
    gone = names(run, "base")[0]
    (few / gone).rename(tmp_path / gone)
    assert train_run(few, run, "--steps", "2") == 1
    assert f"1 gone: {gone}" in capsys.readouterr().err
    (tmp_path / gone).rename(few / gone)
    (run / "run.json").unlink()
    with pytest.warns(UserWarning, match="older version, which did not store its people"):
        runs.train(settings_of("protonet", f"folder:{few}", ways=5, queries=2, width=8), run, steps=2, progress=False)
    assert load_checkpoint(run / "checkpoint.pt")["facts"]["people"].keys() == {"base", "validation", "novel"}


# ----------------------------------------------------------------------------------------------------- where things are


def test_the_faces_of_a_run_are_found_from_another_folder_and_after_both_have_moved(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_run(Path("few"), Path("runs/one"), "--steps", "1") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli.main(["evaluate", "../runs/one", *FEW]) == 0
    for name in ("few", "runs"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert cli.main(["evaluate", "runs/one", *FEW]) == 0

    few = (tmp_path / "elsewhere" / "few").rename(tmp_path / "far")
    capsys.readouterr()
    assert cli.main(["evaluate", "runs/one", *FEW]) == 1
    shown = capsys.readouterr().err
    assert f"The faces of runs/one were in {tmp_path / 'few'}, and are not there any more" in shown
    assert 'write where they are now into runs/one/run.json, as "folder"' in shown
    record = json.loads(Path("runs/one/run.json").read_text())
    Path("runs/one/run.json").write_text(json.dumps(record | {"folder": str(few)}))
    assert cli.main(["evaluate", "runs/one", *FEW]) == 0
    assert train_run(few, Path("runs/one"), "--steps", "2") == 0  # the same people and pictures: the same training


@pytest.mark.parametrize("file", ["checkpoint.pt", "run.json"])
def test_a_file_of_a_run_is_not_taken_for_the_run(
    file: str, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train_run(few, run, "--steps", "1") == 0
    assert cli.main(["evaluate", str(run / file)]) == 1
    assert f"{run / file} is a file. A run is a folder. Name the folder: {run}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "odd",
    [
        [],
        {"settings": []},
        {"settings": {"learner": "protonet"}},
        {"settings": {"unknown": 1}},
        {"people": {"base": []}},
        {"people": {"base": "ab", "validation": "cd", "novel": "ef"}},
        {"people": {"base": ["a", "b"], "validation": ["a", "c"], "novel": ["d", "e"]}},
        {"people": {"base": [1, 2], "validation": [3, 4], "novel": [5, 6]}},
        {"people": None},
        {"training": None},
        {"training": {"steps": "many", "seconds": 1}},
        {"folder": 3},
    ],
)
def test_an_odd_record_is_refused_in_words(
    odd: Any, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.pt").touch()
    people = {part: [f"{part}{i}" for i in range(3)] for part in ("base", "validation", "novel")}
    good = {
        "settings": asdict(settings_of("protonet")),
        "people": people,
        "training": {"steps": 1, "seconds": 1.0},
    }
    file = tmp_path / "run.json"
    file.write_text(json.dumps(good | odd if isinstance(odd, dict) else odd))
    assert cli.main(["evaluate", str(tmp_path)]) == 1
    assert f"{file} is damaged: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting", [("width", 10**7), ("width", 0), ("ways", True), ("rate", float("nan")), ("rate", -1), ("shots", 1.5)]
)
def test_settings_that_no_training_has_are_refused_before_memory_is_taken(
    setting: tuple[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value = setting
    settings = asdict(settings_of("protonet")) | {name: value}
    people = {part: [f"{part}{i}" for i in range(3)] for part in ("base", "validation", "novel")}
    training = {"steps": 1, "seconds": 1.0}
    (tmp_path / "run.json").write_text(json.dumps({"settings": settings, "people": people, "training": training}))
    assert cli.main(["evaluate", str(tmp_path)]) == 1
    assert f"run.json is damaged: {name} cannot have this value: " in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"null", b'"text"'])
def test_a_record_of_any_bytes_is_refused_in_words(
    text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_bytes(text)
    assert cli.main(["evaluate", str(tmp_path)]) == 1
    assert "run.json is damaged: " in capsys.readouterr().err


# --------------------------------------------------------------------------------------------- two at once, a full disk


def test_a_second_training_into_the_same_folder_is_refused_before_its_faces_are_loaded(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run = settings_of("protonet", f"folder:{few}", ways=5, queries=2, width=8), tmp_path / "run"
    inside: list[str] = []
    load_faces = runs.load_faces

    def second(name: str) -> Any:
        inside.append(name)
        with pytest.raises(MetaFaceError, match=r"in use: a training of protonet \(process .*another folder: --out"):
            runs.train(settings_of("maml", "nothing"), run, steps=1)
        return load_faces(name)

    monkeypatch.setattr(runs, "load_faces", second)
    assert runs.train(settings, run, steps=1, progress=False).unsaved == ""
    assert inside == [f"folder:{few}"]


def test_a_result_that_cannot_be_stored_is_printed(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, write = tmp_path / "run", runs.write_atomically

    def full(path: Path, data: bytes, **options: Any) -> None:
        if not options.get("trial"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data, **options)

    monkeypatch.setattr(runs, "write_atomically", full)
    assert train_run(few, run, "--steps", "1") == 1
    shown = capsys.readouterr().out
    assert "1 steps in" in shown
    assert f"NOT stored in {run}: {run / 'run.json'} cannot be written (No space left on device)" in shown
    monkeypatch.undo()
    assert train_run(few, run, "--steps", "1") == 0
    (tmp_path / "file").touch()
    assert train_run(few, tmp_path / "file" / "run", "--steps", "1") == 1
    assert "cannot be written" in (shown := capsys.readouterr().err)
    assert "so nothing was trained" in shown


def test_pairs_need_four_novel_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "nine"
    folder.mkdir()
    write_pictures(random_faces(people=9, each=6, size=16, channels=3), folder)
    run = tmp_path / "run"
    assert train_run(folder, run, "--steps", "1") == 0
    assert cli.main(["evaluate", str(run), "--protocol", "pairs", "--pairs", "2"]) == 1
    assert "needs four novel people, two for each half" in (shown := capsys.readouterr().err)
    assert "of the 9 people" in shown
