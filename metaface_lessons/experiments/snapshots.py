"""One small ProtoNet at several moments of its training, for lessons that watch an embedding take shape.

`metaface experiment snapshots` trains it on procedural faces and writes data/checkpoints/protonet-procedural.pt.
Interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from .. import checkpoints
from ..episodes import EpisodeSampler
from ..faces import FaceSet, Split, load_faces
from ..learners.base import MetaLearner
from ..learners.protonet import ProtoNet
from ..paths import DATA, cache_dir
from ..runs.making import make_learner
from ..runs.recipes import FRACTIONS, settings_of
from ..training import meta_train

FILE = DATA / "checkpoints" / "protonet-procedural.pt"
STEPS = (0, 20, 100, 400, 1500)
SETTINGS = settings_of("protonet", width=32)
COMMAND = "metaface experiment snapshots"
_FORMAT = 1


def snapshot_split() -> Split:
    """The default procedural faces as these trainings divide them: the snapshots have seen the base people alone."""
    return load_faces("procedural").split(FRACTIONS, seed=SETTINGS.seed)


def _net(channels: int, size: int) -> ProtoNet:
    return cast(ProtoNet, make_learner(SETTINGS, (channels, size, size)))


def make_snapshots(
    base: FaceSet, path: Path = FILE, steps: Sequence[int] = STEPS, ways: int = SETTINGS.ways, progress: bool = True
) -> None:
    """Train on the `base` people, keep the averaged weights after each of `steps`, and write them to `path`.

    What is there of an interrupted training is kept in the user's cache folder until it is done.
    """
    channels, size, _ = base.shape
    net = _net(channels, size)
    work = cache_dir() / "snapshots"
    parts = {step: work / f"{path.stem}-{step}.pt" for step in steps}

    def keep(step: int, learner: MetaLearner) -> None:
        if step in parts:
            checkpoints.store(parts[step], learner.get_submodule("embedding").state_dict())

    keep(0, net)
    checkpoint = work / f"{path.stem}.pt"
    trained = meta_train(
        net,
        EpisodeSampler(base, ways, SETTINGS.shots, SETTINGS.queries, seed=SETTINGS.seed),
        steps=max(steps),
        rate=SETTINGS.rate,
        checkpoint=checkpoint,
        about={**asdict(SETTINGS), "ways": ways, "people": base.identities.tolist()},
        on_step=keep,
        progress=progress,
    )
    if trained.stopped == "interrupted":
        raise KeyboardInterrupt
    weights = {step: torch.load(part, weights_only=True) for step, part in parts.items()}
    people = base.identities.tolist()
    checkpoints.store(
        path, {"format": _FORMAT, "channels": channels, "size": size, "people": people, "weights": weights}
    )
    for done in (*parts.values(), checkpoint):
        done.unlink()


def load_snapshots(path: Path = FILE) -> dict[int, ProtoNet]:
    """The network by the number of steps that it was trained for, in evaluation mode.

    Raises `MetaFaceError` if the file is missing, damaged or of another network.
    """
    state = checkpoints.load(path, "snapshots", _FORMAT, COMMAND)
    nets = {}
    for step, weights in sorted(state["weights"].items()):
        net = _net(state["channels"], state["size"])
        checkpoints.load_weights(net.embedding, weights, path)
        nets[step] = net.eval().requires_grad_(False)
    return nets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(arguments: argparse.Namespace) -> None:
    """Train, and store the weights."""
    make_snapshots(snapshot_split().base)
    print(f"Wrote {FILE} ({FILE.stat().st_size / 1e6:.1f} MB).")
