"""Reads what a run left behind: ranks, class scores, its test set and its settings; of a revision, or of the workspace.

Tables of the catalogue are the same files in most runs that are compared, so each content is parsed once.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import check_columns, parse_json, reading
from pipeline_lib.artifacts.schemas import (
    CLASS_SCORES_SCHEMA,
    COMPOSED_BEST_SCHEMA,
    JUDGED_QUERIES_SCHEMA,
    RANKINGS_SCHEMA,
    RANKS_SCHEMA,
    Schema,
)
from pipeline_lib.experiments.revisions import WORKSPACE, one_line_errors
from pipeline_lib.params.section import parse_params

RANKS, SCORES = paths.EVALUATION / "ranks.parquet", paths.ENSEMBLE / "class_scores.parquet"
CLASSES, PARAMS = paths.ENSEMBLE / "classes.json", Path("params.yaml")
RANKINGS, COMPOSED_BEST = paths.ENSEMBLE / "rankings.parquet", paths.EVALUATION / "composed_best.parquet"
# Table of the catalogue -> its columns that say what is measured.
TABLES: dict[Path, Schema] = {
    paths.CATALOGUE / "products.parquet": {
        "product_id": pl.String,
        "media": pl.List(pl.String),
        "text": pl.String,
        "label": pl.String,
    },
    paths.CATALOGUE / "media.parquet": {"product_id": pl.String, "content": pl.List(pl.String)},
    paths.CATALOGUE / "queries.parquet": {
        "query_id": pl.String,
        "kind": pl.String,
        "text": pl.String,
        "reference_product_id": pl.String,
        "subset": pl.List(pl.String),
    },
    paths.CATALOGUE / "relevance.parquet": {"query_id": pl.String, "product_id": pl.String, "grade": pl.Int64},
    paths.CATALOGUE / "query_slices.parquet": {"query_id": pl.String, "slice": pl.String},
    paths.FOLDS / "folds.parquet": {"product_id": pl.String, "split": pl.String, "fold": pl.Int64},
}
FILES = (RANKS, SCORES, CLASSES, PARAMS, *TABLES)
Read = Callable[[Path], bytes]


@dataclass(frozen=True)
class Run:
    """The results of one run and what they were measured on.

    `read` gives the bytes of another file of that run; FileNotFoundError for one that it does not have.
    """

    name: str
    ranks: pl.DataFrame
    scores: pl.DataFrame
    classes: list[str]
    params: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame]
    read: Read

    @cached_property
    def rankings(self) -> pl.DataFrame:
        """Return COMPOSED_BEST_SCHEMA rows: the best products of each text query, and of each composed one."""
        text = _table(self.name, RANKINGS, self.read(RANKINGS), RANKINGS_SCHEMA)
        composed = [] if not self.params["plan"].get("composed") else [self._composed_best()]
        named = text.select(pl.lit("text_to_image").alias("direction"), *RANKINGS_SCHEMA)
        return pl.concat([named, *composed])

    def judged(self, fold: int) -> pl.DataFrame | None:
        """Return JUDGED_QUERIES_SCHEMA rows of a fold of plan.judged; None of an older version, which has no table."""
        if fold not in self._judged:
            file = paths.judged_of(fold) / paths.JUDGED_QUERIES
            try:
                data = self.read(file)
            except FileNotFoundError:
                self._judged[fold] = None
            else:
                self._judged[fold] = _table(self.name, file, data, JUDGED_QUERIES_SCHEMA)
        return self._judged[fold]

    @cached_property
    def _judged(self) -> dict[int, pl.DataFrame | None]:
        return {}

    def _composed_best(self) -> pl.DataFrame:
        best = _table(self.name, COMPOSED_BEST, self.read(COMPOSED_BEST), COMPOSED_BEST_SCHEMA)
        return best.select(*COMPOSED_BEST_SCHEMA)


def read_run(revision: str, project: Path = Path()) -> Run:
    """Return the results of a git revision or of a DVC experiment, by name; `workspace` is the working tree.

    Raises ValueError for an unknown revision, and for files that neither DVC's cache nor a remote has.
    """
    if revision == WORKSPACE:
        missing = next((file for file in FILES if not (project / file).is_file()), None)
        if missing is not None:
            raise ValueError(f"{project / missing}: no such file; run `dvc repro`")
        read = _workspace_reader(project)
    else:
        read = _revision_reader(revision, project)
    contents = {file: read(file) for file in FILES}
    return Run(
        revision,
        _table(revision, RANKS, contents[RANKS], RANKS_SCHEMA),
        _table(revision, SCORES, contents[SCORES], CLASS_SCORES_SCHEMA),
        parse_json(contents[CLASSES], CLASSES, list[str]),
        _params(revision, contents[PARAMS]),
        {file.stem: PARSED.of(revision, file, contents[file]) for file in TABLES},
        read,
    )


def _params(revision: str, content: bytes) -> dict[str, Any]:
    """Return the params of a run; ValueError if they are no YAML, or lack a section that is compared."""
    params = parse_params(content, f"{revision}: {PARAMS}")
    for section in ("train", "plan", "evaluate"):
        if not isinstance(params.get(section), dict):
            raise ValueError(f"{revision}: {PARAMS}: {section} is no mapping of settings; run that revision again")
    return params


def _workspace_reader(project: Path) -> Read:
    return lambda file: (project / file).read_bytes()


def _revision_reader(revision: str, project: Path) -> Read:
    from dvc.api import DVCFileSystem  # slow to import, and not needed for the working tree

    with one_line_errors(revision, "its list of files"):
        stored = DVCFileSystem(str(project), rev=revision)

    def read(file: Path) -> bytes:
        with one_line_errors(revision, file.as_posix()):
            try:
                content: bytes = stored.read_bytes(file.as_posix())
                return content
            except FileNotFoundError:
                if stored.exists(file.as_posix()):  # known, and in no cache
                    raise
        raise FileNotFoundError(f"{revision}: it has no {file}; run that revision again")

    return read


def _table(revision: str, file: Path, data: bytes, columns: Schema) -> pl.DataFrame:
    with reading(file):
        table = pl.read_parquet(io.BytesIO(data))
    if missing := sorted(columns.keys() - set(table.columns)):
        raise ValueError(
            f"{revision}: {file} lacks {', '.join(missing)}: another version of the code wrote it; run that revision "
            "again with this one"
        )
    check_columns(file, table.schema)
    return table


class _Parsed:
    """Tables by their file and bytes, so that runs of one catalogue share them."""

    def __init__(self) -> None:
        self._tables: dict[tuple[Path, bytes], pl.DataFrame] = {}

    def of(self, revision: str, file: Path, data: bytes) -> pl.DataFrame:
        key = (file, hashlib.sha256(data).digest())
        if key not in self._tables:
            columns = TABLES[file]
            self._tables[key] = _table(revision, file, data, columns).select(*columns)
        return self._tables[key]


PARSED = _Parsed()
