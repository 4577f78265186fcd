"""The tables of a comparison as texts, for the terminal, Markdown and the page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline_lib.experiments.compare.changes import Changed
from pipeline_lib.experiments.compare.comparison import Comparison
from pipeline_lib.experiments.compare.explain import digits, names_line, p_text, part_title, sentences

Cells = tuple[str, ...]
SHORT = 60  # letters of a text in a table


class Table(NamedTuple):
    """A table of texts; the columns from `left` to the last but one are numbers."""

    title: str
    headings: Cells
    rows: list[Cells]


def tables(comparison: Comparison) -> list[Table]:
    """Return all tables: the figures of each run in each part, wins and losses, slices, changed queries."""
    found = [
        Table(_title(comparison, split, task, run), _figure_headings(run), _figures(comparison, split, task, run))
        for run in list(comparison.letters)[1:]
        for split, task in comparison.rows.select("split", "task").unique(maintain_order=True).iter_rows()
    ]
    return [*found, _counts(comparison), *_slices(comparison), *_changed(comparison)]


def markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown."""
    lines = [f"**{_escape(names_line(comparison))}**", ""]
    for table in tables(comparison):
        lines += [f"### {_escape(table.title)}", "", _line(table.headings)]
        lines += [_line(["---", *("---:" for _ in table.headings[1:-1]), "---"])]
        lines += [*(_line(row) for row in table.rows), ""]
    return "\n".join([*lines, *(f"- {_escape(line)}" for line in sentences(comparison))])


def _title(comparison: Comparison, split: str, task: str, run: str) -> str:
    several = len(comparison.settings) > 2
    return f"{part_title(split, task)}{f', {run} against a' if several else ''}"


def _figure_headings(run: str) -> Cells:
    return ("metric", "a", run, f"{run} - a, 95 %", "p", "finds", "verdict")


def _figures(comparison: Comparison, split: str, task: str, run: str) -> list[Cells]:
    rows = comparison.rows.filter(split=split, task=task, run=run)
    return [figure_cells(row) for row in rows.iter_rows(named=True)]


def figure_cells(row: dict[str, Any]) -> Cells:
    """Return the texts of one COMPARISON_SCHEMA row: from the metric to the verdict."""
    places = digits(row["metric"])
    values = []
    for side in ("a", "b"):
        deviation = row[f"{side}_deviation"]
        spread = "" if deviation is None else f" ±{deviation:.{places}f}"
        values.append(f"{row[side]:.{places}f}{spread}")
    span = f"{row['low']:+.{places}f} .. {row['high']:+.{places}f}"
    smallest = "-" if row["smallest"] is None else f"{row['smallest']:.{places}f}"
    name = f"{row['metric']}{' *' if row['primary'] else ''}"
    return (name, *values, span, p_text(row["p_adjusted"]), smallest, row["verdict"])


def _counts(comparison: Comparison) -> Table:
    rows: list[Cells] = [
        (part_title(split, task), run, metric, f"{wins:,}", f"{losses:,}", f"{ties:,}", "")
        for split, task, metric, run, wins, losses, ties in comparison.counts.iter_rows()
    ]
    return Table("Wins, losses and ties against a", ("part", "run", "by", "wins", "losses", "ties", ""), rows)


def _slices(comparison: Comparison) -> list[Table]:
    if comparison.slices.is_empty():
        return []
    split, task, _ = comparison.figure
    rows: list[Cells] = []
    for row in comparison.slices.iter_rows(named=True):
        places = digits(row["metric"])
        span = f"{row['low']:+.{places}f} .. {row['high']:+.{places}f}"
        means = (f"{row[side]:.{places}f}" for side in ("a", "b"))
        name = f"{row['dimension']}: {row['slice']}"
        rows.append((name, row["run"], f"{row['units']:,}", *means, span, p_text(row["p_adjusted"]), row["verdict"]))
    few = f"; {comparison.slices_left_out} slices of fewer than 10 are left out" if comparison.slices_left_out else ""
    title = f"Slices of {part_title(split, task)} by {comparison.slices['metric'][0]}{few}"
    return [Table(title, ("slice", "run", "units", "a", "run", "difference, 95 %", "p", "verdict"), rows)]


def _changed(comparison: Comparison) -> list[Table]:
    if not comparison.changed:
        return []
    split, task, metric = comparison.figure
    rows: list[Cells] = [
        (_short(one.text or one.unit_id), one.run, *outcome(one, metric)) for one in comparison.changed
    ]
    return [Table(f"{part_title(split, task)}: changed most", ("query", "run", "a", "run", ""), rows)]


def outcome(one: Changed, metric: str) -> tuple[str, str, str]:
    """Return what a and the other run gave for a changed query, and which is better; `metric` is that of a value."""
    verdict = "better" if one.better else "worse"
    if one.before.predicted is not None:
        return one.before.predicted, str(one.after.predicted), verdict
    if one.before.rank is not None:
        return f"rank {one.before.rank:.4g}", f"rank {one.after.rank:.4g}", verdict
    return f"{metric} {one.before.value:.{digits(metric)}f}", f"{metric} {one.after.value:.{digits(metric)}f}", verdict


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHORT else f"{flat[: SHORT - 1]}…"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Return a text whose characters mean nothing in a Markdown table."""
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
