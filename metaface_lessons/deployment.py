"""Adapting a trained network to a new camera or light, after training: from a few images, with or without labels.

All methods are for a network with batch normalisation (`networks.Conv4`). `faces.camera` makes pictures as another
camera would take them.

- `renormalised` (AdaBN: Li, Wang, Shi, Liu & Hou 2017) needs unlabelled images of anybody. The network normalises by
  means and variances of its training. They are mixed with those of n images of the new camera,

      μ = (n₀ μ_old + n μ_new) / (n₀ + n),    σ² likewise                 (Schneider et al. 2020, equation 3)

  where n₀ is how many images the old statistics count for. It limits the influence of few images. No weight changes.
- `SupportStatistics` takes the images from the support set of each task, so it needs no other image.
- `fine_tuned` needs labelled images of a few people, taken by the new camera. Meta-training continues on them.
- `Tent` (Wang, Shelhamer, Liu, Olshausen & Darrell 2021) needs all queries of a task at once, without labels. By
  gradient descent on the scales and shifts of the normalisations it lowers the entropy of the predictions p,

      H(p) = −Σ_k p_k log p_k                                              (their equation 1)

  which makes them more certain, right or wrong. It also normalises by the statistics of the task's own images. Its
  prediction for one query depends on the others: it is transductive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .episodes import EpisodeSampler, Examples
from .errors import MetaFaceError
from .faces.faceset import FaceSet
from .learners.base import Learner
from .learners.inner_loop import gradient_of
from .learners.protonet import ProtoNet, PrototypeLearner, prototypes
from .training import meta_train


def renormalised(net: ProtoNet, images: Tensor, prior: float = 0.0) -> ProtoNet:
    """A copy of a network that normalises by the statistics of images of a new camera.

    The statistics are taken layer by layer, so that each layer sees what the layers before it now give.

    net: the trained network; it stays as it is.
    images: uint8 `[n, C, H, W]`, of the new camera.
    prior: n₀, how many images the old statistics count for.

    Raises `MetaFaceError` if the network has no batch normalisation, there are no images, or the prior is negative.
    """
    if len(images) == 0:
        raise MetaFaceError("There are no images. Give at least one image of the new camera.")
    if prior < 0:
        raise MetaFaceError(f"prior must be 0 or more, a number of images, but is {prior}.")
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


@dataclass
class TaskByTask:
    """Several tasks, each with its own learner.

    learners: one for each of T tasks; each predicts for one task.
    """

    learners: Sequence[Learner]

    def predict(self, x: Tensor) -> Tensor:
        """The logits `[T, Q, N]`.

        x: images `[T, Q, C, H, W]`.
        """
        return torch.cat([learner.predict(q[None]) for learner, q in zip(self.learners, x, strict=True)])


@dataclass
class SupportStatistics:
    """Normalises each task by the statistics of its own support set: it needs no other image.

    The queries do not count, so the prediction for one query does not depend on the others. A `networks.TaskNorm` does
    the same in a learner with an inner loop.

    net: the trained network; it stays as it is.
    """

    net: ProtoNet

    def adapt(self, support: Examples) -> TaskByTask:
        """Learn the people of each task; see `learners.base.Adapts`."""
        tasks = zip(*support, strict=True)
        return TaskByTask([renormalised(self.net, x).adapt(Examples(x[None], y[None])) for x, y in tasks])


def fine_tuned(net: ProtoNet, faces: FaceSet, steps: int = 20, rate: float = 1e-3, seed: int = 0) -> ProtoNet:
    """A copy of a network, meta-trained for some more steps on labelled faces of a new camera.

    Every episode has all people, with one support image of each.

    net: the trained network; it stays as it is.
    faces: of the new camera, at least two images of each person.
    steps: the number of training steps.
    rate: the learning rate.
    seed: of the episodes.

    Raises `MetaFaceError` if a person has only one image.
    """
    each = int(faces.identity.unique(return_counts=True)[1].min())
    sampler = EpisodeSampler(faces, len(faces.identities), shots=1, queries=max(1, each - 1), seed=seed)
    net = deepcopy(net)
    meta_train(net, sampler, steps=steps, rate=rate, average=0.0, progress=False)
    return net.eval()


@dataclass
class Cameras:
    """Recognises people on pictures of one camera who were enrolled with another: each camera has its own network.

    The two networks have the same weights, so that their embeddings can be compared; their statistics differ.

    enrol: the network for support images.
    probe: the network for query images.
    """

    enrol: ProtoNet
    probe: ProtoNet

    def adapt(self, support: Examples) -> PrototypeLearner:
        """Learn the people of each task; see `learners.base.Adapts`."""
        return PrototypeLearner(self.probe, self.enrol.adapt(support).prototypes)


@dataclass
class Tent:
    """Makes predictions more certain, task by task, by gradient descent on the entropy of all queries.

    Tent (Wang et al. 2021) has two halves: the normalisations use the statistics of the images at hand, here of the
    support set and all queries of the task; and their scales and shifts descend the entropy.

    net: the trained network; it stays as it is.
    steps: of gradient descent; 5. With 0 only the statistics are new.
    rate: of a step; 0.1.
    statistics: whether the statistics are the task's own; True. If False, only the entropy is descended, and the old
        statistics stay.
    """

    net: ProtoNet
    steps: int = 5
    rate: float = 0.1
    statistics: bool = True

    def adapt(self, support: Examples) -> _Tent:
        """Keep the support set; the descent itself needs the queries. See `learners.base.Adapts`."""
        return _Tent(self, support)

    def affine(self) -> dict[str, Tensor]:
        """The scales and shifts of the normalisations, by their names in the embedding."""
        layers = _normalisations(self.net)
        return {f"{name}.{kind}": getattr(layer, kind) for name, layer in layers.items() for kind in ("weight", "bias")}


@dataclass
class _Tent:
    method: Tent
    support: Examples

    def predict(self, x: Tensor) -> Tensor:
        """The logits `[T, Q, N]`.

        x: all queries of each task, `[T, Q, C, H, W]`.
        """
        return torch.stack([self._task(*task) for task in zip(*self.support, x, strict=True)])

    def _task(self, known: Tensor, y: Tensor, x: Tensor) -> Tensor:
        *_, logits = self.steps(known, y, x)
        return logits.detach()

    def steps(self, known: Tensor, y: Tensor, x: Tensor) -> Iterator[Tensor]:
        """The logits `[Q, N]` of one task before the first and after each step.

        known: support images `[S, C, H, W]`.
        y: their labels, int64 `[S]`.
        x: query images `[Q, C, H, W]`.
        """
        net, weights = self.method.net, {n: w.detach() for n, w in self.method.affine().items()}
        embedding = _without_averages(net).embedding if self.method.statistics else net.embedding
        ways = int(y.max()) + 1
        for step in range(self.method.steps + 1):
            with torch.enable_grad():
                weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
                points = functional_call(embedding, weights, (torch.cat([known, x]),))[None]
                centres = prototypes(points[:, : len(y)], y[None], ways)
                logits = net.logits(points[:, len(y) :], centres)[0]
                yield logits
                if step == self.method.steps:
                    return
                gradients = gradient_of(entropy(logits).mean(), weights)
            weights = {name: w - self.method.rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)}


def entropy(logits: Tensor) -> Tensor:
    """The entropy H(p) of predictions: logits `[…, N]` → `[…]`, from 0 (certain) to log N (all people alike)."""
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def _without_averages(net: ProtoNet) -> ProtoNet:
    """A copy that normalises every batch by the statistics of that batch."""
    net = deepcopy(net)
    for layer in _normalisations(net).values():
        layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    return net


def _normalisations(net: ProtoNet) -> dict[str, nn.BatchNorm2d]:
    """The batch normalisations of an embedding, by name. Raises `MetaFaceError` if it has none."""
    found = {name: layer for name, layer in net.embedding.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    if not found:
        raise MetaFaceError(
            'The embedding has no batch normalisation, so there are no statistics to adapt. Use Conv4(norm="batch");'
            " a TaskNorm takes the statistics of each task anyway."
        )
    return found
