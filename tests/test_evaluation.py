from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from metaface_lessons import evaluation
from metaface_lessons.episodes import EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import (
    Difference,
    Estimate,
    Evaluation,
    corrected_resampled_t,
    evaluate,
    expected_accuracy,
    from_json,
    frontier,
    holm,
    interval,
    mean_over_seeds,
    over_seeds,
    p_value,
    paired,
    student_t,
    to_json,
)
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4
from tests.helpers import random_faces


class Oracle:
    """Recognises the numbered images of `faces` with a given chance of being right for each person."""

    def __init__(self, faces, chance: list[float]) -> None:
        self.faces, self.chance = faces, torch.tensor(chance)
        self.seen: list[torch.Tensor] = []
        self.random = torch.Generator().manual_seed(0)

    def adapt(self, support: Examples) -> Oracle:
        self.seen.append(support.x)
        self.support = support
        return self

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        who = {image.numpy().tobytes(): int(p) for image, p in zip(self.faces.images, self.faces.identity, strict=True)}
        person = torch.tensor([[who[image.numpy().tobytes()] for image in task] for task in x])
        label = torch.tensor([[who[image.numpy().tobytes()] for image in task] for task in self.support.x])
        right = (person[:, :, None] == label[:, None, :]).float()
        fail = torch.rand(person.shape, generator=self.random) >= self.chance[person]
        return torch.where(fail[:, :, None], 1 - right, right)


def test_accuracy_and_both_intervals_are_those_of_their_definition() -> None:
    faces = random_faces(people=5, each=8)
    chance = [1.0, 0.9, 0.5, 0.3, 0.0]
    sampler = EpisodeSampler(faces, ways=3, shots=1, queries=4, seed=1)
    result = evaluate({"oracle": Oracle(faces, chance)}, sampler, episodes=500, at_once=64)["oracle"]
    assert result.episodes.shape == (500,)
    assert np.abs(result.people - chance).max() < 0.05
    assert abs(result.accuracy - np.mean(chance)) < 0.03
    assert result.ci95 == pytest.approx(1.96 * result.episodes.std(ddof=1) / np.sqrt(500))
    assert result.ci95_people == pytest.approx(1.96 * result.people.std(ddof=1) / np.sqrt(5))
    assert result.scores() == {
        "accuracy": round(result.accuracy, 4),
        "ci95": round(result.ci95, 4),
        "ci95_people": round(result.ci95_people, 4),
    }
    counts = np.array([[5, 5], [8, 6]]), np.full((2, 2), 10), np.array([[0, 1], [1, 0]])
    assert str(Evaluation(*counts, ("Ada", "Grace"))) == "60.0 ± 19.6 %"


def test_all_methods_see_the_same_episodes() -> None:
    faces = random_faces()
    a, b = Oracle(faces, [1.0] * 8), Oracle(faces, [1.0] * 8)
    evaluate({"a": a, "b": b}, EpisodeSampler(faces, 3, 1, 2), episodes=30, at_once=7)
    assert all(torch.equal(x, y) for x, y in zip(a.seen, b.seen, strict=True))
    assert sum(len(x) for x in a.seen) == 30


def test_networks_are_evaluated_inductively_and_left_as_they_were() -> None:
    faces = random_faces()
    net = ProtoNet(Conv4(1, 16, 8))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    evaluate({"net": net}, EpisodeSampler(faces, 3, 1, 2), episodes=3)
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_episodes_must_be_asked_for() -> None:
    with pytest.raises(MetaFaceError, match="at least 1"):
        evaluate({}, EpisodeSampler(random_faces(), 3, 1, 2), episodes=0)


def test_the_interval_of_a_paired_difference_leaves_out_what_is_common() -> None:
    draw = np.random.default_rng(0)
    common, a, b = draw.normal(size=(3, 200))
    assert interval(common + a - (common + b)) == pytest.approx(1.96 * np.sqrt(np.var(a - b, ddof=1) / 200))
    assert interval(torch.tensor([0.2, 0.4])) == pytest.approx(interval(np.array([0.2, 0.4])))  # type: ignore[arg-type]
    assert np.isnan(interval(np.array([0.5])))


def test_the_frontier_is_of_those_that_nobody_beats() -> None:
    cost, accuracy = np.array([1.0, 2, 2, 3, 4, 4]), np.array([0.5, 0.7, 0.7, 0.7, 0.9, 0.8])
    assert frontier(cost, accuracy).tolist() == [True, True, True, False, True, False]  # equals do not beat each other


def test_evaluations_are_joined_by_the_names_of_people() -> None:
    asked = np.full((2, 2), 3)
    one = Evaluation(np.array([[3, 0], [1, 2]]), asked, np.array([[0, 1], [1, 0]]), ("Ada", "Bo"))
    other = Evaluation(np.array([[2, 2], [0, 1]]), asked, np.array([[1, 0], [0, 1]]), ("Bo", "Cy"))
    both = evaluation.join([one, other])
    assert both.names == ("Ada", "Bo", "Cy")
    assert both.episodes.tolist() == [*one.episodes, *other.episodes]
    assert both.people.tolist() == pytest.approx([5 / 6, 3 / 12, 3 / 6])
    assert evaluation.people_to_json({"a": both, "b": both}) == {
        "people": "Ada; Bo; Cy",
        "asked": "6 12 6",
        "right": {"a": "5 3 3", "b": "5 3 3"},
    }
    with pytest.raises(MetaFaceError, match="same episodes"):
        evaluation.people_to_json({"a": one, "b": other})
    with pytest.raises(MetaFaceError, match="no evaluations to store"):
        evaluation.people_to_json({})
    three = Evaluation(np.zeros((1, 3), int), np.ones((1, 3), int), np.arange(3)[None], ("Ada", "Bo", "Cy"))
    with pytest.raises(MetaFaceError, match=r"one number of ways, but got \[2, 3\]"):
        evaluation.join([one, three])


def test_expected_accuracy_is_the_mean_over_every_episode_there_is() -> None:
    distance = np.random.default_rng(0).random((7, 7))
    nearer = (distance < distance.diagonal()[:, None]).sum(1)
    for ways in (2, 3, 7):
        right = [
            distance[person, person] == distance[person, [person, *others]].min()
            for person in range(7)
            for others in itertools.combinations([k for k in range(7) if k != person], ways - 1)
        ]
        assert expected_accuracy(nearer, 6, ways) == pytest.approx(np.mean(right))
    with pytest.raises(MetaFaceError, match="2 to 7, the number of people, but is 8"):
        expected_accuracy(nearer, 6, 8)


def test_means_over_seeds_keep_the_shape_of_one() -> None:
    seeds: list[dict[str, Any]] = [
        {"net": {"accuracy": 0.5, "ci95": 0.02}, "curve": [[1, 0.25], [3, 0.75]], "steps": 20},
        {"net": {"accuracy": 0.8, "ci95": 0.04}, "curve": [[2, 0.25], [3, 0.25]], "steps": 20},
    ]
    mean = {"net": {"accuracy": 0.65, "ci95": 0.03, "deviation": 0.2121}, "curve": [[1.5, 0.25], [3, 0.5]], "steps": 20}
    assert mean_over_seeds(seeds) == mean
    assert mean_over_seeds(seeds[:1]) == seeds[0]
    named = mean_over_seeds([seed["net"] for seed in seeds], {"ci95": "of the interval"})
    assert named == {"accuracy": 0.65, "ci95": 0.03, "of the interval": 0.0141}
    with pytest.raises(ValueError, match="shorter"):
        mean_over_seeds([[1, 2], [1]])


# --------------------------------------------------------------------------------------------------- paired differences


def counts(right: Any, who: Any, people: int, asked: int = 4) -> Evaluation:
    right, who = np.asarray(right), np.asarray(who)
    return Evaluation(right, np.full_like(right, asked), who, tuple(map(str, range(people))))


def test_a_paired_difference_is_that_of_its_definition() -> None:
    who = np.random.default_rng(0).random((40, 9)).argsort(axis=1)[:, :3]
    a, b = (counts(np.random.default_rng(seed).integers(5, size=who.shape), who, 9) for seed in (1, 2))
    found = paired(a, b)
    difference = a.episodes - b.episodes
    assert found.mean == pytest.approx(a.accuracy - b.accuracy)
    assert found.over_episodes == pytest.approx(stats.t.ppf(0.975, 39) * difference.std(ddof=1) / np.sqrt(40))
    assert found.over_seeds is None

    own = [(who == person).any(axis=1) for person in range(9)]
    moved = np.array([difference[~here].mean() - difference.mean() for here in own])
    jackknife = 8 / 9 * (moved**2).sum()
    drawn = difference.var(ddof=1) / 40
    noise = 8 / 9 * drawn * sum(here.sum() / (40 - here.sum()) for here in own)
    variance = max(jackknife - noise + drawn, drawn)
    freedom = variance**2 / (jackknife**2 / 8 + (noise - drawn) ** 2 / 39)
    assert found.over_people == pytest.approx(stats.t.ppf(0.975, max(freedom, 1)) * np.sqrt(variance))


def test_a_difference_is_taken_on_the_same_episodes_alone() -> None:
    who = np.random.default_rng(0).random((40, 9)).argsort(axis=1)[:, :3]
    a = counts(np.ones_like(who), who, 9)
    others = {
        "40 episodes of 9 people and 30 episodes of 9": counts(np.ones_like(who[:30]), who[:30], 9),
        "others, 40 episodes of 9 people each": counts(np.ones_like(who), who[::-1], 9),
        "40 episodes of 9 people and 40 episodes of 10": counts(np.ones_like(who), who, 10),
    }
    for says, other in others.items():
        with pytest.raises(MetaFaceError, match=says):
            paired(a, other)
    with pytest.raises(MetaFaceError, match="others, 40"):
        paired(a, counts(np.ones_like(who), who, 9, asked=5))
    with pytest.raises(MetaFaceError, match="got 2 and 1"):
        paired([a, a], [a])
    assert paired(a, a).verdict == "cannot tell"


def test_where_everybody_is_in_every_episode_nothing_is_said_of_other_people() -> None:
    who = np.tile(np.arange(5), (30, 1))
    a, b = (counts(np.random.default_rng(seed).integers(5, size=who.shape), who, 5) for seed in (1, 2))
    found = paired(a, b)
    assert np.isnan(found.over_people)
    assert found.verdict == "cannot tell"
    assert found.scores()["over_people"] is None  # JSON has no NaN
    assert np.isnan(Difference.from_scores(found.scores()).over_people)


def test_the_verdict_follows_the_wider_interval() -> None:
    assert Difference(0.05, over_people=0.06, over_episodes=0.01).verdict == "cannot tell"
    assert Difference(0.05, over_people=0.04, over_episodes=0.01).verdict == "ahead"
    assert Difference(-0.05, over_people=0.01, over_episodes=0.01, over_seeds=0.04).verdict == "behind"
    assert Difference(0.05).verdict == "cannot tell"
    assert str(Difference(0.069, 0.02, 0.009)) == "+6.9 points (± 2.0 over people, ± 0.9 over episodes)"
    assert str(Estimate(0.62, over_seeds=0.031)) == "62.0 % (± 3.1 over seeds)"
    stored = Difference(0.069, 0.02, 0.009).scores()
    assert stored == {"mean": 0.069, "over_people": 0.02, "over_episodes": 0.009, "verdict": "ahead"}
    assert Difference.from_scores(stored) == Difference(0.069, 0.02, 0.009)


def test_what_is_stored_comes_back() -> None:
    faces = random_faces(people=9, each=8)
    methods = {"good": Oracle(faces, [0.9] * 9), "fair": Oracle(faces, [0.5] * 9)}
    found = evaluate(methods, EpisodeSampler(faces, 3, 1, 4, seed=1), episodes=50)
    back = from_json(json.loads(json.dumps(to_json(found))))
    assert list(back) == ["good", "fair"]
    for name, result in found.items():
        assert (back[name].right == result.right).all()
        assert (back[name].people == result.people).all()
    assert paired(back["good"], found["fair"]) == paired(found["good"], back["fair"])
    assert found["good"].names == tuple(map(str, range(9)))
    assert (found["good"].asked == 4).all()

    stored = to_json(found)
    for damage in ({"who": stored["who"][:-8]}, {"people": ["0"]}, {"right": {"good": 3}}, {"ways": 7}):
        with pytest.raises(MetaFaceError, match="damaged"):
            from_json(stored | damage)
    with pytest.raises(MetaFaceError, match="damaged"):
        from_json({})
    other = evaluate(methods, EpisodeSampler(faces, 3, 1, 4, seed=2), episodes=50)
    with pytest.raises(MetaFaceError, match="same episodes"):
        to_json({"one": found["good"], "other": other["good"]})
    with pytest.raises(MetaFaceError, match="no evaluations"):
        to_json({})


# ------------------------------------------------------------------------------- how often the intervals hold the truth


def made_up(
    random: np.random.Generator, people: int, episodes: int, uneven: bool, times: int
) -> list[tuple[Evaluation, Evaluation]]:
    """Two methods that are equally good, each by its own view of people who are drawn anew, `times` times evaluated.

    A person is a place among others, near to which are those with whom they are confused, and a spread of their
    images. Each method sees three of four coordinates and answers by the nearest support image. uneven: some people are
    in many episodes with up to four queries, others in few with one.
    """
    place = random.normal(size=(people, 4)) * np.exp(0.3 * random.normal(size=(people, 1)))
    spread = 0.8 * np.exp(0.4 * random.normal(size=(people, 1, 1)))
    images = place[:, None] + spread * random.normal(size=(people, 10, 4))
    often = np.arange(people) / people if uneven else np.zeros(people)

    def evaluations() -> tuple[Evaluation, Evaluation]:
        who = (random.gumbel(size=(episodes, people)) + 2 * often).argsort(axis=1)[:, -5:]
        image = images[who[:, :, None], random.random((episodes, 5, 10)).argsort(axis=2)[:, :, :5]]
        asked = 1 + np.round(3 * often[who]).astype(int) if uneven else np.full_like(who, 4)
        counted = np.arange(4) < asked[:, :, None]
        seen, place = np.unique(who, return_inverse=True)

        def answers(view: slice) -> Evaluation:
            support, query = image[:, :, 0, view], image[:, :, 1:, view]
            distance = np.square(query[:, :, None] - support[:, None, :, None]).sum(axis=-1)  # [E, 5, 5, 4]
            right = (distance.argmin(axis=2) == np.arange(5)[:, None]) & counted
            return Evaluation(right.sum(axis=2), asked, place.reshape(who.shape), tuple(map(str, seen)))

        return answers(slice(0, 3)), answers(slice(1, 4))

    return [evaluations() for _ in range(times)]


@pytest.mark.parametrize(
    ("people", "episodes", "uneven", "times"),
    [(12, 150, False, 1), (30, 200, True, 1), (30, 100, False, 2)],
)
def test_the_interval_over_people_holds_the_truth(people: int, episodes: int, uneven: bool, times: int) -> None:
    random, held, plain = np.random.default_rng(0), 0, 0
    for _ in range(300):
        pairs = made_up(random, people, episodes, uneven, times)
        a, b = zip(*pairs, strict=True)
        found = paired(a, b, shared=True, test_share=0.3)
        held += abs(found.mean) <= found.over_people
        halves = [student_t(one.people - other.people) for one, other in pairs]
        plain += abs(found.mean) <= np.linalg.norm(halves) / times
    assert 0.93 <= held / 300 <= 0.98
    assert plain / 300 < 0.9  # the deviation of the people's own differences leaves out whom they are taken for


def trainings(random: np.random.Generator, people: int, times: int, new: bool) -> tuple[np.ndarray, float]:
    """Differences of two methods over `times` trainings, each tested on a quarter of the people; the truth is 0."""
    tested, trained = people // 4, people - people // 4
    ahead = random.normal(size=(times if new else 1, people))  # by how much, with each person
    order = random.random((times, people)).argsort(axis=1)[:, :tested]
    own = np.take_along_axis(np.broadcast_to(ahead, (times, people)), order, axis=1)
    return own.mean(axis=1) + 0.2 * random.normal(size=times) / np.sqrt(tested), tested / trained


@pytest.mark.parametrize("times", [3, 10])
@pytest.mark.parametrize("new", [False, True], ids=["shared", "new"])
def test_the_interval_over_seeds_holds_the_truth(times: int, new: bool) -> None:
    random, held, plain = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        values, share = trainings(random, 80, times, new)
        found = over_seeds(values.tolist(), shared=not new, test_share=share)
        held += abs(found.mean) <= found.over_seeds
        plain += abs(found.mean) <= student_t(values)
    assert 0.93 <= held / 1000 <= 0.97
    assert (plain / 1000 > 0.93) == new  # Student's t is too narrow where the people are shared


def test_several_seeds_are_joined() -> None:
    who = np.random.default_rng(0).random((60, 9)).argsort(axis=1)[:, :3]
    a, b, c = (counts(np.random.default_rng(seed).integers(5, size=who.shape), who, 9) for seed in (1, 2, 3))
    one, two = paired(a, c), paired(b, c)
    both = paired([a, b], [c, c], shared=True, test_share=0.5)
    assert both.mean == pytest.approx((one.mean + two.mean) / 2)
    assert both.over_episodes == pytest.approx(np.hypot(one.over_episodes, two.over_episodes) / 2)
    assert both.over_seeds == pytest.approx(corrected_resampled_t([one.mean, two.mean], 0.5))
    s = np.std([one.mean, two.mean], ddof=1)
    assert both.over_seeds == pytest.approx(stats.t.ppf(0.975, 1) * np.sqrt(1 / 2 + 0.5) * s)

    elsewhere = Evaluation(b.right, b.asked, b.who, tuple("abcdefghi"))
    others = Evaluation(c.right, c.asked, c.who, tuple("abcdefghi"))
    new = paired([a, elsewhere], [c, others], shared=False)
    assert new.over_seeds == pytest.approx(student_t([one.mean, two.mean]))
    joined = over_seeds([one, two], shared=False)
    assert isinstance(joined, Difference)
    assert joined.over_people == pytest.approx(np.hypot(one.over_people, two.over_people) / 2)
    assert joined.over_seeds == pytest.approx(student_t([one.mean, two.mean]))
    assert over_seeds([one, two], shared=True, test_share=0.3).over_people == pytest.approx(
        (one.over_people + two.over_people) / 2
    )


def test_whether_seeds_share_people_must_be_said() -> None:
    for arguments, says in (
        ({"shared": None}, "share people"),
        ({"shared": True}, "need test_share"),
        ({"shared": True, "test_share": 0.0}, "above 0, but is 0"),
    ):
        with pytest.raises(MetaFaceError, match=says):
            over_seeds([0.5, 0.6], **arguments)
    with pytest.raises(MetaFaceError, match="two trainings or more, but there is 1"):
        over_seeds([0.5], shared=False)
    assert np.isnan(student_t([0.5]))


# ----------------------------------------------------------------------------------------------------- many differences


def test_the_p_value_is_that_of_the_interval_that_is_the_weaker_evidence() -> None:
    over_people = Difference(0.03, over_people=0.03)
    assert p_value(over_people) == pytest.approx(0.05)  # 0 is just at the end of the 95% interval
    assert p_value(Difference(-0.06, over_people=0.03)) == pytest.approx(2 * stats.norm.cdf(-2 * 1.959964), rel=1e-4)
    both = Difference(0.03, over_people=0.01, over_seeds=0.06)
    t = 0.03 / (0.06 / stats.t(4).ppf(0.975))
    assert p_value(both, seeds=5) == pytest.approx(2 * stats.t(4).sf(t))
    assert p_value(Difference(0.0, over_people=0.0)) == 1
    assert math.isnan(p_value(Difference(0.1, over_people=math.nan)))


def test_holm_lets_claims_stand_up_to_the_first_that_does_not() -> None:
    p = {"a": 0.04, "b": 0.001, "c": 0.02, "d": 0.03}  # 0.001 < 0.05/4, but 0.02 > 0.05/3
    assert holm(p) == {"a": False, "b": True, "c": False, "d": False}
    assert holm({"a": 0.04, "b": 0.02}) == {"a": True, "b": True}  # 0.02 < 0.05/2, then 0.04 < 0.05
    assert holm({"a": 0.04, "b": 0.03}) == {"a": False, "b": False}
    assert holm({"a": math.nan, "b": 0.01}) == {"a": False, "b": True}


def test_holm_is_seldom_wrong_about_claims_that_are_all_false() -> None:
    draw = np.random.default_rng(0)
    wrong = [any(holm({str(i): value for i, value in enumerate(p)}).values()) for p in draw.uniform(size=(2000, 20))]
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.015)
