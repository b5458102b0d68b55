"""How well a training's seconds and peak memory are predicted, on settings that the constants were not fitted to.

`metaface experiment cost` measures some steps of many settings, each in a fresh process with one thread: the fastest of
some rounds, in seconds of that thread, and the most memory that the training adds to the process. Settings are drawn
from a seed: learner, image, width, tasks, ways, shots, queries and inner steps. Constants are fitted to the first of
them (`FITTED`), by least squares of the relative error, without negative ones. The error is found on the others. Images
are noise. Finished parts are kept in runs/cost, and the same command goes on.

The result has

- fitted: the constants, see `runs.cost.predict`; "within" is found on the settings that they were not fitted to;
- machine: see `runs.cost.Machine`;
- settings: of each its settings, size and channels of an image, whether it was "fitted", and "seconds" and "megabytes",
  each "measured" and "predicted";
- share: the share of the other settings whose prediction is within 25% of the measurement, for both.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from ..errors import MetaFaceError
from ..faces import FaceSet
from ..machine import peak_memory, resident_memory
from ..options import whole
from ..runs.cost import CONSTANTS, Machine, calibrate, count, features, predict
from ..runs.making import make_learner, training_sampler
from ..runs.recipes import Settings, settings_of
from ..training import meta_train
from . import stored

FILE = stored.RESULTS / "cost.json"
COMMAND = "metaface experiment cost"
FITTED, OTHERS = 40, 40  # settings
LEARNERS = ("protonet", "nca", "pretrain", "maml", "fomaml", "anil", "metasgd", "protomaml", "reptile")
CLOSE = 1.25
PEOPLE, IMAGES = 40, 12  # of noise, which settings draw from


def drawn(number: int, seed: int = 0) -> tuple[Settings, tuple[int, int, int]]:
    """The settings of this number, and the shape of an image.

    number: from 0 on.
    seed: of all of them. 0.
    """
    draw = random.Random(f"{seed} {number}")
    learner = LEARNERS[number % len(LEARNERS)]
    given: dict[str, Any] = {
        "width": draw.choice((16, 32, 48, 64)),
        "tasks": draw.choice((1, 2, 4)),
        "ways": draw.choice((5, 5, 10)),
        "shots": draw.choice((1, 2, 5)),
        "queries": draw.choice((2, 4)),
    }
    if settings_of(learner).inner_steps is not None:
        given["inner_steps"] = draw.choice((2, 3, 5))
    return settings_of(learner, **given), (draw.choice((1, 3)), *[draw.choice((32, 48, 64))] * 2)  # type: ignore[return-value]


def steps(settings: Settings, shape: tuple[int, int, int], seconds: float = 1.0) -> dict[str, float]:
    """The seconds of a step by one thread, and the megabytes that training adds. Call it in a fresh process.

    settings: of the training.
    shape: of an image.
    seconds: that are measured, about; three steps at least. 1.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (PEOPLE * IMAGES, *shape), dtype=torch.uint8, generator=generator)
    faces = FaceSet(images, torch.arange(PEOPLE).repeat_interleave(IMAGES))
    net = make_learner(settings, shape, faces.identities)
    options: dict[str, Any] = {"tasks": settings.tasks, "rate": settings.rate, "progress": False}
    sampler = training_sampler(settings, faces)
    with suppress(OSError):  # Linux forgets the earlier peak, which was of the imports
        Path("/proc/self/clear_refs").write_text("5")
    before, taken = resident_memory(), list[float]()

    def timed(step: int, _: Any) -> None:
        taken.append(time.process_time())

    end = time.process_time() + seconds
    meta_train(net, sampler, steps=4, on_step=timed, **options)
    while time.process_time() < end:
        meta_train(net, sampler, steps=4, on_step=timed, **options)
    each = [later - sooner for i, (sooner, later) in enumerate(itertools.pairwise(taken)) if (i + 1) % 4]
    return {"seconds": min(each), "megabytes": max(1, peak_memory() - before)}


def measured(number: int, seed: int = 0) -> dict[str, Any]:
    """What `steps` finds for the settings of this number, in a fresh process, and how fast the machine was then."""
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(_measured, number, seed).result()


def _measured(number: int, seed: int) -> dict[str, Any]:
    found = steps(*drawn(number, seed))
    torch.set_num_threads(1)
    return found | {"machine": asdict(calibrate(time.process_time))}


def fit(rows: Sequence[Mapping[str, float]], values: Sequence[float]) -> dict[str, float]:
    """Constants, none below 0, with which the sums over the columns are nearest to the values, in relative error.

    rows: of each setting, by constant, what it multiplies.
    values: measured.
    """
    names = list(rows[0])
    relative = np.array([[row[name] / value for name in names] for row, value in zip(rows, values, strict=True)])
    return dict(zip(names, map(float, nnls(relative, np.ones(len(values)))[0]), strict=True))


def measure(numbers: Sequence[int], fitted: int, parts: stored.Parts, jobs: int = 1) -> dict[str, Any]:
    """Measure these settings, fit the constants to the first of them, and find the error on the others.

    numbers: of the settings.
    fitted: how many of them, the first, the constants are fitted to.
    parts: where the finished ones are kept.
    jobs: how many are measured side by side. 1.

    Raises `MetaFaceError` if nothing is left to find the error on.
    """
    if not 0 < fitted < len(numbers):
        raise MetaFaceError(f"Of {len(numbers)} settings {fitted} cannot be fitted. Leave at least one for the error.")
    wanted = {f"{number:03d}": functools.partial(measured, number) for number in numbers}
    found = list(parts.all(wanted, jobs, "cost").values())
    machine = Machine(
        name=found[0]["machine"]["name"],
        **{name: float(np.median([row["machine"][name] for row in found])) for name in ("products", "moved", "calls")},
    )
    counted = [count(*drawn(number), people=PEOPLE) for number in numbers]
    memory = [{"kept": each.kept / 2**20, "held": each.held / 2**20, "fixed": 1.0} for each in counted]
    constants: dict[str, Any] = {
        "seconds": fit(
            [features(each, machine) for each in counted][:fitted], [row["seconds"] for row in found][:fitted]
        ),
        "megabytes": fit(memory[:fitted], [row["megabytes"] for row in found][:fitted]),
        "within": {"seconds": 1.0, "megabytes": 1.0},
    }
    assert {*constants["seconds"]} == {*CONSTANTS}
    rows, ratios = [], dict[str, list[float]](seconds=[], megabytes=[])
    for place, (number, each, row) in enumerate(zip(numbers, counted, found, strict=True)):
        settings, shape = drawn(number)
        predicted = predict(each, machine, constants)
        values = {
            name: {"measured": round(row[name], 5), "predicted": round(getattr(predicted, name), 5)} for name in ratios
        }
        if place >= fitted:
            for name in values:
                ratio = getattr(predicted, name) / row[name]
                ratios[name].append(max(ratio, 1 / ratio))
        given = {name: value for name, value in asdict(settings).items() if value is not None}
        rows.append({"settings": given, "shape": list(shape), "fitted": place < fitted, **values})
    constants["within"] = {name: round(float(np.quantile(each, 0.9)), 3) for name, each in ratios.items()}
    share = {name: round(float(np.mean(np.array(each) <= CLOSE)), 3) for name, each in ratios.items()}
    return {"fitted": constants, "machine": asdict(machine), "share": share, "settings": rows}


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many settings."""
    parser.add_argument("--fitted", type=whole(5, 1000), default=FITTED, help="settings that constants are fitted to")
    parser.add_argument("--others", type=whole(1, 1000), default=OTHERS, help="settings that the error is found on")
    parser.add_argument("--jobs", type=whole(1, 100), default=1, help="settings side by side; 1 disturbs least")


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print."""
    parts = stored.Parts("cost", {"people": PEOPLE, "images": IMAGES, "learners": LEARNERS})
    numbers = range(arguments.fitted + arguments.others)
    found = measure(numbers, arguments.fitted, parts, arguments.jobs)
    for name, within in found["fitted"]["within"].items():
        print(
            f"{name}: {found['share'][name]:.0%} of {arguments.others} other settings within 25%, nine of ten within a"
            f" factor of {within}"
        )
    stored.store(FILE, f"{COMMAND} --fitted {arguments.fitted} --others {arguments.others}", found)
