"""What `metaface train` trains with, unless told otherwise: the settings that each learner has, and their values.

They were chosen on people of LFW's base set. No torch here: the command's help shows them where torch is missing, too.
"""

from __future__ import annotations

_inner = {"ways": 5, "shots": 2, "queries": 3, "tasks": 4, "width": 32, "rate": 1e-3}

RECIPES: dict[str, dict[str, float]] = {
    "protonet": {"ways": 20, "shots": 1, "queries": 4, "tasks": 1, "width": 64, "rate": 3e-3, "temperature": 50.0},
    "maml": {**_inner, "inner_rate": 0.1, "inner_steps": 3, "test_steps": 5},
    "fomaml": {**_inner, "inner_rate": 0.1, "inner_steps": 3, "test_steps": 5},
    "anil": {**_inner, "inner_rate": 0.1, "inner_steps": 5, "test_steps": 10},
    "reptile": {**_inner, "rate": 0.5, "inner_rate": 1e-3, "inner_steps": 5, "test_steps": 20},
}
