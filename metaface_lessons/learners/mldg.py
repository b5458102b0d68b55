"""MLDG (Li, Yang, Song & Hospedales 2018): meta-training that leaves one domain out, for domains nobody has seen.

MFR (Guo et al. 2020) brought it to faces. Every step holds out one of the training domains. A step of gradient descent
on episodes S of the other domains,

    θ' = θ − α ∇L(θ; S)

should also help with episodes V of the held-out one:

    min_θ  L(θ; S) + β L(θ'; V)                                                    (MLDG, algorithm 1)

To first order in α that is L(θ; S) + β L(θ; V) − αβ ∇L(θ; S) · ∇L(θ; V) (MLDG, its analysis). So the gradients of
different domains should point the same way. Afterwards nothing is adapted to a new domain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError
from .base import Learner, MetaLearner
from .protonet import ProtoNet


class MLDG(MetaLearner):
    """Trains a `ProtoNet` so that a step on some domains also helps on a held-out one.

    It needs samples whose first half of the tasks is S and whose second half is V, as `episodes.DomainSampler` draws
    them with kind="leave one out".

    net: what is trained.
    inner_rate: α.
    weight: β.
    first_order: whether to leave out the Hessian, and use ∇L at θ' as the gradient of L(θ'; V).

    Raises `MetaFaceError` for a rate or weight below 0, or for an odd number of tasks.
    """

    divisible = False  # ∇L(θ; S) belongs to all tasks of S together

    def __init__(self, net: ProtoNet, inner_rate: float = 0.1, weight: float = 1.0, first_order: bool = False) -> None:
        if inner_rate < 0 or weight < 0:
            raise MetaFaceError(f"inner_rate and weight must be 0 or more, but are {inner_rate} and {weight}.")
        super().__init__()
        self.net, self.inner_rate, self.weight, self.first_order = net, inner_rate, weight, first_order

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        tasks = len(episodes.identities)
        if tasks % 2:
            raise MetaFaceError(f"MLDG halves the tasks of a step, but got {tasks} of them. Train with tasks=2, 4, …")
        seen, held_out = episodes.split(tasks // 2)
        loss = _Loss(self.net)
        weights = dict(loss.named_parameters())
        here, _ = loss(seen)
        second = not self.first_order
        gradients = torch.autograd.grad(
            here, list(weights.values()), create_graph=second, retain_graph=True, materialize_grads=True
        )
        moved = {  # θ' = θ − α ∇L(θ; S)
            name: w - self.inner_rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)
        }
        there, logits = functional_call(loss, moved, (held_out,))
        (here + self.weight * there).backward()  # L(θ; S) + β L(θ'; V)
        right = logits.argmax(dim=-1) == held_out.query.y.repeat(1, logits.shape[1] // held_out.query.y.shape[1])
        return {"loss": there.item(), "accuracy": right.float().mean().item()}

    def adapt(self, support: Examples) -> Learner:
        return self.net.adapt(support)


class _Loss(nn.Module):
    """The loss of a `ProtoNet` as a module, for `functional_call`."""

    def __init__(self, net: ProtoNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        return self.net.loss(episodes)
