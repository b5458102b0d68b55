"""Verification and identification: do two images show one person, and which person of a gallery is on an image?

A `Comparer` gives pairs of faces their scores. `Verification` computes error rates of pairs (same person or not) from
their scores; `Identification` computes those of probes that are searched in a gallery. A higher score always means more
alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

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


NEEDED = 30  # false acceptances from which a rate should be read; that takes about NEEDED / FAR impostor pairs


@dataclass(frozen=True)
class Verification:
    """P pairs of images with their scores, and the error rates of a decision: do they show one person?

    A pair of one person is called genuine, and a pair of two people an impostor pair. A pair is accepted if its score
    is at least the threshold t. FAR(t) is the share of impostor pairs that are accepted; TAR(t) is the share of genuine
    pairs that are accepted.

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
        """FAR, TAR and threshold at each point of the ROC, from accepting nobody to accepting everybody."""
        curve = roc_curve(self.same, self.scores, sample_weight=self.weights, drop_intermediate=False)
        far, tar, threshold = (np.asarray(values, dtype=np.float64) for values in curve)
        return far, tar, threshold

    @property
    def auc(self) -> float:
        """The area under the ROC: how often a genuine pair scores above an impostor pair."""
        return float(roc_auc_score(self.same, self.scores, sample_weight=self.weights))

    @property
    def eer(self) -> float:
        """The equal error rate: where FAR = 1 − TAR, on the straight line between the two nearest points of the ROC."""
        far, tar, _ = self.roc()
        gap = 1 - tar - far  # falls from 1 to −1
        i = int(np.argmax(gap <= 0))
        share = gap[i - 1] / (gap[i - 1] - gap[i])
        return float(far[i - 1] + share * (far[i] - far[i - 1]))

    def threshold_at_far(self, far: float) -> float:
        """The lowest threshold with at most this FAR. Warns if there are too few impostor pairs (see `NEEDED`)."""
        return self._at(far)[2]

    def tar_at_far(self, far: float) -> float:
        """TAR at the lowest threshold with at most this FAR; see `threshold_at_far`."""
        return self._at(far)[1]

    def _at(self, far: float) -> tuple[float, float, float]:
        """FAR, TAR and threshold at the last point of the ROC with at most this FAR."""
        check_rate(far, self.impostors, "impostor pairs")
        curve = self.roc()
        last = int(np.searchsorted(curve[0], far * (1 + 1e-9), side="right")) - 1
        return float(curve[0][last]), float(curve[1][last]), float(curve[2][last])

    def rates(self, threshold: float) -> tuple[float, float]:
        """FAR and TAR at a threshold that was chosen elsewhere."""
        accepted = self.scores >= threshold
        weights = np.ones(len(self.scores)) if self.weights is None else self.weights
        far, tar = (np.average(accepted[of], weights=weights[of]) for of in (~self.same, self.same))
        return float(far), float(tar)

    def accuracy(self, threshold: float) -> float:
        """The mean of TAR and 1 − FAR. With as many genuine as impostor pairs, it is the share of right decisions.

        threshold: chosen on other pairs, of other people.
        """
        far, tar = self.rates(threshold)
        return (tar + 1 - far) / 2

    def best_threshold(self) -> float:
        """The threshold with the highest accuracy on these pairs, for use on others.

        It is half way between the lowest accepted score and the next lower one.
        """
        far, tar, threshold = self.roc()
        best = int(np.argmax(tar - far))
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

    def _resampled(self, statistic: Callable[[Verification], float], samples: int, seed: int) -> Floats:
        """The statistic of each sample of people. Methods that judge the same pairs get the same samples."""
        everyone, who = np.unique(self.people, return_inverse=True)
        who = who.reshape(-1, 2)
        generator, found = np.random.default_rng(seed), list[float]()
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


def check_rate(far: float, trials: int, what: str) -> None:
    """Check a false acceptance rate, and warn if there are too few trials to read it.

    far: the rate, above 0 and below 1.
    trials: how many there are; about `NEEDED` / FAR are needed.
    what: what the trials are, for the warning.

    Raises `MetaFaceError` if the rate is out of range.
    """
    if not 0 < far < 1:
        raise MetaFaceError(f"far must be between 0 and 1, but is {far}. Give a share, such as 0.01.")
    if trials < NEEDED / far * (1 - 1e-9):
        warnings.warn(
            f"A false acceptance rate of {far:g} is read from {trials} {what}: too few; about {NEEDED / far:.0f} are"
            " needed. Take it only as a hint.",
            stacklevel=4,
        )


@dataclass(frozen=True)
class Identification:
    """Q probes that are searched in a gallery of N people.

    scores: `[Q, N]`, higher for more alike.
    probe: int64 `[Q]`, who is on each probe. Some may be of people who are not in the gallery; `dir_at_far` and
        `threshold_at_far` need such probes.
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

    def threshold_at_far(self, far: float) -> float:
        """The lowest threshold that accepts at most the share `far` of probes of people who are *not* enrolled.

        Warns if there are too few such probes (see `NEEDED`). Raises `MetaFaceError` if there are none.
        """
        unknown_best = np.sort(self.scores[~self.enrolled].max(axis=1))[::-1]
        if not len(unknown_best):
            raise MetaFaceError(
                "All probes are of enrolled people, so no stranger could be taken for one of them. Open-set"
                " identification needs probes of people who are not in the gallery: add some."
            )
        check_rate(far, len(unknown_best), "probes of people who are not enrolled")
        allowed = int(far * len(unknown_best) * (1 + 1e-9))
        return float(np.nextafter(unknown_best[allowed], np.inf))  # just above the first who must be refused

    def dir_at_far(self, far: float) -> float:
        """The detection and identification rate (DIR): the share of enrolled probes that are found *and* accepted.

        Found means rank 1; accepted means a score of at least the threshold of this FAR. This is the open-set rate of
        Grother & Phillips.
        """
        threshold = self.threshold_at_far(far)
        return float(((self.ranks == 1) & (self.scores[self.enrolled].max(axis=1) >= threshold)).mean())


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
