"""Reptile (Nichol, Achiam & Schulman 2018): move towards the weights that training on each task would give.

θ is an initialisation, as in MAML. U_τ^k(θ) is what k steps of ordinary training on task τ make of it. For a batch of T
tasks, which all start from the same θ, the outer step is

    θ ← θ + ε · 1/T · Σ_τ (U_τ^k(θ) − θ)                                           (paper, algorithm 2)

No gradient passes through the k steps, and no query set is needed: all images of the episode are the task's data. Each
step sees a minibatch of them, and this is what makes Reptile more than joint training. In expectation the outer step
contains the gradient of joint training, and also k(k − 1)/2 · α times the gradient of an inner product: that of two
minibatches' gradients. So it favours weights where a step on one minibatch improves the other (section 5.1). With
k = 1 that term is 0, and Reptile is joint training (section 3, equations 6 and 7).

Here `meta_gradient` is θ − mean U_τ^k(θ), so that gradient descent with rate ε takes the outer step.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError, unknown
from ..shares import rand
from .inner_loop import InnerLoop, Loss, Weights, accuracy, gradient_of, plain, trainable

OPTIMISERS = ("adam", "sgd")
BETA, EPS = 0.999, 1e-8  # of Adam's second moments; as in the paper's experiments it has no first ones (β1 = 0)


class Reptile(InnerLoop):
    """The meta-learner, whose slow weights θ are an initialisation from which a few steps learn a task.

    network, loss, transductive: see `InnerLoop`.
    steps: k, the inner steps of meta-training.
    batch: the examples in a minibatch, or all if a task has fewer. They come from shuffled passes over the task's data.
    inner_rate: α.
    optimiser: that of the inner loop: "sgd", or "adam" without momentum (β1 = 0), whose second moments start at 0 in
        every task.
    test_steps: the inner steps of `adapt`.
    seed: of the minibatches. Their random stream in meta-training is part of `state_dict`. `adapt` starts its own one,
        so that the same support sets always give the same learners.

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
        super().__init__(network, plain(network), inner_rate, test_steps, loss, transductive)
        self.steps, self.batch, self.inner_optimiser = steps, batch, optimiser
        self.seed, self._generator = seed, torch.Generator().manual_seed(seed)

    def optimiser(self, rate: float) -> torch.optim.Optimizer:
        """The optimiser of the outer loop: plain gradient descent.

        rate: ε.
        """
        return torch.optim.SGD(self.parameters(), lr=rate)

    def minibatches(self, tasks: int, examples: int, steps: int, generator: torch.Generator) -> Tensor:
        """Which examples are in each minibatch: their numbers, int64 `[T, k, batch]`.

        tasks: T.
        examples: how many each task has.
        steps: k.
        generator: the random stream, on the CPU.
        """
        batch = min(self.batch, examples)
        passes = -(-steps * batch // examples)  # over all examples, rounded up; each pass shuffles them again
        order = rand((tasks, passes, examples), generator, torch.float64).argsort(dim=2)
        return order.flatten(1)[:, : steps * batch].unflatten(1, (steps, batch))

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """Training on minibatches of the support set; see `InnerLoop.inner_loop`.

        No outer loop differentiates through these steps, so `graph` has no effect.

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
        """The weights φ_1, …, φ_k, each with the loss and accuracy `[T]` of its minibatch before the step.

        weights: φ_0, `[T, …]` each.
        data: all examples of each task.
        minibatches: int64 `[T, k, batch]`, the numbers of the examples for each step.
        """
        task = torch.arange(len(data.x), device=data.x.device)[:, None]
        moments = {name: torch.zeros_like(w) for name, w in weights.items()}
        losses: list[Tensor] = []
        for step, chosen in enumerate(minibatches.to(data.x.device).unbind(dim=1), start=1):
            x, y = data.x[task, chosen], data.y[task, chosen]
            weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
            outputs = self.network_per_task(weights, self.network_per_task.prepare(x))
            loss = self.losses(outputs, y)  # [T]; no task depends on another
            gradients = gradient_of(loss.sum(), weights)
            with torch.no_grad():
                for (name, w), gradient in zip(weights.items(), gradients, strict=True):
                    if self.inner_optimiser == "adam":
                        moments[name] = BETA * moments[name] + (1 - BETA) * gradient**2
                        unbiased = moments[name] / (1 - BETA**step)
                        gradient = gradient / (unbiased.sqrt() + EPS)
                    weights[name] = w - self.inner_rate * gradient  # φ_j = φ_{j−1} − α ∇L(φ_{j−1}; minibatch j)
            losses.append(loss.detach())
            yield weights, losses[-1], accuracy(outputs, y)
        self.check_finite(losses, len(losses))

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Add θ − mean U_τ^k(θ) to the `.grad` of every parameter.

        Returns the "loss" and "accuracy" of the last minibatches, before the step on them.
        """
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
                pass  # only the last weights, U_τ^k(θ), are needed
            for name, w in weights.items():
                difference = (slow[name].detach() - w).sum(dim=0) / tasks  # θ − mean U_τ^k(θ), these tasks' part
                before = slow[name].grad
                slow[name].grad = difference if before is None else before + difference
            loss += lost.sum().item() / tasks
            right += accurate.sum().item() / tasks
        return {"loss": loss, "accuracy": right}

    def get_extra_state(self) -> Tensor:
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self._generator.set_state(state)
