"""MAML++ (Antoniou, Edwards & Storkey 2019): six changes to MAML, each with a switch of its own.

All switches off, it is `maml.MAML`. Let t be the outer step, k the inner steps, and φ_0 = θ, φ_1, …, φ_k the weights of
a task. In brackets are the paper's abbreviations.

- Multi-step loss (MSL; `multi_step` = M). The outer loop minimises the query loss after every inner step,

      min_θ  Σ_j v_j L(φ_j; Q),    j = 1, …, k

  All v_j begin at 1/k. In M outer steps those of the earlier inner steps fall to 0, in a straight line,

      v_j = (1 − t/M) / k  for j < k,    v_k = 1 − (k − 1)(1 − t/M) / k

- Learned rates (LSLR; `rates="step"`). Each layer l has a rate for each inner step,

      φ_{l,j+1} = φ_{l,j} − α_{l,j} ∇_l L(φ_j; S)

- Per-step weights and biases of batch normalisation (BNWB; `step_affine`): γ_j and β_j for the network φ_j. The outer
  loop learns them, and the inner loop leaves them alone, as in the released code's settings.
- Per-step running statistics (BNRS; `step_statistics`). φ_0, …, φ_k are k + 1 networks, so each has running averages of
  its own. φ_j normalises by

      μ = (1 − m) μ_j + m · mean of the support set,    and σ² likewise

  After each outer step, μ_j moves to the mean of these over the tasks. An adaptation never moves it.
- Derivative-order annealing (DA; `first_order_steps` = D): gradients of first order while t < D, then of second order.
- Cosine schedule (CA; `cosine_steps` = C): the outer rate falls from β to β/100 in C outer steps,

      β_t = β/100 + (β − β/100) (1 + cos(π t/C)) / 2

The released code (AntreasAntoniou/HowToTrainYourMAMLPytorch) differs:

- It collects the running statistics, but PyTorch's `F.batch_norm(training=True)` never reads them. They are used here
  as its author describes them (its issue 3).
- It has k sets, and uses set j for φ_j on the support set, and for φ_{j+1} on the queries.
- It keeps v_j at 0.03/k or more until the outer step M.
- Its settings for Omniglot and mini-ImageNet have second order from the start (`first_order_to_second_order_epoch` of
  −1). Those for mini-ImageNet let the cosine fall from 0.001 to 0.001.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from .. import shares
from ..episodes import Episodes, Examples
from ..errors import MetaFaceError, unknown
from ..networks import TaskNorm
from .inner_loop import Weights, accuracy
from .maml import MAML, RATES

LOWEST = 0.01  # the last outer rate, for each of the first: 1e-5 for 1e-3 in the released settings for Omniglot


class MAMLPlusPlus(MAML):
    """The meta-learner: MAML, with those changes that are switched on.

    network, test_steps, inner_rate, transductive, loss, first_order, fast: see `MAML`. Where `test_steps` are more than
        `steps`, the further ones use the rates, weights and statistics of the last one. The paper takes as many.
    steps: k, the inner steps of meta-training, at least 1. 5.
    multi_step: M, the outer steps in which the weights of earlier inner steps fall to 0; 0 for MAML's loss. 0.
    rates: "step" for one of each layer and inner step; or one of `maml.RATES`. "fixed".
    step_affine: whether each inner step has its own γ and β in each `TaskNorm`. False.
    step_statistics: whether each inner step has its own running averages in each `TaskNorm`. `ChannelGroups` cannot
        use them, so the network runs one task after the other. False.
    first_order_steps: D, the outer steps with gradients of first order. 0.
    cosine_steps: C, the outer steps of the cosine schedule; 0 for the schedule of `training.meta_train`. 0.

    Raises `MetaFaceError` as `MAML` does, for fewer than one inner step, or for per-step normalisation of a network
    without a `TaskNorm`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        steps: int = 5,
        multi_step: int = 0,
        rates: str = "fixed",
        step_affine: bool = False,
        step_statistics: bool = False,
        first_order_steps: int = 0,
        cosine_steps: int = 0,
        fast: bool = True,
        **options: Any,
    ) -> None:
        if rates not in (*RATES, "step"):
            raise unknown("kind of inner rates", rates, (*RATES, "step"))
        schedule = {"multi_step": multi_step, "first_order_steps": first_order_steps, "cosine_steps": cosine_steps}
        for name, number, least in (("steps", steps, 1), *((name, number, 0) for name, number in schedule.items())):
            if number < least:
                raise MetaFaceError(f"{name} must be at least {least}, but is {number}.")
        if options.get("adapt", "all") != "all":
            raise MetaFaceError("MAML++ adapts all weights, but adapt is not 'all'. Use MAML for ANIL.")
        if options.get("memory", "all") != "all":
            raise MetaFaceError(
                f"MAML++ keeps all inner steps, but memory is {options['memory']!r}. Leave memory out, or use MAML."
            )
        kind = "layer" if rates == "step" else rates
        super().__init__(network, steps=steps, rates=kind, fast=fast and not step_statistics, **options)
        self.multi_step, self.first_order_steps, self.cosine_steps = multi_step, first_order_steps, cosine_steps
        if rates == "step":
            self.rates = nn.Parameter(self.rates.detach().repeat(steps, 1))  # [k, layers]

        norms = {name: each for name, each in network.named_modules() if isinstance(each, TaskNorm)}
        if (step_affine or step_statistics) and not norms:
            raise MetaFaceError(
                "Per-step normalisation needs a network with a TaskNorm, but this one has none. Make it with"
                ' norm="task", or leave step_affine and step_statistics out.'
            )
        self.norms = list(norms)
        self.widths = [len(norm.weight) for norm in norms.values()]
        # Of all norms, one after the other, a row for each of φ_0, …, φ_k: [k + 1, C]
        gammas, betas = (
            torch.cat([getattr(norm, name).detach() for norm in norms.values()] or [self.rates.new_empty(0)]).repeat(
                steps + 1, 1
            )
            for name in ("weight", "bias")
        )
        self.gammas, self.betas = (nn.Parameter(of) if step_affine else None for of in (gammas, betas))
        self.means: Tensor | None
        self.variances: Tensor | None
        # They begin as those of PyTorch's batch normalisation do.
        self.register_buffer("means", torch.zeros_like(gammas) if step_statistics else None)
        self.register_buffer("variances", torch.ones_like(gammas) if step_statistics else None)

    # ------------------------------------------------------------------------------------------------- the inner loop

    def rates_at(self, step: int) -> Weights:
        """The rates α_{l,j} of each weight by its name; see `InnerLoop.rates_at`. γ_j and β_j have none.

        step: j. After the last step of meta-training, the rates are those of that step.
        """
        rates = self.by_weight(self.rates[min(step, self.steps - 1)] if self.rates.ndim == 2 else self.rates)
        own = self.of_step(step, 1)
        return {name: rate for name, rate in rates.items() if name not in own}

    def of_step(self, step: int, tasks: int) -> Weights:
        """What the network φ_j does not share with the others, for each of T tasks, by name: `[T, …]` each.

        step: j. After the last step of meta-training, it is what that step has.
        tasks: T.
        """
        own = {"weight": self.gammas, "bias": self.betas, "mean": self.means, "variance": self.variances}
        return {
            f"{norm}.{name}": value.expand(tasks, -1)
            for name, values in own.items()
            if values is not None
            for norm, value in zip(self.norms, values[min(step, self.steps)].split(self.widths), strict=True)
        }

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """Gradient descent on the support set, with what each step has of its own; see `MAML.inner_loop`."""
        tasks, losses = len(support.x), list[Tensor]()
        inputs = self.network_per_task.prepare(support.x)
        weights, rates = weights | self.of_step(0, tasks), self.rates_at(0)
        yield weights
        for step in range(steps):
            loss, gradients = self.network_per_task.gradient(
                weights, inputs, lambda outputs: self.losses(outputs, support.y), graph
            )
            if self.rates.ndim == 2:
                rates = self.rates_at(step)
            descent = dict(zip(weights, gradients, strict=True))
            # φ_{l,j+1} = φ_{l,j} − α_{l,j} ∇_l L(φ_j; S)
            moved = {name: weights[name] - rate * descent[name] for name, rate in rates.items() if name in weights}
            weights = weights | moved | self.of_step(step + 1, tasks)
            losses.append(loss)
            yield weights
        self.check_finite(losses, steps)

    # ------------------------------------------------------------------------------------------------- the outer loop

    def loss_weights(self) -> list[float]:
        """v_1, …, v_k at this outer step."""
        left = max(0.0, 1 - self.outer_step / self.multi_step) if self.multi_step else 0.0
        each = left / self.steps  # v_j = (1 − t/M) / k
        return [each] * (self.steps - 1) + [1 - (self.steps - 1) * each]

    def outer_rate(self, rate: float, halve_every: float) -> float:
        """β_t of the cosine schedule, if it is switched on; see `MetaLearner.outer_rate`."""
        if not self.cosine_steps:
            return super().outer_rate(rate, halve_every)
        t, lowest = min(self.outer_step, self.cosine_steps), LOWEST * rate
        # β_t = β/100 + (β − β/100) (1 + cos(π t/C)) / 2
        return lowest + (rate - lowest) * (1 + math.cos(math.pi * t / self.cosine_steps)) / 2

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Add the gradient of Σ_j v_j L(φ_j; Q) to the `.grad` of every parameter; see `MetaLearner.meta_gradient`.

        Returns "loss" and "accuracy" after the last inner step. Moves the running averages, if there are any.
        """
        self.check(episodes.support)
        second = not self.first_order and self.outer_step >= self.first_order_steps
        tasks, loss, right = len(episodes.support.x), 0.0, 0.0
        seen = torch.zeros(())
        for part in episodes.split(self.network_per_task.at_once):
            total, asked, found = torch.zeros(()), list[Tensor](), list[Tensor]()
            path = self.inner_loop(self.start(part.support), part.support, self.steps, graph=second)
            for phi, v in zip(path, [0.0, *self.loss_weights()], strict=True):
                if self.means is not None:
                    found.append(self._statistics(phi, part.support.x).sum(dim=1))
                if v:
                    outputs = self.query_outputs(phi, part.support.x, part.query.x)
                    asked.append(self.losses(outputs, part.query.y))
                    total = total + v * asked[-1].sum() / tasks  # Σ_j v_j L(φ_j; Q)
            self.check_finite(asked, self.steps, first=self.steps - len(asked) + 1)
            total.backward()
            loss += asked[-1].sum().item() / tasks
            right += accuracy(outputs, part.query.y).sum().item() / tasks
            if found:
                seen = seen + torch.stack(found, dim=1) / tasks
        if self.means is not None:
            self._move_averages(shares.mean(seen))
        return {"loss": loss, "accuracy": right}

    @torch.no_grad()
    def _statistics(self, weights: Weights, x: Tensor) -> Tensor:
        """Mean and variance of what each `TaskNorm` sees of support sets: `[2, T, C]`.

        weights: φ_j, `[T, …]` each.
        x: images `[T, S, …]`.
        """
        found: list[Tensor] = []

        def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.append(cast(TaskNorm, norm).statistics(*inputs))

        hooks = [norm.register_forward_pre_hook(note) for norm in self._norms()]
        try:
            self.network_per_task(weights, self.network_per_task.prepare(x))
        finally:
            for hook in hooks:
                hook.remove()
        norms = len(self.norms)
        return torch.stack([torch.cat(found[i : i + norms], 1) for i in range(0, len(found), norms)], dim=1)

    @torch.no_grad()
    def _move_averages(self, seen: Tensor) -> None:
        """Move the running averages of each step towards what that step has seen.

        seen: mean and variance of the support sets, `[2, k + 1, C]`, their means over the tasks.
        """
        assert self.means is not None
        assert self.variances is not None
        share = torch.cat([torch.full_like(norm.weight, norm.momentum) for norm in self._norms()])
        for values, new in zip((self.means, self.variances), seen, strict=True):
            values += share * (new - values)  # μ_j ← (1 − m) μ_j + m · mean over the tasks

    def _norms(self) -> list[TaskNorm]:
        return [cast(TaskNorm, self.network.get_submodule(name)) for name in self.norms]
