"""The inputs of a composed model, for a reference with its sentence or for a target."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor


@dataclass(frozen=True)
class ComposedInputs:
    """Stored outputs of the towers, and the sentence; a model reads those that its `needs` and `target_needs` name.

    Shapes: image (batch, image dim), pooled features; tokens (batch, n, token dim), what the image tower gives before
    pooling; text (batch, text dim), pooled features of the text tower; token_ids int64 and token_mask bool (batch,
    length), of the model's own tokenizer, padded on the right.
    """

    image: Tensor | None = None
    tokens: Tensor | None = None
    text: Tensor | None = None
    token_ids: Tensor | None = None
    token_mask: Tensor | None = None

    def to(self, device: torch.device | str) -> ComposedInputs:
        """Return the inputs on a device."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        moved = {name: value.to(device, non_blocking=True) for name, value in values.items() if value is not None}
        return replace(self, **moved)


@dataclass(frozen=True)
class ComposedOutputs:
    """Unit query embeddings (batch, dim), and by name what losses and reports read beside them.

    `extra` may have: prompt_query (batch, dim), unit; query_mean and prompt_mean (batch, width); gate (batch, n,
    channels), how much of each channel of each image token the fusion changes.
    """

    query: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredWidths:
    """Widths of what the stores have: pooled image features, pooled text features, image tokens (None = no store)."""

    image: int
    text: int
    tokens: int | None = None
