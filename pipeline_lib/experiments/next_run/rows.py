"""How many products, queries and photos of the present catalogue each stage reads, by the files that dvc.yaml names."""

from collections.abc import Collection, Mapping
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_table

# What is counted -> the deps that a stage reads it from. A stage that reads outs of others alone has no rows.
READ_FROM = {
    "products": (paths.CATALOGUE, paths.CATALOGUE / "products.parquet", paths.FOLDS / "folds.parquet"),
    "queries": (paths.CATALOGUE, paths.CATALOGUE / "queries.parquet"),
    "photos": (paths.CATALOGUE / "media.parquet", paths.SHARDS),
}


def catalogue_rows(root: Path) -> dict[str, int]:
    """Return the products, queries and photos (clips count as photos) of the catalogue; empty without a catalogue."""
    products, queries = (root / paths.CATALOGUE / f"{name}.parquet" for name in ("products", "queries"))
    if not (products.is_file() and queries.is_file()):
        return {}
    media = read_table(products, ["media"])["media"].list.len()
    return {"products": len(media), "queries": read_table(queries, ["query_id"]).height, "photos": int(media.sum())}


def rows_read(deps: Collection[str], rows: Mapping[str, int]) -> dict[str, int]:
    """Return those of the catalogue's `rows` that a stage with these deps reads.

    >>> rows_read(["data/work/shards"], {"products": 3, "queries": 2, "photos": 5})
    {'photos': 5}
    """
    return {
        name: rows[name]
        for name, files in READ_FROM.items()
        if name in rows and any(file.as_posix() in deps for file in files)
    }
