"""The path explorer, against closed forms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.widgets import path_explorer
from tests.widgets.corners import corners


@pytest.mark.parametrize("state", [*corners(path_explorer.State), path_explorer.State()])
def test_the_path_ends_where_the_closed_form_says(state: path_explorer.State) -> None:
    tasks = path_explorer.TASKS
    end = path_explorer.cycle(state, tasks)
    slow, inner = path_explorer.simulate(state, replace(tasks, start=end), rounds=1)
    torch.testing.assert_close(slow[2], end, rtol=0, atol=1e-12)  # one round leads back
    torch.testing.assert_close(slow[1], end + state.outer_rate * (inner[0, -1] - end), rtol=0, atol=1e-12)
    slow, _ = path_explorer.simulate(state, tasks)
    assert (slow[-1] - end).norm() < (slow[0] - end).norm()


def test_small_outer_steps_end_at_the_batched_fixed_point_and_k_1_at_joint_training() -> None:
    tasks = path_explorer.TASKS
    state = path_explorer.State(steps=7, outer_rate=1e-6)
    torch.testing.assert_close(path_explorer.cycle(state, tasks), path_explorer.rest(state, tasks), rtol=0, atol=1e-5)
    joint = path_explorer.rest(path_explorer.State(steps=1), tasks).requires_grad_()
    (gradient,) = torch.autograd.grad(tasks.loss(joint).sum(), joint)
    assert gradient.norm() < 1e-12
    far = path_explorer.rest(path_explorer.State(steps=100_000), tasks)
    torch.testing.assert_close(far, tasks.minima.mean(0))


def test_an_inner_rate_at_which_the_path_diverges_is_refused() -> None:
    with pytest.raises(MetaFaceError, match=r"steepest curvature is 1\. Choose a rate below 2\."):
        path_explorer.draw(path_explorer.State(inner_rate=2.5))
