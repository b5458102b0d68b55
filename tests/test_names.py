"""Names: which are accepted, and how a hostile one is printed."""

from __future__ import annotations

import pytest

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.names import plain_name, same_to_a_reader, visible


@pytest.mark.parametrize("name", ["علی\u200cرضا", "क्\u200dष", "Zoë", "O’Neil-Łukasz 3", "李小龍", "Ada 👩", "நி"])
def test_names_of_all_scripts_are_accepted_and_printed_as_they_are(name: str) -> None:
    assert plain_name(name) == name
    assert visible(name) == name


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("Ada\u200b", "ZERO WIDTH SPACE"),
        ("A\u202eda", "RIGHT-TO-LEFT OVERRIDE"),
        ("A\u2066da", "LEFT-TO-RIGHT ISOLATE"),
        ("\u200cAda", "ZERO WIDTH NON-JOINER"),
        ("Ada\u200d", "ZERO WIDTH JOINER"),
        ("Ada\u200c Bo", "ZERO WIDTH NON-JOINER"),
        ("Ada\u200c\u200cBo", "ZERO WIDTH NON-JOINER"),
        ("A\ufe0fda", "VARIATION SELECTOR-16"),
        ("A\u3164da", "HANGUL FILLER"),
        ("A\u00adda", "SOFT HYPHEN"),
        ("\x1b[31mAda", "a control character"),
        ("A\U000e0041da", "TAG LATIN CAPITAL LETTER A"),
    ],
)
def test_an_invisible_character_is_refused_by_name_and_never_printed(name: str, called: str) -> None:
    with pytest.raises(MetaFaceError, match="invisible character at place") as refused:
        plain_name(name)
    assert called in str(refused.value)
    shown = str(refused.value)
    assert shown.isprintable()
    assert not any(c in shown for c in "\u200c\u200d\ufe0f\u3164")


def test_names_that_read_alike_have_one_form() -> None:
    assert plain_name(" Jose\u0301 \t Pe\u0301rez ") == "José Pérez"
    assert same_to_a_reader("ADA") == same_to_a_reader("Ada") == same_to_a_reader("ａｄａ")
    assert same_to_a_reader("علی\u200cرضا") == same_to_a_reader("علیرضا")
    assert same_to_a_reader("Ada") != same_to_a_reader("Adam")
    with pytest.raises(MetaFaceError, match="name is empty"):
        plain_name(" \n ")


def test_lines_and_surrogates_are_shown_not_printed() -> None:
    assert visible("a\nb\u2028c\ud800") == r"a\nb\u2028c\ud800"
