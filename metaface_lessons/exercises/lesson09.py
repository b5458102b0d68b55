"""The exercises of lesson 09, adapting to task and environment."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .core import Wrong, exercise, expect, fresh_arguments, generator, right_answer, wrong_answer

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
        "First the prototypes, the mean embedding of each class: `points[labels == k].mean(0)`, stacked over k.",
        "Multiply −‖f − c‖²/τ out, and drop what does not depend on k. What multiplies f is the weight, what is left is"
        " the bias.",
        "`2 * c / temperature` and `-c.square().sum(1) / temperature`, with c `[N, D]`.",
    ),
)
def check_head(answer: Callable[[Tensor, Tensor, int, float], Pair]) -> None:
    def judge(points: Tensor, labels: Tensor, ways: int, temperature: float, case: str) -> None:
        c, t = _centres(points, labels, ways), temperature
        count = torch.bincount(labels, minlength=ways)[:, None]
        w, b = _head(points, labels, ways, t)
        got: object = answer(points, labels, ways, t)
        expect(
            tuple(got) if isinstance(got, list) else got,
            (w, b),
            case=case,
            slips={
                "The factor 2 is missing: the cross term of ‖f − c‖² is −2·f·c.": (w / 2, b),
                "The sign of the bias: −‖c‖² stands in −‖f − c‖².": (w, -b),
                "The sign of the weights: the distance is subtracted, so its cross term −2·f·c becomes +2·f·c.": (
                    -w,
                    b,
                ),
                "That is ‖c‖ in the bias, without the square.": (w, -c.norm(dim=1) / t),
                "The temperature is missing: it divides weights and biases alike.": (w * t, b * t),
                "The temperature divides the biases too.": (w, b * t),
                "The temperature divides the weights too.": (w * t, b),
                "Those weights come from the sum of each class. The prototype is its mean.": (
                    2 * c * count / t,
                    -(c * count).square().sum(1) / t,
                ),
                "The bias sums over the classes instead of over the coordinates.": (w, -c.square().sum(0) / t),
                "The bias is the mean over the coordinates; ‖c‖² is their sum.": (w, -c.square().mean(1) / t),
            },
        )

    points = torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, 4.0], [5.0, 1.0]])
    judge(points, torch.tensor([0, 0, 1, 2]), 3, 2.0, "For four points of three people, the first of whom has two")
    labels = torch.arange(4).repeat(3)
    judge(_normal(12, 4, seed=1), labels, 4, 10.0, "For four people with three images each, label after label")

    moving = _normal(6, 5, seed=2).requires_grad_()
    weight, bias = answer(moving, torch.arange(3).repeat(2), 3, 5.0)
    through = weight.sum() + bias.sum() if isinstance(weight, Tensor) and isinstance(bias, Tensor) else None
    if through is None or not through.requires_grad:
        raise Wrong(
            "The numbers are right, but no gradient flows from the head back to the embeddings: that is the second"
            " way in (9.3).\nWhat cuts the graph: detach(), no_grad(), item(), numpy(), .data, torch.tensor(…) of"
            " results."
        )
    ours = torch.autograd.grad(through, moving)[0]
    same = moving.detach().requires_grad_()
    w, b = _head(same, torch.arange(3).repeat(2), 3, 5.0)
    if not torch.allclose(ours, torch.autograd.grad(w.sum() + b.sum(), same)[0], rtol=1e-3, atol=1e-5):
        raise Wrong(
            "The numbers are right, but part of the gradient is lost on its way back from the head: weights and biases"
            " both depend on the prototypes. Is one of them detached?"
        )


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
        "By the chain rule the derivative by a_i is (∂L/∂φ_i)·(∂φ_i/∂a_i), with −g_i for the second factor.",
        "A rate that several weights share moves all of them: add up. `-support * query`, and the sum of that.",
    ),
)
def check_rates(answer: Callable[[Tensor, Tensor], tuple[Tensor, float]]) -> None:
    def judge(support: Tensor, query: Tensor, case: str) -> None:
        each, shared = _rates(support, query)
        got: object = answer(support, query)
        if isinstance(got, list | tuple) and len(got) == 2 and isinstance(got[1], Tensor) and got[1].ndim == 0:
            got = got[0], got[1].item()
        expect(
            tuple(got) if isinstance(got, list) else got,
            (each, shared),
            case=case,
            slips={
                "The sign: a step goes *against* the gradient, φ = θ − a∘g, and so ∂φ/∂a is −g.": (-each, -shared),
                "That is the mean over the layer. A shared rate moves all of its weights: their sum.": (
                    each,
                    shared / len(each),
                ),
                "The support gradient stands there twice: what the *queries* say of the step is missing.": (
                    -(support**2),
                    -(support**2).sum().item(),
                ),
                "That is the query gradient alone. How far a rate moves its weight depends on the support gradient.": (
                    -query,
                    -query.sum().item(),
                ),
                "The second must be the sum of the first: of the products, not the product of two sums.": (
                    each,
                    -(support.sum() * query.sum()).item(),
                ),
            },
        )

    judge(torch.tensor([2.0, -1.0, 3.0]), torch.tensor([1.0, 4.0, 0.5]), "For g = [2, −1, 3] and h = [1, 4, 0.5]")
    judge(_normal(7, seed=3), _normal(7, seed=4), "For seven weights")


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


@wrong_answer("adaptation.rates", hint="The sign")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return support * query, (support * query).sum()


@wrong_answer("adaptation.rates", hint="mean over the layer")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -support * query, -(support * query).mean()


@wrong_answer("adaptation.rates", hint="stands there twice")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -(support**2), -(support**2).sum()


@wrong_answer("adaptation.rates", hint="query gradient alone")
def _(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return -query, -query.sum()


@wrong_answer("adaptation.rates", hint="not the product of two sums")
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
        "A channel has one mean and one variance: over images, height and width, that is over the axes 0, 2 and 3.",
        "n counts images, `len(x)`. The old statistics count for n₀ images, the new ones for n, and the weights sum to"
        " one.",
        "`new = x.mean((0, 2, 3))`, then `(prior * mean + n * new) / (prior + n)`; the variance likewise, with"
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
        unbiased = x.var((0, 2, 3))
        got: object = answer(x, mean, variance, prior)
        expect(
            tuple(got) if isinstance(got, list) else got,
            (blended, spread),
            case=case,
            slips={
                "The weights are the wrong way round: n₀ belongs to the old statistics, n to the new ones.": mixed(
                    prior / (prior + n)
                ),
                "That counts pixels. n is the number of images: the pixels of one are far from independent.": mixed(
                    values / (prior + values)
                ),
                "Those are the new statistics alone: the prior n₀ has no say in them.": mixed(1.0),
                "Those are the old statistics: the images have no say in them.": mixed(0.0),
                "That is a standard deviation where the variance is asked for.": (blended, spread.sqrt()),
                "That variance has one less in its denominator (PyTorch's default): a normalisation divides by their"
                " number. `correction=0`.": (blended, (prior * variance + n * unbiased) / (prior + n)),
                "That weighs both alike, whatever n and n₀ are.": mixed(0.5),
                "That blends standard deviations, and squares them. Blend the variances.": (
                    blended,
                    ((prior * variance.sqrt() + n * new_variance.sqrt()) / (prior + n)).square(),
                ),
            },
            tolerance=1e-5,
        )

    x = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]])  # two images of one channel, 1×2
    judge(
        x, torch.tensor([0.0]), torch.tensor([1.0]), 6.0, "For two images of 1×2 pixels, [1, 3] and [5, 7], and n₀ = 6"
    )
    draw = _normal(4, 3, 2, 2, seed=5)
    judge(2 * draw + 1, _normal(3, seed=6), _normal(3, seed=7).square() + 0.5, 9.0, "For four images of three channels")
    judge(draw, torch.zeros(3), torch.ones(3), 0.0, "With n₀ = 0, the images alone")


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


@wrong_answer("adaptation.statistics", hint="the wrong way round")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    new_variance, new_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    n = len(x)
    return (n * mean + prior * new_mean) / (prior + n), (n * variance + prior * new_variance) / (prior + n)


@wrong_answer("adaptation.statistics", hint="That counts pixels")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    new_variance, new_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    n = x[:, 0].numel()
    return (prior * mean + n * new_mean) / (prior + n), (prior * variance + n * new_variance) / (prior + n)


@wrong_answer("adaptation.statistics", hint="new statistics alone")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    return _blend(x, mean, variance, 0.0)


@wrong_answer("adaptation.statistics", hint="standard deviation where the variance")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    blended, spread = _blend(x, mean, variance, prior)
    return blended, spread.sqrt()


@wrong_answer("adaptation.statistics", hint="one less in its denominator")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    n = len(x)
    return _blend(x, mean, variance, prior)[0], (prior * variance + n * x.var((0, 2, 3))) / (prior + n)


@wrong_answer("adaptation.statistics", hint="weighs both alike")
def _(x: Tensor, mean: Tensor, variance: Tensor, prior: float) -> Pair:
    return _blend(x, mean, variance, float(len(x)))


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
        "`logits.softmax(-1)` gives p, one row per query; the sum of (9.12) runs over the people, the last axis.",
        "Where p is 0, log p is −∞, and 0 · −∞ is NaN. `log_softmax` computes log p without ever forming p.",
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
                "That is the mean over the people; (9.12) sums over them.": h / logits.shape[-1],
                "That is in bits, by the logarithm of base 2. (9.12) has the natural one.": h
                / torch.log(torch.tensor(2.0)),
                "That is −log of the largest p: how surprising the prediction itself would be.": -p.amax(-1).log(),
                "The sum runs over the queries. Each query has an entropy of its own: sum over the last axis.": -(
                    p * p.log()
                ).sum(0),
                "One number for each query is asked for; that is their mean.": h.mean(),
                "The weights p are missing: log p is averaged over the people, not over the prediction.": -p.log().sum(
                    -1
                ),
            },
        )

    judge(torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 1.0]]), "For logits of four people, two queries")
    judge(2 * _normal(5, 3, seed=8), "For five queries of three people")
    sure = torch.tensor([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]])
    got: object = answer(sure)
    if isinstance(got, Tensor) and got.isnan().any():
        raise Wrong(
            "For the logits [1000, 0, −1000] your entropy is NaN: p underflows to 0, and 0 · log 0 has no value. The"
            " limit is 0. Take log p from `log_softmax`."
        )
    expect(got, _entropy(sure), case="For the logits [1000, 0, −1000], a sure prediction, and [0, 0, 0]")


@fresh_arguments("adaptation.entropy")
def draw_entropy(draw: torch.Generator) -> tuple[Tensor]:
    return (3 * torch.randn(4, 6, generator=draw),)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    return _entropy(logits)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    return torch.special.entr(logits.softmax(-1)).sum(-1)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    return torch.logsumexp(logits, -1) - (logits.softmax(-1) * logits).sum(-1)


@right_answer("adaptation.entropy")
def _(logits: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=logits).entropy()


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


@wrong_answer("adaptation.entropy", hint="sum runs over the queries")
def _(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(0)


@wrong_answer("adaptation.entropy", hint="that is their mean")
def _(logits: Tensor) -> Tensor:
    return _entropy(logits).mean()


@wrong_answer("adaptation.entropy", hint="is NaN")
def _(logits: Tensor) -> Tensor:
    p = logits.softmax(-1)
    return -(p * p.log()).sum(-1)
