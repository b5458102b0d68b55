"""Conv-4 for T tasks at once, each with weights of its own: the tasks are groups of channels.

Feature maps are `[S, H, W, T·C]`: the t-th C channels belong to task t, and a convolution with T groups gives each task
filters of its own. `functions` has the operations. What else makes it fast:

- Pooling and normalisation run channels last, where a CPU works on many channels at a time.
- The first layer, where images are largest, is a product of their patches with a matrix; `prepare` cuts them once for
  all inner steps. Where a patch has the mean 0, the variance of w·patch is w·covariance·w: where the normalisation
  follows the convolution at once it is folded into the weights, and never touches an image.
- Cutting patches is itself a convolution, and so is that product, with filters of one pixel: no other operation of a
  CPU is as fast for numbers that come in sixteens.
- Each ReLU comes with its normalisation, in one operation. It is computed after the pooling, where there is less to do;
  both may change places, as ReLU(γ·ŷ + β) rises with γ·ŷ.

What remains, by a profile of the benchmark (`python -m benchmarks.maml --profile A`): more than half is convolutions
and the way back through them, most of the other half pooling and fresh memory for maps. Where maps are small, as with
strides (`--profile D`), pooling is gone, and the cost of calling many small operations takes its place.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Classifier, Conv4, TaskNorm, number_of_first, standardise
from .functions import convolve, max_pool, normalise, relu

Weights = dict[str, Tensor]


class Patches(NamedTuple):
    """What the first layer needs of S images of each of T tasks.

    patches: `[T, S, H, W, K]`, or `[1, S, H, W, T·K]` where no pooling follows. A patch is its 9C numbers, less their
    means, a one, and zeros up to a multiple of 16.
    covariance: that of the numbers, `[T, K, K]`.
    first: the number of images whose statistics normalise all; None if all.
    """

    patches: Tensor
    covariance: Tensor
    first: int | None


class ChannelGroups:
    """A `TaskNetwork` (see `inner_loop`) for a `Classifier` on a `Conv4` with norm="task"; make it by `of`."""

    name = "tasks as channel groups"

    def __init__(self, network: Classifier, embedding: Conv4) -> None:
        self.adapted: nn.Module = network
        self.embedding = embedding
        self.pool, self.stride = embedding.pool, 2 if embedding.pool == "stride" else 1
        layers = [(f"embedding.{name}", layer) for name, layer in embedding.named_children()]
        convolutions = [name for name, layer in layers if isinstance(layer, nn.Conv2d)]
        norms = [(name, layer.eps) for name, layer in layers if isinstance(layer, TaskNorm)]
        self.blocks = [(name, *norm) for name, norm in zip(convolutions, norms, strict=True)]
        # As many tasks as make an operation worth its call, though their memory is held together.
        width = network.get_parameter(f"{convolutions[0]}.weight").shape[0]
        self.largest = width * (embedding.size // self.stride) ** 2  # numbers in the largest map of an image
        self.at_once = 1000 if torch.cuda.is_available() else max(1, 2**17 // self.largest)

    @classmethod
    def of(cls, network: nn.Module, first_order: bool = False) -> ChannelGroups | None:
        """The network, run this way; None if it is of another kind, or if some of its weights are not trained.

        None, too, if gradients of first order are all that is asked and pooling comes before the normalisation:
        what is saved here is mostly the derivatives of derivatives. Without them the plain way is faster for the
        network of the benchmark's case A, though slower for that of B.
        """
        if type(network) is not Classifier or type(network.embedding) is not Conv4:
            return None
        known = any(isinstance(layer, TaskNorm) for layer in network.embedding)
        trained = all(parameter.requires_grad for parameter in network.parameters())
        slower = first_order and network.embedding.pool == "before"
        return cls(network, network.embedding) if known and trained and not slower else None

    def prepare(self, x: Tensor) -> list[Patches]:
        """Images `[T, S, C, H, W]`, cut into the patches that the first convolution sees, some tasks in each part.

        On a CPU no map is larger than 16 MB where that can be: larger ones leave the processor's cache before they are
        read again, and from 32 MB on they come fresh from the system, page by page.
        """
        self.embedding.check(x[0])
        tasks = self.at_once if x.is_cuda else min(self.at_once, max(1, 2**22 // (x.shape[1] * self.largest)))
        return [self._cut(part) for part in x.chunk(math.ceil(len(x) / tasks))]

    def __call__(self, weights: Weights, prepared: list[Patches]) -> Tensor:
        """Logits `[T, S, ways]`."""
        if len(prepared) == 1:
            return self._logits(weights, prepared[0])
        tasks = [len(part.covariance) for part in prepared]
        parts = {name: w.split(tasks) for name, w in weights.items()}
        return torch.cat([self._logits({n: w[i] for n, w in parts.items()}, x) for i, x in enumerate(prepared)])

    def _cut(self, x: Tensor) -> Patches:
        (tasks, images, channels), first = x.shape[:3], number_of_first()
        x = standardise(x.flatten(0, 1)).to(next(self.adapted.parameters()).dtype)
        numbers = 9 * channels
        size = 16 * (numbers // 16 + 1)
        # Each filter takes one number out of a patch; the one is a bias.
        filters = torch.eye(size, numbers, dtype=x.dtype, device=x.device).view(size, 3, 3, channels)
        one = F.one_hot(torch.tensor(numbers, device=x.device), size).to(x.dtype)
        patches = F.conv2d(x, filters.permute(0, 3, 1, 2), one, self.stride, 1)
        patches = patches.permute(0, 2, 3, 1).unflatten(0, (tasks, images)).contiguous()
        mean = patches[:, :first].mean((1, 2, 3), keepdim=True)
        patches -= mean * (1 - one)
        known = patches[:, :first].flatten(1, 3)
        covariance = known.mT @ known / known.shape[1]
        if self.pool == "stride":
            patches = patches.movedim(0, 3).flatten(3)[None]
        return Patches(patches, covariance, first)

    def _logits(self, weights: Weights, prepared: Patches) -> Tensor:
        images, tasks = prepared.patches.shape[1], len(prepared.covariance)
        x = self._first(weights, prepared)
        for convolution, norm, eps in self.blocks[1:]:
            w, gamma, beta = self._block(weights, convolution, norm)
            x = convolve(x, w, tasks, self.stride)
            if self.pool == "before":
                x = max_pool(x)
            x = normalise(x, gamma, beta, eps, prepared.first, pool=self.pool == "after")
        points = x.unflatten(-1, (tasks, -1)).permute(3, 0, 4, 1, 2).reshape(tasks, images, -1)
        return torch.baddbmm(weights["head.bias"][:, None], points, weights["head.weight"].mT)

    def _block(self, weights: Weights, convolution: str, norm: str) -> tuple[Tensor, Tensor, Tensor]:
        """Filters `[T·F, 3, 3, C]`, γ and β `[T·F]`. Pooling first needs γ ≥ 0: −γ with filters −w is the same."""
        w, gamma, beta = weights[f"{convolution}.weight"], weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        if self.pool == "after":
            sign = torch.where(gamma < 0, -1.0, 1.0).to(gamma.dtype)
            w, gamma = w * sign[..., None, None, None], gamma * sign
        return w.permute(0, 1, 3, 4, 2).flatten(0, 1), gamma.flatten(), beta.flatten()

    def _first(self, weights: Weights, prepared: Patches) -> Tensor:
        """The first block: `[S, H', W', T·F]`."""
        convolution, norm, eps = self.blocks[0]
        patches, covariance, first = prepared
        w = weights[f"{convolution}.weight"].permute(0, 1, 3, 4, 2).flatten(2)  # [T, F, 9C]
        gamma, beta = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        numbers, size = w.shape[2], covariance.shape[2]
        if fold := self.pool != "before":
            variance = (w @ covariance[:, :numbers, :numbers] * w).sum(2) + eps
            w = torch.cat([w * (gamma * variance.rsqrt())[..., None], beta[..., None]], dim=2)
        w = F.pad(w, (0, size - w.shape[2]))[:, :, None, None]
        if self.pool == "stride":
            return relu(convolve(patches[0], w.flatten(0, 1), len(w)))
        # Task by task, so that the map between both, the largest, is still in the processor's cache when it is pooled.
        x = torch.cat([max_pool(convolve(*part, 1)) for part in zip(patches, w, strict=True)], dim=3)
        return relu(x) if fold else normalise(x, gamma.flatten(), beta.flatten(), eps, first)
