"""Random changes to images that leave the person the same, and embeddings averaged over such changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .episodes import Episodes, Examples, Sampler, of_share
from .shares import rand


class Augment(nn.Module):
    """Random changes to images that leave the person the same: seeded, batched, on the images' device.

    The random stream is part of `state_dict`, so that a training can be resumed.

    flip: whether to mirror half of the images.
    shift: the largest move, as a share of the image.
    rotate: the largest turn, in degrees.
    scale: the largest zoom; sizes are multiplied by up to exp(±scale).
    gamma: the largest change of the tones; values (0 to 1) are raised to a power of up to exp(±gamma).
    tint: the largest change of a colour; channels are multiplied by up to exp(±tint).
    shade: the largest slope of the light; at the edges the image is multiplied by up to exp(±shade).
    erase: the share of the images in which a rectangle is filled with the image's mean colour.
    seed: of the random stream.
    strength: multiplies all of these but `flip`.
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
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        self.flip = flip
        self.shift, self.rotate, self.scale = strength * shift, strength * rotate, strength * scale
        self.gamma, self.tint, self.shade = strength * gamma, strength * tint, strength * shade
        self.erase = strength * erase
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[M, C, H, W]` with values 0 to 255 → float32 of the same shape, each changed in its own way."""
        m, channels, height, width = images.shape

        def within(limit: float, *shape: int) -> Tensor:  # uniform in ±limit
            return ((rand((m, *shape), self._generator) * 2 - 1) * limit).to(images.device)

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
    """The mean embedding of ten views of a picture, known as test-time augmentation.

    The views are the picture, the picture moved by one pixel to each of four sides, and the mirror images of these
    five. Even aligned faces are not in exactly the same place, which the moves average out. The mirror images average
    out light from one side. The result for one picture does not depend on other pictures.

    embedding: images `[M, C, H, W]` → points `[M, D]`.
    """

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, images: Tensor) -> Tensor:
        """Images `[M, C, H, W]` → points `[M, D]`. A moved picture repeats its border."""
        height, width = images.shape[2:]
        points = []
        for down, across in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            rows = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
            columns = (torch.arange(width, device=images.device) + across).clamp(0, width - 1)
            moved = images[:, :, rows][:, :, :, columns]
            points += [self.embedding(moved), self.embedding(moved.flip(-1))]
        return torch.stack(points).mean(dim=0)


class Augmented:
    """A sampler whose images are changed, support and query alike; `state_dict` holds both random streams.

    It is for learners that do not augment by themselves. `ProtoNet` does.

    sampler: draws the episodes.
    augment: changes their images.
    """

    def __init__(self, sampler: Sampler, augment: Augment) -> None:
        self.sampler, self.augment = sampler, augment

    def sample(self, tasks: int = 1) -> Episodes:
        episodes = of_share(self.sampler.sample(tasks), tasks)
        (support, y), (query, target) = episodes.support, episodes.query
        x = torch.cat([support, query], dim=1)
        x = self.augment(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        known, asked = x.split([support.shape[1], query.shape[1]], dim=1)
        return Episodes(Examples(known, y), Examples(asked, target), episodes.identities)

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.sampler.state_dict(), "augment": self.augment.get_extra_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.sampler.load_state_dict(state)
        self.augment.set_extra_state(state["augment"])
