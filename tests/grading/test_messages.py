"""What a submission may send instead of an answer: none of it counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.grading.submissions import WHOLE, cell_of, notebook, points

pytestmark = [pytest.mark.hostile, pytest.mark.usefixtures("impatient")]


RETURNS = {
    "nothing": "None",
    "an object that equals anything": "type('Any', (), {'__eq__': lambda s, o: True, '__float__': lambda s: 0.5})()",
    "a number that equals anything": "type('Any', (float,), {'__eq__': lambda s, o: True})(0.123)",
    "a tensor that equals anything": (
        "torch.zeros(1).as_subclass(type('Any', (torch.Tensor,), {'__eq__': lambda *a: 1}))"
    ),
    "NaN": "float('nan')",
    "infinity": "float('inf')",
    "a number that is too long": "10 ** 10000",
    "what contains itself": "(lambda x: x.append(x) or x)([])",
    "a class": "float",
    "a function": "lambda *a: 1 / ways",
    "a generator": "(1 / ways for _ in range(1))",
    "the table of the examples that everybody sees": "{5: 1 / 5, 2: 1 / 2, 20: 1 / 20}.get(ways, 0.0)",
}


@pytest.mark.parametrize("what", RETURNS)
def test_an_answer_that_returns(what: str, tmp_path: Path, kind: str, folder: Path) -> None:
    book = notebook()
    cell_of(book)["source"] = f"def chance(ways):\n    return {RETURNS[what]}\ncheck('start.chance', chance)"
    got = points(book, tmp_path, kind, folder)
    assert got.pop("start.chance") == 0
    assert sum(got.values()) == WHOLE - 1
