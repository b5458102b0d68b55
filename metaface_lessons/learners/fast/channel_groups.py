"""Conv-4 for T tasks at once, each with its own weights: the tasks are groups of channels.

Feature maps are `[S, H, W, T·C]`: the t-th C channels belong to task t, and a convolution with T groups gives each task
its own filters. To autograd, the whole computation from the arranged weights (`_arrange`) to the logits, or to the
gradient of an inner step, is one operation. `layers` has its layers and explains how the gradient of that gradient is
computed. Where the network pools decides which layers they are:

    after    PooledPatchConvolution, ReLU;   Convolution, Normalisation(pool) …;            Head
    before   PooledPatchConvolution, Normalisation;   Convolution, MaxPool, Normalisation …;   Head
    stride   PatchConvolution, ReLU;         Convolution, Normalisation …;                  Head

What else makes it fast:

- Pooling and normalisation run channels last, because a CPU then works on many channels at a time.
- The first layer, where images are largest, is a product of their patches with a matrix. `prepare` cuts the patches
  once for all inner steps. If patches have mean 0, the variance of w·patch is w·covariance·w. So a normalisation that
  directly follows this convolution is folded into the weights, and never touches an image.
- Cutting patches is itself a convolution, and so is that product, with filters of one pixel. No other operation of a
  CPU is as fast when the numbers come in multiples of 16.
- Each normalisation includes its ReLU, computed after the pooling, where there is less to do. The order does not
  matter, because ReLU(γ·x̂ + β) rises with γ·x̂.

What remains, by a profile of the benchmark (`python -m benchmarks.maml --profile A`, or B, C, D): about two thirds of
the time is spent in convolutions and their backward passes. With pooling, the rest is pooling and normalisation. With
strides (D), maps are small, and the rest is the calls of many small operations. There the gradient of a map is also
slow, in learn2learn as well: oneDNN computes it at about half the speed of the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ...networks import Classifier, Conv4, TaskNorm, number_of_first, standardise
from ..inner_loop import Weights
from .layers import (
    Convolution,
    Head,
    Layer,
    MaxPool,
    Normalisation,
    PatchConvolution,
    PooledPatchConvolution,
    ReLU,
    join,
)


class Patches(NamedTuple):
    """S images of each of T tasks, cut into patches for the first layer.

    patches: `[T, S, H, W, K]`, or `[S, H, W, T·K]` if no pooling follows. A patch has its 9C numbers, a one, and zeros
        up to a multiple of 16.
    tasks: T.
    first: the number of images whose statistics normalise all images; None for all of them.
    covariance: that of the 9C numbers, `[T, 9C, 9C]`, which then have mean 0; None if it is not needed.
    """

    patches: Tensor
    tasks: int
    first: int | None
    covariance: Tensor | None


class ChannelGroups:
    """Runs a `Classifier` on a `Conv4` with norm="task" for many tasks at once; make one by `of`.

    It is a `TaskNetwork` (see `inner_loop`). Images are data: no gradient flows to them.
    """

    name = "tasks as channel groups"

    def __init__(self, network: Classifier, embedding: Conv4) -> None:
        self.adapted: nn.Module = network
        self.embedding = embedding
        self.pool, self.stride = embedding.pool, 2 if embedding.pool == "stride" else 1
        layers = [(f"embedding.{name}", layer) for name, layer in embedding.named_children()]
        convolutions = [name for name, layer in layers if isinstance(layer, nn.Conv2d)]
        norms = [(name, layer.eps) for name, layer in layers if isinstance(layer, TaskNorm)]
        self.blocks = [(name, *norm) for name, norm in zip(convolutions, norms, strict=True)]
        width = network.get_parameter(f"{convolutions[0]}.weight").shape[0]
        self.map = width * math.ceil(embedding.size / self.stride) ** 2  # numbers in an image's first map, the largest
        self.patch = 16 * (9 * embedding.channels // 16 + 1)  # K

    @property
    def at_once(self) -> int:
        """Enough tasks to make each operation worth its call, but not more: all need memory at the same time."""
        return max(1, (2**24 if next(self.adapted.parameters()).is_cuda else 2**18) // self.map)

    @classmethod
    def of(cls, network: nn.Module, first_order: bool = False) -> ChannelGroups | None:
        """The network, run this way; None if it is of another kind, or if some of its weights are not trained.

        Also returns None for first-order gradients on colour images when pooling comes first: building the patches (32
        numbers each, 16 for grey) then costs more than this saves.

        network: the one to run.
        first_order: whether only gradients of first order are needed.
        """
        if type(network) is not Classifier or type(network.embedding) is not Conv4:
            return None
        embedding = network.embedding
        known = any(isinstance(layer, TaskNorm) for layer in embedding)
        trained = all(parameter.requires_grad for parameter in network.parameters())
        slower = first_order and embedding.pool == "before" and embedding.channels > 1
        return cls(network, embedding) if known and trained and not slower else None

    @torch.no_grad()
    def prepare(self, x: Tensor) -> list[Patches]:
        """Images `[T, S, C, H, W]`, cut into the patches that the first convolution sees, some tasks in each part.

        On a CPU the parts are made so small that no map has more than 16 MB (of float32), if possible. Larger maps
        leave the processor's cache before they are read again; from 32 MB on, the system also has to supply their
        memory page by page.
        """
        self.embedding.check(x[0])
        tasks = self.at_once if x.is_cuda else min(self.at_once, max(1, 2**22 // (x.shape[1] * self.map)))
        return [self._cut(part) for part in x.chunk(math.ceil(len(x) / tasks))]

    def __call__(self, weights: Weights, prepared: list[Patches]) -> Tensor:
        """Logits `[T, S, ways]`."""
        return _Logits.apply(self._passes(prepared), torch.is_grad_enabled(), *self._arrange(weights, prepared))

    def gradient(
        self, weights: Weights, prepared: list[Patches], loss: Callable[[Tensor], Tensor], graph: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The losses `[T]`, and the gradient of their sum with respect to each of the weights."""
        arranged = self._arrange(weights, prepared)
        with torch.set_grad_enabled(graph):
            losses, *gradients = _Gradient.apply(self._passes(prepared), loss, graph, *arranged)
        return losses, torch.autograd.grad(arranged, list(weights.values()), gradients, create_graph=graph)

    def _cut(self, x: Tensor) -> Patches:
        (tasks, images, channels), first = x.shape[:3], number_of_first()
        x = standardise(x.flatten(0, 1)).to(next(self.adapted.parameters()).dtype)
        numbers, size = 9 * channels, self.patch
        # Filter i takes the i-th number out of a patch; the one after the 9C numbers comes from the bias.
        filters = torch.eye(size, numbers, dtype=x.dtype, device=x.device).view(size, 3, 3, channels)
        one = F.one_hot(torch.tensor(numbers, device=x.device), size).to(x.dtype)
        patches = F.conv2d(x, filters.permute(0, 3, 1, 2), one, self.stride, 1)
        patches = patches.permute(0, 2, 3, 1).unflatten(0, (tasks, images)).contiguous()
        if self.pool == "before":
            return Patches(patches, tasks, first, None)
        patches -= patches[:, :first].mean((1, 2, 3), keepdim=True) * (1 - one)
        known = patches[:, :first].flatten(1, 3)
        covariance = (known.mT @ known / known.shape[1])[:, :numbers, :numbers]
        if self.pool == "stride":
            patches = patches.movedim(0, 3).flatten(3)
        return Patches(patches, tasks, first, covariance)

    def _passes(self, prepared: list[Patches]) -> Passes:
        return Passes([self._layers(part) for part in prepared], [part.tasks for part in prepared])

    def _layers(self, part: Patches) -> list[Layer]:
        tasks, first = part.tasks, part.first
        layers: list[Layer] = [
            PatchConvolution(part.patches) if self.pool == "stride" else PooledPatchConvolution(part.patches),
            Normalisation(self.blocks[0][2], first) if self.pool == "before" else ReLU(),
        ]
        for _, _, eps in self.blocks[1:]:
            layers.append(Convolution(tasks, self.stride))
            if self.pool == "before":
                layers.append(MaxPool())
            layers.append(Normalisation(eps, first, pool=self.pool == "after"))
        return [*layers, Head()]

    def _arrange(self, weights: Weights, prepared: list[Patches]) -> list[Tensor]:
        """The weights in the form and order in which the layers take them; all are `[T, …]`, of all tasks."""
        covariances = [part.covariance for part in prepared if part.covariance is not None]
        arranged = self._first(weights, join(covariances) if covariances else None)
        for convolution, norm, _ in self.blocks[1:]:
            arranged += self._block(weights, convolution, norm)
        return [*arranged, weights["head.weight"], weights["head.bias"]]

    def _first(self, weights: Weights, covariance: Tensor | None) -> list[Tensor]:
        """The weights of the first block: filters of patches, `[T, F, K]`.

        With a covariance the normalisation is folded into them; without one γ and β follow.
        """
        convolution, norm, eps = self.blocks[0]
        w = weights[f"{convolution}.weight"].permute(0, 1, 3, 4, 2).flatten(2)  # [T, F, 9C]
        gamma, beta = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        if covariance is not None:
            variance = (w @ covariance * w).sum(2) + eps
            w = torch.cat([w * (gamma * variance.rsqrt())[..., None], beta[..., None]], dim=2)
        w = F.pad(w, (0, self.patch - w.shape[2]))
        return [w] if covariance is not None else [w, gamma, beta]

    def _block(self, weights: Weights, convolution: str, norm: str) -> tuple[Tensor, Tensor, Tensor]:
        """Filters, γ and β of a later block.

        `Normalisation` with pooling needs γ ≥ 0. So a negative γ changes its sign together with its filters: −γ with −w
        gives the same.
        """
        w, gamma, beta = weights[f"{convolution}.weight"], weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        if self.pool == "after":
            sign = torch.where(gamma < 0, -1.0, 1.0).to(gamma.dtype)
            w, gamma = w * sign[..., None, None, None], gamma * sign
        return w, gamma, beta


class Passes:
    """The passes of the network, up to the logits and down to the weights.

    parts: the layers of each part of the tasks.
    tasks: how many tasks each part has.
    """

    def __init__(self, parts: list[list[Layer]], tasks: list[int]) -> None:
        self.parts, self.tasks = parts, tasks

    def up(self, weights: Sequence[Tensor], way: str, keep: bool = True) -> Tensor:
        """The logits `[T, S, N]`, or how they change.

        weights: the arranged weights for "forward", or the direction v along which they move for "tangent".
        way: "forward" or "tangent".
        keep: whether a way down follows; if not, each layer is dropped when it is done, to save memory.
        """
        logits: list[Tensor] = []
        for layers, *own in zip(self.parts, *(w.split(self.tasks) for w in weights), strict=True):
            x: Any = None  # patches belong to the first layer
            layers_left, weights_left = list(layers) if keep else layers, iter(own)
            while layers_left:
                layer = layers_left.pop(0)
                x = getattr(layer, way)(x, *islice(weights_left, layer.weights))
            logits.append(x)
        return join(logits)

    def down(self, g: Tensor, way: str, keep: bool = False) -> list[Tensor]:
        """The gradients of the arranged weights, or how they change.

        g: the gradient of the logits for "backward", or its change for "tangent_backward"; `[T, S, N]`.
        way: "backward" or "tangent_backward".
        keep: whether more passes follow; if not, each layer is dropped when it is done, to save memory.
        """
        found = []
        for layers, x in zip(self.parts, g.split(self.tasks), strict=True):
            layers_left, own = list(layers) if keep else layers, list[Tensor]()
            while layers_left:
                x, *those = getattr(layers_left.pop(), way)(x)
                own[:0] = those
            found.append(own)
        return [join(parts) for parts in zip(*found, strict=True)]


class _Logits(Function):
    """Arranged weights → logits `[T, S, N]`."""

    @staticmethod
    def forward(ctx: Any, passes: Passes, graph: bool, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(*weights)  # layers also keep them; but here autograd notices if they are changed or freed
        ctx.passes = passes
        return passes.up(weights, "forward", keep=graph)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises an error if they were
        return None, None, *ctx.passes.down(g, "backward")


class _Gradient(Function):
    """Arranged weights → losses `[T]`, which are not differentiable, and the gradients ∇L of their sum L.

    `backward` gets a vector v and returns the gradient of ⟨v, ∇L⟩. That is H·v, because the Hessian H of L is
    symmetric.
    """

    @staticmethod
    def forward(
        ctx: Any, passes: Passes, loss: Callable[[Tensor], Tensor], graph: bool, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*weights)
        logits = passes.up(weights, "forward")
        with torch.enable_grad():
            losses = loss(logits.requires_grad_())
            (g,) = torch.autograd.grad(losses.sum(), logits, create_graph=graph)
        ctx.passes, ctx.logits, ctx.g = passes, logits, g
        losses = losses.detach()
        ctx.mark_non_differentiable(losses)
        # Layers keep some of these tensors, and autograd attaches its graph, with `passes`, to whatever is returned.
        # Detached ones avoid that circle.
        return losses, *(each.detach() for each in passes.down(g.detach(), "backward", keep=graph))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _losses: Tensor, *v: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises an error if weights were changed or freed
        logits_dot = ctx.passes.up(v, "tangent")
        g_dot = torch.zeros_like(logits_dot)
        if ctx.g.requires_grad:  # it does not if the loss is linear in the logits
            (g_dot,) = torch.autograd.grad(ctx.g, ctx.logits, logits_dot)
        return None, None, None, *ctx.passes.down(g_dot, "tangent_backward")
