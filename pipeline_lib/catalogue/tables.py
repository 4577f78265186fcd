"""Writes and reads the catalogue's folder; equal tables give equal bytes.

The shards depend on `media.parquet` only, which contains a hash of each photo's bytes. An edited photo changes the
shards, an edited text or label does not.
"""

from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.catalogue.schema import PRODUCTS, REJECTED, TABLES, Catalogue, check_schema


def write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write the tables and counts.json into an existing folder."""
    for name in TABLES:
        write_table(getattr(catalogue, name), folder / f"{name}.parquet")
    write_json(folder / "counts.json", count(catalogue))


def read_catalogue(folder: Path) -> Catalogue:
    """Read a catalogue's folder; ValueError if a table is missing or has other columns."""
    return Catalogue(**{name: _read(folder / f"{name}.parquet") for name in TABLES})


def read_products(folder: Path) -> pl.DataFrame:
    """Read only the table of products; ValueError if it is missing or has other columns."""
    products = _read(folder / "products.parquet")
    check_schema("products", products, PRODUCTS)
    return products


def count(catalogue: Catalogue) -> dict[str, Any]:
    """Return the numbers of products, queries, classes and rejected rows, and of reject rows per reason."""
    reasons = catalogue.rejects["reason"].value_counts().rows()
    return {
        "products": len(catalogue.products),
        "queries": len(catalogue.queries),
        "rejected": catalogue.rejects.filter(pl.col("action") == REJECTED).height,
        "reasons": dict(sorted(reasons)),
        "classes": catalogue.products["label"].drop_nulls().n_unique(),
    }


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ValueError(f"{path}: no such table; run `dvc repro catalogue`")
    return pl.read_parquet(path)
