"""`vitrine seeds`: a recipe, or params.yaml, with several training seeds on the same folds, and what they give."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pipeline_lib.cli.completion import complete_recipe
from pipeline_lib.cli.output import AsJson, Result, show, table
from pipeline_lib.cli.recipe import Changes, Tiny

if TYPE_CHECKING:
    from pipeline_lib.experiments.recipes.seeds import SeedRun

COUNTS = ("num_queries", "num_gallery")  # the same for all seeds, because the folds are
HEADINGS = ("experiment", "split", "task", "metric", "mean", "standard deviation", "mean, 95 %", "seeds")
Count = Annotated[int, typer.Argument(metavar="N", help="Number of training seeds: train.seed, +1, +2 ...")]
Recipe = Annotated[
    str | None,
    typer.Argument(help="A recipe; without one params.yaml as it is.", autocompletion=complete_recipe),
]
Now = Annotated[bool, typer.Option("--now", help="Run them one after the other, in place of queueing them.")]


class Spread(NamedTuple):
    """One figure over the seeds of one recipe, or of one cell of its grid."""

    recipe: str
    split: str
    task: str
    metric: str
    values: list[float]


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
    the figures afterwards. `vitrine compare` reads the name of the seeds as one setting.

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
    ]
    return Result(data, [_cells(one) for one in spreads], [drawn], notes=notes)


def figure_spreads(recipe: str, metrics: Sequence[Mapping[str, Any]]) -> list[Spread]:
    """Return each headline figure that the metrics of all seeds have, in the order of the headline."""
    found = [dict(_figures(one)) for one in metrics]
    return [
        Spread(recipe, *key, [one[key] for one in found]) for key in found[0] if all(key in other for other in found)
    ]


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], float]]:
    from pipeline_lib.report.headline import classification_rows, retrieval_rows, total_rows

    for rows in (retrieval_rows(metrics, {}), total_rows(metrics, {}), classification_rows(metrics, {})):
        for row in rows:
            shown = [one for one in row.figures if one.key not in COUNTS and not one.void]
            yield from (((row.split, row.task, one.key), one.value) for one in shown)


def _texts(spread: Spread) -> tuple[str, ...]:
    from pipeline_lib.experiments.recipes.seeds import summarise
    from pipeline_lib.report.headline import CLASSIFICATION, RETRIEVAL, TOTALS

    heading, written = (RETRIEVAL | CLASSIFICATION | TOTALS)[spread.metric]
    found = summarise(spread.values)
    limits = f"{written(found.low)} .. {written(found.high)}"
    place = (spread.recipe, spread.split, spread.task, heading)
    return *place, written(found.mean), written(found.deviation), limits, str(len(spread.values))


def _cells(spread: Spread) -> tuple[str, ...]:
    from pipeline_lib.experiments.recipes.seeds import summarise

    found = summarise(spread.values)
    numbers = (f"{found.mean:.6g}", f"{found.deviation:.3g}", f"{found.low:.6g}", f"{found.high:.6g}")
    return spread.recipe, spread.split, spread.task, spread.metric, *numbers, str(len(spread.values))


def _record(spread: Spread) -> dict[str, Any]:
    from pipeline_lib.experiments.recipes.seeds import summarise

    found = summarise(spread.values)
    limits = {"standard_deviation": found.deviation, "low": found.low, "high": found.high}
    return spread._asdict() | {"mean": found.mean} | limits
