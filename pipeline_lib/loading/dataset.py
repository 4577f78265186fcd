"""The dataset of product batches, and the loader that prefetches them in worker processes if something is decoded.

Every random draw is seeded with (seed, epoch, row) and never with a worker's state. So the number of workers does not
change a batch, and a resumed run draws the same batches as an uninterrupted one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pipeline_lib.batch import Batch
from pipeline_lib.execution.owners import start_worker
from pipeline_lib.execution.process_group import rows_of_rank
from pipeline_lib.loading.captions import answered_texts, draw_captions
from pipeline_lib.loading.mixup import draw_mix
from pipeline_lib.loading.products import Products
from pipeline_lib.loading.stored_features import NOTHING_STORED, StoredFeatures
from pipeline_lib.loading.teacher_rows import TeacherRows
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.params.train import MixKind

if TYPE_CHECKING:
    # It imports an image library, which a run from stored features does not need.
    from pipeline_lib.loading.photo_views import PhotoViews

Rows = NDArray[np.int64]
BatchKey = tuple[int, Rows]  # (epoch, rows of the products)
Seeds = list[tuple[int, int, int]]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Sampling:
    """How a batch is drawn from its products.

    `photo` is first, random or mean_pool (all photos of a product); `part` is (rank, world size) of the process.
    """

    seed: int
    photo: str = "first"
    mix: MixKind = "none"
    mix_alpha: float = 1.0
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        assert self.mix == "none" or self.part[1] == 1, "rows that are mixed must be in one process"


class ProductDataset(Dataset[Batch]):
    """A map-style dataset from (epoch, rows of `products`) to a batch with a photo, or all photos, and one text each.

    With several processes, the model's inputs (`batch.CONTENT`) are loaded for this process's rows only. The inputs of
    the losses are small and loaded for all rows. `photos` may be None if the photos' features are stored.
    """

    def __init__(
        self,
        products: Products,
        photos: PhotoViews | None,
        texts: TextViews,
        sampling: Sampling,
        stored: StoredFeatures = NOTHING_STORED,
        teachers: TeacherRows | None = None,
    ) -> None:
        self.products = products
        self.photos = photos
        self.texts = texts
        self.sampling = sampling
        self.stored = stored.find_rows(products)
        self.teachers = teachers
        self._has_text = np.array([bool(text) for text in products.texts], dtype=np.bool_)

    def __getitem__(self, key: BatchKey) -> Batch:
        epoch, rows = key
        products = self.products
        photos = self._draw_photos(rows, epoch)
        numbers, answers = products.text[rows], None
        if products.captions is not None:
            numbers = draw_captions(products.captions, rows, self.sampling.seed, epoch)
        if products.answers is not None:
            answers = torch.from_numpy(answered_texts(products.answers, rows))
        own = rows_of_rank(len(rows), *self.sampling.part)
        teachers = self.teachers.batch_fields(rows, photos, numbers) if self.teachers else {}
        has_text = torch.from_numpy(self._has_text[numbers])
        all_photos = self.sampling.photo == "mean_pool"
        return Batch(
            product=torch.from_numpy(rows.copy()),
            group=torch.from_numpy(products.group[rows]),
            text=torch.from_numpy(numbers),
            has_text=has_text,
            text_rows=has_text.nonzero().flatten(),
            label=torch.from_numpy(products.label[rows]),
            answers=answers,
            num_photos=torch.from_numpy(products.num_photos[rows]) if all_photos else None,
            **teachers,
            **self._photo_content(epoch, rows[own], photos[own]),
            **self._text_content(epoch, rows[own], numbers[own]),
            **self._mix(epoch, rows, teachers.get("teacher_classes")),
        )

    def _seeds(self, epoch: int, rows: Rows) -> Seeds:
        """Return the seed of each row; what draws nothing does not need the list."""
        return [(self.sampling.seed, epoch, row) for row in rows.tolist()]

    def _draw_photos(self, rows: Rows, epoch: int) -> Rows:
        """Return the number of the photo of each product, (batch,)."""
        photos = np.zeros(len(rows), dtype=np.int64)
        if self.sampling.photo != "random":
            return photos
        counts = self.products.num_photos[rows]
        several = np.flatnonzero(counts > 1)
        for index, seed in zip(several.tolist(), self._seeds(epoch, rows[several]), strict=True):
            photos[index] = np.random.default_rng((*seed, 1)).integers(counts[index])
        return photos

    def _mix(self, epoch: int, rows: Rows, teacher_classes: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if self.sampling.mix == "none":
            return {}
        products = self.products
        # A product without a label has no target to mix, and a missing photo has no pixels to mix.
        mixable = products.label[rows] >= 0
        if products.has_photo is not None:
            mixable &= products.has_photo[rows]
        size = 0 if self.photos is None or self.stored.image_store is not None else self.photos.size
        drawn = draw_mix(self.sampling.mix, self.sampling.mix_alpha, size, self._seeds(epoch, rows), mixable)
        mix = {
            "mix_with": torch.from_numpy(drawn.partner),
            "mix_share": torch.from_numpy(drawn.share),
            "mixed_label": torch.from_numpy(products.label[rows[drawn.partner]]),
        }
        if teacher_classes is not None:
            mix["mixed_teacher_classes"] = teacher_classes[mix["mix_with"]]
        return mix if drawn.cut is None else {**mix, "cut": torch.from_numpy(drawn.cut)}

    def _photo_content(self, epoch: int, rows: Rows, photos: Rows) -> dict[str, torch.Tensor]:
        """Return the image inputs of a batch: the photo `photos` of each product, or all of its photos."""
        products, all_photos = self.products, self.sampling.photo == "mean_pool"
        owner, content = np.arange(len(rows)), {}
        if all_photos:
            counts = products.num_photos[rows]
            owner = np.repeat(owner, counts)
            photos = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
            content["photo_mask"] = torch.from_numpy(np.arange(counts.max(initial=0)) < counts[:, None])

        def draw_seeds() -> Sequence[tuple[int, ...]]:
            seeds = self._seeds(epoch, rows)
            if not all_photos:
                return seeds
            return [(*seeds[row], 3, photo) for row, photo in zip(owner.tolist(), photos.tolist(), strict=True)]

        if stored := self.stored.photo_content(rows[owner], photos, draw_seeds):
            content |= stored
        else:
            assert self.photos is not None, "photos are neither stored nor decoded"
            content["pixels"] = self.photos.load(products.first_photo[rows][owner] + photos, draw_seeds())
        if products.has_photo is not None:
            content["has_image"] = torch.from_numpy(products.has_photo[rows])
        return content

    def _text_content(self, epoch: int, rows: Rows, numbers: Rows) -> dict[str, torch.Tensor]:
        """Return the text inputs of a batch, for the rows `numbers` of the products' texts."""
        if stored := self.stored.text_content(numbers):
            return stored
        return self.texts.load([self.products.texts[number] for number in numbers], self._seeds(epoch, rows))


@dataclass(frozen=True)
class _Refused:
    """Why an item could not be loaded: bad input, in one line."""

    reason: str


@dataclass(frozen=True)
class _Guarded(Dataset[Any]):
    """Items of a dataset in a worker; torch would send bad input back as the text of a traceback."""

    dataset: Dataset[Any]

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.dataset[key]
        except (ValueError, OSError) as error:
            return _Refused(str(error))


def data_loader(dataset: Dataset[ItemT], keys: Sequence[Any], workers: int, device: str = "cpu") -> Iterator[ItemT]:
    """Yield dataset[key] in the order of `keys`, prefetched by worker processes; 0 workers load in this process.

    For a GPU the tensors are in pinned memory, so that a copy does not block this process.
    """
    if not workers:
        for key in keys:
            item: Any = dataset[key]
            yield item.pin_memory() if device == "cuda" else item
        return
    loaded = DataLoader(
        _Guarded(dataset),
        sampler=keys,
        batch_size=None,
        num_workers=min(workers, len(keys)),
        prefetch_factor=4 if len(keys) else None,
        pin_memory=device == "cuda",
        # Without a generator the loader draws from the global one, which would change the draws of a resumed run.
        generator=torch.Generator(),
        worker_init_fn=partial(start_worker, os.getpid()),
    )
    for item in loaded:
        if isinstance(item, _Refused):
            raise ValueError(item.reason)
        yield item


def shuffled_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[BatchKey]:
    """Return the keys of one epoch's batches in random order, without the last incomplete batch (drop_last).

    A contrastive loss over a short batch is not comparable. The rows that are dropped change with each epoch. If
    `count` is smaller than the batch size, all rows are one batch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    size = min(batch_size, count)
    return [(epoch, order[start : start + size]) for start in range(0, count - size + 1, size)]


def sequential_batches(count: int, batch_size: int) -> list[BatchKey]:
    """Return the keys of batches of all rows in order; the last batch may be shorter."""
    return [(0, np.arange(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]
