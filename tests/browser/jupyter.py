"""JupyterLab in a browser, as a learner uses it: open a lesson, run it, move a slider by keyboard, type an answer."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, sync_playwright

from metaface_lessons.lab.workspace import FIRST, lab_command, lab_environment
from metaface_lessons.sources import METADATA

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PICTURE = ".widget-html img"
SLIDER = ".noUi-handle"
ERROR = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'


@contextmanager
def jupyter_lab(home: Path, scratch: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves the folder `home` on loopback; its settings stay in `scratch`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    settings = scratch / "config" / "lab" / "user-settings" / "@jupyterlab"
    for file, content in {
        "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight stay in the page
    }.items():
        path = settings / f"{file}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = lab_environment() | {name: str(scratch / folder) for name, folder in folders.items()}
    environment |= {"METAFACE_HOME": str(home), "METAFACE_BUDGET": "quick"}
    arguments = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command = lab_command([*arguments, f"--IdentityProvider.token={token}"])
    with (scratch / "jupyter.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api/status?token={token}", server, scratch / "jupyter.log")
        yield f"{address}/lab/tree/{{}}?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    start = time.monotonic()
    while time.monotonic() - start < seconds and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@contextmanager
def chromium(executable: str) -> Iterator[Page]:
    """A page of a fresh browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def open_notebook(page: Page, address: str, name: str) -> None:
    """Open a notebook and wait until its kernel is ready."""
    page.goto(address.format(name))
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=90_000)
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=90_000)


def run_all(page: Page, seconds: float) -> None:
    """Run all cells by the menu, and wait until the last one has run. Fails if a cell raised an error."""
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
    page.wait_for_function(
        """(error) => {
            const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent);
            window.started = window.started || prompts.some(p => p.includes('*'));
            return window.started && !prompts.some(p => p.includes('*')) || document.querySelector(error);
        }""",
        arg=ERROR,
        timeout=1000 * seconds,
        polling=100,
    )
    raised = page.locator(ERROR).all_inner_texts()
    assert not raised, raised[0]


@contextmanager
def notebook_that_ran(browser: str, cells: Sequence[str]) -> Iterator[Page]:
    """A page of JupyterLab with a notebook of these code cells, after all of them have run.

    browser: the Chromium to drive.
    cells: their sources.
    """
    notebook = nbformat.v4.new_notebook(metadata=METADATA, cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        nbformat.write(notebook, home / FIRST)
        with jupyter_lab(home, Path(folder)) as address, chromium(browser) as page:
            open_notebook(page, address, FIRST)
            run_all(page, seconds=300)
            yield page


def explorers(page: Page) -> Locator:
    """The explorers on the page: boxes with a slider and a picture."""
    return page.locator(f".jp-OutputArea .widget-vbox:has({SLIDER}):has({PICTURE})")


def move(page: Page, explorer: Locator, slider: int = 0) -> float:
    """Move a slider by one step with an arrow key, wait until another picture is there; return the milliseconds taken.

    The time is the browser's own: from the key's event to the first frame after the new picture was decoded.
    """
    handle = explorer.locator(SLIDER).nth(slider)
    handle.focus()
    at_its_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    page.evaluate(
        """([box, picture]) => {
            const before = box.querySelector(picture).src;
            window.redrawn = null;
            addEventListener('keydown', () => {
                const pressed = performance.now();
                const look = async () => {
                    const image = box.querySelector(picture);
                    if (image && image.src !== before) {
                        await image.decode();
                        requestAnimationFrame(() => { window.redrawn = performance.now() - pressed; });
                    } else requestAnimationFrame(look);
                };
                requestAnimationFrame(look);
            }, {once: true, capture: true});
        }""",
        [explorer.element_handle(), PICTURE],
    )
    page.keyboard.press("ArrowLeft" if at_its_end else "ArrowRight")
    redrawn = page.wait_for_function("() => window.redrawn", timeout=30_000, polling="raf")
    return float(redrawn.json_value())


def cell(page: Page, number: int) -> Locator:
    """Cell `number` of the notebook, counted from 0 over cells of all kinds."""
    return page.locator(f'.jp-NotebookPanel .jp-Cell[data-windowed-list-index="{number}"]')


def type_and_run(page: Page, number: int, source: str | None = None) -> str:
    """Replace the source of a code cell, if one is given, run it, and return the text of its output."""
    place = cell(page, number)
    place.scroll_into_view_if_needed()
    place.locator(".cm-content").click()
    if source is not None:
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(source)  # as if pasted: no brackets closed, no lines indented by the editor
    prompt = place.locator(".jp-InputPrompt").element_handle()
    page.evaluate("prompt => { window.before = prompt.textContent; }", prompt)
    page.keyboard.press("Shift+Enter")
    page.wait_for_function(
        r"prompt => prompt.textContent !== window.before && /\d/.test(prompt.textContent)",
        arg=prompt,
        timeout=60_000,
    )
    outputs = place.locator(".jp-OutputArea-output")
    return "\n".join(outputs.all_inner_texts())
