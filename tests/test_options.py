"""The ranges of the command's numbers."""

from __future__ import annotations

import argparse

import pytest

from metaface_lessons.options import Choice, between, real, seed, whole


def test_a_number_in_range_is_taken() -> None:
    assert whole(2, 5)("2") == 2
    assert whole()("1000000000") == 10**9
    assert real()("1e-9") == 1e-9
    assert real(0.0, 3.0, included=True)("0") == 0.0
    assert seed(str(2**32 - 1)) == 2**32 - 1


@pytest.mark.parametrize("text", ["1", "6", "-3", "2.5", "nan", "inf", "many", "", "9" * 5000])
def test_another_whole_number_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="Give a whole number from 2 to 5") as refused:
        whole(2, 5)(text)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "3.1", "much", "1e999"])
def test_another_number_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="Give a number above 0, up to 3"):
        real(0.0, 3.0)(text)


def test_the_words_fit_the_range() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"it is '0'\. Give a whole number of 1 or more\."):
        whole()("0")
    with pytest.raises(argparse.ArgumentTypeError, match=r"Give a number from 0 to 3\."):
        real(0.0, 3.0, included=True)("-0.1")


def test_a_word_is_one_of_a_few() -> None:
    assert Choice("all", "steps")("steps") == "steps"
    with pytest.raises(argparse.ArgumentTypeError, match=r"it is 'step'\. Give one of: all, steps\."):
        Choice("all", "steps")("step")


def test_a_range_has_two_ends_of_one_kind() -> None:
    assert between(real())("0.5") == 0.5
    assert between(real())("1e-3:0.5") == (0.001, 0.5)
    assert between(whole(2, 5))("2:5") == (2, 5)
    with pytest.raises(argparse.ArgumentTypeError, match="Give a whole number from 2 to 5"):
        between(whole(2, 5))("2:6")
    for turned in ("0.5:0.5", "0.5:0.1"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"it is '0\.5:0\..'\. Give the lower end first"):
            between(real())(turned)
