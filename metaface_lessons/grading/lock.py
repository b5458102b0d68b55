"""The way into the lock: after `lock` this process can compute and talk over its channel, and nothing else.

It runs inside the sandbox, before any line of a submission, when all that a submission may import has been imported.
From then on the root of its files is an empty folder that it cannot write to; it can start no process and no thread;
its memory and its processor time are limited; it has no privilege left, and no way to get one.
"""

from __future__ import annotations

import ctypes
import os
import resource

MEMORY = 1 << 30  # bytes that a submission may use, on top of Python and PyTorch
FILES = 32  # open files
_NEW_IPC, _NEW_NET = 0x08000000, 0x40000000  # CLONE_NEWIPC, CLONE_NEWNET
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS


def lock(room: str | None, user: int | None, cpu_seconds: int) -> None:
    """room: the empty folder that becomes the root; None where files are not to be locked away (`--unsafe`).

    user: the number of the unprivileged user to become; None where this process is not root.
    Raises `OSError` if a part of it is refused.
    """
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: size + MEMORY,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_NOFILE: FILES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    libc = ctypes.CDLL(None, use_errno=True)
    if room is not None:
        os.umask(0o777)
        if user is not None:
            libc.unshare(_NEW_NET)  # where the machine allows it: no network, and no memory shared with others
            libc.unshare(_NEW_IPC)
        os.chroot(room)
        os.chdir("/")
        limits[resource.RLIMIT_NPROC] = 1
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.capset(_capabilities_header(), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "privileges cannot be dropped")


def _capabilities_header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process


def is_locked() -> bool:
    """Whether it worked: no file in sight, no new process, not root."""
    try:
        if os.fork() == 0:
            os._exit(0)
        forked = True
    except OSError:
        forked = False
    return not os.listdir("/") and not os.access("/", os.W_OK) and not forked and os.getuid() != 0
