"""ProtoNet and Reptile on real faces, as `metaface train` and `metaface evaluate` give them, beside the baselines.

Three seeds each: the seed decides the division of the people, the first weights and the episodes. Trainings have the
steps that fitted their time on two CPU cores: ProtoNet two minutes on LFW and one on Olivetti, Reptile eleven.

`metaface experiment few_shot` writes data/results/LEARNER-FACES-Nshot.json. Trainings and finished parts are kept in
runs/few_shot, and the same command goes on where it was interrupted. A result has what `evaluate_runs` returns:

- accuracy, ci95, ci95_people and deviation of the learner, as means over the seeds;
- ways, shots, queries, episodes, identities: of the test;
- baselines: by name, the same scores;
- runs: each seed's run, faces, seed, steps, seconds, identities, scores and baselines.

Newer files also have what `evaluate_runs` says of the paired differences to each baseline, and in runs the counts of
right answers.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs.recipes import settings_of
from ..runs.run import evaluate_runs
from . import stored

COMMAND = "metaface experiment few_shot"
WAYS, EPISODES = 5, 1000


@dataclass(frozen=True)
class Training:
    """A learner on a face set, and how it is tested.

    learner, faces: their names.
    steps: of the training with seed 0, 1, …
    tests: by the shots of a test, its queries.
    """

    learner: str
    faces: str
    steps: tuple[int, ...]
    tests: dict[int, int]


TRAININGS = (
    Training("protonet", "lfw", (1637, 1568, 1502), {1: 4, 4: 1}),
    Training("reptile", "lfw", (4000, 4000, 4000), {1: 4, 4: 1}),
    Training("protonet", "olivetti", (300, 300, 300), {1: 4, 5: 4}),
)


def file_of(learner: str, faces: str, shots: int) -> Path:
    """Where the result of a learner on these faces, with so many shots, is stored."""
    return stored.RESULTS / f"{learner}-{faces}-{shots}shot.json"


def load(learner: str, faces: str, shots: int) -> dict[str, Any]:
    """A stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(file_of(learner, faces, shots), f"{COMMAND} --learners {learner} --faces {faces}")


def tests_of(learner: str) -> list[tuple[str, int]]:
    """The faces and shots on which a learner is tested, in order of their names."""
    return sorted((t.faces, shots) for t in TRAININGS if t.learner == learner for shots in t.tests)


def measure(training: Training, shots: int, episodes: int = EPISODES, work: Path = stored.WORK) -> dict[str, Any]:
    """Train with each seed, unless it is done already, and test. Returns what `evaluate_runs` returns.

    training: what.
    shots: of the test, one of `training.tests`.
    episodes: of the test of each seed.
    work: the folder of trainings and finished parts.

    Raises `MetaFaceError` if the faces are missing.
    """
    of = {"steps": training.steps, "ways": WAYS, "queries": training.tests[shots], "episodes": episodes}
    parts = stored.Parts("few_shot", of, work)
    name = f"{training.learner}-{training.faces.replace('/', '-')}"

    def test() -> dict[str, Any]:
        runs = []
        for seed, steps in enumerate(training.steps):
            settings = settings_of(training.learner, training.faces, seed)
            runs.append(stored.trained(settings, parts.folder / f"{name}-{seed}", steps).path)
        return evaluate_runs(runs, ways=WAYS, shots=shots, queries=training.tests[shots], episodes=episodes)

    return dict(parts(f"{name}-{shots}shot", test))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which learners and faces."""
    for option, known in (
        ("--learners", sorted({training.learner for training in TRAININGS})),
        ("--faces", sorted({training.faces for training in TRAININGS})),
    ):
        parser.add_argument(option, nargs="+", default=known, choices=known)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print, a face set after the other. Raises `MetaFaceError` at the end if faces are missing."""
    stored.on_each(arguments.faces, functools.partial(_on, arguments.learners))


def _on(learners: Sequence[str], faces: str) -> None:
    for training in TRAININGS:
        if training.faces == faces and training.learner in learners:
            for shots in training.tests:
                found = measure(training, shots)
                command = f"{COMMAND} --learners {training.learner} --faces {faces}"
                stored.store(file_of(training.learner, faces, shots), command, found)
                print(f"{training.learner} on {faces}, {WAYS}-way {shots}-shot:")
                for name, row in {training.learner: found, **found["baselines"]}.items():
                    print(f"  {name:9s} {100 * row['accuracy']:.1f} ± {100 * row['ci95_people']:.1f} % over people")
