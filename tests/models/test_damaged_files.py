"""Every file of models, stores, indexes and towers: damaged in any way, it is one line with its name."""

import json
import shutil

import numpy as np
import pytest
import torch
from damages import BYTES, damages, flipped
from model_settings import make_model_params

from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.model import UntrainedImage, UntrainedText
from pipeline_lib.retrieval.faiss_index import Fingerprints, build_index
from pipeline_lib.retrieval.search import open_index
from pipeline_lib.splitting.seen import Seen, read_model_seen, write_seen
from pipeline_lib.stores.activations import ActivationWriter, open_activations
from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.stores.store import open_store, write_store
from pipeline_lib.towers.kinds import resolve_image_tower, resolve_text_tower, resolve_towers
from pipeline_lib.transforms.tokenize import TextTokenizer

PARAMS = IndexParams(photo_weight=0.5, lists=4, probes=2, pq_bytes=8, links=8, build_beam=16, search_beam=16)
ROWS = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
IDS = [f"p{number}" for number in range(len(ROWS))]


def write_activations(folder):
    writer = ActivationWriter(folder, len(ROWS), 8, "float32")
    writer.write(IDS, ROWS[:, None], np.ones((len(ROWS), 1), bool))
    writer.close("enc", "pre", TowerBoundary(True, 8, 2, "layer.1", (8,)))


@pytest.fixture(scope="module")
def towers(tiny_image_folder, tiny_text_folder):
    return tiny_image_folder, tiny_text_folder


@pytest.fixture(scope="module")
def written(tmp_path_factory, towers):
    """Name -> (folder, function that reads it)."""
    root = tmp_path_factory.mktemp("written")
    write_store(root / "store", IDS, ROWS, ("enc", "pre"), "float32")
    write_activations(root / "activations")
    source = Fingerprints("model", "pre")
    for kind in ("flat", "ivf", "ivf_pq", "hnsw"):
        build_index(root / kind, kind, IDS, ROWS, source, PARAMS)
    params = make_model_params({"name": str(towers[0])}, {"name": str(towers[1])})
    sources = resolve_towers(params)
    torch.manual_seed(0)
    keys = np.arange(3, dtype=np.uint64)
    model = build_model(describe(params, sources, True, ["a", "b"]), sources)
    (root / "model").mkdir()
    save_model(root / "model", model, {"seen": write_seen(root / "model", Seen(keys, keys, keys, keys, keys))})
    shutil.copytree(towers[0], root / "image")
    shutil.copytree(towers[1], root / "text")
    image = make_model_params({"name": str(root / "image")}, {"name": str(towers[1])}).image
    text = make_model_params({"name": str(towers[0])}, {"name": str(root / "text")}).text
    readers = {
        "store": open_store,
        "activations": open_activations,
        **dict.fromkeys(
            ("flat", "ivf", "ivf_pq", "hnsw"), lambda folder: open_index(folder, source).search(ROWS[:2], 3)
        ),
        "model": lambda folder: (load_model(folder), read_model_seen(folder)),
        "image": lambda folder: resolve_image_tower(UntrainedImage(image, "late")),
        "text": lambda folder: (resolve_text_tower(UntrainedText(text, "late")), TextTokenizer(folder).vocab_size),
    }
    return {name: (root / name, read) for name, read in readers.items()}


# What is not found, because nothing reads it, or because a mapped file is not read as a whole: (name, file, damage). A
# JSON file without its last byte lacks a line end, and polars does not look at the first bytes of a table.
UNREAD = {
    ("activations", "matrix.npy", "middle flipped"),
    ("activations", "matrix.npy", "last byte flipped"),
    *((kind, "index.faiss", "middle flipped") for kind in ("flat", "ivf", "ivf_pq", "hnsw")),
    *((kind, "index.faiss", "last byte flipped") for kind in ("flat", "ivf", "ivf_pq", "hnsw")),
    # Published weights have no checksum of their own; trained ones have.
    *(
        (tower, "model.safetensors", f"{part} flipped")
        for tower in ("image", "text")
        for part in ("middle", "last byte")
    ),
}


@pytest.mark.parametrize("name", ["store", "activations", "flat", "ivf", "ivf_pq", "hnsw", "model", "image", "text"])
def test_damage_is_one_line_with_the_name(written, name):
    folder, read = written[name]
    read(folder)
    found = 0
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        sound = file.read_bytes()
        for damage, data in damages(file):
            file.write_bytes(data)
            what = (name, file.name, damage)
            try:
                read(folder)
            except (ValueError, OSError) as error:
                message = str(error)
                assert str(folder) in message and "\n" not in message, (what, message)
                found += 1
            else:
                harmless = file.suffix == ".json" and damage not in BYTES
                harmless |= file.suffix == ".json" and damage in ("without its last byte", "tenth byte flipped")
                harmless |= file.suffix == ".parquet" and damage in ("first byte flipped", "tenth byte flipped")
                assert harmless or what in UNREAD, what
        file.write_bytes(sound)
    read(folder)
    assert found >= 20


@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("store", "header.json", "checksum"),
        ("store", "header.json", "dim"),
        ("activations", "header.json", "tokens"),
        ("flat", "manifest.json", "model"),
        ("flat", "manifest.json", "max_norm"),
        ("model", "model.json", "description"),
        ("model", "model.json", "fingerprint"),
        ("model", "model.json", "checksum"),
    ],
)
def test_a_missing_key_is_named(written, name, file, key):
    folder, read = written[name]
    sound = (folder / file).read_bytes()
    (folder / file).write_text(json.dumps({k: v for k, v in json.loads(sound).items() if k != key}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{file}: damaged, or of another version \(.*{key}"):
        read(folder)
    (folder / file).write_bytes(sound)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("image", {"model_args": {"depth_of_field": 3}}, "unexpected keyword argument 'depth_of_field'"),
        ("image", {"model_args": 3}, "model_args: Input should be"),
        ("image", {"mean": [0.5]}, "mean"),
        (
            "image",
            {"architecture": "convnext_of_2050"},
            r"config\.json: architecture = .* no such architecture",
        ),
        ("text", {"hidden_size": "wide"}, "hidden_size"),
        ("text", {"hidden_act": "unheard"}, "unheard"),
        ("text", {"num_attention_heads": 7}, "heads"),
        ("text", {"model_type": "of-2050"}, "of-2050"),
    ],
)
def test_a_config_with_unknown_values_is_one_line(written, name, change, reason):
    folder, read = written[name]
    sound = (folder / "config.json").read_bytes()
    (folder / "config.json").write_text(json.dumps(json.loads(sound) | change), encoding="utf-8")
    with pytest.raises(ValueError, match=reason) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    (folder / "config.json").write_bytes(sound)


def test_a_flipped_bit_of_trained_weights_and_of_a_matrix_is_named(written):
    for name, file, read in (("model", "model.safetensors", load_model), ("store", "matrix.npy", open_store)):
        path = written[name][0] / file
        sound = path.read_bytes()
        path.write_bytes(flipped(0.7)(sound))
        with pytest.raises(ValueError, match=rf"{file}: damaged, .*its checksum is"):
            read(path.parent)
        path.write_bytes(sound)
