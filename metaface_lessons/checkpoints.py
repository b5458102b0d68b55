"""Weights on disk: written completely or not at all, and read with an error that says what is wrong with the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from .errors import MetaFaceError
from .paths import write_atomically


def store(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to a file. A crash leaves the old file or the new one, complete.

    path: the file.
    state: values by name. Its entry "format" is the version that `load` expects.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, what: str, form: int, command: str) -> dict[str, Any]:
    """Read what `store` wrote, onto the CPU.

    path: the file.
    what: what the file holds, for the error, such as "snapshots".
    form: the version that the caller understands.
    command: what makes the file, for the error.

    Raises `MetaFaceError` if the file is missing, damaged, or of another version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MetaFaceError(f"{path} is missing. It should hold {what}. Make it: {command}") from error
    except Exception as error:  # truncated zip, wrong magic, forbidden pickle: torch raises many kinds
        raise MetaFaceError(
            f"{path} is damaged ({type(error).__name__}). It should hold {what}. Delete it and make it again: {command}"
        ) from error
    if not isinstance(state, dict) or state.get("format") != form:
        raise MetaFaceError(f"{path} does not hold {what} of this version ({form}). Make it again: {command}")
    return state


def load_weights(net: torch.nn.Module, weights: dict[str, Any], source: Path) -> None:
    """Load weights into a network.

    net: the network.
    weights: tensors by name, as in `state_dict`.
    source: the file that they come from, for the error.

    Raises `MetaFaceError` if they do not fit, and names the first that does not.
    """
    own = net.state_dict()
    for key in [*own, *weights]:
        mine, theirs = (getattr(state.get(key), "shape", None) for state in (own, weights))
        if (key in own) != (key in weights) or mine != theirs:
            raise MetaFaceError(
                f"The weights in {source} are of another network: '{key}' is {_size(theirs)} there and {_size(mine)}"
                " here. Use the settings (learner, width, image size) that it was trained with."
            )
    net.load_state_dict(weights)


def _size(shape: torch.Size | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
