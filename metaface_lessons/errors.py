"""The error that the package raises for bad input, and the suggestion of what was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class MetaFaceError(ValueError):
    """Input that cannot be used. The message says what was found, what was expected and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback: only the message, without a page of our code above it."""
        return [f"{type(self).__name__}: {self}"]


def unknown(kind: str, name: str, known: Iterable[str]) -> MetaFaceError:
    """The error for an unknown name. It suggests the nearest known one.

    kind: what the name should be, such as "distance".
    name: what was given.
    known: the names that are possible.
    """
    names = sorted(known)
    spelt = {other.lower(): other for other in names}
    near = get_close_matches(str(name).lower(), spelt, n=1, cutoff=0.5)
    meant = f" Did you mean '{spelt[near[0]]}'?" if near else ""
    return MetaFaceError(f"There is no {kind} called '{name}'.{meant} Known: {', '.join(names)}.")
