"""Adds a composed model with initial weights to a served project, over stored features of its untrained towers."""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from composed_project import composed_params
from ruamel.yaml import YAML
from served_project import SIZE

from pipeline_lib.artifacts import paths
from pipeline_lib.features.tower_stores import origin_of
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params
from pipeline_lib.shards.read import open_shards
from pipeline_lib.stores.store import write_store
from pipeline_lib.towers.kinds import resolve_towers, untrained_image_tower, untrained_text_tower
from pipeline_lib.training.composed.fold import ComposedConfig, ComposedFolders, train_composed
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import fixed_view
from pipeline_lib.transforms.tokenize import TextTokenizer

TEXTS = ("in red", "in blue")


def compose(root: Path) -> None:
    """Change the project in the current folder, whose absolute path is `root`, and train the model `sum` of fold 0."""
    params = load_params()
    params["plan"]["composed"] = ["sum"]
    params["model"] |= {"fusion": "late"}
    with (root / "params.yaml").open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(params, stream)
    sources = resolve_towers(ModelParams.model_validate(params["model"]))
    _write_queries()
    _write_trunk(root, sources)
    folders = ComposedFolders(paths.CATALOGUE, paths.FOLDS, paths.features_of("trunk"))
    out = paths.composed_of("sum", 0)
    out.mkdir(parents=True)
    config = ComposedConfig("sum", composed_params(epochs=0), sources, "cpu")
    train_composed(config, folders, 0, "served", out)


def _write_queries() -> None:
    queries = pl.read_parquet(paths.CATALOGUE / "queries.parquet")
    composed = pl.DataFrame(
        {"query_id": ["c1", "c2"], "kind": "composed", "text": list(TEXTS), "reference_product_id": ["p6", "p2"]},
    ).with_columns(subset=pl.lit([], pl.List(pl.String)), split=pl.lit(None, pl.String))
    plain = queries.with_columns(reference_product_id=pl.lit(None, pl.String), subset=pl.lit([], pl.List(pl.String)))
    pl.concat([plain.select(composed.columns), composed]).write_parquet(paths.CATALOGUE / "queries.parquet")
    relevance = pl.read_parquet(paths.CATALOGUE / "relevance.parquet")
    more = pl.DataFrame({"query_id": ["c1", "c2"], "product_id": ["p7", "p3"], "grade": [1, 1]})
    pl.concat([relevance, more.cast(relevance.schema)]).write_parquet(paths.CATALOGUE / "relevance.parquet")


def _write_trunk(root: Path, sources) -> None:
    shards, tower = open_shards(root / paths.SHARDS, None), untrained_image_tower(sources["image"], "cpu")
    ids = pl.read_parquet(paths.CATALOGUE / "products.parquet")["product_id"].to_list()
    views = [fixed_view(decode(shards.read(shards.manifest.photos_of(key)[0])), SIZE) for key in ids]
    with torch.inference_mode():
        photos = tower.encode(torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)).numpy()
        description = sources["text"].description
        token_ids, mask = TextTokenizer(description["tokenizer"]).encode_batch(list(TEXTS), description["max_tokens"])
        texts = untrained_text_tower(sources["text"], "cpu").encode(torch.from_numpy(token_ids), torch.from_numpy(mask))
    trunk = root / paths.features_of("trunk")
    keys = [photo_key(key, 0) for key in ids]
    write_store(trunk / "image", keys, photos, origin_of("image", sources["image"]), "float32")
    text_keys = [text_key(text) for text in TEXTS]
    write_store(trunk / "text", text_keys, texts.numpy(), origin_of("text", sources["text"]), "float32")
