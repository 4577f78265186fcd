"""Stored hashes of large files, so that each stage does not read gigabytes again that have not changed.

As in git's index, a file is the same if its path, device, inode, size, modification time and change time are. No
program can set the change time back, so an edit whose modification time was restored is found. In doubt a file is
hashed again: if it changed just now or while it was read, or if its file system may not keep such times itself.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from time import time_ns
from typing import NamedTuple

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import PART
from pipeline_lib.artifacts.messages import one_line

FILE = paths.WORK / ".digests"
# Smaller files are hashed each time: a megabyte takes a millisecond.
MIN_BYTES = 2**20
# A file may change twice within the resolution of its times, which is 2 s at worst.
SETTLED_NS = 2 * 10**9
# Local file systems of Linux, where the kernel itself sets inodes and change times.
TRUSTED = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
FORMAT = b"vitrine digests 2 "
# Between a path and the kind of its hash; no path has it.
SEPARATOR = "\0"
# Files that this process has reported as impossible to write.
_reported: set[Path] = set()


class FileIdentity(NamedTuple):
    """What changes with a file's content: device, inode, bytes, and the times of modification and of change in ns."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class StoredDigest(NamedTuple):
    """The hash of a file as it was."""

    identity: FileIdentity
    digest: bytes


class DigestCache:
    """The hashes in a file, which may be missing or damaged, and those that this process has added."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stored = _read(file)
        self._added: dict[str, StoredDigest] = {}
        self._file_systems = _read_file_systems(Path("/proc/self/mountinfo"))

    def digest_file(self, path: Path) -> bytes:
        """Return the SHA-256 of a file's bytes, which are read only if it is small, new or changed."""
        return self.digest(path, "", lambda stream: hashlib.file_digest(stream, "sha256").digest())

    def digest(self, path: Path, kind: str, compute: Callable[[BufferedReader], bytes]) -> bytes:
        """Return what `compute` makes of a file's bytes alone; `kind` names how, and is empty for the SHA-256.

        `compute` gets the open file, and must give the same for the same bytes in every process.
        """
        with path.open("rb") as stream:
            now = time_ns()
            identity = _identity(os.fstat(stream.fileno()))  # of the file that is open, whatever takes its place
            if identity.size < MIN_BYTES or not self._is_trusted(stream.fileno()):
                return compute(stream)
            name = f"{path.resolve()}{SEPARATOR}{kind}"
            stored = self._stored.get(name)
            if stored is not None and stored.identity == identity:
                return stored.digest
            digest = compute(stream)
            is_settled = now - max(identity.modified, identity.changed) > SETTLED_NS
            if is_settled and _identity(os.fstat(stream.fileno())) == identity:
                self._stored[name] = self._added[name] = StoredDigest(identity, digest)
            return digest

    def save(self) -> None:
        """Add this process's hashes to those that are in the file by now, without those of files that are gone.

        What another process writes at the same moment may be lost, and is then computed again. Nothing is stored where
        the folder is missing, outside a project.
        """
        if not self._added or not self._file.parent.is_dir():
            return
        merged = _read(self._file) | self._added
        content = json.dumps(
            {name: [*one.identity, one.digest.hex()] for name, one in merged.items() if _is_now(name, one)}
        )
        part = self._file.with_name(f"{self._file.name}.{os.getpid()}.part")
        _remove_parts(self._file)
        try:
            part.write_bytes(_head(content.encode()) + b"\n" + content.encode())
            part.replace(self._file)
        finally:
            part.unlink(missing_ok=True)

    def _is_trusted(self, descriptor: int) -> bool:
        """Return whether an open file is in one of the file systems TRUSTED; False where the kernel does not say it."""
        try:
            about = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
        except OSError:
            return False
        mount = re.search(r"^mnt_id:\s*(\d+)$", about, re.MULTILINE)
        return mount is not None and self._file_systems.get(int(mount[1])) in TRUSTED


@contextlib.contextmanager
def stored_digests(file: Path) -> Iterator[DigestCache]:
    """Yield the hashes stored in a file, and save those added; if that is impossible, it is one line on stderr.

    A stage asks several times, and reports it once.
    """
    cache = DigestCache(file)
    try:
        yield cache
    finally:
        try:
            cache.save()
        except OSError as error:
            if file not in _reported:
                _reported.add(file)
                sys.stderr.write(
                    f"{file}: hashes are not stored, the next stage reads the files again: {one_line(error)}\n"
                )


def _identity(about: os.stat_result) -> FileIdentity:
    return FileIdentity(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def _is_now(name: str, stored: StoredDigest) -> bool:
    """Return whether a file is still the one whose hash is stored."""
    try:
        return _identity(Path(name.partition(SEPARATOR)[0]).stat()) == stored.identity
    except OSError:
        return False


def _head(content: bytes) -> bytes:
    """Return the first line of the file, by which a damaged one and one of another version are known."""
    return FORMAT + hashlib.sha256(content).hexdigest().encode()


def _read(file: Path) -> dict[str, StoredDigest]:
    """Return the stored hashes by resolved path and kind, none if the file is missing, damaged or of another format."""
    try:
        head, _, content = file.read_bytes().partition(b"\n")
    except OSError:
        return {}
    if head != _head(content):
        return {}
    entries = json.loads(content).items()
    return {name: StoredDigest(FileIdentity(*about), bytes.fromhex(digest)) for name, (*about, digest) in entries}


def _remove_parts(file: Path) -> None:
    """Remove what killed processes have left half written."""
    from pipeline_lib.artifacts.processes import is_running  # psutil takes a moment

    for path in file.parent.glob(f"{file.name}.*.part"):
        if (left := PART.match(path.name)) and not is_running(int(left[2])):
            path.unlink(missing_ok=True)


def _read_file_systems(mounts: Path) -> dict[int, str]:
    """Return the kind of file system of each mount by its number, as Linux lists them (proc_pid_mountinfo(5))."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    # 36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw
    return {int(line.split()[0]): line.partition(" - ")[2].split()[0] for line in lines}
