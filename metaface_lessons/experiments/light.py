"""Light and occlusion, on real and on procedural faces: the stored results of lesson 10.

    metaface experiment light --yale FOLDER --cmu FOLDER

measures procedural faces, and real ones where their folder is named. `metaface experiment light procedural` measures
one part alone. Each part has a file of its own in data/results. Finished pieces are in runs/light and are not measured
again. One thread.

**yale**, light-extended-yale-b.json. The people are dealt into four groups, and each group is held out once. 5-way
1-shot, support from subset 1 (light from within 12° of the camera), queries from subset 2, 3, 4 or 5. All methods meet
the same episodes of the same 32×32 pictures. The learner is a ProtoNet on pictures normalised as by Tan & Triggs,
trained on episodes whose support comes from subset 1 and whose queries do not, of the base people and `BLENDS` mixtures
of them, by three convolutions instead of four: aligned faces keep their places. It takes the mean embedding of ten
views of a picture. Its recipe was chosen by a glance at three of the twelve trainings, a small optimism that these
scores include; the number of convolutions was chosen on base people alone.

    size, base_people, blends, steps, episodes    of the experiment; base_people: in the smallest training set
    seconds        of a training of the learner, the median
    methods        method → column → accuracy, ci95, ci95_people, deviation (over seeds); columns are `COLUMNS`
    differences    method → column → ahead, ci95, ci95_people: the learner minus this method
    variants       steps; variant → column → accuracy, seeds, loses: the variant's, and the learner's minus it
    larger         size; method → column → accuracy, on larger pictures, one seed

**procedural**, light-procedural.json.

    people         how many are recognised
    grid           azimuths, elevations, block_sizes; accuracy: method → look → `[elevations, azimuths]`
    occlusion      steps, episodes; seeds: training → for each seed occluder → accuracy

**cmu**, light-cmu.json. 20 people in four groups, each held out once. Does erasing rectangles pay?

    size, steps, episodes    of the experiment
    methods        method → condition → accuracy, ci95, ci95_people

Files that were measured from December 2026 on also have

    paired         differences on the same episodes with their intervals (`Difference.scores`), by what is compared:
                   yale: methods, variants, larger → name → column, the learner minus this one
                   procedural: grid → method → look, ProtoNet minus this one; occlusion → training → occluder, this one
                   minus "nothing hidden"
                   cmu: methods → name → condition, ProtoNet minus this one
    by_person      the answers about each person (`people_to_json`), by the same names; grid: method → look → the mean
                   accuracy of each person, in the order of their numbers
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..augmentation import Augment, Views
from ..bars import Bar
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError, unknown
from ..evaluation import (
    Difference,
    Evaluation,
    evaluate,
    expected_accuracy,
    from_json,
    interval,
    join,
    paired,
    people_to_json,
    student_t,
    to_json,
)
from ..faces import FaceSet, load_faces
from ..faces.blending import with_blends
from ..faces.controls import ellipse, outside_only
from ..faces.normalisation import NORMALISATIONS, normalised, tan_triggs
from ..faces.procedural import OCCLUDERS, Nuisance, render, sample_identities, sample_nuisance, with_block
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, brightness, lbp, lda, pixels
from ..learners.protonet import ProtoNet
from ..networks import Conv4
from ..runs.recipes import FRACTIONS
from ..training import meta_train
from . import snapshots, stored

COMMAND = "metaface experiment light"
FILES = {
    "yale": stored.RESULTS / "light-extended-yale-b.json",
    "procedural": stored.RESULTS / "light-procedural.json",
    "cmu": stored.RESULTS / "light-cmu.json",
}
SEEDS = (0, 1, 2)
GROUPS = 4  # of people, each of which is held out once
WAYS, SHOTS, QUERIES, EPISODES = 5, 1, 4, 100  # episodes of each seed, group of people and condition

Scored = dict[str, dict[str, Evaluation]]  # condition → method → its evaluation


def load(part: str) -> dict[str, Any]:
    """The stored result of a part.

    part: "yale", "procedural" or "cmu".

    Raises `MetaFaceError` if there is no such part, or its file is missing or damaged.
    """
    if part not in FILES:
        raise unknown("part", part, FILES)
    return stored.load(FILES[part], _command(part))


def _command(part: str) -> str:
    folder = "" if part == "procedural" else f" --{part} FOLDER"
    return f"{COMMAND} {part}{folder}"


def groups(faces: FaceSet) -> list[tuple[FaceSet, FaceSet]]:
    """Base and held-out people, once for each of the `GROUPS`, which are as equal in size as can be."""
    people = faces.identities[torch.randperm(len(faces.identities), generator=torch.Generator().manual_seed(0))]
    return [
        (faces.of(people[~torch.isin(people, held)]), faces.of(held)) for held in people.tensor_split(GROUPS)
    ]  # 28 people: 7 in each; 38: 10, 10, 9 and 9


def _runs() -> list[tuple[int, int]]:
    """The trainings: group and seed."""
    return [(group, seed) for group in range(GROUPS) for seed in SEEDS]


def _test_share(split: Sequence[tuple[FaceSet, FaceSet]]) -> float:
    """The people of a test for each one of training, see `over_seeds`."""
    held, base = (sum(len(pair[i].identities) for pair in split) for i in (1, 0))
    return held / base


def _packed(scored: Scored) -> dict[str, Any]:
    return {condition: to_json(methods) for condition, methods in scored.items()}


def _unpacked(*parts: Mapping[str, Any]) -> Scored:
    """The evaluations of `parts` that are of the same conditions and episodes."""
    return {
        condition: {name: result for part in parts for name, result in from_json(part[condition]).items()}
        for condition in parts[0]
    }


def _by_person(rows: Sequence[Scored]) -> dict[str, Any]:
    """By condition, the answers about each person over all trainings."""
    return {
        condition: people_to_json({name: join([row[condition][name] for row in rows]) for name in rows[0][condition]})
        for condition in rows[0]
    }


# ------------------------------------------------------------------------------------------------------ Extended Yale B

YALE_SIZE, LARGER, BLENDS, STEPS = 32, 48, 300, 900
SUBSETS = (2, 3, 4, 5)
COLUMNS = {**{str(subset): (str(subset),) for subset in SUBSETS}, "2-4": ("2", "3", "4"), "2-5": ("2", "3", "4", "5")}
MEANS = ("2-4", "2-5")  # the columns in which methods are compared
SHORT = 150  # steps at which the variants of the learner are compared
FACE = (0.5, 0.5, 0.48, 0.42)  # the ellipse that the cropped face fills: its outside is the control
# What is trained for `SHORT` steps: the learner, and it with other episodes, without blends, with pictures as they are.
VARIANTS = ("learner", "generic episodes", "no blends", "not normalised")


def yale_learner(base: FaceSet, seed: int, steps: int, variant: str = "learner", progress: bool = False) -> ProtoNet:
    """The learner of the module, or a variant of it.

    base: who is learned from, the pictures as they are.
    seed: of blends, weights and episodes.
    steps: of training.
    variant: one of `VARIANTS`.
    progress: show a bar.
    """
    if variant != "no blends":
        base = with_blends(base, BLENDS, seed=seed)
    if variant != "not normalised":
        base = normalised(base, "Tan-Triggs")
    differing: dict[str, Any] = {"support_where": {"subset": 1}, "query_where": {"subset": list(SUBSETS)}}
    sampler = EpisodeSampler(base, 20, 1, 4, seed=seed, **({} if variant == "generic episodes" else differing))
    net = ProtoNet(Conv4(1, YALE_SIZE, 32, depth=3, seed=seed), temperature=50, in_turn=True)
    trained = meta_train(net, sampler, steps=steps, rate=3e-3, halve_every=STEPS / 2, progress=progress)
    return cast(ProtoNet, trained.whole())


def in_views(net: ProtoNet) -> ProtoNet:
    """The same, with the mean embedding of ten views, computed once for each picture."""
    views = Views(net.embedding)
    return ProtoNet(FixedFeatures(lambda images: views(images).detach().numpy()))


def yale_baselines(base: FaceSet) -> dict[str, ProtoNet]:
    """By name; "LDA, …, blends" is shown the same people and mixtures as the learner."""
    found = {"pixels": pixels(), "LBP": lbp(), "LDA": lda(base)}
    found |= {f"pixels, {how}": pixels(change) for how, change in NORMALISATIONS.items()}
    found |= {"LBP, Tan-Triggs": lbp(tan_triggs), "LDA, Tan-Triggs": lda(base, normalise=tan_triggs)}
    found["LDA, Tan-Triggs, blends"] = lda(with_blends(base, BLENDS), normalise=tan_triggs)
    found["LDA, Tan-Triggs, blends, ten views"] = ProtoNet(Views(found["LDA, Tan-Triggs, blends"].embedding), "cosine")
    outside = ellipse(YALE_SIZE, YALE_SIZE, FACE)
    found["control: brightness"] = brightness()
    found["control: outside the face"] = pixels(lambda images: outside_only(images, outside))
    return found


def by_subset(methods: Mapping[str, Adapts], novel: FaceSet, seed: int) -> Scored:
    """Every method on the same episodes, by the subset of the queries."""
    found = {}
    for subset in SUBSETS:
        where: dict[str, Any] = {"support_where": {"subset": 1}, "query_where": {"subset": subset}}
        sampler = EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed=100 * seed + subset, **where)
        found[str(subset)] = evaluate(methods, sampler, EPISODES)
    return found


def measure_yale(faces: FaceSet, larger: FaceSet) -> dict[str, Any]:
    """Train, evaluate and sum up; see the module.

    faces: Extended Yale B in the size `YALE_SIZE`.
    larger: the same pictures in the size `LARGER`.
    """
    of = {"people": len(faces.identities), "blends": BLENDS, "steps": STEPS, "short": SHORT, "episodes": EPISODES}
    parts, split, split_larger = stored.Parts("light/yale", of), groups(faces), groups(larger)

    def learner(group: int, seed: int) -> Any:
        base, novel = split[group]
        start = time.process_time()
        net = yale_learner(base, seed, STEPS, progress=True)
        spent = round(time.process_time() - start, 1)
        methods = {"learner": in_views(net), "learner, one view": net}
        return {"seconds": spent, "scored": _packed(by_subset(methods, normalised(novel, "Tan-Triggs"), seed))}

    def classical(group: int, seed: int) -> Any:
        base, novel = split[group]
        return _packed(by_subset(yale_baselines(base), novel, seed))

    def short(variant: str, seed: int) -> Any:
        base, novel = split[seed]  # another group for each seed
        net = yale_learner(base, seed, SHORT, variant)
        seen = novel if variant == "not normalised" else normalised(novel, "Tan-Triggs")
        return _packed(by_subset({variant: in_views(net)}, seen, seed))

    def at_larger_size(group: int) -> Any:
        methods = {"pixels": pixels(), "pixels, Tan-Triggs": pixels(tan_triggs), "LBP, Tan-Triggs": lbp(tan_triggs)}
        return _packed(by_subset(methods, split_larger[group][1], SEEDS[0]))

    runs: dict[tuple[int, int], Scored] = {}
    seconds = []
    for group, seed in Bar(_runs(), "Extended Yale B", "run"):
        ours = parts(f"learner-{group}-{seed}", partial(learner, group, seed))
        theirs = parts(f"baselines-{group}-{seed}", partial(classical, group, seed))
        runs[group, seed] = _unpacked(ours["scored"], theirs)
        seconds.append(ours["seconds"])
    variants = [
        _unpacked(
            *(parts(f"short-{variant.replace(' ', '-')}-{seed}", partial(short, variant, seed)) for variant in VARIANTS)
        )
        for seed in Bar(SEEDS, "variants", "seed")
    ]
    large = [_unpacked(parts(f"larger-{group}", partial(at_larger_size, group))) for group in range(GROUPS)]
    one_seed = [runs[group, SEEDS[0]] for group in range(GROUPS)]

    rows, share = list(runs.values()), _test_share(split)
    methods = list(rows[0]["2"])
    rivals = [name for name in methods if not name.startswith(("learner", "control"))]
    return {
        "size": YALE_SIZE,
        "base_people": min(len(base.identities) for base, _ in split),
        "blends": BLENDS,
        "steps": STEPS,
        "seconds": round(statistics.median(seconds), 1),
        "episodes": EPISODES * len(runs),
        "methods": {name: _summary(runs, name) for name in methods},
        "differences": {name: _difference(rows, name) for name in rivals},
        "variants": {"steps": SHORT, **{name: _compared(variants, name) for name in VARIANTS}},
        "larger": {"size": LARGER, **{name: _accuracies(large, name) for name in large[0]["2"]}},
        "people": len(faces.identities),
        "paired": {
            "methods": {name: _ahead(rows, rows, name, share) for name in methods if name != "learner"},
            "variants": {name: _ahead(variants, variants, name, share) for name in VARIANTS if name != "learner"},
            "larger": {name: _ahead(one_seed, large, name, share) for name in large[0]["2"]},
        },
        "by_person": {"methods": _by_person(rows), "variants": _by_person(variants), "larger": _by_person(large)},
    }


def _episodes(row: Scored, name: str, column: str) -> NDArray[np.float64]:
    """Accuracy of each episode `[E]`, a mean over the column's subsets."""
    return np.asarray(np.mean([row[subset][name].episodes for subset in COLUMNS[column]], axis=0))


def _people(rows: Sequence[Scored], name: str, conditions: Sequence[str]) -> dict[str, float]:
    """Each person's accuracy, a mean over the conditions and over the trainings that held them out."""
    found: dict[str, list[float]] = {}
    for result in (row[condition][name] for row in rows for condition in conditions):
        for person, accuracy in zip(result.names, result.people, strict=True):
            found.setdefault(person, []).append(accuracy)
    return {person: statistics.fmean(accuracies) for person, accuracies in found.items()}


def _summary(runs: Mapping[tuple[int, int], Scored], name: str) -> dict[str, Any]:
    """For each column accuracy, its intervals over episodes and over people, and its deviation over seeds."""
    rows, found = list(runs.values()), {}
    for column in COLUMNS:
        episodes = np.concatenate([_episodes(row, name, column) for row in rows])
        of_seed = [
            np.mean([_episodes(runs[group, seed], name, column).mean() for group in range(GROUPS)]) for seed in SEEDS
        ]
        found[column] = {
            "accuracy": round(float(episodes.mean()), 4),
            "ci95": round(interval(episodes), 4),
            "ci95_people": round(interval(np.array(list(_people(rows, name, COLUMNS[column]).values()))), 4),
            "deviation": round(float(np.std(of_seed, ddof=1)), 4),
        }
    return found


def _difference(rows: Sequence[Scored], name: str) -> dict[str, Any]:
    """By how much the learner is ahead, paired by episode and by person."""
    found = {}
    for column in MEANS:
        episodes = [_episodes(row, "learner", column) - _episodes(row, name, column) for row in rows]
        ours, theirs = (_people(rows, method, COLUMNS[column]) for method in ("learner", name))
        found[column] = {
            "ahead": round(float(np.concatenate(episodes).mean()), 4),
            "ci95": round(interval(np.concatenate(episodes)), 4),
            "ci95_people": round(interval(np.array([ours[person] - theirs[person] for person in ours])), 4),
        }
    return found


def _compared(rows: Sequence[Scored], name: str) -> dict[str, Any]:
    """Accuracy of a variant over the seeds, and of what it loses against the learner, paired by seed."""
    found = {}
    for column in MEANS:
        own, learner = (
            np.array([_episodes(row, method, column).mean() for row in rows]) for method in (name, "learner")
        )
        found[column] = {
            "accuracy": round(float(own.mean()), 4),
            "seeds": own.round(4).tolist(),
            "loses": (learner - own).round(4).tolist(),
        }
    return found


def _accuracies(rows: Sequence[Scored], name: str) -> dict[str, float]:
    return {column: round(float(np.mean([_episodes(row, name, column) for row in rows])), 4) for column in MEANS}


def _ahead(ours: Sequence[Scored], theirs: Sequence[Scored], name: str, share: float) -> dict[str, Any]:
    """By column, the learner minus this method. Trainings share people, by the `share` of `_test_share`."""
    found = {}
    for column, subsets in COLUMNS.items():
        learner = [join([row[subset]["learner"] for subset in subsets]) for row in ours]
        other = [join([row[subset][name] for subset in subsets]) for row in theirs]
        found[column] = paired(learner, other, shared=True, test_share=share).scores()
    return found


def show_yale(found: Mapping[str, Any]) -> None:
    print(f"\nExtended Yale B, % (± over episodes, over people); {found['episodes']} episodes a column")
    print(f"{'':36s}" + "".join(f"{column:>19s}" for column in COLUMNS))
    for name, row in found["methods"].items():
        cells = "".join(
            f"{100 * r['accuracy']:8.1f} ± {100 * r['ci95']:3.1f}, {100 * r['ci95_people']:3.1f}" for r in row.values()
        )
        print(f"{name:36s}{cells}")
    for what, rows in found["paired"].items():
        for name, row in rows.items():
            print(f"{what}: learner minus {name:28s}" + "   ".join(_said(row[column]) for column in MEANS))


def _said(difference: Mapping[str, Any]) -> str:
    return str(Difference(**{key: value for key, value in difference.items() if key != "verdict"}))


# ---------------------------------------------------------------------------------------------------- procedural faces

SIZE = 64  # of the pictures under the lamp
AZIMUTHS = (-80, -60, -40, -20, 0, 20, 40, 60, 80)  # degrees
AMBIENT = 0.25  # share of the light that comes from all around
KNOWN_LIGHT = (0.0, 20.0)  # azimuth and elevation under which everybody was enrolled
ELEVATIONS, BLOCK_SIZES = (0, 45), (0.0, 0.5, 1.0)
LOOKS = {  # occluder and size of the block
    **{occluder: (occluder, 0.5) for occluder in ("none", "sunglasses", "mask", "scarf")},
    **{f"block {size:g}": ("block", size) for size in BLOCK_SIZES},
}
OCCLUSION_SIZE, OCCLUSION_STEPS, OCCLUSION_EPISODES = 32, 300, 200
OCCLUSION_TRAININGS = {  # which pictures are trained on, and the share that is greyed out in a rectangle
    "nothing hidden": ("none", 0.0),
    "rectangles erased": ("none", 0.3),
    "occluders worn": ("all", 0.0),
}


def under_light(how: Nuisance, azimuth: Tensor, elevation: float, occluder: str, size: float) -> Nuisance:
    """The same pictures under another light, with something before the face.

    how: M pictures' nuisances.
    azimuth: of the light, `[M]`, in degrees.
    elevation: of the light, in degrees.
    occluder: one of `OCCLUDERS`.
    size: of the block, 0 to 1.
    """
    how = with_block(how, size)
    return replace(
        how,
        azimuth=azimuth.float(),
        elevation=torch.full_like(how.elevation, elevation),
        ambient=torch.full_like(how.ambient, AMBIENT),
        occluder=torch.full_like(how.occluder, OCCLUDERS.index(occluder)),
    )


def photographs(
    people: Sequence[int], azimuth: Sequence[float], elevation: float, occluder: str = "none", size: float = 0.5
) -> Tensor:
    """Frontal pictures of `people`, the same or one for each azimuth: uint8 `[M, 3, 64, 64]`."""
    how = under_light(sample_nuisance(len(people), 0, "clean"), torch.tensor(azimuth), elevation, occluder, size)
    return render(sample_identities(300)[torch.tensor(people)], how, SIZE)


def light_grid(people: Sequence[int], net: ProtoNet) -> dict[str, Any]:
    """Accuracy of 5-way 1-shot episodes, over all of them, where only the query's light and occluder differ in kind.

    Everybody has one support picture in the light in which the explorer enrols, and one query picture for each
    azimuth, elevation and occluder. Hair style, background, framing and camera are each picture's own.

    people: numbers of the default procedural faces, `[I]`.
    net: measured beside three classical methods.

    Returns `grid` as it is stored, and by method and look the means over all lamps: `people`, of each person's
    queries `[I]`, and `without`, of all queries if that person did not exist `[I]`.
    """
    methods = {"protonet": net, "tan-triggs": pixels(tan_triggs), "lbp": lbp(), "pixels": pixels()}
    everyone = sample_identities(300)[torch.tensor(people)]

    def pictures(seed: int, azimuth: float, elevation: float, occluder: str = "none", size: float = 0.5) -> Tensor:
        how = sample_nuisance(len(people), seed, "full")
        still = torch.zeros(len(people))
        how = replace(how, yaw=still, pitch=still, roll=still, strength=still)
        return render(everyone, under_light(how, still + azimuth, elevation, occluder, size), SIZE)

    def embedded(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            found = {name: method.embed(images[None])[0] for name, method in methods.items()}
        for method in methods.values():
            if isinstance(method.embedding, FixedFeatures):
                method.embedding.forget()
        return found

    known = embedded(pictures(1, *KNOWN_LIGHT))
    accuracy: dict[str, dict[str, list[list[float]]]] = {name: {} for name in methods}
    of_people: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in methods}
    for number, (label, (occluder, size)) in enumerate(Bar(LOOKS.items(), "light and occluders", "look")):
        nearer: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in methods}
        for e, elevation in enumerate(ELEVATIONS):
            for a, azimuth in enumerate(AZIMUTHS):
                seed = 1000 * (number + 1) + 100 * e + a
                for name, points in embedded(pictures(seed, azimuth, elevation, occluder, size)).items():
                    distance = torch.cdist(points, known[name])
                    nearer[name].append((distance < distance.diagonal()[:, None]).numpy())
        for name, lamps in nearer.items():
            exact = [expected_accuracy(lamp.sum(1), len(people) - 1, WAYS) for lamp in lamps]
            accuracy[name][label] = np.round(exact, 4).reshape(len(ELEVATIONS), len(AZIMUTHS)).tolist()
            of_people[name][label] = {
                "people": [
                    statistics.fmean(expected_accuracy(lamp[i : i + 1].sum(1), len(people) - 1, WAYS) for lamp in lamps)
                    for i in range(len(people))
                ],
                "without": [
                    statistics.fmean(
                        expected_accuracy(np.delete(np.delete(lamp, i, 0), i, 1).sum(1), len(people) - 2, WAYS)
                        for lamp in lamps
                    )
                    for i in range(len(people))
                ],
            }
    grid = {"azimuths": AZIMUTHS, "elevations": ELEVATIONS, "block_sizes": BLOCK_SIZES, "accuracy": accuracy}
    return {"grid": grid, "of_people": of_people}


def _grid_difference(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> Difference:
    """The difference of two methods in `light_grid`, with its interval over people: the jackknife.

    Each leaves out one person, who is missing among queries and among all others' impostors; see `people_interval`.
    The pseudo-values, I times the whole minus I − 1 times what is left, then count as independent.
    """
    whole = float(np.mean(ours["people"]) - np.mean(theirs["people"]))
    without = np.array(ours["without"]) - np.array(theirs["without"])
    return Difference(whole, over_people=student_t(len(without) * whole - (len(without) - 1) * without))


def occlusion_training(faces: FaceSet, kind: str, seed: int) -> Scored:
    """By occluder, the people never seen: their support shows everything, their query wears the occluder.

    faces: procedural ones.
    kind: one of `OCCLUSION_TRAININGS`.
    seed: of the division of the people, of weights and of episodes.
    """
    base, _, novel = faces.resized(OCCLUSION_SIZE).split(FRACTIONS, seed)
    pictures, erase = OCCLUSION_TRAININGS[kind]
    if pictures == "none":
        base = base.select(base.where(occluder="none"))
    net = Conv4(3, OCCLUSION_SIZE, 32, seed=seed)
    learner = ProtoNet(net, temperature=50, augment=Augment(erase=erase, seed=seed), in_turn=True)
    sampler = EpisodeSampler(base, 20, 1, 4, seed=seed)
    trained = meta_train(learner, sampler, steps=OCCLUSION_STEPS, rate=3e-3, progress=False).whole()
    found = {}
    for occluder in OCCLUDERS:
        differing: dict[str, Any] = {"support_where": {"occluder": "none"}, "query_where": {"occluder": occluder}}
        sampler = EpisodeSampler(novel, WAYS, 1, 1, seed=seed, **differing)
        found[occluder] = evaluate({kind: cast(ProtoNet, trained)}, sampler, OCCLUSION_EPISODES)
    return found


def measure_procedural(faces: FaceSet) -> dict[str, Any]:
    """Light and occluders before a trained network, and three trainings against occluders; see the module.

    faces: the default procedural ones.
    """
    split = faces.split(FRACTIONS, seed=snapshots.SETTINGS.seed)
    people = split.novel.identities.tolist()
    of = {"people": people, "steps": OCCLUSION_STEPS, "episodes": OCCLUSION_EPISODES, "azimuths": AZIMUTHS}
    parts = stored.Parts("light/procedural", of)
    looked = parts("grid", lambda: light_grid(people, snapshots.load_snapshots()[snapshots.STEPS[-1]]))

    def training(kind: str, seed: int) -> Any:
        return _packed(occlusion_training(faces, kind, seed))

    rows = [
        _unpacked(
            *(parts(f"{kind.replace(' ', '-')}-{seed}", partial(training, kind, seed)) for kind in OCCLUSION_TRAININGS)
        )
        for seed in Bar(SEEDS, "occlusion training", "seed")
    ]
    first, of_people = next(iter(OCCLUSION_TRAININGS)), looked["of_people"]
    share = len(split.novel.identities) / len(split.base.identities)

    def gain(kind: str, occluder: str) -> dict[str, Any]:
        ours, theirs = ([row[occluder][name] for row in rows] for name in (kind, first))
        return paired(ours, theirs, shared=True, test_share=share).scores()

    return {
        "people": len(people),
        "grid": looked["grid"],
        "occlusion": {
            "steps": OCCLUSION_STEPS,
            "episodes": OCCLUSION_EPISODES,
            "seeds": {
                kind: [{occluder: round(row[occluder][kind].accuracy, 4) for occluder in OCCLUDERS} for row in rows]
                for kind in OCCLUSION_TRAININGS
            },
        },
        "paired": {
            "grid": {
                name: {
                    look: _grid_difference(of_people["protonet"][look], found).scores() for look, found in looks.items()
                }
                for name, looks in of_people.items()
                if name != "protonet"
            },
            "occlusion": {
                kind: {occluder: gain(kind, occluder) for occluder in OCCLUDERS}
                for kind in OCCLUSION_TRAININGS
                if kind != first
            },
        },
        "by_person": {
            "grid": {
                name: {
                    look: " ".join(f"{accuracy:.4f}" for accuracy in found["people"]) for look, found in looks.items()
                }
                for name, looks in of_people.items()
            },
            "occlusion": _by_person(rows),
        },
    }


def show_procedural(found: Mapping[str, Any]) -> None:
    print(f"\nProcedural faces, {found['people']} people, %; azimuth {found['grid']['azimuths']}")
    for name, looks in found["grid"]["accuracy"].items():
        for look, table in looks.items():
            print(f"{name:12s} {look:12s}" + "   ".join(" ".join(f"{100 * a:4.0f}" for a in row) for row in table))
    for kind, seeds in found["occlusion"]["seeds"].items():
        print(f"{kind:20s}" + "".join(f"{o:>12s} {100 * statistics.mean(s[o] for s in seeds):5.1f}" for o in OCCLUDERS))
    for kind, row in found["paired"]["occlusion"].items():
        for occluder, difference in row.items():
            print(f"{kind}, {occluder}: {_said(difference)}")


# ----------------------------------------------------------------------------------------------------------------- CMU

CMU_SIZE, CMU_STEPS = 32, 100
CMU_CONDITIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sunglasses": ({"eyes": "open"}, {"eyes": "sunglasses"}),
    "pose": ({"pose": "straight", "eyes": "open"}, {"pose": ["left", "right", "up"], "eyes": "open"}),
}


def cmu_training(base: FaceSet, novel: FaceSet, seed: int) -> Scored:
    """By condition, two networks that learned from the base people, and classical methods, on the novel people."""
    methods: dict[str, Adapts] = {"pixels": pixels(), "LBP": lbp(), "pixels, Tan-Triggs": pixels(tan_triggs)}
    methods |= {"LDA": lda(base), "control: brightness": brightness()}
    for name, erase in (("ProtoNet", 0.0), ("ProtoNet, rectangles erased", 0.3)):
        augment = Augment(erase=erase, seed=seed)
        net = ProtoNet(Conv4(1, CMU_SIZE, 32, seed=seed), temperature=50, augment=augment, in_turn=True)
        sampler = EpisodeSampler(base, 15, 1, 4, seed=seed)
        methods[name] = meta_train(net, sampler, steps=CMU_STEPS, rate=3e-3, progress=False).whole()
    return {
        condition: evaluate(methods, EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed, *where), EPISODES)
        for condition, where in CMU_CONDITIONS.items()
    }


def measure_cmu(faces: FaceSet) -> dict[str, Any]:
    """Each group of people is held out once: 5-way 1-shot among them; see the module.

    faces: the CMU faces in the size `CMU_SIZE`.
    """
    of = {"people": len(faces.identities), "steps": CMU_STEPS, "episodes": EPISODES}
    parts, split = stored.Parts("light/cmu", of), groups(faces)

    def training(group: int, seed: int) -> Any:
        return _packed(cmu_training(*split[group], seed))

    rows = [
        _unpacked(parts(f"{group}-{seed}", partial(training, group, seed)))
        for group, seed in Bar(_runs(), "CMU faces", "run")
    ]

    def scores(name: str, condition: str) -> dict[str, float]:
        episodes = np.concatenate([row[condition][name].episodes for row in rows])
        people = np.array(list(_people(rows, name, [condition]).values()))
        return {
            "accuracy": round(float(episodes.mean()), 4),
            "ci95": round(interval(episodes), 4),
            "ci95_people": round(interval(people), 4),
        }

    def ahead(name: str, condition: str) -> dict[str, Any]:
        ours, theirs = ([row[condition][method] for row in rows] for method in ("ProtoNet", name))
        return paired(ours, theirs, shared=True, test_share=_test_share(split)).scores()

    methods = list(next(iter(rows[0].values())))
    return {
        "size": CMU_SIZE,
        "steps": CMU_STEPS,
        "episodes": EPISODES * len(rows),
        "methods": {name: {condition: scores(name, condition) for condition in CMU_CONDITIONS} for name in methods},
        "paired": {
            "methods": {
                name: {condition: ahead(name, condition) for condition in CMU_CONDITIONS}
                for name in methods
                if name != "ProtoNet"
            }
        },
        "by_person": {"methods": _by_person(rows)},
    }


def show_cmu(found: Mapping[str, Any]) -> None:
    print(f"\nCMU faces, % (± over episodes, over people); {found['episodes']} episodes a column")
    for name, row in found["methods"].items():
        cells = "".join(
            f"{c:>12s} {100 * r['accuracy']:5.1f} ± {100 * r['ci95']:3.1f}, {100 * r['ci95_people']:3.1f}"
            for c, r in row.items()
        )
        print(f"{name:30s}{cells}")
    for name, row in found["paired"]["methods"].items():
        print(f"ProtoNet minus {name:30s}" + "   ".join(f"{c} {_said(r)}" for c, r in row.items()))


# ------------------------------------------------------------------------------------------------------------- command


def faces_of(part: str, folder: str | None) -> tuple[FaceSet, ...]:
    """What `measure` takes.

    part: "yale", "procedural" or "cmu".
    folder: of the real faces.

    Raises `MetaFaceError` if the folder is not named, missing, or not of these faces.
    """
    if part == "procedural":
        return (load_faces("procedural"),)
    if folder is None:
        raise MetaFaceError(f"The part {part} needs real faces, but no folder is named. Name it: {_command(part)}")
    if part == "yale":
        return tuple(load_faces(f"extended-yale-b:{folder}", size=size) for size in (YALE_SIZE, LARGER))
    return (load_faces(f"cmu:{folder}", size=CMU_SIZE),)


def measure(part: str, *faces: FaceSet) -> dict[str, Any]:
    """Measure one part; finished pieces of it are kept in runs/light.

    part: "yale", "procedural" or "cmu".
    faces: what `faces_of` loads.

    Raises `MetaFaceError` if there is no such part.
    """
    if part == "yale":
        return measure_yale(*faces)
    if part == "procedural":
        return measure_procedural(*faces)
    if part == "cmu":
        return measure_cmu(*faces)
    raise unknown("part", part, FILES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parts, and where the real faces are."""
    parser.add_argument("parts", nargs="*", metavar="PART", help="yale, procedural, cmu; by default those that it can")
    parser.add_argument("--yale", metavar="FOLDER", help="of Extended Yale B, cropped: CroppedYale")
    parser.add_argument("--cmu", metavar="FOLDER", help="of the CMU faces")


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print each part. Raises `MetaFaceError` at the end, if faces of a part were missing."""
    folders = {"yale": arguments.yale, "procedural": None, "cmu": arguments.cmu}
    parts = arguments.parts or [part for part, folder in folders.items() if folder or part == "procedural"]
    for part in parts:
        if part not in FILES:
            raise unknown("part", part, FILES)
    torch.set_num_threads(1)
    missing = []
    for part in parts:
        try:
            faces = faces_of(part, folders[part])
        except MetaFaceError as error:
            missing.append(f"{part}: {error}")
            continue
        found = measure(part, *faces)
        stored.store(FILES[part], _command(part), found)
        {"yale": show_yale, "procedural": show_procedural, "cmu": show_cmu}[part](found)
    if missing:
        raise MetaFaceError("Not measured: " + " ".join(missing))
