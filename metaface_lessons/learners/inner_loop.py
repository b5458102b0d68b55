"""The frame of MAML and Reptile: gradient descent on a support set, from a common start θ, makes a learner.

`InnerLoop` adapts T tasks at a time. Its subclasses define the inner step and the outer loop.

The labels of an episode are numbers given by chance. If all rows of the head are alike, such as a head of zeros, the
numbers do not matter. To see this, let Π permute the people, and with them the rows of the head. Cross-entropy does not
see a permutation of outputs and labels together, L(Πφ; ΠS) = L(φ; S). So its gradient is permuted as well,
∇L(Πφ; ΠS) = Π∇L(φ; S). If Πθ = θ, each step keeps that: from φ'_j = Πφ_j follows

    φ'_{j+1} = Πφ_j − α ∇L(Πφ_j; ΠS) = Π (φ_j − α ∇L(φ_j; S)) = Πφ_{j+1}

So the learner of the relabelled task gives everybody the output that they had before. A head with unlike rows has
Πθ ≠ θ, and its outputs depend on the numbers (Ye & Chao 2022). Training moves the rows apart, because an outer step
sees only a few of the N! numberings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from ..episodes import Episodes, Examples, examples_per_class
from ..errors import Diverged, MetaFaceError
from ..networks import Classifier, TaskNorm, statistics_of_first
from .base import MetaLearner

Weights = dict[str, Tensor]  # parameter's name → `[T, …]`, its values for each of T tasks
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs `[S, …]` and targets `[S, …]` → their mean loss, a number


class TaskNetwork(Protocol):
    """Runs a network for T tasks at once, each with its own weights; `fast/` has faster ones.

    name: what `MetaLearner.formulation` shows.
    adapted: the part of the network whose weights differ from task to task.
    """

    name: str
    adapted: nn.Module

    @property
    def at_once(self) -> int:
        """How many tasks to run together."""
        ...

    def prepare(self, x: Tensor) -> Any:
        """Do once what several calls on the same inputs share.

        `networks.statistics_of_first` must surround both this and the calls.

        x: inputs `[T, S, …]`.
        """
        ...

    def __call__(self, weights: Weights, prepared: Any) -> Tensor:
        """The outputs `[T, S, …]`.

        weights: of `adapted`, `[T, …]` each.
        prepared: what `prepare` made of the inputs.
        """
        ...

    def gradient(
        self, weights: Weights, prepared: Any, loss: Callable[[Tensor], Tensor], graph: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The losses `[T]`, and the gradient of their sum with respect to each of the weights.

        weights: of `adapted`, `[T, …]` each.
        prepared: what `prepare` made of the inputs.
        loss: outputs `[T, S, …]` → losses `[T]`.
        graph: whether the gradient will be differentiated; the losses never are.
        """
        ...


class OneByOne:
    """The plain way: one task after the other, each by a functional call of the network (`torch.func`)."""

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
        losses = loss(self(weights, prepared))  # no task depends on another
        return losses.detach(), gradient_of(losses.sum(), weights, graph)


class AllAtOnce(OneByOne):
    """All tasks in one functional call, vectorised by `torch.func.vmap`: for networks of linear layers.

    It is not for `Conv4`, because vmap loses the channels-last order that makes that network fast. Derivatives are
    taken outside of vmap: inside, those of second order are wrong through `F.batch_norm`.
    """

    name, at_once = "all at once", 1000

    def __call__(self, weights: Weights, prepared: Tensor) -> Tensor:
        return vmap(lambda own, x: functional_call(self.adapted, own, (x,)))(weights, prepared)


def plain(network: nn.Module) -> TaskNetwork:
    """The plain way to run a network for many tasks: all at once if every layer with weights is linear."""
    layers = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
    return AllAtOnce(network) if all(type(layer) is nn.Linear for layer in layers) else OneByOne(network)


class HeadOnly(OneByOne):
    """A `Classifier` in which only the head differs from task to task: the embedding runs once for each input."""

    name = "head only"

    def __init__(self, network: Classifier) -> None:
        super().__init__(network.head)
        self.embedding = network.embedding

    def prepare(self, x: Tensor) -> Tensor:
        return torch.stack([self.embedding(images) for images in x])


class Trajectory(NamedTuple):
    """Loss and accuracy of each task before the first and after each of k inner steps: `[T, k + 1]` each.

    In a regression the accuracies are NaN.
    """

    support_loss: Tensor
    support_accuracy: Tensor
    query_loss: Tensor
    query_accuracy: Tensor


class InnerLoop(MetaLearner):
    """A meta-learner whose slow weights θ are those of a network, from which every task starts.

    network: x `[S, …]` → outputs `[S, …]`, such as a `Classifier` with as many outputs as episodes have ways. It must
        compute the same function twice: without dropout or other chance, without running averages or other hidden
        state, and with no batch normalisation except `TaskNorm`. The first support set shows whether it does. Weights
        without `requires_grad`, or that the loss does not use, stay fixed.
    network_per_task: runs the network for many tasks at once, each with its own weights.
    inner_rate: α, the rate of an inner step.
    test_steps: the number of inner steps that `adapt` takes.
    loss: outputs and targets of one task → their mean loss, made of operations that `torch.func.vmap` supports.
    transductive: for a network with `TaskNorm`. If True, queries are normalised by the statistics of all queries
        together, as the papers' code does. If False, by the statistics of the support set, so that the prediction for
        one query does not depend on the others.

    Raises `MetaFaceError` for a network that cannot be adapted, or an inner rate that is not above 0.
    """

    def __init__(
        self,
        network: nn.Module,
        network_per_task: TaskNetwork,
        inner_rate: float,
        test_steps: int,
        loss: Loss,
        transductive: bool,
    ) -> None:
        check_network(network)
        if not inner_rate > 0:
            raise MetaFaceError(f"inner_rate must be above 0, but is {inner_rate}.")
        super().__init__()
        self.network, self.network_per_task, self.inner_rate = network, network_per_task, inner_rate
        self.test_steps, self.loss, self.transductive = test_steps, loss, transductive
        self._repeats = False  # whether `check_repeatable` has passed

    def inner_loop(self, weights: Weights, support: Examples, steps: int, graph: bool = False) -> Iterator[Weights]:
        """The weights of every task before the first and after each of k inner steps: φ_0, φ_1, …, φ_k.

        weights: φ_0, where the tasks start, `[T, …]` each.
        support: the examples to learn from.
        steps: k.
        graph: whether an outer loop will differentiate through the steps.
        """
        raise NotImplementedError

    @property
    def formulation(self) -> str:
        return self.network_per_task.name

    @property
    def ways(self) -> int | None:
        """How many people the network can distinguish; None for any number, or if it is not a `Classifier`."""
        return self.network.head.out_features if isinstance(self.network, Classifier) else None

    def rates_at(self, step: int) -> Weights:
        """The inner rates of each weight that the inner loop changes, by its name: α here.

        step: the inner steps before this one; some learners have other rates in each.
        """
        adapted = trainable(self.network_per_task.adapted)
        return {name: w.new_tensor(self.inner_rate) for name, w in adapted.items()}

    def start(self, support: Examples) -> Weights:
        """θ for each of T tasks: views `[T, …]` of the slow weights, through which gradients flow."""
        return {
            name: w.expand(len(support.x), *w.shape) for name, w in trainable(self.network_per_task.adapted).items()
        }

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each task: outputs `[T, S, …]` and targets `[T, S, …]` → `[T]`."""
        if self.loss is F.cross_entropy:  # the same numbers as by vmap, at a third of the cost
            each = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(0, 1), reduction="none")
            return each.view(len(outputs), -1).mean(1)
        return vmap(self.loss)(outputs, targets)

    def query_outputs(self, weights: Weights, support: Tensor, query: Tensor) -> Tensor:
        """The outputs for the queries, `[T, Q, …]`, some tasks at a time; see `transductive`.

        weights: of each task, `[T, …]` each.
        support: inputs `[T, S, …]`, whose statistics a `TaskNorm` uses.
        query: inputs `[T, Q, …]`.
        """
        at_once = self.network_per_task.at_once
        if len(query) <= at_once:
            return self._query_outputs(weights, support, query)
        outputs = []
        for first in range(0, len(query), at_once):
            tasks = slice(first, first + at_once)
            own = {name: w[tasks] for name, w in weights.items()}
            outputs.append(self._query_outputs(own, support[tasks], query[tasks]))
        return torch.cat(outputs)

    def _query_outputs(self, weights: Weights, support: Tensor, query: Tensor) -> Tensor:
        """The same, all tasks together."""
        run = self.network_per_task
        if self.transductive or not any(isinstance(module, TaskNorm) for module in self.network.modules()):
            return run(weights, run.prepare(query))
        shots = support.shape[1]
        with statistics_of_first(shots):  # the support set goes along, because its statistics count for the queries
            return run(weights, run.prepare(torch.cat([support, query], dim=1)))[:, shots:]

    def adapt(self, support: Examples) -> AdaptedLearner:
        self.check(support)
        with torch.enable_grad():  # evaluation may have switched it off
            weights = final(self.inner_loop(self.start(support), support, self.test_steps))
        return AdaptedLearner(self, support.x, {name: w.detach() for name, w in weights.items()})

    def trajectory(self, episodes: Episodes, steps: int | None = None) -> Trajectory:
        """How inner steps change the loss and accuracy of support and query sets.

        episodes: the tasks to adapt to.
        steps: the number of inner steps; `test_steps` if None.

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
        """Raise `MetaFaceError` if a support set lacks a label, or has another number of classes than the head.

        Also if all weights have been frozen since, or if the network turns out not to compute the same function twice.
        """
        check_trainable(self.network_per_task.adapted)
        if not self._repeats:
            check_repeatable(self.network, support.x[0])
            self._repeats = True
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
        examples_per_class(y, ways)

    def check_finite(self, losses: list[Tensor], steps: int, first: int = 0) -> None:
        """Raise `Diverged` if a loss is not finite, and say after which inner step.

        This waits for a GPU to finish, so it is called once after an inner loop rather than in every step.

        losses: `[T]` each, after `first`, `first` + 1, … inner steps.
        steps: the inner steps of the whole loop.
        first: the inner steps before the first of the losses.
        """
        finite = torch.stack(losses).isfinite().all(dim=1).tolist() if losses else []
        if all(finite):
            return
        step = first + finite.index(False)
        if step == 0:
            raise Diverged(
                "The loss is not finite before the first inner step, so the inputs or the weights are not finite. Look"
                " for NaN in the data; in meta-training, lower the outer learning rate."
            )
        raise Diverged(
            f"After inner step {step} of {steps} the loss is no longer finite: the inner loop diverges. Lower"
            f" inner_rate, which is {self.inner_rate:.3g}."
        )


@dataclass
class AdaptedLearner:
    """T learners, each with the weights that its inner loop has reached.

    net: the meta-learner.
    support: the inputs `[T, S, …]` that they have learned from.
    weights: of each learner, `[T, …]` each.
    """

    net: InnerLoop
    support: Tensor
    weights: Weights

    def predict(self, x: Tensor) -> Tensor:
        """The outputs `[T, Q, …]`: logits of a classifier, or values of a regression.

        x: inputs `[T, Q, …]`.

        Raises `Diverged` if the outputs are not finite.
        """
        with torch.no_grad():
            outputs = self.net.query_outputs(self.weights, self.support, x)
        if not outputs.isfinite().all():
            raise Diverged(
                "The adapted network's outputs are not finite. Either the inputs are not finite, or the last inner step"
                " went too far: then lower inner_rate."
            )
        return outputs


def in_parts(net: InnerLoop, adapt: Callable[[Examples], AdaptedLearner], support: Examples) -> AdaptedLearner:
    """What `adapt` makes of some tasks at a time, because their inner loops need much memory.

    net: whose `network_per_task` says how many.
    adapt: support sets → their learner.
    support: of all tasks.
    """
    parts = zip(*(tensor.split(net.network_per_task.at_once) for tensor in support), strict=True)
    learners = [adapt(Examples(x, y)) for x, y in parts]
    weights = {name: torch.cat([learner.weights[name] for learner in learners]) for name in learners[0].weights}
    return AdaptedLearner(net, support.x, weights)


def accuracy(outputs: Tensor, target: Tensor) -> Tensor:
    """The share of right answers in each task, `[T]`; NaN in a regression."""
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


def gradient_of(loss: Tensor, weights: Weights, graph: bool = False) -> tuple[Tensor, ...]:
    """The gradient of a loss with respect to each of the weights; 0 for fixed ones, and for those it does not use.

    loss: a number.
    weights: of the network, by name.
    graph: whether the gradient will be differentiated.

    Raises `MetaFaceError` if the loss depends on no weight at all.
    """
    if not loss.requires_grad:
        raise MetaFaceError(
            f"The loss depends on none of the weights that should adapt: {', '.join(weights)}. Look for detach(),"
            " no_grad() or a forward that leaves them out."
        )
    changing = [w for w in weights.values() if w.requires_grad]
    found = iter(torch.autograd.grad(loss, changing, create_graph=graph, materialize_grads=True))
    return tuple(next(found) if w.requires_grad else torch.zeros_like(w) for w in weights.values())


def check_trainable(network: nn.Module) -> None:
    """Raise `MetaFaceError` if a network has nothing to adapt."""
    if not trainable(network):
        raise MetaFaceError(
            "The network has no weights that require gradients, so there is nothing to adapt. Set requires_grad on the"
            " weights that should learn."
        )


def check_network(network: nn.Module) -> None:
    """Raise `MetaFaceError` if the network has nothing to adapt, or has a layer of chance or with running averages."""
    check_trainable(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise MetaFaceError(
                f"The network has dropout ('{name}', p = {module.p}). The inner loop and the queries would then see"
                " different networks, and the meta-gradient would belong to neither. Leave dropout out."
            )
        if isinstance(module, nn.RReLU):
            raise MetaFaceError(
                f"The network has a random slope ('{name}', RReLU). The inner loop and the queries would then see"
                " different networks. Use nn.LeakyReLU."
            )
        if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats:
            raise MetaFaceError(
                f"The network has running averages ('{name}', {type(module).__name__}). Every inner step would write"
                " into them, with other weights each time. Leave out track_running_stats."
            )
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise MetaFaceError(
                f"The network has batch normalisation ('{name}'). With running averages, every inner step would write"
                " into them, with other weights each time; without them, queries would be judged together. Use"
                ' Conv4(norm="task"), norm="group" or norm="none"; in your own network, use networks.TaskNorm.'
            )


def check_repeatable(network: nn.Module, x: Tensor) -> None:
    """Raise `MetaFaceError` if a network in training mode does not compute the same function twice.

    It may have chance that `check_network` does not know, such as `F.dropout`, or a state that a call changes, such as
    that of a spectral normalisation. The network, its mode and the random streams are left as they were.

    network: the one to try.
    x: inputs `[S, …]`.
    """
    modes = {module: module.training for module in network.modules()}
    generator = torch.Generator().manual_seed(0)
    weights = {  # moved a little, because a head of zeros would hide what comes before it
        name: w.detach() + 0.1 * torch.randn(w.shape, generator=generator).to(w)
        for name, w in network.named_parameters()
    }
    before = dict(network.named_buffers())
    after = {name: buffer.clone() for name, buffer in before.items()}
    try:
        network.train()
        with torch.no_grad(), torch.random.fork_rng([x.device] if x.is_cuda else []):
            state = weights | after
            once, twice = (functional_call(network, state, (x,)) for _ in range(2))
    except Exception:  # it does not run on such inputs at all, which the inner loop itself will say
        return
    finally:
        for module, mode in modes.items():
            module.training = mode
    changed = [name for name, buffer in before.items() if not torch.equal(buffer, state[name])]
    if changed:
        why = f"every call changes its buffer '{changed[0]}'"
    elif not torch.allclose(once, twice, rtol=1e-3, atol=1e-3 * float(once.nan_to_num().abs().max()), equal_nan=True):
        why = f"two calls on the same inputs differ by up to {float((once - twice).abs().max()):.2g}"
    else:
        return
    raise MetaFaceError(
        f"The network does not compute the same function twice: {why}. The inner loop and the queries would see"
        " different networks. Leave out what is random or keeps a state, such as F.dropout, running averages or"
        " spectral_norm."
    )
