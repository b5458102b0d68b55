"""The exercises of lesson 04, Reptile."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .core import AnswerError, Wrong, exercise, expect, fresh_arguments, generator, right_answer, wrong_answer
from .problems import EndsAt, HalfWay, QuarticGradient, Towards

Map = Callable[[Tensor], Tensor]  # weights `[D]` → `[D]`: a gradient, or what an inner loop makes of them


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def _keeps_theta(call: Map, theta: Tensor) -> Tensor:
    """The result of `call` for weights that need a gradient. Raises `Wrong` if it writes into them."""
    slow = theta.clone().requires_grad_()
    written = (
        "Your code writes into θ itself. `phi = theta` makes no copy, it gives the same tensor a second name, and `-=`"
        " changes what both names stand for. The slow weights must still be there when the inner loop ends: make a new"
        " tensor in every step, `phi = phi - …`, or begin with `theta.clone()`."
    )
    try:
        result = call(slow)
    except AnswerError as raised:
        if "in-place" in str(raised):
            raise Wrong(written) from raised
        raise
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
        "`for gradient in gradients:` gives the minibatches in order. The gradient is taken at φ, where you stand now,"
        " not at θ: `gradient(phi)`.",
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
            "Both gradients are taken at θ. The second belongs at φ_1, where the first step has led: that the steps"
            " see different places is what Reptile lives on.": theta - 0.5 * (first + second),
            "That is the mean of the gradients at θ, in one step. Equation (4.1) makes two steps, one after the"
            " other.": theta - 0.5 * (first + second) / 2,
            "The sign: gradient descent *subtracts* the gradient.": _descend(theta, gradients, -0.5),
            "That is the step on the last minibatch alone: φ is set back to θ before every step.": theta - 0.5 * second,
            "That is φ_1: the loop ends after the first step. Is the `return` inside it?": theta - 0.5 * first,
            "The inner rate α is missing.": _descend(theta, gradients, 1.0),
            "You divide the inner rate by the number of steps; every step has the full rate.": _descend(
                theta, gradients, 0.25
            ),
            "That is φ_k − θ, what the inner loop has changed. Return where it ends, φ_k.": wanted - theta,
            "That is θ − φ_k. Return where the inner loop ends, φ_k.": theta - wanted,
            "The right steps in the wrong order: the first minibatch comes first.": _descend(
                theta, gradients[::-1], 0.5
            ),
            "That is the sum of the gradients along the way. Return the weights at its end.": (theta - wanted) / 0.5,
        },
    )
    theta = _normal(3)
    gradients = [QuarticGradient(centre) for centre in _normal(4, 3, seed=1)]
    wanted = _descend(theta, gradients, 0.01)
    case = "With four random minibatches of losses that are no parabolas, and a rate of 0.01"
    expect(
        answer(theta, gradients, 0.01),
        wanted,
        case=case,
        slips={
            "You make two steps, whatever the number of minibatches.": _descend(theta, gradients[:2], 0.01),
            "The rate is fixed in your code; use the argument.": _descend(theta, gradients, 0.5),
        },
        tolerance=1e-5,
    )
    expect(
        _keeps_theta(lambda slow: answer(slow, gradients, 0.01), theta), wanted, case="With a θ that needs a gradient"
    )


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


@wrong_answer("reptile.inner_loop", hint="taken at θ")
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


@wrong_answer("reptile.inner_loop", hint="what the inner loop has changed")
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
        "What counts is the difference: φ − θ points from where we are to where the task would like us to be.",
        "Average the T differences (`torch.stack(…).mean(dim=0)`), and go the share ε of the way:"
        " `theta + rate * average`.",
    ),
)
def check_update(answer: Callable[[Tensor, list[Map], float], Tensor]) -> None:
    theta, phi = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])
    expect(
        answer(theta, [EndsAt(phi)], 0.25),
        theta + 0.25 * (phi - theta),
        case="From θ = [1, 2], with one task, whose inner loop ends at [3, 0], and ε = 0.25",
        slips={
            "ε is missing: θ jumps all the way to φ, and forgets every other task.": phi,
            "The sign: θ moves *towards* φ, along φ − θ.": theta - 0.25 * (phi - theta),
            "That is ε times φ: θ itself is lost. Equation (4.3) keeps (1 − ε)θ.": 0.25 * phi,
            "φ is a place, not a gradient. What θ moves along is the difference φ − θ.": theta - 0.25 * phi,
            "You add φ itself; add the difference, φ − θ.": theta + 0.25 * phi,
            "That is the step, ε(φ − θ). Return θ after the step.": 0.25 * (phi - theta),
            "That is the pseudo-gradient, θ − φ. Return θ after the step.": theta - phi,
            "That is φ − θ. Return θ after the step.": phi - theta,
            "ε and 1 − ε are exchanged: that goes three quarters of the way.": theta + 0.75 * (phi - theta),
        },
    )
    goals = (torch.tensor([5.0, 0.0]), torch.tensor([-1.0, 6.0]))
    loops: list[Map] = [HalfWay(goal) for goal in goals]
    one, two = (loop(theta) for loop in loops)
    serial = theta + 0.25 * (one - theta)
    expect(
        answer(theta, loops, 0.25),
        theta + 0.25 * ((one + two) / 2 - theta),
        case="From θ = [1, 2], with two tasks, whose inner loops go half way to [5, 0] and to [−1, 6], and ε = 0.25",
        slips={
            "That is the sum over the tasks. Take the mean, or the step grows with the number of tasks.": theta
            + 0.25 * (one + two - 2 * theta),
            "θ has moved before the second task began. That is the serial version, one task a step; equation (4.4) lets"
            " all T tasks begin at the same θ.": serial + 0.25 * (loops[1](serial) - serial),
            "The inner loop of the second task begins where that of the first ended. Each begins at θ.": theta
            + 0.25 * ((one + loops[1](one)) / 2 - theta),
            "The second inner loop begins where the first ended, and the first does not count in the end.": theta
            + 0.25 * (loops[1](one) - theta),
            "Only the last task counts: the loop overwrites what the others have found.": theta + 0.25 * (two - theta),
            "Only the first task counts.": theta + 0.25 * (one - theta),
            "θ is subtracted once from the *sum* of the φ, and the rest divided by T. Each φ has its own θ to be"
            " subtracted: average first, or subtract in every task.": theta + 0.25 * (one + two - theta) / 2,
            "θ is subtracted once from the *sum* of the φ. Each φ has its own θ to be subtracted.": theta
            + 0.25 * (one + two - theta),
            "That averages over the coordinates. Average over the tasks, axis 0.": theta
            + 0.25 * (torch.stack([one, two]) - theta).mean(1),
        },
    )
    theta, random_goals = _normal(4), _normal(3, 4, seed=1)
    loops = [HalfWay(goal) for goal in random_goals]
    wanted = theta + 0.1 * (random_goals.mean(0) - theta) / 2
    expect(answer(theta, loops, 0.1), wanted, case="With three tasks in four dimensions, and ε = 0.1", tolerance=1e-5)
    expect(_keeps_theta(lambda slow: answer(slow, loops, 0.1), theta), wanted, case="With a θ that needs a gradient")


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


@wrong_answer("reptile.update", hint="serial version")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    for adapt in inner_loops:
        theta = theta + rate * (adapt(theta) - theta)
    return theta


@wrong_answer("reptile.update", hint="where that of the first ended")
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


@wrong_answer("reptile.update", hint="subtracted once")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    return theta + rate * (sum(adapt(theta) for adapt in inner_loops) - theta) / len(inner_loops)


@wrong_answer("reptile.update", hint="writes into θ itself")
def _(theta: Tensor, inner_loops: list[Map], rate: float) -> Tensor:
    step = torch.stack([adapt(theta) - theta for adapt in inner_loops]).mean(0)
    theta += rate * step
    return theta


@wrong_answer("reptile.update", hint="writes into θ itself")
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
            "ε is missing: θ would take the inner step as a whole.": theta - 0.3 * mean,
            "α is missing: the inner step was α times the gradient, and ε only a share of that.": theta - 0.1 * mean,
            "The two rates multiply; they do not add up.": theta - 0.4 * mean,
            "The sign: −α times the gradient, and θ moves that way.": theta + 0.03 * mean,
            "That is the sum over the tasks; the outer step takes their mean.": theta - 0.06 * mean,
            "That is the step alone. Return θ after it.": -0.03 * mean,
            "That is ε times the adapted weights: (1 − ε)θ is missing.": 0.1 * (theta - 0.3 * mean),
            "That averages over the coordinates as well. Average over the tasks, axis 0.": theta - 0.03 * mean.mean(),
            "Only the last task counts.": theta - 0.03 * gradients[-1],
            "Neither rate is there.": theta - mean,
        },
    )
    theta, gradients = _normal(4), _normal(5, 4, seed=1)
    expect(
        answer(theta, gradients, 0.3, 0.2),
        theta - 0.06 * gradients.mean(0),
        case="With five random gradients in four dimensions, α = 0.3 and ε = 0.2",
        slips={
            "That is the sum over the tasks; the outer step takes their mean.": theta - 0.06 * gradients.sum(0),
        },
    )


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


@wrong_answer("reptile.joint", hint="do not add up")
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
            "That is what joint training gives, and Reptile with k = 1: is 1 − αa raised to the power k?": float(
                _weighted(a, c)
            ),
            "Those weights are r, what the inner loop *leaves* of the way. Reptile weighs by what it covers, 1 − r:"
            " equation (4.12).": float(_weighted(r, c)),
            "That is MAML's fixed point, with weights a·r². Reptile's are 1 − r.": float(_weighted(a * r**2, c)),
            "That is the first-order MAML's fixed point, with weights a·r. Reptile's are 1 − r.": float(
                _weighted(a * r, c)
            ),
            "That is the plain mean of the minima, Reptile's answer for k → ∞. For finite k the weights differ.": 0.5,
            "Divide by the sum of the weights, not by their number.": float(((1 - r) * c).mean()),
            "Divide by the sum of the weights.": float(((1 - r) * c).sum()),
            "The weights are 1 − (1 − αa)^k; yours are (αa)^k.": float(_weighted((0.1 * a) ** 5, c)),
            "Those weights are a(1 − r). The curvature is in r already, and in nothing else: Reptile never looks at the"
            " loss.": float(_weighted(a * (1 - r), c)),
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
    a, c = torch.rand(2, 4, generator=draw).add(0.5)
    return a, c, 0.2 + 0.2 * float(torch.rand((), generator=draw)), 3


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


@wrong_answer("reptile.fixed_point", hint="what joint training gives")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(curvatures, minima)


@wrong_answer("reptile.fixed_point", hint="raised to the power k")
def _(curvatures: Tensor, minima: Tensor, inner_rate: float, steps: int) -> Tensor:
    return _weighted(1 - (1 - inner_rate * curvatures), minima)


@wrong_answer("reptile.fixed_point", hint="*leaves* of the way")
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
        "Take two loops, over i and over j, and leave out i = j: the gradient and the Hessian are of *different*"
        " minibatches.",
        "`hessians[i] @ gradients[j]` is one term, a vector [D].",
        "There are B(B − 1) ordered pairs. Add up all terms, then divide by that.",
    ),
)
def check_avg_grad_inner(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    g, h = torch.tensor([[1.0, 0.0], [2.0, 4.0]]), torch.tensor([[[2.0, 1.0], [1.0, 0.0]], [[4.0, 2.0], [2.0, 6.0]]])
    t = _pairs(g, h)
    expect(
        answer(g, h),
        (t[0, 1] + t[1, 0]) / 2,
        case="With gradients [1, 0] and [2, 4] and Hessians [[2, 1], [1, 0]] and [[4, 2], [2, 6]]",
        slips={
            "The pairs with i = j are in your mean. A minibatch with itself says nothing about any other: leave them"
            " out.": t.mean((0, 1)),
            "Those are the pairs with i = j, and no others: each Hessian has met the gradient of its own minibatch."
            " Pair *different* minibatches.": (t[0, 0] + t[1, 1]) / 2,
            "That is twice as much: the sum of both orders, which is the gradient of g_1 · g_2. AvgGradInner is their"
            " mean, half of that.": t[0, 1] + t[1, 0],
            "Divide by the number of pairs with i ≠ j, B(B − 1), not by B².": (t[0, 1] + t[1, 0]) / 4,
            "That is H_i g_j with j < i alone. Which minibatch comes first is chance: both orders belong into the"
            " mean.": t[1, 0],
            "That is H_i g_j with i < j alone. Which minibatch comes first is chance: both orders belong into the"
            " mean.": t[0, 1],
            "The sign: (4.24) has no minus. The minus comes with α, in (4.22).": -(t[0, 1] + t[1, 0]) / 2,
            "That multiplies number by number. `hessians[i] @ gradients[j]` is a matrix times a vector.": (
                h[0].diagonal() * g[1] + h[1].diagonal() * g[0]
            )
            / 2,
            "That is the mean of the inner products g_i · g_j, a number. AvgGradInner is half its gradient.": g[0]
            @ g[1],
        },
    )
    root = _normal(4, 3, 3, seed=1)
    g, h = _normal(4, 3), root + root.transpose(1, 2)
    t, different = _pairs(g, h), ~torch.eye(4, dtype=torch.bool)
    later = torch.tril(torch.ones(4, 4), -1).bool()
    wanted = t[different].mean(0)
    expect(
        answer(g, h),
        wanted,
        case="With four random minibatches in three dimensions",
        slips={
            "You use neighbours alone, each minibatch with the one before it. All pairs belong into the mean.": t[
                [1, 2, 3], [0, 1, 2]
            ].mean(0),
            "That is H_i g_j with j < i alone. Which minibatch comes first is chance: both orders belong into the"
            " mean.": t[later].mean(0),
        },
    )


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


@wrong_answer("reptile.avg_grad_inner", hint="and no others")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    return torch.einsum("ide,ie->id", hessians, gradients).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="twice as much")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    return torch.stack([hessians[i] @ gradients[j] for i in batches for j in batches if i != j]).sum(0)


@wrong_answer("reptile.avg_grad_inner", hint="not by B²")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    terms = [hessians[i] @ gradients[j] for i in batches for j in batches if i != j]
    return torch.stack(terms).sum(0) / len(gradients) ** 2


@wrong_answer("reptile.avg_grad_inner", hint="both orders")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    terms = [hessians[i] @ gradients[j] for i in range(len(gradients)) for j in range(i)]
    return torch.stack(terms).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="has no minus")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches = range(len(gradients))
    return -torch.stack([hessians[i] @ gradients[j] for i in batches for j in batches if i != j]).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="number by number")
def _(gradients: Tensor, hessians: Tensor) -> Tensor:
    batches, diagonal = range(len(gradients)), hessians.diagonal(dim1=1, dim2=2)
    return torch.stack([diagonal[i] * gradients[j] for i in batches for j in batches if i != j]).mean(0)


@wrong_answer("reptile.avg_grad_inner", hint="twice as much")
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
