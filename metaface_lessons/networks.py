"""The networks of the course: embeddings, which turn a face into a point, and classifiers on top of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import MetaFaceError, unknown

NORMS = ("batch", "task", "group", "none")
POOLS = ("before", "after", "stride")


def standardise(images: Tensor) -> Tensor:
    """Give each image mean 0 and standard deviation 1: float `[M, C, H, W]`.

    This removes brightness and contrast, so values in 0 to 255 and in 0 to 1 give the same. An image of one value
    becomes 0.

    images: uint8 or float `[M, C, H, W]`.
    """
    images = images if images.is_floating_point() else images.float()
    images = images - images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return images / deviation.clamp(min=torch.finfo(images.dtype).eps)


_first: ContextVar[int | None] = ContextVar("first", default=None)


@contextmanager
def statistics_of_first(images: int) -> Iterator[None]:
    """A context in which every `TaskNorm` normalises a batch by the statistics of its first images.

    images: how many of them count, such as those of the support set.
    """
    token = _first.set(images)
    try:
        yield
    finally:
        _first.reset(token)


def number_of_first() -> int | None:
    """How many images' statistics count now (see `statistics_of_first`); None for all."""
    return _first.get()


class TaskNorm(nn.Module):
    """Batch normalisation without running averages: the statistics are always those of the images in the batch.

    So it has no state that an inner loop would spoil. With a batch of queries alone it is *transductive*: the
    prediction for one query depends on the others. Within `statistics_of_first` only the first images of the batch
    count. Those are the support set, so the prediction for a query does not depend on the others.

    A caller can give it running averages for one call, as buffers `mean` and `variance` of `functional_call`. Then it
    normalises by (1 − m) · running average + m · statistics of the batch. It never changes them;
    `learners.maml_plus_plus` does.

    width: the number of channels, C.
    eps: added to the variance.
    momentum: m, the part of the batch where there are running averages. 0.1, as in PyTorch.
    """

    mean: Tensor | None
    variance: Tensor | None

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", None)
        self.register_buffer("variance", None)
        self.eps, self.momentum = eps, momentum

    def statistics(self, x: Tensor) -> Tensor:
        """Mean and variance of each channel: `[2, C]`.

        x: `[M, C, H, W]`; within `statistics_of_first` only the first images count.
        """
        known = x[: number_of_first()]
        return torch.stack([known.mean(dim=(0, 2, 3)), known.var(dim=(0, 2, 3), unbiased=False)])

    def forward(self, x: Tensor) -> Tensor:
        """`[M, C, H, W]` → the same shape."""
        if self.mean is None and number_of_first() is None:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        mean, variance = self.statistics(x)
        if self.mean is not None and self.variance is not None:
            mean, variance = self.mean.lerp(mean, self.momentum), self.variance.lerp(variance, self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(width)
    if kind == "task":
        return TaskNorm(width)
    if kind == "group":
        return nn.GroupNorm(math.gcd(8, width), width)
    return nn.Identity()


class Conv4(nn.Sequential):
    """The few-shot network of Vinyals et al. (2016) and Snell et al. (2017): blocks that halve height and width.

    It turns images, uint8 or float `[M, channels, size, size]`, into embeddings `[M, features]`. Images are
    standardised first. Each block is a 3×3 convolution, 2×2 max-pooling, a normalisation and ReLU.

    channels: of the images: 1 (grey) or 3.
    size: height and width of the images, in pixels, at least `2**depth`.
    width: the filters of a block.
    depth: the number of blocks. The embedding has features = `width · (size // 2**depth)²` coordinates.
    norm: "batch" uses the statistics of the batch in training and running averages in evaluation. So a prediction
        never depends on the other images that are predicted with it (it is inductive). "task" has no running averages,
        see `TaskNorm`; use it where an inner loop changes the weights. "group" (Wu & He 2018) always uses the
        statistics of each image alone. "none" has no normalisation.
    seed: of the initial weights.
    pool: "before" the normalisation, which leaves that a quarter of the work; "after" the ReLU, as in the papers; or
        "stride" for convolutions of stride 2 without pooling, as in MAML on Omniglot. With "stride" there are
        `width · ceil(size / 2**depth)²` features.
    first: the filters of the first block, where the image is largest and a filter costs most; half of `width` if None.

    Raises `MetaFaceError` for an unknown norm or pool, or images too small for the depth.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 64,
        width: int = 64,
        depth: int = 4,
        norm: str = "batch",
        seed: int = 0,
        pool: str = "before",
        first: int | None = None,
    ) -> None:
        if norm not in NORMS:
            raise unknown("normalisation", norm, NORMS)
        if pool not in POOLS:
            raise unknown("place to pool", pool, POOLS)
        if size < 2**depth:
            raise MetaFaceError(
                f"{depth} blocks halve the image {depth} times, so it must be at least {2**depth} pixels wide, but"
                f" size is {size}. Use larger images or a smaller depth."
            )
        widths = [channels, width // 2 if first is None else first] + [width] * (depth - 1)
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for block in range(depth):
                inputs, outputs = widths[block : block + 2]
                stride = 2 if pool == "stride" else 1
                # A normalisation subtracts the mean, and with it any bias before it.
                layers.append(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=norm == "none"))
                layers += [nn.MaxPool2d(2)] * (pool == "before") + [_norm(norm, outputs), nn.ReLU()]
                layers += [nn.MaxPool2d(2)] * (pool == "after")
        super().__init__(*layers, nn.Flatten())
        side = math.ceil(size / 2**depth) if pool == "stride" else size // 2**depth
        self.channels, self.size, self.pool, self.features = channels, size, pool, widths[-1] * side**2
        for weight in self.parameters():
            if weight.ndim == 4:  # on a CPU, max-pooling is many times faster in this order
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def check(self, images: Tensor) -> None:
        """Raise `MetaFaceError` if images `[M, C, H, W]` do not have the size for which the network was made."""
        if images.shape[1:] != (self.channels, self.size, self.size):
            raise MetaFaceError(
                f"This network was made for images {self.channels}×{self.size}×{self.size}, but got"
                f" {'×'.join(map(str, images.shape[1:]))}. Use faces of that size, or make another network."
            )

    def forward(self, images: Tensor) -> Tensor:
        self.check(images)
        x = standardise(images).to(next(self.parameters()).dtype)
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class LinearEmbedding(nn.Sequential):
    """A `Conv4` with a linear end: batch normalisation, a linear layer, batch normalisation.

    A Conv4 ends in ReLU, so that no coordinate is below 0 and no two faces are more than 90° apart. That hurts where
    embeddings are compared by their angle. So the networks of margin losses end without it: in BN-Dropout-FC-BN
    (Deng et al. 2019, section 3.1). The dropout is left out here.

    conv: turns images `[M, C, H, W]` into points `[M, conv.features]`.
    features: D, the coordinates of the embedding. 64.
    seed: of the initial weights of the linear layer. 0.
    """

    def __init__(self, conv: Conv4, features: int = 64, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # A normalisation subtracts the mean, and with it any bias before it.
            linear = nn.Linear(conv.features, features, bias=False)
        super().__init__(conv, nn.BatchNorm1d(conv.features), linear, nn.BatchNorm1d(features))
        self.features = features


class Classifier(nn.Sequential):
    """An embedding and a linear head with one output for each person: the network of MAML and Reptile.

    It turns images `[M, C, H, W]` into logits `[M, ways]`.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    features: D.
    ways: the number of people in an episode.
    seed: of the head's initial weights.
    """

    def __init__(self, embedding: nn.Module, features: int, ways: int, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = nn.Linear(features, ways)
        super().__init__()
        self.embedding, self.head = embedding, head
