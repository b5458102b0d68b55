"""Measures what needs a GPU: MAML beside learn2learn, a ProtoNet step, episode sampling, and agreement with the CPU.

python -m benchmarks.gpu [--cases AC] [--rounds 15]        # writes data/results/gpu.json

Without a CUDA GPU it says so, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch

from metaface_lessons.experiments import stored
from metaface_lessons.learners.learn2learn_library import import_learn2learn

from .episodes import protonet, sampling
from .maml import CASES, Case, apart, compare, failures, on, ours, show

FILE = stored.RESULTS / "gpu.json"


def agreement(case: Case, device: str) -> dict[str, float]:
    """The relative difference of a meta-gradient on a device and on the CPU, in two types, the largest over weights."""
    found, episodes = {}, case.episodes(tasks=2)
    for dtype in (torch.float64, torch.float32):
        here = case.network(dtype)
        there = deepcopy(here).to(device)
        ours(here, episodes, case, False)()
        ours(there, on(device, episodes), case, False)()
        found[str(dtype).removeprefix("torch.")] = apart(there, here)
    return found


def measure(cases: Mapping[str, Case], rounds: int, device: str = "cuda") -> dict[str, Any]:
    """Measure these cases of MAML and all else on one device, as medians over the rounds."""
    return {
        device: compare(cases, rounds, device),
        "differs_from_cpu": {name: agreement(case, device) for name, case in cases.items()},
        "protonet_ms": protonet(rounds, device),
        "sampling": sampling(rounds, device),
    }


def main() -> int:
    """Measure, store and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="AC", help=f"of MAML, some of {''.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=15, help="the result is the median over them")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA GPU here, so nothing was measured. Run this command on a machine that has one.")
        return 0
    try:
        import_learn2learn()
    except ImportError as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)
        return 0
    found = measure({name: CASES[name] for name in asked.cases}, asked.rounds)
    command = f"python -m benchmarks.gpu --cases {asked.cases} --rounds {asked.rounds}"
    stored.store(FILE, command, found, torch.device("cuda"))
    show(found)
    print(json.dumps({key: found[key] for key in ("differs_from_cpu", "protonet_ms", "sampling")}, indent=1))
    missed = failures(found)
    missed += [f"{name}: not as on the CPU" for name, by in found["differs_from_cpu"].items() if by["float64"] > 1e-9]
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
