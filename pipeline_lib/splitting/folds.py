"""Deals products into test and folds: whole groups only, each class spread evenly, the table's own splits first.

What the table says is kept even where it leaks; then the leak is told. Nothing is changed silently.
"""

from collections.abc import Sequence

import polars as pl

from pipeline_lib.splitting.stratify import TEST, assign_folds, name_some


def split_products(
    products: pl.DataFrame, num_folds: int, test_fraction: float, seed: int
) -> tuple[pl.DataFrame, list[str]]:
    """Return product_id, split (train | test) and fold (null: in every training set, or test), and notes for people.

    A `fold` column wins, then a `split` column (its val rows are the only fold), else both are dealt. ValueError if
    some fold would have nothing to train on or nothing to evaluate.
    """
    notes: list[str] = []
    given = products.select("product_id", "label", "group_id", pl.col("split").fill_null("train"), "fold")
    if (given["split"] == "test").all():
        raise ValueError("every row of the table is test: there is nothing to train on; check data.columns.split")
    if products["fold"].count():
        frame = _keep_folds(given)
    elif (given["split"] == "val").any():
        fold = pl.when(pl.col("split") == "val").then(pl.lit(0, dtype=pl.Int64))
        frame = given.with_columns(fold.alias("fold"), _train_or_test().alias("split"))
    else:
        if num_folds < 2:
            raise ValueError("params.yaml: split.num_folds = 1 leaves nothing to train fold 0 on; write 2 or more")
        has_split = products["split"].count() > 0
        waiting = given.filter(pl.col("split") != "test")
        bins, notes = assign_folds(waiting, num_folds, 0.0 if has_split else test_fraction, seed)
        dealt = waiting.select("product_id", pl.Series("bin", bins, dtype=pl.Int64))
        frame = given.join(dealt, on="product_id", how="left", maintain_order="left").with_columns(
            pl.when(pl.col("bin").fill_null(TEST) == TEST)
            .then(pl.lit("test"))
            .otherwise(pl.lit("train"))
            .alias("split"),
            pl.when(pl.col("bin") >= 0).then(pl.col("bin")).alias("fold"),
        )
        _check_dealt(frame, num_folds)
    _check_trainable(frame)
    if not (frame["split"] == "test").any():
        notes.append("there are no test rows: figures are out-of-fold only")
    return frame.select("product_id", "split", "fold"), notes + _unlearnable(frame) + _leaks(frame)


def check_planned(frame: pl.DataFrame, planned: Sequence[int]) -> None:
    """Raise ValueError if plan.folds lists a fold that was not made."""
    made = frame["fold"].drop_nulls().unique().sort().to_list()
    for fold in planned:
        if fold not in made:
            raise ValueError(
                f"params.yaml: plan.folds lists {fold}, but the folds are {', '.join(map(str, made))}; "
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


def _keep_folds(given: pl.DataFrame) -> pl.DataFrame:
    homeless = given.filter((pl.col("split") == "val") & pl.col("fold").is_null())
    if len(homeless):
        raise ValueError(
            f"product {homeless['product_id'][0]!r}: split is val, but its fold is empty; give it a fold, or write "
            "train if it may be trained on"
        )
    fold = pl.when(pl.col("split") != "test").then(pl.col("fold"))
    return given.with_columns(fold.alias("fold"), _train_or_test().alias("split"))


def _unlearnable(frame: pl.DataFrame) -> list[str]:
    train = frame.filter(pl.col("split") == "train").drop_nulls("label")
    folds = train.group_by("label").agg(
        pl.col("fold").n_unique().alias("folds"), pl.col("fold").null_count().alias("free")
    )
    torn = folds.filter((pl.col("folds") == 1) & (pl.col("free") == 0))["label"]
    return (
        [f"classes that one fold holds whole, so that its model cannot learn them: {name_some(torn)}"]
        if len(torn)
        else []
    )


def _leaks(frame: pl.DataFrame) -> list[str]:
    places = frame.group_by("group_id").agg(pl.struct("split", "fold").n_unique().alias("places"), pl.len())
    torn = places.filter(pl.col("places") > 1)
    if len(torn) == 0:
        return []
    return [
        f"{len(torn)} groups ({torn['len'].sum()} products) lie on both sides of a split that the table gives, which "
        f"was kept: near-duplicates of what is evaluated are trained on: {name_some(torn['group_id'])}"
    ]


def _check_dealt(frame: pl.DataFrame, num_folds: int) -> None:
    made = frame["fold"].drop_nulls().n_unique()
    if made < num_folds:
        groups = frame.filter(pl.col("split") == "train")["group_id"].n_unique()
        raise ValueError(
            f"params.yaml: split.num_folds = {num_folds}, but only {made} folds got a product: {groups} groups to "
            "train on, and a class that is one group cannot be parted; lower it, or check data.columns.group"
        )


def _check_trainable(frame: pl.DataFrame) -> None:
    train = frame.filter(pl.col("split") == "train")
    folds = train["fold"].drop_nulls().unique()
    if len(folds) == 1 and train["fold"].null_count() == 0:
        raise ValueError(
            f"fold {folds[0]} holds every row that is not test: there is nothing to train it on; "
            "give the table's fold column a second value, or its split column train rows"
        )
