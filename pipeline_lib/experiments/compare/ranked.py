"""Tasks that rank a gallery: text to image, image to text and composed queries, whose figures come from ranks."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from pipeline_lib.evaluation.additive import rank_columns
from pipeline_lib.experiments.compare.parts import (
    PRODUCTS,
    QUERIES,
    SHOWN,
    Answer,
    Part,
    Parts,
    RunsOfSettings,
    System,
    Values,
)
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.compare.test_sets import Overlap, Place, RunPair, rows_alone, splits_alike
from pipeline_lib.metrics.gallery_ranks import SUBSET
from pipeline_lib.metrics.ranking import CUTOFFS, rank_statistic, ranks_of

TEXT_TASKS = ("text_to_image", "image_to_text", SUBSET)
COMPOSED = "composed_"
RANK_KEY = ["fold", "query_id"]
MEASURED_ON = {
    "num_gallery": "the size of the gallery",
    "num_right": "the number of right answers",
    "group_id": "the group",
}


def text_tasks(run: Run) -> list[str]:
    """Return the directions that a run has ranks of, and subsets; corrections of hubness are no tasks of their own."""
    ranked = set(run.ranks["direction"].unique())
    return [task for task in TEXT_TASKS if task in ranked]


def composed_tasks(run: Run) -> list[str]:
    """Return the kinds of composed models that a run has ranks of, in the gallery and within subsets."""
    return sorted(task for task in run.ranks["direction"].unique() if task.startswith(COMPOSED))


def ranks_alike(pair: RunPair, task: str) -> Overlap:
    """Return the splits in which two runs ranked the same queries in the same gallery."""
    return splits_alike(pair, task, _rows_of, _differences)


def ranked_parts(split: str, task: str, settings: RunsOfSettings) -> Parts:
    """Return the part of one split; the runs of all settings must have been measured alike in it."""
    tables = [
        [_rows_of(run, task).filter(pl.col("split") == split).sort(RANK_KEY) for run in runs] for runs in settings
    ]
    ranks = [[ranks_of(table) for table in row] for row in tables]
    pooled = float(np.median(np.concatenate([one.expected() for row in ranks for one in row])))
    systems: list[list[System]] = []
    for row in ranks:
        systems.append([])
        for one in row:
            hits = {f"R@{k}": one.hits(k) for k in CUTOFFS}
            mean = np.mean(list(hits.values()), axis=0)
            by_unit = hits | {"MeanRecall": mean, "mean_rank": one.expected()}
            systems[-1].append(System(rank_statistic(one), rank_columns(one, pooled), by_unit, one))
    units = tables[0][0].select(pl.col("query_id").alias("unit_id"), "fold", "group_id", "num_right", "num_gallery")
    described = PRODUCTS if task == "image_to_text" else QUERIES
    return Parts([Part(split, task, units, systems, "MeanRecall", described)], [])


def log_ranks(part: Part, setting: int) -> Values:
    """Return the mean logarithm of the ranks over a setting's runs, (units,): 1 to 10 is as much as 10 to 100."""
    return np.asarray(np.mean([np.log(system.by_unit["mean_rank"]) for system in part.systems[setting]], axis=0))


def ranked_answer(part: Part, run: Run, row: int, loss: float) -> Answer:
    """Return the rank of a query and the best products of a run."""
    unit, fold = part.units.select("unit_id", "fold").row(row)
    best = run.rankings.filter(
        pl.col("direction") == part.task.removesuffix("_subset"),
        pl.col("query_id") == unit,
        pl.col("split") == part.split,
        _of_fold(fold),
    )
    return Answer(best.sort("rank")["product_id"].head(SHOWN).to_list(), rank=float(np.exp(loss)))


def relevant(part: Part, run: Run, row: int) -> list[str]:
    """Return the right answers of a query in the gallery of its split and fold, or the product that was asked for."""
    unit, fold = part.units.select("unit_id", "fold").row(row)
    if part.table == PRODUCTS:
        return [unit]
    answers = run.tables["relevance"].filter(pl.col("grade") > 0, pl.col("query_id") == unit)
    gallery = run.tables["folds"].select("product_id", "split", "fold")
    here = pl.col("split").eq("test" if part.split == "test" else "train") & _of_fold(fold)
    ids: list[str] = answers.join(gallery, on="product_id", how="left").filter(here)["product_id"].to_list()
    return ids


def _rows_of(run: Run, task: str) -> pl.DataFrame:
    return run.ranks.filter(pl.col("direction") == task)


def _differences(pair: RunPair, place: Place, tables: list[pl.DataFrame]) -> Iterator[str]:
    split, task = place
    yield from (f"{split}: {line}" for line in pair.tables[split])
    yield from (f"{split}, {task}: {line}" for line in _rows_differ(pair, tables))


def _rows_differ(pair: RunPair, tables: list[pl.DataFrame]) -> Iterator[str]:
    yield from rows_alone("queries", tables, RANK_KEY, "query_id", pair.names)
    both = tables[0].join(tables[1], on=RANK_KEY, nulls_equal=True, suffix="_b")
    for column, meaning in MEASURED_ON.items():
        other = both.filter(pl.col(column) != pl.col(f"{column}_b")).sort("query_id")
        if other.height:
            query, one, two = other.select("query_id", column, f"{column}_b").row(0)
            sides = f"{query}: {one} in {pair.names[0]}, {two} in {pair.names[1]}"
            yield f"{meaning} of {other.height:,} queries differs ({sides})"


def _of_fold(fold: int | None) -> pl.Expr:
    return pl.col("fold").eq_missing(pl.lit(fold, pl.Int64))
