"""One training loop for every meta-learner: watch it, stop it, resume it.

A checkpoint holds the whole state of a training: weights, their average, optimiser, and the random streams. So a
training that is interrupted and resumed gives, bit for bit, what it would have given without interruption. A training
limited by `seconds` can be repeated exactly by its number of steps. For that, nothing that is learned may depend on the
clock. So the learning rate depends only on the step number.
"""

from __future__ import annotations

import math
import reprlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch.optim.swa_utils import AveragedModel

from . import checkpoints
from .bars import Bar
from .distributed import Group, digest, installation
from .episodes import EpisodeSampler, Sampler
from .errors import Diverged, MetaFaceError
from .evaluation import evaluate
from .learners.base import MetaLearner
from .paths import locked
from .shares import share_statistics

FORMAT = 1  # of the checkpoint
_P = ParamSpec("_P")
_R = TypeVar("_R")
_ENDS = {"seconds": "the time is up", "patience": "validation stopped improving", "interrupted": "interrupted"}
_SHORT = reprlib.Repr()  # what a checkpoint from elsewhere says may be endless
_SHORT.maxdict, _SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 20, 3, 300, 300


@dataclass
class History:
    """What happened in a training.

    loss: the training loss of every step.
    accuracy: the training accuracy of every step; empty in a regression.
    validated: the steps after which a validation was made.
    validation: the accuracy of each validation.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validated: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return len(self.loss)


@dataclass
class Trained:
    """What `meta_train` returns.

    learner: has averaged weights and is in evaluation mode; with early stopping, the best of those that were validated.
    history: losses, accuracies and validations.
    seconds: wall time, including that before a resume.
    stopped: why training ended: "steps", "seconds", "patience" or "interrupted".
    resumed_at: the step after which a checkpoint was resumed; 0 for a fresh start.
    unsaved: why the last checkpoint could not be written; empty if it was.
    """

    learner: MetaLearner
    history: History
    seconds: float
    stopped: str
    resumed_at: int = 0
    unsaved: str = ""

    @property
    def steps(self) -> int:
        return self.history.steps

    def whole(self) -> MetaLearner:
        """The learner, if nobody interrupted its training. Raises `KeyboardInterrupt` otherwise."""
        if self.stopped == "interrupted":
            raise KeyboardInterrupt
        return self.learner


@dataclass
class _Training:
    """Everything that a training changes: what a checkpoint holds.

    net: the learner that the optimiser changes.
    averaged: its averaged weights.
    optimiser: that of the outer loop.
    sampler: draws the episodes.
    about, facts: see `meta_train`.
    patience: see `meta_train`. If None, the averaged weights at the end are returned.
    best: the averaged weights at the best validation; before the first one, those at the start.
    history: losses, accuracies and validations so far.
    seconds: wall time so far.
    """

    net: MetaLearner
    averaged: AveragedModel
    optimiser: torch.optim.Optimizer
    sampler: Sampler
    about: dict[str, Any]
    facts: dict[str, Any]
    patience: int | None
    best: dict[str, Any]
    history: History = field(default_factory=History)
    seconds: float = 0.0

    @property
    def learner(self) -> MetaLearner:
        """The learner with averaged weights."""
        return cast(MetaLearner, self.averaged.module)

    def chosen(self) -> dict[str, Any]:
        """The weights that `meta_train` would return now."""
        return self.best if self.patience is not None and self.history.validation else self.learner.state_dict()

    def record(self, scores: dict[str, float], rate: float) -> None:
        """Add the loss and accuracy of a step to the history.

        scores: "loss" and "accuracy".
        rate: the learning rate, for the error.

        Raises `Diverged` if the loss is not finite.
        """
        if not math.isfinite(scores["loss"]):
            raise Diverged(
                f"The loss of step {self.history.steps + 1} is {scores['loss']}: training diverged. Lower the learning"
                f" rate, which is {rate}, or look for a division by zero in the learner."
            )
        self.history.loss.append(scores["loss"])
        if not math.isnan(scores["accuracy"]):
            self.history.accuracy.append(scores["accuracy"])

    def validate(self, score: float) -> None:
        """Add a validation to the history, and keep the averaged weights if it is the best.

        score: the accuracy of the averaged learner on the validation people.
        """
        if score > max(self.history.validation, default=-1):
            self.best = {key: value.clone() for key, value in self.learner.state_dict().items()}
        self.history.validated.append(self.history.steps)
        self.history.validation.append(score)

    def why_stop(self, last_step: float, late: bool, interrupted: bool) -> str:
        """The reason to stop now (see `Trained.stopped`), or "" to go on.

        last_step: the number of steps to take, or infinity.
        late: whether the time is up.
        interrupted: whether the user pressed Ctrl-C.
        """
        scores = self.history.validation
        if self.history.steps >= last_step:
            return "steps"
        if late:
            return "seconds"
        if self.patience is not None and scores and len(scores) - 1 - scores.index(max(scores)) >= self.patience:
            return "patience"
        return "interrupted" if interrupted else ""

    def save(self, path: Path, trial: bool = False) -> None:
        """Write the checkpoint; or try whether it could be written."""
        state = {
            "format": FORMAT,
            "about": self.about,
            "facts": self.facts,
            "learner": self.chosen(),
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sampler": self.sampler.state_dict(),
            "history": asdict(self.history),
            "seconds": self.seconds,
        }
        if trial and not self.optimiser.state:  # it will need room for two moments of every weight, as Adam has them
            state["room"] = [weights.detach().clone() for weights in self.net.parameters() for _ in range(2)]
        checkpoints.store(path, state, trial)

    def try_to_save(self, path: Path) -> None:
        """Raise `MetaFaceError` if the checkpoint cannot be written."""
        try:
            self.save(path, trial=True)
        except OSError as error:
            raise _not_writable(path, error) from error

    def save_or_warn(self, path: Path, said_before: bool) -> str:
        """Write the checkpoint. If that is not possible, warn, because no work may be lost, and return why.

        said_before: whether the user knows already.
        """
        try:
            self.save(path)
        except OSError as error:
            why = f"{path} cannot be written now ({error.strerror or error})"
            if not said_before:
                kept = "The one before is kept" if path.exists() else "There is none yet"
                warnings.warn(f"{why}. {kept}. Make room, or give the right to write there.", stacklevel=3)
            return why
        return ""

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Continue from what `load_checkpoint` has read. Raises `MetaFaceError` if it is of another training."""
        different = sorted(k for k in {*self.about, *state["about"]} if self.about.get(k) != state["about"].get(k))
        if different:
            was, now = ({k: a.get(k) for k in different} for a in (state["about"], self.about))
            raise MetaFaceError(
                f"{path} is of another training: it has {_SHORT.repr(was)}, this one {_SHORT.repr(now)}. Resume"
                " with the same settings, or train into another folder."
            )
        checkpoints.load_weights(self.net, state["net"], path)
        checkpoints.load_weights(self.averaged, state["averaged"], path)
        try:
            self.optimiser.load_state_dict(state["optimiser"])
            for weights, own in self.optimiser.state.items():
                if any(isinstance(x, torch.Tensor) and x.ndim and x.shape != weights.shape for x in own.values()):
                    raise ValueError("its moments have other shapes than the weights")
            self.sampler.load_state_dict(state["sampler"])
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise _odd(path, f"its optimiser or random streams do not fit: {error}") from error
        self.history, self.seconds, self.best = History(**state["history"]), state["seconds"], state["learner"]


def _alone(train: Callable[_P, Trained]) -> Callable[_P, Trained]:
    """Keep others from the checkpoint of a training while that runs, and gradients on."""

    @wraps(train)
    def alone(*args: _P.args, **options: _P.kwargs) -> Trained:
        with ExitStack() as held:
            checkpoint, group = options.get("checkpoint"), options.get("group")
            if isinstance(checkpoint, Path) and (not isinstance(group, Group) or group.first):
                try:
                    advice = "Wait until it has ended, or train into another folder."
                    held.enter_context(locked(checkpoint, "a training", advice, seconds=0))
                except OSError as error:
                    raise _not_writable(checkpoint, error) from error
            with torch.enable_grad():  # an earlier cell may have switched gradients off
                return train(*args, **options)

    return alone


def _not_writable(path: Path, error: OSError) -> MetaFaceError:
    return MetaFaceError(
        f"{path} cannot be written ({error.strerror or error}), so nothing was trained. Train into a folder that you"
        " may write to, and that has room."
    )


@_alone
def meta_train(
    net: MetaLearner,
    sampler: Sampler,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    tasks: int = 1,
    rate: float = 1e-3,
    halve_every: float = 2000,
    average: float = 0.99,
    validation: EpisodeSampler | None = None,
    validate_every: int = 200,
    validation_episodes: int = 100,
    patience: int | None = None,
    checkpoint: Path | None = None,
    save_every: float = 30.0,
    about: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    on_step: Callable[[int, MetaLearner], None] | None = None,
    progress: bool = True,
    group: Group | None = None,
) -> Trained:
    """Train the slow weights of a meta-learner, in place, by its own optimiser.

    net: the meta-learner.
    sampler: draws the training episodes.
    steps: train for so many steps, including those before a resume; None for no limit.
    seconds: train for so many seconds of wall time, including those before a resume; None for no limit.
    tasks: the number of episodes in a step.
    rate: the learning rate at the first step.
    halve_every: the number of steps in which the learning rate falls to half. A learner can have another schedule.
    average: the returned learner has averaged weights (Polyak & Juditsky 1992). After step n they are
        a · old + (1 − a) · new with a = min(average, (1 + n) / (10 + n)), so that the first weights are soon forgotten.
        A rate that falls to zero would serve the same purpose, but it needs a planned end, and this training may be
        stopped at any time.
    validation: draws episodes of other people, on which the averaged learner is scored; None for no validation.
    validate_every: the number of steps from one validation to the next.
    validation_episodes: the number of episodes in a validation; they are the same each time.
    patience: stop after so many validations in a row without a new best one, and return the best; None to go on.
    checkpoint: a file; None for no checkpoint. If it exists, training continues from it. It is written every
        `save_every` seconds, at the end, and on Ctrl-C, which ends training after the current step. Whether it can be
        written is tried first. If it cannot be written any more later, training goes on, with a warning, and the result
        says so. No other training can use the same file meanwhile.
    save_every: the seconds from one checkpoint to the next.
    about: describes the training. It is stored in the checkpoint, and must be the same on resume.
    facts: more about the training, which the checkpoint holds too, but which may change on resume.
    on_step: called after every step with its number, 1, 2, …, and the averaged learner.
    progress: whether to show a progress bar.
    group: the processes that share the tasks of a step (see `distributed`); None for this one alone. Rank 0 reads and
        writes the checkpoint, validates, and decides when the time is up. A checkpoint can be continued by another
        number of processes.

    Raises `MetaFaceError` if neither steps nor seconds are given, if they are not above 0, if the loss is no longer
    finite, or if the checkpoint is damaged, is of another training, is in use by one, or cannot be written. With a
    group also if ranks differ in code or settings, if one of them fails or does not answer, or if processes cannot
    share the learner's tasks.
    """
    if steps is None and seconds is None:
        raise MetaFaceError("Say when to stop: steps=…, seconds=…, or both.")
    for argument, limit in (("steps", steps), ("seconds", seconds)):
        if limit is not None and not limit > 0:
            raise MetaFaceError(f"{argument} must be above 0, but is {limit}.")
    if patience is not None and validation is None:
        raise MetaFaceError(
            "Early stopping (patience=…) needs validation people. Give validation=…, a sampler of people who are not"
            " trained on."
        )
    last_step, last_second = (math.inf if limit is None else limit for limit in (steps, seconds))
    if group is not None:
        if not net.divisible and group.size > 1:
            raise MetaFaceError(
                f"{type(net).__name__} trains on the tasks of a step together, so {group.size} processes cannot share"
                " them. Train it in one process."
            )
        share_statistics(net)

    optimiser = net.optimiser(rate)
    averaged = AveragedModel(
        net, avg_fn=lambda old, new, n: old + (new - old) * (1 - min(average, (1 + n) / (10 + n))), use_buffers=True
    )
    training = _Training(
        net, averaged, optimiser, sampler, about or {}, facts or {}, patience, averaged.module.state_dict()
    )
    if checkpoint is not None:
        state = _on_first(group, lambda: load_checkpoint(checkpoint) if checkpoint.exists() else None)
        if state is not None:
            training.restore(state, checkpoint)
        _on_first(group, lambda: training.try_to_save(checkpoint))
    if group is not None:
        group.check_same(
            installation()
            | (about or {})
            | {"steps": steps, "tasks": tasks, "rate": rate, "halve_every": halve_every, "average": average}
            | {"validate_every": validate_every, "patience": patience, "device": group.device.type}
            | {"weights": digest(net.state_dict()), "episodes": digest(sampler.state_dict())}
        )
    history, learner = training.history, training.learner
    resumed_at, unsaved = history.steps, ""
    alone = group is None or group.first  # the only process that writes and shows
    same_episodes = validation.state_dict() if validation is not None else {}

    net.train()
    start, saved = time.monotonic() - training.seconds, time.monotonic()
    bar = Bar(
        label=f"meta-train, {net.formulation}" if net.formulation else "meta-train",
        total=steps,
        done=history.steps,
        seconds=last_second - training.seconds,
        shown=progress and alone,
    )
    with _until_interrupted() as interrupted, bar:
        late = _on_first(group, lambda: training.seconds >= last_second)
        while True:
            training.seconds = time.monotonic() - start
            if group is None:
                late = training.seconds >= last_second
            stopped = training.why_stop(last_step, late, interrupted() if group is None else group.interrupted)
            if alone and checkpoint is not None and (stopped or time.monotonic() - saved > save_every):
                unsaved = training.save_or_warn(checkpoint, said_before=bool(unsaved) and not stopped)
                saved = time.monotonic()
            if stopped in _ENDS:
                bar.end(_ENDS[stopped], complete=stopped != "interrupted")
            if stopped:
                break

            # One step of meta-learning: sample tasks, take the meta-gradient, descend, average.
            net.outer_step = history.steps
            for options in optimiser.param_groups:
                options["lr"] = net.outer_rate(rate, halve_every)
            optimiser.zero_grad(set_to_none=True)
            if group is None:
                scores = net.meta_gradient(sampler.sample(tasks))
            else:
                over = time.monotonic() - start >= last_second
                scores = group.meta_gradient(net, sampler, tasks, late=over, interrupted=interrupted())
                late = group.late
            training.record(scores, rate)
            optimiser.step()
            averaged.update_parameters(net)

            if validation is not None and history.steps % validate_every == 0:
                validation.load_state_dict(same_episodes)
                score = _on_first(group, lambda: evaluate({"": learner}, validation, validation_episodes)[""].accuracy)
                training.validate(score)
            if on_step is not None:
                on_step(history.steps, learner)
            bar.update()
            bar.set_postfix(_live(history), refresh=False)

    if group is not None:
        group.check_same({"weights": digest(dict(net.named_parameters()))})
    learner.load_state_dict(_on_first(group, training.chosen))  # running averages are those of the ranks with tasks
    return Trained(learner.eval(), history, training.seconds, stopped, resumed_at, unsaved)


def _on_first(group: Group | None, work: Callable[[], _R]) -> _R:
    """What a piece of work returns: on the first process alone; the others, if there are any, get it from there."""
    return work() if group is None else group.from_first(work)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `meta_train`, and check what it holds.

    path: the file.

    Raises `MetaFaceError` if it is missing, damaged, of another version, or not of a training.
    """
    state = checkpoints.load(path, "a training", FORMAT, "metaface train LEARNER (see metaface train --help)")
    for name in ("about", "learner", "net", "averaged", "optimiser", "sampler", "history"):
        if not isinstance(state.get(name), dict):
            raise _odd(path, f"it has no '{name}'")
    lists = [state["history"].get(part.name) for part in fields(History)]
    numbers = all(isinstance(found, list) and all(type(n) in (int, float) for n in found) for found in lists)
    if not numbers or len(state["history"]) != len(lists):
        raise _odd(path, "its history is not one of losses and accuracies")
    if type(state.get("seconds")) not in (int, float) or not math.isfinite(state["seconds"]):
        raise _odd(path, "it does not say how long it took")
    if not isinstance(state.setdefault("facts", {}), dict):  # trainings before there were facts have none
        raise _odd(path, "its facts are not by name")
    return state


def _odd(path: Path, why: str) -> MetaFaceError:
    return MetaFaceError(
        f"{path} is not the checkpoint of a training: {why}. Put a copy back if you have one, or train into another"
        " folder."
    )


def _live(history: History) -> dict[str, str]:
    recent = slice(-50, None)
    shown = {"loss": f"{sum(history.loss[recent]) / len(history.loss[recent]):.3f}"}
    if history.accuracy:
        shown["accuracy"] = f"{100 * sum(history.accuracy[recent]) / len(history.accuracy[recent]):.0f}%"
    if history.validation:
        shown["validation"] = f"{100 * history.validation[-1]:.0f}%"
    return shown


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that the current step is finished; a second one interrupts at once."""
    asked = False

    def ask(signum: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # this is not the main thread; only that gets signals
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
