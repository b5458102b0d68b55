"""Ways to the meta-gradient: all are the same in float64, and differ in memory as the module says."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.meta_gradients import WAYS, gradients
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.machine import TensorMemory
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.runs.recipes import MEMORY
from metaface_lessons.sinusoids import SinusoidSampler, regressor
from metaface_lessons.training import meta_train
from tests.learners.test_maml import half_square, smooth

EXACT = [way for way in WAYS if way not in ("all", "differences")]
STEPS = (1, 5, 7, 50)  # 7 is not a multiple of its root


def noise(tasks: int = 2, size: int = 16, shots: int = 2, queries: int = 3, ways: int = 4) -> Episodes:
    """Tasks of noise, which no network can learn: so gradients do not fade within fifty steps."""
    draw = torch.Generator().manual_seed(0)

    def examples(each: int) -> Examples:
        x = torch.randint(0, 256, (tasks, ways * each, 1, size, size), generator=draw, dtype=torch.uint8)
        return Examples(x, torch.arange(ways).repeat_interleave(each).expand(tasks, -1))

    return Episodes(examples(shots), examples(queries), torch.zeros(tasks, ways, dtype=torch.long))


def classifier(ways: int = 4, size: int = 16, width: int = 4, depth: int = 2) -> Classifier:
    embedding = Conv4(1, size, width, depth=depth, norm="task")
    return Classifier(embedding, embedding.features, ways).double()


def four_blocks() -> Classifier:
    return classifier(width=4, depth=4)


KINDS: dict[str, Any] = {
    "Conv-4, rates by layer": lambda **o: MAML(four_blocks(), rates="layer", inner_rate=0.02, **o),
    "one by one, rates by layer": lambda **o: MAML(classifier(), rates="layer", inner_rate=0.02, fast=False, **o),
    "Meta-SGD": lambda **o: MAML(classifier(), rates="parameter", inner_rate=0.02, **o),
    "fixed rates, transductive": lambda **o: MAML(classifier(), inner_rate=0.02, transductive=True, **o),
    "ANIL": lambda **o: MAML(classifier(), adapt="head", rates="layer", inner_rate=0.02, **o),
    "ProtoMAML": lambda **o: ProtoMAML(
        classifier().embedding, 64, temperature=50.0, rates="parameter", inner_rate=0.02, **o
    ).double(),
}


@functools.cache
def stored(kind: str, steps: int) -> dict[str, Tensor]:
    return gradients(KINDS[kind](steps=steps), noise())


def apart(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest difference, as a share of the largest number in the gradient of that parameter."""
    assert found.keys() == wanted.keys()
    return max(((found[name] - wanted[name]).abs().max() / wanted[name].abs().max()).item() for name in wanted)


@pytest.mark.parametrize("way", EXACT)
@pytest.mark.parametrize(
    ("kind", "steps"),
    [(kind, steps) for kind in KINDS for steps in STEPS if kind.startswith("Conv-4") or steps in (1, 7)],
)
def test_all_ways_are_the_same(kind: str, steps: int, way: str) -> None:
    wanted = stored(kind, steps)
    assert "rates" in wanted or "fixed" in kind
    assert all(gradient.abs().max() > 1e-6 for gradient in wanted.values()), "a gradient of zeros proves nothing"
    assert apart(gradients(KINDS[kind](steps=steps, memory=way), noise()), wanted) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_first_order_would_fail_that_test(kind: str) -> None:
    first = gradients(KINDS[kind](steps=5, first_order=True), noise())
    assert apart(first, stored(kind, 5)) > 1e-4


@pytest.mark.parametrize("kind", ["task norm, support statistics", "learned rates", "head, Meta-SGD"])
def test_differences_are_nearly_the_same_on_smooth_networks(kind: str) -> None:
    net, episodes = smooth(kind, steps=7)
    wanted = gradients(net, episodes)
    net.memory = "differences"
    assert 1e-14 < apart(gradients(net, episodes), wanted) < 1e-7, "they are differences, so not exact"


# --------------------------------------------------------------------------------------------------- known closed forms


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("way", WAYS)
def test_linear_regression_has_the_meta_gradient_of_the_formula(way: str, steps: int) -> None:
    """(I − αX_SᵀX_S/K)^k · X_Qᵀ(X_Qφ − y_Q)/Q. The rate's gradient is −Σ_j ⟨∇L(φ_j; S), v_{j+1}⟩."""
    draw, eye = torch.Generator().manual_seed(0), torch.eye(4, dtype=torch.float64)
    x, y, x_q, y_q = (
        torch.randn(3, *shape, generator=draw, dtype=torch.float64) for shape in ((5, 4), (5, 1), (7, 4), (7, 1))
    )
    network = nn.Linear(4, 1, bias=False).double()
    nn.init.constant_(network.weight, 0.5)
    net = MAML(network, steps=steps, inner_rate=0.1, rates="layer", loss=half_square, memory=way)
    of_theta, of_rate = torch.zeros(4, 1, dtype=torch.float64), 0.0
    for t in range(3):
        path = [network.weight.detach().T]
        slopes = []
        for _ in range(steps):
            slopes.append(x[t].T @ (x[t] @ path[-1] - y[t]) / 5)
            path.append(path[-1] - 0.1 * slopes[-1])
        v = x_q[t].T @ (x_q[t] @ path[-1] - y_q[t]) / 7
        for slope in reversed(slopes):
            of_rate -= (slope * v).sum().item() / 3
            v = (eye - 0.1 * x[t].T @ x[t] / 5) @ v
        of_theta += v / 3
    episodes = Episodes(Examples(x, y), Examples(x_q, y_q), torch.zeros((3, 0), dtype=torch.int64))
    found = gradients(net, episodes)
    exact = 1e-12 if way != "differences" else 1e-9
    assert torch.allclose(found["network.weight"].T, of_theta, rtol=0, atol=exact)
    assert found["rates"].item() == pytest.approx(of_rate, abs=exact)
    assert abs(of_rate) > 1e-2


@pytest.mark.parametrize("way", EXACT)
def test_a_smooth_network_by_central_differences_of_the_loss(way: str) -> None:
    network = regressor(width=4, depth=1).double()
    network[1] = nn.Tanh()
    net = MAML(network, steps=7, inner_rate=0.05, loss=F.mse_loss, memory=way)
    draw = torch.Generator().manual_seed(1)
    x, y = (torch.randn(2, 2, 6, 1, generator=draw, dtype=torch.float64) for _ in range(2))
    tasks = Episodes(Examples(x[0], y[0]), Examples(x[1], y[1]), torch.zeros((2, 0), dtype=torch.int64))
    found = gradients(net, tasks)
    for name, w in net.named_parameters():
        if not w.requires_grad:
            continue
        flat = w.data.view(-1)
        for i, start in enumerate(flat.tolist()):
            values = []
            for moved in (start + 1e-5, start - 1e-5):
                flat[i] = moved
                values.append(net.trajectory(tasks).query_loss[:, -1].mean().item())
            flat[i] = start
            assert found[name].view(-1)[i].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


# -------------------------------------------------------------------------------------------------------------- memory


@functools.cache
def peak(way: str, steps: int, fast: bool) -> int:
    """The most bytes of tensors that live during a meta-gradient of one task."""
    net = MAML(classifier(width=8), steps=steps, inner_rate=0.02, memory=way, fast=fast)
    with TensorMemory() as memory:
        gradients(net, noise(tasks=1, shots=5, queries=1))
    return memory.peak


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("way", ["steps", "nested", "adjoint", "forward"])
def test_fifty_steps_fit_where_five_did(way: str, fast: bool) -> None:
    assert peak(way, 50, fast) < 1.3 * peak(way, 5, fast)
    assert peak(way, 50, fast) < 0.7 * peak("all", 5, fast)


@pytest.mark.parametrize("fast", [True, False])
def test_what_is_kept_grows_as_the_module_says(fast: bool) -> None:
    graph = (peak("all", 7, fast) - peak("all", 5, fast)) / 2  # A, of one step
    assert peak("all", 50, fast) - peak("all", 5, fast) == pytest.approx(45 * graph, rel=0.02)
    segments = peak("segments", 50, fast) - peak("segments", 5, fast)
    assert segments == pytest.approx((7 - 2) * graph, rel=0.4), "the root of 50 is 7, that of 5 is 2"
    by_steps, nested = (peak(way, 50, fast) - peak(way, 5, fast) for way in ("steps", "nested"))
    weights = sum(w.numel() * w.element_size() for w in classifier(width=8).parameters())
    assert by_steps == pytest.approx(45 * weights, rel=0.1), "a copy of the weights for each step more"
    assert nested < 0.4 * by_steps


# ----------------------------------------------------------------------------------------------- training, and mistakes


@pytest.mark.parametrize("way", EXACT)
def test_training_leads_to_the_same_weights(way: str) -> None:
    trained = {}
    for memory in ("all", way):
        network = regressor(width=8).double()
        net = MAML(network, steps=5, inner_rate=0.01, rates="layer", loss=F.mse_loss, memory=memory)
        meta_train(net, _Doubled(5, 5), steps=5, tasks=3, progress=False)
        trained[memory] = torch.cat([w.detach().flatten() for w in net.parameters()])
    assert torch.allclose(trained["all"], trained[way], rtol=0, atol=1e-11)


class _Doubled(SinusoidSampler):
    """Sinusoids in float64."""

    def sample(self, tasks: int = 1) -> Episodes:
        drawn = super().sample(tasks)
        support, query = (Examples(e.x.double(), e.y.double()) for e in (drawn.support, drawn.query))
        return Episodes(support, query, drawn.identities)


def test_gradients_leave_what_was_there() -> None:
    net = MAML(classifier(), steps=1)
    before = {name: torch.full_like(w, 3.0) for name, w in net.named_parameters()}
    for name, w in net.named_parameters():
        w.grad = before[name]
    gradients(net, noise())
    assert all(w.grad is before[name] and (w.grad == 3).all() for name, w in net.named_parameters())


def test_the_command_offers_the_exact_ways() -> None:
    assert [*MEMORY] == [way for way in WAYS if way != "differences"]


@pytest.mark.parametrize("way", EXACT)
def test_a_diverging_inner_loop_names_the_step(way: str) -> None:
    x, y = torch.ones(1, 3, 4, dtype=torch.float64), torch.zeros(1, 3, 1, dtype=torch.float64)
    tasks = Episodes(Examples(x, y), Examples(x, y), torch.zeros((1, 0), dtype=torch.int64))
    net = MAML(nn.Linear(4, 1).double(), steps=9, inner_rate=1e100, loss=half_square, memory=way)
    with pytest.raises(MetaFaceError, match=r"After inner step 2 of 9 .*Lower inner_rate"):
        net.meta_gradient(tasks)


def test_what_would_not_be_the_same_when_made_again_is_refused() -> None:
    for layer, why in ((nn.Dropout(0.5), "has dropout"), (nn.BatchNorm2d(1), "has batch normalisation")):
        network = nn.Sequential(layer, nn.Flatten(), nn.Linear(256, 4))
        with pytest.raises(MetaFaceError, match=why):
            MAML(network, memory="steps")


def test_unknown_ways_and_channel_groups_forward_say_what_to_do() -> None:
    with pytest.raises(MetaFaceError, match=r"no way to the meta-gradient called 'step'\. Did you mean 'steps'"):
        MAML(classifier(), memory="step")
    net = MAML(classifier(), steps=1)
    net.memory = "forward"
    with pytest.raises(MetaFaceError, match="Use memory='adjoint'"):
        net.meta_gradient(noise())
    assert MAML(classifier(), memory="forward").formulation == "one by one"
