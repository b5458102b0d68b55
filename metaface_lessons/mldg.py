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

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .episodes import Episodes, EpisodeSampler, Examples
from .errors import MetaFaceError, unknown
from .faces.faceset import FaceSet
from .learners import Learner, MetaLearner
from .protonet import ProtoNet

KINDS = ("within", "across", "leave one out")


class DomainSampler:
    """Draws episodes of several `domains` of `faces`, whose condition `domain` says which image is of which.

    kind: "within": support and query of a task are of one domain, drawn by chance. "across": support of one domain,
        query of another. "leave one out": what `MLDG` wants. Of each sample one domain, drawn by chance, is held out:
        the first half of the tasks are of the others, each of one, the second half of the one that is held out.

    Raises `MetaFaceError` for fewer than two domains, an unknown one or kind, or too few people or images in one.
    """

    def __init__(
        self,
        faces: FaceSet,
        domains: Sequence[str],
        ways: int,
        shots: int,
        queries: int,
        kind: str = "within",
        seed: int = 0,
    ) -> None:
        if kind not in KINDS:
            raise unknown("kind of domain episodes", kind, KINDS)
        if len(set(domains)) < max(2, len(domains)):
            raise MetaFaceError(
                f"Episodes of several domains need two or more different ones, but got {list(domains)}."
            )
        self.faces, self.domains, self.kind = faces, tuple(domains), kind
        pairs = itertools.permutations(domains, 2) if kind == "across" else ((d, d) for d in domains)
        self._samplers = [
            EpisodeSampler(faces, ways, shots, queries, seed + i, {"domain": one}, {"domain": other})
            for i, (one, other) in enumerate(pairs)
        ]
        self._generator = torch.Generator().manual_seed(seed)

    def sample(self, tasks: int = 1) -> Episodes:
        """Draw `tasks` episodes; an even number if one domain is left out."""
        number = len(self._samplers)
        if self.kind == "leave one out":
            if tasks < 2 or tasks % 2:
                raise MetaFaceError(f"Leaving a domain out needs an even number of tasks, not {tasks}: half are in it.")
            out = int(torch.randint(number, (), generator=self._generator))
            others = torch.randint(number - 1, (tasks // 2,), generator=self._generator)
            chosen = [*(others + (others >= out)).tolist(), *[out] * (tasks // 2)]
        else:
            chosen = torch.randint(number, (tasks,), generator=self._generator).tolist()
        return joined([self._samplers[k].sample() for k in chosen])

    def state_dict(self) -> dict[str, Tensor]:
        """See `EpisodeSampler.state_dict`."""
        streams = {str(k): sampler.state_dict()["generator"] for k, sampler in enumerate(self._samplers)}
        return {"generator": self._generator.get_state(), **streams}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._generator.set_state(state["generator"])
        for k, sampler in enumerate(self._samplers):
            sampler.load_state_dict({"generator": state[str(k)]})


def joined(parts: Sequence[Episodes]) -> Episodes:
    """The tasks of all `parts`, alike in shape, one after the other: the opposite of `Episodes.split`."""

    def join(examples: Sequence[Examples]) -> Examples:
        return Examples(torch.cat([e.x for e in examples]), torch.cat([e.y for e in examples]))

    return Episodes(
        join([p.support for p in parts]), join([p.query for p in parts]), torch.cat([p.identities for p in parts])
    )


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
