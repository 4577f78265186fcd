"""Mangled input of every kind is read, or it is one line that names the file: never another error, never much memory.

The examples are the same in every run. To try more of them:
VITRINE_FUZZ_EXAMPLES=2000 python -m pytest tests/pipeline/test_fuzzed_inputs.py
"""

import io
import json
import os
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mangled import mangled
from PIL import Image
from safetensors.torch import save
from written_composed import write_cirr, write_fashion_iq
from written_msr_vtt import msr_vtt_content
from written_muge import write_muge

from pipeline_lib.artifacts.read import read_object, read_table
from pipeline_lib.datasets.readers import read_records
from pipeline_lib.execution.checkpoint_files import read_checkpoint, write_checkpoint
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.params.all_sections import check_all
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.photo import store_photo
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.splitting.assignment import read_assignment
from pipeline_lib.stores.store import open_store, write_store
from pipeline_lib.towers.weights import read_weights
from pipeline_lib.transforms.decode import read_photo
from pipeline_lib.transforms.formats import BadPhotoError
from pipeline_lib.transforms.tokenize import TextTokenizer

PARAMS = Path(__file__).parents[2] / "params.yaml"
EXAMPLES = int(os.environ.get("VITRINE_FUZZ_EXAMPLES", "25"))
MAX_MEMORY = 10**9
FUZZED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
CSV = 'id,title,category,image,price\n1,red mug,mug,images/1.jpg,3.5\n2,"blue, hat",hat,images/2.jpg,\n3,商品,mug,,1\n'
KARPATHY = {
    "images": [
        {"filename": "a.jpg", "filepath": "val", "split": "train", "sentences": [{"raw": "a dog", "tokens": ["a"]}]},
        {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "b"}]},
    ]
}


def peak_memory():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))[1]) * 1024


@pytest.fixture(autouse=True)
def little_memory():
    before = peak_memory()
    yield
    assert peak_memory() - before < MAX_MEMORY


def check_line(read, file, root):
    """`read` returns, or raises one line with the name of the file or of a folder above it."""
    with warnings.catch_warnings(action="ignore"):  # of decoders, about odd metadata
        try:
            read()
        except (ValueError, OSError) as error:
            message = str(error)
            assert "\n" not in message, message
            assert file.name in message or str(root) in message, message


def data_params(root, reader):
    params = parse_section(DataParams, load_params(PARAMS))
    return params.model_copy(update={"root": str(root), "reader": reader})


def xlsx():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", "<worksheet><sheetData/></worksheet>")
        book.writestr("[Content_Types].xml", "<Types/>")
    return stream.getvalue()


def parquet(frame):
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


TABLES = (
    CSV.encode(),
    b"\xef\xbb\xbf" + CSV.replace(",", ";").encode(),
    CSV.replace(",", "\t").encode("utf-16"),
    xlsx(),
)


@FUZZED
@given(data=mangled(TABLES))
def test_tables(tmp_path, data):
    file = tmp_path / "products.csv"
    file.write_bytes(data)
    check_line(lambda: read_records(data_params(tmp_path, "csv_table")), file, tmp_path)


def write_karpathy(root):
    (root / "dataset.json").write_text(json.dumps(KARPATHY), encoding="utf-8")


def write_msr_vtt(root):
    (root / "MSRVTT_data.json").write_text(json.dumps(msr_vtt_content()), encoding="utf-8")


def write_captions(root):
    (root / "captions.csv").write_text("image,caption\na.jpg,a dog\nb.jpg,b\n", encoding="utf-8")


# Reader and the file that is mangled -> what writes all files.
FORMS = {
    ("karpathy", "dataset.json"): write_karpathy,
    ("msr_vtt", "MSRVTT_data.json"): write_msr_vtt,
    ("captions_csv", "captions.csv"): write_captions,
    ("cirr", "captions/cap.rc2.train.json"): write_cirr,
    ("fashion_iq", "captions/cap.dress.train.json"): write_fashion_iq,
    ("muge", "train_queries.jsonl"): write_muge,
    ("muge", "train_imgs.tsv"): write_muge,
}


@pytest.mark.parametrize(("reader", "name"), FORMS)
def test_published_forms(tmp_path, reader, name):
    FORMS[reader, name](tmp_path)
    file = tmp_path / name
    sound = file.read_bytes()

    @FUZZED
    @given(data=mangled([sound]))
    def check(data):
        file.write_bytes(data)
        check_line(lambda: read_records(data_params(tmp_path, reader)), file, tmp_path)

    check()


ROWS = pl.DataFrame({"product_id": ["a", "b"], "split": ["train", "test"], "fold": [0, None]})


@FUZZED
@given(data=mangled([parquet(ROWS)]))
def test_parquet(tmp_path, data):
    file = tmp_path / "x.parquet"
    file.write_bytes(data)
    check_line(lambda: read_table(file), file, tmp_path)
    check_line(lambda: read_assignment(file, 2), file, tmp_path)


@FUZZED
@given(data=mangled([ROWS.write_csv().encode()]))
def test_assignments_in_csv(tmp_path, data):
    file = tmp_path / "x.csv"
    file.write_bytes(data)
    check_line(lambda: read_assignment(file, 2), file, tmp_path)


@FUZZED
@given(data=mangled([b'{"classes": 3, "notes": ["a"], "groups": {"b": 1.5}}']))
def test_json(tmp_path, data):
    file = tmp_path / "counts.json"
    file.write_bytes(data)
    check_line(lambda: read_object(file, classes=int, notes=list), file, tmp_path)


@FUZZED
@given(data=mangled([b"data:\n  root: data/raw/shop\n  columns: {id: id}\ntrain:\n  epochs: 3\n  tower_lr: 1e-4\n"]))
def test_params(tmp_path, data):
    file = tmp_path / "params.yaml"
    file.write_bytes(data)
    check_line(lambda: check_all(load_params(file), file), file, tmp_path)


@pytest.mark.parametrize("name", ["header.json", "ids.parquet", "matrix.npy"])
def test_stores(tmp_path, name):
    write_store(tmp_path, ["a", "b"], np.ones((2, 3), np.float32), ("enc", "pre"))
    sound = (tmp_path / name).read_bytes()

    @FUZZED
    @given(data=mangled([sound]))
    def check(data):
        (tmp_path / name).write_bytes(data)
        check_line(lambda: open_store(tmp_path).rows(["b"]), tmp_path / name, tmp_path)

    check()


def picture(kind):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@FUZZED
@given(data=mangled([picture(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "TGA")]))
def test_images(data):
    """A photo has no name here: whoever opens the file adds it."""
    with warnings.catch_warnings(action="ignore"):
        try:
            read_photo(data, 16, max_pixels=10**6)
        except BadPhotoError as error:
            assert "\n" not in str(error)
        else:
            store_photo(data, 16, 90)


def write_shard_folder(root):
    (root / "raw").mkdir()
    for number in range(3):
        (root / f"raw/{number}.png").write_bytes(picture("PNG"))
    media = pl.DataFrame({"product_id": ["a", "b", "c"], "media": [["0.png"], ["1.png"], ["2.png"]]})
    params = ShardsParams(size=16, quality=90, photos_per_shard=9, colour_profile="convert")
    (root / "shards").mkdir()
    write_shards(list_photos(media), root / "raw", params, root / "shards", 1)
    return root / "shards"


@pytest.mark.parametrize("name", ["manifest.parquet", "shard-00000.tar"])
def test_shards(tmp_path, name):
    folder = write_shard_folder(tmp_path)
    sound = (folder / name).read_bytes()

    def read():
        photos = PhotoViews(ShardReader(Manifest(folder)), 16)
        photos.load(np.arange(len(photos.reader)), [(0,)] * len(photos.reader))

    @FUZZED
    @given(data=mangled([sound]))
    def check(data):
        (folder / name).write_bytes(data)
        check_line(read, folder / name, folder)

    check()


@FUZZED
@given(data=mangled([save({"a": torch.ones(4, 3), "b": torch.zeros(2)}, {"format": "pt"})]))
def test_weights(tmp_path, data):
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    check_line(lambda: read_weights(file), file, tmp_path)


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
    shutil.copytree(tiny_text_folder, tmp_path / "text")
    file = tmp_path / "text" / name
    sound = file.read_bytes()

    @FUZZED
    @given(data=mangled([sound]))
    def check(data):
        file.write_bytes(data)
        check_line(lambda: TextTokenizer(file.parent).encode_batch(["red mug"], 8), file, tmp_path)

    check()
