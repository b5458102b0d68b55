"""Every learner of the course on the same people, the same episodes and the same computing time, with five seeds.

What is equal: the network (a Conv-4 with 32 filters in a layer), the people, the test episodes, and the seconds of one
core. What is not: an inner loop normalises each task by itself (`TaskNorm`) where the others have batch norm, and each
learner draws the training episodes of its recipe.

- **Seconds.** All learners make some steps in turn, round after round, in one process. The fastest round of each says
  what a step costs where nothing else disturbs it, in seconds of the processor, and so how many steps each makes in the
  budget. "Seconds" of a training are its steps times that cost. So nobody trains less because the machine was busy.
- **Settings.** Each learner chooses its outer rate among three, pre-training its batches too, and NCA its temperature:
  on people of a synthetic set that no result reports, after one training each, of the same seconds.
- **People.** Synthetic faces: new people for each seed, so seeds are independent. Real faces: each seed divides the
  same people again, so the interval over seeds is corrected.
- **Width.** The leaders train once more with 64 filters, in the same seconds.
- **learn2learn.** Its MAML has fixed inner rates and takes longer for a step. "learn2learn-longer" makes as many steps
  as our MAML, so it differs by the rates alone.
- **Time.** `--long` trains the leaders for 30 minutes with one seed. It is stored apart.

Trainings and finished parts are kept in runs/comparison. The same command goes on where it was interrupted.

The stored result, data/results/comparison-FACES.json, or comparison-long-FACES.json, has

- budget_seconds, ways, episodes, seeds: what was measured; people, trained_on: the people of a test and of a training;
- shared_people: whether the seeds divide the same people;
- chosen: by learner, its settings, and what was tried (`Choice.scores`);
- learners: by entry, 1-shot and 4-shot (`Estimate.scores`) and adaptation_ms; and of what was trained learner, width,
  steps, pace_ms (a step: the fastest, the middle and the slowest round), seconds, memory_mb and curve (at each share
  seconds and `Estimate.scores` of 4-shot);
- paired: by protocol, the more accurate entry and the other, their difference on the same episodes
  (`Difference.scores`);
- evaluations: by seed and protocol, how many answers about whom were right (`evaluation.from_json` reads them).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import (
    Difference,
    Estimate,
    Evaluation,
    evaluate,
    from_json,
    over_seeds,
    people_interval,
    student_t,
    to_json,
)
from ..faces import FaceSet, Split, load_faces
from ..figures import table
from ..learners.base import Adapts, MetaLearner
from ..learners.baselines import FixedFeatures, baselines
from ..learners.learn2learn_library import import_learn2learn
from ..learners.protonet import ProtoNet
from ..machine import peak_memory, resident_memory
from ..paths import write_atomically
from ..runs.making import make_learner, training_sampler
from ..runs.recipes import FRACTIONS, RECIPES, Settings, settings_of
from ..selection import Choice, choose
from ..training import meta_train
from . import stored

COMMAND = "metaface experiment comparison"
FACES = ("procedural", "lfw")
NEW_PEOPLE = ("procedural",)  # sets that draw new people for each seed
CHOSEN_ON = "procedural:seed=100"  # the people on whom settings are chosen; no seed of a result is so high
PROTOCOLS = {"1-shot": (1, 4), "4-shot": (4, 1)}  # shots and queries: five images of each person
CURVE = "4-shot"  # the protocol of the curves, and of what chooses
WAYS = 5
BASELINES = "baselines"  # the part that measures them all


@dataclass(frozen=True)
class Entry:
    """What takes part: a learner with so many filters.

    learner: its name.
    width: filters in a layer.
    steps_of: the entry that has as many steps; empty for those that fill the budget.
    """

    learner: str
    width: int = 32
    steps_of: str = ""


TRAINED = ("protonet", "nca", "pretrain", "anil", "maml", "learn2learn", "fomaml", "reptile")
LEADERS = ("protonet", "nca", "pretrain", "anil")  # a leader of each kind, by the first version of this experiment
ENTRIES = {
    **{name: Entry(name) for name in TRAINED},
    **{f"{name}-wide": Entry(name, width=64) for name in LEADERS},
    "learn2learn-longer": Entry("learn2learn", steps_of="maml"),
}


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    budget: seconds of one core for each training.
    entries: what trains, by name.
    shares: of a training, after which its accuracy is measured; the last one is 1.
    episodes: at the end of a training, for each protocol.
    glance: episodes at each of its shares.
    choice: seconds of one core for each training that chooses; 0 to take the recipes as they are.
    choosing: episodes that choose.
    rounds: in which the time of a step is measured.
    """

    budget: float
    entries: tuple[str, ...]
    shares: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
    episodes: int = 250
    glance: int = 60
    choice: float = 60
    choosing: int = 250
    rounds: int = 25


SEEDS = (0, 1, 2, 3, 4)
MINUTE = Plan(60, tuple(ENTRIES))
HALF_HOUR = Plan(
    1800, LEADERS, shares=(1 / 120, 1 / 60, 1 / 30, 1 / 15, 2 / 15, 4 / 15, 8 / 15, 1), episodes=600, glance=200
)


def file_of(faces: str, long: bool = False) -> Path:
    """Where the result on these faces is stored.

    long: that of the half hour. False.
    """
    return stored.RESULTS / f"comparison-{'long-' * long}{faces}.json"


def load(faces: str, long: bool = False) -> dict[str, Any]:
    """The stored result on these faces. Raises `MetaFaceError` if it is missing or damaged.

    long: that of the half hour. False.
    """
    return stored.load(file_of(faces, long), f"{COMMAND} --faces {faces}{' --long' * long}")


# What lesson 06 asks, decided before the stored trainings began: is the first one ahead of the second?
QUESTIONS = (
    ("protonet", "nca"),
    ("protonet", "pretrain"),
    ("protonet", "anil"),
    ("anil", "maml"),
    ("maml", "fomaml"),
    ("maml", "pretrain"),
    ("maml", "learn2learn"),
    ("pretrain", "reptile"),
    ("reptile", "lda"),
)


def difference(found: Mapping[str, Any], a: str, b: str, protocol: str) -> Difference:
    """By how much entry a is more accurate than entry b in a stored result.

    found: the result, as `load` returns it.
    a, b: names of entries or baselines.
    protocol: a key of `PROTOCOLS`.

    Raises `MetaFaceError` if the result has no such pair.
    """
    pairs = found["paired"][protocol]
    if b in pairs.get(a, {}):
        return Difference.from_scores(pairs[a][b])
    if a not in pairs.get(b, {}):
        raise MetaFaceError(f"The result does not compare {a} and {b}. It has: {', '.join(found['learners'])}.")
    other = Difference.from_scores(pairs[b][a])
    return replace(other, mean=-other.mean)


# --------------------------------------------------------------------------------------------------- what trains, where


def _split(faces: str, seed: int) -> Split:
    """The people of a seed: new ones where the set can draw them, else the same people divided by the seed."""
    return load_faces(_name(faces, seed)).split(FRACTIONS, seed=seed)


def _name(faces: str, seed: int) -> str:
    return f"{faces}:seed={seed}" if faces in NEW_PEOPLE else faces


def _settings(entry: Entry, faces: str, seed: int, chosen: Mapping[str, Any]) -> Settings:
    return settings_of(entry.learner, faces, seed, width=entry.width, **chosen)


def pace(faces: str, entries: Sequence[str], rounds: int, at_once: int = 4) -> dict[str, list[float]]:
    """The milliseconds of one core that a training step of each entry takes, in each of the rounds.

    In a round each entry makes some steps, one entry after the other. So all of them meet whatever slows the machine.

    faces: the name of the face set.
    entries: by name.
    rounds: how many.
    at_once: the steps of an entry in a round. 4.
    """
    torch.set_num_threads(1)
    split, taken, step = _split(faces, 0), {name: list[float]() for name in entries}, {}
    for name in entries:
        settings = _settings(ENTRIES[name], _name(faces, 0), 0, {})
        net = make_learner(settings, split.base.shape, split.base.identities)
        options: dict[str, Any] = {"tasks": settings.tasks, "rate": settings.rate, "progress": False}
        step[name] = functools.partial(meta_train, net, training_sampler(settings, split.base), **options)
        step[name](steps=1)  # what is done once only
    for _ in range(rounds):
        for name in entries:
            start = time.process_time()
            step[name](steps=at_once)
            taken[name].append(round(1000 * (time.process_time() - start) / at_once, 2))
    return taken


def steps_in(budget: float, paces: Mapping[str, Sequence[float]]) -> dict[str, int]:
    """How many steps each entry makes in a budget; those with `Entry.steps_of` make as many as that other one.

    budget: seconds of one core.
    paces: what `pace` returns.
    """
    own = {name: max(1, round(1000 * budget / min(rounds))) for name, rounds in paces.items()}
    return {name: own.get(ENTRIES[name].steps_of, steps) for name, steps in own.items()}


# ---------------------------------------------------------------------------------------------------- choosing settings


# A batch of pre-training may hold more people. NCA compares with single images, which may ask for other temperatures.
ALSO: dict[str, tuple[str, dict[str, Any]]] = {
    "pretrain": ("50 people × 2", {"ways": 50, "shots": 1, "queries": 1}),
    "nca": ("temperature 15", {"temperature": 15.0}),
}


def candidates(learner: str) -> dict[str, dict[str, Any]]:
    """What a learner may be trained with, by name: its recipe's outer rate, a third of it, and three times as much.

    Those without episodes have twice as many; see `ALSO`.
    """
    rate = RECIPES[learner]["rate"]
    rates = {f"rate {value:.2g}": {"rate": value} for value in (rate, rate / 3, 3 * rate)}
    if learner not in ALSO:
        return rates
    words, other = ALSO[learner]
    return rates | {f"{name}, {words}": given | other for name, given in rates.items()}


def _try(learner: str, given: Mapping[str, Any], steps: int, episodes: int) -> dict[str, Any]:
    """Train a learner with these settings. Its evaluation on people whom nobody reports, as JSON."""
    torch.set_num_threads(1)
    split, settings = _split(CHOSEN_ON, 0), _settings(ENTRIES[learner], CHOSEN_ON, 0, given)
    net = make_learner(settings, split.base.shape, split.base.identities)
    sampler = training_sampler(settings, split.base)
    trained = meta_train(net, sampler, steps=steps, tasks=settings.tasks, rate=settings.rate).whole()
    return to_json(evaluate({"it": trained}, EpisodeSampler(split.novel, WAYS, *PROTOCOLS[CURVE]), episodes))


def choice(plan: Plan, jobs: int = 1, work: Path = stored.WORK) -> dict[str, Choice]:
    """By learner, which of its `candidates` is best after `plan.choice` seconds; see `selection.choose`."""
    learners = dict.fromkeys(ENTRIES[name].learner for name in plan.entries)
    of = {"choice": plan.choice, "choosing": plan.choosing, "rounds": plan.rounds}
    parts = stored.Parts("comparison/choice", of, work)
    found = parts("pace", functools.partial(pace, CHOSEN_ON, TRAINED, plan.rounds))
    steps = steps_in(plan.choice, found)
    wanted = {
        f"{learner}, {name}": functools.partial(_try, learner, given, steps[learner], plan.choosing)
        for learner in learners
        for name, given in candidates(learner).items()
    }
    tried = {part: from_json(found)["it"] for part, found in parts.all(wanted, jobs, "choose settings").items()}
    return {
        learner: choose({name: f"{learner}, {name}" for name in candidates(learner)}, tried.__getitem__)
        for learner in learners
    }


# ------------------------------------------------------------------------------------------------------- one training


def adaptation(method: Adapts, novel: FaceSet, repeats: int = 30) -> float:
    """Median milliseconds of one core to learn a 5-way 4-shot task and answer its five queries."""
    episodes, taken = EpisodeSampler(novel, WAYS, *PROTOCOLS["4-shot"], seed=1), []
    for _ in range(repeats):
        task = episodes.sample()
        if isinstance(method, ProtoNet) and isinstance(method.embedding, FixedFeatures):
            method.embedding.forget()
        start = time.process_time()
        with torch.no_grad():
            method.adapt(task.support).predict(task.query.x)
        taken.append(1000 * (time.process_time() - start))
    return round(statistics.median(taken), 2)


def peak(learner: str, width: int, shape: tuple[int, int, int]) -> int:
    """Megabytes that training adds, at its peak, to what this process holds before it. Call it in a fresh process.

    The images are noise: loading real ones has a peak of its own.

    learner: its name.
    width: its filters in a layer.
    shape: of an image: channels, height, width.
    """
    torch.set_num_threads(1)
    people = torch.arange(30).repeat_interleave(10)
    images = torch.randint(0, 256, (len(people), *shape), dtype=torch.uint8)
    settings = settings_of(learner, width=width)
    net = make_learner(settings, shape, people.unique())
    episodes = EpisodeSampler(FaceSet(images, people), settings.ways, settings.shots, settings.queries)
    before = resident_memory()
    meta_train(net, episodes, steps=5, tasks=settings.tasks, rate=settings.rate, progress=False)
    return peak_memory() - before


def training_memory(learner: str, width: int, shape: tuple[int, int, int]) -> int:
    """What `peak` finds in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(peak, learner, width, shape).result()


def measure_baselines(faces: str, seed: int, plan: Plan) -> dict[str, Any]:
    """Evaluate the baselines on the people of a seed. Returns what `measure_training` does, by method."""
    torch.set_num_threads(1)
    split = _split(faces, seed)
    start = time.process_time()
    methods = baselines(split.base)  # LDA learns
    seconds = round(time.process_time() - start, 1)
    found = _at_the_end(methods, split, seed, plan)
    return found | {
        "costs": {n: cost | ({"seconds": seconds} if n == "lda" else {}) for n, cost in found["costs"].items()}
    }


def measure_training(
    parts: stored.Parts, faces: str, name: str, seed: int, plan: Plan, steps: int, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Train an entry share by share, and evaluate it. Shares that are done already are read.

    parts: where the shares and their checkpoints are kept.
    faces: the name of the face set.
    name: of the entry.
    seed: of the people, the first weights and the episodes.
    plan: how much.
    steps: of the whole training.
    chosen: settings in place of the recipe's.

    Returns under "costs", by entry, steps, adaptation_ms and curve (at each share steps and evaluation), and under
    "evaluations", by protocol, those of the end, as `to_json` gives them.
    """
    torch.set_num_threads(1)
    split, settings = _split(faces, seed), _settings(ENTRIES[name], _name(faces, seed), seed, chosen)
    shares = [*dict.fromkeys(max(1, round(share * steps)) for share in plan.shares)]
    run, curve = f"{name}-{seed}", list[dict[str, Any]]()
    for before, after in itertools.pairwise([0, *shares]):
        share = functools.partial(_share, parts.folder / run, settings, split, before, after, plan.glance)
        curve.append({"steps": after, "evaluation": parts(f"{run}-{after}", share)})
    found = _at_the_end({name: _trained(parts.folder / run, settings, split, steps)}, split, seed, plan)
    found["costs"][name] |= {"steps": steps, "curve": curve}
    return found


def _trained(run: Path, settings: Settings, split: Split, steps: int, before: int = 0) -> MetaLearner:
    """The learner after so many steps, trained from a checkpoint of these steps, or else of those before."""
    last, own = (run.with_name(f"{run.name}-{number}.pt") for number in (before, steps))
    if last.exists() and not own.exists():
        write_atomically(own, last.read_bytes())
    net = make_learner(settings, split.base.shape, split.base.identities)
    options: dict[str, Any] = {"tasks": settings.tasks, "rate": settings.rate, "about": asdict(settings)}
    sampler = training_sampler(settings, split.base)
    return meta_train(net, sampler, steps=steps, checkpoint=own, progress=False, **options).whole()


def _share(run: Path, settings: Settings, split: Split, before: int, after: int, glance: int) -> dict[str, Any]:
    """Train from step `before` to step `after`. Returns an evaluation as JSON."""
    learner = _trained(run, settings, split, after, before)
    episodes = EpisodeSampler(split.novel, WAYS, *PROTOCOLS[CURVE], seed=settings.seed)
    return to_json(evaluate({"it": learner}, episodes, glance))


def _at_the_end(methods: Mapping[str, Adapts], split: Split, seed: int, plan: Plan) -> dict[str, Any]:
    return {
        "costs": {name: {"adaptation_ms": adaptation(method, split.novel)} for name, method in methods.items()},
        "evaluations": {
            protocol: to_json(evaluate(methods, EpisodeSampler(split.novel, WAYS, *each, seed=seed), plan.episodes))
            for protocol, each in PROTOCOLS.items()
        },
    }


# ------------------------------------------------------------------------------------------------------------ all parts


def measure(
    faces: str, plan: Plan, seeds: Sequence[int] = SEEDS, jobs: int = 1, work: Path = stored.WORK
) -> dict[str, Any]:
    """Choose settings, measure the time of a step, then train and evaluate every entry with every seed.

    faces: the name of the face set.
    plan: how much.
    seeds: of the people, the first weights and the episodes.
    jobs: parts side by side.
    work: the folder of trainings and finished parts.

    Raises `MetaFaceError` if the faces are missing.
    """
    load_faces(_name(faces, seeds[0]))
    chosen, settings = dict[str, Choice](), dict[str, dict[str, Any]]()
    if plan.choice:
        chosen = choice(plan, jobs, work)
        settings = {learner: candidates(learner)[found.best] for learner, found in chosen.items()}
    of = asdict(plan) | {"chosen": settings}
    parts = stored.Parts(f"comparison/{faces.replace('/', '-')}-{plan.budget:g}", of, work)
    paces = parts("pace", functools.partial(pace, faces, plan.entries, plan.rounds))
    steps = steps_in(plan.budget, paces)

    def training(name: str, seed: int) -> functools.partial[dict[str, Any]]:
        given = settings.get(ENTRIES[name].learner, {})
        return functools.partial(measure_training, parts, faces, name, seed, plan, steps[name], given)

    wanted: dict[str, functools.partial[Any]] = {}
    for seed in seeds:
        wanted[f"{BASELINES}-{seed}"] = functools.partial(measure_baselines, faces, seed, plan)
        wanted |= {f"{name}-{seed}": training(name, seed) for name in plan.entries}
    found = parts.all(wanted, jobs, f"compare on {faces}")
    split = _split(faces, seeds[0])
    memory = {}
    for name in plan.entries:
        entry = ENTRIES[name]
        fresh = functools.partial(training_memory, entry.learner, entry.width, split.novel.shape)
        memory[name] = parts(f"memory-{entry.learner}-{entry.width}", fresh)
    rows = {seed: [found[f"{part}-{seed}"] for part in (BASELINES, *plan.entries)] for seed in seeds}
    test_share = len(split.novel.identities) / len(split.base.identities)
    together = collect(rows, shared=faces not in NEW_PEOPLE, test_share=test_share)
    for name in plan.entries:
        row, rounds, entry = together["learners"][name], paces[name], ENTRIES[name]
        row |= {"learner": entry.learner, "width": entry.width, "memory_mb": memory[name]}
        row["pace_ms"] = [min(rounds), statistics.median(rounds), max(rounds)]
        for point in (row, *row["curve"]):
            point["seconds"] = round(point["steps"] * min(rounds) / 1000, 2)
    return {
        "budget_seconds": plan.budget,
        "ways": WAYS,
        "episodes": plan.episodes,
        "seeds": list(seeds),
        "people": EpisodeSampler(split.novel, WAYS, *PROTOCOLS[CURVE]).people,
        "trained_on": len(split.base.identities),
        "chosen": {name: {"settings": settings[name], **found.scores()} for name, found in chosen.items()},
        **together,
    }


def collect(found: Mapping[int, Sequence[Mapping[str, Any]]], shared: bool, test_share: float) -> dict[str, Any]:
    """What the parts of all seeds say together: means with intervals, costs, and paired differences.

    found: of each seed what `measure_baselines` and `measure_training` return.
    shared: whether the seeds divide the same people again.
    test_share: the people of a test for each one of training.
    """
    costs = [stored.joined(part["costs"] for part in parts) for parts in found.values()]
    tests = {
        p: [stored.joined(from_json(part["evaluations"][p]) for part in parts) for parts in found.values()]
        for p in PROTOCOLS
    }

    def over_all(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        return estimate(evaluations, shared, test_share).scores()

    learners = dict[str, dict[str, Any]]()
    for name, first in costs[0].items():
        row = learners[name] = {p: over_all([seed[name] for seed in tests[p]]) for p in PROTOCOLS}
        row["adaptation_ms"] = round(statistics.mean(cost[name]["adaptation_ms"] for cost in costs), 2)
        row |= {key: value for key, value in first.items() if key in ("seconds", "steps")}
        if "curve" in first:
            points = zip(*(cost[name]["curve"] for cost in costs), strict=True)
            row["curve"] = [
                {"steps": same[0]["steps"]} | over_all([from_json(point["evaluation"])["it"] for point in same])
                for same in points
            ]
    return {
        "shared_people": shared,
        "learners": learners,
        "paired": {p: stored.differences(seeds, test_share, shared) for p, seeds in tests.items()},
        "evaluations": {str(seed): {p: to_json(tests[p][i]) for p in PROTOCOLS} for i, seed in enumerate(found)},
    }


def estimate(seeds: Sequence[Evaluation], shared: bool, test_share: float) -> Estimate:
    """The accuracy of a method over all seeds, with its intervals.

    seeds: its evaluation with each seed.
    shared, test_share: see `evaluation.over_seeds`.
    """
    values = [one.accuracy for one in seeds]
    return Estimate(
        mean=float(np.mean(values)),
        over_people=people_interval([(one.episodes, one) for one in seeds]),
        over_episodes=float(np.linalg.norm([student_t(one.episodes) for one in seeds]) / len(seeds)),
        over_seeds=over_seeds(values, shared=shared, test_share=test_share).over_seeds if len(values) > 1 else None,
    )


def show(faces: str, found: Mapping[str, Any]) -> None:
    """Print a result on these faces, as `measure` returns it."""
    rows = {
        name: [
            *(Estimate.from_scores(row[p]) for p in PROTOCOLS),
            f"{row.get('seconds', 0):.0f} s",
            f"{row.get('memory_mb', 0)} MB",
            f"{row['adaptation_ms']:.1f} ms",
        ]
        for name, row in sorted(found["learners"].items(), key=lambda item: -item[1][CURVE]["mean"])
    }
    title = f"{faces}, % ± the widest interval; seconds of one core"
    print(table(rows, [*PROTOCOLS, "training", "memory", "a task"], title=title))


# ------------------------------------------------------------------------------------------------------- the experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which faces and seeds, how long, and how many trainings at a time."""
    parser.add_argument("--faces", nargs="+", default=list(FACES), choices=list(FACES))
    parser.add_argument("--seeds", nargs="+", type=int, help="five; with --long, one")
    parser.add_argument("--long", action="store_true", help="30 minutes for each of the leaders, in place of one")
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print, a face set after the other.

    Raises `MetaFaceError` if learn2learn is not installed or, at the end, if faces are missing.
    """
    try:
        import_learn2learn()
    except ImportError as error:
        raise MetaFaceError(str(error)) from error
    plan = HALF_HOUR if arguments.long else MINUTE
    seeds = arguments.seeds or list(SEEDS[:1] if arguments.long else SEEDS)

    def one(faces: str) -> None:
        found = measure(faces, plan, seeds, arguments.jobs)
        command = f"{COMMAND} --faces {faces} --seeds {' '.join(map(str, seeds))}{' --long' * arguments.long}"
        stored.store(file_of(faces, arguments.long), command, found)
        show(faces, found)

    stored.on_each(arguments.faces, one)
