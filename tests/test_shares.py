"""Shares of a step's tasks: they cover all tasks once, and what belongs to all tasks does not change with them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metaface_lessons.networks import Conv4, LinearEmbedding
from metaface_lessons.shares import (
    Share,
    SharedBatchNorm,
    current_share,
    gathered,
    rand,
    share_of,
    share_statistics,
    sharing,
    total,
)


@pytest.mark.parametrize(("tasks", "size"), [(6, 3), (5, 3), (1, 4), (7, 7), (3, 1)])
def test_shares_cover_all_tasks_in_order(tasks: int, size: int) -> None:
    shares = [share_of(tasks, rank, size) for rank in range(size)]
    assert [task for share in shares for task in range(share.first, share.last)] == list(range(tasks))
    own = [share.own for share in shares]
    assert own == sorted(own, reverse=True), "rank 0, which stores the training, always has a task"
    assert max(own) - min(own) <= 1
    assert sum(share.weight for share in shares) == pytest.approx(1)


@pytest.mark.parametrize("each", [1, 4])
def test_random_numbers_are_those_of_one_process(each: int) -> None:
    whole = torch.rand((5 * each, 3), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    parts, states = [], []
    for rank in range(3):
        share, generator = share_of(5, rank, 3), torch.Generator().manual_seed(7)
        with sharing(share):
            parts.append(rand((share.own * each, 3), generator, torch.float64))
        states.append(generator.get_state())
    assert torch.cat(parts).equal(whole)
    assert all(state.equal(states[0]) for state in states)
    generator = torch.Generator().manual_seed(7)
    assert rand((5 * each, 3), generator, torch.float64).equal(whole)
    assert current_share() is None


def test_alone_nothing_is_added() -> None:
    x = torch.randn(4, 2, requires_grad=True)
    assert total(x) is x
    assert gathered(x) is x


def test_rows_are_gathered_at_the_places_of_their_tasks() -> None:
    x = torch.arange(1.0, 5.0)[:, None].requires_grad_()
    with sharing(Share(1, 3, 4)):  # two of four tasks, with two rows each
        rows = gathered(x)
    assert rows.flatten().tolist() == [0, 0, 1, 2, 3, 4, 0, 0]
    (rows.flatten() * torch.arange(8.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_shared_batch_normalisation_alone_is_batch_normalisation(momentum: float | None) -> None:
    draw = torch.Generator().manual_seed(0)
    plain = nn.BatchNorm2d(3, momentum=momentum).double()
    with torch.no_grad():
        plain.weight.normal_(generator=draw)
    shared = SharedBatchNorm.of(nn.BatchNorm2d(3, momentum=momentum).double())
    shared.load_state_dict(plain.state_dict())
    for _ in range(3):
        x = torch.randn(5, 3, 2, 2, generator=draw, dtype=torch.float64)
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        with sharing(Share(0, 5, 5)):
            out = shared(ours)
        assert torch.allclose(out, plain(theirs), rtol=0, atol=1e-13)
        for module, inputs in ((shared, ours), (plain, theirs)):
            with sharing(Share(0, 5, 5)):
                module(inputs).pow(3).sum().backward()
        assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=1e-11)
    for key, value in plain.state_dict().items():
        assert torch.allclose(shared.state_dict()[key], value, rtol=1e-12), key
    shared.eval()
    plain.eval()
    with sharing(Share(0, 5, 5)):
        assert torch.allclose(shared(x), plain(x), rtol=1e-12)


def test_its_gradient_is_that_of_finite_differences() -> None:
    norm = SharedBatchNorm(2).double()

    def run(x: torch.Tensor) -> torch.Tensor:
        with sharing(Share(0, 2, 2)):
            return norm(x)

    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x,))


def test_every_batch_normalisation_is_replaced_and_keeps_its_weights() -> None:
    net = LinearEmbedding(Conv4(1, 16, 4))
    before = dict(net.named_parameters())
    state = {key: value.clone() for key, value in net.state_dict().items()}
    share_statistics(net)
    share_statistics(net)
    assert all(weights is before[name] for name, weights in net.named_parameters())
    assert net.state_dict().keys() == state.keys()
    assert not any(type(module) in (nn.BatchNorm1d, nn.BatchNorm2d) for module in net.modules())
    assert sum(type(module) is SharedBatchNorm for module in net.modules()) == 6
    plain = LinearEmbedding(Conv4(1, 16, 4))
    plain.load_state_dict(state)
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    assert net(images).equal(plain(images)), "without a share it is what it was"
