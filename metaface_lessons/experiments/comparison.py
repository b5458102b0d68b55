"""Every learner of the course on the same people, the same episodes and the same computing time, with three seeds.

metaface experiment comparison [--faces procedural lfw] [--seeds 0 1 2] [--jobs 2]

writes data/results/comparison-FACES.json, which lesson 06 and the README read. Each learner trains with its recipe
(`metaface train`) on one thread, for the number of steps that takes about BUDGET seconds of one core. At a sixteenth,
an eighth … of them its accuracy is measured on a few episodes, at the end on many; episodes and people are those of
its seed, the same for all learners. Seconds are of the processor, which other programs do not lengthen. A training
that was interrupted goes on, and one that is done is not repeated: both lie in runs/comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import evaluate, mean_over_seeds
from ..faces import FaceSet, load_faces
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, baselines
from ..learners.learn2learn_library import import_learn2learn
from ..learners.protonet import ProtoNet
from ..machine import peak_memory, resident_memory
from ..paths import DATA, write_atomically
from ..runs.making import make_learner
from ..runs.recipes import FRACTIONS, settings_of
from ..runs.run import load_run, train
from ..training import meta_train
from .stored import about

BUDGET = {"procedural": 60, "lfw": 180}  # seconds of one core
STEPS = {  # how many each learner makes in that time
    "procedural": {
        "pretrain": 250,
        "protonet": 270,
        "maml": 215,
        "learn2learn": 175,
        "fomaml": 340,
        "anil": 430,
        "reptile": 420,
    },
    "lfw": {
        "pretrain": 1780,
        "protonet": 1560,
        "maml": 1070,
        "learn2learn": 870,
        "fomaml": 1650,
        "anil": 2090,
        "reptile": 1930,
    },
}
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
PROTOCOLS = {"1-shot": (1, 4), "4-shot": (4, 1)}  # shots and queries: five images of each person
WAYS, EPISODES, GLANCE = 5, 600, 100  # the last: episodes at the shares of a training
RUNS = Path("runs/comparison")
BASELINES = "baselines"


def sampler(novel: FaceSet, protocol: str, seed: int) -> EpisodeSampler:
    return EpisodeSampler(novel, WAYS, *PROTOCOLS[protocol], seed=seed)


def accuracies(methods: Mapping[str, Adapts], novel: FaceSet, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """By method and protocol: accuracy and its intervals over episodes and over people."""
    found = {p: evaluate(methods, sampler(novel, p, seed), EPISODES, progress=True) for p in PROTOCOLS}
    return {name: {p: found[p][name].scores() for p in PROTOCOLS} for name in methods}


def adaptation(method: Adapts, novel: FaceSet, repeats: int = 30) -> float:
    """Median milliseconds of one core to learn a 5-way 4-shot task and answer its five queries."""
    episodes, taken = sampler(novel, "4-shot", seed=1), []
    for _ in range(repeats):
        task = episodes.sample()
        if isinstance(method, ProtoNet) and isinstance(method.embedding, FixedFeatures):
            method.embedding.forget()
        start = time.process_time()
        with torch.no_grad():
            method.adapt(task.support).predict(task.query.x)
        taken.append(1000 * (time.process_time() - start))
    return round(statistics.median(taken), 2)


def training_memory(learner: str, shape: tuple[int, int, int]) -> int:
    """Megabytes that training adds, at its peak, to what a process holds before it; in a process of its own."""
    command = [sys.executable, "-m", "metaface_lessons.experiments.comparison", "--memory", learner, *map(str, shape)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def peak(learner: str, shape: tuple[int, int, int]) -> int:
    """See `training_memory`. The images are noise: loading real ones has a peak of its own."""
    people = torch.arange(30).repeat_interleave(10)
    images = torch.randint(0, 256, (len(people), *shape), dtype=torch.uint8)
    settings = settings_of(learner)
    net = make_learner(settings, shape, people.unique())
    episodes = EpisodeSampler(FaceSet(images, people), settings.ways, settings.shots, settings.queries)
    before = resident_memory()
    meta_train(net, episodes, steps=5, tasks=settings.tasks, rate=settings.rate, progress=False)
    return peak_memory() - before


def measure(faces: str, learner: str, seed: int, out: Path) -> None:
    """Train and evaluate one learner, or evaluate the baselines; store what was found in `out`."""
    torch.set_num_threads(1)
    if learner == BASELINES:
        split = load_faces(faces).split(FRACTIONS, seed=seed)
        start = time.process_time()
        methods = baselines(split.base)  # LDA learns
        seconds = time.process_time() - start
        found: dict[str, Any] = {
            name: {**table, "adaptation_ms": adaptation(methods[name], split.novel)}
            for name, table in accuracies(methods, split.novel, seed).items()
        }
        found["lda"]["seconds"] = round(seconds, 1)
    else:
        points: list[dict[str, float]] = []
        run = out.with_suffix("")
        for share in SHARES:
            steps = max(1, round(share * STEPS[faces][learner]))
            progress = out.with_name(f"{run.name}-{steps}.json")
            if not progress.exists():
                start = time.process_time()
                train(settings_of(learner, faces, seed), run, steps=steps)
                seconds = time.process_time() - start
                trained = load_run(run)
                glance = evaluate(
                    {learner: trained.learner}, sampler(trained.split.novel, "4-shot", seed), GLANCE, at_once=4
                )
                point = {"steps": steps, "seconds": seconds, "accuracy": glance[learner].accuracy}
                write_atomically(progress, json.dumps(point).encode())
            points.append(json.loads(progress.read_text()))
        trained = load_run(run)
        found = {
            learner: {
                **accuracies({learner: trained.learner}, trained.split.novel, seed)[learner],
                "seconds": sum(point["seconds"] for point in points),
                "steps": points[-1]["steps"],
                "adaptation_ms": adaptation(trained.learner, trained.split.novel),
                "curve": [
                    {
                        "seconds": sum(point["seconds"] for point in points[: i + 1]),
                        "accuracy": round(points[i]["accuracy"], 4),
                    }
                    for i in range(len(points))
                ],
            }
        }
    write_atomically(out, (json.dumps(found, indent=1) + "\n").encode())


def _means(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a learner, as means over its seeds; accuracies with their deviation over seeds, too."""
    found: dict[str, Any] = {p: mean_over_seeds([run[p] for run in runs]) for p in PROTOCOLS}
    for key in ("seconds", "steps", "adaptation_ms"):
        if key in runs[0]:
            found[key] = round(statistics.mean(run[key] for run in runs), 2)
    if "curve" in runs[0]:
        found["curve"] = [
            {key: round(statistics.mean(point[key] for point in same), 4) for key in same[0]}
            for same in zip(*(run["curve"] for run in runs), strict=True)
        ]
    return found


def collect(faces: str, seeds: Sequence[int]) -> dict[str, Any]:
    """The means over the seeds, and every seed's own accuracies."""
    by_seed = []
    for seed in seeds:
        jobs = [RUNS / faces / f"{learner}-{seed}.json" for learner in (BASELINES, *STEPS[faces])]
        by_seed.append({name: row for job in jobs for name, row in json.loads(job.read_text()).items()})
    novel = load_faces(faces).split(FRACTIONS, seed=seeds[0]).novel
    learners = {name: _means([run[name] for run in by_seed]) for name in by_seed[0]}
    for name in STEPS[faces]:
        learners[name]["memory_mb"] = training_memory(name, novel.shape)
    return {
        **about(f"metaface experiment comparison --faces {faces} --seeds {' '.join(map(str, seeds))}"),
        "budget_seconds": BUDGET[faces],
        "ways": WAYS,
        "episodes": EPISODES,
        "people": sampler(novel, "4-shot", 0).people,
        "learners": learners,
        "seeds": {
            str(seed): {name: {p: row[p] for p in PROTOCOLS} for name, row in found.items()}
            for seed, found in zip(seeds, by_seed, strict=True)
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings side by side, a thread each")
    parser.add_argument("--one", nargs=3, metavar=("FACES", "LEARNER", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--memory", nargs=4, metavar=("LEARNER", "C", "H", "W"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        learner, channels, height, width = asked.memory
        print(peak(learner, (int(channels), int(height), int(width))))
        return 0
    if asked.one:
        faces, learner, seed = asked.one
        measure(faces, learner, int(seed), RUNS / faces / f"{learner}-{seed}.json")
        return 0
    try:
        import_learn2learn()
    except ImportError as error:
        print(f"Not measured: {error}", file=sys.stderr)
        return 0
    here = []
    for faces in asked.faces:
        try:
            load_faces(faces)
            here.append(faces)
        except MetaFaceError as error:
            print(f"Not measured on {faces}: {error}", file=sys.stderr)
    jobs = [(f, name, s) for s in asked.seeds for f in here for name in (*STEPS[f], BASELINES)]
    left = [job for job in jobs if not (RUNS / job[0] / f"{job[1]}-{job[2]}.json").exists()]

    def run(job: tuple[str, str, int]) -> None:
        faces, learner, seed = job
        (RUNS / faces).mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "metaface_lessons.experiments.comparison", "--one", faces, learner, str(seed)]
        with (RUNS / faces / f"{learner}-{seed}.log").open("w") as log:
            done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed; {log.name} says why.")

    with ThreadPoolExecutor(asked.jobs) as pool:
        for _ in tqdm(pool.map(run, left), total=len(jobs), initial=len(jobs) - len(left), desc="compare"):
            pass
    for faces in here:
        file = DATA / "results" / f"comparison-{faces}.json"
        write_atomically(file, (json.dumps(collect(faces, asked.seeds), indent=1) + "\n").encode())
        show(file)
    return 0


def show(file: Path) -> None:
    found = json.loads(file.read_text())
    print(f"\n{file.stem}, % (± over episodes, over people, deviation over seeds); seconds of one core")
    for name, row in found["learners"].items():
        cells = [
            f"{100 * row[p]['accuracy']:5.1f} ± {100 * row[p]['ci95']:.1f}, {100 * row[p]['ci95_people']:.1f},"
            f" {100 * row[p].get('deviation', 0):.1f}"
            for p in PROTOCOLS
        ]
        costs = f"{row.get('seconds', 0):6.0f} s {row.get('memory_mb', 0):6.0f} MB {row['adaptation_ms']:7.1f} ms"
        print(f"{name:12s} {'   '.join(cells)} {costs}")


if __name__ == "__main__":
    sys.exit(main())
