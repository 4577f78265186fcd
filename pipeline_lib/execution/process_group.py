"""A group of training processes whose gradients equal those of one process; each computes its rows of every batch.

Let O = [O_0; ...; O_{W-1}] be a batch's outputs, where O_r are the rows of rank r. L(O, s) is the loss, where s is
shared by all rows (the logit scale, a loss's own parameters). Every rank gathers O and computes the same L, but
autograd reaches the weights w only through the rank's own rows and s. The gradient of O_r is therefore multiplied by W,
and the mean over ranks is 1/W sum_r [W dL/dO_r dO_r/dw + dL/ds ds/dw] = dL/dw, as in one process with the full batch.

Losses with a memory read the gathered outputs, the optimizer reads the averaged gradients, and rank 0 takes every
decision, so all ranks stay equal. Batch norms in training mode are the exception: they normalise over the rank's own
rows, and the running statistics of rank 0 are saved.
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

from pipeline_lib.batch import PER_PHOTO, UNBATCHED, Outputs
from pipeline_lib.execution.launch import LAUNCH, SHARE_THREADS, Ranks, read_ranks

# Elements per all-reduce of gradients (64 MiB of float32).
BUCKET_SIZE = 2**24
# Time limit for all processes to start.
START_TIMEOUT = datetime.timedelta(minutes=5)
# Time limit of one collective operation. It is long because the other ranks wait while rank 0 runs validation. A failed
# process does not cause such a wait: `launched` ends all processes.
COLLECTIVE_TIMEOUT = datetime.timedelta(days=7)
# Seeds of two ranks differ modulo 2 ** 32, because the CPU generator uses only these bits of a seed.
SEED_STEP = 1_000_000_007

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process in its group; every method is a no-op in a group of one process."""

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Return True on rank 0, the process that writes files, prints and decides."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """Return (rank, world size), the arguments of `rows_of_rank`."""
        return self.rank, self.world_size

    def seed(self, seed: int) -> int:
        """Return the seed of this rank, so that dropout differs between ranks; rank 0 uses `seed` itself."""
        return seed + SEED_STEP * self.rank

    def workers(self, num_workers: int) -> int:
        """Return this process's share of a machine's `num_workers` loader workers, at least 1 unless there are none."""
        return max(1, num_workers // self.local_world_size) if num_workers else 0

    def gather(self, outputs: Outputs, count: int, num_photos: Tensor | None = None) -> Outputs:
        """Return the outputs of all `count` rows of a batch in order; `outputs` are those of this rank's rows.

        Outputs of photos need the photos of each row, `num_photos` (count,), which are read from the device. Gradients
        flow to this rank's rows only, multiplied by the world size (see the module docstring).
        """
        if self.world_size == 1:
            return outputs
        rows = {}
        for name, value in outputs.present().items():
            if name in PER_PHOTO:
                assert num_photos is not None, f"{name} has a row for each photo"
                rows[name] = self._rows(value, self._sizes(count, num_photos))
            elif name not in UNBATCHED:
                rows[name] = self._rows(value, self._sizes(count))
        return replace(outputs, **rows)

    def _sizes(self, count: int, num_photos: Tensor | None = None) -> list[int]:
        """Return how many of `count` rows each rank computes, or how many photos these rows have."""
        slices = [rows_of_rank(count, rank, self.world_size) for rank in range(self.world_size)]
        if num_photos is None:
            return [rows.stop - rows.start for rows in slices]
        photos = num_photos.tolist()
        return [sum(photos[rows]) for rows in slices]

    def _rows(self, value: Tensor, sizes: list[int]) -> Tensor:
        assert len(value) == sizes[self.rank], (len(value), sizes, self.rank)
        missing = (0, 0) * (value.ndim - 1) + (0, max(sizes) - len(value))
        padded = functional.pad(value.detach(), missing).contiguous()
        received = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(received, padded)
        parts = [part[:size] for part, size in zip(received, sizes, strict=True)]
        parts[self.rank] = self._with_scaled_gradient(value)
        return torch.cat(parts)

    def _with_scaled_gradient(self, value: Tensor) -> Tensor:
        if not value.requires_grad:
            return value
        scaled = value.view_as(value)
        scaled.register_hook(lambda gradient: gradient * self.world_size)  # type: ignore[no-untyped-call]
        return scaled

    def local_gradient(self, gradient: Tensor, num_photos: Tensor | None = None) -> Tensor:
        """Return this rank's rows of the gradient of gathered leaf tensors, multiplied by the world size.

        `num_photos` are those of each product, for the gradient of an output of photos.
        """
        if self.world_size == 1:
            return gradient
        sizes = self._sizes(len(gradient) if num_photos is None else len(num_photos), num_photos)
        start = sum(sizes[: self.rank])
        return gradient[start : start + sizes[self.rank]] * self.world_size

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace each gradient by its mean over ranks; one all-reduce covers a bucket of parameters.

        If a parameter has a gradient on some ranks only (stochastic depth, say), it counts as 0 on the others. If it
        has none on any rank, its gradient stays None and the optimizer skips it.
        """
        if self.world_size == 1:
            return
        has_gradient = torch.tensor([value.grad is not None for value in parameters], dtype=torch.uint8)
        dist.all_reduce(has_gradient, dist.ReduceOp.MAX)
        reduced = [value for value, one in zip(parameters, has_gradient.tolist(), strict=True) if one]
        for bucket in buckets(reduced):
            gradients = [torch.zeros_like(value) if value.grad is None else value.grad for value in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            flat /= self.world_size
            parts = torch.split(flat, [value.numel() for value in bucket])
            for value, gradient, part in zip(bucket, gradients, parts, strict=True):
                # Copied in place: a fused optimizer expects the memory layout of the parameter (channels last).
                value.grad = gradient.copy_(part.view_as(gradient))

    def broadcast_from_first(self, function: Callable[[], ResultT]) -> ResultT:
        """Return the result of `function()` on every rank; only rank 0 calls it."""
        if self.world_size == 1:
            return function()
        objects: list[ResultT | None] = [function() if self.is_first else None]
        dist.broadcast_object_list(objects, src=0, device=torch.device("cpu"))
        value: ResultT = objects[0]  # type: ignore[assignment]  # filled by the broadcast
        return value

    def gather_to_first(self, value: ResultT) -> list[ResultT]:
        """Return the values of all ranks in rank order on rank 0, an empty list on the others."""
        if self.world_size == 1:
            return [value]
        objects: list[ResultT] | None = [value] * self.world_size if self.is_first else None
        dist.gather_object(value, objects, dst=0)
        return objects or []

    def all_gather_objects(self, value: ResultT) -> list[ResultT]:
        """Return the values of all ranks in rank order, on every rank."""
        if self.world_size == 1:
            return [value]
        objects = [value] * self.world_size
        dist.all_gather_object(objects, value)
        return objects

    def barrier(self) -> None:
        """Wait until every rank has called this method."""
        if self.world_size > 1:
            dist.all_reduce(torch.zeros(1))

    @torch.no_grad()
    def check_equal(self, values: Sequence[Tensor]) -> None:
        """Raise AssertionError on a rank whose tensors differ from those of rank 0, compared by their sums."""
        if self.world_size == 1 or not values:
            return
        sums = torch.stack([value.double().sum() for value in values]).cpu()
        same = torch.equal(sums.nan_to_num(), self.broadcast_from_first(lambda: sums).nan_to_num())
        assert same, f"the weights of rank {self.rank} differ from those of rank 0"


SINGLE_PROCESS = ProcessGroup()


def buckets(parameters: Sequence[Tensor], size: int = BUCKET_SIZE) -> Iterator[list[Tensor]]:
    """Yield the parameters in order, in lists of one dtype with at most `size` elements (or one parameter)."""
    bucket: list[Tensor] = []
    num_elements = 0
    for value in parameters:
        if bucket and (num_elements + value.numel() > size or value.dtype != bucket[0].dtype):
            yield bucket
            bucket, num_elements = [], 0
        bucket.append(value)
        num_elements += value.numel()
    if bucket:
        yield bucket


@contextmanager
def join_process_group(device: str) -> Iterator[ProcessGroup]:
    """Yield the group of the processes launched together, or SINGLE_PROCESS in a process without a launcher.

    Raises ValueError if a machine has fewer GPUs than processes.
    """
    ranks = read_ranks()
    if ranks is None:
        yield SINGLE_PROCESS
        return
    _set_device(device, ranks)
    store, rank, world_size = next(rendezvous("env://", timeout=START_TIMEOUT))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT)
    group = ProcessGroup(ranks.rank, ranks.world_size, ranks.local_world_size)
    yield group
    group.barrier()
    dist.destroy_process_group()


def _set_device(device: str, ranks: Ranks) -> None:
    if device == "cuda":
        count = torch.cuda.device_count()
        if ranks.local_world_size > count:
            raise ValueError(
                f"{LAUNCH}: {ranks.local_world_size} processes on a machine with {count} visible GPU(s); "
                "start one process per GPU"
            )
        torch.cuda.set_device(ranks.local_rank)
    if SHARE_THREADS in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks.local_world_size))


def rows_of_rank(count: int, rank: int, world_size: int) -> slice:
    """Return the rows of a batch of `count` that `rank` computes; the sizes of two ranks differ by at most one.

    >>> [rows_of_rank(8, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(count * rank // world_size, count * (rank + 1) // world_size)
