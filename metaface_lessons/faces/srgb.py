"""What a camera stores: not the light that falls on its sensor, but nearly its square root, by the sRGB standard.

Light adds up, stored values do not. So pictures are put together in light: `decode`, add, `encode`. The curve is that
of IEC 61966-2-1: close to a power of 1/2.2, with a straight line where it is dark.
"""

from __future__ import annotations

import torch
from torch import Tensor


def encode(light: Tensor) -> Tensor:
    """The values that a camera stores for this light.

    light: float, 0 (none) to 1 (the brightest that is stored); beyond that it is cut off.

    Returns float of the same shape, 0 to 255, not rounded.
    """
    light = light.clamp(0, 1)
    return 255 * torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


def decode(stored: Tensor) -> Tensor:
    """The light that a camera has stored as these values: the opposite of `encode`.

    stored: uint8 or float, 0 to 255.

    Returns float of the same shape, 0 to 1.
    """
    value = stored if stored.is_floating_point() else stored.float()
    value = value / 255
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
