"""Verification on LFW by ProtoNet, a margin loss and the baselines, on pairs of people never trained on, three seeds.

Each learner trains with its recipe (`metaface train`) on one thread for `STEPS` steps, about 180 seconds of one core.
Pairs, thresholds and intervals are those of `metaface evaluate --protocol pairs`. The 5-way 1-shot accuracy is on the
same people.

Trainings and finished parts are kept in runs/verification. The same command goes on where it was interrupted.

The stored result, data/results/verification-lfw.json, has

- protocol, category, pairs, people, far: what was measured;
- methods: by name, the means over the seeds: accuracy, eer, auc and tar at that far, each with its interval over people
  (accuracy95, …) and its deviation over seeds (accuracy_deviation, …); 1-shot; roc, pairs of FAR and TAR; how many
  seeds; and of what was trained steps, base_eer and base_threshold_far, the FAR on strangers of the threshold that has
  `far` on people who were trained on;
- seeds: by seed and name the same, without deviations and roc.

Newer files also have

- paired: for accuracy (of pairs) and 1-shot, the more accurate method and the other, their difference on the same pairs
  or episodes with 95% intervals over people and seeds; the latter is corrected, because the seeds divide the same
  people again;
- people_of: by seed, the genuine and impostor pairs that a person is in, and how many of them each method accepted;
- evaluations: by seed, how many answers about whom were right in the 1-shot episodes (`evaluation.from_json`).
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ..episodes import EpisodeSampler
from ..evaluation import Difference, evaluate, from_json, mean_over_seeds, over_seeds, to_json
from ..faces import FaceSet, Split, load_faces
from ..faces.pairs import draw_pairs
from ..learners.baselines import FixedFeatures, baselines, pixels
from ..learners.protonet import ProtoNet
from ..runs.protocols import DEVIATION, FAR, SAMPLES, SCORES, cross_verify
from ..runs.recipes import FRACTIONS, PAIRS, settings_of
from ..verification import Comparer, Verification, paired_bootstrap
from . import stored

FILE = stored.RESULTS / "verification-lfw.json"
COMMAND = "metaface experiment verification"
FACES = "lfw"
STEPS = {"protonet": 1560, "arcface": 1560}
SEEDS = (0, 1, 2)
EPISODES = 200
TRAINED = ("steps", "base_eer", "base_threshold_far")
BASELINES = "baselines"  # the part that measures them all


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def whitened_pca(base: FaceSet, components: int = 100) -> ProtoNet:
    """Eigenfaces with equal variances, compared by their cosine."""
    features = pixels().embedding
    model = PCA(components, whiten=True, random_state=0).fit(features(base.images).numpy())
    return ProtoNet(FixedFeatures(lambda x: model.transform(features(x).numpy()).astype(np.float32)), distance="cosine")


def _methods(
    faces: str, job: str, seed: int, steps: Mapping[str, int], parts: stored.Parts
) -> tuple[Split, dict[str, Any]]:
    """The seed's division of the people, and what was trained on its base people: one learner, or all others."""
    if job in steps:
        run = stored.trained(settings_of(job, faces, seed), parts.folder / f"{job}-{seed}", steps[job])
        return run.split, {job: run.learner}
    split = load_faces(faces).split(FRACTIONS, seed=seed)
    methods = {**baselines(split.base), "whitened pca": whitened_pca(split.base)}
    methods["lda, squared"] = ProtoNet(methods["lda"].embedding, distance="squared")
    return split, methods


def _part(
    faces: str, job: str, seed: int, steps: Mapping[str, int], each: int, episodes: int, parts: stored.Parts
) -> dict[str, Any]:
    """Verification of the seed's novel people by one learner or by all others, and 5-way 1-shot accuracy.

    Returns the scores of each method, which pairs it accepts, whom the pairs are of, and the episodes' counts.
    """
    split, methods = _methods(faces, job, seed, steps, parts)
    pairs = draw_pairs(split.novel, each, folds=2, seed=seed)
    known = draw_pairs(split.base.of(split.base.identities[: len(split.novel.identities)]), each, seed=seed)
    one_shot = evaluate(methods, EpisodeSampler(split.novel, 5, 1, 4, seed=seed), episodes)
    found, accepted = {}, {}
    for name, method in methods.items():
        comparer = Comparer(method.embedding, split.base.shape, getattr(method, "distance", "cosine"))
        verified = cross_verify(comparer.score_pairs(pairs), pairs)
        accepted[name] = (verified.margins.scores >= 0).astype(int).tolist()
        far, tar, _ = verified.pairs.roc()
        at = np.linspace(0, 1, 101) ** 2  # more points where FAR is small
        found[name] = {
            **verified.scores(),
            "1-shot": one_shot[name].scores(),
            "roc": [[round(float(f), 4), round(float(np.interp(f, far, tar)), 4)] for f in at],
        }
        if job in steps:  # what a threshold is worth that comes from as many people who were trained on
            trained_on = Verification(comparer.score_pairs(known), known.people.numpy())
            found[name] |= {
                "steps": steps[job],
                "base_eer": round(trained_on.eer, 4),
                "base_threshold_far": round(verified.pairs.rates(trained_on.threshold_at_fmr(FAR))[0], 4),
            }
    return {
        "methods": found,
        "people": pairs.people.tolist(),
        "accepted": accepted,
        "evaluations": to_json(one_shot),
    }


def measure(
    faces: str = FACES,
    seeds: Sequence[int] = SEEDS,
    steps: Mapping[str, int] = STEPS,
    each: int = PAIRS,
    episodes: int = EPISODES,
    work: Path = stored.WORK,
) -> dict[str, Any]:
    """The stored result; see the module for what it has.

    faces: the name of the face set.
    seeds: each divides the people in another way.
    steps: of each learner that trains.
    each: pairs of one person, and as many of two.
    episodes: 5-way 1-shot.
    work: the folder of trainings and finished parts.

    Raises `MetaFaceError` if the faces are missing or too few.
    """
    everyone = load_faces(faces)
    split = everyone.split(FRACTIONS, seed=seeds[0])
    of = {"faces": faces, "steps": dict(steps), "each": each, "episodes": episodes}
    parts = stored.Parts("verification", of, work)

    def part(job: str, seed: int) -> Any:
        return parts(f"{job}-{seed}", functools.partial(_part, faces, job, seed, steps, each, episodes, parts))

    found = {seed: [part(job, seed) for job in (*steps, BASELINES)] for seed in seeds}
    return {
        "protocol": "pairs of novel people in two halves; the threshold of each half is chosen on the other",
        "category": "unrestricted, no outside data",
        "pairs": 2 * each,
        "people": len(split.novel.identities),
        "far": FAR,
        **collect(found, test_share=len(split.novel.identities) / len(split.base.identities), everyone=everyone),
    }


def collect(found: Mapping[int, Sequence[Mapping[str, Any]]], test_share: float, everyone: FaceSet) -> dict[str, Any]:
    """What the parts of all seeds say together: means, every seed's own scores, and paired differences.

    found: the parts of each seed, those that trained first.
    test_share: the people of a test for each one of training.
    everyone: the faces, for the people's names.
    """
    seeds = {seed: stored.joined(part["methods"] for part in parts) for seed, parts in found.items()}
    one_shot = [stored.joined(from_json(part["evaluations"]) for part in parts) for parts in found.values()]
    judged = [stored.joined(map(_judged, parts)) for parts in found.values()]
    methods = {}
    for name in next(iter(seeds.values())):
        own = [row[name] for row in seeds.values()]
        rest = [{key: row[key] for key in (*TRAINED, "1-shot", "roc") if key in row} for row in own]
        methods[name] = {
            "seeds": len(own),
            **mean_over_seeds([{key: row[key] for key in SCORES} for row in own], DEVIATION),
            **mean_over_seeds(rest),
        }
    return {
        "methods": methods,
        "seeds": {
            str(seed): {name: {k: v for k, v in row.items() if k != "roc"} for name, row in rows.items()}
            for seed, rows in seeds.items()
        },
        "paired": {"accuracy": _differences(judged, test_share), "1-shot": stored.differences(one_shot, test_share)},
        "people_of": {str(seed): _people_of(rows, everyone) for seed, rows in zip(found, judged, strict=True)},
        "evaluations": {str(seed): to_json(row) for seed, row in zip(found, one_shot, strict=True)},
    }


def _judged(part: Mapping[str, Any]) -> dict[str, Verification]:
    """The pairs of a part by method. Those that it accepted score above 0."""
    people = np.array(part["people"])
    return {name: Verification(np.array(accepted) - 0.5, people) for name, accepted in part["accepted"].items()}


def _accuracy(judged: Verification) -> float:
    return judged.accuracy(0.0)


def _differences(seeds: Sequence[Mapping[str, Verification]], test_share: float) -> dict[str, dict[str, Any]]:
    """As `stored.differences`, for pairs that are accepted (scores above 0) or refused."""
    mean = {name: np.mean([_accuracy(judged[name]) for judged in seeds]) for name in seeds[0]}
    ranked = sorted(mean, key=lambda name: -mean[name])

    def between(better: str, other: str) -> dict[str, Any]:
        several = []
        for judged in seeds:
            a, b = judged[better], judged[other]
            low, high = paired_bootstrap(a, b, _accuracy, SAMPLES)
            several.append(Difference(_accuracy(a) - _accuracy(b), over_people=(high - low) / 2))
        if len(several) == 1:
            return several[0].scores()
        return over_seeds(several, shared=True, test_share=test_share).scores()

    return {better: {other: between(better, other) for other in ranked[i:]} for i, better in enumerate(ranked[:-1], 1)}


def _people_of(judged: Mapping[str, Verification], everyone: FaceSet) -> dict[str, Any]:
    """For every person the pairs that they are in, and how many of them each method accepted, as lines of numbers."""
    pairs = next(iter(judged.values()))
    people = np.unique(pairs.people)

    mine = (pairs.people == people[:, None, None]).any(axis=-1)  # [I, P]

    def counts(which: NDArray[np.bool_]) -> dict[str, str]:
        kinds = {"genuine": which & pairs.same, "impostor": which & ~pairs.same}
        return {kind: " ".join(map(str, (mine & those).sum(axis=1))) for kind, those in kinds.items()}

    return {
        "people": [everyone.name_of(int(person)) for person in people],
        "pairs": counts(np.ones(len(mine[0]), dtype=bool)),
        "accepted": {name: counts(found.scores > 0) for name, found in judged.items()},
    }


def show(found: Mapping[str, Any]) -> None:
    """Print a result, as `measure` returns it."""
    for name, row in found["methods"].items():
        cells = [
            f"{key} {100 * row[key]:5.1f} {[round(100 * end, 1) for end in row[f'{key}95']]}"
            for key in ("accuracy", "eer", "tar")
        ]
        print(f"{name:14s} {'  '.join(cells)}  1-shot {100 * row['1-shot']['accuracy']:.1f}; {row['seeds']} seeds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which seeds."""
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` where LFW is missing."""
    torch.set_num_threads(1)
    found = measure(seeds=arguments.seeds)
    stored.store(FILE, f"{COMMAND} --seeds {' '.join(map(str, arguments.seeds))}", found)
    show(found)
