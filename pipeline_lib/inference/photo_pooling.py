"""From blocks of photos' features to one vector a product: their mean, or the model's frame pooling.

A mean is summed block by block. A frame pooling reads all photos of a product together, so its blocks hold whole
products. Either way memory holds one block of photos, and the photos of one product.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.inference.engine import Array, InferenceEngine, mean_per_product, whole_products
from pipeline_lib.loading.dataset import Rows
from pipeline_lib.models.frame_pooling import mask_of
from pipeline_lib.models.multimodal import ImageTextModel


@dataclass(frozen=True)
class PooledBlock:
    """Features (products, views x dim) of consecutive products from `start`, and their photos' attention (photos, 1).

    The weights are averaged over the views; None without attention.
    """

    start: int
    features: Tensor
    weights: Array | None = None


def pool_products(
    model: ImageTextModel, blocks: Iterator[tuple[int, Tensor]], owner: Rows, engine: InferenceEngine, num_views: int
) -> Iterator[PooledBlock]:
    """Yield the products of blocks (start, features of photos (block, views x dim)) in order.

    `owner` is the product of each photo, from 0 and without a gap, ascending.
    """
    count = int(owner[-1]) + 1 if len(owner) else 0
    if model.frames is None:
        for start, means in mean_per_product(blocks, owner, count):
            yield PooledBlock(start, torch.from_numpy(means))
        return
    counts = np.bincount(owner, minlength=count)
    for products, photos in whole_products(blocks, counts):
        features, weights = _pool_views(model, photos, torch.from_numpy(counts[products]), engine, num_views)
        yield PooledBlock(products.start, features, weights)


def _pool_views(
    model: ImageTextModel, photos: Tensor, num_photos: Tensor, engine: InferenceEngine, num_views: int
) -> tuple[Tensor, Array | None]:
    weights: list[Tensor] = []

    def pool(values: Tensor, mask: Tensor) -> Tensor:
        pooled = [model.pool_photos(view, mask) for view in values.chunk(num_views, dim=1)]
        weights.extend(one.weights for one in pooled if one.weights is not None)
        return torch.cat([one.features for one in pooled], dim=1)

    features = engine.run(pool, photos, mask_of(num_photos)).cpu()
    return features, torch.stack(weights).mean(0).cpu().numpy()[:, None] if weights else None
