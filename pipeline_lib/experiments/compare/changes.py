"""How single queries or products fare: wins, losses and ties, and those whose rank changed most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.experiments.compare.decisions import letter
from pipeline_lib.experiments.compare.parts import BY_UNIT, LOWER_IS_BETTER, Part
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
Values = NDArray[np.float64]
SHOWN = 5  # products of a ranking
EQUAL = 1e-9


@dataclass(frozen=True)
class Answer:
    """What one run returned for a query: its expected rank or 1 for a right class, and the products or the class."""

    rank: float
    products: list[str]
    predicted: str | None = None


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

    @property
    def better(self) -> bool:
        """Return whether the other run is better."""
        return self.after.rank < self.before.rank


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

    A rank's change is that of its logarithm, so that 1 to 10 is as much as 10 to 100. Seeds of a setting are averaged;
    the answers shown are those of its first run.
    """
    found = []
    for other in range(1, len(part.systems)):
        ranked = part.systems[0][0].ranks is not None
        before, after = (_places(part, place, ranked) for place in (0, other))
        change = after - before
        ids = np.array(part.units["unit_id"].to_list())
        order = np.lexsort((ids, change))
        gains = [row for row in order[:number] if change[row] < -EQUAL]
        losses = [row for row in order[::-1][:number] if change[row] > EQUAL]
        chosen = [int(row) for row in (*gains, *losses)]
        found += _described(part, (settings[0], settings[other]), letter(other), (before, after), chosen)
    return found


def _places(part: Part, setting: int, ranked: bool) -> Values:
    """Return the mean logarithm of the ranks over a setting's runs, or its share of wrong classes, (units,)."""
    runs = part.systems[setting]
    if ranked:
        return np.asarray(np.mean([np.log(system.by_unit["mean_rank"]) for system in runs], axis=0))
    return np.asarray(np.mean([1 - system.by_unit["top1"] for system in runs], axis=0))


def _described(
    part: Part,
    sides: tuple[Setting, Setting],
    run: str,
    places: tuple[Values, Values],
    chosen: list[int],
) -> list[Changed]:
    first = sides[0].runs[0]
    ranked = part.systems[0][0].ranks is not None
    queries = dict(first.tables["queries"].select("query_id", "text").iter_rows())
    products = dict(first.tables["products"].select("product_id", "text").iter_rows())
    units = part.units[chosen]
    wanted = units["unit_id"].implode()
    answers = first.tables["relevance"].filter(pl.col("grade") > 0, pl.col("query_id").is_in(wanted))
    gallery = first.tables["folds"].select("product_id", "split", "fold")
    answers = answers.join(gallery, on="product_id", how="left")
    rows = []
    for row, (unit, fold) in zip(chosen, units.select("unit_id", "fold").iter_rows(), strict=True):
        here = pl.col("split").eq("test" if part.split == "test" else "train") & _of_fold(fold)
        right = answers.filter(pl.col("query_id") == unit, here)["product_id"].to_list() if part.of_queries else [unit]
        both = [
            Answer(float(np.exp(place[row])) if ranked else float(1 + place[row]), *_returned(part, side, unit, fold))
            for place, side in zip(places, sides, strict=True)
        ]
        text = (queries.get(unit) if part.of_queries else products.get(unit)) or ""
        rows.append(Changed(unit, text, fold, run, right, both[0], both[1]))
    return rows


def _returned(part: Part, setting: Setting, unit: str, fold: int | None) -> tuple[list[str], str | None]:
    """Return the best products of a query in the first run of a setting, and the class that it predicts."""
    run = setting.runs[0]
    if part.systems[0][0].ranks is None:
        row = run.scores.filter(pl.col("product_id") == unit, pl.col("split") == part.split)
        return [], str(row["predicted"][0])
    direction = part.task.removesuffix("_subset")
    best = run.rankings.filter(
        pl.col("direction") == direction,
        pl.col("query_id") == unit,
        pl.col("split") == part.split,
        _of_fold(fold),
    )
    return best.sort("rank")["product_id"].head(SHOWN).to_list(), None


def _of_fold(fold: int | None) -> pl.Expr:
    return pl.col("fold").eq_missing(pl.lit(fold, pl.Int64))
