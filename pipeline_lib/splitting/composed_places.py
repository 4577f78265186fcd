"""Where composed queries are: in the fold or test split of all their products, or on both sides of a split.

A query belongs to its reference, its relevant products and its subset. If these are in several places, the query is
neither trained on nor evaluated: its answer would be a product of training, or not in the gallery.
"""

from typing import NamedTuple

import polars as pl

from pipeline_lib.splitting.places import name_some


class Straddling(NamedTuple):
    """The number of composed queries across folds or splits, for the metrics and for the user."""

    counts: dict[str, int]
    notes: list[str]


def composed_places(queries: pl.DataFrame, relevance: pl.DataFrame, folds: pl.DataFrame) -> pl.DataFrame:
    """Return query_id, place_split (train | test), place_fold, trains and straddles of the composed queries, in order.

    `queries` and `relevance` are the catalogue's tables, `folds` has product_id, split and fold. `trains` is False for
    test and for queries with a split of val or test. A query that straddles has no place. An answered query whose own
    split is on the other side of test than its products straddles, too.
    """
    composed = queries.filter(pl.col("kind") == "composed")
    linked = linked_products(composed, relevance)
    placed = linked.join(folds, on="product_id", how="left")
    places = placed.group_by("query_id").agg(
        pl.struct("split", "fold").n_unique().alias("places"),
        pl.col("split").first().alias("place_split"),
        pl.col("fold").first().alias("place_fold"),
    )
    answered = relevance.filter(pl.col("grade") > 0).select("query_id").unique().with_columns(answered=True)
    own = composed.select("query_id", "split").join(places, on="query_id", how="left", maintain_order="left")
    own = own.join(answered, on="query_id", how="left", maintain_order="left")
    other_side = (pl.col("split") == "test") != (pl.col("place_split") == "test")
    straddles = (pl.col("places") != 1) | (other_side & pl.col("answered").fill_null(False)).fill_null(False)
    own = own.with_columns(straddles.alias("straddles"))
    evaluated = pl.col("split").is_in(["val", "test"]).fill_null(False)
    return own.select(
        "query_id",
        *(pl.when(~pl.col("straddles")).then(pl.col(name)).alias(name) for name in ("place_split", "place_fold")),
        (~pl.col("straddles") & (pl.col("place_split") == "train") & ~evaluated).fill_null(False).alias("trains"),
        "straddles",
    )


def linked_products(composed: pl.DataFrame, relevance: pl.DataFrame) -> pl.DataFrame:
    """Return query_id and product_id of all products of composed queries: reference, relevant products, subset."""
    reference = composed.select("query_id", product_id="reference_product_id")
    subset = composed.select("query_id", product_id="subset").explode("product_id").drop_nulls("product_id")
    answers = relevance.filter(pl.col("grade") > 0).join(composed, on="query_id", how="semi")
    return pl.concat([reference, subset, answers.select("query_id", "product_id")]).unique(maintain_order=True)


def straddling(queries: pl.DataFrame, relevance: pl.DataFrame, folds: pl.DataFrame) -> Straddling:
    """Return how many composed queries straddle; empty without a composed query. The tables are those of the places."""
    places = composed_places(queries, relevance, folds)
    if places.is_empty():
        return Straddling({}, [])
    across = places.filter("straddles")["query_id"]
    notes = []
    if len(across):
        notes.append(
            f"{len(across)} of {len(places)} composed queries have products on both sides of a split and are neither "
            f"trained on nor evaluated: {name_some(across)}"
        )
    return Straddling({"composed_straddling": len(across)}, notes)
