"""Sinusoids from ten points: MAML and its first-order variant beside joint training, by steps of gradient descent.

The setting is that of Finn, Abbeel & Levine (2017), section 5.1, on one CPU core. Joint training fits the query points
of the same tasks without an inner step. At test time it takes the same steps as the others.

`metaface experiment sinusoids` makes two files. Finished trainings are kept in runs/sinusoids, and the same command
goes on after them.

data/results/sinusoids.json has outer_steps, tasks (of an outer step), shots, inner_rate and test_tasks, and for each of
`METHODS`

- mse: the mean squared error of the test tasks after 0, 1, …, 10 inner steps;
- ci95: half the 95% interval of each, over tasks; it leaves out the luck of the one training;
- seconds: of one core, for the training.

Newer files also have paired: by method and other method, the mean difference of their errors on the same tasks, and its
ci95, after each number of inner steps.

data/checkpoints/sinusoids.pt has the weights of a shorter training of MAML and of joint training, for lesson 03 and its
explorer.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional as F

from .. import checkpoints
from ..evaluation import interval
from ..learners.maml import MAML
from ..sinusoids import SinusoidSampler, regressor
from ..training import meta_train
from . import stored

FILE = stored.RESULTS / "sinusoids.json"
WEIGHTS = stored.CHECKPOINTS / "sinusoids.pt"
COMMAND = "metaface experiment sinusoids"
METHODS: dict[str, dict[str, Any]] = {
    "MAML": {"steps": 1},
    "FOMAML": {"steps": 1, "first_order": True},
    "joint training": {"steps": 0},
}
WEIGHTED = ("MAML", "joint training")  # their weights are stored
SHOTS, TASKS, INNER_RATE = 10, 25, 0.01  # points to learn from; tasks of an outer step; all as in the paper
STEPS, WEIGHTS_STEPS = 20_000, 15_000  # outer steps: of the result, and of the weights
TEST_TASKS, TEST_STEPS = 4000, 10
_FORMAT = 1


def _net(method: str) -> MAML:
    return MAML(regressor(), test_steps=TEST_STEPS, inner_rate=INNER_RATE, loss=F.mse_loss, **METHODS[method])


def trained(method: str, steps: int, halve_every: float = float("inf"), progress: bool = True) -> MAML:
    """One of `METHODS` after so many outer steps.

    method: its name.
    steps: outer steps, each on 25 tasks.
    halve_every: in how many steps the outer rate falls to half. It stays as it is by default.
    progress: show a bar.
    """
    sampler = SinusoidSampler(SHOTS, SHOTS, seed=0)
    training = meta_train(_net(method), sampler, steps=steps, tasks=TASKS, halve_every=halve_every, progress=progress)
    if training.stopped == "interrupted":
        raise KeyboardInterrupt
    return cast(MAML, training.learner)


def _errors(method: str, steps: int, test_tasks: int) -> dict[str, Any]:
    """The squared error of each test task after each inner step, and the seconds of one core that training took."""
    start = time.process_time()
    net = trained(method, steps)
    seconds = round(time.process_time() - start, 1)
    test = SinusoidSampler(SHOTS, queries=100, seed=1).sample(test_tasks)
    return {"errors": net.trajectory(test).query_loss.T.tolist(), "seconds": seconds}


def measure(steps: int = STEPS, test_tasks: int = TEST_TASKS, work: Path = stored.WORK) -> dict[str, Any]:
    """The stored result; see the module for what it has.

    steps: outer steps of each training.
    test_tasks: new tasks, the same for all.
    work: the folder of finished trainings.
    """
    parts = stored.Parts("sinusoids", {"steps": steps, "test_tasks": test_tasks}, work)
    found = {name: parts(name, functools.partial(_errors, name, steps, test_tasks)) for name in METHODS}
    errors = {name: np.array(row["errors"]) for name, row in found.items()}

    def summary(values: Any, mean: str) -> dict[str, list[float]]:
        return {
            mean: [round(float(at.mean()), 4) for at in values],
            "ci95": [round(interval(at), 4) for at in values],
        }

    paired: dict[str, dict[str, Any]] = {}
    for one, other in itertools.combinations(METHODS, 2):
        paired.setdefault(one, {})[other] = summary(errors[one] - errors[other], "mean")
    return {
        "outer_steps": steps,
        "tasks": TASKS,
        "shots": SHOTS,
        "inner_rate": INNER_RATE,
        "test_tasks": test_tasks,
        **{name: {**summary(errors[name], "mse"), "seconds": row["seconds"]} for name, row in found.items()},
        "paired": paired,
    }


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def make_methods(path: Path = WEIGHTS, steps: int = WEIGHTS_STEPS, progress: bool = True) -> None:
    """Train the methods whose weights are stored, and write the weights.

    path: the file.
    steps: outer steps. In each third of them the outer rate falls to half.
    progress: show a bar.
    """
    nets = {name: trained(name, steps, halve_every=steps / 3, progress=progress) for name in WEIGHTED}
    weights = {name: net.network.state_dict() for name, net in nets.items()}
    checkpoints.store(path, {"format": _FORMAT, "steps": steps, "weights": weights})


def load_methods(path: Path = WEIGHTS) -> dict[str, MAML]:
    """The methods with stored weights, by name. Raises `MetaFaceError` if the file is missing, damaged or another."""
    state = checkpoints.load(path, "weights", _FORMAT, f"{COMMAND} --only weights")
    methods = {}
    for name, weights in state["weights"].items():
        methods[name] = _net(name)
        checkpoints.load_weights(methods[name].network, weights, path)
    return methods


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which of the two files."""
    parser.add_argument("--only", choices=("result", "weights"), help="make one of the two files (default: both)")


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print the errors; train and store the weights."""
    torch.set_num_threads(1)
    if arguments.only != "weights":
        found = measure()
        stored.store(FILE, COMMAND, found)
        print(f"squared error after … steps on {SHOTS} points      0      1      5     10   seconds")
        for name in METHODS:
            row = "".join(f"{found[name]['mse'][step]:7.2f}" for step in (0, 1, 5, 10))
            print(f"{name:41s}{row}{found[name]['seconds']:10.0f}")
    if arguments.only != "result":
        make_methods()
        print(f"Wrote {WEIGHTS} ({WEIGHTS.stat().st_size / 1e3:.0f} kB).")
