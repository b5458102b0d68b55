"""ProtoMAML (Triantafillou et al. 2020): MAML whose head starts as the classifier of a prototypical network.

A prototypical network is linear in the embedding f (see `protonet`). Up to a term that is the same for all k,
−‖f(x) − c_k‖²/τ is the output of a linear head with weights and biases

    w_k = 2c_k/τ,    b_k = −‖c_k‖²/τ,    c_k the mean embedding of class k     (paper, equations 3 and 4, with τ = 1)

Each task starts with that head, made from its own support set, and with the common weights θ of the embedding. MAML's
inner steps then change both. So no head is learned slowly, and the number of people is not fixed. Without inner steps
this is the prototypical network itself.

The meta-gradient reaches θ along two paths: through the embedding's weights, from which the inner steps start, and
through the prototypes. Both are taken. `first_order` leaves out only the Hessians.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from ..episodes import Examples
from ..errors import MetaFaceError
from ..networks import Classifier
from .inner_loop import Weights
from .maml import MAML
from .protonet import prototypes


class ProtoMAML(MAML):
    """The meta-learner, for tasks of any number of people.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    features: D.
    temperature: τ.
    options: those of `MAML`. With rates="parameter", the head has a rate for each feature, which all people share, and
        one for the biases. With adapt="head", the inner steps change only the head.

    Raises `MetaFaceError` as `MAML` does, or for a temperature that is not above 0.
    """

    def __init__(self, embedding: nn.Module, features: int, *, temperature: float = 1.0, **options: Any) -> None:
        if not temperature > 0:
            raise MetaFaceError(f"temperature must be above 0, but is {temperature}.")
        # This head only gives names and shapes, with one row in place of any number; `start` makes the real one.
        super().__init__(Classifier(embedding, features, ways=1), **options)
        self.temperature = temperature

    @property
    def ways(self) -> None:
        """None, because the head is made for any number of people."""
        return None

    def start(self, support: Examples) -> Weights:
        """Where T tasks start: the common θ, and a head `[T, N, D]` and `[T, N]` from each task's prototypes."""
        network = cast(Classifier, self.network)
        points = torch.stack([network.embedding(x) for x in support.x])  # one by one: a TaskNorm sees one task
        centres = prototypes(points, support.y, int(support.y.max()) + 1)
        # w_k = 2c_k/τ, b_k = −‖c_k‖²/τ
        head = {"weight": 2 * centres / self.temperature, "bias": -centres.square().sum(-1) / self.temperature}
        prefix = "" if self.network_per_task.adapted is network.head else "head."
        return super().start(support) | {prefix + name: w for name, w in head.items()}
