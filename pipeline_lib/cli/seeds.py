"""`vitrine seeds`: a recipe, or params.yaml, with several training seeds on the same folds, and what they give."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pipeline_lib.cli.completion import complete_recipe
from pipeline_lib.cli.output import AsJson, Result, show, table
from pipeline_lib.cli.recipe import Changes, Tiny

if TYPE_CHECKING:
    from pipeline_lib.experiments.recipes.seeds import SeedRun, Summary

COUNTS = ("num_queries", "num_gallery")  # the same for all seeds, because the folds are
HEADINGS = ("experiment", "split", "task", "metric", "mean", "standard deviation", "mean, 95 %", "seeds")
Count = Annotated[int, typer.Argument(metavar="N", help="Number of training seeds: train.seed, +1, +2 ...")]
Recipe = Annotated[
    str | None,
    typer.Argument(help="A recipe; without one params.yaml as it is.", autocompletion=complete_recipe),
]
Now = Annotated[bool, typer.Option("--now", help="Run them one after the other, in place of queueing them.")]


class Spread(NamedTuple):
    """One figure over the seeds of one recipe, or of one cell of its grid; `limits` are the values that it can have."""

    recipe: str
    split: str
    task: str
    metric: str
    values: list[float]
    limits: tuple[float, float] = (0.0, 1.0)

    @property
    def summary(self) -> "Summary":
        """Return mean, deviation and interval."""
        from pipeline_lib.experiments.recipes.seeds import summarise

        return summarise(self.values, self.limits)


def seeds(
    count: Count,
    recipe: Recipe = None,
    change: Changes = None,
    now: Now = False,
    tiny: Tiny = False,
    as_json: AsJson = False,
) -> None:
    """Queue N training seeds on the same folds; when they have ended, print mean and deviation of each figure.

    `dvc queue start` runs what is queued. What ran or waits already is not started again, so the same command prints
    the figures afterwards. `vitrine compare` reads the name of the seeds as one setting. The limits of a mean are those
    of Student's t, cut at the values that the figure can have.

    In a pipe: experiment, split, task, metric, mean, standard deviation, limits of the mean, number of seeds.

    JSON: experiments (with recipe, setting, seed, name and ended) and figures (with recipe, split, task, metric, mean,
    standard_deviation, low, high and values, one a seed), empty until all have ended.
    """
    from pipeline_lib.experiments.recipes.seeds import run_seeds

    show(seeds_result(run_seeds(recipe, count, now, change or [], tiny)), as_json)


def seeds_result(runs: "Sequence[SeedRun]") -> Result:
    """Return mean, deviation and interval of each figure if all runs have ended, else the names of the runs."""
    from pipeline_lib.experiments.recipes.seeds import read_metrics

    listed = [
        {"recipe": run.cell, "setting": run.setting, "seed": run.seed, "name": run.experiment, "ended": run.ended}
        for run in runs
    ]
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
    names = " ".join(dict.fromkeys(run.setting for run in runs))
    notes = [
        *(f"seed {run.seed}: {run.experiment}" for run in runs),
        "The interval is that of the mean over seeds, on these queries. To decide between settings, with queries and "
        f"seeds: vitrine compare {names}{'' if ' ' in names else ' OTHER'}",
        *_cut_note(spreads),
    ]
    return Result(data, [_cells(one) for one in spreads], [drawn], notes=notes)


def _cut_note(spreads: Sequence[Spread]) -> Iterator[str]:
    """Yield a line if intervals are cut: what Student's t of so few seeds can say, and what one more seed changes."""
    from pipeline_lib.experiments.recipes.seeds import reach

    if number := sum(spread.summary.cut for spread in spreads):
        seeds = len(spreads[0].values)
        yield (
            f"{number} of {len(spreads)} intervals {'is' if number == 1 else 'are'} cut at 0 or 100 %, rank 1 or the "
            f"gallery's size: with {seeds} seeds they reach {reach(seeds):.1f} standard deviations to each side, with "
            f"{seeds + 1} {reach(seeds + 1):.1f}"
        )


def figure_spreads(recipe: str, metrics: Sequence[Mapping[str, Any]]) -> list[Spread]:
    """Return each headline figure that the metrics of all seeds have, in the order of the headline."""
    found = [dict(_figures(one)) for one in metrics]
    return [
        Spread(recipe, *key, [one[key][0] for one in found], limits)
        for key, (_, limits) in found[0].items()
        if all(key in other for other in found)
    ]


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], tuple[float, tuple[float, float]]]]:
    """Yield (split, task, metric) of each figure, its value and the values that it can have."""
    from pipeline_lib.metrics.ranges import figure_range
    from pipeline_lib.report.headline import classification_rows, retrieval_rows, total_rows

    for rows in (retrieval_rows(metrics, {}), total_rows(metrics, {}), classification_rows(metrics, {})):
        for row in rows:
            gallery = next((one.value for one in row.figures if one.key == "num_gallery"), math.inf)
            for one in row.figures:
                if one.key not in COUNTS and not one.void:
                    yield (row.split, row.task, one.key), (one.value, figure_range(one.key, gallery))


def _texts(spread: Spread) -> tuple[str, ...]:
    from pipeline_lib.report.headline import CLASSIFICATION, RETRIEVAL, TOTALS

    heading, written = (RETRIEVAL | CLASSIFICATION | TOTALS)[spread.metric]
    found = spread.summary
    limits = f"{written(found.low)} .. {written(found.high)}"
    place = (spread.recipe, spread.split, spread.task, heading)
    return *place, written(found.mean), written(found.deviation), limits, str(len(spread.values))


def _cells(spread: Spread) -> tuple[str, ...]:
    found = spread.summary
    numbers = (f"{found.mean:.6g}", f"{found.deviation:.3g}", f"{found.low:.6g}", f"{found.high:.6g}")
    return spread.recipe, spread.split, spread.task, spread.metric, *numbers, str(len(spread.values))


def _record(spread: Spread) -> dict[str, Any]:
    found, record = spread.summary, spread._asdict()
    del record["limits"]
    return record | {"mean": found.mean, "standard_deviation": found.deviation, "low": found.low, "high": found.high}
