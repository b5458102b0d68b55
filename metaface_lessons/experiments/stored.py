"""What experiments share: their finished parts, how a result is written, what it says about itself, how it is read."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..errors import MetaFaceError
from ..machine import device_name, processor
from ..paths import COURSE, DATA, write_atomically

RESULTS = DATA / "results"
CHECKPOINTS = DATA / "checkpoints"
WORK = Path("runs")  # where trainings and finished parts are kept, below the folder in which the command runs
VERSIONS = ("torch", "numpy", "scikit-learn")


def about(command: str, device: torch.device | None = None) -> dict[str, Any]:
    """What a stored result says about itself: command, date, commit, versions, processor and device.

    device: what computed; the CPU if None.
    """

    def git(*arguments: str) -> str:
        found = subprocess.run(["git", *arguments], cwd=COURSE, capture_output=True, text=True)
        return found.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", "--", "metaface_lessons") else ""
    return {
        "command": command,
        "date": date.today().isoformat(),
        "commit": f"{git('rev-parse', '--short', 'HEAD') or 'unknown'}{changed}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "device": device_name(device),
    }


def store(file: Path, command: str, result: dict[str, Any], device: torch.device | None = None) -> None:
    """Write `result` to `file`, whole or not at all, after what it says about itself."""
    text = json.dumps(about(command, device) | result, indent=1)
    write_atomically(file, (text + "\n").encode())
    load.cache_clear()


@functools.cache
def load(file: Path, command: str) -> dict[str, Any]:
    """Read a stored result.

    command: what makes it, for the error.

    Raises `MetaFaceError` if the file is missing or damaged.
    """
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise MetaFaceError(f"{file} is missing. Measure it: {command}") from error
    except ValueError as error:
        raise MetaFaceError(f"{file} is damaged ({error}). Delete it and measure again: {command}") from error


class Parts:
    """The finished parts of an experiment, a file each, so that an interrupted experiment goes on where it was.

    name: the experiment's; the files are in `runs/NAME`.
    of: what the parts are measured with, such as steps and episodes, as JSON. A part that was measured with something
        else is measured again.
    """

    def __init__(self, name: str, of: dict[str, Any], work: Path = WORK) -> None:
        self.folder, self.of = work / name, json.loads(json.dumps(of))

    def __contains__(self, part: str) -> bool:
        return self._read(part) is not None

    def __call__(self, part: str, measure: Callable[[], Any]) -> Any:
        """What `measure` returns, as JSON: read from the part's file if it is there, else measured and written."""
        kept = self._read(part)
        if kept is None:
            kept = {"of": self.of, "found": measure()}
            write_atomically(self.file(part), json.dumps(kept).encode())
        return json.loads(json.dumps(kept["found"]))

    def file(self, part: str) -> Path:
        return self.folder / f"{part}.json"

    def _read(self, part: str) -> Any:
        try:
            kept = json.loads(self.file(part).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return kept if isinstance(kept, dict) and kept.get("of") == self.of and "found" in kept else None
