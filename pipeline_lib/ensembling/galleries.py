"""Which products and queries are ranked against each other: one gallery for each held-out fold, one for test.

A product is predicted only by models that never saw it, so a fold's gallery belongs to that fold's model, and scores
of different models are never put into one ranking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.ensembling.members import Member


@dataclass(frozen=True)
class GalleryMembers:
    """Products (product_id, label) and queries of one gallery, in the catalogue's order; test has no fold."""

    split: str
    fold: int | None
    products: pl.DataFrame
    query_ids: list[str]

    @property
    def name(self) -> str:
        """Return the folder name: `oof-<fold>` or `test`."""
        return self.split if self.fold is None else f"{self.split}-{self.fold}"

    def entitled(self, members: Sequence[Member]) -> list[Member]:
        """Return the members that may predict this gallery: of its own fold, or all of them for test."""
        return [member for member in members if self.fold in (None, member.fold)]


def plan_galleries(
    products: pl.DataFrame, queries: pl.DataFrame, relevance: pl.DataFrame, folds: Sequence[int]
) -> list[GalleryMembers]:
    """Return the galleries of the listed folds, then that of test if it has products.

    `products` has product_id, label, group_id, split (train | test), fold. A query belongs to every gallery with a
    product relevant to it, unless its own split says test and the gallery is not, or the other way round. One without
    any answer belongs to the galleries of its split, val or test. Raises ValueError for a listed fold without products.
    """
    galleries = []
    for fold in folds:
        held_out = products.filter((pl.col("split") == "train") & (pl.col("fold") == fold))
        if not held_out.height:
            present = products["fold"].drop_nulls().unique().sort().to_list()
            raise ValueError(f"params.yaml: plan.folds lists {fold}, but products have only the folds {present}")
        galleries.append(_gallery("oof", fold, held_out, queries, relevance))
    test = products.filter(pl.col("split") == "test")
    if test.height:
        galleries.append(_gallery("test", None, test, queries, relevance))
    return galleries


def read_galleries(catalogue: Path, folds_file: Path, folds: Sequence[int]) -> list[GalleryMembers]:
    """Read the catalogue's tables and the folds, and return `plan_galleries` of the text queries."""
    labels = pl.read_parquet(catalogue / "products.parquet", columns=["product_id", "label", "group_id"])
    dealt = pl.read_parquet(folds_file, columns=["product_id", "split", "fold"])
    products = labels.join(dealt, on="product_id", how="inner", maintain_order="left")
    queries = pl.read_parquet(catalogue / "queries.parquet", columns=["query_id", "kind", "split"])
    texts = queries.filter(pl.col("kind") == "text")
    return plan_galleries(products, texts, pl.read_parquet(catalogue / "relevance.parquet"), folds)


def _gallery(
    split: str, fold: int | None, products: pl.DataFrame, queries: pl.DataFrame, relevance: pl.DataFrame
) -> GalleryMembers:
    answers = relevance.filter(pl.col("grade") > 0)
    here = answers.join(products, on="product_id", how="semi")
    asked = queries.filter(pl.col("split").is_null() | ((pl.col("split") == "test") == (split == "test")))
    found = asked.join(here, on="query_id", how="semi")
    unanswered = asked.filter(pl.col("split").is_in(["val", "test"])).join(relevance, on="query_id", how="anti")
    chosen = pl.concat([found, unanswered]).select("query_id")
    query_ids = asked.join(chosen, on="query_id", how="semi", maintain_order="left")["query_id"].to_list()
    return GalleryMembers(split, fold, products.select("product_id", "label", "group_id"), query_ids)
