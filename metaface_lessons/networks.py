"""Embeddings: the network that turns a face into a point, and the changes to a face that it should not notice."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import MetaFaceError, unknown

NORMS = ("batch", "group", "none")


def standardise(images: Tensor) -> Tensor:
    """Give each image mean 0 and standard deviation 1: uint8 or float `[M, C, H, W]` → float of the same shape.

    Takes away brightness and contrast, so 0 to 255 and 0 to 1 come out alike. An image of one value becomes 0.
    """
    images = images if images.is_floating_point() else images.float()
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
    return (images - mean) / deviation.clamp(min=torch.finfo(images.dtype).eps)


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(width)
    if kind == "group":
        return nn.GroupNorm(math.gcd(8, width), width)
    return nn.Identity()


class Conv4(nn.Sequential):
    """The few-shot network of Vinyals et al. (2016) and Snell et al. (2017): blocks that halve height and width.

    Each of the `depth` blocks is a 3×3 convolution with `width` filters, a normalisation, ReLU, and 2×2 max-pooling.
    Images uint8 or float `[M, channels, size, size]` → embeddings `[M, width · (size // 2**depth)²]`; images are
    standardised first.

    norm: "batch" uses the statistics of the batch in training and running averages in evaluation, so that a prediction
    never depends on which other images are predicted with it (it is inductive); "group" (Wu & He 2018) uses
    statistics of each image alone, always; "none" has no normalisation.

    Raises `MetaFaceError` for an unknown norm, or images too small for the depth.
    """

    def __init__(
        self, channels: int = 3, size: int = 64, width: int = 64, depth: int = 4, norm: str = "batch", seed: int = 0
    ) -> None:
        if norm not in NORMS:
            raise unknown("normalisation", norm, NORMS)
        if size < 2**depth:
            raise MetaFaceError(
                f"{depth} blocks halve the image {depth} times, so it must be at least {2**depth} pixels wide,"
                f" but is {size}. Use larger images or a smaller depth."
            )
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for block in range(depth):
                inputs = channels if block == 0 else width
                # A normalisation that subtracts the mean makes a bias before it useless.
                convolution = nn.Conv2d(inputs, width, 3, padding=1, bias=norm == "none")
                layers += [convolution, _norm(norm, width), nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.Flatten())
        self.channels, self.size = channels, size
        for weight in self.parameters():
            if weight.ndim == 4:  # on a CPU, max-pooling is many times faster in this order
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (self.channels, self.size, self.size):
            raise MetaFaceError(
                f"This network was made for images {self.channels}×{self.size}×{self.size}, but got"
                f" {'×'.join(map(str, images.shape[1:]))}. Use faces of that size, or make another network."
            )
        x = standardise(images).to(next(self.parameters()).dtype)
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class Augment(nn.Module):
    """Random changes to images that leave the person the same: seeded, batched, on the images' device.

    flip: mirror half of the images. shift: pixels, up to. rotate: degrees, up to. scale: zoom by up to this share.
    gain: brightness and contrast change by up to this share. The random stream is part of `state_dict`, to resume in
    mid-stream.
    """

    def __init__(
        self,
        flip: bool = True,
        shift: float = 2.0,
        rotate: float = 8.0,
        scale: float = 0.08,
        gain: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.flip, self.shift, self.rotate, self.scale, self.gain = flip, shift, rotate, scale, gain
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        """Images uint8 or float `[M, C, H, W]` → float `[M, C, H, W]`, each changed in its own way."""
        m, _, height, width = images.shape

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand(m, generator=self._generator) * (high - low) + low

        angle = torch.deg2rad(uniform(-self.rotate, self.rotate))
        zoom = 1 + uniform(-self.scale, self.scale)
        mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if self.flip else torch.ones(m)
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        dx, dy = uniform(-self.shift, self.shift) * 2 / width, uniform(-self.shift, self.shift) * 2 / height
        rows = [torch.stack([cos * mirror, -sin, dx], 1), torch.stack([sin * mirror, cos, dy], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), [m, 1, height, width], align_corners=False).to(images.device)
        x = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
        gain = 1 + uniform(-self.gain, self.gain)
        return x * gain.to(images.device)[:, None, None, None]

    def get_extra_state(self) -> Tensor:
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self._generator.set_state(state)
