"""How single queries or products fare: wins, losses and ties, and those whose rank changed most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.experiments.compare.decisions import letter
from pipeline_lib.experiments.compare.kinds import kind_of
from pipeline_lib.experiments.compare.parts import BY_UNIT, LOWER_IS_BETTER, QUERIES, Answer, Part, Values
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.compare.settings import Setting

COUNTS_SCHEMA: dict[str, "pl.DataType | type[pl.DataType]"] = {
    "split": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "run": pl.String,
    "wins": pl.Int64,
    "losses": pl.Int64,
    "ties": pl.Int64,
}
EQUAL = 1e-9


@dataclass(frozen=True)
class Changed:
    """A query or product that fares differently in a and in another run; `right` are its right answers."""

    unit_id: str
    text: str
    fold: int | None
    run: str
    right: list[str]
    before: Answer
    after: Answer
    better: bool


def counts(part: Part, figure: str) -> pl.DataFrame:
    """Return COUNTS_SCHEMA rows: the units that count more, less or as much in `figure` in a run as in a."""
    metric, rows = BY_UNIT.get(figure, figure), []
    for number in range(1, len(part.systems)):
        gain = part.values(number, figure) - part.values(0, figure)
        gain = -gain if metric in LOWER_IS_BETTER else gain
        wins, losses = int((gain > EQUAL).sum()), int((gain < -EQUAL).sum())
        rows.append((part.split, part.task, metric, letter(number), wins, losses, len(gain) - wins - losses))
    return pl.DataFrame(rows, schema=COUNTS_SCHEMA, orient="row")


def most_changed(part: Part, settings: Sequence[Setting], number: int) -> list[Changed]:
    """Return the units of a part that changed most from a to each other run: `number` gains, then `number` losses.

    A change is that of the losses of the part's kind. Seeds of a setting are averaged; the answers shown are those of
    its first run.
    """
    kind = kind_of(part.task)
    found = []
    for other in range(1, len(part.systems)):
        before, after = (kind.losses(part, place) for place in (0, other))
        change = after - before
        ids = np.array(part.units["unit_id"].to_list())
        order = np.lexsort((ids, change))
        gains = [row for row in order[:number] if change[row] < -EQUAL]
        losses = [row for row in order[::-1][:number] if change[row] > EQUAL]
        chosen = [int(row) for row in (*gains, *losses)]
        runs = settings[0].runs[0], settings[other].runs[0]
        found += _described(part, runs, letter(other), (before, after), chosen)
    return found


def _described(
    part: Part, runs: tuple[Run, Run], name: str, losses: tuple[Values, Values], chosen: list[int]
) -> list[Changed]:
    kind, first = kind_of(part.task), runs[0]
    texts: dict[str, str | None] = {}
    if part.table is not None:
        key = "query_id" if part.table == QUERIES else "product_id"
        texts = dict(first.tables[part.table].select(key, "text").iter_rows())
    rows = []
    for row in chosen:
        unit, fold = part.units.select("unit_id", "fold").row(row)
        before, after = (kind.answer(part, run, row, loss[row]) for run, loss in zip(runs, losses, strict=True))
        better = bool(losses[1][row] < losses[0][row])
        text = unit if part.table is None else texts.get(unit) or ""
        rows.append(Changed(unit, text, fold, name, kind.right(part, first, row), before, after, better))
    return rows
