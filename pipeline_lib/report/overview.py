"""The top of the report: tiles for the figures people ask for first, and every figure beside its chance level."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline_lib.report.chance import Chance
from pipeline_lib.report.headline import (
    CLASSIFICATION,
    RETRIEVAL,
    Columns,
    HeadlineRow,
    classification_rows,
    percent,
    rank,
    retrieval_rows,
)
from pipeline_lib.report.inputs import ReportInputs

Context = dict[str, Any]


def tiles(inputs: ReportInputs) -> list[Context]:
    """Return one tile for each figure people ask for first, of test where there is one."""
    rows = retrieval_rows(inputs.metrics, inputs.intervals)
    retrieval = [row for row in rows if row.split == rows[0].split]
    classification = classification_rows(inputs.metrics, inputs.intervals)[:1]
    wanted = [(row, "R@1") for row in retrieval] + [
        (row, key) for row in classification for key in ("top1", "macro_f1")
    ]
    headings = {key: heading for columns in (RETRIEVAL, CLASSIFICATION) for key, (heading, _) in columns.items()}
    return [
        {"heading": headings[key], "title": row.title, "figure": figure}
        for row, key in wanted
        for figure in row.figures
        if figure.key == key
    ]


def headlines(inputs: ReportInputs, chances: Mapping[tuple[str, str], Chance]) -> list[Context]:
    """Return the tables of all figures, each row with what chance would score."""
    views = []
    groups: list[tuple[str, Columns, list[HeadlineRow]]] = [
        ("Retrieval", RETRIEVAL, retrieval_rows(inputs.metrics, inputs.intervals)),
        ("Classification", CLASSIFICATION, classification_rows(inputs.metrics, inputs.intervals)),
    ]
    for title, columns, rows in groups:
        if rows:
            of_row = [_retrieval_chance(chances.get((row.split, row.direction))) for row in rows]
            if columns is CLASSIFICATION:
                of_row = [_class_chance(inputs.probabilities) for _ in rows]
            cells = [{figure.key: figure for figure in row.figures} for row in rows]
            views.append({"title": title, "columns": columns, "rows": list(zip(rows, cells, of_row, strict=True))})
    return views


def _retrieval_chance(chance: Chance | None) -> dict[str, str]:
    if chance is None:
        return {}
    recalls = {f"R@{k}": chance.recall(k) for k in (1, 5, 10)}
    written = {key: percent(value) for key, value in recalls.items()}
    written["MeanRecall"] = percent(sum(recalls.values()) / len(recalls))
    return written | {"median_rank": rank(chance.median_rank())}


def _class_chance(probabilities: pl.DataFrame) -> dict[str, str]:
    if probabilities.is_empty():
        return {}
    num_classes = len(probabilities["probabilities"][0])
    return {"top1": percent(1 / num_classes), "top3": percent(min(1.0, 3 / num_classes))}
