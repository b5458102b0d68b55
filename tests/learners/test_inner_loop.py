"""The frame of MAML and Reptile: how networks run for many tasks, what a learner predicts, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.inner_loop import AllAtOnce, HeadOnly, InnerLoop, OneByOne, TaskNetwork, plain
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.maml_plus_plus import MAMLPlusPlus
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.reptile import Reptile
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.sinusoids import SinusoidSampler, regressor
from tests.helpers import random_faces

FACES = random_faces(people=12, each=8)


def classifier(norm: str = "task", ways: int = 4, seed: int = 0) -> Classifier:
    embedding = Conv4(1, 16, 8, depth=2, norm=norm, seed=seed)
    return Classifier(embedding, embedding.features, ways, seed=seed).double()


def images(tasks: int = 3, seed: int = 1) -> Episodes:
    return EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=seed).sample(tasks)


def perceptron() -> Classifier:
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.Tanh()), features=6, ways=4).double()


def perturbed(run: TaskNetwork, tasks: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        name: w.detach() + 0.1 * torch.randn((tasks, *w.shape), generator=generator, dtype=w.dtype)
        for name, w in run.adapted.named_parameters()
    }


@pytest.mark.parametrize(
    "run", [OneByOne(classifier()), AllAtOnce(perceptron()), HeadOnly(classifier())], ids=lambda run: run.name
)
def test_each_task_is_run_with_its_own_weights(run: TaskNetwork) -> None:
    x = images().support.x.double()
    weights = perturbed(run, tasks=3)
    outputs = run(weights, run.prepare(x))
    for t in range(3):
        own = {name: w[t] for name, w in weights.items()}
        inputs = run.embedding(x[t]) if isinstance(run, HeadOnly) else x[t]
        assert torch.allclose(outputs[t], functional_call(run.adapted, own, (inputs,)), rtol=0, atol=1e-13)
    assert outputs.std(dim=0).min() > 0  # the tasks differ


def test_networks_of_linear_layers_run_all_at_once() -> None:
    assert plain(regressor()).name == plain(perceptron()).name == "all at once"
    for network in (classifier("task"), classifier("group"), classifier("none"), nn.Sequential(nn.LayerNorm(3))):
        assert plain(network).name == "one by one"


def test_the_start_is_the_slow_weights_for_every_task() -> None:
    net = MAML(classifier())
    start = net.start(images(tasks=3).support)
    assert all(torch.equal(start[name], torch.stack([w] * 3)) for name, w in net.network.named_parameters())
    sum(w.sum() for w in start.values()).backward()
    assert all((w.grad == 3).all() for w in net.network.parameters())


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_adaptation_is_gradient_descent_on_the_support_set(adapt: str) -> None:
    net, episodes = MAML(classifier(), test_steps=3, inner_rate=0.1, adapt=adapt, transductive=True), images()
    before = deepcopy(net.state_dict())
    with torch.no_grad():
        outputs = net.adapt(episodes.support).predict(episodes.query.x)
    assert all(torch.equal(before[name], w) for name, w in net.state_dict().items())
    assert all(w.grad is None for w in net.parameters())
    for t in range(3):
        network = deepcopy(net.network)
        descent = torch.optim.SGD((network if adapt == "all" else network.head).parameters(), lr=0.1)
        for _ in range(3):
            descent.zero_grad()
            F.cross_entropy(network(episodes.support.x[t]), episodes.support.y[t]).backward()
            descent.step()
        assert torch.allclose(outputs[t], network(episodes.query.x[t]), rtol=0, atol=1e-13)


def test_a_trajectory_tells_loss_and_accuracy_before_and_after_every_step() -> None:
    net, episodes = MAML(classifier(), test_steps=3, inner_rate=0.2), images()
    seen = net.trajectory(episodes)
    for steps in range(4):
        net.test_steps = steps
        learner = net.adapt(episodes.support)
        known, asked = learner.predict(episodes.support.x), learner.predict(episodes.query.x)
        for outputs, y, loss, accuracy in (
            (known, episodes.support.y, seen.support_loss, seen.support_accuracy),
            (asked, episodes.query.y, seen.query_loss, seen.query_accuracy),
        ):
            assert loss.shape == accuracy.shape == (3, 4)
            for t in range(3):
                assert loss[t, steps].item() == pytest.approx(F.cross_entropy(outputs[t], y[t]).item(), abs=1e-12)
                right = (outputs[t].argmax(-1) == y[t]).double().mean().item()
                assert accuracy[t, steps].item() == pytest.approx(right)
    assert (seen.support_loss.diff(dim=1) < 0).all()
    assert torch.equal(net.trajectory(episodes, steps=2).query_loss, seen.query_loss[:, :3])


def test_what_is_no_label_has_no_accuracy() -> None:
    net = MAML(regressor(), loss=F.mse_loss, test_steps=2, inner_rate=0.01)
    episodes = SinusoidSampler(10, 5).sample(3)
    seen = net.trajectory(episodes)
    assert seen.query_accuracy.isnan().all()
    assert torch.isnan(torch.tensor(net.meta_gradient(episodes)["accuracy"]))
    assert (seen.support_loss[:, -1] < seen.support_loss[:, 0]).all()
    assert net.adapt(episodes.support).predict(episodes.query.x).shape == (3, 5, 1)


# ------------------------------------------------------------------------------------------- the numbers of the labels

ADAPTED: dict[str, Callable[[Classifier], InnerLoop]] = {
    "MAML": lambda network: MAML(network, test_steps=3),
    "FOMAML": lambda network: MAML(network, test_steps=3, first_order=True),
    "ANIL": lambda network: MAML(network, test_steps=3, adapt="head"),
    "Meta-SGD": lambda network: MAML(network, test_steps=3, rates="layer"),
    "MAML++": lambda network: MAMLPlusPlus(network, steps=3, rates="step", step_affine=True, step_statistics=True),
    "Reptile": lambda network: Reptile(network, test_steps=3, batch=4, optimiser="sgd", inner_rate=0.1),
    "Reptile with Adam": lambda network: Reptile(network, test_steps=3, batch=4, inner_rate=0.01),
}


def renumbered(net: InnerLoop, ways: int = 5) -> Tensor:
    """By how much a task's outputs for each person differ between the N! numberings of its labels: `[N!]`."""
    episodes = EpisodeSampler(FACES, ways, shots=2, queries=1, seed=1).sample(1)
    numbers = torch.tensor(list(permutations(range(ways))))  # person n gets label numbers[i, n]
    together = 1 if isinstance(net, Reptile) else len(numbers)  # each task of a call has minibatches of its own
    outputs = torch.cat(
        [
            net.adapt(Examples(episodes.support.x.expand(together, *[-1] * 4), some[:, episodes.support.y[0]])).predict(
                episodes.query.x.expand(together, *[-1] * 4)
            )
            for some in numbers.split(together)
        ]
    )  # [N!, Q, N]
    of_people = outputs.gather(2, numbers[:, None].expand_as(outputs))
    return (of_people - of_people[0]).abs().amax((1, 2))


@pytest.mark.parametrize("kind", ADAPTED)
def test_a_head_of_equal_rows_does_not_see_the_numbers_of_the_labels(kind: str) -> None:
    """The proof is in the docstring of `inner_loop`. All 120 numberings of five people."""
    network = classifier(ways=5)
    differ = renumbered(ADAPTED[kind](network))
    assert len(differ) == 120
    assert (differ[1:] > 1e-3).all(), "a random head sees them"
    for row in (torch.zeros_like(network.head.weight[0]), network.head.weight[0].detach().clone()):
        network.head.weight.data, network.head.bias.data = row.expand(5, -1).clone(), network.head.bias[:1].repeat(5)
        assert (renumbered(ADAPTED[kind](network)) < 1e-8).all(), "Adam makes rounding errors larger, to 1e-10"


def test_a_head_of_prototypes_does_not_see_the_numbers_of_the_labels() -> None:
    """Its rows are unlike, but they are permuted with the labels."""
    embedding = classifier().embedding
    net = ProtoMAML(embedding, embedding.features, test_steps=3, temperature=10.0)
    assert (renumbered(net) < 1e-11).all()


@pytest.mark.parametrize("kind", ["MAML", "ANIL", "MAML++"])
def test_the_meta_gradient_of_a_head_of_zeros_is_permuted_with_the_labels(kind: str) -> None:
    episodes, found, order = images(), [], torch.tensor([2, 0, 3, 1])
    support, query = (Examples(part.x, order[part.y]) for part in (episodes.support, episodes.query))
    for tasks in (episodes, replace(episodes, support=support, query=query)):
        network = classifier()
        for parameter in network.head.parameters():
            nn.init.zeros_(parameter)
        ADAPTED[kind](network).meta_gradient(tasks)
        found.append({name: w.grad for name, w in network.named_parameters() if w.grad is not None})
    for name, gradient in found[0].items():
        other = found[1][name][order] if name.startswith("head") else found[1][name]
        assert torch.allclose(gradient, other, rtol=0, atol=1e-12)
        assert gradient.abs().max() > 1e-6


# ----------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("adapt", ["all", "head"])
@pytest.mark.parametrize("norm", ["task", "group"])
def test_unless_transductive_a_query_is_judged_by_itself(norm: str, adapt: str) -> None:
    episodes = images()
    for transductive in (False, True):
        net = MAML(classifier(norm), test_steps=2, inner_rate=0.1, adapt=adapt, transductive=transductive)
        learner = net.adapt(episodes.support)
        together, alone = learner.predict(episodes.query.x)[:, :1], learner.predict(episodes.query.x[:, :1])
        assert torch.allclose(together, alone, rtol=0, atol=1e-12) != (transductive and norm == "task")


def test_the_meta_gradient_sees_the_statistics_that_a_learner_will_see() -> None:
    episodes = images()
    for transductive in (False, True):
        net = MAML(classifier(), steps=2, inner_rate=0.1, transductive=transductive)
        outputs = net.adapt(episodes.support).predict(episodes.query.x)
        loss = F.cross_entropy(outputs.flatten(0, 1), episodes.query.y.flatten()).item()
        assert net.meta_gradient(episodes)["loss"] == pytest.approx(loss, abs=1e-12)
        assert net.trajectory(episodes, 2).query_loss[:, -1].mean().item() == pytest.approx(loss, abs=1e-12)


# ------------------------------------------------------------------------ weights: kept, copied, fixed, and by any name


class Unlayered(nn.Module):
    """Its weights hang on the network itself, one of them under two names, and one is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.theta, self.scale = nn.Parameter(torch.full((2, 1), 0.5)), nn.Parameter(torch.tensor(2.0))
        self.tied = self.theta

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x @ self.theta + self.tied.sum()


def test_weights_may_have_any_name_and_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 5, 2, generator=generator).double(), torch.randn(3, 5, 1, generator=generator).double()
    net = MAML(Unlayered().double(), steps=2, inner_rate=0.05, loss=F.mse_loss)
    assert net.layers == [""]
    net.meta_gradient(Episodes(Examples(x, y), Examples(x, y), torch.zeros(3, 0)))

    theta, scale = (w.detach().clone().requires_grad_() for w in (net.network.theta, net.network.scale))
    total = torch.zeros(())
    for t in range(3):
        a, b = theta, scale
        for _ in range(2):
            loss = F.mse_loss(b * x[t] @ a + a.sum(), y[t])
            da, db = torch.autograd.grad(loss, (a, b), create_graph=True)
            a, b = a - 0.05 * da, b - 0.05 * db
        total = total + F.mse_loss(b * x[t] @ a + a.sum(), y[t]) / 3
    total.backward()
    assert torch.allclose(net.network.theta.grad, theta.grad, rtol=0, atol=1e-14)
    assert torch.allclose(net.network.scale.grad, scale.grad, rtol=0, atol=1e-14)


def test_weights_that_require_no_gradient_stay_fixed() -> None:
    network, episodes = classifier(), images()
    network.embedding.requires_grad_(False)
    net = MAML(network, steps=2, inner_rate=0.1)
    scores = net.meta_gradient(episodes)
    assert set(net.adapt(episodes.support).weights) == {"head.weight", "head.bias"}
    gradient = network.head.weight.grad.clone()

    same = MAML(classifier(), steps=2, inner_rate=0.1, adapt="head")
    assert same.meta_gradient(episodes)["loss"] == pytest.approx(scores["loss"], abs=1e-13)
    assert torch.allclose(same.network.head.weight.grad, gradient, rtol=0, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"adapt": "head"}, {"rates": "layer"}])
def test_weights_are_stored_and_loaded(options: dict) -> None:
    net, other = (MAML(classifier(seed=seed), inner_rate=0.1 + seed, **options) for seed in (0, 1))
    episodes = images()
    wanted = net.adapt(episodes.support).predict(episodes.query.x)
    assert not torch.equal(other.adapt(episodes.support).predict(episodes.query.x), wanted)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.adapt(episodes.support).predict(episodes.query.x), wanted)


@pytest.mark.parametrize("options", [{}, {"adapt": "head"}, {"rates": "layer"}])
def test_a_copy_has_weights_of_its_own(options: dict) -> None:
    """As in `meta_train`, where the average of the weights is a deep copy."""
    net, episodes = MAML(classifier(), inner_rate=0.1, **options), images()
    copy = AveragedModel(net).module
    wanted = copy.adapt(episodes.support).predict(episodes.query.x)
    with torch.no_grad():
        for w in net.network.parameters():
            w.mul_(2)
    assert torch.equal(copy.adapt(episodes.support).predict(episodes.query.x), wanted)
    with torch.no_grad():
        for w in copy.network.parameters():
            w.mul_(2)
    again = copy.adapt(episodes.support).predict(episodes.query.x)
    assert torch.equal(again, net.adapt(episodes.support).predict(episodes.query.x))
    assert not torch.equal(again, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_computes_in_the_precision_of_the_network(dtype: torch.dtype) -> None:
    net, episodes = MAML(classifier().to(dtype)), images()
    net.meta_gradient(episodes)
    assert net.network.head.weight.grad.dtype == net.rates.dtype == dtype
    assert net.adapt(episodes.support).predict(episodes.query.x).dtype == dtype


def test_the_meta_gradient_reaches_the_embedding_through_the_head() -> None:
    for adapt in ("all", "head"):
        net = MAML(classifier(), steps=1, adapt=adapt)
        net.meta_gradient(images())
        assert all(w.grad.abs().max() > 0 for w in net.network.embedding.parameters())


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(0.5), r"dropout \('embedding.0', p = 0.5\).*Leave dropout out"),
        (nn.AlphaDropout(0.1), "has dropout"),
        (nn.BatchNorm1d(3), r"batch normalisation \('embedding.0'\).*running averages.*networks.TaskNorm"),
        (nn.BatchNorm1d(3, track_running_stats=False), "queries would be judged together"),
    ],
)
def test_networks_that_do_not_compute_the_same_twice_are_refused(layer: nn.Module, message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        MAML(Classifier(nn.Sequential(layer), features=3, ways=2))


def test_a_network_with_nothing_to_adapt_is_refused() -> None:
    for network in (nn.Sequential(nn.Flatten()), regressor().requires_grad_(False)):
        with pytest.raises(MetaFaceError, match="nothing to adapt"):
            MAML(network)
    MAML(Classifier(nn.Sequential(nn.Dropout(0.0)), features=3, ways=2))  # it drops nothing


@pytest.mark.parametrize("ways", [3, 5])
def test_a_head_that_does_not_match_the_ways_is_refused(ways: int) -> None:
    net = MAML(classifier(ways=ways))
    message = rf"head has {ways} outputs, but the episodes have 4 ways.*0 to 3.*ways=4, or sample {ways}-way episodes"
    for use in (net.meta_gradient, net.trajectory, lambda episodes: net.adapt(episodes.support)):
        with pytest.raises(MetaFaceError, match=message):
            use(images())


def test_a_support_set_without_every_class_is_refused() -> None:
    episodes = images()
    y = episodes.support.y.clone()
    y[1, y[1] == 2] = 3
    incomplete = Episodes(Examples(episodes.support.x, y), episodes.query, episodes.identities)
    net = MAML(classifier())
    for use in (net.meta_gradient, net.trajectory, lambda episodes: net.adapt(episodes.support)):
        with pytest.raises(MetaFaceError, match=r"task 1 has no example of class 2.*Every label 0 to 3"):
            use(incomplete)


@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_many_tasks_are_adapted_and_asked_in_parts(
    transductive: bool, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large as the memory of `run` allows, and with the same outputs as each task by itself."""
    net = MAML(classifier().double(), steps=1, inner_rate=0.5, transductive=transductive, fast=fast)
    tasks = images(tasks=5)
    alone = [net.adapt(task.support).predict(task.query.x)[0] for task in tasks.split(1)]
    monkeypatch.setattr(type(net.network_per_task), "at_once", 2)
    prepare, together = net.network_per_task.prepare, []
    monkeypatch.setattr(net.network_per_task, "prepare", lambda x: together.append(len(x)) or prepare(x))
    learner = net.adapt(tasks.support)
    assert together == [2, 2, 1]
    torch.testing.assert_close(learner.predict(tasks.query.x), torch.stack(alone), rtol=0, atol=1e-9)
    assert together == [2, 2, 1] * 2


# ----------------------------------------------------------------------------------- networks of hidden state or chance


def network(*layers: nn.Module) -> Classifier:
    return Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), *layers, nn.Flatten()), features=4 * 14**2, ways=4)


class Chance(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.2, self.training)


class Count(nn.Module):
    """Counts its calls, and does nothing with the number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x


def spectral() -> nn.Module:
    return nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))


def old_spectral() -> nn.Module:
    return nn.utils.spectral_norm(nn.Conv2d(4, 4, 1))


def attention() -> nn.Module:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.MultiheadAttention(14, 2, dropout=0.5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            rows = x.flatten(0, 1)
            return self.inside(rows, rows, rows)[0].view_as(x)

    return Attention()


LEARNERS = [
    lambda net: MAML(net, steps=1),
    lambda net: MAML(net, steps=1, adapt="head"),
    lambda net: Reptile(net, steps=1),
]


@pytest.mark.parametrize("make", LEARNERS, ids=["maml", "anil", "reptile"])
@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.RReLU, "random slope"),
        (partial(nn.InstanceNorm2d, 4, track_running_stats=True), "running averages"),
        (nn.Dropout2d, "dropout"),
        (partial(nn.BatchNorm2d, 4), "batch normalisation"),
    ],
)
def test_layers_of_chance_or_hidden_state_are_refused_at_once(make: Any, layer: Any, said: str) -> None:
    with pytest.raises(MetaFaceError, match=said):
        make(network(layer()))


@pytest.mark.parametrize("make", LEARNERS, ids=["maml", "anil", "reptile"])
@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Chance, "two calls on the same inputs differ"),
        (attention, "two calls on the same inputs differ"),
        (nn.FractionalMaxPool2d, "two calls on the same inputs differ"),
        (Count, r"buffer 'embedding.1.calls'"),
        (spectral, "buffer 'embedding.1.parametrizations.weight.0._"),
        (old_spectral, "buffer 'embedding.1.weight_"),
    ],
)
def test_other_chance_and_hidden_state_are_refused_with_the_first_episode(make: Any, layer: Any, said: str) -> None:
    layers = [layer(3, output_size=14)] if layer is nn.FractionalMaxPool2d else [layer()]
    if layer is nn.FractionalMaxPool2d:
        layers.insert(0, nn.ZeroPad2d(4))
    net = make(network(*layers))
    for parameter in net.network.head.parameters():
        nn.init.zeros_(parameter)  # as the course's own learners begin: nothing of the embedding is seen
    drawn = images(1)
    support, query = (Examples(part.x / 255, part.y) for part in (drawn.support, drawn.query))
    episodes = replace(drawn, support=support, query=query)
    before = {name: value.clone() for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    stream = torch.get_rng_state()
    with pytest.raises(MetaFaceError, match=said):
        net.meta_gradient(episodes)
    net.eval()
    with pytest.raises(MetaFaceError, match=said):
        net.adapt(episodes.support)
    assert not net.training
    assert not any(module.training for module in net.modules())
    assert torch.equal(stream, torch.get_rng_state())
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(
    "layer", [partial(nn.InstanceNorm2d, 4), partial(nn.GroupNorm, 2, 4), partial(nn.Dropout, 0.0)]
)
def test_layers_that_compute_the_same_twice_are_taken(layer: Any) -> None:
    episodes = EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=1).sample(2)
    net = MAML(nn.Sequential(Standardise(), network(layer())), steps=1)
    assert net.meta_gradient(episodes)["loss"] > 0
    assert net._repeats


class Standardise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float() / 255


# ------------------------------------------------------------------------------------------- weights without a gradient


class OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = perceptron()

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x.double())


class TwoHeads(OneHead):
    """Has a second head, which no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(6, 2).double()


@pytest.mark.parametrize(
    "make",
    [
        lambda net: MAML(net, steps=2, rates="parameter"),
        lambda net: MAML(net, steps=2, first_order=True),
        lambda net: Reptile(net, steps=2),
        lambda net: Reptile(net, steps=2, optimiser="sgd"),
    ],
    ids=["second order", "first order", "adam", "sgd"],
)
def test_weights_that_the_loss_does_not_use_are_left_alone(make: Any) -> None:
    net, alone = make(TwoHeads()), make(OneHead())
    net.network.load_state_dict(alone.network.state_dict(), strict=False)
    episodes = images(2)
    with_second, without = (learner.meta_gradient(episodes) for learner in (net, alone))
    assert with_second == without
    for name, w in alone.network.named_parameters():
        assert torch.equal(net.network.get_parameter(name).grad, w.grad)
    for w in net.network.second.parameters():
        assert w.grad is None or not w.grad.any()
    adapted = net.adapt(episodes.support)
    assert torch.equal(adapted.weights["second.weight"][0], net.network.second.weight)


def test_a_loss_that_uses_no_weight_says_so() -> None:
    class Cut(OneHead):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    for net in (MAML(Cut(), steps=1), Reptile(Cut(), steps=1)):
        with pytest.raises(MetaFaceError, match=r"depends on none of the weights .*first.head.weight"):
            net.meta_gradient(images(1))


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_a_head_that_is_frozen_later_stays_as_it_is(adapt: str) -> None:
    net = MAML(classifier(), steps=1, adapt=adapt)
    episodes = images(2)
    net.network.head.requires_grad_(False)
    if adapt == "head":
        with pytest.raises(MetaFaceError, match="nothing to adapt"):
            net.adapt(episodes.support)
        return
    learner = net.adapt(episodes.support)
    assert "head.weight" not in learner.weights
    assert net.meta_gradient(episodes)["loss"] > 0
    assert net.network.head.weight.grad is None
    assert net.formulation == "one by one"

    frozen = classifier()
    frozen.head.requires_grad_(False)
    net = MAML(frozen, steps=1)
    frozen.head.requires_grad_(True)
    with pytest.raises(MetaFaceError, match=r"'head\.weight' did not require gradients"):
        net.meta_gradient(episodes)
