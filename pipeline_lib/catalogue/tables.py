"""Writes and reads the catalogue's folder; equal tables give equal bytes.

The shards depend on `media.parquet` only, which contains a hash of each photo's bytes. An edited photo changes the
shards, an edited text or label does not.
"""

from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.paths import project_root
from pipeline_lib.artifacts.read import read_object, read_table
from pipeline_lib.catalogue.schema import NEAR_DUPLICATES, PRODUCTS, REJECTED, TABLES, Catalogue, check_schema


def write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write the tables and counts.json into an existing folder."""
    for name in TABLES:
        write_table(getattr(catalogue, name), folder / f"{name}.parquet")
    write_json(folder / "counts.json", count(catalogue))


def write_refused(rejects: pl.DataFrame) -> Path:
    """Write the reject rows of a catalogue that is refused, and return the file.

    DVC removes a stage's outs before each run, and the folder of an experiment in a copy of the project after it. So
    the file is in the project's own `logs` folder.
    """
    path = project_root() / "logs" / "rejects.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(rejects, path)
    return path


def read_catalogue(folder: Path) -> Catalogue:
    """Read a catalogue's folder; ValueError if a table is missing or has other columns."""
    counts = read_object(
        folder / "counts.json",
        columns=dict,
        notes=list,
        groups=dict,
        ignored_columns=list,
        composed=object,
    )
    tables: dict[str, Any] = {name: _read(folder / f"{name}.parquet") for name in TABLES}
    ignored = tuple(counts["ignored_columns"])
    stored = {name: counts[name] for name in ("columns", "notes", "groups", "composed")}
    try:
        return Catalogue(**tables, ignored=ignored, **stored)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def read_products(folder: Path) -> pl.DataFrame:
    """Read only the table of products; ValueError if it is missing or has other columns."""
    products = _read(folder / "products.parquet")
    check_schema(str(folder / "products.parquet"), products, PRODUCTS)
    return products


def count(catalogue: Catalogue) -> dict[str, Any]:
    """Return numbers of products, text queries, classes, rejects (in all, per reason) and groups, and what was read."""
    reasons = catalogue.rejects["reason"].value_counts().rows()
    return {
        "products": len(catalogue.products),
        "queries": catalogue.queries.filter(pl.col("kind") == "text").height,
        "composed": catalogue.composed,
        "rejected": catalogue.rejects.filter(pl.col("action") == REJECTED).height,
        "reasons": dict(sorted(reasons)),
        "classes": catalogue.products["label"].drop_nulls().n_unique(),
        "columns": catalogue.columns,
        "ignored_columns": list(catalogue.ignored),
        "notes": catalogue.notes,
        "groups": catalogue.groups,
        "given_folds": given_folds(catalogue.products),
    }


def given_folds(products: pl.DataFrame) -> list[int]:
    """Return the folds that the table's own columns give, in order; none if split.num_folds decides.

    >>> given_folds(pl.DataFrame({"split": ["train", "val", "test"], "fold": [None, None, None]}))
    [0]
    """
    trained = products.filter(pl.col("split").fill_null("train") != "test")
    if products["fold"].count():
        return trained["fold"].drop_nulls().unique().sort().to_list()
    return [0] if (trained["split"] == "val").any() else []


def read_near_duplicates(folder: Path) -> pl.DataFrame:
    """Read only the table of near-duplicates; ValueError if it is missing or has other columns."""
    pairs = _read(folder / "near_duplicates.parquet")
    check_schema(str(folder / "near_duplicates.parquet"), pairs, NEAR_DUPLICATES)
    return pairs


def level_counts(level: str, group_ids: pl.Series) -> dict[str, int]:
    """Return LEVEL_groups, LEVEL_products and LEVEL_largest, of the groups of two products or more.

    >>> level_counts("same", pl.Series(["a", "a", "b"]))
    {'same_groups': 1, 'same_products': 2, 'same_largest': 2}
    """
    sizes = group_ids.value_counts(name="size")["size"]
    shared = sizes.filter(sizes > 1)
    largest = max(shared.to_list(), default=0)
    return {f"{level}_groups": len(shared), f"{level}_products": int(shared.sum()), f"{level}_largest": largest}


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ValueError(f"{path}: no such table; run `dvc repro catalogue`")
    return read_table(path)
