"""Texts as the token ids of one view; the counterpart of `PhotoViews`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline_lib.transforms.text_views import TEXT_VIEWS
from pipeline_lib.transforms.tokenize import TextTokenizer


@dataclass(frozen=True)
class TextViews:
    """Texts as token ids and mask, both (batch, length); `rate` is the strength of the augmentation `view`."""

    tokenizer: TextTokenizer
    max_tokens: int
    view: str = "none"
    rate: float = 0.0

    def load(self, texts: list[str], seeds: Sequence[tuple[int, int, int]]) -> dict[str, torch.Tensor]:
        """Return a batch's content for texts; each text has its own seed (seed, epoch, row)."""
        augment = TEXT_VIEWS[self.view]
        views = [
            augment(text, np.random.default_rng((*seed, 2)), self.rate) for text, seed in zip(texts, seeds, strict=True)
        ]
        token_ids, mask = self.tokenizer.encode_batch(views, self.max_tokens)
        return {"token_ids": torch.as_tensor(token_ids), "token_mask": torch.as_tensor(mask)}
