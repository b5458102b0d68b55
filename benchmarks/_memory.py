"""Memory of this process in megabytes, now and at its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")  # of Linux


def resident() -> int:
    """What the process holds now; where the system does not tell, what it has held at its peak."""
    return _status("VmRSS") if STATUS.exists() else peak()


def peak() -> int:
    """The most that it has held since it started.

    On Linux `getrusage` counts what the process held from which this one was started, too.
    """
    if STATUS.exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) // 1024
