"""The headline: every published figure with its interval, for the page and for the terminal.

The page and `python -m pipeline_lib.report.headline` format the same rows, so they cannot tell two stories.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json

Tree = Mapping[str, Any]
SPLITS = {"test": "Test", "oof": "Out of fold"}
DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal.

    >>> percent(0.4721), percent(1 / 500), percent(1 / 30_000)
    ('47.2 %', '0.2 %', '0.003 %')
    """
    return f"{value * 100:.1f} %" if value == 0 or value >= 0.001 else f"{value * 100:.1g} %"


def rank(value: float) -> str:
    """Return a rank or a mean of ranks.

    >>> rank(3.0), rank(2.5), rank(41.0372)
    ('3', '2.5', '41')
    """
    return f"{value:,.0f}" if value == int(value) or value >= 10 else f"{value:.1f}"


def count(value: float) -> str:
    """Return a whole number with separators of thousands."""
    return f"{value:,.0f}"


# Leaf of metrics.json -> (heading, format), in the order of the columns.
Columns = dict[str, tuple[str, Callable[[float], str]]]
RETRIEVAL: Columns = {
    "R@1": ("R@1", percent),
    "R@5": ("R@5", percent),
    "R@10": ("R@10", percent),
    "MeanRecall": ("Mean recall", percent),
    "median_rank": ("Median rank", rank),
    "mean_rank": ("Mean rank", rank),
    "num_queries": ("Queries", count),
    "num_gallery": ("Gallery", count),
}
CLASSIFICATION: Columns = {
    "top1": ("Top-1", percent),
    "top3": ("Top-3", percent),
    "macro_f1": ("Macro-F1", percent),
    "balanced_accuracy": ("Balanced accuracy", percent),
    "ece": ("Calibration error", percent),
}


@dataclass(frozen=True)
class Figure:
    """One published number: its key, value, 95 % interval (where it has one) and how it is written."""

    key: str
    value: float
    interval: tuple[float, float] | None
    text: str
    interval_text: str


@dataclass(frozen=True)
class HeadlineRow:
    """The figures of one split and, for retrieval, one direction."""

    split: str
    direction: str
    title: str
    figures: list[Figure]


def retrieval_rows(metrics: Tree, intervals: Tree) -> list[HeadlineRow]:
    """Return a row for each split and direction that was evaluated, test first."""
    rows = []
    for split, split_name in SPLITS.items():
        for direction, name in DIRECTIONS.items():
            path = (split, "retrieval", direction)
            if figures := figures_of(branch(metrics, *path), branch(intervals, *path), RETRIEVAL):
                rows.append(HeadlineRow(split, direction, f"{split_name}, {name}", figures))
    return rows


def classification_rows(metrics: Tree, intervals: Tree) -> list[HeadlineRow]:
    """Return a row for each split whose labels were evaluated, test first."""
    rows = []
    for split, name in SPLITS.items():
        path = (split, "classification")
        if figures := figures_of(branch(metrics, *path), branch(intervals, *path), CLASSIFICATION):
            rows.append(HeadlineRow(split, "", name, figures))
    return rows


def total_lines(metrics: Tree, intervals: Tree) -> list[str]:
    """Return a line for each split that was counted over both directions: total mR and the sum, in percent."""
    lines = []
    for split, name in SPLITS.items():
        both_ways = branch(metrics, split, "retrieval")
        if "total_mR" in both_ways:
            spans = branch(intervals, split, "retrieval")
            total, added = (
                f"{100 * both_ways[key]:.2f} ({100 * spans[key][0]:.2f}–{100 * spans[key][1]:.2f})"
                for key in ("total_mR", "sum")
            )
            lines.append(f"{name}, both ways in percent: total mR {total}, sum {added}")
    return lines


def headline(metrics: Tree, intervals: Tree) -> Table:
    """Return the headline for a terminal: a table for retrieval and one for classification, where they apply."""
    page = Table.grid(padding=(0, 0, 1, 0))
    tables = (
        ("Retrieval", RETRIEVAL, retrieval_rows(metrics, intervals)),
        ("Classification", CLASSIFICATION, classification_rows(metrics, intervals)),
    )
    for title, columns, rows in tables:
        if rows:
            page.add_row(_terminal_table(title, columns, rows))
    for line in total_lines(metrics, intervals):
        page.add_row(line)
    if not page.row_count:
        page.add_row("Nothing was evaluated: the catalogue has neither texts nor labels.")
    return page


def _terminal_table(title: str, columns: Columns, rows: list[HeadlineRow]) -> Table:
    """Return a table that fits 80 columns: two lines a cell, and no mean rank beside the median."""
    table = Table(title=f"{title} (95 % interval below)", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    shown = {key: heading for key, (heading, _) in columns.items() if key not in ("mean_rank", "num_gallery")}
    table.add_column("", no_wrap=True)
    for key, heading in shown.items():
        written = "Queries\nGallery" if key == "num_queries" else heading.replace(" ", "\n")
        table.add_column(written, justify="right", no_wrap=True)
    for row in rows:
        figures = {figure.key: figure for figure in row.figures}
        table.add_row(row.title.replace(", ", "\n"), *(_terminal_cell(figures, key) for key in shown))
    return table


def _terminal_cell(figures: dict[str, Figure], key: str) -> str:
    if key not in figures:
        return "-"
    below = figures["num_gallery"].text if key == "num_queries" else figures[key].interval_text
    return f"{figures[key].text}\n[dim]{below}[/dim]"


def branch(tree: Tree, *path: str) -> Tree:
    """Return what stands under a path of keys, an empty tree if nothing does."""
    for key in path:
        tree = tree.get(key, {})
    return tree


def figures_of(values: Tree, intervals: Tree, columns: Columns) -> list[Figure]:
    """Return the figures of `values` that have a column, in the columns' order, with their intervals."""
    figures = []
    for key, (_, written) in columns.items():
        if key in values:
            low_high = intervals.get(key)
            interval = None if low_high is None else (float(low_high[0]), float(low_high[1]))
            between = "" if interval is None else "–".join(written(end).removesuffix(" %") for end in interval)
            figures.append(Figure(key, values[key], interval, written(values[key]), between))
    return figures


def main() -> None:
    """Print the headline of the last run and where its report lies."""
    console = Console()
    console.print(headline(read_json(paths.METRICS), read_json(paths.INTERVALS)))
    console.print(f"report: {paths.PAGE.resolve()}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
