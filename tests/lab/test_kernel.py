"""The kernel that `metaface lab` starts: a real one, asked as a notebook asks it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from metaface_lessons.lab.kernel import NAMES
from metaface_lessons.lab.workspace import lab_environment


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Run a cell in a fresh kernel of a JupyterLab of the course; returns what it printed and showed, and errors."""
    foreign = tmp_path / "kernels" / "python3"  # which the user, or another course, has installed and set up
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["/foreign/python"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("METAFACE_HOME", str(tmp_path / "home"))
    for name, value in lab_environment().items():
        monkeypatch.setenv(name, value)
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager())
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)

        def ask(cell: str) -> str:
            said = []

            def hear(message: dict) -> None:
                content = message["content"]
                if message["msg_type"] == "stream":
                    said.append(content["text"])
                elif message["msg_type"] in ("display_data", "execute_result"):
                    said.append(content["data"]["text/plain"])
                elif message["msg_type"] == "error":
                    said.append(f"{content['ename']}: {content['evalue']}")

            client.execute_interactive(cell, output_hook=hear, timeout=120)
            return "\n".join(said)

        yield ask
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_an_exercise_runs_first_after_a_restart(run: Callable[[str], str]) -> None:
    assert run("import sys; print('torch' in sys.modules)").strip() == "False", "nothing slow is imported at the start"
    assert run("%who").strip() == "sys", "the names are not among the learner's own"
    said = run("def chance(ways):\n    return 1 / ways\n\ncheck('start.chance', chance)")
    assert "start.chance: passed" in said
    assert "Hint 1" in run("hint('start.chance')")
    assert "You have passed" in run("solution('start.chance')")
    assert "1 of" in run("progress('00')")
    assert {*NAMES} == {*run("print(*(f.__name__ for f in (check, hint, progress, solution)))").split()}


def test_python_and_metaface_in_a_cell_are_the_courses(run: Callable[[str], str]) -> None:
    here = Path(sys.executable).parent
    said = run("!python -c 'import sys; print(sys.executable)'\n!command -v metaface")
    assert said.split() == [str(here / "python"), str(here / "metaface")]
    assert run("import sys; print(sys.executable)").strip() == sys.executable
