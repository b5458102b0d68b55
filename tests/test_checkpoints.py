"""Weights on disk: what is damaged, missing or of something else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metaface_lessons.augmentation import Augment
from metaface_lessons.checkpoints import load_weights
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from metaface_lessons.training import load_checkpoint
from tests.helpers import train_briefly


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"x" * 100):
        file.write_bytes(damaged)
        with pytest.raises(MetaFaceError, match=r"damaged \(.*Delete it"):
            train_briefly(steps=2, checkpoint=file)


def test_checkpoints_of_other_trainings_networks_and_versions_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=1, checkpoint=file, about={"ways": 5})
    with pytest.raises(MetaFaceError, match=r"another training: it has {'ways': 5}, this one {'ways': 7}"):
        train_briefly(steps=2, checkpoint=file, about={"ways": 7})
    with pytest.raises(MetaFaceError, match=r"another network: 'embedding.0.weight' is 4×1×3×3 there and 2×1×3×3 here"):
        load_weights(ProtoNet(Conv4(1, 16, 4), augment=Augment()), load_checkpoint(file)["learner"], file)
    torch.save({"format": 0}, file)
    with pytest.raises(MetaFaceError, match=r"does not hold a training of this version \(1\)"):
        load_checkpoint(file)
    with pytest.raises(MetaFaceError, match=r"missing\. .*Make it: metaface train"):
        load_checkpoint(tmp_path / "none.pt")
