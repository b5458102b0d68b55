"""Runs a JupyterHub as deploy/jupyterhub sets it up, with temporary system users, through its REST API.

Everything that it makes on the machine (users, groups, homes, processes) is removed at the end, also after an error.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import websocket

from tests import others

DEPLOY = Path(__file__).resolve().parent.parent / "deploy" / "jupyterhub"
SECONDS = 120.0  # to wait for whatever should happen soon


def needs() -> list[str]:
    """What a hub with system users needs; mounts where this Python lies in a folder that is closed to others."""
    return ["root", "system users", "node", "configurable-http-proxy", "JupyterHub", *others.needs(_needed())]


@dataclass
class User:
    """A system user with a password, who acts only through their own server.

    hub: the hub's address.
    name: the user's.
    home: the user's folder.
    """

    hub: str
    name: str
    home: Path
    password: str = field(repr=False, default_factory=lambda: secrets.token_hex(16))
    api: requests.Session = field(default_factory=requests.Session)
    kernel: str = ""

    def log_in(self) -> None:
        """Log in with the form and the password, get a token for later requests, and start the user's server."""
        browser, xsrf = log_in_form(self.hub, self.name, self.password)
        made = browser.post(f"{self.hub}/hub/api/users/{self.name}/tokens", headers={"X-XSRFToken": xsrf}, json={})
        made.raise_for_status()
        self.api.headers["Authorization"] = f"token {made.json()['token']}"
        me = f"{self.hub}/hub/api/users/{self.name}"
        self.api.post(f"{me}/server").raise_for_status()
        wait_for(lambda: self.api.get(me).json()["servers"].get("", {}).get("ready"), f"the server of {self.name}")

    def url(self, path: str) -> str:
        """The address of a path on the user's server."""
        return f"{self.hub}/user/{self.name}/{path}"

    def get(self, path: str, **options: Any) -> Any:
        """The JSON at a path of the user's server. Raises `HTTPError`."""
        reply = self.api.get(self.url(path), **options)
        reply.raise_for_status()
        return reply.json()

    def post(self, path: str, **data: Any) -> Any:
        """Post data to a path of the user's server, and return the reply's JSON. Raises `HTTPError`."""
        reply = self.api.post(self.url(path), json=data)
        reply.raise_for_status()
        return reply.json()

    def read(self, path: str) -> str:
        """The text of a file below the user's home, through the contents API."""
        return str(self.get(f"api/contents/{path}", params={"type": "file", "format": "text"})["content"])

    def write(self, path: str, text: str) -> None:
        """Write a text file below the user's home, through the contents API."""
        model = {"type": "file", "format": "text", "content": text}
        self.api.put(self.url(f"api/contents/{path}"), json=model).raise_for_status()

    def run(self, command: str) -> tuple[int, str]:
        """Run a shell command in a kernel of the user's server. Returns its exit code and its output."""
        if not self.kernel:
            self.kernel = self.post("api/kernels", name="python3")["id"]
        code = (
            "import json, subprocess\n"
            f"done = subprocess.run({command!r}, shell=True, cwd={str(self.home)!r}, text=True,"
            " stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)\n"
            "print(json.dumps([done.returncode, done.stdout]))"
        )
        address = self.url(f"api/kernels/{self.kernel}/channels").replace("http", "ws", 1)
        authorization = f"Authorization: {self.api.headers['Authorization']!s}"
        channel = websocket.create_connection(address, header=[authorization], timeout=SECONDS)
        with contextlib.closing(channel):
            header = {"msg_id": secrets.token_hex(8), "msg_type": "execute_request", "username": "", "session": "test"}
            request = {"header": header | {"version": "5.3"}, "parent_header": {}, "metadata": {}, "channel": "shell"}
            channel.send(json.dumps(request | {"content": {"code": code, "silent": False, "store_history": False}}))
            said = ""
            while True:
                message = json.loads(channel.recv())
                if message["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                said += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
                if message["msg_type"] == "error":
                    raise AssertionError("\n".join(message["content"]["traceback"]))
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    code, output = json.loads(said)
                    return code, output


def log_in_form(hub: str, name: str, password: str) -> tuple[requests.Session, str]:
    """A browser session after the login form, and its token against forged requests. Raises `HTTPError`."""
    browser = requests.Session()
    browser.get(f"{hub}/hub/login").raise_for_status()
    form = {"username": name, "password": password, "_xsrf": _xsrf(browser)}
    browser.post(f"{hub}/hub/login", data=form, params={"next": "/hub/home"}).raise_for_status()
    return browser, _xsrf(browser)


def _xsrf(browser: requests.Session) -> str:
    return next(str(cookie.value) for cookie in browser.cookies if cookie.name == "_xsrf" and "hub" in cookie.path)


def wait_for(happened: Any, what: str) -> None:
    """Wait until a function returns something true. Fails after `SECONDS`, with `what` in the message."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not come within {SECONDS:g} s"
        time.sleep(0.2)


@contextlib.contextmanager
def running_hub(instructors: Sequence[str], students: Sequence[str]) -> Iterator[dict[str, User]]:
    """A running hub with a system user for each person. Yields the users by person; nobody has logged in yet.

    instructors, students: the names of the people.
    One more user, "stranger", is in no group of the course. After an error the hub's log is printed.
    """
    mark = f"mf{secrets.token_hex(3)}"
    learners, teachers = f"{mark}l", f"{mark}t"
    folder = Path(tempfile.mkdtemp(prefix="metaface-hub-"))
    folder.chmod(0o755)
    port, hub_port, proxy_port = _free_ports(3)
    hub = f"http://127.0.0.1:{port}"
    people = {who: User(hub, f"{mark}{who}", folder / "home" / who) for who in (*instructors, *students, "stranger")}
    log = folder / "hub.log"
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, folder)
        for group in (learners, teachers):
            _call("groupadd", group)
            undo.callback(_call, "groupdel", group)
        (folder / "home").mkdir()
        for who, user in people.items():
            groups = {"stranger": []}.get(who, [learners, teachers] if who in instructors else [learners])
            # As on many servers, others may read the homes.
            _call("useradd", "--create-home", "-K", "HOME_MODE=0755", "--home-dir", str(user.home), user.name)
            undo.callback(_remove, user.name)
            if groups:
                _call("usermod", "--append", "--groups", ",".join(groups), user.name)
            _call("chpasswd", input=f"{user.name}:{user.password}\n")
        exchange = folder / "exchange"
        exchange.mkdir()
        exchange.chmod(0o1777)  # as README.md says
        config = folder / "config.py"
        config.write_text(
            f"load_subconfig({str(DEPLOY / 'jupyterhub_config.py')!r})\n"
            f"c.JupyterHub.bind_url = {hub!r}\n"
            f"c.JupyterHub.hub_port = {hub_port}\n"
            f"c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{proxy_port}'\n"
            f"c.PAMAuthenticator.allowed_groups = {{{learners!r}}}\n"
            f"c.Spawner.pre_spawn_hook.__globals__['INSTRUCTORS'] = {teachers!r}\n"
            f"c.Spawner.environment = {{'NBGRADER_EXCHANGE': {str(exchange)!r}, 'OMP_NUM_THREADS': '1'}}\n"
        )
        command = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
        command = others.in_the_open(command, _needed(), folder)
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=_environment())
        undo.callback(_stop, process)
        try:
            wait_for(lambda: _answers(hub) or process.poll() is not None, "the hub")
            assert process.poll() is None, "the hub has ended"
            yield people
        except BaseException:
            print(log.read_text(errors="replace")[-20_000:])
            raise


def _environment() -> dict[str, str]:
    """The environment of the tests, without the variables that they set themselves."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("METAFACE_", "JUPYTER_"))}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _answers(hub: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{hub}/hub/api").ok
    return False


def _call(*command: str, input: str | None = None) -> None:
    subprocess.run(command, input=input, text=True, check=True, capture_output=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the hub. It ends its proxy and the users' servers."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove(user: str) -> None:
    """Remove a user of ours, and end all of their processes."""
    number = pwd.getpwnam(user).pw_uid
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if entry.stat().st_uid == number:
                os.kill(int(entry.name), signal.SIGKILL)
    _call("userdel", "--force", user)
    with contextlib.suppress(KeyError):  # some systems leave the user's own group
        grp.getgrnam(user)
        _call("groupdel", user)


def _needed() -> list[Path]:
    """The folders that the hub and its users need, besides Python and the course."""
    programs = (Path(shutil.which(name) or "/").resolve() for name in ("configurable-http-proxy", "node"))
    return [path.parent.parent for path in programs if path.parent.parent != Path("/usr")]
