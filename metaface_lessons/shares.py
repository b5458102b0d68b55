"""A process's share of the tasks of a step, and sums over all processes that have one.

`distributed` trains with several processes. Each takes some of the T tasks of a step, its *share*. In a step of one
process some things belong to all tasks together, and they must not change when the tasks are divided:

- Random numbers: `rand` draws for all T tasks, and keeps those of the share.
- The statistics of batch normalisation, which are those of all images: `SharedBatchNorm`.
- A loss that compares images of different tasks, such as that of `nca.NCA`: `gathered`.

Without a share (see `sharing`) each of them does what one process alone does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Share(NamedTuple):
    """The tasks `first` to `last` − 1 of a step.

    first: the first task of this process.
    last: the task after its last one.
    tasks: T, the tasks of all processes together.
    working: the processes that have a task, for their sums; None if this one is alone.
    """

    first: int
    last: int
    tasks: int
    working: dist.ProcessGroup | None = None

    @property
    def own(self) -> int:
        """How many tasks this process has."""
        return self.last - self.first

    @property
    def weight(self) -> float:
        """The share of the tasks, T_r / T: the weight of this process's mean in the mean over all tasks."""
        return self.own / self.tasks


def share_of(tasks: int, rank: int, size: int) -> Share:
    """The tasks of one of several processes, in order; the first ones get one more if the tasks do not divide.

    tasks: T.
    rank: of the process, 0 to `size` − 1.
    size: the number of processes. With more of them than tasks, the last ones have no task.
    """
    each, more = divmod(tasks, size)
    first = rank * each + min(rank, more)
    return Share(first, first + each + (rank < more), tasks)


_share: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def sharing(share: Share) -> Iterator[None]:
    """A context in which this process has only some of the tasks of a step.

    share: which tasks.
    """
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


def current_share() -> Share | None:
    """The tasks of this process in this step; None if it has all of them."""
    return _share.get()


def rand(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype | None = None) -> Tensor:
    """Uniform numbers, as `torch.rand` gives them to all tasks; in a share, those rows that are its tasks'.

    So the random stream goes on as in one process, and each task gets the same numbers.

    shape: of the result. Its first axis is the tasks of this process, or their images, task after task.
    generator: the random stream, on the CPU.
    dtype: of the numbers; PyTorch's default if None.
    """
    share = _share.get()
    if share is None:
        return torch.rand(tuple(shape), generator=generator, dtype=dtype)
    each = shape[0] // share.own  # rows of a task
    whole = torch.rand((each * share.tasks, *shape[1:]), generator=generator, dtype=dtype)
    return whole[each * share.first : each * share.last]


class _Total(Function):
    """Σ_r x_r over the processes r that have tasks, and its gradient.

    What is trained is Σ_r w_r L_r, with w_r = T_r / T. Process r differentiates its own L_r, and `distributed` weights
    the result by w_r afterwards. So on the way back g_s, the gradient of L_s, counts with w_s / w_r in process r.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return _sum(x.clone(), share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        share: Share = ctx.share
        return _sum(gradient * share.own, share) / share.own, None  # Σ_s w_s g_s / w_r


def _sum(x: Tensor, share: Share) -> Tensor:
    if share.working is not None:
        dist.all_reduce(x, group=share.working)
    return x


def total(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes that have tasks; gradients flow to each of them.

    x: of the same shape in each process.
    """
    share = _share.get()
    return x if share is None else _Total.apply(x, share)


def mean(x: Tensor) -> Tensor:
    """The mean over the tasks of all processes, from that over the tasks of this one.

    x: of the same shape in each process.
    """
    share = _share.get()
    return x if share is None else total(x * share.weight)


def gathered(x: Tensor) -> Tensor:
    """The rows of all tasks `[M, …]` from those of this process; gradients flow to each process.

    x: `[m, …]`, as many rows for each task, task after task.
    """
    share = _share.get()
    if share is None:
        return x
    each = len(x) // share.own
    before, after = each * share.first, each * (share.tasks - share.last)
    return total(torch.cat([x.new_zeros(before, *x.shape[1:]), x, x.new_zeros(after, *x.shape[1:])]))


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation by the statistics of the images of all processes (Ioffe & Szegedy 2015, algorithm 1).

    PyTorch's own `SyncBatchNorm` needs a GPU, and takes all processes to count the same.
    """

    @classmethod
    def of(cls, norm: nn.modules.batchnorm._BatchNorm) -> SharedBatchNorm:
        """The same layer with the same weights and running averages.

        norm: any batch normalisation of PyTorch.
        """
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        made._parameters, made._buffers, made.training = norm._parameters, norm._buffers, norm.training
        return made

    def _check_input_dim(self, input: Tensor) -> None:  # each kind of batch normalisation accepts other shapes
        pass

    def forward(self, x: Tensor) -> Tensor:
        """`[M, C, …]` → the same shape."""
        if _share.get() is None or not self.training:
            return super().forward(x)
        others = [axis for axis in range(x.ndim) if axis != 1]
        size = [1, -1] + [1] * (x.ndim - 2)
        sums = total(torch.cat([x.sum(others), x.new_tensor([x.numel() // x.shape[1]])]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        variance = total((x - mean.view(size)).square().sum(others)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                self.running_mean += share * (mean - self.running_mean)
                self.running_var += share * (variance * (count / (count - 1)) - self.running_var)
        x = (x - mean.view(size)) * (variance + self.eps).rsqrt().view(size)
        if self.weight is not None:
            x = x * self.weight.view(size) + self.bias.view(size)
        return x


def share_statistics(net: nn.Module) -> None:
    """Let every batch normalisation of a network count the images of all processes, in place.

    net: whose weights stay the same objects.
    """
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, SharedBatchNorm):
            net.set_submodule(name, SharedBatchNorm.of(module))
