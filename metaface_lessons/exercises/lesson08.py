"""The exercises of lesson 08, cross-domain."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from .core import (
    NO_GRADIENT,
    Wrong,
    exercise,
    expect,
    fresh_arguments,
    fresh_check,
    generator,
    pick,
    right_answer,
    wrong_answer,
)
from .problems import Bowl, quartic, waves

if TYPE_CHECKING:
    from ..faces.procedural import Identity

# Faces and networks are imported where the pictures are made: where answers are graded, neither is there.

# ---------------------------------------------------------------------------------------------- what a control may see


def _outside(images: Tensor, inside: Tensor) -> Tensor:
    mean = images[:, :, ~inside].mean(dim=2)[:, :, None, None]
    return torch.where(inside, mean, images)


@exercise(
    "domains.outside",
    lesson="08",
    title="A control that sees hair and outline only",
    points=2,
    equation="(8.2)",
    hints=(
        "`images[:, :, ~inside]` has the pixels that may be seen, `[M, C, pixels]`. Which axis does their mean run"
        " over?",
        "`torch.where(inside, filling, images)` puts `filling` where `inside` is true. The mean needs the shape"
        " `[M, C, 1, 1]` to fit.",
        "`mean = images[:, :, ~inside].mean(dim=2)`, then"
        " `return torch.where(inside, mean[:, :, None, None], images)`.",
    ),
)
def check_outside(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    def judge(images: Tensor, inside: Tensor, case: str) -> None:
        hole = torch.where(inside, 0.0, images)
        mean = images.mean(dim=(2, 3), keepdim=True)
        shared = images[:, :, ~inside].mean(dim=(1, 2))[:, None, None, None]
        everybody = images[:, :, ~inside].mean(dim=(0, 2))[None, :, None, None]
        inner = images[:, :, inside].mean(dim=2)[:, :, None, None]
        found = answer(images, inside)
        one_number = found[:, :, inside].flatten()[0] if images.shape == getattr(found, "shape", None) else 0.0
        expect(
            found,
            _outside(images, inside),
            case=case,
            slips={
                "Inside and outside are exchanged: the inner face is left, and hair and outline are gone.": torch.where(
                    inside, images, inner
                ),
                "The filling is the mean of *all* pixels, so the control sees how bright the inner face is. Take the"
                " mean of the pixels outside.": torch.where(inside, mean, images),
                "The filling is the mean of the inner face, so the control sees how bright that is. Take the mean of"
                " the pixels outside.": torch.where(inside, inner, images),
                "The filling is the sum of the pixels outside divided by *all* pixels. Divide by their number.": (
                    torch.where(inside, hole.mean(dim=(2, 3), keepdim=True), images)
                ),
                "You fill with black, and the mask becomes the sharpest edge in the picture. (8.2) fills with a"
                " mean.": hole,
                "You take one mean for all channels. Each has its own: `mean(dim=2)` of `[M, C, pixels]`.": torch.where(
                    inside, shared, images
                ),
                "You take one mean for all images, but a picture must not depend on the others. Each has its own.": (
                    torch.where(inside, everybody, images)
                ),
                "You fill with the same number in every picture. (8.2) fills with a mean of the picture's own pixels"
                " outside.": torch.where(inside, one_number, images),
                "Nothing was hidden.": images,
            },
        )

    inside = torch.tensor([[False, False, False], [False, True, True], [False, True, False]])
    images = torch.arange(18.0).view(1, 2, 3, 3) ** 1.5
    judge(images, inside, "For one picture of two channels, 3×3, and three pixels inside")
    inside = torch.rand(6, 5, generator=generator(1)) < 0.5
    inside[0, 0], inside[0, 1] = True, False
    judge(torch.rand(4, 3, 6, 5, generator=generator(2)), inside, "For four colour pictures, 6×5")


@fresh_arguments("domains.outside")
def draw_outside(draw: torch.Generator) -> tuple[Tensor, Tensor]:
    height, width = pick(draw, 3, 6), pick(draw, 3, 6)
    inside = torch.rand(height, width, generator=draw) < 0.5
    inside[0, 0], inside[0, 1] = True, False
    images = 50 * torch.rand(pick(draw, 2, 4), pick(draw, 2, 3), height, width, generator=draw)
    return images, inside


@right_answer("domains.outside")
def _(images: Tensor, inside: Tensor) -> Tensor:
    mean = images[:, :, ~inside].mean(dim=2)
    return torch.where(inside, mean[:, :, None, None], images)


@right_answer("domains.outside")
def _(images: Tensor, inside: Tensor) -> Tensor:
    images[:, :, inside] = images[:, :, ~inside].mean(dim=-1, keepdim=True)
    return images


@right_answer("domains.outside")
def _(images: Tensor, inside: Tensor) -> Tensor:
    seen = (~inside).to(images.dtype)
    mean = (images * seen).sum(dim=(2, 3), keepdim=True) / seen.sum()
    return images * seen + mean * (1 - seen)


@wrong_answer("domains.outside", hint="divided by *all* pixels")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, (images * ~inside).mean(dim=(2, 3), keepdim=True), images)


@wrong_answer("domains.outside", hint="inner face is left")
def _(images: Tensor, inside: Tensor) -> Tensor:
    inner = images[:, :, inside].mean(dim=2)[:, :, None, None]
    return torch.where(inside, images, inner)


@wrong_answer("domains.outside", hint="mean of *all* pixels")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, images.mean(dim=(2, 3), keepdim=True), images)


@wrong_answer("domains.outside", hint="mean of the inner face")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, images[:, :, inside].mean(dim=2)[:, :, None, None], images)


@wrong_answer("domains.outside", hint="the same number in every picture")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, 128.0, images)


@wrong_answer("domains.outside", hint="You fill with black")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return images * ~inside


@wrong_answer("domains.outside", hint="one mean for all channels")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, images[:, :, ~inside].mean(dim=(1, 2))[:, None, None, None], images)


@wrong_answer("domains.outside", hint="one mean for all images")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, images[:, :, ~inside].mean(dim=(0, 2))[None, :, None, None], images)


@wrong_answer("domains.outside", hint="Nothing was hidden")
def _(images: Tensor, inside: Tensor) -> Tensor:
    return images


# ------------------------------------------------------------------------------------- a control that breaks a claim

PEOPLE, SIDE = 40, 32  # of the open task
HIDDEN, POWER = 0.2, 0.4  # at most so many lookalikes are found; at least this share of what the whole pictures find
CORE = (slice(None), slice(None), slice(12, 24), slice(11, 21))  # brows, eyes, nose and mouth are in these pixels


def drawn_after_photos(people: Identity, seed: int) -> tuple[Tensor, Tensor]:
    """A photo of each person and a sketch drawn after it, grey, as floats from 0 to 255: two `[M, 1, 32, 32]`.

    people: whom they show.
    seed: of how the pictures are taken and drawn. All faces look straight ahead, on the same pixels.
    """
    from ..faces.procedural import render, sample_nuisance

    photo, sketch = (
        render(people, sample_nuisance(len(people), 2 * seed + k, "clean"), SIDE, domain=domain)
        for k, domain in enumerate(("photo", "sketch"))
    )
    return photo.float().mean(1, keepdim=True), sketch.float().mean(1, keepdim=True)


def found_by_pixels(photos: Tensor, sketches: Tensor) -> float:
    """The share of sketches whose nearest photo, by standardised pixels, is of the same person.

    photos, sketches: floats `[M, C, H, W]`, of the same people in the same order.
    """
    from ..networks import standardise

    known, asked = (standardise(images).flatten(1) for images in (photos, sketches))
    return (torch.cdist(asked, known).argmin(1) == torch.arange(len(known))).double().mean().item()


@exercise(
    "domains.control",
    lesson="08",
    title="A control that breaks a claim",
    points=3,
    equation="(8.2)",
    hints=(
        "Look at the pictures of the lookalikes, row by row: which pixels differ between them? Those must go, with a"
        " margin. All others may stay.",
        "Fill what you hide as in exercise 1, or with one grey. `found_by_pixels` shows what is left, of the lookalikes"
        " and of everybody.",
        "The face is in the rows 8 to 27 and the columns 8 to 23. Copy the pictures and fill that box with one number.",
    ),
)
def check_control(answer: Callable[[Tensor], Tensor]) -> None:
    _breaks(answer, pick(generator(5), 0, 999_999))


@functools.lru_cache(maxsize=32)
def _new_people(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """All kinds of people, and lookalikes, as `drawn_after_photos` has them. Every answer of a round sees the same."""
    from ..faces.controls import lookalikes
    from ..faces.procedural import sample_identities

    people = sample_identities(PEOPLE, seed)
    return drawn_after_photos(people, seed), drawn_after_photos(lookalikes(people), seed)


def _breaks(answer: Callable[[Tensor], Tensor], seed: int) -> None:
    """Raise `Wrong` unless the control hides the faces of new people, and leaves what else tells them apart."""
    everybody, alike = _new_people(seed)
    # The same pictures, with brows, eyes, nose and mouth of others: where the face is hidden, nothing changes.
    exchanged = tuple(images.clone() for images in everybody)
    for images, others in zip(exchanged, alike, strict=True):
        images[CORE] = others.roll(1, dims=0)[CORE]
    shown: list[list[Tensor]] = []
    for pictures in (everybody, alike, exchanged):
        shown.append([])
        for kind, images in enumerate(pictures):
            with torch.random.fork_rng(devices=[]):  # what an answer draws is not what the exchange changes
                torch.manual_seed(seed + kind)
                got: Any = answer(images.clone())
            if not isinstance(got, Tensor) or got.shape != images.shape:
                expect(got, images, case="For 40 pictures, a control returns pictures of the same shape")
            shown[-1].append(got.detach().float())
    if not all(torch.isfinite(images).all() for pictures in shown for images in pictures):
        raise Wrong("Some pixels that your control returns are not finite numbers. Fill with a mean of pixels.")
    whole, left, lookalike = (found_by_pixels(*pictures) for pictures in (everybody, *shown[:2]))
    if lookalike > HIDDEN:
        raise Wrong(
            f"Of {PEOPLE} lookalikes, who differ in nothing but the inner face, pixels still find"
            f" {100 * lookalike:.0f}% (chance: {100 / PEOPLE:.1f}%). So the face is not hidden, and the control proves"
            f" nothing. At most {100 * HIDDEN:.0f}% may be left: hide more of the face."
        )
    change = max((one - other).abs().max().item() for one, other in zip(shown[0], shown[2], strict=True))
    if change > 1:
        raise Wrong(
            "Brows, eyes, nose and mouth were exchanged for those of other people, and what your control shows changed,"
            f" by up to {change:.0f} grey levels. So the face is not hidden: noise or a blur only makes it hard to read"
            " for pixels, and another method may read it. Hide every pixel from the brows to the mouth, and fill them"
            " with something that does not depend on them."
        )
    if left < POWER * whole:
        raise Wrong(
            f"The face is hidden, but so is too much else: pixels find {100 * left:.0f}% of the people in your"
            f" pictures, {100 * whole:.0f}% in whole ones. A control that leaves nothing to find has no power."
            f" Leave hair and outline, and at least {100 * POWER:.0f} of 100 of what whole pictures are worth."
        )


@fresh_check("domains.control")
def check_fresh_control(answer: Callable[[Tensor], Tensor], draw: torch.Generator) -> None:
    # One of two groups of new people: to render others in each of the rounds would take most of an answer's time.
    _breaks(answer, pick(generator(6 + pick(draw, 0, 1)), 0, 999_999))


def _box(top: int, bottom: int, left: int, right: int) -> Tensor:
    hidden = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    hidden[top:bottom, left:right] = True
    return hidden


@right_answer("domains.control")
def _(images: Tensor) -> Tensor:
    blank = images.clone()
    blank[:, :, 8:28, 8:24] = 128.0
    return blank


@right_answer("domains.control")
def _(images: Tensor) -> Tensor:
    return _outside(images, _box(8, 28, 8, 24))


@wrong_answer("domains.control", hint="the face is not hidden")
def _(images: Tensor) -> Tensor:
    return images


@wrong_answer("domains.control", hint="the face is not hidden")
def _(images: Tensor) -> Tensor:
    return _outside(images, _box(12, 17, 8, 24))  # the eyes alone


@wrong_answer("domains.control", hint="the face is not hidden")
def _(images: Tensor) -> Tensor:
    return _outside(images, ~_box(8, 28, 8, 24))  # the inner face alone is left


@wrong_answer("domains.control", hint="what your control shows changed")
def _(images: Tensor) -> Tensor:
    return (images + 40 * torch.randn_like(images)).clamp(0, 255)


@wrong_answer("domains.control", hint="what your control shows changed")
def _(images: Tensor) -> Tensor:
    return functional.interpolate(functional.avg_pool2d(images, 4), scale_factor=4)


@wrong_answer("domains.control", hint="what your control shows changed")
def _(images: Tensor) -> Tensor:
    return _outside(images, _box(20, 26, 11, 21))  # the mouth alone


@wrong_answer("domains.control", hint="what your control shows changed")
def _(images: Tensor) -> Tensor:
    inner = _box(8, 28, 8, 24)
    return torch.where(inner, images[:, :, inner].mean(dim=2)[:, :, None, None], images)


@wrong_answer("domains.control", hint="what your control shows changed")
def _(images: Tensor) -> Tensor:
    return torch.where(_box(8, 28, 8, 24), images.mean(dim=0, keepdim=True), images)  # everybody's mean face


@wrong_answer("domains.control", hint="so is too much else")
def _(images: Tensor) -> Tensor:
    return torch.full_like(images, 128.0)


@wrong_answer("domains.control", hint="what your control shows changed")
def _(images: Tensor) -> Tensor:
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images).clone()


@wrong_answer("domains.control", hint="so is too much else")
def _(images: Tensor) -> Tensor:
    return _outside(images, _box(1, 31, 1, 31))


@wrong_answer("domains.control", hint="pictures of the same shape")
def _(images: Tensor) -> Tensor:
    return images[:, :, 4:28, 4:28]


# -------------------------------------------------------------------------------------------- who is left out, and when

Splits = list[tuple[list[str], str]]


def _splits(domains: Sequence[str], test: str) -> Splits:
    training = [d for d in domains if d != test]
    return [([d for d in training if d != out], out) for out in training]


def _sorted(splits: Splits) -> Splits:
    return sorted((sorted(train), out) for train, out in splits)


@exercise(
    "domains.splits",
    lesson="08",
    title="Which domains train, and which are held out",
    points=2,
    equation="(8.5)",
    hints=(
        "The domain of the test is always left out. Of the others, each is held out once.",
        "First make the list of training domains, without `test`. Then hold out each of them once; the rest of the"
        " training domains is for training.",
        "`training = [d for d in domains if d != test]`, then"
        " `return [([d for d in training if d != out], out) for out in training]`.",
    ),
)
def check_splits(answer: Callable[[list[str], str], Splits]) -> None:
    draw = generator(4)
    for names in (["photo", "sketch", "infrared"], ["day", "night", "film", "print", "phone"]):
        domains = [names[i] for i in torch.randperm(len(names), generator=draw).tolist()]
        test = domains[int(torch.randint(len(domains), (), generator=draw))]
        _held_out(answer, domains, test)


def _held_out(answer: Callable[[list[str], str], Splits], domains: list[str], test: str) -> None:
    """Raise `Wrong` unless the answer makes the splits of these domains."""
    case = f"For the domains {domains}, tested on {test!r}"
    got: Any = answer(list(domains), test)
    if isinstance(got, list | tuple) and any(
        isinstance(row, list | tuple)
        and len(row) == 2
        and isinstance(row[0], str)
        and isinstance(row[1], list | tuple | set)
        for row in got
    ):
        raise Wrong(f"{case}:\nThe pairs are the wrong way round: first S, a list of domains, then V, one domain.")
    if not isinstance(got, list | tuple) or not all(
        isinstance(row, list | tuple) and len(row) == 2 and isinstance(row[1], str) for row in got
    ):
        expect(got, _splits(domains, test), case=f"{case}, a list of pairs (list of domains, domain)")
    found = [(list(train), out) for train, out in got]
    for train, out in found:
        if test in train or test == out:
            raise Wrong(
                f"{case}:\n{(train, out)} has the domain of the test in it. That is a leak: training must not see"
                " it, not even as the domain that is held out."
            )
        if out in train:
            raise Wrong(f"{case}:\n{(train, out)} trains on the domain that it holds out, so nothing is held out.")
        if not train:
            raise Wrong(f"{case}:\n{(train, out)} has no domain to train on.")
    expect(
        _sorted(found),
        _sorted(_splits(domains, test)),
        case=case,
        slips={
            "Each of those trains on one domain. Train on all others: leave *one* out.": _sorted(
                [([d], out) for d in domains for out in domains if d != out and test not in (d, out)]
            ),
            "You hold out only one of the training domains. Hold out each of them once.": _sorted(
                _splits(domains, test)[:1]
            ),
        },
    )


@fresh_check("domains.splits")
def check_fresh_splits(answer: Callable[[list[str], str], Splits], draw: torch.Generator) -> None:
    domains = [f"domain {i}" for i in torch.randperm(100, generator=draw)[: pick(draw, 3, 6)].tolist()]
    _held_out(answer, domains, domains[pick(draw, 0, len(domains) - 1)])


@right_answer("domains.splits")
def _(domains: list[str], test: str) -> Splits:
    training = [d for d in domains if d != test]
    return [([d for d in training if d != out], out) for out in training]


@right_answer("domains.splits")
def _(domains: list[str], test: str) -> list[tuple[tuple[str, ...], str]]:
    found = []
    for out in reversed(domains):
        if out != test:
            found.append((tuple(set(domains) - {test, out}), out))
    return found


@wrong_answer("domains.splits", hint="domain of the test in it")
def _(domains: list[str], test: str) -> Splits:
    return [([d for d in domains if d != out], out) for out in domains]


@wrong_answer("domains.splits", hint="domain of the test in it")
def _(domains: list[str], test: str) -> Splits:
    return [([d for d in domains if d != test], test)]


@wrong_answer("domains.splits", hint="the wrong way round")
def _(domains: list[str], test: str) -> list[tuple[str, list[str]]]:
    return [(out, train) for train, out in _splits(domains, test)]


@wrong_answer("domains.splits", hint="nothing is held out")
def _(domains: list[str], test: str) -> Splits:
    training = [d for d in domains if d != test]
    return [(training, out) for out in training]


@wrong_answer("domains.splits", hint="leave *one* out")
def _(domains: list[str], test: str) -> Splits:
    training = [d for d in domains if d != test]
    if len(training) == 2:
        return _splits(domains, test)
    return [([d], out) for d in training for out in training if d != out]


@wrong_answer("domains.splits", hint="Hold out each of them once")
def _(domains: list[str], test: str) -> Splits:
    return _splits(domains, test)[:1]


# ----------------------------------------------------------------------------------------------- the gradient of MLDG

Loss = Callable[[Tensor], Tensor]


def _mldg(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    here = loss_s(theta)
    (gradient,) = torch.autograd.grad(here, theta, create_graph=True)
    return torch.autograd.grad(here + beta * loss_v(theta - alpha * gradient), theta)[0]


@exercise(
    "domains.mldg",
    lesson="08",
    title="The gradient of leaving one domain out",
    points=3,
    equation="(8.6)",
    hints=(
        "You need three lines: the gradient of `loss_s` at θ; θ′, one step from θ; the gradient of all of (8.4) *with"
        " respect to θ*.",
        "θ′ depends on θ twice: directly, and through the gradient. For the second way autograd needs a graph of the"
        " gradient: `create_graph=True`.",
        "`here = loss_s(theta)`, `(g,) = torch.autograd.grad(here, theta, create_graph=True)`, and the answer is"
        " `torch.autograd.grad(here + beta * loss_v(theta - alpha * g), theta)[0]`.",
    ),
)
def check_mldg(answer: Callable[[Loss, Loss, Tensor, float, float], Tensor]) -> None:
    def judge(loss_s: Loss, loss_v: Loss, start: Tensor, alpha: float, beta: float, case: str) -> None:
        def slope(of: Loss, at: Tensor) -> Tensor:
            at = at.detach().requires_grad_()
            return torch.autograd.grad(of(at), at)[0]

        def through_step(gradient: Tensor) -> Tensor:
            """(I − αH_S) times it: from θ′ back to θ."""
            at = start.clone().requires_grad_()
            (back,) = torch.autograd.grad(loss_s(at), at, create_graph=True)
            return torch.autograd.grad(at - alpha * back, at, grad_outputs=gradient)[0]

        here = slope(loss_s, start)
        there = slope(loss_v, start - alpha * here)
        wanted = _mldg(loss_s, loss_v, start.clone().requires_grad_(), alpha, beta)
        theta = start.clone().requires_grad_()
        got = answer(loss_s, loss_v, theta, alpha, beta)
        if not torch.equal(theta.detach(), start):
            raise Wrong(f"{case}:\nθ itself has changed. Make a new tensor for θ′: `theta - alpha * gradient`.")
        expect(
            got.detach() if isinstance(got, Tensor) else got,
            wanted,
            case=case,
            slips={
                "That is first order: to autograd your gradient of L_S is a constant, so the Hessian is lost. Did you"
                " pass `create_graph=True`?": here + beta * there,
                "L_S itself is missing: (8.4) has it too.": wanted - here,
                "You take L_V at θ, so that is plain training on both. Take L_V at θ′, after the step.": here
                + beta * slope(loss_v, start),
                "You take both losses at θ′. In (8.4) L_S is at θ.": through_step(
                    slope(loss_s, start - alpha * here) + beta * there
                ),
                "The Hessian is right, but the gradient of L_V is taken at θ. Take it at θ′.": here
                + beta * through_step(slope(loss_v, start)),
                "The sign of the Hessian: going back from θ′ to θ multiplies by I − αH_S.": here
                + beta * (2 * there - through_step(there)),
                "The Hessian lacks its α: θ′ depends on the gradient of L_S by −α.": here
                + beta * (there - (there - through_step(there)) / alpha),
                "The Hessian's part is not multiplied by β. In (8.6) β stands before both parts of L_V.": here
                + beta * there
                - (there - through_step(there)),
                "α and β are exchanged: α is the rate of the step, β the weight of L_V.": _mldg(
                    loss_s, loss_v, start.clone().requires_grad_(), beta, alpha
                ),
                "The step goes *up* L_S: θ′ = θ − α∇L_S.": _mldg(
                    loss_s, loss_v, start.clone().requires_grad_(), -alpha, beta
                ),
                "β is missing.": _mldg(loss_s, loss_v, start.clone().requires_grad_(), alpha, 1.0),
                "S and V have changed places.": _mldg(loss_v, loss_s, start.clone().requires_grad_(), alpha, beta),
                "That is the gradient of L_S alone.": here,
                NO_GRADIENT: None,
                "That is the gradient of L_V at θ′, with respect to θ′. L_S and the Hessian are missing.": there,
            },
            tolerance=1e-5,
        )

    one = Bowl(torch.tensor([1.0, 4.0]).double(), torch.tensor([0.0, 1.0]).double())
    other = Bowl(torch.tensor([3.0, 1.0]).double(), torch.tensor([1.0, -1.0]).double())
    start = torch.tensor([1.0, 2.0]).double()
    judge(one, other, start, 0.1, 0.5, "With two bowls as L_S and L_V, θ = [1, 2], α = 0.1 and β = 0.5")
    start = torch.rand(3, generator=generator(3), dtype=torch.float64) + 0.3
    judge(quartic, waves, start, 0.2, 2.0, "With L_S = ¼Σθ⁴, L_V = Π sin θ + Σ exp θ, α = 0.2 and β = 2")


@fresh_arguments("domains.mldg")
def draw_mldg(draw: torch.Generator) -> tuple[Loss, Loss, Tensor, float, float]:
    size = pick(draw, 2, 4)

    def bowl() -> Bowl:
        a, c = torch.rand(2, size, generator=draw, dtype=torch.float64)
        return Bowl(0.5 + 3 * a, 4 * c - 2)

    theta = torch.rand(size, generator=draw, dtype=torch.float64).requires_grad_()
    alpha, beta = (0.05 + 0.1 * torch.rand(2, generator=draw)).tolist()
    return bowl(), bowl(), theta, alpha, 0.3 + 5 * beta


@right_answer("domains.mldg")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    return _mldg(loss_s, loss_v, theta, alpha, beta)


@right_answer("domains.mldg")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    def objective(at: Tensor) -> Tensor:
        return loss_s(at) + beta * loss_v(at - alpha * torch.func.grad(loss_s)(at))

    return torch.func.grad(objective)(theta)


@right_answer("domains.mldg")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    (here,) = torch.autograd.grad(loss_s(theta), theta, create_graph=True)
    moved = theta - alpha * here
    (there,) = torch.autograd.grad(loss_v(moved), moved, retain_graph=True)
    (back,) = torch.autograd.grad(moved, theta, grad_outputs=there.detach(), retain_graph=True)
    return here + beta * back


@wrong_answer("domains.mldg", hint="first order")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    here = loss_s(theta)
    (gradient,) = torch.autograd.grad(here, theta, retain_graph=True)
    return torch.autograd.grad(here + beta * loss_v(theta - alpha * gradient), theta)[0]


@wrong_answer("domains.mldg", hint="L_S itself is missing")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss_s(theta), theta, create_graph=True)
    return torch.autograd.grad(beta * loss_v(theta - alpha * gradient), theta)[0]


@wrong_answer("domains.mldg", hint="You take L_V at θ")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.autograd.grad(loss_s(theta) + beta * loss_v(theta), theta)[0]


@wrong_answer("domains.mldg", hint="both losses at θ′")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss_s(theta), theta, create_graph=True)
    moved = theta - alpha * gradient
    return torch.autograd.grad(loss_s(moved) + beta * loss_v(moved), theta)[0]


@wrong_answer("domains.mldg", hint="The Hessian is right")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    (here,) = torch.autograd.grad(loss_s(theta), theta, create_graph=True)
    (there,) = torch.autograd.grad(loss_v(theta), theta)
    (back,) = torch.autograd.grad(theta - alpha * here, theta, grad_outputs=there)
    return here.detach() + beta * back


@wrong_answer("domains.mldg", hint="α and β are exchanged")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    return _mldg(loss_s, loss_v, theta, beta, alpha)


@wrong_answer("domains.mldg", hint="L_S and the Hessian are missing")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    moved = (theta - alpha * torch.autograd.grad(loss_s(theta), theta)[0]).detach().requires_grad_()
    return torch.autograd.grad(loss_v(moved), moved)[0]


@wrong_answer("domains.mldg", hint="The step goes *up*")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    return _mldg(loss_s, loss_v, theta, -alpha, beta)


@wrong_answer("domains.mldg", hint="β is missing")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    return _mldg(loss_s, loss_v, theta, alpha, 1.0)


def _by_parts(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """∇L_S at θ, ∇L_V at θ′, and the product of H_S with the latter."""
    (here,) = torch.autograd.grad(loss_s(theta), theta, create_graph=True)
    moved = (theta - alpha * here).detach().requires_grad_()
    (there,) = torch.autograd.grad(loss_v(moved), moved)
    return here.detach(), there, torch.autograd.grad(here, theta, grad_outputs=there)[0]


@wrong_answer("domains.mldg", hint="The sign of the Hessian")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    here, there, product = _by_parts(loss_s, loss_v, theta, alpha)
    return here + beta * (there + alpha * product)


@wrong_answer("domains.mldg", hint="lacks its α")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    here, there, product = _by_parts(loss_s, loss_v, theta, alpha)
    return here + beta * (there - product)


@wrong_answer("domains.mldg", hint="not multiplied by β")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    here, there, product = _by_parts(loss_s, loss_v, theta, alpha)
    return here + beta * there - alpha * product


@wrong_answer("domains.mldg", hint="changed places")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    return _mldg(loss_v, loss_s, theta, alpha, beta)


@wrong_answer("domains.mldg", hint="L_S alone")
def _(loss_s: Loss, loss_v: Loss, theta: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.autograd.grad(loss_s(theta), theta)[0]
