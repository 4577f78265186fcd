"""Prediction files in the format of each benchmark, and rankings that have no such format."""

import json

import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA
from pipeline_lib.ensembling.prediction_files import PREDICTION_FORMATS


def rankings_of(split, fold, query_ids, depth=12, prefix="valid"):
    rows = [
        (query_id, split, fold, rank, f"{prefix}-{100 * place + rank}", 1.0 / rank)
        for place, query_id in enumerate(query_ids)
        for rank in range(1, depth + 1)
    ]
    return pl.DataFrame(rows, schema=RANKINGS_SCHEMA, orient="row")


@pytest.mark.parametrize(
    ("form", "keys"), [("muge", ("query_id", "item_ids")), ("chinese_clip", ("text_id", "image_ids"))]
)
def test_the_top_ten_of_each_query_in_the_benchmarks_format(tmp_path, form, keys):
    valid = rankings_of("oof", 0, ["valid-7", "valid-3"])
    test = rankings_of("test", None, ["test-9"], prefix="test")
    shuffled = pl.concat([valid, test]).sort("score", descending=True, maintain_order=True)
    files = PREDICTION_FORMATS[form](shuffled, tmp_path)
    assert sorted(file.name for file in files) == ["test_predictions.jsonl", "valid_predictions.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "valid_predictions.jsonl").read_text().splitlines()]
    assert lines == [
        {keys[0]: 7, keys[1]: list(range(1, 11))},
        {keys[0]: 3, keys[1]: list(range(101, 111))},
    ]
    assert json.loads((tmp_path / "test_predictions.jsonl").read_text()) == {keys[0]: 9, keys[1]: list(range(1, 11))}


def test_none_writes_nothing(tmp_path):
    assert PREDICTION_FORMATS["none"](rankings_of("oof", 0, ["q"]), tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rankings", "message"),
    [
        (
            rankings_of("oof", 0, ["valid-1"], depth=9),
            "query 'valid-1' has 9 ranked images, not 10; raise ensemble.depth",
        ),
        (rankings_of("oof", 0, ["a#0"]), "the id 'a#0' is not <split>-<number>; .* set ensemble.predictions to none"),
        (rankings_of("oof", 0, ["valid-1"], prefix="shirt"), "the id 'shirt-1' is not"),
        (
            pl.concat([rankings_of("oof", fold, ["valid-1"]) for fold in (0, 1)]),
            "several folds rank its queries, but the format needs one list per query",
        ),
    ],
)
def test_rankings_without_such_a_format_give_one_line(tmp_path, rankings, message):
    with pytest.raises(ValueError, match=message) as caught:
        PREDICTION_FORMATS["muge"](rankings, tmp_path)
    assert str(caught.value).startswith("ensemble.predictions = 'muge': ") and "\n" not in str(caught.value)
