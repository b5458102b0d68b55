"""Reptile (Nichol, Achiam & Schulman 2018): towards the weights that training on each task would give.

θ is an initialisation, as MAML's. U_τ^k(θ) is what k steps of ordinary training on task τ make of it. Of a batch of T
tasks, each starting from the same θ, the outer step is

    θ ← θ + ε · 1/T · Σ_τ (U_τ^k(θ) − θ)                                           (paper, algorithm 2)

No gradient passes through the k steps, and there is no query set: a task's data are all images of the episode. Each
step sees a minibatch of them, and that is where the learning comes from. In expectation the outer step holds, besides
the gradient of joint training, k(k − 1)/2 · α times the gradient of the inner product of two minibatches' gradients:
a step on one improves the other (section 5.1). With k = 1 that term is gone, and Reptile is joint training (section 3,
equations 6 and 7).

Here `meta_gradient` is θ − mean U_τ^k(θ), so that stochastic gradient descent of rate ε is the outer step.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError, unknown
from .inner_loop import InnerLoop, Loss, Weights, accuracy, plain, trainable

OPTIMISERS = ("adam", "sgd")
BETA, EPS = 0.999, 1e-8  # of Adam's second moments; without first moments (β1 = 0), as in the paper's experiments


class Reptile(InnerLoop):
    """The meta-learner; `InnerLoop` explains network, test_steps, loss and transductive.

    steps: k, the inner steps of meta-training.
    inner_rate: α.
    batch: examples in a minibatch (all, if a task has fewer). They come from shuffled passes over the task's data.
    optimiser: of the inner loop: "adam" without momentum (β1 = 0), with second moments that start anew in every task,
        or "sgd".
    seed: of the minibatches. Their random stream in meta-training is part of `state_dict`; `adapt` begins it anew, so
        that the same support sets always give the same learners.

    Raises `MetaFaceError` for a network that cannot be adapted, an unknown choice, or a rate or number out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        steps: int = 5,
        batch: int = 10,
        inner_rate: float = 1e-3,
        optimiser: str = "adam",
        test_steps: int = 50,
        transductive: bool = False,
        loss: Loss = F.cross_entropy,
        seed: int = 0,
    ) -> None:
        if optimiser not in OPTIMISERS:
            raise unknown("inner optimiser", optimiser, OPTIMISERS)
        for argument, value, least in (("steps", steps, 1), ("batch", batch, 1), ("test_steps", test_steps, 0)):
            if value < least:
                raise MetaFaceError(f"{argument} must be at least {least}, but is {value}.")
        if not inner_rate > 0:
            raise MetaFaceError(f"inner_rate must be above 0, but is {inner_rate}.")
        super().__init__(network, plain(network), test_steps, loss, transductive)
        self.steps, self.batch, self.inner_rate, self.inner_optimiser = steps, batch, inner_rate, optimiser
        self.seed, self._generator = seed, torch.Generator().manual_seed(seed)

    def optimiser(self, rate: float) -> torch.optim.Optimizer:
        """Plain gradient descent: `rate` is ε."""
        return torch.optim.SGD(self.parameters(), lr=rate)

    def minibatches(self, tasks: int, examples: int, steps: int, generator: torch.Generator) -> Tensor:
        """The numbers of the examples in each minibatch: int64 `[T, k, batch]`, shuffled pass after shuffled pass."""
        batch = min(self.batch, examples)
        passes = -(-steps * batch // examples)  # rounded up
        order = torch.rand((tasks, passes, examples), generator=generator, dtype=torch.float64).argsort(dim=2)
        return order.flatten(1)[:, : steps * batch].unflatten(1, (steps, batch))

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """See `InnerLoop.inner_loop`; no outer loop differentiates through these steps, whatever `graph` says.

        Raises `MetaFaceError` if a loss is no longer finite.
        """
        yield weights
        if steps:
            tasks, shots = support.x.shape[:2]
            order = self.minibatches(tasks, shots, steps, torch.Generator().manual_seed(self.seed))
            for after, _, _ in self._descend(weights, support, order):
                yield after

    def _descend(
        self, weights: Weights, data: Examples, minibatches: Tensor
    ) -> Iterator[tuple[Weights, Tensor, Tensor]]:
        """φ_1, …, φ_k, each with the loss and accuracy `[T]` of its minibatch before the step."""
        task = torch.arange(len(data.x), device=data.x.device)[:, None]
        moments = {name: torch.zeros_like(w) for name, w in weights.items()}
        losses: list[Tensor] = []
        for step, chosen in enumerate(minibatches.to(data.x.device).unbind(dim=1), start=1):
            x, y = data.x[task, chosen], data.y[task, chosen]
            weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
            outputs = self.network_per_task(weights, self.network_per_task.prepare(x))
            loss = self.losses(outputs, y)  # [T], and no task depends on another
            gradients = torch.autograd.grad(loss.sum(), list(weights.values()))
            with torch.no_grad():
                for (name, w), gradient in zip(weights.items(), gradients, strict=True):
                    if self.inner_optimiser == "adam":
                        moments[name] = BETA * moments[name] + (1 - BETA) * gradient**2
                        unbiased = moments[name] / (1 - BETA**step)
                        gradient = gradient / (unbiased.sqrt() + EPS)
                    weights[name] = w - self.inner_rate * gradient  # a step of U_τ
            losses.append(loss.detach())
            yield weights, losses[-1], accuracy(outputs, y)
        self.check_finite(losses, len(losses))

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Loss and accuracy to show are those of the last minibatches, before the step on them."""
        self.check(episodes.support)
        x, y = (torch.cat(pair, dim=1) for pair in zip(episodes.support, episodes.query, strict=True))
        tasks, loss, right = len(x), 0.0, 0.0
        order = self.minibatches(tasks, x.shape[1], self.steps, self._generator)
        slow = trainable(self.network)
        for some_x, some_y, chosen in zip(
            *(tensor.split(self.network_per_task.at_once) for tensor in (x, y, order)), strict=True
        ):
            data = Examples(some_x, some_y)
            for weights, lost, accurate in self._descend(self.start(data), data, chosen):  # noqa: B007
                pass  # to the last
            for name, w in weights.items():
                difference = (slow[name].detach() - w).sum(dim=0) / tasks
                before = slow[name].grad
                slow[name].grad = difference if before is None else before + difference
            loss += lost.sum().item() / tasks
            right += accurate.sum().item() / tasks
        return {"loss": loss, "accuracy": right}

    def get_extra_state(self) -> Tensor:
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self._generator.set_state(state)
