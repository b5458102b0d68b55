"""Measures how fast MAML's meta-gradient is, beside learn2learn's on the same networks, tasks and machine.

python -m benchmarks.maml [--cases ABCD] [--rounds 15] [--json] [--out data/results/maml-speed.json]
python -m benchmarks.maml --profile A        # where the time goes

Both compute the same gradients; this is checked in float64. They take turns, and a speed is the median over the rounds
of the ratio of their times. learn2learn's network has the order (N, C, H, W), in which it is faster. Two clocks are
read: wall time, and processor time, which other programs on the machine change less. Peak memory is that of a process
that does nothing else. `python -m benchmarks.gpu` measures on a GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, Examples
from metaface_lessons.learners.learn2learn_library import import_learn2learn
from metaface_lessons.learners.maml import MAML
from metaface_lessons.machine import peak_memory, processor
from metaface_lessons.networks import Classifier, Conv4, TaskNorm, standardise
from metaface_lessons.paths import write_atomically

TARGET = {"second": 2.0, "first": 1.7, "mean": 2.3, "memory": 2.0, "gpu": 10.0, "latency": 60.0}


@dataclass(frozen=True)
class Case:
    """5-way tasks, and a Conv-4 for them.

    channels, size: of an image.
    width: the filters of each convolution.
    pool: of `Conv4`.
    shots, queries: images of each person.
    steps: of the inner loop.
    tasks: in one meta-gradient.
    rate: of the inner loop.
    """

    channels: int
    size: int
    width: int
    pool: str
    shots: int
    queries: int
    steps: int
    tasks: int
    rate: float

    def network(self, dtype: torch.dtype = torch.float32) -> Classifier:
        """The network of the case."""
        embedding = Conv4(self.channels, self.size, self.width, norm="task", pool=self.pool, first=self.width)
        return Classifier(embedding, embedding.features, ways=5).to(dtype)

    def episodes(self, tasks: int | None = None) -> Episodes:
        """Tasks of random images, as many as the case has if `tasks` is None."""
        tasks, generator = tasks or self.tasks, torch.Generator().manual_seed(0)

        def examples(each: int) -> Examples:
            shape = (tasks, 5 * each, self.channels, self.size, self.size)
            x = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            return Examples(x, torch.arange(5).repeat_interleave(each).expand(tasks, -1))

        return Episodes(examples(self.shots), examples(self.queries), torch.arange(5).expand(tasks, -1))


CASES = {
    "A": Case(3, 32, 32, "after", 5, 15, 5, 4, 0.1),
    "B": Case(1, 28, 64, "after", 5, 15, 5, 4, 0.1),
    "C": Case(1, 28, 64, "stride", 1, 1, 1, 32, 0.4),  # the MAML paper's Omniglot, 5-way 1-shot
    "D": Case(3, 32, 32, "stride", 5, 15, 5, 4, 0.1),
}


def library_network(network: Classifier) -> nn.Sequential:
    """The same network with the same weights, written as a user of learn2learn would."""
    layers: list[nn.Module] = []
    for layer in [*deepcopy(network.embedding).children(), deepcopy(network.head)]:
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous()
        if isinstance(layer, TaskNorm):
            norm = nn.BatchNorm2d(len(layer.weight), layer.eps, track_running_stats=False)
            norm.weight, norm.bias = layer.weight, layer.bias
            layer = norm
        layers.append(layer)
    return nn.Sequential(*layers)


def library(network: nn.Module, episodes: Episodes, case: Case, first_order: bool) -> Callable[[], object]:
    """The meta-gradient by learn2learn's MAML, one task after the other, so that only one graph is in memory."""
    maml = import_learn2learn().algorithms.MAML(network, lr=case.rate, first_order=first_order)
    dtype = next(network.parameters()).dtype

    def step() -> None:
        for x, y, query_x, query_y in zip(*episodes.support, *episodes.query, strict=True):
            task, pictures = maml.clone(), standardise(x).to(dtype)
            for _ in range(case.steps):
                task.adapt(F.cross_entropy(task(pictures), y))
            (F.cross_entropy(task(standardise(query_x).to(dtype)), query_y) / len(episodes.identities)).backward()

    return step


def ours(network: Classifier, episodes: Episodes, case: Case, first_order: bool) -> Callable[[], object]:
    """The meta-gradient by `MAML`. Queries are normalised by their own statistics, as in learn2learn's examples."""
    net = MAML(network, steps=case.steps, inner_rate=case.rate, first_order=first_order, transductive=True)
    assert net.formulation == "tasks as channel groups"
    return lambda: net.meta_gradient(episodes)


def on(device: str, episodes: Episodes) -> Episodes:
    """The episodes on a device."""
    support, query = (Examples(e.x.to(device), e.y.to(device)) for e in (episodes.support, episodes.query))
    return Episodes(support, query, episodes.identities.to(device))


def difference(case: Case, first_order: bool, device: str) -> float:
    """The relative difference of both gradients in float64, the largest over the parameters."""
    network, episodes = case.network(torch.float64).to(device), on(device, case.episodes(tasks=2))
    other = library_network(network)
    ours(network, episodes, case, first_order)()
    library(other, episodes, case, first_order)()
    return apart(network, other)


def apart(network: nn.Module, other: nn.Module) -> float:
    """The relative difference of two networks' gradients, the largest over the parameters."""
    pairs: list[tuple[Any, Any]] = [
        (p.grad.cpu(), q.grad.cpu()) for p, q in zip(network.parameters(), other.parameters(), strict=True)
    ]
    return max(((a - b).norm() / b.norm()).item() for a, b in pairs)


def take_turns(work: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each piece of work in each round, after two rounds that do not count.

    work: name → what is timed.
    rounds: in each of which everything runs once.
    device: which is waited for if it is "cuda".
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(rounds + 2):
        for name, step in work.items():
            start = time.perf_counter(), time.process_time()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= 2:
                found[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return found


def speed(case: Case, first_order: bool, rounds: int, device: str) -> dict[str, float]:
    """Milliseconds of both libraries, and how many times ours is faster, by wall time and by processor time."""
    network, episodes = case.network().to(device), on(device, case.episodes())
    steps = {
        "learn2learn": library(library_network(network), episodes, case, first_order),
        "ours": ours(network, episodes, case, first_order),
    }
    times = take_turns(steps, rounds, device)
    found = {f"{name}_ms": round(1000 * statistics.median(t[0] for t in times[name]), 1) for name in times}
    for i, clock in enumerate(("speed", "speed_processor")):
        pairs = zip(times["learn2learn"], times["ours"], strict=True)
        found[clock] = round(statistics.median(a[i] / b[i] for a, b in pairs), 3)
    found["gradients_differ"] = difference(case, first_order, device)
    return found


def peak(name: str, who: str) -> None:
    """Print the peak memory of this process before and after three meta-gradients of second order."""
    case = CASES[name]
    import_learn2learn()
    network, episodes = case.network(), case.episodes()
    step = ours(network, episodes, case, False)
    if who == "learn2learn":
        step = library(library_network(network), episodes, case, False)
    before = peak_memory()
    for _ in range(3):
        step()
    print(json.dumps({"start": before, "peak": peak_memory()}))


def memory(name: str) -> dict[str, Any]:
    """Megabytes of both, each in a process of its own; `start` is what the imports and the tasks take."""
    found: dict[str, Any] = {}
    for who in ("learn2learn", "ours"):
        command = [sys.executable, "-m", "benchmarks.maml", "--memory", name, who]
        found[who] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found["ratio"] = round(found["ours"]["peak"] / found["learn2learn"]["peak"], 2)
    own = {who: found[who]["peak"] - found[who]["start"] for who in ("learn2learn", "ours")}
    found["ratio_without_start"] = round(own["ours"] / max(own["learn2learn"], 1), 2)
    return found


def latency(device: str, rounds: int = 15) -> dict[str, dict[str, float]]:
    """Median milliseconds in which a learner adapts to one task of case A by five steps, and answers its queries."""
    case = CASES["A"]
    episodes = on(device, case.episodes(tasks=1))
    found = {}
    for shots in (1, 5):
        support = Examples(episodes.support.x[:, :: 5 // shots], episodes.support.y[:, :: 5 // shots])
        for pool in ("before", "after"):
            embedding = Conv4(case.channels, case.size, case.width, norm="task", pool=pool)
            net = MAML(Classifier(embedding, embedding.features, ways=5).to(device), steps=5, transductive=True)

            def respond(net: MAML = net, support: Examples = support) -> None:
                net.adapt(support).predict(episodes.query.x)

            times = take_turns({"ours": respond}, rounds, device)["ours"]
            wall, processor = (round(1000 * statistics.median(clock), 1) for clock in zip(*times, strict=True))
            found[f"pool={pool}, {shots}-shot"] = {"wall": wall, "processor": processor}
    return found


def profile(name: str) -> None:
    """Print the operations of one second-order meta-gradient, in the order of their own time."""
    case = CASES[name]
    step = ours(case.network(), case.episodes(), case, False)
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    rows = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in rows)
    print(f"case {name}: share of the time, calls, operation")
    for row in rows[:16]:
        print(f"{100 * row.self_cpu_time_total / whole:6.1f}% {row.count:6d}  {row.key}")


def compare(cases: Mapping[str, Case], rounds: int, device: str) -> dict[str, Any]:
    """The speed of every case on one device, with gradients of second and of first order, and the latency.

    cases: name → case.
    rounds: the result is the median over them.
    """
    found: dict[str, Any] = {}
    for order in ("second", "first"):
        rows = {name: speed(case, order == "first", rounds, device) for name, case in cases.items()}
        clocks = ("speed", "speed_processor")
        mean = {c: round(math.prod(row[c] for row in rows.values()) ** (1 / len(rows)), 3) for c in clocks}
        found[order] = {**rows, "geometric mean": mean}
    found["latency_ms"] = latency(device, rounds)
    return found


def measure(cases: str, rounds: int) -> dict[str, Any]:
    """Memory, speed and latency on the CPU."""
    found: dict[str, Any] = {
        "machine": machine(),
        "date": date.today().isoformat(),
        "load": round(os.getloadavg()[0], 1),
    }
    found["memory_mb"] = {name: memory(name) for name in cases}  # first, because a child counts its parent's memory
    found["cpu"] = compare({name: CASES[name] for name in cases}, rounds, "cpu")
    return found


def machine() -> dict[str, Any]:
    """What the result says about the machine."""
    return {"cpu": processor(), "threads": torch.get_num_threads(), "torch": torch.__version__}


def show(found: dict[str, Any]) -> None:
    """Print speed, latency and memory as tables, as far as they were measured."""
    for device in [device for device in ("cpu", "cuda") if device in found]:
        for order in ("second", "first"):
            target = TARGET["gpu"] if device == "cuda" else TARGET[order]
            print(f"\n{device}, {order} order    learn2learn      ours   speed  by processor time   (target: {target})")
            for name, row in found[device][order].items():
                times = f"{row['learn2learn_ms']:10.0f} ms {row['ours_ms']:6.0f} ms" if "ours_ms" in row else " " * 23
                print(f"{name:>20s} {times} {row['speed']:7.2f} {row['speed_processor']:18.2f}")
        print(f"\n{device}: ms to adapt to one task and answer (target: {TARGET['latency']:.0f})")
        for name, row in found[device]["latency_ms"].items():
            print(f"{name:>30s} {row['wall']:7.1f}, {row['processor']:.1f} of a processor")
    if "memory_mb" in found:
        print(
            f"\npeak memory, MB: learn2learn, ours, ratio (target: {TARGET['memory']}); ratio without that at the start"
        )
    for name, row in found.get("memory_mb", {}).items():
        peaks = [row[who]["peak"] for who in ("learn2learn", "ours")]
        print(f"{name:>20s} {peaks[0]:6d} {peaks[1]:6d} {row['ratio']:6.2f} {row['ratio_without_start']:6.2f}")


def failures(found: dict[str, Any]) -> list[str]:
    """The results that miss their targets, in words."""
    missed = []
    for device in ("cpu", "cuda"):
        for order in ("second", "first"):
            for name, row in found.get(device, {}).get(order, {}).items():
                target = TARGET["gpu"] if device == "cuda" else TARGET["mean" if "mean" in name else order]
                target = TARGET["first"] if "mean" in name and order == "first" else target
                if row["speed"] < target:
                    missed.append(f"{device}, {order} order, {name}: {row['speed']} < {target}")
                if row.get("gradients_differ", 0) > 1e-9:
                    missed.append(f"{device}, {order} order, {name}: gradients differ by {row['gradients_differ']}")
        for name, row in found.get(device, {}).get("latency_ms", {}).items():
            if row["wall"] > TARGET["latency"]:
                missed.append(f"{device}, adaptation, {name}: {row['wall']} ms")
    memory = found.get("memory_mb", {})
    return missed + [f"memory, {name}" for name, row in memory.items() if row["ratio"] > TARGET["memory"]]


def main() -> int:
    """Measure and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="ABCD", help="some of them")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, help="store the result in this file")
    parser.add_argument("--profile", choices=CASES, help="show what takes the time in this case")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(CASES):
        parser.error(f"There is no case {', '.join(sorted(unknown))}. Name some of {''.join(CASES)}.")
    if asked.memory:
        peak(*asked.memory)
        return 0
    if asked.profile:
        profile(asked.profile)
        return 0
    try:
        import_learn2learn()
    except ImportError as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)
        return 0
    threads = f"OMP_NUM_THREADS={torch.get_num_threads()}"
    command = f"{threads} python -m benchmarks.maml --cases {asked.cases} --rounds {asked.rounds}"
    found = {"command": command, **measure(asked.cases, asked.rounds)}
    if asked.out:
        write_atomically(asked.out, (json.dumps(found, indent=1) + "\n").encode())
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        print(f"{found['machine']}, load {found['load']}")
        show(found)
    for line in failures(found):
        print(f"missed: {line}", file=sys.stderr)
    return 1 if failures(found) else 0


if __name__ == "__main__":
    sys.exit(main())
