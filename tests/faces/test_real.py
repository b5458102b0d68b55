from __future__ import annotations

import errno
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces


def picture(file: Path, width: int = 40, height: int = 50, mode: str = "RGB", seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file)


def test_olivetti(sklearn_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))
    faces = load_faces("olivetti")
    assert (len(faces), len(faces.identities), faces.shape, faces.synthetic) == (400, 40, (1, 64, 64), False)
    assert faces.images.float().std() > 20


def test_lfw(sklearn_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))
    faces = load_faces("lfw")
    counts = torch.bincount(faces.identity)
    assert counts.min() >= 5
    assert len(faces.names) == len(counts)
    assert faces.shape[1] == faces.shape[2]
    assert 20 < faces.images.float().std() < 100


def test_a_folder_of_mixed_sizes_kinds_and_broken_files(tmp_path: Path) -> None:
    picture(tmp_path / "Ann" / "a.jpg", 80, 40)
    picture(tmp_path / "Ann" / "deeper" / "b.PNG", 30, 90, "RGBA")
    picture(tmp_path / "Bo" / "c.pgm", 64, 64, "L")
    picture(tmp_path / "Bo" / "d.gif", 20, 20, "P")
    (tmp_path / "Bo" / "broken.jpg").write_bytes(b"\xff\xd8no picture")
    whole = (tmp_path / "Ann" / "a.jpg").read_bytes()
    (tmp_path / "Bo" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "Ann" / "phone.HEIC").write_bytes(b"another format")
    picture(tmp_path / "loose.png")
    (tmp_path / "Bo" / "notes.txt").write_text("not an image")
    (tmp_path / "Empty").mkdir()
    with pytest.warns(UserWarning, match="pictures of 2 people were read") as caught:
        faces = load_faces(f"folder:{tmp_path}")
    (warning,) = caught
    assert "4 pictures of 2 people were read" in str(warning.message)
    for said in (
        "in no person's folder (1): loose.png",
        "skipped, because it is a HEIC picture, as phones take them (1): Ann/phone.HEIC. Save it as jpg",
        "or not a picture of a kind that can be read (1): Bo/broken.jpg",
        "skipped, because it is cut off before its end (1): Bo/cut.jpg",
        "people without a picture that can be read (1): 'Empty'",
    ):
        assert said in str(warning.message)
        assert said in str(faces.reading)
    assert "not pictures (1): Bo/notes.txt" in str(faces.reading)
    assert "notes.txt" not in str(warning.message)
    assert (faces.shape, faces.identity.tolist(), faces.names) == ((3, 64, 64), [0, 0, 1, 1], ("Ann", "Bo"))


def test_a_folder_image_keeps_its_proportions(tmp_path: Path) -> None:
    """A grey ramp over a wide picture is cut at both sides, not squeezed."""
    ramp = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (100, 1))
    for name, width in (("Ann", 200), ("Bo", 100)):
        (tmp_path / name).mkdir()
        Image.fromarray(ramp[:, :width]).save(tmp_path / name / "ramp.png")
    row = load_faces(f"folder:{tmp_path}").images[0, 0, 32].float()
    assert 60 < row[0] < 70
    assert 186 < row[-1] < 196


def test_a_photo_stored_lying_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 100).astype(np.uint8)[:, None], (1, 100))  # dark on top, bright below
    turned = Image.Exif()
    turned[0x0112] = 6  # "turn by 90 degrees clockwise to see it upright", as a phone writes it
    for name, rows in (("Ann", 100), ("Bo", 50)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.rot90(ramp[:rows])).save(tmp_path / name / "a.jpg", exif=turned)
    column = load_faces(f"folder:{tmp_path}").images[0, 0, :, 32].float()
    assert column[0] < 10
    assert column[-1] > 245


def test_sixteen_bits_come_out_as_eight(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 100).astype(np.uint16), (100, 1))
    for name, suffix, rows in (("Ann", "png", 100), ("Bo", "pgm", 101)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.resize(ramp, (rows, 100))).save(tmp_path / name / f"a.{suffix}")
    for image in load_faces(f"folder:{tmp_path}").images:
        row = image[0, 32].float()
        assert row[0] < 5
        assert 120 < row[32] < 136
        assert row[-1] > 250


def test_folders_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(MetaFaceError, match="no folder"):
        load_faces(f"folder:{tmp_path / 'none'}")
    with pytest.raises(MetaFaceError, match=r"of nobody.*one sub-folder per person"):
        load_faces(f"folder:{tmp_path}")
    picture(tmp_path / "Ann" / "a.jpg")
    with pytest.raises(MetaFaceError, match="of one person"):
        load_faces(f"folder:{tmp_path}")
    (tmp_path / "Bo").mkdir()
    (tmp_path / "Bo" / "b.jpg").write_bytes(b"broken")
    with pytest.raises(MetaFaceError, match=r"(?s)of one person.*skipped.*Bo/b\.jpg.*without a picture.*'Bo'"):
        load_faces(f"folder:{tmp_path}")
    with pytest.raises(MetaFaceError, match="needs the path"):
        load_faces("folder:")


@pytest.mark.parametrize(("name", "fetcher"), [("olivetti", "fetch_olivetti_faces"), ("lfw", "fetch_lfw_people")])
def test_without_network_and_cache_the_error_says_what_to_run(
    name: str, fetcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(**_: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(f"sklearn.datasets.{fetcher}", offline)
    with pytest.raises(MetaFaceError, match=rf"no route to host.*metaface faces {name}.*SCIKIT_LEARN_DATA"):
        load_faces(name)


def test_data_that_only_their_owner_may_write_are_read_through_links(
    sklearn_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.datasets import fetch_lfw_people

    def only_where_it_may_write(data_home: Path, **options: object) -> object:
        if data_home == sklearn_data:
            raise OSError(errno.EROFS, "Read-only file system", "joblib")
        return fetch_lfw_people(data_home=data_home, download_if_missing=False, **options)

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))
    monkeypatch.setenv("METAFACE_CACHE", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets.fetch_lfw_people", only_where_it_may_write)
    for _ in range(2):  # the links are there already the second time
        assert len(load_faces("lfw").identities) > 100
