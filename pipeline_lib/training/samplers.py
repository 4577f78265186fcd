"""Batch samplers: a fresh shuffle each epoch, or batches of hard negatives mined with the last epoch's embeddings.

Mined batches are to this model what approximate-nearest-neighbour negatives (ANCE, Xiong et al. 2021,
arXiv:2007.00808) are to a text retriever. An epoch is still one shuffle of all products, each at most once. Mining
changes which products share a batch, not how often a product is used.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.loading.dataset import BatchKey, shuffled_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.params.train import MiningKind, TrainParams
from pipeline_lib.training.mined_set import Mined, mined_table
from pipeline_lib.training.mining import NONE, hard_negatives
from pipeline_lib.training.right_answers import right_answers

EpochBatches = list[BatchKey]
# Stored negatives per product. More than one, because the most similar ones may be in an earlier batch already.
NUM_NEGATIVES = 16


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

    def mined_set(self) -> pl.DataFrame | None:
        """Return the table of mined negatives, or None if nothing is mined."""


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

    def mined_set(self) -> pl.DataFrame | None:
        """Return None: nothing is mined."""
        return None


class MiningSampler:
    """Batches of hard negatives, by the embeddings of the last epoch's training steps; the first epoch is a shuffle.

    Mining costs one asynchronous copy off the device per step, and products x products similarities, in blocks, at the
    end of an epoch.
    """

    def __init__(self, products: Products, params: TrainParams, device: str) -> None:
        self.products, self.params, self.device = products, params, device
        self._recorded: list[tuple[Tensor, ...]] = []
        self._next: EpochBatches | None = None
        self._mined: Mined | None = None

    def upcoming(self, epoch: int) -> list[EpochBatches]:
        """Return the batches of this epoch only."""
        count, params = len(self.products), self.params
        return [self._next or shuffled_batches(count, params.batch_size, params.seed, epoch)]

    def record(self, outputs: Outputs, batches: Sequence[Batch]) -> None:
        """Store the embeddings of a step."""
        assert outputs.image_embedding is not None and outputs.text_embedding is not None
        rows, text, has_text = (
            torch.cat([getattr(batch, name) for batch in batches]) for name in ("product", "text", "has_text")
        )
        step = (rows, text, has_text, outputs.image_embedding, outputs.text_embedding)
        self._recorded.append(tuple(value.to("cpu", non_blocking=True) for value in step))

    def end_epoch(self, epoch: int) -> None:
        """Mine the next epoch's batches from the recorded embeddings, and drop these."""
        if self.device == "cuda":
            torch.cuda.synchronize()  # the copies of `record` may not be complete
        rows, text, has_text, image, embedded = (torch.cat(parts) for parts in zip(*self._recorded, strict=True))
        self._recorded.clear()
        if epoch + 1 == self.params.epochs:
            return
        # No loss uses the image of a product without text as a negative, and an empty text has no negatives.
        described = has_text.nonzero().flatten()
        order = described[rows[described].argsort()]
        rows, text = rows[order], text[order]
        found, similarity = hard_negatives(
            embedded[order].float().to(self.device),
            image[order].float().to(self.device),
            right_answers(self.products, rows.numpy()),
            NUM_NEGATIVES,
        )
        negatives = torch.full((len(self.products), NUM_NEGATIVES), NONE)
        numbers = torch.where(found >= 0, rows[found], NONE) if len(rows) else found
        negatives[rows] = numbers
        self._mined = Mined(epoch, rows, text, numbers, similarity)
        size, share = self.params.batch_size, self.params.mining_share
        self._next = mined_batches(negatives.numpy(), size, share, self.params.seed, epoch + 1)

    def mined_set(self) -> pl.DataFrame:
        """Return the negatives of the last epoch's batches, in the columns of `MINED_SCHEMA`."""
        return mined_table(self._mined, self.products)

    def state(self) -> dict[str, Any]:
        """Return the batches of the next epoch, and the mined set."""
        batches = [(epoch, torch.from_numpy(rows)) for epoch, rows in self._next or []]
        return {"next": batches, "mined": vars(self._mined) if self._mined else {}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        self._next = [(epoch, rows.numpy()) for epoch, rows in state["next"]]
        self._mined = Mined(**state["mined"]) if state["mined"] else None


# train.mining -> sampler of (products, params, device).
SAMPLERS: dict[MiningKind, Callable[[Products, TrainParams, str], BatchSampler]] = {
    "none": ShuffledSampler,
    "hard": MiningSampler,
}


def without_lone_row(batches: EpochBatches, accumulate: int) -> EpochBatches:
    """Return an epoch's batches without a last step of one row, which has no negatives; a single step remains.

    A step is `accumulate` batches, the last one what is left. The row that is dropped changes with each epoch.
    """
    lone = len(batches) > 1 and len(batches) % accumulate == 1 and len(batches[-1][1]) == 1
    return batches[:-1] if lone else batches


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
