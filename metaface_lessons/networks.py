"""Embeddings: the network that turns a face into a point, and the changes to a face that it should not notice."""

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
    """Give each image mean 0 and standard deviation 1: uint8 or float `[M, C, H, W]` → float of the same shape.

    Takes away brightness and contrast, so 0 to 255 and 0 to 1 come out alike. An image of one value becomes 0.
    """
    images = images if images.is_floating_point() else images.float()
    images = images - images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return images / deviation.clamp(min=torch.finfo(images.dtype).eps)


_first: ContextVar[int | None] = ContextVar("first", default=None)


@contextmanager
def statistics_of_first(images: int) -> Iterator[None]:
    """Within this, every `TaskNorm` uses the statistics of the first `images` of a batch for all of it."""
    token = _first.set(images)
    try:
        yield
    finally:
        _first.reset(token)


def number_of_first() -> int | None:
    """The number of images whose statistics count now; None if it is all."""
    return _first.get()


class TaskNorm(nn.Module):
    """Batch normalisation without running averages: the statistics are those of the images at hand, always.

    So it has no state that an inner loop would spoil. Given a batch of queries alone it is *transductive*: what is
    predicted for one depends on the others. Within `statistics_of_first` the statistics come from the first images
    of the batch alone, the support set, and every query is judged by itself.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`[M, C, H, W]` → the same shape."""
        first = number_of_first()
        if first is None:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        known = x[:first]
        mean = known.mean(dim=(0, 2, 3), keepdim=True)
        variance = known.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
        scale = self.weight[:, None, None] * (variance + self.eps).rsqrt()
        return (x - mean) * scale + self.bias[:, None, None]


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

    Each of the `depth` blocks is a 3×3 convolution with `width` filters (half as many in the first, where the image is
    largest and a filter costs most; or as many as `first` says), 2×2 max-pooling, a normalisation and ReLU. The papers
    pool last; pooling before the normalisation leaves it a quarter of the work. Images uint8 or float
    `[M, channels, size, size]` → embeddings `[M, features]`, with features = `width · (size // 2**depth)²`; images are
    standardised first.

    norm: "batch" uses the statistics of the batch in training and running averages in evaluation, so that a prediction
    never depends on which other images are predicted with it (it is inductive); "task" has no running averages, see
    `TaskNorm`: for weights that an inner loop changes; "group" (Wu & He 2018) uses statistics of each image alone,
    always; "none" has no normalisation.
    pool: "before" the normalisation, or, as in the papers, "after" the ReLU, or by convolutions of "stride" 2 in place
    of pooling (MAML on Omniglot; features = `width · ceil(size / 2**depth)²`).

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
                f"{depth} blocks halve the image {depth} times, so it must be at least {2**depth} pixels wide,"
                f" but is {size}. Use larger images or a smaller depth."
            )
        widths = [channels, width // 2 if first is None else first] + [width] * (depth - 1)
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for block in range(depth):
                inputs, outputs = widths[block : block + 2]
                stride = 2 if pool == "stride" else 1
                # A normalisation that subtracts the mean makes a bias before it useless.
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
        """Raise `MetaFaceError` if images are not of the size for which the network was made."""
        if images.shape[1:] != (self.channels, self.size, self.size):
            raise MetaFaceError(
                f"This network was made for images {self.channels}×{self.size}×{self.size}, but got"
                f" {'×'.join(map(str, images.shape[1:]))}. Use faces of that size, or make another network."
            )

    def forward(self, images: Tensor) -> Tensor:
        self.check(images)
        x = standardise(images).to(next(self.parameters()).dtype)
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class Classifier(nn.Sequential):
    """An embedding and a linear head with one output for each of `ways` people: what MAML and Reptile start from.

    Images `[M, C, H, W]` → logits `[M, ways]`. features: the number of coordinates of the embedding.
    """

    def __init__(self, embedding: nn.Module, features: int, ways: int, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = nn.Linear(features, ways)
        super().__init__()
        self.embedding, self.head = embedding, head


class Augment(nn.Module):
    """Random changes to images that leave the person the same: seeded, batched, on the images' device.

    flip: mirror half of the images. shift: move by up to this share of the image. rotate: by up to so many degrees.
    scale: zoom by up to this share. gamma: raise to a power of up to exp(±gamma). tint: weight the colours by up to
    exp(±tint). shade: let the light fall off across the image, by up to exp(±shade) at its edges. erase: grey out a
    rectangle in this share of the images. The random stream is part of `state_dict`, to resume in mid-stream.
    """

    def __init__(
        self,
        flip: bool = True,
        shift: float = 0.08,
        rotate: float = 10.0,
        scale: float = 0.1,
        gamma: float = 0.3,
        tint: float = 0.1,
        shade: float = 0.2,
        erase: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.flip, self.shift, self.rotate, self.scale = flip, shift, rotate, scale
        self.gamma, self.tint, self.shade, self.erase = gamma, tint, shade, erase
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[M, C, H, W]` with values 0 to 255 → float32 of the same shape, each changed in its own way."""
        m, channels, height, width = images.shape

        def within(limit: float, *shape: int) -> Tensor:  # uniform in ±limit
            return ((torch.rand((m, *shape), generator=self._generator) * 2 - 1) * limit).to(images.device)

        angle, zoom = torch.deg2rad(within(self.rotate)), within(self.scale).exp()
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        mirror = torch.where(within(1) < 0, -1.0, 1.0) if self.flip else torch.ones_like(angle)
        rows = (
            torch.stack([cos * mirror, -sin, within(2 * self.shift)], dim=1),
            torch.stack([sin * mirror, cos, within(2 * self.shift)], dim=1),
        )
        grid = F.affine_grid(torch.stack(rows, dim=1), [m, 1, height, width], align_corners=False)
        x = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)

        down = torch.linspace(-1, 1, height, device=images.device)[:, None]
        across = torch.linspace(-1, 1, width, device=images.device)[None, :]
        light = (
            within(self.shade, 1, 1, 1) * down
            + within(self.shade, 1, 1, 1) * across
            + within(self.tint, channels, 1, 1)
        )
        x = 255 * (x / 255).clamp(min=1e-3) ** within(self.gamma, 1, 1, 1).exp() * light.exp()

        half_height, half_width = (0.35 + within(0.15, 1, 1, 1) for _ in range(2))  # 0.2 to 0.5 of the half image
        erased = (within(1, 1, 1, 1) < 2 * self.erase - 1) & (
            ((down - within(1, 1, 1, 1)).abs() < half_height) & ((across - within(1, 1, 1, 1)).abs() < half_width)
        )
        return torch.where(erased, x.mean(dim=(2, 3), keepdim=True), x)

    def get_extra_state(self) -> Tensor:
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self._generator.set_state(state)


class Views(nn.Module):
    """The mean embedding of ten views of a picture: it, and moved by one pixel to each side; and their mirror images.

    Known as test-time augmentation. The aligned face of one picture lies a little beside that of another; and what the
    light does to the left half, it does to the right one in the mirror. No view looks at another picture.
    """

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, images: Tensor) -> Tensor:
        """Images `[M, C, H, W]` → `[M, D]`. Beyond its border a picture goes on as at the border."""
        height, width = images.shape[2:]
        points = []
        for down, across in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            rows = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
            columns = (torch.arange(width, device=images.device) + across).clamp(0, width - 1)
            moved = images[:, :, rows][:, :, :, columns]
            points += [self.embedding(moved), self.embedding(moved.flip(-1))]
        return torch.stack(points).mean(dim=0)
