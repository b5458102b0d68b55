"""Model-agnostic meta-learning (Finn, Abbeel & Levine 2017): MAML, its first-order variant FOMAML, and ANIL.

θ is an initialisation. k steps of gradient descent on the support set S of a task make the learner of that task,

    φ_0 = θ,    φ_j = φ_{j−1} − α ∇L(φ_{j−1}; S)                          (paper, algorithm 1, line 6)

and θ learns by gradient descent on the loss *after* these steps, on the query set Q of the task, over many tasks:

    min_θ  Σ L(φ_k; Q)                                                            (paper, algorithm 1, line 8)

By the chain rule the gradient of one term is

    (I − αH(φ_0)) (I − αH(φ_1)) … (I − αH(φ_{k−1})) ∇L(φ_k; Q),    H(φ) the Hessian of L(φ; S)

Autograd, or `fast/layers.py`, computes it by products of a Hessian and a vector; no Hessian is ever formed.
`meta_gradients` has ways to the same gradient that need less memory. Two variants cost less:

- FOMAML (`first_order`) replaces every factor by I (paper, section 5.2): it treats the inner gradients as constants.
- ANIL (`adapt="head"`; Raghu, Raghu, Bengio & Vinyals 2020) takes the inner steps on the head alone. Only the outer
  loop changes the embedding.

Meta-SGD (`rates="parameter"`; Li, Zhou, Chen & Li 2017) learns a separate rate for every weight,

    φ_j = φ_{j−1} − a ∘ ∇L(φ_{j−1}; S)

by the same outer loop. With one step the gradient of a is −∇L(φ_1; Q) ∘ ∇L(θ; S). So a rate grows where a step on the
support set helps the queries, and may become negative where such a step harms them.
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
    in_parts,
    plain,
    trainable,
)
from .meta_gradients import WAYS, check_way

ADAPT = ("all", "head")
RATES = ("fixed", "layer", "parameter")


class MAML(InnerLoop):
    """The meta-learner, whose slow weights θ are an initialisation from which a few steps learn a task.

    network, loss, transductive: see `InnerLoop`.
    steps: k, the inner steps of meta-training.
    test_steps: the inner steps of `adapt`; as many as `steps` if None.
    inner_rate: α; where rates are learned, the value that they start from.
    rates: "fixed", or learned by the outer loop: one for each "layer", or one for each "parameter", that is, for each
        single weight (Meta-SGD). `maml_plus_plus` has one for each layer and step.
    first_order: whether to leave out the Hessians (FOMAML).
    adapt: what the inner loop changes: "all" weights, or only the "head" of a `Classifier` (ANIL).
    memory: what the meta-gradient keeps of the inner steps, a key of `meta_gradients.WAYS`: "all" of them, which is
        fastest; or less, such as "steps" for many steps. The gradient is the same. First order keeps none of them.
    fast: whether to run the network by `fast.ChannelGroups` if that supports it; `formulation` says how it runs.

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
        memory: str = "all",
        fast: bool = True,
    ) -> None:
        check_way(memory)
        fast = fast and memory != "forward"  # autograd has no forward derivative of `ChannelGroups`
        if adapt not in ADAPT:
            raise unknown("choice of what to adapt", adapt, ADAPT)
        if rates not in RATES:
            raise unknown("kind of inner rates", rates, RATES)
        test_steps = steps if test_steps is None else test_steps
        if min(steps, test_steps) < 0:
            raise MetaFaceError(f"steps and test_steps must be 0 or more, but are {steps} and {test_steps}.")
        network_per_task: TaskNetwork = (ChannelGroups.of(network, first_order) if fast else None) or plain(network)
        if adapt == "head":
            if not isinstance(network, Classifier):
                raise MetaFaceError('adapt="head" needs a network with a head: wrap the embedding into a Classifier.')
            network_per_task = HeadOnly(network)
        super().__init__(network, network_per_task, inner_rate, test_steps, loss, transductive)
        self.steps, self.first_order, self.memory = steps, first_order, memory

        # A parameter's rates have its shape, or it shares the single rate of its layer ("head" for "head.weight").
        adapted = trainable(network_per_task.adapted)
        layer_of = {name: name.rpartition(".")[0] for name in adapted}
        self.layers = list(dict.fromkeys(layer_of.values()))
        if rates == "parameter":
            self._owner = {name: name for name in adapted}
            self._shapes = {name: w.shape for name, w in adapted.items()}
        else:
            self._owner = layer_of
            self._shapes = dict.fromkeys(self.layers, torch.Size())
        number = sum(shape.numel() for shape in self._shapes.values())
        alpha = torch.full((number,), float(inner_rate), dtype=next(network.parameters()).dtype)
        self.rates = nn.Parameter(alpha, requires_grad=rates != "fixed")  # all of them, one after the other

    def by_weight(self, rates: Tensor) -> Weights:
        """The rates of each parameter by its name: one number, or as many as the parameter has.

        rates: `[R]`, such as `self.rates` or its gradient.
        """
        parts = rates.split([shape.numel() for shape in self._shapes.values()])
        of = dict(zip(self._shapes, parts, strict=True))
        return {name: of[owner].view(self._shapes[owner]) for name, owner in self._owner.items()}

    def rates_at(self, step: int) -> Weights:
        """See `InnerLoop.rates_at`; the rates of all steps are the same."""
        return self.by_weight(self.rates)

    def check(self, support: Examples) -> None:
        """See `InnerLoop.check`. Weights may have been frozen since the meta-learner was made, but not unfrozen."""
        super().check(support)
        now = trainable(self.network_per_task.adapted)
        if new := [name for name in now if name not in self._owner]:
            raise MetaFaceError(
                f"'{new[0]}' did not require gradients when MAML was made, so it has no inner rate. Set requires_grad"
                " first, and then make the meta-learner."
            )
        if isinstance(self.network_per_task, ChannelGroups) and len(now) < len(self._owner):
            self.network_per_task = plain(self.network)  # which leaves frozen weights alone

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """Gradient descent on the support set (paper, algorithm 1, line 6); see `InnerLoop.inner_loop`.

        Raises `MetaFaceError` if a loss is no longer finite.
        """
        with torch.set_grad_enabled(graph):  # for ANIL the embedding, which the inner loop does not change, runs here
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
        """Learn the people of each task, some tasks at a time because their inner loops need much memory."""
        self.check(support)
        return in_parts(self, super().adapt, support)

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        self.check(episodes.support)
        tasks, loss, right = len(episodes.support.x), 0.0, 0.0
        for part in episodes.split(self.network_per_task.at_once):
            theta = self.start(part.support)
            if self.first_order:
                phi = final(self.inner_loop(theta, part.support, self.steps))
            else:
                phi = WAYS[self.memory](self, theta, part.support, self.steps)
            outputs = self.query_outputs(phi, part.support.x, part.query.x)
            losses = self.losses(outputs, part.query.y)
            self.check_finite([losses], self.steps, first=self.steps)
            (losses.sum() / tasks).backward()  # ∇_θ of the mean of L(φ_k; Q) over tasks
            loss += losses.sum().item() / tasks
            right += accuracy(outputs, part.query.y).sum().item() / tasks
        return {"loss": loss, "accuracy": right}
