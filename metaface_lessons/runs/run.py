"""Experiments by name: what a training is of, the folder where it lies, and its evaluation on people it never saw.

A run is a folder with two files. `checkpoint.pt` (see `training`) is the truth: it holds the weights, the settings,
and the people of each split, by their names and digests of their pictures. `run.json` is what a person reads: settings,
people, steps and seconds. It is checked against the checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..checkpoints import load_weights
from ..distributed import Group, digest, warn_of_idle
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import Evaluation, evaluate, mean_over_seeds, paired, to_json
from ..faces import FOLDERS, FaceSet, Split, load_faces
from ..learners.base import MetaLearner
from ..learners.baselines import baselines
from ..learners.protonet import ProtoNet
from ..machine import best_device, device_name
from ..names import visible
from ..paths import locked, write_atomically
from ..training import Trained, load_checkpoint, meta_train
from ..verification import Comparer
from .making import Shape, make_learner, training_sampler
from .people import People, changes, digests, leaked, people_of
from .recipes import Settings, fractions


def train(
    settings: Settings,
    out: Path,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    patience: int | None = None,
    device: torch.device | None = None,
    progress: bool = True,
    on_start: Callable[[Shape, int], None] | None = None,
    group: Group | None = None,
) -> Trained:
    """Train, or go on training, the run in the folder `out`; see `meta_train` for when it stops.

    on_start: called before the first step with the shape of an image and the number of base people.
    group: the processes that train together (see `distributed`); rank 0 writes the run. None for this one alone.

    If `run.json` cannot be written at the end, `Trained.unsaved` says so; the checkpoint may still be there.

    Raises `MetaFaceError` for unknown names, too few people or images, a folder that cannot be written, that another
    training uses, or that holds another run, and if the faces have changed since a training that would go on.
    """
    file = out / "run.json"
    advice = "Wait until it has ended, or train into another folder: --out."
    with ExitStack() as held:

        def hold() -> None:
            try:
                held.enter_context(locked(file, f"a training of {settings.learner}", advice, seconds=0))
                write_atomically(file, b"a trial", trial=True)
            except OSError as error:
                raise MetaFaceError(
                    f"{out} cannot be written ({error.strerror or error}), so nothing was trained. Name a folder that"
                    " you may write to: --out."
                ) from error

        if group is None:
            hold()
        else:
            group.from_first(hold)
            device = group.device
        return _train(settings, out, steps, seconds, patience, device or best_device(), progress, on_start, group)


def _train(
    settings: Settings,
    out: Path,
    steps: int | None,
    seconds: float | None,
    patience: int | None,
    device: torch.device,
    progress: bool,
    on_start: Callable[[Shape, int], None] | None,
    group: Group | None,
) -> Trained:
    def load() -> FaceSet:
        return load_faces(settings.faces)

    faces = (load() if group is None else group.after_first(load)).to(device)
    split = faces.split(fractions(settings.faces), seed=settings.seed)
    people = people_of(split)
    about = asdict(settings)

    def called() -> str:
        return _unchanged(out, settings, people) if (out / "checkpoint.pt").exists() else settings.faces

    if group is None:
        about["faces"] = called()
    else:
        group.check_same({"people and pictures": digest(people)})
        about["faces"] = group.from_first(called)
        warn_of_idle(group, settings.tasks)
    net = make_learner(settings, faces.shape, split.base.identities).to(device)
    sampler = training_sampler(settings, split.base)
    ways = settings.ways if settings.fixed_ways else min(5, len(split.validation.identities))
    validation = None
    try:
        validation = EpisodeSampler(split.validation, ways, settings.shots, settings.queries, seed=settings.seed)
    except MetaFaceError as error:
        if patience is not None:
            raise MetaFaceError(f"Early stopping (patience) needs people for validation. {error}") from error
    record = {
        "settings": asdict(settings),
        "people": {part: list(names) for part, names in people.items()},
        "machine": {"device": device_name(device), "torch": str(torch.__version__), "threads": torch.get_num_threads()},
        **({} if group is None else {"processes": group.size}),
        **_place_of(settings.faces, out),
    }
    if on_start is not None:
        on_start(faces.shape, len(split.base.identities))
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
        about=about,
        facts=record | {"people": people},
        progress=progress,
        group=group,
    )
    if group is not None and not group.first:
        return trained
    record["training"] = {
        "steps": trained.steps,
        "seconds": round(trained.seconds, 1),
        "stopped": trained.stopped,
        "formulation": trained.learner.formulation,
        "validated": trained.history.validated,
        "validation": trained.history.validation,
    }
    try:
        write_atomically(out / "run.json", json.dumps(record, indent=1).encode())
    except OSError as error:
        trained.unsaved = trained.unsaved or f"{out / 'run.json'} cannot be written ({error.strerror or error})"
    return trained


def _unchanged(out: Path, settings: Settings, now: People) -> str:
    """The name of the face set under which a stored training began, if that was on the very same people and pictures.

    It may differ from the name in the settings if a folder has moved.

    Raises `MetaFaceError` if the faces have changed, and says how.
    """
    state = load_checkpoint(out / "checkpoint.pt")
    before = state["about"].get("faces")
    if type(before) is not str or _kind(before) != _kind(settings.faces):
        return settings.faces  # another training, which `meta_train` refuses
    was = _people(state, out / "checkpoint.pt")
    if was is None and (out / "run.json").exists():
        was = _without_digests(_read_record(out / "run.json")["people"])
    if was is None:
        warnings.warn(
            f"{out} was trained by an older version, which did not store its people. Go on only if"
            f" '{settings.faces}' has not changed since.",
            stacklevel=4,
        )
        return settings.faces
    found = changes(_by_name(was), _by_name(now))
    if not found and any({*was[part]} != {*now[part]} for part in Split._fields) and _same_seed(state, settings):
        found = "the people are divided into other parts"
    if found:
        raise MetaFaceError(
            f"'{settings.faces}' has changed since {out} was trained on it. {found}. To go on would test people on whom"
            " it was trained. Put the faces back as they were, or train into another folder: --out."
        )
    return before if settings.faces.partition(":")[0] in FOLDERS else settings.faces


def _same_seed(state: dict[str, Any], settings: Settings) -> bool:
    return bool(state["about"].get("seed") == settings.seed)  # otherwise `meta_train` refuses, and says why


def _kind(faces: str) -> str:
    """A face set's name without the place of its folder."""
    kind = faces.partition(":")[0]
    return kind if kind in FOLDERS else faces


def _place_of(faces: str, out: Path) -> dict[str, str]:
    """Where the folder of a face set is, from the root and from the run, which may move together; {} without one."""
    kind, _, path = faces.partition(":")
    if kind not in FOLDERS:
        return {}
    folder = Path(path).expanduser().absolute()
    try:
        from_run = os.path.relpath(folder, out.absolute())
    except ValueError:  # on another drive of Windows
        from_run = str(folder)
    return {"folder": str(folder), "folder_from_run": from_run}


@dataclass(frozen=True)
class Run:
    """A trained run, loaded: the learner, and the faces divided as they were for its training."""

    path: Path
    settings: Settings
    learner: MetaLearner
    split: Split
    record: dict[str, Any]


def load_run(path: Path, device: torch.device | None = None) -> Run:
    """Load a run, with its faces divided as the checkpoint says. Somebody who is new among the faces is in no part.

    path: the run's folder.
    device: to compute on; None chooses the best.

    Raises `MetaFaceError` if the run is missing, damaged or contradicts itself, if people of its faces are missing, or
    if pictures that it was trained on now lie with a person whom it should not know. Warns of other changed pictures.
    """
    device = device or best_device()
    file, checkpoint = path / "run.json", path / "checkpoint.pt"
    record = _read_record(file)
    state = load_checkpoint(checkpoint)
    people = _people(state, checkpoint)
    _compare(record, state, people, path)
    record["training"] |= {"steps": len(state["history"]["loss"]), "seconds": round(state["seconds"], 1)}
    settings = Settings(**record["settings"])
    faces = load_faces(_where(settings.faces, record, path)).to(device)
    split = _as_stored(faces, people or _without_digests(record["people"]), path)
    learner = make_learner(settings, faces.shape, split.base.identities).to(device)
    load_weights(learner, state["learner"], checkpoint)
    return Run(path, settings, learner.eval(), split, record)


def _read_record(file: Path) -> dict[str, Any]:
    """What a run's `run.json` says. Raises `MetaFaceError` if it is missing, or not of that form."""
    run = file.parent
    again = "The same metaface train command writes it again, and does not train what is trained already."
    if run.is_file():
        raise MetaFaceError(f"{run} is a file. A run is a folder. Name the folder: {run.parent}")
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST // 2**20} MB")
        record = json.loads(file.read_text(encoding="utf-8"))
        _check_record(record)
    except FileNotFoundError as error:
        if (run / "checkpoint.pt").exists():
            raise MetaFaceError(f"The training in {run} has not ended yet, or {file.name} is gone. {again}") from error
        raise MetaFaceError(
            f"There is no finished run in {run.absolute()}. Train one: metaface train LEARNER --faces SET --out {run}"
        ) from error
    except OSError as error:
        raise MetaFaceError(f"{file} cannot be read ({error.strerror or error}).") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else visible(str(error))[:300]
        raise MetaFaceError(
            f"{file} is damaged: {why}. The weights in checkpoint.pt are not affected. Delete {file.name}. {again}"
        ) from error
    return cast(dict[str, Any], record)


_LARGEST = 2**26  # bytes of run.json: names of a million people


def _check_record(record: Any) -> None:
    """Raise ValueError, TypeError or KeyError if `run.json` says something that no training writes."""
    Settings(**record["settings"])
    names = [name for part in Split._fields for name in record["people"][part]]
    if not all(isinstance(record["people"][part], list) for part in Split._fields):
        raise TypeError("people are not in lists")
    if not all(type(name) is str for name in names) or len({*names}) < len(names):
        raise ValueError("people should be names, each in one part alone")
    training = record["training"]
    if type(training["steps"]) is not int or type(training["seconds"]) not in (int, float):
        raise TypeError("steps and seconds should be numbers")
    if any(type(record.get(key, "")) is not str for key in ("folder", "folder_from_run")):
        raise TypeError("folders should be texts")


def _people(state: dict[str, Any], checkpoint: Path) -> People | None:
    """The people that a checkpoint stores; None if it is of before there were any."""
    people = state["facts"].get("people")
    if people is None:
        return None
    parts = [people.get(part) if isinstance(people, dict) else None for part in Split._fields]
    if not all(isinstance(part, dict) and all(type(x) is str for pair in part.items() for x in pair) for part in parts):
        raise MetaFaceError(f"{checkpoint} is damaged: its people are not names with digests. Put a copy back.")
    return cast(People, people)


def _without_digests(people: dict[str, list[str]]) -> People:
    return {part: dict.fromkeys(people[part], "") for part in Split._fields}


def _by_name(people: People) -> dict[str, str]:
    return {name: pictures for part in people.values() for name, pictures in part.items()}


def _compare(record: dict[str, Any], state: dict[str, Any], people: People | None, path: Path) -> None:
    """Raise `MetaFaceError` if `run.json` contradicts the checkpoint; warn if it is only older."""
    own, truth = asdict(Settings(**record["settings"])), state["facts"].get("settings")
    if not isinstance(truth, dict):
        truth = state["about"]
    different = [name for name, value in own.items() if value != truth.get(name)]
    said = [f"{name} {visible(reprlib.repr(truth.get(name)))}, not {own[name]!r}" for name in different]
    if people is not None and any(sorted(record["people"][part]) != sorted(people[part]) for part in Split._fields):
        said.append("other people, or other parts")
    if said:
        raise MetaFaceError(
            f"{path / 'run.json'} does not belong to {path / 'checkpoint.pt'}, which says: {'; '.join(said)}. The"
            " checkpoint is right. Put its own run.json back, or delete it: the metaface train command that made the"
            " run writes it again."
        )
    steps = len(state["history"]["loss"])
    if steps != record["training"]["steps"]:
        warnings.warn(
            f"{path} has been trained for {steps} steps, but its run.json says {record['training']['steps']}: a later"
            " training has not ended. Its latest weights are used.",
            stacklevel=3,
        )


def _where(faces: str, record: dict[str, Any], path: Path) -> str:
    """The name of a run's face set, with the place where its folder is now.

    Raises `MetaFaceError` if the folder is no longer there.
    """
    kind = faces.partition(":")[0]
    if kind not in FOLDERS or not record.get("folder"):
        return faces
    places = [Path(record["folder"]), path / record.get("folder_from_run", "")]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise MetaFaceError(
            f"The faces of {path} were in {visible(str(places[0]))}, and are not there any more. Put them back, or"
            f' write where they are now into {path / "run.json"}, as "folder".'
        )
    return f"{kind}:{found}"


def _as_stored(faces: FaceSet, people: People, path: Path) -> Split:
    """The faces, divided as they were in training."""
    was, now = _by_name(people), digests(faces)
    missing = [name for name in was if name not in now]
    if missing:
        raise MetaFaceError(
            f"{path} was trained on other faces than '{visible(faces.name)}' are now: {len(missing)} people are"
            f" missing, such as {visible(missing[0])}. {visible(changes(was, now))}. Put the faces back as they were,"
            " or train another run."
        )
    if leaks := leaked(people, now):
        raise MetaFaceError(
            f"{path} was trained on pictures of people whom it should not know: {visible(', '.join(leaks[:5]))}. Their"
            f" pictures in '{visible(faces.name)}' have changed places since. Put them back, or train another run."
        )
    known = {name: now[name] for name in was}
    if changed := changes(was, known):
        warnings.warn(
            f"'{visible(faces.name)}' has changed since {path} was trained. {visible(changed)}. If the files are the"
            " same, then a newer version reads them in another way.",
            stacklevel=4,
        )
    number = {faces.name_of(int(person)): int(person) for person in faces.identities}
    return Split(*(faces.of(torch.tensor([number[name] for name in people[part]])) for part in Split._fields))


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
            " task. Train protonet, nca, pretrain, arcface or cosface."
        )
    return Comparer(embedding, run.split.base.shape, getattr(net, "distance", "cosine"))
