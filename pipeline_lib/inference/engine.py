"""One way to run an encoder over photos and texts: the frozen trunk's features and a trained model's predictions.

Worker processes decode, this process computes; blocks are yielded as they are made, so that a catalogue of any size
passes through without being held. Processes that were launched together take turns with the blocks; the first one
gets them all, in order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from pipeline_lib.execution.device import settle_precision
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.loading.dataset import Rows, data_loader, sequential_batches
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import Products
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.transforms.tokenize import TextTokenizer

Array = NDArray[np.float32]
MadeT = TypeVar("MadeT")


@dataclass(frozen=True)
class InferenceEngine:
    """How much is computed at once, where, in which precision, and with which other processes."""

    device: str
    batch_size: int
    workers: int
    precision: str
    processes: ProcessGroup = SINGLE_PROCESS

    def settled(self, *modules: nn.Module) -> "InferenceEngine":
        """Return the engine in the precision that suits these modules, which are run together."""
        return replace(self, precision=settle_precision(self.precision, *modules))

    def run(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Return function(inputs) without gradient, as float32 on this engine's device."""
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            return function(*(value.to(self.device, non_blocking=True) for value in inputs)).float()


class _Photos(Dataset[Tensor]):
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
    """Yield (start, function(pixels, positions)) over blocks of manifest rows, or of items of `drawn`, in their order.

    Pixels are uint8 (block, 3, size, size); positions (block,) count into `rows`. Of several processes all must go
    through this, and only the first one is given anything.
    """
    keys, processes = sequential_batches(len(rows), engine.batch_size), engine.processes
    own = keys[processes.rank :: processes.world_size]
    loaded = data_loader(_Photos(views, rows, drawn), own, processes.workers(engine.workers), engine.device)

    def make(number: int) -> tuple[int, Tensor]:
        block = keys[number][1]
        found = engine.run(function, next(loaded), torch.from_numpy(block))
        return int(block[0]), found if processes.world_size == 1 else found.cpu()

    return in_turns(len(keys), make, processes)


def in_turns(count: int, make: Callable[[int], MadeT], processes: ProcessGroup) -> Iterator[MadeT]:
    """Yield make(0) to make(count - 1) in this order on the first process, on the others nothing.

    Of several processes each makes every so many-th, and all must go through this.
    """
    for number in range(0, count, processes.world_size):
        own = number + processes.rank
        # In a tuple, so that what is made may be None.
        made = (make(own),) if own < count else ()
        for one in processes.gather_to_first(made):
            yield from one


def encode_texts(
    function: Callable[[Tensor, Tensor], Tensor],
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    max_tokens: int,
    engine: InferenceEngine,
) -> Array:
    """Return function(token ids, mask) of all texts as (texts, dim), batched by length so that little is padding.

    Of several processes all must call this, and all are given the whole.
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
    blocks = [run(order[rows]).cpu().numpy() for _, rows in keys[processes.rank :: processes.world_size]]
    of_all = processes.all_gather_objects(blocks)
    found = np.concatenate([of_all[number % processes.world_size][number // processes.world_size] for number in range(len(keys))])
    result = np.empty_like(found)
    result[order] = found
    return result


def photo_rows(products: Products, rule: str) -> tuple[Rows, Rows]:
    """Return the manifest rows to encode and, for each, the row of its product: all photos, or only the first."""
    counts = products.num_photos if rule == "mean_pool" else np.ones_like(products.num_photos)
    owner = np.repeat(np.arange(len(products)), counts)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return products.first_photo[owner] + offset, owner


def mean_per_product(blocks: Iterator[tuple[int, Tensor]], owner: Rows, count: int) -> Iterator[tuple[int, Array]]:
    """Average rows of the same owner over blocks; `owner` ascends, so a product is complete once the next one starts.

    Yields (first product, (products, dim)) in order; only the products of one block are held.
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
        np.add.at(sums, owners - start, values)
        whole = len(sums) - 1
        if first + len(block) == len(owner):
            whole = len(sums)
        if whole:
            yield start, (sums[:whole] / counts[start : start + whole, None]).astype(np.float32)
        carry, start = (sums[-1], start + whole) if whole < len(sums) else (None, start + whole)


def normalise_rows(values: Array) -> Array:
    """Return rows scaled to unit L2 norm."""
    unit: Array = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit
