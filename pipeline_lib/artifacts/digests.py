"""Hashes of files, folders and values; they identify the inputs of an artefact."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path


def digest_file(path: Path) -> bytes:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


# Returns `digest_file` of a file, perhaps without reading it.
DigestFile = Callable[[Path], bytes]


def digest_folder(folder: Path, digest: DigestFile = digest_file) -> str:
    """Return a hash of the relative paths and contents of a folder's files; ValueError if the folder does not exist."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such file or folder; run `dvc repro` to create it")
    files = (path for path in sorted(folder.rglob("*")) if path.name not in (".gitignore", ".gitkeep"))
    return _combine(((path.relative_to(folder).as_posix(), path) for path in files if path.is_file()), digest)


def digest_path(path: Path, digest: DigestFile = digest_file) -> str:
    """Return `digest_folder` of a folder, or a hash of a file's path and content; ValueError if it does not exist."""
    return _combine([(path.as_posix(), path)], digest) if path.is_file() else digest_folder(path, digest)


def digest_value(value: object) -> str:
    """Return a hash of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _combine(named: Iterable[tuple[str, Path]], digest: DigestFile) -> str:
    total = hashlib.sha256()
    for name, path in named:
        total.update(f"{name}\0".encode())
        total.update(digest(path))
    return total.hexdigest()[:16]
