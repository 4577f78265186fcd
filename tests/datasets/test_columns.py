"""Columns by common names and by params."""

import pytest

from pipeline_lib.datasets.columns import Columns, resolve_columns
from pipeline_lib.params.data import ColumnParams

NONE = ColumnParams(
    id=None, label=None, text=None, image=None, video=None, group=None, fold=None, split=None, attributes=None
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("id,categories,label,title,description,text", ("id", "categories", ("title", "description"))),
        ("product_id,label,text", ("product_id", "label", ("text",))),
        ("ID,Title,Category", ("ID", "Category", ("Title",))),
        ("sku,description", ("sku", None, ("description",))),
        ("sku,id", ("id", None, ())),
    ],
)
def test_common_names_are_found_in_order_of_preference(header, expected):
    columns = resolve_columns("t.csv", header.split(","), NONE)
    assert (columns.id, columns.label, columns.text) == expected


def test_optional_columns_are_found_and_named_ones_take_precedence():
    header = ["id", "text", "image_path", "group_id", "fold", "split", "brand"]
    assert resolve_columns("t.csv", header, NONE) == Columns(
        "id", None, ("text",), ("image_path",), None, "group_id", "fold", "split", (), None, ("brand",)
    )
    params = NONE.model_copy(update={"group": "brand", "text": ["brand", "text"]})
    columns = resolve_columns("t.csv", header, params)
    assert (columns.group, columns.text) == ("brand", ("brand", "text"))
    assert columns.used() == ["id", "brand", "text", "image_path", "fold", "split"]


@pytest.mark.parametrize(
    ("header", "params", "message"),
    [
        (
            "name,text",
            {},
            r"no id column \(id, product_id, item_id, sku, article_id\); columns found: name, text",
        ),
        ("id;text", {}, r"columns found: id;text. .*columns must be separated by commas, semicolons, tabs"),
        ("id,text", {"label": "class"}, r"no column 'class', which data.columns.label names; columns found: id, text"),
        ("id,text", {"text": ["text", "body"]}, r"no column 'body', which data.columns.text names"),
        ("id,text,id", {}, r"column 'id' occurs twice; rename one; columns found: id, text, id"),
        ("id,title,Title", {}, r"column 'title' occurs twice"),
    ],
)
def test_a_missing_or_repeated_column_raises_with_the_columns_found(header, params, message):
    with pytest.raises(ValueError, match=message):
        resolve_columns("t.csv", header.split(","), NONE.model_copy(update=params))


def test_a_repeated_column_that_is_not_read_is_allowed():
    assert resolve_columns("t.csv", ["id", "note", "note", "", ""], NONE).used() == ["id"]
