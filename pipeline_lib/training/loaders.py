"""The data loaders of a run: batches of the training products, and the validator of the held-out fold.

Where both towers start from stores, nothing is decoded and no worker process is started; if they do in training, no
image library is imported. What is decoded for both is in one view cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.execution.device import inference_batch
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_stored_texts, encode_texts, photo_rows
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.products import text_key
from pipeline_lib.loading.stored_features import StoredFeatures
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.loading.view_cache import GB, ViewCache
from pipeline_lib.params.train import TrainParams
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.towers.tower import Description
from pipeline_lib.training.distillation import DistillationData
from pipeline_lib.training.fold_data import FoldData, Inputs
from pipeline_lib.training.model_setup import ModelBundle
from pipeline_lib.training.run_start import RunConfig
from pipeline_lib.training.stored_inputs import StoredInputs
from pipeline_lib.training.validation import Validator
from pipeline_lib.transforms.resizing import Resizing

if TYPE_CHECKING:
    from pipeline_lib.loading.photo_views import PhotoViews


@dataclass(frozen=True)
class Loaders:
    """The dataset of training batches, the validator, and the number of loader workers of this process."""

    training: ProductDataset
    validator: Validator
    workers: int


def build_loaders(
    config: RunConfig,
    inputs: Inputs,
    data: FoldData,
    bundle: ModelBundle,
    distillation: DistillationData,
) -> Loaders:
    """Return the training batches and the validator of one fold; the bundle's model is on the device."""
    train, image, stored = config.train, bundle.model.description["image"], bundle.stored
    photos, held_out_photos = _photo_views(config, inputs, data, image, stored)
    tokenizer, max_tokens = bundle.tokenizer, config.model.text.max_tokens
    training = ProductDataset(
        data.training,
        photos,
        TextViews(tokenizer, max_tokens, train.text_augment, train.text_augment_rate),
        Sampling(train.seed, train.photo, train.mix, train.mix_alpha, config.processes.part),
        stored.features,
        distillation.training,
    )
    held_out = ProductDataset(
        data.held_out,
        held_out_photos,
        TextViews(tokenizer, max_tokens),
        Sampling(train.seed, measured_photo(train)),
        stored.held_out,
        distillation.held_out,
    )
    batch_size = inference_batch(config.runtime.batch_size, config.device)
    workers = _workers(config, stored.held_out)
    engine = InferenceEngine(config.device, batch_size, workers, bundle.precision)
    embed = _text_embedder(bundle, max_tokens, engine)
    validator = Validator(held_out, data.held_out, data.queries, train.batch_size, workers, embed)
    return Loaders(training, validator, config.processes.workers(_workers(config, stored.features)))


def _workers(config: RunConfig, read: StoredFeatures) -> int:
    """Return the number of loader workers: none if both towers start from stores, so that nothing is decoded."""
    return 0 if len(read.kinds()) == 2 else config.runtime.workers


def measured_photo(train: TrainParams) -> str:
    """Return the photos of a held-out product: all of them if training uses all, else the first."""
    return "mean_pool" if train.photo == "mean_pool" else "first"


def _photo_views(
    config: RunConfig, inputs: Inputs, data: FoldData, image: Description, stored: StoredInputs
) -> tuple[PhotoViews | None, PhotoViews | None]:
    """Return the views of photos for training and for validation, None where the image tower starts from a store.

    `image` is the description of the image tower.
    """
    if stored.features.image is not None:
        return None, None
    from pipeline_lib.loading.photo_views import PhotoViews
    from pipeline_lib.shards.read import open_shards

    train, size, resizing = config.train, image["size"], Resizing.of(image)
    reader = open_shards(inputs.shards, config.runtime.shards_url)
    cache = _view_cache(config, data, stored.held_out.image is None)
    training = PhotoViews(reader, size, train.augment, train.crop_scale, cache, resizing)
    if stored.held_out.image is not None:
        return training, None
    return training, PhotoViews(reader, size, cache=cache, resizing=resizing)


def _view_cache(config: RunConfig, data: FoldData, decodes_held_out: bool) -> ViewCache | None:
    """Return a cache of the fixed views that a run reads more than once, in this process's share of the memory."""
    from pipeline_lib.transforms.image import AFTER_FIXED

    rows = []
    if decodes_held_out:
        rows.append(photo_rows(data.held_out, measured_photo(config.train))[0])
    if config.train.augment in AFTER_FIXED:
        rows.append(photo_rows(data.training, "first" if config.train.photo == "first" else "mean_pool")[0])
    limit = config.runtime.cache_gb * GB / config.processes.local_world_size
    return ViewCache(np.concatenate(rows), config.model.image.size, limit) if limit and rows else None


def _text_embedder(bundle: ModelBundle, max_tokens: int, engine: InferenceEngine) -> Callable[[list[str]], Array]:
    """Return a function from texts to embeddings (texts, dim), which reads the stored features of a text if any."""
    model, stored = bundle.model, bundle.stored.held_out

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        return model.embed_text(model.encode_text(ids, mask))

    def encode_suffix(activations: Tensor, mask: Tensor) -> Tensor:
        return model.embed_text(model.text.forward_suffix(activations, mask, stored.num_suffix_groups()["text"]))

    def embed(texts: list[str]) -> Array:
        if stored.text is None:
            return encode_texts(encode, bundle.tokenizer, texts, max_tokens, engine)
        keys = [text_key(text) for text in texts]
        if isinstance(stored.text, ActivationStore):
            return encode_stored_texts(encode_suffix, stored.text, keys, engine)
        return engine.run(model.embed_text, torch.from_numpy(stored.text.rows(keys))).cpu().numpy()

    return embed
