from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import FOLDERS, load_faces


def picture(file: Path) -> None:
    """One that no other file shows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(list(str(file).encode())).integers(0, 256, (24, 20), dtype=np.uint8)).save(
        file
    )


def test_extended_yale_b_reads_light_from_file_names(tmp_path: Path) -> None:
    for person in ("yaleB01", "yaleB39"):
        for light in ("A+000E+00", "A+010E+00", "A+000E-20", "A+035E+15", "A-070E+45", "A+130E+20"):
            picture(tmp_path / person / f"{person}_P00{light}.pgm")
        picture(tmp_path / person / f"{person}_P00A+000E+45.pgm.bad.pgm")
        (tmp_path / person / f"{person}_P00A+000E+90.pgm.bad").write_bytes(b"damaged")
        picture(tmp_path / person / f"{person}_P00_Ambient.pgm")
    faces = load_faces(f"extended-yale-b:{tmp_path}", size=16)
    assert (faces.shape, len(faces), faces.names) == ((1, 16, 16), 12, ("yaleB01", "yaleB39"))
    one = {name: values[faces.identity == 1] for name, values in faces.conditions.items()}
    assert sorted(one["azimuth"].tolist()) == [-70, 0, 0, 10, 35, 130]
    assert sorted(one["subset"].tolist()) == [1, 1, 2, 3, 4, 5]
    angle = one["angle"][one["azimuth"] == 35].item()
    expected = math.degrees(math.acos(math.cos(math.radians(35)) * math.cos(math.radians(15))))
    assert angle == pytest.approx(expected, abs=1e-3)


def test_a_light_at_the_limit_of_a_subset_belongs_to_it(tmp_path: Path) -> None:
    limits = {
        "A+012E+00": 1,
        "A+013E+00": 2,
        "A-025E+00": 2,
        "A+000E+50": 3,
        "A+000E-51": 4,
        "A+077E+00": 4,
        "A-078E+00": 5,
    }
    for person in ("yaleB01", "yaleB02"):
        for light in limits:
            picture(tmp_path / person / f"{person}_P00{light}.pgm")
    faces = load_faces(f"extended-yale-b:{tmp_path}", size=16)
    angle = faces.conditions["angle"].round().int().tolist()
    found = dict(zip(angle, faces.conditions["subset"].int().tolist(), strict=True))
    assert found == {12: 1, 13: 2, 25: 2, 50: 3, 51: 4, 77: 4, 78: 5}


def test_cmu_faces_read_pose_expression_and_eyes(tmp_path: Path) -> None:
    for person in ("an2i", "at33"):
        for told in ("left_angry_open", "up_sad_sunglasses"):
            picture(tmp_path / "faces" / person / f"{person}_{told}.pgm")
            picture(tmp_path / "faces" / person / f"{person}_{told}_2.pgm")  # half the resolution
        (tmp_path / "faces" / person / f"{person}_left_sad_open.bad").write_bytes(b"damaged")
    faces = load_faces(f"cmu:{tmp_path}", size=16)
    assert len(faces) == 4
    assert faces.levels == {"pose": ("left", "up"), "expression": ("angry", "sad"), "eyes": ("open", "sunglasses")}
    assert faces.where(pose="up").equal(faces.where(eyes="sunglasses"))


def test_cufs_joins_photo_and_sketch_of_one_person(tmp_path: Path) -> None:
    for photo, sketch in (("m-016-01", "M2-016-01-sz1"), ("m-039-01", "m-039-01-sz1")):
        picture(tmp_path / "Training photo" / f"{photo}.jpg")
        picture(tmp_path / "Training sketch" / f"{sketch}.jpg")
    picture(tmp_path / "Testing photo" / "m1-016-01.jpg")
    picture(tmp_path / "Testing sketch" / "m1-016-01-sz1.jpg")
    faces = load_faces(f"cufs:{tmp_path}", size=16)
    assert faces.names == ("m-016", "m-039", "m1-016")
    for domain in ("photo", "sketch"):
        assert faces.identity[faces.where(domain=domain)].tolist() == [0, 1, 2]
    with pytest.raises(MetaFaceError, match=r"2 \+ 1 images .* only 0 of the 3 people .* widen the conditions"):
        EpisodeSampler(faces, 2, 2, 1, support_where={"domain": "photo"}, query_where={"domain": "sketch"})
    with pytest.raises(MetaFaceError, match="oil"):
        EpisodeSampler(faces, 2, 1, 1, support_where={"domain": "oil"})


@pytest.mark.parametrize("kind", [kind for kind in FOLDERS if kind not in ("folder", "mapped")])
def test_what_is_missing_is_said(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MetaFaceError, match="no folder"):
        load_faces(f"{kind}:{tmp_path / 'nowhere'}")
    picture(tmp_path / "Ann" / "photo.jpg")
    with pytest.raises(MetaFaceError, match=f"nobody in the layout of '{kind}'.*Expected"):
        load_faces(f"{kind}:{tmp_path}")
    with pytest.raises(MetaFaceError, match="needs the path"):
        load_faces(f"{kind}:")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for person in ("an2i", "at33"):
        picture(tmp_path / person / f"{person}_left_sad_open.pgm")
    (tmp_path / "an2i" / "an2i_up_sad_open.pgm").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"(?s)2 pictures of 2 people were read.*skipped.*an2i/an2i_up_sad_open\.pgm"):
        assert len(load_faces(f"cmu:{tmp_path}")) == 2


def test_what_is_not_read_is_reported(tmp_path: Path) -> None:
    """Doubles, copies of programs and odd names are left out, and named."""
    for person in ("an2i", "at33"):
        for pose in ("left", "up"):
            picture(tmp_path / person / f"{person}_{pose}_sad_open.pgm")
    picture(tmp_path / "an2i" / "AN2I_RIGHT_SAD_OPEN.PGM")
    picture(tmp_path / "an2i" / ".ipynb_checkpoints" / "an2i_left_sad_sunglasses.pgm")
    picture(tmp_path / "an2i" / "an2i_left_sad_open (1).pgm")
    shutil.copy(tmp_path / "an2i" / "an2i_up_sad_open.pgm", tmp_path / "an2i" / "an2i_up_happy_open.pgm")
    shutil.copy(tmp_path / "an2i" / "an2i_left_sad_open.pgm", tmp_path / "at33" / "at33_straight_sad_open.pgm")
    with pytest.warns(UserWarning, match="pictures of 2 people were read") as caught:
        faces = load_faces(f"cmu:{tmp_path}")
    said = str(caught[0].message)
    assert torch.bincount(faces.identity).tolist() == [2, 2]
    assert faces.names == ("an2i", "at33")
    assert "hidden and system folders left out (1): an2i/.ipynb_checkpoints" in said
    assert "not called as in this set, left out (1): an2i/an2i_left_sad_open (1).pgm" in said
    assert "'an2i/an2i_up_happy_open.pgm' = 'an2i/an2i_up_sad_open.pgm'" in said
    assert "left out of all (1): 'an2i/an2i_left_sad_open.pgm' = 'at33/at33_straight_sad_open.pgm'" in said


def test_the_sets_as_their_makers_give_them_out(shared_faces: Path) -> None:
    yale = load_faces(f"extended-yale-b:{shared_faces / 'extended_yale_b'}")
    counts = torch.bincount(yale.identity)
    assert (len(counts), yale.shape) == (28, (1, 48, 48))
    assert 59 <= int(counts.min()) <= int(counts.max()) <= 64
    assert [int((yale.identity[yale.where(subset=n)] == 0).sum()) for n in range(1, 6)] == [7, 12, 10, 16, 19]
    cmu = load_faces(f"cmu:{shared_faces / 'cmu_faces'}")
    assert (len(cmu.identities), cmu.shape) == (20, (1, 64, 64))
    cufs = load_faces(f"cufs:{shared_faces / 'cufs_student'}")
    assert (len(cufs), len(cufs.identities)) == (376, 188)
    for domain in ("photo", "sketch"):
        assert cufs.identity[cufs.where(domain=domain)].equal(torch.arange(188))
