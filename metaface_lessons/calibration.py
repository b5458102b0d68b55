"""Calibration: what the score of a pair says, as a likelihood ratio.

A score says only which of two pairs is more alike. A likelihood ratio says how much a pair speaks for one person:

    LR = p(score | one person) / p(score | two people),    odds after = LR · odds before          (Bayes)

The odds before depend on the door and not on the photos, so a recogniser reports LR and leaves them to its user. The
logarithm of LR is taken as a straight line in the score, fitted by logistic regression in which both kinds of pairs
count the same. What such numbers are worth is their cost in bits (Brümmer & du Preez 2006),

    C_llr = ½ · mean log₂(1 + 1/LR)  over genuine pairs  +  ½ · mean log₂(1 + LR)  over impostor pairs

It is 0 for a recogniser that is always sure and right, 1 for one that says LR = 1 of every pair and so knows nothing,
and above 1 for one that misleads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from .errors import MetaFaceError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """Turns scores into log-likelihood ratios: ln LR = slope · score + offset."""

    slope: float
    offset: float

    @classmethod
    def fit(cls, scores: Floats, same: Bools) -> Self:
        """The calibration of some pairs, for use on pairs of other people.

        scores: `[P]`, higher for more alike.
        same: bool `[P]`, which pairs are genuine.

        Raises `MetaFaceError` if there are no genuine or no impostor pairs.
        """
        _check_both(same)
        middle, spread = scores.mean(), max(float(scores.std()), 1e-12)  # the regression needs numbers of about 1
        model = LogisticRegression(C=1e4, class_weight="balanced").fit((scores[:, None] - middle) / spread, same)
        slope = float(model.coef_[0, 0]) / spread
        return cls(slope, float(model.intercept_[0]) - slope * float(middle))

    def llr(self, scores: Floats) -> Floats:
        """ln LR of each score, `[P]`."""
        return self.slope * scores + self.offset


def cllr(llr: Floats, same: Bools, weights: Floats | None = None) -> float:
    """The cost C_llr of log-likelihood ratios, in bits; see the module.

    llr: ln LR, `[P]`.
    same: bool `[P]`, which pairs are genuine.
    weights: `[P]`, how often each pair counts; once if None.

    Raises `MetaFaceError` if there are no genuine or no impostor pairs.
    """
    _check_both(same)
    bits = np.logaddexp(0, np.where(same, -llr, llr)) / np.log(2)
    return float(
        np.mean([np.average(bits[of], weights=None if weights is None else weights[of]) for of in (same, ~same)])
    )


def lowest_cllr(scores: Floats, same: Bools) -> float:
    """The lowest C_llr that these scores can have: every score gets the best LR that keeps their order.

    It is found by the pool-adjacent-violators algorithm, on the pairs themselves. A calibration loses the difference
    between its C_llr and this one; the scores lose this one.

    scores: `[P]`, higher for more alike.
    same: bool `[P]`, which pairs are genuine.

    Raises `MetaFaceError` if there are no genuine or no impostor pairs.
    """
    _check_both(same)
    weights = np.where(same, 0.5 / same.sum(), 0.5 / (~same).sum())
    share = IsotonicRegression(y_min=0, y_max=1).fit(scores, same, sample_weight=weights).predict(scores)
    return cllr(logit(share), same)


def calibration_table(llr: Floats, same: Bools, bins: int = 10) -> list[tuple[float, float, int]]:
    """Predicted and observed chances that a pair is genuine, at even odds before.

    llr: ln LR, `[P]`.
    same: bool `[P]`, which pairs are genuine.
    bins: into how many equal parts the predictions, 0 to 1, are divided. 10.

    Returns for each part that has pairs: the mean prediction, the share of genuine pairs, and how many pairs there are.
    Both kinds of pairs count the same in it, as in `cllr`. Raises `MetaFaceError` if one kind is missing.
    """
    _check_both(same)
    weights = np.where(same, 1 / same.sum(), 1 / (~same).sum())
    predicted = expit(llr)
    part = np.minimum((predicted * bins).astype(int), bins - 1)
    return [
        (
            float(np.average(predicted[part == k], weights=weights[part == k])),
            float(np.average(same[part == k], weights=weights[part == k])),
            int((part == k).sum()),
        )
        for k in np.unique(part)
    ]


def _check_both(same: Bools) -> None:
    if same.all() or not same.any():
        missing = "impostor pairs (of two people)" if same.any() else "genuine pairs (of one person)"
        raise MetaFaceError(f"There are no {missing}. Calibration needs pairs of both kinds: add some.")
