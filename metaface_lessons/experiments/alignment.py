"""Alignment on LFW: what it costs if a face is not where the network expects it.

Every method knows the faces of LFW in one crop. Here the second photo of a pair, and the queries of an episode, are cut
in another way: moved, zoomed, turned, or found and levelled by the course's own `find_face`. The first photo and the
support set stay as they were, but for "find_face, both". People are strangers, and the networks are those that
`metaface experiment verification` trains.

Photos in which `find_face` finds no face, or several, are counted and then left out of all conditions, so that every
condition is measured on the same photos, pairs and episodes. Nobody is in it with more than `PHOTOS` photos.

Finished parts are kept in runs/alignment. The stored result, data/results/alignment-lfw.json, has

- people, photos: the means over the seeds; seeds; pairs, episodes: of each seed;
- failed: photos that failed, of how many, the share: failures to acquire (FTA);
- conditions: their names, the unchanged one first;
- methods: method → condition → accuracy and eer of pairs and the 1-shot accuracy, means over the seeds. A pair is
  judged by the threshold that is best on *unchanged* pairs of the other half of the people;
- paired: for accuracy (of pairs) and 1-shot, method → condition → the accuracy minus the one of unchanged photos, on
  the same pairs or episodes, with 95% intervals over people and seeds (corrected, because seeds share people).
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..episodes import Episodes, EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import Difference, Evaluation, evaluate, from_json, mean_over_seeds, over_seeds, paired, to_json
from ..faces import FaceSet, Split, load_faces
from ..faces.pairs import draw_pairs
from ..faces.photos import find_face
from ..faces.real import LFW_COLUMNS, LFW_ROWS, LFW_SIZE
from ..learners.baselines import FixedFeatures, baselines
from ..learners.protonet import ProtoNet
from ..paths import sklearn_data
from ..runs.protocols import SAMPLES
from ..runs.recipes import FRACTIONS
from ..verification import Comparer, Verification, paired_bootstrap
from . import stored, verification

FILE = stored.RESULTS / "alignment-lfw.json"
COMMAND = "metaface experiment alignment"
PHOTOS = 10
PAIRS, EPISODES, WAYS, QUERIES = 1200, 200, 5, 4


@dataclass(frozen=True)
class Change:
    """How a face is cut otherwise than the networks know it.

    move: pixels of the crop, in a random direction.
    zoom: the factor by which the face is larger or smaller, at random.
    turn: degrees, to a random side.
    """

    move: float = 0.0
    zoom: float = 1.0
    turn: float = 0.0


AS_TRAINED = "as trained"
CHANGES = {
    AS_TRAINED: Change(),
    **{f"moved {pixels}": Change(move=pixels) for pixels in (1, 2, 3, 4)},
    **{f"zoomed {factor:.2f}": Change(zoom=factor) for factor in (1.05, 1.1, 1.15, 1.2)},
    **{f"turned {degrees}": Change(turn=degrees) for degrees in (5, 10, 15, 20)},
}
FOUND, BOTH = "find_face, probe", "find_face, both"
CONDITIONS = (*CHANGES, FOUND, BOTH)


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def cut(picture: Image.Image, change: Change, direction: float = 0.0, sign: int = 1) -> Tensor:
    """The face of a picture of LFW: uint8 `[3, LFW_SIZE, LFW_SIZE]`, without a change as `load_faces("lfw")` has it.

    picture: of 250×250 pixels.
    change: how it is cut otherwise.
    direction: of the move, in radians.
    sign: 1 or −1, whether it is zoomed in or out, and to which side it is turned.
    """
    side = LFW_ROWS.stop - LFW_ROWS.start
    x, y = ((part.start + part.stop) / 2 for part in (LFW_COLUMNS, LFW_ROWS))
    if change.turn:
        picture = picture.rotate(sign * change.turn, Image.Resampling.BICUBIC, center=(x, y))
    x += change.move * side / LFW_SIZE * math.cos(direction)
    y += change.move * side / LFW_SIZE * math.sin(direction)
    half = side / 2 / change.zoom**sign
    left, top = math.floor(x - half), math.floor(y - half)  # whole pixels first: nothing from outside is mixed in
    around = picture.crop((left, top, math.ceil(x + half), math.ceil(y + half)))
    box = (x - half - left, y - half - top, x + half - left, y + half - top)
    face = around.resize((LFW_SIZE, LFW_SIZE), Image.Resampling.BICUBIC, box)
    return torch.from_numpy(np.array(face)).permute(2, 0, 1).contiguous()


class Versions(NamedTuple):
    """The same photos in several versions.

    faces: by version, each with the same people in the same order.
    failed: in how many photos `find_face` failed, which are in no version.
    """

    faces: dict[str, FaceSet]
    failed: int


def versions_of(people: FaceSet, seed: int, photos: int = PHOTOS) -> Versions:
    """The photos of people of LFW in every version: those of `CHANGES`, and `FOUND`.

    people: whose; their pictures are read again, because the crop is not enough to cut them otherwise.
    seed: of the choice of photos, and of the directions.
    photos: at most so many of each person.

    Raises `MetaFaceError` if a person has no folder in scikit-learn's cache, or if OpenCV is missing.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, list[Tensor]] = {name: [] for name in (*CHANGES, FOUND)}
    who, failed = list[int](), 0
    for person in people.identities.tolist():
        folder = sklearn_data() / "lfw_home" / "lfw_funneled" / people.names[person].replace(" ", "_")
        files = sorted(folder.glob("*.jpg"))
        if not files:
            raise MetaFaceError(f"The pictures of LFW are not in {folder}. Get them: metaface faces lfw")
        for number in generator.permutation(len(files))[:photos]:
            direction, sign = generator.uniform(0, 2 * math.pi), int(generator.choice((-1, 1)))
            try:
                levelled = find_face(files[number], LFW_SIZE)
            except MetaFaceError:
                failed += 1
                continue
            with Image.open(files[number]) as picture:
                rgb = picture.convert("RGB")
            for name, change in CHANGES.items():
                found[name].append(cut(rgb, change, direction, sign))
            found[FOUND].append(levelled)
            who.append(person)
    identity = torch.tensor(who)
    faces = {
        name: FaceSet(torch.stack(images), identity, names=people.names, name=f"lfw, {name}")
        for name, images in found.items()
    }
    return Versions(faces, failed)


class OtherQueries(EpisodeSampler):
    """Draws the episodes of `support`, with the queries in another version of the same photos.

    support, query: two versions of the photos.
    seed: of the random stream; the drawn photos depend on it alone.
    """

    def __init__(self, support: FaceSet, query: FaceSet, seed: int) -> None:
        super().__init__(support, WAYS, 1, QUERIES, seed=seed)
        self._other = EpisodeSampler(query, WAYS, 1, QUERIES, seed=seed)

    def sample(self, tasks: int = 1) -> Episodes:
        return replace(super().sample(tasks), query=self._other.sample(tasks).query)


def _methods(which: str, faces: str, seed: int, steps: int, runs: Path) -> tuple[Split, dict[str, ProtoNet]]:
    """The seed's people, and the trained ProtoNet, with its points computed once for each picture, or the baselines."""
    if which == verification.BASELINES:
        split = load_faces(faces).split(FRACTIONS, seed=seed)
        return split, baselines(split.base)
    run = verification.trained(which, faces, seed, steps, runs, {})
    net = cast(ProtoNet, run.learner).requires_grad_(False)
    once = FixedFeatures(lambda images: net.embedding(images).numpy())
    return run.split, {which: ProtoNet(once, net.distance)}


def _part(
    faces: str, which: str, seed: int, steps: int, each: int, episodes: int, photos: int, runs: Path
) -> dict[str, Any]:
    """What the ProtoNet or the baselines make of every condition with one seed, and differences over people."""
    split, methods = _methods(which, faces, seed, steps, runs)
    versions, failed = versions_of(split.novel, seed, photos)
    unchanged = versions[AS_TRAINED]
    pairs = draw_pairs(unchanged, each, folds=2, seed=seed)
    people, fold = pairs.people.numpy(), pairs.fold.numpy()
    sides = {name: (AS_TRAINED, name) for name in (*CHANGES, FOUND)} | {BOTH: (FOUND, FOUND)}

    found: dict[str, dict[str, Any]] = {name: {} for name in methods}
    differences: dict[str, dict[str, Any]] = {name: {} for name in methods}
    for name, method in methods.items():
        comparer = Comparer(method.embedding, unchanged.shape, method.distance)
        points = {version: comparer.embed(cut_so.images) for version, cut_so in versions.items()}
        threshold, judged = np.empty(len(people)), dict[str, Verification]()
        for condition, (first, second) in sides.items():
            one, other = points[first][pairs.index[:, 0]], points[second][pairs.index[:, 1]]
            scores = comparer.scores(one[:, None], other[:, None]).flatten().double().numpy()
            if condition == AS_TRAINED:
                for k in np.unique(fold):
                    rest = fold != k
                    threshold[~rest] = Verification(scores[rest], people[rest]).best_threshold()
            judged[condition] = Verification(scores - threshold, people)
            found[name][condition] = {
                "accuracy": round(_accuracy(judged[condition]), 4),
                "eer": round(Verification(scores, people).eer, 4),
            }
            if condition != AS_TRAINED:
                low, high = paired_bootstrap(judged[condition], judged[AS_TRAINED], _accuracy, SAMPLES)
                change = _accuracy(judged[condition]) - _accuracy(judged[AS_TRAINED])
                differences[name][condition] = Difference(change, over_people=(high - low) / 2).scores()
    scored: dict[str, Evaluation] = {}
    for condition, (support, query) in sides.items():
        for name, result in evaluate(methods, OtherQueries(versions[support], versions[query], seed), episodes).items():
            scored[f"{name}: {condition}"] = result
            found[name][condition]["1-shot"] = round(result.accuracy, 4)
    return {
        "people": len(unchanged.identities),
        "photos": len(unchanged),
        "failed": failed,
        "methods": found,
        "differences": differences,
        "evaluations": to_json(scored),
    }


def _accuracy(judged: Verification) -> float:
    return judged.accuracy(0.0)


def measure(
    faces: str = verification.FACES,
    seeds: Sequence[int] = verification.SEEDS,
    steps: int = verification.STEPS,
    each: int = PAIRS,
    episodes: int = EPISODES,
    photos: int = PHOTOS,
    jobs: int = 1,
    work: Path = stored.WORK,
) -> dict[str, Any]:
    """The stored result; see the module for what it has.

    faces: "lfw"; the name of a set whose pictures are in scikit-learn's folder of LFW.
    seeds: each divides the people in another way.
    steps: of the ProtoNets that `verification` trains.
    each: pairs of one person, and as many of two.
    episodes: 5-way 1-shot.
    photos: at most so many of each person.
    jobs: parts side by side.
    work: the folder of trainings and finished parts.

    Raises `MetaFaceError` if the faces are missing or too few, or if OpenCV is missing.
    """
    split = load_faces(faces).split(FRACTIONS, seed=seeds[0])
    of = {"faces": faces, "steps": steps, "each": each, "episodes": episodes, "photos": photos}
    runs = work / "verification"
    parts = stored.Parts("alignment", of, work)
    methods = ("protonet", verification.BASELINES)
    wanted = {
        f"{which}-{seed}": partial(_part, faces, which, seed, steps, each, episodes, photos, runs)
        for seed in seeds
        for which in methods
    }
    measured = parts.all(wanted, jobs)
    found = [_joined([measured[f"{which}-{seed}"] for which in methods]) for seed in seeds]
    failed, used = (sum(part[key] for part in found) for key in ("failed", "photos"))
    return {
        "people": statistics.fmean(part["people"] for part in found),
        "photos": statistics.fmean(part["photos"] for part in found),
        "seeds": len(seeds),
        "pairs": 2 * each,
        "episodes": episodes,
        "failed": {"photos": failed, "of": failed + used, "share": round(failed / (failed + used), 4)},
        "conditions": list(CONDITIONS),
        "methods": mean_over_seeds([part["methods"] for part in found], {}),
        "paired": _paired(found, len(split.novel.identities) / len(split.base.identities)),
    }


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What parts of the same seed found about other methods, as one."""
    scored = stored.joined(from_json(part["evaluations"]) for part in parts)
    both = {key: stored.joined(part[key] for part in parts) for key in ("methods", "differences")}
    return {**parts[0], **both, "evaluations": to_json(scored)}


def _paired(found: Sequence[Mapping[str, Any]], test_share: float) -> dict[str, Any]:
    """The differences of all seeds together."""
    scored = [from_json(part["evaluations"]) for part in found]

    def of_pairs(name: str, condition: str) -> Difference:
        several = [Difference.from_scores(part["differences"][name][condition]) for part in found]
        return over_seeds(several, shared=True, test_share=test_share) if len(several) > 1 else several[0]

    def of_episodes(name: str, condition: str) -> Difference:
        changed, unchanged = ([row[f"{name}: {key}"] for row in scored] for key in (condition, AS_TRAINED))
        return paired(changed, unchanged, shared=True, test_share=test_share)

    return {
        key: {
            name: {condition: between(name, condition).scores() for condition in CONDITIONS[1:]}
            for name in found[0]["methods"]
        }
        for key, between in (("accuracy", of_pairs), ("1-shot", of_episodes))
    }


def show(found: Mapping[str, Any]) -> None:
    """Print a result, as `measure` returns it."""
    failed = found["failed"]
    print(f"find_face failed in {failed['photos']} of {failed['of']} photos (FTA {100 * failed['share']:.1f} %).")
    for condition in found["conditions"][1:]:
        for key in ("accuracy", "1-shot"):
            cells = (f"{name} {Difference.from_scores(rows[condition])}" for name, rows in found["paired"][key].items())
            print(f"{condition:18s} {key:8s}  {'   '.join(cells)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many jobs."""
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` where LFW or OpenCV is missing."""
    found = measure(jobs=arguments.jobs)
    stored.store(FILE, COMMAND, found)
    show(found)
