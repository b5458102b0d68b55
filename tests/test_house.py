"""The house: what is declared is what is used, for everyone, and make can do what the README promises."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from metaface_lessons.evaluation import Estimate
from metaface_lessons.experiments import comparison, few_shot
from metaface_lessons.sources import lesson_budget, lesson_minutes, read_source, sources
from metaface_lessons.widgets.cost_explorer import NAMES
from tests import needs
from tests.needs import need

# Packages whose import name is not their name in the index.
IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "pillow": "PIL",
    "jupyter-client": "jupyter_client",
    "jupyter-server": "jupyter_server",
    "ipython": "IPython",
    "opencv-python-headless": "cv2",
    "pyyaml": "yaml",
    "websocket-client": "websocket",
}
# Declared, though nothing here imports them.
NOT_IMPORTED = {
    "jupyterlab": "learners work in it",
    "gym": "learn2learn imports it",
    "requests": "learn2learn imports it",
    "scipy": "learn2learn imports it",
}
# Imported, though not declared: the second step of the installation brings it.
NOT_DECLARED = {"learn2learn"}
TARGETS = ("install", "lab", "test", "test-all", "lessons", "bench", "lint", "clean")


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[Path]:
    """Every text file that git tracks."""
    need("a git clone")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True)
    assert listing.returncode == 0, listing.stderr
    files = [repository / name for name in listing.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()]


def imports(*folders: Path) -> set[str]:
    """Top-level names of the third-party packages that the Python files in `folders` import."""
    found: set[str] = set()
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"__future__", "metaface_lessons"}


def names(requirements: list[str]) -> set[str]:
    """The import names of some requirements."""
    packages = {Requirement(requirement).name for requirement in requirements}
    return {IMPORT_NAMES.get(package, package) for package in packages}


def make(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as if no other make ran this test."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=repository, env=environment, capture_output=True, text=True)


def test_what_is_imported_is_declared(repository: Path, project: dict) -> None:
    used = imports(repository / "metaface_lessons", repository / "notebooks" / "source")
    # `metaface class` says what to install where nbgrader is missing, `metaface enrol` where OpenCV is.
    optional = names(project["optional-dependencies"]["authors"]) | names(project["optional-dependencies"]["photos"])
    assert used - NOT_DECLARED - optional - {
        "jupyter_core",
        "traitlets",
    } <= names(project["dependencies"])


def test_what_is_declared_is_imported(repository: Path, project: dict) -> None:
    used = imports(repository / "metaface_lessons", repository / "notebooks" / "source")
    assert names(project["dependencies"]) - used - set(NOT_IMPORTED) == set()


def test_what_tests_and_tools_import_is_declared(repository: Path, project: dict) -> None:
    extras = project["optional-dependencies"]
    declared = names(project["dependencies"]) | names(extras["test"]) | names(extras["authors"])
    used = imports(repository / "tests", repository / "benchmarks") | imports(repository / "notebooks")
    assert used - NOT_DECLARED - {"benchmarks", "tests"} <= declared


def test_conda_installs_what_everyone_installs(repository: Path, project: dict) -> None:
    environment = yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    assert pip == ["-e ."]
    assert "pip install --editable .\n" in makefile, "make installs something other than what conda users get"
    # Nothing that pip installs may come from conda in another version.
    ours = {re.split(r"[ =<>~]", entry)[0] for entry in conda}
    assert ours == {"python", "pip", "c-compiler", "make"}
    (python,) = (entry.removeprefix("python=") for entry in conda if entry.startswith("python="))
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python)


def test_torchvision_fits_torch(project: dict) -> None:
    # torchvision 0.N goes with torch 2.(N - 15); pip would otherwise replace the torch that learners were promised.
    pins = {Requirement(entry).name: entry.partition("==")[2] for entry in project["dependencies"]}
    torch, torchvision = (tuple(map(int, pins[name].split("."))) for name in ("torch", "torchvision"))
    assert torchvision == (0, torch[1] + 15, torch[2])


def test_versions_agree(project: dict) -> None:
    import metaface_lessons

    assert project["version"] == metaface_lessons.__version__


def test_what_one_cites_is_what_one_installs(repository: Path, project: dict) -> None:
    cited = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == project["version"]
    assert cited["title"] == project["description"]
    assert cited["license"] == project["license"]
    assert cited["authors"] == project["authors"]


@pytest.mark.parametrize("target", TARGETS)
def test_make_has(target: str, repository: Path) -> None:
    run = make(repository, "--dry-run", "--always-make", target)
    assert run.returncode == 0, run.stderr
    assert "Nothing to be done" not in run.stdout, "it has no recipe"


def test_make_installs_the_small_torch_first_if_asked(repository: Path, project: dict, tmp_path: Path) -> None:
    pinned = [entry for entry in project["dependencies"] if entry.startswith("torch")]
    assert len(pinned) == 2
    there = f"VENV={tmp_path / 'v'}"
    said = make(repository, "--dry-run", "install", "TORCH=cpu", there).stdout
    small, whole = said.split("pip install")[1:]
    assert "index-url" not in small
    shell = re.search(r"\$\((sed .*)\) \|\|", small)
    assert shell is not None
    versions = subprocess.run(["sh", "-c", shell[1]], cwd=repository, capture_output=True, text=True)
    assert versions.stdout.split() == [f"{entry}+cpu" for entry in pinned]
    assert whole.startswith(" --editable .")
    address = "https://example.org/cpu"
    said = make(repository, "--dry-run", "install", "TORCH=cpu", f"INDEX={address}", there).stdout
    assert f"--extra-index-url '{address}'" in said
    assert "+cpu" not in make(repository, "--dry-run", "install", there).stdout


def test_make_says_where_the_small_torch_is_if_pip_finds_none(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").touch()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    run = make(repository, "install", "TORCH=cpu", f"VENV={tmp_path}")
    assert run.returncode != 0
    assert "Add its address: make install TORCH=cpu INDEX=https://…" in run.stderr


def test_make_refuses_a_torch_that_it_does_not_know(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").touch()
    run = make(repository, "install", "TORCH=gpu", f"VENV={tmp_path}")
    assert run.returncode != 0
    assert "TORCH=gpu is unknown. Write make install TORCH=cpu" in run.stderr


def test_a_wheel_has_the_lessons(repository: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    build = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path), "build_py"]
    made = subprocess.run([*build, "--build-lib", str(library)], cwd=repository, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    ours = library / "metaface_lessons"
    for folder in ("lab", "exercises"):
        files = {file.relative_to(ours) for file in (ours / folder).rglob("*.*")}
        whole = repository / "metaface_lessons"
        assert files == {f.relative_to(whole) for f in (whole / folder).rglob("*.*") if "__pycache__" not in str(f)}
    assert (ours / "lab" / "jupyter" / "bashrc").is_file()
    code = """
from metaface_lessons import paths
from metaface_lessons.lab import workspace
from metaface_lessons.doctor import check_packages
from metaface_lessons.exercises import core, solutions
from metaface_lessons.experiments import comparison
print(paths.COURSE)
home, news = workspace.prepare()
print(len([*home.glob('*.ipynb')]), news, len(comparison.load('lfw')['learners']) > 5)
print('ways' in solutions.solution_text(core.find('start.chance')), (paths.DATA / 'lfw.md').is_file())
"""
    environment = os.environ | {"PYTHONPATH": str(library), "METAFACE_HOME": str(tmp_path / "home")}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.stdout.splitlines() == [str(ours / "course"), f"{len(sources())} [] True", "True True"], run.stderr
    assert not (ours / "course" / "notebooks" / "solutions").exists()


def test_an_old_python_is_named_before_anything_is_installed(repository: Path) -> None:
    code = "import sys; sys.version_info = (3, 10, 2); sys.version = '3.10.2 (main)'; exec(open('setup.py').read())"
    run = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == "MetaFace needs Python 3.11 or newer, but this is Python 3.10.2.\n"


def test_make_refuses_an_old_python(repository: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\ncase $1 in --version) echo Python 3.9.2;; *) exit 1;; esac\n")
    old.chmod(0o755)
    run = make(repository, "install", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert run.returncode != 0
    assert "needs Python 3.11 or newer" in run.stderr
    assert "Python 3.9.2" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_script(repository: Path) -> None:
    script = repository / ".ci" / "run"
    for each in (script, repository / ".ci" / "bare"):
        assert os.access(each, os.X_OK)
        assert subprocess.run(["bash", "-n", each]).returncode == 0
    assert script.read_text(encoding="utf-8").rstrip().endswith("make test")


def test_no_file_names_a_machine(tracked: list[Path]) -> None:
    # A path that only one machine has; in a notebook's output it gives away its author, too.
    own = re.compile(r"/(?:root|work|home/[a-z]\w*|Users/[a-z]\w*)/(?!\))[\w.]")
    here = Path(__file__).resolve()
    assert [f"{file}: {found[0]}" for file in tracked if file != here and (found := own.search(_text(file)))] == []


def test_no_picture_is_committed(tracked: list[Path], repository: Path) -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True).stdout.splitlines()
    assert [name for name in listing if re.search(r"\.(jpe?g|pgm|gif|bmp|pkz)$", name, re.IGNORECASE)] == []


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def test_the_engineers_page_says_what_is_stored(repository: Path) -> None:
    page = (repository / "docs" / "engineers.md").read_text(encoding="utf-8")
    told = [line for line in page.splitlines() if line.startswith("|") and " ± " in line]
    rows = comparison.load("lfw")["learners"]
    wanted = []
    for name in sorted(NAMES, key=lambda name: -rows[name]["4-shot"]["mean"]):
        cells = (Estimate.from_scores(rows[name][shots]) for shots in comparison.PROTOCOLS)
        wanted.append(f"| {NAMES[name]} | {' | '.join(f'{100 * e.mean:.1f} ± {100 * e.widest:.1f}' for e in cells)} |")
    assert told == wanted
    longer = [few_shot.load("reptile", "lfw", shots) for shots in (1, 4)]
    figures = " and ".join(f"{100 * result['accuracy']:.1f}" for result in longer)
    assert f"it has {figures}." in page
    assert max(run["seconds"] for result in longer for run in result["runs"]) < 12 * 60


def row_faults(readme: str, said: dict[str, str]) -> list[str]:
    """What is wrong in README's table of lessons, one message a lesson.

    said: by lesson, the end of its row, such as "| 60 | < 120 s |".
    """
    rows = dict(re.findall(r"^\| (\d\d) \|.*?(\| \d+ \| < \d+ s \|)$", readme, re.MULTILINE))
    faults = []
    for number, end in said.items():
        if number not in rows:
            row = f"| {number} | title | what you will be able to do {end}"
            faults.append(f"README's table has no row of lesson {number}: write {row}")
        elif rows[number] != end:
            faults.append(f"README's row of lesson {number} ends with {rows[number]}: write {end}")
    faults += [f"README's table has a row of lesson {number}, which has no source." for number in rows.keys() - said]
    if not faults and [*rows] != [*said]:
        faults.append(f"README's table has the lessons {', '.join(rows)}: write them in the order of their numbers.")
    return faults


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("| 98 | A | b | 5 | < 20 s |\n| 99 | A | b | 6 | < 30 s |", None),
        (
            "| 98 | A | b | 5 | < 20 s |",
            "has no row of lesson 99: write | 99 | title | what you will be able to do | 6 | < 30 s |",
        ),
        (
            "| 98 | A | b | 5 | < 20 s |\n| 99 | A | b | 6 | < 20 s |",
            "99 ends with | 6 | < 20 s |: write | 6 | < 30 s |",
        ),
        ("| 98 | A | b | 5 | < 20 s |\n| 99 | A | b | 6 | < 30 s |\n| 97 | A | b | 6 | < 30 s |", "row of lesson 97"),
        ("| 99 | A | b | 6 | < 30 s |\n| 98 | A | b | 5 | < 20 s |", "in the order of their numbers"),
    ],
)
def test_a_wrong_row_is_named(rows: str, fault: str | None) -> None:
    faults = row_faults(rows, {"98": "| 5 | < 20 s |", "99": "| 6 | < 30 s |"})
    assert [fault in each for each in faults if fault] == [True] * (fault is not None)
    assert fault or not faults


def test_the_readme_gives_a_lesson_the_minutes_and_seconds_that_it_says(repository: Path) -> None:
    lessons = {number: read_source(file) for number, file in sources().items()}
    said = {number: f"| {lesson_minutes(each)} | < {lesson_budget(each)} s |" for number, each in lessons.items()}
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert row_faults(readme, said) == []
    minutes = sum(map(lesson_minutes, lessons.values()))
    assert f"{minutes} minutes for the" in readme
    assert f"about {minutes / 60:.1f} hours" in readme
    rows = re.findall(r"^\| (\d\d) \| \[(.*?)\]\(notebooks/(.*?)\)", readme, re.MULTILINE)
    assert [(number, file[:2]) for number, _, file in rows] == [(number, number) for number in lessons]


# -------------------------------------------------------------------------------------------- the floors of the package

# From the ground up. A module imports from its own floor and from those below it.
FLOORS = (
    "errors options bars",
    "names",
    "paths",
    "machine sources faces shares",
    "episodes networks sinusoids checkpoints",
    "augmentation learners",
    "evaluation verification calibration distributed",
    "training figures selection",
    "deployment runs",
    "enrolment experiments exercises",
    "widgets grading lab doctor",
    "cli",
)


def arrows(repository: Path) -> dict[str, set[str]]:
    """Which modules of the package each module imports, wherever in the file the import stands."""
    package = repository / "metaface_lessons"
    files = {".".join(file.relative_to(repository).with_suffix("").parts): file for file in package.rglob("*.py")}
    found: dict[str, set[str]] = {name: set() for name in files}
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                within = name.split(".")[: -node.level] if node.level else []
                origin = ".".join([*within, *filter(None, [node.module])])
                for alias in node.names:
                    modules = (f"{origin}.{alias.name}", origin, f"{origin}.__init__")
                    found[name] |= {next((m for m in modules if m in files), "")} - {"", name}
    return found


def test_no_module_imports_itself_by_way_of_others(repository: Path) -> None:
    graph = arrows(repository)
    assert len(graph["metaface_lessons.cli"]) > 5, "the imports were not read"
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_imports_go_down(repository: Path) -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
    graph = arrows(repository)
    rooms = {name: name.split(".")[1] for name in graph}
    assert {*rooms.values()} - {*floor} == {"__init__"}, "a room has no floor: name it in FLOORS"
    up = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if "__init__" not in (rooms[name], rooms[other]) and floor[rooms[name]] < floor[rooms[other]]
    ]
    assert up == []


def test_what_runs_without_torch_imports_none(repository: Path) -> None:
    code = "import sys; sys.modules |= {'torch': None, 'optuna': None}"
    code += "; from metaface_lessons import cli, doctor; cli.parser()"
    run = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_engineers_page_says_how_long_the_core_is(repository: Path) -> None:
    page = (repository / "docs" / "engineers.md").read_text(encoding="utf-8")
    numbers = re.findall(r"evening, ([\d,]+) of its ([\d,]+) lines", page)[0]
    said = [int(number.replace(",", "")) for number in numbers]
    path = re.findall(r"\]\(\.\./(metaface_lessons/[\w/]+\.py)\)", page)
    everything = [str(file.relative_to(repository)) for file in (repository / "metaface_lessons").rglob("*.py")]
    for number, files in zip(said, (path, everything), strict=True):
        lines = sum(len((repository / file).read_text(encoding="utf-8").splitlines()) for file in files)
        assert abs(number - lines) < 0.05 * lines, f"it says {number} lines, there are {lines}"


# --------------------------------------------------------------------------------------------- tests mirror the package

# Modules that can only be tested through others, or that are of one kind, and the file that tests them.
TESTED_BY = {
    "__init__.py": "test_house.py",
    "exercises/lesson*.py": "exercises/test_exercises.py",
    "faces/procedural/appearance.py": "faces/procedural/test_rendering.py",
    "grading/seccomp.py": "grading/test_lock.py",
    "grading/worker.py": "grading/test_remote.py",
    "learners/base.py": "test_training.py",
    "learners/fast/__init__.py": "learners/fast/test_channel_groups.py",
    "learners/learn2learn_library.py": "test_doctor.py",
    "widgets/*_explorer.py": "widgets/test_widgets.py",
}
# Tests of what is not in the package.
OF_THE_REST = {
    "browser/test_explorers.py",
    "browser/test_lessons.py",
    "browser/test_next_day.py",
    "browser/test_printed.py",
    "test_benchmarks.py",
    "test_docs.py",
    "test_examples.py",
    "test_house.py",
    "test_jupyterhub.py",
    "test_notebooks.py",
    "test_voice.py",
}


def mirrored(repository: Path) -> dict[str, str]:
    """Where each module of the package is tested, unless `TESTED_BY` says otherwise; `a/__init__.py` by `a/test_a.py`.

    Modules with nothing but a docstring need no test.
    """
    package = repository / "metaface_lessons"
    found = {}
    for module in sorted(package.rglob("*.py")):
        code = [node for node in ast.parse(module.read_text(encoding="utf-8")).body if not isinstance(node, ast.Expr)]
        if code:
            name = module.parent.name if module.stem == "__init__" else module.stem
            found[module.relative_to(package).as_posix()] = (
                module.relative_to(package).with_name(f"test_{name}.py").as_posix()
            )
    return found


def test_every_module_has_its_test(repository: Path) -> None:
    tests = repository / "tests"
    untested = [module for module, file in mirrored(repository).items() if not (tests / file).is_file()]
    named = {module: line for line in TESTED_BY for module in untested if fnmatch(module, line)}
    assert [module for module in untested if module not in named] == [], "write its test, or a line in TESTED_BY"
    assert [line for line in TESTED_BY if line not in named.values()] == [], "these lines of TESTED_BY are idle"
    assert [file for file in TESTED_BY.values() if not (tests / file).is_file()] == [], (
        "TESTED_BY names files that are not"
    )


def test_every_test_is_of_a_module(repository: Path) -> None:
    tests = repository / "tests"
    files = {file.relative_to(tests).as_posix() for file in tests.rglob("test_*.py")}
    assert files - set(mirrored(repository).values()) == OF_THE_REST


# ----------------------------------------------------------------------------------------- what tests need from outside


@pytest.mark.parametrize("ci", ["", "true"])
@pytest.mark.parametrize("installable", [True, False])
def test_what_is_absent_is_named(ci: str, installable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails where CI is set, unless nobody could have installed it; elsewhere it is skipped."""
    monkeypatch.setitem(needs.OUTSIDE, "the moon", needs.Need(lambda: False, "fly there", installable))
    monkeypatch.setitem(needs.OUTSIDE, "the earth", needs.Need(lambda: True, "stay", installable))
    monkeypatch.setenv("CI", ci)
    outcome = pytest.fail.Exception if ci and installable else pytest.skip.Exception
    with pytest.raises(
        (pytest.fail.Exception, pytest.skip.Exception), match=r"^needs the moon \(fly there\)$"
    ) as found:
        need("the earth", "the moon")
    assert found.type is outcome
    need("the earth")


def test_only_needs_skips(repository: Path) -> None:
    """Whatever else skips a test would skip it where CI is set as well, unseen."""
    ways = re.compile(r"\b(skipif|importorskip|unittest\.skip|(?:pytest|mark)\.skip)\b")
    files = {repository / "conftest.py", *(repository / "tests").rglob("*.py")} - {Path(__file__).resolve()}
    assert [file.name for file in files if ways.search(file.read_text(encoding="utf-8"))] == ["needs.py"]
