"""Adapting a trained network to a new camera or light, after training: from a few images, labelled or not.

`Camera` changes pictures as another camera would. Then, for a network with batch normalisation (`networks.Conv4`):

- `renormalised` (AdaBN: Li, Wang, Shi, Liu & Hou 2017) needs unlabelled images of anybody. It replaces the means and
  variances by which the network normalises, those of the training, by those of n images of the new camera,

      μ = (n₀ μ_old + n μ_new) / (n₀ + n),    σ² likewise                 (Schneider et al. 2020, equation 3)

  where n₀, the worth of the old ones in images, keeps few images from saying too much. No weight changes.
- `fine_tuned` needs labelled images of a few people, taken by the new camera: meta-training goes on with them.
- `Tent` (Wang, Shelhamer, Liu, Olshausen & Darrell 2021) needs the queries of a task, all at once and without labels.
  By gradient descent on scales and shifts of the normalisations it makes the predictions p more certain,

      H(p) = −Σ_k p_k log p_k                                              (their equation 1)

  right or wrong. What it predicts for one query depends on the others: it is transductive.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .episodes import EpisodeSampler, Examples
from .errors import MetaFaceError
from .faces.faceset import FaceSet
from .learners.protonet import ProtoNet, PrototypeLearner, prototypes
from .training import meta_train


def renormalised(net: ProtoNet, images: Tensor, prior: float = 0.0) -> ProtoNet:
    """A copy of `net` that normalises by the statistics of `images`, uint8 `[n, C, H, W]`, of the new camera.

    prior: n₀, how many images the old statistics count for. Layer by layer: what a layer sees has been normalised anew
    by those before it.

    Raises `MetaFaceError` if the network has no batch normalisation, there is no image, or the prior is negative.
    """
    if len(images) == 0 or prior < 0:
        raise MetaFaceError(f"It takes images, and a prior of 0 or more, but there are {len(images)}, and {prior}.")
    net = deepcopy(net).eval()
    layers = _normalisations(net)

    def blend(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        (x,) = inputs
        share = len(x) / (len(x) + prior)
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        for old, new in ((layer.running_mean, mean), (layer.running_var, variance)):
            assert old is not None
            old.lerp_(new, share)

    hooks = [layer.register_forward_pre_hook(blend) for layer in layers.values()]
    with torch.no_grad():
        net.embedding(images)
    for hook in hooks:
        hook.remove()
    return net


def fine_tuned(net: ProtoNet, faces: FaceSet, steps: int = 20, rate: float = 1e-3, seed: int = 0) -> ProtoNet:
    """A copy of `net`, meta-trained for some more steps on the labelled `faces` of the new camera.

    All people are in every episode, with one image to learn from. Raises `MetaFaceError` if anybody has but one image.
    """
    each = int(faces.identity.unique(return_counts=True)[1].min())
    sampler = EpisodeSampler(faces, len(faces.identities), shots=1, queries=max(1, each - 1), seed=seed)
    net = deepcopy(net)
    meta_train(net, sampler, steps=steps, rate=rate, average=0.0, progress=False)
    return net.eval()


@dataclass
class Cameras:
    """Knows people from one camera and is asked about pictures of another: each has a network that suits it.

    What the two have in common are their weights, so that embeddings can be compared.
    """

    enrol: ProtoNet
    probe: ProtoNet

    def adapt(self, support: Examples) -> PrototypeLearner:
        return PrototypeLearner(self.probe, self.enrol.adapt(support).prototypes)


@dataclass
class Tent:
    """Entropy minimisation, task by task: `steps` of gradient descent, at `rate`, on the entropy of all queries.

    Of Tent (Wang et al. 2021) this is the one half: the statistics of the normalisations stay, see `renormalised`.
    """

    net: ProtoNet
    steps: int = 5
    rate: float = 0.1

    def adapt(self, support: Examples) -> _Tent:
        return _Tent(self, support)

    def affine(self) -> dict[str, Tensor]:
        """Scales and shifts of the normalisations, by the name of the parameter in the embedding."""
        layers = _normalisations(self.net)
        return {f"{name}.{kind}": getattr(layer, kind) for name, layer in layers.items() for kind in ("weight", "bias")}


@dataclass
class _Tent:
    method: Tent
    support: Examples

    def predict(self, x: Tensor) -> Tensor:
        """Images `[T, Q, C, H, W]` of all queries of each task → logits `[T, Q, N]`."""
        return torch.stack([self._task(*task) for task in zip(*self.support, x, strict=True)])

    def _task(self, known: Tensor, y: Tensor, x: Tensor) -> Tensor:
        *_, logits = self.steps(known, y, x)
        return logits.detach()

    def steps(self, known: Tensor, y: Tensor, x: Tensor) -> Iterator[Tensor]:
        """Logits `[Q, N]` of one task before the first and after each step."""
        net, weights = self.method.net, {n: w.detach() for n, w in self.method.affine().items()}
        ways = int(y.max()) + 1
        for step in range(self.method.steps + 1):
            with torch.enable_grad():
                weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
                points = functional_call(net.embedding, weights, (torch.cat([known, x]),))[None]
                centres = prototypes(points[:, : len(y)], y[None], ways)
                logits = net.logits(points[:, len(y) :], centres)[0]
                yield logits
                if step == self.method.steps:
                    return
                gradients = torch.autograd.grad(entropy(logits).mean(), list(weights.values()))
            weights = {name: w - self.method.rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)}


def entropy(logits: Tensor) -> Tensor:
    """H(p) of the predictions: logits `[…, N]` → `[…]`, from 0, sure, to log N, no idea."""
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def _normalisations(net: ProtoNet) -> dict[str, nn.BatchNorm2d]:
    """The batch normalisations of an embedding, by name. Raises `MetaFaceError` if there is none."""
    found = {name: layer for name, layer in net.embedding.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    if not found:
        raise MetaFaceError(
            'The embedding has no batch normalisation, so there are no statistics to adapt. Use Conv4(norm="batch");'
            " a TaskNorm takes the statistics of each task anyway."
        )
    return found
