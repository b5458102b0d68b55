"""The benchmark behind lesson 08: every training and control, stored once, and the means over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaface_lessons.experiments import domains
from metaface_lessons.faces import FaceSet
from metaface_lessons.faces.procedural import DOMAINS, procedural_domains

JOBS = ("photo: colour", "not sketch: pooled", "not sketch: leave one out")


def test_all_trainings_are_measured_and_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = procedural_domains(identities=60, images=5, size=16, progress=False)
    controls = {what: faces.select(faces.where(domain="photo")) for what in ("outline only", "background only")}

    def load(name: str) -> FaceSet:
        return faces

    monkeypatch.setattr(domains, "load_faces", load)
    monkeypatch.setattr(domains, "procedural_controls", lambda **options: controls)
    monkeypatch.setattr(domains, "real_faces", lambda cufs: {})
    for name, value in {
        "RUNS": tmp_path,
        "SIZE": 16,
        "WIDTH": 4,
        "STEPS": 2,
        "EPISODES": 3,
        "FRACTIONS": (0.5, 0.2, 0.3),
    }.items():
        monkeypatch.setattr(domains, name, value)
    monkeypatch.setattr(domains, "JOBS", ("baselines", *JOBS))
    for seed in (0, 1):
        domains.one(seed, [job for job, of in domains.jobs([0, 1]) if of == seed], None)
    found = domains.collect([0, 1], "it")
    assert set(found["trainings"]) == set(JOBS)
    assert set(found["baselines"]) == {"pixels", "lbp", "lda", "brightness"}
    assert len(found["controls"]) == 2 * len(DOMAINS)
    pair, job = "photo, sketch", "not sketch: leave one out"
    each = [json.loads(domains.file_of(job, seed).read_text())["matrix"][pair]["accuracy"] for seed in (0, 1)]
    assert found["trainings"][job]["matrix"][pair]["accuracy"] == pytest.approx(sum(each) / 2, abs=1e-4)
    assert [found["seeds"][seed][job][pair] for seed in ("0", "1")] == each
    assert set(found["trainings"][job]["alignment"]) == {
        "photo, sketch",
        "photo, near-infrared",
        "sketch, near-infrared",
    }


def test_a_training_knows_its_domains_and_nothing_of_the_one_left_out() -> None:
    assert domains.training_domains("not sketch") == ["photo", "near-infrared"]
    assert domains.training_domains("sketch") == ["sketch"]
