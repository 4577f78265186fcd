"""What two runs were measured on: the same queries, right answers, gallery and groups, or what differs.

A mean over other queries, or in another gallery, is another figure: its difference says nothing about the models. So
runs with other test sets are refused. Only out-of-fold figures may be left out, where the folds differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from pipeline_lib.experiments.compare.runs import Run

TEXT_TASKS = ("text_to_image", "image_to_text")
CLASSIFICATION, COMPOSED = "classification", "composed_"
SPLITS = ("oof", "test")
RANK_KEY = ["fold", "query_id"]
# The label is part of the key: a product whose label was corrected between two runs is another right answer.
SCORE_KEY = ["fold", "product_id", "label", "group_id"]
MEASURED_ON = {
    "num_gallery": "the size of the gallery",
    "num_right": "the number of right answers",
    "group_id": "the group",
}
ASKED = {"text": "the text", "reference_product_id": "the reference product", "subset": "the subset"}
EXAMPLES = 3


@dataclass
class Overlap:
    """Which parts (split, task) two runs can be compared in, lines about those left out, and what is refused."""

    same: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def overlap(a: Run, b: Run, names: tuple[str, str], only: list[str]) -> Overlap:
    """Return the parts that both runs were measured on alike; `names` are those of a and b in messages.

    `only` limits the tasks; an empty list is all.
    """
    found = Overlap()
    tasks = [task for task in dict.fromkeys([*tasks_of(a), *tasks_of(b)]) if not only or task in only]
    folds = fold_difference(a, b, names)
    tables = {split: list(_tables_differ(a, b, split, names)) for split in SPLITS}
    for task in tasks:
        own, other = (rows_of(run, task) for run in (a, b))
        if own.is_empty() or other.is_empty():
            found.left_out.append(f"{task} is left out: only {names[own.is_empty()]} has it")
            continue
        if task == CLASSIFICATION and (difference := _class_difference(a, b, names)):
            found.left_out.append(f"classification is left out: {difference}")
            continue
        for split in (split for split in SPLITS if split in {*own["split"], *other["split"]}):
            if split == "oof" and folds:
                found.left_out.append(f"{task}, oof is left out: {folds}")
                continue
            parts = [table.filter(pl.col("split") == split) for table in (own, other)]
            lines = [f"{split}, {task}: {line}" for line in _rows_differ(parts[0], parts[1], task, names)]
            if task != CLASSIFICATION:  # a classifier has neither queries nor a gallery
                lines = [*(f"{split}: {line}" for line in tables[split]), *lines]
            found.refused += lines
            found.same += [] if lines else [(split, task)]
    found.refused = list(dict.fromkeys(found.refused))
    return found


def _class_difference(a: Run, b: Run, names: tuple[str, str]) -> str:
    """Return which classes one run alone predicts, up to three of each, or an empty text."""
    parts = []
    for name, own, other in ((names[0], a, b), (names[1], b, a)):
        if alone := sorted(set(own.classes) - set(other.classes)):
            parts.append(f"{name} alone predicts {', '.join(map(repr, alone[:3]))}{', ...' * (len(alone) > 3)}")
    return "; ".join(parts)


def rows_of(run: Run, task: str) -> pl.DataFrame:
    """Return the rows of a run's ranks, or of its class scores, that a task is measured on."""
    if task == CLASSIFICATION:
        return run.scores.filter(pl.col("label").is_in(run.classes))
    return run.ranks.filter(pl.col("direction") == task)


def fold_difference(a: Run, b: Run, names: tuple[str, str]) -> str:
    """Return in what the folds of two runs differ, or an empty text."""
    planned = [sorted(run.params.get("plan", {}).get("folds", [])) for run in (a, b)]
    if planned[0] != planned[1]:
        listed = [", ".join(map(str, folds)) or "none" for folds in planned]
        return f"plan.folds is {listed[0]} in {names[0]} and {listed[1]} in {names[1]}"
    trained = [run.tables["folds"].filter(pl.col("split") == "train") for run in (a, b)]
    both = trained[0].join(trained[1], on="product_id")
    moved = both.filter(~pl.col("fold").eq_missing(pl.col("fold_right"))).height
    others = sum(table.height for table in trained) - 2 * both.height
    return f"other folds: {moved:,} products are in another fold, {others:,} in one run only" if moved + others else ""


def tasks_of(run: Run) -> list[str]:
    """Return the tasks that a run has ranks or class scores of; corrections of hubness are none of their own."""
    ranked = run.ranks["direction"].unique().to_list()
    composed = sorted(task for task in ranked if task.startswith(COMPOSED))
    classified = [] if rows_of(run, CLASSIFICATION).is_empty() else [CLASSIFICATION]
    return [*(task for task in TEXT_TASKS if task in ranked), *classified, *composed]


def _rows_differ(a: pl.DataFrame, b: pl.DataFrame, task: str, names: tuple[str, str]) -> Iterator[str]:
    what, key = ("products", SCORE_KEY) if task == CLASSIFICATION else ("queries", RANK_KEY)
    shown = key[1]
    alone = [one.join(other, on=key, how="anti", nulls_equal=True).sort(shown) for one, other in ((a, b), (b, a))]
    if any(table.height for table in alone):
        yield _only(f"{what}{' with label and group' if task == CLASSIFICATION else ''}", alone, shown, names)
    if task == CLASSIFICATION:
        return
    both = a.join(b, on=key, nulls_equal=True, suffix="_b")
    for column, meaning in MEASURED_ON.items():
        other = both.filter(pl.col(column) != pl.col(f"{column}_b")).sort("query_id")
        if other.height:
            query, one, two = other.select("query_id", column, f"{column}_b").row(0)
            yield f"{meaning} of {other.height:,} queries differs ({query}: {one} in {names[0]}, {two} in {names[1]})"


def _tables_differ(a: Run, b: Run, split: str, names: tuple[str, str]) -> Iterator[str]:
    """Yield a line for each table of the catalogue that differs in what a split is measured on."""
    members = [run.tables["folds"].filter(pl.col("split") == ("train" if split == "oof" else "test")) for run in (a, b)]
    alone = [one.join(other, on="product_id", how="anti") for one, other in (members, members[::-1])]
    if any(table.height for table in alone):
        yield _only("products of the gallery", alone, "product_id", names)
    if a.tables["media"] is not b.tables["media"]:
        photos = [run.tables["media"].join(members[0], on="product_id", how="semi") for run in (a, b)]
        both = photos[0].join(photos[1], on="product_id").filter(pl.col("content") != pl.col("content_right"))
        if both.height:
            yield f"the photos of {both.height:,} products differ ({_examples(both['product_id'])})"
    answers = [
        run.tables["relevance"].filter(pl.col("grade") > 0).join(own, on="product_id", how="semi")
        for run, own in zip((a, b), members, strict=True)
    ]
    key = ["query_id", "product_id", "grade"]
    alone = [one.join(other, on=key, how="anti") for one, other in (answers, answers[::-1])]
    if any(table.height for table in alone):
        yield _only("right answers", alone, "query_id", names)
    both = a.tables["queries"].join(b.tables["queries"], on="query_id").join(answers[0], on="query_id", how="semi")
    for column, meaning in ASKED.items():
        other = both.filter(~pl.col(column).eq_missing(pl.col(f"{column}_right")))
        if other.height:
            yield f"{meaning} of {other.height:,} queries differs ({_examples(other['query_id'])})"


def _only(what: str, alone: list[pl.DataFrame], column: str, names: tuple[str, str]) -> str:
    parts = []
    for table, name in zip(alone, names, strict=True):
        shown = f" ({_examples(table[column])})" if table.height else ""
        parts.append(f"{table.height:,} only in {name}{shown}")
    return f"{what}: {', '.join(parts)}"


def _examples(ids: pl.Series) -> str:
    distinct = ids.unique().sort()
    more = ", ..." if len(distinct) > EXAMPLES else ""
    return ", ".join(distinct.head(EXAMPLES).to_list()) + more
