"""`vitrine compare`: whether one run or setting is better than another, or the difference may be chance."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from pipeline_lib.cli.completion import complete_revision
from pipeline_lib.cli.output import AsJson, Result, show

if TYPE_CHECKING:
    from pipeline_lib.experiments.compare import tables as texts
    from pipeline_lib.experiments.compare.comparison import Comparison
    from pipeline_lib.experiments.compare.settings import Setting

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN RUN...",
        autocompletion=complete_revision,
        help="Experiment name, git revision or `workspace`; NAME=RUN,RUN,... or a name of `vitrine seeds` for the "
        "seeds of a setting. The first is compared with each other one; a single run with the workspace.",
    ),
]
Primary = Annotated[
    str,
    typer.Option(
        help="The figure declared beforehand and tested alone: METRIC, TASK.METRIC or SPLIT.TASK.METRIC, such as R@1; "
        "none = no figure. Default: MeanRecall of text to image, or else top1, of test if there is one; preference "
        "if only judged queries are compared."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        help="Compare this task alone (text_to_image, image_to_text, classification, composed_KIND, judged_FOLD); "
        "repeatable."
    ),
]
AsMarkdown = Annotated[bool, typer.Option("--md", help="Print Markdown instead of a table.")]
Page = Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page with pictures, too.")]


def compare(
    runs: Runs,
    primary: Primary = "",
    only: Only = None,
    page: Page = None,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs, or settings with several seeds, on the queries and products that all were measured on.

    Between single runs a randomisation test decides that swaps whole groups of queries: the verdict is about these
    checkpoints. Between settings Student's t decides over queries and seeds.

    In a pipe: split, task, metric, run, a, b, difference, low, high, p, adjusted p and verdict, one figure a line.

    JSON: a, b, runs (by letter, with name, runs and seeds), about, primary, test, comparisons, counts, slices, changed,
    left_out and notes. A comparison has the keys above, p_adjusted, smallest, a_deviation, b_deviation and primary.
    """
    from pipeline_lib.execution.meter import progress
    from pipeline_lib.experiments.compare.comparison import Options, record
    from pipeline_lib.experiments.compare.comparison import compare as compare_settings
    from pipeline_lib.experiments.compare.explain import sentences
    from pipeline_lib.experiments.compare.tables import markdown

    names = runs if len(runs) > 1 else [*runs, "workspace"]
    with progress("compare"):
        settings = read_settings(names)
        comparison = compare_settings(settings, Options(primary, only or ()))
    written = list(_stale(settings))
    if page is not None:
        from pipeline_lib.report.comparison_page import write_page

        written += write_page(comparison, page)
    if as_markdown:
        print(markdown(comparison))
        for line in written:
            print(line, file=sys.stderr)
        return
    notes = [*sentences(comparison), *written]
    data = {**record(comparison), "notes": notes}
    show(Result(data, list(_pipe_rows(comparison)), list(_terminal_tables(comparison)), notes=notes), as_json)


def read_settings(arguments: list[str]) -> "list[Setting]":
    """Return the runs of each argument, read from DVC or from the working tree."""
    from pipeline_lib.execution.meter import current_meter
    from pipeline_lib.experiments.compare.runs import read_run
    from pipeline_lib.experiments.compare.settings import Setting, resolve
    from pipeline_lib.experiments.revisions import WORKSPACE, experiment_names

    resolved = [(name, [name]) if name == WORKSPACE else resolve(name, experiment_names) for name in arguments]
    runs = [revision for _, revisions in resolved for revision in revisions]
    found = {run: read_run(run) for run in current_meter().over(runs, "runs read", len(runs), lambda _: 1)}
    return [Setting(name, [found[run] for run in revisions]) for name, revisions in resolved]


def _stale(settings: "list[Setting]") -> Iterator[str]:
    """Yield a line for each run whose settings were changed after it."""
    from pipeline_lib.experiments.unrun import changes_of, named

    for run in (run for setting in settings for run in setting.runs):
        if changed := changes_of(run.read):
            yield (
                f"{run.name}: {named(changed)} changed after its run, so its figures are of the settings before; run "
                "`dvc repro`"
            )


def _pipe_rows(comparison: "Comparison") -> Iterator[tuple[str, ...]]:
    from pipeline_lib.experiments.compare.explain import digits

    for row in comparison.rows.iter_rows(named=True):
        places = digits(row["metric"])
        values = (f"{row[side]:.{places}f}" for side in ("a", "b"))
        gains = (f"{row[name]:+.{places}f}" for name in ("difference", "low", "high"))
        p_values = (f"{row[name]:.4g}" for name in ("p", "p_adjusted"))
        yield (row["split"], row["task"], row["metric"], row["run"], *values, *gains, *p_values, row["verdict"])


def _terminal_tables(comparison: "Comparison") -> Iterator[Table]:
    """Yield one table of all figures with a heading line for each part, then the other tables, in 80 columns."""
    from pipeline_lib.experiments.compare import tables as texts
    from pipeline_lib.experiments.compare.explain import names_line

    found = [_short(one) for one in texts.tables(comparison)]
    figures = [one for one in found if one.headings[0] == "metric"]
    title, drawn = names_line(comparison), None
    for one in figures:
        if drawn is None or drawn[0] != one.headings:
            if drawn is not None:
                yield drawn[1]
            drawn = one.headings, _table(title, one.headings)
        drawn[1].add_row(escape(one.title), style="bold")
        for row in one.rows:
            drawn[1].add_row(*(escape(cell) for cell in (f"  {row[0]}", *row[1:])))
    if drawn is not None:
        yield drawn[1]
    for one in found:
        if one.headings[0] != "metric":
            yield _drawn(one)


def _short(one: "texts.Table") -> "texts.Table":
    """Return a table of the terminal: without the smallest difference that is found, which a line below has."""
    from pipeline_lib.experiments.compare.decisions import NO_DIFFERENCE

    shown = [place for place, heading in enumerate(one.headings) if heading != "finds"]
    rows = [
        tuple("not significant" if row[place] == NO_DIFFERENCE else row[place] for place in shown) for row in one.rows
    ]
    return one._replace(headings=tuple(one.headings[place] for place in shown), rows=rows)


def _drawn(one: "texts.Table") -> Table:
    table = _table(one.title, one.headings)
    for row in one.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=0)
    for place, heading in enumerate(headings):
        number = 0 < place < len(headings) - 1
        whole = number or heading == "metric"
        table.add_column(heading, justify="right" if number else "left", no_wrap=whole, overflow="fold")
    return table
