"""An explorer: what nbval compares, what cannot be drawn, and its controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import ipywidgets
import pytest
from matplotlib.figure import Figure

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.figures import plain_picture
from metaface_lessons.widgets import embedding_explorer, episode_explorer
from metaface_lessons.widgets.explorer import Explorer, control, describe
from tests.helpers import random_faces


def test_what_nbval_compares_is_the_alt_text(explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(episode_explorer)
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.text
    assert bundle["text/html"] == explorer.picture.value
    assert bundle["image/png"] == plain_picture(explorer.picture.value)
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id


def test_what_cannot_be_drawn_is_a_sentence_and_the_controls_live_on() -> None:
    explorer = episode_explorer.explore(random_faces(people=4, each=4))
    assert "5-way episodes need 5 people" in explorer.picture.value
    assert "<img" not in explorer.picture.value
    assert "image/png" not in explorer._repr_mimebundle_()
    explorer.controls["ways"].value = 3
    assert "<img" in explorer.picture.value
    explorer.controls["shots"].value = 5
    assert "shots + queries can be at most 4" in explorer.picture.value


def test_a_field_without_a_control_is_named() -> None:
    @dataclass(frozen=True)
    class State:
        shots: int = 1

    with pytest.raises(MetaFaceError, match=r"shots of State has no control\. Write"):
        Explorer(State(), lambda state: Figure(), lambda state: "")


def test_a_mistake_in_the_code_of_an_explorer_is_not_hidden() -> None:
    @dataclass(frozen=True)
    class State:
        shots: int = control(1, "shots", low=1, high=5)

    def mistaken(state: State) -> Figure:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Explorer(State(), mistaken, lambda state: "alt")
    with pytest.raises(MetaFaceError, match=r"shots is 9\. Choose 1 to 5"):
        Explorer(State(9), lambda state: Figure(), lambda state: "alt")


def test_words_are_chosen_from_a_list_and_numbers_on_a_slider(explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(embedding_explorer)
    kinds = {name: type(widget) for name, widget in explorer.controls.items()}
    assert kinds == {
        "step": ipywidgets.SelectionSlider,
        "shots": ipywidgets.IntSlider,
        "distance": ipywidgets.Dropdown,
        "seed": ipywidgets.IntSlider,
    }


def test_a_control_without_effect_is_disabled_until_it_has_one() -> None:
    @dataclass(frozen=True)
    class State:
        covered: bool = control(False, "covered")
        size: int = control(2, "size", low=0, high=4, when=lambda state: state.covered)

    explorer = Explorer(State(), lambda state: Figure(), str)
    assert explorer.controls["size"].disabled
    explorer.controls["covered"].value = True
    assert explorer.state.covered
    assert not explorer.controls["size"].disabled
    assert [*describe(State).rows] == [("covered", "False", "ticked or not"), ("size", "2", "0 to 4")]
