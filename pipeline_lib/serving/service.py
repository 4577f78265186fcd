"""What the routes call: models, photos and judgements of one server, and the threads in which they work.

Text searches go through the batcher of their model. Pictures, explanations and composed queries take longer, so one
other thread does them, one at a time: memory holds one decoded picture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pipeline_lib.serving.batching import Batcher
from pipeline_lib.serving.explain import Explanation, explain
from pipeline_lib.serving.query import Answer, Filters, Job, Query
from pipeline_lib.serving.telemetry import Telemetry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline_lib.retrieval.gallery_vectors import Gallery
    from pipeline_lib.serving.judgements import JudgementFile
    from pipeline_lib.serving.model import ServedModel
    from pipeline_lib.serving.photos import ProductPhotos
    from pipeline_lib.transforms.image import Pixels

ResultT = TypeVar("ResultT")


@dataclass
class Opened:
    """A model with its photos, and the embeddings of the products' photos and texts, if they are stored.

    `num_photos` (products,) is how many photos the product in each row has.
    """

    model: ServedModel
    photos: ProductPhotos
    gallery: Gallery | None
    num_photos: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.num_photos = self.photos.counts(self.model.catalogue.ids)


@dataclass
class SearchService:
    """One or two models, the file of judgements (None: read-only), and what is counted."""

    opened: Sequence[Opened]
    judgements: JudgementFile | None
    telemetry: Telemetry
    max_upload: int
    _batchers: list[Batcher[Job, Answer]] = field(init=False, repr=False)
    _slow: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._batchers = [Batcher(one.model.answer, observe=self.telemetry.batch) for one in self.opened]
        self._slow = ThreadPoolExecutor(1, "pictures")
        for one in self.opened:
            self.telemetry.products(one.model.name, len(one.model.catalogue.ids))

    async def search(self, number: int, query: Query, k: int, filters: Filters) -> Answer:
        """Return the answer of a model; ValueError for a product or a filter that it does not have."""
        encoded = None if query.is_text else await self.slowly(lambda: self.opened[number].model.encode(query))
        return await self._batchers[number].submit(Job(query, k, filters, encoded))

    async def view(self, number: int, data: bytes) -> Pixels:
        """Return the square of an uploaded picture; BadPhotoError if it cannot be read."""
        model = self.opened[number].model
        return await self.slowly(lambda: model.pictures.view(data, model.max_pixels))

    async def explain(self, number: int, query: Query, product_id: str) -> Explanation:
        """Return why a product is in a result; ValueError as `explain.explain`."""
        one = self.opened[number]
        row = one.model.row(product_id)

        def work() -> Explanation:
            photo = one.photos.read(product_id, 0)
            return explain(one.model, query, row, None if photo is None else photo.data, one.gallery)

        return await self.slowly(work)

    async def slowly(self, work: Callable[[], ResultT]) -> ResultT:
        """Return work() of the thread for what takes longer."""
        return await asyncio.get_running_loop().run_in_executor(self._slow, work)

    def close(self) -> None:
        """Stop the threads."""
        for batcher in self._batchers:
            batcher.close()
        self._slow.shutdown(wait=False, cancel_futures=True)
