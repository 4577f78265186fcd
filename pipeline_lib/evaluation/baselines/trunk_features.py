"""One vector a product and modality from the stored features of the frozen trunk: what was there before fine-tuning.

Every photo counts: a product's image vector is the mean of its photos' directions. What a product lacks is a vector of
zeros, not the features of a black photo or of an empty text.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store

Matrix = NDArray[np.float32]
BLOCK = 4096


@dataclass(frozen=True)
class TrunkFeatures:
    """Unit vectors, or zeros, of products in order: image (products, width) and text (products, another width)."""

    image: Matrix
    text: Matrix

    def joined(self) -> Matrix:
        """Return both side by side, brought to length 1: the dot product of two is the mean of their cosines."""
        return unit(np.concatenate([self.image, self.text], axis=1))


def read_trunk(folder: Path, products: pl.DataFrame) -> TrunkFeatures | None:
    """Return the features of `products` (product_id, media, text); None if the trunk's could not be stored."""
    if not all((folder / part / HEADER).is_file() for part in ("image", "text")):
        return None
    image, text = open_store(folder / "image"), open_store(folder / "text")
    return TrunkFeatures(_photos(image, products), text_vectors(text, products["text"].fill_null("").to_list()))


def text_vectors(store: FeatureStore, texts: list[str]) -> Matrix:
    """Return the unit vector of each text, zeros for an empty one, (texts, width)."""
    found = np.zeros((len(texts), store.header.dim), np.float32)
    said = np.array([bool(text.strip()) for text in texts], bool)
    found[said] = unit(store.rows([text_key(text) for text in texts if text.strip()]))
    return found


def unit(rows: Matrix) -> Matrix:
    """Return rows brought to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


def _photos(store: FeatureStore, products: pl.DataFrame) -> Matrix:
    counts = products["media"].list.len().to_numpy()
    found = np.zeros((len(products), store.header.dim), np.float32)
    for start in range(0, len(products), BLOCK):
        here = slice(start, start + BLOCK)
        numbers = counts[here].tolist()
        owner = np.repeat(np.arange(len(numbers)), numbers)
        ids = products["product_id"][here].to_list()
        keys = [photo_key(key, photo) for key, number in zip(ids, numbers, strict=True) for photo in range(number)]
        np.add.at(found[here], owner, unit(store.rows(keys)))
    return unit(found)
