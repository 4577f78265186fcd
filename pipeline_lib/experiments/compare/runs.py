"""Compares two runs by their ranks and class predictions, so far as both have the same queries and products."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA, RANKS_SCHEMA, Schema
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, common_splits
from pipeline_lib.experiments.compare.products import KEY as PRODUCT_KEY
from pipeline_lib.experiments.compare.products import compare_products
from pipeline_lib.experiments.compare.queries import KEY as QUERY_KEY
from pipeline_lib.experiments.compare.queries import compare_queries
from pipeline_lib.experiments.revisions import WORKSPACE, one_line_errors

TEXT_DIRECTIONS = {"text_to_image", "image_to_text"}
FILES = (
    paths.EVALUATION / "ranks.parquet",
    paths.ENSEMBLE / "class_scores.parquet",
    paths.ENSEMBLE / "classes.json",
)


@dataclass(frozen=True)
class Run:
    """The results of one run: a rank for each query, class scores for each product, and the classes."""

    ranks: pl.DataFrame
    scores: pl.DataFrame
    classes: list[str]


def read_run(revision: str, project: Path = Path()) -> Run:
    """Return the results of a git revision or of a DVC experiment, by name; `workspace` is the working tree.

    Raises ValueError for an unknown revision, and for files that neither DVC's cache nor a remote has.
    """
    if revision == WORKSPACE:
        missing = next((file for file in FILES if not (project / file).is_file()), None)
        if missing is not None:
            raise ValueError(f"{project / missing}: no such file; run `dvc repro`")
        ranks, scores, classes = ((project / file).read_bytes() for file in FILES)
    else:
        from dvc.api import DVCFileSystem  # slow to import, and not needed for the working tree

        with one_line_errors(revision, f"{FILES[0].as_posix()} or a file of {paths.ENSEMBLE.as_posix()}"):
            stored = DVCFileSystem(str(project), rev=revision)
            ranks, scores, classes = (stored.read_bytes(file.as_posix()) for file in FILES)
    return Run(
        _table(revision, FILES[0], ranks, RANKS_SCHEMA),
        _table(revision, FILES[1], scores, CLASS_SCORES_SCHEMA),
        json.loads(classes),
    )


def compare_runs(a: Run, b: Run) -> tuple[pl.DataFrame, list[str]]:
    """Return COMPARISON_SCHEMA rows of all that both runs have, and a line for each part that only one has.

    Raises ValueError if the runs have nothing in common.
    """
    tables, left_out = [pl.DataFrame(schema=COMPARISON_SCHEMA)], []
    for own, other in _kinds_of_ranks(a.ranks, b.ranks):
        composed = next(iter({*own["direction"], *other["direction"]} - TEXT_DIRECTIONS), None)
        if composed and (own.is_empty() or other.is_empty()):
            left_out.append(f"{composed} is left out: only {'b' if own.is_empty() else 'a'} has it")
            continue
        same, missing = common_splits(own, other, QUERY_KEY, "queries")
        left_out += [f"{composed}, {line}" if composed else line for line in missing]
        if same:
            tables.append(compare_queries(_of(own, same), _of(other, same)))
    same, missing = common_splits(a.scores, b.scores, PRODUCT_KEY, "products")
    left_out += [f"classification, {line}" for line in missing]
    if same and a.classes != b.classes:
        left_out.append(
            f"classification is left out: a predicts {len(a.classes)} classes, b {len(b.classes)} other ones"
        )
    elif same:
        tables.append(compare_products(_of(a.scores, same), _of(b.scores, same), a.classes))
    rows = pl.concat(tables)
    if rows.is_empty():
        why = "; ".join(left_out) or "neither has a rank or a labelled prediction"
        raise ValueError(f"the runs have nothing to compare: {why}; compare runs of one catalogue, split, plan.folds")
    return rows, left_out


def _kinds_of_ranks(a: pl.DataFrame, b: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the ranks of both runs: of texts in both directions, then of each kind of composed retrieval."""
    both = [pl.col("direction").is_in(sorted(TEXT_DIRECTIONS))]
    composed = sorted({*a["direction"], *b["direction"]} - TEXT_DIRECTIONS)
    for rows in both + [pl.col("direction") == name for name in composed]:
        yield a.filter(rows), b.filter(rows)


def _table(revision: str, file: Path, data: bytes, columns: Schema) -> pl.DataFrame:
    table = pl.read_parquet(io.BytesIO(data))
    if missing := sorted(columns.keys() - set(table.columns)):
        raise ValueError(
            f"{revision}: {file} lacks {', '.join(missing)}: another version of the code wrote it; run that revision "
            "again with this one"
        )
    return table


def _of(table: pl.DataFrame, splits: list[str]) -> pl.DataFrame:
    return table.filter(pl.col("split").is_in(splits))
