"""Numeric columns of a table, such as its price: a search filters by them, no model reads them.

Numbers come as people write them: 1299, 1,299.00, 1.299,00 €, ¥ 99. A cell that is no number is empty, and is counted
among the rejects.
"""

import polars as pl

from pipeline_lib.catalogue.schema import RETAINED, Records, rejects_of

NO_NUMBER = "attribute is no number"
# A number with an optional currency before or behind it: a sign, or a code such as EUR.
NUMBER = r"^\p{Sc}?[A-Z]{0,3}\p{Sc}?(-?[0-9][0-9.,]*)\p{Sc}?(?:[A-Z]{0,3}|元|円)\.?$"
# One separator alone: with three digits after it, it groups thousands, unless it is a point or a zero is before it:
# 1,299 but 1.299 and 0,500.
THOUSANDS = r"^-?[1-9][0-9]{0,2}(,[0-9]{3})+$"
GROUPED_POINTS = r"^-?[1-9][0-9]{0,2}(\.[0-9]{3}){2,}$"
DECIMAL_COMMA = r"^-?[0-9]+,[0-9]+$"
ENGLISH = r"^-?[1-9][0-9]{0,2}(,[0-9]{3})+\.[0-9]+$"
GERMAN = r"^-?[1-9][0-9]{0,2}(\.[0-9]{3})+,[0-9]+$"


def as_number(cell: pl.Expr) -> pl.Expr:
    """Return a column of strings as Float64; null for what is no finite number.

    1.299 is read as a decimal and 1,299 as thousands; with both separators the last one is the decimal's.
    """
    digits = cell.str.replace_all(r"[\s'’]", "").str.to_uppercase().str.extract(NUMBER, 1)
    without_commas, without_points = digits.str.replace_all(",", ""), digits.str.replace_all(r"\.", "")
    plain = (
        pl.when(digits.str.contains(THOUSANDS) | digits.str.contains(ENGLISH))
        .then(without_commas)
        .when(digits.str.contains(GERMAN) | digits.str.contains(GROUPED_POINTS) | digits.str.contains(DECIMAL_COMMA))
        .then(without_points.str.replace(",", "."))
        .otherwise(digits)
    )
    return plain.cast(pl.Float64, strict=False)


def read_attributes(table: str, raw: pl.DataFrame, names: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `row` and the named columns of `raw` as numbers, and a reject row for each cell that is none.

    `raw` has the columns row and product_id beside them. The action of the reject rows is RETAINED.
    """
    numbers = raw.select("row", *(as_number(pl.col(name)).alias(name) for name in names))
    rejects = [
        rejects_of(table, raw.filter(numbers[name].is_null() & pl.col(name).is_not_null()), NO_NUMBER, name, RETAINED)
        for name in names
    ]
    return numbers, pl.concat(rejects) if rejects else rejects_of(table, raw.clear(), NO_NUMBER, "product_id", RETAINED)


def attributes_of(records: Records, products: pl.DataFrame) -> pl.DataFrame:
    """Return product_id and the numeric columns of the products of a catalogue, in their order."""
    if records.attributes is None:
        return products.select("product_id")
    rows = products.select("product_id").join(
        records.products.select("row", "product_id"), on="product_id", how="left", maintain_order="left"
    )
    return rows.join(records.attributes, on="row", how="left", maintain_order="left").drop("row")
