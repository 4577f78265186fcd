"""Operations on a batch's images and features besides encoding: averaging a product's photos, mixup and cutmix."""

import torch
from torch import Tensor

from pipeline_lib.batch import Batch


def mean_of_photos(features: Tensor, num_photos: Tensor) -> Tensor:
    """Return (products, dim), float32: means of features (photos, dim) over each product's consecutive photos."""
    product = torch.repeat_interleave(num_photos, output_size=len(features))
    # In float32: a sum of bf16 features has three digits.
    features = features.float()
    total = features.new_zeros(len(num_photos), features.shape[1]).index_add(0, product, features)
    return total / num_photos[:, None]


def mix_features(features: Tensor, batch: Batch) -> Tensor:
    """Return features (batch, ...) mixed with those of each row's partner; unchanged if the batch has no partners."""
    if batch.mix_with is None:
        return features
    assert batch.mix_share is not None
    share = batch.mix_share.reshape(-1, *[1] * (features.ndim - 1))
    return share * features + (1 - share) * features[batch.mix_with]


def mix_pixels(pixels: Tensor, batch: Batch) -> Tensor:
    """Return pixels (batch, 3, height, width), mixed (mixup) or with a box of the partner's pixels (cutmix)."""
    if batch.cut is None or batch.mix_with is None:
        return mix_features(pixels, batch)
    top, bottom, left, right = batch.cut[:, :, None].unbind(1)
    y, x = (torch.arange(pixels.shape[axis], device=pixels.device) for axis in (2, 3))
    inside = ((y >= top) & (y < bottom))[:, None, :, None] & ((x >= left) & (x < right))[:, None, None, :]
    return torch.where(inside, pixels[batch.mix_with], pixels)
