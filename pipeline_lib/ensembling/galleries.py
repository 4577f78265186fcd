"""Galleries: the products and queries that are ranked against each other, one for each held-out fold, one for test.

Only models that did not train on a product predict it. So the gallery of a fold uses that fold's model alone, and no
ranking mixes the scores of different models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.ensembling.members import Member
from pipeline_lib.splitting.trained import learned_labels


@dataclass(frozen=True)
class GalleryMembers:
    """Products (product_id, label, group_id) and queries of one gallery, in catalogue order; test has no fold.

    `unlearned` are labels of its products that none of its models was trained on: all products of such a class are in
    the gallery's own fold, or in test.
    """

    split: str
    fold: int | None
    products: pl.DataFrame
    query_ids: list[str]
    unlearned: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Return the folder name: `oof-<fold>` or `test`."""
        return self.split if self.fold is None else f"{self.split}-{self.fold}"

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the numbers of products and of queries."""
        return self.products.height, len(self.query_ids)

    def eligible(self, members: Sequence[Member]) -> list[Member]:
        """Return the members that may predict this gallery: those of its own fold, or all members for test."""
        return [member for member in members if self.fold in (None, member.fold)]


def plan_galleries(
    products: pl.DataFrame, queries: pl.DataFrame, relevance: pl.DataFrame, folds: Sequence[int]
) -> list[GalleryMembers]:
    """Return the galleries of the listed folds, then the test gallery if there are test products.

    `products` has product_id, label, group_id, split (train | test), fold. A query joins every gallery that has one of
    its relevant products. A query with a split joins galleries of its own side, test or not test. A query without any
    relevance joins the galleries of its split, val or test. Raises ValueError for a listed fold without products.
    """
    galleries = []
    for fold in folds:
        held_out = products.filter((pl.col("split") == "train") & (pl.col("fold") == fold))
        if not held_out.height:
            present = products["fold"].drop_nulls().unique().sort().to_list()
            raise ValueError(f"params.yaml: plan.folds lists {fold}, but products have only the folds {present}")
        galleries.append(_gallery("oof", fold, held_out, queries, relevance, learned_labels(products, [fold])))
    test = products.filter(pl.col("split") == "test")
    if test.height:
        galleries.append(_gallery("test", None, test, queries, relevance, learned_labels(products, folds)))
    return galleries


def read_galleries(catalogue: Path, folds_file: Path, folds: Sequence[int]) -> list[GalleryMembers]:
    """Read the catalogue and the folds, and return `plan_galleries` for the text queries."""
    labels = read_table(catalogue / "products.parquet", columns=["product_id", "label", "group_id"])
    assigned = read_table(folds_file, columns=["product_id", "split", "fold"])
    products = labels.join(assigned, on="product_id", how="inner", maintain_order="left")
    queries = read_table(catalogue / "queries.parquet", columns=["query_id", "kind", "split"])
    texts = queries.filter(pl.col("kind") == "text")
    return plan_galleries(products, texts, read_table(catalogue / "relevance.parquet"), folds)


def _gallery(
    split: str,
    fold: int | None,
    products: pl.DataFrame,
    queries: pl.DataFrame,
    relevance: pl.DataFrame,
    learned: set[str],
) -> GalleryMembers:
    pairs = relevance.filter(pl.col("grade") > 0).join(products, on="product_id", how="semi")
    allowed = queries.filter(pl.col("split").is_null() | ((pl.col("split") == "test") == (split == "test")))
    answered = allowed.join(pairs, on="query_id", how="semi")
    unanswered = allowed.filter(pl.col("split").is_in(["val", "test"])).join(relevance, on="query_id", how="anti")
    chosen = pl.concat([answered, unanswered]).select("query_id")
    query_ids = allowed.join(chosen, on="query_id", how="semi", maintain_order="left")["query_id"].to_list()
    unlearned = frozenset(products["label"].drop_nulls()) - learned
    return GalleryMembers(split, fold, products.select("product_id", "label", "group_id"), query_ids, unlearned)
