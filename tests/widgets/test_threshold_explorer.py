"""The threshold explorer: it shows the mistakes of its threshold."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.widgets import threshold_explorer


def test_the_threshold_explorer_shows_the_mistakes_of_its_threshold(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[threshold_explorer]
    strict, lax = (data.at(threshold_explorer.State(refused=share)) for share in (90, 10))
    for found, threshold in (strict, lax):
        far, tar = found.rates(threshold)
        accepted, refused = threshold_explorer.wrong_pairs(found, threshold)
        assert len(accepted) == round(far * 60)
        assert len(refused) == round((1 - tar) * 60)
        assert not found.same[accepted].any()
        assert found.same[refused].all()
        assert (np.diff(found.scores[accepted]) <= 0).all()
        assert (np.diff(found.scores[refused]) >= 0).all()
    assert strict[1] > lax[1]
    with pytest.raises(MetaFaceError, match="no snapshot of step 7"):
        data.at(threshold_explorer.State(step=7))
