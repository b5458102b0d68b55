"""Are the procedural faces a fair test? Easy when clean, hard for pixels and LDA under nuisance, learnable, no leak.

All accuracies are 5-way 1-shot, on novel people, in each domain (photo, sketch, near-infrared). A control sees a part
of the picture that says nothing of the face: its silhouette, the background without anybody, the mean brightness. For
the first two, the stronger of pixels and a ProtoNet trained on the control counts.

`metaface experiment fair_faces` writes data/results/fair-faces.json. Finished parts are kept in runs/fair_faces, and
the same command goes on after them. The result has

- people, images, steps, control_steps, episodes, seed: what was measured;
- domains: by domain the
  - rows: by name accuracy, ci95 and ci95_people, and the lowest and highest accuracy that a fair test allows;
  - paired: of ProtoNet, LDA and pixels under full nuisance, the more accurate one and the other, their difference on
    the same episodes with 95% intervals over people and episodes; it leaves out the luck of the one training;
  - evaluations: how many of their answers about whom were right (`evaluation.from_json` reads them).
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from ..episodes import EpisodeSampler
from ..evaluation import Evaluation, evaluate, from_json, to_json
from ..faces.controls import procedural_controls
from ..faces.faceset import FaceSet
from ..faces.procedural import DOMAINS, procedural_faces
from ..learners.baselines import brightness, lda, pixels
from ..learners.protonet import ProtoNet
from ..networks import Conv4
from ..training import meta_train
from . import stored

FILE = stored.RESULTS / "fair-faces.json"
COMMAND = "metaface experiment fair_faces"
WAYS, SHOTS, QUERIES = 5, 1, 5
CONTROLS = {"outline only": 0.35, "background only": 0.25}  # and the highest accuracy that is fair


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    people, images: how many people, and images of each.
    steps: of the ProtoNet that sees the faces.
    control_steps: of one that sees a control.
    episodes: of a test.
    seed: of the faces, the division of the people, the first weights and the episodes.
    """

    people: int = 300
    images: int = 20
    steps: int = 1200
    control_steps: int = 300
    episodes: int = 1000
    seed: int = 0


PLAN = Plan()


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def train(faces: FaceSet, steps: int, seed: int = 0, progress: bool = False) -> ProtoNet:
    """A Conv-4 ProtoNet from scratch, on 20-way 1-shot episodes of the base people."""
    split = faces.split(seed=seed)
    channels, size, _ = faces.shape
    net = ProtoNet(Conv4(channels, size, width=32, seed=seed), temperature=50, in_turn=True)
    ways = min(20, len(split.base.identities))
    sampler = EpisodeSampler(split.base, ways, SHOTS, queries=4, seed=seed)
    trained = meta_train(net, sampler, steps=steps, rate=3e-3, halve_every=500, progress=progress)
    if trained.stopped == "interrupted":
        raise KeyboardInterrupt
    return cast(ProtoNet, trained.learner)


def _test(faces: FaceSet, plan: Plan, **methods: ProtoNet) -> dict[str, Evaluation]:
    novel = faces.split(seed=plan.seed).novel
    return evaluate(methods, EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed=plan.seed + 1), plan.episodes)


def _clean(domain: str, plan: Plan) -> dict[str, Any]:
    faces = procedural_faces(plan.people, SHOTS + QUERIES, seed=plan.seed, nuisance="clean", domain=domain)
    return to_json(_test(faces, plan, pixels=pixels()))


def _full(domain: str, plan: Plan) -> dict[str, Any]:
    faces = procedural_faces(plan.people, plan.images, seed=plan.seed, domain=domain)
    base = faces.split(seed=plan.seed).base
    net = train(faces, plan.steps, plan.seed, progress=True)
    return to_json(_test(faces, plan, protonet=net, lda=lda(base), pixels=pixels(), brightness=brightness()))


def _control(name: str, domain: str, plan: Plan) -> dict[str, Any]:
    faces = procedural_controls(plan.people, plan.images, seed=plan.seed, domain=domain)[name]
    net = train(faces, plan.control_steps, plan.seed, progress=True)
    return to_json(_test(faces, plan, pixels=pixels(), protonet=net))


def measure(domains: Sequence[str] = DOMAINS, plan: Plan = PLAN, work: Path = stored.WORK) -> dict[str, Any]:
    """Render, train and evaluate; see the module for what the result has.

    domains: which.
    plan: how much.
    work: the folder of finished parts.
    """
    parts = stored.Parts("fair_faces", asdict(plan), work)

    def of(domain: str) -> dict[str, Any]:
        clean = from_json(parts(f"{domain}-clean", functools.partial(_clean, domain, plan)))
        full = from_json(parts(f"{domain}-full", functools.partial(_full, domain, plan)))
        mean = full.pop("brightness")
        rows = {
            "pixels, clean": _row(clean["pixels"], 0.95, 1),
            "pixels, full nuisance": _row(full["pixels"], 0.2, 0.45),
            "LDA, full nuisance": _row(full["lda"], 0.2, full["protonet"].accuracy - 0.15),
            "ProtoNet, full nuisance": _row(full["protonet"], 0.7, 0.92),
        }
        for name, highest in CONTROLS.items():
            seen = from_json(parts(f"{domain}-{name}", functools.partial(_control, name, domain, plan)))
            rows[name] = _row(max(seen.values(), key=lambda result: result.accuracy), 0, highest)
        rows["mean brightness only"] = _row(mean, 0, 0.25)
        return {"rows": rows, "paired": stored.differences([full]), "evaluations": to_json(full)}

    return {**asdict(plan), "domains": {domain: of(domain) for domain in domains}}


def _row(result: Evaluation, lowest: float, highest: float) -> dict[str, float]:
    return {**result.scores(), "lowest": lowest, "highest": round(highest, 4)}


def unfair(rows: Mapping[str, Mapping[str, float]], tolerance: float = 0.0) -> list[str]:
    """The rows of a domain that are out of their range, in words.

    tolerance: by how much an accuracy may be out of it, such as 0.02 for machines that round differently.
    """
    return [
        f"{name}: {100 * row['accuracy']:.1f} %, not in {100 * row['lowest']:.1f} to {100 * row['highest']:.1f}"
        for name, row in rows.items()
        if not row["lowest"] - tolerance <= row["accuracy"] <= row["highest"] + tolerance
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options: all domains are measured."""


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print."""
    found = measure()
    stored.store(FILE, COMMAND, found)
    for domain, result in found["domains"].items():
        print(f"\n{domain + ', 5-way 1-shot on novel people':40} accuracy          a fair test has")
        for name, row in result["rows"].items():
            accuracy, ci95, lowest, highest = (100 * row[key] for key in ("accuracy", "ci95", "lowest", "highest"))
            print(f"{name:40} {accuracy:5.1f} ± {ci95:3.1f} %   {lowest:5.1f} to {highest:5.1f}")
        for line in unfair(result["rows"]):
            print(f"Out of range: {line}")
