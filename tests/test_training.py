"""Meta-training: it learns, stops, resumes bit for bit, and says what went wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from metaface_lessons import checkpoints
from metaface_lessons.augmentation import Augment, Augmented
from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.learners.reptile import Reptile
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.training import Trained, load_checkpoint, meta_train
from tests.helpers import SPLIT, random_faces, small_protonet, train_briefly


def classifier() -> Classifier:
    embedding = Conv4(1, 16, 8, depth=2, norm="task")
    return Classifier(embedding, embedding.features, ways=5)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_training_learns_strangers() -> None:
    split = random_faces(people=150, each=6).split(seed=1)
    trained = meta_train(
        ProtoNet(Conv4(1, 16, 16), temperature=10, in_turn=True),
        EpisodeSampler(split.base, ways=10, shots=1, queries=3),
        validation=EpisodeSampler(split.validation, ways=5, shots=1, queries=3),
        steps=80,
        rate=3e-3,
        average=0.9,
        validate_every=20,
        progress=False,
    )
    assert trained.stopped == "steps"
    assert trained.steps == 80
    assert not trained.learner.training
    assert sum(trained.history.loss[-10:]) < 0.8 * sum(trained.history.loss[:10])
    assert trained.history.validated == [20, 40, 60, 80]
    assert trained.history.validation[-1] > 0.5  # chance is 0.2


def test_the_averaged_weights_are_the_exponential_average() -> None:
    net, seen = small_protonet(), []
    before = net.embedding[0].weight.detach().clone()
    trained = train_briefly(
        net=net, steps=9, average=0.5, on_step=lambda *_: seen.append(net.embedding[0].weight.detach().clone())
    )
    wanted = seen[0]  # the average starts at the first weights that were learned
    for n, weights in enumerate(seen[1:], start=1):
        share = min(0.5, (1 + n) / (10 + n))
        wanted = share * wanted + (1 - share) * weights
    assert torch.allclose(trained.learner.embedding[0].weight, wanted, atol=1e-6)
    assert not torch.equal(before, wanted)


def test_the_rate_follows_the_step_number() -> None:
    net, moves = small_protonet(), []
    last = [net.embedding[0].weight.detach().clone()]

    def note(step: int, _: torch.nn.Module) -> None:
        now = net.embedding[0].weight.detach().clone()
        moves.append((now - last[0]).abs().mean().item())
        last[0] = now

    train_briefly(net=net, steps=40, rate=1e-3, halve_every=5, on_step=note)
    assert sum(moves[30:40]) < 0.1 * sum(moves[0:10])


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    whole = train_briefly(steps=20)
    file = tmp_path / "run" / "checkpoint.pt"
    for steps in (7, 13, 20):
        parts = train_briefly(steps=steps, checkpoint=file)
    assert same_weights(whole.learner, parts.learner)
    assert whole.history == parts.history


def test_seconds_are_repeated_exactly_by_their_steps() -> None:
    by_time = train_briefly(seconds=0.5)
    assert by_time.stopped == "seconds"
    assert by_time.seconds >= 0.5
    assert same_weights(by_time.learner, train_briefly(steps=by_time.steps).learner)


def test_early_stopping_gives_back_the_best(tmp_path: Path) -> None:
    best: dict[int, ProtoNet] = {}
    trained = train_briefly(steps=500, rate=0.3, patience=3, on_step=lambda step, net: best.update({step: _copy(net)}))
    history = trained.history
    assert trained.stopped == "patience"
    when = history.validation.index(max(history.validation))
    assert len(history.validation) == when + 4
    assert same_weights(trained.learner, best[history.validated[when]])


def _copy(net: ProtoNet) -> ProtoNet:
    twin = small_protonet()
    twin.load_state_dict(net.state_dict())
    return twin


def test_ctrl_c_finishes_the_step_saves_and_resumes(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"

    def interrupt(step: int, _: torch.nn.Module) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    stopped = train_briefly(steps=12, checkpoint=file, on_step=interrupt)
    assert (stopped.stopped, stopped.steps) == ("interrupted", 4)
    assert signal.getsignal(signal.SIGINT) is handler
    assert same_weights(train_briefly(steps=12, checkpoint=file).learner, train_briefly(steps=12).learner)


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    def insist(step: int, _: torch.nn.Module) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a process that runs tests beside others ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            train_briefly(steps=12, on_step=insist)
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_runs_outside_the_main_thread() -> None:
    results: list[Trained] = []
    thread = threading.Thread(target=lambda: results.append(train_briefly(steps=2)))
    thread.start()
    thread.join()
    assert results[0].steps == 2


def test_a_killed_training_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    script = f"""
        from pathlib import Path
        from tests.helpers import train_briefly
        train_briefly(steps=100000, checkpoint=Path({str(file)!r}), save_every=0)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parent.parent)
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    done = len(load_checkpoint(file)["history"]["loss"])
    resumed = train_briefly(steps=done + 5, checkpoint=file)
    assert resumed.steps == done + 5
    assert same_weights(resumed.learner, train_briefly(steps=done + 5).learner)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train_briefly(steps=2, checkpoint=file)
    good = file.read_bytes()

    class Diverging(ProtoNet):
        def loss(self, episodes):
            loss, logits = super().loss(episodes)
            return loss * float("inf"), logits

    with pytest.raises(MetaFaceError, match=r"loss of step 3 is inf.*Lower the learning rate"):
        train_briefly(net=Diverging(Conv4(1, 16, 8), augment=Augment()), steps=5, checkpoint=file)
    assert file.read_bytes() == good


def test_existing_results_are_those_of_adam() -> None:
    """The outer optimiser is the meta-learner's choice; without one it is Adam, as ever."""
    net, by_hand = small_protonet(), small_protonet()
    meta_train(net, EpisodeSampler(SPLIT.base, 5, 1, 3, seed=2), steps=3, rate=1e-2, halve_every=1e9, progress=False)
    optimiser, sampler = torch.optim.Adam(by_hand.parameters(), lr=1e-2), EpisodeSampler(SPLIT.base, 5, 1, 3, seed=2)
    for _ in range(3):
        optimiser.zero_grad()
        by_hand.meta_gradient(sampler.sample())
        optimiser.step()
    assert same_weights(net, by_hand)


@pytest.mark.parametrize("kind", [MAML, Reptile])
def test_inner_loops_resume_bit_for_bit_with_augmented_episodes(kind: type, tmp_path: Path) -> None:
    def train(steps: int, checkpoint: Path | None = None) -> Trained:
        net = kind(classifier(), steps=2, inner_rate=0.01, test_steps=2)
        sampler = Augmented(EpisodeSampler(SPLIT.base, 5, 2, 2, seed=2), Augment(seed=3))
        return meta_train(net, sampler, steps=steps, rate=0.01, tasks=2, checkpoint=checkpoint, progress=False)

    whole = train(5)
    for steps in (2, 5):
        parts = train(steps, tmp_path / "checkpoint.pt")
    assert same_weights(whole.learner, parts.learner)
    assert whole.history == parts.history
    assert whole.learner.formulation == whole.learner.network_per_task.name


def test_a_training_says_which_formulation_it_took_and_learns_the_same_by_each() -> None:
    def train(**options: bool | str) -> Trained:
        sampler = EpisodeSampler(SPLIT.base, 5, 1, 2, seed=2)
        net = MAML(classifier().double(), steps=2, **options)
        return meta_train(net, sampler, steps=3, rate=1e-3, progress=False)

    fast, plain = train(), train(fast=False)
    assert fast.learner.formulation == "tasks as channel groups"
    assert plain.learner.formulation == "one by one"
    assert fast.history.loss == pytest.approx(plain.history.loss, rel=1e-9)
    assert train(adapt="head").learner.formulation == "head only"


def test_a_regression_has_no_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    class Lines:
        """Tasks y = ax, a different a in each."""

        def sample(self, tasks: int = 1) -> Episodes:
            x = torch.linspace(-1, 1, 10).expand(tasks, 10)[..., None]
            y = x * torch.arange(1, tasks + 1)[:, None, None]
            return Episodes(Examples(x[:, ::2], y[:, ::2]), Examples(x[:, 1::2], y[:, 1::2]), torch.zeros(tasks, 1))

        def state_dict(self) -> dict[str, torch.Tensor]:
            return {}

    net = MAML(torch.nn.Linear(1, 1), steps=2, loss=torch.nn.functional.mse_loss)
    history = meta_train(net, Lines(), steps=3, tasks=2).history
    assert (history.steps, history.accuracy) == (3, [])
    bar = capsys.readouterr().err
    assert "meta-train, all at once" in bar
    assert "loss=" in bar
    assert "accuracy" not in bar


def test_a_training_whose_time_is_up_closes_a_full_bar(capsys: pytest.CaptureFixture[str]) -> None:
    steps = train_briefly(steps=10**6, seconds=0.2, progress=True).steps
    last = capsys.readouterr().err.split("\r")[-1]
    assert f"100%|██████████| {steps}/{steps}" in last
    assert "the time is up" in last


def test_training_must_know_when_to_stop() -> None:
    with pytest.raises(MetaFaceError, match="Say when to stop"):
        train_briefly()
    with pytest.raises(MetaFaceError, match="needs validation"):
        train_briefly(steps=1, patience=1, validation=None)


# ---------------------------------------------------------------------------------------- where a checkpoint is written


def test_a_second_training_into_the_same_file_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    file = tmp_path / "run" / "checkpoint.pt"

    def second(step: int, _: torch.nn.Module) -> None:
        with pytest.raises(MetaFaceError, match=rf"in use: a training \(process {os.getpid()} .*another folder"):
            train_briefly(net=small_protonet(1), steps=1, checkpoint=file)

    assert train_briefly(steps=1, checkpoint=file, on_step=second).steps == 1
    assert train_briefly(steps=2, checkpoint=file).resumed_at == 1


def test_a_file_that_cannot_be_written_is_found_out_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: object) -> None:
        pytest.fail("a step was taken")

    (tmp_path / "file").write_text("mine")
    with pytest.raises(MetaFaceError, match=r"cannot be written \(.*\), so nothing was trained"):
        train_briefly(steps=1, checkpoint=tmp_path / "file" / "checkpoint.pt", on_step=begun)
    (tmp_path / "checkpoint.pt").mkdir()
    with pytest.raises(MetaFaceError, match="not a file"):
        train_briefly(steps=1, checkpoint=tmp_path / "checkpoint.pt", on_step=begun)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MetaFaceError, match=r"cannot be written \(No space left on device\), so nothing was trained"):
        train_briefly(steps=1, checkpoint=tmp_path / "new" / "checkpoint.pt", on_step=begun)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".checkpoint.pt.lock"]


def test_what_is_tried_before_training_is_as_large_as_what_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[bool, list[int]] = {True: [], False: []}
    write = checkpoints.write_atomically

    def measured(path: Path, data: bytes, trial: bool) -> None:
        sizes[trial].append(len(data))
        write(path, data, trial=trial)

    monkeypatch.setattr(checkpoints, "write_atomically", measured)
    wide = ProtoNet(Conv4(1, 16, 64))
    for steps in (1, 2):
        train_briefly(net=wide, steps=steps, checkpoint=tmp_path / "checkpoint.pt")
    assert len(sizes[True]) == len(sizes[False]) == 2
    assert min(sizes[True]) > 0.98 * max(sizes[False])


@pytest.mark.parametrize("before", [0, 2])
def test_a_disk_that_fills_up_while_training_loses_neither_the_result_nor_the_file_before(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "checkpoint.pt"
    if before:
        train_briefly(steps=before, checkpoint=file)
    old = file.read_bytes() if before else None

    def fill(step: int, _: torch.nn.Module) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)

    with pytest.warns(UserWarning, match=r"checkpoint.pt cannot be written now \(No space left") as warned:
        trained = train_briefly(steps=6, checkpoint=file, on_step=fill, save_every=0)
    assert [str(warning.message).split(". ")[1] for warning in warned] == [
        "The one before is kept" if file.exists() else "There is none yet"
    ] * 2  # once in training, and once at the end
    assert "No space left" in trained.unsaved
    assert trained.steps == 6
    if before:
        assert file.exists()
    assert same_weights(trained.learner, train_briefly(steps=6).learner)
    monkeypatch.undo()
    assert train_briefly(steps=7, checkpoint=file).unsaved == ""
    assert old is None or file.read_bytes() != old


def test_gradients_that_an_earlier_cell_switched_off_are_on_in_training() -> None:
    def weights() -> torch.nn.Module:
        net, sampler = small_protonet(), EpisodeSampler(SPLIT.base, 5, 1, 3, seed=2)
        return meta_train(net, sampler, steps=2, progress=False).learner

    usual = weights()
    with torch.no_grad():
        assert same_weights(weights(), usual)
        assert not torch.is_grad_enabled(), "it is the learner's own setting again"
