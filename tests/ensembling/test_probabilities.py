import numpy as np
import polars as pl
import pytest

from pipeline_lib.ensembling.probabilities import mean_probabilities, predictions_table, write_submission
from pipeline_lib.features.store import open_store, write_store
from pipeline_lib.schemas import PREDICTIONS_SCHEMA


def store_of(folder, ids, rows):
    write_store(folder, ids, np.array(rows, np.float32), "m", "64px", dtype="float32")
    return open_store(folder)


def table_of(ids, split="test"):
    products = pl.DataFrame({"product_id": ids, "label": [None] * len(ids)}, schema_overrides={"label": pl.String})
    return predictions_table(split, None, products, ["cup", "hat"], np.full((len(ids), 2), 0.5, np.float32))


def test_the_mean_is_taken_by_id_and_stays_a_distribution(tmp_path):
    first = store_of(tmp_path / "a", ["x", "y"], [[0.9, 0.1], [0.5, 0.5]])
    second = store_of(tmp_path / "b", ["y", "x"], [[0.1, 0.9], [0.3, 0.7]])
    fused = mean_probabilities([first, second], ["x", "y"])
    assert fused == pytest.approx(np.array([[0.6, 0.4], [0.3, 0.7]]))
    assert fused.sum(axis=1) == pytest.approx(1)


def test_a_sure_member_outweighs_an_unsure_one(tmp_path):
    sure = store_of(tmp_path / "a", ["x"], [[0.02, 0.98]])
    unsure = [store_of(tmp_path / name, ["x"], [[0.55, 0.45]]) for name in "bc"]
    assert mean_probabilities([sure, *unsure], ["x"]).argmax() == 1


def test_the_table_predicts_the_first_of_equal_classes():
    products = pl.DataFrame({"product_id": ["a", "b"], "label": ["hat", None]})
    table = predictions_table("oof", 1, products, ["cup", "hat"], np.array([[0.5, 0.5], [0.1, 0.9]], np.float32))
    assert table.schema == PREDICTIONS_SCHEMA
    assert table.drop("probabilities").rows() == [("a", "oof", 1, "hat", "cup"), ("b", "oof", 1, None, "hat")]
    assert table["probabilities"].to_list()[0] == [0.5, 0.5]


def test_the_submission_has_every_test_product_in_order_and_no_other(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, pl.concat([table_of(["o"], "oof"), table_of(["b", "a"])]), ["a", "b"])
    assert path.read_text(encoding="utf-8") == "id,label\na,cup\nb,cup\n"


def test_ids_survive_quoting(tmp_path):
    path = tmp_path / "submission.csv"
    ids = ["007", 'a "b", c', "杯子"]
    write_submission(path, table_of(ids), ids)
    assert pl.read_csv(path, schema_overrides={"id": pl.String})["id"].to_list() == ids


def test_without_test_products_only_the_header_is_written(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, pl.DataFrame(schema=PREDICTIONS_SCHEMA), [])
    assert path.read_text(encoding="utf-8") == "id,label\n"


def test_a_missing_or_repeated_product_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no prediction for 1 test products, the first 'b'"):
        write_submission(tmp_path / "s.csv", table_of(["a"]), ["a", "b"])
    with pytest.raises(ValueError, match="product 'a' is predicted twice"):
        write_submission(tmp_path / "s.csv", table_of(["a", "a"]), ["a"])
