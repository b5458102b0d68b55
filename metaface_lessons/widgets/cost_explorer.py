"""What a learner costs and what one gets for it: training time, and the tasks to be learned afterwards.

    explore()

The accuracies and seconds are those that `experiments.comparison` measured and stored. Between two measured points of a
training, accuracy is drawn as a straight line over the logarithm of the seconds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..errors import MetaFaceError, unknown
from ..experiments.comparison import CURVE, load
from ..figures import COLOURS, STYLE
from .explorer import Explorer, control

FACES = {"real (LFW)": "lfw", "procedural": "procedural"}
NAMES = {
    "protonet": "ProtoNet",
    "anil": "ANIL",
    "maml": "MAML",
    "learn2learn": "MAML, learn2learn",
    "fomaml": "FOMAML",
    "reptile": "Reptile",
    "pretrain": "pre-train, fine-tune",
    "lda": "LDA",
    "lbp": "LBP",
    "pixels": "pixels",
}
_DARK = (*COLOURS[:6], COLOURS[7])  # yellow lines are hard to see; no two that are trained share a colour
LOOK = {name: {"color": _DARK[i % 7], "marker": "os^vDPXph*"[i]} for i, name in enumerate(NAMES)}


@dataclass(frozen=True)
class State:
    faces: str = control("real (LFW)", "faces", options=tuple(FACES))
    seconds: int = control(60, "seconds of training", options=(15, 30, 60, 90, 120, 180))
    tasks: int = control(1000, "tasks to learn after it", options=(1, 10, 100, 1000, 10_000, 100_000))


def after(row: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Accuracy of a learner, and the seconds of training that it took, when `seconds` may be spent at most.

    A learner that does not train is as good as ever. One whose first measurement comes later is given that.
    """
    if "curve" not in row:
        return row[CURVE]["accuracy"], row.get("seconds", 0.0)
    spent, accuracy = (np.array([point[key] for point in row["curve"]]) for key in ("seconds", "accuracy"))
    seconds = float(np.clip(seconds, spent[0], spent[-1]))
    return float(np.interp(np.log(seconds), np.log(spent), accuracy)), seconds


@functools.lru_cache(maxsize=64)  # a picture and its alt text want the same
def scores(state: State) -> dict[str, tuple[float, float]]:
    """By learner: accuracy, and seconds of a core for training and all tasks together.

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
        accuracy, trained = after(rows[name], state.seconds)
        found[name] = accuracy, trained + state.tasks * rows[name]["adaptation_ms"] / 1000
    return found


def draw(state: State) -> Figure:
    """Left: accuracy against training time. Right: accuracy against all seconds, those of the tasks included."""
    rows, found = load(FACES[state.faces])["learners"], scores(state)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2))
        left, right = figure.subplots(1, 2, sharey=True)
        for name in NAMES:
            if "curve" in rows[name]:
                points = [(point["seconds"], 100 * point["accuracy"]) for point in rows[name]["curve"]]
                left.plot(*zip(*points, strict=True), ms=5, **LOOK[name])
            accuracy, total = found[name]
            right.plot(total, 100 * accuracy, ls="", ms=9, label=NAMES[name], **LOOK[name])
        left.axvline(state.seconds, color="black", lw=1, ls=":")
        left.set(xscale="log", xlabel="seconds of training", ylabel="accuracy, 5-way 4-shot, %", xlim=(3, 250))
        left.set_xticks([5, 15, 60, 180], labels=["5", "15", "60", "180"])
        left.minorticks_off()
        right.set(xscale="log", xlabel=f"seconds of training and of {state.tasks:,} tasks", xlim=(1e-3, 3e4))
        figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    return figure


def alt(state: State) -> str:
    """What `draw` shows, in words."""
    ranked = sorted(scores(state).items(), key=lambda item: -item[1][0])
    told = "; ".join(f"{NAMES[name]} {100 * accuracy:.0f}% for {total:.0f} s" for name, (accuracy, total) in ranked)
    return (
        f"Accuracy of ten learners on {state.faces} faces, against the seconds of at most {state.seconds} s of"
        f" training, and against all seconds of one core, {state.tasks:,} tasks included: {told}."
    )


def explore(start: State = State()) -> Explorer:
    """Say how long you can train and how many tasks will come; see what each learner gives and costs."""
    return Explorer(start, draw, alt)
