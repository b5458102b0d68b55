"""Ways to the same meta-gradient of MAML, which differ in memory and time.

k inner steps with rates a lead from φ_0 = θ to φ_k. Let v_k = ∇L(φ_k; Q). The chain rule, from the last step back to
the first (see `maml`), is the *adjoint recursion*

    φ_{j+1} = φ_j − a∘∇L(φ_j; S),    v_j = v_{j+1} − H(φ_j) (a∘v_{j+1})

v_0 is the meta-gradient of θ. On its way the recursion collects the gradient of the rates, −Σ_j ∇L(φ_j; S)∘v_{j+1}. It
needs the φ_j, but not all of what autograd keeps of each step. Let A be the memory of one step's graph, and |θ| that of
the weights. A graph that is thrown away is made again, which costs one more gradient for each step.

    way            what it keeps                            memory      more work in a step
    "all"          the graph of every step                  k·A         none
    "segments"     φ_j before each of √k segments           √k·(A+|θ|)  one gradient
    "steps"        φ_j before each step                     A + k·|θ|   one gradient
    "nested"       φ_j before √k segments and, while one of
                   them is made again, before its steps     A + 2√k·|θ| two gradients
    "adjoint"      φ_j before each step                     A + k·|θ|   one gradient
    "forward"      φ_j before each step                     A + k·|θ|   one gradient
    "differences"  φ_j before each step                     less        none, but no second derivative either

"segments", "steps" and "nested" are checkpointing (Chen, Xu, Zhang & Guestrin 2016): autograd runs through steps that
are made again. It is not that of `torch.utils.checkpoint`, which would run each step's network three times, because a
step takes a gradient itself. The others are the recursion itself, and differ in how they compute H·u:

- "adjoint": as the gradient of ⟨∇L, u⟩, reverse over reverse. `fast.ChannelGroups` has written this product out.
- "forward": as the derivative of ∇L along u, forward over reverse. Kemaev et al. (2025) propose it for meta-gradients.
- "differences": (∇L(φ + εu) − ∇L(φ − εu)) / 2ε. It needs first derivatives alone (Fallah, Mokhtari & Ozdaglar 2020),
  but is not exact, and wrong near a kink such as that of ReLU.

To make a step again is right only if it gives the same numbers again. Dropout would need the state of its random
stream, and running averages would be updated twice. The inner loop refuses networks with either (see `InnerLoop`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.autograd.function import once_differentiable

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError, unknown
from .base import MetaLearner
from .inner_loop import TaskNetwork, Weights, final


class DescendsBySteps(Protocol):
    """What the ways need of a meta-learner, such as `maml.MAML`: inner steps of gradient descent with rates."""

    network_per_task: TaskNetwork

    @property
    def rates(self) -> Tensor:
        """All inner rates, one after the other: `[R]`."""
        ...

    def by_weight(self, rates: Tensor) -> Weights:
        """The rates of each parameter by its name."""
        ...

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """φ_0, φ_1, …, φ_k."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each task, `[T]`."""
        ...

    def check_finite(self, losses: list[Tensor], steps: int) -> None:
        """Raise `MetaFaceError` if a loss is not finite."""
        ...


Way = Callable[[DescendsBySteps, Weights, Examples, int], Weights]  # net, θ, support set, k → φ_k, with its gradient
Gradients = tuple[Tensor, ...]  # of each weight; and last that of the inputs, where gradients flow to these


class _Descent:
    """The inner steps on T support sets, as functions of tensors alone.

    net: whose inner steps they are.
    names: of the weights.
    support: the support sets.
    """

    def __init__(self, net: DescendsBySteps, names: Sequence[str], support: Examples) -> None:
        self.net, self.names, self.targets = net, names, support.y
        self.prepared = net.network_per_task.prepare(support.x)
        # ANIL's inputs are embeddings, which depend on slow weights. Images are data.
        flows = isinstance(self.prepared, Tensor) and self.prepared.requires_grad
        self.inputs: Tensor | None = self.prepared if flows else None
        self.seen: list[Tensor] = []  # the losses `[T]` before each step

    def gradient(self, weights: Sequence[Tensor], inputs: Tensor | None, graph: bool) -> tuple[Tensor, Gradients]:
        """The losses `[T]`, and ∇L."""
        run, own = self.net.network_per_task, dict(zip(self.names, weights, strict=True))
        if inputs is None:
            return run.gradient(own, self.prepared, lambda outputs: self.net.losses(outputs, self.targets), graph)
        losses = self.net.losses(run(own, inputs), self.targets)
        asked = [*weights, inputs]
        return losses.detach(), torch.autograd.grad(losses.sum(), asked, create_graph=graph, materialize_grads=True)

    def rates(self, rates: Tensor) -> list[Tensor]:
        """The rates of each weight."""
        by_weight = self.net.by_weight(rates)
        return [by_weight[name] for name in self.names]

    def step(self, weights: Sequence[Tensor], rates: Tensor, inputs: Tensor | None, graph: bool) -> list[Tensor]:
        """φ_{j+1} = φ_j − a∘∇L(φ_j; S)."""
        losses, gradients = self.gradient(weights, inputs, graph)
        self.seen.append(losses)
        return [w - a * g for w, a, g in zip(weights, self.rates(rates), gradients, strict=False)]

    def path(
        self, weights: Sequence[Tensor], rates: Tensor, inputs: Tensor | None, steps: int
    ) -> Iterator[list[Tensor]]:
        """φ_j, …, φ_{j+steps}, without a graph."""
        now = [w.detach() for w in weights]
        yield now
        for _ in range(steps):
            with torch.enable_grad():
                after = self.step(_leaves(now), rates.detach(), _leaf(inputs), graph=False)
            now = [w.detach() for w in after]
            yield now


def _leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().requires_grad_() for tensor in tensors]


def _leaf(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().requires_grad_()


# -------------------------------------------------------------------------------------------------------- checkpointing


class _MadeAgain(Function):
    """Some inner steps as one operation: φ_j → φ_{j+steps}. `backward` makes them again, this time with a graph.

    If `singly`, it makes each of them an operation of this kind, so that one of their graphs is in memory at a time.
    """

    @staticmethod
    def forward(
        ctx: Any, descent: _Descent, steps: int, singly: bool, rates: Tensor, inputs: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.descent, ctx.steps, ctx.singly = descent, steps, singly
        ctx.save_for_backward(rates, inputs, *weights)
        (last,) = deque(descent.path(weights, rates, inputs, steps), maxlen=1)
        return tuple(last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *v: Tensor) -> tuple[Tensor | None, ...]:
        rates, inputs, *weights = ctx.saved_tensors
        (a, *start), x = _leaves([rates, *weights]), _leaf(inputs)
        with torch.enable_grad():
            phi: Sequence[Tensor] = start
            for _ in range(ctx.steps):
                if ctx.singly:
                    phi = _MadeAgain.apply(ctx.descent, 1, False, a, x, *phi)
                else:
                    phi = ctx.descent.step(phi, a, x, graph=True)
        asked = [a, *start] if x is None else [a, *start, x]
        of_rates, *found = torch.autograd.grad(phi, asked, v, materialize_grads=True)
        of_inputs = None if x is None else found.pop()
        return None, None, None, of_rates, of_inputs, *found


def _checkpointed(
    net: DescendsBySteps, theta: Weights, support: Examples, steps: int, at_once: int, singly: bool = False
) -> Weights:
    """φ_k, with a checkpoint before each segment of `at_once` steps."""
    descent, weights = _Descent(net, [*theta], support), tuple(theta.values())
    for first in range(0, steps, at_once):
        now = min(at_once, steps - first)
        weights = _MadeAgain.apply(descent, now, singly, net.rates, descent.inputs, *weights)
    net.check_finite(descent.seen, steps)
    return dict(zip(theta, weights, strict=True))


def checkpoint_each_step(net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    """φ_k; its gradient makes every step again, from the weights before it."""
    return _checkpointed(net, theta, support, steps, at_once=1)


def checkpoint_segments(net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    """φ_k; its gradient makes √k steps at a time again."""
    return _checkpointed(net, theta, support, steps, at_once=max(1, math.isqrt(steps)))


def checkpoint_nested(net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    """φ_k; its gradient makes √k steps at a time again, and each of them once more."""
    return _checkpointed(net, theta, support, steps, at_once=max(1, math.isqrt(steps)), singly=True)


# ---------------------------------------------------------------------------------------------- the adjoint recursion


def reverse_over_reverse(
    descent: _Descent, phi: Sequence[Tensor], inputs: Tensor | None, u: Sequence[Tensor]
) -> tuple[Gradients, Gradients]:
    """∇L at φ, and H·u as the gradient of ⟨∇L, u⟩."""
    w, x = _leaves(phi), _leaf(inputs)
    _, gradients = descent.gradient(w, x, graph=True)
    asked = w if x is None else [*w, x]
    return gradients, torch.autograd.grad(gradients[: len(w)], asked, u, materialize_grads=True)


def forward_over_reverse(
    descent: _Descent, phi: Sequence[Tensor], inputs: Tensor | None, u: Sequence[Tensor]
) -> tuple[Gradients, Gradients]:
    """∇L at φ, and H·u as its derivative along u: each number carries its derivative with it."""
    with forward_ad.dual_level():  # a dual number owns its memory, which views of θ for every task do not
        w = [forward_ad.make_dual(own.clone().requires_grad_(), along) for own, along in zip(phi, u, strict=True)]
        _, gradients = descent.gradient(w, _leaf(inputs), graph=False)
        both = [forward_ad.unpack_dual(gradient) for gradient in gradients]
    still = [torch.zeros_like(value) if along is None else along for value, along in both]
    return tuple(value for value, _ in both), tuple(still)


def central_differences(
    descent: _Descent, phi: Sequence[Tensor], inputs: Tensor | None, u: Sequence[Tensor]
) -> tuple[Gradients, Gradients]:
    """∇L at φ, and H·u, both from the gradients a little before and after φ along u."""
    size, length = (_norm(tensors) for tensors in (phi, u))  # of each task
    epsilon = torch.finfo(length.dtype).eps ** (1 / 3) * size.clamp(min=1) / length.clamp(min=1e-30)
    found = []
    for way in (epsilon, -epsilon):
        moved = [w + _each(way, w) * along for w, along in zip(phi, u, strict=True)]
        found.append(descent.gradient(_leaves(moved), _leaf(inputs), graph=False)[1])
    after, before = found
    middle = tuple((a + b) / 2 for a, b in zip(after, before, strict=True))
    return middle, tuple((a - b) / _each(2 * epsilon, a) for a, b in zip(after, before, strict=True))


Product = Callable[[_Descent, Sequence[Tensor], Tensor | None, Sequence[Tensor]], tuple[Gradients, Gradients]]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    """The length of each task's vector: `[T]`."""
    return sum((t.flatten(1).square().sum(1) for t in tensors), torch.zeros(())).sqrt()


def _each(number: Tensor, like: Tensor) -> Tensor:
    """A number for each task, `[T]`, in the shape that multiplies `[T, …]`."""
    return number.view(-1, *[1] * (like.ndim - 1))


class _Adjoint(Function):
    """All k inner steps as one operation, θ → φ_k. `backward` is the adjoint recursion."""

    @staticmethod
    def forward(
        ctx: Any,
        descent: _Descent,
        product: Product,
        steps: int,
        rates: Tensor,
        inputs: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        *ctx.path, last = descent.path(weights, rates, inputs, steps)
        ctx.descent, ctx.product = descent, product
        ctx.save_for_backward(rates, inputs)
        return tuple(last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *v: Tensor) -> tuple[Tensor | None, ...]:
        rates, inputs = ctx.saved_tensors
        a, of_rates, of_inputs = ctx.descent.rates(rates), [torch.zeros_like(each[0]) for each in v], None
        while ctx.path:
            u = [rate * each for rate, each in zip(a, v, strict=True)]
            with torch.enable_grad():
                gradients, products = ctx.product(ctx.descent, ctx.path.pop(), inputs, u)
            for total, g, each in zip(of_rates, gradients, v, strict=False):
                total -= (g.detach() * each).sum(0)  # −∇L(φ_j)∘v_{j+1}
            v = tuple(each - hu for each, hu in zip(v, products, strict=False))  # v_j = v_{j+1} − H(φ_j)(a∘v_{j+1})
            if inputs is not None:
                of_inputs = -products[-1] if of_inputs is None else of_inputs - products[-1]
        with torch.enable_grad():  # the rate of a layer gets the sum over its weights
            leaf = _leaves([rates])[0]
            whole = sum((rate * g).sum() for rate, g in zip(ctx.descent.rates(leaf), of_rates, strict=True))
        return None, None, None, *torch.autograd.grad(whole, leaf), of_inputs, *v


def _by_recursion(product: Product, net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    if steps == 0:
        return theta
    descent = _Descent(net, [*theta], support)
    weights = _Adjoint.apply(descent, product, steps, net.rates, descent.inputs, *theta.values())
    net.check_finite(descent.seen, steps)
    return dict(zip(theta, weights, strict=True))


def adjoint(net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    """φ_k; its gradient is the recursion, with H·u by reverse over reverse or by a written-out product."""
    return _by_recursion(reverse_over_reverse, net, theta, support, steps)


def adjoint_forward(net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    """φ_k; its gradient is the recursion, with H·u by forward over reverse.

    Raises `MetaFaceError` for a network that runs as channel groups, whose own product is as good.
    """
    if net.network_per_task.name == "tasks as channel groups":
        raise MetaFaceError(
            "memory='forward' differentiates the network forward, but channel groups have no forward derivative of"
            " autograd's kind. Their own product is written out. Use memory='adjoint', or make the learner with"
            " fast=False."
        )
    return _by_recursion(forward_over_reverse, net, theta, support, steps)


def adjoint_differences(net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    """φ_k; its gradient is the recursion, with H·u by central differences. Use float64."""
    return _by_recursion(central_differences, net, theta, support, steps)


# ------------------------------------------------------------------------------------------------------------ the table


def store_all(net: DescendsBySteps, theta: Weights, support: Examples, steps: int) -> Weights:
    """φ_k, with the graph of every step: what MAML is usually written as."""
    return final(net.inner_loop(theta, support, steps, graph=True))


WAYS: dict[str, Way] = {
    "all": store_all,
    "segments": checkpoint_segments,
    "steps": checkpoint_each_step,
    "nested": checkpoint_nested,
    "adjoint": adjoint,
    "forward": adjoint_forward,
    "differences": adjoint_differences,
}


def check_way(memory: str) -> None:
    """Raise `MetaFaceError` for a way that does not exist."""
    if memory not in WAYS:
        raise unknown("way to the meta-gradient", memory, WAYS)


def gradients(net: MetaLearner, episodes: Episodes) -> dict[str, Tensor]:
    """The meta-gradient of each slow parameter that has one, by name, apart from what `.grad` holds.

    net: the meta-learner.
    episodes: the tasks.
    """
    before = {name: parameter.grad for name, parameter in net.named_parameters()}
    try:
        net.zero_grad()
        net.meta_gradient(episodes)
        return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    finally:
        for name, parameter in net.named_parameters():
            parameter.grad = before[name]
