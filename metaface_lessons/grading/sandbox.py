"""Starts a locked process, and ends it with all that it may have started.

Three kinds, the best that this machine allows:

- bubblewrap: namespaces of its own (processes, network), made by the program `bwrap`;
- user: without bubblewrap, as root: another, unprivileged user, with nothing but an empty folder (`lock`);
- none: only with `--unsafe`. The submission can do whatever you can. For a trial on your own answers.

In the first two, `lock` takes away files, new processes and privileges. A kind is used only if a trial run of it found
itself locked in.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import MetaFaceError

BUBBLEWRAP, USER, NONE = "bubblewrap", "user", "none"
_FIRST_USER, _USERS = 61184, 4336  # systemd's range for users that exist only while a service runs
_SECONDS = 20.0  # for the trial run


@functools.cache
def find(unsafe: bool = False) -> str:
    """The best kind that works here. Raises `MetaFaceError` if there is none, unless `unsafe`."""
    for kind in (BUBBLEWRAP, USER):
        if works(kind):
            return kind
    if unsafe:
        return NONE
    raise MetaFaceError(
        "Nothing here can lock a submission in, so it could read and change whatever you can. Install bubblewrap (the"
        " package `bubblewrap` of your Linux), or grade as root, for example in a container. `--unsafe` grades without."
    )


@functools.cache
def works(kind: str) -> bool:
    """Whether a process of this kind finds itself locked in."""
    if sys.platform != "linux" or (kind == USER and os.geteuid() != 0) or (kind == BUBBLEWRAP and not _bwrap()):
        return False
    code = (
        "import os; from metaface_lessons.grading.lock import *; lock(*{lock}, 5); os.write(0, b'01'[is_locked():][:1])"
    )
    root = Path(__file__).resolve().parent.parent.parent
    try:
        with running(kind, root, code) as channel:
            channel.settimeout(_SECONDS)
            return channel.recv(1) == b"1"
    except OSError:
        return False


@contextlib.contextmanager
def running(kind: str, stage: Path, code: str) -> Iterator[socket.socket]:
    """A process that imports from the folder `stage` and runs `code`, in which `{lock}` stands for the first two
    arguments of `lock`. Yields the channel to it; inside, the channel is file 0. Ends it, and all that it started."""
    with tempfile.TemporaryDirectory(prefix="metaface-room-") as folder:
        room = Path(folder) / "room"
        room.mkdir()
        room.chmod(0o555)
        user = _user() if os.geteuid() == 0 and kind != NONE else None
        lock = (None if kind == NONE else str(room), user)
        program = (
            f"import sys; sys.path.insert(0, {str(stage)!r}); "
            # An installation with `pip --editable` finds the whole package, wherever else one looks for it.
            "sys.meta_path[:] = [f for f in sys.meta_path if f.__module__.startswith('_frozen_importlib')]; "
            + code.replace("{lock}", repr(lock))
        )
        command = [sys.executable, "-I", "-B", "-c", program]
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            _wrapped(command) if kind == BUBBLEWRAP else command,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        try:
            with ours:
                yield ours
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if user is not None:  # whoever left the process group is still that user
                subprocess.run(["/bin/sh", "-c", "kill -9 -1"], user=user, group=user, extra_groups=[], stderr=-3)


def _user() -> int:
    """A user whom nobody is, another one for each process that grades."""
    return _FIRST_USER + os.getpid() % _USERS


def _bwrap() -> str | None:
    return shutil.which("bwrap")


def _wrapped(command: list[str]) -> list[str]:
    root = os.geteuid() == 0
    return [
        str(_bwrap()),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/var/tmp"),  # PyTorch wants a temporary folder while it is imported
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_CHROOT"),
        *(("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID") if root else ("--unshare-user",)),
        "--",
        *command,
    ]
