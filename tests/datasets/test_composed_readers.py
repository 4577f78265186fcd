"""CIRR, FashionIQ and CIRCO in their published forms, and what a query may get wrong."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import json

import polars as pl
import pytest
from written_composed import write_circo, write_cirr, write_fashion_iq
from written_tables import REPO, reader_params

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.cleaning import TooManyRejectedError
from pipeline_lib.catalogue.schema import QUERIES, QUERY_DROPPED, RECORDS, RELEVANCE
from pipeline_lib.catalogue.tables import count
from pipeline_lib.datasets.readers import read_records
from pipeline_lib.evaluation.composed_ranks import plan_composed_galleries
from pipeline_lib.params.requirements import check_catalogue
from pipeline_lib.params.section import load_params
from pipeline_lib.splitting.composed_places import composed_places
from pipeline_lib.splitting.folds import split_products


def edit(path, change):
    """Change the value of a JSON file in place."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def cirr(tmp_path, reader_params):
    write_cirr(tmp_path)
    return reader_params(reader="cirr", image_folder="img_raw", max_reject_fraction=0.5)


@pytest.fixture
def circo(tmp_path, reader_params):
    write_circo(tmp_path, train=True)
    return reader_params(reader="circo", max_reject_fraction=0.5)


def dropped(records):
    return records.rejects.filter(pl.col("action") == QUERY_DROPPED).select("row", "reason", "value").rows()


def test_cirr_has_hard_and_soft_targets_and_subsets(cirr):
    records = read_records(cirr)
    composed = records.composed
    assert records.products.schema == RECORDS and (records.num_rows, records.wording.unit) == (18, "photos")
    assert (composed.queries.schema, composed.relevance.schema) == (QUERIES, RELEVANCE)
    assert records.products["split"].to_list() == ["train"] * 6 + ["val"] * 6 + ["test"] * 6
    assert records.products["media"][0].to_list() == ["img_raw/train/34/train-0-0-img0.png"]
    assert composed.queries["query_id"].to_list() == ["train-1", "train-2", "val-11", "val-12", "test1-21", "test1-22"]
    first = composed.queries.row(0, named=True)
    names = [f"train-{number}-0-img0" for number in range(6)]
    assert (first["kind"], first["text"], first["reference_product_id"]) == ("composed", "make it 1", names[0])
    assert (first["subset"], first["split"]) == (names, "train")
    # target_hard 2, target_soft above 0 is 1, and -1 is no answer.
    grades = {row[:2]: row[2] for row in composed.relevance.rows()}
    assert grades == {
        ("train-1", "train-1-0-img0"): 2,
        ("train-1", "train-2-0-img0"): 1,
        ("train-2", "train-3-0-img0"): 2,
        ("val-11", "val-1-0-img0"): 2,
        ("val-11", "val-4-0-img0"): 1,
        ("val-12", "val-5-0-img0"): 2,
    }
    assert records.rejects.is_empty() and composed.num_dropped == 0


def test_every_fault_of_a_cirr_query_is_one_row_with_its_number(cirr, tmp_path):
    def spoil(entries):
        good = entries[0]
        members = good["img_set"]["members"]
        faults = [
            {"caption": " \u200b"},
            {"reference": None},
            {"reference": "val-77"},
            {"target_hard": good["reference"]},
            {"target_hard": "val-88"},
            {"img_set": {"members": members[:5]}},
            {"img_set": {"members": [*members[:5], members[0]]}},
            {"img_set": {"members": [*members[:1], *members[2:], "val-99"]}},
            {"target_hard": None},
            {"pairid": None},
        ]
        entries += [good | {"pairid": 50 + number} | fault for number, fault in enumerate(faults)]
        entries.append(good)

    edit(tmp_path / "captions/cap.rc2.val.json", spoil)
    records = read_records(cirr)
    assert dropped(records) == [
        (3, "empty caption", "val-50"),
        (4, "missing reference", "val-51"),
        (5, "reference is no listed product", "val-52: val-77"),
        (6, "target equal to its reference", "val-53: val-0-0-img0"),
        (7, "target is no listed product", "val-54: val-88"),
        (8, "subset of a wrong size", "val-55: 5 different products, not 6"),
        (9, "subset of a wrong size", "val-56: 5 different products, not 6"),
        (10, "subset names no listed product", "val-57: val-99"),
        (11, "no target", "val-58"),
        (12, "empty query id", "make it 11"),
        (13, "query id twice", "val-11"),
    ]
    assert set(records.rejects["file"]) == {"cap.rc2.val.json"}
    assert records.composed.num_dropped == 11 and len(records.composed.queries) == 6
    counts = count(build_catalogue(records, cirr, 1))
    assert counts["composed"] == {"queries": 6, "dropped": 11, "missing_candidates": 0}


def test_missing_pictures_are_counted_and_soft_answers_do_not_become_targets(cirr, tmp_path):
    for name in ("val-1-0-img0", "val-2-0-img0"):  # the target of val-11 and reference of val-12; a candidate of both
        (tmp_path / f"img_raw/dev/{name}.png").unlink()
    catalogue = build_catalogue(read_records(cirr), cirr, 1)
    rows = catalogue.rejects.select("product_id", "reason", "value", "action").rows()
    assert rows == [
        ("val-1-0-img0", "missing image", "no such file", "rejected"),
        ("val-2-0-img0", "missing image", "no such file", "rejected"),
        ("val-0-0-img0", "its targets were rejected", "val-11", QUERY_DROPPED),
        ("val-1-0-img0", "its reference was rejected", "val-12", QUERY_DROPPED),
    ]
    assert count(catalogue)["composed"] == {"queries": 4, "dropped": 2, "missing_candidates": 2}
    assert set(catalogue.relevance["query_id"]) == {"train-1", "train-2"}


def test_counts_name_text_queries_and_composed_ones_apart(cirr):
    """A loss that compares images with texts is refused by the number of text queries, of which CIRR has none."""
    counts = count(build_catalogue(read_records(cirr), cirr, 1))
    assert (counts["queries"], counts["composed"]["queries"]) == (0, 6)
    params = load_params(REPO / "params.yaml")
    params["plan"]["folds"] = [0]
    with pytest.raises(ValueError, match="the catalogue has no text"):
        check_catalogue(params, counts | {"classes": 9}, REPO / "params.yaml")


def test_a_missing_subset_member_makes_the_subset_smaller(cirr, tmp_path):
    (tmp_path / "img_raw/dev/val-3-0-img0.png").unlink()
    catalogue = build_catalogue(read_records(cirr), cirr, 1)
    sizes = dict(catalogue.queries.select("query_id", pl.col("subset").list.len()).iter_rows())
    assert (sizes["val-11"], sizes["train-1"]) == (5, 6)
    assert count(catalogue)["composed"]["missing_candidates"] == 1


def test_without_any_usable_query_the_run_stops_with_the_first_reason(cirr, tmp_path):
    for split in ("train", "val", "test1"):
        edit(tmp_path / f"captions/cap.rc2.{split}.json", lambda entries: [one.update(caption="") for one in entries])
    with pytest.raises(TooManyRejectedError, match=r"none of 6 composed queries can be used; the first: empty caption"):
        build_catalogue(read_records(cirr), cirr, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e[1].update(caption=7.5), r"cap\.rc2\.val\.json: row 2: caption = 7\.5; write a text"),
        (lambda e: e[0].update(target_soft=[1]), r"row 1: target_soft = \[1\]; write an object of names and numbers"),
        (lambda e: e[0].pop("img_set"), r"row 1: img_set = \{\} has no list of names as `members`"),
        (lambda e: e.__setitem__(0, "text"), r"row 1: a text, not an object"),
        (list.clear, r"the list is empty; download the file again"),
    ],
)
def test_what_a_file_gets_wrong_stops_the_run_with_one_line(cirr, tmp_path, change, message):
    edit(tmp_path / "captions/cap.rc2.val.json", change)
    with pytest.raises(ValueError, match=message):
        read_records(cirr)


def test_a_missing_or_cut_file_is_named(cirr, tmp_path):
    pictures = tmp_path / "image_splits/split.rc2.val.json"
    pictures.write_text(pictures.read_text()[:40])
    with pytest.raises(ValueError, match=r"split\.rc2\.val\.json: not JSON at character .* it may be truncated"):
        read_records(cirr)
    pictures.unlink()
    with pytest.raises(ValueError, match=r"cap\.rc2\.val\.json: no split\.rc2\.val\.json in .*; it lists the pictures"):
        read_records(cirr)


def test_a_picture_that_is_listed_twice_is_named(cirr, tmp_path):
    """A parser keeps the last path only: the first would be lost uncounted."""
    pictures = tmp_path / "image_splits/split.rc2.val.json"
    pictures.write_text(pictures.read_text().replace("{", '{"val-0-0-img0": "./dev/other.png", ', 1))
    with pytest.raises(ValueError, match=r"split\.rc2\.val\.json: the key 'val-0-0-img0' is there twice"):
        read_records(cirr)


def test_fashion_iq_has_categories_as_labels_and_four_texts_a_pair_in_training(tmp_path, reader_params):
    write_fashion_iq(tmp_path)
    records = read_records(reader_params(reader="fashion_iq"))
    assert records.num_rows == len(records.products) == 18
    assert records.products.select("product_id", "label", "split").row(0) == ("dress-Bdtrain0", "dress", "train")
    queries = records.composed.queries
    texts = dict(queries.select("query_id", "text").iter_rows())
    pair = {name: text for name, text in texts.items() if name.startswith("train-dress-1")}
    assert pair == {
        "train-dress-1": "is red and has a longer sleeve",
        "train-dress-1#1": "has a longer sleeve and is red",
        "train-dress-1#2": "is red",
        "train-dress-1#3": "has a longer sleeve",
    }
    assert texts["val-shirt-1"] == "is red and has a longer sleeve" and texts["val-shirt-2"] == "is more formal"
    assert set(queries["subset"].list.len()) == {0}
    answers = dict(records.composed.relevance.select("query_id", "product_id").iter_rows())
    assert answers["val-shirt-2"] == "shirt-Bsval2" and "test-dress-1" not in answers
    assert set(records.composed.relevance["grade"]) == {1}
    catalogue = build_catalogue(records, reader_params(reader="fashion_iq"), 1)
    assert count(catalogue)["composed"] == {"queries": 18, "dropped": 0, "missing_candidates": 0}
    # Photos that are found by composed queries alone need no text.
    assert catalogue.rejects.is_empty()


def test_fashion_iq_with_a_photo_missing_and_both_captions_empty(tmp_path, reader_params):
    write_fashion_iq(tmp_path)
    (tmp_path / "images/Bdval2.jpg").unlink()
    edit(tmp_path / "captions/cap.shirt.val.json", lambda entries: entries[0].update(captions=["", " ."]))
    data = reader_params(reader="fashion_iq", max_reject_fraction=0.2)
    catalogue = build_catalogue(read_records(data), data, 1)
    assert set(catalogue.rejects.select("reason", "value").rows()) == {
        ("empty caption", "val-shirt-1"),
        ("missing image", "no such file"),
        ("its targets were rejected", "val-dress-2"),
    }
    assert count(catalogue)["composed"] == {"queries": 16, "dropped": 2, "missing_candidates": 1}


def test_circo_has_one_gallery_several_targets_and_aspects(circo):
    records = read_records(circo)
    products = dict(records.products.select("product_id", "split").iter_rows())
    assert products == {str(number): "val" for number in range(1, 9)} | {"901": "train", "902": "train"}
    media = dict(records.products.select("product_id", pl.col("media").list.first()).iter_rows())
    assert media["1"] == "COCO2017_unlabeled/unlabeled2017/000000000001.jpg"
    assert media["901"] == "images/COCO_train2014_000000000901.jpg"
    grades = {row[:2]: row[2] for row in records.composed.relevance.rows()}
    assert grades[("val-0", "2")] == 2 and grades[("val-0", "3")] == grades[("val-0", "4")] == 1
    assert records.composed.slices.rows() == [
        ("val-0", "cardinality"),
        ("val-0", "addition"),
        ("val-1", "negation"),
    ]
    catalogue = build_catalogue(records, circo, 1)
    # Two listed images are not there: a smaller gallery is counted.
    assert count(catalogue)["composed"] == {"queries": 5, "dropped": 0, "missing_candidates": 2}
    assert catalogue.query_slices["slice"].to_list() == ["cardinality", "addition", "negation"]


def test_circo_without_cocos_listing_takes_the_images_of_the_folder(circo, tmp_path):
    (tmp_path / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json").unlink()
    products = read_records(circo).products
    assert sorted(products.filter(pl.col("split") == "val")["product_id"]) == ["1", "2", "3", "4", "5", "6"]


def placed(data):
    """Return the galleries of folds and test, and the training queries, after the catalogue and the folds."""
    catalogue = build_catalogue(read_records(data), data, 1)
    folds, _ = split_products(catalogue.products, 3, 0.2, 7)
    products = catalogue.products.drop("split", "fold").join(folds, on="product_id", maintain_order="left")
    galleries = plan_composed_galleries(products, catalogue.queries, catalogue.relevance, [0])
    places = composed_places(catalogue.queries, catalogue.relevance, folds)
    assert not places["straddles"].any()
    found = {gallery.name: (len(gallery.product_ids), gallery.query_ids) for gallery in galleries}
    return found, places.filter("trains")["query_id"].to_list()


def test_the_published_splits_are_fold_0_test_and_training(cirr, tmp_path, reader_params):
    galleries, trained = placed(cirr)
    assert galleries == {"oof-0": (6, ["val-11", "val-12"]), "test": (6, ["test1-21", "test1-22"])}
    assert trained == ["train-1", "train-2"]
    write_fashion_iq(tmp_path / "iq")
    galleries, trained = placed(reader_params(reader="fashion_iq", root=str(tmp_path / "iq")))
    assert galleries["oof-0"] == (6, ["val-dress-1", "val-dress-2", "val-shirt-1", "val-shirt-2"])
    assert len(trained) == 2 * (4 + 1)


def test_both_splits_of_circo_are_ranked_among_one_gallery(circo):
    galleries, trained = placed(circo)
    assert galleries == {"oof-0": (6, ["val-0", "val-1", "test-0", "test-1"])}
    assert trained == ["train-0"]


@pytest.mark.parametrize(
    ("reader", "write", "way_out"),
    [
        ("cirr", write_cirr, "put cap.rc2.train.json and split.rc2.train.json beside the files that are there"),
        ("fashion_iq", write_fashion_iq, "put cap.dress.train.json and split.dress.train.json, or those of another"),
        ("circo", write_circo, "CIRCO has no training queries: write annotations/train.json in the form of its val"),
    ],
)
def test_without_training_products_the_message_names_the_files_before_photos_are_read(
    tmp_path, reader_params, monkeypatch, reader, write, way_out
):
    write(tmp_path)
    for path in tmp_path.glob("captions/*"):
        if "val" not in path.name:
            path.unlink()
    monkeypatch.setattr("pipeline_lib.catalogue.cleaning.check_all_photos", None)
    data = reader_params(reader=reader, image_folder="img_raw" if reader == "cirr" else "images")
    with pytest.raises(ValueError, match=r"all \d+ products are in val, and nothing is left to train on; " + way_out):
        build_catalogue(read_records(data), data, 1)
