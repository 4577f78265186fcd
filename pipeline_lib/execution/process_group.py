"""Several processes at one task: training with the gradients of one process, each on its share of every batch.

Let O = [O_0; ...; O_{W-1}] be a batch's outputs, O_r those of process r's rows, and L(O, s) the loss, s being what
belongs to no row (the logit scale, a loss's own parameters). Every process gathers O and computes the same L, but its
graph reaches the weights w through its own rows and s alone. The gradient of O_r is therefore counted W-fold, and the
mean over processes is 1/W sum_r [W dL/dO_r dO_r/dw + dL/ds ds/dw] = dL/dw: that of one process with the whole batch.

What must be equal everywhere is computed from equal things: losses with a memory see the gathered outputs, the
optimizer the averaged gradients, and decisions are the first process's. Only batch norms in training mode differ from
one process: they normalise over their own rows, and the first process's running statistics are kept.
"""

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional

from pipeline_lib.batch import SHARED, Outputs
from pipeline_lib.execution.launch import LAUNCH, SHARE_THREADS, Place, place

# Numbers in one message of gradients (64 MiB of float32).
BUCKET = 2**24
# Longest wait for all processes to have started.
MEETING = datetime.timedelta(minutes=5)
# Nobody waits that long for a process that failed: `launched` ends them all. But the others wait for the first one
# while it measures, for as long as that takes.
PATIENCE = datetime.timedelta(days=7)
# Apart from each other modulo 2 ** 32, which is all that the generator of the CPU takes of a seed.
SEED_STEP = 1_000_000_007

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class ProcessGroup:
    """Where a process stands among those that train together; the one process of a plain run does nothing here."""

    rank: int = 0
    world: int = 1
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Tell whether this is the process that writes, shows and decides."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """Return (rank, world), by which a batch's rows are shared out."""
        return self.rank, self.world

    def seed(self, seed: int) -> int:
        """Return this process's own seed: dropout differs from process to process; the first has the plain seed."""
        return seed + SEED_STEP * self.rank

    def workers(self, of_machine: int) -> int:
        """Return this process's share of a machine's loader workers, at least one if there are any."""
        return max(1, of_machine // self.local_world) if of_machine else 0

    def gather(self, outputs: Outputs, count: int) -> Outputs:
        """Return the outputs of all `count` rows of a batch, in their order, from this process's of its own rows.

        Gradients pass to the own rows alone, W-fold (see above).
        """
        if self.world == 1:
            return outputs
        rows = {name: self._rows(value, count) for name, value in outputs.present().items() if name not in SHARED}
        return replace(outputs, **rows)

    def _rows(self, value: Tensor, count: int) -> Tensor:
        shares = [share_of(count, rank, self.world) for rank in range(self.world)]
        sizes = [share.stop - share.start for share in shares]
        assert len(value) == sizes[self.rank], (len(value), sizes, self.rank)
        sent = functional.pad(value.detach(), (0, 0, 0, max(sizes) - len(value))).contiguous()
        received = [torch.empty_like(sent) for _ in sizes]
        dist.all_gather(received, sent)
        parts = [part[:size] for part, size in zip(received, sizes, strict=True)]
        parts[self.rank] = self._counted(value)
        return torch.cat(parts)

    def _counted(self, value: Tensor) -> Tensor:
        if not value.requires_grad:
            return value
        counted = value.view_as(value)
        counted.register_hook(lambda gradient: gradient * self.world)  # type: ignore[no-untyped-call]
        return counted

    def own(self, gradient: Tensor) -> Tensor:
        """Return the gradient of this process's rows, W-fold, from that of gathered rows which are leaves."""
        return gradient[share_of(len(gradient), *self.part)] * self.world if self.world > 1 else gradient

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Put the mean over processes in the place of each gradient, in messages of many parameters.

        A parameter that has one on some processes only (a layer dropped by chance) counts as 0 on the others; one
        that has none anywhere keeps none, so that the optimizer leaves it alone.
        """
        if self.world == 1:
            return
        known = torch.tensor([value.grad is not None for value in parameters], dtype=torch.uint8)
        dist.all_reduce(known, dist.ReduceOp.MAX)
        wanted = [value for value, one in zip(parameters, known.tolist(), strict=True) if one]
        for bucket in buckets(wanted):
            found = [torch.zeros_like(value) if value.grad is None else value.grad for value in bucket]
            flat = torch.cat([gradient.flatten() for gradient in found])
            dist.all_reduce(flat)
            flat /= self.world
            parts = torch.split(flat, [value.numel() for value in bucket])
            for value, gradient, part in zip(bucket, found, parts, strict=True):
                # Into its own memory: a fused optimizer takes a gradient to lie as its parameter does (channels last).
                value.grad = gradient.copy_(part.view_as(gradient))

    def from_first(self, function: Callable[[], ResultT]) -> ResultT:
        """Return on every process what `function()` gives on the first, the only one that calls it."""
        if self.world == 1:
            return function()
        held: list[ResultT | None] = [function() if self.first else None]
        dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
        value: ResultT = held[0]  # type: ignore[assignment]  # filled by the broadcast
        return value

    def to_first(self, value: ResultT) -> list[ResultT]:
        """Return on the first process what all of them hand over here, in their order; on the others nothing."""
        if self.world == 1:
            return [value]
        held: list[ResultT] | None = [value] * self.world if self.first else None
        dist.gather_object(value, held, dst=0)
        return held or []

    def to_all(self, value: ResultT) -> list[ResultT]:
        """Return what all processes hand over here, in their order."""
        if self.world == 1:
            return [value]
        held = [value] * self.world
        dist.all_gather_object(held, value)
        return held

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world > 1:
            dist.all_reduce(torch.zeros(1))

    @torch.no_grad()
    def check_equal(self, values: Sequence[Tensor]) -> None:
        """AssertionError if these are no longer the same numbers on every process as on the first."""
        if self.world == 1 or not values:
            return
        own = torch.stack([value.double().sum() for value in values]).cpu()
        same = torch.equal(own.nan_to_num(), self.from_first(lambda: own).nan_to_num())
        assert same, f"the weights of process {self.rank} are no longer those of process 0"


ALONE = ProcessGroup()


def buckets(parameters: Sequence[Tensor], size: int = BUCKET) -> Iterator[list[Tensor]]:
    """Yield the parameters in their order, as many at a time as hold at most `size` numbers (or one), of one type."""
    bucket: list[Tensor] = []
    held = 0
    for value in parameters:
        if bucket and (held + value.numel() > size or value.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(value)
        held += value.numel()
    if bucket:
        yield bucket


@contextmanager
def joined(device: str) -> Iterator[ProcessGroup]:
    """Connect this process with the others that were launched with it; a plain process stays alone.

    ValueError if a machine has fewer GPUs than processes.
    """
    stands = place()
    if stands is None:
        yield ALONE
        return
    _take_device(device, stands)
    store, rank, world = next(rendezvous("env://", timeout=MEETING))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    processes = ProcessGroup(stands.rank, stands.world, stands.local_world)
    yield processes
    processes.wait()
    dist.destroy_process_group()


def _take_device(device: str, stands: Place) -> None:
    if device == "cuda":
        count = torch.cuda.device_count()
        if stands.local_world > count:
            raise ValueError(
                f"{LAUNCH}: {stands.local_world} processes on a machine that shows {count} GPU(s); start one for each"
            )
        torch.cuda.set_device(stands.local_rank)
    if SHARE_THREADS in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // stands.local_world))


def share_of(count: int, rank: int, world: int) -> slice:
    """Return which of a batch's `count` rows process `rank` of `world` takes; sizes differ by one at most.

    >>> [share_of(8, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(count * rank // world, count * (rank + 1) // world)
