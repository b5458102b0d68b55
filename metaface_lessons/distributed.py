"""Meta-training with several processes: on one machine, on several GPUs, or on several machines.

Each of n processes, its *ranks* 0 to n − 1, has the same weights θ, and takes T_r of the T tasks of a step. Its learner
computes g_r, the mean of their meta-gradients. One all-reduce adds them up, each with its weight,

    g = Σ_r (T_r / T) g_r                                      the mean over all T tasks, as in one process

and every rank takes the same outer step with it. So n processes train what one process would, up to rounding. Ranks may
have unequal numbers of tasks, or none. `shares` has what belongs to the tasks of all ranks together.

    torchrun --nproc-per-node 2 -m metaface_lessons.cli train maml --tasks 8
    metaface train maml --tasks 8 --processes 2

Why not `DistributedDataParallel`? It averages gradients in hooks on the parameters, which only its forward prepares.
Three things of meta-learning are not made for that (tests/test_distributed.py shows each):

- Weights of a task go into the network by `functional_call`. If the wrapped network is called so, nothing is averaged,
  and nothing says so.
- An inner step by `backward(create_graph=True)` raises an error where a network has more than one parameter (PyTorch's
  issue 63812). Issue 47562 has the same with `autograd.grad`, whose result the hooks never see.
- It takes the mean over ranks, not over tasks. A rank with fewer tasks counts as much as the others.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import multiprocessing
import os
import platform
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .episodes import Sampler, of_share
from .errors import LostRank, MetaFaceError, ReportedElsewhere
from .learners.base import MetaLearner
from .learners.nca import NCA
from .machine import commit
from .paths import PACKAGE
from .shares import Share, SharedBatchNorm, share_of, sharing

TIMEOUT = 600.0  # seconds that a rank may keep the others waiting
ANSWER = 10.0  # seconds in which a rank must answer when one is missed; not more than the timeout
INTERRUPTED = 130  # exit code after Ctrl-C
RESTARTS = 3  # of `launch`, after a rank was killed or stuck
_T = TypeVar("_T")


@dataclass
class Group:
    """The processes that train together, as one of them sees them.

    rank: which of them this is, from 0. Rank 0 alone writes files and shows progress.
    size: how many there are.
    device: what this one computes on.
    timeout: the seconds that a rank may keep the others waiting, for example while rank 0 validates.
    store: where ranks leave notes for each other.
    notes: for messages on the CPU, also where `device` is a GPU.
    late: whether rank 0 has found, in the last step, that the time is up.
    interrupted: whether somebody has pressed Ctrl-C at a rank.
    """

    rank: int
    size: int
    device: torch.device
    timeout: float
    store: dist.Store
    notes: dist.ProcessGroup
    late: bool = False
    interrupted: bool = False
    _working: dict[int, dist.ProcessGroup] = field(default_factory=dict)
    _compared: int = 0

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    # ------------------------------------------------------------------------------------------------- one outer step

    def share(self, tasks: int) -> Share:
        """The tasks of this rank in a step. Every rank must ask, because the first time they make a group for sums.

        tasks: T.
        """
        working = min(self.size, tasks)
        if working not in self._working:
            self._working[working] = dist.new_group(range(working), timeout=timedelta(seconds=self.timeout))
        return share_of(tasks, self.rank, self.size)._replace(working=self._working[working])

    def meta_gradient(
        self, net: MetaLearner, sampler: Sampler, tasks: int, late: bool = False, interrupted: bool = False
    ) -> dict[str, float]:
        """Sample a step's tasks, and put the meta-gradient over all of them into the `.grad` of every parameter.

        Afterwards `self.late` and `self.interrupted` are the same on every rank.

        net: the meta-learner; its gradients must be None or 0.
        sampler: draws the episodes, in the same state on every rank.
        tasks: T.
        late: whether the time is up; rank 0 decides.
        interrupted: whether somebody has pressed Ctrl-C at this rank.

        Returns "loss" and "accuracy", the means over all tasks.

        Raises the error of this rank; `ReportedElsewhere` if another rank has one; `LostRank` if one does not answer.
        """
        share, scores, failure = self.share(tasks), {"loss": 0.0, "accuracy": 0.0}, None
        with self._answered(), sharing(share):
            try:
                if share.own:
                    scores = net.meta_gradient(of_share(sampler.sample(tasks), tasks))
            except Exception as error:
                if _is_of_sum(error) or _sums_within(net):  # the others wait where this rank will not come any more
                    raise
                failure = error
        weight = share.weight if failure is None else 0.0
        means = [weight * scores[name] if weight else 0.0 for name in ("loss", "accuracy")]
        flags = [float(late and self.first), float(interrupted)]
        failed = [float(failure is not None and rank == self.rank) for rank in range(self.size)]
        loss, accuracy, *told = self._sum(net.parameters(), weight, [*means, *flags, *failed])
        self.late, self.interrupted = told[0] > 0, told[1] > 0
        if failure is not None:
            raise failure
        if any(told[2:]):
            who = next(rank for rank, one in enumerate(told[2:]) if one)
            raise ReportedElsewhere(f"Rank {who} stopped with an error, which it says itself. Look for its message.")
        return {"loss": loss, "accuracy": accuracy}

    def _sum(self, parameters: Iterable[nn.Parameter], weight: float, numbers: Sequence[float]) -> list[float]:
        """One all-reduce: g = Σ_r (T_r / T) g_r into the gradients; and the sums of some numbers.

        A parameter without a gradient on every rank keeps none, as in one process.
        """
        trained = [p for p in parameters if p.requires_grad]
        dtype = max((p.dtype for p in trained), key=lambda dtype: torch.finfo(dtype).bits, default=torch.float64)
        has = [float(p.grad is not None and weight > 0) for p in trained]
        gradients = [p.grad if p.grad is not None and weight > 0 else torch.zeros_like(p) for p in trained]
        parts = [(weight * gradient.to(dtype)).reshape(-1) for gradient in gradients]  # T_r / T · g_r
        tail = torch.tensor([*has, *numbers], dtype=dtype, device=self.device)
        flat = torch.cat([*parts, tail])
        with self._answered():
            if self.device.type == "cuda":  # nccl would abort the process without naming a rank
                dist.barrier(self.notes)
            dist.all_reduce(flat)
        *means, tail = flat.split([*(len(part) for part in parts), len(tail)])
        told = tail.tolist()
        for p, mean, anywhere in zip(trained, means, told, strict=False):
            p.grad = mean.view(p.shape).to(p.dtype) if anywhere else None
        return told[len(trained) :]

    # ------------------------------------------------------------------------------------------------ rank 0 and others

    def from_first(self, work: Callable[[], _T]) -> _T:
        """What a piece of work returns on rank 0, which alone does it; its `MetaFaceError` is raised on every rank.

        work: returns None, numbers, texts, tensors, or lists and dictionaries of these.
        """
        if not self.first:
            said = self._told(None)
            if "error" in said:
                raise ReportedElsewhere(said["error"])
            return cast(_T, said["value"])
        try:
            value = work()
        except MetaFaceError as error:
            self._told({"error": str(error)})
            raise
        self._told({"value": value})
        return value

    def _told(self, value: dict[str, Any] | None) -> dict[str, Any]:
        """What rank 0 says to the others."""
        buffer = io.BytesIO()
        torch.save(value, buffer)
        length = torch.tensor(len(buffer.getvalue()))
        with self._answered():
            dist.broadcast(length, 0, self.notes)
            data = torch.frombuffer(bytearray(buffer.getvalue() if self.first else int(length)), dtype=torch.uint8)
            dist.broadcast(data, 0, self.notes)
        said = torch.load(io.BytesIO(data.numpy().tobytes()), weights_only=True, map_location="cpu")
        return cast(dict[str, Any], said)

    def after_first(self, work: Callable[[], _T]) -> _T:
        """Do a piece of work on rank 0, and then on the others: it may leave something in a cache that they can use.

        work: what to do on every rank.
        """
        found: list[_T] = []
        self.from_first(lambda: found.append(work()))
        return found[0] if found else work()

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Raise `MetaFaceError` on every rank, with the first differences, if ranks differ in some facts.

        facts: by name, what JSON can hold.
        """
        self._compared += 1
        key = f"facts-{self._compared}"
        self.store.set(f"{key}-{self.rank}", json.dumps(facts, sort_keys=True, default=str))
        self._roll_call(key, self.timeout)
        all_facts = [json.loads(self.store.get(f"{key}-{rank}")) for rank in range(self.size)]
        said = []
        for rank, theirs in enumerate(all_facts[1:], start=1):
            names = [name for name in {**all_facts[0], **theirs} if all_facts[0].get(name) != theirs.get(name)]
            said += [
                f"{name} is {all_facts[0].get(name)!r} at rank 0 and {theirs.get(name)!r} at rank {rank}"
                for name in names
            ]
        if said:
            more = f"; and {len(said) - 5} more" if len(said) > 5 else ""
            text = (
                f"The ranks do not fit together, so nothing was trained: {'; '.join(said[:5])}{more}. Start all of them"
                " by the same command, from the same commit, with the same packages."
            )
            raise MetaFaceError(text) if self.first else ReportedElsewhere(text)

    # ------------------------------------------------------------------------------------------- a rank that is missing

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Turn the error of a collective operation into one that names the ranks that did not take part."""
        try:
            yield
        except (RuntimeError, dist.DistError) as error:
            if not _is_of_sum(error):
                raise
            self._roll_call("lost", min(ANSWER, self.timeout), f" for {self.timeout:g} s, or ended")
            raise LostRank(
                f"The connection to another rank broke ({str(error).splitlines()[0][:200]}). All ranks are still there."
                " Look at the network, and start again: training continues from its last checkpoint."
            ) from error

    def _roll_call(self, key: str, seconds: float, how: str = "") -> None:
        """Wait until every rank has answered. Raises `LostRank`, which names those that have not in this time."""
        _roll_call(self.store, key, self.rank, self.size, seconds, how)

    def close(self) -> None:
        """Leave the group."""
        if dist.is_initialized():
            dist.destroy_process_group()


def _roll_call(store: dist.Store, key: str, rank: int, size: int, seconds: float, how: str = "") -> None:
    deadline, missing = time.monotonic() + seconds, list(range(size))
    try:
        store.set(f"{key}-here-{rank}", "")
        while missing := [other for other in missing if not store.check([f"{key}-here-{other}"])]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
    except (RuntimeError, dist.DistError):  # rank 0 keeps the notes, if nobody else does
        missing = [0]
    if missing:
        names = f"Rank {missing[0]} has" if len(missing) == 1 else f"Ranks {', '.join(map(str, missing))} have"
        raise LostRank(
            f"{names} not answered{how or f' within {seconds:g} s'}. Every rank should take part in every step. Look at"
            " what it does, and start again: training continues from its last checkpoint."
        )


def _is_of_sum(error: Exception) -> bool:
    """Whether an error is of a sum over ranks, or of another message between them, and not of a computation."""
    words = ("gloo", "NCCL", "onnection", "Timed out")  # gloo raises a plain RuntimeError
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _sums_within(net: nn.Module) -> bool:
    """Whether a learner's own computation waits for other ranks (see `shares`)."""
    return any(isinstance(module, SharedBatchNorm | NCA) for module in net.modules())


# ------------------------------------------------------------------------------------------------- starting and joining


def is_rank() -> bool:
    """Whether torchrun, or `launch`, has started this process as one of several."""
    return "RANK" in os.environ or "WORLD_SIZE" in os.environ


def join(timeout: float = TIMEOUT, device: str | None = None) -> Group:
    """Join the other processes, as torchrun's variables say (RANK, WORLD_SIZE, MASTER_ADDR, …).

    timeout: the seconds to wait for another rank, now and in every step.
    device: "cpu" or "cuda"; None for the GPU of this rank if there is one.

    Raises `MetaFaceError` for variables that do not fit, or fewer GPUs than ranks; `LostRank` if not all ranks come.
    """
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if rank >= size:
        raise MetaFaceError(
            f"RANK is {rank} and WORLD_SIZE is {size}. Ranks are 0 to WORLD_SIZE − 1. Let torchrun set both."
        )
    own = _device(_number("LOCAL_RANK", 0, str(rank)), _number("LOCAL_WORLD_SIZE", 1, str(size)), device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    limit = timedelta(seconds=timeout)
    try:
        store, _, _ = next(dist.rendezvous("env://", rank, size, timeout=limit))
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise LostRank(
            f"Rank {rank} cannot reach the others at {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            f" within {timeout:g} s ({str(error).splitlines()[0][:200]}). Start all {size} ranks, by torchrun or"
            " --processes."
        ) from error
    store = dist.PrefixStore(f"metaface-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    _roll_call(store, "start", rank, size, timeout)
    if rank == 0 and (again := int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))):
        warnings.warn(f"A process was killed or stuck, so all were started again (restart {again}).", stacklevel=2)
    dist.init_process_group(
        "nccl" if own.type == "cuda" else "gloo", store=store, rank=rank, world_size=size, timeout=limit
    )
    return Group(rank, size, own, timeout, store, dist.new_group(backend="gloo", timeout=limit))


def _number(name: str, least: int, usual: str = "") -> int:
    text = os.environ.get(name, usual)
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise MetaFaceError(
            f"{name} is '{text[:40]}'. It should be a whole number of {least} or more. Let torchrun set it, or start"
            " with --processes."
        )
    return int(text)


def _device(local: int, here: int, asked: str | None) -> torch.device:
    gpus = torch.cuda.device_count() if asked != "cpu" and torch.cuda.is_available() else 0
    if not gpus:
        return torch.device("cpu")
    if here > gpus:
        raise MetaFaceError(
            f"{here} processes were started on this machine, which has {gpus} GPUs. Each process needs one of its own."
            " Start fewer, or set CUDA_VISIBLE_DEVICES to nothing to train on the processor."
        )
    return torch.device("cuda", local)


@cache
def installation() -> dict[str, str]:
    """What must be the same on all ranks: the commit, a digest of the course's code, and the versions of packages."""
    source = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        source.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    versions = {name: version(name) for name in ("torch", "numpy")}
    return {"commit": commit(), "code": source.hexdigest()[:12], "python": platform.python_version(), **versions}


def digest(state: Any) -> str:
    """A digest of weights or random streams: equal for equal ones.

    state: tensors, numbers and texts, in lists and dictionaries.
    """
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Mapping):
            for key in sorted(value, key=str):
                found.update(f"{key}:".encode())
                add(value[key])
        elif isinstance(value, Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1)
            found.update(f"{value.dtype}{tuple(value.shape)}".encode() + flat.view(torch.uint8).numpy().tobytes())
        else:
            found.update(repr(value).encode())

    add(state)
    return found.hexdigest()[:12]


def launch(processes: int, worker: Callable[..., int], arguments: Sequence[Any], restarts: int = RESTARTS) -> int:
    """Start several processes on this machine by torchrun's own means, and start them again if one is killed or stuck.

    The system chooses the port.

    processes: how many.
    worker: what each runs; it can be imported.
    arguments: its arguments.
    restarts: how often all of them are started again.

    Returns what the worker of rank 0 returns; 130 after Ctrl-C.

    Raises `MetaFaceError` if a process has ended too often.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    elastic = "torch.distributed.elastic"
    for name in (f"{elastic}.multiprocessing.api", f"{elastic}.agent.server.api", "torch.multiprocessing.spawn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a traceback of the launcher helps nobody
    threads = max(1, (os.cpu_count() or 1) // processes)
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # Windows has none
    if method == "forkserver":  # one process imports PyTorch, and the others are forked from it
        multiprocessing.set_forkserver_preload([__name__, "torch._dynamo"])  # what the first optimiser would import
    config = LaunchConfig(
        1, 1, processes, run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        local_addr="localhost", max_restarts=restarts, start_method=method,
    )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix="metaface-") as logs:  # torchrun would leave it there
            config.logs_specs = DefaultLogsSpecs(logs)
            codes = elastic_launch(config, _as_rank)(worker, threads, *arguments)
    except SignalException as error:
        return INTERRUPTED if error.sigval == signal.SIGINT else 128 + error.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise MetaFaceError(
            f"Rank {rank} ended with exit code {failure.exitcode}, after {restarts} restarts. Its own message, above,"
            " says why, unless it was killed. The same command continues from the last checkpoint."
        ) from error
    return int(codes[0])


def _as_rank(worker: Callable[..., int], threads: int, *arguments: Any) -> int:
    """Run a worker as a rank. It gets the signals that `launch` passes on, and not those of the terminal as well."""
    if hasattr(os, "setsid"):
        os.setsid()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    code = worker(*arguments)
    if code in (LostRank.exit_code, INTERRUPTED):  # all ranks are started again, or none is waited for
        raise SystemExit(code)
    return code


def warn_of_idle(group: Group, tasks: int) -> None:
    """Warn, at rank 0, of ranks that have no task.

    group: the ranks.
    tasks: T.
    """
    if group.first and tasks < group.size:
        warnings.warn(
            f"{group.size - tasks} of {group.size} processes have nothing to do, because a step has {tasks} tasks."
            f" Start {tasks}, or train with more tasks: --tasks.",
            stacklevel=3,
        )
