"""Creates retrieval queries from product texts, or selects those of a benchmark whose products remain.

There is one query per distinct text. All products with this text are relevant, and all products in their groups, so
that another listing of the same thing counts as a hit. Products that are only perhaps the same do not count.
"""

from hashlib import blake2b

import polars as pl

from pipeline_lib.catalogue.schema import QUERIES, QUERY_DROPPED, REJECTS, RELEVANCE, Records, conform, text_queries

MAX_RELEVANCE = 50_000_000


def query_id_of(text: str) -> str:
    """Return the id of a text's query, which depends on the text only.

    >>> query_id_of("red mug")
    'q41d56f8c1c7de080'
    """
    return "q" + blake2b(text.encode(), digest_size=8).hexdigest()


def make_queries(products: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return queries and relevance for products with text and group_id, in the order of the products."""
    text_groups = products.filter(pl.col("text") != "").select("text", "group_id").unique(maintain_order=True)
    sizes = products["group_id"].value_counts(name="size")
    pairs = text_groups.join(sizes, on="group_id", how="left")
    if (expected := pairs["size"].sum()) > MAX_RELEVANCE:
        group_id, size = sizes.sort("size", "group_id", descending=True).row(0)
        raise ValueError(
            f"group {group_id!r} has {size} products; as answers to each other's texts they make {expected} "
            "rows of relevance. Check data.columns.group, or set data.group_level to fold"
        )
    texts = text_groups.select("text").unique(maintain_order=True)
    texts = texts.with_columns(
        pl.Series("query_id", [query_id_of(text) for text in texts["text"].to_list()], dtype=pl.String)
    )
    queries = text_queries(texts.with_columns(pl.lit(None, dtype=pl.String).alias("split")))
    relevance = (
        text_groups.join(texts, on="text", how="left", maintain_order="left")
        .select("query_id", "group_id")
        .join(products.select("group_id", "product_id"), on="group_id", how="inner", maintain_order="left_right")
        .select("query_id", "product_id", pl.lit(1, dtype=pl.Int64).alias("grade"))
        .unique(["query_id", "product_id"], maintain_order=True)
    )
    return queries, conform(relevance, RELEVANCE)


def select_queries(
    records: Records, queries: pl.DataFrame, relevance: pl.DataFrame, products: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return a benchmark's own queries and relevance without rejected products, and reject rows for dropped queries.

    A query is dropped if its reference product or all its relevant products were rejected. A query without any relevant
    product in the benchmark (a public test set, say) remains.
    """
    known = products["product_id"].implode()
    remaining = relevance.filter(pl.col("product_id").is_in(known))
    orphaned = relevance.join(remaining, on="query_id", how="anti")["query_id"].implode()
    reference = pl.col("reference_product_id")
    bad = (reference.is_not_null() & ~reference.is_in(known)) | pl.col("query_id").is_in(orphaned)
    dropped = queries.filter(bad).select(
        pl.lit(None).alias("row"),
        reference.alias("product_id"),
        pl.lit(records.table).alias("file"),
        pl.lit("its product was rejected").alias("reason"),
        pl.col("query_id").alias("value"),
        pl.lit(QUERY_DROPPED).alias("action"),
    )
    subset = pl.col("subset").list.eval(pl.element().filter(pl.element().is_in(known)))
    queries = queries.filter(~bad).with_columns(subset.alias("subset"))
    remaining = remaining.join(queries, on="query_id", how="semi", maintain_order="left")
    return conform(queries, QUERIES), conform(remaining, RELEVANCE), conform(dropped, REJECTS)
