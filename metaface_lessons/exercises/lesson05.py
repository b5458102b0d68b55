"""The exercises of lesson 05, The debugging clinic: each gives a listing that runs and is wrong, and asks to fix it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, hessian, vmap
from torch.nn import functional as F

from .core import (
    NO_GRADIENT,
    Wrong,
    describe,
    exercise,
    expect,
    explained,
    fresh_arguments,
    fresh_check,
    generator,
    gradient,
    pick,
    right_answer,
    wrong_answer,
)
from .problems import Task, Weights, normed_loss, plain_loss, task_loss

EXACT = 1e-9  # of the meta-gradient, as the exercise says: float64 alone tells right from nearly right


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


# -------------------------------------------------------------------------------------------------------- protonet loss


def _prototypes(support: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([support[labels == k].mean(0) for k in range(int(labels.max()) + 1)])


def _squared(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None] - b).square().sum(-1)


def _protonet_loss(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy(-_squared(query, _prototypes(support, labels)), truth)


ProtoNetLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@exercise(
    "clinic.protonet_loss",
    lesson="05",
    title="From “the least of the greatest similarities” to a loss",
    points=2,
    equation="(5.11)",
    hints=(
        "Five things need a fix: the class mean instead of the most similar example, the square, the sign, the softmax,"
        " and the label, which the listing never reads.",
        "Begin with the prototypes: `support[labels == k].mean(0)` for each k. Then take squared distances [Q, N].",
        "Minus the squared distances are logits. The loss is then `F.cross_entropy(logits, truth)`.",
    ),
)
def check_protonet_loss(answer: ProtoNetLoss) -> None:
    support = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, 3.0]], dtype=torch.float64)
    labels, truth = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0])
    query = torch.tensor([[1.0, 1.0], [0.0, 2.0], [1.0, 2.5]], dtype=torch.float64)
    distances = _squared(query, _prototypes(support, labels))
    each = _squared(query, support)  # [Q, S]
    nearest = torch.stack([each[:, :2].min(1).values, each[:, 2:].min(1).values], dim=1)
    log_p, own = (-distances).log_softmax(1), (torch.arange(3), truth)
    result = answer(support, labels, query, truth)
    expect(
        result,
        float(F.cross_entropy(-distances, truth)),
        case="With two classes of two examples each, and three queries",
        slips={
            "The sign: logits are *minus* the distances. Your loss falls when a query moves away from its own"
            " prototype.": float(F.cross_entropy(distances, truth)),
            "The distance is not squared. That is another classifier, and the class mean is not its best prototype"
            " (lesson 02, section 4).": float(F.cross_entropy(-distances.sqrt(), truth)),
            "You still compare with the most similar example of each class, not with the class mean.": float(
                F.cross_entropy(-nearest, truth)
            ),
            "You still compare with the most similar example of each class, and the distance is not squared.": float(
                F.cross_entropy(-nearest.sqrt(), truth)
            ),
            "The true label is still not read: that is the loss of the class that looks best. It falls even when every"
            " answer is wrong.": float(F.cross_entropy(-distances, distances.argmin(1))),
            "The true label is still not read: that is the mean loss over all classes.": float(-log_p.mean()),
            "`[:, truth]` takes every label for every query. Take one entry per row: `[torch.arange(Q), truth]`.": (
                float(-log_p[:, truth].mean())
            ),
            "That is the mean distance to the own prototype. Nothing pushes away from the others, so the best embedding"
            " would put all faces into one point: the softmax is missing.": float(distances[own].mean()),
            "That is the mean of all distances: neither the true label nor a softmax is in it.": float(
                distances.mean()
            ),
            "You take the softmax twice: `cross_entropy` has one inside.": float(
                F.cross_entropy((-distances).softmax(1), truth)
            ),
            "Your softmax runs over the queries, axis 0. It runs over the classes, axis 1.": float(
                -(-distances).log_softmax(0)[own].mean()
            ),
            "The logarithm is missing: that is minus the mean probability.": float(-log_p.exp()[own].mean()),
            "The distance is the mean over the coordinates. Sum over them.": float(
                F.cross_entropy(-distances / 2, truth)
            ),
            "That is the sum over the queries. Take the mean.": float(
                F.cross_entropy(-distances, truth, reduction="sum")
            ),
            "That is the listing's own value: the least of the greatest similarities.": float(
                (-nearest.sqrt()).min(1).values.mean()
            ),
            "That compares by the cosine. It is another algorithm, with another prototype (2.23).": (
                float(F.cross_entropy(F.cosine_similarity(query[:, None], _prototypes(support, labels), dim=-1), truth))
            ),
        },
        tolerance=1e-5,
    )
    support, query = _normal(6, 3).requires_grad_(), _normal(4, 3, seed=1).requires_grad_()
    labels, truth = torch.tensor([2, 0, 1, 2, 0, 2]), torch.tensor([1, 2, 2, 0])
    wanted = _protonet_loss(support, labels, query, truth)
    result = answer(support, labels, query, truth)
    first_two = torch.stack([support[labels == k].sum(0) / 2 for k in range(3)])
    in_turn = torch.stack([support[labels == k].mean(0) for k in dict.fromkeys(labels.tolist())])
    expect(
        result,
        wanted.item(),
        case=f"With support labels {labels.tolist()}: 2, 1 and 3 examples, in any order",
        slips={
            "You divide every class by the same number.": F.cross_entropy(-_squared(query, first_two), truth).item(),
            "You take the classes in the order of their first examples, but prototype k belongs to label k.": (
                F.cross_entropy(-_squared(query, in_turn), truth).item()
            ),
        },
        tolerance=1e-5,
    )
    _flows(result, wanted, {"support": support, "query": query})
    far = 40 * _normal(3, 2, seed=3)
    result = answer(far, torch.arange(3), far.roll(1, 0), torch.arange(3))
    wanted = _protonet_loss(far, torch.arange(3), far.roll(1, 0), torch.arange(3))
    if isinstance(result, Tensor) and not result.isfinite().all():
        raise Wrong("With large distances the loss is infinite: exp(−2000) is rounded to 0. Use `log_softmax`.")
    expect(result, float(wanted), case="With large distances", tolerance=1e-5)


def _flows(result: Any, wanted: Tensor, sources: dict[str, Tensor]) -> None:
    """Raise `Wrong` unless `result` has the gradients of `wanted` with respect to the sources."""
    for name, source in sources.items():
        lost = f"nothing comes back to the {name} set, so the network could not learn from it"
        expect(
            gradient(result, source, lost),
            gradient(wanted, source, lost),
            case=f"The gradient with respect to the {name} set",
            tolerance=1e-5,
        )


def _fresh_protonet(draw: torch.Generator, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ways, size, queries = pick(draw, 2, 4), pick(draw, 2, 4), pick(draw, 4, 7)
    labels = torch.cat([torch.arange(ways), torch.randint(ways, (2 * ways,), generator=draw)])
    labels = labels[torch.randperm(len(labels), generator=draw)]
    support, query = (
        (scale * torch.randn(count, size, generator=draw, dtype=torch.float64)).requires_grad_()
        for count in (len(labels), queries)
    )
    return support, labels, query, torch.randint(ways, (queries,), generator=draw)


@fresh_arguments("clinic.protonet_loss")
def draw_protonet_loss(draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _fresh_protonet(draw, 1.0)


@fresh_arguments("clinic.protonet_loss")
def draw_large_protonet_loss(draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _fresh_protonet(draw, 40.0)


@right_answer("clinic.protonet_loss")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    ways = int(labels.max()) + 1
    centres = torch.stack([support[labels == k].mean(0) for k in range(ways)])
    return F.cross_entropy(-(query[:, None] - centres).square().sum(-1), truth)


@right_answer("clinic.protonet_loss")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    member = F.one_hot(labels).to(support.dtype)
    centres = member.T @ support / member.sum(0)[:, None]
    log_p = (2 * query @ centres.T - centres.square().sum(1)).log_softmax(1)  # (2.20)
    return -log_p[torch.arange(len(truth)), truth].mean()


@right_answer("clinic.protonet_loss")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    total = query.new_zeros(())
    for x, y in zip(query, truth, strict=True):
        d = torch.stack([((x - support[labels == k].mean(0)) ** 2).sum() for k in labels.unique()])
        total = total + d[y] + torch.logsumexp(-d, dim=0)
    return total / len(truth)


@wrong_answer("clinic.protonet_loss", hint="The sign")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy(_squared(query, _prototypes(support, labels)), truth)


@wrong_answer("clinic.protonet_loss", hint="not squared")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy(-torch.cdist(query, _prototypes(support, labels)), truth)


@wrong_answer("clinic.protonet_loss", hint="most similar example of each class, not with the class mean")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    similar = -_squared(query, support)
    best = torch.stack([similar[:, labels == k].max(1).values for k in labels.unique()], dim=1)
    return F.cross_entropy(best, truth)


@wrong_answer("clinic.protonet_loss", hint="the distance is not squared")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    similar = -(query[:, None] - support).norm(dim=-1)
    best = torch.stack([similar[:, labels == k].max(1).values for k in labels.unique()], dim=1)
    return F.cross_entropy(best, truth)


@wrong_answer("clinic.protonet_loss", hint="still not read")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    log_p = (-_squared(query, _prototypes(support, labels))).log_softmax(1)
    return -log_p.max(1).values.mean()


@wrong_answer("clinic.protonet_loss", hint="softmax is missing")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return _squared(query, _prototypes(support, labels)).gather(1, truth[:, None]).mean()


@wrong_answer("clinic.protonet_loss", hint="mean loss over all classes")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return -(-_squared(query, _prototypes(support, labels))).log_softmax(1).mean()


@wrong_answer("clinic.protonet_loss", hint="takes every label for every query")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return -(-_squared(query, _prototypes(support, labels))).log_softmax(1)[:, truth].mean()


@wrong_answer("clinic.protonet_loss", hint="over the queries, axis 0")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return F.nll_loss((-_squared(query, _prototypes(support, labels))).log_softmax(0), truth)


@wrong_answer("clinic.protonet_loss", hint="logarithm is missing")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return F.nll_loss((-_squared(query, _prototypes(support, labels))).softmax(1), truth)


@wrong_answer("clinic.protonet_loss", hint="mean over the coordinates")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy(-(query[:, None] - _prototypes(support, labels)).square().mean(-1), truth)


@wrong_answer("clinic.protonet_loss", hint="mean of all distances")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return _squared(query, _prototypes(support, labels)).mean()


@wrong_answer("clinic.protonet_loss", hint="softmax twice")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy((-_squared(query, _prototypes(support, labels))).softmax(1), truth)


@wrong_answer("clinic.protonet_loss", hint="by the same number")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    ways = int(labels.max()) + 1
    centres = F.one_hot(labels, ways).double().T @ support / (len(labels) // ways)
    return F.cross_entropy(-_squared(query, centres), truth)


@wrong_answer("clinic.protonet_loss", hint="order of their first examples")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    centres = torch.stack([support[labels == k].mean(0) for k in dict.fromkeys(labels.tolist())])
    return F.cross_entropy(-_squared(query, centres), truth)


@wrong_answer("clinic.protonet_loss", hint="back to the support set")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    return _protonet_loss(support.detach(), labels, query, truth)


@wrong_answer("clinic.protonet_loss", hint="loss is infinite")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    p = (-_squared(query, _prototypes(support, labels))).exp()
    return -(p / p.sum(1, keepdim=True)).gather(1, truth[:, None]).log().mean()


@wrong_answer("clinic.protonet_loss", hint="listing's own value")
def _(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
    similar = -(query[:, None] - support).norm(dim=-1)
    best = torch.stack([similar[:, labels == k].max(1).values for k in labels.unique()], dim=1)
    return best.min(1).values.mean()


# ----------------------------------------------------------------------------------------------------------- inner step

InnerStep = Callable[[Tensor, Tensor, int, float], Tensor]


def _first_step(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return -rate * (1 / ways - F.one_hot(y, ways).to(z.dtype)).T @ z / len(z)  # (1.19) at W = 0


@exercise(
    "clinic.inner_step",
    lesson="05",
    title="A head that learns",
    points=2,
    equation="(5.13)",
    hints=(
        "How many output units does a classifier of `ways` people need? With so many, every label fits as it is.",
        "With `W` of shape [ways, D] the loss is plain `F.cross_entropy(z @ W.T, y)`.",
        "A gradient is not an input. `torch.autograd.grad(loss, W)` returns a tuple of one. Multiply this gradient by"
        " the rate, and subtract it from W.",
    ),
)
def check_inner_step(answer: InnerStep) -> None:
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    y, rate = torch.tensor([0, 1, 2, 1]), 0.5  # |S| = 4 examples of N = 3 people
    wanted = _first_step(z, y, 3, rate)
    slope = -wanted / rate
    zero, truth = torch.zeros_like(z[:1]), F.one_hot(y, 3).double()
    one_unit = (0.5 - y.clamp(max=1).double()[None]) @ z / 4
    expect(
        answer(z, y, 3, rate),
        wanted,
        case=f"With z = {z.tolist()}, y = {y.tolist()}, 3 ways and a rate of 0.5",
        slips={
            "There is still one output unit. A softmax over one number is always 1: the loss is 0, and so is the"
            " gradient (5.12). Use one unit for each way.": zero,
            "That is one long vector of weights and gradients side by side. A gradient changes the weights:"
            " subtract it, times the rate.": torch.zeros(4, dtype=torch.float64),
            "That is a vector of weights and gradients side by side. A gradient changes the weights: subtract it, times"
            " the rate.": torch.cat([torch.zeros(6, dtype=torch.float64), slope.flatten()]),
            "One unit with a sigmoid answers yes or no. It cannot distinguish three people, so you have made labels"
            " above 1 to 1. Use one unit for each way, and a softmax.": -rate * one_unit,
            "You have made all labels 0, so that no error is raised: person 0 learns everybody's face, and nobody else"
            " learns anything.": _first_step(z, torch.zeros_like(y), 3, rate),
            "The sign: you go up the loss.": -wanted,
            "That is the gradient. Take the step.": slope,
            "The step has the rate 1. Use the rate that is given.": -slope,
            "Nothing has changed: W is as it was before the step.": torch.zeros_like(wanted),
            "That is the step of the *sum* of the losses, |S| times as long. `cross_entropy` takes the mean.": 4
            * wanted,
            "You take the softmax twice: `cross_entropy` has one inside. The gradient becomes N times too small.": (
                wanted / 3
            ),
            "N sigmoids, each with the answer yes or no, are not a softmax: their probabilities do not sum to 1.": -rate
            * (0.5 - truth).T
            @ z
            / 12,
            "That is the squared error against one-hot labels, not cross-entropy.": rate * 2 * truth.T @ z / 12,
            "You have 1/|S| where 1/N belongs: before the step each of the N people has the probability 1/N.": -rate
            * (1 / 4 - truth).T
            @ z
            / 4,
            "You divide by N. The mean runs over the |S| examples: divide by |S|.": wanted * 4 / 3,
            "The probability 1/N is missing: an example pushes its own row up, and all rows down.": rate
            * truth.T
            @ z
            / 4,
            "You have five output units. `ways` says how many there are.": _first_step(z, y, 5, rate),
            "W is [ways, D], a row for each way. Yours is transposed.": wanted.T,
        },
        tolerance=1e-5,
    )
    z, y = _normal(6, 4), torch.tensor([3, 0, 1, 3, 2, 0])
    expect(
        answer(z, y, 4, 2.0),
        _first_step(z, y, 4, 2.0),
        case=f"With 6 random examples in 4 dimensions, y = {y.tolist()}, 4 ways and a rate of 2",
        slips={
            "You do not use `y`: that is the step for the labels 0, 1, 2, … in order.": _first_step(
                z, torch.arange(6) % 4, 4, 2.0
            ),
        },
        tolerance=1e-5,
    )
    expect(
        answer(z[:3], torch.tensor([0, 1, 1]), 5, 1.0),
        _first_step(z[:3], torch.tensor([0, 1, 1]), 5, 1.0),
        case="With a support set that has only labels 0 and 1 of 5 ways",
        slips={
            "You count the different labels. `ways` says how many people there are.": _first_step(
                z[:3], torch.tensor([0, 1, 1]), 2, 1.0
            ),
        },
        tolerance=1e-5,
    )


@fresh_arguments("clinic.inner_step")
def draw_inner_step(draw: torch.Generator) -> tuple[Tensor, Tensor, int, float]:
    examples, size, ways = pick(draw, 4, 8), pick(draw, 2, 4), pick(draw, 3, 6)
    y = torch.randint(ways - pick(draw, 0, 1), (examples,), generator=draw)  # the last may be without examples
    rate = 0.3 + float(torch.rand((), generator=draw))
    return torch.randn(examples, size, generator=draw, dtype=torch.float64), y, ways, rate


@right_answer("clinic.inner_step")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    W = torch.zeros(ways, z.shape[1], dtype=z.dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(z @ W.T, y), W, create_graph=True)
    return W - rate * gradient


@right_answer("clinic.inner_step")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    W = torch.zeros(ways, z.shape[1]).to(z)
    p = (z @ W.T).softmax(1)
    return W - rate * (p - F.one_hot(y, ways)).T @ z / len(z)


@right_answer("clinic.inner_step")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    head = nn.Linear(z.shape[1], ways, bias=False).to(z.dtype)
    nn.init.zeros_(head.weight)
    F.cross_entropy(head(z), y).backward()
    torch.optim.SGD(head.parameters(), lr=rate).step()
    return head.weight.detach()


def _step(loss: Callable[[Tensor], Tensor], units: int, z: Tensor, rate: float) -> Tensor:
    W = torch.zeros(units, z.shape[1], dtype=z.dtype, requires_grad=True)
    return (W - rate * torch.autograd.grad(loss(z @ W.T), W)[0]).detach()


@wrong_answer("clinic.inner_step", hint="1/|S| where 1/N belongs")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return -rate * (1 / len(z) - F.one_hot(y, ways).to(z)).T @ z / len(z)


@wrong_answer("clinic.inner_step", hint="divide by |S|")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return -rate * (1 / ways - F.one_hot(y, ways).to(z)).T @ z / ways


@wrong_answer("clinic.inner_step", hint="probability 1/N is missing")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return rate * F.one_hot(y, ways).to(z).T @ z / len(z)


@wrong_answer("clinic.inner_step", hint="still one output unit")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return _step(lambda out: F.cross_entropy(out, torch.zeros_like(y)), 1, z, rate)


@wrong_answer("clinic.inner_step", hint="one long vector")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    W = torch.zeros(1, z.shape[1], dtype=z.dtype, requires_grad=True)
    gradients = torch.autograd.grad(F.cross_entropy(z @ W.T, torch.zeros_like(y)), [W])
    return torch.cat([W.detach().flatten(), *[g.flatten() for g in gradients]])


@wrong_answer("clinic.inner_step", hint="yes or no. It cannot")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    target = y.clamp(max=1).to(z.dtype)
    return _step(lambda out: F.binary_cross_entropy_with_logits(out[:, 0], target), 1, z, rate)


@wrong_answer("clinic.inner_step", hint="all labels 0")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return _step(lambda out: F.cross_entropy(out, y.clamp(max=0)), ways, z, rate)


@wrong_answer("clinic.inner_step", hint="The sign")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return _step(lambda out: F.cross_entropy(out, y), ways, z, -rate)


@wrong_answer("clinic.inner_step", hint="N sigmoids")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    target = F.one_hot(y, ways).to(z.dtype)
    return _step(lambda out: F.binary_cross_entropy_with_logits(out, target), ways, z, rate)


@wrong_answer("clinic.inner_step", hint="softmax twice")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return _step(lambda out: F.cross_entropy(out.softmax(1), y), ways, z, rate)


@wrong_answer("clinic.inner_step", hint="five output units")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return _step(lambda out: F.cross_entropy(out, y), 5, z, rate)


@wrong_answer("clinic.inner_step", hint="count the different labels")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return _step(lambda out: F.cross_entropy(out, y), int(y.max()) + 1, z, rate)


@wrong_answer("clinic.inner_step", hint="That is the gradient")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return -_step(lambda out: F.cross_entropy(out, y), ways, z, 1.0)


@wrong_answer("clinic.inner_step", hint="Nothing has changed")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    W = torch.zeros(ways, z.shape[1], dtype=z.dtype, requires_grad=True)
    torch.autograd.grad(F.cross_entropy(z @ W.T, y), W)
    return W.detach()


@wrong_answer("clinic.inner_step", hint="squared error")
def _(z: Tensor, y: Tensor, ways: int, rate: float) -> Tensor:
    return _step(lambda out: F.mse_loss(out, F.one_hot(y, ways).to(z.dtype)), ways, z, rate)


# -------------------------------------------------------------------------------------------------------------- episode

Drawn = tuple[Tensor, Tensor, Tensor, Tensor]


@exercise(
    "clinic.episode",
    lesson="05",
    title="An episode instead of a batch",
    points=2,
    equation="(5.14)",
    hints=(
        "First draw people, then images of each. `identity.unique(return_counts=True)` counts each person's images.",
        "`torch.randperm(n, generator=draw)[:k]` draws k of n without repetition. Use it once over the people, and once"
        " for each person over `(identity == person).nonzero().flatten()`.",
        "Draw shots + queries images of a person at once, and cut: then no image is in both sets.",
        "The label is the *place* of the person in the draw, 0 to N − 1, and the same in both sets.",
    ),
)
def check_episode(answer: Callable[[Tensor, int, int, int, int], Drawn]) -> None:
    counts = {4: 5, 11: 6, 12: 2, 20: 5, 31: 7, 33: 5}  # person → images; 12 has too few
    identity = torch.cat([torch.full((n,), person) for person, n in counts.items()])
    identity = identity[torch.randperm(len(identity), generator=generator(0))]
    _varies(answer, identity, (3, 2, 3), 0, 5)
    _drawn(answer, identity, 5, 1, 4, 0)
    _drawn(answer, torch.arange(24) // 4, 6, 2, 2, 1)


def _varies(
    answer: Callable[[Tensor, int, int, int, int], Drawn],
    identity: Tensor,
    sizes: tuple[int, int, int],
    first: int,
    need: int,
) -> None:
    """Raise `Wrong` unless forty seeds, from `first` on, draw among all people with `need` images, and all of these."""
    drawn = [_drawn(answer, identity, *sizes, seed) for seed in range(first, first + 40)]
    again = _drawn(answer, identity, *sizes, first + 7)
    if not all(torch.equal(a, b) for a, b in zip(drawn[7], again, strict=True)):
        raise Wrong(
            "The same seed gives two different episodes. Draw everything from one generator:"
            " `torch.Generator().manual_seed(seed)`."
        )
    if all(torch.equal(drawn[0][0], other[0]) for other in drawn):
        raise Wrong("Forty seeds give the same support set. Draw from `torch.Generator().manual_seed(seed)`.")
    people, number = identity.unique(return_counts=True)
    able = people[number >= need]
    seen = {int(identity[i]) for d in drawn for i in d[0]}
    if len(seen) < len(able):
        raise Wrong(f"In 40 episodes only the people {sorted(seen)} take part. Draw among all who have enough images.")
    images = {int(i) for d in drawn for part in d[:2] for i in part}
    if len(images) < int(torch.isin(identity, able).sum()):
        raise Wrong("Some images are never drawn, in 40 episodes. Draw among all images of a person.")
    labels: dict[int, set[int]] = {}
    for support, _, y, _ in drawn:
        for i, label in zip(support, y, strict=True):
            labels.setdefault(int(identity[i]), set()).add(int(label))
    fixed = sorted(person for person, own in labels.items() if len(own) == 1)
    if fixed:
        raise Wrong(
            f"Person {fixed[0]} is label {labels[fixed[0]].pop()} in every episode. The labels follow the order of the"
            " people's numbers, so a network could memorise faces. Number the people in the order of the draw."
        )


def _drawn(answer: Callable[[Tensor, int, int, int, int], Drawn], identity: Tensor, *call: int) -> Drawn:
    """An episode, after its properties have been checked."""
    ways, shots, queries, _ = call
    case = f"With {ways} ways, {shots} shots and {queries} queries"
    result = answer(identity, *call)
    if not isinstance(result, tuple | list) or len(result) != 4:
        raise Wrong(f"{case}:\n  got     {describe(result)}\n  wanted  four tensors: support, query, labels of both")
    names = ("support", "query", "support labels", "query labels")
    sizes = (ways * shots, ways * queries) * 2
    for name, part, size in zip(names, result, sizes, strict=True):
        if not isinstance(part, Tensor) or part.dtype != torch.int64 or part.shape != (size,):
            kind = f"{part.dtype} of shape {list(part.shape)}" if isinstance(part, Tensor) else describe(part)
            raise Wrong(
                f"{case}, {name}:\n  got     {kind}\n  wanted  torch.int64 of shape [{size}]"
                f"{_too_few(identity, result, *call)}"
            )
    support, query, y, asked = result
    for part in (support, query):
        if part.min() < 0 or part.max() >= len(identity):
            raise Wrong(f"{case}: image numbers are 0 to {len(identity) - 1}, but yours reach {int(part.max())}.")
    who, asked_of = identity[support], identity[query]
    if len(who.unique()) != ways:
        raise Wrong(
            f"{case}: the support set shows {len(who.unique())} people. Random images are not an episode: draw"
            f" {ways} people first, all different."
        )
    if not torch.isin(asked_of, who).all():
        stranger = int(asked_of[~torch.isin(asked_of, who)][0])
        raise Wrong(f"{case}: a query shows person {stranger}, but no support image does. Nobody could know them.")
    both = torch.isin(query, support)
    if both.any():
        raise Wrong(
            f"{case}: image {int(query[both][0])} is in the support set *and* in the query set. That is a leak: a"
            " learner that only remembers images would be right."
        )
    for name, part in (("support", support), ("query", query)):
        if len(part.unique()) < len(part):
            raise Wrong(f"{case}: an image is in the {name} set twice. Draw without repetition.")
    for name, part, each in (("support", who, shots), ("query", asked_of, queries)):
        people, number = part.unique(return_counts=True)
        if (number != each).any():
            odd = number != each
            raise Wrong(
                f"{case}: person {int(people[odd][0])} has {int(number[odd][0])} {name} images, not {each}. Give every"
                " person the same number."
            )
    if y.min() < 0 or y.max() >= ways:
        raise Wrong(
            f"{case}: labels must be 0 to {ways - 1}, but yours reach {int(y.max())}. Those are the people's numbers."
            " A head with N outputs has no unit for them, and they would be the same in every episode (1.4)."
        )
    names_of = {int(person): {int(label) for label in y[who == person]} for person in who.unique()}
    if any(len(own) > 1 for own in names_of.values()) or len(set().union(*names_of.values())) < ways:
        raise Wrong(f"{case}: the labels of the support set do not distinguish the people: one person, one label.")
    for person, label in zip(asked_of.tolist(), asked.tolist(), strict=True):
        if {label} != names_of[person]:
            raise Wrong(
                f"{case}: person {person} is label {names_of[person].pop()} in the support set and label {label} in the"
                " query set. The two sets are numbered separately, so an answer could be right by luck alone."
            )
    return support, query, y, asked


def _too_few(identity: Tensor, result: Drawn, ways: int, shots: int, queries: int, seed: int) -> str:
    """The likely reason why a set is too small, on a line of its own; nothing if none is found."""
    support, query = result[:2]
    if not all(isinstance(part, Tensor) and part.ndim == 1 and part.dtype == torch.int64 for part in (support, query)):
        return ""
    inside = bool((support >= 0).all() and (support < len(identity)).all())
    if not inside or len(support) > ways * shots or len(query) >= ways * queries:
        return ""
    people, number = identity.unique(return_counts=True)
    need = shots + queries
    poor = [int(person) for person in identity[support].unique() if number[people == person] < need]
    if poor:
        return f"\nPerson {poor[0]} takes part, but has fewer than shots + queries = {need} images."
    if len(support) < ways * shots:
        return f"\nToo few people take part. Those with exactly shots + queries = {need} images have enough: `>=`."
    return ""


def _episode(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    draw = torch.Generator().manual_seed(seed)
    people, number = identity.unique(return_counts=True)
    people = people[number >= shots + queries]
    people = people[torch.randperm(len(people), generator=draw)[:ways]]
    support, query = [], []
    for person in people:
        own = (identity == person).nonzero().flatten()
        own = own[torch.randperm(len(own), generator=draw)[: shots + queries]]
        support.append(own[:shots])
        query.append(own[shots:])
    label = torch.arange(ways)
    return torch.cat(support), torch.cat(query), label.repeat_interleave(shots), label.repeat_interleave(queries)


@fresh_check("clinic.episode")
def check_fresh_episode(answer: Callable[[Tensor, int, int, int, int], Drawn], draw: torch.Generator) -> None:
    ways, shots, queries, first = pick(draw, 2, 4), pick(draw, 1, 2), pick(draw, 2, 3), pick(draw, 0, 10**6)
    need = shots + queries
    counts = [need] * ways + [need - 1, 1, need + 1 + pick(draw, 0, 2)]  # just enough, too few, more than enough
    people = torch.randperm(100, generator=draw)[: len(counts)]
    identity = people.repeat_interleave(torch.tensor(counts))
    identity = identity[torch.randperm(len(identity), generator=draw)]
    _drawn(answer, identity[torch.isin(identity, people[:ways])], ways, shots, queries, first)  # all must take part
    _varies(answer, identity, (ways, shots, queries), first, need)


right_answer("clinic.episode")(_episode)


@right_answer("clinic.episode")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    """In one go: a random number for each image and each person, then sorting."""
    draw = torch.Generator().manual_seed(seed)
    people, inverse, number = identity.unique(return_inverse=True, return_counts=True)
    chance = torch.rand(len(people), generator=draw).masked_fill(number < shots + queries, 2.0)
    chosen = chance.argsort()[:ways]
    mine = inverse == chosen[:, None]  # [N, M]
    order = torch.rand(len(identity), generator=draw).expand_as(mine).masked_fill(~mine, 2.0).argsort(1)
    label = torch.arange(ways)[:, None]
    support, query = order[:, :shots], order[:, shots : shots + queries]
    return (
        support.T.flatten(),
        query.T.flatten(),
        label.expand_as(support).T.flatten(),
        label.expand_as(query).T.flatten(),
    )


@wrong_answer("clinic.episode", hint="takes part, but has fewer than")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    draw = torch.Generator().manual_seed(seed)
    people = identity.unique()
    people = people[torch.randperm(len(people), generator=draw)[:ways]]
    rows = [(identity == person).nonzero().flatten() for person in people]
    rows = [own[torch.randperm(len(own), generator=draw)] for own in rows]
    support = torch.cat([own[:shots] for own in rows])
    query = torch.cat([own[shots : shots + queries] for own in rows])
    label = torch.arange(ways)
    return support, query, label.repeat_interleave(shots), label.repeat_interleave(queries)


@wrong_answer("clinic.episode", hint="have enough: `>=`")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    people, number = identity.unique(return_counts=True)
    rich = torch.isin(identity, people[number > shots + queries]).nonzero().flatten()
    many = min(ways, len(identity[rich].unique()))
    support, query, y, asked = _episode(identity[rich], many, shots, queries, seed)
    return rich[support], rich[query], y, asked


@wrong_answer("clinic.episode", hint="Random images are not an episode")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(identity), generator=draw)[: ways * (shots + queries)]
    support, query = rows[: ways * shots], rows[ways * shots :]
    return support, query, identity[support], identity[query]


@wrong_answer("clinic.episode", hint="in the support set *and* in the query set")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    draw = torch.Generator().manual_seed(seed)
    people, number = identity.unique(return_counts=True)
    people = people[number >= shots + queries]
    people = people[torch.randperm(len(people), generator=draw)[:ways]]

    def some(count: int) -> Tensor:
        rows = [(identity == person).nonzero().flatten() for person in people]
        return torch.cat([r[torch.randperm(len(r), generator=draw)[:count]] for r in rows])

    label = torch.arange(ways)
    return some(shots), some(queries), label.repeat_interleave(shots), label.repeat_interleave(queries)


@wrong_answer("clinic.episode", hint="Those are the people's numbers")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    support, query, _, _ = _episode(identity, ways, shots, queries, seed)
    return support, query, identity[support], identity[query]


@wrong_answer("clinic.episode", hint="could memorise faces")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    support, query, _, _ = _episode(identity, ways, shots, queries, seed)
    people, y = identity[support].unique(return_inverse=True)
    return support, query, y, torch.searchsorted(people, identity[query])


@wrong_answer("clinic.episode", hint="numbered separately")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    support, query, y, asked = _episode(identity, ways, shots, queries, seed)
    shuffled = torch.randperm(ways, generator=torch.Generator().manual_seed(seed + 1))
    return support, query, y, shuffled[asked]


@wrong_answer("clinic.episode", hint="draw 3 people first, all different")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    draw = torch.Generator().manual_seed(seed)
    people, number = identity.unique(return_counts=True)
    people = people[number >= shots + queries]
    people = people[torch.randint(len(people), (ways,), generator=draw)]
    rows = [(identity == person).nonzero().flatten() for person in people]
    support, query = torch.cat([r[:shots] for r in rows]), torch.cat([r[shots : shots + queries] for r in rows])
    label = torch.arange(ways)
    return support, query, label.repeat_interleave(shots), label.repeat_interleave(queries)


@wrong_answer("clinic.episode", hint="no support image does")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    support, _, y, _ = _episode(identity, ways, shots, queries, seed)
    _, query, _, asked = _episode(identity, ways, shots, queries, seed + 1000)
    return support, query, y, asked


@wrong_answer("clinic.episode", hint="two different episodes")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    return _episode(identity, ways, shots, queries, int(torch.randint(10**9, ())))


@wrong_answer("clinic.episode", hint="same support set")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    return _episode(identity, ways, shots, queries, 0)


@wrong_answer("clinic.episode", hint="not 3")
def _(identity: Tensor, ways: int, shots: int, queries: int, seed: int) -> Drawn:
    support, _, y, _ = _episode(identity, ways, shots, queries, seed)
    left = torch.isin(identity, identity[support])
    left[support] = False
    rows = left.nonzero().flatten()[: ways * queries]
    return support, rows, y, (identity[rows][:, None] == identity[support]).int().argmax(1) // shots


# --------------------------------------------------------------------------------------------------------- second order

TaskLoss = Callable[[Tensor, Any], Tensor]  # weights [D], data → a number
MetaGradient = Callable[[TaskLoss, Tensor, Any, Any, float, int], Tensor]


def _bowls(size: int, seed: int) -> tuple[Task, Task]:
    M = _normal(2, size, size, seed=seed)
    A = M @ M.mT / size + torch.eye(size, dtype=torch.float64)
    c = _normal(2, size, seed=seed + 1)
    return Task(A[0], c[0]), Task(A[1], c[1])


def _by_hand(
    theta: Tensor, support: Task, query: Task, rate: float, steps: int, backwards: bool = False, kept: int = 99
) -> Tensor:
    """(I − αH₀)(I − αH₁) … ∇L(φ_k; Q); with the last `kept` factors alone; or in the wrong order, `backwards`."""
    phi, factors = theta.detach(), []
    for _ in range(steps):
        factors.append(torch.eye(len(theta)).to(theta) - rate * hessian(task_loss)(phi, support))
        phi = phi - rate * grad(task_loss)(phi, support)
    result = grad(task_loss)(phi, query)
    factors = factors[max(0, steps - kept) :]
    for factor in factors if backwards else factors[::-1]:
        result = factor @ result
    return result


@exercise(
    "clinic.second_order",
    lesson="05",
    title="The Hessian comes back",
    points=2,
    equation="(5.16)",
    hints=(
        "The gradient of an inner step depends on φ too. Without `create_graph=True` autograd returns a constant, and"
        " the factor I − αH becomes I.",
        "The listing differentiates at the end. With respect to which weights: φ_k or θ?",
        "The graph must begin at a leaf, θ, and lead through every step to φ_k: a `detach()` or a new leaf in between"
        " cuts it. `retain_graph=True` only keeps a graph for a second pass.",
        "Or write the function from θ to the loss after the inner steps, and take its `torch.func.grad`, with"
        " `torch.func.grad` for the inner gradients too.",
    ),
)
def check_second_order(answer: MetaGradient) -> None:
    for size, steps, rate, seed in ((2, 1, 0.1, 0), (3, 2, 0.05, 4), (4, 0, 0.1, 8), (3, 4, 0.05, 12)):
        support, query = _bowls(size, seed)
        start = _normal(size, seed=seed + 2)
        theta, kept = start.clone().requires_grad_(), _normal(size, seed=seed + 3)
        theta.grad = kept.clone()  # of the tasks before this one
        with explained(
            "appears to not have been used in the graph",
            "The graph from θ to the query loss is cut: by a `detach()`, a `.data` or a new leaf between θ and φ."
            " `allow_unused=True` would hide this and fix nothing.",
        ):
            result = answer(task_loss, theta, support, query, rate, steps)
        wanted = _by_hand(start, support, query, rate, steps)
        slips = {
            "The sign of the inner step: it goes up the support loss.": _by_hand(start, support, query, -rate, steps),
            "That is the gradient of the query loss at θ, as if no inner step had been taken.": grad(task_loss)(
                start, query
            ),
            "That is the meta-gradient of the *support* loss: the query set is not used.": _by_hand(
                start, support, support, rate, steps
            ),
            "Support and query have changed places.": _by_hand(start, query, support, rate, steps),
            "That is α times the meta-gradient. Return the gradient itself: no rate belongs to it.": rate * wanted,
            "That is −1 times the meta-gradient. Return the gradient, not the step.": -wanted,
            NO_GRADIENT: None,
            "`backward()` *adds* to `theta.grad`, which had a gradient of other tasks already: you return the sum of"
            " both. `torch.autograd.grad` returns a gradient and stores nothing.": wanted + kept,
        }
        if steps > 0:
            slips |= {
                "That is still the first-order gradient, ∇L(φ; Q) without any I − αH. Either the inner gradients are"
                " constants to autograd (no `create_graph=True`, or a detach()), or you differentiate with respect to φ"
                " instead of θ. `retain_graph=True` keeps the graph, but does not put the gradient into it.": _by_hand(
                    start, support, query, rate, steps, kept=0
                ),
            }
        if steps > 1:
            slips |= {
                "Only the Hessian of the last inner step is in it: the graph is cut between the steps. Detach nothing"
                " there.": _by_hand(start, support, query, rate, steps, kept=1),
                "That is one inner step. Take as many as `steps` says.": _by_hand(start, support, query, rate, 1),
                "The factors I − αH are in the wrong order: that of the last step meets the gradient first.": (
                    _by_hand(start, support, query, rate, steps, backwards=True)
                ),
            }
        case = f"With {size} weights, {steps} inner step{'s' * (steps != 1)} and α = {rate:g}"
        expect(result, wanted, case=case, slips=slips, tolerance=EXACT)
        if not torch.equal(theta.detach(), start):
            raise Wrong(
                "The meta-gradient is right, but θ itself has changed: the next task would start elsewhere. Make new"
                " weights in every step; no `-=`, no `.data`."
            )
        if theta.grad is None or not torch.equal(theta.grad, kept):
            raise Wrong(
                "The meta-gradient is right, but `theta.grad` is not what it was: it had a gradient of other tasks, and"
                " the outer step still needs it. `torch.autograd.grad` returns a gradient and stores nothing."
            )


@fresh_arguments("clinic.second_order", tolerance=EXACT)
def draw_second_order(draw: torch.Generator) -> tuple[TaskLoss, Tensor, Task, Task, float, int]:
    size, seed = pick(draw, 2, 4), pick(draw, 0, 10**6)
    theta, kept = torch.randn(2, size, generator=draw, dtype=torch.float64)
    theta = theta.clone().requires_grad_()
    theta.grad = kept.clone()  # of the tasks before this one
    return task_loss, theta, *_bowls(size, seed), 0.03 + 0.04 * float(torch.rand((), generator=draw)), pick(draw, 2, 4)


@right_answer("clinic.second_order")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient
    return torch.autograd.grad(loss(phi, query), theta)[0]


@right_answer("clinic.second_order")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    def after(w: Tensor) -> Tensor:
        for _ in range(steps):
            w = w - rate * grad(loss)(w, support)
        return loss(w, query)

    return grad(after)(theta)


@right_answer("clinic.second_order")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    start: Any = theta.detach().clone().requires_grad_()
    phi = start
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(loss(phi, support), phi, create_graph=True)[0]
    loss(phi, query).backward()
    return start.grad


@right_answer("clinic.second_order")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    """By hand, with Hessians: right for small D."""
    path = [theta.detach()]
    for _ in range(steps):
        path.append(path[-1] - rate * grad(loss)(path[-1], support))
    result = grad(loss)(path[-1], query)
    for phi in path[-2::-1]:
        result = result - rate * hessian(loss)(phi, support) @ result
    return result


@wrong_answer("clinic.second_order", hint="still the first-order gradient")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, retain_graph=True)
        phi = phi - rate * gradient
    return torch.autograd.grad(loss(phi, query), theta)[0]


@wrong_answer("clinic.second_order", hint="you differentiate with respect to φ instead of θ")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient
    return torch.autograd.grad(loss(phi, query), phi, create_graph=True)[0]


@wrong_answer("clinic.second_order", hint="a detach()")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient.detach()
    return torch.autograd.grad(loss(phi, query), theta)[0]


@wrong_answer("clinic.second_order", hint="The graph from θ to the query loss is cut")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta.detach().clone().requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient
    return torch.autograd.grad(loss(phi, query), theta)[0]


@wrong_answer("clinic.second_order", hint="still the first-order gradient")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta.clone()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi)
        phi = phi.clone() - rate * gradient.clone()
    return torch.autograd.grad(loss(phi, query), theta)[0]


@wrong_answer("clinic.second_order", hint="graph is cut between the steps")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        last = phi.detach().requires_grad_() if phi is not theta else theta
        (gradient,) = torch.autograd.grad(loss(last, support), last, create_graph=True)
        phi = last - rate * gradient
    leaf = last if steps else theta
    return torch.autograd.grad(loss(phi, query), leaf)[0]


@wrong_answer("clinic.second_order", hint="query set is not used")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient
    return torch.autograd.grad(loss(phi, support), theta)[0]


@wrong_answer("clinic.second_order", hint="no inner step had been taken")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta.clone()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(theta, support), theta, create_graph=True)
        phi - rate * gradient
    return torch.autograd.grad(loss(phi, query), theta)[0]


@wrong_answer("clinic.second_order", hint="goes up the support loss")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi + rate * gradient
    return torch.autograd.grad(loss(phi, query), theta)[0]


@wrong_answer("clinic.second_order", hint="That is one inner step")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    if steps:
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient
    return torch.autograd.grad(loss(phi, query), theta)[0]


@wrong_answer("clinic.second_order", hint="wrong order")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    return _by_hand(theta, support, query, rate, steps, backwards=True)


@wrong_answer("clinic.second_order", hint="θ itself has changed")
def _(loss: TaskLoss, theta: Tensor, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    result = _by_hand(theta, support, query, rate, steps)
    theta.data -= rate * torch.autograd.grad(loss(theta, support), theta)[0]
    return result


@wrong_answer("clinic.second_order", hint="`theta.grad` is not what it was")
def _(loss: TaskLoss, theta: Any, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    theta.grad = None
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient
    loss(phi, query).backward()
    return theta.grad.clone()


@wrong_answer("clinic.second_order", hint="*adds* to `theta.grad`")
def _(loss: TaskLoss, theta: Any, support: Any, query: Any, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi, support), phi, create_graph=True)
        phi = phi - rate * gradient
    loss(phi, query).backward()
    return theta.grad.clone()


# -------------------------------------------------------------------------------------------------------------- no leak

Predict = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor, Tensor, int], Tensor]


def _network(norm: bool, seed: int = 20) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Linear(3, 4),
        nn.BatchNorm1d(4) if norm else nn.Identity(),
        nn.Tanh(),
        nn.Linear(4, 3),
    ]
    network = nn.Sequential(*layers).double()
    for i, p in enumerate(network.parameters()):
        p.data = _normal(*p.shape, seed=seed + i) / 2
    return network


def _adapted(network: nn.Module, momentum: float, x: Tensor, y: Tensor, steps: int, pile: bool = False) -> nn.Module:
    """A copy of the network after `steps` steps at rate 0.1 of a new optimiser."""
    fast = copy.deepcopy(network)
    optimiser = torch.optim.SGD(fast.parameters(), lr=0.1, momentum=momentum)
    for _ in range(steps):
        if not pile:
            optimiser.zero_grad()
        F.cross_entropy(fast(x), y).backward()
        optimiser.step()
    return fast


@exercise(
    "clinic.no_leak",
    lesson="05",
    title="Nothing of this task in the next",
    points=2,
    equation="(5.18)",
    hints=(
        "Four things can leak into the next task: weights, running averages, the optimiser's momentum, and `.grad`.",
        "`state_dict()` and `list(parameters())` do not copy: they hold the very tensors that the steps change."
        " `copy.deepcopy` copies, and so does `{k: v.clone() for k, v in network.state_dict().items()}`.",
        "The simplest way is a deep copy of the network, and an optimiser of the same kind, made for the *copy's*"
        " parameters: `type(optimiser)(fast.parameters(), **optimiser.defaults)`.",
    ),
)
def check_no_leak(answer: Predict) -> None:
    y = torch.tensor([0, 1, 2, 1, 0])
    tasks = [(_normal(5, 3, seed=30 + i), y.roll(i), _normal(4, 3, seed=40 + i)) for i in (0, 1)]
    for norm in (False, True):
        for momentum, steps in ((0.9, 3), (0.0, 2)):
            network = _network(norm)
            optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum)
            for i, p in enumerate(network.parameters()):
                p.grad = _normal(*p.shape, seed=60 + i)  # of the tasks before this one
            before, kept = copy.deepcopy(network.state_dict()), copy.deepcopy(optimiser.state_dict())
            gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
            how = f"{steps} steps{' with momentum 0.9' * bool(momentum)}{' and a batch norm in the network' * norm}"
            x, y, asked = tasks[0]
            got = answer(network, optimiser, x, y, asked, steps)
            fresh = _clone(network, before)
            unadapted = copy.deepcopy(fresh)(asked).detach()
            onwards = _adapted(_adapted(fresh, momentum, x, y, steps), momentum, x, y, steps)(asked).detach()
            wanted = _wanted(fresh, momentum, tasks[0], steps)
            expect(
                got,
                wanted,
                case=f"The logits of the queries after {how}",
                slips={
                    "Those are the logits of θ: the copy was not trained. An optimiser changes the parameters that it"
                    " was made for, here the network's. (Or did you restore θ before you predicted?)": unadapted,
                    "You take twice as many steps.": onwards,
                    "You train the copy without momentum. Make its optimiser with the settings of the one given,"
                    " `optimiser.defaults`.": _wanted(fresh, 0.0, tasks[0], steps),
                    "You switch to evaluation mode: batch norm then uses its running averages, in the steps and for the"
                    " queries. That is another learner. Leave the mode as it is.": _wanted(
                        copy.deepcopy(fresh).eval(), momentum, tasks[0], steps
                    ),
                    "You predict in evaluation mode, from running averages that no step has used. Leave the mode as it"
                    " is.": _adapted(fresh, momentum, x, y, steps).eval()(asked).detach(),
                    "You take one step. Take as many as `steps` says.": _wanted(fresh, momentum, tasks[0], 1),
                    "Gradients add up from step to step: call `zero_grad()` before each.": _wanted(
                        fresh, momentum, tasks[0], steps, pile=True
                    ),
                },
                tolerance=1e-5,
            )
            _unchanged(network, before, optimiser, kept, gradients, how)
            again = answer(network, optimiser, *tasks[1], steps)
            expect(
                again,
                _wanted(fresh, momentum, tasks[1], steps),
                case=f"A second task after the first, {how}, gives other logits than it would alone",
                tolerance=1e-5,
            )


def _clone(network: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    fresh = copy.deepcopy(network)
    fresh.load_state_dict(state)
    fresh.zero_grad()
    return fresh


def _wanted(
    fresh: nn.Module, momentum: float, task: tuple[Tensor, Tensor, Tensor], steps: int, pile: bool = False
) -> Tensor:
    """The logits after so many steps from `fresh`, which stays as it is; with `pile` gradients are not set to zero."""
    x, y, asked = task
    return _adapted(fresh, momentum, x, y, steps, pile)(asked).detach()


def _unchanged(
    network: nn.Module,
    before: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    kept: dict[str, Any],
    gradients: list[Tensor],
    how: str,
) -> None:
    """Raise `Wrong` if anything of the network or the optimiser is not as it was."""
    weights = [name for name, _ in network.named_parameters()]
    after = network.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    if any(name in weights for name in changed):
        raise Wrong(
            f"The logits are right, but after {how} the network's own weights have changed ({changed[0]}): the next"
            " task starts from φ instead of θ. `state_dict()`, `list(parameters())` and `copy.copy` copy nothing: they"
            " hold the very tensors that are trained."
        )
    if changed:
        raise Wrong(
            f"The logits are right and θ is untouched, but the running averages of batch norm have changed"
            f" ({changed[0]}). The state has parameters and buffers. `state_dict()` has both."
        )
    if not network.training:
        raise Wrong("The logits are right, but the network is left in evaluation mode. Leave it as it was.")
    state = optimiser.state_dict()["state"]
    if not _same_state(state, kept["state"]):
        raise Wrong(
            "The logits are right and θ is untouched, but the optimiser has kept its momentum: the next task would"
            " start with a push in the direction of this one. Give each task an optimiser of its own."
        )
    left = [p.grad for p in network.parameters()]
    if any(g is None or not g.any() for g in left):
        raise Wrong(
            "The logits are right and θ is untouched, but `zero_grad()` has deleted what was in `.grad` of the network:"
            " gradients of other tasks, which the outer step still needs."
        )
    if not all(g is not None and torch.equal(g, own) for g, own in zip(left, gradients, strict=True)):
        raise Wrong(
            "The logits are right and θ is untouched, but this task's gradient is left in `.grad` of the network, where"
            " the outer loop would add to it."
        )


def _same_state(a: dict[Any, Any], b: dict[Any, Any]) -> bool:
    def flat(state: dict[Any, Any]) -> dict[Any, Any]:
        return {(i, k): v for i, own in state.items() for k, v in own.items() if v is not None}

    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


def _descend(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, steps: int) -> None:
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimiser.step()


@fresh_check("clinic.no_leak")
def check_fresh_leak(answer: Predict, draw: torch.Generator) -> None:
    """What a task leaves behind shows in the next: in its start, its momentum, or, in evaluation mode, its averages."""
    seed, examples, steps = pick(draw, 0, 10**6), pick(draw, 5, 8), pick(draw, 2, 4)
    network, momentum = _network(bool(pick(draw, 0, 3)), seed), 0.9 * pick(draw, 0, 1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum)
    fresh = copy.deepcopy(network)
    for i, p in enumerate(network.parameters()):
        p.grad = _normal(*p.shape, seed=seed + 20 + i)  # of the tasks before these
    for case in ("With other numbers than in your notebook", "A second task after the first", "In evaluation mode"):
        if case == "In evaluation mode":
            network.eval()
            fresh.eval()
        x, asked = (torch.randn(count, 3, generator=draw, dtype=torch.float64) for count in (examples, 4))
        task = (x, torch.randint(3, (examples,), generator=draw), asked)
        expect(answer(network, optimiser, *task, steps), _wanted(fresh, momentum, task, steps), case, tolerance=1e-5)


@right_answer("clinic.no_leak")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast = copy.deepcopy(network)
    own = type(optimiser)(fast.parameters(), **optimiser.defaults)
    _descend(fast, own, x, y, steps)
    return fast(asked).detach()


@right_answer("clinic.no_leak")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    """Trains the network itself, and puts everything back."""
    weights, moments = copy.deepcopy(network.state_dict()), copy.deepcopy(optimiser.state_dict())
    gradients = [p.grad for p in network.parameters()]
    _descend(network, optimiser, x, y, steps)
    with torch.no_grad():
        logits = network(asked)
    network.load_state_dict(weights)
    optimiser.load_state_dict(moments)
    for p, before in zip(network.parameters(), gradients, strict=True):
        p.grad = before
    return logits


@wrong_answer("clinic.no_leak", hint="has deleted what was in `.grad`")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    weights, moments = copy.deepcopy(network.state_dict()), copy.deepcopy(optimiser.state_dict())
    _descend(network, optimiser, x, y, steps)
    logits = network(asked).detach()
    network.load_state_dict(weights)
    optimiser.load_state_dict(moments)
    optimiser.zero_grad()
    return logits


@right_answer("clinic.no_leak")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast, settings = copy.deepcopy(network), optimiser.param_groups[0]
    own = torch.optim.SGD(fast.parameters(), lr=settings["lr"], momentum=settings["momentum"])
    _descend(fast, own, x, y, steps)
    return fast(asked)


@wrong_answer("clinic.no_leak", hint="own weights have changed")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    start = network.state_dict()
    _descend(network, optimiser, x, y, steps)
    logits = network(asked).detach()
    network.load_state_dict(start)
    return logits


@right_answer("clinic.no_leak")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast, own = copy.deepcopy((network, optimiser))  # together, so that one still belongs to the other
    _descend(fast, own, x, y, steps)
    return fast(asked)


@wrong_answer("clinic.no_leak", hint="own weights have changed")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    start = [p.detach() for p in network.parameters()]  # no copies either
    _descend(network, optimiser, x, y, steps)
    logits = network(asked).detach()
    for p, value in zip(network.parameters(), start, strict=True):
        p.data = value
    return logits


@wrong_answer("clinic.no_leak", hint="own weights have changed")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast = copy.copy(network)
    own = type(optimiser)(fast.parameters(), **optimiser.defaults)
    _descend(fast, own, x, y, steps)
    return fast(asked).detach()


@wrong_answer("clinic.no_leak", hint="the copy was not trained")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast = copy.deepcopy(network)
    _descend(fast, optimiser, x, y, steps)
    return fast(asked).detach()


@wrong_answer("clinic.no_leak", hint="the copy was not trained")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    start = copy.deepcopy(network.state_dict())
    _descend(network, optimiser, x, y, steps)
    network.load_state_dict(start)
    return network(asked).detach()


@wrong_answer("clinic.no_leak", hint="kept its momentum")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    start = copy.deepcopy(network.state_dict())
    _descend(network, optimiser, x, y, steps)
    logits = network(asked).detach()
    network.load_state_dict(start)
    return logits


@wrong_answer("clinic.no_leak", hint="running averages")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    start = [(p.detach().clone(), p.grad) for p in network.parameters()]
    moments = copy.deepcopy(optimiser.state_dict())
    _descend(network, optimiser, x, y, steps)
    logits = network(asked).detach()
    for p, (value, before) in zip(network.parameters(), start, strict=True):
        p.data, p.grad = value, before
    optimiser.load_state_dict(moments)
    return logits


@wrong_answer("clinic.no_leak", hint="You switch to evaluation mode")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast = copy.deepcopy(network).eval()
    _descend(fast, type(optimiser)(fast.parameters(), **optimiser.defaults), x, y, steps)
    return fast(asked).detach()


@wrong_answer("clinic.no_leak", hint="predict in evaluation mode")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast = copy.deepcopy(network)
    _descend(fast, type(optimiser)(fast.parameters(), **optimiser.defaults), x, y, steps)
    return fast.eval()(asked).detach()


@wrong_answer("clinic.no_leak", hint="train the copy without momentum")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast = copy.deepcopy(network)
    _descend(fast, torch.optim.SGD(fast.parameters(), lr=optimiser.defaults["lr"]), x, y, steps)
    return fast(asked).detach()


@wrong_answer("clinic.no_leak", hint="left in `.grad`")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    weights, moments = copy.deepcopy(network.state_dict()), copy.deepcopy(optimiser.state_dict())
    _descend(network, optimiser, x, y, steps)
    logits = network(asked).detach()
    network.load_state_dict(weights)
    optimiser.load_state_dict(moments)
    return logits


@wrong_answer("clinic.no_leak", hint="Gradients add up")
def _(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, asked: Tensor, steps: int) -> Tensor:
    fast = copy.deepcopy(network)
    own = type(optimiser)(fast.parameters(), **optimiser.defaults)
    fast.zero_grad()
    for _ in range(steps):
        F.cross_entropy(fast(x), y).backward()
        own.step()
    return fast(asked).detach()


# ----------------------------------------------------------------------------------------------------- batched gradient

BatchedLoss = Callable[[Weights, Tensor, Tensor], Tensor]
BatchedGradient = Callable[[BatchedLoss, Weights, Tensor, Tensor], Weights]


def _normed_case(tasks: int, seed: int = 50) -> tuple[Weights, Tensor, Tensor]:
    w = {
        "filters": _normal(3, 1, 3, 3, seed=seed) / 3,
        "scale": torch.ones(3, dtype=torch.float64),
        "shift": torch.zeros(3, dtype=torch.float64),
        "head": _normal(3, 3, seed=seed + 1),
    }
    return w, _normal(tasks, 12, 1, 5, 5, seed=seed + 2), torch.arange(3).repeat(4).expand(tasks, -1)


def _mean_over_tasks(loss: BatchedLoss, w: Weights, x: Tensor, y: Tensor) -> Weights:
    each = [grad(loss)(w, x[t], y[t]) for t in range(len(x))]
    return {name: torch.stack([g[name] for g in each]).mean(0) for name in w}


def _times(w: Weights, factor: float) -> Weights:
    return {name: factor * value for name, value in w.items()}


@exercise(
    "clinic.batched_gradient",
    lesson="05",
    title="All tasks at once, and the right gradient",
    points=2,
    equation="(5.20)",
    hints=(
        "Make it right first: a loop over the tasks, a gradient of each, and their mean. That passes.",
        "The gradient of a mean is the mean of the gradients. So differentiation and batching may change places: first"
        " `grad`, then `vmap`.",
        "`vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)` gives, for each name, a gradient [T, …]: average it"
        " over axis 0.",
    ),
)
def check_batched_gradient(answer: BatchedGradient) -> None:
    head = {"head": _normal(3, seed=53)}
    x, y = _normal(4, 6, 3, seed=54), _normal(4, 6, seed=55)
    _batched(answer, plain_loss, head, x, y, "With a loss without batch norm, 4 tasks")
    for tasks in (3, 2):
        w, x, y = _normed_case(tasks)
        _batched(answer, normed_loss, w, x, y, f"With an inner step through batch norm, {tasks} tasks")


def _batched(answer: BatchedGradient, loss: BatchedLoss, w: Weights, x: Tensor, y: Tensor, case: str) -> None:
    wanted = _mean_over_tasks(loss, w, x, y)
    slips: dict[str, Any] = {
        "That is the sum over the tasks. Take the mean, (5.2).": _times(wanted, len(x)),
        "That is the gradient of one task alone, the last.": grad(loss)(w, x[-1], y[-1]),
        "That is the gradient of one task alone, the first.": grad(loss)(w, x[0], y[0]),
        "You make one large task of all tasks: they share an inner step and the statistics of batch norm. Each task has"
        " its own.": grad(loss)(w, x.flatten(0, 1), y.flatten(0, 1)),
    }
    if loss is normed_loss:
        slips |= {
            "That is the silent error of this section: `grad` of a `vmap` through `F.batch_norm`. Differentiate inside,"
            " and batch outside. (A sum instead of the mean, or `backward()` instead of `grad`, does not help.)": grad(
                lambda v: vmap(loss, in_dims=(None, 0, 0))(v, x, y).mean()
            )(w),
        }
    expect(answer(loss, w, x, y), wanted, case=case, slips=slips, tolerance=1e-5)


@fresh_arguments("clinic.batched_gradient")
def draw_plain_gradient(draw: torch.Generator) -> tuple[BatchedLoss, Weights, Tensor, Tensor]:
    tasks, examples, size = pick(draw, 2, 4), pick(draw, 3, 5), pick(draw, 2, 4)
    head, x, y = (
        torch.randn(shape, generator=draw, dtype=torch.float64)
        for shape in ((size,), (tasks, examples, size), (tasks, examples))
    )
    return plain_loss, {"head": head}, x, y


@fresh_arguments("clinic.batched_gradient")
def draw_normed_gradient(draw: torch.Generator) -> tuple[BatchedLoss, Weights, Tensor, Tensor]:
    return normed_loss, *_normed_case(pick(draw, 2, 3), pick(draw, 0, 10**6))


@right_answer("clinic.batched_gradient")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    return {name: g.mean(0) for name, g in each.items()}


@right_answer("clinic.batched_gradient")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    for one, truth in zip(x, y, strict=True):
        for name, g in grad(loss)(weights, one, truth).items():
            total[name] += g / len(x)
    return total


@right_answer("clinic.batched_gradient")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    leaves: dict[str, Any] = {name: w.clone().requires_grad_() for name, w in weights.items()}
    torch.stack([loss(leaves, x[t], y[t]) for t in range(len(x))]).mean().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@right_answer("clinic.batched_gradient")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    return grad(lambda w: torch.stack([loss(w, *task) for task in zip(x, y, strict=True)]).mean())(weights)


@wrong_answer("clinic.batched_gradient", hint="silent error of this section")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    return grad(lambda w: vmap(loss, in_dims=(None, 0, 0))(w, x, y).mean())(weights)


@wrong_answer("clinic.batched_gradient", hint="silent error of this section")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    leaves: dict[str, Any] = {name: w.clone().requires_grad_() for name, w in weights.items()}
    (vmap(loss, in_dims=(None, 0, 0))(leaves, x, y).sum() / len(x)).backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@wrong_answer("clinic.batched_gradient", hint="sum over the tasks")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    return {name: g.sum(0) for name, g in each.items()}


@wrong_answer("clinic.batched_gradient", hint="one task alone, the last")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    for one, truth in zip(x, y, strict=True):
        gradients = grad(loss)(weights, one, truth)
    return gradients


@wrong_answer("clinic.batched_gradient", hint="one large task of all tasks")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    return grad(loss)(weights, x.flatten(0, 1), y.flatten(0, 1))


@right_answer("clinic.batched_gradient")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    single = {name: w.float() for name, w in weights.items()}
    y = y.float() if y.is_floating_point() else y
    return {n: g.mean(0) for n, g in vmap(grad(loss), in_dims=(None, 0, 0))(single, x.float(), y).items()}


@wrong_answer("clinic.batched_gradient", hint="wanted  shape")
def _(loss: BatchedLoss, weights: Weights, x: Tensor, y: Tensor) -> Weights:
    return vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)
