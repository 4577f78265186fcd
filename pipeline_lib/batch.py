"""The records that pass between the layers of the library: the batch a model reads, the outputs the losses read."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class LayerGroup:
    """Parameters of a tower that are frozen together; a tower's groups are ordered from stem to head."""

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Products of one training or prediction step: pixels and tokens, or stored activations, or stored features.

    Model inputs: pixels uint8 (photos, 3, size, size); token_ids int64 and token_mask bool (batch, length);
    image_features and text_features float (batch, dim); image_activations and text_activations float
    (batch, ..., width), the inputs of the towers' last layer groups, the text's with a token_mask. With `photo_mask`
    bool (batch, most photos), the image inputs hold the photos of each product one after another, and their features
    are pooled; the mask is True where a product has a photo.

    Loss inputs: num_photos int64 (batch,), given with a photo_mask, of the whole batch even if several processes share
    it; answers int64 (batch, n), the texts that are relevant to each product, padded with -1; teacher_image
    and teacher_text float32 (batch, sum of the teachers' embedding dims); teacher_classes float32 (batch, sum of the
    teachers' classes), log probabilities; text_rows int64 (n,), the rows where has_text is True. A label of -1 is
    unknown. All others are (batch,).

    Loss inputs for clips, padded to the longest with zeros: teacher_frames float32 (batch, frames, sum of dims), the
    photos that the student gets of each product, with frame_mask bool (batch, frames); teacher_words float32 (batch,
    words, sum of dims), of the teachers that have words, with teacher_word_mask bool (batch, words, those teachers).

    Mixing: row i is mixed with row mix_with[i], with weight mix_share[i] on itself. With `cut` int64 (batch, 4), the
    box [top, bottom, left, right] of its pixels is replaced by the other row's. mixed_label and mixed_teacher_classes
    are the label and the teachers' log probabilities of that other row.
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
    teacher_frames: Tensor | None = None
    frame_mask: Tensor | None = None
    teacher_words: Tensor | None = None
    teacher_word_mask: Tensor | None = None
    text_rows: Tensor | None = None
    has_image: Tensor | None = None
    photo_mask: Tensor | None = None
    num_photos: Tensor | None = None
    mix_with: Tensor | None = None
    cut: Tensor | None = None
    mix_share: Tensor | None = None
    mixed_label: Tensor | None = None
    mixed_teacher_classes: Tensor | None = None

    def rows_with_text(self) -> Tensor:
        """Return the rows that have a text, int64 (n,); a batch without `text_rows` synchronises with the GPU."""
        return self.has_text.nonzero().flatten() if self.text_rows is None else self.text_rows

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device, non_blocking=True) for name, value in values.items() if value is not None}
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory; `DataLoader(pin_memory=True)` calls a method of this name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.pin_memory() for name, value in values.items() if value is not None})


# Fields of a batch that only the model reads. A joined batch for the losses leaves them out.
CONTENT = (
    "pixels", "token_ids", "token_mask", "image_features", "text_features", "image_activations", "text_activations",
    "has_image", "photo_mask", "mix_with", "cut",
)  # fmt: skip


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for a batch; None for a head that the model does not have.

    Shapes: embeddings (batch, dim), L2-normalised unless the similarity is the dot product; logit_scale scalar, or (2,)
    for text -> image and image -> text, already exponentiated; class_logits (batch, classes); frame_logits (photos,),
    the frame attention before its softmax, of all photos of each product one after another. The momentum embeddings are
    those of the momentum encoder.
    """

    image_embedding: Tensor | None = None
    text_embedding: Tensor | None = None
    logit_scale: Tensor | None = None
    class_logits: Tensor | None = None
    frame_logits: Tensor | None = None
    momentum_image_embedding: Tensor | None = None
    momentum_text_embedding: Tensor | None = None

    def present(self) -> dict[str, Tensor]:
        """Return the outputs that are not None, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


# Outputs that have no batch dimension.
UNBATCHED = ("logit_scale",)
# Outputs that have a row for each photo, not for each product.
PER_PHOTO = ("frame_logits",)
