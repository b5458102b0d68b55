"""LFW in the layout of scikit-learn, with made-up people who are easy to tell apart."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from PIL import Image

# Of whom 0 to 7 are in View 1's training pairs, 8 to 15 in its test, 16 to 35 in View 2. The others are in no pair.
NAMES = [f"Person_{i:02d}" for i in range(48)]
EACH = 6
FEW = len(NAMES) - 1  # this person has two pictures


def line(a: str, i: int, b: str, j: int) -> str:
    return f"{a}\t{i}\t{j}" if a == b else f"{a}\t{i}\t{b}\t{j}"


def listed(people: list[str]) -> list[str]:
    """Two genuine pairs of each person, and as many impostor pairs."""
    genuine = [line(a, i, a, i + 1) for a in people for i in (1, 3)]
    impostor = [line(a, i, b, i) for a, b in itertools.pairwise([*people, people[0]]) for i in (1, 2)]
    return [*genuine, *impostor]


def easy_faces(people: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """`EACH` pictures `[25, 25, 3]` of each person: a pattern of their own, and noise."""
    generator = np.random.default_rng(seed)
    pattern = generator.random((people, 25, 25, 3)).repeat(EACH, axis=0)
    pictures = 255 * (0.6 * pattern + 0.4 * generator.random(pattern.shape))
    return pictures.astype(np.uint8), [m // EACH for m in range(len(pattern))]


def write_lfw(home: Path) -> None:
    """Write pictures of all people, and the lists of pairs, to what scikit-learn calls `lfw_home`."""
    for m, (image, person) in enumerate(zip(*easy_faces(len(NAMES)), strict=True)):
        if person == FEW and m % EACH > 1:
            continue
        name = NAMES[person]
        file = home / "lfw_funneled" / name / f"{name}_{m % EACH + 1:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((250, 250), Image.Resampling.NEAREST).save(file, quality=95)
    for file, people in (("pairsDevTrain.txt", NAMES[:8]), ("pairsDevTest.txt", NAMES[8:16])):
        (home / file).write_text("\n".join(["16", *listed(people)]) + "\n")
    folds = [line for k in range(10) for line in listed(NAMES[16 + 2 * k : 18 + 2 * k])]
    (home / "pairs.txt").write_text("\n".join(["10\t4", *folds]) + "\n")


def write_people(home: Path) -> list[Path]:
    """Write LFW's lists of people, which scikit-learn does not fetch, and return their paths.

    The test of View 1 has person 36 beside those of its pairs, and fold k of View 2 has person 37 + k.
    """

    def listed(people: list[str]) -> list[str]:
        return [str(len(people)), *(f"{name}\t{EACH}" for name in people)]

    folds = [line for k in range(10) for line in listed([*NAMES[16 + 2 * k : 18 + 2 * k], NAMES[37 + k]])]
    files = {"people.txt": ["10", *folds], "peopleDevTest.txt": listed([*NAMES[8:16], NAMES[36]])}
    for file, lines in files.items():
        (home / file).write_text("\n".join(lines) + "\n")
    return [home / file for file in files]
