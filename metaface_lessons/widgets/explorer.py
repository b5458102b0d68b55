"""The part that every explorer shares: a state declares its controls, and the picture follows them.

An explorer is a frozen dataclass, whose fields declare the controls, and two pure functions:

    @dataclass(frozen=True)
    class State:
        shots: int = control(1, "shots", low=1, high=5)
        distance: str = control("squared", "distance", options=("squared", "cosine"))

    def draw(state: State, faces: FaceSet) -> Figure: ...
    def alt(state: State, faces: FaceSet) -> str: ...

    Explorer(State(), lambda state: draw(state, faces), lambda state: alt(state, faces))
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from ..errors import MetaFaceError, unknown
from ..figures import Table, image_tag, plain_picture, table


@dataclass(frozen=True)
class Control:
    """How the user sets a field of a state: by a slider from `low` to `high`, by one of `options`, or by a tick."""

    label: str
    low: float | None = None
    high: float | None = None
    step: float = 1
    options: tuple[Any, ...] = ()
    when: Callable[[Any], bool] = lambda state: True


def control(
    default: Any,
    label: str,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float = 1,
    options: Sequence[Any] = (),
    when: Callable[[Any], bool] = lambda state: True,
) -> Any:
    """A field of a state, with its default and its control in one place.

    default: the field's value at the start. A bool is ticked or not.
    label: the text beside the control.
    low, high: the range of a number.
    step: of the slider. 1.
    options: the values to choose from, in place of a range. Numbers must be in order. ().
    when: whether the field has an effect in a state; where it has none, the control is disabled. Always.
    """
    return field(default=default, metadata={"control": Control(label, low, high, step, tuple(options), when)})


def controls(state: type | Any) -> dict[str, Control]:
    """The control of each field of a state. Raises `MetaFaceError` if a field has none."""
    return {f.name: _control(f) for f in fields(state)}


def describe(state: type | Any) -> Table:
    """The controls with their defaults and ranges, as a table for a lesson to show."""
    rows = {_control(f).label: (str(f.default), _range(_control(f))) for f in fields(state)}
    return table(rows, ("at the start", "range"), title="The controls of the explorer")


def _control(f: Field[Any]) -> Control:
    known: Control | None = f.metadata.get("control")
    if known is None:
        raise MetaFaceError(
            f"The field {f.name} of State has no control. Write, for instance: {f.name}: int = control(4, '{f.name}',"
            " low=0, high=10)."
        )
    return known


def _range(c: Control) -> str:
    if c.low is None:
        return ", ".join(map(str, c.options)) or "ticked or not"
    return f"{c.low} to {c.high}"


# Controls beside the picture where both fit, else above it; a long label wraps, and a list never runs out of the cell.
# An explorer of a kernel that has stopped says so, in place of a broken link beside every control.
_LOOK = """<style>
.metaface-explorer { flex-flow: row wrap; align-items: flex-start; }
.metaface-controls { flex: 1 1 25em; min-width: 0; max-width: 100%; flex-flow: row wrap; align-content: flex-start; }
.metaface-controls > * { flex: 1 1 25em; width: auto; min-width: 0; max-width: 36em; }
.metaface-controls .widget-label { white-space: normal; line-height: 1.1; height: auto; align-self: center; }
.metaface-controls select { min-width: 0; }
.metaface-picture { max-width: 100%; }
.metaface-picture .widget-html-content { line-height: normal; }
.metaface-stopped, .metaface-names { display: none; }
.metaface-stopped.jupyter-widgets-disconnected { display: block; flex: 1 1 100%; font-weight: bold; }
.metaface-explorer.jupyter-widgets-disconnected::before,
.metaface-explorer .jupyter-widgets-disconnected::before { content: none; }
.metaface-controls.jupyter-widgets-disconnected { opacity: 0.5; }
</style>"""
_STOPPED = (
    "This is the last picture of a kernel that has stopped. To move the controls, choose Run ▸ Run All Above Selected"
    " Cell, then run this cell."
)
# ipywidgets ties a label to a list, but to no slider and no readout; only a script in the page can.
_NAMES = """<script>
(() => {
  const box = document.currentScript?.closest(".metaface-explorer");
  if (!box) return;
  const name = () => box.querySelectorAll(".metaface-controls > *").forEach(control => {
    const label = control.querySelector(".widget-label")?.textContent;
    control.querySelector("[role=slider]")?.setAttribute("aria-label", label);
    const readout = control.querySelector("[contenteditable]");
    readout?.setAttribute("role", "textbox");
    readout?.setAttribute("aria-label", label + ", typed");
  });
  new MutationObserver(name).observe(box, {childList: true, subtree: true});
  name();
})();
</script>"""


class Explorer(ipywidgets.VBox):
    """Controls and the picture that follows them. Jupyter displays it as the last line of a cell.

    start: the state to begin with.
    draw: state → figure.
    alt: state → the same in words.
    options: field → its choices, where they depend on the data, in place of those that the state declares. None.

    If `draw` or `alt` raise a `MetaFaceError`, its message is shown in place of the picture.
    """

    def __init__(
        self,
        start: Any,
        draw: Callable[[Any], Figure],
        alt: Callable[[Any], str],
        options: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self.state, self.draw, self.alt = start, draw, alt
        known = controls(start)
        for name, choices in (options or {}).items():
            known[name] = replace(known[name], options=tuple(choices))
        self.controls = {name: _widget(c, getattr(start, name)) for name, c in known.items()}
        for name, widget in self.controls.items():
            widget.observe(lambda change, name=name: self._set(name, change["new"]), names="value")
        self.effective = {name: c.when for name, c in known.items()}
        self.picture = ipywidgets.HTML().add_class("metaface-picture")
        self._redraw()
        script = {"output_type": "display_data", "data": {"text/html": _NAMES}, "metadata": {}}
        super().__init__([
            ipywidgets.HTML(f'{_LOOK}<span role="status">{_STOPPED}</span>').add_class("metaface-stopped"),
            ipywidgets.Box([*self.controls.values()]).add_class("metaface-controls"),
            self.picture,
            ipywidgets.Output(outputs=(script,)).add_class("metaface-names"),
        ])  # fmt: skip
        self.add_class("metaface-explorer")

    def _set(self, name: str, value: Any) -> None:
        self.state = replace(self.state, **{name: value})
        self._redraw()

    def _redraw(self) -> None:
        for name, widget in self.controls.items():
            widget.disabled = not self.effective[name](self.state)
        try:
            self.text = self.alt(self.state)
            self.picture.value = image_tag(self.draw(self.state), self.text)
        except MetaFaceError as error:
            self.text = str(error)
            self.picture.value = f'<p role="status">{html.escape(self.text)}</p>'

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widget, the picture for where no kernel runs, and its alt text, which nbval compares."""
        drawn = self.picture.value.startswith("<img")
        return {
            "text/plain": self.text,
            "text/html": self.picture.value,
            **({"image/png": plain_picture(self.picture.value)} if drawn else {}),
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            },
        }


def _widget(c: Control, value: Any) -> ipywidgets.ValueWidget:
    """A slider with a text readout for numbers, a list for words, a box to tick. The keyboard reaches all of them."""
    shared = {"value": value, "description": c.label, "style": {"description_width": "12em"}}
    if isinstance(value, bool):
        return ipywidgets.Checkbox(**shared)
    if c.options:
        if value not in c.options:
            raise unknown(c.label, value, map(str, c.options))
        kind = ipywidgets.Dropdown if isinstance(value, str) else ipywidgets.SelectionSlider
        return kind(options=c.options, **shared)
    if c.low is None or c.high is None or not c.low <= value <= c.high:
        raise MetaFaceError(f"{c.label} is {value}. Choose {c.low} to {c.high}.")
    kind = ipywidgets.IntSlider if isinstance(value, int) else ipywidgets.FloatSlider
    return kind(min=c.low, max=c.high, step=c.step, **shared)
