"""Settings are chosen on validation people, and what was tried is kept. How much of the best score is luck.

found = choose({"slow": {"rate": 0.01}, "fast": {"rate": 0.1}}, trained_and_evaluated, Path("rates.json"))
found.best      # "fast"
print(found)    # everything that was tried, and what cannot be told from the best
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MetaFaceError
from .evaluation import Difference, Evaluation, from_json, paired, to_json
from .paths import write_atomically


@dataclass(frozen=True)
class Choice:
    """What `choose` found.

    best: the name of the candidate with the highest score; of several, the first.
    tried: by name, in the order tried, `score` and `from_best`, the paired difference to the best (None without
        episodes to pair, and for the best itself).
    """

    best: str
    tried: Mapping[str, tuple[float, Difference | None]]

    @property
    def as_good(self) -> list[str]:
        """The candidates that cannot be told from the best: of equal score, or with 0 in the wider interval."""
        top = self.tried[self.best][0]
        return [
            name
            for name, (score, difference) in self.tried.items()
            if name != self.best and (score == top or (difference is not None and difference.verdict == "cannot tell"))
        ]

    def scores(self) -> dict[str, Any]:
        """To store: the best; and of each candidate its score, its difference to the best, whether that decides."""
        return {
            "best": self.best,
            "tried": {
                name: {"score": round(score, 4)}
                | ({} if difference is None else {"from_best": difference.scores()})
                | ({"as_good": True} if name in self.as_good else {})
                for name, (score, difference) in self.tried.items()
            },
        }

    def __str__(self) -> str:
        lines = []
        width = max(map(len, self.tried))
        for name, (score, difference) in self.tried.items():
            end = "" if difference is None else f"   {difference}"
            mark = "   best" if name == self.best else "   cannot be told from the best" if name in self.as_good else ""
            lines.append(f"{name:{width}s} {100 * score:6.1f}{end}{mark}")
        return "\n".join(lines)


def choose(
    candidates: Mapping[str, Any],
    score: Callable[[Any], Evaluation | float],
    file: Path | None = None,
) -> Choice:
    """Try every candidate, score it on validation people, and choose the best.

    Nobody of the people that results are reported on may be among those who choose: the best of many is partly the
    luckiest, so its score here is too high. Report it on novel people, asked once.

    candidates: by name, settings that JSON can hold; put the simplest first, which wins where scores are equal.
    score: of one candidate's settings, an `Evaluation` on validation people, the same episodes for all, or a number
        where more is better. From evaluations, differences to the best are paired.
    file: keeps every score as soon as it is there, so that the same call after an interruption goes on from there.

    Raises `MetaFaceError` if there are no candidates, a score is not finite, the evaluations are not of the same
    episodes, or `file` holds other candidates' scores or is damaged.
    """
    if not candidates:
        raise MetaFaceError("There is nothing to choose from. Give at least one candidate.")
    found = _read(file, candidates) if file and file.exists() else {}
    for name in candidates:
        if name not in found:
            found[name] = score(candidates[name])
            if file:
                _write(file, candidates, found)
    found = {name: found[name] for name in candidates}
    numbers = {name: value.accuracy if isinstance(value, Evaluation) else float(value) for name, value in found.items()}
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise MetaFaceError(f"The score of '{name}' is {number}, which cannot be compared. Look at its training.")
    best = max(numbers, key=lambda name: numbers[name])  # the first of those with the highest
    top = found[best]
    tried: dict[str, tuple[float, Difference | None]] = {}
    for name, value in found.items():
        if name != best and isinstance(value, Evaluation) and isinstance(top, Evaluation):
            tried[name] = numbers[name], paired(value, top)
        else:
            tried[name] = numbers[name], None
    choice = Choice(best, tried)
    if file:
        _write(file, candidates, found, choice)
    return choice


def best_of(scores: Sequence[float]) -> list[float]:
    """The expected best score of n of these trials, drawn at random without putting back, for n = 1, 2, … all of them.

    Sort the m scores, y_1 ≤ … ≤ y_m. The best of n trials is y_i if i is among them and the n − 1 others are below it,
    so

        E[best of n] = Σ_i y_i · C(i − 1, n − 1) / C(m, n)

    If the trials are independent draws, as in a random search, it estimates without bias what n such trials give. The
    estimator with putting back (Dodge et al. 2019) is biased (Tang et al. 2020, Showing Your Work Doesn't Always Work).
    The best score grows with n even where all settings are equally good, by noise alone. So methods are compared at the
    same n.

    scores: of the trials, any order, more is better.

    Raises `MetaFaceError` if there are none.
    """
    if not scores:
        raise MetaFaceError("There are no scores, so no best of them. Give at least one.")
    ordered, m = sorted(scores), len(scores)
    return [sum(y * (math.comb(i, n - 1) / math.comb(m, n)) for i, y in enumerate(ordered)) for n in range(1, m + 1)]


def _write(
    file: Path, candidates: Mapping[str, Any], found: Mapping[str, Evaluation | float], choice: Choice | None = None
) -> None:
    evaluations = {name: value for name, value in found.items() if isinstance(value, Evaluation)}
    stored = {
        "settings": {name: candidates[name] for name in found},
        "numbers": {name: value for name, value in found.items() if name not in evaluations},
        "evaluations": to_json(evaluations) if evaluations else None,
        "choice": choice and choice.scores(),
    }
    write_atomically(file, (json.dumps(stored, indent=1) + "\n").encode())


def _read(file: Path, candidates: Mapping[str, Any]) -> dict[str, Evaluation | float]:
    try:
        stored = json.loads(file.read_text())
        settings = stored["settings"]
        found: dict[str, Evaluation | float] = dict(stored["numbers"])
        found |= from_json(stored["evaluations"]) if stored["evaluations"] else {}
    except (ValueError, KeyError, TypeError) as error:
        raise MetaFaceError(f"{file} is damaged ({error}). Delete it; the candidates are then tried again.") from error
    for name in found:
        now = json.loads(json.dumps(candidates.get(name)))  # as the file would hold them: a tuple becomes a list
        if name not in candidates or settings.get(name) != now:
            raise MetaFaceError(
                f"{file} holds the scores of other candidates: '{name}' was {settings.get(name)}, and now is"
                f" {now if name in candidates else 'not among them'}. Name another file, or delete this one."
            )
    return found
