"""Enrolling people by photos, finding them again, refusing strangers; with LFW's pictures where they are."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metaface_lessons import cli
from metaface_lessons.enrolment import Gallery, _doubts, enrol, threshold_among
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.photos import find_face
from metaface_lessons.learners.baselines import FixedFeatures
from metaface_lessons.verification import Comparer
from tests.helpers import random_faces


def pixels(shape: tuple[int, int, int]) -> Comparer:
    return Comparer(FixedFeatures(lambda x: x.float().flatten(1).numpy() / 255), shape, "squared")


# ------------------------------------------------------------------------------------------------------------ a gallery


def test_a_gallery_names_its_people_and_refuses_others_at_the_stated_rate() -> None:
    faces = random_faces(people=120, each=8)
    method = pixels(faces.shape)
    gallery = Gallery(method)
    for person in range(5):
        gallery.enrol(f"p{person}", method.embed(faces.images[faces.identity == person][:3]), "2026-01-01")
    gallery.set_threshold(faces.of(torch.arange(5, 60)), far=0.05)
    known = [gallery.identify(p)[0] for p in method.embed(faces.images[:40])]
    assert sum(name == f"p{i // 8}" for i, name in enumerate(known)) > 24
    strangers = [gallery.identify(p)[0] for p in method.embed(faces.of(torch.arange(60, 120)).images)]
    assert 0.0 <= sum(name is not None for name in strangers) / len(strangers) < 0.12


def test_the_threshold_rises_with_the_gallery_and_keeps_its_rate() -> None:
    faces = random_faces(people=60, each=4)
    method = pixels(faces.shape)
    one, ten = (threshold_among(method, faces, [1] * n, far=0.05) for n in (1, 10))
    assert ten > one
    points = method.embed(faces.images)
    scores = method.scores(points, points)
    impostor = scores[faces.identity[:, None] != faces.identity]
    assert (impostor >= one).float().mean() == pytest.approx(0.05, abs=0.02)
    with pytest.raises(MetaFaceError, match="has 60"):
        threshold_among(method, faces, [1] * 60)
    with pytest.warns(UserWarning, match="3000 strangers drawn: too few"):
        threshold_among(method, faces, [1], far=0.001)
    with pytest.raises(MetaFaceError, match="between 0 and 1"):
        threshold_among(method, faces, [1], far=0)


def test_people_with_unlike_numbers_of_photos_keep_the_rate_too() -> None:
    faces = random_faces(people=120, each=8)
    method = pixels(faces.shape)
    gallery = Gallery(method)
    for person, photos_of in enumerate((6, 6, 6, 6, 1)):
        gallery.enrol(f"p{person}", method.embed(faces.images[faces.identity == person][:photos_of]), "2026-01-01")
    gallery.set_threshold(faces.of(torch.arange(5, 60)), far=0.05)
    strangers = method.embed(faces.of(torch.arange(60, 120)).images)
    assert sum(gallery.identify(p)[0] is not None for p in strangers) / len(strangers) < 0.12
    others = faces.of(torch.arange(5, 120))  # a mean of six photos is nearer to everybody than one photo
    assert gallery.threshold > threshold_among(method, others, [1] * 5, far=0.05)


def test_nobody_is_enrolled_without_a_name_or_consent_and_an_empty_gallery_knows_nobody() -> None:
    gallery = Gallery(pixels((1, 4, 4)))
    with pytest.raises(MetaFaceError, match="needs a name"):
        gallery.enrol(" ", torch.ones(1, 16), "2026-01-01")
    with pytest.raises(MetaFaceError, match="has not agreed"):
        gallery.enrol("Ada", torch.ones(1, 16), "")
    with pytest.raises(MetaFaceError, match="gallery is empty"):
        gallery.identify(torch.ones(16))


# ------------------------------------------------------------------------------------------------------- by the command


@pytest.fixture
def run(sklearn_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short training on LFW: its accuracy means little, but every step of the way runs."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))
    small = ["--ways", "5", "--queries", "2", "--width", "16", "--steps", "30", "--quiet"]
    assert cli.main(["train", "protonet", "--faces", "lfw", *small, "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


@pytest.mark.filterwarnings("default:.*photo")  # a network of 30 steps has its doubts
def test_enrol_identify_forget(
    run: Path,
    lfw_photos: dict[str, list[Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "gallery.json"
    seen = {name: [photo for photo in files if _has_face(photo)] for name, files in lfw_photos.items()}
    hers, his, _ = seen.values()
    command = ["enrol", str(hers[0]), str(hers[1]), "--name", "Ada", "--run", str(run), "--gallery", str(file)]

    monkeypatch.setattr("builtins.input", lambda: pytest.fail("asked for what could not be done"))
    for broken, message in (
        (["enrol", str(tmp_path / "none.jpg"), *command[2:]], "There is no photo"),
        ([*command, "--name", " "], "needs a name"),
        ([*command, "--run", str(tmp_path / "none")], "metaface train"),
    ):
        assert cli.main(broken) == 1
        assert message in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda: "no")
    assert cli.main(command) == 1
    assert "Ask Ada" in capsys.readouterr().err
    assert not file.exists()
    asked: list[bool] = []
    monkeypatch.setattr("builtins.input", lambda: asked.append(True) or "yes")
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert "Has Ada, whose face this is, agreed" in err  # what a program reads is the answer alone
    assert "Photos: 2, new: 2. People in the gallery: 1" in out
    assert cli.main(command) == 0  # the same photos once more
    assert "Photos: 2, new: 0" in capsys.readouterr().out
    del asked[1:]
    assert (
        cli.main(["enrol", str(his[0]), "--name", "Ben", "--run", str(run), "--gallery", str(file), "--consent"]) == 0
    )
    assert len(asked) == 1  # --consent says it
    strict = json.loads(file.read_text())["threshold"]
    lax = [
        "enrol",
        str(his[1]),
        "--name",
        "Ben",
        "--run",
        str(run),
        "--gallery",
        str(file),
        "--consent",
        "--far",
        "0.2",
    ]
    assert cli.main(lax) == 0
    assert "20% of strangers" in capsys.readouterr().out
    assert cli.main(["enrol", str(his[1]), "--name", "Ben", "--gallery", str(file), "--consent"]) == 0
    assert "20% of strangers" in capsys.readouterr().out  # run and FAR are the gallery's
    assert json.loads(file.read_text())["threshold"] < strict
    stored = json.loads(file.read_text())
    assert {name: len(entry["embeddings"]) for name, entry in stored["people"].items()} == {"Ada": 2, "Ben": 2}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    capsys.readouterr()
    assert cli.main(["gallery", "--gallery", str(file), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["people"]
    assert [(row["name"], row["photos"]) for row in listed] == [("Ada", 2), ("Ben", 2)]
    assert cli.main(["gallery", "--gallery", str(file)]) == 0
    assert "Ada  photos: 2, agreed on 20" in capsys.readouterr().out
    assert cli.main(["identify", str(hers[0]), "--gallery", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["people"] == 2
    assert found["name"] == "Ada"  # one of the very photos
    stored["threshold"] = 1.0  # scores are never above 0
    file.write_text(json.dumps(stored))
    assert cli.main(["identify", str(hers[0]), "--gallery", str(file)]) == 0
    assert "Nobody in the gallery" in capsys.readouterr().out

    assert cli.main(["forget", "ada", "--gallery", str(file)]) == 1
    assert "Did you mean 'Ada'" in capsys.readouterr().err
    assert cli.main(["forget", "Ada", "--gallery", str(file)]) == 0
    assert "Ada" not in file.read_text()
    assert json.loads(file.read_text())["threshold"] < 0  # measured again for those who are left
    assert cli.main(["forget", "Ben", "--gallery", str(file)]) == 0
    assert not file.exists()
    assert cli.main(["identify", str(hers[0]), "--gallery", str(file)]) == 1
    assert "There is no gallery" in capsys.readouterr().err


def test_all_are_forgotten_even_out_of_a_damaged_gallery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gallery.json"
    file.write_text('{"run": "ru')
    assert cli.main(["forget", "--gallery", str(file)]) == 1
    assert cli.main(["forget", "Ada", "--all", "--gallery", str(file)]) == 1
    assert capsys.readouterr().err.count("a NAME, or --all") == 2
    assert cli.main(["forget", "Ada", "--gallery", str(file)]) == 1
    assert f"metaface forget --all --gallery {file}" in capsys.readouterr().err
    assert cli.main(["forget", "--all", "--gallery", str(file)]) == 0
    assert not file.exists()
    assert cli.main(["forget", "--all", "--gallery", str(file)]) == 1


def test_what_is_no_gallery_is_not_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Ada")
    assert cli.main(["forget", "--all", "--gallery", str(letter)]) == 1
    assert "was not deleted" in capsys.readouterr().err
    assert letter.read_text() == "Dear Ada"
    for command in (["forget", "--all"], ["gallery"], ["identify", "a.jpg"], ["enrol", "a.jpg", "--name", "Ada"]):
        assert cli.main([*command, "--gallery", str(tmp_path)]) == 1
        assert "Name" in capsys.readouterr().err  # which file


def test_names_that_read_alike_are_one_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery, point = Gallery(pixels((1, 4, 4))), torch.rand(1, 16)
    for name in ("José  Pérez", " Jose\u0301 Pe\u0301rez "):
        gallery.enrol(name, point, "2026-01-01")
    assert list(gallery.embeddings) == ["José Pérez"]
    with pytest.raises(MetaFaceError, match="cannot be printed"):
        gallery.enrol("\x1b[31mAda", point, "2026-01-01")
    file = tmp_path / "gallery.json"
    people = {"José Pérez": {"consent": "2026-01-01", "embeddings": [[0.0]]}}
    file.write_text(json.dumps({"run": "none", "weights": "", "far": 0.01, "threshold": -1, "people": people}))
    assert cli.main(["enrol", "a.jpg", "--name", "josé pérez", "--gallery", str(file)]) == 1
    assert "'José Pérez' is enrolled already" in capsys.readouterr().err
    assert cli.main(["forget", "Jose\u0301 Pe\u0301rez", "--gallery", str(file)]) == 0
    assert not file.exists()


def test_photos_of_somebody_else_are_doubted() -> None:
    faces = random_faces(people=40, each=8)
    method = pixels(faces.shape)
    strangers = faces.of(torch.arange(5, 40))
    points = method.embed(faces.images).view(40, 8, -1)
    gallery = Gallery(method)

    def doubts(name: str, photos: torch.Tensor) -> list[str]:
        gallery.enrol(name, photos, "2026-01-01")
        gallery.set_threshold(strangers, far=0.05)
        return _doubts(gallery, name, {f"{i}.jpg": point for i, point in enumerate(photos)}, strangers)

    assert doubts("Ada", points[0, :4]) == []
    assert doubts("Ada", points[0, :2]) == []  # the same again
    unlike = (points[2:, 0] - points[1, :4].mean(dim=0)).norm(dim=1).argmax() + 2
    mixed = doubts("Ben", torch.cat([points[1, :4], points[unlike, :1]]))
    assert len(mixed) == 2
    assert mixed[0].startswith("4.jpg looks less like the other photos of Ben than 30%")
    assert "metaface forget" in mixed[1]
    assert "0.jpg looks more like Ada" in doubts("Twin", points[0, 4:5])[0]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_that_cannot_write_a_name_or_closes_is_no_crash(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "gallery.json"
    people = {"José": {"consent": "2026-01-01", "embeddings": [[0.0]]}}
    file.write_text(json.dumps({"run": "none", "weights": "", "far": 0.01, "threshold": -1, "people": people}))
    command = [sys.executable, "-m", "metaface_lessons.cli", "gallery", "--gallery", str(file)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert {"ascii": b"Jos\\xe9", "utf-8": "José".encode()}[encoding] in done.stdout
    read, write = os.pipe()
    os.close(read)  # the reader is gone before a line is written
    gone = subprocess.run(command, env=environment, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (gone.returncode, gone.stderr) == (1, b"")


def _has_face(photo: Path) -> bool:
    try:
        find_face(photo)
    except MetaFaceError:
        return False
    return True


def test_a_network_of_generated_faces_is_warned_of(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    small = ["--ways", "5", "--queries", "2", "--width", "8", "--steps", "1", "--quiet"]
    assert cli.main(["train", "protonet", "--faces", "procedural", *small, "--out", out]) == 0
    with pytest.warns(UserWarning, match="trained on generated faces"), pytest.raises(MetaFaceError, match="no photo"):
        enrol([tmp_path / "none.jpg"], "Ada", Path(out), tmp_path / "gallery.json", lambda: True)


def test_a_gallery_of_another_network_or_a_damaged_one_is_refused(
    run: Path, lfw_photos: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gallery.json"
    photo = next(photo for files in lfw_photos.values() for photo in files if _has_face(photo))
    command = ["enrol", str(photo), "--name", "Ada", "--run", str(run), "--gallery", str(file), "--consent"]
    assert cli.main(command) == 0
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(stored | {"weights": "others", "run": "/elsewhere"}))
    assert cli.main(command) == 1
    assert "of another network" in capsys.readouterr().err
    file.write_text(json.dumps(stored | {"weights": "others"}))
    assert cli.main(command) == 1
    assert "trained on since" in capsys.readouterr().err
    assert cli.main(["identify", str(photo), "--gallery", str(file)]) == 1
    assert "trained on since" in capsys.readouterr().err
    file.write_text("{")
    assert cli.main(["identify", str(photo), "--gallery", str(file)]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert cli.main(["enrol", str(photo), "--name", "Ada", "--run", str(tmp_path / "none"), "--consent"]) == 1
    assert "metaface train" in capsys.readouterr().err


def test_a_gallery_is_of_the_weights_not_of_the_file(
    run: Path, lfw_photos: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gallery.json"
    photo = next(photo for files in lfw_photos.values() for photo in files if _has_face(photo))
    assert cli.main(["enrol", str(photo), "--name", "Ada", "--run", str(run), "--gallery", str(file), "--consent"]) == 0
    settings = ["--ways", "5", "--queries", "2", "--width", "16", "--quiet", "--out", str(run)]
    train = ["train", "protonet", "--faces", "lfw", *settings]
    before = (run / "checkpoint.pt").read_bytes()
    assert cli.main([*train, "--steps", "30"]) == 0  # nothing to do, but its clock went on
    assert (run / "checkpoint.pt").read_bytes() != before
    assert cli.main(["identify", str(photo), "--gallery", str(file)]) == 0
    assert cli.main([*train, "--steps", "31"]) == 0
    capsys.readouterr()
    assert cli.main(["identify", str(photo), "--gallery", str(file)]) == 1
    assert "trained on since" in capsys.readouterr().err
