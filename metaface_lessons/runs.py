"""Experiments by name: what a training is of, the folder where it lies, and its evaluation on people it never saw.

A run is a folder with two files: `checkpoint.pt` (see `training`) and `run.json`, which a person can read: the
settings, the people of each split, steps and seconds.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .baselines import baselines
from .episodes import EpisodeSampler
from .errors import MetaFaceError, unknown
from .evaluation import Evaluation, evaluate
from .faces import FaceSet, Split, load_faces
from .learn2learn_maml import Learn2LearnMAML
from .learners import MetaLearner
from .maml import MAML
from .margin import Margin
from .networks import Augment, Classifier, Conv4
from .paths import write_atomically
from .pretraining import Pretraining
from .protomaml import ProtoMAML
from .protonet import ProtoNet
from .recipes import RECIPES
from .reptile import Reptile
from .training import Augmented, Sampler, Trained, load_checkpoint, load_weights, meta_train

FRACTIONS = (0.7, 0.05, 0.25)  # of the people: base, validation, novel


@dataclass(frozen=True)
class Settings:
    """What is trained on what. The same settings and number of steps give the same weights on one machine.

    None stands for what the learner does not have; `settings_of` fills in what is not given. rate: of the outer loop,
    Reptile's ε. test_steps: inner steps in evaluation.
    """

    learner: str = "protonet"
    faces: str = "procedural"
    ways: int = 20
    shots: int = 1
    queries: int = 4
    tasks: int = 1
    width: int = 64
    rate: float = 3e-3
    temperature: float | None = 50.0
    seed: int = 0
    inner_rate: float | None = None
    inner_steps: int | None = None
    test_steps: int | None = None
    scale: float | None = None
    margin: float | None = None

    @property
    def fixed_ways(self) -> bool:
        """Whether the learner begins with a head, which has one output for each of `ways` people and for no others."""
        return self.inner_steps is not None and self.learner != "protomaml"


def settings_of(learner: str, faces: str = "procedural", seed: int = 0, **given: Any) -> Settings:
    """The `learner`'s recipe, with what is `given` in place of its values.

    Raises `MetaFaceError` if there is no such learner, or it has no such setting.
    """
    if learner not in LEARNERS:
        raise unknown("learner", learner, LEARNERS)
    recipe = RECIPES[learner]
    for name in given:
        if name not in recipe:
            raise MetaFaceError(f"{learner} has no setting '{name}'. It has: {', '.join(recipe)}.")
    return Settings(learner, faces, seed=seed, **{"temperature": None, **recipe, **given})


Shape = tuple[int, int, int]  # of an image: channels, height, width
Maker = Callable[[Settings, Shape, Tensor | None], MetaLearner]


def _embedding(settings: Settings, shape: Shape, norm: str = "batch") -> Conv4:
    channels, height, _ = shape
    return Conv4(channels, height, settings.width, norm=norm, seed=settings.seed)


def _pretrain(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    if people is None:
        raise MetaFaceError("Pre-training learns to tell people apart: give the numbers of the base people, too.")
    embedding = _embedding(settings, shape)
    fitting: dict[str, Any] = {"steps": settings.test_steps, "inner_rate": settings.inner_rate}
    return Pretraining(embedding, embedding.features, people, augment=Augment(seed=settings.seed), **fitting)


def _margin(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    if people is None:
        raise MetaFaceError("A margin loss tells people apart: give the numbers of the base people, too.")
    embedding, augment = _embedding(settings, shape), Augment(seed=settings.seed)
    loss: dict[str, Any] = {"kind": settings.learner, "scale": settings.scale, "margin": settings.margin}
    return Margin(embedding, embedding.features, people, augment=augment, seed=settings.seed, **loss)


def _protonet(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    embedding, augment = _embedding(settings, shape), Augment(seed=settings.seed)
    return ProtoNet(embedding, temperature=cast(float, settings.temperature), augment=augment, in_turn=True)


def _classifier(settings: Settings, shape: Shape) -> Classifier:
    embedding = _embedding(settings, shape, norm="task")
    classifier = Classifier(embedding, embedding.features, settings.ways)
    for parameter in classifier.head.parameters():  # which label a person gets is chance: none is preferred
        torch.nn.init.zeros_(parameter)
    return classifier


def _inner_loop(settings: Settings) -> dict[str, Any]:
    return {"steps": settings.inner_steps, "test_steps": settings.test_steps, "inner_rate": settings.inner_rate}


def _maml(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    return MAML(
        _classifier(settings, shape),
        rates="parameter" if settings.learner == "metasgd" else "layer",
        first_order=settings.learner == "fomaml",
        adapt="head" if settings.learner == "anil" else "all",
        **_inner_loop(settings),
    )


def _protomaml(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    embedding = _embedding(settings, shape, norm="task")
    temperature = cast(float, settings.temperature)
    return ProtoMAML(embedding, embedding.features, temperature=temperature, rates="layer", **_inner_loop(settings))


def _learn2learn(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    try:
        return Learn2LearnMAML(_classifier(settings, shape), **_inner_loop(settings))
    except ImportError as error:
        raise MetaFaceError(str(error)) from error


def _reptile(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    return Reptile(_classifier(settings, shape), optimiser="sgd", seed=settings.seed, **_inner_loop(settings))


LEARNERS: dict[str, Maker] = {
    "pretrain": _pretrain,
    "arcface": _margin,
    "cosface": _margin,
    "protonet": _protonet,
    "maml": _maml,
    "learn2learn": _learn2learn,
    "fomaml": _maml,
    "anil": _maml,
    "metasgd": _maml,
    "protomaml": _protomaml,
    "reptile": _reptile,
}


def make_learner(settings: Settings, shape: Shape, people: Tensor | None = None) -> MetaLearner:
    """A fresh meta-learner for images of `shape`. people: the base people's numbers, int64 `[I]`, for pre-training."""
    if settings.learner not in LEARNERS:
        raise unknown("learner", settings.learner, LEARNERS)
    return LEARNERS[settings.learner](settings, shape, people)


def best_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
    if settings.learner not in LEARNERS:  # before the faces are loaded, which may take long
        raise unknown("learner", settings.learner, LEARNERS)
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
        "formulation": trained.formulation,
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

    Returns what `metaface evaluate --json` prints: means over the runs, and every run's own figures under "runs".
    With several runs (seeds), `deviation` is the standard deviation of the accuracy over them.
    """
    if episodes < 2:
        raise MetaFaceError(
            f"episodes must be at least 2, to say how uncertain the mean is, but is {episodes}. For a figure to report,"
            " use 600 or more."
        )
    results = []
    for path in paths:
        run = load_run(path, device)
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
        results.append(
            {
                "run": path.name,
                "faces": run.settings.faces,
                "seed": run.settings.seed,
                "steps": run.record["training"]["steps"],
                "seconds": run.record["training"]["seconds"],
                "identities": sampler.people,
                **figures(found.pop(run.settings.learner)),
                "baselines": {name: figures(result) for name, result in found.items()},
            }
        )
    names = list(results[0]["baselines"])
    return {
        **mean_figures(results),
        "ways": ways,
        "shots": shots,
        "queries": queries,
        "episodes": episodes,
        "identities": results[0]["identities"],
        "baselines": {name: mean_figures([result["baselines"][name] for result in results]) for name in names},
        "runs": results,
    }


def figures(result: Evaluation) -> dict[str, float]:
    """Accuracy and its intervals over episodes and over people, to store."""
    return {key: round(getattr(result, key), 4) for key in ("accuracy", "ci95", "ci95_people")}


def mean_figures(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean accuracy and mean interval over the runs, and the deviation of the accuracy where there are several."""
    mean = {
        key: round(sum(result[key] for result in results) / len(results), 4)
        for key in ("accuracy", "ci95", "ci95_people")
    }
    if len(results) > 1:
        accuracies = torch.tensor([result["accuracy"] for result in results], dtype=torch.float64)
        mean["deviation"] = round(accuracies.std().item(), 4)
    return mean


def _people(faces: FaceSet, part: FaceSet) -> list[str]:
    return [faces.name_of(int(i)) for i in part.identities]


def device_name(device: torch.device | None = None) -> str:
    """What computes, as a stored result says it: the GPU, or the processor and the number of threads."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def processor() -> str:
    """The processor's name where the system tells it, else its kind."""
    try:  # on Linux `platform.processor()` knows the kind at most
        told = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        told = None
    return told[1] if told else platform.processor() or platform.machine()
