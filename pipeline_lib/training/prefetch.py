"""Prefetching batches to a GPU: pinned memory is copied in a separate CUDA stream while the GPU computes.

No step waits for a value on the device, so this process runs several steps ahead of the GPU. The copy of a batch
therefore overlaps with the computation of the batch before, and only the GPU waits for the copy to end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields

import torch

from pipeline_lib.batch import Batch


def on_device(batches: Iterable[Batch], device: str) -> Iterator[Batch]:
    """Yield the batches on a device; on a CPU they are not changed."""
    if device != "cuda":
        yield from batches
        return
    copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(copies):
            copied = batch.to(device)
        computing = torch.cuda.current_stream()
        computing.wait_stream(copies)
        for field in fields(copied):
            value = getattr(copied, field.name)
            if value is not None:
                value.record_stream(computing)  # else its memory may be reused before it is read
        yield copied
