"""The leak behind lesson 01: what is measured has the shape of what is stored."""

from __future__ import annotations

from metaface_lessons.experiments import leak
from tests.helpers import random_faces, shape


def test_what_is_measured_has_the_shape_of_what_is_stored() -> None:
    found, old = leak.measure(random_faces(people=24, each=8, size=32), people=12, episodes=20), leak.load()
    assert shape(found["reported"]) == shape(old["reported"])
    honest = [found["reported"][kind]["0"] for kind in leak.KINDS]
    assert honest[0] == honest[1]
    everyone = found["reported"][leak.KINDS[0]]["100"]["accuracy"]
    assert everyone > honest[0]["accuracy"]
