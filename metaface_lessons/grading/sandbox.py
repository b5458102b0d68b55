"""Starts a locked process, and ends it together with every process that it started.

There are three kinds. The best one that works on this machine is used:

- bubblewrap: the program `bwrap` gives the process its own namespaces (processes, network, shared memory).
- user: for root without bubblewrap. The process becomes an unprivileged user who sees only an empty folder (`lock`).
- none: only with `--unsafe`, for a trial on your own answers. The submission can do everything that you can.

In the first two, `lock` takes away files, new processes, privileges, and all system calls that computing does not
need. A kind is used only after a trial process found itself locked.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
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
    """The best kind of sandbox that works here.

    unsafe: whether to return `NONE` where no kind works. False.
    Raises `MetaFaceError` where no kind works, unless `unsafe`.
    """
    for kind in (BUBBLEWRAP, USER):
        if works(kind):
            return kind
    if unsafe:
        return NONE
    raise MetaFaceError(
        "Nothing here can lock a submission in, so it could read and change all your files. Install bubblewrap (the"
        " package `bubblewrap` of your Linux), or grade as root in a container. Both need a kernel with seccomp, and a"
        " processor of the kind x86_64 or aarch64. `--unsafe` grades without a lock."
    )


@functools.cache
def works(kind: str) -> bool:
    """Whether a process of this kind finds itself locked."""
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
def running(kind: str, package_folder: Path, code: str) -> Iterator[socket.socket]:
    """A process that runs while the context lasts. Yields the channel to it.

    kind: of the sandbox.
    package_folder: the folder that it imports the package from.
    code: what it runs. `{lock}` in it is replaced by the first two arguments of `lock`. Inside, the channel is file 0.
    At the end the process is killed, and every process that it started.
    """
    with contextlib.ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaface-room-"))) / "room"
        room.mkdir()
        room.chmod(0o555)
        user = stack.enter_context(_user()) if os.geteuid() == 0 and kind != NONE else None
        lock = (None if kind == NONE else str(room), user)
        program = (
            f"import sys; sys.path.insert(0, {str(package_folder)!r}); "
            # `pip --editable` installs a finder that would always find the whole package.
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
            if user is not None:  # processes that left the group still belong to this user
                subprocess.run(["/bin/sh", "-c", "kill -9 -1"], user=user, group=user, extra_groups=[], stderr=-3)


@contextlib.contextmanager
def _user() -> Iterator[int]:
    """The number of an unused user, which nobody else who grades here gets while the context lasts.

    Each process gets one of its own, so that what a kernel keeps for a user reaches no other submission.
    Raises `MetaFaceError` if none is found.
    """
    for _ in range(_USERS):
        number = _FIRST_USER + secrets.randbelow(_USERS)
        with socket.socket(socket.AF_UNIX) as mark:
            if not _exists(number) and _bound(mark, f"\0metaface-grades-as-{number}"):
                yield number
                return
    raise MetaFaceError(
        "No number of an unused user is free here. Does too much grade at once? Use a smaller `--jobs`."
    )


def _exists(user: int) -> bool:
    import pwd  # not on Windows

    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def _bound(mark: socket.socket, name: str) -> bool:
    """Whether the name, which lies in memory and goes with the socket, was free and is now taken."""
    try:
        mark.bind(name)
    except OSError:
        return False
    return True


def _bwrap() -> str | None:
    return shutil.which("bwrap")


def _wrapped(command: list[str]) -> list[str]:
    root = os.geteuid() == 0
    return [
        str(_bwrap()),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/var/tmp"),  # PyTorch needs a temporary folder during its import
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        "--as-pid-1",  # else process 1 is bubblewrap's: not locked, and with the rights of the person who grades
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_CHROOT"),
        *(("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID") if root else ("--unshare-user",)),
        "--",
        *command,
    ]
