"""The frame of MAML and Reptile: a learner is made from a support set by gradient descent, from a common start θ.

`InnerLoop` adapts T tasks at a time. Its subclasses say what an inner step is, and what the outer loop makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .episodes import Episodes, Examples
from .errors import MetaFaceError
from .learners import MetaLearner
from .networks import Classifier, TaskNorm, statistics_of_first

Weights = dict[str, Tensor]  # by the name of the parameter, `[T, …]`: a set of weights for each of T tasks
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs `[S, …]` and targets `[S, …]` → their mean loss, a number


class TaskNetwork(Protocol):
    """Runs a network for T tasks at once, each with weights of its own. Those in `fast/` are of this kind, too."""

    name: str
    at_once: int  # how many tasks to run together
    adapted: nn.Module  # the part whose weights differ from task to task

    def prepare(self, x: Tensor) -> Any:
        """Inputs `[T, S, …]`, made ready for several calls on the same ones."""
        ...

    def __call__(self, weights: Weights, prepared: Any) -> Tensor:
        """Outputs `[T, S, …]`."""
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
        have no dropout and no running averages: see `Conv4(norm="task")`.
    run: how it is run with the weights of each task.
    test_steps: inner steps of `adapt`.
    loss: outputs and targets of one task → their mean loss.
    transductive: with a `TaskNorm` in the network, normalise queries by the statistics of all queries together, as
        the papers' code does, or by those of the support set, so that each query is judged by itself.
    """

    def __init__(self, network: nn.Module, run: TaskNetwork, test_steps: int, loss: Loss, transductive: bool) -> None:
        _check_network(network)
        super().__init__()
        self.network, self.run, self.test_steps = network, run, test_steps
        self.loss, self.transductive = loss, transductive

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """φ_0 = `weights`, φ_1, …, φ_k: what `steps` inner steps on the support set make of them, task by task.

        graph: whether an outer loop will differentiate through the steps.
        """
        raise NotImplementedError

    def start(self, tasks: int) -> Weights:
        """θ for each of T tasks: views `[T, …]` of the slow weights, through which gradients flow."""
        return {name: w.expand(tasks, *w.shape) for name, w in self.run.adapted.named_parameters()}

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each task: `[T, S, …]`, `[T, S, …]` → `[T]`."""
        return torch.stack([self.loss(o, y) for o, y in zip(outputs, targets, strict=True)])

    def query_outputs(self, weights: Weights, support: Tensor, query: Tensor) -> Tensor:
        """Outputs `[T, Q, …]` for the queries; see `transductive`."""
        if self.transductive or not any(isinstance(module, TaskNorm) for module in self.network.modules()):
            return self.run(weights, self.run.prepare(query))
        shots = support.shape[1]
        with statistics_of_first(shots):
            return self.run(weights, self.run.prepare(torch.cat([support, query], dim=1)))[:, shots:]

    def adapt(self, support: Examples) -> AdaptedLearner:
        self.check(support)
        with torch.enable_grad():  # evaluation may have switched it off
            for weights in self.inner_loop(self.start(len(support.x)), support, self.test_steps):  # noqa: B007
                pass  # to the last
        return AdaptedLearner(self, support.x, {name: w.detach() for name, w in weights.items()})

    def trajectory(self, episodes: Episodes, steps: int | None = None) -> Trajectory:
        """What `steps` inner steps (`test_steps` if not given) do to the loss and accuracy of support and query."""
        support, query = episodes.support, episodes.query
        self.check(support)
        rows: list[list[Tensor]] = [[], [], [], []]
        with torch.enable_grad():
            path = self.inner_loop(self.start(len(support.x)), support, self.test_steps if steps is None else steps)
            for weights in path:
                with torch.no_grad():
                    known = self.run(weights, self.run.prepare(support.x))
                    asked = self.query_outputs(weights, support.x, query.x)
                    for i, (outputs, y) in enumerate(((known, support.y), (asked, query.y))):
                        rows[2 * i].append(self.losses(outputs, y))
                        rows[2 * i + 1].append(accuracy(outputs, y))
        return Trajectory(*(torch.stack(row, dim=1) for row in rows))

    def check(self, support: Examples) -> None:
        """Raise `MetaFaceError` if labels are missing from the support set of a task, or do not fit the head."""
        y = support.y
        if y.is_floating_point():
            return
        ways = int(y.max()) + 1
        if isinstance(self.network, Classifier) and ways != self.network.head.out_features:
            outputs = self.network.head.out_features
            raise MetaFaceError(
                f"The head has {outputs} outputs, but the episodes have {ways} ways. Make the classifier with"
                f" ways={ways}, or sample {outputs}-way episodes."
            )
        present = nn.functional.one_hot(y, ways).sum(1)
        if (present == 0).any():
            task, way = (present == 0).nonzero()[0].tolist()
            raise MetaFaceError(
                f"The support set of task {task} has no example of class {way}: nothing could be learned about it."
                f" Every label 0 to {ways - 1} must occur."
            )


@dataclass
class AdaptedLearner:
    """T learners, each with the weights to which its support set has led."""

    net: InnerLoop
    support: Tensor
    weights: Weights

    def predict(self, x: Tensor) -> Tensor:
        """Inputs `[T, Q, …]` → outputs `[T, Q, …]`: the logits of a classifier, the values of a regression."""
        with torch.no_grad():
            return self.net.query_outputs(self.weights, self.support, x)


def accuracy(outputs: Tensor, target: Tensor) -> Tensor:
    """The share of right answers in each task, `[T]`; NaN where targets are no labels."""
    if target.is_floating_point():
        return torch.full((len(target),), torch.nan)
    return (outputs.argmax(-1) == target).float().mean(1)


def _check_network(network: nn.Module) -> None:
    """Raise `MetaFaceError` if the network does not compute the same function twice."""
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise MetaFaceError(
                f"The network has dropout ('{name}', p = {module.p}): the inner loop and the queries would see"
                " different networks, and the meta-gradient would be that of neither. Leave dropout out."
            )
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            raise MetaFaceError(
                f"The network has batch normalisation with running averages ('{name}'): every inner step would write"
                ' into them, from other weights each time. Use Conv4(norm="task"), norm="group" or norm="none".'
            )
