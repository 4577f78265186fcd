"""Mangled input of every kind is read, or it is one line that names the file: never another error, never much memory.

What stages, models and towers have on disk is in test_fuzzed_artefacts; how to try more examples is in fuzzing.
"""

import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fuzzing import FUZZED, check_file, check_line
from hypothesis import given
from made_clips import Kind, numbered, write_clip
from mangled import mangled
from PIL import Image
from written_composed import write_circo, write_cirr, write_fashion_iq
from written_msr_vtt import msr_vtt_content, write_msr_vtt
from written_muge import write_muge

from pipeline_lib.clips.read import read_clip
from pipeline_lib.datasets.readers import read_records
from pipeline_lib.datasets.sample_submission import read_sample
from pipeline_lib.params.all_sections import check_all
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.serving.judgements import HEADER, read_judgements
from pipeline_lib.shards.photo import store_photo
from pipeline_lib.splitting.assignment import read_assignment
from pipeline_lib.transforms.decode import read_photo
from pipeline_lib.transforms.formats import BadPhotoError

PARAMS = Path(__file__).parents[2] / "params.yaml"
CSV = 'id,title,category,image,price\n1,red mug,mug,images/1.jpg,3.5\n2,"blue, hat",hat,images/2.jpg,\n3,商品,mug,,1\n'
KARPATHY = {
    "images": [
        {"filename": "a.jpg", "filepath": "val", "split": "train", "sentences": [{"raw": "a dog", "tokens": ["a"]}]},
        {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "b"}]},
    ]
}


def data_params(root, reader="csv_table", **changes):
    params = parse_section(DataParams, load_params(PARAMS))
    return params.model_copy(update={"root": str(root), "reader": reader, **changes})


def xlsx():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", "<worksheet><sheetData/></worksheet>")
        book.writestr("[Content_Types].xml", "<Types/>")
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
    check_line(lambda: read_records(data_params(tmp_path)), file, tmp_path)


def write_karpathy(root):
    (root / "dataset.json").write_text(json.dumps(KARPATHY), encoding="utf-8")


def write_lists(root):
    write_msr_vtt(root, clips=False)


def write_split(root):
    (root / "MSRVTT_data.json").write_text(json.dumps(msr_vtt_content()), encoding="utf-8")


def write_captions(root):
    (root / "captions.csv").write_text("image,caption\na.jpg,a dog\nb.jpg,b\n", encoding="utf-8")


# Reader and the file that is mangled -> what writes all files.
FORMS = {
    ("karpathy", "dataset.json"): write_karpathy,
    ("msr_vtt", "MSRVTT_data.json"): write_split,
    ("captions_csv", "captions.csv"): write_captions,
    ("cirr", "captions/cap.rc2.train.json"): write_cirr,
    ("cirr", "image_splits/split.rc2.val.json"): write_cirr,
    ("circo", "annotations/val.json"): write_circo,
    ("fashion_iq", "captions/cap.dress.train.json"): write_fashion_iq,
    ("fashion_iq", "image_splits/split.dress.val.json"): write_fashion_iq,
    ("muge", "train_queries.jsonl"): write_muge,
    ("muge", "train_imgs.tsv"): write_muge,
}


@pytest.mark.parametrize(("reader", "name"), FORMS)
def test_published_forms(tmp_path, reader, name):
    FORMS[reader, name](tmp_path)
    check_file(tmp_path / name, lambda: read_records(data_params(tmp_path, reader)), tmp_path)


@pytest.mark.parametrize(
    ("name", "setting"), [("MSRVTT_train.9k.csv", "train_table"), ("MSRVTT_JSFUSION_test.csv", "test_table")]
)
def test_lists_of_papers(tmp_path, name, setting):
    write_lists(tmp_path)
    data = data_params(tmp_path, "msr_vtt", **{setting: name})
    check_file(tmp_path / name, lambda: read_records(data), tmp_path)


QUERIES = (
    "query_id,reference_id,text,target_id,grade,subset,split\n"
    "a,1,in red,2,2,2 3 4,train\na,1,in red,3,1,2 3 4,train\nb,2,\"larger, blue\",4,,,val\nc,3,红,,,,test\n"
)  # fmt: skip


def test_composed_queries_of_a_table(tmp_path):
    rows = "".join(f"{number},thing {number}\n" for number in range(1, 5))
    (tmp_path / "products.csv").write_text(f"id,title\n{rows}", encoding="utf-8")
    (tmp_path / "queries.csv").write_text(QUERIES, encoding="utf-8")
    data = data_params(tmp_path, table="products.csv", queries="queries.csv")
    check_file(tmp_path / "queries.csv", lambda: read_records(data), tmp_path)


def test_a_sample_submission(tmp_path):
    (tmp_path / "sample.csv").write_text("id,label\n1,mug\n2,\n3,mug\n", encoding="utf-8")
    data = data_params(tmp_path, sample_submission="sample.csv")
    check_file(tmp_path / "sample.csv", lambda: read_sample(data), tmp_path)


def test_judgements(tmp_path):
    lines = [",".join(HEADER), "red mug,p1,1,m,2025-01-01T00:00:00+00:00", '"a, b",p2,,m,x', "红,p3,0,m,x"]
    (tmp_path / "judgements.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    check_file(tmp_path / "judgements.csv", lambda: read_judgements(tmp_path / "judgements.csv"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_assignments(tmp_path, suffix):
    rows = pl.DataFrame({"product_id": ["a", "b"], "split": ["train", "test"], "fold": [0, None]})
    file = tmp_path / f"x{suffix}"
    rows.write_csv(file) if suffix == ".csv" else rows.write_parquet(file)
    check_file(file, lambda: read_assignment(file, 2))


@FUZZED
@given(data=mangled([b"data:\n  root: data/raw/shop\n  columns: {id: id}\ntrain:\n  epochs: 3\n  tower_lr: 1e-4\n"]))
def test_params(tmp_path, data):
    file = tmp_path / "params.yaml"
    file.write_bytes(data)
    check_line(lambda: check_all(load_params(file), file), file, tmp_path)


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


# Ending of a clip -> how it is made; a WebP is made by Pillow.
CLIPS = {
    "mp4": Kind("", "libx264", count=6),
    "webm": Kind("", "libvpx-vp9", size=(48, 64), options={"deadline": "realtime"}, count=6),
    "gif": Kind("", "gif", pixels="rgb8", count=6),
    "webp": None,
}


@pytest.mark.parametrize("ending", CLIPS)
def test_clips(tmp_path, ending):
    """A clip has no name in its reason either. Each needs a decoder, so these are a fifth of the examples."""
    file, params = tmp_path / f"a.{ending}", FramesParams(count=3, sampling="uniform", fps=1.0)
    if kind := CLIPS[ending]:
        write_clip(file, kind)
    else:
        first, *others = [Image.fromarray(numbered(number, 64, 48)) for number in range(4)]
        first.save(file, save_all=True, append_images=others, duration=100)

    def read():
        try:
            assert read_clip(file, params, 10**6, lambda picture: picture.pixels).taken
        except BadPhotoError as error:
            assert "\n" not in str(error)

    check_file(file, read, share=0.2)
