"""How much of the test split training has nearly seen: test products with a near-equal text or photo in training.

Two texts are near-equal if they have the same words in any order, or, from MIN_WORDS words on, all the same words but
one. A text is the sum of its words' hashes, so that a text without one word is a difference of two numbers.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.splitting.groups import normal_text

MIN_WORDS = 10
CHUNK = 100_000
DIGITS = 4

Keys = NDArray[np.uint64]


def overlap(products: pl.DataFrame, folds: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, Any]:
    """Return shares of test products with a near-equal text, photo, or either in training, and equal texts across bins.

    `products` has product_id and text, `folds` is the result of split_products, and `pairs` lists near-duplicates by
    product_id and other_product_id. Without test products the shares are left out.
    """
    placed = products.select("product_id", "text").join(folds, on="product_id", how="left", maintain_order="left")
    placed = placed.with_columns(text=normal_text(pl.col("text")), bin=pl.struct("split", "fold"))
    texts = placed.filter(pl.col("text") != "").group_by("text").agg(pl.len(), pl.col("bin").n_unique())
    result: dict[str, Any] = {"text_across_bins": int(texts.filter(pl.col("bin") > 1)["len"].sum())}
    test, train = (placed.filter(pl.col("split") == name) for name in ("test", "train"))
    if len(test):
        by_text = near_equal(test["text"], train["text"])
        trained = train["product_id"].implode()
        columns = ("product_id", "other_product_id")
        both = pl.concat([pairs.select(product_id=one, other=two) for one, two in (columns, columns[::-1])])
        alike = both.filter(pl.col("other").is_in(trained))["product_id"].implode()
        by_photo = test["product_id"].is_in(alike).to_numpy()
        for name, found in (("text", by_text), ("photo", by_photo), ("either", by_text | by_photo)):
            result[f"test_near_{name}"] = round(float(found.mean()), DIGITS)
    return result


def near_equal(texts: pl.Series, others: pl.Series) -> NDArray[np.bool_]:
    """Return for each of `texts`, all normalised, whether one of `others` is near-equal; an empty text is not."""
    own = _keys(texts)
    found = np.zeros(len(texts), dtype=np.bool_)
    for start in range(0, len(others), CHUNK):
        other = _keys(others[start : start + CHUNK])
        for keys, rows in own:
            for known, _ in other:
                found[rows[np.isin(keys, known)]] = True
    return found


def _keys(texts: pl.Series) -> tuple[tuple[Keys, NDArray[np.int64]], tuple[Keys, NDArray[np.int64]]]:
    """Return the keys of texts and of texts without one word, each with the row of its text."""
    spaced = texts.str.replace_all(r"(\p{Han})", " $1 ").str.extract_all(r"\S+")
    words = pl.DataFrame({"row": pl.arange(len(texts), dtype=pl.Int64, eager=True), "word": spaced})
    words = words.filter(pl.col("word").list.len() > 0).explode("word")
    hashes = words["word"].hash(seed=0).to_numpy()
    rows, starts, counts = np.unique(words["row"].to_numpy(), return_index=True, return_counts=True)
    sums = np.add.reduceat(hashes, starts) if len(rows) else np.zeros(0, dtype=np.uint64)
    long = np.repeat(counts >= MIN_WORDS, counts)
    without = np.repeat(sums, counts)[long] - hashes[long]
    return (sums, rows), (without, np.repeat(rows, counts)[long])
