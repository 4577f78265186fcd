"""Stored features that replace pixels and tokens in a batch: pooled features, or activations at a tower's boundary.

The photos and texts of a run are looked up once. A batch is then a gather of mapped rows, so it needs no worker
process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.loading.products import Products, photo_key, text_key
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.store import FeatureStore

Rows = NDArray[np.int64]
Store = FeatureStore | ActivationStore


@dataclass(frozen=True)
class StoredFeatures:
    """The store that each tower reads in place of its input, or None for a tower that runs from pixels or tokens.

    `image` has the fixed view of each photo. If `views` is given, training reads these augmented views instead.
    """

    image: Store | None = None
    text: Store | None = None
    views: Store | None = None

    def kinds(self) -> dict[str, str]:
        """Return `pooled` or `boundary` for each tower that reads a store."""
        stores = {"image": self.image, "text": self.text}
        kinds = {FeatureStore: "pooled", ActivationStore: "boundary"}
        return {name: kinds[type(store)] for name, store in stores.items() if store is not None}

    def num_suffix_groups(self) -> dict[str, int]:
        """Return, for each tower that starts from stored activations, how many layer groups it runs after them."""
        stores = {"image": self.image, "text": self.text}
        opened = {name: store for name, store in stores.items() if isinstance(store, ActivationStore)}
        return {name: store.header.groups_behind for name, store in opened.items()}

    def find_rows(self, products: Products) -> "StoredRows":
        """Look up the photos and texts of products; ValueError names the first that a store lacks."""
        images = self.image if self.views is None else self.views
        counts = products.num_photos
        photos, texts = np.empty(0, np.int64), np.empty(0, np.int64)
        if images is not None:
            photos = images.positions(
                [photo_key(key, n) for key, count in zip(products.ids, counts, strict=True) for n in range(count)]
            )
        if self.text is not None:
            texts = self.text.positions([text_key(text) for text in products.texts])
        return StoredRows(images, photos, np.cumsum(counts) - counts, self.text, texts)


@dataclass(frozen=True)
class StoredRows:
    """The positions of some products' photos and texts in the stores, looked up once.

    `photos` are those of all photos of these products, one product after another; product i starts at first_photo[i].
    `texts` are those of the products' `texts`. Without a store they are empty.
    """

    image_store: Store | None
    photos: Rows
    first_photo: Rows
    text_store: Store | None
    texts: Rows

    def photo_content(
        self, products: Rows, photos: Rows, draw_seeds: Callable[[], Sequence[tuple[int, ...]]]
    ) -> dict[str, Tensor]:
        """Return a batch's content for photos, by product and photo number; empty if the image tower reads pixels.

        `draw_seeds` gives each photo's own seed, which draws the stored view to read; it is called for drawn views.
        """
        store = self.image_store
        if store is None:
            return {}
        positions = self.photos[self.first_photo[products] + photos]
        views = store.header.views.pick(draw_seeds()) if store.header.views else None
        if isinstance(store, ActivationStore):
            return {"image_activations": torch.from_numpy(store.gather_at(positions, views)[0])}
        return {"image_features": as_float_tensor(store.stored_rows(positions, views))}

    def text_content(self, texts: Rows) -> dict[str, Tensor]:
        """Return a batch's content for texts, by rows of the products' `texts`; empty if the tower reads tokens."""
        store = self.text_store
        if store is None:
            return {}
        positions = self.texts[texts]
        if isinstance(store, ActivationStore):
            values, mask = store.gather_at(positions)
            return {"text_activations": torch.from_numpy(values), "token_mask": torch.from_numpy(mask)}
        return {"text_features": as_float_tensor(store.stored_rows(positions))}


def as_float_tensor(stored: NDArray[Any]) -> Tensor:
    """Return rows of a store as float32, as `numbers.as_floats` does; torch converts them 8 times as fast as numpy."""
    values = torch.from_numpy(stored)
    return (values.view(torch.bfloat16) if stored.dtype == np.uint16 else values).float()


NOTHING_STORED = StoredFeatures()
