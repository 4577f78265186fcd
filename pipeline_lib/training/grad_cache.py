"""One optimizer step over several batches whose losses compare the products of all of them (GradCache).

Gao et al. 2021 (arXiv:2101.06983): (1) run every batch without gradient and keep only its outputs; (2) compute the
losses of the joined outputs, which gives the gradient of each output; (3) run every batch again, with the same random
numbers, and backpropagate the gradients of its outputs. The gradients are those of one large batch, in the memory of a
small one and for one more forward pass. Only batch norms in training mode differ: they normalise over their own batch.
With several processes, each runs its own rows of every batch, and the losses read the gathered outputs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.batch import CONTENT, PER_PHOTO, UNBATCHED, Batch, Outputs
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.training.task import Task


def backward_jointly(
    task: Task, batches: Sequence[Batch], processes: ProcessGroup = SINGLE_PROCESS
) -> tuple[Outputs, dict[str, Tensor]]:
    """Backpropagate the total loss of the joined batches; return the joined outputs and the named losses, detached.

    Gradients are those of the loss times `task.scaler`'s scale. Random number generators and the running statistics of
    batch norms end in the state after one pass over the batches.
    """
    if len(batches) == 1:
        batch = batches[0].to(task.device)
        outputs = _gathered(task.forward_all(batch), batch, processes)
        named = task.compute_losses(outputs, batch)
        torch.autograd.backward(task.scaler.scale(named["total"]))
        return _detached(outputs), _detached_losses(named)
    states, cached = [], []
    with torch.no_grad(), _restored_buffers(task.model):
        for batch in batches:
            states.append(_random_state(task.device))
            cached.append(_gathered(task.forward_all(batch.to(task.device)), batch, processes))
    leaves = join_outputs(cached)
    for value in leaves.present().values():
        value.requires_grad_()
    named = task.compute_losses(leaves, join_batches(batches).to(task.device))
    torch.autograd.backward(task.scaler.scale(named["total"]))
    gradients = {name: value.grad for name, value in leaves.present().items() if value.grad is not None}
    parts = {name: split_like(gradient, name, cached) for name, gradient in gradients.items()}
    for number, (batch, state) in enumerate(zip(batches, states, strict=True)):
        _set_random_state(state, task.device)
        again = task.forward(batch.to(task.device)).present()
        products = [
            (again[name] * _local(own, name, batch, processes)).sum()
            for name, of_batches in parts.items()
            if (own := of_batches[number]) is not None and name in again and again[name].requires_grad
        ]
        if products:
            torch.autograd.backward(torch.stack(products).sum())
    return _detached(leaves), _detached_losses(named)


def _gathered(outputs: Outputs, batch: Batch, processes: ProcessGroup) -> Outputs:
    return processes.gather(outputs, len(batch.product), batch.num_photos)


def _local(gradient: Tensor, name: str, batch: Batch, processes: ProcessGroup) -> Tensor:
    if name in UNBATCHED:
        return gradient
    return processes.local_gradient(gradient, batch.num_photos if name in PER_PHOTO else None)


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Return the fields that losses read of several batches as one batch; the model's inputs are left out."""
    joined = {
        field.name: _join([getattr(batch, field.name) for batch in batches])
        for field in fields(Batch)
        if field.name not in (*CONTENT, "text_rows") and getattr(batches[0], field.name) is not None
    }
    starts = accumulate((len(batch.product) for batch in batches), initial=0)
    rows = torch.cat([batch.rows_with_text() + start for batch, start in zip(batches, starts, strict=False)])
    return Batch(**joined, text_rows=rows)


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate along the batch; rows of unequal length are padded: numbers (answers) with -1, others with 0."""
    if parts[0].ndim == 1:
        return torch.cat(list(parts))
    longest = max(part.shape[1] for part in parts)
    value = -1 if parts[0].dtype == torch.int64 else 0
    after = (0, 0) * (parts[0].ndim - 2)
    return torch.cat([functional.pad(part, (*after, 0, longest - part.shape[1]), value=value) for part in parts])


def join_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Return several batches' outputs as those of one batch; shared outputs are those of the first."""
    joined = {
        name: value.clone() if name in UNBATCHED else torch.cat([getattr(part, name) for part in parts])
        for name, value in parts[0].present().items()
    }
    return Outputs(**joined)


def split_like(gradient: Tensor, name: str, parts: Sequence[Outputs]) -> list[Tensor | None]:
    """Return the gradient of a joined output for each part; that of a shared output belongs to the first part alone."""
    if name in UNBATCHED:
        return [gradient, *[None] * (len(parts) - 1)]
    return list(torch.split(gradient, [len(getattr(part, name)) for part in parts]))


def _detached(outputs: Outputs) -> Outputs:
    return replace(outputs, **{name: value.detach() for name, value in outputs.present().items()})


def _detached_losses(named: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in named.items()}


@contextmanager
def _restored_buffers(model: nn.Module) -> Iterator[None]:
    """Restore the model's buffers at the end of the block, so that running statistics are updated once a step."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    yield
    for buffer, value in before:
        buffer.copy_(value)


def _random_state(device: str) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: str) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
