"""`metaface doctor`: checks that the course can run here, and names the one-line fix of what is missing.

Every check is a function without arguments that returns a `Check`. It downloads nothing and changes nothing; only
`--fix` repairs. This module imports only the standard library, so that it runs where torch or other packages are
missing, and reports them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .paths import COURSE, is_clone, mixed_with_clone

GIGABYTE = 1e9
DISK_NEEDED, DISK_WANTED = 0.5 * GIGABYTE, 2 * GIGABYTE
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_HERE = Path(sys.executable).with_name("metaface")
METAFACE = "metaface" if shutil.which("metaface") == str(_HERE) else f'"{_HERE}"'
FIX = f"{METAFACE} doctor --fix"
PIP = f'"{sys.executable}" -m pip install'
INSTALL = f'{PIP} -e "{COURSE}"' if is_clone(COURSE) else f"Install the course again, from its own folder: {PIP} ."


Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """The result of one check.

    status: "ok"; "warn" if the course runs without it; "fail" if it does not.
    detail: what was found, in one line.
    fix: what to do about it, in one line.
    repair: the function that `--fix` calls; None if it cannot repair this.
    repaired: what `--fix` did, in one line.
    name: of the check.
    wait: what takes time while `--fix` repairs it, such as "building learn2learn, about half a minute".
    """

    status: Status
    detail: str
    fix: str = ""
    repair: Callable[[], object] | None = None
    repaired: str = ""
    name: str = ""
    wait: str = ""

    def as_dict(self) -> dict[str, str]:
        return {field: getattr(self, field) for field in ("name", "status", "detail", "fix", "repaired")}


def check_python() -> Check:
    """Python is new enough."""
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 (nothing stops an older one from running this module)
        fix = "Install Python 3.11 or newer, then: make install PYTHON=python3.12"
        return Check("fail", f"{version}, but 3.11 or newer is needed", fix)
    return Check("ok", f"{version} ({sys.executable})")


def check_packages() -> Check:
    """The packages that the course asks for are installed, in the right versions."""
    import tomllib

    from packaging.requirements import Requirement

    if is_clone(COURSE):
        project = tomllib.loads((COURSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        required = [Requirement(entry) for entry in project["dependencies"]]
    else:
        entries = importlib.metadata.requires("metaface-lessons") or []
        required = [entry for entry in map(Requirement, entries) if not entry.marker or entry.marker.evaluate()]
    wrong = []
    for requirement in required:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if wrong:
        return Check("fail", "; ".join(wrong), INSTALL)
    return Check("ok", f"all {len(required)} that the course asks for")


def check_torch() -> Check:
    """torch computes on the device that lessons choose."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    where = f"{torch.__version__} on {torch.cuda.get_device_name() if device == 'cuda' else device}"
    try:
        total = torch.ones(8, device=device).sum().item()
    except RuntimeError as error:
        return Check("fail", f"{where} fails: {_first_line(error)}", INSTALL)
    if total != 8:
        return Check("fail", f"{where} computes that 8 ones add up to {total}", INSTALL)
    if device == "cpu" and shutil.which("nvidia-smi"):
        fix = "Update the NVIDIA driver, or install the build of torch for it: https://pytorch.org/get-started/locally"
        return Check("warn", f"{where}, although an NVIDIA driver is installed", fix)
    return Check("ok", where)


def check_threads() -> Check:
    """torch uses the cores that this process may use: more than one if there are more, and not more than there are."""
    import torch

    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    detail = f"torch computes with {threads} on {cores} cores"
    if threads > cores or threads == 1 < cores:
        return Check("warn", detail, "unset OMP_NUM_THREADS MKL_NUM_THREADS, then start again")
    return Check("ok", detail)


def check_kernel() -> Check:
    """Jupyter runs notebooks with this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    fix = f'"{sys.executable}" -m ipykernel install --sys-prefix --name python3'
    try:
        python = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    except NoSuchKernel:
        return Check("fail", "there is no kernel 'python3'", fix, repair=_install_kernel)
    # A bare name means the Python that runs Jupyter. Folders are compared, because in a virtual environment the program
    # itself is a link to the Python that all environments share.
    if python.is_absolute() and python.parent.resolve() != Path(sys.executable).parent.resolve():
        return Check("fail", f"'python3' starts {python}, not {sys.executable}", fix, repair=_install_kernel)
    return Check("ok", f"'python3' starts {sys.executable}")


def check_home() -> Check:
    """The learner's folder can be written, and does not mix with a clone of the course."""
    from .errors import MetaFaceError
    from .paths import home_dir

    try:
        return _check_folder(home_dir(), "METAFACE_HOME", "fail")
    except MetaFaceError as error:
        found, _, advice = str(error).rpartition(". ")
        return Check("fail", found, advice)


def check_cache() -> Check:
    """The cache can be written, and does not mix with a clone of the course."""
    from .paths import cache_dir

    if where := mixed_with_clone(cache_dir()):
        return Check("warn", f"{cache_dir()} {where}", "Set METAFACE_CACHE to a folder outside, or unset it")
    return _check_folder(cache_dir(), "METAFACE_CACHE", "warn")


def check_disk() -> Check:
    """The disk has space where the course writes."""
    from .paths import cache_dir, home_dir

    free, folder = min((shutil.disk_usage(_existing(folder)).free, folder) for folder in (home_dir(), cache_dir()))
    detail = f"{free / GIGABYTE:.1f} GB free for {folder}"
    if free >= DISK_WANTED:
        return Check("ok", detail)
    fix = "Delete files there, or move the folders to another disk with METAFACE_HOME and METAFACE_CACHE"
    status: Status = "fail" if free < DISK_NEEDED else "warn"
    return Check(status, f"{detail}, but the course needs {DISK_WANTED / GIGABYTE:.0f} GB", fix)


def check_procedural() -> Check:
    """The default face set is not damaged and is of this version, if it is rendered."""
    from .faces import load_faces
    from .faces.procedural import cache_file, load_cached

    file = cache_file()
    if not file.exists():  # not a fault: the first lesson renders it in a minute
        return Check("ok", "not rendered yet; the first lesson that needs them does it")
    with warnings.catch_warnings(record=True) as damage:
        warnings.simplefilter("always")
        if load_cached() is not None:
            return Check("ok", f"rendered, in {file}")
    return Check("warn", str(damage[0].message), FIX, repair=lambda: load_faces("procedural"))


def check_olivetti() -> Check:
    """Olivetti is in scikit-learn's cache."""
    return _check_real("olivetti", "olivetti_py3.pkz", "olivetti.pkz")


def check_lfw() -> Check:
    """LFW is in scikit-learn's cache."""
    return _check_real("lfw", "lfw_home/lfw_funneled")


def check_photos() -> Check:
    """OpenCV can find faces, for `metaface enrol`."""
    from .errors import MetaFaceError
    from .faces.photos import PACKAGE, opencv

    try:
        return Check("ok", f"OpenCV {opencv().__version__}")
    except MetaFaceError:
        return Check("warn", "no OpenCV that can find faces; only metaface enrol needs it", f'{PIP} "{PACKAGE}"')


def check_compiler() -> Check:
    """A C compiler and Python's headers are here; installing learn2learn needs them."""
    compiler = find_compiler()
    header = Path(sysconfig.get_path("include"), "Python.h")
    if compiler and header.is_file():
        return Check("ok", compiler)
    detail = f"Python's headers are missing ({header})" if compiler else "none found"
    fixes = {"Darwin": "xcode-select --install", "Windows": "winget install Microsoft.VisualStudio.2022.BuildTools"}
    fix = fixes.get(platform.system(), "sudo apt-get install gcc python3-dev")
    if os.environ.get("CONDA_PREFIX"):
        fix = "conda install -c conda-forge c-compiler"
    return Check("warn", f"{detail}; only the installation of learn2learn needs it", fix)


def check_learn2learn() -> Check:
    """learn2learn, the library that lessons compare with, can be imported."""
    from .learners import learn2learn_library

    try:
        return Check("ok", learn2learn_library.import_learn2learn().__version__)
    except ImportError as error:
        detail = f"{_first_line(error.__cause__ or error)}; lessons leave out their comparisons with it"
    if find_compiler():
        wait = "building learn2learn, about half a minute"
        return Check("warn", detail, FIX, repair=learn2learn_library.install_learn2learn, wait=wait)
    return Check("warn", detail, f"Install a C compiler (see above), then: {FIX}")


def check_browser() -> Check:
    """Chromium is here, for the browser tests."""
    browser = find_browser()
    if browser:
        return Check("ok", browser)
    fix = "sudo apt-get install chromium" if platform.system() == "Linux" else "Install Chromium or Google Chrome"
    return Check("warn", "no Chromium found; only authors need it, for the browser tests", fix)


CHECKS: dict[str, Callable[[], Check]] = {
    "Python": check_python,
    "packages": check_packages,
    "torch": check_torch,
    "threads": check_threads,
    "Jupyter kernel": check_kernel,
    "your folder": check_home,
    "cache folder": check_cache,
    "disk space": check_disk,
    "default faces": check_procedural,
    "olivetti": check_olivetti,
    "lfw": check_lfw,
    "photos": check_photos,
    "C compiler": check_compiler,
    "learn2learn": check_learn2learn,
    "test browser": check_browser,
}


def find_compiler() -> str | None:
    """The C compiler that Python builds packages with, or None."""
    names = [os.environ.get("CC", ""), sysconfig.get_config_var("CC") or "", "cc", "gcc", "clang", "cl"]
    return next(filter(None, (shutil.which(name.split()[0]) for name in names if name.strip())), None)


def find_browser() -> str | None:
    """The Chromium that the browser tests use, or None. `METAFACE_BROWSER` names another."""
    names = [os.environ["METAFACE_BROWSER"]] if os.environ.get("METAFACE_BROWSER") else BROWSERS
    return next(filter(None, map(shutil.which, names)), None)


def run_doctor(fix: bool = False, say: Callable[[str], object] = lambda text: None) -> Iterator[Check]:
    """Run the checks one by one. What only authors need is checked where they have installed their tools.

    fix: whether to repair what can be repaired, and then check it again. False.
    say: called with what is being repaired, before a repair that takes long. It does nothing by default.
    """
    for name in CHECKS:
        if name == "test browser" and not importlib.util.find_spec("playwright"):
            continue
        found = _run(name)
        if fix and found.status != "ok" and found.repair:
            if found.wait:
                say(f"{found.wait} …")
            try:
                found.repair()
            except Exception as error:  # a failed repair is reported, and the next check goes on
                found = replace(found, repaired=f"the repair failed: {_first_line(error)}")
            else:
                again = _run(name)
                done = "repaired" if again.status == "ok" else "the repair was not enough"
                found = replace(again, repaired=f"{done} (before: {found.detail})")
        yield found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `metaface doctor`."""
    parser.add_argument(
        "--fix",
        action="store_true",
        help="repair what can be repaired: install learn2learn, make folders, render the default faces",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def main(args: argparse.Namespace) -> int:
    """Print the checks; return 1 if one of them fails, else 0."""
    checks = []
    for check in run_doctor(args.fix, say=lambda text: args.json or print(f"      {text}", flush=True)):
        checks.append(check)
        if not args.json:
            print(_as_text(check), flush=True)
    failed = sum(check.status == "fail" for check in checks)
    if args.json:
        print(json.dumps({"ok": not failed, "checks": [check.as_dict() for check in checks]}, indent=2))
    elif failed:
        print(f"\n{failed} of {len(checks)} checks fail. The course cannot run until they are fixed.")
    else:
        warned = sum(check.status == "warn" for check in checks)
        print("\nThe course can run." + (f" {warned} optional things are missing." if warned else ""))
    return int(failed > 0)


def _as_text(check: Check) -> str:
    mark = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}[check.status]
    lines = [f"{mark}  {check.name:<15} {check.detail}"]
    if check.repaired:
        lines.append(check.repaired)
    if check.fix:
        lines.append(f"fix: {check.fix}")
    return textwrap.indent("\n".join(lines), " " * 22).lstrip()


def _run(name: str) -> Check:
    try:
        found = CHECKS[name]()
    except ImportError as error:
        found = Check("fail", f"cannot be checked: {_first_line(error)}", INSTALL)
    except Exception as error:  # one broken check must not stop the others
        found = Check("fail", f"the check failed: {type(error).__name__}: {_first_line(error)}", INSTALL)
    return replace(found, name=name)


def _check_folder(folder: Path, variable: str, unwritable: Status) -> Check:
    if not _writable(_existing(folder)):
        fix = f"Make {folder} writable, or choose another folder with {variable}"
        return Check(unwritable, f"{folder} cannot be written", fix)
    if not folder.exists():
        return Check("warn", f"{folder} does not exist yet", FIX, repair=lambda: folder.mkdir(parents=True))
    return Check("ok", str(folder))


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists."""
    return next(path for path in (folder, *Path(os.path.realpath(folder)).parents) if path.exists())


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _check_real(name: str, *files: str) -> Check:
    from .paths import sklearn_data

    home = sklearn_data()
    if any((home / file).exists() for file in files):
        return Check("ok", f"in {home}")
    detail = f"not in {home}; lessons leave out their experiments on it. Read its card in data/ before you download it"
    return Check("warn", detail, f"{METAFACE} faces {name}")


def _install_kernel() -> None:
    command = [sys.executable, "-m", "ipykernel", "install", "--sys-prefix", "--name", "python3"]
    subprocess.run(command, check=True, capture_output=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="metaface doctor", description="Check what the course needs.")
    add_arguments(parser)
    sys.exit(main(parser.parse_args()))
