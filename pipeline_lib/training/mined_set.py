"""The mined negatives of a run as a table, so that one can look at what a text was mistaken for."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from torch import Tensor

from pipeline_lib.artifacts.schemas import MINED_SCHEMA
from pipeline_lib.loading.products import Products


@dataclass(frozen=True)
class Mined:
    """Negatives (rows, n) of the products `rows` with their similarities, best first, -1 where there is none.

    `text` (rows,) is the text that each product was trained with in `epoch`, whose embeddings were compared.
    """

    epoch: int
    rows: Tensor
    text: Tensor
    negatives: Tensor
    similarity: Tensor


def mined_table(mined: Mined | None, products: Products) -> pl.DataFrame:
    """Return a row for each negative, sorted by product and rank; empty before the first mining."""
    if mined is None:
        return pl.DataFrame(schema=MINED_SCHEMA)
    order = mined.rows.argsort()
    rows, text = mined.rows[order].numpy(), mined.text[order].numpy()
    negatives, similarity = mined.negatives[order].numpy(), mined.similarity[order].numpy()
    place, rank = np.nonzero(negatives >= 0)
    ids, texts = pl.Series(products.ids), pl.Series(products.texts)
    other = negatives[place, rank]
    return pl.DataFrame(
        {
            "epoch": np.full(len(place), mined.epoch),
            "product_id": ids.gather(rows[place]),
            "text": texts.gather(text[place]),
            "rank": rank + 1,
            "negative_id": ids.gather(other),
            "negative_text": texts.gather(products.text[other]),
            "similarity": similarity[place, rank],
        },
        schema=MINED_SCHEMA,
    )
