"""The threshold explorer: it shows the mistakes of its threshold."""

from __future__ import annotations

import itertools
import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from metaface_lessons import widgets
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.figures import png
from metaface_lessons.widgets import threshold_explorer


def test_the_threshold_explorer_shows_the_mistakes_of_its_threshold(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[threshold_explorer]
    strict, lax = (data.at(threshold_explorer.State(refused=share)) for share in (90, 10))
    for found, threshold in (strict, lax):
        fmr, fnmr = found.rates(threshold)
        accepted, refused = threshold_explorer.wrong_pairs(found, threshold)
        assert len(accepted) == round(fmr * 60)
        assert len(refused) == round(fnmr * 60)
        assert not found.same[accepted].any()
        assert found.same[refused].all()
        assert (np.diff(found.scores[accepted]) <= 0).all()
        assert (np.diff(found.scores[refused]) >= 0).all()
    assert strict[1] > lax[1]
    with pytest.raises(MetaFaceError, match="no snapshot of step 7"):
        data.at(threshold_explorer.State(step=7))


def test_scores_near_zero_have_three_digits_and_ticks_that_do_not_touch() -> None:
    explorer = widgets.example("threshold")
    untrained = threshold_explorer.State(step=0)
    threshold = re.search(r"The threshold -0\.(\d+) refuses", explorer.alt(untrained))
    assert threshold is not None
    assert len(threshold[1]) == 3
    figure = explorer.draw(untrained)
    png(figure)  # places the ticks
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert len(boxes) >= 2
    assert all(one.x1 + 5 < other.x0 for one, other in itertools.pairwise(boxes))
