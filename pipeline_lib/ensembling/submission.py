"""The submission: the predicted label of every test product, in the sample submission's form where one is given.

A judge scores what he asked for, so an id that is missing or added is refused, and not left out in silence.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.io import write_table

SAMPLE = "sample_submission.csv"


def open_sample(catalogue: Path) -> pl.DataFrame | None:
    """Return the sample submission that the catalogue stage kept, two columns of strings; None if none was given."""
    path = catalogue / SAMPLE
    return pl.read_csv(path, infer_schema=False) if path.is_file() else None


def check_ids(sample: pl.DataFrame, test_ids: Sequence[str]) -> None:
    """Raise ValueError unless the test products are exactly those of the sample submission."""
    asked, here = sample.get_column(sample.columns[0]), pl.Series(list(test_ids), dtype=pl.String)
    missing, added = (one.filter(~one.is_in(other.to_list())) for one, other in ((asked, here), (here, asked)))
    faults = [
        f"{len(ids)} {what}, the first {ids[0]!r}"
        for what, ids in (
            ("of its ids are no test product (data/work/catalogue/rejects.parquet says what was rejected)", missing),
            ("test products are not in it", added),
        )
        if len(ids)
    ]
    if faults:
        raise ValueError(
            f"data.sample_submission asks for {len(asked)} ids, the test split has {len(here)}: {'; '.join(faults)}"
        )


def write_submission(
    path: Path, predictions: pl.DataFrame, test_ids: Sequence[str], sample: pl.DataFrame | None = None
) -> None:
    """Write id,label of every test product in the order of `test_ids`, or in the order and under the names of `sample`.

    ValueError if one is missing, added or repeated.
    """
    names = ["id", "label"] if sample is None else sample.columns
    if sample is not None:
        if not test_ids:
            raise ValueError(
                "data.sample_submission is set, but no test product got a label; set it to null, or have a test split "
                "and train a classifier (losses.cross_entropy.weight)"
            )
        check_ids(sample, test_ids)
        test_ids = sample.get_column(names[0]).to_list()
    test = predictions.filter(pl.col("split") == "test").select(id="product_id", label="predicted")
    if test["id"].is_duplicated().any():
        raise ValueError(f"{path}: product {test.filter(pl.col('id').is_duplicated())['id'][0]!r} is predicted twice")
    wanted = pl.DataFrame({"id": list(test_ids)}, schema={"id": pl.String})
    missing = wanted.join(test, on="id", how="anti")
    if missing.height:
        raise ValueError(f"{path}: no prediction for {missing.height} test products, the first {missing['id'][0]!r}")
    found = wanted.join(test, on="id", how="left", maintain_order="left")
    write_table(found.rename(dict(zip(("id", "label"), names, strict=True))), path)
