"""What tests of explorers share: small data for each that needs some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch

from metaface_lessons import widgets
from metaface_lessons.experiments import leak, sinusoids
from metaface_lessons.experiments.snapshots import STEPS
from metaface_lessons.faces.pairs import draw_pairs
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.widgets import (
    adaptation_explorer,
    embedding_explorer,
    episode_explorer,
    gradient_explorer,
    leak_explorer,
    light_explorer,
    sinusoid_explorer,
    threshold_explorer,
)
from metaface_lessons.widgets.explorer import Explorer
from tests.helpers import conditioned_faces, random_faces, unlike_faces


def adapted() -> adaptation_explorer.Adapted:
    """Small learners that have learned nothing, and strangers in every condition."""
    faces = random_faces(people=8, each=48, channels=3)
    i = torch.arange(len(faces))
    faces = replace(faces, conditions={"yaw": i // 12 % 2 * 30.0, "light_azimuth": i // 24 % 2 * 60.0})
    small = [Conv4(3, 16, width=8, depth=2, norm="task", seed=seed) for seed in range(4)]
    classifiers = [Classifier(embedding, embedding.features, ways=5) for embedding in small]
    learners = {
        "MAML": MAML(classifiers[0]),
        "ANIL": MAML(classifiers[1], adapt="head"),
        "Meta-SGD": MAML(classifiers[2], rates="parameter"),
        "ProtoMAML": ProtoMAML(small[3], small[3].features, temperature=50.0, inner_rate=0.02),
        "ProtoMAML from ProtoNet": ProtoMAML(small[3], small[3].features, temperature=50.0, inner_rate=0.02),
    }
    return adaptation_explorer.Adapted(learners, faces)


@pytest.fixture(scope="session")
def explorers() -> dict[ModuleType, Any]:
    """Small data for the explorers that need some. The others are opened as `widgets.example` opens them."""
    nets = {step: ProtoNet(Conv4(1, 16, width=8, depth=2, seed=step), temperature=4).eval() for step in STEPS}
    return {
        episode_explorer: conditioned_faces(),
        leak_explorer: leak.leak_experiment(unlike_faces(), people=12, episodes=40),
        embedding_explorer: embedding_explorer.Embedded(nets, random_faces(people=5, each=15)),
        adaptation_explorer: adapted(),
        light_explorer: light_explorer.Gallery(ProtoNet(Conv4(3, 64, width=8)).eval(), range(8)),
        gradient_explorer: gradient_explorer.regression(),
        sinusoid_explorer: sinusoid_explorer.Measured(sinusoids.load_methods()),
        threshold_explorer: threshold_explorer.Compared(nets, draw_pairs(random_faces(people=8, each=6), each=60)),
    }


@pytest.fixture
def explore(explorers: dict[ModuleType, Any]) -> Callable[[ModuleType], Explorer]:
    """Open an explorer on its small data, or on the course's own if it has none."""

    def opened(module: ModuleType) -> Explorer:
        data = explorers.get(module)
        if data is None:
            return widgets.example(next(name for name, known in widgets.explorers().items() if known is module))
        several = {embedding_explorer: ("snapshots", "faces"), threshold_explorer: ("snapshots", "pairs")}
        several[light_explorer] = ("net", "people")
        parts = [getattr(data, part) for part in several.get(module, ())]
        explorer = module.explore(*parts) if parts else module.explore(data)
        assert isinstance(explorer, Explorer)
        return explorer

    return opened
