"""Light and occlusion, on real and on procedural faces: the stored results of lesson 10.

    metaface experiment light [yale] [procedural] [cmu] [--yale PATH] [--cmu PATH]

writes data/results/light-extended-yale-b.json, light-procedural.json and light-cmu.json. A part whose faces are not
there is left out with a word. What is done lies in runs/light and is not done again. One thread.

Extended Yale B: the 28 people are dealt into four groups of 7, and each group is held out once. 5-way 1-shot, support
from subset 1 (light from within 12° of the camera), queries from subset 2, 3, 4 or 5. All methods meet the same
episodes of the same 32×32 pictures. The learner is a ProtoNet on pictures normalised as by Tan & Triggs, trained on
episodes whose support comes from subset 1 and whose queries do not, of the 21 base people and `BLENDS` mixtures of
them, by three convolutions instead of four: aligned faces keep their places. It takes the mean embedding of ten views
of a picture. Its recipe was chosen by a glance at three of the twelve trainings, a small optimism that these figures
include; the number of convolutions on base people alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn.functional import avg_pool2d
from tqdm.auto import tqdm

from ..augmentation import Augment, Views
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import Evaluation, evaluate, expected_accuracy, interval
from ..faces import FaceSet, load_faces
from ..faces.blending import with_blends
from ..faces.controls import ellipse, outside_only
from ..faces.normalisation import NORMALISATIONS, normalised, tan_triggs
from ..faces.procedural import OCCLUDERS, render, sample_identities, sample_nuisance
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, brightness, lbp, lda, pixels
from ..learners.protonet import ProtoNet
from ..networks import Conv4
from ..paths import DATA, write_atomically
from ..runs.recipes import FRACTIONS
from ..training import meta_train
from ..widgets.light_explorer import AZIMUTHS, KNOWN_LIGHT, under_light
from .snapshots import STEPS as STEPS_OF_SNAPSHOTS
from .snapshots import load_snapshots, snapshot_split
from .stored import about

RUNS = Path("runs/light")
SEEDS = (0, 1, 2)
WAYS, SHOTS, QUERIES, EPISODES = 5, 1, 4, 100  # episodes of each seed, group of people and condition

# ------------------------------------------------------------------------------------------------------ Extended Yale B

YALE_SIZE, LARGER, GROUPS, BLENDS, STEPS = 32, 48, 4, 300, 900
SUBSETS = (2, 3, 4, 5)
SHORT = 150  # steps at which the variants of the learner are compared
FACE = (0.5, 0.5, 0.48, 0.42)  # the ellipse that the cropped face fills: its outside is the control
# What is trained for `SHORT` steps: the learner, and it with other episodes, without blends, with pictures as they are.
VARIANTS = ("learner", "generic episodes", "no blends", "not normalised")


def groups(faces: FaceSet) -> list[tuple[FaceSet, FaceSet]]:
    """Base and held-out people, once for each of the `GROUPS`."""
    people = faces.identities[torch.randperm(len(faces.identities), generator=torch.Generator().manual_seed(0))]
    return [
        (faces.of(people[~torch.isin(people, held)]), faces.of(held)) for held in people.view(GROUPS, -1)
    ]  # 28 people: 7 in each


def yale_learner(base: FaceSet, seed: int, steps: int, variant: str = "learner", file: Path | None = None) -> ProtoNet:
    """The learner of the module, or a `variant` of it. `base`: the pictures as they are."""
    if variant != "no blends":
        base = with_blends(base, BLENDS, seed=seed)
    if "not normalised" not in variant:
        base = normalised(base, "Tan-Triggs")
    differing: dict[str, Any] = {"support_where": {"subset": 1}, "query_where": {"subset": list(SUBSETS)}}
    sampler = EpisodeSampler(base, 20, 1, 4, seed=seed, **({} if variant == "generic episodes" else differing))
    net = ProtoNet(Conv4(1, YALE_SIZE, 32, depth=3, seed=seed), temperature=50, in_turn=True)
    trained = meta_train(
        net, sampler, steps=steps, rate=3e-3, halve_every=STEPS / 2, checkpoint=file, progress=file is not None
    )
    return cast(ProtoNet, trained.learner)


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


def by_subset(methods: Mapping[str, Adapts], novel: FaceSet, seed: int) -> dict[str, dict[int, Evaluation]]:
    """Every method on the same episodes, for each subset of the queries."""
    found: dict[str, dict[int, Evaluation]] = {name: {} for name in methods}
    for subset in SUBSETS:
        sampler = EpisodeSampler(
            novel,
            WAYS,
            SHOTS,
            QUERIES,
            seed=100 * seed + subset,
            support_where={"subset": 1},
            query_where={"subset": subset},
        )
        for name, result in evaluate(methods, sampler, EPISODES).items():
            found[name][subset] = result
    return found


def _kept(file: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, stored in `file`; read from there if it was made before."""
    if not file.exists():
        write_atomically(file, json.dumps(make()).encode())
    return json.loads(file.read_text())


def _raw(results: Mapping[str, Mapping[int, Evaluation]]) -> dict[str, Any]:
    """Accuracies of every episode and of every person, by method and subset."""
    return {
        name: {
            str(subset): {"episodes": result.episodes.round(4).tolist(), "people": result.people.round(4).tolist()}
            for subset, result in row.items()
        }
        for name, row in results.items()
    }


def yale_jobs(faces: FaceSet, larger: FaceSet) -> dict[str, Callable[[], Any]]:
    """All that is measured, by the name of the file that keeps it."""
    split = groups(faces)

    def learner(group: int, seed: int) -> Any:
        base, novel = split[group]
        start = time.process_time()
        net = yale_learner(base, seed, STEPS, file=RUNS / "extended-yale-b" / f"learner-{group}-{seed}.pt")
        spent = round(time.process_time() - start, 1)
        methods = {"learner": in_views(net), "learner, one view": net}
        return _raw(by_subset(methods, normalised(novel, "Tan-Triggs"), seed)) | {"seconds": spent}

    def classical(group: int, seed: int) -> Any:
        base, novel = split[group]
        return _raw(by_subset(yale_baselines(base), novel, seed))

    def short(variant: str, seed: int) -> Any:
        base, novel = split[seed]  # another group for each seed
        net = yale_learner(base, seed, SHORT, variant)
        seen = novel if "not normalised" in variant else normalised(novel, "Tan-Triggs")
        return _raw(by_subset({variant: in_views(net)}, seen, seed))[variant]

    def at_larger_size(group: int) -> Any:
        methods = {"pixels": pixels(), "pixels, Tan-Triggs": pixels(tan_triggs), "LBP, Tan-Triggs": lbp(tan_triggs)}
        return _raw(by_subset(methods, groups(larger)[group][1], SEEDS[0]))

    jobs: dict[str, Callable[[], Any]] = {}
    for group, seed in _runs():
        jobs[f"learner-{group}-{seed}"] = partial(learner, group, seed)
        jobs[f"baselines-{group}-{seed}"] = partial(classical, group, seed)
    jobs |= {_short(variant, seed): partial(short, variant, seed) for variant in VARIANTS for seed in SEEDS}
    return jobs | {f"larger-{group}": partial(at_larger_size, group) for group in range(GROUPS)}


def _runs() -> list[tuple[int, int]]:
    return [(group, seed) for group in range(GROUPS) for seed in SEEDS]


def _short(variant: str, seed: int) -> str:
    return f"short-{variant.replace(' ', '-')}-{seed}"


def measure_yale(faces: FaceSet, larger: FaceSet) -> dict[str, Any]:
    """Train, evaluate and summarise; see the module. larger: the same pictures in the size `LARGER`."""
    folder = RUNS / "extended-yale-b"
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        name: _kept(folder / f"{name}.json", job)
        for name, job in tqdm(yale_jobs(faces, larger).items(), desc="Extended Yale B")
    }
    runs = {(g, s): found[f"learner-{g}-{s}"] | found[f"baselines-{g}-{s}"] for g, s in _runs()}
    seconds = [run.pop("seconds") for run in runs.values()]
    variants = {variant: [found[_short(variant, seed)] for seed in SEEDS] for variant in VARIANTS}
    return {
        **about("metaface experiment light yale"),
        "size": YALE_SIZE,
        "base_people": len(groups(faces)[0][0].identities),
        "blends": BLENDS,
        "steps": STEPS,
        "seconds": round(statistics.median(seconds), 1),
        "episodes": EPISODES * len(runs),
        "methods": {name: _summary(runs, name) for name in next(iter(runs.values()))},
        "differences": {
            name: _difference(runs, name)
            for name in next(iter(runs.values()))
            if not name.startswith(("learner", "control"))
        },
        "variants": {
            "steps": SHORT,
            **{name: _compared(rows, variants["learner"]) for name, rows in variants.items()},
        },
        "larger": {
            "size": LARGER,
            **{
                name: {
                    column: round(float(np.mean([_columns(rows[name], COLUMNS[column], "episodes") for rows in at])), 4)
                    for column in ("2-4", "2-5")
                }
                for at in [[found[f"larger-{group}"] for group in range(GROUPS)]]
                for name in at[0]
            },
        },
    }


COLUMNS = {"2": ["2"], "3": ["3"], "4": ["4"], "5": ["5"], "2-4": ["2", "3", "4"], "2-5": ["2", "3", "4", "5"]}


def _columns(row: Mapping[str, Any], subsets: Sequence[str], key: str) -> np.ndarray[Any, Any]:
    return np.mean([row[subset][key] for subset in subsets], axis=0)


def _summary(runs: Mapping[tuple[int, int], Any], name: str) -> dict[str, Any]:
    """Accuracy for each column, and its intervals over episodes and over the 28 people; the deviation over seeds."""
    found = {}
    for column, subsets in COLUMNS.items():
        episodes = np.concatenate([_columns(run[name], subsets, "episodes") for run in runs.values()])
        by_seed = np.array(
            [np.mean([_columns(runs[g, s][name], subsets, "episodes") for g in range(GROUPS)]) for s in SEEDS]
        )
        found[column] = {
            "accuracy": round(float(episodes.mean()), 4),
            "ci95": round(interval(episodes), 4),
            "ci95_people": round(interval(_people(runs, name, subsets)), 4),
            "deviation": round(float(by_seed.std(ddof=1)), 4),
        }
    return found


def _people(runs: Mapping[tuple[int, int], Any], name: str, subsets: Sequence[str]) -> np.ndarray[Any, Any]:
    """Each person's accuracy `[28]`, a mean over seeds."""
    return np.concatenate(
        [np.mean([_columns(runs[g, s][name], subsets, "people") for s in SEEDS], axis=0) for g in range(GROUPS)]
    )


def _difference(runs: Mapping[tuple[int, int], Any], name: str) -> dict[str, Any]:
    """By how much the learner is ahead, paired by episode and by person."""
    found = {}
    for column in ("2-4", "2-5"):
        subsets = COLUMNS[column]
        episodes = np.concatenate(
            [
                _columns(run["learner"], subsets, "episodes") - _columns(run[name], subsets, "episodes")
                for run in runs.values()
            ]
        )
        people = _people(runs, "learner", subsets) - _people(runs, name, subsets)
        found[column] = {
            "ahead": round(float(episodes.mean()), 4),
            "ci95": round(interval(episodes), 4),
            "ci95_people": round(interval(people), 4),
        }
    return found


def _compared(rows: Sequence[Mapping[str, Any]], learner: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracy of a variant over three seeds, and of what it loses against the learner, paired by seed."""
    found = {}
    for column in ("2-4", "2-5"):
        subsets = COLUMNS[column]
        own, other = (
            np.array([_columns(row, subsets, "episodes").mean() for row in several]) for several in (rows, learner)
        )
        found[column] = {
            "accuracy": round(float(own.mean()), 4),
            "seeds": own.round(4).tolist(),
            "loses": (other - own).round(4).tolist(),
        }
    return found


# ---------------------------------------------------------------------------------------------------- procedural faces

ELEVATIONS, BLOCK_SIZES = (0, 45), (0.0, 0.5, 1.0)
OCCLUSION_STEPS, OCCLUSION_EPISODES = 300, 200
OCCLUSION_TRAININGS = {  # which pictures are trained on, and the share that is greyed out in a rectangle
    "nothing hidden": ("none", 0.0),
    "rectangles erased": ("none", 0.3),
    "occluders worn": ("all", 0.0),
}


def light_grid(people: Sequence[int], net: ProtoNet) -> dict[str, Any]:
    """Accuracy of 5-way 1-shot episodes, over all of them, where only the query's light and occluder differ in kind.

    Everybody has one support picture in the light in which the explorer enrols, and one query picture for each
    azimuth, elevation and occluder. Hair style, background, framing and camera are each picture's own.
    """
    methods = {"protonet": net, "tan-triggs": pixels(tan_triggs), "lbp": lbp(), "pixels": pixels()}
    everyone = sample_identities(300)[torch.tensor(people)]

    def pictures(
        seed: int, azimuth: float, elevation: float, occluder: str = "none", size: float = 0.5
    ) -> torch.Tensor:
        how = sample_nuisance(len(people), seed, "full")
        still = torch.zeros(len(people))
        how = replace(how, yaw=still, pitch=still, roll=still, strength=still)
        return render(everyone, under_light(how, still + azimuth, elevation, occluder, size), 64)

    def embedded(images: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            found = {name: method.embed(images[None])[0] for name, method in methods.items()}
        for method in methods.values():
            if isinstance(method.embedding, FixedFeatures):
                method.embedding.forget()
        return found

    looks = [("none", 0.5), ("sunglasses", 0.5), ("mask", 0.5), ("scarf", 0.5), *(("block", s) for s in BLOCK_SIZES)]
    known = embedded(pictures(1, *KNOWN_LIGHT))
    accuracy: dict[str, dict[str, list[list[float]]]] = {name: {} for name in methods}
    for number, (look, size) in enumerate(tqdm(looks, desc="light and occluders")):
        label = f"block {size:g}" if look == "block" else look
        for name in methods:
            accuracy[name][label] = [[] for _ in ELEVATIONS]
        for e, elevation in enumerate(ELEVATIONS):
            for a, azimuth in enumerate(AZIMUTHS):
                seed = 1000 * (number + 1) + 100 * e + a
                for name, points in embedded(pictures(seed, azimuth, elevation, look, size)).items():
                    distance = torch.cdist(points, known[name])
                    nearer = (distance < distance.diagonal()[:, None]).sum(1).numpy()
                    exact = expected_accuracy(nearer, len(people) - 1, WAYS)
                    accuracy[name][label][e].append(round(exact, 4))
    return {"azimuths": AZIMUTHS, "elevations": ELEVATIONS, "block_sizes": BLOCK_SIZES, "accuracy": accuracy}


def occlusion_training(faces: FaceSet, kind: str, seed: int) -> dict[str, float]:
    """Accuracy on people never seen, whose support shows everything and whose query wears an occluder, by occluder."""
    base, _, novel = replace(faces, images=avg_pool2d(faces.images.float(), 2).round().byte()).split(FRACTIONS, seed)
    pictures, erase = OCCLUSION_TRAININGS[kind]
    if pictures == "none":
        base = base.select(base.where(occluder="none"))
    net = ProtoNet(Conv4(3, 32, 32, seed=seed), temperature=50, augment=Augment(erase=erase, seed=seed), in_turn=True)
    trained = meta_train(
        net, EpisodeSampler(base, 20, 1, 4, seed=seed), steps=OCCLUSION_STEPS, rate=3e-3, progress=False
    )
    found = {}
    for occluder in OCCLUDERS:
        differing: dict[str, Any] = {"support_where": {"occluder": "none"}, "query_where": {"occluder": occluder}}
        sampler = EpisodeSampler(novel, WAYS, 1, 1, seed=seed, **differing)
        found[occluder] = round(evaluate({"": trained.learner}, sampler, OCCLUSION_EPISODES)[""].accuracy, 4)
    return found


def measure_procedural() -> dict[str, Any]:
    folder = RUNS / "procedural"
    folder.mkdir(parents=True, exist_ok=True)
    novel = snapshot_split().novel.identities.tolist()
    grid = _kept(folder / "grid.json", lambda: light_grid(novel, load_snapshots()[STEPS_OF_SNAPSHOTS[-1]]))
    faces = load_faces("procedural")
    trainings: dict[str, list[dict[str, float]]] = {}
    for kind, seed in tqdm([(k, s) for k in OCCLUSION_TRAININGS for s in SEEDS], desc="occlusion training"):
        file = folder / f"{kind.replace(' ', '-')}-{seed}.json"
        found = _kept(file, partial(occlusion_training, faces, kind, seed))
        trainings.setdefault(kind, []).append(found)
    return {
        **about("metaface experiment light procedural"),
        "people": len(novel),
        "grid": grid,
        "occlusion": {"steps": OCCLUSION_STEPS, "episodes": OCCLUSION_EPISODES, "seeds": trainings},
    }


def show_procedural(found: Mapping[str, Any]) -> None:
    print(f"\nProcedural faces, {found['people']} people, %; azimuth {found['grid']['azimuths']}")
    for name, looks in found["grid"]["accuracy"].items():
        for look, table in looks.items():
            print(f"{name:12s} {look:12s}" + "   ".join(" ".join(f"{100 * a:4.0f}" for a in row) for row in table))
    for kind, seeds in found["occlusion"]["seeds"].items():
        print(f"{kind:20s}" + "".join(f"{o:>12s} {100 * statistics.mean(s[o] for s in seeds):5.1f}" for o in OCCLUDERS))


# ----------------------------------------------------------------------------------------------------------------- CMU

CMU_SIZE, CMU_GROUPS, CMU_STEPS = 32, 4, 100
CMU_CONDITIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sunglasses": ({"eyes": "open"}, {"eyes": "sunglasses"}),
    "pose": ({"pose": "straight", "eyes": "open"}, {"pose": ["left", "right", "up"], "eyes": "open"}),
}


def measure_cmu(faces: FaceSet) -> dict[str, Any]:
    """20 people in four groups, each held out once: 5-way 1-shot among the five. Does erasing rectangles pay?"""
    folder = RUNS / "cmu"
    folder.mkdir(parents=True, exist_ok=True)
    people = faces.identities[torch.randperm(len(faces.identities), generator=torch.Generator().manual_seed(0))]
    rows: dict[str, dict[str, list[Any]]] = {}
    jobs = [(group, seed) for group in range(CMU_GROUPS) for seed in SEEDS]
    for group, seed in tqdm(jobs, desc="CMU faces"):
        held = people.view(CMU_GROUPS, -1)[group]
        base, novel = faces.of(people[~torch.isin(people, held)]), faces.of(held)

        def run(base: FaceSet = base, novel: FaceSet = novel, seed: int = seed) -> Any:
            methods: dict[str, Adapts] = {"pixels": pixels(), "LBP": lbp(), "pixels, Tan-Triggs": pixels(tan_triggs)}
            methods |= {"LDA": lda(base), "control: brightness": brightness()}
            for name, erase in (("ProtoNet", 0.0), ("ProtoNet, rectangles erased", 0.3)):
                augment = Augment(erase=erase, seed=seed)
                net = ProtoNet(Conv4(1, CMU_SIZE, 32, seed=seed), temperature=50, augment=augment, in_turn=True)
                sampler = EpisodeSampler(base, 15, 1, 4, seed=seed)
                methods[name] = meta_train(net, sampler, steps=CMU_STEPS, rate=3e-3, progress=False).learner
            found: dict[str, dict[str, Any]] = {name: {} for name in methods}
            for condition, (known, asked) in CMU_CONDITIONS.items():
                sampler = EpisodeSampler(novel, WAYS, SHOTS, QUERIES, seed, known, asked)
                for name, result in evaluate(methods, sampler, EPISODES).items():
                    people = result.people.round(4).tolist()
                    found[name][condition] = {"episodes": result.episodes.round(4).tolist(), "people": people}
            return found

        for name, row in _kept(folder / f"{group}-{seed}.json", run).items():
            for condition, result in row.items():
                rows.setdefault(name, {}).setdefault(condition, []).append(result)
    methods: dict[str, Any] = {}
    for name, row in rows.items():
        for condition, results in row.items():
            episodes = np.concatenate([result["episodes"] for result in results])
            by_person = np.mean(
                np.array([result["people"] for result in results]).reshape(CMU_GROUPS, len(SEEDS), -1), 1
            )
            methods.setdefault(name, {})[condition] = {
                "accuracy": round(float(episodes.mean()), 4),
                "ci95": round(interval(episodes), 4),
                "ci95_people": round(interval(by_person.flatten()), 4),
            }
    return {
        **about("metaface experiment light cmu"),
        "size": CMU_SIZE,
        "steps": CMU_STEPS,
        "episodes": EPISODES * len(jobs),
        "methods": methods,
    }


def show_cmu(found: Mapping[str, Any]) -> None:
    print(f"\nCMU faces, % (± over episodes, over people); {found['episodes']} episodes a column")
    for name, row in found["methods"].items():
        cells = "".join(
            f"{c:>12s} {100 * r['accuracy']:5.1f} ± {100 * r['ci95']:3.1f}, {100 * r['ci95_people']:3.1f}"
            for c, r in row.items()
        )
        print(f"{name:30s}{cells}")


# ---------------------------------------------------------------------------------------------------------------- main


def show_yale(found: Mapping[str, Any]) -> None:
    print(f"\nExtended Yale B, % (± over episodes, over people); {found['episodes']} episodes a column")
    print(f"{'':36s}" + "".join(f"{column:>19s}" for column in COLUMNS))
    for name, row in found["methods"].items():
        cells = "".join(
            f"{100 * r['accuracy']:8.1f} ± {100 * r['ci95']:3.1f}, {100 * r['ci95_people']:3.1f}" for r in row.values()
        )
        print(f"{name:36s}{cells}")
    for name, row in found["differences"].items():
        cells = "   ".join(
            f"{100 * r['ahead']:+.1f} ± {100 * r['ci95']:.1f}, {100 * r['ci95_people']:.1f}" for r in row.values()
        )
        print(f"learner ahead of {name:28s} {cells}")
    for part in ("variants", "larger"):
        print(part, *found[part].items(), sep="\n  ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["yale", "procedural", "cmu"], metavar="PART")
    parser.add_argument("--yale", default=os.environ.get("METAFACE_YALE", "~/CroppedYale"), help="its folder")
    parser.add_argument("--cmu", default=os.environ.get("METAFACE_CMU", "~/faces"), help="its folder")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    measures: dict[str, tuple[str, Callable[[], Any], Callable[[Any], None]]] = {
        "yale": (
            "light-extended-yale-b",
            lambda: measure_yale(*(load_faces(f"extended-yale-b:{asked.yale}", size=s) for s in (YALE_SIZE, LARGER))),
            show_yale,
        ),
        "procedural": ("light-procedural", measure_procedural, show_procedural),
        "cmu": ("light-cmu", lambda: measure_cmu(load_faces(f"cmu:{asked.cmu}", size=CMU_SIZE)), show_cmu),
    }
    for part in asked.parts:
        if part not in measures:
            parser.error(f"there is no part {part}; known: {', '.join(measures)}")
        name, measure, show = measures[part]
        try:
            found = measure()
        except MetaFaceError as error:
            print(f"{part} not measured: {error}", file=sys.stderr)
            continue
        write_atomically(DATA / "results" / f"{name}.json", (json.dumps(found, indent=1) + "\n").encode())
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
