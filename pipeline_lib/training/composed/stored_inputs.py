"""The inputs of composed models, gathered from the stores of the frozen towers by row numbers of products and texts.

Towers are frozen in composed training, so no photo is decoded and no tower runs: a batch is a gather of mapped rows. A
product is its first photo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.features.tower_stores import open_pooled, open_tokens
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.loading.stored_features import as_float_tensor
from pipeline_lib.models.composed.inputs import ComposedInputs, StoredWidths
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.store import FeatureStore
from pipeline_lib.towers.tower import Identified
from pipeline_lib.transforms.tokenize import TextTokenizer

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TrunkStores:
    """What the features stage stored of the towers: pooled features of photos and texts, and image tokens (or None)."""

    image: FeatureStore
    text: FeatureStore
    tokens: ActivationStore | None

    def widths(self) -> StoredWidths:
        """Return the widths of the stored vectors."""
        tokens = None if self.tokens is None else self.tokens.header.width
        return StoredWidths(self.image.header.dim, self.text.header.dim, tokens)

    def origin(self) -> dict[str, str]:
        """Return the encoder of each tower and the view of the photos, for the card of a model."""
        header = self.image.header
        return {"image": header.encoder, "text": self.text.header.encoder, "preprocessing": header.preprocessing}


def open_trunk(folder: Path, sources: Mapping[str, Identified], url: str | None = None) -> TrunkStores:
    """Open the stores of data/work/features/trunk; ValueError says which setting makes a missing one."""
    image, text = (open_pooled(folder, name, sources[name], url) for name in ("image", "text"))
    if image is None or text is None:
        missing = "image" if image is None else "text"
        raise ValueError(
            f"{folder}: no {missing} features are stored, which composed models read; set plan.features = [trunk], and "
            f"see what the features stage says about the {missing} tower"
        )
    return TrunkStores(image, text, open_tokens(folder, "image", sources["image"], url))


@dataclass(frozen=True)
class QueryTexts:
    """Distinct sentences, and what their models' tokenizer makes of them: ids and mask (texts, longest), or None."""

    texts: list[str]
    token_ids: Tensor | None = None
    token_mask: Tensor | None = None

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: TextTokenizer | None, max_tokens: int) -> "QueryTexts":
        """Tokenize the distinct texts, in the order of their first occurrence."""
        distinct = list(dict.fromkeys(texts))
        if tokenizer is None or not distinct:
            return cls(distinct)
        ids, mask = tokenizer.encode_batch(distinct, max_tokens)
        return cls(distinct, torch.from_numpy(ids), torch.from_numpy(mask))


@dataclass(frozen=True)
class InputReader:
    """Gathers inputs of some products and texts, whose places in the stores were looked up once.

    `needs` and `target_needs` are those of the model: nothing else is read.
    """

    stores: TrunkStores
    texts: QueryTexts
    needs: frozenset[str]
    target_needs: frozenset[str]
    places: dict[str, Rows] = field(repr=False)

    @classmethod
    def of(
        cls,
        stores: TrunkStores,
        product_ids: Sequence[str],
        texts: QueryTexts,
        needs: frozenset[str],
        target_needs: frozenset[str],
    ) -> "InputReader":
        """Look the products and texts up; ValueError names the first that a store lacks, or a store that is missing."""
        read = needs | target_needs
        if "tokens" in read and stores.tokens is None:
            raise ValueError(
                "this composed model reads image tokens, which are not stored; set features.trunk.at = tokens, or "
                "composed.fusion = none and composed.losses.patch_contrast = 0 with plan.composed = [sum, combiner]"
            )
        photos = [photo_key(product_id, 0) for product_id in product_ids]
        places: dict[str, Rows] = {}
        if "image" in read:
            places["image"] = stores.image.positions(photos)
        if "tokens" in read and stores.tokens is not None:
            places["tokens"] = stores.tokens.positions(photos)
        if "text" in read:
            places["text"] = stores.text.positions([text_key(text) for text in texts.texts])
        return cls(stores, texts, needs, target_needs, places)

    def references(self, products: Rows, texts: Rows) -> ComposedInputs:
        """Return the inputs of queries: rows of the products and of the texts, both (batch,)."""
        images = self._images(products, self.needs)
        words: dict[str, Tensor] = {}
        if "text" in self.needs:
            words["text"] = as_float_tensor(self.stores.text.stored_rows(self.places["text"][texts]))
        if "token_ids" in self.needs:
            assert self.texts.token_ids is not None and self.texts.token_mask is not None
            mask = self.texts.token_mask[texts]
            longest = int(mask.sum(dim=1).max()) if len(mask) else 0
            words |= {"token_ids": self.texts.token_ids[texts, :longest], "token_mask": mask[:, :longest]}
        return ComposedInputs(**images, **words)

    def targets(self, products: Rows) -> ComposedInputs:
        """Return the inputs of targets, by rows of the products (batch,)."""
        return ComposedInputs(**self._images(products, self.target_needs))

    def _images(self, products: Rows, needs: frozenset[str]) -> dict[str, Tensor]:
        images: dict[str, Tensor] = {}
        if "image" in needs:
            images["image"] = as_float_tensor(self.stores.image.stored_rows(self.places["image"][products]))
        if "tokens" in needs:
            assert self.stores.tokens is not None
            images["tokens"] = as_float_tensor(self.stores.tokens.stored_tokens(self.places["tokens"][products]))
        return images
