"""The products of one part of the catalogue as plain arrays, ready for worker processes.

Workers are forked, and polars must not run in a forked process. One Python object per product would take too much
memory at a million products. So ids and texts are lists, and everything else is a numpy array of row numbers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.read import read_table

UNKNOWN_LABEL = -1


@dataclass(frozen=True)
class Captions:
    """The texts of each product as rows of `texts`: product i has text[offsets[i]:offsets[i + 1]]."""

    offsets: NDArray[np.int64]
    text: NDArray[np.int64]

    def of_product(self, product: int) -> NDArray[np.int64]:
        """Return the texts of one product."""
        return self.text[self.offsets[product] : self.offsets[product + 1]]

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all pairs of a product and one of its texts, sorted by product."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets)), self.text


@dataclass(frozen=True)
class Products:
    """Products in catalogue order; arrays are (products,), and `text` holds rows of `texts`.

    The photos of product i are the manifest rows first_photo[i] .. first_photo[i] + num_photos[i] - 1. With `captions`,
    training uses a different text in each epoch; without, always the product's own text. `answers` are those of `texts`
    that are relevant to each product.
    """

    ids: list[str]
    texts: list[str]
    text: NDArray[np.int64]
    group: NDArray[np.int64]
    label: NDArray[np.int64]
    first_photo: NDArray[np.int64]
    num_photos: NDArray[np.int64]
    captions: Captions | None = None
    answers: Captions | None = None
    # False for a product without a photo, whose stored photo is black; None if every product has a photo.
    has_photo: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def text_key(text: str) -> str:
    """Return the id under which a text's features are stored; equal texts share it."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def photo_key(product_id: str, photo: int) -> str:
    """Return the id under which a photo's features are stored."""
    return f"{product_id}#{photo}"


def read_photos_fingerprint(manifest: Path) -> str:
    """Return the `photos_fingerprint` of a manifest of shards."""
    table = read_table(manifest, columns=["product_id", "size"])
    counts = table["product_id"].rle().struct.unnest()
    return photos_fingerprint(counts["value"].to_list(), counts["len"].to_numpy(), table["size"].to_numpy())


def photos_fingerprint(product_ids: Sequence[str], num_photos: NDArray[Any], sizes: NDArray[Any]) -> str:
    """Return a hash of the photos in shards: products, the number of photos of each, and the bytes of each photo.

    Frames that were sampled in another way, and photos that were resized in another way, have other sizes.
    """
    total = hashlib.sha256()
    for start in range(0, len(product_ids), 2**16):
        total.update("\0".join(product_ids[start : start + 2**16]).encode())
    for values in (num_photos, sizes):
        total.update(values.astype("<i8").tobytes())
    return total.hexdigest()[:16]


def read_products(catalogue: Path, folds: Path, manifest: Path) -> pl.DataFrame:
    """Join products, folds and the manifest rows of the photos, in the order of the manifest.

    Columns: product_id, text, label, group_id, has_photo, split, fold, first_photo, num_photos. Raises ValueError if a
    product is missing in the folds or in the shards.
    """
    photos = (
        read_table(manifest, columns=["product_id"])
        .with_row_index("row")
        .group_by("product_id", maintain_order=True)
        .agg(pl.col("row").first().cast(pl.Int64).alias("first_photo"), pl.len().cast(pl.Int64).alias("num_photos"))
    )
    columns = ["product_id", "text", "label", "group_id", "media"]
    products = read_table(catalogue / "products.parquet", columns=columns)
    products = products.with_columns(has_photo=pl.col("media").list.len() > 0).drop("media")
    assigned = read_table(folds / "folds.parquet")
    products = products.join(assigned, on="product_id", how="left", maintain_order="left")
    products = products.join(photos, on="product_id", how="left", maintain_order="left")
    for column, source in (("first_photo", manifest), ("split", folds)):
        missing = products.filter(pl.col(column).is_null())
        if len(missing):
            raise ValueError(f"{source}: product {missing['product_id'][0]!r} is not in it; run `dvc repro`")
    return products.sort("first_photo")


def as_arrays(products: pl.DataFrame, classes: Sequence[str]) -> Products:
    """Convert rows of `read_products` to arrays; a label that is not in `classes` becomes -1."""
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


def add_rows(sums: NDArray[np.floating], owner: NDArray[np.int64], values: NDArray[np.floating]) -> None:
    """Add each of `values` (rows, dim) to the row of `sums` (products, dim) of its `owner` (rows,), which ascends.

    A product's rows are added in their order, so the bits are those of `np.add.at`, which takes many times as long.
    """
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    for number in range(int(place.max(initial=-1)) + 1):
        rows = place == number
        sums[owner[rows]] += values[rows]
