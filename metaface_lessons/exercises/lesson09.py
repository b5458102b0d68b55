"""The exercises of lesson 09, adapting to task and environment."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .core import (
    Wrong,
    describe,
    exercise,
    expect,
    fresh_arguments,
    fresh_check,
    generator,
    gradient,
    pick,
    right_answer,
    wrong_answer,
)

Pair = tuple[Tensor, Tensor]


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


# ------------------------------------------------------------------------------------------------- a head of prototypes


def _centres(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].mean(0) for k in range(ways)])


def _head(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    c = _centres(points, labels, ways)
    return 2 * c / temperature, -c.square().sum(1) / temperature


@exercise(
    "adaptation.head",
    lesson="09",
    title="A linear head that classifies as the prototypes do",
    points=2,
    equation="(9.2)",
    hints=(
        "Begin with the prototypes, the mean embedding of each class: `points[labels == k].mean(0)`, stacked over k.",
        "Multiply −‖f − c‖²/τ out, and drop the term that does not depend on k. The factor of f is the weight, the term"
        " without f is the bias.",
        "`2 * c / temperature` and `-c.square().sum(1) / temperature`, with c `[N, D]`.",
    ),
)
def check_head(answer: Callable[[Tensor, Tensor, int, float], Pair]) -> None:
    def judge(points: Tensor, labels: Tensor, ways: int, temperature: float, case: str) -> None:
        c, t = _centres(points, labels, ways), temperature
        count = torch.bincount(labels, minlength=ways)[:, None]
        w, b = _head(points, labels, ways, t)
        expect(
            answer(points, labels, ways, t),
            (w, b),
            case=case,
            slips={
                "The factor 2 is missing: the cross term of ‖f − c‖² is −2·f·c.": (w / 2, b),
                "The sign of the bias: −‖f − c‖² has the term −‖c‖².": (w, -b),
                "The sign of the weights: the distance is subtracted, so its cross term −2·f·c becomes +2·f·c.": (
                    -w,
                    b,
                ),
                "That is ‖c‖ in the bias, without the square.": (w, -c.norm(dim=1) / t),
                "The temperature is missing: it divides both the weights and the biases.": (w * t, b * t),
                "The temperature divides the biases too.": (w, b * t),
                "The temperature divides the weights too.": (w * t, b),
                "You multiply by the temperature. Divide by it.": (w * t * t, b * t * t),
                "You divide the prototypes by τ and square them then, so the bias has τ². Divide after you square.": (
                    w,
                    b / t,
                ),
                "Your weights come from the sum of each class. The prototype is its mean.": (
                    2 * c * count / t,
                    -(c * count).square().sum(1) / t,
                ),
                "Your bias sums over the classes. Sum over the coordinates.": (w, -c.square().sum(0) / t),
                "Your bias is the mean over the coordinates. ‖c‖² is the sum over them.": (w, -c.square().mean(1) / t),
                "Your bias is the mean of ‖f‖² over the examples. Average first: it is ‖c‖² of the prototype c.": (
                    w,
                    -_centres(points.square().sum(1), labels, ways) / t,
                ),
            },
        )

    points = torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, 4.0], [5.0, 1.0]])
    judge(
        points,
        torch.tensor([0, 0, 1, 2]),
        3,
        4.0,
        "For four points of three people, two of them of the first, and τ = 4",
    )
    labels = torch.arange(4).repeat(3)
    judge(_normal(12, 4, seed=1), labels, 4, 10.0, "For four people with three images each, label after label")

    moving = _normal(6, 5, seed=2).requires_grad_()
    weight, bias = answer(moving, torch.arange(3).repeat(2), 3, 5.0)
    lost = "the outer loop could not learn through the head, which is the second way in (9.3)"
    ours = gradient(weight.sum() + bias.sum(), moving, lost)
    w, b = _head(moving, torch.arange(3).repeat(2), 3, 5.0)
    if not torch.allclose(ours, gradient(w.sum() + b.sum(), moving, lost).to(ours), rtol=1e-3, atol=1e-5):
        raise Wrong(
            "The numbers are right, but part of the gradient is lost: weights and biases both depend on the prototypes."
            " Is one of them detached?"
        )


@fresh_arguments("adaptation.head")
def draw_head(draw: torch.Generator) -> tuple[Tensor, Tensor, int, float]:
    ways = pick(draw, 2, 5)
    labels = torch.cat([torch.arange(ways), torch.randint(ways, (2 * ways,), generator=draw)])
    labels = labels[torch.randperm(len(labels), generator=draw)]
    points = torch.randn(len(labels), pick(draw, 2, 5), generator=draw).requires_grad_()
    return points, labels, ways, 2 + 6 * float(torch.rand((), generator=draw))


@right_answer("adaptation.head")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    return _head(points, labels, ways, temperature)


@right_answer("adaptation.head")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    member = torch.nn.functional.one_hot(labels, ways).to(points.dtype)
    c = member.T @ points / member.sum(0)[:, None]
    return 2 / temperature * c, -(c * c).sum(-1) / temperature


@right_answer("adaptation.head")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> list[Tensor]:
    rows = []
    for k in range(ways):
        mine = [points[i] for i in range(len(points)) if labels[i] == k]
        rows.append(torch.stack(mine).sum(0) / len(mine))
    c = torch.stack(rows)
    return [c.mul(2).div(temperature), -torch.einsum("nd,nd->n", c, c) / temperature]


@wrong_answer("adaptation.head", hint="so the bias has τ²")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    c = _centres(points, labels, ways) / temperature
    return 2 * c, -c.square().sum(1)


@wrong_answer("adaptation.head", hint="You multiply by the temperature")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    c = _centres(points, labels, ways)
    return 2 * c * temperature, -c.square().sum(1) * temperature


@wrong_answer("adaptation.head", hint="mean of ‖f‖²")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    length2 = torch.stack([points[labels == k].square().sum(1).mean() for k in range(ways)])
    return _head(points, labels, ways, temperature)[0], -length2 / temperature


@wrong_answer("adaptation.head", hint="factor 2 is missing")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    w, b = _head(points, labels, ways, temperature)
    return w / 2, b


@wrong_answer("adaptation.head", hint="sign of the bias")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    w, b = _head(points, labels, ways, temperature)
    return w, -b


@wrong_answer("adaptation.head", hint="sign of the weights")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    w, b = _head(points, labels, ways, temperature)
    return -w, b


@wrong_answer("adaptation.head", hint="without the square")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    c = _centres(points, labels, ways)
    return 2 * c / temperature, -c.norm(dim=1) / temperature


@wrong_answer("adaptation.head", hint="temperature is missing")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    return _head(points, labels, ways, 1.0)


@wrong_answer("adaptation.head", hint="divides the biases too")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    return _head(points, labels, ways, temperature)[0], _head(points, labels, ways, 1.0)[1]


@wrong_answer("adaptation.head", hint="The prototype is its mean")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    c = torch.stack([points[labels == k].sum(0) for k in range(ways)])
    return 2 * c / temperature, -c.square().sum(1) / temperature


@wrong_answer("adaptation.head", hint="mean over the coordinates")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    c = _centres(points, labels, ways)
    return 2 * c / temperature, -c.square().mean(1) / temperature


@wrong_answer("adaptation.head", hint="no gradient flows")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    return _head(points.detach(), labels, ways, temperature)


@wrong_answer("adaptation.head", hint="no gradient flows")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    head = torch.nn.Linear(points.shape[1], ways).to(points.dtype)
    weight, bias = _head(points, labels, ways, temperature)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return head.weight, head.bias


@wrong_answer("adaptation.head", hint="part of the gradient is lost")
def _(points: Tensor, labels: Tensor, ways: int, temperature: float) -> Pair:
    w, b = _head(points, labels, ways, temperature)
    return w, b.detach()


# ------------------------------------------------------------------------------------------------------- learned rates


def _rates(support: Tensor, query: Tensor) -> tuple[Tensor, float]:
    return -support * query, -(support * query).sum().item()


@exercise(
    "adaptation.rates",
    lesson="09",
    title="What a learned rate learns from",
    points=2,
    equation="(9.7) and (9.8)",
    hints=(
        "φ_i = θ_i − a_i g_i. How does φ_i change if a_i does? And does any other weight?",
        "By the chain rule the derivative with respect to a_i is (∂L/∂φ_i)·(∂φ_i/∂a_i). The second factor is −g_i.",
        "A shared rate moves all of its weights, so add up: `-support * query`, and the sum of that.",
    ),
)
def check_rates(answer: Callable[[Tensor, Tensor], tuple[Tensor, float]]) -> None:
    def judge(support: Tensor, query: Tensor, case: str) -> None:
        each, shared = _rates(support, query)
        expect(
            answer(support, query),
            (each, shared),
            case=case,
            slips={
                "The sign: a step goes *against* the gradient, φ = θ − a∘g, and so ∂φ/∂a is −g.": (-each, -shared),
                "The sign of the second: it is the sum of the first, with its minus.": (each, -shared),
                "That is the mean over the layer. A shared rate moves all of its weights: take the sum.": (
                    each,
                    shared / len(each),
                ),
                "You use the support gradient twice. One factor is the gradient of the *queries*.": (
                    -(support**2),
                    -(support**2).sum().item(),
                ),
                "That is the query gradient alone. A rate moves its weight along the support gradient: multiply.": (
                    -query,
                    -query.sum().item(),
                ),
                "The second is the product of two sums. It is the sum of the products, of the first.": (
                    each,
                    -(support.sum() * query.sum()).item(),
                ),
            },
        )

    judge(torch.tensor([2.0, -1.0, 3.0]), torch.tensor([1.0, 4.0, 0.5]), "For g = [2, −1, 3] and h = [1, 4, 0.5]")
    judge(_normal(7, seed=3), _normal(7, seed=4), "For seven weights")


@fresh_arguments("adaptation.rates")
def draw_rates(draw: torch.Generator) -> Pair:
    support, query = torch.randn(2, pick(draw, 3, 9), generator=draw)
    return support, query


@right_answer("adaptation.rates")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    each = -support * query
    return each, each.sum()


@right_answer("adaptation.rates")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, float]:
    return (support * query).neg(), float(-(support @ query))


@right_answer("adaptation.rates")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    a = torch.zeros_like(support, requires_grad=True)
    moved = (query * (-a * support)).sum()  # the queries' loss, to first order
    (each,) = torch.autograd.grad(moved, a)
    return each, each.sum()


@wrong_answer("adaptation.rates", hint="The sign of the second")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -support * query, (support * query).sum()


@wrong_answer("adaptation.rates", hint="The sign")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return support * query, (support * query).sum()


@wrong_answer("adaptation.rates", hint="mean over the layer")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -support * query, -(support * query).mean()


@wrong_answer("adaptation.rates", hint="the support gradient twice")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -(support**2), -(support**2).sum()


@wrong_answer("adaptation.rates", hint="query gradient alone")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -query, -query.sum()


@wrong_answer("adaptation.rates", hint="is the product of two sums")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -support * query, -support.sum() * query.sum()


# ----------------------------------------------------------------------------------------------------------- statistics


def _blend(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    n = len(x)
    new_variance, new_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    return (prior * mean + n * new_mean) / (prior + n), (prior * variance + n * new_variance) / (prior + n)


@exercise(
    "adaptation.statistics",
    lesson="09",
    title="The statistics of a new camera, from a few images",
    points=2,
    equation="(9.11)",
    hints=(
        "A channel has one mean and one variance, over images, height and width: over the axes 0, 2 and 3.",
        "n is the number of images, `len(x)`. The old statistics count as n₀ images, the new ones as n.",
        "`new = x.mean((0, 2, 3))`, then `(prior * mean + n * new) / (prior + n)`. Do the same with the variance,"
        " `x.var((0, 2, 3), correction=0)`.",
    ),
)
def check_statistics(answer: Callable[[Tensor, Tensor, Tensor, float], Pair]) -> None:
    def judge(x: Tensor, mean: Tensor, variance: Tensor, prior: float, case: str) -> None:
        n, values = len(x), x[:, 0].numel()
        new_variance, new_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)

        def mixed(share: float) -> Pair:
            return torch.lerp(mean, new_mean, share), torch.lerp(variance, new_variance, share)

        blended, spread = _blend(x, mean, variance, prior)

        def with_variance(new: Tensor) -> Pair:
            return blended, (prior * variance + n * new) / (prior + n)

        expect(
            answer(x, mean, variance, prior),
            (blended, spread),
            case=case,
            slips={
                "The weights are exchanged: n₀ belongs to the old statistics, n to the new ones.": mixed(
                    prior / (prior + n)
                ),
                "You count pixels. n is the number of images: the pixels of one image are far from independent.": mixed(
                    values / (prior + values)
                ),
                "Those are the new statistics alone. The old ones are missing.": mixed(1.0),
                "Those are the old statistics alone. The new images are missing.": mixed(0.0),
                "You return a standard deviation. The variance is asked for.": (blended, spread.sqrt()),
                "Your variance divides by one less than the number (PyTorch's default). A normalisation divides by the"
                " number: `correction=0`.": with_variance(x.var((0, 2, 3))),
                "You blend the new standard deviation. Blend the new variance.": with_variance(new_variance.sqrt()),
                "You average the variances of the single images. Take one variance over all images.": with_variance(
                    x.var((2, 3), correction=0).mean(0)
                ),
                "Your variance is about the *old* mean. Take the variance of the new images about their own mean.": (
                    with_variance((x - mean[:, None, None]).square().mean((0, 2, 3)))
                ),
                "You add the spread between the two means, as for two pooled groups. (9.11) leaves it out.": (
                    blended,
                    spread + prior * n / (prior + n) ** 2 * (mean - new_mean).square(),
                ),
                "You give both the same weight. The weights are n₀ and n.": mixed(0.5),
                "You blend standard deviations and square them. Blend the variances.": (
                    blended,
                    ((prior * variance.sqrt() + n * new_variance.sqrt()) / (prior + n)).square(),
                ),
            },
        )

    x = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]])  # two images of one channel, 1×2
    judge(
        x, torch.tensor([0.0]), torch.tensor([1.0]), 6.0, "For two images of 1×2 pixels, [1, 3] and [5, 7], and n₀ = 6"
    )
    draw = _normal(4, 3, 2, 2, seed=5)
    judge(2 * draw + 1, _normal(3, seed=6), _normal(3, seed=7).square() + 0.5, 9.0, "For four images of three channels")
    judge(draw, torch.zeros(3), torch.ones(3), 0.0, "With n₀ = 0, the images alone")


@fresh_arguments("adaptation.statistics")
def draw_statistics(draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    channels, moved = pick(draw, 2, 4), 1 + torch.rand((), generator=draw)
    x = torch.randn(pick(draw, 2, 6), channels, pick(draw, 2, 3), pick(draw, 2, 3), generator=draw)
    x = x + torch.randn(len(x), 1, 1, 1, generator=draw)  # brighter images, and darker ones
    mean, variance = torch.randn(channels, generator=draw), 0.5 + torch.rand(channels, generator=draw)
    return 2 * x + moved, mean, variance, 1 + 8 * float(torch.rand((), generator=draw))


@right_answer("adaptation.statistics")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    return _blend(x, mean, variance, prior)


@right_answer("adaptation.statistics")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    share = len(x) / (len(x) + prior)
    new = x.mean((0, 2, 3))
    spread = x.square().mean((0, 2, 3)) - new.square()
    return mean.lerp(new, share), variance.lerp(spread, share)


@right_answer("adaptation.statistics")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    n, channels = len(x), x.transpose(0, 1).flatten(1)
    return (
        (prior * mean + n * channels.mean(1)) / (prior + n),
        (prior * variance + n * channels.var(1, unbiased=False)) / (prior + n),
    )


@wrong_answer("adaptation.statistics", hint="new standard deviation")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    n = len(x)
    new = x.std((0, 2, 3), correction=0)
    return _blend(x, mean, variance, prior)[0], (prior * variance + n * new) / (prior + n)


@wrong_answer("adaptation.statistics", hint="variances of the single images")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    n = len(x)
    new = x.var((2, 3), correction=0).mean(0)
    return _blend(x, mean, variance, prior)[0], (prior * variance + n * new) / (prior + n)


@wrong_answer("adaptation.statistics", hint="about the *old* mean")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    n = len(x)
    new = (x - mean[:, None, None]).square().mean((0, 2, 3))
    return _blend(x, mean, variance, prior)[0], (prior * variance + n * new) / (prior + n)


@wrong_answer("adaptation.statistics", hint="as for two pooled groups")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    blended, spread = _blend(x, mean, variance, prior)
    share = len(x) / (prior + len(x))
    return blended, spread + share * (1 - share) * (mean - x.mean((0, 2, 3))).square()


@wrong_answer("adaptation.statistics", hint="The weights are exchanged")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    new_variance, new_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    n = len(x)
    return (n * mean + prior * new_mean) / (prior + n), (n * variance + prior * new_variance) / (prior + n)


@wrong_answer("adaptation.statistics", hint="You count pixels")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    new_variance, new_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    n = x[:, 0].numel()
    return (prior * mean + n * new_mean) / (prior + n), (prior * variance + n * new_variance) / (prior + n)


@wrong_answer("adaptation.statistics", hint="new statistics alone")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    return _blend(x, mean, variance, 0.0)


@wrong_answer("adaptation.statistics", hint="You return a standard deviation")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    blended, spread = _blend(x, mean, variance, prior)
    return blended, spread.sqrt()


@wrong_answer("adaptation.statistics", hint="one less than the number")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    n = len(x)
    return _blend(x, mean, variance, prior)[0], (prior * variance + n * x.var((0, 2, 3))) / (prior + n)


@wrong_answer("adaptation.statistics", hint="You give both the same weight")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    return _blend(x, mean, variance, float(len(x)))


# ----------------------------------------------------------------------------------------- when to trust the new images

KEEP = math.inf  # images for which the old statistics count, if the new ones do not count at all
_CONSTANT = (0.0, 1.0, 3.0, 10.0, 30.0, KEEP)
_DEPLOYMENTS, _CHANNELS, _PEOPLE, _ASKED = 40, 12, 20, 3


@dataclass(frozen=True)
class _Deployments:
    """People enrolled with the usual camera, asked about by one that may be new, and images that nobody has named.

    new: whether the camera is a new one, bool `[D]`.
    images: of each deployment, the unlabelled ones, as a normalisation sees them, `[n, C, 4, 4]`.
    old: mean and variance of training, `[D, C]` each.
    gallery, queries: what the normalisation sees, averaged over an image, `[D, N, C]` and `[D, N·Q, C]`.
    """

    new: Tensor
    images: list[Tensor]
    old: Pair
    gallery: Tensor
    queries: Tensor

    def accuracy(self, priors: Tensor) -> float:
        """The share of queries that are nearest to their own person, if theirs are the statistics of (9.11).

        priors: n₀ of each deployment, `[D]`.
        """
        number = torch.tensor([len(x) for x in self.images])
        share = (number / (number + priors))[:, None]
        spread, level = map(
            torch.stack, zip(*(torch.var_mean(x, (0, 2, 3), correction=0) for x in self.images), strict=True)
        )
        asked = _normalised(self.queries, self.old[0].lerp(level, share), self.old[1].lerp(spread, share))
        nearest = torch.cdist(asked, _normalised(self.gallery, *self.old)).argmin(-1)
        return float((nearest == torch.arange(_PEOPLE).repeat_interleave(_ASKED)).float().mean())


def _normalised(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (x - mean[:, None]) / (variance[:, None] + 1e-5).sqrt()


def _deployments(draw: torch.Generator) -> _Deployments:
    """Every other one has a new camera, which scales and shifts each channel; the number of images does not show it."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    faces = normal(_DEPLOYMENTS, _PEOPLE, _CHANNELS)
    gallery, queries = (
        x + 0.4 * normal(*x.shape) + 0.5 * normal(*x.shape)  # the light, and the mean of 16 pixels
        for x in (faces, faces.repeat_interleave(_ASKED, dim=1))
    )
    new = torch.arange(_DEPLOYMENTS) % 2 == 1
    level, width = 2 * normal(_DEPLOYMENTS, _CHANNELS), (0.5 * normal(_DEPLOYMENTS, _CHANNELS)).exp()  # usual camera
    scale = torch.where(new[:, None], (0.3 * normal(_DEPLOYMENTS, _CHANNELS)).exp(), 1.0)
    shift = torch.where(new[:, None], 2.5 * normal(_DEPLOYMENTS, _CHANNELS), 0.0)
    images = []
    for d in range(_DEPLOYMENTS):
        others = normal(pick(draw, 2, 5), _CHANNELS, 1, 1)
        others = others + 0.4 * normal(*others.shape) + 2.0 * normal(*others.shape[:2], 4, 4)
        moved = scale[d, :, None, None] * others + shift[d, :, None, None]
        images.append(level[d, :, None, None] + width[d, :, None, None] * moved)
    old = level, (1 + 0.4**2 + 2.0**2) * width.square()
    gallery = level[:, None] + width[:, None] * gallery
    queries = level[:, None] + width[:, None] * (scale[:, None] * queries + shift[:, None])
    return _Deployments(new, images, old, gallery, queries)


def _judge_priors(answer: Callable[[Tensor, Tensor, Tensor], float], draw: torch.Generator) -> None:
    found = _deployments(draw)
    priors = [_number(answer(x, mean, spread)) for x, mean, spread in zip(found.images, *found.old, strict=True)]
    if not all(prior >= 0 for prior in priors):
        wrong = next(prior for prior in priors if not prior >= 0)
        raise Wrong(f"You return {wrong:g}. n₀ is a number of images: 0 or more, math.inf to keep the old statistics.")
    constant = {n: found.accuracy(torch.full((_DEPLOYMENTS,), n)) for n in _CONSTANT}
    knows = found.accuracy(torch.where(found.new, 0.0, KEEP))
    best = max(constant, key=lambda n: constant[n])
    yours = found.accuracy(torch.tensor(priors))
    needed = (constant[best] + knows) / 2
    if yours >= needed:
        return
    by_number: dict[int, set[float]] = {}
    for x, prior in zip(found.images, priors, strict=True):
        by_number.setdefault(len(x), set()).add(prior)
    usual, changed = (
        statistics.median(p for p, n in zip(priors, found.new, strict=True) if n == new) for new in (0, 1)
    )
    if len(set(priors)) == 1:
        why = "Your n₀ is the same everywhere. Let it depend on how far the new images are from the old statistics."
    elif all(len(several) == 1 for several in by_number.values()):
        why = "Your n₀ follows the number of images alone. As few images come from a new camera as from the usual one."
    elif usual < changed:
        why = "You trust the new images of the usual camera, and keep the old statistics for a new one: turn it round."
    else:
        why = "Often your n₀ is large for a new camera, or small for the usual one. Look at where the two kinds differ."
    raise Wrong(
        f"In {_DEPLOYMENTS} deployments your n₀ reaches {100 * yours:.1f} %. The best constant, n₀ = {best:g}, reaches"
        f" {100 * constant[best]:.1f} %. Somebody who knows which cameras are new reaches {100 * knows:.1f} %. Come at"
        f" least half way, to {100 * needed:.1f} %. {why}"
    )


def _number(value: object) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise Wrong(f"Return one number, n₀, but got {describe(value)}.")
    return float(value)


@exercise(
    "adaptation.prior",
    lesson="09",
    title="When a few new images are worth trusting",
    points=3,
    equation="(9.11)",
    hints=(
        "Is the difference between the mean of the images and the old mean more than chance would give? Measure it"
        " channel by channel, in units of the old standard deviation, and take the mean over the channels.",
        "If nothing has changed, the squared distance shrinks with the number of images: n times it is about a quarter"
        " of the old variance, because the pixels of an image average out. By a new camera it is much larger.",
        "`moved = ((x.mean((0, 2, 3)) - mean).square() / variance).mean()`. Return 0 where `len(x) * moved` is above"
        " 0.8, and `math.inf` elsewhere.",
    ),
)
def check_prior(answer: Callable[[Tensor, Tensor, Tensor], float]) -> None:
    _judge_priors(answer, generator(10))


@fresh_check("adaptation.prior")
def judge_fresh_priors(answer: Callable[[Tensor, Tensor, Tensor], float], draw: torch.Generator) -> None:
    _judge_priors(answer, draw)


def _shift(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return float(((x.mean((0, 2, 3)) - mean).square() / variance).mean())


@right_answer("adaptation.prior")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return 0.0 if _shift(x, mean, variance) > 0.4 else math.inf


@right_answer("adaptation.prior")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return 0 if len(x) * _shift(x, mean, variance) > 0.8 else 10_000


@right_answer("adaptation.prior")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    far = (x.mean((0, 2, 3)) - mean) / variance.sqrt()
    return 10 * torch.exp(-10 * (len(x) * far.square().mean() - 1))  # smooth


@wrong_answer("adaptation.prior", hint="the same everywhere")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return 0.0


@wrong_answer("adaptation.prior", hint="the same everywhere")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return 20.0


@wrong_answer("adaptation.prior", hint="the number of images alone")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return 12 / len(x)


@wrong_answer("adaptation.prior", hint="turn it round")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return math.inf if _shift(x, mean, variance) > 0.4 else 0.0


@wrong_answer("adaptation.prior", hint="least half way")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return 0.0 if float(x.mean()) > 0 else math.inf  # the old mean is forgotten


@wrong_answer("adaptation.prior", hint="0 or more")
def _(x: Tensor, mean: Tensor, variance: Tensor) -> float:
    return -1.0


# -------------------------------------------------------------------------------------------------------------- entropy


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


@exercise(
    "adaptation.entropy",
    lesson="09",
    title="How unsure a prediction is",
    points=2,
    equation="(9.12)",
    hints=(
        "`logits.softmax(-1)` gives p, one row per query. The sum of (9.12) runs over the people, the last axis.",
        "Where p is 0, log p is −∞, and 0 · −∞ is NaN. `log_softmax` computes log p without p.",
        "`-(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)`.",
    ),
)
def check_entropy(answer: Callable[[Tensor], Tensor]) -> None:
    def judge(logits: Tensor, case: str) -> None:
        h, p = _entropy(logits), logits.softmax(-1)
        expect(
            answer(logits),
            h,
            case=case,
            slips={
                "The sign: log p is negative, and an entropy is not.": -h,
                "That is the mean over the people. (9.12) sums over them.": h / logits.shape[-1],
                "That is in bits, with the logarithm of base 2. (9.12) has the natural one.": h
                / torch.log(torch.tensor(2.0)),
                "That is in units of log N. (9.12) divides by nothing.": h
                / torch.log(torch.tensor(float(logits.shape[-1]))),
                "That is −log of the largest p alone. (9.12) sums over all people.": -p.amax(-1).log(),
                "You sum over the queries. Each query has its own entropy: sum over the last axis.": -(p * p.log()).sum(
                    0
                ),
                "Your softmax runs over the queries, axis 0. It runs over the people, the last axis.": -(
                    logits.softmax(0) * logits.log_softmax(0)
                ).sum(-1),
                "That is the mean over the queries. Return one number for each.": h.mean(),
                "The weights p are missing: each log p is multiplied by its p.": -p.log().sum(-1),
            },
        )

    judge(torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 1.0]]), "For logits of four people, two queries")
    judge(2 * _normal(5, 3, seed=8), "For five queries of three people")
    sure = torch.tensor([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]])
    got: object = answer(sure)
    if isinstance(got, Tensor) and got.isnan().any():
        raise Wrong(
            "For the logits [1000, 0, −1000] your entropy is NaN: p is rounded to 0, and 0 · log 0 has no value. The"
            " limit is 0. Take log p from `log_softmax`."
        )
    expect(got, _entropy(sure), case="For the logits [1000, 0, −1000], a sure prediction, and [0, 0, 0]")

    lost = "section 6 descends the entropy, and could not"
    sure = torch.cat([sure, _normal(3, 3, seed=9)]).requires_grad_()
    slope = gradient(answer(sure), sure, lost)
    if slope.isnan().any():
        raise Wrong(
            "For the logits [1000, 0, −1000] your entropy is right, but its *gradient* is NaN, and section 6 descends"
            " it. Where p is 0, log p has no slope, even if you replace its value. Take log p from `log_softmax`."
        )
    expect(slope, gradient(_entropy(sure), sure, lost), case="The gradient with respect to the logits, (9.13)")


@fresh_arguments("adaptation.entropy")
def draw_entropy(draw: torch.Generator) -> tuple[Tensor]:
    return ((3 * torch.randn(pick(draw, 3, 5), pick(draw, 2, 6), generator=draw)).requires_grad_(),)


@fresh_arguments("adaptation.entropy", tolerance=1e-2)  # `log(p + 1e-8)` is a right answer
def draw_sure_entropy(draw: torch.Generator) -> tuple[Tensor]:
    """Logits so far apart that most probabilities are rounded to 0, and others."""
    logits = torch.randn(pick(draw, 3, 5), pick(draw, 3, 6), generator=draw)
    logits[1:] = 1000 * logits[1:]
    return (logits.requires_grad_(),)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    return _entropy(logits)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    p = logits.softmax(-1)
    return -(p * (p + 1e-8).log()).sum(-1)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    return torch.logsumexp(logits, -1) - (logits.softmax(-1) * logits).sum(-1)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=logits).entropy()


@wrong_answer("adaptation.entropy", hint="its *gradient* is NaN")
def _(logits: Tensor) -> Tensor:
    return torch.special.entr(logits.softmax(-1)).sum(-1)


@wrong_answer("adaptation.entropy", hint="its *gradient* is NaN")
def _(logits: Tensor) -> Tensor:
    p = logits.softmax(-1)
    return -(p * p.log()).nan_to_num(0).sum(-1)


@wrong_answer("adaptation.entropy", hint="no gradient flows")
def _(logits: Tensor) -> Tensor:
    return _entropy(logits.detach())


@wrong_answer("adaptation.entropy", hint="in units of log N")
def _(logits: Tensor) -> Tensor:
    return _entropy(logits) / torch.tensor(float(logits.shape[-1])).log()


@wrong_answer("adaptation.entropy", hint="over the queries, axis 0")
def _(logits: Tensor) -> Tensor:
    return -(logits.softmax(0) * logits.log_softmax(0)).sum(-1)


@wrong_answer("adaptation.entropy", hint="The sign")
def _(logits: Tensor) -> Tensor:
    return -_entropy(logits)


@wrong_answer("adaptation.entropy", hint="mean over the people")
def _(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).mean(-1)


@wrong_answer("adaptation.entropy", hint="in bits")
def _(logits: Tensor) -> Tensor:
    p = logits.softmax(-1)
    return -(p * p.log2()).sum(-1)


@wrong_answer("adaptation.entropy", hint="largest p")
def _(logits: Tensor) -> Tensor:
    return -logits.log_softmax(-1).amax(-1)


@wrong_answer("adaptation.entropy", hint="You sum over the queries")
def _(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(0)


@wrong_answer("adaptation.entropy", hint="mean over the queries")
def _(logits: Tensor) -> Tensor:
    return _entropy(logits).mean()


@wrong_answer("adaptation.entropy", hint="is NaN")
def _(logits: Tensor) -> Tensor:
    p = logits.softmax(-1)
    return -(p * p.log()).sum(-1)
