"""Runs: trained, continued, evaluated and averaged, on small faces in a folder."""

from __future__ import annotations

import json
import re
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
from tests.helpers import train_run


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
    assert train_run(photos, run, "--seconds", "-5") == 1
    assert "seconds must be above 0, but is -5" in capsys.readouterr().err

    assert train_run(photos, run, "--steps", "5", "--shots", "2") == 1
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
