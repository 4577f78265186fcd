"""Batch samplers: a fresh shuffle each epoch, or batches of hard negatives mined with the last epoch's embeddings.

Mined batches are to this model what approximate-nearest-neighbour negatives (ANCE, Xiong et al. 2021,
arXiv:2007.00808) are to a text retriever. An epoch is still one shuffle of all products, each at most once. Mining
changes which products share a batch, not how often a product is used.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.loading.dataset import BatchKey, shuffled_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.params.train import MiningKind, TrainParams

EpochBatches = list[BatchKey]
# Stored negatives per product. More than one, because the most similar ones may be in an earlier batch already.
NUM_NEGATIVES = 16
NONE = -1


class BatchSampler(Protocol):
    """Chooses the products of every batch."""

    def upcoming(self, epoch: int) -> list[EpochBatches]:
        """Return the batches of this epoch and of all later epochs that are known by now.

        One set of loader workers prefetches them all: every epoch of a shuffle, one epoch of mined batches.
        """

    def record(self, outputs: Outputs, batches: Sequence[Batch]) -> None:
        """Take note of the model's outputs for the batches of a training step."""

    def end_epoch(self, epoch: int) -> None:
        """Choose the batches of the next epoch."""

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""


class ShuffledSampler:
    """A fresh shuffle each epoch."""

    def __init__(self, products: Products, params: TrainParams, device: str) -> None:
        self.count, self.params = len(products), params

    def upcoming(self, epoch: int) -> list[EpochBatches]:
        """Return the batches of all epochs to the end of the run."""
        size, seed = self.params.batch_size, self.params.seed
        return [shuffled_batches(self.count, size, seed, number) for number in range(epoch, self.params.epochs)]

    def record(self, outputs: Outputs, batches: Sequence[Batch]) -> None:
        """No-op: a shuffle does not depend on the model."""

    def end_epoch(self, epoch: int) -> None:
        """No-op: the shuffle of each epoch follows from the seed."""

    def state(self) -> dict[str, Any]:
        """Return an empty state: the batches follow from seed and epoch."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """No-op: there is no state."""


class MiningSampler:
    """Batches of hard negatives, by the embeddings of the last epoch's training steps; the first epoch is a shuffle.

    Mining costs one asynchronous copy off the device per step, and products x products similarities, in blocks, at the
    end of an epoch.
    """

    def __init__(self, products: Products, params: TrainParams, device: str) -> None:
        self.params, self.device = params, device
        self.count = len(products)
        self.has_text = np.array([bool(products.texts[row]) for row in products.text], dtype=bool)
        self.keys = [torch.arange(self.count), torch.from_numpy(products.group), torch.from_numpy(products.text)]
        self._recorded: list[tuple[Tensor, Tensor, Tensor]] = []
        self._next: EpochBatches | None = None

    def upcoming(self, epoch: int) -> list[EpochBatches]:
        """Return the batches of this epoch only."""
        return [self._next or shuffled_batches(self.count, self.params.batch_size, self.params.seed, epoch)]

    def record(self, outputs: Outputs, batches: Sequence[Batch]) -> None:
        """Store the embeddings of a step."""
        assert outputs.image_embedding is not None and outputs.text_embedding is not None
        step = (torch.cat([batch.product for batch in batches]), outputs.image_embedding, outputs.text_embedding)
        rows, image, text = (value.to("cpu", non_blocking=True) for value in step)
        self._recorded.append((rows, image, text))

    def end_epoch(self, epoch: int) -> None:
        """Mine the next epoch's batches from the recorded embeddings, and drop these."""
        if self.device == "cuda":
            torch.cuda.synchronize()  # the copies of `record` may not be complete
        rows, image, text = (torch.cat(parts) for parts in zip(*self._recorded, strict=True))
        image, text = image.float(), text.float()
        self._recorded.clear()
        # No loss uses the image of a product without text as a negative, and an empty text has no negatives.
        described = torch.from_numpy(self.has_text)[rows]
        rows, image, text = rows[described], image[described], text[described]
        hardest = hard_negatives(text, image, [key[rows] for key in self.keys], NUM_NEGATIVES, device=self.device)
        negatives = torch.full((self.count, NUM_NEGATIVES), NONE)
        negatives[rows] = torch.where(hardest >= 0, rows[hardest], NONE) if len(rows) else hardest
        size, share = self.params.batch_size, self.params.mining_share
        self._next = mined_batches(negatives.numpy(), size, share, self.params.seed, epoch + 1)

    def state(self) -> dict[str, Any]:
        """Return the batches of the next epoch."""
        return {"next": [(epoch, torch.from_numpy(rows)) for epoch, rows in self._next or []]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        self._next = [(epoch, rows.numpy()) for epoch, rows in state["next"]]


# train.mining -> sampler of (products, params, device).
SAMPLERS: dict[MiningKind, Callable[[Products, TrainParams, int, str], BatchSampler]] = {
    "none": ShuffledSampler,
    "hard": MiningSampler,
}


def hard_negatives(
    text: Tensor, image: Tensor, keys: Sequence[Tensor], count: int, block: int = 4096, device: str = "cpu"
) -> Tensor:
    """Return (products, count) rows of the images most similar to each text, best first; -1 pads short rows.

    text and image are (products, dim). An image that shares any of the `keys` (products,) with a text is not one of
    its negatives. Similarities are computed for (block, block) at a time.
    """
    negatives = []
    for start in range(0, len(text), block):
        rows = slice(start, start + block)
        queries = text[rows].to(device)
        best = queries.new_empty((len(queries), 0))
        number = torch.empty((len(queries), 0), dtype=torch.long, device=device)
        for first in range(0, len(image), block):
            columns = slice(first, first + block)
            similarity = queries @ image[columns].to(device).T
            for key in keys:
                same = key[rows].to(device)[:, None] == key[columns].to(device)[None, :]
                similarity = similarity.masked_fill(same, float("-inf"))
            numbers = torch.arange(first, first + similarity.shape[1], device=device).expand(len(queries), -1)
            best, number = torch.cat([best, similarity], dim=1), torch.cat([number, numbers], dim=1)
            best, position = best.topk(min(count, best.shape[1]), dim=1)
            number = number.gather(1, position).masked_fill(best == float("-inf"), NONE)
        negatives.append(functional.pad(number, (0, count - number.shape[1]), value=NONE).cpu())
    return torch.cat(negatives) if negatives else torch.empty((0, count), dtype=torch.long)


def mined_batches(negatives: NDArray[np.int64], batch_size: int, share: float, seed: int, epoch: int) -> EpochBatches:
    """Return one epoch's batches: a `share` of each are negatives of its other rows, the rest is a shuffle.

    negatives (products, count) holds rows, hardest first, padded with -1. The first negatives of all rows are added
    before any second one. A row of an earlier batch is skipped, and the shuffle fills the places left.
    """
    count = len(negatives)
    shuffle = iter(np.random.default_rng((seed, epoch)).permutation(count))
    size = min(batch_size, count)
    num_negatives = int(share * size)
    used = np.zeros(count, dtype=bool)
    batches = []
    for _ in range(count // size if size else 0):
        anchors = _take_shuffled(shuffle, used, size - num_negatives)
        hard = _take_negatives(negatives[anchors], used, num_negatives)
        rest = _take_shuffled(shuffle, used, num_negatives - len(hard))
        batches.append((epoch, np.array(anchors + hard + rest, dtype=np.int64)))
    return batches


def _take_shuffled(shuffle: Iterator[np.int64], used: NDArray[np.bool_], count: int) -> list[int]:
    taken: list[int] = []
    while len(taken) < count:
        row = int(next(shuffle))
        if not used[row]:
            used[row] = True
            taken.append(row)
    return taken


def _take_negatives(negatives: NDArray[np.int64], used: NDArray[np.bool_], count: int) -> list[int]:
    taken: list[int] = []
    for row in negatives.T.ravel().tolist():
        if len(taken) == count:
            break
        if row != NONE and not used[row]:
            used[row] = True
            taken.append(row)
    return taken
