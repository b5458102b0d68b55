"""The frame of MAML and Reptile: a learner is made from a support set by gradient descent, from a common start θ.

`InnerLoop` adapts T tasks at a time. Its subclasses say what an inner step is, and what the outer loop makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from ..episodes import Episodes, Examples
from ..errors import MetaFaceError
from ..networks import Classifier, TaskNorm, statistics_of_first
from .base import MetaLearner

Weights = dict[str, Tensor]  # by the name of the parameter, `[T, …]`: a set of weights for each of T tasks
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs `[S, …]` and targets `[S, …]` → their mean loss, a number


class TaskNetwork(Protocol):
    """Runs a network for T tasks at once, each with weights of its own. Those in `fast/` are of this kind, too."""

    name: str
    adapted: nn.Module  # the part whose weights differ from task to task

    @property
    def at_once(self) -> int:
        """How many tasks to run together."""
        ...

    def prepare(self, x: Tensor) -> Any:
        """Inputs `[T, S, …]`, made ready for several calls on the same ones.

        Where `networks.statistics_of_first` is to count, it must surround this and the calls alike.
        """
        ...

    def __call__(self, weights: Weights, prepared: Any) -> Tensor:
        """Outputs `[T, S, …]`."""
        ...

    def gradient(
        self, weights: Weights, prepared: Any, loss: Callable[[Tensor], Tensor], graph: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What `loss` makes of the outputs, `[T]` numbers, and the gradient of their sum by each of the weights.

        graph: whether that gradient will be differentiated; the numbers never are.
        """
        ...


class OneByOne:
    """The plain way: task after task, by a functional call of the network (`torch.func.functional_call`)."""

    name, at_once = "one by one", 1

    def __init__(self, network: nn.Module) -> None:
        self.adapted = network

    def prepare(self, x: Tensor) -> Tensor:
        return x

    def __call__(self, weights: Weights, prepared: Tensor) -> Tensor:
        own = [{name: w[t] for name, w in weights.items()} for t in range(len(prepared))]
        return torch.stack([functional_call(self.adapted, own[t], (x,)) for t, x in enumerate(prepared)])

    def gradient(
        self, weights: Weights, prepared: Tensor, loss: Callable[[Tensor], Tensor], graph: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        losses = loss(self(weights, prepared))  # and no task depends on another
        return losses.detach(), torch.autograd.grad(losses.sum(), list(weights.values()), create_graph=graph)


class AllAtOnce(OneByOne):
    """All tasks in one functional call, vectorised by `torch.func.vmap`: for networks of linear layers.

    Not for `Conv4`: vmap does not know the channels-last order that makes it fast. Derivatives are taken outside of
    vmap; inside, those of second order are wrong through `F.batch_norm`.
    """

    name, at_once = "all at once", 1000

    def __call__(self, weights: Weights, prepared: Tensor) -> Tensor:
        return vmap(lambda own, x: functional_call(self.adapted, own, (x,)))(weights, prepared)


def plain(network: nn.Module) -> TaskNetwork:
    """The plain way to run a network for many tasks: all at once if each layer with weights is linear."""
    layers = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
    return AllAtOnce(network) if all(type(layer) is nn.Linear for layer in layers) else OneByOne(network)


class HeadOnly(OneByOne):
    """A `Classifier` whose head alone differs from task to task: the embedding runs once for every input."""

    name = "head only"

    def __init__(self, network: Classifier) -> None:
        super().__init__(network.head)
        self.embedding = network.embedding

    def prepare(self, x: Tensor) -> Tensor:
        return torch.stack([self.embedding(images) for images in x])


class Trajectory(NamedTuple):
    """Loss and accuracy of each task before the first and after each of k inner steps: `[T, k + 1]` each.

    Where targets are numbers, not labels, accuracies are NaN.
    """

    support_loss: Tensor
    support_accuracy: Tensor
    query_loss: Tensor
    query_accuracy: Tensor


class InnerLoop(MetaLearner):
    """A meta-learner whose slow weights θ are those of `network`, from which every task starts.

    network: x `[S, …]` → outputs `[S, …]`, such as a `Classifier` with as many outputs as episodes have ways. It must
        have no dropout and no batch normalisation but `TaskNorm`. Weights that do not require gradients stay fixed.
    network_per_task: runs it for many tasks at once, each with weights of its own.
    test_steps: inner steps of `adapt`.
    loss: outputs and targets of one task → their mean loss, by operations that `torch.func.vmap` knows.
    transductive: with a `TaskNorm` in the network, normalise queries by the statistics of all queries together, as
        the papers' code does, or by those of the support set, so that each query is judged by itself.
    """

    inner_rate: float  # α, which subclasses set

    def __init__(
        self, network: nn.Module, network_per_task: TaskNetwork, test_steps: int, loss: Loss, transductive: bool
    ) -> None:
        _check_network(network)
        super().__init__()
        self.network, self.network_per_task, self.test_steps = network, network_per_task, test_steps
        self.loss, self.transductive = loss, transductive

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """φ_0 = `weights`, φ_1, …, φ_k: what `steps` inner steps on the support set make of them, task by task.

        graph: whether an outer loop will differentiate through the steps.
        """
        raise NotImplementedError

    @property
    def formulation(self) -> str:
        return self.network_per_task.name

    @property
    def ways(self) -> int | None:
        """How many people the network tells apart; None if it is no `Classifier`, or has a head for any number."""
        return self.network.head.out_features if isinstance(self.network, Classifier) else None

    def start(self, support: Examples) -> Weights:
        """θ for each of T tasks: views `[T, …]` of the slow weights, through which gradients flow."""
        return {
            name: w.expand(len(support.x), *w.shape) for name, w in trainable(self.network_per_task.adapted).items()
        }

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each task: `[T, S, …]`, `[T, S, …]` → `[T]`."""
        if self.loss is F.cross_entropy:  # the same number, at a third of the cost of vmap
            each = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(0, 1), reduction="none")
            return each.view(len(outputs), -1).mean(1)
        return vmap(self.loss)(outputs, targets)

    def query_outputs(self, weights: Weights, support: Tensor, query: Tensor) -> Tensor:
        """Outputs `[T, Q, …]` for the queries; see `transductive`. Runs `network_per_task.at_once` tasks together."""
        if len(query) > (tasks := self.network_per_task.at_once):
            parts = {name: w.split(tasks) for name, w in weights.items()}
            pairs = enumerate(zip(support.split(tasks), query.split(tasks), strict=True))
            return torch.cat([self.query_outputs({n: w[i] for n, w in parts.items()}, *pair) for i, pair in pairs])
        if self.transductive or not any(isinstance(module, TaskNorm) for module in self.network.modules()):
            return self.network_per_task(weights, self.network_per_task.prepare(query))
        shots = support.shape[1]
        with statistics_of_first(shots):
            return self.network_per_task(weights, self.network_per_task.prepare(torch.cat([support, query], dim=1)))[
                :, shots:
            ]

    def adapt(self, support: Examples) -> AdaptedLearner:
        self.check(support)
        with torch.enable_grad():  # evaluation may have switched it off
            weights = final(self.inner_loop(self.start(support), support, self.test_steps))
        return AdaptedLearner(self, support.x, {name: w.detach() for name, w in weights.items()})

    def trajectory(self, episodes: Episodes, steps: int | None = None) -> Trajectory:
        """What `steps` inner steps (`test_steps` if not given) do to the loss and accuracy of support and query.

        Raises `MetaFaceError` if a support loss is not finite.
        """
        (support, query), steps = (episodes.support, episodes.query), self.test_steps if steps is None else steps
        self.check(support)
        rows: list[list[Tensor]] = [[], [], [], []]
        with torch.enable_grad():
            for weights in self.inner_loop(self.start(support), support, steps):
                with torch.no_grad():
                    known = self.network_per_task(weights, self.network_per_task.prepare(support.x))
                    asked = self.query_outputs(weights, support.x, query.x)
                    for i, (outputs, y) in enumerate(((known, support.y), (asked, query.y))):
                        rows[2 * i].append(self.losses(outputs, y))
                        rows[2 * i + 1].append(accuracy(outputs, y))
        self.check_finite(rows[0], steps)
        return Trajectory(*(torch.stack(row, dim=1) for row in rows))

    def check(self, support: Examples) -> None:
        """Raise `MetaFaceError` if labels are missing from the support set of a task, or do not fit the head."""
        y = support.y
        if y.is_floating_point():
            return
        ways = int(y.max()) + 1
        outputs = ways if self.ways is None else self.ways
        if ways != outputs:
            raise MetaFaceError(
                f"The head has {outputs} outputs, but the episodes have {ways} ways: labels of the support set are 0 to"
                f" {ways - 1}. Make the classifier with ways={ways}, or sample {outputs}-way episodes."
            )
        present = nn.functional.one_hot(y, ways).sum(1)
        if (present == 0).any():
            task, way = (present == 0).nonzero()[0].tolist()
            raise MetaFaceError(
                f"The support set of task {task} has no example of class {way}: nothing could be learned about it."
                f" Every label 0 to {ways - 1} must occur."
            )

    def check_finite(self, losses: list[Tensor], steps: int, first: int = 0) -> None:
        """Raise `MetaFaceError` if losses `[T]`, those after `first`, `first` + 1, … of `steps` steps, are not finite.

        It waits for a GPU to finish, so it is called once after an inner loop rather than in every step.
        """
        finite = torch.stack(losses).isfinite().all(dim=1).tolist() if losses else []
        if all(finite):
            return
        step = first + finite.index(False)
        if step == 0:
            raise MetaFaceError(
                "The loss is not finite before the first inner step. So the inputs or the weights are not: look for NaN"
                " in the data; in meta-training, lower the outer learning rate."
            )
        raise MetaFaceError(
            f"After inner step {step} of {steps} the loss is no longer finite: at a rate of {self.inner_rate:.3g} the"
            " inner loop diverges. Lower inner_rate."
        )


@dataclass
class AdaptedLearner:
    """T learners, each with the weights to which its support set has led."""

    net: InnerLoop
    support: Tensor
    weights: Weights

    def predict(self, x: Tensor) -> Tensor:
        """Inputs `[T, Q, …]` → outputs `[T, Q, …]`: the logits of a classifier, the values of a regression.

        Raises `MetaFaceError` if they are not finite.
        """
        with torch.no_grad():
            outputs = self.net.query_outputs(self.weights, self.support, x)
        if not outputs.isfinite().all():
            raise MetaFaceError(
                "The adapted network's outputs are not finite. Either the inputs are not, or its last inner step went"
                " too far: lower inner_rate."
            )
        return outputs


def accuracy(outputs: Tensor, target: Tensor) -> Tensor:
    """The share of right answers in each task, `[T]`; NaN where targets are no labels."""
    if target.is_floating_point():
        return torch.full((len(target),), torch.nan)
    return (outputs.argmax(-1) == target).float().mean(1)


def trainable(module: nn.Module) -> Weights:
    """The parameters that require gradients, by name."""
    return {name: w for name, w in module.named_parameters() if w.requires_grad}


def final(path: Iterator[Weights]) -> Weights:
    """The last weights of an inner loop."""
    for weights in path:  # noqa: B007
        pass
    return weights


def _check_network(network: nn.Module) -> None:
    """Raise `MetaFaceError` if the network has nothing to adapt, or does not compute the same function twice."""
    if not trainable(network):
        raise MetaFaceError("The network has no weights that require gradients: there is nothing to adapt.")
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise MetaFaceError(
                f"The network has dropout ('{name}', p = {module.p}): the inner loop and the queries would see"
                " different networks, and the meta-gradient would be that of neither. Leave dropout out."
            )
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise MetaFaceError(
                f"The network has batch normalisation ('{name}'). With running averages every inner step would write"
                " into them, from other weights each time; without, queries would be judged together. Use"
                ' Conv4(norm="task"), norm="group" or norm="none"; in a network of your own, networks.TaskNorm.'
            )
