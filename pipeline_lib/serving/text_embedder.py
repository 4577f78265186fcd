"""Embeds the texts of queries with a trained model: several texts at once, one pass for all of a similar length.

The text tower alone is loaded, without its library where `text_query` has its forward pass. A pass over a small tower
costs its calls and not its sums, so twenty texts take little longer than one.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
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
# Texts whose numbers of tokens are in one step are padded to the longest of them and embedded in one pass.
STEP = 16


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
        # A tokenizer's length is a state of it, and two threads embed.
        self._lock = Lock()
        self._max_tokens = int(description["text"]["max_tokens"])
        self._embed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
        if interpolation == 1.0 and has_separate_text(description):
            self._embed = TextQuery(folder, description).embed
        else:
            self._load_complete(folder, interpolation)

    def _load_complete(self, folder: Path, interpolation: float) -> None:
        from pipeline_lib.inference.wise_ft import load_interpolated  # slow import

        saved = self.saved = load_interpolated(folder, interpolation)
        self.fingerprint = saved.fingerprint

        def embed(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return saved.model.embed_text(saved.model.encode_text(ids, mask))

        self._embed = embed

    def cut_at(self, text: str) -> int | None:
        """Return the number of tokens that the model reads of a text, None if that is all of it."""
        with self._lock:
            return self._max_tokens if self._tokenizer.cuts(text, self._max_tokens) else None

    def embed(self, texts: list[str]) -> Matrix:
        """Return the embeddings (texts, dim)."""
        with self._lock:
            ids, mask = self._tokenizer.encode_batch(texts, self._max_tokens)
        lengths = mask.sum(axis=1)
        buckets = -(-lengths // STEP)
        embeddings = np.empty((len(texts), self.dim), np.float32)
        with torch.inference_mode():
            for bucket in np.unique(buckets):
                rows = np.flatnonzero(buckets == bucket)
                longest = int(lengths[rows].max())
                own = (torch.from_numpy(part[rows, :longest]) for part in (ids, mask))
                embeddings[rows] = self._embed(*own).numpy()
        return embeddings
