"""Rows of the teachers' stores for the products of a run: looked up once, copied batch by batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.loading.products import Products, photo_key, text_key
from pipeline_lib.stores.numbers import as_floats
from pipeline_lib.stores.teacher_store import CLASSES, IMAGE, TEXT, TeacherStores

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TeacherRows:
    """Teachers' values of some products: mapped matrices, each with the row of every photo or text of theirs."""

    image: tuple[tuple[NDArray[Any], Rows], ...]
    text: tuple[tuple[NDArray[Any], Rows], ...]
    classes: tuple[tuple[NDArray[Any], Rows], ...]
    # Where each product's photos begin among the photos of these products.
    first: Rows

    def of(self, rows: Rows, photos: Rows, texts: Rows) -> dict[str, Tensor]:
        """Return the batch's teacher fields of products, the photo each is seen with and its text, all (batch,).

        Teachers stand side by side, float32 (batch, their widths); a kind that none has is left out.
        """
        photo = self.first[rows] + photos
        kinds = (
            ("teacher_image", self.image, photo),
            ("teacher_text", self.text, texts),
            ("teacher_classes", self.classes, photo),
        )
        return {name: _side_by_side(held, wanted) for name, held, wanted in kinds if held}


def teacher_rows(teachers: list[TeacherStores], products: Products) -> TeacherRows:
    """Look up the photos and texts of products in teachers' stores; ValueError names the first that one lacks."""
    counts = products.num_photos
    photos = [photo_key(key, n) for key, count in zip(products.ids, counts, strict=True) for n in range(count)]
    keys = {IMAGE: photos, CLASSES: photos, TEXT: [text_key(text) for text in products.texts]}

    def found(name: str) -> tuple[tuple[NDArray[Any], Rows], ...]:
        held = [teacher.stores[name] for teacher in teachers if name in teacher.stores]
        return tuple((store.matrix, store.positions(keys[name])) for store in held)

    return TeacherRows(found(IMAGE), found(TEXT), found(CLASSES), np.cumsum(counts) - counts)


def _side_by_side(held: tuple[tuple[NDArray[Any], Rows], ...], wanted: Rows) -> Tensor:
    parts = [np.asarray(as_floats(matrix[rows[wanted]]), dtype=np.float32) for matrix, rows in held]
    return torch.from_numpy(np.concatenate(parts, axis=1))
