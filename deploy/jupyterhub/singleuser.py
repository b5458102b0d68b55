"""Runs as the user when they log in: it updates their lessons, then starts their server."""

import os
import sys
from pathlib import Path

from jupyterhub.singleuser import main

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.lab.workspace import lab_environment, prepare

os.environ["JUPYTER_RUNTIME_DIR"] = str(Path.home() / ".runtime")  # short: a socket's name has at most 107 bytes
os.environ["METAFACE_HOME"] = str(Path.home() / "metaface")  # as the address that the hub opens has it
os.environ.update(lab_environment())  # the course's kernel, its settings, and `metaface` in terminals
Path.home().chmod(0o700)  # nobody else can read a learner's work or an instructor's seed
try:
    prepare()
except MetaFaceError as error:  # a full disk must not keep its owner from logging in
    print(f"metaface: {error}", file=sys.stderr)
main()
