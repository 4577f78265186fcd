"""Selects composed queries whose products remain, and counts what rejected products take from them.

A product without a readable photo is no product of the catalogue. A query without its reference or without all its
targets is dropped; another missing product is a missing candidate: the gallery or the subset is smaller, and so the
query easier than published.
"""

import polars as pl

from pipeline_lib.catalogue.cleaning import TooManyRejectedError
from pipeline_lib.catalogue.schema import (
    QUERIES,
    QUERY_DROPPED,
    QUERY_SLICES,
    REJECTS,
    RELEVANCE,
    STRINGS,
    ComposedQueries,
    Records,
    conform,
)

NO_COMPOSED = ComposedQueries(
    pl.DataFrame(schema=QUERIES), pl.DataFrame(schema=RELEVANCE), pl.DataFrame(schema=QUERY_SLICES)
)


def select_composed(records: Records, products: pl.DataFrame) -> tuple[ComposedQueries, pl.DataFrame]:
    """Return the composed queries of the records without rejected products, and reject rows for dropped queries.

    A query is dropped if its reference or all its targets were rejected; soft answers do not become targets. Raises
    TooManyRejectedError if no query is left.
    """
    composed = records.composed
    if composed is None:
        return NO_COMPOSED, pl.DataFrame(schema=REJECTS)
    known = products["product_id"].implode()
    targets = composed.relevance.filter(pl.col("grade") == pl.col("grade").max().over("query_id"))
    remaining = composed.relevance.filter(pl.col("product_id").is_in(known))
    with_target = targets.filter(pl.col("product_id").is_in(known))["query_id"].implode()
    without = targets.filter(~pl.col("query_id").is_in(with_target))["query_id"].implode()
    gone = ~pl.col("reference_product_id").is_in(known)
    bad = gone | pl.col("query_id").is_in(without)
    reason = pl.when(gone).then(pl.lit("its reference was rejected")).otherwise(pl.lit("its targets were rejected"))
    dropped = composed.queries.filter(bad).select(
        pl.lit(None).alias("row"),
        pl.col("reference_product_id").alias("product_id"),
        pl.lit(records.table).alias("file"),
        reason.alias("reason"),
        pl.col("query_id").alias("value"),
        pl.lit(QUERY_DROPPED).alias("action"),
    )
    subset = pl.col("subset").list.eval(pl.element().filter(pl.element().is_in(known)))
    queries = composed.queries.filter(~bad).with_columns(subset.cast(STRINGS).alias("subset"))
    dropped = conform(dropped, REJECTS)
    num_dropped = composed.num_dropped + len(dropped)
    if queries.is_empty() and num_dropped:
        rejects = pl.concat([records.rejects, dropped])
        reason, value = rejects.filter(pl.col("action") == QUERY_DROPPED).select("reason", "value").row(0)
        raise TooManyRejectedError(
            f"{records.table}: none of {num_dropped} composed queries can be used; the first: {reason} ({value})",
            rejects,
        )
    relevance, slices = (
        frame.join(queries, on="query_id", how="semi", maintain_order="left") for frame in (remaining, composed.slices)
    )
    return ComposedQueries(conform(queries, QUERIES), relevance, slices, num_dropped), dropped


def composed_counts(records: Records, selected: ComposedQueries, products: pl.DataFrame) -> dict[str, int]:
    """Return the numbers of composed queries, of dropped ones, and of missing candidates; empty without any query.

    A missing candidate is a product that the reader lists and that has no readable photo.
    """
    if records.composed is None:
        return {}
    missing = records.products.join(products, on="product_id", how="anti")
    counts = {"queries": len(selected.queries), "dropped": selected.num_dropped}
    return counts | {"missing_candidates": len(missing)}
