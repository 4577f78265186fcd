"""Rows of the teachers' stores for the products of a run: looked up once, then copied for each batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.loading.products import Products, photo_key, text_key
from pipeline_lib.stores.numbers import as_floats
from pipeline_lib.stores.store import FeatureStore
from pipeline_lib.stores.teacher_store import CLASSES, IMAGE, MEAN, TEXT, TeacherStores

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TeacherRows:
    """The outputs of all teachers for some products: memory-mapped matrices, each with the row of every photo or text.

    `first` (products,) is the position of each product's first photo among the photos of these products. With
    mean_pool, `image` and `classes` have a row for each product instead, and `first` is the product.
    """

    image: tuple[tuple[NDArray[Any], Rows], ...]
    text: tuple[tuple[NDArray[Any], Rows], ...]
    classes: tuple[tuple[NDArray[Any], Rows], ...]
    first: Rows

    def batch_fields(self, rows: Rows, photos: Rows, texts: Rows) -> dict[str, Tensor]:
        """Return the teacher fields of a batch for products, their photos and their texts, all (batch,).

        The outputs of several teachers are concatenated, float32 (batch, sum of widths). A field without a teacher is
        left out.
        """
        photo_rows = self.first[rows] + photos
        fields = (
            ("teacher_image", self.image, photo_rows),
            ("teacher_text", self.text, texts),
            ("teacher_classes", self.classes, photo_rows),
        )
        return {name: _concatenated(stores, positions) for name, stores, positions in fields if stores}


def find_teacher_rows(teachers: list[TeacherStores], products: Products, mean_pool: bool = False) -> TeacherRows:
    """Look up the photos and texts of products in the teachers' stores, or with `mean_pool` whole products and texts.

    Raises ValueError with the first photo, product or text that a store lacks.
    """
    counts = products.num_photos
    means = mean_pool and bool((counts > 1).any())
    photos = [photo_key(key, n) for key, count in zip(products.ids, counts, strict=True) for n in range(count)]
    images, texts = products.ids if means else photos, [text_key(text) for text in products.texts]

    def find(name: str, keys: list[str]) -> tuple[tuple[NDArray[Any], Rows], ...]:
        own = [teacher.stores for teacher in teachers if name in teacher.stores]
        stores = [_store_of_means(one, name) if means and name in MEAN else one[name] for one in own]
        return tuple((store.matrix, store.positions(keys)) for store in stores)

    first = np.arange(len(products)) if means else np.cumsum(counts) - counts
    return TeacherRows(find(IMAGE, images), find(TEXT, texts), find(CLASSES, images), first)


def _store_of_means(stores: dict[str, FeatureStore], name: str) -> FeatureStore:
    if MEAN[name] not in stores:
        raise ValueError(
            f"{stores[name].folder}: no outputs for the mean of a product's photos beside it, which train.photo = "
            "mean_pool needs; run `dvc repro`"
        )
    return stores[MEAN[name]]


def _concatenated(stores: tuple[tuple[NDArray[Any], Rows], ...], positions: Rows) -> Tensor:
    parts = [np.asarray(as_floats(matrix[rows[positions]]), dtype=np.float32) for matrix, rows in stores]
    return torch.from_numpy(np.concatenate(parts, axis=1))
