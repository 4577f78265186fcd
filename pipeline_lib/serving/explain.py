"""Why a product is in a result: words that raise or lower its score, where the model looks, and the score's two parts.

The words are those of `words.py`, and a picture's map is that of `inference/attention.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pipeline_lib.retrieval.gallery_vectors import open_gallery
from pipeline_lib.serving.pictures import Box, as_batch, view_box
from pipeline_lib.serving.words import CountedWord, count_words, encode_without_words
from pipeline_lib.transforms.decode import read_photo
from pipeline_lib.transforms.image import fixed_view

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline_lib.inference.attention import AttentionKind
    from pipeline_lib.retrieval.gallery_vectors import Gallery
    from pipeline_lib.serving.model import ServedModel
    from pipeline_lib.serving.query import Encoded, Query


class PictureMap(NamedTuple):
    """Shares (rows, columns) that add up to 1, over the box of the photo that the model reads."""

    kind: AttentionKind
    values: NDArray[np.float32]
    box: Box


class Parts(NamedTuple):
    """The cosines of the query with the product's photos and with its text, None where the product has none."""

    photo: float | None
    text: float | None


class Explanation(NamedTuple):
    """A product's score for a query and what it comes from; None for what the model or the product does not have."""

    score: float
    words: list[CountedWord]
    picture: PictureMap | None
    parts: Parts


def parts_of(gallery: Gallery, vector: NDArray[np.float32], product_id: str) -> Parts:
    """Return the cosines of a query (1, dim) with the photo and the text of a product, of which it may lack one."""
    photo, text = (
        float(store.rows([product_id])[0] @ vector[0]) if store.has(product_id) else None for store in gallery
    )
    return Parts(photo, text)


def open_parts(folder: Path, fingerprint: str) -> Gallery | None:
    """Open what the stage gallery wrote in a folder; None if there is nothing, or if another model embedded it.

    Raises ValueError for stores that are incomplete or broken.
    """
    gallery = open_gallery(folder)
    same = gallery is not None and all(store.header.encoder == fingerprint for store in gallery)
    return gallery if same else None


def explain(model: ServedModel, query: Query, row: int, photo: bytes | None, gallery: Gallery | None) -> Explanation:
    """Explain the score of a query with the product in a row, whose first encoded photo is `photo`.

    Raises ValueError as `ServedModel.encode`, and NotSearchedError for a product that a composed gallery does not have.
    """
    encoded = encode_without_words(model, query)
    score, counted = count_words(model, query, encoded, row)
    vector = _in_joint_space(model, query, encoded[0])
    product_id = model.catalogue.ids[row]
    picture = None if photo is None or vector is None else picture_map(model, photo, vector)
    parts = Parts(None, None)
    if gallery is not None and not encoded[0].composed:
        parts = parts_of(gallery, encoded[0].vector, product_id)
    return Explanation(score, counted, picture, parts)


def picture_map(model: ServedModel, photo: bytes, vector: NDArray[np.float32]) -> PictureMap | None:
    """Return where the model looks in a stored photo for a query vector (1, dim); None if its tower gives no map."""
    from pipeline_lib.inference.attention import attention_maps  # slow import

    pictures = model.pictures
    decoded = read_photo(photo, pictures.size)
    view = fixed_view(decoded.image(), pictures.size, pictures.resizing)
    found = attention_maps(pictures.model, as_batch(view), torch.from_numpy(np.array(vector)))
    if found is None:
        return None
    return PictureMap(found.kind, found.maps[0], view_box(decoded.width, decoded.height, pictures.resizing.resize_mode))


def _in_joint_space(model: ServedModel, query: Query, encoded: Encoded) -> NDArray[np.float32] | None:
    """Return the query's vector in the space of texts and pictures; that of its text if a composed model read it."""
    if not encoded.composed:
        return encoded.vector
    return model.texts.embed([query.text]) if query.text else None
