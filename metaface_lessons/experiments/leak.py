"""What a leak of people fakes: LDA is tested on people, and was trained on a growing share of them.

The test never changes: the same people, the same images, the same episodes. What changes is how many of these people
the training set holds, in place of as many others; it always has the same size. So all that accuracy gains from left
to right is a leak: none of it would be there on the next stranger.

`leak_experiment` measures it on any faces, in seconds. The stored result is of real faces, Olivetti's, for lesson 01:
numbers, no pictures.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..bars import Bar
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import Evaluation, evaluate
from ..faces import FaceSet, load_faces
from ..learners.baselines import lda
from . import stored

FILE = stored.RESULTS / "leak-olivetti.json"
COMMAND = "metaface experiment leak"
STEP = 10  # percent
KINDS = ("the very images of the test", "other images of these people")
PEOPLE, EPISODES = 20, 1000  # of the stored result


@dataclass(frozen=True)
class Leak:
    """What `leak_experiment` measured.

    reported: for each of `KINDS`, the 5-way 1-shot test after training with a share of 0, 10, …, 100%.
    portraits: one image of each test person, uint8 `[P, C, H, W]`, in the order in which they leak.
    """

    reported: dict[str, tuple[Evaluation, ...]]
    portraits: Tensor


def leak_experiment(
    faces: FaceSet, seed: int = 0, people: int = 30, episodes: int = 200, progress: bool = False
) -> Leak:
    """Train LDA on more and more of the test people, and test it on the same episodes each time.

    Images are shrunk to 32×32 pixels, so the whole takes a few seconds.

    faces: at least 2 · `people` people. Their images are divided into two halves; one is the test's.
    seed: of the choice of people and of the episodes.
    people: in the training set, and in the test.
    episodes: 5-way 1-shot, the same for every share.
    progress: show a bar.

    Raises `MetaFaceError` if there are fewer people, or fewer than 4 images of each.
    """
    identity, everyone = faces.identity.cpu(), faces.identities.cpu()
    if people < 10 or 2 * people > len(everyone):
        raise MetaFaceError(
            f"The experiment needs twice as many people as it tests: {2 * people} for people={people}. '{faces.name}'"
            f" has {len(everyone)}. Choose people from 10 to {len(everyone) // 2}."
        )
    generator = torch.Generator().manual_seed(seed)
    everyone = everyone[torch.randperm(len(everyone), generator=generator)]
    tested, others = everyone[:people], everyone[people : 2 * people]

    rank = torch.zeros(len(faces), dtype=torch.int64)  # of each image among those of its person
    for person in everyone[: 2 * people]:
        own = (identity == person).nonzero().flatten()
        rank[own] = torch.arange(len(own))
    half = int(torch.bincount(identity)[everyone[: 2 * people]].min()) // 2
    if half < 2:
        raise MetaFaceError(f"The experiment needs at least 4 images of each person; '{faces.name}' has fewer.")
    first, second = rank < half, (rank >= half) & (rank < 2 * half)

    def images_of(who: Tensor, which: Tensor) -> Tensor:
        return torch.isin(identity, who) & which

    small = faces.to("cpu").resized(32)  # many times faster
    test = small.select(images_of(tested, second))
    shares = range(0, 101, STEP)

    def measure(kind: str, share: int) -> Evaluation:
        leaked = round(people * share / 100)
        own = images_of(tested[:leaked], second if kind == KINDS[0] else first)
        train = small.select(own | images_of(others[leaked:], first))
        learner = lda(train, components=2 * len(train) // 3)
        sampler = EpisodeSampler(test, ways=5, shots=1, queries=min(5, half - 1), seed=seed)
        return evaluate({"lda": learner}, sampler, episodes)["lda"]

    honest = measure(KINDS[0], 0)
    reported = {kind: [honest] for kind in KINDS}
    trainings = [(kind, share) for kind in KINDS for share in shares[1:]]
    for kind, share in Bar(trainings, "leak", "training", shown=progress):
        reported[kind].append(measure(kind, share))
    portraits = torch.stack([faces.images[images_of(person[None], second)][0] for person in tested])
    return Leak({kind: tuple(curve) for kind, curve in reported.items()}, portraits)


def measure(faces: FaceSet, people: int = PEOPLE, episodes: int = EPISODES) -> dict[str, Any]:
    """The stored result: for each of `KINDS` and each share in percent, accuracy and its intervals."""
    reported = leak_experiment(faces, people=people, episodes=episodes, progress=True).reported
    return {
        "reported": {
            kind: {str(STEP * i): evaluation.scores() for i, evaluation in enumerate(curve)}
            for kind, curve in reported.items()
        }
    }


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options: it takes less than a minute."""


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and store. Raises `MetaFaceError` where Olivetti is missing."""
    found = measure(load_faces("olivetti"))
    for kind, curve in found["reported"].items():
        print(
            f"{kind:30s} "
            + "  ".join(f"{share}%: {100 * curve[share]['accuracy']:.1f}" for share in ("0", "50", "100"))
        )
    stored.store(FILE, COMMAND, found)
