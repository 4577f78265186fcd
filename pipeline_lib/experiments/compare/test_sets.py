"""What two runs were measured on: the same queries, right answers, gallery and groups, or what differs.

A mean over other queries, or in another gallery, is another figure: its difference says nothing about the models. So
runs with other test sets are refused. Only out-of-fold figures may be left out, where the folds differ.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from pipeline_lib.experiments.compare.runs import Run

SPLITS = ("oof", "test")
ASKED = {"text": "the text", "reference_product_id": "the reference product", "subset": "the subset"}
EXAMPLES = 3
Names = tuple[str, str]
Place = tuple[str, str]  # split and task


@dataclass
class Overlap:
    """Which parts (split, task) two runs can be compared in, lines about those left out, and what is refused."""

    same: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunPair:
    """Two runs and their names in messages, with what differs in the folds and in the tables of their catalogues."""

    first: Run
    second: Run
    names: Names

    @property
    def runs(self) -> tuple[Run, Run]:
        """Return both runs."""
        return self.first, self.second

    @cached_property
    def folds(self) -> str:
        """Return in what the folds differ, or an empty text."""
        return _fold_difference(self.first, self.second, self.names)

    @cached_property
    def tables(self) -> dict[str, list[str]]:
        """Return for each of SPLITS in what the catalogues differ that queries of the split are measured on."""
        return {split: list(_tables_differ(self.first, self.second, split, self.names)) for split in SPLITS}


def splits_alike(
    pair: RunPair,
    task: str,
    rows: Callable[[Run, str], pl.DataFrame],
    differ: Callable[[RunPair, Place, list[pl.DataFrame]], Iterable[str]],
) -> Overlap:
    """Return the SPLITS in which both runs have the same `rows` of a task; `differ` gives the lines of one."""
    found = Overlap()
    tables = [rows(run, task) for run in pair.runs]
    for split in (split for split in SPLITS if any(split in table["split"] for table in tables)):
        if split == "oof" and pair.folds:
            found.left_out.append(f"{task}, oof is left out: {pair.folds}")
            continue
        lines = list(differ(pair, (split, task), [table.filter(pl.col("split") == split) for table in tables]))
        found.refused += lines
        found.same += [] if lines else [(split, task)]
    return found


def rows_alone(what: str, tables: Sequence[pl.DataFrame], key: Sequence[str], shown: str, names: Names) -> list[str]:
    """Return a line about the rows that one of two tables alone has by a key, with examples of `shown`, or none."""
    sides = (tables, tables[::-1])
    alone = [one.join(other, on=list(key), how="anti", nulls_equal=True).sort(shown) for one, other in sides]
    if not any(table.height for table in alone):
        return []
    parts = []
    for table, name in zip(alone, names, strict=True):
        listed = f" ({examples(table[shown])})" if table.height else ""
        parts.append(f"{table.height:,} only in {name}{listed}")
    return [f"{what}: {', '.join(parts)}"]


def changed_products(first: Run, second: Run) -> pl.Series:
    """Return the ids of the products of both runs whose photos or text differ."""
    empty = pl.Series("product_id", dtype=pl.String)
    found = [empty]
    for name, column in (("media", "content"), ("products", "text")):
        tables = [run.tables[name].select("product_id", column) for run in (first, second)]
        if first.tables[name] is not second.tables[name]:
            both = tables[0].join(tables[1], on="product_id")
            found.append(both.filter(pl.col(column).ne_missing(pl.col(f"{column}_right")))["product_id"])
    return pl.concat(found).unique()


def _fold_difference(a: Run, b: Run, names: Names) -> str:
    planned = [sorted(run.params.get("plan", {}).get("folds", [])) for run in (a, b)]
    if planned[0] != planned[1]:
        listed = [", ".join(map(str, folds)) or "none" for folds in planned]
        return f"plan.folds is {listed[0]} in {names[0]} and {listed[1]} in {names[1]}"
    trained = [run.tables["folds"].filter(pl.col("split") == "train") for run in (a, b)]
    both = trained[0].join(trained[1], on="product_id")
    moved = both.filter(~pl.col("fold").eq_missing(pl.col("fold_right"))).height
    others = sum(table.height for table in trained) - 2 * both.height
    return f"other folds: {moved:,} products are in another fold, {others:,} in one run only" if moved + others else ""


def _tables_differ(a: Run, b: Run, split: str, names: Names) -> Iterator[str]:
    """Yield a line for each table of the catalogue that differs in what a split is measured on."""
    members = [run.tables["folds"].filter(pl.col("split") == ("train" if split == "oof" else "test")) for run in (a, b)]
    yield from rows_alone("products of the gallery", members, ["product_id"], "product_id", names)
    if a.tables["media"] is not b.tables["media"]:
        photos = [run.tables["media"].join(members[0], on="product_id", how="semi") for run in (a, b)]
        both = photos[0].join(photos[1], on="product_id").filter(pl.col("content") != pl.col("content_right"))
        if both.height:
            yield f"the photos of {both.height:,} products differ ({examples(both['product_id'])})"
    answers = [
        run.tables["relevance"].filter(pl.col("grade") > 0).join(own, on="product_id", how="semi")
        for run, own in zip((a, b), members, strict=True)
    ]
    yield from rows_alone("right answers", answers, ["query_id", "product_id", "grade"], "query_id", names)
    both = a.tables["queries"].join(b.tables["queries"], on="query_id").join(answers[0], on="query_id", how="semi")
    for column, meaning in ASKED.items():
        other = both.filter(~pl.col(column).eq_missing(pl.col(f"{column}_right")))
        if other.height:
            yield f"{meaning} of {other.height:,} queries differs ({examples(other['query_id'])})"


def examples(ids: pl.Series) -> str:
    """Return the first few of some ids."""
    distinct = ids.unique().sort()
    more = ", ..." if len(distinct) > EXAMPLES else ""
    return ", ".join(distinct.head(EXAMPLES).to_list()) + more
