"""What a training costs, before it runs: its operations are counted, and a machine says how long they take.

A step of training sends images through a network. `layers` counts, for one image and one layer,

    products    2 · k² · C · F · H' · W'    operations of a k×k convolution, C to F channels, to a map of H' × W'
                2 · D · N                   of a linear layer, D to N numbers
    moved       the numbers that the layer reads and writes: its input and its output

`parts` says how many images a learner sends through, and what becomes of them. A pass forward counts as 1. A gradient
needs the same again twice, for the maps and for the weights. Second-order MAML also needs the product of a Hessian with
a vector: how the forward pass and the gradient change as the weights move (`learners/fast/layers.py`). By the product
rule that doubles each of the three, so

    forward 1,    gradient 1 + 2 = 3,    gradient that is differentiated 3 + 6 = 9

Images are data, and need no gradient. So in the first layer these are 1, 2 and 4.

A machine is known by three numbers (`calibrate`): its seconds for an operation, for a number moved, and for a call of a
small operation. Five constants, the same for all learners, say how many of these a piece of work takes in practice:

    products    operations
    moved       numbers that the layers between the products move (what a convolution moves is part of its operations)
    calls       calls of a layer
    pictures    numbers of the images that are drawn and augmented
    kept        numbers that wait for the way back: the system has to supply their memory

`metaface experiment cost` fits them, and finds the error on settings that they were not fitted to.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..learners.inner_loop import InnerLoop
from ..learners.maml import MAML
from ..learners.reptile import Reptile
from ..machine import device_name
from ..paths import cache_dir, write_atomically
from .making import Shape, make_learner
from .recipes import Settings

# By order of the gradient: 0 forward alone, 1 with a gradient, 2 with a gradient that is differentiated.
PRODUCTS = (1, 3, 9)
OF_DATA = (1, 2, 4)  # in the layer that sees the images
MOVED = (1, 3, 9)
KEPT = (0, 1, 2)  # maps that wait for the way back: those of the forward pass, and for order 2 those of the gradient
FLOAT = 4  # bytes
CONSTANTS = ("products", "moved", "calls", "pictures", "kept")


# --------------------------------------------------------------------------------------------------------------- counts


@dataclass(frozen=True)
class Layer:
    """What one layer does with one image.

    name: as in the network.
    kind: its class.
    products: operations, of a pass forward.
    moved: numbers read and written, of a pass forward.
    kept: numbers that the way back needs; a place of a maximum takes as much room as two.
    weights: how many it has.
    sees_data: whether its input is the images.
    """

    name: str
    kind: str
    products: int
    moved: int
    kept: int
    weights: int
    sees_data: bool = False


def layers(network: nn.Module, shape: Shape) -> list[Layer]:
    """The layers of a network with their counts for one image, in the order in which they run.

    network: images `[M, C, H, W]` → anything. It is run once, and left as it was.
    shape: of an image: channels, height, width.
    """
    found: list[Layer] = []
    images = torch.zeros((2, *shape))  # two, because a normalisation needs more than one number

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            before, after = inputs[0][0].numel(), output[0].numel()
            products = 0
            if isinstance(module, nn.Conv2d):
                height, width = module.kernel_size
                products = 2 * after * height * width * module.in_channels // module.groups
            elif isinstance(module, nn.Linear):
                products = 2 * before * after
            kept = 0 if isinstance(module, nn.Flatten) else after * (3 if isinstance(module, nn.MaxPool2d) else 1)
            moved = 0 if isinstance(module, (nn.Flatten, nn.Identity)) else before + after
            weights = sum(weight.numel() for weight in module.parameters())
            found.append(Layer(name, type(module).__name__, products, moved, kept, weights, not found))

        return count

    leaves = [(name, module) for name, module in network.named_modules() if not [*module.children()]]
    hooks = [module.register_forward_hook(hook(name)) for name, module in leaves]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(images)
    finally:
        network.train(training)
        for each in hooks:
            each.remove()
    return found


@dataclass(frozen=True)
class Part:
    """Images that go through the network in one step of training, and what becomes of them.

    what: in words.
    images: how many, in all tasks and inner steps.
    order: 0 forward alone, 1 with a gradient, 2 with a gradient that is differentiated.
    runs: how often the network is called for them.
    waiting: how many of them wait for the way back at the same time.
    """

    what: str
    images: int
    order: int
    runs: int
    waiting: int


def parts(settings: Settings, net: nn.Module) -> list[Part]:
    """What a learner sends through its network in one step.

    settings: of the training.
    net: the learner.
    """
    tasks, support = settings.tasks, settings.ways * settings.shots
    asked = support + settings.ways * settings.queries  # the support set goes along: its statistics count
    if not isinstance(net, InnerLoop):
        return [Part("support and query", tasks * asked, 1, 1, tasks * asked)]
    steps, at_once = settings.inner_steps or 0, min(tasks, net.network_per_task.at_once)
    groups = math.ceil(tasks / at_once)
    if isinstance(net, Reptile):
        batch = min(net.batch, asked)
        return [Part("minibatches", tasks * steps * batch, 1, groups * steps, at_once * batch)]
    query = Part("support and query, after the inner steps", tasks * asked, 1, groups, at_once * asked)
    known = Part("support", tasks * support, 1, groups, at_once * support)
    if settings.learner == "anil":  # the inner steps change the head alone
        return [replace(known, what="support, once"), query]
    order = 1 if isinstance(net, MAML) and net.first_order else 2
    waiting = at_once * support * (steps if order == 2 else 0)
    inner = Part("support, in the inner steps", tasks * support * steps, order, groups * steps, waiting)
    first = [replace(known, what="support, for prototypes")] if settings.learner == "protomaml" else []
    return [*first, inner, query]


@dataclass(frozen=True)
class Count:
    """What one step of a training does.

    layers: of the network.
    parts: what goes through it.
    products: operations, of all convolutions and linear layers.
    moved: numbers that the layers between the products read and write.
    calls: of layers.
    pictures: numbers in the images that are drawn and augmented, and three more for each pixel: where it comes from,
        and whether it is erased.
    kept: bytes that wait for the way back, at most.
    held: bytes of weights, gradients, moments and averages, and of every task's own weights.
    """

    layers: tuple[Layer, ...]
    parts: tuple[Part, ...]
    products: int
    moved: int
    calls: int
    pictures: int
    kept: int
    held: int


def count(settings: Settings, shape: Shape, people: int = 100) -> Count:
    """Count what one step of a training does.

    settings: of the training.
    shape: of an image: channels, height, width.
    people: the base people; only pre-training and margin losses have weights for each. 100.
    Raises `MetaFaceError` as `make_learner` does.
    """
    plain = replace(settings, learner="maml") if settings.learner == "learn2learn" else settings
    net = make_learner(plain, shape, torch.arange(people))
    network = cast(nn.Module, net.network if isinstance(net, InnerLoop) else getattr(net, "embedding"))  # noqa: B009
    through, pieces = layers(network, shape), parts(settings, net)
    if settings.learner == "learn2learn":  # task by task
        one = settings.tasks
        pieces = [replace(part, runs=part.runs * one, waiting=math.ceil(part.waiting / one)) for part in pieces]
    asked = settings.ways * (settings.shots + settings.queries) * settings.tasks
    numbers = sum(weight.numel() for weight in net.parameters())
    at_once = min(settings.tasks, net.network_per_task.at_once) if isinstance(net, InnerLoop) else 0
    deep = max((part.order for part in pieces), default=1) == 2
    maps = sum(layer.kept for layer in through)
    return Count(
        layers=tuple(through),
        parts=tuple(pieces),
        products=sum(
            part.images * layer.products * (OF_DATA if layer.sees_data else PRODUCTS)[part.order]
            for part in pieces
            for layer in through
        ),
        moved=sum(
            part.images * layer.moved * MOVED[part.order] for part in pieces for layer in through if not layer.products
        ),
        calls=sum(part.runs * PRODUCTS[part.order] for part in pieces) * len(through),
        pictures=asked * (shape[0] + 3) * shape[1] * shape[2],
        kept=FLOAT * maps * sum(part.waiting * KEPT[part.order] for part in pieces)
        + FLOAT * 4 * asked * math.prod(shape),
        held=FLOAT * numbers * (5 + at_once * (2 + 3 * (settings.inner_steps or 0) * deep)),
    )


# -------------------------------------------------------------------------------------------------------------- machine


@dataclass(frozen=True)
class Machine:
    """What a processor needs for the smallest pieces of work, in seconds.

    name: of the processor, and its threads.
    products: for an operation of a convolution.
    moved: for a number that a layer reads or writes.
    calls: for a call of a small operation, with its gradient.
    """

    name: str
    products: float
    moved: float
    calls: float


def calibrate(clock: Callable[[], float] = time.perf_counter, rounds: int = 7) -> Machine:
    """Measure this machine, in about a second: the fastest of some rounds, which other programs have disturbed least.

    clock: seconds; `time.process_time` where others compute as well.
    rounds: how many. 7.
    """
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn((40, 32, 32, 32), generator=generator).contiguous(memory_format=torch.channels_last)
    filters = torch.randn((32, 32, 3, 3), generator=generator).contiguous(memory_format=torch.channels_last)
    filters.requires_grad_()
    small = torch.zeros(16, requires_grad=True)

    def convolve() -> None:
        F.conv2d(maps, filters, padding=1).sum().backward()

    def normalise() -> None:
        torch.relu(F.batch_norm(maps, None, None, training=True))

    def call() -> None:
        for _ in range(100):
            (small * small).sum().backward()

    def fastest(work: Callable[[], None]) -> float:
        work()  # what is done once only
        found = []
        for _ in range(rounds):
            start = clock()
            work()
            found.append(clock() - start)
        return max(min(found), 1e-9)

    return Machine(
        name=device_name(),
        products=fastest(convolve) / (2 * 2 * 9 * 32 * maps.numel()),  # forward, and the gradient of the filters
        moved=fastest(normalise) / (4 * maps.numel()),  # two layers, each reads and writes
        calls=fastest(call) / 300,  # two operations forward, and about one each back
    )


def this_machine(again: bool = False) -> Machine:
    """This machine, measured once and then kept in the cache.

    again: measure again. False.
    """
    file, about = cache_dir() / "machine.json", {"name": device_name(), "torch": str(torch.__version__)}
    with suppress(OSError, ValueError, TypeError, KeyError):  # it is not there, or not ours
        kept = dict(json.loads(file.read_text(encoding="utf-8")))
        if not again and kept.items() >= about.items():
            return Machine(**{each.name: kept[each.name] for each in fields(Machine)})
    machine = calibrate()
    with suppress(OSError):  # a cache is a convenience
        write_atomically(file, json.dumps(asdict(machine) | about).encode())
    return machine


# ----------------------------------------------------------------------------------------------------------- prediction


@dataclass(frozen=True)
class Prediction:
    """What a training will cost.

    seconds: of one step.
    megabytes: that training adds to the process, at its peak.
    seconds_within, megabytes_within: the factor within which nine of ten settings were, of those that the constants
        were not fitted to.
    """

    seconds: float
    megabytes: float
    seconds_within: float
    megabytes_within: float

    def text(self, steps: int | None, limit: float | None) -> str:
        """One line.

        steps: of the training; None for no limit.
        limit: seconds of the training; None for no limit.
        """

        def between(value: float, within: float) -> str:
            return f"{_short(value)} ({_short(value / within)} to {_short(value * within)})"

        bytes_ = f"{between(self.megabytes, self.megabytes_within)} MB"
        if steps is not None and (limit is None or steps * self.seconds <= limit):
            return f"about {between(steps * self.seconds, self.seconds_within)} s for {steps} steps, {bytes_} of memory"
        assert limit is not None
        return f"about {between(limit / self.seconds, self.seconds_within)} steps in {limit:g} s, {bytes_} of memory"


def _short(value: float) -> str:
    """Two digits that count: 0.12, 1.2, 12, 120."""
    if value <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(value))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def features(counted: Count, machine: Machine) -> dict[str, float]:
    """The seconds of each kind of work if each of its pieces took what it takes in `calibrate`: see `CONSTANTS`."""
    return {
        "products": counted.products * machine.products,
        "moved": counted.moved * machine.moved,
        "calls": counted.calls * machine.calls,
        "pictures": counted.pictures * machine.moved,
        "kept": counted.kept / FLOAT * machine.moved,
    }


def predict(counted: Count, machine: Machine, fitted: Mapping[str, Any]) -> Prediction:
    """What a step costs on a machine: each kind of work times its constant.

    counted: the work.
    machine: what does it.
    fitted: "seconds", a constant for each of `CONSTANTS`; "megabytes", constants for "kept", "held" and "fixed"; and
        "within", the factor of each of the two; as `experiments.cost` stores them.
    """
    work = features(counted, machine)
    memory = {"kept": counted.kept / 2**20, "held": counted.held / 2**20, "fixed": 1.0}
    return Prediction(
        seconds=sum(fitted["seconds"][name] * value for name, value in work.items()),
        megabytes=sum(fitted["megabytes"][name] * value for name, value in memory.items()),
        seconds_within=fitted["within"]["seconds"],
        megabytes_within=fitted["within"]["megabytes"],
    )
