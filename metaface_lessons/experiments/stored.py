"""What experiments share: their finished parts, how a result is written, what it says about itself, how it is read."""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from ..bars import Bar
from ..errors import MetaFaceError, refused
from ..evaluation import Evaluation, paired
from ..faces import load_faces
from ..machine import commit, device_name, processor
from ..options import whole
from ..paths import DATA, write_atomically
from ..runs.recipes import Settings
from ..runs.run import Run, load_run, train

RESULTS = DATA / "results"
CHECKPOINTS = DATA / "checkpoints"
WORK = Path("runs")  # where trainings and finished parts are kept, below the folder in which the command runs
VERSIONS = ("torch", "numpy", "scikit-learn")


def about(command: str, device: torch.device | None = None) -> dict[str, Any]:
    """What a stored result says about itself: command, date, commit, versions, processor and device.

    device: what computed; the CPU if None.
    """
    return {
        "command": command,
        "date": date.today().isoformat(),
        "commit": commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "device": device_name(device),
    }


def store(file: Path, command: str, result: dict[str, Any], device: torch.device | None = None) -> None:
    """Write `result` to `file`, whole or not at all, after what it says about itself.

    Raises `MetaFaceError` if the file cannot be written. The result is printed before.
    """
    write_result(file, about(command, device) | result)
    load.cache_clear()


def write_result(file: Path, result: dict[str, Any]) -> None:
    """Write a result to a file as JSON. If that fails, print it, so that what was measured is not lost.

    Raises `MetaFaceError` if the file cannot be written.
    """
    text = json.dumps(result, indent=1) + "\n"
    try:
        write_atomically(file, text.encode())
    except OSError as error:
        print(text, flush=True)
        raise refused(error, "The result is printed, but it cannot be stored") from error


@functools.cache
def load(file: Path, command: str) -> dict[str, Any]:
    """Read a stored result.

    command: what makes it, for the error.

    Raises `MetaFaceError` if the file is missing or damaged.
    """
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise MetaFaceError(f"{file} is missing. Measure it: {command}") from error
    except ValueError as error:
        raise MetaFaceError(f"{file} is damaged ({error}). Delete it and measure again: {command}") from error


def on_each(faces: Sequence[str], measure: Callable[[str], None]) -> None:
    """Run `measure` on each face set in turn. A set that is missing does not stop the others.

    faces: their names, for `load_faces`.

    Raises `MetaFaceError` at the end, which names the sets that are missing.
    """
    missing = []
    for name in faces:
        try:
            load_faces(name)
        except MetaFaceError as error:
            missing.append(f"{name} ({error})")
        else:
            measure(name)
    if missing:
        raise MetaFaceError(f"Not measured, because the faces are missing: {'; '.join(missing)}")


def differences(
    seeds: Sequence[Mapping[str, Evaluation]], test_share: float | None = None, shared: bool = True
) -> dict[str, dict[str, Any]]:
    """By how much each method is better than every method that is less accurate, with 95% intervals.

    seeds: of each seed the evaluations by method, all on the same episodes.
    test_share: of several seeds that share people, the people of a test for each one of training.
    shared: whether the seeds divide the same people again. True; False if each has new ones.

    Returns `Difference.scores` by method, and then by the less accurate one. See `evaluation.paired`.
    """
    mean = {name: statistics.mean(found[name].accuracy for found in seeds) for name in seeds[0]}
    ranked = sorted(mean, key=lambda name: -mean[name])

    def between(better: str, other: str) -> dict[str, Any]:
        several = ([found[name] for found in seeds] for name in (better, other))
        return paired(*several, shared=shared, test_share=test_share).scores()

    return {better: {other: between(better, other) for other in ranked[i:]} for i, better in enumerate(ranked[:-1], 1)}


def steps_of(folder: Path) -> int:
    """How many steps the run in this folder has made; 0 if there is none."""
    record = folder / "run.json"
    return int(json.loads(record.read_text())["training"]["steps"]) if record.exists() else 0


def trained(settings: Settings, folder: Path, steps: int) -> Run:
    """The run in `folder` after `steps`, trained as far as it is not yet.

    One that has gone further starts again, and so does one of as many steps with other settings.

    It is trained on the best device, and returned on the CPU, where it is evaluated. So one that was trained on another
    machine is not touched.

    Raises `KeyboardInterrupt` if the training is interrupted. The next call goes on from there.
    """
    made = steps_of(folder)
    if made == steps and (run := load_run(folder, torch.device("cpu"))).settings == settings:
        return run
    if made >= steps:
        shutil.rmtree(folder)
    if train(settings, folder, steps=steps, progress=False).stopped == "interrupted":
        raise KeyboardInterrupt
    return load_run(folder, torch.device("cpu"))


def joined(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What several parts found, each about other methods, as one."""
    return {name: found for part in parts for name, found in part.items()}


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile compute with one thread. They read that when they import torch."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """The option of an experiment: how many of its parts are measured side by side."""
    parser.add_argument(
        "--jobs",
        type=whole(1, 10_000),
        default=os.cpu_count() or 1,
        help="parts side by side, a process with one thread each",
    )


class Parts:
    """The finished parts of an experiment, a file each, so that an interrupted experiment goes on where it was.

    name: the experiment's; the files are in `runs/NAME`.
    of: what the parts are measured with, such as steps and episodes, as JSON. A part that was measured with something
        else is measured again.
    """

    def __init__(self, name: str, of: dict[str, Any], work: Path = WORK) -> None:
        self.folder, self.of = work / name, json.loads(json.dumps(of))

    def __contains__(self, part: str) -> bool:
        return self._read(part) is not None

    def __call__(self, part: str, measure: Callable[[], Any]) -> Any:
        """What `measure` returns, as JSON: read from the part's file if it is there, else measured and written."""
        kept = self._read(part)
        if kept is None:
            kept = {"of": self.of, "found": measure()}
            write_atomically(self.file(part), json.dumps(kept).encode())
        return json.loads(json.dumps(kept["found"]))

    def all(self, wanted: Mapping[str, Callable[[], Any]], jobs: int = 1, label: str = "measure") -> dict[str, Any]:
        """What all these parts found, by name. Those that are not there yet are measured side by side.

        wanted: by part what measures it. With several jobs it must be a function of a module, or a `partial` of one.
        jobs: how many processes measure, each with one thread; with one job, this process does.
        label: of the progress bar.

        Raises what a part raised, or `KeyboardInterrupt`. The parts that have ended by then are kept.
        """
        left = {part: measure for part, measure in wanted.items() if part not in self}
        with Bar(label=label, unit="part", total=len(wanted), done=len(wanted) - len(left)) as bar:
            if jobs == 1 or len(left) < 2:
                for part, measure in left.items():
                    self(part, measure)
                    bar.update()
            else:
                with _one_thread_each(), ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
                    try:
                        for done in as_completed([pool.submit(self, *job) for job in left.items()]):
                            done.result()
                            bar.update()
                    except BaseException:
                        pool.shutdown(wait=False, cancel_futures=True)
                        raise
        return {part: self(part, measure) for part, measure in wanted.items()}

    def file(self, part: str) -> Path:
        return self.folder / f"{part}.json"

    def _read(self, part: str) -> Any:
        try:
            kept = json.loads(self.file(part).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return kept if isinstance(kept, dict) and kept.get("of") == self.of and "found" in kept else None
