"""Pictures of queries: checked and decoded uploads, their embeddings, and where a model's square lies in a photo.

The image tower and its library are loaded at the first picture, so a search by text does not wait for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from pipeline_lib.models.multimodal import DEFAULTS
from pipeline_lib.params.values import ResizeMode
from pipeline_lib.transforms.decode import read_photo
from pipeline_lib.transforms.image import TARGET_RATIO, Pixels, fixed_view
from pipeline_lib.transforms.resizing import Resizing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from pipeline_lib.models.multimodal import ImageTextModel


class Box(NamedTuple):
    """The part of a photo that a tower reads, in fractions of its width and height; padding is outside of 0 to 1."""

    left: float
    top: float
    width: float
    height: float


def view_box(width: int, height: int, mode: ResizeMode) -> Box:
    """Return where the square view of a photo lies in it.

    >>> view_box(200, 100, "shortest")
    Box(left=0.25, top=0.0, width=0.5, height=1.0)
    """
    if mode == "squash":
        return Box(0.0, 0.0, 1.0, 1.0)
    longer = max(width, height)
    # The shorter side after padding, which becomes the side of the square.
    smallest = {"shortest": 0.0, "longest": longer, "square_pad": longer, "target_pad": longer / TARGET_RATIO}[mode]
    side = max(min(width, height), smallest)
    return Box((width - side) / 2 / width, (height - side) / 2 / height, side / width, side / height)


@dataclass(frozen=True)
class PictureEmbedder:
    """Embeds pictures with a trained model at `size` pixels as the stage embed does, with their mirror image if `flip`.

    `load` returns the complete model. `convert_profile` is that of the shards: a picture has the colours of products.
    """

    load: Callable[[], ImageTextModel]
    size: int
    resizing: Resizing
    flip: bool
    convert_profile: bool

    @cached_property
    def model(self) -> ImageTextModel:
        """The complete model, loaded when it is first used."""
        return self.load()

    def view(self, data: bytes, max_pixels: float) -> Pixels:
        """Return the square (size, size, 3) of an encoded picture.

        Raises BadPhotoError if it cannot be read, or if its header says that it has more pixels than `max_pixels`.
        """
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # `max_pixels` is compared before any decoding
        try:
            photo = read_photo(data, self.size, max_pixels, self.convert_profile)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
        return fixed_view(photo.image(), self.size, self.resizing)

    def embed(self, view: Pixels) -> NDArray[np.float32]:
        """Return the embedding (1, dim) of a picture's square."""
        # Loaded outside of inference mode, because a map of a photo needs gradients.
        model, pixels = self.model, as_batch(view)
        views = [pixels, pixels.flip(-1)] if self.flip else [pixels]
        with torch.inference_mode():
            embeddings = torch.stack([model.embed_image(_product_of(model, one)) for one in views]).mean(0)
            if (DEFAULTS | model.description)["similarity"] == "cosine":
                embeddings = functional.normalize(embeddings, dim=-1)
        embedded: NDArray[np.float32] = embeddings.float().numpy()
        return embedded


def _product_of(model: ImageTextModel, pixels: Tensor) -> Tensor:
    """Return the features (1, dim) of a product whose one photo are pixels (1, 3, size, size)."""
    features = model.encode_image(pixels)
    return model.pool_photos(features, torch.ones(1, 1, dtype=torch.bool)).features


def as_batch(view: Pixels) -> Tensor:
    """Return a square (size, size, 3) as a batch of one, (1, 3, size, size) in channels_last."""
    return torch.from_numpy(np.array(view)[None]).permute(0, 3, 1, 2)
