"""What recognition is worth, with its uncertainty: accuracy on episodes, verification, and identification.

`evaluate` is for any number of methods on the very same episodes. `Verification` judges pairs of images, same person or
not, by their scores; `Identification` judges probes that are searched in a gallery. In all of them a higher score means
more alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn
from tqdm.auto import tqdm

from .episodes import EpisodeSampler
from .errors import MetaFaceError
from .learners import Adapts


@dataclass(frozen=True)
class Evaluation:
    """Accuracy per episode `[E]` and per person `[I]`, from which the mean and its intervals follow.

    `ci95` is 1.96·s/√E over episodes: how far another draw of episodes *of the same people* would move the mean. It
    says nothing about other people; `ci95_people` does, treating the people as the sample: 1.96·s/√I over them.
    """

    episodes: NDArray[np.float64]
    people: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        return float(self.episodes.mean())

    @property
    def ci95(self) -> float:
        return interval(self.episodes)

    @property
    def ci95_people(self) -> float:
        return interval(self.people)

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} ± {100 * self.ci95:.1f} %"


def interval(values: NDArray[np.float64]) -> float:
    """1.96·s/√n, half the 95% interval of a mean of n values `[n]`, which may be paired differences of two methods."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def frontier(cost: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of M methods, by cost `[M]` and accuracy `[M]`, no other one beats in one without losing in the other.

    Bool `[M]`: the Pareto frontier.
    """
    no_worse = (cost[:, None] <= cost) & (accuracy[:, None] >= accuracy)
    better = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)
    return np.asarray(~(no_worse & better).any(axis=0))


def expected_accuracy(nearer: NDArray[np.int64], others: int, ways: int) -> float:
    """The mean accuracy over *all* N-way 1-shot episodes of a set with one support and some query pictures a person.

    nearer `[M]`: for each of M queries, how many of the `others` (all people but its own) have a support picture that
    is nearer to it than its own person's. Of the (N − 1)-tuples of others, those without any of them are a share of
    C(others − nearer, N − 1) / C(others, N − 1).
    """
    if not 2 <= ways <= others + 1:
        raise MetaFaceError(f"ways must lie in 2 to {others + 1}, the number of people, but is {ways}.")
    i = np.arange(ways - 1)
    return float(((others - nearer[:, None] - i).clip(min=0) / (others - i)).prod(axis=1).mean())


def evaluate(
    methods: Mapping[str, Adapts],
    sampler: EpisodeSampler,
    episodes: int = 600,
    at_once: int = 20,
    progress: bool = False,
) -> dict[str, Evaluation]:
    """Let every method learn each episode's support set and predict its query set; the methods see the same episodes.

    Networks are put into evaluation mode for the time, and left as they were.
    """
    if episodes < 1:
        raise MetaFaceError(f"episodes must be at least 1, but is {episodes}. For a figure to report, use 600 or more.")
    modes = {net: net.training for net in methods.values() if isinstance(net, nn.Module)}
    people = sampler.faces.identities
    per_episode: dict[str, list[torch.Tensor]] = {name: [] for name in methods}
    right = {name: torch.zeros(len(people)) for name in methods}
    asked = torch.zeros(len(people))
    bar = tqdm(total=episodes, desc="evaluate", unit="episode", disable=not progress)
    try:
        for net in modes:
            net.eval()
        with torch.no_grad():  # a learner that adapts by gradients switches them on again
            for start in range(0, episodes, at_once):
                batch = sampler.sample(min(at_once, episodes - start))
                who = torch.searchsorted(people, batch.identities.gather(1, batch.query.y)).cpu()  # [T, N·Q]
                asked += torch.bincount(who.flatten(), minlength=len(people))
                for name, method in methods.items():
                    logits = method.adapt(batch.support).predict(batch.query.x)
                    correct = (logits.argmax(dim=-1) == batch.query.y).float().cpu()
                    per_episode[name].append(correct.mean(dim=1))
                    right[name] += torch.bincount(who.flatten(), correct.flatten(), minlength=len(people))
                bar.update(len(batch.identities))
    finally:
        bar.close()
        for net, training in modes.items():
            net.train(training)
    seen = asked > 0
    return {
        name: Evaluation(
            torch.cat(per_episode[name]).double().numpy(), (right[name][seen] / asked[seen]).double().numpy()
        )
        for name in methods
    }


# ------------------------------------------------------------------------------------------------------- verification

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


# ------------------------------------------------------------------------------------------------------ identification


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
