"""What training on some domains is worth on one that it never saw, on synthetic faces and from those to real ones.

    metaface experiment domains --cufs FOLDER --seeds 0 1 2

writes data/results/domains.json, which lesson 08 reads. A ProtoNet learns from one domain, or from two of three:
pooled (episodes that take no notice of domains), within (each episode in one domain), across (support of one, query of
the other), or leaving one out (MLDG, whose episodes also are within a domain). All see as many images, in grey, for
that is what all domains have; one training on photos in colour shows why. Then all nine pairs of support and query
domain are measured on novel people, on the same episodes. Each training also goes to real faces, if they are there:
LFW (scikit-learn's cache), and CUFS, photos and sketches of 188 people (--cufs). Every training and baseline is a part
in runs/domains, and is not repeated.

The stored result:

    size, training_images, episodes    of the experiment
    baselines      method → matrix, lfw, cufs, as below
    controls       "outline only, sketch" → accuracy and intervals of nearest class mean on pixels, first seed
    trainings      `Training.name`, or "lfw" → means over the seeds of
                       seconds      of one core
                       matrix       "photo, sketch" (support, query) → accuracy, ci95, ci95_people, deviation
                       alignment    "photo, sketch" → cosine of the two domains' gradients, on people held out
                       lfw          the same scores, of LFW's novel people
                       cufs         "photo, sketch" → "whole" or what a control leaves → the same scores, and rank1
    seeds          seed → training → "photo, sketch" or "lfw" → accuracy

Files that were measured from December 2026 on also have

    paired         training → what it is compared with (`compared_with`) → condition → the difference on the same
                   episodes, positive if the training is better, with its intervals (`Difference.scores`)
    by_person      condition → the answers about each person by every training and baseline, all seeds together
                   (`people_to_json`). A condition is "photo, sketch", "lfw", or "cufs, photo, sketch, whole".

Small faces are made by `FaceSet.grey` and `FaceSet.resized`, which round twice. The stored result of November 2026 is
of faces that were rounded once: some pixels differ by one of 255 levels.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..episodes import DOMAIN_KINDS, DomainSampler, EpisodeSampler, Sampler
from ..errors import MetaFaceError
from ..evaluation import Evaluation, evaluate, from_json, join, mean_over_seeds, paired, people_to_json, to_json
from ..faces import FaceSet, Split, load_faces
from ..faces.controls import inside_only, outside_only, procedural_controls
from ..faces.procedural import DOMAINS
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, brightness, lbp, lda, pixels
from ..learners.mldg import MLDG
from ..learners.protonet import ProtoNet
from ..networks import Conv4
from ..runs.recipes import FRACTIONS
from ..training import meta_train
from . import stored

FILE = stored.RESULTS / "domains.json"
COMMAND = "metaface experiment domains"
SIZE, WIDTH, STEPS, RATE = 32, 32, 250, 3e-3
TRAIN, TASKS = (10, 1, 4), 2  # ways, shots, queries of a training episode; episodes in a step
WAYS, SHOTS, QUERIES, EPISODES = 5, 1, 4, 200
INNER_RATE = 0.1
REAL = {"whole": lambda x: x, "hair and outline only": outside_only, "inner face only": inside_only}


# ----------------------------------------------------------------------------------------------------------- trainings


KINDS = ("pooled", *DOMAIN_KINDS)  # how one learns from several domains


@dataclass(frozen=True)
class Training:
    """What a network learns from.

    domains: one domain, or two.
    kind: "plain" or "colour" for one domain; one of `KINDS` for two.
    """

    domains: tuple[str, ...]
    kind: str

    @property
    def name(self) -> str:
        """How the stored result calls it: "photo: plain", "not sketch: pooled"."""
        if len(self.domains) == 1:
            return f"{self.domains[0]}: {self.kind}"
        (left_out,) = set(DOMAINS) - set(self.domains)
        return f"not {left_out}: {self.kind}"


def others(domain: str) -> tuple[str, ...]:
    """All domains but this one."""
    return tuple(other for other in DOMAINS if other != domain)


TRAININGS = (
    Training(("photo",), "colour"),
    *(Training((domain,), "plain") for domain in DOMAINS),
    *(Training(others(domain), kind) for domain in DOMAINS for kind in KINDS),
)
BASELINES = ("pixels", "lbp", "lda", "brightness")


def jobs() -> list[str]:
    """All that is measured with every seed: the baselines, the trainings, and a training on LFW."""
    return [*BASELINES, *(training.name for training in TRAININGS), "lfw"]


def compared_with(training: Training) -> list[str]:
    """The trainings and baselines that lesson 08 holds this one against."""
    if len(training.domains) == 1:
        plain = [Training(training.domains, "plain").name] if training.kind == "colour" else []
        return [*plain, "pixels", "lbp", "lda", "lfw"]
    if training.kind == "pooled":
        return [*(Training((domain,), "plain").name for domain in training.domains), "lfw"]
    return [Training(training.domains, kind).name for kind in ("pooled", "within") if kind != training.kind]


def small(faces: FaceSet, colour: bool = False) -> FaceSet:
    """The same faces, smaller, and grey unless in `colour`."""
    return (faces if colour else faces.grey()).resized(SIZE)


def network(faces: FaceSet, seed: int) -> ProtoNet:
    """A fresh one for these faces."""
    return ProtoNet(Conv4(faces.shape[0], SIZE, WIDTH, seed=seed), temperature=50, in_turn=True)


def train(base: FaceSet, training: Training | None, seed: int) -> tuple[ProtoNet, float]:
    """A trained network, and the seconds of one core that its training took.

    base: the people to learn from; of several domains if there is a `training`.
    training: None takes the faces as they come.
    seed: of weights and episodes.
    """
    net = network(base, seed)
    sampler: Sampler
    if training is None:
        sampler = EpisodeSampler(base, *TRAIN, seed=seed)
    elif training.kind in DOMAIN_KINDS:
        sampler = DomainSampler(base, training.domains, *TRAIN, kind=training.kind, seed=seed)
    else:
        sampler = EpisodeSampler(base.select(base.where(domain=set(training.domains))), *TRAIN, seed=seed)
    leaves_out = training is not None and training.kind == "leave one out"
    model = MLDG(net, INNER_RATE, first_order=True) if leaves_out else net
    start = time.process_time()
    trained = meta_train(model, sampler, steps=STEPS, tasks=TASKS, rate=RATE, halve_every=500, progress=False).whole()
    seconds = time.process_time() - start
    return cast(ProtoNet, trained.net if isinstance(trained, MLDG) else trained), seconds


def frozen(net: ProtoNet) -> ProtoNet:
    """The same learner, whose embedding is computed once for each image, however often that is drawn."""

    def embed(images: Tensor) -> Any:
        with torch.no_grad():
            return torch.cat([net.embedding(part) for part in images.split(256)]).numpy()

    return ProtoNet(FixedFeatures(embed), temperature=net.temperature)


# ------------------------------------------------------------------------------------------------- what is measured


def scored(method: Adapts, faces: FaceSet, seed: int, queries: int = QUERIES, **where: Any) -> dict[str, Any]:
    """An evaluation as JSON (`to_json`) of one method, called "it"."""
    return to_json(evaluate({"it": method}, EpisodeSampler(faces, WAYS, SHOTS, queries, seed, **where), EPISODES))


def _across(one: str, other: str) -> dict[str, Any]:
    return {"support_where": {"domain": one}, "query_where": {"domain": other}}


def matrix(method: Adapts, novel: FaceSet, seed: int) -> dict[str, Any]:
    """For every pair of support and query domain: "photo, sketch" → `scored`."""
    pairs = itertools.product(DOMAINS, repeat=2)
    return {f"{one}, {other}": scored(method, novel, seed, **_across(one, other)) for one, other in pairs}


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
    """The share of probes whose nearest image of the gallery is of the same person.

    gallery, probes: one image of each person, `[N, C, H, W]`, in the same order.
    """
    with torch.no_grad():
        known, asked = method.embed(gallery[None]), method.embed(probes[None])
    return (method.logits(asked, known)[0].argmax(1) == torch.arange(len(probes))).float().mean().item()


def on_cufs(method: ProtoNet, faces: FaceSet, seed: int) -> dict[str, Any]:
    """CUFS, from photo to sketch and back: rank 1 and episodes, of whole pictures and of what controls leave."""
    found: dict[str, Any] = {}
    for part, control in REAL.items():
        shown = replace(faces, images=control(faces.images))
        images = {domain: shown.images[shown.where(domain=domain)] for domain in ("photo", "sketch")}
        for one, other in itertools.permutations(images):
            found.setdefault(f"{one}, {other}", {})[part] = {
                **scored(method, shown, seed, queries=1, **_across(one, other)),
                "rank1": round(rank1(method, images[one], images[other]), 4),
            }
    return found


def controls(novel: FaceSet, seed: int) -> dict[str, Any]:
    """What the silhouettes and the backgrounds of novel people tell, by nearest class mean, in every domain."""
    return {
        f"{name}, {domain}": scored(pixels(), small(faces.of(novel.identities)), seed)
        for domain in DOMAINS
        for name, faces in procedural_controls(images=SHOTS + QUERIES, domain=domain).items()
    }


def measure_job(job: str, seed: int, faces: FaceSet, real: Mapping[str, FaceSet]) -> dict[str, Any]:
    """A training or a baseline with one seed; see the module. Every evaluation is `scored`.

    job: one of `jobs`.
    seed: of the division of the people, of weights and of episodes.
    faces: procedural ones in all domains, large and in colour.
    real: by "lfw" and "cufs" small grey faces, as far as they are there.
    """
    training = {training.name: training for training in TRAININGS}.get(job)
    colour = training is not None and training.kind == "colour"
    base, validation, novel = small(faces, colour).split(FRACTIONS, seed=seed)
    found: dict[str, Any] = {}
    if job in BASELINES:
        photos = base.select(base.where(domain="photo"))
        method = {"pixels": pixels, "lbp": lbp, "lda": lambda: lda(photos), "brightness": brightness}[job]()
    elif job == "lfw" and "lfw" not in real:
        return {}
    else:
        net, found["seconds"] = train(_lfw(real, seed).base if job == "lfw" else base, training, seed)
        method = frozen(net)
        if training is not None:
            found["alignment"] = alignment(net, validation, seed)
    found["matrix"] = matrix(method, novel, seed)
    if "lfw" in real and not colour:
        found["lfw"] = scored(method, _lfw(real, seed).novel, seed)
    if "cufs" in real and not colour:
        found["cufs"] = on_cufs(method, real["cufs"], seed)
    return found


def _lfw(real: Mapping[str, FaceSet], seed: int) -> Split:
    return real["lfw"].split(FRACTIONS, seed=seed)


# ------------------------------------------------------------------------------------------------- what is made of it


def _scores(found: Any) -> Any:
    """What `measure_job` found, with accuracy and intervals in the place of evaluations."""
    if not isinstance(found, dict):
        return found
    if "right" in found:
        rank = {"rank1": found["rank1"]} if "rank1" in found else {}
        return {**from_json(found)["it"].scores(), **rank}
    return {key: _scores(value) for key, value in found.items()}


def _evaluations(found: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Evaluation]]:
    """All evaluations in what `measure_job` found, with the names of their conditions."""
    for key, value in found.items():
        name = within if key == "matrix" else f"{within}, {key}".removeprefix(", ")
        if isinstance(value, dict):
            yield from [(name, from_json(value)["it"])] if "right" in value else _evaluations(value, name)


def _paired(by_job: Mapping[str, Sequence[Mapping[str, Evaluation]]], share: float) -> dict[str, Any]:
    """By training, by what it is compared with, by condition: the difference over all seeds."""
    found: dict[str, Any] = {}
    for training in TRAININGS:
        ours = by_job[training.name]
        for name in compared_with(training):
            theirs = by_job[name]
            found.setdefault(training.name, {})[name] = {
                condition: paired(
                    [run[condition] for run in ours],
                    [run[condition] for run in theirs],
                    shared=True,
                    test_share=share,
                ).scores()
                for condition in ours[0]
                if condition in theirs[0]
            }
    return found


def _by_person(by_job: Mapping[str, Sequence[Mapping[str, Evaluation]]]) -> dict[str, Any]:
    conditions = dict.fromkeys(condition for runs in by_job.values() for condition in runs[0])
    return {
        condition: people_to_json(
            {job: join([run[condition] for run in runs]) for job, runs in by_job.items() if condition in runs[0]}
        )
        for condition in conditions
    }


def parts_of(real: Mapping[str, FaceSet]) -> stored.Parts:
    """Where finished parts are kept: those that were measured on the same real faces, with the same settings."""
    of = {"steps": STEPS, "episodes": EPISODES, "size": SIZE, "width": WIDTH}
    return stored.Parts("domains", of | {"real": {name: len(faces) for name, faces in real.items()}})


def measure_seed(seed: int, faces: FaceSet, real: Mapping[str, FaceSet]) -> dict[str, Any]:
    """By job what `measure_job` found; finished parts are read."""
    parts = parts_of(real)
    return {job: parts(_part(job, seed), partial(measure_job, job, seed, faces, real)) for job in jobs()}


def _part(job: str, seed: int) -> str:
    return f"{job.replace(': ', '-').replace(' ', '-')}-{seed}"


def measure(seeds: Sequence[int], faces: FaceSet, real: Mapping[str, FaceSet]) -> dict[str, Any]:
    """All seeds, and what they come to; see the module. Finished parts in runs/domains are not measured again.

    seeds: at least one.
    faces: procedural ones in all domains, large and in colour.
    real: by "lfw" and "cufs" small grey faces, as far as they are there.
    """
    by_seed = [measure_seed(seed, faces, real) for seed in seeds]
    split = faces.split(FRACTIONS, seed=seeds[0])
    silhouettes = parts_of(real)(_part("controls", seeds[0]), lambda: controls(split.novel, seeds[0]))
    scores = [_scores(found) for found in by_seed]
    means = {job: mean_over_seeds([found[job] for found in scores]) for job in jobs()}
    by_job = {job: [dict(_evaluations(found[job])) for found in by_seed] for job in jobs()}
    return {
        "size": SIZE,
        "training_images": STEPS * TASKS * TRAIN[0] * (TRAIN[1] + TRAIN[2]),
        "episodes": EPISODES,
        "baselines": {job: means[job] for job in BASELINES},
        "controls": _scores(silhouettes),
        "trainings": {job: found for job, found in means.items() if job not in BASELINES},
        "seeds": {
            str(seed): {
                job: {
                    **{pair: row["accuracy"] for pair, row in found[job]["matrix"].items()},
                    **({"lfw": found[job]["lfw"]["accuracy"]} if "lfw" in found[job] else {}),
                }
                for job in jobs()
                if job not in BASELINES and "matrix" in found[job]
            }
            for seed, found in zip(seeds, scores, strict=True)
        },
        "paired": _paired(by_job, len(split.novel.identities) / len(split.base.identities)),
        "by_person": _by_person(by_job),
    }


# ------------------------------------------------------------------------------------------------------------- command


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def real_faces(cufs: str | None) -> tuple[dict[str, FaceSet], list[str]]:
    """The real faces that are there, small and grey; and what is said of those that are not.

    cufs: the folder of the CUFS student set; None leaves it out.
    """
    found, missing = {}, []
    for name, source in {"lfw": "lfw", **({"cufs": f"cufs:{cufs}"} if cufs else {})}.items():
        try:
            found[name] = small(load_faces(source))
        except MetaFaceError as error:
            missing.append(f"{name}: {error}")
    return found, missing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Seeds, processes, and where CUFS is."""
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cufs", metavar="FOLDER", help="of the CUFS student set")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds side by side, a thread each")
    parser.add_argument("--one", type=int, metavar="SEED", help=argparse.SUPPRESS)  # measure its parts, store no result


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` at the end, if real faces were missing."""
    torch.set_num_threads(1)
    faces = load_faces("procedural-domains")  # rendered once, not by every seed
    real, missing = real_faces(arguments.cufs)
    if arguments.one is not None:
        measure_seed(arguments.one, faces, real)
        return

    def measure_apart(seed: int) -> None:
        parts = parts_of(real)
        if any(_part(job, seed) not in parts for job in jobs()):
            command = [sys.executable, "-m", "metaface_lessons.cli", "experiment", "domains", "--one", str(seed)]
            command += ["--cufs", arguments.cufs] if arguments.cufs else []
            subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(measure_apart, arguments.seeds))
    found = measure(arguments.seeds, faces, real)
    seeds = " ".join(map(str, arguments.seeds))
    stored.store(FILE, f"{COMMAND} --seeds {seeds}{' --cufs FOLDER' if 'cufs' in real else ''}", found)
    show(found)
    if missing:
        raise MetaFaceError("Not measured: " + " ".join(missing))


def show(found: Mapping[str, Any]) -> None:
    """The accuracies of every training, in %: rows are trainings, columns pairs of support and query domain."""
    pairs = [f"{one}, {other}" for one in DOMAINS for other in DOMAINS]
    print("5-way 1-shot, %".ljust(32) + " ".join(f"{a[0]}→{b[0]}".rjust(5) for a, b in (p.split(", ") for p in pairs)))
    rows = {**found["baselines"], **found["trainings"]}
    for name, row in rows.items():
        if "matrix" in row:
            cells = " ".join(f"{100 * row['matrix'][pair]['accuracy']:5.1f}" for pair in pairs)
            print(f"{name:31s} {cells}" + (f"   LFW {100 * row['lfw']['accuracy']:.1f}" if "lfw" in row else ""))
