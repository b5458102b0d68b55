"""The adaptation explorer: it shows what the adapted learner predicts."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.widgets import adaptation_explorer


def test_adaptation_shows_what_the_adapted_learner_predicts(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[adaptation_explorer]
    state = adaptation_explorer.State(learner="ANIL", steps=3, shots=2)
    path, task, net = data.path(state), data.task(state), data.learners["ANIL"]
    net.test_steps = 3
    predicted = net.adapt(task.support).predict(task.query.x)[0].argmax(-1)
    assert torch.equal(path.predicted[3], predicted)
    assert path.query[3] == (predicted == task.query.y[0]).float().mean()
    assert len({len(values) for values in path}) == 1
    assert data.path(replace(state, steps=9)) is path, "a path is computed once"


def test_without_a_rate_nothing_moves(explorers: dict[ModuleType, Any]) -> None:
    still = explorers[adaptation_explorer].path(adaptation_explorer.State(rate=0.0))
    assert (still.loss == still.loss[0]).all()


def test_adaptation_that_cannot_be_shown_is_refused(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[adaptation_explorer]
    with pytest.raises(MetaFaceError, match=r"no learner called 'MAM'\. Did you mean 'MAML'"):
        data.path(adaptation_explorer.State(learner="MAM"))
    with pytest.raises(MetaFaceError, match="no condition called 'dark'"):
        data.path(adaptation_explorer.State(condition="dark"))
    with pytest.raises(MetaFaceError, match=r"diverges on this task\. Lower the rate"):
        data.path(adaptation_explorer.State(rate=1e30))
