"""One threshold on a score: the histograms that it cuts, its two errors, and the pairs that it gets wrong.

    explore(load_snapshots(), draw_pairs(snapshot_split().novel, each=1000))

The slider says which share of all pairs is refused; the threshold is that quantile of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from ..errors import MetaFaceError
from ..experiments.snapshots import STEPS, load_snapshots, snapshot_split
from ..faces.pairs import Pairs, draw_pairs
from ..figures import COLOURS, FRAME, axes_on_page, det_axes, faces_page, page_figure, page_text
from ..learners.protonet import ProtoNet
from ..verification import Comparer, Verification
from .explorer import Explorer, control

SHOWN = 6  # wrong pairs of each kind
GENUINE, IMPOSTOR = COLOURS[0], COLOURS[1]


@dataclass(frozen=True)
class State:
    refused: int = control(50, "refused pairs, %", low=1, high=99)
    step: int = control(STEPS[-1], "training steps", options=STEPS)


@dataclass
class Compared:
    """Pairs, and their scores by each network, computed once. Scores are those of `Comparer`, −‖f(a) − f(b)‖²."""

    snapshots: Mapping[int, ProtoNet]
    pairs: Pairs
    found: dict[int, Verification] = field(init=False)

    def __post_init__(self) -> None:
        people, self.found = self.pairs.people.numpy(), {}
        for step, net in self.snapshots.items():
            comparer = Comparer(net.embedding, self.pairs.faces.shape, net.distance)
            self.found[step] = Verification(comparer.score_pairs(self.pairs), people)

    def at(self, state: State) -> tuple[Verification, float]:
        """The verification of the state's network, and the state's threshold."""
        if state.step not in self.found:
            raise MetaFaceError(
                f"There is no snapshot of step {state.step}, only of {', '.join(map(str, self.found))}."
            )
        found = self.found[state.step]
        return found, float(np.quantile(found.scores, state.refused / 100))


def wrong_pairs(found: Verification, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the pairs falsely accepted and of those falsely refused, the clearest mistakes first."""
    order = found.scores.argsort(kind="stable")
    accepted = found.scores[order] >= threshold
    same = found.same[order]
    return order[accepted & ~same][::-1], order[~accepted & same]


def draw(state: State, data: Compared) -> Figure:
    """Above: histograms of the scores, and the DET curve; below: pairs that are judged wrong."""
    found, threshold = data.at(state)
    fmr, fnmr = found.rates(threshold)
    false_accepted, false_refused = wrong_pairs(found, threshold)

    zoom = max(1, round(64 / data.pairs.faces.shape[1]))
    height, width = (side * zoom + 2 * FRAME + 4 for side in data.pairs.faces.shape[1:])
    plot, gap = 480, 26
    size = (plot + 90 + 2 * (height + 50), SHOWN * (2 * width + gap))
    images, corners, borders = [], [], []
    for row, (wrong, colour) in enumerate(((false_accepted, IMPOSTOR), (false_refused, GENUINE))):
        for i, pair in enumerate(wrong[:SHOWN]):
            for side, image in enumerate(data.pairs.index[pair].tolist()):
                images.append(image)
                corners.append((plot + 130 + row * (height + 50), i * (2 * width + gap) + side * width))
                borders.append(colour)
    faces = data.pairs.faces.images[images]
    figure = page_figure(faces_page(faces, corners, size, zoom, borders))

    axes = axes_on_page(figure, 50, 100, plot, size[1] * 0.54)
    low, high = np.quantile(found.scores, (0.002, 1))
    bins = np.linspace(low, high, 50)
    for same, colour, label in ((True, GENUINE, "same person"), (False, IMPOSTOR, "two people")):
        counts, _ = np.histogram(found.scores[found.same == same], bins)
        axes.stairs(counts, bins, fill=True, color=colour, alpha=0.35)
        axes.stairs(counts, bins, color=colour, label=label, linewidth=1.5)
    axes.axvline(threshold, color="black", linewidth=2)
    axes.set(
        xlabel="score", ylabel="pairs", title="pairs by score; accepted right of the line", xlim=(bins[0], bins[-1])
    )
    axes.locator_params(axis="x", nbins=5)
    axes.legend(loc="upper left", fontsize=10)

    axes = axes_on_page(figure, 50, size[1] * 0.64, plot, size[1] - 24)
    det_axes(axes, found.impostors, lowest=50 / found.impostors)
    curve, least = found.det(), 0.5 / found.impostors  # a logarithmic axis has no 0: half a pair takes its place
    shown = [100 * np.maximum(rates, least) for rates in (*curve[:2], np.array([fmr]), np.array([fnmr]))]
    axes.plot(shown[0], shown[1], color=COLOURS[2])
    axes.plot(shown[2], shown[3], marker="o", markersize=11, color="black", clip_on=False)
    axes.set_title(f"DET: FMR {100 * fmr:.1f}%, FNMR {100 * fnmr:.1f}%")
    for row, (what, wrong) in enumerate(
        (("two people, accepted", false_accepted), ("one person, refused", false_refused))
    ):
        text = f"{what}: {len(wrong)} pairs" + (f", the {SHOWN} clearest mistakes" if len(wrong) > SHOWN else "")
        page_text(figure, text, plot + 120 + row * (height + 50), 6, fontsize=11)
    return figure


def alt(state: State, data: Compared) -> str:
    """What `draw` shows, in words."""
    found, threshold = data.at(state)
    fmr, fnmr = found.rates(threshold)
    false_accepted, false_refused = (len(wrong) for wrong in wrong_pairs(found, threshold))
    return (
        f"{len(found.scores)} pairs of faces, scored after {state.step} training steps. The threshold {threshold:.3g}"
        f" refuses {state.refused}% of them: FMR {100 * fmr:.1f}%, FNMR {100 * fnmr:.1f}%. Wrong are"
        f" {false_accepted} pairs of two people, which are accepted, and {false_refused} of one person, which are"
        f" refused. Equal error rate {100 * found.eer:.1f}%, area under the ROC {found.auc:.3f}."
    )


def explore(snapshots: Mapping[int, ProtoNet], pairs: Pairs, start: State = State()) -> Explorer:
    """Move the threshold; go back in training. Scores all pairs with each network first, which takes seconds."""
    data = Compared(snapshots, pairs)
    return Explorer(start, lambda s: draw(s, data), lambda s: alt(s, data), {"step": tuple(data.found)})


def example() -> Explorer:
    """The explorer on the stored snapshots, and on pairs of people that they were not trained on."""
    return explore(load_snapshots(), draw_pairs(snapshot_split().novel, each=1000))
