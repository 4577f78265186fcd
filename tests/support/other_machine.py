"""Another machine: a host and a user whose names are long enough to be looked for in every artefact.

The names of the machine that runs the tests may be as short as `vm` and `root`, which are parts of words.
"""

import getpass
import os
import platform
import socket
from pathlib import Path

import pytest

HOST, USER = "build-host-of-somebody-42", "somebody-with-a-long-name"
HOME = f"/home/{USER}"
VARIABLES = {"USER": USER, "LOGNAME": USER, "USERNAME": USER, "HOSTNAME": HOST}
# A module that Python imports when it starts, from a folder of PYTHONPATH.
MODULE = "sitecustomize.py"
CODE = f"""
import os
import platform
import socket

_names = os.uname()
socket.gethostname = socket.getfqdn = platform.node = lambda *_: {HOST!r}
os.uname = lambda: type(_names)((_names.sysname, {HOST!r}, *_names[2:]))
os.getlogin = lambda: {USER!r}
"""


def write_module(folder: Path) -> None:
    """Let every Python that has a folder in its search path believe that it runs on the other machine."""
    (folder / MODULE).write_text(CODE, encoding="utf-8")


def seen_names() -> list[str]:
    """Return the names of host, user and home as this process sees them."""
    names = [socket.gethostname(), platform.node(), os.uname().nodename, getpass.getuser()]
    return [*names, os.environ.get("HOSTNAME", "")]


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process run on the other machine."""
    names = os.uname()
    for place, name in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node")):
        monkeypatch.setattr(place, name, lambda *_: HOST)
    monkeypatch.setattr(os, "uname", lambda: type(names)((names.sysname, HOST, *names[2:])))
    monkeypatch.setattr(os, "getlogin", lambda: USER)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert set(seen_names()) == {HOST, USER}
