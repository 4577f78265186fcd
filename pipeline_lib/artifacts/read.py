"""Reads the files of stages: one that is cut, empty, zeroed or of another shape is one line with its name.

Each library raises its own types for a damaged file (polars, safetensors, faiss, numpy, tokenizers), and most of its
messages do not name the file. Whatever it is, a reader here raises one ValueError with the file and the way out.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.messages import one_line

if TYPE_CHECKING:
    from polars import DataFrame
    from pydantic import TypeAdapter

ValueT = TypeVar("ValueT")
LONGEST = 200  # characters of a library's message
# DVC trusts read-only files of its cache; it hashes the others, removes those that are damaged, and makes them again.
RESTORE = "restore it with `chmod -R u+w .dvc/cache` and `dvc repro`"


def way_out(path: Path) -> str:
    """Return how to get a sound copy of a damaged file, by the folder that it is in.

    >>> way_out(Path("data/weights/clip/model.safetensors"))
    'copy or download it again'
    """
    if path.is_relative_to(paths.COPIES):
        return f"delete {paths.COPIES.as_posix()}, and it is copied again"
    if ": " in str(path):  # of an experiment
        return "run that revision again"
    if path.parent.name in (".dvc", "dvc") and path.name.startswith("config"):
        return "correct it: https://doc.dvc.org/command-reference/config"
    if path.is_relative_to(Path(".dvc/tmp")):
        return "delete it, and it is made again"
    if path.is_relative_to(paths.STARTS):
        return "`vitrine keep` it again, or copy it again"
    made = any(path.is_relative_to(folder) for folder in (paths.WORK, paths.REPORTS))
    return RESTORE if made else "copy or download it again"


def damaged(location: Path | str, reason: str) -> ValueError:
    """Return the error for a damaged file, local or at a URL."""
    return ValueError(f"{location}: damaged, or of another version ({reason}); {way_out(Path(location))}")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any exception while a library reads a file into one ValueError that names the file and the way out.

    An OSError that names its file (it is missing, or closed to us) stays.
    """
    try:
        yield
    except BaseException as error:
        # A panic of a library in Rust is no Exception; each library has its own class of this name.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise damaged(path, one_line(error, LONGEST)) from error


def read_table(path: Path, columns: Sequence[str] | None = None) -> DataFrame:
    """Return some or all columns of a Parquet table of a stage.

    ValueError if it is damaged, lacks a column, or has one of another type than stages write; OSError if it is missing.
    """
    import polars as pl

    from pipeline_lib.artifacts.paths import CATALOGUE, FOLDS
    from pipeline_lib.artifacts.schemas import TABLE_COLUMNS

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table; run `dvc repro`")
    with reading(path):
        frame = pl.read_parquet(path, columns=None if columns is None else list(columns))
    # Other folders have tables of the same names.
    required = TABLE_COLUMNS.get(path.name, ()) if path.parent.name in (CATALOGUE.name, FOLDS.name) else ()
    lacking = [name for name in required if columns is None and name not in frame.columns]
    if lacking:
        raise damaged(path, f"it has no column {lacking[0]!r}")
    check_columns(path, frame.schema)
    return frame


def check_columns(path: Path, columns: Mapping[str, Any]) -> None:
    """Raise ValueError for a column (name -> type) that has another type in every table of stages that has it."""
    from pipeline_lib.artifacts.schemas import CLIP_TYPES, CLIPS_TABLE, COLUMN_TYPES, FRAMES_TABLE

    types = CLIP_TYPES if path.name in (CLIPS_TABLE, FRAMES_TABLE) else COLUMN_TYPES
    for name, found in columns.items():
        known = types.get(name, ())
        if known and not any(_fits(found, kind) for kind in known):
            raise damaged(path, f"its column {name!r} is {found}, not {' or '.join(str(kind) for kind in known)}")


def _fits(found: Any, kind: Any) -> bool:
    """Return whether a type is that of a schema: of any width, of a fixed length for a list, or of nulls alone."""
    import polars as pl

    if isinstance(kind, pl.List):
        return found == pl.Null or (isinstance(found, pl.List | pl.Array) and _fits(found.inner, kind.inner))
    alike = (found.is_integer() and kind.is_integer()) or (found.is_float() and kind.is_float())
    return bool(found in (kind, pl.Null) or alike)


def read_json(path: Path, kind: type[ValueT]) -> ValueT:
    """Return the value of a JSON file, of a type as pydantic reads it: `list[str]`, a dataclass.

    ValueError for another shape and for a damaged file, OSError for one that is missing.
    """
    return parse_json(path.read_bytes(), path, kind)


def parse_json(data: bytes, path: Path | str, kind: type[ValueT]) -> ValueT:
    """Return the value of a JSON file's bytes; raises as `read_json`."""
    from pydantic import ValidationError

    try:
        value: ValueT = _adapter(cast(Hashable, kind)).validate_json(data, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise damaged(path, one_line(f"{where}: {fault['msg']}" if where else fault["msg"], LONGEST)) from None
    return value


def read_object(path: Path, **keys: type) -> dict[str, Any]:
    """Return the object of a JSON file; it must have the `keys`, with values of these types. Raises as `read_json`."""
    return parse_object(path.read_bytes(), path, **keys)


def parse_object(data: bytes, path: Path | str, **keys: type) -> dict[str, Any]:
    """Return the object of a JSON file's bytes; raises as `read_object`."""
    value: dict[str, Any] = parse_json(data, path, dict[str, Any])
    for key, kind in keys.items():
        if key not in value:
            raise damaged(path, f"it has no {key!r}")
        if not isinstance(value[key], kind):
            raise damaged(path, f"its {key!r} is no {kind.__name__}")
    return value


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
