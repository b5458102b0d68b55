"""Show how a test reports too high an accuracy when some of its people were in the training set.

    explore(leak_experiment(faces))

`experiments.leak` measures the accuracies.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from ..errors import MetaFaceError, unknown
from ..evaluation import Evaluation
from ..experiments.leak import KINDS, STEP, Leak, leak_experiment
from ..faces import load_faces
from ..figures import COLOURS, FRAME, axes_on_page, faces_page, page_figure, page_text
from .explorer import Explorer, control

CHANCE = 0.2  # of 5 ways


@dataclass(frozen=True)
class State:
    share: int = control(0, "leaked people, %", low=0, high=100, step=STEP)
    kind: str = control(KINDS[0], "trained on", options=KINDS)


def _read(state: State, data: Leak) -> tuple[tuple[Evaluation, ...], int]:
    """The curve of the state's kind up to its share, and the number of leaked people."""
    if state.kind not in data.reported:
        raise unknown("kind of leak", state.kind, data.reported)
    if state.share not in range(0, 101, STEP):
        raise MetaFaceError(f"share is {state.share}. Choose 0, {STEP}, {2 * STEP}, … or 100.")
    return data.reported[state.kind][: state.share // STEP + 1], round(len(data.portraits) * state.share / 100)


def draw(state: State, data: Leak) -> Figure:
    """Above: the reported accuracy for every share up to the state's. Below: the test people, leaked ones framed."""
    curve, leaked = _read(state, data)
    people = len(data.portraits)
    columns = -(-people // 2)
    height, width = (side + 2 * FRAME + 4 for side in data.portraits.shape[2:])
    left, above = 30, 590
    corners = [(above + i // columns * height, left + i % columns * width) for i in range(people)]
    borders = [COLOURS[1] if i < leaked else "#DDDDDD" for i in range(people)]
    size = (above + 2 * height + 10, max(800, 2 * left + columns * width))  # small faces leave room for the words
    figure = page_figure(faces_page(data.portraits, corners, size, borders=borders))
    page_text(
        figure,
        f"The {people} people of the test: {leaked} were trained on, {people - leaked} are strangers",
        above - 12,
        left + FRAME,
        va="bottom",
        fontsize=11,
    )

    axes = axes_on_page(figure, top=60, left=left + 100, bottom=above - 130, right=size[1] - left - 10)
    shares = [STEP * i for i in range(len(curve))]
    mean = [100 * e.accuracy for e in curve]
    ends = [100 * e.ci95_people for e in curve]
    room = [mean, [100 - m for m in mean]]  # below and above: a bar ends at 0 or 100%
    bars = [[min(both) for both in zip(ends, side, strict=True)] for side in room]
    axes.axhline(100 * CHANCE, color="#777777", linewidth=1.2, linestyle=":")
    axes.text(100, 100 * CHANCE - 1.5, "chance", ha="right", va="top", color="#555555")
    axes.axhline(mean[0], color=COLOURS[0], linewidth=1.6, linestyle="--")
    axes.text(100, mean[0] - 1.5, f"strangers: {mean[0]:.0f}%", ha="right", va="top", color=COLOURS[0])
    axes.errorbar(
        shares, mean, bars, color=COLOURS[1], marker="o", markersize=6, linewidth=2, elinewidth=1.2, capsize=3
    )
    axes.set(xlim=(-3, 103), ylim=(0, 105), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    axes.set_xlabel("share of the test people who were in the training set, %")
    axes.set_ylabel("reported accuracy, %")
    title = (
        f"The test reports {mean[-1]:.0f} ± {ends[-1]:.0f} %. On strangers it is {mean[0]:.0f} ± {ends[0]:.0f} %."
        "\n±: the 95% interval over people"
    )
    axes.set_title(title, loc="left")
    return figure


def alt(state: State, data: Leak) -> str:
    """The figure in words."""
    curve, leaked = _read(state, data)
    last, honest = curve[-1], curve[0]
    return (
        f"Reported accuracy against the share of test people who were trained on, from 0 to {state.share}%"
        f" ({state.kind}). With {leaked} of {len(data.portraits)} people leaked the test reports"
        f" {100 * last.accuracy:.0f} ± {100 * last.ci95_people:.0f} %; on strangers it is"
        f" {100 * honest.accuracy:.0f} ± {100 * honest.ci95_people:.0f} % (intervals over people)."
    )


def explore(data: Leak, start: State = State()) -> Explorer:
    """Move the share of leaked people, and see the test report more than is true."""
    return Explorer(start, lambda s: draw(s, data), lambda s: alt(s, data))


def example() -> Explorer:
    """The explorer on the default procedural faces."""
    return explore(leak_experiment(load_faces("procedural").split(seed=0).base))
