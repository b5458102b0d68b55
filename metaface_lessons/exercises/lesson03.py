"""The exercises of lesson 03, MAML."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .core import (
    NO_GRADIENT,
    Wrong,
    exercise,
    expect,
    explained,
    fresh_arguments,
    gradient,
    pick,
    right_answer,
    wrong_answer,
)
from .problems import Bowl, cubic, quartic, waves

Loss = Callable[[Tensor], Tensor]  # weights [D] → a number

# A bowl whose two directions curve differently, and a start: gradient a(θ − c) = [1, 4], Hessian diag(a).
A, C, START = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 4.0], [0.0, 1.0], [1.0, 2.0]))
BOWL = "With L(θ) = ½·1·θ₀² + ½·4·(θ₁ − 1)², θ = [1, 2] and α = 0.1"


_bowl = Bowl(A, C)


def _fresh_bowl(draw: torch.Generator, size: int) -> Bowl:
    a, c = torch.rand(2, size, generator=draw, dtype=torch.float64)
    return Bowl(0.5 + 3 * a, 4 * c - 2)


def _fresh_start(draw: torch.Generator, size: int) -> Tensor:
    return torch.rand(size, generator=draw, dtype=torch.float64).add(0.5).requires_grad_()


def _fresh_rate(draw: torch.Generator) -> float:
    return 0.05 + 0.1 * float(torch.rand((), generator=draw))


def _start() -> Tensor:
    return START.clone().requires_grad_()


def _untouched(theta: Tensor) -> None:
    """Raise `Wrong` if the slow weights or their `.grad` have changed."""
    if not torch.equal(theta.detach(), START):
        raise Wrong(
            f"θ itself has changed, from {START.tolist()} to {[round(v, 4) for v in theta.tolist()]}. Every task of"
            " every episode starts from the same θ. Make new weights: no `-=`, no `.data`, no optimiser step on θ."
        )
    if theta.grad is not None:
        raise Wrong(
            "You leave a gradient in `theta.grad`. The outer loop collects the meta-gradient there, and would add the"
            " two up. `torch.autograd.grad(…)` returns the gradient and stores nothing."
        )


CUT = "φ is cut off from θ, so there would be no meta-gradient"


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Inside, the usual errors in taking a gradient are said in words."""
    tuples = "`torch.autograd.grad` returns a tuple, one gradient for each input. Take the first: `[0]`."
    with (
        explained("multiply sequence", tuples),
        explained("'Tensor' and 'tuple'", tuples),
        explained(
            "is not iterable", "Give `torch.autograd.grad` the loss at the weights, `loss(theta)`, not the function."
        ),
        explained("does not require grad", "The graph is cut: by `no_grad()`, `detach()` or `.data`?"),
    ):
        yield


# ----------------------------------------------------------------------------------------------------------- inner step


@exercise(
    "maml.inner_step",
    lesson="03",
    title="One inner step",
    points=2,
    equation="(3.1)",
    hints=(
        "`torch.autograd.grad(loss(theta), theta)` returns the gradient in a tuple of one.",
        "Make new weights and leave θ as it is: `theta - rate * gradient`.",
        "The outer loop will differentiate φ with respect to θ, and the gradient depends on θ too. With"
        " `create_graph=True` autograd builds the graph of the gradient; without it the gradient is a constant.",
    ),
)
def check_inner_step(answer: Callable[[Loss, Tensor, float], Tensor]) -> None:
    theta, slope = _start(), A * (START - C)
    with _explained():
        result = answer(_bowl, theta, 0.1)
    _untouched(theta)
    expect(
        result,
        START - 0.1 * slope,
        case=BOWL,
        slips={
            "The sign: a step *down* the loss subtracts the gradient.": START + 0.1 * slope,
            "The gradient is not multiplied by the inner rate.": START - slope,
            "That is the gradient. Take the step.": slope,
            "That is the step alone. The new weights are θ and the step together.": -0.1 * slope,
            "Those are the old weights: nothing was learned.": START,
            "That scales the gradient to length 1. Plain gradient descent takes it as it is.": START
            - 0.1 * slope / slope.norm(),
            "That follows the signs of the gradient. Use the gradient itself.": START - 0.1 * slope.sign(),
        },
    )
    theta = _start()
    result = answer(quartic, theta, 0.1)
    expect(result, START - 0.1 * START**3, case="With L(θ) = ¼Σθ⁴, θ = [1, 2] and α = 0.1")
    expect(
        gradient(result, theta, CUT),
        1 - 0.3 * START**2,
        case="The derivative of φ₀ + φ₁ with respect to θ, for L(θ) = ¼Σθ⁴, whose Hessian is diag(3θ²)",
        slips={
            "To autograd your gradient is a constant, so the Hessian is lost: that is first order. Did you pass"
            " `create_graph=True`?": torch.ones(2, dtype=torch.float64),
            "The graph leads through the gradient alone. θ itself was detached.": -0.3 * START**2,
        },
    )


@fresh_arguments("maml.inner_step")
def draw_inner_step(draw: torch.Generator) -> tuple[Loss, Tensor, float]:
    size = pick(draw, 2, 5)
    return _fresh_bowl(draw, size), _fresh_start(draw, size), _fresh_rate(draw)


@fresh_arguments("maml.inner_step")
def draw_curved_step(draw: torch.Generator) -> tuple[Loss, Tensor, float]:
    return quartic, _fresh_start(draw, pick(draw, 2, 5)), _fresh_rate(draw)


@right_answer("maml.inner_step")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    return theta - rate * gradient


@right_answer("maml.inner_step")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    return theta - rate * torch.func.grad(loss)(theta)


@right_answer("maml.inner_step")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    value = loss(theta)
    gradient = torch.autograd.grad([value], [theta], grad_outputs=[torch.ones_like(value)], create_graph=True)[0]
    return torch.add(theta, gradient, alpha=-rate)


@wrong_answer("maml.inner_step", hint="returns a tuple")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    slope: Any = torch.autograd.grad(loss(theta), theta, create_graph=True)
    return theta - rate * slope


@wrong_answer("maml.inner_step", hint="not the function")
def _(loss: Any, theta: Tensor, rate: float) -> Tensor:
    return theta - rate * torch.autograd.grad(loss, theta, create_graph=True)[0]


@wrong_answer("maml.inner_step", hint="The graph is cut: by")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    with torch.no_grad():
        return theta - rate * torch.autograd.grad(loss(theta), theta)[0]


@wrong_answer("maml.inner_step", hint="The sign")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    return theta + rate * gradient


@wrong_answer("maml.inner_step", hint="not multiplied by the inner rate")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    return theta - torch.autograd.grad(loss(theta), theta, create_graph=True)[0]


@wrong_answer("maml.inner_step", hint="the step alone")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    return -rate * torch.autograd.grad(loss(theta), theta, create_graph=True)[0]


@wrong_answer("maml.inner_step", hint="create_graph=True")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    return theta - rate * torch.autograd.grad(loss(theta), theta)[0]


@wrong_answer("maml.inner_step", hint="create_graph=True")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    return theta - rate * torch.autograd.grad(loss(theta), theta, create_graph=True)[0].detach()


@wrong_answer("maml.inner_step", hint="cut off from θ")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(theta), theta)
    with torch.no_grad():
        return theta - rate * gradient


@wrong_answer("maml.inner_step", hint="θ itself was detached")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    return theta.detach() - rate * gradient


@wrong_answer("maml.inner_step", hint="θ itself has changed")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    theta.data -= rate * gradient
    return theta


@wrong_answer("maml.inner_step", hint="θ itself has changed")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    optimiser = torch.optim.SGD([theta], lr=rate)
    loss(theta).backward()
    optimiser.step()
    return theta


@wrong_answer("maml.inner_step", hint="in-place operation")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    theta -= rate * torch.autograd.grad(loss(theta), theta, create_graph=True)[0]
    return theta


@wrong_answer("maml.inner_step", hint="theta.grad")
def _(loss: Loss, theta: Tensor, rate: float) -> Tensor:
    loss(theta).backward()
    assert theta.grad is not None
    return theta - rate * theta.grad


@wrong_answer("maml.inner_step", hint="Is a `return` missing?")
def _(loss: Loss, theta: Tensor, rate: float) -> None:
    theta - rate * torch.autograd.grad(loss(theta), theta, create_graph=True)[0]


# ---------------------------------------------------------------------------------------------------------------- adapt


@exercise(
    "maml.adapt",
    lesson="03",
    title="k inner steps",
    points=2,
    equation="(3.2)",
    hints=(
        "Begin with `phi = theta`. Each turn of a loop over `range(steps)` makes the next φ from the last one.",
        "Step j takes the gradient at φ of step j − 1: with respect to `phi`, not to `theta`.",
        "Build the graph of the gradient in every step (`create_graph=True`), and detach nothing between two steps.",
    ),
)
def check_adapt(answer: Callable[[Loss, Tensor, float, int], Any]) -> None:
    def after(steps: int, rate: float = 0.1) -> Tensor:
        return C + (1 - rate * A) ** steps * (START - C)

    theta = _start()
    with _explained():
        result = answer(_bowl, theta, 0.1, 3)
    _untouched(theta)
    if isinstance(result, list | tuple):
        raise Wrong(f"Return the last weights, φ_k, alone. You return {len(result)} tensors.")
    expect(
        result,
        after(3),
        case=f"{BOWL}, after 3 steps",
        slips={
            "That is one step. Take as many as `steps` says.": after(1),
            "That is two steps, but `steps` is 3.": after(2),
            "That is four steps, but `steps` is 3.": after(4),
            "You take every gradient at θ: three times the same step. Step j takes its gradient at φ of step j − 1.": (
                START - 0.3 * A * (START - C)
            ),
            "You divide the inner rate by the number of steps, but every step has the full rate.": after(3, 0.1 / 3),
            "The sign: a step *down* the loss subtracts the gradient.": after(3, -0.1),
            "Those are the old weights: nothing was learned.": START,
        },
    )
    expect(answer(_bowl, _start(), 0.1, 0), START, case="With no step at all φ_0 = θ, so")
    theta = _start()
    result = answer(quartic, theta, 0.1, 2)
    first, second = 1 - 0.3 * START**2, 1 - 0.3 * (START - 0.1 * START**3) ** 2
    expect(
        gradient(result, theta, CUT),
        first * second,
        case="The derivative of φ₀ + φ₁ with respect to θ, after 2 steps on L(θ) = ¼Σθ⁴, whose Hessian is diag(3φ²)",
        slips={
            "To autograd your gradients are constants, so the Hessians are lost: that is first order. Did you pass"
            " `create_graph=True`?": torch.ones(2, dtype=torch.float64),
            "Only the Hessian of the first step is in it. Pass `create_graph=True` in every step.": first,
            "Only the Hessian of the last step is in it. Pass `create_graph=True` in every step.": second,
        },
    )


@fresh_arguments("maml.adapt")
def draw_adapt(draw: torch.Generator) -> tuple[Loss, Tensor, float, int]:
    size = pick(draw, 2, 5)
    return _fresh_bowl(draw, size), _fresh_start(draw, size), _fresh_rate(draw), pick(draw, 2, 5)


@fresh_arguments("maml.adapt")
def draw_curved_adapt(draw: torch.Generator) -> tuple[Loss, Tensor, float, int]:
    return quartic, _fresh_start(draw, pick(draw, 2, 5)), _fresh_rate(draw), pick(draw, 2, 5)


@right_answer("maml.adapt")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi), phi, create_graph=True)
        phi = phi - rate * gradient
    return phi


@right_answer("maml.adapt")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    gradient = torch.func.grad(loss)
    for _ in range(steps):
        theta = theta - rate * gradient(theta)
    return theta


def _recursive(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    if steps == 0:
        return theta
    (gradient,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    return _recursive(loss, theta - rate * gradient, rate, steps - 1)


right_answer("maml.adapt")(_recursive)


@right_answer("maml.adapt")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    path = [theta.clone()]
    while len(path) <= steps:
        value = loss(path[-1])
        path.append(path[-1].sub(torch.autograd.grad(value, path[-1], create_graph=True)[0].mul(rate)))
    return path[-1]


@wrong_answer("maml.adapt", hint="three times the same step")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(loss(theta), theta, create_graph=True)[0]
    return phi


@wrong_answer("maml.adapt", hint="That is one step")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    for _ in range(steps):
        phi = theta - rate * torch.autograd.grad(loss(theta), theta, create_graph=True)[0]
    return phi


@wrong_answer("maml.adapt", hint="two steps")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(1, steps):
        phi = phi - rate * torch.autograd.grad(loss(phi), phi, create_graph=True)[0]
    return phi


@wrong_answer("maml.adapt", hint="by the number of steps")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate / steps * torch.autograd.grad(loss(phi), phi, create_graph=True)[0]
    return phi


@wrong_answer("maml.adapt", hint="The sign")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi + rate * torch.autograd.grad(loss(phi), phi, create_graph=True)[0]
    return phi


@wrong_answer("maml.adapt", hint="create_graph=True")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(loss(phi), phi)[0]
    return phi


@wrong_answer("maml.adapt", hint="cut off from θ")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi.detach().requires_grad_()
        phi = phi - rate * torch.autograd.grad(loss(phi), phi, create_graph=True)[0]
    return phi


@wrong_answer("maml.adapt", hint="Hessian of the first step")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for j in range(steps):
        phi = phi - rate * torch.autograd.grad(loss(phi), phi, create_graph=j < steps - 1)[0]
    return phi


@wrong_answer("maml.adapt", hint="θ itself has changed")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
        with torch.no_grad():
            theta -= rate * gradient
    return theta


@wrong_answer("maml.adapt", hint="last weights, φ_k, alone")
def _(loss: Loss, theta: Tensor, rate: float, steps: int) -> list[Tensor]:
    path = [theta]
    for _ in range(steps):
        path.append(path[-1] - rate * torch.autograd.grad(loss(path[-1]), path[-1], create_graph=True)[0])
    return path


# ---------------------------------------------------------------------------------------------------------- first order


@exercise(
    "maml.first_order",
    lesson="03",
    title="The first-order meta-gradient",
    points=2,
    equation="(3.16)",
    hints=(
        "First adapt on the support loss, k steps, as before. Leave out `create_graph`: that is the whole saving.",
        "Then take the gradient of the *query* loss at the end of these steps, at φ_k.",
        "`torch.autograd.grad(query_loss(phi), phi)` has the answer: the gradient with respect to φ, multiplied by"
        " nothing.",
    ),
)
def check_first_order(answer: Callable[[Loss, Loss, Tensor, float, int], Tensor]) -> None:
    aim = torch.tensor([3.0, 0.0], dtype=torch.float64)

    query = Bowl(torch.ones(2, dtype=torch.float64), aim)

    def phi(steps: int) -> Tensor:
        return C + (1 - 0.1 * A) ** steps * (START - C)

    for steps in (3, 1):  # with one step alone some slips look alike
        theta = _start()
        with _explained():
            result = answer(_bowl, query, theta, 0.1, steps)
        _untouched(theta)
        expect(
            result,
            phi(steps) - aim,
            case=f"{BOWL} for the support, ½‖θ − [3, 0]‖² for the query, k = {steps}",
            slips={
                "That is the full meta-gradient, with its Hessians, equation (3.13). First order leaves them out: no"
                " `create_graph`.": (1 - 0.1 * A) ** steps * (phi(steps) - aim),
                "That is the gradient at θ, as if there had been no inner loop. Take it at φ_k.": START - aim,
                "That is the gradient of the *support* loss at φ_k. Take that of the query loss.": A * (phi(steps) - C),
                "Those are the adapted weights φ_k. Return the gradient of the query loss *at* them.": phi(steps),
                "The sign: return the gradient itself, not the step against it.": aim - phi(steps),
                "That is the path of the inner loop, θ − φ_k. Lesson 04 makes an algorithm of it; here the gradient of"
                " the query loss is asked for.": START - phi(steps),
                "That is the gradient after one inner step. Take as many as `steps` says.": phi(1) - aim,
                "That is the gradient after one inner step too few.": phi(steps - 1) - aim,
                "That is the gradient after one inner step too many.": phi(steps + 1) - aim,
                "You adapt on the query loss. The inner loop sees the support loss alone.": 0.9**steps * (START - aim),
                "Support and query have changed places: adapt on the support loss, score on the query loss.": A
                * (aim + 0.9**steps * (START - aim) - C),
                "That is θ after an outer step. Return the gradient alone.": START - 0.1 * (phi(steps) - aim),
                NO_GRADIENT: None,
            },
        )


@fresh_arguments("maml.first_order")
def draw_first_order(draw: torch.Generator) -> tuple[Loss, Loss, Tensor, float, int]:
    size = pick(draw, 2, 5)
    support, query = _fresh_bowl(draw, size), _fresh_bowl(draw, size)
    return support, query, _fresh_start(draw, size), _fresh_rate(draw), pick(draw, 2, 4)


@right_answer("maml.first_order")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return torch.autograd.grad(query_loss(phi), phi)[0]


@right_answer("maml.first_order")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return torch.autograd.grad(query_loss(phi), theta)[0]  # through θ + constants


@right_answer("maml.first_order")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta.detach().clone()
    for _ in range(steps):
        phi = phi - rate * torch.func.grad(support_loss)(phi)
    return torch.func.grad(query_loss)(phi)


@right_answer("maml.first_order")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = torch.nn.Parameter(theta.detach().clone())
    optimiser = torch.optim.SGD([phi], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        support_loss(phi).backward()
        optimiser.step()
    return torch.autograd.grad(query_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="full meta-gradient")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi, create_graph=True)[0]
    return torch.autograd.grad(query_loss(phi), theta)[0]


@wrong_answer("maml.first_order", hint="gradient at θ")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    return torch.autograd.grad(query_loss(theta), theta)[0]


@wrong_answer("maml.first_order", hint="*support* loss")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return torch.autograd.grad(support_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="adapted weights")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return phi


@wrong_answer("maml.first_order", hint="path of the inner loop")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return theta - phi


@wrong_answer("maml.first_order", hint="after one inner step")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta - rate * torch.autograd.grad(support_loss(theta), theta)[0]
    return torch.autograd.grad(query_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="one inner step too few")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(1, steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return torch.autograd.grad(query_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="one inner step too many")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps + 1):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return torch.autograd.grad(query_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="adapt on the query loss")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(query_loss(phi), phi)[0]
    return torch.autograd.grad(query_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="changed places")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(query_loss(phi), phi)[0]
    return torch.autograd.grad(support_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="after an outer step")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    return theta - rate * torch.autograd.grad(query_loss(phi), phi)[0]


@wrong_answer("maml.first_order", hint="θ itself has changed")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    for _ in range(steps):
        theta.data -= rate * torch.autograd.grad(support_loss(theta), theta)[0]
    return torch.autograd.grad(query_loss(theta), theta)[0]


@wrong_answer("maml.first_order", hint="theta.grad")
def _(support_loss: Loss, query_loss: Loss, theta: Tensor, rate: float, steps: int) -> Tensor:
    phi = theta
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad(support_loss(phi), phi)[0]
    query_loss(phi).backward()
    assert theta.grad is not None
    return theta.grad


# ---------------------------------------------------------------------------------------------------- finite difference


@exercise(
    "maml.finite_difference",
    lesson="03",
    title="Central differences: a test for any gradient",
    points=2,
    equation="(3.20)",
    hints=(
        "Move one coordinate at a time. Make two copies of θ: add h to entry i of one, and subtract h from entry i of"
        " the other.",
        "The distance of the two points is 2h, so divide the difference of their values by 2h.",
        "With `step = torch.zeros_like(theta); step[i] = h` the two points are `theta + step` and `theta - step`, and θ"
        " stays as it is.",
        "Collect the results in a tensor of θ's own type: `torch.empty_like(theta)`, or `torch.stack` of tensors."
        " `torch.tensor([…])` of Python floats has single precision.",
    ),
)
def check_finite_difference(answer: Callable[[Loss, Tensor, float], Tensor]) -> None:
    def difference(*at: tuple[float, float]) -> Tensor:
        """(f(a) − f(b)) / 0.2 for each two points a, b."""
        values = [cubic(torch.tensor(point, dtype=torch.float64)) for point in at]
        return torch.stack([(a - b) / 0.2 for a, b in zip(values[::2], values[1::2], strict=True)])

    wanted = torch.tensor([4.0, 13.01], dtype=torch.float64)
    together = difference((1.1, 2.1), (0.9, 1.9))
    result = answer(cubic, START.clone(), 0.1)
    expect(
        result,
        wanted,
        case="With f(θ) = θ₀²·θ₁ + θ₁³, θ = [1, 2] and h = 0.1",
        slips={
            "That is a one-sided difference, (f(θ + h) − f(θ)) / h. Its error falls with h, that of the central one"
            " with h²: step to both sides.": 2 * difference((1.1, 2), (1, 2), (1, 2.1), (1, 2)),
            "That is a one-sided difference, (f(θ) − f(θ − h)) / h: step to both sides.": 2
            * difference((1, 2), (0.9, 2), (1, 2), (1, 1.9)),
            "Twice too large: from θ − h to θ + h it is 2h.": 2 * wanted,
            "You do not divide by the distance of the two points, 2h.": 0.2 * wanted,
            "You divide by 2, but not by h.": 0.1 * wanted,
            "`/ 2 * h` divides by 2 and *multiplies* by h. Write `/ (2 * h)`.": 0.01 * wanted,
            "Only the second value is divided. Put a bracket around the difference: `(… - …) / (2 * h)`.": (
                torch.stack([cubic(START + s) - cubic(START - s) / 0.2 for s in 0.1 * torch.eye(2).to(START)])
            ),
            "The sign: f(θ + h) − f(θ − h), in this order.": -wanted,
            "That is the exact derivative, from autograd. But autograd is what we test: take differences of values.": (
                torch.tensor([4.0, 13.0], dtype=torch.float64)
            ),
            "The first entry is right. For the second, θ₀ is still moved: restore it, or work on a copy.": (
                difference((1.1, 2), (0.9, 2), (0.9, 2.1), (0.9, 1.9))
            ),
            "All coordinates move at once. Move one at a time: entry i of the result belongs to θᵢ.": together[0],
            "All coordinates move at once. Move one at a time, for each entry of the result.": together.expand(2),
        },
    )
    if result.dtype != torch.float64:
        raise Wrong(
            f"θ is torch.float64, your result is {result.dtype} and has seven digits. The test needs more."
            " `torch.tensor([…])` of Python floats has single precision: give it `dtype=theta.dtype`."
        )
    point = torch.linspace(-1, 1, 5, dtype=torch.float64)
    single = (1e-5 * torch.eye(5)).double()
    expect(
        answer(waves, point, 1e-5),
        torch.func.grad(waves)(point),
        case="With 5 coordinates and h = 10⁻⁵, against the exact gradient",
        slips={
            "Your step has single precision, which rounds h: give `torch.eye` or `torch.zeros`"
            " `dtype=theta.dtype`.": torch.stack([(waves(point + s) - waves(point - s)) / 2e-5 for s in single]),
        },
        tolerance=1e-8,
    )


@fresh_arguments("maml.finite_difference")
def draw_finite_difference(draw: torch.Generator) -> tuple[Loss, Tensor, float]:
    return quartic, _fresh_start(draw, pick(draw, 2, 5)).detach(), 0.2 + 0.2 * float(torch.rand((), generator=draw))


@fresh_arguments("maml.finite_difference", tolerance=1e-8)
def draw_fine_difference(draw: torch.Generator) -> tuple[Loss, Tensor, float]:
    return waves, _fresh_start(draw, pick(draw, 2, 5)).detach(), 1e-5


@right_answer("maml.finite_difference")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    result = torch.empty_like(theta)
    for i in range(len(theta)):
        step = torch.zeros_like(theta)
        step[i] = h
        result[i] = (f(theta + step) - f(theta - step)) / (2 * h)
    return result


@right_answer("maml.finite_difference")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    steps = h * torch.eye(len(theta), dtype=theta.dtype)
    return torch.stack([f(theta + step) - f(theta - step) for step in steps]) / 2 / h


@right_answer("maml.finite_difference")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    found = []
    for i in range(len(theta)):
        theta[i] += h
        up = f(theta).item()
        theta[i] -= 2 * h
        found.append((up - f(theta).item()) / (2 * h))
        theta[i] += h
    return torch.tensor(found, dtype=theta.dtype)


@wrong_answer("maml.finite_difference", hint="one-sided difference")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.stack([(f(theta + step) - f(theta)) / h for step in h * torch.eye(len(theta)).double()])


@wrong_answer("maml.finite_difference", hint="Twice too large")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.stack([(f(theta + step) - f(theta - step)) / h for step in h * torch.eye(len(theta)).double()])


@wrong_answer("maml.finite_difference", hint="not by h")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.stack([(f(theta + step) - f(theta - step)) / 2 for step in h * torch.eye(len(theta)).double()])


@wrong_answer("maml.finite_difference", hint="*multiplies* by h")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.stack([(f(theta + step) - f(theta - step)) / 2 * h for step in h * torch.eye(len(theta)).double()])


@wrong_answer("maml.finite_difference", hint="Only the second value is divided")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.stack([f(theta + step) - f(theta - step) / (2 * h) for step in h * torch.eye(len(theta)).double()])


@wrong_answer("maml.finite_difference", hint="The sign")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.stack([(f(theta - step) - f(theta + step)) / (2 * h) for step in h * torch.eye(len(theta)).double()])


@wrong_answer("maml.finite_difference", hint="autograd is what we test")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.func.grad(f)(theta)


@wrong_answer("maml.finite_difference", hint="restore it")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    result = torch.empty_like(theta)
    for i in range(len(theta)):
        theta[i] += h
        up = f(theta)
        theta[i] -= 2 * h
        result[i] = (up - f(theta)) / (2 * h)
    return result


@wrong_answer("maml.finite_difference", hint="All coordinates move at once")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return (f(theta + h) - f(theta - h)) / (2 * h)


@wrong_answer("maml.finite_difference", hint="rounds h")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    return torch.stack([(f(theta + step) - f(theta - step)) / (2 * h) for step in h * torch.eye(len(theta))])


@wrong_answer("maml.finite_difference", hint="single precision")
def _(f: Loss, theta: Tensor, h: float) -> Tensor:
    steps = h * torch.eye(len(theta), dtype=theta.dtype)
    return torch.tensor([float(f(theta + step) - f(theta - step)) / (2 * h) for step in steps])


# -------------------------------------------------------------------------------------------------------- meta-gradient


def _contraction(a: Tensor, rate: float, steps: int) -> Tensor:
    return (1 - rate * a) ** steps


QUADRATICS = "With a = [1, 4], c = [0, 1]"


@exercise(
    "maml.meta_gradient",
    lesson="03",
    title="The meta-gradient of quadratics, by hand",
    points=2,
    equation="(3.23)",
    hints=(
        "Compute one number for each task, and take the mean at the end. `a` and `c` are tensors [T], so arithmetic on"
        " them goes task by task.",
        "k inner steps multiply the distance to the minimum by (1 − αa)^k. So the query gradient at φ_k is"
        " a · (1 − αa)^k · (θ − c).",
        "The chain rule then adds one factor 1 − αa for each of the k steps: (1 − αa)^k again.",
    ),
)
def check_meta_gradient(answer: Callable[[Tensor, Tensor, float, float, int], Tensor]) -> None:
    a, c, theta, rate = A, C, 2.0, 0.1
    for steps in (3, 1):  # with one step alone some slips look alike
        r, once = _contraction(a, rate, steps), _contraction(a, rate, 1)
        each = a * r**2 * (theta - c)
        expect(
            answer(a, c, theta, rate, steps),
            float(each.mean()),
            case=f"{QUADRATICS}, θ = 2, α = 0.1, k = {steps}",
            slips={
                "That is the sum over the tasks. F is their mean.": float(each.sum()),
                "That is one number for each task. F is their mean.": each,
                "One (1 − αa)^k is missing: that is the query gradient at φ_k, or first order. The chain rule adds the"
                " second one.": float((a * r * (theta - c)).mean()),
                "That is the gradient at θ, as in joint training. No inner step is in it.": float(
                    (a * (theta - c)).mean()
                ),
                "The factor a is missing: it comes from the gradient of the query loss.": float(
                    (r**2 * (theta - c)).mean()
                ),
                "The sign: θ − c, not c − θ.": -float(each.mean()),
                "That is F itself. Return its derivative.": float((a * r**2 * (theta - c) ** 2 / 2).mean()),
                "You count one inner step. Take as many as `steps` says.": float((a * once**2 * (theta - c)).mean()),
                "`r ** steps ** 2` is r ** (steps ** 2). Write `r ** (2 * steps)`.": float(
                    (a * once ** (steps**2) * (theta - c)).mean()
                ),
                "The chain rule adds a factor for *each* step. You have one factor in all.": float(
                    (a * r * once * (theta - c)).mean()
                ),
                "k steps of rate α are not one step of rate kα: the factor is (1 − αa)^k, not 1 − kαa.": float(
                    (a * (1 - steps * rate * a) ** 2 * (theta - c)).mean()
                ),
            },
        )
    a, c = torch.tensor([0.5, 2.0, 3.0]).double(), torch.tensor([-1.0, 4.0, 0.5]).double()
    for steps in (0, 4):
        expect(
            answer(a, c, -0.5, 0.2, steps),
            float((a * _contraction(a, 0.2, steps) ** 2 * (-0.5 - c)).mean()),
            case=f"With 3 tasks, a = {a.tolist()}, c = {c.tolist()}, θ = −0.5, α = 0.2, k = {steps}",
        )


@fresh_arguments("maml.meta_gradient")
def draw_meta_gradient(draw: torch.Generator) -> tuple[Tensor, Tensor, float, float, int]:
    bowl, theta = _fresh_bowl(draw, pick(draw, 2, 5)), float(torch.randn((), generator=draw))
    return bowl.a, bowl.c, theta, _fresh_rate(draw), pick(draw, 2, 4)


@right_answer("maml.meta_gradient")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    r = (1 - rate * a) ** steps
    return (a * r**2 * (theta - c)).mean()


@right_answer("maml.meta_gradient")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    phi, jacobian = theta + torch.zeros_like(c), torch.ones_like(c)
    for _ in range(steps):
        phi = phi - rate * a * (phi - c)
        jacobian = jacobian * (1 - rate * a)
    return (jacobian * a * (phi - c)).sum() / len(a)


@right_answer("maml.meta_gradient")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> float:
    total = 0.0
    for curvature, centre in zip(a.tolist(), c.tolist(), strict=True):
        total += curvature * (1 - rate * curvature) ** (2 * steps) * (theta - centre)
    return total / len(a)


@right_answer("maml.meta_gradient")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    start = torch.tensor(theta, dtype=a.dtype, requires_grad=True)
    phi = start.expand(len(a))
    for _ in range(steps):
        phi = phi - rate * torch.autograd.grad((a * (phi - c) ** 2 / 2).sum(), phi, create_graph=True)[0]
    return torch.autograd.grad((a * (phi - c) ** 2 / 2).mean(), start)[0]


@wrong_answer("maml.meta_gradient", hint="sum over the tasks")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return (a * (1 - rate * a) ** (2 * steps) * (theta - c)).sum()


@wrong_answer("maml.meta_gradient", hint="one number for each task")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return a * (1 - rate * a) ** (2 * steps) * (theta - c)


@wrong_answer("maml.meta_gradient", hint="first order")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return (a * (1 - rate * a) ** steps * (theta - c)).mean()


@wrong_answer("maml.meta_gradient", hint="joint training")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return (a * (theta - c)).mean()


@wrong_answer("maml.meta_gradient", hint="factor a is missing")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return ((1 - rate * a) ** (2 * steps) * (theta - c)).mean()


@wrong_answer("maml.meta_gradient", hint="The sign")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return (a * (1 - rate * a) ** (2 * steps) * (c - theta)).mean()


@wrong_answer("maml.meta_gradient", hint="You count one inner step")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return (a * (1 - rate * a) ** 2 * (theta - c)).mean()


@wrong_answer("maml.meta_gradient", hint="r ** (steps ** 2)")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return (a * (1 - rate * a) ** steps**2 * (theta - c)).mean()


@wrong_answer("maml.meta_gradient", hint="for *each* step")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return ((1 - rate * a) * a * (1 - rate * a) ** steps * (theta - c)).mean()


@wrong_answer("maml.meta_gradient", hint="not one step of rate kα")
def _(a: Tensor, c: Tensor, theta: float, rate: float, steps: int) -> Tensor:
    return (a * (1 - steps * rate * a) ** 2 * (theta - c)).mean()


# ---------------------------------------------------------------------------------------------------------- fixed point


@exercise(
    "maml.fixed_point",
    lesson="03",
    title="Where MAML comes to rest",
    points=2,
    equation="(3.24)",
    hints=(
        "Set the meta-gradient (3.23) to zero: a weighted sum of θ − c vanishes. Which factor is the weight of a task?",
        "Solve for θ: it is the weighted mean of the c. So divide by the sum of the *weights*.",
        "`w = a * (1 - rate * a) ** (2 * steps)`, then `(w * c).sum() / w.sum()`.",
    ),
)
def check_fixed_point(answer: Callable[[Tensor, Tensor, float, int], Tensor]) -> None:
    def mean_of(c: Tensor, w: Tensor) -> float:
        return float((w * c).sum() / w.sum())

    a, c, rate, steps = A, C, 0.1, 3
    r, once = _contraction(a, rate, steps), _contraction(a, rate, 1)
    w = a * r**2
    expect(
        answer(a, c, rate, steps),
        mean_of(c, w),
        case=f"{QUADRATICS}, α = 0.1, k = 3",
        slips={
            "That is where FOMAML comes to rest, with the weights a·r. MAML's have r squared: one from the query"
            " gradient, one from the chain rule.": mean_of(c, a * r),
            "That is where joint training comes to rest, with the weights a.": mean_of(c, a),
            "That is where Reptile comes to rest, with the weights 1 − r.": mean_of(c, 1 - r),
            "That is the plain mean of the c. The tasks have different weights.": float(c.mean()),
            "The factor a is missing in the weights: w = a·r².": mean_of(c, r**2),
            "Divide by the sum of the weights.": float((w * c).sum()),
            "You divide by the number of tasks. Divide by the sum of the weights.": float((w * c).mean()),
            "You count one inner step, but r = (1 − αa)^k.": mean_of(c, a * once**2),
            "k steps of rate α are not one step of rate kα: r = (1 − αa)^k, not 1 − kαa.": mean_of(
                c, a * (1 - steps * rate * a) ** 2
            ),
        },
    )
    a, c = torch.tensor([0.5, 2.0, 3.0]).double(), torch.tensor([-1.0, 4.0, 0.5]).double()
    for steps in (0, 4):
        expect(
            answer(a, c, 0.2, steps),
            mean_of(c, a * _contraction(a, 0.2, steps) ** 2),
            case=f"With 3 tasks, a = {a.tolist()}, c = {c.tolist()}, α = 0.2, k = {steps}",
        )


@fresh_arguments("maml.fixed_point")
def draw_fixed_point(draw: torch.Generator) -> tuple[Tensor, Tensor, float, int]:
    bowl = _fresh_bowl(draw, pick(draw, 2, 5))
    return bowl.a, bowl.c, _fresh_rate(draw), pick(draw, 2, 4)


@right_answer("maml.fixed_point")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    w = a * (1 - rate * a) ** (2 * steps)
    return (w * c).sum() / w.sum()


@right_answer("maml.fixed_point")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> float:
    r = [(1 - rate * curvature) ** steps for curvature in a.tolist()]
    w = [curvature * factor * factor for curvature, factor in zip(a.tolist(), r, strict=True)]
    return sum(weight * centre for weight, centre in zip(w, c.tolist(), strict=True)) / sum(w)


@right_answer("maml.fixed_point")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    logs = a.log() + 2 * steps * (1 - rate * a).log()
    return logs.softmax(0) @ c  # a weighted mean, whatever the weights have in common


@wrong_answer("maml.fixed_point", hint="FOMAML comes to rest")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    w = a * (1 - rate * a) ** steps
    return (w * c).sum() / w.sum()


@wrong_answer("maml.fixed_point", hint="joint training comes to rest")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    return (a * c).sum() / a.sum()


@wrong_answer("maml.fixed_point", hint="Reptile comes to rest")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    w = 1 - (1 - rate * a) ** steps
    return (w * c).sum() / w.sum()


@wrong_answer("maml.fixed_point", hint="plain mean")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    return c.mean()


@wrong_answer("maml.fixed_point", hint="factor a is missing")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    w = (1 - rate * a) ** (2 * steps)
    return (w * c).sum() / w.sum()


@wrong_answer("maml.fixed_point", hint="Divide by the sum of the weights")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    return (a * (1 - rate * a) ** (2 * steps) * c).sum()


@wrong_answer("maml.fixed_point", hint="number of tasks")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    return (a * (1 - rate * a) ** (2 * steps) * c).mean()


@wrong_answer("maml.fixed_point", hint="You count one inner step")
def _(a: Tensor, c: Tensor, rate: float, steps: int) -> Tensor:
    w = a * (1 - rate * a) ** 2
    return (w * c).sum() / w.sum()
