"""Searches one composed model's gallery with a product and a sentence: "this mug, in red".

No image tower runs: the product's image inputs are rows of the stored features that the model was trained on. The
sentence is new, so the untrained text tower, or the model's own tokenizer, reads it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.loading.products import photo_key
from pipeline_lib.loading.stored_features import as_float_tensor
from pipeline_lib.metrics.composed import best_positions, vector_scores
from pipeline_lib.metrics.top_k import id_places
from pipeline_lib.models.composed.inputs import ComposedInputs
from pipeline_lib.models.composed.saved import SavedComposed, load_composed
from pipeline_lib.models.saved import CARD
from pipeline_lib.stores.activations import ActivationStore, open_activations
from pipeline_lib.stores.boundary import TOKENS
from pipeline_lib.stores.store import FeatureStore, open_store
from pipeline_lib.towers.kinds import untrained_text_tower
from pipeline_lib.towers.tower import ImageTower, TowerSource
from pipeline_lib.transforms.tokenize import TextTokenizer

PRODUCTS = "products"
# Returns the text tower that params.yaml names; its library and weights are read for models that need them only.
TextSource = Callable[[], TowerSource]
Matrix = NDArray[np.float32]
# Name of a field of ComposedInputs -> its tensor, for what a query has beside its text.
Reference = dict[str, Tensor]


@dataclass(frozen=True)
class ComposedSearch:
    """An open composed model, its gallery (products, vectors x dim) and the stores of its references' inputs.

    `readers` are the tokenizers of its sentences with the number of tokens that each reads.
    """

    saved: SavedComposed
    gallery: FeatureStore
    image: FeatureStore | None
    tokens: ActivationStore | None
    encode_texts: Callable[[Sequence[str]], Tensor] | None
    readers: Sequence[tuple[TextTokenizer, int]]

    @property
    def fingerprint(self) -> str:
        """That of the composed model."""
        return self.saved.fingerprint

    def search(self, reference: str, text: str, top: int) -> list[tuple[str, float]]:
        """Return the `top` products and their cosines to the query, best first, without the reference.

        Products with equal scores are in the order of their ids. ValueError if no features of the reference are stored.
        """
        (scores,) = self.scores(self.embed(self.reference(reference), [text]))
        if reference in self.gallery.ids:
            scores[self.gallery.ids.index(reference)] = -np.inf
        best = best_positions(scores, top, id_places(self.gallery.ids))
        return [(self.gallery.ids[place], float(scores[place])) for place in best]

    def cut_at(self, text: str) -> int | None:
        """Return the smallest number of tokens that the model reads of a text, None if that is all of it."""
        return min((longest for tokenizer, longest in self.readers if tokenizer.cuts(text, longest)), default=None)

    def embed(self, reference: Reference, texts: Sequence[str]) -> Matrix:
        """Return the unit embeddings (texts, dim) of one reference with each of the texts."""
        repeated = {name: value.expand(len(texts), *value.shape[1:]) for name, value in reference.items()}
        inputs = ComposedInputs(**repeated, **self._of_texts(texts))
        with torch.inference_mode():
            queries: Matrix = self.saved.model.compose(inputs, extra=False).query.float().numpy()
        return queries

    def scores(self, queries: Matrix) -> NDArray[np.float64]:
        """Return the cosines (queries, products) of queries (queries, dim) to the gallery."""
        vectors = np.asarray(self.gallery.matrix).reshape(len(self.gallery.ids), -1, queries.shape[1])
        scores: NDArray[np.float64] = vector_scores(queries, vectors)(slice(0, len(queries)))
        return scores

    def has_reference(self, product_id: str) -> bool:
        """Return whether the inputs of a product's first photo are stored."""
        stores = [store for store in (self.image, self.tokens) if store is not None]
        return all(store.has(photo_key(product_id, 0)) for store in stores)

    def reference(self, product_id: str) -> Reference:
        """Return the stored inputs of a product's first photo, a batch of one; ValueError if there are none."""
        values: Reference = {}
        photo = [photo_key(product_id, 0)]
        if self.image is not None:
            values["image"] = as_float_tensor(self.image.stored_rows(self.image.positions(photo)))
        if self.tokens is not None:
            values["tokens"] = as_float_tensor(self.tokens.stored_tokens(self.tokens.positions(photo)))
        return values

    def photo_reference(self, tower: ImageTower, pixels: Tensor) -> Reference:
        """Return the inputs of a photo, whose uint8 pixels (1, 3, size, size) the untrained tower reads."""
        with torch.inference_mode():
            tokens, features = tower.encode_tokens(pixels) if self.tokens is not None else (None, tower.encode(pixels))
        more = {} if tokens is None else {"tokens": tokens.reshape(1, -1, tokens.shape[-1])}
        return {"image": features, **more}

    def _of_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        if self.encode_texts is not None:
            values["text"] = self.encode_texts(texts)
        if self.saved.tokenizer is not None:
            longest = self.saved.model.description["q_former"]["max_tokens"]
            ids, mask = self.saved.tokenizer.encode_batch(list(texts), longest)
            values |= {"token_ids": torch.from_numpy(ids), "token_mask": torch.from_numpy(mask)}
        return values


def open_composed_search(folder: Path, trunk: Path, text_source: TextSource) -> ComposedSearch:
    """Open the model in a folder of the stage compose, and the stores of the towers in the folder `trunk`.

    ValueError if there is no model, or if gallery, features or text tower are not those that it was trained with.
    """
    if not (folder / CARD).is_file():
        kind, fold = folder.parts[-2:]
        raise ValueError(
            f"{folder}: no composed model here; add {kind} to plan.composed and {fold} to plan.folds, `dvc repro`"
        )
    saved = load_composed(folder)
    needs, towers = saved.model.needs, saved.card["run"]["towers"]
    gallery = open_store(folder / PRODUCTS, saved.fingerprint, towers["preprocessing"])
    view = (towers["image"], towers["preprocessing"])
    readers: list[tuple[TextTokenizer, int]] = []
    encode = None
    if saved.tokenizer is not None:
        readers.append((saved.tokenizer, int(saved.model.description["q_former"]["max_tokens"])))
    if "text" in needs:
        source = text_source()
        tokenizer = TextTokenizer(source.description["tokenizer"])
        encode = _text_encoder(source, tokenizer, towers["text"], folder)
        readers.append((tokenizer, int(source.description["max_tokens"])))
    return ComposedSearch(
        saved,
        gallery,
        open_store(trunk / "image", *view) if "image" in needs else None,
        open_activations(trunk / f"image{TOKENS}", *view) if "tokens" in needs else None,
        encode,
        readers,
    )


def _text_encoder(
    source: TowerSource, tokenizer: TextTokenizer, expected: str, folder: Path
) -> Callable[[Sequence[str]], Tensor]:
    """Return the function from texts to pooled features (texts, width); ValueError for another tower than expected."""
    if source.fingerprint != expected:
        raise ValueError(
            f"{folder}: trained on texts of the tower {expected}, but model.text is {source.fingerprint}; results "
            "would be unrelated to the query: run `dvc repro`"
        )
    tower = untrained_text_tower(source, "cpu")

    def encode(texts: Sequence[str]) -> Tensor:
        ids, mask = tokenizer.encode_batch(list(texts), source.description["max_tokens"])
        return tower.encode(torch.from_numpy(ids), torch.from_numpy(mask))

    return encode
