"""Turns products of a made run into clips: their frames in the shards, and the weights of a model of the frames."""

import numpy as np
import polars as pl
from made_run import Run
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.loading.products import photo_key
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.stores.store import write_store

FRAMES = 4


def add_clips(run: Run, count: int = 30) -> set[str]:
    """Make the first products clips, one medium each with four grey frames in the shards; return their ids."""
    clips = [f"p{number:04d}" for number in range(count)]
    rows = []
    for product in run.products:
        names = [product[1]]
        if product[0] in clips:
            names = [f"{product[0]}-{frame}.png" for frame in range(FRAMES)]
            for frame, name in enumerate(names):
                Image.new("RGB", (64, 48), (60 * frame,) * 3).save(run.root / name)
        rows.append((product[0], names))
    media = pl.DataFrame(rows, schema=["product_id", "media"], orient="row")
    params = ShardsParams(size=48, quality=95, photos_per_shard=50, colour_profile="convert")
    write_shards(list_photos(media), run.root, params, run.root / paths.SHARDS, 1)
    return set(clips)


def write_weights(run: Run, fold: int, scale: int, seed: int) -> dict[str, float]:
    """Write weights of every clip of the run by one model, which sum to 1, and return them by frame."""
    keys = [photo_key(product[0], frame) for product in run.products for frame in range(FRAMES)]
    weights = np.random.default_rng(seed).dirichlet(np.ones(FRAMES), len(run.products)).reshape(-1, 1)
    folder = run.root / paths.embed_of(fold, scale) / paths.FRAME_WEIGHTS
    write_store(folder, keys, weights.astype(np.float32), ("m", "v"), "float32")
    return dict(zip(keys, weights[:, 0], strict=True))
