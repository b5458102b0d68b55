"""Verification and identification against closed forms, scikit-learn and simulation; pairs; LFW's protocol."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.pairs import draw_pairs
from metaface_lessons.learners.baselines import FixedFeatures
from metaface_lessons.verification import Comparer, Identification, Verification, allowed, fitted, paired_bootstrap
from tests.helpers import random_faces


def pairs_of(genuine: list[float], impostor: list[float]) -> Verification:
    """Each pair of people of its own."""
    n, m = len(genuine), len(impostor)
    people = [[i, i] for i in range(n)] + [[n + 2 * i, n + 2 * i + 1] for i in range(m)]
    return Verification(np.array([*genuine, *impostor], dtype=float), np.array(people))


def simulated(people: int, each: int, generator: np.random.Generator, pull: float = 1.0) -> Verification:
    """All pairs of `each` images of people whose images lie around a place of their own on a line."""
    who = np.repeat(np.arange(people), each)
    place = generator.normal(size=people)[who] * pull + generator.normal(size=people * each)
    a, b = np.triu_indices(len(who), 1)
    return Verification(-np.abs(place[a] - place[b]), np.stack([who[a], who[b]], axis=1))


def test_a_small_case_by_hand() -> None:
    pairs = pairs_of([0.9, 0.8, 0.4, 0.3], [0.6, 0.35, 0.2, 0.1])
    # Genuine above impostor: 0.9 and 0.8 beat four each, 0.4 three, 0.3 two: 13 of 16.
    assert pairs.auc == pytest.approx(13 / 16)
    assert pairs.rates(0.35) == (0.5, 0.25)
    assert pairs.accuracy(0.35) == pytest.approx((0.75 + 0.5) / 2)
    assert pairs.eer == pytest.approx(0.25)  # at 0.4: one of four refused; at 0.6 > t > 0.4 one of four accepted
    with pytest.warns(UserWarning, match="read from 4 impostor pairs: too few; about 120 are needed"):
        assert pairs.fnmr_at_fmr(0.25) == 0.25
    with pytest.warns(UserWarning, match="too few"):
        assert pairs.threshold_at_fmr(0.25) == 0.4
    with pytest.warns(UserWarning, match="too few"):
        assert pairs.fnmr_at_fmr(0.2) == 0.5  # no false match is allowed: above 0.6
    threshold = pairs.best_threshold()
    assert pairs.accuracy(threshold) == max(pairs.accuracy(t) for t in np.linspace(0, 1, 101))


def test_the_det_curve_has_both_errors_of_each_threshold() -> None:
    pairs = simulated(20, 3, np.random.default_rng(0))
    fmr, fnmr, threshold = pairs.det()
    for i in range(1, len(threshold), 97):
        assert (fmr[i], fnmr[i]) == pytest.approx(pairs.rates(threshold[i]))


def test_the_band_of_a_det_curve_holds_the_interval_at_each_fmr() -> None:
    pairs = simulated(20, 3, np.random.default_rng(0))
    low, high = pairs.det_band(np.array([0.2, 0.5]), samples=60)
    for place, fmr in enumerate((0.2, 0.5)):
        assert (low[place], high[place]) == pytest.approx(
            pairs.bootstrap(lambda drawn, fmr=fmr: drawn.fnmr_at_fmr(fmr), 60)
        )
        assert low[place] < pairs.fnmr_at_fmr(fmr) < high[place]


def test_what_a_rate_allows_is_safe_from_rounding() -> None:
    assert int(0.29 * 100) == 28
    assert [allowed(rate, 100) for rate in (0.29, 0.299, 0.001)] == [29, 29, 0]


def test_perfect_and_hopeless_scores() -> None:
    perfect = pairs_of([0.8, 0.9], [0.1, 0.2])
    assert (perfect.auc, perfect.eer, perfect.accuracy(perfect.best_threshold())) == (1, 0, 1)
    assert 0.2 < perfect.best_threshold() < 0.8
    turned = pairs_of([0.1, 0.2], [0.8, 0.9])
    assert (turned.auc, turned.eer) == (0, 1)
    assert turned.accuracy(turned.best_threshold()) == 0.5  # accept nobody, or everybody
    constant = pairs_of([0.5] * 3, [0.5] * 3)
    assert (constant.auc, constant.eer) == (0.5, 0.5)


def test_two_normal_distributions_have_the_rates_of_the_closed_form() -> None:
    """Genuine scores N(d, 1), impostor scores N(0, 1): EER Φ(−d/2), AUC Φ(d/√2), FNMR at FMR f Φ(z(1 − f) − d)."""
    generator, d, n = np.random.default_rng(0), 2.0, 60_000
    pairs = pairs_of(list(generator.normal(d, 1, n)), list(generator.normal(0, 1, n)))
    assert pairs.eer == pytest.approx(stats.norm.cdf(-d / 2), abs=0.004)
    assert pairs.auc == pytest.approx(stats.norm.cdf(d / 2**0.5), abs=0.004)
    assert pairs.fnmr_at_fmr(0.01) == pytest.approx(stats.norm.cdf(stats.norm.ppf(0.99) - d), abs=0.01)
    assert pairs.best_threshold() == pytest.approx(d / 2, abs=0.15)
    assert pairs.accuracy(d / 2) == pytest.approx(stats.norm.cdf(d / 2), abs=0.004)
    fmr, fnmr = pairs.rates(pairs.threshold_at_fmr(0.01))
    assert fmr <= 0.01
    assert fnmr == pytest.approx(pairs.fnmr_at_fmr(0.01))


def test_weights_are_repetitions() -> None:
    generator = np.random.default_rng(0)
    scores, people = generator.normal(size=60).round(1), generator.integers(4, size=(60, 2))
    weights = generator.integers(1, 4, size=60)
    weighted = Verification(scores, people, weights.astype(float))
    repeated = Verification(scores.repeat(weights), people.repeat(weights, axis=0))
    assert weighted.auc == pytest.approx(repeated.auc)
    assert weighted.auc == pytest.approx(roc_auc_score(repeated.same, repeated.scores))
    assert weighted.eer == pytest.approx(repeated.eer)
    assert weighted.accuracy(0.1) == pytest.approx(repeated.accuracy(0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert weighted.fnmr_at_fmr(0.2) == pytest.approx(repeated.fnmr_at_fmr(0.2))


def test_the_bootstrap_over_people_covers_the_truth_and_one_over_pairs_does_not() -> None:
    """In 100 samples of people, how many of the 95% intervals of an FMR hold its true value?"""

    def fmr(found: Verification) -> float:
        return found.rates(-0.5)[0]

    truth = fmr(simulated(1200, 2, np.random.default_rng(1)))
    inside = inside_pairs = 0
    for draw in range(100):
        pairs = simulated(40, 3, np.random.default_rng(100 + draw))
        low, high = pairs.bootstrap(fmr, samples=60, seed=draw)
        inside += low <= truth <= high
        error = (fmr(pairs) * (1 - fmr(pairs)) / pairs.impostors) ** 0.5  # as if pairs had nothing in common
        inside_pairs += abs(fmr(pairs) - truth) <= 1.96 * error
    assert 88 <= inside <= 100
    assert inside_pairs < 60


def test_the_bootstrap_of_a_difference_leaves_out_what_both_methods_share() -> None:
    pairs = simulated(30, 3, np.random.default_rng(0))
    noise = 0.01 * np.random.default_rng(1).normal(size=len(pairs.scores))
    near = Verification(pairs.scores + noise, pairs.people)
    own = [high - low for low, high in (found.bootstrap(lambda p: p.auc, samples=60) for found in (pairs, near))]
    low, high = paired_bootstrap(pairs, near, lambda p: p.auc, samples=60)
    assert high - low < 0.2 * min(own)
    assert paired_bootstrap(near, pairs, lambda p: p.auc, samples=60) == pytest.approx((-high, -low))
    assert paired_bootstrap(pairs, pairs, lambda p: p.auc, samples=60) == (0, 0)
    with pytest.raises(MetaFaceError, match="same pairs in the same order"):
        paired_bootstrap(pairs, Verification(pairs.scores[::-1], pairs.people[::-1]), lambda p: p.auc)


def test_the_bootstrap_is_repeatable() -> None:
    pairs = simulated(10, 3, np.random.default_rng(0))
    first, again, other = (pairs.bootstrap(lambda p: p.auc, samples=50, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("scores", "people", "message"),
    [
        ([0.1, 0.2], [[0, 0]], "people \\[P, 2\\]"),
        ([0.1, float("nan")], [[0, 0], [0, 1]], "NaN"),
        ([0.1, 0.2], [[0, 0], [1, 1]], "no impostor pairs"),
        ([0.1, 0.2], [[0, 1], [1, 2]], "no genuine pairs"),
        ([], np.zeros((0, 2)), "no pairs at all"),
    ],
)
def test_what_cannot_be_verified_says_why(scores: list[float], people: list[list[int]], message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        Verification(np.array(scores, dtype=float), np.array(people))


def test_a_rate_is_a_share() -> None:
    with pytest.raises(MetaFaceError, match="between 0 and 1"):
        pairs_of([1.0], [0.0]).fnmr_at_fmr(1.0)


# ------------------------------------------------------------------------------------------------------- identification

SCORES = np.array(
    [
        [0.9, 0.1, 0.2],  # person 7: first
        [0.5, 0.6, 0.1],  # person 7: second
        [0.3, 0.4, 0.35],  # person 9: second
        [0.2, 0.5, 0.1],  # person 4, not enrolled
        [0.7, 0.1, 0.1],  # person 5, not enrolled
    ]
)


def test_identification_by_hand() -> None:
    found = Identification(SCORES, np.array([7, 7, 9, 4, 5]), np.array([7, 8, 9]))
    assert found.ranks.tolist() == [1, 2, 2]
    assert found.rank1 == pytest.approx(1 / 3)
    assert found.cmc().tolist() == pytest.approx([1 / 3, 1, 1])
    with pytest.warns(UserWarning, match="2 probes of people who are not enrolled: too few"):
        assert found.fnir_at_fpir(0.4) == pytest.approx(2 / 3)  # none of two may pass: t > 0.7, and 0.9 is above
    with pytest.warns(UserWarning, match="too few"):
        assert 0.5 < found.threshold_at_fpir(0.5) < 0.5001  # one of two may pass
    with pytest.warns(UserWarning, match="too few"):
        assert found.fnir_at_fpir(0.5) == pytest.approx(2 / 3)  # 0.6 is above, but names the wrong person


def test_the_two_errors_of_searches_are_of_strangers_and_of_the_enrolled() -> None:
    found = Identification(SCORES, np.array([7, 7, 9, 4, 5]), np.array([7, 8, 9]))
    assert found.rates(0.55) == pytest.approx((1 / 2, 2 / 3))  # 0.7 names a stranger; 0.6 names the wrong person
    assert found.rates(0.95) == pytest.approx((0, 1))


def test_equal_scores_are_no_success() -> None:
    found = Identification(np.full((2, 3), 0.5), np.array([0, 1]), np.array([0, 1, 2]))
    assert found.rank1 == 0
    assert found.cmc().tolist() == [0, 0, 1]


def test_the_open_set_rate_of_chance_and_of_perfection() -> None:
    generator = np.random.default_rng(0)
    gallery, probe = np.arange(20), generator.integers(40, size=8000)
    chance = Identification(generator.random((8000, 20)), probe, gallery)
    assert chance.rank1 == pytest.approx(1 / 20, abs=0.01)
    assert chance.fnir_at_fpir(0.01) > 0.997
    perfect = Identification((probe[:, None] == gallery).astype(float), probe, gallery)
    assert (perfect.rank1, perfect.fnir_at_fpir(0.01)) == (1, 0)


@pytest.mark.parametrize(
    ("scores", "probe", "gallery", "message"),
    [
        (np.zeros((2, 2)), [0, 1], [0], "scores \\[Q, N\\]"),
        (np.zeros((2, 2)), [0, 1], [3, 3], "twice"),
        (np.zeros((2, 2)), [0, 1], [3, 4], "nobody to find"),
        (np.full((1, 1), np.inf), [0], [0], "NaN or infinite"),
    ],
)
def test_what_cannot_be_identified_says_why(
    scores: np.ndarray, probe: list[int], gallery: list[int], message: str
) -> None:
    with pytest.raises(MetaFaceError, match=message):
        Identification(scores, np.array(probe), np.array(gallery))


def test_an_open_set_needs_strangers() -> None:
    found = Identification(np.eye(3), np.arange(3), np.arange(3))
    with pytest.raises(MetaFaceError, match="not in the gallery: add some"):
        found.fnir_at_fpir(0.1)


# -------------------------------------------------------------------------------------------------- what compares faces


def test_scores_are_those_of_the_learner_and_mirrored_faces_are_alike() -> None:
    faces = random_faces(people=4, each=2, channels=3)
    comparer = Comparer(FixedFeatures(lambda x: x.float().flatten(1).numpy()), faces.shape, "squared")
    points = comparer.embed(faces.images)
    both = (faces.images + 0.0 + faces.images.flip(-1)) / 2
    assert torch.allclose(points, both.flatten(1))
    assert torch.equal(points, comparer.embed(faces.images.flip(-1)))
    pairs = draw_pairs(faces, each=4)
    one, other = points[pairs.index].unbind(1)
    assert torch.allclose(torch.tensor(comparer.score_pairs(pairs)).float(), -(one - other).square().sum(1), rtol=1e-4)
    grey = fitted(faces.images, (1, 8, 8))
    assert (grey.shape, grey.dtype) == ((8, 1, 8, 8), torch.uint8)
    assert fitted(grey, (3, 16, 16)).shape == (8, 3, 16, 16)
