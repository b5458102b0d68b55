"""The doctor: every check can fail, a failure names its fix, and `--fix` applies what it can."""

from __future__ import annotations

import argparse
import builtins
import importlib.metadata
import json
import subprocess
import sys
import sysconfig
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metaface_lessons import doctor
from metaface_lessons.doctor import CHECKS, Check, run_doctor
from metaface_lessons.learners import learn2learn_library
from metaface_lessons.paths import cache_dir, write_atomically

Patch = pytest.MonkeyPatch
DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("METAFACE_CACHE", str(tmp_path / "cache"))


def without(*packages: str) -> Callable[[Patch], None]:
    """Make some packages impossible to import."""
    original = builtins.__import__

    def refuse(name: str, *args: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named '{name}'")
        return original(name, *args, **keywords)

    return lambda patch: patch.setattr(builtins, "__import__", refuse)


def missing_torch(patch: Patch) -> None:
    without("torch")(patch)


def old_python(patch: Patch) -> None:
    patch.setattr(sys, "version_info", (3, 10, 2))
    patch.setattr(doctor.platform, "python_version", lambda: "3.10.2")


def old_package(patch: Patch) -> None:
    original = importlib.metadata.version
    patch.setattr(importlib.metadata, "version", lambda name: "1.26.4" if name == "numpy" else original(name))


def missing_package(patch: Patch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    patch.setattr(importlib.metadata, "version", version)


def old_package_of_a_wheel(patch: Patch) -> None:
    patch.setattr(doctor, "COURSE", Path("/nowhere"))
    old_package(patch)


def broken_device(patch: Patch) -> None:
    import torch

    def ones(*args: Any, **keywords: Any) -> Any:
        raise RuntimeError("CUDA error: no kernel image is available\nmore words")

    patch.setattr(torch, "ones", ones)


def wrong_sums(patch: Patch) -> None:
    import torch

    patch.setattr(torch, "ones", lambda *args, **keywords: torch.zeros(8))


def unused_gpu(patch: Patch) -> None:
    import torch

    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setattr(torch.backends.mps, "is_available", lambda: False)
    patch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")


def one_thread(patch: Patch) -> None:
    import torch

    patch.setattr(torch, "get_num_threads", lambda: 1)
    patch.setattr(doctor.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)


def too_many_threads(patch: Patch) -> None:
    import torch

    patch.setattr(torch, "get_num_threads", lambda: 64)
    patch.setattr(doctor.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)


def other_kernel(patch: Patch) -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    spec = SimpleNamespace(argv=["/elsewhere/bin/python"])
    patch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)


def no_kernel(patch: Patch) -> None:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    def get_kernel_spec(self: Any, name: str) -> None:
        raise NoSuchKernel(name)

    patch.setattr(KernelSpecManager, "get_kernel_spec", get_kernel_spec)


def read_only(patch: Patch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    patch.setattr(doctor.tempfile, "TemporaryFile", refuse)


def absent_folders(patch: Patch) -> None:
    absent = Path(tempfile.gettempdir(), "metaface-absent")
    patch.setenv("METAFACE_HOME", str(absent / "home"))
    patch.setenv("METAFACE_CACHE", str(absent / "cache"))


def folders_in_the_clone(patch: Patch) -> None:
    patch.setenv("METAFACE_HOME", str(Path(__file__).parent / "home"))
    patch.setenv("METAFACE_CACHE", str(Path(__file__).parent / "cache"))


def full_disk(patch: Patch) -> None:
    patch.setattr(doctor.shutil, "disk_usage", lambda folder: DiskUsage(10**12, 10**12 - 10**8, 10**8))


def filling_disk(patch: Patch) -> None:
    patch.setattr(doctor.shutil, "disk_usage", lambda folder: DiskUsage(10**12, 10**12 - 10**9, 10**9))


def damaged_faces(patch: Patch) -> None:
    write_atomically(cache_dir() / "procedural-faces.bin", b"METAFACE-FACES\n{")


def no_data(patch: Patch) -> None:
    patch.setenv("SCIKIT_LEARN_DATA", "/nowhere")


def no_programs(patch: Patch) -> None:
    patch.setattr(doctor.shutil, "which", lambda name: None)


def no_headers(patch: Patch) -> None:
    patch.setattr(sysconfig, "get_path", lambda name: "/nowhere")


def no_learn2learn(patch: Patch) -> None:
    def refuse() -> None:
        raise ImportError("learn2learn cannot be imported") from ModuleNotFoundError("No module named 'learn2learn'")

    patch.setattr(learn2learn_library, "import_learn2learn", refuse)


def no_opencv(patch: Patch) -> None:
    patch.setitem(sys.modules, "cv2", None)


INJURIES = [
    ("Python", old_python, "fail", "3.10.2"),
    ("packages", old_package, "fail", "numpy is 1.26.4"),
    ("packages", missing_package, "fail", "torch is missing"),
    ("packages", old_package_of_a_wheel, "fail", "numpy is 1.26.4"),
    ("torch", missing_torch, "fail", "torch"),
    ("torch", broken_device, "fail", "no kernel image"),
    ("torch", wrong_sums, "fail", "add up to 0"),
    ("torch", unused_gpu, "warn", "NVIDIA"),
    ("threads", one_thread, "warn", "1 on 2 cores"),
    ("threads", too_many_threads, "warn", "64 on 2 cores"),
    ("Jupyter kernel", other_kernel, "fail", "/elsewhere/bin/python"),
    ("Jupyter kernel", no_kernel, "fail", "no kernel"),
    ("your folder", read_only, "fail", "cannot be written"),
    ("your folder", absent_folders, "warn", "does not exist yet"),
    ("your folder", folders_in_the_clone, "fail", "is in a clone of the course"),
    ("cache folder", folders_in_the_clone, "warn", "is in a clone of the course"),
    ("cache folder", read_only, "warn", "cannot be written"),
    ("cache folder", absent_folders, "warn", "does not exist yet"),
    ("disk space", full_disk, "fail", "0.1 GB free"),
    ("disk space", filling_disk, "warn", "1.0 GB free"),
    ("default faces", damaged_faces, "warn", "truncated"),
    ("olivetti", no_data, "warn", "not in /nowhere"),
    ("lfw", no_data, "warn", "not in /nowhere"),
    ("photos", no_opencv, "warn", "no OpenCV"),
    ("C compiler", no_programs, "warn", "none found"),
    ("C compiler", no_headers, "warn", "headers"),
    ("learn2learn", no_learn2learn, "warn", "No module named 'learn2learn'"),
    ("test browser", no_programs, "warn", "no Chromium"),
]


def examine(name: str, fix: bool = False) -> Check:
    """The result of one check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "CHECKS", {name: CHECKS[name]})
        (check,) = run_doctor(fix)
    return check


@pytest.mark.parametrize(
    ("name", "injury", "status", "words"), INJURIES, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_check_notices(
    name: str, injury: Callable[[Patch], None], status: str, words: str, monkeypatch: Patch
) -> None:
    injury(monkeypatch)
    check = examine(name)
    assert (check.name, check.status) == (name, status)
    assert words in check.detail
    assert check.fix
    assert "\n" not in check.fix


def test_the_fix_of_a_package_names_this_python(monkeypatch: Patch) -> None:
    no_opencv(monkeypatch)
    assert examine("photos").fix.startswith(f'"{sys.executable}" -m pip install "opencv')


def test_learners_do_not_read_of_what_only_authors_need(monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", dict.fromkeys(CHECKS, lambda: Check("ok", "")))
    assert [check.name for check in run_doctor()] == [*CHECKS]
    monkeypatch.setitem(sys.modules, "playwright", None)
    assert [check.name for check in run_doctor()] == [name for name in CHECKS if name != "test browser"]


def test_another_metaface_on_the_path_is_not_taken_for_this_one(monkeypatch: Patch) -> None:
    code = "from metaface_lessons import doctor; print(doctor.FIX)"
    here = Path(sys.executable).parent
    for path, first in ((str(here), "metaface doctor"), ("/nowhere", f'"{here / "metaface"}" doctor')):
        run = subprocess.run([sys.executable, "-c", code], env={"PATH": path}, capture_output=True, text=True)
        assert run.stdout.startswith(first), run.stderr


def test_every_check_has_an_injury() -> None:
    assert {name for name, *_ in INJURIES} == set(CHECKS)


@pytest.mark.parametrize("name", ["Python", "packages", "torch", "Jupyter kernel", "disk space"])
def test_a_check_passes_here(name: str) -> None:
    check = examine(name)
    assert check.status == "ok", check
    assert not check.fix


def test_a_check_that_breaks_is_a_finding(monkeypatch: Patch) -> None:
    def break_down() -> Check:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(doctor, "CHECKS", {"odd": break_down, "Python": CHECKS["Python"]})
    odd, python = run_doctor()
    assert odd.status == "fail"
    assert "ZeroDivisionError" in odd.detail
    assert python.status == "ok"


def test_fix_makes_folders(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "new" / "home"))
    assert examine("your folder").status == "warn"
    assert not (tmp_path / "new").exists(), "a check changes nothing"
    check = examine("your folder", fix=True)
    assert check.status == "ok"
    assert "does not exist yet" in check.repaired
    assert (tmp_path / "new" / "home").is_dir()


def test_faces_that_are_not_rendered_yet_are_no_fault() -> None:
    check = examine("default faces")
    assert check.status == "ok"
    assert "not rendered yet" in check.detail


def test_fix_renders_damaged_faces_again(monkeypatch: Patch) -> None:
    rendered = []
    damaged_faces(monkeypatch)
    monkeypatch.setattr("metaface_lessons.faces.load_faces", lambda name: rendered.append(name))
    assert "truncated" in examine("default faces", fix=True).repaired
    assert rendered == ["procedural"]


def test_fix_installs_learn2learn(monkeypatch: Patch) -> None:
    commands = []

    def pip(command: list[str], **keywords: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        monkeypatch.setattr(learn2learn_library, "import_learn2learn", lambda: SimpleNamespace(__version__="0.2.0"))
        return subprocess.CompletedProcess(command, 0, "", "")

    no_learn2learn(monkeypatch)
    monkeypatch.setattr(doctor, "find_compiler", lambda: "/usr/bin/cc")
    monkeypatch.setattr(learn2learn_library.subprocess, "run", pip)
    said: list[str] = []
    monkeypatch.setattr(doctor, "CHECKS", {"learn2learn": CHECKS["learn2learn"]})
    (check,) = run_doctor(fix=True, say=said.append)
    assert said == ["building learn2learn, about half a minute …"]
    assert (check.status, check.detail) == ("ok", "0.2.0")
    options = ["--no-deps", "--use-pep517", "--config-settings=--build-option=build_ext"]
    install = ["-m", "pip", "install", *options, "learn2learn==0.2.0"]
    assert commands == [[sys.executable, *install]]


def test_a_failed_repair_is_a_finding(monkeypatch: Patch) -> None:
    no_learn2learn(monkeypatch)
    monkeypatch.setattr(doctor, "find_compiler", lambda: "/usr/bin/cc")
    said = "building\nerror: subprocess-exited-with-error\n  x.c:1: fatal error: Python.h: none\nhint: See above\n"
    answer = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(learn2learn_library.subprocess, "run", lambda command, **keywords: answer)
    check = examine("learn2learn", fix=True)
    assert check.status == "warn"
    assert (
        check.repaired
        == "the repair failed: pip could not install learn2learn==0.2.0: x.c:1: fatal error: Python.h: none"
    )


def test_a_repair_that_does_not_help_is_not_called_one(monkeypatch: Patch) -> None:
    no_learn2learn(monkeypatch)
    monkeypatch.setattr(doctor, "find_compiler", lambda: "/usr/bin/cc")
    answer = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(learn2learn_library.subprocess, "run", lambda command, **_: answer)
    check = examine("learn2learn", fix=True)
    assert check.status == "warn"
    assert check.repaired.startswith("the repair was not enough (before: ")


def test_without_a_compiler_learn2learn_is_not_attempted(monkeypatch: Patch) -> None:
    no_learn2learn(monkeypatch)
    monkeypatch.setattr(doctor, "find_compiler", lambda: None)
    check = examine("learn2learn", fix=True)
    assert check.repaired == ""
    assert "Install a C compiler" in check.fix


@pytest.mark.needs("learn2learn")
def test_learn2learn_adapts_as_one_gradient_step() -> None:
    import torch

    learn2learn = learn2learn_library.import_learn2learn()
    model = torch.nn.Linear(2, 1, bias=False)
    start = model.weight.detach().clone()
    learner = learn2learn.algorithms.MAML(model, lr=0.1).clone()
    learner.adapt(learner(torch.tensor([[1.0, 2.0]])).sum())
    assert torch.allclose(learner.module.weight, start - 0.1 * torch.tensor([[1.0, 2.0]]))


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_exit_code_and_text(status: Any, code: int, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"heart": lambda: Check(status, "beats", "" if status == "ok" else "rest")})
    assert doctor.main(arguments()) == code
    text = capsys.readouterr().out
    assert "heart" in text
    assert ("fix: rest" in text) == (status != "ok")


def test_json(monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"heart": lambda: Check("fail", "stopped", "pump", repair=print)})
    assert doctor.main(arguments("--json")) == 1
    check = {"name": "heart", "status": "fail", "detail": "stopped", "fix": "pump", "repaired": ""}
    assert json.loads(capsys.readouterr().out) == {"ok": False, "checks": [check]}


def test_it_runs_where_nothing_is_installed(repository: Path) -> None:
    # -S leaves out site-packages: the standard library alone, as on a machine where nothing has been installed.
    command = [sys.executable, "-S", "-m", "metaface_lessons.doctor", "--json"]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert run.returncode == 1, run.stderr
    found = {check["name"]: check for check in json.loads(run.stdout)["checks"]}
    assert set(found) == set(CHECKS) - {"test browser"}
    for name in ("packages", "torch", "Jupyter kernel", "cache folder"):
        assert found[name]["status"] == "fail"
        assert "pip install -e" in found[name]["fix"]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return parser.parse_args(words)
