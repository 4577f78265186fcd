"""The check of prediction files: every fault that a judge would refuse is one line and exit status 1."""

import json
import sys

import pytest

from pipeline_lib.cli import main as cli
from pipeline_lib.cli.prediction_file import check_file, score

ANSWERS = {1: [20], 2: [21, 22], 3: [29], 4: [11]}


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def queries(tmp_path):
    """Four answered queries over images 10 to 29."""
    (tmp_path / "valid_imgs.tsv").write_bytes(b"".join(b"%d\tAAAA\n" % number for number in range(10, 30)))
    lines = [{"query_id": key, "query_text": "红", "item_ids": ids} for key, ids in ANSWERS.items()]
    return write(tmp_path / "valid_queries.jsonl", lines)


def predicted(changes=None, keys=("query_id", "item_ids")):
    """Images 20 to 29 for each of four queries: places 1, 2, 10 and none; changes replace a query's line."""
    lines = {key: {keys[0]: key, keys[1]: list(range(20, 30))} for key in ANSWERS}
    return [line for line in (lines | (changes or {})).values() if line is not None]


@pytest.mark.parametrize("keys", [("query_id", "item_ids"), ("text_id", "image_ids")])
def test_a_good_file_is_scored(tmp_path, queries, keys):
    summary = check_file(write(tmp_path / "p.jsonl", predicted(keys=keys)), queries)
    assert "4 queries, 10 images of 20 each: well formed" in summary
    # Three queries with one of 20 images, one with two: 1 / 20 and 1 / 10 by chance.
    assert "R@1 25.00 % (chance 6.2 %), R@5 50.00 % (chance " in summary.replace("6.3 %", "6.2 %")
    assert summary.endswith("R@10 75.00 % (chance 56.6 %), MeanRecall 50.00 % (chance 30.9 %)")


def test_without_answers_it_is_only_checked(tmp_path, queries):
    write(queries, [{"query_id": key, "query_text": "红"} for key in ANSWERS])
    summary = check_file(write(tmp_path / "p.jsonl", predicted()), queries)
    assert summary.endswith("well formed; valid_queries.jsonl has no answers to score it by")


def test_only_answered_queries_are_scored():
    predictions = {1: list(range(10)), 2: list(range(10))}
    assert score(predictions, {2: {3, 7}}) == {"R@1": 0, "R@5": 1, "R@10": 1, "MeanRecall": pytest.approx(2 / 3)}


def line(*images, query=2):
    return {"query_id": query, "item_ids": list(images)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({3: None}, "1 of 4 queries have no line, the first is 3"),
        ({2: line(*range(20, 29))}, "row 2: item_ids has 9 images; write 10, best first"),
        ({2: line(*range(19, 30))}, "row 2: item_ids has 11 images; write 10"),
        ({2: {"query_id": 2}}, "row 2: item_ids has 0 images"),
        ({2: line(*range(20, 29), 20)}, "row 2: item_ids names 20 twice; write 10 different images"),
        (
            {2: line(*range(20, 29), "29")},
            "row 2: item_ids = [20, 21, 22, 23, 24, 25, 26, 27, 28, '29']; write a list of",
        ),
        ({2: line(*range(20, 29), 29.0)}, "write a list of whole numbers"),
        ({2: line(*range(20, 29), 30)}, "row 2: item_ids: 30 is not among the 20 images of the split"),
        ({2: line(*range(20, 30), query=1)}, "row 2: query_id = 1 has a line already; write one a query"),
        ({2: line(*range(20, 30), query=5)}, "row 2: query_id = 5 is not among the 4 queries"),
        ({2: line(*range(20, 30), query="2")}, "row 2: query_id = '2'; write a whole number"),
        ({2: {"id": 2}}, "row 2: no 'query_id' among 'id'"),
        ({2: [2]}, "row 2: a list, not an object"),
    ],
)
def test_every_fault_is_one_line_and_exit_1(tmp_path, queries, changes, message, monkeypatch, capsys):
    path = write(tmp_path / "p.jsonl", predicted(changes))
    monkeypatch.setattr(sys, "argv", ["vitrine", "check-predictions", str(path), "--queries", str(queries)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    assert error.startswith(f"vitrine: error: {path}: ") and message in error and len(error.splitlines()) == 1


def test_a_missing_file_is_named(tmp_path, queries):
    with pytest.raises(ValueError, match=r"p\.jsonl: no such file"):
        check_file(tmp_path / "p.jsonl", queries)
    (tmp_path / "valid_imgs.tsv").unlink()
    with pytest.raises(ValueError, match=r"valid_imgs\.tsv: no such file; put the images beside"):
        check_file(write(tmp_path / "p.jsonl", predicted()), queries)
