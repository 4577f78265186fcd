"""The top of the report: tiles for the figures people ask for first, and every figure beside its chance level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline_lib.report.chance import Chance
from pipeline_lib.report.headline import (
    CLASSIFICATION,
    RETRIEVAL,
    Columns,
    Figure,
    HeadlineRow,
    classification_rows,
    percent,
    rank,
    retrieval_rows,
)
from pipeline_lib.report.inputs import ReportInputs

FIRST_ASKED = ("R@1", "top1", "macro_f1")


@dataclass(frozen=True)
class Headline:
    """One table of figures: its columns, and for each row the figures and the chance level by key."""

    title: str
    columns: Columns
    rows: list[tuple[HeadlineRow, dict[str, Figure], dict[str, str]]]


@dataclass(frozen=True)
class Tile:
    """One figure shown large."""

    heading: str
    title: str
    figure: Figure
    chance: str


def headlines(inputs: ReportInputs, chances: Mapping[tuple[str, str], Chance]) -> list[Headline]:
    """Return the tables that apply, every row with what chance would score."""
    drawn = _class_chance(inputs.probabilities)
    retrieval = retrieval_rows(inputs.metrics, inputs.intervals)
    found = [(row, _retrieval_chance(chances.get((row.split, row.task)))) for row in retrieval]
    told = [(row, drawn) for row in classification_rows(inputs.metrics, inputs.intervals)]
    return [
        Headline(
            title, columns, [(row, {figure.key: figure for figure in row.figures}, chance) for row, chance in rows]
        )
        for title, columns, rows in (("Retrieval", RETRIEVAL, found), ("Classification", CLASSIFICATION, told))
        if rows
    ]


def tiles(tables: Sequence[Headline]) -> list[Tile]:
    """Return a tile for each figure people ask for first, of the first split of each table."""
    return [
        Tile(table.columns[key][0], row.title, figures[key], chance.get(key, ""))
        for table in tables
        for row, figures, chance in table.rows
        for key in FIRST_ASKED
        if row.split == table.rows[0][0].split and key in figures
    ]


def absent(tables: Sequence[Headline]) -> list[str]:
    """Return a line for each branch that a reader may look for in vain."""
    splits = {row.split for table in tables for row, _, _ in table.rows}
    titles = {table.title for table in tables}
    lines = {
        "There is no test split among the evaluated: out-of-fold figures stand alone.": "test" in splits,
        "There are no out-of-fold figures.": "oof" in splits,
        "Retrieval was not evaluated.": "Retrieval" in titles,
        "Classification was not evaluated.": "Classification" in titles,
    }
    return [line for line, there in lines.items() if not there]


def _retrieval_chance(chance: Chance | None) -> dict[str, str]:
    if chance is None:
        return {}
    recalls = {f"R@{k}": chance.recall(k) for k in (1, 5, 10)}
    written = {key: percent(value) for key, value in recalls.items()}
    written["MeanRecall"] = percent(sum(recalls.values()) / len(recalls))
    return written | {"median_rank": rank(chance.median_rank()), "mean_rank": rank(chance.mean_rank())}


def _class_chance(probabilities: pl.DataFrame) -> dict[str, str]:
    if probabilities.is_empty():
        return {}
    num_classes = len(probabilities["probabilities"][0])
    return {"top1": percent(1 / num_classes), "top3": percent(min(1.0, 3 / num_classes))}
