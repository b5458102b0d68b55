"""A task of one's own choice, and what inner steps make of it: accuracy before and after, and when it hurts.

    explore(Adapted(load_learners(), small_split().novel))

Four learners that adapt by gradient descent, trained for about the same seconds on the same small procedural faces.
Their weights are stored; `metaface experiment adaptation` trains them anew, three seeds of each, and measures them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import checkpoints
from ..augmentation import Augment, Augmented
from ..episodes import Episodes, EpisodeSampler, Sampler
from ..errors import MetaFaceError, unknown
from ..faces import FaceSet, Split, load_faces
from ..faces.camera import CAMERAS
from ..figures import COLOURS, FRAME, axes_on_page, faces_page, page_figure, page_text
from ..learners.base import MetaLearner
from ..learners.inner_loop import accuracy
from ..learners.maml import MAML
from ..paths import DATA
from ..runs.making import make_learner
from ..runs.recipes import FRACTIONS, settings_of
from ..training import Trained, meta_train
from .episode_explorer import CONDITIONS as KNOWN
from .explorer import Explorer, control

FILE = DATA / "checkpoints" / "adaptation.pt"
COMMAND = "metaface experiment adaptation"
LEARNERS = {"MAML": "maml", "ANIL": "anil", "Meta-SGD": "metasgd", "ProtoMAML": "protomaml", "ProtoNet": "protonet"}
STEPS = {"maml": 150, "anil": 270, "metasgd": 150, "protomaml": 130, "protonet": 450}  # in about as many seconds
WIDTH, SIZE, WAYS, QUERIES, MOST = 24, 32, 5, 6, 10  # MOST: inner steps
CONDITIONS = {
    "any": KNOWN["any"],
    "queries turned": KNOWN["queries turned"],
    "queries lit from the side": KNOWN["queries lit from the side"],
    "a cheap webcam": KNOWN["any"],
}
_FORMAT = 1


@dataclass(frozen=True)
class State:
    learner: str = control("MAML", "learner", options=tuple(name for name in LEARNERS if name != "ProtoNet"))
    steps: int = control(5, "inner steps", low=0, high=MOST)
    rate: float = control(1.0, "inner rate, times the learned one", options=(0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0))
    shots: int = control(1, "shots", low=1, high=4)
    condition: str = control("any", "condition", options=tuple(CONDITIONS))
    people: int = control(0, "which five people", low=0, high=99)


@functools.cache
def small_split(seed: int = 0) -> Split:
    """The default procedural faces at 32×32, divided by `seed`."""
    return load_faces("procedural").resized(SIZE).split(FRACTIONS, seed=seed)


def make(learner: str, seed: int = 0) -> MetaLearner:
    """A fresh one: the recipe of `metaface train`, but for a narrower network and smaller images."""
    return make_learner(settings_of(learner, seed=seed, width=WIDTH), (3, SIZE, SIZE))


def train(learner: str, base: FaceSet, seed: int = 0, steps: int | None = None, progress: bool = False) -> Trained:
    """Meta-train a fresh learner on the `base` people, for `STEPS` of it if `steps` is not given."""
    settings = settings_of(learner, seed=seed, width=WIDTH)
    sampler: Sampler = EpisodeSampler(base, settings.ways, settings.shots, settings.queries, seed=seed)
    if settings.inner_steps is not None:
        sampler = Augmented(sampler, Augment(seed=seed))
    return meta_train(
        make(learner, seed),
        sampler,
        steps=STEPS[learner] if steps is None else steps,
        tasks=settings.tasks,
        rate=settings.rate,
        progress=progress,
    )


def store_learners(learners: Mapping[str, MetaLearner], path: Path = FILE) -> None:
    """Write the weights of learners by their names in `LEARNERS`."""
    weights = {
        name: {k: v for k, v in net.state_dict().items() if not k.endswith("_extra_state")}
        for name, net in learners.items()
    }
    checkpoints.store(path, {"format": _FORMAT, "weights": weights})


def load_learners(path: Path = FILE) -> dict[str, MetaLearner]:
    """The trained learners by their names, in evaluation mode.

    Raises `MetaFaceError` if the file is missing, damaged or of another kind.
    """
    state = checkpoints.load(path, "weights", _FORMAT, COMMAND)
    learners = {}
    for name, weights in state["weights"].items():
        net = make(LEARNERS[name])
        extra = {k: v for k, v in net.state_dict().items() if k.endswith("_extra_state")}
        checkpoints.load_weights(net, weights | extra, path)
        learners[name] = net.eval()
    return learners


@contextmanager
def faster(net: MAML, factor: float) -> Iterator[None]:
    """Inside, all inner rates of `net` are `factor` times what they were."""
    rates = net.rates.detach().clone()
    net.rates.data *= factor
    try:
        yield
    finally:
        net.rates.data = rates


def seen(faces: FaceSet, condition: str) -> FaceSet:
    """The faces as the camera of this condition takes them."""
    return CAMERAS["cheap webcam"].faces(faces) if condition == "a cheap webcam" else faces


def sampler(faces: FaceSet, shots: int, condition: str, seed: int) -> EpisodeSampler:
    """Tasks in this condition, of `QUERIES` queries a person; faces as they are `seen`.

    Raises `MetaFaceError` for too few people with images enough.
    """
    support, query = CONDITIONS[condition]
    return EpisodeSampler(faces, WAYS, shots, QUERIES, seed, support, query)


class Steps(NamedTuple):
    """A task before the first and after each inner step: accuracy on the support set and on the queries, `[MOST + 1]`
    each; the queries' mean loss, `[MOST + 1]`; and whom each query is taken for, int64 `[MOST + 1, N·Q]`."""

    support: Tensor
    query: Tensor
    loss: Tensor
    predicted: Tensor


def path_of(net: MAML, task: Episodes, factor: float) -> Steps:
    """The path of one task with `factor` times the inner rates. Raises `MetaFaceError` if the inner loop diverges."""
    (x, y), (asked, target) = task.support, task.query
    rows: list[tuple[Tensor, ...]] = []
    prepared = net.network_per_task.prepare(x)
    with torch.enable_grad(), faster(net, factor):
        for weights in net.inner_loop(net.start(task.support), task.support, MOST):
            with torch.no_grad():
                known = net.network_per_task(weights, prepared)
                outputs = net.query_outputs(weights, x, asked)
            loss = net.losses(outputs, target)[0]
            rows.append((accuracy(known, y)[0], accuracy(outputs, target)[0], loss, outputs[0].argmax(-1)))
    path = Steps(*map(torch.stack, zip(*rows, strict=True)))
    if not path.loss.isfinite().all():
        raise MetaFaceError("The loss of the queries is no longer finite: the inner loop diverges.")
    return path


@dataclass
class Adapted:
    """Learners and the strangers of whom tasks are made; each path is computed once."""

    learners: Mapping[str, MetaLearner]
    faces: FaceSet
    paths: dict[State, Steps] = field(init=False, default_factory=dict)
    _seen: dict[str, FaceSet] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = {condition: seen(self.faces, condition) for condition in CONDITIONS}

    def task(self, state: State) -> Episodes:
        """The task of the state, `[1, …]`."""
        if state.condition not in CONDITIONS:
            raise unknown("condition", state.condition, CONDITIONS)
        return sampler(self._seen[state.condition], state.shots, state.condition, seed=state.people).sample()

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
    left = middle + QUERIES * width + 90
    page = faces_page(images, corners, (top + WAYS * height + 70, left + 470), zoom, borders)
    figure = page_figure(page)
    page_text(figure, "support", top - 8, 12, va="bottom", fontsize=11)
    page_text(figure, "queries", top - 8, middle + 2, va="bottom", fontsize=11)
    low = top + WAYS * height
    for i, (key, words) in enumerate(WORDS.items()):
        place = 12 + i % 2 * 240
        page_text(figure, "■ " + words, low + 24 + i // 2 * 24, place, va="center", fontsize=10, color=LOOK[key])

    axes = axes_on_page(figure, top, left, low - 16, left + 450)
    axes.plot(100 * path.support, "s--", color="#777777", markersize=4, label="support")
    axes.plot(100 * path.query, "o-", color=COLOURS[0], markersize=5, label="queries")
    axes.axhline(100 * float(path.query[0]), color=COLOURS[0], linewidth=1, linestyle=":")
    axes.plot(state.steps, 100 * path.query[state.steps], "o", color=COLOURS[1], markersize=11, zorder=3)
    axes.axhline(100 / WAYS, color="#BBBBBB", linewidth=1)
    axes.set(xlim=(-0.4, MOST + 0.4), ylim=(0, 105), xlabel="inner steps", ylabel="accuracy, %")
    axes.set_title(_verdict(path, state), fontsize=12)
    axes.legend(loc="lower right", fontsize=10)
    return figure


WORDS = {
    (True, True): "right before and after",
    (False, True): "mended",
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
    mended, spoiled = pairs.count((False, True)), pairs.count((True, False))
    return (
        f"{state.learner} on the people {people}, {state.shots}-shot, condition: {state.condition}, at"
        f" {state.rate:g} times the learned inner rates: {_verdict(path, state)}. Of {len(pairs)} queries {mended} were"
        f" mended and {spoiled} spoiled; the support set went from {100 * float(path.support[0]):.0f}% to"
        f" {100 * float(path.support[state.steps]):.0f}%."
    )


def explore(data: Adapted, start: State = State()) -> Explorer:
    """Choose a task; move steps, rate and shots; see what adaptation mends, and what it spoils."""
    return Explorer(start, lambda s: draw(s, data), lambda s: alt(s, data))
