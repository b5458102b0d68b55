"""What a learner costs and what one gets for it: training time, and the tasks to be learned afterwards.

    explore()

The accuracies and seconds are those that `experiments.comparison` measured and stored. Between two measured points of a
training, accuracy is drawn as a straight line over the logarithm of the seconds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..errors import MetaFaceError, unknown
from ..evaluation import Estimate
from ..experiments.comparison import CURVE, load
from ..figures import COLOURS, STYLE
from .explorer import Explorer, control

FACES = {"real (LFW)": "lfw", "synthetic": "procedural"}
NAMES = {
    "protonet": "ProtoNet",
    "nca": "NCA",
    "pretrain": "pre-training",
    "anil": "ANIL",
    "maml": "MAML",
    "learn2learn": "learn2learn's MAML",
    "fomaml": "FOMAML",
    "reptile": "Reptile",
    "lda": "LDA",
    "lbp": "LBP",
    "pixels": "pixels",
}
# No two that are trained share colour and line; yellow is left out, because yellow lines are hard to see.
_DARK = (*COLOURS[:4], COLOURS[7], COLOURS[7], *COLOURS[4:6], *COLOURS[1:4])
LOOK = {
    name: {"color": colour, "marker": marker, "linestyle": "--" if name == "learn2learn" else "-"}
    for name, colour, marker in zip(NAMES, _DARK, "os^vDPXph*d", strict=True)
}


@dataclass(frozen=True)
class State:
    faces: str = control("real (LFW)", "faces", options=tuple(FACES))
    seconds: int = control(60, "seconds of training", options=(4, 8, 15, 30, 60))
    tasks: int = control(1000, "tasks to learn after it", options=(1, 10, 100, 1000, 10_000, 100_000))


@dataclass(frozen=True)
class Spent:
    """What a learner reaches, and what was spent for it.

    accuracy: a share.
    half: half its widest 95% interval, of the measurement that is nearest in time.
    seconds: of one core.
    """

    accuracy: float
    half: float
    seconds: float


def after(row: dict[str, Any], seconds: float) -> Spent:
    """What a learner reaches when `seconds` of training may be spent at most.

    A learner that does not train is as good as ever. One whose first measurement comes later is given that.
    """
    if "curve" not in row:
        return Spent(row[CURVE]["mean"], Estimate.from_scores(row[CURVE]).widest, row.get("seconds", 0.0))
    spent, accuracy = (np.array([point[key] for point in row["curve"]]) for key in ("seconds", "mean"))
    seconds = float(np.clip(seconds, spent[0], spent[-1]))
    nearest = row["curve"][np.abs(np.log(spent / seconds)).argmin()]
    reached = float(np.interp(np.log(seconds), np.log(spent), accuracy))
    return Spent(reached, Estimate.from_scores(nearest).widest, seconds)


@functools.lru_cache(maxsize=64)  # a picture and its alt text want the same
def scores(state: State) -> dict[str, Spent]:
    """What each learner reaches, and the seconds of a core for training and all tasks together.

    Raises `MetaFaceError` for unknown faces, or no tasks or seconds.
    """
    if state.faces not in FACES:
        raise unknown("face set", state.faces, FACES)
    if state.seconds <= 0 or state.tasks < 1:
        raise MetaFaceError(
            f"seconds and tasks must be above 0, but are {state.seconds} and {state.tasks}. Choose larger ones."
        )
    rows, found = load(FACES[state.faces])["learners"], {}
    for name in NAMES:
        trained = after(rows[name], state.seconds)
        found[name] = replace(trained, seconds=trained.seconds + state.tasks * rows[name]["adaptation_ms"] / 1000)
    return found


def draw(state: State) -> Figure:
    """Left: accuracy against training time. Right: accuracy against all seconds, those of the tasks included.

    Bars are the widest 95% intervals.
    """
    rows, found = load(FACES[state.faces])["learners"], scores(state)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2))
        left, right = figure.subplots(1, 2, sharey=True)
        for name in NAMES:
            if "curve" in rows[name]:
                points = [(point["seconds"], 100 * point["mean"]) for point in rows[name]["curve"]]
                left.plot(*zip(*points, strict=True), ms=5, **LOOK[name])
            bar = {"linestyle": "", "ms": 9, "elinewidth": 1, "label": NAMES[name]}
            one = found[name]
            right.errorbar(one.seconds, 100 * one.accuracy, 100 * one.half, **{**LOOK[name], **bar})
        left.axvline(state.seconds, color="black", lw=1, ls=":")
        left.set(xscale="log", xlabel="seconds of training", ylabel="accuracy, 5-way 4-shot, %", xlim=(3, 80))
        left.set_xticks([4, 8, 15, 30, 60], labels=["4", "8", "15", "30", "60"])
        left.minorticks_off()
        totals = [one.seconds for one in found.values()]
        right.set(xscale="log", xlabel=f"seconds of training and of {state.tasks:,} tasks")
        right.set_xlim(min(totals) / 2, 2 * max(totals))
        right.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
        figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    return figure


def alt(state: State) -> str:
    """What `draw` shows, in words."""
    ranked = sorted(scores(state).items(), key=lambda item: -item[1].accuracy)
    told = "; ".join(f"{NAMES[name]} {100 * one.accuracy:.0f}% for {one.seconds:.0f} s" for name, one in ranked)
    return (
        f"Accuracy of {len(ranked)} learners on {state.faces} faces, against the seconds of at most {state.seconds} s"
        f" of training, and against all seconds of one core, {state.tasks:,} tasks included: {told}."
    )


def explore(start: State = State()) -> Explorer:
    """Say how long you can train and how many tasks will come; see what each learner gives and costs."""
    return Explorer(start, draw, alt)
