"""The leak explorer: noise is recognised only if it was trained on."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Evaluation
from metaface_lessons.experiments import leak
from metaface_lessons.widgets import leak_explorer
from tests.helpers import unlike_faces


def test_noise_is_recognised_only_if_it_was_trained_on(explorers: dict[ModuleType, Any]) -> None:
    very, other = (explorers[leak_explorer].reported[kind] for kind in leak.KINDS)
    assert very[0] is other[0]
    assert len(very) == len(other) == 11
    assert very[0].accuracy == pytest.approx(0.2, abs=0.06)
    assert other[-1].accuracy == pytest.approx(0.2, abs=0.06)
    assert very[-1].accuracy > 0.9
    assert very[0].accuracy < very[5].accuracy < very[-1].accuracy


def test_the_figure_ends_at_the_share_of_the_state(explorers: dict[ModuleType, Any]) -> None:
    figure = leak_explorer.draw(leak_explorer.State(40), explorers[leak_explorer])
    line = max(figure.axes[0].lines, key=lambda line: len(line.get_xdata()))
    assert list(line.get_xdata()) == [0, 10, 20, 30, 40]


def test_intervals_say_over_what_they_are_and_end_at_0_and_100_percent(explorers: dict[ModuleType, Any]) -> None:
    people, right = np.array([[0, 1], [2, 3]]), np.array([[5, 4], [5, 5]])
    good = Evaluation(right, np.full((2, 2), 5), people, ("a", "b", "c", "d"))
    poor = Evaluation(5 - right, np.full((2, 2), 5), people, ("a", "b", "c", "d"))
    assert good.accuracy + good.ci95_people > 1  # so the bar would pass the top
    data = leak.Leak({leak.KINDS[0]: (poor, good)}, explorers[leak_explorer].portraits)
    state = leak_explorer.State(10, leak.KINDS[0])
    figure = leak_explorer.draw(state, data)
    (bars,) = figure.axes[0].collections
    ends = [segment[:, 1] for segment in bars.get_segments()]
    assert max(map(max, ends)) <= 100
    assert min(map(min, ends)) >= 0
    assert "over people" in figure.axes[0].get_title(loc="left")
    assert "over people" in leak_explorer.alt(state, data)


def test_leak_experiments_that_cannot_be_made_are_refused(explorers: dict[ModuleType, Any]) -> None:
    with pytest.raises(MetaFaceError, match="60 for people=30"):
        leak.leak_experiment(unlike_faces())
    with pytest.raises(MetaFaceError, match="at least 4 images"):
        leak.leak_experiment(unlike_faces(each=3), people=12)
    with pytest.raises(MetaFaceError, match=r"share is 33\. Choose 0, 10, 20"):
        leak_explorer.draw(leak_explorer.State(share=33), explorers[leak_explorer])
    with pytest.raises(MetaFaceError, match="kind of leak"):
        leak_explorer.draw(leak_explorer.State(kind="none"), explorers[leak_explorer])
