"""The records that pass between layers: a batch on its way into a model, the outputs on their way into losses."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class LayerGroup:
    """Parameters of a tower that freeze together; a tower's groups are ordered stem -> head."""

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Products of one training or prediction step; either pixels or stored features, either tokens or theirs.

    Shapes: pixels uint8 (batch, 3, size, size); token_ids int64 and token_mask bool (batch, longest);
    image_features and text_features float (batch, dim); answers int64 (batch, most), the texts that each product is
    known to answer, filled up with -1; cut int64 (batch, 4); all others (batch,). A label of -1 is unknown.
    With `num_photos`, pixels hold so many photos of each product one behind the other, and the mean of their features
    counts. With `mix_with`, row i is blended with row mix_with[i] and keeps the share mix_share[i]; with `cut`, what it
    takes of the other's pixels is the box [top, bottom, left, right].
    """

    product: Tensor
    group: Tensor
    text: Tensor
    has_text: Tensor
    label: Tensor
    pixels: Tensor | None = None
    token_ids: Tensor | None = None
    token_mask: Tensor | None = None
    image_features: Tensor | None = None
    text_features: Tensor | None = None
    answers: Tensor | None = None
    has_image: Tensor | None = None
    num_photos: Tensor | None = None
    mix_with: Tensor | None = None
    cut: Tensor | None = None
    mix_share: Tensor | None = None
    mixed_label: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device, non_blocking=True) for name, value in values.items() if value is not None}
        return replace(self, **moved)


# Fields of a batch that only the model reads: what losses see of several batches does without them.
CONTENT = (
    "pixels", "token_ids", "token_mask", "image_features", "text_features",
    "has_image", "num_photos", "mix_with", "cut",
)  # fmt: skip


@dataclass(frozen=True)
class Outputs:
    """What a model says of a batch; a head that the model does not have leaves None.

    Shapes: embeddings (batch, dim), L2-normalised unless the model compares by dot product; logit_scale scalar, or (2,)
    for text -> image and image -> text, already exponentiated; class_logits (batch, classes). The slow embeddings are
    those of the model's momentum copy.
    """

    image_embedding: Tensor | None = None
    text_embedding: Tensor | None = None
    logit_scale: Tensor | None = None
    class_logits: Tensor | None = None
    slow_image_embedding: Tensor | None = None
    slow_text_embedding: Tensor | None = None

    def present(self) -> dict[str, Tensor]:
        """Return by name what the model does say."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


# Fields of the outputs that belong to the model and not to a row of the batch.
SHARED = ("logit_scale",)
