"""A trained model's embeddings and class probabilities of products and texts, averaged over views.

The heads read the mean of the photos' pooled features, or what the model's frame pooling makes of them, as in training
and validation. Over views, probabilities are averaged, not logits, because the mean of distributions is a distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.inference.engine import (
    Array,
    InferenceEngine,
    encode_photos,
    encode_texts,
    normalise_rows,
    photo_rows,
)
from pipeline_lib.inference.photo_pooling import pool_products
from pipeline_lib.inference.stored_layers import NOTHING_STORED, StoredLayers
from pipeline_lib.loading.dataset import Rows
from pipeline_lib.loading.products import Products, photo_key
from pipeline_lib.models.classifier import CLASSIFIER_INPUTS
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.towers.tower import Description
from pipeline_lib.transforms.tokenize import TextTokenizer

if TYPE_CHECKING:
    # It imports an image library, which predictions from stored features do not need.
    from pipeline_lib.loading.photo_views import PhotoViews


@dataclass(frozen=True)
class Predictions:
    """Embeddings and class probabilities of consecutive products from row `start`; None for a head the model lacks.

    Embeddings have unit length unless the model's similarity is dot. `frame_weights` (photos, 1) of a frame attention
    sum to 1 in each product.
    """

    start: int
    embeddings: Array | None
    probabilities: Array | None
    frame_weights: Array | None = None


@dataclass(frozen=True)
class Predictor:
    """Predicts with a model at one image size; `flip` averages over the image and its horizontal flip.

    Layers whose outputs are `stored` are not run; `views` may be None if the photos' outputs are. Without `classify`
    the classifier is not run either.
    """

    model: ImageTextModel
    tokenizer: TextTokenizer
    views: PhotoViews | None
    engine: InferenceEngine
    flip: bool
    photo: str
    stored: StoredLayers = NOTHING_STORED
    classify: bool = True
    _text_cache: dict[str, Array] = field(default_factory=dict, repr=False)

    def predict(self, products: Products) -> Iterator[Predictions]:
        """Yield predictions for all products in order, block by block."""
        rows, owner = photo_rows(products, self.photo)
        texts = self._class_texts(products)
        dim = self.model.description["embedding_dim"] if self.model.description["retrieval"] else 0
        normalise = normalise_rows if self.model.description["similarity"] == "cosine" else np.asarray

        photos = self._photos(products, rows, owner)
        for pooled in pool_products(self.model, photos, owner, self.engine, self.num_views):
            block = slice(pooled.start, pooled.start + len(pooled.features))
            values = self._heads(pooled.features, products, block, texts)
            yield Predictions(
                pooled.start,
                normalise(values[:, :dim]) if dim else None,
                values[:, dim:] if values.shape[1] > dim else None,
                pooled.weights,
            )

    @property
    def num_views(self) -> int:
        """Return the number of views of each photo."""
        return 2 if self.flip else 1

    def _photos(self, products: Products, rows: Rows, owner: Rows) -> Iterator[tuple[int, Tensor]]:
        """Yield (start, pooled features (block, views x dim)) of photos by their manifest rows, in order."""
        if self.stored.photos:
            numbers = rows - products.first_photo[owner]
            keys = [photo_key(products.ids[key], int(number)) for key, number in zip(owner, numbers, strict=True)]
            return self.stored.encode_photos(self.model, keys, self.engine)

        assert self.views is not None, "photos are neither stored nor decoded"

        def encode(pixels: Tensor, _positions: Tensor) -> Tensor:
            views = (pixels, pixels.flip(-1)) if self.flip else (pixels,)
            return torch.cat([self.model.encode_image(view) for view in views], dim=1)

        return encode_photos(encode, self.views, rows, self.engine)

    def _heads(self, features: Tensor, products: Products, block: slice, texts: Tensor | None) -> Array:
        """Return embeddings and probabilities of mean features (products, views x dim), averaged over the views."""
        inputs = {}
        if texts is not None:
            inputs["text"] = texts[torch.from_numpy(products.text[block])]
        if products.has_photo is not None:
            inputs["has_image"] = torch.from_numpy(products.has_photo[block])

        def predict(values: Tensor, *others: Tensor) -> Tensor:
            given = dict(zip(inputs, others, strict=True))
            views = values.chunk(self.num_views, dim=1)
            return torch.stack([self._predict_view(view, **given) for view in views]).mean(0)

        return self.engine.run(predict, features, *inputs.values()).cpu().numpy()

    def embed_texts(self, texts: list[str]) -> Array:
        """Return text embeddings (texts, embedding_dim), of unit length unless similarity is dot."""
        return self.engine.run(self.model.embed_text, self._text_features(texts)).cpu().numpy()

    def embed_block(self, texts: list[str]) -> Array:
        """Return `embed_texts` of one block of many texts, whose features do not stay in memory."""
        distinct, rows = np.unique(np.array(texts, dtype=object), return_inverse=True)
        features = torch.from_numpy(self._encode_texts(distinct.tolist()))
        return self.engine.run(self.model.embed_text, features).cpu().numpy()[rows]

    def _text_features(self, texts: list[str]) -> Tensor:
        """Return pooled features (texts, dim); each distinct text is encoded once."""
        new = sorted(set(texts) - self._text_cache.keys())
        if new:
            self._text_cache.update(zip(new, self._encode_texts(new), strict=True))
        return torch.from_numpy(np.stack([self._text_cache[text] for text in texts]))

    def _encode_texts(self, texts: list[str]) -> Array:
        if self.stored.texts is not None:
            return self.stored.encode_texts(self.model, texts, self.engine)
        max_tokens = int(self.model.description["text"]["max_tokens"])
        return encode_texts(self.model.encode_text, self.tokenizer, texts, max_tokens, self.engine)

    def _predict_view(self, image: Tensor, text: Tensor | None = None, has_image: Tensor | None = None) -> Tensor:
        features = {"image": self.model.with_missing(image, has_image)}
        outputs: list[Tensor] = []
        if self.model.description["retrieval"]:
            outputs.append(self.model.embed_image(features["image"]))
        if self.classify and self.model.description["classes"]:
            features |= {} if text is None else {"text": text}
            outputs.append(self.model.classify(features).softmax(-1))
        return torch.cat([output.float() for output in outputs], dim=1)

    def _class_texts(self, products: Products) -> Tensor | None:
        """Return the pooled features of all texts (texts, dim), or None if the classifier does not read text."""
        if (
            not (self.classify and self.model.description["classes"])
            or "text" not in CLASSIFIER_INPUTS[self.model.description["classifier"]["inputs"]]
        ):
            return None
        return self._text_features(products.texts)


def open_views(image: Description, scale: int, shards: Path, url: str | None) -> PhotoViews:
    """Return the views of photos in the shards at a size, with an image tower's preprocessing.

    Raises ValueError if the tower does not support the size.
    """
    from pipeline_lib.loading.photo_views import PhotoViews
    from pipeline_lib.shards.read import open_shards
    from pipeline_lib.towers.scales import check_scales
    from pipeline_lib.transforms.resizing import Resizing

    check_scales(image, [scale])
    return PhotoViews(open_shards(shards, url), scale, resizing=Resizing.of(image))
