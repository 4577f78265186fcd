"""Batches of products for training and prediction, made by worker processes: pixels leave them as uint8.

Everything random is drawn from (seed, epoch, product), never from a worker's own state: so the number of workers
does not change a batch, and a resumed run draws what the killed one would have drawn.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from pipeline_lib.batch import Batch
from pipeline_lib.execution.process_group import rows_of_rank
from pipeline_lib.loading.captions import answers_of, draw_captions
from pipeline_lib.loading.mixup import draw_mix
from pipeline_lib.loading.products import Products, photo_key, text_key
from pipeline_lib.loading.teacher_rows import TeacherRows
from pipeline_lib.loading.view_cache import ViewCache
from pipeline_lib.params.train import MixKind
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.store import FeatureStore
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import AFTER_FIXED, VIEWS, Pixels, fixed_view
from pipeline_lib.transforms.text_views import TEXT_VIEWS
from pipeline_lib.transforms.tokenize import TextTokenizer

Rows = NDArray[np.int64]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class PhotoViews:
    """Photos of the shards as uint8 pixels (batch, 3, size, size), seen through one view.

    They lie in memory as pictures do, colours last, which is what convolutions want. With a cache, a photo whose view
    begins with the fixed one is decoded once.
    """

    reader: ShardReader
    size: int
    view: str = "none"
    crop_scale: float = 1.0
    cache: ViewCache | None = None

    def load(self, rows: Rows, seeds: Iterable[tuple[int, ...]]) -> torch.Tensor:
        """Decode manifest rows; one seed a photo."""
        after = AFTER_FIXED.get(self.view)
        kept = {int(row): self.cache.get(int(row)) if self.cache and after else None for row in rows}
        lacking = [row for row, one in kept.items() if one is None]
        encoded = dict(zip(lacking, self.reader.read_all(lacking), strict=True))
        # Several views of one photo come one after another, and it is decoded once.
        pixels: list[Pixels] = []
        opened: tuple[int, Image.Image] | None = None
        for row, seed in zip(map(int, rows), seeds, strict=True):
            if after:
                fixed = kept[row]
                if fixed is None:
                    fixed = kept[row] = self._fixed(row, encoded[row])
                seen = after(fixed, seed)
            else:
                if opened is None or opened[0] != row:
                    opened = row, decode(encoded[row], self.size)
                seen = VIEWS[self.view](opened[1], self.size, np.random.default_rng(seed), self.crop_scale)
            pixels.append(seen.transpose(1, 2, 0))
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)

    def _fixed(self, row: int, encoded: bytes) -> Pixels:
        made = fixed_view(decode(encoded, self.size), self.size)
        if self.cache:
            self.cache.put(row, made)
        return made


@dataclass(frozen=True)
class StoredFeatures:
    """What stands in for pixels and tokens, pooled features or activations; None where the tower runs whole.

    `image` has the fixed view of each photo; where `views` are given, which are as it is, they are read in its place.
    """

    image: FeatureStore | ActivationStore | None = None
    text: FeatureStore | ActivationStore | None = None
    views: FeatureStore | ActivationStore | None = None

    def fixed(self) -> "StoredFeatures":
        """Return what a product is measured by: the fixed view alone."""
        return replace(self, views=None)

    def kinds(self) -> dict[str, str]:
        """Return `pooled` or `boundary` for each tower that is not run whole."""
        stores = {"image": self.image, "text": self.text}
        kinds = {FeatureStore: "pooled", ActivationStore: "boundary"}
        return {name: kinds[type(store)] for name, store in stores.items() if store is not None}

    def num_suffix_groups(self) -> dict[str, int]:
        """Return for each tower that is taken up at a boundary how many layer groups stand behind it."""
        stores = {"image": self.image, "text": self.text}
        return {name: kept.header.groups_behind for name, kept in stores.items() if isinstance(kept, ActivationStore)}

    def of_photos(self, ids: list[str], photos: Rows, seeds: Sequence[tuple[int, ...]]) -> dict[str, torch.Tensor]:
        """Return a batch's content for photos, by product and number; none if the image tower runs whole.

        One seed a photo draws which of its views is read.
        """
        keys = [photo_key(key, int(number)) for key, number in zip(ids, photos, strict=True)]
        store = self.image if self.views is None else self.views
        if store is None:
            return {}
        views = store.header.views.pick(seeds) if store.header.views else None
        if isinstance(store, ActivationStore):
            return {"image_activations": torch.from_numpy(store.gather(keys, views)[0])}
        return {"image_features": torch.from_numpy(store.rows(keys, views))}

    def of_texts(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Return a batch's content for texts; none if the text tower runs whole."""
        keys = [text_key(text) for text in texts]
        if isinstance(self.text, ActivationStore):
            values, mask = self.text.gather(keys)
            return {"text_activations": torch.from_numpy(values), "token_mask": torch.from_numpy(mask)}
        return {} if self.text is None else {"text_features": torch.from_numpy(self.text.rows(keys))}


NOTHING_STORED = StoredFeatures()


class ProductBatches(Dataset[Batch]):
    """Turns (epoch, rows of `products`) into a batch with one photo, or all, and one text of each product.

    With `part` (rank, world), what the model reads (`records.CONTENT`) is there for this process's rows alone; what
    losses read is small and there for all of them.
    """

    def __init__(
        self,
        products: Products,
        source: PhotoViews,
        tokenizer: TextTokenizer,
        max_tokens: int,
        photo: str,
        seed: int,
        text_view: str = "none",
        text_rate: float = 0.0,
        part: tuple[int, int] = (0, 1),
        teachers: TeacherRows | None = None,
        stored: StoredFeatures = NOTHING_STORED,
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
        self.teachers = teachers
        self.stored = stored
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
                [
                    np.random.default_rng((*seed, 1)).integers(n) if n > 1 else 0
                    for seed, n in zip(seeds, counts, strict=True)
                ]
            )
        numbers, answers = products.text[rows], None
        if products.captions is not None:
            numbers = draw_captions(products.captions, rows, self.seed, epoch)
            answers = torch.from_numpy(answers_of(products.captions, rows))
        texts = [products.texts[number] for number in numbers]
        own = rows_of_rank(len(rows), *self.part)
        has_text = torch.tensor([bool(text) for text in texts])
        return Batch(
            product=torch.from_numpy(rows.copy()),
            group=torch.from_numpy(products.group[rows]),
            text=torch.from_numpy(numbers),
            has_text=has_text,
            text_rows=has_text.nonzero().flatten(),
            label=torch.from_numpy(products.label[rows]),
            answers=answers,
            **(self.teachers.of(rows, photos, numbers) if self.teachers else {}),
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
        size = 0 if self.stored.image else self.source.size
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
        products, several = self.products, self.photo == "mean_pool"
        counts = products.num_photos[rows] if several else np.ones_like(rows)
        owner = np.repeat(np.arange(len(rows)), counts)
        numbers = photos[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        views: Sequence[tuple[int, ...]] = seeds
        if several:
            views = [(*seeds[one], 3, int(photo)) for one, photo in zip(owner, numbers, strict=True)]
        content = self.stored.of_photos([products.ids[rows[one]] for one in owner], numbers, views)
        if not content:
            content = {"pixels": self.source.load(products.first_photo[rows][owner] + numbers, views)}
        if several:
            content["num_photos"] = torch.from_numpy(counts)
        if products.has_photo is not None:
            content["has_image"] = torch.from_numpy(products.has_photo[rows])
        return content | (self.stored.of_texts(texts) or self._tokens(texts, seeds))

    def _tokens(self, texts: list[str], seeds: list[tuple[int, int, int]]) -> dict[str, torch.Tensor]:
        see = TEXT_VIEWS[self.text_view]
        seen = [
            see(text, np.random.default_rng((*seed, 2)), self.text_rate)
            for text, seed in zip(texts, seeds, strict=True)
        ]
        token_ids, mask = self.tokenizer.encode_batch(seen, self.max_tokens)
        return {"token_ids": torch.as_tensor(token_ids), "token_mask": torch.as_tensor(mask)}


def load_ahead(dataset: Dataset[ItemT], keys: Sequence[Any], workers: int, device: str = "cpu") -> Iterator[ItemT]:
    """Yield dataset[key] in the keys' order, made ahead by worker processes; 0 workers stay in this process.

    For a GPU they lie in pinned memory, from which a copy does not hold this process up.
    """
    yield from DataLoader(
        dataset,
        sampler=keys,
        batch_size=None,
        num_workers=min(workers, len(keys)),
        prefetch_factor=4 if workers and len(keys) else None,
        pin_memory=device == "cuda",
        # Else the loader draws from the global generator, which a resumed run must find untouched.
        generator=torch.Generator(),
    )


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
