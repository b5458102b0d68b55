"""Several processes that train together, and what they do in the tests of `distributed`.

They are forked from a server that has imported this module, so that only one process imports PyTorch.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # what the first optimiser would import, in every rank
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from metaface_lessons import cli, distributed, training
from metaface_lessons.augmentation import Augment, Augmented
from metaface_lessons.distributed import Group
from metaface_lessons.episodes import DomainSampler, Episodes, EpisodeSampler, Sampler, of_share
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.base import MetaLearner
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.mldg import MLDG
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Classifier, Conv4, statistics_of_first
from metaface_lessons.runs.making import make_learner
from metaface_lessons.runs.recipes import RECIPES, settings_of
from metaface_lessons.shares import sharing
from metaface_lessons.sinusoids import SinusoidSampler, regressor
from metaface_lessons.training import meta_train
from tests.helpers import domain_faces, random_faces

FACES = random_faces(people=12, each=8, size=16)
WAYS = 3
LEARNERS = [name for name in RECIPES if name != "learn2learn"] + ["sinusoids"]
WITH_IDLE = ["protonet", "nca", "maml", "maml++", "reptile", "sinusoids"]


def on_ranks(
    size: int, work: Callable[..., Any], *arguments: Any, timeout: float = 60.0, silent: int = -1
) -> list[Any]:
    """What a function returns on each of several ranks, or the error that it raises there.

    size: how many ranks.
    work: takes the rank's `Group` and the arguments; a function of this module.
    timeout: the seconds that a rank may keep the others waiting.
    silent: a rank that is not waited for, but ended when the others have: it returns None.
    """
    context = _context()
    # As torchrun does, this process keeps the store, on a port that the system has chosen.
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    ends, processes = [], []
    try:
        for rank in range(size):
            ours, theirs = context.Pipe()
            variables = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_PORT": store.port}
            processes.append(context.Process(target=_rank, args=(theirs, variables, timeout, work, arguments)))
            ends.append(ours)
            processes[-1].start()
            theirs.close()
        return [None if rank == silent else _received(end) for rank, end in enumerate(ends)]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _received(end: Any) -> Any:
    try:
        return pickle.loads(end.recv_bytes()) if end.poll(120) else TimeoutError("no result within 120 s")
    except EOFError:
        return EOFError("the rank has ended")


def _rank(end: Any, variables: dict[str, Any], timeout: float, work: Callable[..., Any], arguments: Any) -> None:
    usual = {"MASTER_ADDR": "localhost", "TORCHELASTIC_USE_AGENT_STORE": "True", "LOCAL_WORLD_SIZE": "1"}
    os.environ.update(usual | {name: str(value) for name, value in variables.items()})
    torch.set_num_threads(1)
    try:
        group = distributed.join(timeout, device="cpu")
        result = work(group, *arguments)
    except Exception as error:
        traceback.print_exc()
        result = error
    end.send_bytes(pickle.dumps(result))
    end.close()
    time.sleep(0.2)  # a rank that has ended breaks the connections of the others
    os._exit(0)


# ----------------------------------------------------------------------------------------------- what they train


def learner(name: str) -> MetaLearner:
    """A learner of 4 filters in float64, by its recipe's name; "sinusoids" is a regression."""
    if name == "sinusoids":
        return MAML(regressor(width=8).double(), steps=2, loss=F.mse_loss)
    net = make_learner(settings_of(name, ways=WAYS, width=4), FACES.shape, FACES.identities)
    return net.double()


def sampler(name: str) -> Sampler:
    """What draws its episodes."""
    if name == "sinusoids":
        return Double(SinusoidSampler(5, 5, seed=1))
    shots = {"reptile": 3}.get(name, 2)
    drawn: Sampler = EpisodeSampler(FACES, WAYS, shots, 2, seed=1)
    return Augmented(drawn, Augment(seed=2)) if settings_of(name).inner_steps is not None else drawn


class Double:
    """A sampler of numbers in float64."""

    def __init__(self, drawn: Sampler) -> None:
        self.drawn, self.state_dict, self.load_state_dict = drawn, drawn.state_dict, drawn.load_state_dict

    def sample(self, tasks: int = 1) -> Episodes:
        found = self.drawn.sample(tasks)
        support, query = (part._replace(x=part.x.double(), y=part.y.double()) for part in (found.support, found.query))
        return replace(found, support=support, query=query)


def trained(group: Group | None, names: list[str], tasks: int, steps: int = 3) -> dict[str, Any]:
    """The weights, running averages and losses of each learner after some steps."""
    found = {}
    for name in names:
        net = learner(name)
        result = meta_train(
            net, sampler(name), steps=steps, tasks=tasks, rate=1e-3, halve_every=1e9, group=group, progress=False
        )
        found[name] = {
            "gradients": {key: weights.grad for key, weights in net.named_parameters()},
            "weights": result.learner.state_dict(),
            "loss": result.history.loss,
            "accuracy": result.history.accuracy,
        }
    return found


def equal_steps(group: Group) -> dict[int, dict[str, Any]]:
    """Each learner with unequal numbers of tasks, and some with fewer tasks than ranks, by the number of tasks."""
    return {5: trained(group, LEARNERS, 5, steps=2), 1: trained(group, WITH_IDLE, 1, steps=2)}


def drawn(group: Group, tasks: int) -> tuple[Episodes, list[int]]:
    """The episodes of a rank, augmented, and the tasks that they are."""
    share = group.share(tasks)
    with sharing(share):
        episodes = Augmented(EpisodeSampler(FACES, WAYS, 1, 2, seed=1), Augment(seed=2)).sample(tasks)
    return episodes, [share.first, share.last]


def domains_drawn(group: Group, tasks: int) -> Episodes:
    """The episodes of a rank, from a sampler that knows nothing of shares."""
    with sharing(group.share(tasks)):
        return of_share(DomainSampler(domain_faces(), ("photo", "sketch"), 3, 1, 1, seed=1).sample(tasks), tasks)


# ------------------------------------------------------------------------------------------------- what goes wrong


def train_wrongly(group: Group, fault: str, file: Path | None = None) -> str:
    """Train for a few steps, while something is wrong at rank 1 from step 3 on, and say how it ended."""
    net, wrong = learner("fomaml"), group.rank == 1
    rate = 2e-3 if wrong and fault == "rate" else 1e-3
    faces = random_faces(people=12, each=8, size=16, seed=int(wrong and fault == "faces"))

    def go_wrong(step: int, _: MetaLearner) -> None:
        if wrong and step == 2 and fault == "stuck":
            time.sleep(600)
        if wrong and step == 2 and fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if wrong and step == 2 and fault == "diverges":
            with torch.no_grad():
                net.network.head.weight.fill_(torch.nan)
        if wrong and step == 2 and fault == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)

    if fault == "mldg":
        net = MLDG(ProtoNet(Conv4(1, 16, 4)))
    if fault == "file":
        assert file is not None
        file.write_bytes(b"not a checkpoint")
    about = {"faces": "this", "code": "other"} if wrong and fault == "code" else {"faces": "this"}
    if fault == "package" and wrong:
        distributed.installation = lambda: {"torch": "1.0"}  # type: ignore[assignment]
        training.installation = distributed.installation  # type: ignore[attr-defined]
    try:
        begun = time.monotonic()
        result = meta_train(
            net,
            EpisodeSampler(faces, WAYS, 1, 2, seed=int(wrong and fault == "seed")),
            steps=5,
            tasks=4,
            rate=rate,
            about=about,
            checkpoint=file,
            on_step=go_wrong,
            group=group,
            progress=False,
        )
    except MetaFaceError as error:
        return f"{type(error).__name__}: {error} [{time.monotonic() - begun:.1f}]"
    return f"{result.stopped} after {result.steps}"


def error_of_first(group: Group) -> str:
    """What every rank gets when rank 0 raises an error, and then when it does not."""

    def fail() -> None:
        raise MetaFaceError("No room.")

    try:
        group.from_first(fail)
    except MetaFaceError as error:
        return f"{type(error).__name__}: {error} {group.from_first(lambda: group.rank)}"
    return "nothing"


# --------------------------------------------------------------------------------------- a rank that is started again


def train_killed(folder: str) -> int:
    """Train into a folder as one of the processes of `launch`; at the first start rank 1 is killed after step 4."""
    group = distributed.join(60, device="cpu")

    def note(step: int, _: MetaLearner) -> None:
        if step == 4 and group.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    resumed_at = train_saved(group, folder, note)
    (Path(folder) / f"resumed-{group.rank}").write_text(str(resumed_at))
    group.close()
    return 0


def train_saved(group: Group, folder: str, on_step: Callable[[int, MetaLearner], None] | None = None) -> int:
    """Train eight steps, with a checkpoint after each, and say after which step it resumed."""
    net = make_learner(settings_of("protonet", ways=WAYS, width=4), FACES.shape)
    options: dict[str, Any] = {"steps": 8, "tasks": 3, "save_every": 0, "on_step": on_step, "progress": False}
    drawn = EpisodeSampler(FACES, WAYS, 1, 2, seed=1)
    return meta_train(net, drawn, group=group, checkpoint=Path(folder) / "checkpoint.pt", **options).resumed_at


def two_machines(command: list[str]) -> list[int]:
    """Run `metaface` on two machines, each an agent of torchrun with one process, and say how each ended."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    agents = [_context().Process(target=_machine, args=(place, number, command)) for number in range(2)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join(120)
        agent.kill()
        agent.join()
    return [agent.exitcode if agent.exitcode is not None else -1 for agent in agents]


def _machine(place: str, number: int, command: list[str]) -> None:
    config = LaunchConfig(
        2, 2, 1, run_id="test", rdzv_backend="c10d", rdzv_endpoint=place, rdzv_configs={"is_host": number == 0},
        local_addr="localhost", max_restarts=0, start_method="fork",
    )  # fmt: skip
    codes = elastic_launch(config, cli.main)(command)
    os._exit(max(codes.values()))


# ----------------------------------------------------------------------------------- what DistributedDataParallel does


def by_ddp(group: Group, way: str) -> tuple[list[torch.Tensor], list[torch.Tensor]] | str:
    """The meta-gradient of one MAML step by DistributedDataParallel, and that of this rank's own tasks alone.

    way: "functional_call" of the wrapped network, as the learners of the course run it; "create_graph" for an inner
        step by `backward`; "unequal" for an inner loop through DDP's own forward, with 2 and 1 tasks.
    """
    net = Classifier(Conv4(1, 16, 4, depth=2, norm="task"), 64, WAYS).double()
    episodes = EpisodeSampler(FACES, WAYS, 1, 2, seed=1).sample(3)
    own = episodes.tasks(0, 2) if group.rank == 0 else episodes.tasks(2, 3)
    alone = MAML(net, steps=1, fast=False)
    alone.meta_gradient(own)
    local = [weights.grad.clone() for weights in net.parameters()]
    net.zero_grad()
    wrapped = DistributedDataParallel(net)
    if way == "functional_call":
        MAML(wrapped.module, steps=1, fast=False).meta_gradient(own)
    elif way == "create_graph":
        loss = F.cross_entropy(wrapped(own.support.x[0]), own.support.y[0])
        try:
            loss.backward(create_graph=True)
        except RuntimeError as error:
            return str(error)
    else:
        _maml_through_forward(wrapped, own)
    return [weights.grad.clone() for weights in net.parameters()], local


def _maml_through_forward(wrapped: DistributedDataParallel, episodes: Episodes) -> None:
    losses = []
    for x, y, query_x, query_y in zip(*episodes.support, *episodes.query, strict=True):
        weights = dict(wrapped.named_parameters())
        loss = F.cross_entropy(functional_call(wrapped, weights, (x,)), y)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        adapted = {name: w - 0.1 * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
        with statistics_of_first(len(x)):
            outputs = functional_call(wrapped, adapted, (torch.cat([x, query_x]),))[len(x) :]
        losses.append(F.cross_entropy(outputs, query_y))
    torch.stack(losses).mean().backward()
