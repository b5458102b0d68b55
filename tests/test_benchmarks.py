"""Benchmarks: the one for a GPU says when there is none, and what it does there runs on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from benchmarks import episodes, gpu, lessons, mapped, meta_gradients
from benchmarks.maml import CASES, Case

TINY = Case(channels=1, size=16, width=4, pool="stride", shots=1, queries=1, steps=1, tasks=2, rate=0.4)


def test_without_a_gpu_it_says_so_and_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "FILE", tmp_path / "gpu.json")
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 0
    assert "There is no CUDA GPU here" in capsys.readouterr().out
    assert not gpu.FILE.exists()


@pytest.mark.needs("learn2learn")
def test_what_runs_on_a_gpu_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PEOPLE", 20), ("EACH", 20)):
        monkeypatch.setattr(episodes, name, value)
    found = gpu.measure({"tiny": TINY}, rounds=1, device="cpu")
    assert found["differs_from_cpu"]["tiny"] == {"float64": 0, "float32": 0}
    for order in ("second", "first"):
        assert found["cpu"][order]["tiny"]["gradients_differ"] < 1e-9
        assert found["cpu"][order]["geometric mean"]["speed"] == found["cpu"][order]["tiny"]["speed"]
    assert min(found["protonet_ms"].values()) > 0
    assert min(found["sampling"]["tasks_per_second"].values()) > 0


def test_the_agreement_notices_another_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose copy has changed weights has another gradient."""

    def changed(network: torch.nn.Module) -> torch.nn.Module:
        copy = TINY.network(next(network.parameters()).dtype)
        copy.load_state_dict({name: 1.01 * value for name, value in network.state_dict().items()})
        return copy

    monkeypatch.setattr(gpu, "deepcopy", changed)
    assert min(gpu.agreement(TINY, "cpu").values()) > 1e-4
    assert {"A", "C"} <= set(CASES), "the cases that the command measures"


def test_the_ways_to_the_meta_gradient_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CASES, "A", TINY)
    monkeypatch.setattr(meta_gradients, "process", lambda *_: 7)  # it takes some seconds for each
    found = meta_gradients.measure(few=1, many=4, rounds=1)
    rows = [row for rows in found["ways"].values() for row in rows.values()]
    assert len(rows) == 2 * len(meta_gradients.WAYS) - 1, "channel groups have no forward derivative"
    assert all(row[key][number] > 0 for row in rows for key in ("few", "many") for number in row["few"])
    meta_gradients.show(found)
    assert capsys.readouterr().out.count("differences") == 2
    found["ways"]["one by one"]["steps"] = {
        "error": 1e-9,
        "few": {"tensors_mb": 10, "process_mb": 0, "step_ms": 1000},
        "many": {"tensors_mb": 14, "process_mb": 0, "step_ms": 1700},
    }
    said = [line for line in meta_gradients.failures(found) if line.startswith("one by one, steps")]
    assert said[:3] == [
        "one by one, steps: error 1.0e-09",
        "one by one, steps: 14 MB, with few steps 10 MB",
        "one by one, steps: 1700 ms a step, with few steps 1000 ms",
    ]


@pytest.mark.slow
def test_the_memory_of_a_process_is_its_own() -> None:
    assert meta_gradients.process("all", True, 6) > meta_gradients.process("steps", True, 6) > 0


def test_the_named_lessons_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = nbformat.v4.new_markdown_cell("**Computing** less than 20 seconds")
    for name in ("97_one", "98_other"):
        nbformat.write(nbformat.v4.new_notebook(cells=[head]), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(lessons, "load_faces", lambda name: None)
    for variable in ("METAFACE_BUDGET", "METAFACE_HOME"):
        monkeypatch.setenv(variable, "")  # restored after the test
    for arguments, timed in (["98"], ["98_other"]), ([], ["97_one", "98_other"]):
        lessons.main(arguments)
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == timed
    with pytest.raises(SystemExit):
        lessons.main(["96"])
    assert "There is no lesson called '96'." in capsys.readouterr().err


def test_mapped_sets_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["mapped", "--images", "1000", "2000", "--size", "8", "--json"])
    assert mapped.main() == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["images"] for row in rows] == [1000, 2000]
    assert all(row["file_mb"] > row["images"] * 64 / 2**20 for row in rows)
    assert all(row["episode_ms"] > 0 for row in rows)
