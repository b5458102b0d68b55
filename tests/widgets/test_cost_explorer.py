"""The cost explorer: it shows the stored comparison."""

from __future__ import annotations

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import comparison
from metaface_lessons.widgets import cost_explorer


def test_costs_are_those_of_the_stored_comparison() -> None:
    """At the end of training and without a task, what was stored; with tasks, that many times the milliseconds more."""
    rows = comparison.load("lfw")["learners"]
    few, many = (cost_explorer.scores(cost_explorer.State(seconds=180, tasks=n)) for n in (1, 1001))
    for name, row in rows.items():
        if name in cost_explorer.NAMES:
            assert many[name][1] - few[name][1] == pytest.approx(row["adaptation_ms"])  # 1000 tasks, in seconds
    last = rows["protonet"]["curve"][-2]
    assert cost_explorer.after(rows["protonet"], last["seconds"]) == (last["accuracy"], last["seconds"])
    assert cost_explorer.after(rows["lbp"], 30) == (rows["lbp"]["4-shot"]["accuracy"], 0)


def test_costs_of_no_tasks_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="above 0"):
        cost_explorer.scores(cost_explorer.State(tasks=0))
