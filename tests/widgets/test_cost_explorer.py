"""The cost explorer: it shows the stored comparison."""

from __future__ import annotations

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Estimate
from metaface_lessons.experiments import comparison
from metaface_lessons.widgets import cost_explorer


def test_costs_are_those_of_the_stored_comparison() -> None:
    """At the end of training and without a task, what was stored; with tasks, that many times the milliseconds more."""
    rows = comparison.load("lfw")["learners"]
    few, many = (cost_explorer.scores(cost_explorer.State(seconds=60, tasks=n)) for n in (1, 1001))
    for name, row in rows.items():
        if name in cost_explorer.NAMES:
            more = many[name].seconds - few[name].seconds
            assert more == pytest.approx(row["adaptation_ms"])  # 1000 tasks, in seconds


def test_a_point_has_the_interval_of_its_own_measurement() -> None:
    rows = comparison.load("lfw")["learners"]
    for point in rows["protonet"]["curve"]:
        reached = cost_explorer.after(rows["protonet"], 1.05 * point["seconds"] if point["seconds"] < 50 else 60)
        assert reached.half == Estimate.from_scores(point).widest
    at = rows["protonet"]["curve"][-2]
    assert cost_explorer.after(rows["protonet"], at["seconds"]).accuracy == pytest.approx(at["mean"])
    lbp = Estimate.from_scores(rows["lbp"]["4-shot"])
    assert cost_explorer.after(rows["lbp"], 30) == cost_explorer.Spent(lbp.mean, lbp.widest, 0)
    figure = cost_explorer.draw(cost_explorer.State(seconds=4))
    bars = [container.lines[2][0].get_segments()[0] for container in figure.axes[1].containers]
    drawn = {round((high - low) / 2, 2) for (_, low), (_, high) in bars}
    assert round(100 * Estimate.from_scores(rows["protonet"]["curve"][0]).widest, 2) in drawn


def test_costs_of_no_tasks_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="above 0"):
        cost_explorer.scores(cost_explorer.State(tasks=0))


def test_the_axis_of_all_seconds_holds_the_marks_and_little_else() -> None:
    for tasks in (1, 100_000):
        state = cost_explorer.State(tasks=tasks)
        low, high = cost_explorer.draw(state).axes[1].get_xlim()
        totals = [spent.seconds for spent in cost_explorer.scores(state).values()]
        assert (low, high) == pytest.approx((min(totals) / 2, 2 * max(totals)))


def test_no_two_that_are_trained_look_alike() -> None:
    looks = [tuple(cost_explorer.LOOK[name].values()) for name in comparison.TRAINED]
    lines = [(colour, line) for colour, _, line in looks]
    assert len(set(lines)) == len(looks)
    assert set(comparison.TRAINED) < set(cost_explorer.NAMES)
