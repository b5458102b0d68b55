"""Folders of pictures as people have them: nothing is left out, joined or doubled without a word."""

from __future__ import annotations

import os
import shutil
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import FaceSet, load_faces
from metaface_lessons.faces import reading as module
from metaface_lessons.names import same_to_a_reader


def picture(file: Path, seed: int | None = None) -> None:
    """A picture; without a seed, one that no other file shows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list(os.fsencode(file)) if seed is None else seed)
    Image.fromarray(random.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(file, "PNG")


def people(root: Path, *names: str, each: int = 2) -> None:
    for name in names:
        for number in range(each):
            picture(root / name / f"{number}.png")


def load(root: Path) -> tuple[FaceSet, str]:
    """The faces, and all that was warned of; it must be what the face set says, too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        faces = load_faces(f"folder:{root}", size=16)
    assert len(caught) <= 1
    said = str(caught[0].message) if caught else ""
    assert faces.reading is not None
    assert set(said.splitlines()) <= set(str(faces.reading).splitlines())
    assert f"{len(faces)} pictures of {len(faces.names)} people were read" in str(faces.reading)
    return faces, said


def counts(faces: FaceSet) -> dict[str, int]:
    return dict(zip(faces.names, torch.bincount(faces.identity).tolist(), strict=True))


def test_a_clean_folder_is_read_without_a_word(tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo", "Cy/2019", "Cy")
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 2, "Bo": 2, "Cy": 4}
    assert said == ""
    first = Image.open(tmp_path / "Ann" / "0.png").resize((16, 16), Image.Resampling.LANCZOS, box=(0, 2, 20, 22))
    assert np.array_equal(faces.images[0].permute(1, 2, 0), first)
    assert faces.split is not None
    assert faces.select(faces.identity < 2).reading is faces.reading


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.ppm", "a", "A.PNG", "a.txt"])
def test_files_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    people(tmp_path, "Ann")
    picture(tmp_path / "Bo" / name)
    assert counts(load(tmp_path)[0]) == {"Ann": 2, "Bo": 1}


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        ".thumbnails",
        ".ipynb_checkpoints",
        "__MACOSX",
        "lost+found",
        "#recycle",
        "$RECYCLE.BIN",
        ".Trash",
        "Thumbs",
    ],
)
def test_hidden_and_system_folders_are_left_out(name: str, tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo", name, f"Ann/{name}", f"Bo/2019/{name}")
    picture(tmp_path / "Bo" / "2019" / "a.png")
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 2, "Bo": 3}
    assert "hidden and system folders left out (3): " in said
    assert f"Bo/2019/{name}" in said


def test_hidden_files(tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (tmp_path / "Ann" / name).write_bytes(b"of the system")
    assert load(tmp_path)[1] == ""
    picture(tmp_path / "Ann" / ".hidden.png")
    (tmp_path / "Bo" / ".a.heic.icloud").write_bytes(b"bplist00")
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 2, "Bo": 2}
    assert "hidden and system files left out (1): Ann/.hidden.png" in said
    assert "in iCloud, not on this computer (1): Bo/.a.heic.icloud. Download" in said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (unicodedata.normalize("NFC", "Zoë"), unicodedata.normalize("NFD", "Zoë")),
        ("Ada", "ada"),
        ("Bo", "Bo "),
        ("Bo", " Bo"),
        ("Bo Li", "Bo  Li"),
        ("Bo Li", "Bo\u00a0Li"),
        ("Bo_Li", "Bo Li"),
        ("Bo", "Bo\u200b"),
        ("Ｂｏ", "Bo"),
        ("ﬁn", "fin"),
        ("Weiß", "WEISS"),
        ("Coco", "С\u043eс\u043e"),
    ],
)
def test_names_that_are_one_to_a_reader_are_one_person(one: str, other: str, tmp_path: Path) -> None:
    people(tmp_path, "Zz", one, other)
    faces, said = load(tmp_path)
    assert sorted(counts(faces).values()) == [2, 4]
    assert "read as one person, because their names differ only in" in said
    assert "Rename one if they are two people" in said


@pytest.mark.parametrize(
    ("one", "other"), [("Zoe", "Zoë"), ("Ann 1", "Ann 2"), ("Bo", "Bob"), ("李", "王"), ("_", "-")]
)
def test_other_names_are_two_people(one: str, other: str) -> None:
    assert same_to_a_reader(one) != same_to_a_reader(other)
    assert same_to_a_reader(one)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        *(("Zoe", "Zoë", True), ("Ann", "Ann (1)", True), ("Ann", "Ann - Copy", True), ("Ann", "Ann copy 2", True)),
        *(("Ann-Lee", "Ann Lee", True), ("O'Neil", "O’Neil", True), ("Ann 1", "Ann 2", False), ("s1", "s-1", False)),
        *(("かく", "がく", False), ("copy", "(1)", False), ("Ann", "Anna", False), ("!", "?", False)),
    ],
)
def test_names_that_are_nearly_one_are_said(one: str, other: str, near: bool, tmp_path: Path) -> None:
    people(tmp_path, "Zz", one, other)
    faces, said = load(tmp_path)
    assert list(counts(faces).values()) == [2, 2, 2]
    assert ("read as several people, though their names are nearly the same (1)" in said) == near


def test_a_name_is_printed_on_one_line(tmp_path: Path) -> None:
    people(tmp_path, "Ann\nLee", os.fsdecode(b"B\xff"))
    faces, _ = load(tmp_path)
    assert faces.names == ("Ann Lee", "B\\udcff")
    assert str(faces.reading).encode()


def test_the_same_picture_twice_in_a_person_is_read_once(tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo")
    shutil.copy(tmp_path / "Ann" / "0.png", tmp_path / "Ann" / "copy.png")
    Image.open(tmp_path / "Ann" / "0.png").save(tmp_path / "Ann" / "small.bmp")
    (tmp_path / "Ann" / "link.png").symlink_to("1.png")
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 2, "Bo": 2}
    assert "twice in one person, read once (3): 'Ann/0.png' = 'Ann/copy.png', " in said


def test_a_picture_of_two_people_is_left_out_of_both(tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo", "Cy")
    shutil.copy(tmp_path / "Ann" / "0.png", tmp_path / "Bo" / "other.png")
    shutil.copy(tmp_path / "Ann" / "0.png", tmp_path / "Cy" / "third.png")
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 1, "Bo": 2, "Cy": 2}
    assert "left out of all (1): 'Ann/0.png' = 'Bo/other.png' = 'Cy/third.png'. If they are one person" in said


def test_a_copy_of_a_person_is_left_out(tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo", each=3)
    shutil.copytree(tmp_path / "Ann", tmp_path / "Ann copy")
    shutil.copytree(tmp_path / "Bo", tmp_path / "Aa")
    (tmp_path / "Aa" / "0.png").unlink()
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 3, "Bo": 3}
    assert "'Ann copy' (all in 'Ann')" in said
    assert "'Aa' (all in 'Bo')" in said


def test_no_pixels_are_in_two_people_whatever_is_copied(tmp_path: Path) -> None:
    """The rule in general: 40 folders with pictures drawn from few; nothing is twice in what is read."""
    for trial in range(40):
        random = np.random.default_rng(trial)
        root = tmp_path / str(trial)
        for name in "abcde":
            picture(root / name / "own.png")
            for seed in random.integers(0, 6, 3):
                picture(root / name / f"{random.integers(100)}.png", int(seed))
        faces, _ = load(root)
        assert len({image.numpy().tobytes() for image in faces.images}) == len(faces)
        assert faces.names == tuple("abcde")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "testing"), ("fold1", "fold2"), ("train",)])
def test_parts_of_a_data_set_are_opened(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        people(tmp_path, f"{name}/Ann", f"{name}/Bo", f"{name}/only {name}")
    picture(tmp_path / names[0] / "sheet.png")
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 2 * len(names), "Bo": 2 * len(names)} | {f"only {name}": 2 for name in names}
    assert f"opened as parts of a data set, whose people were put together ({len(names)}): " in said
    assert f"in no person's folder (1): {names[0]}/sheet.png" in said


def test_a_leak_between_the_parts_of_a_data_set_is_closed(tmp_path: Path) -> None:
    people(tmp_path, "train/Ann", "train/Bo", "test/Cy")
    shutil.copy(tmp_path / "train" / "Ann" / "0.png", tmp_path / "test" / "Cy" / "a.png")
    people(tmp_path, "test/ann", each=1)
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 2, "Bo": 2, "Cy": 2}
    assert "'test/ann' = 'train/Ann'" in said
    assert "left out of all (1)" in said


def test_other_nesting_is_said(tmp_path: Path) -> None:
    people(tmp_path, "camera1/Ann", "camera1/Bo", "camera2/Ann", "camera2/Bo")
    faces, said = load(tmp_path)
    assert counts(faces) == {"camera1": 4, "camera2": 4}
    assert "read as one person each, though they hold only folders (2): camera1 (Ann, Bo), camera2 (Ann, Bo)" in said
    shutil.rmtree(tmp_path / "camera2")
    with pytest.raises(MetaFaceError, match=rf"of one person.*name it: folder:{tmp_path}/camera1\."):
        load(tmp_path)
    people(tmp_path / "flat", "train", "test")
    assert "called like parts of a data set (2): test, train" in load(tmp_path / "flat")[1]


def test_a_person_may_be_called_val(tmp_path: Path) -> None:
    people(tmp_path, "Val/2019", "Val/2020", "Ann")
    assert counts(load(tmp_path)[0]) == {"Ann": 2, "Val": 4}


def test_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    people(elsewhere, "Cy")
    root = tmp_path / "faces"
    people(root, "Ann", "Bo")
    (root / "Cy").symlink_to(elsewhere / "Cy")
    (root / "Dee").symlink_to("Ann")
    (root / "Eve").symlink_to("..")
    (root / "Fay").symlink_to("nothing")
    (root / "Gil").symlink_to("Gil")
    (root / "Ann" / "loop").symlink_to("..")
    (root / "Bo" / "gone.png").symlink_to("nothing.png")
    faces, said = load(root)
    assert counts(faces) == {"Ann": 2, "Bo": 2, "Cy": 2}
    assert "links back into the same folder, not followed (2): Dee, Eve" in said
    assert "links that lead nowhere (3): Fay, Gil, Bo/gone.png" in said
    assert "links to folders, not followed (1): Ann/loop" in said


def test_folders_without_permission_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for an ordinary user: root may open everything."""
    people(tmp_path, "Ann", "Bo", "Cy")
    listed, closed = os.listdir, {"Cy"}

    def listdir(path: Path) -> list[str]:
        if Path(path).name in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(module.os, "listdir", listdir)
    faces, said = load(tmp_path)
    assert counts(faces) == {"Ann": 2, "Bo": 2}
    assert "folders left out, because you may not open it (1): Cy. Give yourself permission" in said
    closed |= {"Ann", "Bo"}
    with pytest.raises(MetaFaceError, match=r"(?s)of nobody.*you may not open it \(3\): Ann, Bo, Cy"):
        load(tmp_path)


def test_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(MetaFaceError, match="is a file, not a folder"):
        load_faces(f"folder:{tmp_path / 'a.png'}")
    for path in (tmp_path / "none", tmp_path / "a.png" / "x", "~nobody-of-this-name/x"):
        with pytest.raises(MetaFaceError, match="There is no folder"):
            load_faces(f"folder:{path}")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / ("x" * 300), "a\0b"):
        with pytest.raises(MetaFaceError, match="cannot be opened"):
            load_faces(f"folder:{path}")

    def closed(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.os, "scandir", closed)
    with pytest.raises(MetaFaceError, match="may not be opened"):
        load_faces(f"folder:{tmp_path}")


def test_a_folder_of_loose_photos_is_explained(tmp_path: Path) -> None:
    for number in range(9):
        picture(tmp_path / f"{number}.jpg")
    with pytest.raises(MetaFaceError, match=r"(?s)of nobody.*in no person's folder \(9\): 0\.jpg.* and 4 more"):
        load_faces(f"folder:{tmp_path}")


def test_one_picture_each_is_in_the_report(tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo", each=1)
    faces, said = load(tmp_path)
    assert said == ""
    assert "with a single picture, too few for support and query (2): 'Ann', 'Bo'" in str(faces.reading)


def test_an_odd_file_in_a_folder(tmp_path: Path) -> None:
    people(tmp_path, "Ann", "Bo")
    os.mkfifo(tmp_path / "Ann" / "pipe.png")
    (tmp_path / "Bo" / "empty.jpg").touch()
    (tmp_path / "Bo" / "all.zip").write_bytes(b"PK\x03\x04" + b"\0" * 40)
    _, said = load(tmp_path)
    assert "it is not an ordinary file (1): Ann/pipe.png" in said
    assert "it is empty (1): Bo/empty.jpg" in said
    assert "an archive or a document (1): Bo/all.zip. Unpack" in said
