"""Several processes train what one would: equal to rounding, resumed bit for bit; an error names its rank."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from metaface_lessons import cli, distributed
from metaface_lessons.augmentation import Augment, Augmented
from metaface_lessons.distributed import digest, join, launch
from metaface_lessons.episodes import DomainSampler, Episodes, EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.runs.making import LEARNERS as KNOWN
from metaface_lessons.shares import current_share
from metaface_lessons.training import load_checkpoint
from tests import ranks
from tests.helpers import domain_faces
from tests.ranks import on_ranks


def apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference between tensors of the same names."""
    pairs = [(ours[key], theirs[key]) for key in ours if not key.endswith("_extra_state") and ours[key] is not None]
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


@pytest.mark.filterwarnings("ignore:H \\+ λI is not positive definite")  # iMAML's, after so little training
def test_ranks_train_what_one_process_does() -> None:
    """Every learner in float64, with 3 and 2 tasks; then with one task, which leaves rank 1 idle."""
    assert {*ranks.LEARNERS} - {"sinusoids"} == {*KNOWN} - {"learn2learn"}
    one = {5: ranks.trained(None, ranks.LEARNERS, 5, steps=2), 1: ranks.trained(None, ranks.WITH_IDLE, 1, steps=2)}
    for found in on_ranks(2, ranks.equal_steps):
        for tasks, learners in one.items():
            for name, wanted in learners.items():
                got = found[tasks][name]
                assert apart(got["gradients"], wanted["gradients"]) < 1e-12, name
                assert got["loss"] == pytest.approx(wanted["loss"], abs=1e-12), name
                assert got["accuracy"] == pytest.approx(wanted["accuracy"], abs=1e-6, nan_ok=True), name
                # Adam divides by the gradient, which is rounding alone where a normalisation follows.
                assert apart(got["weights"], wanted["weights"]) < (1e-9 if "face" in name else 1e-12), name


@pytest.mark.needs("learn2learn")
def test_learn2learn_is_shared_as_well() -> None:
    one = ranks.trained(None, ["learn2learn"], 3, steps=2)["learn2learn"]
    for found in on_ranks(2, ranks.trained, ["learn2learn"], 3, 2):
        assert apart(found["learn2learn"]["gradients"], one["gradients"]) < 1e-12


@pytest.mark.parametrize("tasks", [5, 2])
def test_a_rank_gets_the_tasks_of_its_places(tasks: int) -> None:
    one = Augmented(EpisodeSampler(ranks.FACES, ranks.WAYS, 1, 2, seed=1), Augment(seed=2)).sample(tasks)
    domains = DomainSampler(domain_faces(), ("photo", "sketch"), 3, 1, 1, seed=1).sample(tasks)
    places = []
    for episodes, (first, last) in on_ranks(2, ranks.drawn, tasks):
        places += range(first, last)
        assert same_episodes(episodes, one.tasks(first, last))
    assert places == list(range(tasks))
    parts = on_ranks(2, ranks.domains_drawn, tasks)
    assert same_episodes(Episodes.join(parts), domains)


def same_episodes(a: Episodes, b: Episodes) -> bool:
    ours, theirs = ((*e.support, *e.query, e.identities) for e in (a, b))
    return all(x.equal(y) for x, y in zip(ours, theirs, strict=True))


# ----------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(("fault", "how"), [("stuck", "for 3 s, or ended"), ("killed", "or ended")])
def test_a_stuck_or_killed_rank_is_named_in_time(fault: str, how: str) -> None:
    first, _, third = on_ranks(3, ranks.train_wrongly, fault, timeout=3, silent=1)
    for said in (first, third):
        assert re.match(r"LostRank: Rank 1 has not answered ", str(said)), said
        assert how in said
        assert float(re.findall(r"\[(.*)\]", said)[0]) < 2 * 3 + 4, (
            "the timeout, the time to answer, and the steps before"
        )
        assert "start again" in said


@pytest.mark.parametrize(
    ("fault", "difference"),
    [
        ("rate", "rate is 0.001 at rank 0 and 0.002 at rank 1"),
        ("code", "code is '.*' at rank 0 and 'other' at rank 1"),
        ("seed", "episodes is '.*' at rank 0"),
        ("package", "torch is '.*' at rank 0 and '1.0' at rank 1"),
    ],
)
def test_ranks_that_do_not_fit_together_do_not_start(fault: str, difference: str) -> None:
    first, second = on_ranks(2, ranks.train_wrongly, fault)
    for said, kind in ((first, "MetaFaceError"), (second, "ReportedElsewhere")):
        assert re.match(f"{kind}: The ranks do not fit together, so nothing was trained: .*{difference}", said), said
        assert "from the same commit" in said


def test_the_error_of_one_rank_ends_all() -> None:
    first, second = on_ranks(2, ranks.train_wrongly, "diverges")
    assert first.startswith("ReportedElsewhere: Rank 1 stopped with an error, which it says itself."), first
    assert "Diverged: The loss is not finite before the first inner step" in second, second


def test_ctrl_c_at_one_rank_stops_all_after_the_same_step() -> None:
    assert on_ranks(2, ranks.train_wrongly, "ctrl-c") == ["interrupted after 3"] * 2


def test_an_error_of_rank_0_is_that_of_all(tmp_path: Path) -> None:
    assert on_ranks(2, ranks.error_of_first) == ["MetaFaceError: No room. 0", "ReportedElsewhere: No room. 0"]
    first, second = on_ranks(2, ranks.train_wrongly, "file", tmp_path / "checkpoint.pt")
    assert re.match("MetaFaceError: .* is damaged", first), first
    assert re.match("ReportedElsewhere: .* is damaged", second), second


def test_a_learner_of_all_tasks_together_is_not_divided() -> None:
    for said in on_ranks(2, ranks.train_wrongly, "mldg"):
        assert said.startswith("MetaFaceError: MLDG trains on the tasks of a step together, so 2 processes cannot")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE is '0'. It should be a whole number of 1 or more"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
        ({"RANK": "two", "WORLD_SIZE": "2"}, "RANK is 'two'"),
        ({"WORLD_SIZE": "2"}, "RANK is ''"),
    ],
)
def test_a_world_that_does_not_fit_is_refused(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.is_rank()
    with pytest.raises(MetaFaceError, match=re.escape(message)):
        join(1)


def test_a_rank_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    told = {"RANK": 0, "WORLD_SIZE": 3, "MASTER_ADDR": "localhost", "MASTER_PORT": store.port}
    for name, value in (told | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, str(value))
    begun = time.monotonic()
    with pytest.raises(MetaFaceError, match=r"Ranks 1, 2 have not answered within 0.5 s"):
        join(0.5, device="cpu")
    assert time.monotonic() - begun < 5


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MetaFaceError, match="2 processes were started on this machine, which has 1 GPUs"):
        join(1)


def test_a_digest_tells_weights_apart() -> None:
    weights = {"a": torch.ones(2), "b": {"c": torch.arange(3)}}
    assert digest(weights) == digest({"b": {"c": torch.arange(3)}, "a": torch.ones(2)})
    for other in ({"a": torch.ones(2).double()}, {"a": torch.ones(2, 1)}, {"a": torch.tensor([1, 1.0000001])}):
        assert digest(weights) != digest(weights | other)
    assert current_share() is None


# ----------------------------------------------------------------------------------------- started by torchrun's means


def test_a_killed_rank_is_started_again_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert on_ranks(2, ranks.train_saved, str(tmp_path / "whole")) == [0, 0]
    assert launch(2, ranks.train_killed, [str(tmp_path / "killed")], restarts=1) == 0
    resumed = [int((tmp_path / "killed" / f"resumed-{rank}").read_text()) for rank in range(2)]
    assert resumed[0] == resumed[1]
    assert resumed[0] in (3, 4, 5)
    found = {name: load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed")}
    assert found["whole"]["history"] == found["killed"]["history"]
    for part in ("net", "averaged", "optimiser", "sampler"):
        assert digest(found["whole"][part]) == digest(found["killed"][part])


SMALL = ("--ways", "3", "--shots", "1", "--queries", "1", "--width", "4", "--tasks", "3", "--steps", "6")


def test_torchrun_starts_the_command(photos: Path, tmp_path: Path, repository: Path) -> None:
    """And `--processes` trains the same, and so do two machines, here two of torchrun's agents on loopback."""
    train = ["train", "fomaml", "--faces", f"folder:{photos}", *SMALL]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "metaface_lessons.cli"]
    run = subprocess.Popen(
        [*torchrun, *train, "--out", str(tmp_path / "torchrun")], cwd=repository, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = run.communicate(timeout=300)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 0, err
    assert len(out.splitlines()) == 1, "rank 0 alone speaks"

    assert cli.main([*train, "--processes", "2", "--out", str(tmp_path / "processes")]) == 0
    assert set(ranks.two_machines([*train, "--out", str(tmp_path / "machines")])) == {0}
    digests = {digest(load_checkpoint(tmp_path / name / "checkpoint.pt")["net"]) for name in os.listdir(tmp_path)}
    assert len(digests) == 1
    assert len(os.listdir(tmp_path)) == 3


# ------------------------------------------------------------------------------------- why not DistributedDataParallel


def test_ddp_does_not_average_what_runs_by_functional_call() -> None:
    for got, local in on_ranks(2, ranks.by_ddp, "functional_call"):
        assert all(a.equal(b) for a, b in zip(got, local, strict=True))


def test_ddp_raises_where_an_inner_step_needs_its_graph() -> None:
    """PyTorch's issue 63812, which is open."""
    for said in on_ranks(2, ranks.by_ddp, "create_graph"):
        assert "in-place operation" in said


def test_ddp_averages_over_ranks_and_not_over_tasks() -> None:
    (got, two_tasks), (also, one_task) = on_ranks(2, ranks.by_ddp, "unequal")
    for mean, same, a, b in zip(got, also, two_tasks, one_task, strict=True):
        assert mean.equal(same)
        assert torch.allclose(mean, (a + b) / 2, rtol=1e-10, atol=1e-14)
    assert (
        max(float((mean - (2 * a + b) / 3).abs().max()) for mean, a, b in zip(got, two_tasks, one_task, strict=True))
        > 1e-4
    )
