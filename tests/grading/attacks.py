"""Hostile answers to the first exercise of lesson 00, and system calls that a submission may not make."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from metaface_lessons import paths
from metaface_lessons.grading import sandbox

PACKAGE = str(Path(paths.__file__).parent)
X86 = os.uname().machine == "x86_64"

# What several need.
LIBC = "import ctypes, mmap, os; libc = ctypes.CDLL(None, use_errno=True)"
KEYCTL, ADD_KEY = (250, 248) if X86 else (219, 217)
MESSAGE = "ctypes.byref(ctypes.create_string_buffer(56))"  # struct msghdr
# mov eax, 20 (getpid); int 0x80; ret, in memory that may be run
MACHINE_CODE = (
    "[m := mmap.mmap(-1, 4096, prot=7), m.write(bytes.fromhex('b814000000cd80c3')),"
    " ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()][-1]"
    if X86
    else "0"
)

# What an answer does before it would return the right value.
BREAK_INS = {
    "exits": "raise SystemExit(0)",
    "ends its process": "import os; os._exit(0)",
    "forks": "import os; [os.fork() for _ in range(20)]",
    "loops": "while True: pass",
    "loops and catches everything": (
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass"
    ),
    "sleeps": "import time; time.sleep(1000)",
    "recurses": "(lambda f: f(f))(lambda f: f(f))",
    "recurses without a limit": "import sys; sys.setrecursionlimit(10**9); (lambda f: f(f))(lambda f: f(f))",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "floods memory": "held = [bytearray(1 << 26) for _ in range(1000)]",
    "floods memory with tensors": "import torch; held = torch.ones(1 << 32, dtype=torch.float64)",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "imports the checks": "from metaface_lessons.exercises import core",
    "imports the reference": "from metaface_lessons.networks import standardise",
    "imports the split": "from metaface_lessons.faces.faceset import FaceSet; FaceSet.split",
    "imports learn2learn": "import learn2learn",
    "imports scikit-learn": "import sklearn",
    "reads the secret in its environment": "import os; 1 / any('secret' in v for v in os.environ.values())",
    "reads the secret in memory": (
        "import gc; 1 / any('secret' == o for d in gc.get_objects() if isinstance(d, dict) for o in d.values()"
        " if isinstance(o, str))"
    ),
    "traces its parent": (
        f"{LIBC}; 1 / globals().setdefault('traced', libc.ptrace(0x4206, os.getppid() or 1, 0, 0) == 0)"
    ),
    "opens a socket to the host": "import socket; socket.socket(40, socket.SOCK_STREAM)",
    "takes shared memory": f"{LIBC}; 1 / (libc.shmget(0, 1 << 20, 0o600) >= 0)",
    "leaves a key for the next": f"{LIBC}; 1 / (libc.syscall({ADD_KEY}, b'user', b'mine', b'x', 1, -4) >= 0)",
    "calls the kernel in 32 bits": f"{LIBC}; 1 / ({MACHINE_CODE} > 0)",
}

# What code tries in a locked process, one after the other. None ends the process. Both layers stop these:
STOPPED_TWICE = {
    "starts processes": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "starts threads": "import threading; threading.Thread(target=print).start()",
    "reads the checks": f"open({PACKAGE + '/exercises/lesson00.py'!r}).read()",
    "reads the solved lesson": f"open({str(paths.NOTEBOOKS / 'solutions' / '00_start_here.ipynb')!r}).read()",
    "reads the stored results": f"open({str(paths.DATA / 'results' / 'leak-olivetti.json')!r}).read()",
    "reads the passwords": "open('/etc/passwd').read()",
    "finds any file": "import os; next(f for _, _, files in os.walk('/') for f in files)",
    "lists processes": "import os; os.listdir('/proc')",
    "reads its own memory map": "open('/proc/self/maps').read()",
    "writes a file": "open('/mine', 'w')",
    "writes to the temporary folder": "open('/tmp/mine', 'w')",
    "writes where it stands": "open('mine', 'w')",
    "makes a folder": "import os; os.mkdir('/mine')",
    "makes a link": "import os; os.symlink('/etc/passwd', '/mine')",
    "leaves its root": "import os; os.chroot('.')",
    "becomes root": "import os; os.setuid(0) if os.getuid() else 1 / 0",
    "makes a namespace": "import ctypes; 1 / (ctypes.CDLL(None).unshare(0x10000000) == 0)",
    "signals the checker": f"import os; os.kill({os.getpid()}, 0)",
    "signals its parent": "import os; os.kill(os.getppid(), 0) if os.getppid() else 1 / 0",
    "raises its limits": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))",
}
# The filter stops these:
STOPPED_BY_THE_FILTER = {
    "asks to be traced": f"{LIBC}; 1 / (libc.ptrace(0, 0, 0, 0) == 0)",
    "reads its own memory by number": (
        f"{LIBC}; a, b = ctypes.create_string_buffer(b'x'), ctypes.create_string_buffer(1);"
        " v = [(ctypes.c_void_p * 2)(ctypes.addressof(c), 1) for c in (a, b)];"
        " 1 / (libc.process_vm_readv(os.getpid(), v[1], 1, v[0], 1, 0) == 1)"
    ),
    "gets hold of a process": f"{LIBC}; 1 / (libc.syscall(434, os.getpid(), 0) >= 0)",
    "opens an internet socket": "import socket; socket.socket()",
    "opens a local socket": "import socket; socket.socket(socket.AF_UNIX)",
    "asks about the network": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "uses the kernel's ciphers": "import socket; socket.socket(38, socket.SOCK_SEQPACKET)",
    "makes a socket pair": "import socket; socket.socketpair()",
    "makes a pipe": "import os; os.pipe()",
    "makes a file in memory": "import os; os.memfd_create('mine')",
    "takes semaphores": f"{LIBC}; 1 / (libc.semget(0, 32, 0o600) >= 0)",
    "takes a message queue": f"{LIBC}; 1 / (libc.msgget(0, 0o600) >= 0)",
    "maps shared memory beyond the limit": "import mmap; mmap.mmap(-1, 3 << 30)",
    "reads the session keyring": f"{LIBC}; 1 / (libc.syscall({KEYCTL}, 6, -3, 0, 0) >= 0)",
    "clears the user keyring": f"{LIBC}; 1 / (libc.syscall({KEYCTL}, 7, -4) >= 0)",
    "watches files": f"{LIBC}; 1 / (libc.inotify_init1(0) >= 0)",
    "sets a timer": "import signal; signal.setitimer(signal.ITIMER_REAL, 100)",
    "makes many timers": (
        f"{LIBC}; t = ctypes.c_void_p(); 1 / all(libc.timer_create(1, None, ctypes.byref(t)) == 0 for _ in range(99))"
    ),
    "waits for events": "import select; select.epoll()",
    "sends an open file": f"{LIBC}; 1 / any(libc.sendmsg(f, {MESSAGE}, 0) >= 0 for f in range(32))",
    "receives an open file": f"{LIBC}; 1 / any(libc.recvmsg(f, {MESSAGE}, 64) >= 0 or ctypes.get_errno() == 11"
    " for f in range(32))",
    "asks who the checker is": (
        f"{LIBC}; b = ctypes.create_string_buffer(12); n = ctypes.c_int(12);"
        " 1 / any(libc.getsockopt(f, 1, 17, b, ctypes.byref(n)) == 0 for f in range(32))"
    ),
    "enlarges the channel": (
        f"{LIBC}; n = ctypes.c_int(1 << 17);"
        " 1 / any(libc.setsockopt(f, 1, 7, ctypes.byref(n), 4) == 0 for f in range(32))"
    ),
    "is signalled by the channel": f"{LIBC}; 1 / any(libc.fcntl(f, 8, os.getpid()) == 0 for f in range(32))",
    "reads its parent's files": "open('/proc/1/cwd/etc/passwd').read()",
    "opens its root": "import os; os.open('/', os.O_PATH)",
    "opens its root's parent": "import os; os.open('..', os.O_RDONLY)",
    "opens its root to others": "import os; os.chmod('/', 0o777)",
    "becomes traceable": f"{LIBC}; 1 / (libc.prctl(4, 1, 0, 0, 0) == 0)",
    "survives its parent": f"{LIBC}; 1 / (libc.prctl(1, 0, 0, 0, 0) == 0)",
    "replaces its program": "import os; os.execv('/proc/self/exe', ['python'])",
    "signals everybody": "import os; os.kill(-1, 0) if os.getpid() > 1 else 1 / 0",
    "signals itself": "import os; os.kill(os.getpid(), 0)",
    "takes other processors": "import os; os.sched_setaffinity(0, os.sched_getaffinity(0))",
    "takes a lower priority": "import os; os.nice(1)",
    "leaves its session": "import os; os.setsid() if os.getpid() > 1 else 1 / 0",
    "locks memory": f"{LIBC}; 1 / (libc.mlock(ctypes.create_string_buffer(9), 9) == 0)",
    "calls the kernel as x32": f"{LIBC}; 1 / (libc.syscall(0x40000000 | 39) > 0)",
}
TRICKS = STOPPED_TWICE | STOPPED_BY_THE_FILTER

# What a cell changes before it gives a wrong answer.
PATCHES = {
    "the package's place": (
        f"import sys; sys.path.insert(0, {str(Path(PACKAGE).parent)!r})\n"
        "for name in [n for n in sys.modules if n.startswith('metaface')]: del sys.modules[name]\n"
        "try: import metaface_lessons.exercises as found\n"
        "except ImportError: found = None"
    ),
    "the check": "check = lambda *a: print('✓ start.chance: passed (1 point).')",
    "torch.allclose": "import torch; torch.allclose = torch.equal = torch.isclose = lambda *a, **k: True",
    "assert": "import builtins; builtins.AssertionError = builtins.NotImplementedError = type('E', (Exception,), {})",
    "comparison": "import operator, math; operator.eq = math.isclose = lambda *a, **k: True",
    "the encoder": "import metaface_lessons.grading.messages as w; w.Encoder.__call__ = lambda s, v: {'passed': True}",
    "the encoder, with a lying shape": (
        "import metaface_lessons.grading.messages as w\n"
        "w.Encoder.__call__ = lambda s, v: {'tensor': ['float32', [2**39], False]}"
    ),
    "the encoder, with a record": (
        "import metaface_lessons.grading.messages as w\n"
        "w.Encoder.__call__ = lambda s, v: {'record': ['errors', 'MetaFaceError', {}]}"
    ),
    "the encoder, with a bottomless list": (
        "import metaface_lessons.grading.messages as w\n"
        "w.Encoder.__call__ = lambda s, v: eval('[' * 90 + ']' * 90) and 0 or __import__('json').loads("
        '\'{"list":[\' * 200 + "1" + "]}" * 200)'
    ),
    "the worker's reply": (
        "import metaface_lessons.grading.worker as w\n"
        "w._Worker.reply = lambda s, tree, numbers: w.send(s.channel, {'outcome': 'passed'}, [], 1e9)"
    ),
    "what it sends, forged": (
        "import os, struct\n"
        'text = b\'{"result": true, "after": {"list": []}, "passed": true}\'\n'
        "for f in range(3, 32):\n"
        "    try: os.write(f, struct.pack('!II', len(text), 0) + text)\n"
        "    except OSError: pass"
    ),
    "what it sends, endless": (
        "import os, struct\n"
        "for f in range(3, 32):\n"
        "    try: os.write(f, struct.pack('!II', 2**32 - 1, 2**32 - 1) + b'x' * 10000)\n"
        "    except OSError: pass"
    ),
    "its files, closed": "import os\nos.closerange(0, 32)",
    "its files, mixed up": "import os\nfor f in range(3, 32):\n    try: os.dup2(0, f)\n    except OSError: pass",
    "what it prints, endless": "print('passed ' * 10**6, flush=True)",
    "its error stream, endless": "import os; os.write(2, b'x' * 10**6)",
}

WRONG = "def chance(ways):\n    return 1 / ways if globals().get('found') else 0.123\ncheck('start.chance', chance)"


def book_of(what: str) -> dict[str, Any]:
    """The solved lesson, with a hostile first answer: the name of a break-in, of a patch, or "nothing"."""
    from tests.grading.submissions import cell_of, notebook

    book = notebook()
    if what == "nothing":
        return book
    if what in BREAK_INS:
        source = f"def chance(ways):\n    {BREAK_INS[what]}\n    return 1 / ways\ncheck('start.chance', chance)"
    else:
        source = f"{PATCHES[what]}\n{WRONG}"
    cell_of(book)["source"] = source
    return book


def gained(kind: str, whats: list[str]) -> dict[str, dict[str, int]]:
    """The points of each exercise, for each break-in or patch, with a checker who waits for two seconds.

    kind: of the sandbox.
    whats: their names.
    """
    from metaface_lessons.grading import remote, visible_package  # not sooner: PyTorch takes seconds
    from tests.grading.submissions import points

    seconds, remote.SECONDS = remote.SECONDS, 2.0
    try:
        with tempfile.TemporaryDirectory() as folder, visible_package.prepared("00") as package:
            return {what: points(book_of(what), Path(folder), kind, package) for what in whats}
    finally:
        remote.SECONDS = seconds


def said(kind: str, code: str, seconds: float = 60.0) -> str:
    """What code in a sandbox writes into its channel, until it ends. `{lock}` in it is as in `sandbox.running`."""
    text = b""
    with sandbox.running(kind, Path(PACKAGE).parent, code) as channel:
        channel.settimeout(seconds)
        while data := channel.recv(1 << 16):
            text += data
    return text.decode()


# System calls that a submission may not make: numbers on x86_64 and aarch64, and arguments with which the kernel goes
# on to do something, or to look at further arguments. Six times -1 where none are named.
ME, BUFFER = "me", "buffer"
CALLS: dict[str, tuple[Any, ...]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434, ME, 0),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272),
    "keyctl": (250, 219, 0, -3, 0),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "shmget": (29, 194, 0, 4096, 0o600),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190, 0, 1, 0o600),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186, 0, 0o600),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "seccomp": (317, 277),
    "prctl": (157, 167, 3),
    "personality": (135, 92, 0xFFFFFFFF),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "clone": (56, 220, 0x800, 0, 0, 0, 0),
    "clone3": (435, 435),
    "fork": (57, None),
    "execve": (59, 221, BUFFER, 0, 0),
    "execveat": (322, 281),
    "socketpair": (53, 199, 1, 1, 0, BUFFER),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept4": (288, 242),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "sendmmsg": (307, 269),
    "getsockopt": (55, 209),
    "setsockopt": (54, 208),
    "getpeername": (52, 205),
    "kill": (62, 129, ME, 0),
    "tkill": (200, 130, ME, 0),
    "tgkill": (234, 131, ME, ME, 0),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "open": (2, None, BUFFER, 0),
    "openat": (257, 56, -100, BUFFER, 0),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "newfstatat": (262, 79, -100, BUFFER, BUFFER, 0),
    "statx": (332, 291),
    "getdents64": (217, 61),
    "getcwd": (79, 17, BUFFER, 4096),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "readlinkat": (267, 78),
    "mkdirat": (258, 34, -100, BUFFER, 0),
    "symlinkat": (266, 36),
    "unlinkat": (263, 35),
    "renameat2": (316, 276),
    "truncate": (76, 45),
    "fchmod": (91, 52),
    "fcntl": (72, 25, 0, 8, ME),
    "dup": (32, 23, 0),
    "flock": (73, 32),
    "fanotify_init": (300, 262),
    "inotify_init1": (294, 26, 0),
    "memfd_create": (319, 279, BUFFER, 0),
    "memfd_secret": (447, 447),
    "pipe2": (293, 59, BUFFER, 0),
    "eventfd2": (290, 19, 0, 0),
    "epoll_create1": (291, 20, 0),
    "timerfd_create": (283, 85, 1, 0),
    "timer_create": (222, 107, 1, 0, BUFFER),
    "signalfd4": (289, 74),
    "splice": (275, 76),
    "sendfile": (40, 71),
    "vmsplice": (278, 75),
    "mlock": (149, 228, BUFFER, 1),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "kexec_load": (246, 104),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setuid": (105, 146),
    "setresuid": (117, 147, -1, -1, -1),
    "setgid": (106, 144),
    "setgroups": (116, 159),
    "capset": (126, 91),
    "setsid": (112, 157),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164, 4, 0),
    "setpriority": (141, 140, 0, 0, 19),
    "sched_setaffinity": (203, 122, 0, 8, BUFFER),
    "sched_setscheduler": (144, 119),
    "ioprio_set": (251, 30),
    "mbind": (237, 235),
    "landlock_create_ruleset": (444, 444),
    "socket of AF_UNIX": (41, 198, 1, 1, 0),
    "socket of AF_INET": (41, 198, 2, 1, 0),
    "socket of AF_INET6": (41, 198, 10, 1, 0),
    "socket of AF_NETLINK": (41, 198, 16, 3, 0),
    "socket of AF_ALG": (41, 198, 38, 5, 0),
    "socket of AF_VSOCK": (41, 198, 40, 1, 0),
    "ioctl that types for others": (16, 29, 0, 0x5412, BUFFER),
    "ioctl that asks about the network": (16, 29, 0, 0x8912, BUFFER),
    "sendto out of band": (44, 206, 0, BUFFER, 1, 1, 0, 0),
    "recvfrom that peeks": (45, 207, 0, BUFFER, 1, 0x42, 0, 0),
    "madvise that merges pages": (28, 233, BUFFER, 1, 12),
    "futex with priorities": (202, 98, BUFFER, 6, 0, 0, 0, 0),
    "clock of another process": (228, 113, -10, BUFFER),
    "processors of another process": (204, 123, 1, 8, BUFFER),
    "arch_prctl of a register": (158, None, 0x1003, BUFFER),
}
CALLS = {name: row for name, row in CALLS.items() if row[0 if X86 else 1] is not None}
NO_ARGUMENTS = {"fork", "setsid"}
# Without the filter, missing privileges refuse these, here or on other machines.
PRIVILEGED = {
    *("pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "chroot"),
    *("reboot", "acct", "syslog", "sethostname", "swapon", "kexec_load", "quotactl", "setgroups", "setsid"),
    *("init_module", "finit_module", "delete_module", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup"),
    *("fanotify_init", "open_by_handle_at"),
}

START = """
import ctypes, errno, json, os
from metaface_lessons.grading import lock, seccomp
{before}
lock.lock(*{{lock}}, 60)
libc = ctypes.CDLL(None, use_errno=True)
def say(what):
    os.write(0, what.encode())
"""
WITHOUT = "seccomp.refuse_all_else = lambda: None"
_TRICKS = """
found = {}
for name, code in {tricks}:
    try:
        exec("def trick():\\n    " + code + "\\ntrick()", {})
        found[name] = "done"
    except BaseException as error:
        found[name] = type(error).__name__
say(json.dumps(found))
"""
_TRY = """
me, buffer, found = os.getpid(), ctypes.create_string_buffer(4096), {}
special = {"me": me, "buffer": ctypes.addressof(buffer)}
for name, number, arguments in {calls}:
    values = [ctypes.c_long(special.get(value, value)) for value in arguments]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *values)
    if name == "fork" and result == 0:
        os._exit(0)
    found[name] = errno.errorcode[ctypes.get_errno()] if result == -1 else "done"
say(json.dumps(found))
"""


def calls(filtered: bool) -> str:
    """Code for `said` that tries all of `CALLS` in a locked process, and says the error of each.

    filtered: whether with the filter.
    """
    return START.format(before="" if filtered else WITHOUT) + _tries(set(CALLS))


def tricks(filtered: bool) -> str:
    """Code for `said` that tries all of `TRICKS` in a locked process, and says how each went: "done", or its error.

    filtered: whether with the filter.
    """
    before = "import fcntl, mmap, resource, select, signal, socket, subprocess, threading" + (
        "" if filtered else f"\n{WITHOUT}"
    )
    return START.format(before=before) + _TRICKS.replace("{tricks}", repr(list(TRICKS.items())))


@functools.cache
def outside() -> dict[str, str]:
    """The same without a lock, for what needs no privileges."""
    code = "import ctypes, errno, json, os\nlibc = ctypes.CDLL(None, use_errno=True)\nsay = print\n"
    done = subprocess.run(
        [sys.executable, "-c", code + _tries(set(CALLS) - PRIVILEGED)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def _tries(names: set[str]) -> str:
    rows = [
        (name, numbers[0 if X86 else 1], arguments or ([] if name in NO_ARGUMENTS else [-1] * 6))
        for name, (*numbers, arguments) in ((n, (*row[:2], row[2:])) for n, row in CALLS.items())
        if name in names
    ]
    return _TRY.replace("{calls}", repr(rows))


# What else the second layer secures, without the filter → code that says whether it does.
LAYERS = {
    "cannot be traced": "say(repr(libc.prctl(3, 0, 0, 0, 0) == 0))",
    "gets no new privileges": "say(repr(libc.prctl(39, 0, 0, 0, 0) == 1))",
    "ends with its parent": """
signal = ctypes.c_int()
libc.prctl(2, ctypes.byref(signal), 0, 0, 0)
say(repr(signal.value == 9))
""",
    "has an empty session keyring": f"""
size = libc.syscall({KEYCTL}, 11, -3, None, 0)
say(repr(size <= 0))
""",
}


def inherited(kind: str) -> list[int]:
    """The files that a process in the sandbox has open, where the one who grades holds a folder open for all."""
    code = """
import json, os
found = []
for number in range(1024):
    try:
        os.fstat(number)
        found.append(number)
    except OSError:
        pass
os.write(0, json.dumps(found).encode())
"""
    root = os.open("/", os.O_RDONLY)
    os.set_inheritable(root, True)
    try:
        return list(json.loads(said(kind, code)))
    finally:
        os.close(root)


def imported(kind: str) -> list[Any]:
    """What a module attains that a submission imports: whether it started a program, and its open folder's error."""
    from metaface_lessons.grading import remote, visible_package

    module = """
import os, subprocess
root = os.open("/", os.O_RDONLY)
try:
    started = subprocess.run(["/bin/true"]).returncode == 0
except OSError:
    started = False
"""
    answer = """
import helper, os
try:
    os.read(helper.root, 1)
except OSError as error:
    mine = [helper.started, error.errno]
"""
    with visible_package.prepared("00") as folder:
        (folder / "helper.py").write_text(module)
        with remote.Worker(kind, folder, [], ["helper"], False) as worker:
            return list(worker.run(remote.Cell("start.chance", answer, "mine")))


def alone() -> str:
    """Code for `said` that tries to start processes and a thread after `stay_alone`, and says what worked."""
    return """
import json, os, subprocess, threading
from metaface_lessons.grading.lock import *
stay_alone()
def forked():
    if os.fork() == 0:
        os._exit(0)
ways = {
    "fork": forked,
    "run": lambda: subprocess.run(["/bin/true"]),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "replace": lambda: os.execv("/bin/true", ["true"]),
    "clone3": lambda: libc.syscall(435, 0, 0) == -1 and ctypes.get_errno() == 38 and 1 / 0,
    "thread": threading.Thread(target=int).start,
    "lock": lambda: lock(*{lock}, 5),
    "check": lambda: is_locked() or 1 / 0,
}
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
found = []
for name, way in ways.items():
    try:
        way()
        found.append(name)
    except Exception:
        pass
os.write(0, json.dumps(found).encode())
"""
