"""Takes all system calls from this process but those that computing needs (`ALLOWED`), by Linux's seccomp.

The table lists what is allowed, not what is refused: a call that a later kernel brings is refused as well. No call in
it takes a path, the number of another process, or makes a new file, process, thread or socket. So the process can read
and write the files that it has open, and compute. Everything else fails with EPERM, which an answer sees as an ordinary
`PermissionError`. Calls of another kind of processor (32 bits, x32) are refused altogether.

The program for the kernel is written out here, because no maintained package for it is on PyPI. Its form:
https://docs.kernel.org/userspace-api/seccomp_filter.html and /usr/include/linux/{filter,seccomp,audit}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple


class Call(NamedTuple):
    """A system call.

    x86_64, aarch64: its numbers there; None where there is no such call.
    argument: which argument the permission depends on; None if it is allowed with all.
    values: what the argument may be. All of these arguments have 32 bits: the kernel drops higher ones.
    """

    x86_64: int | None
    aarch64: int | None
    argument: int | None = None
    values: tuple[int, ...] = ()


_CLOCKS = tuple(range(12))  # the system's; a negative one is the processor time of a process
# FUTEX_WAIT, FUTEX_WAKE and both with BITSET; also with FUTEX_PRIVATE_FLAG, and where they wait, FUTEX_CLOCK_REALTIME
_FUTEX = (0, 1, 9, 10, 128, 129, 137, 138, 265, 393)
ALLOWED = {
    # the channel and the null device, which are open
    "read": Call(0, 63),
    "write": Call(1, 64),
    "readv": Call(19, 65),
    "writev": Call(20, 66),
    "close": Call(3, 57),
    # No flags: out-of-band data once let Chrome's sandbox down. recvmsg and sendmsg would pass open files.
    "recvfrom": Call(45, 207, argument=3, values=(0,)),
    "sendto": Call(44, 206, argument=3, values=(0,)),
    "poll": Call(7, None),
    "ppoll": Call(271, 73),
    "ioctl": Call(16, 29, argument=1, values=(0x5421,)),  # FIONBIO: Python sets a time limit with it
    # memory, which RLIMIT_AS limits
    "brk": Call(12, 214),
    "mmap": Call(9, 222),
    "munmap": Call(11, 215),
    "mremap": Call(25, 216),
    "mprotect": Call(10, 226),  # PyTorch writes machine code for convolutions
    # MADV_NORMAL to MADV_DONTNEED, MADV_FREE, MADV_[NO]HUGEPAGE. Merged pages would show what other processes hold.
    "madvise": Call(28, 233, argument=2, values=(0, 1, 2, 3, 4, 8, 14, 15)),
    "arch_prctl": Call(158, None, argument=0, values=(0x1021, 0x1022, 0x1023)),  # the matrix unit AMX
    # locks within the process, clocks, chance, and where it runs
    "futex": Call(202, 98, argument=1, values=_FUTEX),
    "clock_gettime": Call(228, 113, argument=0, values=_CLOCKS),
    "clock_getres": Call(229, 114, argument=0, values=_CLOCKS),
    "gettimeofday": Call(96, 169),
    "time": Call(201, None),
    "nanosleep": Call(35, 101),
    "clock_nanosleep": Call(230, 115, argument=0, values=_CLOCKS),
    "getrusage": Call(98, 165),
    "times": Call(100, 153),
    "getrandom": Call(318, 278),
    "sched_yield": Call(24, 124),
    "sched_getaffinity": Call(204, 123, argument=0, values=(0,)),
    "getcpu": Call(309, 168),
    "sysinfo": Call(99, 179),  # the C library's `qsort` asks how much memory there is
    "uname": Call(63, 160),
    # signals that it gets
    "rt_sigaction": Call(13, 134),
    "rt_sigprocmask": Call(14, 135),
    "rt_sigreturn": Call(15, 139),
    "sigaltstack": Call(131, 132),
    "restart_syscall": Call(219, 128),
    # who it is
    "getpid": Call(39, 172),
    "gettid": Call(186, 178),
    "getppid": Call(110, 173),
    "getuid": Call(102, 174),
    "geteuid": Call(107, 175),
    "getgid": Call(104, 176),
    "getegid": Call(108, 177),
    # its end
    "exit": Call(60, 93),
    "exit_group": Call(231, 94),
}

_SECCOMP, _KEYCTL, _PRCTL = Call(317, 277), Call(250, 219), Call(157, 167)
_FORK, _VFORK, _EXECVE, _EXECVEAT = Call(57, None), Call(58, None), Call(59, 221), Call(322, 281)
_CLONE, _CLONE3 = Call(56, 220), Call(435, 435)
_THREAD = 0x00010000  # CLONE_THREAD
_SET_MODE_FILTER, _ALL_THREADS, _JOIN_SESSION = 1, 1, 1  # SECCOMP_FILTER_FLAG_TSYNC, KEYCTL_JOIN_SESSION_KEYRING
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_…
_X32 = 0x40000000  # x86_64's calls with 32-bit pointers have this bit
_KERNELS_OWN = {335, 336}  # uretprobe and uprobe of x86_64: they end the process that calls them, filtered or not
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # places in struct seccomp_data
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_IF_AT_LEAST, _IF_HAS_BITS = 0x35, 0x45  # BPF_JMP|BPF_JGE|BPF_K, BPF_JMP|BPF_JSET|BPF_K
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
_ABSENT = 0x00050000 | errno.ENOSYS

_Instruction = tuple[int, int, int, int]  # code, steps to skip if equal, steps to skip otherwise, value


def refuse_all_else() -> None:
    """Refuse this process, and each of its threads, what is not in `ALLOWED`. Nothing can undo it.

    The process must have set PR_SET_NO_NEW_PRIVS. Raises `OSError` where the system has no such filter, or where the
    processor's numbers are not known here.
    """
    steps: list[_Instruction] = []
    for call in ALLOWED.values():
        then = [(_RETURN, 0, 0, _ALLOW)] if call.argument is None else _if_argument(call.argument, call.values)
        steps += _if_call(call, then)
    _install([*steps, (_RETURN, 0, 0, _REFUSE)])


def refuse_processes() -> None:
    """Refuse this process to start another, or another program. Threads remain allowed, and so does all else.

    Conditions and errors are those of `refuse_all_else`, which may follow.
    """
    steps: list[_Instruction] = [(_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE)]
    for call in (_FORK, _VFORK, _EXECVE, _EXECVEAT):
        steps += _if_call(call, [(_RETURN, 0, 0, _REFUSE)])
    steps += _if_call(_CLONE3, [(_RETURN, 0, 0, _ABSENT)])  # its flags are in memory; the C library then takes `clone`
    thread = [(_LOAD, 0, 0, _ARGUMENTS), (_IF_HAS_BITS, 1, 0, _THREAD), (_RETURN, 0, 0, _REFUSE)]
    _install([*steps, *_if_call(_CLONE, thread), (_RETURN, 0, 0, _ALLOW)])


def all_else_is_refused() -> bool:
    """Whether every system call that is not in `ALLOWED` fails with EPERM: each is tried."""
    passed = {_number(call) for call in ALLOWED.values() if call.argument is None}
    more: list[int] = []
    if _machine() == "x86_64":
        passed |= _KERNELS_OWN
        more = [_X32 | number for number in range(1024)]
    tried = [number for number in range(1024) if number not in passed] + more
    # A harmless one first: without a filter the others are not tried.
    return all(_is_refused(number) for number in [_number(_PRCTL), *tried])


def leave_session_keyring() -> None:
    """Replace the session keyring, which may hold keys of the person who grades, by an empty one.

    A system that has or allows no keyrings refuses it. There this process gets at no key anyway.
    """
    _call(_number(_KEYCTL), _JOIN_SESSION, None)


def _install(steps: list[_Instruction]) -> None:
    """Filter system calls by these steps, which find the call's number loaded. Another processor's are refused."""
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, _ARCHITECTURES[_machine()]),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
        *steps,
    ]
    data = b"".join(struct.pack("HBBI", *step) for step in program)
    text = ctypes.create_string_buffer(data, len(data))
    header = struct.pack("HP", len(program), ctypes.addressof(text))
    result = _call(_number(_SECCOMP), _SET_MODE_FILTER, _ALL_THREADS, ctypes.create_string_buffer(header, len(header)))
    if result:
        raise OSError(ctypes.get_errno(), "system calls cannot be refused")


def _if_call(call: Call, then: list[_Instruction]) -> list[_Instruction]:
    """Do steps for this call, where the processor has it."""
    number = getattr(call, _machine())
    return [] if number is None else [(_IF_EQUAL, 0, len(then), number), *then]


def _if_argument(argument: int, values: tuple[int, ...]) -> list[_Instruction]:
    """Allow the call if the argument has one of the values, else refuse it."""
    tests = [step for value in values for step in ((_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW))]
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), *tests, (_RETURN, 0, 0, _REFUSE)]


def _machine() -> str:
    machine = os.uname().machine
    if machine not in _ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"the numbers of system calls on {machine} are not known here")
    return machine


def _number(call: Call) -> int:
    number = getattr(call, _machine())
    return -1 if number is None else number


def _call(number: int, *arguments: object) -> int:
    """A system call. Its error is in `ctypes.get_errno()`."""
    ctypes.set_errno(0)
    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))


def _is_refused(number: int) -> bool:
    minus_one = ctypes.c_long(-1)
    return _call(number, *[minus_one] * 6) == -1 and ctypes.get_errno() == errno.EPERM
