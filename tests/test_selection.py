"""Settings are chosen once, and everything that was tried is kept."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Evaluation
from metaface_lessons.selection import best_of, choose


def evaluation(accuracy: float, noise: int = 0, people: int = 20) -> Evaluation:
    """5-way episodes of the same people, whoever asks; each query is right with the chance `accuracy`."""
    who = np.random.default_rng(0).random((200, people)).argsort(axis=1)[:, :5]
    right = np.random.default_rng(noise).binomial(4, accuracy, size=who.shape)
    return Evaluation(right, np.full_like(who, 4), who, tuple(map(str, range(people))))


SCORES = {"small": evaluation(0.70, 1), "middle": evaluation(0.71, 2), "large": evaluation(0.5, 3)}


def test_the_best_is_chosen_and_what_cannot_be_told_from_it_is_marked(tmp_path: Path) -> None:
    file = tmp_path / "tried.json"
    found = choose({name: {"name": name} for name in SCORES}, lambda settings: SCORES[settings["name"]], file)
    assert found.best == max(SCORES, key=lambda name: SCORES[name].accuracy)
    assert found.best != "large"
    assert found.as_good == [name for name in ("small", "middle") if name != found.best]
    score, difference = found.tried["large"]
    assert score == SCORES["large"].accuracy
    assert difference is not None
    assert difference.verdict == "behind"
    stored = json.loads(file.read_text())
    assert stored["choice"] == found.scores()
    assert stored["choice"]["tried"]["large"]["from_best"] == difference.scores()
    assert [line.split("   ")[-1] for line in str(found).splitlines() if "large" not in line] == [
        "best" if name == found.best else "cannot be told from the best" for name in ("small", "middle")
    ]


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    file, asked = tmp_path / "tried.json", list[str]()

    def score(settings: dict[str, str]) -> Evaluation:
        asked.append(settings["name"])
        if asked == ["small", "middle"]:
            raise KeyboardInterrupt
        return SCORES[settings["name"]]

    candidates = {name: {"name": name} for name in SCORES}
    with pytest.raises(KeyboardInterrupt):
        choose(candidates, score, file)
    resumed = choose(candidates, score, file)
    assert asked == ["small", "middle", "middle", "large"]
    assert resumed.scores() == choose(candidates, lambda settings: SCORES[settings["name"]]).scores()
    assert choose(candidates, score, file).scores() == resumed.scores()
    assert len(asked) == 4  # nothing was left to do


def test_of_equal_scores_the_first_is_taken_and_the_others_are_marked(tmp_path: Path) -> None:
    numbers = {"simple": 0.5, "worse": 0.4, "complicated": 0.5}
    found = choose(numbers, lambda number: number, tmp_path / "tried.json")
    assert (found.best, found.as_good) == ("simple", ["complicated"])
    assert json.loads((tmp_path / "tried.json").read_text())["numbers"] == numbers


def test_scores_of_other_candidates_are_not_taken_for_these(tmp_path: Path) -> None:
    file = tmp_path / "tried.json"
    choose({"a": (1, 2), "b": 2}, lambda _: 0.5, file)
    choose({"a": (1, 2), "b": 2, "c": 3}, lambda _: 0.5, file)  # one more may be tried
    with pytest.raises(MetaFaceError, match="'b' was 2, and now is 5"):
        choose({"a": (1, 2), "b": 5, "c": 3}, lambda _: 0.5, file)
    with pytest.raises(MetaFaceError, match="'c' was 3, and now is not among them"):
        choose({"a": (1, 2), "b": 2}, lambda _: 0.5, file)
    file.write_text(file.read_text()[:40])
    with pytest.raises(MetaFaceError, match="is damaged"):
        choose({"a": (1, 2), "b": 2}, lambda _: 0.5, file)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="nothing to choose from"):
        choose({}, lambda _: 0.5)
    with pytest.raises(MetaFaceError, match="score of 'b' is nan"):
        choose({"a": 0.5, "b": float("nan")}, lambda number: number)
    with pytest.raises(MetaFaceError, match="200 episodes of 20 people and 200 episodes of 30 people"):
        choose({"a": 20, "b": 30}, lambda people: evaluation(people / 100, people=people))


def test_the_best_of_n_is_the_mean_over_all_choices_of_n() -> None:
    scores = [0.3, 0.9, 0.5, 0.5, 0.1, 0.7]
    expected = [np.mean([max(some) for some in itertools.combinations(scores, n)]) for n in range(1, 7)]
    assert best_of(scores) == pytest.approx(expected)
    assert best_of(sorted(scores)) == best_of(scores)
    assert best_of([0.5]) == [0.5]
    with pytest.raises(MetaFaceError, match="no scores"):
        best_of([])


def test_the_best_of_n_estimates_without_bias_what_n_new_trials_give() -> None:
    """The mean of n/(n + 1), the expected best of n uniform numbers; the one with putting back would be too low."""
    draws = np.random.default_rng(0).random((4000, 5))
    means = np.mean([best_of(list(row)) for row in draws], axis=0)
    assert means == pytest.approx([n / (n + 1) for n in range(1, 6)], abs=0.01)


def test_the_best_of_very_many_is_a_number() -> None:
    found = best_of([i / 3000 for i in range(3000)])
    assert found[0] == pytest.approx(2999 / 6000)
    assert found[-1] == 2999 / 3000
