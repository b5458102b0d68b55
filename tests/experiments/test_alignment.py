"""The alignment behind lesson 07: how faces are cut, that all conditions are of the same photos, what is stored."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Difference
from metaface_lessons.experiments import alignment, stored
from metaface_lessons.experiments.alignment import AS_TRAINED, BOTH, CONDITIONS, FOUND, Change, cut
from metaface_lessons.faces import load_faces
from tests.helpers import shape
from tests.made_up_lfw import write_lfw

pytestmark = pytest.mark.filterwarnings("ignore:A false match rate")

FEW: dict[str, Any] = {"seeds": (0, 1), "steps": 2, "each": 40, "episodes": 10, "photos": 6}


def spot(x: float, y: float, size: float = 24) -> Image.Image:
    """A white square on black, its middle at (x, y), where the crop of LFW has its middle at (125, 130)."""
    picture = np.zeros((250, 250, 3), dtype=np.uint8)
    picture[int(y - size / 2) : int(y + size / 2), int(x - size / 2) : int(x + size / 2)] = 255
    return Image.fromarray(picture)


def centre(face: Tensor) -> tuple[float, float]:
    """Where the white of a face lies, in pixels of the crop from its middle: right and down."""
    light = face.double().mean(dim=0)
    at = torch.arange(48) - 23.5
    return float((light.sum(0) * at).sum() / light.sum()), float((light.sum(1) * at).sum() / light.sum())


def test_a_move_is_as_many_pixels_of_the_crop_in_its_direction() -> None:
    assert centre(cut(spot(125, 130), Change())) == pytest.approx((0, 0), abs=0.05)
    for direction in (0.0, math.pi / 2, 4.0):
        right, down = centre(cut(spot(125, 130), Change(move=3), direction))
        assert (right, down) == pytest.approx((-3 * math.cos(direction), -3 * math.sin(direction)), abs=0.05)


def test_a_zoom_and_a_turn_keep_the_middle() -> None:
    width = {sign: float(cut(spot(125, 130), Change(zoom=1.2), sign=sign).double().sum()) ** 0.5 for sign in (-1, 1)}
    assert width[1] / width[-1] == pytest.approx(1.44, rel=0.02)
    for sign in (-1, 1):
        assert centre(cut(spot(125, 130), Change(zoom=1.2, turn=20), sign=sign)) == pytest.approx((0, 0), abs=0.1)
    right, down = centre(cut(spot(165, 130), Change(turn=20)))
    assert math.degrees(math.atan2(-down, right)) == pytest.approx(20, abs=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A measurement of made-up people, in whom `find_face` finds what is a little to the left, and not in the third."""
    home = tmp_path_factory.mktemp("sklearn")
    write_lfw(home / "lfw_home")

    def find_face(file: Path, size: int) -> Tensor:
        assert size == 48
        if file.stem.endswith("3"):
            raise MetaFaceError("No face was found.")
        return cut(Image.open(file).convert("RGB"), Change(move=6))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIKIT_LEARN_DATA", str(home))
        patch.setattr(alignment, "find_face", find_face)
        patch.setattr(alignment, "SAMPLES", 10)
        yield alignment.measure("lfw", **FEW, work=tmp_path_factory.mktemp("work"))


def test_unchanged_faces_are_those_of_the_face_set(found: dict[str, Any], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        write_lfw(tmp_path / "lfw_home")
        patch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
        patch.setattr(alignment, "find_face", lambda file, size: torch.zeros(3, size, size, dtype=torch.uint8))
        people = load_faces("lfw")
        people = people.of(people.identities[:5])
        versions, failed = alignment.versions_of(people, seed=0)
        patch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "none"))
        with pytest.raises(MetaFaceError, match="The pictures of LFW are not in"):
            alignment.versions_of(people, seed=0)
    assert failed == 0
    assert set(versions) == {*CONDITIONS} - {BOTH}

    def pictures(faces: Any) -> list[tuple[int, bytes]]:
        return sorted(
            (int(person), x.numpy().tobytes()) for x, person in zip(faces.images, faces.identity, strict=True)
        )

    assert pictures(versions[AS_TRAINED]) == pictures(people)
    moved, most = (versions[f"moved {k}"].images.float() - versions[AS_TRAINED].images for k in (1, 4))
    assert 0 < moved.abs().mean() < most.abs().mean()


def test_photos_in_which_no_face_is_found_are_counted_and_left_out(found: dict[str, Any]) -> None:
    failed = found["failed"]
    assert failed["of"] == failed["photos"] * 6
    assert failed["share"] == pytest.approx(1 / 6, abs=1e-4)
    assert found["photos"] == found["people"] * 5


def test_differences_are_those_of_the_accuracies(found: dict[str, Any]) -> None:
    assert found["conditions"] == list(CONDITIONS)
    for key, methods in found["paired"].items():
        for name, row in methods.items():
            assert set(row) == {*CONDITIONS} - {AS_TRAINED}
            for condition, difference in row.items():
                now, before = (found["methods"][name][of][key] for of in (condition, AS_TRAINED))
                assert difference["mean"] == pytest.approx(now - before, abs=3e-4)
                assert {"over_people", "over_seeds"} < set(difference)


def test_a_network_of_pixels_loses_by_a_move_and_nothing_if_both_are_moved(found: dict[str, Any]) -> None:
    row = {key: Difference.from_scores(value) for key, value in found["paired"]["1-shot"]["pixels"].items()}
    assert row["moved 4"].mean < row["moved 1"].mean <= 0
    assert row[FOUND].mean < 0
    assert abs(row[BOTH].mean) < abs(row[FOUND].mean)


def test_what_is_measured_has_the_shape_of_what_is_stored(found: dict[str, Any]) -> None:
    old = alignment.load()
    assert shape(found) == shape({key: old[key] for key in found})


def test_the_command_stores_and_prints(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alignment, "measure", lambda jobs: found if jobs == 3 else None)
    monkeypatch.setattr(alignment, "FILE", tmp_path / "alignment.json")
    parser = argparse.ArgumentParser()
    alignment.add_arguments(parser)
    alignment.run(parser.parse_args(["--jobs", "3"]))
    assert stored.load(tmp_path / "alignment.json", "")["paired"] == found["paired"]
    out = capsys.readouterr().out
    assert f"{found['failed']['photos']} of" in out
    assert "moved 4" in out
