"""Every learner of the course on the same people, the same episodes and the same computing time, with three seeds.

Each learner trains with its recipe (`metaface train`) on one thread, for the number of steps that takes about the
budget of its face set in seconds of one core. At a sixteenth, an eighth … of them its accuracy is measured on a few
episodes, at the end on many. Episodes and people are those of the seed, the same for all learners. Seconds are of the
processor, which other programs do not lengthen.

Trainings and finished parts are kept in runs/comparison. The same command goes on where it was interrupted.

The stored result, data/results/comparison-FACES.json, has

- budget_seconds, ways, episodes, people: what was measured, the people being those of a test;
- learners: by name, the means over the seeds: 1-shot and 4-shot (accuracy, ci95, ci95_people, deviation),
  adaptation_ms, and of what was trained seconds, steps, memory_mb and curve (seconds and accuracy at each share);
- seeds: by seed and name, 1-shot and 4-shot without deviation.

Newer files also have

- best_baseline: by protocol, the name of the most accurate one on these very episodes, which is why a difference to it
  is rather too low;
- paired: by protocol, the more accurate learner and the other, their difference on the same episodes with 95% intervals
  over people, episodes and seeds; the last is corrected, because the seeds divide the same people again;
- evaluations: by seed and protocol, how many answers about whom were right (`evaluation.from_json` reads them).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..bars import Bar
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import evaluate, from_json, mean_over_seeds, to_json
from ..faces import FaceSet, load_faces
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, baselines
from ..learners.learn2learn_library import import_learn2learn
from ..learners.protonet import ProtoNet
from ..machine import peak_memory, resident_memory
from ..runs.making import make_learner
from ..runs.recipes import FRACTIONS, Settings, settings_of
from ..runs.run import load_run, train
from ..training import meta_train
from . import stored

COMMAND = "metaface experiment comparison"
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of a training, at which its accuracy is measured
PROTOCOLS = {"1-shot": (1, 4), "4-shot": (4, 1)}  # shots and queries: five images of each person
CURVE = "4-shot"  # the protocol of the curves
WAYS = 5
SEEDS = (0, 1, 2)
BASELINES = "baselines"  # the part that measures them all


@dataclass(frozen=True)
class Plan:
    """How much is measured on a face set.

    budget: seconds of one core, which the steps take about.
    steps: of each learner that trains.
    episodes: at the end of a training.
    glance: episodes at each of its shares.
    """

    budget: int
    steps: dict[str, int]
    episodes: int = 600
    glance: int = 100


PLANS = {
    "procedural": Plan(
        60,
        {
            "pretrain": 250,
            "protonet": 270,
            "maml": 215,
            "learn2learn": 175,
            "fomaml": 340,
            "anil": 430,
            "reptile": 420,
        },
    ),
    "lfw": Plan(
        180,
        {
            "pretrain": 1780,
            "protonet": 1560,
            "maml": 1070,
            "learn2learn": 870,
            "fomaml": 1650,
            "anil": 2090,
            "reptile": 1930,
        },
    ),
}


def file_of(faces: str) -> Path:
    """Where the result on these faces is stored."""
    return stored.RESULTS / f"comparison-{faces}.json"


def load(faces: str) -> dict[str, Any]:
    """The stored result on these faces. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(file_of(faces), f"{COMMAND} --faces {faces}")


# ------------------------------------------------------------------------------------------------- one part of a seed


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


def peak(learner: str, shape: tuple[int, int, int]) -> int:
    """Megabytes that training adds, at its peak, to what this process holds before it. Call it in a fresh process.

    The images are noise: loading real ones has a peak of its own.

    learner: its name.
    shape: of an image: channels, height, width.
    """
    people = torch.arange(30).repeat_interleave(10)
    images = torch.randint(0, 256, (len(people), *shape), dtype=torch.uint8)
    settings = settings_of(learner)
    net = make_learner(settings, shape, people.unique())
    episodes = EpisodeSampler(FaceSet(images, people), settings.ways, settings.shots, settings.queries)
    before = resident_memory()
    meta_train(net, episodes, steps=5, tasks=settings.tasks, rate=settings.rate, progress=False)
    return peak_memory() - before


def _parts(faces: str, plan: Plan, work: Path) -> stored.Parts:
    return stored.Parts(f"comparison/{faces.replace('/', '-')}", asdict(plan), work)


def measure_part(faces: str, learner: str, seed: int, plan: Plan, work: Path = stored.WORK) -> dict[str, Any]:
    """Train and evaluate one learner with one seed, or evaluate the baselines. What is done already is read.

    faces: the name of the face set.
    learner: its name, or `BASELINES`.
    seed: of the division of the people, the first weights and the episodes.
    plan: how much.
    work: the folder of trainings and finished parts.

    Returns the costs by method, and by protocol the evaluations as `to_json` gives them.
    """
    parts = _parts(faces, plan, work)
    return dict(parts(f"{learner}-{seed}", lambda: _part(faces, learner, seed, plan, parts)))


def _part(faces: str, learner: str, seed: int, plan: Plan, parts: stored.Parts) -> dict[str, Any]:
    torch.set_num_threads(1)
    methods: dict[str, Adapts]
    costs: dict[str, dict[str, Any]]
    if learner == BASELINES:
        split = load_faces(faces).split(FRACTIONS, seed=seed)
        start = time.process_time()
        methods = dict(baselines(split.base))  # LDA learns
        seconds = round(time.process_time() - start, 1)
        costs = {name: {"seconds": seconds} if name == "lda" else {} for name in methods}
    else:
        curve = _trained(faces, learner, seed, plan, parts)
        run = load_run(parts.folder / f"{learner}-{seed}")
        split, methods = run.split, {learner: run.learner}
        costs = {learner: {"seconds": curve[-1]["seconds"], "steps": plan.steps[learner], "curve": curve}}
    for name, method in methods.items():
        costs[name]["adaptation_ms"] = adaptation(method, split.novel)
    return {
        "costs": costs,
        "evaluations": {
            protocol: to_json(
                evaluate(methods, EpisodeSampler(split.novel, WAYS, *each, seed=seed), plan.episodes, progress=True)
            )
            for protocol, each in PROTOCOLS.items()
        },
    }


def _trained(faces: str, learner: str, seed: int, plan: Plan, parts: stored.Parts) -> list[dict[str, float]]:
    """Train share by share. Returns the seconds from the start, and the accuracy, at the end of each."""
    folder = parts.folder / f"{learner}-{seed}"
    shares = [max(1, round(share * plan.steps[learner])) for share in SHARES]
    name = {steps: f"{folder.name}-{steps}" for steps in shares}
    done = stored.steps_of(folder)
    passed = [f"{name[steps]}-seconds" for steps in shares if steps <= done]
    passed += [f"{name[steps]}-accuracy" for steps in shares if steps < done]
    if any(part not in parts for part in passed):  # it was lost, or is of another plan, and training does not go back
        shutil.rmtree(folder)
        for part in parts.folder.glob(f"{folder.name}-*.json"):
            part.unlink()

    def glance() -> float:
        run = load_run(folder)
        episodes = EpisodeSampler(run.split.novel, WAYS, *PROTOCOLS[CURVE], seed=seed)
        return evaluate({learner: run.learner}, episodes, plan.glance, at_once=4)[learner].accuracy

    settings, curve, seconds = settings_of(learner, faces, seed), list[dict[str, float]](), 0.0
    for before, steps in itertools.pairwise([0, *shares]):
        seconds += parts(f"{name[steps]}-seconds", functools.partial(_seconds, settings, folder, before, steps))
        accuracy = parts(f"{name[steps]}-accuracy", glance)
        curve.append({"seconds": seconds, "accuracy": round(accuracy, 4)})
    return curve


def _seconds(settings: Settings, folder: Path, before: int, steps: int) -> float:
    """Train from step `before` to `steps`. Returns the seconds of one core that this takes.

    Of a training that was interrupted in between, the steps of this process alone are timed. The others took as long.
    """
    start = time.process_time()
    trained = train(settings, folder, steps=steps)
    seconds = time.process_time() - start
    if trained.stopped == "interrupted":
        raise KeyboardInterrupt
    return seconds * (steps - before) / max(1, steps - trained.resumed_at)


# ------------------------------------------------------------------------------------------------------------ all parts


def _child(*options: str) -> list[str]:
    """The command that does one part of this experiment, in a process of its own."""
    return [sys.executable, "-m", "metaface_lessons.cli", *COMMAND.split()[1:], *options]


def training_memory(learner: str, shape: tuple[int, int, int]) -> int:
    """What `peak` finds in a fresh process."""
    found = subprocess.run(_child("--memory", learner, *map(str, shape)), stdout=subprocess.PIPE, text=True, check=True)
    return int(found.stdout)


def _part_in_a_process(faces: str, learner: str, seed: int, plan: Plan, work: Path) -> None:
    """`measure_part` in a process with one thread. Raises `MetaFaceError` if it fails; its last words are in a log."""
    job = {"faces": faces, "learner": learner, "seed": seed, "plan": asdict(plan), "work": str(work)}
    log = _parts(faces, plan, work).folder / f"{learner}-{seed}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        command = _child("--one", json.dumps(job))
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=output, stderr=output)
    if done.returncode:
        raise MetaFaceError(f"{learner} on {faces} with seed {seed} failed. {log} says why.")


def measure(
    faces: str,
    plan: Plan,
    seeds: Sequence[int] = SEEDS,
    jobs: int = 1,
    work: Path = stored.WORK,
    part: Callable[[str, str, int, Plan, Path], object] = _part_in_a_process,
) -> dict[str, Any]:
    """The stored result on one face set; see the module for what it has.

    faces: their name.
    plan: how much is measured.
    seeds: each divides the people in another way.
    jobs: trainings side by side, each in a process with one thread.
    work: the folder of trainings and finished parts.
    part: what measures a part that is not there yet; `measure_part` does it in this process.

    Raises `MetaFaceError` if the faces are missing, or a part fails.
    """
    split = load_faces(faces).split(FRACTIONS, seed=seeds[0])
    parts = _parts(faces, plan, work)
    wanted = [(learner, seed) for seed in seeds for learner in (*plan.steps, BASELINES)]
    left = [(learner, seed) for learner, seed in wanted if f"{learner}-{seed}" not in parts]
    with (
        ThreadPoolExecutor(jobs) as pool,
        Bar(label=f"compare on {faces}", unit="part", total=len(wanted), done=len(wanted) - len(left)) as bar,
    ):
        for _ in pool.map(lambda job: part(faces, job[0], job[1], plan, work), left):
            bar.update()
    found = {
        seed: [measure_part(faces, learner, seed, plan, work) for learner in (BASELINES, *plan.steps)] for seed in seeds
    }
    together = collect(found, test_share=len(split.novel.identities) / len(split.base.identities))
    for learner in plan.steps:
        memory = parts(f"memory-{learner}", functools.partial(training_memory, learner, split.novel.shape))
        together["learners"][learner]["memory_mb"] = memory
    return {
        "budget_seconds": plan.budget,
        "ways": WAYS,
        "episodes": plan.episodes,
        "people": EpisodeSampler(split.novel, WAYS, *PROTOCOLS[CURVE]).people,
        **together,
    }


def collect(found: Mapping[int, Sequence[Mapping[str, Any]]], test_share: float) -> dict[str, Any]:
    """What the parts of all seeds say together: means, every seed's own scores, and paired differences.

    found: of each seed what `measure_part` returns, the baselines first.
    test_share: the people of a test for each one of training.
    """
    costs = [stored.joined(part["costs"] for part in parts) for parts in found.values()]
    tests = {
        p: [stored.joined(from_json(part["evaluations"][p]) for part in parts) for parts in found.values()]
        for p in PROTOCOLS
    }
    scores = [{name: {p: tests[p][i][name].scores() for p in PROTOCOLS} for name in row} for i, row in enumerate(costs)]
    accuracy, cost = mean_over_seeds(scores), mean_over_seeds(costs, {})
    rivals = next(iter(found.values()))[0]["costs"]
    return {
        "learners": {name: accuracy[name] | cost[name] for name in accuracy},
        "seeds": {str(seed): row for seed, row in zip(found, scores, strict=True)},
        "best_baseline": {p: max((accuracy[name][p]["accuracy"], name) for name in rivals)[1] for p in PROTOCOLS},
        "paired": {protocol: stored.differences(seeds, test_share) for protocol, seeds in tests.items()},
        "evaluations": {
            str(seed): {protocol: to_json(tests[protocol][i]) for protocol in PROTOCOLS} for i, seed in enumerate(found)
        },
    }


def show(faces: str, found: Mapping[str, Any]) -> None:
    """Print a result on these faces, as `measure` returns it."""
    print(f"\n{faces}, % (± over episodes, over people, deviation over seeds); seconds of one core")
    for name, row in found["learners"].items():
        cells = [
            f"{100 * row[p]['accuracy']:5.1f} ± {100 * row[p]['ci95']:.1f}, {100 * row[p]['ci95_people']:.1f},"
            f" {100 * row[p].get('deviation', 0):.1f}"
            for p in PROTOCOLS
        ]
        costs = f"{row.get('seconds', 0):6.0f} s {row.get('memory_mb', 0):6.0f} MB {row['adaptation_ms']:7.1f} ms"
        print(f"{name:12s} {'   '.join(cells)} {costs}")


# ------------------------------------------------------------------------------------------------------- the experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which faces and seeds, and how many trainings at a time."""
    parser.add_argument("--faces", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings side by side, a thread each")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)  # a part, see `_part_in_a_process`
    parser.add_argument("--memory", nargs=4, metavar=("LEARNER", "C", "H", "W"), help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print, a face set after the other.

    Raises `MetaFaceError` if learn2learn is not installed, a part fails, or, at the end, if faces are missing.
    """
    if arguments.memory:
        learner, channels, height, width = arguments.memory
        print(peak(learner, (int(channels), int(height), int(width))))
        return
    if arguments.one:
        job = arguments.one
        measure_part(job["faces"], job["learner"], job["seed"], Plan(**job["plan"]), Path(job["work"]))
        return
    try:
        import_learn2learn()
    except ImportError as error:
        raise MetaFaceError(str(error)) from error

    def one(faces: str) -> None:
        found = measure(faces, PLANS[faces], arguments.seeds, arguments.jobs)
        seeds = " ".join(map(str, arguments.seeds))
        stored.store(file_of(faces), f"{COMMAND} --faces {faces} --seeds {seeds}", found)
        show(faces, found)

    stored.on_each(arguments.faces, one)
