"""Names that people type, or that a file from elsewhere holds: which are accepted, and how any of them is printed."""

import unicodedata

from .errors import MetaFaceError

_JOINERS = "\u200c\u200d"  # ZERO WIDTH NON-JOINER and JOINER, which Persian and the scripts of India need in a word
# Invisible characters that `str.isprintable` accepts: joiners of glyphs, fillers, variation selectors, empty Braille.
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, 0xFFA0}
_INVISIBLE |= {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}


def plain_name(name: str) -> str:
    """The name with single spaces and composed accents, so that names that look the same are the same.

    name: as it was typed.

    Raises `MetaFaceError` if it is empty, or has a character that nobody sees, and names that character.
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    if not plain:
        raise MetaFaceError("The name is empty. Enrolling needs a name: --name NAME.")
    for place, character in enumerate(plain):
        if _hidden(plain, place):
            called = unicodedata.name(character, "a control character")
            raise MetaFaceError(
                f"The name '{visible(plain)}' has an invisible character at place {place + 1}:"
                f" {called} (U+{ord(character):04X}). Write the name without it."
            )
    return plain


def same_to_a_reader(name: str) -> str:
    """What is left of a name for a reader: the same for names that read alike.

    Case, width, accents' form, blanks, underscores, joiners and letters of other scripts that look Latin do not count.

    name: of a person, or of their folder.
    """
    seen = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) not in ("Cf", "Cc"))
    folded = unicodedata.normalize("NFKC", seen.casefold().translate(_TWINS))
    return " ".join(folded.replace("_", " ").split()) or name


_TWINS = str.maketrans("аесорухіјѕԁո", "aecopyxijsdn")


def visible(text: object) -> str:
    r"""A text in one line that can be printed: what is invisible, or acts on the terminal, is shown as `\x1b`.

    text: any text or path, such as a name in a file that somebody else wrote.
    """
    text = str(text)
    return "".join(
        character.encode("unicode_escape").decode() if _hidden(text, place) else character
        for place, character in enumerate(text)
    )


def _hidden(text: str, place: int) -> bool:
    character = text[place]
    if character in _JOINERS:
        around = text[max(place - 1, 0) : place] + text[place + 1 : place + 2]
        return not (0 < place < len(text) - 1 and all(unicodedata.category(other)[0] in "LM" for other in around))
    return not character.isprintable() or ord(character) in _INVISIBLE
