"""Verification and identification: are two images of one person, and who of a gallery is on an image?

A `Comparer` gives pairs of faces their scores. `Verification` judges pairs of images, same person or not, by their
scores; `Identification` judges probes that are searched in a gallery. In all of them a higher score means more alike.
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


NEEDED = 30  # false acceptances that a rate should be read from: about NEEDED / FAR impostor pairs


@dataclass(frozen=True)
class Verification:
    """P pairs of images, and how alike each is found: are they of one person?

    scores: `[P]`, higher for more alike. people: int64 `[P, 2]`, who is on the two images. weights: how often each pair
    counts, `[P]`; once, if None.

    A pair of one person is called genuine, one of two people an impostor pair. A pair is accepted if its score is at
    least the threshold t: FAR(t) is the share of the impostor pairs that are accepted, TAR(t) that of the genuine ones.

    Raises `MetaFaceError` if shapes differ, a score is not finite, or there are no genuine or no impostor pairs.
    """

    scores: Floats
    people: NDArray[np.int64]
    weights: Floats | None = None

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.people.shape != (len(self.scores), 2):
            raise MetaFaceError(
                "Verification needs scores [P], and people [P, 2] with the two persons of each pair, but got"
                f" {list(self.scores.shape)} and {list(self.people.shape)}."
            )
        if not np.isfinite(self.scores).all():
            raise MetaFaceError("Some scores are NaN or infinite. Look for an embedding of length 0.")
        if self.same.all() or not self.same.any():
            missing = "impostor pairs (of two people)" if len(self.scores) else "pairs at all"
            missing = missing if self.same.all() else "genuine pairs (of one person)"
            raise MetaFaceError(f"There are no {missing}: verification needs both kinds. Add some.")

    @property
    def same(self) -> NDArray[np.bool_]:
        """Which pairs are of one person: bool `[P]`."""
        return np.asarray(self.people[:, 0] == self.people[:, 1])

    @property
    def impostors(self) -> int:
        return int((~self.same).sum())

    def roc(self) -> tuple[Floats, Floats, Floats]:
        """FAR, TAR and threshold at each point of the curve, from accepting nobody to accepting everybody."""
        curve = roc_curve(self.same, self.scores, sample_weight=self.weights, drop_intermediate=False)
        far, tar, threshold = (np.asarray(values, dtype=np.float64) for values in curve)
        return far, tar, threshold

    @property
    def auc(self) -> float:
        """The area under the ROC: how often a genuine pair scores above an impostor pair."""
        return float(roc_auc_score(self.same, self.scores, sample_weight=self.weights))

    @property
    def eer(self) -> float:
        """The equal error rate: where FAR = 1 − TAR, on the straight line between the two nearest points."""
        far, tar, _ = self.roc()
        gap = 1 - tar - far  # falls from 1 to −1
        i = int(np.argmax(gap <= 0))
        share = gap[i - 1] / (gap[i - 1] - gap[i])
        return float(far[i - 1] + share * (far[i] - far[i - 1]))

    def threshold_at_far(self, far: float) -> float:
        """The lowest threshold whose FAR is at most `far`. Warns, see `NEEDED`, if there are too few impostor pairs."""
        return self._at(far)[2]

    def tar_at_far(self, far: float) -> float:
        """TAR at the lowest threshold whose FAR is at most `far`. Warns if there are too few impostor pairs."""
        return self._at(far)[1]

    def _at(self, far: float) -> tuple[float, float, float]:
        """FAR, TAR and threshold at the last point of the curve whose FAR is at most `far`."""
        check_rate(far, self.impostors, "impostor pairs")
        curve = self.roc()
        last = int(np.searchsorted(curve[0], far * (1 + 1e-9), side="right")) - 1
        return float(curve[0][last]), float(curve[1][last]), float(curve[2][last])

    def rates(self, threshold: float) -> tuple[float, float]:
        """FAR and TAR of a threshold that was chosen elsewhere."""
        accepted = self.scores >= threshold
        weights = np.ones(len(self.scores)) if self.weights is None else self.weights
        far, tar = (np.average(accepted[of], weights=weights[of]) for of in (~self.same, self.same))
        return float(far), float(tar)

    def accuracy(self, threshold: float) -> float:
        """The mean of TAR and 1 − FAR: with equal numbers of both kinds of pairs, the share that is judged right.

        Choose the threshold on other pairs, of other people.
        """
        far, tar = self.rates(threshold)
        return (tar + 1 - far) / 2

    def best_threshold(self) -> float:
        """The threshold of the highest accuracy on these pairs, half way to the next lower score: to use elsewhere."""
        far, tar, threshold = self.roc()
        best = int(np.argmax(tar - far))
        if best == 0:  # nothing is better than to accept nobody
            return float(self.scores.max()) + 1
        return float(threshold[best] + threshold[min(best + 1, len(threshold) - 1)]) / 2

    def bootstrap(
        self, statistic: Callable[[Verification], float], samples: int = 500, seed: int = 0
    ) -> tuple[float, float]:
        """The 95% interval of a statistic over *people*, such as `lambda pairs: pairs.eer`: (low, high).

        As many people as there are, are drawn with replacement, `samples` times. A genuine pair counts as often as its
        person was drawn, an impostor pair as the product of both, and the 2.5% and 97.5% quantiles of the statistic are
        the ends (vertex bootstrap: Snijders & Borgatti 1999). Pairs share people, so to draw pairs would claim far more
        certainty than there is.
        """
        everyone, who = np.unique(self.people, return_inverse=True)
        who = who.reshape(-1, 2)
        generator, found = np.random.default_rng(seed), list[float]()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of too few impostor pairs: told once, by the statistic itself
            while len(found) < samples:
                drawn = np.bincount(generator.integers(len(everyone), size=len(everyone)), minlength=len(everyone))
                weights = np.where(self.same, drawn[who[:, 0]], drawn[who[:, 0]] * drawn[who[:, 1]]).astype(np.float64)
                if weights[self.same].any() and weights[~self.same].any():  # with very few people one kind may be gone
                    kept = weights > 0
                    pairs = Verification(self.scores[kept], self.people[kept], weights[kept])
                    found.append(statistic(pairs))
        low, high = np.quantile(found, (0.025, 0.975))
        return float(low), float(high)


def check_rate(far: float, trials: int, what: str) -> None:
    """Raise `MetaFaceError` if `far` is no rate; warn with fewer than about `NEEDED` / FAR trials to read it."""
    if not 0 < far < 1:
        raise MetaFaceError(f"far must lie between 0 and 1, but is {far}. Give a share, such as 0.01.")
    if trials < NEEDED / far * (1 - 1e-9):
        warnings.warn(
            f"A false acceptance rate of {far:g} is read from {trials} {what}: too few, for about"
            f" {NEEDED / far:.0f} are needed. Take it as a hint only.",
            stacklevel=4,
        )


@dataclass(frozen=True)
class Identification:
    """Q probes that are searched in a gallery of N people.

    scores: `[Q, N]`, higher for more alike. gallery: int64 `[N]`, the enrolled people, each once. probe: int64 `[Q]`,
    who is on each probe; people who are not in the gallery may be among them, and for `dir_at_far` must be.

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
                f" enrolled person, but got {list(self.scores.shape)}."
            )
        if not np.isfinite(self.scores).all():
            raise MetaFaceError("Some scores are NaN or infinite. Look for an embedding of length 0.")
        if len(np.unique(self.gallery)) < len(self.gallery):
            raise MetaFaceError("A person is in the gallery twice. Join their images into one template.")
        if not self.enrolled.any():
            raise MetaFaceError("No probe is of a person in the gallery, so there is nobody to find.")

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        """Which probes are of people in the gallery: bool `[Q]`."""
        return np.isin(self.probe, self.gallery)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """For each probe of an enrolled person, 1 + the number of others who score as high as that person or higher."""
        known = self.enrolled
        own = self.probe[known, None] == self.gallery
        score = self.scores[known]
        return np.asarray((score >= score[own][:, None]).sum(axis=1), dtype=np.int64)

    def cmc(self) -> Floats:
        """The cumulative match characteristic `[N]`: the share of enrolled probes found among the best 1, 2, …, N."""
        found = np.bincount(self.ranks, minlength=len(self.gallery) + 1)[1:]
        return np.asarray(found.cumsum() / found.sum())

    @property
    def rank1(self) -> float:
        """The share of enrolled probes whose person scores highest: closed-set identification."""
        return float(self.cmc()[0])

    def threshold_at_far(self, far: float) -> float:
        """The lowest threshold at which at most the share `far` of the *unknown* probes is taken for somebody.

        Warns if there are too few of them to read that, and raises `MetaFaceError` if there are none.
        """
        unknown_best = np.sort(self.scores[~self.enrolled].max(axis=1))[::-1]
        if not len(unknown_best):
            raise MetaFaceError(
                "All probes are of enrolled people, so nobody could be taken for somebody else's. Open-set"
                " identification needs probes of people who are not in the gallery: add some."
            )
        check_rate(far, len(unknown_best), "probes of people who are not enrolled")
        allowed = int(far * len(unknown_best) * (1 + 1e-9))
        return float(np.nextafter(unknown_best[allowed], np.inf))  # just above the first who must be refused

    def dir_at_far(self, far: float) -> float:
        """The detection and identification rate: the share of enrolled probes that are found at rank 1 *and* score at
        least the threshold of that FAR (Grother & Phillips's open-set rate)."""
        threshold = self.threshold_at_far(far)
        return float(((self.ranks == 1) & (self.scores[self.enrolled].max(axis=1) >= threshold)).mean())


class Comparer:
    """Compares faces by the distance of their embeddings; a score is minus the distance, so that higher is more alike.

    shape: of the images that the network takes (channels, height, width); others are scaled to it. distance: one of
    `protonet.DISTANCES`, the one that the network was trained with.
    """

    def __init__(self, embedding: nn.Module, shape: tuple[int, int, int], distance: str = "cosine") -> None:
        if distance not in DISTANCES:
            raise unknown("distance", distance, DISTANCES)
        self.embedding, self.shape, self.distance = embedding.eval(), shape, distance

    @torch.no_grad()
    def embed(self, images: Tensor, at_once: int = 200) -> Tensor:
        """uint8 `[M, C, H, W]` → points `[M, D]`: the mean of a face's embedding and of its mirror image's."""
        device = next((weights.device for weights in self.embedding.parameters()), images.device)
        parts = fitted(images.to(device), self.shape).split(at_once)
        return torch.cat([(self.embedding(part) + self.embedding(part.flip(-1))) / 2 for part in parts])

    def scores(self, points: Tensor, others: Tensor) -> Tensor:
        """Of all pairs: points `[…, Q, D]` and others `[…, N, D]` → `[…, Q, N]`."""
        return -DISTANCES[self.distance](points, others)

    def score_pairs(self, pairs: Pairs) -> Floats:
        """The score of each pair: `[P]`."""
        points = self.embed(pairs.faces.images)
        one, other = points[pairs.index.to(points.device)].unbind(1)
        return np.asarray(self.scores(one[:, None], other[:, None]).flatten().double().cpu())


def fitted(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """uint8 images `[M, C, H, W]`, scaled and made grey or three-channelled: uint8 `[M, *shape]`."""
    channels, height, width = shape
    if images.shape[1] != channels:
        images = images.float().mean(dim=1, keepdim=True).round().byte().expand(-1, channels, -1, -1)
    if images.shape[2:] == (height, width):
        return images
    scaled = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round().clamp(0, 255).byte()
