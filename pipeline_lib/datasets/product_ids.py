"""Rejects products whose id is empty, unsafe or repeated; every reader calls it."""

import polars as pl

from pipeline_lib.artifacts.path_guard import UNSAFE
from pipeline_lib.catalogue.schema import REJECTED, REJECTS, rejects_of

# The reason of a text that lost what remained of a cut emoji.
HALF_DROPPED = "half a character dropped"
# Excel's way of writing a long number: its last digits are lost.
SCIENTIFIC = r"^\d([.,]\d+)?E\+\d{2,}$"


def reject_ids(table: str, records: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows with a valid id, and reject rows for ids that are empty, unsafe as a file name, or repeated."""
    product_id = pl.col("product_id")
    reason = (
        pl.when(product_id.is_null())
        .then(pl.lit("empty id"))
        .when(product_id.str.contains(UNSAFE.pattern))
        .then(pl.lit("unsafe id"))
        .when(product_id.str.contains(SCIENTIFIC))
        .then(pl.lit("id in scientific notation, format its column as text"))
        .when(~product_id.is_first_distinct())
        .then(pl.lit("duplicate id"))
    )
    checked = records.with_columns(reason.alias("reason"), product_id.alias("value"))
    bad = [
        rejects_of(table, part, part["reason"][0], "value", REJECTED)
        for part in checked.drop_nulls("reason").partition_by("reason", maintain_order=True)
    ]
    rejects = pl.concat([pl.DataFrame(schema=REJECTS), *bad])
    return checked.filter(pl.col("reason").is_null()).drop("reason", "value"), rejects
