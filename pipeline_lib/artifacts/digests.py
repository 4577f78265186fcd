"""Hashes of files, folders and values; they identify the inputs of an artefact."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def digest_files(files: Iterable[Path]) -> str:
    """Return a hash of the files' paths and contents."""
    return _digest((path.as_posix(), path) for path in sorted(files))


def digest_folder(folder: Path) -> str:
    """Return a hash of the relative paths and contents of a folder's files; ValueError if the folder does not exist."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such file or folder; run `dvc repro` to create it")
    files = (path for path in sorted(folder.rglob("*")) if path.name not in (".gitignore", ".gitkeep"))
    return _digest((path.relative_to(folder).as_posix(), path) for path in files if path.is_file())


def digest_path(path: Path) -> str:
    """Return `digest_folder` of a folder, or a hash of a file's path and content; ValueError if it does not exist."""
    return digest_files([path]) if path.is_file() else digest_folder(path)


def digest_value(value: object) -> str:
    """Return a hash of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _digest(named: Iterable[tuple[str, Path]]) -> str:
    total = hashlib.sha256()
    for name, path in named:
        total.update(f"{name}\0".encode())
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]
