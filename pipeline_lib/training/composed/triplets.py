"""The composed queries that one fold trains on, as arrays: reference, sentence, targets, and all known answers.

A product answers a query if the relevance table says so with any grade above 0, if it is the same thing as such a
product (`group_id`), or if it answers another query with the same reference and sentence. No answer is a negative.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.artifacts.schemas import COMPOSED_QUERY_COLUMNS
from pipeline_lib.evaluation.composed_ranks import ComposedGallery, plan_composed_galleries
from pipeline_lib.metrics.relevance import Positions, positions_from_pairs
from pipeline_lib.splitting.composed_places import composed_places
from pipeline_lib.splitting.trained import trained_by

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Triplets:
    """Training queries in the order of their ids; products are rows of `product_ids`, the products to train on.

    `text` (queries,) has rows of `texts`. `targets` are the products with a query's highest grade, `answers` all that
    may not be its negatives. `subset` are the look-alikes that a data set names.
    """

    product_ids: list[str]
    query_ids: list[str]
    texts: list[str]
    text: Rows
    reference: Rows
    targets: Positions
    answers: Positions
    subset: Positions

    def __len__(self) -> int:
        return len(self.query_ids)

    def draw_targets(self, seed: int, epoch: int) -> Rows:
        """Return the target that each query is trained with in an epoch, (queries,): one of its targets at random."""
        counts = self.targets.counts()
        drawn = (np.random.default_rng((seed, epoch, 1)).random(len(self)) * counts).astype(np.int64)
        return np.asarray(self.targets.indices[self.targets.indptr[:-1] + drawn])

    def answered_by(self, queries: Rows, products: Rows) -> Mask:
        """Return which products answer which queries, (queries, products)."""
        size = len(self.product_ids)
        known = np.repeat(np.arange(len(self)), self.answers.counts()) * size + self.answers.indices
        codes = queries[:, None] * size + products
        place = np.searchsorted(known, codes)
        return np.asarray(known[np.minimum(place, len(known) - 1)] == codes)


@dataclass(frozen=True)
class ComposedData:
    """What a fold trains on and what it is measured on; `galleries` are those of the held-out fold and of test.

    `straddling` counts the queries that no fold uses, because their products are on both sides of a split.
    """

    training: Triplets
    galleries: list[ComposedGallery]
    straddling: int

    def held_out(self) -> ComposedGallery | None:
        """Return the gallery that selects the epoch, None if no composed query is in the held-out fold."""
        return next((one for one in self.galleries if one.split == "oof"), None)


def composed_tables(catalogue: Path, folds: Path) -> list[Path]:
    """Return the files that a run reads; dvc.yaml has the same ones."""
    names = ("products", "media", "queries", "relevance")
    return [*(catalogue / f"{name}.parquet" for name in names), folds / "folds.parquet"]


def read_composed_products(catalogue: Path, folds: Path) -> pl.DataFrame:
    """Return product_id, label, group_id, split and fold of all products."""
    products = read_table(catalogue / "products.parquet", columns=["product_id", "label", "group_id"])
    return products.join(read_table(folds / "folds.parquet"), on="product_id", maintain_order="left")


def read_composed_data(catalogue: Path, folds: Path, fold: int) -> ComposedData:
    """Read the composed queries of a fold; ValueError if none is left to train on."""
    products = read_composed_products(catalogue, folds)
    queries = read_table(catalogue / "queries.parquet", COMPOSED_QUERY_COLUMNS)
    relevance = read_table(catalogue / "relevance.parquet")
    places = composed_places(queries, relevance, products.select("product_id", "split", "fold"))
    trained = places.filter(pl.col("trains") & pl.col("place_fold").ne_missing(pl.lit(fold, pl.Int64)))
    answered = relevance.filter(pl.col("grade") > 0)["query_id"].implode()
    own = queries.join(trained, on="query_id", how="semi").filter(pl.col("query_id").is_in(answered))
    if own.is_empty():
        raise ValueError(
            f"fold {fold}: no composed query is left to train on, of {len(places)} ({_count(places, 'straddles')} have "
            "products on both sides of a split); name their table in data.queries, or set plan.composed = []"
        )
    training = make_triplets(products.filter(trained_by(fold)), own.sort("query_id"), relevance)
    galleries = plan_composed_galleries(products, queries, relevance, [fold])
    return ComposedData(training, galleries, _count(places, "straddles"))


def make_triplets(products: pl.DataFrame, queries: pl.DataFrame, relevance: pl.DataFrame) -> Triplets:
    """Return the answered composed `queries` over `products` (product_id, group_id), which hold all their products."""
    row_of = products.select("product_id", "group_id").with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    numbers = queries.select(
        "query_id", "reference_product_id", "text", query=pl.int_range(len(queries), dtype=pl.Int64)
    )
    graded = relevance.filter(pl.col("grade") > 0).join(numbers, on="query_id")
    graded = graded.join(row_of, on="product_id")
    best = graded.filter(pl.col("grade") == pl.col("grade").max().over("query"))
    members = queries.select("query_id", product_id="subset").explode("product_id").drop_nulls()
    subset = members.join(numbers, on="query_id").join(row_of, on="product_id")
    texts = queries["text"].unique(maintain_order=True)
    text_rows = {text: row for row, text in enumerate(texts)}
    reference = queries.select(product_id="reference_product_id").join(
        row_of, on="product_id", how="left", maintain_order="left"
    )

    def positions(pairs: pl.DataFrame) -> Positions:
        return positions_from_pairs(pairs["query"].to_numpy(), pairs["row"].to_numpy(), len(queries))

    return Triplets(
        product_ids=row_of["product_id"].to_list(),
        query_ids=queries["query_id"].to_list(),
        texts=texts.to_list(),
        text=np.array([text_rows[text] for text in queries["text"]], np.int64),
        reference=reference["row"].to_numpy().copy(),
        targets=positions(best),
        answers=positions(_answers(graded, numbers, row_of)),
        subset=positions(subset),
    )


def _answers(graded: pl.DataFrame, numbers: pl.DataFrame, row_of: pl.DataFrame) -> pl.DataFrame:
    """Return query and row of every answer: those of queries with equal reference and sentence, and their groups."""
    same = ["reference_product_id", "text"]
    shared = numbers.select("query", *same).join(graded.select(*same, "group_id").unique(), on=same)
    return shared.join(row_of, on="group_id").select("query", "row")


def _count(places: pl.DataFrame, column: str) -> int:
    return int(places[column].sum())
