"""What `metaface train` trains with, unless told otherwise: the settings that each learner has, and their values.

They were chosen on people of LFW's base set. No torch here: the command's help shows them where torch is missing, too.
"""

from __future__ import annotations

_inner = {"ways": 5, "shots": 1, "queries": 4, "tasks": 4, "width": 32, "rate": 3e-3, "inner_rate": 0.2}

RECIPES: dict[str, dict[str, float]] = {
    "protonet": {"ways": 20, "shots": 1, "queries": 4, "tasks": 1, "width": 64, "rate": 3e-3, "temperature": 50.0},
    "maml": {**_inner, "inner_steps": 2, "test_steps": 5},
    "fomaml": {**_inner, "inner_steps": 2, "test_steps": 5},
    "anil": {**_inner, "inner_steps": 2, "test_steps": 5},
    "reptile": {**_inner, "tasks": 2, "rate": 0.5, "inner_rate": 0.1, "inner_steps": 4, "test_steps": 10},
}
