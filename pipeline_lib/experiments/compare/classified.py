"""The task classification: the labelled products of a split, whose figures come from class scores.

Runs are measured alike if their labelled products are. Which of these count depends on the classes that each run's
models learned, so a comparison is of those that count in all runs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from pipeline_lib.artifacts.messages import only_in
from pipeline_lib.evaluation.additive import class_columns
from pipeline_lib.evaluation.summary import MEASURED, labelled, published
from pipeline_lib.experiments.compare.parts import PRODUCTS, Answer, Part, Parts, RunsOfSettings, System, Values
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.compare.test_sets import Overlap, Place, RunPair, examples, rows_alone, splits_alike

CLASSIFICATION = "classification"
# The label is part of the key: a product whose label was corrected between two runs is another right answer.
SCORE_KEY = ["fold", "product_id", "label", "group_id"]


def class_tasks(run: Run) -> list[str]:
    """Return the task, if a run has scores of products whose label is a class that its models learned."""
    return [] if run.scores.filter(MEASURED).is_empty() else [CLASSIFICATION]


def classes_alike(pair: RunPair, task: str) -> Overlap:
    """Return the splits in which two runs classified the same products, none if they predict other classes."""
    classes, places = [run.classes for run in pair.runs], (f"in {pair.names[0]}", f"in {pair.names[1]}")
    if different := only_in(classes[0], classes[1], places):
        return Overlap(left_out=[f"{task} is left out: the runs predict other classes, {different}"])
    return splits_alike(pair, task, _rows_of, _differences)


def classified_parts(split: str, task: str, settings: RunsOfSettings) -> Parts:
    """Return the part of the products of one split that count in all runs, and a line that counts the others.

    The runs of all settings must have been measured alike in the split.
    """
    counted, left_out = _counted(split, task, [run for runs in settings for run in runs])
    if counted.is_empty():
        return Parts([], left_out)
    classes = settings[0][0].classes
    systems: list[list[System]] = []
    for runs in settings:
        systems.append([])
        for run in runs:
            rows = run.scores.join(counted, on="product_id", how="semi").sort("product_id")
            scores = labelled(rows, classes, split).scores
            by_unit = {f"top{k}": (scores.ranks < k).astype(np.float64) for k in (1, 3)}
            systems[-1].append(System(published(scores), class_columns(scores), by_unit))
    units = counted.sort("product_id").select(pl.col("product_id").alias("unit_id"), "fold", "group_id")
    return Parts([Part(split, task, units, systems, "top1", PRODUCTS)], left_out)


def wrong_classes(part: Part, setting: int) -> Values:
    """Return the share of a setting's runs that predict a wrong class, (units,)."""
    return 1 - part.values(setting, "top1")


def class_answer(part: Part, run: Run, row: int, loss: float) -> Answer:
    """Return the class that a run predicts for a product."""
    unit = part.units["unit_id"][row]
    found = run.scores.filter(pl.col("product_id") == unit, pl.col("split") == part.split)
    return Answer([], rank=1 + loss, predicted=str(found["predicted"][0]))


def classified_product(part: Part, run: Run, row: int) -> list[str]:
    """Return the product that was classified."""
    return [part.units["unit_id"][row]]


def _rows_of(run: Run, _: str) -> pl.DataFrame:
    """Return the labelled products of a run, whether or not its models learned their class."""
    return run.scores.filter(pl.col("label").is_in(run.classes))


def _counted(split: str, task: str, runs: Sequence[Run]) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of the first run that count in all runs, and a line about those that count in some only."""
    tables = [run.scores.filter(MEASURED, pl.col("split") == split) for run in runs]
    counted, every = tables[0], pl.concat([table.select("product_id") for table in tables]).unique()
    for table in tables[1:]:
        counted = counted.join(table, on="product_id", how="semi", maintain_order="left")
    others = every.join(counted, on="product_id", how="anti")["product_id"]
    if others.is_empty():
        return counted, []
    left_out = f"leaves out {len(others):,} of {len(every):,} products" if len(counted) else "is left out"
    some = f"{len(others):,} products" if counted.is_empty() else "they"
    why = f"{some} count in some of the runs only, as no model of the others was trained on their class"
    return counted, [f"{task}, {split} {left_out}: {why} ({examples(others)})"]


def _differences(pair: RunPair, place: Place, tables: list[pl.DataFrame]) -> Iterator[str]:
    """Yield a line if the products differ; a classifier has neither queries nor a gallery."""
    lines = rows_alone("products with label and group", tables, SCORE_KEY, "product_id", pair.names)
    yield from (f"{', '.join(place)}: {line}" for line in lines)
