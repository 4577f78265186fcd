"""Writes and reads the catalogue's folder so that equal tables are equal bytes.

Shards depend on `media.parquet` alone, which says of each photo what its bytes are: an edited photo is stored again,
an edited text or label is not.
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
    """Read what `write_catalogue` wrote; ValueError if it is not there or of another form."""
    return Catalogue(**{name: _read(folder / f"{name}.parquet") for name in TABLES})


def read_products(folder: Path) -> pl.DataFrame:
    """Read the products alone."""
    products = _read(folder / "products.parquet")
    check_schema("products", products, PRODUCTS)
    return products


def count(catalogue: Catalogue) -> dict[str, Any]:
    """Return how many products, queries, classes and rejected rows there are, and how often each reason occurs."""
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
        raise ValueError(f"{path}: no such table; `dvc repro catalogue` makes it")
    return pl.read_parquet(path)
