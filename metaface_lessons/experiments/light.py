"""Light, on real and on procedural faces: the stored results of lesson 10. Occlusion has an experiment of its own.

    metaface experiment light --yale FOLDER

measures procedural faces, and Extended Yale B where its folder is named. `metaface experiment light procedural`
measures one part alone. Each part has a file of its own in data/results.

**yale**, light-extended-yale-b.json. The people are dealt into four groups, and each group is held out once. 5-way
1-shot, support from subset 1 (light from within 12° of the camera), queries from subset 2, 3, 4 or 5. All methods meet
the same episodes of the same pictures. The learner is a ProtoNet. How it is trained (`RECIPES`), how LDA is
(`LDA_RECIPES`), and whether they take the mean of ten views of a picture, is chosen for each group among its base
people alone: a third of them plays the strangers.

    size, blends, steps, episodes    of the experiment; episodes: of each subset, over all trainings
    people         the groups, each a list of names
    chosen         "learner", "LDA": for each group what was chosen
    methods        method → column → `Estimate.scores`; columns are `COLUMNS`. The learner has a training for each group
                   and seed. The others do not depend on the seed, so each group counts once
    ahead          method → column → `Difference.scores`: the learner minus this one
    ablated        trainings and steps of the next: all of them
    ablation       recipe → column → `Difference.scores`: the first of `RECIPES` minus this one, ten views each
    blends_for_lda column → `Difference.scores`: LDA with blends minus LDA without, both after Tan & Triggs' chain
    chains         normalisation → another method → column → `Difference.scores`: pixels after the one minus the other
    larger         size; methods; ahead: the same on larger pictures, one seed, for methods that learn nothing
    by_person      subset → `people_to_json`

**procedural**, light-procedural.json.

    people         how many are recognised
    azimuths, elevations, block_sizes    of the lamps and the block
    accuracy       method → look → `[elevations, azimuths]`
    ahead          method → look → `Difference.scores`: ProtoNet minus this one
    by_person      method → look → the mean accuracy of each person, in the order of their numbers
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..augmentation import Views
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError, unknown
from ..evaluation import (
    Difference,
    Estimate,
    Evaluation,
    evaluate,
    expected_accuracy,
    from_json,
    join,
    over_seeds,
    paired,
    people_interval,
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
from ..machine import best_device
from ..networks import Conv4
from ..runs.recipes import FRACTIONS
from ..training import meta_train
from . import snapshots, stored

COMMAND = "metaface experiment light"
FILES = {
    "yale": stored.RESULTS / "light-extended-yale-b.json",
    "procedural": stored.RESULTS / "light-procedural.json",
}
SEEDS = (0, 1, 2)
GROUPS = 4  # of people, each of which is held out once
WAYS, SHOTS, QUERIES, EPISODES = 5, 1, 4, 100  # episodes of each seed, group of people and condition

Scored = dict[str, dict[str, Evaluation]]  # condition → method → its evaluation


def load(part: str) -> dict[str, Any]:
    """The stored result of a part.

    part: "yale" or "procedural".

    Raises `MetaFaceError` if there is no such part, or its file is missing or damaged.
    """
    if part not in FILES:
        raise unknown("part", part, FILES)
    return stored.load(FILES[part], _command(part))


def _command(part: str) -> str:
    return f"{COMMAND} {part}{' --yale FOLDER' if part == 'yale' else ''}"


def groups(faces: FaceSet, number: int = GROUPS) -> list[tuple[FaceSet, FaceSet]]:
    """Base and held-out people, once for each of several groups, which are as equal in size as can be.

    faces: of any number of people: 28 make groups of 7 each, 38 of 10, 10, 9 and 9.
    number: of groups.
    """
    people = faces.identities[torch.randperm(len(faces.identities), generator=torch.Generator().manual_seed(0))]
    return [(faces.of(people[~torch.isin(people, held)]), faces.of(held)) for held in people.tensor_split(number)]


def test_share(split: Sequence[tuple[FaceSet, FaceSet]]) -> float:
    """The people of a test for each one of training, see `over_seeds`."""
    held, base = (sum(len(pair[i].identities) for pair in split) for i in (1, 0))
    return held / base


# ------------------------------------------------------------------------------------------------------ Extended Yale B

YALE_SIZE, LARGER, BLENDS, STEPS = 32, 48, 300, 900
SUBSETS = (2, 3, 4, 5)
COLUMNS = {**{str(subset): (str(subset),) for subset in SUBSETS}, "2-4": ("2", "3", "4"), "2-5": ("2", "3", "4", "5")}
INNER = 3  # one of so many parts of the base people plays the strangers, where a recipe is chosen
FACE = (0.5, 0.5, 0.48, 0.42)  # the ellipse that the cropped face fills: its outside is the control
VIEWS = ("one view", "ten views")


@dataclass(frozen=True)
class Recipe:
    """How the learner is trained.

    blends: whether people are added by mixing (`with_blends`).
    chain: whether pictures are normalised as by Tan & Triggs.
    differing: whether the support of an episode comes from subset 1 and its queries do not.
    depth: convolutions. Aligned faces keep their places, which fewer of them preserve.
    """

    blends: bool = True
    chain: bool = True
    differing: bool = True
    depth: int = 3


RECIPES = {  # the whole recipe; it without one part each; and with the usual number of convolutions
    "whole": Recipe(),
    "generic episodes": Recipe(differing=False),
    "no blends": Recipe(blends=False),
    "not normalised": Recipe(chain=False),
    "four convolutions": Recipe(depth=4),
}
ABLATION = ("generic episodes", "no blends", "not normalised")
CHAINS = ("DoG", "Tan-Triggs")  # normalisations that are compared, before pixels, with what is not normalised
LDA_RECIPES = [  # blends, chain, components, shrinkage
    (blends, chain, components, shrinkage)
    for blends in (False, True)
    for chain in (False, True)
    for components in (50, 100, 200)
    for shrinkage in (None, 0.1, 0.5)
]
LdaRecipe = tuple[bool, bool, int, float | None]


def yale(folder: str, size: int) -> FaceSet:
    return load_faces(f"extended-yale-b:{folder}", size=size)


def yale_learner(base: FaceSet, recipe: Recipe, seed: int) -> ProtoNet:
    """A ProtoNet on the CPU, of pictures as they are, which it normalises itself. It learns on a GPU if there is one.

    base: who is learned from, the pictures as they are.
    recipe: how it is trained.
    seed: of blends, weights and episodes.
    """
    if recipe.blends:
        base = with_blends(base, BLENDS, seed=seed)
    if recipe.chain:
        base = normalised(base, "Tan-Triggs")
    differing: dict[str, Any] = {"support_where": {"subset": 1}, "query_where": {"subset": list(SUBSETS)}}
    device, ways = best_device(), min(20, len(base.identities))
    sampler = EpisodeSampler(base.to(device), ways, 1, 4, seed=seed, **(differing if recipe.differing else {}))
    net = ProtoNet(Conv4(1, base.shape[1], 32, depth=recipe.depth, seed=seed), temperature=50, in_turn=True)
    trained = meta_train(net.to(device), sampler, steps=STEPS, rate=3e-3, halve_every=STEPS / 2, progress=False)
    return cast(ProtoNet, trained.whole().cpu().eval())


def in_views(net: ProtoNet, chain: bool = False) -> dict[str, ProtoNet]:
    """By `VIEWS`: the embedding of a picture, and the mean of those of ten views of it; each is computed once.

    net: its embedding takes pictures as they are, or normalised if `chain`.
    """

    def features(embedding: torch.nn.Module) -> ProtoNet:
        def points(images: Tensor) -> NDArray[np.float32]:
            with torch.no_grad():
                return embedding(tan_triggs(images) if chain else images).numpy()

        return ProtoNet(FixedFeatures(points), net.distance)

    return {"one view": features(net.embedding), "ten views": features(Views(net.embedding))}


def yale_lda(base: FaceSet, recipe: LdaRecipe) -> ProtoNet:
    """LDA from one of `LDA_RECIPES`; with blends it learns from the same mixtures as the learner of seed 0."""
    blends, chain, components, shrinkage = recipe
    seen = with_blends(base, BLENDS) if blends else base
    return lda(seen, components, tan_triggs, shrinkage) if chain else lda(seen, components, shrinkage=shrinkage)


def lda_name(recipe: LdaRecipe, views: str) -> str:
    """What the recipe is called in the result."""
    blends, chain, components, shrinkage = recipe
    words = ["Tan-Triggs"] * chain + ["blends"] * blends
    return ", ".join([*words, f"{components} components", f"shrinkage {shrinkage or 0:g}", views])


def by_subset(methods: Mapping[str, Adapts], novel: FaceSet, seed: int) -> dict[str, Any]:
    """Every method on the same episodes, by the subset of the queries, as JSON."""
    found = {}
    for subset in SUBSETS:
        where: dict[str, Any] = {"support_where": {"subset": 1}, "query_where": {"subset": subset}}
        sampler = EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed=100 * seed + subset, **where)
        found[str(subset)] = to_json(evaluate(methods, sampler, EPISODES))
    return found


def inner(base: FaceSet) -> tuple[FaceSet, FaceSet]:
    """The base people of a group, divided again: who is learned from, and who plays the strangers."""
    return groups(base, INNER)[0]


def learner_part(folder: str, recipe: str, group: int, seed: int, choosing: bool = False) -> dict[str, Any]:
    """A training of the learner, by subset, on the group; or, where a recipe is chosen, among its base people."""
    base, novel = groups(yale(folder, YALE_SIZE))[group]
    if choosing:
        base, novel = inner(base)
    how = RECIPES[recipe]
    views = in_views(yale_learner(base, how, seed), how.chain)
    return by_subset({f"{recipe}, {view}": net for view, net in views.items()}, novel, seed)


def lda_part(folder: str, group: int, blends: bool, chain: bool) -> dict[str, Any]:
    """The recipes for LDA with these pictures, by subset, among the base people of the group."""
    base, novel = inner(groups(yale(folder, YALE_SIZE))[group][0])
    methods = {}
    for recipe in LDA_RECIPES:
        if recipe[:2] == (blends, chain):
            for view, net in in_views(yale_lda(base, recipe)).items():
                methods[lda_name(recipe, view)] = net
    return by_subset(methods, novel, SEEDS[0])


def baselines_part(folder: str, group: int, seed: int, chosen: str) -> dict[str, Any]:
    """Classical methods, by subset, on the group.

    chosen: which recipe for LDA, by `lda_name`.
    """
    base, novel = groups(yale(folder, YALE_SIZE))[group]
    methods = {"pixels": pixels(), "LBP": lbp(), "LBP, Tan-Triggs": lbp(tan_triggs)}
    methods |= {f"pixels, {how}": pixels(change) for how, change in NORMALISATIONS.items()}
    methods |= {"LDA": lda(base), "LDA, Tan-Triggs": lda(base, normalise=tan_triggs)}
    methods["LDA, Tan-Triggs, blends"] = yale_lda(base, (True, True, 100, None))
    by_name = {lda_name(recipe, view): (recipe, view) for recipe in LDA_RECIPES for view in VIEWS}
    recipe, view = by_name[chosen]
    methods["LDA, chosen"] = in_views(yale_lda(base, recipe))[view]
    outside = ellipse(YALE_SIZE, YALE_SIZE, FACE)
    methods["control: brightness"] = brightness()
    methods["control: outside the face"] = pixels(lambda images: outside_only(images, outside))
    return by_subset(methods, novel, seed)


def larger_part(folder: str, group: int) -> dict[str, Any]:
    """What learns nothing, by subset, on larger pictures of the group."""
    _, novel = groups(yale(folder, LARGER))[group]
    methods = {"pixels": pixels(), "pixels, Tan-Triggs": pixels(tan_triggs), "LBP, Tan-Triggs": lbp(tan_triggs)}
    return by_subset(methods, novel, SEEDS[0])


def _best(parts: Sequence[Mapping[str, Any]]) -> str:
    """The method with the highest accuracy over the subsets 2 to 5; of several, the first."""
    mean: dict[str, float] = {}
    for part in parts:
        by = [from_json(part[subset]) for subset in COLUMNS["2-5"]]
        mean |= {name: statistics.fmean(found[name].accuracy for found in by) for name in by[0]}
    return max(mean, key=lambda name: mean[name])


def measure_yale(folder: str, jobs: int = 1) -> dict[str, Any]:
    """Choose, train, evaluate and sum up; see the module.

    folder: of Extended Yale B.
    jobs: how many parts are measured side by side.

    Raises `MetaFaceError` if the folder is missing, or not of these faces.
    """
    faces = yale(folder, YALE_SIZE)
    split, places = groups(faces), [(group, seed) for group in range(GROUPS) for seed in SEEDS]
    of = {"people": len(faces.identities), "blends": BLENDS, "steps": STEPS, "episodes": EPISODES}
    parts = stored.Parts("light/yale", of)

    def part_of(recipe: str, group: int, seed: int) -> str:
        return f"learner-{recipe.replace(' ', '-')}-{group}-{seed}"

    first = {
        f"choosing-{part_of(recipe, group, SEEDS[0])}": partial(learner_part, folder, recipe, group, SEEDS[0], True)
        for group in range(GROUPS)
        for recipe in RECIPES
    }
    pictures = [(blends, chain) for blends in (False, True) for chain in (False, True)]
    first |= {
        f"choosing-lda-{group}-{blends:d}{chain:d}": partial(lda_part, folder, group, blends, chain)
        for group in range(GROUPS)
        for blends, chain in pictures
    }
    first |= {
        part_of(recipe, group, seed): partial(learner_part, folder, recipe, group, seed)
        for recipe in ("whole", *ABLATION)
        for group, seed in places
    }
    first |= {f"larger-{group}": partial(larger_part, folder, group) for group in range(GROUPS)}
    found = parts.all(first, jobs, "Extended Yale B")

    chosen = {
        "learner": [
            _best([found[f"choosing-{part_of(recipe, group, SEEDS[0])}"] for recipe in RECIPES])
            for group in range(GROUPS)
        ],
        "LDA": [
            _best([found[f"choosing-lda-{group}-{blends:d}{chain:d}"] for blends, chain in pictures])
            for group in range(GROUPS)
        ],
    }
    recipes = [name.rpartition(", ")[0] for name in chosen["learner"]]
    second = {
        part_of(recipes[group], group, seed): partial(learner_part, folder, recipes[group], group, seed)
        for group, seed in places
    } | {
        f"baselines-{group}-{seed}": partial(baselines_part, folder, group, seed, chosen["LDA"][group])
        for group, seed in places
    }
    found |= parts.all(second, jobs, "Extended Yale B, as chosen")

    def row(group: int, seed: int) -> Scored:
        scored = {}
        for subset in map(str, SUBSETS):
            by = from_json(found[f"baselines-{group}-{seed}"][subset])
            for recipe in {"whole": 0, **dict.fromkeys(ABLATION), recipes[group]: 0}:
                by |= from_json(found[part_of(recipe, group, seed)][subset])
            scored[subset] = by | {"learner": by[chosen["learner"][group]]}
        return scored

    rows = [row(*place) for place in places]
    large = [{s: from_json(found[f"larger-{group}"][s]) for s in map(str, SUBSETS)} for group in range(GROUPS)]
    of_seed_0 = [rows[places.index((group, SEEDS[0]))] for group in range(GROUPS)]
    classical = list(from_json(found["baselines-0-0"]["2"]))
    of_groups = [
        {
            subset: {
                name: join([rows[places.index((group, seed))][subset][name] for seed in SEEDS]) for name in classical
            }
            for subset in map(str, SUBSETS)
        }
        for group in range(GROUPS)
    ]
    whole = "whole, ten views"
    share = test_share(split)

    def ahead(ours: Sequence[Scored], one: str, theirs: Sequence[Scored], other: str) -> dict[str, Any]:
        return {column: _difference(ours, one, theirs, other, column, share) for column in COLUMNS}

    kept = ["learner", whole, *(f"{recipe}, ten views" for recipe in ABLATION), *classical]
    return {
        "size": YALE_SIZE,
        "blends": BLENDS,
        "steps": STEPS,
        "episodes": EPISODES * len(places),
        "people": [[novel.name_of(int(person)) for person in novel.identities] for _, novel in split],
        "chosen": chosen,
        "methods": {
            name: {
                column: _estimate(of_groups if name in classical else rows, name, column, share) for column in COLUMNS
            }
            for name in kept
        },
        "ahead": {name: ahead(rows, "learner", rows, name) for name in classical},
        "ablated": {"trainings": len(places), "steps": STEPS},
        "ablation": {recipe: ahead(rows, whole, rows, f"{recipe}, ten views") for recipe in ABLATION},
        "blends_for_lda": ahead(of_groups, "LDA, Tan-Triggs, blends", of_groups, "LDA, Tan-Triggs"),
        "chains": {
            chain: {other: ahead(of_groups, f"pixels, {chain}", of_groups, other) for other in ("pixels", "LBP", "LDA")}
            for chain in CHAINS
        },
        "larger": {
            "size": LARGER,
            "methods": {
                name: {column: _estimate(large, name, column, share) for column in COLUMNS} for name in large[0]["2"]
            },
            "ahead": {name: ahead(of_seed_0, "learner", large, name) for name in large[0]["2"]},
        },
        "by_person": {
            subset: people_to_json({name: join([row[subset][name] for row in rows]) for name in kept})
            for subset in map(str, SUBSETS)
        },
    }


def _joined(rows: Sequence[Scored], name: str, column: str) -> list[Evaluation]:
    """Of each training the episodes of the column's subsets."""
    return [join([row[subset][name] for subset in COLUMNS[column]]) for row in rows]


def _estimate(rows: Sequence[Scored], name: str, column: str, share: float) -> dict[str, Any]:
    """Accuracy with its intervals over people and over trainings, which share people by `test_share`."""
    found = _joined(rows, name, column)
    whole = over_seeds([e.accuracy for e in found], shared=True, test_share=share)
    people = people_interval([(e.episodes, e) for e in found])
    return Estimate(whole.mean, over_people=people, over_seeds=whole.over_seeds).scores()


def _difference(
    ours: Sequence[Scored], one: str, theirs: Sequence[Scored], other: str, column: str, share: float
) -> dict[str, Any]:
    pair = _joined(ours, one, column), _joined(theirs, other, column)
    return paired(*pair, shared=True, test_share=share).scores()


def show_yale(found: Mapping[str, Any]) -> None:
    """Print what `measure_yale` found."""
    print(f"\nExtended Yale B, % ± 95%; {found['episodes']} episodes a subset; chosen: {found['chosen']}")
    print(f"{'':36s}" + "".join(f"{column:>13s}" for column in COLUMNS))
    for name, row in found["methods"].items():
        estimates = [Estimate.from_scores(scores) for scores in row.values()]
        print(f"{name:36s}" + "".join(f"{100 * e.mean:7.1f} ± {100 * e.widest:3.1f}" for e in estimates))
    for what in ("ahead", "ablation"):
        for name, row in found[what].items():
            print(f"{what}, {name}: " + "; ".join(_said(row[column]) for column in ("2-4", "2-5")))
    print("LDA, blends: " + "; ".join(_said(found["blends_for_lda"][column]) for column in ("2-4", "2-5")))


def _said(scores: Mapping[str, Any]) -> str:
    return f"{Difference.from_scores(scores)}, {scores['verdict']}"


# ---------------------------------------------------------------------------------------------------- procedural faces

SIZE = 64  # of the pictures under the lamp
AZIMUTHS = (-80, -60, -40, -20, 0, 20, 40, 60, 80)  # degrees
AMBIENT = 0.25  # share of the light that comes from all around
KNOWN_LIGHT = (0.0, 20.0)  # azimuth and elevation under which everybody was enrolled
ELEVATIONS, BLOCK_SIZES = (0, 45), (0.25, 0.5, 1.0)
LOOKS = {  # occluder and size of the block
    **{occluder: (occluder, 0.5) for occluder in ("none", "sunglasses", "mask", "scarf")},
    **{f"block {size:g}": ("block", size) for size in BLOCK_SIZES},
}


def under_light(how: Nuisance, azimuth: Tensor, elevation: float, occluder: str, size: float) -> Nuisance:
    """The same pictures under another light, with something before the face.

    how: M pictures' nuisances.
    azimuth: of the light, `[M]`, in degrees.
    elevation: of the light, in degrees.
    occluder: one of `OCCLUDERS`.
    size: of the block, 0 to 1. At 0 there is no block.
    """
    if occluder == "block" and size == 0:
        occluder = "none"
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
    """Frontal pictures of people under a lamp: uint8 `[M, 3, 64, 64]`. Nothing but light and occluder differs.

    people: numbers of the default procedural faces, `[M]`.
    azimuth: of the light on each picture, `[M]`, in degrees; positive: from the right of the picture.
    elevation: of the light, in degrees.
    occluder: one of `OCCLUDERS`. "none".
    size: of the block, 0 to 1. 0.5.
    """
    how = under_light(sample_nuisance(len(people), 0, "clean"), torch.tensor(azimuth), elevation, occluder, size)
    return render(sample_identities(300)[torch.tensor(people)], how, SIZE)


def look_part(people: Sequence[int], look: str) -> dict[str, Any]:
    """Accuracy of 5-way 1-shot episodes, over all of them, where only the query's light and occluder differ in kind.

    Everybody has one support picture in the light in which the explorer enrols, and one query picture for each
    azimuth and elevation. Hair style, background, framing and camera are each picture's own, and the same in each look.

    people: numbers of the default procedural faces, `[I]`.
    look: one of `LOOKS`.

    Returns by method "accuracy" `[elevations, azimuths]`, and the means over all lamps: "people", of each person's
    queries `[I]`, and "without", of all queries if that person did not exist `[I]`.
    """
    net = snapshots.load_snapshots()[snapshots.STEPS[-1]]
    methods = {"protonet": net, "tan-triggs": pixels(tan_triggs), "lbp": lbp(), "pixels": pixels()}
    everyone = sample_identities(300)[torch.tensor(people)]
    others = len(people) - 1

    def embedded(seed: int, azimuth: float, elevation: float, occluder: str, size: float) -> dict[str, Tensor]:
        how = sample_nuisance(len(people), seed, "full")
        still = torch.zeros(len(people))
        how = replace(how, yaw=still, pitch=still, roll=still, strength=still)
        images = render(everyone, under_light(how, still + azimuth, elevation, occluder, size), SIZE)
        with torch.no_grad():
            found = {name: method.embed(images[None])[0] for name, method in methods.items()}
        for method in methods.values():
            if isinstance(method.embedding, FixedFeatures):
                method.embedding.forget()
        return found

    known = embedded(1, *KNOWN_LIGHT, "none", 0.5)
    nearer: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in methods}
    for e, elevation in enumerate(ELEVATIONS):
        for a, azimuth in enumerate(AZIMUTHS):
            for name, points in embedded(1000 + 100 * e + a, azimuth, elevation, *LOOKS[look]).items():
                distance = torch.cdist(points, known[name])
                nearer[name].append((distance < distance.diagonal()[:, None]).numpy())

    def mean(lamps: Sequence[NDArray[np.bool_]], among: int) -> float:
        return statistics.fmean(expected_accuracy(lamp.sum(1), among, WAYS) for lamp in lamps)

    return {
        name: {
            "accuracy": np.reshape(
                [round(expected_accuracy(lamp.sum(1), others, WAYS), 4) for lamp in lamps],
                (len(ELEVATIONS), len(AZIMUTHS)),
            ).tolist(),
            "people": [mean([lamp[i : i + 1] for lamp in lamps], others) for i in range(len(people))],
            "without": [
                mean([np.delete(np.delete(lamp, i, 0), i, 1) for lamp in lamps], others - 1) for i in range(len(people))
            ],
        }
        for name, lamps in nearer.items()
    }


def _jackknifed(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> Difference:
    """The difference of two methods in `look_part`, with its interval over people: the jackknife.

    Each leaves out one person, who is missing among queries and among all others' impostors; see `people_interval`.
    The pseudo-values, I times the whole minus I − 1 times what is left, then count as independent.
    """
    whole = float(np.mean(ours["people"]) - np.mean(theirs["people"]))
    without = np.array(ours["without"]) - np.array(theirs["without"])
    return Difference(whole, over_people=student_t(len(without) * whole - (len(without) - 1) * without))


def measure_procedural(people: Sequence[int], jobs: int = 1) -> dict[str, Any]:
    """Light and occluders before a trained network and classical methods; see the module.

    people: numbers of the default procedural faces, whom the network was not trained on.
    jobs: how many parts are measured side by side.
    """
    of = {"people": list(people), "azimuths": AZIMUTHS, "elevations": ELEVATIONS}
    wanted = {look.replace(" ", "-"): partial(look_part, people, look) for look in LOOKS}
    found = stored.Parts("light/procedural", of).all(wanted, jobs, "light and occluders")
    looks = dict(zip(LOOKS, found.values(), strict=True))
    methods = list(looks["none"])
    return {
        "people": len(people),
        "azimuths": AZIMUTHS,
        "elevations": ELEVATIONS,
        "block_sizes": BLOCK_SIZES,
        "accuracy": {name: {look: looks[look][name]["accuracy"] for look in LOOKS} for name in methods},
        "ahead": {
            name: {look: _jackknifed(looks[look]["protonet"], looks[look][name]).scores() for look in LOOKS}
            for name in methods
            if name != "protonet"
        },
        "by_person": {
            name: {look: " ".join(f"{accuracy:.4f}" for accuracy in looks[look][name]["people"]) for look in LOOKS}
            for name in methods
        },
    }


def show_procedural(found: Mapping[str, Any]) -> None:
    """Print what `measure_procedural` found."""
    print(f"\nProcedural faces, {found['people']} people, %; azimuth {found['azimuths']}")
    for name, looks in found["accuracy"].items():
        for look, table in looks.items():
            print(f"{name:12s} {look:12s}" + "   ".join(" ".join(f"{100 * a:4.0f}" for a in row) for row in table))


# ------------------------------------------------------------------------------------------------------------- command


def measure(part: str, folder: str | None = None, jobs: int = 1) -> dict[str, Any]:
    """Measure one part; what is finished of it is kept in runs/light.

    part: "yale" or "procedural".
    folder: of Extended Yale B, for its part.
    jobs: how many parts of it are measured side by side.

    Raises `MetaFaceError` if there is no such part, or its faces are missing.
    """
    if part not in FILES:
        raise unknown("part", part, FILES)
    if part == "procedural":
        split = load_faces("procedural").split(FRACTIONS, seed=snapshots.SETTINGS.seed)
        return measure_procedural(split.novel.identities.tolist(), jobs)
    if folder is None:
        raise MetaFaceError(f"The part yale needs real faces, but no folder is named. Name it: {_command(part)}")
    return measure_yale(folder, jobs)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parts, and where the real faces are."""
    parser.add_argument("parts", nargs="*", metavar="PART", help="yale, procedural; by default those that it can")
    parser.add_argument("--yale", metavar="FOLDER", help="of Extended Yale B, cropped: CroppedYale")
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print each part. Raises `MetaFaceError` at the end, if faces of a part were missing."""
    parts = arguments.parts or [part for part in FILES if part != "yale" or arguments.yale]
    for part in parts:
        if part not in FILES:
            raise unknown("part", part, FILES)
    torch.set_num_threads(1)
    missing = []
    for part in parts:
        try:
            found = measure(part, arguments.yale, arguments.jobs)
        except MetaFaceError as error:
            missing.append(f"{part}: {error}")
            continue
        stored.store(FILES[part], _command(part), found, best_device())
        {"yale": show_yale, "procedural": show_procedural}[part](found)
    if missing:
        raise MetaFaceError("Not measured: " + " ".join(missing))
