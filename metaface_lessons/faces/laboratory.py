"""Face sets from laboratories, in their makers' layouts, in which the names of files say the conditions.

Download a set, unpack it, and name its folder: `load_faces("extended-yale-b:PATH")`, `"cmu:PATH"` or `"cufs:PATH"`. The
data cards in `data/` say where the sets come from and what they must not be used for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MetaFaceError
from ..names import visible
from .faceset import FaceSet
from .pictures import looks_like_picture
from .reading import Item, Reading, files_below, open_folder, read_items, without_doubles

YALE_SUBSETS = (12.0, 25.0, 50.0, 77.0)  # the light's largest angle to the camera's axis in subsets 1 to 4
_YALE = re.compile(r"yaleB(\d\d)_P\d\dA([+-]\d{3})E([+-]\d{2})\.pgm", re.IGNORECASE)
_CMU = re.compile(r"(\w+)_(left|right|straight|up)_(neutral|happy|sad|angry)_(open|sunglasses)\.pgm", re.IGNORECASE)
_OMITTED = re.compile(r".*(\.bad(\.pgm)?|_Ambient\.pgm|_[24]\.pgm)", re.IGNORECASE)  # the cards say so
_CUFS_FOLDER = re.compile(r"(?:training|testing)[ _](photo|sketch)", re.IGNORECASE)
_CUFS = re.compile(r"([fm])([12]?)-(\d{3})-01(?:-sz1)?\.jpg", re.IGNORECASE)

Facts = tuple[str, dict[str, float | str]]  # what a file's name says: the person, and the conditions


def extended_yale_b(path: str | Path, size: int = 48) -> FaceSet:
    """Extended Yale B, cropped (Georghiades 2001; Lee 2005): up to 38 people × 64 directions of the light, frontal.

    Damaged pictures (`.bad`) and those without the lamp (`Ambient`) are left out. Conditions: the light's azimuth,
    elevation and angle to the camera's axis, in degrees (positive azimuth: from the left of the picture, which is the
    subject's right); and the subset, 1 to 5, by that angle: up to 12°, 25°, 50°, 77°, and beyond.

    path: the folder CroppedYale, which holds yaleB01, yaleB02 and so on.
    size: to which each picture of 168×192 grey pixels is scaled: uint8 `[M, 1, size, size]`.

    Raises `MetaFaceError` if the folder is missing or holds no such pictures of two people.
    """

    def facts_of(file: Path) -> Facts | None:
        if (found := _YALE.fullmatch(file.name)) is None:
            return None
        azimuth, elevation = float(found[2]), float(found[3])
        cosine = torch.deg2rad(torch.tensor([azimuth, elevation], dtype=torch.float64)).cos().prod()
        angle = round(torch.rad2deg(cosine.acos()).item(), 3)
        subset = 1 + sum(angle > limit for limit in YALE_SUBSETS)
        return f"yaleB{found[1]}", {"azimuth": azimuth, "elevation": elevation, "angle": angle, "subset": subset}

    expected = "folders yaleB01, yaleB02, …, with pictures such as yaleB01_P00A+000E+00.pgm"
    return _load("extended-yale-b", path, facts_of, expected, size, whole=True, grey=True)


def cmu_faces(path: str | Path, size: int = 64) -> FaceSet:
    """CMU Face Images (Mitchell 1997): 20 people × up to 32 grey pictures, cut to their central square.

    Only the full resolution is read, and damaged pictures (`.bad`) are left out. Conditions: pose, expression, eyes
    (open or sunglasses).

    path: UCI's folder `faces`, which holds one folder for each person.
    size: to which the square is scaled: uint8 `[M, 1, size, size]`.

    Raises `MetaFaceError` if the folder is missing or holds no such pictures of two people.
    """

    def facts_of(file: Path) -> Facts | None:
        if (found := _CMU.fullmatch(file.name)) is None:
            return None
        person, pose, expression, eyes = (word.lower() for word in found.groups())
        return person, {"pose": pose, "expression": expression, "eyes": eyes}

    expected = "one folder for each person, with pictures such as an2i_left_angry_open.pgm"
    return _load("cmu", path, facts_of, expected, size, grey=True)


def cufs(path: str | Path, size: int = 64) -> FaceSet:
    """CUHK Face Sketch, students (Wang & Tang 2009): 188 people, one photo and one sketch drawn after it.

    Each aligned picture is cut to its central square. Condition: domain (photo or sketch).

    path: the folder that holds "Training photo", "Training sketch", "Testing photo" and "Testing sketch".
    size: to which the square is scaled: uint8 RGB `[M, 3, size, size]`.

    Raises `MetaFaceError` if the folder is missing or holds no such pictures of two people.
    """

    def facts_of(file: Path) -> Facts | None:
        domain, found = _CUFS_FOLDER.fullmatch(file.parent.name), _CUFS.fullmatch(file.name)
        if domain is None or found is None:
            return None
        # Sketches of m-016 are called M2-016, or m-016; m1-016 is another person.
        person = f"{found[1].lower()}{found[2].replace('2', '')}-{found[3]}"
        return person, {"domain": domain[1].lower()}

    expected = (
        "'Training photo', 'Training sketch', 'Testing photo' and 'Testing sketch', with pictures such as f-005-01.jpg"
    )
    return _load("cufs", path, facts_of, expected, size)


def _load(
    name: str,
    path: str | Path,
    facts_of: Callable[[Path], Facts | None],
    expected: str,
    size: int,
    whole: bool = False,
    grey: bool = False,
) -> FaceSet:
    """The pictures below `path` whose names `facts_of` understands, ordered by person and then by file."""
    root = open_folder(path, f"the folder of '{name}': {expected}")
    report = Reading(root)
    known: dict[Path, Facts] = {}
    for file in files_below(root, report)[0]:
        if (facts := facts_of(file)) is not None:
            known[file] = facts
        elif _OMITTED.fullmatch(file.name) is None and looks_like_picture(file):
            report.note("pictures that are not called as in this set, left out", report.shown(file))
    people: dict[str, list[Item]] = {person: [] for person in sorted({person for person, _ in known.values()})}
    for item in read_items(known, size, report, whole, grey):
        people[known[item.file][0]].append(item)
    people = {person: own for person, own in without_doubles(people, report).items() if own}
    names = tuple(people)
    report.people, report.pictures = len(people), sum(map(len, people.values()))
    if len(names) < 2:
        raise MetaFaceError(
            report.below(
                f"{visible(root)} holds pictures of {'one person' if names else 'nobody'} in the layout of '{name}',"
                f" but a face set needs at least two people. Expected {expected}."
            )
        )
    report.warn()
    items = [item for own in people.values() for item in own]
    conditions = [known[item.file][1] for item in items]
    values: dict[str, Tensor] = {}
    levels: dict[str, tuple[str, ...]] = {}
    for key in conditions[0]:
        column = [condition[key] for condition in conditions]
        if isinstance(column[0], str):
            levels[key] = tuple(sorted(set(map(str, column))))
            values[key] = torch.tensor([levels[key].index(str(word)) for word in column])
        else:
            values[key] = torch.tensor(column, dtype=torch.float32)
    identity = torch.tensor([names.index(known[item.file][0]) for item in items])
    return FaceSet(torch.stack([item.image for item in items]), identity, values, levels, names, name, reading=report)
