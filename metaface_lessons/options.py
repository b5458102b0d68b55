"""The numbers and words that an option of a command takes: their kind and their range.

`whole` and `real` make types for `argparse`. A number out of range is wrong usage, and the message says which numbers
are possible. Without a range, PyTorch would refuse the number later, in words of its own and after the work began.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

LARGEST_SEED = 2**32 - 1  # NumPy takes no larger one


def whole(least: int = 1, most: int = 10**9) -> Callable[[str], int]:
    """The type of a whole number from `least` to `most`, both included."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"it is '{text[:40]}'. Give a whole number {_range(least, most)}.")
        return value

    return number


def real(above: float = 0.0, most: float = 1e9, *, included: bool = False) -> Callable[[str], float]:
    """The type of a number above `above` and up to `most`.

    included: whether `above` itself is possible. False.
    """

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (above < value <= most or (included and value == above)):  # NaN fails every comparison
            least = f"from {above:g}" if included else f"above {above:g}, up"
            raise argparse.ArgumentTypeError(f"it is '{text[:40]}'. Give a number {least} to {most:g}.")
        return value

    return number


class Choice:
    """The type of a word out of a few.

    words: these.
    """

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, text: str) -> str:
        if text not in self.words:
            raise argparse.ArgumentTypeError(f"it is '{text[:40]}'. Give one of: {', '.join(self.words)}.")
        return text


def between(number: Callable[[str], float]) -> Callable[[str], float | tuple[float, float]]:
    """The type of a number, or of the two ends of a range with a colon between them, such as 0.01:1.

    number: the type of each of them.
    """

    def ends(text: str) -> float | tuple[float, float]:
        low, colon, high = text.partition(":")
        if not colon:
            return number(text)
        found = number(low), number(high)
        if not found[0] < found[1]:
            raise argparse.ArgumentTypeError(f"it is '{text[:40]}'. Give the lower end first, and then a higher one.")
        return found

    return ends


seed = whole(0, LARGEST_SEED)


def _range(least: int, most: int) -> str:
    return f"of {least} or more" if most >= 10**9 else f"from {least} to {most}"
