"""The command `metaface`.

Exit codes: 0 success, 1 an error that stderr explains, 2 wrong usage, 3 done but for the submissions that stderr names,
130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from . import __version__, experiments
from .doctor import add_arguments
from .errors import LostRank, MetaFaceError, ReportedElsewhere, refused
from .names import visible
from .options import between, real, seed, whole
from .paths import write_atomically
from .runs.recipes import OPTIONS, PAIRS, PROTOCOLS, RECIPES, SPACES, Settings

# Each command imports torch and what needs it inside its function: `metaface doctor` must run where torch is missing.


def lab(args: argparse.Namespace) -> int:
    from . import paths
    from .lab import workspace

    if address := workspace.running(paths.home_dir()):
        print(f"JupyterLab is already running for your folder {paths.home_dir()}: {address}")
        return 0
    folder, news = workspace.prepare()
    news += [
        f"Your lessons are in {folder}. Stop JupyterLab with Ctrl-C, twice.",
        f"To use the command `metaface` in another terminal, type there first: {workspace.found_by()}",
    ]
    return workspace.lab(folder, args.passed_on, news)


def _file(path: str) -> Path:
    """The file to write a result to. Raises an error, before any work is done, if it cannot be written."""
    file = Path(path)
    if os.path.isdir(file):
        raise MetaFaceError(f"--out {path} is a folder. Name a file in it.")
    if os.path.exists(file) and not (os.path.isfile(file) and os.access(file, os.W_OK)):
        raise MetaFaceError(f"--out {path} cannot be written. Name another file.")
    write_atomically(file, b"", trial=True)
    return file


def _given(path: str | Path) -> Path:
    """A path to read from. Raises `MetaFaceError` for a pipe or a device, which might never end."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise MetaFaceError(f"{path} is neither a file nor a folder. Name a file that is stored on disk.")
    return Path(path)


def doctor(args: argparse.Namespace) -> int:
    from .doctor import main

    return main(args)


def faces(args: argparse.Namespace) -> int:
    import torch

    from .faces import load_faces
    from .faces.mapped import map_faces, map_folder, mapped_faces
    from .figures import face_grid, png

    kind, _, path = args.set.partition(":")
    if args.check:
        if kind != "mapped":
            raise MetaFaceError(f"'{args.set}' has no checksums to check. Name a mapped set: mapped:FILE.")
        found = mapped_faces(path, check=True)
        _say(args, {"name": found.name, "images": len(found), "damaged": 0}, f"{found}\nNo picture is damaged.")
        return 0
    if args.map:
        made = map_folder(path, args.map) if kind == "folder" else map_faces(load_faces(args.set), args.map)
        found = mapped_faces(made)
        _say(args, {"name": found.name, "images": len(found), "file": str(made)}, f"{found}\nUse it: mapped:{made}")
        return 0
    out = _file(args.out or f"{args.set.replace(':', '-').replace('/', '-')}.png")
    found = load_faces(args.set)
    people = found.identities
    chosen = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(args.seed))[: args.people]]
    rows = []
    for person in chosen:  # spread evenly over their images: neighbours often share their conditions
        own = (found.identity == person).nonzero().flatten()
        rows.append(found.images[own[torch.linspace(0, len(own) - 1, min(args.each, len(own))).round().long()]])
    each = min(len(row) for row in rows)
    figure = face_grid(torch.cat([row[:each] for row in rows]), columns=each)
    write_atomically(out, png(figure))
    report = {"name": found.name, "images": len(found), "people": len(people), "shape": list(found.shape)}
    if found.reading is not None:
        report["reading"] = found.reading.lines()
    _say(args, report | {"synthetic": found.synthetic, "file": str(out)}, f"{found}\n{len(chosen)} people in {out}")
    return 0


def train(args: argparse.Namespace) -> int:
    from . import distributed
    from .machine import best_device
    from .runs.recipes import settings_of
    from .runs.run import train

    settings = settings_of(args.learner, args.faces, args.seed, **_given_settings(args))
    out = Path(args.out or f"runs/{args.learner}-{args.faces.split(':')[0]}")
    if out.exists() and not out.is_dir():
        raise MetaFaceError(f"--out {out} is a file. A run is a folder. Name another.")
    steps, seconds = args.steps, args.seconds
    if steps is None and seconds is None:
        seconds = 120.0
    if args.processes > 1 and not distributed.is_rank():
        return distributed.launch(args.processes, main, [args.command_line])
    group = distributed.join(args.timeout) if distributed.is_rank() else None
    if group is not None and args.processes not in (1, group.size):
        raise MetaFaceError(
            f"torchrun has started {group.size} processes, but --processes is {args.processes}. Leave --processes out."
        )
    shown = not (args.json or args.quiet)

    def say(shape: tuple[int, int, int], people: int) -> None:
        with suppress(MetaFaceError):  # nothing is lost where the constants are missing
            _, prediction = _cost(settings, shape, people)
            print(f"Predicted: {prediction.text(steps, seconds)}.", file=sys.stderr)

    try:
        trained = train(
            settings,
            out,
            steps=steps,
            seconds=seconds,
            patience=args.patience,
            progress=shown,
            on_start=say if shown and group is None and best_device().type == "cpu" else None,
            group=group,
        )
    finally:
        if group is not None:
            group.close()
    if group is not None and not group.first:
        return 130 if trained.stopped == "interrupted" else 0
    report = {
        "run": str(out),
        "steps": trained.steps,
        "resumed_at": trained.resumed_at,
        "seconds": round(trained.seconds, 1),
        "stopped": trained.stopped,
    }
    if trained.unsaved:
        report["unsaved"] = trained.unsaved
    why = {
        "steps": "as many as you asked for",
        "seconds": "the time is up",
        "patience": "validation stopped improving",
        "interrupted": "interrupted; the same command continues",
    }[trained.stopped]
    text = f"{trained.steps} steps in {trained.seconds:.0f} s ({why}). Stored in {out}."
    if trained.unsaved:
        text = f"{trained.steps} steps in {trained.seconds:.0f} s ({why}). NOT stored in {out}: {trained.unsaved}."
    elif trained.steps == trained.resumed_at:
        text = f"Nothing to do: {text} Ask for more steps or seconds, or name another folder with --out."
    _say(args, report, text)
    return 130 if trained.stopped == "interrupted" else int(bool(trained.unsaved))


def _given_settings(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in OPTIONS if hasattr(args, name)}


def _cost(settings: Settings, shape: tuple[int, int, int], people: int, again: bool = False) -> tuple[Any, Any]:
    """The count of a training's step, and the prediction for this machine."""
    from .experiments.cost import load
    from .runs.cost import count, predict, this_machine

    fitted = load()["fitted"]
    counted = count(settings, shape, people)
    return counted, predict(counted, this_machine(again), fitted)


def cost(args: argparse.Namespace) -> int:
    from .faces import load_faces
    from .runs.recipes import fractions, settings_of

    settings = settings_of(args.learner, args.faces, args.seed, **_given_settings(args))
    faces = load_faces(args.faces)
    people = len(faces.split(fractions(args.faces), seed=args.seed).base.identities)
    counted, prediction = _cost(settings, faces.shape, people, args.calibrate)
    seconds = 120.0 if args.steps is None and args.seconds is None else args.seconds
    report = {"settings": asdict(settings), "shape": list(faces.shape), **asdict(counted), **asdict(prediction)}
    channels, height, width = faces.shape
    lines = [f"One step of {args.learner} on {args.faces} ({channels}×{height}×{width}), through the network:"]
    for part in counted.parts:
        lines.append(f"  {part.images:5d} images, {ORDERS[part.order]}: {part.what}")
    lines += [
        f"  {counted.products / 1e9:.2f} billion operations, {counted.moved / 1e6:.0f} million numbers moved,"
        f" {counted.kept / 2**20:.0f} MB wait for the way back",
        f"Predicted: {prediction.text(args.steps, seconds)}.",
        "In brackets: nine of ten settings that the prediction was not fitted to were within. Other programs at the"
        " same time make a training slower.",
    ]
    _say(args, report, "\n".join(lines))
    return 0


ORDERS = ("forward", "forward and gradient", "forward and gradient, differentiated")  # by `runs.cost.Part.order`


def search(args: argparse.Namespace) -> int:
    from .runs.search import search

    cores = os.cpu_count() or 1
    if args.workers > cores:
        warnings.warn(f"{args.workers} workers share {cores} cores, so none of them is faster for it.", stacklevel=2)
    seconds = 60.0 if args.steps is None and args.seconds is None else args.seconds
    report = search(
        args.learner,
        Path(args.study or f"runs/{args.learner}-{args.faces.split(':')[0]}.journal"),
        faces=args.faces,
        seed=args.seed,
        given=_given_settings(args),
        trials=args.trials,
        workers=args.workers,
        steps=args.steps,
        seconds=seconds,
        episodes=args.episodes,
        sampler=args.sampler,
        progress=not (args.json or args.quiet),
    )
    _say(args, report, _search_text(report))
    return 0


def _search_text(report: dict[str, Any]) -> str:
    of, trials, winner = report["of"], report["trials"], report["winner"]
    length = f"{of['steps']} steps" if of["steps"] else f"{of['seconds']:g} s"
    diverged = sum(bool(trial["diverged"]) for trial in trials)
    lines = [
        f"{len(trials)} trials of {of['learner']} on {of['faces']}, {length} each, scored on"
        f" {report['validation_people']} validation people ({report['ways']}-way, {of['episodes']} episodes).",
        f"{diverged} diverged, which counts as guessing." if diverged else "None diverged.",
    ]
    ranked = sorted(trials, key=lambda trial: (-trial["score"], trial["number"]))
    shown = [trial for place, trial in enumerate(ranked) if place < 5 or trial["recipe"]]
    names = list(trials[0]["settings"])
    lines.append(f"  {'trial':>5s}  {'score':>6s}  " + "  ".join(f"{name:>11s}" for name in names))
    for trial in shown:
        chosen = "  ".join(f"{trial['settings'][name]:11.4g}" for name in names)
        mark = "  the recipe" if trial["recipe"] else ""
        lines.append(f"  {trial['number']:5d}  {100 * trial['score']:5.1f}%  {chosen}{mark}")
    lines += [
        f"Cannot be told from the best: {len(report['as_good'])} of the {len(trials) - 1} others.",
        "The best of many is partly luck. Mean best score of n of these trials, drawn at random:",
    ]
    numbers = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n < len(trials)] + [len(trials)]
    lines.append("  n  " + " ".join(f"{n:5d}" for n in numbers))
    lines.append("  %  " + " ".join(f"{100 * report['best_of'][n - 1]:5.1f}" for n in numbers))
    if found := report["importances"]:
        lines.append("Which settings mattered, as shares of 1:")
        lines.append(f"  {'':12s}  fANOVA  PED-ANOVA")
        for name in sorted(names, key=lambda name: -found["fanova"][name]):
            lines.append(f"  {name:12s}  {found['fanova'][name]:6.2f}  {found['ped_anova'][name]:9.2f}")
        lines.append(
            "The two need not agree. fANOVA asks which share of the variance of all scores a setting makes. PED-ANOVA"
            f" asks in which settings the best {found['best']:.0%} of the trials differ from all."
        )
    novel, run = winner["novel"], winner["run"]
    asked = "Asked once" if report["asked"] == 1 else f"Asked {report['asked']} times, each about another winner"
    lines.append(
        f"Trial {winner['trial']}, the winner of {winner['of_trials']} trials, trained again ({run}), on"
        f" {novel['identities']} novel people: {100 * novel['accuracy']:.1f} % ± {100 * novel['ci95_people']:.1f} over"
        f" people, ± {100 * novel['ci95']:.1f} over episodes. On the validation people it had"
        f" {100 * winner['validation']:.1f} %. {asked}."
    )
    return "\n".join(lines)


def evaluate(args: argparse.Namespace) -> int:
    from .experiments.stored import write_result
    from .learners.baselines import pretrained
    from .machine import device_name
    from .runs.run import evaluate_runs

    out = _file(args.out) if args.out else None
    paths, compare = [Path(run) for run in args.runs], not args.no_baselines
    others = {place: pretrained(place) for place in args.embedding}
    if args.protocol == "episodes":
        report = evaluate_runs(
            paths,
            ways=args.ways,
            shots=args.shots,
            queries=args.queries,
            episodes=args.episodes,
            seed=args.seed,
            compare=compare,
            others=others,
            progress=not (args.json or args.quiet),
        )
        text = _episodes_text(args, report)
    else:
        from .runs.protocols import verify_runs

        report = verify_runs(paths, args.protocol, each=args.pairs, seed=args.seed, compare=compare, others=others)
        text = _verification_text(report)
    _say(args, report, text)  # first: what was measured is seen, whatever happens to the file
    if out is not None:
        command = "metaface " + " ".join(args.command_line)
        about = {"command": command, "date": date.today().isoformat(), "machine": device_name()}
        write_result(out, about | report)
    return 0


def _episodes_text(args: argparse.Namespace, report: dict[str, Any]) -> str:
    lines = [
        f"{args.ways}-way {args.shots}-shot, {args.episodes} episodes of {report['identities']} people never seen in"
        f" training, {len(args.runs)} run{'s' if len(args.runs) > 1 else ''}:"
    ]
    rows = [("the run", report), *report["baselines"].items()]
    width = max(len(name) for name, _ in rows)
    for name, figures in rows:
        spread = f", ± {100 * figures['deviation']:.1f} over runs" if "deviation" in figures else ""
        lines.append(
            f"  {name:{width}s} {100 * figures['accuracy']:5.1f} % ± {100 * figures['ci95']:.1f} over episodes,"
            f" ± {100 * figures['ci95_people']:.1f} over people{spread}"
        )
    if report["differences"]:
        from .evaluation import Difference

        lines.append("The run minus each of them, paired on the same episodes:")
        for name, found in report["differences"].items():
            lines.append(f"  {name:{width}s} {Difference.from_scores(found)}: {found['verdict']}")
        lines.append(
            "95% intervals; the verdict follows the widest. The best of them, by its accuracy on these episodes, is"
            f" {report['best_baseline']}; so chosen, it makes the difference to it rather too low."
        )
        if len(args.runs) > 1:
            lines.append(
                "The interval over seeds is corrected because the runs divide the same people (Nadeau & Bengio 2003)."
                if report["shared_people"]
                else "The interval over seeds is Student's t: each run has people of its own."
            )
    return "\n".join(lines)


def _verification_text(report: dict[str, Any]) -> str:
    lines = [
        f"Verification, protocol {report['protocol']}: {report['pairs']} pairs of {report['identities']} people never"
        f" seen in training. Supervision: {report['category']}."
    ]
    if "checked" in report:  # LFW's own protocol
        lines.append(f"Nobody in the test was trained on. Checked: {report['checked']}.")
    rows = [("the run", report), *report["baselines"].items()]
    width = max(len(name) for name, _ in rows)
    for name, found in rows:
        if "standard_error" in found:  # LFW's View 2
            error = f"± {100 * found['standard_error']:.2f} (standard error over {len(found['folds'])} folds)"
            lines.append(f"  {name:{width}s} {100 * found['accuracy']:6.2f} % {error}; {found['category']}")
        else:
            cells = []
            shown = {
                "accuracy": (found["accuracy"], found["accuracy95"]),
                "EER": (found["eer"], found["eer95"]),
                f"FNMR at FMR {report['far']:.0%}": (1 - found["tar"], [1 - end for end in reversed(found["tar95"])]),
            }
            for words, (value, (low, high)) in shown.items():
                cells.append(f"{words} {100 * value:5.1f} % ({100 * low:.1f} to {100 * high:.1f})")
            lines.append(f"  {name:{width}s} {', '.join(cells)}")
    return "\n".join([*lines, "In brackets: 95% intervals over people."] if "far" in report else lines)


def experiment(args: argparse.Namespace) -> int:
    module = experiments.experiment(args.name)
    from .experiments.stored import RESULTS

    text = module.__doc__ or ""
    own = argparse.ArgumentParser(prog=f"metaface experiment {args.name}", description=text, formatter_class=_RawHelp)
    module.add_arguments(own)
    arguments = own.parse_args(args.options)
    write_atomically(RESULTS / f"{args.name}.json", b"", trial=True)
    module.run(arguments)
    return 0


def _gallery_file(args: argparse.Namespace) -> Path:
    from .enrolment import gallery_file

    return _given(args.gallery or gallery_file())


def enrol(args: argparse.Namespace) -> int:
    from .enrolment import CONSENT, enrol

    file = _gallery_file(args)
    report = enrol(
        [_given(photo) for photo in args.photos],
        args.name,
        Path(args.run) if args.run else None,
        file,
        lambda: args.consent or _asked(CONSENT.format(name=visible(args.name), file=file)),
        args.fpir,
    )
    left_out = f", left out: {len(report['left_out'])}" if report["left_out"] else ""
    if report["not_acquired"]:
        left_out += f" (not one face found: {len(report['not_acquired'])}, failures to acquire)"
    _say(
        args,
        report,
        f"{report['name']} is enrolled. Photos: {report['photos']}, new: {report['added']}{left_out}. People in the"
        f" gallery: {report['people']}. At its threshold {report['fpir']:.0%} of strangers are taken for one of them"
        " (FPIR).",
    )
    return 0


def _asked(question: str) -> bool:
    """Whether the answer is the word yes. Another word than yes or no is asked about again, twice."""
    print(question, file=sys.stderr)  # stdout is for results
    for _ in range(3):
        print("Type yes or no: ", end="", file=sys.stderr, flush=True)
        try:
            answer = input().strip().lower()
        except EOFError:  # nobody can answer
            print(file=sys.stderr)
            break
        if answer in ("yes", "no"):
            return answer == "yes"
    return False


def identify(args: argparse.Namespace) -> int:
    from .enrolment import identify

    found = identify(_given(args.photo), _gallery_file(args))
    who = visible(found["name"] or "Nobody who is enrolled")
    _say(
        args,
        found,
        f"{who}. Score {found['score']:.2f}, threshold {found['threshold']:.2f} (FPIR {found['fpir']:.0%}).",
    )
    return 0


def gallery(args: argparse.Namespace) -> int:
    from .enrolment import people

    file = _gallery_file(args)
    found = people(file)
    width = max((len(visible(row["name"])) for row in found), default=0)
    rows = [
        f"  {visible(row['name']):{width}s}  photos: {row['photos']}, agreed on {visible(row['consent'])}"
        for row in found
    ]
    _say(args, {"gallery": str(file), "people": found}, "\n".join([f"People in {file}:", *rows]))
    return 0


def forget(args: argparse.Namespace) -> int:
    from .enrolment import forget, forget_all

    file = _gallery_file(args)
    if args.all == bool(args.name):
        raise MetaFaceError("Say whom to forget: a NAME, or --all for the whole gallery.")
    if args.all:
        forget_all(file)
        _say(args, {"forgotten": "all", "people": 0}, f"Everybody is forgotten. {file} is deleted.")
        return 0
    left = forget(args.name, file)
    _say(
        args,
        {"forgotten": args.name, "people": left},
        f"{visible(args.name)} is forgotten. People in the gallery: {left}.",
    )
    return 0


def check(args: argparse.Namespace) -> int:
    from . import exercises

    rows = exercises.progress_rows(args.lesson and args.lesson.zfill(2))
    _say(args, rows, exercises.progress_text(rows))
    return 0


def reset(args: argparse.Namespace) -> int:
    from .lab import workspace

    if args.list:
        files = [str(file) for file in workspace.saved_versions(args.lesson)]
        _say(args, {"saved": files}, "\n".join(files) or f"Nothing of lesson {args.lesson} is saved.")
        return 0
    if args.restore is not None:
        restored, saved = workspace.restore(args.lesson, args.restore)
        text = f"{restored} is your saved version again."
    else:
        restored, saved = workspace.reset(args.lesson)
        text = f"{restored} is as new."
    kept = f"Yours is kept as {saved}." if saved else "You had no changes to keep."
    result = {"restored": str(restored), "saved": str(saved) if saved else None}
    _say(args, result, f"{text} {kept} Your points stay.")
    return 0


def classroom(args: argparse.Namespace) -> int:
    from .grading.classroom import Classroom

    room = Classroom(Path(args.course))
    number = getattr(args, "lesson", "").zfill(2)
    if args.action == "release":
        file, exchanged = room.release(number)
        where = "It is in nbgrader's exchange." if exchanged else "There is no exchange. Hand the file out yourself."
        _say(args, {"file": str(file), "exchange": exchanged}, f"{file}\n{where}")
    elif args.action == "collect":
        students, failed = room.collect(number)
        _say(args, students, f"{len(students)} have submitted lesson {number}: {', '.join(students)}")
        return _failures(failed, "submission that cannot be collected")
    elif args.action in ("grade", "autograde"):
        marks, failed, now = room.grade(number, args.jobs, args.unsafe, students=args.student, again=args.round)
        report = {student: [asdict(mark) for mark in found] for student, found in marks.items()}
        rows = []
        for student, found in marks.items():
            texts = {mark.text for mark in found}  # all answers share one message if the file is at fault
            why = f"  {texts.pop()}" if len(texts) == 1 < len(found) and not any(m.points for m in found) else ""
            rows.append(f"  {student:20s} {sum(m.points for m in found)} of {sum(m.of for m in found)}{why}")
        _say(args, report, "\n".join([f"{len(marks)} submissions of lesson {number}, round {now}:", *rows]))
        if args.round and (day := room.given_out(number, now)):
            print(
                f"metaface: warning: the feedback of round {now} was given out on {day}. A submission of that day or"
                " later may hold the right values of these data.",
                file=sys.stderr,
            )
        return _failures(failed, "submission that could not be graded")
    elif args.action == "feedback":
        pages, failed = room.feedback(number)
        _say(args, [str(page) for page in pages], f"{len(pages)} pages in {room.folder / 'feedback'}")
        return _failures(failed, "submission without new feedback")
    else:
        failed = room.export(Path(args.file))
        _say(args, {"file": args.file}, f"All marks are in {args.file}.")
        return _failures(failed, "student without a row")
    return 0


def _failures(failed: dict[str, str], what: str) -> int:
    """Name each submission that failed, and why. Returns the exit status: 3 if there are any."""
    from .grading.submitted import clean, shown

    for student, why in failed.items():
        print(f"metaface: {what}: {shown(student)}: {clean(why, 1000)}", file=sys.stderr)
    return 3 if failed else 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line, without the place in our code that issued it. Of several processes one prints."""
    if os.environ.get("RANK", "0") == "0":
        print(f"metaface: warning: {message}", file=sys.stderr)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows an option's default, if it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


class _RawHelp(_Help, argparse.RawDescriptionHelpFormatter):
    """Help that keeps the lines of a docstring."""


FACE_SETS = (
    "procedural, procedural-sketch, procedural-near-infrared, procedural-low-resolution, procedural-edges,"
    " procedural-thermal or procedural-domains (with other people: procedural:seed=N and so on), olivetti, lfw,"
    " lfw-without:PART, folder:PATH, extended-yale-b:PATH, cmu:PATH, cufs:PATH or mapped:PATH"
)


def _recipes(setting: str) -> str:
    """The values of a setting in the recipes: "20 for protonet; 5 for maml, anil"."""
    learners: dict[float | None, list[str]] = {}
    for learner, recipe in RECIPES.items():
        if setting in recipe:
            learners.setdefault(recipe[setting], []).append(learner)
    said = ((f"{value:g}" if value is not None else "not used unless given", who) for value, who in learners.items())
    return "; ".join(f"{value} for {', '.join(names)}" for value, names in said)


def _searched(setting: str) -> str:
    """Where a setting is searched: "1:5 for maml, anil; 2:16 for reptile"; empty if it is not."""
    learners: dict[str, list[str]] = {}
    for learner, space in SPACES.items():
        if setting in space:
            learners.setdefault(f"{space[setting].low:g}:{space[setting].high:g}", []).append(learner)
    return "; ".join(f"{where} for {', '.join(names)}" for where, names in learners.items())


def _add_settings(sub: argparse.ArgumentParser) -> None:
    """The settings of a training."""
    sub.add_argument("learner", help=", ".join(RECIPES))
    sub.add_argument("--faces", default="procedural", help=FACE_SETS)
    sub.add_argument("--seed", type=seed, default=0, help="of the split, the first weights and the episodes")
    for name, option in OPTIONS.items():
        text = f"{option['help']} ({_recipes(name)})"
        sub.add_argument(f"--{name.replace('_', '-')}", type=option["kind"], default=argparse.SUPPRESS, help=text)


def _say(args: argparse.Namespace, report: Any, text: str) -> None:
    print(json.dumps(report, indent=1) if args.json else text)


def parser() -> argparse.ArgumentParser:
    """The parser of the command, with all sub-commands."""
    top = argparse.ArgumentParser(prog="metaface", description="Meta-learning for face recognition, from scratch.")
    top.add_argument("--version", action="version", version=f"metaface {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(function: Any, text: str, example: str, as_json: bool = True, name: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name or function.__name__,
            help=text,
            description=text,
            epilog=f"example: {example}",
            formatter_class=_Help,
        )
        sub.set_defaults(function=function, json=False, parser=sub)
        if as_json:
            sub.add_argument("--json", action="store_true", help="print JSON, for programs")
        return sub

    text = "Open JupyterLab at your copy of the lessons. Other options are passed on to it, such as --no-browser."
    add(lab, text, "metaface lab --no-browser --port=8899", as_json=False)

    text = "Check what the course needs, and print the one-line fix of what does not work."
    add_arguments(add(doctor, text, "metaface doctor --fix", as_json=False))

    sub = add(faces, "Draw a contact sheet of a face set to a PNG.", "metaface faces procedural --out sheet.png")
    sub.add_argument("set", nargs="?", default="procedural", help=FACE_SETS)
    sub.add_argument("--people", type=whole(), default=8, help="rows")
    sub.add_argument("--each", type=whole(), default=10, help="images of each person")
    sub.add_argument("--seed", type=seed, default=0, help="which people")
    sub.add_argument("--out", help="the PNG file (default: the set's name)")
    sub.add_argument(
        "--map", metavar="FILE", help="write the set into a file in place of a sheet; use it as mapped:FILE"
    )
    sub.add_argument("--check", action="store_true", help="read all pictures of mapped:FILE, and check each")

    sub = add(
        train,
        "Meta-train a learner. Ctrl-C saves, and the same command continues.",
        "metaface train protonet --faces lfw --ways 20 --shots 1 --seconds 120 --seed 0 --out runs/protonet-lfw",
    )
    _add_settings(sub)
    sub.add_argument("--steps", type=whole(), help="stop after this many steps; repeats a run of --seconds exactly")
    sub.add_argument("--seconds", type=real(), help="stop after this much time; 120 if neither is given")
    sub.add_argument("--patience", type=whole(), help="stop after this many validations without a new best")
    sub.add_argument("--out", help="the run's folder (default: runs/LEARNER-FACES)")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")
    text = "share the tasks of a step between so many processes; if one is killed, all start again and go on"
    sub.add_argument("--processes", type=whole(1, 1024), default=1, help=text)
    text = "seconds that one of several processes may keep the others waiting"
    sub.add_argument("--timeout", type=real(), default=600.0, help=text)

    sub = add(
        cost,
        "Predict the seconds and the memory of a training on this processor, from a count of its operations.",
        "metaface cost maml --inner-steps 10 --steps 1000",
    )
    _add_settings(sub)
    sub.add_argument("--steps", type=whole(), help="of the training")
    sub.add_argument("--seconds", type=real(), help="of the training; 120 if neither is given")
    sub.add_argument("--calibrate", action="store_true", help="measure this machine again, which takes seconds")

    sub = add(
        search,
        "Search for a learner's settings, in processes side by side. After Ctrl-C or a kill the same command goes on.",
        "metaface search maml --trials 50 --workers 2 --study runs/maml.journal --inner-rate 0.01:1 --inner-steps 2",
    )
    sub.add_argument("learner", help=", ".join(RECIPES))
    sub.add_argument("--trials", type=whole(1, 100_000), default=20, help="how many the study shall have in all")
    sub.add_argument("--workers", type=whole(1, 10_000), default=1, help="trials side by side, with one thread each")
    sub.add_argument("--study", metavar="FILE", help="the study's journal (default: runs/LEARNER-FACES.journal)")
    sub.add_argument("--faces", default="procedural", help=FACE_SETS)
    sub.add_argument("--seed", type=seed, default=0, help="of the split, first weights, episodes and search")
    length = sub.add_mutually_exclusive_group()
    length.add_argument("--steps", type=whole(), help="steps of each trial; such a search can be repeated exactly")
    length.add_argument("--seconds", type=real(), help="seconds of each trial; 60 if neither is given")
    sub.add_argument("--episodes", type=whole(2, 10**6), default=600, help="of an evaluation, which scores a trial")
    text = "tpe learns from earlier trials where to look; random does not"
    sub.add_argument("--sampler", default="tpe", choices=("tpe", "random"), help=text)
    for name, option in OPTIONS.items():
        kind, text, searched = option["kind"], option["help"], _searched(name)
        if searched:
            kind, text = between(kind), f"{text}: a number, or LOW:HIGH to search there ({searched})"
        sub.add_argument(f"--{name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS, help=text)
    sub.add_argument("--quiet", action="store_true", help="no progress bar")

    sub = add(
        evaluate,
        "Measure runs, and the baselines on the same episodes, on people never seen in training.",
        "metaface evaluate runs/protonet-lfw --ways 5 --shots 1 --queries 4 --episodes 1000 --json",
    )
    sub.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs; several are averaged")
    for name, kind, value, text in (
        ("ways", whole(2), 5, "people per episode; a learner with a head needs those of its training"),
        ("shots", whole(), 1, "support images of each"),
        ("queries", whole(), 4, "query images of each"),
        ("episodes", whole(2, 10**6), 1000, "number of episodes"),
        ("seed", seed, 0, "of the episodes"),
    ):
        sub.add_argument(f"--{name}", type=kind, default=value, help=text)
    sub.add_argument("--no-baselines", action="store_true", help="measure the runs alone")
    sub.add_argument(
        "--protocol",
        default="episodes",
        choices=("episodes", *PROTOCOLS),
        help="verification: pairs of the novel people, or LFW's own pairs (for View 2 name a run for each fold)",
    )
    sub.add_argument("--pairs", type=whole(1, 10**6), default=PAIRS, help="pairs of each kind, for the protocol pairs")
    sub.add_argument(
        "--embedding",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="also compare your own embedding: uint8 images [M, C, H, W] to numbers [M, D]",
    )
    sub.add_argument("--out", help="store the result in this JSON file, with the command and date")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")

    sub = add(
        experiment,
        "Measure a result that the lessons quote, and store it. After an interruption the same command continues.",
        "metaface experiment light --yale FOLDER",
        as_json=False,
    )
    sub.add_argument("name", help=", ".join(experiments.names()))
    sub.add_argument("options", nargs=argparse.REMAINDER, help="of that experiment: metaface experiment NAME --help")

    text = (
        "Enrol a person who has agreed, from photos of one face each. Only numbers are kept. If the person is enrolled"
        " already, the photos are added to theirs."
    )
    sub = add(enrol, text, "metaface enrol me1.jpg me2.jpg --name Ada --run runs/protonet-lfw")
    sub.add_argument("photos", nargs="+", metavar="PHOTO")
    sub.add_argument("--name", required=True, help="of the person on the photos")
    sub.add_argument("--run", help="the trained run that compares faces (default: the gallery's, or runs/protonet-lfw)")
    sub.add_argument(
        "--fpir",
        type=real(0.0, 0.99),
        help="the false positive identification rate: the share of strangers taken for somebody in the gallery; papers"
        " call it FAR (default: the gallery's, or 0.01)",
    )
    sub.add_argument("--consent", action="store_true", help="the person has agreed; without it the command asks")

    sub = add(identify, "Say which enrolled person is on a photo, or nobody.", "metaface identify photo.jpg")
    sub.add_argument("photo", metavar="PHOTO")

    sub = add(gallery, "List who is enrolled, with how many photos, and since when.", "metaface gallery")

    sub = add(forget, "Delete a person from the gallery, or all of it.", "metaface forget Ada")
    sub.add_argument("name", nargs="?", metavar="NAME")
    sub.add_argument("--all", action="store_true", help="delete everybody, even from a damaged gallery")

    for name in ("enrol", "identify", "gallery", "forget"):
        where = "the gallery's file (default: gallery.json in your MetaFace folder)"
        commands.choices[name].add_argument("--gallery", help=where)

    sub = add(
        check, "Show your progress: passed, tried and open exercises, points, and your last try.", "metaface check 02"
    )
    sub.add_argument("lesson", nargs="?", help="only this lesson, such as 02")

    text = "Run a class with nbgrader: release a lesson, collect, grade in a sandbox, write feedback, export marks."
    sub = add(classroom, text, "metaface class grade 02 --jobs 2", as_json=False, name="class")
    actions = sub.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in (
        ("release", "make a lesson's assignment, and put it into nbgrader's exchange if there is one"),
        ("collect", "fetch the submissions from the exchange"),
        ("grade", "mark the submissions in a sandbox, and write the marks into the gradebook"),
        ("autograde", "the same as grade, under nbgrader's name"),
        ("feedback", "write a page for each student, and put it into the exchange if there is one"),
        ("export", "write all marks to a CSV file"),
    ):
        step = actions.add_parser(action, help=text, description=text, formatter_class=_Help)
        if action == "export":
            step.add_argument("file", nargs="?", default="marks.csv", help="the CSV file")
        else:
            step.add_argument("lesson", help="its number, such as 02")
        if action in ("grade", "autograde"):
            step.add_argument("--jobs", type=whole(1, 1024), default=1, help="submissions at a time")
            step.add_argument("--unsafe", action="store_true", help="grade where no sandbox works; only for trials")
            step.add_argument("--student", action="append", default=[], help="only this student; may be repeated")
            step.add_argument("--round", type=whole(), help="use this earlier round's data again; by default new data")
        step.add_argument("--course", default=".", help="the class's folder")
        step.add_argument("--json", action="store_true", help="print JSON, for programs")

    sub = add(reset, "Bring one lesson back as new, or as you saved it, after saving yours.", "metaface reset 02")
    sub.add_argument("lesson", help="its number, such as 02")
    which = sub.add_mutually_exclusive_group()
    which.add_argument("--list", action="store_true", help="list the versions of yours that are saved, newest first")
    which.add_argument(
        "--restore", nargs="?", const="", metavar="FILE", help="bring back a saved version; without FILE, the newest"
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, or with those of the process, and return its exit code."""
    _prepare_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    args, args_left = parser().parse_known_args([_no_option(argument) for argument in arguments])
    if args_left and args.function is not lab:
        args.parser.error(f"unrecognized arguments: {' '.join(args_left)}")
    args.command_line, args.passed_on = arguments, args_left
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = args.function(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("metaface: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        message = _message(error)
        if message is None:  # a fault of ours: its traceback is what a report needs
            raise
        rank = os.environ.get("RANK", "0")
        if not isinstance(error, ReportedElsewhere):
            print(f"metaface: {'' if rank == '0' else f'rank {visible(rank)}: '}{message}", file=sys.stderr)
        return error.exit_code if isinstance(error, LostRank) else 1


def _no_option(argument: str) -> str:
    """The argument; `./-ada.jpg` for `-ada.jpg` if there is such a file, because a shell's `*.jpg` names it without."""
    dashed = argument.startswith("-") and Path(argument).suffix and "=" not in argument
    return os.path.join(os.curdir, argument) if dashed and os.path.isfile(argument) else argument


def _prepare_streams() -> None:
    """Let the streams take every character, and open those with which the process was started closed.

    Else the first file that is opened would get a closed stream's number, and what is meant for the stream.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # it stays open as long as the process
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):  # some terminals cannot write every name
            stream.reconfigure(errors="backslashreplace")


def _message(error: Exception) -> str | None:
    """What to say of an error that the world outside can cause. None for any other."""
    if isinstance(error, MetaFaceError):
        return str(error)
    if isinstance(error, OSError):
        return str(refused(error))
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error):
        return "There is not enough memory. Close other programs, or ask for less: a smaller network, fewer episodes."
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(__package__):
        return f"The package '{error.name}' is missing. `metaface doctor` says how to install it."
    return None


if __name__ == "__main__":
    sys.exit(main())
