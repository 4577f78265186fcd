"""Numeric columns of a table: how numbers are written, which columns are found, and what is counted."""

from dataclasses import replace

import polars as pl
import pytest

from pipeline_lib.catalogue.attributes import NO_NUMBER, as_number, attributes_of, read_attributes
from pipeline_lib.catalogue.schema import RETAINED
from pipeline_lib.datasets.csv_table import read_csv_table
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("11.51", 11.51), ("1299", 1299.0), ("-3", -3.0), ("0", 0.0), ("1,299", 1299.0), ("1.299", 1.299),
        ("12,5", 12.5), ("1,299.00", 1299.0), ("1.299,00 €", 1299.0), ("1 299,00", 1299.0), ("1'299.50", 1299.5),
        ("1.299.000", 1299000.0), ("$1,234,567.89", 1234567.89), ("¥ 99", 99.0), ("99元", 99.0), ("USD 12", 12.0),
        ("0,500", 0.5), ("-0,999", -0.999), ("0,500.00", None), ("0.500,00", None), ("10,500", 10500.0),
        ("99 kr", 99.0), ("99 kr.", 99.0),
        ("on request", None), ("nan", None), ("inf", None), ("1,2,3", None), ("1.2.3", None), ("5-7", None),
        (None, None),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(cell, number):
    assert pl.DataFrame({"a": [cell]}, schema={"a": pl.String}).select(as_number(pl.col("a"))).item() == number


def test_a_cell_that_is_no_number_is_empty_and_counted():
    raw = pl.DataFrame({"row": [2, 3, 4], "product_id": ["a", "b", "c"], "price": ["5", "on request", None]})
    numbers, rejects = read_attributes("shop.csv", raw, ("price",))
    assert numbers.to_dict(as_series=False) == {"row": [2, 3, 4], "price": [5.0, None, None]}
    assert rejects.rows() == [(3, "b", "shop.csv", NO_NUMBER, "on request", RETAINED)]


def params(root, **columns):
    data = parse_section(DataParams, load_params())
    return data.model_copy(update={"root": str(root), "columns": data.columns.model_copy(update=columns)})


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / f"images/{name}.jpg").touch()
    (tmp_path / "shop.csv").write_text(
        "id,title,Sale Price,rating,width\na,mug,5,4.5,7\nb,hat,on request,,8\nb,hat again,9,1,9\nc,lamp,7,3,10\n",
        encoding="utf-8",
    )
    return tmp_path


def read(data):
    records = read_csv_table(data)
    return attributes_of(records, records.products), records


def test_columns_are_found_by_their_usual_names(shop):
    table, records = read(params(shop))
    assert table.to_dict(as_series=False) == {
        "product_id": ["a", "b", "c"], "Sale Price": [5.0, None, 7.0], "rating": [4.5, None, 3.0],
    }  # fmt: skip
    assert records.columns["attributes"] == "Sale Price + rating" and records.ignored == ("width",)
    assert records.rejects.filter(pl.col("reason") == NO_NUMBER).select("row", "product_id").rows() == [(3, "b")]


@pytest.mark.parametrize(("named", "found"), [(["width"], ["width"]), ("width", ["width"]), ([], [])])
def test_named_columns_replace_those_that_are_found(shop, named, found):
    assert read(params(shop, attributes=named))[0].columns == ["product_id", *found]


def test_a_missing_named_column_is_an_error_and_two_prices_are_none(shop):
    with pytest.raises(ValueError, match="no column 'cost', which data.columns.attributes names"):
        read(params(shop, attributes="cost"))
    table = shop / "shop.csv"
    table.write_text(table.read_text("utf-8").replace("Sale Price,rating", "price,Price"), encoding="utf-8")
    assert read(params(shop))[0].columns == ["product_id"]


def test_a_reader_without_attributes_gives_ids_alone(shop):
    _, records = read(params(shop))
    bare = pl.DataFrame({"product_id": ["x"]})
    assert attributes_of(replace(records, attributes=None), bare).equals(bare)
