"""Weights on disk: what is damaged, missing or of something else is refused."""

from __future__ import annotations

import errno
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from metaface_lessons import checkpoints
from metaface_lessons.augmentation import Augment
from metaface_lessons.checkpoints import load_weights
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from metaface_lessons.training import load_checkpoint
from tests.helpers import small_protonet, train_briefly


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"x" * 100):
        file.write_bytes(damaged)
        with pytest.raises(MetaFaceError, match=r"damaged \(.*delete it"):
            train_briefly(steps=2, checkpoint=file)


def test_checkpoints_of_other_trainings_networks_and_versions_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file, about={"ways": 5})
    with pytest.raises(MetaFaceError, match=r"another training: it has {'ways': 5}, this one {'ways': 7}"):
        train_briefly(steps=2, checkpoint=file, about={"ways": 7})
    with pytest.raises(MetaFaceError, match=r"another network: 'embedding.0.weight' is 4×1×3×3 there and 2×1×3×3 here"):
        load_weights(ProtoNet(Conv4(1, 16, 4), augment=Augment()), load_checkpoint(file)["learner"], file)
    torch.save({"format": 2}, file)
    with pytest.raises(MetaFaceError, match=r"newer version of the course \(format 2; this one reads 1\). Update"):
        load_checkpoint(file)
    torch.save({"format": 0}, file)
    with pytest.raises(MetaFaceError, match=r"does not hold a training of this version \(1\)"):
        load_checkpoint(file)
    with pytest.raises(MetaFaceError, match=r"missing\. .*Make it: metaface train"):
        load_checkpoint(tmp_path / "none.pt")


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetaFaceError, match=r"cannot be read \(it is not a file\)"):
        load_checkpoint(tmp_path)
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(MetaFaceError, match=r"cannot be read \(Permission denied\)"):
        load_checkpoint(file)


def repacked(file: Path, compression: int, extra: bytes = b"") -> None:
    """Pack a checkpoint again, with one more part."""
    with zipfile.ZipFile(file) as archive:
        parts = [(part.filename, archive.read(part)) for part in archive.infolist()]
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(name, content)
        archive.writestr("archive/data/zeros", extra)


def test_a_checkpoint_that_unfolds_to_gigabytes_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    repacked(file, zipfile.ZIP_DEFLATED, b"\0" * 2**26)
    assert file.stat().st_size < 2**20
    with pytest.raises(MetaFaceError, match=r"would unfold to 6\d MB.*It was not read"):
        load_checkpoint(file)

    file.unlink()
    train_briefly(steps=1, checkpoint=file)
    repacked(file, zipfile.ZIP_STORED)
    _claim(file, 2**31)  # the list of parts may say anything
    with pytest.raises(MetaFaceError, match=r"would unfold to 2,048 MB"):
        load_checkpoint(file)

    with file.open("wb") as sparse:
        sparse.truncate(checkpoints.LARGEST + 1)
    repacked_end = tmp_path / "end.pt"
    with zipfile.ZipFile(repacked_end, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with file.open("ab") as sparse:
        sparse.write(repacked_end.read_bytes())
    with pytest.raises(MetaFaceError, match=r"1,024 MB, more than any network of the course"):
        load_checkpoint(file)


def _claim(file: Path, size: int) -> None:
    """Let the archive say that its last part, which is empty, has this size."""
    data = bytearray(file.read_bytes())
    last = data.rindex(b"PK\x01\x02")
    data[last + 24 : last + 28] = struct.pack("<I", size)
    file.write_bytes(data)


@pytest.mark.parametrize(
    "odd",
    [
        {"history": {"loss": ["x"], "accuracy": [], "validated": [], "validation": []}},
        {"history": {"loss": []}},
        {"history": 1},
        {"seconds": "long"},
        {"seconds": float("nan")},
        {"about": None},
        {"net": []},
        {"optimiser": {}},
        {"optimiser": {"state": {}, "param_groups": []}},
        {"sampler": {}},
        {"facts": 3},
    ],
)
def test_an_odd_checkpoint_is_refused_in_words(tmp_path: Path, odd: dict[str, Any]) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file)
    torch.save(load_checkpoint(file) | odd, file)
    with pytest.raises(MetaFaceError, match=re.escape(str(file))):
        train_briefly(steps=2, checkpoint=file)


def test_a_checkpoint_whose_settings_would_fill_the_screen_is_refused_in_a_few_words(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file, about={"ways": 5})
    endless: list[Any] = [1]
    for _ in range(40):
        endless = [endless] * 10
    torch.save(load_checkpoint(file) | {"about": {"ways": endless}}, file)
    with pytest.raises(MetaFaceError, match="of another training") as refused:
        train_briefly(steps=2, checkpoint=file, about={"ways": 5})
    assert len(str(refused.value)) < 2000


def test_moments_of_other_shapes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file)
    state = load_checkpoint(file)
    state["optimiser"]["state"][0]["exp_avg"] = torch.zeros(()).expand(2**40)  # a terabyte of one zero
    torch.save(state, file)
    with pytest.raises(MetaFaceError, match="its moments have other shapes"):
        train_briefly(steps=2, checkpoint=file)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = small_protonet()
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(MetaFaceError, match=r"another network: 'embedding.0.weight' is absent there"):
        load_weights(net, {}, tmp_path)
    weights["embedding.0.weight"][0] = torch.nan
    with pytest.raises(MetaFaceError, match=r"'embedding.0.weight' in .* has NaN"):
        load_weights(net, weights, tmp_path)
