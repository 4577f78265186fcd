"""`vitrine headline`: the figures of the last run with their intervals, and where its report is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import RenderableType
from rich.table import Table

from pipeline_lib.cli.output import AsJson, Result, show

if TYPE_CHECKING:
    from pipeline_lib.report.headline import Columns, Figure, HeadlineRow, Tree

NOT_IN_TERMINAL = ("mean_rank", "num_gallery")  # the gallery's size has a line below the number of queries


def headline(as_json: AsJson = False) -> None:
    """Print the figures of the last `dvc repro` with their 95 % intervals, and where its report is.

    In a pipe: split, task, metric, figure, interval and chance, one figure a line; what is not known is empty.

    If settings were changed after that run, a line names them.

    A figure that a random order reaches, too, is printed as "no figure", and a line below says why; so are figures near
    chance.

    JSON: figures (with split, task, metric, value, low, high, chance and no_figure), cautions, and report, the path of
    the page.

    Tasks are text_to_image, image_to_text, both_directions, classification and composed_KIND; judged queries have the
    split judged and the task fold_FOLD.
    """
    from pipeline_lib.artifacts import paths
    from pipeline_lib.experiments.unrun import changes_of, named
    from pipeline_lib.report.metric_files import read_metric_files

    for path in (paths.METRICS, paths.INTERVALS):
        if not path.is_file():
            raise ValueError(f"{path}: no such file; run `dvc repro`")
    changed = changes_of()
    stale = [f"these figures are of the last run; {named(changed)} changed since: run `dvc repro`"] if changed else []
    show(headline_result(*read_metric_files(Path()), str(paths.PAGE.resolve()), stale), as_json)


def headline_result(metrics: "Tree", intervals: "Tree", page: str, stale: Sequence[str] = ()) -> Result:
    """Return every published figure of a run, what to know before quoting them, and the path of its report.

    `stale` are lines about settings that are no longer those of the run.
    """
    from pipeline_lib.report.cautions import cautions
    from pipeline_lib.report.composed_figures import composed_rows
    from pipeline_lib.report.headline import (
        CLASSIFICATION,
        JUDGED,
        RETRIEVAL,
        SLICE,
        classification_rows,
        column_groups,
        judged_rows,
        retrieval_rows,
        slice_rows,
        total_lines,
        total_rows,
    )

    retrieval, classes = retrieval_rows(metrics, intervals), classification_rows(metrics, intervals)
    sliced, composed = slice_rows(metrics, intervals), composed_rows(metrics, intervals)
    composed_part, judged = [row for _, row in composed], judged_rows(metrics, intervals)
    rows = [*retrieval, *total_rows(metrics, intervals), *sliced, *classes, *composed_part, *judged]
    # A row has up to 12 figures: a table for each thing that is ranked.
    tables: list[RenderableType] = [
        _terminal_table(title, group, own)
        for title, columns, part in (
            ("Retrieval", RETRIEVAL, retrieval),
            ("Text → image by slice", SLICE, sliced),
            ("Classification", CLASSIFICATION, classes),
            ("Composed retrieval", dict(item for columns, _ in composed for item in columns.items()), composed_part),
            ("Judged queries", JUDGED, judged),
        )
        for group in column_groups(columns)
        if (own := [row for row in part if any(one.key in group for one in row.figures)])
    ]
    warnings = [*stale, *cautions(metrics, intervals)]
    nothing = [] if rows else ["Nothing was evaluated: there are neither texts, nor labels, nor composed models."]
    return Result(
        data={
            "figures": [_record(row, figure) for row in rows for figure in row.figures],
            "cautions": warnings,
            "report": page,
        },
        rows=[
            (row.split, row.task, figure.key, figure.text, figure.interval_text, figure.chance_text)
            for row in rows
            for figure in row.figures
        ],
        tables=[*tables, *total_lines(metrics, intervals)],
        notes=[*warnings, *nothing, f"report: {page}"],
    )


def _record(row: "HeadlineRow", figure: "Figure") -> dict[str, Any]:
    low, high = figure.interval or (None, None)
    record = {"split": row.split, "task": row.task, "metric": figure.key, "value": figure.value}
    return record | {"low": low, "high": high, "chance": figure.chance, "no_figure": figure.void}


def _terminal_table(title: str, columns: "Columns", rows: "list[HeadlineRow]") -> Table:
    """Return a table that fits 80 columns: the figure, its interval and chance in a cell, no mean rank."""
    below = "95 % interval and chance below" if _any_chance(rows) else "95 % interval below"
    table = Table(title=f"{title} ({below})", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    shown = {key: heading for key, (heading, _) in columns.items() if key not in NOT_IN_TERMINAL}
    table.add_column("", no_wrap=True)
    for key, heading in shown.items():
        written = (
            "Queries\nGallery" if key == "num_queries" and "num_gallery" in columns else heading.replace(" ", "\n")
        )
        table.add_column(written, justify="right", no_wrap=True)
    for row in rows:
        figures = {figure.key: figure for figure in row.figures}
        table.add_row(row.title.replace(", ", "\n"), *(_terminal_cell(figures, key) for key in shown))
    return table


def _any_chance(rows: "list[HeadlineRow]") -> bool:
    return any(figure.chance_text for row in rows for figure in row.figures)


def _terminal_cell(figures: "dict[str, Figure]", key: str) -> str:
    if key not in figures:
        return "-"
    figure = figures[key]
    chance = f"\n[dim]{figure.chance_text}[/dim]" if figure.chance_text else ""
    if figure.void:
        return f"no\nfigure{chance}"
    below = figures["num_gallery"].text if key == "num_queries" and "num_gallery" in figures else figure.interval_text
    return f"{figure.text}\n[dim]{below}[/dim]{chance}"
