"""Batches of products for training and prediction, made by worker processes: pixels leave them as uint8.

Everything random is drawn from (seed, epoch, product), never from a worker's own state: so the number of workers
does not change a batch, and a resumed run draws what the killed one would have drawn.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pipeline_lib.features.captions import answers_of, draw_captions
from pipeline_lib.features.mixing import draw_mix
from pipeline_lib.features.products import Products, photo_key, text_key
from pipeline_lib.features.store import FeatureStore
from pipeline_lib.models.content import mean_of_photos
from pipeline_lib.params.training import MixKind
from pipeline_lib.records import Batch
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import VIEWS
from pipeline_lib.transforms.text_views import TEXT_VIEWS
from pipeline_lib.transforms.tokenize import TextTokenizer

Rows = NDArray[np.int64]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class PhotoViews:
    """Photos of the shards as uint8 pixels (batch, 3, size, size), seen through one view."""

    reader: ShardReader
    size: int
    view: str = "none"
    crop_scale: float = 1.0

    def load(self, rows: Rows, seeds: Iterable[tuple[int, ...]]) -> torch.Tensor:
        """Decode manifest rows; one seed a photo."""
        see = VIEWS[self.view]
        pixels = [
            see(decode(self.reader.read(int(row)), self.size), self.size, np.random.default_rng(seed), self.crop_scale)
            for row, seed in zip(rows, seeds, strict=True)
        ]
        return torch.from_numpy(np.stack(pixels))


@dataclass(frozen=True)
class StoredFeatures:
    """Stored trunk features that stand in for pixels and tokens."""

    image: FeatureStore
    text: FeatureStore

    def of_photos(self, ids: list[str], photos: Rows) -> torch.Tensor:
        """Return image features (batch, dim) of one photo a product."""
        return torch.from_numpy(self.image.rows([photo_key(key, int(n)) for key, n in zip(ids, photos, strict=True)]))

    def of_all_photos(self, ids: list[str], counts: Rows) -> torch.Tensor:
        """Return the mean image features (batch, dim) of all photos a product."""
        keys = [photo_key(key, photo) for key, count in zip(ids, counts, strict=True) for photo in range(count)]
        found = torch.from_numpy(self.image.rows(keys))
        return mean_of_photos(found, torch.from_numpy(counts)).to(found.dtype)

    def of_texts(self, texts: list[str]) -> torch.Tensor:
        """Return text features (batch, dim)."""
        return torch.from_numpy(self.text.rows([text_key(text) for text in texts]))


class ProductBatches(Dataset[Batch]):
    """Turns (epoch, rows of `products`) into a batch with one photo, or all, and one text of each product.

    With `part` (rank, world), what the model reads (`records.CONTENT`) is there for this process's rows alone; what
    losses read is small and there for all of them.
    """

    def __init__(
        self,
        products: Products,
        source: PhotoViews | StoredFeatures,
        tokenizer: TextTokenizer,
        max_tokens: int,
        photo: str,
        seed: int,
        text_view: str = "none",
        text_rate: float = 0.0,
        part: tuple[int, int] = (0, 1),
        mix: MixKind = "none",
        mix_alpha: float = 1.0,
    ) -> None:
        self.products = products
        self.source = source
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.photo = photo
        self.seed = seed
        self.text_view = text_view
        self.text_rate = text_rate
        self.part = part
        assert mix == "none" or part[1] == 1, "the rows that are blended lie in one process"
        self.mix = mix
        self.mix_alpha = mix_alpha

    def __getitem__(self, key: tuple[int, Rows]) -> Batch:
        epoch, rows = key
        products = self.products
        seeds = [(self.seed, epoch, int(row)) for row in rows]
        photos = np.zeros(len(rows), dtype=np.int64)
        if self.photo == "random":
            counts = products.num_photos[rows]
            photos = np.array(
                [np.random.default_rng((*seed, 1)).integers(n) for seed, n in zip(seeds, counts, strict=True)]
            )
        numbers, answers = products.text[rows], None
        if products.captions is not None:
            numbers = draw_captions(products.captions, rows, self.seed, epoch)
            answers = torch.from_numpy(answers_of(products.captions, rows))
        texts = [products.texts[number] for number in numbers]
        own = share_of(len(rows), *self.part)
        return Batch(
            product=torch.from_numpy(rows.copy()),
            group=torch.from_numpy(products.group[rows]),
            text=torch.from_numpy(numbers),
            has_text=torch.tensor([bool(text) for text in texts]),
            label=torch.from_numpy(products.label[rows]),
            answers=answers,
            **self._content(rows[own], photos[own], texts[own], seeds[own]),
            **self._blend(rows, seeds),
        )

    def _blend(self, rows: Rows, seeds: list[tuple[int, int, int]]) -> dict[str, torch.Tensor]:
        if self.mix == "none":
            return {}
        products = self.products
        # What has no label would leave half of a blend without one, and a picture that is missing cannot be blended.
        may = products.label[rows] >= 0
        if products.has_photo is not None:
            may &= products.has_photo[rows]
        size = self.source.size if isinstance(self.source, PhotoViews) else 0
        drawn = draw_mix(self.mix, self.mix_alpha, size, seeds, may)
        blend = {
            "mix_with": torch.from_numpy(drawn.partner),
            "mix_share": torch.from_numpy(drawn.share),
            "mixed_label": torch.from_numpy(products.label[rows[drawn.partner]]),
        }
        return blend if drawn.cut is None else {**blend, "cut": torch.from_numpy(drawn.cut)}

    def _content(
        self, rows: Rows, photos: Rows, texts: list[str], seeds: list[tuple[int, int, int]]
    ) -> dict[str, torch.Tensor]:
        products, known = self.products, {}
        if products.has_photo is not None:
            known["has_image"] = torch.from_numpy(products.has_photo[rows])
        if isinstance(self.source, StoredFeatures):
            ids = [products.ids[row] for row in rows]
            if self.photo == "mean_pool":
                image = self.source.of_all_photos(ids, products.num_photos[rows])
            else:
                image = self.source.of_photos(ids, photos)
            return {**known, "image_features": image, "text_features": self.source.of_texts(texts)}
        see = TEXT_VIEWS[self.text_view]
        seen = [
            see(text, np.random.default_rng((*seed, 2)), self.text_rate)
            for text, seed in zip(texts, seeds, strict=True)
        ]
        token_ids, mask = self.tokenizer.encode_batch(seen, self.max_tokens)
        first = products.first_photo[rows] + photos
        views: Sequence[tuple[int, ...]] = seeds
        if self.photo == "mean_pool":
            counts = products.num_photos[rows]
            known["num_photos"] = torch.from_numpy(counts)
            places = [photo for count in counts for photo in range(count)]
            first = np.repeat(first, counts) + np.array(places)
            owners = np.repeat(np.arange(len(rows)), counts)
            views = [(*seeds[owner], 3, photo) for owner, photo in zip(owners, places, strict=True)]
        return {
            **known,
            "pixels": self.source.load(first, views),
            "token_ids": torch.as_tensor(token_ids),
            "token_mask": torch.as_tensor(mask),
        }


def load_ahead(dataset: Dataset[ItemT], keys: Sequence[Any], workers: int) -> Iterator[ItemT]:
    """Yield dataset[key] in the keys' order, made ahead by worker processes; 0 workers stay in this process."""
    yield from DataLoader(
        dataset,
        sampler=keys,
        batch_size=None,
        num_workers=min(workers, len(keys)),
        prefetch_factor=4 if workers and len(keys) else None,
        # Else the loader draws from the global generator, which a resumed run must find untouched.
        generator=torch.Generator(),
    )


def share_of(count: int, rank: int, world: int) -> slice:
    """Return which of a batch's `count` rows process `rank` of `world` takes; sizes differ by one at most.

    >>> [share_of(8, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(count * rank // world, count * (rank + 1) // world)


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[tuple[int, Rows]]:
    """Return one epoch's batches of shuffled rows; the last incomplete one is left out unless it is the only one.

    A contrastive loss over a short batch is another loss; which rows are left out changes with each epoch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    size = min(batch_size, count)
    return [(epoch, order[start : start + size]) for start in range(0, count - size + 1, size)]


def in_order(count: int, batch_size: int) -> list[tuple[int, Rows]]:
    """Return all rows in order, the last batch as short as it comes."""
    return [(0, np.arange(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]
