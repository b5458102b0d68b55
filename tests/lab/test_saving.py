"""What the server adds to a notebook that is saved: the widgets that it shows, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metaface_lessons.lab.saving import STATE, VIEW, keep_widgets


def notebook(shown: list[str], known: dict[str, Any]) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": "words"}]
    outputs += [{"output_type": "display_data", "data": {VIEW: {"model_id": name}}, "metadata": {}} for name in shown]
    cells = [{"cell_type": "markdown", "source": ""}, {"cell_type": "code", "source": "", "outputs": outputs}]
    return {"cells": cells, "metadata": {"widgets": {STATE: {"version_major": 2, "version_minor": 0, "state": known}}}}


def widget(*children: str) -> dict[str, Any]:
    return {"model_name": "VBoxModel", "state": {"children": [f"IPY_MODEL_{child}" for child in children]}}


def saved(folder: Path, content: dict[str, Any], path: str = "a folder/lesson.ipynb") -> dict[str, Any] | None:
    """The widgets in the file after a save, by their names."""
    file = folder / path
    file.parent.mkdir(exist_ok=True)
    manager = SimpleNamespace(root_dir=folder)
    keep_widgets(model={"type": "notebook", "content": content}, path=f"/{path}", contents_manager=manager)
    file.write_text(json.dumps(content))
    widgets = content["metadata"].get("widgets")
    return widgets and widgets[STATE]["state"]


def test_what_the_kernel_no_longer_knows_stays(tmp_path: Path) -> None:
    box = {"box": widget("slider", "picture"), "slider": widget("style"), "picture": widget(), "style": widget()}
    assert saved(tmp_path, notebook(["box"], box)) == box
    for _ in range(2):  # two days later, too
        assert saved(tmp_path, notebook(["box"], {})) == box
    bare = notebook(["box"], {})
    del bare["metadata"]["widgets"]
    assert saved(tmp_path, bare) == box
    assert bare["metadata"]["widgets"][STATE]["version_major"] == 2


def test_a_cell_that_was_run_again_shows_its_new_widget_and_drops_the_old_one(tmp_path: Path) -> None:
    saved(tmp_path, notebook(["box", "bar"], {"box": widget("old"), "old": widget(), "bar": widget()}))
    after = saved(tmp_path, notebook(["box2", "bar"], {"box2": widget("new"), "new": widget(), "hidden": widget()}))
    assert after == {"box2": widget("new"), "new": widget(), "bar": widget()}
    newer = {"box2": widget("newer"), "newer": widget()}
    assert saved(tmp_path, notebook(["box2"], newer)) == newer


def test_widgets_that_hold_each_other_end(tmp_path: Path) -> None:
    circle = {"a": widget("b"), "b": widget("a")}
    assert saved(tmp_path, notebook(["a"], circle)) == circle


def test_a_notebook_that_shows_none_has_none(tmp_path: Path) -> None:
    assert saved(tmp_path, notebook(["gone"], {"hidden": widget()})) is None


@pytest.mark.parametrize("before", ["", "[]", "{}", '{"metadata": {"widgets": 3}}'])
def test_a_damaged_file_is_no_reason_not_to_save(before: str, tmp_path: Path) -> None:
    (tmp_path / "lesson.ipynb").write_text(before)
    assert saved(tmp_path, notebook(["a"], {"a": widget()}), "lesson.ipynb") == {"a": widget()}


def test_other_files_are_not_looked_at() -> None:
    for model in ({"type": "file", "content": "text"}, {"type": "notebook"}, {"type": "notebook", "content": None}):
        before = json.dumps(model)
        keep_widgets(model=model, path="x", contents_manager=None)
        assert json.dumps(model) == before
