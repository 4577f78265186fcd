"""Batches on their way to a GPU: copied from pinned memory in a stream of their own, beside what is being computed.

The loop is steps ahead of the GPU, since no step waits for a value; so the copy of a batch runs while the GPU is at the
one before, and only the GPU, never this process, waits for it to end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields

import torch

from pipeline_lib.batch import Batch


def on_device(batches: Iterable[Batch], device: str) -> Iterator[Batch]:
    """Yield the batches on a device; elsewhere than on a GPU as they are."""
    if device != "cuda":
        yield from batches
        return
    lane = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(lane):
            copied = batch.to(device)
        computing = torch.cuda.current_stream()
        computing.wait_stream(lane)
        for field in fields(copied):
            value = getattr(copied, field.name)
            if value is not None:
                value.record_stream(computing)  # else its memory is given to a later batch while it is still read
        yield copied
