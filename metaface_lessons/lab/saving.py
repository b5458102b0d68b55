"""A notebook that is saved keeps the last picture of each explorer and bar that it shows.

JupyterLab saves the widgets that a running kernel knows. After a restart it would save none: the pictures, still on
the page, would be gone when the notebook is opened next. So the server adds to each save the widgets that the outputs
show and that only the file on disk still has. Widgets that no output shows are left out: the file stays small.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
_REFERENCE = re.compile(r"IPY_MODEL_(\w+)")


def keep_widgets(model: dict[str, Any], path: str, contents_manager: Any, **_: Any) -> None:
    """Jupyter calls this before it writes a file.

    model: what will be written; its content is changed.
    path: where, from the folder that the server shows.
    contents_manager: the server's.
    """
    if model.get("type") != "notebook" or not model.get("content"):
        return
    try:
        before = json.loads(Path(contents_manager.root_dir, path.strip("/")).read_bytes())
        known = before["metadata"]["widgets"][STATE]["state"]
    except (OSError, ValueError, KeyError, TypeError):  # a new file, no notebook, or one without widgets
        known = {}
    widgets = model["content"]["metadata"].get("widgets", {}).get(STATE, {})
    known = known | widgets.get("state", {})
    shown: dict[str, Any] = {}
    waiting = [
        output["data"][VIEW]["model_id"]
        for cell in model["content"]["cells"]
        for output in cell.get("outputs", ())
        if VIEW in output.get("data", {})
    ]
    while waiting:
        if (name := waiting.pop()) in known and name not in shown:
            shown[name] = known[name]
            waiting += _REFERENCE.findall(json.dumps(known[name]))
    if shown:
        whole = {"version_major": 2, "version_minor": 0} | widgets | {"state": shown}
        model["content"]["metadata"]["widgets"] = {STATE: whole}
    else:
        model["content"]["metadata"].pop("widgets", None)
