"""What a trained model says of products and texts: embeddings and class probabilities, averaged over views and photos.

Probabilities are averaged, not logits: the mean of what each view believes is again a distribution.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.inference.engine import (
    Array,
    InferenceEngine,
    encode_photos,
    encode_texts,
    mean_per_product,
    normalise_rows,
    photo_rows,
)
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import Products
from pipeline_lib.models.classifier import CLASSIFIER_INPUTS
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.transforms.tokenize import TextTokenizer


@dataclass(frozen=True)
class Predictions:
    """A block of consecutive products: embeddings and class probabilities, None without that head.

    Embeddings are of length 1 unless the model's similarity is dot.
    """

    start: int
    embeddings: Array | None
    probabilities: Array | None


@dataclass(frozen=True)
class Predictor:
    """A model ready to predict at one image size."""

    model: ImageTextModel
    tokenizer: TextTokenizer
    views: PhotoViews
    engine: InferenceEngine
    flip: bool
    photo: str
    _known_texts: dict[str, Array] = field(default_factory=dict, repr=False)

    def products(self, products: Products) -> Iterator[Predictions]:
        """Yield predictions for all products in order, block by block."""
        rows, owner = photo_rows(products, self.photo)
        text_of_row = torch.from_numpy(products.text[owner])
        has_image = torch.from_numpy(products.has_photo[owner]) if products.has_photo is not None else None
        texts = self._class_texts(products)
        dim = self.model.description["embedding_dim"] if self.model.description["retrieval"] else 0
        brought = normalise_rows if self.model.description["similarity"] == "cosine" else np.asarray

        def see(pixels: Tensor, positions: Tensor) -> Tensor:
            text = texts[text_of_row[positions.cpu()]].to(pixels.device) if texts is not None else None
            seen = has_image[positions.cpu()].to(pixels.device) if has_image is not None else None
            both = (pixels, pixels.flip(-1)) if self.flip else (pixels,)
            return torch.stack([self._see_once(view, text, seen) for view in both]).mean(0)

        blocks = encode_photos(see, self.views, rows, self.engine)
        for start, values in mean_per_product(blocks, owner, len(products)):
            yield Predictions(
                start,
                brought(values[:, :dim]) if dim else None,
                values[:, dim:] if values.shape[1] > dim else None,
            )

    def texts(self, texts: list[str]) -> Array:
        """Return text embeddings (texts, embedding_dim), of length 1 unless similarity is dot."""
        return self.engine.run(self.model.embed_text, self._text_features(texts)).cpu().numpy()

    def _text_features(self, texts: list[str]) -> Tensor:
        """Return pooled features (texts, dim); a text met before is not encoded again."""
        new = sorted(set(texts) - self._known_texts.keys())
        if new:
            max_tokens = int(self.model.description["text"]["max_tokens"])
            found = encode_texts(self.model.encode_text, self.tokenizer, new, max_tokens, self.engine)
            self._known_texts.update(zip(new, found, strict=True))
        return torch.from_numpy(np.stack([self._known_texts[text] for text in texts]))

    def _see_once(self, pixels: Tensor, text: Tensor | None, has_image: Tensor | None) -> Tensor:
        found = {"image": self.model.with_missing(self.model.encode_image(pixels), has_image)}
        parts: list[Tensor] = []
        if self.model.description["retrieval"]:
            parts.append(self.model.embed_image(found["image"]))
        if self.model.description["classes"]:
            known = found if text is None else {**found, "text": text}
            parts.append(self.model.classify(known).softmax(-1))
        return torch.cat([part.float() for part in parts], dim=1)

    def _class_texts(self, products: Products) -> Tensor | None:
        """Return the texts' pooled features (texts, dim) where the classifier reads them."""
        if (
            not self.model.description["classes"]
            or "text" not in CLASSIFIER_INPUTS[self.model.description["classifier"]["inputs"]]
        ):
            return None
        return self._text_features(products.texts)
