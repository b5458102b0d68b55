"""Pairs: drawn from any faces, and LFW's own lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.pairs import draw_pairs, lfw_pairs, lfw_tested, read_pairs, read_people
from tests.helpers import random_faces
from tests.made_up_lfw import NAMES


def test_drawn_pairs_are_balanced_different_and_share_the_people() -> None:
    faces = random_faces(people=12, each=6)
    few = faces.select(torch.tensor([m for m in range(72) if m >= 24 or m % 6 < 2]))  # four people with two images
    pairs = draw_pairs(few, each=84, folds=2, seed=1)
    same = pairs.people[:, 0] == pairs.people[:, 1]
    assert (len(pairs), int(same.sum())) == (168, 84)
    assert len({tuple(sorted(pair)) for pair in pairs.index.tolist()}) == 168
    assert all(a != b for a, b in pairs.index.tolist())
    assert not pairs.names(0) & pairs.names(1)
    for fold in (0, 1):
        mine = pairs.people[same & (pairs.fold == fold), 0]
        assert len(mine) == 42
        counts = torch.bincount(mine)
        rich = counts[counts > 1]  # those with two images have one pair
        assert rich.max() - rich.min() <= 1
    assert torch.equal(pairs.index, draw_pairs(few, 84, folds=2, seed=1).index)
    assert not torch.equal(pairs.index, draw_pairs(few, 84, folds=2, seed=2).index)
    with pytest.raises(MetaFaceError, match="124 pairs of images of one person"):
        draw_pairs(few, each=125)


def test_lfw_lists_are_read_as_scikit_learn_reads_them(made_up: Path) -> None:
    pairs = lfw_pairs("train")
    assert len(pairs) == 32
    assert pairs.names() == {name.replace("_", " ") for name in NAMES[:8]}
    everyone = load_faces("lfw")  # in another order
    first = pairs.faces.images[pairs.index[0]]  # images 1 and 2 of person 0
    own = everyone.images[everyone.identity == everyone.names.index("Person 00")]
    assert [any(torch.equal(image, other) for other in own) for image in first] == [True, True]
    assert not torch.equal(*first)
    folds = lfw_pairs("10_folds")
    assert folds.fold.bincount().tolist() == [8] * 10
    assert folds.names(3) == {"Person 22", "Person 23"}
    with pytest.raises(MetaFaceError, match="Did you mean 'test'"):
        lfw_pairs("tests")


def test_missing_people_are_named_and_half_a_folder_is_refused(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "lfw_home"
    (home / "lfw_funneled").mkdir(parents=True)
    for name in NAMES[:7]:
        (home / "lfw_funneled" / name).symlink_to(made_up / "lfw_funneled" / name)
    half = home / "lfw_funneled" / NAMES[7]
    half.mkdir()
    for number in (2, 3, 4):  # image 1 is gone, so that the first file is image 2
        (half / f"{NAMES[7]}_{number:04d}.jpg").symlink_to(made_up / "lfw_funneled" / NAMES[7] / f"{NAMES[7]}_0001.jpg")
    for file in made_up.glob("*.txt"):
        (home / file.name).write_text(file.read_text())
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.raises(
        MetaFaceError, match=r"pairsDevTrain\.txt names 8 people, .* 1 of them are missing .* Person 07\."
    ):
        lfw_pairs("train")
    with pytest.raises(MetaFaceError, match=r"20 of them are missing .* Person 16, .*metaface faces lfw"):
        lfw_pairs("10_folds")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line should hold"),
        ("many\nA\t1\t2\n", "first line should hold"),
        ("1\nA\t1\n", r"Line 2 of pairs.txt is \['A', '1'\]"),
        ("1\nA\t1\tB\tx\n", "Line 2"),
        ("2\t1\nA\t1\t2\n", "2 folds, but lists 1 pairs"),
    ],
)
def test_a_damaged_list_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    with pytest.raises(MetaFaceError, match=message):
        read_pairs(file)


def test_the_people_of_a_test_are_those_of_the_list(listed: Path) -> None:
    """Person 36 and the persons from 37 on are in no pair."""
    view1, folds = lfw_pairs("test"), lfw_pairs("10_folds")
    assert lfw_tested("view1", view1).names == {f"Person {i:02d}" for i in (*range(8, 16), 36)}
    assert lfw_tested("fold3", folds).names == {"Person 22", "Person 23", "Person 40"}
    assert lfw_tested("fold3", folds).source == "all its people, by people.txt"
    assert "Person 40" not in _names("lfw-without:fold3")
    assert "Person 41" in _names("lfw-without:fold3")
    assert len(_names("lfw-without:view1")) == 48 - 9
    for file in ("people.txt", "peopleDevTest.txt"):
        (listed / file).unlink()
    assert lfw_tested("view1", view1).names == {f"Person {i:02d}" for i in range(8, 16)}
    assert lfw_tested("view1", view1).source == (
        "the people of its pairs alone, because peopleDevTest.txt is not beside them"
    )
    assert "Person 40" in _names("lfw-without:fold3")


def test_people_with_two_images_may_be_trained_on(made_up: Path) -> None:
    assert "Person 47" in _names("lfw-without:view1") - _names("lfw")


def _names(name: str) -> set[str]:
    faces = load_faces(name)
    return {faces.name_of(int(person)) for person in faces.identities}


def test_a_list_of_people_that_does_not_fit_the_pairs_is_refused(listed: Path) -> None:
    folds = lfw_pairs("10_folds")
    text = (listed / "people.txt").read_text()
    (listed / "people.txt").write_text(text.replace("Person_22\t", "Somebody\t"))
    with pytest.raises(MetaFaceError, match=r"does not belong .* 1 people of the pairs of fold3, such as Person 22,"):
        lfw_tested("fold3", folds)
    (listed / "people.txt").write_text((listed / "peopleDevTest.txt").read_text())
    with pytest.raises(MetaFaceError, match=r"has 1 parts\. Expected 10"):
        lfw_tested("fold0", folds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists 0 people in 0 parts"),
        ("many\nA\t1\n", r"Line 1 of .*people.txt is \['many'\]. Expected the number of people"),
        ("2\nA\t1\nB\n", r"Line 3 of .*people.txt is \['B'\]. Expected 'name images'"),
        ("1\nA\tone\n", r"Line 2 of .* Expected 'name images'"),
        ("1\nA\t0\n", r"Line 2 of .* Expected 'name images'"),
        ("2\nA\t1\n", "lists 1 people in 1 parts, which its own numbers contradict"),
        ("2\n1\nA\t1\n", "lists 1 people in 1 parts"),
        ("2\n1\nA\t1\n1\nA\t1\n", "lists 1 people in 2 parts"),
        ("1\nA\t1\nB\t1\n", r"Line 3 of .*people.txt is \['B', '1'\]. Expected the number of people"),
    ],
)
def test_a_damaged_list_of_people_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text(text)
    with pytest.raises(MetaFaceError, match=message):
        read_people(file)


def test_a_list_of_people_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_bytes(b"10\n\xff\t1\n")
    with pytest.raises(MetaFaceError, match="cannot be read as a list of LFW's people"):
        read_people(tmp_path / "people.txt")


def test_lfw_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets.fetch_lfw_pairs", lambda **_: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(MetaFaceError, match=r"no route.*metaface faces lfw"):
        lfw_pairs("test")
