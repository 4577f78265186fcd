"""Judged queries of one fold: what each counts in nDCG@10 and preference by the thumbs of the search page.

A query is compared if all runs scored the same judged products with the same grades. People give thumbs all the time,
so that other queries are left out and counted, and refuse nothing. Each figure is a part of its own, because a query
without a wrong product has no preference: its tests and intervals count the queries that have one.
"""

from collections.abc import Sequence

import polars as pl
from scipy import sparse

from pipeline_lib.artifacts import paths
from pipeline_lib.evaluation.additive import Additive
from pipeline_lib.evaluation.judged import JUDGED_COLUMNS, NDCG, PREFERENCE, mean_of
from pipeline_lib.experiments.compare.parts import SHOWN, Answer, Part, Parts, RunsOfSettings, System, Values
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.compare.test_sets import Overlap, RunPair, changed_products, examples

JUDGED = "judged_"
ALL = "all"  # thumbs are given for products of every split


def judged_tasks(run: Run) -> list[str]:
    """Return a task for each fold of a run's plan.judged."""
    return [f"{JUDGED}{fold}" for fold in sorted(run.params.get("plan", {}).get("judged", []))]


def judged_title(_: str, task: str) -> str:
    """Return the heading of the judged queries of a fold.

    >>> judged_title("all", "judged_0")
    'judged queries, fold 0'
    """
    return f"judged queries, fold {_fold_of(task)}"


def judged_alike(pair: RunPair, task: str) -> Overlap:
    """Return the part if both runs have a table of their judged queries, or a line about those that have none."""
    fold = _fold_of(task)
    missing = [name for name, run in zip(pair.names, pair.runs, strict=True) if run.judged(fold) is None]
    if not missing:
        return Overlap([(ALL, task)])
    file = (paths.judged_of(fold) / paths.JUDGED_QUERIES).as_posix()
    why = f"{' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} no {file}"
    return Overlap(
        left_out=[
            f"{task} is left out: {why}, which older versions of the code did not write; `dvc repro judged@{fold}` in "
            "that run writes it"
        ]
    )


def judged_parts(split: str, task: str, settings: RunsOfSettings) -> Parts:
    """Return the part of each figure over the queries that were judged alike, and a line about all others."""
    fold = _fold_of(task)
    alike, left_out = _judged_alike(task, [run for runs in settings for run in runs])
    parts = []
    for figure in (PREFERENCE, NDCG):  # a query of few products has a high nDCG in any order
        column = JUDGED_COLUMNS[figure]
        # Equal grades give a query a value in every run or in none.
        rows = _table(settings[0][0], fold).join(alike, on="query", how="semi").drop_nulls(column).sort("query")
        query = pl.col("query")
        units = rows.select(query.alias("unit_id"), pl.lit(fold).alias("fold"), query.alias("group_id"), "num_right")
        systems = [
            [_system(figure, rows.select("query").join(_table(run, fold), on="query", maintain_order="left")[column])
             for run in runs]
            for runs in settings
        ]  # fmt: skip
        if units.height:
            parts.append(Part(split, task, units, systems, figure, None))
    return Parts(parts, left_out)


def lost_figure(part: Part, setting: int) -> Values:
    """Return minus what each query counts in the part's figure, (units,)."""
    return -part.values(setting, part.declared)


def judged_answer(part: Part, run: Run, row: int, loss: float) -> Answer:
    """Return what a query counts, and the first of its judged products by a run's scores."""
    return Answer(_row(part, run, row)["ranked"].to_list()[:SHOWN], value=-loss)


def judged_right(part: Part, run: Run, row: int) -> list[str]:
    """Return the products that were judged right for a query."""
    ids: list[str] = _row(part, run, row)["right"].to_list()
    return ids


def _fold_of(task: str) -> int:
    return int(task.removeprefix(JUDGED))


def _table(run: Run, fold: int) -> pl.DataFrame:
    table = run.judged(fold)
    assert table is not None, "judged_alike leaves out a run without this table"
    return table


def _row(part: Part, run: Run, row: int) -> dict[str, pl.Series]:
    found = _table(run, _fold_of(part.task)).filter(pl.col("query") == part.units["unit_id"][row])
    return {column: found[column][0] for column in ("ranked", "right")}


def _system(figure: str, values: pl.Series) -> System:
    counted = values.to_numpy()
    columns = sparse.csr_array(counted[:, None])
    additive = Additive((figure,), columns, lambda sums: sums / len(counted))
    return System(mean_of(counted), additive, {figure: counted})


def _judged_alike(task: str, runs: Sequence[Run]) -> tuple[pl.DataFrame, list[str]]:
    """Return the queries (query,) that all runs were measured on alike, and a line that counts the others."""
    tables = [_table(run, _fold_of(task)) for run in runs]
    every = pl.concat([table.select("query") for table in tables]).unique()
    if every.is_empty():
        return every, [f"{task} is left out: no query has a right product"]
    shared, graded = every, tables[0].select("query", "fingerprint")
    for table in tables:
        shared = shared.join(table, on="query", how="semi")
        graded = graded.join(table, on=["query", "fingerprint"], how="semi")
    changed = pl.concat([changed_products(runs[0], run) for run in runs]).unique()
    shown = tables[0].select("query", "ranked").explode("ranked").filter(pl.col("ranked").is_in(changed.implode()))
    alike = graded.select("query").join(shown, on="query", how="anti")
    others = every.join(alike, on="query", how="anti")
    if others.is_empty():
        return alike, []
    counts = {
        "with other thumbs or judged products": shared.height - graded.height,
        "in some of the runs only": every.height - shared.height,
        "with other photos or texts of a judged product": graded.height - alike.height,
    }
    why = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    listed = f"{why} ({examples(others['query'])})"
    if alike.is_empty():
        return alike, [f"{task} is left out: none of {every.height:,} queries was judged alike in all runs: {listed}"]
    return alike, [f"{task} leaves out {others.height:,} of {every.height:,} queries: {listed}"]
