"""All explorers: every figure at every corner of its ranges, and controls that follow the state."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import fields
from types import ModuleType
from typing import Any

import ipywidgets
import pytest
from matplotlib.figure import Figure

from metaface_lessons import widgets
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.figures import png
from metaface_lessons.widgets import embedding_explorer, leak_explorer
from metaface_lessons.widgets.explorer import Explorer, controls, describe
from tests.widgets.corners import corners

MODULES = widgets.explorers()
each_explorer = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def test_every_explorer_is_found_and_an_unknown_one_is_refused() -> None:
    assert {"face", "episode", "light"} <= set(MODULES)
    assert all(hasattr(module, part) for module in MODULES.values() for part in ("State", "draw", "alt", "explore"))
    with pytest.raises(MetaFaceError, match=r"no explorer called 'faces'. Did you mean 'face'"):
        widgets.example("faces")


def test_every_example_opens() -> None:
    """Benchmarks and a reader's first try open every explorer without arguments."""
    for name in MODULES:
        explorer = widgets.example(name)
        assert explorer.picture.value.startswith("<img"), name


@each_explorer
def test_every_corner_is_drawn_and_described(module: ModuleType, explore: Callable[[ModuleType], Explorer]) -> None:
    explorer, said = explore(module), set()
    for state in (module.State(), *corners(module.State)):
        figure = explorer.draw(state)
        assert isinstance(figure, Figure)
        said.add(explorer.alt(state))
        assert all(word not in max(said, key=len) for word in ("nan", "tensor", "None"))
    assert min(map(len, said)) > 60, f"The alt text is too short to say what the figure shows: {min(said, key=len)}"
    png(figure)  # drawing is lazy: matplotlib complains only now


@each_explorer
def test_a_state_draws_the_same_picture_again(module: ModuleType, explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(module)
    assert png(explorer.draw(module.State())) == png(explorer.draw(module.State()))


@each_explorer
def test_controls_take_their_defaults_and_ranges_from_the_state(
    module: ModuleType, explore: Callable[[ModuleType], Explorer]
) -> None:
    explorer = explore(module)
    assert list(explorer.controls) == [f.name for f in fields(module.State)]
    for name, declared in controls(module.State).items():
        widget = explorer.controls[name]
        assert widget.value == getattr(module.State(), name)
        assert widget.description == declared.label
        assert widget.disabled is not declared.when(module.State())
        if declared.options:
            assert widget.options == declared.options
        elif declared.low is None:
            assert isinstance(widget, ipywidgets.Checkbox)
        else:
            assert (widget.min, widget.max, widget.step) == (declared.low, declared.high, declared.step)
            assert widget.readout


@each_explorer
def test_every_control_changes_the_picture(module: ModuleType, explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(module)
    if module is leak_explorer:
        explorer.controls["share"].value = 50
    for name, widget in explorer.controls.items():
        before, text = explorer.picture.value, explorer.text
        assert not widget.disabled, name
        if isinstance(widget, ipywidgets.Checkbox):
            choices: tuple[Any, ...] = (False, True)
        else:
            choices = widget.options if hasattr(widget, "options") else (widget.min, widget.max)
        widget.value = next(value for value in choices[::-1] if value != widget.value)
        assert getattr(explorer.state, name) == widget.value
        assert explorer.picture.value != before, name
        assert explorer.text != text or module is embedding_explorer, name  # there, scores may be equal
        assert f'alt="{html.escape(explorer.text)}"' in explorer.picture.value


@each_explorer
def test_a_lesson_can_show_every_default(module: ModuleType) -> None:
    shown = [row[:2] for row in describe(module.State).rows]
    assert shown == [(f.metadata["control"].label, str(f.default)) for f in fields(module.State)]


@each_explorer
def test_no_words_beside_the_axes_are_cut(module: ModuleType, explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(module)
    figure = explorer.draw(explorer.state)
    png(figure)
    for text in figure.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width, text.get_text()
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height, text.get_text()
