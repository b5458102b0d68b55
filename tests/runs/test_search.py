"""A search for settings: what it chooses, what survives a kill, and which studies it refuses."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages.journal import JournalFileBackend

from metaface_lessons import cli
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.paths import locked
from metaface_lessons.runs import search as searching
from metaface_lessons.runs.recipes import settings_of
from metaface_lessons.runs.run import load_run
from metaface_lessons.runs.search import importances, load_study, repair, report, search, validation_sampler
from tests.helpers import printed, random_faces, write_pictures


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 people who look much alike, so that trials differ in their scores: the name of a face set."""
    faces = random_faces(people=60, each=5, size=32, channels=3)
    noise = torch.randint(256, faces.images.shape, generator=torch.Generator().manual_seed(1))
    folder = tmp_path_factory.mktemp("alike")
    write_pictures(replace(faces, images=(0.1 * faces.images + 0.9 * noise).byte()), folder)
    return f"folder:{folder}"


SMALL = {"ways": 5, "queries": 2, "width": 4}


@pytest.fixture
def small(alike: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A search of a small prototypical network, of one step a trial."""
    options: dict[str, Any] = {"faces": alike, "given": SMALL, "trials": 4, "steps": 1, "episodes": 20}
    return functools.partial(search, "protonet", tmp_path / "a.journal", **options, progress=False)


def made(study: Path) -> list[tuple[dict[str, float], float | None]]:
    """Settings and scores of the finished trials of a study, in the order of their numbers."""
    trials = load_study(study).get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return [(trial.params, trial.value) for trial in trials]


# ---------------------------------------------------------------------------------------------------------- the search


def test_the_best_on_validation_people_is_trained_again_and_reported_on_novel_ones(
    small: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    found = small()
    trials, winner = found["trials"], found["winner"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    assert [trial["recipe"] for trial in trials] == [True, False, False, False]
    recipe = settings_of("protonet")
    assert trials[0]["settings"] == {"rate": recipe.rate, "temperature": recipe.temperature}
    assert all(0.0003 <= trial["settings"]["rate"] <= 0.03 for trial in trials)
    assert all(5 <= trial["settings"]["temperature"] <= 500 for trial in trials)
    scores = [trial["score"] for trial in trials]
    assert len({*scores}) > 1
    assert scores[found["best"]] == max(scores)
    assert found["best_of"][0] == pytest.approx(sum(scores) / 4)
    assert found["best_of"][-1] == max(scores)
    assert {trial["steps"] for trial in trials} == {1}

    run = load_run(Path(winner["run"]))
    assert winner["trial"] == found["best"]
    assert winner["of_trials"] == 4
    assert {name: getattr(run.settings, name) for name in winner["settings"]} == trials[found["best"]]["settings"]
    assert run.settings.width == 4
    again = evaluate({"": run.learner}, validation_sampler(run.settings, run.split), 20)[""]
    assert again.accuracy == pytest.approx(max(scores)), "the same training, on the same validation people"
    assert winner["novel"]["identities"] == len(run.split.novel.identities) == 15
    assert winner["novel"]["episodes"] == 20
    assert winner["novel"]["ci95_people"] > 0


def test_novel_people_are_asked_once_about_a_winner(
    small: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    evaluate_runs = searching.evaluate_runs

    def counted(runs: list[Path], **options: Any) -> dict[str, Any]:
        asked.extend(runs)
        return evaluate_runs(runs, **options)

    monkeypatch.setattr(searching, "evaluate_runs", counted)
    first = small()
    assert small() == first
    assert len(asked) == 1

    def improved(settings: Any, **options: Any) -> dict[str, Any]:
        return searching_score(settings, **options) | {"score": 1.0}

    searching_score = searching.score
    monkeypatch.setattr(searching, "score", improved)
    more = small(trials=5)  # which has another winner
    assert (more["best"], more["asked"]) == (4, 2)
    assert [path.name for path in asked] == [f"a-trial{first['best']}", "a-trial4"]
    assert more["trials"][:4] == first["trials"]


def test_the_number_of_trials_is_of_the_whole_study(small: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    assert len(small(trials=2)["trials"]) == 2
    assert len(small(trials=3)["trials"]) == 3
    assert len(small(trials=1)["trials"]) == 3, "none is taken away"


def test_a_random_search_looks_elsewhere(small: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    small(trials=3, sampler="random")
    (_, first), *drawn = ((tuple(sorted(params.items())), params) for params, _ in made(tmp_path / "a.journal"))
    assert first["rate"] == settings_of("protonet").rate
    assert len({key for key, _ in drawn}) == 2


def test_a_training_that_diverges_counts_as_guessing(alike: str, tmp_path: Path) -> None:
    bold = {"ways": 2, "shots": 1, "queries": 1, "tasks": 1, "width": 4, "inner_rate": 1e9}
    found = searching.score(settings_of("maml", alike, **bold), steps=1, seconds=None, episodes=4)
    assert found["score"] == 0.5
    assert "no longer finite" in found["diverged"]
    with pytest.raises(MetaFaceError, match=r"All of the 2 trials diverged, so there is no best one\. Search lower"):
        search("maml", tmp_path / "m.journal", faces=alike, given=bold, trials=2, steps=1, episodes=4, progress=False)


def test_a_trial_computes_with_one_thread_and_leaves_the_number_as_it_was(
    alike: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(searching, "evaluate", lambda *_: threads.append(torch.get_num_threads()) or 1 / 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            searching.score(settings_of("protonet", alike, **SMALL), steps=1, seconds=None, episodes=2)
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


# -------------------------------------------------------------------------------------------- interrupted and gone on


def test_an_interrupted_search_makes_the_trials_of_one_that_was_not(
    small: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small()
    file, calls, score = tmp_path / "b.journal", [0], searching.score

    def interrupted(*given: Any, **options: Any) -> dict[str, Any]:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return score(*given, **options)

    again = functools.partial(small.func, "protonet", file, **small.keywords)  # type: ignore[attr-defined]
    monkeypatch.setattr(searching, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again()
    assert len(made(file)) == 2
    resumed = again()
    assert calls == [5], "the two finished trials were not made again"
    assert made(file) == made(tmp_path / "a.journal")
    assert resumed["best_of"] == whole["best_of"]
    states = [trial.state.name for trial in load_study(file).trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"], "what was interrupted is not finished"


def test_a_search_that_is_killed_loses_no_finished_trial(alike: str, tmp_path: Path) -> None:
    file = tmp_path / "killed.journal"
    command = [sys.executable, "-m", "metaface_lessons.cli", "search", "protonet", "--faces", alike, "--ways", "5"]
    command += ["--queries", "2", "--width", "4", "--steps", "20", "--episodes", "20", "--trials", "8", "--workers"]
    command += ["2", "--study", str(file), "--json"]
    one = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (file.exists() and b'"state":1,' in file.read_bytes()):
        assert one.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    one.send_signal(signal.SIGKILL)
    one.communicate(timeout=30)  # returns when its workers, which have its output too, have ended
    data = file.read_bytes()
    before = made_in(data)
    assert 1 <= len(before) < 8
    file.write_bytes(data[: data.rindex(b"\n") + 1] + b'{"op_code":6,"worker_')  # and the power fails while it writes

    resumed = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert resumed.returncode == 0, resumed.stderr
    assert f"warning: {file} ended in the middle of a line, which was dropped." in resumed.stderr
    after = made_in(file.read_bytes())
    assert after[: len(before)] == before
    assert len(after) == len(json.loads(resumed.stdout)["trials"]) == 8


def made_in(journal: bytes) -> list[tuple[int, float]]:
    """The trials that a journal's whole lines call finished, and their scores."""
    events = [json.loads(line) for line in journal.split(b"\n")[:-1]]
    return [(event["trial_id"], event["values"][0]) for event in events if event.get("state") == 1]


def test_a_worker_that_ends_without_a_word_is_named(
    small: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(searching._Here):
        def submit(self, *given: Any, **options: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(BrokenProcessPool())
            return future

    @contextmanager
    def broken(number: int) -> Any:
        yield Broken()

    monkeypatch.setattr(searching, "_workers", broken)
    with pytest.raises(MetaFaceError, match="A worker has ended without a result, perhaps for want of memory"):
        small()


# ------------------------------------------------------------------------------------------------- studies that are odd

EVENT = b'{"op_code":0,"study_name":"x"}\n'


@pytest.mark.parametrize(
    ("torn", "left"),
    [
        (EVENT + b'{"op_co', EVENT),
        (EVENT + b'{"op_code":4}', EVENT + b'{"op_code":4}\n'),  # only the end of the line is missing
        (EVENT + b"\0\0\0", EVENT),  # as some file systems leave it
        (b'{"op', b""),
        (EVENT, EVENT),
        (b"", b""),
    ],
)
def test_a_line_that_was_being_written_is_dropped_unless_it_is_complete(
    torn: bytes, left: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "torn"
    file.write_bytes(torn)
    said = repair(file)
    assert file.read_bytes() == left
    assert bool(said) == (len(left) < len(torn))
    assert repair(file) == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"to do: buy milk", "is not a study"),
        (b'{"a": 1}\n', "is not a study"),
        (b"PK\3\4\n\xff\xfe", "is not a study"),
        (EVENT + b'{"op_code":5,"tri\n' + EVENT, "is damaged in line 2"),
    ],
)
def test_another_file_is_refused_and_left_as_it_is(
    content: bytes, message: str, small: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "a.journal"
    file.write_bytes(content)
    with pytest.raises(
        MetaFaceError, match=f"{message}.*name another file with --study|Name another file with --study"
    ):
        small()
    assert file.read_bytes() == content


def test_optuna_itself_cannot_read_a_journal_that_went_on_behind_a_torn_line(tmp_path: Path) -> None:
    """Why `repair` exists: if this fails, it may go."""
    file = tmp_path / "j"
    file.write_bytes(EVENT + b'{"op_code":5,"tri')
    journal = JournalFileBackend(str(file))
    assert len(list(journal.read_logs(0))) == 1, "it reads over such an end"
    journal.append_logs([{"op_code": 1}])
    assert len(list(journal.read_logs(0))) == 1, "it has lost what it wrote"
    journal.append_logs([{"op_code": 2}])
    with pytest.raises(json.JSONDecodeError):
        list(journal.read_logs(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"it has seed 0\. This one has seed 1\. Search with the same settings"),
        ({"steps": 2}, r"it has steps 1\. This one has steps 2\."),
        ({"steps": None, "seconds": 1.0}, r"steps 1, seconds None\. This one has steps None, seconds 1\.0"),
        ({"episodes": 30}, "episodes 20"),
        ({"sampler": "random"}, r"sampler tpe\. This one has sampler random"),
        ({"given": SMALL | {"width": 5}}, r"width 4\. This one has width 5"),
        ({"given": SMALL | {"rate": (0.001, 0.01)}}, r"rate \[0\.0003, 0\.03\]\. This one has rate \[0\.001, 0\.01\]"),
        ({"faces": "FOLDER"}, r"is the study of another search: it has faces folder:.*\. This one has faces folder:"),
    ],
)
def test_the_study_of_another_search_is_refused(
    change: dict[str, Any], message: str, small: Callable[..., dict[str, Any]], tmp_path: Path, alike: str
) -> None:
    small(trials=1)
    before = (tmp_path / "a.journal").read_bytes()
    if "faces" in change:
        link = tmp_path / "other"
        link.symlink_to(alike.partition(":")[2])
        change = {"faces": f"folder:{link}"}
    with pytest.raises(MetaFaceError, match=message):
        small(**change)
    assert (tmp_path / "a.journal").read_bytes() == before


def test_the_study_of_another_learner_is_refused(
    small: Callable[..., dict[str, Any]], tmp_path: Path, alike: str
) -> None:
    small(trials=1)
    with pytest.raises(MetaFaceError, match=r"it has learner protonet\. This one has learner nca\."):
        search("nca", tmp_path / "a.journal", **small.keywords)  # type: ignore[attr-defined]


def test_faces_that_have_changed_since_are_refused(small: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    faces, pictures = tmp_path / "faces", random_faces(people=40, each=5, size=16, channels=3)
    faces.mkdir()
    write_pictures(pictures, faces)
    small(trials=1, faces=f"folder:{faces}")
    pictures.images[7, 0, 0, 0] += 1
    write_pictures(pictures, faces)
    with pytest.raises(MetaFaceError, match=r"has changed since the study .* began: its people or pictures are others"):
        small(trials=1, faces=f"folder:{faces}")


def test_a_study_that_optuna_made_for_something_else_is_refused(
    small: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "a.journal"
    optuna.create_study(storage=searching._storage(file), study_name="my own")
    with pytest.raises(MetaFaceError, match="holds the study 'my own', which is not of metaface search"):
        small()
    with pytest.raises(MetaFaceError, match="There is no study"):
        load_study(tmp_path / "none")


def test_two_searches_do_not_share_a_study(small: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with (
        locked(tmp_path / "a.journal", "a search", "Wait."),
        pytest.raises(MetaFaceError, match=r"is in use: a search .* name another file with --study"),
    ):
        small()


def test_a_lock_of_a_search_that_was_killed_while_it_wrote_does_not_stop_the_next(
    small: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    small(trials=1)
    (tmp_path / "a.journal.lock").touch()
    start = time.monotonic()
    small(trials=2)
    assert time.monotonic() - start < 20, "Optuna alone waits for half a minute"


def test_a_full_disk_keeps_the_finished_trials(
    small: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, score, fsync = tmp_path / "a.journal", searching.score, os.fsync

    def full(opened: int) -> None:
        with file.open("r+b") as journal:  # only a part of the line found room
            journal.truncate(file.stat().st_size - 20)
        raise OSError(errno.ENOSPC, "No space left on device")

    def fills(*given: Any, **options: Any) -> dict[str, Any]:
        if len(made(file)) == 2:
            monkeypatch.setattr(os, "fsync", full)
        return score(*given, **options)

    monkeypatch.setattr(searching, "score", fills)
    words = r"cannot be written\. Its finished trials are kept, and the same command goes on: .*a\.journal: No space"
    with pytest.raises(MetaFaceError, match=words):
        small()
    monkeypatch.setattr(searching, "score", score)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.warns(UserWarning, match="ended in the middle of a line"):
        kept = made_in(file.read_bytes()), small()
    assert len(kept[0]) == 2
    assert [trial["score"] for trial in kept[1]["trials"]][:2] == [value for _, value in kept[0]]
    assert len(kept[1]["trials"]) == 4


# ------------------------------------------------------------------------------------------------------------- results


def studied(number: int, score: Callable[[float, float], float]) -> optuna.Study:
    """A study of random trials of two settings, a on a log axis from 0.01 to 1, and b from 0 to 1."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    axes = {
        "a": optuna.distributions.FloatDistribution(0.01, 1, log=True),
        "b": optuna.distributions.FloatDistribution(0, 1),
    }
    for _ in range(number):
        trial = study.ask(axes)
        value = score(trial.params["a"], trial.params["b"])
        facts = {"ci95_people": 0.0, "steps": 1, "seconds": 1.0, "diverged": "", "evaluation": None, "score": value}
        for name, fact in facts.items():
            trial.set_user_attr(name, fact)
        study.tell(trial, value)
    study.set_user_attr("of", {})
    return study


def test_importances_are_of_the_setting_that_matters() -> None:
    found = importances(studied(60, lambda a, b: -((b - 0.3) ** 2)))
    assert found is not None
    for measure in ("fanova", "ped_anova"):
        assert sum(found[measure].values()) == pytest.approx(1)
        assert found[measure]["b"] > 0.9


def test_the_two_importances_need_not_agree() -> None:
    """Setting a ruins a trial in a third of its range, and is nothing elsewhere; b decides among the good ones."""
    found = importances(studied(300, lambda a, b: 0.2 if a > 0.2 else 0.8 + 0.1 * b))
    assert found is not None
    assert found["fanova"]["a"] > 0.9 > 0.6 > found["ped_anova"]["a"]
    assert found["best"] == 0.1


def test_too_few_trials_or_equal_ones_have_no_importances() -> None:
    assert importances(studied(9, lambda a, b: b)) is None
    assert importances(studied(10, lambda a, b: 0.5)) is None
    found = importances(studied(10, lambda a, b: b))
    assert found is not None
    assert found["best"] == 0.5, "five trials at least are the best"


def test_the_best_is_the_first_that_did_not_diverge() -> None:
    study = studied(3, lambda a, b: 0.2)
    assert report(study)["best"] == 0
    study = studied(3, lambda a, b: b)
    trial = study.ask()
    for name, value in study.trials[0].user_attrs.items():
        trial.set_user_attr(name, value)
    trial.set_user_attr("diverged", "it diverged")
    study.tell(trial, 2.0)
    assert report(study)["best"] < 3


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command_says_how_far_the_best_score_is_luck(
    alike: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", "protonet", "--faces", alike, "--ways", "5", "--queries", "2", "--width", "4", "--quiet"]
    command += ["--steps", "1", "--episodes", "20", "--trials", "11", "--study", str(tmp_path / "a.journal")]
    command += ["--temperature", "20:80"]
    assert cli.main([*command, "--json"]) == 0
    found = printed(capsys)
    assert found["of"]["settings"]["temperature"] == [20, 80]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    assert "11 trials of protonet on folder:" in text
    assert "1 steps each, scored on 3 validation people (3-way, 20 episodes)" in text
    assert "The best of many is partly luck" in text
    means = [
        float(word)
        for word in text.splitlines()[text.splitlines().index("  n      1     2     4     8    11") + 1].split()[1:]
    ]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(100 * max(trial["score"] for trial in found["trials"]), abs=0.06)
    assert "fANOVA  PED-ANOVA" in text
    assert "The two need not agree" in text
    accuracy, over_people = (100 * found["winner"]["novel"][key] for key in ("accuracy", "ci95_people"))
    assert f"the winner of 11 trials, trained again ({found['winner']['run']})" in text
    assert f"on 15 novel people: {accuracy:.1f} % ± {over_people:.1f} over people" in text
    assert "Asked once." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "0"], "argument --trials: it is '0'. Give a whole number from 1 to"),
        (["--trials", "-3"], "argument --trials: it is '-3'"),
        (["--workers", "0"], "argument --workers: it is '0'"),
        (["--rate", "0.1:0.01"], "argument --rate: it is '0.1:0.01'. Give the lower end first"),
        (["--rate", "0:1"], "argument --rate: it is '0'. Give a number above 0"),
        (["--steps", "3", "--seconds", "3"], "not allowed with argument --steps"),
    ],
)
def test_numbers_that_cannot_be_are_wrong_usage(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["search", "protonet", *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("default::UserWarning")
def test_more_workers_than_cores_are_allowed_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*given: Any, **options: Any) -> None:
        raise MetaFaceError(f"{options['workers']} workers, {options['seconds']} s")

    monkeypatch.setattr(searching, "search", none)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for workers, warned in ((2, False), (3, True)):
        assert cli.main(["search", "protonet", "--workers", str(workers)]) == 1
        shown = capsys.readouterr().err
        assert f"{workers} workers, 60.0 s" in shown
        assert ("warning: 3 workers share 2 cores" in shown) == warned
