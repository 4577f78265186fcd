"""Prediction files of CIRR and CIRCO: what is written passes the check, and each fault is one line."""

import json
import re

import numpy as np
import polars as pl
import pytest
from written_composed import cirr_entry, dump

from pipeline_lib.artifacts.schemas import CIRCO_DEPTH, CIRR_DEPTHS, RANKINGS_SCHEMA
from pipeline_lib.catalogue.schema import QUERIES, QUERY_SLICES, RELEVANCE
from pipeline_lib.cli.prediction_file import check_file
from pipeline_lib.ensembling.composed_prediction_files import COMPOSED_PREDICTIONS
from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS, composed_trees
from pipeline_lib.evaluation.composed_ranks import plan_composed_galleries, rank_composed, rank_subsets
from pipeline_lib.params.composed import ComposedProtocolName

NAMES = [f"val-{number}-0-img0" for number in range(60)]


def rankings_of(rows):
    """Rows of query id and product ids, best first."""
    flat = [
        (query, "oof", 0, rank, product, 1 / rank)
        for query, products in rows
        for rank, product in enumerate(products, start=1)
    ]
    return pl.DataFrame(flat, schema=RANKINGS_SCHEMA, orient="row")


@pytest.fixture
def cirr(tmp_path):
    """Two queries over 60 pictures, answered: the targets are the pictures 1 and 5."""
    queries = tmp_path / "captions/cap.rc2.val.json"
    dump(queries, [cirr_entry("val", 11, 0, 1, {}), cirr_entry("val", 102, 3, 5, {})])
    dump(tmp_path / "image_splits/split.rc2.val.json", {name: f"./dev/{name}.png" for name in NAMES})
    return queries


@pytest.fixture
def written(cirr, tmp_path):
    """The files of rankings whose target is third and first, within the subset second and first."""
    first = [NAMES[at] for at in (7, 8, 1, *range(9, 60))]
    second = [NAMES[at] for at in (5, 0, 1, 2, *range(6, 60))]
    rankings = rankings_of([("val-102", second), ("val-11", first)])
    subsets = rankings_of(
        [("val-102", [NAMES[at] for at in (5, 0, 1)]), ("val-11", [NAMES[at] for at in (2, 1, 3, 4)])]
    )
    result = COMPOSED_PREDICTIONS["cirr"]({"recall": rankings, "recall_subset": subsets}, tmp_path)
    assert result.notes == [] and [path.name for path in result.files] == ["val_recall.json", "val_recall_subset.json"]
    return dict(zip(CIRR_DEPTHS, result.files, strict=True))


def test_files_of_cirr_have_its_servers_form_and_are_scored(cirr, written):
    content = json.loads(written["recall"].read_text())
    assert (content["version"], content["metric"], len(content["11"])) == ("rc2", "recall", 50)
    assert json.loads(written["recall_subset"].read_text())["11"] == [NAMES[at] for at in (2, 1, 3)]
    summary, note = check_file(written["recall"], cirr).splitlines()
    assert note.startswith("note: cap.rc2.val.json has 2 queries, the published one 4,181; the server refuses")
    assert "CIRR recall, 2 queries, 50 items each, of 60 images: well formed" in summary
    # One target among the 59 pictures without the reference.
    chance = ["1.7 %", "8.5 %", "16.9 %", "84.7 %"]
    values = [
        f"{value} (chance {by_chance})" for value, by_chance in zip(["50.00 %", *["100.00 %"] * 3], chance, strict=True)
    ]
    assert summary.endswith(", ".join(f"R@{k} {value}" for k, value in zip((1, 5, 10, 50), values, strict=True)))
    summary = check_file(written["recall_subset"], cirr).splitlines()[0]
    assert summary.endswith(
        "R_subset@1 50.00 % (chance 20.0 %), R_subset@2 100.00 % (chance 40.0 %), R_subset@3 100.00 % (chance 60.0 %)"
    )


def test_without_targets_a_file_is_only_checked(cirr, written):
    dump(cirr, [cirr_entry("val", 11, 0, None, {}), cirr_entry("val", 102, 3, None, {})])
    assert check_file(written["recall"], cirr).splitlines()[0].endswith("val.json has no answers to score it by")
    (cirr.parent.parent / "image_splits/split.rc2.val.json").unlink()
    assert "not checked against the gallery" in check_file(written["recall"], cirr)


def test_without_the_list_of_pictures_chance_is_not_known(cirr, written):
    (cirr.parent.parent / "image_splits/split.rc2.val.json").unlink()
    summary = check_file(written["recall"], cirr).splitlines()[0]
    assert summary.endswith("R@50 100.00 %; chance is not known without the list of images")
    assert "R_subset@1 50.00 % (chance 20.0 %)" in check_file(written["recall_subset"], cirr)


def test_a_key_that_is_there_twice_is_refused(cirr, written):
    """A parser keeps the last list only, so the first would never be looked at."""
    text = written["recall"].read_text()
    listed = json.dumps([NAMES[0], *NAMES[2:51]])  # with the reference
    written["recall"].write_text(text.replace("{", f'{{ "11": {listed},', 1))
    with pytest.raises(ValueError, match=r"val_recall\.json: the key '11' is there twice; write each key once$"):
        check_file(written["recall"], cirr)


@pytest.mark.parametrize(
    ("count", "first", "note"),
    [
        (800, 0, None),
        (799, 0, "test.json has 799 queries, the published one 800"),
        (800, 1, 'test.json has other queries than the published "0" to "799"'),
    ],
)
def test_queries_that_are_not_the_published_ones_are_a_note(count, first, note, circo, tmp_path):
    entries = [{"id": key, "reference_img_id": 60, "relative_caption": "more"} for key in range(first, first + count)]
    dump(circo.parent / "test.json", entries)
    dump(tmp_path / "p.json", {str(entry["id"]): list(range(1, 51)) for entry in entries})
    summary, *notes = check_file(tmp_path / "p.json", circo.parent / "test.json").splitlines()
    assert f"CIRCO, {count} queries" in summary and len(notes) == (note is not None)
    assert note is None or notes[0].startswith(f"note: {note}; the server refuses")


@pytest.mark.parametrize(
    ("metric", "change", "message"),
    [
        ("recall", {"11": None}, "1 of 2 queries are missing, the first: 11"),
        ("recall", {"13": NAMES[:50]}, "'13' is not among the 2 queries"),
        ("recall", {"11": NAMES[1:50]}, "query '11': 49 items; write exactly 50, best first"),
        ("recall", {"11": NAMES[:50]}, "query '11': its reference 'val-0-0-img0' is listed; leave it out"),
        ("recall", {"11": [*NAMES[1:50], NAMES[1]]}, "query '11': 'val-1-0-img0' is listed twice"),
        ("recall", {"11": [*NAMES[1:50], "dev-9"]}, "query '11': 'dev-9' is not in the gallery of 60 images"),
        ("recall", {"11": [*NAMES[1:50], 7]}, "query '11': 7 is not a name"),
        ("recall", {"11": "name"}, "query '11': 'name' is not a list"),
        ("recall", {"version": "rc1"}, "version = 'rc1'; write 'rc2'"),
        ("recall", {"metric": "mAP"}, "metric = 'mAP'; write 'recall' or 'recall_subset'"),
        ("recall", {"metric": "recall_subset"}, "50 items; write exactly 3, best first"),
        ("recall_subset", {"11": [NAMES[1], NAMES[2], NAMES[9]]}, "query '11': 'val-9-0-img0' is not in its subset"),
    ],
)
def test_what_cirrs_server_refuses_is_one_line(cirr, written, metric, change, message):
    path = written[metric]
    content = {key: value for key, value in (json.loads(path.read_text()) | change).items() if value is not None}
    dump(path, content)
    with pytest.raises(ValueError, match=r"recall\S*\.json: ") as error:
        check_file(path, cirr)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def circo(tmp_path):
    """Eleven queries over 60 listed images; query k has the ground truths k + 1 and 59, and the target k + 1."""
    entries = [
        {"id": key, "reference_img_id": 60, "target_img_id": key + 1, "gt_img_ids": [key + 1, 59]}
        | {"relative_caption": "more", "semantic_aspects": []}
        for key in range(11)
    ]
    dump(tmp_path / "annotations/val.json", entries)
    listing = {"images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in range(1, 61)]}
    dump(tmp_path / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json", listing)
    return tmp_path / "annotations/val.json"


def test_files_of_circo_have_keys_in_order_and_whole_numbers(circo, tmp_path):
    rows = [
        (f"val-{key}", [str(number) for number in range(1, 61)]) for key in np.random.default_rng(0).permutation(11)
    ]
    result = COMPOSED_PREDICTIONS["circo"]({"recall": rankings_of(rows)}, tmp_path)
    assert [path.name for path in result.files] == ["val_predictions.json"]
    content = json.loads(result.files[0].read_text())
    assert list(content) == [str(key) for key in range(11)]
    assert set(map(len, content.values())) == {50} and content["3"] == list(range(1, 51))
    summary = check_file(result.files[0], circo)
    assert "CIRCO, 11 queries, 50 items each, of 60 images: well formed" in summary
    # The target of query k is at k + 1, its other ground truth not among the 50: AP = 1 / (k + 1) / 2.
    value = np.mean([1 / (key + 1) / 2 for key in range(11)]) * 100
    assert f"mAP@50 {value:.2f} %" in summary and f"R@5 {5 / 11 * 100:.2f} %" in summary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"3": [*range(1, 50), 49]}, "query '3': 49 is listed twice"),
        ({"3": [*range(1, 50), "50"]}, "query '3': '50' is not a whole number"),
        ({"3": [*range(1, 50), True]}, "query '3': True is not a whole number"),
        ({"3": [*range(1, 50), 999]}, "query '3': 999 is not in the gallery of 60 images"),
        ({"3": list(range(1, 52))}, "query '3': 51 items; write exactly 50"),
        ({"11": list(range(1, 51))}, "'11' is not among the 11 queries"),
    ],
)
def test_what_circos_server_refuses_is_one_line(circo, tmp_path, change, message):
    dump(tmp_path / "p.json", {str(key): list(range(1, 51)) for key in range(11)} | change)
    with pytest.raises(ValueError, match=r"p\.json: ") as error:
        check_file(tmp_path / "p.json", circo)
    assert message in str(error.value)


def test_other_files_are_named(circo, tmp_path):
    dump(tmp_path / "p.json", [1])
    with pytest.raises(ValueError, match=r"p\.json: a list, not an object of lists by query"):
        check_file(tmp_path / "p.json", circo)
    dump(tmp_path / "q.json", [{"id": 1}])
    with pytest.raises(ValueError, match=r"q\.json: neither a caption file of CIRR nor an annotations file of CIRCO"):
        check_file(tmp_path / "p.json", tmp_path / "q.json")


def test_no_file_is_written_for_too_small_a_gallery_or_for_other_data(tmp_path):
    small = rankings_of([("test-0", [str(number) for number in range(CIRCO_DEPTH - 1)])])
    assert COMPOSED_PREDICTIONS["circo"]({"recall": small}, tmp_path) == (
        [],
        ["no prediction file for test: query 'test-0' has 49 ranked products, and circo needs 50"],
    )
    result = COMPOSED_PREDICTIONS["circo"]({"recall": rankings_of([("mine", ["1"])])}, tmp_path)
    assert result.notes[0].startswith("no prediction file: the query 'mine' is not <split>-<number>")
    assert not list(tmp_path.iterdir())


def test_protocols_with_a_server_are_protocols():
    assert set(COMPOSED_PREDICTIONS) <= set(ComposedProtocolName.__args__)


@pytest.mark.parametrize("protocol", ["cirr", "circo"])
def test_the_score_of_the_file_is_the_figure_of_the_protocol(protocol, tmp_path):
    """From scores through ranks to figures, and through lists and the benchmark's files to the same figures."""
    rng = np.random.default_rng(11)
    prefix = "val-{}-0-img0" if protocol == "cirr" else "{}"
    ids = [prefix.format(number) for number in range(60)]
    products = pl.DataFrame({"product_id": ids, "label": None, "group_id": ids, "split": "train", "fold": 0})
    products = products.cast({"label": pl.String, "fold": pl.Int64})
    queries, relevance, entries = [], [], []
    for key in range(30):
        reference, target, *others = rng.permutation(6).tolist()
        queries.append((f"val-{key}", "composed", "more", ids[reference], ids[:6], "val"))
        relevance.append((f"val-{key}", ids[target], 2))
        if protocol == "cirr":
            entries.append(cirr_entry("val", key, reference, target, {}))
        else:
            truths = [target, *others[:2]]
            relevance += [(f"val-{key}", ids[truth], 1) for truth in truths[1:]]
            entry = {"id": key, "reference_img_id": reference, "target_img_id": target, "gt_img_ids": truths}
            entries.append(entry | {"relative_caption": "more"})
    name = "captions/cap.rc2.val.json" if protocol == "cirr" else "annotations/val.json"
    dump(tmp_path / name, entries)
    dump(tmp_path / "image_splits/split.rc2.val.json", {one: f"./dev/{one}.png" for one in ids})
    listing = {"images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in range(60)]}
    dump(tmp_path / "annotations/image_info_unlabeled2017.json", listing)
    tables = (
        pl.DataFrame(queries, schema=QUERIES, orient="row"),
        pl.DataFrame(relevance, schema=RELEVANCE, orient="row"),
    )
    (gallery,) = plan_composed_galleries(products, *tables, [0])
    scores = rng.normal(size=(30, 60))
    chosen = COMPOSED_PROTOCOLS[protocol]
    rows, recall = rank_composed(gallery, lambda part: scores[part], chosen.rule, "composed_sum", 50)
    subsets = rank_subsets(gallery, lambda part: scores[part], 3)
    figures = composed_trees(rows, chosen, pl.DataFrame(schema=QUERY_SLICES))[0]["composed"]["sum"]["oof"]
    result = COMPOSED_PREDICTIONS[protocol]({"recall": recall, "recall_subset": subsets}, tmp_path)
    assert len(result.files) == (2 if protocol == "cirr" else 1)
    scored, chance = {}, {}
    for file in result.files:
        summary = check_file(file, tmp_path / name).splitlines()[0]
        for key, value, by_chance in re.findall(r"(\S+@\d+) ([\d.]+) % \(chance ([\d.]+) %\)", summary):
            scored[key], chance[key] = float(value), float(by_chance)
    assert len(scored) == (7 if protocol == "cirr" else 8)
    assert scored == pytest.approx({key: figures[key] * 100 for key in scored}, abs=0.006)
    assert chance == pytest.approx({key: figures["chance"][key] * 100 for key in chance}, abs=0.06)
