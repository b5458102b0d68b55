"""The exercises of lesson 01, Learning to learn."""

# Answers are written as learners write them:
# mypy: allow-untyped-defs

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..faces.faceset import FaceSet
from .core import (
    Wrong,
    compact,
    describe,
    exercise,
    expect,
    fresh_arguments,
    fresh_check,
    generator,
    pick,
    right_answer,
    wrong_answer,
)

# ------------------------------------------------------------------------------------------------------------ relabel


@exercise(
    "episodes.relabel",
    lesson="01",
    title="From people to labels",
    points=2,
    equation="(1.4)",
    hints=(
        "For one image: at which place of `people` is its identity? Counting starts at 0.",
        "`identity[:, None] == people` compares each image with each of the people: bool [S, N], one True in each row.",
        "`.int().argmax(dim=1)` says in which column the True is.",
    ),
)
def check_relabel(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    people = torch.tensor([42, 7, 19])
    identity = torch.tensor([42, 42, 7, 19, 19])
    expect(
        answer(identity, people),
        torch.tensor([0, 0, 1, 2, 2]),
        case=f"With identity {compact(identity)} and people {compact(people)}",
        slips={
            "You number the people by size. Label n is the person at place n of `people`.": torch.tensor(
                [2, 2, 0, 1, 1]
            ),
            "Those are still the people's own numbers. A label says at which place of `people` a person is.": identity,
            "Labels start at 0, not at 1.": torch.tensor([1, 1, 2, 3, 3]),
            "That is one column per person; return the number of the column.": torch.tensor(
                [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
            ),
            "You number the images, so two images of one person get different labels.": torch.arange(5),
            "`searchsorted` needs a sorted list, but `people` is in the order of the labels.": torch.searchsorted(
                people, identity
            ),
            "`argmax` over the images, axis 0, gives one number per person. Take it over the people, axis 1.": (
                torch.tensor([0, 2, 3])
            ),
        },
    )
    identity = torch.tensor([19, 7, 42, 7])
    expect(
        answer(identity, people),
        torch.tensor([2, 1, 0, 1]),
        case=f"With identity {compact(identity)} and people {compact(people)}",
        slips={
            "You number the people in the order in which their images come. `people` gives the order.": torch.tensor(
                [0, 1, 2, 1]
            ),
            "You take the images to come in the order of `people`; compare their identities instead.": torch.tensor(
                [0, 1, 1, 2]
            ),
        },
    )


@fresh_arguments("episodes.relabel")
def draw_relabel(draw):
    ways = pick(draw, 4, 9)
    people = torch.randperm(100, generator=draw)[:ways]
    return people[torch.randint(ways, (pick(draw, 10, 20),), generator=draw)], people


@right_answer("episodes.relabel")
def _(identity, people):
    return (identity[:, None] == people).int().argmax(dim=1)


@right_answer("episodes.relabel")
def _(identity, people):
    place = {int(person): n for n, person in enumerate(people)}
    return torch.tensor([place[int(person)] for person in identity])


@right_answer("episodes.relabel")
def _(identity, people):
    order = people.argsort()
    return order[torch.searchsorted(people[order], identity)]


@wrong_answer("episodes.relabel", hint="by size")
def _(identity, people):
    return identity.unique(return_inverse=True)[1]


@wrong_answer("episodes.relabel", hint="needs a sorted list")
def _(identity, people):
    return torch.searchsorted(people, identity)


@wrong_answer("episodes.relabel", hint="over the images, axis 0")
def _(identity, people):
    return (identity[:, None] == people).int().argmax(dim=0)


@wrong_answer("episodes.relabel", hint="still the people's own numbers")
def _(identity, people):
    return identity


@wrong_answer("episodes.relabel", hint="start at 0")
def _(identity, people):
    return (identity[:, None] == people).int().argmax(dim=1) + 1


@wrong_answer("episodes.relabel", hint="number of the column")
def _(identity, people):
    return (identity[:, None] == people).long()


@wrong_answer("episodes.relabel", hint="number the images")
def _(identity, people):
    return torch.arange(len(identity))


@wrong_answer("episodes.relabel", hint="order in which their images come")
def _(identity, people):
    seen: dict[int, int] = {}
    return torch.tensor([seen.setdefault(int(person), len(seen)) for person in identity])


# ----------------------------------------------------------------------------------------------------------- interval


@exercise(
    "evaluation.interval",
    lesson="01",
    title="An accuracy and its interval",
    points=2,
    equation="(1.14)",
    hints=(
        "Return two numbers: the mean of the accuracies, and 1.96 standard errors.",
        "The standard error is the standard deviation s of the accuracies divided by the root of their number E.",
        "`accuracies.std()` divides by E − 1 by default, as (1.13) does. NumPy needs `ddof=1` for that.",
    ),
)
def check_interval(answer: Callable[[Tensor], tuple[float, float]]) -> None:
    accuracies = torch.tensor([0.2, 0.6, 0.4, 0.8, 0.7], dtype=torch.float64)
    mean, s, e = 0.54, float(accuracies.std()), 5
    biased = float(accuracies.std(unbiased=False))
    right = 1.96 * s / math.sqrt(e)
    expect(
        answer(accuracies),
        (mean, right),
        case=f"With accuracies {compact(accuracies)}",
        slips={
            "That is the spread of single episodes. The mean of E of them varies less: divide by √E.": (mean, 1.96 * s),
            "That is the formula for single answers, right or wrong. The accuracy of an episode is a mean of several"
            " answers: take the spread of the accuracies themselves, (1.13).": (
                mean,
                1.96 * math.sqrt(mean * (1 - mean) / e),
            ),
            "That is the standard error; the 95% interval is 1.96 of them.": (mean, s / math.sqrt(e)),
            "Divide by the *root* of E, not by E.": (mean, 1.96 * s / e),
            "You took 2 standard errors; (1.14) takes 1.96.": (mean, 2 * s / math.sqrt(e)),
            "That deviation divides by E. The mean was estimated from the same numbers, so (1.13) divides by E − 1.": (
                mean,
                1.96 * biased / math.sqrt(e),
            ),
            "You took the variance s² instead of the standard deviation s.": (mean, 1.96 * s**2 / math.sqrt(e)),
            "That is the whole width. Return half of it, the number after ±.": (mean, 2 * right),
            "Those are the two ends. Return the mean and the number after ±.": (mean - right, mean + right),
            "The mean comes first, then the number after ±.": (right, mean),
        },
    )
    accuracies = torch.rand(50, dtype=torch.float64, generator=generator(0))
    expect(
        answer(accuracies),
        (float(accuracies.mean()), 1.96 * float(accuracies.std()) / math.sqrt(50)),
        case="With 50 random accuracies",
        slips={
            "You divide by √5 again, but now there are 50 episodes: E is `len(accuracies)`.": (
                float(accuracies.mean()),
                1.96 * float(accuracies.std()) / math.sqrt(e),
            )
        },
    )


@fresh_arguments("evaluation.interval")
def draw_interval(draw):
    return (torch.rand(pick(draw, 8, 60), generator=draw, dtype=torch.float64),)


@right_answer("evaluation.interval")
def _(accuracies):
    return accuracies.mean(), 1.96 * accuracies.std() / len(accuracies) ** 0.5


@right_answer("evaluation.interval")
def _(accuracies):
    mean = sum(accuracies.tolist()) / len(accuracies)
    variance = sum((a - mean) ** 2 for a in accuracies.tolist()) / (len(accuracies) - 1)
    return [mean, 1.96 * math.sqrt(variance / len(accuracies))]


@right_answer("evaluation.interval")
def _(accuracies):
    return torch.stack([accuracies.mean(), 1.96 * accuracies.std() / len(accuracies) ** 0.5])


@right_answer("evaluation.interval")
def _(accuracies):
    a = accuracies.numpy()
    return float(a.mean()), float(1.96 * a.std(ddof=1) / a.size**0.5)


@wrong_answer("evaluation.interval", hint="spread of single episodes")
def _(accuracies):
    return accuracies.mean(), 1.96 * accuracies.std()


@wrong_answer("evaluation.interval", hint="single answers, right or wrong")
def _(accuracies):
    mean = accuracies.mean()
    return mean, 1.96 * (mean * (1 - mean) / len(accuracies)) ** 0.5


@wrong_answer("evaluation.interval", hint="You divide by √5")
def _(accuracies):
    return accuracies.mean(), 1.96 * accuracies.std() / 5**0.5


@wrong_answer("evaluation.interval", hint="1.96 of them")
def _(accuracies):
    return accuracies.mean(), accuracies.std() / len(accuracies) ** 0.5


@wrong_answer("evaluation.interval", hint="takes 1.96")
def _(accuracies):
    return accuracies.mean(), 2 * accuracies.std() / len(accuracies) ** 0.5


@wrong_answer("evaluation.interval", hint="by the *root* of E")
def _(accuracies):
    return accuracies.mean(), 1.96 * accuracies.std() / len(accuracies)


@wrong_answer("evaluation.interval", hint="divides by E − 1")
def _(accuracies):
    return accuracies.mean(), 1.96 * accuracies.std(unbiased=False) / len(accuracies) ** 0.5


@wrong_answer("evaluation.interval", hint="variance s²")
def _(accuracies):
    return accuracies.mean(), 1.96 * accuracies.var() / len(accuracies) ** 0.5


@wrong_answer("evaluation.interval", hint="two ends")
def _(accuracies):
    half = 1.96 * accuracies.std() / len(accuracies) ** 0.5
    return accuracies.mean() - half, accuracies.mean() + half


@wrong_answer("evaluation.interval", hint="whole width")
def _(accuracies):
    return accuracies.mean(), 2 * 1.96 * accuracies.std() / len(accuracies) ** 0.5


# ------------------------------------------------------------------------------------------------------- nearest mean


def _two_classes() -> tuple[Tensor, Tensor, Tensor]:
    support = torch.tensor([[0.0, 0.0], [9.0, 1.0], [4.0, 0.0], [9.0, 3.0]])
    query = torch.tensor([[1.0, 1.0], [8.0, 1.8], [5.0, 2.5], [7.0, 1.9]])
    return support, torch.tensor([1, 0, 1, 0]), query


@exercise(
    "baselines.nearest_mean",
    lesson="01",
    title="Nearest class mean",
    points=2,
    equation="(1.16)",
    hints=(
        "First take the mean of the support rows of each label, then for each query the label of the nearest mean.",
        "`torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])` gives the means, [N, D].",
        "`torch.cdist(query, means)` is [Q, N]. The nearest is the *smallest*: argmin over the means, `dim=1`.",
    ),
)
def check_nearest_mean(answer: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> None:
    support, labels, query = _two_classes()
    in_order = torch.cdist(query, support.unflatten(0, (2, -1)).mean(1))
    expect(
        answer(support, labels, query, 2),
        torch.tensor([1, 0, 1, 0]),
        case=f"With support {compact(support)}, labels {compact(labels)}, query {compact(query)}",
        slips={
            "You take the support images in their order, but `labels` says which person each one shows.": (
                in_order.argmin(1)
            ),
            "That is the *farthest* mean. The nearest has the smallest distance: argmin.": torch.tensor([0, 1, 0, 1]),
            "You take the mean with the largest inner product or cosine. (1.16) takes the one with the smallest"
            " distance.": torch.tensor([0, 0, 0, 0]),
            "Those are the distances. Return the label of the smallest, one per query.": torch.cdist(
                query, torch.stack([support[labels == n].mean(0) for n in range(2)])
            ),
            "That is the number of the nearest support image, not the label of the nearest mean.": torch.cdist(
                query, support
            ).argmin(1),
            "You compare with the sums of the classes. Divide each by its number of images.": torch.tensor(
                [1, 1, 1, 1]
            ),
            "You found the nearest query of each mean. Take argmin over the means, axis 1.": torch.tensor([1, 0]),
        },
    )
    support = torch.tensor([[0.0], [10.0], [6.0], [7.0]])
    labels = torch.tensor([0, 0, 1, 1])
    query = torch.tensor([[9.5], [6.4], [2.0]])
    expect(
        answer(support, labels, query, 2),
        torch.tensor([1, 1, 0]),
        case=f"With support {compact(support)}, labels {compact(labels)}, query {compact(query)}",
        slips={
            "That is the label of the nearest single support image. (1.15) averages each class first.": torch.tensor(
                [0, 1, 0]
            ),
            "You average over all images. Each mean runs over the images of one class.": torch.tensor([0, 0, 0]),
        },
    )
    support, labels = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0], [6.0, 0.0]]), torch.tensor([0, 0, 0, 1])
    query = torch.tensor([[2.0, 0.0], [5.0, 1.0]])
    expect(
        answer(support, labels, query, 2),
        torch.tensor([0, 1]),
        case="With three images of one person and one of another",
        slips={
            "You divide every class by the same number, but each has its own count.": torch.tensor([1, 1]),
        },
    )


@fresh_arguments("baselines.nearest_mean")
def draw_nearest_mean(draw):
    ways, size = pick(draw, 3, 5), pick(draw, 2, 4)
    labels = torch.cat([torch.arange(ways), torch.randint(ways, (2 * ways,), generator=draw)])
    labels = labels[torch.randperm(len(labels), generator=draw)]
    points, query = (torch.randn(count, size, generator=draw) for count in (len(labels), 24))
    return points, labels, query, ways


@right_answer("baselines.nearest_mean")
def _(support, labels, query, ways):
    means = torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])
    return torch.cdist(query, means).argmin(dim=1)


@right_answer("baselines.nearest_mean")
def _(support, labels, query, ways):
    member = torch.nn.functional.one_hot(labels, ways).to(support.dtype)
    means = member.T @ support / member.sum(0)[:, None]
    return (2 * query @ means.T - means.square().sum(1)).argmax(1)


@right_answer("baselines.nearest_mean")
def _(support, labels, query, ways):
    means = [support[labels == n].mean(0) for n in range(ways)]
    return torch.tensor([min(range(ways), key=lambda n: float((q - means[n]).norm())) for q in query])


@wrong_answer("baselines.nearest_mean", hint="*farthest* mean")
def _(support, labels, query, ways):
    means = torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])
    return torch.cdist(query, means).argmax(dim=1)


@wrong_answer("baselines.nearest_mean", hint="largest inner product or cosine")
def _(support, labels, query, ways):
    means = torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])
    return (query @ means.T).argmax(dim=1)


@wrong_answer("baselines.nearest_mean", hint="largest inner product or cosine")
def _(support, labels, query, ways):
    means = torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])
    return torch.cosine_similarity(query[:, None], means, dim=-1).argmax(dim=1)


@wrong_answer("baselines.nearest_mean", hint="sums of the classes")
def _(support, labels, query, ways):
    return torch.cdist(query, torch.stack([support[labels == n].sum(dim=0) for n in range(ways)])).argmin(dim=1)


@wrong_answer("baselines.nearest_mean", hint="Those are the distances")
def _(support, labels, query, ways):
    means = torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])
    return torch.cdist(query, means)


@wrong_answer("baselines.nearest_mean", hint="number of the nearest support image")
def _(support, labels, query, ways):
    return torch.cdist(query, support).argmin(dim=1)


@wrong_answer("baselines.nearest_mean", hint="nearest single support image")
def _(support, labels, query, ways):
    return labels[torch.cdist(query, support).argmin(dim=1)]


@wrong_answer("baselines.nearest_mean", hint="over the means, axis 1")
def _(support, labels, query, ways):
    means = torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])
    return torch.cdist(query, means).argmin(dim=0)


@wrong_answer("baselines.nearest_mean", hint="in their order")
def _(support, labels, query, ways):
    return torch.cdist(query, support.view(ways, -1, support.shape[1]).mean(1)).argmin(dim=1)


@wrong_answer("baselines.nearest_mean", hint="by the same number")
def _(support, labels, query, ways):
    sums = torch.stack([support[labels == n].sum(dim=0) for n in range(ways)])
    return torch.cdist(query, sums / (len(support) / ways)).argmin(dim=1)


# -------------------------------------------------------------------------------------------------- split by identity


@exercise(
    "faces.split_by_identity",
    lesson="01",
    title="Split the people, not the images",
    points=2,
    equation="",
    hints=(
        "Divide the list of people, `identity.unique()`. Only then ask for each image in which part its person is.",
        "`people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]` is an order of them that"
        " depends on the seed alone.",
        "The first `round(fraction * len(people))` of them are for the test: `test = torch.isin(identity, chosen)`.",
        "The other mask is `~test`.",
    ),
)
def check_split_by_identity(answer: Split) -> None:
    identity = torch.arange(3, 23).repeat(6)[: 20 * 6 - 15]  # some people have fewer images than others
    identity = identity[torch.randperm(len(identity), generator=generator(0))]
    case = f"With {len(identity)} images of 20 people, fraction = 0.3 and seed = 0"
    _, test = _split(answer, identity, 0.3, 0, case)
    few = torch.arange(12).repeat(2)
    for images, fraction, wanted in ((identity, 0.3, 6), (few, 0.3, 4), (few, 0.2, 2)):
        for seed in range(10):
            _count(answer, images, fraction, seed, wanted)
    _follows_seed(answer, identity, 0.3, 0, test, case)


Split = Callable[[Tensor, float, int], tuple[Tensor, Tensor]]


def _split(answer: Split, identity: Tensor, fraction: float, seed: int, case: str) -> tuple[Tensor, Tensor]:
    """The two masks, if they divide the people. Raises `Wrong` otherwise."""
    train, test = _masks(answer(identity, fraction, seed), identity, case)
    shared = set(identity[train].tolist()) & set(identity[test].tolist())
    if bool((train & test).any()):
        raise Wrong(f"{case}:\n{int((train & test).sum())} images are in the training set and in the test set.")
    if shared:
        raise Wrong(
            f"{case}:\n{len(shared)} of the {len(identity.unique())} people are on both sides: a leak. You divide the"
            " images. Divide the people, and let each image follow its person."
        )
    if not bool((train | test).all()):
        raise Wrong(f"{case}:\n{int((~(train | test)).sum())} images are in neither set. Put every image into one.")
    return train, test


def _follows_seed(answer: Split, identity: Tensor, fraction: float, seed: int, test: Tensor, case: str) -> None:
    """Raise `Wrong` unless the same seed gives the same split, and one of three other seeds another."""
    again = _masks(answer(identity, fraction, seed), identity, case)
    if not bool((again[1] == test).all()):
        raise Wrong(
            "The same seed gives two different splits. Give `torch.randperm` a generator of its own:"
            " `generator=torch.Generator().manual_seed(seed)`."
        )
    seeds = [seed + 1, seed + 2, seed + 3]
    others = [_masks(answer(identity, fraction, other), identity, case)[1] for other in seeds]
    if all(bool((other == test).all()) for other in others):
        raise Wrong(
            f"Seeds {seed}, {seeds[0]}, {seeds[1]} and {seeds[2]} all give the same split. Shuffle the people by"
            " `seed` before you divide them."
        )


def _count(answer: Split, identity: Tensor, fraction: float, seed: int, wanted: int) -> None:
    """Raise `Wrong` unless so many people are in the test set."""
    all_people = len(identity.unique())
    case = f"With {len(identity)} images of {all_people} people, fraction = {fraction} and seed = {seed}"
    _, test = _masks(answer(identity, fraction, seed), identity, case)
    people, share = len(identity[test].unique()), fraction * all_people
    if people == wanted:
        return
    if people == all_people - wanted:
        slip = "Is it the other way round? The training mask comes first."
    elif people == math.floor(share + 1e-9):
        slip = "*Rounded*, that is one more: `int` and `//` cut off."
    elif people == math.ceil(share):
        slip = "*Rounded*, that is one less: `ceil` always goes up."
    else:
        slip = (
            "Draw from the list of people, `identity.unique()`, each person once. Among the first few shuffled images"
            " one person may come twice; and the people's numbers may have gaps."
        )
    raise Wrong(
        f"{case}:\n  got     {people} people in the test set\n  wanted  {wanted}: {fraction} · {all_people} ="
        f" {share:.1f}\n{slip}"
    )


def _masks(result: object, identity: Tensor, case: str) -> tuple[Tensor, Tensor]:
    """The two masks, if they are masks. Raises `Wrong` otherwise."""
    if isinstance(result, Tensor) and result.ndim == 2:
        result = list(result)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Wrong(f"{case}:\n  got     {describe(result)}\n  wanted  two masks, `train, test`")
    for mask in result:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != identity.shape:
            raise Wrong(f"{case}:\nBoth must be bool tensors of shape [{len(identity)}], one True or False per image.")
    return result[0], result[1]


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


@fresh_check("faces.split_by_identity")
def check_fresh_split(answer, draw):
    people = torch.randperm(200, generator=draw)[: pick(draw, 11, 30)]
    identity = people.repeat_interleave(torch.randint(1, 7, people.shape, generator=draw))
    identity = identity[torch.randperm(len(identity), generator=draw)]
    for above in (-0.3, 0.3):  # to be rounded up, and down
        wanted, seed = pick(draw, 3, len(people) - 4), pick(draw, 0, 10**6)
        fraction = (wanted + above) / len(people)
        case = f"With {len(identity)} images of {len(people)} people, fraction = {fraction:.3f} and seed = {seed}"
        _, test = _split(answer, identity, fraction, seed, case)
        _count(answer, identity, fraction, seed, wanted)
        _follows_seed(answer, identity, fraction, seed, test, case)


@right_answer("faces.split_by_identity")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[_order(len(people), seed)][: round(fraction * len(people))])
    return ~test, test


@right_answer("faces.split_by_identity")
def _(identity, fraction, seed):
    import random

    people = sorted(set(identity.tolist()))
    chosen = set(random.Random(seed).sample(people, round(fraction * len(people))))
    test = torch.tensor([person in chosen for person in identity.tolist()])
    return [~test, test]


@right_answer("faces.split_by_identity")
def _(identity, fraction, seed):
    people, number = identity.unique(return_inverse=True)
    rank = torch.rand(len(people), generator=torch.Generator().manual_seed(seed)).argsort().argsort()
    test = (rank < round(fraction * len(people)))[number]
    return ~test, test


@right_answer("faces.split_by_identity")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[_order(len(people), seed)][: round(fraction * len(people))])
    return torch.stack([~test, test])


@wrong_answer("faces.split_by_identity", hint="`ceil` always goes up")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[_order(len(people), seed)][: math.ceil(fraction * len(people))])
    return ~test, test


@wrong_answer("faces.split_by_identity", hint="one person may come twice")
def _(identity, fraction, seed):
    shuffled = identity[_order(len(identity), seed)]
    test = torch.isin(identity, shuffled[: round(fraction * len(identity.unique()))])
    return ~test, test


@wrong_answer("faces.split_by_identity", hint="may have gaps")
def _(identity, fraction, seed):
    people = int(identity.max()) + 1
    test = torch.isin(identity, _order(people, seed)[: round(fraction * people)])
    return ~test, test


@wrong_answer("faces.split_by_identity", hint="`int` and `//` cut off")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[_order(len(people), seed)][: int(fraction * len(people) + 1e-9)])
    return ~test, test


@wrong_answer("faces.split_by_identity", hint="on both sides: a leak")
def _(identity, fraction, seed):
    test = torch.zeros(len(identity), dtype=torch.bool)
    test[_order(len(identity), seed)[: round(fraction * len(identity))]] = True
    return ~test, test


@wrong_answer("faces.split_by_identity", hint="Shuffle the people by `seed`")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[: round(fraction * len(people))])
    return ~test, test


@wrong_answer("faces.split_by_identity", hint="other way round")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[_order(len(people), seed)][: round(fraction * len(people))])
    return test, ~test


@wrong_answer("faces.split_by_identity", hint="two different splits")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[torch.randperm(len(people))][: round(fraction * len(people))])
    return ~test, test


@wrong_answer("faces.split_by_identity", hint="in neither set")
def _(identity, fraction, seed):
    people = identity.unique()[_order(len(identity.unique()), seed)]
    part = round(fraction * len(people))
    return torch.isin(identity, people[part + 1 :]), torch.isin(identity, people[:part])


@wrong_answer("faces.split_by_identity", hint="in the training set and in the test set")
def _(identity, fraction, seed):
    people = identity.unique()
    test = torch.isin(identity, people[_order(len(people), seed)][: round(fraction * len(people))])
    return torch.ones_like(test), test


@wrong_answer("faces.split_by_identity", hint="bool tensors")
def _(identity, fraction, seed):
    people = identity.unique()[_order(len(identity.unique()), seed)]
    part = round(fraction * len(people))
    return people[part:], people[:part]


# ------------------------------------------------------------------------------------------------------ shared people


def _set(identity: list[int]) -> FaceSet:
    return FaceSet(
        torch.arange(len(identity), dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 2, 2),
        torch.tensor(identity),
        name="small images",
        synthetic=True,
    )


@exercise(
    "faces.shared_people",
    lesson="01",
    title="Find the leak",
    points=2,
    equation="",
    hints=(
        "People keep their numbers in every `FaceSet`: a leak is a number that is in both.",
        "`train.identities` and `test.identities` list each person once. Which numbers are in both lists?",
        "`torch.isin(a, b)` says for each entry of a whether it is in b. That is a mask to index a with.",
    ),
)
def check_shared_people(answer: Callable[[FaceSet, FaceSet], Tensor]) -> None:
    train, test = _set([3, 3, 8, 8, 5, 1, 5]), _set([8, 9, 9, 5, 5, 8, 2])
    case = f"With train.identity {compact(train.identity)} and test.identity {compact(test.identity)}"
    got = answer(train, test)
    if isinstance(got, Tensor) and got.shape == (0,):
        raise Wrong(
            f"{case}:\n  got     nobody\n  wanted  [5, 8]\nDid you make a `set` of a tensor? Its entries are tensors,"
            " and two tensors are never the same member of a set. Use `.tolist()` first."
        )
    expect(
        got,
        torch.tensor([5, 8]),
        case=case,
        slips={
            "That lists a person once per image. Name each once: `identities` does.": torch.tensor([8, 5, 5, 8]),
            "That lists the training images of the shared people. Name each person once.": torch.tensor([8, 8, 5, 5]),
            "Those are all people of both sets. A leak is a person who is in both.": torch.tensor([1, 2, 3, 5, 8, 9]),
            "Those are the people who are in the test set only. They are not a leak.": torch.tensor([2, 9]),
            "Those are the people who are in the training set only.": torch.tensor([1, 3]),
            "Sort them, so that two runs can be compared.": torch.tensor([8, 5]),
            "You compare the sets place by place, but the same person may be anywhere in them.": torch.tensor([5]),
            "That is a mask. Return the numbers of the people.": torch.tensor([False, False, True, True]),
            "That is how many people are shared. Return their numbers.": 2,
        },
    )
    expect(
        answer(_set([0, 1, 1]), _set([2, 3, 3])),
        torch.zeros(0, dtype=torch.int64),
        case="With sets that share nobody",
    )


@fresh_arguments("faces.shared_people")
def draw_shared_people(draw):
    count = pick(draw, 15, 25)
    return tuple(_set(torch.randint(40, (count,), generator=draw).tolist()) for _ in range(2))


@right_answer("faces.shared_people")
def _(train, test):
    return train.identities[torch.isin(train.identities, test.identities)]


@right_answer("faces.shared_people")
def _(train, test):
    return torch.tensor(sorted(set(train.identity.tolist()) & set(test.identity.tolist())), dtype=torch.int64)


@right_answer("faces.shared_people")
def _(train, test):
    both, count = torch.cat([train.identities, test.identities]).unique(return_counts=True)
    return both[count == 2]


@wrong_answer("faces.shared_people", hint="once per image")
def _(train, test):
    return test.identity[torch.isin(test.identity, train.identity)]


@wrong_answer("faces.shared_people", hint="`set` of a tensor")
def _(train, test):
    return torch.tensor(sorted(set(train.identity) & set(test.identity)))


@wrong_answer("faces.shared_people", hint="all people of both sets")
def _(train, test):
    return torch.cat([train.identity, test.identity]).unique()


@wrong_answer("faces.shared_people", hint="They are not a leak")
def _(train, test):
    return test.identities[~torch.isin(test.identities, train.identities)]


@wrong_answer("faces.shared_people", hint="place by place")
def _(train, test):
    return train.identity[train.identity == test.identity]


@wrong_answer("faces.shared_people", hint="how many people are shared")
def _(train, test):
    return int(torch.isin(train.identities, test.identities).sum())


@wrong_answer("faces.shared_people", hint="Return the numbers of the people")
def _(train, test):
    return torch.isin(train.identities, test.identities)
