"""Calibration: ratios of known distributions are found, and what they are worth."""

from __future__ import annotations

import numpy as np
import pytest

from metaface_lessons.calibration import Calibration, calibration_table, cllr, lowest_cllr
from metaface_lessons.errors import MetaFaceError


def normal_scores(
    pairs: int, distance: float = 2.0, share: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores with deviation 1: around ±distance/2. The true ln LR is then distance · score."""
    generator = np.random.default_rng(seed)
    same = np.arange(pairs) < share * pairs
    return generator.normal(size=pairs) + distance * (same - 0.5), same


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_ratio_of_two_normal_distributions_is_found_whatever_the_share_of_genuine_pairs(share: float) -> None:
    scores, same = normal_scores(200_000, share=share)
    found = Calibration.fit(7 * scores + 100, same)
    assert found.slope == pytest.approx(2 / 7, rel=0.03)
    assert found.llr(7 * scores + 100) == pytest.approx(2 * scores, abs=0.2)


def test_the_cost_is_that_of_its_definition() -> None:
    ratio, same = np.array([3.0, 0.5, 0.25, 2.0, 1.0]), np.array([True, True, False, False, False])
    genuine = (np.log2(1 + 1 / 3) + np.log2(1 + 2)) / 2
    impostor = (np.log2(1.25) + np.log2(3) + np.log2(2)) / 3
    assert cllr(np.log(ratio), same) == pytest.approx((genuine + impostor) / 2)
    weighted = cllr(np.log(ratio), same, np.array([1.0, 1, 0, 0, 3]))
    assert weighted == pytest.approx((genuine + 1) / 2)
    assert cllr(np.zeros(5), same) == pytest.approx(1.0)
    assert cllr(np.where(same, np.inf, -np.inf), same) == 0
    assert cllr(np.log(1 / ratio), same) > 1


def test_a_calibration_comes_near_the_lowest_cost_and_no_other_scale_is_better() -> None:
    scores, same = normal_scores(20_000)
    llr = Calibration.fit(scores, same).llr(scores)
    least = lowest_cllr(scores, same)
    assert least <= cllr(llr, same) < least + 0.01
    for other in (0.5 * llr, 2 * llr, llr + 1, llr - 1):
        assert cllr(other, same) > cllr(llr, same)
    assert lowest_cllr(np.exp(scores), same) == pytest.approx(least)  # only their order counts


def test_perfect_scores_cost_nothing() -> None:
    same = np.arange(10) < 5
    assert lowest_cllr(np.where(same, 2.0, 1.0), same) == pytest.approx(0, abs=1e-9)
    assert cllr(Calibration.fit(np.where(same, 2.0, 1.0), same).llr(np.where(same, 2.0, 1.0)), same) < 0.01


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_predicted_chances_are_the_observed_ones(share: float) -> None:
    scores, same = normal_scores(100_000, share=share)
    table = calibration_table(2 * scores, same)
    assert len(table) == 10
    assert sum(count for *_, count in table) == len(scores)
    for k, (predicted, observed, _) in enumerate(table):
        assert k / 10 <= predicted <= (k + 1) / 10
        assert observed == pytest.approx(predicted, abs=0.03)
    assert len(calibration_table(np.zeros(len(same)), same)) == 1


@pytest.mark.parametrize(("same", "missing"), [([True, True], "impostor"), ([False, False], "genuine")])
def test_both_kinds_of_pairs_are_needed(same: list[bool], missing: str) -> None:
    for call in (Calibration.fit, cllr, lowest_cllr, calibration_table):
        with pytest.raises(MetaFaceError, match=f"There are no {missing} pairs"):
            call(np.array([0.0, 1.0]), np.array(same))
