"""What training on some domains is worth on one that it never saw, on synthetic faces and from those to real ones.

metaface experiment domains [--seeds 0 1 2] [--cufs FOLDER]

writes data/results/domains.json, which lesson 08 reads. A ProtoNet learns from one domain, or from two of three: pooled
(episodes that take no notice of domains), within (each episode in one domain), across (support of one, query of the
other), or leaving one out (MLDG, whose episodes are within a domain, too). All
see as many images, in grey, for that is what all domains have; one training on photos in colour shows why. Then all
nine pairs of support and query domain are measured on novel people, on the same episodes. Each training also goes to
real faces, if they are there: LFW (scikit-learn's cache), and CUFS, photos and sketches of 188 people (--cufs). A
training that is done is not repeated: it lies in runs/domains.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..episodes import DomainSampler, EpisodeSampler, Sampler
from ..errors import MetaFaceError
from ..evaluation import evaluate
from ..faces import FaceSet, Split, load_faces
from ..faces.controls import inside_only, outside_only, procedural_controls
from ..faces.procedural import DOMAINS
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, brightness, lbp, lda, pixels
from ..learners.mldg import MLDG
from ..learners.protonet import ProtoNet
from ..networks import Conv4
from ..paths import DATA, write_atomically
from ..runs.recipes import FRACTIONS
from ..runs.run import mean_scores
from ..training import meta_train
from .stored import about

SIZE, WIDTH, STEPS, RATE = 32, 32, 250, 3e-3
TRAIN, TASKS = (10, 1, 4), 2  # ways, shots, queries of a training episode; episodes in a step
WAYS, SHOTS, QUERIES, EPISODES = 5, 1, 4, 200
INNER_RATE = 0.1
KINDS = ("pooled", "within", "across", "leave one out")
TRAININGS = (
    ("photo", "colour"),
    *((domain, "plain") for domain in DOMAINS),
    *((f"not {domain}", kind) for domain in DOMAINS for kind in KINDS),
)
RUNS = Path("runs/domains")
REAL = {"whole": lambda x: x, "hair and outline only": outside_only, "inner face only": inside_only}


def small(faces: FaceSet, colour: bool = False) -> FaceSet:
    """The same faces, smaller, and grey unless in `colour`: each pixel is the mean of those that it covers."""
    images = faces.images.float() if colour else faces.images.float().mean(dim=1, keepdim=True)
    return replace(faces, images=F.interpolate(images, (SIZE, SIZE), mode="area").round().byte())


def training_domains(name: str) -> list[str]:
    """One domain by its name; of "not sketch" the other two."""
    return [d for d in DOMAINS if d != name.removeprefix("not ")] if name.startswith("not ") else [name]


def network(faces: FaceSet, seed: int) -> ProtoNet:
    return ProtoNet(Conv4(faces.shape[0], SIZE, WIDTH, seed=seed), temperature=50, in_turn=True)


def train(base: FaceSet, name: str, kind: str, seed: int, steps: int = STEPS) -> tuple[ProtoNet, float]:
    """A ProtoNet, and the seconds of one core that its training took."""
    net = network(base, seed)
    domains = training_domains(name)
    sampler: Sampler
    if kind in ("colour", "plain", "pooled"):
        sampler = EpisodeSampler(base.select(base.where(domain=domains)), *TRAIN, seed=seed)
    else:
        sampler = DomainSampler(base, domains, *TRAIN, kind=kind, seed=seed)
    model = MLDG(net, INNER_RATE, first_order=True) if kind == "leave one out" else net
    start = time.process_time()
    learner = meta_train(model, sampler, steps=steps, tasks=TASKS, rate=RATE, halve_every=500, progress=False).learner
    seconds = time.process_time() - start
    return cast(ProtoNet, learner.net if isinstance(learner, MLDG) else learner), seconds


def frozen(net: ProtoNet) -> ProtoNet:
    """The same learner, whose embedding is computed once for each image, however often that is drawn."""

    def embed(images: Tensor) -> Any:
        with torch.no_grad():
            return torch.cat([net.embedding(part) for part in images.split(256)]).numpy()

    return ProtoNet(FixedFeatures(embed), temperature=net.temperature)


def matrix(method: Adapts, novel: FaceSet, seed: int, episodes: int = EPISODES) -> dict[str, dict[str, float]]:
    """Accuracy and intervals for every pair of support and query domain: "photo, sketch" → …"""
    found = {}
    for one in DOMAINS:
        for other in DOMAINS:
            sampler = EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed, {"domain": one}, {"domain": other})
            found[f"{one}, {other}"] = evaluate({"it": method}, sampler, episodes)["it"].scores()
    return found


def alignment(net: ProtoNet, faces: FaceSet, seed: int, episodes: int = 12) -> dict[str, float]:
    """Of two domains, the cosine between the gradients of their losses, over episodes of people held out: how far does
    a step for one also serve the other?"""
    gradients = {}
    for domain in DOMAINS:
        sampler = EpisodeSampler(faces, 5, SHOTS, QUERIES, seed, {"domain": domain}, {"domain": domain})
        loss, _ = net.loss(sampler.sample(episodes))
        parts = torch.autograd.grad(loss, list(net.parameters()))
        gradients[domain] = torch.cat([part.flatten() for part in parts])
    return {
        f"{one}, {other}": F.cosine_similarity(gradients[one], gradients[other], dim=0).item()
        for one, other in itertools.combinations(DOMAINS, 2)
    }


def rank1(method: ProtoNet, gallery: Tensor, probes: Tensor) -> float:
    """The share of probes `[N, C, H, W]` whose nearest image of the gallery, `[N, C, H, W]`, is of the same person."""
    with torch.no_grad():
        known, asked = method.embed(gallery[None]), method.embed(probes[None])
    return (method.logits(asked, known)[0].argmax(1) == torch.arange(len(probes))).float().mean().item()


def on_cufs(method: ProtoNet, faces: FaceSet, seed: int) -> dict[str, Any]:
    """CUFS, from photo to sketch and back: rank 1 and episodes, of whole pictures and of what controls leave."""
    found: dict[str, Any] = {}
    for part, control in REAL.items():
        shown = replace(faces, images=control(faces.images))
        photos, sketches = (shown.select(shown.where(domain=domain)) for domain in ("photo", "sketch"))
        for name, one, other in (("photo, sketch", photos, sketches), ("sketch, photo", sketches, photos)):
            pair = {"support_where": {"domain": name.split(", ")[0]}, "query_where": {"domain": name.split(", ")[1]}}
            sampler = EpisodeSampler(shown, WAYS, 1, 1, seed=seed, **pair)
            found.setdefault(name, {})[part] = {
                **evaluate({"it": method}, sampler, EPISODES)["it"].scores(),
                "rank1": round(rank1(method, one.images, other.images), 4),
            }
    return found


def on_lfw(method: Adapts, novel: FaceSet, seed: int) -> dict[str, float]:
    """LFW, 5-way 1-shot, people that no training of this seed has seen."""
    sampler = EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed=seed)
    return evaluate({"it": method}, sampler, EPISODES)["it"].scores()


def real_faces(cufs: str | None) -> dict[str, FaceSet]:
    found = {}
    for name, source in (("lfw", "lfw"), ("cufs", f"cufs:{cufs}" if cufs else "")):
        if source:
            try:
                found[name] = small(load_faces(source))
            except MetaFaceError as error:
                print(f"Not measured on {name}: {error}", file=sys.stderr)
    return found


def go_real(method: ProtoNet, real: Mapping[str, FaceSet], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "lfw" in real:
        found["lfw"] = on_lfw(method, real["lfw"].split(FRACTIONS, seed=seed).novel, seed)
    if "cufs" in real:
        found["cufs"] = on_cufs(method, real["cufs"], seed)
    return found


def measure(job: str, seed: int, split: Split, real: Mapping[str, FaceSet]) -> dict[str, Any]:
    """One training, or the baselines with the controls, or a training on real faces; see the module."""
    base, novel = split.base, split.novel
    if job == "baselines":
        photos = base.select(base.where(domain="photo"))
        methods = {"pixels": pixels(), "lbp": lbp(), "lda": lda(photos), "brightness": brightness()}
        found = {name: {"matrix": matrix(m, novel, seed), **go_real(m, real, seed)} for name, m in methods.items()}
        return found
    if job == "controls":
        return controls(novel, seed)
    if job == "lfw":
        if "lfw" not in real:
            return {}
        faces = real["lfw"].split(FRACTIONS, seed=seed).base
        sampler = EpisodeSampler(faces, *TRAIN, seed=seed)
        start = time.process_time()
        net = network(faces, seed)
        trained = meta_train(net, sampler, steps=STEPS, tasks=TASKS, rate=RATE, halve_every=500, progress=False)
        seconds, method = time.process_time() - start, frozen(cast(ProtoNet, trained.learner))
        return {"seconds": seconds, "matrix": matrix(method, novel, seed), **go_real(method, real, seed)}
    name, kind = job.split(": ")
    net, seconds = train(base, name, kind, seed)
    method = frozen(net)
    return {
        "seconds": seconds,
        "matrix": matrix(method, novel, seed),
        "alignment": alignment(net, split.validation, seed),
        **go_real(method, real, seed),
    }


def controls(novel: FaceSet, seed: int) -> dict[str, dict[str, float]]:
    """What the silhouettes and the backgrounds of novel people tell, by nearest class mean, in every domain."""
    found = {}
    for domain in DOMAINS:
        for name, faces in procedural_controls(images=SHOTS + QUERIES, domain=domain).items():
            strangers = small(faces.of(novel.identities))
            sampler = EpisodeSampler(strangers, WAYS, SHOTS, QUERIES, seed=seed)
            found[f"{name}, {domain}"] = evaluate({"it": pixels()}, sampler, EPISODES)["it"].scores()
    return found


def _means(runs: Sequence[Any]) -> Any:
    """The means over seeds of nested dicts, whose leaves are numbers or `figures`."""
    first = runs[0]
    if not isinstance(first, dict):
        return round(statistics.mean(runs), 4)
    if "accuracy" in first:
        found = mean_scores(runs)
        if "rank1" in first:
            found["rank1"] = round(statistics.mean(run["rank1"] for run in runs), 4)
        return found
    return {key: _means([run[key] for run in runs]) for key in first}


JOBS = ("baselines", *(f"{name}: {kind}" for name, kind in TRAININGS), "lfw")


def jobs(seeds: Sequence[int]) -> list[tuple[str, int]]:
    """The controls are measured with the first seed alone: rendering them takes longer than a training."""
    return [*((job, seed) for seed in seeds for job in JOBS), ("controls", seeds[0])]


def file_of(job: str, seed: int) -> Path:
    return RUNS / f"{job.replace(': ', '-').replace(' ', '-')}-{seed}.json"


def collect(seeds: Sequence[int], command: str) -> dict[str, Any]:
    """The means over the seeds, and every seed's own accuracies."""
    by_seed = [{job: json.loads(file_of(job, seed).read_text()) for job in JOBS} for seed in seeds]
    means = {job: _means([found[job] for found in by_seed]) for job in JOBS}
    return {
        **about(command),
        "size": SIZE,
        "training_images": STEPS * TASKS * TRAIN[0] * (TRAIN[1] + TRAIN[2]),
        "episodes": EPISODES,
        "baselines": means.pop("baselines"),
        "controls": json.loads(file_of("controls", seeds[0]).read_text()),
        "trainings": means,
        "seeds": {
            str(seed): {
                job: {
                    **{pair: row["accuracy"] for pair, row in found[job]["matrix"].items()},
                    **({"lfw": found[job]["lfw"]["accuracy"]} if "lfw" in found[job] else {}),
                }
                for job in means
                if "matrix" in found[job]
            }
            for seed, found in zip(seeds, by_seed, strict=True)
        },
    }


def one(seed: int, jobs: Sequence[str], cufs: str | None) -> None:
    """Do these jobs of a seed, on one thread."""
    torch.set_num_threads(1)
    RUNS.mkdir(parents=True, exist_ok=True)
    faces, real = load_faces("procedural-domains"), real_faces(cufs)
    splits = {colour: small(faces, colour).split(FRACTIONS, seed=seed) for colour in (False, True)}
    for job in jobs:
        colour = job.endswith("colour")
        found = measure(job, seed, splits[colour], {} if colour else real)
        write_atomically(file_of(job, seed), (json.dumps(found, indent=1) + "\n").encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cufs", help="folder of the CUFS student set")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds side by side, a thread each")
    parser.add_argument("--one", nargs="+", metavar=("SEED", "JOB"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(int(asked.one[0]), asked.one[1:], asked.cufs)
        return 0
    load_faces("procedural-domains")  # rendered once, not by every seed
    left = {
        seed: [job for job, s in jobs(asked.seeds) if s == seed and not file_of(job, s).exists()]
        for seed in asked.seeds
    }

    def run(seed: int) -> None:
        if left[seed]:
            command = [sys.executable, "-m", "metaface_lessons.experiments.domains", "--one", str(seed), *left[seed]]
            command += ["--cufs", asked.cufs] if asked.cufs else []
            subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(run, asked.seeds))
    seeds = " ".join(map(str, asked.seeds))
    command = f"metaface experiment domains --seeds {seeds}{' --cufs FOLDER' if asked.cufs else ''}"
    file = DATA / "results" / "domains.json"
    write_atomically(file, (json.dumps(collect(asked.seeds, command), indent=1) + "\n").encode())
    show(json.loads(file.read_text()))
    return 0


def show(found: dict[str, Any]) -> None:
    """The accuracies of every training, in %: rows are trainings, columns pairs of support and query domain."""
    pairs = [f"{one}, {other}" for one in DOMAINS for other in DOMAINS]
    print("5-way 1-shot, %".ljust(32) + " ".join(f"{a[0]}→{b[0]}".rjust(5) for a, b in (p.split(", ") for p in pairs)))
    rows = {**found["baselines"], **found["trainings"]}
    for name, row in rows.items():
        if "matrix" in row:
            cells = " ".join(f"{100 * row['matrix'][pair]['accuracy']:5.1f}" for pair in pairs)
            print(f"{name:31s} {cells}" + (f"   LFW {100 * row['lfw']['accuracy']:.1f}" if "lfw" in row else ""))


if __name__ == "__main__":
    sys.exit(main())
