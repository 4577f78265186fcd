"""One vector per product and modality, from the stored features of the frozen trunk.

The image vector of a product is the normalised mean of the unit vectors of all its photos. The frames of a clip are its
photos, so that is the mean pooling of CLIP4Clip (arXiv:2104.08860). A missing modality is a vector of zeros, not the
features of a black photo or of an empty text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.read import read_json
from pipeline_lib.loading.products import add_rows, photo_key, text_key
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store

Matrix = NDArray[np.float32]
BLOCK = 4096


@dataclass(frozen=True)
class TrunkFeatures:
    """Unit vectors, or zeros, of the products: image (products, image width) and text (products, text width)."""

    image: Matrix
    text: Matrix

    def joined(self) -> Matrix:
        """Return both concatenated and normalised; a dot product is the mean of the two cosines if none is zero."""
        return unit(np.concatenate([self.image, self.text], axis=1))


@dataclass(frozen=True)
class _Joint:
    """The file beside the features that says why the towers have no joint space, if they have none."""

    why_apart: str | None


def why_apart(folder: Path) -> str | None:
    """Return the reason why the trunk's towers have no joint space, None if they have; ValueError if it is damaged."""
    return read_json(folder / "joint.json", _Joint).why_apart


def is_stored(folder: Path) -> bool:
    """Return whether the folder of the trunk has a feature of every image and text, and not only activations."""
    return all((folder / part / HEADER).is_file() for part in ("image", "text"))


def read_trunk(folder: Path, products: pl.DataFrame) -> TrunkFeatures | None:
    """Return the features of `products` (product_id, media, text); None if the trunk's features are not stored."""
    image = read_photos(folder, products)
    if image is None:
        return None
    return TrunkFeatures(image, text_vectors(open_store(folder / "text"), products["text"].fill_null("").to_list()))


def read_photos(folder: Path, products: pl.DataFrame, first_alone: bool = False) -> Matrix | None:
    """Return the image vectors of `products` (product_id, media), of all photos or the first; None as `read_trunk`."""
    if not is_stored(folder):
        return None
    store = open_store(folder / "image")
    counts = num_photos(store.ids, products)
    return _photos(store, products, np.minimum(counts, 1) if first_alone else counts)


def text_vectors(store: FeatureStore, texts: list[str]) -> Matrix:
    """Return the unit vector of each text, zeros for an empty one, (texts, width)."""
    vectors = np.zeros((len(texts), store.header.dim), np.float32)
    has_text = np.array([bool(text.strip()) for text in texts], bool)
    vectors[has_text] = unit(store.rows([text_key(text) for text in texts if text.strip()]))
    return vectors


def unit(rows: Matrix) -> Matrix:
    """Return the rows L2-normalised; rows of zeros are unchanged."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


def num_photos(keys: Sequence[str], products: pl.DataFrame) -> NDArray[np.int64]:
    """Return the number of stored photos of each of `products` (product_id, media), 0 for one without media.

    `keys` are those of `photo_key`. They are counted, because one medium may be a clip of many frames.
    """
    owner = pl.Series("product_id", keys, pl.String).str.replace(r"#\d+$", "")
    counts = owner.value_counts(name="photos").with_columns(pl.col("photos").cast(pl.Int64))
    joined = products.select("product_id", "media").join(counts, on="product_id", how="left", maintain_order="left")
    own = pl.when(pl.col("media").list.len() > 0).then(pl.col("photos")).otherwise(0)
    # A product that the store lacks has one photo to ask for: the store then names it.
    return joined.select(own.fill_null(1)).to_series().to_numpy()


def _photos(store: FeatureStore, products: pl.DataFrame, counts: NDArray[np.int64]) -> Matrix:
    """Return the unit mean of the first photos of each product, `counts` (products,) of them."""
    totals = np.zeros((len(products), store.header.dim), np.float32)
    for start in range(0, len(products), BLOCK):
        block = slice(start, start + BLOCK)
        numbers = counts[block].tolist()
        owner = np.repeat(np.arange(len(numbers)), numbers)
        ids = products["product_id"][block].to_list()
        keys = [photo_key(key, photo) for key, number in zip(ids, numbers, strict=True) for photo in range(number)]
        add_rows(totals[block], owner, unit(store.rows(keys)))
    return unit(totals)
