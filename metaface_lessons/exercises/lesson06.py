"""The exercises of lesson 06, a fair comparison."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from .core import (
    Wrong,
    as_tensor,
    exercise,
    expect,
    explained,
    fresh_arguments,
    fresh_check,
    generator,
    pick,
    right_answer,
    wrong_answer,
)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


# -------------------------------------------------------------------------------------------------- paired differences

Pair = tuple[float, float]


def _paired(a: Tensor, b: Tensor) -> Pair:
    d = a - b
    return d.mean().item(), 1.96 * d.std().item() / math.sqrt(len(d))


@exercise(
    "comparison.paired",
    lesson="06",
    title="The interval of a difference on the same episodes",
    points=2,
    equation="(6.3)",
    hints=(
        "Both methods saw the same episodes: subtract first, episode by episode, `d = a - b`.",
        "The interval is that of a mean, as in lesson 01, but of the differences: 1.96 times their standard deviation"
        " (with n − 1 in the denominator) divided by √n.",
        "`d = a - b`, then `return d.mean(), 1.96 * d.std() / len(d) ** 0.5`.",
    ),
)
def check_paired(answer: Callable[[Tensor, Tensor], Pair]) -> None:
    def judge(a: Tensor, b: Tensor, case: str) -> None:
        d, n = a - b, len(a)
        difference, half = _paired(a, b)
        unpaired = 1.96 * math.sqrt((a.var() + b.var()).item() / n)
        expect(
            answer(a, b),
            (difference, half),
            case=case,
            slips={
                "That interval adds the variances of a and b, as if the methods had met different episodes. They met"
                " the same ones: take the standard deviation of a − b.": (difference, unpaired),
                "That adds the two intervals. Take the standard deviation of a − b.": (
                    difference,
                    1.96 * (a.std() + b.std()).item() / math.sqrt(n),
                ),
                "That has the variance. Take the standard deviation.": (
                    difference,
                    1.96 * d.var().item() / math.sqrt(n),
                ),
                "The sign: the difference is a − b.": (-difference, half),
                "That is the spread of the differences, not of their mean: √n is missing.": (
                    difference,
                    1.96 * d.std().item(),
                ),
                "That is the whole width of the interval. Return half of it, the number after ±.": (
                    difference,
                    2 * half,
                ),
                "Those are the ends of the interval. Return its middle and half its width.": (
                    difference - half,
                    difference + half,
                ),
                "You divide by n. Divide by √n.": (difference, 1.96 * d.std().item() / n),
                "The 1.96 is missing: that is one standard error.": (difference, d.std().item() / math.sqrt(n)),
                "That standard deviation has n in its denominator. Use n − 1, since the mean comes from the same"
                " numbers.": (difference, 1.96 * d.std(correction=0).item() / math.sqrt(n)),
                "That is the mean of the absolute differences. It does not say which of the two was better.": (
                    d.abs().mean().item(),
                    half,
                ),
                "You take absolute differences. They do not say which of the two was better.": (
                    d.abs().mean().item(),
                    1.96 * d.abs().std().item() / math.sqrt(n),
                ),
                "That is the difference of the two intervals.": (
                    difference,
                    1.96 * (a.std() - b.std()).item() / math.sqrt(n),
                ),
            },
            tolerance=1e-5,
        )

    a, b = (torch.tensor(v, dtype=torch.float64) for v in ([0.8, 0.4, 1.0, 0.6, 0.6], [0.6, 0.4, 0.6, 0.6, 0.7]))
    judge(a, b, "For a = [0.8, 0.4, 1, 0.6, 0.6] and b = [0.6, 0.4, 0.6, 0.6, 0.7]")
    difficulty = _draw(50)
    judge(difficulty + 0.1 * _draw(50, seed=1), difficulty + 0.1 * _draw(50, seed=2), "For 50 episodes, easy and hard")


@fresh_arguments("comparison.paired")
def draw_paired(draw: torch.Generator) -> tuple[Tensor, Tensor]:
    difficulty, a, b = torch.randn(3, pick(draw, 6, 40), generator=draw, dtype=torch.float64)
    return difficulty + a / 3, difficulty + b / 3


@right_answer("comparison.paired")
def _(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    d = a - b
    return d.mean(), 1.96 * d.std() / len(d) ** 0.5


@right_answer("comparison.paired")
def _(a: Tensor, b: Tensor) -> Pair:
    n = len(a)
    mean = (a - b).sum().item() / n
    variance = sum((x - mean) ** 2 for x in (a - b).tolist()) / (n - 1)
    return mean, 1.96 * math.sqrt(variance / n)


@right_answer("comparison.paired")
def _(a: Tensor, b: Tensor) -> list[Tensor]:
    covariance = torch.cov(torch.stack([a, b]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return [a.mean() - b.mean(), 1.96 * (variance / len(a)).sqrt()]


@right_answer("comparison.paired")
def _(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([(a - b).mean(), 1.96 * (a - b).std() / len(a) ** 0.5])


@wrong_answer("comparison.paired", hint="adds the two intervals")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).mean().item(), 1.96 * (a.std() + b.std()).item() / math.sqrt(len(a))


@wrong_answer("comparison.paired", hint="has the variance")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).mean().item(), 1.96 * (a - b).var().item() / math.sqrt(len(a))


@wrong_answer("comparison.paired", hint="You take absolute differences")
def _(a: Tensor, b: Tensor) -> Pair:
    return _paired((a - b).abs(), torch.zeros_like(a))


@wrong_answer("comparison.paired", hint="adds the variances")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a.mean() - b.mean()).item(), 1.96 * math.sqrt((a.var() + b.var()).item() / len(a))


@wrong_answer("comparison.paired", hint="The sign")
def _(a: Tensor, b: Tensor) -> Pair:
    return _paired(b, a)


@wrong_answer("comparison.paired", hint="√n is missing")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).mean().item(), 1.96 * (a - b).std().item()


@wrong_answer("comparison.paired", hint="You divide by n")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).mean().item(), 1.96 * (a - b).std().item() / len(a)


@wrong_answer("comparison.paired", hint="1.96 is missing")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).mean().item(), (a - b).std().item() / math.sqrt(len(a))


@wrong_answer("comparison.paired", hint="Use n − 1")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).mean().item(), 1.96 * (a - b).std(correction=0).item() / math.sqrt(len(a))


@wrong_answer("comparison.paired", hint="whole width")
def _(a: Tensor, b: Tensor) -> Pair:
    return _paired(a, b)[0], 2 * _paired(a, b)[1]


@wrong_answer("comparison.paired", hint="ends of the interval")
def _(a: Tensor, b: Tensor) -> Pair:
    middle, half = _paired(a, b)
    return middle - half, middle + half


@wrong_answer("comparison.paired", hint="mean of the absolute differences")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).abs().mean().item(), _paired(a, b)[1]


@wrong_answer("comparison.paired", hint="difference of the two intervals")
def _(a: Tensor, b: Tensor) -> Pair:
    return (a - b).mean().item(), 1.96 * (a.std() - b.std()).item() / math.sqrt(len(a))


# ------------------------------------------------------------------------------------------------------ several seeds

T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262}  # of Student's t, 97.5%, by degrees of freedom


def _seeds(accuracies: Tensor, quantiles: dict[int, float]) -> float:
    n = len(accuracies)
    return quantiles[n - 1] * accuracies.std().item() / math.sqrt(n)


@exercise(
    "comparison.seeds",
    lesson="06",
    title="The interval over a handful of seeds",
    points=2,
    equation="(6.4)",
    hints=(
        "It has the form of the interval over episodes: a factor times the standard deviation, divided by √S.",
        "With a handful of seeds the factor is not 1.96 but Student's t with S − 1 degrees of freedom: `t[S - 1]`.",
        "`S = len(accuracies)`, then `return t[S - 1] * accuracies.std() / S ** 0.5`.",
    ),
)
def check_seeds(answer: Callable[[Tensor, dict[int, float]], float]) -> None:
    for values in ([0.84, 0.86, 0.91], [0.7, 0.71, 0.75, 0.72, 0.77]):
        accuracies = torch.tensor(values, dtype=torch.float64)
        n, s = len(values), accuracies.std().item()
        wanted = _seeds(accuracies, T_QUANTILES)
        expect(
            answer(accuracies, dict(T_QUANTILES)),
            wanted,
            case=f"For the accuracies {values}",
            slips={
                "1.96 is for many numbers. So few estimate their own spread badly, and Student's t allows for that.": (
                    1.96 * s / math.sqrt(n)
                ),
                "t is missing: that is one standard error.": s / math.sqrt(n),
                "That has both factors. Student's t replaces 1.96.": 1.96 * wanted,
                "That is the whole width of the interval. Return half of it, the number after ±.": 2 * wanted,
                "That has the variance. Take the standard deviation.": wanted * s,
                "That is t for three seeds. It depends on their number: `t[S - 1]`.": T_QUANTILES[2] * s / math.sqrt(n),
                "That is t with S degrees of freedom. The mean has used one of them: S − 1.": {
                    **T_QUANTILES,
                    5: 2.571,
                }[n]
                * s
                / math.sqrt(n),
                "That standard deviation has S in its denominator. Use S − 1: with so few seeds it matters.": (
                    wanted * math.sqrt((n - 1) / n)
                ),
                "√S is missing: that interval is for another *single* seed, not for the mean.": wanted * math.sqrt(n),
                "You divide by S. Divide by √S.": wanted / math.sqrt(n),
                "You divide by √(S − 1). The mean is of S seeds.": wanted * math.sqrt(n / (n - 1)),
                "That is half of the range of the values.": (max(values) - min(values)) / 2,
                "That is the standard deviation alone.": s,
            },
            tolerance=5e-5,  # the quantiles of `t` are rounded to three digits: one's own are as good
        )


@fresh_arguments("comparison.seeds")
def draw_seeds(draw: torch.Generator) -> tuple[Tensor, dict[int, float]]:
    seeds = (2, 3, 4, 5, 10)[pick(draw, 0, 4)]
    return torch.rand(seeds, generator=draw, dtype=torch.float64), dict(T_QUANTILES)


@right_answer("comparison.seeds")
def _(accuracies: Tensor, t: dict[int, float]) -> Tensor:
    seeds = len(accuracies)
    return t[seeds - 1] * accuracies.std() / seeds**0.5


@right_answer("comparison.seeds")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    values = accuracies.tolist()
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return t[len(values) - 1] * math.sqrt(variance / len(values))


@right_answer("comparison.seeds")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return float(t[accuracies.numel() - 1] * (accuracies.var() / accuracies.numel()) ** 0.5)


@right_answer("comparison.seeds")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    exact = t | {2: 4.302652729911275, 4: 2.7764451051977987}  # from a table of one's own
    return exact[len(accuracies) - 1] * accuracies.std().item() / math.sqrt(len(accuracies))


@wrong_answer("comparison.seeds", hint="t is missing")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return accuracies.std().item() / math.sqrt(len(accuracies))


@wrong_answer("comparison.seeds", hint="has both factors")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return 1.96 * _seeds(accuracies, t)


@wrong_answer("comparison.seeds", hint="whole width")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return 2 * _seeds(accuracies, t)


@wrong_answer("comparison.seeds", hint="has the variance")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return t[len(accuracies) - 1] * accuracies.var().item() / math.sqrt(len(accuracies))


@wrong_answer("comparison.seeds", hint="t for three seeds")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return t[2] * accuracies.std().item() / math.sqrt(len(accuracies))


@wrong_answer("comparison.seeds", hint="1.96 is for many")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return 1.96 * accuracies.std().item() / math.sqrt(len(accuracies))


@wrong_answer("comparison.seeds", hint="S degrees of freedom")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    seeds = len(accuracies)
    return (t | {5: 2.571})[seeds] * accuracies.std().item() / math.sqrt(seeds)


@wrong_answer("comparison.seeds", hint="S in its denominator")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    seeds = len(accuracies)
    return t[seeds - 1] * accuracies.std(correction=0).item() / math.sqrt(seeds)


@wrong_answer("comparison.seeds", hint="√S is missing")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return t[len(accuracies) - 1] * accuracies.std().item()


@wrong_answer("comparison.seeds", hint="Divide by √S")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return t[len(accuracies) - 1] * accuracies.std().item() / len(accuracies)


@wrong_answer("comparison.seeds", hint="√(S − 1)")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    seeds = len(accuracies)
    return t[seeds - 1] * accuracies.std().item() / math.sqrt(seeds - 1)


@wrong_answer("comparison.seeds", hint="half of the range")
def _(accuracies: Tensor, t: dict[int, float]) -> float:
    return (accuracies.max() - accuracies.min()).item() / 2


# -------------------------------------------------------------------------------------------------------- the frontier


def _frontier(cost: Tensor, accuracy: Tensor) -> Tensor:
    cheaper = cost[:, None] <= cost  # [i, j]: i costs no more than j
    better = accuracy[:, None] >= accuracy
    strictly = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)
    return ~(cheaper & better & strictly).any(dim=0)


@exercise(
    "comparison.frontier",
    lesson="06",
    title="Which methods are worth a look",
    points=2,
    equation="(6.5)",
    hints=(
        "Compare every method i with every method j: does i cost no more, and is it no less accurate? `cost[:, None] <="
        " cost` is a table `[i, j]`.",
        "A method does not dominate itself or its equal: at least one of cost and accuracy must be strictly better.",
        "With `cheaper`, `better` and `strictly = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)`: j is"
        " dominated if any i has all three. Return the others.",
    ),
)
def check_frontier(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    def judge(cost: list[float], accuracy: list[float], case: str) -> None:
        c, a = torch.tensor(cost), torch.tensor(accuracy)
        cheaper, strictly_cheaper = c[:, None] <= c, c[:, None] < c
        better, strictly_better = a[:, None] >= a, a[:, None] > a
        others = ~torch.eye(len(c), dtype=torch.bool)
        wanted = _frontier(c, a)
        expect(
            as_tensor(answer(c, a)),
            wanted,
            case=f"For cost = {cost} and accuracy = {accuracy}{case}",
            slips={
                "Methods of the *same* cost are not compared here. The most accurate of them dominates the others, and"
                " equals stay together.": _scan(c, a),
                "Methods of the *same* accuracy are not compared here. The cheapest of them dominates the others.": ~(
                    cheaper & strictly_better
                ).any(dim=0),
                "Two equal methods beat each other here. At least one of cost and accuracy must be strictly better.": ~(
                    cheaper & better & others
                ).any(dim=0),
                "That is the most accurate method alone. Cheaper ones that lose a little may be worth a look too.": a
                == a.max(),
                "That is the cheapest method alone.": c == c.min(),
                "Those are the cheapest and the most accurate method. Others may be dominated by nobody too.": (
                    (c == c.min()) | (a == a.max())
                ),
                "That marks the methods that dominate nobody. Which are dominated *by* nobody? In a table `[i, j]` of i"
                " dominates j, look down the columns, `any(dim=0)`.": ~(
                    cheaper & better & (strictly_cheaper | strictly_better)
                ).any(dim=1),
                "That marks the dominated methods. Mark the others.": ~wanted,
                "Those are the numbers of the methods. Return M booleans, a mask.": wanted.nonzero().flatten(),
                "A method dominates here as soon as it is better in *either* respect. It must be no worse in both.": ~(
                    strictly_cheaper | strictly_better
                ).any(dim=0),
                "Nobody is left, since every method dominates itself here. At least one of cost and accuracy must be"
                " strictly better.": ~(cheaper & better).any(dim=0),
                "Here it is as if a method had to be strictly cheaper *and* strictly better to dominate. One of the two"
                " is enough, if the other is no worse.": ~(strictly_cheaper & strictly_better).any(dim=0),
                "Higher cost counts as better here. Lower cost is better.": _frontier(-c, a),
                "Lower accuracy counts as better here. Higher accuracy is better.": _frontier(c, -a),
            },
        )

    judge([1.0, 2.0, 3.0], [0.9, 0.6, 0.6], " (0 beats both others)")
    judge([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.5, 0.8, 0.4, 0.9, 0.7, 0.6], "")
    judge([1.0, 1.0, 2.0, 3.0], [0.5, 0.6, 0.6, 0.9], " (1 beats 0 at equal cost, and 2 at equal accuracy)")
    judge([2.0, 2.0, 1.0, 3.0], [0.7, 0.7, 0.4, 0.9], " (the first two are equal: neither beats the other)")


def _scan(cost: Tensor, accuracy: Tensor) -> Tensor:
    """In the order of cost, each method that is more accurate than all before it."""
    keep, best = torch.zeros(len(cost), dtype=torch.bool), -math.inf
    for i in cost.argsort(stable=True).tolist():
        if accuracy[i] > best:
            keep[i], best = True, float(accuracy[i])
    return keep


@fresh_arguments("comparison.frontier", any_container=True)
def draw_frontier(draw: torch.Generator) -> tuple[Tensor, Tensor]:
    methods = pick(draw, 10, 16)
    best = torch.arange(4)
    cost, accuracy = torch.randint(9, (2, methods), generator=draw)  # so few values that some are equal
    cost[:4], accuracy[:4] = best, 5 + best  # a frontier of four, one of them twice
    cost[4], accuracy[4] = cost[2], accuracy[2]
    order = torch.randperm(methods, generator=draw)
    return cost[order].float(), accuracy[order] / 10


@right_answer("comparison.frontier")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return _frontier(cost, accuracy)


@right_answer("comparison.frontier")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    methods = list(zip(cost.tolist(), accuracy.tolist(), strict=True))
    return torch.tensor([not any(c <= d and a >= b and (c, a) != (d, b) for c, a in methods) for d, b in methods])


@right_answer("comparison.frontier")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    keep = torch.ones(len(cost), dtype=torch.bool)
    for j in range(len(cost)):
        for i in range(len(cost)):
            no_worse = cost[i] <= cost[j] and accuracy[i] >= accuracy[j]
            if no_worse and (cost[i] < cost[j] or accuracy[i] > accuracy[j]):
                keep[j] = False
    return keep


@right_answer("comparison.frontier")
def _(cost: Tensor, accuracy: Tensor) -> object:
    c, a = cost.numpy(), accuracy.numpy()
    beaten = [((c <= d) & (a >= b) & ((c < d) | (a > b))).any() for d, b in zip(c, a, strict=True)]
    return ~np.array(beaten)


@right_answer("comparison.frontier")
def _(cost: Tensor, accuracy: Tensor) -> list[bool]:
    return _frontier(cost, accuracy).tolist()


@wrong_answer("comparison.frontier", hint="of the *same* cost")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return _scan(cost, accuracy)


@wrong_answer("comparison.frontier", hint="of the *same* cost")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return ~((cost[:, None] < cost) & (accuracy[:, None] >= accuracy)).any(dim=0)


@wrong_answer("comparison.frontier", hint="of the *same* accuracy")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return ~((cost[:, None] <= cost) & (accuracy[:, None] > accuracy)).any(dim=0)


@wrong_answer("comparison.frontier", hint="beat each other here")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    dominates = (cost[:, None] <= cost) & (accuracy[:, None] >= accuracy)
    return ~dominates.fill_diagonal_(False).any(dim=0)


@wrong_answer("comparison.frontier", hint="the cheapest and the most accurate")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return (cost == cost.min()) | (accuracy == accuracy.max())


@wrong_answer("comparison.frontier", hint="numbers of the methods")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return _frontier(cost, accuracy).nonzero().flatten()


@wrong_answer("comparison.frontier", hint="better in *either* respect")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return ~((cost[:, None] < cost) | (accuracy[:, None] > accuracy)).any(dim=0)


@wrong_answer("comparison.frontier", hint="Mark the others")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return ~_frontier(cost, accuracy)


@wrong_answer("comparison.frontier", hint="every method dominates itself")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return ~((cost[:, None] <= cost) & (accuracy[:, None] >= accuracy)).any(dim=0)


@wrong_answer("comparison.frontier", hint="One of the two is enough")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return ~((cost[:, None] < cost) & (accuracy[:, None] > accuracy)).any(dim=0)


@wrong_answer("comparison.frontier", hint="Higher cost counts as better")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return _frontier(-cost, accuracy)


@wrong_answer("comparison.frontier", hint="Lower accuracy counts as better")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return _frontier(cost, -accuracy)


@wrong_answer("comparison.frontier", hint="dominate nobody")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    strictly = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)
    return ~((cost[:, None] <= cost) & (accuracy[:, None] >= accuracy) & strictly).any(dim=1)


@wrong_answer("comparison.frontier", hint="most accurate method alone")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return accuracy == accuracy.max()


@wrong_answer("comparison.frontier", hint="cheapest method alone")
def _(cost: Tensor, accuracy: Tensor) -> Tensor:
    return cost == cost.min()


# ---------------------------------------------------------------------------------------------------------- break-even


def _break_even(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return math.inf if adapt_a >= adapt_b else max(0.0, (train_a - train_b) / (adapt_b - adapt_a))


@exercise(
    "comparison.break_even",
    lesson="06",
    title="From how many tasks on the more expensive training pays",
    points=2,
    equation="(6.7)",
    hints=(
        "Set the two total costs of (6.6) equal, and solve for n.",
        "train_a + n · adapt_a = train_b + n · adapt_b gives n = (train_a − train_b) / (adapt_b − adapt_a).",
        "Two cases come before that. If A saves nothing on a task (`adapt_a >= adapt_b`), return `math.inf`. Else, if"
        " its training is no more expensive, it pays from the first task on: `max(0.0, n)`.",
    ),
)
def check_break_even(answer: Callable[[float, float, float, float], float]) -> None:
    wanted = _break_even(50.0, 0.01, 40.0, 0.04)
    expect(
        answer(50.0, 0.01, 40.0, 0.04),
        wanted,
        case="For A with 50 s of training and 0.01 s per task, and B with 40 s and 0.04 s",
        slips={
            "(6.7) is not rounded: n is where both cost the same, and need not be a whole number.": 333.0,
            "(6.7) is not rounded up: n is where both cost the same, and need not be a whole number.": 334.0,
            "A and B are exchanged: A, the first two arguments, is the one that saves time on every task.": math.inf,
            "A saves 0.03 s on every task, so it pays from some task on. Compare its training with B's.": 0.0,
            "The sign: A's training costs 10 s more, and every task saves 0.03 s.": -wanted,
            "That divides the savings by the extra training: it is 1/n.": 1 / wanted,
            "You add the costs of a task. Take their *difference*: what A saves.": 10 / 0.05,
            "That divides A's whole training by what a task saves. B has to be trained too.": 50 / 0.03,
            "That divides by A's cost of a task. Divide by what A saves, compared with B.": 10 / 0.01,
            "That divides by B's cost of a task. Divide by what A saves.": 10 / 0.04,
            "You add the two trainings. Take their difference.": 90 / 0.03,
        },
        tolerance=1e-5,
    )
    expect(
        answer(100.0, 0.01, 40.0, 0.05),
        1500.0,
        case="For A with 100 s and 0.01 s, B with 40 s and 0.05 s",
        tolerance=1e-5,
    )
    expect(
        answer(40.0, 0.01, 100.0, 0.04),
        0.0,
        case="For A with 40 s and 0.01 s, B with 100 s and 0.04 s",
        slips={
            "A is cheaper in both, so it pays from the first task on: n is 0, not negative.": -2000.0,
            "A is cheaper in both. The absolute value hides that: n is 0.": 2000.0,
            "A is cheaper in both, so it pays from the first task on: n is 0, not infinite.": math.inf,
        },
        tolerance=1e-5,
    )
    for train_a, adapt_a, train_b in (
        (100.0, 0.05, 40.0),
        (100.0, 0.04, 40.0),
        (40.0, 0.05, 100.0),
        (40.0, 0.04, 100.0),
    ):
        with explained("division by zero", "If a task costs the same in both, A saves nothing either: `>=`, not `>`."):
            found = answer(train_a, adapt_a, train_b, 0.04)
        expect(
            found,
            math.inf,
            case=f"For A with {train_a:g} s and {adapt_a} s, B with {train_b:g} s and 0.04 s",
            slips={
                "A saves nothing on a task, and that comes first, whatever the trainings cost: return `math.inf`.": 0.0,
                "A saves nothing on a task: dividing by what it saves means nothing. Return `math.inf`.": 6000.0
                if train_a < train_b
                else -6000.0,
            },
        )


@fresh_arguments("comparison.break_even")
def draw_break_even(draw: torch.Generator) -> tuple[float, ...]:
    more, train_b = (100 + 50 * torch.rand(2, generator=draw)).tolist()
    adapt_a, saves = torch.rand(2, generator=draw).tolist()
    return train_b + more, adapt_a, train_b, 1 + adapt_a + saves


@fresh_arguments("comparison.break_even")
def draw_cheaper(draw: torch.Generator) -> tuple[float, ...]:
    """A is cheaper in both."""
    more, adapt_a, saves = (1 + torch.rand(3, generator=draw)).tolist()
    return 10 * adapt_a, adapt_a, 10 * adapt_a + more, adapt_a + saves


@fresh_arguments("comparison.break_even")
def draw_never(draw: torch.Generator) -> tuple[float, ...]:
    """A costs more on a task, and its training is cheaper."""
    train_a, more, adapt_b = (1 + torch.rand(3, generator=draw)).tolist()
    return train_a, adapt_b + 1, train_a + more, adapt_b


@fresh_arguments("comparison.break_even")
def draw_equal_tasks(draw: torch.Generator) -> tuple[float, ...]:
    """A task costs the same in both, and the training of A more."""
    train_b, more, adapt = (1 + torch.rand(3, generator=draw)).tolist()
    return train_b + more, adapt, train_b, adapt


@fresh_arguments("comparison.break_even")
def draw_never_and_expensive(draw: torch.Generator) -> tuple[float, ...]:
    """A costs more in both."""
    train_b, more, adapt_b = (1 + torch.rand(3, generator=draw)).tolist()
    return train_b + more, adapt_b + more, train_b, adapt_b


@right_answer("comparison.break_even")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    if adapt_a >= adapt_b:
        return math.inf
    return max(0.0, (train_a - train_b) / (adapt_b - adapt_a))


@right_answer("comparison.break_even")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    extra, saved = train_a - train_b, adapt_b - adapt_a
    if saved <= 0:
        return float("inf")
    return extra / saved if extra > 0 else 0.0


@right_answer("comparison.break_even")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> Tensor:
    extra, saved = torch.tensor(train_a - train_b), torch.tensor(adapt_b - adapt_a)
    return torch.where(saved > 0, (extra / saved).clamp(min=0), torch.tensor(math.inf))


@wrong_answer("comparison.break_even", hint="saves nothing either")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return math.inf if adapt_a > adapt_b else max(0.0, (train_a - train_b) / (adapt_b - adapt_a))


@wrong_answer("comparison.break_even", hint="The sign")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return (train_b - train_a) / (adapt_b - adapt_a)


@wrong_answer("comparison.break_even", hint="it is 1/n")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return (adapt_b - adapt_a) / (train_a - train_b)


@wrong_answer("comparison.break_even", hint="not rounded up")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    n = _break_even(train_a, adapt_a, train_b, adapt_b)
    return math.ceil(n) if math.isfinite(n) else n


@wrong_answer("comparison.break_even", hint="is not rounded:")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    n = _break_even(train_a, adapt_a, train_b, adapt_b)
    return int(n) if math.isfinite(n) else n


@wrong_answer("comparison.break_even", hint="A and B are exchanged")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return _break_even(train_b, adapt_b, train_a, adapt_a)


@wrong_answer("comparison.break_even", hint="The absolute value hides that")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return math.inf if adapt_a >= adapt_b else abs(train_a - train_b) / (adapt_b - adapt_a)


@wrong_answer("comparison.break_even", hint="that comes first")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    if train_a <= train_b:
        return 0.0
    return _break_even(train_a, adapt_a, train_b, adapt_b)


@wrong_answer("comparison.break_even", hint="dividing by what it saves means nothing")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    if train_a <= train_b and adapt_a < adapt_b:
        return 0.0
    return (train_a - train_b) / (adapt_b - adapt_a) if adapt_a != adapt_b else math.inf


@wrong_answer("comparison.break_even", hint="You add the costs of a task")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return (train_a - train_b) / (adapt_b + adapt_a)


@wrong_answer("comparison.break_even", hint="B has to be trained too")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return train_a / (adapt_b - adapt_a)


@wrong_answer("comparison.break_even", hint="n is 0, not negative")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return (train_a - train_b) / (adapt_b - adapt_a) if adapt_a < adapt_b else math.inf


@wrong_answer("comparison.break_even", hint="that comes first")
def _(train_a: float, adapt_a: float, train_b: float, adapt_b: float) -> float:
    return max(0.0, (train_a - train_b) / (adapt_b - adapt_a)) if adapt_a != adapt_b else 0.0


# ------------------------------------------------------------------------------------------------ which one, or neither

Comparison = tuple[Tensor, Tensor, dict[int, float]]  # accuracies of two methods `[S, I]`, and quantiles of t
Decide = Callable[[Tensor, Tensor, dict[int, float]], str]
EQUAL_LIMIT, POWER_LIMIT = 0.05, 0.7  # a rule may separate so many equal methods; it must see so many differences
CALM, LUCKY = 0.01, 0.06  # how far the trainings of a method scatter
GAP = 3.0  # a clear difference, in standard deviations of a seed's difference


def _comparisons(draw: torch.Generator, count: int, seeds: int, luck: float, gap: float) -> list[Comparison]:
    """Accuracies `[S, I]` of two methods, with 30 people in each seed, and the quantiles of t: `count` times.

    A seed's people are easy or hard for both methods, and so is each person. A training is luckier than another.

    luck: how far trainings of a method scatter.
    gap: by how many standard deviations of a seed's difference the first method is better.
    """
    people, own = 30, 0.04

    def chance(deviation: float, people: int) -> Tensor:
        return deviation * torch.randn(count, seeds, people, generator=draw, dtype=torch.float64)

    common = 0.5 + chance(0.08, 1) + chance(0.1, people)
    a, b = (common + chance(luck, 1) + chance(own, people) for _ in range(2))
    a = a + gap * math.sqrt(2 * (luck**2 + own**2 / people))
    return [(one, other, dict(T_QUANTILES)) for one, other in zip(a.clamp(0, 1), b.clamp(0, 1), strict=True)]


def _winner(difference: float, half: float) -> str:
    return "cannot tell" if abs(difference) <= half else "a" if difference > 0 else "b"


def _decide(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    d = (a - b).mean(dim=1)
    return _winner(d.mean().item(), t[len(d) - 1] * d.std().item() / math.sqrt(len(d)))


def _by_people(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    return _winner(*_paired(a.flatten(), b.flatten()))


def _over_people(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    return _winner(*_paired(a.mean(dim=0), b.mean(dim=0)))


def _normal_quantile(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    return _winner(*_paired(a.mean(dim=1), b.mean(dim=1)))


def _unpaired(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    one, other = a.mean(dim=1), b.mean(dim=1)
    variance = (one.var() + other.var()).item() / len(one)
    return _winner((one - other).mean().item(), t[len(one) - 1] * math.sqrt(variance))


def _apart(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    one, other = a.mean(dim=1), b.mean(dim=1)
    halves = t[len(one) - 1] * (one.std() + other.std()).item() / math.sqrt(len(one))
    return _winner((one - other).mean().item(), halves)


def _of_a_seed(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    d = (a - b).mean(dim=1)
    return _winner(d.mean().item(), t[len(d) - 1] * d.std().item())


def _all_seeds(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    d = (a - b).mean(dim=1)
    return _winner(d.mean().item(), 0.0 if (d > 0).all() or (d < 0).all() else math.inf)


SLIPS_OF_DECIDING: dict[str, Decide] = {
    "Your interval is over the people of all seeds in one heap. All people of a seed share its two trainings, so they"
    " are not independent: first take the mean difference of each seed.": _by_people,
    "You average over seeds and count people. Person i of one seed is not person i of the next: average over the people"
    " of a seed, `dim=1`.": _over_people,
    "1.96 is for many numbers. With three or five seeds take Student's t.": _normal_quantile,
    "The variances of a and b are added. Both methods met the same people: take the differences first.": _unpaired,
    "You wait until the two intervals do not overlap. Take the interval of the differences, (6.3).": _apart,
    "√S is missing: that interval is for another single seed, not for the mean.": _of_a_seed,
    "Seeds that all point in one direction are not enough: of three, all do in one of four cases.": _all_seeds,
    "A mean difference is never exactly 0, so you always name a winner.": lambda a, b, t: _winner(
        (a - b).mean().item(), 0.0
    ),
    "You never name a winner. That is never wrong, and of no use.": lambda a, b, t: "cannot tell",
    "The winner is the wrong one: a is better where a − b is above 0.": lambda a, b, t: _decide(b, a, t),
}


def _judge_rule(answer: Decide, draw: torch.Generator, equal: int, better: int) -> None:
    """Raise `Wrong` unless the rule is seldom wrong about equal methods, and sees most clear differences.

    Equal methods are judged by the number of seeds, and by how far trainings scatter: a rule may not be wrong where
    it is easy to be wrong, and make up for it elsewhere.

    draw: of the comparisons.
    equal: how many have no difference, of each number of seeds with each scatter.
    better: in how many of each the first method, and in how many the second one, is clearly better.
    """
    kinds = [(seeds, luck) for seeds in (3, 5) for luck in (CALM, LUCKY)]
    given = {
        (kind, gap): _comparisons(draw, better if gap else equal, *kind, gap)
        for kind in kinds
        for gap in (0, GAP, -GAP)
    }
    said = {key: [answer(*one) for one in several] for key, several in given.items()}
    for one in itertools.chain(*said.values()):
        if one not in ("a", "b", "cannot tell"):
            expect(
                one, "cannot tell", case='It may say "a", "b" or "cannot tell". For two methods that are equally good'
            )
    false = {kind: sum(one != "cannot tell" for one in said[kind, 0]) for kind in kinds}
    judged: list[tuple[int, int, tuple[int, float | None]]] = [(one, equal, kind) for kind, one in false.items()]
    judged += [(sum(false[seeds, luck] for luck in (CALM, LUCKY)), 2 * equal, (seeds, None)) for seeds in (3, 5)]
    # With more, a rule that is wrong in 5% would fail by chance, in each of the six, once in 100,000 times at the most.
    limits = {count: float(stats.binom.ppf(1 - 1e-5, count, EQUAL_LIMIT)) for count in (equal, 2 * equal)}
    worst, count, (seeds, luck) = max(judged, key=lambda one: one[0] / limits[one[1]])
    right = [one == ("a" if gap > 0 else "b") for (_, gap), several in said.items() if gap for one in several]
    seen = sum(right) / len(right)
    if worst <= limits[count] and seen >= POWER_LIMIT - 1 / math.sqrt(len(right)):
        return
    slip = next(
        (
            words
            for words, rule in SLIPS_OF_DECIDING.items()
            if all([rule(*one) for one in several] == said[key] for key, several in given.items())
        ),
        "",
    )
    scatter = {None: "", CALM: ", whose trainings scatter little", LUCKY: ", whose trainings scatter much"}[luck]
    raise Wrong(
        f"In {count} comparisons with {seeds} seeds of methods that are equally good{scatter}, it names a winner in"
        f" {100 * worst / count:.0f} %. Wanted: at most {100 * EQUAL_LIMIT:.0f} %. (By chance up to"
        f" {100 * limits[count] / count:.0f} % pass.)\n"
        f"In {len(right)} comparisons where one is better by {GAP:.0f} standard deviations of a seed's difference, it"
        f" names that one in {100 * seen:.0f} %. A good rule does in more than {100 * POWER_LIMIT:.0f} %.\n{slip}"
    )


@exercise(
    "comparison.decide",
    lesson="06",
    title="Which of two methods to ship, or neither",
    points=3,
    equation="(6.4)",
    hints=(
        "What is independent of what? Two people of one seed share the two trainings; two seeds share nothing. So make"
        " one number of each seed.",
        "`d = (a - b).mean(dim=1)` is one difference for each seed. Its interval is (6.4), with `t[len(d) - 1]`.",
        'Name "a" or "b" where the interval leaves out 0: if `d.mean()` is above the half width, or below minus it.',
    ),
)
def check_decide(answer: Decide) -> None:
    _judge_rule(answer, generator(0), equal=300, better=15)


@fresh_check("comparison.decide")
def check_fresh_decisions(answer: Decide, draw: torch.Generator) -> None:
    _judge_rule(answer, draw, equal=300, better=15)


right_answer("comparison.decide")(_decide)


@right_answer("comparison.decide")
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    """Follow the wider of two intervals: over seeds, and over people within them."""
    d = (a - b).double().numpy()
    seeds = d.mean(axis=1)
    over_seeds = t[len(seeds) - 1] * seeds.std(ddof=1) / len(seeds) ** 0.5
    over_people = 1.96 * (d - seeds[:, None]).std(ddof=1) / d.size**0.5
    half = max(over_seeds, over_people)
    return "a" if seeds.mean() > half else "b" if seeds.mean() < -half else "cannot tell"


@right_answer("comparison.decide")
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    differences = [float((one - other).mean()) for one, other in zip(a, b, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    return "cannot tell" if abs(mean) <= t[n - 1] * error else "a" if mean > 0 else "b"


for words, rule in SLIPS_OF_DECIDING.items():
    wrong_answer("comparison.decide", hint=words)(rule)


@wrong_answer("comparison.decide", hint="with 3 seeds")
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    """Has the t of five seeds for three."""
    d = (a - b).mean(dim=1)
    return _winner(d.mean().item(), t[4] * d.std().item() / math.sqrt(len(d)))


@wrong_answer("comparison.decide", hint="whose trainings scatter much, it names a winner in")
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    """Has one threshold for all."""
    return _winner((a - b).mean().item(), 0.05)


@wrong_answer("comparison.decide", hint="A good rule does in more than 70 %")
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    """Has one threshold, and a high one."""
    return _winner((a - b).mean().item(), 0.1)


@wrong_answer("comparison.decide", hint="A good rule does in more than 70 %")
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    """Never names b."""
    return _decide(a, b, t) if a.mean() > b.mean() else "cannot tell"


@wrong_answer("comparison.decide", hint='It may say "a", "b" or "cannot tell"')
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> float:
    return (a - b).mean().item()


@wrong_answer("comparison.decide", hint="it names a winner in")
def _(a: Tensor, b: Tensor, t: dict[int, float]) -> str:
    """Reads the best seed alone."""
    d = (a - b).mean(dim=1)
    return _winner(d[d.abs().argmax()].item(), 0.05)
