"""Groups of folds: equal texts join, texts of very many products or of whole classes do not."""

import polars as pl
import pytest

from pipeline_lib.splitting import groups
from pipeline_lib.splitting.folds import split_products
from pipeline_lib.splitting.groups import fold_groups, normal_text


def products_of(rows):
    schema = {"product_id": pl.String, "text": pl.String, "label": pl.String, "fold_group_id": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(group_id="product_id")


def test_equal_texts_join_whatever_their_case_accents_and_punctuation():
    rows = [("a", "Red  Mug!", "x", "a"), ("b", "réd mug", "x", "b"), ("c", "red mugs", "x", "c"), ("d", "", "x", "d")]
    products = products_of([*rows, ("e", "", "x", "e")])
    assert fold_groups(products, True)[0].to_list() == ["a", "a", "c", "d", "e"]
    assert fold_groups(products, False)[0].to_list() == ["a", "b", "c", "d", "e"]


def test_normal_text_keeps_numbers_apart_and_the_marks_of_other_scripts():
    texts = pl.Series(["1.5 l", "15 l", "ＡＢＣ", "Straße", "कि", "红色 杯", "!!"])
    normal = pl.DataFrame({"text": texts}).select(normal_text(pl.col("text"))).to_series().to_list()
    assert normal == ["1 5 l", "15 l", "abc", "straße", "कि", "红色 杯", ""]


def test_texts_join_the_groups_of_photos():
    rows = [("a", "x", "l", "a"), ("b", "y", "l", "a"), ("c", "y", "l", "c"), ("d", "z", "l", "d")]
    assert fold_groups(products_of(rows), True)[0].to_list() == ["a", "a", "a", "d"]


def test_a_text_of_very_many_products_joins_nobody_and_is_noted(monkeypatch):
    monkeypatch.setattr(groups, "HANDFUL", 3)
    products = products_of([(f"p{row}", "T-shirt" if row < 4 else f"mug {row}", None, f"p{row}") for row in range(6)])
    ids, notes = fold_groups(products, True)
    assert ids.n_unique() == 6
    assert notes == ["1 texts are those of more than 3 products (4 in all), and do not decide the fold"]


def test_a_text_that_is_the_name_of_a_class_joins_nobody_and_is_noted():
    rows = [("a", "Banana", "banana", "a"), ("b", "banana", "banana", "b"), ("c", "Kiwi 1", "kiwi", "c")]
    rows += [("d", "kiwi 1", "kiwi", "d"), ("e", "kiwi 2", "kiwi", "e")]
    ids, notes = fold_groups(products_of(rows), True)
    assert ids.to_list() == ["a", "b", "c", "c", "e"]
    assert notes == ["classes whose texts are all equal, and so do not decide the fold: banana"]


def test_a_chain_of_texts_and_photos_that_grows_too_large_is_cut_and_noted(monkeypatch):
    monkeypatch.setattr(groups, "HANDFUL", 4)
    rows = [(f"p{row}", f"text {(row + 1) // 2}", None, f"g{row // 2}") for row in range(6)]
    ids, notes = fold_groups(products_of(rows), True)
    assert ids.to_list() == ["g0", "g0", "g1", "g1", "g2", "g2"]
    assert "have more than 4 products (6 in all); their texts are not used" in notes[0]


@pytest.mark.parametrize("by_text", [True, False])
def test_equal_texts_stay_in_one_bin_of_the_split(by_text):
    rows = [(f"p{row:03}", f"text {row // 3}", f"class {row % 2}", f"p{row:03}") for row in range(120)]
    products = products_of(rows).with_columns(split=pl.lit(None, pl.String), fold=pl.lit(None, pl.Int64))
    ids, notes = fold_groups(products, by_text)
    folds, _ = split_products(products.with_columns(ids), 3, 0.2, 7)
    bins = products.join(folds.select("product_id", bin=pl.struct("split", "fold")), on="product_id")
    divided = bins.group_by("text").agg(pl.col("bin").n_unique()).filter(pl.col("bin") > 1)
    assert notes == []
    assert (len(divided) == 0) == by_text


def test_no_products():
    assert fold_groups(products_of([]), True)[0].to_list() == []
