"""The episode explorer: its episodes fulfil their condition."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.colors import to_rgb

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.figures import COLOURS
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


def test_hidden_queries_are_shuffled_and_keep_their_place_when_they_are_revealed() -> None:
    faces = conditioned_faces()
    shown, hidden, revealed = (
        replace(episode_explorer.State(seed=3), hidden=hidden, revealed=revealed)
        for hidden, revealed in ((False, False), (True, False), (True, True))
    )
    assert episode_explorer.order(shown, 15) == list(range(15))
    shuffled = episode_explorer.order(hidden, 15)
    assert sorted(shuffled) == list(range(15))
    assert shuffled != list(range(15))
    assert episode_explorer.order(revealed, 15) == shuffled
    assert episode_explorer.order(replace(hidden, seed=4), 15) != shuffled

    truth = episode_explorer.sample(hidden, faces).query.y[0, shuffled].tolist()
    words = {
        state: [text.get_text() for text in episode_explorer.draw(state, faces).texts] for state in (hidden, revealed)
    }
    assert words[hidden][-15:] == [str(i) for i in range(1, 16)]
    assert words[revealed][-15:] == [f"{i}: {y}" for i, y in enumerate(truth, start=1)]
    assert "their labels are hidden" in episode_explorer.alt(hidden, faces)
    assert f"in this order: {', '.join(map(str, truth))}" in episode_explorer.alt(revealed, faces)


def test_hidden_queries_have_no_colour() -> None:
    def colours(state: episode_explorer.State) -> set[str]:
        figure = episode_explorer.draw(state, conditioned_faces())
        pixels = figure.artists[0].pixels[:, figure.artists[0].pixels.shape[1] // 2 :, :3]  # the queries
        found = {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()}
        return {colour for colour in COLOURS[:5] if tuple(round(255 * c) for c in to_rgb(colour)) in found}

    assert colours(episode_explorer.State(hidden=True)) == set()
    assert colours(episode_explorer.State(hidden=True, revealed=True)) == {*COLOURS[:5]}


def test_an_impossible_episode_says_in_words_what_it_lacks() -> None:
    explorer = episode_explorer.explore(random_faces(people=5, each=4), episode_explorer.State(shots=5))
    explorer.controls["condition"].value = "queries turned"
    assert "support where yaw is -15.0 to 15.0, and query where yaw is 20.0 to 90.0" in explorer.text
    assert "{" not in explorer.text
