"""Cameras: what another camera would have made of the same faces."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import MetaFaceError
from .blurring import blurred
from .faceset import FaceSet


@dataclass(frozen=True)
class Camera:
    """Changes images as a camera of this kind would have taken them.

    blur: standard deviation of a Gaussian, as a share of the image's width.
    noise: standard deviation of what is added to each pixel and channel, in levels of 0 to 255.
    gamma: the exponent of the tone curve, above 1 for darker middle tones.
    balance: factors of red, green and blue.
    infrared: from 0, colour, to 1, grey with the tones of near infrared: skin is bright, and blue is hardly seen.

    Raises `MetaFaceError` for values out of these ranges.
    """

    blur: float = 0.0
    noise: float = 0.0
    gamma: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    infrared: float = 0.0

    def __post_init__(self) -> None:
        if min(self.blur, self.noise) < 0 or not 0 <= self.infrared <= 1:
            raise MetaFaceError(
                f"blur and noise must be 0 or more, and infrared 0 to 1, but are {self.blur}, {self.noise} and"
                f" {self.infrared}."
            )
        if not min(self.gamma, *self.balance) > 0:
            raise MetaFaceError(f"gamma and balance must be above 0, but are {self.gamma} and {self.balance}.")

    def __call__(self, images: Tensor, seed: int = 0) -> Tensor:
        """Images uint8 `[M, C, H, W]` → the same, as this camera takes them; the noise is drawn by `seed`."""
        x = images.float() / 255
        if images.shape[1] == 3:
            x = x * torch.tensor(self.balance, device=x.device)[:, None, None]
            tones = (x * torch.tensor(INFRARED, device=x.device)[:, None, None]).sum(dim=1, keepdim=True)
            x = x + self.infrared * (tones - x)
        x = x.clamp(0, 1) ** self.gamma
        if self.blur:
            sigma = self.blur * images.shape[-1]
            reach = int(3 * sigma + 1)
            taps = torch.arange(-reach, reach + 1, device=x.device)
            x = blurred(x, torch.exp(-(taps**2) / (2 * sigma**2)))  # as `gaussian`, but for the last bit
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device)
        return (255 * x + self.noise * noise).round().clamp(0, 255).byte()

    def faces(self, faces: FaceSet, seed: int = 0) -> FaceSet:
        """The same people in the same conditions, as this camera takes them."""
        return replace(faces, images=self(faces.images, seed), name=f"{faces.name}, another camera")


INFRARED = (0.8, 0.25, -0.05)  # of red, green, blue


CAMERAS = {
    "same": Camera(),
    "warm light": Camera(balance=(1.1, 0.8, 0.5)),
    "soft": Camera(blur=0.03),
    "noisy": Camera(noise=30.0),
    "near infrared": Camera(infrared=1.0, gamma=0.7),
    "cheap webcam": Camera(blur=0.015, noise=25.0, gamma=1.6, balance=(0.75, 0.9, 1.15)),
}
