"""The largest curvature, proven in float64: known spectra, whole Hessians, and where gradient descent diverges."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn import functional as F

from metaface_lessons.episodes import EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.curvature import WAYS, along_the_inner_loop, curvature, hessian_vector
from metaface_lessons.learners.inner_loop import InnerLoop, OneByOne, Weights, final
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.maml_plus_plus import MAMLPlusPlus
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.reptile import Reptile
from metaface_lessons.networks import Classifier, Conv4, TaskNorm
from tests.helpers import random_faces

FACES = random_faces(people=12, each=8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=-1).mean() / 2


def weighted_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ Σ λ_i z_i²: with orthonormal inputs its Hessian has the eigenvalues that are given as targets."""
    return (targets * outputs.square()).sum() / 2


def linear(features: int) -> nn.Linear:
    return nn.Linear(features, 1, bias=False).double()


def spectrum(*eigenvalues: list[float]) -> Examples:
    """Support sets, a task for each list of eigenvalues, for a network `linear` and the loss `weighted_square`."""
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    directions, _ = torch.linalg.qr(normal(len(values), values.shape[1], values.shape[1]))
    return Examples(directions, values[..., None])


def smooth() -> Classifier:
    """A small network without kinks, so that its Hessian is everywhere the limit of differences."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        embedding = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), TaskNorm(2), nn.Tanh(), nn.Flatten())
        return Classifier(embedding, features=8, ways=3).double()


def small_images(tasks: int = 2) -> Examples:
    return Examples(normal(tasks, 6, 1, 4, 4), torch.arange(3).repeat(tasks, 2))


def faces(tasks: int = 3) -> Examples:
    return EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=1).sample(tasks).support


def conv4(norm: str = "task") -> Classifier:
    embedding = Conv4(1, 16, 4, depth=2, norm=norm)
    return Classifier(embedding, embedding.features, ways=4).double()


KINDS = {
    "MAML": lambda: MAML(smooth(), fast=False),
    "FOMAML": lambda: MAML(smooth(), fast=False, first_order=True),
    "ANIL": lambda: MAML(smooth(), adapt="head"),
    "Reptile": lambda: Reptile(smooth(), optimiser="sgd"),
    "ProtoMAML": lambda: ProtoMAML(smooth().embedding, 8, temperature=2.0),
    "MAML++": lambda: MAMLPlusPlus(smooth(), rates="step", step_affine=True, step_statistics=True),
}


def start(net: InnerLoop, support: Examples) -> Weights:
    found = final(net.inner_loop(net.start(support), support, 0))
    return {name: w.detach() for name, w in found.items()}


def whole_hessian(net: InnerLoop, weights: Weights, support: Examples, task: int) -> tuple[Tensor, list[str]]:
    """The Hessian of a task's support loss, row after row, by two passes backward; and the names, in its order."""
    names = sorted(net.rates_at(0))
    own = {name: w[task].clone().requires_grad_(name in names) for name, w in weights.items()}
    module = net.network_per_task.adapted
    x = net.network_per_task.prepare(support.x[task : task + 1])[0].detach()
    loss = net.losses(functional_call(module, own, (x,))[None], support.y[task : task + 1]).sum()
    first = torch.autograd.grad(loss, [own[name] for name in names], create_graph=True)
    flat = torch.cat([g.flatten() for g in first])
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(each, [own[name] for name in names], retain_graph=True)])
        for each in flat
    ]
    return torch.stack(rows), names


@functools.cache
def of_kind(kind: str) -> tuple[InnerLoop, Examples, list[Tensor], list[str]]:
    net, support = KINDS[kind](), small_images()
    weights = start(net, support)
    found = [whole_hessian(net, weights, support, task) for task in range(2)]
    return net, support, [each for each, _ in found], found[0][1]


def flat(v: Weights, names: list[str], task: int) -> Tensor:
    return torch.cat([v[name][task].flatten() for name in names])


# ------------------------------------------------------------------------------------------- Hessian-vector products


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_that_of_the_whole_hessian(kind: str, way: str) -> None:
    net, support, hessians, names = of_kind(kind)
    weights = start(net, support)
    v = {name: normal(*weights[name].shape, seed=i) for i, name in enumerate(names)}
    found = hessian_vector(net, weights, support, v, way)
    assert set(found) == set(names), "what the inner loop leaves alone does not count"
    for task, each in enumerate(hessians):
        wanted = each @ flat(v, names, task)
        assert wanted.abs().max() > 1e-2
        assert torch.allclose(flat(found, names, task), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_a_product_is_that_of_torch_func_hessian(way: str) -> None:
    network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    net, support = MAML(network, loss=half_square), Examples(normal(1, 5, 2), normal(1, 5, 1, seed=1))
    theta = {name: w.detach() for name, w in network.named_parameters()}

    def loss(own: Weights) -> Tensor:
        return half_square(functional_call(network, own, (support.x[0],)), support.y[0])

    blocks, v = hessian(loss)(theta), {name: normal(*w.shape, seed=2) for name, w in theta.items()}
    expanded = {name: each[None] for name, each in v.items()}
    found = hessian_vector(net, start(net, support), support, expanded, way)
    for row in theta:
        wanted = sum(torch.tensordot(blocks[row][of], v[of], dims=v[of].ndim) for of in theta)
        assert torch.allclose(found[row][0], wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("way", WAYS)
def test_the_fast_formulation_has_the_same_product(way: str) -> None:
    support, found = faces(), []
    for fast in (True, False):
        net = MAML(conv4(), fast=fast)
        weights = start(net, support)
        v = {name: normal(*w.shape, seed=i) for i, (name, w) in enumerate(weights.items())}
        found.append(hessian_vector(net, weights, support, v, way))
    for name in found[0]:
        assert torch.allclose(found[0][name], found[1][name], rtol=0, atol=1e-11)


def test_a_linear_loss_has_no_curvature() -> None:
    net = MAML(linear(3), loss=lambda outputs, targets: outputs.mean())
    found = curvature(net, Examples(normal(2, 5, 3), normal(2, 5, 1)))
    assert (found.largest == 0).all()
    assert found.limit.isinf().all()
    assert found.settled.all()


# ----------------------------------------------------------------------------------------------------- known spectra


def test_a_parabola_has_its_own_curvature() -> None:
    """½a(θ − c)² as a regression: output θ√a, target c√a."""
    a, c = torch.tensor([1.0, 4.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    support = Examples(a.sqrt().view(2, 1, 1), (a.sqrt() * c).view(2, 1, 1))
    found = curvature(MAML(linear(1), loss=half_square), support)
    assert torch.allclose(found.largest, a, rtol=1e-14)
    assert torch.allclose(found.limit, torch.tensor([2.0, 0.5], dtype=torch.float64))
    assert found.products.tolist() == [1, 1]


@pytest.mark.parametrize("way", WAYS)
def test_linear_regression_has_the_eigenvalues_of_its_inputs(way: str) -> None:
    x, y = normal(4, 6, 3), normal(4, 6, 1, seed=1)
    found = curvature(MAML(linear(3), loss=half_square), Examples(x, y), way=way, tolerance=1e-6)
    wanted = torch.linalg.eigvalsh(x.mT @ x / 6)[:, -1]
    assert torch.allclose(found.largest, wanted, rtol=1e-11)
    assert (found.residual <= 1e-6 * found.largest).all()
    assert found.settled.all()
    assert found.products.tolist() == [3, 3, 3, 3]


def test_the_largest_eigenvalue_is_found_beside_a_negative_one() -> None:
    """Of larger magnitude, of the same one, and where no direction bends up."""
    spectra = [[-5.0, 3.0, 1.0], [-3.0, 3.0, 1.0], [4.0, 1.0, -2.0], [-1.0, -2.0, -4.0], [0.0, -1.0, -3.0]]
    found = curvature(MAML(linear(3), loss=weighted_square), spectrum(*spectra), tolerance=1e-6)
    wanted = torch.tensor([3.0, 3.0, 4.0, -1.0, 0.0], dtype=torch.float64)
    assert torch.allclose(found.largest, wanted, rtol=1e-6, atol=1e-6)
    assert found.settled.all()
    assert torch.allclose(found.limit[:3], 2 / wanted[:3], rtol=1e-6)
    assert found.limit[3].isinf()
    assert found.limit[4] > 1e9


def test_the_residual_bounds_the_error() -> None:
    """Before it has settled, one of the eigenvalues is within the residual, and none of the values is too large."""
    values = [1.0, 0.99, *(0.9 - n / 20 for n in range(16)), -0.5, -2.0]
    for most in (2, 5, 9):
        found = curvature(MAML(linear(20), loss=weighted_square), spectrum(values), tolerance=1e-9, most=most)
        assert found.products.item() == most
        assert not found.settled
        assert min(abs(found.largest.item() - each) for each in values) <= found.residual.item()
        assert found.largest.item() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_eigenvalue_is_that_of_the_whole_hessian(kind: str) -> None:
    net, support, hessians, _ = of_kind(kind)
    found = curvature(net, support, tolerance=1e-6)
    wanted = torch.stack([torch.linalg.eigvalsh(each)[-1] for each in hessians])
    assert found.settled.all()
    assert torch.allclose(found.largest, wanted, rtol=1e-9)


def test_a_head_of_zeros_has_the_curvature_of_its_embeddings() -> None:
    """H = (diag(p) − ppᵀ) ⊗ F̃ᵀF̃/S with p = 1/N: λ_max is that of F̃ᵀF̃/S, divided by N; F̃ has a one for the bias."""
    network, support = conv4(), faces()
    for parameter in network.head.parameters():
        nn.init.zeros_(parameter)
    found = curvature(MAML(network, adapt="head"), support, tolerance=1e-6)
    for task in range(3):
        points = F.pad(network.embedding(support.x[task]), (0, 1), value=1.0)
        wanted = torch.linalg.eigvalsh(points.T @ points / len(points))[-1] / 4
        assert found.largest[task].item() == pytest.approx(wanted.item(), rel=1e-9)


# --------------------------------------------------------------------------------------- rates for layers and weights


class TwoLayers(nn.Module):
    """Σ of two linear layers: a quadratic loss with two layers, each with a rate of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = linear(2), linear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x[..., :2]) + self.second(x[..., 2:])


def two_layers(kind: str = "layer") -> tuple[MAML, Examples, Tensor]:
    """A learner with unequal rates, its support sets, and the eigenvalues of DH, `[T, 5]`."""
    net, x = MAML(TwoLayers(), rates=kind, loss=half_square, test_steps=1), normal(2, 8, 5)
    net.rates.data = torch.tensor([0.3, 0.05]) if kind == "layer" else torch.tensor([0.3, 0.1, 0.05, 0.2, 0.4])
    net.rates.data = net.rates.data.double()
    d = net.rates.detach() if kind == "parameter" else net.rates.detach()[[0, 0, 1, 1, 1]]
    eigenvalues = torch.linalg.eigvals(torch.diag(d) @ x.mT @ x / 8)
    assert eigenvalues.imag.abs().max() < 1e-12
    return net, Examples(x, normal(2, 8, 1, seed=1)), eigenvalues.real


@pytest.mark.parametrize("kind", ["layer", "parameter"])
def test_unequal_rates_have_the_curvature_of_their_step(kind: str) -> None:
    net, support, eigenvalues = two_layers(kind)
    found = curvature(net, support, rates=net.rates_at(0), tolerance=1e-7)
    assert torch.allclose(found.largest, eigenvalues.max(dim=1).values, rtol=1e-12)
    assert not torch.allclose(found.largest, curvature(net, support).largest, rtol=0.1)


@pytest.mark.parametrize("kind", ["layer", "parameter"])
def test_a_common_factor_of_the_rates_diverges_above_its_limit(kind: str) -> None:
    net, support, _ = two_layers(kind)
    limit = curvature(net, support, rates=net.rates_at(0), tolerance=1e-7).limit
    rates = net.rates.detach().clone()
    for task in range(2):
        alone = Examples(support.x[task : task + 1], support.y[task : task + 1])
        for factor, diverges in ((0.99, False), (1.01, True)):
            net.rates.data = factor * limit[task] * rates
            path = torch.stack([w["first.weight"][0, 0] for w in net.inner_loop(net.start(alone), alone, 600)])
            assert (path[-1].abs().max() > 1e3) == diverges


def test_equal_rates_give_the_same_limit_twice() -> None:
    net, support = MAML(conv4(), inner_rate=0.2, rates="layer"), faces()
    once, twice = curvature(net, support), curvature(net, support, rates=net.rates_at(0))
    assert torch.allclose(once.limit, 0.2 * twice.limit, rtol=1e-12)


# ----------------------------------------------------------------------------------------------- the inner loop itself


@pytest.mark.parametrize("make", [MAML, functools.partial(Reptile, optimiser="sgd", batch=3)])
def test_the_inner_loop_contracts_by_the_formula_and_diverges_above_the_limit(make: type) -> None:
    """The error along an eigenvector after k steps is (1 − αλ)^k of what it was."""
    support = spectrum([4.0, 1.0, 0.5])
    limit = curvature(make(linear(3), loss=weighted_square), support, tolerance=1e-9).limit.item()
    assert limit == pytest.approx(0.5, rel=1e-12)
    for part, diverges in ((0.3, False), (0.99, False), (1.01, True)):
        net = make(linear(3), loss=weighted_square, inner_rate=part * limit)
        path = [w["weight"][0] for w in net.inner_loop(net.start(support), support, 400)]
        along = torch.stack([support.x[0] @ w[0] for w in path]).detach()  # coordinates along the eigenvectors
        for k in (1, 5, 100):
            factor = (1 - part * limit * support.y[0, :, 0]) ** k
            assert torch.allclose(along[k], factor * along[0], rtol=1e-9, atol=1e-12)
        assert (along[-1].abs().max() > 100 * along[0].abs().max()) == diverges
        assert diverges or along[-1].abs().max() < along[0].abs().max()


def test_the_curvature_follows_the_inner_loop() -> None:
    net, support = MAML(conv4(), inner_rate=0.1), faces(2)
    found = along_the_inner_loop(net, support, 3, seed=1)
    assert len(found) == 4
    path = [{name: w.detach() for name, w in phi.items()} for phi in net.inner_loop(net.start(support), support, 3)]
    for each, phi in zip(found, path, strict=True):
        assert torch.equal(each.largest, curvature(net, support, phi, seed=1).largest)
    assert torch.equal(found[0].largest, curvature(net, support, seed=1).largest)
    assert (found[3].largest / found[0].largest - 1).abs().max() > 0.05, "it changes on the way"


# ---------------------------------------------------------------------------------------------- what it says and asks


def test_the_same_seed_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    net, support = MAML(conv4(), fast=False), faces()
    once = curvature(net, support)
    stream = torch.get_rng_state()
    assert torch.equal(once.largest, curvature(net, support).largest)
    assert torch.equal(stream, torch.get_rng_state())
    assert all(w.grad is None for w in net.parameters())
    other = curvature(net, support, seed=1)
    assert not torch.equal(once.largest, other.largest)
    assert torch.allclose(once.largest, other.largest, rtol=1e-5)
    monkeypatch.setattr(OneByOne, "at_once", 2)
    with torch.no_grad():
        assert torch.allclose(once.largest, curvature(net, support).largest, rtol=1e-12)


def test_the_summary_has_quartiles_and_says_how_sure_they_are() -> None:
    found = curvature(MAML(linear(2), loss=weighted_square), spectrum(*[[2.0 / n, 0.1] for n in range(1, 6)]))
    said = found.summary()
    assert said["median"] == pytest.approx(3, rel=1e-3)
    assert (said["low"], said["high"]) == (pytest.approx(2, rel=1e-3), pytest.approx(4, rel=1e-3))
    assert (said["smallest"], said["largest"]) == (pytest.approx(1, rel=1e-3), pytest.approx(5, rel=1e-3))
    assert said["settled"] == 1
    assert said["residual"] <= 0.01
    assert said["products"] == found.products.double().mean().item() > 1


def test_what_has_no_limit_is_refused() -> None:
    support = faces(1)
    with pytest.raises(
        MetaFaceError, match=r"no way to multiply by the Hessian called 'forwards'. Did you mean 'forwa"
    ):
        curvature(MAML(conv4()), support, way="forwards")
    with pytest.raises(MetaFaceError, match=r"steps of adam, but 2/λ is the limit of gradient descent"):
        curvature(Reptile(conv4()), support)
    net = MAML(conv4(), rates="parameter")
    net.rates.data[0] = -0.1
    with pytest.raises(MetaFaceError, match=r"rates of 'embedding\.0\.weight' are below 0"):
        curvature(net, support, rates=net.rates_at(0))
    net.network.head.weight.data[0, 0] = torch.nan
    with pytest.raises(MetaFaceError, match=r"curvature of the support loss is not finite"):
        curvature(net, support)
