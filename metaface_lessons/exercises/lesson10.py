"""The exercises of lesson 10, light and occlusion."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .core import (
    Wrong,
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


def _uniform(*shape: int, seed: int = 0, draw: torch.Generator | None = None) -> Tensor:
    return torch.rand(shape, generator=draw or generator(seed), dtype=torch.float64)


def _normal(*shape: int, seed: int = 0, draw: torch.Generator | None = None) -> Tensor:
    return torch.randn(shape, generator=draw or generator(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------- Lambert's law

Surface = tuple[Tensor, Tensor, Tensor, float]


def _surface(seed: int = 0, draw: torch.Generator | None = None) -> Surface:
    draw = draw or generator(seed)
    normals = torch.nn.functional.normalize(_normal(4, 5, 3, draw=draw), dim=2)
    light = torch.nn.functional.normalize(_normal(3, draw=draw), dim=0)
    return 0.1 + 0.8 * _uniform(4, 5, draw=draw), normals, light, 0.1 + 0.3 * _uniform(1, draw=draw).item()


def _shade(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (ambient + (1 - ambient) * (normals @ light).clamp(min=0))


@exercise(
    "light.shade",
    lesson="10",
    title="A surface under a lamp",
    points=2,
    equation="(10.1)",
    hints=(
        "`normals @ light` is n · l for all pixels at once, `[H, W]`.",
        "Where n · l is below 0 the surface looks away from the lamp and gets no light from it: `.clamp(min=0)`.",
        "`albedo * (ambient + (1 - ambient) * (normals @ light).clamp(min=0))`.",
    ),
)
def check_shade(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    def judge(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float, case: str) -> None:
        cosine = normals @ light
        lit = cosine.clamp(min=0)
        expect(
            answer(albedo, normals, light, ambient),
            _shade(albedo, normals, light, ambient),
            case=case,
            slips={
                "n · l is below 0 where the surface looks away. A lamp takes no light away: use 0 there.": (
                    albedo * (ambient + (1 - ambient) * cosine)
                ),
                "You clamp the sum. The light from all around stays where the surface looks away: clamp n · l alone.": (
                    (albedo * (ambient + (1 - ambient) * cosine)).clamp(min=0)
                ),
                "You clamp each product before the sum over x, y, z. Clamp the sum, n · l.": (
                    albedo * (ambient + (1 - ambient) * (normals * light).clamp(min=0).sum(-1))
                ),
                "You take |n · l|, which lights the side that looks away from the lamp too.": (
                    albedo * (ambient + (1 - ambient) * cosine.abs())
                ),
                "The light from all around, a, is missing.": albedo * lit,
                "The albedo is missing, the share of the light that the surface gives back.": ambient
                + (1 - ambient) * lit,
                "The albedo multiplies the lamp's light alone. It multiplies the light from all around too.": ambient
                + (1 - ambient) * albedo * lit,
                "The lamp's share is 1 − a, so that the shares sum to 1.": albedo * (ambient + lit),
                "The two shares are exchanged: a is the share of the light from all around.": albedo
                * (1 - ambient + ambient * lit),
            },
            tolerance=1e-5,
        )

    normals = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.6, 0.0, 0.8]]], dtype=torch.float64)
    light = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    albedo = torch.tensor([[0.5, 0.5, 1.0]], dtype=torch.float64)
    judge(albedo, normals, light, 0.2, "For three pixels that look at the lamp, away from it, and aside (a = 0.2)")
    judge(*_surface(), "For a surface of 4×5 pixels")


@fresh_arguments("light.shade")
def draw_shade(draw: torch.Generator) -> Surface:
    return _surface(draw=draw)


@right_answer("light.shade")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (ambient + (1 - ambient) * (normals @ light).clamp(min=0))


@right_answer("light.shade")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    cosine = torch.einsum("hwc,c->hw", normals, light)
    return ambient * albedo + (1 - ambient) * albedo * torch.relu(cosine)


@right_answer("light.shade")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    picture = torch.zeros_like(albedo)
    for row in range(len(albedo)):
        for column in range(albedo.shape[1]):
            cosine = float((normals[row, column] * light).sum())
            picture[row, column] = albedo[row, column] * (ambient + (1 - ambient) * max(0.0, cosine))
    return picture


@wrong_answer("light.shade", hint="You clamp the sum")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return (albedo * (ambient + (1 - ambient) * (normals @ light))).clamp(min=0)


@wrong_answer("light.shade", hint="before the sum over x, y, z")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (ambient + (1 - ambient) * (normals * light).clamp(min=0).sum(-1))


@wrong_answer("light.shade", hint="takes no light away")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (ambient + (1 - ambient) * (normals @ light))


@wrong_answer("light.shade", hint="lights the side that looks away")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (ambient + (1 - ambient) * (normals @ light).abs())


@wrong_answer("light.shade", hint="from all around, a, is missing")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (normals @ light).clamp(min=0)


@wrong_answer("light.shade", hint="albedo is missing")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return ambient + (1 - ambient) * (normals @ light).clamp(min=0)


@wrong_answer("light.shade", hint="the lamp's light alone")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return ambient + (1 - ambient) * albedo * (normals @ light).clamp(min=0)


@wrong_answer("light.shade", hint="The lamp's share is 1 − a")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (ambient + (normals @ light).clamp(min=0))


@wrong_answer("light.shade", hint="shares are exchanged")
def _(albedo: Tensor, normals: Tensor, light: Tensor, ambient: float) -> Tensor:
    return albedo * (1 - ambient + ambient * (normals @ light).clamp(min=0))


# ----------------------------------------------------------------------------------- the difference of Gaussians of log


def _blur(width: int, sigma: float) -> Tensor:
    """A Gaussian blur of a row of pixels, as a matrix `[W, W]` whose rows sum to 1."""
    place = torch.arange(width, dtype=torch.float64)
    weight = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    return weight / weight.sum(dim=1, keepdim=True)


def _band(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return torch.log(picture + 1) @ (fine - coarse).T


@exercise(
    "light.band",
    lesson="10",
    title="What light that changes slowly does not touch",
    points=2,
    equation="(10.5)",
    hints=(
        "First take the logarithm of picture + 1, so that black has one; then the two blurs; then their difference.",
        "B x blurs a row x of W pixels. `X @ B.T` does it for all rows of a picture X at once.",
        "`x = torch.log(picture + 1)`, then `return x @ fine.T - x @ coarse.T`.",
    ),
)
def check_band(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    def judge(picture: Tensor, fine: Tensor, coarse: Tensor, case: str) -> None:
        x = torch.log(picture + 1)
        expect(
            answer(picture, fine, coarse),
            _band(picture, fine, coarse),
            case=case,
            slips={
                "The logarithm is missing. Without it light is a factor, and a difference does not remove a factor.": (
                    picture @ (fine - coarse).T
                ),
                "That is the logarithm of base 10. (10.4) has the natural one.": x @ (fine - coarse).T / math.log(10),
                "You blur first and take logarithms then. Take the logarithm first: it makes light a summand, and the"
                " blur of a sum is the sum of the blurs.": torch.log(picture @ fine.T + 1)
                - torch.log(picture @ coarse.T + 1),
                "The sign: take fine minus coarse, or dark becomes bright.": x @ (coarse - fine).T,
                "You blur down the columns: `B @ X` mixes the rows. Blur along each row of W pixels.": (
                    (fine - coarse) @ x if len(x) == len(fine) else torch.zeros(0)
                ),
                "`X @ B` takes the columns of B as weights. The weights of pixel i are in *row* i: `X @ B.T`.": x
                @ (fine - coarse),
                "Take the logarithm of picture + 1, with values up to 255. You divide by 255 first.": (
                    torch.log(picture / 255 + 1) @ (fine - coarse).T
                ),
                "Black has no logarithm. Take that of picture + 1.": torch.log(picture) @ (fine - coarse).T,
                "You subtract the coarse blur from the picture itself. Subtract it from the fine blur, which has less"
                " noise.": x - x @ coarse.T,
                "That is the ratio of the two blurs. After the logarithm, take their difference.": (
                    (x @ fine.T) / (x @ coarse.T)
                ),
                "You blur twice, one blur after the other. Take the difference of the two blurs.": x
                @ fine.T
                @ coarse.T,
            },
            tolerance=1e-5,
        )

    draw = generator(0)
    picture = torch.randint(1, 255, (3, 8), generator=draw).double()
    judge(picture, _blur(8, 0.8), _blur(8, 2.0), "For a picture of 3×8 pixels")
    picture = torch.randint(0, 255, (6, 6), generator=draw).double()
    picture[0, 0] = 0
    judge(picture, _blur(6, 0.8), _blur(6, 2.0), "For a picture of 6×6 pixels, one of them black")


@fresh_arguments("light.band")
def draw_band(draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    width = pick(draw, 6, 10)
    picture = torch.randint(0, 255, (width, width), generator=draw).double()
    fine, coarse = 0.6 + 0.4 * _uniform(2, draw=draw) * torch.tensor([1.0, 4.0])
    picture[0, 0] = 0  # black has no logarithm
    return picture, _blur(width, float(fine)), _blur(width, float(coarse))


@right_answer("light.band")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    x = torch.log(picture + 1)
    return x @ fine.T - x @ coarse.T


@right_answer("light.band")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return torch.stack([fine @ row - coarse @ row for row in picture.log1p()])


@right_answer("light.band")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return torch.einsum("ij,hj->hi", fine - coarse, (1 + picture).log())


@wrong_answer("light.band", hint="logarithm is missing")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return picture @ fine.T - picture @ coarse.T


@wrong_answer("light.band", hint="blur first and take logarithms then")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return torch.log(picture @ fine.T + 1) - torch.log(picture @ coarse.T + 1)


@wrong_answer("light.band", hint="base 10")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return torch.log10(picture + 1) @ (fine - coarse).T


@wrong_answer("light.band", hint="You divide by 255 first")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return torch.log(picture / 255 + 1) @ (fine - coarse).T


@wrong_answer("light.band", hint="The sign")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    x = torch.log(picture + 1)
    return x @ coarse.T - x @ fine.T


@wrong_answer("light.band", hint="down the columns")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    x = torch.log(picture + 1)
    return (fine - coarse) @ x if len(x) == len(fine) else x @ (fine - coarse).T


@wrong_answer("light.band", hint="are in *row* i")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    x = torch.log(picture + 1)
    return x @ fine - x @ coarse


@wrong_answer("light.band", hint="Black has no logarithm")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    x = torch.log(picture)
    return x @ fine.T - x @ coarse.T


@wrong_answer("light.band", hint="picture itself")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    x = torch.log(picture + 1)
    return x - x @ coarse.T


@wrong_answer("light.band", hint="ratio of the two blurs")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    x = torch.log(picture + 1)
    return (x @ fine.T) / (x @ coarse.T)


@wrong_answer("light.band", hint="one blur after the other")
def _(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    return torch.log(picture + 1) @ fine.T @ coarse.T


# ---------------------------------------------------------------------------------------- what light does to a decision

People = tuple[Tensor, Tensor, int]


def _gap(people: Tensor, shift: Tensor, y: int) -> Tensor:
    apart = people[y] - people
    return apart.square().sum(1) + 2 * apart @ shift


@exercise(
    "light.gap",
    lesson="10",
    title="How much light a decision tolerates",
    points=2,
    equation="(10.8)",
    hints=(
        "Let `apart = people[y] - people`, `[N, D]`: row k is u_y − u_k.",
        "‖u_y − u_k‖² is `apart.square().sum(dim=1)`, and δ · (u_y − u_k) is `apart @ shift`.",
        "`apart.square().sum(dim=1) + 2 * apart @ shift`. Or, from the left side of (10.8): the squared distance of"
        " the query `people[y] + shift` to each person, minus that to person y.",
    ),
)
def check_gap(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    def judge(people: Tensor, shift: Tensor, y: int, case: str) -> None:
        apart = people[y] - people
        squares = apart.square().sum(1)
        query = people[y] + shift
        distance = (query - people).square().sum(1)
        expect(
            answer(people, shift, y),
            _gap(people, shift, y),
            case=case,
            slips={
                "The factor 2 of the mixed term is missing: ‖a + b‖² = ‖a‖² + 2 a · b + ‖b‖².": squares + apart @ shift,
                "That is the gap of person y − 1. People are numbered from 0: take people[y].": _gap(
                    people, shift, y - 1
                ),
                "Those are the logits of (10.7). The gap is that of person y minus that of person k.": -distance,
                "The sign of the mixed term: with u_y − u_k it is +, with u_k − u_y it is −.": squares
                - 2 * apart @ shift,
                "Those are the squared distances to everybody. Subtract the one to person y, which is ‖δ‖².": distance,
                "Your distances are not squared.": distance.sqrt() - distance[y].sqrt(),
                "You take the mean over the coordinates. Sum over them.": _gap(people, shift, y) / people.shape[1],
                "That is the gap without any change of light: the mixed term is missing.": squares,
                "That is the mixed term alone. The squared distance ‖u_y − u_k‖² is missing.": 2 * apart @ shift,
                "The sign: distance to k minus distance to y. The gap is above 0 where the decision is right.": (
                    distance[y] - distance
                ),
                "You divide by ‖u_y − u_k‖, as for the distance to the boundary. (10.8) does not.": (
                    _gap(people, shift, y) / (2 * squares.sqrt())
                ),
            },
            tolerance=1e-5,
        )

    people = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    shift = torch.tensor([1.5, 0.5], dtype=torch.float64)
    judge(people, shift, 0, "For people at (0, 0), (2, 0), (0, 3), and a picture of the first moved by (1.5, 0.5)")
    judge(_normal(5, 8), _normal(8, seed=1), 3, "For five people in eight dimensions, and y = 3")


@fresh_arguments("light.gap")
def draw_gap(draw: torch.Generator) -> People:
    people, size = pick(draw, 4, 8), pick(draw, 2, 5)
    return _normal(people, size, draw=draw), _normal(size, draw=draw), pick(draw, 0, people - 1)


@right_answer("light.gap")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    apart = people[y] - people
    return apart.square().sum(dim=1) + 2 * apart @ shift


@right_answer("light.gap")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    distance = (people[y] + shift - people).square().sum(dim=1)
    return distance - distance[y]


@right_answer("light.gap")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    query = people[y] + shift
    return torch.cdist(query[None], people)[0] ** 2 - (shift**2).sum()


@wrong_answer("light.gap", hint="factor 2 of the mixed term")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    apart = people[y] - people
    return apart.square().sum(dim=1) + apart @ shift


@wrong_answer("light.gap", hint="gap of person y − 1")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    apart = people[y - 1] - people
    return apart.square().sum(dim=1) + 2 * apart @ shift


@wrong_answer("light.gap", hint="sign of the mixed term")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    apart = people - people[y]
    return apart.square().sum(dim=1) + 2 * apart @ shift


@wrong_answer("light.gap", hint="Subtract the one to person y")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    return (people[y] + shift - people).square().sum(dim=1)


@wrong_answer("light.gap", hint="logits of (10.7)")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    return -(people[y] + shift - people).square().sum(dim=1)


@wrong_answer("light.gap", hint="the mean over the coordinates")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    distance = (people[y] + shift - people).square().mean(dim=1)
    return distance - distance[y]


@wrong_answer("light.gap", hint="not squared")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    distance = (people[y] + shift - people).norm(dim=1)
    return distance - distance[y]


@wrong_answer("light.gap", hint="without any change of light")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    return (people[y] - people).square().sum(dim=1)


@wrong_answer("light.gap", hint="mixed term alone")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    return 2 * (people[y] - people) @ shift


@wrong_answer("light.gap", hint="distance to k minus distance to y")
def _(people: Tensor, shift: Tensor, y: int) -> Tensor:
    distance = (people[y] + shift - people).square().sum(dim=1)
    return distance[y] - distance


# --------------------------------------------------------------------------------------------- accuracy without drawing

Ranks = tuple[Tensor, int, int]


def _expected(nearer: Tensor, others: int, ways: int) -> float:
    shares = [math.comb(others - int(n), ways - 1) / math.comb(others, ways - 1) for n in nearer]
    return sum(shares) / len(shares)


@exercise(
    "light.expected",
    lesson="10",
    title="The mean over all episodes, without drawing one",
    points=2,
    equation="(10.9)",
    hints=(
        "An episode has N − 1 other people. The query is right if none of them is nearer than the right person.",
        "How many ways are there to choose N − 1 of all `others`? And how many to choose them among those who are not"
        " nearer? `math.comb(n, k)` counts, and is 0 if there are too few.",
        "For each n of `nearer.tolist()`: `math.comb(others - n, ways - 1) / math.comb(others, ways - 1)`. Return"
        " their mean.",
    ),
)
def check_expected(answer: Callable[[Tensor, int, int], float]) -> None:
    def judge(nearer: Tensor, others: int, ways: int, case: str) -> None:
        right = (others - nearer).double()
        count = [int(n) for n in nearer]
        expect(
            answer(nearer, others, ways),
            _expected(nearer, others, ways),
            case=case,
            slips={
                "That is the share of queries with nobody nearer: the accuracy among *all* people, not among N.": (
                    (nearer == 0).double().mean().item()
                ),
                "You choose among the n who are nearer. Choose among the M − n who are not.": (
                    sum(math.comb(n, ways - 1) for n in count) / len(count) / math.comb(others, ways - 1)
                ),
                "The others are drawn *without* replacement: the second one comes from one person less. Count the"
                " choices, C(·, N − 1).": (right / others).pow(ways - 1).mean().item(),
                "You choose N others. The query's own person is one of the N: choose N − 1.": (
                    sum(math.comb(others - n, ways) for n in count) / len(count) / math.comb(others, ways)
                    if others >= ways
                    else -1.0
                ),
                "That is the share of pairs with one other person that are right: 2-way episodes.": (
                    (right / others).mean().item()
                ),
                "You take C of the mean of n. Take the mean of C: each query has its own chance.": (
                    _expected(nearer.double().mean().round()[None], others, ways)
                ),
                "`others` does not count the query's own person. Do not subtract it again.": (
                    sum(math.comb(max(others - 1 - n, 0), ways - 1) for n in count)
                    / len(count)
                    / math.comb(others - 1, ways - 1)
                    if others > ways - 1
                    else -1.0
                ),
                "That is the chance that *not all* of the others in the episode are nearer. None of them may be.": (
                    1 - sum(math.comb(n, ways - 1) for n in count) / len(count) / math.comb(others, ways - 1)
                ),
                "That is the share of wrong answers.": 1 - _expected(nearer, others, ways),
                "That is the sum over the queries. Take the mean.": len(count) * _expected(nearer, others, ways),
            },
            tolerance=1e-5,
        )

    judge(
        torch.tensor([0, 1, 4, 2]),
        4,
        3,
        "For 3-way episodes among 4 others, and queries with 0, 1, 4, 2 of them nearer",
    )
    judge(
        torch.tensor([0, 3, 5, 20, 1, 0]), 24, 5, "For 5-way episodes, 24 others, and 0, 3, 5, 20, 1, 0 of them nearer"
    )


@fresh_arguments("light.expected")
def draw_expected(draw: torch.Generator) -> Ranks:
    others, ways = pick(draw, 15, 30), pick(draw, 3, 6)
    return torch.randint(others - 3, (pick(draw, 6, 12),), generator=draw), others, ways


@right_answer("light.expected")
def _(nearer: Tensor, others: int, ways: int) -> float:
    choices = math.comb(others, ways - 1)
    return sum(math.comb(others - n, ways - 1) for n in nearer.tolist()) / choices / len(nearer)


@right_answer("light.expected")
def _(nearer: Tensor, others: int, ways: int) -> Tensor:
    share = torch.ones(len(nearer), dtype=torch.float64)
    for i in range(ways - 1):
        share = share * ((others - nearer - i).clamp(min=0) / (others - i))
    return share.mean()


@right_answer("light.expected")
def _(nearer: Tensor, others: int, ways: int) -> float:
    from itertools import combinations

    if math.comb(others, ways - 1) > 5000:
        return _expected(nearer, others, ways)
    episodes = list(combinations(range(others), ways - 1))
    right = [[min(episode) >= n for episode in episodes] for n in nearer.tolist()]
    return sum(map(sum, right)) / len(episodes) / len(right)


@right_answer("light.expected")
def _(nearer: Tensor, others: int, ways: int) -> Tensor:
    choices = math.comb(others, ways - 1)
    return torch.tensor([math.comb(others - n, ways - 1) / choices for n in nearer.tolist()]).mean()  # in float32


@wrong_answer("light.expected", hint="among the n who are nearer")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return sum(math.comb(n, ways - 1) for n in nearer.tolist()) / math.comb(others, ways - 1) / len(nearer)


@wrong_answer("light.expected", hint="*not all* of the others")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return 1 - sum(math.comb(n, ways - 1) for n in nearer.tolist()) / math.comb(others, ways - 1) / len(nearer)


@wrong_answer("light.expected", hint="C of the mean of n")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return math.comb(others - round(nearer.double().mean().item()), ways - 1) / math.comb(others, ways - 1)


@wrong_answer("light.expected", hint="among *all* people")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return (nearer == 0).double().mean().item()


@wrong_answer("light.expected", hint="*without* replacement")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return ((others - nearer) / others).double().pow(ways - 1).mean().item()


@wrong_answer("light.expected", hint="choose N − 1")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return sum(math.comb(others - n, ways) for n in nearer.tolist()) / math.comb(others, ways) / len(nearer)


@wrong_answer("light.expected", hint="2-way episodes")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return ((others - nearer) / others).double().mean().item()


@wrong_answer("light.expected", hint="share of wrong answers")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return 1 - _expected(nearer, others, ways)


@wrong_answer("light.expected", hint="sum over the queries")
def _(nearer: Tensor, others: int, ways: int) -> float:
    return len(nearer) * _expected(nearer, others, ways)


@wrong_answer("light.expected", hint="Do not subtract it again")
def _(nearer: Tensor, others: int, ways: int) -> float:
    left = [max(others - 1 - n, 0) for n in nearer.tolist()]
    return sum(math.comb(n, ways - 1) for n in left) / math.comb(others - 1, ways - 1) / len(nearer)


# ------------------------------------------------------------------------------------------- a chain for a new camera

CHAINS = ("as they are", "blurred", "DoG", "Tan-Triggs")
SIZE, POOL, SHOWN, OTHERS, DOORS = 32, 60, 16, 30, 6  # pixels; people; those shown, and asked about, at a door
FRONT, ASIDE = (-16.0, 16.0), (-76.0, 76.0)  # azimuths of the lamp
MAY_LOSE = 0.10  # of the accuracy of a chooser who knows the best chain of each door


@functools.cache
def _photographed(azimuth: float) -> Tensor:
    """Grey pictures of the same people under this lamp: uint8 `[POOL, 1, SIZE, SIZE]`. Nothing else differs."""
    from ..faces.procedural import render, sample_identities, sample_nuisance

    how, every = sample_nuisance(POOL, 7, "clean"), torch.ones(POOL)
    how = replace(how, azimuth=azimuth * every, elevation=20 * every, ambient=0.25 * every)
    return render(sample_identities(POOL, 11), how, SIZE).float().mean(1, keepdim=True).round().byte()


def _displaced(images: Tensor, right: float, down: float, zoom: float) -> Tensor:
    """The pictures, moved by shares of their size and enlarged."""
    rows = torch.tensor([[1 / zoom, 0, -2 * right], [0, 1 / zoom, -2 * down]]).expand(len(images), 2, 3)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False).round().byte()


def _after_chains(images: Tensor) -> Tensor:
    """Pictures `[M, 1, S, S]` after each of `CHAINS`, standardised: `[4, M, S²]`."""
    from skimage import filters

    from ..faces.normalisation import difference_of_gaussians, tan_triggs
    from ..networks import standardise

    blurred = np.stack([filters.gaussian(image[0] / 255, SIZE / 12) for image in images.numpy()])
    after = (images, torch.from_numpy(blurred)[:, None], difference_of_gaussians(images), tan_triggs(images))
    return torch.stack([standardise(pictures).flatten(1).float() for pictures in after])


@functools.cache
def _office() -> Tensor:
    """The office photos of all people after each chain: `[4, POOL, D]`."""
    return _after_chains(_photographed(0.0))


@functools.lru_cache(maxsize=10)  # those of a secret: many answers are judged by them
def _doors(seed: int) -> list[tuple[Tensor, Tensor]]:
    """At half of the doors the lamp is far aside, at the others faces are displaced: office and door, `[4, M, D]`.

    Each door has its own order of the D pixels. It changes no distance, but nobody can know a door again by its pixels.
    """
    draw, found = torch.Generator().manual_seed(seed), []
    for door in torch.randperm(DOORS, generator=draw).tolist():
        people = torch.randperm(POOL, generator=draw)[: SHOWN + OTHERS]
        lamps, moved = (ASIDE, 0.0) if door < DOORS // 2 else (FRONT, 0.08)
        lamp = lamps[pick(draw, 0, len(lamps) - 1)]
        place, angle = torch.rand(2, generator=draw).tolist()
        far, turn = moved * (0.8 + 0.3 * place), 2 * math.pi * angle
        zoom = 1 + moved * float(torch.rand((), generator=draw))
        asked = _displaced(_photographed(lamp)[people], far * math.cos(turn), far * math.sin(turn), zoom)
        pixels = torch.randperm(SIZE * SIZE, generator=draw)
        found.append((_office()[:, people][..., pixels], _after_chains(asked)[..., pixels]))
    return found


def _recognised(known: Tensor, asked: Tensor) -> Tensor:
    """By chain, the share of those asked about who are nearest to their own photo: `[4]`."""
    nearest = torch.cdist(asked, known).argmin(dim=2)
    return (nearest == torch.arange(known.shape[1])).double().mean(dim=1)


def _chain(returned: Any) -> int:
    """The number of a chain that an answer has returned."""
    for number in range(len(CHAINS)):
        try:
            expect(returned, number)
        except Wrong:
            continue
        return number
    raise Wrong(f"Return the number of one chain, 0 to {len(CHAINS) - 1}, but you returned {describe(returned)}.")


def _judge_choice(answer: Callable[[Tensor, Tensor], int], draw: torch.Generator) -> None:
    doors = _doors(draw.initial_seed())
    shown = [(known[:, :SHOWN], asked[:, :SHOWN]) for known, asked in doors]
    accuracy = torch.stack([_recognised(known[:, SHOWN:], asked[:, SHOWN:]) for known, asked in doors])
    chosen = [_chain(answer(*photos)) for photos in shown]
    mine, best = accuracy[torch.arange(DOORS), chosen], accuracy.amax(dim=1)
    if float((best - mine).mean()) <= MAY_LOSE:
        return
    said = (
        f"At {DOORS} doors your choices recognise {100 * mine.mean():.0f}% of {OTHERS} other people. The best chain of"
        f" each door recognises {100 * best.mean():.0f}%; you may lose {100 * MAY_LOSE:.0f} points."
    )
    worst = int((best - mine).argmax())
    most_mistakes = [int(_recognised(*photos).argmin()) for photos in shown]
    if len(set(chosen)) == 1:
        slip = (
            f"You choose '{CHAINS[chosen[0]]}' at every door. What is best depends on the door: on its lamp, and on how"
            " well faces are aligned. Only the photos from the door show that."
        )
    elif sum(a == b for a, b in zip(chosen, most_mistakes, strict=True)) > DOORS / 2:
        slip = "You choose the chain with the *most* mistakes. Did you exchange argmin and argmax?"
    else:
        slip = (
            f"Where you lose most, you choose '{CHAINS[chosen[worst]]}', which recognises {100 * mine[worst]:.0f}%;"
            f" '{CHAINS[int(accuracy[worst].argmax())]}' recognises {100 * best[worst]:.0f}%. Count, for each chain,"
            " how many other people are nearer to a photo from the door than its own person."
        )
    raise Wrong(f"{said}\n{slip}")


@exercise(
    "light.choice",
    lesson="10",
    title="A chain for a new camera",
    points=3,
    equation="(10.9)",
    hints=(
        "You have what a test needs: photos from the door, and who is on them. Which chain would have recognised these"
        " people?",
        "`torch.cdist(asked, known)` has, for each chain, the distance of each photo from the door to each photo from"
        " the office, `[4, P, P]`. The right pairs are on its diagonal.",
        "Count how many others are nearer than the right person, for each chain. Several chains may make no mistake"
        " with so few people. Break ties by how far the right one is, compared with the others.",
    ),
)
def check_choice(answer: Callable[[Tensor, Tensor], int]) -> None:
    _judge_choice(answer, generator(0))


@fresh_check("light.choice")
def check_fresh_choice(answer: Callable[[Tensor, Tensor], int], draw: torch.Generator) -> None:
    _judge_choice(answer, draw)


@right_answer("light.choice")
def _(known: Tensor, asked: Tensor) -> int:
    distance = torch.cdist(asked, known)
    own = distance.diagonal(dim1=1, dim2=2)
    nearer = (distance < own[:, :, None]).sum(2).double()
    return int((nearer.mean(1) + (own / distance.sum(2)).mean(1)).argmin())


@right_answer("light.choice")
def _(known: Tensor, asked: Tensor) -> int:
    """The right person's distance, relative to that of the nearest other one."""
    distance = torch.cdist(asked, known)
    own = distance.diagonal(dim1=1, dim2=2)
    others = distance + 1e9 * torch.eye(known.shape[1])
    return int((own / others.amin(dim=2)).mean(dim=1).argmin())


@right_answer("light.choice")
def _(known: Tensor, asked: Tensor) -> Tensor:
    """A softmax over the people, as ProtoNet has it: the mean log-probability of the right person."""
    distance = torch.cdist(asked, known).square()
    scaled = distance / distance.mean(dim=(1, 2), keepdim=True)
    right = torch.log_softmax(-10 * scaled, dim=2).diagonal(dim1=1, dim2=2)
    return right.mean(dim=1).argmax()


@wrong_answer("light.choice", hint="'as they are' at every door")
def _(known: Tensor, asked: Tensor) -> int:
    return 0


@wrong_answer("light.choice", hint="'Tan-Triggs' at every door")
def _(known: Tensor, asked: Tensor) -> int:
    return 3


@wrong_answer("light.choice", hint="at every door")
def _(known: Tensor, asked: Tensor) -> int:
    """The chain after which people look least alike: of the office alone."""
    return int(torch.cdist(known, known).mean(dim=(1, 2)).argmax())


@wrong_answer("light.choice", hint="the *most* mistakes")
def _(known: Tensor, asked: Tensor) -> int:
    nearest = torch.cdist(asked, known).argmin(dim=2)
    return int((nearest == torch.arange(known.shape[1])).sum(dim=1).argmin())


@wrong_answer("light.choice", hint="the number of one chain, 0 to 3")
def _(known: Tensor, asked: Tensor) -> Tensor:
    nearest = torch.cdist(asked, known).argmin(dim=2)
    return (nearest == torch.arange(known.shape[1])).double().mean(dim=1)


@wrong_answer("light.choice", hint="Where you lose most")
def _(known: Tensor, asked: Tensor) -> int:
    """The right chain, but counted from 1."""
    distance = torch.cdist(asked, known)
    own = distance.diagonal(dim1=1, dim2=2)
    return min(int((own / distance.sum(2)).mean(1).argmin()) + 1, 3)
