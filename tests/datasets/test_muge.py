"""MUGE in its published format and in that of Chinese-CLIP."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import json

import polars as pl
import pytest
from written_muge import QUERIES as WRITTEN_QUERIES
from written_muge import write_muge
from written_tables import reader_params

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.schema import QUERIES, RECORDS, RELEVANCE, RETAINED
from pipeline_lib.datasets.muge import read_muge
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.splitting.folds import split_products


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("file_format", ["queries", "texts"])
def test_six_images_per_split_in_either_format(tmp_path, reader_params, file_format):
    write_muge(tmp_path, file_format)
    records = read_muge(reader_params())
    assert records.products.schema == RECORDS
    assert (records.queries.schema, records.relevance.schema) == (QUERIES, RELEVANCE)
    assert records.num_rows == len(records.products) == 18 and records.wording.unit == "photos"
    assert records.products["product_id"][:7].to_list() == [*(f"train-{n}" for n in range(11, 17)), "valid-21"]
    assert records.products["split"].to_list() == ["train"] * 6 + ["val"] * 6 + ["test"] * 6
    # A product's text is its first text; an image without a query has none.
    first = ["红色 杯子", "红色 杯子", "蓝 帽", "帽子", "帽子", ""]
    assert records.products["text"][:6].to_list() == first
    queries = [(f"{split}-{key}", text) for split in WRITTEN_QUERIES for key, text, _ in WRITTEN_QUERIES[split]]
    assert records.queries.select("query_id", "text").rows() == queries
    pairs = {
        (f"{split}-{q}", f"{split}-{p}")
        for split in WRITTEN_QUERIES
        for q, _, ids in WRITTEN_QUERIES[split]
        for p in ids
    }
    assert len(records.relevance) == len(pairs)
    assert set(records.relevance.select("query_id", "product_id").rows()) == pairs
    assert records.rejects.is_empty()


def test_the_shards_contain_the_photos_byte_for_byte(tmp_path, reader_params):
    """From the tsv file through catalogue and shards, the stored bytes are those of the encoded JPEG."""
    photos = write_muge(tmp_path / "raw")
    data = reader_params(root=str(tmp_path / "raw"))
    catalogue = build_catalogue(read_muge(data), data, 1)
    # A training product without a text is reported; evaluated products need none.
    assert catalogue.rejects.select("product_id", "reason", "action").rows() == [("train-16", "empty text", RETAINED)]
    out = tmp_path / "shards"
    out.mkdir()
    params = ShardsParams(size=64, quality=90, photos_per_shard=5, colour_profile="convert")
    meta = write_shards(list_photos(catalogue.media), tmp_path / "raw", params, out, 1)
    assert (meta["photos"], meta["passed_through"]) == (18, 18)
    manifest = Manifest(out)
    reader = ShardReader(manifest)
    stored = {product: reader.read(manifest.photos_of(product)[0]) for product in photos}
    assert stored == photos


def test_valid_is_the_only_fold_and_test_queries_without_answers_remain(tmp_path, reader_params):
    write_muge(tmp_path)
    catalogue = build_catalogue(read_muge(reader_params()), reader_params(), 1)
    folds, _ = split_products(catalogue.products, 3, 0.2, 7)
    places = folds.group_by("split", "fold").len().sort("split", "fold", nulls_last=True).rows()
    assert places == [("test", None, 6), ("train", 0, 6), ("train", None, 6)]
    unanswered = catalogue.queries.join(catalogue.relevance, on="query_id", how="anti")
    assert unanswered.select("query_id", "split").rows() == [("test-8", "test"), ("test-9", "test")]


def test_a_missing_and_a_broken_image_are_counted_and_removed_from_the_relevance(tmp_path, reader_params):
    write_muge(tmp_path)
    edit(tmp_path / "train_queries.jsonl", "[11, 12]", "[11, 12, 16, 99]")
    edit(tmp_path / "valid_queries.jsonl", "[21]", "[98]")
    tsv = tmp_path / "valid_imgs.tsv"
    lines = tsv.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:200] + b"*\n"
    tsv.write_bytes(b"".join(lines))
    data = reader_params(max_reject_fraction=0.5)
    catalogue = build_catalogue(read_muge(data), data, 1)
    rejects = catalogue.rejects.select("row", "product_id", "reason", "value", "action").rows()
    assert rejects[0] == (1, "train-99", "missing image", "train-99", "rejected")
    assert rejects[1] == (1, "valid-98", "missing image", "valid-98", "rejected")
    assert rejects[2][:3] == (3, "valid-23", "not base64")
    # The first valid query has lost its only relevant image; the other queries remain.
    assert rejects[3:] == [(None, None, "its product was rejected", "valid-5", "query dropped")]
    assert catalogue.rejects["file"][0] == "train_queries.jsonl"
    assert catalogue.rejects["file"][2].startswith("valid_imgs.tsv#")
    remaining = catalogue.relevance.filter(pl.col("query_id").is_in(["train-1", "valid-6"]))
    expected = [("train-1", f"train-{n}") for n in (11, 12, 16)]
    assert remaining.select("query_id", "product_id").rows() == [*expected, ("valid-6", "valid-22")]


def test_with_black_a_product_with_a_missing_image_remains(tmp_path, reader_params):
    write_muge(tmp_path)
    edit(tmp_path / "train_queries.jsonl", "[11, 12]", "[11, 12, 16, 99]")
    data = reader_params(missing_image="black")
    catalogue = build_catalogue(read_muge(data), data, 1)
    black = catalogue.products.filter(pl.col("product_id") == "train-99")
    assert black.select("media", "text", "split").row(0) == ([], "红色 杯子", "train")
    assert catalogue.rejects.select("product_id", "action").rows() == [("train-99", RETAINED)]


def test_repeated_ids_and_empty_texts_are_counted(tmp_path, reader_params):
    write_muge(tmp_path)
    edit(tmp_path / "train_queries.jsonl", '"query_id": 2', '"query_id": 1')
    edit(tmp_path / "train_queries.jsonl", "蓝 帽", " ")
    tsv = tmp_path / "train_imgs.tsv"
    tsv.write_bytes(tsv.read_bytes() + tsv.read_bytes().splitlines(keepends=True)[0])
    records = read_muge(reader_params())
    assert records.num_rows == len(records.products) + 1
    assert records.rejects.select("row", "file", "reason", "value", "action").rows() == [
        (7, "train_imgs.tsv", "duplicate id", "train-11", "rejected"),
        (2, "train_queries.jsonl", "duplicate query", "train-1", "query dropped"),
        (3, "train_queries.jsonl", "empty query", "train-3", "query dropped"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"query_id": 2', '"query_id": "2"', r"train_queries\.jsonl: row 2: query_id = '2'; write a whole number"),
        ('"query_id": 2', '"query": 2', r"row 2: no 'query_id' among 'query', 'query_text', 'item_ids'"),
        ("[11, 12]", "[11, true]", r"row 1: item_ids = \[11, True\]; write a list of whole numbers"),
        ('"陶瓷杯"', "7", "row 2: query_text = 7; write a text"),
        ('"item_ids": [13]}', '"item_ids": [13', r"row 3: not JSON at character \d+ .*download the file again"),
    ],
)
def test_a_line_of_another_format_is_one_line(tmp_path, reader_params, old, new, message):
    write_muge(tmp_path)
    edit(tmp_path / "train_queries.jsonl", old, new)
    with pytest.raises(ValueError, match=message) as caught:
        read_muge(reader_params())
    assert "\n" not in str(caught.value)


def test_files_that_do_not_belong_together_are_named(tmp_path, reader_params):
    with pytest.raises(ValueError, match=r"no train_queries\.jsonl or train_texts\.jsonl there"):
        read_muge(reader_params())
    write_muge(tmp_path)
    (tmp_path / "valid_imgs.tsv").unlink()
    with pytest.raises(
        ValueError, match=r"valid_queries\.jsonl: its images, valid_imgs\.tsv, are not in the same folder"
    ):
        read_muge(reader_params())
    write_muge(tmp_path, "texts")
    with pytest.raises(ValueError, match=r"both train_queries\.jsonl and train_texts\.jsonl; keep one format"):
        read_muge(reader_params())
    with pytest.raises(ValueError, match="no such folder"):
        read_muge(reader_params(root=str(tmp_path / "none")))


def test_null_or_absent_answers_mean_none(tmp_path, reader_params):
    write_muge(tmp_path)
    line = json.dumps({"query_id": 8, "query_text": "a", "item_ids": None})
    (tmp_path / "test_queries.jsonl").write_text(line + "\n\n", encoding="utf-8")
    records = read_muge(reader_params())
    assert records.queries.filter(pl.col("split") == "test")["query_id"].to_list() == ["test-8"]
    assert not records.relevance["query_id"].str.starts_with("test").any()


def test_half_a_character_is_dropped_and_noted(tmp_path, reader_params):
    write_muge(tmp_path)
    edit(tmp_path / "train_queries.jsonl", "陶瓷杯", "陶瓷杯\\ud83d")
    edit(tmp_path / "train_queries.jsonl", "蓝 帽", "\\udc00")
    records = read_muge(reader_params())
    assert records.queries["text"].to_list()[1] == "陶瓷杯"
    assert records.rejects.select("row", "file", "reason", "action").rows() == [
        (3, "train_queries.jsonl", "empty query", "query dropped"),
        (2, "train_queries.jsonl", "half a character dropped", "kept"),
        (3, "train_queries.jsonl", "half a character dropped", "kept"),
    ]


def test_ids_of_any_number_of_digits_are_read(tmp_path, reader_params):
    write_muge(tmp_path)
    edit(tmp_path / "train_queries.jsonl", '"query_id": 1', f'"query_id": {2**64 - 1}')
    edit(tmp_path / "train_queries.jsonl", "[13]", "[12345678901234567890]")
    edit(tmp_path / "train_imgs.tsv", "13\t", "12345678901234567890\t")
    records = read_muge(reader_params())
    assert f"train-{2**64 - 1}" in records.queries["query_id"]
    assert ("train-3", "train-12345678901234567890", 1) in records.relevance.rows()
