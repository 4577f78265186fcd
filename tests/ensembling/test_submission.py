"""The submission: exactly the test products, in the format of the sample submission if there is one."""

import numpy as np
import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.probabilities import scores_table
from pipeline_lib.ensembling.submission import SAMPLE, check_ids, open_sample, write_submission


def table_of(ids, split="test"):
    columns = {"product_id": ids, "label": [None] * len(ids), "group_id": ids}
    products = pl.DataFrame(columns, schema_overrides={"label": pl.String})
    gallery = GalleryMembers(split, None, products, [])
    return scores_table(gallery, products, ["cup", "hat"], np.full((len(ids), 2), 0.5, np.float32))


def test_the_submission_has_every_test_product_in_order_and_no_other(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, pl.concat([table_of(["o"], "oof"), table_of(["b", "a"])]), ["a", "b"])
    assert path.read_text(encoding="utf-8") == "id,label\na,cup\nb,cup\n"


def test_ids_survive_quoting(tmp_path):
    path = tmp_path / "submission.csv"
    ids = ["007", 'a "b", c', "杯子"]
    write_submission(path, table_of(ids), ids)
    assert pl.read_csv(path, schema_overrides={"id": pl.String})["id"].to_list() == ids


def test_what_a_spreadsheet_would_run_is_noted_and_unchanged(tmp_path):
    path = tmp_path / ".ensemble.712.part/submission.csv"
    path.parent.mkdir()
    ids = ["=1+1", "-5", "+3.5", "@a", "a=b", " -x"]
    (note,) = write_submission(path, table_of(ids), ids)
    assert note == (
        f"{tmp_path}/ensemble/submission.csv: 3 cells begin with =, +, - or @, the first in row 2, '=1+1'; a "
        "spreadsheet would run them as formulas, so import the columns as text"
    )
    assert path.read_text(encoding="utf-8").splitlines()[1:] == [f"{one},cup" for one in ids]
    assert write_submission(path, table_of(["-5", "a-b"]), ["-5", "a-b"]) == []
    sample = pl.DataFrame({"=id": ["a"], "label": [""]})
    assert "the first in row 1, '=id'" in write_submission(path, table_of(["a"]), ["a"], sample)[0]


def test_without_test_products_only_the_header_is_written(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, pl.DataFrame(schema=CLASS_SCORES_SCHEMA), [])
    assert path.read_text(encoding="utf-8") == "id,label\n"


def test_a_missing_or_repeated_product_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no prediction for 1 test products, the first 'b'"):
        write_submission(tmp_path / "s.csv", table_of(["a"]), ["a", "b"])
    with pytest.raises(ValueError, match="product 'a' is predicted twice"):
        write_submission(tmp_path / "s.csv", table_of(["a", "a"]), ["a"])


def sample_of(*ids):
    return pl.DataFrame({"image_id": list(ids), "target": ["?"] * len(ids)})


def test_the_sample_submission_sets_order_and_names(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, table_of(["a", "b", "c"]), ["a", "b", "c"], sample_of("c", "a", "b"))
    assert path.read_text(encoding="utf-8") == "image_id,target\nc,cup\na,cup\nb,cup\n"


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (
            ["a", "b", "007"],
            "has 3 ids, .* has 2: 1 of its ids are not test products .*, the first '007'",
        ),
        (["b"], "has 1 ids, the test split has 2: 1 test products are not in it, the first 'a'$"),
        (["c", "b"], "the first 'c'; 1 test products are not in it, the first 'a'$"),
    ],
)
def test_an_id_that_is_missing_or_added_is_refused(tmp_path, expected, message):
    for call in (
        lambda: check_ids(sample_of(*expected), ["a", "b"]),
        lambda: write_submission(tmp_path / "s.csv", table_of(["a", "b"]), ["a", "b"], sample_of(*expected)),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "s.csv").exists()


def test_a_model_without_classifier_cannot_fill_a_sample_submission(tmp_path):
    with pytest.raises(ValueError, match="no test product got a label; set it to null"):
        write_submission(tmp_path / "s.csv", pl.DataFrame(schema=CLASS_SCORES_SCHEMA), [], sample_of("a"))


def test_the_stored_sample_is_read_as_strings_and_is_optional(tmp_path):
    assert open_sample(tmp_path) is None
    (tmp_path / SAMPLE).write_text("id,label\n007,0\n", encoding="utf-8")
    assert open_sample(tmp_path).rows() == [("007", "0")]


def test_ids_of_the_sample_are_compared_cleaned_and_written_as_they_are(tmp_path):
    """The catalogue has read 1.0 as 1 and dropped invisible characters; the benchmark knows its own ids only."""
    path = tmp_path / "s.csv"
    write_submission(path, table_of(["1", "2"]), ["1", "2"], sample_of("2.0", "1.0\u200b"))
    assert [line.split(",")[0] for line in path.read_text().splitlines()[1:]] == ["2.0", "1.0\u200b"]
    check_ids(sample_of("Mu\u0308sli"), ["M\u00fcsli"])
