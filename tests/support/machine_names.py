"""Finds paths, host and user of the machine in artefacts; parquet, tar, sqlite and embedded pictures are unpacked."""

import base64
import getpass
import re
import socket
import sqlite3
import tarfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl
from other_machine import HOST, USER

# Those of the machine that runs the tests, if they are long enough not to be part of an ordinary word or number, and
# those of the machine that projects of tests believe they are on.
OWN = [name for name in (socket.gethostname(), getpass.getuser(), str(Path.home())) if len(name) > 5]
NAMES = [*OWN, HOST, USER]
EMBEDDED = re.compile(r"base64,([A-Za-z0-9+/=]+)")


def texts(path: Path) -> str:
    """Return what a file says: its bytes as Latin-1, so that any text in it is found, and what is packed in it."""
    plain = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        return plain + str(pl.read_parquet(path).to_dicts()) + repr(pl.read_parquet_metadata(path))
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            members = [(one.name, one.uname, one.gname, one.uid, one.gid, one.mtime) for one in tar.getmembers()]
        assert all(one[3:] == (0, 0, 0) for one in members)
        return plain + str(members)
    if path.suffix in (".db", ".sqlite"):
        with sqlite3.connect(path) as database:
            return plain + "".join(database.iterdump())
    return plain + "".join(base64.b64decode(found[1]).decode("latin-1") for found in EMBEDDED.finditer(plain))


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder and of its subfolders."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def naming(files: Iterable[Path], *names: str) -> dict[str, list[str]]:
    """Return file -> the names of a machine, or those given, that it has; none for a file without any."""
    wanted = [*NAMES, *names]
    # JSON escapes a slash or a letter that is not ASCII; as UTF-16, text has a zero byte after each letter.
    forms = {name: {name, name.replace("/", "\\/"), name.encode("utf-16-le").decode("latin-1")} for name in wanted}
    found = {}
    for path in files:
        content = texts(path)
        found[str(path)] = [name for name, own in forms.items() if any(form in content for form in own)]
    return {path: each for path, each in found.items() if each}
