"""The gradient explorer, against finite differences."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.widgets import gradient_explorer


def test_only_the_second_order_gradient_agrees_with_finite_differences(explorers: dict[ModuleType, Any]) -> None:
    task = explorers[gradient_explorer]
    for rate, steps in ((0.001, 1), (0.1, 1), (0.3, 5)):
        error = gradient_explorer.errors(gradient_explorer.State(rate=rate, steps=steps), task)
        assert min(error["second order"]) < 1e-9
        assert min(error["first order"]) > rate
    none = gradient_explorer.errors(gradient_explorer.State(rate=0.1, steps=0), task)
    assert none["first order"] == none["second order"]


def test_float32_cannot_reach_what_float64_does(explorers: dict[ModuleType, Any]) -> None:
    error = gradient_explorer.errors(gradient_explorer.State(precision="float32"), explorers[gradient_explorer])
    assert 1e-7 < min(error["second order"]) < 1e-3
    assert error["second order"][gradient_explorer.STEP_SIZES.index(1e-5)] > 1e-3  # where float64 is at its best


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="float64"):
        gradient_explorer.errors(gradient_explorer.State(precision="float16"), gradient_explorer.regression())
