"""For every user's server: its kernels use sockets in the user's home.

The default is TCP, over which any user of the machine could read what another user's kernel prints.
"""

c = get_config()  # noqa: F821 (Jupyter defines it)

c.ConnectionFileMixin.transport = "ipc"
