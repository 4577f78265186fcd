"""`vitrine compare`: whether one run is better than another, or the difference may be chance."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from pipeline_lib.cli.output import AsJson, Result, show

if TYPE_CHECKING:
    from polars import DataFrame

TITLES = {"text_to_image": "text > image", "image_to_text": "image > text", "classification": "classification"}
NUMBERS = ("a", "b", "b - a")


def compare(
    first: Annotated[str, typer.Argument(help="Experiment name, git revision, or `workspace`.")],
    second: Annotated[str, typer.Argument(help="Experiment name, git revision, or `workspace`.")] = "workspace",
    as_json: AsJson = False,
) -> None:
    """Compare SECOND with FIRST: a paired jackknife over the queries and products of both.

    In a pipe: split, task, metric, a, b, difference, low, high and verdict, one figure a line.

    JSON: a, b, comparisons (with the keys above) and left_out (a line for each part of one run alone).
    """
    from pipeline_lib.experiments.compare.runs import compare_runs, read_run

    rows, left_out = compare_runs(read_run(first), read_run(second))
    title = f"a = {first}, b = {second}: 95 % interval of b - a, paired by query and product"
    data = {"a": first, "b": second, "comparisons": rows.to_dicts(), "left_out": left_out}
    show(Result(data, _pipe_rows(rows), [_terminal_table(title, rows)], notes=left_out), as_json)


def _pipe_rows(rows: "DataFrame") -> list[tuple[str, ...]]:
    lines = []
    for split, task, metric, a, b, difference, low, high, verdict in rows.iter_rows():
        digits = _digits(metric)
        gains = (f"{value:+.{digits}f}" for value in (difference, low, high))
        lines.append((split, task, metric, f"{a:.{digits}f}", f"{b:.{digits}f}", *gains, verdict))
    return lines


def _terminal_table(title: str, rows: "DataFrame") -> Table:
    """Return the comparison with a heading line for each split and task."""
    table = Table(title=escape(title), box=SIMPLE_HEAD)
    for heading in ("metric", *NUMBERS, "verdict"):
        table.add_column(heading, justify="right" if heading in NUMBERS else "left", no_wrap=True)
    before = ""
    for split, task, metric, a, b, _, low, high, verdict in rows.iter_rows():
        section = f"{split} {TITLES.get(task, task.replace('_', ' '))}"
        digits = _digits(metric)
        if section != before:
            table.add_row(section, style="bold")
        span = f"{low:+.{digits}f} .. {high:+.{digits}f}"
        table.add_row(f"  {metric}", f"{a:.{digits}f}", f"{b:.{digits}f}", span, verdict)
        before = section
    return table


def _digits(metric: str) -> int:
    """Return the decimals of a metric: ranks need one, shares need four."""
    return 1 if metric.endswith("_rank") else 4
