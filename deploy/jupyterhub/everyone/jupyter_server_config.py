"""For every user's server: its kernels talk over sockets in the user's home.

Over TCP, which is the default, any user of the machine could listen to what another's kernel prints.
"""

c = get_config()  # noqa: F821 (Jupyter defines it)

c.ConnectionFileMixin.transport = "ipc"
