"""Prints a table of all exercises: how many right answers their checks accept, how many wrong ones they catch.

python -m tests.answers        # exits with 1 if a check misses one
"""

from __future__ import annotations

import sys

from metaface_lessons.exercises.core import RAISED, WRONG, Exercise, WrongAnswer, exercises, judge


def accepted(exercise: Exercise, answer: object) -> bool:
    """Whether the check accepts a right answer."""
    return judge(exercise, answer).passed


def caught(exercise: Exercise, wrong: WrongAnswer) -> bool:
    """Whether the check refuses a wrong answer, with the hint that was written for it."""
    outcome = judge(exercise, wrong.answer)
    return outcome.kind in (WRONG, RAISED) and wrong.hint in outcome.message


def main() -> int:
    """Print the table, and return the exit code."""
    found = exercises()
    width = max(len(exercise.name) for exercise in found)
    row = f"{{:{width}}}  {{:>14}}  {{:>12}}".format
    print(row("exercise", "right accepted", "wrong caught"))
    rows = []
    for exercise in found:
        right = [accepted(exercise, answer) for answer in exercise.right_answers]
        wrong = [caught(exercise, answer) for answer in exercise.wrong_answers]
        rows.append((sum(right), len(right), sum(wrong), len(wrong)))
        print(row(exercise.name, f"{sum(right)}/{len(right)}", f"{sum(wrong)}/{len(wrong)}"), flush=True)
    right, rights, wrong, wrongs = (sum(column) for column in zip(*rows, strict=True))
    print(row(f"{len(found)} exercises", f"{right}/{rights}", f"{wrong}/{wrongs}"))
    return int((right, wrong) != (rights, wrongs))


if __name__ == "__main__":
    sys.exit(main())
