"""The texts that a product is trained with: all text queries that it answers, not only its own text.

The relevance table of a benchmark lists its pairs: MUGE has 250,000 pairs for 129,000 images, COCO has five captions
for each image. With one text per product most pairs would not be used. Each epoch uses one text of a product, in a
shuffled order: a product with n texts uses each of them once in n epochs.
"""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.loading.products import Captions, Products

Rows = NDArray[np.int64]


def with_captions(products: Products, queries: pl.DataFrame, relevance: pl.DataFrame) -> Products:
    """Return the products with the texts of all text queries that each answers.

    A product without such a query keeps its own text. Queries of the val and test splits are excluded.
    """
    texts_of_queries = queries.filter(
        (pl.col("kind") == "text") & (pl.col("text") != "") & ~pl.col("split").fill_null("train").is_in(["val", "test"])
    )
    rows = pl.DataFrame({"product_id": products.ids}).with_row_index("row")
    relevant = relevance.filter(pl.col("grade") > 0).join(rows, on="product_id")
    pairs = relevant.join(texts_of_queries.select("query_id", "text"), on="query_id").select("row", "text")
    without = rows.join(pairs, on="row", how="anti")["row"]
    own_texts = [products.texts[number] for number in products.text[without.to_numpy()]]
    own = pl.DataFrame({"row": without, "text": own_texts})
    pairs = pl.concat([pairs, own.cast({"text": pl.String})]).unique()
    texts = list(dict.fromkeys([*products.texts, *pairs["text"].sort().to_list()]))
    return replace(products, texts=texts, captions=_numbered(pairs, texts, len(products)))


def with_answers(products: Products, queries: pl.DataFrame, relevance: pl.DataFrame) -> Products:
    """Return the products with the texts that each answers, of all text queries whose text is among `texts`."""
    rows = pl.DataFrame({"product_id": products.ids}).with_row_index("row")
    texts_of_queries = queries.filter((pl.col("kind") == "text") & (pl.col("text") != "")).select("query_id", "text")
    pairs = relevance.join(rows, on="product_id").join(texts_of_queries, on="query_id").select("row", "text").unique()
    return replace(products, answers=_numbered(pairs, products.texts, len(products)))


def _numbered(pairs: pl.DataFrame, texts: list[str], count: int) -> Captions:
    """Return the texts of pairs (row, text) as rows of `texts`; a text that is not among them is left out."""
    numbers = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_row_index("number")
    numbered = pairs.join(numbers, on="text").sort("row", "number")
    counts = np.bincount(numbered["row"].to_numpy(), minlength=count)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return Captions(offsets, numbered["number"].cast(pl.Int64).to_numpy().copy())


def draw_captions(captions: Captions, rows: Rows, seed: int, epoch: int) -> Rows:
    """Return the text (a row of `texts`) that each product is trained with in this epoch, (batch,)."""
    drawn = captions.text[captions.offsets[rows]]
    counts = captions.offsets[rows + 1] - captions.offsets[rows]
    for index in np.flatnonzero(counts > 1).tolist():
        texts = captions.of_product(int(rows[index]))
        pass_number, position = divmod(epoch, len(texts))
        order = np.random.default_rng((seed, pass_number, int(rows[index]), 2)).permutation(len(texts))
        drawn[index] = texts[order[position]]
    return drawn


def answered_texts(captions: Captions, rows: Rows) -> Rows:
    """Return the texts of each product, (batch, longest list), padded with -1."""
    starts = captions.offsets[rows]
    counts = captions.offsets[rows + 1] - starts
    columns = np.arange(counts.max(initial=0))
    inside = columns < counts[:, None]
    texts = np.full(inside.shape, -1, np.int64)
    texts[inside] = captions.text[(starts[:, None] + columns)[inside]]
    return texts
