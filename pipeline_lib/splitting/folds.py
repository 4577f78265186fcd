"""Assigns each product to test or to a fold: by the table's own columns, else by a stratified group k-fold.

A split that the table gives is used unchanged, even if near-duplicates are on both sides of it. A note reports this.
The products that the file of split.assignment names stay where it puts them in either case.
"""

from collections.abc import Sequence

import polars as pl

from pipeline_lib.splitting.assignment import place_name
from pipeline_lib.splitting.stratify import TEST, assign_folds, name_some

# Columns of an assignment beside those of the table.
PINNED = {"split": "pinned_split", "fold": "pinned_fold"}
NOTHING_NAMED = pl.DataFrame(schema={"product_id": pl.String, "split": pl.String, "fold": pl.Int64, "bin": pl.Int64})


def split_products(
    products: pl.DataFrame, num_folds: int, test_fraction: float, seed: int, assignment: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Return the columns product_id, split (train | test) and fold, and notes for the user.

    A null fold means test, or part of every training set. `assignment`, as `read_assignment` returns it, takes
    precedence for the products that it names. Then comes the table's `fold` column, then its `split` column, whose val
    rows become fold 0. Without val rows `assign_folds` chooses the folds, and also test if there is no `split` column.
    Raises ValueError if a fold would have no training or no evaluation products, and if `assignment` divides a group.
    """
    named = NOTHING_NAMED if assignment is None else assignment
    given = products.select("product_id", "label", "group_id", pl.col("split").fill_null("train"), "fold").join(
        named.rename(PINNED), on="product_id", how="left", maintain_order="left"
    )
    notes = [] if assignment is None else _assignment_notes(products, given, len(assignment))
    if (given.select(pl.coalesce("pinned_split", "split")).to_series() == "test").all():
        raise ValueError("every row of the table is test: there is nothing to train on; check data.columns.split")
    if products["fold"].count():
        frame = _pinned(_given_folds(given))
    elif (given["split"] == "val").any():
        fold = pl.when(pl.col("split") == "val").then(pl.lit(0, dtype=pl.Int64))
        frame = _pinned(given.with_columns(fold.alias("fold"), _train_or_test().alias("split")))
    else:
        if num_folds < 2:
            raise ValueError("params.yaml: split.num_folds = 1 leaves nothing to train fold 0 on; write 2 or more")
        has_split = products["split"].count() > 0
        unassigned = given.filter((pl.col("split") != "test") | pl.col("bin").is_not_null())
        pins = _pinned_groups(unassigned.drop_nulls("bin"))
        bins, more = assign_folds(unassigned, num_folds, 0.0 if has_split else test_fraction, seed, pins)
        notes += more
        assigned = unassigned.select("product_id", pl.Series("place", bins, dtype=pl.Int64))
        frame = given.join(assigned, on="product_id", how="left", maintain_order="left").with_columns(
            pl.when(pl.col("place").fill_null(TEST) == TEST)
            .then(pl.lit("test"))
            .otherwise(pl.lit("train"))
            .alias("split"),
            pl.when(pl.col("place") >= 0).then(pl.col("place")).alias("fold"),
        )
        _check_num_folds(frame, num_folds)
    _check_trainable(frame)
    if not (frame["split"] == "test").any():
        notes.append("there are no test rows: figures are out-of-fold only")
    return frame.select("product_id", "split", "fold"), notes + _unlearnable(frame) + _leaks(frame)


def check_planned(frame: pl.DataFrame, planned: Sequence[int]) -> None:
    """Raise ValueError if plan.folds lists a fold that does not exist."""
    folds = frame["fold"].drop_nulls().unique().sort().to_list()
    for fold in planned:
        if fold not in folds:
            raise ValueError(
                f"params.yaml: plan.folds lists {fold}, but the folds are {', '.join(map(str, folds))}; "
                "they come from the table's fold or split column, else from split.num_folds"
            )


def tabulate(products: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the number of products of each label (null last) in test, each fold, and every training set."""
    place = (
        pl.when(pl.col("split") == "test")
        .then(pl.lit("test"))
        .when(pl.col("fold").is_null())
        .then(pl.lit("always_train"))
        .otherwise(pl.format("fold_{}", pl.col("fold")))
    )
    folds = [f"fold_{fold}" for fold in frame["fold"].drop_nulls().unique().sort()]
    columns = ["test", *folds, "always_train"]
    placed = frame.join(products.select("product_id", "label"), on="product_id", how="left").select(
        "label", place.alias("place")
    )
    counts = [(pl.col("place") == name).sum().cast(pl.Int64).alias(name) for name in columns]
    return placed.group_by("label").agg(counts).sort("label", nulls_last=True)


def _train_or_test() -> pl.Expr:
    return pl.when(pl.col("split") == "test").then(pl.lit("test")).otherwise(pl.lit("train"))


def _given_folds(given: pl.DataFrame) -> pl.DataFrame:
    foldless = given.filter((pl.col("split") == "val") & pl.col("fold").is_null())
    if len(foldless):
        raise ValueError(
            f"product {foldless['product_id'][0]!r}: split is val, but its fold is empty; give it a fold, or write "
            "train if it may be trained on"
        )
    fold = pl.when(pl.col("split") != "test").then(pl.col("fold"))
    return given.with_columns(fold.alias("fold"), _train_or_test().alias("split"))


def _pinned(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with the places of the assignment where it names the product."""
    named = pl.col("pinned_split").is_not_null()
    fold = pl.when(named).then(pl.col("pinned_fold")).otherwise(pl.col("fold"))
    return frame.with_columns(pl.coalesce("pinned_split", "split").alias("split"), fold.alias("fold"))


def _pinned_groups(rows: pl.DataFrame) -> dict[str, int]:
    """Return the bin of each group that the assignment names a product of; ValueError if it divides one."""
    places = rows.group_by("group_id").agg(pl.col("bin").n_unique().alias("count"))
    divided = places.filter(pl.col("count") > 1)["group_id"].sort()
    if len(divided):
        parts = rows.filter(pl.col("group_id") == divided[0]).unique("bin", maintain_order=True)
        names = " and ".join(
            f"{product_id!r} in {place_name(product_id, split, fold)}"
            for product_id, split, fold in parts.select("product_id", *PINNED.values()).rows()
        )
        raise ValueError(
            f"split.assignment divides {len(divided)} groups, whose products must stay together: {name_some(divided)}. "
            f"{divided[0]!r} has {names}; remove the rows of one side from the file, and they follow the other"
        )
    return dict(rows.select("group_id", "bin").unique().iter_rows())


def _assignment_notes(products: pl.DataFrame, given: pl.DataFrame, num_named: int) -> list[str]:
    """Return what the assignment names, what it lacks, and where it contradicts the table's own columns."""
    stay = given["bin"].count()
    notes = [
        f"split.assignment: {stay} products stay where it puts them, {len(given) - stay} are new, "
        f"{num_named - stay} of its products are no longer in the catalogue"
    ]
    test = pl.col("split") == "test"
    other = products["split"].is_not_null() & given.select(test != (pl.col("pinned_split") == "test")).to_series()
    other |= given.select(
        ~test & pl.col("fold").is_not_null() & ~pl.col("fold").eq_missing(pl.col("pinned_fold"))
    ).to_series()
    overruled = given.filter(other & given["bin"].is_not_null())["product_id"]
    if len(overruled):
        notes.append(
            f"split.assignment overrules the table's own split or fold of {len(overruled)} products: "
            f"{name_some(overruled)}"
        )
    return notes


def _unlearnable(frame: pl.DataFrame) -> list[str]:
    train = frame.filter(pl.col("split") == "train").drop_nulls("label")
    folds = train.group_by("label").agg(
        pl.col("fold").n_unique().alias("folds"), pl.col("fold").null_count().alias("free")
    )
    in_one_fold = folds.filter((pl.col("folds") == 1) & (pl.col("free") == 0))["label"]
    if len(in_one_fold) == 0:
        return []
    return [f"classes with all products in one fold, so that its model cannot learn them: {name_some(in_one_fold)}"]


def _leaks(frame: pl.DataFrame) -> list[str]:
    places = frame.group_by("group_id").agg(pl.struct("split", "fold").n_unique().alias("places"), pl.len())
    divided = places.filter(pl.col("places") > 1)
    if len(divided) == 0:
        return []
    return [
        f"{len(divided)} groups ({divided['len'].sum()} products) are on both sides of a split that the table gives, "
        f"so that near-duplicates of evaluated products are in training: {name_some(divided['group_id'])}"
    ]


def _check_num_folds(frame: pl.DataFrame, num_folds: int) -> None:
    count = frame["fold"].drop_nulls().n_unique()
    if count < num_folds:
        groups = frame.filter(pl.col("split") == "train")["group_id"].n_unique()
        raise ValueError(
            f"params.yaml: split.num_folds = {num_folds}, but only {count} folds got a product: {groups} groups to "
            "train on, and a class of a single group cannot be split; lower it, or check data.columns.group"
        )


def _check_trainable(frame: pl.DataFrame) -> None:
    train = frame.filter(pl.col("split") == "train")
    folds = train["fold"].drop_nulls().unique()
    if len(folds) == 1 and train["fold"].null_count() == 0:
        raise ValueError(
            f"fold {folds[0]} contains every row that is not test, so nothing is left to train its model; "
            "give the table's fold column a second value, or its split column train rows"
        )
