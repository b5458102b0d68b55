"""Measures the ways to MAML's meta-gradient side by side: error, time and memory, for few inner steps and for many.

python -m benchmarks.meta_gradients [--few 5] [--many 50] [--rounds 3] [--json] [--out FILE]

All compute the meta-gradient of one task of case A of `benchmarks.maml`, with learned rates, once as channel groups and
once one by one. The error is the largest difference from "all" in float64, as a share of the largest number in the
gradient of that parameter. The ways take turns; times are medians. Memory is counted twice: the most bytes of tensors
at one time (`machine.TensorMemory`), and what the peak memory of a process that does nothing else grows by.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.maml import CASES, Case, machine, take_turns
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.meta_gradients import WAYS, gradients
from metaface_lessons.machine import TensorMemory, peak_memory, resident_memory
from metaface_lessons.options import whole
from metaface_lessons.paths import write_atomically

TARGET = {"memory": 1.3, "time": 1.6, "error": 1e-12}
FORMULATIONS = {"tasks as channel groups": True, "one by one": False}
RATE = 0.01  # so small that fifty steps do not learn the task by heart, where gradients vanish


def learner(way: str, fast: bool, steps: int, dtype: torch.dtype = torch.float32, case: Case | None = None) -> MAML:
    """MAML by a way to its meta-gradient, on the network of case A if there is no other."""
    network = (case or CASES["A"]).network(dtype)
    return MAML(network, steps=steps, inner_rate=RATE, rates="layer", memory=way, fast=fast)


def combinations() -> list[tuple[str, str]]:
    """Each formulation with each way that it has."""
    return [(name, way) for name, fast in FORMULATIONS.items() for way in WAYS if not (fast and way == "forward")]


def error(way: str, fast: bool, steps: int) -> float:
    """How far the gradient is from that of "all", in float64."""
    episodes = CASES["A"].episodes(tasks=1)
    wanted, found = (gradients(learner(each, fast, steps, torch.float64), episodes) for each in ("all", way))
    return max(((found[name] - w).abs().max() / w.abs().max()).item() for name, w in wanted.items())


def tensors(way: str, fast: bool, steps: int) -> float:
    """Megabytes of tensors at the peak."""
    net, episodes = learner(way, fast, steps), CASES["A"].episodes(tasks=1)
    with TensorMemory() as memory:
        gradients(net, episodes)
    return round(memory.peak / 2**20, 1)


def process(way: str, fast: bool, steps: int) -> int:
    """Megabytes by which a meta-gradient raises the peak memory of a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.meta_gradients", "--memory", way, str(int(fast)), str(steps)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak(way: str, fast: bool, steps: int) -> int:
    """The same, of this process."""
    net, episodes = learner(way, fast, steps), CASES["A"].episodes(tasks=1)
    small = replace(CASES["A"], size=16, width=4)
    gradients(learner(way, fast, 1, case=small), small.episodes(tasks=1))  # what is loaded once only
    before = resident_memory()
    gradients(net, episodes)
    return max(0, peak_memory() - before)


def times(few: int, many: int, rounds: int) -> dict[tuple[str, str, int], float]:
    """Milliseconds of a processor for each inner step, by formulation, way and number of steps."""
    episodes, work, keys = CASES["A"].episodes(tasks=1), dict[str, Callable[[], object]](), {}
    for name, way in combinations():
        for steps in (few, many):
            net = learner(way, FORMULATIONS[name], steps)
            keys[str(len(keys))] = (name, way, steps)
            work[str(len(work))] = lambda net=net: gradients(net, episodes)
    taken = take_turns(work, rounds, "cpu")
    return {
        keys[n]: round(1000 * statistics.median(cpu for _, cpu in each) / keys[n][2], 2) for n, each in taken.items()
    }


def measure(few: int, many: int, rounds: int) -> dict[str, Any]:
    """Everything, by formulation and way: error, and under "few" and "many" tensors_mb, process_mb and step_ms."""
    taken, found = times(few, many, rounds), dict[str, Any]()
    for name, way in combinations():
        fast = FORMULATIONS[name]
        row: dict[str, Any] = {"error": error(way, fast, many)}
        for key, steps in (("few", few), ("many", many)):
            memory = {"tensors_mb": tensors(way, fast, steps), "process_mb": process(way, fast, steps)}
            row[key] = memory | {"step_ms": taken[name, way, steps]}
        found.setdefault(name, {})[way] = row
    return {"machine": machine(), "date": date.today().isoformat(), "few": few, "many": many, "ways": found}


def show(found: dict[str, Any]) -> None:
    """Print the result as a table."""
    few, many = found["few"], found["many"]
    for name, rows in found["ways"].items():
        print(f"\n{name}\n{'way':>12s}   error    MB of tensors, k = {few} and {many}   of a process    ms a step")
        for way, row in rows.items():
            numbers = [f"{row['few'][key]:10.1f} {row['many'][key]:7.1f}" for key in row["few"]]
            print(f"{way:>12s} {row['error']:9.1e} {'   '.join(numbers)}")


def failures(found: dict[str, Any]) -> list[str]:
    """The results that miss their targets, in words: with less than all kept, many steps cost little more than few."""
    missed = []
    for name, rows in found["ways"].items():
        for way, row in rows.items():
            if way != "differences" and row["error"] > TARGET["error"]:
                missed.append(f"{name}, {way}: error {row['error']:.1e}")
            few, many = row["few"], row["many"]
            if way in ("steps", "nested", "adjoint", "forward"):
                if many["tensors_mb"] > TARGET["memory"] * few["tensors_mb"]:
                    missed.append(f"{name}, {way}: {many['tensors_mb']} MB, with few steps {few['tensors_mb']} MB")
                if many["step_ms"] > TARGET["time"] * few["step_ms"]:
                    missed.append(f"{name}, {way}: {many['step_ms']} ms a step, with few steps {few['step_ms']} ms")
                if many["step_ms"] > TARGET["time"] * rows["all"]["few"]["step_ms"] and way != "nested":
                    missed.append(f"{name}, {way}: {many['step_ms']} ms a step, with all of few steps kept less")
    return missed


def main() -> int:
    """Measure and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=whole(), default=5, help="inner steps")
    parser.add_argument("--many", type=whole(), default=50, help="inner steps")
    parser.add_argument("--rounds", type=whole(), default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, help="store the result in this file")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        way, fast, steps = asked.memory
        print(peak(way, bool(int(fast)), int(steps)))
        return 0
    threads = f"OMP_NUM_THREADS={torch.get_num_threads()}"
    command = f"{threads} python -m benchmarks.meta_gradients --few {asked.few} --many {asked.many}"
    found = {"command": f"{command} --rounds {asked.rounds}", **measure(asked.few, asked.many, asked.rounds)}
    if asked.out:
        write_atomically(asked.out, (json.dumps(found, indent=1) + "\n").encode())
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        print(found["machine"])
        show(found)
    for line in failures(found):
        print(f"missed: {line}", file=sys.stderr)
    return 1 if failures(found) else 0


if __name__ == "__main__":
    sys.exit(main())
