"""What `metaface train` trains with, unless told otherwise: the settings that each learner has, and their values.

They were chosen on LFW, divided by another seed than those of the stored results. No torch here: the command's help
shows them where torch is missing, too.
"""

from __future__ import annotations

_maml = {"ways": 5, "shots": 2, "queries": 3, "tasks": 4, "width": 32, "rate": 3e-3}
_maml |= {"inner_rate": 0.2, "inner_steps": 2, "test_steps": 10}
# Reptile learns from what one image of a person does for another: it wants many of each, and few people have them.
_reptile = {"ways": 5, "shots": 5, "queries": 5, "tasks": 2, "width": 32, "rate": 0.25}
_reptile |= {"inner_rate": 0.1, "inner_steps": 8, "test_steps": 10}

_embedding = {"ways": 20, "shots": 1, "queries": 4, "tasks": 1, "width": 64, "rate": 3e-3}

RECIPES: dict[str, dict[str, float]] = {
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
