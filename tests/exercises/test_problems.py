"""What checks hand to answers: each gradient that a docstring states, against autograd in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metaface_lessons.exercises import problems


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, C, AT = normal(3, seed=1).abs(), normal(3, seed=2), normal(3, seed=3)
MATRIX = normal(3, 3, seed=4) + normal(3, 3, seed=4).T
LOSSES = {  # the loss, its gradient, and its Hessian, as functions of the weights
    "bowl": (problems.Bowl(A, C), lambda x: A * (x - C), lambda x: A.diag()),
    "quartic": (problems.quartic, lambda x: x**3, lambda x: (3 * x**2).diag()),
    "task": (
        lambda x: problems.task_loss(x, problems.Task(MATRIX, C)),
        lambda x: MATRIX @ (x - C) + (x - C) ** 3,
        lambda x: MATRIX + (3 * (x - C) ** 2).diag(),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_gradient_and_the_hessian_that_are_stated(name: str) -> None:
    loss, gradient, hessian = LOSSES[name]
    torch.testing.assert_close(torch.func.grad(loss)(AT), gradient(AT))
    torch.testing.assert_close(torch.func.hessian(loss)(AT), hessian(AT))


def test_the_other_losses_are_those_of_their_formulas() -> None:
    a, b, c = AT.tolist()
    assert problems.cubic(AT).item() == pytest.approx(a**2 * b + b**3)
    sines = torch.tensor([a, b, c]).sin()
    assert problems.waves(AT).item() == pytest.approx((sines[0] * sines[1] * sines[2] + AT.exp().sum()).item())


@pytest.mark.parametrize(
    ("given", "loss"),
    [
        (problems.Towards(C), lambda phi: (phi - C).square().sum() / 2),
        (problems.QuarticGradient(C), lambda phi: ((phi - C) ** 4).sum()),
    ],
)
def test_a_gradient_is_that_of_its_loss_and_a_constant_to_autograd(
    given: Callable[[Tensor], Tensor], loss: Callable[[Tensor], Tensor]
) -> None:
    phi = AT.clone().requires_grad_()
    assert not given(phi).requires_grad
    torch.testing.assert_close(given(phi), torch.func.grad(loss)(AT))


def test_inner_loops_end_where_they_say_and_give_nothing_of_their_own_away() -> None:
    start, goal = AT.clone().requires_grad_(), C.clone()
    for loop, wanted in ((problems.EndsAt(goal), C), (problems.HalfWay(goal), (AT + C) / 2)):
        end = loop(start)
        assert torch.equal(end, wanted)
        assert not end.requires_grad
        end.zero_()
        assert torch.equal(goal, C)


def test_a_task_is_judged_after_a_step_on_its_first_half() -> None:
    """The inner step is written again with `autograd.grad` and the layer of `torch.nn`."""
    x, y = normal(8, 1, 6, 6), torch.arange(8) % 2
    shapes = {"filters": (2, 1, 3, 3), "scale": (2,), "shift": (2,), "head": (2, 2)}
    w = {name: normal(*shape, seed=seed).requires_grad_() for seed, (name, shape) in enumerate(shapes.items())}

    def loss(w: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        norm = torch.nn.BatchNorm2d(2, track_running_stats=False).double()
        hidden = torch.func.functional_call(
            norm, {"weight": w["scale"], "bias": w["shift"]}, torch.nn.functional.conv2d(x, w["filters"])
        )
        return torch.nn.functional.cross_entropy((1 + hidden.exp()).log().mean((2, 3)) @ w["head"].T, y)

    slopes = torch.autograd.grad(loss(w, x[:4], y[:4]), list(w.values()))
    stepped = {name: value - 0.5 * slope for (name, value), slope in zip(w.items(), slopes, strict=True)}
    torch.testing.assert_close(problems.normed_loss(w, x, y), loss(stepped, x[4:], y[4:]))
    head = normal(3)
    rows, targets = normal(5, 3, seed=5), normal(5, seed=6)
    wanted = sum((row @ head - target) ** 4 for row, target in zip(rows, targets, strict=True)) / 5
    torch.testing.assert_close(problems.plain_loss({"head": head}, rows, targets), wanted)
