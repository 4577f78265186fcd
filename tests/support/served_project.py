"""A project that can be searched: tables, shards, one saved model with random weights, its gallery and its indexes."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import torch
from model_settings import make_model_params
from ruamel.yaml import YAML
from tiny_project import write_project

from pipeline_lib.artifacts import paths
from pipeline_lib.inference.engine import normalise_rows
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import save_model
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.retrieval.faiss_index import Fingerprints, build_index
from pipeline_lib.shards.read import open_shards
from pipeline_lib.stores.store import write_store
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import fixed_view
from pipeline_lib.transforms.resizing import preprocessing_fingerprint
from pipeline_lib.transforms.tokenize import TextTokenizer

ROOT = Path(__file__).parents[2]
SIZE, DIM = 32, 8
CHINESE = {"red": "红", "blue": "蓝", "mug": "杯", "hat": "帽"}
# p9 is another listing of p3, and p12 of p0.
DUPLICATES = {"p9": "p3", "p12": "p0"}


def write_served_project(root: Path, image: Path, text: Path, kinds=("flat",), folds=(0,), count=36) -> Path:
    """Write a project of `count` products at `root`, with a model of each fold and an index of each kind."""
    work = root / paths.WORK
    write_project(work, count)
    _describe(root, count)
    sources_params = make_model_params({"name": str(image), "size": SIZE}, {"name": str(text), "max_tokens": 16},
                                       embedding_dim=DIM)  # fmt: skip
    sources = resolve_towers(sources_params)
    for fold in folds:
        torch.manual_seed(fold)
        model = build_model(describe(sources_params, sources, True, ["hat", "mug"]), sources).eval()
        fingerprint = save_model(root / paths.train_of(fold), model, {"fold": fold})
        TextTokenizer(text).save(root / paths.train_of(fold) / "tokenizer")
        _write_search(root, model, fold, fingerprint, kinds)
    write_params(root / "params.yaml", image, text, list(folds))
    return root


def write_params(path: Path, image: Path, text: Path, folds: list[int]) -> None:
    """Write the project's params.yaml with the settings of the served model."""
    params = load_params(ROOT / "params.yaml")
    params["plan"] |= {"scales": [SIZE], "folds": folds, "search": folds, "composed": []}
    params["model"]["weights_root"] = os.path.commonpath([image, text])
    params["model"]["image"] |= {"name": str(image), "size": SIZE}
    params["model"]["text"] |= {"name": str(text), "max_tokens": 16}
    params["model"]["embedding_dim"] = DIM
    params["data"]["max_pixels"] = 1_000_000
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(params, stream)


def _describe(root: Path, count: int) -> None:
    """Give every second product a Chinese text, two products a listing more, and all but one a price."""
    table = root / paths.CATALOGUE / "products.parquet"
    products = pl.read_parquet(table)
    texts = [
        " ".join(CHINESE.get(word, word) for word in row.split()) if number % 2 else row
        for number, row in enumerate(products["text"])
    ]
    groups = [DUPLICATES.get(key, key) for key in products["product_id"]]
    products.with_columns(text=pl.Series(texts), group_id=pl.Series(groups)).write_parquet(table)
    prices = [None if number == 4 else 2.5 * number for number in range(count)]
    columns = {"product_id": products["product_id"], "price": pl.Series(prices, dtype=pl.Float64)}
    attributes = pl.DataFrame(columns)
    attributes.write_parquet(root / paths.CATALOGUE / "attributes.parquet")


def _write_search(root: Path, model, fold: int, fingerprint: str, kinds) -> None:
    products = pl.read_parquet(root / paths.CATALOGUE / "products.parquet")
    ids, texts = products["product_id"].to_list(), products["text"].to_list()
    view = preprocessing_fingerprint(SIZE, model.description["image"])
    # The drawn products are few things many times over: noise sets them apart, so that no order depends on rounding.
    noise = 0.1 * np.random.default_rng(fold).standard_normal((len(ids), DIM)).astype(np.float32)
    photos = normalise_rows(np.stack([photo_vector(root, model, key) for key in ids]) + noise)
    written = [key for key, text in zip(ids, texts, strict=True) if text]
    vectors = np.stack([text_vector(root, model, fold, text) for text in texts if text])
    for name, keys, rows in ((paths.GALLERY_PHOTOS, ids, photos), (paths.GALLERY_TEXTS, written, vectors)):
        write_store(root / paths.gallery_of(fold) / name, keys, rows, (fingerprint, view), "float32")
    fused = photos.copy()
    rows = [ids.index(key) for key in written]
    fused[rows] = normalise_rows(0.5 * photos[rows] + 0.5 * vectors)
    params = parse_section(IndexParams, load_params(ROOT / "params.yaml"))
    for kind in kinds:
        build_index(root / paths.index_of(kind, fold), kind, ids, fused, Fingerprints(fingerprint, view), params)


def photo_vector(root: Path, model, product_id: str) -> np.ndarray:
    """The embedding (dim,) of a product's first photo, by the model itself."""
    shards = open_shards(root / paths.SHARDS, None)
    data = shards.read(shards.manifest.photos_of(product_id)[0])
    pixels = torch.from_numpy(fixed_view(decode(data), SIZE).copy()).permute(2, 0, 1)[None]
    with torch.inference_mode():
        both = [model.embed_image(model.encode_image(one)) for one in (pixels, pixels.flip(-1))]
    flip = load_params(ROOT / "params.yaml")["embed"]["flip"]
    mean = torch.stack(both if flip else both[:1]).mean(0)
    return (mean / mean.norm()).numpy()[0]


def text_vector(root: Path, model, fold: int, text: str) -> np.ndarray:
    """The embedding (dim,) of a text, by the model itself."""
    ids, mask = TextTokenizer(root / paths.train_of(fold) / "tokenizer").encode_batch([text], 16)
    with torch.inference_mode():
        return model.embed_text(model.encode_text(torch.from_numpy(ids), torch.from_numpy(mask))).numpy()[0]
