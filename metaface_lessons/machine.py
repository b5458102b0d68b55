"""The machine that computes: its processor and device, and the memory of this process."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .paths import COURSE

_STATUS = Path("/proc/self/status")  # only Linux has it


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device | None = None) -> str:
    """The name of what computes, for a stored result: the GPU, or the processor and the number of threads.

    device: the CPU if None.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def processor() -> str:
    """The processor's name if the system knows it, else its kind."""
    try:  # on Linux `platform.processor()` knows at most the kind
        name = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        name = None
    return name[1] if name else platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the course, such as "7db9ef7", or "7db9ef7 with changes"; "unknown" if it is not a clone."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=COURSE, capture_output=True, text=True).stdout.strip()

    try:
        found = git("rev-parse", "--short", "HEAD") or "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "metaface_lessons")
    except OSError:  # there is no git
        return "unknown"
    return f"{found} with changes" if changed else found


def resident_memory() -> int:
    """The memory that this process holds now, in megabytes; `peak_memory` if the system does not say it."""
    return _status("VmRSS") if _STATUS.exists() else peak_memory()


def peak_memory() -> int:
    """The most memory that this process has held since it started, in megabytes.

    On Linux this reads /proc, because `getrusage` there also counts what the parent process held.
    """
    if _STATUS.exists():
        return _status("VmHWM")
    import resource  # Windows does not have it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)


class TensorMemory(TorchDispatchMode):
    """A context that counts the bytes of the tensors which PyTorch makes within it, as long as they live.

    `peak` is the most at one time, and `now` is what lives still. Unlike `peak_memory`, it does not depend on the
    system, on what was freed before, or on other threads. It knows tensors on any device. It does not know what an
    operation needs only while it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = set[int]()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._note((args, kwargs), ours=False)  # so a view of what was there before does not count
        result = func(*args, **(kwargs or {}))
        self._note(result, ours=True)
        return result

    def _note(self, tree: Any, ours: bool) -> None:
        for tensor in tree_leaves(tree):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes() if ours else 0
                if key not in self._known:
                    self._known.add(key)
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) // 1024
