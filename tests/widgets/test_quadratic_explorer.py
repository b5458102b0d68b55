"""The quadratic explorer, against closed forms."""

from __future__ import annotations

import torch

from metaface_lessons.widgets import quadratic_explorer
from tests.widgets.corners import corners


def test_the_fixed_points_are_those_computed_by_hand() -> None:
    """By hand, for a = (1, 4), c = (0, 1), α = 0.1: Σwc / Σw with w = a, a·r², a·r, 1 − r."""
    for steps, wanted in (
        (1, [0.8, 16 / 25, 8 / 11, 0.8]),  # at k = 1 Reptile is joint training
        (2, [0.8, 4 * 0.6**4 / (0.9**4 + 4 * 0.6**4), 16 / 25, 0.64 / 0.83]),
    ):
        found = quadratic_explorer.fixed_points(quadratic_explorer.State(steps))
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_simulation_goes_where_the_closed_form_says() -> None:
    for state in corners(quadratic_explorer.State):
        goals, path = quadratic_explorer.fixed_points(state), quadratic_explorer.simulate(state)
        gap = (path - goals).abs()
        torch.testing.assert_close(gap[-1], gap[0] * 0.85**quadratic_explorer.OUTER_STEPS, rtol=1e-6, atol=1e-12)


def test_from_mamls_start_the_tasks_are_learned_best() -> None:
    for state in corners(quadratic_explorer.State):
        scores = quadratic_explorer.after_adaptation(quadratic_explorer.fixed_points(state), state)
        assert scores.argmin() == list(quadratic_explorer.WEIGHTS).index("MAML")
