"""Embeds the texts of queries with a trained model: several texts at once, one pass for all of the same length.

Texts of one length need no padding, so a model's text tower is run without its library where `text_query` has it, and a
result does not depend on the other texts of a batch but for rounding.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.models.saved import read_card
from pipeline_lib.retrieval.text_query import TextQuery, has_separate_text
from pipeline_lib.transforms.tokenize import TextTokenizer

if TYPE_CHECKING:
    from pipeline_lib.models.saved import SavedModel

Matrix = NDArray[np.float32]


class TextEmbedder:
    """Embeds texts with a saved model; `fingerprint` is that of its weights after `interpolation`.

    `saved` is the complete model if it was needed, else None. ValueError for a model without a joint embedding.
    """

    def __init__(self, folder: Path, interpolation: float) -> None:
        card = read_card(folder)
        description = card["description"]
        if not description["retrieval"]:
            raise ValueError(
                f"{folder}: this model has no joint embedding; give losses.info_nce, or another loss that compares "
                "images and texts, a weight above 0"
            )
        self.dim = int(description["embedding_dim"])
        self.saved: SavedModel | None = None
        self.fingerprint = str(card["fingerprint"])
        self._tokenizer = TextTokenizer(folder / "tokenizer")
        self._max_tokens = int(description["text"]["max_tokens"])
        self._embed: Callable[[torch.Tensor], torch.Tensor]
        if interpolation == 1.0 and has_separate_text(description):
            self._embed = TextQuery(folder, description).embed
        else:
            self._load_complete(folder, interpolation)

    def _load_complete(self, folder: Path, interpolation: float) -> None:
        from pipeline_lib.inference.wise_ft import load_interpolated  # slow import

        saved = self.saved = load_interpolated(folder, interpolation)
        self.fingerprint = saved.fingerprint

        def embed(ids: torch.Tensor) -> torch.Tensor:
            mask = torch.ones_like(ids, dtype=torch.bool)
            return saved.model.embed_text(saved.model.encode_text(ids, mask))

        self._embed = embed

    def embed(self, texts: list[str]) -> Matrix:
        """Return the embeddings (texts, dim)."""
        ids, mask = self._tokenizer.encode_batch(texts, self._max_tokens)
        lengths = mask.sum(axis=1)
        embeddings = np.empty((len(texts), self.dim), np.float32)
        with torch.inference_mode():
            for length in np.unique(lengths):
                rows = np.flatnonzero(lengths == length)
                embeddings[rows] = self._embed(torch.from_numpy(ids[rows, :length])).numpy()
        return embeddings
