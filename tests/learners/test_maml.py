"""MAML's meta-gradient, proven in float64: closed forms, finite differences, and learn2learn."""

from __future__ import annotations

import functools
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.learners import learn2learn_library
from metaface_lessons.learners.inner_loop import AllAtOnce, OneByOne
from metaface_lessons.learners.maml import MAML, RATES
from metaface_lessons.networks import Classifier, Conv4, TaskNorm
from metaface_lessons.training import meta_train
from tests.helpers import random_faces
from tests.needs import need

FACES = random_faces(people=12, each=8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=-1).mean() / 2


def linear(features: int) -> nn.Linear:
    return nn.Linear(features, 1, bias=False).double()


def regression(support: Examples, query: Examples | None = None) -> Episodes:
    return Episodes(support, support if query is None else query, torch.zeros((len(support.x), 0), dtype=torch.int64))


def gradients(net: MAML, episodes: Episodes) -> list[Tensor]:
    """The meta-gradient of every parameter that has one."""
    net.zero_grad()
    net.meta_gradient(episodes)
    return [w.grad.clone() for w in net.parameters() if w.grad is not None]


def classifier(norm: str = "task", seed: int = 0) -> Classifier:
    embedding = Conv4(1, 16, 8, depth=2, norm=norm, seed=seed)
    return Classifier(embedding, embedding.features, ways=4, seed=seed).double()


def images(tasks: int = 3, seed: int = 1) -> Episodes:
    return EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=seed).sample(tasks)


# --------------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize(
    ("steps", "first_order", "wanted"),
    [
        (0, False, 0.8),  # ERM: joint training
        (1, False, 0.6400),
        (2, False, 0.4414),
        (5, False, 0.0649),
        (1, True, 0.7273),
        (2, True, 0.6400),
        (5, True, 0.3450),
    ],
)
def test_two_quadratics_lead_to_the_fixed_point(steps: int, first_order: bool, wanted: float) -> None:
    """½a(θ − c)² as a regression: output θ√a, target c√a. With r = (1 − αa)^k, MAML weighs c with a·r², FOMAML a·r."""
    a, c = (torch.tensor(values, dtype=torch.float64) for values in ([1.0, 4.0], [0.0, 1.0]))
    tasks = regression(Examples(a.sqrt().view(2, 1, 1), (a.sqrt() * c).view(2, 1, 1)))
    net = MAML(linear(1), steps=steps, inner_rate=0.1, first_order=first_order, loss=half_square)
    r = (1 - 0.1 * a) ** steps
    weight = a * r * (1 if first_order else r)
    exact = ((weight * c).sum() / weight.sum()).item()
    assert exact == pytest.approx(wanted, abs=5e-5)

    outer = torch.optim.SGD(net.parameters(), lr=1 / weight.mean().item())  # the meta-gradient is linear in θ
    for _ in range(5):
        gradients(net, tasks)
        outer.step()
    assert net.network.weight.item() == pytest.approx(exact, abs=1e-12)


def test_several_dimensions_have_the_fixed_point() -> None:
    """One step on ½(θ − c)ᵀA(θ − c): MAML weighs c with M = (I − αA)A(I − αA), FOMAML with A(I − αA)."""
    x, c, eye = normal(4, 6, 3), normal(4, 3, 1, seed=1), torch.eye(3, dtype=torch.float64)
    a = x.mT @ x / 6
    tasks = regression(Examples(x, x @ c))
    shrink = eye - 0.2 * a
    for first_order, weight in ((False, shrink @ a @ shrink), (True, a @ shrink)):
        exact = torch.linalg.solve(weight.sum(0), (weight @ c).sum(0))
        net = MAML(linear(3), steps=1, inner_rate=0.2, first_order=first_order, loss=half_square)
        net.network.weight.data = exact.T.clone()
        assert gradients(net, tasks)[0].abs().max() < 1e-14
        net.network.weight.data = torch.linalg.solve(a.sum(0), (a @ c).sum(0)).T.contiguous()  # of joint training
        assert gradients(net, tasks)[0].abs().max() > 1e-2


@pytest.mark.parametrize("steps", [1, 5])
def test_linear_regression_has_the_meta_gradient_of_the_formula(steps: int) -> None:
    """(I − αX_SᵀX_S/K)^k · X_Qᵀ(X_Qφ − y_Q)/Q, the mean over tasks."""
    tasks, shots, queries, rate, eye = 3, 5, 7, 0.1, torch.eye(4, dtype=torch.float64)
    support = Examples(normal(tasks, shots, 4), normal(tasks, shots, 1, seed=1))
    query = Examples(normal(tasks, queries, 4, seed=2), normal(tasks, queries, 1, seed=3))
    net = MAML(linear(4), steps=steps, inner_rate=rate, loss=half_square)
    second, first = torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)
    for x, y, x_q, y_q in zip(*support, *query, strict=True):
        phi = net.network.weight.detach().T
        for _ in range(steps):
            phi = phi - rate * x.T @ (x @ phi - y) / shots
        outer = x_q.T @ (x_q @ phi - y_q) / queries
        first += outer / tasks
        second += torch.linalg.matrix_power(eye - rate * x.T @ x / shots, steps) @ outer / tasks
    episodes = regression(support, query)
    assert torch.allclose(gradients(net, episodes)[0].T, second, rtol=0, atol=1e-14)
    net.first_order = True
    assert torch.allclose(gradients(net, episodes)[0].T, first, rtol=0, atol=1e-14)
    assert (first - second).abs().max() > 1e-2 * second.abs().max(), "or one could pass for the other"


def test_a_head_made_of_prototypes_classifies_as_a_prototypical_network() -> None:
    """softmax(−‖f − c‖²) is the linear head with weights 2c and biases −‖c‖²: MAML from there, after 0 steps."""
    from metaface_lessons.learners.protonet import ProtoNet

    network, episodes = classifier("group"), images(tasks=1)
    prototypical = ProtoNet(network.embedding).adapt(episodes.support)
    (centres,) = prototypical.prototypes
    network.head.weight.data, network.head.bias.data = 2 * centres.detach(), -centres.detach().square().sum(-1)
    ours = MAML(network, test_steps=0).adapt(episodes.support).predict(episodes.query.x)
    assert torch.allclose(ours.softmax(-1), prototypical.predict(episodes.query.x).softmax(-1), rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------- finite differences, on smooth networks


def smooth_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh())


def smooth_conv(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), norm, nn.Tanh(), nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Flatten())


SMOOTH = {
    "multilayer perceptron": (smooth_mlp, {}),
    "task norm, transductive": (lambda: smooth_conv(TaskNorm(2)), {"transductive": True}),
    "task norm, support statistics": (lambda: smooth_conv(TaskNorm(2)), {"transductive": False}),
    "group norm": (lambda: smooth_conv(nn.GroupNorm(1, 2)), {}),
    "learned rates": (lambda: smooth_conv(TaskNorm(2)), {"rates": "layer"}),
    "Meta-SGD": (lambda: smooth_conv(TaskNorm(2)), {"rates": "parameter"}),
    "head": (lambda: smooth_conv(TaskNorm(2)), {"adapt": "head"}),
    "head, learned rates": (smooth_mlp, {"adapt": "head", "rates": "layer"}),
    "head, Meta-SGD": (smooth_mlp, {"adapt": "head", "rates": "parameter"}),
}


def smooth(kind: str, steps: int, first_order: bool = False) -> tuple[MAML, Episodes]:
    make, options = SMOOTH[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        embedding = make()
        for parameter in embedding.parameters():
            nn.init.normal_(parameter, std=0.7)
    shape = (2,) if make is smooth_mlp else (1, 4, 4)
    features = 3 if make is smooth_mlp else 2
    y = torch.arange(3).repeat(2, 2)
    episodes = Episodes(
        Examples(normal(2, 6, *shape), y), Examples(normal(2, 6, *shape, seed=1), y), torch.zeros(2, 3).long()
    )
    network = Classifier(embedding, features, ways=3).double()
    return MAML(network, steps=steps, inner_rate=0.4, first_order=first_order, **options), episodes


@functools.cache
def central_differences(kind: str, steps: int, h: float = 1e-5) -> list[Tensor]:
    """The slope of the loss after the inner loop along every parameter, gradients left aside."""
    net, episodes = smooth(kind, steps)
    slopes = []
    for w in net.parameters():
        if w.requires_grad:
            flat, slope = w.data.view(-1), torch.zeros_like(w).view(-1)
            for i, start in enumerate(flat.tolist()):
                values = []
                for moved in (start + h, start - h):
                    flat[i] = moved
                    values.append(net.trajectory(episodes, steps).query_loss[:, -1].mean().item())
                flat[i], slope[i] = start, (values[0] - values[1]) / (2 * h)
            slopes.append(slope.view_as(w))
    assert max(slope.abs().max() for slope in slopes) > 1e-2, "a gradient of zeros proves nothing"
    return slopes


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("kind", SMOOTH)
def test_the_meta_gradient_by_central_differences(kind: str, steps: int) -> None:
    for gradient, slope in zip(gradients(*smooth(kind, steps)), central_differences(kind, steps), strict=True):
        assert (gradient - slope).abs().max() < 1e-7


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("kind", SMOOTH)
def test_the_first_order_gradient_fails_that_test(kind: str, steps: int) -> None:
    first = gradients(*smooth(kind, steps, first_order=True))
    errors = [(a - b).abs().max() for a, b in zip(first, central_differences(kind, steps), strict=True)]
    assert max(errors) > 1e-3


# --------------------------------------------------------------------------------------------------------- formulations


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("kind", ["multilayer perceptron", "regression", "task norm, transductive", "group norm"])
def test_all_at_once_is_as_one_by_one(kind: str, steps: int, first_order: bool) -> None:
    """Also where batch statistics and an adapted affine weight would go wrong with derivatives inside vmap."""
    net, episodes = smooth("multilayer perceptron" if kind == "regression" else kind, steps, first_order)
    if kind == "regression":
        net.loss = half_square
        y = [F.one_hot(examples.y, 3).double() for examples in (episodes.support, episodes.query)]
        episodes = regression(Examples(episodes.support.x, y[0]), Examples(episodes.query.x, y[1]))
    found = []
    for run in (AllAtOnce, OneByOne):
        net.network_per_task = run(net.network)
        found.append(gradients(net, episodes))
    for together, alone in zip(*found, strict=True):
        assert torch.allclose(together, alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_tasks_do_not_depend_on_each_other(adapt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, episodes = MAML(classifier(), steps=2, adapt=adapt), images()
    whole = gradients(net, episodes)
    alone = [gradients(net, part) for part in episodes.split(1)]
    for i, gradient in enumerate(whole):
        assert torch.allclose(gradient, torch.stack([part[i] for part in alone]).mean(0), rtol=0, atol=1e-14)
    monkeypatch.setattr(type(net.network_per_task), "at_once", 2)
    for gradient, same in zip(whole, gradients(net, episodes), strict=True):
        assert torch.allclose(gradient, same, rtol=0, atol=1e-14)


def test_gradients_add_up() -> None:
    net, episodes = MAML(classifier(), steps=1), images()
    once = gradients(net, episodes)
    net.meta_gradient(episodes)
    for gradient, w in zip(once, net.network.parameters(), strict=True):
        assert torch.allclose(2 * gradient, w.grad, rtol=1e-12, atol=1e-15)


# learn2learn


@pytest.fixture(scope="module")
def learn2learn() -> ModuleType:
    need("learn2learn")
    return learn2learn_library.import_learn2learn()


def gradients_of_learn2learn(
    learn2learn: ModuleType, network: Classifier, episodes: Episodes, steps: int, first_order: bool, adapt: str
) -> list[Tensor]:
    """Queries normalised together, as its users do."""
    network.zero_grad()
    part = network if adapt == "all" else network.head
    theirs = learn2learn.algorithms.MAML(part, lr=0.1, first_order=first_order)
    for x, y, x_q, y_q in zip(*episodes.support, *episodes.query, strict=True):
        if adapt == "head":
            x, x_q = network.embedding(x), network.embedding(x_q)
        learner = theirs.clone()
        for _ in range(steps):
            learner.adapt(F.cross_entropy(learner(x), y))
        (F.cross_entropy(learner(x_q), y_q) / len(episodes.support.x)).backward()
    return [w.grad.clone() for w in network.parameters()]


CASES = [
    pytest.param("all", False, "task", id="MAML"),
    pytest.param("all", False, "group", id="MAML, group norm"),
    pytest.param("all", True, "task", id="FOMAML"),
    pytest.param("head", False, "task", id="ANIL"),
    pytest.param("head", True, "task", id="ANIL, first order"),
]


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(("adapt", "first_order", "norm"), CASES)
def test_the_meta_gradient_is_that_of_learn2learn(
    learn2learn: ModuleType, adapt: str, first_order: bool, norm: str, steps: int
) -> None:
    network, episodes = classifier(norm), images()
    wanted = gradients_of_learn2learn(learn2learn, network, episodes, steps, first_order, adapt)
    net = MAML(network, steps=steps, inner_rate=0.1, first_order=first_order, adapt=adapt, transductive=True)
    for ours, theirs in zip(gradients(net, episodes), wanted, strict=True):
        assert (ours - theirs).abs().max() < 1e-9 * theirs.abs().max()

    net.first_order = not first_order
    for ours, theirs in zip(gradients(net, episodes), wanted, strict=True):
        assert (ours - theirs).abs().max() > 1e-3 * theirs.abs().max() or ours.ndim == 1


@pytest.mark.parametrize(("adapt", "first_order", "norm"), CASES[:1] + CASES[2:4])
def test_ten_outer_steps_are_those_of_learn2learn(
    learn2learn: ModuleType, adapt: str, first_order: bool, norm: str
) -> None:
    ours, theirs = classifier(norm), classifier(norm)
    net = MAML(ours, steps=2, inner_rate=0.1, first_order=first_order, adapt=adapt, transductive=True)
    sampler = EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=1)
    state = sampler.state_dict()
    meta_train(net, sampler, steps=10, tasks=2, rate=1e-3, halve_every=float("inf"), progress=False)

    sampler.load_state_dict(state)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    for _ in range(10):
        gradients_of_learn2learn(learn2learn, theirs, sampler.sample(2), 2, first_order, adapt)
        adam.step()
    for w, wanted, start in zip(ours.parameters(), theirs.parameters(), classifier(norm).parameters(), strict=True):
        assert (w - wanted).abs().max() < 1e-9 * wanted.abs().max()
        assert (w - start).abs().max() > 1e-3


# -------------------------------------------------------------------------------------- training, and what can go wrong


@pytest.mark.parametrize("options", [{"rates": "layer"}, {"rates": "parameter"}, {"adapt": "head"}])
def test_maml_learns_to_learn_strangers(options: dict) -> None:
    split = random_faces(people=60, each=6).split(seed=1)
    embedding = Conv4(1, 16, 8, depth=2, norm="task")
    net = MAML(Classifier(embedding, embedding.features, ways=5), steps=3, inner_rate=0.1, **options)
    before = evaluate({"net": net}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    trained = meta_train(net, EpisodeSampler(split.base, 5, 3, 3), steps=40, tasks=4, rate=1e-2, progress=False)
    after = evaluate({"net": trained.learner}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    assert after > before + 0.1


def test_learned_rates_are_one_for_each_layer() -> None:
    net = MAML(classifier(), inner_rate=0.1, rates="layer")
    assert net.layers == ["embedding.0", "embedding.2", "embedding.4", "embedding.6", "head"]
    assert torch.equal(net.rates, torch.full((5,), 0.1, dtype=torch.float64))
    gradients(net, images())
    assert (net.rates.grad != 0).all()
    net.rates.data[1:] = 0.0  # only the first layer moves
    start, moved = dict(net.network.named_parameters()), net.adapt(images().support).weights
    assert {name for name, w in moved.items() if not torch.equal(w[0], start[name])} == {"embedding.0.weight"}
    assert MAML(classifier()).rates.requires_grad is False


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("adapt", ["all", "head"])
def test_rates_that_are_all_alike_are_one_rate(adapt: str, steps: int) -> None:
    """As long as nothing was learned, the three kinds of rates adapt alike, and have the same meta-gradient."""
    nets = {rates: MAML(classifier(), steps=steps, inner_rate=0.1, adapt=adapt, rates=rates) for rates in RATES}
    found = {rates: gradients(net, images()) for rates, net in nets.items()}
    weights = {name for name, w in nets["fixed"].named_parameters() if w.requires_grad}
    for rates, net in nets.items():
        assert net.network_per_task.name == nets["fixed"].network_per_task.name, "as fast as MAML"
        ours = dict(zip((n for n, w in net.named_parameters() if w.grad is not None), found[rates], strict=True))
        for name, gradient in zip(sorted(weights), (ours[name] for name in sorted(weights)), strict=True):
            wanted = dict(nets["fixed"].named_parameters())[name].grad
            assert torch.allclose(gradient, wanted, rtol=0, atol=1e-14)
        if rates == "layer":
            layers = ours["rates"]
        if rates == "parameter":  # a layer's rate moves all of its weights
            each = {name: gradient.sum() for name, gradient in net.by_weight(net.rates.grad).items()}
            wanted = [sum(g for name, g in each.items() if name.rpartition(".")[0] == layer) for layer in net.layers]
            assert torch.allclose(layers, torch.stack(wanted), rtol=1e-9, atol=1e-14)


def test_after_one_step_a_rate_learns_from_the_agreement_of_support_and_query() -> None:
    """The gradient of a is −∇L(φ_1; Q) ∘ ∇L(θ; S) (module docstring), entry by entry."""
    net, episodes = MAML(classifier("group"), steps=1, inner_rate=0.1, rates="parameter"), images(tasks=1)
    gradients(net, episodes)
    (x, y), (query, target) = episodes.support, episodes.query
    theta = dict(net.network.named_parameters())
    support = torch.autograd.grad(F.cross_entropy(net.network(x[0]), y[0]), list(theta.values()))
    phi = {name: (w - 0.1 * g).detach().requires_grad_() for (name, w), g in zip(theta.items(), support, strict=True)}
    loss = F.cross_entropy(torch.func.functional_call(net.network, phi, (query[0],)), target[0])
    found = net.by_weight(net.rates.grad)
    for name, there, here in zip(theta, torch.autograd.grad(loss, list(phi.values())), support, strict=True):
        assert torch.allclose(found[name], -there * here, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": "layers"}, "no kind of inner rates called 'layers'. Did you mean 'layer'"),
        ({"steps": -1}, "steps and test_steps must be 0 or more, but are -1 and -1"),
        ({"test_steps": -2}, "steps and test_steps must be 0 or more, but are 5 and -2"),
        ({"inner_rate": 0.0}, r"inner_rate must be above 0, but is 0\.0"),
        ({"inner_rate": float("nan")}, "inner_rate must be above 0, but is nan"),
        ({"adapt": "heads"}, "no choice of what to adapt called 'heads'. Did you mean 'head'"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        MAML(classifier(), **options)


def test_a_head_is_needed_to_adapt_a_head() -> None:
    with pytest.raises(MetaFaceError, match="wrap the embedding into a Classifier"):
        MAML(Conv4(1, 16, 8, norm="none"), adapt="head")


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("steps", [5, 2])  # the loss is infinite in the middle of the loop, and after its end
def test_a_diverging_inner_loop_names_the_step_and_the_rate(steps: int, rates: str) -> None:
    tasks = regression(Examples(normal(2, 3, 4), normal(2, 3, 1)))
    net = MAML(linear(4), steps=steps, inner_rate=1e100, rates=rates, loss=half_square)
    for diverge in (net.meta_gradient, net.trajectory):  # a step multiplies θ by 1e100, the loss by 1e200
        with pytest.raises(MetaFaceError, match=rf"inner step 2 of {steps} .*Lower inner_rate, which is 1e\+100\."):
            diverge(tasks)
    far = MAML(linear(4), steps=1, inner_rate=1e308, loss=half_square).adapt(Examples(normal(2, 3, 4), normal(2, 3, 1)))
    with pytest.raises(MetaFaceError, match=r"outputs are not finite.*lower inner_rate"):
        far.predict(normal(2, 3, 4) * 10)


def test_what_is_not_finite_from_the_start_is_not_blamed_on_the_rate() -> None:
    net, tasks = MAML(linear(4), loss=half_square), regression(Examples(normal(2, 3, 4), normal(2, 3, 1)))
    tasks.support.x[1, 2, 3] = torch.nan
    broken = MAML(linear(4), loss=half_square)
    broken.network.weight.data[0, 0] = torch.nan
    for learner in (net, broken):
        for use in (learner.meta_gradient, learner.trajectory, lambda tasks, of=learner: of.adapt(tasks.support)):
            with pytest.raises(MetaFaceError, match=r"before the first inner step.*NaN in the data.*outer learning ra"):
                use(tasks)
