"""What checks hand to answers in addition to numbers: losses, gradients and inner loops.

Each is a record of tensors, or a function of this module, so that its name says it all to another process: an
instructor's checker hands them to a submission that runs elsewhere (`grading/`). A check hands over nothing else that
can be called. None holds anything that an answer must not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.func import grad
from torch.nn import functional as F

Weights = dict[str, Tensor]

# ---------------------------------------------------------------------------------------------- losses of weights `[D]`


@dataclass(frozen=True)
class Bowl:
    """½ Σ a(θ − c)²: its gradient is a(θ − c), its Hessian diag(a)."""

    a: Tensor
    c: Tensor

    def __call__(self, theta: Tensor) -> Tensor:
        return (self.a * (theta - self.c).square()).sum() / 2


def quartic(theta: Tensor) -> Tensor:
    """¼ Σ θ⁴: its gradient is θ³, its Hessian diag(3θ²), which is not the same everywhere."""
    return theta.pow(4).sum() / 4


def cubic(theta: Tensor) -> Tensor:
    """θ₀²·θ₁ + θ₁³."""
    return theta[0] ** 2 * theta[1] + theta[1] ** 3


def waves(theta: Tensor) -> Tensor:
    """Π sin θ + Σ exp θ."""
    return theta.sin().prod() + theta.exp().sum()


@dataclass(frozen=True)
class Task:
    """The data of `task_loss`: a symmetric matrix A `[D, D]` and a place c `[D]`."""

    A: Tensor
    c: Tensor


def task_loss(w: Tensor, task: Task) -> Tensor:
    """½(w − c)ᵀA(w − c) + ¼Σ(w − c)⁴: smooth, and its Hessian differs from place to place."""
    d = w - task.c
    return d @ task.A @ d / 2 + d.pow(4).sum() / 4


# ----------------------------------------------------------------------------------------------------- gradients, loops


@dataclass(frozen=True)
class Towards:
    """The gradient of ½‖φ − c‖², as a constant to autograd."""

    c: Tensor

    def __call__(self, phi: Tensor) -> Tensor:
        return phi.detach() - self.c


@dataclass(frozen=True)
class QuarticGradient:
    """The gradient of Σ(φ − c)⁴, as a constant to autograd."""

    c: Tensor

    def __call__(self, phi: Tensor) -> Tensor:
        return 4 * (phi.detach() - self.c) ** 3


@dataclass(frozen=True)
class EndsAt:
    """An inner loop that ends at `goal`, wherever it starts."""

    goal: Tensor

    def __call__(self, start: Tensor) -> Tensor:
        return self.goal.clone()


@dataclass(frozen=True)
class HalfWay:
    """An inner loop that ends half way between its start and `goal`."""

    goal: Tensor

    def __call__(self, start: Tensor) -> Tensor:
        return (start.detach() + self.goal) / 2


# ----------------------------------------------------------------------------------- losses of named weights and a task


def plain_loss(w: Weights, x: Tensor, y: Tensor) -> Tensor:
    return (x @ w["head"] - y).pow(4).mean()


def normed_loss(w: Weights, x: Tensor, y: Tensor) -> Tensor:
    """A task's loss after one inner step, through batch norm with affine weights; the first half is the support set."""

    def loss(w: Weights, x: Tensor, y: Tensor) -> Tensor:
        hidden = F.conv2d(x, w["filters"])
        hidden = F.batch_norm(hidden, None, None, w["scale"], w["shift"], training=True)
        return F.cross_entropy(F.softplus(hidden).mean((2, 3)) @ w["head"].T, y)

    half = len(x) // 2
    gradients = grad(loss)(w, x[:half], y[:half])
    return loss({name: w[name] - 0.5 * gradients[name] for name in w}, x[half:], y[half:])
