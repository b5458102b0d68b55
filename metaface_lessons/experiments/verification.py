"""Verification on LFW by ProtoNet, a margin loss and the baselines, on pairs of people never trained on, five seeds.

Each learner trains for `STEPS` steps of the same images, on the best device. Pairs, thresholds and intervals are those
of `metaface evaluate --protocol pairs`. The 5-way 1-shot accuracy is on the same people.

ArcFace is measured twice: with the scale s and the margin m that are best here, and with those of its paper. Its best
ones are chosen on people who are tested by no seed, by 1-shot accuracy after half the steps.

Trainings and finished parts are kept in runs/verification. The same command goes on where it was interrupted. `--long`
also trains ProtoNet and ArcFace four times as long, with the first seed.

The stored result, data/results/verification-lfw.json, has

- trained_on, protocol, category, pairs, people, far: on which devices the learners trained, and what was measured;
- methods: by name, the means over the seeds: accuracy, eer, auc and tar at that far, each with its interval over people
  (accuracy95, …) and its deviation over seeds (accuracy_deviation, …); 1-shot; roc, pairs of FAR and TAR; how many
  seeds; calibration: cllr, the lowest one (cllr_min) and a table of `BINS` rows (predicted chance that both photos show
  one person, share that do, pairs); and of what was trained steps, images, cpu_seconds_per_step (on one thread),
  base_eer and base_threshold_far, the FAR on strangers of the threshold that has `far` on people who were trained on;
- seeds: by seed and name the same, without deviations, roc and calibration table;
- paired: for accuracy (of pairs), cllr and 1-shot, the better method and the other, their difference on the same pairs
  or episodes with 95% intervals over people and seeds; the latter is corrected, because the seeds divide the same
  people again. It is above 0 where the first one is better, so that of cllr it is the other's minus the better one's;
- people_of: by seed, the genuine and impostor pairs that a person is in, and how many of them each method accepted;
- evaluations: by seed, how many answers about whom were right in the 1-shot episodes (`evaluation.from_json`);
- chosen: the choice of s and m: people who chose, steps, and what was tried (`selection.Choice.scores`);
- long, if it was asked for: steps; methods, by name for each of the steps accuracy, accuracy95 and 1-shot; paired, for
  each of the steps by how much the first method's accuracy of pairs is higher, over people.

A calibration is fitted on one half of the people and read on the other, both ways.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ..calibration import Calibration, calibration_table, cllr, lowest_cllr
from ..episodes import EpisodeSampler
from ..evaluation import (
    Difference,
    Estimate,
    evaluate,
    from_json,
    mean_over_seeds,
    over_seeds,
    people_interval,
    to_json,
)
from ..faces import FaceSet, Split, load_faces
from ..faces.pairs import Pairs, draw_pairs
from ..learners.baselines import FixedFeatures, baselines, pixels
from ..learners.protonet import ProtoNet
from ..machine import best_device
from ..runs.making import make_learner
from ..runs.protocols import DEVIATION, FAR, SAMPLES, SCORES, cross_verify
from ..runs.recipes import FRACTIONS, PAIRS, Settings, settings_of
from ..runs.run import Run
from ..selection import Choice, choose
from ..training import meta_train
from ..verification import Comparer, Floats, Verification, paired_bootstrap
from . import stored

FILE = stored.RESULTS / "verification-lfw.json"
COMMAND = "metaface experiment verification"
FACES = "lfw"
STEPS = 1560
SEEDS = (0, 1, 2, 3, 4)
EPISODES = 200
BINS = 10  # of the calibration table
TRAINED = ("steps", "images", "cpu_seconds_per_step", "base_eer", "base_threshold_far")
BASELINES = "baselines"  # the part that measures them all

Plan = Mapping[str, Any]  # settings of a learner, in place of its recipe's
PAPER: Plan = {"scale": 64.0, "margin": 0.5}  # Deng et al. 2019, section 3.1
# A grid, and then around its best, which lay at its edge.
_TRIED = [(10, 0.1), (10, 0.3), (20, 0.1), (20, 0.3), (40, 0.1), (40, 0.3), (5, 0.3), (5, 0.5), (10, 0.5)]
CANDIDATES: dict[str, Plan] = {f"s {s}, m {m}": {"scale": s, "margin": m} for s, m in _TRIED}
CANDIDATES["s 64, m 0.5"] = PAPER
AS_PUBLISHED = "arcface, s 64, m 0.5"
LONG = (390, 780, 1560, 3120, 6240)  # the steps after which the long trainings are evaluated


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def estimate(found: Mapping[str, Any], name: str, score: str) -> Estimate:
    """A method's score with its intervals over people and over seeds, from a stored result.

    found: the result, as `load` returns it.
    name: of the method.
    score: "accuracy", "eer" or "tar" of pairs, or "1-shot"; of a method that trains also "base_eer" and
        "base_threshold_far", over seeds alone.
    """
    row, seeds = found["methods"][name], found["seeds"].values()
    values, over_people = [seed[name][score] for seed in seeds], None
    if score == "1-shot":
        tests = [from_json(test)[name] for test in found["evaluations"].values()]
        values = [test.accuracy for test in tests]
        over_people = people_interval([(test.episodes, test) for test in tests])
    elif f"{score}95" in row:
        low, high = row[f"{score}95"]
        over_people = (high - low) / 2
    base, _, novel = FRACTIONS
    over = over_seeds(values, shared=True, test_share=novel / base)
    return replace(over, over_people=over_people)


def whitened_pca(base: FaceSet, components: int = 100) -> ProtoNet:
    """Eigenfaces with equal variances, compared by their cosine."""
    features = pixels().embedding
    model = PCA(components, whiten=True, random_state=0).fit(features(base.images).numpy())
    return ProtoNet(FixedFeatures(lambda x: model.transform(features(x).numpy()).astype(np.float32)), distance="cosine")


def learner_settings(name: str, faces: str, seed: int, chosen: Plan) -> Settings:
    """The settings of a method that trains.

    name: "protonet", "arcface" or `AS_PUBLISHED`.
    faces: the name of the face set.
    seed: of the training.
    chosen: ArcFace's scale and margin; ProtoNet has none.
    """
    given: dict[str, Plan] = {"arcface": chosen, AS_PUBLISHED: PAPER}
    return settings_of(name.partition(",")[0], faces, seed, **given.get(name, {}))


def trained(name: str, faces: str, seed: int, steps: int, folder: Path, chosen: Plan) -> Run:
    """The training of a method that the experiment keeps, made if it is not there.

    name, faces, seed, chosen: see `learner_settings`.
    steps: of the training.
    folder: of the experiment's trainings.
    """
    return stored.trained(learner_settings(name, faces, seed, chosen), folder / f"{_slug(name)}-{seed}", steps)


def _slug(name: str) -> str:
    """A method's name in the name of a file."""
    return name.replace(" ", "-")


def _comparer(method: Any, split: Split) -> Comparer:
    return Comparer(method.embedding, split.base.shape, getattr(method, "distance", "cosine"))


def _classical(split: Split) -> dict[str, ProtoNet]:
    methods = {**baselines(split.base), "whitened pca": whitened_pca(split.base)}
    methods["lda, squared"] = ProtoNet(methods["lda"].embedding, distance="squared")
    return methods


def _part(
    faces: str, name: str, seed: int, steps: int, each: int, episodes: int, folder: Path, chosen: Plan
) -> dict[str, Any]:
    """Verification of the seed's novel people by one learner or by all others, and 5-way 1-shot accuracy.

    Returns the scores of each method, which pairs it accepts, its log-likelihood ratios, whom the pairs are of, and the
    episodes' counts.
    """
    methods: dict[str, Any]
    if name == BASELINES:
        split = load_faces(faces).split(FRACTIONS, seed=seed)
        methods = dict(_classical(split))
    else:
        run = trained(name, faces, seed, steps, folder, chosen)
        split, methods = run.split, {name: run.learner}
    pairs = draw_pairs(split.novel, each, folds=2, seed=seed)
    part = measured(methods, split, pairs, seed, episodes)
    if name != BASELINES:  # what a threshold is worth that comes from as many people who were trained on
        known = draw_pairs(split.base.of(split.base.identities[: len(split.novel.identities)]), each, seed=seed)
        comparer = _comparer(methods[name], split)
        trained_on = Verification(comparer.score_pairs(known), known.people.numpy())
        strangers = Verification(comparer.score_pairs(pairs), pairs.people.numpy())
        part["methods"][name] |= {
            "steps": steps,
            "images": steps * images_of_step(run.settings),
            "trained_on": run.record["machine"]["device"],
            "base_eer": round(trained_on.eer, 4),
            "base_threshold_far": round(strangers.rates(trained_on.threshold_at_fmr(FAR))[0], 4),
        }
    return part


def images_of_step(settings: Settings) -> int:
    """How many images a step of training sees."""
    return settings.tasks * settings.ways * (settings.shots + settings.queries)


def measured(methods: Mapping[str, Any], split: Split, pairs: Pairs, seed: int, episodes: int) -> dict[str, Any]:
    """What each method scores on pairs, calibrated ones too, and on 5-way 1-shot episodes of the novel people.

    methods: by name, learners with an embedding.
    split: the people.
    pairs: of novel people, in folds.
    seed: of the episodes.
    episodes: how many.
    """
    one_shot = evaluate(methods, EpisodeSampler(split.novel, 5, 1, 4, seed=seed), episodes)
    found, accepted, ratios = {}, {}, {}
    for name, method in methods.items():
        verified = cross_verify(_comparer(method, split).score_pairs(pairs), pairs)
        llr = cross_calibrated(verified.pairs.scores, pairs)
        same = verified.pairs.same
        accepted[name] = (verified.margins.scores >= 0).astype(int).tolist()
        ratios[name] = llr.round(3).tolist()
        far, tar, _ = verified.pairs.roc()
        at = np.linspace(0, 1, 101) ** 2  # more points where FAR is small
        found[name] = {
            **verified.scores(),
            "1-shot": one_shot[name].scores(),
            "calibration": {
                "cllr": round(cllr(llr, same), 4),
                "cllr_min": round(lowest_cllr(verified.pairs.scores, same), 4),
            },
            "roc": [[round(float(f), 4), round(float(np.interp(f, far, tar)), 4)] for f in at],
        }
    return {
        "methods": found,
        "people": pairs.people.tolist(),
        "accepted": accepted,
        "llr": ratios,
        "evaluations": to_json(one_shot),
    }


def cross_calibrated(scores: Floats, pairs: Pairs) -> Floats:
    """ln LR of each pair, by the calibration that is fitted on all other folds, which share no person with it.

    scores: of the pairs, `[P]`.
    pairs: the pairs, with their folds.
    """
    people, fold = pairs.people.numpy(), pairs.fold.numpy()
    same, llr = people[:, 0] == people[:, 1], np.empty_like(scores)
    for k in np.unique(fold):
        llr[fold == k] = Calibration.fit(scores[fold != k], same[fold != k]).llr(scores[fold == k])
    return llr


# -------------------------------------------------------------------------------------------------- parts of their own


def choosing(everyone: FaceSet, seeds: Sequence[int]) -> tuple[FaceSet, FaceSet]:
    """The people on whom settings are chosen: those to train on, and those who choose, whom no seed tests."""
    tested = torch.cat([everyone.split(FRACTIONS, seed=seed).novel.identities for seed in seeds]).unique()
    never = everyone.identities[~torch.isin(everyone.identities, tested)]
    return everyone.of(tested), everyone.of(never)


def _candidate(faces: str, plan: Plan, seeds: Sequence[int], steps: int, episodes: int) -> dict[str, Any]:
    """The 1-shot accuracy of ArcFace with this scale and margin, on the people who choose."""
    base, choosers = choosing(load_faces(faces), seeds)
    settings = settings_of("arcface", faces, seeds[0], **plan)
    device = best_device()
    net = make_learner(settings, base.shape, base.identities).to(device)
    ways = min(settings.ways, len(base.identities))
    sampler = EpisodeSampler(base.to(device), ways, settings.shots, settings.queries, seed=settings.seed)
    learner = meta_train(net, sampler, steps=steps, rate=settings.rate, progress=False).whole().cpu()
    return to_json(evaluate({"": learner}, EpisodeSampler(choosers, 5, 1, 4, seed=settings.seed), episodes))


def _seconds(settings: Settings, steps: int = 30) -> float:
    """Processor seconds of a step of training, on one thread of the CPU, after a few steps to warm up."""
    base = load_faces(settings.faces).split(FRACTIONS, seed=settings.seed).base
    net = make_learner(settings, base.shape, base.identities)
    sampler = EpisodeSampler(base, settings.ways, settings.shots, settings.queries)
    threads, marks = torch.get_num_threads(), list[float]()
    torch.set_num_threads(1)
    try:
        meta_train(net, sampler, steps=steps + 5, progress=False, on_step=lambda *_: marks.append(time.process_time()))
    finally:
        torch.set_num_threads(threads)
    return round((marks[-1] - marks[4]) / steps, 4)


def _curve(
    parts: stored.Parts, faces: str, name: str, seed: int, at: Sequence[int], each: int, episodes: int, chosen: Plan
) -> list[dict[str, Any]]:
    """What one long training scores after each of `at` steps. Each is a part too, so that the training can go on."""

    def point(steps: int) -> dict[str, Any]:
        run = trained(name, faces, seed, steps, parts.folder / "long", chosen)
        pairs = draw_pairs(run.split.novel, each, folds=2, seed=seed)
        part = measured({name: run.learner}, run.split, pairs, seed, episodes)
        scores = {key: part["methods"][name][key] for key in ("accuracy", "accuracy95", "1-shot")}
        return {**scores, **{key: part[key] for key in ("accepted", "people")}}

    return [parts(f"long-{name}-{steps}", partial(point, steps)) for steps in at]


# ------------------------------------------------------------------------------------------------------ the experiment


def measure(
    faces: str = FACES,
    seeds: Sequence[int] = SEEDS,
    steps: int = STEPS,
    each: int = PAIRS,
    episodes: int = EPISODES,
    candidates: Mapping[str, Plan] = CANDIDATES,
    long: Sequence[int] = (),
    jobs: int = 1,
    work: Path = stored.WORK,
) -> dict[str, Any]:
    """The stored result; see the module for what it has.

    faces: the name of the face set.
    seeds: each divides the people in another way.
    steps: of each learner that trains.
    each: pairs of one person, and as many of two.
    episodes: 5-way 1-shot.
    candidates: by name, the scales and margins to choose from.
    long: the steps after which the long trainings are evaluated; none are made if empty.
    jobs: parts side by side.
    work: the folder of trainings and finished parts.

    Raises `MetaFaceError` if the faces are missing or too few.
    """
    everyone = load_faces(faces)
    split = everyone.split(FRACTIONS, seed=seeds[0])
    of = {"faces": faces, "steps": steps, "each": each, "episodes": episodes}

    choice_of = {"faces": faces, "seeds": list(seeds), "steps": steps // 2, "episodes": episodes}
    choice_parts = stored.Parts("verification/choice", choice_of, work)
    tried = choice_parts.all(
        {
            _slug(name): partial(_candidate, faces, plan, seeds, steps // 2, episodes)
            for name, plan in candidates.items()
        },
        jobs,
        "choose s and m",
    )
    evaluations = dict(zip(candidates, (from_json(part)[""] for part in tried.values()), strict=True))
    choice: Choice = choose({name: name for name in candidates}, evaluations.__getitem__)
    chosen = candidates[choice.best]

    parts = stored.Parts("verification", of | {"chosen": chosen}, work)
    learners = ("protonet", "arcface", AS_PUBLISHED)
    wanted: dict[str, Callable[[], Any]] = {
        f"{_slug(name)}-{seed}": partial(_part, faces, name, seed, steps, each, episodes, parts.folder, chosen)
        for seed in seeds
        for name in (*learners, BASELINES)
    }
    wanted |= {
        f"seconds-{_slug(name)}": partial(_seconds, learner_settings(name, faces, seeds[0], chosen))
        for name in learners
    }
    wanted |= {
        f"long-{name}": partial(_curve, parts, faces, name, seeds[0], long, each, episodes, chosen)
        for name in (learners[:2] if long else ())
    }
    found = parts.all(wanted, jobs)
    for name in learners:
        for seed in seeds:
            found[f"{_slug(name)}-{seed}"]["methods"][name]["cpu_seconds_per_step"] = found[f"seconds-{_slug(name)}"]
    by_seed = {seed: [found[f"{_slug(name)}-{seed}"] for name in (*learners, BASELINES)] for seed in seeds}
    trained_on = {
        part["methods"][name].pop("trained_on")
        for parts in by_seed.values()
        for name, part in zip(learners, parts, strict=False)
    }
    result = {
        "trained_on": ", ".join(sorted(trained_on)),
        "protocol": "pairs of novel people in two halves; the threshold of each half is chosen on the other",
        "category": "unrestricted, no outside data",
        "pairs": 2 * each,
        "people": len(split.novel.identities),
        "far": FAR,
        **collect(by_seed, test_share=len(split.novel.identities) / len(split.base.identities), everyone=everyone),
        "chosen": {"people": len(choosing(everyone, seeds)[1].identities), "steps": steps // 2, **choice.scores()},
    }
    if long:
        result["long"] = _long(long, {name: found[f"long-{name}"] for name in learners[:2]})
    return result


def _long(steps: Sequence[int], curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The curves of two long trainings, and their difference after each of `steps`."""
    between = []
    for rows in zip(*curves.values(), strict=True):
        one, other = (next(iter(_judged(row).values())) for row in rows)
        low, high = paired_bootstrap(one, other, _accuracy, SAMPLES)
        between.append(Difference(_accuracy(one) - _accuracy(other), over_people=(high - low) / 2).scores())
    kept = ("accuracy", "accuracy95", "1-shot")
    return {
        "steps": list(steps),
        "methods": {name: [{key: row[key] for key in kept} for row in rows] for name, rows in curves.items()},
        "paired": between,
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
    ratios = [stored.joined(map(_ratios, parts)) for parts in found.values()]
    methods = {}
    for name in next(iter(seeds.values())):
        own = [row[name] for row in seeds.values()]
        rest = [{key: row[key] for key in (*TRAINED, "1-shot", "calibration", "roc") if key in row} for row in own]
        methods[name] = {
            "seeds": len(own),
            **mean_over_seeds([{key: row[key] for key in SCORES} for row in own], DEVIATION),
            **mean_over_seeds(rest),
        }
        llr, same = (np.concatenate([getattr(row[name], key) for row in ratios]) for key in ("scores", "same"))
        methods[name]["calibration"]["table"] = [
            [round(predicted, 4), round(share, 4), count]
            for predicted, share, count in calibration_table(llr, same, BINS)
        ]
    return {
        "methods": methods,
        "seeds": {
            str(seed): {name: {k: v for k, v in row.items() if k != "roc"} for name, row in rows.items()}
            for seed, rows in seeds.items()
        },
        "paired": {
            "accuracy": _differences(judged, _accuracy, test_share),
            "cllr": _differences(ratios, _worth, test_share),
            "1-shot": stored.differences(one_shot, test_share),
        },
        "people_of": {str(seed): _people_of(rows, everyone) for seed, rows in zip(found, judged, strict=True)},
        "evaluations": {str(seed): to_json(row) for seed, row in zip(found, one_shot, strict=True)},
    }


def _judged(part: Mapping[str, Any]) -> dict[str, Verification]:
    """The pairs of a part by method. Those that it accepted score above 0."""
    people = np.array(part["people"])
    return {name: Verification(np.array(accepted) - 0.5, people) for name, accepted in part["accepted"].items()}


def _ratios(part: Mapping[str, Any]) -> dict[str, Verification]:
    """The pairs of a part by method, scored by ln LR."""
    people = np.array(part["people"])
    return {name: Verification(np.array(llr), people) for name, llr in part["llr"].items()}


def _accuracy(judged: Verification) -> float:
    return judged.accuracy(0.0)


def _worth(ratios: Verification) -> float:
    """Minus C_llr, so that more is better."""
    return -cllr(ratios.scores, ratios.same, ratios.weights)


def _differences(
    seeds: Sequence[Mapping[str, Verification]], statistic: Callable[[Verification], float], test_share: float
) -> dict[str, dict[str, Any]]:
    """As `stored.differences`, for a statistic of pairs that is better where it is higher."""
    mean = {name: np.mean([statistic(judged[name]) for judged in seeds]) for name in seeds[0]}
    ranked = sorted(mean, key=lambda name: -mean[name])

    def between(better: str, other: str) -> dict[str, Any]:
        several = []
        for judged in seeds:
            a, b = judged[better], judged[other]
            low, high = paired_bootstrap(a, b, statistic, SAMPLES)
            several.append(Difference(statistic(a) - statistic(b), over_people=(high - low) / 2))
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
        one_shot, bits = 100 * row["1-shot"]["accuracy"], row["calibration"]["cllr"]
        print(f"{name:20s} {'  '.join(cells)}  1-shot {one_shot:.1f}  C_llr {bits:.2f}; {row['seeds']} seeds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which seeds, whether the long trainings are made as well, how many jobs."""
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--long", action="store_true", help="train ProtoNet and ArcFace four times as long as well")
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` where LFW is missing."""
    found = measure(seeds=arguments.seeds, long=LONG if arguments.long else (), jobs=arguments.jobs)
    options = f"--seeds {' '.join(map(str, arguments.seeds))}{' --long' * arguments.long}"
    stored.store(FILE, f"{COMMAND} {options}", found)
    show(found)
