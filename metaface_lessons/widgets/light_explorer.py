"""One procedural face under a lamp that moves: the picture, its embedding's path among other people, the accuracy.

    explore(load_snapshots()[1500], snapshot_split().novel.identities.tolist())

The accuracies were measured by `metaface experiment light procedural`, at the azimuths that are marked, two elevations,
without a block and with three sizes of it; between them straight lines are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MetaFaceError
from ..experiments import light
from ..experiments.light import AZIMUTHS, KNOWN_LIGHT, photographs
from ..experiments.snapshots import load_snapshots, snapshot_split
from ..faces.procedural import OCCLUDERS
from ..figures import COLOURS, STYLE
from ..learners.protonet import ProtoNet
from .explorer import Explorer, control

GALLERY = 25
NAMES = {"protonet": "ProtoNet", "tan-triggs": "pixels, Tan–Triggs", "lbp": "LBP", "pixels": "pixels"}
LOOK: dict[str, dict[str, Any]] = {name: {"color": COLOURS[i], "marker": "os^v"[i]} for i, name in enumerate(NAMES)}


@dataclass(frozen=True)
class State:
    azimuth: int = control(60, "azimuth of the light, °", low=-80, high=80, step=5)
    elevation: int = control(15, "elevation of the light, °", low=0, high=45, step=5)
    occluder: str = control("none", "occluder", options=OCCLUDERS)
    size: float = control(
        0.5, "size of the block (0: none)", low=0.0, high=1.0, step=0.25, when=lambda state: state.occluder == "block"
    )


@dataclass
class Gallery:
    """People enrolled with one picture each, the first of whom is the one to be photographed again.

    people: numbers of the default procedural faces. Raises `MetaFaceError` if there are fewer than four.
    """

    net: ProtoNet
    people: Sequence[int]
    known: Tensor = field(init=False)  # [P, D], the embeddings of the enrolled pictures
    _paths: dict[tuple[float, str, float], Tensor] = field(init=False, default_factory=dict)
    _last: tuple[State, Tensor] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if len(self.people) < 4:
            raise MetaFaceError(f"The plane needs at least four people, but got {len(self.people)}.")
        azimuth, elevation = KNOWN_LIGHT
        self.known = self.embed(photographs(self.people, [azimuth] * len(self.people), elevation))
        moved = torch.cat([self.known, self.path(State(occluder="none"))]).numpy()
        self.mean = moved.mean(axis=0)
        self.axes = np.linalg.svd(moved - self.mean, full_matrices=False)[2][:2]  # principal components

    def embed(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.net.embed(images[None])[0]

    def path(self, state: State) -> Tensor:
        """The person's embeddings `[A, D]` while the light goes through `AZIMUTHS`."""
        key = (state.elevation, state.occluder, state.size if state.occluder == "block" else 0.0)
        if key not in self._paths:
            self._paths[key] = self.embed(photographs([self.people[0]] * len(AZIMUTHS), AZIMUTHS, *key))
        return self._paths[key]

    def picture(self, state: State) -> Tensor:
        """The person's picture `[1, 3, 64, 64]`; the last one is kept, because figure and text both need it."""
        if self._last is None or self._last[0] != state:
            taken = photographs([self.people[0]], [state.azimuth], state.elevation, state.occluder, state.size)
            self._last = state, taken
        return self._last[1]

    def nearest(self, points: Tensor) -> Tensor:
        """For each of `[M, D]` who of the gallery is nearest: int64 `[M]`, 0 being right."""
        return torch.cdist(points, self.known).argmin(dim=1)

    def plane(self, points: Tensor) -> NDArray[np.float32]:
        """`[M, D]` → `[M, 2]`."""
        return np.asarray((points.numpy() - self.mean) @ self.axes.T)


def curves(state: State) -> dict[str, NDArray[np.float64]]:
    """By method: accuracy at each of `AZIMUTHS` for the state's elevation, occluder and size of the block, `[A]`."""
    grid = light.load("procedural")
    found = {}
    for name in NAMES:
        by_look = {look: np.array(table) for look, table in grid["accuracy"][name].items()}  # [E, A]
        if state.occluder == "block":
            sizes = grid["block_sizes"]
            tables = np.stack([by_look["none"], *(by_look[f"block {size:g}"] for size in sizes)])
            table = _between(state.size, [0.0, *sizes], tables)
        else:
            table = by_look[state.occluder]
        found[name] = _between(state.elevation, grid["elevations"], table)
    return found


def _between(value: float, at: Sequence[float], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows `[K, …]`, measured at K ascending points, at another point."""
    place = float(np.interp(value, at, np.arange(len(at))))
    low = min(int(place), len(at) - 2)
    return np.asarray(rows[low] + (place - low) * (rows[low + 1] - rows[low]))


def draw(state: State, gallery: Gallery) -> Figure:
    """Above: the picture, and its embedding and path in the gallery. Below: accuracy over the azimuth."""
    picture = gallery.picture(state)
    path, known = gallery.path(state), gallery.plane(gallery.known)
    right_ones = (gallery.nearest(path) == 0).numpy()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.3, 6.9))
        axes = figure.subplot_mosaic([["face", "plane"], ["curve", "curve"]], width_ratios=(0.8, 1.1))
        face, plane, curve = (axes[place] for place in ("face", "plane", "curve"))
        face.imshow(picture[0].permute(1, 2, 0).numpy(), interpolation="bilinear")
        face.set_axis_off()
        line = gallery.plane(path)
        plane.plot(*known[1:].T, ls="", marker="o", ms=4, color="0.7", label="others, enrolled")
        plane.plot(*line.T, color=COLOURS[0], lw=1)
        plane.plot(*line[right_ones].T, ls="", marker="o", ms=4, color=COLOURS[0], label="path of the light")
        if not right_ones.all():
            plane.plot(*line[~right_ones].T, ls="", marker="x", ms=6, color=COLOURS[1], label="taken for another")
        plane.plot(*known[0], ls="", marker="*", ms=13, color="black", label="enrolled")
        plane.plot(
            *gallery.plane(gallery.embed(picture))[0],
            ls="",
            marker="D",
            ms=9,
            mfc="none",
            mec="black",
            label="this picture",
        )
        plane.set(xlabel="first principal component", ylabel="second principal component")
        for name, accuracy in curves(state).items():
            curve.plot(AZIMUTHS, 100 * accuracy, ms=5, label=NAMES[name], **LOOK[name])
        curve.axvline(state.azimuth, color="black", lw=1, ls=":")
        curve.set(xlabel="azimuth of the light, °", ylabel="accuracy, 5-way 1-shot, %", ylim=(15, 101))
        curve.set_xticks(AZIMUTHS[::2])
        plane.legend(loc="upper center", bbox_to_anchor=(0.2, -0.16), ncols=2, fontsize=10)
        curve.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4, fontsize=10)
    return figure


def alt(state: State, gallery: Gallery) -> str:
    """What `draw` shows, in words."""
    nearest = int(gallery.nearest(gallery.embed(gallery.picture(state))))
    right = int((gallery.nearest(gallery.path(state)) == 0).sum())
    found = "; ".join(
        f"{NAMES[name]} {100 * np.interp(state.azimuth, AZIMUTHS, accuracy):.0f}%"
        for name, accuracy in curves(state).items()
    )
    what = f"{state.occluder}, of size {state.size:g}" if state.occluder == "block" else state.occluder
    return (
        f"A face lit from azimuth {state.azimuth}° and elevation {state.elevation}°, occluder: {what}."
        f" Of {len(gallery.people)} enrolled people the nearest is"
        f" {'the right one' if nearest == 0 else f'number {nearest}, which is wrong'}; along the path of the light"
        f" {right} of {len(AZIMUTHS)} points are nearest to the right one. Accuracy over many people here: {found}."
    )


def explore(net: ProtoNet, people: Sequence[int], start: State = State()) -> Explorer:
    """Move the lamp, hide a part of the face, and watch where the embedding goes.

    people: who is enrolled, the first `GALLERY` of them; the first one is photographed again.
    """
    gallery = Gallery(net, list(people)[:GALLERY])
    return Explorer(start, lambda state: draw(state, gallery), lambda state: alt(state, gallery))


def example() -> Explorer:
    """The explorer on a stored snapshot, and on people that it was not trained on. A block hides a part of the face."""
    return explore(load_snapshots()[1500], snapshot_split().novel.identities.tolist(), State(occluder="block"))
