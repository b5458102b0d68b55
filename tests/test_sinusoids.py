from __future__ import annotations

import math

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.sinusoids import Curves, SinusoidSampler, regressor


def test_tasks_are_points_of_one_sinusoid_each() -> None:
    sampler = SinusoidSampler(shots=10, queries=5, seed=3)
    curves = sampler.curves(tasks=2000)
    assert 0.1 <= curves.amplitude.min() < 0.12
    assert 4.98 < curves.amplitude.max() <= 5
    assert 0 <= curves.phase.min() < 0.01
    assert math.pi - 0.01 < curves.phase.max() <= math.pi
    episodes = sampler.episodes(curves)
    assert episodes.support.x.shape == episodes.support.y.shape == (2000, 10, 1)
    assert episodes.query.x.shape == episodes.query.y.shape == (2000, 5, 1)
    assert episodes.support.x.dtype == torch.float32
    assert episodes.identities.shape == (2000, 0)
    for examples in (episodes.support, episodes.query):
        assert -5 <= examples.x.min() < -4.99
        assert 4.99 < examples.x.max() <= 5
        wanted = curves.amplitude[:, None] * torch.sin(examples.x[..., 0] - curves.phase[:, None])
        assert torch.allclose(examples.y[..., 0], wanted)


def test_a_curve_is_drawn_at_the_same_places_for_all_tasks() -> None:
    curves = Curves(torch.tensor([1.0, 2.0]), torch.tensor([0.0, math.pi / 2]))
    y = curves(torch.tensor([[0.0], [math.pi / 2]]))
    assert torch.allclose(y[..., 0], torch.tensor([[0.0, 1.0], [-2.0, 0.0]]), atol=1e-6)


def test_the_errors_of_answers_that_know_nothing_of_the_task() -> None:
    """E[A²]/2 for the answer 0; for the mean of all curves, −(2/π)·E[A]·cos x, less by the mean of its square."""
    tasks = SinusoidSampler(shots=1, queries=50, seed=0).sample(40_000).query
    mean_square, mean = (5**3 - 0.1**3) / (3 * 4.9), 2.55
    zero = mean_square / 2
    best = zero - (2 / math.pi * mean) ** 2 * (0.5 + math.sin(10) / 20)  # E[cos² x] over −5 to 5
    assert zero == pytest.approx(4.2517, abs=5e-5)
    assert best == pytest.approx(3.0057, abs=5e-5)
    assert 2 / math.pi * mean == pytest.approx(1.6234, abs=5e-5)
    assert tasks.y.square().mean().item() == pytest.approx(zero, abs=0.06)
    assert (tasks.y + 2 / math.pi * mean * tasks.x.cos()).square().mean().item() == pytest.approx(best, abs=0.06)


def test_tasks_depend_on_the_seed_and_the_stream_resumes() -> None:
    first, same, other = (SinusoidSampler(5, 5, seed=seed) for seed in (0, 0, 1))
    first.sample(3)
    state = first.state_dict()
    wanted = first.sample(3)
    same.sample(3)
    assert torch.equal(same.sample(3).support.y, wanted.support.y)
    other.load_state_dict(state)
    assert torch.equal(other.sample(3).query.y, wanted.query.y)
    assert not torch.equal(SinusoidSampler(5, 5, seed=1).sample(3).query.y, SinusoidSampler(5, 5).sample(3).query.y)


def test_the_network_is_the_papers() -> None:
    net = regressor()
    assert [tuple(w.shape) for w in net.parameters()] == [(40, 1), (40,), (40, 40), (40,), (1, 40), (1,)]
    assert len(list(regressor(width=8, depth=3).parameters())) == 8
    assert net(torch.zeros(7, 1)).shape == (7, 1)
    assert torch.equal(net[0].weight, regressor(seed=0)[0].weight)
    assert not torch.equal(net[0].weight, regressor(seed=1)[0].weight)


def test_numbers_that_make_no_sense_are_refused() -> None:
    for shots, queries in ((0, 1), (1, 0)):
        with pytest.raises(MetaFaceError, match=f"must be at least 1, but are {shots} and {queries}"):
            SinusoidSampler(shots, queries)
    with pytest.raises(MetaFaceError, match="tasks must be at least 1, but is 0"):
        SinusoidSampler(1, 1).sample(0)
