"""Assigns each product to test or to a fold: by the table's own columns, else by a stratified group k-fold.

A split that the table gives is used unchanged, and the products that the file of split.assignment names stay where it
puts them, even if near-duplicates are on both sides. Notes report this.
"""

from collections.abc import Sequence

import polars as pl

from pipeline_lib.splitting.places import TEST, name_some
from pipeline_lib.splitting.stratify import assign_folds

# Columns of an assignment beside those of the table.
PINNED = {"split": "pinned_split", "fold": "pinned_fold"}
# What gives a split: its name in notes, and how to keep a group together.
Source = tuple[str, str]
TABLE: Source = ("the table", "correct its split or fold column")
FILE: Source = ("split.assignment", "remove the rows of one side from its file, and they follow the other")
NOTHING_NAMED = pl.DataFrame(schema={"product_id": pl.String, "split": pl.String, "fold": pl.Int64, "bin": pl.Int64})


def split_products(
    products: pl.DataFrame, num_folds: int, test_fraction: float, seed: int, assignment: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Return the columns product_id, split (train | test) and fold, and notes for the user.

    A null fold means test, or part of every training set. `assignment`, as `read_assignment` returns it, takes
    precedence for the products that it names. Then comes the table's `fold` column, then its `split` column, whose val
    rows become fold 0. Without val rows `assign_folds` chooses the folds, and also test if there is no `split` column;
    products of one fold_group_id stay together then, but for those that `assignment` names. Raises ValueError if a fold
    would have no training or no evaluation products.
    """
    named = NOTHING_NAMED if assignment is None else assignment
    given = products.select(
        "product_id", "label", "group_id", "fold_group_id", pl.col("split").fill_null("train"), "fold"
    ).join(named.rename(PINNED), on="product_id", how="left", maintain_order="left")
    notes = [] if assignment is None else _assignment_notes(products, given, len(assignment))
    if (given.select(pl.coalesce("pinned_split", "split")).to_series() == "test").all():
        raise ValueError("every row of the table is test: there is nothing to train on; check data.columns.split")
    has_split, has_fold = (products[name].count() > 0 for name in ("split", "fold"))
    if has_fold:
        frame = _pinned(_given_folds(given))
    elif (given["split"] == "val").any():
        fold = pl.when(pl.col("split") == "val").then(pl.lit(0, dtype=pl.Int64))
        frame = _pinned(given.with_columns(fold.alias("fold"), _train_or_test().alias("split")))
    else:
        frame, more = _assigned(given, num_folds, 0.0 if has_split else test_fraction, seed)
        notes += more
    _check_trainable(frame)
    if not (frame["split"] == "test").any():
        notes.append("there are no test rows: figures are out-of-fold only")
    sources = [TABLE] * (has_split or has_fold) + [FILE] * (assignment is not None)
    return frame.select("product_id", "split", "fold"), notes + _unlearnable(frame) + _leaks(frame, sources)


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


def _assigned(given: pl.DataFrame, num_folds: int, test_fraction: float, seed: int) -> tuple[pl.DataFrame, list[str]]:
    """Return a frame in which products outside the table's test split are in test or in a fold, and notes.

    A product that the assignment does not name goes where most named products of its group_id are, else those of its
    fold_group_id.
    """
    if num_folds < 2:
        raise ValueError("params.yaml: split.num_folds = 1 leaves nothing to train fold 0 on; write 2 or more")
    free = given.filter((pl.col("split") != "test") | pl.col("bin").is_not_null())
    same, fold = (_usual_bins(free, level) for level in ("group_id", "fold_group_id"))
    groups = free.select("label", group_id="fold_group_id")
    bins, notes = assign_folds(groups, num_folds, test_fraction, seed, dict(fold.iter_rows()))
    followed = free.join(same, on="group_id", how="left", maintain_order="left", suffix="_of_same")
    assigned = followed.select(
        "product_id", pl.coalesce("bin", "bin_of_same", pl.Series("assigned", bins, dtype=pl.Int64)).alias("place")
    )
    place = pl.col("place").fill_null(TEST)
    frame = given.join(assigned, on="product_id", how="left", maintain_order="left").with_columns(
        pl.when(place == TEST).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split"),
        pl.when(place >= 0).then(place).alias("fold"),
    )
    _check_num_folds(frame, num_folds)
    return frame, notes


def _usual_bins(rows: pl.DataFrame, level: str) -> pl.DataFrame:
    """Return the columns `level` and bin: where most named products of each group are, the first of equal ones."""
    counts = rows.drop_nulls("bin").group_by(level, "bin").len()
    ordered = counts.sort(level, "len", "bin", descending=[False, True, False])
    return ordered.unique(level, keep="first", maintain_order=True).select(level, "bin")


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
    """Return notes about the classes that no figure counts, because no model that predicts them learns them."""
    classes = frame.drop_nulls("label").group_by("label")
    places = classes.agg(
        (pl.col("split") == "test").all().alias("in_test"),
        pl.col("fold").filter(pl.col("split") == "train").n_unique().alias("folds"),
        pl.col("fold").filter(pl.col("split") == "train").null_count().alias("free"),
    )
    in_one_fold = places.filter((pl.col("folds") == 1) & (pl.col("free") == 0) & ~pl.col("in_test"))["label"]
    in_test = places.filter("in_test")["label"]
    notes = {
        "one fold, so that its model cannot learn them and their products there are in no class figure": in_one_fold,
        "test, so that no model learns them and they are in no class figure": in_test,
    }
    return [f"classes with all products in {what}: {name_some(own)}" for what, own in notes.items() if len(own)]


def _leaks(frame: pl.DataFrame, sources: Sequence[Source]) -> list[str]:
    """Return notes about groups on both sides of a split, those of the same thing first; `sources` give the split."""
    divided = {
        level: frame.filter(pl.struct("split", "fold").n_unique().over(level) > 1)
        for level in ("group_id", "fold_group_id")
    }
    same = divided["group_id"]
    perhaps = divided["fold_group_id"].join(same, on="fold_group_id", how="anti")
    given_by = " or ".join(name for name, _ in sources)
    ways_out = " or ".join(way_out for _, way_out in sources)
    notes = []
    if len(same):
        notes.append(
            f"{same['group_id'].n_unique()} groups of the same thing ({len(same)} products) are on both sides of a "
            f"split that {given_by} gives, so that copies of evaluated products are in training: "
            f"{name_some(same['group_id'].unique())}; to keep them together, {ways_out}"
        )
    if len(perhaps):
        notes.append(
            f"{perhaps['fold_group_id'].n_unique()} groups of products that look alike, have equal texts or share a "
            f"composed query ({len(perhaps)} products) are on both sides of a split that {given_by} gives: "
            f"{name_some(perhaps['fold_group_id'].unique())}"
        )
    return notes


def _check_num_folds(frame: pl.DataFrame, num_folds: int) -> None:
    count = frame["fold"].drop_nulls().n_unique()
    if count < num_folds:
        groups = frame.filter(pl.col("split") == "train")["fold_group_id"].n_unique()
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
