"""Which products meet in a batch: a fresh shuffle each epoch, or batches mined from the epoch before.

An order says which epochs it can give already, so that a plain shuffle is loaded ahead over all epochs by one set
of workers, and a mined one epoch by epoch.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.loading.dataset import Rows, shuffled_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.params.train import MiningKind, TrainParams
from pipeline_lib.training.hard_negative_mining import hardest_negatives, mined_order

Order = list[tuple[int, Rows]]
# Strangers kept of each product: some will have been dealt already when it is its turn.
KEPT = 16


class BatchSampler(Protocol):
    """What the loop asks of an order."""

    def coming(self, epoch: int) -> list[Order]:
        """Return the batches of this epoch and of those after it that are settled already."""

    def gather(self, outputs: Outputs, batches: Sequence[Batch]) -> None:
        """See what the model said of these batches in a training step."""

    def end_epoch(self, epoch: int) -> None:
        """Settle the next epoch's batches."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back a `state`."""


class ShuffledSampler:
    """A fresh shuffle each epoch."""

    def __init__(self, products: Products, params: TrainParams, seed: int, device: str) -> None:
        self.count, self.params, self.seed = len(products), params, seed

    def coming(self, epoch: int) -> list[Order]:
        """Return all epochs' batches to the end of the run."""
        size = self.params.batch_size
        return [shuffled_batches(self.count, size, self.seed, number) for number in range(epoch, self.params.epochs)]

    def gather(self, outputs: Outputs, batches: Sequence[Batch]) -> None:
        """See nothing."""

    def end_epoch(self, epoch: int) -> None:
        """Settle nothing: all is."""

    def state(self) -> dict[str, Any]:
        """Return nothing: the order follows from seed and epoch."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take nothing back."""


class MiningSampler:
    """Batches of an epoch's hard negatives, by the embeddings its products had in the epoch before.

    The training steps' own embeddings are kept, so mining costs one copy off the device a step, which nobody waits for,
    and, at the end of an epoch, products x products similarities, block by block. The first epoch is a shuffle.
    """

    def __init__(self, products: Products, params: TrainParams, seed: int, device: str) -> None:
        self.params, self.seed, self.device = params, seed, device
        self.count = len(products)
        self.has_text = np.array([bool(products.texts[row]) for row in products.text], dtype=bool)
        self.keys = [torch.arange(self.count), torch.from_numpy(products.group), torch.from_numpy(products.text)]
        self._seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._next: Order | None = None

    def coming(self, epoch: int) -> list[Order]:
        """Return this epoch's batches alone."""
        return [self._next or shuffled_batches(self.count, self.params.batch_size, self.seed, epoch)]

    def gather(self, outputs: Outputs, batches: Sequence[Batch]) -> None:
        """Keep the embeddings of a step."""
        assert outputs.image_embedding is not None and outputs.text_embedding is not None
        kept = (torch.cat([batch.product for batch in batches]), outputs.image_embedding, outputs.text_embedding)
        rows, image, text = (value.to("cpu", non_blocking=True) for value in kept)
        self._seen.append((rows, image, text))

    def end_epoch(self, epoch: int) -> None:
        """Mine the next epoch's batches from what was gathered, and forget it."""
        if self.device == "cuda":
            torch.cuda.synchronize()  # the copies of `gather` may still be on their way
        rows, image, text = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        image, text = image.float(), text.float()
        self._seen.clear()
        # The image of a product without text is no negative in any loss, and a text that is not there finds none.
        kept = torch.from_numpy(self.has_text)[rows]
        rows, image, text = rows[kept], image[kept], text[kept]
        found = hardest_negatives(text, image, [key[rows] for key in self.keys], KEPT, device=self.device)
        strangers = torch.full((self.count, KEPT), -1)
        strangers[rows] = torch.where(found >= 0, rows[found], -1) if len(rows) else found
        size, share = self.params.batch_size, self.params.mining_share
        self._next = mined_order(strangers.numpy(), size, share, self.seed, epoch + 1)

    def state(self) -> dict[str, Any]:
        """Return the batches that are settled."""
        return {"next": [(epoch, torch.from_numpy(rows)) for epoch, rows in self._next or []]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back a `state`."""
        self._next = [(epoch, rows.numpy()) for epoch, rows in state["next"]]


# train.mining -> order of (products, params, seed, device).
SAMPLERS: dict[MiningKind, Callable[[Products, TrainParams, int, str], BatchSampler]] = {
    "none": ShuffledSampler,
    "hard": MiningSampler,
}
