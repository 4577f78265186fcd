"""One vector for each product of a gallery: the weighted sum of the embeddings of its photos and of its text.

Late fusion by a convex sum: a title names what a small photo does not show, and a photo shows what a title leaves out.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store

BLOCK = 16_384
NO_EMBEDDINGS = (
    "the model has no embeddings to compare; set the weight of losses.info_nce, or of another loss that compares "
    "images and texts, above 0"
)
Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]


class Gallery(NamedTuple):
    """The stored embeddings of the products' photos and of their texts, by product id."""

    photos: FeatureStore
    texts: FeatureStore


def open_gallery(folder: Path) -> Gallery | None:
    """Open what the stage gallery wrote in a folder; None if its model has no embeddings (see NO_EMBEDDINGS)."""
    if not (folder / paths.GALLERY_PHOTOS / HEADER).is_file():
        return None
    return Gallery(open_store(folder / paths.GALLERY_PHOTOS), open_store(folder / paths.GALLERY_TEXTS))


def gallery_vectors(
    photos: FeatureStore, texts: FeatureStore, photo_weight: float, wanted: Collection[str] | None = None
) -> tuple[list[str], Matrix]:
    """Return the sorted product ids of both stores, and a vector for each, float32 (products, dim).

    With `wanted`, only the products among these, of which either store may lack some; other rows are not read.
    The vector of a product with a photo p and a text t is w p + (1 - w) t for the photo weight w; one that has only one
    of them gets that one, whatever the weight. Vectors have unit length unless the model compares by dot product.
    Raises ValueError if the stores are of different models.
    """
    if photos.header.encoder != texts.header.encoder or photos.header.dim != texts.header.dim:
        raise ValueError(
            f"{texts.folder}: embedded by {texts.header.encoder}, but {photos.folder} by {photos.header.encoder}; "
            "run `dvc repro`"
        )
    ids = sorted({key for store in (photos, texts) for key in store.ids if wanted is None or key in wanted})
    row_of = {key: row for row, key in enumerate(ids)}
    (photo_places, photo_rows), (text_places, text_rows) = (_places(store, row_of) for store in (photos, texts))
    has_photo, has_text = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
    has_photo[photo_rows], has_text[text_rows] = True, True
    vectors = np.zeros((len(ids), photos.header.dim), np.float32)
    _add(vectors, photos, (photo_places, photo_rows), np.where(has_text, photo_weight, 1.0))
    _add(vectors, texts, (text_places, text_rows), np.where(has_photo, 1.0 - photo_weight, 1.0))
    if photos.header.similarity == "cosine":
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return ids, vectors


def _places(store: FeatureStore, row_of: dict[str, int]) -> tuple[Rows, Rows]:
    """Return the rows of a store whose products are among those of `row_of`, and their rows there."""
    rows = np.fromiter((row_of.get(key, -1) for key in store.ids), np.int64, len(store.ids))
    places = np.flatnonzero(rows >= 0)
    return places, rows[places]


def _add(vectors: Matrix, store: FeatureStore, at: tuple[Rows, Rows], weights: NDArray[np.float64]) -> None:
    """Add rows of a store, times the weight of their products, to the vectors of these products; `at` has both rows."""
    places, rows = at
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        scale = weights[part, None].astype(np.float32)
        vectors[part] += scale * store.stored_rows(places[start : start + BLOCK]).astype(np.float32)
