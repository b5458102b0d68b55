"""From which domain to which: a task's faces, and what a training on some domains is worth on all pairs of them.

    explore()

The accuracies are those that `experiments.domains` measured and stored; the faces are rendered as they are asked for.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ..errors import unknown
from ..experiments import domains
from ..experiments.domains import KINDS, LEFT_OUT, Training, others
from ..faces.procedural import DOMAINS, render, sample_identities, sample_nuisance
from ..figures import COLOURS, FRAME, axes_on_page, faces_page, page_figure, page_text
from .explorer import Explorer, control

SHORT = dict(zip(DOMAINS, ("photo", "sketch", "infrared", "low res", "edges", "thermal"), strict=True))
TRAININGS = {  # what it learned from → the domains; with several, there are several ways
    **{domain: (domain,) for domain in DOMAINS},
    **{f"all but {out}": others(out) for out in LEFT_OUT},
}
_WAYS, _SIZE, _TASKS = 5, 64, 29


@dataclass(frozen=True)
class State:
    training: str = control("all but sketch", "trained on", options=tuple(TRAININGS))
    kind: str = control(
        "leave one out",
        "if on several domains, how",
        options=KINDS,
        when=lambda state: len(TRAININGS[state.training]) > 1,
    )
    support: str = control("photo", "support", options=DOMAINS)
    query: str = control("sketch", "query", options=DOMAINS)
    task: int = control(0, "task", low=0, high=_TASKS)


def accuracies(state: State) -> dict[str, dict[str, float]]:
    """By pair, "photo, sketch": mean accuracy and intervals after the training that the state names.

    Raises `MetaFaceError` for an unknown training, kind or domain.
    """
    for word, known, kind in (
        (state.training, TRAININGS, "training"),
        (state.kind, KINDS, "kind of training"),
        (state.support, DOMAINS, "domain"),
        (state.query, DOMAINS, "domain"),
    ):
        if word not in known:
            raise unknown(kind, word, known)
    learned = TRAININGS[state.training]
    training = Training(learned, state.kind if len(learned) > 1 else "plain")
    return dict(domains.load()["trainings"][training.name]["matrix"])


@functools.lru_cache(maxsize=64)
def faces(domain: str, task: int, query: bool) -> Tensor:
    """The five people of a task in one domain, uint8 `[5, 3, 64, 64]`; queries are other pictures of them."""
    people = sample_identities(300, 0)
    chosen = torch.randperm(300, generator=torch.Generator().manual_seed(task))[:_WAYS]
    how = sample_nuisance(_WAYS, 1000 * (task + 1) + 2 * DOMAINS.index(domain) + query)
    return render(people[chosen], how, _SIZE, domain=domain)


def draw(state: State) -> Figure:
    """Above: support and query faces of a task. Below: the accuracies of all pairs, the chosen one framed."""
    found, learned = accuracies(state), TRAININGS[state.training]
    images = torch.cat([faces(state.support, state.task, False), faces(state.query, state.task, True)])
    zoom, left, head, gap = 2, 120, 44, 110
    side = _SIZE * zoom + 2 * FRAME + 2
    top, cell = head + 2 * side + gap, 62  # of the table, and the height of its rows
    corners = [(head + row * side, left + i * side) for row in range(2) for i in range(_WAYS)]
    page = faces_page(images, corners, (top + len(DOMAINS) * cell + 80, left + _WAYS * side), zoom)
    figure = page_figure(page)
    page_text(figure, "the same five people: synthetic faces", head - 8, left + FRAME, va="bottom", fontsize=12)
    for row, (what, domain) in enumerate((("support", state.support), ("query", state.query))):
        middle = head + (row + 0.5) * side
        page_text(figure, f"{what}\n{SHORT[domain]}", middle, left - 12, ha="right", va="center", fontsize=11)

    axes = axes_on_page(figure, top, left + FRAME, top + len(DOMAINS) * cell, left + _WAYS * side - FRAME)
    table = np.array([[100 * found[f"{one}, {other}"]["mean"] for other in DOMAINS] for one in DOMAINS])
    axes.imshow(table, vmin=20, vmax=70, cmap="Blues", aspect="auto")
    for i, one in enumerate(DOMAINS):
        for j, other in enumerate(DOMAINS):
            unseen = not {one, other} <= set(learned)
            colour = "white" if table[i, j] > 50 else "black"
            text = f"{table[i, j]:.0f}" + (" *" if unseen else "")
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=13)
    chosen = (DOMAINS.index(state.query) - 0.5, DOMAINS.index(state.support) - 0.5)
    axes.add_patch(Rectangle(chosen, 1, 1, fill=False, ec=COLOURS[1], lw=3.5, clip_on=False))
    words = [SHORT[domain] for domain in DOMAINS]
    axes.set_xticks(range(len(words)), labels=words)
    axes.set_yticks(range(len(words)), labels=words)
    axes.set(xlabel="query", ylabel="support")
    axes.set_title("accuracy, 5-way 1-shot, %\n* a domain that it never saw", loc="left")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


def alt(state: State) -> str:
    """What `draw` shows, in words."""
    found, learned = accuracies(state), TRAININGS[state.training]
    how = f", {state.kind}" if len(learned) > 1 else ""
    here = found[f"{state.support}, {state.query}"]
    table = "; ".join(f"{pair.replace(', ', ' to ')} {100 * row['mean']:.0f}%" for pair, row in found.items())
    return (
        f"Five synthetic people of task {state.task}, support in the domain {state.support}, query in {state.query}."
        f" Trained on {' and '.join(learned)}{how}: {100 * here['mean']:.1f}% of such queries are right."
        f" All pairs of support and query: {table}."
    )


def explore(start: State = State()) -> Explorer:
    """Choose what the network learned from, and from which domain to which it has to recognise people."""
    return Explorer(start, draw, alt)
