"""Templates: how to make one entry of a gallery from several photos, and what each photo more is worth.

Each person is enrolled with 1 to 10 photos. Other photos of the same people are compared with every entry. The people
are strangers to the networks: on LFW those that `metaface experiment verification` trains, with each seed's novel
people who have enough photos; on procedural faces the stored one of `snapshots`, with new people for each seed.

An entry is made, and compared by the cosine unless it says otherwise, in one of these `WAYS`:

    mean                   the mean of the embeddings
    mean of unit length    the mean of the embeddings, each scaled to length 1 before
    best                   all embeddings are kept; the highest of their scores counts
    mean of scores         all embeddings are kept; the mean of their scores counts
    mean, squared          the mean of the embeddings, compared by the squared distance, with which ProtoNet was trained

Finished parts are kept in runs/templates. The stored result, data/results/templates.json, has fmr and sets: "lfw" and
"procedural" → people, probes (means over the seeds), seeds, photos (numbers of photos in an entry), and

- ways: way → for each number of photos fnmr, the FNMR at the threshold that has this fmr on the same people, and eer;
- paired: differences of FNMR on the same comparisons with 95% intervals over people and seeds, above 0 for fewer errors
    - photos: way → for each number of photos after the first, what they gain over one photo;
    - ways: way → for each number of photos, what the way gains over "mean".
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MetaFaceError
from ..evaluation import Difference, mean_over_seeds, over_seeds
from ..faces import FaceSet, load_faces
from ..learners.protonet import cosine, squared_euclidean
from ..runs.recipes import FRACTIONS
from ..verification import Comparer, Verification, paired_bootstrap
from . import snapshots, stored, verification

TITLES = {"lfw": "real faces (LFW)", "procedural": "synthetic faces"}  # of the sets, in figures
FILE = stored.RESULTS / "templates.json"
COMMAND = "metaface experiment templates"
PHOTOS = (1, 2, 3, 5, 10)
PROBES = 4  # at most, of each person
ROUNDS = 2  # how often photos are drawn for entries and probes
PEOPLE = 40  # procedural ones, of each seed
FMR = 0.01
SAMPLES = 200  # of the bootstrap
WAYS = ("mean", "mean of unit length", "best", "mean of scores", "mean, squared")


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def entry_scores(entries: Tensor, probes: Tensor) -> dict[str, Tensor]:
    """How alike each probe and each entry are, `[Q, N]`, in each of the `WAYS`; higher for more alike.

    entries: the embeddings of the n photos of N people, `[N, n, D]`.
    probes: the embeddings of Q photos, `[Q, D]`.
    """
    single = 1 - cosine(probes, entries.flatten(0, 1)).unflatten(1, entries.shape[:2])  # [Q, N, n]
    mean = entries.mean(dim=1)
    return {
        "mean": 1 - cosine(probes, mean),
        "mean of unit length": 1 - cosine(probes, F.normalize(entries, dim=-1).mean(dim=1)),
        "best": single.amax(dim=-1),
        "mean of scores": single.mean(dim=-1),
        "mean, squared": -squared_euclidean(probes, mean),
    }


def drawn(identity: Tensor, photos: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Photos for the entry of each person who has more than `photos`, and other photos of theirs as probes.

    identity: int64 `[M]`, who is on each photo.
    photos: in an entry.
    seed: of the draw.

    Returns the people `[N]`, the numbers of the photos of their entries `[N, photos]`, and of the probes `[Q]`. Raises
    `MetaFaceError` if fewer than two people have enough photos.
    """
    generator = torch.Generator().manual_seed(seed)
    people, entries, probes = [], [], []
    for person in identity.unique().tolist():
        own = (identity == person).nonzero().flatten()
        own = own[torch.randperm(len(own), generator=generator)]
        if len(own) > photos:
            people.append(person)
            entries.append(own[:photos])
            probes.append(own[photos : photos + PROBES])
    if len(people) < 2:
        raise MetaFaceError(
            f"Entries of {photos} photos need two people or more who have more photos than that, but there are"
            f" {len(people)}. Enrol with fewer photos, or take other faces."
        )
    return torch.tensor(people), torch.stack(entries), torch.cat(probes)


def compared(points: Tensor, identity: Tensor, photos: Sequence[int], seed: int) -> dict[str, list[Verification]]:
    """All comparisons of probes with entries: by way, for each number of photos. All are of the same pairs.

    points: the embeddings of M photos, `[M, D]`.
    identity: int64 `[M]`, who is on each.
    photos: the numbers of photos in an entry.
    seed: of the draw of photos.
    """
    scores: dict[str, list[list[Tensor]]] = {way: [[] for _ in photos] for way in WAYS}
    pairs = []
    for number in range(ROUNDS):
        people, entries, probes = drawn(identity, max(photos), ROUNDS * seed + number)
        pairs.append(torch.cartesian_prod(identity[probes], people))
        for i, n in enumerate(photos):
            for way, found in entry_scores(points[entries[:, :n]], points[probes]).items():
                scores[way][i].append(found.flatten())
    who = torch.cat(pairs).numpy()
    return {
        way: [Verification(torch.cat(rounds).double().numpy(), who) for rounds in rows] for way, rows in scores.items()
    }


def _fnmr(compared: Verification) -> float:
    return compared.fnmr_at_fmr(FMR)


def _gain(ours: Verification, theirs: Verification) -> dict[str, Any]:
    """By how much the FNMR of the first is lower, with its interval over people."""
    low, high = paired_bootstrap(theirs, ours, _fnmr, SAMPLES)
    return Difference(_fnmr(theirs) - _fnmr(ours), over_people=(high - low) / 2).scores()


def _part(comparer: Comparer, faces: FaceSet, photos: Sequence[int], seed: int) -> dict[str, Any]:
    """What all ways make of the photos of some strangers."""
    ways = compared(comparer.embed(faces.images), faces.identity, photos, seed)
    people, _, probes = drawn(faces.identity, max(photos), ROUNDS * seed)
    return {
        "people": len(people),
        "probes": ROUNDS * len(probes),
        "ways": {
            way: [{"fnmr": round(_fnmr(each), 4), "eer": round(each.eer, 4)} for each in rows]
            for way, rows in ways.items()
        },
        "paired": {
            "photos": {way: [_gain(each, rows[0]) for each in rows[1:]] for way, rows in ways.items()},
            "ways": {
                way: [_gain(each, mean) for each, mean in zip(rows, ways["mean"], strict=True)]
                for way, rows in ways.items()
                if way != "mean"
            },
        },
    }


def _real(faces: str, seed: int, steps: int, photos: Sequence[int], runs: Path) -> dict[str, Any]:
    run = verification.trained("protonet", faces, seed, steps, runs, {})
    return _part(Comparer(run.learner.get_submodule("embedding"), run.split.base.shape), run.split.novel, photos, seed)


def _procedural(seed: int, photos: Sequence[int], people: int) -> dict[str, Any]:
    net = snapshots.load_snapshots()[snapshots.STEPS[-1]]
    faces = load_faces(f"procedural:seed={seed + 1}")  # the network has seen people of seed 0
    return _part(Comparer(net.embedding, faces.shape), faces.of(faces.identities[:people]), photos, seed)


def measure(
    faces: str = verification.FACES,
    seeds: Sequence[int] = verification.SEEDS,
    steps: int = verification.STEPS,
    photos: Sequence[int] = PHOTOS,
    people: int = PEOPLE,
    jobs: int = 1,
    work: Path = stored.WORK,
) -> dict[str, Any]:
    """The stored result; see the module for what it has.

    faces: the name of the set of real faces.
    seeds: each divides the people of the real faces in another way, and has other synthetic people.
    steps: of the ProtoNets that `verification` trains.
    photos: the numbers of photos in an entry, the smallest first.
    people: synthetic ones of each seed.
    jobs: parts side by side.
    work: the folder of trainings and finished parts.

    Raises `MetaFaceError` if the faces are missing, or too few people have enough photos.
    """
    parts = stored.Parts("templates", {"faces": faces, "steps": steps, "photos": photos, "people": people}, work)
    wanted: dict[str, Callable[[], Any]] = {
        f"lfw-{seed}": partial(_real, faces, seed, steps, photos, work / "verification") for seed in seeds
    }
    wanted |= {f"procedural-{seed}": partial(_procedural, seed, photos, people) for seed in seeds}
    found = parts.all(wanted, jobs)
    split = load_faces(faces).split(FRACTIONS, seed=seeds[0])
    test_share = len(split.novel.identities) / len(split.base.identities)
    return {
        "fmr": FMR,
        "sets": {
            name: _collected([found[f"{name}-{seed}"] for seed in seeds], photos, share)
            for name, share in (("lfw", test_share), ("procedural", None))
        },
    }


def _collected(parts: Sequence[Mapping[str, Any]], photos: Sequence[int], test_share: float | None) -> dict[str, Any]:
    """What the parts of all seeds say together.

    test_share: where the seeds divide the same people, the people of a test for each one of training.
    """

    def joined(kind: str, way: str, place: int) -> dict[str, Any]:
        several = [Difference.from_scores(part["paired"][kind][way][place]) for part in parts]
        if len(several) == 1:
            return several[0].scores()
        return over_seeds(several, shared=test_share is not None, test_share=test_share).scores()

    first = parts[0]["paired"]
    return {
        "people": statistics.fmean(part["people"] for part in parts),
        "probes": statistics.fmean(part["probes"] for part in parts),
        "seeds": len(parts),
        "photos": list(photos),
        "ways": mean_over_seeds([part["ways"] for part in parts], {}),
        "paired": {
            kind: {way: [joined(kind, way, i) for i in range(len(rows))] for way, rows in ways.items()}
            for kind, ways in first.items()
        },
    }


def show(found: Mapping[str, Any]) -> None:
    """Print a result, as `measure` returns it."""
    for name, rows in found["sets"].items():
        print(f"{name}, {rows['people']:g} people: FNMR at FMR {100 * found['fmr']:g} %, by photos {rows['photos']}")
        for way, cells in rows["ways"].items():
            rates = " ".join(f"{100 * cell['fnmr']:5.1f}" for cell in cells)
            print(f"  {way:20s} {rates}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many jobs."""
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` where LFW is missing."""
    found = measure(jobs=arguments.jobs)
    stored.store(FILE, COMMAND, found)
    show(found)
