"""Mangled files of stages, models, indexes and towers are read, or each is one line with its name; see fuzzing."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from fuzzing import FUZZED, check_file
from hypothesis import given
from hypothesis import strategies as st
from mangled import mangled
from model_settings import make_model_params
from PIL import Image
from safetensors.torch import save_file

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object, read_table
from pipeline_lib.execution.checkpoint_files import read_checkpoint, write_checkpoint
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.model import UntrainedImage, UntrainedText
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.retrieval.faiss_index import Fingerprints, build_index
from pipeline_lib.retrieval.search import open_index
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.splitting.seen import Seen, read_model_seen, write_seen
from pipeline_lib.stores.activations import ActivationWriter, open_activations
from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.stores.store import open_store, write_store
from pipeline_lib.towers.kinds import resolve_image_tower, resolve_text_tower, resolve_towers
from pipeline_lib.towers.weights import read_weights
from pipeline_lib.transforms.tokenize import TextTokenizer

INDEX = IndexParams(photo_weight=0.5, lists=4, probes=2, pq_bytes=8, links=8, build_beam=16, search_beam=16)
ROWS = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
IDS = [f"p{number}" for number in range(len(ROWS))]


def test_parquet(tmp_path):
    file = tmp_path / "folds.parquet"
    pl.DataFrame({"product_id": ["a", "b"], "split": ["train", "test"], "fold": [0, None]}).write_parquet(file)
    check_file(file, lambda: read_table(file))


def test_json(tmp_path):
    file = tmp_path / "counts.json"
    write_json(file, {"classes": 3, "notes": ["a"], "groups": {"b": 1.5}})
    check_file(file, lambda: read_object(file, classes=int, notes=list))


@pytest.mark.parametrize("name", ["header.json", "ids.parquet", "matrix.npy"])
def test_stores(tmp_path, name):
    write_store(tmp_path, ["a", "b"], np.ones((2, 3), np.float32), ("enc", "pre"))

    def read():
        store = open_store(tmp_path)
        if "b" in store.ids:
            store.rows(["b"])

    check_file(tmp_path / name, read)


@pytest.mark.parametrize("name", ["header.json", "ids.parquet", "matrix.npy"])
def test_activations(tmp_path, name):
    writer = ActivationWriter(tmp_path, len(ROWS), 8, "float32")
    writer.write(IDS, ROWS[:, None], np.ones((len(ROWS), 1), bool))
    writer.close("enc", "pre", TowerBoundary(True, 8, 2, "layer.1", (8,)))
    check_file(tmp_path / name, lambda: open_activations(tmp_path))


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivf_pq", "hnsw"])
@pytest.mark.parametrize("name", ["index.faiss", "manifest.json", "ids.parquet"])
def test_indexes(tmp_path, kind, name):
    """The names of the index and the ids are looked up, so any answer of a search is one of products."""
    source = Fingerprints("model", "pre")
    build_index(tmp_path, kind, IDS, ROWS, source, INDEX)
    check_file(tmp_path / name, lambda: open_index(tmp_path, source).search(ROWS[:2], 3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    """The folder of a trained model with what it has seen."""
    folder = tmp_path_factory.mktemp("model")
    params = make_model_params({"name": str(tiny_image_folder)}, {"name": str(tiny_text_folder)})
    sources = resolve_towers(params)
    model = build_model(describe(params, sources, True, ["a", "b"]), sources)
    keys = np.arange(3, dtype=np.uint64)
    save_model(folder, model, {"seen": write_seen(folder, Seen(keys, keys, keys, keys, keys))})
    return folder


@pytest.mark.parametrize("name", ["model.json", "seen.npy", "model.safetensors"])
def test_trained_models(tmp_path, saved, name):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    check_file(folder / name, lambda: (load_model(folder), read_model_seen(folder)), share=0.4)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_configs_of_towers(tmp_path, tiny_image_folder, tiny_text_folder, tower):
    folders = {"image": tiny_image_folder, "text": tiny_text_folder}
    folder = tmp_path / tower
    shutil.copytree(folders[tower], folder)
    names = {name: {"name": str(folder if name == tower else path)} for name, path in folders.items()}
    params = make_model_params(names["image"], names["text"])
    readers = {
        "image": lambda: resolve_image_tower(UntrainedImage(params.image, "late")),
        "text": lambda: resolve_text_tower(UntrainedText(params.text, "late")),
    }
    check_file(folder / "config.json", readers[tower], share=0.4)


def write_shard_folder(root):
    (root / "raw").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    for number in range(3):
        Image.fromarray(pixels).save(root / f"raw/{number}.png")
    media = pl.DataFrame({"product_id": ["a", "b", "c"], "media": [["0.png"], ["1.png"], ["2.png"]]})
    params = ShardsParams(size=16, quality=90, photos_per_shard=9, colour_profile="convert")
    (root / "shards").mkdir()
    write_shards(list_photos(media), root / "raw", params, root / "shards", 1)
    return root / "shards"


@pytest.mark.parametrize("name", ["manifest.parquet", "shard-00000.tar"])
def test_shards(tmp_path, name):
    folder = write_shard_folder(tmp_path)

    def read():
        photos = PhotoViews(ShardReader(Manifest(folder)), 16)
        photos.load(np.arange(len(photos.reader)), [(0,)] * len(photos.reader))

    check_file(folder / name, read)


def test_weights(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(4, 3), "b": torch.zeros(2)}, file, {"format": "pt"})
    check_file(file, lambda: read_weights(file))


@FUZZED
@given(data=st.data())
def test_checkpoints(tmp_path, data):
    """A damaged checkpoint is none."""
    file = tmp_path / "last.pt"
    write_checkpoint(file, {"epoch": 1, "weights": torch.ones(40, 3)}, keep_previous=False)
    file.write_bytes(data.draw(mangled([file.read_bytes()])))
    state = read_checkpoint(file, writes=False)
    assert state is None or state["weights"].sum() == 120


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_tokenizers(tmp_path, tiny_text_folder, name):
    folder = tmp_path / "text"
    shutil.copytree(tiny_text_folder, folder)
    check_file(folder / name, lambda: TextTokenizer(folder).encode_batch(["red mug"], 8))


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json", "config.json"])
def test_tokenizers_in_the_older_format(tmp_path, name):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red"]) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 6}), encoding="utf-8")
    check_file(folder / name, lambda: TextTokenizer(folder).encode_batch(["red mug"], 8), share=0.4)
