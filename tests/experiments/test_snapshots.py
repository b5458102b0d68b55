"""Snapshots of a training: made, resumed, stored, refused when damaged or of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.experiments import snapshots
from metaface_lessons.experiments.snapshots import FILE, STEPS, load_snapshots, make_snapshots
from metaface_lessons.faces.faceset import FaceSet
from metaface_lessons.faces.procedural import procedural_faces
from metaface_lessons.runs.recipes import FRACTIONS
from tests.helpers import random_faces

FEW = (0, 1, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def weights(path: Path) -> dict[int, dict[str, torch.Tensor]]:
    return {step: net.state_dict() for step, net in load_snapshots(path).items()}


def make(path: Path) -> None:
    make_snapshots(random_faces(), path, FEW, ways=4, progress=False)


def test_snapshots_are_of_different_moments_and_leave_nothing_behind(tmp_path: Path, cache: Path) -> None:
    make(tmp_path / "net.pt")
    nets = load_snapshots(tmp_path / "net.pt")
    assert list(nets) == list(FEW)
    assert not any(net.training or p.requires_grad for net in nets.values() for p in net.parameters())
    first = [net.state_dict()["embedding.0.weight"] for net in nets.values()]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    assert [path.name for path in (cache / "snapshots").iterdir()] == [".net.pt.lock"]  # which always stays


def test_an_interrupted_making_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "whole.pt")
    train = snapshots.meta_train

    def interrupted(*arguments: Any, steps: int, **settings: Any) -> Any:
        trained = train(*arguments, steps=2, **settings)
        trained.stopped = "interrupted"
        return trained

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "meta_train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "parts.pt")
    assert not (tmp_path / "parts.pt").exists()

    def resumed(*arguments: Any, **settings: Any) -> Any:
        steps = []
        keep = settings.pop("on_step")
        trained = train(*arguments, **settings, on_step=lambda step, net: (steps.append(step), keep(step, net)))
        assert steps == [3]
        return trained

    monkeypatch.setattr(snapshots, "meta_train", resumed)
    make(tmp_path / "parts.pt")
    for step, state in weights(tmp_path / "whole.pt").items():
        for key, value in weights(tmp_path / "parts.pt")[step].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(state[key])), (step, key)


def test_missing_or_damaged_snapshots_are_refused_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(
        MetaFaceError, match=r"missing\. It should hold snapshots\. Make it: metaface experiment snapshots"
    ):
        load_snapshots(tmp_path / "absent.pt")
    make(tmp_path / "net.pt")
    whole = (tmp_path / "net.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MetaFaceError, match="damaged"):
        load_snapshots(tmp_path / "cut.pt")
    torch.save({"format": 0}, tmp_path / "old.pt")
    with pytest.raises(MetaFaceError, match="this version"):
        load_snapshots(tmp_path / "old.pt")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    torch.save(state | {"channels": 3}, tmp_path / "other.pt")
    with pytest.raises(MetaFaceError, match="another network"):
        load_snapshots(tmp_path / "other.pt")


def test_the_stored_snapshots_have_seen_the_base_people_alone() -> None:
    everyone = FaceSet(torch.zeros(300, 1, 1, 1, dtype=torch.uint8), torch.arange(300))
    split = everyone.split(FRACTIONS, seed=snapshots.SETTINGS.seed)
    assert torch.load(FILE, weights_only=True)["people"] == split.base.identities.tolist()
    assert FILE.stat().st_size < 3e6


def test_the_stored_snapshots_recognise_strangers_better_the_longer_they_were_trained() -> None:
    """On people of another seed, whom no training has seen."""
    strangers = procedural_faces(identities=12, images=8, seed=777, progress=False)
    nets = {str(step): net for step, net in load_snapshots().items()}
    assert list(nets) == [str(step) for step in STEPS]
    measured = evaluate(nets, EpisodeSampler(strangers, 5, 1, 5, seed=0), episodes=60)
    assert measured["1500"].accuracy > measured["0"].accuracy + 0.15
    assert measured["1500"].accuracy > measured["100"].accuracy + 0.1
