"""Which texts a product may be trained with: all text queries that it answers, not only its own text.

A benchmark's pairs are its relevance table: MUGE has 250 thousand over 129 thousand images, COCO five an image. One
text a product would leave most of them out. A product goes through its texts in a shuffled order, one an epoch, so that
as many epochs as it has texts see each of them once.
"""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.loading.products import Captions, Products

Rows = NDArray[np.int64]


def with_captions(products: Products, queries: pl.DataFrame, relevance: pl.DataFrame) -> Products:
    """Return the products with the texts of all text queries that each answers; one without any keeps its own text.

    Queries of the val and test splits are no training texts.
    """
    asking = queries.filter(
        (pl.col("kind") == "text") & (pl.col("text") != "") & ~pl.col("split").fill_null("train").is_in(["val", "test"])
    )
    rows = pl.DataFrame({"product_id": products.ids}).with_row_index("row")
    answers = relevance.filter(pl.col("grade") > 0).join(rows, on="product_id")
    pairs = answers.join(asking.select("query_id", "text"), on="query_id").select("row", "text")
    silent = rows.join(pairs, on="row", how="anti")["row"]
    own = pl.DataFrame({"row": silent, "text": [products.texts[number] for number in products.text[silent.to_numpy()]]})
    pairs = pl.concat([pairs, own.cast({"text": pl.String})]).unique()
    texts = list(dict.fromkeys([*products.texts, *pairs["text"].sort().to_list()]))
    numbers = pl.DataFrame({"text": texts}).with_row_index("number")
    placed = pairs.join(numbers, on="text").sort("row", "number")
    counts = np.bincount(placed["row"].to_numpy(), minlength=len(products))
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return replace(products, texts=texts, captions=Captions(first, placed["number"].cast(pl.Int64).to_numpy().copy()))


def draw_captions(captions: Captions, rows: Rows, seed: int, epoch: int) -> Rows:
    """Return the text (a row of `texts`) that each product is seen with in this epoch, (batch,)."""
    drawn = np.empty(len(rows), np.int64)
    for place, row in enumerate(rows):
        own = captions.of(int(row))
        round_, turn = divmod(epoch, len(own))
        drawn[place] = own[np.random.default_rng((seed, round_, int(row), 2)).permutation(len(own))[turn]]
    return drawn


def answers_of(captions: Captions, rows: Rows) -> Rows:
    """Return the texts that each product answers, (batch, most), filled up with -1."""
    counts = captions.first[rows + 1] - captions.first[rows]
    found = np.full((len(rows), counts.max(initial=0)), -1, np.int64)
    for place, row in enumerate(rows):
        found[place, : counts[place]] = captions.of(int(row))
    return found
