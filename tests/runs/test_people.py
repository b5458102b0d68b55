"""The people of a run, compared with what its faces are now."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaface_lessons.runs.people import changes, digests, leaked, people_of, pictures
from tests.helpers import random_faces


def test_people_are_known_by_their_pictures_in_any_order() -> None:
    faces = replace(random_faces(people=12, each=3), synthetic=False)
    now = digests(faces)
    assert len({*now.values()}) == 12
    assert all(len(pictures(joined)) == 3 for joined in now.values())
    assert digests(faces.select(torch.arange(len(faces)).flip(0))) == now
    assert people_of(faces.split(seed=1))["novel"].items() <= now.items()
    assert set(digests(replace(faces, synthetic=True)).values()) == {""}


def test_changes_are_said_exactly() -> None:
    a, b, c = ("0" * 16, "1" * 16, "2" * 16)
    was = {"Ada": a, "Bo": b + c, "Cy": "", "Di": c}
    assert changes(was, was) == ""
    assert changes(was, {"Ada": a, "Bo": b, "Cy": c, "Di": c}) == "1 with other pictures: Bo (0 new, 1 gone)"
    assert changes(was, {"Zoe": a, "Bo": b + c, "Di": c, "Eve": b}) == "1 gone: Cy; 1 new: Eve; 1 renamed: Ada to Zoe"
    many = {f"p{i}": "" for i in range(9)}
    assert changes(many, {}) == "9 gone: p0, p1, p2, p3, p4 and 4 more"
    assert changes({"Bo": b}, {"Bo": b + b}) == "1 with other pictures: Bo (one of them twice)"


def test_a_leak_is_a_trained_picture_that_has_come_to_a_novel_person() -> None:
    a, b, c = ("0" * 16, "1" * 16, "2" * 16)
    people = {"base": {"Ada": a}, "validation": {"Bo": b}, "novel": {"Cy": c + a, "Di": ""}}
    assert leaked(people, {"Ada": a, "Bo": b, "Cy": c + a}) == []  # the same photo twice, from the start
    assert leaked(people, {"Ada": a, "Bo": b, "Cy": c + a + b}) == ["Cy (as Bo)"]
    assert leaked(people, {"Ada": b, "Bo": a, "Cy": c, "New": a}) == []  # new people are in no part
