"""ProtoMAML (Triantafillou et al. 2020): MAML whose head begins where a prototypical network would classify.

A prototypical network is linear in the embedding f (see `protonet`): −‖f(x) − c_k‖²/τ is, up to a term that is the same
for all k, the output of a linear head with weights and biases

    w_k = 2c_k/τ,    b_k = −‖c_k‖²/τ,    c_k the mean embedding of class k     (paper, equations 3 and 4, with τ = 1)

Each task starts with that head, made from its own support set, and with the common weights θ of the embedding; then
come MAML's inner steps, on both. So there is no head to be learned slowly, nor one of a fixed number of people; with no
inner step this is the prototypical network itself.

The meta-gradient has two ways back to θ: through the weights of the embedding that the inner steps start from, and
through the prototypes. Both are taken, with `first_order`, too, which leaves out nothing but the Hessians.
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

    embedding: images `[M, C, H, W]` → points `[M, features]`.
    temperature: τ.
    options: those of `MAML`. With rates="parameter" the head has a rate for each feature, which all people share, and
        one for the biases; with adapt="head" the inner steps change the head alone.

    Raises `MetaFaceError` as `MAML` does, or for a temperature that is not above 0.
    """

    def __init__(self, embedding: nn.Module, features: int, *, temperature: float = 1.0, **options: Any) -> None:
        if not temperature > 0:
            raise MetaFaceError(f"temperature must be above 0, but is {temperature}.")
        # The classifier's own head gives names and shapes, one row for any number; its values are never used.
        super().__init__(Classifier(embedding, features, ways=1), **options)
        self.temperature = temperature

    @property
    def ways(self) -> None:
        """Any number."""
        return None

    def start(self, support: Examples) -> Weights:
        """θ for each of T tasks, with a head `[T, N, D]` and `[T, N]` from the task's prototypes."""
        network = cast(Classifier, self.network)
        points = torch.stack([network.embedding(x) for x in support.x])  # each task by its own statistics
        centres = prototypes(points, support.y, int(support.y.max()) + 1)
        head = {"weight": 2 * centres / self.temperature, "bias": -centres.square().sum(-1) / self.temperature}
        prefix = "" if self.network_per_task.adapted is network.head else "head."
        return super().start(support) | {prefix + name: w for name, w in head.items()}
