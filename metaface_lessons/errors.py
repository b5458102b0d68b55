"""The one error that the package raises for bad input, and the one way to suggest what was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class MetaFaceError(ValueError):
    """Input that cannot be used. Its message says what was wrong, what was expected and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback: the message, and no page of our code above it."""
        return [f"{type(self).__name__}: {self}"]


def unknown(kind: str, name: str, known: Iterable[str]) -> MetaFaceError:
    """The error for a `name` that is none of the `known` ones, with the nearest of them as a suggestion."""
    names = sorted(known)
    spelt = {other.lower(): other for other in names}
    near = get_close_matches(str(name).lower(), spelt, n=1, cutoff=0.5)
    meant = f" Did you mean '{spelt[near[0]]}'?" if near else ""
    return MetaFaceError(f"There is no {kind} called '{name}'.{meant} Known: {', '.join(names)}.")
