"""Episodes: N-way K-shot tasks (Vinyals et al. 2016), T of them at a time, as tensors on the faces' device.

sampler = EpisodeSampler(faces, ways=5, shots=1, queries=15, seed=0)
episodes = sampler.sample(tasks=4)
episodes.support.x    # [4, 5·1, C, H, W]
episodes.query.y      # [4, 5·15], labels 0 to 4
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import MetaFaceError, unknown
from .faces.faceset import Condition, FaceSet
from .shares import current_share


class Examples(NamedTuple):
    """S examples in each of T tasks.

    x: the inputs `[T, S, …]`.
    y: their targets `[T, S, …]`.
    """

    x: Tensor
    y: Tensor


def examples_per_class(labels: Tensor, ways: int) -> Tensor:
    """How many examples of each class a support set has: int64 `[T, N]`.

    labels: int64 `[T, S]`, in 0 to N − 1.
    ways: N.

    Raises `MetaFaceError` if a task has no example of a class.
    """
    count = F.one_hot(labels, ways).sum(dim=1)
    if (count == 0).any():
        task, way = (count == 0).nonzero()[0].tolist()
        raise MetaFaceError(
            f"The support set of task {task} has no example of class {way}. Every label 0 to {ways - 1} must occur."
            " Add an example of that class, or number the classes without a gap."
        )
    return count


@dataclass(frozen=True)
class Episodes:
    """T meta-tasks: a support set to learn from and a query set to be scored on.

    support: x uint8 `[T, N·K, C, H, W]`; y int64 `[T, N·K]`, labels 0 to N − 1, one class after the other.
    query: x uint8 `[T, N·Q, C, H, W]`; y int64 `[T, N·Q]`, in the same order of classes.
    identities: int64 `[T, N]`, the person who is label n in task t.

    In a regression x and y are numbers, `[T, K, …]` and `[T, Q, …]`. It has no people: identities is `[T, 0]`.
    """

    support: Examples
    query: Examples
    identities: Tensor

    @property
    def ways(self) -> int:
        """N, the number of people in each task."""
        return self.identities.shape[1]

    def split(self, tasks: int) -> list[Episodes]:
        """The same tasks in parts of nearly equal size.

        tasks: the most tasks in a part.
        """
        number = math.ceil(len(self.identities) / tasks)
        tensors = *self.support, *self.query, self.identities
        parts = zip(*(tensor.tensor_split(number) for tensor in tensors), strict=True)
        return [Episodes(Examples(a, b), Examples(c, d), identities) for a, b, c, d, identities in parts]

    def tasks(self, first: int, last: int) -> Episodes:
        """Some of the tasks, `first` to `last` − 1.

        first: the first of them.
        last: the one after the last of them.
        """
        support, query = (Examples(*(tensor[first:last] for tensor in part)) for part in (self.support, self.query))
        return Episodes(support, query, self.identities[first:last])

    @staticmethod
    def join(parts: Sequence[Episodes]) -> Episodes:
        """All tasks in one, part after part: the opposite of `split`.

        parts: episodes with the same ways, shots and queries.
        """

        def joined(examples: Sequence[Examples]) -> Examples:
            return Examples(torch.cat([e.x for e in examples]), torch.cat([e.y for e in examples]))

        support, query = (joined([getattr(part, of) for part in parts]) for of in ("support", "query"))
        return Episodes(support, query, torch.cat([part.identities for part in parts]))


class Sampler(Protocol):
    """Draws tasks from a random stream that can be resumed."""

    def sample(self, tasks: int = 1) -> Episodes: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


def of_share(episodes: Episodes, tasks: int) -> Episodes:
    """Those of a step's tasks that are this process's own (see `shares`).

    episodes: what a sampler drew. It may have left the other tasks out already.
    tasks: T, as the sampler was asked for.
    """
    share = current_share()
    if share is None or len(episodes.identities) != tasks:
        return episodes
    return episodes.tasks(share.first, share.last)


def repeat_images(faces: FaceSet, each: int, fewest: int) -> FaceSet:
    """The set in which people with too few images for an episode take part: theirs repeat, as rarely as possible.

    It is for training with augmentation, which makes the copies of an image differ. In a test, a copy in support and
    query would be an answer that is known.

    faces: the people and their images.
    each: the images that an episode needs of each person, K + Q.
    fewest: people with at least so many images, but fewer than `each`, get as many as `each`.

    Raises `MetaFaceError` if `fewest` is above `each`: those people take part already.
    """
    if fewest > each:
        raise MetaFaceError(
            f"fewest is {fewest}, but an episode needs {each} images of each person (shots + queries), so people with"
            f" {each} take part already. Lower it to at most {each}."
        )
    identity = faces.identity.cpu()
    everyone, count = identity.unique(return_counts=True)
    few = everyone[(count >= fewest) & (count < each)].tolist()
    again = [(identity == person).nonzero().flatten() for person in few]
    more = [own.repeat(math.ceil(each / len(own)))[len(own) : each] for own in again]
    return faces.select(torch.cat([torch.arange(len(faces)), *more]))


class EpisodeSampler:
    """Draws N-way K-shot tasks from a face set.

    Within a task no person and no image occurs twice. Only people with enough images take part; `people` counts them.
    A sample of T tasks costs O(T·N·(K + Q)) draws, however many images the face set has. `state_dict` holds the state
    of the random stream, so that a training can be resumed.

    faces: the people and their images.
    ways: N, the people in a task.
    shots: K, the support images of each person.
    queries: Q, the query images of each person.
    seed: of the random stream. The tasks depend on it alone, not on the device.
    support_where: the condition of support images (see `FaceSet.where`), such as `{"occluder": "none"}`; all if None.
    query_where: the condition of query images, such as `{"occluder": "mask"}`; all if None.

    Raises `MetaFaceError` if there are too few people, or too few images of each.
    """

    def __init__(
        self,
        faces: FaceSet,
        ways: int,
        shots: int,
        queries: int,
        seed: int = 0,
        support_where: Mapping[str, Condition] | None = None,
        query_where: Mapping[str, Condition] | None = None,
    ) -> None:
        if not isinstance(faces, FaceSet):
            raise MetaFaceError(
                f"Episodes are drawn from a FaceSet, but this is of the type {type(faces).__name__}. Load one first:"
                ' faces = load_faces("procedural").'
            )
        for argument, value, least in (("ways", ways, 2), ("shots", shots, 1), ("queries", queries, 1)):
            if value < least:
                raise MetaFaceError(f"{argument} must be at least {least}, but is {value}.")
        self.faces, self.ways, self.shots, self.queries = faces, ways, shots, queries
        self._generator = torch.Generator().manual_seed(seed)

        support = faces.where(**(support_where or {})).cpu()
        query = faces.where(**(query_where or {})).cpu()
        everyone, person = faces.identity.cpu().unique(return_inverse=True)
        both = torch.bincount(person[support & query], minlength=len(everyone)).clamp(max=shots)
        support_count = torch.bincount(person[support], minlength=len(everyone))
        query_count = torch.bincount(person[query], minlength=len(everyone))
        enough = (support_count >= shots) & (query_count - both >= queries)  # at worst the support set takes all `both`
        self._people = everyone[enough]
        if self.people < ways:
            raise self._too_few(len(everyone), support_where, query_where)
        self._support = _Pool.of(person, support, enough)
        self._query = _Pool.of(person, query, enough)

    @property
    def people(self) -> int:
        """How many people take part: those with enough images."""
        return len(self._people)

    def _too_few(self, everyone: int, support_where: Any, query_where: Any) -> MetaFaceError:
        if everyone < self.ways:
            return MetaFaceError(
                f"{self.ways}-way episodes need {self.ways} people, but '{self.faces.name}' has {everyone}."
                f" Lower ways to at most {everyone}, or add people."
            )
        need, advice = f"{self.shots} + {self.queries} images (shots + queries)", "Lower shots, queries or ways."
        if support_where or query_where:
            need += f", support where {_in_words(support_where)}, and query where {_in_words(query_where)}"
            advice = "Lower shots, queries or ways, or widen the conditions."
        else:
            counts = self.faces.identity.unique(return_counts=True)[1].sort(descending=True).values
            most = int(counts[self.ways - 1])
            advice += f" With {self.ways} ways, shots + queries can be at most {most} here."
            if most < 2:  # an episode cannot be smaller
                advice = f"Add images: {self.ways} people need at least 2 each, one to learn from and one to ask about."
        return MetaFaceError(
            f"{self.ways}-way episodes need {self.ways} people with {need}, but only {self.people} of the {everyone}"
            f" people of '{self.faces.name}' have so many. {advice}"
        )

    def sample(self, tasks: int = 1) -> Episodes:
        """Draw T episodes.

        Where several processes share these tasks, each draws all of them, and reads the images of its own.

        tasks: T, at least 1.
        """
        if tasks < 1:
            raise MetaFaceError(f"tasks must be at least 1, but is {tasks}.")
        people = self._draw(torch.full((tasks,), self.people), self.ways)  # [T, N]
        row = people.flatten()  # [T·N]
        support = self._support.images(row, self._draw(self._support.size[row], self.shots))  # [T·N, K]

        # Query images come from what the support set left over. So a place is drawn among as many as are left; each
        # taken place at or below it, in ascending order, then moves it up by one.
        taken = self._query.place[support].sort(dim=1).values
        left = self._query.size[row] - (taken < _NOWHERE).sum(1)
        place = self._draw(left, self.queries)  # [T·N, Q]
        for k in range(self.shots):
            place += taken[:, k : k + 1] <= place
        query = self._query.images(row, place)

        device = self.faces.device
        labels = torch.arange(self.ways, device=device)
        share = current_share()
        own = slice(share.first, share.last) if share is not None and share.tasks == tasks else slice(0, tasks)

        def examples(index: Tensor) -> Examples:
            x = self.faces.images[index.view(tasks, -1)[own].to(device)]
            return Examples(x, labels.repeat_interleave(index.shape[1]).expand(len(x), -1))

        return Episodes(examples(support), examples(query), self._people[people[own]].to(device))

    def _draw(self, population: Tensor, k: int) -> Tensor:
        return draw_without_replacement(population, k, self._generator)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the random stream; `load_state_dict` continues from it."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._generator.set_state(state["generator"])


_NOWHERE = torch.iinfo(torch.int64).max


class _Pool(NamedTuple):
    """The images of each person that may be drawn: person p has the images `order[start[p] + i]` for i < `size[p]`.

    order: int64 `[L]`, numbers of images, person after person.
    start: int64 `[P]`, where the images of each person begin in `order`.
    size: int64 `[P]`, how many images each person has.
    place: int64 `[M]`, the i of each image of the face set; `_NOWHERE` if the image may not be drawn.
    """

    order: Tensor
    start: Tensor
    size: Tensor
    place: Tensor

    @classmethod
    def of(cls, person: Tensor, mask: Tensor, enough: Tensor) -> _Pool:
        """The pool of a support or query set.

        person: int64 `[M]`, in 0 to I − 1, who is on each image.
        mask: bool `[M]`, the images that may be drawn.
        enough: bool `[I]`, the people who take part.
        """
        index = mask.nonzero().flatten()
        order = index[person[index].argsort(stable=True)]
        count = torch.bincount(person[index], minlength=len(enough))
        start = count.cumsum(0) - count
        place = torch.full_like(person, _NOWHERE)
        place[order] = torch.arange(len(order)) - start[person[order]]
        return cls(order, start[enough], count[enough], place)

    def images(self, row: Tensor, place: Tensor) -> Tensor:
        """The numbers of the images, `[B, k]`, that people `row` `[B]` have at `place` `[B, k]`."""
        return self.order[self.start[row][:, None] + place]


def draw_without_replacement(population: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw k different numbers below each population, in random order: int64 `[B, k]`.

    By Floyd's algorithm (Bentley & Floyd 1987), one column at a time for all rows at once. So the cost does not depend
    on the size of the populations.

    population: int64 `[B]`, each at least k; row b draws from 0 to `population[b]` − 1.
    k: how many numbers each row draws.
    generator: the random stream, on the CPU.
    """
    uniform = torch.rand((len(population), k), generator=generator, dtype=torch.float64)
    chosen = torch.empty((len(population), k), dtype=torch.int64)
    for i in range(k):
        last = population - k + i
        number = (uniform[:, i] * (last + 1)).long()
        seen = (chosen[:, :i] == number[:, None]).any(dim=1)
        chosen[:, i] = torch.where(seen, last, number)
    shuffle = torch.rand((len(population), k), generator=generator).argsort(dim=1)
    return chosen.gather(1, shuffle)


Where = Mapping[str, Condition]  # as `FaceSet.where` takes it

FRONTAL: Where = {"yaw": (-15.0, 15.0)}
CONDITIONS: dict[str, tuple[Where, Where]] = {  # of support and query; "worn" stands for every word but "none"
    "any": ({}, {}),
    "all frontal": (FRONTAL, FRONTAL),
    "queries turned": (FRONTAL, {"yaw": (20.0, 90.0)}),
    "queries lit from the side": ({"light_azimuth": (-35.0, 35.0)}, {"light_azimuth": (40.0, 90.0)}),
    "nothing occluded": ({"occluder": "none"}, {"occluder": "none"}),
    "queries occluded": ({"occluder": "none"}, {"occluder": "worn"}),
}


def condition(name: str, faces: FaceSet) -> tuple[Where, Where]:
    """`support_where` and `query_where` of one of `CONDITIONS`, for these faces.

    Raises `MetaFaceError` if there is no such condition.
    """
    if name not in CONDITIONS:
        raise unknown("condition", name, CONDITIONS)
    support, query = CONDITIONS[name]
    if query.get("occluder") == "worn":
        query = {"occluder": [word for word in faces.levels.get("occluder", ()) if word != "none"]}
    return support, query


def _in_words(where: Where | None) -> str:
    """A condition as a sentence has it: "yaw is -10 to 10 and occluder is mask or scarf"."""

    def values(level: Condition) -> str:
        if isinstance(level, str) or not isinstance(level, Collection):
            return str(level)
        told = sorted(str(value) for value in level) if isinstance(level, Set) else [str(value) for value in level]
        return (" to " if isinstance(level, tuple) else " or ").join(told)

    return " and ".join(f"{name} is {values(level)}" for name, level in (where or {}).items()) or "anything goes"


DOMAIN_KINDS = ("within", "across", "leave one out")


class DomainSampler:
    """Draws episodes from a face set of several domains, such as photos and sketches.

    faces: their condition `domain` says which domain an image is of.
    domains: the domains to draw from, two or more.
    ways: N, the people in a task.
    shots: K, the support images of each person.
    queries: Q, the query images of each person.
    kind: "within" takes support and query of a task from the same randomly chosen domain. "across" takes them from two
        different ones. "leave one out" is for `MLDG`: each call to `sample` holds out one randomly chosen domain. The
        first half of the tasks come from the other domains, one domain a task; the second half come from the held-out
        domain.
    seed: of the random streams.

    Raises `MetaFaceError` for fewer than two domains, an unknown domain or kind, or too few people or images in a
    domain.
    """

    def __init__(
        self,
        faces: FaceSet,
        domains: Sequence[str],
        ways: int,
        shots: int,
        queries: int,
        kind: str = "within",
        seed: int = 0,
    ) -> None:
        if kind not in DOMAIN_KINDS:
            raise unknown("kind of domain episodes", kind, DOMAIN_KINDS)
        if len(set(domains)) < max(2, len(domains)):
            raise MetaFaceError(
                f"Episodes of several domains need two or more different ones, but got {list(domains)}."
            )
        self.faces, self.domains, self.kind = faces, tuple(domains), kind
        pairs = itertools.permutations(domains, 2) if kind == "across" else ((d, d) for d in domains)
        self._samplers = [
            EpisodeSampler(faces, ways, shots, queries, seed + i, {"domain": one}, {"domain": other})
            for i, (one, other) in enumerate(pairs)
        ]
        self._generator = torch.Generator().manual_seed(seed)

    def sample(self, tasks: int = 1) -> Episodes:
        """Draw T episodes.

        tasks: T, at least 1; an even number for the kind "leave one out".
        """
        number = len(self._samplers)
        if self.kind == "leave one out":
            if tasks < 2 or tasks % 2:
                raise MetaFaceError(
                    f"Leaving a domain out needs an even number of tasks, because half of them are from it, but tasks"
                    f" is {tasks}. Use 2, 4, …"
                )
            out = int(torch.randint(number, (), generator=self._generator))
            others = torch.randint(number - 1, (tasks // 2,), generator=self._generator)
            chosen = [*(others + (others >= out)).tolist(), *[out] * (tasks // 2)]
        else:
            chosen = torch.randint(number, (tasks,), generator=self._generator).tolist()
        return Episodes.join([self._samplers[k].sample() for k in chosen])

    def state_dict(self) -> dict[str, Tensor]:
        """The states of all random streams; `load_state_dict` continues from them."""
        streams = {str(k): sampler.state_dict()["generator"] for k, sampler in enumerate(self._samplers)}
        return {"generator": self._generator.get_state(), **streams}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._generator.set_state(state["generator"])
        for k, sampler in enumerate(self._samplers):
            sampler.load_state_dict({"generator": state[str(k)]})
