"""What `metaface train` trains with: the settings of each learner, and their values unless others are given.

The values were chosen on LFW, divided by another seed than those of the stored results. There is no torch here, so the
command's help shows them where torch is missing, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import MetaFaceError, unknown

FRACTIONS = (0.7, 0.05, 0.25)  # of the people: base, validation, novel
PROTOCOLS = ("pairs", "lfw-view1", "lfw-view2")  # of verification, see `runs.protocols`
PAIRS = 3000  # genuine pairs, and as many impostor pairs, of the protocol "pairs": enough to read FAR = 1% from

_maml = {"ways": 5, "shots": 2, "queries": 3, "tasks": 4, "width": 32, "rate": 3e-3}
_maml |= {"inner_rate": 0.2, "inner_steps": 2, "test_steps": 10}
# Reptile learns from what one image of a person does for another. It needs many of each, and few people have them.
_reptile = {"ways": 5, "shots": 5, "queries": 5, "tasks": 2, "width": 32, "rate": 0.25}
_reptile |= {"inner_rate": 0.1, "inner_steps": 8, "test_steps": 10}

_embedding = {"ways": 20, "shots": 1, "queries": 4, "tasks": 1, "width": 64, "rate": 3e-3}

RECIPES: dict[str, dict[str, Any]] = {
    "pretrain": _embedding | {"inner_rate": 10.0, "test_steps": 100},
    "arcface": _embedding | {"scale": 10.0, "margin": 0.2},
    "cosface": _embedding | {"scale": 10.0, "margin": 0.2},
    "protonet": _embedding | {"temperature": 50.0},
    "maml": _maml,
    "learn2learn": _maml,
    "fomaml": _maml,
    "anil": _maml,
    "metasgd": _maml,
    "protomaml": _maml | {"inner_rate": 0.02, "temperature": 50.0},
    "reptile": _reptile,
}


def _setting(kind: type, words: str) -> Any:
    """A setting that some learners have: None for the others. kind, words: of the command's option."""
    return field(default=None, metadata={"kind": kind, "help": words})


@dataclass(frozen=True)
class Settings:
    """What is trained on what; see `settings_of`, which fills in the learner's recipe.

    The same settings and number of steps give the same weights on one machine. A setting that the learner does not have
    is None. The fields say what each means; `metaface train` has an option for each.
    """

    learner: str
    faces: str = "procedural"
    seed: int = 0
    ways: int = _setting(int, "people per episode")
    shots: int = _setting(int, "support images of each")
    queries: int = _setting(int, "query images of each")
    tasks: int = _setting(int, "episodes per step")
    width: int = _setting(int, "filters of each convolution")
    rate: float = _setting(float, "learning rate of the outer loop (Reptile's ε)")
    temperature: float | None = _setting(float, "distances are divided by it")
    inner_rate: float | None = _setting(float, "learning rate of the inner loop")
    inner_steps: int | None = _setting(int, "inner steps in training")
    test_steps: int | None = _setting(int, "inner steps in evaluation")
    scale: float | None = _setting(float, "cosines are multiplied by it")
    margin: float | None = _setting(float, "by which the true person must win")

    @property
    def fixed_ways(self) -> bool:
        """Whether the learner begins with a head, which has one output for each of `ways` people and for no others."""
        return self.inner_steps is not None and self.learner != "protomaml"


OPTIONS = {f.name: f.metadata for f in fields(Settings) if f.metadata}  # the settings that the command has options for


def settings_of(learner: str, faces: str = "procedural", seed: int = 0, **given: Any) -> Settings:
    """The learner's recipe, with what is `given` in place of its values.

    Raises `MetaFaceError` if there is no such learner, or it has no such setting.
    """
    if learner not in RECIPES:
        raise unknown("learner", learner, RECIPES)
    recipe = RECIPES[learner]
    for name in given:
        if name not in recipe:
            raise MetaFaceError(f"{learner} has no setting '{name}'. It has: {', '.join(recipe)}.")
    return Settings(learner, faces, seed, **(recipe | given))
