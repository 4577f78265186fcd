"""Distinct texts in batches of similar length, so that there is little padding, as token ids and their mask."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.inference.engine import Array, InferenceEngine, round_robin
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.products import text_key
from pipeline_lib.transforms.tokenize import TextTokenizer

# Ids, what the encoder gives for them, and the mask of their tokens.
Block = tuple[list[str], Array, NDArray[np.bool_]]


class TextBatches:
    """Distinct texts, cut to `max_tokens` tokens; the engine's batch size is that of the batches."""

    def __init__(self, texts: list[str], tokenizer: TextTokenizer, max_tokens: int, engine: InferenceEngine) -> None:
        self.texts = texts
        self.engine = engine
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._order = np.argsort([len(text) for text in texts], kind="stable")
        self._batches = sequential_batches(len(texts), engine.batch_size)

    def _tokenized(self, number: int) -> tuple[list[str], Tensor, Tensor]:
        texts = [self.texts[row] for row in self._order[self._batches[number][1]]]
        ids, mask = self._tokenizer.encode_batch(texts, self._max_tokens)
        return texts, torch.as_tensor(ids), torch.as_tensor(mask)

    def count_tokens(self) -> int:
        """Return the number of tokens of all texts, without padding."""
        return sum(int(self._tokenized(number)[2].sum()) for number in range(len(self._batches)))

    def blocks(self, encode: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Block]:
        """Yield the keys of texts, encode(token ids, mask) and the mask, on rank 0 only; every rank must iterate."""

        def encode_batch(number: int) -> Block:
            texts, ids, mask = self._tokenized(number)
            block = self.engine.run(encode, ids, mask)
            return [text_key(text) for text in texts], block.cpu().numpy(), mask.numpy()

        blocks = round_robin(len(self._batches), encode_batch, self.engine.processes)
        return self.engine.meter.over(blocks, "texts", len(self.texts), lambda block: len(block[0]))
