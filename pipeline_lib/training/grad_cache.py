"""One optimizer step over several batches whose losses see all their products at once (GradCache).

Gao et al. 2021 (arXiv:2101.06983): (1) run every batch without gradient and keep only its outputs; (2) price the
joined outputs, which gives the gradient of each output; (3) run every batch again, with the same random numbers, and
push its outputs' gradients back. Gradients are those of one large batch, in the memory of a small one and for one
more forward pass. Only batch norms in training mode differ, as they always do: they normalise over their own batch.
With several processes each runs its own rows of every batch, and losses see the gathered outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.batch import CONTENT, UNBATCHED, Batch, Outputs
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.training.task import Task

Backward = Callable[[Tensor], object]


def backward_jointly(
    task: Task, batches: Sequence[Batch], backward: Backward, processes: ProcessGroup = SINGLE_PROCESS
) -> tuple[Outputs, dict[str, Tensor]]:
    """Add the gradient of the total loss of all batches, joined, to the parameters; return outputs and named losses.

    The outputs are detached. The random numbers drawn, and the running statistics of batch norms, are afterwards
    those of one pass over the batches.
    """
    if len(batches) == 1:
        batch = batches[0].to(task.device)
        outputs = processes.gather(task.observe(batch), len(batch.product))
        named = task.price(outputs, batch)
        backward(named["total"])
        return _detached(outputs), _read(named)
    states, cached = [], []
    with torch.no_grad(), _buffers_kept(task.model):
        for batch in batches:
            states.append(_random_state(task.device))
            cached.append(processes.gather(task.observe(batch.to(task.device)), len(batch.product)))
    leaves = join_outputs(cached)
    for value in leaves.present().values():
        value.requires_grad_()
    named = task.price(leaves, join_batches(batches).to(task.device))
    backward(named["total"])
    gradients = {name: value.grad for name, value in leaves.present().items() if value.grad is not None}
    start = 0
    for batch, state in zip(batches, states, strict=True):
        _set_random_state(state, task.device)
        again = task.forward(batch.to(task.device)).present()
        end = start + len(batch.product)
        pushed = [
            (again[name] * (gradient if name in UNBATCHED else processes.local_gradient(gradient[start:end]))).sum()
            for name, gradient in gradients.items()
            # A shared output is the same in every batch and is pushed back once.
            if name in again and again[name].requires_grad and (name not in UNBATCHED or start == 0)
        ]
        if pushed:
            backward(torch.stack(pushed).sum())
        start = end
    return _detached(leaves), _read(named)


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Return what losses read of several batches as one: all but the content, which only the model reads."""
    joined = {
        field.name: _join([getattr(batch, field.name) for batch in batches])
        for field in fields(Batch)
        if field.name not in (*CONTENT, "text_rows") and getattr(batches[0], field.name) is not None
    }
    starts = accumulate((len(batch.product) for batch in batches), initial=0)
    rows = torch.cat([batch.rows_with_text() + start for batch, start in zip(batches, starts, strict=False)])
    return Batch(**joined, text_rows=rows)


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Join along the batch; rows of unequal length (answers) are filled up with -1."""
    if parts[0].ndim == 1:
        return torch.cat(list(parts))
    longest = max(part.shape[1] for part in parts)
    return torch.cat([functional.pad(part, (0, longest - part.shape[1]), value=-1) for part in parts])


def join_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Return several batches' outputs as those of one; what belongs to the model is taken from the first."""
    joined = {
        name: value.clone() if name in UNBATCHED else torch.cat([getattr(part, name) for part in parts])
        for name, value in parts[0].present().items()
    }
    return Outputs(**joined)


def _detached(outputs: Outputs) -> Outputs:
    return replace(outputs, **{name: value.detach() for name, value in outputs.present().items()})


def _read(named: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in named.items()}


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass does to buffers, so that running statistics move once a step."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    yield
    for buffer, value in kept:
        buffer.copy_(value)


def _random_state(device: str) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: str) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
