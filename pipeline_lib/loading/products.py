"""The products of one part of the catalogue as plain arrays, ready for worker processes.

Workers are forked and polars must not run in a fork, and Python objects a row are too large at a million products:
so ids and texts are lists, and everything else is a numpy array of row numbers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

UNKNOWN_LABEL = -1


@dataclass(frozen=True)
class Captions:
    """The texts of each product, rows of `texts`: those of product i are text[first[i]:first[i + 1]], at least one."""

    first: NDArray[np.int64]
    text: NDArray[np.int64]

    def of(self, product: int) -> NDArray[np.int64]:
        """Return the texts of one product."""
        return self.text[self.first[product] : self.first[product + 1]]


@dataclass(frozen=True)
class Products:
    """Products in catalogue order; arrays are (products,), `text` counts into `texts`, photos are manifest rows.

    The photos of product i are the manifest rows first_photo[i] .. first_photo[i] + num_photos[i] - 1. `captions` are
    what it is trained with in turn; without them it is always its own text.
    """

    ids: list[str]
    texts: list[str]
    text: NDArray[np.int64]
    group: NDArray[np.int64]
    label: NDArray[np.int64]
    first_photo: NDArray[np.int64]
    num_photos: NDArray[np.int64]
    captions: Captions | None = None
    # False where the photo is a black one, for a product that has none; None where all have one.
    has_photo: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def text_key(text: str) -> str:
    """Return the id under which a text's features are stored; equal texts share it."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def photo_key(product_id: str, photo: int) -> str:
    """Return the id under which a photo's features are stored."""
    return f"{product_id}#{photo}"


def read_products(catalogue: Path, folds: Path, manifest: Path) -> pl.DataFrame:
    """Join products, their fold and their photos' manifest rows, in the manifest's order.

    Columns: product_id, text, label, group_id, has_photo, split, fold, first_photo, num_photos. ValueError for a
    product that the shards lack.
    """
    photos = (
        pl.read_parquet(manifest, columns=["product_id"])
        .with_row_index("row")
        .group_by("product_id", maintain_order=True)
        .agg(pl.col("row").first().cast(pl.Int64).alias("first_photo"), pl.len().cast(pl.Int64).alias("num_photos"))
    )
    columns = ["product_id", "text", "label", "group_id", "media"]
    told = pl.read_parquet(catalogue / "products.parquet", columns=columns)
    told = told.with_columns(has_photo=pl.col("media").list.len() > 0).drop("media")
    dealt = pl.read_parquet(folds / "folds.parquet")
    products = told.join(dealt, on="product_id", how="left", maintain_order="left")
    joined = products.join(photos, on="product_id", how="left", maintain_order="left")
    for column, maker in (("first_photo", manifest), ("split", folds)):
        lost = joined.filter(pl.col(column).is_null())
        if len(lost):
            raise ValueError(f"{maker}: product {lost['product_id'][0]!r} is not in it; run `dvc repro`")
    return joined.sort("first_photo")


def class_names(products: pl.DataFrame) -> list[str]:
    """Return the sorted labels that occur outside the test split."""
    known = products.filter((pl.col("split") != "test") & pl.col("label").is_not_null())
    return sorted(known["label"].unique().to_list())


def as_arrays(products: pl.DataFrame, classes: Sequence[str]) -> Products:
    """Turn rows of `read_products` into arrays; a label outside `classes` becomes -1."""
    numbers = {name: number for number, name in enumerate(classes)}
    texts = products["text"].unique(maintain_order=True).to_list()
    text_rows = {text: row for row, text in enumerate(texts)}
    label = [numbers.get(name, UNKNOWN_LABEL) if name is not None else UNKNOWN_LABEL for name in products["label"]]
    return Products(
        ids=products["product_id"].to_list(),
        texts=texts,
        text=np.array([text_rows[text] for text in products["text"]], dtype=np.int64),
        group=products["group_id"].rank("dense").cast(pl.Int64).to_numpy().copy(),
        label=np.array(label, dtype=np.int64),
        first_photo=products["first_photo"].to_numpy().copy(),
        num_photos=products["num_photos"].to_numpy().copy(),
        has_photo=None if products["has_photo"].all() else products["has_photo"].to_numpy().copy(),
    )
