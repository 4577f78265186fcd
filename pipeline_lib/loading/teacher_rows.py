"""Rows of the teachers' stores for the products of a run: looked up once, then copied for each batch."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.loading.products import Products, photo_key, text_key
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.numbers import as_floats
from pipeline_lib.stores.store import FeatureStore
from pipeline_lib.stores.teacher_store import CLASSES, IMAGE, MEAN, TEXT, WORDS, TeacherStores

Rows = NDArray[np.int64]
Stores = tuple[tuple[NDArray[Any], Rows], ...]
# The embeddings of the frames of clips, which lie in the store `image`.
FRAMES = "frames"


@dataclass(frozen=True)
class ClipFrames:
    """Embeddings of the frames of products: product i has rows first[i] .. first[i] + count[i] - 1 of each store.

    With `every` the student gets all photos of a product, else one of them.
    """

    stores: Stores
    first: Rows
    count: Rows
    every: bool

    def batch_fields(self, rows: Rows, photos: Rows) -> dict[str, Tensor]:
        """Return teacher_frames and frame_mask for products and the photo of each."""
        first = self.first[rows] + (0 if self.every else photos)
        count = self.count[rows] if self.every else np.ones_like(rows)
        columns = np.arange(count.max(initial=0))
        mask = columns < count[:, None]
        frames = _concatenated(self.stores, (first[:, None] + columns)[mask])
        padded = torch.zeros(*mask.shape, frames.shape[1])
        padded[torch.from_numpy(mask)] = frames
        return {"teacher_frames": padded, "frame_mask": torch.from_numpy(mask)}


@dataclass(frozen=True)
class TeacherRows:
    """The outputs of all teachers for some products: memory-mapped matrices, each with the row of every photo or text.

    `first` (products,) is the position of each product's first photo among the photos of these products. With
    mean_pool, `image` and `classes` have a row for each product instead, and `first` is the product. `frames` is None,
    and `words` empty, if no loss reads them.
    """

    image: Stores
    text: Stores
    classes: Stores
    first: Rows
    frames: ClipFrames | None = None
    words: tuple[tuple[ActivationStore, Rows], ...] = ()

    def batch_fields(self, rows: Rows, photos: Rows, texts: Rows) -> dict[str, Tensor]:
        """Return the teacher fields of a batch for products, their photos and their texts, all (batch,).

        The outputs of several teachers are concatenated, float32 (batch, sum of widths); frames and words are padded to
        the longest of the batch. A field without a teacher is left out.
        """
        photo_rows = self.first[rows] + photos
        fields = (
            ("teacher_image", self.image, photo_rows),
            ("teacher_text", self.text, texts),
            ("teacher_classes", self.classes, photo_rows),
        )
        found = {name: _concatenated(stores, positions) for name, stores, positions in fields if stores}
        frames = {} if self.frames is None else self.frames.batch_fields(rows, photos)
        return {**found, **frames, **self._words(texts)}

    def _words(self, texts: Rows) -> dict[str, Tensor]:
        """Return teacher_words and teacher_word_mask; tokenizers differ, so each teacher has a mask of its own."""
        if not self.words:
            return {}
        gathered = [store.gather_at(rows[texts]) for store, rows in self.words]
        longest = max(mask.shape[1] for _, mask in gathered)
        values, masks = (
            [np.pad(part, [(0, 0), (0, longest - part.shape[1]), *[(0, 0)] * (part.ndim - 2)]) for part in parts]
            for parts in zip(*gathered, strict=True)
        )
        words = np.concatenate([np.asarray(value, dtype=np.float32) for value in values], axis=2)
        mask = np.stack(masks, axis=2)
        return {"teacher_words": torch.from_numpy(words), "teacher_word_mask": torch.from_numpy(mask)}


def find_teacher_rows(
    teachers: list[TeacherStores],
    products: Products,
    mean_pool: bool = False,
    outputs: Collection[str] = (IMAGE, TEXT, CLASSES),
) -> TeacherRows:
    """Look up the photos and texts of products in the teachers' stores, or with `mean_pool` whole products and texts.

    `outputs` are those that the losses read: image, text, classes, frames, words. Raises ValueError with the first
    photo, product or text that a store lacks.
    """
    counts = products.num_photos
    means = mean_pool and bool((counts > 1).any())
    photos = [photo_key(key, n) for key, count in zip(products.ids, counts, strict=True) for n in range(count)]
    images, texts = products.ids if means else photos, [text_key(text) for text in products.texts]
    first_photo = np.cumsum(counts) - counts

    def find(name: str, keys: list[str]) -> Stores:
        own = [teacher.stores for teacher in teachers if name in teacher.stores and name in outputs]
        stores = [_store_of_means(one, name) if means and name in MEAN else one[name] for one in own]
        return tuple((store.matrix, store.positions(keys)) for store in stores)

    frames = None
    if FRAMES in outputs:
        of_photos = [teacher.stores[IMAGE] for teacher in teachers if IMAGE in teacher.stores]
        stores = tuple((store.matrix, store.positions(photos)) for store in of_photos)
        frames = ClipFrames(stores, first_photo, counts, mean_pool)
    words = tuple(
        (teacher.words, teacher.words.positions(texts))
        for teacher in teachers
        if teacher.words is not None and WORDS in outputs
    )
    first = np.arange(len(products)) if means else first_photo
    return TeacherRows(find(IMAGE, images), find(TEXT, texts), find(CLASSES, images), first, frames, words)


def _store_of_means(stores: dict[str, FeatureStore], name: str) -> FeatureStore:
    if MEAN[name] not in stores:
        raise ValueError(
            f"{stores[name].folder}: no outputs for the mean of a product's photos beside it, which train.photo = "
            "mean_pool needs; run `dvc repro`"
        )
    return stores[MEAN[name]]


def _concatenated(stores: Stores, positions: Rows) -> Tensor:
    parts = [np.asarray(as_floats(matrix[rows[positions]]), dtype=np.float32) for matrix, rows in stores]
    return torch.from_numpy(np.concatenate(parts, axis=1))
