"""The machine: the names of its processor and device, and the memory of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from metaface_lessons import machine
from tests.needs import need


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_is_the_best_device_where_there_is_one(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert machine.best_device() == torch.device("cuda" if there else "cpu")


def test_a_device_is_named_by_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert machine.device_name(torch.device("cuda", 1)) == "GPU 1"
    on_cpu = f"{machine.processor()}, {torch.get_num_threads()} threads"
    assert machine.device_name() == machine.device_name(torch.device("cpu")) == on_cpu


def test_the_processor_has_the_name_that_the_system_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = "processor\t: {0}\nmodel name\t: Abacus 9000 @ 1 Hz\nflags\t\t: beads\n"
    for text, name in (("".join(map(cores.format, range(2))), "Abacus 9000 @ 1 Hz"), ("processor\t: 0\n", "a kind")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", lambda self, text=text, **_: text)
            patch.setattr(machine.platform, "processor", lambda: "a kind")
            assert machine.processor() == name

    def absent(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "a machine")
    assert machine.processor() == "a machine"


@pytest.mark.needs("Linux")
def test_memory_grows_by_what_is_held_and_the_peak_stays() -> None:
    before = machine.resident_memory()
    held = np.ones(100 * 2**20, dtype=np.uint8)
    grown = machine.resident_memory()
    assert 95 <= grown - before <= 110
    del held
    assert machine.resident_memory() < grown - 90
    assert machine.peak_memory() > grown - 5  # Linux counts in batches


@pytest.mark.parametrize(("system", "unit"), [("linux", 2**10), ("darwin", 2**20)])
def test_without_proc_the_memory_is_what_the_system_counts(
    system: str, unit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=300 * unit))
    monkeypatch.setitem(sys.modules, "resource", usage)
    monkeypatch.setattr(machine, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(sys, "platform", system)
    assert machine.peak_memory() == machine.resident_memory() == 300


def test_tensors_count_as_long_as_they_live() -> None:
    before = torch.zeros(1000)
    with machine.TensorMemory() as memory:
        view = before.view(10, 100)
        assert memory.now == memory.peak == 0, "a view of what was there"
        kept = torch.zeros(50) + 1  # the zeros are freed after the sum
        assert (memory.now, memory.peak) == (200, 400)
        half = kept[:25]
        del kept
        assert memory.now == 200, "a view keeps the whole"
        del half, view
        assert (memory.now, memory.peak) == (0, 400)


def test_what_a_graph_keeps_counts() -> None:
    peaks = []
    for needed in (True, False):
        x = torch.ones(1000, requires_grad=needed)
        with machine.TensorMemory() as memory:
            y = x
            for _ in range(10):
                y = y.exp().sin()
            del y
            assert memory.now == 0
        peaks.append(memory.peak)
    # exp keeps its result, which is what sin keeps. Two results of sin live at the same time.
    assert peaks == [12 * 4000, 3 * 4000]


def test_the_commit_is_that_of_the_clone(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need("a git clone")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout.strip()
    found, _, changed = machine.commit().partition(" ")
    assert head.startswith(found)
    assert changed in ("", "with changes")
    monkeypatch.setattr(machine, "COURSE", tmp_path)
    assert machine.commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert machine.commit() == "unknown"
