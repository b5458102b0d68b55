"""Verification and identification: do two images show one person, and which person of a gallery is on an image?

A `Comparer` gives pairs of faces their scores. `Verification` computes error rates of pairs (same person or not) from
their scores; `Identification` computes those of probes that are searched in a gallery. A higher score always means more
alike.

The names of the rates are those of the standard ISO/IEC 19795-1. Papers have others:

- FMR, the false match rate of pairs: FAR in papers;
- FNMR, the false non-match rate of pairs: 1 − TAR (or 1 − TPR), or FRR;
- FPIR, the false positive identification rate of searches: FAR, or "false alarm rate";
- FNIR, the false negative identification rate of searches: 1 − DIR, or 1 − TPIR.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import MetaFaceError, unknown
from .faces.pairs import Pairs
from .learners.protonet import DISTANCES

Floats = NDArray[np.float64]

ROUNDING = 1e-9  # a rate times a number of trials may be this much too small, in floating point
NEEDED = 30  # false matches from which a rate should be read, so about NEEDED / FMR impostor pairs: Doddington's rule


@dataclass(frozen=True)
class Verification:
    """P pairs of images with their scores, and the error rates of a decision: do they show one person?

    A pair of one person is called genuine, and a pair of two people an impostor pair. A pair is accepted if its score
    is at least the threshold t. FMR(t) is the share of impostor pairs that are accepted; FNMR(t) is the share of
    genuine pairs that are refused.

    scores: `[P]`, higher for more alike.
    people: int64 `[P, 2]`, who is on the two images.
    weights: `[P]`, how often each pair counts; once if None.

    Raises `MetaFaceError` if shapes differ, a score is not finite, or there are no genuine or no impostor pairs.
    """

    scores: Floats
    people: NDArray[np.int64]
    weights: Floats | None = None

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.people.shape != (len(self.scores), 2):
            raise MetaFaceError(
                "Verification needs scores [P], and people [P, 2] with the two persons of each pair, but got"
                f" {list(self.scores.shape)} and {list(self.people.shape)}. Give one score and two persons for each"
                " pair."
            )
        if not np.isfinite(self.scores).all():
            raise MetaFaceError("Some scores are NaN or infinite. Look for an embedding of length 0.")
        if self.same.all() or not self.same.any():
            missing = "impostor pairs (of two people)" if len(self.scores) else "pairs at all"
            missing = missing if self.same.all() else "genuine pairs (of one person)"
            raise MetaFaceError(f"There are no {missing}. Verification needs both kinds: add some.")

    @property
    def same(self) -> NDArray[np.bool_]:
        """Which pairs are of one person: bool `[P]`."""
        return np.asarray(self.people[:, 0] == self.people[:, 1])

    @property
    def impostors(self) -> int:
        """The number of impostor pairs."""
        return int((~self.same).sum())

    def roc(self) -> tuple[Floats, Floats, Floats]:
        """FMR, 1 − FNMR and threshold at each point of the ROC, from accepting no pair to accepting every pair."""
        curve = roc_curve(self.same, self.scores, sample_weight=self.weights, drop_intermediate=False)
        fmr, accepted, threshold = (np.asarray(values, dtype=np.float64) for values in curve)
        return fmr, accepted, threshold

    def det(self) -> tuple[Floats, Floats, Floats]:
        """FMR, FNMR and threshold at each point of the DET curve, which shows both errors of all thresholds."""
        fmr, accepted, threshold = self.roc()
        return fmr, 1 - accepted, threshold

    @property
    def auc(self) -> float:
        """The area under the ROC: how often a genuine pair scores above an impostor pair."""
        return float(roc_auc_score(self.same, self.scores, sample_weight=self.weights))

    @property
    def eer(self) -> float:
        """The equal error rate: where FMR = FNMR, on the straight line between the two nearest points of the DET."""
        fmr, fnmr, _ = self.det()
        gap = fnmr - fmr  # falls from 1 to −1
        i = int(np.argmax(gap <= 0))
        share = gap[i - 1] / (gap[i - 1] - gap[i])
        return float(fmr[i - 1] + share * (fmr[i] - fmr[i - 1]))

    def threshold_at_fmr(self, fmr: float) -> float:
        """The lowest threshold with at most this FMR. Warns if there are too few impostor pairs (see `NEEDED`)."""
        check_rate(fmr, self.impostors, "impostor pairs")
        curve = self.roc()
        return float(curve[2][_last(curve[0], fmr)])

    def fnmr_at_fmr(self, fmr: float) -> float:
        """FNMR at the lowest threshold with at most this FMR; see `threshold_at_fmr`."""
        check_rate(fmr, self.impostors, "impostor pairs")
        return float(self._fnmr_at(np.array(fmr)))

    def _fnmr_at(self, fmr: Floats) -> Floats:
        curve = self.det()
        return np.asarray(curve[1][_last(curve[0], fmr)])

    def det_band(self, fmr: Floats, samples: int = 500, seed: int = 0) -> tuple[Floats, Floats]:
        """The 95% interval over people of the FNMR at each FMR of a list: a band around the DET curve.

        fmr: `[F]`, between 0 and 1.
        samples: how often to resample; see `bootstrap`. 500.
        seed: of the resampling. 0.

        Returns the lower and the upper edge, both `[F]`.
        """
        low, high = np.quantile(self._resampled(lambda pairs: pairs._fnmr_at(fmr), samples, seed), (0.025, 0.975), 0)
        return low, high

    @property
    def _weights(self) -> Floats:
        return np.ones(len(self.scores)) if self.weights is None else self.weights

    def rates(self, threshold: float) -> tuple[float, float]:
        """FMR and FNMR at a threshold that was chosen elsewhere."""
        wrong = (self.scores >= threshold) != self.same
        fmr, fnmr = (np.average(wrong[of], weights=self._weights[of]) for of in (~self.same, self.same))
        return float(fmr), float(fnmr)

    def accuracy(self, threshold: float) -> float:
        """1 − the mean of FMR and FNMR. With as many genuine as impostor pairs, it is the share of right decisions.

        threshold: chosen on other pairs, of other people.
        """
        return 1 - sum(self.rates(threshold)) / 2

    def best_threshold(self) -> float:
        """The threshold with the highest accuracy on these pairs, for use on others.

        It is half way between the lowest accepted score and the next lower one.
        """
        fmr, accepted, threshold = self.roc()
        best = int(np.argmax(accepted - fmr))
        if best == 0:  # accepting nobody is best
            return float(self.scores.max()) + 1
        return float(threshold[best] + threshold[min(best + 1, len(threshold) - 1)]) / 2

    def bootstrap(
        self, statistic: Callable[[Verification], float], samples: int = 500, seed: int = 0
    ) -> tuple[float, float]:
        """The 95% interval (low, high) of a statistic over *people*.

        The vertex bootstrap (Snijders & Borgatti 1999) resamples the people with replacement. A genuine pair counts as
        often as its person was drawn; an impostor pair counts as often as the product of both. The interval is between
        the 2.5% and 97.5% quantiles of the statistic. Pairs share people, so resampling pairs would claim far more
        certainty than there is.

        statistic: pairs → a number, such as `lambda pairs: pairs.eer`.
        samples: how often to resample.
        seed: of the resampling.
        """
        low, high = np.quantile(self._resampled(statistic, samples, seed), (0.025, 0.975))
        return float(low), float(high)

    def _resampled(self, statistic: Callable[[Verification], float | Floats], samples: int, seed: int) -> Floats:
        """The statistic of each sample of people, `[samples, …]`. Methods with the same pairs get the same samples."""
        everyone, who = np.unique(self.people, return_inverse=True)
        who = who.reshape(-1, 2)
        generator, found = np.random.default_rng(seed), list[float | Floats]()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of too few impostor pairs: the statistic itself has warned once
            while len(found) < samples:
                drawn = np.bincount(generator.integers(len(everyone), size=len(everyone)), minlength=len(everyone))
                weights = np.where(self.same, drawn[who[:, 0]], drawn[who[:, 0]] * drawn[who[:, 1]]).astype(np.float64)
                if weights[self.same].any() and weights[~self.same].any():  # with very few people one kind may be lost
                    kept = weights > 0
                    pairs = Verification(self.scores[kept], self.people[kept], weights[kept])
                    found.append(statistic(pairs))
        return np.array(found)


def paired_bootstrap(
    a: Verification, b: Verification, statistic: Callable[[Verification], float], samples: int = 500, seed: int = 0
) -> tuple[float, float]:
    """The 95% interval over people of the difference of a statistic between two methods that judge the same pairs.

    Both are computed on the same samples of people, so what is hard for both cancels out.

    a, b: the same pairs in the same order, with the scores of each method.
    statistic: as for `Verification.bootstrap`; of a, minus that of b.
    samples: how many.
    seed: of the samples.

    Returns (low, high). Raises `MetaFaceError` if the pairs are not of the same people.
    """
    if not np.array_equal(a.people, b.people):
        raise MetaFaceError(
            f"The two methods judged other pairs ({len(a.people)} and {len(b.people)}). A paired difference needs"
            " the same pairs in the same order. Score the same pairs with both."
        )
    difference = a._resampled(statistic, samples, seed) - b._resampled(statistic, samples, seed)
    low, high = np.quantile(difference, (0.025, 0.975))
    return float(low), float(high)


def _last(rates: Floats, rate: float | Floats) -> NDArray[np.intp]:
    """The place of the last of the rising rates that is at most `rate`."""
    return np.searchsorted(rates, np.asarray(rate) * (1 + ROUNDING), side="right") - 1


def allowed(rate: float, trials: int) -> int:
    """How many of the trials may be accepted so that the share is at most `rate`: ⌊rate · trials⌋, safe from rounding.

    rate: between 0 and 1.
    trials: impostor pairs, or searches for people who are not enrolled.
    """
    return int(rate * trials * (1 + ROUNDING))  # without it, 0.29 of 100 would be 28


def check_rate(rate: float, trials: int, what: str, name: str = "false match rate") -> None:
    """Check an error rate of impostors, and warn if there are too few trials to read it.

    rate: above 0 and below 1.
    trials: how many there are; about `NEEDED` / rate are needed.
    what: what the trials are, for the warning.
    name: of the rate, for the messages. "false match rate".

    Raises `MetaFaceError` if the rate is out of range.
    """
    if not 0 < rate < 1:
        raise MetaFaceError(f"A {name} must be between 0 and 1, but is {rate}. Give a share, such as 0.01.")
    if trials < NEEDED / rate * (1 - ROUNDING):
        warnings.warn(
            f"A {name} of {rate:g} is read from {trials} {what}: too few; about {NEEDED / rate:.0f} are needed. Take"
            " it only as a hint.",
            stacklevel=3,
        )


@dataclass(frozen=True)
class Identification:
    """Q probes that are searched in a gallery of N people.

    scores: `[Q, N]`, higher for more alike.
    probe: int64 `[Q]`, who is on each probe. Some may be of people who are not in the gallery; `fnir_at_fpir` and
        `threshold_at_fpir` need such probes.
    gallery: int64 `[N]`, the enrolled people, each once.

    Raises `MetaFaceError` if shapes differ, a score is not finite, a person is enrolled twice, or no probe is of a
    person in the gallery.
    """

    scores: Floats
    probe: NDArray[np.int64]
    gallery: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.probe), len(self.gallery)):
            raise MetaFaceError(
                f"Identification needs scores [Q, N] = [{len(self.probe)}, {len(self.gallery)}], one for each probe and"
                f" enrolled person, but got {list(self.scores.shape)}. Give a score for each."
            )
        if not np.isfinite(self.scores).all():
            raise MetaFaceError("Some scores are NaN or infinite. Look for an embedding of length 0.")
        if len(np.unique(self.gallery)) < len(self.gallery):
            raise MetaFaceError("A person is in the gallery twice. Join their images into one template.")
        if not self.enrolled.any():
            raise MetaFaceError("No probe is of a person in the gallery, so there is nobody to find. Add such probes.")

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        """Which probes are of people in the gallery: bool `[Q]`."""
        return np.isin(self.probe, self.gallery)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The rank of each probe of an enrolled person: 1 + the number of others who score at least as high."""
        known = self.enrolled
        own = self.probe[known, None] == self.gallery
        score = self.scores[known]
        return np.asarray((score >= score[own][:, None]).sum(axis=1), dtype=np.int64)

    def cmc(self) -> Floats:
        """The cumulative match characteristic, `[N]`: the share of enrolled probes found among the best 1, 2, …, N."""
        found = np.bincount(self.ranks, minlength=len(self.gallery) + 1)[1:]
        return np.asarray(found.cumsum() / found.sum())

    @property
    def rank1(self) -> float:
        """The share of enrolled probes whose person scores highest: closed-set identification."""
        return float(self.cmc()[0])

    def rates(self, threshold: float) -> tuple[float, float]:
        """FPIR and FNIR at a threshold that was chosen elsewhere.

        FPIR is the share of probes of people who are *not* enrolled whose best score reaches the threshold. FNIR is the
        share of enrolled probes whose person is not first, or whose best score does not reach the threshold.
        """
        detected = self.scores.max(axis=1) >= threshold
        named = (self.ranks == 1) & detected[self.enrolled]
        return float(self._strangers(detected).mean()), float(1 - named.mean())

    def threshold_at_fpir(self, fpir: float) -> float:
        """The lowest threshold that accepts at most the share `fpir` of probes of people who are *not* enrolled.

        Warns if there are too few such probes (see `NEEDED`). Raises `MetaFaceError` if there are none.
        """
        best = np.sort(self._strangers(self.scores.max(axis=1)))[::-1]
        check_rate(fpir, len(best), "probes of people who are not enrolled", "false positive identification rate")
        return float(np.nextafter(best[allowed(fpir, len(best))], np.inf))  # just above the first to be refused

    def fnir_at_fpir(self, fpir: float) -> float:
        """FNIR at the lowest threshold with at most this FPIR; see `rates` and `threshold_at_fpir`.

        1 − FNIR is the detection and identification rate (DIR) of Grother & Phillips.
        """
        return self.rates(self.threshold_at_fpir(fpir))[1]

    def _strangers(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values `[Q]` of the probes of people who are not enrolled."""
        if self.enrolled.all():
            raise MetaFaceError(
                "All probes are of enrolled people, so no stranger could be taken for one of them. Open-set"
                " identification needs probes of people who are not in the gallery: add some."
            )
        return values[~self.enrolled]


class Comparer:
    """Compares faces by the distance of their embeddings. A score is minus the distance, so higher means more alike.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    shape: (channels, height, width) of the images that the network takes; other images are scaled to it.
    distance: one of `protonet.DISTANCES`, namely the one that the network was trained with.

    Raises `MetaFaceError` for an unknown distance.
    """

    def __init__(self, embedding: nn.Module, shape: tuple[int, int, int], distance: str = "cosine") -> None:
        if distance not in DISTANCES:
            raise unknown("distance", distance, DISTANCES)
        self.embedding, self.shape, self.distance = embedding.eval(), shape, distance

    @torch.no_grad()
    def embed(self, images: Tensor, at_once: int = 200) -> Tensor:
        """The points `[M, D]`: for each face, the mean of its embedding and that of its mirror image.

        images: uint8 `[M, C, H, W]`, of any size.
        at_once: how many images the network takes in one call.
        """
        device = next((weights.device for weights in self.embedding.parameters()), images.device)
        parts = fitted(images.to(device), self.shape).split(at_once)
        return torch.cat([(self.embedding(part) + self.embedding(part.flip(-1))) / 2 for part in parts])

    def scores(self, points: Tensor, others: Tensor) -> Tensor:
        """The scores of all pairs: points `[…, Q, D]` and others `[…, N, D]` → `[…, Q, N]`."""
        return -DISTANCES[self.distance](points, others)

    def score_pairs(self, pairs: Pairs) -> Floats:
        """The score of each pair of images, `[P]`."""
        points = self.embed(pairs.faces.images)
        one, other = points[pairs.index.to(points.device)].unbind(1)
        return np.asarray(self.scores(one[:, None], other[:, None]).flatten().double().cpu())


def fitted(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images in the size and with the channels that a network takes: uint8 `[M, *shape]`.

    images: uint8 `[M, C, H, W]`. If channels differ, their mean grey is used for each channel.
    shape: (channels, height, width).
    """
    channels, height, width = shape
    if images.shape[1] != channels:
        images = images.float().mean(dim=1, keepdim=True).round().byte().expand(-1, channels, -1, -1)
    if images.shape[2:] == (height, width):
        return images
    scaled = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round().clamp(0, 255).byte()
