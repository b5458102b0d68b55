"""What adapting gains and costs: six learners before six cameras, and what remedies a trained ProtoNet has.

    metaface experiment adaptation --yale FOLDER

writes data/results/adaptation.json, which lesson 09 reads, and data/checkpoints/adaptation.pt, the learners of the
first seed. Trainings and measurements are parts in runs/adaptation, and are not repeated. Faces are procedural ones at
32×32, with new people for each seed. Where the folder of Extended Yale B is named, the same networks are also tried on
its real people, in lights that they never met.

The stored result; all accuracies are of 5-way tasks:

    tasks     of each seed, in each setting
    seeds     which were measured
    chosen    remedy → how its settings were chosen, on the validation people of all seeds (`Choice.scores`)
    costs     learner → seconds of its training, estimated from a few steps; remedy → images, labels, and ms. All on one
              thread, and of the processor
    settings  setting → what was found in it, over all seeds:
        accuracy  method → `Estimate.scores`
        hurt      learner after some steps → after fewer → the share of tasks in which the further steps cost accuracy
        paired    method → another one → by how much it is better on the same tasks (`Difference.scores`)

A setting is a camera ("cheap webcam, 4-shot"), a condition of the usual camera ("queries turned, 1-shot"), a gallery
("gallery, noisy": support from the usual camera, queries from this one), or "extended yale b, 1-shot". A method is
"ProtoNet", a remedy of it such as "support statistics", or a learner after some inner steps, such as "MAML, 10 steps",
which in "same, 1-shot" is also measured at multiples of its learned rates ("MAML, 10 steps × 3").
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .. import checkpoints
from ..augmentation import Augment, Augmented
from ..deployment import Cameras, SupportStatistics, TaskByTask, Tent, fine_tuned, renormalised
from ..episodes import Episodes, EpisodeSampler, Examples, Sampler, condition
from ..errors import MetaFaceError, unknown
from ..evaluation import (
    Difference,
    Estimate,
    Evaluation,
    evaluate,
    from_json,
    join,
    paired,
    people_interval,
    student_t,
    to_json,
)
from ..faces import FaceSet, Split, load_faces
from ..faces.camera import CAMERAS
from ..learners.base import Adapts, MetaLearner
from ..learners.inner_loop import accuracy
from ..learners.maml import MAML
from ..learners.protomaml import ProtoMAML
from ..learners.protonet import ProtoNet
from ..networks import Classifier
from ..runs.making import make_learner
from ..runs.recipes import FRACTIONS, settings_of
from ..selection import Choice, choose
from ..training import Trained, meta_train
from . import stored

FILE = stored.RESULTS / "adaptation.json"
WEIGHTS = stored.CHECKPOINTS / "adaptation.pt"
COMMAND = "metaface experiment adaptation"

# ----------------------------------------------------------------------------------------------------------- learners

LEARNERS = {
    "MAML": "maml",
    "ANIL": "anil",
    "Meta-SGD": "metasgd",
    "ProtoMAML": "protomaml",
    "ProtoMAML from ProtoNet": "protomaml",
    "ProtoNet": "protonet",
}
FROM = {"ProtoMAML from ProtoNet": "ProtoNet"}  # whose embedding is the start of its training
STEPS = {"maml": 150, "anil": 270, "metasgd": 150, "protomaml": 130, "protonet": 450}  # in about as many seconds
WIDTH, SIZE = 24, 32
_FORMAT = 1


@functools.cache
def small_split(seed: int = 0) -> Split:
    """Procedural people of their own for each seed, at 32×32, divided into base, validation and novel."""
    return load_faces(f"procedural:seed={seed}").resized(SIZE).split(FRACTIONS, seed=seed)


def make(learner: str, seed: int = 0) -> MetaLearner:
    """A fresh one: the recipe of `metaface train`, but for a narrower network and smaller images."""
    return make_learner(settings_of(learner, seed=seed, width=WIDTH), (3, SIZE, SIZE))


def train(
    learner: str,
    base: FaceSet,
    seed: int = 0,
    steps: int | None = None,
    start: ProtoNet | None = None,
    progress: bool = False,
) -> Trained:
    """Meta-train a learner.

    learner: one of the values of `LEARNERS`.
    base: the people to learn from.
    seed: of weights and episodes; 0.
    steps: of training; `STEPS` of the learner if None.
    start: for ProtoMAML, a trained network whose embedding it starts from; a fresh one if None.
    progress: show a bar; False.
    """
    settings = settings_of(learner, seed=seed, width=WIDTH)
    sampler: Sampler = EpisodeSampler(base, settings.ways, settings.shots, settings.queries, seed=seed)
    if settings.inner_steps is not None:
        sampler = Augmented(sampler, Augment(seed=seed))
    net = make(learner, seed)
    if start is not None:
        embedding = cast(Classifier, cast(ProtoMAML, net).network).embedding
        embedding.load_state_dict(dict(start.embedding.named_parameters()))  # its averages have no place in a TaskNorm
    return meta_train(
        net,
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
    (x, known), target = task.support, task.query.y
    prepared, rows = net.network_per_task.prepare(x), []
    with torch.enable_grad(), faster(net, factor):
        for weights in net.inner_loop(net.start(task.support), task.support, MOST):
            with torch.no_grad():
                support = net.network_per_task(weights, prepared)
                query = net.query_outputs(weights, x, task.query.x)
                loss = net.losses(query, target)[0]
            rows.append((accuracy(support, known)[0], accuracy(query, target)[0], loss, query[0].argmax(-1)))
    path = Steps(*map(torch.stack, zip(*rows, strict=True)))
    if not path.loss.isfinite().all():
        raise MetaFaceError("The loss of the queries is no longer finite: the inner loop diverges.")
    return path


# ------------------------------------------------------------------------------------------------- what is compared

TASKS = 120  # of each seed, in each setting
SEEDS = (0, 1, 2, 3, 4)
SHOTS = (1, 4)
GLIMPSES = (0, 1, MOST)  # inner steps after which accuracy is measured
CLOSELY = ("same", WEBCAM)  # cameras by which also 1 step is measured; by the webcam all remedies
FACTORS = (0.3, 3.0, 8.0)  # of the inner rates
IMAGES = (5, 20, 100)  # unlabelled ones, of the new camera
PRIOR = 20.0  # images that the old statistics count for
# People, and images of each. Half of Extended Yale B has fewer people than the second: its "many" are 14 × 5.
LABELS = {"fine-tuned on few labels": (5, 4), "fine-tuned on many labels": (20, 5)}
NONE = "ProtoNet"  # without a remedy
SUPPORT = "support statistics"
ENTROPY, WHOLE, STATISTICS = "entropy only", "Tent", "task statistics"  # both halves of Tent, and the halves alone
YALE = "extended yale b"

# Settings of remedies, which validation people choose by the cheap webcam: by remedy, the candidates.
RATES = {f"{rate:g}": rate for rate in (0.01, 0.03, 0.1, 0.3, 1.0)}
TUNING = {f"{steps} steps at {rate:g}": (steps, rate) for steps in (20, 60) for rate in (1e-3, 3e-3, 1e-2)}
CANDIDATES: dict[str, dict[str, Any]] = {ENTROPY: RATES, WHOLE: RATES, **dict.fromkeys(LABELS, TUNING)}
Chosen = Mapping[str, Any]  # remedy → its settings

Packed = dict[str, Any]  # evaluations on the same tasks, by method, as `to_json` packs them


@dataclass
class After:
    """A learner after some inner steps. A task in which its inner loop diverges counts as guessed.

    net: the learner.
    steps: how many.
    factor: of its inner rates; 1.
    """

    net: MAML
    steps: int
    factor: float = 1.0

    def adapt(self, support: Examples) -> _After:
        """Keep the support sets; the inner loops run with the queries. See `learners.base.Adapts`."""
        self.net.check(support)
        return _After(self, support)


@dataclass
class _After:
    method: After
    support: Examples

    def predict(self, x: Tensor) -> Tensor:
        """The logits `[T, Q, N]` of images `[T, Q, C, H, W]`."""
        method = self.method
        try:
            method.net.test_steps = method.steps
            with faster(method.net, method.factor):
                return method.net.adapt(self.support).predict(x)
        except MetaFaceError:  # what diverges
            if len(x) == 1:
                return torch.zeros(1, x.shape[1], int(self.support.y.max()) + 1)
            tasks = [_After(method, Examples(s[None], y[None])) for s, y in zip(*self.support, strict=True)]
            return TaskByTask(tasks).predict(x)


def after_steps(nets: Mapping[str, MetaLearner], glimpses: Sequence[int]) -> dict[str, Adapts]:
    """The trained ProtoNet, and the learners with an inner loop after each of some numbers of steps.

    Without a step only a head of prototypes knows anything; the other heads guess.
    """
    found: dict[str, Adapts] = {NONE: cast(ProtoNet, nets[NONE])}
    for name, net in nets.items():
        if isinstance(net, MAML):
            found |= {after(name, n): After(net, n) for n in glimpses if n > 0 or isinstance(net, ProtoMAML)}
    return found


def after(name: str, steps: int) -> str:
    """What a learner after some inner steps is called in the result."""
    return f"{name}, {steps} step{'s' * (steps != 1)}"


def at_other_rates(nets: Mapping[str, MetaLearner]) -> dict[str, Adapts]:
    """The learners with an inner loop, after `MOST` steps at multiples of their learned rates."""
    return {
        f"{after(name, MOST)} × {factor:g}": After(net, MOST, factor)
        for name, net in nets.items()
        if isinstance(net, MAML)
        for factor in FACTORS
    }


def remedies(net: ProtoNet, other: FaceSet, chosen: Chosen, all_of_them: bool) -> dict[str, Adapts]:
    """A trained network as it is, and with its remedies for a new camera.

    net: the network.
    other: people from the new camera who are not tested. Remedies may see their images.
    chosen: the settings of remedies that have any.
    all_of_them: whether also with half of Tent, few images, a prior, and labels.
    """
    images = _some(other)
    found: dict[str, Adapts] = {
        NONE: net,
        SUPPORT: SupportStatistics(net),
        STATISTICS: Tent(net, steps=0),
        WHOLE: remedy_at(net, WHOLE, chosen[WHOLE], other),
        "statistics of 100": renormalised(net, images[:100]),
    }
    if all_of_them:
        for n in IMAGES:
            found[f"statistics of {n}"] = renormalised(net, images[:n])
            found[f"statistics of {n} + prior"] = renormalised(net, images[:n], PRIOR)
        found |= {name: remedy_at(net, name, chosen[name], other) for name in (ENTROPY, *LABELS)}
    return found


def _some(faces: FaceSet) -> Tensor:
    """The images of a face set in an order drawn by chance."""
    return faces.images[torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))]


def remedy_at(net: ProtoNet, remedy: str, settings: Any, other: FaceSet) -> Adapts:
    """A network with one of the remedies that have settings.

    net: the network.
    remedy: one of `CANDIDATES`.
    settings: a rate; for labels the steps and their rate.
    other: people from the new camera. The first images of the first of them are labelled.
    """
    if remedy in (ENTROPY, WHOLE):
        return Tent(net, rate=settings, statistics=remedy == WHOLE)
    people, each = LABELS[remedy]
    few = [(other.identity == person).nonzero().flatten()[:each] for person in other.identities[:people]]
    steps, rate = settings
    return fine_tuned(net, other.select(torch.cat(few)), steps, rate)


# ----------------------------------------------------------------------------------------------- parts, each measured


def train_part(seed: int, name: str, folder: Path) -> dict[str, int]:
    """Train a learner and keep its weights in the folder. Raises `KeyboardInterrupt` if the training is interrupted."""
    start = cast(ProtoNet, kept(seed, FROM[name], folder)) if name in FROM else None
    trained = train(LEARNERS[name], small_split(seed).base, seed, start=start)
    store_learners({name: trained.whole()}, _weights(seed, name, folder))
    return {"steps": trained.steps}


def _weights(seed: int, name: str, folder: Path) -> Path:
    return folder / f"{seed}-{_slug(name)}.pt"


def _slug(words: str) -> str:
    return words.replace(", ", "-").replace(" ", "-").lower()


def kept(seed: int, name: str, folder: Path) -> MetaLearner:
    """A learner that `train_part` has trained."""
    return load_learners(_weights(seed, name, folder))[name]


def tune_part(seed: int, remedy: str, folder: Path) -> Packed:
    """All candidates of a remedy on the validation people of a seed, 1-shot, by the cheap webcam."""
    net, split = cast(ProtoNet, kept(seed, "ProtoNet", folder)), small_split(seed)
    other, asked = (CAMERAS[WEBCAM].faces(faces, i) for i, faces in enumerate((split.base, split.validation), 1))
    methods: dict[str, Adapts] = {
        name: remedy_at(net, remedy, settings, other) for name, settings in CANDIDATES[remedy].items()
    }
    return to_json(evaluate(methods, sampler(asked, 1, "any", seed=2000), TASKS // 2))


def part(seed: int, setting: str, shots: int, group: str, chosen: Chosen, folder: Path) -> Packed:
    """Methods on the novel people of a seed.

    setting: a camera, or a condition of the usual camera.
    shots: support images of each person.
    group: which methods: "learners" beside ProtoNet, those "at other rates", or ProtoNet's "remedies".
    chosen: the settings of remedies.
    folder: where the learners are.
    """
    split, camera = small_split(seed), CAMERAS.get(setting, CAMERAS["same"])
    nets = {name: kept(seed, name, folder) for name in LEARNERS}
    if group == "remedies":
        other = camera.faces(split.base, 1)
        methods = remedies(cast(ProtoNet, nets[NONE]), other, chosen, setting == WEBCAM)
    else:
        glimpses = [n for n in GLIMPSES if n != 1 or setting in CLOSELY]
        methods = after_steps(nets, glimpses) if group == "learners" else at_other_rates(nets)
    name = "any" if setting in CAMERAS else setting
    return to_json(evaluate(methods, sampler(camera.faces(split.novel, 2), shots, name, seed=1000), TASKS))


def gallery_part(seed: int, camera: str, folder: Path) -> Packed:
    """Support from the usual camera, queries from the new one, 1-shot: whose statistics normalise which side?"""
    split, new = small_split(seed), CAMERAS[camera]
    net = cast(ProtoNet, kept(seed, "ProtoNet", folder))
    adapted = renormalised(net, _some(new.faces(split.base, 1))[:100])
    methods: dict[str, Adapts] = {
        "old statistics": net,
        "new ones for queries": Cameras(net, adapted),
        "new ones for both": adapted,
        SUPPORT: SupportStatistics(net),
        after("ANIL", MOST): After(cast(MAML, kept(seed, "ANIL", folder)), MOST),
    }
    episodes = EpisodeSampler(
        both_cameras(split.novel, new.faces(split.novel, 2)),
        WAYS,
        1,
        QUERIES,
        seed=1000,
        support_where={"camera": "old"},
        query_where={"camera": "new"},
    )
    return to_json(evaluate(methods, episodes, TASKS))


def both_cameras(old: FaceSet, new: FaceSet) -> FaceSet:
    """Every other picture by the old camera, the others by the new one, so that no picture is there twice."""
    old, new = (faces.select(torch.arange(i, len(faces), 2)) for i, faces in enumerate((old, new)))
    return FaceSet(
        torch.cat([old.images, new.images]),
        torch.cat([old.identity, new.identity]),
        {"camera": torch.cat([torch.zeros(len(old)), torch.ones(len(new))]).long()},
        {"camera": ("old", "new")},
        names=old.names,
        synthetic=True,
    )


@functools.cache
def yale_faces(folder: str) -> FaceSet:
    """Extended Yale B as the networks take it. Raises `MetaFaceError` if the folder holds no such faces."""
    small = load_faces(f"extended-yale-b:{folder}").resized(SIZE)
    return replace(small, images=small.images.expand(-1, 3, -1, -1).contiguous())


def yale_part(seed: int, shots: int, group: str, chosen: Chosen, yale: str, folder: Path) -> list[Packed]:
    """Methods on real people, of both halves in turn: one half lends images to remedies, the other is tested."""
    faces = yale_faces(yale)
    half = len(faces.identities) // 2
    halves = [faces.of(faces.identities[:half]), faces.of(faces.identities[half:])]
    nets = {name: kept(seed, name, folder) for name in LEARNERS}
    found = []
    for other, asked in (halves, halves[::-1]):
        methods = (
            remedies(cast(ProtoNet, nets[NONE]), other, chosen, True)
            if group == "remedies"
            else after_steps(nets, (0, MOST))
        )
        found.append(to_json(evaluate(methods, sampler(asked, shots, "any", seed=1000 + seed), TASKS // 2)))
    return found


def costs_part(seed: int, chosen: Chosen, folder: Path) -> dict[str, dict[str, float]]:
    """What a training takes, learner by learner, and what a remedy takes; see the module."""
    net, split = cast(ProtoNet, kept(seed, "ProtoNet", folder)), small_split(seed)
    other = CAMERAS[WEBCAM].faces(split.base, 1)
    images, task = _some(other), sampler(other, 1, "any", seed=0).sample()
    found: dict[str, dict[str, float]] = {}
    few = 6  # steps of each training, whose time is taken
    for name, learner in LEARNERS.items():
        taken = _median_seconds(partial(train, learner, split.base, steps=few))
        found[name] = {"seconds": round(taken / few * STEPS[learner], 1)}
    for name, start in FROM.items():
        found[name]["seconds"] = round(found[name]["seconds"] + found[start]["seconds"], 1)

    def cost(remedy: str, images: int, labels: int, function: Callable[[], Any]) -> None:
        found[remedy] = {"images": images, "labels": labels, "ms": round(1000 * _median_seconds(function), 1)}

    def answered(method: Adapts) -> Callable[[], Tensor]:
        return lambda: method.adapt(task.support).predict(task.query.x)

    queries = len(task.query.y[0])
    cost(SUPPORT, 0, 0, answered(SupportStatistics(net)))
    cost(STATISTICS, queries, 0, answered(Tent(net, steps=0)))
    for name in (ENTROPY, WHOLE):
        cost(name, queries, 0, answered(remedy_at(net, name, chosen[name], other)))
    for n in IMAGES:
        cost(f"statistics of {n}", n, 0, partial(renormalised, net, images[:n]))
    for name, (people, each) in LABELS.items():
        cost(name, people * each, people * each, partial(remedy_at, net, name, chosen[name], other))
    return found


def _median_seconds(function: Callable[[], Any], times: int = 3) -> float:
    """Seconds of the processor, after a first call that does not count."""
    function()
    taken = []
    for _ in range(times):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


# ------------------------------------------------------------------------------------------------- all of it


def measure(seeds: Sequence[int], yale: str | None = None, jobs: int = 1) -> dict[str, Any]:
    """All seeds, and what they come to; see the module. Finished parts in runs/adaptation are not measured again.

    seeds: which. The first one's learners are stored in `WEIGHTS`.
    yale: the folder of Extended Yale B; None leaves it out.
    jobs: how many parts are measured side by side; 1.
    """
    of = {"steps": STEPS, "tasks": TASKS, "width": WIDTH, "size": SIZE, "candidates": CANDIDATES}
    parts = stored.Parts("adaptation", of)
    train_all(seeds, parts, jobs)
    choices = choose_settings(seeds, parts, jobs)
    chosen = {remedy: CANDIDATES[remedy][choice.best] for remedy, choice in choices.items()}

    parts = stored.Parts("adaptation", of | {"chosen": chosen, "images": IMAGES, "factors": FACTORS})
    wanted = wanted_parts(seeds, chosen, yale, parts.folder)
    found = parts.all({_file(*what): function for what, function in wanted.items()}, jobs)
    costs = parts("costs", partial(costs_part, seeds[0], chosen, parts.folder))
    store_learners({name: kept(seeds[0], name, parts.folder) for name in LEARNERS}, WEIGHTS)

    settings: dict[str, list[dict[str, Evaluation]]] = {}
    for seed, setting, group in wanted:
        by_seed = settings.setdefault(setting, [{} for _ in seeds])
        by_seed[seeds.index(seed)] |= _evaluations(found[_file(seed, setting, group)])
    return {
        "tasks": TASKS,
        "seeds": list(seeds),
        "chosen": {remedy: choice.scores() for remedy, choice in choices.items()},
        "costs": costs,
        "settings": {setting: summary(by_seed) for setting, by_seed in settings.items()},
    }


def train_all(seeds: Sequence[int], parts: stored.Parts, jobs: int) -> None:
    """Train the learners that are not kept yet. First those that others start from."""
    for first in (True, False):
        wanted = {(seed, name): f"train-{seed}-{_slug(name)}" for seed in seeds for name in LEARNERS}
        for (seed, name), part_name in wanted.items():
            if not _weights(seed, name, parts.folder).exists():
                parts.file(part_name).unlink(missing_ok=True)
        parts.all(
            {
                part_name: partial(train_part, seed, name, parts.folder)
                for (seed, name), part_name in wanted.items()
                if (name not in FROM) == first
            },
            jobs,
            "train",
        )


def choose_settings(seeds: Sequence[int], parts: stored.Parts, jobs: int) -> dict[str, Choice]:
    """By remedy the candidate that is best on the validation people of all seeds together."""
    wanted = {(remedy, seed): partial(tune_part, seed, remedy, parts.folder) for remedy in CANDIDATES for seed in seeds}
    found = parts.all({f"tune-{seed}-{_slug(remedy)}": do for (remedy, seed), do in wanted.items()}, jobs, "choose")
    choices = {}
    for remedy, tried in CANDIDATES.items():
        by_seed = [from_json(found[f"tune-{seed}-{_slug(remedy)}"]) for seed in seeds]
        joined = {name: join([several[name] for several in by_seed]) for name in tried}
        choices[remedy] = choose({name: name for name in tried}, joined.__getitem__)
    return choices


def wanted_parts(
    seeds: Sequence[int], chosen: Chosen, yale: str | None, folder: Path
) -> dict[tuple[int, str, str], Callable[[], Any]]:
    """What measures each part, by seed, setting and group of methods. What matters most comes first."""
    wanted: dict[tuple[int, str, str], Callable[[], Any]] = {}

    def want(setting: str, shots: int, group: str) -> None:
        for seed in seeds:
            what = seed, f"{setting}, {shots}-shot", group
            wanted[what] = partial(part, seed, setting, shots, group, chosen, folder)

    cameras = [*CLOSELY[::-1], *(name for name in CAMERAS if name not in CLOSELY)]
    for camera in cameras[:2]:
        for shots in SHOTS:
            for group in ("learners", "remedies"):
                want(camera, shots, group)
    if yale is not None:
        for shots in SHOTS:
            for group in ("learners", "remedies"):
                for seed in seeds:
                    function = partial(yale_part, seed, shots, group, chosen, yale, folder)
                    wanted[seed, f"{YALE}, {shots}-shot", group] = function
    for camera in cameras:
        if camera != "same":
            for seed in seeds:
                wanted[seed, f"gallery, {camera}", "gallery"] = partial(gallery_part, seed, camera, folder)
    for camera in cameras[2:]:
        for shots in SHOTS:
            for group in ("remedies", "learners"):
                want(camera, shots, group)
    for setting in CONDITIONS:
        if setting != "any" and setting != f"a {WEBCAM}":
            want(setting, 1, "learners")
    want("same", 1, "at other rates")
    return wanted


def _file(seed: int, setting: str, group: str) -> str:
    return f"{seed}-{_slug(setting)}-{_slug(group)}"


def _evaluations(packed: Packed | list[Packed]) -> dict[str, Evaluation]:
    """By method, of a part's tasks, or of several parts' one after the other."""
    several = [from_json(packed)] if isinstance(packed, Mapping) else [from_json(each) for each in packed]
    return {name: join([each[name] for each in several]) for name in several[0]}


def summary(seeds: Sequence[Mapping[str, Evaluation]]) -> dict[str, Any]:
    """Accuracies and differences of a setting; see the module.

    seeds: of each seed the evaluations by method, all on the same tasks.
    """
    accuracies: dict[str, Any] = {}
    hurt: dict[str, dict[str, float]] = {}
    differences: dict[str, dict[str, Any]] = {}
    for name in seeds[0]:
        ours = [seed[name] for seed in seeds]
        accuracies[name] = _accuracy(ours).scores()
        for other in compared_with(name, seeds[0]):
            theirs = [seed[other] for seed in seeds]
            differences.setdefault(name, {})[other] = paired(ours, theirs, shared=False).scores()
            if name.partition(",")[0] == other.partition(",")[0] and "×" not in name:
                worse = [(a.episodes < b.episodes).mean() for a, b in zip(ours, theirs, strict=True)]
                hurt.setdefault(name, {})[other] = round(float(statistics.mean(worse)), 4)
    return {"accuracy": accuracies, "hurt": hurt, "paired": differences}


def _accuracy(seeds: Sequence[Evaluation]) -> Estimate:
    means = [evaluation.accuracy for evaluation in seeds]
    return Estimate(
        statistics.mean(means),
        over_people=people_interval([(evaluation.episodes, evaluation) for evaluation in seeds]),
        over_seeds=student_t(means) if len(means) > 1 else None,
    )


def compared_with(name: str, methods: Collection[str]) -> list[str]:
    """The methods that a method is compared with, of those that are measured beside it."""
    learner, _, end = name.partition(", ")
    others = [NONE, SUPPORT, "old statistics"]
    if end.startswith(f"{MOST} steps"):
        others += [after(learner, steps) for steps in GLIMPSES]
    elif end:
        others.append(after(learner, 0))
    if name in (after("ANIL", MOST), after("Meta-SGD", MOST), after("ProtoMAML", 0)):
        others.append(after("MAML", MOST))
    if name.startswith("fine-tuned") or name in ("statistics of 5", "statistics of 20", WHOLE):
        others.append("statistics of 100")
    if name == WHOLE:
        others += [STATISTICS, ENTROPY]
    if name.endswith(" + prior"):
        others.append(name.removesuffix(" + prior"))
    return [other for other in dict.fromkeys(others) if other in methods and other != name]


def difference(found: Mapping[str, Any], setting: str, name: str, other: str) -> Difference:
    """By how much a method is better than another in a setting of the stored result, all seeds together.

    Raises `MetaFaceError` if these were not compared.
    """
    for what, where in ((setting, found["settings"]), (name, found["settings"].get(setting, {}).get("paired", {}))):
        if what not in where:
            raise unknown("setting or method", what, where)
    others = found["settings"][setting]["paired"][name]
    if other not in others:
        raise unknown("comparison", other, others)
    return Difference.from_scores(others[other])


# ------------------------------------------------------------------------------------------------------------- command


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Seeds, where Extended Yale B is, and how many parts side by side."""
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--yale", metavar="FOLDER", help="of Extended Yale B, cropped: CroppedYale")
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` at the end, if the folder that was named holds no such faces."""
    torch.set_num_threads(1)
    yale, missing = arguments.yale, None
    if yale:
        try:
            yale_faces(yale)
        except MetaFaceError as error:
            yale, missing = None, error
    found = measure(arguments.seeds, yale, arguments.jobs)
    seeds = " ".join(map(str, arguments.seeds))
    stored.store(FILE, f"{COMMAND} --seeds {seeds}{' --yale FOLDER' if yale else ''}", found)
    show(found)
    if missing:
        raise MetaFaceError(f"Not measured on Extended Yale B: {missing}") from missing


def show(found: Mapping[str, Any]) -> None:
    """Setting by setting the accuracies, and the differences to ProtoNet and to no inner step."""
    for setting, scores in found["settings"].items():
        print(setting)
        for name, accuracy_of in scores["accuracy"].items():
            others = scores["paired"].get(name, {})
            told = "; ".join(f"{Difference.from_scores(row)} than {other}" for other, row in others.items())
            print(f"  {name:32s} {Estimate.from_scores(accuracy_of)}; {told}")
