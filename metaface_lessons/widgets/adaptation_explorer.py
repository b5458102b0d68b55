"""A task of one's own choice, and what inner steps make of it: accuracy before and after, and when it hurts.

    explore(Adapted(adaptation.load_learners(), adaptation.small_split().novel))

Learners that adapt by gradient descent, trained on the same small procedural faces for about the same seconds (one of
them after ProtoNet's): `experiments.adaptation` trains, measures and stores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..episodes import Episodes
from ..errors import MetaFaceError, unknown
from ..experiments.adaptation import (
    CONDITIONS,
    LEARNERS,
    MOST,
    QUERIES,
    WAYS,
    Steps,
    load_learners,
    path_of,
    sampler,
    seen,
    small_split,
)
from ..faces import FaceSet
from ..figures import COLOURS, FRAME, axes_on_page, faces_page, page_figure, page_text
from ..learners.base import MetaLearner
from ..learners.maml import MAML
from .explorer import Explorer, control


@dataclass(frozen=True)
class State:
    learner: str = control("MAML", "learner", options=tuple(name for name in LEARNERS if name != "ProtoNet"))
    steps: int = control(5, "inner steps", low=0, high=MOST)
    rate: float = control(1.0, "inner rate, times the learned one", options=(0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0))
    shots: int = control(1, "shots", low=1, high=4)
    condition: str = control("any", "condition", options=tuple(CONDITIONS))
    people: int = control(0, "which five people", low=0, high=99)


@dataclass
class Adapted:
    """Learners, and strangers to make tasks from; each path is computed once."""

    learners: Mapping[str, MetaLearner]
    faces: FaceSet
    paths: dict[State, Steps] = field(init=False, default_factory=dict)
    _seen: dict[str, FaceSet] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = {condition: seen(self.faces, condition) for condition in CONDITIONS}

    def task(self, state: State) -> Episodes:
        """The task of the state, `[1, …]`."""
        faces = self._seen.get(state.condition, self.faces)
        return sampler(faces, state.shots, state.condition, seed=state.people).sample()

    def path(self, state: State) -> Steps:
        """Raises `MetaFaceError` if there is no such learner, or its inner loop diverges."""
        if state.learner not in self.learners:
            raise unknown("learner", state.learner, self.learners)
        key, net = replace(state, steps=0), self.learners[state.learner]
        assert isinstance(net, MAML)
        if key not in self.paths:
            task = self.task(state)
            try:
                self.paths[key] = path_of(net, task, state.rate)
            except MetaFaceError as error:
                raise MetaFaceError(
                    f"At {state.rate:g} times its learned rates {state.learner} diverges on this task. Lower the rate."
                ) from error
        return self.paths[key]


def draw(state: State, data: Adapted) -> Figure:
    """Left: the five people, and their queries, framed by whether they were recognised. Right: accuracies by step."""
    path, task = data.path(state), data.task(state)
    shots, right = state.shots, path.predicted == task.query.y[0]
    zoom = 2
    height, width = (side * zoom + 2 * FRAME + 4 for side in data.faces.shape[1:])
    top, gap = 40, 24
    middle = 10 + shots * width + gap  # where the queries begin
    images = torch.cat([task.support.x[0], task.query.x[0]])
    corners = [(top + n * height, 10 + k * width) for n in range(WAYS) for k in range(shots)]
    corners += [(top + n * height, middle + q * width) for n in range(WAYS) for q in range(QUERIES)]
    borders = ["#FFFFFF"] * (WAYS * shots) + [LOOK[before, after] for before, after in _pairs(right, state.steps)]
    left = max(middle + QUERIES * width + 90, 720)  # right of the legend's words
    page = faces_page(images, corners, (top + WAYS * height + 70, left + 470), zoom, borders)
    figure = page_figure(page)
    page_text(figure, "support", top - 8, 12, va="bottom", fontsize=11)
    page_text(figure, "queries", top - 8, middle + 2, va="bottom", fontsize=11)
    low = top + WAYS * height
    for i, (key, words) in enumerate(WORDS.items()):
        place = 12 + i % 2 * 330
        page_text(figure, "■ " + words, low + 24 + i // 2 * 24, place, va="center", fontsize=10, color=LOOK[key])

    axes = axes_on_page(figure, top, left, low - 16, left + 450)
    axes.plot(100 * path.support, "s--", color="#777777", markersize=4, label="support")
    axes.plot(100 * path.query, "o-", color=COLOURS[0], markersize=5, label="queries")
    axes.axhline(100 * float(path.query[0]), color=COLOURS[0], linewidth=1, linestyle=":")
    axes.plot(state.steps, 100 * path.query[state.steps], "o", color=COLOURS[1], markersize=11, zorder=3)
    axes.axhline(100 / WAYS, color="#BBBBBB", linewidth=1)
    axes.set(xlim=(-0.4, MOST + 0.4), ylim=(0, 105), xlabel="inner steps", ylabel="accuracy, %")
    axes.set_title(_verdict(path, state), fontsize=12)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.22), fontsize=10)  # above the line of chance
    return figure


WORDS = {
    (True, True): "right before and after",
    (False, True): "fixed",
    (True, False): "spoiled",
    (False, False): "wrong before and after",
}
LOOK = dict(zip(WORDS, (COLOURS[0], COLOURS[2], COLOURS[1], "#888888"), strict=True))


def _pairs(right: Tensor, steps: int) -> list[tuple[bool, bool]]:
    return list(zip(right[0].tolist(), right[steps].tolist(), strict=True))


def _verdict(path: Steps, state: State) -> str:
    before, after = (round(100 * float(path.query[k])) for k in (0, state.steps))
    return f"before {before}%, after {state.steps} step{'s' * (state.steps != 1)} {after}% ({after - before:+d})"


def alt(state: State, data: Adapted) -> str:
    """What `draw` shows, in words."""
    path, task = data.path(state), data.task(state)
    people = ", ".join(map(str, task.identities[0].tolist()))
    pairs = _pairs(path.predicted == task.query.y[0], state.steps)
    fixed, spoiled = pairs.count((False, True)), pairs.count((True, False))
    return (
        f"{state.learner} on the people {people}, {state.shots}-shot, condition: {state.condition}, at"
        f" {state.rate:g} times the learned inner rates: {_verdict(path, state)}. Of {len(pairs)} queries {fixed} were"
        f" fixed and {spoiled} spoiled; the support set went from {100 * float(path.support[0]):.0f}% to"
        f" {100 * float(path.support[state.steps]):.0f}%."
    )


def explore(data: Adapted, start: State = State()) -> Explorer:
    """Choose a task; move steps, rate and shots; see what adaptation fixes, and what it spoils."""
    return Explorer(start, lambda s: draw(s, data), lambda s: alt(s, data))


def example() -> Explorer:
    """The explorer on the stored learners, and on people that they were not trained on."""
    return explore(Adapted(load_learners(), small_split().novel))
