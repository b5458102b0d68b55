"""Model-agnostic meta-learning (Finn, Abbeel & Levine 2017): MAML, its first-order variant FOMAML, and ANIL.

θ is an initialisation. k steps of gradient descent on the support set S of a task make the learner of that task,

    φ_0 = θ,    φ_j = φ_{j−1} − α ∇L(φ_{j−1}; S)                          (paper, algorithm 1, line 6)

and θ learns by gradient descent on the loss *after* these steps, on the query set Q of the task, over many tasks:

    min_θ  Σ L(φ_k; Q)                                                            (paper, algorithm 1, line 8)

By the chain rule the gradient of one term is

    (I − αH(φ_0)) (I − αH(φ_1)) … (I − αH(φ_{k−1})) ∇L(φ_k; Q),    H(φ) the Hessian of L(φ; S)

in which autograd, or `fast/layers.py`, multiplies vectors by Hessians, and never forms one. FOMAML (`first_order`) puts
I for every factor (paper, section 5.2): it stops the gradient at the inner gradients. ANIL (`adapt="head"`; Raghu,
Raghu, Bengio & Vinyals 2020) takes the inner steps on the head alone; the embedding is learned by the outer loop only.

Meta-SGD (`rates="parameter"`; Li, Zhou, Chen & Li 2017) learns a rate of its own for every weight,

    φ_j = φ_{j−1} − a ∘ ∇L(φ_{j−1}; S)

by the same outer loop: with one step the gradient of a is −∇L(φ_1; Q) ∘ ∇L(θ; S). So a rate grows where a step on the
support set helps the queries, and may become negative where it harms them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError, unknown
from ..networks import Classifier
from .fast import ChannelGroups
from .inner_loop import (
    AdaptedLearner,
    HeadOnly,
    InnerLoop,
    Loss,
    TaskNetwork,
    Weights,
    accuracy,
    final,
    plain,
    trainable,
)

ADAPT = ("all", "head")
RATES = ("fixed", "layer", "parameter")


class MAML(InnerLoop):
    """The meta-learner; `InnerLoop` explains network, test_steps (as `steps` if not given), loss and transductive.

    steps: k, the inner steps of meta-training.
    inner_rate: α.
    rates: "fixed", or learned by the outer loop, from `inner_rate` on: one for each "layer" (as MAML++ does: Antoniou,
        Edwards & Storkey 2019; there one for each step, too), or for each "parameter", that is each single weight
        (Meta-SGD).
    first_order: FOMAML.
    adapt: "all" weights in the inner loop, or the "head" of a `Classifier` alone: ANIL.
    fast: run the network by `fast.ChannelGroups` where that knows it; `formulation` says which way was taken.

    Raises `MetaFaceError` for a network that cannot be adapted, an unknown choice, or a rate or number out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        steps: int = 5,
        test_steps: int | None = None,
        inner_rate: float = 0.1,
        rates: str = "fixed",
        first_order: bool = False,
        adapt: str = "all",
        transductive: bool = False,
        loss: Loss = F.cross_entropy,
        fast: bool = True,
    ) -> None:
        if adapt not in ADAPT:
            raise unknown("choice of what to adapt", adapt, ADAPT)
        if rates not in RATES:
            raise unknown("kind of inner rates", rates, RATES)
        test_steps = steps if test_steps is None else test_steps
        if min(steps, test_steps) < 0:
            raise MetaFaceError(f"steps and test_steps must be 0 or more, but are {steps} and {test_steps}.")
        if not inner_rate > 0:
            raise MetaFaceError(f"inner_rate must be above 0, but is {inner_rate}.")
        network_per_task: TaskNetwork = (ChannelGroups.of(network, first_order) if fast else None) or plain(network)
        if adapt == "head":
            if not isinstance(network, Classifier):
                raise MetaFaceError('adapt="head" needs a network with a head: wrap the embedding into a Classifier.')
            network_per_task = HeadOnly(network)
        super().__init__(network, network_per_task, test_steps, loss, transductive)
        self.steps, self.first_order = steps, first_order
        adapted = trainable(network_per_task.adapted)
        layers = [name.rpartition(".")[0] for name in adapted]  # "head" for "head.weight"
        self.layers = list(dict.fromkeys(layers))
        if rates == "parameter":
            self._sizes = [w.numel() for w in adapted.values()]
            self._rate_of = {name: (i, w.shape) for i, (name, w) in enumerate(adapted.items())}
        else:
            self._sizes = [1] * len(self.layers)
            self._rate_of = {
                n: (self.layers.index(layer), torch.Size()) for n, layer in zip(adapted, layers, strict=True)
            }
        every = torch.full((sum(self._sizes),), float(inner_rate), dtype=next(network.parameters()).dtype)
        self.rates = nn.Parameter(every, requires_grad=rates != "fixed")  # α, or a

    @property
    def inner_rate(self) -> float:  # type: ignore[override]
        """α; the largest, if rates were learned."""
        return self.rates.max().item()

    def by_weight(self, rates: Tensor) -> Weights:
        """What of `rates`, or of their gradient, belongs to each weight: a number, or one for each of its entries."""
        parts = rates.split(self._sizes)
        return {name: parts[i].view(shape) for name, (i, shape) in self._rate_of.items()}

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """Gradient descent on the support set (paper, algorithm 1, line 6); see `InnerLoop.inner_loop`.

        Raises `MetaFaceError` if a loss is no longer finite.
        """
        with torch.set_grad_enabled(graph):  # an embedding that the inner loop leaves alone is run here
            inputs = self.network_per_task.prepare(support.x)
        rates, losses = self.by_weight(self.rates), []
        yield weights
        for _ in range(steps):
            loss, gradients = self.network_per_task.gradient(
                weights, inputs, lambda outputs: self.losses(outputs, support.y), graph
            )
            weights = {  # φ_j = φ_{j−1} − α ∇L(φ_{j−1}; S)
                name: w - rates[name] * gradient for (name, w), gradient in zip(weights.items(), gradients, strict=True)
            }
            losses.append(loss)
            yield weights
        self.check_finite(losses, steps)

    def adapt(self, support: Examples) -> AdaptedLearner:
        """Adapts as many tasks together as `network_per_task` says, because an inner loop keeps much of its images."""
        self.check(support)
        parts = zip(*(tensor.split(self.network_per_task.at_once) for tensor in support), strict=True)
        learners = [super(MAML, self).adapt(Examples(x, y)) for x, y in parts]
        weights = {name: torch.cat([learner.weights[name] for learner in learners]) for name in learners[0].weights}
        return AdaptedLearner(self, support.x, weights)

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        self.check(episodes.support)
        tasks, loss, right = len(episodes.support.x), 0.0, 0.0
        for part in episodes.split(self.network_per_task.at_once):
            theta = self.start(part.support)
            phi = final(self.inner_loop(theta, part.support, self.steps, graph=not self.first_order))
            outputs = self.query_outputs(phi, part.support.x, part.query.x)
            losses = self.losses(outputs, part.query.y)
            self.check_finite([losses], self.steps, first=self.steps)
            (losses.sum() / tasks).backward()  # (algorithm 1, line 8)
            loss += losses.sum().item() / tasks
            right += accuracy(outputs, part.query.y).sum().item() / tasks
        return {"loss": loss, "accuracy": right}
