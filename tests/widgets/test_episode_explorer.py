"""The episode explorer: its episodes fulfil their condition."""

from __future__ import annotations

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.widgets import episode_explorer
from tests.helpers import conditioned_faces, random_faces, unlike_faces


def test_conditions_are_those_that_the_faces_record() -> None:
    assert episode_explorer.conditions(conditioned_faces()) == list(episode_explorer.CONDITIONS)
    assert episode_explorer.conditions(unlike_faces()) == ["any"]
    no_light = ["any", "all frontal", "queries turned", "nothing occluded", "queries occluded"]
    assert episode_explorer.conditions(random_faces()) == no_light


def test_episodes_fulfil_their_condition() -> None:
    faces = conditioned_faces()
    numbers = {image.numpy().tobytes(): m for m, image in enumerate(faces.images)}

    def found(name: str, condition: str) -> list[set[float]]:
        episodes = episode_explorer.sample(episode_explorer.State(shots=3, condition=condition), faces)
        return [
            {faces.conditions[name][numbers[image.numpy().tobytes()]].item() for image in examples.x[0]}
            for examples in (episodes.support, episodes.query)
        ]

    assert found("yaw", "all frontal") == [{0}, {0}]
    assert found("yaw", "queries turned") == [{0}, {30}]
    assert found("light_azimuth", "queries lit from the side") == [{0}, {60}]
    assert found("occluder", "queries occluded") == [{0}, {1}]
    assert found("occluder", "nothing occluded") == [{0}, {0}]


def test_unknown_conditions_and_those_not_recorded_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'all frontal'"):
        episode_explorer.draw(episode_explorer.State(condition="al frontal"), conditioned_faces())
    with pytest.raises(MetaFaceError, match="records no conditions"):
        episode_explorer.draw(episode_explorer.State(condition="all frontal"), unlike_faces())
