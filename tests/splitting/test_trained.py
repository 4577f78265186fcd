"""What a fold's model is trained on: one rule for training, composed training, fusion and figures."""

import polars as pl
import pytest

from pipeline_lib.ensembling.galleries import plan_galleries
from pipeline_lib.splitting.trained import learned_labels, trained_by

# Products of two folds, of train without a fold, and of test.
ROWS = {
    "product_id": ["a0", "b0", "a1", "none", "always", "c", "test"],
    "label": ["cup", "hat", "hat", None, "pan", "jar", "bag"],
    "group_id": list("abcdefg"),
    "split": ["train"] * 5 + ["train", "test"],
    "fold": [0, 0, 1, 1, None, 0, None],
}
PRODUCTS = pl.DataFrame(ROWS, schema_overrides={"fold": pl.Int64})


@pytest.mark.parametrize(
    ("fold", "ids"),
    [(0, ["a1", "none", "always"]), (1, ["a0", "b0", "always", "c"]), (7, ["a0", "b0", "a1", "none", "always", "c"])],
)
def test_a_model_is_trained_on_all_of_train_but_its_fold(fold, ids):
    assert PRODUCTS.filter(trained_by(fold))["product_id"].to_list() == ids


def test_the_labels_of_several_folds_are_those_of_any_and_those_of_test_are_none():
    assert learned_labels(PRODUCTS, [0]) == {"hat", "pan"}
    assert learned_labels(PRODUCTS, [0, 1]) == {"cup", "hat", "pan", "jar"} and learned_labels(PRODUCTS, []) == set()
    nothing = pl.DataFrame(schema={"query_id": pl.String, "kind": pl.String, "split": pl.String})
    none = pl.DataFrame(schema={"query_id": pl.String, "product_id": pl.String, "grade": pl.Int64})
    by_gallery = {one.name: one.unlearned for one in plan_galleries(PRODUCTS, nothing, none, [0, 1])}
    assert by_gallery == {"oof-0": {"cup", "jar"}, "oof-1": set(), "test": {"bag"}}
