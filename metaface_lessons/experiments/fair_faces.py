"""Are the procedural faces a fair test? Easy when clean, hard for pixels and LDA under nuisance, learnable, no leak.

    python -m benchmarks.fair_test            # the table; minutes on two cores
    python -m benchmarks.fair_test --domain sketch --json

All figures are 5-way 1-shot accuracies on novel identities. A control sees a part of the picture that says nothing of
the face: its silhouette, the background without anybody, the mean brightness. There the stronger of nearest class mean
and a ProtoNet trained on it counts.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import cast

from ..episodes import EpisodeSampler
from ..evaluation import Evaluation, evaluate
from ..faces.controls import procedural_controls
from ..faces.faceset import FaceSet
from ..faces.procedural import DOMAINS, procedural_faces
from ..learners.baselines import brightness, lda, pixels
from ..learners.protonet import ProtoNet
from ..networks import Conv4
from ..training import meta_train

WAYS, SHOTS, QUERIES = 5, 1, 5


@dataclass(frozen=True)
class Figure:
    """An accuracy in percent, its 95 % interval over episodes, and the range that a fair test wants."""

    name: str
    accuracy: float
    ci95: float
    low: float
    high: float

    @property
    def fair(self) -> bool:
        return self.low <= self.accuracy <= self.high


def train(faces: FaceSet, steps: int, seed: int = 0, progress: bool = False) -> ProtoNet:
    """A Conv-4 ProtoNet from scratch on 20-way 1-shot episodes of the base people."""
    split = faces.split(seed=seed)
    channels, size, _ = faces.shape
    net = ProtoNet(Conv4(channels, size, width=32, seed=seed), temperature=50, in_turn=True)
    ways = min(20, len(split.base.identities))
    sampler = EpisodeSampler(split.base, ways, SHOTS, queries=4, seed=seed)
    trained = meta_train(net, sampler, steps=steps, rate=3e-3, halve_every=500, progress=progress)
    return cast(ProtoNet, trained.learner)


def measure(
    people: int = 300,
    images: int = 20,
    steps: int = 1200,
    control_steps: int = 300,
    episodes: int = 1000,
    seed: int = 0,
    progress: bool = True,
    domain: str = "photo",
) -> list[Figure]:
    """Render, train and evaluate; see the module."""

    def score(faces: FaceSet, **methods: ProtoNet) -> dict[str, Evaluation]:
        novel = faces.split(seed=seed).novel
        return evaluate(methods, EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed=seed + 1), episodes)

    def figure(name: str, result: Evaluation, low: float, high: float) -> Figure:
        return Figure(name, 100 * result.accuracy, 100 * result.ci95, low, high)

    def strongest(*results: Evaluation) -> Evaluation:
        return max(results, key=lambda result: result.accuracy)

    clean = procedural_faces(people, SHOTS + QUERIES, seed=seed, nuisance="clean", progress=progress, domain=domain)
    full = procedural_faces(people, images, seed=seed, progress=progress, domain=domain)
    base = full.split(seed=seed).base
    found = score(full, pixels=pixels(), lda=lda(base), protonet=train(full, steps, seed, progress))
    network, linear = found["protonet"], found["lda"]
    figures = [
        figure("pixels, clean", score(clean, pixels=pixels())["pixels"], 95, 100),
        figure("pixels, full nuisance", found["pixels"], 20, 45),
        figure("LDA, full nuisance", linear, 20, 100 * network.accuracy - 15),
        figure("ProtoNet, full nuisance", network, 70, 92),
    ]

    def control(faces: FaceSet) -> Evaluation:
        return strongest(*score(faces, pixels=pixels(), protonet=train(faces, control_steps, seed, progress)).values())

    controls = procedural_controls(people, images, seed=seed, domain=domain)
    figures += [
        figure("outline only", control(controls["outline only"]), 0, 35),
        figure("background only", control(controls["background only"]), 0, 25),
        figure("mean brightness only", score(full, mean=brightness())["mean"], 0, 25),
    ]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fair_test", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--steps", type=int, default=1200, help="training episodes of the ProtoNet")
    parser.add_argument("--episodes", type=int, default=1000, help="episodes that each figure is the mean of")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", default="photo", choices=DOMAINS)
    asked = parser.parse_args()
    figures = measure(
        steps=asked.steps,
        episodes=asked.episodes,
        seed=asked.seed,
        progress=not asked.json,
        domain=asked.domain,
    )
    if asked.json:
        print(json.dumps([{**vars(figure), "fair": figure.fair} for figure in figures], indent=2))
    else:
        print(f"{'5-way 1-shot on novel identities':34} accuracy          wanted")
        for f in figures:
            mark = "" if f.fair else "  <- out of range"
            print(f"{f.name:34} {f.accuracy:5.1f} ± {f.ci95:3.1f} %   {f.low:5.1f} to {f.high:5.1f}{mark}")
    return 0 if all(figure.fair for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
