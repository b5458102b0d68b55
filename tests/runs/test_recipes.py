"""Recipes: which settings each learner has, and what a setting that is given changes."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.runs.recipes import FRACTIONS, OPTIONS, RECIPES, SPACES, Between, fractions, settings_of, space_of


def test_settings_are_the_recipe_but_for_what_is_given() -> None:
    given = settings_of("maml", "lfw", 3, shots=7)
    assert (given.learner, given.faces, given.seed) == ("maml", "lfw", 3)
    assert {name: value for name, value in asdict(given).items() if name in OPTIONS} == dict.fromkeys(OPTIONS) | (
        RECIPES["maml"] | {"shots": 7}
    )
    assert settings_of("maml", "lfw", 3).shots == RECIPES["maml"]["shots"] != 7
    assert settings_of("maml", "lfw", 3, shots=7) == given


@pytest.mark.parametrize("learner", RECIPES)
def test_a_recipe_has_values_of_the_kinds_that_the_command_reads(learner: str) -> None:
    for name, value in RECIPES[learner].items():
        if value is None:  # not used unless it is given
            continue
        read = OPTIONS[name]["kind"](str(value))
        assert read == value, name
        assert type(read) is type(value), name
        assert value > 0, name


def test_learners_with_a_head_need_as_many_people_as_it_has_outputs() -> None:
    fixed = {learner for learner in RECIPES if settings_of(learner).fixed_ways}
    assert fixed == {"maml", "learn2learn", "fomaml", "anil", "metasgd", "maml++", "imaml", "reptile"}


def test_what_is_not_in_a_recipe_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'reptile'"):
        settings_of("reptil")
    with pytest.raises(MetaFaceError, match=r"reptile has no setting 'margin'\. It has: ways, shots"):
        settings_of("reptile", margin=0.2)
    for impossible in (-0.003, 0, float("nan"), float("inf")):
        with pytest.raises(MetaFaceError, match=r"rate cannot have this value: it is '.*'\. Give a number above 0"):
            settings_of("reptile", rate=impossible)
    with pytest.raises(MetaFaceError, match="ways cannot have this value"):
        settings_of("reptile", ways=5.5)
    for impossible in ("step", 3):
        with pytest.raises(MetaFaceError, match=r"memory cannot have this value: it is '.*'\. Give one of: all, seg"):
            settings_of("maml", memory=impossible)
    with pytest.raises(MetaFaceError, match="rate cannot have this value"):
        settings_of("maml", rate="0.1")  # a word


def test_the_splits_cover_everyone() -> None:
    assert fractions("lfw") == fractions("procedural") == FRACTIONS
    for faces in ("lfw", "lfw-without:view1"):
        assert sum(fractions(faces)) == pytest.approx(1)
    assert fractions("lfw-without:fold0")[0] > FRACTIONS[0], "whom it is tested on is not among its people"


@pytest.mark.parametrize("learner", RECIPES)
def test_a_recipe_lies_where_its_settings_are_searched(learner: str) -> None:
    assert set(SPACES) == set(RECIPES)
    for name, where in SPACES[learner].items():
        value = RECIPES[learner][name]
        assert where.low < value < where.high, name
        assert where.whole == (type(value) is int), name
        assert where.low > 0 or not where.log, name
        for end in (where.low, where.high):
            assert OPTIONS[name]["kind"](f"{end:g}") == end, name
    rates = {name: where for name, where in SPACES[learner].items() if name.endswith("rate")}
    assert rates
    assert all(where.log for where in rates.values())


def test_a_space_is_narrowed_and_settings_are_fixed() -> None:
    fixed, space = space_of("maml", {"ways": 3, "inner_steps": 2, "inner_rate": (0.1, 0.3)})
    assert fixed == {"ways": 3, "inner_steps": 2}
    whole = SPACES["maml"]
    assert space == {
        "rate": whole["rate"],
        "test_steps": whole["test_steps"],
        "inner_rate": Between(0.1, 0.3, log=True),
    }
    assert space_of("maml", {}) == ({}, whole)


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(MetaFaceError, match=r"maml does not choose 'width', so it takes one number, not a range\. It"):
        space_of("maml", {"width": (8, 16)})
    with pytest.raises(MetaFaceError, match="maml has no setting 'temperature'"):
        space_of("maml", {"temperature": 3.0})
    with pytest.raises(MetaFaceError, match="Did you mean 'maml'"):
        space_of("mamml", {})
    with pytest.raises(MetaFaceError, match=r"All of rate, temperature are given, so nothing is left to search\."):
        space_of("protonet", {"rate": 0.01, "temperature": 10.0})
    with pytest.raises(MetaFaceError, match=r"test_steps is searched on a log axis, which has no 0\. Let"):
        space_of("pretrain", {"test_steps": (0, 9)})
