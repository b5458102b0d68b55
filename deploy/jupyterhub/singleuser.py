"""What runs as the user when they log in: their lessons are brought up to date, then their server starts."""

import os
import sys
from pathlib import Path

from jupyterhub.singleuser import main

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.workspace import prepare

os.environ["JUPYTER_RUNTIME_DIR"] = str(Path.home() / ".runtime")  # short: the name of a socket has 107 bytes at most
Path.home().chmod(0o700)  # nobody else on this machine reads what a learner writes, nor an instructor's seed
try:
    prepare()
except MetaFaceError as error:  # a full disk must not lock its owner out
    print(f"metaface: {error}", file=sys.stderr)
main()
