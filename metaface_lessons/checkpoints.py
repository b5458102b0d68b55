"""Weights on disk: written completely or not at all, and read with an error that says what is wrong with the file."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from .errors import MetaFaceError
from .paths import write_atomically

LARGEST = 2**30  # bytes of a file; a training of the course's widest network needs less


def store(path: Path, state: dict[str, Any], trial: bool = False) -> None:
    """Write tensors and plain values to a file. A crash leaves the old file or the new one, complete.

    path: the file.
    state: values by name. Its entry "format" is the version that `load` expects.
    trial: only try whether it could be written; see `write_atomically`.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue(), trial=trial)


def load(path: Path, what: str, form: int, command: str) -> dict[str, Any]:
    """Read what `store` wrote, onto the CPU.

    path: the file.
    what: what the file holds, for the error, such as "snapshots".
    form: the version that the caller understands.
    command: what makes the file, for the error.

    Raises `MetaFaceError` if the file is missing, cannot be read, is damaged, would need more memory than its size, or
    is of another version.
    """
    try:
        _check_size(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MetaFaceError(f"{path} is missing. It should hold {what}. Make it: {command}") from error
    except OSError as error:
        raise MetaFaceError(f"{path} cannot be read ({error.strerror or error}). It should hold {what}.") from error
    except MetaFaceError:
        raise
    except Exception as error:  # truncated zip, wrong magic, forbidden pickle: torch raises many kinds
        raise MetaFaceError(
            f"{path} is damaged ({type(error).__name__}). It should hold {what}. Put a copy back if you have one, or"
            f" delete it and make it again: {command}"
        ) from error
    found = state.get("format") if isinstance(state, dict) else None
    if type(found) is int and found > form:
        raise MetaFaceError(
            f"{path} was written by a newer version of the course (format {found}; this one reads {form}). Update the"
            " course."
        )
    if found != form:
        raise MetaFaceError(f"{path} does not hold {what} of this version ({form}). Make it again: {command}")
    return state


def _check_size(path: Path) -> None:
    """Raise `MetaFaceError` if reading a file would need far more memory than a file of the course does.

    `store` writes an archive without compression. So its parts together are never larger than the file.
    """
    if not path.is_file():
        path.stat()  # raises if there is nothing
        raise IsADirectoryError(errno.EISDIR, "it is not a file")
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    unfolded = sum(part.file_size for part in parts)
    if unfolded > size or any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise MetaFaceError(
            f"{path} has {_megabytes(size)}, but would unfold to {_megabytes(unfolded)}. The course writes its files"
            " without compression, so this one is from elsewhere. It was not read."
        )
    if size > LARGEST:
        raise MetaFaceError(
            f"{path} has {_megabytes(size)}, more than any network of the course ({_megabytes(LARGEST)}). It was not"
            " read."
        )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB" if size >= 2**20 else f"{size:,} bytes"


def load_weights(net: torch.nn.Module, weights: dict[str, Any], source: Path) -> None:
    """Load weights into a network.

    net: the network.
    weights: tensors by name, as in `state_dict`.
    source: the file that they come from, for the error.

    Raises `MetaFaceError` if they do not fit, or are not finite, and names the first that does not.
    """
    own = net.state_dict()
    for key in [*own, *weights]:
        mine, theirs = (getattr(state.get(key), "shape", None) for state in (own, weights))
        if (key in own) != (key in weights) or mine != theirs:
            raise MetaFaceError(
                f"The weights in {source} are of another network: '{key}' is {_size(theirs)} there and {_size(mine)}"
                " here. Use the settings (learner, width, image size) that it was trained with."
            )
        value = weights[key]
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all():
            raise MetaFaceError(f"'{key}' in {source} has NaN or infinite values. Train with a lower rate.")
    try:
        net.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise MetaFaceError(f"The weights in {source} cannot be loaded: {error}") from error


def _size(shape: torch.Size | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
