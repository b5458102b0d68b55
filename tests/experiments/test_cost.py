"""How well costs are predicted: what is measured has the shape of what is stored, and constants are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import cost, stored
from metaface_lessons.runs.cost import Machine, count, features
from tests.helpers import shape


def test_constants_are_found_again_and_none_is_below_zero() -> None:
    rows = [{"a": float(a), "b": float(b)} for a, b in np.random.default_rng(0).random((9, 2))]
    assert cost.fit(rows, [2 * row["a"] + 3 * row["b"] for row in rows]) == pytest.approx({"a": 2.0, "b": 3.0})
    assert cost.fit(rows, [5 * row["a"] - 0.01 * row["b"] + 0.1 for row in rows])["b"] >= 0


def test_settings_are_drawn_anew_for_each_number_and_all_learners_have_their_turn() -> None:
    settings = [cost.drawn(number) for number in range(cost.FITTED + cost.OTHERS)]
    assert settings == [cost.drawn(number) for number in range(cost.FITTED + cost.OTHERS)]
    assert len({str(each) for each in settings}) == len(settings)
    for part in (settings[: cost.FITTED], settings[cost.FITTED :]):
        assert {each.learner for each, _ in part} == {*cost.LEARNERS}
    assert all(each.ways <= cost.PEOPLE and each.shots + each.queries <= cost.IMAGES for each, _ in settings)


def made_up(number: int, seed: int = 0) -> dict[str, object]:
    """As if seconds followed the count exactly, and memory were twice what is kept."""
    counted = count(*cost.drawn(number), people=cost.PEOPLE)
    machine = Machine("m", 1e-11, 1e-9, 1e-5)
    work = features(counted, machine)
    seconds = 1.5 * work["products"] + work["moved"] + 2 * work["calls"]
    return {"seconds": seconds, "megabytes": 2 * counted.kept / 2**20, "machine": vars(machine)}


def test_an_exact_law_is_found_and_its_error_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "measured", made_up)
    found = cost.measure(range(30), 20, stored.Parts("cost", {}, tmp_path))
    assert found["fitted"]["seconds"] == pytest.approx(
        {"products": 1.5, "moved": 1.0, "calls": 2.0, "pictures": 0.0, "kept": 0.0}, abs=1e-6
    )
    assert found["fitted"]["megabytes"] == pytest.approx({"kept": 2.0, "held": 0.0, "fixed": 0.0}, abs=1e-6)
    assert found["fitted"]["within"] == {"seconds": 1.0, "megabytes": 1.0}
    assert found["share"] == {"seconds": 1.0, "megabytes": 1.0}
    assert [row["fitted"] for row in found["settings"]] == 20 * [True] + 10 * [False]


def test_the_error_is_of_the_settings_that_were_not_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slower(number: int, seed: int = 0) -> dict[str, object]:
        found = made_up(number)
        return found | {"seconds": found["seconds"] * (2 if number >= 20 else 1)}  # type: ignore[operator]

    monkeypatch.setattr(cost, "measured", slower)
    found = cost.measure(range(24), 20, stored.Parts("cost", {}, tmp_path))
    assert found["fitted"]["within"] == {"seconds": 2.0, "megabytes": 1.0}
    assert found["share"] == {"seconds": 0.0, "megabytes": 1.0}
    with pytest.raises(MetaFaceError, match=r"Of 24 settings 24 cannot be fitted\. Leave at least one"):
        cost.measure(range(24), 24, stored.Parts("cost", {}, tmp_path))


def test_what_is_measured_has_the_shape_of_what_is_stored(tmp_path: Path) -> None:
    found, old = cost.measure(range(2), 1, stored.Parts("cost", {}, tmp_path)), cost.load()
    assert shape(found["fitted"]) == shape(old["fitted"])
    assert shape(found["machine"]) == shape(old["machine"])
    assert shape(found["share"]) == shape(old["share"])
    assert {*found["settings"][0]} == {*old["settings"][0]}
    assert all(row["seconds"]["measured"] > 0 < row["megabytes"]["measured"] for row in found["settings"])
