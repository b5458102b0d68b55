"""What recognition is worth, with its uncertainty: accuracy on episodes, verification, and identification.

`evaluate` is for any number of methods on the very same episodes. `Verification` judges pairs of images, same person or
not, by their scores; `Identification` judges probes that are searched in a gallery. In all of them a higher score means
more alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from .episodes import EpisodeSampler
from .errors import MetaFaceError
from .learners.base import Adapts


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


# ------------------------------------------------------------------------------------------------------ identification
