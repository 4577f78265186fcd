"""Who made an artefact: import closures, fingerprints, and the guard every stage runs under.

DVC hashes a stage's code and params after its command (treeverse/dvc#11058), so a run whose sources changed underway
would be recorded under the wrong ones. The guard takes both at the start and fails the stage if they moved.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pipeline_lib.params.section import Section, load_params, parse_section, parse_value, pick

if TYPE_CHECKING:
    from polars import DataFrame

PACKAGES = ("pipeline_lib", "stages")
PR_SET_PDEATHSIG = 1
ROW_GROUP = 100_000

SectionT = TypeVar("SectionT", bound=Section)
ValueT = TypeVar("ValueT")


def import_closure(module: str, root: Path = Path()) -> list[Path]:
    """Return the project's own source files that importing `module` can reach, found without executing anything."""
    waiting, seen = [module], dict[str, Path]()
    while waiting:
        name = waiting.pop()
        path = _source_of(name, root)
        if name in seen or path is None:
            continue
        seen[name] = path
        waiting.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(set(seen.values()))


def _source_of(module: str, root: Path) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def digest_files(files: Iterable[Path]) -> str:
    """Return a hash of the files' names and contents, read in blocks."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.as_posix()}\0".encode())
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]


def digest_folder(folder: Path) -> str:
    """Return a hash of a folder's files by relative name and content; ValueError if there is no such folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; `dvc repro` makes it")
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


class Stage:
    """One run of a stage: the params it asked for and the code it started with."""

    def __init__(self, module: str, root: Path = Path()) -> None:
        self.module = module
        self._params = load_params(root / "params.yaml")
        self._root = root
        self._asked: dict[str, Any] = {}
        self._code = digest_files(import_closure(module, root))

    def section(self, kind: type[SectionT]) -> SectionT:
        """Return a checked section of params.yaml; it must be declared in dvc.yaml (a test compares)."""
        self._asked[kind.section] = pick(self._params, kind.section)
        return parse_section(kind, self._params)

    def value(self, key: str, kind: type[ValueT]) -> ValueT:
        """Return one checked value of params.yaml by its dotted key; declared likewise."""
        self._asked[key] = pick(self._params, key)
        return parse_value(key, kind, self._params)

    def fingerprint(self, *inputs: Path, **identity: object) -> str:
        """Return the identity of this run: code, asked params, content of input folders, fold and the like."""
        folders = {path.as_posix(): digest_folder(path) for path in inputs}
        return digest_value([self._code, self._asked, folders, identity])

    def check_unchanged(self) -> None:
        """Raise ValueError if this stage's code or params are no longer what it started with."""
        now = load_params(self._root / "params.yaml")
        moved = [key for key, value in self._asked.items() if pick(now, key) != value]
        if digest_files(import_closure(self.module, self._root)) != self._code:
            moved.append("the code")
        if moved:
            raise ValueError(
                f"{self.module}: {', '.join(moved)} changed while the stage ran; its outs would be recorded under "
                "the new state. Not recorded: run `dvc repro` again"
            )


def die_with_parent() -> None:
    """Have the kernel end this process when its parent is killed: no orphan trains on, or holds a terminal open."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux: an orphan is possible, nothing worse
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def stage(module: str) -> Iterator[Stage]:
    """Run a stage's body: die with dvc, print bad input as one line with exit status 1, check that nothing moved."""
    die_with_parent()
    try:
        run = Stage(module)
        yield run
        run.check_unchanged()
    except (ValueError, OSError) as error:
        if os.environ.get("VITRINE_TRACEBACK"):
            raise
        print(f"{module}: error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def leave(status: int = 0) -> NoReturn:
    """End this process at once, whose outs are written: to take torch and all it loaded apart takes 1.4 seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` and put it in its place at the end, so that a killed stage leaves no half."""
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    yield half
    if out.exists():
        shutil.rmtree(out)
    half.rename(out)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever a library raises over a file it cannot write (a full disk, say) into one OSError naming it."""
    try:
        yield
    except Exception as error:  # torch, safetensors, faiss and polars each raise a kind of their own
        raise OSError(
            f"{path}: cannot be written: {' '.join(str(error).split())[:200]}; make room and run `dvc repro` again, "
            "finished stages and epochs are kept"
        ) from error


def write_table(frame: DataFrame, path: Path) -> None:
    """Write a polars frame as the suffix says, .csv or .parquet; OSError where there is no room."""
    with writing(path):
        if path.suffix == ".csv":
            frame.write_csv(path)
        else:
            # Every choice that would change the file's bytes is spelled out.
            frame.rechunk().write_parquet(
                path, compression="zstd", compression_level=3, statistics=True, row_group_size=ROW_GROUP
            )


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes; NaN is refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
