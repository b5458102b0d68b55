"""What hides a face, and what it helps to have seen it in training: on real strangers, and on procedural faces.

    metaface experiment occlusion

measures "lfw" and "procedural"; with `--cmu FOLDER` also "cmu". `metaface experiment occlusion lfw` measures one part
alone. Each part has a file of its own in data/results.

**lfw** and **procedural**. Everybody is known by a picture that shows the whole face, and asked about in another, which
is `LOOKS`: as it is, or with sunglasses, a mask, a scarf or a block before it. These are rendered: on procedural faces
with the face, on LFW's photos by `faces.occlusion`. The same pictures are asked about in every look. Three trainings of
one ProtoNet, with the same people, pictures and updates, differ in what half of their pictures show (`TRAININGS`). The
occluders of a test are others than those of the training. On LFW each seed divides the same people; procedural faces
have new people for each seed.

    size, width, steps, episodes, share, bank, seeds    of the experiment; width: filters of the network; share: of the
                   training pictures that have something before them; bank: looks of each occluder
    people         how many learn, and how many are tested
    accuracy       method → look → mean, over_people, over_seeds: 5-way 1-shot (see `Estimate.scores`)
    gain           training → look → `Difference.scores`: this training minus "plain", on the same episodes
    lost           method → look → `Difference.scores`: this look minus "none", the same pictures and people
    easier         method → look → `Difference.scores`: this look minus "sunglasses", the same pictures and people
    cost           training → look → `Difference.scores`: what this training loses by the look, minus what "plain" loses
    verification   LFW alone: eer: method → look → mean, over_seeds; gain: training → look → `Difference.scores` of the
                   EER, above 0 where the training has fewer errors; door: method → look → fmr, fnmr at the threshold
                   at which 1% of the impostor pairs without occluders are accepted
    by_person      look → `people_to_json`: how often each person was asked about and recognised, over all seeds

**cmu**. 20 people in four groups, each held out once. Does erasing rectangles pay?

    size, steps, episodes    of the experiment
    methods        method → condition → accuracy, ci95, ci95_people
    paired         methods → name → condition → `Difference.scores`, ProtoNet minus this one
    by_person      methods → condition → `people_to_json`
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..augmentation import Augment
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError, unknown
from ..evaluation import (
    Difference,
    Evaluation,
    evaluate,
    from_json,
    interval,
    join,
    over_seeds,
    paired,
    people_interval,
    people_to_json,
    to_json,
)
from ..faces import FaceSet, load_faces
from ..faces.faceset import Split
from ..faces.normalisation import tan_triggs
from ..faces.occlusion import EYES, WORN, Occluders, render_occluders, wear
from ..faces.procedural import OCCLUDERS, nuisance_seed, render, sample_identities, sample_nuisance
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, brightness, lbp, lda, pixels
from ..learners.protonet import ProtoNet
from ..machine import best_device
from ..networks import Conv4
from ..runs.recipes import FRACTIONS
from ..training import meta_train
from ..verification import Verification, paired_bootstrap
from . import stored
from .light import groups, test_share

COMMAND = "metaface experiment occlusion"
TITLES = {"procedural": "synthetic people", "lfw": "real strangers (LFW)"}  # of the parts with trainings, in figures
FILES = {part: stored.RESULTS / f"occlusion-{part}.json" for part in ("lfw", "procedural", "cmu")}
SEEDS = (0, 1, 2, 3, 4)
SIZE, WIDTH = 32, 32  # of the pictures, and filters of the network
WAYS, SHOTS, QUERIES, EPISODES = 5, 1, 2, 600
LOOKS = OCCLUDERS  # "none" and what is worn
SHARE = 0.5  # of the training pictures that have something before them
TRAININGS = {  # whether `SHARE` of the pictures wear something, and the share with a grey rectangle
    "plain": (False, 0.0),
    "rectangles erased": (False, SHARE),
    "occluders worn": (True, 0.0),
}
BANK = 200  # looks of each occluder, for training, and as many others for the test

Scored = dict[str, dict[str, Evaluation]]  # look → method → its evaluation


@dataclass(frozen=True)
class Material:
    """What one seed trains on and is tested with.

    base: the people to learn from, everything shown.
    dressed: the same pictures, some of which wear something.
    test: the strangers; conditions role ("known" or "asked") and occluder. The pictures that are asked about are there
        once for each of `LOOKS`.
    """

    base: FaceSet
    dressed: FaceSet
    test: FaceSet


def asked_about(faces: FaceSet, seed: int) -> Tensor:
    """Which pictures are asked about, bool `[M]`: half of each person's, drawn at random. The others are known."""
    rank = torch.zeros(len(faces), dtype=torch.int64)
    count = torch.zeros(len(faces), dtype=torch.int64)
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(seed))
    for person in faces.identities:
        own = order[faces.identity[order] == person]
        rank[own], count[own] = torch.arange(len(own)), len(own)
    return rank < count // 2


def tested(faces: FaceSet, asked: Tensor, looks: Mapping[str, Tensor]) -> FaceSet:
    """The set of a test: known pictures, and those asked about in every look.

    faces: the strangers, everything shown, `[M]`.
    asked: which A pictures are asked about, bool `[M]`.
    looks: by each of `LOOKS` the A pictures.
    """
    known = faces.select(~asked)
    identity = faces.identity[asked]
    conditions = {
        "role": torch.cat([torch.zeros(len(known)), torch.ones(len(looks) * len(identity))]).long(),
        "occluder": torch.cat(
            [torch.zeros(len(known), dtype=torch.int64)]
            + [torch.full((len(identity),), LOOKS.index(look)) for look in looks]
        ),
    }
    return replace(
        faces,
        images=torch.cat([known.images, *looks.values()]),
        identity=torch.cat([known.identity, *[identity] * len(looks)]),
        conditions=conditions,
        levels={"role": ("known", "asked"), "occluder": LOOKS},
    )


def _half(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which of `count` pictures wear something, bool `[count]`, and what: int64 `[count]`, 0 to 3."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=draw) < SHARE, torch.randint(len(WORN), (count,), generator=draw)


# ----------------------------------------------------------------------------------------------------------------- LFW

LFW_STEPS = 600
IMPOSTORS = 3  # impostor pairs for each genuine one
PAIRS_EACH = 20  # genuine pairs of a person, at most
DOOR = 0.01  # the share of impostors that a door accepts who show their whole face


def lfw_split(seed: int) -> Split:
    """LFW's people as `metaface train` divides them."""
    return load_faces("lfw").resized(SIZE).split(FRACTIONS, seed)


@functools.lru_cache(maxsize=1)  # the parts of a seed follow each other
def lfw_material(seed: int) -> Material:
    """The photos of a division of LFW's people, and what is worn before them."""
    split = lfw_split(seed)

    def bank(kind: str, use: int) -> Occluders:
        return render_occluders(kind, BANK, SIZE, EYES["lfw"], seed=10_000 * (use + 1) + 100 * seed + WORN.index(kind))

    worn, what = _half(len(split.base), seed)
    images = split.base.images.clone()
    for number, kind in enumerate(WORN):
        here = worn & (what == number)
        images[here] = wear(images[here], bank(kind, 0), seed)
    asked = asked_about(split.novel, seed)
    shown = split.novel.images[asked]
    looks = {"none": shown} | {kind: wear(shown, bank(kind, 1), seed) for kind in WORN}
    return Material(split.base, replace(split.base, images=images), tested(split.novel, asked, looks))


# ---------------------------------------------------------------------------------------------------- procedural faces

PROCEDURAL_STEPS = 300
PEOPLE, PICTURES = (200, 60), 16  # who learns and who is tested, in each seed; pictures of each


@functools.lru_cache(maxsize=1)
def procedural_material(seed: int) -> Material:
    """New people for each seed, under full nuisance; the same pictures with and without something worn."""
    learn, strangers = PEOPLE
    who = sample_identities(learn + strangers, seed)
    number = torch.arange(learn + strangers).repeat_interleave(PICTURES)
    how = sample_nuisance(len(number), nuisance_seed(seed), "full")
    worn, what = _half(len(number), seed)

    def pictures(rows: Tensor, occluder: Tensor | int) -> Tensor:
        wearing = torch.as_tensor(occluder).expand(len(rows))
        return render(who[number[rows]], replace(how[rows], occluder=wearing), SIZE)

    def people(rows: Tensor, name: str) -> FaceSet:
        names = tuple(f"seed {seed}, person {person}" for person in range(learn + strangers))
        images = pictures(rows, 0)
        return FaceSet(images, number[rows], names=names, name=f"procedural (seed {seed}), {name}", synthetic=True)

    everything = torch.arange(len(number))
    base, novel = people(everything[number < learn], "base"), people(everything[number >= learn], "novel")
    images = base.images.clone()
    rows = everything[: len(base)][worn[: len(base)]]
    images[rows] = pictures(rows, 1 + what[rows])
    asked = asked_about(novel, seed)
    shown = everything[len(base) :][asked]
    looks = {"none": novel.images[asked]} | {kind: pictures(shown, LOOKS.index(kind)) for kind in WORN}
    return Material(base, replace(base, images=images), tested(novel, asked, looks))


# ------------------------------------------------------------------------------------------------------------ both sets

MATERIAL = {"lfw": lfw_material, "procedural": procedural_material}


def trained(part: str, training: str, material: Material, seed: int) -> ProtoNet:
    """The ProtoNet of a training, on the CPU. It learns on a GPU if there is one.

    part: "lfw" or "procedural".
    training: one of `TRAININGS`.
    material: of the seed.
    seed: of weights, episodes and augmentation.
    """
    dressed, erase = TRAININGS[training]
    base, device = material.dressed if dressed else material.base, best_device()
    steps = {"lfw": LFW_STEPS, "procedural": PROCEDURAL_STEPS}[part]
    augment = Augment(erase=erase, seed=seed)
    net = ProtoNet(Conv4(3, SIZE, WIDTH, seed=seed), temperature=50, augment=augment, in_turn=True)
    sampler = EpisodeSampler(base.to(device), 20, 1, 4, seed=seed)
    learned = meta_train(net.to(device), sampler, steps=steps, rate=3e-3, progress=False)
    return cast(ProtoNet, learned.whole().cpu().eval())


def measured(methods: Mapping[str, ProtoNet], material: Material, seed: int, pairs: bool) -> dict[str, Any]:
    """Every method on the strangers of a test, by look, as JSON: the same people and pictures in each.

    methods: whose embeddings are computed once for each picture.
    material: of the seed.
    seed: of episodes and pairs.
    pairs: whether to score pairs too.
    """
    once = {name: ProtoNet(_known(net), net.distance) for name, net in methods.items()}
    found: dict[str, Any] = {"episodes": {}}
    for look in LOOKS:
        asked = {"role": "asked", "occluder": look}
        sampler = EpisodeSampler(material.test, WAYS, SHOTS, QUERIES, seed, {"role": "known"}, asked)
        found["episodes"][look] = to_json(evaluate(cast(dict[str, Adapts], once), sampler, EPISODES))
    if pairs:
        known, asked_pictures = drawn_pairs(material.test, seed)
        found["people"] = material.test.identity[torch.stack([known, asked_pictures], 1)].tolist()
        found["scores"] = {
            name: {look: _scores(net, material.test, known, asked_pictures, look) for look in LOOKS}
            for name, net in once.items()
        }
    return found


def _known(net: ProtoNet) -> FixedFeatures:
    """The network's embedding, computed once for each picture."""
    if isinstance(net.embedding, FixedFeatures):
        return net.embedding

    def points(images: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.concatenate([net.embedding(part).numpy() for part in images.split(200)])

    return FixedFeatures(points)


def drawn_pairs(test: FaceSet, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs of a known picture and one that is asked about, as it looks with nothing worn: int64 `[P]` each.

    First the genuine pairs, up to `PAIRS_EACH` of a person; then `IMPOSTORS` times as many of two people.

    test: of `tested`.
    seed: another seed draws other pairs.
    """
    draw = torch.Generator().manual_seed(seed)
    known = test.where(role="known").nonzero().flatten()
    asked = test.where(role="asked", occluder="none").nonzero().flatten()

    def of(pictures: Tensor, person: Tensor) -> Tensor:
        return pictures[test.identity[pictures] == person]

    genuine = []
    for person in test.identities:
        own = torch.cartesian_prod(of(known, person), of(asked, person))
        genuine.append(own[torch.randperm(len(own), generator=draw)][:PAIRS_EACH])
    same = torch.cat(genuine)
    different = same.new_zeros(0, 2)
    while len(different) < IMPOSTORS * len(same):
        two = torch.stack(
            [pictures[torch.randint(len(pictures), (4 * len(same),), generator=draw)] for pictures in (known, asked)], 1
        )
        different = torch.cat([different, two[test.identity[two[:, 0]] != test.identity[two[:, 1]]]]).unique(dim=0)
    different = different[torch.randperm(len(different), generator=draw)][: IMPOSTORS * len(same)]
    one, other = torch.cat([same, different]).unbind(1)
    return one, other


def _scores(net: ProtoNet, test: FaceSet, known: Tensor, asked: Tensor, look: str) -> list[float]:
    """Minus the distance of each pair, the second picture in this look."""
    plain = test.where(role="asked", occluder="none").nonzero().flatten()
    wearing = test.where(role="asked", occluder=look).nonzero().flatten()  # in the same order
    place = torch.full((len(test),), -1)
    place[plain] = torch.arange(len(plain))
    one, other = (net.embed(test.images[rows][None])[0].double() for rows in (known, wearing[place[asked]]))
    if net.distance == "cosine":
        one, other = (torch.nn.functional.normalize(points, dim=1) for points in (one, other))
    return [float(f"{-distance:.5g}") for distance in (one - other).square().sum(1).tolist()]


def training_part(part: str, training: str, seed: int) -> dict[str, Any]:
    """One training, measured on strangers."""
    material = MATERIAL[part](seed)
    return measured({training: trained(part, training, material, seed)}, material, seed, pairs=part == "lfw")


def baselines_part(part: str, seed: int) -> dict[str, Any]:
    """The classical methods on the same strangers. LDA learns from the base people with nothing before them."""
    material = MATERIAL[part](seed)
    methods = {"pixels": pixels(), "LBP": lbp(), "LDA": lda(material.base)}
    return measured(methods, material, seed, pairs=part == "lfw")


def measure_trainings(part: str, jobs: int = 1) -> dict[str, Any]:
    """Train, measure and sum up; see the module.

    part: "lfw" or "procedural".
    jobs: how many parts are measured side by side.
    """
    steps = {"lfw": LFW_STEPS, "procedural": PROCEDURAL_STEPS}[part]
    of = {"size": SIZE, "width": WIDTH, "steps": steps, "episodes": EPISODES, "share": SHARE, "bank": BANK}
    names = [*(training.replace(" ", "-") for training in TRAININGS), "baselines"]
    wanted: dict[str, Any] = {}
    for seed in SEEDS:
        wanted |= {
            f"{name}-{seed}": partial(training_part, part, training, seed)
            for name, training in zip(names, TRAININGS, strict=False)
        }
        wanted[f"baselines-{seed}"] = partial(baselines_part, part, seed)
    found = stored.Parts(f"occlusion/{part}", of).all(wanted, jobs, f"occlusion, {part}")
    rows = [
        [found[f"{t.replace(' ', '-')}-{seed}"] for t in TRAININGS] + [found[f"baselines-{seed}"]] for seed in SEEDS
    ]
    seeds: list[Scored] = [
        {look: {name: e for one in row for name, e in from_json(one["episodes"][look]).items()} for look in LOOKS}
        for row in rows
    ]
    learn, strangers = _people(part, seeds)
    result = of | {"seeds": len(SEEDS), "people": [learn, strangers]} | _summed_up(part, seeds, strangers / learn)
    if part == "lfw":
        result["verification"] = _verified(rows, strangers / learn)
    result["by_person"] = {
        look: people_to_json({name: join([seed[look][name] for seed in seeds]) for name in seeds[0][look]})
        for look in LOOKS
    }
    return result


def _people(part: str, seeds: Sequence[Scored]) -> tuple[int, int]:
    """How many people learn, and how many are tested."""
    if part == "procedural":
        return PEOPLE
    split = lfw_split(SEEDS[0])
    return len(split.base.identities), len(split.novel.identities)


def _summed_up(part: str, seeds: Sequence[Scored], test_share: float) -> dict[str, Any]:
    """Accuracy, gain, loss and cost of `measure_trainings`."""
    shared = part == "lfw"  # every seed divides the same people
    methods, plain = list(seeds[0]["none"]), next(iter(TRAININGS))
    over: dict[str, Any] = {"shared": shared, "test_share": test_share if shared else None}

    def values(method: str, look: str) -> list[Evaluation]:
        return [seed[look][method] for seed in seeds]

    def accuracy(method: str, look: str) -> dict[str, Any]:
        found = values(method, look)
        whole = over_seeds([e.accuracy for e in found], **over)
        return replace(whole, over_people=people_interval([(e.episodes, e) for e in found])).scores()

    def between(one: tuple[str, str], other: tuple[str, str]) -> dict[str, Any]:
        return paired(values(*one), values(*other), **over).scores()

    def cost(training: str, look: str) -> dict[str, Any]:
        """(training, look − none) − (plain, look − none): a difference of differences, on the same episodes."""

        def loss(seed: Scored, method: str) -> NDArray[np.float64]:
            return seed[look][method].episodes - seed["none"][method].episodes

        each = [loss(seed, training) - loss(seed, plain) for seed in seeds]
        people = people_interval([(e, seed["none"][plain]) for e, seed in zip(each, seeds, strict=True)])
        whole = over_seeds([float(e.mean()) for e in each], **over)
        return Difference(whole.mean, over_people=people, over_seeds=whole.over_seeds).scores()

    others = [training for training in TRAININGS if training != plain]
    return {
        "accuracy": {method: {look: accuracy(method, look) for look in LOOKS} for method in methods},
        "gain": {t: {look: between((t, look), (plain, look)) for look in LOOKS} for t in others},
        "lost": {m: {look: between((m, look), (m, "none")) for look in WORN} for m in methods},
        "easier": {m: {look: between((m, look), (m, "sunglasses")) for look in WORN[1:]} for m in methods},
        "cost": {t: {look: cost(t, look) for look in WORN} for t in others},
    }


def _verified(rows: Sequence[Sequence[Mapping[str, Any]]], test_share: float) -> dict[str, Any]:
    """EER and what happens at a door, of the pairs of `measured`."""
    seeds = []
    for row in rows:
        people = np.array(row[0]["people"], dtype=np.int64)
        seeds.append(
            {
                name: {look: Verification(np.array(scores), people) for look, scores in looks.items()}
                for one in row
                for name, looks in one["scores"].items()
            }
        )
    methods, plain = list(seeds[0]), next(iter(TRAININGS))
    shared: dict[str, Any] = {"shared": True, "test_share": test_share}

    def eer(verification: Verification) -> float:
        return verification.eer

    def mean(method: str, look: str) -> dict[str, Any]:
        return over_seeds([seed[method][look].eer for seed in seeds], **shared).scores()

    def gain(training: str, look: str) -> dict[str, Any]:
        each = []
        for seed in seeds:
            ours, theirs = seed[training][look], seed[plain][look]
            low, high = paired_bootstrap(ours, theirs, eer, samples=200)
            each.append(Difference(theirs.eer - ours.eer, over_people=(high - low) / 2))
        return over_seeds(each, **shared).scores()

    def door(method: str, look: str) -> dict[str, float]:
        rates = [seed[method][look].rates(_threshold(seed[method]["none"])) for seed in seeds]
        fmr, match = (statistics.fmean(values) for values in zip(*rates, strict=True))
        return {"fmr": round(fmr, 4), "fnmr": round(1 - match, 4)}

    return {
        "pairs": [int(seeds[0][plain]["none"].same.sum()), seeds[0][plain]["none"].impostors],
        "eer": {method: {look: mean(method, look) for look in LOOKS} for method in methods},
        "gain": {t: {look: gain(t, look) for look in LOOKS} for t in TRAININGS if t != plain},
        "door": {method: {look: door(method, look) for look in LOOKS} for method in methods},
    }


def _threshold(pairs: Verification) -> float:
    """The lowest that accepts at most `DOOR` of the impostor pairs."""
    impostors = np.sort(pairs.scores[~pairs.same])[::-1]
    return float(np.nextafter(impostors[int(DOOR * len(impostors))], np.inf))


def show_trainings(part: str, found: Mapping[str, Any]) -> None:
    """Print what `measure_trainings` found."""
    print(f"\n{part}: {found['people'][0]} people learn, {found['people'][1]} are tested; {found['seeds']} seeds; %")
    for method, looks in found["accuracy"].items():
        print(f"{method:20s}" + "".join(f"{look:>12s} {100 * r['mean']:5.1f}" for look, r in looks.items()))
    for what in ("gain", "cost", "lost", "easier"):
        for method, looks in found[what].items():
            for look, scores in looks.items():
                print(f"{what}, {method}, {look}: {Difference.from_scores(scores)}; {scores['verdict']}")
    for method, looks in found.get("verification", {}).get("eer", {}).items():
        print(f"EER {method:20s}" + "".join(f"{look:>12s} {100 * r['mean']:5.1f}" for look, r in looks.items()))
    for method, looks in found.get("verification", {}).get("gain", {}).items():
        for look, scores in looks.items():
            print(f"EER, plain minus {method}, {look}: {Difference.from_scores(scores)}; {scores['verdict']}")


# ----------------------------------------------------------------------------------------------------------------- CMU

CMU_SIZE, CMU_STEPS, CMU_QUERIES, CMU_EPISODES = 32, 100, 4, 100
CMU_SEEDS = (0, 1, 2)
CMU_CONDITIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sunglasses": ({"eyes": "open"}, {"eyes": "sunglasses"}),
    "pose": ({"pose": "straight", "eyes": "open"}, {"pose": ["left", "right", "up"], "eyes": "open"}),
}


def cmu_part(folder: str, group: int, seed: int) -> dict[str, Any]:
    """By condition, two networks that learned from the base people, and classical methods, on a group held out."""
    base, novel = groups(load_faces(f"cmu:{folder}", size=CMU_SIZE))[group]
    methods: dict[str, Adapts] = {"pixels": pixels(), "LBP": lbp(), "pixels, Tan-Triggs": pixels(tan_triggs)}
    methods |= {"LDA": lda(base), "control: brightness": brightness()}
    for name, erase in (("ProtoNet", 0.0), ("ProtoNet, rectangles erased", 0.3)):
        augment = Augment(erase=erase, seed=seed)
        net = ProtoNet(Conv4(1, CMU_SIZE, 32, seed=seed), temperature=50, augment=augment, in_turn=True)
        sampler = EpisodeSampler(base, 15, 1, 4, seed=seed)
        methods[name] = meta_train(net, sampler, steps=CMU_STEPS, rate=3e-3, progress=False).whole()
    return {
        condition: to_json(
            evaluate(methods, EpisodeSampler(novel, WAYS, SHOTS, CMU_QUERIES, seed, *where), CMU_EPISODES)
        )
        for condition, where in CMU_CONDITIONS.items()
    }


def measure_cmu(folder: str, jobs: int = 1) -> dict[str, Any]:
    """Each group of people is held out once: 5-way 1-shot among them; see the module.

    folder: of the CMU faces.
    jobs: how many parts are measured side by side.

    Raises `MetaFaceError` if the folder is missing, or not of these faces.
    """
    split = groups(load_faces(f"cmu:{folder}", size=CMU_SIZE))
    of = {"people": sum(len(novel.identities) for _, novel in split), "steps": CMU_STEPS, "episodes": CMU_EPISODES}
    wanted = {f"{g}-{seed}": partial(cmu_part, folder, g, seed) for g in range(len(split)) for seed in CMU_SEEDS}
    found = stored.Parts("occlusion/cmu", of).all(wanted, jobs, "CMU faces")
    rows: list[Scored] = [{c: from_json(part[c]) for c in CMU_CONDITIONS} for part in found.values()]
    whole = {
        condition: {name: join([row[condition][name] for row in rows]) for name in rows[0][condition]}
        for condition in CMU_CONDITIONS
    }
    methods = list(rows[0]["pose"])

    def ahead(name: str, condition: str) -> dict[str, Any]:
        ours, theirs = ([row[condition][method] for row in rows] for method in ("ProtoNet", name))
        return paired(ours, theirs, shared=True, test_share=test_share(split)).scores()

    return {
        "size": CMU_SIZE,
        "steps": CMU_STEPS,
        "episodes": CMU_EPISODES * len(rows),
        "methods": {
            name: {
                condition: {
                    "accuracy": round(whole[condition][name].accuracy, 4),
                    "ci95": round(interval(whole[condition][name].episodes), 4),
                    "ci95_people": round(
                        people_interval([(row[condition][name].episodes, row[condition][name]) for row in rows]),
                        4,
                    ),
                }
                for condition in CMU_CONDITIONS
            }
            for name in methods
        },
        "paired": {
            "methods": {
                name: {condition: ahead(name, condition) for condition in CMU_CONDITIONS}
                for name in methods
                if name != "ProtoNet"
            }
        },
        "by_person": {"methods": {condition: people_to_json(by_name) for condition, by_name in whole.items()}},
    }


def show_cmu(found: Mapping[str, Any]) -> None:
    """Print what `measure_cmu` found."""
    print(f"\nCMU faces, % (± over episodes, over people); {found['episodes']} episodes a column")
    for name, row in found["methods"].items():
        cells = "".join(
            f"{c:>12s} {100 * r['accuracy']:5.1f} ± {100 * r['ci95']:3.1f}, {100 * r['ci95_people']:3.1f}"
            for c, r in row.items()
        )
        print(f"{name:30s}{cells}")
    for name, row in found["paired"]["methods"].items():
        told = "   ".join(f"{c} {Difference.from_scores(r)}" for c, r in row.items())
        print(f"ProtoNet minus {name:30s}{told}")


# ------------------------------------------------------------------------------------------------------------- command


def load(part: str) -> dict[str, Any]:
    """The stored result of a part.

    part: "lfw", "procedural" or "cmu".

    Raises `MetaFaceError` if there is no such part, or its file is missing or damaged.
    """
    if part not in FILES:
        raise unknown("part", part, FILES)
    return stored.load(FILES[part], _command(part))


def _command(part: str) -> str:
    return f"{COMMAND} {part}{' --cmu FOLDER' if part == 'cmu' else ''}"


def measure(part: str, folder: str | None = None, jobs: int = 1) -> dict[str, Any]:
    """Measure one part; what is finished of it is kept in runs/occlusion.

    part: "lfw", "procedural" or "cmu".
    folder: of the CMU faces, for their part.
    jobs: how many parts of it are measured side by side.

    Raises `MetaFaceError` if there is no such part, or its faces are missing.
    """
    if part not in FILES:
        raise unknown("part", part, FILES)
    if part != "cmu":
        return measure_trainings(part, jobs)
    if folder is None:
        raise MetaFaceError(f"The part cmu needs real faces, but no folder is named. Name it: {_command(part)}")
    return measure_cmu(folder, jobs)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parts, and where the real faces are."""
    parser.add_argument("parts", nargs="*", metavar="PART", help="lfw, procedural, cmu; by default those that it can")
    parser.add_argument("--cmu", metavar="FOLDER", help="of the CMU faces")
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print each part. Raises `MetaFaceError` at the end, if faces of a part were missing."""
    parts = arguments.parts or [part for part in FILES if part != "cmu" or arguments.cmu]
    for part in parts:
        if part not in FILES:
            raise unknown("part", part, FILES)
    torch.set_num_threads(1)
    missing = []
    for part in parts:
        try:
            found = measure(part, arguments.cmu, arguments.jobs)
        except MetaFaceError as error:
            missing.append(f"{part}: {error}")
            continue
        stored.store(FILES[part], _command(part), found, best_device())
        show_cmu(found) if part == "cmu" else show_trainings(part, found)
    if missing:
        raise MetaFaceError("Not measured: " + " ".join(missing))
