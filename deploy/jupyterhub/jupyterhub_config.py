"""MetaFace on one server: every learner is a system user, and nbgrader's exchange connects them.

README.md beside this file says how to set the server up. Start it with: jupyterhub -f jupyterhub_config.py
"""

import grp
import os
import sys
from pathlib import Path

LEARNERS = "metaface"  # the system group of everybody who can log in
INSTRUCTORS = "metaface-instructors"  # the system group of those who also get nbgrader's formgrader
HERE = Path(__file__).resolve().parent

c = get_config()  # noqa: F821 (JupyterHub defines it)

# Only this machine can reach the hub. A proxy with TLS goes in front of it, so that passwords are encrypted.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# The system's users log in with their own passwords.
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {LEARNERS}

# Each user gets a server that runs as that user, with the Python in which the course is installed.
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.cmd = [sys.executable, str(HERE / "singleuser.py")]
c.Spawner.notebook_dir = "~"
c.Spawner.default_url = "/lab/tree/metaface/00_start_here.ipynb"
c.Spawner.http_timeout = c.Spawner.start_timeout = 120


def configure(spawner):
    """Give everyone the shared configuration, and students one that removes the instructor's tools from their menus."""
    instructors = grp.getgrnam(INSTRUCTORS).gr_mem
    folders = ["everyone"] if spawner.user.name in instructors else ["students", "everyone"]
    spawner.environment = {
        **spawner.environment,
        "JUPYTER_CONFIG_PATH": ":".join(str(HERE / folder) for folder in folders),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # `metaface` and `nbgrader` in their terminals
        "JUPYTER_PREFER_ENV_PATH": "1",  # ours wins over a kernel of the same name that the user installed
    }


c.Spawner.pre_spawn_hook = configure
