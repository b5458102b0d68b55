"""iMAML (Rajeswaran, Finn, Kakade & Levine 2019): a meta-gradient from where the inner loop ends, not from its path.

The learner of a task solves a problem with a *proximal term*, which keeps it near the slow weights θ with strength λ:

    φ* = argmin_φ  L(φ; S) + λ/2 ‖φ − θ‖²

At φ* the gradient is 0: ∇L(φ*; S) + λ(φ* − θ) = 0. Move θ, and φ* follows so that this stays 0. With H the Hessian of
L(φ; S) at φ*,

    H dφ* + λ(dφ* − dθ) = 0,    so    dφ*/dθ = (I + H/λ)^{-1}            (paper, the implicit Jacobian)

and the meta-gradient of a task is

    g = (I + H/λ)^{-1} v,    v = ∇L(φ*; Q)

It needs no step of the inner loop, so memory does not grow with their number, and any solver will do. Here it is
gradient descent. *Conjugate gradients* solve (I + H/λ) g = v by products H·u alone. After m iterations their error,
in the norm ‖e‖² = ⟨e, (I + H/λ)e⟩, is at most

    2 ((√κ − 1)/(√κ + 1))^m    times the error of g = 0,    κ = (λ + λ_max(H))/(λ + λ_min(H))

Two things can go wrong.

- **The inner problem is not solved.** Then the gradient belongs to another point. On ½a(φ − c)² the k-th step has
  φ_k − φ* = (1 − α(a + λ))^k (θ − φ*), and g is off by λa/(a + λ)·(φ_k − φ*). `meta_gradient` reports the norm of the
  gradient that should be 0.
- **H + λI is not positive definite.** Then φ* is not a minimum, or the inner loop is far from it, and conjugate
  gradients are not defined. `meta_gradient` warns. A larger λ, or more steps, help.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError
from .fast import ChannelGroups
from .inner_loop import AdaptedLearner, InnerLoop, Loss, TaskNetwork, Weights, accuracy, in_parts, plain


class Solution(NamedTuple):
    """What conjugate gradients found for T systems of P equations.

    x: `[T, P]`.
    residuals: ‖b − Ax‖ / ‖b‖ before the first and after each iteration: `[m + 1, T]`.
    indefinite: where A turned out not to be positive definite, bool `[T]`. There x is that of the iteration before, or
        b if there was none.
    """

    x: Tensor
    residuals: Tensor
    indefinite: Tensor


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float = 0.0) -> Solution:
    """Solve Ax = b for T systems at once, from products with A alone (Hestenes & Stiefel 1952).

    product: u `[T, P]` → Au `[T, P]`, with A symmetric and positive definite.
    b: `[T, P]`.
    steps: the most iterations. In exact arithmetic P are enough.
    tolerance: a system with a smaller residual ‖b − Ax‖ / ‖b‖ is finished. 0, which stands for rounding error.
    """
    tolerance = max(tolerance, torch.finfo(b.dtype).eps)
    x, r, p = torch.zeros_like(b), b, b
    square = first = _dot(r, r)
    indefinite = torch.zeros_like(first, dtype=torch.bool)
    residuals = [torch.where(first > 0, 1.0, 0.0).to(b)]
    for _ in range(steps):
        going = ~indefinite & (square > tolerance**2 * first)
        if not going.any():
            break
        ap = product(p)
        curvature = _dot(p, ap)
        indefinite = indefinite | (going & (curvature <= 0))
        going = going & (curvature > 0)
        step = torch.where(going, square / curvature, 0.0)[:, None]  # to the minimum of ½⟨x, Ax⟩ − ⟨b, x⟩ along p
        x, r = x + step * p, r - step * ap
        before, square = square, torch.where(going, _dot(r, r), square)
        p = torch.where(going[:, None], r + (square / before)[:, None] * p, p)  # conjugate: ⟨p, Ap_before⟩ = 0
        residuals.append(torch.where(first > 0, (square / first).sqrt(), 0.0))
    nothing = indefinite & (_dot(x, x) == 0)
    return Solution(torch.where(nothing[:, None], b, x), torch.stack(residuals), indefinite)


class ImplicitMAML(InnerLoop):
    """The meta-learner, whose slow weights θ are those near which every task is solved.

    network, loss, transductive: see `InnerLoop`.
    proximal: λ, the strength of the proximal term.
    steps: k, the most inner steps of meta-training.
    test_steps: the most inner steps of `adapt`; as many as `steps` if None.
    inner_rate: α. Gradient descent needs α < 2/(λ + λ_max(H)).
    tolerance: the inner loop ends before its last step when ‖∇L(φ; S) + λ(φ − θ)‖ is at most this in every task that
        runs together. 0, which takes all steps.
    cg_steps: the most iterations of conjugate gradients.
    cg_tolerance: they end when the residual ‖v − (I + H/λ)g‖ / ‖v‖ is below this. 0, which stands for rounding error.
    damping: added to I in the system, which is then (1 + damping)I + H/λ. 0, as in the equation.
    fast: whether to run the network by `fast.ChannelGroups` if that supports it.

    Raises `MetaFaceError` for a network that cannot be adapted, or a number out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        proximal: float = 2.0,
        steps: int = 16,
        test_steps: int | None = None,
        inner_rate: float = 0.1,
        tolerance: float = 0.0,
        cg_steps: int = 5,
        cg_tolerance: float = 0.0,
        damping: float = 0.0,
        transductive: bool = False,
        loss: Loss = F.cross_entropy,
        fast: bool = True,
    ) -> None:
        test_steps = steps if test_steps is None else test_steps
        if not proximal > 0:
            raise MetaFaceError(
                f"proximal must be above 0, but is {proximal}. It is λ, which keeps a task near the slow weights."
            )
        for name, value, least in (
            ("steps", steps, 0),
            ("test_steps", test_steps, 0),
            ("cg_steps", cg_steps, 1),
            ("tolerance", tolerance, 0),
            ("cg_tolerance", cg_tolerance, 0),
            ("damping", damping, 0),
        ):
            if not value >= least:
                raise MetaFaceError(f"{name} must be {least} or more, but is {value}.")
        network_per_task: TaskNetwork = (ChannelGroups.of(network) if fast else None) or plain(network)
        super().__init__(network, network_per_task, inner_rate, test_steps, loss, transductive)
        self.proximal, self.steps, self.tolerance = proximal, steps, tolerance
        self.cg_steps, self.cg_tolerance, self.damping = cg_steps, cg_tolerance, damping

    def check(self, support: Examples) -> None:
        """See `InnerLoop.check`. Weights may have been frozen since the meta-learner was made."""
        super().check(support)
        if isinstance(self.network_per_task, ChannelGroups) and not ChannelGroups.of(self.network):
            self.network_per_task = plain(self.network)

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """Gradient descent on the proximal problem; see `InnerLoop.inner_loop`. It may end early (see `tolerance`).

        No outer loop differentiates through these steps, so `graph` has no effect.

        Raises `MetaFaceError` if a loss is no longer finite.
        """
        yield from self._descend(weights, support, steps, self.proximal)

    def _descend(self, theta: Weights, support: Examples, steps: int, pull: float) -> Iterator[Weights]:
        theta = {name: w.detach() for name, w in theta.items()}
        inputs, losses, weights = self.network_per_task.prepare(support.x), list[Tensor](), theta
        yield weights
        for _ in range(steps):
            loss, gradients = self._gradient(weights, inputs, support.y)
            losses.append(loss)
            gradients = {name: g + pull * (weights[name] - theta[name]) for name, g in gradients.items()}
            if self.tolerance and (_flat(gradients).norm(dim=1) <= self.tolerance).all():
                break
            weights = {name: w - self.inner_rate * gradients[name] for name, w in weights.items()}
            yield weights  # φ_j = φ_{j−1} − α (∇L(φ_{j−1}; S) + λ(φ_{j−1} − θ))
        self.check_finite(losses, steps)

    def _gradient(self, weights: Weights, inputs: object, targets: Tensor) -> tuple[Tensor, Weights]:
        """The losses `[T]`, and ∇L(φ; S)."""
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        loss, found = self.network_per_task.gradient(
            leaves, inputs, lambda outputs: self.losses(outputs, targets), graph=False
        )
        return loss, dict(zip(weights, found, strict=True))

    def hessian(self, weights: Weights, support: Examples) -> Callable[[Tensor], Tensor]:
        """The product with the Hessian of L(φ; S) of each task: u `[T, P]` → Hu `[T, P]`.

        weights: φ, `[T, …]` each. Their numbers, one after the other, are the P coordinates of u.
        support: the examples of S.
        """
        inputs = self.network_per_task.prepare(support.x)

        def product(u: Tensor) -> Tensor:
            leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
            with torch.enable_grad():
                _, gradients = self.network_per_task.gradient(
                    leaves, inputs, lambda outputs: self.losses(outputs, support.y), graph=True
                )
                along = list(_like(weights, u).values())
                found = torch.autograd.grad(gradients, list(leaves.values()), along, materialize_grads=True)
            return _flat(dict(zip(weights, found, strict=True)))

        return product

    def system(self, u: Tensor, hu: Tensor) -> Tensor:
        """(I + H/λ)u, and damping·u where that is asked for: `[T, P]`.

        u: `[T, P]`.
        hu: Hu, `[T, P]`.
        """
        return (1 + self.damping) * u + hu / self.proximal

    def implicit_gradient(self, weights: Weights, support: Examples, v: Weights) -> tuple[Weights, Solution]:
        """g = (I + H/λ)^{-1} v, by conjugate gradients.

        weights: φ*, `[T, …]` each, where H is taken.
        support: the examples of S.
        v: ∇L(φ*; Q), `[T, …]` each.

        Returns g, and how it was found. Warns if the system is not positive definite.
        """
        hessian = self.hessian(weights, support)
        found = conjugate_gradients(
            lambda u: self.system(u, hessian(u)), _flat(v), self.cg_steps, tolerance=self.cg_tolerance
        )
        if found.indefinite.any():
            warnings.warn(
                f"H + λI is not positive definite with λ = {self.proximal:g}: conjugate gradients met a direction"
                " along which the inner problem curves downwards, and stopped there. Take a larger proximal, or more"
                " inner steps.",
                stacklevel=3,
            )
        return _like(weights, found.x), found

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Add the implicit meta-gradient to the `.grad` of every parameter; see `MetaLearner.meta_gradient`.

        Also returns "inner_steps", the inner steps taken; "inner_gradient", the largest norm ‖∇L(φ; S) + λ(φ − θ)‖ at
        their end, which is 0 where the inner problem is solved; "cg_residual", the largest of conjugate gradients; and
        "indefinite", the share of tasks in which these stopped because H + λI is not positive definite.
        """
        self.check(episodes.support)
        tasks, loss, right, stopped = len(episodes.support.x), 0.0, 0.0, 0.0
        taken, slope, residual = 0, 0.0, 0.0
        for part in episodes.split(self.network_per_task.at_once):
            theta = self.start(part.support)
            for count, weights in enumerate(self.inner_loop(theta, part.support, self.steps)):  # noqa: B007
                pass  # only the last weights are needed
            phi = {name: w.detach().requires_grad_() for name, w in weights.items()}
            outputs = self.query_outputs(phi, part.support.x, part.query.x)
            losses = self.losses(outputs, part.query.y)
            self.check_finite([losses], self.steps, first=count)
            v = torch.autograd.grad(losses.sum(), list(phi.values()), materialize_grads=True)  # ∇L(φ*; Q)
            g, solution = self.implicit_gradient(weights, part.support, dict(zip(phi, v, strict=True)))
            torch.autograd.backward(list(theta.values()), [each / tasks for each in g.values()])
            loss += losses.sum().item() / tasks
            right += accuracy(outputs, part.query.y).sum().item() / tasks
            stopped += solution.indefinite.sum().item() / tasks
            taken, residual = max(taken, count), max(residual, solution.residuals[-1].max().item())
            slope = max(slope, self.slope(weights, theta, part.support).max().item())
        scores = {"loss": loss, "accuracy": right, "inner_steps": taken, "inner_gradient": slope}
        return scores | {"cg_residual": residual, "indefinite": stopped}

    def slope(self, weights: Weights, theta: Weights, support: Examples) -> Tensor:
        """‖∇L(φ; S) + λ(φ − θ)‖ of each task, `[T]`: 0 where φ solves the inner problem.

        weights: φ, `[T, …]` each.
        theta: θ, `[T, …]` each.
        support: the examples of S.
        """
        _, gradients = self._gradient(weights, self.network_per_task.prepare(support.x), support.y)
        away = {name: w.detach() - theta[name].detach() for name, w in weights.items()}
        return (_flat(gradients) + self.proximal * _flat(away)).norm(dim=1)

    def adapt(self, support: Examples) -> AdaptedLearner:
        """Learn the people of each task, some tasks at a time because their inner loops need much memory."""
        self.check(support)
        return in_parts(self, super().adapt, support)


class ImplicitMAMLAsPublished(ImplicitMAML):
    """What the paper's published code computes, which is not the paper's equation. For comparison only.

    The repository `aravindr93/imaml_dev`, at commit 29d3fcf, differs in two places (`omniglot_implicit_maml.py` and
    `learner_model.py`; its README's command has λ = 2 and damping 1):

    - The k inner steps leave the proximal term out. One step on λ/2 ‖φ − θ‖² alone follows, with the same rate. So φ
      does not solve the inner problem, however many steps there are.
    - The system is (1 + damping)I + H/(λ + 10), with 10 a second damping.

    options: those of `ImplicitMAML`; damping is 1 if it is not given.
    """

    def __init__(self, network: nn.Module, *, damping: float = 1.0, **options: float) -> None:
        super().__init__(network, damping=damping, **options)  # type: ignore[arg-type]

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """k steps on the support loss, and one that pulls back; see `ImplicitMAML.inner_loop`."""
        theta = {name: w.detach() for name, w in weights.items()}
        for weights in self._descend(theta, support, steps, pull=0.0):
            yield weights
        yield {name: w - self.inner_rate * self.proximal * (w - theta[name]) for name, w in weights.items()}

    def system(self, u: Tensor, hu: Tensor) -> Tensor:
        return (1 + self.damping) * u + hu / (self.proximal + 10)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each task: `[T]`."""
    return (a * b).sum(dim=1)


def _flat(weights: Weights) -> Tensor:
    """All numbers of each task, one after the other: `[T, P]`."""
    return torch.cat([w.flatten(1) for w in weights.values()], dim=1)


def _like(weights: Weights, flat: Tensor) -> Weights:
    """The numbers of `_flat` by name, in the shapes of these weights."""
    parts = flat.split([w[0].numel() for w in weights.values()], dim=1)
    return {name: part.view_as(w) for (name, w), part in zip(weights.items(), parts, strict=True)}
