"""Measures episode sampling (tasks a second from 100,000 images) and a ProtoNet step, beside learn2learn.

python -m benchmarks.episodes [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from metaface_lessons.episodes import Episodes, EpisodeSampler
from metaface_lessons.faces import FaceSet
from metaface_lessons.learners.learn2learn_library import import_learn2learn
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4, standardise

from .maml import take_turns

PEOPLE, EACH, SIZE = 1000, 100, 28
WAYS, SHOTS, QUERIES = 5, 5, 15


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result of a piece of work, its seconds, and the megabytes of Python objects that it keeps."""
    tracemalloc.start()
    start = time.perf_counter()
    made = work()
    seconds, held = time.perf_counter() - start, tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    return made, round(seconds, 2), round(held, 1)


def sampling(rounds: int, device: str = "cpu") -> dict[str, Any]:
    """Draw 5-way 5-shot tasks with 15 queries, in turns with learn2learn.

    rounds: the result is the median over them.
    device: the images and our tasks are on it; learn2learn loads from its CPU images. "cpu".
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (PEOPLE * EACH, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    identity = torch.arange(PEOPLE).repeat_interleave(EACH)
    faces = FaceSet(images, identity, name="many").to(device)
    library = import_learn2learn().data

    def theirs() -> Any:
        dataset = library.MetaDataset(TensorDataset(images, identity))
        transforms = library.transforms
        recipe = [
            transforms.NWays(dataset, WAYS),
            transforms.KShots(dataset, SHOTS + QUERIES),
            transforms.LoadData(dataset),
            transforms.RemapLabels(dataset),
            transforms.ConsecutiveLabels(dataset),
        ]
        return library.TaskDataset(dataset, recipe)

    tasks, their_start, their_memory = measured(theirs)
    sampler, our_start, our_memory = measured(lambda: EpisodeSampler(faces, WAYS, SHOTS, QUERIES))
    assert tasks.sample()[0].shape == (WAYS * (SHOTS + QUERIES), 1, SIZE, SIZE)

    together = {"learn2learn": 1, "ours": 1, "ours, 32 at a time": 32}  # tasks in each call
    draws = {"learn2learn": tasks.sample, "ours": sampler.sample, "ours, 32 at a time": lambda: sampler.sample(32)}
    seconds = medians(take_turns(draws, rounds, device))
    return {
        "tasks_per_second": {name: round(together[name] / time) for name, time in seconds.items()},
        "seconds_to_make": {"learn2learn": their_start, "ours": our_start},
        "python_megabytes": {"learn2learn": their_memory, "ours": our_memory},
    }


def plain_step(embedding: nn.Module, episodes: Episodes) -> None:
    """The step of learn2learn's example of prototypical networks: one task, each prototype a mean."""
    x = torch.cat([episodes.support.x[0], episodes.query.x[0]])
    points = embedding(standardise(x))
    support, query = points.split([WAYS * SHOTS, WAYS * QUERIES])
    prototypes = support.view(WAYS, SHOTS, -1).mean(1)
    F.cross_entropy(-(query[:, None] - prototypes).square().sum(-1), episodes.query.y[0]).backward()


def protonet(rounds: int, device: str = "cpu") -> dict[str, float]:
    """Milliseconds of a meta-gradient of Conv-4 with 64 filters at 28×28, in turns with learn2learn's way.

    Both have the papers' order of layers, with pooling last; our other orders are measured as well.

    rounds: the result is the median over them.
    device: "cpu".
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20 * EACH, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    sampler = EpisodeSampler(
        FaceSet(images, torch.arange(20).repeat_interleave(EACH), name="few").to(device), WAYS, SHOTS, QUERIES, seed=0
    )
    after = Conv4(1, SIZE, 64, pool="after", first=64)
    classical = nn.Sequential(*Conv4(1, SIZE, 64, pool="after", first=64).children()).to(device)
    for parameter in classical.parameters():
        parameter.data = parameter.data.contiguous()
    nets = {"pool after": ProtoNet(after), "pool before": ProtoNet(Conv4(1, SIZE, 64, first=64))}
    nets["pool before, half the filters first"] = ProtoNet(Conv4(1, SIZE, 64))
    episodes = sampler.sample()
    steps = {name: partial(net.to(device).meta_gradient, episodes) for name, net in nets.items()}
    times = take_turns({"learn2learn's way": partial(plain_step, classical, episodes), **steps}, rounds, device)
    return {name: round(1000 * seconds, 1) for name, seconds in medians(times).items()}


def medians(times: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """The median wall seconds of each."""
    return {name: statistics.median(wall for wall, _ in clocks) for name, clocks in times.items()}


def main() -> int:
    """Measure and print, if learn2learn is installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    try:
        import_learn2learn()
    except ImportError as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)
        return 0
    found = {"threads": torch.get_num_threads(), "sampling": sampling(100), "protonet_ms": protonet(15)}
    if asked.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"sampler, {PEOPLE * EACH} images")
    for what, row in found["sampling"].items():  # type: ignore[attr-defined]
        print(f"  {what:20s} " + ", ".join(f"{name}: {value}" for name, value in row.items()))
    print("ProtoNet, ms per step")
    for name, milliseconds in found["protonet_ms"].items():  # type: ignore[attr-defined]
        print(f"  {name:36s} {milliseconds}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
