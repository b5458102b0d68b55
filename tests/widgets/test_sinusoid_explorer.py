"""The sinusoid explorer: the stored networks, and the curves that they predict."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from metaface_lessons.widgets import sinusoid_explorer


def test_the_stored_networks_show_what_the_lesson_says(explorers: dict[ModuleType, Any]) -> None:
    """Both begin with the error of the mean of all curves, 3.0057; one step takes MAML most of the way to 0."""
    error = explorers[sinusoid_explorer].error(10)
    for name in explorers[sinusoid_explorer].methods:
        assert error[name][0] == pytest.approx(3.0, abs=0.5)  # of 100 tasks, so not exactly
    assert error["MAML"][1] < 0.6
    assert error["MAML"][10] < 0.25
    assert error["joint training"][10] > 1.5


def test_the_curve_is_what_the_adapted_learner_predicts(explorers: dict[ModuleType, Any]) -> None:
    state, method = sinusoid_explorer.State(task=7), explorers[sinusoid_explorer].methods["MAML"]
    task = sinusoid_explorer.episode(state)
    path = sinusoid_explorer.predictions(method, task, method.test_steps)
    wanted = method.adapt(task.support).predict(task.query.x)[0, :, 0]
    torch.testing.assert_close(path[-1], wanted)
    assert not torch.allclose(path[0], wanted, atol=0.1)
