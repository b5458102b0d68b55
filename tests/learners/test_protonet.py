"""The mathematics of `protonet`: each claim of its docstrings against an independent computation, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaface_lessons.augmentation import Augment
from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.protonet import DISTANCES, ProtoNet, cosine, euclidean, prototypes, squared_euclidean
from metaface_lessons.networks import Conv4
from tests.helpers import random_faces

TASKS, WAYS, SHOTS, QUERIES, DIMENSIONS = 3, 4, 2, 5, 6


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def episodes(seed: int = 0, size: int = 4) -> Episodes:
    """Small random tasks in float64, so that a derivative can be taken by differences."""

    def examples(each: int, seed: int) -> Examples:
        labels = torch.arange(WAYS).repeat_interleave(each).expand(TASKS, -1)
        return Examples(normal(TASKS, WAYS * each, 1, size, size, seed=seed), labels)

    return Episodes(examples(SHOTS, seed), examples(QUERIES, seed + 1), torch.arange(TASKS * WAYS).view(TASKS, WAYS))


def smooth_net(size: int = 4, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(size * size, 5), nn.Tanh(), nn.Linear(5, 3))
    return net.double()


# -------------------------------------------------------------------------------------------------------- the prototype


def test_prototypes_are_class_means_whatever_the_order_and_number_of_examples() -> None:
    points = normal(2, 6, DIMENSIONS)
    labels = torch.tensor([[2, 0, 0, 1, 0, 2], [1, 1, 0, 2, 2, 2]])
    got = prototypes(points, labels, ways=3)
    assert got.shape == (2, 3, DIMENSIONS)
    for task in range(2):
        for way in range(3):
            members = [points[task, i] for i in range(6) if labels[task, i] == way]
            assert torch.allclose(got[task, way], sum(members) / len(members), rtol=0, atol=1e-14)


def test_a_class_without_examples_is_named() -> None:
    labels = torch.tensor([[0, 1, 2], [0, 2, 2]])
    with pytest.raises(MetaFaceError, match="support set of task 1 has no example of class 1"):
        prototypes(normal(2, 3, DIMENSIONS), labels, ways=3)


def test_the_mean_minimises_the_summed_squared_distance() -> None:
    points = normal(7, DIMENSIONS)
    mean = points.mean(0)

    def cost(p: Tensor) -> Tensor:
        return squared_euclidean(points, p[None]).sum()

    # Its gradient there is zero: by autograd, and by central differences.
    p = mean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cost(p), p)
    assert gradient.abs().max() < 1e-13
    for step in 1e-4 * torch.eye(DIMENSIONS, dtype=torch.float64):
        assert abs(cost(mean + step) - cost(mean - step)) / 2e-4 < 1e-9
    # And everywhere, completing the square: cost(p) = cost(mean) + S·‖p − mean‖².
    for other in normal(20, DIMENSIONS, seed=1):
        assert torch.allclose(cost(other), cost(mean) + len(points) * (other - mean).square().sum(), rtol=1e-13)


def test_the_mean_does_not_minimise_the_summed_unsquared_distance() -> None:
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [6.0, 6.0]], dtype=torch.float64)
    mean = points.mean(0, keepdim=True)
    median = mean
    for _ in range(500):  # Weiszfeld's iteration: a mean with weights 1/distance
        weight = 1 / euclidean(points, median)
        median = (weight * points).sum(0, keepdim=True) / weight.sum()
    assert euclidean(points, median).sum() < 0.9 * euclidean(points, mean).sum()
    p = mean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(euclidean(points, p).sum(), p)
    assert gradient.norm() > 0.5


# ------------------------------------------------------------------------------------------------------------ distances


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_between_all_pairs(name: str) -> None:
    a, b = normal(TASKS, QUERIES, DIMENSIONS), normal(TASKS, WAYS, DIMENSIONS, seed=1)
    single = {
        "squared": lambda u, v: sum((x - y) ** 2 for x, y in zip(u, v, strict=True)),
        "euclidean": math.dist,
        "cosine": lambda u, v: 1 - sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v),
    }[name]
    got = DISTANCES[name](a, b)
    assert got.shape == (TASKS, QUERIES, WAYS)
    for t in range(TASKS):
        for q in range(QUERIES):
            for n in range(WAYS):
                assert got[t, q, n].item() == pytest.approx(single(a[t, q].tolist(), b[t, n].tolist()), abs=1e-13)


def test_unsquared_distance_has_a_finite_slope_at_zero() -> None:
    a = normal(1, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(euclidean(a, a.detach()).sum(), a)
    assert torch.isfinite(gradient).all()


def test_one_minus_cosine_is_half_the_squared_distance_of_unit_vectors() -> None:
    a, b = normal(QUERIES, DIMENSIONS), normal(WAYS, DIMENSIONS, seed=1)
    one_minus = 1 - F.cosine_similarity(a[:, None], b[None], dim=-1)
    halves = squared_euclidean(a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)) / 2
    assert (cosine(a, b) - one_minus).abs().max() < 1e-14
    assert (halves - one_minus).abs().max() < 1e-14


def test_the_renormalised_mean_of_unit_vectors_is_the_best_prototype_for_cosine() -> None:
    points = F.normalize(normal(5, DIMENSIONS), dim=-1)
    best = F.normalize(points.mean(0, keepdim=True), dim=-1)
    cost = cosine(points, best).sum()
    # Σ(1 − u·p) = S − S·‖mean‖·cos(mean, p), least at cos = 1.
    assert cost.item() == pytest.approx(5 - 5 * points.mean(0).norm().item(), abs=1e-13)
    directions = torch.cat([normal(2000, DIMENSIONS, seed=1), best + 1e-3 * normal(200, DIMENSIONS, seed=2)])
    assert (cosine(points, directions).sum(0) > cost).all()
    # The mean of the points as they come, not first scaled to length 1, is another direction, and worse.
    scaled = points * torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64)[:, None]
    assert cosine(scaled, scaled.mean(0, keepdim=True)).sum() > cost + 0.1


def test_with_cosine_the_learner_classifies_by_the_renormalised_mean() -> None:
    task = episodes()
    net = ProtoNet(smooth_net(), distance="cosine", temperature=0.1)
    got = net.adapt(task.support).predict(task.query.x)
    unit = F.normalize(net.embedding(task.support.x.flatten(0, 1)), dim=-1).view(TASKS, WAYS, SHOTS, -1)
    best = F.normalize(unit.mean(2), dim=-1)
    query = F.normalize(net.embedding(task.query.x.flatten(0, 1)), dim=-1).view(TASKS, WAYS * QUERIES, -1)
    assert (got - (torch.einsum("tqd,tnd->tqn", query, best) - 1) / 0.1).abs().max() < 1e-12


# ------------------------------------------------------------------------------------------------------- the classifier


def test_softmax_of_minus_squared_distance_is_a_linear_classifier() -> None:
    points, centres = normal(50, DIMENSIONS), normal(WAYS, DIMENSIONS, seed=1)
    weight, bias = 2 * centres, -centres.square().sum(-1)
    linear = points @ weight.T + bias
    distance = -squared_euclidean(points, centres)
    assert (linear.softmax(-1) - distance.softmax(-1)).abs().max() < 1e-12
    assert ((linear - distance) - points.square().sum(-1, keepdim=True)).abs().max() < 1e-12


def test_softmax_of_minus_unsquared_distance_is_not_linear() -> None:
    centres = normal(2, DIMENSIONS)
    a, b = normal(2, DIMENSIONS, seed=1)
    middle = torch.stack([a, (a + b) / 2, b])

    def bend(distance: str) -> float:  # of the log odds of two classes along a segment: 0 for an affine function
        odds = -DISTANCES[distance](middle, centres).diff(dim=-1).flatten()
        return float(odds[0] - 2 * odds[1] + odds[2])

    assert abs(bend("squared")) < 1e-13
    assert abs(bend("euclidean")) > 1e-2


def test_prediction_does_not_depend_on_which_power_of_the_distance() -> None:
    points, centres = normal(200, DIMENSIONS), normal(WAYS, DIMENSIONS, seed=1)
    nearest = squared_euclidean(points, centres).argmin(-1)
    assert torch.equal(euclidean(points, centres).argmin(-1), nearest)
    assert (
        euclidean(points, centres).neg().softmax(-1) - squared_euclidean(points, centres).neg().softmax(-1)
    ).abs().max() > 0.1


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradient_by_central_differences(distance: str) -> None:
    net, task = ProtoNet(smooth_net(), distance, temperature=0.7), episodes()
    net.meta_gradient(task)
    largest = 0.0
    for parameter in net.parameters():
        assert parameter.grad is not None
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            before, step = flat[i].item(), 1e-5
            values = []
            for moved in (before + step, before - step):
                flat[i] = moved
                with torch.no_grad():
                    values.append(net.loss(task)[0].item())
            flat[i] = before
            assert gradient[i].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)
            largest = max(largest, abs(gradient[i].item()))
    assert largest > 1e-2, "a gradient of zeros proves nothing"


@pytest.mark.parametrize("distance", DISTANCES)
def test_several_tasks_at_once_are_as_one_by_one(distance: str) -> None:
    net, together = ProtoNet(smooth_net(), distance), episodes()
    loss, logits = net.loss(together)
    alone = [
        net.loss(
            Episodes(
                Examples(together.support.x[t : t + 1], together.support.y[t : t + 1]),
                Examples(together.query.x[t : t + 1], together.query.y[t : t + 1]),
                together.identities[t : t + 1],
            )
        )
        for t in range(TASKS)
    ]
    assert (torch.cat([one for _, one in alone]) - logits).abs().max() < 1e-12
    assert torch.stack([one for one, _ in alone]).mean().item() == pytest.approx(loss.item(), abs=1e-13)


def test_agrees_with_a_plain_transcription_of_the_paper() -> None:
    """Algorithm 1 of Snell et al., a class and a query at a time."""
    net, task = ProtoNet(smooth_net()), episodes()
    total, logits = 0.0, torch.zeros(TASKS, WAYS * QUERIES, WAYS, dtype=torch.float64)
    with torch.no_grad():
        for t in range(TASKS):
            f = {id_: net.embedding(x) for id_, x in (("support", task.support.x[t]), ("query", task.query.x[t]))}
            c = [f["support"][task.support.y[t] == k].mean(0) for k in range(WAYS)]
            for q, y in enumerate(task.query.y[t].tolist()):
                d = [float(((f["query"][q] - c[k]) ** 2).sum()) for k in range(WAYS)]
                total += d[y] + math.log(sum(math.exp(-dk) for dk in d))
                logits[t, q] = -torch.tensor(d, dtype=torch.float64)
    loss, got = net.loss(task)
    assert (got - logits).abs().max() < 1e-12
    assert loss.item() == pytest.approx(total / (TASKS * WAYS * QUERIES), abs=1e-12)


@pytest.mark.needs("learn2learn")
def test_agrees_with_learn2learn() -> None:
    from metaface_lessons.learners import learn2learn_library

    learn2learn = learn2learn_library.import_learn2learn()
    net, task = ProtoNet(smooth_net()), episodes()
    with torch.no_grad():
        support, query = net.embed(task.support.x), net.embed(task.query.x)
        got = net.adapt(task.support).predict(task.query.x)
        for t in range(TASKS):
            theirs = learn2learn.nn.PrototypicalClassifier(support[t], task.support.y[t])
            assert (theirs(query[t]) - got[t]).abs().max() < 1e-12


def test_a_learner_predicts_what_the_loss_was_taken_of() -> None:
    faces = random_faces()
    task = EpisodeSampler(faces, ways=4, shots=2, queries=3, seed=0).sample(TASKS)
    net = ProtoNet(Conv4(1, 16, 8)).eval()
    _, logits = net.loss(task)
    assert torch.allclose(net.adapt(task.support).predict(task.query.x), logits, atol=1e-4)
    scores = net.meta_gradient(task)
    assert scores["loss"] == pytest.approx(
        F.cross_entropy(logits.flatten(0, 1), task.query.y.flatten()).item(), rel=1e-5
    )
    assert scores["accuracy"] == pytest.approx((logits.argmax(-1) == task.query.y).float().mean().item())


def test_in_evaluation_a_query_is_judged_by_itself() -> None:
    task = EpisodeSampler(random_faces(), ways=4, shots=2, queries=3, seed=0).sample(TASKS)
    net = ProtoNet(Conv4(1, 16, 8))
    net.meta_gradient(task)  # sets running statistics
    learner = net.eval().adapt(task.support)
    assert torch.allclose(learner.predict(task.query.x)[:, :1], learner.predict(task.query.x[:, :1]), atol=1e-4)


def test_augmentation_acts_in_training_alone() -> None:
    task = EpisodeSampler(random_faces(), ways=4, shots=2, queries=3, seed=0).sample(TASKS)
    net, plain = (ProtoNet(Conv4(1, 16, 8, norm="none"), augment=augment) for augment in (Augment(), None))
    assert torch.equal(net.adapt(task.support).predict(task.query.x), plain.adapt(task.support).predict(task.query.x))
    assert not torch.allclose(net.loss(task)[1], plain.loss(task)[1])


def test_temperature_divides_the_distances() -> None:
    task = episodes()
    warm, cold = (ProtoNet(smooth_net(), temperature=t) for t in (1.0, 0.25))
    assert (cold.loss(task)[1] - 4 * warm.loss(task)[1]).abs().max() < 1e-12


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'cosine'"):
        ProtoNet(smooth_net(), distance="cosin")
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(MetaFaceError, match="temperature must be above 0"):
            ProtoNet(smooth_net(), temperature=temperature)
