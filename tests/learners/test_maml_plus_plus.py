"""MAML++, switch by switch, proven in float64: by hand, by finite differences, and by what no switch may touch."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.learners.inner_loop import InnerLoop, Weights
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.maml_plus_plus import MAMLPlusPlus
from metaface_lessons.networks import Classifier, Conv4, TaskNorm, standardise
from metaface_lessons.training import Trained, meta_train
from tests.helpers import random_faces

FACES = random_faces(people=12, each=8)
ALL = {"rates": "step", "step_affine": True, "step_statistics": True}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=-1).mean() / 2


def classifier(norm: str = "task") -> Classifier:
    embedding = Conv4(1, 16, 8, depth=2, norm=norm)
    return Classifier(embedding, embedding.features, ways=4).double()


def images(tasks: int = 3, seed: int = 1) -> Episodes:
    return EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=seed).sample(tasks)


def gradients(net: InnerLoop, episodes: Episodes) -> dict[str, Tensor]:
    """The meta-gradient of every parameter that has one."""
    net.zero_grad()
    net.meta_gradient(episodes)
    return {name: w.grad.clone() for name, w in net.named_parameters() if w.grad is not None}


def parabola(**options: Any) -> tuple[MAMLPlusPlus, Episodes]:
    """½a(θ − c)² with a = 2, c = 1 for support and query; θ = 4. The error of φ shrinks by 1 − 2α in a step."""
    x = y = torch.full((1, 1, 1), math.sqrt(2), dtype=torch.float64)
    network = nn.Linear(1, 1, bias=False).double()
    network.weight.data[:] = 4.0
    tasks = Episodes(Examples(x, y), Examples(x, y), torch.zeros((1, 0), dtype=torch.int64))
    return MAMLPlusPlus(network, loss=half_square, **{"steps": 3, "inner_rate": 0.1, **options}), tasks


# ----------------------------------------------------------------------------------------------------- all switches off


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("rates", ["fixed", "layer", "parameter"])
@pytest.mark.parametrize("fast", [False, True])
def test_all_switches_off_it_is_maml(fast: bool, rates: str, first_order: bool) -> None:
    given = {"steps": 2, "test_steps": 3, "rates": rates, "first_order": first_order, "fast": fast}
    plain, ours, episodes = MAML(classifier(), **given), MAMLPlusPlus(classifier(), **given), images()
    assert ours.formulation == plain.formulation
    assert plain.meta_gradient(episodes) == ours.meta_gradient(episodes)
    wanted, found = gradients(plain, episodes), gradients(ours, episodes)
    assert list(wanted) == list(found)
    assert all(torch.equal(found[name], gradient) for name, gradient in wanted.items())
    assert all(map(torch.equal, ours.trajectory(episodes), plain.trajectory(episodes)))
    predicted = (net.adapt(episodes.support).predict(episodes.query.x) for net in (plain, ours))
    assert torch.equal(*predicted)
    assert ours.state_dict().keys() == plain.state_dict().keys()


def test_all_switches_off_it_trains_as_maml() -> None:
    trained = [
        meta_train(
            kind(classifier(), steps=2, rates="layer"),
            EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=1),
            steps=5,
            tasks=2,
            progress=False,
        )
        for kind in (MAML, MAMLPlusPlus)
    ]
    assert trained[0].history == trained[1].history
    states = [each.learner.state_dict() for each in trained]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


# ------------------------------------------------------------------------------------------------------ multi-step loss


def test_the_weights_of_the_steps_fall_in_a_straight_line() -> None:
    net, _ = parabola(steps=4, multi_step=20)
    for t, wanted in (
        (0, [0.25, 0.25, 0.25, 0.25]),
        (5, [0.1875, 0.1875, 0.1875, 0.4375]),
        (10, [0.125, 0.125, 0.125, 0.625]),
        (20, [0.0, 0.0, 0.0, 1.0]),
        (99, [0.0, 0.0, 0.0, 1.0]),
    ):
        net.outer_step = t
        assert net.loss_weights() == pytest.approx(wanted, abs=1e-15)
    assert parabola(steps=4)[0].loss_weights() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("t", [0, 3, 9, 10])
def test_the_multi_step_loss_has_the_gradient_that_one_calculates(t: int) -> None:
    """L(φ_j; Q) = ½·2·(0.8^j·3)², so its slope in θ is 2·0.8^j·(0.8^j·3); of first order the last 0.8^j is a 1."""
    net, tasks = parabola(multi_step=10)
    net.outer_step = t
    v = [(1 - t / 10) / 3, (1 - t / 10) / 3, 1 - 2 * (1 - t / 10) / 3]
    for first_order in (False, True):
        net.first_order = first_order
        wanted = sum(
            weight * 2 * 3 * 0.8**j * (1 if first_order else 0.8**j) for j, weight in zip((1, 2, 3), v, strict=True)
        )
        assert gradients(net, tasks)["network.weight"].item() == pytest.approx(wanted, abs=1e-13)
    assert net.meta_gradient(tasks)["loss"] == pytest.approx((3 * 0.8**3) ** 2), "that of the last step"


# ------------------------------------------------------------------------------------------- rates of layers and steps


def test_there_is_a_rate_for_each_layer_and_step() -> None:
    net = MAMLPlusPlus(classifier(), steps=3, inner_rate=0.1, rates="step")
    assert net.layers == ["embedding.0", "embedding.2", "embedding.4", "embedding.6", "head"]
    assert torch.equal(net.rates, torch.full((3, 5), 0.1, dtype=torch.float64))
    assert (gradients(net, images())["rates"] != 0).all()
    net.rates.data[:] = 0.0
    net.rates.data[1, 0] = 0.1  # the first layer moves in the second step, and nothing else moves
    path = list(net.inner_loop(net.start(images().support), images().support, 3))
    moved = [{name for name in path[0] if not torch.equal(path[j][name], path[j + 1][name])} for j in range(3)]
    assert moved == [set(), {"embedding.0.weight"}, set()]


def test_each_rate_learns_by_the_formula() -> None:
    """∂L(φ_3)/∂α_j = −2 · 2 · 3² · Π_{i≠j}(1 − 2α_i) · Π_i(1 − 2α_i), with L = (φ − 1)²."""
    net, tasks = parabola(rates="step")
    net.rates.data = torch.tensor([[0.1], [0.2], [0.05]], dtype=torch.float64)
    r = 1 - 2 * net.rates.detach()[:, 0]
    found = gradients(net, tasks)
    for j in range(3):
        others = r[[i for i in range(3) if i != j]].prod()
        assert found["rates"][j].item() == pytest.approx((-4 * 9 * others * r.prod()).item(), abs=1e-13)
    assert found["network.weight"].item() == pytest.approx((2 * 3 * r.prod() ** 2).item(), abs=1e-13)
    error = [w["weight"].item() - 1 for w in net.inner_loop(net.start(tasks.support), tasks.support, 5)]
    further = [*r.tolist(), 0.9, 0.9]  # steps that meta-training does not have take the rate of its last one
    assert error == pytest.approx([3 * math.prod(further[:j]) for j in range(6)], abs=1e-13)


def test_rates_that_are_all_alike_are_those_of_the_layers() -> None:
    layers, steps = (MAMLPlusPlus(classifier(), steps=3, rates=kind) for kind in ("layer", "step"))
    wanted, found = gradients(layers, images()), gradients(steps, images())
    assert torch.allclose(found["rates"].sum(0), wanted["rates"], rtol=0, atol=1e-13)
    for name, gradient in wanted.items():
        assert name == "rates" or torch.allclose(found[name], gradient, rtol=0, atol=1e-13)


# ------------------------------------------------------------------------------------- finite differences, all switches


class Smooth(nn.Sequential):
    """Two blocks without kinks, each with a `TaskNorm`."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 2, 3, bias=False),
            TaskNorm(2),
            nn.Tanh(),
            nn.Conv2d(2, 2, 2, bias=False),
            TaskNorm(2),
            nn.Tanh(),
        )
        self.append(nn.Flatten())


def smooth(**options: Any) -> tuple[MAMLPlusPlus, Episodes]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Classifier(Smooth(), features=2, ways=3).double()
    y = torch.arange(3).repeat(2, 2)
    x = (normal(2, 6, 1, 4, 4, seed=seed) for seed in (0, 1))
    episodes = Episodes(*(Examples(each, y) for each in x), torch.zeros(2, 3).long())
    net = MAMLPlusPlus(network, steps=3, inner_rate=0.2, **options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, w in net.state_dict(keep_vars=True).items():
            if name in ("gammas", "betas", "means", "variances", "rates"):  # no two steps alike
                w += 0.1 * torch.rand(w.shape, generator=generator, dtype=w.dtype)
    return net, episodes


SWITCHES = {
    "multi-step loss": {"multi_step": 8},
    "rates": {"rates": "step"},
    "affine": {"step_affine": True},
    "statistics": {"step_statistics": True},
    "all": ALL | {"multi_step": 8},
    "all, transductive": ALL | {"multi_step": 8, "transductive": True},
}


@functools.cache
def central_differences(kind: str, h: float = 1e-5) -> dict[str, Tensor]:
    """The slope of Σ v_j L(φ_j; Q) along every parameter, gradients left aside."""
    net, episodes = smooth(**SWITCHES[kind])
    net.outer_step = 2
    v, slopes = torch.tensor(net.loss_weights()), {}
    for name, w in net.named_parameters():
        if not w.requires_grad:
            continue
        flat, slope = w.data.view(-1), torch.zeros_like(w).view(-1)
        for i, start in enumerate(flat.tolist()):
            values = []
            for moved in (start + h, start - h):
                flat[i] = moved
                values.append((net.trajectory(episodes, 3).query_loss[:, 1:] @ v.double()).mean().item())
            flat[i], slope[i] = start, (values[0] - values[1]) / (2 * h)
        slopes[name] = slope.view_as(w)
    return slopes


@pytest.mark.parametrize("kind", SWITCHES)
def test_the_meta_gradient_by_central_differences(kind: str) -> None:
    net, episodes = smooth(**SWITCHES[kind])
    net.outer_step = 2
    found, slopes = gradients(net, episodes), central_differences(kind)
    for name, slope in slopes.items():
        if name in found:
            assert (found[name] - slope).abs().max() < 1e-7, name
        else:
            assert slope.abs().max() < 1e-9, name
    for name in {"rates", "gammas", "betas"} & found.keys():
        assert found[name].abs().amax(1).min() > 1e-6, f"{name} of some step does nothing"


@pytest.mark.parametrize("kind", SWITCHES)
def test_the_first_order_gradient_fails_that_test(kind: str) -> None:
    net, episodes = smooth(**SWITCHES[kind], first_order=True)
    net.outer_step = 2
    found, slopes = gradients(net, episodes), central_differences(kind)
    assert max((found[name] - slopes[name]).abs().max() for name in found) > 1e-3


# ------------------------------------------------------------------------------ per-step weights, biases and statistics


@pytest.mark.parametrize("what", ["gammas", "betas", "means", "variances"])
@pytest.mark.parametrize("j", [0, 1, 2, 3])
def test_what_a_step_has_of_its_own_is_used_there_and_nowhere_else(what: str, j: int) -> None:
    """With inner rates of 0 all φ_j are alike, so a change to one step shows there alone.

    Statistics that are collected and never read, as in the released code, would show nowhere.
    """
    net, episodes = smooth(**ALL)
    net.rates.data[:] = 0.0
    before = net.trajectory(episodes, 5)
    getattr(net, what).data[j] *= 1.3
    after = net.trajectory(episodes, 5)
    changed = [j] if j < 3 else [3, 4, 5]  # further steps go on with what the last one has
    for one, other in ((before.support_loss, after.support_loss), (before.query_loss, after.query_loss)):
        assert [n for n in range(6) if not torch.equal(one[:, n], other[:, n])] == changed


@pytest.mark.parametrize("j", [0, 1, 2, 3])
def test_the_statistics_of_a_step_reach_the_gradient_of_that_step_and_later_ones(j: int) -> None:
    net, episodes = smooth(**ALL)
    before = list(net.inner_loop(net.start(episodes.support), episodes.support, 3))
    net.means[j] += 0.5
    after = list(net.inner_loop(net.start(episodes.support), episodes.support, 3))
    same = [torch.equal(a["head.weight"], b["head.weight"]) for a, b in zip(before, after, strict=True)]
    assert same == [n <= j for n in range(4)], "φ_{j+1} is the first that the statistics of step j can change"


def test_a_norm_takes_the_share_of_its_batch() -> None:
    """With m = 1 nothing is left of the running averages: that is MAML. With m = 0 nothing is left of the batch."""
    episodes = images()
    plain = MAML(classifier(), steps=2, fast=False).adapt(episodes.support).predict(episodes.query.x)
    net = MAMLPlusPlus(classifier(), steps=2, step_statistics=True)
    for norm in net._norms():
        norm.momentum = 1.0
    assert torch.allclose(net.adapt(episodes.support).predict(episodes.query.x), plain, rtol=0, atol=1e-10)

    net = MAMLPlusPlus(classifier(), steps=2, test_steps=0, step_statistics=True)
    net.variances -= 1e-5  # with ε, the averages are now 0 and 1
    for norm in net._norms():
        norm.momentum = 0.0
    bare = classifier()
    bare.embedding[2], bare.embedding[6] = nn.Identity(), nn.Identity()
    found = net.adapt(episodes.support).predict(episodes.query.x)
    assert torch.allclose(found[0], bare(episodes.query.x[0]), rtol=0, atol=1e-13)


def test_the_averages_move_to_what_their_step_has_seen() -> None:
    """By hand for the first norm, which sees max-pooled convolutions of the support set with the weights φ_j."""
    net, episodes = MAMLPlusPlus(classifier(), steps=2, inner_rate=0.5, step_statistics=True), images()
    path = list(net.inner_loop(net.start(episodes.support), episodes.support, 2))
    before = net.means.clone(), net.variances.clone()
    net.meta_gradient(episodes)
    for j, phi in enumerate(path):
        seen = []
        for task in range(3):
            x = standardise(episodes.support.x[task]).double()
            seen.append(F.max_pool2d(F.conv2d(x, phi["embedding.0.weight"][task], padding=1), 2))
        mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
        variance = torch.stack([x.var((0, 2, 3), unbiased=False) for x in seen]).mean(0)
        assert torch.allclose(net.means[j, :4], 0.9 * before[0][j, :4] + 0.1 * mean, rtol=0, atol=1e-13)
        assert torch.allclose(net.variances[j, :4], 0.9 * before[1][j, :4] + 0.1 * variance, rtol=0, atol=1e-13)
    assert (net.means[0] - net.means[2]).abs().max() > 1e-4, "each step has its own"


def test_only_support_sets_of_meta_training_move_the_averages() -> None:
    episodes, other = images(), images(seed=2)
    nets = [MAMLPlusPlus(classifier(), steps=2, multi_step=4, step_statistics=True) for _ in range(2)]
    nets[0].meta_gradient(episodes)
    nets[1].meta_gradient(Episodes(episodes.support, other.query, episodes.identities))
    assert torch.equal(nets[0].means, nets[1].means)
    assert torch.equal(nets[0].variances, nets[1].variances)
    kept = nets[0].means.clone(), nets[0].variances.clone()
    nets[0].adapt(other.support).predict(other.query.x)
    nets[0].trajectory(other)
    assert torch.equal(nets[0].means, kept[0])
    assert torch.equal(nets[0].variances, kept[1])
    assert kept[0].abs().max() > 1e-3


def test_the_averages_do_not_depend_on_how_the_tasks_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for at_once in (1, 2, 5):
        net = MAMLPlusPlus(classifier(), steps=2, step_statistics=True)
        monkeypatch.setattr(type(net.network_per_task), "at_once", at_once)
        gradient = gradients(net, images(5))
        found.append([net.means, net.variances, *gradient.values()])
    for one, *others in zip(*found, strict=True):
        assert all(torch.allclose(one, other, rtol=0, atol=1e-13) for other in others)


def test_a_query_is_judged_by_itself() -> None:
    net, episodes = MAMLPlusPlus(classifier(), steps=2, **ALL), images()
    net.meta_gradient(episodes)
    learner = net.adapt(episodes.support)
    together, alone = learner.predict(episodes.query.x)[:, :1], learner.predict(episodes.query.x[:, :1])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)


def test_only_the_outer_loop_learns_the_weights_and_biases_of_steps() -> None:
    episodes, seen = images(), list[dict[str, Tensor]]()
    for fast in (False, True):
        net = MAMLPlusPlus(classifier(), steps=2, step_affine=True, fast=fast)
        assert net.formulation == ("tasks as channel groups" if fast else "one by one")
        assert net.gammas.shape == net.betas.shape == (3, 12)
        net.gammas.data += 0.1 * normal(3, 12).abs()
        seen.append(gradients(net, episodes))
        assert not {name for name in seen[-1] if "embedding.2" in name or "embedding.6" in name}, "the network's own"
        assert (seen[-1]["gammas"].abs().amax(1) > 1e-9).all()
        assert net.rates_at(0).keys() == {name for name, w in net.network.named_parameters() if w.ndim > 1} | {
            "head.bias"
        }
        for j, phi in enumerate(net.inner_loop(net.start(episodes.support), episodes.support, 2)):
            assert torch.equal(phi["embedding.2.weight"], net.gammas[j, :4].expand(3, -1))
            assert torch.equal(phi["embedding.6.bias"], net.betas[j, 4:].expand(3, -1))
    assert all(torch.allclose(seen[1][name], seen[0][name], rtol=0, atol=1e-10) for name in seen[0])


# -------------------------------------------------------------------------------------------- what depends on the step


def test_the_order_changes_at_its_step() -> None:
    net, episodes = MAMLPlusPlus(classifier(), steps=2, first_order_steps=3), images()
    second = gradients(MAML(classifier(), steps=2), episodes)
    first = gradients(MAML(classifier(), steps=2, first_order=True), episodes)
    for t in range(5):
        net.outer_step = t
        found = gradients(net, episodes)
        for name, gradient in (first if t < 3 else second).items():
            assert torch.allclose(found[name], gradient, rtol=0, atol=1e-13)
    assert (first["network.embedding.0.weight"] - second["network.embedding.0.weight"]).abs().max() > 1e-4


def test_the_rate_is_a_cosine() -> None:
    net, _ = parabola(cosine_steps=100)
    for t, wanted in ((0, 1.0), (25, 0.505 + 0.495 * math.sqrt(0.5)), (50, 0.505), (100, 0.01), (500, 0.01)):
        net.outer_step = t
        assert net.outer_rate(0.2, halve_every=10) == pytest.approx(0.2 * wanted, abs=1e-15)
    plain, _ = parabola()
    plain.outer_step = 20
    assert plain.outer_rate(0.2, halve_every=10) == 0.05


def train(net: MAMLPlusPlus, steps: int, **options: Any) -> Trained:
    sampler = EpisodeSampler(FACES, ways=4, shots=2, queries=3, seed=1)
    return meta_train(net, sampler, steps=steps, tasks=2, rate=0.01, progress=False, **options)


def test_a_training_passes_through_all_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen = MAMLPlusPlus(classifier(), steps=2, multi_step=4, first_order_steps=2, cosine_steps=6), list[tuple]()
    made = net.optimiser(0.01)
    monkeypatch.setattr(net, "optimiser", lambda rate: made)
    inner_loop = net.inner_loop

    def watch(weights: Weights, support: Examples, steps: int, graph: bool = False) -> Any:
        seen.append((graph, net.loss_weights()[0], made.param_groups[0]["lr"]))
        return inner_loop(weights, support, steps, graph)

    monkeypatch.setattr(net, "inner_loop", watch)
    monkeypatch.setattr(type(net.network_per_task), "at_once", 9)
    train(net, 7)
    order, first, rate = zip(*seen, strict=True)
    assert list(order) == [False, False, True, True, True, True, True]
    assert list(first) == pytest.approx([0.5, 0.375, 0.25, 0.125, 0, 0, 0])
    assert list(rate) == pytest.approx([1e-4 + 0.0099 * (1 + math.cos(math.pi * t / 6)) / 2 for t in range(7)])


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_training_goes_on_in_the_middle_of_every_schedule(stop: int, tmp_path: Path) -> None:
    def make() -> MAMLPlusPlus:
        return MAMLPlusPlus(classifier(), steps=2, multi_step=6, first_order_steps=4, cosine_steps=9, **ALL)

    whole = train(make(), 8)
    train(make(), stop, checkpoint=tmp_path / "checkpoint.pt")
    resumed = train(make(), 8, checkpoint=tmp_path / "checkpoint.pt")
    assert resumed.resumed_at == stop
    assert resumed.history == whole.history
    states = [each.learner.state_dict() for each in (whole, resumed)]
    assert {"rates", "gammas", "betas", "means", "variances"} <= states[0].keys()
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


def test_it_learns_to_learn_strangers() -> None:
    split = random_faces(people=60, each=6).split(seed=1)
    embedding = Conv4(1, 16, 8, depth=2, norm="task")
    schedules = {"multi_step": 20, "first_order_steps": 10, "cosine_steps": 60}
    net = MAMLPlusPlus(Classifier(embedding, embedding.features, ways=5), steps=3, **schedules, **ALL)
    before = evaluate({"net": net}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    trained = meta_train(net, EpisodeSampler(split.base, 5, 3, 3), steps=40, tasks=4, rate=1e-2, progress=False)
    after = evaluate({"net": trained.learner}, EpisodeSampler(split.novel, 5, 3, 3), 40)["net"].accuracy
    assert after > before + 0.1


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": "steps"}, "no kind of inner rates called 'steps'. Did you mean 'step'"),
        ({"steps": 0}, "steps must be at least 1, but is 0"),
        ({"multi_step": -1}, "multi_step must be at least 0, but is -1"),
        ({"first_order_steps": -1}, "first_order_steps must be at least 0, but is -1"),
        ({"cosine_steps": -5}, "cosine_steps must be at least 0, but is -5"),
        ({"test_steps": -2}, "steps and test_steps must be 0 or more"),
        ({"adapt": "head"}, r"MAML\+\+ adapts all weights"),
        ({"memory": "steps"}, r"MAML\+\+ keeps all inner steps, but memory is 'steps'"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        MAMLPlusPlus(classifier(), **options)


@pytest.mark.parametrize("switch", ["step_affine", "step_statistics"])
def test_per_step_normalisation_needs_a_norm(switch: str) -> None:
    with pytest.raises(MetaFaceError, match=r"needs a network with a TaskNorm, but this one has none"):
        MAMLPlusPlus(classifier("group"), **{switch: True})


@pytest.mark.parametrize("steps", [5, 2])  # the loss is infinite in the middle of the loop, and after its end
def test_a_diverging_inner_loop_names_the_step(steps: int) -> None:
    net, tasks = parabola(steps=steps, inner_rate=1e100, multi_step=3)
    with pytest.raises(MetaFaceError, match=rf"After inner step 2 of {steps} .*Lower inner_rate"):
        net.meta_gradient(tasks)
