"""The error that the package raises for bad input, what it says of the system's errors, and what was perhaps meant."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches

MANY = 20  # names that hide a suggestion if all of them are listed


class MetaFaceError(ValueError):
    """Input that cannot be used. The message says what was found, what was expected and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback: only the message, without a page of our code above it."""
        return [f"{type(self).__name__}: {self}"]


class Diverged(MetaFaceError):
    """Numbers that are no longer finite, in a training or an adaptation: a rate was too high for it."""


class LostRank(MetaFaceError):
    """Another process of a training does not answer any more, or has ended: starting all of them again may help."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class ReportedElsewhere(MetaFaceError):
    """An error of another process of a training, which says it itself."""


def unknown(kind: str, name: str, known: Iterable[str]) -> MetaFaceError:
    """The error for an unknown name. It suggests the nearest known one; a long list is only shown if none is near.

    kind: what the name should be, such as "distance".
    name: what was given.
    known: the names that are possible.
    """
    names = sorted(known)
    spelt = {other.lower(): other for other in names}
    near = get_close_matches(str(name).lower(), spelt, n=1, cutoff=0.5)
    meant = f" Did you mean '{spelt[near[0]]}'?" if near else ""
    known_names = "" if near and len(names) > MANY else f" Known: {', '.join(names)}."
    return MetaFaceError(f"There is no {kind} called '{name}'.{meant}{known_names}")


def refused(error: OSError, what: str = "") -> MetaFaceError:
    """The error for a file or folder that the system refuses: which one, why, and what to do.

    error: what the system raised.
    what: what cannot be done, such as "The gallery cannot be written"; by default only the path is named.
    """
    path = "" if error.filename is None else f"{error.filename}"
    reason = error.strerror or str(error) or type(error).__name__
    parts = (what, path, reason)
    advice = _ADVICE.get(error.errno or 0, "Check the place, or name another.")
    return MetaFaceError(f"{': '.join(part for part in parts if part)}. {advice}")


_ADVICE = {
    errno.ENOENT: "Check how it is spelt, and in which folder you are.",
    errno.EACCES: "You may not use it. Name a place in a folder of your own, or ask its owner for permission.",
    errno.EPERM: "You may not use it. Name a place in a folder of your own, or ask its owner for permission.",
    errno.EROFS: "Nothing can be written there. Name a place in a folder of your own.",
    errno.ENOSPC: "The disk is full. Delete something, or name a place on another disk.",
    errno.EDQUOT: "You have used all the space that you may use. Delete something, or name a place on another disk.",
    errno.EFBIG: "The file would be larger than this disk, or your account, allows. Name a place on another disk.",
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.ENOTDIR: "A part of the path is a file, not a folder. Name a folder.",
    errno.EISDIR: "It is a folder. Name a file in it.",
    errno.EEXIST: "Something of that name is there already. Name another place.",
    errno.ELOOP: "It is a link that leads back to itself. Name the file that you mean.",
    errno.EMFILE: "Too many files are open. Close other programs and try again.",
    errno.EIO: "The disk could not read or write it. Check the disk, and copy the file again.",
}
