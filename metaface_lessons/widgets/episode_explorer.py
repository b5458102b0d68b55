"""Show N-way K-shot episodes: the support images that a learner gets, and the query images that it must label.

explore(faces)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure

from ..episodes import CONDITIONS, Episodes, EpisodeSampler, condition
from ..faces import FaceSet, load_faces
from ..figures import COLOURS, FRAME, face_zoom, faces_page, page_figure, page_text
from .explorer import Explorer, control

LARGE = 36  # with more faces than this, they are drawn half as large, so that the figure fits the screen


@dataclass(frozen=True)
class State:
    ways: int = control(5, "ways N", low=2, high=8)
    shots: int = control(1, "shots K", low=1, high=5)
    queries: int = control(3, "queries per person Q", low=1, high=5)
    condition: str = control("any", "condition", options=tuple(CONDITIONS))
    seed: int = control(0, "episode", low=0, high=99)
    hidden: bool = control(False, "shuffle and hide the queries")
    revealed: bool = control(False, "reveal", when=lambda state: state.hidden)


def conditions(faces: FaceSet) -> list[str]:
    """The conditions that these faces record, so that episodes can fulfil them."""
    return [name for name, (support, query) in CONDITIONS.items() if {*support, *query} <= {*faces.conditions}]


def sample(state: State, faces: FaceSet) -> Episodes:
    """The one episode of the state. Raises `MetaFaceError` if the faces have too few people or images for it."""
    where = condition(state.condition, faces)
    return EpisodeSampler(faces, state.ways, state.shots, state.queries, state.seed, *where).sample()


def order(state: State, queries: int) -> list[int]:
    """Which query stands at which place: in the rows of their people, or shuffled."""
    if not state.hidden:
        return list(range(queries))
    shuffled: list[int] = torch.randperm(queries, generator=torch.Generator().manual_seed(state.seed)).tolist()
    return shuffled


def draw(state: State, faces: FaceSet) -> Figure:
    """One row for each person: left the support set, right the query set, framed in the person's colour.

    Hidden queries are shuffled and numbered, in grey frames; revealed, they get their labels and colours in place.
    """
    episodes = sample(state, faces)
    ways, shots, queries = state.ways, state.shots, state.queries
    zoom = face_zoom(faces.images) if ways * (shots + queries) <= LARGE else face_zoom(faces.images, 64)
    below = 26 if state.hidden else 0  # room for the number of a query
    height, width = (side * zoom + 2 * FRAME + 6 for side in faces.shape[1:])
    height += below
    head, label, gutter = 44, 150, 40
    middle = label + shots * width + gutter  # where the queries begin

    def corner(way: int, i: int, left: int) -> tuple[int, int]:
        return head + way * height, left + i * width

    places = order(state, ways * queries)
    corners = [corner(n, k, label) for n in range(ways) for k in range(shots)]
    corners += [corner(place // queries, place % queries, middle) for place in range(ways * queries)]
    asked = episodes.query.y[0, places].tolist()
    borders = [COLOURS[int(y)] for y in episodes.support.y[0]]
    borders += ["#BBBBBB" if _covered(state) else COLOURS[y] for y in asked]
    images = torch.cat([episodes.support.x[0], episodes.query.x[0, places]])
    page = faces_page(images, corners, (head + ways * height, middle + queries * width), zoom, borders)
    page[head:, middle - gutter // 2 - 2 : middle - gutter // 2] = 170

    figure = page_figure(page)
    page_text(figure, "support", head - 10, label + FRAME, va="bottom", fontsize=12)
    page_text(figure, "query", head - 10, middle + FRAME, va="bottom", fontsize=12)
    for n, person in enumerate(episodes.identities[0].tolist()):
        row = head + n * height + (height - below) / 2
        page_text(figure, f"label {n}", row - 2, label - 12, ha="right", va="bottom", fontsize=12, weight="bold")
        page_text(figure, f"person {person}", row + 2, label - 12, ha="right", va="top", fontsize=11)
    if state.hidden:
        for i, (y, (top, left)) in enumerate(zip(asked, corners[ways * shots :], strict=True), start=1):
            text = f"{i}" if _covered(state) else f"{i}: {y}"
            page_text(figure, text, top + height - below - 5, left + width / 2, ha="center", va="top", fontsize=10)
    return figure


def _covered(state: State) -> bool:
    return state.hidden and not state.revealed


def alt(state: State, faces: FaceSet) -> str:
    """The figure in words."""
    episodes = sample(state, faces)
    people = ", ".join(map(str, episodes.identities[0].tolist()))
    what = f"Episode of {state.ways} ways and {state.shots} shots, condition: {state.condition}."
    if not state.hidden:
        return (
            f"{what} One row for each of the people {people}: {state.shots} support and {state.queries} query images,"
            " in a frame of the person's colour."
        )
    asked = episodes.query.y[0, order(state, state.ways * state.queries)].tolist()
    told = "their labels are hidden" if _covered(state) else f"their labels in this order: {', '.join(map(str, asked))}"
    return (
        f"{what} One row for each of the people {people}: {state.shots} support images in a frame of the person's"
        f" colour. The {len(asked)} query images are shuffled and numbered; {told}."
    )


def explore(faces: FaceSet, start: State = State()) -> Explorer:
    """Move the sliders, and see episodes of these faces."""
    return Explorer(start, lambda s: draw(s, faces), lambda s: alt(s, faces), {"condition": conditions(faces)})


def example() -> Explorer:
    """The explorer on the novel people of the default procedural faces."""
    return explore(load_faces("procedural").split(seed=0).novel)
