"""What a stored result says of itself."""

from __future__ import annotations

import os
import subprocess
from datetime import date

from metaface_lessons.paths import COURSE
from metaface_lessons.runs import processor


def about(command: str) -> dict[str, str]:
    """The command that makes it, the day, the commit of the course, and the machine: one core of how many."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=COURSE, capture_output=True, text=True)
    return {
        "command": command,
        "date": date.today().isoformat(),
        "commit": git.stdout.strip() or "unknown",
        "device": f"{processor()}, one core of {os.cpu_count()}",
    }
