"""The exercises of lesson 04, Reptile."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .core import (
    Wrong,
    compact,
    exercise,
    expect,
    explained,
    fresh_arguments,
    generator,
    pick,
    right_answer,
    wrong_answer,
)
from .problems import EndsAt, HalfWay, QuarticGradient, Towards

Map = Callable[[Tensor], Tensor]  # weights `[D]` → `[D]`: a gradient, or what an inner loop makes of them


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def _keeps_theta(call: Map, theta: Tensor, written: str) -> Tensor:
    """The result of `call` for weights that need a gradient. Raises `Wrong(written)` if it writes into them."""
    slow = theta.clone().requires_grad_()
    with (
        explained("in-place", written),
        explained("Can't call numpy()", "θ needs a gradient, as a network's weights do: `theta.detach().numpy()`."),
    ):
        result = call(slow)
    if not torch.equal(slow.detach(), theta):
        raise Wrong(written)
    return result


# ---------------------------------------------------------------------------------------------------------- inner loop


def _descend(theta: Tensor, gradients: Sequence[Map], rate: float) -> Tensor:
    for gradient in gradients:
        theta = theta - rate * gradient(theta)
    return theta


@exercise(
    "reptile.inner_loop",
    lesson="04",
    title="k steps on k minibatches",
    points=2,
    equation="(4.1)",
    hints=(
        "Begin with φ = θ. Each minibatch then makes one step of gradient descent.",
        "`for gradient in gradients:` gives the minibatches in order. Take the gradient at φ, where you are now, not at"
        " θ: `gradient(phi)`.",
        "The whole loop body is `phi = phi - rate * gradient(phi)`. After the loop return φ.",
    ),
)
def check_inner_loop(answer: Callable[[Tensor, list[Map], float], Tensor]) -> None:
    theta = torch.tensor([1.0, 2.0])
    gradients: list[Map] = [Towards(torch.tensor(c)) for c in ([0.0, 0.0], [4.0, 2.0])]
    first, second = (gradient(theta) for gradient in gradients)
    wanted = _descend(theta, gradients, 0.5)
    expect(
        answer(theta, gradients, 0.5),
        wanted,
        case="From θ = [1, 2], with the gradients of ½‖φ‖² and ½‖φ − [4, 2]‖² and a rate of 0.5",
        slips={
            "You take both gradients at θ. Take the second at φ_1, the end of the first step: Reptile learns from the"
            " steps' different places.": theta - 0.5 * (first + second),
            "That is one step along the mean of the gradients at θ. Equation (4.1) makes two steps, one after the"
            " other.": theta - 0.5 * (first + second) / 2,
            "The sign: gradient descent *subtracts* the gradient.": _descend(theta, gradients, -0.5),
            "That is the step on the last minibatch alone: φ is set back to θ before every step.": theta - 0.5 * second,
            "The second gradient is taken at φ_1, but its step starts at θ. Start it at φ_1: `phi = phi - …`.": theta
            - 0.5 * gradients[1](theta - 0.5 * first),
            "That is φ_1: the loop ends after the first step. Is the `return` inside it?": theta - 0.5 * first,
            "The inner rate α is missing.": _descend(theta, gradients, 1.0),
            "You divide the inner rate by the number of steps, but every step has the full rate.": _descend(
                theta, gradients, 0.25
            ),
            "That is φ_k − θ, the way of the inner loop. Return its end, φ_k.": wanted - theta,
            "That is θ − φ_k. Return the end of the inner loop, φ_k.": theta - wanted,
            "The steps are right, but in the wrong order: the first minibatch comes first.": _descend(
                theta, gradients[::-1], 0.5
            ),
            "That is the sum of the gradients on the way. Return the weights at its end.": (theta - wanted) / 0.5,
        },
    )
    theta = _normal(3)
    gradients = [QuarticGradient(centre) for centre in _normal(4, 3, seed=1)]
    wanted = _descend(theta, gradients, 0.01)
    case = "With four random minibatches of losses that are not quadratic, and a rate of 0.01"
    expect(
        answer(theta, gradients, 0.01),
        wanted,
        case=case,
        slips={
            "You make two steps, but there are four minibatches.": _descend(theta, gradients[:2], 0.01),
            "The rate is fixed in your code. Use the argument.": _descend(theta, gradients, 0.5),
        },
        tolerance=1e-5,
    )
    written = (
        "Your code writes into θ itself. `phi = theta` makes no copy: both are names of one tensor, and `-=` changes"
        " it. Other tasks start from θ, so make a new tensor in every step, `phi = phi - …`, or begin with"
        " `theta.clone()`."
    )
    got = _keeps_theta(lambda slow: answer(slow, gradients, 0.01), theta, written)
    expect(got, wanted, case="With a θ that needs a gradient")


@fresh_arguments("reptile.inner_loop", gradients=False)
def draw_inner_loop(draw: torch.Generator) -> tuple[Tensor, list[Map], float]:
    size, rate = pick(draw, 2, 5), 0.01 + 0.02 * float(torch.rand((), generator=draw))
    centres = torch.randn(pick(draw, 3, 5), size, generator=draw)
    loops: list[Map] = [QuarticGradient(centre) for centre in centres]
    return torch.randn(size, generator=draw).requires_grad_(), loops, rate


@right_answer("reptile.inner_loop")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi = phi - rate * gradient(phi)
    return phi


@right_answer("reptile.inner_loop")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    return functools.reduce(lambda phi, gradient: phi - rate * gradient(phi), gradients, theta)


@right_answer("reptile.inner_loop")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta.detach().clone()
    for j in range(len(gradients)):
        phi.sub_(gradients[j](phi), alpha=rate)
    return phi


@right_answer("reptile.inner_loop")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    path, total = [theta], torch.zeros_like(theta)
    for gradient in gradients:
        total = total + gradient(path[-1])
        path.append(theta - rate * total)
    return path[-1]


@wrong_answer("reptile.inner_loop", hint="You take both gradients at θ")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi = phi - rate * gradient(theta)
    return phi


@wrong_answer("reptile.inner_loop", hint="mean of the gradients")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    return theta - rate * torch.stack([gradient(theta) for gradient in gradients]).mean(0)


@wrong_answer("reptile.inner_loop", hint="*subtracts*")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi = phi + rate * gradient(phi)
    return phi


@wrong_answer("reptile.inner_loop", hint="set back to θ")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    for gradient in gradients:
        phi = theta
        phi = phi - rate * gradient(phi)
    return phi


@wrong_answer("reptile.inner_loop", hint="its step starts at θ")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi = theta - rate * gradient(phi)
    return phi


@wrong_answer("reptile.inner_loop", hint="after the first step")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi = phi - rate * gradient(phi)
        return phi
    return phi


@wrong_answer("reptile.inner_loop", hint="α is missing")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi = phi - gradient(phi)
    return phi


@wrong_answer("reptile.inner_loop", hint="by the number of steps")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi = phi - rate / len(gradients) * gradient(phi)
    return phi


@wrong_answer("reptile.inner_loop", hint="the way of the inner loop")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    return _descend(theta, gradients, rate) - theta


@wrong_answer("reptile.inner_loop", hint="two steps")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta - rate * gradients[0](theta)
    return phi - rate * gradients[1](phi)


@wrong_answer("reptile.inner_loop", hint="writes into θ itself")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    phi = theta
    for gradient in gradients:
        phi -= rate * gradient(phi)
    return phi


@wrong_answer("reptile.inner_loop", hint="writes into θ itself")
def _(theta: Tensor, gradients: list[Map], rate: float) -> Tensor:
    with torch.no_grad():
        for gradient in gradients:
            theta -= rate * gradient(theta)
    return theta


@wrong_answer("reptile.inner_loop", hint="Is a `return` missing?")
def _(theta: Tensor, gradients: list[Map], rate: float) -> None:
    for gradient in gradients:
        theta = theta - rate * gradient(theta)


# -------------------------------------------------------------------------------------------------------------- update


@exercise(
    "reptile.update",
    lesson="04",
    title="The outer step",
    points=2,
    equation="(4.4)",
    hints=(
        "First let every inner loop begin at the same θ: `[adapt(theta) for adapt in inner_loops]` has the T results.",
        "Then take the differences: φ − θ points from θ to the weights that are good for the task.",
        "Average the T differences (`torch.stack(…).mean(dim=0)`), and go the share ε of the way:"
        " `theta + rate * average`.",
    ),
)
def check_update(answer: Callable[[Tensor, list[Map], float], Tensor]) -> None:
    theta, phi = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 0.0])
    expect(
        answer(theta, [EndsAt(phi)], 0.25),
        theta + 0.25 * (phi - theta),
        case="From θ = [1, 2], with one task, whose inner loop ends at [5, 0], and ε = 0.25",
        slips={
            "ε is missing: θ jumps all the way to φ, and forgets every other task.": phi,
            "The sign: θ moves *towards* φ, along φ − θ.": theta - 0.25 * (phi - theta),
            "That is ε times φ: θ itself is lost. Equation (4.3) keeps (1 − ε)θ.": 0.25 * phi,
            "φ is a place, not a gradient. θ moves along the difference φ − θ.": theta - 0.25 * phi,
            "You add φ itself. Add the difference, φ − θ.": theta + 0.25 * phi,
            "That averages over the coordinates too: a mean without an axis is one number. Average over the tasks:"
            " `mean(dim=0)`.": theta + 0.25 * (phi - theta).mean(),
            "That is the step, ε(φ − θ). Return θ after the step.": 0.25 * (phi - theta),
            "That is the pseudo-gradient, θ − φ. Return θ after the step.": theta - phi,
            "That is φ − θ. Return θ after the step.": phi - theta,
            "ε and 1 − ε are exchanged: that goes three quarters of the way.": theta + 0.75 * (phi - theta),
        },
    )
    goals = (torch.tensor([5.0, 4.0]), torch.tensor([-1.0, 6.0]))
    loops: list[Map] = [HalfWay(goal) for goal in goals]
    one, two = (loop(theta) for loop in loops)
    serial = theta + 0.25 * (one - theta)
    expect(
        answer(theta, loops, 0.25),
        theta + 0.25 * ((one + two) / 2 - theta),
        case="From θ = [1, 2], with two tasks, whose inner loops go half way to [5, 4] and to [−1, 6], and ε = 0.25",
        slips={
            "That is the sum over the tasks. Take the mean, or the step grows with the number of tasks.": theta
            + 0.25 * (one + two - 2 * theta),
            "θ moves before the second task begins. That is the serial version, one task per step. In equation (4.4)"
            " all T tasks begin at the same θ.": serial + 0.25 * (loops[1](serial) - serial),
            "The second inner loop begins at the end of the first one. Each begins at θ.": theta
            + 0.25 * ((one + loops[1](one)) / 2 - theta),
            "The second inner loop begins at the end of the first one, and the first task is lost. Each begins at θ,"
            " and all count.": theta + 0.25 * (loops[1](one) - theta),
            "Only the last task counts: the loop overwrites the results of the others.": theta + 0.25 * (two - theta),
            "Only the first task counts.": theta + 0.25 * (one - theta),
            "You subtract θ once from the *sum* of the φ, and then divide by T. Average first, or subtract θ from"
            " every φ.": theta + 0.25 * (one + two - theta) / 2,
            "You subtract θ once from the *sum* of the φ. Subtract it from every φ.": theta
            + 0.25 * (one + two - theta),
            "That averages over the coordinates, axis 1. Average over the tasks, axis 0.": theta
            + 0.25 * (torch.stack([one, two]) - theta).mean(1),
        },
    )
    theta, random_goals = _normal(4), _normal(3, 4, seed=1)
    loops = [HalfWay(goal) for goal in random_goals]
    wanted = theta + 0.1 * (random_goals.mean(0) - theta) / 2
    expect(answer(theta, loops, 0.1), wanted, case="With three tasks in four dimensions, and ε = 0.1", tolerance=1e-5)
    written = (
        "Your code changes θ itself (`+=`, `add_`, `.data`). The exercise asks to leave it as it is: return a new"
        " tensor, `theta + …`."
    )
    got = _keeps_theta(lambda slow: answer(slow, loops, 0.1), theta, written)
    expect(got, wanted, case="With a θ that needs a gradient")


@fresh_arguments("reptile.update", gradients=False)
def draw_update(draw: torch.Generator) -> tuple[Tensor, list[Map], float]:
    size, rate = pick(draw, 2, 5), 0.1 + 0.3 * float(torch.rand((), generator=draw))
    goals = torch.randn(size, size, generator=draw)  # as many tasks as coordinates: a wrong axis has the right shape
    loops: list[Map] = [HalfWay(goal) for goal in goals]
    return torch.randn(size, generator=draw).requires_grad_(), loops, rate


@fresh_arguments("reptile.update", gradients=False)
def draw_many_updates(draw: torch.Generator) -> tuple[Tensor, list[Map], float]:
    size, rate = pick(draw, 2, 4), 0.1 + 0.3 * float(torch.rand((), generator=draw))
    loops: list[Map] = [HalfWay(goal) for goal in torch.randn(pick(draw, 5, 8), size, generator=draw)]
    return torch.randn(size, generator=draw), loops, rate


@right_answer("reptile.update")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return theta + rate * torch.stack([adapt(theta) - theta for adapt in inner_loops]).mean(dim=0)


@right_answer("reptile.update")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    mean = sum(adapt(theta) for adapt in inner_loops) / len(inner_loops)
    return (1 - rate) * theta + rate * mean


@right_answer("reptile.update")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    pseudo_gradient = torch.zeros_like(theta)
    for adapt in inner_loops:
        pseudo_gradient += (theta - adapt(theta)).detach() / len(inner_loops)
    return theta - rate * pseudo_gradient


@right_answer("reptile.update")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    ends = torch.stack([adapt(theta.detach().clone()) for adapt in inner_loops])
    return torch.lerp(theta.detach(), ends.mean(0), rate)


@wrong_answer("reptile.update", hint="ε is missing")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return torch.stack([adapt(theta) for adapt in inner_loops]).mean(0)


@wrong_answer("reptile.update", hint="*towards* φ")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return theta - rate * torch.stack([adapt(theta) - theta for adapt in inner_loops]).mean(0)


@wrong_answer("reptile.update", hint="θ itself is lost")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return rate * torch.stack([adapt(theta) for adapt in inner_loops]).mean(0)


@wrong_answer("reptile.update", hint="a place, not a gradient")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return theta - rate * torch.stack([adapt(theta) for adapt in inner_loops]).mean(0)


@wrong_answer("reptile.update", hint="three quarters")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return rate * theta + (1 - rate) * torch.stack([adapt(theta) for adapt in inner_loops]).mean(0)


@wrong_answer("reptile.update", hint="sum over the tasks")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return theta + rate * sum(adapt(theta) - theta for adapt in inner_loops)


@wrong_answer("reptile.update", hint="a mean without an axis")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return theta + rate * torch.stack([adapt(theta) - theta for adapt in inner_loops]).mean()


@wrong_answer("reptile.update", hint="over the coordinates, axis 1")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    differences = torch.stack([adapt(theta) - theta for adapt in inner_loops])
    return theta + rate * differences.mean(1 if len(inner_loops) == len(theta) else 0)


@wrong_answer("reptile.update", hint="`theta.detach().numpy()`")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    ends = [adapt(theta).detach().numpy() for adapt in inner_loops]
    return torch.as_tensor((1 - rate) * theta.numpy() + rate * sum(ends) / len(ends))


@wrong_answer("reptile.update", hint="serial version")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    for adapt in inner_loops:
        theta = theta + rate * (adapt(theta) - theta)
    return theta


@wrong_answer("reptile.update", hint="at the end of the first one. Each begins at θ")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    phi, total = theta, torch.zeros_like(theta)
    for adapt in inner_loops:
        phi = adapt(phi)
        total = total + phi - theta
    return theta + rate * total / len(inner_loops)


@wrong_answer("reptile.update", hint="Only the last task")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    for adapt in inner_loops:
        phi = adapt(theta)
    return theta + rate * (phi - theta)


@wrong_answer("reptile.update", hint="You subtract θ once")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return theta + rate * (sum(adapt(theta) for adapt in inner_loops) - theta) / len(inner_loops)


@wrong_answer("reptile.update", hint="changes θ itself")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    step = torch.stack([adapt(theta) - theta for adapt in inner_loops]).mean(0)
    theta += rate * step
    return theta


@wrong_answer("reptile.update", hint="changes θ itself")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    step = torch.stack([adapt(theta) - theta for adapt in inner_loops]).mean(0)
    return theta.data.add_(rate * step.detach())


# ------------------------------------------------------------------------------------------------------ joint training


@exercise(
    "reptile.joint",
    lesson="04",
    title="One inner step is joint training",
    points=1,
    equation="(4.8)",
    hints=(
        "With k = 1 the inner loop of task t ends at θ − α g_t. Put that into the outer step, equation (4.4).",
        "θ cancels in φ_t − θ. What is left is −α times a mean of gradients.",
        "`theta - outer_rate * inner_rate * gradients.mean(dim=0)`",
    ),
)
def check_joint(answer: Callable[[Tensor, Tensor, float, float], Tensor]) -> None:
    theta, gradients = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[4.0, 0.0, 2.0], [0.0, 8.0, -4.0]])
    mean = gradients.mean(0)
    expect(
        answer(theta, gradients, 0.3, 0.1),
        theta - 0.03 * mean,
        case="From θ = [1, 2, 3], with gradients [4, 0, 2] and [0, 8, −4], α = 0.3 and ε = 0.1",
        slips={
            "ε is missing: θ goes a share ε of the inner step, not all of it.": theta - 0.3 * mean,
            "α is missing: the inner step is α times the gradient, and θ goes a share ε of it.": theta - 0.1 * mean,
            "You add the two rates. Multiply them.": theta - 0.4 * mean,
            "The sign: θ moves by −εα times the gradient.": theta + 0.03 * mean,
            "That is the sum over the tasks. The outer step takes their mean.": theta - 0.06 * mean,
            "That is the step alone. Return θ after it.": -0.03 * mean,
            "That is ε times the adapted weights: (1 − ε)θ is missing.": 0.1 * (theta - 0.3 * mean),
            "That averages over the coordinates as well. Average over the tasks, axis 0.": theta - 0.03 * mean.mean(),
            "Only the last task counts.": theta - 0.03 * gradients[-1],
            "Both rates are missing.": theta - mean,
        },
    )
    theta, gradients = _normal(4), _normal(5, 4, seed=1)
    expect(
        answer(theta, gradients, 0.3, 0.2),
        theta - 0.06 * gradients.mean(0),
        case="With five random gradients in four dimensions, α = 0.3 and ε = 0.2",
        slips={
            "That is the sum over the tasks. The outer step takes their mean.": theta - 0.06 * gradients.sum(0),
        },
    )


@fresh_arguments("reptile.joint", gradients=False)
def draw_joint(draw: torch.Generator) -> tuple[Tensor, Tensor, float, float]:
    size, rates = pick(draw, 2, 5), 0.2 + 0.3 * torch.rand(2, generator=draw)
    inner_rate, outer_rate = rates.tolist()
    return *_draw_joint(draw, pick(draw, 3, 6), size), inner_rate, outer_rate


def _draw_joint(draw: torch.Generator, tasks: int, size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, generator=draw), 3 * torch.randn(tasks, size, generator=draw)


@right_answer("reptile.joint")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return theta - outer_rate * inner_rate * gradients.mean(dim=0)


@right_answer("reptile.joint")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    adapted = theta - inner_rate * gradients
    return theta + outer_rate * (adapted - theta).mean(dim=0)


@right_answer("reptile.joint")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    for gradient in gradients:
        theta = theta - outer_rate * inner_rate * gradient / len(gradients)
    return theta


@right_answer("reptile.joint")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    phi = theta - inner_rate * torch.einsum("td->d", gradients) / gradients.shape[0]
    return (1 - outer_rate) * theta + outer_rate * phi


@wrong_answer("reptile.joint", hint="ε is missing")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return theta - inner_rate * gradients.mean(0)


@wrong_answer("reptile.joint", hint="α is missing")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return theta - outer_rate * gradients.mean(0)


@wrong_answer("reptile.joint", hint="You add the two rates")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return theta - (outer_rate + inner_rate) * gradients.mean(0)


@wrong_answer("reptile.joint", hint="The sign")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return theta + outer_rate * inner_rate * gradients.mean(0)


@wrong_answer("reptile.joint", hint="sum over the tasks")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return theta - outer_rate * inner_rate * gradients.sum(0)


@wrong_answer("reptile.joint", hint="over the coordinates as well")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return theta - outer_rate * inner_rate * gradients.mean()


@wrong_answer("reptile.joint", hint="the step alone")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return -outer_rate * inner_rate * gradients.mean(0)


@wrong_answer("reptile.joint", hint="(1 − ε)θ is missing")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    return outer_rate * (theta - inner_rate * gradients.mean(0))


@wrong_answer("reptile.joint", hint="Only the last task")
def _(theta: Tensor, gradients: Tensor, inner_rate: float, outer_rate: float) -> Tensor:
    for gradient in gradients:
        phi = theta - inner_rate * gradient
    return theta + outer_rate * (phi - theta)


# --------------------------------------------------------------------------------------------------------- fixed point


def _weighted(weights: Tensor, minima: Tensor) -> Tensor:
    return (weights * minima).sum() / weights.sum()


@exercise(
    "reptile.fixed_point",
    lesson="04",
    title="Where Reptile comes to rest",
    points=2,
    equation="(4.13)",
    hints=(
        "`r = (1 - inner_rate * curvatures) ** steps` is what k steps leave of the distance to each minimum.",
        "The weight of a minimum is 1 − r, the share of the way that the inner loop covers.",
        "A weighted mean divides by the sum of the weights, not by their number.",
    ),
)
def check_fixed_point(answer: Callable[[Tensor, Tensor, float, int], Tensor | float]) -> None:
    a, c = torch.tensor([1.0, 4.0]), torch.tensor([0.0, 1.0])
    r = (1 - 0.1 * a) ** 5
    wanted = float(_weighted(1 - r, c))
    expect(
        answer(a, c, 0.1, 5),
        wanted,
        case="With curvatures [1, 4], minima [0, 1], α = 0.1 and k = 5",
        slips={
            "That is the result of joint training, and of Reptile with k = 1: is 1 − αa raised to the power k?": float(
                _weighted(a, c)
            ),
            "Those weights are r, the share of the way that the inner loop *leaves*. Reptile's are the share that it"
            " covers, 1 − r: equation (4.12).": float(_weighted(r, c)),
            "That is MAML's fixed point, with weights a·r². Reptile's are 1 − r.": float(_weighted(a * r**2, c)),
            "That is the first-order MAML's fixed point, with weights a·r. Reptile's are 1 − r.": float(
                _weighted(a * r, c)
            ),
            "That is the plain mean of the minima, the result for k → ∞. For finite k the weights differ.": 0.5,
            "Divide by the sum of the weights, not by their number.": float(((1 - r) * c).mean()),
            "Divide by the sum of the weights.": float(((1 - r) * c).sum()),
            "The weights are 1 − (1 − αa)^k; yours are (αa)^k.": float(_weighted((0.1 * a) ** 5, c)),
            "Those weights are a(1 − r). Leave out the a: Reptile never looks at the loss, so the curvature is in r"
            " alone.": float(_weighted(a * (1 - r), c)),
            "The inner rate α is missing from 1 − αa.": float(_weighted(1 - (1 - a) ** 5, c)),
        },
    )
    a, c = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([-1.0, 4.0, 2.0])
    for k in (1, 3, 200):
        expect(
            answer(a, c, 0.2, k),
            float(_weighted(1 - (1 - 0.2 * a) ** k, c)),
            case=f"With curvatures [0.5, 2, 3], minima [−1, 4, 2], α = 0.2 and k = {k}",
        )


@fresh_arguments("reptile.fixed_point")
def draw_fixed_point(draw: torch.Generator) -> tuple[Tensor, Tensor, float, int]:
    a, c = torch.rand(2, pick(draw, 3, 5), generator=draw)
    return 0.5 + a, 4 * c - 2, 0.2 + 0.2 * float(torch.rand((), generator=draw)), pick(draw, 2, 4)


@right_answer("reptile.fixed_point")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    weight = 1 - (1 - inner_rate * curvatures) ** steps
    return (weight * minima).sum() / weight.sum()


@right_answer("reptile.fixed_point")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> float:
    weights = [1 - (1 - inner_rate * a) ** steps for a in curvatures.tolist()]
    return sum(w * c for w, c in zip(weights, minima.tolist(), strict=True)) / sum(weights)


@right_answer("reptile.fixed_point")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    factor = torch.ones_like(curvatures)
    for _step in range(steps):
        factor = factor * (1 - inner_rate * curvatures)
    share = 1 - factor
    return (share / share.sum()) @ minima


@right_answer("reptile.fixed_point")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    a, c, theta = curvatures.double(), minima.double(), minima.double().mean()
    for _step in range(2000):  # by simulation
        theta = theta + 0.5 * (-(1 - (1 - inner_rate * a) ** steps) * (theta - c)).mean()
    return theta


@wrong_answer("reptile.fixed_point", hint="result of joint training")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(curvatures, minima)


@wrong_answer("reptile.fixed_point", hint="raised to the power k")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(1 - (1 - inner_rate * curvatures), minima)


@wrong_answer("reptile.fixed_point", hint="the inner loop *leaves*")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted((1 - inner_rate * curvatures) ** steps, minima)


@wrong_answer("reptile.fixed_point", hint="MAML's fixed point, with weights a·r²")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(curvatures * (1 - inner_rate * curvatures) ** (2 * steps), minima)


@wrong_answer("reptile.fixed_point", hint="first-order MAML's")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(curvatures * (1 - inner_rate * curvatures) ** steps, minima)


@wrong_answer("reptile.fixed_point", hint="plain mean of the minima")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return minima.mean()


@wrong_answer("reptile.fixed_point", hint="not by their number")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return ((1 - (1 - inner_rate * curvatures) ** steps) * minima).mean()


@wrong_answer("reptile.fixed_point", hint="never looks at the loss")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(curvatures * (1 - (1 - inner_rate * curvatures) ** steps), minima)


@wrong_answer("reptile.fixed_point", hint="α is missing")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(1 - (1 - curvatures) ** steps, minima)


# ------------------------------------------------------------------------------------------------------ average inner


def _pairs(gradients: Tensor, hessians: Tensor) -> Tensor:
    """H_i g_j for all i and j: `[B, B, D]`."""
    return torch.einsum("ide,je->ijd", hessians, gradients)


@exercise(
    "reptile.avg_grad_inner",
    lesson="04",
    title="AvgGradInner",
    points=2,
    equation="(4.24)",
    hints=(
        "Take two loops, over i and over j, and leave out i = j: the gradient and the Hessian belong to *different*"
        " minibatches.",
        "`hessians[i] @ gradients[j]` is one term, a vector [D].",
        "There are B(B − 1) ordered pairs. Add up all terms, then divide by that.",
    ),
)
def check_avg_grad_inner(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    g = torch.tensor([[1.0, 0.0], [2.0, 4.0], [0.0, 1.0]])
    h = torch.tensor([[[2.0, 1.0], [1.0, 0.0]], [[4.0, 2.0], [2.0, 6.0]], [[1.0, 0.0], [0.0, 3.0]]])
    t, different = _pairs(g, h), ~torch.eye(3, dtype=torch.bool)
    wanted, products = t[different].mean(0), g @ g.T
    diagonal = h.diagonal(dim1=1, dim2=2)
    expect(
        answer(g, h),
        wanted,
        case=f"With gradients {compact(g)} and Hessians {compact(h)}",
        slips={
            "The pairs with i = j are in your mean. A minibatch with itself says nothing about any other: leave them"
            " out. (`hessians.mean(0) @ gradients.mean(0)` has them too.)": t.mean((0, 1)),
            "Those are the pairs with i = j alone: each Hessian meets the gradient of its own minibatch. Pair"
            " *different* minibatches.": t[~different].mean(0),
            "That is the sum. Divide it by the number of pairs with i ≠ j, B(B − 1) = 6.": 6 * wanted,
            "That is the mean of H_i g_j + H_j g_i, the gradient of g_i · g_j. AvgGradInner is half of it.": 2 * wanted,
            "Divide by the number of pairs with i ≠ j, B(B − 1), not by B².": 6 * wanted / 9,
            "That is H_i g_j with j < i alone. Chance decides which minibatch comes first: take both orders.": (
                t[torch.tril(different)].mean(0)
            ),
            "That is H_i g_j with i < j alone. Chance decides which minibatch comes first: take both orders.": (
                t[torch.triu(different)].mean(0)
            ),
            "The sign: (4.24) has no minus. The minus comes with α, in (4.22).": -wanted,
            "You take the mean over the coordinates. A matrix times a vector sums: `hessians[i] @ gradients[j]`.": (
                wanted / 2
            ),
            "That multiplies entry by entry. `hessians[i] @ gradients[j]` is a matrix times a vector.": (
                (diagonal[:, None] * g)[different].mean(0)
            ),
            "That is the mean of the inner products g_i · g_j, a number. AvgGradInner is half its gradient.": (
                products[different].mean()
            ),
        },
    )
    root = _normal(4, 3, 3, seed=1)
    g, h = _normal(4, 3), root + root.transpose(1, 2)
    t, different = _pairs(g, h), ~torch.eye(4, dtype=torch.bool)
    wanted = t[different].mean(0)
    expect(
        answer(g, h),
        wanted,
        case="With four random minibatches in three dimensions",
        slips={
            "You use neighbours alone, each minibatch with the one before it. The mean is over all pairs.": t[
                [1, 2, 3], [0, 1, 2]
            ].mean(0),
        },
    )


@fresh_arguments("reptile.avg_grad_inner")
def draw_avg_grad_inner(draw: torch.Generator) -> tuple[Tensor, Tensor]:
    batches, size = pick(draw, 3, 5), pick(draw, 2, 4)
    root = torch.randn(batches, size, size, generator=draw)
    return torch.randn(batches, size, generator=draw), root + root.mT


@right_answer("reptile.avg_grad_inner")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    return torch.stack([hessians[i] @ gradients[j] for i in batches for j in batches if i != j]).mean(0)


@right_answer("reptile.avg_grad_inner")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    count = len(gradients)
    others = gradients.sum(0) - gradients  # of all but one
    return torch.einsum("ide,ie->d", hessians, others) / (count * (count - 1))


@right_answer("reptile.avg_grad_inner")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    everything = hessians.sum(0) @ gradients.sum(0)
    same = (hessians @ gradients[:, :, None]).squeeze(2).sum(0)
    return (everything - same) / (len(gradients) * (len(gradients) - 1))


@right_answer("reptile.avg_grad_inner")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    total, count = torch.zeros_like(gradients[0]), len(gradients)
    for i in range(count):
        for j in range(i):  # half the gradient of the inner product, (4.23)
            total = total + (hessians[i] @ gradients[j] + hessians[j] @ gradients[i]) / 2
    return total / (count * (count - 1) / 2)


@wrong_answer("reptile.avg_grad_inner", hint="pairs with i = j are in your mean")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    return hessians.mean(0) @ gradients.mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="pairs with i = j alone")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    return torch.einsum("ide,ie->id", hessians, gradients).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="That is the sum. Divide it")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    return torch.stack([hessians[i] @ gradients[j] for i in batches for j in batches if i != j]).sum(0)


@wrong_answer("reptile.avg_grad_inner", hint="not by B²")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    terms = [hessians[i] @ gradients[j] for i in batches for j in batches if i != j]
    return torch.stack(terms).sum(0) / len(gradients) ** 2


@wrong_answer("reptile.avg_grad_inner", hint="the mean over the coordinates")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    terms = [(hessians[i] * gradients[j]).mean(-1) for i in batches for j in batches if i != j]
    return torch.stack(terms).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="j < i alone")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    terms = [hessians[i] @ gradients[j] for i in range(len(gradients)) for j in range(i)]
    return torch.stack(terms).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="has no minus")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    return -torch.stack([hessians[i] @ gradients[j] for i in batches for j in batches if i != j]).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="entry by entry")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches, diagonal = range(len(gradients)), hessians.diagonal(dim1=1, dim2=2)
    return torch.stack([diagonal[i] * gradients[j] for i in batches for j in batches if i != j]).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="half of it")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    pairs = [(i, j) for i in batches for j in batches if i < j]
    both = [hessians[i] @ gradients[j] + hessians[j] @ gradients[i] for i, j in pairs]
    return torch.stack(both).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="half its gradient")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    products = gradients @ gradients.T
    count = len(gradients)
    return (products.sum() - products.trace()) / (count * (count - 1))
