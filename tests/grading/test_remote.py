"""Every right and wrong answer of every exercise, run in the sandbox and judged from outside; and the protocol."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metaface_lessons.exercises import core
from metaface_lessons.grading import sandbox, visible_package
from metaface_lessons.grading.messages import Encoder
from metaface_lessons.grading.remote import Cell, Worker

LESSONS = sorted({e.lesson for e in core.exercises()})
KINDS = [kind for kind in (sandbox.BUBBLEWRAP, sandbox.USER) if sandbox.works(kind)] or [sandbox.NONE]

# The answers are in the modules of the lessons, as functions without a name: the module runs in the sandbox with its
# decorators replaced by some that number the answers.
COLLECT = """
answers = {}
def exercise(*args, **kwargs): return lambda f: f
def right_answer(name): return lambda a: answers.setdefault(name, []).append(a) or a
def wrong_answer(name, hint): return lambda a: answers.setdefault("not " + name, []).append(a) or a
fresh_arguments = fresh_check = exercise
class AnswerError(Exception): pass
class Wrong(Exception): pass
compact = describe = expect = generator = None
import torch
def generator(seed): return torch.Generator().manual_seed(seed)
"""


def collecting(lesson: str) -> str:
    lines = (Path(core.__file__).parent / f"lesson{lesson}.py").read_text(encoding="utf-8")
    lines = re.sub(r"^from __future__.*$", "", lines, flags=re.MULTILINE)
    lines = re.sub(r"^from \.core import (\([^)]*\)|.*)$", "", lines, flags=re.MULTILINE)
    return lines.replace("from ..", "from metaface_lessons.").replace("from .", "from metaface_lessons.exercises.")


@pytest.fixture(scope="module", params=[(kind, lesson) for kind in KINDS for lesson in LESSONS], ids="-".join)
def worker(request: pytest.FixtureRequest) -> Iterator[tuple[str, Worker]]:
    """A process in which all answers of a lesson wait."""
    kind, lesson = request.param
    source = collecting(lesson)
    setup = ["import copy", "import torch", "from torch.nn import functional as F"]
    with (
        visible_package.prepared(lesson) as folder,
        Worker(kind, folder, setup, sorted(visible_package.imported(source)), True) as worker,
    ):
        worker.run(Cell("collect", f"{COLLECT}\n{source}\ndef collected(): return 0", "collected"))
        yield lesson, worker


def outcomes(worker: Worker, exercise: core.Exercise, key: str, count: int) -> list[core.Outcome]:
    cells = (Cell(exercise.name, f"answer = answers[{key!r}][{i}]", "answer") for i in range(count))
    return [worker.judge(exercise, cell) for cell in cells]


@pytest.mark.parametrize("secret", [None, "one", "another"])
def test_right_answers_pass_from_afar(worker: tuple[str, Worker], secret: str | None) -> None:
    lesson, process = worker
    for exercise in core.exercises(lesson):
        with core.fresh_data(secret) if secret else pytest.MonkeyPatch.context():
            for outcome in outcomes(process, exercise, exercise.name, len(exercise.right_answers)):
                assert outcome.passed, f"{exercise.name}: {outcome.message}"


@pytest.mark.parametrize("secret", [None, "one"])
def test_wrong_answers_fail_from_afar(worker: tuple[str, Worker], secret: str | None) -> None:
    """On the learner's data with the hint written for it; on fresh data another example may be the first to fail."""
    lesson, process = worker
    for exercise in core.exercises(lesson):
        with core.fresh_data(secret) if secret else pytest.MonkeyPatch.context():
            found = outcomes(process, exercise, f"not {exercise.name}", len(exercise.wrong_answers))
        for outcome, wrong in zip(found, exercise.wrong_answers, strict=True):
            assert outcome.kind in (core.WRONG, core.RAISED), f"{exercise.name}, {wrong.hint}: {outcome}"
            assert secret or wrong.hint in outcome.message, f"{exercise.name}, {wrong.hint}: {outcome}"


@pytest.mark.parametrize("exercise", core.exercises(), ids=lambda exercise: exercise.name)
def test_every_exercise_is_marked_on_data_of_the_secret(exercise: core.Exercise) -> None:
    """Or a submission could hand over the numbers that a learner sees, without computing anything."""

    def asked(secret: str) -> set[str]:
        found = set()

        def recorded(*args: Any, **kwargs: Any) -> Any:
            encoder = Encoder(records=True)
            found.add(f"{encoder((args, kwargs))} {[bytes(part) for part in encoder.numbers]}")
            return exercise.right_answers[0](*args, **kwargs)

        with core.fresh_data(secret):
            assert core.judge(exercise, recorded).passed
        return found

    assert asked("one") - asked("another")
    assert asked("one") == asked("one")


# ----------------------------------------------------------------------------------------- what an answer leaves behind

LIAR = """
import metaface_lessons.grading.worker as worker
real = worker.snapshot, worker.Decoder
class Lying(worker.Decoder):
    def all(self, tree):
        value = super().all(tree)
        before.update({id(argument): real[0](argument) for argument in self.mutable})
        return value
before = {}
worker.Decoder, worker.snapshot = Lying, lambda value: before[id(value)]  # no answer has ever changed anything
"""
NETWORK = nn.Sequential(nn.Linear(2, 3, dtype=torch.float64), nn.BatchNorm1d(3, dtype=torch.float64))
HONEST, LEAKING, FORGETFUL, SETTING = (
    "def answer(x): return 3 * x.detach()",
    "def answer(x):\n    x.data += 1\n    return 3 * (x.detach() - 1)",
    "def answer(x):\n    (3 * x).sum().backward()\n    return x.grad.clone() * x.detach()",
    "def answer(net, x):\n    net.train()\n    return net(x).detach()",
)


def check_theta(answer: Callable[..., Any]) -> None:
    theta = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        core.expect(answer(theta), torch.tensor([3.0, 6.0]))


def check_network(answer: Callable[..., Any]) -> None:
    """The statistics of a batch must not stay in the network that is evaluated."""
    net, x = copy.deepcopy(NETWORK).eval(), torch.ones(4, 2, dtype=torch.float64)
    with torch.no_grad():
        wanted = net(x)
    for _ in range(2):
        core.expect(answer(net, x).sum() * 0 + answer(net.eval(), x), wanted)


@pytest.fixture(scope="module", params=KINDS)
def bare(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A process of a submission to lesson 00."""
    with (
        visible_package.prepared("00") as folder,
        Worker(request.param, folder, ["import torch"], [], True) as worker,
    ):
        yield worker


def judged(worker: Worker, check: Callable[..., None], source: str) -> core.Outcome:
    exercise = core.Exercise("mine", "00", "", 1, "", (), False, check)
    return worker.judge(exercise, Cell("mine", source, "answer"))


@pytest.mark.hostile
def test_an_object_that_is_handed_over_twice_is_what_the_first_call_left(bare: Worker) -> None:
    """Whatever the process reports about it."""
    assert judged(bare, check_theta, HONEST).passed
    for source in (LEAKING, FORGETFUL):
        outcome = judged(bare, check_theta, source)
        assert outcome.kind == core.WRONG, source
    assert judged(bare, check_network, "def answer(net, x): return net(x).detach()").passed
    assert not judged(bare, check_network, SETTING).passed
    bare.run(Cell("lie", f"{LIAR}\nanswer = 0", "answer"))
    assert judged(bare, check_theta, HONEST).passed
    for source in (LEAKING, FORGETFUL):
        outcome = judged(bare, check_theta, source)
        assert outcome.kind == core.WRONG, source
        assert "wanted" in outcome.message, "the second call gives another result"
    bare.run(Cell("truth", "worker.snapshot, worker.Decoder = real\nanswer = 0", "answer"))


def test_what_the_check_itself_changes_reaches_the_answer(bare: Worker) -> None:
    """Between two calls a check may train a network, and clear a gradient."""

    def check(answer: Callable[..., Any]) -> None:
        net = nn.Sequential(nn.Linear(2, 1))
        theta = torch.ones(2, requires_grad=True)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for step in range(3):
            core.expect(answer(net, optimiser, theta), net(theta).detach())
            net(theta).sum().backward()
            optimiser.step()
            if step == 1:
                optimiser.zero_grad()
                theta.grad = None
            with torch.no_grad():
                theta += 1

    assert judged(bare, check, "def answer(net, optimiser, theta): return net(theta).detach()").passed
    source = "def answer(net, optimiser, theta): return theta.detach().sum() * 0 + (theta.grad is None)"

    def check_gradient(answer: Callable[..., Any]) -> None:
        theta = torch.ones(2, requires_grad=True)
        for gradient in (None, torch.ones(2), None):
            theta.grad = gradient
            core.expect(answer(None, None, theta), torch.tensor(float(gradient is None)))

    assert judged(bare, check_gradient, source).passed


def test_gradients_flow_through_each_of_several_calls_with_one_object(bare: Worker) -> None:
    def check(answer: Callable[..., Any]) -> None:
        theta = torch.tensor([1.0, 2.0], requires_grad=True)
        one, other = answer(theta, theta), answer(theta, 2 * theta)
        (first,) = torch.autograd.grad(one.sum(), theta, retain_graph=True)
        core.expect(first, 2 * theta.detach())
        (second,) = torch.autograd.grad((one + other).sum(), theta)
        core.expect(second, 6 * theta.detach())

    outcome = judged(bare, check, "def answer(a, b): return a * b")
    assert outcome.passed, outcome.message


# ------------------------------------------------------------------------------------------------ honest, and unusual

TENSOR = "torch.tensor([1.0, 2.0])"
HABITS = {
    "prints a tensor": f"def answer():\n    x = {TENSOR}\n    print(x, x.requires_grad_())\n    return 0.5",
    "prints a network": "def answer():\n    print(torch.nn.Sequential(torch.nn.Linear(2, 2)))\n    return 0.5",
    "gives a fraction": "from fractions import Fraction\ndef answer(): return Fraction(1, 2)",
    "gives a long double": "import numpy as np\ndef answer(): return np.longdouble(0.5)",
    "tries it on the lesson's faces": "def answer():\n    return 0.5\nanswer(faces)",
    "displays it": "def answer():\n    return 0.5\ndisplay(answer())\ncheck('mine', answer)",
}


@pytest.mark.parametrize("habit", HABITS)
def test_an_honest_habit_costs_no_points(bare: Worker, habit: str) -> None:
    outcome = judged(bare, lambda answer: core.expect(answer(), 0.5), HABITS[habit])
    assert outcome.passed, outcome.message


def test_an_error_before_the_answer_is_defined_counts(bare: Worker) -> None:
    """What an earlier exercise, or an earlier copy of the cell, called by the same name is not the answer."""
    right = "def answer(): return 0.5\ncheck('mine', answer)"
    bare.run(Cell("earlier", right, "answer"))
    for before in ((), (right,)):
        with pytest.raises(core.AnswerError, match="NameError"):
            bare.run(Cell("mine", f"faces\n{right}", "answer", before))
