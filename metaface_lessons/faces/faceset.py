"""`FaceSet`: images, who is on them, and the conditions under which they were taken."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MetaFaceError, unknown

if TYPE_CHECKING:  # what a submission may import has no way to read files
    from .reading import Reading

Condition = Any  # a number or word, a (low, high) range of numbers, or a set of numbers or words


class Split(NamedTuple):
    """Three face sets that share no person: to learn from, to choose with, to report on."""

    base: FaceSet
    validation: FaceSet
    novel: FaceSet


@dataclass(frozen=True)
class FaceSet:
    """M face images of known identity.

    images: uint8 `[M, C, H, W]`, with C = 1 (grey) or 3 (RGB). In a set on disk they are a `mapped.MappedImages`, which
        reads those that are indexed; `in_memory` reads all.
    identity: int64 `[M]`. A person keeps their number through `select` and `split`, so that a leak of people from
        one set into another can be seen by comparing numbers.
    conditions: one tensor `[M]` for each condition: float32 for numbers (angles in degrees), int64 for words.
    levels: the words of each condition that has words: `levels["occluder"][conditions["occluder"][m]]`.
    names: the names of person 0, 1, …; empty if they have none.
    name: what the set is called.
    synthetic: whether no real person is shown. Pictures of real people never enter a stored notebook.
    reading: what became of the files, for a set that was read from a folder: `print(faces.reading)`.

    Raises `MetaFaceError` if there are no images, fewer than two people, or if shapes, types or numbers do not fit.
    """

    images: Tensor
    identity: Tensor
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    name: str = "faces"
    synthetic: bool = False
    reading: Reading | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        images, identity = self.images, self.identity
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise MetaFaceError(
                f"images must have the shape [M, C, H, W] with C = 1 or 3, but have {list(images.shape)}."
                " Stack images of one size, and put the channels before height and width."
            )
        if len(images) == 0:
            raise MetaFaceError("A face set needs images, but there are none. Check the folder or the selection.")
        if images.dtype != torch.uint8:
            if images.is_floating_point() and not torch.isfinite(images).all():
                raise MetaFaceError("images hold NaN or infinite values. Look for a division by zero before this.")
            raise MetaFaceError(f"images must be uint8 (0 to 255), but are {images.dtype}. Scale, round and convert.")
        if identity.dtype != torch.int64 or identity.shape != (len(images),):
            raise MetaFaceError(
                f"identity must be int64 of shape [{len(images)}], one number per image,"
                f" but is {identity.dtype} of shape {list(identity.shape)}."
            )
        first, last = int(identity.min()), int(identity.max())
        if first < 0 or (self.names and last >= len(self.names)):
            limit = (
                f"from 0 to {len(self.names) - 1} (there are {len(self.names)} names)"
                if self.names
                else "at 0 or above"
            )
            raise MetaFaceError(f"identity must lie {limit}, but holds {first} to {last}. Number the people from 0.")
        if first == last:
            raise MetaFaceError("A face set needs at least two people, but all images show one. Add another person.")
        for key, values in self.conditions.items():
            if values.shape != identity.shape:
                raise MetaFaceError(
                    f"condition '{key}' must have one value per image, shape [{len(images)}],"
                    f" but has shape {list(values.shape)}."
                )
            if values.is_floating_point() and torch.isnan(values).any():
                raise MetaFaceError(f"condition '{key}' holds NaN. Leave out the images whose value is unknown.")
            low, high = values.min(), values.max()
            if key in self.levels and not (low >= 0 and high < len(self.levels[key])):
                raise MetaFaceError(
                    f"condition '{key}' has {len(self.levels[key])} words, so its values must lie"
                    f" in 0 to {len(self.levels[key]) - 1}, but they reach from {int(low)} to {int(high)}."
                )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        channels, height, width = self.shape
        kind = "synthetic" if self.synthetic else "real"
        known = f", conditions: {', '.join(self.conditions)}" if self.conditions else ""
        size = f"{channels}×{height}×{width}"
        return f"FaceSet('{self.name}', {kind}: {len(self)} images of {len(self.identities)} people, {size}{known})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        return (self.images.shape[1], self.images.shape[2], self.images.shape[3])

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def on_disk(self) -> bool:
        """Whether the images are in a file, and are read when they are indexed (see `mapped`)."""
        return not isinstance(self.images, Tensor)

    def in_memory(self) -> FaceSet:
        """The same faces with all images in memory."""
        return replace(self, images=self.images[:]) if self.on_disk else self

    @property
    def identities(self) -> Tensor:
        """The numbers of the people, sorted: int64 `[I]`."""
        return self.identity.unique()

    def name_of(self, person: int) -> str:
        """What a person is called: the name, or the number if the set has no names.

        person: the number of the person.
        """
        return self.names[person] if self.names else str(person)

    def where(self, **conditions: Condition) -> Tensor:
        """Which images fulfil all conditions: bool `[M]`.

            faces.where(yaw=(-15, 15), occluder={"none", "sunglasses"})

        conditions: for each condition a number or word, a range `(low, high)` of numbers (ends included), or a set or
            list of numbers or words.

        Raises `MetaFaceError` for an unknown condition or word, or a range whose low end is above its high end.
        """
        mask = torch.ones(len(self), dtype=torch.bool, device=self.device)
        for key, wanted in conditions.items():
            if key not in self.conditions:
                if not self.conditions:
                    raise MetaFaceError(f"'{self.name}' records no conditions, so it cannot select by '{key}'.")
                raise unknown("condition", key, self.conditions)
            values = self.conditions[key]
            if key in self.levels:
                words = [wanted] if isinstance(wanted, str) else list(wanted)
                for word in words:
                    if word not in self.levels[key]:
                        raise unknown(key, word, self.levels[key])
                numbers = [self.levels[key].index(word) for word in words]
                mask &= torch.isin(values, torch.tensor(numbers, dtype=torch.int64, device=self.device))
            elif isinstance(wanted, tuple):
                if len(wanted) != 2 or not wanted[0] <= wanted[1]:
                    raise MetaFaceError(f"A range must be (low, high) with low ≤ high, but '{key}' got {wanted}.")
                mask &= (values >= wanted[0]) & (values <= wanted[1])
            else:
                numbers = list(wanted) if isinstance(wanted, Collection) else [wanted]
                mask &= torch.isin(values, torch.tensor(numbers, dtype=values.dtype, device=self.device))
        return mask

    def select(self, which: Tensor) -> FaceSet:
        """Some of the images. People keep their numbers.

        which: bool mask `[M]`, or int64 numbers of images.

        Raises `MetaFaceError` for a mask of another length.
        """
        if which.dtype == torch.bool and which.shape != self.identity.shape:
            raise MetaFaceError(f"A mask must have the shape [{len(self)}], but has {list(which.shape)}.")
        which = which.to(self.device)
        return replace(
            self,
            images=self.images[which] if isinstance(self.images, Tensor) else self.images.of_rows(which),
            identity=self.identity[which],
            conditions={key: values[which] for key, values in self.conditions.items()},
        )

    def of(self, people: Tensor) -> FaceSet:
        """The images of some people.

        people: int64 `[…]`, numbers out of `identities`.
        """
        return self.select(torch.isin(self.identity, people.to(self.device)))

    def split(self, fractions: tuple[float, float, float] = (0.6, 0.15, 0.25), seed: int = 0) -> Split:
        """Divide the *people* into base, validation and novel.

        No person is in two of the three sets, so accuracy on the novel people is accuracy on strangers. Each set gets
        at least two people, so that a small set can be divided too.

        fractions: the shares of base, validation and novel people, which sum to 1.
        seed: another seed divides them in another way.

        Raises `MetaFaceError` for other fractions, or fewer than six people.
        """
        if len(fractions) != 3 or any(part <= 0 for part in fractions) or not math.isclose(sum(fractions), 1.0):
            raise MetaFaceError(f"fractions must be three positive numbers that sum to 1, but are {fractions}.")
        people = self.identities.cpu()
        if len(people) < 6:
            raise MetaFaceError(
                f"A split needs at least two people in each of its three parts, six in all, but '{self.name}' has"
                f" {len(people)}. Add people."
            )
        people = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]
        last = min(max(round(len(people) * (fractions[0] + fractions[1])), 4), len(people) - 2)
        first = min(max(round(len(people) * fractions[0]), 2), last - 2)
        parts = (people[:first], people[first:last], people[last:])
        names = (f"{self.name}, {part} people" for part in Split._fields)
        return Split(*(replace(self.of(part), name=name) for part, name in zip(parts, names, strict=True)))

    def resized(self, size: int | tuple[int, int]) -> FaceSet:
        """The same faces with smaller or larger images.

        Where neither side grows, a new pixel is the mean of the old ones that it covers, wholly or in part. Otherwise
        it is interpolated between its neighbours (bilinear). Values are rounded, a half to the even number.

        size: pixels on each side, or (height, width).

        Raises `MetaFaceError` for a side below 1.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise MetaFaceError(f"Images must be at least 1×1 pixel, but {height}×{width} was asked for.")
        _, old_height, old_width = self.shape
        if (height, width) == (old_height, old_width):
            return self
        images = self.images.float()
        if height <= old_height and width <= old_width:
            images = F.interpolate(images, (height, width), mode="area")
        else:  # antialiasing matters where the other side shrinks
            images = F.interpolate(images, (height, width), mode="bilinear", antialias=True, align_corners=False)
        return replace(self, images=images.round().clamp(0, 255).byte())

    def grey(self) -> FaceSet:
        """The same faces in one channel, the rounded mean of red, green and blue; grey faces stay as they are."""
        if self.shape[0] == 1:
            return self
        return replace(self, images=self.images.float().mean(dim=1, keepdim=True).round().byte())

    def to(self, device: torch.device | str) -> FaceSet:
        """The same faces on another device.

        device: such as "cpu" or "cuda".
        """
        return replace(
            self,
            images=self.images.to(device),
            identity=self.identity.to(device),
            conditions={key: values.to(device) for key, values in self.conditions.items()},
        )
