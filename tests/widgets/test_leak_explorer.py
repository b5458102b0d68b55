"""The leak explorer: noise is recognised only if it was trained on."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from metaface_lessons.errors import MetaFaceError
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


def test_leak_experiments_that_cannot_be_made_are_refused(explorers: dict[ModuleType, Any]) -> None:
    with pytest.raises(MetaFaceError, match="60 for people=30"):
        leak.leak_experiment(unlike_faces())
    with pytest.raises(MetaFaceError, match="at least 4 images"):
        leak.leak_experiment(unlike_faces(each=3), people=12)
    with pytest.raises(MetaFaceError, match=r"share is 33\. Choose 0, 10, 20"):
        leak_explorer.draw(leak_explorer.State(share=33), explorers[leak_explorer])
    with pytest.raises(MetaFaceError, match="kind of leak"):
        leak_explorer.draw(leak_explorer.State(kind="none"), explorers[leak_explorer])
