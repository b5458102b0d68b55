from __future__ import annotations

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.faceset import FaceSet

from .helpers import random_faces


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
