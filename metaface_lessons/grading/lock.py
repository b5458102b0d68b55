"""Locks a process: after `lock` it can only compute, and send and receive over its channel.

This runs inside the sandbox, after everything that a submission may import is imported, and before its first line.
From then on, the process can make no system call but those that computing needs (`seccomp`): it opens no file, starts
no process or thread, and reaches no other process. Its memory and its processor time are limited. It has no
privileges, and cannot get any.

Most is secured twice. Where the filter of system calls had a hole, the process would still see only an empty folder
that it cannot write to, as an unprivileged user, in namespaces of its own where the machine allows them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import sys

from . import seccomp

MEMORY = 1 << 30  # bytes that a submission may use, on top of Python and PyTorch
FILES = 32  # open files
_NEW_IPC, _NEW_NET = 0x08000000, 0x40000000  # CLONE_NEWIPC, CLONE_NEWNET
_PARENT_DEATH_SIGNAL, _DUMPABLE, _NO_NEW_PRIVILEGES = 1, 4, 38  # PR_SET_PDEATHSIG, PR_SET_DUMPABLE, …


def lock(room: str | None, user: int | None, cpu_seconds: int) -> None:
    """Lock this process.

    room: the empty folder that becomes its root; None to leave files and new processes allowed (`--unsafe`).
    user: the number of the unprivileged user to become; None where this process is not root.
    cpu_seconds: the limit of its processor time.
    Raises `OSError` if the system refuses a part of it.
    """
    if sys.platform != "linux":
        return  # only with `--unsafe`
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
            libc.unshare(_NEW_NET)  # where the machine allows it; `seccomp` refuses network and shared memory anyway
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
    privileges = libc.capset(_capabilities_header(), (ctypes.c_uint32 * 6)())
    for option, value in ((_NO_NEW_PRIVILEGES, 1), (_DUMPABLE, 0), (_PARENT_DEATH_SIGNAL, signal.SIGKILL)):
        privileges = libc.prctl(option, value, 0, 0, 0) or privileges
    if privileges:
        raise OSError(ctypes.get_errno(), "privileges cannot be dropped")
    if room is not None:
        seccomp.leave_session_keyring()
        seccomp.refuse_all_else()


def stay_alone() -> None:
    """From now on, this process starts no other. To be called before it imports what a submission names.

    A module may start helpers when it is imported, as PyTorch's compiler does. They would not be locked, and would obey
    the submission. Raises `OSError` if the system refuses it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "privileges cannot be dropped")
    seccomp.refuse_processes()


def _capabilities_header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process


def is_locked() -> bool:
    """Whether `lock` worked: this process tries what it must not do, and nothing of it succeeds.

    That is: to be root, to get more memory, and each system call that `seccomp` does not allow.
    """
    try:
        mmap.mmap(-1, 4 * MEMORY).close()
        return False
    except OSError:
        return os.getuid() != 0 and seccomp.all_else_is_refused()
