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
    """Products of one training or prediction step; of each side its pixels or tokens, stored activations, or features.

    Shapes: pixels uint8 (batch, 3, size, size); token_ids int64 and token_mask bool (batch, longest);
    image_features and text_features float (batch, dim); image_activations and text_activations, which stands beside a
    token_mask, float (batch, ..., width), what enters the towers' last layer groups; answers int64 (batch, most), the
    texts that each product is known to answer, filled up with -1; teacher_image, teacher_text (batch, widths of all
    teachers' joint spaces) and teacher_classes, log probabilities (batch, all teachers' classes), float32; text_rows
    int64 (n,), the rows where has_text is True, found where the batch is made; cut int64 (batch, 4); all others
    (batch,). A label of -1 is unknown.
    With `num_photos`, what the image tower reads holds so many photos of each product one behind the other, and the
    mean of their features counts. With `mix_with`, row i is blended with row mix_with[i] and keeps the share
    mix_share[i]; with `cut`, what it takes of the other's pixels is the box [top, bottom, left, right].
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
    image_activations: Tensor | None = None
    text_activations: Tensor | None = None
    answers: Tensor | None = None
    teacher_image: Tensor | None = None
    teacher_text: Tensor | None = None
    teacher_classes: Tensor | None = None
    text_rows: Tensor | None = None
    has_image: Tensor | None = None
    num_photos: Tensor | None = None
    mix_with: Tensor | None = None
    cut: Tensor | None = None
    mix_share: Tensor | None = None
    mixed_label: Tensor | None = None

    def described(self) -> Tensor:
        """Return the rows that have a text, (n,); a GPU is waited for only if the maker of the batch did not say."""
        return self.has_text.nonzero().flatten() if self.text_rows is None else self.text_rows

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device, non_blocking=True) for name, value in values.items() if value is not None}
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU copies from by itself; a data loader asks for it by this name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.pin_memory() for name, value in values.items() if value is not None})


# Fields of a batch that only the model reads: what losses see of several batches does without them.
CONTENT = (
    "pixels", "token_ids", "token_mask", "image_features", "text_features", "image_activations", "text_activations",
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
