"""Is one run better than another, or is it chance? A paired bootstrap over the queries both were asked.

Two runs differ by a point of recall for no reason often enough that a table of scores alone crowns noise. Here a
run is better only where the 95 % interval of the difference, over the same draws of the same queries, is clear of 0.
"""

from pathlib import Path

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipeline_lib import paths
from pipeline_lib.metrics.bootstrap import paired_differences
from pipeline_lib.metrics.ranking import FALLING_FIGURES, RANK_FIGURES, rank_statistic
from pipeline_lib.metrics.weighted import point
from pipeline_lib.revisions import WORKSPACE, at_hand

ARROWS = {"text_to_image": "text > image", "image_to_text": "image > text"}
KEY = ("split", "direction", "fold", "query_id")
COMPARISON_SCHEMA = {
    "split": pl.String,
    "direction": pl.String,
    "metric": pl.String,
    "a": pl.Float64,
    "b": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "verdict": pl.String,
}


def compare(ranks_a: pl.DataFrame, ranks_b: pl.DataFrame, resamples: int = 2000, seed: int = 7) -> pl.DataFrame:
    """Return COMPARISON_SCHEMA rows: for each split, direction and figure, b minus a, its interval and the verdict.

    Both frames are `ranks.parquet` of a run. Raises ValueError if they do not hold the same queries, because a mean
    over other queries is another figure.
    """
    missing, added = _apart(ranks_a, ranks_b)
    if missing or added:
        raise ValueError(
            f"the runs were not asked the same queries: {missing} only in a, {added} only in b, of {ranks_a.height} "
            f"and {ranks_b.height}; compare runs of one catalogue, split and plan.folds"
        )
    both = ranks_a.sort(KEY).join(ranks_b, on=KEY, how="inner", nulls_equal=True, suffix="_b", maintain_order="left")
    rows = []
    for (split, direction), part in both.group_by("split", "direction", maintain_order=True):
        first, second = (rank_statistic(part[column].to_numpy()) for column in ("rank", "rank_b"))
        values_a, values_b = point(first, part.height), point(second, part.height)
        differences = paired_differences(first, second, part.height, resamples, seed)
        for metric, a, b, found in zip(RANK_FIGURES, values_a, values_b, differences, strict=True):
            verdict = _verdict(metric, found.low, found.high)
            rows.append((split, direction, metric, a, b, found.difference, found.low, found.high, verdict))
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")


def common_splits(ranks_a: pl.DataFrame, ranks_b: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Return the splits in which both runs were asked the same queries, and a line for each other one.

    One fold against three is compared on the test split, for out of fold they were asked different queries.
    """
    same, told = [], []
    for split in sorted({*ranks_a["split"], *ranks_b["split"]}):
        a, b = (ranks.filter(pl.col("split") == split) for ranks in (ranks_a, ranks_b))
        missing, added = _apart(a, b)
        if missing or added:
            told.append(f"{split} is left out: {missing:,} queries only in a, {added:,} only in b")
        else:
            same.append(split)
    return same, told


def read_ranks(revision: str, project: Path = Path()) -> pl.DataFrame:
    """Return `ranks.parquet` of a git revision or a DVC experiment's name; `workspace` is the working tree.

    Raises ValueError if there is no such revision, or its ranks are neither in DVC's cache nor in a remote.
    """
    relative = (paths.EVALUATION / "ranks.parquet").as_posix()
    if revision == WORKSPACE:
        if not (project / relative).is_file():
            raise ValueError(f"{project / relative}: no such file; run `dvc repro`")
        return pl.read_parquet(project / relative)
    import dvc.api  # slow, and the working tree is read without it

    with (
        at_hand(revision, f"{relative} is"),
        dvc.api.open(relative, repo=str(project), rev=revision, mode="rb") as stream,
    ):
        return pl.read_parquet(stream.read())


def compare_revisions(first: str, second: str, resamples: int, project: Path = Path()) -> Table:
    """Return the comparison of two revisions' ranks as a table for a terminal; see `compare` and `read_ranks`."""
    ranks_a, ranks_b = read_ranks(first, project), read_ranks(second, project)
    same, left_out = common_splits(ranks_a, ranks_b)
    if same:  # else compare says what is wrong
        ranks_a, ranks_b = (ranks.filter(pl.col("split").is_in(same)) for ranks in (ranks_a, ranks_b))
    rows = compare(ranks_a, ranks_b, resamples)
    table = Table(title=f"a = {first}, b = {second}: 95 % of {resamples} paired resamples of b - a")
    table.caption = "\n".join(left_out) or None
    table.box = SIMPLE_HEAD
    for heading in ("metric", "a", "b", "b - a", "verdict"):
        table.add_column(heading, justify="right" if heading in ("a", "b", "b - a") else "left", no_wrap=True)
    before = ""
    for split, direction, metric, a, b, _, low, high, verdict in rows.iter_rows():
        where = f"{split} {ARROWS[direction]}"
        digits = 1 if metric in FALLING_FIGURES else 4
        span = f"{low:+.{digits}f} .. {high:+.{digits}f}"
        if where != before:
            table.add_row(where, style="bold")
        table.add_row(f"  {metric}", f"{a:.{digits}f}", f"{b:.{digits}f}", span, verdict)
        before = where
    return table


def _apart(ranks_a: pl.DataFrame, ranks_b: pl.DataFrame) -> tuple[int, int]:
    """Return how many queries only the first, and only the second, was asked."""
    missing = ranks_a.join(ranks_b, on=KEY, how="anti", nulls_equal=True).height
    return missing, ranks_b.join(ranks_a, on=KEY, how="anti", nulls_equal=True).height


def _verdict(metric: str, low: float, high: float) -> str:
    if low <= 0 <= high:
        return "not told apart"
    b_is_higher = low > 0
    return "b is better" if b_is_higher != (metric in FALLING_FIGURES) else "a is better"
