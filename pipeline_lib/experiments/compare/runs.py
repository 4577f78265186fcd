"""Is one run better than another, or is it chance? Two revisions' ranks and class probabilities, side by side."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA, RANKS_SCHEMA, Schema
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, common_splits
from pipeline_lib.experiments.compare.products import CLASSIFICATION, compare_products
from pipeline_lib.experiments.compare.products import KEY as PRODUCT_KEY
from pipeline_lib.experiments.compare.queries import KEY as QUERY_KEY
from pipeline_lib.experiments.compare.queries import compare_queries
from pipeline_lib.experiments.revisions import WORKSPACE, at_hand
from pipeline_lib.metrics.ranking import FALLING_FIGURES

TITLES = {"text_to_image": "text > image", "image_to_text": "image > text", CLASSIFICATION: CLASSIFICATION}
FILES = (
    paths.EVALUATION / "ranks.parquet",
    paths.ENSEMBLE / "probabilities.parquet",
    paths.ENSEMBLE / "classes.json",
)


@dataclass(frozen=True)
class Run:
    """What a run said: a rank for each query, class probabilities for each product, and of which classes."""

    ranks: pl.DataFrame
    probabilities: pl.DataFrame
    classes: list[str]


def read_run(revision: str, project: Path = Path()) -> Run:
    """Return what a git revision or a DVC experiment, by name, said; `workspace` is the working tree.

    Raises ValueError if there is no such revision, or its files are neither in DVC's cache nor in a remote.
    """
    if revision == WORKSPACE:
        missing = next((file for file in FILES if not (project / file).is_file()), None)
        if missing is not None:
            raise ValueError(f"{project / missing}: no such file; run `dvc repro`")
        ranks, probabilities, classes = ((project / file).read_bytes() for file in FILES)
    else:
        from dvc.api import DVCFileSystem  # slow, and the working tree is read without it

        with at_hand(revision, f"{FILES[0].as_posix()} or what lies beside it is"):
            stored = DVCFileSystem(str(project), rev=revision)
            ranks, probabilities, classes = (stored.read_bytes(file.as_posix()) for file in FILES)
    return Run(
        _table(revision, FILES[0], ranks, RANKS_SCHEMA),
        _table(revision, FILES[1], probabilities, PREDICTIONS_SCHEMA),
        json.loads(classes),
    )


def _table(revision: str, file: Path, data: bytes, columns: Schema) -> pl.DataFrame:
    table = pl.read_parquet(io.BytesIO(data))
    if missing := sorted(columns.keys() - set(table.columns)):
        raise ValueError(
            f"{revision}: {file} lacks {', '.join(missing)}: another version of the code wrote it; run that revision "
            "again with this one"
        )
    return table


def compare_runs(a: Run, b: Run, resamples: int) -> tuple[pl.DataFrame, list[str]]:
    """Return COMPARISON_SCHEMA rows of all that both runs were asked, and a line for each thing they were not.

    Raises ValueError if there is nothing that both were asked.
    """
    tables, left_out = [pl.DataFrame(schema=COMPARISON_SCHEMA)], []
    same, told = common_splits(a.ranks, b.ranks, QUERY_KEY, "queries")
    left_out += told
    if same:
        tables.append(compare_queries(_of(a.ranks, same), _of(b.ranks, same), resamples))
    same, told = common_splits(a.probabilities, b.probabilities, PRODUCT_KEY, "products")
    left_out += [f"classification, {line}" for line in told]
    if same and a.classes != b.classes:
        left_out.append(f"classification is left out: a tells {len(a.classes)} classes, b {len(b.classes)} other ones")
    elif same:
        tables.append(compare_products(_of(a.probabilities, same), _of(b.probabilities, same), a.classes, resamples))
    rows = pl.concat(tables)
    if rows.is_empty():
        why = "; ".join(left_out) or "neither has a rank or a labelled prediction"
        raise ValueError(f"the runs were not asked the same: {why}; compare runs of one catalogue, split, plan.folds")
    return rows, left_out


def _of(table: pl.DataFrame, splits: list[str]) -> pl.DataFrame:
    return table.filter(pl.col("split").is_in(splits))


def compare_revisions(first: str, second: str, resamples: int, project: Path = Path()) -> Table:
    """Return the comparison of two revisions as a table for a terminal; see `compare_runs` and `read_run`."""
    rows, left_out = compare_runs(read_run(first, project), read_run(second, project), resamples)
    table = Table(title=f"a = {first}, b = {second}: 95 % of {resamples} paired resamples of b - a")
    table.caption = "\n".join(left_out) or None
    table.box = SIMPLE_HEAD
    for heading in ("metric", "a", "b", "b - a", "verdict"):
        table.add_column(heading, justify="right" if heading in ("a", "b", "b - a") else "left", no_wrap=True)
    before = ""
    for split, about, metric, a, b, _, low, high, said in rows.iter_rows():
        where = f"{split} {TITLES[about]}"
        digits = 1 if metric in FALLING_FIGURES else 4
        if where != before:
            table.add_row(where, style="bold")
        span = f"{low:+.{digits}f} .. {high:+.{digits}f}"
        table.add_row(f"  {metric}", f"{a:.{digits}f}", f"{b:.{digits}f}", span, said)
        before = where
    return table
