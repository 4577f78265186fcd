"""Damaged files of stages, towers and checkpoints: more cases of docs/limits.md, see tried_inputs."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from damages import Change, empty, flipped, half, zeros
from model_settings import make_model_params
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object, read_table
from pipeline_lib.execution.checkpoint import BEST, LAST, CheckpointFolder
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.models.saved import CARD, WEIGHTS, own_weights, read_card, write_model_files
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.model import UntrainedImage
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.retrieval.faiss_index import INDEX, MANIFEST, Fingerprints, build_index
from pipeline_lib.retrieval.search import open_index
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.stores.store import HEADER, IDS, MATRIX, open_store, write_store
from pipeline_lib.towers.kinds import resolve_image_tower
from pipeline_lib.towers.weights import read_weights
from pipeline_lib.transforms.tokenize import TextTokenizer

Case = Callable[[], str]
STORE, INDEX_FOLDER, MODEL = paths.FEATURES / "trunk/image", paths.index_of("flat", 0), paths.train_of(0)
TOWER = Path("data/weights/image")
ROWS = np.eye(4, dtype=np.float32)
SOURCE = Fingerprints("model", "pre")
PARAMS = IndexParams(photo_weight=0.5, lists=4, probes=2, pq_bytes=8, links=8, build_beam=16, search_beam=16)


def merged(**values: Any) -> Change:
    return lambda data: json.dumps(json.loads(data) | values).encode()


def without(key: str) -> Change:
    return lambda data: json.dumps({name: value for name, value in json.loads(data).items() if name != key}).encode()


def changed(file: Path, change: Change, write: Callable[[], Any], read: Callable[[], Any]) -> Case:
    """Return a case that reads what was written after a change of one file."""

    def case() -> str:
        file.parent.mkdir(parents=True, exist_ok=True)
        write()
        file.write_bytes(change(file.read_bytes()))
        return str(read())

    return case


def store(name: str, change: Change) -> Case:
    write = lambda: write_store(STORE, list("abcd"), ROWS, ("enc", "pre"))  # noqa: E731
    return changed(STORE / name, change, write, lambda: open_store(STORE))


def index(name: str, change: Change) -> Case:
    write = lambda: build_index(INDEX_FOLDER, "flat", list("abcd"), ROWS, SOURCE, PARAMS)  # noqa: E731
    return changed(INDEX_FOLDER / name, change, write, lambda: open_index(INDEX_FOLDER, SOURCE))


def model(name: str, change: Change) -> Case:
    card = {"description": {}, "fingerprint": "f", "run": {}}
    write = lambda: write_model_files(MODEL, {"a": torch.ones(4, 4)}, card)  # noqa: E731
    return changed(MODEL / name, change, write, lambda: own_weights(MODEL, read_card(MODEL)))


def tower(name: str, change: Change) -> Case:
    """Return a case of a tower's folder with a sound config; its weights and tokenizer are only as far as they fail."""

    def write() -> None:
        write_json(TOWER / "config.json", {"architecture": "convnext_atto", "model_args": {}})
        for other in ("model.safetensors", "tokenizer.json"):
            (TOWER / other).write_bytes(b"\x10\0\0\0\0\0\0\0{}")

    def read() -> Any:
        if name == "config.json":
            image = make_model_params({"name": str(TOWER)}, {"name": str(TOWER)}).image
            return resolve_image_tower(UntrainedImage(image, "late"))
        return TextTokenizer(TOWER) if name == "tokenizer.json" else read_weights(TOWER / name)

    return changed(TOWER / name, change, write, read)


def shards(name: str, change: Change) -> Case:
    def write() -> None:
        Path("raw").mkdir()
        Image.new("RGB", (8, 8)).save("raw/a.png")
        media = pl.DataFrame({"product_id": ["a"], "media": [["a.png"]]})
        params = ShardsParams(size=8, quality=90, photos_per_shard=9, colour_profile="convert")
        write_shards(list_photos(media), Path("raw"), params, paths.SHARDS, 1)

    def read() -> None:
        PhotoViews(ShardReader(Manifest(paths.SHARDS)), 8).load(np.array([0]), [(0,)])

    return changed(paths.SHARDS / name, change, write, read)


def checkpoint(name: str, change: Change) -> Case:
    def case() -> str:
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), CheckpointFolder("run") as folder:
            for epoch in range(2):
                folder.save_last({"epoch": epoch})
            folder.save_best({"model": torch.ones(3)})
            file = folder.folder / name
            file.write_bytes(change(file.read_bytes()))
            if name == LAST:
                folder.load_last()
            else:
                folder.load_best()
        return errors.getvalue().strip()

    return case


COUNTS, PRODUCTS = paths.CATALOGUE / "counts.json", paths.CATALOGUE / "products.parquet"
FILES: dict[str, Case] = {
    "a table that is cut": changed(
        PRODUCTS, half, lambda: pl.DataFrame({"a": [1]}).write_parquet(PRODUCTS), lambda: read_table(PRODUCTS)
    ),
    "a JSON file that is empty": changed(
        COUNTS, empty, lambda: write_json(COUNTS, {"classes": 3}), lambda: read_object(COUNTS)
    ),
    "a list for an object": changed(
        COUNTS, lambda _: b"[1]", lambda: write_json(COUNTS, {"classes": 3}), lambda: read_object(COUNTS)
    ),
    "a key that is missing": changed(
        COUNTS, without("classes"), lambda: write_json(COUNTS, {"classes": 3}), lambda: read_object(COUNTS, classes=int)
    ),
    "a store: a header of another type": store(HEADER, merged(dim="wide")),
    "a store: a matrix that is cut": store(MATRIX, half),
    "a store: a matrix of zeros": store(MATRIX, zeros),
    "a store: a flipped bit in its matrix": store(MATRIX, flipped(0.97)),
    "a store: ids of zeros": store(IDS, zeros),
    "shards: a manifest that is cut": shards("manifest.parquet", half),
    "shards: a tar that is cut": shards("shard-00000.tar", half),
    "shards: a tar of zeros": shards("shard-00000.tar", zeros),
    "a model: a card that is cut": model(CARD, half),
    "a model: a card without its checksum": model(CARD, without("checksum")),
    "a model: weights that are cut": model(WEIGHTS, half),
    "a model: a flipped bit in its weights": model(WEIGHTS, flipped(0.97)),
    "an index: a manifest of zeros": index(MANIFEST, zeros),
    "an index: a file that is cut": index(INDEX, half),
    "an index: the start of the file flipped": index(INDEX, lambda data: b"X" + data[1:]),
    "a tower: a config that is cut": tower("config.json", half),
    "a tower: an argument that the library does not know": tower("config.json", merged(model_args={"depht": 3})),
    "a tower: an architecture that it does not know": tower("config.json", merged(architecture="convnext_of_2050")),
    "a tower: weights of zeros": tower("model.safetensors", zeros),
    "a tower: a tokenizer that is empty": tower("tokenizer.json", empty),
    "a checkpoint that is cut": checkpoint(LAST, half),
    "the checkpoint of the best epoch, empty": checkpoint(BEST, empty),
}
