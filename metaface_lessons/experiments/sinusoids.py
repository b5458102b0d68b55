"""Sinusoids from ten points: MAML and its first-order variant beside joint training, by steps of gradient descent.

metaface experiment sinusoids        # writes data/results/sinusoids.json

Setting of Finn, Abbeel & Levine (2017), section 5.1, on one CPU core. Joint training fits the query points of the same
tasks without an inner step; at test time it takes the same ten.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from torch.nn import functional as F

from ..learners.inner_loop import Trajectory
from ..learners.maml import MAML
from ..paths import DATA, write_atomically
from ..sinusoids import SinusoidSampler, regressor
from ..training import meta_train
from .stored import about

FILE = DATA / "results" / "sinusoids.json"
SHOTS, TASKS, STEPS = 10, 25, 20_000  # points to learn from; tasks of an outer step; outer steps
TEST_TASKS, TEST_STEPS, INNER_RATE = 4000, 10, 0.01
METHODS: dict[str, dict[str, Any]] = {
    "MAML": {"steps": 1},
    "FOMAML": {"steps": 1, "first_order": True},
    "joint training": {"steps": 0},
}


def measure(options: dict[str, Any], steps: int = STEPS) -> tuple[Trajectory, float]:
    """The squared errors of new tasks, and the seconds of one core that training took."""
    net = MAML(regressor(), test_steps=TEST_STEPS, inner_rate=INNER_RATE, loss=F.mse_loss, **options)
    sampler = SinusoidSampler(SHOTS, SHOTS, seed=0)
    start = time.process_time()
    trained = meta_train(net, sampler, steps=steps, tasks=TASKS, rate=1e-3, halve_every=float("inf"))
    seconds = time.process_time() - start
    test = SinusoidSampler(SHOTS, queries=100, seed=1).sample(TEST_TASKS)
    assert isinstance(trained.learner, MAML)
    return trained.learner.trajectory(test), seconds


def main() -> None:
    torch.set_num_threads(1)
    stored: dict[str, object] = {
        **about("metaface experiment sinusoids"),
        "outer_steps": STEPS,
        "tasks": TASKS,
        "shots": SHOTS,
        "inner_rate": INNER_RATE,
        "test_tasks": TEST_TASKS,
    }
    print(f"squared error after … steps on {SHOTS} points      0      1      5     10   seconds", flush=True)
    for name, options in METHODS.items():
        trajectory, seconds = measure(options)
        errors = trajectory.query_loss
        mean, ci95 = errors.mean(0), 1.96 * errors.std(0) / TEST_TASKS**0.5
        stored[name] = {
            "mse": [round(value, 4) for value in mean.tolist()],
            "ci95": [round(value, 4) for value in ci95.tolist()],
            "seconds": round(seconds, 1),
        }
        row = "".join(f"{mean[step]:7.2f}" for step in (0, 1, 5, 10))
        print(f"{name:41s}{row}{seconds:10.0f}", flush=True)
    write_atomically(FILE, (json.dumps(stored, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
