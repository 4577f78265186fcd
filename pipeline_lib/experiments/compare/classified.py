"""The task classification: the labelled products of a split, whose figures come from class scores."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from pipeline_lib.evaluation.additive import class_columns
from pipeline_lib.evaluation.summary import labelled, measured, published
from pipeline_lib.experiments.compare.parts import PRODUCTS, Answer, Part, Parts, RunsOfSettings, System, Values
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.compare.test_sets import Overlap, Place, RunPair, rows_alone, splits_alike

CLASSIFICATION = "classification"
# The label is part of the key: a product whose label was corrected between two runs is another right answer.
SCORE_KEY = ["fold", "product_id", "label", "group_id"]


def class_tasks(run: Run) -> list[str]:
    """Return the task, if a run has scores of products whose label is one of its classes."""
    return [] if _rows_of(run, CLASSIFICATION).is_empty() else [CLASSIFICATION]


def classes_alike(pair: RunPair, task: str) -> Overlap:
    """Return the splits in which two runs classified the same products, none if they predict other classes."""
    if difference := _class_difference(pair):
        return Overlap(left_out=[f"{task} is left out: {difference}"])
    return splits_alike(pair, task, _rows_of, _differences)


def classified_parts(split: str, task: str, settings: RunsOfSettings) -> Parts:
    """Return the part of one split; the runs of all settings must have been measured alike in it."""
    classes = settings[0][0].classes
    systems: list[list[System]] = []
    for runs in settings:
        systems.append([])
        for run in runs:
            scores = labelled(_rows_of(run, task).sort("product_id"), classes, split).scores
            by_unit = {f"top{k}": (scores.ranks < k).astype(np.float64) for k in (1, 3)}
            systems[-1].append(System(published(scores), class_columns(scores), by_unit))
    rows = _rows_of(settings[0][0], task).filter(pl.col("split") == split).sort("product_id")
    units = rows.select(pl.col("product_id").alias("unit_id"), "fold", "group_id")
    return Parts([Part(split, task, units, systems, "top1", PRODUCTS)], [])


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
    return run.scores.filter(measured(run.classes))


def _differences(pair: RunPair, place: Place, tables: list[pl.DataFrame]) -> Iterator[str]:
    """Yield a line if the products differ; a classifier has neither queries nor a gallery."""
    lines = rows_alone("products with label and group", tables, SCORE_KEY, "product_id", pair.names)
    yield from (f"{', '.join(place)}: {line}" for line in lines)


def _class_difference(pair: RunPair) -> str:
    """Return which classes one run alone predicts, up to three of each, or an empty text."""
    parts = []
    for name, own, other in zip(pair.names, pair.runs, pair.runs[::-1], strict=True):
        if alone := sorted(set(own.classes) - set(other.classes)):
            parts.append(f"{name} alone predicts {', '.join(map(repr, alone[:3]))}{', ...' * (len(alone) > 3)}")
    return "; ".join(parts)
