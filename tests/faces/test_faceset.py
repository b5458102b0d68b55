from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.faceset import FaceSet
from tests.helpers import random_faces


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(0, 1, 8, 8, dtype=torch.uint8), "identity": torch.zeros(0, dtype=torch.int64)}, "none"),
        ({"identity": torch.zeros(6, dtype=torch.int64)}, "at least two people"),
        ({"images": torch.zeros(6, 8, 8, dtype=torch.uint8)}, "shape"),
        ({"images": torch.zeros(6, 2, 8, 8, dtype=torch.uint8)}, "C = 1 or 3"),
        ({"images": torch.full((6, 1, 8, 8), float("nan"))}, "NaN"),
        ({"images": torch.zeros(6, 1, 8, 8)}, "uint8"),
        ({"identity": torch.arange(5)}, "one number per image"),
        ({"identity": torch.arange(6) - 1}, "at 0 or above, but holds -1 to 4"),
        ({"names": ("Ann", "Bo")}, "there are 2 names"),
        ({"conditions": {"yaw": torch.zeros(5)}}, "one value per image"),
        ({"conditions": {"yaw": torch.full((6,), float("nan"))}}, "NaN"),
        ({"conditions": {"glasses": torch.full((6,), 2)}, "levels": {"glasses": ("no", "yes")}}, "has 2 words"),
    ],
)
def test_refuses_what_makes_no_sense(change: dict, message: str) -> None:
    good = {"images": torch.zeros(6, 1, 8, 8, dtype=torch.uint8), "identity": torch.arange(6)}
    FaceSet(**good)
    with pytest.raises(MetaFaceError, match=message):
        FaceSet(**good | change)


def test_selects_by_number_range_and_word() -> None:
    faces = random_faces(people=4, each=3)
    assert faces.where(yaw=(-10, 10)).tolist() == (faces.conditions["yaw"].abs() <= 10).tolist()
    masked = faces.levels["occluder"].index("mask")
    assert faces.where(occluder="mask").tolist() == (faces.conditions["occluder"] == masked).tolist()
    assert faces.where(occluder={"mask", "none"}).all()
    assert torch.equal(
        faces.where(yaw=(0, 90), occluder="mask"), faces.where(yaw=(0, 90)) & faces.where(occluder="mask")
    )
    assert faces.where().all()
    for wrong, message in (
        ({"yawn": 3}, "Did you mean 'yaw'"),
        ({"occluder": "masc"}, "Did you mean 'mask'"),
        ({"yaw": (10, -10)}, "low ≤ high"),
    ):
        with pytest.raises(MetaFaceError, match=message):
            faces.where(**wrong)


def test_a_selection_keeps_people_and_conditions_together() -> None:
    faces = random_faces(people=4, each=3)
    chosen = faces.select(faces.where(yaw=(0, 90)))
    for image, person, yaw in zip(chosen.images, chosen.identity, chosen.conditions["yaw"], strict=True):
        m = int((faces.images == image).flatten(1).all(1).nonzero())
        assert faces.identity[m] == person
        assert faces.conditions["yaw"][m] == yaw


def test_a_split_shares_no_person_covers_all_and_follows_its_seed() -> None:
    faces = random_faces(people=40, each=2)
    split = faces.split(seed=3)
    parts = [set(part.identities.tolist()) for part in split]
    assert [len(part) for part in parts] == [24, 6, 10]
    assert set.union(*parts) == set(range(40))
    assert sum(len(part) for part in split) == len(faces)
    again, other = faces.split(seed=3), faces.split(seed=4)
    assert torch.equal(split.novel.images, again.novel.images)
    assert not torch.equal(split.novel.identities, other.novel.identities)
    with pytest.raises(MetaFaceError, match="sum to 1"):
        faces.split((0.5, 0.1, 0.1))
    with pytest.raises(MetaFaceError, match="six in all, but 'noise' has 5"):
        random_faces(people=5, each=2).split()


@pytest.mark.parametrize("fractions", [(0.6, 0.15, 0.25), (0.7, 0.05, 0.25), (0.98, 0.01, 0.01), (0.01, 0.01, 0.98)])
@pytest.mark.parametrize("people", [6, 7, 12, 28])
def test_few_people_are_divided_too(people: int, fractions: tuple[float, float, float]) -> None:
    parts = [part.identities.tolist() for part in random_faces(people=people, each=2).split(fractions)]
    assert min(map(len, parts)) >= 2
    assert sorted(person for part in parts for person in part) == list(range(people))


def with_images(images: torch.Tensor) -> FaceSet:
    return FaceSet(images.byte(), torch.arange(len(images)), name="made up", synthetic=True)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 6])
def test_where_the_size_divides_a_pixel_is_the_rounded_mean_of_a_block(factor: int) -> None:
    faces = random_faces(people=20, each=5, size=48, channels=3)
    blocks = F.avg_pool2d(faces.images.float(), factor).round().byte()
    small = faces.resized(48 // factor)
    assert torch.equal(small.images, blocks)
    assert small.images.dtype == torch.uint8
    assert torch.equal(small.identity, faces.identity)
    assert torch.equal(faces.where(occluder="mask"), small.where(occluder="mask"))


def test_a_mean_of_a_half_is_rounded_to_the_even_number() -> None:
    images = torch.tensor([[[[0.0, 1, 1, 2], [0, 1, 1, 2]]]]).expand(2, -1, -1, -1)
    assert with_images(images).resized((1, 2)).images[0].tolist() == [[[0, 2]]]


def test_in_other_sizes_every_pixel_covers_what_it_touches() -> None:
    """3 pixels to 2: the new ones cover 0 to 1.5 and 1.5 to 3, so both touch the middle one."""
    images = torch.tensor([[[[0.0, 60, 200]]]]).expand(2, -1, 3, -1)
    assert with_images(images).resized((3, 2)).images[0, 0].tolist() == [[30, 130]] * 3


def test_one_colour_stays_that_colour_and_a_ramp_a_ramp_when_images_grow() -> None:
    plain = with_images(torch.tensor([0.0, 7, 128, 255])[:, None, None, None].expand(-1, 3, 6, 8))
    for size in (5, 12, (3, 16), (9, 4), (6, 9)):
        images = plain.resized(size).images
        assert images.shape == (4, 3, *((size, size) if isinstance(size, int) else size))
        assert (images == plain.images[:, :, :1, :1]).all()
    ramp = with_images(torch.arange(8.0).mul(32).expand(2, 1, 6, 8))
    grown = ramp.resized((6, 16)).images[0, 0].long()
    assert grown[0].tolist() == sorted(grown[0].tolist())
    assert (grown[:, 2:14].diff(dim=1) == 16).all()  # twice as wide, half as steep


def test_a_side_that_grows_leaves_the_other_antialiased() -> None:
    stripes = with_images(torch.tensor([0.0, 0, 0, 255, 255, 0, 0, 0]).repeat(4).expand(2, 1, 4, 32))
    assert stripes.resized((8, 4)).images.max() < 80  # 255 where a new pixel sees only its two nearest


def test_no_size_no_picture() -> None:
    faces = random_faces()
    assert faces.resized(16) is faces
    for size in (0, (4, -1)):
        with pytest.raises(MetaFaceError, match="at least 1×1"):
            faces.resized(size)


def test_grey_is_the_mean_of_the_colours() -> None:
    faces = random_faces(channels=3)
    grey = faces.grey()
    assert grey.shape == (1, *faces.shape[1:])
    exact = faces.images.long().sum(dim=1, keepdim=True)  # three times the mean, which is never a half
    assert ((3 * grey.images.long() - exact).abs() <= 1).all()
    assert torch.equal(grey.identity, faces.identity)
    assert grey.grey() is grey
