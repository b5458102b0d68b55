"""The exercises of lesson 02, Prototypical networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .core import (
    Wrong,
    compact,
    exercise,
    expect,
    fresh_arguments,
    generator,
    gradient,
    pick,
    right_answer,
    wrong_answer,
)

Pair = tuple[Tensor, Tensor]


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


LOST = "the network that makes the embeddings could not learn from this"


# ---------------------------------------------------------------------------------------------------------- prototypes


@exercise(
    "protonet.prototypes",
    lesson="02",
    title="The prototype of each class",
    points=2,
    equation="(2.1)",
    hints=(
        "Do it for one class first: which rows of `points` have the label k? A comparison, `labels == k`, picks them.",
        "Average these rows over axis 0. That axis counts examples; axis 1 counts coordinates.",
        "`torch.stack` puts the N means into one tensor, row k for class k: loop k over `range(ways)`.",
        "Without a loop: `member = F.one_hot(labels, ways).float()` is [S, N]. Then `member.T @ points` sums each"
        " class, and `member.sum(0)` counts it.",
    ),
)
def check_prototypes(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    points = torch.tensor([[2.0, 4.0], [0.0, 0.0], [10.0, 6.0], [10.0, 0.0]])
    classes = torch.stack([points[:2].mean(0), points[2:].mean(0)])
    expect(
        answer(points, torch.tensor([0, 0, 1, 1]), 2),
        classes,
        case=f"With points {compact(points)} and labels [0, 0, 1, 1]",
        slips={
            "That is the sum of each class. Divide it by the number of its examples.": 2 * classes,
            "You divide by the size of the whole support set. Divide each class by its own count.": classes / 2,
            "That averages over the classes, not within each: the mean runs over the wrong axis. With as many ways as"
            " shots, the shape does not show it.": points.view(2, 2, 2).mean(0),
            "That averages over the coordinates, axis 1. Average over the examples, axis 0.": (
                points.view(2, 2, 2).mean(2)
            ),
            "A mean without an axis gives one number per class. Average over the examples alone: `mean(dim=0)`.": (
                points.view(2, 2, 2).mean((1, 2))
            ),
            "That is the first example of each class, not the mean of all.": points[::2],
            "That is the median. Equation (2.1) asks for the mean.": points.view(2, 2, 2).median(1).values,
            "That is the mean of all points, whatever their label.": points.mean(0),
        },
    )
    labels = torch.tensor([1, 0, 0, 1])
    inner, outer = points[[1, 2]].mean(0), points[[0, 3]].mean(0)
    expect(
        answer(points, labels, 2),
        torch.stack([inner, outer]),
        case=f"With the same points, but labels {compact(labels)}",
        slips={
            "You take the points in order, as if the classes came one after the other. Use `labels`.": classes,
            "The means are right, but row k belongs to label k, not to the k-th label in the list.": torch.stack(
                [outer, inner]
            ),
        },
    )
    labels = torch.tensor([2, 0, 2, 1, 2, 0])
    points = _normal(6, 3).requires_grad_()
    result = answer(points, labels, 3)
    rows = [[1, 5], [3], [0, 2, 4]]
    expect(
        result,
        torch.stack([points[r].mean(0) for r in rows]),
        case=f"With labels {compact(labels)}, a class of 2, one of 1 and one of 3 examples",
        slips={
            "You divide every class by the same number, but these have 2, 1 and 3 examples.": torch.stack(
                [points[r].sum(0) / 2 for r in rows]
            )
        },
    )
    gradient(result, points, LOST)


@fresh_arguments("protonet.prototypes")
def draw_prototypes(draw: torch.Generator) -> tuple[Tensor, Tensor, int]:
    ways = pick(draw, 2, 5)
    labels = torch.cat([torch.arange(ways), torch.randint(ways, (2 * ways,), generator=draw)])
    labels = labels[torch.randperm(len(labels), generator=draw)]
    return torch.randn(len(labels), pick(draw, 2, 5), generator=draw).requires_grad_(), labels, ways


@right_answer("protonet.prototypes")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].mean(dim=0) for k in range(ways)])


@right_answer("protonet.prototypes")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    member = F.one_hot(labels, ways).to(points.dtype)
    return (member.T @ points) / member.sum(0)[:, None]


@right_answer("protonet.prototypes")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    total = points.new_zeros(ways, points.shape[1]).index_add(0, labels, points)
    return total / torch.bincount(labels, minlength=ways).unsqueeze(1)


@right_answer("protonet.prototypes")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    mask = labels[None, :] == torch.arange(ways)[:, None]
    weight = mask / mask.sum(1, keepdim=True)
    return torch.einsum("ns,sd->nd", weight, points)


@wrong_answer("protonet.prototypes", hint="sum of each class")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].sum(dim=0) for k in range(ways)])


@wrong_answer("protonet.prototypes", hint="whole support set")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return F.one_hot(labels, ways).float().T @ points / len(points)


@wrong_answer("protonet.prototypes", hint="wrong axis")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return points.view(ways, -1, points.shape[1]).mean(dim=0)


@wrong_answer("protonet.prototypes", hint="over the coordinates, axis 1")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].mean(dim=1) for k in range(ways)])


@wrong_answer("protonet.prototypes", hint="without an axis")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].mean() for k in range(ways)])


@wrong_answer("protonet.prototypes", hint="first example")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k][0] for k in range(ways)])


@wrong_answer("protonet.prototypes", hint="median")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].median(dim=0).values for k in range(ways)])


@wrong_answer("protonet.prototypes", hint="You take the points in order")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return points.view(ways, -1, points.shape[1]).mean(dim=1)


@wrong_answer("protonet.prototypes", hint="row k belongs to label k")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].mean(dim=0) for k in dict.fromkeys(labels.tolist())])


@wrong_answer("protonet.prototypes", hint="same number")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return F.one_hot(labels, ways).float().T @ points / (len(points) / ways)


@wrong_answer("protonet.prototypes", hint="no gradient flows")
def _(points: Tensor, labels: Tensor, ways: int) -> Tensor:
    return torch.stack([points[labels == k].mean(dim=0).detach() for k in range(ways)])


@wrong_answer("protonet.prototypes", hint="Is a `return` missing?")
def _(points: Tensor, labels: Tensor, ways: int) -> None:
    torch.stack([points[labels == k].mean(dim=0) for k in range(ways)])


# ------------------------------------------------------------------------------------------------------------ distances


def _squared(a: Tensor, b: Tensor) -> Tensor:
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)


@exercise(
    "protonet.squared_distances",
    lesson="02",
    title="Squared distances of all pairs",
    points=2,
    equation="(2.4)",
    hints=(
        "Give `a` a new axis for the prototypes and `b` one for the queries; broadcasting then pairs each with each.",
        "`a[..., :, None, :]` is […, Q, 1, D] and `b[..., None, :, :]` is […, 1, N, D]: their difference is"
        " […, Q, N, D].",
        "Square the difference, then sum it over the last axis, the coordinates.",
    ),
)
def check_squared_distances(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    a, b = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]]), torch.tensor([[0.0, 1.0], [4.0, 4.0]])
    difference, product = a[:, None] - b[None], a @ b.T
    aa, bb = a.square().sum(1)[:, None], b.square().sum(1)[None]
    expect(
        answer(a, b),
        torch.tensor([[1.0, 32.0], [2.0, 13.0], [9.0, 10.0]]),
        case=f"With a = {compact(a)} and b = {compact(b)}",
        slips={
            "That is the distance. Its square is asked for: leave out the square root.": _squared(a, b).sqrt(),
            "That adds absolute differences, the city-block distance. Square them.": difference.abs().sum(-1),
            "That is the mean over the coordinates, D times too small. Sum over them.": _squared(a, b) / 2,
            "That is transposed, [N, Q]. Queries are rows, prototypes are columns.": _squared(b, a),
            "That is minus the squared distance. The minus belongs to the softmax of equation (2.2).": -_squared(a, b),
            "You sum over the wrong axis. Sum over the last one, the coordinates. With as many coordinates as"
            " prototypes, the shape does not show it.": difference.square().sum(1),
            "You square the sum of the differences. Sum their squares.": difference.sum(-1).square(),
            "‖a − b‖² = ‖a‖² − 2a·b + ‖b‖²: the sign of the middle term is wrong.": aa + 2 * product + bb,
            "‖a − b‖² = ‖a‖² − 2a·b + ‖b‖²: the factor 2 of the middle term is missing.": aa - product + bb,
            "‖a − b‖² = ‖a‖² − 2a·b + ‖b‖²: the first term is missing. The softmax would not notice, but a distance is"
            " asked for.": bb - 2 * product,
            "That is the inner product.": product,
        },
    )
    a, b = _normal(2, 4, 3), _normal(2, 4, 3, seed=1)
    expect(
        answer(a, b),
        _squared(a, b),
        case="With two tasks at once, a [2, 4, 3] and b [2, 4, 3]",
        slips={
            "That pairs the tasks with each other. Count the axes from the end, so that the T tasks in front stay as"
            " they are: `a[..., :, None, :]`.": (a[:, None] - b[None]).square().sum(-1),
            "That compares query i with prototype i alone. Compare each query with each prototype.": (a - b)
            .square()
            .sum(-1),
        },
    )
    a = b[:, :1].clone().requires_grad_()  # the first distance is 0
    slope = gradient(answer(a, b), a, LOST)
    if torch.isnan(slope).any():
        raise Wrong(
            "The gradient is NaN where a query lies on a prototype: the slope of a square root at 0 is infinite. Leave"
            " out the root."
        )
    expect(slope, 2 * (a - b).sum(1, keepdim=True), case="The gradient of the sum of distances to b, with respect to a")


@fresh_arguments("protonet.squared_distances")
def draw_squared_distances(draw: torch.Generator) -> Pair:
    tasks, queries, ways, size = (pick(draw, 2, 5) for _ in range(4))
    a, b = torch.randn(tasks, queries, size, generator=draw), torch.randn(tasks, ways, size, generator=draw)
    a[:, 0] = b[:, -1]  # a query on a prototype: the distance is 0
    return a.requires_grad_(), b.requires_grad_()


@right_answer("protonet.squared_distances")
def _(a: Tensor, b: Tensor) -> Tensor:
    return ((a[..., :, None, :] - b[..., None, :, :]) ** 2).sum(dim=-1)


@right_answer("protonet.squared_distances")
def _(a: Tensor, b: Tensor) -> Tensor:
    aa, bb = (a * a).sum(-1, keepdim=True), (b * b).sum(-1, keepdim=True)
    return aa - 2 * a @ b.transpose(-1, -2) + bb.transpose(-1, -2)


@right_answer("protonet.squared_distances")
def _(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([(a - b[..., n : n + 1, :]).pow(2).sum(-1) for n in range(b.shape[-2])], dim=-1)


@right_answer("protonet.squared_distances")
def _(a: Tensor, b: Tensor) -> Tensor:
    difference = a.unsqueeze(-2) - b.unsqueeze(-3)
    return torch.einsum("...d,...d->...", difference, difference)


@wrong_answer("protonet.squared_distances", hint="That is the distance. Its square")
def _(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b)


@wrong_answer("protonet.squared_distances", hint="city-block")
def _(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None, :] - b[..., None, :, :]).abs().sum(dim=-1)


@wrong_answer("protonet.squared_distances", hint="mean over the coordinates")
def _(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None, :] - b[..., None, :, :]).square().mean(dim=-1)


@wrong_answer("protonet.squared_distances", hint="transposed")
def _(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., None, :, :] - b[..., :, None, :]).square().sum(dim=-1)


@wrong_answer("protonet.squared_distances", hint="wrong axis")
def _(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(dim=1)


@wrong_answer("protonet.squared_distances", hint="sign of the middle term")
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.square().sum(-1)[..., :, None] + 2 * a @ b.mT + b.square().sum(-1)[..., None, :]


@wrong_answer("protonet.squared_distances", hint="minus the squared distance")
def _(a: Tensor, b: Tensor) -> Tensor:
    return -_squared(a, b)


@wrong_answer("protonet.squared_distances", hint="pairs the tasks")
def _(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None] - b[None]).square().sum(dim=-1)


@wrong_answer("protonet.squared_distances", hint="gradient is NaN")
def _(a: Tensor, b: Tensor) -> Tensor:
    return _squared(a, b).sqrt() ** 2


@wrong_answer("protonet.squared_distances", hint="no gradient flows")
def _(a: Tensor, b: Tensor) -> Tensor:
    with torch.no_grad():
        return _squared(a, b)


# ---------------------------------------------------------------------------------------------------------------- loss


@exercise(
    "protonet.loss",
    lesson="02",
    title="The loss of an episode",
    points=2,
    equation="(2.3)",
    hints=(
        "The softmax gets *minus* the distance, so that the nearest prototype has the largest probability.",
        "The probabilities of one query sum to 1 over the prototypes: the softmax runs over axis 1, the columns.",
        "`log_softmax` does not round exp(−2000) to 0 as `softmax(…).log()` does. Then pick, in row q, the column"
        " `labels[q]`, and average with a minus sign.",
        "`F.cross_entropy(logits, labels)` does all of it, once you know what the logits are.",
    ),
)
def check_loss(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    distances, labels = torch.tensor([[1.0, 2.0], [3.0, 2.0], [0.0, 4.0]]), torch.tensor([0, 1, 1])
    rows, each = torch.arange(3), (-distances).log_softmax(1)
    probability = each.exp()[rows, labels]
    wanted = -each[rows, labels].mean()
    expect(
        answer(distances, labels),
        float(wanted),
        case=f"With distances {compact(distances)} and labels {compact(labels)}",
        slips={
            "The sign is lost: the logits are minus the distances. Yours reward a far prototype.": float(
                F.cross_entropy(distances, labels)
            ),
            "That is the mean log-probability. The loss is minus that, so that less is better.": -float(wanted),
            "That is the sum over the queries. Take the mean.": 3 * float(wanted),
            "That is the loss of each query. Take their mean.": -each[rows, labels],
            "`[:, labels]` takes every label for every query. Take one entry per row: `[torch.arange(Q), labels]`.": (
                float(-each[:, labels].mean())
            ),
            "Your softmax runs over the queries, axis 0. Probabilities sum to 1 over the prototypes, axis 1.": float(
                -(-distances).log_softmax(0)[rows, labels].mean()
            ),
            "Your softmax runs over all entries at once. Each query has its own softmax, over its row.": float(
                -(-distances).flatten().log_softmax(0).view(3, 2)[rows, labels].mean()
            ),
            "You take the softmax twice: `cross_entropy` has one inside. Give it the logits.": float(
                F.cross_entropy((-distances).softmax(1), labels)
            ),
            "`nll_loss` needs log-probabilities, but got probabilities.": float(-probability.mean()),
            "That is the mean probability. Average the logarithms.": float(probability.mean()),
            "You take the mean first, then the logarithm. First the logarithm, then the mean.": -math.log(
                float(probability.mean())
            ),
            "That pulls each query to its own prototype, but pushes it away from no other: the sum in the denominator"
            " of equation (2.2) is missing.": float(distances[rows, labels].mean()),
            "That is the accuracy. It has no slope that a network could follow.": 2 / 3,
        },
    )
    far = torch.tensor([[2000.0, 3000.0], [1000.0, 1000.0]])  # float64 rounds exp(−1000) to 0 too
    result = answer(far, torch.tensor([1, 0]))
    case, right = f"With large distances, {compact(far)}, and labels [1, 0]", 500 + math.log(2) / 2
    lost = f"{case}:\n  got     {compact(float(result))}\n  wanted  {compact(right)}\n"
    if not math.isfinite(float(result)):
        raise Wrong(
            f"{lost}exp(−2000) is rounded to 0, and 0 has no logarithm. `softmax(…).log()` has the same trouble. Use"
            " `log_softmax`."
        )
    if float(result) < right - 1:
        raise Wrong(
            f"{lost}A floor under the probability (`p + 1e-8`, `clamp`) caps the loss: a query that is far off costs"
            " no more than one that is a little off, and its gradient is lost. Use `log_softmax`."
        )
    expect(result, right, case=case)

    distances = _normal(4, 3).square().requires_grad_()
    labels = torch.tensor([2, 0, 1, 0])
    wanted_gradient = (F.one_hot(labels, 3) - (-distances).softmax(1)) / 4
    result = answer(distances, labels)
    expect(
        result,
        float(F.cross_entropy(-distances.detach(), labels)),
        case="With random distances of 4 queries, 3 prototypes",
    )
    if not isinstance(result, Tensor):
        raise Wrong(
            "The number is right, but it is not a tensor any more, so no gradient flows. Return it without item()."
        )
    expect(gradient(result, distances, LOST), wanted_gradient, case="The gradient with respect to the distances")


@fresh_arguments("protonet.loss")
def draw_loss(draw: torch.Generator) -> Pair:
    queries, ways = pick(draw, 3, 6), pick(draw, 2, 5)
    distances = 3 * torch.rand(queries, ways, generator=draw)
    return distances.requires_grad_(), torch.randint(ways, (queries,), generator=draw)


@fresh_arguments("protonet.loss")
def draw_large_loss(draw: torch.Generator) -> Pair:
    queries, ways = pick(draw, 3, 6), pick(draw, 2, 5)
    distances = 1000 + 2000 * torch.rand(queries, ways, generator=draw)
    return distances.requires_grad_(), distances.detach().argmax(1)  # whose probabilities are rounded to 0


@right_answer("protonet.loss")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(-distances, labels)


@right_answer("protonet.loss")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    log_p = (-distances).log_softmax(dim=1)
    return -log_p[torch.arange(len(labels)), labels].mean()


@right_answer("protonet.loss")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    own = distances.gather(1, labels[:, None]).squeeze(1)
    return (own + torch.logsumexp(-distances, dim=1)).mean()


@right_answer("protonet.loss")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    d = distances - distances.min(dim=1, keepdim=True).values
    return torch.stack([d[q, y] + (-d[q]).exp().sum().log() for q, y in enumerate(labels)]).mean()


@wrong_answer("protonet.loss", hint="loss of each query")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(-distances, labels, reduction="none")


@wrong_answer("protonet.loss", hint="sign is lost")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(distances, labels)


@wrong_answer("protonet.loss", hint="mean log-probability")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return (-distances).log_softmax(1).gather(1, labels[:, None]).mean()


@wrong_answer("protonet.loss", hint="sum over the queries")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(-distances, labels, reduction="sum")


@wrong_answer("protonet.loss", hint="takes every label for every query")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return -(-distances).log_softmax(dim=1)[:, labels].mean()


@wrong_answer("protonet.loss", hint="`softmax(…).log()` has the same trouble")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss((-distances).softmax(dim=1).log(), labels)


@wrong_answer("protonet.loss", hint="A floor under the probability")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(((-distances).softmax(dim=1) + 1e-8).log(), labels)


@wrong_answer("protonet.loss", hint="A floor under the probability")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss((-distances).softmax(dim=1).clamp(min=1e-12).log(), labels)


@wrong_answer("protonet.loss", hint="axis 0")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss((-distances).log_softmax(dim=0), labels)


@wrong_answer("protonet.loss", hint="softmax twice")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy((-distances).softmax(dim=1), labels)


@wrong_answer("protonet.loss", hint="needs log-probabilities")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss((-distances).softmax(dim=1), labels)


@wrong_answer("protonet.loss", hint="pushes it away from no other")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return distances.gather(1, labels[:, None]).mean()


@wrong_answer("protonet.loss", hint="accuracy")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    return (distances.argmin(1) == labels).float().mean()


@wrong_answer("protonet.loss", hint="rounded to 0")
def _(distances: Tensor, labels: Tensor) -> Tensor:
    p = (-distances).exp() / (-distances).exp().sum(1, keepdim=True)
    return -p[torch.arange(len(labels)), labels].log().mean()


@wrong_answer("protonet.loss", hint="not a tensor any more")
def _(distances: Tensor, labels: Tensor) -> float:
    return F.cross_entropy(-distances, labels).item()


# --------------------------------------------------------------------------------------------------------- linear head


@exercise(
    "protonet.linear_head",
    lesson="02",
    title="The linear classifier inside",
    points=2,
    equation="(2.20)",
    hints=(
        "Multiply out −‖f − c‖². Which of the three terms is the same for all classes, so that the softmax drops it?",
        "The factor of f is the weight. The term without f is the bias.",
        "The bias of class k is minus the squared length of c_k: square, sum over axis 1, change the sign.",
    ),
)
def check_linear_head(answer: Callable[[Tensor], Pair]) -> None:
    c = torch.tensor([[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]])
    length2 = torch.tensor([9.0, 25.0])
    expect(
        answer(c),
        (2 * c, -length2),
        case=f"With prototypes {compact(c)}",
        slips={
            "The weight is 2c, not c: the middle term of −‖f − c‖² is +2c·f.": (c, -length2),
            "This decides in the same way, but its logits are half as large, so its probabilities are less sure. The"
            " logits are minus the squared distances, without the term that the softmax drops.": (c, -length2 / 2),
            "The sign of the bias: −‖f − c‖² has the term −‖c‖².": (2 * c, length2),
            "The sign of the weight: −‖f − c‖² has the term +2c·f.": (-2 * c, -length2),
            "Both signs are wrong: that is +‖f − c‖², but a logit is minus the squared distance.": (-2 * c, length2),
            "The bias is minus the *squared* length of the prototype.": (2 * c, -length2.sqrt()),
            "The weight is [N, D], one row per class, as `F.linear` takes it. Yours is transposed.": (
                2 * c.T,
                -length2,
            ),
            "The bias is one number per class: sum the squares over axis 1 alone.": (2 * c, -length2.sum()),
            "You sum over the classes and get one number per coordinate. Sum over axis 1.": (
                2 * c,
                -c.square().sum(0),
            ),
            "The bias is minus the squared length of c itself, not of 2c.": (2 * c, -4 * length2),
            "Return the weight first, then the bias.": (-length2, 2 * c),
            "That is the weight alone; return the bias too.": 2 * c,
            "That is the bias alone; return the weight too.": -length2,
            "That is twice too large: the weight is 2c, the bias −‖c‖².": (4 * c, -2 * length2),
        },
    )
    c = _normal(4, 4).requires_grad_()
    result = answer(c)
    expect(result, (2 * c, -c.square().sum(1)), case="With 4 random prototypes in 4 dimensions")
    weight, bias = result
    gradient(weight, c, LOST)
    gradient(bias, c, LOST)


@fresh_arguments("protonet.linear_head")
def draw_linear_head(draw: torch.Generator) -> tuple[Tensor]:
    return (torch.randn(pick(draw, 2, 5), pick(draw, 2, 5), generator=draw).requires_grad_(),)


@right_answer("protonet.linear_head")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes, -prototypes.square().sum(dim=1)


@right_answer("protonet.linear_head")
def _(prototypes: Tensor) -> Pair:
    return prototypes + prototypes, -(torch.linalg.vector_norm(prototypes, dim=-1) ** 2)


@right_answer("protonet.linear_head")
def _(prototypes: Tensor) -> list[Tensor]:
    return [prototypes.mul(2), -torch.einsum("nd,nd->n", prototypes, prototypes)]


@right_answer("protonet.linear_head")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes, -(prototypes @ prototypes.T).diagonal()


@wrong_answer("protonet.linear_head", hint="weight alone")
def _(prototypes: Tensor) -> Tensor:
    return 2 * prototypes


@wrong_answer("protonet.linear_head", hint="is 2c, not c")
def _(prototypes: Tensor) -> Pair:
    return prototypes, -prototypes.square().sum(dim=1)


@wrong_answer("protonet.linear_head", hint="half as large")
def _(prototypes: Tensor) -> Pair:
    return prototypes, -prototypes.square().sum(dim=1) / 2


@wrong_answer("protonet.linear_head", hint="sign of the bias")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes, prototypes.square().sum(dim=1)


@wrong_answer("protonet.linear_head", hint="sign of the weight")
def _(prototypes: Tensor) -> Pair:
    return -2 * prototypes, -prototypes.square().sum(dim=1)


@wrong_answer("protonet.linear_head", hint="Both signs are wrong")
def _(prototypes: Tensor) -> Pair:
    return -2 * prototypes, prototypes.square().sum(dim=1)


@wrong_answer("protonet.linear_head", hint="*squared* length")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes, -prototypes.norm(dim=1)


@wrong_answer("protonet.linear_head", hint="transposed")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes.T, -prototypes.square().sum(dim=1)


@wrong_answer("protonet.linear_head", hint="over axis 1 alone")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes, -prototypes.square().sum()


@wrong_answer("protonet.linear_head", hint="over the classes")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes, -prototypes.square().sum(dim=0)


@wrong_answer("protonet.linear_head", hint="weight first")
def _(prototypes: Tensor) -> Pair:
    return -prototypes.square().sum(dim=1), 2 * prototypes


@wrong_answer("protonet.linear_head", hint="no gradient flows")
def _(prototypes: Tensor) -> Pair:
    return 2 * prototypes.detach(), -prototypes.detach().square().sum(dim=1)


# ---------------------------------------------------------------------------------------------------- cosine prototype


@exercise(
    "protonet.cosine_prototype",
    lesson="02",
    title="The best prototype for the cosine",
    points=2,
    equation="(2.23)",
    hints=(
        "The cosine depends on directions alone: scale every point to length 1 before anything else.",
        "The mean of these has the right direction, but is inside the unit sphere. Scale it to length 1 again.",
        "`F.normalize(x, dim=-1)` divides by the length along the last axis. You need it twice.",
    ),
)
def check_cosine_prototype(answer: Callable[[Tensor], Tensor]) -> None:
    def judge(points: Tensor, slips: dict[str, Tensor]) -> None:
        columns = F.normalize(points, dim=0)
        squared = points / points.square().sum(1, keepdim=True)
        also = {
            "You scale the columns to length 1. The points are the rows.": F.normalize(columns.mean(0), dim=0),
            "You divide the points by their *squared* length.": F.normalize(squared.mean(0), dim=0),
        }
        wanted = F.normalize(F.normalize(points, dim=1).mean(0), dim=0)
        expect(answer(points), wanted, case=f"With points {compact(points)}", slips=slips | also)

    points = torch.tensor([[10.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    mean = torch.tensor([1.0, 2.0]) / 3  # of the directions
    judge(
        points,
        slips={
            "The point [10, 0] counts ten times as much as [0, 1], but the cosine depends on directions alone: scale"
            " the points to length 1 before you average.": F.normalize(points.mean(0), dim=0),
            "The direction is right, but the length is not 1: scale the mean too.": mean,
            "The direction is right, but that is the sum of the directions, and its length is not 1.": 3 * mean,
            "You divide the mean by its *squared* length. Divide by the length.": mean / mean.square().sum(),
            "That is the plain mean. It is the best for the squared distance, not for the cosine.": points.mean(0),
            "The direction is right, but the shape is not: [D], without the axis of the points.": (
                mean[None] / mean.norm()
            ),
            "That is the median of the directions. Equation (2.23) asks for their mean.": torch.tensor([0.0, 1.0]),
        },
    )
    judge(torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, 5.0, 12.0]]), {})
    points = _normal(5, 4).requires_grad_()
    result = answer(points)
    expect(result, F.normalize(F.normalize(points, dim=1).mean(0), dim=0), case="With 5 random points in 4 dimensions")
    gradient(result[:1], points, LOST)


@fresh_arguments("protonet.cosine_prototype")
def draw_cosine_prototype(draw: torch.Generator) -> tuple[Tensor]:
    return (torch.randn(pick(draw, 3, 6), pick(draw, 2, 5), generator=draw).requires_grad_(),)


@right_answer("protonet.cosine_prototype")
def _(points: Tensor) -> Tensor:
    return F.normalize(F.normalize(points, dim=-1).mean(dim=0), dim=-1)


@right_answer("protonet.cosine_prototype")
def _(points: Tensor) -> Tensor:
    total = sum(p / p.norm() for p in points)
    return total / total.norm()


@right_answer("protonet.cosine_prototype")
def _(points: Tensor) -> Tensor:
    weight = points.square().sum(1).rsqrt()
    direction = weight @ points
    return direction / (direction @ direction).sqrt()


@wrong_answer("protonet.cosine_prototype", hint="ten times as much")
def _(points: Tensor) -> Tensor:
    return F.normalize(points.mean(dim=0), dim=-1)


@wrong_answer("protonet.cosine_prototype", hint="scale the mean too")
def _(points: Tensor) -> Tensor:
    return F.normalize(points, dim=-1).mean(dim=0)


@wrong_answer("protonet.cosine_prototype", hint="sum of the directions")
def _(points: Tensor) -> Tensor:
    return F.normalize(points, dim=-1).sum(dim=0)


@wrong_answer("protonet.cosine_prototype", hint="divide the mean by its *squared* length")
def _(points: Tensor) -> Tensor:
    mean = F.normalize(points, dim=-1).mean(dim=0)
    return mean / mean.square().sum()


@wrong_answer("protonet.cosine_prototype", hint="divide the points by their *squared* length")
def _(points: Tensor) -> Tensor:
    return F.normalize((points / points.square().sum(dim=-1, keepdim=True)).mean(dim=0), dim=-1)


@wrong_answer("protonet.cosine_prototype", hint="plain mean")
def _(points: Tensor) -> Tensor:
    return points.mean(dim=0)


@wrong_answer("protonet.cosine_prototype", hint="scale the columns")
def _(points: Tensor) -> Tensor:
    return F.normalize(F.normalize(points, dim=0).mean(dim=0), dim=0)


@wrong_answer("protonet.cosine_prototype", hint="without the axis of the points")
def _(points: Tensor) -> Tensor:
    return F.normalize(F.normalize(points, dim=-1).mean(dim=0, keepdim=True), dim=-1)


@wrong_answer("protonet.cosine_prototype", hint="median of the directions")
def _(points: Tensor) -> Tensor:
    return F.normalize(F.normalize(points, dim=-1).median(dim=0).values, dim=-1)


@wrong_answer("protonet.cosine_prototype", hint="no gradient flows")
def _(points: Tensor) -> Tensor:
    return F.normalize(F.normalize(points.detach(), dim=-1).mean(dim=0), dim=-1)
