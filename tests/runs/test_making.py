"""Learners made from their settings: each trains, is stored, and is evaluated."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from metaface_lessons import cli
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.runs.recipes import RECIPES
from metaface_lessons.runs.run import load_run
from tests.helpers import printed


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
    assert 0 <= printed(capsys)["accuracy"] <= 1
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
        assert 0 <= printed(capsys)["accuracy"] <= 1


def test_a_learner_of_a_library_that_is_missing_says_how_to_get_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    run = ["--faces", f"folder:{photos}", "--steps", "1", "--quiet", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "learn2learn", *run]) == 1
    assert "metaface doctor --fix" in capsys.readouterr().err
