"""Runs an encoder over photos and texts, for the frozen trunk's features and for a trained model's predictions.

Worker processes decode, and this process computes. Results are yielded block by block, so memory does not depend on the
size of the catalogue. In a process group the ranks compute blocks in turn, and rank 0 receives all of them in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from pipeline_lib.execution.device import resolve_precision
from pipeline_lib.execution.meter import Meter
from pipeline_lib.execution.precision import autocast, float32_products
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.loading.dataset import Rows, data_loader, sequential_batches
from pipeline_lib.loading.products import Products, add_rows
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.transforms.tokenize import TextTokenizer

if TYPE_CHECKING:
    # It imports an image library, which passes over texts or stored features do not need.
    from pipeline_lib.loading.photo_views import PhotoViews

Array = NDArray[np.float32]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class InferenceEngine:
    """Device, batch size, loader workers, precision (as in params) and process group of an inference pass.

    `meter` counts the photos and texts of each pass; without one nothing is printed.
    """

    device: str
    batch_size: int
    workers: int
    precision: str
    processes: ProcessGroup = SINGLE_PROCESS
    meter: Meter = field(default_factory=Meter)

    def for_modules(self, *modules: nn.Module) -> InferenceEngine:
        """Return the engine with its precision resolved for modules that run together."""
        return replace(self, precision=resolve_precision(self.precision, self.device, *modules))

    def run(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Return function(*inputs) without gradients, as float32 on the engine's device."""
        with torch.inference_mode(), autocast(self.device, self.precision), float32_products(self.precision):
            return function(*(value.to(self.device, non_blocking=True) for value in inputs)).float()


class _Photos(Dataset[Tensor]):
    """Pixels of batches of manifest rows, or of items of `drawn` views."""

    def __init__(self, views: PhotoViews, rows: Rows, drawn: DrawnViews | None = None) -> None:
        self.views = views
        self.rows = rows
        self.drawn = drawn

    def __getitem__(self, key: tuple[int, Rows]) -> Tensor:
        rows = self.rows[key[1]]
        if self.drawn is None:
            return self.views.load(rows, [(0,)] * len(rows))
        return self.views.load(self.drawn.photos(rows), self.drawn.seeds(rows))


def encode_photos(
    function: Callable[[Tensor, Tensor], Tensor],
    views: PhotoViews,
    rows: Rows,
    engine: InferenceEngine,
    drawn: DrawnViews | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, function(pixels, positions)) for blocks of manifest rows, or of items of `drawn` views, in order.

    Pixels are uint8 (block, 3, size, size); positions (block,) are indices of `rows`. In a process group every rank
    must iterate, and only rank 0 receives blocks.
    """
    keys, processes = sequential_batches(len(rows), engine.batch_size), engine.processes
    own = keys[processes.rank :: processes.world_size]
    loaded = data_loader(_Photos(views, rows, drawn), own, processes.workers(engine.workers), engine.device)

    def encode(number: int) -> tuple[int, Tensor]:
        positions = keys[number][1]
        block = engine.run(function, next(loaded), torch.from_numpy(positions))
        return int(positions[0]), block if processes.world_size == 1 else block.cpu()

    blocks, what = round_robin(len(keys), encode, processes), "photos" if drawn is None else "views"
    return engine.meter.over(blocks, what, len(rows), lambda block: len(block[1]))


def round_robin(count: int, compute: Callable[[int], ResultT], processes: ProcessGroup) -> Iterator[ResultT]:
    """Yield compute(0), ..., compute(count - 1) in order on rank 0, and nothing on the other ranks.

    Each rank computes every world_size-th result. Every rank must iterate.
    """
    for first in range(0, count, processes.world_size):
        own = first + processes.rank
        # A tuple, so that a rank without a result differs from a result None.
        results = (compute(own),) if own < count else ()
        for of_rank in processes.gather_to_first(results):
            yield from of_rank


def encode_texts(
    function: Callable[[Tensor, Tensor], Tensor],
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    max_tokens: int,
    engine: InferenceEngine,
) -> Array:
    """Return function(token ids, mask) of all texts as (texts, dim), batched by length so that there is little padding.

    In a process group every rank must call this, and every rank gets the complete result.
    """

    def run(rows: Rows) -> Tensor:
        ids, mask = tokenizer.encode_batch([texts[row] for row in rows], max_tokens)
        return engine.run(function, torch.as_tensor(ids), torch.as_tensor(mask))

    return _by_length(run, [len(text) for text in texts], engine)


def encode_stored_texts(
    function: Callable[[Tensor, Tensor], Tensor], store: ActivationStore, keys: Sequence[str], engine: InferenceEngine
) -> Array:
    """Return function(activations, mask) of stored texts as (texts, dim), batched by length."""

    def run(rows: Rows) -> Tensor:
        values, mask = store.gather([keys[row] for row in rows])
        return engine.run(function, torch.from_numpy(values), torch.from_numpy(mask))

    return _by_length(run, store.lengths(keys), engine)


def _by_length(run: Callable[[Rows], Tensor], lengths: Sequence[int] | Rows, engine: InferenceEngine) -> Array:
    order, processes = np.argsort(lengths, kind="stable"), engine.processes
    keys = sequential_batches(len(order), engine.batch_size)
    world_size = processes.world_size
    own = keys[processes.rank :: world_size]
    # The other ranks compute as many texts in the same time.
    passes = engine.meter.over(own, "texts", len(order), lambda key: len(key[1]) * world_size)
    of_ranks = processes.all_gather_objects([run(order[rows]).cpu().numpy() for _, rows in passes])
    by_length = np.concatenate([of_ranks[number % world_size][number // world_size] for number in range(len(keys))])
    result = np.empty_like(by_length)
    result[order] = by_length
    return result


def photo_rows(products: Products, rule: str) -> tuple[Rows, Rows]:
    """Return the manifest rows to encode, and the row of the product of each.

    `rule` mean_pool includes all photos of a product, any other rule only the first photo.
    """
    counts = products.num_photos if rule == "mean_pool" else np.ones_like(products.num_photos)
    owner = np.repeat(np.arange(len(products)), counts)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return products.first_photo[owner] + offset, owner


def mean_per_product(blocks: Iterator[tuple[int, Tensor]], owner: Rows, count: int) -> Iterator[tuple[int, Array]]:
    """Yield (first product, mean of the rows of each product (products, dim)) in order.

    `owner` is the product of each row, ascending, so a product is complete when the next one starts. Memory holds the
    products of one block only.
    """
    carry: NDArray[np.float64] | None = None
    start = 0
    counts = np.bincount(owner, minlength=count)
    for first, block in blocks:
        owners = owner[first : first + len(block)]
        values = block.cpu().numpy()
        sums = np.zeros((int(owners[-1]) - start + 1, values.shape[1]))
        if carry is not None:
            sums[0] = carry
        add_rows(sums, owners - start, values)
        complete = len(sums) - 1
        if first + len(block) == len(owner):
            complete = len(sums)
        if complete:
            yield start, (sums[:complete] / counts[start : start + complete, None]).astype(np.float32)
        carry, start = (sums[-1], start + complete) if complete < len(sums) else (None, start + complete)


def whole_products(blocks: Iterator[tuple[int, Tensor]], counts: Rows) -> Iterator[tuple[slice, Tensor]]:
    """Yield (products, the rows of all their photos (photos, width)) of blocks of photos, in order.

    `counts` are the photos of each product, at least 1. Memory holds one block, and the photos of a product that
    crosses its end.
    """
    ends = np.cumsum(counts)
    carry: list[Tensor] = []
    product = yielded = seen = 0
    for _, block in blocks:
        carry.append(block)
        seen += len(block)
        complete = int(np.searchsorted(ends, seen, side="right"))
        if complete > product:
            rows, size = torch.cat(carry), int(ends[complete - 1]) - yielded
            yield slice(product, complete), rows[:size]
            carry = [rows[size:]]
            product, yielded = complete, yielded + size


def normalise_rows(values: Array) -> Array:
    """Return rows scaled to unit L2 norm."""
    unit: Array = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit
