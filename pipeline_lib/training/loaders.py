"""What a run is fed with: batches to train on, and the held-out fold to be measured by.

Both come from the same stores, cache and shards. Where both towers start from stores nothing is decoded and no worker
process is started.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.execution.process_group import ProcessGroup
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_stored_texts, encode_texts, photo_rows
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import text_key
from pipeline_lib.loading.stored_features import StoredFeatures
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.loading.view_cache import GB, ViewCache
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.params.train import TrainParams
from pipeline_lib.shards.read import open_shards
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.training.distillation import DistillationData
from pipeline_lib.training.fold_data import FoldData, Inputs
from pipeline_lib.training.model_setup import RunConfig
from pipeline_lib.training.validation import Validator
from pipeline_lib.transforms.image import AFTER_FIXED
from pipeline_lib.transforms.tokenize import TextTokenizer


@dataclass(frozen=True)
class Loaders:
    """Batches of the products to train on, the measure of the held-out ones, and this process's loader workers."""

    training: ProductDataset
    validator: Validator
    workers: int


def build_loaders(
    settings: RunConfig,
    inputs: Inputs,
    data: FoldData,
    model: ImageTextModel,
    tokenizer: TextTokenizer,
    stored: StoredFeatures,
    teaching: DistillationData,
    processes: ProcessGroup,
) -> Loaders:
    """Return what one fold's run is fed with."""
    train, size = settings.train, settings.model.image.size
    workers = 0 if len(stored.kinds()) == 2 else settings.runtime.workers
    reader = open_shards(inputs.shards, settings.runtime.shards_url)
    cache = None if stored.image else _view_cache(settings, data, processes)
    max_tokens = settings.model.text.max_tokens
    training = ProductDataset(
        data.training,
        PhotoViews(reader, size, train.augment, train.crop_scale, cache),
        TextViews(tokenizer, max_tokens, train.text_augment, train.text_augment_rate),
        Sampling(settings.seed, train.photo, train.mix, train.mix_alpha, processes.part),
        stored,
        teaching.training,
    )
    held_out = ProductDataset(
        data.held_out,
        PhotoViews(reader, size, cache=cache),
        TextViews(tokenizer, max_tokens),
        Sampling(settings.seed, measured_photo(train)),
        stored.without_views(),
        teaching.held_out,
    )
    engine = InferenceEngine(settings.device, settings.runtime.batch_size, workers, settings.precision)
    embed = _text_embedder(model, tokenizer, stored, max_tokens, engine)
    validator = Validator(held_out, data.held_out, data.queries, train.batch_size, workers, embed)
    return Loaders(training, validator, processes.workers(workers))


def measured_photo(train: TrainParams) -> str:
    """Return the photos a held-out product is measured by: all if it trains with all, else the first."""
    return "mean_pool" if train.photo == "mean_pool" else "first"


def _view_cache(settings: RunConfig, data: FoldData, processes: ProcessGroup) -> ViewCache | None:
    """Return room for the fixed views that this run looks at more than once, this process's share of it."""
    trained = photo_rows(data.training, "first" if settings.train.photo == "first" else "mean_pool")[0]
    rows = [photo_rows(data.held_out, measured_photo(settings.train))[0]]
    if settings.train.augment in AFTER_FIXED:
        rows.append(trained)
    limit = settings.runtime.cache_gb * GB / processes.local_world_size
    return ViewCache(np.concatenate(rows), settings.model.image.size, limit) if limit else None


def _text_embedder(
    model: ImageTextModel, tokenizer: TextTokenizer, stored: StoredFeatures, max_tokens: int, engine: InferenceEngine
) -> Callable[[list[str]], Array]:
    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        return model.embed_text(model.encode_text(ids, mask))

    def leave(activations: Tensor, mask: Tensor) -> Tensor:
        return model.embed_text(model.text.forward_suffix(activations, mask, stored.num_suffix_groups()["text"]))

    def embed(texts: list[str]) -> Array:
        if stored.text is None:
            return encode_texts(encode, tokenizer, texts, max_tokens, engine)
        keys = [text_key(text) for text in texts]
        if isinstance(stored.text, ActivationStore):
            return encode_stored_texts(leave, stored.text, keys, engine)
        return engine.run(model.embed_text, torch.from_numpy(stored.text.rows(keys))).cpu().numpy()

    return embed
