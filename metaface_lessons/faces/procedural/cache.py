"""The rendered default set on disk: checked when it is read, and written as a whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...paths import write_atomically

_MAGIC = b"METAFACE-FACES\n"


class Damaged(Exception):
    """The file is not what was written, or was written by another version."""


def save(path: Path, arrays: Mapping[str, Tensor], recipe: Mapping[str, object]) -> None:
    """Write tensors, what made them, and a checksum. If the folder cannot be written, this only warns.

    path: the file.
    arrays: the tensors, by name.
    recipe: the settings and version that made them.
    """
    body = io.BytesIO()
    np.savez(body, allow_pickle=False, **{name: tensor.numpy() for name, tensor in arrays.items()})
    content = body.getvalue()
    head = json.dumps({"recipe": dict(recipe), "sha256": hashlib.sha256(content).hexdigest()}).encode()
    try:
        write_atomically(path, _MAGIC + head + b"\n" + content)
    except OSError as error:
        warnings.warn(
            f"The rendered faces could not be kept in {path.parent} ({error.strerror or error}); they will be rendered"
            " again next time. Set METAFACE_CACHE to a folder that you can write to.",
            stacklevel=3,
        )


def load(path: Path, recipe: Mapping[str, object]) -> dict[str, Tensor] | None:
    """The tensors that `save` wrote; None if there is no such file, or, with a warning, if it is not a good one.

    path: the file.
    recipe: the settings and version that must have made them.
    """
    try:
        return _read(path.read_bytes(), recipe)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (Damaged, OSError) as error:
        warnings.warn(f"The cached faces {path} cannot be used ({error}); rendering them again.", stacklevel=3)
        return None


def _read(data: bytes, recipe: Mapping[str, object]) -> dict[str, Tensor]:
    if not data.startswith(_MAGIC):
        raise Damaged("it is not a face cache")
    head, newline, content = data[len(_MAGIC) :].partition(b"\n")
    if not newline:
        raise Damaged("it is truncated")
    try:
        notes = json.loads(head)
        stored, checksum = notes["recipe"], notes["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("its header is damaged") from error
    if stored != dict(recipe):
        raise Damaged("it was made by another version or with other settings")
    if hashlib.sha256(content).hexdigest() != checksum:
        raise Damaged("its checksum does not match: it is truncated or damaged")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
