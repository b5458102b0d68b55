"""The exercises of lesson 07, from episodes to face recognition."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .core import as_tensor, exercise, expect, fresh_arguments, fresh_check, generator, pick, right_answer, wrong_answer

# --------------------------------------------------------------------------------------------------------- FAR and TAR

Rates = tuple[float, float]


def _rates(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    accepted = (scores >= threshold).double()
    return accepted[~same].mean().item(), accepted[same].mean().item()


@exercise(
    "recognition.rates",
    lesson="07",
    title="FAR and TAR of a threshold",
    points=2,
    equation="(7.2)",
    hints=(
        "Both are shares that are *accepted*: one of the impostor pairs, one of the genuine pairs.",
        "`accepted = scores >= threshold` has an entry for each pair. `accepted[same]` has those of the genuine pairs.",
        "The mean of booleans needs floats: `accepted[~same].float().mean()` is the FAR.",
    ),
)
def check_rates(answer: Callable[[Tensor, Tensor, float], Rates]) -> None:
    def judge(scores: Tensor, same: Tensor, threshold: float, case: str) -> None:
        far, tar = _rates(scores, same, threshold)
        accepted, pairs = (scores >= threshold).double(), len(scores)
        strictly = (scores > threshold).double()
        false, true = accepted[~same].sum().item(), accepted[same].sum().item()
        slips = {
            "The order: FAR first, then TAR.": (tar, far),
            "Those are the shares of *refused* pairs.": (1 - far, 1 - tar),
            "The first is the share of impostor pairs that are refused, 1 − FAR.": (1 - far, tar),
            "The second is the share of genuine pairs that are refused, 1 − TAR.": (far, 1 - tar),
            "You accept the scores *below* the threshold. These scores say how alike two photos are: `>=`.": (
                (scores <= threshold)[~same].double().mean().item(),
                (scores <= threshold)[same].double().mean().item(),
            ),
            "Those are shares of all pairs. FAR is a share of the impostor pairs, TAR of the genuine ones.": (
                false / pairs,
                true / pairs,
            ),
            "A score equal to the threshold is accepted: `>=`.": (
                strictly[~same].mean().item(),
                strictly[same].mean().item(),
            ),
        }
        if false + true:
            slips[
                "Those are shares of the *accepted* pairs. (7.2) divides by the pairs of a kind, accepted or not."
            ] = (
                false / (false + true),
                true / (false + true),
            )
        expect(answer(scores, same, threshold), (far, tar), case=case, slips=slips, tolerance=1e-5)

    scores = torch.tensor([-1.0, -2.0, -3.0, -4.0, -2.0, -3.5, -5.0, -6.0, -7.0], dtype=torch.float64)
    same = torch.tensor([True] * 4 + [False] * 5)
    judge(scores, same, -3.0, "For genuine scores −1, −2, −3, −4, impostor scores −2, −3.5, −5, −6, −7, threshold −3")
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
    return accepted[~same].float().mean(), accepted[same].float().mean()


@right_answer("recognition.rates")
def _(scores: Tensor, same: Tensor, threshold: float) -> list[float]:
    found = []
    for kind in (False, True):
        chosen = [s for s, truth in zip(scores.tolist(), same.tolist(), strict=True) if truth == kind]
        found.append(sum(s >= threshold for s in chosen) / len(chosen))
    return found


@right_answer("recognition.rates")
def _(scores: Tensor, same: Tensor, threshold: float) -> Tensor:
    accepted = (scores >= threshold).double()
    return torch.stack([accepted[~same].mean(), accepted[same].mean()])


@wrong_answer("recognition.rates", hint="1 − FAR")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    far, tar = _rates(scores, same, threshold)
    return 1 - far, tar


@wrong_answer("recognition.rates", hint="*below* the threshold")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    accepted = (scores <= threshold).double()
    return accepted[~same].mean().item(), accepted[same].mean().item()


@wrong_answer("recognition.rates", hint="The order")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    far, tar = _rates(scores, same, threshold)
    return tar, far


@wrong_answer("recognition.rates", hint="*refused* pairs")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    far, tar = _rates(scores, same, threshold)
    return 1 - far, 1 - tar


@wrong_answer("recognition.rates", hint="1 − TAR")
def _(scores: Tensor, same: Tensor, threshold: float) -> Rates:
    far, tar = _rates(scores, same, threshold)
    return far, 1 - tar


@wrong_answer("recognition.rates", hint="shares of all pairs")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    accepted = scores >= threshold
    return (accepted & ~same).double().mean(), (accepted & same).double().mean()


@wrong_answer("recognition.rates", hint="*accepted* pairs")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    true = same[scores >= threshold].double().mean()
    return 1 - true, true


@wrong_answer("recognition.rates", hint="equal to the threshold")
def _(scores: Tensor, same: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    accepted = (scores > threshold).double()
    return accepted[~same].mean(), accepted[same].mean()


# ------------------------------------------------------------------------------------------------------------ TAR @ FAR


def _tar_at_far(genuine: Tensor, impostor: Tensor, far: float) -> float:
    refused = impostor.sort(descending=True).values[int(far * len(impostor))]
    return (genuine > refused).double().mean().item()


@exercise(
    "recognition.tar_at_far",
    lesson="07",
    title="TAR at a FAR that is allowed",
    points=2,
    equation="(7.5)",
    hints=(
        "How many of the n impostor pairs may be accepted? `int(far * len(impostor))`. Call it k.",
        "Sort the impostor scores, highest first. The first k may be accepted. The next one, number k counted from 0,"
        " must be refused, so the threshold lies just above its score.",
        "`first = impostor.sort(descending=True).values[k]`, then `(genuine > first).float().mean()`.",
    ),
)
def check_tar_at_far(answer: Callable[[Tensor, Tensor, float], float]) -> None:
    def judge(genuine: Tensor, impostor: Tensor, far: float, case: str) -> None:
        k, high_first = int(far * len(impostor)), impostor.sort(descending=True).values
        low_first = impostor.sort().values

        def above(score: Tensor) -> float:
            return (genuine > score).double().mean().item()

        between = torch.quantile(impostor, 1 - far)
        slips = {
            "A threshold *at* the score of impostor k (from 0) accepts k + 1 of them. Take the scores *above* it.": (
                (genuine >= high_first[k]).double().mean().item()
            ),
            "That accepts one impostor pair too few. k are allowed, and number k (from 0) is refused.": above(
                high_first[max(k - 1, 0)]
            ),
            "`quantile` puts the threshold somewhere between two impostor scores. By (7.5) it lies just above the score"
            " of the first impostor that must be refused: sort, and take number k (from 0).": above(between),
            "The impostor scores are sorted the wrong way: that threshold accepts nearly all of them.": above(
                low_first[k]
            ),
            "That threshold refuses the share `far` of the *genuine* pairs. FAR is about impostors.": 1 - far,
            "That is the share of genuine pairs that are refused.": 1 - _tar_at_far(genuine, impostor, far),
        }
        if round(far * len(impostor)) > k:
            slips["You round k up, and accept a share of impostors that is more than `far`. `int` cuts off."] = above(
                high_first[k + 1]
            )
        expect(
            answer(genuine, impostor, far), _tar_at_far(genuine, impostor, far), case=case, slips=slips, tolerance=1e-5
        )

    genuine = torch.tensor([8.0, 7.0, 5.0, 3.8, 3.6, 3.5, 3.0], dtype=torch.float64)
    impostor = torch.tensor([1.0, 6.0, 2.0, 4.0, 0.0, 7.5, 3.5, 2.5, 0.5, 1.5], dtype=torch.float64)
    case = "For genuine 8, 7, 5, 3.8, 3.6, 3.5, 3 and ten impostors 7.5, 6, 4, 3.5, 2.5 and lower"
    judge(genuine, impostor, 0.3, f"{case}, FAR 0.3")
    judge(genuine, impostor, 0.28, f"{case}, FAR 0.28, which allows two of them")
    draw = generator(1)
    genuine, impostor = (torch.randn(n, generator=draw, dtype=torch.float64) for n in (150, 400))
    judge(genuine + 1.5, impostor, 0.05, "For 150 genuine and 400 impostor pairs, FAR 0.05")
    judge(genuine + 1.5, impostor, 0.001, "For 400 impostor pairs and FAR 0.001, which allows none of them")


@fresh_arguments("recognition.tar_at_far")
def draw_tar_at_far(draw: torch.Generator) -> tuple[Tensor, Tensor, float]:
    impostors = pick(draw, 100, 150)
    impostor = torch.randperm(1000, generator=draw)[:impostors].double()
    genuine = torch.cat([impostor, impostor + 0.5, impostor - 0.5])  # at each threshold, and on both sides of it
    far = (pick(draw, 5, 40) + 0.7) / impostors
    return genuine[torch.randperm(len(genuine), generator=draw)], impostor, far


@right_answer("recognition.tar_at_far")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    k = int(far * len(impostor))
    return (genuine > impostor.sort(descending=True).values[k]).float().mean()


@right_answer("recognition.tar_at_far")
def _(genuine: Tensor, impostor: Tensor, far: float) -> float:
    best = 0.0
    for threshold in torch.cat([genuine, impostor]):
        if (impostor >= threshold).double().mean() <= far:
            best = max(best, (genuine >= threshold).double().mean().item())
    return best


@right_answer("recognition.tar_at_far")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    first_refused = impostor.topk(int(far * len(impostor)) + 1).values[-1]
    return (genuine > first_refused).double().mean()


@wrong_answer("recognition.tar_at_far", hint="`quantile` puts the threshold")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    return (genuine >= torch.quantile(impostor, 1 - far)).double().mean()


@wrong_answer("recognition.tar_at_far", hint="You round k up")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    return (genuine > impostor.sort(descending=True).values[round(far * len(impostor))]).double().mean()


@wrong_answer("recognition.tar_at_far", hint="You round k up")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    k = math.ceil(far * len(impostor))
    return (genuine > impostor.sort(descending=True).values[k]).double().mean()


@wrong_answer("recognition.tar_at_far", hint="accepts k + 1 of them")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    return (genuine >= impostor.sort(descending=True).values[int(far * len(impostor))]).double().mean()


@wrong_answer("recognition.tar_at_far", hint="one impostor pair too few")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    return (genuine > impostor.sort(descending=True).values[max(int(far * len(impostor)) - 1, 0)]).double().mean()


@wrong_answer("recognition.tar_at_far", hint="the wrong way")
def _(genuine: Tensor, impostor: Tensor, far: float) -> Tensor:
    return (genuine > impostor.sort().values[int(far * len(impostor))]).double().mean()


@wrong_answer("recognition.tar_at_far", hint="*genuine* pairs")
def _(genuine: Tensor, impostor: Tensor, far: float) -> float:
    return 1 - far


@wrong_answer("recognition.tar_at_far", hint="genuine pairs that are refused")
def _(genuine: Tensor, impostor: Tensor, far: float) -> float:
    return 1 - _tar_at_far(genuine, impostor, far)


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


def _dir(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> float:
    enrolled = torch.isin(probe, gallery)
    best = scores[enrolled].max(dim=1)
    return ((gallery[best.indices] == probe[enrolled]) & (best.values >= threshold)).double().mean().item()


@exercise(
    "recognition.open_set",
    lesson="07",
    title="The detection and identification rate",
    points=3,
    equation="(7.9)",
    hints=(
        "Ask three questions. Which probes show enrolled people (`torch.isin`)? Is the best of the gallery the right"
        " person? Is its score at least the threshold?",
        "`best = scores.max(dim=1)` has `values` and `indices`. `gallery[best.indices]` are the people that are named.",
        "With `right = (gallery[best.indices] == probe) & (best.values >= threshold)`, take the mean over the enrolled"
        " probes: `right[torch.isin(probe, gallery)].float().mean()`.",
    ),
)
def check_open_set(answer: Callable[[Tensor, Tensor, Tensor, float], float]) -> None:
    def judge(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float, case: str) -> None:
        best = scores.max(dim=1)
        right, found = gallery[best.indices] == probe, best.values >= threshold
        known = torch.isin(probe, gallery)
        own = torch.where(probe[:, None] == gallery, scores, -torch.inf).amax(dim=1)
        expect(
            answer(scores, probe, gallery, threshold),
            _dir(scores, probe, gallery, threshold),
            case=case,
            slips={
                "That divides by all probes. Divide by those of enrolled people: strangers cannot be identified.": (
                    right & found
                )
                .double()
                .mean()
                .item(),
                "The threshold is missing: that is the closed-set rank-1 rate.": right[known].double().mean().item(),
                "A best score equal to the threshold reaches it: `>=`.": (
                    (right & (best.values > threshold))[known].double().mean().item()
                ),
                "That divides by the enrolled probes whose best score reaches the threshold. Divide by all enrolled"
                " probes.": (right & found)[known].sum().item() / found[known].sum().item(),
                "That multiplies two rates. Count the probes for which both hold.": (
                    right[known].double().mean() * found[known].double().mean()
                ).item(),
                "That counts everybody who is taken for *somebody*. It must be the right person.": found[known]
                .double()
                .mean()
                .item(),
                "You only ask whether the right person's score reaches the threshold. It must also be the highest.": (
                    (own >= threshold)[known].double().mean().item()
                ),
                "That compares the *column* with the person. `gallery` says which person a column belongs to.": (
                    ((best.indices == probe) & found)[known].double().mean().item()
                ),
                "That is the share of strangers who are taken for somebody: the FAR.": found[~known]
                .double()
                .mean()
                .item(),
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
    right = (gallery[best.indices] == probe) & (best.values >= threshold)
    return right[torch.isin(probe, gallery)].float().mean()


@right_answer("recognition.open_set")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> float:
    people, right, asked = gallery.tolist(), 0, 0
    for row, person in zip(scores.tolist(), probe.tolist(), strict=True):
        if person in people:
            asked += 1
            right += people[row.index(max(row))] == person and max(row) >= threshold
    return right / asked


@wrong_answer("recognition.open_set", hint="divides by all probes")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    return ((gallery[best.indices] == probe) & (best.values >= threshold)).double().mean()


@wrong_answer("recognition.open_set", hint="reaches it: `>=`")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    right = (gallery[best.indices] == probe) & (best.values > threshold)
    return right[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="Divide by all enrolled probes")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    detected = (best.values >= threshold) & torch.isin(probe, gallery)
    return (gallery[best.indices] == probe)[detected].double().mean()


@wrong_answer("recognition.open_set", hint="multiplies two rates")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    known, best = torch.isin(probe, gallery), scores.max(dim=1)
    rank_1 = (gallery[best.indices] == probe)[known].double().mean()
    return rank_1 * (best.values >= threshold)[known].double().mean()


@wrong_answer("recognition.open_set", hint="threshold is missing")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    return (gallery[scores.argmax(dim=1)] == probe)[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="taken for *somebody*")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    return (scores.amax(dim=1) >= threshold)[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="It must also be the highest")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    known = torch.isin(probe, gallery)
    own = scores[known][probe[known, None] == gallery]
    return (own >= threshold).double().mean()


@wrong_answer("recognition.open_set", hint="compares the *column*")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    best = scores.max(dim=1)
    return ((best.indices == probe) & (best.values >= threshold))[torch.isin(probe, gallery)].double().mean()


@wrong_answer("recognition.open_set", hint="the FAR")
def _(scores: Tensor, probe: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    return (scores.amax(dim=1) >= threshold)[~torch.isin(probe, gallery)].double().mean()
