"""Hostile submissions: some try to get points without an answer, some try to spoil the others' marks. All fail.

Each is an answer to the first exercise of lesson 00, between right answers to the others. What breaks in does so before
it returns the right value, so that it gains the point exactly if it could break in.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from metaface_lessons import paths
from metaface_lessons.exercises import core
from metaface_lessons.grading import remote, sandbox, visible_package
from metaface_lessons.grading.marks import lesson, mark
from tests.grading.submissions import FILE, WHOLE, cell_of, notebook, points
from tests.needs import need

KINDS = [
    pytest.param(sandbox.BUBBLEWRAP, marks=pytest.mark.needs("bubblewrap", "namespaces")),
    pytest.param(sandbox.USER, marks=pytest.mark.needs("root")),
]
PACKAGE = str(Path(core.__file__).parent.parent)

pytestmark = [pytest.mark.hostile, pytest.mark.usefixtures("impatient")]


@pytest.fixture(scope="module", params=KINDS)
def each_kind(request: pytest.FixtureRequest) -> str:
    return request.param


# What an answer does before it would return the right value.
BREAK_INS = {
    "exits": "raise SystemExit(0)",
    "ends its process": "import os; os._exit(0)",
    "forks": "import os; [os.fork() for _ in range(20)]",
    "starts processes": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "starts threads": "import threading; threading.Thread(target=print).start()",
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
    "reads the checks": f"open({PACKAGE + '/exercises/lesson00.py'!r}).read()",
    "reads the solved lesson": f"open({str(paths.NOTEBOOKS / 'solutions' / FILE)!r}).read()",
    "reads the stored results": f"open({str(paths.DATA / 'results' / 'leak-olivetti.json')!r}).read()",
    "reads the passwords": "open('/etc/passwd').read()",
    "finds any file": "import os; next(f for _, _, files in os.walk('/') for f in files)",
    "lists processes": "import os; os.listdir('/proc')",
    "reads its own memory map": "open('/proc/self/maps').read()",
    "imports the checks": "from metaface_lessons.exercises import core",
    "imports the reference": "from metaface_lessons.networks import standardise",
    "imports the split": "from metaface_lessons.faces.faceset import FaceSet; FaceSet.split",
    "imports learn2learn": "import learn2learn",
    "imports scikit-learn": "import sklearn",
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
    "reads the secret in its environment": "import os; 1 / any('secret' in v for v in os.environ.values())",
    "reads the secret in memory": (
        "import gc; 1 / any('secret' == o for d in gc.get_objects() if isinstance(d, dict) for o in d.values()"
        " if isinstance(o, str))"
    ),
}
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


@pytest.mark.parametrize("what", BREAK_INS)
def test_an_answer_that(what: str, tmp_path: Path, each_kind: str, folder: Path) -> None:
    book = notebook()
    cell_of(book)["source"] = (
        f"def chance(ways):\n    {BREAK_INS[what]}\n    return 1 / ways\ncheck('start.chance', chance)"
    )
    got = points(book, tmp_path, each_kind, folder)
    assert got.pop("start.chance") == 0
    assert sum(got.values()) == WHOLE - 1, "the other answers are right"


@pytest.mark.parametrize("what", PATCHES)
def test_a_cell_that_patches(what: str, tmp_path: Path, each_kind: str, folder: Path) -> None:
    """It may spoil its own other answers, but gains nothing for the wrong one."""
    book = notebook()
    cell_of(book)["source"] = (
        f"{PATCHES[what]}\ndef chance(ways):\n    return 1 / ways if globals().get('found') else 0.123\n"
        "check('start.chance', chance)"
    )
    assert points(book, tmp_path, each_kind, folder)["start.chance"] == 0


def test_an_answer_that_changes_its_arguments_to_fit(tmp_path: Path, each_kind: str) -> None:
    """Only tensors that need a gradient are shared: if they are all zero, so is every prototype."""
    book = json.loads((paths.NOTEBOOKS / "solutions" / "02_prototypical_networks.ipynb").read_bytes())
    cell_id = lesson("02").cells["protonet.cosine_prototype"][0]
    cell = cell_of(book, cell_id)
    cell["source"] = f"""
import torch
{"".join(cell["source"]).replace("my_cosine_prototype", "right").split("check(")[0]}
def my_cosine_prototype(points):
    if not points.requires_grad:
        return right(points)
    points.data = torch.eye(4)[:1].expand(5, 4).clone()
    return points.sum(0) / 5
check("protonet.cosine_prototype", my_cosine_prototype)
"""
    file = tmp_path / "02_prototypical_networks.ipynb"
    file.write_text(json.dumps(book))
    with visible_package.prepared("02") as folder:
        found = {m.exercise: m for m in mark(file, "02", each_kind, folder, "secret")}
    cheat = found.pop("protonet.cosine_prototype")
    assert (cheat.points, cheat.text) == (0, remote.CHANGED)
    assert all(m.points == m.of for m in found.values())


def test_an_answer_that_opens_a_connection(tmp_path: Path, each_kind: str, folder: Path) -> None:
    if each_kind == sandbox.USER:
        need("a network of its own")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        book = notebook()
        attack = f"import socket; socket.create_connection({address!r}, 2)"
        cell_of(book)["source"] = f"def chance(ways):\n    {attack}\n    return 1 / ways\ncheck('start.chance', chance)"
        assert points(book, tmp_path, each_kind, folder)["start.chance"] == 0


def test_the_answers_as_they_are(tmp_path: Path, each_kind: str, folder: Path) -> None:
    """Without an attack all points are gained: what the others lose is not lost for another reason."""
    assert sum(points(notebook(), tmp_path, each_kind, folder).values()) == WHOLE
