"""Show a 3-way episode in the embedding: prototypes, queries, and the region of each predicted person.

    explore(load_snapshots(), snapshot_split().novel)

Three prototypes lie in a plane, and the picture is that plane; queries are projected onto it. The projection changes
the squared distances from a query to all prototypes by the same amount. So with the squared and the plain Euclidean
distance, every query lies in the region of its prediction. With the cosine this is only nearly so. Predictions are
always those of the full space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from ..episodes import Episodes, EpisodeSampler
from ..errors import MetaFaceError
from ..evaluation import Evaluation, evaluate
from ..experiments.snapshots import STEPS, load_snapshots, snapshot_split
from ..faces.faceset import FaceSet
from ..figures import COLOURS, FRAME, axes_on_page, faces_page, page_figure, page_text
from ..learners.baselines import FixedFeatures
from ..learners.protonet import DISTANCES, ProtoNet
from .explorer import Explorer, control

WAYS, QUERIES, EPISODES = 3, 10, 100
COSINE_TEMPERATURE = 0.1
MARKS = ("o", "s", "^")  # so that people differ not only by colour


@dataclass(frozen=True)
class State:
    step: int = control(STEPS[-1], "training steps", options=STEPS)
    shots: int = control(1, "shots K", low=1, high=5)
    distance: str = control("squared", "distance", options=tuple(DISTANCES))
    seed: int = control(0, "episode", low=0, high=99)


@dataclass
class Embedded:
    """Faces, and their embeddings by the network after each training step. Each embedding is computed once.

    snapshots: training step → the network after it.
    faces: the people of the episodes.
    Raises `MetaFaceError` if the faces do not have the size that the networks were made for.
    """

    snapshots: Mapping[int, ProtoNet]
    faces: FaceSet
    features: dict[int, FixedFeatures] = field(init=False)
    scores: dict[tuple[int, int, str], Evaluation] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.features = {}
        for step, net in self.snapshots.items():
            self.features[step] = _remember(net.embedding)
            for images in self.faces.images.split(100):
                self.features[step](images)

    def net(self, state: State) -> ProtoNet:
        """The ProtoNet of the state, on the stored embeddings. Raises `MetaFaceError` if its step does not exist."""
        if state.step not in self.features:
            raise MetaFaceError(
                f"There is no snapshot of step {state.step}. Choose one of {', '.join(map(str, self.features))}."
            )
        trained = self.snapshots[state.step].temperature
        # The plain distance in the same units is (d²/τ)^½. The cosine has no units.
        temperature = {"euclidean": trained**0.5, "cosine": COSINE_TEMPERATURE}.get(state.distance, trained)
        return ProtoNet(self.features[state.step], state.distance, temperature)

    def sampler(self, state: State) -> EpisodeSampler:
        return EpisodeSampler(self.faces, WAYS, state.shots, QUERIES, seed=state.seed)

    def score(self, state: State) -> Evaluation:
        """Accuracy over `EPISODES` episodes, which are the same for all states with the same number of shots."""
        key = (state.step, state.shots, state.distance)
        if key not in self.scores:
            sampler = EpisodeSampler(self.faces, WAYS, state.shots, QUERIES, seed=1000)
            self.scores[key] = evaluate({"": self.net(state)}, sampler, EPISODES)[""]
        return self.scores[key]


def _remember(embedding: torch.nn.Module) -> FixedFeatures:
    def features(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            points: np.ndarray = embedding(images).numpy()
        return points

    return FixedFeatures(features)


@dataclass(frozen=True)
class View:
    """One episode in the plane through its prototypes.

    episodes: the episode.
    centres: the prototypes' coordinates in the plane, `[3, 2]`.
    support: those of the support images, `[3·K, 2]`.
    queries: those of the queries, `[3·Q, 2]`.
    y: the true label of each query, int64 `[3·Q]`.
    predicted: the predicted label of each query, int64 `[3·Q]`.
    loss: the mean cross-entropy of the queries.
    grid: points of the plane, `[G, G, 2]`.
    probability: of each label at each point of the grid, `[G, G, 3]`.
    """

    episodes: Episodes
    centres: Tensor
    support: Tensor
    queries: Tensor
    y: Tensor
    predicted: Tensor
    loss: float
    grid: Tensor
    probability: Tensor


def view(state: State, data: Embedded, resolution: int = 400) -> View:
    """Project an episode onto the plane through its prototypes.

    state: the controls.
    data: the faces and their embeddings.
    resolution: G, the points of the grid along each side. 400.
    """
    net, episodes = data.net(state), data.sampler(state).sample()
    support, queries = net.embed(episodes.support.x)[0], net.embed(episodes.query.x)[0]
    learner = net.adapt(episodes.support)
    logits = learner.predict(episodes.query.x)[0]
    y = episodes.query.y[0]

    # The prototypes span a space of 3 dimensions, which is much smaller than that of the embedding. In coordinates of
    # that space, distances between points of the plane are the same.
    space = torch.linalg.qr(learner.prototypes[0].T).Q  # [D, 3]
    centres = learner.prototypes[0] @ space
    middle = centres.mean(0)
    up = centres[0] - middle
    up = up / up.norm().clamp(min=1e-9)
    right = centres[2] - centres[1]
    right = right - (right @ up) * up
    frame = torch.stack([right / right.norm().clamp(min=1e-9), up], dim=1)  # [3, 2], person 0 on top

    def flat(points: Tensor) -> Tensor:
        return (points @ space - middle) @ frame

    everything = torch.cat([flat(support), flat(queries), flat(learner.prototypes[0])])
    low, high = everything.min(0).values, everything.max(0).values
    centre, reach = (low + high) / 2, 0.56 * float((high - low).max())
    ticks = torch.linspace(-reach, reach, resolution)
    grid = centre + torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)  # [G, G, 2]
    plane = (middle + grid @ frame.T).flatten(0, 1)  # [G², 3]
    probability = net.logits(plane[None], centres[None])[0].softmax(-1).unflatten(0, (resolution, resolution))
    return View(
        episodes=episodes,
        centres=flat(learner.prototypes[0]),
        support=flat(support),
        queries=flat(queries),
        y=y,
        predicted=logits.argmax(-1),
        loss=float(torch.nn.functional.cross_entropy(logits, y)),
        grid=grid,
        probability=probability,
    )


def draw(state: State, data: Embedded) -> Figure:
    """Left: the plane, coloured by the predicted person, paler where it is less sure. Right: the faces.

    A query's frame has the colour of its predicted person.
    """
    score, v = data.score(state), view(state, data)
    people = v.episodes.identities[0].tolist()
    wrong = v.predicted != v.y

    zoom = max(1, round(64 / data.faces.shape[1]))
    height, width = (side * zoom + 2 * FRAME + 4 for side in data.faces.shape[1:])
    top, side, gap, columns = 56, 2 * len(v.grid), 40, 5
    block = max(36 + (1 + QUERIES // columns) * height, side // WAYS)
    size = (top + WAYS * block, 10 + side + gap + columns * width)
    images, corners, borders = [], [], []
    for n in range(WAYS):
        row, column = top + n * block + 36, 10 + side + gap
        supports, queries = ((e.y[0] == n).nonzero().flatten() for e in (v.episodes.support, v.episodes.query))
        images += [v.episodes.support.x[0, supports], v.episodes.query.x[0, queries]]
        corners += [(row, column + i * width) for i in range(len(supports))]
        corners += [(row + (1 + i // columns) * height, column + i % columns * width) for i in range(len(queries))]
        borders += [COLOURS[n]] * len(supports) + [COLOURS[int(k)] for k in v.predicted[queries]]
    page = faces_page(torch.cat(images), corners, size, zoom, borders)
    page[top : top + side, 10 : 10 + side] = _regions(v.probability)

    figure = page_figure(page)
    share, words = 100 * (1 - wrong.float().mean()), {"va": "bottom", "fontsize": 11}
    told = f"This episode: {share:.0f}%, loss {v.loss:.2f}. {EPISODES} episodes: {score} over episodes"
    page_text(figure, told, 36, 10, **words)
    page_text(figure, "frame: whom it is taken for", 36, 16 + side + gap, color="#555555", **words)
    for n, person in enumerate(people):
        page_text(figure, f"person {person}: support, queries", top + n * block + 26, 16 + side + gap, fontsize=11)

    axes = axes_on_page(figure, top, 10, top + side, 10 + side)
    (x0, y0), (x1, y1) = v.grid[0, 0].tolist(), v.grid[-1, -1].tolist()
    axes.set(xlim=(x0, x1), ylim=(y0, y1), xticks=[], yticks=[])
    for n, mark in enumerate(MARKS):
        supports, queries = v.support[v.episodes.support.y[0] == n], v.queries[v.y == n]
        axes.scatter(
            queries[:, 0], queries[:, 1], s=34, marker=mark, color=COLOURS[n], edgecolor="white", linewidth=0.8
        )
        axes.scatter(
            supports[:, 0], supports[:, 1], s=70, marker=mark, facecolor="white", edgecolor=COLOURS[n], linewidth=2
        )
        axes.scatter(
            v.centres[n, 0], v.centres[n, 1], s=230, marker=mark, color=COLOURS[n], edgecolor="black", linewidth=1.8
        )
    axes.scatter(
        v.queries[wrong, 0], v.queries[wrong, 1], s=150, marker="o", facecolor="none", edgecolor="black", linewidth=1.5
    )
    grey = "#666666"
    legend = [
        Line2D([], [], linestyle="", marker="o", color=grey, markeredgecolor="black", markersize=13, label="prototype"),
        Line2D([], [], linestyle="", marker="o", color="white", markeredgecolor=grey, markersize=8, label="support"),
        Line2D([], [], linestyle="", marker="o", color=grey, markeredgecolor="white", markersize=6, label="query"),
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            color="none",
            markeredgecolor="black",
            markersize=11,
            label="misclassified",
        ),
    ]
    axes.legend(handles=legend, loc="upper left", fontsize=10, frameon=True, framealpha=0.85)
    return figure


def _regions(probability: Tensor) -> np.ndarray:
    """The plane in colour, uint8 `[2·G, 2·G, 3]`, top row first, with a line where the predicted person changes."""
    palette = torch.tensor([to_rgb(colour) for colour in COLOURS[:WAYS]])
    sure = (probability.amax(-1, keepdim=True) - 1 / WAYS) / (1 - 1 / WAYS)
    sure = (sure * 8).round() / 8  # steps look like contours, and halve the picture's file
    decided = probability.argmax(-1)
    colour = 1 - (1 - palette[decided]) * (0.06 + 0.34 * sure)
    edge = torch.zeros_like(decided, dtype=torch.bool)
    edge[:-1] |= decided[:-1] != decided[1:]
    edge[:, :-1] |= decided[:, :-1] != decided[:, 1:]
    colour[edge] = 0.35
    pixels: np.ndarray = (255 * colour).byte().flip(0).numpy().repeat(2, 0).repeat(2, 1)
    return pixels


def alt(state: State, data: Embedded) -> str:
    """The figure in words."""
    v = view(state, data, resolution=2)
    right = int((v.predicted == v.y).sum())
    return (
        f"The plane through the prototypes of a 3-way {state.shots}-shot episode after {state.step} training steps,"
        f" {state.distance} distance. {right} of {len(v.y)} queries are classified correctly; over {EPISODES} episodes"
        f" {data.score(state)} (interval over episodes)."
    )


def explore(snapshots: Mapping[int, ProtoNet], faces: FaceSet, start: State = State()) -> Explorer:
    """Move through training, shots and distances. Embeds all `faces` first, which takes seconds."""
    data = Embedded(snapshots, faces)
    options = {"step": tuple(data.features)}
    return Explorer(start, lambda s: draw(s, data), lambda s: alt(s, data), options)


def example() -> Explorer:
    """The explorer on the stored snapshots, and on people that they were not trained on."""
    return explore(load_snapshots(), snapshot_split().novel)
