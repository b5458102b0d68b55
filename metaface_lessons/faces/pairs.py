"""Pairs of face images, of one person or of two: drawn from a face set, or as LFW's protocol lists them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import MetaFaceError, unknown
from ..paths import sklearn_data
from .faceset import FaceSet
from .real import LFW_CROP, fetch, lfw, to_uint8

LFW_PAIRS = {"train": "pairsDevTrain.txt", "test": "pairsDevTest.txt", "10_folds": "pairs.txt"}
LFW_TESTS = ("view1", *(f"fold{k}" for k in range(10)))  # of its protocol: View 1's test, and View 2's folds


@dataclass(frozen=True)
class Pairs:
    """P pairs of images out of a face set.

    faces: the set.
    index: int64 `[P, 2]`, numbers of images.
    fold: int64 `[P]`, the part of a cross-validation to which a pair belongs.
    """

    faces: FaceSet
    index: Tensor
    fold: Tensor

    def __len__(self) -> int:
        return len(self.index)

    @property
    def people(self) -> Tensor:
        """Who is on the two images: int64 `[P, 2]`."""
        return self.faces.identity[self.index]

    def names(self, fold: int | None = None) -> set[str]:
        """The names of the people in the pairs (their numbers, if they have no names).

        fold: only the pairs of this fold; all if not given.
        """
        chosen = self.people if fold is None else self.people[self.fold == fold]
        return {self.faces.name_of(int(person)) for person in chosen.unique()}


def draw_pairs(faces: FaceSet, each: int, folds: int = 1, seed: int = 0) -> Pairs:
    """Draw as many genuine pairs (one person) as impostor pairs (two people), all different.

    The people of a fold share its genuine pairs as evenly as their images allow: nobody has two more than another who
    has some left. An impostor pair shows two people drawn at random, in one image of each.

    each: how many genuine pairs, and how many impostor pairs.
    folds: in how many parts that share no person.
    seed: another seed draws other pairs.

    Raises `MetaFaceError` if there are fewer pairs than that.
    """
    if each < folds:
        raise MetaFaceError(f"{each} pairs of each kind cannot be divided into {folds} folds. Ask for more pairs.")
    generator = torch.Generator().manual_seed(seed)
    everyone = faces.identities.cpu()
    parts = everyone[torch.randperm(len(everyone), generator=generator)].tensor_split(folds)
    share = [each * (k + 1) // folds - each * k // folds for k in range(folds)]
    drawn = [_draw(faces, part, n, generator) for part, n in zip(parts, share, strict=True)]
    fold = torch.arange(folds).repeat_interleave(torch.tensor([len(index) for index in drawn]))
    return Pairs(faces, torch.cat(drawn), fold)


def _draw(faces: FaceSet, people: Tensor, each: int, generator: torch.Generator) -> Tensor:
    images = [(faces.identity.cpu() == person).nonzero().flatten() for person in people]
    turn, genuine = [], []
    for own in images:
        pairs = torch.combinations(own)
        genuine.append(pairs[torch.randperm(len(pairs), generator=generator)][:each])
        turn.append(torch.arange(len(genuine[-1])) + torch.rand(1, generator=generator))  # who begins is chance
    all_genuine = torch.cat(genuine)[torch.cat(turn).argsort()]
    counts = torch.tensor([len(own) for own in images])
    possible = (int(counts.sum()) ** 2 - int(counts.square().sum())) // 2
    if len(all_genuine) < each or possible < each:
        raise MetaFaceError(
            f"{len(people)} people of '{faces.name}' have {len(all_genuine)} pairs of images of one person and"
            f" {possible} of two, so {each} of each kind cannot be drawn. Ask for fewer pairs, or add images."
        )
    impostors: set[tuple[int, int]] = set()
    while len(impostors) < each:
        two = torch.randperm(len(images), generator=generator)[:2].tolist()
        a, b = (int(images[i][torch.randint(len(images[i]), (1,), generator=generator)]) for i in two)
        impostors.add((min(a, b), max(a, b)))
    return torch.cat([all_genuine[:each], torch.tensor(sorted(impostors))])


class _Listed(NamedTuple):
    """A line of a pairs file: two people, and the number of an image of each, from 1."""

    names: tuple[str, str]
    images: tuple[int, int]


def read_pairs(file: Path) -> tuple[list[_Listed], int]:
    """The pairs of a file in LFW's format, and the number of its folds.

    The first line holds the number of pairs of one kind, or the number of folds and the number of pairs of one kind in
    each. Every other line is `name a b`, two images of one person, or `name a other b`, with tabs between.

    file: the path.

    Raises `MetaFaceError` if a line has another form.
    """
    try:
        head, *lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        counts = [int(word) for word in head]
        folds = counts[0] if len(counts) == 2 else 1
    except (OSError, ValueError) as error:
        raise MetaFaceError(
            f"{file} is not a pairs file of LFW: its first line should hold one or two numbers."
        ) from error
    found = []
    for number, words in enumerate(lines, start=2):
        try:
            one, a, *rest = words
            other, b = rest if len(rest) == 2 else (one, *rest)
            found.append(_Listed((one, other), (int(a), int(b))))
        except ValueError as error:
            raise MetaFaceError(
                f"Line {number} of {file.name} is {words}. Expected 'name a b' or 'name a other b', with tabs between."
            ) from error
    if not found or len(found) % folds:
        raise MetaFaceError(f"{file.name} says that it has {folds} folds, but lists {len(found)} pairs.")
    return found, folds


def lfw_pairs(subset: str) -> Pairs:
    """The pairs of LFW's protocol, in the crop of `lfw`, through scikit-learn's `fetch_lfw_pairs`.

    subset: "train" or "test" of View 1, or the "10_folds" of View 2.

    Raises `MetaFaceError` if the pairs are not there and cannot be fetched. If only a part of LFW is there, the message
    names people whose images are missing.
    """
    from sklearn.datasets import fetch_lfw_pairs

    if subset not in LFW_PAIRS:
        raise unknown("subset of LFW's pairs", subset, LFW_PAIRS)
    home = sklearn_data() / "lfw_home"
    if (home / "lfw_funneled").is_dir() and (home / LFW_PAIRS[subset]).exists():  # or they will be fetched
        _refuse_missing(home, LFW_PAIRS[subset])
    bunch = fetch("lfw", lambda data_home: fetch_lfw_pairs(subset=subset, data_home=data_home, **LFW_CROP))
    listed, folds = read_pairs(home / LFW_PAIRS[subset])
    places = [place for pair in listed for place in zip(pair.names, pair.images, strict=True)]
    distinct = {place: m for m, place in enumerate(dict.fromkeys(places))}
    first = np.unique([distinct[place] for place in places], return_index=True)[1]
    people = {name: i for i, name in enumerate(sorted({name for name, _ in distinct}))}
    faces = FaceSet(
        to_uint8(bunch.pairs.reshape(-1, *bunch.pairs.shape[2:])[first]),
        torch.tensor([people[name] for name, _ in distinct]),
        names=tuple(name.replace("_", " ") for name in people),
        name=f"lfw, {LFW_PAIRS[subset]}",
    )
    index = torch.tensor([distinct[place] for place in places]).view(-1, 2)
    return Pairs(faces, index, torch.arange(folds).repeat_interleave(len(index) // folds))


def _refuse_missing(home: Path, file: str) -> None:
    """Raise if images are missing. scikit-learn takes the third file for image 3: in half a folder, another image."""
    listed, _ = read_pairs(home / file)
    files: dict[str, list[str]] = {}
    missing = set()
    for names, images in listed:
        for name, number in zip(names, images, strict=True):
            if name not in files:
                folder = home / "lfw_funneled" / name
                files[name] = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
            if files[name][number - 1 : number] != [f"{name}_{number:04d}.jpg"]:
                missing.add(name.replace("_", " "))
    if missing:
        few = ", ".join(sorted(missing)[:5])
        raise MetaFaceError(
            f"{file} names {len({name for names, _ in listed for name in names})} people, but pictures of"
            f" {len(missing)} of them are missing in {home}, such as {few}. The protocol needs all of LFW: move that"
            " folder away, and with a network run: metaface faces lfw (200 MB)."
        )


def read_people(file: Path) -> list[list[str]]:
    """The names of the people in a list of LFW's, a list for each of its parts.

    `peopleDevTest.txt` begins with the number of people, and `people.txt` with the number of folds. Each fold of it
    begins with the number of its people. Every other line is `name images`, with a tab between.

    file: the path.

    Raises `MetaFaceError` if the file cannot be read, a line has another form, a number does not fit, or a person is
    listed twice.
    """
    try:
        lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise MetaFaceError(
            f"{file} cannot be read as a list of LFW's people ({error}). Fetch it again, or remove it."
        ) from error
    whole = len(lines) > 1 and len(lines[0]) == len(lines[1]) == 1  # a list of folds
    parts: list[list[str]] = []
    left = 0  # people of this part who are still to come
    for number, words in enumerate(lines[1:] if whole else lines, start=1 + whole):
        try:
            if left:
                name, images = words
                if int(images) < 1:
                    raise ValueError("a person without images")
                parts[-1].append(name.replace("_", " "))
                left -= 1
            else:
                (count,) = words
                left = int(count)
                parts.append([])
        except ValueError as error:
            expected = "'name images', with a tab between" if left else "the number of people who follow"
            raise MetaFaceError(
                f"Line {number} of {file} is {words}. Expected {expected}. Fetch the list again, or remove it."
            ) from error
    folds = lines[0][0] if whole else str(len(parts))
    names = [name for part in parts for name in part]
    if left or not names or folds != str(len(parts)) or len({*names}) < len(names):
        raise MetaFaceError(
            f"{file} lists {len({*names})} people in {len(parts)} parts, which its own numbers contradict: the file is"
            " not whole, or lists a person twice. Fetch it again, or remove it."
        )
    return parts


@dataclass(frozen=True)
class Tested:
    """The people of a test of LFW's protocol, who may not be trained on.

    names: their names.
    source: where they are listed, in words.
    """

    names: set[str]
    source: str


def lfw_tested(test: str, pairs: Pairs) -> Tested:
    """The people of a test of LFW's protocol: all of them if LFW's list of people is there, else those of its pairs.

    scikit-learn fetches the lists of pairs, but not `people.txt` (View 2) and `peopleDevTest.txt` (View 1). They are
    read if they are beside the lists of pairs, in the folder `lfw_home` of scikit-learn's data.

    test: one of `LFW_TESTS`.
    pairs: those of View 1's test, or of View 2, by `lfw_pairs`.

    Raises `MetaFaceError` if the list is damaged, or does not belong to the pairs.
    """
    fold = None if test == "view1" else int(test.removeprefix("fold"))
    paired = pairs.names(fold)
    file = sklearn_data() / "lfw_home" / ("peopleDevTest.txt" if fold is None else "people.txt")
    if not file.exists():
        return Tested(paired, f"the people of its pairs alone, because {file.name} is not beside them")
    parts, expected = read_people(file), 1 if fold is None else int(pairs.fold.max()) + 1
    if len(parts) != expected:
        raise MetaFaceError(f"{file} has {len(parts)} parts. Expected {expected}. Fetch it again, or remove it.")
    listed = {*parts[fold or 0]}
    if strangers := sorted(paired - listed):
        raise MetaFaceError(
            f"{file} does not belong to the list of pairs: {len(strangers)} people of the pairs of {test}, such as"
            f" {strangers[0]}, are not among its people. Fetch both lists from one place, or remove {file.name}."
        )
    return Tested(listed, f"all its people, by {file.name}")


def lfw_without(left_out: str) -> FaceSet:
    """The people of LFW with at least 2 images who may be trained on before a test by its protocol.

    left_out: "view1" leaves out the people of View 1's test; "fold0" to "fold9" those of one fold of View 2. See
        `lfw_tested` for who they are.
    """
    if left_out not in LFW_TESTS:
        raise unknown("part of LFW to leave out", left_out, LFW_TESTS)
    tested = lfw_tested(left_out, lfw_pairs("test" if left_out == "view1" else "10_folds")).names
    everyone = lfw(min_images=2)
    kept = [person for person in everyone.identities.tolist() if everyone.names[person] not in tested]
    return replace(everyone.of(torch.tensor(kept)), name=f"lfw-without:{left_out}")
