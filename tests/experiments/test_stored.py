"""What experiments share: parts that are measured once, results that say what they are, differences of methods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Evaluation, paired
from metaface_lessons.experiments import stored
from metaface_lessons.experiments.stored import Parts, differences, on_each


def test_a_part_is_measured_once(tmp_path: Path) -> None:
    measured = list[int]()

    def measure() -> dict[str, object]:
        measured.append(len(measured))
        return {"value": (1, 2), "of": measured[-1]}

    parts = Parts("some", {"steps": (3, 4)}, tmp_path)
    assert "one" not in parts
    assert parts("one", measure) == {"value": [1, 2], "of": 0} == parts("one", measure)
    assert "one" in parts
    assert Parts("some", {"steps": [3, 4]}, tmp_path)("one", measure)["of"] == 0
    assert Parts("some", {"steps": [3, 5]}, tmp_path)("one", measure)["of"] == 1
    for damage in ("", "{", "[]", '{"of": {"steps": [3, 4]}}'):
        parts.file("one").write_text(damage)
        assert "one" not in parts
    assert parts("one", measure)["of"] == 2


def test_a_part_whose_measurement_fails_leaves_nothing(tmp_path: Path) -> None:
    parts = Parts("some", {}, tmp_path)
    with pytest.raises(ZeroDivisionError):
        parts("one", lambda: 1 / 0)
    assert "one" not in parts
    assert parts("one", lambda: 7) == 7


@pytest.mark.parametrize("jobs", [1, 2])
def test_parts_are_measured_side_by_side_in_processes_with_one_thread(jobs: int, tmp_path: Path) -> None:
    parts, before = Parts("some", {}, tmp_path), os.environ.get("OMP_NUM_THREADS")
    parts("kept", lambda: 7)
    wanted = {"kept": partial(int, 8), "one": os.getpid, "other": os.getpid}
    found = parts.all(wanted, jobs)
    assert list(found) == list(wanted)
    assert found["kept"] == 7
    assert (found["one"] == os.getpid()) == (jobs == 1)
    assert parts.all(wanted, jobs) == found  # nothing is measured again
    if jobs > 1:
        threads = parts.all({"threads": torch.get_num_threads, "again": torch.get_num_threads}, jobs)
        assert set(threads.values()) == {1}
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_part_that_fails_beside_others_ends_the_experiment(jobs: int, tmp_path: Path) -> None:
    parts = Parts("some", {}, tmp_path)
    once_good_has_ended = (
        "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\nsys.exit('no face here')"
    )
    bad = partial(
        subprocess.run, [sys.executable, "-c", once_good_has_ended, parts.file("good")], check=True, timeout=100
    )
    with pytest.raises(subprocess.CalledProcessError):
        parts.all({"good": partial(int, "7"), "bad": bad}, jobs)
    assert parts("good", partial(int, "8")) == 7
    assert "bad" not in parts


def test_a_result_says_what_made_it_and_is_read_again_after_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    with pytest.raises(MetaFaceError, match=r"is missing\. Measure it: metaface experiment some"):
        stored.load(file, "metaface experiment some")
    for value in (1, 2):
        stored.store(file, "metaface experiment some --seeds 0", {"value": value})
        found = stored.load(file, "metaface experiment some")
        assert found["value"] == value
    assert found["command"] == "metaface experiment some --seeds 0"
    assert found["date"] == date.today().isoformat()
    assert {"commit", "versions", "processor", "device"} < set(found)
    assert json.loads(file.read_text()) == found
    stored.load.cache_clear()
    file.write_text("{")
    with pytest.raises(MetaFaceError, match="damaged"):
        stored.load(file, "metaface experiment some")


def test_faces_that_are_missing_do_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = list[str]()

    def load_faces(name: str) -> None:
        if name.startswith("no"):
            raise MetaFaceError(f"{name}: fetch it.")

    monkeypatch.setattr(stored, "load_faces", load_faces)
    with pytest.raises(MetaFaceError, match=r"missing: no 1 \(no 1: fetch it\.\); no 2 \(no 2: fetch it\.\)$"):
        on_each(["no 1", "a", "no 2", "b"], measured.append)
    assert measured == ["a", "b"]
    on_each(["c"], measured.append)
    assert measured[2:] == ["c"]


def test_differences_are_of_every_two_methods_the_better_first() -> None:
    random = np.random.default_rng(0)
    who = np.stack([random.permutation(9)[:3] for _ in range(60)])
    names = tuple(map(str, range(9)))

    def answers(chance: float) -> Evaluation:
        return Evaluation(random.binomial(4, chance, who.shape), np.full_like(who, 4), who, names)

    seeds = [{"fair": answers(0.5), "good": answers(0.9), "bad": answers(0.2)} for _ in range(2)]
    found = differences(seeds, test_share=0.4)
    assert {better: list(row) for better, row in found.items()} == {"good": ["fair", "bad"], "fair": ["bad"]}
    wanted = paired(*([one[name] for one in seeds] for name in ("good", "bad")), shared=True, test_share=0.4)
    assert found["good"]["bad"] == wanted.scores()
    assert "over_seeds" in found["good"]["bad"]
    assert "over_seeds" not in differences(seeds[:1])["good"]["bad"]
