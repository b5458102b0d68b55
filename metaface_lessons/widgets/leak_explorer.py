"""How people who are in the training set and in the test set fake accuracy.

    data = leak_experiment(faces)
    explore(data)

The test never changes: the same people, the same images, the same episodes. What changes is how many of these people
the training set holds, in place of as many others; it always has the same size. So all that accuracy gains from left
to right is a leak: none of it would be there on the next stranger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from ..baselines import lda
from ..episodes import EpisodeSampler
from ..errors import MetaFaceError, unknown
from ..evaluation import Evaluation, evaluate
from ..faces.faceset import FaceSet
from ..figures import COLOURS, FRAME, axes_on_page, faces_page, page_figure, page_text
from .explorer import Explorer, control

STEP = 10  # percent
KINDS = ("the very images of the test", "other images of these people")
CHANCE = 0.2  # of 5 ways


@dataclass(frozen=True)
class State:
    share: int = control(0, "leaked people, %", low=0, high=100, step=STEP)
    kind: str = control(KINDS[0], "trained on", options=KINDS)


@dataclass(frozen=True)
class Leak:
    """What `leak_experiment` measured.

    reported: for each of `KINDS`, the 5-way 1-shot test after training with a share of 0, 10, …, 100%.
    portraits: one image of each test person, uint8 `[P, C, H, W]`, in the order in which they leak.
    """

    reported: dict[str, tuple[Evaluation, ...]]
    portraits: Tensor


def leak_experiment(faces: FaceSet, seed: int = 0, people: int = 30, episodes: int = 200) -> Leak:
    """Train LDA on `people` of whom more and more are the test people, and test it on the same episodes each time.

    Images are shrunk to 32×32 pixels: so the whole takes a few seconds.

    faces: at least 2 · `people` people; their images are divided into two halves, one of which is the test's.
    Raises `MetaFaceError` if there are fewer people, or fewer than 4 images of each.
    """
    identity, everyone = faces.identity.cpu(), faces.identities.cpu()
    if people < 10 or 2 * people > len(everyone):
        raise MetaFaceError(
            f"The experiment needs twice as many people as it tests: {2 * people} for people={people}. '{faces.name}'"
            f" has {len(everyone)}. Choose people from 10 to {len(everyone) // 2}."
        )
    generator = torch.Generator().manual_seed(seed)
    everyone = everyone[torch.randperm(len(everyone), generator=generator)]
    tested, others = everyone[:people], everyone[people : 2 * people]

    rank = torch.zeros(len(faces), dtype=torch.int64)  # of each image among those of its person
    for person in everyone[: 2 * people]:
        own = (identity == person).nonzero().flatten()
        rank[own] = torch.arange(len(own))
    half = int(torch.bincount(identity)[everyone[: 2 * people]].min()) // 2
    if half < 2:
        raise MetaFaceError(f"The experiment needs at least 4 images of each person; '{faces.name}' has fewer.")
    first, second = rank < half, (rank >= half) & (rank < 2 * half)

    def images_of(who: Tensor, which: Tensor) -> Tensor:
        return torch.isin(identity, who) & which

    shrunk = F.adaptive_avg_pool2d(faces.images.cpu().float(), 32).round().byte()
    small = replace(faces.to("cpu"), images=shrunk)  # many times faster
    test = small.select(images_of(tested, second))
    shares = range(0, 101, STEP)

    def measure(kind: str, share: int) -> Evaluation:
        leaked = round(people * share / 100)
        own = images_of(tested[:leaked], second if kind == KINDS[0] else first)
        train = small.select(own | images_of(others[leaked:], first))
        learner = lda(train, components=2 * len(train) // 3)
        sampler = EpisodeSampler(test, ways=5, shots=1, queries=min(5, half - 1), seed=seed)
        return evaluate({"lda": learner}, sampler, episodes)["lda"]

    honest = measure(KINDS[0], 0)
    reported = {kind: (honest, *(measure(kind, share) for share in shares[1:])) for kind in KINDS}
    portraits = torch.stack([faces.images[images_of(person[None], second)][0] for person in tested])
    return Leak(reported, portraits)


def _read(state: State, data: Leak) -> tuple[tuple[Evaluation, ...], int]:
    """The curve of the state's kind, up to its share, and how many people that share is."""
    if state.kind not in data.reported:
        raise unknown("kind of leak", state.kind, data.reported)
    if state.share not in range(0, 101, STEP):
        raise MetaFaceError(f"share must be 0, {STEP}, {2 * STEP}, … or 100, but is {state.share}.")
    return data.reported[state.kind][: state.share // STEP + 1], round(len(data.portraits) * state.share / 100)


def draw(state: State, data: Leak) -> Figure:
    """The reported accuracy for every share up to the state's, above the test people, with the leaked ones framed."""
    curve, leaked = _read(state, data)
    people = len(data.portraits)
    columns = -(-people // 2)
    height, width = (side + 2 * FRAME + 4 for side in data.portraits.shape[2:])
    left, above = 30, 590
    corners = [(above + i // columns * height, left + i % columns * width) for i in range(people)]
    borders = [COLOURS[1] if i < leaked else "#DDDDDD" for i in range(people)]
    size = (above + 2 * height + 10, 2 * left + columns * width)
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
    axes.axhline(100 * CHANCE, color="#777777", linewidth=1.2, linestyle=":")
    axes.text(100, 100 * CHANCE - 1.5, "chance", ha="right", va="top", color="#555555")
    axes.axhline(mean[0], color=COLOURS[0], linewidth=1.6, linestyle="--")
    axes.text(100, mean[0] - 1.5, f"strangers: {mean[0]:.0f}%", ha="right", va="top", color=COLOURS[0])
    axes.errorbar(
        shares, mean, ends, color=COLOURS[1], marker="o", markersize=6, linewidth=2, elinewidth=1.2, capsize=3
    )
    axes.set(xlim=(-3, 103), ylim=(0, 105), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    axes.set_xlabel("share of the test people who were in the training set, %")
    axes.set_ylabel("reported accuracy, %")
    told = f"The test reports {mean[-1]:.0f} ± {ends[-1]:.0f} %. On strangers it is {mean[0]:.0f} ± {ends[0]:.0f} %."
    axes.set_title(told, loc="left")
    return figure


def alt(state: State, data: Leak) -> str:
    """What `draw` shows, in words."""
    curve, leaked = _read(state, data)
    last, honest = curve[-1], curve[0]
    return (
        f"Reported accuracy against the share of test people who were trained on, from 0 to {state.share}%"
        f" ({state.kind}). With {leaked} of {len(data.portraits)} people leaked the test reports"
        f" {100 * last.accuracy:.0f} ± {100 * last.ci95_people:.0f} %; on strangers it is"
        f" {100 * honest.accuracy:.0f} ± {100 * honest.ci95_people:.0f} %."
    )


def explore(data: Leak, start: State = State()) -> Explorer:
    """Move the share of leaked people, see the test report more than is true."""
    return Explorer(start, lambda s: draw(s, data), lambda s: alt(s, data))
