"""Cleaning: every photo or product that cannot be used is a reject row with its reason."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
from dataclasses import replace

import polars as pl
import pytest
from drawn_records import data_params, photo, records

from pipeline_lib.catalogue.cleaning import TooManyRejectedError, clean
from pipeline_lib.catalogue.schema import HEADER_AGAIN, REJECTED, REJECTS, RETAINED
from pipeline_lib.catalogue.thumbnails import BYTES


def reject_rows(cleaned):
    return cleaned.rejects.select("row", "product_id", "file", "reason", "action").rows()


def test_a_bad_photo_is_dropped_and_a_product_without_any_is_rejected(data_params, records, photo, tmp_path):
    photo("good.jpg", seed=1)
    photo("other.png", seed=2)
    (tmp_path / "text.jpg").write_text("no image")
    rows = [
        {"product_id": "both", "media": ["text.jpg", "good.jpg", "../x.jpg", "other.png"]},
        {"product_id": "none", "media": []},
        {"product_id": "lost", "media": ["text.jpg", "gone.jpg"]},
        {"product_id": "fine", "media": ["other.png"]},
    ]
    cleaned = clean(records(rows), data_params(), 1)
    assert cleaned.products.select("product_id", "media").rows() == [
        ("both", ["good.jpg", "other.png"]),
        ("fine", ["other.png"]),
    ]
    assert reject_rows(cleaned) == [
        (2, "both", "../x.jpg", "unsafe path", "photo dropped"),
        (2, "both", "text.jpg", "not an image", "photo dropped"),
        (3, "none", "t.csv", "missing image", "rejected"),
        (4, "lost", "gone.jpg", "missing image", "photo dropped"),
        (4, "lost", "text.jpg", "not an image", "rejected"),
    ]
    assert cleaned.photo_product.tolist() == [0, 0, 1]
    assert cleaned.thumbnails.shape == (3, BYTES)
    assert (cleaned.thumbnails[1] == cleaned.thumbnails[2]).all() and (
        cleaned.thumbnails[0] != cleaned.thumbnails[1]
    ).any()


def test_with_black_a_product_without_a_photo_remains_and_is_reported(data_params, records, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    rows = [{"product_id": "none", "media": []}, {"product_id": "bad", "media": ["text.jpg", "gone.jpg"]}]
    cleaned = clean(records(rows), data_params(missing_image="black"), 1)
    assert cleaned.products.select("product_id", "media").rows() == [("none", []), ("bad", [])]
    assert [(row[1], row[3], row[4]) for row in reject_rows(cleaned)] == [
        ("none", "missing image", RETAINED),
        ("bad", "missing image", "photo dropped"),
        ("bad", "not an image", RETAINED),
    ]
    assert cleaned.thumbnails.shape == (0, BYTES)


def test_the_number_of_workers_and_the_task_size_change_nothing(data_params, records, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline_lib.catalogue.cleaning.PHOTOS_PER_TASK", 3)
    rows = []
    for number in range(8):
        photo(f"{number}.jpg", seed=number)
        rows.append({"product_id": f"p{number}", "media": [f"{number}.jpg", "gone.jpg"]})
    one, two = (clean(records(rows), data_params(), workers) for workers in (1, 2))
    assert one.products.equals(two.products) and one.rejects.equals(two.rejects)
    assert (one.thumbnails == two.thumbnails).all() and len(one.rejects) == 8


def test_too_many_rejects_raise_with_the_three_most_frequent_reasons(data_params, records, photo, tmp_path):
    photo("good.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    media = [["good.jpg"]] * 4 + [["gone.jpg"]] * 3 + [["text.jpg"]] * 2 + [["empty.jpg"]] * 2 + [["/x.jpg"]]
    rows = [{"product_id": f"p{number}", "media": each} for number, each in enumerate(media)]
    with pytest.raises(TooManyRejectedError) as caught:
        clean(records(rows), data_params(max_reject_fraction=0.66), 1)
    assert str(caught.value) == (
        "t.csv: 8 of 12 rows rejected, more than data.max_reject_fraction = 0.66 allows: missing image (3), "
        "not an image (2), empty file (2); first at row 6 (product p4): missing image, gone.jpg: no such file. Correct "
        "the table, its images or data.columns and data.image_folder, or raise the limit"
    )
    assert caught.value.rejects.filter(action=REJECTED)["row"].to_list() == [*range(6, 14)]
    assert len(clean(records(rows), data_params(max_reject_fraction=0.67), 1).products) == 4


def test_a_catalogue_without_products_is_an_error_at_any_limit(data_params, records):
    rows = [{"product_id": "a", "media": []}]
    with pytest.raises(ValueError, match=r"1 of 1 rows rejected, no product is left: missing image \(1\)"):
        clean(records(rows), data_params(max_reject_fraction=1.0), 1)


def test_empty_texts_are_reported_and_labels_only_in_test_are_cleared(data_params, records, photo):
    photo("a.jpg")
    parts = [("train", "x"), ("val", "y"), ("test", "x"), ("test", "y"), ("test", "new"), ("test", None)]
    rows = [
        {
            "product_id": f"p{number}",
            "media": ["a.jpg"],
            "split": split,
            "label": label,
            "text": "" if number == 1 else "t",
        }
        for number, (split, label) in enumerate(parts)
    ]
    cleaned = clean(records(rows), data_params(), 1)
    assert cleaned.products["label"].to_list() == ["x", "y", "x", "y", None, None]
    assert reject_rows(cleaned) == [
        (3, "p1", "t.csv", "empty text", RETAINED),
        (6, "p4", "t.csv", "label only in test", "label cleared"),
    ]
    assert cleaned.rejects.filter(pl.col("reason") == "label only in test")["value"].to_list() == ["new"]
    assert not (cleaned.rejects["action"] == REJECTED).any()


def test_a_label_whose_only_training_product_is_rejected_is_cleared(data_params, records, photo):
    photo("a.jpg")
    rows = [
        {"product_id": "a", "media": ["gone.jpg"], "split": "train", "label": "x"},
        {"product_id": "b", "media": ["a.jpg"], "split": "train", "label": "y"},
        {"product_id": "c", "media": ["a.jpg"], "split": "test", "label": "x"},
    ]
    assert clean(records(rows), data_params(), 1).products["label"].to_list() == ["y", None]


def test_a_repeated_header_is_rejected_but_is_no_lost_product(data_params, records, photo):
    photo("a.jpg")
    read = records([{"product_id": "a", "media": ["a.jpg"]}], num_rows=2)
    header = pl.DataFrame([(3, None, "t.csv", HEADER_AGAIN, "line 3: id", REJECTED)], schema=REJECTS, orient="row")
    cleaned = clean(replace(read, rejects=header), data_params(max_reject_fraction=0.0), 1)
    assert len(cleaned.products) == 1 and cleaned.rejects["reason"].to_list() == ["header row again"]


@pytest.mark.parametrize(
    ("splits", "folds", "message"),
    [
        (["test", "test"], [None, None], r"t.csv: all 2 products are in test, and nothing is left to train on; add"),
        (["val", "test"], [None, None], "all 2 products are in test and val"),
        (["val", "test"], [0, None], None),
        (["train", "test"], [None, None], None),
        ([None, None], [None, None], None),
    ],
)
def test_a_catalogue_without_training_products_is_refused(data_params, records, photo, splits, folds, message):
    photo("a.jpg")
    parts = enumerate(zip(splits, folds, strict=True))
    rows = [{"product_id": f"{n}", "media": ["a.jpg"], "split": split, "fold": fold} for n, (split, fold) in parts]
    if message is None:
        assert len(clean(records(rows), data_params(), 1).products) == 2
        return
    with pytest.raises(ValueError, match=message):
        clean(records(rows), data_params(), 1)
