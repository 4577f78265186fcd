"""The tables of composed retrieval: figures of each kind beside the untrained towers, slices, and what changes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from pipeline_lib.evaluation.composed import UNTRAINED
from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS
from pipeline_lib.params.composed import COMPOSED_KINDS
from pipeline_lib.report.composed_inputs import ComposedTables
from pipeline_lib.report.headline import SPLITS, Columns, Figure, HeadlineRow, Tree, branch, figures_of, percent
from pipeline_lib.report.inputs import ReportInputs
from pipeline_lib.report.overview import Tile

NAMES = {
    "sum": "Sum",
    "combiner": "Combiner",
    "q_former": "Q-Former",
    "image_only": "Image only",
    "text_only": "Text only",
    "sum_untrained": "Sum",
}
# Figures in the order of their columns, by the part of the name before the cut-off.
ORDER = ("mean", "mAP", "R", "R_subset", "R_soft")
# Rows of the untrained towers to compare with, the better one first.
PLAIN = ("sum_untrained", "image_only")


@dataclass(frozen=True)
class FigureTable:
    """The figures of one split: for each kind its title and figures by key, and the chance of each key as text.

    `mean` names the figures whose mean is the figure of that name; it is empty without one.
    """

    split: str
    name: str
    columns: Columns
    rows: list[tuple[str, str, dict[str, Figure]]]
    chance: dict[str, str]
    num_queries: int
    num_gallery: int
    left_out: int
    mean: str


@dataclass(frozen=True)
class SliceTable:
    """One figure of each kind by slice or category: the figure's name, titles of the kinds, and the slices.

    A row is a slice's name, its number of queries, the figure of each kind, and chance.
    """

    title: str
    figure: str
    titles: list[str]
    rows: list[tuple[str, int, list[str], str]]


@dataclass(frozen=True)
class Change:
    """How the same queries rank their best target by one kind (`before`) and by another (`after`).

    `higher`, `same` and `lower` count queries by the rank's change; `gained` and `lost` those with a target first only
    after, and only before.
    """

    before: str
    after: str
    higher: int
    same: int
    lower: int
    gained: int
    lost: int


def titles_of(tables: ComposedTables, fold: int) -> dict[str, str]:
    """Return the title of each kind: untrained, or the fusion of its image tokens with the sentence."""
    titles = {}
    for kind in tables.kinds:
        fusion = branch(tables.run(kind, fold), "composed").get("fusion", "none")
        titles[kind] = name_of(kind) if fusion == "none" else f"{name_of(kind)}, {fusion}"
    return titles


def name_of(kind: str) -> str:
    """Return the title of a kind without its fusion."""
    return f"{NAMES.get(kind, kind)}{', untrained' if kind in UNTRAINED else ''}"


def off_titles(tables: ComposedTables, titles: dict[str, str]) -> dict[str, str]:
    """Return the title of each direction of `ComposedTables.off`: the same model, ranked once more with alpha = 0."""
    return {
        name: f"{titles[kind]}: fusion switched off (alpha = 0, not retrained)"
        for kind in tables.trained
        if (name := tables.off(kind)) is not None
    }


def figure_tables(inputs: ReportInputs, titles: dict[str, str]) -> list[FigureTable]:
    """Return the figures of each split, test first; a void figure is that of `headline`."""
    found = []
    for split, name in SPLITS.items():
        values = {kind: branch(inputs.metrics, "composed", kind, split) for kind in titles}
        values = {kind: one for kind, one in values.items() if one}
        if not values:
            continue
        first = next(iter(values.values()))
        columns = columns_of(first["chance"])
        rows = []
        for kind, own in values.items():
            intervals = branch(inputs.intervals, "composed", kind, split)
            rows.append((kind, titles[kind], {one.key: one for one in figures_of(own, intervals, columns)}))
        chance = {key: percent(value) for key, value in first["chance"].items()}
        sizes = (first["num_queries"], first["num_gallery"], first.get("slices_left_out", 0))
        found.append(FigureTable(split, name, columns, rows, chance, *sizes, _mean_of(inputs, columns)))
    return found


def composed_tiles(tables: Sequence[FigureTable]) -> list[Tile]:
    """Return a tile for the first figure of each trained kind, of the first split."""
    return [
        Tile(
            f"Mean of {table.mean}" if key == "mean" else heading,
            f"{table.name}, composed: {title}",
            figures[key],
            table.chance[key],
        )
        for table in tables[:1]
        for kind, title, figures in table.rows
        for key, (heading, _) in list(table.columns.items())[:1]
        if kind not in UNTRAINED and key in figures
    ]


def composed_rows(metrics: Tree, intervals: Tree) -> list[tuple[Columns, HeadlineRow]]:
    """Return a row for each split and kind of composed retrieval, with the columns of its protocol.

    Test is first, and the trained kinds before the untrained towers.
    """
    found = []
    evaluated = branch(metrics, "composed")
    kinds = [kind for kind in dict.fromkeys((*COMPOSED_KINDS, *UNTRAINED, *evaluated)) if kind in evaluated]
    for split, name in SPLITS.items():
        for kind in kinds:
            if values := branch(evaluated, kind, split):
                columns = columns_of(values["chance"])
                figures = figures_of(values, branch(intervals, "composed", kind, split), columns)
                title = f"{name}, {name_of(kind)}"
                found.append((columns, HeadlineRow(split, f"composed_{kind}", title, figures)))
    return found


def columns_of(figures: Sequence[str] | dict[str, float]) -> Columns:
    """Return the columns of figures in the order of ORDER, then of their cut-offs.

    >>> list(columns_of(["R_subset@1", "R@10", "mean", "R@5"]))
    ['mean', 'R@5', 'R@10', 'R_subset@1']
    """

    def place(key: str) -> tuple[int, int]:
        name, _, cutoff = key.partition("@")
        return ORDER.index(name), int(cutoff or 0)

    return {
        key: (re.sub("_(.*)@", r" \1@", key).replace("mean", "Mean"), percent) for key in sorted(figures, key=place)
    }


def _mean_of(inputs: ReportInputs, columns: Columns) -> str:
    """Return the headings of the figures whose mean the protocol of the trained models has, joined by "and"."""
    if "mean" not in columns:
        return ""
    run = inputs.composed.run(inputs.composed.trained[0], inputs.folds[0].fold)
    return " and ".join(columns[key][0] for key in COMPOSED_PROTOCOLS[run["composed"]["protocol"]].means["mean"])


def slice_tables(inputs: ReportInputs, titles: dict[str, str], split: str) -> list[SliceTable]:
    """Return the first figure of each slice and category of a split, for each kind that has it."""
    found = []
    for key, title in (("categories", "By category"), ("slices", "By slice")):
        parts = {kind: branch(inputs.metrics, "composed", kind, split, key) for kind in titles}
        parts = {kind: one for kind, one in parts.items() if one}
        if not parts:
            continue
        first = next(iter(parts.values()))
        figure = next(iter(columns_of(next(iter(first.values()))["chance"])))
        rows = [
            (
                name,
                own["num_queries"],
                [percent(part[name][figure]) for part in parts.values()],
                percent(own["chance"][figure]),
            )
            for name, own in first.items()
        ]
        found.append(SliceTable(title, figure, [titles[kind] for kind in parts], rows))
    return found


def paraphrase_lines(inputs: ReportInputs, titles: dict[str, str], split: str) -> list[str]:
    """Return for each kind how often a paraphrase changes the first answer; none without paraphrases."""
    lines = []
    for kind, title in titles.items():
        own = branch(inputs.metrics, "composed", kind, split, "paraphrases")
        if own:
            share = percent(own["first_answer_changes"])
            lines.append(f"{title}: {share} of pairs of paraphrases, {own['num_groups']:,} groups")
    return lines


def compared_kinds(tables: ComposedTables) -> list[tuple[str, str]]:
    """Return the pairs to compare: untrained with each trained kind, these in their order, each without its fusion."""
    trained = tables.trained
    plain = [kind for kind in PLAIN if kind in tables.kinds][:1]
    switched = [(name, kind) for kind in trained if (name := tables.off(kind)) is not None]
    return [*((before, after) for before in plain for after in trained), *pairwise(trained), *switched]


def changes(tables: ComposedTables, titles: dict[str, str], split: str) -> list[Change]:
    """Return what changes between the kinds of `compared_kinds` in the queries of a split."""
    ranks = tables.ranks.filter(pl.col("split") == split)
    of_kind = {kind: ranks.filter(pl.col("direction") == kind).select("query_id", "rank") for kind in titles}
    found = []
    for before, after in compared_kinds(tables):
        both = of_kind[before].join(of_kind[after], on="query_id", suffix="_after")
        moved = both["rank_after"] - both["rank"]
        first, first_after = both["rank"] <= 1, both["rank_after"] <= 1
        counts: list[Any] = [(moved < 0), (moved == 0), (moved > 0), first_after & ~first, first & ~first_after]
        found.append(Change(titles[before], titles[after], *(int(one.sum()) for one in counts)))
    return found
