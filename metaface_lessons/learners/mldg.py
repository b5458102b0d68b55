"""Learning for domains that nobody has seen: episodes across domains, and leave-one-domain-out meta-training.

Leave-one-domain-out meta-training is MLDG (Li, Yang, Song & Hospedales 2018), which MFR (Guo et al. 2020) took to
faces: at every step one of the training domains is held out. A step of gradient descent on episodes S of the others,

    θ' = θ − α ∇L(θ; S)

should also serve episodes V of the one that is held out:

    min_θ  L(θ; S) + β L(θ'; V)                                                    (MLDG, algorithm 1)

To first order in α that is L(θ; S) + β L(θ; V) − αβ ∇L(θ; S) · ∇L(θ; V) (MLDG, its analysis): the gradients of
the domains are to point the same way. Nothing is adapted to a new domain afterwards.
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
    """Trains a `ProtoNet` so that a step on some domains also helps on the one held out; see the module.

    Of every sample the first half of the tasks are S, the second half V: `DomainSampler(…, kind="leave one out")`.
    inner_rate: α. weight: β. first_order: leave the Hessian out, and take ∇L(θ'; V) for the gradient at θ.

    Raises `MetaFaceError` for a rate or weight below 0, or tasks that cannot be halved.
    """

    def __init__(self, net: ProtoNet, inner_rate: float = 0.1, weight: float = 1.0, first_order: bool = False) -> None:
        if inner_rate < 0 or weight < 0:
            raise MetaFaceError(f"inner_rate and weight must be 0 or more, but are {inner_rate} and {weight}.")
        super().__init__()
        self.net, self.inner_rate, self.weight, self.first_order = net, inner_rate, weight, first_order

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        tasks = len(episodes.identities)
        if tasks % 2:
            raise MetaFaceError(f"MLDG halves the tasks of a step, but there are {tasks}. Train with tasks=2, 4, …")
        seen, held_out = episodes.split(tasks // 2)
        loss = _Loss(self.net)
        weights = dict(loss.named_parameters())
        here, _ = loss(seen)
        second = not self.first_order
        gradients = torch.autograd.grad(here, list(weights.values()), create_graph=second, retain_graph=True)
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
