"""Photograph one synthetic person: the pose, the light and the expression change, and the person stays the same.

explore()
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

from matplotlib.figure import Figure
from torch import Tensor

from ..faces.procedural import EXPRESSIONS, OCCLUDERS, render_face
from ..figures import face_grid
from .explorer import Explorer, control


@dataclass(frozen=True)
class State:
    person: int = control(0, "person", low=0, high=299)
    yaw: int = control(0, "yaw, °", low=-45, high=45, step=5)
    light_azimuth: int = control(25, "light from the side, °", low=-90, high=90, step=5)
    light_elevation: int = control(35, "light from above, °", low=-30, high=75, step=5)
    expression: str = control("neutral", "expression", options=EXPRESSIONS)
    occluder: str = control("none", "occluder", options=OCCLUDERS)


@lru_cache(maxsize=64)
def picture(state: State) -> Tensor:
    """The photograph, uint8 `[3, 160, 160]`."""
    return render_face(**asdict(state), size=160)


def draw(state: State) -> Figure:
    """The photograph."""
    return face_grid(picture(state)[None], columns=1, zoom=3)


def alt(state: State) -> str:
    """The figure in words."""
    worn = "nothing covers the face" if state.occluder == "none" else f"with {state.occluder}"
    return (
        f"Synthetic person {state.person}, turned by {state.yaw}°, lit from {state.light_azimuth}° aside and"
        f" {state.light_elevation}° above, {state.expression}, {worn}."
    )


def explore(start: State = State()) -> Explorer:
    """Turn the head and move the lamp."""
    return Explorer(start, draw, alt)
