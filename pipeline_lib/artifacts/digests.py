"""Hashes of files, folders and values; they identify the inputs of an artefact."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def digest_files(files: Iterable[Path]) -> str:
    """Return a hash of the files' paths and contents."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.as_posix()}\0".encode())
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]


def digest_folder(folder: Path) -> str:
    """Return a hash of the relative paths and contents of a folder's files; ValueError if the folder does not exist."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; run `dvc repro` to create it")
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (".gitignore", ".gitkeep"):
            total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]


def digest_value(value: object) -> str:
    """Return a hash of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
