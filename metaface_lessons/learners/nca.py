"""Neighbourhood components analysis: prototypical networks without episodes, as a control for them.

ProtoNet divides the images of an episode into support and query, and compares queries with prototypes. What does the
division give? Laenen & Bertinetto (NeurIPS 2021) leave it out: all images of a batch are compared with all others, and
each must find the images of its own person. With z = f(x) the embedding, y the person, and τ a temperature, image i
takes image k for its neighbour with the chance

    p_ik = exp(−‖z_i − z_k‖²/τ) / Σ_{m ≠ i} exp(−‖z_i − z_m‖²/τ),   p_ii = 0    (Goldberger et al. 2004)

and the loss is −log Σ_{k: y_k = y_i, k ≠ i} p_ik, averaged over the batch. Laenen & Bertinetto find that it trains as
well as episodes or better, and has fewer settings. Here it gets the very images that ProtoNet gets, and meets a task in
the same way, by the nearest prototype. So a difference between the two comes from the loss alone.

A batch of M images gives M·(M − 1) pairs. In an episode with N·K support images and N·Q queries there are N·Q·N
distances to prototypes; see `ProtoNet`'s `in_turn` for a way between the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..episodes import Episodes
from ..errors import MetaFaceError
from ..shares import gathered
from .protonet import ProtoNet


def neighbours(points: Tensor, temperature: float = 1.0) -> Tensor:
    """The log of p_ik, the chance that image i takes image k for its neighbour: `[M, M]`, −∞ on the diagonal.

    points: embeddings `[M, D]`.
    temperature: τ, by which squared distances are divided. 1.
    """
    # −‖z_i − z_k‖² without the term −‖z_i‖², which is the same for all k: the softmax takes it out.
    logits = (2 * points @ points.mT - points.square().sum(dim=-1)) / temperature
    alone = torch.eye(len(points), dtype=torch.bool, device=points.device)
    return logits.masked_fill(alone, -torch.inf).log_softmax(dim=-1)


def nca_loss(log_p: Tensor, who: Tensor) -> Tensor:
    """−log of the chance that an image takes one of its own person for its neighbour, averaged over all images.

    log_p: what `neighbours` returns, `[M, M]`.
    who: the person on each image, int64 `[M]`.

    Raises `MetaFaceError` if somebody has one image alone: it has nobody to find.
    """
    same = who[:, None] == who
    same.fill_diagonal_(False)
    if not same.any(dim=1).all():
        person = int(who[~same.any(dim=1)][0])
        raise MetaFaceError(
            f"Person {person} has one image in this batch, so it cannot find another one of that person. Draw batches"
            " with two images of each person or more."
        )
    return -log_p.masked_fill(~same, -torch.inf).logsumexp(dim=-1).mean()


class NCA(ProtoNet):
    """Learns an embedding from all pairs of a batch; meets a task by the nearest prototype, as ProtoNet does.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    temperature: τ, by which squared distances are divided. 1.
    augment: changes the images of training; None to leave them as they are.

    Raises `MetaFaceError` for a temperature that is not above 0.
    """

    def __init__(self, embedding: nn.Module, temperature: float = 1.0, augment: nn.Module | None = None) -> None:
        super().__init__(embedding, "squared", temperature, augment)

    def loss(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """The loss on all images of the episodes, and the log of p_ik, `[M, M]`.

        episodes: a batch of images. Which are support and which are query does not matter.
        """
        x = torch.cat([episodes.support.x, episodes.query.x], dim=1).flatten(0, 1)
        # If several processes share the tasks, the images of all of them are compared.
        points = gathered(self.embedding(x if self.augment is None else self.augment(x)))
        log_p = neighbours(points, self.temperature)
        return nca_loss(log_p, _who(episodes)), log_p

    def meta_gradient(self, episodes: Episodes) -> dict[str, float]:
        """Add the gradient of the loss to `.grad`. The accuracy is that of the most likely neighbour."""
        loss, log_p = self.loss(episodes)
        loss.backward()
        who = _who(episodes)
        return {"loss": loss.item(), "accuracy": (who[log_p.argmax(dim=-1)] == who).float().mean().item()}


def _who(episodes: Episodes) -> Tensor:
    """The person on each image of the episodes, support first in each: `[M]`."""
    who = episodes.identities.gather(1, torch.cat([episodes.support.y, episodes.query.y], dim=1)).flatten()
    return gathered(who)
