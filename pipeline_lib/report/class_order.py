"""The table of classes, which a reader sorts with radio buttons: CSS alone reorders the rows, so no script is needed.

Every row has its place in each order as a custom property; the checked button decides which one counts.
"""

from typing import Any

import polars as pl

Row = dict[str, Any]
# Key of an order -> its label, the column, and whether the largest value comes first.
ORDERS: dict[str, tuple[str, str, bool]] = {
    "f1": ("lowest F1", "f1", False),
    "precision": ("lowest precision", "precision", False),
    "recall": ("lowest recall", "recall", False),
    "support": ("most products", "support", True),
    "name": ("name", "label", False),
}


def sort_keys() -> list[tuple[str, str]]:
    """Return key and label of each order, the default first."""
    return [(key, label) for key, (label, _, _) in ORDERS.items()]


def sortable_rows(per_class: pl.DataFrame) -> list[Row]:
    """Return CLASS_SCHEMA rows in the default order, each with `places`: its place in every order, as CSS properties.

    Classes of equal figures are in the order of their names.
    """
    rows = per_class.sort("f1", "label")
    for key, (_, column, descending) in ORDERS.items():
        order = rows.with_row_index("row").sort(column, "label", descending=[descending, False])["row"]
        places = pl.DataFrame({"row": order}).with_row_index(f"at_{key}", offset=1).sort("row")
        rows = rows.with_columns(places[f"at_{key}"])
    return [row | {"places": ";".join(f"--at-{key}:{row[f'at_{key}']}" for key in ORDERS)} for row in rows.to_dicts()]
