"""The exercises of lesson 07, from episodes to face recognition."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .core import (
    Wrong,
    as_tensor,
    describe,
    exercise,
    expect,
    fresh_arguments,
    fresh_check,
    generator,
    pick,
    right_answer,
    wrong_answer,
)

# -------------------------------------------------------------------------------------------------------- FMR and FNMR

Rates = tuple[float, float]


def _rates(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    accepted = (scores >= threshold).double()
    return accepted[~same].mean().item(), 1 - accepted[same].mean().item()


@exercise(
    "recognition.rates",
    lesson="07",
    title="FMR and FNMR of a threshold",
    points=2,
    equation="(7.2)",
    hints=(
        "FMR is the share of the impostor pairs that are accepted. FNMR is the share of the genuine pairs that are"
        " refused.",
        "`accepted = scores >= threshold` has an entry for each pair. `accepted[same]` has those of the genuine pairs.",
        "The mean of booleans needs floats: `accepted[~same].float().mean()` is the FMR. `~accepted` are refused.",
    ),
)
def check_rates(answer: Callable[[Tensor, Tensor, float], Rates]) -> None:
    def judge(scores: Tensor, same: Tensor, threshold: float, case: str) -> None:
        fmr, fnmr = _rates(scores, same, threshold)
        accepted, pairs = (scores >= threshold).double(), len(scores)
        strictly = (scores > threshold).double()
        matches, refused = accepted[~same].sum().item(), (1 - accepted)[same].sum().item()
        slips = {
            "The order: FMR first, then FNMR.": (fnmr, fmr),
            "Those are the shares of *right* decisions.": (1 - fmr, 1 - fnmr),
            "An impostor score that is equal to the threshold is accepted as well: `>=`.": (
                strictly[~same].mean().item(),
                fnmr,
            ),
            "The first is the share of impostor pairs that are refused, 1 − FMR.": (1 - fmr, fnmr),
            "The second is the share of genuine pairs that are accepted, 1 − FNMR; papers call it TAR.": (
                fmr,
                1 - fnmr,
            ),
            "You accept the scores *below* the threshold. These scores say how alike two photos are: `>=`.": (
                (scores <= threshold)[~same].double().mean().item(),
                (scores > threshold)[same].double().mean().item(),
            ),
            "Those are shares of all pairs. FMR is a share of the impostor pairs, FNMR of the genuine ones.": (
                matches / pairs,
                refused / pairs,
            ),
            "A score equal to the threshold is accepted: `>=`.": (
                strictly[~same].mean().item(),
                1 - strictly[same].mean().item(),
            ),
            "Those are shares of the *accepted* and of the *refused* pairs. (7.2) divides by all pairs of a kind.": (
                matches / max(accepted.sum().item(), 1),
                refused / max((1 - accepted).sum().item(), 1),
            ),
        }
        expect(answer(scores, same, threshold), (fmr, fnmr), case=case, slips=slips, tolerance=1e-5)

    genuine, impostor = [-1, -2, -2.5, -3, -4, -5], [-2, -3, -3.5, -5, -6, -8]
    scores = torch.tensor([*genuine, *impostor], dtype=torch.float64)
    case = "For genuine scores −1, −2, −2.5, −3, −4, −5, impostor scores −2, −3, −3.5, −5, −6, −8, threshold −3"
    judge(scores, torch.tensor([True] * 6 + [False] * 6), -3.0, case)
    draw = generator(0)
    scores, same = torch.randn(200, generator=draw, dtype=torch.float64), torch.rand(200, generator=draw) < 0.3
    judge(scores, same, 0.4, "For 200 pairs, about 60 of them genuine, and the threshold 0.4")


@fresh_arguments("recognition.rates")
def draw_rates(draw: torch.Generator) -> tuple[Tensor, Tensor, float]:
    pairs = pick(draw, 80, 120)
    same = torch.rand(pairs, generator=draw) < 0.4
    scores = torch.randint(-6, 7, (pairs,), generator=draw).double() + 2 * same  # some are equal to the threshold
    return scores, same, float(pick(draw, -1, 3))


@right_answer("recognition.rates")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    accepted = scores >= threshold
    return accepted[~same].float().mean(), (~accepted)[same].float().mean()


@right_answer("recognition.rates")
def _(scores: Tensor, same: Tensor, threshold: float) -> list[float]:
    def below(kind: bool) -> float:
        chosen = [s for s, truth in zip(scores.tolist(), same.tolist(), strict=True) if truth == kind]
        return sum(s < threshold for s in chosen) / len(chosen)

    return [1 - below(False), below(True)]


@right_answer("recognition.rates")
def _(scores: Tensor, same: Tensor, threshold: float) -> Tensor:
    accepted = (scores >= threshold).double()
    return torch.stack([accepted[~same].mean(), 1 - accepted[same].mean()])


@wrong_answer("recognition.rates", hint="1 − FMR")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    fmr, fnmr = _rates(scores, same, threshold)
    return 1 - fmr, fnmr


@wrong_answer("recognition.rates", hint="*below* the threshold")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    accepted = (scores <= threshold).double()
    return accepted[~same].mean().item(), 1 - accepted[same].mean().item()


@wrong_answer("recognition.rates", hint="The order")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    fmr, fnmr = _rates(scores, same, threshold)
    return fnmr, fmr


@wrong_answer("recognition.rates", hint="*right* decisions")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    fmr, fnmr = _rates(scores, same, threshold)
    return 1 - fmr, 1 - fnmr


@wrong_answer("recognition.rates", hint="papers call it TAR")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    fmr, fnmr = _rates(scores, same, threshold)
    return fmr, 1 - fnmr


@wrong_answer("recognition.rates", hint="shares of all pairs")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    accepted = scores >= threshold
    return (accepted & ~same).double().mean(), (~accepted & same).double().mean()


@wrong_answer("recognition.rates", hint="*accepted* and of the *refused* pairs")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    accepted = scores >= threshold
    return (~same)[accepted].double().mean(), same[~accepted].double().mean()


@wrong_answer("recognition.rates", hint="accepted as well")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    return (scores > threshold)[~same].double().mean(), (scores < threshold)[same].double().mean()


@wrong_answer("recognition.rates", hint="equal to the threshold")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    accepted = (scores > threshold).double()
    return accepted[~same].mean(), 1 - accepted[same].mean()


# ---------------------------------------------------------------------------------------------------------- FNMR @ FMR


def _fnmr_at_fmr(genuine: Tensor, impostor: Tensor, fmr: float) -> float:
    refused = impostor.sort(descending=True).values[int(fmr * len(impostor))]
    return (genuine <= refused).double().mean().item()


@exercise(
    "recognition.fnmr_at_fmr",
    lesson="07",
    title="FNMR at an FMR that is allowed",
    points=2,
    equation="(7.5)",
    hints=(
        "How many of the n impostor pairs may be accepted? `int(fmr * len(impostor))`. Call it k.",
        "Sort the impostor scores, highest first. The first k may be accepted. The next one, number k counted from 0,"
        " must be refused, so the threshold lies just above its score.",
        "`first = impostor.sort(descending=True).values[k]`, then `(genuine <= first).float().mean()`.",
    ),
)
def check_fnmr_at_fmr(answer: Callable[[Tensor, Tensor, float], float]) -> None:
    def judge(genuine: Tensor, impostor: Tensor, fmr: float, case: str) -> None:
        k, high_first = int(fmr * len(impostor)), impostor.sort(descending=True).values
        low_first = impostor.sort().values

        def up_to(score: Tensor) -> float:
            return (genuine <= score).double().mean().item()

        slips = {
            "A threshold *at* the score of impostor k (from 0) accepts k + 1 of them. Refuse the genuine scores that"
            " are equal to it as well.": (genuine < high_first[k]).double().mean().item(),
            "That accepts one impostor pair too few. k are allowed, and number k (from 0) is refused.": up_to(
                high_first[max(k - 1, 0)]
            ),
            "`quantile` puts the threshold somewhere between two impostor scores. By (7.5) it lies just above the score"
            " of the first impostor that must be refused: sort, and take number k (from 0).": up_to(
                torch.quantile(impostor, 1 - fmr)
            ),
            "The impostor scores are sorted the wrong way: that threshold accepts nearly all of them.": up_to(
                low_first[k]
            ),
            "That threshold refuses the share `fmr` of the *genuine* pairs. FMR is about impostors.": fmr,
            "That is the share of genuine pairs that are accepted: 1 − FNMR, the TAR of papers.": 1
            - _fnmr_at_fmr(genuine, impostor, fmr),
        }
        if round(fmr * len(impostor)) > k:
            slips["You round k up, and accept a share of impostors that is more than `fmr`. `int` cuts off."] = up_to(
                high_first[k + 1]
            )
        expect(
            answer(genuine, impostor, fmr), _fnmr_at_fmr(genuine, impostor, fmr), case=case, slips=slips, tolerance=1e-5
        )

    genuine = torch.tensor([8.0, 7.0, 5.0, 3.8, 3.6, 3.5, 3.0], dtype=torch.float64)
    impostor = torch.tensor([1.0, 6.0, 2.0, 4.0, 0.0, 7.5, 3.5, 2.5, 0.5, 1.5], dtype=torch.float64)
    case = "For genuine 8, 7, 5, 3.8, 3.6, 3.5, 3 and ten impostors 7.5, 6, 4, 3.5, 2.5 and lower"
    judge(genuine, impostor, 0.3, f"{case}, FMR 0.3")
    judge(genuine, impostor, 0.28, f"{case}, FMR 0.28, which allows two of them")
    draw = generator(1)
    genuine, impostor = (torch.randn(n, generator=draw, dtype=torch.float64) for n in (150, 400))
    judge(genuine + 1.5, impostor, 0.05, "For 150 genuine and 400 impostor pairs, FMR 0.05")
    judge(genuine + 1.5, impostor, 0.001, "For 400 impostor pairs and FMR 0.001, which allows none of them")


@fresh_arguments("recognition.fnmr_at_fmr")
def draw_fnmr_at_fmr(draw: torch.Generator) -> tuple[Tensor, Tensor, float]:
    impostors = pick(draw, 100, 150)
    impostor = torch.randperm(1000, generator=draw)[:impostors].double()
    genuine = torch.cat([impostor, impostor + 0.5, impostor - 0.5])  # at each threshold, and on both sides of it
    fmr = (pick(draw, 5, 40) + 0.7) / impostors
    return genuine[torch.randperm(len(genuine), generator=draw)], impostor, fmr


@right_answer("recognition.fnmr_at_fmr")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    k = int(fmr * len(impostor))
    return (genuine <= impostor.sort(descending=True).values[k]).float().mean()


@right_answer("recognition.fnmr_at_fmr")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> float:
    best = 1.0
    for threshold in torch.cat([genuine, impostor]):
        if (impostor >= threshold).double().mean() <= fmr:
            best = min(best, (genuine < threshold).double().mean().item())
    return best


@right_answer("recognition.fnmr_at_fmr")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    first_refused = impostor.topk(int(fmr * len(impostor)) + 1).values[-1]
    return 1 - (genuine > first_refused).double().mean()


@wrong_answer("recognition.fnmr_at_fmr", hint="`quantile` puts the threshold")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    return (genuine < torch.quantile(impostor, 1 - fmr)).double().mean()


@wrong_answer("recognition.fnmr_at_fmr", hint="You round k up")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    return (genuine <= impostor.sort(descending=True).values[round(fmr * len(impostor))]).double().mean()


@wrong_answer("recognition.fnmr_at_fmr", hint="You round k up")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    k = math.ceil(fmr * len(impostor))
    return (genuine <= impostor.sort(descending=True).values[k]).double().mean()


@wrong_answer("recognition.fnmr_at_fmr", hint="accepts k + 1 of them")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    return (genuine < impostor.sort(descending=True).values[int(fmr * len(impostor))]).double().mean()


@wrong_answer("recognition.fnmr_at_fmr", hint="one impostor pair too few")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    return (genuine <= impostor.sort(descending=True).values[max(int(fmr * len(impostor)) - 1, 0)]).double().mean()


@wrong_answer("recognition.fnmr_at_fmr", hint="the wrong way")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> Tensor:
    return (genuine <= impostor.sort().values[int(fmr * len(impostor))]).double().mean()


@wrong_answer("recognition.fnmr_at_fmr", hint="*genuine* pairs")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> float:
    return fmr


@wrong_answer("recognition.fnmr_at_fmr", hint="the TAR of papers")
def _(genuine: Tensor, impostor: Tensor, fmr: float) -> float:
    return 1 - _fnmr_at_fmr(genuine, impostor, fmr)


# ----------------------------------------------------------------------------------- weights of a bootstrap over people


def _weights(people: Tensor, drawn: Tensor) -> Tensor:
    one, other = people.T
    return torch.where(one == other, drawn[one], drawn[one] * drawn[other])


@exercise(
    "recognition.weights",
    lesson="07",
    title="How often a pair counts when people are drawn",
    points=2,
    equation="(7.7)",
    hints=(
        "A person who is drawn twice is there twice, each time with all their genuine pairs. With whom does each of the"
        " two copies make an impostor pair?",
        "Each copy of a makes a pair with each copy of b: that is a product. A genuine pair belongs to one person.",
        "`one, other = people.T`, then `torch.where(one == other, drawn[one], drawn[one] * drawn[other])`.",
    ),
)
def check_weights(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    def judge(people: Tensor, drawn: Tensor, case: str) -> None:
        one, other = people.T
        product, same = drawn[one] * drawn[other], one == other
        wanted = _weights(people, drawn).double()
        got: object = as_tensor(answer(people, drawn))
        slips = {
            "A genuine pair belongs to one person: it counts d times if the person was drawn d times, not d² times.": (
                product
            ),
            "An impostor pair is there once for each copy of the one *and* each copy of the other: multiply.": (
                torch.where(same, drawn[one], drawn[one] + drawn[other])
            ),
            "The two kinds of pairs are exchanged: the product belongs to two *different* people.": torch.where(
                same, product, drawn[one]
            ),
            "You pair the copies of one person with each other, d(d − 1)/2. But a genuine pair is two *photos* of the"
            " person, and each copy brings it once.": torch.where(same, drawn[one] * (drawn[one] - 1) / 2, product),
            "You count how often each number is in `drawn`. `drawn[i]` already says how often person i was drawn.": (
                _weights(people, torch.bincount(drawn, minlength=len(drawn)))
            ),
            "Those are shares, which sum to 1. Return how often each pair counts.": wanted / wanted.sum(),
            "A person who was drawn twice counts twice. You only ask whether the people of a pair were drawn.": (
                product > 0
            ),
            "The second person of an impostor pair is missing.": drawn[one],
            "You take the smaller of the two numbers. Two copies of each make four pairs, not two.": (
                torch.minimum(drawn[one], drawn[other])
            ),
        }
        expect(
            got.double() if isinstance(got, Tensor) else got,
            wanted,
            case=case,
            slips={text: value.double() for text, value in slips.items()},
        )

    judge(
        torch.tensor([[0, 0], [1, 1], [2, 2], [0, 1], [1, 2], [0, 2], [1, 3]]),
        torch.tensor([1, 2, 0, 3]),
        "For people [[0, 0], [1, 1], [2, 2], [0, 1], [1, 2], [0, 2], [1, 3]], and 0 drawn once, 1 twice, 2"
        " never, 3 three times",
    )
    draw = generator(2)
    judge(torch.randint(8, (40, 2), generator=draw), torch.randint(4, (8,), generator=draw), "For 40 pairs of 8 people")


@fresh_check("recognition.weights")
def check_fresh_weights(answer: Callable[[Tensor, Tensor], Tensor], draw: torch.Generator) -> None:
    people, pairs = pick(draw, 5, 9), pick(draw, 30, 50)
    numbers = torch.randint(people, (pairs, 2), generator=draw)
    numbers[: pairs // 3, 1] = numbers[: pairs // 3, 0]  # genuine pairs
    drawn = torch.randint(5, (people,), generator=draw)
    got: object = as_tensor(answer(numbers, drawn))
    expect(got.double() if isinstance(got, Tensor) else got, _weights(numbers, drawn).double(), case="With other pairs")


@right_answer("recognition.weights")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    one, other = people.T
    return torch.where(one == other, drawn[one], drawn[one] * drawn[other])


@right_answer("recognition.weights")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    return torch.stack([drawn[a] if a == b else drawn[a] * drawn[b] for a, b in people])


@right_answer("recognition.weights")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    weights = drawn[people].prod(dim=1)
    same = people[:, 0] == people[:, 1]
    weights[same] = drawn[people[same, 0]]
    return weights


@right_answer("recognition.weights")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    one, other = people.T
    return torch.where(one == other, drawn[one], drawn[one] * drawn[other]).float()


@right_answer("recognition.weights")
def _(people: Tensor, drawn: Tensor) -> list[int]:
    often = drawn.tolist()
    return [often[a] if a == b else often[a] * often[b] for a, b in people.tolist()]


@wrong_answer("recognition.weights", hint="kinds of pairs are exchanged")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    one, other = people.T
    return torch.where(one == other, drawn[one] * drawn[other], drawn[one])


@wrong_answer("recognition.weights", hint="copies of one person with each other")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    one, other = people.T
    return torch.where(one == other, drawn[one] * (drawn[one] - 1) // 2, drawn[one] * drawn[other])


@wrong_answer("recognition.weights", hint="already says how often")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    return _weights(people, torch.bincount(drawn, minlength=len(drawn)))


@wrong_answer("recognition.weights", hint="Those are shares")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    return _weights(people, drawn) / _weights(people, drawn).sum()


@wrong_answer("recognition.weights", hint="not d² times")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    return drawn[people].prod(dim=1)


@wrong_answer("recognition.weights", hint="multiply")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    one, other = people.T
    return torch.where(one == other, drawn[one], drawn[one] + drawn[other])


@wrong_answer("recognition.weights", hint="counts twice")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    return (drawn[people] > 0).all(dim=1).to(drawn.dtype)


@wrong_answer("recognition.weights", hint="is missing")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    return drawn[people[:, 0]]


@wrong_answer("recognition.weights", hint="make four pairs")
def _(people: Tensor, drawn: Tensor) -> Tensor:
    return drawn[people].amin(dim=1)


# ---------------------------------------------------------------------------------------------- open-set identification


def _fnir(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> float:
    enrolled = torch.isin(probe, gallery)
    best = scores[enrolled].max(dim=1)
    named = (gallery[best.indices] == probe[enrolled]) & (best.values >= threshold)
    return 1 - named.double().mean().item()


@exercise(
    "recognition.open_set",
    lesson="07",
    title="The false negative identification rate",
    points=3,
    equation="(7.9)",
    hints=(
        "Ask three questions. Which probes show enrolled people (`torch.isin`)? Is the best of the gallery the right"
        " person? Is its score at least the threshold?",
        "`best = scores.max(dim=1)` has `values` and `indices`. `gallery[best.indices]` are the people that are named.",
        "`named = (gallery[best.indices] == probe) & (best.values >= threshold)` are the searches that succeed. FNIR is"
        " the share of `~named` among the enrolled probes, `torch.isin(probe, gallery)`.",
    ),
)
def check_open_set(answer: Callable[[Tensor, Tensor, Tensor, float], float]) -> None:
    def judge(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float, case: str) -> None:
        best = scores.max(dim=1)
        right, found = gallery[best.indices] == probe, best.values >= threshold
        known = torch.isin(probe, gallery)
        own = torch.where(probe[:, None] == gallery, scores, -torch.inf).amax(dim=1)

        def missed(named: Tensor) -> float:
            return 1 - named.double().mean().item()

        all_probes = "That divides by all probes. Divide by those of enrolled people: strangers cannot be named."
        expect(
            answer(scores, probe, gallery, threshold),
            _fnir(scores, probe, gallery, threshold),
            case=case,
            slips={
                "That is the share of enrolled probes that *are* named: 1 − FNIR, the DIR of papers.": 1
                - missed((right & found)[known]),
                all_probes: missed(right & found),
                all_probes + " ": missed((right & found) | ~known),
                "The threshold is missing: that is 1 − the closed-set rank-1 rate.": missed(right[known]),
                "A best score equal to the threshold reaches it: `>=`.": missed(
                    (right & (best.values > threshold))[known]
                ),
                "That divides by the enrolled probes whose best score reaches the threshold. Divide by all enrolled"
                " probes.": missed(right[known & found]),
                "That multiplies two rates. Count the probes for which both hold.": 1
                - (right[known].double().mean() * found[known].double().mean()).item(),
                "That counts everybody who is taken for *somebody* as named. It must be the right person.": missed(
                    found[known]
                ),
                "You only ask whether the right person's score reaches the threshold. It must also be the highest.": (
                    missed((own >= threshold)[known])
                ),
                "That compares the *column* with the person. `gallery` says which person a column belongs to.": missed(
                    ((best.indices == probe) & found)[known]
                ),
                "That is the share of strangers who are taken for somebody: the FPIR.": 1 - missed(found[~known]),
            },
            tolerance=1e-5,
        )

    gallery = torch.tensor([7, 3, 9])
    scores = torch.tensor(
        [
            [0.9, 0.1, 0.2],  # 7, and sure
            [0.1, 0.2, 0.8],  # 9, and sure
            [0.3, 0.5, 0.2],  # 3, at the threshold
            [0.1, 0.4, 0.2],  # 3, below the threshold
            [0.4, 0.1, 0.3],  # 7, below the threshold
            [0.6, 0.7, 0.1],  # 7, taken for 3
            [0.8, 0.2, 0.3],  # 9, taken for 7
            [0.2, 0.3, 0.9],  # 3, taken for 9
            [0.7, 0.4, 0.1],  # 9, taken for 7
            [0.8, 0.1, 0.3],  # strangers
            [0.3, 0.2, 0.1],
            [0.1, 0.2, 0.4],
            [0.2, 0.2, 0.1],
        ],
        dtype=torch.float64,
    )
    probe = torch.tensor([7, 9, 3, 3, 7, 7, 9, 3, 9, 1, 2, 4, 5])
    judge(scores, probe, gallery, 0.5, "For 9 probes of the enrolled people 7, 3, 9, and 4 of strangers, threshold 0.5")
    draw = generator(3)
    gallery = torch.randperm(30, generator=draw)[:12]
    probe = torch.randint(30, (300,), generator=draw)
    scores = torch.randn(300, 12, generator=draw, dtype=torch.float64) + 2 * (probe[:, None] == gallery)
    judge(scores, probe, gallery, 1.6, "For 300 probes of 30 people, 12 of them enrolled")


@fresh_arguments("recognition.open_set")
def draw_open_set(draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    people, probes = pick(draw, 25, 35), pick(draw, 250, 350)
    gallery = torch.randperm(people, generator=draw)[: people // 2]
    probe = torch.randint(people, (probes,), generator=draw)
    scores = 4 * torch.randn(probes, len(gallery), generator=draw, dtype=torch.float64)
    scores = (scores + 10 * (probe[:, None] == gallery)).round()  # some are equal to the threshold
    order = torch.rand(scores.shape, generator=draw, dtype=torch.float64) / 4  # no two of a probe are equal
    return torch.where(scores == scores.amax(1, keepdim=True), scores, scores - order), probe, gallery, 8.0


@right_answer("recognition.open_set")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    named = (gallery[best.indices] == probe) & (best.values >= threshold)
    return (~named)[torch.isin(probe, gallery)].float().mean()


@right_answer("recognition.open_set")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> float:
    people, missed, asked = gallery.tolist(), 0, 0
    for row, person in zip(scores.tolist(), probe.tolist(), strict=True):
        if person in people:
            asked += 1
            missed += not (people[row.index(max(row))] == person and max(row) >= threshold)
    return missed / asked


@wrong_answer("recognition.open_set", hint="the DIR of papers")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> float:
    return 1 - _fnir(scores, probe, gallery, threshold)


@wrong_answer("recognition.open_set", hint="divides by all probes")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    return 1 - ((gallery[best.indices] == probe) & (best.values >= threshold)).double().mean()


@wrong_answer("recognition.open_set", hint="divides by all probes")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    named = (gallery[best.indices] == probe) & (best.values >= threshold)
    return (~named & torch.isin(probe, gallery)).double().mean()


@wrong_answer("recognition.open_set", hint="reaches it: `>=`")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    named = (gallery[best.indices] == probe) & (best.values > threshold)
    return 1 - named[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="Divide by all enrolled probes")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    detected = (best.values >= threshold) & torch.isin(probe, gallery)
    return 1 - (gallery[best.indices] == probe)[detected].double().mean()


@wrong_answer("recognition.open_set", hint="multiplies two rates")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    known, best = torch.isin(probe, gallery), scores.max(dim=1)
    rank_1 = (gallery[best.indices] == probe)[known].double().mean()
    return 1 - rank_1 * (best.values >= threshold)[known].double().mean()


@wrong_answer("recognition.open_set", hint="threshold is missing")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    return (gallery[scores.argmax(dim=1)] != probe)[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="taken for *somebody* as named")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    return (scores.amax(dim=1) < threshold)[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="It must also be the highest")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    known = torch.isin(probe, gallery)
    own = scores[known][probe[known, None] == gallery]
    return (own < threshold).double().mean()


@wrong_answer("recognition.open_set", hint="compares the *column*")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    named = (best.indices == probe) & (best.values >= threshold)
    return 1 - named[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="the FPIR")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    return (scores.amax(dim=1) >= threshold)[~torch.isin(probe, gallery)].double().mean()


# ------------------------------------------------------------------------------------ a threshold for a cost, open task

DOORS = 16
PHOTOS = 3  # of each person
ALLOWED = 1.35  # times the cost of the reference


@dataclass(frozen=True)
class Door:
    """What the threshold of a door is chosen from, and what it is judged on.

    scores, same: of the pairs of 40 people.
    others, others_same: of the pairs of 60 other people.
    impostors: the share of those who come who are not who they say.
    false_match, false_non_match: what each error costs.
    """

    scores: Tensor
    same: Tensor
    others: Tensor
    others_same: Tensor
    impostors: float
    false_match: float
    false_non_match: float

    def cost(self, threshold: float) -> float:
        """For each person who comes, on the average."""
        fmr, fnmr = _rates(self.others, self.others_same, threshold)
        return self.impostors * self.false_match * fmr + (1 - self.impostors) * self.false_non_match * fnmr


def _scored(people: int, spread: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scores of all pairs of photos, and which are genuine. Some people are harder than others."""
    places = torch.randn(people, 1, 6, generator=draw, dtype=torch.float64)
    hard = (0.35 * torch.randn(people, 1, 1, generator=draw, dtype=torch.float64)).exp()
    points = places + spread * hard * torch.randn(people, PHOTOS, 6, generator=draw, dtype=torch.float64)
    one, other = torch.triu_indices(PHOTOS * people, PHOTOS * people, 1)
    distance = (points.flatten(0, 1)[one] - points.flatten(0, 1)[other]).square().sum(dim=-1)
    return -distance, one // PHOTOS == other // PHOTOS


def _door(draw: torch.Generator) -> Door:
    spread = 0.35 + 0.3 * torch.rand((), generator=draw).item()
    odds, false_match, false_non_match = (20 ** (2 * torch.rand(3, generator=draw) - 1)).tolist()
    scores, same = _scored(40, spread, draw)
    kept = same | (torch.rand(len(same), generator=draw) < 0.1)  # a part of the impostor pairs, so that a loop is quick
    others = _scored(60, spread, draw)
    return Door(scores[kept], same[kept], *others, odds / (1 + odds), round(false_match, 2), round(false_non_match, 2))


def _cheapest(scores: Tensor, same: Tensor, match: float, non_match: float) -> float:
    """Between two scores, where match · FMR + non_match · FNMR is lowest."""
    order = scores.sort().values
    edges = torch.cat([order[:1] - 1, (order[1:] + order[:-1]) / 2, order[-1:] + 1])
    genuine, impostor = scores[same].sort().values, scores[~same].sort().values
    fmr = 1 - torch.searchsorted(impostor, edges) / len(impostor)
    fnmr = torch.searchsorted(genuine, edges) / len(genuine)
    return edges[(match * fmr + non_match * fnmr).argmin()].item()


def _weights_of(door: Door) -> tuple[float, float]:
    return door.impostors * door.false_match, (1 - door.impostors) * door.false_non_match


def _slips_of(door: Door) -> dict[str, float]:
    """What the learner probably did → the threshold that this gives."""
    scores, same, share = door.scores, door.same, door.impostors
    match, non_match = _weights_of(door)
    pairs, genuine = len(same), int(same.sum())
    return {
        "It is the same threshold for every cost: the one with the highest accuracy.": _cheapest(scores, same, 1, 1),
        "The share of impostors is missing: FMR and FNMR each divide by their own kind of pairs, so (7.12) weights them"
        " by how many of each kind *come*.": _cheapest(scores, same, door.false_match, door.false_non_match),
        "The two costs are missing.": _cheapest(scores, same, share, 1 - share),
        "The two costs are exchanged: a false match is an impostor pair that is accepted.": _cheapest(
            scores, same, share * door.false_non_match, (1 - share) * door.false_match
        ),
        "The share is that of the *impostors*: it goes with the FMR.": _cheapest(
            scores, same, (1 - share) * door.false_match, share * door.false_non_match
        ),
        "You count errors among the pairs that you were given. There most pairs are impostor pairs; at the door the"
        " share of impostors is another one. Use the rates (7.2).": _cheapest(
            scores, same, match * (pairs - genuine), non_match * genuine
        ),
    }


def _check_thresholds(answer: Callable[..., Any], draw: torch.Generator) -> None:
    yours = reference = 0.0
    doors, chosen = [_door(draw) for _ in range(DOORS)], list[float]()
    for number, door in enumerate(doors, start=1):
        threshold = answer(door.scores, door.same, door.impostors, door.false_match, door.false_non_match)
        a_number = isinstance(threshold, Tensor | np.ndarray | np.generic | numbers.Real)
        value = torch.as_tensor(threshold) if a_number else torch.tensor(math.nan)
        if value.numel() != 1 or value.dtype == torch.bool or value.isnan().any():
            raise Wrong(f"For door {number}:\n  got     {describe(threshold)}\n  wanted  a number, the threshold")
        chosen.append(value.item())
        yours += door.cost(chosen[-1]) / DOORS
        reference += door.cost(_cheapest(door.scores, door.same, *_weights_of(door))) / DOORS
    if yours > ALLOWED * reference:
        told = (
            f"At {DOORS} doors, on people from whom no threshold was chosen, your thresholds cost {yours:.3f} for each"
            f" person who comes. The thresholds that minimise (7.12) on the given pairs cost {reference:.3f} there, and"
            f" yours may cost {ALLOWED:g} times as much."
        )
        raise Wrong("\n".join([told, *_likely_slip(doors, chosen)]))


def _likely_slip(doors: Sequence[Door], chosen: Sequence[float]) -> list[str]:
    """The slip that accepts nearly the same pairs as these thresholds, if there is one."""
    apart = dict[str, float]()
    for door, threshold in zip(doors, chosen, strict=True):
        for slip, other in _slips_of(door).items():
            differ = (door.scores >= threshold) != (door.scores >= other)
            apart[slip] = apart.get(slip, 0.0) + differ.double().mean().item() / DOORS
    return [slip for slip, share in apart.items() if share < 0.01 and share == min(apart.values())][:1]


@exercise(
    "recognition.operating_point",
    lesson="07",
    title="A threshold for what errors cost",
    points=4,
    equation="(7.12)",
    hints=(
        "For a threshold t, FMR and FNMR are those of exercise 1. (7.12) weighs each by how many of its kind come, and"
        " by what one such error costs. Which thresholds are worth trying?",
        "Only the scores themselves matter: between two neighbouring scores nothing changes. Compute (7.12) at each and"
        " take the lowest. Or fit a model of the two kinds of scores, if you trust it.",
        "`costs = [impostors * false_match * (scores[~same] >= t).float().mean() + (1 - impostors) * false_non_match"
        " * (scores[same] < t).float().mean() for t in scores]`, then the t of the lowest. Sorting makes it faster.",
    ),
)
def check_operating_point(answer: Callable[..., Any]) -> None:
    _check_thresholds(answer, generator(13))


@fresh_check("recognition.operating_point")
def check_fresh_operating_point(answer: Callable[..., Any], draw: torch.Generator) -> None:
    _check_thresholds(answer, draw)


@right_answer("recognition.operating_point")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    order = scores.argsort()
    accepted = (~same[order]).double().flip(0).cumsum(0).flip(0) / (~same).sum()  # by a threshold at each score
    refused = (same[order].double().cumsum(0) - same[order].double()) / same.sum()
    cost = impostors * false_match * accepted + (1 - impostors) * false_non_match * refused
    return scores[order][cost.argmin()].item()


@right_answer("recognition.operating_point")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    thresholds = torch.linspace(scores.min().item(), scores.max().item(), 300, dtype=scores.dtype)
    fmr = (scores[~same] >= thresholds[:, None]).double().mean(dim=1)
    fnmr = (scores[same] < thresholds[:, None]).double().mean(dim=1)
    return thresholds[(impostors * false_match * fmr + (1 - impostors) * false_non_match * fnmr).argmin()].item()


@right_answer("recognition.operating_point")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    """By calibration: accept where the likelihood ratio outweighs the costs."""
    x, y = scores.double(), same.double()
    middle, spread = x.mean(), x.std()
    design = torch.stack([(x - middle) / spread, torch.ones_like(x)], dim=1)
    weight = torch.where(same, 0.5 / y.mean(), 0.5 / (1 - y.mean())) / len(y)  # at even odds
    fitted = torch.zeros(2, dtype=torch.float64)
    for _ in range(25):  # a logistic regression by Newton's steps, with a little ridge
        p = (design @ fitted).sigmoid()
        slope = design.T @ (weight * (p - y)) + 1e-6 * fitted
        bend = design.T @ ((weight * p * (1 - p))[:, None] * design) + 1e-6 * torch.eye(2, dtype=torch.float64)
        fitted = fitted - torch.linalg.solve(bend, slope)
    least = math.log(impostors * false_match / ((1 - impostors) * false_non_match))
    return float(middle + spread * (least - fitted[1]) / fitted[0])


@wrong_answer("recognition.operating_point", hint="same threshold for every cost")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    return _cheapest(scores, same, 1, 1)


@wrong_answer("recognition.operating_point", hint="share of impostors is missing")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    return _cheapest(scores, same, false_match, false_non_match)


@wrong_answer("recognition.operating_point", hint="two costs are missing")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    return _cheapest(scores, same, impostors, 1 - impostors)


@wrong_answer("recognition.operating_point", hint="two costs are exchanged")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    return _cheapest(scores, same, impostors * false_non_match, (1 - impostors) * false_match)


@wrong_answer("recognition.operating_point", hint="that of the *impostors*")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    return _cheapest(scores, same, (1 - impostors) * false_match, impostors * false_non_match)


@wrong_answer("recognition.operating_point", hint="among the pairs that you were given")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    match, non_match = impostors * false_match, (1 - impostors) * false_non_match
    return _cheapest(scores, same, match * (~same).sum().item(), non_match * same.sum().item())


@wrong_answer("recognition.operating_point", hint="among the pairs that you were given")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    """Errors counted among the given pairs, by a search of its own."""
    tried = torch.linspace(scores.min().item(), scores.max().item(), 500, dtype=scores.dtype)
    matches = (scores[~same] >= tried[:, None]).sum(dim=1)
    missed = (scores[same] < tried[:, None]).sum(dim=1)
    return tried[(impostors * false_match * matches + (1 - impostors) * false_non_match * missed).argmin()].item()


@wrong_answer("recognition.operating_point", hint="your thresholds cost")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    return torch.quantile(scores[~same], 0.99).item()  # FMR 1%, whatever an error costs


@wrong_answer("recognition.operating_point", hint="your thresholds cost")
def _(scores: Tensor, same: Tensor, impostors: float, false_match: float, false_non_match: float) -> float:
    return scores[same].min().item()  # no friend is refused
