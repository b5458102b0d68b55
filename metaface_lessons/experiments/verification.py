"""Verification on LFW by ProtoNet, a margin loss and the baselines, on pairs of people never trained on, three seeds.

metaface experiment verification [--seeds 0 1 2] [--runs runs/verification]

writes data/results/verification-lfw.json, which lesson 07 and the README read. Each learner trains with its recipe
(`metaface train`) on one thread for `STEPS` steps, about 180 seconds of one core. Pairs, thresholds and intervals are
those of `metaface evaluate --protocol pairs`; the 5-way 1-shot accuracy is on the same people. A training that was
interrupted goes on, and one that is done is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA

from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import evaluate, mean_over_seeds
from ..faces import FaceSet, load_faces
from ..faces.pairs import draw_pairs
from ..learners.baselines import FixedFeatures, baselines, pixels
from ..learners.protonet import ProtoNet
from ..paths import DATA, write_atomically
from ..runs.protocols import DEVIATION, FAR, SCORES, cross_verify
from ..runs.recipes import FRACTIONS, PAIRS, settings_of
from ..runs.run import load_run, train
from ..verification import Comparer, Verification
from .stored import about

STEPS = {"protonet": 1560, "arcface": 1560}
TRAINED = ("steps", "base_eer", "base_threshold_far")
JOBS = (*STEPS, "baselines")
EPISODES = 200


def whitened_pca(base: FaceSet, components: int = 100) -> ProtoNet:
    """Eigenfaces with equal variances, compared by their cosine."""
    features = pixels().embedding
    model = PCA(components, whiten=True, random_state=0).fit(features(base.images).numpy())
    return ProtoNet(FixedFeatures(lambda x: model.transform(features(x).numpy()).astype(np.float32)), distance="cosine")


def measure(job: str, seed: int, runs: Path) -> dict[str, dict[str, Any]]:
    """By method, one trained or all others: verification of the seed's novel people, and 5-way 1-shot accuracy."""
    methods: dict[str, Any] = {}
    if job in STEPS:
        train(settings_of(job, "lfw", seed), runs / f"{job}-{seed}", steps=STEPS[job], progress=False)
        run = load_run(runs / f"{job}-{seed}")
        split, methods[job] = run.split, run.learner
    else:
        split = load_faces("lfw").split(FRACTIONS, seed=seed)
        methods = {**baselines(split.base), "whitened pca": whitened_pca(split.base)}
        methods["lda, squared"] = ProtoNet(methods["lda"].embedding, distance="squared")
    pairs = draw_pairs(split.novel, PAIRS, folds=2, seed=seed)
    known = draw_pairs(split.base.of(split.base.identities[: len(split.novel.identities)]), PAIRS, seed=seed)
    episodes = evaluate(methods, EpisodeSampler(split.novel, 5, 1, 4, seed=seed), EPISODES)
    found = {}
    for name, method in methods.items():
        comparer = Comparer(method.embedding, split.base.shape, getattr(method, "distance", "cosine"))
        verified = cross_verify(comparer.score_pairs(pairs), pairs)
        far, tar, _ = verified.pairs.roc()
        at = np.linspace(0, 1, 101) ** 2  # more points where FAR is small
        found[name] = {
            **verified.scores(),
            "1-shot": episodes[name].scores(),
            "roc": [[round(float(f), 4), round(float(np.interp(f, far, tar)), 4)] for f in at],
        }
        if job in STEPS:  # what a threshold is worth that comes from as many people who were trained on
            trained_on = Verification(comparer.score_pairs(known), known.people.numpy())
            found[name] |= {
                "steps": STEPS[job],
                "base_eer": round(trained_on.eer, 4),
                "base_threshold_far": round(verified.pairs.rates(trained_on.threshold_at_far(FAR))[0], 4),
            }
    return found


def collect(seeds: dict[int, dict[str, dict[str, Any]]], people: int) -> dict[str, Any]:
    """The means over the seeds of each method, and every seed's own figures."""
    methods: dict[str, Any] = {}
    for name in dict.fromkeys(name for found in seeds.values() for name in found):
        own = [found[name] for found in seeds.values() if name in found]
        methods[name] = {
            "seeds": len(own),
            **mean_over_seeds([{key: result[key] for key in SCORES} for result in own], DEVIATION),
            "1-shot": mean_over_seeds([result["1-shot"] for result in own]),
            **{key: round(statistics.mean(r[key] for r in own), 4) for key in TRAINED if key in own[0]},
            "roc": np.mean([result["roc"] for result in own], axis=0).round(4).tolist(),
        }
    return {
        **about(f"metaface experiment verification --seeds {' '.join(map(str, seeds))}"),
        "protocol": "pairs of novel people in two halves; the threshold of each half is chosen on the other",
        "category": "unrestricted, no outside data",
        "pairs": 2 * PAIRS,
        "people": people,
        "far": FAR,
        "methods": methods,
        "seeds": {
            str(seed): {name: {k: v for k, v in row.items() if k != "roc"} for name, row in found.items()}
            for seed, found in seeds.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/verification"), help="where trainings lie")
    parser.add_argument("--jobs", nargs="+", default=JOBS, choices=JOBS, help="what to measure that is not yet")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    try:
        faces = load_faces("lfw")
    except MetaFaceError as error:
        print(f"Not measured: {error}", file=sys.stderr)
        return 0
    found: dict[int, dict[str, dict[str, Any]]] = {seed: {} for seed in asked.seeds}
    for seed in asked.seeds:
        for job in JOBS:
            done = asked.runs / f"found-{job}-{seed}.json"
            if job in asked.jobs and not done.exists():
                write_atomically(done, json.dumps(measure(job, seed, asked.runs)).encode())
            if done.exists():
                found[seed] |= json.loads(done.read_text())
    novel = len(faces.split(FRACTIONS).novel.identities)
    file = DATA / "results" / "verification-lfw.json"
    write_atomically(file, (json.dumps(collect(found, novel)) + "\n").encode())
    for name, row in json.loads(file.read_text())["methods"].items():
        cells = [
            f"{key} {100 * row[key]:5.1f} {[round(100 * end, 1) for end in row[f'{key}95']]}"
            for key in ("accuracy", "eer", "tar")
        ]
        print(f"{name:14s} {'  '.join(cells)}  1-shot {100 * row['1-shot']['accuracy']:.1f}; {row['seeds']} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
