"""What a submission can import is what the answers of its lesson need."""

from __future__ import annotations

import pytest

from metaface_lessons import paths
from metaface_lessons.exercises import core
from metaface_lessons.grading import visible_package
from metaface_lessons.grading.marks import mark


@pytest.mark.parametrize("number", sorted({e.lesson for e in core.exercises()}))
def test_the_solved_lesson_gets_all_points(number: str, kind: str) -> None:
    """An answer that imports what the sandbox hides gets none: name it in `visible_package.LEFT`."""
    file = next((paths.NOTEBOOKS / "solutions").glob(f"{number}_*.ipynb"))
    with visible_package.prepared(number) as folder:
        marks = mark(file, number, kind, folder, "secret")
    assert [(m.exercise, m.points, m.text) for m in marks if m.points != m.of] == []


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        *(("torch", True), ("torch.func", True), ("torch.nn.functional", True), ("math", True), ("scipy.stats", True)),
        *(("torch._inductor.async_compile", False), ("torch.distributed", False), ("unittest.__main__", False)),
        *(("numpy.f2py.__main__", False), ("sklearn", False), ("antigravity", False), ("unittest.test", False)),
    ],
)
def test_what_is_imported_before_the_lock_starts_nothing(module: str, allowed: bool) -> None:
    """PyTorch's compiler, for one, starts processes by its import, which would run unlocked."""
    assert visible_package.may_import(module) == allowed
    assert visible_package.imported(f"import {module} as x") == ({module} if allowed else set())


@pytest.mark.parametrize("source", ["from scipy import special, stats", "import scipy\nscipy.stats.norm.cdf(0)"])
def test_the_parts_of_scipy_are_imported_whatever_the_form(source: str) -> None:
    """SciPy imports them when they are first used: after the lock, which is too late."""
    assert "scipy.stats" in visible_package.imported(source)


def test_a_submission_cannot_keep_its_start_waiting() -> None:
    source = "\n".join(f"import scipy.m{number}" for number in range(10_000))
    assert len(visible_package.imported(source)) <= 50
