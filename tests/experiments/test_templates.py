"""The templates behind lesson 07: what an entry of several photos is, who is compared, and what is stored."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Difference
from metaface_lessons.experiments import stored, templates
from metaface_lessons.faces import FaceSet
from tests.helpers import random_faces, shape

FEW: dict[str, Any] = {"seeds": (0, 1), "steps": 2, "photos": (1, 2, 4), "people": 8}

pytestmark = pytest.mark.filterwarnings("ignore:A false match rate")


def random_points(*size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def test_the_ways_are_those_of_their_definitions() -> None:
    entries, probes = random_points(4, 3, 5), random_points(6, 5) + 0.3
    found = templates.entry_scores(entries, probes)
    assert set(found) == set(templates.WAYS)
    for q in range(6):
        for k in range(4):
            own = [float(F.cosine_similarity(probes[q], z, dim=0)) for z in entries[k]]
            unit = torch.stack([z / z.norm() for z in entries[k]]).mean(0)
            wanted = {
                "mean": float(F.cosine_similarity(probes[q], entries[k].mean(0), dim=0)),
                "mean of unit length": float(F.cosine_similarity(probes[q], unit, dim=0)),
                "best": max(own),
                "mean of scores": sum(own) / 3,
                "mean, squared": -float((probes[q] - entries[k].mean(0)).square().sum()),
            }
            assert {way: float(scores[q, k]) for way, scores in found.items()} == pytest.approx(wanted, abs=1e-5)


def test_no_photo_is_both_in_an_entry_and_a_probe() -> None:
    identity = torch.tensor([7] * 9 + [3] * 4 + [5] * 3)
    people, entries, probes = templates.drawn(identity, 3, seed=0)
    assert people.tolist() == [3, 7]  # 5 has no photo left for a probe
    assert (identity[entries] == people[:, None]).all()
    assert sorted(identity[probes].tolist()) == [3, 7, 7, 7, 7]
    assert len({*entries.flatten().tolist(), *probes.tolist()}) == entries.numel() + len(probes)
    assert not torch.equal(entries, templates.drawn(identity, 3, seed=1)[1])
    with pytest.raises(MetaFaceError, match="Entries of 4 photos need two people or more"):
        templates.drawn(identity, 4, seed=0)


def test_more_photos_help_where_each_has_noise_of_its_own() -> None:
    person = torch.arange(30).repeat_interleave(12)
    points = random_points(30, 20)[person] + 1.5 * torch.randn(360, 20, generator=torch.Generator().manual_seed(1))
    ways = templates.compared(points, person, (1, 3, 6), seed=0)
    for rows in ways.values():
        assert all(np.array_equal(rows[0].people, row.people) for row in rows)
        assert rows[0].eer > rows[1].eer > rows[2].eer
    gain = Difference.from_scores(templates._gain(ways["mean"][2], ways["mean"][0]))
    assert gain.mean == pytest.approx(templates._fnmr(ways["mean"][0]) - templates._fnmr(ways["mean"][2]), abs=1e-4)
    assert gain.verdict == "ahead"


@pytest.fixture(scope="module")
def found(photos: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    load = templates.load_faces

    def load_faces(name: str) -> FaceSet:
        seed = name.partition("procedural:seed=")[2]
        return random_faces(20, 8, size=64, channels=3, seed=int(seed)) if seed else load(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "SAMPLES", 10)
        patch.setattr(templates, "load_faces", load_faces)
        yield templates.measure(photos, **FEW, work=tmp_path_factory.mktemp("work"))


def test_differences_are_those_of_the_rates(found: dict[str, Any]) -> None:
    for rows in found["sets"].values():
        assert rows["photos"] == [1, 2, 4]
        assert rows["seeds"] == 2
        rate = {way: [cell["fnmr"] for cell in cells] for way, cells in rows["ways"].items()}
        for way, gains in rows["paired"]["photos"].items():
            assert [gain["mean"] for gain in gains] == pytest.approx(
                [rate[way][0] - r for r in rate[way][1:]], abs=3e-4
            )
        for way, gains in rows["paired"]["ways"].items():
            wanted = [mean - r for mean, r in zip(rate["mean"], rate[way], strict=True)]
            assert [gain["mean"] for gain in gains] == pytest.approx(wanted, abs=3e-4)
            assert all({"over_people", "over_seeds"} < set(gain) for gain in gains)
        assert rate["mean"][0] == rate["best"][0] == rate["mean of scores"][0]  # one photo is one photo
    assert found["sets"]["procedural"]["people"] == 8


def test_what_is_measured_has_the_shape_of_what_is_stored(found: dict[str, Any]) -> None:
    old = templates.load()
    assert shape(found) == shape({key: old[key] for key in found})


def test_the_command_stores_and_prints(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(templates, "measure", lambda jobs: found if jobs == 3 else None)
    monkeypatch.setattr(templates, "FILE", tmp_path / "templates.json")
    parser = argparse.ArgumentParser()
    templates.add_arguments(parser)
    templates.run(parser.parse_args(["--jobs", "3"]))
    assert stored.load(tmp_path / "templates.json", "")["sets"] == found["sets"]
    assert "procedural, 8 people" in capsys.readouterr().out
