from __future__ import annotations

from copy import deepcopy
from functools import partial
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.learners.reptile import Reptile
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.training import meta_train
from tests.helpers import random_faces

FACES = random_faces(people=30, each=6)


def classifier(ways: int = 5, norm: str = "task", seed: int = 0) -> Classifier:
    embedding = Conv4(1, 16, 8, depth=2, norm=norm, seed=seed)
    return Classifier(embedding, embedding.features, ways, seed=seed)


def episodes(tasks: int = 3, ways: int = 5, shots: int = 2, queries: int = 2) -> Episodes:
    return EpisodeSampler(FACES, ways, shots, queries, seed=1).sample(tasks)


def regression(x: Tensor, y: Tensor) -> Episodes:
    """Tasks of plain numbers; what is support and what is query makes no difference to Reptile."""
    return Episodes(Examples(x, y), Examples(x[:, :0], y[:, :0]), torch.zeros(len(x), 1))


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().flatten(1).sum(dim=1).mean() / 2


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("steps", [1, 5])
def test_the_update_is_that_of_the_papers_pseudo_code(optimiser: str, steps: int) -> None:
    epsilon, alpha, batch = 0.3, 0.01, 8
    net = Reptile(classifier().double(), steps=steps, batch=batch, inner_rate=alpha, optimiser=optimiser, seed=7)
    literal, stream = deepcopy(net.network), torch.Generator().manual_seed(7)
    sampler, same = (EpisodeSampler(FACES, 5, 2, 2, seed=1) for _ in range(2))
    outer = net.optimiser(epsilon)
    for _ in range(3):
        outer.zero_grad()
        net.meta_gradient(sampler.sample(3))
        outer.step()

        tasks = same.sample(3)  # algorithm 2, line by line
        minibatches = net.minibatches(3, 20, steps, stream)
        moved = [torch.zeros_like(w) for w in literal.parameters()]
        for t in range(3):
            x, y = (torch.cat([a[t], b[t]]) for a, b in zip(tasks.support, tasks.query, strict=True))
            trained = deepcopy(literal)
            inner = (
                torch.optim.SGD(trained.parameters(), lr=alpha)
                if optimiser == "sgd"
                else torch.optim.Adam(trained.parameters(), lr=alpha, betas=(0.0, 0.999))
            )
            for chosen in minibatches[t]:
                inner.zero_grad()
                F.cross_entropy(trained(x[chosen]), y[chosen]).backward()
                inner.step()
            for move, w, phi in zip(moved, trained.parameters(), literal.parameters(), strict=True):
                move += (w - phi).detach()
        with torch.no_grad():
            for phi, move in zip(literal.parameters(), moved, strict=True):
                phi += epsilon * move / 3
    for ours, theirs in zip(net.network.parameters(), literal.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("steps", "wanted"), [(1, 0.8), (2, 0.7711), (5, 0.6925)])
def test_two_quadratics_lead_to_the_fixed_point(steps: int, wanted: float) -> None:
    """½a(θ − c)² as a regression: output θ√a, target c√a. The fixed point weighs c with 1 − (1 − αa)^k."""
    a, c, alpha = (torch.tensor(values, dtype=torch.float64) for values in ([1.0, 4.0], [0.0, 1.0], 0.1))
    net = Reptile(nn.Linear(1, 1, bias=False).double(), steps=steps, inner_rate=0.1, optimiser="sgd", loss=half_square)
    outer, tasks = net.optimiser(1.0), regression(a.sqrt().view(2, 1, 1), (a.sqrt() * c).view(2, 1, 1))
    for _ in range(200):
        outer.zero_grad()
        net.meta_gradient(tasks)
        outer.step()
    weight = 1 - (1 - alpha * a) ** steps
    exact = ((weight * c).sum() / weight.sum()).item()
    assert exact == pytest.approx(wanted, abs=5e-5)
    assert net.network.weight.item() == pytest.approx(exact, abs=1e-12)


def test_one_step_is_joint_training() -> None:
    net, tasks = Reptile(classifier().double(), steps=1, batch=20, inner_rate=0.5, optimiser="sgd"), episodes()
    net.meta_gradient(tasks)
    x, y = (torch.cat(pair, dim=1) for pair in zip(tasks.support, tasks.query, strict=True))
    joint = torch.stack([F.cross_entropy(net.network(x[t]), y[t]) for t in range(3)]).mean()
    for w, gradient in zip(net.network.parameters(), torch.autograd.grad(joint, net.network.parameters()), strict=True):
        assert torch.allclose(w.grad / 0.5, gradient, rtol=0, atol=2e-15)  # the rounding of θ − (θ − αg)

    two = Reptile(deepcopy(net.network), steps=2, batch=20, inner_rate=0.5, optimiser="sgd")
    two.network.zero_grad()
    two.meta_gradient(tasks)
    assert not torch.allclose(two.network.head.weight.grad, 2 * net.network.head.weight.grad, rtol=1e-2)


class Minibatches:
    """k minibatches of one task, each a random quadratic ½‖Xφ − y‖² with Hessian XᵀX, and all orders of them."""

    def __init__(self, k: int) -> None:
        generator = torch.Generator().manual_seed(k)
        self.k, self.orders = k, torch.tensor(list(permutations(range(k))))
        self.x = torch.randn((k, 3, 3), generator=generator, dtype=torch.float64)
        self.y = torch.randn((k, 3, 1), generator=generator, dtype=torch.float64)
        self.start = torch.randn((3, 1), generator=generator, dtype=torch.float64)

    def gradient(self, j: int, phi: Tensor) -> Tensor:
        return self.x[j].T @ (self.x[j] @ phi - self.y[j])

    def terms(self) -> tuple[Tensor, Tensor]:
        """AvgGrad, the mean gradient at the start, and AvgGradInner, the mean of H_i g_j over i ≠ j (section 5.1)."""
        g = [self.gradient(j, self.start) for j in range(self.k)]
        pairs = [self.x[i].T @ self.x[i] @ g[j] for i, j in permutations(range(self.k), 2)]
        return torch.stack(g).mean(0), torch.stack(pairs).mean(0)

    def update(self, method: str, alpha: Tensor) -> Tensor:
        """The expected gradient of the outer loop: exact, for every order of the minibatches occurs once."""
        total = torch.zeros_like(self.start)
        for order in self.orders.tolist():
            phi, gradients, jacobian = self.start, [], torch.eye(3, dtype=torch.float64)
            for j in order:
                gradients.append(self.gradient(j, phi))
                phi = phi - alpha * gradients[-1]
                if j != order[-1]:
                    jacobian = jacobian @ (torch.eye(3, dtype=torch.float64) - alpha * self.x[j].T @ self.x[j])
            total = (
                total + {"MAML": jacobian @ gradients[-1], "FOMAML": gradients[-1], "Reptile": sum(gradients)}[method]
            )
        return total / len(self.orders)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_taylor_coefficients(k: int) -> None:
    """Differentiate the expected gradients in α at 0 (paper, section 5.1: MAML's query is its last minibatch)."""
    task = Minibatches(k)
    average, inner = task.terms()
    wanted = {"MAML": (1, 2 * (k - 1)), "FOMAML": (1, k - 1), "Reptile": (k, k * (k - 1) / 2)}
    for method, (first, second) in wanted.items():
        zero = torch.zeros((), dtype=torch.float64)
        slope = torch.autograd.functional.jacobian(partial(task.update, method), zero)
        assert torch.allclose(task.update(method, zero), first * average, rtol=1e-12, atol=0)
        assert torch.allclose(-slope, second * inner, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_taylor_coefficients_of_the_learner(k: int) -> None:
    """`meta_gradient` / α is a polynomial in α of degree k − 1: k values of α give its coefficients exactly."""
    task, rates = Minibatches(k), torch.arange(1, k + 1, dtype=torch.float64) / 100
    tasks = len(task.orders)
    found = []
    for alpha in rates:
        net = Reptile(nn.Linear(3, 1, bias=False).double(), steps=k, batch=1, inner_rate=alpha.item(), optimiser="sgd")
        net.loss = half_square
        net.network.weight.data = task.start.T.clone()
        net.minibatches = lambda *_: task.orders[:, :, None]
        net.meta_gradient(regression(task.x.expand(tasks, -1, -1, -1), task.y.expand(tasks, -1, -1, -1)))
        found.append(net.network.weight.grad[0] / alpha)
    coefficients = torch.linalg.solve(torch.linalg.vander(rates), torch.stack(found))
    average, inner = task.terms()
    assert torch.allclose(coefficients[0], k * average[:, 0], rtol=1e-8)
    assert torch.allclose(-coefficients[1], k * (k - 1) / 2 * inner[:, 0], rtol=1e-6, atol=1e-7)


def test_minibatches_are_shuffled_passes() -> None:
    net, stream = Reptile(classifier(), batch=4), torch.Generator().manual_seed(0)
    order = net.minibatches(3, 6, 3, stream)
    assert not torch.equal(order, net.minibatches(3, 6, 3, stream))
    assert order.shape == (3, 3, 4)
    passes = order.reshape(3, 2, 6)
    assert torch.equal(passes.sort(dim=2).values, torch.arange(6).expand(3, 2, 6))
    assert not torch.equal(passes[:, 0], passes[:, 1])
    assert not torch.equal(passes[0], passes[1])
    assert net.minibatches(2, 3, 5, torch.Generator()).shape == (2, 5, 3)  # all, where there are fewer


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_tasks_do_not_depend_on_each_other(optimiser: str) -> None:
    net = Reptile(classifier().double(), steps=3, batch=6, inner_rate=0.01, optimiser=optimiser)
    tasks = episodes()
    together = net.adapt(tasks.support).weights
    for t, part in enumerate(tasks.split(1)):
        alone = net.adapt(part.support).weights
        # the first of T tasks draws the same minibatches as one alone
        assert all(torch.allclose(together[name][0], alone[name][0]) for name in alone) == (t == 0)

    net.meta_gradient(tasks)
    apart = [w.grad.clone() for w in net.network.parameters()]
    again = Reptile(classifier().double(), steps=3, batch=6, inner_rate=0.01, optimiser=optimiser)
    again.network_per_task.at_once = 3
    again.meta_gradient(tasks)
    for gradient, w in zip(apart, again.network.parameters(), strict=True):
        assert torch.allclose(gradient, w.grad, rtol=0, atol=1e-15)


def test_gradients_add_up_and_leave_the_weights_alone() -> None:
    net, tasks = Reptile(classifier(), steps=2, batch=20, inner_rate=0.01), episodes()
    before = deepcopy(net.network.state_dict())
    net.meta_gradient(tasks)
    once = [w.grad.clone() for w in net.network.parameters()]
    net.meta_gradient(tasks)
    assert all(
        torch.allclose(w.grad, 2 * g, rtol=1e-4, atol=1e-7) for w, g in zip(net.network.parameters(), once, strict=True)
    )
    assert all(torch.equal(before[name], w) for name, w in net.network.state_dict().items())


def test_the_same_support_set_gives_the_same_learner() -> None:
    net, tasks = Reptile(classifier(), test_steps=4, batch=4, inner_rate=0.01), episodes()
    stream = net.state_dict()["_extra_state"]
    first = net.adapt(tasks.support).predict(tasks.query.x)
    assert torch.equal(first, net.adapt(tasks.support).predict(tasks.query.x))
    assert torch.equal(stream, net.state_dict()["_extra_state"])
    seen = net.trajectory(tasks)
    right = (first.argmax(-1) == tasks.query.y).float().mean(1)
    assert torch.equal(seen.query_accuracy[:, -1], right)
    assert seen.support_loss.shape == (3, 5)


def test_without_transduction_every_query_is_judged_by_itself() -> None:
    tasks = episodes()
    for transductive in (False, True):
        net = Reptile(classifier(), test_steps=2, inner_rate=0.01, transductive=transductive)
        learner = net.adapt(tasks.support)
        together, alone = learner.predict(tasks.query.x)[:, :1], learner.predict(tasks.query.x[:, :1])
        assert torch.allclose(together, alone, atol=1e-5) != transductive


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    def train(steps: int, checkpoint: Path | None = None) -> Reptile:
        net = Reptile(classifier(), steps=2, batch=5, inner_rate=0.01)
        sampler = EpisodeSampler(FACES, 5, 2, 2, seed=1)
        trained = meta_train(net, sampler, steps=steps, rate=0.5, tasks=2, checkpoint=checkpoint, progress=False)
        return trained.learner

    whole = train(6).state_dict()
    train(3, tmp_path / "checkpoint.pt")
    resumed = train(6, tmp_path / "checkpoint.pt").state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_reptile_learns_to_learn_strangers() -> None:
    split = random_faces(people=60, each=6).split(seed=1)
    net = Reptile(classifier(), steps=5, batch=10, inner_rate=3e-3, test_steps=10)
    sampler = EpisodeSampler(split.base, 5, 3, 3)
    before = evaluate({"net": net}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    learner = meta_train(net, sampler, steps=60, tasks=4, rate=0.7, average=0.9, progress=False).learner
    after = evaluate({"net": learner}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    assert after > before + 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, but is 0"),
        ({"batch": 0}, "batch must be at least 1, but is 0"),
        ({"test_steps": -1}, "test_steps must be at least 0, but is -1"),
        ({"inner_rate": 0.0}, r"inner_rate must be above 0, but is 0\.0"),
        ({"optimiser": "adan"}, "no inner optimiser called 'adan'. Did you mean 'adam'"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        Reptile(classifier(), **options)


def test_errors_say_what_to_do() -> None:
    net = Reptile(classifier(norm="none"), steps=5, test_steps=5, inner_rate=1e30, optimiser="sgd")
    for diverge in (lambda: net.meta_gradient(episodes()), lambda: net.adapt(episodes().support)):
        with pytest.raises(
            MetaFaceError, match=r"After inner step 1 of 5 the loss.*Lower inner_rate, which is 1e\+30\."
        ):
            diverge()
    with pytest.raises(MetaFaceError, match=r"head has 4 outputs, but the episodes have 5 ways.*ways=5"):
        Reptile(classifier(ways=4)).meta_gradient(episodes())
    with pytest.raises(MetaFaceError, match="has batch normalisation"):
        Reptile(classifier(norm="batch"))
