"""What a model does with a batch's content beside encoding it: several photos of a product, blends, missing images."""

import torch
from torch import Tensor

from pipeline_lib.batch import Batch


def mean_of_photos(features: Tensor, num_photos: Tensor) -> Tensor:
    """Return (products, dim): means of features (photos, dim) over each product's photos, which follow one another."""
    owner = torch.repeat_interleave(num_photos, output_size=len(features))
    total = features.new_zeros(len(num_photos), features.shape[1]).index_add(0, owner, features)
    return total / num_photos[:, None]


def blended(features: Tensor, batch: Batch) -> Tensor:
    """Return features (batch, ...) blended with those of each row's partner; as they are without a blend."""
    if batch.mix_with is None:
        return features
    assert batch.mix_share is not None
    share = batch.mix_share.reshape(-1, *[1] * (features.ndim - 1))
    return share * features + (1 - share) * features[batch.mix_with]


def blended_pixels(pixels: Tensor, batch: Batch) -> Tensor:
    """Return pixels (batch, 3, height, width), blended or with a box of the partner's in them."""
    if batch.cut is None or batch.mix_with is None:
        return blended(pixels, batch)
    top, bottom, left, right = batch.cut[:, :, None].unbind(1)
    y, x = (torch.arange(pixels.shape[axis], device=pixels.device) for axis in (2, 3))
    inside = ((y >= top) & (y < bottom))[:, None, :, None] & ((x >= left) & (x < right))[:, None, None, :]
    return torch.where(inside, pixels[batch.mix_with], pixels)
