"""Experiments by name: what a training is of, the folder where it lies, and its evaluation on people it never saw.

A run is a folder with two files: `checkpoint.pt` (see `training`) and `run.json`, which a person can read: the
settings, the people of each split, steps and seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..augmentation import Augment, Augmented
from ..checkpoints import load_weights
from ..episodes import EpisodeSampler, Sampler
from ..errors import MetaFaceError, unknown
from ..evaluation import Evaluation, evaluate, mean_over_seeds, paired, to_json
from ..faces import FaceSet, Split, load_faces
from ..learners.base import MetaLearner
from ..learners.baselines import baselines
from ..learners.protonet import ProtoNet
from ..machine import best_device, device_name
from ..paths import write_atomically
from ..training import Trained, load_checkpoint, meta_train
from ..verification import Comparer
from .making import make_learner
from .recipes import FRACTIONS, RECIPES, Settings


def train(
    settings: Settings,
    out: Path,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    patience: int | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> Trained:
    """Train, or go on training, the run in the folder `out`; see `meta_train` for when it stops.

    Raises `MetaFaceError` for unknown names, too few people or images, or a folder that holds another run.
    """
    if settings.learner not in RECIPES:  # before the faces are loaded, which may take long
        raise unknown("learner", settings.learner, RECIPES)
    device = device or best_device()
    faces = load_faces(settings.faces).to(device)
    split = faces.split(FRACTIONS, seed=settings.seed)
    net = make_learner(settings, faces.shape, split.base.identities).to(device)
    sampler: Sampler = EpisodeSampler(split.base, settings.ways, settings.shots, settings.queries, seed=settings.seed)
    if settings.inner_steps is not None:
        sampler = Augmented(sampler, Augment(seed=settings.seed))
    ways = settings.ways if settings.fixed_ways else min(5, len(split.validation.identities))
    validation = None
    try:
        validation = EpisodeSampler(split.validation, ways, settings.shots, settings.queries, seed=settings.seed)
    except MetaFaceError as error:
        if patience is not None:
            raise MetaFaceError(f"Early stopping (patience) needs people for validation. {error}") from error
    record = {
        "settings": asdict(settings),
        "people": {part: _people(faces, getattr(split, part)) for part in Split._fields},
        "machine": {"device": device_name(device), "torch": torch.__version__, "threads": torch.get_num_threads()},
    }
    trained = meta_train(
        net,
        sampler,
        steps=steps,
        seconds=seconds,
        tasks=settings.tasks,
        rate=settings.rate,
        validation=validation,
        validation_episodes=50,
        patience=patience,
        checkpoint=out / "checkpoint.pt",
        about=asdict(settings),
        progress=progress,
    )
    record["training"] = {
        "steps": trained.steps,
        "seconds": round(trained.seconds, 1),
        "stopped": trained.stopped,
        "formulation": trained.learner.formulation,
        "validated": trained.history.validated,
        "validation": trained.history.validation,
    }
    write_atomically(out / "run.json", json.dumps(record, indent=1).encode())
    return trained


@dataclass(frozen=True)
class Run:
    """A trained run, loaded: the learner, and the faces divided as they were for its training."""

    path: Path
    settings: Settings
    learner: MetaLearner
    split: Split
    record: dict[str, Any]


def load_run(path: Path, device: torch.device | None = None) -> Run:
    """Load a run. Raises `MetaFaceError` if it is missing or damaged, or if the faces are no longer those it saw."""
    device = device or best_device()
    try:
        record = json.loads((path / "run.json").read_text())
        settings = Settings(**record["settings"])
        people = record["people"]
    except FileNotFoundError as error:
        raise MetaFaceError(
            f"There is no finished run in {path.absolute()}. Train one: metaface train LEARNER --faces SET --out {path}"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise MetaFaceError(f"{path / 'run.json'} is damaged ({error}). Train again into another folder.") from error
    faces = load_faces(settings.faces).to(device)
    number = {faces.name_of(int(i)): int(i) for i in faces.identities}
    missing = [name for names in people.values() for name in names if name not in number]
    if missing:
        raise MetaFaceError(
            f"{path} was trained on other faces than '{settings.faces}' are now: {len(missing)} people are missing,"
            f" such as {missing[0]}. Restore the faces, or train again."
        )
    split = Split(*(faces.of(torch.tensor([number[name] for name in people[part]])) for part in Split._fields))
    learner = make_learner(settings, faces.shape, split.base.identities).to(device)
    checkpoint = path / "checkpoint.pt"
    state = load_checkpoint(checkpoint)
    load_weights(learner, state["learner"], checkpoint)
    return Run(path, settings, learner.eval(), split, record)


def evaluate_runs(
    paths: Sequence[Path],
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 4,
    episodes: int = 1000,
    seed: int = 0,
    compare: bool = True,
    others: Mapping[str, ProtoNet] | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Accuracy of each run, and of the baselines on the same episodes, on the novel people of that run's split.

    others: more to compare with, by name; see `baselines.pretrained`.

    A learner that begins with a head (those with an inner loop) can be evaluated with the ways of its training alone.
    Several runs are seeds of one experiment: they may differ in their seed, and in the seed of procedural faces.

    Returns what `metaface evaluate --json` prints: means over the runs, and every run's own scores under "runs", with
    all counts (`from_json` reads them). With several runs, `deviation` is the standard deviation of the accuracy over
    them. "differences" are those of the runs to each baseline on the same episodes, paired; over several runs by
    `corrected_resampled_t` where the runs divide the same people, and by `student_t` where each has new ones.
    "best_baseline" is the one of highest accuracy on these very episodes, so the difference to it is rather too low.

    Raises `MetaFaceError` for fewer than two episodes, for runs of different settings, and for other ways than a head
    was trained with.
    """
    if episodes < 2:
        raise MetaFaceError(
            f"episodes must be at least 2, to say how uncertain the mean is, but is {episodes}. For a figure to report,"
            " use 600 or more."
        )
    runs = [load_run(path, device) for path in paths]
    check_seeds(runs)
    results, evaluations = [], list[dict[str, Evaluation]]()
    for path, run in zip(paths, runs, strict=True):
        if run.settings.fixed_ways and ways != run.settings.ways:
            trained = run.settings.ways
            raise MetaFaceError(
                f"{path} was trained on {trained}-way episodes: its head tells {trained} people apart, not {ways}."
                f" Evaluate it with --ways {trained}, or train another:"
                f" metaface train {run.settings.learner} --ways {ways}"
            )
        sampler = EpisodeSampler(run.split.novel, ways, shots, queries, seed=seed)
        methods = {
            run.settings.learner: run.learner,
            **(baselines(run.split.base) if compare else {}),
            **(others or {}),
        }
        found = evaluate(methods, sampler, episodes, progress=progress)
        evaluations.append(found)
        own = found[run.settings.learner]
        rivals = {name: result for name, result in found.items() if name != run.settings.learner}
        results.append(
            {
                "run": path.name,
                "faces": run.settings.faces,
                "seed": run.settings.seed,
                "steps": run.record["training"]["steps"],
                "seconds": run.record["training"]["seconds"],
                "identities": sampler.people,
                **own.scores(),
                "baselines": {name: result.scores() for name, result in rivals.items()},
                "differences": {name: paired(own, result).scores() for name, result in rivals.items()},
                "evaluations": to_json(found),
            }
        )
    learner, names = runs[0].settings.learner, list(results[0]["baselines"])
    means = mean_over_seeds([result["baselines"] for result in results])
    shared, test_share = _shared_people(runs)
    return {
        **mean_over_seeds([found[learner].scores() for found in evaluations]),
        "ways": ways,
        "shots": shots,
        "queries": queries,
        "episodes": episodes,
        "identities": results[0]["identities"],
        "baselines": means,
        "best_baseline": max(names, key=lambda name: means[name]["accuracy"], default=None),
        "differences": {
            name: paired(
                [found[learner] for found in evaluations],
                [found[name] for found in evaluations],
                shared=shared,
                test_share=test_share,
            ).scores()
            for name in names
        },
        "shared_people": shared,
        "runs": results,
    }


def check_seeds(runs: Sequence[Run]) -> None:
    """Raise `MetaFaceError` if runs differ in more than seeds: a mean over them would mean nothing."""

    def common(run: Run) -> dict[str, Any]:
        faces = re.sub(r"^(procedural[a-z-]*):seed=\d+$", r"\1", run.settings.faces)
        return asdict(run.settings) | {"faces": faces, "seed": None}

    first = common(runs[0])
    for run in runs[1:]:
        for key, value in common(run).items():
            if value != first[key]:
                raise MetaFaceError(
                    f"A mean is taken over seeds of one experiment, but {runs[0].path} has {key} {first[key]}, and"
                    f" {run.path} has {value}. Evaluate them one at a time."
                )


def _shared_people(runs: Sequence[Run]) -> tuple[bool, float]:
    """Whether any two runs have people in common, and the people of a test for each one of training."""
    people = [{name for names in run.record["people"].values() for name in names} for run in runs]
    shared = len(set().union(*people)) < sum(map(len, people))
    tested, trained = (sum(len(run.record["people"][part]) for run in runs) for part in ("novel", "base"))
    return shared, tested / trained


def _people(faces: FaceSet, part: FaceSet) -> list[str]:
    return [faces.name_of(int(i)) for i in part.identities]


def comparer(run: Run, net: Any = None) -> Comparer:
    """Compares faces by the embedding of the run's learner.

    net: another learner, such as a baseline, in place of the run's.

    Raises `MetaFaceError` if the learner has no embedding to compare by.
    """
    net = run.learner if net is None else net
    embedding = getattr(net, "embedding", None)
    if not isinstance(embedding, nn.Module):
        raise MetaFaceError(
            f"Verification compares embeddings, and {run.settings.learner} has none: its network is another for each"
            " task. Train protonet, pretrain, arcface or cosface."
        )
    return Comparer(embedding, run.split.base.shape, getattr(net, "distance", "cosine"))
