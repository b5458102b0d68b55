"""The settings of each learner for `metaface train`, their default values, and where `metaface search` looks.

The values were chosen on LFW, on splits by other seeds than those of the stored results; ArcFace's scale and margin by
`metaface experiment verification`, on people whom its seeds do not test. This module does not import
torch, so that the command's help works where torch is missing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import MetaFaceError, unknown
from ..names import visible
from ..options import Choice, real, seed, whole

FRACTIONS = (0.7, 0.05, 0.25)  # of the people: base, validation, novel
TESTED_ELSEWHERE = (0.95, 0.03, 0.02)  # likewise, of `lfw-without:…`, whose tested people are left out before
PROTOCOLS = ("pairs", "lfw-view1", "lfw-view2")  # of verification, see `runs.protocols`
PAIRS = 3000  # of each kind, genuine and impostor, in the protocol "pairs": enough to measure FAR = 1%
# What a meta-gradient of second order may keep: the keys of `learners.meta_gradients.WAYS`, except the inexact one.
MEMORY = ("all", "segments", "steps", "nested", "adjoint", "forward")

_maml = {"ways": 5, "shots": 2, "queries": 3, "tasks": 4, "width": 32, "rate": 3e-3}
_maml |= {"inner_rate": 0.2, "inner_steps": 2, "test_steps": 10}
# As many inner steps in evaluation as in training, because each has rates, weights and statistics of its own.
_maml_plus_plus = _maml | {"inner_steps": 5, "test_steps": 5, "step_rates": 1, "step_affine": 1, "step_statistics": 1}
_maml_plus_plus |= {"multi_step": 100, "first_order_steps": 100, "cosine_steps": 1000}
_second: dict[str, Any] = _maml | {"memory": None}  # second order; all inner steps are kept unless this is given
# Reptile learns from how a step on one image of a person helps another. It needs many images of each person.
_reptile = {"ways": 5, "shots": 5, "queries": 5, "tasks": 2, "width": 32, "rate": 0.25}
_reptile |= {"inner_rate": 0.1, "inner_steps": 8, "test_steps": 10}

_embedding: dict[str, Any] = {"ways": 20, "shots": 1, "queries": 4, "tasks": 1, "width": 64, "rate": 3e-3}
_embedding |= {"fewest": None, "augmentation": None, "weight_decay": None}  # not used unless they are given

RECIPES: dict[str, dict[str, Any]] = {
    "pretrain": _embedding | {"inner_rate": 10.0, "test_steps": 100},
    "arcface": _embedding | {"scale": 10.0, "margin": 0.3},
    "cosface": _embedding | {"scale": 10.0, "margin": 0.2},
    "protonet": _embedding | {"temperature": 50.0},
    "nca": _embedding | {"temperature": 50.0},
    "maml": _second,
    "learn2learn": _maml,
    "fomaml": _maml,
    "anil": _second,
    "metasgd": _second,
    "maml++": _maml_plus_plus,
    # Tried on procedural faces that no result uses; with λ = 2 and 5 steps at this rate, the inner loop did not settle.
    "imaml": _maml | {"inner_steps": 10, "proximal": 0.5, "cg_steps": 5},
    "protomaml": _second | {"inner_rate": 0.02, "temperature": 50.0},
    "reptile": _reptile,
}


@dataclass(frozen=True)
class Between:
    """What a search may choose for one setting: numbers from `low` to `high`, both included.

    log: whether ratios count and not differences, as they do for rates: from 0.01 to 0.1 is as far as from 0.1 to 1.
        False.
    whole: whether only whole numbers are possible. False.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


_rate = {"rate": Between(3e-4, 3e-2, log=True)}
_temperature = {"temperature": Between(5.0, 500.0, log=True)}
_steps = {"inner_steps": Between(1, 5, whole=True), "test_steps": Between(1, 20, whole=True)}
_gradient = _rate | {"inner_rate": Between(0.01, 3.0, log=True)} | _steps
_angle = _rate | {"scale": Between(3.0, 60.0, log=True), "margin": Between(0.0, 0.6)}

SPACES: dict[str, dict[str, Between]] = {
    "pretrain": _rate | {"inner_rate": Between(0.1, 100.0, log=True), "test_steps": Between(10, 300, True, True)},
    "arcface": _angle,
    "cosface": _angle,
    "protonet": _rate | _temperature,
    "nca": _rate | _temperature,
    "maml": _gradient,
    "learn2learn": _gradient,
    "fomaml": _gradient,
    "anil": _gradient,
    "metasgd": _gradient,
    "maml++": _gradient | {"inner_steps": Between(1, 10, whole=True)},
    "imaml": _gradient
    | {"inner_steps": Between(1, 30, whole=True)}
    | {"proximal": Between(0.03, 10.0, log=True), "cg_steps": Between(1, 20, whole=True)},
    "protomaml": _gradient | {"inner_rate": Between(1e-3, 1.0, log=True)} | _temperature,
    # With one step Reptile is joint training, so it begins at two.
    "reptile": {
        "rate": Between(0.03, 1.0, log=True),
        "inner_rate": Between(3e-3, 1.0, log=True),
        "inner_steps": Between(2, 16, whole=True),
        "test_steps": Between(1, 40, whole=True),
    },
}


def _setting(kind: Callable[[str], float | str], words: str) -> Any:
    """A setting that only some learners have; for the others it is None.

    kind: the type of the command's option, with its range.
    words: the help of the command's option.
    """
    return field(default=None, metadata={"kind": kind, "help": words})


_few = whole(1, 10_000)
_switch = whole(0, 1)
_outer = whole(0)
_positive = real()


def fractions(faces: str) -> tuple[float, float, float]:
    """The shares of base, validation and novel people in a training on the face set of this name."""
    return TESTED_ELSEWHERE if faces.startswith("lfw-without:") else FRACTIONS


@dataclass(frozen=True)
class Settings:
    """The settings of one training: the learner, the faces, the seed, and the learner's own settings.

    `settings_of` fills in the learner's recipe. On one machine, the same settings and number of steps give the same
    weights. A setting that the learner does not have is None. `metaface train` has an option for each field.
    """

    learner: str
    faces: str = "procedural"
    seed: int = 0
    ways: int = _setting(whole(2, 10_000), "people per episode")
    shots: int = _setting(_few, "support images of each person")
    queries: int = _setting(_few, "query images of each person")
    tasks: int = _setting(_few, "episodes per step")
    width: int = _setting(whole(1, 2048), "filters of each convolution")
    rate: float = _setting(_positive, "learning rate of the outer loop (Reptile's ε)")
    temperature: float | None = _setting(_positive, "divides the distances")
    inner_rate: float | None = _setting(_positive, "learning rate of the inner loop")
    inner_steps: int | None = _setting(whole(0, 10_000), "inner steps in training")
    test_steps: int | None = _setting(whole(0, 10_000), "inner steps in evaluation")
    step_rates: int | None = _setting(_switch, "1: each inner step has its own learned rates; 0: all share them")
    step_affine: int | None = _setting(_switch, "1: each inner step has its own weights and biases of batch norm")
    step_statistics: int | None = _setting(_switch, "1: each inner step has its own running statistics of batch norm")
    multi_step: int | None = _setting(_outer, "outer steps until only the loss after the last inner step counts")
    first_order_steps: int | None = _setting(_outer, "outer steps with gradients of first order, before second order")
    cosine_steps: int | None = _setting(_outer, "outer steps in which the rate falls to 1%%, as a cosine; 0: halving")
    memory: str | None = _setting(
        Choice(*MEMORY),
        f"what the meta-gradient keeps of the inner steps: {', '.join(MEMORY)}; the gradient is the same",
    )
    proximal: float | None = _setting(_positive, "strength of the proximal term, iMAML's λ")
    cg_steps: int | None = _setting(_few, "iterations of conjugate gradients")
    scale: float | None = _setting(_positive, "multiplies the cosines")
    margin: float | None = _setting(real(0.0, math.pi / 2, included=True), "how much the true person must win by")
    fewest: int | None = _setting(whole(2, 10_000), "images of a person who takes part; too few of them repeat")
    augmentation: float | None = _setting(real(0.0, 10.0, included=True), "strength of the random changes; usually 1")
    weight_decay: float | None = _setting(real(0.0, 1.0, included=True), "of the outer loop's AdamW")

    def __post_init__(self) -> None:
        """Raise `MetaFaceError` for a value that no training can have. A checkpoint may come from anywhere."""
        if type(self.learner) is not str or self.learner not in RECIPES:
            raise unknown("learner", visible(str(self.learner)[:50]), RECIPES)
        if type(self.faces) is not str:
            raise MetaFaceError(
                f"faces must be the name of a face set, but is of the type {type(self.faces).__name__}."
            )
        for name, kind in [("seed", seed), *((name, option["kind"]) for name, option in OPTIONS.items())]:
            value = getattr(self, name)
            if value is None and RECIPES[self.learner].get(name) is None:
                continue
            try:
                word = type(value) in (int, float) or (type(value) is str and isinstance(kind, Choice))
                kind(str(value) if word else repr(value))
            except argparse.ArgumentTypeError as error:
                raise MetaFaceError(f"{name} cannot have this value: {error}") from None

    @property
    def fixed_ways(self) -> bool:
        """Whether the learner has a head with exactly `ways` outputs, so that episodes must have that many people."""
        return self.inner_steps is not None and self.learner != "protomaml"


OPTIONS = {f.name: f.metadata for f in fields(Settings) if f.metadata}  # the settings that the command has options for


def settings_of(learner: str, faces: str = "procedural", seed: int = 0, **given: Any) -> Settings:
    """The settings of a training: the learner's recipe, with some values changed.

    learner: a key of `RECIPES`.
    faces: the face set, by the name that `load_faces` takes. "procedural".
    seed: of the split, the first weights and the episodes. 0.
    given: values in place of the recipe's.
    Raises `MetaFaceError` if the learner does not exist, does not have a setting that is given, or cannot have its
    value.
    """
    if learner not in RECIPES:
        raise unknown("learner", learner, RECIPES)
    recipe = RECIPES[learner]
    for name in given:
        if name not in recipe:
            raise MetaFaceError(f"{learner} has no setting '{name}'. It has: {', '.join(recipe)}.")
    return Settings(learner, faces, seed, **(recipe | given))


def space_of(
    learner: str, given: Mapping[str, float | tuple[float, float]]
) -> tuple[dict[str, Any], dict[str, Between]]:
    """Where a search looks for a learner's settings: its entry in `SPACES`, with some settings fixed or narrowed.

    learner: a key of `RECIPES`.
    given: by setting, a number, which is then fixed; or the two ends of a range.

    Returns the fixed settings and the space of the others. Raises `MetaFaceError` if the learner does not exist or does
    not have a setting, a range is given for a setting that is not searched, or nothing is left to search.
    """
    numbers: dict[str, Any] = {name: value for name, value in given.items() if not isinstance(value, tuple)}
    settings_of(learner, **numbers)
    space = {name: where for name, where in SPACES[learner].items() if name not in numbers}
    for name, ends in given.items():
        if isinstance(ends, tuple):
            if name not in space:
                raise MetaFaceError(
                    f"A search for {learner} does not choose '{name}', so it takes one number, not a range. It chooses:"
                    f" {', '.join(SPACES[learner])}."
                )
            if space[name].log and ends[0] <= 0:
                raise MetaFaceError(f"{name} is searched on a log axis, which has no 0. Let its range begin above 0.")
            space[name] = replace(space[name], low=ends[0], high=ends[1])
    if not space:
        raise MetaFaceError(f"All of {', '.join(SPACES[learner])} are given, so nothing is left to search. Omit one.")
    return numbers, space
