"""What adapting gains and costs: inner steps of four learners, and a trained ProtoNet before a new camera.

metaface experiment adaptation [--seeds 0 1 2]

writes data/results/adaptation.json, which lesson 09 reads, and data/checkpoints/adaptation.pt, the learners of the
first seed. Trainings and measurements lie in runs/adaptation and are not repeated; delete it to make them anew.
Everything runs on one thread; seconds and milliseconds are of the processor. Faces are the small procedural ones of
`adaptation_explorer`; where Extended Yale B is at hand (--yale FOLDER), the networks are tried on it, too, as on a
camera and lights that they never met.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional as F

from ..deployment import Cameras, Tent, fine_tuned, renormalised
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import evaluate
from ..faces import FaceSet, load_faces
from ..faces.camera import CAMERAS
from ..learners.base import Adapts, MetaLearner
from ..learners.inner_loop import accuracy
from ..learners.maml import MAML
from ..learners.protonet import ProtoNet
from ..paths import DATA, write_atomically
from ..widgets.adaptation_explorer import (
    CONDITIONS,
    FILE,
    LEARNERS,
    MOST,
    SIZE,
    faster,
    load_learners,
    sampler,
    seen,
    small_split,
    store_learners,
    train,
)
from .stored import about

RESULT = DATA / "results" / "adaptation.json"
RUNS = Path("runs/adaptation")
TASKS, GLANCE = 60, 10  # tasks of each measurement, and where there are many
SHOTS = (1, 4)
GLIMPSES = (0, 1, 2, 5, 10)  # inner steps after which accuracy is measured
FACTORS = (0.3, 3.0, 8.0)
IMAGES = (5, 20, 100)  # unlabelled ones, of the new camera
PRIOR = 20.0


def learners(seed: int) -> tuple[dict[str, MetaLearner], dict[str, float]]:
    """All of them, trained on the base people of the seed's split, and the seconds that it took."""
    file = RUNS / f"{seed}.pt"
    record = file.with_suffix(".json")
    if not record.exists():
        trained, seconds = {}, {}
        for name, learner in LEARNERS.items():
            start = time.process_time()
            trained[name] = train(learner, small_split(seed).base, seed).learner
            seconds[name] = round(time.process_time() - start, 1)
            print(f"seed {seed}: {name} in {seconds[name]} s", flush=True)
        store_learners(trained, file)
        write_atomically(record, json.dumps(seconds).encode())
    return load_learners(file), json.loads(record.read_text())


def paths(net: MAML, faces: FaceSet, shots: int, condition: str, factor: float, tasks: int) -> dict[str, Any]:
    """Mean accuracies of tasks after each of `GLIMPSES` inner steps, and their intervals over tasks."""
    episodes = sampler(seen(faces, condition), shots, condition, seed=1000).sample(tasks)
    (x, y), (asked, target) = episodes.support, episodes.query
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    with faster(net, factor):
        try:
            for step, weights in enumerate(net.inner_loop(net.start(episodes.support), episodes.support, MOST)):
                if step in GLIMPSES:
                    with torch.no_grad():
                        known = net.network_per_task(weights, net.network_per_task.prepare(x))
                        outputs = net.query_outputs(weights, x, asked)
                    found.append((accuracy(known, y), accuracy(outputs, target)))
        except MetaFaceError:
            return {"diverges": True}
    support, query = (torch.stack(rows, dim=1) for rows in zip(*found, strict=True))  # [T, len(GLIMPSES)]
    gain = query - query[:, :1]
    return {
        "steps": list(GLIMPSES),
        "query": _rounded(query.mean(0)),
        "support": _rounded(support.mean(0)),
        "query_ci95": _rounded(1.96 * query.std(0) / tasks**0.5),
        "gain_ci95": _rounded(1.96 * gain.std(0) / tasks**0.5),  # of the paired difference to no inner step
        "hurt": _rounded((gain < 0).float().mean(0)),  # share of tasks that are worse off than before
    }


def steps_and_rates(nets: Mapping[str, MetaLearner], novel: FaceSet, first: bool) -> dict[str, Any]:
    """By learner: paths at its rates; and, of the first seed, at other rates and in other conditions."""
    found: dict[str, Any] = {}
    for name, net in nets.items():
        if not isinstance(net, MAML):
            continue
        found[name] = {f"{k}-shot": paths(net, novel, k, "any", 1.0, TASKS) for k in SHOTS}
        found[name]["rates"] = _rounded(net.rates.detach()) if len(net.rates) < 30 else _spread(net)
        if first:
            found[name]["factors"] = {
                str(factor): {"1-shot": paths(net, novel, 1, "any", factor, 2 * GLANCE)} for factor in FACTORS
            }
            found[name]["conditions"] = {
                condition: paths(net, novel, 1, condition, 1.0, 2 * GLANCE) for condition in CONDITIONS
            }
    return found


def _spread(net: MAML) -> dict[str, Any]:
    """Of rates for each weight: mean, deviation and share below 0, layer by layer."""
    layers: dict[str, list[torch.Tensor]] = {}
    for name, rates in net.by_weight(net.rates.detach()).items():
        layers.setdefault(name.rpartition(".")[0], []).append(rates.flatten())
    joined = {name: torch.cat(parts) for name, parts in layers.items()}
    return {
        name: {"mean": float(r.mean()), "std": float(r.std()), "negative": float((r < 0).float().mean())}
        for name, r in joined.items()
    }


def accuracies(methods: Mapping[str, Adapts], faces: FaceSet, tasks: int = TASKS) -> dict[str, Any]:
    """5-way 1-shot and 4-shot."""
    table: dict[str, Any] = {name: {} for name in methods}
    for shots in SHOTS:
        found = evaluate(methods, EpisodeSampler(faces, 5, shots, 5, seed=1000), tasks)
        for name, result in found.items():
            table[name][f"{shots}-shot"] = result.scores()
    return table


def _milliseconds(function: Any, *arguments: Any) -> tuple[Any, float]:
    start = time.process_time()
    made = function(*arguments)
    return made, round(1000 * (time.process_time() - start), 1)


def deployment(net: ProtoNet, nets: Mapping[str, MetaLearner], other: FaceSet, novel: FaceSet) -> dict[str, Any]:
    """Support and queries of the novel people from a new camera: what each remedy gains, and what it takes.

    other: people from the new camera who are not tested, of whom remedies may see images. nets: learners with an inner
    loop, to be measured beside them.
    """
    order = torch.randperm(len(other), generator=torch.Generator().manual_seed(0))
    cost: dict[str, dict[str, float]] = {}
    methods: dict[str, Adapts] = {"none": net}
    for n in IMAGES:
        for prior in (0.0, PRIOR):
            name = f"statistics of {n}" + (f", prior {prior:g}" if prior else "")
            methods[name], ms = _milliseconds(renormalised, net, other.images[order[:n]], prior)
            cost[name] = {"images": n, "labels": 0, "ms": ms}
    for people, each in ((5, 4), (20, 5)):
        name = f"fine-tuned on {people} people × {each}"
        methods[name], ms = _milliseconds(fine_tuned, net, _few(other, people, each))
        cost[name] = {"images": people * each, "labels": people * each, "ms": ms}
    table = accuracies(methods, novel)
    task = EpisodeSampler(novel, 5, 1, 5, seed=0).sample()
    for rate in (0.1, 0.01):
        tent, name = Tent(net, rate=rate), f"Tent, 5 steps at {rate}"
        _, ms = _milliseconds(lambda tent: tent.adapt(task.support).predict(task.query.x), tent)
        cost[name] = {"images": len(task.query.y[0]), "labels": 0, "ms": ms}
        table[name] = accuracies({name: tent}, novel, 2 * GLANCE)[name]
    inner = {name: other for name, other in nets.items() if isinstance(other, MAML)}
    for name, other_net in inner.items():
        for steps in (0, MOST):
            other_net.test_steps = steps
            table[f"{name}, {steps} steps"] = accuracies({name: other_net}, novel, GLANCE)[name]
    return {name: {**row, **cost.get(name, {})} for name, row in table.items()}


def gallery(net: ProtoNet, old: FaceSet, new: FaceSet, other: FaceSet) -> dict[str, Any]:
    """Support from the old camera, queries from the new: old statistics for all, new ones for queries, or for all.

    old, new: the pictures of novel people by either camera; every other one of each is used, so that no picture is on
    both sides. other: people from the new camera.
    """
    old, new = (faces.select(torch.arange(i, len(faces), 2)) for i, faces in enumerate((old, new)))
    adapted = renormalised(net, other.images[:: max(1, len(other) // 100)][:100], PRIOR)
    methods: dict[str, Adapts] = {
        "old statistics": net,
        "new ones for queries": Cameras(net, adapted),
        "new ones for both": adapted,
    }
    which = torch.cat([torch.zeros(len(old)), torch.ones(len(new))]).long()
    both = FaceSet(
        torch.cat([old.images, new.images]),
        torch.cat([old.identity, new.identity]),
        {"camera": which},
        {"camera": ("old", "new")},
        synthetic=True,
    )
    episodes = EpisodeSampler(both, 5, 1, 5, seed=1000, support_where={"camera": "old"}, query_where={"camera": "new"})
    return {name: result.scores() for name, result in evaluate(methods, episodes, TASKS).items()}


def _few(faces: FaceSet, people: int, each: int) -> FaceSet:
    """The first `each` images of the first people."""
    chosen = [(faces.identity == person).nonzero().flatten()[:each] for person in faces.identities[:people]]
    return faces.select(torch.cat(chosen))


def yale(net: ProtoNet, nets: Mapping[str, MetaLearner], folder: str) -> dict[str, Any]:
    """Real people in lights that the networks never met: half of the people give unlabelled images, half are tested."""
    faces = load_faces(f"extended-yale-b:{folder}")
    images = F.interpolate(faces.images.float(), (SIZE, SIZE), mode="area").round().byte()
    small = FaceSet(images.expand(-1, 3, -1, -1).contiguous(), faces.identity, faces.conditions, faces.levels)
    half = len(small.identities) // 2
    other, novel = small.of(small.identities[:half]), small.of(small.identities[half:])
    return deployment(net, nets, other, novel)


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(v, 4) for v in values.tolist()]


def measure(seed: int, first: bool, folder: str | None) -> dict[str, Any]:
    """All figures of one seed."""
    nets, seconds = learners(seed)
    base, _, novel = small_split(seed)
    net = cast(ProtoNet, nets["ProtoNet"])
    found: dict[str, Any] = {"seconds": seconds, "protonet": accuracies({"": net}, novel)[""]}
    found["inner loop"] = steps_and_rates(nets, novel, first)
    found["cameras"], found["gallery"] = {}, {}
    for name, camera in CAMERAS.items():
        if name == "cheap webcam" or first:
            other, tested = camera.faces(base, seed=1), camera.faces(novel, seed=2)
            if name == "cheap webcam":
                found["cameras"][name] = deployment(net, nets if first else {}, other, tested)
            else:
                rows: dict[str, Adapts] = {
                    "none": net,
                    "statistics of 100": renormalised(net, other.images[::42], PRIOR),
                }
                found["cameras"][name] = accuracies(rows, tested)
            found["gallery"][name] = gallery(net, novel, tested, other)
        print(f"seed {seed}: {name}", flush=True)
    if folder and first:
        found["extended yale b"] = yale(net, nets, folder)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--yale", help="folder of Extended Yale B, in its official layout")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    seeds: dict[str, Any] = {}
    for seed in asked.seeds:
        file = RUNS / f"measured-{seed}.json"
        if not file.exists():
            found = measure(seed, seed == asked.seeds[0], asked.yale)
            write_atomically(file, json.dumps(found).encode())
        seeds[str(seed)] = json.loads(file.read_text())
    nets, _ = learners(asked.seeds[0])
    store_learners(nets, FILE)
    stored = {
        **about(f"metaface experiment adaptation --seeds {' '.join(map(str, asked.seeds))}"),
        "tasks": TASKS,
        "seeds": seeds,
    }
    write_atomically(RESULT, (json.dumps(stored, indent=1) + "\n").encode())
    show(seeds)
    return 0


def show(seeds: Mapping[str, Any]) -> None:
    """The means over the seeds of what all of them measured."""
    for name in ("MAML", "ANIL", "Meta-SGD", "ProtoMAML"):
        cells = []
        for k in SHOTS:
            query = [s["inner loop"][name][f"{k}-shot"]["query"] for s in seeds.values()]
            cells.append(" ".join(f"{100 * statistics.mean(at):5.1f}" for at in zip(*query, strict=True)))
        print(f"{name:10s} after 0, 1, 2, 5, 10 steps, 1-shot {cells[0]}; 4-shot {cells[1]}")
    tables = [s["cameras"]["cheap webcam"] for s in seeds.values()]
    for name in (name for name in tables[0] if all(name in table for table in tables)):
        cells = []
        for k in SHOTS:
            rows = [table[name][f"{k}-shot"]["accuracy"] for table in tables]
            cells.append(f"{100 * statistics.mean(rows):5.1f}")
        print(f"cheap webcam, {name:30s} {'  '.join(cells)}")


if __name__ == "__main__":
    sys.exit(main())
