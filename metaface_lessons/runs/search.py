"""A search for a learner's settings with Optuna (Akiba et al. 2019): on validation people, in processes side by side.

Each trial is a training with other settings, of equal length, scored on validation people. The study is a journal: a
file to which every event adds a line. This process alone asks for settings and writes; workers train. So whenever the
search is killed, all finished trials are in the file. The same command drops a line that was being written, makes the
interrupted trials again with the same settings, and goes on until there are as many finished trials as it should make.

The sampler of a trial depends on the seed and on the trials before it, not on when the search was interrupted. With one
worker and a number of steps, a search that was killed and resumed makes the trials of one that was not.

The best score of many trials is partly the luckiest, so it is too high (see `selection.best_of`). The winner is trained
again, and reported on novel people. The study keeps every such report, so that they are not asked twice about one
winner, and that the next report says how often they were asked.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from ..bars import Bar
from ..episodes import EpisodeSampler
from ..errors import Diverged, MetaFaceError, refused
from ..evaluation import Difference, evaluate, from_json, paired, to_json
from ..faces import Split, load_faces
from ..machine import best_device
from ..names import visible
from ..paths import locked
from ..selection import Choice, best_of
from ..training import meta_train
from .making import make_learner, training_sampler
from .people import people_of
from .recipes import RECIPES, Between, Settings, fractions, settings_of, space_of
from .run import evaluate_runs, train

STUDY = "metaface search"  # the name of the study in its journal
SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": functools.partial(TPESampler, constant_liar=True),
    "random": RandomSampler,
}
FEWEST = 10  # trials from which importances are found
BEST = 5  # trials, at least, that PED-ANOVA compares with all
_FIRST = b'{"op_code"'  # of every line of a journal
Score = Callable[..., dict[str, Any]]


# ------------------------------------------------------------------------------------------------------------ one trial


@functools.lru_cache(1)
def _split(faces: str, seed: int) -> Split:
    return load_faces(faces).to(best_device()).split(fractions(faces), seed=seed)


def validation_sampler(settings: Settings, split: Split) -> EpisodeSampler:
    """Draws the episodes that score a trial: 5-way, or as many ways as the learner's head has.

    Raises `MetaFaceError` if there are too few validation people, or too few images of each.
    """
    ways = settings.ways if settings.fixed_ways else min(5, len(split.validation.identities))
    return EpisodeSampler(split.validation, ways, settings.shots, settings.queries, seed=settings.seed)


def score(settings: Settings, steps: int | None, seconds: float | None, episodes: int) -> dict[str, Any]:
    """Train with these settings by one thread, and evaluate on the validation people: one trial.

    settings: of the training.
    steps, seconds: when it stops, see `meta_train`.
    episodes: of the evaluation, the same for all trials of one seed.

    Returns the accuracy as "score", which is chance where the training diverged; "ci95_people", its 95% interval over
    the validation people; "steps" and "seconds" of the training; "diverged", why, or an empty text; and "evaluation",
    as `to_json` gives it, or None.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        split, device = _split(settings.faces, settings.seed), best_device()
        sampler, validation = training_sampler(settings, split.base), validation_sampler(settings, split)
        net = make_learner(settings, split.base.shape, split.base.identities).to(device)
        try:
            options: dict[str, Any] = {"tasks": settings.tasks, "rate": settings.rate, "progress": False}
            trained = meta_train(net, sampler, steps=steps, seconds=seconds, **options)
            found = evaluate({"": trained.whole()}, validation, episodes)[""]
        except Diverged as error:
            chance = 1 / validation.ways
            nothing = {"ci95_people": 0.0, "steps": 0, "seconds": 0.0, "evaluation": None}
            return {"score": chance, "diverged": str(error)} | nothing
        return {
            "score": found.accuracy,
            "ci95_people": found.ci95_people,
            "steps": trained.steps,
            "seconds": round(trained.seconds, 2),
            "diverged": "",
            "evaluation": to_json({"": found}),
        }
    finally:
        torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------------------ processes


class _Here(Executor):
    """One worker that is this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _begin(alive: Connection) -> None:
    """Prepare a worker: it ignores Ctrl-C, which is for the search, and ends as soon as the search has ended.

    alive: a pipe to the search, which breaks when that ends, however it ends.
    """

    def watch() -> None:
        try:
            alive.recv()
        except (EOFError, OSError):
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _workers(number: int) -> Iterator[Executor]:
    """So many processes; a single one is this process. On an error they end at once, in the middle of their work."""
    if number == 1:
        yield _Here()
        return
    context = get_context("spawn")
    alive, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(number, context, _begin, (alive,))
    try:
        yield pool
    except BaseException:
        ours.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        alive.close()


# ---------------------------------------------------------------------------------------------------------- the journal


def repair(file: Path) -> str:
    """Make a journal whole that ends in the middle of a line, as after a kill, a full disk or a loss of power.

    Optuna reads over such an end, and then writes its next line behind it. After that it cannot read the file any more.

    file: the journal. No other process may write to it.

    Returns what was done, in a sentence; empty if nothing was. Raises `MetaFaceError` if the file is not a journal, or
    is damaged before its end.
    """
    data = file.read_bytes()
    lines = data.split(b"\n")
    torn = lines.pop()
    for number, line in enumerate(lines, start=1):
        if not _is_event(line):
            why = f"is damaged in line {number}" if number > 1 else "is not a study"
            raise MetaFaceError(
                f"{file} {why}: '{visible(line[:40].decode(errors='replace'))}'. Every line of a study is an event that"
                " Optuna wrote. Put a copy back, or name another file with --study."
            )
    if not torn:
        return ""
    if _is_event(torn):  # only the end of the line is missing
        with file.open("ab") as opened:
            opened.write(b"\n")
        return ""
    begun = torn.startswith(_FIRST) or _FIRST.startswith(torn) or not torn.strip(b"\0")
    if not (lines or begun):
        raise MetaFaceError(f"{file} is not a study. Name another file with --study.")
    os.truncate(file, len(data) - len(torn))
    return (
        f"{file} ended in the middle of a line, which was dropped. A trial that it belonged to is made again. Finished"
        " trials before it are kept."
    )


def _is_event(line: bytes) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and "op_code" in event


def load_study(file: Path) -> optuna.Study:
    """The study in a journal, as Optuna shows it.

    Raises `MetaFaceError` if it is missing, or holds another study than one of `metaface search`.
    """
    if not file.is_file():
        raise MetaFaceError(f"There is no study {file}. Make one: metaface search LEARNER --study {file}")
    storage = _storage(file)
    names = [study.study_name for study in storage.get_all_studies()]
    if STUDY not in names:
        held = f"holds the study '{visible(names[0][:50])}'" if names else "holds no study"
        raise MetaFaceError(f"{file} {held}, which is not of metaface search. Name another file with --study.")
    return optuna.load_study(study_name=STUDY, storage=storage)


def _storage(file: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(file), JournalFileOpenLock(str(file))))


@contextmanager
def _opened(file: Path, of: dict[str, Any]) -> Iterator[optuna.Study]:
    """The study in a journal, made if it is not there, for this process alone.

    of: what the study is of. It must be the same each time.

    Raises `MetaFaceError` if another search uses the file, it is of another search, or it is damaged; or if it cannot
    be written, now or while it is open.
    """
    of = json.loads(json.dumps(of))
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if file.is_dir():
        raise MetaFaceError(f"{file} is a folder. A study is a file. Name another with --study.")
    try:
        with locked(file, "a search", "Wait until it has ended, or name another file with --study.", seconds=0):
            Path(f"{file}.lock").unlink(missing_ok=True)  # Optuna's, of a search that was killed while it wrote
            if file.exists() and (done := repair(file)):
                warnings.warn(done, stacklevel=4)
            if file.exists() and file.stat().st_size:
                study = load_study(file)
            else:
                study = optuna.create_study(study_name=STUDY, storage=_storage(file), direction="maximize")
            known = study.user_attrs.get("of")
            if known is None:  # new, or killed before it was said
                study.set_user_attr("of", of)
            elif known != of:
                raise _of_another(file, known, of)
            yield study
    except OSError as error:
        error.filename = error.filename or str(file)
        what = "The study cannot be written. Its finished trials are kept, and the same command goes on"
        raise refused(error, what) from error
    finally:
        optuna.logging.set_verbosity(before)


def _of_another(file: Path, known: dict[str, Any], of: dict[str, Any]) -> MetaFaceError:
    known, of = ({**which, **which["settings"], "settings": None} for which in (known, of))
    different = [name for name in {**known, **of} if known.get(name) != of.get(name)]
    if different == ["people"]:
        return MetaFaceError(
            f"'{visible(of['faces'])}' has changed since the study {file} began: its people or pictures are others."
            " Scores could not be compared. Put the faces back as they were, or name another file with --study."
        )
    told = [name for name in different if name != "people"]
    was, now = (", ".join(f"{name} {visible(str(which.get(name)))}" for name in told) for which in (known, of))
    return MetaFaceError(
        f"{file} is the study of another search: it has {was}. This one has {now}. Search with the same settings, or"
        " name another file with --study."
    )


# ----------------------------------------------------------------------------------------------------------- the search


def search(
    learner: str,
    study: Path,
    *,
    faces: str = "procedural",
    seed: int = 0,
    given: Mapping[str, float | tuple[float, float]] | None = None,
    trials: int = 20,
    workers: int = 1,
    steps: int | None = None,
    seconds: float | None = None,
    episodes: int = 600,
    sampler: str = "tpe",
    progress: bool = True,
) -> dict[str, Any]:
    """Search for a learner's settings, and report the best on novel people. An interrupted search goes on.

    learner: its name, a key of `RECIPES`.
    study: the journal, a file. The winner's run is a folder beside it.
    faces: the face set, by the name that `load_faces` takes. "procedural".
    seed: of the split, the first weights, the episodes, and the choice of settings. 0.
    given: settings that are fixed, a number, or narrowed, the two ends of a range; see `space_of`. None.
    trials: how many finished trials the study shall have. The first one is of the recipe, if its values are in the
        space. 20.
    workers: processes side by side, with one thread each. 1.
    steps, seconds: the length of every trial's training, see `meta_train`.
    episodes: of every evaluation: of each trial on validation people, and of the winner on novel people. 600.
    sampler: "tpe" learns from earlier trials where to look (Bergstra et al. 2011); "random" does not. "tpe".
    progress: whether to show a bar. True.

    Returns what `metaface search --json` prints; see `report`. Raises `MetaFaceError` for unknown names, settings that
    cannot be searched, too few people, or a study that is of another search, in use, damaged or cannot be written;
    `KeyboardInterrupt` if it is interrupted.
    """
    fixed, space = space_of(learner, given or {})
    plain = settings_of(learner, faces, seed, **fixed)
    _split.cache_clear()
    split = _split(faces, seed)
    training_sampler(plain, split.base)
    try:
        ways = validation_sampler(plain, split).ways
    except MetaFaceError as error:
        raise MetaFaceError(f"A search needs people for validation. {error}") from error
    make_learner(plain, split.base.shape, split.base.identities)
    people = hashlib.blake2b(json.dumps(people_of(split), sort_keys=True).encode(), digest_size=8).hexdigest()
    of = {
        "learner": learner,
        "faces": faces,
        "people": people,
        "seed": seed,
        "steps": steps,
        "seconds": seconds,
        "episodes": episodes,
        "sampler": sampler,
        "settings": {name: getattr(plain, name) for name in RECIPES[learner]}
        | {name: [where.low, where.high] for name, where in space.items()},
    }
    with _opened(study, of) as opened:
        tried = functools.partial(score, steps=steps, seconds=seconds, episodes=episodes)
        _try(opened, space, plain, tried, trials, workers, progress)
        found = report(opened) | {"ways": ways, "validation_people": len(split.validation.identities)}
        return found | _winner(opened, plain, study, ways, progress)


def _try(
    study: optuna.Study,
    space: Mapping[str, Between],
    plain: Settings,
    tried: Score,
    trials: int,
    workers: int,
    progress: bool,
) -> None:
    """Make trials until the study has so many finished ones."""
    distributions = {name: _distribution(where) for name, where in space.items()}
    _begin_again(study, space, plain)
    done = len(_finished(study))
    running: dict[Future[dict[str, Any]], optuna.Trial] = {}
    with (
        Bar(label=f"search {plain.learner}", unit="trial", total=max(trials, done), done=done, shown=progress) as bar,
        _workers(workers) as pool,
    ):
        while done < trials:
            while len(running) < min(workers, trials - done):
                study.sampler = _sampler(study.user_attrs["of"], done + len(running))
                trial = study.ask(distributions)
                settings = replace(plain, **trial.params)
                running[pool.submit(tried, settings)] = trial
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                trial = running.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor as error:
                    raise MetaFaceError(
                        "A worker has ended without a result, perhaps for want of memory. Finished trials are kept, and"
                        " the same command goes on. Try fewer --workers."
                    ) from error
                for name, value in result.items():
                    trial.set_user_attr(name, value)
                study.tell(trial, result["score"])
                done += 1
                bar.update()
                bar.set_postfix({"best": f"{100 * study.best_value:.1f}%"}, refresh=False)


def _begin_again(study: optuna.Study, space: Mapping[str, Between], plain: Settings) -> None:
    """Put the recipe first, and what was interrupted next."""
    trials = study.get_trials(deepcopy=False)
    recipe = {name: getattr(plain, name) for name in space}
    if not trials and all(where.low <= recipe[name] <= where.high for name, where in space.items()):
        study.enqueue_trial(recipe, {"recipe": True})
    for trial in trials:
        if trial.state == TrialState.RUNNING:  # nobody makes it: this process alone has the study
            study.tell(trial.number, state=TrialState.FAIL)
            if {*trial.params} == {*space}:  # all of them had been written
                study.enqueue_trial(trial.params, {"recipe": trial.user_attrs.get("recipe", False)})


def _distribution(where: Between) -> BaseDistribution:
    if where.whole:
        return IntDistribution(int(where.low), int(where.high), log=where.log)
    return FloatDistribution(where.low, where.high, log=where.log)


def _sampler(of: Mapping[str, Any], number: int) -> BaseSampler:
    """The sampler of the trial of this number: another seed for each, and the same for one that is made again."""
    seed = int.from_bytes(hashlib.blake2b(f"{of['seed']} {number}".encode(), digest_size=4).digest(), "big")
    return SAMPLERS[of["sampler"]](seed=seed)


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


def best_trial(study: optuna.Study) -> FrozenTrial:
    """The finished trial with the highest score; of several, the first. Raises `MetaFaceError` if all diverged."""
    trials = _finished(study)
    sound = [trial for trial in trials if not trial.user_attrs["diverged"]]
    if not sound:
        raise MetaFaceError(
            f"All of the {len(trials)} trials diverged, so there is no best one. Search lower rates, such as"
            " --rate 0.0001:0.001, with another --study."
        )
    return max(sound, key=_value)


# ---------------------------------------------------------------------------------------------------------- the results


def report(study: optuna.Study) -> dict[str, Any]:
    """What a study found on validation people.

    study: of at least one finished trial. Raises `MetaFaceError` if all of them diverged.

    Returns

    - of: what the study is of; under "settings" a setting that is searched has the two ends of its range;
    - trials: in the order made, of each "number", "settings", "recipe" (whether they are the recipe's), and the
      "score", "ci95_people", "steps", "seconds" and "diverged" of `score`;
    - best: the number of the best trial, and as_good: the numbers of those that cannot be told from it, see `Choice`;
    - best_of: the expected best score of n trials, for n = 1, 2, …; see `selection.best_of`;
    - importances: see `importances`.
    """
    trials, best = _finished(study), best_trial(study)
    kept = ("score", "ci95_people", "steps", "seconds", "diverged")
    return {
        "of": study.user_attrs["of"],
        "trials": [
            {"number": trial.number, "settings": trial.params, "recipe": trial.user_attrs.get("recipe", False)}
            | {name: trial.user_attrs[name] for name in kept}
            for trial in trials
        ],
        "best": best.number,
        "as_good": [int(name) for name in _choice(trials, best).as_good],
        "best_of": best_of([_value(trial) for trial in trials]),
        "importances": importances(study),
    }


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # it is finished
    return trial.value


def _choice(trials: list[FrozenTrial], best: FrozenTrial) -> Choice:
    kept = {trial.number: trial.user_attrs["evaluation"] for trial in trials}
    evaluations = {number: from_json(found)[""] for number, found in kept.items() if found is not None}
    tried: dict[str, tuple[float, Difference | None]] = {}
    for trial in trials:
        other = evaluations.get(trial.number) if trial.number != best.number else None
        tried[str(trial.number)] = _value(trial), paired(other, evaluations[best.number]) if other else None
    return Choice(str(best.number), tried)


def importances(study: optuna.Study) -> dict[str, Any] | None:
    """How much each setting mattered, by two measures that need not agree; None for fewer than `FEWEST` trials.

    fANOVA (Hutter, Hoos & Leyton-Brown 2014) asks for which share of the variance of all scores a setting is
    responsible, by itself. It learns the scores with a random forest, and looks at the whole space. PED-ANOVA
    (Watanabe, Bansal & Hutter 2023) asks how unlike the values of a setting in the best trials are to its values in all
    trials. So a setting that ruins a training where it is very wrong, and hardly matters elsewhere, is more important
    to the first than to the second.

    Returns "fanova" and "ped_anova", by setting, each with the sum 1; and "best", the share of trials that PED-ANOVA
    takes for the best. None as well if all scores are equal.
    """
    scores = [_value(trial) for trial in _finished(study)]
    if len(scores) < FEWEST or len({*scores}) == 1:
        return None
    share = max(0.1, BEST / len(scores))
    found = {
        "fanova": get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)),
        "ped_anova": get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=share)),
    }
    return {"best": share} | {by: {name: float(x) for name, x in of.items()} for by, of in found.items()}


def _winner(study: optuna.Study, plain: Settings, file: Path, ways: int, progress: bool) -> dict[str, Any]:
    """Train the winner again, and report it on novel people, unless the study has that report already."""
    best, reports = best_trial(study), study.user_attrs.get("reports", [])
    for number, kept in enumerate(reports, start=1):
        if kept["trial"] == best.number:
            return {"winner": kept, "asked": len(reports), "report": number}
    settings = replace(plain, **best.params)
    run = file.with_name(f"{file.stem}-trial{best.number}")
    if train(settings, run, steps=best.user_attrs["steps"], progress=progress).stopped == "interrupted":
        raise KeyboardInterrupt
    novel = evaluate_runs(
        [run],
        ways=ways,
        shots=settings.shots,
        queries=settings.queries,
        episodes=study.user_attrs["of"]["episodes"],
        seed=settings.seed,
        progress=progress,
    )
    del novel["runs"]
    kept = {"trial": best.number, "of_trials": len(_finished(study)), "run": str(run), "settings": best.params}
    kept |= {"validation": best.user_attrs["score"], "novel": novel}
    study.set_user_attr("reports", [*reports, kept])
    return {"winner": kept, "asked": len(reports) + 1, "report": len(reports) + 1}
