"""The top of the report: tiles for the main figures, and tables of all figures with their chance level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.report.chance import Chance
from pipeline_lib.report.headline import (
    CLASSIFICATION,
    JUDGED,
    RETRIEVAL,
    SLICE,
    Columns,
    Figure,
    HeadlineRow,
    classification_rows,
    judged_rows,
    percent,
    rank,
    retrieval_rows,
    slice_rows,
)
from pipeline_lib.report.inputs import ReportInputs

MAIN_FIGURES = ("R@1", "top1", "macro_f1")
# The title of a table without tiles.
SLICES = "Text → image by slice"


@dataclass(frozen=True)
class Headline:
    """One table of figures: the columns that a row has, and for each row the figures and the chance level by key."""

    title: str
    columns: Columns
    rows: list[tuple[HeadlineRow, dict[str, Figure], dict[str, str]]]


@dataclass(frozen=True)
class Tile:
    """One figure in large type."""

    heading: str
    title: str
    figure: Figure
    chance: str


def headlines(inputs: ReportInputs, chances: Mapping[tuple[str, str], Chance]) -> list[Headline]:
    """Return the tables that apply; each row has the figures of chance."""
    class_chance = _class_chance(inputs.ensemble.num_classes)
    retrieval = retrieval_rows(inputs.metrics, inputs.intervals)
    retrieval_table = [
        (row, _own_chance(row, RETRIEVAL) | _retrieval_chance(chances.get((row.split, row.task)))) for row in retrieval
    ]
    slice_table = [(row, _own_chance(row, SLICE)) for row in slice_rows(inputs.metrics, inputs.intervals)]
    judged_table = [(row, _own_chance(row, JUDGED)) for row in judged_rows(inputs.metrics, inputs.intervals)]
    class_table = [(row, class_chance) for row in classification_rows(inputs.metrics, inputs.intervals)]
    return [
        _table(title, columns, rows)
        for title, columns, rows in (
            ("Retrieval", RETRIEVAL, retrieval_table),
            (SLICES, SLICE, slice_table),
            ("Classification", CLASSIFICATION, class_table),
            ("Judged queries", JUDGED, judged_table),
        )
        if rows
    ]


def _table(title: str, columns: Columns, rows: Sequence[tuple[HeadlineRow, dict[str, str]]]) -> Headline:
    found = {figure.key for row, _ in rows for figure in row.figures}
    return Headline(
        title,
        {key: column for key, column in columns.items() if key in found},
        [(row, {figure.key: figure for figure in row.figures}, chance) for row, chance in rows],
    )


def tiles(tables: Sequence[Headline]) -> list[Tile]:
    """Return a tile for each main figure, of the first split of each table."""
    return [
        Tile(table.columns[key][0], row.title, figures[key], chance.get(key, ""))
        for table in tables
        if table.title != SLICES
        for row, figures, chance in table.rows
        for key in MAIN_FIGURES
        if row.split == table.rows[0][0].split and key in figures
    ]


def absent(tables: Sequence[Headline]) -> list[str]:
    """Return a line for each split or task that was not evaluated."""
    splits = {row.split for table in tables for row, _, _ in table.rows}
    titles = {table.title for table in tables}
    lines = {
        "There is no test split: all figures are out of fold.": "test" in splits,
        "There are no out-of-fold figures.": "oof" in splits,
        "Retrieval was not evaluated.": "Retrieval" in titles,
        "Classification was not evaluated.": "Classification" in titles,
    }
    return [line for line, exists in lines.items() if not exists]


def _retrieval_chance(chance: Chance | None) -> dict[str, str]:
    if chance is None:
        return {}
    recalls = {f"R@{k}": chance.recall(k) for k in (1, 5, 10)}
    written = {key: percent(value) for key, value in recalls.items()}
    written["MeanRecall"] = percent(sum(recalls.values()) / len(recalls))
    return written | {"median_rank": rank(chance.median_rank()), "mean_rank": rank(chance.mean_rank())}


def _own_chance(row: HeadlineRow, columns: Columns) -> dict[str, str]:
    return {one.key: columns[one.key][1](one.chance) for one in row.figures if one.chance is not None}


def _class_chance(num_classes: int) -> dict[str, str]:
    if not num_classes:
        return {}
    return {"top1": percent(1 / num_classes), "top3": percent(min(1.0, 3 / num_classes))}
