"""The figures of a recipe over training seeds, as `vitrine recipe run NAME --seeds N` prints them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline_lib.cli.output import Result, table
from pipeline_lib.experiments.recipes.seeds import SeedRun, mean_and_deviation, read_metrics
from pipeline_lib.report.headline import (
    CLASSIFICATION,
    RETRIEVAL,
    TOTALS,
    classification_rows,
    retrieval_rows,
    total_rows,
)

COLUMNS = RETRIEVAL | CLASSIFICATION | TOTALS
COUNTS = ("num_queries", "num_gallery")  # the same for all seeds, because the folds are
HEADINGS = ("experiment", "split", "task", "metric", "mean", "standard deviation", "seeds")


class Spread(NamedTuple):
    """One figure over the seeds of one recipe, or of one cell of its grid."""

    recipe: str
    split: str
    task: str
    metric: str
    values: list[float]


def seeds_result(runs: Sequence[SeedRun]) -> Result:
    """Return the mean and standard deviation of each figure if all runs have ended, else the names of the runs."""
    listed = [{"recipe": run.cell, "seed": run.seed, "name": run.experiment, "ended": run.ended} for run in runs]
    open_runs = [run.experiment for run in runs if not run.ended]
    if open_runs:
        note = f"{len(open_runs)} of {len(runs)} queued; `dvc queue start` runs them, then this command has the figures"
        rows = [(run.experiment,) for run in runs]
        return Result(
            {"experiments": listed, "figures": []}, rows, [table("Runs", ("experiment",), rows)], notes=[note]
        )
    spreads = [
        spread
        for cell in dict.fromkeys(run.cell for run in runs)
        for spread in figure_spreads(cell, [read_metrics(run.experiment) for run in runs if run.cell == cell])
    ]
    drawn = table("Training seeds on the same folds", HEADINGS, [_texts(one) for one in spreads], right=HEADINGS[4:])
    data = {"experiments": listed, "figures": [_record(one) for one in spreads]}
    notes = [f"seed {run.seed}: {run.experiment}" for run in runs]
    return Result(data, [_cells(one) for one in spreads], [drawn], notes=notes)


def figure_spreads(recipe: str, metrics: Sequence[Mapping[str, Any]]) -> list[Spread]:
    """Return each headline figure that the metrics of all seeds have, in the order of the headline."""
    found = [dict(_figures(one)) for one in metrics]
    return [
        Spread(recipe, *key, [one[key] for one in found]) for key in found[0] if all(key in other for other in found)
    ]


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], float]]:
    for rows in (retrieval_rows(metrics, {}), total_rows(metrics, {}), classification_rows(metrics, {})):
        for row in rows:
            shown = [one for one in row.figures if one.key not in COUNTS and not one.void]
            yield from (((row.split, row.task, one.key), one.value) for one in shown)


def _texts(spread: Spread) -> tuple[str, ...]:
    heading, written = COLUMNS[spread.metric]
    mean, deviation = mean_and_deviation(spread.values)
    place = (spread.recipe, spread.split, spread.task, heading)
    return *place, written(mean), written(deviation), str(len(spread.values))


def _cells(spread: Spread) -> tuple[str, ...]:
    mean, deviation = mean_and_deviation(spread.values)
    place = (spread.recipe, spread.split, spread.task, spread.metric)
    return *place, f"{mean:.6g}", f"{deviation:.3g}", str(len(spread.values))


def _record(spread: Spread) -> dict[str, Any]:
    mean, deviation = mean_and_deviation(spread.values)
    return spread._asdict() | {"mean": mean, "standard_deviation": deviation}
