"""How curved the support loss is, and so the inner rate above which the inner loop diverges.

Near a minimum φ* a loss is L(φ) ≈ L(φ*) + ½ (φ − φ*)ᵀH(φ − φ*). A step of gradient descent, φ ← φ − αH(φ − φ*), then
multiplies the error along each eigenvector of H by 1 − αλ_i, and k steps multiply it by (1 − αλ_i)^k. That shrinks
while |1 − αλ_i| < 1 for all i, so the inner loop diverges above

    α* = 2/λ_max(H)

With rates of their own for layers or weights, D = diag(a), the step is φ ← φ − cDH(φ − φ*) for a common factor c. The
matrix DH has the eigenvalues of D^½HD^½, because D^−½(DH)D^½ = D^½HD^½. So the common factor has the limit

    c* = 2/λ_max(D^½HD^½)

No Hessian is formed. Its product with a vector v costs about two gradients (Pearlmutter 1994), in one of two ways:

- "reverse": the gradient of ⟨∇L, v⟩, reverse over reverse. It works for every way in which a network runs;
- "forward": the derivative of ∇L along v, forward over reverse. It needs no graph of the gradient.

Power iteration, v ← Hv/‖Hv‖, keeps the last of the vectors v, Hv, H²v, …, and ends at the eigenvalue of largest
*magnitude*, which may be negative. Lanczos (1950) keeps all of them, as orthonormal q_1, q_2, …, q_m, with

    H q_j = β_{j−1} q_{j−1} + α_j q_j + β_j q_{j+1}

So in these coordinates H is a small matrix with α on its diagonal and β beside it. Its largest eigenvalue λ is the
largest vᵀHv of all unit vectors v in their span. It is never above λ_max, and comes close with far fewer products. If s
is its eigenvector, ‖Hv − λv‖ = β_m|s_m| is the residual. H is symmetric, so an eigenvalue is within it of λ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp

from ..bars import Bar
from ..episodes import Examples
from ..errors import MetaFaceError, unknown
from .fast import ChannelGroups
from .inner_loop import InnerLoop, OneByOne, Weights, final
from .reptile import Reptile

WAYS = ("reverse", "forward")


@dataclass(frozen=True)
class Curvature:
    """The largest curvature of the support loss of each of T tasks.

    largest: λ_max, the largest eigenvalue, `[T]`; it is negative where the loss bends down in every direction.
    residual: ‖Hv − λv‖, how far an eigenvalue can be from λ, `[T]`.
    products: how many products of the Hessian and a vector it took, int64 `[T]`.
    settled: whether the residual reached the tolerance, bool `[T]`.
    """

    largest: Tensor
    residual: Tensor
    products: Tensor
    settled: Tensor

    @property
    def limit(self) -> Tensor:
        """2/λ_max, the largest inner rate (or common factor of the rates) that does not diverge; infinite for λ ≤ 0."""
        return torch.where(self.largest > 0, 2 / self.largest, torch.inf)

    def summary(self) -> dict[str, float]:
        """The limits of the tasks in a few numbers, for a table: quartiles, extremes, and how sure they are.

        "residual" is the largest one, as a part of λ. "products" is the mean number. "settled" is a share of the tasks.
        """
        low, median, high = self.limit.double().quantile(torch.tensor([0.25, 0.5, 0.75]).to(self.limit).double())
        return {
            "median": median.item(),
            "low": low.item(),
            "high": high.item(),
            "smallest": self.limit.min().item(),
            "largest": self.limit.max().item(),
            "residual": (self.residual / self.largest.abs()).max().item(),
            "products": self.products.double().mean().item(),
            "settled": self.settled.double().mean().item(),
        }

    @staticmethod
    def join(parts: list[Curvature]) -> Curvature:
        """All tasks in one, part after part."""
        return Curvature(*(torch.cat([getattr(part, name) for part in parts]) for name in Curvature.__annotations__))


def curvature(
    net: InnerLoop,
    support: Examples,
    weights: Weights | None = None,
    *,
    rates: Weights | None = None,
    way: str = "reverse",
    tolerance: float = 1e-3,
    most: int = 200,
    seed: int = 0,
    progress: bool = False,
) -> Curvature:
    """The largest curvature of each task's support loss, and with it the limit of the inner rate.

    Only what the inner loop changes counts: all weights, or the head of ANIL. Reptile's loss is that of the whole
    support set; its steps see minibatches of it.

    net: the meta-learner: MAML, FOMAML, ANIL, MAML++, ProtoMAML or Reptile.
    support: the support sets, x `[T, S, …]`.
    weights: of each task, `[T, …]` each; None for those from which the tasks start.
    rates: inner rates by weight, such as `net.rates_at(0)`. Then λ_max is that of D^½HD^½, and `limit` is a common
        factor of these rates. None for H, and `limit` is an inner rate.
    way: "reverse" or "forward", see above. "reverse".
    tolerance: where the iteration stops, ‖Hv − λv‖/|λ|. The error of λ is usually about its square. 0.001.
    most: the most products for a task. 200.
    seed: of the first vector of each task. 0.
    progress: whether to show a progress bar. False.

    Raises `MetaFaceError` for an unknown way, for rates below 0, for Reptile with Adam, or if the curvature is not
    finite.
    """
    if way not in WAYS:
        raise unknown("way to multiply by the Hessian", way, WAYS)
    if isinstance(net, Reptile) and net.inner_optimiser != "sgd":
        raise MetaFaceError(
            f"The inner loop takes steps of {net.inner_optimiser}, but 2/λ is the limit of gradient descent. Make"
            ' Reptile with optimiser="sgd".'
        )
    if rates is not None and (negative := [name for name, rate in rates.items() if (rate < 0).any()]):
        raise MetaFaceError(
            f"The inner rates of '{negative[0]}' are below 0 in part, so D^½ does not exist. Leave rates out, and take"
            " the curvature of the loss itself."
        )
    net.check(support)
    with torch.enable_grad():  # evaluation may have switched it off
        start = net.start(support) if weights is None else weights
        if weights is None:  # φ_0, with what a learner adds to θ
            start = final(net.inner_loop(start, support, 0))
    changing = [name for name in net.rates_at(0) if name in start]
    generator = torch.Generator().manual_seed(seed)
    first = {
        name: torch.randn(start[name].shape, generator=generator, dtype=torch.float64).to(start[name])
        for name in changing
    }
    parts, at_once = [], net.network_per_task.at_once
    tasks = range(0, len(support.x), at_once)
    with Bar(label="curvature", unit="part", total=len(tasks), shown=progress) as bar:
        for task in tasks:

            def part(values: Weights, task: int = task) -> Weights:
                return {name: value[task : task + at_once] for name, value in values.items()}

            some = Examples(*(tensor[task : task + at_once] for tensor in support))
            product = _product(net, part(start), some, changing, way)
            if rates is not None:
                product = _scaled(product, {name: rates[name].detach().sqrt() for name in changing})
            parts.append(_largest(product, part(first), tolerance, most))
            bar.update()
    return Curvature.join(parts)


def along_the_inner_loop(net: InnerLoop, support: Examples, steps: int, **options: Any) -> list[Curvature]:
    """The curvature at φ_0, φ_1, …, φ_k, the weights before the first and after each inner step.

    net, support: see `curvature`.
    steps: k.
    options: those of `curvature`, without `weights`.

    Raises `MetaFaceError` as `curvature` does, or if a loss is no longer finite.
    """
    with torch.enable_grad():
        path = [
            {name: w.detach() for name, w in phi.items()} for phi in net.inner_loop(net.start(support), support, steps)
        ]
    return [curvature(net, support, phi, **options) for phi in path]


def hessian_vector(net: InnerLoop, weights: Weights, support: Examples, v: Weights, way: str = "reverse") -> Weights:
    """H·v of each task, with H the Hessian of its support loss, by name: `[T, …]` each.

    net: whose inner loop takes steps on this loss.
    weights: φ, of each task, `[T, …]` each.
    support: the support sets.
    v: the vectors, by the names of the weights that change, `[T, …]` each.
    way: "reverse" or "forward", see above. "reverse".

    Raises `MetaFaceError` for an unknown way.
    """
    if way not in WAYS:
        raise unknown("way to multiply by the Hessian", way, WAYS)
    return _product(net, weights, support, list(v), way)(v)


def _product(net: InnerLoop, weights: Weights, support: Examples, changing: list[str], way: str) -> _Product:
    """The function v → H·v at some weights."""
    run = net.network_per_task
    if way == "forward" and isinstance(run, ChannelGroups):  # autograd has no forward derivative of it
        run = OneByOne(net.network)
    with torch.no_grad():
        inputs = run.prepare(support.x)
    fixed = {name: w.detach().clone() for name, w in weights.items()}  # a start is a view, expanded over the tasks

    def losses(outputs: Tensor) -> Tensor:
        return net.losses(outputs, support.y)

    def reverse(v: Weights) -> Weights:
        own = {name: w.detach().requires_grad_() for name, w in fixed.items()}
        with torch.enable_grad():
            _, gradients = run.gradient(own, inputs, losses, graph=True)
            # Tasks do not depend on each other, so one sum has the products of all: H·v = ∇⟨∇L, v⟩
            found = dict(zip(own, gradients, strict=True))
            inner = torch.stack([(found[name] * v[name]).sum() for name in changing]).sum()
        if not inner.requires_grad:  # the loss is linear
            return {name: torch.zeros_like(v[name]) for name in changing}
        asked = [own[name] for name in changing]
        return dict(zip(changing, torch.autograd.grad(inner, asked, materialize_grads=True), strict=True))

    def forward(v: Weights) -> Weights:
        one = OneByOne(run.adapted)  # under `vmap`, second derivatives can be wrong

        def loss(own: Weights) -> Tensor:
            return losses(one(fixed | own, inputs)).sum()

        here = {name: fixed[name] for name in changing}
        found: Weights = jvp(grad(loss), (here,), (v,))[1]  # H·v = d/dε ∇L(φ + εv) at ε = 0
        return {name: each.detach() for name, each in found.items()}

    return reverse if way == "reverse" else forward


_Product = Callable[[Weights], Weights]


def _scaled(product: _Product, root: Weights) -> _Product:
    """The function v → D^½HD^½·v; root is the diagonal of D^½, by name."""

    def scaled(v: Weights) -> Weights:
        found = product({name: root[name] * each for name, each in v.items()})
        return {name: root[name] * each for name, each in found.items()}

    return scaled


def _flat(v: Weights) -> Tensor:
    """One vector of each task, `[T, P]`."""
    return torch.cat([each.flatten(1) for each in v.values()], dim=1)


def _largest(product: _Product, first: Weights, tolerance: float, most: int) -> Curvature:
    """The largest eigenvalue of each task, by the method of Lanczos.

    product: v → H·v.
    first: the vectors to begin with.
    tolerance, most: see `curvature`.
    """
    shapes = {name: v.shape for name, v in first.items()}
    sizes = [shape[1:].numel() for shape in shapes.values()]
    q = _flat(first)
    q = q / q.norm(dim=1, keepdim=True)
    tasks, known = len(q), q.new_zeros((0, *q.shape))  # q_1, q_2, …: [m, T, P]
    small = q.new_zeros((tasks, most, most), dtype=torch.float64)
    value, residual = (q.new_zeros(tasks, dtype=torch.float64) for _ in range(2))
    products, settled = (q.new_zeros(tasks, dtype=kind) for kind in (torch.int64, torch.bool))
    for m in range(1, most + 1):
        known = torch.cat([known, q[None]])
        v = {name: x.view(shapes[name]) for name, x in zip(shapes, q.split(sizes, dim=1), strict=True)}
        rest = _flat(product(v))
        alpha = (q * rest).sum(1)  # α_m = q_mᵀHq_m
        for _ in range(2):  # once more, because rounding lets old directions come back
            rest = rest - torch.einsum("mtp,mt->tp", known, torch.einsum("mtp,tp->mt", known, rest))
        beta = rest.norm(dim=1)  # β_m
        if not (alpha.isfinite() & beta.isfinite()).all():
            raise MetaFaceError(
                "The curvature of the support loss is not finite, so the weights or the inputs are not. Lower the inner"
                " rate of the path, or look for NaN in the data."
            )
        small[:, m - 1, m - 1] = alpha
        values, vectors = torch.linalg.eigh(small[:, :m, :m])
        size = values.abs().amax(1)  # about ‖H‖: a curvature of 0 cannot be known better than a part of it
        now = values[:, -1], beta * vectors[:, -1, -1].abs()  # λ, and ‖Hv − λv‖ = β_m|s_m|
        value, residual = (torch.where(settled, *pair) for pair in zip((value, residual), now, strict=True))
        products = torch.where(settled, products, m)
        settled = settled | (residual <= tolerance * torch.maximum(value.abs(), tolerance * size))
        if settled.all() or m == most:
            break
        small[:, m, m - 1] = small[:, m - 1, m] = beta
        q = rest / torch.where(beta > 0, beta, 1)[:, None]
    return Curvature(value.to(q), residual.to(q), products, settled)
