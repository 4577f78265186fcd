"""COCO and Flickr30k with Karpathy splits."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import json

import pytest
from written_karpathy import write_karpathy
from written_tables import reader_params

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.datasets.karpathy import read_karpathy


@pytest.mark.parametrize("filepath", ["val2014", ""])
def test_six_images_with_five_captions_each(tmp_path, reader_params, filepath):
    write_karpathy(tmp_path, filepath)
    records = read_karpathy(reader_params())
    assert records.num_rows == 6 and records.rejects.is_empty()
    assert records.products["split"].to_list() == ["train", "train", "val", "val", "test", "test"]
    assert records.products["text"][2] == "Caption 0 of 2."
    folder = f"images/{filepath}/" if filepath else "images/"
    assert records.products["media"][0].to_list() == [f"{folder}COCO_val2014_000000.jpg"]
    assert len(records.queries) == len(records.relevance) == 30
    assert records.queries.select("query_id", "text", "split").row(11) == (
        f"{filepath}/COCO_val2014_000002.jpg#1".lstrip("/"),
        "Caption 1 of 2.",
        "val",
    )
    assert records.relevance.row(11)[1] == f"{filepath}/COCO_val2014_000002.jpg".lstrip("/")
    catalogue = build_catalogue(records, reader_params(), 1)
    assert catalogue.rejects.is_empty() and len(catalogue.products) == 6


def test_images_are_found_in_the_root_or_without_the_folder_of_their_name(tmp_path, reader_params):
    write_karpathy(tmp_path)
    (tmp_path / "images/val2014").rename(tmp_path / "val2014")
    assert read_karpathy(reader_params()).products["media"][0][0] == "val2014/COCO_val2014_000000.jpg"
    (tmp_path / "images").rmdir()
    (tmp_path / "val2014").rename(tmp_path / "images")
    assert read_karpathy(reader_params()).products["media"][0][0] == "images/COCO_val2014_000000.jpg"


def test_a_caption_without_raw_is_joined_from_its_tokens(tmp_path, reader_params):
    write_karpathy(tmp_path, sentences=[{"tokens": ["a", "red", "mug"]}])
    assert read_karpathy(reader_params()).products["text"][1] == "a red mug"


def test_missing_images_unsafe_names_and_empty_captions_are_counted(tmp_path, reader_params):
    write_karpathy(tmp_path, filename="..", sentences=[{"raw": "lost"}])
    (tmp_path / "images/val2014/COCO_val2014_000003.jpg").unlink()
    content = json.loads((tmp_path / "dataset_coco.json").read_text())
    content["images"][0]["sentences"][2]["raw"] = " \n"
    content["images"].append(content["images"][5])
    (tmp_path / "dataset_coco.json").write_text(json.dumps(content))
    data = reader_params(max_reject_fraction=0.6)
    catalogue = build_catalogue(read_karpathy(data), data, 1)
    rejects = catalogue.rejects.select("row", "reason", "action").rows()
    assert sorted(rejects, key=str) == sorted(
        [
            (1, "empty caption", "query dropped"),
            (2, "unsafe id", "rejected"),
            (4, "missing image", "rejected"),
            (7, "duplicate id", "rejected"),
            *[(None, "its product was rejected", "query dropped")] * 5,
        ],
        key=str,
    )
    assert catalogue.products["product_id"].str.slice(-5, 1).to_list() == ["0", "2", "4", "5"]
    assert catalogue.queries["query_id"].to_list()[:4] == [f"val2014/COCO_val2014_000000.jpg#{k}" for k in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "tset"}, r"image 2 \(COCO_val2014_000001\.jpg\): split = 'tset'; known: train, .*, restval"),
        ({"split": ["test"]}, r"image 2 \(COCO.*\): split = \['test'\]; known"),
        ({"sentences": "a red mug"}, r"image 2 \(COCO.*\): sentences = 'a red mug'; write a list"),
        ({"sentences": [{"tokens": None}]}, r"image 2 \(COCO.*\): sentence {'tokens': None} has no `raw` text"),
        ({"sentences": [{"tokens": ["a", 7]}]}, r"image 2 \(COCO.*\): sentence {'tokens': \['a', 7\]} has no `raw`"),
        ({"filename": "a\ud83d.jpg"}, r"image 2: .*a\\ud83d\.jpg.* has no filename in UTF-8"),
        ({"filename": 7}, "image 2: .* has no filename in UTF-8"),
        ({"sentences": ["a"]}, r"image 2 \(COCO.*\): sentence 'a' has no `raw` text"),
    ],
)
def test_an_image_of_another_format_is_one_line(tmp_path, reader_params, changes, message):
    write_karpathy(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        read_karpathy(reader_params())
    assert str(caught.value).startswith(str(tmp_path / "dataset_coco.json")) and "\n" not in str(caught.value)


def test_a_file_of_another_format_raises_with_what_to_do(tmp_path, reader_params):
    with pytest.raises(ValueError, match=r"no \.json file there; add one, or name the table in data\.table"):
        read_karpathy(reader_params())
    path = tmp_path / "a.json"
    for content, message in (
        (b'{"images": [{"filename"', "not JSON at character 23"),
        (b'{"images": []}', "no list of `images`"),
        (b"[1]", "no list of `images`"),
        (b'{"a": "\xff"}', "line 1: byte 0xff"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_karpathy(reader_params())
    write_karpathy(tmp_path)
    with pytest.raises(ValueError, match=r"several JSON files: a\.json, dataset_coco\.json; name one in data\.table"):
        read_karpathy(reader_params())
    assert read_karpathy(reader_params(table="dataset_coco.json")).num_rows == 6


@pytest.mark.parametrize("absent", [{"sentences": None}, {"sentences": []}])
def test_an_image_without_sentences_has_no_captions(tmp_path, reader_params, absent):
    write_karpathy(tmp_path, **absent)
    records = read_karpathy(reader_params())
    assert len(records.products) == 6 and records.products["text"][1] == "" and len(records.queries) == 25


def test_half_a_character_is_dropped_and_noted(tmp_path, reader_params):
    write_karpathy(tmp_path, sentences=[{"raw": "a mug \ud83d"}, {"raw": None, "tokens": ["a", "cup"]}])
    records = read_karpathy(reader_params())
    assert records.queries["text"].to_list()[5:7] == ["a mug", "a cup"]
    assert records.rejects.select("row", "product_id", "reason", "action").rows() == [
        (2, "val2014/COCO_val2014_000001.jpg", "half a character dropped", "kept")
    ]


def test_a_file_with_test_images_only_is_one_line(tmp_path, reader_params):
    write_karpathy(tmp_path)
    path = tmp_path / "dataset_coco.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["split"] = "test"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"dataset_coco\.json: all 6 products are in test, and nothing is left"):
        build_catalogue(read_karpathy(reader_params()), reader_params(), 1)
