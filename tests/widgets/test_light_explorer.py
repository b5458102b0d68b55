"""The light explorer: its lamp, its path, and the curves of the stored measurement."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import light
from metaface_lessons.widgets import light_explorer


@pytest.fixture(scope="module")
def gallery(explorers: dict[ModuleType, Any]) -> light_explorer.Gallery:
    found = explorers[light_explorer]
    assert isinstance(found, light_explorer.Gallery)
    return found


def test_the_lamp_and_the_block_are_where_the_state_says(gallery: light_explorer.Gallery) -> None:
    def lit(**state: Any) -> torch.Tensor:
        picture = gallery.picture(light_explorer.State(**state))[0].float().mean(0)
        return picture[20:50, 20:44]  # the face

    right, left = lit(azimuth=80), lit(azimuth=-80)
    assert right[:, 12:].mean() > right[:, :12].mean() + 10
    assert left[:, :12].mean() > left[:, 12:].mean() + 10
    plain = lit(occluder="none")
    hidden = [((lit(occluder="block", size=size) - plain).abs() > 8).float().mean() for size in (0.0, 0.5, 1.0)]
    assert 0 == hidden[0] < hidden[1] < hidden[2]
    assert lit(occluder="none", size=1.0).equal(plain)


def test_the_path_is_nearest_to_its_own_person_where_it_was_enrolled(gallery: light_explorer.Gallery) -> None:
    azimuth, elevation = light.KNOWN_LIGHT
    enrolled = light.photographs([gallery.people[0]], [azimuth], elevation)
    assert gallery.nearest(gallery.embed(enrolled)).tolist() == [0]
    points = gallery.path(light_explorer.State())
    assert gallery.plane(points).shape == (len(light.AZIMUTHS), 2)
    with pytest.raises(MetaFaceError, match="at least four people, but got 3"):
        light_explorer.Gallery(gallery.net, [0, 1, 2])


def test_curves_lie_between_the_measured_elevations_and_sizes() -> None:
    grid = light.load("procedural")
    for state, look, row in (
        (light_explorer.State(elevation=0), "none", 0),
        (light_explorer.State(elevation=45, occluder="mask"), "mask", 1),
        (light_explorer.State(elevation=45, occluder="block", size=1.0), "block 1", 1),
    ):
        got = light_explorer.curves(state)["protonet"]
        assert got.tolist() == pytest.approx(grid["accuracy"]["protonet"][look][row])
    low, middle, high = (
        light_explorer.curves(light_explorer.State(elevation=0, occluder="block", size=size))["lbp"]
        for size in (0.5, 0.75, 1.0)
    )
    assert middle.tolist() == pytest.approx(((low + high) / 2).tolist())
    none, smallest = (light_explorer.State(elevation=0, occluder=word, size=0.0) for word in ("none", "block"))
    assert light_explorer.curves(none)["lbp"].tolist() == light_explorer.curves(smallest)["lbp"].tolist()
