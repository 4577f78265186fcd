"""Stored features that replace pixels and tokens in a batch: pooled features, or activations at a tower's boundary."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.store import FeatureStore

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class StoredFeatures:
    """The store that each tower reads in place of its input, or None for a tower that runs from pixels or tokens.

    `image` has the fixed view of each photo. If `views` is given, training reads these augmented views instead.
    """

    image: FeatureStore | ActivationStore | None = None
    text: FeatureStore | ActivationStore | None = None
    views: FeatureStore | ActivationStore | None = None

    def without_views(self) -> "StoredFeatures":
        """Return the stores that validation reads: the fixed view of each photo, no augmented views."""
        return replace(self, views=None)

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

    def photo_content(self, ids: list[str], photos: Rows, seeds: Sequence[tuple[int, ...]]) -> dict[str, torch.Tensor]:
        """Return a batch's content for photos, by product id and photo number; empty if the image tower reads pixels.

        Each photo has its own seed, which draws the stored view to read.
        """
        keys = [photo_key(key, int(number)) for key, number in zip(ids, photos, strict=True)]
        store = self.image if self.views is None else self.views
        if store is None:
            return {}
        views = store.header.views.pick(seeds) if store.header.views else None
        if isinstance(store, ActivationStore):
            return {"image_activations": torch.from_numpy(store.gather(keys, views)[0])}
        return {"image_features": torch.from_numpy(store.rows(keys, views))}

    def text_content(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Return a batch's content for texts; empty if the text tower reads tokens."""
        keys = [text_key(text) for text in texts]
        if isinstance(self.text, ActivationStore):
            values, mask = self.text.gather(keys)
            return {"text_activations": torch.from_numpy(values), "token_mask": torch.from_numpy(mask)}
        return {} if self.text is None else {"text_features": torch.from_numpy(self.text.rows(keys))}


NOTHING_STORED = StoredFeatures()
