"""The submission: the predicted label of every test product, in the format of the sample submission if there is one.

A benchmark scores exactly the ids of its sample, so a missing or additional id is an error.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.io import replaced_folder, write_table
from pipeline_lib.artifacts.read import reading
from pipeline_lib.artifacts.spreadsheets import formula_notes
from pipeline_lib.catalogue.strings import clean_name

SAMPLE = "sample_submission.csv"


def open_sample(catalogue: Path) -> pl.DataFrame | None:
    """Return the sample submission that the catalogue stage stored, two string columns; None if there is none."""
    path = catalogue / SAMPLE
    with reading(path):
        return pl.read_csv(path, infer_schema=False) if path.is_file() else None


def product_ids(sample: pl.DataFrame) -> pl.Series:
    """Return the ids of a sample submission as the catalogue writes them, cleaned."""
    return sample.select(clean_name(pl.col(sample.columns[0]))).to_series().fill_null("")


def check_ids(sample: pl.DataFrame, test_ids: Sequence[str]) -> None:
    """Raise ValueError unless the test products are exactly those of the sample submission."""
    expected, test = product_ids(sample), pl.Series(list(test_ids), dtype=pl.String)
    missing, added = (one.filter(~one.is_in(other.to_list())) for one, other in ((expected, test), (test, expected)))
    faults = [
        f"{len(ids)} {what}, the first {ids[0]!r}"
        for what, ids in (
            ("of its ids are not test products (data/work/catalogue/rejects.parquet lists rejected rows)", missing),
            ("test products are not in it", added),
        )
        if len(ids)
    ]
    if faults:
        raise ValueError(
            f"data.sample_submission has {len(expected)} ids, the test split has {len(test)}: {'; '.join(faults)}"
        )


def write_submission(
    path: Path, scores: pl.DataFrame, test_ids: Sequence[str], sample: pl.DataFrame | None = None
) -> list[str]:
    """Write id,label of every test product in the order of `test_ids`, or with the order and column names of `sample`.

    Returns notes about cells that a spreadsheet would take for formulas. `scores` has CLASS_SCORES_SCHEMA rows. Raises
    ValueError if a product is missing, added or repeated.
    """
    names = ["id", "label"] if sample is None else sample.columns
    if sample is not None:
        if not test_ids:
            raise ValueError(
                "data.sample_submission is set, but no test product got a label; set it to null, or use a test split "
                "and train a classifier (losses.cross_entropy.weight)"
            )
        check_ids(sample, test_ids)
        test_ids = product_ids(sample).to_list()
    test = scores.filter(pl.col("split") == "test").select(id="product_id", label="predicted")
    if test["id"].is_duplicated().any():
        raise ValueError(f"{path}: product {test.filter(pl.col('id').is_duplicated())['id'][0]!r} is predicted twice")
    expected = pl.DataFrame({"id": list(test_ids)}, schema={"id": pl.String})
    missing = expected.join(test, on="id", how="anti")
    if missing.height:
        raise ValueError(f"{path}: no prediction for {missing.height} test products, the first {missing['id'][0]!r}")
    ordered = expected.join(test, on="id", how="left", maintain_order="left")
    if sample is not None:  # with the ids as the benchmark writes them
        ordered = ordered.with_columns(sample.get_column(names[0]).alias("id"))
    table = ordered.rename(dict(zip(("id", "label"), names, strict=True)))
    write_table(table, path)
    return formula_notes(table, replaced_folder(path.parent) / path.name)
