"""iMAML: toy A's closed form, finite differences, its bias, and conjugate gradients on known systems; in float64."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.learners.fast import ChannelGroups
from metaface_lessons.learners.implicit_maml import ImplicitMAML, ImplicitMAMLAsPublished, conjugate_gradients
from metaface_lessons.learners.inner_loop import OneByOne
from metaface_lessons.learners.meta_gradients import gradients
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.training import meta_train
from tests.helpers import random_faces
from tests.learners.test_maml import classifier, half_square, images, linear, normal, regression, smooth

A, C = (torch.tensor(values, dtype=torch.float64) for values in ([1.0, 4.0], [0.0, 1.0]))


def quadratics() -> Episodes:
    """Toy A: ½a(θ − c)² as a regression of c√a by θ√a."""
    return regression(Examples(A.sqrt().view(2, 1, 1), (A.sqrt() * C).view(2, 1, 1)))


def rest(net: ImplicitMAML) -> float:
    """Where θ rests. The meta-gradient of toy A is linear in θ, so two of them say where it is 0."""
    slopes = []
    for theta in (0.0, 1.0):
        net.network.weight.data.fill_(theta)
        slopes.append(gradients(net, quadratics())["network.weight"].item())
    net.network.weight.data.fill_(slopes[0] / (slopes[0] - slopes[1]))
    assert abs(gradients(net, quadratics())["network.weight"].item()) < 1e-13
    return net.network.weight.item()


def toy(kind: type[ImplicitMAML] = ImplicitMAML, **options: float) -> ImplicitMAML:
    return kind(linear(1), loss=half_square, **options)


@pytest.mark.parametrize(("proximal", "wanted"), [(2.0, 0.5), (0.5, 0.3077), (1e9, 0.8)])
def test_two_quadratics_lead_to_the_fixed_point(proximal: float, wanted: float) -> None:
    """Tasks weigh a(λ/(a + λ))²; with λ → ∞ that is joint training."""
    weight = A * (proximal / (A + proximal)) ** 2
    exact = ((weight * C).sum() / weight.sum()).item()
    assert exact == pytest.approx(wanted, abs=5e-5)
    net = toy(proximal=proximal, inner_rate=1 / (proximal + 2.5), steps=100)
    assert rest(net) == pytest.approx(exact, abs=1e-12)


def test_the_published_code_rests_elsewhere() -> None:
    """Sixteen steps at α = 0.1, then φ ← φ − αλ(φ − θ), and 2 + a/12 in place of 1 + a/2: with λ = 2, 0.6725."""
    r = (1 - 0.1 * A) ** 16
    weight = A * ((1 - 0.2) * r + 0.2) / (2 + A / 12)
    exact = ((weight * C).sum() / weight.sum()).item()
    options = {"proximal": 2.0, "inner_rate": 0.1, "steps": 16}
    assert rest(toy(ImplicitMAMLAsPublished, **options)) == pytest.approx(exact, abs=1e-12)
    assert exact == pytest.approx(0.6725, abs=5e-5)
    # More steps do not help, because none of them knows the proximal term: r → 0.
    weight = A * 0.2 / (2 + A / 12)
    never = ((weight * C).sum() / weight.sum()).item()
    assert rest(toy(ImplicitMAMLAsPublished, **options | {"steps": 500})) == pytest.approx(never, abs=1e-12)
    assert never == pytest.approx(0.78125, abs=1e-12)
    assert rest(toy(**options | {"steps": 500})) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 3, 10, 60])
def test_the_bias_is_as_predicted_where_the_inner_problem_is_not_solved(steps: int) -> None:
    """φ_k − φ* = (1 − α(a + λ))^k (θ − φ*), and the gradient is off by λa/(a + λ) times that."""
    proximal, rate, theta = 2.0, 0.1, 3.0
    net = toy(proximal=proximal, inner_rate=rate, steps=steps)
    net.network.weight.data.fill_(theta)
    solution = (A * C + proximal * theta) / (A + proximal)
    exact = proximal / (A + proximal) * A * (solution - C)
    away = (1 - rate * (A + proximal)) ** steps * (theta - solution)
    bias = proximal * A / (A + proximal) * away
    found = gradients(net, quadratics())["network.weight"].item()
    assert found == pytest.approx((exact + bias).mean().item(), abs=1e-13)
    if steps < 60:
        assert abs(found - exact.mean().item()) > 1e-4
    net.zero_grad()
    slope = net.meta_gradient(quadratics())["inner_gradient"]
    assert slope == pytest.approx(((A + proximal) * away).abs().max().item(), abs=1e-13)


# ------------------------------------------------------------------------------------------------- finite differences


def implicit(kind: str, **options: float) -> tuple[ImplicitMAML, Episodes]:
    """A smooth network of MAML's tests, whose inner problem is strongly convex near θ."""
    net, episodes = smooth(kind, steps=1)
    given = {"proximal": 5.0, "inner_rate": 0.12, "tolerance": 1e-13, "steps": 2000, "test_steps": 2000}
    exact = given | {"cg_steps": 60, "transductive": net.transductive}
    return ImplicitMAML(net.network, **exact | options), episodes


SMOOTH = ["multilayer perceptron", "task norm, support statistics", "task norm, transductive", "group norm"]


@pytest.mark.parametrize("kind", SMOOTH)
def test_the_meta_gradient_by_central_differences_where_the_inner_problem_is_solved(kind: str) -> None:
    net, episodes = implicit(kind)
    found = gradients(net, episodes)
    scores = net.meta_gradient(episodes)
    assert scores["inner_gradient"] <= 1e-13
    assert 0 < scores["inner_steps"] < 2000, "it ends when the gradient is as small as asked for"
    assert scores["cg_residual"] < 1e-14
    size = max(gradient.abs().max().item() for gradient in found.values())
    for name, w in net.named_parameters():
        flat = w.data.view(-1)
        for i in range(0, len(flat), 3):
            start, values = flat[i].item(), []
            for moved in (start + 1e-5, start - 1e-5):
                flat[i] = moved
                values.append(net.trajectory(episodes).query_loss[:, -1].mean().item())
            flat[i] = start
            slope = (values[0] - values[1]) / 2e-5
            assert found[name].view(-1)[i].item() == pytest.approx(slope, abs=1e-8 * max(1, size))


def test_that_test_fails_for_what_is_nearly_right() -> None:
    exact = gradients(*implicit(SMOOTH[1]))
    for nearly in ({"damping": 0.01}, {"cg_steps": 1}, {"tolerance": 0.0, "steps": 3}):
        other = gradients(*implicit(SMOOTH[1], **nearly))
        assert max((other[name] - exact[name]).abs().max() for name in exact) > 1e-5


def test_the_product_is_that_with_the_hessian() -> None:
    net, episodes = implicit(SMOOTH[0])
    support, names = episodes.support, [name for name, _ in net.network.named_parameters()]
    shapes = [w.shape for w in net.network.parameters()]
    flat = torch.cat([w.detach().flatten() for w in net.network.parameters()])

    def loss(flat: Tensor, task: int) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        own = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(
            torch.func.functional_call(net.network, own, (support.x[task],)), support.y[task]
        )

    u = normal(2, len(flat))
    products = net.hessian(net.start(support), support)(u)
    for task in range(2):
        hessian = torch.autograd.functional.hessian(lambda w, task=task: loss(w, task), flat)
        assert torch.allclose(products[task], hessian @ u[task], rtol=0, atol=1e-13)


# ------------------------------------------------------------------------------------------------- conjugate gradients


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    basis, _ = torch.linalg.qr(normal(len(values), len(values), seed=seed))
    return basis @ values.diag() @ basis.T


@pytest.mark.parametrize("kappa", [2.0, 30.0, 1000.0])
def test_conjugate_gradients_keep_their_bound(kappa: float) -> None:
    """‖e_m‖_A ≤ 2((√κ − 1)/(√κ + 1))^m ‖e_0‖_A, for two systems at once."""
    a = torch.stack([with_spectrum(torch.linspace(1, kappa, 40, dtype=torch.float64), seed) for seed in (0, 1)])
    b = normal(2, 40, seed=2)
    exact = torch.linalg.solve(a, b)
    ratio = (kappa**0.5 - 1) / (kappa**0.5 + 1)

    def length(e: Tensor) -> Tensor:
        return (e * torch.einsum("tij,tj->ti", a, e)).sum(1).sqrt()

    for m in range(1, 25):
        found = conjugate_gradients(lambda u: torch.einsum("tij,tj->ti", a, u), b, m)
        error = length(found.x - exact) / length(exact)
        assert (error <= 2 * ratio**m + 1e-13).all()
        residual = (b - torch.einsum("tij,tj->ti", a, found.x)).norm(dim=1) / b.norm(dim=1)
        assert torch.allclose(found.residuals[-1], residual, rtol=0, atol=1e-12)
        assert len(found.residuals) <= m + 1
        assert not found.indefinite.any()
        if m == 3 and kappa > 2:
            assert (error > 1e-3 * ratio**m).all(), "or a solver that is exact at once would pass"


def test_as_many_iterations_as_different_eigenvalues_are_enough() -> None:
    a = with_spectrum(torch.tensor([1.0, 1, 1, 5, 5, 30], dtype=torch.float64))
    b, found = normal(1, 6), []
    for m in (2, 3):
        x = conjugate_gradients(lambda u: u @ a, b, m).x
        found.append((x @ a - b).norm().item())
    assert found[0] > 1e-2
    assert found[1] < 1e-13


def test_each_system_ends_by_itself() -> None:
    """One is solved at once, one has nothing to solve, one is not positive definite, and one needs three iterations."""
    values = torch.tensor([[2.0, 2, 2], [1, 2, 3], [1, -1, 2], [1, 2, 9]], dtype=torch.float64)
    b = torch.tensor([[1.0, 2, 3], [0, 0, 0], [1, 3, 1], [1, 1, 1]], dtype=torch.float64)
    found = conjugate_gradients(lambda u: values * u, b, 10, tolerance=1e-12)
    assert found.indefinite.tolist() == [False, False, True, False]
    assert torch.allclose(found.x[[0, 1, 3]], (b / values)[[0, 1, 3]], rtol=0, atol=1e-12)
    assert torch.equal(found.x[2], b[2]), "the first direction, along which it fails, is b"
    assert len(found.residuals) == 4
    assert found.residuals[:, 1].tolist() == [0.0] * 4
    assert found.residuals[0].tolist() == [1.0, 0.0, 1.0, 1.0]


def test_an_indefinite_system_keeps_what_was_found_before() -> None:
    values, b = torch.tensor([[4.0, -1, 1]], dtype=torch.float64), torch.tensor([[3.0, 1, 1]], dtype=torch.float64)
    first, more = (conjugate_gradients(lambda u: values * u, b, steps) for steps in (1, 9))
    assert not first.indefinite.any()
    assert more.indefinite.all()
    assert torch.equal(more.x, first.x)


def uphill(outputs: Tensor, targets: Tensor) -> Tensor:
    return -half_square(outputs, targets)


def test_a_problem_without_a_minimum_is_named() -> None:
    """−½a(φ − c)² + λ/2(φ − θ)² has one only if λ > a."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = ImplicitMAML(linear(1), loss=uphill, proximal=4.5, steps=3).meta_gradient(quadratics())
    assert scores["indefinite"] == 0
    net = ImplicitMAML(linear(1), loss=uphill, proximal=2.0, steps=3)
    with pytest.warns(UserWarning, match=r"H \+ λI is not positive definite with λ = 2: .*Take a larger proximal"):
        scores = net.meta_gradient(quadratics())
    assert scores["indefinite"] == 0.5, "only for a = 4"


# ------------------------------------------------------------------------------------------------------------ as MAML


@pytest.mark.parametrize("kind", [ImplicitMAML, ImplicitMAMLAsPublished])
def test_channel_groups_are_as_one_by_one(kind: type[ImplicitMAML]) -> None:
    episodes, found = images(), []
    for fast in (True, False):
        net = kind(classifier(), steps=3, proximal=20.0, inner_rate=0.02, cg_steps=3, fast=fast)
        assert isinstance(net.network_per_task, ChannelGroups if fast else OneByOne)
        found.append(gradients(net, episodes))
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], rtol=0, atol=1e-13), name


def test_tasks_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    net, episodes = ImplicitMAML(classifier(), steps=3, proximal=20.0, inner_rate=0.02), images()
    whole = gradients(net, episodes)
    alone = [gradients(net, part) for part in episodes.split(1)]
    for name, gradient in whole.items():
        assert torch.allclose(gradient, torch.stack([part[name] for part in alone]).mean(0), rtol=0, atol=1e-14)
    weights = net.adapt(episodes.support).weights
    monkeypatch.setattr(ChannelGroups, "at_once", 2)
    for name, gradient in gradients(net, episodes).items():
        assert torch.allclose(gradient, whole[name], rtol=0, atol=1e-14)
    for name, w in net.adapt(episodes.support).weights.items():
        assert torch.allclose(w, weights[name], rtol=0, atol=1e-14)


def test_frozen_weights_stay_where_they_are() -> None:
    net = ImplicitMAML(classifier(), steps=2, proximal=20.0, inner_rate=0.02)
    net.network.embedding[0].weight.requires_grad_(False)
    found = gradients(net, images())
    assert "network.embedding.0.weight" not in found
    assert len(found) == len([*net.parameters()]) - 1


def test_a_solution_is_near_the_slow_weights() -> None:
    away = []
    for proximal in (0.1, 10.0):
        net = ImplicitMAML(classifier(), test_steps=40, inner_rate=0.05, proximal=proximal)
        learned = net.adapt(images().support).weights
        slow = dict(net.network.named_parameters())
        away.append(sum((w - slow[name]).square().sum().item() for name, w in learned.items()))
    assert 0 < away[1] < away[0] / 10


def test_it_learns_to_learn_strangers() -> None:
    split = random_faces(people=60, each=6).split(seed=1)
    embedding = Conv4(1, 16, 8, depth=2, norm="task")
    network = Classifier(embedding, embedding.features, ways=5)
    net = ImplicitMAML(network, steps=5, inner_rate=0.1, proximal=1.0, cg_steps=3)
    before = evaluate({"net": net}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ReLU networks have directions that curve downwards
        trained = meta_train(net, EpisodeSampler(split.base, 5, 3, 3), steps=40, tasks=4, rate=1e-2, progress=False)
    after = evaluate({"net": trained.learner}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    assert after > before + 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proximal": 0.0}, r"proximal must be above 0, but is 0\.0\. It is λ"),
        ({"proximal": float("nan")}, "proximal must be above 0, but is nan"),
        ({"steps": -1}, "steps must be 0 or more, but is -1"),
        ({"test_steps": -1}, "test_steps must be 0 or more, but is -1"),
        ({"cg_steps": 0}, "cg_steps must be 1 or more, but is 0"),
        ({"damping": -0.5}, r"damping must be 0 or more, but is -0\.5"),
        ({"tolerance": float("nan")}, "tolerance must be 0 or more, but is nan"),
        ({"inner_rate": 0.0}, "inner_rate must be above 0"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        ImplicitMAML(classifier(), **options)


def test_a_diverging_inner_loop_names_the_step_and_the_rate() -> None:
    net = ImplicitMAML(linear(1), loss=half_square, inner_rate=1e100, steps=5)
    with pytest.raises(MetaFaceError, match=r"After inner step 2 of 5 .*Lower inner_rate, which is 1e\+100"):
        net.meta_gradient(quadratics())
