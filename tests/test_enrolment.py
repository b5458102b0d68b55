"""Enrolling people by photos, finding them again, refusing strangers; with LFW's pictures where they are."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from metaface_lessons import cli, enrolment
from metaface_lessons.enrolment import (
    Gallery,
    _doubts,
    enrol,
    forget,
    forget_all,
    identify,
    people,
    threshold_among,
)
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.photos import Photo, find_face
from metaface_lessons.learners.baselines import FixedFeatures
from metaface_lessons.paths import COURSE, locked
from metaface_lessons.verification import Comparer, fitted
from tests.helpers import printed, random_faces, train_run


def pixels(shape: tuple[int, int, int]) -> Comparer:
    return Comparer(FixedFeatures(lambda x: x.float().flatten(1).numpy() / 255), shape, "squared")


# ------------------------------------------------------------------------------------------------------------ a gallery


def test_a_gallery_names_its_people_and_refuses_others_at_the_stated_rate() -> None:
    faces = random_faces(people=120, each=8)
    method = pixels(faces.shape)
    gallery = Gallery(method)
    for person in range(5):
        gallery.enrol(f"p{person}", method.embed(faces.images[faces.identity == person][:3]), "2026-01-01")
    gallery.set_threshold(faces.of(torch.arange(5, 60)), fpir=0.05)
    known = [gallery.identify(p)[0] for p in method.embed(faces.images[:40])]
    assert sum(name == f"p{i // 8}" for i, name in enumerate(known)) > 24
    strangers = [gallery.identify(p)[0] for p in method.embed(faces.of(torch.arange(60, 120)).images)]
    assert 0.0 <= sum(name is not None for name in strangers) / len(strangers) < 0.12


def test_the_threshold_rises_with_the_gallery_and_keeps_its_rate() -> None:
    faces = random_faces(people=60, each=4)
    method = pixels(faces.shape)
    one, ten = (threshold_among(method, faces, [1] * n, fpir=0.05) for n in (1, 10))
    assert ten > one
    points = method.embed(faces.images)
    scores = method.scores(points, points)
    impostor = scores[faces.identity[:, None] != faces.identity]
    assert (impostor >= one).float().mean() == pytest.approx(0.05, abs=0.02)
    with pytest.raises(MetaFaceError, match="has 60"):
        threshold_among(method, faces, [1] * 60)
    with pytest.warns(UserWarning, match="3000 strangers drawn: too few"):
        threshold_among(method, faces, [1], fpir=0.001)
    with pytest.raises(MetaFaceError, match="between 0 and 1"):
        threshold_among(method, faces, [1], fpir=0)


def test_people_with_unlike_numbers_of_photos_keep_the_rate_too() -> None:
    faces = random_faces(people=120, each=8)
    method = pixels(faces.shape)
    gallery = Gallery(method)
    for person, photos_of in enumerate((6, 6, 6, 6, 1)):
        gallery.enrol(f"p{person}", method.embed(faces.images[faces.identity == person][:photos_of]), "2026-01-01")
    gallery.set_threshold(faces.of(torch.arange(5, 60)), fpir=0.05)
    strangers = method.embed(faces.of(torch.arange(60, 120)).images)
    assert sum(gallery.identify(p)[0] is not None for p in strangers) / len(strangers) < 0.12
    others = faces.of(torch.arange(5, 120))  # a mean of six photos is nearer to everybody than one photo
    assert gallery.threshold > threshold_among(method, others, [1] * 5, fpir=0.05)


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
        "--fpir",
        "0.2",
    ]
    assert cli.main(lax) == 0
    assert "20% of strangers" in capsys.readouterr().out
    assert cli.main(["enrol", str(his[1]), "--name", "Ben", "--gallery", str(file), "--consent"]) == 0
    assert "20% of strangers" in capsys.readouterr().out  # run and FPIR are the gallery's
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
    assert "Nobody who is enrolled." in capsys.readouterr().out

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
    with pytest.raises(MetaFaceError, match="invisible character at place 1"):
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
        gallery.set_threshold(strangers, fpir=0.05)
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


# ------------------------------------------------------------------------------------------- two at once, odd galleries


@pytest.fixture(scope="module")
def quick(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step on made-up photos."""
    run = tmp_path_factory.mktemp("runs") / "quick"
    assert train_run(photos, run, "--steps", "1") == 0
    return run


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Lets a face be found in every photo but those named here, each with its problem."""
    problems: dict[str, str] = {}
    faces = random_faces(people=40, each=2, size=64, channels=3, seed=5).images

    def read(files: Sequence[Path], size: int) -> list[Photo]:
        return [
            Photo(file, problem=problems[file.name], not_acquired="face" in problems[file.name])
            if file.name in problems
            else Photo(file, fitted(faces[int(file.stem) :][:1], (3, size, size))[0], certain=file.stem != UNCERTAIN)
            for file in files
        ]

    monkeypatch.setattr(enrolment, "faces_of", read)
    return problems


UNCERTAIN = "77"  # the photo in which what was found may not be a face


@pytest.mark.filterwarnings("default:.*(photo|looks)")
def test_what_may_not_be_a_face_is_said_before_the_question(
    quick: Path, found: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, blurred = tmp_path / "gallery.json", photo(tmp_path, int(UNCERTAIN))
    said: list[str] = []

    def agreed() -> bool:
        said.extend(str(warning.message) for warning in seen)
        return True

    with warnings.catch_warnings(record=True) as seen:
        report = enrol([photo(tmp_path, 0), blurred], "Ada", quick, file, agreed)
    (message,) = (message for message in said if "77.jpg" in message)
    assert "what was found may not be a face" in message
    assert message.endswith("If it does not, enrol without it.")
    assert report["uncertain"] == [str(blurred)]
    with pytest.warns(UserWarning, match="77.jpg: what was found may not be a face"):
        identify(blurred, file)


def photo(folder: Path, number: int) -> Path:
    file = folder / f"{number}.jpg"
    file.touch()
    return file


@pytest.mark.filterwarnings("default:.*(photo|looks)")
def test_who_is_forgotten_during_the_question_does_not_come_back(
    quick: Path, found: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "gallery.json"
    for number, name in enumerate(("Ada", "Di")):
        enrol([photo(tmp_path, 2 * number), photo(tmp_path, 2 * number + 1)], name, quick, file, lambda: True)
    adas = json.loads(file.read_text())["people"]["Ada"]["embeddings"]

    def meanwhile() -> bool:
        assert forget("Ada", file) == 1
        enrol([photo(tmp_path, 9)], "Cy", quick, file, lambda: True)
        return True

    assert enrol([photo(tmp_path, 4)], "Bo", quick, file, meanwhile)["people"] == 3
    assert {row["name"] for row in people(file)} == {"Bo", "Cy", "Di"}
    assert "Ada" not in file.read_text()
    assert str(max(adas[0])) not in file.read_text()

    def everybody() -> bool:
        forget_all(file)
        return True

    assert enrol([photo(tmp_path, 6)], "Eve", quick, file, everybody)["people"] == 1
    with pytest.raises(MetaFaceError, match="'Eve' is enrolled already"):
        enrol([photo(tmp_path, 6)], "eve", quick, file, lambda: True)

    def namesake() -> bool:
        enrol([photo(tmp_path, 8)], "BO", quick, file, lambda: True)
        return True

    with pytest.raises(MetaFaceError, match="'BO' is enrolled already"):
        enrol([photo(tmp_path, 4)], "Bo", quick, file, namesake)


def test_nobody_stays_whom_two_commands_forget_at_once(tmp_path: Path) -> None:
    file = tmp_path / "gallery.json"
    points = torch.zeros(20, 50).tolist()
    file.write_text(json.dumps(gallery_of({f"p{i}": ADA | {"embeddings": points} for i in range(82)})))
    script = (
        "import sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from pathlib import Path\n"
        "from metaface_lessons.enrolment import forget\n"
        "print('ready', flush=True)\n"
        "input()\n"
        "for i in range(int(sys.argv[2]), 80, 2): forget(f'p{i}', Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(file)]
    pipe = subprocess.PIPE
    both = [subprocess.Popen([*command, str(n)], cwd=COURSE, stdin=pipe, stdout=pipe, text=True) for n in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert [row["name"] for row in people(file)] == ["p80", "p81"]


def gallery_of(people: Any, **more: Any) -> dict[str, Any]:
    return {"run": "none", "weights": "", "far": 0.01, "threshold": -1, "people": people} | more


def test_a_gallery_in_use_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(enrolment, "_PATIENCE", 0.1)
    file = tmp_path / "gallery.json"
    text = json.dumps(gallery_of({"Ada": {"consent": "2026-01-01", "embeddings": [[0.0]]}}))
    file.write_text(text)
    with locked(file, "metaface enrol Bo", ""):
        for command in (["forget", "Ada"], ["forget", "--all"]):
            assert cli.main([*command, "--gallery", str(file)]) == 1
            assert f"in use: metaface enrol Bo (process {os.getpid()}" in capsys.readouterr().err
        assert file.read_text() == text
        assert cli.main(["gallery", "--gallery", str(file)]) == 0  # reading needs no lock


ADA = {"consent": "2026-01-01", "embeddings": [[0.0, 1.0]]}
ODD = {
    "a list": [],
    "a number": 7,
    "null": None,
    "people in a list": gallery_of([]),
    "a person in a list": gallery_of({"Ada": [[0.0]]}),
    "no consent": gallery_of({"Ada": {"embeddings": [[0.0]]}}),
    "consent of another type": gallery_of({"Ada": ADA | {"consent": 1}}),
    "NaN": gallery_of({"Ada": ADA | {"embeddings": [[float("nan"), 0.0]]}}),
    "infinity": gallery_of({"Ada": ADA | {"embeddings": [[float("inf"), 0.0]]}}),
    "too large": gallery_of({"Ada": ADA | {"embeddings": [[1e300, 0.0]]}}),
    "whole and too large": gallery_of({"Ada": ADA | {"embeddings": [[10**400]]}}),
    "no rows": gallery_of({"Ada": ADA | {"embeddings": []}}),
    "empty rows": gallery_of({"Ada": ADA | {"embeddings": [[]]}}),
    "one row": gallery_of({"Ada": ADA | {"embeddings": [0.0, 1.0]}}),
    "ragged": gallery_of({"Ada": ADA | {"embeddings": [[0.0], [0.0, 1.0]]}}),
    "texts": gallery_of({"Ada": ADA | {"embeddings": [["x"]]}}),
    "nothing": gallery_of({"Ada": ADA | {"embeddings": None}}),
    "unlike lengths": gallery_of({"Ada": ADA, "Bo": ADA | {"embeddings": [[0.0]]}}),
    "threshold": gallery_of({"Ada": ADA}, threshold=float("nan")),
    "far": gallery_of({"Ada": ADA}, far=[0.1]),
    "far out of range": gallery_of({"Ada": ADA}, far=2),
    "run": gallery_of({"Ada": ADA}, run=["r"]),
    "weights": gallery_of({"Ada": ADA}, weights=None),
}


@pytest.mark.parametrize(
    "text", [*map(json.dumps, ODD.values()), "[" * 100_000, "\0", '{"people":'], ids=[*ODD, *"abc"]
)
def test_an_odd_gallery_is_refused_in_words(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gallery.json"
    file.write_text(text)
    for command in (["gallery"], ["identify", "a.jpg"], ["enrol", "a.jpg", "--name", "Bo"], ["forget", "Ada"]):
        assert cli.main([*command, "--gallery", str(file)]) == 1
        shown = capsys.readouterr().err
        assert f"{file} is damaged, or is not a gallery: " in shown
        assert "Put a copy back" in shown
        assert "Traceback" not in shown


def test_a_huge_gallery_or_a_pipe_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gallery.json"
    with file.open("wb") as huge:
        huge.write(b'{"run":')
        huge.truncate(2**40)
    assert cli.main(["gallery", "--gallery", str(file)]) == 1
    assert "it has 1048576 MB, and a gallery has at most 128" in capsys.readouterr().err
    assert cli.main(["forget", "--all", "--gallery", str(file)]) == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for command in (["gallery"], ["forget", "--all"], ["enrol", "a.jpg", "--name", "Bo"]):
        assert cli.main([*command, "--gallery", str(pipe)]) == 1
        assert "neither a file nor a folder" in capsys.readouterr().err


@pytest.mark.filterwarnings("default:.*threshold is still")
def test_names_of_a_hostile_gallery_are_shown_and_can_be_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gallery.json"
    names = ["\x1b[31mAda\x07", "Bo\u202egnp.", "Cy\nDi", "علی\u200cرضا"]
    file.write_text(json.dumps(gallery_of({name: ADA | {"consent": "2026\x1b"} for name in names})))
    assert cli.main(["gallery", "--gallery", str(file)]) == 0
    shown = capsys.readouterr().out
    assert all(c not in shown for c in "\x1b\x07\u202e")
    assert len(shown.splitlines()) == 5
    assert "\\x1b[31mAda\\x07" in shown
    assert "علی\u200cرضا" in shown
    assert cli.main(["forget", "Nobody", "--gallery", str(file)]) == 1
    assert all(c not in capsys.readouterr().err for c in "\x1b\x07\u202e")
    for name in ("\\x1b[31mAda\\x07", "Bo\u202egnp.", "Cy\\nDi", "علی\u200cرضا"):
        assert cli.main(["forget", name, "--gallery", str(file)]) == 0
        assert "\u202e" not in capsys.readouterr().out
    assert not file.exists()


@pytest.mark.filterwarnings("default:.*threshold is still")
def test_a_gallery_behind_a_link_is_changed_and_deleted_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, link = tmp_path / "disk" / "real.json", tmp_path / "gallery.json"
    real.parent.mkdir()
    link.symlink_to(real)
    real.write_text(json.dumps(gallery_of({"Ada": ADA, "Bo": ADA})))
    leftover = real.with_name(".real.json.123-4.part")  # of a command that was killed
    leftover.write_text("Ada")
    assert cli.main(["forget", "Ada", "--gallery", str(link)]) == 0
    assert link.is_symlink()
    assert "Ada" not in real.read_text()
    assert not leftover.exists()
    assert cli.main(["forget", "--all", "--gallery", str(link)]) == 0
    assert not real.exists()
    assert not link.is_symlink()

    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Ada")
    link.symlink_to(letter)
    assert cli.main(["forget", "--all", "--gallery", str(link)]) == 1
    assert f"{link} leads to {letter}, which is not a gallery, and was not deleted" in capsys.readouterr().err
    assert letter.read_text() == "Dear Ada"


def test_the_learners_own_gallery_may_be_damaged_but_not_a_link_to_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path))
    own, letter = tmp_path / "gallery.json", tmp_path / "letter.txt"
    own.write_text("dama")
    assert cli.main(["forget", "--all"]) == 0
    letter.write_text("Dear Ada")
    own.symlink_to(letter)
    assert cli.main(["forget", "--all"]) == 1
    assert letter.read_text() == "Dear Ada"


def test_another_name_of_the_file_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "gallery.json"
    file.write_text(json.dumps(gallery_of({"Ada": ADA})))
    os.link(file, tmp_path / "backup.json")
    with pytest.warns(UserWarning, match="a hard link.*still holds the gallery as it was"):
        assert forget("Ada", file) == 0


# -------------------------------------------------------------------------------------------- a phone's worth of photos


@pytest.mark.filterwarnings("default:.*(photo|looks|Left out)")
def test_photos_that_cannot_be_used_are_named_and_the_rest_enrolled(
    quick: Path, found: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gallery.json"
    files = [photo(tmp_path, number) for number in range(5)]
    found |= {"1.jpg": "No face was found in 1.jpg.", "3.jpg": "3.jpg is damaged."}
    command = [
        "enrol",
        *map(str, files),
        "--name",
        "علی\u200cرضا",
        "--run",
        str(quick),
        "--gallery",
        str(file),
        "--consent",
    ]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert "Photos: 3, new: 3, left out: 2 (not one face found: 1, failures to acquire)." in out
    assert err.index("Left out: No face was found in 1.jpg.") < err.index("Left out: 3.jpg is damaged.")
    assert cli.main([*command, "--json"]) == 0
    report = printed(capsys)
    assert list(report["left_out"]) == [str(files[1]), str(files[3])]
    assert report["not_acquired"] == [str(files[1])]

    before = file.read_bytes()
    found |= dict.fromkeys(("0.jpg", "2.jpg", "4.jpg"), "It is damaged.")
    assert cli.main(command) == 1
    shown = capsys.readouterr().err
    assert "Nothing was enrolled. Of 5 photos, 5 cannot be used:\n  - " in shown  # the person is in it since before
    assert shown.count("\n  - ") == 5
    found.clear()
    found["9.jpg"] = "There is no photo 9.jpg."  # a slip in the command
    assert cli.main([*command[:-7], str(tmp_path / "9.jpg"), *command[-7:]]) == 1
    shown = capsys.readouterr().err
    assert "Nothing was enrolled, because a photo is not there. Of 6 photos, 1 cannot be used:\n  - There is" in shown
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("answers", "agreed"),
    [(["y", "YES "], True), (["", "n", "no"], False), (["y"] * 9, False), ([], False), (["y"], False)],
)
def test_the_question_is_asked_again_until_the_answer_is_yes_or_no(
    answers: list[str], agreed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = list(answers)

    def answer() -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    assert cli._asked("Agreed?") is agreed
    err = capsys.readouterr().err
    assert err.count("Agreed?") == 1
    assert err.count("Type yes or no: ") == {0: 1, 1: 2}.get(len(answers), min(len(answers), 3))


@pytest.mark.filterwarnings("default:.*(photo|looks)")
def test_a_gallery_asks_for_its_moved_run_not_for_a_new_one(
    quick: Path, found: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run, moved = tmp_path / "gallery.json", tmp_path / "run", tmp_path / "moved"
    shutil.copytree(quick, run)
    command = ["enrol", str(photo(tmp_path, 0)), "--name", "Ada", "--gallery", str(file), "--consent"]
    assert cli.main([*command, "--run", str(run)]) == 0
    enrol([photo(tmp_path, 1)], "Ben", run, file, lambda: True)
    run.rename(moved)
    capsys.readouterr()
    for doing in (["identify", str(tmp_path / "0.jpg"), "--gallery", str(file)], command):
        assert cli.main(doing) == 1
        err = capsys.readouterr().err
        assert f"is of the run {run}, which is not there. If you moved the run, name its new place once" in err
        assert "metaface train" not in err  # a new network cannot read the gallery
    with pytest.warns(UserWarning, match="still that of the larger gallery.*If you moved the run"):
        forget("Ben", file)
    assert cli.main([*command, "--run", str(moved)]) == 0
    assert cli.main(command) == 0  # the new place is in the gallery
    file.unlink()
    assert cli.main(["gallery", "--gallery", str(file)]) == 1
    assert "If you moved it, name it: --gallery FILE" in capsys.readouterr().err


def test_the_lock_beside_a_gallery_keeps_no_name(quick: Path, found: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "gallery.json"
    enrol([photo(tmp_path, 0)], "Zuleika", quick, file, lambda: True)
    file.rename(tmp_path / "moved.json")  # forgetting her there does not come by this lock
    assert "metaface enrol" in (tmp_path / ".gallery.json.lock").read_text()
    assert "Zuleika" not in (tmp_path / ".gallery.json.lock").read_text()
