"""The products of one fold, from tables of a few rows."""

import polars as pl

from pipeline_lib.training.fold_data import Inputs, read_fold

# id, label, split, fold
ROWS = [
    ("a", "cup", "train", 0), ("b", "hat", "train", 0), ("c", "cup", "train", 1), ("d", "pan", "train", 1),
    ("e", None, "train", 0), ("f", "sofa", "train", None), ("g", "pan", "test", None),
]  # fmt: skip


def inputs_of(folder):
    columns = {"product_id": pl.String, "label": pl.String, "split": pl.String, "fold": pl.Int64}
    rows = pl.DataFrame(ROWS, schema=columns, orient="row")
    ids = rows["product_id"]
    products = rows.select("product_id", "label", group_id="product_id", text=pl.lit("a ") + ids).with_columns(
        media=pl.Series([[f"{key}.jpg"] for key in ids])
    )
    queries = {"query_id": pl.String, "kind": pl.String, "text": pl.String, "split": pl.String}
    relevance = {"query_id": pl.String, "product_id": pl.String, "grade": pl.Int64}
    tables = {
        "products": products,
        "queries": pl.DataFrame(schema=queries),
        "relevance": pl.DataFrame(schema=relevance),
        "folds": rows.drop("label"),
        "manifest": rows.select("product_id"),
    }
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return Inputs(folder, folder, folder, folder)


def test_a_class_that_is_not_trained_on_is_in_no_figure_of_an_epoch(tmp_path):
    """Fold 0 alone has hats, and fold 1 pans: their models cannot learn them. Cups and the sofa are trained on."""
    inputs = inputs_of(tmp_path)
    labels = {}
    for fold in (0, 1):
        data = read_fold(inputs, fold, True)
        assert data.classes == ["cup", "hat", "pan", "sofa"]
        for part in (data.training, data.held_out):
            names = ["" if number < 0 else data.classes[number] for number in part.label]
            labels[fold, part is data.training] = dict(zip(part.ids, names, strict=True))
    assert labels[0, False] == {"a": "cup", "b": "", "e": ""}
    assert labels[1, False] == {"c": "cup", "d": ""}
    assert labels[0, True] == {"c": "cup", "d": "pan", "f": "sofa"}
    assert labels[1, True] == {"a": "cup", "b": "hat", "e": "", "f": "sofa"}
