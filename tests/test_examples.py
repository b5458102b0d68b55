"""The programs in examples/ compute what the package computes, with all numbers in float64."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.evaluation import evaluate
from metaface_lessons.faces import FaceSet
from metaface_lessons.learners.base import MetaLearner
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.learners.reptile import Reptile
from tests.helpers import random_faces

FOLDER = Path(__file__).parents[1] / "examples"
NAMES = ("protonet", "maml", "reptile")
STEPS, RATE, REPTILE_STEPS, REPTILE_RATE = 2, 0.2, 8, 0.1  # as the programs have them


def load(name: str) -> ModuleType:
    """A program as a module. By its path: other people's packages are called `examples`, too."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=NAMES)
def program(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)


@pytest.fixture(scope="module")
def protonet() -> ModuleType:
    return load("protonet")


@pytest.fixture(scope="module")
def maml() -> ModuleType:
    return load("maml")


@pytest.fixture(scope="module")
def reptile() -> ModuleType:
    return load("reptile")


def exact(episodes: Episodes) -> Episodes:
    """The same, with images from 0 to 1 in float64, which is what the programs hand to their networks."""
    support, query = (Examples(part.x.double() / 255, part.y) for part in (episodes.support, episodes.query))
    return Episodes(support, query, episodes.identities)


def each(episodes: Episodes) -> list[tuple[Examples, Examples]]:
    """The support set and the query set of each task."""
    parts = zip(*episodes.support, *episodes.query, strict=True)
    return [(Examples(x, y), Examples(query_x, query_y)) for x, y, query_x, query_y in parts]


def episodes_of(ways: int, shots: int, queries: int, tasks: int = 3) -> Episodes:
    faces = random_faces(people=8, each=6, size=32, channels=3)
    return exact(EpisodeSampler(faces, ways, shots, queries, seed=2).sample(tasks))


def network_of(program: ModuleType, outputs: int) -> nn.Module:
    torch.manual_seed(4)
    return program.conv4(outputs).double()


def gradients(network: nn.Module) -> dict[str, Tensor]:
    found = {name: w.grad for name, w in network.named_parameters() if w.grad is not None}
    network.zero_grad()
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert any(value.abs().max() > 1e-4 for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")


def test_protonet_has_the_packages_loss_gradient_and_answers(protonet: ModuleType) -> None:
    network, episodes = network_of(protonet, 64), episodes_of(5, 2, 3)
    package = ProtoNet(network)
    scores = package.meta_gradient(episodes)
    expected = gradients(network)
    loss = torch.stack([protonet.query_loss(network, *task) for task in each(episodes)]).mean()
    loss.backward()
    assert loss.item() == pytest.approx(scores["loss"], rel=1e-12)
    assert_same(gradients(network), expected)
    logits = package.adapt(episodes.support).predict(episodes.query.x)
    for (support, query), answer in zip(each(episodes), logits, strict=True):
        torch.testing.assert_close(protonet.recognise(network, support, query.x), answer)


def test_maml_has_the_packages_loss_gradient_and_answers(maml: ModuleType) -> None:
    network, episodes = network_of(maml, 5), episodes_of(5, 2, 3)
    package = MAML(network, steps=STEPS, inner_rate=RATE)
    scores = package.meta_gradient(episodes)
    expected = gradients(network)
    loss = torch.stack([maml.query_loss(network, *task) for task in each(episodes)]).mean()
    loss.backward()
    assert loss.item() == pytest.approx(scores["loss"], rel=1e-12)
    assert_same(gradients(network), expected)
    logits = package.adapt(episodes.support).predict(episodes.query.x)
    for (support, query), answer in zip(each(episodes), logits, strict=True):
        torch.testing.assert_close(maml.recognise(network, support, query.x), answer)


def test_maml_without_a_graph_has_the_first_order_gradient(maml: ModuleType) -> None:
    network, episodes = network_of(maml, 5), episodes_of(5, 2, 3)
    MAML(network, steps=STEPS, inner_rate=RATE, first_order=True).meta_gradient(episodes)
    expected = gradients(network)
    losses = [F.cross_entropy(maml.recognise(network, support, query.x), query.y) for support, query in each(episodes)]
    torch.stack(losses).mean().backward()
    assert_same(gradients(network), expected)


def test_reptile_takes_the_packages_step_and_has_its_answers(
    reptile: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, episodes = network_of(reptile, 5), episodes_of(5, 2, 3, tasks=1)
    ((support, query),) = each(episodes)
    x, y = torch.cat([support.x, query.x]), torch.cat([support.y, query.y])
    order = torch.stack([torch.randperm(len(y))[:10] for _ in range(REPTILE_STEPS)])
    package = Reptile(network, steps=REPTILE_STEPS, inner_rate=REPTILE_RATE, optimiser="sgd", test_steps=REPTILE_STEPS)

    logits = package.adapt(episodes.support).predict(episodes.query.x)  # 10 images: all are in every minibatch
    torch.testing.assert_close(reptile.recognise(network, support, query.x), logits[0])

    before = {name: w.detach().clone() for name, w in network.named_parameters()}
    with monkeypatch.context() as same:
        same.setattr(Reptile, "minibatches", lambda *_: order[None])
        package.meta_gradient(episodes)
    package.optimiser(rate=0.5).step()
    expected = {name: w.detach() - before[name] for name, w in network.named_parameters()}

    network.load_state_dict(before)
    phi = reptile.adapt(network, [Examples(x[rows], y[rows]) for rows in order])
    reptile.outer_step(network, phi, rate=0.5)
    assert_same({name: w.detach() - before[name] for name, w in network.named_parameters()}, expected)


class Scaled(nn.Module):
    """Hands pixels from 0 to 1 to a network, as the programs do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x / 255)


def confusing_faces() -> FaceSet:
    """Every third image shows somebody else, so that nobody recognises all of them."""
    faces = random_faces(people=34, each=10, size=32, channels=3)
    wrong = faces.identity.clone()
    wrong[::3] = wrong[::3].flip(0)
    return replace(faces, identity=wrong)


# Of each program: the package's learner, its optimiser's rate, and N, K, Q and tasks of a training step.
WHOLE: dict[str, tuple[Callable[[nn.Module], MetaLearner], float, tuple[int, int, int, int]]] = {
    "protonet": (ProtoNet, 3e-3, (20, 1, 4, 1)),
    "maml": (partial(MAML, steps=STEPS, inner_rate=RATE), 3e-3, (5, 2, 3, 4)),
    "reptile": (
        partial(Reptile, steps=REPTILE_STEPS, inner_rate=REPTILE_RATE, optimiser="sgd", test_steps=REPTILE_STEPS),
        1.0,
        (5, 5, 5, 1),
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_program_ends_with_the_packages_weights_and_prints_its_accuracy(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package trains from the same start, on the same episodes, and is evaluated on the same strangers."""
    program, faces = load(name), confusing_faces()
    make, rate, (ways, shots, queries, tasks) = WHOLE[name]
    made: list[nn.Module] = []
    conv4 = program.conv4

    def remembered(outputs: int) -> nn.Module:
        made.append(conv4(outputs))
        return made[-1]

    monkeypatch.setattr(program, "conv4", remembered)
    # The program draws its minibatches from the same stream, but has no passes over the data.
    monkeypatch.setattr(
        Reptile,
        "minibatches",
        lambda self, tasks, examples, steps, _: torch.rand(steps, examples).argsort()[None, :, :10],
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        program.main(faces, steps=3, episodes=25)
        torch.manual_seed(0)
        network = conv4(made[0][-1].out_features)
        if name != "protonet":
            nn.init.zeros_(network[-1].weight)
        base, _, novel = faces.split(seed=0)
        package, sampler = make(Scaled(network)), EpisodeSampler(base, ways, shots, queries, seed=0)
        optimiser = package.optimiser(rate)
        for step in range(3):
            optimiser.param_groups[0]["lr"] = rate * (1 - step / 3) if name == "reptile" else rate
            optimiser.zero_grad()
            package.meta_gradient(sampler.sample(tasks))
            optimiser.step()
        monkeypatch.undo()
        sampler = EpisodeSampler(novel, ways=5, shots=1, queries=5, seed=1)
        found = evaluate({"it": package}, sampler, episodes=25, at_once=25)["it"]
    finally:
        torch.set_default_dtype(default)

    torch.testing.assert_close(dict(made[0].named_parameters()), dict(network.named_parameters()), rtol=1e-6, atol=1e-9)
    *_, last = capsys.readouterr().out.splitlines()
    printed = re.fullmatch(r"5 people never seen, 1 picture of each: (.+)% ± (.+)% right \(chance: 20%\)", last)
    assert printed is not None, last
    percent = [float(number) for number in printed.groups()]
    assert percent == pytest.approx([100 * found.accuracy, 100 * found.ci95_people], abs=0.06)
    assert percent[0] < 90


def test_a_program_is_short_and_takes_faces_and_episodes_alone_from_the_package(program: ModuleType) -> None:
    text = inspect.getsource(program)
    assert len(text.splitlines()) <= 80
    modules = {str(node.module) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert {m for m in modules if m.startswith("metaface")} == {"metaface_lessons.episodes", "metaface_lessons.faces"}
    assert f"python examples/{program.__name__.removeprefix('examples_')}.py" in str(program.__doc__)


@pytest.mark.parametrize("shared", ["conv4", "tasks"])
def test_what_is_not_the_algorithm_is_the_same_in_all(shared: str) -> None:
    assert len({inspect.getsource(getattr(load(name), shared)) for name in NAMES}) == 1


def test_they_are_tested_alike() -> None:
    """From the test's sampler on, `main` is the same text."""
    ends = {inspect.getsource(load(name).main).partition("    test = ")[2] for name in NAMES}
    assert len(ends) == 1
    assert all(ends)
