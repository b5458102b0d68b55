"""One training loop for every meta-learner: watch it, stop it, resume it.

A checkpoint holds the whole state of a training: weights, their average, optimiser, and the random streams. So a
training that is interrupted and resumed gives, bit for bit, what it would have given without interruption, and one
limited by `seconds` is repeated exactly by its number of steps. For that, nothing that is learned may depend on the
clock: the learning rate follows the step number alone.
"""

from __future__ import annotations

import io
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from .episodes import Episodes, EpisodeSampler, Examples
from .errors import MetaFaceError
from .evaluation import evaluate
from .inner_loop import InnerLoop
from .learners import MetaLearner
from .networks import Augment
from .paths import write_atomically

FORMAT = 1  # of the checkpoint


@dataclass
class History:
    """What happened: the training loss and accuracy of every step, and the validations with the step they followed.

    A regression has no accuracies.
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
    """What `meta_train` gives back.

    learner: with averaged weights, in evaluation mode; with early stopping the best of those that were validated.
    stopped: why training ended: "steps", "seconds", "patience" or "interrupted".
    resumed_at: the step from which a checkpoint was taken up; 0 for a fresh start.
    formulation: how a learner with an inner loop ran its network for many tasks (`TaskNetwork.name`).
    """

    learner: MetaLearner
    history: History
    seconds: float
    stopped: str
    resumed_at: int = 0
    formulation: str | None = None

    @property
    def steps(self) -> int:
        return self.history.steps


class Sampler(Protocol):
    """Draws tasks from a random stream that can be resumed."""

    def sample(self, tasks: int = 1) -> Episodes: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Augmented:
    """A sampler whose images are changed by `augment`, support and query alike; both random streams resume.

    For learners that take episodes as they come. (`ProtoNet` augments by itself.)
    """

    def __init__(self, sampler: Sampler, augment: Augment) -> None:
        self.sampler, self.augment = sampler, augment

    def sample(self, tasks: int = 1) -> Episodes:
        episodes = self.sampler.sample(tasks)
        (support, y), (query, target) = episodes.support, episodes.query
        x = torch.cat([support, query], dim=1)
        x = self.augment(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        known, asked = x.split([support.shape[1], query.shape[1]], dim=1)
        return Episodes(Examples(known, y), Examples(asked, target), episodes.identities)

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.sampler.state_dict(), "augment": self.augment.get_extra_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.sampler.load_state_dict(state)
        self.augment.set_extra_state(state["augment"])


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
    on_step: Callable[[int, MetaLearner], None] | None = None,
    progress: bool = True,
) -> Trained:
    """Train the slow weights of `net`, in place, on `tasks` episodes a step, with `net.optimiser`.

    steps, seconds: train until the first of them is reached; both count what was done before a resume.
    rate, halve_every: the learning rate at the first step, and in how many steps it falls to half.
    average: the learner given back has averaged weights (Polyak & Juditsky 1992): after step n, a · old + (1 − a) · new
        with a = min(average, (1 + n) / (10 + n)), so that the first weights are soon forgotten. This takes the place
        of a rate that falls to zero at a planned end, which a training that may be stopped at any time does not have.
    validation: episodes of other people. Every `validate_every` steps the averaged learner is scored on the same
        `validation_episodes` of them; after `patience` scores in a row without a new best, training stops.
    checkpoint: a file. If it exists, training goes on from it. It is written every `save_every` seconds, at the end,
        and on Ctrl-C, which ends training after the current step. `about` is stored with it and must be the same on
        resume: what the training is of.
    on_step: called after every step with its number, 1, 2, …, and the averaged learner.

    Raises `MetaFaceError` if neither steps nor seconds are given, if they are not above 0, if the loss is no longer
    finite, or if the checkpoint is damaged or was made by another training.
    """
    if steps is None and seconds is None:
        raise MetaFaceError("Say when to stop: steps=…, seconds=…, or both.")
    for argument, limit in (("steps", steps), ("seconds", seconds)):
        if limit is not None and not limit > 0:
            raise MetaFaceError(f"{argument} must be above 0, but is {limit}.")
    if patience is not None and validation is None:
        raise MetaFaceError("Early stopping (patience=…) needs validation=…, a sampler over people held out for it.")
    last_step, last_second = (math.inf if limit is None else limit for limit in (steps, seconds))

    formulation = net.run.name if isinstance(net, InnerLoop) else None
    optimiser = net.optimiser(rate)
    averaged = AveragedModel(
        net, avg_fn=lambda old, new, n: old + (new - old) * (1 - min(average, (1 + n) / (10 + n))), use_buffers=True
    )
    learner = cast(MetaLearner, averaged.module)
    history, spent, best = History(), 0.0, learner.state_dict()
    about = about or {}
    if checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        different = sorted(k for k in {*about, *state["about"]} if about.get(k) != state["about"].get(k))
        if different:
            was, now = ({k: a.get(k) for k in different} for a in (state["about"], about))
            raise MetaFaceError(
                f"{checkpoint} is of another training: it has {was}, this one {now}. Resume with the same settings,"
                " or train into another folder."
            )
        load_weights(net, state["net"], checkpoint)
        load_weights(averaged, state["averaged"], checkpoint)
        optimiser.load_state_dict(state["optimiser"])
        sampler.load_state_dict(state["sampler"])
        history, spent, best = History(**state["history"]), state["seconds"], state["learner"]
    resumed_at = history.steps
    same_episodes = validation.state_dict() if validation is not None else {}

    def chosen() -> dict[str, Any]:
        return best if patience is not None and history.validation else learner.state_dict()

    def save() -> None:
        if checkpoint is not None:
            state = {
                "format": FORMAT,
                "about": about,
                "learner": chosen(),
                "net": net.state_dict(),
                "averaged": averaged.state_dict(),
                "optimiser": optimiser.state_dict(),
                "sampler": sampler.state_dict(),
                "history": asdict(history),
                "seconds": spent,
            }
            buffer = io.BytesIO()
            torch.save(state, buffer)
            write_atomically(checkpoint, buffer.getvalue())

    def out_of_patience() -> bool:
        if patience is None or not history.validation:
            return False
        since_best = len(history.validation) - 1 - history.validation.index(max(history.validation))
        return since_best >= patience

    net.train()
    start, saved = time.monotonic() - spent, time.monotonic()
    bar = tqdm(
        desc=f"meta-train, {formulation}" if formulation else "meta-train",
        total=steps,
        initial=history.steps,
        unit="step",
        disable=not progress,
    )
    with _until_interrupted() as interrupted, bar:
        while True:
            spent = time.monotonic() - start
            if history.steps >= last_step:
                stopped = "steps"
            elif spent >= last_second:
                stopped = "seconds"
            elif out_of_patience():
                stopped = "patience"
            elif interrupted():
                stopped = "interrupted"
            else:
                stopped = ""
            if stopped or time.monotonic() - saved > save_every:
                save()
                saved = time.monotonic()
            if stopped:
                break

            for group in optimiser.param_groups:
                group["lr"] = rate * 0.5 ** (history.steps / halve_every)
            optimiser.zero_grad(set_to_none=True)
            scores = net.meta_gradient(sampler.sample(tasks))
            if not math.isfinite(scores["loss"]):
                raise MetaFaceError(
                    f"The loss of step {history.steps + 1} is {scores['loss']}: training diverged. Lower the learning"
                    f" rate (it is {rate}), or look for a division by zero in the learner."
                )
            optimiser.step()
            averaged.update_parameters(net)
            history.loss.append(scores["loss"])
            if not math.isnan(scores["accuracy"]):
                history.accuracy.append(scores["accuracy"])
            if validation is not None and history.steps % validate_every == 0:
                validation.load_state_dict(same_episodes)
                score = evaluate({"learner": learner}, validation, validation_episodes)["learner"].accuracy
                if score > max(history.validation, default=-1):
                    best = {key: value.clone() for key, value in learner.state_dict().items()}
                history.validated.append(history.steps)
                history.validation.append(score)
            if on_step is not None:
                on_step(history.steps, learner)
            bar.update()
            bar.set_postfix(_live(history), refresh=False)

    learner.load_state_dict(chosen())
    return Trained(learner.eval(), history, spent, stopped, resumed_at, formulation)


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
    """Turn the first Ctrl-C into a flag, so that the step under way is finished; a second one interrupts at once."""
    asked = False

    def ask(signum: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread, which alone gets signals
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `meta_train` stored. Raises `MetaFaceError` if the file is missing, damaged or of another format."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MetaFaceError(f"There is no checkpoint {path}. Train first: metaface train --help.") from error
    except Exception as error:  # truncated zip, wrong magic, forbidden pickle: torch raises many kinds
        raise MetaFaceError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}). Delete it and train again."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise MetaFaceError(f"{path} is no checkpoint of this version (format {FORMAT}). Train again.")
    return state


def load_stored(path: Path, what: str, form: object, command: str) -> dict[str, Any]:
    """Weights that come with the course, of `what`, such as "snapshots", which `command` makes, as a dict.

    Raises `MetaFaceError` if the file is missing, damaged, or not of this `form`, its entry "format".
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MetaFaceError(f"There are no {what} at {path}. Make them: {command}") from error
    except Exception as error:  # truncated zip, wrong magic, forbidden pickle: torch raises many kinds
        raise MetaFaceError(f"{path} is damaged ({error}). Delete it and make it again: {command}") from error
    if not isinstance(state, dict) or state.get("format") != form:
        raise MetaFaceError(f"{path} holds no {what} of this version. Make them again: {command}")
    return state


def load_weights(net: torch.nn.Module, weights: dict[str, Any], source: Path) -> None:
    """Load `weights` into `net`; a `MetaFaceError` names the first that does not fit."""
    own = net.state_dict()
    for key in [*own, *weights]:
        mine, theirs = (getattr(state.get(key), "shape", None) for state in (own, weights))
        if (key in own) != (key in weights) or mine != theirs:
            raise MetaFaceError(
                f"The weights in {source} are of another network: '{key}' is {_size(theirs)} there and {_size(mine)}"
                " here. Use the settings (learner, width, image size) that it was trained with."
            )
    net.load_state_dict(weights)


def _size(shape: torch.Size | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
