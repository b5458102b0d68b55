"""The corners of an explorer's ranges."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from metaface_lessons.widgets.explorer import controls


def corners(state: type) -> Iterator[Any]:
    """The state at every combination of the ends of its ranges and of all its words."""
    ends = [
        [value for value in c.options if isinstance(value, str)] or [c.options[0], c.options[-1]]
        if c.options
        else ([False, True] if c.low is None else [c.low, c.high])
        for c in controls(state).values()
    ]
    return (state(*values) for values in itertools.product(*ends))
