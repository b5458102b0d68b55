"""What adapting gains and costs: inner steps of four learners, and a trained ProtoNet before a new camera.

    metaface experiment adaptation --seeds 0 1 2 --yale FOLDER

writes data/results/adaptation.json, which lesson 09 reads, and data/checkpoints/adaptation.pt, the learners of the
first seed. Trainings and measurements are parts in runs/adaptation, and are not repeated. Everything runs on one
thread; seconds and milliseconds are of the processor. Faces are procedural ones at 32×32. Where the folder of Extended
Yale B is named, the networks of the first seed are also tried on it: on a camera and lights that they never met.

The stored result; all accuracies are of 5-way tasks:

    tasks      of a measurement; where there are many, it has fewer
    seeds      seed → its scores:
        seconds          learner → of its training
        protonet         "1-shot", "4-shot" → accuracy, ci95, ci95_people by the usual camera
        inner loop       learner → "1-shot", "4-shot" → steps, and for each of them query, support (accuracies),
                         query_ci95, gain_ci95 (of the difference to no step), hurt (share of tasks that are worse off);
                         rates; of the first seed also factors (factor of the rates → "1-shot") and conditions
                         (condition → the same scores). Rates that make the inner loop diverge give {"diverges": true}.
        cameras          camera → remedy → "1-shot", "4-shot" → scores; images and labels that it takes, and its ms.
                         Cameras other than the cheap webcam: the first seed alone, with two remedies
        gallery          camera → what is adapted → scores: support from the usual camera, queries from this one
        extended yale b  remedy → as in cameras, on real faces; the first seed alone, where they were there

Files that were measured from December 2026 on also have

    paired     differences on the same tasks with their intervals (`Difference.scores`), over the seeds that measured
               them, positive if the one named last is better:
               "MAML, 1-shot" → "10 steps": minus no step
               "cheap webcam, 1-shot" → remedy: minus "none"; likewise "extended yale b, 1-shot"
               "gallery, cheap webcam" → what is adapted: minus "old statistics"
    by_person  by the same names, the answers about each person (`people_to_json`): a list, since remedies that take
               long are measured on fewer tasks
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from .. import checkpoints
from ..augmentation import Augment, Augmented
from ..deployment import Cameras, Tent, fine_tuned, renormalised
from ..episodes import Episodes, EpisodeSampler, Sampler, condition
from ..errors import MetaFaceError, unknown
from ..evaluation import Evaluation, evaluate, from_json, interval, join, paired, people_to_json, to_json
from ..faces import FaceSet, Split, load_faces
from ..faces.camera import CAMERAS
from ..learners.base import Adapts, MetaLearner
from ..learners.inner_loop import accuracy
from ..learners.maml import MAML
from ..learners.protonet import ProtoNet
from ..runs.making import make_learner
from ..runs.recipes import FRACTIONS, settings_of
from ..training import Trained, meta_train
from . import stored

FILE = stored.RESULTS / "adaptation.json"
WEIGHTS = stored.CHECKPOINTS / "adaptation.pt"
COMMAND = "metaface experiment adaptation"

# ----------------------------------------------------------------------------------------------------------- learners

LEARNERS = {"MAML": "maml", "ANIL": "anil", "Meta-SGD": "metasgd", "ProtoMAML": "protomaml", "ProtoNet": "protonet"}
STEPS = {"maml": 150, "anil": 270, "metasgd": 150, "protomaml": 130, "protonet": 450}  # in about as many seconds
WIDTH, SIZE = 24, 32
_FORMAT = 1


@functools.cache
def small_split(seed: int = 0) -> Split:
    """The default procedural faces at 32×32, divided by `seed`."""
    return load_faces("procedural").resized(SIZE).split(FRACTIONS, seed=seed)


def make(learner: str, seed: int = 0) -> MetaLearner:
    """A fresh one: the recipe of `metaface train`, but for a narrower network and smaller images."""
    return make_learner(settings_of(learner, seed=seed, width=WIDTH), (3, SIZE, SIZE))


def train(learner: str, base: FaceSet, seed: int = 0, steps: int | None = None, progress: bool = False) -> Trained:
    """Meta-train a fresh learner.

    learner: one of the values of `LEARNERS`.
    base: the people to learn from.
    seed: of weights and episodes.
    steps: of training; `STEPS` of the learner if None.
    progress: show a bar.
    """
    settings = settings_of(learner, seed=seed, width=WIDTH)
    sampler: Sampler = EpisodeSampler(base, settings.ways, settings.shots, settings.queries, seed=seed)
    if settings.inner_steps is not None:
        sampler = Augmented(sampler, Augment(seed=seed))
    return meta_train(
        make(learner, seed),
        sampler,
        steps=STEPS[learner] if steps is None else steps,
        tasks=settings.tasks,
        rate=settings.rate,
        progress=progress,
    )


def store_learners(learners: Mapping[str, MetaLearner], path: Path = WEIGHTS) -> None:
    """Write the weights of learners by their names in `LEARNERS`."""
    weights = {
        name: {k: v for k, v in net.state_dict().items() if not k.endswith("_extra_state")}
        for name, net in learners.items()
    }
    checkpoints.store(path, {"format": _FORMAT, "weights": weights})


def load_learners(path: Path = WEIGHTS) -> dict[str, MetaLearner]:
    """The trained learners by their names, in evaluation mode.

    Raises `MetaFaceError` if the file is missing, damaged or of another kind.
    """
    state = checkpoints.load(path, "weights", _FORMAT, COMMAND)
    learners = {}
    for name, weights in state["weights"].items():
        net = make(LEARNERS[name])
        extra = {k: v for k, v in net.state_dict().items() if k.endswith("_extra_state")}
        checkpoints.load_weights(net, weights | extra, path)
        learners[name] = net.eval()
    return learners


@contextmanager
def faster(net: MAML, factor: float) -> Iterator[None]:
    """Inside, all inner rates of `net` are `factor` times what they were."""
    rates = net.rates.detach().clone()
    net.rates.data *= factor
    try:
        yield
    finally:
        net.rates.data = rates


# ---------------------------------------------------------------------------------------------- tasks, and inner steps

WAYS, QUERIES, MOST = 5, 6, 10  # MOST: inner steps
WEBCAM = "cheap webcam"
CONDITIONS = {  # of a task → of its episodes (`episodes.CONDITIONS`)
    "any": "any",
    "queries turned": "queries turned",
    "queries lit from the side": "queries lit from the side",
    f"a {WEBCAM}": "any",
}


def seen(faces: FaceSet, name: str) -> FaceSet:
    """The faces as the camera of this condition takes them."""
    return CAMERAS[WEBCAM].faces(faces) if name == f"a {WEBCAM}" else faces


def sampler(faces: FaceSet, shots: int, name: str, seed: int) -> EpisodeSampler:
    """Tasks in a condition, of `QUERIES` queries a person.

    faces: as they are `seen` in it.
    shots: support images of each person.
    name: one of `CONDITIONS`.
    seed: of the tasks.

    Raises `MetaFaceError` for an unknown condition, and for too few people with images enough.
    """
    if name not in CONDITIONS:
        raise unknown("condition", name, CONDITIONS)
    return EpisodeSampler(faces, WAYS, shots, QUERIES, seed, *condition(CONDITIONS[name], faces))


def after_steps(net: MAML, tasks: Episodes, factor: float, steps: Collection[int]) -> list[tuple[Tensor, Tensor]]:
    """What T tasks are taken for after some inner steps: logits of the support sets and of the queries.

    net: the learner.
    tasks: T of them.
    factor: of its inner rates.
    steps: after which of 0 to `MOST` inner steps.

    Returns `[T, N·K, N]` and `[T, N·Q, N]` for each of `steps`. Raises `MetaFaceError` if the inner loop diverges.
    """
    x, _ = tasks.support
    prepared, found = net.network_per_task.prepare(x), []
    with torch.enable_grad(), faster(net, factor):
        for step, weights in enumerate(net.inner_loop(net.start(tasks.support), tasks.support, MOST)):
            if step in steps:
                with torch.no_grad():
                    known = net.network_per_task(weights, prepared)
                    found.append((known, net.query_outputs(weights, x, tasks.query.x)))
    return found


class Steps(NamedTuple):
    """A task before the first and after each inner step.

    support, query: accuracy on the support set and on the queries, `[MOST + 1]` each.
    loss: the queries' mean loss, `[MOST + 1]`.
    predicted: whom each query is taken for, int64 `[MOST + 1, N·Q]`.
    """

    support: Tensor
    query: Tensor
    loss: Tensor
    predicted: Tensor


def path_of(net: MAML, task: Episodes, factor: float) -> Steps:
    """The path of one task with `factor` times the inner rates. Raises `MetaFaceError` if the inner loop diverges."""
    known, target = task.support.y, task.query.y
    rows = []
    for support, query in after_steps(net, task, factor, range(MOST + 1)):
        loss = net.losses(query, target)[0].detach()
        rows.append((accuracy(support, known)[0], accuracy(query, target)[0], loss, query[0].argmax(-1)))
    path = Steps(*map(torch.stack, zip(*rows, strict=True)))
    if not path.loss.isfinite().all():
        raise MetaFaceError("The loss of the queries is no longer finite: the inner loop diverges.")
    return path


# ------------------------------------------------------------------------------------------------- what is measured

TASKS, GLANCE = 60, 10  # tasks of each measurement, and where there are many
SHOTS = (1, 4)
GLIMPSES = (0, 1, 2, 5, 10)  # inner steps after which accuracy is measured
FACTORS = (0.3, 3.0, 8.0)
IMAGES = (5, 20, 100)  # unlabelled ones, of the new camera
PRIOR = 20.0
NONE = "none"  # no remedy

# What is measured are scores, as they are stored, and evaluations by what is compared: packed by `to_json`, a list of
# those that share their tasks. The first method of each is what the others are compared with.
Packed = dict[str, list[Any]]


def paths(net: MAML, faces: FaceSet, shots: int, name: str, factor: float, tasks: int) -> tuple[dict[str, Any], Any]:
    """Mean accuracies of tasks after each of `GLIMPSES` inner steps, and their intervals over tasks.

    net: the learner.
    faces: of strangers.
    shots: support images of each person.
    name: of the condition.
    factor: of the inner rates.
    tasks: how many.

    Returns the scores, and the evaluations by the number of steps; None if the inner loop diverges.
    """
    seen_faces = seen(faces, name)
    episodes = sampler(seen_faces, shots, name, seed=1000).sample(tasks)
    try:
        found = after_steps(net, episodes, factor, GLIMPSES)
    except MetaFaceError:
        return {"diverges": True}, None
    evaluations = [_evaluation(seen_faces, episodes, query) for _, query in found]
    query = np.stack([evaluation.episodes for evaluation in evaluations])  # [len(GLIMPSES), T]
    gain = query - query[0]
    return {
        "steps": list(GLIMPSES),
        "query": _rounded(query.mean(1)),
        "support": _rounded([float(accuracy(support, episodes.support.y).mean()) for support, _ in found]),
        "query_ci95": _rounded(map(interval, query)),
        "gain_ci95": _rounded(map(interval, gain)),  # of the paired difference to no inner step
        "hurt": _rounded((gain < 0).mean(1)),  # share of tasks that are worse off than before
    }, to_json({f"{step} steps": evaluation for step, evaluation in zip(GLIMPSES, evaluations, strict=True)})


def _evaluation(faces: FaceSet, episodes: Episodes, logits: Tensor) -> Evaluation:
    """What these answers `[T, N·Q, N]` are worth."""
    label = episodes.query.y
    none = torch.zeros_like(episodes.identities)
    people, who = episodes.identities.unique(return_inverse=True)
    asked = none.scatter_add(1, label, torch.ones_like(label))
    right = none.scatter_add(1, label, (logits.argmax(dim=-1) == label).long())
    return Evaluation(right.numpy(), asked.numpy(), who.numpy(), tuple(faces.name_of(int(p)) for p in people))


def steps_and_rates(nets: Mapping[str, MetaLearner], novel: FaceSet) -> tuple[dict[str, Any], Packed]:
    """By learner: paths at its own rates, and these rates."""
    found: dict[str, Any] = {}
    packed: Packed = {}
    for name, net in nets.items():
        if isinstance(net, MAML):
            found[name] = {}
            for k in SHOTS:
                found[name][f"{k}-shot"], evaluations = paths(net, novel, k, "any", 1.0, TASKS)
                packed[f"{name}, {k}-shot"] = [evaluations] if evaluations else []
            rates = net.rates.detach()
            found[name]["rates"] = _rounded(rates.tolist()) if len(rates) < 30 else _spread(net)
    return found, packed


def elsewhere(nets: Mapping[str, MetaLearner], novel: FaceSet) -> dict[str, Any]:
    """By learner: paths at other rates, and in other conditions, on few tasks."""
    return {
        name: {
            "factors": {str(f): {"1-shot": paths(net, novel, 1, "any", f, 2 * GLANCE)[0]} for f in FACTORS},
            "conditions": {c: paths(net, novel, 1, c, 1.0, 2 * GLANCE)[0] for c in CONDITIONS},
        }
        for name, net in nets.items()
        if isinstance(net, MAML)
    }


def _spread(net: MAML) -> dict[str, Any]:
    """Of rates for each weight: mean, deviation and share below 0, layer by layer."""
    layers: dict[str, list[torch.Tensor]] = {}
    for name, rates in net.by_weight(net.rates.detach()).items():
        layers.setdefault(name.rpartition(".")[0], []).append(rates.flatten())
    joined = {name: torch.cat(parts) for name, parts in layers.items()}
    return {
        name: {"mean": float(r.mean()), "std": float(r.std()), "negative": float((r < 0).float().mean())}
        for name, r in joined.items()
    }


def accuracies(
    methods: Mapping[str, Adapts], faces: FaceSet, tasks: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """5-way 1-shot and 4-shot: by method its scores; and the evaluations, packed, by "1-shot" and "4-shot".

    methods: by name; the first is what the others are compared with.
    faces: of strangers.
    tasks: `TASKS` if None.
    """
    table: dict[str, Any] = {name: {} for name in methods}
    packed = {}
    for shots in SHOTS:
        found = evaluate(methods, EpisodeSampler(faces, 5, shots, 5, seed=1000), tasks or TASKS)
        packed[f"{shots}-shot"] = to_json(found)
        for name, result in found.items():
            table[name][f"{shots}-shot"] = result.scores()
    return table, packed


def _milliseconds(function: Any, *arguments: Any) -> tuple[Any, float]:
    start = time.process_time()
    made = function(*arguments)
    return made, round(1000 * (time.process_time() - start), 1)


def deployment(
    net: ProtoNet, nets: Mapping[str, MetaLearner], other: FaceSet, novel: FaceSet, camera: str
) -> tuple[dict[str, Any], Packed]:
    """Support and queries of the novel people from a new camera: what each remedy gains, and what it takes.

    net: a trained network, as it is.
    nets: learners with an inner loop, to be measured beside the remedies.
    other: people from the new camera who are not tested. Remedies may see their images.
    novel: the people who are tested.
    camera: what it is called.
    """
    order = torch.randperm(len(other), generator=torch.Generator().manual_seed(0))
    cost: dict[str, dict[str, float]] = {}
    methods: dict[str, Adapts] = {NONE: net}
    for n in IMAGES:
        for prior in (0.0, PRIOR):
            name = f"statistics of {n}" + (f", prior {prior:g}" if prior else "")
            methods[name], ms = _milliseconds(renormalised, net, other.images[order[:n]], prior)
            cost[name] = {"images": n, "labels": 0, "ms": ms}
    for people, each in ((5, 4), (20, 5)):
        name = f"fine-tuned on {people} people × {each}"
        methods[name], ms = _milliseconds(fine_tuned, net, _few(other, people, each))
        cost[name] = {"images": people * each, "labels": people * each, "ms": ms}
    table, packed = accuracies(methods, novel)
    rows = [packed]

    def measure_on_fewer(name: str, method: Adapts, tasks: int) -> None:
        """Beside the network without a remedy, which is measured on the same tasks again."""
        found, packed = accuracies({NONE: net, name: method}, novel, tasks)
        table[name] = found[name]
        rows.append(packed)

    task = EpisodeSampler(novel, 5, 1, 5, seed=0).sample()
    for rate in (0.1, 0.01):
        tent, name = Tent(net, rate=rate), f"Tent, 5 steps at {rate}"
        _, ms = _milliseconds(lambda tent: tent.adapt(task.support).predict(task.query.x), tent)
        cost[name] = {"images": len(task.query.y[0]), "labels": 0, "ms": ms}
        measure_on_fewer(name, tent, 2 * GLANCE)
    for name, learner in nets.items():
        if isinstance(learner, MAML):
            for steps in (0, MOST):
                learner.test_steps = steps
                measure_on_fewer(f"{name}, {steps} steps", learner, GLANCE)
    scores = {name: {**row, **cost.get(name, {})} for name, row in table.items()}
    return scores, {f"{camera}, {k}-shot": [row[f"{k}-shot"] for row in rows] for k in SHOTS}


def gallery(net: ProtoNet, old: FaceSet, new: FaceSet, other: FaceSet) -> tuple[dict[str, Any], Any]:
    """Support from the old camera, queries from the new: old statistics for all, new ones for queries, or for all.

    net: a trained network.
    old, new: the pictures of novel people by either camera; every other one of each is used, so that no picture is on
        both sides.
    other: people from the new camera.

    Returns the scores by what is adapted, and the evaluations, packed.
    """
    old, new = (faces.select(torch.arange(i, len(faces), 2)) for i, faces in enumerate((old, new)))
    adapted = renormalised(net, other.images[:: max(1, len(other) // 100)][:100], PRIOR)
    methods: dict[str, Adapts] = {
        "old statistics": net,
        "new ones for queries": Cameras(net, adapted),
        "new ones for both": adapted,
    }
    which = torch.cat([torch.zeros(len(old)), torch.ones(len(new))]).long()
    both = FaceSet(
        torch.cat([old.images, new.images]),
        torch.cat([old.identity, new.identity]),
        {"camera": which},
        {"camera": ("old", "new")},
        synthetic=True,
    )
    episodes = EpisodeSampler(both, 5, 1, 5, seed=1000, support_where={"camera": "old"}, query_where={"camera": "new"})
    found = evaluate(methods, episodes, TASKS)
    return {name: result.scores() for name, result in found.items()}, to_json(found)


def _few(faces: FaceSet, people: int, each: int) -> FaceSet:
    """The first `each` images of the first people."""
    chosen = [(faces.identity == person).nonzero().flatten()[:each] for person in faces.identities[:people]]
    return faces.select(torch.cat(chosen))


def on_camera(camera: str, nets: Mapping[str, MetaLearner], split: Split) -> tuple[dict[str, Any], Packed]:
    """A new camera: of the cheap webcam `deployment`, of others two rows of it; and the `gallery`.

    camera: one of `CAMERAS`.
    nets: "ProtoNet", and learners with an inner loop to be measured beside it.
    split: base people, by the new camera, lend images to remedies; novel people are tested.
    """
    net = cast(ProtoNet, nets["ProtoNet"])
    other, tested = (CAMERAS[camera].faces(faces, seed) for faces, seed in ((split.base, 1), (split.novel, 2)))
    if camera == WEBCAM:
        scores, packed = deployment(net, nets, other, tested, camera)
    else:
        rows: dict[str, Adapts] = {NONE: net, "statistics of 100": renormalised(net, other.images[::42], PRIOR)}
        scores, evaluations = accuracies(rows, tested)
        packed = {f"{camera}, {protocol}": [found] for protocol, found in evaluations.items()}
    beside, evaluations = gallery(net, split.novel, tested, other)
    return {"camera": scores, "gallery": beside}, {**packed, f"gallery, {camera}": [evaluations]}


def on_yale(nets: Mapping[str, MetaLearner], faces: FaceSet) -> tuple[dict[str, Any], Packed]:
    """Real people in lights that the networks never met: half of them give unlabelled images, half are tested."""
    small = faces.resized(SIZE)
    small = replace(small, images=small.images.expand(-1, 3, -1, -1).contiguous())
    half = len(small.identities) // 2
    other, novel = small.of(small.identities[:half]), small.of(small.identities[half:])
    return deployment(cast(ProtoNet, nets["ProtoNet"]), nets, other, novel, "extended yale b")


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]


# ------------------------------------------------------------------------------------------------- all of it


def learners(seed: int, parts: stored.Parts) -> tuple[dict[str, MetaLearner], dict[str, float]]:
    """All of them, trained on the base people of the seed's split, and the seconds that it took."""
    weights = parts.folder / f"{seed}.pt"

    def train_all() -> dict[str, float]:
        trained, seconds = {}, {}
        for name, learner in LEARNERS.items():
            start = time.process_time()
            trained[name] = train(learner, small_split(seed).base, seed).whole()
            seconds[name] = round(time.process_time() - start, 1)
            print(f"seed {seed}: {name} in {seconds[name]} s", flush=True)
        store_learners(trained, weights)
        return seconds

    if not weights.exists():
        parts.file(f"{seed}-seconds").unlink(missing_ok=True)
    seconds = parts(f"{seed}-seconds", train_all)
    return load_learners(weights), seconds


def measure_seed(seed: int, first: bool, yale: FaceSet | None, parts: stored.Parts) -> tuple[dict[str, Any], Packed]:
    """All scores of one seed, and all evaluations by what is compared.

    first: measure also what is measured with one seed alone.
    yale: Extended Yale B, for the first seed.
    parts: where what is finished is kept.
    """
    nets, seconds = learners(seed, parts)
    split = small_split(seed)
    found: dict[str, Any] = {"seconds": seconds}
    found["protonet"] = parts(f"{seed}-protonet", lambda: accuracies({"": nets["ProtoNet"]}, split.novel)[0][""])
    found["inner loop"], packed = parts(f"{seed}-inner-loop", lambda: steps_and_rates(nets, split.novel))
    if first:
        for name, row in parts(f"{seed}-elsewhere", lambda: elsewhere(nets, split.novel)).items():
            found["inner loop"][name] |= row
    found["cameras"], found["gallery"] = {}, {}
    for camera in CAMERAS if first else (WEBCAM,):
        beside = nets if first else {"ProtoNet": nets["ProtoNet"]}
        part = f"{seed}-{camera.replace(' ', '-')}{'-beside-learners' if first else ''}"
        scores, more = parts(part, partial(on_camera, camera, beside, split))
        found["cameras"][camera], found["gallery"][camera] = scores["camera"], scores["gallery"]
        packed |= more
        print(f"seed {seed}: {camera}", flush=True)
    if first and yale is not None:
        found["extended yale b"], more = parts(f"{seed}-yale-{len(yale)}", lambda: on_yale(nets, yale))
        packed |= more
    return found, packed


def measure(seeds: Sequence[int], yale: FaceSet | None = None) -> dict[str, Any]:
    """All seeds, and what they come to; see the module. Finished parts in runs/adaptation are not measured again.

    seeds: at least one. The first one's learners are stored in `WEIGHTS`.
    yale: Extended Yale B, as it is loaded; None leaves it out.
    """
    of = {"steps": STEPS, "tasks": [TASKS, GLANCE], "width": WIDTH, "size": SIZE, "images": IMAGES, "factors": FACTORS}
    parts = stored.Parts("adaptation", of)
    scores, packed = {}, []
    for seed in seeds:
        scores[str(seed)], evaluations = measure_seed(seed, seed == seeds[0], yale, parts)
        packed.append(evaluations)
    store_learners(learners(seeds[0], parts)[0], WEIGHTS)
    split = small_split(seeds[0])
    share = len(split.novel.identities) / len(split.base.identities)
    by_method = {what: _by_method([seed[what] for seed in packed if what in seed]) for what in packed[0]}
    return {
        "tasks": TASKS,
        "seeds": scores,
        "paired": {what: _paired(methods, share) for what, methods in by_method.items()},
        "by_person": {what: _by_person([seed[what] for seed in packed if what in seed]) for what in packed[0]},
    }


def _by_method(seeds: Sequence[Sequence[Any]]) -> dict[str, list[tuple[Evaluation, Evaluation]]]:
    """By method, for every seed that measured it, its evaluation and that of the first method on the same tasks."""
    found: dict[str, list[tuple[Evaluation, Evaluation]]] = {}
    for rows in seeds:
        for row in map(from_json, rows):
            (_, first), *others = row.items()
            for name, evaluation in others:
                found.setdefault(name, []).append((evaluation, first))
    return found


def _paired(methods: Mapping[str, Sequence[tuple[Evaluation, Evaluation]]], share: float) -> dict[str, Any]:
    found = {}
    for name, pairs in methods.items():
        ours, first = zip(*pairs, strict=True)
        found[name] = paired(ours, first, shared=True, test_share=share).scores()
    return found


def _by_person(seeds: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The answers about each person, all seeds together, for every set of methods that share their tasks."""
    rows: dict[tuple[str, ...], list[dict[str, Evaluation]]] = {}
    for row in (from_json(row) for seed in seeds for row in seed):
        rows.setdefault(tuple(row), []).append(row)
    return [
        people_to_json({name: join([row[name] for row in several]) for name in names})
        for names, several in rows.items()
    ]


# ------------------------------------------------------------------------------------------------------------- command


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Seeds, and where Extended Yale B is."""
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--yale", metavar="FOLDER", help="of Extended Yale B, cropped: CroppedYale")


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` at the end, if the folder that was named holds no such faces."""
    torch.set_num_threads(1)
    yale, missing = None, None
    if arguments.yale:
        try:
            yale = load_faces(f"extended-yale-b:{arguments.yale}")
        except MetaFaceError as error:
            missing = error
    found = measure(arguments.seeds, yale)
    seeds = " ".join(map(str, arguments.seeds))
    stored.store(FILE, f"{COMMAND} --seeds {seeds}{' --yale FOLDER' if yale else ''}", found)
    show(found)
    if missing:
        raise MetaFaceError(f"Not measured on Extended Yale B: {missing}") from missing


def show(found: Mapping[str, Any]) -> None:
    """The means over the seeds of what all of them measured, and the differences."""
    seeds = found["seeds"].values()
    for name in next(iter(seeds))["inner loop"]:
        cells = []
        for k in SHOTS:
            query = [s["inner loop"][name][f"{k}-shot"]["query"] for s in seeds]
            cells.append(" ".join(f"{100 * statistics.mean(at):5.1f}" for at in zip(*query, strict=True)))
        print(f"{name:10s} after 0, 1, 2, 5, 10 steps, 1-shot {cells[0]}; 4-shot {cells[1]}")
    for what, methods in found["paired"].items():
        for name, difference in methods.items():
            print(f"{what:26s} {name:30s} {100 * difference['mean']:+.1f}")
