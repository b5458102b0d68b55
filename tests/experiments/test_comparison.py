"""The comparison behind lesson 06: equal seconds, settings that are chosen, trainings by shares, means over seeds."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Estimate, from_json, paired
from metaface_lessons.experiments import comparison
from metaface_lessons.experiments.comparison import (
    ENTRIES,
    PROTOCOLS,
    Plan,
    candidates,
    collect,
    measure,
    measure_training,
    steps_in,
)
from tests.helpers import random_faces

PLAN = Plan(0.5, ("protonet", "nca-wide"), shares=(1 / 4, 1), episodes=30, glance=8, choice=0, rounds=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def found(photos: str, work: Path) -> dict[str, Any]:
    return measure(photos, PLAN, seeds=(0, 1), work=work)


def test_everybody_gets_the_seconds_of_the_budget_in_steps() -> None:
    paces = {"protonet": [100.0, 120.0, 300.0], "maml": [250.0], "learn2learn": [500.0], "learn2learn-longer": [500.0]}
    assert steps_in(60, paces) == {"protonet": 600, "maml": 240, "learn2learn": 120, "learn2learn-longer": 240}


def test_what_is_compared_has_one_width_but_for_what_says_so() -> None:
    widths = {name: entry.width for name, entry in ENTRIES.items()}
    assert {width for name, width in widths.items() if not name.endswith("-wide")} == {32}
    assert {width for name, width in widths.items() if name.endswith("-wide")} == {64}


def test_each_row_says_what_was_trained_and_how_sure_its_accuracy_is(found: dict[str, Any]) -> None:
    rows = found["learners"]
    assert set(rows) == {"protonet", "nca-wide", "pixels", "lbp", "lda"}
    assert (rows["nca-wide"]["learner"], rows["nca-wide"]["width"]) == ("nca", 64)
    for name in PLAN.entries:
        row = rows[name]
        low, middle, high = row["pace_ms"]
        assert low <= middle <= high
        assert row["steps"] == max(1, round(1000 * PLAN.budget / low))
        assert row["seconds"] == pytest.approx(PLAN.budget, abs=low / 2000 + 0.01)  # to the nearest step
        assert row["memory_mb"] > 0
        assert [point["seconds"] for point in row["curve"]] == sorted(point["seconds"] for point in row["curve"])
        assert row["curve"][-1]["seconds"] == row["seconds"]
    for row in rows.values():
        for protocol in PROTOCOLS:
            assert set(Estimate.from_scores(row[protocol]).intervals) == {"people", "episodes", "seeds"}
        assert row["adaptation_ms"] > 0


def test_means_and_differences_are_those_of_the_stored_evaluations(found: dict[str, Any]) -> None:
    for protocol in PROTOCOLS:
        seeds = [from_json(found["evaluations"][seed][protocol]) for seed in ("0", "1")]
        for name, row in found["learners"].items():
            assert row[protocol]["mean"] == pytest.approx(np.mean([one[name].accuracy for one in seeds]), abs=1e-4)
        pairs = found["paired"][protocol]
        assert sum(len(row) for row in pairs.values()) == 5 * 4 // 2
        for (better, row), test_share in itertools.product(pairs.items(), [10 / 28]):
            for other, difference in row.items():
                a, b = ([one[name] for one in seeds] for name in (better, other))
                assert difference == paired(a, b, shared=True, test_share=test_share).scores()


def test_a_difference_is_that_of_the_pair_in_either_order(found: dict[str, Any]) -> None:
    seeds = [from_json(found["evaluations"][seed]["1-shot"]) for seed in ("0", "1")]
    for a, b in itertools.permutations(("protonet", "lda"), 2):
        ours, theirs = ([one[name] for one in seeds] for name in (a, b))
        wanted = paired(ours, theirs, shared=True, test_share=10 / 28).scores()
        assert comparison.difference(found, a, b, "1-shot").scores() == wanted
    with pytest.raises(MetaFaceError, match=r"does not compare protonet and maml\. It has: pixels"):
        comparison.difference(found, "protonet", "maml", "1-shot")


def test_new_people_for_each_seed_are_independent_and_the_same_people_are_not(found: dict[str, Any]) -> None:
    """The interval over seeds is corrected only where people are shared."""
    rows = {}
    for seed, tests in found["evaluations"].items():
        costs = {name: {"adaptation_ms": 1.0} for name in tests["1-shot"]["right"]}
        rows[int(seed)] = [{"costs": costs, "evaluations": tests}]
    shared, apart = (collect(rows, both, test_share=0.5)["learners"] for both in (True, False))
    # Some methods answer all questions rightly here, with both seeds.
    differ = [name for name, row in apart.items() if row["1-shot"]["over_seeds"] > 0.01]
    assert differ
    for name in differ:
        ratio = shared[name]["1-shot"]["over_seeds"] / apart[name]["1-shot"]["over_seeds"]
        assert ratio == pytest.approx(2**0.5, rel=0.01)  # √((1/2 + 0.5)/(1/2))
    assert found["shared_people"]
    assert comparison._name("procedural", 3) == "procedural:seed=3"
    assert comparison._name("lfw", 3) == "lfw"


def test_what_is_done_is_not_measured_again(
    found: dict[str, Any], photos: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was done already")

    monkeypatch.setattr(comparison, "meta_train", refuse)
    monkeypatch.setattr(comparison, "evaluate", refuse)
    assert measure(photos, PLAN, seeds=(0, 1), work=work) == found
    with pytest.raises(AssertionError, match="already"):  # what was measured with another plan does not count
        measure(photos, replace(PLAN, episodes=31), seeds=(0, 1), work=work)


@pytest.fixture
def one_training(photos: str, tmp_path: Path) -> Iterator[Any]:
    """Trains ProtoNet for 8 steps, 2 of them in its first share; counts the steps of every call of `meta_train`."""
    parts, trained, plain = comparison.stored.Parts("made-up", {}, tmp_path), list[int](), comparison.meta_train

    def counted(*given: Any, steps: int, **options: Any) -> Any:
        result = plain(*given, steps=steps, **options)
        trained.append(result.steps - result.resumed_at)
        return result

    def again() -> dict[str, Any]:
        trained.clear()
        return measure_training(parts, photos, "protonet", 0, PLAN, 8, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "meta_train", counted)
        yield again, parts, trained


def test_shares_go_on_from_one_another_and_give_the_same_after_an_interruption(one_training: Any) -> None:
    again, parts, trained = one_training
    whole = again()
    assert trained == [2, 6, 0]
    before = json.dumps(whole["evaluations"])
    assert json.dumps(again()["evaluations"]) == before
    assert trained == [0]  # both shares are read, and the last checkpoint gives back the learner
    parts.file("protonet-0-8").unlink()
    (parts.folder / "protonet-0-8.pt").unlink()
    assert json.dumps(again()["evaluations"]) == before  # the second share, from the end of the first
    assert trained == [6, 0]
    shutil.rmtree(parts.folder)
    assert json.dumps(again()["evaluations"]) == before  # all of it
    assert trained == [2, 6, 0]


def test_settings_are_chosen_by_validation_on_people_of_their_own(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "CHOSEN_ON", photos)
    monkeypatch.setattr(comparison, "TRAINED", ("protonet", "nca"))
    plan = replace(PLAN, entries=("protonet", "nca-wide"), choice=0.2, choosing=20)
    monkeypatch.setattr(comparison, "ALSO", {})
    chosen = comparison.choice(plan, work=tmp_path)
    assert set(chosen) == {"protonet", "nca"}
    assert {*chosen["nca"].tried} == {"rate 0.003", "rate 0.001", "rate 0.009"}
    assert chosen["nca"].tried[chosen["nca"].best][0] == max(score for score, _ in chosen["nca"].tried.values())


def test_no_result_reports_the_people_who_choose() -> None:
    reported = {comparison._name("procedural", seed) for seed in comparison.SEEDS}
    assert comparison.CHOSEN_ON.startswith("procedural:seed=")
    assert comparison.CHOSEN_ON not in reported


def test_the_recipe_is_tried_first_so_that_it_wins_where_nothing_is_better() -> None:
    for learner in comparison.TRAINED:
        first, *others = candidates(learner).values()
        settings = comparison.settings_of(learner)
        assert {key: getattr(settings, key) for key in first} == first
        assert first not in others
        assert all(comparison.settings_of(learner, **given) for given in others)


def test_faces_that_are_missing_are_named_and_the_others_still_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = list[tuple[str, float]]()

    def measure_nothing(faces: str, plan: Plan, seeds: Any, jobs: int) -> dict[str, Any]:
        measured.append((faces, plan.budget))
        return {"learners": {}}

    def load_faces(name: str) -> None:
        if name == "lfw":
            raise MetaFaceError("LFW is not here.")

    monkeypatch.setattr(comparison.stored, "load_faces", load_faces)
    monkeypatch.setattr(comparison.stored, "RESULTS", tmp_path)
    monkeypatch.setattr(comparison, "import_learn2learn", lambda: None)
    monkeypatch.setattr(comparison, "measure", measure_nothing)
    for long, command in ((False, "--seeds 0 1 2 3 4"), (True, "--seeds 0 --long")):
        arguments = comparison.argparse.Namespace(faces=["lfw", "procedural"], seeds=None, jobs=1, long=long)
        with pytest.raises(MetaFaceError, match=r"missing: lfw \(LFW is not here\.\)"):
            comparison.run(arguments)
        kept = json.loads(comparison.file_of("procedural", long).read_text())
        assert kept["command"] == f"metaface experiment comparison --faces procedural {command}"
    assert measured == [("procedural", 60), ("procedural", 1800)]


def test_a_result_that_is_not_stored_says_how_to_measure_it() -> None:
    with pytest.raises(MetaFaceError, match="Measure it: metaface experiment comparison --faces olivetti --long"):
        comparison.load("olivetti", long=True)


def test_fixed_features_are_computed_again_when_their_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    novel = random_faces(people=8, each=6)
    method = comparison.baselines(random_faces(people=8, each=6, seed=1))["pixels"]
    embedding: Any = method.embedding
    computed, features = list[int](), embedding._features

    def counted(images: Any) -> Any:
        computed.append(len(images))
        return features(images)

    monkeypatch.setattr(embedding, "_features", counted)
    comparison.adaptation(method, novel, repeats=4)
    # Four images of five people to learn from, and one of each to answer. The first are also tried alone and in another
    # order, once.
    assert computed == [20, 1, 8, 8, 8, 5] + [20, 5] * 3
